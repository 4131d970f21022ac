//! How the loader reads: through a trait, so that its tests need no disk.

use std::io;
use std::path::{Path, PathBuf};

use super::remote::Remote;

/// The longest text that a load reads, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// What the loader asks of a file system.
pub trait Files {
    /// A file's bytes; `-` is stdin. Of a longer one than [`MAX_BYTES`] no more is needed than one byte beyond: devices never end.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The path with all links resolved.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;
    /// What is there.
    fn kind(&self, path: &Path) -> Option<FileKind>;
    /// The stack file of what lies elsewhere, on this host, where it is fetched to; why it cannot be, in words.
    fn fetch(&self, remote: &Remote) -> Result<PathBuf, String> {
        let _ = remote;
        Err("nothing is fetched here".to_owned())
    }
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Something else.
    Other,
}
