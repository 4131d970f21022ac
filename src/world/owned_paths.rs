//! `owns: [{paths: GLOB}]`: files and directories that services made outside of our sight.

use std::io;
use std::path::Path;

use super::envid::Moved;
use super::inputs;
use crate::model::owned::Owned;

/// The globs among these entries, for a stack whose directory may have been moved since they were recorded.
pub fn globs(entries: &[Owned], moved: Option<&Moved>) -> Vec<String> {
    let globs = entries.iter().filter_map(|entry| if let Owned::Paths(glob) = entry { Some(glob) } else { None });
    let there = |glob: &String| match moved {
        Some(moved) => moved.path(Path::new(glob)).display().to_string(),
        None => glob.clone(),
    };
    globs.map(there).collect()
}

/// Removes what these entries name, each path as `remove` does it. Answers with what is left, and why.
pub fn remove(entries: &[Owned], moved: Option<&Moved>, remove: impl Fn(&Path) -> io::Result<()>) -> Vec<String> {
    let mut left = Vec::new();
    for glob in globs(entries, moved) {
        match inputs::existing(&glob) {
            Ok(paths) => left.extend(paths.iter().filter_map(|path| Some(remove(path).err()?.to_string()))),
            Err(error) => left.push(format!("{glob}: {error}")),
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::world::removal;

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
        assert_eq!(remove(&entries, None, |path| removal::remove(path, "one")), Vec::<String>::new());
        let rest: Vec<_> = fs::read_dir(at("scratch")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(rest == ["other"] && at("data/kept").exists(), "{rest:?}");
    }

    #[test]
    fn what_lies_in_a_directory_that_was_moved_is_sought_where_it_is() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("new/scratch/kernel-1")).unwrap();
        let moved = Moved { from: place.path().join("old"), to: place.path().join("new") };
        let entries = [Owned::Paths(place.path().join("old/scratch/*").display().to_string())];
        assert_eq!(remove(&entries, Some(&moved), |path| removal::remove(path, "one")), Vec::<String>::new());
        assert_eq!(fs::read_dir(place.path().join("new/scratch")).unwrap().count(), 0);
    }
}
