//! What may be removed for good, and the removal of it.
//!
//! A path that was made for one environment may lead elsewhere by now: to another environment, to somebody's home, through a
//! mount. Such a path is refused by name, whatever anybody has confirmed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::owner;

/// What must survive.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Directories that must not be removed, nor what they lie in.
    pub whole: Vec<PathBuf>,
    /// Directories of which nothing may be removed.
    pub untouched: Vec<PathBuf>,
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
        mounted(&real, mounts())
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

/// Where anything is mounted (`proc_pid_mountinfo(5)`, field 5).
fn mounts() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(|path| PathBuf::from(unescaped(path))).collect()
}

/// Spaces and the like stand there in octal.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (code, character)| path.replace(code, character))
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
    match mounted(&real, mounts()) {
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
    fn a_mounts_path_may_hold_anything() {
        assert_eq!(unescaped("/a\\040b\\134040"), "/a b\\040");
    }
}
