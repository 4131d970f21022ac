//! The directory that the `RUN_DIR` of every environment of a user lies in. It may have to lie in `/tmp`, where anybody can
//! put something of that name first: one that is not ours alone is never used.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use super::user::Account;
use crate::plan::action::Fault;
use crate::world::envdir::own_uid;

/// For us alone.
const PRIVATE: u32 = 0o700;
/// So that a process of another user gets to what is its own below, and to nothing else.
const PASSABLE: u32 = 0o711;
/// What nobody else may have had: to put something there.
const WRITABLE: u32 = 0o022;
/// What nobody else may have: to list.
const LISTABLE: u32 = 0o044;

/// Makes the parent of an environment's `RUN_DIR`, or sees that the one that is there is ours alone.
pub(super) fn make_parent(run_dir: &Path, account: &Account) -> Result<(), Fault> {
    let Some(parent) = run_dir.parent() else { return Ok(()) };
    let failed = |what: &str, error: &io::Error| Fault::permanent(format!("{what} `{}`: {error}", parent.display()));
    if let Some(above) = parent.parent() {
        fs::create_dir_all(above).map_err(|error| failed("make what is above", &error))?;
    }
    match DirBuilder::new().mode(PRIVATE).create(parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("make", &error)),
        Ok(()) | Err(_) => {}
    }
    // What a link leads to can be changed by whoever made it.
    let found = fs::symlink_metadata(parent).map_err(|error| failed("look at", &error))?;
    let refused = |why: String| {
        Fault::permanent(format!(
            "`{}` is to hold the `RUN_DIR` of our environments, but {why}; remove it, or set `XDG_RUNTIME_DIR`",
            parent.display()
        ))
    };
    let mode = found.permissions().mode() & 0o777;
    if !found.is_dir() {
        return Err(refused("it is no directory".to_owned()));
    }
    if found.uid() != own_uid() {
        return Err(refused(format!("it belongs to user {}", found.uid())));
    }
    if mode & WRITABLE != 0 {
        return Err(refused(format!("others may write into it (mode {mode:04o})")));
    }
    if mode & LISTABLE != 0 {
        fs::set_permissions(parent, Permissions::from_mode(PRIVATE)).map_err(|error| failed("close", &error))?;
    }
    if account.owner().is_some_and(|(uid, _)| uid != own_uid()) && mode != PASSABLE {
        fs::set_permissions(parent, Permissions::from_mode(PASSABLE)).map_err(|error| failed("open", &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_directory_of_all_run_dirs_is_ours_alone_or_refused() {
        let place = tempfile::tempdir().unwrap();
        let run_dir = |name: &str| place.path().join(name).join("env");
        let made = |name: &str| make_parent(&run_dir(name), &Account::default()).map_err(|fault| fault.message);
        let mode = |name: &str| fs::metadata(place.path().join(name)).unwrap().permissions().mode() & 0o777;
        for _ in 0..2 {
            assert_eq!((made("fresh"), mode("fresh")), (Ok(()), PRIVATE));
        }
        for (name, others) in [("writable", 0o777), ("listable", 0o755)] {
            fs::create_dir(place.path().join(name)).unwrap();
            fs::set_permissions(place.path().join(name), Permissions::from_mode(others)).unwrap();
        }
        let message = made("writable").unwrap_err();
        assert!(message.contains("mode 0777") && message.contains("XDG_RUNTIME_DIR"), "{message}");
        assert_eq!((made("listable"), mode("listable")), (Ok(()), PRIVATE), "it is ours, and nobody can have put anything there");
        symlink(place.path().join("fresh"), place.path().join("link")).unwrap();
        fs::write(place.path().join("file"), "").unwrap();
        for name in ["link", "file"] {
            assert!(made(name).unwrap_err().contains("it is no directory"), "{name}");
        }
    }

    #[test]
    fn a_directory_that_somebody_else_put_there_first_is_refused() {
        if own_uid() != 0 {
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let foreign = place.path().join("foreign");
        DirBuilder::new().mode(PRIVATE).create(&foreign).unwrap();
        std::os::unix::fs::chown(&foreign, Some(65534), None).unwrap();
        let fault = make_parent(&foreign.join("env"), &Account::default()).unwrap_err();
        assert!(fault.message.contains("belongs to user 65534"), "{fault}");
    }
}
