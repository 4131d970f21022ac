//! Which services are on: those without a profile, those of an active one, those named on the command line.

use std::collections::BTreeSet;

use crate::yaml::node::{Mapping, Node};

/// What is on.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    on: BTreeSet<String>,
}

impl Selection {
    /// Decides for every service of a tree.
    pub(super) fn of(root: &Node, active: &[String], named: &[String]) -> Self {
        let mut on = BTreeSet::new();
        for section in ["services", "processes"] {
            for (name, entry) in root.get(section).and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter) {
                let profiles = of_service(&entry.node);
                let is_active = profiles.is_empty()
                    || active.iter().any(|profile| profile == "*" || profiles.contains(&profile.as_str()))
                    || named.iter().any(|service| service == name);
                if is_active {
                    on.insert(name.to_owned());
                }
            }
        }
        Self { on }
    }

    /// Whether a service is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.on.contains(name)
    }
}

/// The profiles that a service names.
pub(super) fn of_service(service: &Node) -> Vec<&str> {
    service.get("profiles").and_then(Node::as_sequence).unwrap_or_default().iter().filter_map(Node::as_text).collect()
}
