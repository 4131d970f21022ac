//! The labels by which things are found again: Compose's, so that other tools see them, signed as ours.

use std::collections::{BTreeMap, HashMap};

use crate::base::name::{EnvId, UnitId};
use crate::model::depends::{Condition, Dependency};
use crate::model::service::Service;
use crate::plan::desired::{Deployment, UnitSpec};
use crate::plan::hash::ConfigHash;

/// The environment.
pub(super) const PROJECT: &str = "com.docker.compose.project";
/// The service.
pub(super) const SERVICE: &str = "com.docker.compose.service";
/// The replica, from 1.
pub(super) const NUMBER: &str = "com.docker.compose.container-number";
/// `True` for what `run` made.
pub(super) const ONE_OFF: &str = "com.docker.compose.oneoff";
/// The hash of the definition.
pub(super) const CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// The id of the image.
pub(super) const IMAGE: &str = "com.docker.compose.image";
/// The ids of the images that are mounted: `path=id,…`.
pub(super) const MOUNTED_IMAGES: &str = "com.docker.compose.image-volume-digest";
/// `service:condition:restart,…`.
pub(super) const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// The release that made it.
pub(super) const VERSION: &str = "com.docker.compose.version";
/// The stack's directory.
pub(super) const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
/// The stack's files.
pub(super) const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
/// The state of the environment that it was made for: others of the same name may have theirs elsewhere.
pub(super) const STATE: &str = "baistack.state";
/// Distinguishes the one-off containers of a service.
pub(super) const SLUG: &str = "com.docker.compose.slug";
/// The kind of hook that a container was made for.
pub(super) const HOOK: &str = "com.docker.compose.hook";
/// The key of a network in the files.
pub(super) const NETWORK: &str = "com.docker.compose.network";
/// The key of a volume in the files.
pub(super) const VOLUME: &str = "com.docker.compose.volume";
/// What was made to look at files or to remove them has it.
pub(super) const REMOVES: &str = "baistack.removes";
/// How we sign what we make: no release of Compose ends so. A hash beside it is one of ours and can be compared.
pub(super) const OUR_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+baistack");

/// What the engine keeps beside a thing.
pub(super) type Labels = HashMap<String, String>;

/// A label's value.
pub(super) fn get<'a>(labels: Option<&'a Labels>, name: &str) -> Option<&'a str> {
    labels?.get(name).map(String::as_str)
}

/// The hash label, and whether it is one of ours.
pub(super) fn hash(labels: Option<&Labels>) -> (Option<ConfigHash>, bool) {
    let hash = get(labels, CONFIG_HASH);
    let is_signed = get(labels, VERSION).is_some_and(is_ours);
    (hash.map(ConfigHash::from_label), hash.is_some() && is_signed)
}

/// Whether the release that made something is one of ours.
pub(super) fn is_ours(version: &str) -> bool {
    version.ends_with("+baistack")
}

/// Whether a container was made for a service, by us or by Compose. One that only comes of a service's image (a step of its
/// build, a `docker run`) has inherited project and service from that, but no hash of a definition; Compose tells them apart in
/// the same way.
pub(super) fn is_of_service(labels: Option<&Labels>) -> bool {
    [SERVICE, CONFIG_HASH].iter().all(|label| get(labels, label).is_some())
}

/// The unit that the labels name; none for labels that no unit can have.
pub(super) fn unit(labels: Option<&Labels>) -> Option<UnitId> {
    let service = get(labels, SERVICE)?.parse().ok()?;
    let replica = get(labels, NUMBER)?.parse().ok()?;
    Some(UnitId::new(service, replica))
}

/// The ids of the images that a container mounts, by the path inside.
pub(super) fn mounted_images(labels: Option<&Labels>) -> BTreeMap<String, String> {
    let mut mounted = BTreeMap::new();
    let mut path = String::new();
    for piece in get(labels, MOUNTED_IMAGES).unwrap_or_default().split(',') {
        path.push_str(piece);
        match path.rsplit_once('=').filter(|(_, id)| is_id(id)) {
            Some((path, id)) => drop(mounted.insert(path.to_owned(), id.to_owned())),
            // The comma is the path's own.
            None => {
                path.push(',');
                continue;
            }
        }
        path.clear();
    }
    mounted
}

