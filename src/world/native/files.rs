//! What a process finds on the disk when it starts: scratch directories, its working directory, secrets and configs; and
//! taking it away again.
//!
//! Whatever is made is written down beside the files ([`Made`]), and only what stands there is ever removed. The record and the
//! directory that it lies in stay ours when the process is another user's: that user owns its files and nothing above them. A supervisor
//! and any number of commands may see to one unit at once: each has it to itself ([`Held`]) while it changes something.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::user::Account;
use super::{run_dir, spawn};
use crate::base::name::{ServiceName, UnitId};
use crate::model::process::fill_replica;
use crate::model::secret::{FileGrant, FileObject};
use crate::plan::action::Fault;
use crate::plan::desired::UnitSpec;
use crate::plan::environment::{files_dir, granted_file};
use crate::world::disk;
use crate::world::envdir::{FileLock, StateError, own_uid};
use crate::world::envid::{self, Moved};
use crate::world::owner::{self, Inode};
use crate::world::removal;

/// The directory, in that of the state, which holds one for each unit.
const ALL: &str = "files";
/// The name of the record.
const MADE: &str = "made.json";
/// The directory of a record that is no unit's: the name of a unit's has a point in it.
const TAKEN_BACK: &str = "taken-back";
/// Says that a command, and not the unit, needs what lies beside it.
const LENT: &str = "lent";
/// Locked by whoever changes what lies beside it.
const HELD: &str = ".lock";
/// Readable by the process's user and nobody else.
const SECRET_MODE: u32 = 0o400;
/// Nobody but its owner comes in.
const CLOSED: u32 = 0o700;
/// Others may go through and see nothing.
const PASSABLE: u32 = 0o711;

/// What was made for a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Made {
    /// The stack's directory at that time: nothing outside of it is removed.
    stack: PathBuf,
    /// Scratch directories.
    scratch: BTreeSet<PathBuf>,
    /// Which they are: another one in the place of ours is not ours to remove. A mark inside would be in a program's way.
    inodes: BTreeMap<PathBuf, Inode>,
    /// Scratch directories that were made for commands alone, and go with the last of them ([`Loan`]).
    passing: BTreeSet<PathBuf>,
    /// Links to files of ours.
    links: BTreeSet<PathBuf>,
    /// Directories made for those links.
    parents: BTreeSet<PathBuf>,
}

/// What a command beside a unit (`run`, `exec`) finds as the unit itself would.
#[derive(Debug)]
pub struct Loan {
    spec: UnitSpec,
    /// Locked as long as a command uses what was made for it; none when it was made for the unit.
    file: Option<File>,
}

/// How long a scratch directory stays that was made for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// As long as the unit's own would.
    ForTheUnit,
    /// Until no command uses it any more.
    ForTheCommand,
}

