//! What environments left behind whose supervisor died or whose directory is gone, for `doctor`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::CliError;
use super::context::Context;
use crate::host::spawn::SWEEP_GRACE;
use crate::world::envdir::{EnvDir, StateDir};
use crate::world::facts::Finding;
use crate::world::native::sweep;

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
                fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(|error| error.to_string())?;
                Ok(format!("{} is its owner's alone", path.display()))
            }
        }
    }
}

/// Whether others may look into our state: generated values are in it.
pub fn privacy(state: &StateDir) -> Option<(Finding, Stale)> {
    let path = state.path();
    let mode = fs::metadata(path).ok()?.permissions().mode();
    let of_others = mode & 0o077;
    if of_others == 0 {
        return None;
    }
    let found = format!("others may look into {}", path.display());
    Some((Finding::doubtful("state", found, format!("chmod 700 '{}'", path.display())), Stale::Open(path.to_owned())))
}

/// What dead environments left.
pub fn left(context: &Context) -> Result<Vec<(Finding, Option<Stale>)>, CliError> {
    let mut left = Vec::new();
    for dir in context.state()?.list().map_err(CliError::failed)? {
        left.extend(of_home(&dir, context)?.map(|finding| (finding, None)));
        if dir.is_in_use() {
            continue;
        }
        let env = dir.id();
        let processes = sweep::find(env, dir.path());
        if !processes.is_empty() {
            let found = format!("{} processes of `{env}` run without their supervisor", processes.len());
            let finding = Finding::wrong(NAME, found, format!("baistack -p {env} ps, or any other command of it, ends them"));
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
fn of_home(dir: &EnvDir, context: &Context) -> Result<Option<Finding>, CliError> {
    let env = dir.id();
    let home = dir.home().map_err(CliError::failed)?.map(|home| home.path);
    let Some(home) = home.filter(|home| !home.is_dir()) else { return Ok(None) };
    Ok(Some(match dir.moved(&context.working_dir).map_err(CliError::failed)? {
        Some(moved) => {
            let found = format!("the directory of `{env}` was moved: it is `{}` by now", moved.to.display());
            Finding::doubtful(NAME, found, format!("baistack up, there; or baistack purge -p {env}"))
        }
        None => {
            let runs = if dir.is_in_use() { ", and it runs on" } else { "" };
            let found = format!("the directory of `{env}` is gone{runs}: {}", home.display());
            Finding::doubtful(NAME, found, format!("baistack purge -p {env}"))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

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
