//! `owns: [{paths: GLOB}]`: files and directories that services made outside of our sight.

use super::{inputs, removal};
use crate::model::owned::Owned;

/// Removes what these entries name: a link itself and not what it leads to. Answers with what is left, and why.
pub fn remove(entries: &[Owned]) -> Vec<String> {
    let mut left = Vec::new();
    for entry in entries {
        let Owned::Paths(glob) = entry else { continue };
        match inputs::existing(glob) {
            Ok(paths) => left.extend(paths.iter().filter_map(|path| {
                let error = removal::remove(path).err()?;
                Some(format!("{}: {error}", path.display()))
            })),
            Err(error) => left.push(format!("{glob}: {error}")),
        }
    }
    left
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
        assert_eq!(remove(&[Owned::Paths(glob), Owned::Paths(at("none").display().to_string())]), Vec::<String>::new());
        let rest: Vec<_> = fs::read_dir(at("scratch")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(rest == ["other"] && at("data/kept").exists(), "{rest:?}");
    }
}
