//! The real file system: what the loader reads, and files that are replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::load::files::{self, FileKind, Files};

/// The file system of the host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

/// What is to be read, up to the first byte that is too many.
fn all_but_endless(text: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    text.take(files::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new("-") {
            return all_but_endless(io::stdin().lock());
        }
        all_but_endless(fs::File::open(path)?)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        let kind = fs::metadata(path).ok()?.file_type();
        Some(match (kind.is_file(), kind.is_dir()) {
            (true, _) => FileKind::File,
            (_, true) => FileKind::Directory,
            _ => FileKind::Other,
        })
    }
}

/// Replaces a file by another content, so that a reader sees the old one or the new one and nothing between.
///
/// The content is not forced to the disk: what is written this way describes processes, which no crash of the host survives
/// either, and a save must not hold up the loop.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let (mut file, temporary) = create_beside(path, mode)?;
    let written = file.write_all(content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell; a leftover of a full disk is no further harm.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// What the name of a damaged record that was put aside ends with.
const DAMAGED: &str = ".damaged";

/// Puts a damaged record under another name, where somebody may still read it: nothing that is written in its place destroys it.
pub fn put_aside(record: &Path) -> io::Result<()> {
    let mut aside = record.as_os_str().to_owned();
    aside.push(DAMAGED);
    fs::rename(record, aside)
}

/// A file that is to be written as a whole.
#[derive(Debug)]
pub struct Whole<'a> {
    /// Where.
    pub path: PathBuf,
    /// What it is to hold.
    pub content: &'a [u8],
    /// Its mode where it is new.
    pub mode: u32,
}

/// Replaces files, a link at the place of one itself: all of them or, when one cannot be, none. The error is told with its path.
pub fn replace_all(files: &[Whole<'_>]) -> Result<(), (PathBuf, io::Error)> {
    let staged = stage(files)?;
    // What a rename would refuse is known before the first of them.
    if let Some((path, _)) = staged.iter().find(|(path, _)| fs::symlink_metadata(path).is_ok_and(|there| there.is_dir())) {
        let error = io::Error::new(io::ErrorKind::IsADirectory, "a directory is there");
        let path = path.clone();
        discard(&staged);
        return Err((path, error));
    }
    for (nth, (path, temporary)) in staged.iter().enumerate() {
        if let Err(error) = fs::rename(temporary, path) {
            discard(&staged[nth..]);
            return Err((path.clone(), error));
        }
    }
    Ok(())
}

/// Makes new files, all of them or, when one is there already or cannot be made, none. The error is told with its path.
pub fn create_all(files: &[Whole<'_>]) -> Result<(), (PathBuf, io::Error)> {
    for (nth, file) in files.iter().enumerate() {
        let made = OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&file.path);
        let is_ours = made.is_ok();
        if let Err(error) = made.and_then(|mut made| made.write_all(file.content)) {
            let ours = nth + usize::from(is_ours);
            files[..ours].iter().for_each(|file| drop(fs::remove_file(&file.path)));
            return Err((file.path.clone(), error));
        }
    }
    Ok(())
}

/// Writes each file beside its place: that place, and where it is for now.
fn stage(files: &[Whole<'_>]) -> Result<Vec<(PathBuf, PathBuf)>, (PathBuf, io::Error)> {
    let mut staged = Vec::new();
    for file in files {
        let written = create_beside(&file.path, file.mode).and_then(|(mut made, temporary)| {
            staged.push((file.path.clone(), temporary));
            made.write_all(file.content)
        });
        if let Err(error) = written {
            discard(&staged);
            return Err((file.path.clone(), error));
        }
    }
    Ok(staged)
}

fn discard(staged: &[(PathBuf, PathBuf)]) {
    // The first error is the one to tell; a leftover of a full disk is no further harm.
    staged.iter().for_each(|(_, temporary)| drop(fs::remove_file(temporary)));
}

/// A new file in the directory of `path`. The name holds our process id, so two processes never write into one.
fn create_beside(path: &Path, mode: u32) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let temporary = path.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    // Left by an earlier process of the same number, if at all.
    if let Err(error) = fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    Ok((file, temporary))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_replaced_file_has_its_mode_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("values.json");
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_are_written_all_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let whole = |name: &str| Whole { path: at(name), content: b"new", mode: 0o644 };
        fs::create_dir(at("taken")).unwrap();
        fs::write(at("a"), "old").unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("link")).unwrap();
        fs::write(at("elsewhere"), "mine").unwrap();
        for refused in ["taken", "none/there"] {
            assert_eq!(replace_all(&[whole("a"), whole(refused)]).unwrap_err().0, at(refused));
            assert_eq!(create_all(&[whole("b"), whole(refused)]).unwrap_err().0, at(refused));
            assert_eq!((fs::read(at("a")).unwrap(), at("b").exists()), (b"old".to_vec(), false), "{refused}");
        }
        assert_eq!(create_all(&[whole("b"), whole("a")]).unwrap_err().0, at("a"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
        replace_all(&[whole("a"), whole("link")]).unwrap();
        create_all(&[whole("b")]).unwrap();
        for name in ["a", "b", "link"] {
            assert_eq!(fs::read(at(name)).unwrap(), b"new", "{name}");
        }
        assert_eq!(fs::read(at("elsewhere")).unwrap(), b"mine", "a link is replaced and not followed");
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"x", 0o600).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
