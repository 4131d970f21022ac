//! What a container has in common with another one: name spaces, mounts, links. Pure.

use indexmap::IndexMap;

use crate::base::name::{ServiceName, UnitId};
use crate::model::container::Container;
use crate::model::service::Service;
use crate::plan::action::Fault;
use crate::plan::desired::Deployment;

/// The containers of services by which others refer to them: their first replicas, by id.
pub(super) type Partners = IndexMap<ServiceName, String>;

/// `service:X` becomes `container:<id>`; everything else is the engine's own word.
pub(super) fn namespace(mode: &str, partners: &Partners) -> Result<String, Fault> {
    match mode.strip_prefix("service:") {
        Some(service) => Ok(format!("container:{}", partner(service, "namespace is", partners)?)),
        None => Ok(mode.to_owned()),
    }
}

/// `HostConfig.VolumesFrom`: `service[:mode]` becomes `<id>[:mode]`, `container:name[:mode]` loses its first word.
pub(super) fn volumes_from(container: &Container, partners: &Partners) -> Result<Vec<String>, Fault> {
    let one = |from: &String| {
        if let Some(other) = from.strip_prefix("container:") {
            return Ok(other.to_owned());
        }
        let (service, mode) = from.split_once(':').map_or((from.as_str(), None), |(service, mode)| (service, Some(mode)));
        let id = partner(service, "mounts are", partners)?;
        Ok(mode.map_or_else(|| id.to_owned(), |mode| format!("{id}:{mode}")))
    };
    container.volumes_from.iter().map(one).collect()
}

fn partner<'a>(service: &str, what: &str, partners: &'a Partners) -> Result<&'a str, Fault> {
    let id = partners.get(service).map(String::as_str);
    id.ok_or_else(|| Fault::temporary(format!("`{service}`, whose {what} to be shared, has no container")))
}

/// Each replica of a linked service under the link's name, its own short name and its full name; then the links to containers of
/// somebody else.
pub(super) fn links(container: &Container, deployment: &Deployment) -> Vec<String> {
    let mut all = Vec::new();
    for link in &container.links {
        let (service, alias) = link.split_once(':').unwrap_or((link, link));
        let Ok(service) = service.parse::<ServiceName>() else { continue };
        let replicas = deployment.service(&service).map_or(0, Service::replicas);
        for replica in 1..=replicas {
            let unit = UnitId::new(service.clone(), replica);
            let name = deployment.container_name(&unit);
            all.push(format!("{name}:{alias}"));
            all.push(format!("{name}:{service}-{replica}"));
            all.push(format!("{name}:{name}"));
        }
    }
    let others = container.external_links.iter();
    all.extend(others.map(|link| if link.contains(':') { link.clone() } else { format!("{link}:{link}") }));
    all
}
