//! What environments left behind whose supervisor died or whose directory is gone, for `doctor`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::CliError;
use super::context::{Context, with_causes};
use crate::host::spawn::SWEEP_GRACE;
use crate::world::envdir::{EnvDir, StateDir, StateError};
use crate::world::facts::Finding;
use crate::world::native::sweep;

/// What nobody else may do with our state. To pass through it is allowed to services with a `user`, on the way to their files.
const OF_OTHERS: u32 = 0o066;
/// What the findings are about.
const NAME: &str = "dead environments";

/// Something that is left and can go without harm.
#[derive(Debug)]
pub enum Stale {
    /// Processes of an environment without a supervisor.
    Processes(EnvDir),
    /// The socket of an environment without a supervisor: nobody listens at it.
    Socket(EnvDir),
    /// A directory of ours that others may read.
    Open(PathBuf),
}

impl Stale {
    /// Takes it away. Says what was done, or why it could not be.
    pub fn mend(&self) -> Result<String, String> {
        match self {
            Stale::Processes(dir) => {
                let _lock = dir.try_lock().map_err(|error| error.to_string())?;
                let swept = sweep::sweep(dir.id(), dir.path(), SWEEP_GRACE);
                match swept.left.as_slice() {
                    [] => Ok(format!("{} processes of {} are ended", swept.ended.len(), dir.id())),
                    left => Err(format!("{} processes could not be ended", left.len())),
                }
            }
            Stale::Socket(dir) => {
                // A supervisor that has come since it was found listens there, and would never be reached again.
                let _lock = dir.try_lock().map_err(|error| error.to_string())?;
                fs::remove_file(dir.socket()).map_err(|error| error.to_string())?;
                Ok(format!("{} is removed", dir.socket().display()))
            }
            Stale::Open(path) => {
                let there = fs::metadata(path).map_err(|error| error.to_string())?;
                let closed = Permissions::from_mode(there.permissions().mode() & 0o7777 & !OF_OTHERS);
                fs::set_permissions(path, closed).map_err(|error| error.to_string())?;
                Ok(format!("nobody else may look into {}", path.display()))
            }
        }
    }
}

/// Whether others may look into our state: generated values are in it.
pub fn privacy(state: &StateDir) -> Option<(Finding, Stale)> {
    let path = state.path();
    let mode = fs::metadata(path).ok()?.permissions().mode();
    if mode & OF_OTHERS == 0 {
        return None;
    }
    let found = format!("others may look into {}", path.display());
    Some((Finding::doubtful("state", found, format!("chmod go-rw '{}'", path.display())), Stale::Open(path.to_owned())))
}

/// What dead environments left, and what of the state cannot be read.
pub fn left(context: &Context) -> Result<Vec<(Finding, Option<Stale>)>, CliError> {
    let unread = |error: StateError| (Finding::wrong(NAME, with_causes(&error), error.remedy()), None);
    let mut left = Vec::new();
    let dirs = match context.state()?.list() {
        Ok(dirs) => dirs,
        Err(error) => return Ok(vec![unread(error)]),
    };
    for (env, processes) in sweep::stateless(context.state()?.path()) {
        let found = format!("{} processes of `{env}` run, and its state is gone", processes.len());
        left.push((Finding::wrong(NAME, found, format!("baistack down -p {env}")), None));
    }
    for dir in dirs {
        match of_home(&dir, context) {
            Ok(finding) => left.extend(finding.map(|finding| (finding, None))),
            Err(error) => left.push(unread(error)),
        }
        let snapshot = dir.snapshot::<serde_json::Value>().err();
        let of_engines = [dir.engines().err(), dir.left_volumes().err(), dir.provided().err()];
        let records = [dir.deployment().err(), dir.ports().err(), dir.given_ports().err(), dir.values().err(), snapshot];
        left.extend(records.into_iter().chain(of_engines).flatten().map(unread));
        if dir.is_in_use() {
            continue;
        }
        let env = dir.id();
        let processes = sweep::find(env, dir.path());
        if !processes.is_empty() {
            let found = format!("{} processes of `{env}` run without their supervisor", processes.len());
            let finding = Finding::wrong(NAME, found, format!("baistack -p {env} down, or baistack doctor --fix"));
            left.push((finding, Some(Stale::Processes(dir.clone()))));
        }
        if dir.socket().exists() {
            let finding = Finding::doubtful(NAME, format!("`{env}` left its socket"), format!("rm '{}'", dir.socket().display()));
            left.push((finding, Some(Stale::Socket(dir.clone()))));
        }
    }
    Ok(left)
}

/// What there is to say of an environment whose directory is not where it was, whether it runs or not.
fn of_home(dir: &EnvDir, context: &Context) -> Result<Option<Finding>, StateError> {
    let env = dir.id();
    // That of a stack which lies elsewhere is a copy, fetched again by the next `up`.
    let home = dir.home()?.filter(|home| home.origin.is_none()).map(|home| home.path);
    let Some(home) = home.filter(|home| !home.is_dir()) else { return Ok(None) };
    Ok(Some(match dir.moved(&context.working_dir)? {
        Some(moved) => {
            let found = format!("the directory of `{env}` was moved: it is `{}` by now", moved.to.display());
            Finding::doubtful(NAME, found, format!("baistack up, there; or baistack purge -p {env}"))
        }
        None => {
            let runs = if dir.is_in_use() { ", and it runs on" } else { "" };
            let found = format!("the directory of `{env}` is gone{runs}: {}", home.display());
            let remedy = format!("put it back, or mount what it lies on; where it is gone for good: baistack purge -p {env}");
            Finding::doubtful(NAME, found, remedy)
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_services_of_other_users_pass_through_is_not_closed_to_them() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::at(home.path().join("baistack"));
        fs::create_dir(state.path()).unwrap();
        let mode = || fs::metadata(state.path()).unwrap().permissions().mode() & 0o7777;
        for (before, after) in [(0o700, None), (0o711, None), (0o755, Some(0o711)), (0o777, Some(0o711)), (0o740, Some(0o700))] {
            fs::set_permissions(state.path(), Permissions::from_mode(before)).unwrap();
            let found = privacy(&state);
            assert_eq!(found.is_some(), after.is_some(), "{before:o}");
            if let (Some((_, stale)), Some(after)) = (found, after) {
                stale.mend().unwrap();
                assert_eq!(mode(), after, "{before:o}");
            }
        }
    }

    #[test]
    fn a_socket_is_removed_only_where_no_supervisor_has_come_since() {
        let home = tempfile::tempdir().unwrap();
        let dir = StateDir::at(home.path().join("baistack")).env(&"demo".parse().unwrap());
        dir.create().unwrap();
        fs::write(dir.socket(), "").unwrap();
        let stale = Stale::Socket(dir.clone());
        let supervisor = dir.try_lock().unwrap();
        stale.mend().unwrap_err();
        assert!(dir.socket().exists());
        drop(supervisor);
        stale.mend().unwrap();
        assert!(!dir.socket().exists());
    }
}
