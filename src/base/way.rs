//! Ways from one directory to a path elsewhere, as texts: links are not followed.

use std::path::{Component, Path, PathBuf};

/// The way from `base` to `path`, both absolute: `../common/setup.cfg`. A path that is relative is its own way.
pub fn relative(path: &Path, base: &Path) -> PathBuf {
    if !path.is_absolute() {
        return path.to_owned();
    }
    let shared = path.components().zip(base.components()).take_while(|(a, b)| a == b).count();
    let up = base.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

/// The path at the end of such a way.
pub fn resolve(base: &Path, way: &Path) -> PathBuf {
    way.components().fold(base.to_owned(), |mut path, component| {
        if component == Component::ParentDir {
            path.pop();
        } else {
            path.push(component);
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_leads_back_to_its_path() {
        for (path, base, way) in [
            ("/a/stack/x", "/a/stack", "x"),
            ("/a/common/x", "/a/stack", "../common/x"),
            ("/etc/x", "/a/stack", "../../etc/x"),
            ("/a/stack", "/a/stack", ""),
        ] {
            let found = relative(Path::new(path), Path::new(base));
            assert_eq!(found, Path::new(way), "{path}");
            assert_eq!(resolve(Path::new(base), &found), Path::new(path));
        }
    }
}
