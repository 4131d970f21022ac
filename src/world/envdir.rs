//! The state directory: one directory an environment, readable with `cat`.
//!
//! It lies below `$XDG_STATE_HOME` and not below `$XDG_RUNTIME_DIR`, which is unset under cron and ssh and goes away at
//! logout: every caller must find the same one. Which environment a directory belongs to is `envid`'s business.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::envid::Moved;
use super::kernel::host;
use super::owner::Inode;
use super::provider::Provided;
use super::{clock, disk, engine_records, owner, removal, values};
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::model::value::Generated;
use crate::plan::desired::{Deployment, Places};
use crate::plan::next::Goal;
use crate::plan::ports::Numbers;
use crate::supervisor::snapshot::HaveRecord;

/// What is kept with data: the directory that the environment remembers, the records of what was made for units, values, ports.
const OF_DATA: [&str; 9] = [
    owner::MARK,
    "directory.json",
    engine_records::ENGINES,
    engine_records::LOCK,
    engine_records::VOLUMES,
    "files",
    "ports.json",
    "purging.json",
    "values.json",
];

/// Records of ours: one of them is in every state.
const RECORDS: [&str; 6] = ["claim", "directory.json", "lock", "ports.json", "snapshot.json", "values.json"];

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Nobody says where it should lie.
    #[error("find a place for the state: neither `XDG_STATE_HOME` nor a home directory is known")]
    NoHome,
    /// The operating system refuses.
    #[error("{action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of ours is not as we write it.
    #[error("read `{}`", path.display())]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// Where in it.
        source: serde_json::Error,
    },
}

impl StateError {
    /// What to do about it, where the error says what it is about.
    pub fn remedy(&self) -> String {
        match self {
            StateError::NoHome => "export XDG_STATE_HOME=\"$HOME/.local/state\"".to_owned(),
            StateError::Io { path, .. } => format!("see to it that this can be read and written: ls -ld '{}'", path.display()),
            StateError::Corrupt { path, .. } => format!("rm '{}'; {}", path.display(), loss_of(path)),
        }
    }

    /// For `map_err`: what was tried on which path.
    pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
        let path = path.to_owned();
        move |source| StateError::Io { action, path, source }
    }
}

/// What it costs to delete a damaged record, as the end of a sentence.
fn loss_of(record: &Path) -> &'static str {
    match record.file_name().and_then(OsStr::to_str).unwrap_or_default() {
        "values.json" => {
            "the next `up` generates new values, which data made with the old ones (a database's password) does not know"
        }
        "ports.json" => "the next `up` finds new numbers for the named ports",
        "given-ports.json" => "the numbers that the caller of the last `up` had set are forgotten",
        "directory.json" => "it is forgotten in which directory the stack lies, until the next `up` there",
        "providers.json" => "what providers look after is forgotten, and nobody takes it away",
        "purging.json" => "what an interrupted `purge` had begun to remove is forgotten, and stays",
        engine_records::ENGINES => "it is forgotten which engines hold something, until the next `up` under each",
        engine_records::VOLUMES => "volumes that nobody has named are forgotten, and `docker volume ls` alone still shows them",
        _ => "the next `up` writes it anew",
    }
}

/// Why a lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody lives there.
    #[error("lock the environment: {}", .pid.map_or_else(|| "another process holds it".to_owned(), |pid| format!("process {pid} holds it")))]
    Held {
        /// What the holder wrote into the lock: for people, never to be signalled.
        pid: Option<u32>,
    },
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The directory of all environments: `$XDG_STATE_HOME/baistack`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Where it lies for a caller with this environment. A relative `XDG_STATE_HOME` counts for nothing (XDG Base Directory
    /// Specification).
    pub fn of(environment: &IndexMap<String, String>) -> Result<Self, StateError> {
        let absolute = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state_home = absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").or_else(std::env::home_dir).map(|home| home.join(".local/state")))
            .ok_or(StateError::NoHome)?;
        Ok(Self { path: state_home.join("baistack") })
    }

    /// A directory of that purpose elsewhere.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An environment's directory, whether it is there or not.
    pub fn env(&self, id: &EnvId) -> EnvDir {
        EnvDir { id: id.clone(), path: self.path.join(id.as_str()) }
    }

    /// All environments that this host knows, by name.
    pub fn list(&self) -> Result<Vec<EnvDir>, StateError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StateError::at("list", &self.path)(error)),
        };
        let mut found: Vec<EnvDir> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .map(|id| self.env(&id))
            .filter(EnvDir::exists)
            .collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Waits until nobody else on this host is finding an environment's name, values or ports.
    pub fn host_lock(&self) -> Result<FileLock, StateError> {
        make_private(&self.path)?;
        FileLock::wait(&self.path.join(".lock"))
    }
}

