//! `secrets:` and `configs:`: files that services are given.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// One entry at the top: where the content comes from. Exactly one of the sources is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileObject {
    /// A file of the host, absolute.
    pub file: Option<PathBuf>,
    /// A variable of the caller's environment; its value is in `content` once it is resolved.
    pub environment: Option<String>,
    /// The content itself.
    pub content: Option<String>,
    /// A file whose `${…}` are filled in, absolute; the result is in `content`.
    pub template: Option<PathBuf>,
    /// Made by somebody else.
    pub external: bool,
    /// Its name in the engine.
    pub name: Option<String>,
    /// Labels.
    pub labels: IndexMap<String, String>,
    /// What the file held when it was looked at, as a hash: a process is given a copy, which has to be made anew when the file is
    /// another. None for containers, to which the file itself is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// That a service is given one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileGrant {
    /// The key at the top.
    pub source: String,
    /// The path inside; for a process relative to `working_dir`.
    pub target: Option<String>,
    /// Owner (containers).
    pub uid: Option<String>,
    /// Group (containers).
    pub gid: Option<String>,
    /// Unix mode as octal text, `0440`.
    pub mode: Option<String>,
}

impl FileGrant {
    /// The variable that tells a process where its file is, `SECRET_DB_PASSWORD_FILE`; `kind` is `SECRET` or `CONFIG`.
    pub fn variable(&self, kind: &str) -> String {
        file_variable(kind, &self.source)
    }
}

/// The same for a key at the top: capitals, and `_` for what a name cannot hold.
pub fn file_variable(kind: &str, source: &str) -> String {
    let name: String = source.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("{kind}_{name}_FILE")
}
