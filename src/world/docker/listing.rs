//! The containers of an environment as people see them: for the commands that show or address single containers.
//!
//! [`observe`](super::observe) tells the machine what it has to know; here is what `docker ps` would say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, ImageSummary, MountPoint, PortSummary};
use bollard::query_parameters::{ListImagesOptionsBuilder, ListVolumesOptionsBuilder};

use super::labels;
use super::observe::{list_containers, name_of};
use super::{Docker, error};
use crate::base::name::{EnvId, UnitId};
use crate::model::port::PublishedPort;
use crate::plan::action::{AnonymousVolume, Fault, is_anonymous_volume};

/// What stands for the tag of an image that has lost it to a later build, before API 1.43.
pub(super) const UNTAGGED: &str = "<none>:<none>";

/// One container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The unit that its labels name; none for labels that no unit can have.
    pub unit: Option<UnitId>,
    /// Made by `run`.
    pub one_off: bool,
    /// The image's reference as it was given.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// The ids of the images that it mounts, by the path inside.
    pub mounted_images: BTreeMap<String, String>,
    /// `running`, `paused`, `exited`, …
    pub state: String,
    /// `Up 5 minutes (healthy)`.
    pub status: String,
    /// What it runs, as one line.
    pub command: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Its ports, and where they are on the host by now.
    pub ports: Vec<PublishedPort>,
    /// The volumes that it mounts, by name.
    pub volumes: Vec<String>,
    /// Those of them that nobody has named.
    pub anonymous: Vec<AnonymousVolume>,
    /// How many of its volumes are the engine's own.
    pub local_volumes: usize,
    /// What it mounts: volumes by name, what is the host's by its path.
    pub mounts: Vec<String>,
    /// The networks that it is in, by name.
    pub networks: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Listed {
    /// Whether it runs, stands still, or is about to run again.
    pub fn is_alive(&self) -> bool {
        matches!(self.state.as_str(), "running" | "paused" | "restarting")
    }

    /// The directory of the stack that it was made for.
    pub fn directory(&self) -> Option<&Path> {
        self.labels.get(labels::WORKING_DIR).map(Path::new)
    }

    /// Where the state of the environment is that made it; none where nobody says, as of what Compose made. An image that was made of a
    /// container of ours hands the label down.
    pub fn state_dir(&self) -> Option<&Path> {
        self.labels.get(labels::STATE).filter(|_| self.is_by_us()).map(Path::new)
    }

    /// Whether we have made it, and not Compose.
    pub fn is_by_us(&self) -> bool {
        self.labels.get(labels::VERSION).is_some_and(|version| labels::is_ours(version))
    }
}

