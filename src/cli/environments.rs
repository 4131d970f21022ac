//! All environments on this host: those with a state directory, and those that only the engine knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::CliError;
use super::context::Context;
use crate::base::name::EnvId;
use crate::model::owned::Owned;
use crate::model::port::NamedPort;
use crate::supervisor::snapshot::HaveRecord;
use crate::world::clock;
use crate::world::docker::{SeenEnvironment, SeenEnvironments};
use crate::world::envdir::EnvDir;
use crate::world::native::{memory, sweep};

/// One environment, in the shape of Compose's `ls --format json` with our fields at the end.
#[derive(Debug, Clone, Default, Serialize)]
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
    /// Its named ports.
    #[serde(rename = "Ports")]
    pub ports: BTreeMap<String, String>,
    /// Bytes of memory that its services use; none when nothing runs, or when it cannot be seen from here.
    #[serde(rename = "Memory")]
    pub memory: Option<u64>,
    /// Seconds since it was made; none when nobody knows.
    #[serde(rename = "Age")]
    pub age: Option<u64>,
    #[serde(skip)]
    running: usize,
}

impl Environment {
    /// Whether anything of it runs.
    pub fn runs(&self) -> bool {
        self.running > 0 || self.supervisor.is_some()
    }
}

/// What is recorded of an environment.
struct Recorded {
    dir: EnvDir,
    snapshot: Option<Snapshot>,
    stack: Option<Stack>,
}

/// Of a recorded deployment, what is listed: there may be many, and each is large.
#[derive(Deserialize)]
struct Deployment {
    stack: Stack,
}

#[derive(Deserialize)]
struct Stack {
    directory: PathBuf,
    files: Vec<PathBuf>,
    owns: Vec<Owned>,
    ports: BTreeMap<String, NamedPort>,
}

/// Of a snapshot, what is listed.
#[derive(Deserialize)]
struct Snapshot {
    deployment: Option<Deployment>,
    units: Vec<Unit>,
}

#[derive(Deserialize)]
struct Unit {
    have: HaveRecord,
    pid: Option<i32>,
}

/// All of them, by name. However many there are, the engine is asked once, and `/proc` is read once.
pub fn all(context: &Context) -> Result<Vec<Environment>, CliError> {
    let recorded = |dir: EnvDir| {
        // A record that cannot be read is no reason to list nothing.
        let mut snapshot: Option<Snapshot> = context.readable(dir.snapshot()).flatten();
        let deployment: Option<Deployment> = context.readable(dir.deployment_outline()).flatten();
        let deployment = deployment.or_else(|| snapshot.as_mut()?.deployment.take());
        Recorded { dir, snapshot, stack: deployment.map(|deployment| deployment.stack) }
    };
    let recorded: Vec<Recorded> = context.state()?.list().map_err(CliError::failed)?.into_iter().map(recorded).collect();
    let owners = recorded.iter().filter_map(|it| {
        let owns = &it.stack.as_ref()?.owns;
        (!owns.is_empty()).then(|| (it.dir.id().clone(), owns.clone()))
    });
    let seen = match context.engine()?.environments(&owners.collect()) {
        Ok(seen) => seen,
        Err(fault) => {
            context.printer.warning(format!("containers are not among them: {fault}"));
            SeenEnvironments::default()
        }
    };
    let alive = recorded.iter().filter(|it| it.dir.is_locked()).map(|it| (it.dir.id(), it.dir.path()));
    let alive: Vec<(&EnvId, &Path)> = alive.collect();
    let of_processes = memory::of_processes(&alive);
    let of_containers = memory::OfContainers::look();
    let stateless = sweep::stateless(context.state()?.path());
    let now = clock::wall();
    let mut all: BTreeMap<String, Environment> = BTreeMap::new();
    for it in &recorded {
        let name = it.dir.id().to_string();
        let mut environment = of_record(it, seen.all.get(&name), context);
        environment.owned = seen.owned.get(it.dir.id()).copied().unwrap_or(0);
        environment.age = it.dir.made_at().and_then(|made| Some(now.duration_since(made).ok()?.as_secs()));
        environment.memory = of_processes.get(it.dir.id()).copied();
        all.insert(name, environment);
    }
    for (name, seen) in seen.all {
        let environment = all.entry(name.clone()).or_insert_with(|| Environment {
            status: status(seen.running, seen.containers - seen.running),
            config_files: seen.files.clone().unwrap_or_default(),
            directory: seen.directory.clone().unwrap_or_default(),
            running: seen.running,
            name,
            ..Environment::default()
        });
        let made = seen.created.and_then(|made| Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(made).ok()?)));
        let age = made.and_then(|made| Some(now.duration_since(made).ok()?.as_secs()));
        environment.age = environment.age.or(age);
        for id in &seen.ids {
            environment.memory = match (environment.memory, of_containers.of(id)) {
                (sum, None) => sum,
                (sum, Some(own)) => Some(sum.unwrap_or(0) + own),
            };
        }
    }
    for (env, processes) in stateless {
        let environment =
            all.entry(env.to_string()).or_insert_with(|| Environment { name: env.to_string(), ..Environment::default() });
        environment.running += processes.len();
        environment.status = status(environment.running, 0);
        let (count, remedy) = (processes.len(), format!("`baistack down -p {env}` ends them"));
        context.printer.warning(format!("the state of `{env}` is gone, and {count} processes of it run; {remedy}"));
    }
    Ok(all.into_values().collect())
}

