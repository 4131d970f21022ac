//! What an engine may be too old for: which version of its interface each attribute needs. Pure.
//!
//! An engine passes over the fields that it does not know, and the container would be another one than was asked for. So nothing
//! is started before this list has been asked (moby `docs/api/version-history.md` has the versions).

use std::fmt;

use super::connect::ApiVersion;
use super::resources::is_cdi;
use crate::base::name::ServiceName;
use crate::model::container::Container;
use crate::model::mount::{Mount, MountKind};
use crate::model::network::{Attachment, Network};
use crate::model::service::Common;
use crate::plan::desired::Deployment;

/// That an attribute needs an engine of some age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    attribute: String,
    since: Since,
}

/// The first version that knows something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since {
    api: ApiVersion,
    release: &'static str,
}

const fn since(minor: u32, release: &'static str) -> Since {
    Since { api: ApiVersion::v1(minor), release }
}

const CLUSTER_VOLUME: Since = since(42, "23");
const ANNOTATIONS: Since = since(43, "24");
/// Also the first that takes all networks at the creation, each with a hardware address of its own.
const MAC_ADDRESS: Since = since(44, "25");
const RECURSIVELY_READ_ONLY: Since = MAC_ADDRESS;
const CDI: Since = MAC_ADDRESS;
const VOLUME_SUBPATH: Since = since(45, "26");
const IMAGE_MOUNT: Since = since(48, "28");
const GATEWAY_PRIORITY: Since = IMAGE_MOUNT;
const IPV4_OFF: Since = IMAGE_MOUNT;
const INTERFACE_NAME: Since = since(49, "28.1");

impl Need {
    fn new(attribute: impl Into<String>, since: Since) -> Self {
        Self { attribute: attribute.into(), since }
    }

