//! What may be removed for good, and the removal of it.
//!
//! A path that was made for one environment may lead elsewhere by now: to another environment, to somebody's home, through a
//! mount. Such a path is refused by name, whatever anybody has confirmed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{kernel, owner};

/// What must survive.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Directories that must not be removed, nor what they lie in.
    pub whole: Vec<PathBuf>,
    /// Directories of which nothing may be removed.
    pub untouched: Vec<PathBuf>,
    /// What another environment has its data in too, and what that is to it, which tells the remedy as well.
    pub shared: Vec<(PathBuf, String)>,
}

impl Kept {
    /// Why a path may not be removed; none when it may. A link is removed and not what it leads to.
    pub fn objection(&self, path: &Path) -> Option<String> {
        let Some(real) = real(path) else { return Some("it cannot be told where it is".to_owned()) };
        if real.parent().is_none() {
            return Some("it is the root of everything".to_owned());
        }
        if let Some(kept) = self.whole.iter().filter_map(|kept| self::real(kept)).find(|kept| kept.starts_with(&real)) {
            return Some(format!("`{}` lies in it", kept.display()));
        }
        if let Some(kept) = self.untouched.iter().filter_map(|kept| self::real(kept)).find(|kept| real.starts_with(kept)) {
            return Some(format!("it belongs to `{}`", kept.display()));
        }
        if let Some(kept) = self.untouched.iter().filter_map(|kept| self::real(kept)).find(|kept| kept.starts_with(&real)) {
            return Some(format!("`{}` lies in it", kept.display()));
        }
        let is_shared = |kept: &Path| self::real(kept).is_some_and(|kept| real.starts_with(&kept) || kept.starts_with(&real));
        if let Some((kept, why)) = self.shared.iter().find(|(kept, _)| is_shared(kept)) {
            return Some(format!("`{}` is {why}", kept.display()));
        }
        mounted_by(kernel::host::mounts(), &real)
    }
}

/// Why nothing may be removed at a path, links resolved, at or below which something is mounted.
fn mounted(real: &Path, mounts: impl IntoIterator<Item = PathBuf>) -> Option<String> {
    let mounted = mounts.into_iter().find(|mount| mount.starts_with(real))?;
    Some(format!("`{}` is mounted: what would be removed there is elsewhere too", mounted.display()))
}

/// Where a path is, its parents' links resolved and not its own.
fn real(path: &Path) -> Option<PathBuf> {
    let Some(name) = path.file_name() else { return fs::canonicalize(path).ok() };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::canonicalize(parent) {
        Ok(parent) => Some(parent.join(name)),
        // What is not there is nowhere else either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(path.to_owned()),
        Err(_) => None,
    }
}

/// Whether a path, its parents' links resolved, lies elsewhere than in a directory.
pub fn leads_out(path: &Path, directory: &Path) -> bool {
    match (real(path), fs::canonicalize(directory)) {
        (Some(path), Ok(directory)) => !path.starts_with(directory),
        // What cannot be found cannot be vouched for; a directory that is gone leads nowhere.
        (None, _) => true,
        (Some(_), Err(_)) => path.symlink_metadata().is_ok(),
    }
}

/// The link on a path's way that leads out of a directory: the outermost, since what lies above it does not. The path itself may be one.
pub fn link_out_of<'p>(path: &'p Path, directory: &Path) -> Option<&'p Path> {
    let above = path.ancestors().skip(1).take_while(|above| above.starts_with(directory));
    above.filter(|link| link.is_symlink() && leads_out(&link.join("_"), directory)).last()
}

/// That a path stays, and why.
pub fn refusal(path: &Path, why: &str) -> String {
    format!("`{}` is not removed: {why}", path.display())
}

/// The command that removes a path as root, for a shell.
pub fn by_hand(path: &Path) -> String {
    format!("sudo rm -rf {}", quoted(path))
}