/// Makes for a command what its unit would be given, unless it is there. Scratch directories that have to be made stay for the unit,
/// or go with the command, as `scratch` says; those that are there already stay as they are.
pub fn lend(spec: &UnitSpec, scratch: Stay) -> Result<Loan, Fault> {
    let own = files_dir(&spec.deployment, &spec.unit);
    let path = own.join(LENT);
    let held = Held::take(&own)?;
    if !path.exists() && ["secret", "config"].iter().any(|kind| own.join(kind).exists()) {
        return Ok(Loan { spec: spec.clone(), file: None });
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    // Nobody has it to himself but while he holds the unit.
    let file = file.and_then(|file| file.lock_shared().map(|()| file)).map_err(|error| failed("lock", &path, &error))?;
    let loan = Loan { spec: spec.clone(), file: Some(file) };
    let made = make(spec, scratch);
    drop(held);
    match made {
        Ok(()) => Ok(loan),
        Err(fault) => {
            loan.give_back()?;
            Err(fault)
        }
    }
}

/// What was made for a unit, ours alone until this is dropped.
struct Held {
    lock: Option<FileLock>,
}

impl Held {
    /// Waits for it. The unit's directory is made for it if need be.
    fn take(own: &Path) -> Result<Self, Fault> {
        loop {
            make_closed(own).map_err(|error| failed("make", own, &error))?;
            match FileLock::wait(&own.join(HELD)) {
                Ok(lock) => return Ok(Self { lock: Some(lock) }),
                // Whoever had it has taken the directory away.
                Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(StateError::Io { source, .. }) => return Err(failed("lock", &own.join(HELD), &source)),
                Err(error @ (StateError::NoHome | StateError::Corrupt { .. })) => {
                    return Err(Fault::permanent(error.to_string()));
                }
            }
        }
    }

    /// The same of a unit for which something was made; none where nothing was.
    fn take_of_made(own: &Path) -> Result<Option<Self>, Fault> {
        if own.is_dir() { Self::take(own).map(Some) } else { Ok(None) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            lock.release();
        }
    }
}

impl Loan {
    /// Takes away again what was made for commands; not while another of them uses it, nor when the unit itself has come to need it.
    pub fn give_back(self) -> Result<(), Fault> {
        let Some(file) = self.file else { return Ok(()) };
        let own = own_dir(&self.spec.deployment.places.state_dir, &self.spec.unit);
        let path = own.join(LENT);
        let Some(_held) = Held::take_of_made(&own)? else { return Ok(()) };
        let same = |metadata: fs::Metadata| file.metadata().is_ok_and(|own| own.ino() == metadata.ino());
        if file.try_lock().is_err() || !fs::metadata(&path).is_ok_and(same) {
            return Ok(());
        }
        fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
        take_away(&own, Scratch::Passing, Foreign::Refused)
    }
}

/// Makes everything that a unit needs before its start.
pub(super) fn create(spec: &UnitSpec) -> Result<(), Fault> {
    let own = files_dir(&spec.deployment, &spec.unit);
    let common = &spec.service().common;
    let needs_none = common.secrets.is_empty() && common.configs.is_empty() && spawn::process(spec)?.scratch.is_empty();
    let _held = if needs_none { Held::take_of_made(&own)? } else { Some(Held::take(&own)?) };
    // What was only lent to a command is the unit's from now on.
    let _ = fs::remove_file(own.join(LENT));
    make(spec, Stay::ForTheUnit)
}

/// Before a further start: the configs and secrets whose files are others by now.
pub(super) fn renew(spec: &UnitSpec) -> Result<(), Fault> {
    let common = &spec.service().common;
    let account = Account::resolve(common.user.as_deref(), &common.group_add)?;
    let own = files_dir(&spec.deployment, &spec.unit);
    let _held = Held::take_of_made(&own)?;
    write_files(spec, &own, &account)
}

fn make(spec: &UnitSpec, scratch: Stay) -> Result<(), Fault> {
    let common = &spec.service().common;
    let account = Account::resolve(common.user.as_deref(), &common.group_add)?;
    let own = files_dir(&spec.deployment, &spec.unit);
    let mut made = Made::read_to_change(&own)?;
    made.stack.clone_from(&spec.deployment.stack.directory);
    let outcome = make_own_dirs(spec, &account)
        .and_then(|()| make_working_dir(spec, &account))
        .and_then(|()| make_scratch(spec, scratch, &account, &mut made))
        .and_then(|()| write_files(spec, &own, &account))
        .and_then(|()| place_configs(spec, &own, &mut made));
    // Also when one of them failed: what was made before is to be found again.
    made.write(&own).map_err(|error| failed("write", &own.join(MADE), &error))?;
    outcome
}

/// `ENV_DIR` and `RUN_DIR` are made when they are used, which is when a definition names them.
fn make_own_dirs(spec: &UnitSpec, account: &Account) -> Result<(), Fault> {
    let places = &spec.deployment.places;
    let definition = serde_json::to_string(spec.service()).unwrap_or_default();
    for directory in [&places.env_dir, &places.run_dir] {
        let named = directory.to_str().is_some_and(|text| !text.is_empty() && definition.contains(text));
        if named {
            make_place(spec, directory, account)?;
            if *directory == envid::own_dir(&spec.deployment.stack.directory).join(spec.deployment.env.as_str()) {
                let own = &spec.deployment.stack.directory;
                envid::make_own_dir(own).map_err(|error| failed("make `.baistack` in", own, &error))?;
            }
            let is_new = make_directory(directory, account).map_err(|error| failed("make", directory, &error))?;
            // What a link leads to is not what we made.
            let is_ours = |there: fs::Metadata| there.is_dir() && (is_new || there.uid() == own_uid());
            if fs::symlink_metadata(directory).is_ok_and(is_ours) {
                owner::mark(directory, &spec.deployment.env).map_err(|error| failed("mark", directory, &error))?;
            }
        }
    }
    Ok(())
}

/// Makes `ENV_DIR` and `RUN_DIR` for a container that names them: an engine that finds none makes one that nobody can tell to be ours.
pub fn create_places(spec: &UnitSpec) -> Result<(), Fault> {
    make_own_dirs(spec, &Account::default())
}

/// What has to be there, and to be ours, before something is made in one of our places.
fn make_place(spec: &UnitSpec, directory: &Path, account: &Account) -> Result<(), Fault> {
    let run_dir = &spec.deployment.places.run_dir;
    if directory.starts_with(run_dir) { run_dir::make_parent(run_dir, account) } else { Ok(()) }
}

/// Takes away what was made for a unit: its files and links, and with `volumes` the scratch directories, too. One that holds
/// somebody else's files stays on record: whoever asked for the removal has other ways than we ([`scratch`]).
pub(super) fn remove(state_dir: &Path, unit: &UnitId, volumes: bool) -> Result<(), Fault> {
    let scratch = if volumes { Scratch::All } else { Scratch::Nothing };
    hold_and_take_away(&own_dir(state_dir, unit), scratch, Foreign::Left)
}

fn own_dir(state_dir: &Path, unit: &UnitId) -> PathBuf {
    state_dir.join(ALL).join(format!("{}.{}", unit.service, unit.replica))
}

/// Which scratch directories are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scratch {
    /// All that were made.
    All,
    /// Those that were made for commands alone.
    Passing,
    /// None.
    Nothing,
}