    /// Whether an engine of this version can.
    pub(super) fn is_met(&self, version: ApiVersion) -> bool {
        version >= self.since.api
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` needs Docker Engine {} (API {})", self.attribute, self.since.release, self.since.api)
    }
}

/// What a container needs.
pub(super) fn of_service<'a>(common: &'a Common, container: &'a Container) -> impl Iterator<Item = Need> + 'a {
    let when = |holds: bool, attribute: &str, since: Since| holds.then(|| Need::new(attribute, since));
    let single = [
        when(!common.annotations.is_empty(), "annotations", ANNOTATIONS),
        when(container.devices.iter().any(is_cdi), "devices", CDI),
    ];
    let attachments = super::endpoints::by_priority(container).into_iter().enumerate();
    let attachments = attachments.filter_map(|(place, (key, attachment))| Some((place, key, attachment?)));
    let of_networks = attachments.flat_map(|(place, key, attachment)| of_attachment(place, key, attachment));
    let hooks = container.pre_start.iter().flat_map(|hook| hook.networks.iter());
    let of_hooks = hooks.filter_map(|(key, attachment)| Some((key, attachment.as_ref()?)));
    let of_hooks = of_hooks.flat_map(|(key, attachment)| of_attachment(0, key, attachment));
    let of_mounts = container.volumes.iter().filter_map(of_mount);
    single.into_iter().flatten().chain(of_networks).chain(of_hooks).chain(of_mounts)
}

/// What the attachment to a network needs; `place` counts from the one that is joined first.
fn of_attachment(place: usize, key: &str, attachment: &Attachment) -> Vec<Need> {
    let name = |attribute: &str| format!("networks.{key}.{attribute}");
    // An older engine has one hardware address for a container, that of its first network.
    let mac = (place > 0 && attachment.mac_address.is_some()).then(|| Need::new(name("mac_address"), MAC_ADDRESS));
    let gateway = (attachment.gw_priority != 0).then(|| Need::new(name("gw_priority"), GATEWAY_PRIORITY));
    let interface = attachment.interface_name.is_some().then(|| Need::new(name("interface_name"), INTERFACE_NAME));
    [mac, gateway, interface].into_iter().flatten().collect()
}

fn of_mount(mount: &Mount) -> Option<Need> {
    let name = |attribute: &str| format!("volumes: {}: {attribute}", mount.target);
    let recursive = mount.bind.as_ref().and_then(|bind| bind.recursive.as_deref());
    let has_subpath = mount.volume.as_ref().is_some_and(|volume| volume.subpath.is_some());
    match mount.kind {
        MountKind::Bind if matches!(recursive, Some("writable" | "readonly")) => {
            Some(Need::new(name("bind.recursive"), RECURSIVELY_READ_ONLY))
        }
        MountKind::Volume if has_subpath => Some(Need::new(name("volume.subpath"), VOLUME_SUBPATH)),
        MountKind::Image => Some(Need::new(name("type: image"), IMAGE_MOUNT)),
        MountKind::Cluster => Some(Need::new(name("type: cluster"), CLUSTER_VOLUME)),
        MountKind::Bind | MountKind::Volume | MountKind::Tmpfs | MountKind::Npipe => None,
    }
}

/// What a network needs.
pub(super) fn of_network(network: &Network) -> Option<Need> {
    let is_ours = !network.external;
    // That there are addresses of version 4 is so everywhere.
    (is_ours && network.enable_ipv4 == Some(false)).then(|| Need::new("enable_ipv4", IPV4_OFF))
}

/// All that these services ask of an engine that is too old for it, one sentence each.
pub(super) fn unmet(deployment: &Deployment, services: &[ServiceName], version: ApiVersion, release: &str) -> Vec<String> {
    let containers = services.iter().filter_map(|name| {
        let service = deployment.service(name).filter(|service| service.needs_engine())?;
        Some((name, &service.common, service.container()?))
    });
    let mut all = Vec::new();
    let mut networks = Vec::new();
    for (name, common, container) in containers {
        all.extend(of_service(common, container).map(|need| (format!("`{name}`"), need)));
        networks.extend(container.networks.keys().filter_map(|key| deployment.stack.networks.get_key_value(key)));
    }
    networks.sort_by_key(|(key, _)| *key);
    networks.dedup_by_key(|(key, _)| *key);
    all.extend(networks.into_iter().filter_map(|(key, network)| Some((format!("the network `{key}`"), of_network(network)?))));
    let unmet = all.into_iter().filter(|(_, need)| !need.is_met(version));
    unmet.map(|(whose, need)| format!("{whose}: {need} or newer, and this one is {release} (API {version})")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(container: Value, common: Value, attribute: &str, minor: u32) {
        let (common, container): (Common, Container) =
            (serde_json::from_value(common).unwrap(), serde_json::from_value(container).unwrap());
        let needs: Vec<Need> = of_service(&common, &container).collect();
        assert_eq!(needs.len(), 1, "{needs:?}");
        assert_eq!(needs[0].attribute, attribute);
        assert!(!needs[0].is_met(ApiVersion::v1(minor - 1)) && needs[0].is_met(ApiVersion::v1(minor)), "{}", needs[0]);
    }

    #[test]
    fn each_attribute_needs_the_version_that_brought_it() {
        let none = json!({});
        check(none.clone(), json!({"annotations": {"a": "b"}}), "annotations", 43);
        check(json!({"devices": [{"source": "v.com/gpu=0"}]}), none.clone(), "devices", 44);
        let networks = |second: Value| json!({"networks": {"a": null, "b": second}});
        check(networks(json!({"mac_address": "02:42:ac:11:00:02"})), none.clone(), "networks.b.mac_address", 44);
        check(networks(json!({"gw_priority": 1})), none.clone(), "networks.b.gw_priority", 48);
        check(networks(json!({"interface_name": "eth7"})), none.clone(), "networks.b.interface_name", 49);
        let mount = |kind: &str, key: &str, options: Value| json!({"volumes": [{"type": kind, "source": "s", "target": "/t", key: options}]});
        check(mount("bind", "bind", json!({"recursive": "readonly"})), none.clone(), "volumes: /t: bind.recursive", 44);
        check(mount("volume", "volume", json!({"subpath": "s"})), none.clone(), "volumes: /t: volume.subpath", 45);
        check(mount("image", "image", json!({"subpath": "s"})), none.clone(), "volumes: /t: type: image", 48);
        check(mount("cluster", "volume", none.clone()), none, "volumes: /t: type: cluster", 42);
    }

    #[test]
    fn a_probe_that_comes_less_often_at_the_start_is_no_reason_to_refuse() {
        let common = json!({"healthcheck": {"test": ["CMD", "x"], "start_period": "5s", "start_interval": "1s"}});
        let common: Common = serde_json::from_value(common).unwrap();
        assert_eq!(of_service(&common, &Container::default()).count(), 0);
    }

    #[test]
    fn a_first_hardware_address_is_known_to_every_engine() {
        let container: Container =
            serde_json::from_value(json!({"networks": {"a": {"mac_address": "02:42:ac:11:00:02"}, "b": {"priority": -1}}}))
                .unwrap();
        assert_eq!(of_service(&Common::default(), &container).count(), 0);
    }
}
