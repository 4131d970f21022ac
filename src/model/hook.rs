//! `pre_start`, `post_start` and `pre_stop`.

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize};

use super::environment::Environment;
use super::network::Attachment;

/// A command run inside a service at a point of its life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Program and arguments.
    #[serde(deserialize_with = "nothing_is_empty")]
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

/// `command:` with nothing behind it is what it is when it is left out.
fn nothing_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A command run in a container of its own before a container starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PreStart {
    /// What every hook has.
    #[serde(flatten)]
    pub hook: Hook,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Another image than the service's.
    pub image: Option<String>,
    /// Networks, by key.
    pub networks: IndexMap<String, Option<Attachment>>,
    /// Before each replica instead of before the first.
    pub per_replica: bool,
}
