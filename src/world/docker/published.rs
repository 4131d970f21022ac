//! Where a container's port is on the host, also one that the engine picked, and which container holds a port of the host.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};

use super::observe::{list_containers, name_of};
use super::{Docker, OwnedThing, labels};
use crate::base::name::EnvId;
use crate::model::owned::Owned;
use crate::plan::action::Fault;

impl Docker {
    /// Address and port on the host; none when the port is not published.
    pub async fn published(&self, container: &str, target: u16, protocol: &str) -> Result<Option<(String, u16)>, Fault> {
        let link = self.link().await?;
        let container = link.api.inspect_container(container, None).await?;
        let ports = container.network_settings.and_then(|network| network.ports).unwrap_or_default();
        let bindings = ports.get(&format!("{target}/{protocol}")).cloned().flatten().unwrap_or_default();
        let binding = bindings.into_iter().find_map(|binding| {
            let port = binding.host_port?.parse().ok()?;
            Some((binding.host_ip.filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned()), port))
        });
        Ok(binding)
    }
}

/// A container that holds a port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOfContainer {
    /// The container's name.
    pub name: String,
    /// The environment that its label names.
    pub env: Option<String>,
    /// Whether it is the asking environment's own, by label or because it `owns` it.
    pub own: bool,
}

/// What containers hold of the ports of the engine's host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldPorts {
    /// Who holds what the engine publishes.
    pub published: BTreeMap<u16, PortOfContainer>,
    /// The ids of those of the asking environment's containers that are alive on the host's own network: they may listen on any port,
    /// and the engine does not know on which.
    pub on_host: BTreeSet<String>,
}

impl Docker {
    /// The ports of the host that containers hold, as seen by an environment that owns these things beside its own.
    pub async fn held_ports(&self, env: &EnvId, owned: &[Owned]) -> Result<HeldPorts, Fault> {
        let link = self.link().await?;
        let containers: Vec<Owned> = owned.iter().filter(|entry| matches!(entry, Owned::Containers(_))).cloned().collect();
        let owned = self.owned(env, &containers).await?;
        let mut held = HeldPorts::default();
        let containers = list_containers(&link, &[]).await?;
        let on_host: BTreeSet<&str> =
            containers.iter().filter(|it| mode(it) == "host").filter_map(|it| it.id.as_deref()).collect();
        for container in &containers {
            let id = container.id.clone().unwrap_or_default();
            let label = labels::get(container.labels.as_ref(), labels::PROJECT).map(str::to_owned);
            let is_owned = owned.iter().any(|thing| matches!(thing, OwnedThing::Container { id: owned, .. } if *owned == id));
            let own = is_owned || label.as_deref() == Some(env.as_str());
            let seen = PortOfContainer { name: name_of(container), env: label, own };
            // One that is in the network of such a container is there too.
            let is_there =
                mode(container) == "host" || mode(container).strip_prefix("container:").is_some_and(|id| on_host.contains(id));
            if own && is_there && is_alive(container) {
                held.on_host.insert(id);
            }
            for port in container.ports.iter().flatten().filter_map(|port| port.public_port) {
                held.published.insert(port, seen.clone());
            }
        }
        Ok(held)
    }
}

/// `network_mode`.
fn mode(container: &ContainerSummary) -> &str {
    container.host_config.as_ref().and_then(|config| config.network_mode.as_deref()).unwrap_or_default()
}

fn is_alive(container: &ContainerSummary) -> bool {
    use ContainerSummaryStateEnum::{PAUSED, RESTARTING, RUNNING};
    matches!(container.state, Some(RUNNING | PAUSED | RESTARTING))
}