/// The state of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvDir {
    id: EnvId,
    path: PathBuf,
}

impl EnvDir {
    /// Whose state it is.
    pub fn id(&self) -> &EnvId {
        &self.id
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes it, for its owner alone.
    pub fn create(&self) -> Result<(), StateError> {
        make_private(&self.path)?;
        owner::mark(&self.path, &self.id).map_err(StateError::at("mark", &self.path))
    }

    /// Whether what is there is the state of this environment: it bears its mark or, from a release that set none, holds records.
    pub fn is_ours(&self) -> bool {
        match owner::of(&self.path) {
            Some(env) => env == self.id.as_str(),
            None => RECORDS.iter().any(|name| self.path.join(name).exists()),
        }
    }

    /// Makes the directory of the services' logs, for its owner alone.
    pub fn create_logs(&self) -> Result<(), StateError> {
        make_private(&self.logs())
    }

    /// What of it nobody needs who keeps the environment's data; the rest is the passwords and ports in that data, and where
    /// and whose it is.
    pub fn besides_data(&self) -> Result<Vec<PathBuf>, StateError> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(StateError::at("list", &self.path))?,
        };
        let others = entries.flatten().filter(|entry| !OF_DATA.iter().any(|name| entry.file_name() == *name));
        let mut others: Vec<PathBuf> = others.map(|entry| entry.path()).collect();
        others.sort();
        Ok(others)
    }

    /// Removes it with all that it holds.
    pub fn remove(&self) -> Result<(), StateError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::at("remove", &self.path)(error)),
            _ => Ok(()),
        }
    }

    /// Where the supervisor listens.
    pub fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// What the supervisor says of itself.
    pub fn supervisor_log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    /// The services' logs.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The deployment in force, as the last `up` sent it.
    pub fn deployment(&self) -> Result<Option<Deployment>, StateError> {
        self.read("stack.json")
    }

    /// Of the deployment in force what somebody needs who looks at many, read as a type that leaves out the rest.
    pub fn deployment_outline<T: DeserializeOwned>(&self) -> Result<Option<T>, StateError> {
        self.read("stack.json")
    }

    /// Records the deployment in force; none after the end of the environment.
    pub fn set_deployment(&self, deployment: Option<&Deployment>) -> Result<(), StateError> {
        match deployment {
            Some(deployment) => self.write("stack.json", deployment),
            None => self.forget("stack.json"),
        }
    }

    /// What the supervisor knew when it last wrote it down.
    pub fn snapshot<T: DeserializeOwned>(&self) -> Result<Option<T>, StateError> {
        self.read("snapshot.json")
    }

    /// How long ago that was written; nothing where it cannot be told.
    pub fn snapshot_age(&self) -> Duration {
        let written = fs::metadata(self.path.join("snapshot.json")).and_then(|file| file.modified()).ok();
        written.and_then(|written| clock::wall().duration_since(written).ok()).unwrap_or_default()
    }

    /// Writes down what the supervisor knows.
    pub fn set_snapshot<T: Serialize>(&self, snapshot: &T) -> Result<(), StateError> {
        // Also where it is as it was: how old it is says when that was known.
        let path = self.path.join("snapshot.json");
        disk::replace(&path, &json(&path, snapshot)?, 0o600).map_err(StateError::at("write", &path))
    }

    /// The values of `generate:` that are kept.
    pub fn values(&self) -> Result<IndexMap<String, String>, StateError> {
        Ok(self.read("values.json")?.unwrap_or_default())
    }

    /// The values of `generate:`; those that are not kept yet are made and kept. To be called under [`StateDir::host_lock`].
    pub fn make_values(&self, wanted: &IndexMap<String, Generated>) -> Result<IndexMap<String, String>, StateError> {
        let mut kept = self.values()?;
        let missing: Vec<_> = wanted.iter().filter(|(name, _)| !kept.contains_key(*name)).collect();
        if !missing.is_empty() {
            for (name, &kind) in missing {
                kept.insert(name.clone(), values::make(kind).map_err(StateError::at("read", Path::new("/dev/urandom")))?);
            }
            self.create()?;
            self.write("values.json", &kept)?;
        }
        Ok(wanted.keys().filter_map(|name| Some((name.clone(), kept.get(name)?.clone()))).collect())
    }

    /// The numbers of named ports that are kept.
    pub fn ports(&self) -> Result<BTreeMap<String, Numbers>, StateError> {
        Ok(self.read("ports.json")?.unwrap_or_default())
    }

    /// Keeps the numbers of named ports.
    pub fn set_ports(&self, ports: &BTreeMap<String, Numbers>) -> Result<(), StateError> {
        self.create()?;
        self.write("ports.json", ports)
    }

    /// The numbers of named ports that the caller of the last `up` had set.
    pub fn given_ports(&self) -> Result<BTreeMap<String, Numbers>, StateError> {
        Ok(self.read("given-ports.json")?.unwrap_or_default())
    }

    /// Records the numbers that the caller of this `up` has set; they hold until the next one.
    pub fn set_given_ports(&self, ports: &BTreeMap<String, Numbers>) -> Result<(), StateError> {
        if ports.is_empty() && self.given_ports()?.is_empty() {
            return Ok(());
        }
        self.write("given-ports.json", ports)
    }

    /// The numbers that named ports have in what is up: those that the caller had set, else those that are kept.
    pub fn ports_in_force(&self) -> Result<BTreeMap<String, Numbers>, StateError> {
        let mut ports = self.ports()?;
        ports.extend(self.given_ports()?);
        Ok(ports)
    }

    /// The services that providers look after, in the order in which they were brought up; until they are taken away.
    pub fn provided(&self) -> Result<IndexMap<ServiceName, Provided>, StateError> {
        Ok(self.read("providers.json")?.unwrap_or_default())
    }

    /// Records them. To be called under [`StateDir::host_lock`].
    pub fn set_provided(&self, provided: &IndexMap<ServiceName, Provided>) -> Result<(), StateError> {
        if provided.is_empty() { self.forget("providers.json") } else { self.write("providers.json", provided) }
    }

    /// Where Docker's model runner served when that was last asked.
    pub fn model_endpoint(&self) -> Result<Option<String>, StateError> {
        self.read("models.json")
    }

    /// Records it.
    pub fn set_model_endpoint(&self, endpoint: &str) -> Result<(), StateError> {
        self.write("models.json", &endpoint)
    }

    /// Scratch directories that a `purge` has begun to remove, and that no other record has any longer, where they are by now: `stack` is
    /// where the stack's directory is. What somebody has made in the place of one since then is not among them.
    pub fn purging(&self, stack: Option<&Path>) -> Result<BTreeSet<PathBuf>, StateError> {
        let Purging { stack: was, begun } = self.read("purging.json")?.unwrap_or_default();
        let moved = was.zip(stack).map(|(from, to)| Moved { from, to: to.to_owned() });
        let found = |(path, inode): (PathBuf, Inode)| {
            let by_now = moved.as_ref().map(|moved| moved.path(&path));
            let is_it = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|there| inode.is(&there));
            std::iter::once(path).chain(by_now).find(is_it)
        };
        Ok(begun.into_iter().filter_map(found).collect())
    }

    /// Records them, with where the stack's directory is now: it may be moved. They are forgotten with the state.
    pub fn set_purging(&self, directories: &BTreeSet<PathBuf>, stack: Option<&Path>) -> Result<(), StateError> {
        let known = |path: &PathBuf| Some((path.clone(), Inode::of(&fs::symlink_metadata(path).ok()?)));
        let begun = directories.iter().filter_map(known).collect();
        self.write("purging.json", &Purging { stack: stack.map(Path::to_owned), begun })
    }

    /// Forgets them: the purge does not go on.
    pub fn forget_purging(&self) -> Result<(), StateError> {
        self.forget("purging.json")
    }

    /// When it was made, where the file system tells.
    pub fn made_at(&self) -> Option<SystemTime> {
        fs::metadata(&self.path).ok()?.created().ok()
    }

    /// A record of ours by its file name; none when there is no such file.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        read_json(&self.path.join(name))
    }

    /// Removes a record of ours; that there is none is fine.
    pub(super) fn forget(&self, name: &str) -> Result<(), StateError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::at("remove", &path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A record that is about to be changed. One that is damaged is put aside under another name, where somebody may still read it, and
    /// counts as none. One that cannot be read just now is an error: nothing may be written in its place.
    pub(super) fn read_to_change<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        match self.read(name) {
            Err(StateError::Corrupt { path, .. }) => {
                disk::put_aside(&path).map_err(StateError::at("put aside", &path))?;
                Ok(None)
            }
            read => read,
        }
    }

    /// Replaces a record of ours as a whole.
    pub(super) fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StateError> {
        let path = self.path.join(name);
        let text = json(&path, value)?;
        // To put a file in the place of another takes far longer than to look at it.
        if fs::read(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        disk::replace(&path, &text, 0o600).map_err(StateError::at("write", &path))
    }

    /// Takes the environment's lock, which guard and supervisor hold for life.
    ///
    /// The descriptor is closed on exec: a service that inherited it would keep the environment locked after our death. It
    /// is inherited over a fork, which is how guard and supervisor share it.
    pub fn try_lock(&self) -> Result<FileLock, LockError> {
        self.create()?;
        FileLock::attempt(&self.path.join("lock"))
    }

    /// Whether guard or supervisor live.
    pub fn is_locked(&self) -> bool {
        // Not through `try_lock`: asking must not make a directory.
        let Ok(file) = File::open(self.path.join("lock")) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// Whether anybody has held the lock since the directory was made.
    pub fn was_ever_locked(&self) -> bool {
        self.path.join("lock").exists()
    }

    /// Whether who held the lock last has gone without a word, so that something may have been left behind.
    pub fn was_abandoned(&self) -> bool {
        !self.is_locked() && fs::metadata(self.path.join("lock")).is_ok_and(|file| file.len() > 0)
    }

    /// The process id that the lock names: for people. None when nobody holds it.
    pub fn holder(&self) -> Option<u32> {
        self.is_locked().then(|| fs::read_to_string(self.path.join("lock")).ok()?.trim().parse().ok()).flatten()
    }

    /// Says that an `up` of this environment is under way, so that its ports count as taken before they are bound.
    pub fn claim(&self) -> Result<FileLock, StateError> {
        self.create()?;
        let path = self.path.join("claim");
        let file = open_lock(&path)?;
        // Shared: several `up` of one environment may be under way at once.
        file.lock_shared().map_err(StateError::at("lock", &path))?;
        Ok(FileLock { file, abandoned: false })
    }

    /// Whether the environment is in use: its supervisor lives, or an `up` is under way.
    pub fn is_in_use(&self) -> bool {
        self.is_claimed() || self.is_locked()
    }

    fn is_claimed(&self) -> bool {
        File::open(self.path.join("claim")).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Whether something of it runs or is to run, so that its ports are taken though nobody has bound them: a supervisor that was asked
    /// to stop everything lives a moment longer than that.
    pub fn needs_its_ports(&self) -> bool {
        let is_needed = |unit: &UnitOutline| unit.goal == Goal::Up || matches!(unit.have, HaveRecord::Running(_));
        // One that cannot be read may say so.
        let snapshot = || self.snapshot::<SnapshotOutline>().ok().flatten();
        self.is_claimed() || self.is_locked() && snapshot().is_none_or(|snapshot| snapshot.units.iter().any(is_needed))
    }

    /// Whether anything of it is there, running or stopped, or about to be.
    pub fn is_up(&self) -> bool {
        self.needs_its_ports() || !self.units().is_empty()
    }

    /// The units of which something is there, as they were when that was last written down.
    pub fn units(&self) -> Vec<UnitId> {
        // A record of another release says nothing.
        let snapshot: Option<SnapshotOutline> = self.snapshot().ok().flatten();
        let units = snapshot.into_iter().flat_map(|snapshot| snapshot.units);
        units.filter(UnitOutline::is_there).map(|it| it.unit).collect()
    }

    /// Where an environment's things lie. `RUN_DIR` has a short path, since sockets are made in it: below `XDG_RUNTIME_DIR`,
    /// else below `/tmp` in a directory of the user's own. What is up keeps the one it was started with: a caller from cron or
    /// ssh, who has no `XDG_RUNTIME_DIR` or another one, means the same sockets.
    pub fn places(&self, stack_dir: &Path, environment: &IndexMap<String, String>, program: PathBuf) -> Places {
        let runtime = environment.get("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let runtime = runtime.map_or_else(|| PathBuf::from(format!("/tmp/baistack-{}", own_uid())), |dir| dir.join("baistack"));
        Places {
            state_dir: self.path.clone(),
            env_dir: stack_dir.join(".baistack").join(self.id.as_str()),
            run_dir: self.run_dir_in_use().unwrap_or_else(|| runtime.join(self.id.as_str())),
            program,
        }
    }

    /// The directory of the stack that is in force, as far as that can be read.
    pub fn stack_dir(&self) -> Option<PathBuf> {
        let recorded: DeploymentOutline = self.read("stack.json").ok()??;
        Some(recorded.stack?.directory)
    }

    /// The `RUN_DIR` of what is up; none after `down`, and where what it lies in went away at a logout.
    fn run_dir_in_use(&self) -> Option<PathBuf> {
        // A record of another release says nothing.
        let snapshot: Option<SnapshotOutline> = self.snapshot().ok().flatten();
        let has_units = snapshot.as_ref().is_some_and(SnapshotOutline::has_units);
        let recorded: Option<DeploymentOutline> = self.read("stack.json").ok().flatten();
        let run_dir = recorded.or_else(|| snapshot?.deployment)?.places.run_dir;
        let can_be_made = || run_dir.ancestors().nth(2).is_some_and(Path::is_dir);
        let is_in_use = run_dir.is_dir() || (can_be_made() && (has_units || self.is_locked()));
        (run_dir.is_absolute() && is_in_use).then_some(run_dir)
    }
}

/// Of a recorded deployment, where its sockets are: the whole would be read for nothing.
#[derive(Deserialize)]
struct DeploymentOutline {
    places: PlacesOutline,
    #[serde(default)]
    stack: Option<StackOutline>,
}

#[derive(Deserialize)]
struct StackOutline {
    directory: PathBuf,
}

#[derive(Deserialize)]
struct PlacesOutline {
    run_dir: PathBuf,
}

/// Of a snapshot, what is there.
#[derive(Deserialize)]
struct SnapshotOutline {
    deployment: Option<DeploymentOutline>,
    units: Vec<UnitOutline>,
}

impl SnapshotOutline {
    fn has_units(&self) -> bool {
        self.units.iter().any(|unit| unit.have != HaveRecord::Absent)
    }
}

/// What a `purge` has begun with.
#[derive(Default, Serialize, Deserialize)]
struct Purging {
    /// Where the stack's directory was then.
    stack: Option<PathBuf>,
    begun: BTreeMap<PathBuf, Inode>,
}

#[derive(Deserialize)]
struct UnitOutline {
    unit: UnitId,
    goal: Goal,
    have: HaveRecord,
}

impl UnitOutline {
    fn is_there(&self) -> bool {
        self.have != HaveRecord::Absent
    }
}

/// A lock of the kernel's (flock), released when the last process that shares it has ended.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    abandoned: bool,
}

impl FileLock {
    /// Takes it or says who holds it.
    pub(super) fn attempt(path: &Path) -> Result<Self, LockError> {
        loop {
            let file = open_lock(path)?;
            match file.try_lock() {
                Ok(()) if names(path, &file)? => {
                    let abandoned = file.metadata().map_err(StateError::at("look at", path))?.len() > 0;
                    let mut lock = Self { file, abandoned };
                    lock.name_holder(std::process::id()).map_err(StateError::at("write", path))?;
                    return Ok(lock);
                }
                // Deleted (by `purge`) between our open and our lock: what we hold is nobody's lock any more.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let pid = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
                    return Err(LockError::Held { pid });
                }
                Err(TryLockError::Error(error)) => return Err(StateError::at("lock", path)(error).into()),
            }
        }
    }

    /// Waits for it.
    pub(super) fn wait(path: &Path) -> Result<Self, StateError> {
        loop {
            let file = open_lock(path)?;
            file.lock().map_err(StateError::at("lock", path))?;
            if names(path, &file)? {
                return Ok(Self { file, abandoned: false });
            }
        }
    }

    /// Gives it up now, also where a child that is about to run a program shares it.
    pub(super) fn release(self) {
        // It goes with the descriptor in any case.
        let _ = self.file.unlock();
    }

    /// Whether who held it before has gone without a word, so that something may have been left behind.
    pub fn was_abandoned(&self) -> bool {
        self.abandoned
    }

    /// What it guarded is in order: nobody has to look for what was left behind.
    pub fn settled(self) -> io::Result<()> {
        self.file.set_len(0)
    }

    /// Writes a process id into it, for people: the guard takes the lock, but the supervisor is who they look for.
    pub fn name_holder(&mut self, pid: u32) -> io::Result<()> {
        // Never empty in between: that would say that nothing can have been left behind.
        let text = format!("{pid}\n");
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }
}

fn open_lock(path: &Path) -> Result<File, StateError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(StateError::at("open", path))
}

