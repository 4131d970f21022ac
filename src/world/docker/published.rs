//! Where a container's port is on the host, also one that the engine picked.

use bollard::query_parameters::ListContainersOptions;

use super::Docker;
use crate::base::name::EnvId;
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

    /// All ports of this host that the containers of an environment hold.
    pub async fn published_ports(&self, env: &EnvId) -> Result<Vec<u16>, Fault> {
        let link = self.link().await?;
        let label = format!("com.docker.compose.project={env}");
        let filters = [("label".to_owned(), vec![label])].into();
        let options = ListContainersOptions { filters: Some(filters), ..ListContainersOptions::default() };
        let containers = link.api.list_containers(Some(options)).await?;
        let ports = containers.into_iter().flat_map(|container| container.ports.unwrap_or_default());
        Ok(ports.filter_map(|port| port.public_port).collect())
    }
}