/// What an image is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// `linux/amd64`.
    pub platform: String,
    /// Bytes.
    pub size: u64,
    /// When it was made, in RFC 3339.
    pub created: Option<String>,
    /// Its tags, as `repository:tag`.
    pub tags: Vec<String>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVolume {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Where it lies on the engine's host.
    pub mountpoint: String,
    /// `local`.
    pub scope: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Docker {
    /// The volumes of an environment, by name.
    pub async fn list_volumes(&self, env: &EnvId) -> Result<Vec<ListedVolume>, Fault> {
        let filters = HashMap::from([("label", vec![labels::of_env(env)])]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let answer = self.link().await?.api.list_volumes(Some(options)).await?;
        let mut listed: Vec<ListedVolume> = (answer.volumes.into_iter().flatten())
            .map(|volume| ListedVolume {
                scope: volume.scope.map(|scope| scope.to_string()).unwrap_or_default(),
                labels: volume.labels.into_iter().collect(),
                name: volume.name,
                driver: volume.driver,
                mountpoint: volume.mountpoint,
            })
            .collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// Those of these volumes that are there.
    pub async fn existing_volumes(&self, names: impl IntoIterator<Item = String>) -> Result<BTreeSet<String>, Fault> {
        let link = self.link().await?;
        let mut there = BTreeSet::new();
        for name in names {
            match link.api.inspect_volume(&name).await {
                Ok(_) => drop(there.insert(name)),
                Err(error) if error::is_not_found(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(there)
    }

    /// The containers of an environment in any state, one-off ones too, by service and replica.
    pub async fn list(&self, env: &EnvId) -> Result<Vec<Listed>, Fault> {
        let link = self.link().await?;
        let list = list_containers(&link, &[("label", labels::of_env(env))]).await?;
        let ours = list.into_iter().filter(|summary| labels::is_of_service(summary.labels.as_ref()));
        let mut listed: Vec<Listed> = ours.map(|summary| of_summary(&summary)).collect();
        listed.sort_by(|a, b| (&a.unit, a.one_off, a.created, &a.name).cmp(&(&b.unit, b.one_off, b.created, &b.name)));
        Ok(listed)
    }

    /// The images that were built for an environment, by all their tags, else their id.
    pub async fn images_of(&self, env: &EnvId) -> Result<Vec<String>, Fault> {
        // One that was made of a container has that container's labels, and is whoever's made it.
        let is_built = |image: &ImageSummary| !image.labels.contains_key(labels::NUMBER);
        let filters = HashMap::from([("label", vec![labels::of_env(env)])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images = self.link().await?.api.list_images(Some(options)).await?;
        Ok(images.into_iter().filter(is_built).flat_map(|image| image_names(image.repo_tags, image.id)).collect())
    }

    /// What an image is; none when it is gone.
    pub async fn image_facts(&self, id: &str) -> Result<Option<ImageFacts>, Fault> {
        let image = match self.link().await?.api.inspect_image(id).await {
            Ok(image) => image,
            Err(error) if error::is_not_found(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let parts = [image.os, image.architecture, image.variant].into_iter().flatten().filter(|part| !part.is_empty());
        Ok(Some(ImageFacts {
            platform: parts.collect::<Vec<_>>().join("/"),
            size: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            created: image.created.as_ref().map(ToString::to_string),
            tags: image.repo_tags.unwrap_or_default(),
        }))
    }
}

/// The tags of an image, else its id.
pub(super) fn image_names(mut tags: Vec<String>, id: String) -> Vec<String> {
    tags.retain(|tag| tag != UNTAGGED);
    if tags.is_empty() { vec![id] } else { tags }
}

fn of_summary(summary: &ContainerSummary) -> Listed {
    let labels = summary.labels.as_ref();
    let mounts = || summary.mounts.iter().flatten();
    let volumes = mounts().filter_map(|mount| mount.name.clone());
    // As docker/cli's formatter has it: a name or a path.
    let source = |mount: &MountPoint| mount.name.clone().filter(|name| !name.is_empty()).or_else(|| mount.source.clone());
    let networks = summary.network_settings.iter().flat_map(|settings| settings.networks.iter().flatten());
    let mut networks: Vec<String> = networks.map(|(name, _)| name.clone()).collect();
    networks.sort_unstable();
    Listed {
        id: summary.id.clone().unwrap_or_default(),
        name: name_of(summary),
        unit: labels::unit(labels),
        one_off: labels::get(labels, labels::ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true")),
        image: summary.image.clone().unwrap_or_default(),
        image_id: summary.image_id.clone().unwrap_or_default(),
        mounted_images: labels::mounted_images(labels),
        state: summary.state.unwrap_or(ContainerSummaryStateEnum::EMPTY).to_string(),
        status: summary.status.clone().unwrap_or_default(),
        command: summary.command.clone().unwrap_or_default(),
        created: summary.created.unwrap_or(0),
        ports: summary.ports.iter().flatten().map(port).collect(),
        anonymous: anonymous_of(summary),
        volumes: volumes.filter(|name| !name.is_empty()).collect(),
        local_volumes: mounts().filter(|mount| mount.driver.as_deref() == Some("local")).count(),
        mounts: mounts().filter_map(source).collect(),
        networks,
        labels: labels.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// The volumes of a container that nobody has named.
pub(super) fn anonymous_of(summary: &ContainerSummary) -> Vec<AnonymousVolume> {
    let volumes = summary.mounts.iter().flatten().filter_map(|mount| Some((mount.name.clone()?, mount.destination.clone()?)));
    let anonymous = volumes.filter(|(name, _)| is_anonymous_volume(name));
    anonymous.map(|(name, path)| AnonymousVolume { name, container: name_of(summary), path }).collect()
}

fn port(port: &PortSummary) -> PublishedPort {
    PublishedPort {
        target: port.private_port,
        host_ip: port.ip.clone().unwrap_or_default(),
        published: port.public_port,
        protocol: port.typ.map(|protocol| protocol.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_all_its_tags_or_else_by_its_id() {
        for (tags, expected) in [
            (&["a:1", "b:1"][..], &["a:1", "b:1"][..]),
            (&["<none>:<none>"], &["sha256:0"]),
            (&["<none>:<none>", "a:1"], &["a:1"]),
            (&[], &["sha256:0"]),
        ] {
            assert_eq!(image_names(tags.iter().map(|&tag| tag.to_owned()).collect(), "sha256:0".to_owned()), expected);
        }
    }
}
