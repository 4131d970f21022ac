//! What a process finds on the disk when it starts: scratch directories, its working directory, secrets and configs; and
//! taking it away again.
//!
//! Whatever is made is written down beside the files ([`Made`]), and only what stands there is ever removed.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::user::Account;
use super::{run_dir, spawn};
use crate::base::name::UnitId;
use crate::model::process::fill_replica;
use crate::model::secret::{FileGrant, FileObject};
use crate::plan::action::Fault;
use crate::plan::desired::UnitSpec;
use crate::plan::environment::{files_dir, granted_file};

/// The name of the record.
const MADE: &str = "made.json";
/// Readable by the process's user and nobody else.
const SECRET_MODE: u32 = 0o400;

/// What was made for a unit.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Made {
    /// The stack's directory at that time: nothing outside of it is removed.
    stack: PathBuf,
    /// Scratch directories.
    scratch: BTreeSet<PathBuf>,
    /// Links to files of ours.
    links: BTreeSet<PathBuf>,
    /// Directories made for those links.
    parents: BTreeSet<PathBuf>,
}

/// Makes everything that a unit needs before its start.
pub(super) fn create(spec: &UnitSpec) -> Result<(), Fault> {
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
            make_directory(directory, account).map_err(|error| failed("make", directory, &error))?;
        }
    }
    Ok(())
}

/// What has to be there, and to be ours, before something is made in one of our places.
fn make_place(spec: &UnitSpec, directory: &Path, account: &Account) -> Result<(), Fault> {
    let run_dir = &spec.deployment.places.run_dir;
    if directory.starts_with(run_dir) { run_dir::make_parent(run_dir, account) } else { Ok(()) }
}

/// Takes away what was made for a unit: its files and links, and with `volumes` the scratch directories, too.
pub(super) fn remove(state_dir: &Path, unit: &UnitId, volumes: bool) -> Result<(), Fault> {
    let own = state_dir.join("files").join(format!("{}.{}", unit.service, unit.replica));
    let mut made = Made::read(&own);
    for link in std::mem::take(&mut made.links) {
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(&own)) {
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
    if volumes {
        for directory in std::mem::take(&mut made.scratch) {
            remove_scratch(&made.stack, &directory)?;
        }
    }
    if made.scratch.is_empty() {
        let _ = fs::remove_file(own.join(MADE));
        let _ = fs::remove_dir(&own);
        return Ok(());
    }
    made.write(&own).map_err(|error| failed("write", &own.join(MADE), &error))
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
            made.scratch.insert(directory);
        }
    }
    Ok(())
}

fn write_files(spec: &UnitSpec, own: &Path, account: &Account) -> Result<(), Fault> {
    let common = &spec.service().common;
    let stack = &spec.deployment.stack;
    for (kind, grants, objects) in [("secret", &common.secrets, &stack.secrets), ("config", &common.configs, &stack.configs)] {
        for grant in grants {
            let Some(object) = objects.get(&grant.source) else {
                return Err(Fault::permanent(format!("there is no {kind} `{}`", grant.source)));
            };
            let content = content(kind, &grant.source, object, spec.unit.replica)?;
            let path = granted_file(own, kind, &grant.source);
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
            chown(&made, Some(uid), Some(gid))?;
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

/// Writes a file so that nobody but its owner ever sees any of it, and nobody ever sees half of it.
fn write_private(path: &Path, content: &[u8], mode: u32, account: &Account) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.new"));
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    if let Some((uid, gid)) = account.owner() {
        chown(&temporary, Some(uid), Some(gid))?;
        for above in [Some(directory), directory.parent()].into_iter().flatten() {
            chown(above, Some(uid), Some(gid))?;
        }
    }
    fs::rename(&temporary, path)
}

/// Removes a scratch directory of ours, as long as it lies in the stack's directory, links resolved.
fn remove_scratch(stack: &Path, directory: &Path) -> Result<(), Fault> {
    let (Ok(stack), Ok(real)) = (fs::canonicalize(stack), fs::canonicalize(directory)) else { return Ok(()) };
    if !is_below(&stack, &real) {
        return Ok(());
    }
    fs::remove_dir_all(&real).map_err(|error| failed("remove scratch directory", directory, &error))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Fault {
    Fault::permanent(format!("{what} `{}`: {error}", path.display()))
}

impl Made {
    fn read(own: &Path) -> Self {
        let text = fs::read(own.join(MADE)).unwrap_or_default();
        // One that cannot be read is as good as none: then less is removed, never more.
        serde_json::from_slice(&text).unwrap_or_default()
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