/// What is done about a scratch directory that holds what only another user may remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Foreign {
    /// It stays on record, for others to remove.
    Left,
    /// It is a fault.
    Refused,
}

/// The scratch directories that were made for units of an environment, those that it no longer has too, and that would be
/// removed with them: where they are, links resolved.
pub fn scratch(state_dir: &Path, moved: Option<&Moved>) -> BTreeSet<PathBuf> {
    let of = |own: PathBuf| {
        let made = Made::read(&own);
        if let Some(moved) = moved { made.relocated(moved) } else { made }.all_removable()
    };
    recorded(state_dir).into_iter().flat_map(of).collect()
}

/// Of that, what was made for these services; all of it when none is named.
pub fn scratch_of(state_dir: &Path, services: &[ServiceName]) -> BTreeSet<PathBuf> {
    recorded_of(state_dir, services).flat_map(|own| Made::read(&own).all_removable()).collect()
}

/// Takes away what was made for these services of an environment, with the scratch directories; for all when none is named.
pub fn remove_all(state_dir: &Path, services: &[ServiceName]) -> Result<(), Fault> {
    // Each in its turn, also after one that failed.
    recorded_of(state_dir, services).map(|own| hold_and_take_away(&own, Scratch::All, Foreign::Refused)).fold(Ok(()), Result::and)
}

/// Takes note that the stack's directory has been moved: what was made lies elsewhere by now.
pub fn relocate(state_dir: &Path, moved: &Moved) -> Result<(), Fault> {
    for own in recorded(state_dir) {
        let Some(_held) = Held::take_of_made(&own)? else { continue };
        let was = Made::read_to_change(&own)?;
        let made = was.relocated(moved);
        if made != was {
            made.write(&own).map_err(|error| failed("write", &own.join(MADE), &error))?;
        }
    }
    Ok(())
}

