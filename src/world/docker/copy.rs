//! `cp`: files and directories between this host and a container, by the rules of `docker cp`.
//!
//! A directory that is there gets the source in it, under the source's own name (its content, when the source ends in `/.`); a
//! destination that is not there is the source's new name.

use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use futures_util::stream::{Stream, StreamExt};
use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::Docker;
use super::files::{Archive, PathInside};
use crate::plan::action::Fault;

/// Pieces of an archive that wait for their reader.
const WAITING: usize = 16;
const PIECE: usize = 64 * 1024;

/// How to copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// Owners are kept.
    pub archive: bool,
    /// A source that is a link stands for what it leads to.
    pub follow_link: bool,
}

impl Docker {
    /// Copies a path of a container to this host.
    pub async fn copy_out(&self, container: &str, path: &str, to: &Path, options: CopyOptions) -> Result<(), Fault> {
        let (path, source) = self.source_inside(container, path, options).await?;
        let (parent, rename) = destination(to, &source, path.ends_with("/."))?;
        let archive = self.download(container, &path).await?;
        unpack(archive, parent, rename, options.archive).await
    }

    /// A path of a container as an archive.
    pub async fn copy_out_archive(&self, container: &str, path: &str, options: CopyOptions) -> Result<Archive, Fault> {
        let (path, _) = self.source_inside(container, path, options).await?;
        self.download(container, &path).await
    }

    /// Copies a path of this host into a container.
    pub async fn copy_in(&self, container: &str, from: &Path, path: &str, options: CopyOptions) -> Result<(), Fault> {
        let content_only = from.as_os_str().as_encoded_bytes().ends_with(b"/.");
        let from = if options.follow_link { fs::canonicalize(from) } else { Ok(from.to_owned()) }.map_err(at(from))?;
        let metadata = if content_only { fs::metadata(&from) } else { fs::symlink_metadata(&from) }.map_err(at(&from))?;
        // `.` and `..` have no name of their own.
        let name = from.file_name().map(PathBuf::from).or_else(|| Some(fs::canonicalize(&from).ok()?.file_name()?.into()));
        let name = name.unwrap_or_default().display().to_string();
        let (path, there) = self.followed(container, path).await?;
        let (parent, name) = match there {
            Some(PathInside { is_directory: true, .. }) if content_only => (path, ".".to_owned()),
            Some(PathInside { is_directory: true, .. }) => (path, name),
            Some(_) if metadata.is_dir() => {
                return Err(Fault::permanent(format!("a directory cannot be copied over the file `{path}`")));
            }
            None if path.ends_with('/') && !metadata.is_dir() => {
                return Err(Fault::permanent(format!("there is no directory `{path}` in the container")));
            }
            Some(_) | None => split(&path),
        };
        let (stream, writing) = written(move |out| pack(out, &from, &name));
        match self.upload(container, &parent, options.archive, stream).await {
            Ok(()) => Ok(()),
            // What broke off the archive tells more than that it broke off.
            Err(fault) => match writing.await {
                Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(Fault::permanent(error.to_string())),
                Ok(_) | Err(_) => Err(fault),
            },
        }
    }

    async fn source_inside(&self, container: &str, path: &str, options: CopyOptions) -> Result<(String, PathInside), Fault> {
        let missing = || Fault::permanent(format!("there is no `{path}` in the container"));
        let source = self.path_inside(container, path).await?.ok_or_else(missing)?;
        match &source.link_target {
            Some(target) if options.follow_link => {
                let path = beside(path, target);
                let source = self.path_inside(container, &path).await?.ok_or_else(missing)?;
                Ok((path, source))
            }
            Some(_) | None => Ok((path.to_owned(), source)),
        }
    }

