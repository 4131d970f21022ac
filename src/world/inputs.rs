//! What files hold: the paths that globs name, and hashes of their content.
//!
//! Content, never times: a branch switch there and back changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use globset::GlobMatcher;
use sha2::{Digest, Sha256};

use super::ignored::is_ignored;
use crate::model::pattern;
use crate::plan::hash::hex;

/// The content hashes of all files that the globs name, absolute paths. A directory stands for all files below it, without
/// what tools leave there (`__pycache__`, `.git`, …). What does not exist is not in the answer.
pub fn digest(globs: &[String]) -> io::Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    for glob in globs {
        for path in matches(glob, Skip::Ignored)?.in_full()? {
            add(&path, &mut files, &mut Vec::new())?;
        }
    }
    Ok(files)
}

/// Whether anything of this glob exists, also what [`digest`] leaves out.
pub fn exists(glob: &str) -> io::Result<bool> {
    Ok(!existing(glob)?.in_full()?.is_empty())
}

/// What exists of this glob, also what [`digest`] leaves out, as far as it can be looked at.
pub fn existing(glob: &str) -> io::Result<Existing> {
    matches(glob, Skip::Nothing)
}

/// What exists of a glob.
#[derive(Debug, Default)]
pub struct Existing {
    /// Where.
    pub paths: Vec<PathBuf>,
    /// What may be or hold more of it and cannot be looked at, and why.
    pub closed: Vec<(PathBuf, io::Error)>,
}

impl Existing {
    /// All of it; an error where there may be more.
    fn in_full(self) -> io::Result<Vec<PathBuf>> {
        match self.closed.into_iter().next() {
            None => Ok(self.paths),
            Some((path, error)) => Err(io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))),
        }
    }
}

/// The content hash of one file; read anew unless size, times and inode are those of the last time.
pub fn hash_file(path: &Path) -> io::Result<String> {
    static KNOWN: LazyLock<Mutex<HashMap<PathBuf, (Stamp, String)>>> = LazyLock::new(Mutex::default);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = File::open(path)?;
    let stamp = stamp(&file.metadata()?);
    if let Some((_, hash)) = known().get(path).filter(|(of, _)| *of == stamp) {
        return Ok(hash.clone());
    }
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut Hashing(&mut hasher))?;
    let hash = hex(&hasher.finalize());
    known().insert(path.to_owned(), (stamp, hash.clone()));
    Ok(hash)
}

/// What changes with every write: size, modification and change time, inode.
type Stamp = (u64, i64, i64, i64, i64, u64);

fn stamp(metadata: &Metadata) -> Stamp {
    let m = metadata;
    (m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec(), m.ino())
}

struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file's hash, or those of all files of a directory. `above` are the directories on the way, so that a link to one of
/// them is not followed for ever.
fn add(path: &Path, files: &mut BTreeMap<PathBuf, String>, above: &mut Vec<(u64, u64)>) -> io::Result<()> {
    let Some(metadata) = metadata(path)? else { return Ok(()) };
    if metadata.is_file() {
        if let Some(hash) = unless_gone(hash_file(path))? {
            files.insert(path.to_owned(), hash);
        }
        return Ok(());
    }
    let identity = (metadata.dev(), metadata.ino());
    if !metadata.is_dir() || above.contains(&identity) {
        return Ok(());
    }
    above.push(identity);
    for entry in entries(path, Skip::Ignored)? {
        add(&entry, files, above)?;
    }
    above.pop();
    Ok(())
}

/// What is passed over on the way through directories.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Skip {
    Ignored,
    Nothing,
}

/// The existing paths that a glob matches.
fn matches(glob: &str, skip: Skip) -> io::Result<Existing> {
    let mut found = Existing::default();
    let Some(magic) = glob.find(pattern::WILD) else {
        let path = Path::new(glob);
        match metadata(path) {
            Ok(there) => found.paths.extend(there.map(|_| path.to_owned())),
            Err(error) if is_closed(&error) => found.closed.push((path.to_owned(), error)),
            Err(error) => return Err(error),
        }
        return Ok(found);
    };
    let base = &glob[..glob[..magic].rfind('/').map_or(0, |slash| slash + 1)];
    let rest = &glob[base.len()..];
    let search = Search {
        matcher: (pattern::of_files(glob)).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?.compile_matcher(),
        ways: ways(base, rest),
        // A brace may hold a slash, `**` any number of them.
        depth: if rest.contains("**") || rest.contains('{') { usize::MAX } else { rest.split('/').count() },
        skip,
    };
    search.walk(Path::new(base), 1, &mut Vec::new(), &mut found)?;
    Ok(found)
}