/// Whether a path still names this very file.
fn names(path: &Path, file: &File) -> Result<bool, StateError> {
    let ours = file.metadata().map_err(StateError::at("look at", path))?;
    Ok(fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
}

/// Runs `with` on a path that fits into a socket's address and leads to `socket`.
///
/// One that is too long is reached by another path to its directory.
pub fn with_socket_path<T>(socket: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if socket.as_os_str().len() <= host::SOCKET_PATH_LIMIT {
        return with(socket);
    }
    let (Some(dir), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no socket"));
    };
    host::with_short_path(dir, |dir| with(&dir.join(name)))
}

/// Removes an environment's `RUN_DIR` with the sockets that are left in it, if it was ever made. One without its mark is not
/// its own, and stays: the answer is whether there is one no longer.
pub fn remove_run_dir(run_dir: &Path, env: &EnvId) -> Result<bool, StateError> {
    if run_dir.symlink_metadata().is_err() {
        return Ok(true);
    }
    if owner::of(run_dir).as_deref() != Some(env.as_str()) {
        return Ok(false);
    }
    removal::remove(run_dir, env.as_str()).map(|()| true).map_err(StateError::at("remove", run_dir))
}

/// Whether whoever is at the other end may command this user's processes: this user, or root.
pub fn is_of_own_user(stream: &UnixStream) -> bool {
    host::user_of_peer(stream).is_some_and(|uid| uid == own_uid() || uid == 0)
}

/// The user that we act as.
pub fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The user whose a path is, where that is another one than we act as. None also where the path cannot be looked at.
pub fn other_user_of(path: &Path) -> Option<String> {
    let uid = fs::metadata(path).ok()?.uid();
    let name = || Some(nix::unistd::User::from_uid(uid.into()).ok()??.name);
    (uid != own_uid()).then(|| name().unwrap_or_else(|| uid.to_string()))
}

/// Makes a directory and its parents; the last one for its owner alone.
fn make_private(path: &Path) -> Result<(), StateError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(StateError::at("make", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(StateError::at("make", path)(error)),
        _ => Ok(()),
    }
}

/// Reads a JSON file; none when there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let mut text = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::at("read", path)(error)),
        Ok(_) => {}
    }
    serde_json::from_slice(&text).map(Some).map_err(|source| StateError::Corrupt { path: path.to_owned(), source })
}

