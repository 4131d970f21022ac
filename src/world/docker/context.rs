//! A build context: a directory as a tar stream, never held in memory.
//!
//! Owner and group are left out and the order is that of the names, so that the same files give the same layers. Sockets and
//! devices are left out, as by Docker's command line.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use futures_util::Stream;
use hyper::body::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::dockerignore::DockerIgnore;
use crate::model::build::Build;
use crate::plan::action::Fault;
use crate::plan::hash::hex;

/// How much is handed on at once, and how many such pieces may wait.
const PIECE: usize = 256 * 1024;
const WAITING: usize = 4;

const IGNORE_FILE: &str = ".dockerignore";

/// A directory to be sent.
#[derive(Debug)]
pub(super) struct Context {
    root: PathBuf,
    ignore: DockerIgnore,
    /// Paths that are sent whatever the rules say.
    always: Vec<PathBuf>,
    /// Files that the directory does not have, or not so.
    made: Vec<(PathBuf, Vec<u8>)>,
    /// The Dockerfile, by its path in the archive.
    pub(super) dockerfile: String,
}

impl Context {
    /// Reads the rules of a context and finds its Dockerfile.
    pub(super) fn of(build: &Build) -> Result<Self, Fault> {
        let root = PathBuf::from(&build.context);
        if !root.is_dir() {
            return Err(Fault::permanent(format!("the build context `{}` is not a directory", root.display())));
        }
        let dockerfile = root.join(build.dockerfile.as_deref().unwrap_or("Dockerfile"));
        let (file, ignore_text) = ignore_text(&root, build)?;
        let ignore = parsed(&file, &ignore_text)?;
        let mut context = Self { root, ignore, always: Vec::new(), made: Vec::new(), dockerfile: String::new() };
        if let Some(text) = &build.dockerfile_inline {
            context.bring(text.as_bytes(), &ignore_text);
            return Ok(context);
        }
        let read = |error: io::Error| Fault::permanent(format!("read `{}`: {error}", dockerfile.display()));
        match inside(&context.root, &dockerfile) {
            Some(path) => {
                fs::metadata(&dockerfile).map_err(read)?;
                context.dockerfile = path.to_string_lossy().into_owned();
                context.always = vec![path, IGNORE_FILE.into()];
            }
            None => context.bring(&fs::read(&dockerfile).map_err(read)?, &ignore_text),
        }
        Ok(context)
    }

    /// Adds a Dockerfile that is not of the directory. The builder drops from the context what `.dockerignore` names, so that
    /// `COPY .` finds neither.
    fn bring(&mut self, dockerfile: &[u8], ignore_text: &str) {
        let name = format!(".dockerfile.{}", &hex(&Sha256::digest(dockerfile))[..20]);
        let mut rules = ignore_text.to_owned();
        if !self.root.join(IGNORE_FILE).exists() {
            rules = format!("{rules}\n{IGNORE_FILE}");
        }
        self.made.push((name.clone().into(), dockerfile.to_vec()));
        self.made.push((IGNORE_FILE.into(), format!("{rules}\n{name}\n").into_bytes()));
        self.dockerfile = name;
    }

