//! `owns:`: what services made outside of our sight, found by label, name or what it mounts.

use std::path::PathBuf;

use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveImageOptionsBuilder,
    RemoveVolumeOptions,
};

use super::connect::Link;
use super::container::{Removal, remove_by_id};
use super::labels::{self, Labels};
use super::listing::{anonymous_of, image_names};
use super::observe::{list_containers, name_of};
use super::{Docker, error};
use crate::base::name::EnvId;
use crate::model::owned::{Owned, OwnedBy};
use crate::model::pattern;
use crate::plan::action::{AnonymousVolume, AnonymousVolumes, Fault, Outcome};

/// A thing that an environment owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnedThing {
    /// A container.
    Container {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// Its volumes that nobody has named.
        anonymous: Vec<AnonymousVolume>,
    },
    /// A network, by name.
    Network(String),
    /// A volume, by name.
    Volume(String),
    /// An image, by its first tag, else its id.
    Image(String),
}

impl OwnedThing {
    /// The volumes of a container that nobody has named.
    pub fn anonymous(&self) -> &[AnonymousVolume] {
        match self {
            OwnedThing::Container { anonymous, .. } => anonymous,
            OwnedThing::Network(_) | OwnedThing::Volume(_) | OwnedThing::Image(_) => &[],
        }
    }
}

impl Docker {
    /// What there is of an environment's entries; files are not the engine's. What carries the label of another environment, or
    /// of a project of Compose's, is never among it.
    pub async fn owned(&self, env: &EnvId, entries: &[Owned]) -> Result<Vec<OwnedThing>, Fault> {
        if entries.iter().all(|entry| matches!(entry, Owned::Paths(_))) {
            return Ok(Vec::new());
        }
        let link = self.link().await?;
        let is_of_containers = |entry: &Owned| matches!(entry, Owned::Containers(_));
        let containers = if entries.iter().any(is_of_containers) { list_containers(&link, &[]).await? } else { Vec::new() };
        Lists::of(&link, &containers, entries).await?.matching(env, entries)
    }

    /// Removes what there is of these entries: containers and networks, with `volumes` also volumes, those that
    /// nobody has named too, and images. What cannot be
    /// removed keeps nothing else from being removed, and is told at the end, each with its reason.
    pub async fn remove_owned(&self, env: &EnvId, entries: &[Owned], volumes: bool) -> Result<Outcome, Fault> {
        let mut left = Vec::new();
        for thing in self.owned(env, entries).await? {
            match self.remove_one(&thing, volumes).await {
                Ok(Outcome::Kept(reason)) => left.push(reason),
                Ok(_) => {}
                Err(fault) => left.push(format!("{thing}: {fault}")),
            }
        }
        if left.is_empty() { Ok(Outcome::Done) } else { Err(Fault::permanent(left.join("; "))) }
    }

    async fn remove_one(&self, thing: &OwnedThing, volumes: bool) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let removed = match thing {
            OwnedThing::Container { id, .. } => {
                let volumes = if volumes { AnonymousVolumes::Removed } else { AnonymousVolumes::Left };
                remove_by_id(&link, id, Removal { volumes, force: true }, &[]).await?;
                return Ok(Outcome::Done);
            }
            OwnedThing::Network(name) => return self.remove_network(name).await,
            OwnedThing::Volume(name) if volumes => link.api.remove_volume(name, None::<RemoveVolumeOptions>).await,
            OwnedThing::Image(name) if volumes => {
                link.api.remove_image(name, Some(RemoveImageOptionsBuilder::default().build()), None).await.map(drop)
            }
            OwnedThing::Volume(_) | OwnedThing::Image(_) => Ok(()),
        };
        match removed {
            Ok(()) => Ok(Outcome::Done),
            Err(error) if error::is_not_found(&error) => Ok(Outcome::Done),
            Err(error) => Err(error.into()),
        }
    }
}

impl std::fmt::Display for OwnedThing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OwnedThing::Container { name, .. } => write!(f, "container {name}"),
            OwnedThing::Network(name) => write!(f, "network {name}"),
            OwnedThing::Volume(name) => write!(f, "volume {name}"),
            OwnedThing::Image(name) => write!(f, "image {name}"),
        }
    }
}

/// A matcher of whole names; in a name `/` is a character like any other.
fn glob(name: &str) -> Result<impl Fn(&str) -> bool + use<>, Fault> {
    let glob = pattern::of_names(name).map_err(Fault::permanent)?.compile_matcher();
    Ok(move |name: &str| glob.is_match(name))
}

