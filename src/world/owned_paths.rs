//! `owns: [{paths: GLOB}]`: files and directories that services made outside of our sight.

use std::io;
use std::path::{Path, PathBuf};

use super::envid::Moved;
use super::{inputs, removal};
use crate::model::owned::Owned;
use crate::model::pattern;

/// A path that an entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Where, as it is written.
    pub path: PathBuf,
    /// Why it must not be removed; none when it may.
    pub objection: Option<String>,
}

impl Named {
    /// That it stays, and why; none when it may go.
    pub fn refusal(&self) -> Option<String> {
        self.objection.as_ref().map(|why| removal::refusal(&self.path, why))
    }
}

/// What these entries name, for a stack whose directory, `stack`, may have been moved since they were recorded. What a link on the way
/// leads out of that directory, or out of the one that a glob elsewhere begins with, is somebody else's.
pub fn named(entries: &[Owned], moved: Option<&Moved>, stack: &Path) -> Result<Vec<Named>, String> {
    let mut found = Vec::new();
    for glob in globs(entries, moved) {
        let within = if Path::new(&glob).starts_with(stack) { stack } else { fixed(&glob) };
        let there = inputs::existing(&glob).map_err(|error| format!("{glob}: {error}"))?;
        found.extend(there.paths.into_iter().map(|path| Named { objection: led_out(&path, within), path }));
        found.extend(there.closed.into_iter().map(|(path, error)| {
            let remedy = format!("look there with sudo, and if nothing else is there: {}", removal::by_hand(&path));
            Named { objection: Some(format!("what `{glob}` names there cannot be told: {error}; {remedy}")), path }
        }));
    }
    Ok(found)
}

/// The directory that a glob begins with.
fn fixed(glob: &str) -> &Path {
    let plain = glob.find(pattern::WILD).map_or(glob, |wild| &glob[..wild]);
    Path::new(&plain[..plain.rfind('/').map_or(0, |slash| slash + 1)])
}

/// That a path lies elsewhere than in a directory, with the link that leads out.
fn led_out(path: &Path, within: &Path) -> Option<String> {
    if !removal::leads_out(path, within) {
        return None;
    }
    Some(match removal::link_out_of(path, within) {
        Some(link) => format!("the link `{}` leads out of `{}`", link.display(), within.display()),
        None => format!("it lies outside of `{}`", within.display()),
    })
}

/// The globs among these entries, for a stack whose directory may have been moved since they were recorded.
fn globs(entries: &[Owned], moved: Option<&Moved>) -> Vec<String> {
    let globs = entries.iter().filter_map(|entry| if let Owned::Paths(glob) = entry { Some(glob) } else { None });
    let there = |glob: &String| match moved {
        Some(moved) => moved.path(Path::new(glob)).display().to_string(),
        None => glob.clone(),
    };
    globs.map(there).collect()
}

/// Removes what these entries name, each path as `remove` does it. Answers with what is left, and why.
pub fn remove(entries: &[Owned], moved: Option<&Moved>, stack: &Path, remove: impl Fn(&Path) -> io::Result<()>) -> Vec<String> {
    let removed = |named: Named| named.refusal().or_else(|| Some(remove(&named.path).err()?.to_string()));
    match named(entries, moved, stack) {
        Ok(named) => named.into_iter().filter_map(removed).collect(),
        Err(error) => vec![error],
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_named_goes_and_what_a_link_leads_to_stays() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("scratch/kernel-1/deep")).unwrap();
        fs::create_dir(at("data")).unwrap();
        fs::write(at("data/kept"), "").unwrap();
        std::os::unix::fs::symlink(at("data"), at("scratch/kernel-2")).unwrap();
        fs::write(at("scratch/other"), "").unwrap();
        let glob = at("scratch/kernel-*").display().to_string();
        let entries = [Owned::Paths(glob), Owned::Paths(at("none").display().to_string())];
        assert_eq!(remove(&entries, None, place.path(), |path| removal::remove(path, "one")), Vec::<String>::new());
        let rest: Vec<_> = fs::read_dir(at("scratch")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(rest == ["other"] && at("data/kept").exists(), "{rest:?}");
    }

    #[test]
    fn what_a_link_on_the_way_leads_to_stays_and_the_link_is_named() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for directory in ["stack/inside/kernel-1", "stack/deep", "important/kernel-1", "elsewhere/real"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for (to, link) in [
            ("important", "stack/scratches"),
            ("stack/inside", "stack/near"),
            ("important", "stack/deep/far"),
            ("important", "elsewhere/led"),
        ] {
            std::os::unix::fs::symlink(at(to), at(link)).unwrap();
        }
        let left = |glob: &str| {
            let entries = [Owned::Paths(at(glob).display().to_string())];
            remove(&entries, None, &at("stack"), |path| removal::remove(path, "one"))
        };
        for (glob, link, out_of) in [
            ("stack/scratches/kernel-*", "stack/scratches", "stack"),
            ("stack/scratches/kernel-1", "stack/scratches", "stack"),
            ("stack/deep/*/kernel-1", "stack/deep/far", "stack"),
            ("elsewhere/*/kernel-1", "elsewhere/led", "elsewhere"),
        ] {
            let told = left(glob).pop().unwrap();
            let why = format!("is not removed: the link `{}` leads out of `{}", at(link).display(), at(out_of).display());
            assert!(told.contains(&why), "{glob}: {told}");
            assert!(at("important/kernel-1").exists(), "{glob}");
        }
        assert_eq!(left("stack/near/kernel-*"), Vec::<String>::new());
        assert!(!at("stack/inside/kernel-1").exists());
    }

    #[test]
    fn a_closed_directory_is_told_with_its_remedy_where_it_may_hold_what_is_named() {
        use std::os::unix::fs::PermissionsExt;
        if nix::unistd::geteuid().is_root() {
            // Nothing is closed to root; `tests/it` has the same for an ordinary user.
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let close = |name: &str, mode: u32| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        for directory in ["scratch/kernel-1/data", "scratch/kernel-2/data", "scratch/closed"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        close("scratch/closed", 0);
        let of = |glob: &str| named(&[Owned::Paths(at(glob).display().to_string())], None, place.path()).unwrap();
        assert_eq!(of("scratch/kernel-*/data").iter().filter_map(Named::refusal).count(), 0);
        close("scratch/kernel-2", 0);
        let found = of("scratch/kernel-*/data");
        let told: Vec<String> = found.iter().filter_map(Named::refusal).collect();
        close("scratch/closed", 0o700);
        close("scratch/kernel-2", 0o700);
        assert_eq!((found.len(), told.len()), (2, 1), "{found:?}");
        assert!(told[0].ends_with(&removal::by_hand(&at("scratch/kernel-2"))), "{told:?}");
    }

    #[test]
    fn what_lies_in_a_directory_that_was_moved_is_sought_where_it_is() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("new/scratch/kernel-1")).unwrap();
        let moved = Moved { from: place.path().join("old"), to: place.path().join("new") };
        let entries = [Owned::Paths(place.path().join("old/scratch/*").display().to_string())];
        let left = remove(&entries, Some(&moved), &moved.to, |path| removal::remove(path, "one"));
        assert_eq!(left, Vec::<String>::new());
        assert_eq!(fs::read_dir(place.path().join("new/scratch")).unwrap().count(), 0);
    }
}
