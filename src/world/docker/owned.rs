//! `owns:`: what services made outside of our sight, found by label, name or what it mounts.

use std::path::{Path, PathBuf};

use bollard::query_parameters::{
    ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveImageOptionsBuilder,
    RemoveVolumeOptions,
};
use std::collections::HashMap;

use super::connect::Link;
use super::container::{Removal, remove_by_id};
use super::listing::{UNTAGGED, image_names};
use super::observe::{list_containers, name_of};
use super::{Docker, error};
use crate::model::owned::{Owned, OwnedBy};
use crate::model::pattern;
use crate::plan::action::{Fault, Outcome};

/// A thing that an environment owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnedThing {
    /// A container.
    Container {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// A network, by name.
    Network(String),
    /// A volume, by name.
    Volume(String),
    /// An image, by its first tag, else its id.
    Image(String),
}

impl Docker {
    /// What there is of these entries; files are not the engine's.
    pub async fn owned(&self, entries: &[Owned]) -> Result<Vec<OwnedThing>, Fault> {
        if entries.iter().all(|entry| matches!(entry, Owned::Paths(_))) {
            return Ok(Vec::new());
        }
        let link = self.link().await?;
        let mut things = Vec::new();
        for entry in entries {
            match entry {
                Owned::Containers(by) => things.extend(containers(&link, by).await?),
                Owned::Networks(by) => things.extend(networks(&link, by).await?),
                Owned::Volumes(by) => things.extend(volumes(&link, by).await?),
                Owned::Images(by) => things.extend(images(&link, by).await?),
                Owned::Paths(_) => {}
            }
        }
        // Containers first: they hold the others.
        things.sort();
        things.dedup();
        Ok(things)
    }

    /// Removes what there is of these entries: containers and networks, with `volumes` also volumes and images. What cannot be
    /// removed keeps nothing else from being removed, and is told at the end, each with its reason.
    pub async fn remove_owned(&self, entries: &[Owned], volumes: bool) -> Result<Outcome, Fault> {
        let mut left = Vec::new();
        for thing in self.owned(entries).await? {
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
                remove_by_id(&link, id, Removal { volumes: true, force: true }).await?;
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

fn label_filter(label: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![label.to_owned()])])
}

/// A matcher of whole names; in a name `/` is a character like any other.
fn glob(name: &str) -> Result<impl Fn(&str) -> bool + use<>, Fault> {
    let glob = pattern::of_names(name).map_err(Fault::permanent)?.compile_matcher();
    Ok(move |name: &str| glob.is_match(name))
}

fn mounts_only_containers() -> Fault {
    Fault::permanent("`owns`: only containers are known by what they mount")
}

async fn containers(link: &Link, by: &OwnedBy) -> Result<Vec<OwnedThing>, Fault> {
    let filters = match by {
        OwnedBy::Label(label) => vec![("label", label.clone())],
        OwnedBy::Name(_) | OwnedBy::Mounts(_) => Vec::new(),
    };
    let mut list = list_containers(link, &filters).await?;
    match by {
        OwnedBy::Label(_) => {}
        OwnedBy::Name(pattern) => {
            let matches = glob(pattern)?;
            list.retain(|container| matches(&name_of(container)));
        }
        OwnedBy::Mounts(path) => {
            let path = plain_path(path)?;
            list.retain(|container| {
                container.mounts.iter().flatten().any(|mount| {
                    mount.typ.as_deref() == Some("bind")
                        && mount.source.as_deref().is_some_and(|at| Path::new(at).starts_with(&path))
                })
            });
        }
    }
    Ok(list
        .into_iter()
        .map(|container| OwnedThing::Container { name: name_of(&container), id: container.id.unwrap_or_default() })
        .collect())
}

/// An absolute path that names something of one's own: the root would own every container.
fn plain_path(path: &str) -> Result<PathBuf, Fault> {
    let path = PathBuf::from(path);
    let deep =
        path.is_absolute() && path.parent().is_some() && path.components().all(|part| part != std::path::Component::ParentDir);
    if deep { Ok(path) } else { Err(Fault::permanent(format!("`owns`: `{}` is not a path that could be owned", path.display()))) }
}

async fn networks(link: &Link, by: &OwnedBy) -> Result<Vec<OwnedThing>, Fault> {
    let mut options = ListNetworksOptionsBuilder::default();
    if let OwnedBy::Label(label) = by {
        options = options.filters(&label_filter(label));
    }
    let list = link.api.list_networks(Some(options.build())).await?;
    Ok(named(list.into_iter().filter_map(|network| network.name), by)?.into_iter().map(OwnedThing::Network).collect())
}

async fn volumes(link: &Link, by: &OwnedBy) -> Result<Vec<OwnedThing>, Fault> {
    let mut options = ListVolumesOptionsBuilder::default();
    if let OwnedBy::Label(label) = by {
        options = options.filters(&label_filter(label));
    }
    let list = link.api.list_volumes(Some(options.build())).await?.volumes.unwrap_or_default();
    Ok(named(list.into_iter().map(|volume| volume.name), by)?.into_iter().map(OwnedThing::Volume).collect())
}

async fn images(link: &Link, by: &OwnedBy) -> Result<Vec<OwnedThing>, Fault> {
    let mut options = ListImagesOptionsBuilder::default();
    if let OwnedBy::Label(label) = by {
        options = options.filters(&label_filter(label));
    }
    let list = link.api.list_images(Some(options.build())).await?;
    let names: Vec<String> = match by {
        // One without a name matches none, not even `*`.
        OwnedBy::Name(_) => list.into_iter().flat_map(|image| image.repo_tags).filter(|tag| tag != UNTAGGED).collect(),
        OwnedBy::Label(_) | OwnedBy::Mounts(_) => {
            list.into_iter().flat_map(|image| image_names(image.repo_tags, image.id)).collect()
        }
    };
    Ok(named(names, by)?.into_iter().map(OwnedThing::Image).collect())
}

fn named(names: impl IntoIterator<Item = String>, by: &OwnedBy) -> Result<Vec<String>, Fault> {
    match by {
        OwnedBy::Label(_) => Ok(names.into_iter().collect()),
        OwnedBy::Name(pattern) => {
            let matches = glob(pattern)?;
            Ok(names.into_iter().filter(|name| matches(name)).collect())
        }
        OwnedBy::Mounts(_) => Err(mounts_only_containers()),
    }
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

    #[test]
    fn a_glob_is_of_the_whole_name() {
        let matches = glob("kernel-*").unwrap();
        assert!(matches("kernel-1") && !matches("my-kernel-1"));
    }
}