    /// A destination inside a container; one that is a link leads on.
    async fn followed(&self, container: &str, path: &str) -> Result<(String, Option<PathInside>), Fault> {
        let there = self.path_inside(container, path).await?;
        match there.as_ref().and_then(|there| there.link_target.as_deref()) {
            Some(target) => {
                let path = beside(path, target);
                let there = self.path_inside(container, &path).await?;
                Ok((path, there))
            }
            None => Ok((path.to_owned(), there)),
        }
    }
}

/// Where a link at `path` leads to.
fn beside(path: &str, target: &str) -> String {
    Path::new(path).parent().unwrap_or(Path::new("/")).join(target).display().to_string()
}

/// Directory and name of a path inside a container.
fn split(path: &str) -> (String, String) {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((parent, name)) => (parent.to_owned(), name.to_owned()),
        None => ("/".to_owned(), path.to_owned()),
    }
}

/// The directory of this host that an archive is unpacked in, and the path that its root gets if that is not its own name.
fn destination(to: &Path, source: &PathInside, content_only: bool) -> Result<(PathBuf, Option<PathBuf>), Fault> {
    let shown = to.display();
    match fs::metadata(to) {
        Ok(there) if there.is_dir() => Ok((to.to_owned(), None)),
        Ok(_) if source.is_directory => Err(Fault::permanent(format!("a directory cannot be copied over the file `{shown}`"))),
        Ok(_) => Ok((parent_of(to), Some(to.to_owned()))),
        Err(_) if !parent_of(to).is_dir() => {
            Err(Fault::permanent(format!("there is no directory `{}`", parent_of(to).display())))
        }
        Err(_) if !source.is_directory && to.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            Err(Fault::permanent(format!("there is no directory `{shown}`")))
        }
        Err(_) if content_only => {
            fs::create_dir(to).map_err(at(to))?;
            Ok((to.to_owned(), None))
        }
        Err(_) => Ok((parent_of(to), Some(to.to_owned()))),
    }
}

fn parent_of(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

fn at(path: &Path) -> impl Fn(io::Error) -> Fault + use<> {
    let shown = path.display().to_string();
    move |error| Fault::permanent(format!("{shown}: {error}"))
}

/// Unpacks below `parent` and nowhere else, whatever the archive names. What is to have another name is unpacked beside first.
async fn unpack(archive: Archive, parent: PathBuf, rename: Option<PathBuf>, keep_owners: bool) -> Result<(), Fault> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let unpacking = tokio::task::spawn_blocking(move || unpack_from(Pieces::of(receiver), &parent, rename, keep_owners));
    let mut archive = archive;
    let mut broken = None;
    while let Some(piece) = archive.next().await {
        match piece {
            Ok(piece) => {
                if sender.send(piece).await.is_err() {
                    break;
                }
            }
            Err(fault) => {
                broken = Some(fault);
                break;
            }
        }
    }
    drop(sender);
    let unpacked = unpacking.await.map_err(|error| Fault::permanent(error.to_string()))?;
    match broken {
        Some(fault) => Err(fault),
        None => unpacked.map_err(|error| Fault::permanent(error.to_string())),
    }
}

fn unpack_from(reader: impl Read, parent: &Path, rename: Option<PathBuf>, keep_owners: bool) -> io::Result<()> {
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(keep_owners);
    let Some(rename) = rename else { return archive.unpack(parent) };
    let beside = parent.join(format!(".baistack-cp-{}", std::process::id()));
    fs::create_dir(&beside)?;
    let moved = archive.unpack(&beside).and_then(|()| match fs::read_dir(&beside)?.next() {
        Some(root) => fs::rename(root?.path(), &rename),
        None => Ok(()),
    });
    fs::remove_dir_all(&beside)?;
    moved
}

/// Reads what comes through a channel.
struct Pieces {
    receiver: mpsc::Receiver<Vec<u8>>,
    rest: io::Cursor<Vec<u8>>,
}

