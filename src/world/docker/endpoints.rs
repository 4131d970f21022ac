//! The networks that a container joins, as the engine takes them. Pure.

use std::collections::HashMap;

use bollard::models::{EndpointIpamConfig, EndpointSettings};

use super::body::{Surroundings, filled, map};
use super::connect::ApiVersion;
use super::sharing;
use crate::model::container::Container;
use crate::model::network::Attachment;
use crate::plan::action::Fault;
use crate::plan::desired::UnitSpec;

/// The driver's option by which an engine is told what an interface is called inside (Engine API 1.49).
const INTERFACE_NAME: &str = "com.docker.network.endpoint.ifname";

/// How a container is connected.
pub(super) struct Networking {
    /// `HostConfig.NetworkMode`.
    pub(super) mode: String,
    /// `HostConfig.Links`, which the engine's own `bridge` network alone knows.
    pub(super) links: Vec<String>,
    /// Joined at the creation.
    pub(super) first: Option<HashMap<String, EndpointSettings>>,
    /// Joined after it.
    pub(super) later: Vec<(String, EndpointSettings)>,
    /// The hardware address for an engine that knows only one for all networks.
    pub(super) mac_address: Option<String>,
}

impl Networking {
    /// How a unit's container is connected; `name` is the container's.
    pub(super) fn of(spec: &UnitSpec, container: &Container, name: &str, around: &Surroundings) -> Result<Self, Fault> {
        let links = sharing::links(container, &spec.deployment);
        let knows_many = around.version >= ApiVersion::v1(44);
        if let Some(mode) = &container.network_mode {
            return Ok(Self {
                mode: sharing::namespace(mode, &around.partners)?,
                links,
                first: None,
                later: Vec::new(),
                mac_address: container.mac_address.clone(),
            });
        }
        let mut endpoints = Vec::with_capacity(container.networks.len());
        for (key, attachment) in by_priority(container) {
            let engine_name = spec.deployment.network_name(key);
            let endpoint = endpoint(spec, name, attachment, &engine_name, &links, around);
            endpoints.push((engine_name, endpoint));
        }
        let (mode, main) = &mut endpoints[0];
        let mode = mode.clone();
        if main.mac_address.is_none() {
            main.mac_address.clone_from(&container.mac_address);
        }
        let mac_address = if knows_many { None } else { main.mac_address.take() };
        let at_once = if knows_many { endpoints.len() } else { 1 };
        let later = endpoints.split_off(at_once);
        Ok(Self { mode, links, first: Some(endpoints.into_iter().collect()), later, mac_address })
    }
}

/// The networks by key, as Compose connects them: the highest priority first, then by name. Never empty.
pub(super) fn by_priority(container: &Container) -> Vec<(&str, Option<&Attachment>)> {
    let mut networks: Vec<(&str, Option<&Attachment>)> =
        container.networks.iter().map(|(key, attachment)| (key.as_str(), attachment.as_ref())).collect();
    if networks.is_empty() {
        networks.push(("default", None));
    }
    networks.sort_by_key(|(key, attachment)| (std::cmp::Reverse(attachment.map_or(0, |a| a.priority)), *key));
    networks
}

fn endpoint(
    spec: &UnitSpec,
    name: &str,
    attachment: Option<&Attachment>,
    engine_name: &str,
    links: &[String],
    around: &Surroundings,
) -> EndpointSettings {
    let attachment = attachment.cloned().unwrap_or_default();
    let mut aliases = vec![name.to_owned()];
    if around.one_off.as_ref().is_none_or(|one_off| one_off.aliases) {
        aliases.push(spec.unit.service.to_string());
        aliases.extend(attachment.aliases);
    }
    let mut driver_opts = attachment.driver_opts;
    if let Some(interface) = attachment.interface_name {
        driver_opts.insert(INTERFACE_NAME.to_owned(), interface);
    }
    let has_address =
        attachment.ipv4_address.is_some() || attachment.ipv6_address.is_some() || !attachment.link_local_ips.is_empty();
    EndpointSettings {
        // The engine refuses aliases on its own networks.
        aliases: (!matches!(engine_name, "bridge" | "host" | "none" | "default")).then_some(aliases),
        links: filled(links.to_vec()),
        mac_address: attachment.mac_address,
        driver_opts: map(&driver_opts),
        gw_priority: (attachment.gw_priority != 0).then_some(attachment.gw_priority),
        ipam_config: has_address.then_some(EndpointIpamConfig {
            ipv4_address: attachment.ipv4_address,
            ipv6_address: attachment.ipv6_address,
            link_local_ips: filled(attachment.link_local_ips),
        }),
        ..Default::default()
    }
}