/// Takes these scratch directories out of the records: whoever asks sees to them from now on.
pub fn forget_scratch(state_dir: &Path, directories: &BTreeSet<PathBuf>) -> Result<(), Fault> {
    for own in recorded(state_dir) {
        let Some(_held) = Held::take_of_made(&own)? else { continue };
        let mut made = Made::read_to_change(&own)?;
        let was = made.clone();
        made.scratch.retain(|directory| was.removable(directory).is_none_or(|real| !directories.contains(&real)));
        made.forget_what_went();
        if made != was {
            made.write(&own).map_err(|error| failed("write", &own.join(MADE), &error))?;
        }
    }
    Ok(())
}

/// Puts scratch directories on record again which whoever had them forgotten ([`forget_scratch`]) has not come to. Which unit they were
/// made for nobody knows any more: they go with those of all.
pub fn take_back_scratch(state_dir: &Path, stack: &Path, directories: &BTreeSet<PathBuf>) -> Result<(), Fault> {
    let own = state_dir.join(ALL).join(TAKEN_BACK);
    make_closed(&own).map_err(|error| failed("make", &own, &error))?;
    let mut made = Made::read_to_change(&own)?;
    made.stack = stack.to_owned();
    for directory in directories {
        if let Ok(there) = fs::metadata(directory) {
            made.inodes.insert(directory.clone(), Inode::of(&there));
            made.scratch.insert(directory.clone());
        }
    }
    made.write(&own).map_err(|error| failed("write", &own.join(MADE), &error))
}

/// The directories of units of which there may be a record.
fn recorded(state_dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(state_dir.join(ALL)).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Those of the units of these services.
fn recorded_of(state_dir: &Path, services: &[ServiceName]) -> impl Iterator<Item = PathBuf> {
    let is_meant = |own: &PathBuf| {
        let name = own.file_name().and_then(|name| name.to_str()).and_then(|name| name.rsplit_once('.'));
        services.is_empty() || name.is_some_and(|(service, _)| services.iter().any(|name| name.as_str() == service))
    };
    recorded(state_dir).into_iter().filter(is_meant)
}

/// [`take_away`], for whoever has not the unit to himself yet. Where nothing was made there is nothing to do.
fn hold_and_take_away(own: &Path, which: Scratch, foreign: Foreign) -> Result<(), Fault> {
    let Some(_held) = Held::take_of_made(own)? else { return Ok(()) };
    take_away(own, which, foreign)
}

fn take_away(own: &Path, which: Scratch, foreign: Foreign) -> Result<(), Fault> {
    let mut made = Made::read_to_change(own)?;
    for link in std::mem::take(&mut made.links) {
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(own)) {
            fs::remove_file(&link).map_err(|error| failed("remove", &link, &error))?;
        }
    }
    // The deepest first; one that holds something else now stays.
    for parent in std::mem::take(&mut made.parents).iter().rev() {
        let _ = fs::remove_dir(parent);
    }
    for kind in ["secret", "config"] {
        match fs::remove_dir_all(own.join(kind)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &own.join(kind), &error)),
            Ok(()) | Err(_) => {}
        }
    }
    let mut outcome = Ok(());
    let was = made.clone();
    let env = own.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    // What cannot be removed stays on record, and keeps nothing else from being removed.
    made.scratch.retain(|directory| {
        let goes = match which {
            Scratch::All => true,
            Scratch::Passing => was.passing.contains(directory),
            Scratch::Nothing => false,
        };
        if !goes {
            return true;
        }
        match was.remove_scratch(directory, &env) {
            Ok(()) => false,
            Err(error) if foreign == Foreign::Left && error.kind() == io::ErrorKind::PermissionDenied => true,
            Err(error) => {
                outcome = Err(failed("remove scratch directory", directory, &error));
                true
            }
        }
    });
    made.forget_what_went();
    if made.scratch.is_empty() {
        let _ = fs::remove_file(own.join(MADE));
        // A command that was lent something goes on with it, and sees to the rest.
        if !own.join(LENT).exists() {
            let _ = fs::remove_file(own.join(HELD));
            let _ = fs::remove_dir(own);
        }
        return outcome;
    }
    made.write(own).map_err(|error| failed("write", &own.join(MADE), &error)).and(outcome)
}

