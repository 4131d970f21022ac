//! `requires:`.

use serde::{Deserialize, Serialize};

/// One thing that the host must have, and what to do when it has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// What.
    #[serde(flatten)]
    pub what: Need,
    /// Said when it is missing.
    #[serde(default)]
    pub hint: Option<String>,
}

/// What a host can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The locale's encoding, as `UTF-8`.
    Locale(String),
    /// A program in `PATH`, perhaps of a version such as `>=3.11,<3.12`.
    Tool {
        /// Its name.
        name: String,
        /// A comma list of comparisons.
        version: Option<String>,
    },
    /// A Docker Engine, perhaps of a version.
    Docker(String),
    /// A file that exists.
    File(String),
    /// So many open files allowed.
    OpenFiles(u64),
    /// A command that ends with 0.
    Command(String),
}
