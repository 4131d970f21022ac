//! The canonical tree → the model's types.
//!
//! What is wrong already has been told by those who looked before, in their words; here only what they had no eye for is told, and one
//! value that does not fit hides no other.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;

use super::profiles::Selection;
use super::schema::forms::{integer, mapping};
use super::told::Found;
use crate::base::diagnostic::Diagnostic;
use crate::base::name::ServiceName;
use crate::base::source::Span;
use crate::model::container::Container;
use crate::model::depends::Condition;
use crate::model::process::Process;
use crate::model::restart::RestartPolicy;
use crate::model::service::{Common, Kind, Service};
use crate::model::stack::Stack;
use crate::yaml::node::{Mapping, Node};
use crate::yaml::path::Path;
use crate::yaml::typed::typed_all;

const CODE: &str = "bad-value";

/// Makes the model. Findings name the value that does not fit.
pub(super) fn stack(root: &Node, selection: &Selection, directory: PathBuf, files: Vec<PathBuf>, found: &mut Found<'_>) -> Stack {
    let mut stack = Stack { directory, files, ..Stack::default() };
    let mut making = Making { root, told: found.wrong.places_of_errors().collect(), found };
    let mut all: IndexMap<ServiceName, Service> = IndexMap::new();
    for section in ["services", "processes"] {
        for (name, entry) in root.get(section).and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter) {
            let at = Path::root().key(section).key(name);
            let name = match name.parse::<ServiceName>() {
                Ok(name) => name,
                Err(error) => {
                    making.tell(Diagnostic::error("bad-name", error.to_string()).at(entry.key_span, ""));
                    continue;
                }
            };
            let Some(service) = making.service(&at, &entry.node, section) else { continue };
            all.insert(name, service);
        }
    }
    mark_tasks(&mut all, root);
    (stack.services, stack.disabled) = all.into_iter().partition(|(name, _)| selection.is_on(name.as_str()));
    sort_by_dependency(&mut stack.services);
    stack.networks = making.map("networks");
    stack.volumes = making.map("volumes");
    stack.secrets = making.map("secrets");
    stack.configs = making.map("configs");
    stack.models = making.map("models");
    stack.ports = making.map("ports");
    stack.generate = making.map("generate");
    stack.requires = making.value("requires").unwrap_or_default();
    stack.images = making.value("images").unwrap_or_default();
    stack.owns = making.value("owns").unwrap_or_default();
    stack.welcome = making.value("welcome");
    stack
}

struct Making<'a, 'f> {
    root: &'a Node,
    found: &'a mut Found<'f>,
    /// The places of all errors that are told.
    told: BTreeSet<Span>,
}

impl Making<'_, '_> {
    /// What covers a fault that is told already is the same fault, or follows from it.
    fn tell(&mut self, fault: Diagnostic) {
        let covers = |place: Span| {
            let first = Span { end: place.start, ..place };
            let mut within = self.told.range(first..).take_while(|span| span.source == place.source && span.start <= place.end);
            within.any(|span| span.end <= place.end)
        };
        if let Some(place) = fault.labels.first().map(|label| label.span).filter(|place| !covers(*place)) {
            self.told.insert(place);
            self.found.wrong.push(fault);
        }
    }

    fn fitted<T: DeserializeOwned>(&mut self, at: &Path, node: &Node) -> Option<T> {
        let (value, faults) = typed_all(at, node, CODE);
        faults.into_iter().for_each(|fault| self.tell(fault));
        value
    }

    fn value<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let node = self.root.get(key).filter(|node| !node.is_null())?;
        self.fitted(&Path::root().key(key), node)
    }

    fn map<T: DeserializeOwned>(&mut self, key: &str) -> IndexMap<String, T> {
        let mut result = IndexMap::new();
        for (name, entry) in self.root.get(key).and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter) {
            if let Some(value) = self.fitted(&Path::root().key(key).key(name), &entry.node) {
                result.insert(name.to_owned(), value);
            }
        }
        result
    }

    fn service(&mut self, at: &Path, node: &Node, section: &str) -> Option<Service> {
        // Most services are read as they stand, without a copy.
        let mut flat = Cow::Borrowed(node);
        if node.as_mapping().is_some_and(needs_flattening)
            && let Some(mapping) = flat.to_mut().as_mapping_mut()
        {
            flatten(mapping);
        }
        // A policy that is none is told by those who look at what can be used.
        if node.get("restart").and_then(Node::as_text).is_some_and(|policy| policy.parse::<RestartPolicy>().is_err()) {
            flat.to_mut().as_mapping_mut().map(|mapping| mapping.remove("restart"));
        }
        let common: Option<Common> = self.fitted(at, &flat);
        let kind = if section == "processes" {
            self.fitted::<Process>(at, &flat).map(|process| Kind::Process(Box::new(process)))
        } else {
            self.fitted::<Container>(at, &flat).map(|container| Kind::Container(Box::new(container)))
        };
        let (mut common, mut kind) = (common?, kind?);
        let deployed = deploy_restart(node);
        common.restart = deployed.unwrap_or(common.restart);
        if let Kind::Container(container) = &mut kind {
            container.restart = deployed.or(container.restart);
        }
        Some(Service { common, kind })
    }
}

/// Whether [`flatten`] has anything to do.
fn needs_flattening(service: &Mapping) -> bool {
    let of_build = |node: &Node| node.get("ulimits").is_some();
    service.iter().any(|(key, entry)| {
        matches!(key, "deploy" | "ulimits") || entry.node.is_null() || (key == "build" && of_build(&entry.node))
    })
}

/// What `deploy` says outside of Swarm is said by plain attributes too; a limit in one number is both limits. A null means that
/// nothing was said.
fn flatten(service: &mut Mapping) {
    service.retain(|_, entry| !entry.node.is_null());
    both_limits(service);
    if let Some(build) = service.get_mut("build").and_then(Node::as_mapping_mut) {
        both_limits(build);
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

fn both_limits(mapping_of_limits: &mut Mapping) {
    for (_, entry) in mapping_of_limits.get_mut("ulimits").and_then(Node::as_mapping_mut).into_iter().flat_map(Mapping::iter_mut)
    {
        if let Some(limit) = entry.node.as_text() {
            let span = entry.node.span;
            entry.node.value = mapping([("soft", integer(limit, span)), ("hard", integer(limit, span))], span);
        }
    }
}

/// `deploy.restart_policy` wins over `restart` (Compose does so as well).
fn deploy_restart(service: &Node) -> Option<RestartPolicy> {
    let policy = service.get("deploy")?.get("restart_policy")?;
    let max = policy.get("max_attempts").and_then(Node::as_text).and_then(|text| text.parse().ok());
    let condition = policy.get("condition").and_then(Node::as_text).unwrap_or("any");
    Some(match RestartPolicy::of_condition(condition) {
        Some(RestartPolicy::OnFailure { .. }) => RestartPolicy::OnFailure { max },
        // One that is none is told.
        policy => policy.unwrap_or(RestartPolicy::Always),
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
