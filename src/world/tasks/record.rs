//! What a task was when it last succeeded, in a shape that two copies of a stack can compare.
//!
//! Copies differ in their directory and ENVID; what they share (a virtual environment below `~/.cache`) must not be made anew
//! by each in turn. So texts are compared as they are and with the places of the environment taken out: either may agree.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::name::EnvId;
use crate::base::way::{relative, resolve};
use crate::model::process::Process;
use crate::model::secret::FileObject;
use crate::plan::desired::{Deployment, UnitSpec};
use crate::plan::hash::hex;
use crate::world::inputs;

/// Hashes of a text: as it is, and without the places of its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Print {
    exact: String,
    placeless: String,
}

impl Print {
    fn of(text: &str, deployment: &Deployment) -> Self {
        Self { exact: hash(text.as_bytes()), placeless: hash(placeless(text, deployment).as_bytes()) }
    }

    fn agrees(&self, other: &Print) -> bool {
        self.exact == other.exact || self.placeless == other.placeless
    }
}

/// What a task is made of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    definition: Print,
    /// Configs and secrets, each as `config NAME`.
    files: BTreeMap<String, Print>,
    inputs: BTreeMap<PathBuf, String>,
}

/// What a task was made of when it succeeded, and for whom.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Read by people only.
    env: EnvId,
    /// The stack's directory: inputs of a copy lie as far from its own.
    directory: PathBuf,
    #[serde(flatten)]
    facts: Facts,
}

impl Facts {
    /// Reads all inputs, configs and secrets.
    pub(super) fn gather(spec: &UnitSpec, process: &Process) -> Result<Self, String> {
        let deployment = &*spec.deployment;
        let common = &spec.service().common;
        let directory = |path: &Path| relative(path, &deployment.stack.directory).display().to_string();
        // Which inputs there are is seen from the inputs themselves; outputs name the record.
        let definition = serde_json::to_string(&(
            (&process.command, &process.entrypoint, &process.shell, &process.check),
            (&common.environment, &common.user, &process.inherit_env),
            (&common.cap_add, &common.ulimits),
            common.working_dir.as_ref().map(|dir| directory(Path::new(dir))),
            process.path.iter().map(|dir| directory(dir)).collect::<Vec<_>>(),
        ));
        let definition = definition.map_err(|error| error.to_string())?;
        let mut files = BTreeMap::new();
        let stack = &deployment.stack;
        for (kind, grants, objects) in [("config", &common.configs, &stack.configs), ("secret", &common.secrets, &stack.secrets)]
        {
            for grant in grants {
                let name = format!("{kind} {}", grant.source);
                let text = objects.get(&grant.source).map(content).transpose();
                let text = text.map_err(|error| format!("read {name}: {error}"))?.unwrap_or_default();
                files.insert(name, Print::of(&text, deployment));
            }
        }
        let inputs = inputs::digest(&process.inputs).map_err(|error| format!("read its inputs: {error}"))?;
        Ok(Self { definition: Print::of(&definition, deployment), files, inputs })
    }
}

impl Record {
    /// A success with these facts.
    pub(super) fn of(facts: &Facts, spec: &UnitSpec) -> Self {
        let deployment = &spec.deployment;
        Self { env: deployment.env.clone(), directory: deployment.stack.directory.clone(), facts: facts.clone() }
    }

    /// A record, if there is one that can be read; any other counts for nothing, so that the task runs.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Replaces what was recorded.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let fresh = path.with_extension("json.new");
        fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
        fs::rename(fresh, path)
    }

    /// What has changed since, in a few words.
    pub(super) fn difference(&self, now: &Facts, spec: &UnitSpec) -> Option<String> {
        let then = &self.facts;
        if !then.definition.agrees(&now.definition) {
            return Some("its definition changed".to_owned());
        }
        let file = |name: &&String| match (then.files.get(*name), now.files.get(*name)) {
            (Some(then), Some(now)) => !then.agrees(now),
            (None, _) | (_, None) => true,
        };
        if let Some(name) = now.files.keys().chain(then.files.keys()).find(file) {
            return Some(format!("{name} changed"));
        }
        self.changed_input(now, &spec.deployment.stack.directory)
    }

    fn changed_input(&self, now: &Facts, directory: &Path) -> Option<String> {
        let mut gone = self.facts.inputs.clone();
        let mut changes = Vec::new();
        for (path, hash) in &now.inputs {
            let there = if gone.contains_key(path) { path.clone() } else { resolve(&self.directory, &relative(path, directory)) };
            match gone.remove(&there) {
                Some(then) if then == *hash => {}
                Some(_) => changes.push((path.clone(), "changed")),
                None => changes.push((path.clone(), "is new")),
            }
        }
        changes.extend(gone.into_keys().map(|path| (resolve(directory, &relative(&path, &self.directory)), "is gone")));
        let (path, what) = changes.first()?;
        let path = path.strip_prefix(directory).unwrap_or(path).display();
        Some(match changes.len() {
            1 => format!("{path} {what}"),
            more => format!("{path} {what}, and {} more", more - 1),
        })
    }
}

/// A hash as hexadecimal digits.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn content(object: &FileObject) -> io::Result<String> {
    match (&object.content, &object.file) {
        (Some(content), _) => Ok(content.clone()),
        (None, Some(file)) => Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned()),
        (None, None) => Ok(String::new()),
    }
}

/// A text without what differs between copies of a stack: the predefined variables' values become their names.
fn placeless(text: &str, deployment: &Deployment) -> String {
    let places = &deployment.places;
    let values = [
        (places.env_dir.display().to_string(), "${ENV_DIR}"),
        (places.run_dir.display().to_string(), "${RUN_DIR}"),
        (places.state_dir.display().to_string(), "${STATE_DIR}"),
        (deployment.stack.directory.display().to_string(), "${STACK_DIR}"),
        (deployment.env.to_string(), "${ENVID}"),
    ];
    // Directories that hold others come after them.
    values.iter().filter(|(value, _)| value.len() > 1).fold(text.to_owned(), |text, (value, name)| text.replace(value, name))
}
