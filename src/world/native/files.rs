//! What a process finds on the disk when it starts: scratch directories, its working directory, secrets and configs; and
//! taking it away again.
//!
//! Whatever is made is written down beside the files ([`Made`]), and only what stands there is ever removed. The record and the
//! directory that it lies in stay ours when the process is another user's: that user owns its files and nothing above them.

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
use crate::world::envdir::own_uid;
use crate::world::envid::{self, Moved};
use crate::world::owner::{self, Inode};
use crate::world::removal;

/// The directory, in that of the state, which holds one for each unit.
const ALL: &str = "files";
/// The name of the record.
const MADE: &str = "made.json";
/// Says that a command, and not the unit, needs what lies beside it.
const LENT: &str = "lent";
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

/// Makes for a command what its unit would be given, unless it is there.
pub fn lend(spec: &UnitSpec) -> Result<Loan, Fault> {
    let own = files_dir(&spec.deployment, &spec.unit);
    let path = own.join(LENT);
    if !path.exists() && ["secret", "config"].iter().any(|kind| own.join(kind).exists()) {
        return Ok(Loan { spec: spec.clone(), file: None });
    }
    make_closed(&own).map_err(|error| failed("make", &own, &error))?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.and_then(|file| file.lock_shared().map(|()| file)).map_err(|error| failed("lock", &path, &error))?;
    let loan = Loan { spec: spec.clone(), file: Some(file) };
    match make(spec) {
        Ok(()) => Ok(loan),
        Err(fault) => {
            loan.give_back(false)?;
            Err(fault)
        }
    }
}

impl Loan {
    /// Takes it away again, with `volumes` the scratch directories, too; not while another command uses it, nor when the unit
    /// itself has come to need it.
    pub fn give_back(self, volumes: bool) -> Result<(), Fault> {
        let Some(file) = self.file else { return Ok(()) };
        let path = files_dir(&self.spec.deployment, &self.spec.unit).join(LENT);
        let same = |metadata: fs::Metadata| file.metadata().is_ok_and(|own| own.ino() == metadata.ino());
        if file.try_lock().is_err() || !fs::metadata(&path).is_ok_and(same) {
            return Ok(());
        }
        fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
        take_away(&own_dir(&self.spec.deployment.places.state_dir, &self.spec.unit), volumes, Foreign::Refused)
    }
}

/// Makes everything that a unit needs before its start.
pub(super) fn create(spec: &UnitSpec) -> Result<(), Fault> {
    // What was only lent to a command is the unit's from now on.
    let _ = fs::remove_file(files_dir(&spec.deployment, &spec.unit).join(LENT));
    make(spec)
}

/// Before a further start: the configs and secrets whose files are others by now.
pub(super) fn renew(spec: &UnitSpec) -> Result<(), Fault> {
    let common = &spec.service().common;
    let account = Account::resolve(common.user.as_deref(), &common.group_add)?;
    write_files(spec, &files_dir(&spec.deployment, &spec.unit), &account)
}

fn make(spec: &UnitSpec) -> Result<(), Fault> {
    let common = &spec.service().common;
    let account = Account::resolve(common.user.as_deref(), &common.group_add)?;
    let own = files_dir(&spec.deployment, &spec.unit);
    let mut made = Made::read(&own);
    made.stack.clone_from(&spec.deployment.stack.directory);
    let outcome = make_own_dirs(spec, &account)
        .and_then(|()| make_working_dir(spec, &account))
        .and_then(|()| make_scratch(spec, &account, &mut made))
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
    take_away(&own_dir(state_dir, unit), volumes, Foreign::Left)
}

fn own_dir(state_dir: &Path, unit: &UnitId) -> PathBuf {
    state_dir.join(ALL).join(format!("{}.{}", unit.service, unit.replica))
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
    recorded_of(state_dir, services).map(|own| take_away(&own, true, Foreign::Refused)).fold(Ok(()), Result::and)
}