fn make_working_dir(spec: &UnitSpec, account: &Account) -> Result<(), Fault> {
    let directory = spawn::working_dir(spec);
    let places = &spec.deployment.places;
    let is_ours = [&places.env_dir, &places.run_dir].into_iter().any(|place| is_below(place, &directory));
    if !is_ours {
        return Ok(());
    }
    make_place(spec, &directory, account)?;
    make_directory(&directory, account).map(drop).map_err(|error| failed("make", &directory, &error))
}

fn make_scratch(spec: &UnitSpec, stay: Stay, account: &Account, made: &mut Made) -> Result<(), Fault> {
    for directory in &spawn::process(spec)?.scratch {
        let directory = PathBuf::from(fill_replica(&directory.to_string_lossy(), spec.unit.replica).as_ref());
        let is_new = make_directory(&directory, account).map_err(|error| failed("make scratch directory", &directory, &error))?;
        if stay == Stay::ForTheUnit {
            made.passing.remove(&directory);
        } else if is_new {
            made.passing.insert(directory.clone());
        }
        if is_new {
            let inode = fs::metadata(&directory).map(|there| Inode::of(&there));
            made.inodes.extend(inode.ok().map(|inode| (directory.clone(), inode)));
            made.scratch.insert(directory);
        }
    }
    Ok(())
}

fn write_files(spec: &UnitSpec, own: &Path, account: &Account) -> Result<(), Fault> {
    let common = &spec.service().common;
    let stack = &spec.deployment.stack;
    if !common.secrets.is_empty() || !common.configs.is_empty() {
        open_the_way(spec, own, account)?;
    }
    for (kind, grants, objects) in [("secret", &common.secrets, &stack.secrets), ("config", &common.configs, &stack.configs)] {
        for grant in grants {
            let Some(object) = objects.get(&grant.source) else {
                return Err(Fault::permanent(format!("there is no {kind} `{}`", grant.source)));
            };
            let path = granted_file(own, kind, &grant.source);
            let content = match content(kind, &grant.source, object, spec.unit.replica) {
                Ok(content) => content,
                // An editor may be just replacing it; what it held is there.
                Err(_) if path.exists() && object.file.as_ref().is_some_and(|file| !file.exists()) => continue,
                Err(fault) => return Err(fault),
            };
            write_private(&path, &content, mode(grant), account).map_err(|error| failed("write", &path, &error))?;
        }
    }
    Ok(())
}

fn content(kind: &str, name: &str, object: &FileObject, replica: u32) -> Result<Vec<u8>, Fault> {
    if let Some(content) = &object.content {
        return Ok(fill_replica(content, replica).into_owned().into_bytes());
    }
    match &object.file {
        Some(file) => fs::read(file).map_err(|error| failed(&format!("read {kind} `{name}` from"), file, &error)),
        None if object.external => Err(Fault::permanent(format!("{kind} `{name}` is external, which a process cannot be given"))),
        None => Err(Fault::permanent(format!("{kind} `{name}` has no content"))),
    }
}

fn mode(grant: &FileGrant) -> u32 {
    grant.mode.as_deref().and_then(|text| u32::from_str_radix(text.trim_start_matches("0o"), 8).ok()).unwrap_or(SECRET_MODE)
}

