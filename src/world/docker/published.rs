//! Where a container's port is on the host, also one that the engine picked.

use super::Docker;
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