/// Whether this is the id of an image, with the name of its hash or without.
fn is_id(text: &str) -> bool {
    let digits = text.rsplit(':').next().unwrap_or(text);
    digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn of_mounted_images(mounted: &BTreeMap<String, String>) -> String {
    let mut pairs: Vec<String> = mounted.iter().map(|(path, id)| format!("{path}={id}")).collect();
    // As Compose sorts them.
    pairs.sort_unstable();
    pairs.join(",")
}

/// A filter that finds what carries the environment's label.
pub(super) fn of_env(env: &EnvId) -> String {
    format!("{PROJECT}={env}")
}

/// A one-off container's own.
#[derive(Debug, Clone)]
pub(super) struct OneOff {
    /// Its name.
    pub(super) name: String,
    /// Twelve hexadecimal digits.
    pub(super) slug: String,
    /// Whether it has the service's names in its networks.
    pub(super) aliases: bool,
}

/// The images of a container, by their ids.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OfImages<'a> {
    /// What it is made of.
    pub(super) image: Option<&'a str>,
    /// What it mounts, by the path inside.
    pub(super) mounted: Option<&'a BTreeMap<String, String>>,
}

/// The labels of a unit's container: the user's, over which Compose's win.
pub(super) fn of_container(spec: &UnitSpec, images: OfImages<'_>, one_off: Option<&OneOff>) -> Labels {
    let deployment = &spec.deployment;
    let service = spec.service();
    let mut labels: Labels = service.common.labels.clone().into_iter().collect();
    let files: Vec<String> = deployment.stack.files.iter().map(|file| file.display().to_string()).collect();
    let mut set = |name: &str, value: String| labels.insert(name.to_owned(), value);
    set(PROJECT, deployment.env.to_string());
    set(SERVICE, spec.unit.service.to_string());
    set(NUMBER, spec.unit.replica.to_string());
    set(ONE_OFF, if one_off.is_some() { "True" } else { "False" }.to_owned());
    set(CONFIG_HASH, spec.hash.to_string());
    set(DEPENDS_ON, depends_on(service, deployment));
    set(VERSION, OUR_VERSION.to_owned());
    set(WORKING_DIR, deployment.stack.directory.display().to_string());
    set(CONFIG_FILES, files.join(","));
    if !deployment.places.state_dir.as_os_str().is_empty() {
        set(STATE, deployment.places.state_dir.display().to_string());
    }
    if let Some(image) = images.image {
        set(IMAGE, image.to_owned());
    }
    if let Some(mounted) = images.mounted.filter(|mounted| !mounted.is_empty()) {
        set(MOUNTED_IMAGES, of_mounted_images(mounted));
    }
    if let Some(one_off) = one_off {
        set(SLUG, one_off.slug.clone());
    }
    labels
}

/// The edges to other containers. Processes are left out: Compose takes a service that it cannot find for an error.
fn depends_on(service: &Service, deployment: &Deployment) -> String {
    let containers = service
        .common
        .depends_on
        .iter()
        .filter(|(name, _)| deployment.service(name).is_some_and(|dependency| !dependency.is_process()));
    let edges = containers.map(|(name, Dependency { condition, restart, .. })| {
        let condition = match condition {
            Condition::Started => "service_started",
            Condition::Healthy => "service_healthy",
            Condition::Completed => "service_completed_successfully",
        };
        format!("{name}:{condition}:{restart}")
    });
    edges.collect::<Vec<_>>().join(",")
}

/// The labels of a network (`kind` is [`NETWORK`]) or volume ([`VOLUME`]).
pub(super) fn of_resource(
    users: impl IntoIterator<Item = (String, String)>,
    env: &EnvId,
    kind: &str,
    key: &str,
    hash: &ConfigHash,
) -> Labels {
    let mut labels: Labels = users.into_iter().collect();
    let ours =
        [(PROJECT, env.to_string()), (kind, key.to_owned()), (VERSION, OUR_VERSION.to_owned()), (CONFIG_HASH, hash.to_string())];
    labels.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted_images_are_read_as_they_are_written() {
        let id = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let mounted =
            BTreeMap::from([("/a", "0"), ("/a-b", "1"), ("/c,d=e", "2")].map(|(path, digit)| (path.to_owned(), id(digit))));
        let text = of_mounted_images(&mounted);
        // `-` comes before `=`.
        assert_eq!(text, format!("/a-b={},/a={},/c,d=e={}", id("1"), id("0"), id("2")));
        assert_eq!(mounted_images(Some(&[(MOUNTED_IMAGES.to_owned(), text)].into())), mounted);
        assert_eq!(mounted_images(None), BTreeMap::new());
    }

    #[test]
    fn a_hash_is_ours_where_the_version_beside_it_is() {
        for (version, expected) in [(OUR_VERSION, true), ("5.6.1", false), ("", false)] {
            let labels = [(CONFIG_HASH, "h"), (VERSION, version)].map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(hash(Some(&labels.into())), (Some(ConfigHash::from_label("h")), expected), "{version}");
        }
        let unhashed = [(VERSION.to_owned(), OUR_VERSION.to_owned())];
        assert_eq!(hash(Some(&unhashed.into())), (None, false));
    }
}
