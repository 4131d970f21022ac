//! `owns:`: what services make outside of our sight.

use serde::{Deserialize, Serialize};

/// One entry: a kind of thing and how to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owned {
    /// Containers of the engine.
    Containers(OwnedBy),
    /// Volumes of the engine.
    Volumes(OwnedBy),
    /// Networks of the engine.
    Networks(OwnedBy),
    /// Images of the engine.
    Images(OwnedBy),
    /// Files and directories, a glob.
    Paths(String),
}

/// How an owned thing is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnedBy {
    /// By a label, `key=value`.
    Label(String),
    /// By its name, a glob.
    Name(String),
    /// A container that mounts something below this path.
    Mounts(String),
}