/// A path as one word of a shell's.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Why nothing may be removed at a path, links resolved, by what is mounted. What cannot be told may be anything.
fn mounted_by(mounts: io::Result<Vec<PathBuf>>, real: &Path) -> Option<String> {
    match mounts {
        Ok(mounts) => mounted(real, mounts),
        Err(error) => Some(format!("it cannot be told what is mounted there: {error}")),
    }
}

/// Removes a path of an environment with all below it; a link alone. That it is gone already is fine; one in which something is
/// mounted, or a directory of another environment lies, is an error.
pub fn remove(path: &Path, env: &str) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            unmounted(path).and_then(|()| of_nobody_else(path, env)).and_then(|()| fs::remove_dir_all(path))
        }
        Ok(_) => unmounted(path).and_then(|()| fs::remove_file(path)),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// [`remove`], of a directory its mark after all else: what an interrupted run leaves of it is still known whose it is.
pub fn remove_mark_last(path: &Path, env: &str) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        unmounted(path)?;
        of_nobody_else(path, env)?;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_name() != owner::MARK {
                remove(&entry.path(), env)?;
            }
        }
    }
    remove(path, env)
}

/// Removes a path with all below it but these directories and what they lie in, piece by piece as `remove` does it.
pub fn remove_but(path: &Path, kept: &BTreeSet<PathBuf>, remove: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    if kept.contains(path) {
        return Ok(());
    }
    let is_directory = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if !is_directory || !kept.iter().any(|kept| kept.starts_with(path)) {
        return remove(path);
    }
    let entries = fs::read_dir(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    for entry in entries {
        remove_but(&entry?.path(), kept, remove)?;
    }
    Ok(())
}

/// Which directories of other environments lie at or below a path: why nothing is removed there.
pub fn of_others(path: &Path, env: &str) -> Vec<String> {
    let told = |(at, other): (PathBuf, String)| format!("`{}` was made for the environment `{other}`", at.display());
    owner::others_below(path, env).into_iter().map(told).collect()
}

/// That no directory of another environment lies at a path or below it.
fn of_nobody_else(path: &Path, env: &str) -> io::Result<()> {
    match of_others(path, env).into_iter().next() {
        None => Ok(()),
        Some(why) => Err(io::Error::new(io::ErrorKind::ResourceBusy, why)),
    }
}

/// That nothing is mounted at a path or below it.
fn unmounted(path: &Path) -> io::Result<()> {
    let real = real(path).unwrap_or_else(|| path.to_owned());
    match mounted_by(kernel::host::mounts(), &real) {
        None => Ok(()),
        Some(why) => Err(io::Error::new(io::ErrorKind::ResourceBusy, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_below_keeps_a_path_and_what_is_beside_does_not() {
        let mounts = || ["/", "/proc", "/home/a/stack/scratch/data", "/home/a/stack/scratch2"].map(PathBuf::from);
        for (path, may) in [
            ("/home/a/stack/scratch", false),
            ("/home/a/stack/scratch2", false),
            ("/home/a/stack/scratch/data/deep", true),
            ("/home/a/stack/scratch/other", true),
            ("/home/a/stack/scr", true),
        ] {
            assert_eq!(mounted(Path::new(path), mounts()).is_none(), may, "{path}");
        }
    }

    #[test]
    fn what_is_kept_stays_with_what_it_lies_in_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let all = root.join("all");
        for directory in ["work/tree/src", "work/tree2", "other/deep"] {
            fs::create_dir_all(all.join(directory)).unwrap();
        }
        fs::write(all.join("work/file"), "").unwrap();
        let kept = BTreeSet::from([all.join("work/tree")]);
        remove_but(&all, &kept, &mut |path| remove(path, "one")).unwrap();
        assert!(all.join("work/tree/src").exists());
        assert!(!all.join("work/tree2").exists() && !all.join("work/file").exists() && !all.join("other").exists());
        remove_but(&all, &BTreeSet::new(), &mut |path| remove(path, "one")).unwrap();
        assert!(!all.exists());
    }

    #[test]
    fn nothing_goes_that_is_somebody_elses() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        for directory in ["home/stack/.baistack/one", "home/stack/.baistack/two/data", "away"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::os::unix::fs::symlink(root.join("home/stack/.baistack/two"), root.join("away/link")).unwrap();
        let kept = Kept {
            whole: vec![root.join("home"), root.join("home/stack")],
            untouched: vec![root.join("home/stack/.baistack/two")],
            shared: vec![(root.join("shared/scratch"), "scratch of `two` too".to_owned())],
        };
        for (path, may) in [
            ("home/stack/.baistack/one", true),
            ("home/stack/.baistack/two", false),
            ("home/stack/.baistack/two/data", false),
            ("home/stack/.baistack", false),
            ("home/stack", false),
            ("home", false),
            ("away", true),
            ("away/link", true),
            ("away/link/data", false),
            ("none/there", true),
            ("shared/scratch", false),
            ("shared/scratch/deep", false),
            ("shared", false),
            ("shared/other", true),
        ] {
            assert_eq!(kept.objection(&root.join(path)).is_none(), may, "{path}: {:?}", kept.objection(&root.join(path)));
        }
        assert!(kept.objection(Path::new("/")).is_some());
        assert!(
            kept.objection(Path::new("/proc")).is_some_and(|why| why.contains("mounted")),
            "{:?}",
            kept.objection(Path::new("/proc"))
        );
        assert!(leads_out(&root.join("away/link/data"), &root.join("away")));
        assert!(!leads_out(&root.join("away/link"), &root.join("away")), "a link is where it is");
        remove(&root.join("away"), "one").unwrap();
        assert!(root.join("home/stack/.baistack/two/data").exists(), "what a link leads to stays");
        remove(&root.join("away"), "one").unwrap();
        owner::mark(&root.join("home/stack/.baistack/two"), &"two".parse().unwrap()).unwrap();
        let error = remove(&root.join("home"), "one").unwrap_err().to_string();
        assert!(error.ends_with("two` was made for the environment `two`"), "{error}");
        assert!(root.join("home/stack/.baistack/one").exists(), "nothing of it has gone");
    }

    #[test]
    fn of_a_removal_that_was_interrupted_the_mark_is_left() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let state = place.path().join("one");
        // Removed in the directory's order, which nobody chooses: with many, some come behind the one that is refused.
        for name in (0..64).map(|nth| format!("file-{nth}")) {
            fs::create_dir_all(state.join(name)).unwrap();
        }
        owner::mark(&state, &"one".parse().unwrap()).unwrap();
        let immovable = state.join("file-32");
        let set =
            |flag: &str| std::process::Command::new("chattr").arg(flag).arg(&immovable).status().is_ok_and(|it| it.success());
        if !set("+i") {
            return;
        }
        let outcome = remove_mark_last(&state, "one");
        let left = owner::of(&state);
        assert!(set("-i"));
        assert!(outcome.is_err());
        assert_eq!(left.as_deref(), Some("one"));
        remove_mark_last(&state, "one").unwrap();
        assert!(!state.exists());
    }

    #[test]
    fn nothing_goes_while_nobody_can_tell_what_is_mounted() {
        let place = tempfile::tempdir().unwrap();
        let told = mounted_by(Err(io::Error::other("nobody says")), place.path());
        assert_eq!(told.as_deref(), Some("it cannot be told what is mounted there: nobody says"));
        assert_eq!(mounted_by(Ok(vec!["/proc".into()]), place.path()), None);
    }

    #[test]
    fn what_is_told_to_be_run_as_root_names_one_path_and_no_other() {
        let path = Path::new("/a/it's; rm -rf / #");
        let said = std::process::Command::new("sh").args(["-c", &format!("printf '%s|' {}", quoted(path))]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), format!("{}|", path.display()));
        assert_eq!(by_hand(path), r"sudo rm -rf '/a/it'\''s; rm -rf / #'");
    }
}