/// Those of which the engine alone holds something, and nothing but networks and volumes: their state is lost.
pub fn remains(known: &[Environment], context: &Context) -> Result<Vec<Environment>, CliError> {
    let Ok(mut names) = context.engine()?.with(async |docker| docker.remains().await) else { return Ok(Vec::new()) };
    for env in known {
        names.remove(&env.name);
    }
    Ok(names.into_iter().map(|name| Environment { name, status: status(0, 0), ..Environment::default() }).collect())
}

fn of_record(it: &Recorded, seen: Option<&SeenEnvironment>, context: &Context) -> Environment {
    let supervisor = it.dir.holder();
    let processes = it.snapshot.iter().flat_map(|snapshot| &snapshot.units).filter(|unit| unit.pid.is_some());
    let running = processes.filter(|unit| supervisor.is_some() && matches!(unit.have, HaveRecord::Running(_))).count();
    let containers = seen.map_or((0, 0), |seen| (seen.running, seen.containers - seen.running));
    let stack = it.stack.as_ref();
    let files = stack.map(|stack| {
        let files = stack.files.iter().map(|file| file.display().to_string());
        files.collect::<Vec<_>>().join(",")
    });
    let home = || Some(context.readable(it.dir.home())??.path.display().to_string());
    let directory = stack.map(|stack| stack.directory.display().to_string()).or_else(home);
    let is_named = |name: &String| stack.is_some_and(|stack| stack.ports.contains_key(name));
    let ports = context.readable(it.dir.ports_in_force()).unwrap_or_default().into_iter().filter(|(name, _)| is_named(name));
    Environment {
        name: it.dir.id().to_string(),
        status: status(running + containers.0, containers.1),
        config_files: files.or_else(|| seen?.files.clone()).unwrap_or_default(),
        directory: directory.or_else(|| seen?.directory.clone()).unwrap_or_default(),
        supervisor,
        ports: ports.map(|(name, numbers)| (name, numbers.to_string())).collect(),
        running: running + containers.0,
        ..Environment::default()
    }
}

fn status(running: usize, ended: usize) -> String {
    let parts = [("exited", ended), ("running", running)];
    let parts: Vec<String> =
        parts.iter().filter(|(_, count)| *count > 0).map(|(word, count)| format!("{word}({count})")).collect();
    if parts.is_empty() { "down".to_owned() } else { parts.join(", ") }
}