    /// The archive, piece by piece, and the task that writes it: its error is why a stream broke off.
    pub(super) fn stream(self) -> (impl Stream<Item = io::Result<Bytes>> + Send + use<>, JoinHandle<io::Result<()>>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let writing = tokio::task::spawn_blocking(move || {
            let written = self.write(Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE) });
            if let Err(error) = &written {
                // Whoever reads must not take what it has for the whole.
                let _ = sender.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
            }
            written
        });
        let stream = futures_util::stream::unfold(receiver, async |mut receiver: mpsc::Receiver<_>| {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        (stream, writing)
    }

    fn write(&self, out: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        for (path, content) in &self.made {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, path, content.as_slice())?;
        }
        self.add_directory(&mut tar, Path::new(""))?;
        tar.into_inner()?.flush()
    }

    fn add_directory(&self, tar: &mut tar::Builder<impl Write>, directory: &Path) -> io::Result<()> {
        let full = self.root.join(directory);
        let listed = fs::read_dir(&full).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut names: Vec<OsString> =
            listed.map_err(|error| at(&full, &error))?.into_iter().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let path = directory.join(name);
            if self.made.iter().any(|(made, _)| *made == path) {
                continue;
            }
            let full = self.root.join(&path);
            let metadata = fs::symlink_metadata(&full).map_err(|error| at(&full, &error))?;
            let excluded = self.ignore.excludes(&path) && !self.always.contains(&path);
            if !excluded {
                self.add(tar, &path, &metadata).map_err(|error| at(&full, &error))?;
            }
            let holds_kept = || self.ignore.may_take_back_below(&path) || self.always.iter().any(|kept| kept.starts_with(&path));
            if metadata.is_dir() && (!excluded || holds_kept()) {
                self.add_directory(tar, &path)?;
            }
        }
        Ok(())
    }

    fn add(&self, tar: &mut tar::Builder<impl Write>, path: &Path, metadata: &fs::Metadata) -> io::Result<()> {
        let full = self.root.join(path);
        let mut header = tar::Header::new_gnu();
        header.set_metadata(metadata);
        header.set_uid(0);
        header.set_gid(0);
        if metadata.is_symlink() {
            header.set_size(0);
            tar.append_link(&mut header, path, fs::read_link(&full)?)
        } else if metadata.is_dir() {
            header.set_size(0);
            tar.append_data(&mut header, path, io::empty())
        } else if metadata.is_file() {
            tar.append_data(&mut header, path, Exactly { file: File::open(&full)?, left: metadata.len() })
        } else {
            Ok(())
        }
    }
}

