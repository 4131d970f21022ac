//! All environments on this host: those with a state directory, and those that only the engine knows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::CliError;
use super::context::Context;
use crate::plan::desired::Deployment;
use crate::supervisor::snapshot::{HaveRecord, Snapshot};
use crate::world::docker::SeenEnvironment;
use crate::world::envdir::EnvDir;

/// One environment, in the shape of Compose's `ls --format json` with our fields at the end.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// Its name.
    #[serde(rename = "Name")]
    pub name: String,
    /// `running(3)`, `exited(1)`.
    #[serde(rename = "Status")]
    pub status: String,
    /// Its stack files, with commas between.
    #[serde(rename = "ConfigFiles")]
    pub config_files: String,
    /// Its stack's directory.
    #[serde(rename = "Directory")]
    pub directory: String,
    /// The process of its supervisor.
    #[serde(rename = "Supervisor")]
    pub supervisor: Option<u32>,
    /// Things that its services made.
    #[serde(rename = "Owned")]
    pub owned: usize,
    #[serde(skip)]
    running: usize,
}

impl Environment {
    /// Whether anything of it runs.
    pub fn runs(&self) -> bool {
        self.running > 0 || self.supervisor.is_some()
    }
}

/// All of them, by name.
pub fn all(context: &Context) -> Result<Vec<Environment>, CliError> {
    let seen = match context.engine()?.environments() {
        Ok(seen) => seen,
        Err(fault) => {
            context.printer.warning(format!("containers are not among them: {fault}"));
            BTreeMap::new()
        }
    };
    let mut all: BTreeMap<String, Environment> = BTreeMap::new();
    for dir in context.state()?.list().map_err(CliError::failed)? {
        let name = dir.id().to_string();
        all.insert(name.clone(), of_dir(&dir, seen.get(&name), context)?);
    }
    for (name, seen) in seen {
        all.entry(name.clone()).or_insert_with(|| Environment {
            status: status(seen.running, seen.containers - seen.running),
            config_files: seen.files.unwrap_or_default(),
            directory: seen.directory.unwrap_or_default(),
            supervisor: None,
            owned: 0,
            running: seen.running,
            name,
        });
    }
    Ok(all.into_values().collect())
}

fn of_dir(dir: &EnvDir, seen: Option<&SeenEnvironment>, context: &Context) -> Result<Environment, CliError> {
    // A record of another release is no reason to list nothing.
    let snapshot: Option<Snapshot> = dir.snapshot().ok().flatten();
    let deployment: Option<Deployment> = context.deployment(dir.id()).ok().flatten();
    let supervisor = dir.holder();
    let processes = snapshot.iter().flat_map(|snapshot| &snapshot.units).filter(|unit| unit.pid.is_some());
    let running = processes.filter(|unit| supervisor.is_some() && matches!(unit.have, HaveRecord::Running(_))).count();
    let containers = seen.map_or((0, 0), |seen| (seen.running, seen.containers - seen.running));
    let owns = deployment.as_ref().map(|deployment| deployment.stack.owns.as_slice()).unwrap_or_default();
    let owned = if owns.is_empty() { 0 } else { context.engine()?.owned(owns).map_or(0, |things| things.len()) };
    let files = deployment.as_ref().map(|deployment| {
        let files = deployment.stack.files.iter().map(|file| file.display().to_string());
        files.collect::<Vec<_>>().join(",")
    });
    let directory = deployment.as_ref().map(|deployment| deployment.stack.directory.display().to_string());
    Ok(Environment {
        name: dir.id().to_string(),
        status: status(running + containers.0, containers.1),
        config_files: files.or_else(|| seen?.files.clone()).unwrap_or_default(),
        directory: directory.or_else(|| seen?.directory.clone()).unwrap_or_default(),
        supervisor,
        owned,
        running: running + containers.0,
    })
}

fn status(running: usize, ended: usize) -> String {
    let parts = [("exited", ended), ("running", running)];
    let parts: Vec<String> =
        parts.iter().filter(|(_, count)| *count > 0).map(|(word, count)| format!("{word}({count})")).collect();
    if parts.is_empty() { "down".to_owned() } else { parts.join(", ") }
}