/// What the directories on the way to a match are called, from the first level on; as far as the glob tells, level by level.
fn ways(base: &str, rest: &str) -> Vec<GlobMatcher> {
    let ends = rest.match_indices('/').map(|(slash, _)| &rest[..slash]);
    // What ends within a brace is no pattern.
    let way = |start: &str| pattern::of_files(&format!("{base}{start}")).ok().map(|glob| glob.compile_matcher());
    ends.take_while(|start| !start.contains("**")).map_while(way).collect()
}

struct Search {
    matcher: GlobMatcher,
    ways: Vec<GlobMatcher>,
    depth: usize,
    skip: Skip,
}

impl Search {
    fn walk(&self, dir: &Path, depth: usize, above: &mut Vec<(u64, u64)>, found: &mut Existing) -> io::Result<()> {
        let looked = metadata(dir).and_then(|there| match there.filter(Metadata::is_dir) {
            Some(there) => Ok(Some((there, entries(dir, self.skip)?))),
            None => Ok(None),
        });
        let (there, entries) = match looked {
            Ok(Some(both)) => both,
            Ok(None) => return Ok(()),
            Err(error) if is_closed(&error) => {
                found.closed.push((dir.to_owned(), error));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let identity = (there.dev(), there.ino());
        if above.contains(&identity) {
            return Ok(());
        }
        above.push(identity);
        for entry in entries {
            if self.matcher.is_match(&entry) {
                found.paths.push(entry);
            } else if depth < self.depth && self.ways.get(depth - 1).is_none_or(|way| way.is_match(&entry)) {
                self.walk(&entry, depth + 1, above, found)?;
            }
        }
        above.pop();
        Ok(())
    }
}

/// Whether something may be there that we may not see.
fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn entries(dir: &Path, skip: Skip) -> io::Result<Vec<PathBuf>> {
    let Some(entries) = unless_gone(fs::read_dir(dir))? else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if skip == Skip::Nothing || !is_ignored(&entry.file_name()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Through links; none when there is nothing.
fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    unless_gone(fs::metadata(path))
}

/// Files come and go while they are looked at; one that is gone is as good as one that never was.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn globs_name_files_and_whole_directories() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for file in ["a.txt", "b.cfg", "sub/c.txt", "sub/deep/d.txt", "sub/__pycache__/e.pyc", ".git/f.txt"] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), file).unwrap();
        }
        symlink(root, root.join("sub/loop")).unwrap();
        symlink("gone", root.join("broken")).unwrap();
        for (glob, expected) in [
            ("a.txt", "a.txt"),
            ("missing", ""),
            ("broken", ""),
            ("*.txt", "a.txt"),
            ("sub", "sub/c.txt sub/deep/d.txt sub/loop/a.txt sub/loop/b.cfg"),
            ("s*/*.txt", "sub/c.txt"),
            ("{a,sub/c}.txt", "a.txt sub/c.txt"),
            ("sub/deep/**", "sub/deep/d.txt"),
        ] {
            let found = digest(&[root.join(glob).display().to_string()]).unwrap();
            let found: Vec<_> = found.keys().map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect();
            assert_eq!(found.join(" "), expected, "{glob}");
        }
        let exists = |glob: &str| exists(&root.join(glob).display().to_string()).unwrap();
        assert!(exists(".git/*.txt") && exists("sub/__pycache__/*") && !exists("broken") && !exists("*.none"));
    }

    #[test]
    fn only_directories_that_lead_to_a_match_are_looked_into() {
        for (glob, leads, does_not) in [
            ("/s/k-*/data", &["/s/k-1"][..], &["/s/closed", "/s/k"][..]),
            ("/s/{k,m}-?/*/data", &["/s/k-1", "/s/m-1/any"], &["/s/k", "/s/n-1"]),
            ("/s/k/**/data", &["/s/k/any", "/s/k/a/b"], &[]),
            ("/s/*/k/**/data", &["/s/any", "/s/any/k", "/s/any/k/deep"], &["/s/any/other"]),
            ("/s/{a,b/c}/data", &["/s/a", "/s/b", "/s/any"], &[]),
        ] {
            let fixed = &glob[..glob.find(pattern::WILD).unwrap()];
            let (base, rest) = glob.split_at(fixed.rfind('/').unwrap() + 1);
            let ways = ways(base, rest);
            let leads_on = |path: &&str| {
                let depth = Path::new(path).components().count() - Path::new(base).components().count();
                ways.get(depth - 1).is_none_or(|way| way.is_match(path))
            };
            assert!(leads.iter().all(leads_on), "{glob}");
            assert!(!does_not.iter().any(leads_on), "{glob}");
        }
    }

    #[test]
    fn the_hash_is_that_of_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let hash = |text: &str| {
            fs::write(&path, text).unwrap();
            hash_file(&path).unwrap()
        };
        let (first, other, again) = (hash("one"), hash("other"), hash("one"));
        assert_ne!(first, other);
        assert_eq!(first, again);
    }
}
