//! The named ports of an environment: kept in its state, checked against this host and its other environments.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::envdir::{EnvDir, StateDir, StateError};
use super::facts;
use crate::model::port::NamedPort;
use crate::plan::ports::{self, Numbers};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocated {
    /// Name → numbers.
    pub numbers: BTreeMap<String, Numbers>,
    /// One sentence for each replacement.
    pub replaced: Vec<String>,
}

/// Why no ports could be found.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// With `--strict-ports`: preferred ports that are taken.
    #[error("{}", sentences.join("\n"))]
    Taken {
        /// One for each.
        sentences: Vec<String>,
    },
    /// Nothing is free.
    #[error("no free ports for {names}")]
    None {
        /// The named ports.
        names: String,
    },
}

/// The kept numbers, else the preferred ones. Probes nothing.
pub fn kept(dir: &EnvDir, wanted: &IndexMap<String, NamedPort>) -> Result<BTreeMap<String, Numbers>, StateError> {
    let kept = dir.ports()?;
    Ok((wanted.iter()).map(|(name, port)| (name.clone(), kept.get(name).copied().unwrap_or((port.first, port.last)))).collect())
}

/// Finds numbers that are free and keeps them. The caller holds the host's lock.
pub fn allocate(state: &StateDir, dir: &EnvDir, wanted: &IndexMap<String, NamedPort>, strict: bool) -> Result<Allocated, PortsError> {
    let kept = dir.ports()?;
    // Our own services hold our ports: what is kept by an environment that is in use is its own.
    let in_use = dir.is_in_use();
    let own: Vec<Numbers> = if in_use { kept.values().copied().collect() } else { Vec::new() };
    let mut others: Vec<(String, Numbers)> = Vec::new();
    for other in state.list()?.into_iter().filter(|other| other.id() != dir.id() && other.is_in_use()) {
        others.extend(other.ports()?.into_values().map(|numbers| (other.id().to_string(), numbers)));
    }
    let within = |port: u16, (first, last): Numbers| (first..=last).contains(&port);
    let containers = facts::ports_of_containers(dir.id());
    let mut is_free = |port: u16| {
        own.iter().any(|&numbers| within(port, numbers))
            || containers.contains(&port)
            || (!others.iter().any(|&(_, numbers)| within(port, numbers)) && facts::is_free(port))
    };
    let found = ports::allocate(wanted, &kept, dir.id(), &mut is_free);
    if !found.failed.is_empty() {
        return Err(PortsError::None { names: found.failed.join(", ") });
    }
    let holder = |port: u16| match others.iter().find(|&&(_, numbers)| within(port, numbers)) {
        Some((env, _)) => format!("the environment `{env}`"),
        None => facts::holder(port).map_or_else(|| "somebody".to_owned(), |holder| holder.to_string()),
    };
    let replaced: Vec<String> = (found.replaced.iter())
        .map(|(name, _, culprit)| {
            let (first, last) = found.numbers[name];
            let now = if first == last { first.to_string() } else { format!("{first}-{last}") };
            if strict {
                format!("{name}: port {culprit} is taken by {}", holder(*culprit))
            } else {
                format!("{name} is {now}, because port {culprit} is taken by {}", holder(*culprit))
            }
        })
        .collect();
    if strict && !replaced.is_empty() {
        return Err(PortsError::Taken { sentences: replaced });
    }
    dir.set_ports(&found.numbers)?;
    Ok(Allocated { numbers: found.numbers, replaced })
}
