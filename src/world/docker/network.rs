//! Networks of an environment.

use std::net::IpAddr;
use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use tokio::time::{Instant, sleep};

use super::connect::{ApiVersion, Link};
use super::observe::{list_containers, name_of};
use super::{Docker, error, labels, needs};
use crate::base::name::EnvId;
use crate::model::network::{IpamPool, Network};
use crate::plan::action::{Fault, Outcome};
use crate::plan::desired::Deployment;
use crate::plan::hash::ConfigHash;

/// How long endpoints of containers that have just ended may linger.
const LINGER: Duration = Duration::from_secs(10);

impl Docker {
    pub(super) async fn create_network(&self, key: &str, deployment: &Deployment) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let definition = deployment.stack.networks.get(key).cloned().unwrap_or_default();
        let hash = ConfigHash::of_network(&deployment.network_name(key), &definition);
        let request = create_request(key, deployment, &definition, &hash, link.version)?;
        let name = request.name.clone();
        // An engine before 25 makes a second network of the same name, whose containers do not see those of the first.
        if let Some(holder) = holder(&link, &name).await? {
            return holder.judged(&name, &deployment.env);
        }
        match link.api.create_network(request).await {
            Ok(_) => Ok(Outcome::Done),
            Err(error) if error::status(&error) == Some(409) => match holder(&link, &name).await? {
                Some(holder) => holder.judged(&name, &deployment.env),
                None => Err(Fault::temporary(Fault::from(error).message)),
            },
            Err(error) => Err(with_remedy(error.into())),
        }
    }

    pub(super) async fn remove_network(&self, name: &str) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let deadline = Instant::now() + LINGER;
        let mut pause = Duration::from_millis(50);
        loop {
            let refused = match link.api.remove_network(name).await {
                Ok(()) => return Ok(Outcome::Done),
                Err(error) if error::is_not_found(&error) => return Ok(Outcome::Done),
                Err(error) if matches!(error::status(&error), Some(403 | 409)) => Fault::from(error),
                Err(error) => return Err(error.into()),
            };
            // Only an engine that refuses is asked who is in the way.
            let network = match link.api.inspect_network(name, None).await {
                Ok(network) => network,
                Err(error) if error::is_not_found(&error) => return Ok(Outcome::Done),
                Err(error) => return Err(error.into()),
            };
            let users = users(&link, name, labels::get(network.labels.as_ref(), labels::PROJECT)).await?;
            if !users.foreign.is_empty() {
                return Ok(Outcome::Kept(format!("network `{name}` is still used by {}", users.foreign.join(", "))));
            }
            // Endpoints go a moment after their container; some releases leak one for good (docker/compose #12889).
            if Instant::now() >= deadline {
                return Err(Fault::permanent(stuck(name, &users.own, &refused)));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}

/// Each network takes a subnet, of which an engine has about thirty until it is told of more.
fn with_remedy(fault: Fault) -> Fault {
    // moby, `libnetwork/ipamutils`: before and since release 26.
    if !["non-overlapping IPv4 address pool", "address pools have been fully subnetted"]
        .iter()
        .any(|it| fault.message.contains(it))
    {
        return fault;
    }
    let remedy = "`docker network prune` removes networks that nothing uses, `default-address-pools` in the engine's daemon.json gives more";
    Fault { message: format!("{}; {remedy}", fault.message), ..fault }
}

fn stuck(name: &str, own: &[String], refusal: &Fault) -> String {
    if own.is_empty() {
        return format!(
            "network `{name}` cannot be removed although no container uses it; restarting the Docker Engine helps ({refusal})"
        );
    }
    format!("network `{name}` is still used by {}", own.join(", "))
}

/// What keeps a network from being removed and made anew with these subnets.
pub(super) async fn obstacle(link: &Link, env: &EnvId, name: &str, subnets: &[String]) -> Result<Option<String>, Fault> {
    let users = users(link, name, Some(env.as_str())).await?;
    if !users.foreign.is_empty() {
        return Ok(Some(format!("it is used by {}", users.foreign.join(", "))));
    }
    if subnets.is_empty() {
        return Ok(None);
    }
    let all = link.api.list_networks(None::<ListNetworksOptions>).await?;
    for other in all.into_iter().filter(|other| other.name.as_deref() != Some(name)) {
        let pools = other.ipam.into_iter().flat_map(|ipam| ipam.config.unwrap_or_default()).filter_map(|pool| pool.subnet);
        for taken in pools {
            if let Some(subnet) = subnets.iter().find(|subnet| overlap(subnet, &taken)) {
                let other = other.name.as_deref().unwrap_or_default();
                return Ok(Some(format!("its subnet {subnet} overlaps with {taken} of the network `{other}`")));
            }
        }
    }
    Ok(None)
}

/// Whether two subnets have addresses in common; what is none has none.
fn overlap(one: &str, other: &str) -> bool {
    let subnet = |text: &str| {
        let (address, bits) = text.split_once('/')?;
        let (address, width) = match address.parse::<IpAddr>().ok()? {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        Some((address, width, bits.parse::<u32>().ok().filter(|bits| *bits <= width)?))
    };
    match (subnet(one), subnet(other)) {
        (Some((a, width, bits)), Some((b, of_other, other_bits))) if width == of_other => {
            // All bits of a shift are too many for it: then there is nothing to compare.
            let shift = width - bits.min(other_bits);
            a.checked_shr(shift).unwrap_or(0) == b.checked_shr(shift).unwrap_or(0)
        }
        _ => false,
    }
}

/// Who is connected to a network.
struct Users {
    /// Running containers of the same environment.
    own: Vec<String>,
    /// Running containers of somebody else.
    foreign: Vec<String>,
}

async fn users(link: &Link, network: &str, owner: Option<&str>) -> Result<Users, Fault> {
    let list = list_containers(link, &[("network", network.to_owned()), ("status", "running".to_owned())]).await?;
    let is_own = |container: &bollard::models::ContainerSummary| {
        owner.is_some() && labels::get(container.labels.as_ref(), labels::PROJECT) == owner
    };
    let (own, foreign): (Vec<_>, Vec<_>) = list.into_iter().partition(is_own);
    let names = |containers: Vec<_>| containers.iter().map(|container| format!("`{}`", name_of(container))).collect();
    Ok(Users { own: names(own), foreign: names(foreign) })
}

/// A network that has a name already.
struct Holder {
    project: Option<String>,
}

impl Holder {
    fn judged(&self, name: &str, env: &EnvId) -> Result<Outcome, Fault> {
        match &self.project {
            Some(project) if project == env.as_str() => Ok(Outcome::Done),
            Some(project) => Err(Fault::permanent(format!("network `{name}` belongs to environment `{project}`"))),
            None => Err(Fault::permanent(format!(
                "network `{name}` is there but not ours; to use it, declare it as `external: true`"
            ))),
        }
    }
}

async fn holder(link: &Link, name: &str) -> Result<Option<Holder>, Fault> {
    match link.api.inspect_network(name, None).await {
        // The engine also takes the beginning of an id for a name.
        Ok(network) if network.name.as_deref() != Some(name) => Ok(None),
        Ok(network) => Ok(Some(Holder { project: labels::get(network.labels.as_ref(), labels::PROJECT).map(str::to_owned) })),
        Err(error) if error::is_not_found(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn create_request(
    key: &str,
    deployment: &Deployment,
    definition: &Network,
    hash: &ConfigHash,
    version: ApiVersion,
) -> Result<NetworkCreateRequest, Fault> {
    if let Some(need) = needs::of_network(definition).filter(|need| !need.is_met(version)) {
        return Err(Fault::permanent(format!("{need} or newer")));
    }
    let ipam = &definition.ipam;
    let pools: Vec<IpamConfig> = ipam.config.iter().map(pool).collect();
    let has_ipam = ipam.driver.is_some() || !pools.is_empty() || !ipam.options.is_empty();
    Ok(NetworkCreateRequest {
        name: deployment.network_name(key),
        driver: definition.driver.clone(),
        internal: Some(definition.internal),
        attachable: Some(definition.attachable),
        enable_ipv4: definition.enable_ipv4,
        enable_ipv6: definition.enable_ipv6,
        options: Some(definition.driver_opts.clone().into_iter().collect()),
        labels: Some(labels::of_resource(definition.labels.clone(), &deployment.env, labels::NETWORK, key, hash)),
        ipam: has_ipam.then(|| Ipam {
            driver: ipam.driver.clone(),
            config: (!pools.is_empty()).then_some(pools),
            options: (!ipam.options.is_empty()).then(|| ipam.options.clone().into_iter().collect()),
        }),
        ..Default::default()
    })
}

fn pool(pool: &IpamPool) -> IpamConfig {
    let addresses = &pool.aux_addresses;
    IpamConfig {
        subnet: pool.subnet.clone(),
        ip_range: pool.ip_range.clone(),
        gateway: pool.gateway.clone(),
        auxiliary_addresses: (!addresses.is_empty()).then(|| addresses.clone().into_iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(definition: Value, minor: u32) -> Result<Value, Fault> {
        let deployment = Deployment {
            env: "env".parse().unwrap(),
            stack: crate::model::stack::Stack::default(),
            caller: crate::plan::desired::Caller::default(),
            places: crate::plan::desired::Places::default(),
        };
        let definition: Network = serde_json::from_value(definition).unwrap();
        let request = create_request("front", &deployment, &definition, &ConfigHash::from_label("h"), ApiVersion::v1(minor))?;
        let mut body = serde_json::to_value(request).unwrap();
        body["Labels"].as_object_mut().unwrap().retain(|name, _| name == "mine" || name.ends_with("compose.network"));
        Ok(body)
    }

    #[test]
    fn an_engine_without_a_subnet_to_give_is_told_with_what_makes_room() {
        let told = |message: &str| with_remedy(Fault::permanent(message)).message;
        for message in [
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
            "all predefined address pools have been fully subnetted",
        ] {
            assert!(told(message).starts_with(message) && told(message).contains("`docker network prune`"), "{}", told(message));
        }
        assert_eq!(told("no"), "no");
    }

    #[test]
    fn a_network_is_asked_for_with_all_that_is_said_of_it() {
        let pool = json!({"subnet": "10.5.0.0/16", "ip_range": "10.5.1.0/24", "gateway": "10.5.0.1", "aux_addresses": {"a": "10.5.0.2"}});
        let definition = json!({"driver": "bridge", "driver_opts": {"o": "1"}, "internal": true, "attachable": true,
            "enable_ipv4": false, "enable_ipv6": true, "labels": {"mine": "x"},
            "ipam": {"driver": "default", "options": {"p": "2"}, "config": [pool]}});
        let pool = json!({"Subnet": "10.5.0.0/16", "IPRange": "10.5.1.0/24", "Gateway": "10.5.0.1",
            "AuxiliaryAddresses": {"a": "10.5.0.2"}});
        assert_eq!(
            request(definition, 48).unwrap(),
            json!({"Name": "env_front", "Driver": "bridge", "Options": {"o": "1"}, "Internal": true, "Attachable": true,
                "EnableIPv4": false, "EnableIPv6": true, "Labels": {"mine": "x", "com.docker.compose.network": "front"},
                "IPAM": {"Driver": "default", "Options": {"p": "2"}, "Config": [pool]}})
        );
    }

    #[test]
    fn subnets_overlap_where_they_have_addresses_in_common() {
        for (one, other, expected) in [
            ("10.5.0.0/16", "10.5.7.0/24", true),
            ("10.5.0.0/16", "10.6.0.0/16", false),
            ("10.5.0.0/16", "0.0.0.0/0", true),
            ("fd00::/64", "fd00::1:0/112", true),
            ("fd00::/64", "fd00:0:0:1::/64", false),
            ("::/0", "10.5.0.0/16", false),
            ("nonsense", "10.5.0.0/16", false),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn an_engine_that_cannot_turn_ipv4_off_is_not_asked_to() {
        let fault = request(json!({"enable_ipv4": false}), 47).unwrap_err();
        assert_eq!(fault.message, "`enable_ipv4` needs Docker Engine 28 (API 1.48) or newer");
        assert!(request(json!({}), 41).is_ok() && request(json!({"enable_ipv4": true}), 41).is_ok());
    }
}
