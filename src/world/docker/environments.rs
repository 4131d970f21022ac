//! All environments that the engine holds containers of, and the end of one of which nothing but its label is known.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use futures_util::future::try_join_all;

use super::Docker;
use super::connect::Link;
use super::container::{Removal, remove_by_id};
use super::labels;
use super::observe::list_containers;
use crate::base::name::EnvId;
use crate::plan::action::{Fault, Outcome};
use crate::plan::actual::Query;

/// An environment by its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenEnvironment {
    /// Containers that run.
    pub running: usize,
    /// All containers.
    pub containers: usize,
    /// The stack's directory, from a label.
    pub directory: Option<String>,
    /// The stack's files, from a label: absolute, with commas between.
    pub files: Option<String>,
    /// Whether one of them was made by us rather than by Compose.
    pub by_us: bool,
}

impl Docker {
    /// Every environment that has containers, by its name, also those that Compose made.
    pub async fn environments(&self) -> Result<BTreeMap<String, SeenEnvironment>, Fault> {
        let link = self.link().await?;
        let mut all: BTreeMap<String, SeenEnvironment> = BTreeMap::new();
        for container in list_containers(&link, &[("label", labels::PROJECT.to_owned())]).await? {
            let label = |name| labels::get(container.labels.as_ref(), name);
            let Some(project) = label(labels::PROJECT) else { continue };
            let seen = all.entry(project.to_owned()).or_default();
            seen.containers += 1;
            seen.running += usize::from(container.state == Some(ContainerSummaryStateEnum::RUNNING));
            seen.by_us |= labels::hash(container.labels.as_ref()).1;
            seen.directory = seen.directory.take().or_else(|| label(labels::WORKING_DIR).map(str::to_owned));
            seen.files = seen.files.take().or_else(|| label(labels::CONFIG_FILES).map(str::to_owned));
        }
        Ok(all)
    }

    /// Stops and removes all that carries an environment's label: dependents first, as far as labels tell; with `volumes` its
    /// volumes too. Answers with what was kept because others use it, one sentence each.
    pub async fn down(&self, env: &EnvId, volumes: bool, grace: Option<Duration>) -> Result<Vec<String>, Fault> {
        let link = self.link().await?;
        let containers = list_containers(&link, &[("label", labels::of_env(env))]).await?;
        for level in levels(containers) {
            try_join_all(level.iter().map(|container| self.end(&link, container, volumes, grace))).await?;
        }
        let left = self.observe(env, &Query::default()).await?;
        let mut kept = Vec::new();
        let mut note = |outcome| {
            if let Outcome::Kept(reason) = outcome {
                kept.push(reason);
            }
        };
        for name in left.networks.keys() {
            note(self.remove_network(name).await?);
        }
        for name in left.volumes.keys().filter(|_| volumes) {
            note(self.remove_volume(name).await?);
        }
        Ok(kept)
    }

    async fn end(&self, link: &Link, container: &ContainerSummary, volumes: bool, grace: Option<Duration>) -> Result<(), Fault> {
        let Some(id) = &container.id else { return Ok(()) };
        self.stop_by_id(link, id, grace).await?;
        remove_by_id(link, id, Removal { volumes, force: true }).await?;
        Ok(())
    }
}

/// Containers in groups, to be ended one group after the other: nothing depends on what is in the first.
fn levels(containers: Vec<ContainerSummary>) -> Vec<Vec<ContainerSummary>> {
    let mut waiting = containers;
    let mut levels = Vec::new();
    while !waiting.is_empty() {
        let needed: HashSet<String> = waiting.iter().flat_map(|container| dependencies(container.labels.as_ref())).collect();
        let (held, free): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|container| {
            labels::get(container.labels.as_ref(), labels::SERVICE).is_some_and(|service| needed.contains(service))
        });
        if free.is_empty() {
            // A circle: labels can be made by anybody.
            levels.push(held);
            break;
        }
        levels.push(free);
        waiting = held;
    }
    levels
}

/// The services that a container depends on, from `db:service_healthy:false,…`.
fn dependencies(labels: Option<&HashMap<String, String>>) -> Vec<String> {
    let edges = labels::get(labels, labels::DEPENDS_ON).unwrap_or_default().split(',');
    edges.filter_map(|edge| edge.split(':').next()).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependents_end_before_what_they_depend_on_and_a_circle_ends_at_once() {
        for (services, expected) in [
            (&[("db", ""), ("web", "api:service_started:false"), ("api", "db:service_healthy:true")][..], "web | api | db"),
            (&[("a", ""), ("b", "")], "a b"),
            (&[("a", "b:x:x"), ("b", "a:x:x")], "a b"),
        ] {
            let container = |(service, depends): &(&str, &str)| ContainerSummary {
                labels: Some(HashMap::from([
                    (labels::SERVICE.to_owned(), (*service).to_owned()),
                    (labels::DEPENDS_ON.to_owned(), (*depends).to_owned()),
                ])),
                ..Default::default()
            };
            let names = |level: &Vec<ContainerSummary>| {
                let names = level.iter().map(|container| labels::get(container.labels.as_ref(), labels::SERVICE).unwrap());
                names.collect::<Vec<_>>().join(" ")
            };
            let levels = levels(services.iter().map(container).collect());
            assert_eq!(levels.iter().map(names).collect::<Vec<_>>().join(" | "), expected);
        }
    }
}
