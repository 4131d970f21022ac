//! Which services are on: those without a profile, those of an active one, those named on the command line.

use std::collections::BTreeSet;

use crate::yaml::node::{Mapping, Node};

/// What is on.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    on: BTreeSet<String>,
}

impl Selection {
    /// Decides for every service of a tree. A service that is named turns its own profiles on, and with them others.
    pub(super) fn of(root: &Node, active: &[String], named: &[String]) -> Self {
        let is_named = |name: &str| named.iter().any(|service| service == name);
        let by_name = services(root).filter(|(name, _)| is_named(name)).flat_map(|(_, service)| of_service(service));
        let active: BTreeSet<&str> = active.iter().map(String::as_str).chain(by_name).collect();
        let is_active = |service: &Node| {
            let profiles = of_service(service);
            profiles.is_empty() || active.contains("*") || profiles.iter().any(|profile| active.contains(profile))
        };
        let on = services(root).filter(|(_, service)| is_active(service)).map(|(name, _)| name.to_owned()).collect();
        Self { on }
    }

    /// All services.
    pub(super) fn all(root: &Node) -> Self {
        Self { on: services(root).map(|(name, _)| name.to_owned()).collect() }
    }

    /// Of what is on, these services and what they depend on; all of it if none is named.
    pub(super) fn only(mut self, named: &[String], root: &Node) -> Self {
        if named.is_empty() {
            return self;
        }
        let mut kept = BTreeSet::new();
        let mut queue: Vec<&str> = named.iter().map(String::as_str).collect();
        while let Some(name) = queue.pop() {
            let Some((_, service)) = services(root).find(|(known, _)| *known == name && self.is_on(name)) else { continue };
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
}

/// The services of both kinds.
fn services(root: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let sections = ["services", "processes"].into_iter().filter_map(|section| root.get(section).and_then(Node::as_mapping));
    sections.flat_map(Mapping::iter).map(|(name, entry)| (name, &entry.node))
}

/// The profiles that a service names.
pub(super) fn of_service(service: &Node) -> Vec<&str> {
    service.get("profiles").and_then(Node::as_sequence).unwrap_or_default().iter().filter_map(Node::as_text).collect()
}