/// A record's text.
fn json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, StateError> {
    let mut text = serde_json::to_vec(value).map_err(|source| StateError::Corrupt { path: path.to_owned(), source })?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("baistack"));
        (dir, state)
    }

    fn env(state: &StateDir, name: &str) -> EnvDir {
        state.env(&name.parse().unwrap())
    }

    #[test]
    fn with_data_its_passwords_and_ports_are_kept() {
        let (_dir, state) = state();
        let env = env(&state, "one");
        assert_eq!(env.besides_data().unwrap(), Vec::<PathBuf>::new());
        env.make_values(&IndexMap::from([("password".to_owned(), Generated::Hex(8))])).unwrap();
        env.set_ports(&BTreeMap::new()).unwrap();
        env.create_logs().unwrap();
        env.set_snapshot(&1).unwrap();
        assert_eq!(env.besides_data().unwrap(), [env.logs(), env.path().join("snapshot.json")]);
    }

    #[test]
    fn what_a_record_says_already_is_not_written_but_a_snapshot_is_as_old_as_its_last_word() {
        let (_dir, state) = state();
        let env = env(&state, "one");
        env.create().unwrap();
        let inode = |name: &str| fs::metadata(env.path().join(name)).unwrap().ino();
        for (name, is_same) in [("ports.json", true), ("snapshot.json", false)] {
            let write = |value: u16| match name {
                "snapshot.json" => env.set_snapshot(&value).unwrap(),
                _ => env.set_ports(&BTreeMap::from([("web".to_owned(), Numbers { first: value, last: value })])).unwrap(),
            };
            write(1);
            // Whoever has it open keeps its inode from being another file's.
            let (first, open) = (inode(name), File::open(env.path().join(name)).unwrap());
            write(1);
            assert_eq!(inode(name) == first, is_same, "{name}");
            write(2);
            assert_ne!(inode(name), first, "{name}");
            drop(open);
        }
    }

    #[test]
    fn the_state_lies_in_the_state_home_and_a_relative_one_counts_for_nothing() {
        let of = |pairs: &[(&str, &str)]| {
            let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            StateDir::of(&environment).unwrap().path
        };
        assert_eq!(of(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]), Path::new("/s/baistack"));
        assert_eq!(of(&[("XDG_STATE_HOME", "s"), ("HOME", "/h")]), Path::new("/h/.local/state/baistack"));
        assert_eq!(of(&[("XDG_STATE_HOME", ""), ("HOME", "/h")]), Path::new("/h/.local/state/baistack"));
    }

    #[test]
    fn an_environment_is_for_its_owner_alone_and_listed() {
        let (_dir, state) = state();
        assert_eq!(state.list().unwrap(), []);
        let env = env(&state, "demo");
        env.create().unwrap();
        assert_eq!(fs::metadata(env.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(state.list().unwrap(), [env]);
    }

    #[test]
    fn one_lock_one_holder_and_it_is_named() {
        let (_dir, state) = state();
        let env = env(&state, "demo");
        assert!(!env.is_locked());
        let mut lock = env.try_lock().unwrap();
        assert!(matches!(env.try_lock(), Err(LockError::Held { pid }) if pid == Some(std::process::id())));
        lock.name_holder(7).unwrap();
        assert_eq!((env.holder(), env.is_in_use()), (Some(7), true));
        drop(lock);
        assert_eq!((env.holder(), env.is_in_use()), (None, false));
        env.try_lock().unwrap();
    }

    #[test]
    fn who_goes_without_a_word_may_have_left_something_behind() {
        let (_dir, state) = state();
        let env = env(&state, "a");
        assert!(!env.was_abandoned());
        let lock = env.try_lock().unwrap();
        assert!(!env.was_abandoned(), "it is held");
        assert!(!lock.was_abandoned(), "nobody held it before");
        drop(lock);
        assert!(env.was_abandoned());
        let lock = env.try_lock().unwrap();
        assert!(lock.was_abandoned());
        lock.settled().unwrap();
        assert!(!env.was_abandoned() && !env.is_locked() && !env.try_lock().unwrap().was_abandoned());
    }

    #[test]
    fn a_lock_whose_file_was_deleted_is_nobodys() {
        let (_dir, state) = state();
        let env = env(&state, "demo");
        let _old = env.try_lock().unwrap();
        env.remove().unwrap();
        env.try_lock().unwrap();
    }

    #[test]
    fn an_up_under_way_keeps_its_claim() {
        let (_dir, state) = state();
        let env = env(&state, "demo");
        let claims = [env.claim().unwrap(), env.claim().unwrap()];
        assert!(env.is_in_use() && !env.is_locked());
        drop(claims);
        assert!(!env.is_in_use());
    }

    #[test]
    fn what_a_purge_has_begun_with_is_found_however_often_its_directory_is_moved() {
        let (dir, state) = state();
        let env = env(&state, "demo");
        env.create().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("second/scratch")).unwrap();
        env.set_purging(&BTreeSet::from([at("second/scratch")]), Some(&at("second"))).unwrap();
        let scratch = |stack: &str| BTreeSet::from([at(stack).join("scratch")]);
        assert_eq!(env.purging(Some(&at("second"))).unwrap(), scratch("second"));
        fs::rename(at("second"), at("third")).unwrap();
        assert_eq!(env.purging(Some(&at("third"))).unwrap(), scratch("third"));
        fs::rename(at("third"), at("second")).unwrap();
        assert_eq!(env.purging(None).unwrap(), scratch("second"));
    }

    #[test]
    fn what_the_caller_set_holds_until_the_next_up() {
        let (_dir, state) = state();
        let env = env(&state, "demo");
        let numbers = |first| BTreeMap::from([("P".to_owned(), Numbers { first, last: first })]);
        env.set_ports(&numbers(5000)).unwrap();
        env.set_given_ports(&numbers(6000)).unwrap();
        assert_eq!((env.ports().unwrap(), env.ports_in_force().unwrap()), (numbers(5000), numbers(6000)));
        env.set_given_ports(&BTreeMap::new()).unwrap();
        assert_eq!(env.ports_in_force().unwrap(), numbers(5000));
    }

    #[test]
    fn what_is_up_keeps_its_run_dir_and_what_is_down_gets_the_callers() {
        let (dir, state) = state();
        let env = env(&state, "demo");
        env.create().unwrap();
        let of = |runtime: &str| IndexMap::from([("XDG_RUNTIME_DIR".to_owned(), dir.path().join(runtime).display().to_string())]);
        let run_dir = |runtime: &str| env.places(dir.path(), &of(runtime), PathBuf::new()).run_dir;
        fs::create_dir_all(dir.path().join("first/baistack")).unwrap();
        let first = run_dir("first");
        assert_eq!(first, dir.path().join("first/baistack/demo"));
        let deployment = Deployment {
            env: env.id().clone(),
            stack: crate::model::stack::Stack::default(),
            caller: crate::plan::desired::Caller::default(),
            places: Places { run_dir: first.clone(), ..Places::default() },
        };
        env.set_deployment(Some(&deployment)).unwrap();
        let second = dir.path().join("second/baistack/demo");
        assert_eq!(run_dir("second"), second, "nothing is up, and no socket is left");
        let lock = env.try_lock().unwrap();
        assert_eq!(run_dir("second"), first, "its supervisor lives");
        drop(lock);
        fs::create_dir(&first).unwrap();
        assert_eq!(run_dir("second"), first, "there are sockets");
        fs::remove_dir_all(dir.path().join("first")).unwrap();
        let _lock = env.try_lock().unwrap();
        assert_eq!(run_dir("second"), second, "it went away at a logout");
    }

    #[test]
    fn values_are_made_once() {
        let (_dir, state) = state();
        let env = env(&state, "demo");
        let wanted: IndexMap<_, _> = [("A".to_owned(), Generated::Hex(8))].into();
        let first = env.make_values(&wanted).unwrap();
        let more: IndexMap<_, _> = [("B".to_owned(), Generated::Uuid), ("A".to_owned(), Generated::Hex(8))].into();
        assert_eq!(env.make_values(&more).unwrap()["A"], first["A"]);
        assert_eq!(fs::metadata(env.path().join("values.json")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_record_that_is_not_ours_is_an_error_with_its_path() {
        let (_dir, state) = state();
        let env = env(&state, "demo");
        env.create().unwrap();
        fs::write(env.path().join("ports.json"), "[").unwrap();
        assert!(env.ports().unwrap_err().to_string().contains("ports.json"));
    }

    #[test]
    fn whoever_is_to_delete_a_damaged_record_is_told_which_and_what_is_lost() {
        let (_dir, state) = state();
        let env = env(&state, "demo");
        env.create().unwrap();
        for name in ["ports.json", "values.json"] {
            fs::write(env.path().join(name), "[").unwrap();
        }
        for (error, loss) in [(env.ports().unwrap_err(), "new numbers"), (env.values().unwrap_err(), "new values")] {
            let StateError::Corrupt { path, .. } = &error else { panic!("{error:?}") };
            let remedy = error.remedy();
            assert!(remedy.contains(&format!("rm '{}'; the next `up`", path.display())) && remedy.contains(loss), "{remedy}");
        }
    }

    #[test]
    fn a_socket_below_a_long_path_can_be_bound_and_reached() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        fs::create_dir(&deep).unwrap();
        let socket = deep.join("control.sock");
        let _listener = with_socket_path(&socket, |path| UnixListener::bind(path)).unwrap();
        with_socket_path(&socket, |path| UnixStream::connect(path)).unwrap();
        assert!(socket.exists());
    }
}