/// An absolute path that names something of one's own: the root would own every container.
fn plain_path(path: &str) -> Result<PathBuf, Fault> {
    let path = PathBuf::from(path);
    let deep =
        path.is_absolute() && path.parent().is_some() && path.components().all(|part| part != std::path::Component::ParentDir);
    if deep { Ok(path) } else { Err(Fault::permanent(format!("`owns`: `{}` is not a path that could be owned", path.display()))) }
}

/// A thing of the engine's, as far as an entry can know it.
struct Candidate {
    thing: OwnedThing,
    /// What a pattern is compared with; none for an image without a name, which matches nothing, not even `*`.
    name: Option<String>,
    labels: Labels,
    /// What of the host it mounts.
    mounts: Vec<PathBuf>,
    /// The environment or the project of Compose's that it belongs to by its labels.
    owner: Option<String>,
}

/// All that the engine holds of the kinds that entries speak of. Each kind is listed once, for however many environments.
#[derive(Default)]
pub(super) struct Lists {
    containers: Vec<Candidate>,
    networks: Vec<Candidate>,
    volumes: Vec<Candidate>,
    images: Vec<Candidate>,
}

impl Lists {
    /// Of these containers, and of what else the entries are about.
    pub(super) async fn of(link: &Link, containers: &[ContainerSummary], entries: &[Owned]) -> Result<Self, Fault> {
        let mut lists = Lists { containers: containers.iter().map(of_container).collect(), ..Lists::default() };
        if entries.iter().any(|entry| matches!(entry, Owned::Networks(_))) {
            let all = link.api.list_networks(Some(ListNetworksOptionsBuilder::default().build())).await?;
            let networks = all.into_iter().filter_map(|network| Some((network.name?, network.labels.unwrap_or_default())));
            lists.networks = networks.map(|(name, labels)| named(OwnedThing::Network(name.clone()), name, labels)).collect();
        }
        if entries.iter().any(|entry| matches!(entry, Owned::Volumes(_))) {
            let all = link.api.list_volumes(Some(ListVolumesOptionsBuilder::default().build())).await?.volumes;
            let volumes = all.into_iter().flatten();
            lists.volumes =
                volumes.map(|volume| named(OwnedThing::Volume(volume.name.clone()), volume.name, volume.labels)).collect();
        }
        if entries.iter().any(|entry| matches!(entry, Owned::Images(_))) {
            let all = link.api.list_images(Some(ListImagesOptionsBuilder::default().build())).await?;
            for image in all {
                for name in image_names(image.repo_tags, image.id.clone()) {
                    let thing = named(OwnedThing::Image(name.clone()), name.clone(), image.labels.clone());
                    lists.images.push(Candidate { name: thing.name.filter(|name| *name != image.id), ..thing });
                }
            }
        }
        Ok(lists)
    }

    /// What an environment's entries name: containers first, since they hold the others.
    pub(super) fn matching(&self, env: &EnvId, entries: &[Owned]) -> Result<Vec<OwnedThing>, Fault> {
        let mut things = Vec::new();
        for entry in entries {
            let (candidates, by) = match entry {
                Owned::Containers(by) => (&self.containers, by),
                Owned::Networks(by) => (&self.networks, by),
                Owned::Volumes(by) => (&self.volumes, by),
                Owned::Images(by) => (&self.images, by),
                Owned::Paths(_) => continue,
            };
            let is_named = matcher(by, matches!(entry, Owned::Containers(_)))?;
            let is_anothers = |candidate: &Candidate| candidate.owner.as_deref().is_some_and(|owner| owner != env.as_str());
            let found = candidates.iter().filter(|candidate| is_named(candidate) && !is_anothers(candidate));
            things.extend(found.map(|candidate| candidate.thing.clone()));
        }
        things.sort();
        things.dedup();
        Ok(things)
    }
}

fn of_container(container: &ContainerSummary) -> Candidate {
    let labels = container.labels.clone().unwrap_or_default();
    let binds = container.mounts.iter().flatten().filter(|mount| mount.typ.as_deref() == Some("bind"));
    // One that only comes of an environment's image has inherited its label, and is nobody's service.
    let owner = labels::get(Some(&labels), labels::PROJECT).filter(|_| labels::is_of_service(Some(&labels)));
    Candidate {
        thing: OwnedThing::Container {
            id: container.id.clone().unwrap_or_default(),
            name: name_of(container),
            anonymous: anonymous_of(container),
        },
        name: Some(name_of(container)),
        owner: owner.map(str::to_owned),
        mounts: binds.filter_map(|mount| mount.source.clone()).map(PathBuf::from).collect(),
        labels,
    }
}

fn named(thing: OwnedThing, name: String, labels: Labels) -> Candidate {
    let owner = labels.get(labels::PROJECT).cloned();
    Candidate { thing, name: Some(name), labels, mounts: Vec::new(), owner }
}

