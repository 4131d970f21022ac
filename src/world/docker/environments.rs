//! All environments that the engine holds containers of, and the end of one of which nothing but its label is known.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{ListNetworksOptionsBuilder, ListVolumesOptionsBuilder};
use futures_util::future::try_join_all;

use super::Docker;
use super::connect::Link;
use super::container::{Removal, remove_by_id};
use super::labels;
use super::observe::list_containers;
use super::owned::Lists;
use crate::base::name::EnvId;
use crate::model::owned::Owned;
use crate::plan::action::{AnonymousVolumes, Fault, Outcome};
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
    /// The ids of those that run.
    pub ids: Vec<String>,
    /// When the oldest was made, in seconds since 1970.
    pub created: Option<i64>,
}

/// What the engine holds of all environments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenEnvironments {
    /// Those that have containers, by name.
    pub all: BTreeMap<String, SeenEnvironment>,
    /// How many things there are of those that were asked for with their entries of `owns`.
    pub owned: BTreeMap<EnvId, usize>,
}

impl Docker {
    /// Every environment that has containers, also those that Compose made, and how much there is of what these own. The engine
    /// is asked once, and once more for networks, volumes and images each where one is owned: never once for each environment.
    pub async fn environments(&self, owners: &BTreeMap<EnvId, Vec<Owned>>) -> Result<SeenEnvironments, Fault> {
        let link = self.link().await?;
        let entries: Vec<Owned> = owners.values().flatten().cloned().collect();
        let all_containers = entries.iter().any(|entry| matches!(entry, Owned::Containers(_)));
        // What is owned has labels of somebody else's choice.
        let filters = if all_containers { Vec::new() } else { vec![("label", labels::PROJECT.to_owned())] };
        let containers = list_containers(&link, &filters).await?;
        let lists = Lists::of(&link, &containers, &entries).await?;
        let mut owned = BTreeMap::new();
        for (env, entries) in owners {
            owned.insert(env.clone(), lists.matching(env, entries)?.len());
        }
        let mut all: BTreeMap<String, SeenEnvironment> = BTreeMap::new();
        for container in containers {
            let label = |name| labels::get(container.labels.as_ref(), name);
            let Some(project) = label(labels::PROJECT) else { continue };
            let seen = all.entry(project.to_owned()).or_default();
            seen.containers += 1;
            if container.state == Some(ContainerSummaryStateEnum::RUNNING) {
                seen.running += 1;
                seen.ids.extend(container.id.clone());
            }
            seen.created = [seen.created, container.created].into_iter().flatten().min();
            seen.by_us |= labels::hash(container.labels.as_ref()).1;
            seen.directory = seen.directory.take().or_else(|| label(labels::WORKING_DIR).map(str::to_owned));
            seen.files = seen.files.take().or_else(|| label(labels::CONFIG_FILES).map(str::to_owned));
        }
        Ok(SeenEnvironments { all, owned })
    }

    /// The environments of which the engine holds networks or volumes, by name: also those of which it holds nothing else, since
    /// their state is lost.
    pub async fn remains(&self) -> Result<BTreeSet<String>, Fault> {
        let link = self.link().await?;
        let filters = HashMap::from([("label", vec![labels::PROJECT.to_owned()])]);
        let networks = link.api.list_networks(Some(ListNetworksOptionsBuilder::default().filters(&filters).build())).await?;
        let volumes = link.api.list_volumes(Some(ListVolumesOptionsBuilder::default().filters(&filters).build())).await?;
        let of_volumes = volumes.volumes.into_iter().flatten().map(|volume| volume.labels);
        let all = networks.into_iter().filter_map(|network| network.labels).chain(of_volumes);
        Ok(all.filter_map(|mut labels| labels.remove(labels::PROJECT)).collect())
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
        let taken = if volumes { AnonymousVolumes::Removed } else { AnonymousVolumes::Left };
        remove_by_id(link, id, Removal { volumes: taken, force: true }, &[]).await?;
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
