//! `volumes:` of the stack.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A named volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name in the engine; none is `<ENVID>_<key>`.
    pub name: Option<String>,
    /// Made by somebody else: must exist, is never removed.
    pub external: bool,
    /// The engine's driver.
    pub driver: Option<String>,
    /// The driver's options.
    pub driver_opts: IndexMap<String, String>,
    /// Labels.
    pub labels: IndexMap<String, String>,
}
