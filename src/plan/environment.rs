//! The environment variables that a process gets.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::desired::Deployment;
use crate::base::name::UnitId;
use crate::model::environment::Environment;
use crate::model::process::{InheritEnv, Process};
use crate::model::service::Service;

/// What `sd_listen_fds(3)` tells of descriptors: those of the caller are not inherited.
const LISTEN: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Where programs are sought beside `path` by a process that inherits no `PATH`: as in containers that say nothing else.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the files of a unit's secrets and configs are written: below the state directory, one directory a unit.
pub fn files_dir(deployment: &Deployment, unit: &UnitId) -> PathBuf {
    deployment.places.state_dir.join("files").join(format!("{}.{}", unit.service, unit.replica))
}

/// Everything a process of this unit finds in its environment.
pub fn of_process(deployment: &Deployment, unit: &UnitId, service: &Service, process: &Process) -> IndexMap<String, String> {
    let mut variables: IndexMap<String, String> = (deployment.caller.environment.iter())
        .filter(|(name, _)| passes(&process.inherit_env, name) && !LISTEN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // Python would hold back up to 8 KiB of a log that goes to a pipe.
    variables.entry("PYTHONUNBUFFERED".to_owned()).or_insert_with(|| "1".to_owned());
    variables.extend(given(deployment, unit, service, process));
    let own = [
        ("BAISTACK", deployment.places.program.display().to_string()),
        ("BAISTACK_ENVID", deployment.env.to_string()),
        ("BAISTACK_SERVICE", unit.service.to_string()),
        ("REPLICA", unit.replica.to_string()),
    ];
    variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
    variables
}

/// What the stack gives a process, nothing merely inherited: `environment`, paths of its files, and `PATH` when `path` adds
/// to it.
pub fn given(deployment: &Deployment, unit: &UnitId, service: &Service, process: &Process) -> IndexMap<String, String> {
    let mut variables = set(&service.common.environment);
    let files = files_dir(deployment, unit);
    for (kind, grants) in [("SECRET", &service.common.secrets), ("CONFIG", &service.common.configs)] {
        for grant in grants {
            let name = grant.variable(kind);
            variables.entry(name).or_insert_with(|| granted_file(&files, kind, &grant.source).display().to_string());
        }
    }
    if !process.path.is_empty() {
        let callers = deployment.caller.environment.get("PATH").filter(|_| passes(&process.inherit_env, "PATH"));
        let others = variables.get("PATH").or(callers).cloned().unwrap_or_else(|| USUAL_PATH.to_owned());
        let mut parts: Vec<String> = process.path.iter().map(|dir| dir.display().to_string()).collect();
        if !others.is_empty() {
            parts.push(others);
        }
        variables.insert("PATH".to_owned(), parts.join(":"));
    }
    variables
}

/// The file in which a unit finds a secret or a config.
pub fn granted_file(files_dir: &Path, kind: &str, source: &str) -> PathBuf {
    files_dir.join(kind.to_ascii_lowercase()).join(source)
}

fn set(environment: &Environment) -> IndexMap<String, String> {
    environment.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect()
}

/// Whether an inherited variable is let through.
fn passes(inherit: &InheritEnv, name: &str) -> bool {
    match inherit {
        InheritEnv::All(all) => *all,
        InheritEnv::Names(patterns) => {
            let refused = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(|pattern| glob(pattern, name));
            let mut admitted = patterns.iter().filter(|pattern| !pattern.starts_with('!')).peekable();
            let all_are_refusals = admitted.peek().is_none();
            !refused && ((all_are_refusals && !patterns.is_empty()) || admitted.any(|pattern| glob(pattern, name)))
        }
    }
}

/// Whether a name matches a pattern in which `*` stands for any run of characters.
pub fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => {
            let Some(rest) = name.strip_prefix(head) else { return false };
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| glob(tail, &rest[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherit_env_lets_names_through_or_all_but_some() {
        let names = |list: &[&str]| InheritEnv::Names(list.iter().map(|&s| s.to_owned()).collect());
        for (inherit, name, expected) in [
            (InheritEnv::All(true), "HOME", true),
            (InheritEnv::All(false), "HOME", false),
            (names(&["LC_*", "HOME"]), "LC_ALL", true),
            (names(&["LC_*", "HOME"]), "PATH", false),
            (names(&["!BACKEND_*"]), "BACKEND_ENDPOINT", false),
            (names(&["!BACKEND_*"]), "PATH", true),
            (names(&["LC_*", "!LC_ALL"]), "LC_ALL", false),
            (names(&[]), "PATH", false),
        ] {
            assert_eq!(passes(&inherit, name), expected, "{inherit:?} {name}");
        }
    }
}
