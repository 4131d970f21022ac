//! Which services are on: those without a profile, those of an active one, those named on the command line.

use std::collections::{BTreeSet, HashSet};

use crate::yaml::node::{Mapping, Node, Value};
use crate::yaml::path::Pattern;

/// Where in a service something of a section at the top is named.
const USES: &[(&str, &[Pattern])] = &[
    ("networks", &[Pattern::new("networks.*")]),
    ("volumes", &[Pattern::new("volumes[].source")]),
    ("secrets", &[Pattern::new("secrets[].source"), Pattern::new("build.secrets[].source")]),
    ("configs", &[Pattern::new("configs[].source")]),
    ("models", &[Pattern::new("models.*")]),
];

/// What is on.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    on: BTreeSet<String>,
    /// Jobs that are on; which services are named on the command line is nothing to them.
    jobs: BTreeSet<String>,
    /// Nothing is left out, whatever is on.
    whole: bool,
    /// What nobody uses is left in.
    keeps_unused: bool,
}

impl Selection {
    /// Decides for every service of a tree. A service that is named turns its own profiles on, and with them others.
    pub(super) fn of<'t>(root: &'t Node, active: &[String], named: &[String]) -> Self {
        let is_named = |name: &str| named.iter().any(|service| service == name);
        let by_name = services(root).filter(|(name, _)| is_named(name)).flat_map(|(_, service)| of_service(service));
        let active: BTreeSet<&str> = active.iter().map(String::as_str).chain(by_name).collect();
        let is_active = |service: &Node| {
            let profiles = of_service(service);
            profiles.is_empty() || active.contains("*") || profiles.iter().any(|profile| active.contains(profile))
        };
        let of = |all: &mut dyn Iterator<Item = (&'t str, &'t Node)>| names(all.filter(|(_, service)| is_active(service)));
        Self { on: of(&mut services(root)), jobs: of(&mut entries(root, "jobs")), ..Self::default() }
    }

    /// All services, and all that is defined beside them.
    pub(super) fn all(root: &Node) -> Self {
        Self { on: names(services(root)), jobs: names(entries(root, "jobs")), whole: true, keeps_unused: true }
    }

    /// With what nobody uses, too, if that is asked for.
    pub(super) fn with_unused(mut self, unused: bool) -> Self {
        self.keeps_unused |= unused;
        self
    }

    /// Of what is on, these services and what they depend on; all of it if none is named.
    pub(super) fn only(mut self, named: &[String], root: &Node) -> Self {
        if named.is_empty() || self.whole {
            return self;
        }
        let mut kept = BTreeSet::new();
        let mut queue: Vec<&str> = named.iter().map(String::as_str).collect();
        let of = |name: &str| ["services", "processes"].into_iter().find_map(|section| root.get(section)?.get(name));
        while let Some(name) = queue.pop() {
            let Some(service) = of(name).filter(|_| self.is_on(name)) else { continue };
            if kept.insert(name.to_owned()) {
                let dependencies = service.get("depends_on").and_then(Node::as_mapping);
                queue.extend(dependencies.into_iter().flat_map(Mapping::iter).map(|(name, _)| name));
            }
        }
        self.on = kept;
        self
    }

    /// Whether a service is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.on.contains(name)
    }

    /// Whether a job is on.
    pub(super) fn has_job(&self, name: &str) -> bool {
        self.jobs.contains(name)
    }

    /// What services that are on name of a section at the top: networks, volumes and the like.
    pub(super) fn used(&self, root: &Node, section: &str) -> HashSet<String> {
        let mut used = HashSet::new();
        let by_key = matches!(section, "networks" | "models");
        for pattern in USES.iter().filter(|(used, _)| *used == section).flat_map(|(_, uses)| *uses) {
            for (_, service) in services(root).filter(|(name, _)| self.is_on(name)) {
                pattern.for_each(service, |place, node| {
                    let name = if by_key { place.last_key() } else { node.as_text() };
                    if let Some(name) = name.filter(|name| !used.contains(*name)) {
                        used.insert(name.to_owned());
                    }
                });
            }
        }
        used
    }

    /// Drops what nobody uses, as Compose does, and sections that are empty then.
    pub(super) fn drop_unused(&self, root: &mut Node) {
        for (section, _) in USES {
            let used = self.used(root, section);
            let Some(top) = root.as_mapping_mut() else { return };
            let Some(Value::Mapping(entries)) = top.get_mut(section).map(|node| &mut node.value) else { continue };
            entries.retain(|name, _| self.keeps_unused || used.contains(name));
            if entries.is_empty() {
                top.remove(section);
            }
        }
    }
}

/// The services of both kinds.
fn services(root: &Node) -> impl Iterator<Item = (&str, &Node)> {
    ["services", "processes"].into_iter().flat_map(move |section| entries(root, section))
}

fn entries<'a>(root: &'a Node, section: &str) -> impl Iterator<Item = (&'a str, &'a Node)> + use<'a> {
    let section = root.get(section).and_then(Node::as_mapping);
    section.into_iter().flat_map(Mapping::iter).map(|(name, entry)| (name, &entry.node))
}

fn names<'a>(all: impl Iterator<Item = (&'a str, &'a Node)>) -> BTreeSet<String> {
    all.map(|(name, _)| name.to_owned()).collect()
}

/// The profiles that a service names.
pub(super) fn of_service(service: &Node) -> Vec<&str> {
    service.get("profiles").and_then(Node::as_sequence).unwrap_or_default().iter().filter_map(Node::as_text).collect()
}