/// What tells whether an entry names a thing.
type Matcher = Box<dyn Fn(&Candidate) -> bool + Send>;

/// The matcher of an entry.
fn matcher(by: &OwnedBy, is_of_containers: bool) -> Result<Matcher, Fault> {
    Ok(match by {
        OwnedBy::Label(label) => {
            // As the engine's own filter has it: `key`, or `key=value`.
            let (key, value) = label.split_once('=').map_or((label.as_str(), None), |(key, value)| (key, Some(value)));
            let (key, value) = (key.to_owned(), value.map(str::to_owned));
            Box::new(move |it| it.labels.get(&key).is_some_and(|own| value.as_ref().is_none_or(|value| value == own)))
        }
        OwnedBy::Name(pattern) => {
            let matches = glob(pattern)?;
            Box::new(move |it| it.name.as_deref().is_some_and(&matches))
        }
        OwnedBy::Mounts(_) if !is_of_containers => {
            return Err(Fault::permanent("`owns`: only containers are known by what they mount"));
        }
        OwnedBy::Mounts(path) => {
            let path = plain_path(path)?;
            Box::new(move |it| it.mounts.iter().any(|mount| mount.starts_with(&path)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_own_the_root_or_a_way_up() {
        for (path, fine) in [("/a/b", true), ("/a", true), ("/", false), ("a/b", false), ("/a/../b", false)] {
            assert_eq!(plain_path(path).is_ok(), fine, "{path}");
        }
    }

    /// Names of what an entry finds among containers with these labels.
    fn found(entry: Owned, containers: &[(&str, &[(&str, &str)])]) -> Vec<String> {
        let summary = |(name, labels): &(&str, &[(&str, &str)])| ContainerSummary {
            id: Some((*name).to_owned()),
            names: Some(vec![format!("/{name}")]),
            labels: Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
            ..Default::default()
        };
        let containers = containers.iter().map(|it| of_container(&summary(it))).collect();
        let lists = Lists { containers, ..Lists::default() };
        let things = lists.matching(&"web".parse().unwrap(), &[entry]).unwrap();
        things.iter().map(|thing| thing.to_string().replace("container ", "")).collect()
    }

    #[test]
    fn what_another_environment_has_made_is_never_owned() {
        const HASH: (&str, &str) = (labels::CONFIG_HASH, "x");
        const SERVICE: (&str, &str) = (labels::SERVICE, "s");
        let containers: [(&str, &[(&str, &str)]); 6] = [
            ("kernel-web-1", &[("owner", "i-web")]),
            ("kernel-web-2", &[("owner", "i-web"), (labels::PROJECT, "web"), SERVICE, HASH]),
            ("kernel-web-3", &[("owner", "i-web"), (labels::PROJECT, "other"), SERVICE, HASH]),
            // Inherited from an image that another environment has built.
            ("kernel-web-4", &[("owner", "i-web"), (labels::PROJECT, "other"), SERVICE]),
            ("kernel-web-5", &[("owner", "i-webserver")]),
            ("db", &[("owner", "")]),
        ];
        let by_label = Owned::Containers(OwnedBy::Label("owner=i-web".to_owned()));
        assert_eq!(found(by_label, &containers), ["kernel-web-1", "kernel-web-2", "kernel-web-4"]);
        let by_name = Owned::Containers(OwnedBy::Name("*-web-*".to_owned()));
        assert_eq!(found(by_name, &containers), ["kernel-web-1", "kernel-web-2", "kernel-web-4", "kernel-web-5"]);
        assert_eq!(found(Owned::Containers(OwnedBy::Label("owner".to_owned())), &containers).len(), 5, "a key alone");
        let volume = |name: &str, project: Option<&str>| {
            let labels = project.map(|project| (labels::PROJECT.to_owned(), project.to_owned())).into_iter().collect();
            named(OwnedThing::Volume(name.to_owned()), name.to_owned(), labels)
        };
        let volumes = vec![volume("web-a", None), volume("web-b", Some("web")), volume("web-c", Some("web-c"))];
        let lists = Lists { volumes, ..Lists::default() };
        let entry = [Owned::Volumes(OwnedBy::Name("web-*".to_owned()))];
        let things = lists.matching(&"web".parse().unwrap(), &entry).unwrap();
        assert_eq!(things, ["web-a", "web-b"].map(|name| OwnedThing::Volume(name.to_owned())));
    }

    #[test]
    fn a_glob_is_of_the_whole_name() {
        let matches = glob("kernel-*").unwrap();
        assert!(matches("kernel-1") && !matches("my-kernel-1"));
    }
}