/// Puts a link to a config where its `target` says.
fn place_configs(spec: &UnitSpec, own: &Path, made: &mut Made) -> Result<(), Fault> {
    let files = own.parent().unwrap_or(own);
    let directory = spawn::working_dir(spec);
    for grant in &spec.service().common.configs {
        let Some(target) = grant.target.as_deref().map(|target| fill_replica(target, spec.unit.replica)) else { continue };
        let target = target.as_ref();
        if Path::new(target).is_absolute() {
            let message = format!("config `{}`: `target: {target}` is to be relative to working_dir", grant.source);
            return Err(Fault::permanent(message));
        }
        let link = directory.join(target);
        let file = granted_file(own, "config", &grant.source);
        match fs::read_link(&link) {
            Ok(found) if found == file => {}
            // Another replica's, or one whose environment had its state elsewhere: ours all the same.
            Ok(found) if found.starts_with(files) => {
                fs::remove_file(&link).map_err(|error| failed("replace", &link, &error))?;
                symlink(&file, &link).map_err(|error| failed("place", &link, &error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = link.parent() {
                    made.parents.extend(make_parents(parent).map_err(|error| failed("make", parent, &error))?);
                }
                symlink(&file, &link).map_err(|error| failed("place", &link, &error))?;
            }
            Ok(_) | Err(_) => {
                let message =
                    format!("config `{}` cannot be placed at `{}`: something else is there", grant.source, link.display());
                return Err(Fault::permanent(message));
            }
        }
        made.links.insert(link);
    }
    Ok(())
}

/// Whether `path` lies strictly below `place`, read as it is written: no `..` may lead out again.
fn is_below(place: &Path, path: &Path) -> bool {
    let plain = path.components().all(|part| part != Component::ParentDir);
    plain && !place.as_os_str().is_empty() && path != place && path.starts_with(place)
}

/// Makes a directory with all above it; whether it was not there before.
fn make_directory(directory: &Path, account: &Account) -> io::Result<bool> {
    if directory.is_dir() {
        return Ok(false);
    }
    if directory.symlink_metadata().is_ok() {
        // It is somebody's, and would be removed as ours.
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "what is there is no directory"));
    }
    for made in make_parents(directory)? {
        if let Some((uid, gid)) = account.owner() {
            // Whoever owns the directory above may have put a link in its place: then that is what is given away.
            lchown(&made, Some(uid), Some(gid))?;
        }
    }
    Ok(true)
}

/// Makes a directory with all above it; those that were not there before, from the top.
fn make_parents(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let missing: Vec<PathBuf> = directory.ancestors().take_while(|above| !above.exists()).map(Path::to_owned).collect();
    for above in missing.iter().rev() {
        match fs::create_dir(above) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(missing.into_iter().rev().collect())
}

/// Lets another user than ours pass to its files: through the directories of the state, in which it can list nothing. What
/// lies above the state is not ours to open.
fn open_the_way(spec: &UnitSpec, own: &Path, account: &Account) -> Result<(), Fault> {
    make_closed(own).map_err(|error| failed("make", own, &error))?;
    let Some(identity) = account.identity.as_ref().filter(|identity| identity.uid != nix::unistd::geteuid().as_raw()) else {
        return Ok(());
    };
    let state = &spec.deployment.places.state_dir;
    let all = state.parent().unwrap_or(state);
    for directory in own.ancestors().take_while(|above| above.starts_with(all)) {
        let opened = fs::metadata(directory)
            .and_then(|metadata| fs::set_permissions(directory, Permissions::from_mode(metadata.mode() & 0o7777 | PASSABLE)));
        opened.map_err(|error| failed("open", directory, &error))?;
    }
    let is_closed = |directory: &&Path| {
        let Ok(metadata) = fs::metadata(directory) else { return true };
        let class = match () {
            () if metadata.uid() == identity.uid => 0o100,
            () if metadata.gid() == identity.gid || identity.groups.contains(&metadata.gid()) => 0o010,
            () => 0o001,
        };
        identity.uid != 0 && metadata.mode() & class == 0
    };
    match all.ancestors().find(is_closed) {
        None => Ok(()),
        Some(closed) => Err(Fault::permanent(format!(
            "`user: {}` cannot reach its secrets and configs in `{}`, because `{}` is closed to it; set `XDG_STATE_HOME` to a directory \
             that it may pass through, as `/var/lib`",
            spec.service().common.user.as_deref().unwrap_or_default(),
            own.display(),
            closed.display(),
        ))),
    }
}

/// Makes a directory with all above it, for its owner alone.
fn make_closed(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(CLOSED).create(directory)
}

/// Writes a file so that nobody but its owner ever sees any of it, and nobody ever sees half of it. Its directory belongs to that
/// owner, too; the one above is ours, so that nobody can put a link in its place.
fn write_private(path: &Path, content: &[u8], mode: u32, account: &Account) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    make_closed(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}.new", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    if let Some((uid, gid)) = account.owner() {
        fchown(&file, Some(uid), Some(gid))?;
        let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(directory)?;
        fchown(directory, Some(uid), Some(gid))?;
    }
    fs::rename(&temporary, path)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Fault {
    Fault::permanent(format!("{what} `{}`: {error}", path.display()))
}

