//! Which environment a command is about (`stack-format.md`, "Environments").

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::envdir::{EnvDir, StateDir, StateError, read_json};
use super::{disk, facts, values};
use crate::base::name::{EnvId, NameError};
use crate::load::Head;
use crate::plan::desired::Places;

/// What there is to go by.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `-p`.
    pub project_name: Option<&'a str>,
    /// The caller's environment.
    pub caller: &'a IndexMap<String, String>,
    /// The stack's first look.
    pub head: &'a Head,
}

/// An environment that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub env: EnvId,
    /// It was made just now.
    pub is_new: bool,
}

/// Why no environment could be found.
#[derive(Debug, thiserror::Error)]
pub enum EnvIdError {
    /// A name that is none.
    #[error("`{text}` cannot name an environment: {source}")]
    Name {
        /// What was given.
        text: String,
        /// Why not.
        source: NameError,
    },
    /// A name that another directory runs under.
    #[error("the environment `{env}` belongs to `{}`; name another one with `-p`", directory.display())]
    Elsewhere {
        /// The name.
        env: EnvId,
        /// Whose it is.
        directory: PathBuf,
    },
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The stack's own record.
    #[error("record the environment in `{}`", path.display())]
    Record {
        /// Where.
        path: PathBuf,
        /// In the system's words.
        source: io::Error,
    },
}

/// A directory, also after it was renamed: by what the file system knows it as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Home {
    directory: PathBuf,
    device: u64,
    inode: u64,
}

