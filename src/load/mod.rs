//! Files → [`Stack`]. Pure over [`Files`] and the environment it is handed.
//!
//! Two looks: [`head`] reads what must be known before variables can be filled in (the name, the named ports, the values to
//! generate), so that the caller can find the environment and its numbers; [`stack`] does the rest.

pub mod dotenv;
mod expression;
pub mod files;
pub mod formats;
pub mod interpolate;
pub mod template;
pub mod variables;

use std::path::PathBuf;

use indexmap::IndexMap;

use crate::base::diagnostic::Diagnostics;
use crate::base::name::EnvId;
use crate::base::source::SourceMap;
use crate::model::port::NamedPort;
use crate::model::stack::Stack;
use crate::model::value::Generated;
use crate::yaml::node::Node;
use files::Files;

/// What the user asked to be loaded.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The caller's working directory, absolute.
    pub working_dir: PathBuf,
    /// `-f`, in order; `-` is stdin. Empty: sought by the rules of the format page.
    pub files: Vec<PathBuf>,
    /// `--project-directory`.
    pub project_directory: Option<PathBuf>,
    /// `--env-file`, in order.
    pub env_files: Vec<PathBuf>,
    /// `--profile`.
    pub profiles: Vec<String>,
    /// Services named on the command line: their profiles count as on.
    pub services: Vec<String>,
    /// The caller's environment.
    pub environment: IndexMap<String, String>,
}

/// What the first look finds.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The files, absolute, in order.
    pub files: Vec<PathBuf>,
    /// The stack's directory, absolute.
    pub directory: PathBuf,
    /// `name:`, as written.
    pub name: Option<String>,
    /// `ports:` at the top.
    pub named_ports: IndexMap<String, NamedPort>,
    /// `generate:` at the top.
    pub generate: IndexMap<String, Generated>,
    /// Whether the files use any key of ours (`processes`, `ports`, …): then an environment gets a name of its own.
    pub has_own_keys: bool,
    /// The variables of the caller and of `--env-file` or `.env`, in which `COMPOSE_PROJECT_NAME` and the like may stand.
    pub environment: IndexMap<String, String>,
}

/// What the caller found for this environment between the two looks.
#[derive(Debug, Clone)]
pub struct Values {
    /// The environment.
    pub env_id: EnvId,
    /// `ENVID`, `STACK_DIR`, `STACK_FILE`, `ENV_DIR`, `RUN_DIR`, `CPUS`.
    pub predefined: IndexMap<String, String>,
    /// Named ports: `NAME` → `8081`; a range also has `NAME_FIRST`, `NAME_LAST`.
    pub ports: IndexMap<String, String>,
    /// Generated values.
    pub generated: IndexMap<String, String>,
}

/// What a load yields, whatever was wrong.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The stack; only meaningful when there are no errors.
    pub stack: Stack,
    /// The canonical tree that `config` prints.
    pub tree: Node,
    /// All texts that were read.
    pub sources: SourceMap,
    /// All that is to be said.
    pub diagnostics: Diagnostics,
}
