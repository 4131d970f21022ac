//! The canonical tree → the model's types.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;

use super::profiles::Selection;
use super::schema::forms::{integer, mapping};
use super::told::Found;
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::name::ServiceName;
use crate::model::container::Container;
use crate::model::depends::Condition;
use crate::model::process::Process;
use crate::model::restart::RestartPolicy;
use crate::model::service::{Common, Kind, Service};
use crate::model::stack::Stack;
use crate::yaml::node::{Mapping, Node};
use crate::yaml::path::Path;
use crate::yaml::typed::typed_at;

const CODE: &str = "bad-value";

/// Makes the model. Findings name the value that does not fit.
pub(super) fn stack(root: &Node, selection: &Selection, directory: PathBuf, files: Vec<PathBuf>, found: &mut Found<'_>) -> Stack {
    let mut stack = Stack { directory, files, ..Stack::default() };
    let mut all: IndexMap<ServiceName, Service> = IndexMap::new();
    for section in ["services", "processes"] {
        for (name, entry) in root.get(section).and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter) {
            let at = Path::root().key(section).key(name);
            let name = match name.parse::<ServiceName>() {
                Ok(name) => name,
                Err(error) => {
                    found.wrong.push(Diagnostic::error("bad-name", error.to_string()).at(entry.key_span, ""));
                    continue;
                }
            };
            let Some(service) = service(&at, &entry.node, section, found) else { continue };
            all.insert(name, service);
        }
    }
    mark_tasks(&mut all, root);
    (stack.services, stack.disabled) = all.into_iter().partition(|(name, _)| selection.is_on(name.as_str()));
    sort_by_dependency(&mut stack.services);
    let mut section = Sections { root, diagnostics: found.wrong };
    stack.networks = section.map("networks");
    stack.volumes = section.map("volumes");
    stack.secrets = section.map("secrets");
    stack.configs = section.map("configs");
    stack.ports = section.map("ports");
    stack.generate = section.map("generate");
    stack.requires = section.value("requires").unwrap_or_default();
    stack.images = section.value("images").unwrap_or_default();
    stack.owns = section.value("owns").unwrap_or_default();
    stack.welcome = section.value("welcome");
    stack
}

struct Sections<'a> {
    root: &'a Node,
    diagnostics: &'a mut Diagnostics,
}

impl Sections<'_> {
    fn value<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let node = self.root.get(key).filter(|node| !node.is_null())?;
        typed_at(&Path::root().key(key), node, CODE, self.diagnostics)
    }

    fn map<T: DeserializeOwned>(&mut self, key: &str) -> IndexMap<String, T> {
        let mut result = IndexMap::new();
        for (name, entry) in self.root.get(key).and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter) {
            if let Some(value) = typed_at(&Path::root().key(key).key(name), &entry.node, CODE, self.diagnostics) {
                result.insert(name.to_owned(), value);
            }
        }
        result
    }
}

fn service(at: &Path, node: &Node, section: &str, found: &mut Found<'_>) -> Option<Service> {
    let mut flat = node.clone();
    if let Some(mapping) = flat.as_mapping_mut() {
        flatten(mapping);
        restart(mapping, found.unstartable);
    }
    let mut common: Common = typed_at(at, &flat, CODE, found.wrong)?;
    let deployed = deploy_restart(node);
    common.restart = deployed.unwrap_or(common.restart);
    let kind = if section == "processes" {
        Kind::Process(Box::new(typed_at::<Process>(at, &flat, CODE, found.wrong)?))
    } else {
        let mut container = typed_at::<Container>(at, &flat, CODE, found.wrong)?;
        container.restart = deployed.or(container.restart);
        Kind::Container(Box::new(container))
    };
    Some(Service { common, kind })
}

/// What `deploy` says outside of Swarm is said by plain attributes too; a limit in one number is both limits. A null means that
/// nothing was said.
fn flatten(service: &mut Mapping) {
    service.retain(|key, entry| !entry.node.is_null() && !key.starts_with("x-"));
    for (_, entry) in service.get_mut("ulimits").and_then(Node::as_mapping_mut).into_iter().flat_map(Mapping::iter_mut) {
        if let Some(limit) = entry.node.as_text() {
            let span = entry.node.span;
            entry.node.value = mapping([("soft", integer(limit, span)), ("hard", integer(limit, span))], span);
        }
    }
    let Some(deploy) = service.get("deploy").cloned() else { return };
    let limits = deploy.get("resources").and_then(|resources| resources.get("limits"));
    let reservations = deploy.get("resources").and_then(|resources| resources.get("reservations"));
    let found = [
        ("scale", deploy.get("replicas")),
        ("mem_limit", limits.and_then(|limits| limits.get("memory"))),
        ("cpus", limits.and_then(|limits| limits.get("cpus"))),
        ("pids_limit", limits.and_then(|limits| limits.get("pids"))),
        ("mem_reservation", reservations.and_then(|reservations| reservations.get("memory"))),
        ("reserved_devices", reservations.and_then(|reservations| reservations.get("devices"))),
    ];
    for (key, node) in found {
        if let Some(node) = node {
            service.insert(key, node.span, node.clone());
        }
    }
}