impl Pieces {
    fn of(receiver: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { receiver, rest: io::Cursor::default() }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.rest.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.receiver.blocking_recv() {
                Some(piece) => self.rest = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}

/// What a task writes, as a stream; and the task, whose error is why the stream broke off.
fn written<F: FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static>(
    write: F,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + use<F>, tokio::task::JoinHandle<io::Result<()>>) {
    struct Sent(mpsc::Sender<io::Result<Bytes>>);
    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
            sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    let writing = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE, Sent(sender.clone()));
        let done = write(&mut out).and_then(|()| out.flush());
        if let Err(error) = &done {
            // Whoever reads must not take what it has for the whole.
            let _ = sender.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
        }
        done
    });
    let stream = futures_util::stream::unfold(receiver, async |mut receiver: mpsc::Receiver<_>| {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (stream, writing)
}

/// A file, or a directory with all that is in it, under another name. Sockets are nothing that could be copied.
fn pack(out: &mut dyn Write, from: &Path, name: &str) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    tar.follow_symlinks(false);
    let mut waiting = vec![(from.to_owned(), PathBuf::from(name))];
    while let Some((path, name)) = waiting.pop() {
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let metadata = fs::symlink_metadata(&path).map_err(told)?;
        if std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) {
            continue;
        }
        // The root of a directory's content is there already.
        if metadata.is_dir() {
            if name != Path::new(".") {
                tar.append_dir(&name, &path).map_err(told)?;
            }
            let mut names = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(told)?;
            names.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
            waiting.extend(names.into_iter().map(|entry| (entry.path(), name.join(entry.file_name()))));
        } else {
            tar.append_path_with_name(&path, &name).map_err(told)?;
        }
    }
    tar.into_inner()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(from: &Path, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        pack(&mut bytes, from, name).unwrap();
        bytes
    }

    #[test]
    fn a_directory_is_unpacked_under_its_own_name_or_a_new_one() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("from/deep")).unwrap();
        fs::write(at("from/deep/file"), "content").unwrap();
        std::os::unix::fs::symlink("deep/file", at("from/link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("from/socket")).unwrap();
        let archive = packed(&at("from"), "from");
        fs::create_dir(at("to")).unwrap();
        unpack_from(archive.as_slice(), &at("to"), None, false).unwrap();
        assert_eq!(fs::read_to_string(at("to/from/link")).unwrap(), "content");
        assert!(!at("to/from/socket").exists());
        unpack_from(archive.as_slice(), place.path(), Some(at("new")), false).unwrap();
        assert_eq!(fs::read_to_string(at("new/deep/file")).unwrap(), "content");
        unpack_from(packed(&at("from"), ".").as_slice(), &at("to"), None, false).unwrap();
        assert_eq!(fs::read_to_string(at("to/deep/file")).unwrap(), "content");
        let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[test]
    fn an_archive_that_names_places_outside_gets_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let inside = place.path().join("inside");
        fs::create_dir(&inside).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        let name = b"../outside";
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_cksum();
        tar.append(&header, &b"x"[..]).unwrap();
        unpack_from(tar.into_inner().unwrap().as_slice(), &inside, None, false).unwrap();
        assert!(!place.path().join("outside").exists());
    }

    #[test]
    fn where_it_goes_follows_docker() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("file"), "").unwrap();
        let inside = |is_directory| PathInside { name: "x".to_owned(), is_directory, link_target: None };
        assert_eq!(destination(place.path(), &inside(false), false).unwrap(), (place.path().to_owned(), None));
        assert_eq!(destination(&at("new"), &inside(true), false).unwrap(), (place.path().to_owned(), Some(at("new"))));
        for (to, is_directory) in [("file", true), ("none/x", false), ("none/", false)] {
            assert!(destination(&at(to), &inside(is_directory), false).is_err(), "{to}");
        }
        for (path, expected) in [("/a", ("/", "a")), ("/a/b/", ("/a", "b")), ("a", ("/", "a"))] {
            let (parent, name) = split(path);
            assert_eq!((parent.as_str(), name.as_str()), expected);
        }
    }
}