impl Made {
    /// Keeps of what is known about scratch directories that of those which are still on record.
    fn forget_what_went(&mut self) {
        let Self { scratch, inodes, passing, .. } = self;
        inodes.retain(|directory, _| scratch.contains(directory));
        passing.retain(|directory| scratch.contains(directory));
    }

    /// Removes a scratch directory of ours, as long as it lies in the stack's directory, links resolved.
    fn remove_scratch(&self, directory: &Path, env: &str) -> io::Result<()> {
        self.removable(directory).map_or(Ok(()), |real| removal::remove(&real, env))
    }

    /// Where the scratch directories are that may be removed.
    fn all_removable(&self) -> Vec<PathBuf> {
        self.scratch.iter().filter_map(|directory| self.removable(directory)).collect()
    }

    /// Where a scratch directory is, if it is there, is the one that was made, and may be removed.
    fn removable(&self, directory: &Path) -> Option<PathBuf> {
        let (stack, real) = (fs::canonicalize(&self.stack).ok()?, fs::canonicalize(directory).ok()?);
        let there = fs::metadata(&real).ok()?;
        let is_it = self.inodes.get(directory).is_none_or(|inode| inode.is(&there));
        (is_it && is_below(&stack, &real)).then_some(real)
    }

    /// The record; one that cannot be read is as good as none: then less is removed, never more.
    fn read(own: &Path) -> Self {
        Self::text(own).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// The record that is about to be changed. One that is damaged is put aside, where somebody may still read it, and counts as none.
    /// One that cannot be read just now is an error: nothing may be written in its place.
    fn read_to_change(own: &Path) -> Result<Self, Fault> {
        let path = own.join(MADE);
        let text = Self::text(own).map_err(|error| failed("read", &path, &error))?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(&text).or_else(|_| {
            disk::put_aside(&path).map_err(|error| failed("put aside", &path, &error))?;
            Ok(Self::default())
        })
    }

    /// What is on record; nothing where there is no record.
    fn text(own: &Path) -> io::Result<Vec<u8>> {
        let ours = |path: &Path| fs::symlink_metadata(path).is_ok_and(|at| at.uid() == nix::unistd::geteuid().as_raw());
        // What somebody else may have written says nothing about what we have made.
        if !ours(own) || !ours(&own.join(MADE)) {
            return Ok(Vec::new());
        }
        fs::read(own.join(MADE))
    }

    /// The same in a directory that has been moved, once or more often.
    fn relocated(&self, moved: &Moved) -> Self {
        let moved = &Moved { from: self.stack.clone(), to: moved.to.clone() };
        let there = |paths: &BTreeSet<PathBuf>| paths.iter().map(|path| moved.path(path)).collect();
        Self {
            stack: moved.path(&self.stack),
            scratch: there(&self.scratch),
            inodes: self.inodes.iter().map(|(path, inode)| (moved.path(path), inode.clone())).collect(),
            passing: there(&self.passing),
            links: there(&self.links),
            parents: there(&self.parents),
        }
    }

    fn write(&self, own: &Path) -> io::Result<()> {
        let path = own.join(MADE);
        if self.scratch.is_empty() && self.links.is_empty() && self.parents.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let text = serde_json::to_vec(self)?;
        disk::replace(&path, &text, 0o600)
    }
}

#[cfg(test)]
mod tests;
