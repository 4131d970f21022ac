//! `ports:` of a service and of the stack.

use serde::{Deserialize, Serialize};

/// One port that a service publishes (container) or listens on (process).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    /// The port inside; for a process the one it listens on.
    pub target: u16,
    /// The port on the host: a number, a range `8000-8010`, or nothing for one the engine picks.
    pub published: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The host's address; none is all.
    pub host_ip: Option<String>,
    /// `ingress` or `host`: without effect outside of Swarm.
    pub mode: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// What is spoken on it.
    pub app_protocol: Option<String>,
}

/// A named port of the environment: its preferred number or range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPort {
    /// The first port.
    pub first: u16,
    /// The last one, the same unless it is a range.
    pub last: u16,
    /// Whether `NAME: 1000-1000` was written: then `_FIRST` and `_LAST` exist too.
    pub range: bool,
}
