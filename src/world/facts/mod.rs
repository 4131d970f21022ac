//! What this host has and is: who holds a port, whether what a stack `requires` is there, and the predefined variables.

mod granted;
mod host;
mod ports;
mod requires;

use std::path::Path;

use indexmap::IndexMap;

use crate::base::name::EnvId;
use crate::plan::desired::Places;

pub use granted::note_granted;
pub use host::{Finding, Verdict, clocks, engine_capabilities, locale, open_files, own_capabilities, room, watches};
pub use ports::{Containers, Holders, taken_ports};
pub use requires::{Engine, missing};

/// The predefined variables of an environment.
pub fn predefined(env: &EnvId, stack_dir: &Path, stack_file: Option<&Path>, places: &Places) -> IndexMap<String, String> {
    let path = |path: &Path| path.display().to_string();
    [
        ("ENVID", env.to_string()),
        ("STACK_DIR", path(stack_dir)),
        ("STACK_FILE", stack_file.map(path).unwrap_or_default()),
        ("ENV_DIR", path(&places.env_dir)),
        ("RUN_DIR", path(&places.run_dir)),
        ("CPUS", cpus().to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// CPUs that the processes may use: by affinity and cgroup quota, at least one.
fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
