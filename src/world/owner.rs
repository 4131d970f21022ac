//! For which environment a directory was made: a mark in it says so to whoever would remove it.
//!
//! A path is what somebody has written, and may lead to anything by now; the mark was put there when the directory was made. Where
//! a mark would be in a program's way (a scratch directory has to be empty), the directory is known by its inode instead.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use crate::base::name::EnvId;

/// The file's name. It holds the environment's name and nothing else.
pub const MARK: &str = ".baistack-owner";
/// No more of it is read, in bytes.
const LIMIT: u64 = 4096;

/// Marks a directory as made for an environment, unless it bears a mark already.
pub fn mark(directory: &Path, env: &EnvId) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o644).open(directory.join(MARK)) {
        Ok(mut file) => writeln!(file, "{env}"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whose a directory is by its mark; none when it bears none. Anybody may have put there what is no mark: what is not a regular
/// file is none, and of a long one no more is read than a name could have.
pub fn of(directory: &Path) -> Option<String> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(directory.join(MARK)).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned())
}

/// The directories at or below a path that bear the mark of another environment than this one, with its name. Links are not
/// followed.
pub fn others_below(path: &Path, env: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        match of(&path) {
            Some(other) if other != env => found.push((path, other)),
            Some(_) | None => waiting.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path())),
        }
    }
    found
}

/// By what a directory is known wherever it is: device and inode, which go along when it is moved and which a copy, or one that was
/// made in its place, has others of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inode {
    device: u64,
    #[serde(rename = "inode")]
    number: u64,
    /// When it was made, in nanoseconds since 1970, where the file system tells: the number of an inode is given again.
    #[serde(default)]
    born: Option<u64>,
}

impl Inode {
    /// That of something that is there.
    pub fn of(there: &fs::Metadata) -> Self {
        Self { device: there.dev(), number: there.ino(), born: born(there) }
    }

    /// Whether something that is there is it.
    pub fn is(&self, there: &fs::Metadata) -> bool {
        let is_older_or_newer = self.born.zip(born(there)).is_some_and(|(then, now)| then != now);
        (self.device, self.number) == (there.dev(), there.ino()) && !is_older_or_newer
    }

    /// Whether it says when it was made, so that no other can be taken for it.
    pub fn is_certain(&self) -> bool {
        self.born.is_some()
    }
}

/// When something was made, in nanoseconds since 1970; none where the file system does not tell.
fn born(there: &fs::Metadata) -> Option<u64> {
    let since = there.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mark_stays_and_those_of_others_are_found_at_any_depth() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let (one, two): (EnvId, EnvId) = ("one".parse().unwrap(), "two".parse().unwrap());
        for directory in ["one/deep/two", "elsewhere/two"] {
            fs::create_dir_all(root.join(directory)).unwrap();
            mark(&root.join(directory), &two).unwrap();
        }
        std::os::unix::fs::symlink(root.join("elsewhere"), root.join("one/link")).unwrap();
        assert_eq!(of(&root.join("one")), None);
        mark(&root.join("one"), &one).unwrap();
        mark(&root.join("one"), &two).unwrap();
        assert_eq!(of(&root.join("one")).as_deref(), Some("one"));
        assert_eq!(others_below(&root.join("one"), "one"), [(root.join("one/deep/two"), "two".to_owned())]);
        assert_eq!(others_below(&root.join("one"), "two"), [(root.join("one"), "one".to_owned())]);
        assert_eq!(others_below(&root.join("none"), "one"), []);
    }

    #[test]
    fn what_is_not_a_regular_file_is_no_mark_and_no_more_is_read_than_a_name_could_have() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let directory = place.path().join(name);
            fs::create_dir(&directory).unwrap();
            directory
        };
        let (pipe, link, folder, long) = (at("pipe"), at("link"), at("folder"), at("long"));
        nix::unistd::mkfifo(&pipe.join(MARK), nix::sys::stat::Mode::S_IRWXU).unwrap();
        mark(place.path(), &"two".parse().unwrap()).unwrap();
        std::os::unix::fs::symlink(place.path().join(MARK), link.join(MARK)).unwrap();
        fs::create_dir(folder.join(MARK)).unwrap();
        fs::write(long.join(MARK), "a".repeat(10_000)).unwrap();
        // Whoever reads a pipe that nobody writes into does not come back.
        let (sender, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send([&pipe, &link, &folder].map(|directory| of(directory))));
        assert_eq!(answer.recv_timeout(std::time::Duration::from_secs(10)).unwrap(), [None, None, None]);
        assert_eq!(of(&long).unwrap().len(), 4096);
    }

    #[test]
    fn a_directory_is_known_after_a_move_and_one_in_its_place_is_another() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("a")).unwrap();
        let inode = Inode::of(&fs::metadata(at("a")).unwrap());
        fs::rename(at("a"), at("b")).unwrap();
        fs::create_dir(at("a")).unwrap();
        assert!(inode.is(&fs::metadata(at("b")).unwrap()) && !inode.is(&fs::metadata(at("a")).unwrap()));
    }
}