/// Takes note that the stack's directory has been moved: what was made lies elsewhere by now.
pub fn relocate(state_dir: &Path, moved: &Moved) -> Result<(), Fault> {
    for own in recorded(state_dir) {
        let was = Made::read(&own);
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
        let mut made = Made::read(&own);
        let was = made.clone();
        made.scratch.retain(|directory| was.removable(directory).is_none_or(|real| !directories.contains(&real)));
        if made != was {
            made.write(&own).map_err(|error| failed("write", &own.join(MADE), &error))?;
        }
    }
    Ok(())
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

fn take_away(own: &Path, volumes: bool, foreign: Foreign) -> Result<(), Fault> {
    let mut made = Made::read(own);
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
    if volumes {
        let was = made.clone();
        let env = own.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        // What cannot be removed stays on record, and keeps nothing else from being removed.
        made.scratch.retain(|directory| match was.remove_scratch(directory, &env) {
            Ok(()) => false,
            Err(error) if foreign == Foreign::Left && error.kind() == io::ErrorKind::PermissionDenied => true,
            Err(error) => {
                outcome = Err(failed("remove scratch directory", directory, &error));
                true
            }
        });
    }
    let Made { scratch, inodes, .. } = &mut made;
    inodes.retain(|directory, _| scratch.contains(directory));
    if made.scratch.is_empty() {
        let _ = fs::remove_file(own.join(MADE));
        let _ = fs::remove_dir(own);
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

fn make_scratch(spec: &UnitSpec, account: &Account, made: &mut Made) -> Result<(), Fault> {
    for directory in &spawn::process(spec)?.scratch {
        let directory = PathBuf::from(fill_replica(&directory.to_string_lossy(), spec.unit.replica).as_ref());
        let is_new = make_directory(&directory, account).map_err(|error| failed("make scratch directory", &directory, &error))?;
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
    let temporary = directory.join(format!(".{name}.new"));
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

    fn read(own: &Path) -> Self {
        let ours = |path: &Path| fs::symlink_metadata(path).is_ok_and(|at| at.uid() == nix::unistd::geteuid().as_raw());
        // What somebody else may have written says nothing about what we have made.
        let text = if ours(own) && ours(&own.join(MADE)) { fs::read(own.join(MADE)).unwrap_or_default() } else { Vec::new() };
        // One that cannot be read is as good as none: then less is removed, never more.
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The same in a directory that has been moved.
    fn relocated(&self, moved: &Moved) -> Self {
        let there = |paths: &BTreeSet<PathBuf>| paths.iter().map(|path| moved.path(path)).collect();
        Self {
            stack: moved.path(&self.stack),
            scratch: there(&self.scratch),
            inodes: self.inodes.iter().map(|(path, inode)| (moved.path(path), inode.clone())).collect(),
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
        write_private(&path, &text, 0o600, &Account::default())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::sync::Arc;

    use super::*;
    use crate::model::process::REPLICA_MARK;
    use crate::world::native::testing::World;

    fn world_with_config(world: &World, target: Option<&str>) -> UnitSpec {
        let mut spec = world.unit("a", "true", |common, process| {
            common.configs.push(FileGrant { source: "c".to_owned(), target: target.map(str::to_owned), ..FileGrant::default() });
            process.scratch.push(world.directory.path().join("stack/scratch/deep"));
        });
        let deployment = Arc::make_mut(&mut spec.deployment);
        deployment.stack.directory = world.directory.path().join("stack");
        deployment.places.state_dir = world.directory.path().join("state");
        deployment.stack.configs.insert("c".to_owned(), FileObject { content: Some("x".to_owned()), ..FileObject::default() });
        fs::create_dir_all(&deployment.stack.directory).unwrap();
        spec
    }

    #[test]
    fn what_was_made_is_taken_away_and_nothing_else() {
        let world = World::new("files");
        let spec = world_with_config(&world, Some("etc/app/c.toml"));
        let stack = world.directory.path().join("stack");
        fs::create_dir(stack.join("etc")).unwrap();
        for _ in 0..2 {
            create(&spec).unwrap();
        }
        let link = stack.join("etc/app/c.toml");
        assert_eq!(fs::read_to_string(&link).unwrap(), "x");
        assert_eq!(fs::metadata(&link).unwrap().permissions().mode() & 0o777, 0o400);
        assert_eq!(fs::metadata(&link).unwrap().uid(), nix::unistd::geteuid().as_raw());

        let state = world.directory.path().join("state");
        remove(&state, &spec.unit, false).unwrap();
        assert!(!stack.join("etc/app").exists() && stack.join("etc").exists() && stack.join("scratch/deep").exists());
        remove(&state, &spec.unit, true).unwrap();
        assert!(!stack.join("scratch/deep").exists());
        assert!(!state.join("files/a.1").exists());
    }

    #[test]
    fn what_a_command_was_lent_goes_with_the_last_one_unless_the_unit_has_come() {
        let world = World::new("lent");
        let spec = world_with_config(&world, Some("c.toml"));
        let link = world.directory.path().join("stack/c.toml");
        let own = world.directory.path().join("state/files/a.1");
        let (first, second) = (lend(&spec).unwrap(), lend(&spec).unwrap());
        first.give_back(true).unwrap();
        assert_eq!(fs::read_to_string(&link).unwrap(), "x");
        second.give_back(true).unwrap();
        assert!(!link.exists() && !own.exists() && !world.directory.path().join("stack/scratch/deep").exists());

        let lent = lend(&spec).unwrap();
        create(&spec).unwrap();
        lent.give_back(true).unwrap();
        lend(&spec).unwrap().give_back(true).unwrap();
        assert_eq!(fs::read_to_string(&link).unwrap(), "x");
    }

    #[test]
    fn another_user_reads_its_files_and_owns_nothing_above_them() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let world = World::new("user");
        let mut spec = world_with_config(&world, None);
        let deployment = Arc::make_mut(&mut spec.deployment);
        deployment.stack.services[0].common.user = Some("65534:65534".to_owned());
        let state = deployment.places.state_dir.join("baistack/user");
        deployment.places.state_dir.clone_from(&state);
        fs::set_permissions(world.directory.path(), Permissions::from_mode(CLOSED)).unwrap();
        let message = create(&spec).unwrap_err().message;
        assert!(message.contains("is closed to it; set `XDG_STATE_HOME`"), "{message}");

        fs::set_permissions(world.directory.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(world.directory.path().join("state"), Permissions::from_mode(0o755)).unwrap();
        create(&spec).unwrap();
        let own = state.join("files/a.1");
        let owner = |path: &str| fs::metadata(own.join(path)).unwrap().uid();
        assert_eq!([owner("config/c"), owner("config"), owner(""), owner(MADE)], [65534, 65534, 0, 0]);
        for above in own.ancestors().take(4) {
            assert_eq!(fs::metadata(above).unwrap().permissions().mode() & 0o777, PASSABLE, "{}", above.display());
        }
        let file = own.join("config/c").display().to_string();
        let cat = std::os::unix::process::CommandExt::uid(&mut std::process::Command::new("cat"), 65534).arg(file).output();
        assert_eq!(cat.unwrap().stdout, b"x");
    }

    #[test]
    fn a_record_that_somebody_else_wrote_removes_nothing() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let world = World::new("forged");
        let spec = world_with_config(&world, None);
        create(&spec).unwrap();
        let state = world.directory.path().join("state");
        lchown(state.join("files/a.1").join(MADE), Some(65534), None).unwrap();
        remove(&state, &spec.unit, true).unwrap();
        assert!(world.directory.path().join("stack/scratch/deep").exists());
    }

    #[test]
    fn the_scratch_of_all_units_is_what_was_made_for_them() {
        let world = World::new("all");
        let mut spec = world_with_config(&world, None);
        let stack = world.directory.path().join("stack");
        let service = &mut Arc::make_mut(&mut spec.deployment).stack.services[0];
        let crate::model::service::Kind::Process(process) = &mut service.kind else { panic!() };
        process.scratch = vec![stack.join("scratch").join(REPLICA_MARK), stack.join("before")];
        fs::create_dir(stack.join("before")).unwrap();
        for replica in [1, 2] {
            spec.unit.replica = replica;
            create(&spec).unwrap();
        }
        let state = world.directory.path().join("state");
        let made = ["1", "2"].map(|replica| stack.canonicalize().unwrap().join("scratch").join(replica));
        assert_eq!(scratch(&state, None), BTreeSet::from(made));
        remove_all(&state, &[]).unwrap();
        assert_eq!(scratch(&state, None), BTreeSet::new());
        assert!(!stack.join("scratch/2").exists() && stack.join("before").exists());
    }

    #[test]
    fn the_scratch_of_a_directory_that_was_moved_is_found_where_it_is() {
        let world = World::new("moved");
        let spec = world_with_config(&world, Some("c.toml"));
        create(&spec).unwrap();
        let place = world.directory.path().canonicalize().unwrap();
        let state = place.join("state");
        fs::rename(place.join("stack"), place.join("renamed")).unwrap();
        assert_eq!(scratch(&state, None), BTreeSet::new());
        let moved = Moved { from: spec.deployment.stack.directory.clone(), to: place.join("renamed") };
        assert_eq!(scratch(&state, Some(&moved)), BTreeSet::from([place.join("renamed/scratch/deep")]));
        relocate(&state, &moved).unwrap();
        assert_eq!(scratch(&state, None), BTreeSet::from([place.join("renamed/scratch/deep")]));
        remove_all(&state, &[]).unwrap();
        assert!(!place.join("renamed/scratch/deep").exists() && fs::read_link(place.join("renamed/c.toml")).is_err());
    }

    #[test]
    fn scratch_that_somebody_else_sees_to_is_not_removed() {
        let world = World::new("forgotten");
        let spec = world_with_config(&world, None);
        create(&spec).unwrap();
        let state = world.directory.path().join("state");
        forget_scratch(&state, &scratch(&state, None)).unwrap();
        remove(&state, &spec.unit, true).unwrap();
        assert!(world.directory.path().join("stack/scratch/deep").exists());
    }

    #[test]
    fn a_directory_in_the_place_of_a_scratch_directory_is_somebody_elses() {
        let world = World::new("replaced");
        let spec = world_with_config(&world, None);
        let scratch = world.directory.path().join("stack/scratch/deep");
        create(&spec).unwrap();
        fs::rename(&scratch, world.directory.path().join("stack/away")).unwrap();
        fs::create_dir(&scratch).unwrap();
        fs::write(scratch.join("thesis"), "years of it").unwrap();
        let state = world.directory.path().join("state");
        assert_eq!(super::scratch(&state, None), BTreeSet::new());
        remove(&state, &spec.unit, true).unwrap();
        assert!(scratch.join("thesis").exists());
    }

    #[test]
    fn our_places_bear_the_mark_of_their_environment_and_what_a_link_leads_to_does_not() {
        let world = World::new("marked");
        let mut spec = world_with_config(&world, None);
        let deployment = Arc::make_mut(&mut spec.deployment);
        let places = [deployment.places.env_dir.clone(), deployment.places.run_dir.clone()];
        let named = places.iter().map(|place| place.display().to_string()).enumerate();
        deployment.stack.services[0].common.environment.extend(named.map(|(nth, place)| (format!("P{nth}"), Some(place))));
        let elsewhere = world.directory.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, &places[0]).unwrap();
        create(&spec).unwrap();
        assert_eq!(places.each_ref().map(|place| owner::of(place)), [None, Some(spec.deployment.env.to_string())]);
        fs::remove_file(&places[0]).unwrap();
        create_places(&spec).unwrap();
        assert_eq!(owner::of(&places[0]), Some(spec.deployment.env.to_string()));
    }

    #[test]
    fn a_scratch_directory_that_was_there_before_stays() {
        let world = World::new("scratch");
        let spec = world_with_config(&world, None);
        let scratch = world.directory.path().join("stack/scratch/deep");
        fs::create_dir_all(&scratch).unwrap();
        create(&spec).unwrap();
        remove(&world.directory.path().join("state"), &spec.unit, true).unwrap();
        assert!(scratch.exists());
    }

    #[test]
    fn a_file_of_somebody_else_is_not_replaced() {
        let world = World::new("foreign");
        let spec = world_with_config(&world, Some("c.toml"));
        let path = world.directory.path().join("stack/c.toml");
        fs::write(&path, "mine").unwrap();
        let message = create(&spec).unwrap_err().message;
        assert!(message.ends_with("stack/c.toml`: something else is there"), "{message}");
        remove(&world.directory.path().join("state"), &spec.unit, true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_scratch_directory_outside_of_the_stack_stays() {
        let world = World::new("outside");
        let mut spec = world_with_config(&world, None);
        Arc::make_mut(&mut spec.deployment).stack.directory = world.directory.path().join("stack/inner");
        fs::create_dir_all(world.directory.path().join("stack/inner")).unwrap();
        create(&spec).unwrap();
        remove(&world.directory.path().join("state"), &spec.unit, true).unwrap();
        assert!(world.directory.path().join("stack/scratch/deep").exists());
    }
}
