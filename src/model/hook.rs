//! `post_start` and `pre_stop`.

use serde::{Deserialize, Serialize};

use super::environment::Environment;

/// A command run inside a service at a point of its life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Another user than the service's.
    pub user: Option<String>,
    /// All capabilities (containers only).
    pub privileged: bool,
    /// Another directory than the service's.
    pub working_dir: Option<String>,
    /// On top of the service's.
    pub environment: Environment,
}
