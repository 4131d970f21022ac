//! Named volumes of an environment.

use std::time::Duration;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::RemoveVolumeOptions;
use tokio::time::{Instant, sleep};

use super::observe::{list_containers, name_of};
use super::{Docker, error, labels};
use crate::model::volume::Volume;
use crate::plan::action::{Fault, Outcome};
use crate::plan::desired::Deployment;
use crate::plan::hash::ConfigHash;

/// How long a volume may still be held by a container that is being removed.
const LINGER: Duration = Duration::from_secs(10);

impl Docker {
    pub(super) async fn create_volume(&self, key: &str, deployment: &Deployment) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let definition = deployment.stack.volumes.get(key).cloned().unwrap_or_default();
        link.api.create_volume(create_request(key, deployment, definition)).await?;
        Ok(Outcome::Done)
    }

    /// Removes a volume, unless somebody else uses it.
    pub async fn remove_volume(&self, name: &str) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let owner = match link.api.inspect_volume(name).await {
            Ok(volume) => volume.labels.get(labels::PROJECT).cloned(),
            Err(error) if error::is_not_found(&error) => return Ok(Outcome::Done),
            Err(error) => return Err(error.into()),
        };
        let deadline = Instant::now() + LINGER;
        loop {
            match link.api.remove_volume(name, None::<RemoveVolumeOptions>).await {
                Ok(()) => return Ok(Outcome::Done),
                Err(error) if error::is_not_found(&error) => return Ok(Outcome::Done),
                Err(error) if error::status(&error) == Some(409) => {
                    let users = list_containers(&link, &[("volume", name.to_owned())]).await?;
                    let foreign = |container: &&bollard::models::ContainerSummary| {
                        owner.is_none() || labels::get(container.labels.as_ref(), labels::PROJECT) != owner.as_deref()
                    };
                    let late = Instant::now() >= deadline;
                    let holders: Vec<_> = users.iter().filter(|user| late || foreign(user)).collect();
                    if !holders.is_empty() {
                        let names: Vec<_> = holders.into_iter().map(|user| format!("`{}`", name_of(user))).collect();
                        return Ok(Outcome::Kept(format!("volume `{name}` is still used by {}", names.join(", "))));
                    }
                    if late {
                        return Err(error.into());
                    }
                    sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn create_request(key: &str, deployment: &Deployment, definition: Volume) -> VolumeCreateRequest {
    let name = deployment.volume_name(key);
    let hash = ConfigHash::of_volume(&name, &definition);
    VolumeCreateRequest {
        name: Some(name),
        driver: definition.driver,
        driver_opts: Some(definition.driver_opts.into_iter().collect()),
        labels: Some(labels::of_resource(definition.labels, &deployment.env, labels::VOLUME, key, &hash)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_is_asked_for_with_all_that_is_said_of_it() {
        let all = json!({"driver": "local", "driver_opts": {"type": "tmpfs"}, "labels": {"mine": "x", "com.docker.compose.volume": "not mine"}});
        let definition: Volume = serde_json::from_value(all).unwrap();
        let hash = ConfigHash::of_volume("env_data", &definition);
        let deployment = Deployment {
            env: "env".parse().unwrap(),
            stack: crate::model::stack::Stack::default(),
            caller: crate::plan::desired::Caller::default(),
            places: crate::plan::desired::Places::default(),
        };
        let request = create_request("data", &deployment, definition);
        assert_eq!(
            serde_json::to_value(request).unwrap(),
            json!({"Name": "env_data", "Driver": "local", "DriverOpts": {"type": "tmpfs"}, "Labels": {"mine": "x",
                "com.docker.compose.project": "env", "com.docker.compose.volume": "data",
                "com.docker.compose.version": labels::OUR_VERSION, "com.docker.compose.config-hash": hash.as_str()}})
        );
    }
}
