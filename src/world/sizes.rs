//! How much a path takes on its disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The size of a path with all below it, in bytes. What is mounted below it does not count.
pub fn size_of(path: &Path) -> u64 {
    let mut sizes: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut waiting = vec![path.to_owned()];
    let root = fs::symlink_metadata(path).map(|metadata| metadata.dev());
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if root.as_ref().is_ok_and(|root| *root != metadata.dev()) {
            continue;
        }
        // A file with two names is there once.
        sizes.insert((metadata.dev(), metadata.ino()), metadata.blocks() * 512);
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    sizes.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_counts_each_file_once() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("a"), vec![1; 100_000]).unwrap();
        let once = size_of(place.path());
        fs::hard_link(place.path().join("a"), place.path().join("b")).unwrap();
        assert!(once >= 100_000);
        assert!(size_of(place.path()) < once + 100_000);
        assert_eq!(size_of(&place.path().join("none")), 0);
    }
}
