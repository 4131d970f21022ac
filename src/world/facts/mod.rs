//! What this host has and is: who holds a port, whether what a stack `requires` is there, and the predefined variables.

mod granted;
mod host;
mod ports;
mod requires;

use std::path::Path;

use indexmap::IndexMap;

use crate::base::name::EnvId;
use crate::model::value::PREDEFINED;
use crate::plan::desired::Places;

pub use granted::note_granted;
pub use host::{
    Finding, Verdict, clocks, engine_capabilities, kernel, locale, open_files, own_capabilities, room, watches, writable,
};
pub use ports::{
    Alive, Containers, Holders, IsAlive, Named, Place, Protocol, Unavailable, crowded_ports, place_of, protocol_of,
    remedy_of_given, taken_ports, users_of,
};
pub use requires::{Engine, Unmet, missing};

/// The predefined variables of an environment.
pub fn predefined(env: &EnvId, stack_dir: &Path, stack_file: Option<&Path>, places: &Places) -> IndexMap<String, String> {
    let path = |path: &Path| path.display().to_string();
    let values = [
        env.to_string(),
        path(stack_dir),
        stack_file.map(path).unwrap_or_default(),
        path(&places.env_dir),
        path(&places.run_dir),
        cpus().to_string(),
    ];
    PREDEFINED.into_iter().map(str::to_owned).zip(values).collect()
}

/// CPUs that the processes may use: by affinity and cgroup quota, at least one.
fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