/// Compose loads any policy, and the engine refuses it later.
fn restart(service: &mut Mapping, unstartable: &mut Diagnostics) {
    let Some(policy) = service.get("restart") else { return };
    if let Some(Err(why)) = policy.as_text().map(str::parse::<RestartPolicy>) {
        unstartable.push(Diagnostic::error("bad-value", why).at(policy.span, ""));
        service.remove("restart");
    }
}

/// `deploy.restart_policy` wins over `restart` (Compose does so as well).
fn deploy_restart(service: &Node) -> Option<RestartPolicy> {
    let policy = service.get("deploy")?.get("restart_policy")?;
    let max = policy.get("max_attempts").and_then(Node::as_text).and_then(|text| text.parse().ok());
    Some(match policy.get("condition").and_then(Node::as_text) {
        Some("none") => RestartPolicy::No,
        Some("on-failure") => RestartPolicy::OnFailure { max },
        Some(_) | None => RestartPolicy::Always,
    })
}

/// A process is a task when it has `check`, `inputs`, `outputs` or `schedule`, or when something waits for its completion.
fn mark_tasks(services: &mut IndexMap<ServiceName, Service>, root: &Node) {
    let waited_for: HashSet<ServiceName> = (services.values())
        .flat_map(|service| &service.common.depends_on)
        .filter(|(_, dependency)| dependency.condition == Condition::Completed)
        .map(|(name, _)| name.clone())
        .collect();
    for (name, service) in services {
        let Kind::Process(process) = &mut service.kind else { continue };
        let node = root.get("processes").and_then(|processes| processes.get(name.as_str()));
        let says_so =
            ["check", "inputs", "outputs", "schedule"].iter().any(|key| node.is_some_and(|node| node.get(key).is_some()));
        process.task = says_so || waited_for.contains(name);
    }
}

/// Dependencies first, else in the order of the files: effects, plans and lists then read in the order in which things start.
fn sort_by_dependency(services: &mut IndexMap<ServiceName, Service>) {
    let edges: Vec<Vec<usize>> = (services.values())
        .map(|service| service.common.depends_on.keys().filter_map(|name| services.get_index_of(name)).collect())
        .collect();
    let mut rank: Vec<Option<usize>> = vec![None; edges.len()];
    let mut is_open = vec![false; edges.len()];
    let mut next_rank = 0..;
    for first in 0..edges.len() {
        // Depth first, without recursion: a chain may be long. One that goes round has been told.
        let mut stack = vec![(first, edges[first].iter())];
        if rank[first].is_some() {
            continue;
        }
        is_open[first] = true;
        while let Some((here, rest)) = stack.last_mut() {
            let here = *here;
            match rest.next() {
                Some(&below) if rank[below].is_some() || is_open[below] => {}
                Some(&below) => {
                    is_open[below] = true;
                    stack.push((below, edges[below].iter()));
                }
                None => {
                    rank[here] = next_rank.next();
                    stack.pop();
                }
            }
        }
    }
    let ranks: HashMap<ServiceName, Option<usize>> = services.keys().cloned().zip(rank).collect();
    services.sort_by_cached_key(|name, _| ranks.get(name).copied().flatten());
}

#[cfg(test)]
mod tests {
    use crate::load::testing::load;

    fn order(text: &str) -> String {
        let loaded = load(&[("compose.yaml", text)]);
        assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
        loaded.stack.services.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn dependencies_come_first_and_else_the_order_of_the_files_stays() {
        let text = "services:\n  d: {image: x, depends_on: [b, a]}\n  a: {image: x}\n  c: {image: x}\n  b: {image: x, depends_on: [c]}\n";
        assert_eq!(order(text), "c b a d");
    }

    #[test]
    fn a_chain_may_be_long() {
        let link = |n: u32| format!("  s{n}: {{image: x, depends_on: [s{}]}}\n", n - 1);
        let chain = (1..5000).map(link).collect::<Vec<_>>().concat();
        let names = order(&format!("services:\n{chain}  s0: {{image: x}}\n"));
        assert!(names.starts_with("s0 s1 s2 ") && names.ends_with(" s4999"));
    }
}