/// The rules for a build and the file that they are in: those of its Dockerfile (`Dockerfile.dockerignore`), else those of the
/// directory. A Dockerfile that is no file has none of its own.
fn ignore_text(root: &Path, build: &Build) -> Result<(PathBuf, String), Fault> {
    let of_dockerfile = build.dockerfile_inline.is_none().then(|| {
        let mut own = root.join(build.dockerfile.as_deref().unwrap_or("Dockerfile")).into_os_string();
        own.push(IGNORE_FILE);
        PathBuf::from(own)
    });
    for path in of_dockerfile.into_iter().chain([root.join(IGNORE_FILE)]) {
        match fs::read_to_string(&path) {
            Ok(text) => return Ok((path, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Fault::permanent(format!("read `{}`: {error}", path.display()))),
        }
    }
    Ok((root.join(IGNORE_FILE), String::new()))
}

fn parsed(file: &Path, text: &str) -> Result<DockerIgnore, Fault> {
    DockerIgnore::parse(text).map_err(|error| Fault::permanent(format!("`{}`, {error}", file.display())))
}

/// Why the rules for a build cannot be used; none when they can.
pub(super) fn bad_rules(build: &Build) -> Option<Fault> {
    let (file, text) = match ignore_text(Path::new(&build.context), build) {
        Ok(found) => found,
        Err(fault) => return Some(fault),
    };
    parsed(&file, &text).err()
}

/// A path's way from the root; none if it leads out of it.
fn inside(root: &Path, path: &Path) -> Option<PathBuf> {
    let relative = path.strip_prefix(root).ok()?;
    let mut clean = PathBuf::new();
    for part in relative.components() {
        match part {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            std::path::Component::RootDir | std::path::Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// A file of a known length: what it grows by meanwhile is left for the next build, and a file that shrinks is an error,
/// since the archive has told its length already.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read(&mut buffer[..wanted])?;
        if read == 0 && wanted > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was cut while it was read"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Collects what is written into pieces and hands them on; waits while the reader is behind.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        if piece.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entries of the archive that a directory with these files gives.
    fn archive(files: &[(&str, &str)], build: Build) -> (Vec<String>, String) {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let context = dir.path().join("context");
        let context = Context::of(&Build { context: context.to_str().unwrap().to_owned(), ..build }).unwrap();
        let mut bytes = Vec::new();
        context.write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (0, 0));
            entry.path().unwrap().to_str().unwrap().to_owned()
        });
        (entries.collect(), context.dockerfile)
    }

    #[test]
    fn a_context_is_sent_without_what_is_ignored_but_with_its_dockerfile() {
        let files = [
            ("context/.dockerignore", "*\n!src/**/*.rs\n"),
            ("context/Dockerfile", ""),
            ("context/src/a.rs", ""),
            ("context/src/deep/b.rs", ""),
            ("context/src/c.txt", ""),
            ("context/target/x", ""),
        ];
        let (entries, dockerfile) = archive(&files, Build::default());
        assert_eq!(entries, [".dockerignore", "Dockerfile", "src/a.rs", "src/deep/b.rs"]);
        assert_eq!(dockerfile, "Dockerfile");
    }

    #[test]
    fn the_rules_of_the_dockerfile_itself_come_first() {
        let files = [
            ("context/.dockerignore", "a"),
            ("context/docker/app.Dockerfile", ""),
            ("context/docker/app.Dockerfile.dockerignore", "b"),
            ("context/a", ""),
            ("context/b", ""),
        ];
        let build = Build { dockerfile: Some("docker/app.Dockerfile".to_owned()), ..Build::default() };
        let (entries, _) = archive(&files, build);
        assert!(entries.contains(&"a".to_owned()) && !entries.contains(&"b".to_owned()), "{entries:?}");
    }

    #[test]
    fn a_dockerfile_that_is_no_file_has_no_rules_of_its_own() {
        let files =
            [("context/.dockerignore", "a"), ("context/Dockerfile.dockerignore", "b"), ("context/a", ""), ("context/b", "")];
        let build = Build { dockerfile_inline: Some("FROM scratch".to_owned()), ..Build::default() };
        let (entries, dockerfile) = archive(&files, build);
        assert_eq!(entries, [dockerfile.as_str(), ".dockerignore", "Dockerfile.dockerignore", "b"]);
    }

    #[test]
    fn a_dockerfile_from_elsewhere_is_brought_under_a_name_that_copy_does_not_see() {
        let inline = Build { dockerfile_inline: Some("FROM scratch".to_owned()), ..Build::default() };
        let outside = Build { dockerfile: Some("../Dockerfile".to_owned()), ..Build::default() };
        for build in [inline, outside] {
            let (entries, dockerfile) = archive(&[("context/a", ""), ("Dockerfile", "FROM scratch")], build);
            assert_eq!(entries, [dockerfile.as_str(), ".dockerignore", "a"]);
            assert!(dockerfile.starts_with(".dockerfile."));
        }
    }

    #[test]
    fn a_missing_dockerfile_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let build = Build { context: dir.path().to_str().unwrap().to_owned(), ..Build::default() };
        let fault = Context::of(&build).unwrap_err();
        assert!(fault.message.contains("Dockerfile"), "{fault}");
    }

    #[tokio::test]
    async fn a_large_file_comes_in_pieces_and_whole() {
        use futures_util::StreamExt;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Dockerfile"), "").unwrap();
        fs::write(dir.path().join("big"), vec![7; 3 << 20]).unwrap();
        let build = Build { context: dir.path().to_str().unwrap().to_owned(), ..Build::default() };
        let (stream, writing) = Context::of(&build).unwrap().stream();
        let pieces: Vec<Bytes> = stream.map(Result::unwrap).collect().await;
        writing.await.unwrap().unwrap();
        let bytes: Vec<u8> = pieces.concat();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let sizes: Vec<u64> = archive.entries().unwrap().map(|entry| entry.unwrap().size()).collect();
        assert_eq!(sizes, [0, 3 << 20]);
        assert!(pieces.len() > 10, "{}", pieces.len());
    }
}