impl Home {
    fn of(directory: &Path) -> Option<Self> {
        let metadata = fs::metadata(directory).ok()?;
        Some(Self { directory: directory.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }

    fn path(env: &EnvDir) -> PathBuf {
        env.path().join("directory.json")
    }

    fn read(env: &EnvDir) -> Result<Option<Self>, StateError> {
        read_json(&Self::path(env))
    }

    /// Whether it is this one, perhaps under another path by now.
    fn is(&self, directory: &Path) -> bool {
        Self::of(directory).is_some_and(|here| (here.device, here.inode) == (self.device, self.inode))
    }

    /// Whether it is still there as another directory than this one.
    fn lives_elsewhere(&self, directory: &Path) -> bool {
        !self.is(directory) && Self::of(&self.directory).is_some_and(|there| (there.device, there.inode) == (self.device, self.inode))
    }
}

/// The environment as far as it can be known; records nothing.
pub fn find(asked: &Asked<'_>, state: &StateDir) -> Result<Found, EnvIdError> {
    let known = match named(asked)? {
        Some(env) => Some(env),
        None => recorded(&asked.head.directory, state)?,
    };
    Ok(Found { env: known.unwrap_or_else(|| by_directory(asked.head)), is_new: false })
}

/// The environment for an `up`: a new one is made and recorded where there is none. The caller holds the host's lock.
pub fn find_or_make(asked: &Asked<'_>, state: &StateDir) -> Result<Found, EnvIdError> {
    let directory = &asked.head.directory;
    let known = match named(asked)? {
        Some(env) => Some(env),
        None => recorded(directory, state)?.or_else(|| (!asked.head.has_own_keys).then(|| by_directory(asked.head))),
    };
    let (env, is_new) = match known {
        Some(env) => (env, false),
        None => (new_name(state)?, true),
    };
    let dir = state.env(&env);
    if let Some(home) = Home::read(&dir)?.filter(|home| home.lives_elsewhere(directory)) {
        return Err(EnvIdError::Elsewhere { env, directory: home.directory });
    }
    dir.create()?;
    if let Some(home) = Home::of(directory) {
        let path = Home::path(&dir);
        let json = serde_json::to_vec(&home).expect("plain data");
        disk::replace(&path, &json, 0o600).map_err(|source| EnvIdError::Record { path, source })?;
    }
    if is_new {
        record(directory, &env)?;
    }
    Ok(Found { env, is_new })
}

/// The directory that an environment was started in.
pub fn directory_of(env: &EnvDir) -> Option<PathBuf> {
    Home::read(env).ok().flatten().map(|home| home.directory)
}

/// `-p`, the variables, `name:`.
fn named(asked: &Asked<'_>) -> Result<Option<EnvId>, EnvIdError> {
    let parse = |text: &str| text.parse().map_err(|source| EnvIdError::Name { text: text.to_owned(), source });
    if let Some(text) = asked.project_name {
        return parse(text).map(Some);
    }
    let variable = |name: &str| asked.head.environment.get(name).or_else(|| asked.caller.get(name)).filter(|value| !value.is_empty());
    if let Some(text) = variable("BAISTACK_ENVID") {
        let env: EnvId = parse(text)?;
        // What a service inherited from its own environment is no wish of whoever types in its shell.
        let inherited = asked.caller.contains_key("BAISTACK_SERVICE");
        if !inherited {
            return Ok(Some(env));
        }
    }
    if let Some(text) = variable("COMPOSE_PROJECT_NAME") {
        return parse(text).map(Some);
    }
    Ok(asked.head.name.as_deref().and_then(EnvId::normalized))
}

/// What `.baistack/envid` says, unless it came along with a copy of another directory.
fn recorded(directory: &Path, state: &StateDir) -> Result<Option<EnvId>, EnvIdError> {
    let Ok(text) = fs::read_to_string(directory.join(".baistack/envid")) else { return Ok(None) };
    let Ok(env) = text.trim().parse::<EnvId>() else { return Ok(None) };
    match Home::read(&state.env(&env))? {
        Some(home) if home.is(directory) || !home.lives_elsewhere(directory) => Ok(Some(env)),
        Some(_) => Ok(None),
        // Its state was lost; the containers go on under the name.
        None => Ok(Some(env)),
    }
}

fn record(directory: &Path, env: &EnvId) -> Result<(), EnvIdError> {
    let own = directory.join(".baistack");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| EnvIdError::Record { path, source }
    };
    fs::create_dir_all(&own).map_err(failed(&own))?;
    let ignore = own.join(".gitignore");
    if !ignore.exists() {
        fs::write(&ignore, "*\n").map_err(failed(&ignore))?;
    }
    let path = own.join("envid");
    disk::replace(&path, format!("{env}\n").as_bytes(), 0o644).map_err(failed(&path))
}

/// What Compose would call it.
fn by_directory(head: &Head) -> EnvId {
    let name = head.directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    EnvId::normalized(&name).unwrap_or_else(|| "default".parse().expect("a legal name"))
}

fn new_name(state: &StateDir) -> Result<EnvId, EnvIdError> {
    loop {
        let text = values::env_name().map_err(|source| EnvIdError::Record { path: "/dev/urandom".into(), source })?;
        let env: EnvId = text.parse().map_err(|source| EnvIdError::Name { text, source })?;
        if !state.env(&env).exists() {
            return Ok(env);
        }
    }
}

/// The predefined variables.
pub fn predefined(env: &EnvId, head: &Head, places: &Places) -> IndexMap<String, String> {
    let file = head.files.first().map(|path| path.display().to_string()).unwrap_or_default();
    [
        ("ENVID", env.to_string()),
        ("STACK_DIR", head.directory.display().to_string()),
        ("STACK_FILE", file),
        ("ENV_DIR", places.env_dir.display().to_string()),
        ("RUN_DIR", places.run_dir.display().to_string()),
        ("CPUS", facts::cpus().to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(directory: &Path, own: bool) -> Head {
        Head { directory: directory.to_owned(), files: vec![directory.join("stack.yaml")], has_own_keys: own, ..Head::default() }
    }

    fn asked<'a>(head: &'a Head, caller: &'a IndexMap<String, String>) -> Asked<'a> {
        Asked { project_name: None, caller, head }
    }

    #[test]
    fn a_copy_of_a_directory_is_another_environment_and_a_moved_one_goes_on() {
        let base = tempfile::tempdir().unwrap();
        let state = StateDir::at(base.path().join("state"));
        let caller = IndexMap::new();
        let first = base.path().join("one");
        fs::create_dir(&first).unwrap();
        let made = find_or_make(&asked(&head(&first, true), &caller), &state).unwrap();
        assert!(made.is_new);
        assert_eq!(find_or_make(&asked(&head(&first, true), &caller), &state).unwrap().env, made.env);
        let copy = base.path().join("copy");
        fs::create_dir_all(copy.join(".baistack")).unwrap();
        fs::copy(first.join(".baistack/envid"), copy.join(".baistack/envid")).unwrap();
        assert_ne!(find_or_make(&asked(&head(&copy, true), &caller), &state).unwrap().env, made.env);
        let moved = base.path().join("moved");
        fs::rename(&first, &moved).unwrap();
        assert_eq!(find_or_make(&asked(&head(&moved, true), &caller), &state).unwrap(), Found { env: made.env.clone(), is_new: false });
    }

    #[test]
    fn a_plain_compose_file_has_the_name_that_compose_gives_and_two_of_one_name_are_told_apart() {
        let base = tempfile::tempdir().unwrap();
        let state = StateDir::at(base.path().join("state"));
        let caller = IndexMap::new();
        let (one, two) = (base.path().join("x/app"), base.path().join("y/app"));
        fs::create_dir_all(&one).unwrap();
        fs::create_dir_all(&two).unwrap();
        assert_eq!(find_or_make(&asked(&head(&one, false), &caller), &state).unwrap().env.as_str(), "app");
        let error = find_or_make(&asked(&head(&two, false), &caller), &state).unwrap_err();
        assert!(matches!(error, EnvIdError::Elsewhere { ref directory, .. } if *directory == one), "{error}");
    }

    #[test]
    fn what_a_service_inherited_is_no_wish() {
        let base = tempfile::tempdir().unwrap();
        let state = StateDir::at(base.path().join("state"));
        let head = head(base.path(), true);
        let mut caller: IndexMap<String, String> = [("BAISTACK_ENVID".to_owned(), "outer".to_owned())].into();
        assert_eq!(find(&asked(&head, &caller), &state).unwrap().env.as_str(), "outer");
        caller.insert("BAISTACK_SERVICE".to_owned(), "web".to_owned());
        assert_ne!(find(&asked(&head, &caller), &state).unwrap().env.as_str(), "outer");
    }
}
