//! `depends_on`.

use serde::{Deserialize, Serialize};

/// One edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// How far the dependency must be.
    #[serde(default)]
    pub condition: Condition,
    /// Restart this when the dependency is restarted or recreated by us.
    #[serde(default)]
    pub restart: bool,
    /// Whether this cannot do without it.
    #[serde(default = "yes")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

/// How far a dependency must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Condition {
    /// Running.
    #[default]
    #[serde(rename = "service_started")]
    Started,
    /// Its health check succeeds.
    #[serde(rename = "service_healthy")]
    Healthy,
    /// It has ended with 0.
    #[serde(rename = "service_completed_successfully")]
    Completed,
}
