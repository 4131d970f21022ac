//! `develop.watch`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::hook::Hook;
use super::service::Service;

/// What a file change causes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchRule {
    /// A file or directory, absolute.
    pub path: PathBuf,
    /// What is done.
    pub action: WatchAction,
    /// Where `sync` puts the files in the container.
    #[serde(default)]
    pub target: Option<String>,
    /// Patterns, relative to `path`, of what does not count.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Patterns of what alone counts; empty is all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Sync everything when the watch begins.
    #[serde(default)]
    pub initial_sync: bool,
    /// The command of `sync+exec`.
    #[serde(default)]
    pub exec: Option<Hook>,
    /// Whether the built-in ignore rules and `.gitignore` apply; true when absent.
    #[serde(default)]
    pub ignore_defaults: Option<bool>,
}

/// What says which files of a watched tree are no sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sources {
    /// `.gitignore`: of a process.
    Git,
    /// The `.dockerignore` of this build context: of a container that is built.
    Context(PathBuf),
    /// Nothing: of a container that is not.
    All,
}

impl Sources {
    /// What counts for the rules of a service.
    pub fn of(service: &Service) -> Self {
        match service.container() {
            None => Self::Git,
            Some(container) => match &container.build {
                Some(build) => Self::Context(PathBuf::from(&build.context)),
                None => Self::All,
            },
        }
    }
}

/// `action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchAction {
    /// Build the image anew and recreate.
    #[serde(rename = "rebuild")]
    Rebuild,
    /// Restart.
    #[serde(rename = "restart")]
    Restart,
    /// Copy the changed files into the container.
    #[serde(rename = "sync")]
    Sync,
    /// Copy, then restart.
    #[serde(rename = "sync+restart")]
    SyncRestart,
    /// Copy, then run a command inside.
    #[serde(rename = "sync+exec")]
    SyncExec,
}
