//! Directories as BuildKit asks for them: it is told what there is, and asks for the files that it has not from an earlier build.
//!
//! The protocol is `FileSync.DiffCopy` of moby/buildkit with the packets of tonistiigi/fsutil. Which files there are is decided by what
//! the builder wants to see (`followpaths`, `include-patterns`) and by the rules of `.dockerignore`, which it reads itself and sends
//! back (`exclude-patterns`). Owners are left out; sockets and devices too, as for the classic builder.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use hyper::header::{HeaderMap, HeaderValue};

use sha2::{Digest, Sha256};

use super::super::dockerignore::DockerIgnore;
use super::grpc::{HungUp, Messages, Outbox, Refusal, code, query_decoded};
use super::wire::{Packet, PacketKind, Stat};

/// How much of a file is sent at once.
const PIECE: usize = 32 * 1024;

/// How many links are followed for one wish: more go round.
const MOST_LINKS: usize = 255;

/// What a name of the session stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    /// A directory of this host.
    Directory(PathBuf),
    /// Nothing but one file, which lies nowhere.
    File {
        /// Its name.
        name: String,
        /// What it holds.
        content: Vec<u8>,
    },
}

/// What the builder wants to see.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Paths, with wildcards, whose links are followed. None: all.
    followed: Vec<String>,
    /// Patterns of what is sent. None: all.
    included: Vec<String>,
    /// Rules of what is not.
    excluded: Vec<String>,
}

impl Wanted {
    /// What the headers of a call say.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let all = |name| texts(headers, name);
        Self { followed: all("followpaths"), included: all("include-patterns"), excluded: all("exclude-patterns") }
    }

    /// The patterns of what is sent from a directory; none when that is everything.
    fn patterns(&self, root: &Path) -> Option<Vec<String>> {
        let followed = if self.followed.is_empty() { None } else { follow(root, &self.followed) };
        let included = Some(&self.included).filter(|included| !included.is_empty()).cloned();
        match (followed, included) {
            (None, included) => included.filter(|_| self.followed.is_empty()),
            (followed, included) => Some(followed.into_iter().chain(included).flatten().collect()),
        }
    }
}

/// The values of a header, which are escaped where one of them is not ASCII (`session/filesync/filesync.go`).
pub(super) fn texts(headers: &HeaderMap, name: &str) -> Vec<String> {
    let is_encoded = headers.contains_key(format!("{name}-encoded"));
    let values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    let text = |value: &[u8]| if is_encoded { query_decoded(value) } else { String::from_utf8_lossy(value).into_owned() };
    values.map(text).collect()
}

/// Answers a call for a directory until the builder has what it wants.
pub(super) async fn send(tree: Tree, wanted: Wanted, mut requests: Messages, outbox: Outbox) {
    let table = Arc::new(Mutex::new(Vec::new()));
    let (asked, queue) = mpsc::channel();
    let listing = {
        let (tree, table, outbox) = (tree.clone(), Arc::clone(&table), outbox.clone());
        move || tell_failure(list(&tree, &wanted, &table, &outbox), &outbox)
    };
    let carrying = {
        let (table, outbox) = (table, outbox.clone());
        move || tell_failure(carry(&tree, &queue, &table, &outbox), &outbox)
    };
    // Both end when what they send is read by nobody any more.
    drop(tokio::task::spawn_blocking(listing));
    drop(tokio::task::spawn_blocking(carrying));
    let result = loop {
        match requests.next::<Packet>().await {
            Ok(Some(packet)) => match packet.kind() {
                PacketKind::Request => drop(asked.send(packet.id)),
                PacketKind::Finish => {
                    let finish = Packet { kind: PacketKind::Finish.into(), ..Packet::default() };
                    break outbox.send(&finish).await.map_err(|error| Refusal::new(code::UNAVAILABLE, error.to_string()));
                }
                PacketKind::Error => break Ok(()),
                PacketKind::Stat | PacketKind::Data => {}
            },
            Ok(None) => break Ok(()),
            Err(refusal) => break Err(refusal),
        }
    };
    outbox.end(result).await;
}

/// Why files are sent no further.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    HungUp(#[from] HungUp),
    #[error("`{}`: {error}", path.display())]
    Unread { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Rules(String),
}

impl Failure {
    fn unread(path: &Path) -> impl FnOnce(io::Error) -> Failure {
        move |error| Failure::Unread { path: path.to_owned(), error }
    }
}

fn tell_failure(result: Result<(), Failure>, outbox: &Outbox) {
    if let Err(failure @ (Failure::Unread { .. } | Failure::Rules(_))) = result {
        let packet = Packet { kind: PacketKind::Error.into(), data: failure.to_string().into_bytes(), ..Packet::default() };
        // Whoever has hung up needs no reason.
        let _ = outbox.send_blocking(&packet);
    }
}

/// The paths that were told, by their numbers.
type Table = Mutex<Vec<PathBuf>>;

/// Tells what there is, parents first and by name, and that this was all.
fn list(tree: &Tree, wanted: &Wanted, table: &Table, outbox: &Outbox) -> Result<(), Failure> {
    let tell = |stat: Option<Stat>| {
        if let Some(stat) = &stat {
            table.lock().unwrap_or_else(PoisonError::into_inner).push(path_of(&stat.path));
        }
        outbox.send_blocking(&Packet { kind: PacketKind::Stat.into(), stat, ..Packet::default() })
    };
    match tree {
        Tree::Directory(root) => {
            Walk::new(root, wanted, |stat| tell(Some(stat)))?.all()?;
        }
        Tree::File { name, content } => {
            let (path, size, modified) = (name.clone().into_bytes(), content.len() as i64, time_of(content));
            tell(Some(Stat { path, mode: 0o644, size, modified, ..Stat::default() }))?;
        }
    }
    Ok(tell(None)?)
}

/// A time for a file that lies nowhere: by name, size and time the builder knows whether it has it, so another text has another.
fn time_of(content: &[u8]) -> i64 {
    let digest = Sha256::digest(content);
    let first = digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    (first >> 1) as i64
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Sends the files that are asked for. One that has vanished since it was told of is empty: no build waits for what changes under it.
fn carry(tree: &Tree, queue: &mpsc::Receiver<u32>, table: &Table, outbox: &Outbox) -> Result<(), Failure> {
    for id in queue {
        let path = table.lock().unwrap_or_else(PoisonError::into_inner).get(id as usize).cloned();
        let Some(path) = path else { return Err(Failure::Rules(format!("file {id} was never told of"))) };
        match tree {
            Tree::Directory(root) => {
                let full = root.join(path);
                match found(File::open(&full), &full)? {
                    Some(file) => carry_one(id, file, &full, outbox)?,
                    None => carry_one(id, io::empty(), &full, outbox)?,
                }
            }
            Tree::File { content, .. } => carry_one(id, content.as_slice(), &path, outbox)?,
        }
    }
    Ok(())
}

/// What was sought; none of what is not there any more.
fn found<T>(result: io::Result<T>, path: &Path) -> Result<Option<T>, Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some).map_err(Failure::unread(path)),
    }
}

fn carry_one(id: u32, mut file: impl Read, path: &Path, outbox: &Outbox) -> Result<(), Failure> {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result.map_err(Failure::unread(path))?,
        };
        let data = buffer[..read].to_vec();
        outbox.send_blocking(&Packet { kind: PacketKind::Data.into(), id, data, ..Packet::default() })?;
        if read == 0 {
            return Ok(());
        }
    }
}

/// A walk through a directory, which tells of what is wanted.
struct Walk<'a, T> {
    root: &'a Path,
    /// What is not sent.
    excluded: DockerIgnore,
    /// What is sent, as rules that leave out everything else.
    included: Option<DockerIgnore>,
    /// Directories on the way that are told of when something in them is.
    pending: Vec<Stat>,
    tell: T,
}

impl<'a, T: FnMut(Stat) -> Result<(), HungUp>> Walk<'a, T> {
    fn new(root: &'a Path, wanted: &Wanted, tell: T) -> Result<Self, Failure> {
        let rules = |text: &str| DockerIgnore::parse(text).map_err(|error| Failure::Rules(format!("`.dockerignore`, {error}")));
        let included = wanted.patterns(root).map(|patterns| {
            let all = std::iter::once("**".to_owned()).chain(patterns.iter().map(|pattern| format!("!{pattern}")));
            rules(&all.collect::<Vec<_>>().join("\n"))
        });
        let excluded = rules(&wanted.excluded.join("\n"))?;
        Ok(Self { root, excluded, included: included.transpose()?, pending: Vec::new(), tell })
    }

    /// Tells of the whole directory, which must be there. What vanishes from it meanwhile is passed over.
    fn all(&mut self) -> Result<(), Failure> {
        fs::read_dir(self.root).map_err(Failure::unread(self.root))?;
        self.directory(Path::new(""))
    }

    fn directory(&mut self, directory: &Path) -> Result<(), Failure> {
        let full = self.root.join(directory);
        let names =
            fs::read_dir(&full).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>());
        let names: Option<BTreeSet<_>> = found(names, &full)?;
        for name in names.into_iter().flatten() {
            let path = directory.join(name);
            let left_out = self.excluded.excludes(&path);
            let is_wanted = self.included.as_ref().is_none_or(|included| !included.excludes(&path));
            let full = self.root.join(&path);
            let Some(metadata) = found(fs::symlink_metadata(&full), &full)? else { continue };
            let is_sent = is_wanted && !left_out;
            if !is_sent && !metadata.is_dir() {
                continue;
            }
            let Some(stat) = stat(&path, &full, &metadata)? else { continue };
            let depth = self.pending.len();
            if is_sent {
                for parent in self.pending.drain(..) {
                    (self.tell)(parent)?;
                }
                (self.tell)(stat)?;
            } else if self.may_hold_wanted(&path, is_wanted, left_out) {
                self.pending.push(stat);
            } else {
                continue;
            }
            if metadata.is_dir() {
                self.directory(&path)?;
            }
            self.pending.truncate(depth);
        }
        Ok(())
    }

    fn may_hold_wanted(&self, path: &Path, is_wanted: bool, is_left_out: bool) -> bool {
        let may_be_wanted = is_wanted || self.included.as_ref().is_none_or(|included| included.may_take_back_below(path));
        may_be_wanted && (!is_left_out || self.excluded.may_take_back_below(path))
    }
}

/// What is told of a file; none of one that is not sent.
fn stat(path: &Path, full: &Path, metadata: &Metadata) -> Result<Option<Stat>, Failure> {
    // Bits of Go's `os.FileMode`.
    const DIRECTORY: u32 = 1 << 31;
    const LINK: u32 = 1 << 27;
    const SET_USER: u32 = 1 << 23;
    const SET_GROUP: u32 = 1 << 22;
    const STICKY: u32 = 1 << 20;
    let kind = metadata.file_type();
    let (of_kind, link) = if kind.is_dir() {
        (DIRECTORY, Vec::new())
    } else if kind.is_symlink() {
        let Some(target) = found(fs::read_link(full), full)? else { return Ok(None) };
        (LINK, target.into_os_string().into_vec())
    } else if kind.is_file() {
        (0, Vec::new())
    } else {
        return Ok(None);
    };
    let special = [(0o4000, SET_USER), (0o2000, SET_GROUP), (0o1000, STICKY)];
    let special = special.iter().filter(|(bit, _)| metadata.mode() & bit != 0).fold(0, |bits, (_, bit)| bits | bit);
    Ok(Some(Stat {
        path: path.as_os_str().as_bytes().to_vec(),
        mode: metadata.mode() & 0o777 | special | of_kind,
        size: if kind.is_dir() { 0 } else { metadata.size() as i64 },
        modified: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
        link,
    }))
}

/// Wishes, and where links on their way lead within the directory; none when they are for all of it.
fn follow(root: &Path, wishes: &[String]) -> Option<Vec<String>> {
    let mut found = BTreeSet::new();
    for wish in wishes {
        let mut waiting = VecDeque::from([clean(Path::new(wish))]);
        let mut links = 0;
        while let Some(path) = waiting.pop_front() {
            if path.as_os_str().is_empty() {
                return None;
            }
            for (link, target) in links_at(root, &path) {
                found.insert(link.to_string_lossy().into_owned());
                links += 1;
                if links <= MOST_LINKS && !found.contains(&*target.to_string_lossy()) {
                    waiting.push_back(target);
                }
            }
            found.insert(path.to_string_lossy().into_owned());
        }
    }
    Some(found.into_iter().collect())
}

/// The first links on a path, each with the path that goes on from where it leads. A name with wildcards stands for all that it fits.
fn links_at(root: &Path, path: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut here = PathBuf::new();
    let mut names = path.components();
    while let Some(name) = names.next() {
        let text = name.as_os_str().to_string_lossy();
        if text.contains(['*', '?', '[', '\\']) {
            let Ok(pattern) = DockerIgnore::parse(&text) else { return Vec::new() };
            let listed = fs::read_dir(root.join(&here)).into_iter().flatten().flatten().map(|entry| entry.file_name());
            let fitting = listed.filter(|name| pattern.excludes(Path::new(name)));
            return fitting.filter_map(|name| link_at(root, &here.join(name), names.as_path())).collect();
        }
        here.push(name);
        if let Some(link) = link_at(root, &here, names.as_path()) {
            return vec![link];
        }
    }
    Vec::new()
}

fn link_at(root: &Path, link: &Path, rest: &Path) -> Option<(PathBuf, PathBuf)> {
    let target = fs::read_link(root.join(link)).ok()?;
    let from = if target.is_absolute() { Path::new("") } else { link.parent().unwrap_or(Path::new("")) };
    Some((link.to_owned(), clean(&from.join(target.strip_prefix("/").unwrap_or(&target)).join(rest))))
}

/// A path within the directory: `..` leads no further up than to the directory itself.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A directory with these files; `a -> b` is a link.
    fn directory(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let (path, link) = file.split_once(" -> ").map_or((*file, None), |(path, target)| (path, Some(target)));
            let full = dir.path().join(path);
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            match link {
                Some(target) => symlink(target, full).unwrap(),
                None => fs::write(full, path).unwrap(),
            }
        }
        dir
    }

    fn told(dir: &Path, followed: &[&str], included: &[&str], excluded: &[&str]) -> Vec<Stat> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let wanted = Wanted { followed: texts(followed), included: texts(included), excluded: texts(excluded) };
        let mut told = Vec::new();
        let mut walk = Walk::new(dir, &wanted, |stat| {
            told.push(stat);
            Ok(())
        });
        walk.as_mut().unwrap().all().unwrap();
        drop(walk);
        told
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_name_that_is_no_text_is_told_as_it_is() {
        let dir = directory(&["a"]);
        let name = b"caf\xe9";
        fs::write(dir.path().join(path_of(name)), "x").unwrap();
        symlink(path_of(name), dir.path().join("link")).unwrap();
        let told = told(dir.path(), &[], &[], &[]);
        let names: Vec<(&[u8], &[u8])> = told.iter().map(|stat| (stat.path.as_slice(), stat.link.as_slice())).collect();
        assert_eq!(names, [(&b"a"[..], &b""[..]), (name, b""), (b"link", name)]);
        assert_eq!(self::told(dir.path(), &["link"], &[], &[]).len(), 2, "and is found behind a link");
    }

    #[track_caller]
    fn check(files: &[&str], (followed, included, excluded): (&[&str], &[&str], &[&str]), expected: &str) {
        let dir = directory(files);
        let paths: Vec<String> =
            told(dir.path(), followed, included, excluded).into_iter().map(|stat| text(&stat.path)).collect();
        assert_eq!(paths.join(" "), expected);
    }

    const FILES: [&str; 6] = ["a/b/c", "a/b.x", "a.x", "b/d", "b/e/f", "z"];

    #[test]
    fn all_is_told_parents_first_and_by_name() {
        check(&FILES, (&[], &[], &[]), "a a/b a/b/c a/b.x a.x b b/d b/e b/e/f z");
        check(&FILES, (&["."], &[], &[]), "a a/b a/b/c a/b.x a.x b b/d b/e b/e/f z");
    }

    #[test]
    fn what_is_left_out_is_not_told_but_for_the_way_to_what_is_taken_back() {
        check(&FILES, (&[], &[], &["a", "z"]), "a.x b b/d b/e b/e/f");
        check(&FILES, (&[], &[], &["*", "!b/e"]), "b b/e b/e/f");
        check(&FILES, (&[], &[], &["**/*.x", "b"]), "a a/b a/b/c z");
    }

    #[test]
    fn only_what_is_wanted_is_told_with_the_directories_above_it() {
        check(&FILES, (&["b/e", "nothing"], &[], &[]), "b b/e b/e/f");
        check(&FILES, (&["*.x"], &[], &[]), "a.x");
        check(&FILES, (&["a/b"], &[], &["a/b/c"]), "a a/b");
        check(&FILES, (&["z"], &["a.x"], &[]), "a.x z");
        check(&FILES, (&["Dockerfile"], &[], &[]), "");
        check(&FILES, (&[], &["**/d"], &[]), "b b/d");
    }

    #[test]
    fn links_on_the_way_are_told_and_followed_within_the_directory() {
        let files = ["real/deep/file", "l -> real/deep", "up/back -> ../../../real", "self -> self", "abs -> /real", "other/x"];
        check(&files, (&["l/file"], &[], &[]), "l real real/deep real/deep/file");
        check(&files, (&["up/back/deep"], &[], &[]), "real real/deep real/deep/file up up/back");
        check(&files, (&["self"], &[], &[]), "self");
        check(&files, (&["a*"], &[], &[]), "abs real real/deep real/deep/file");
    }

    #[test]
    fn what_vanishes_on_the_way_is_passed_over_but_not_the_directory_itself() {
        let dir = directory(&["a", "b", "c/d", "e"]);
        let mut told = Vec::new();
        let wanted = Wanted::default();
        let mut walk = Walk::new(dir.path(), &wanted, |stat| {
            match text(&stat.path).as_str() {
                "a" => fs::remove_file(dir.path().join("b")).unwrap(),
                "c" => fs::remove_dir_all(dir.path().join("c")).unwrap(),
                _ => {}
            }
            told.push(text(&stat.path));
            Ok(())
        });
        walk.as_mut().unwrap().all().unwrap();
        drop(walk);
        assert_eq!(told, ["a", "c", "e"]);
        let none = dir.path().join("none");
        assert!(Walk::new(&none, &wanted, |_| Ok(())).unwrap().all().unwrap_err().to_string().contains("none"));
    }

    #[tokio::test]
    async fn a_file_that_has_vanished_since_it_was_told_is_empty() {
        let dir = directory(&["there"]);
        let (outbox, answer) = super::super::grpc::answers();
        let (asked, queue) = mpsc::channel();
        [0, 1].iter().for_each(|id| asked.send(*id).unwrap());
        drop(asked);
        let table = Mutex::new(vec![PathBuf::from("gone"), PathBuf::from("there")]);
        let tree = Tree::Directory(dir.path().to_owned());
        tokio::task::spawn_blocking(move || carry(&tree, &queue, &table, &outbox)).await.unwrap().unwrap();
        let mut messages = Messages::of(answer.into_body());
        let mut pieces = Vec::new();
        while let Some(packet) = messages.next::<Packet>().await.unwrap() {
            pieces.push((packet.id, String::from_utf8(packet.data).unwrap()));
        }
        assert_eq!(pieces, [(0, String::new()), (1, "there".to_owned()), (1, String::new())]);
    }

    #[test]
    fn rules_that_are_escaped_are_read_as_they_were_meant() {
        let mut headers = HeaderMap::new();
        headers.append("exclude-patterns", HeaderValue::from_static("%C3%A4+b"));
        headers.append("exclude-patterns", HeaderValue::from_static("a%2Bb"));
        headers.append("include-patterns", HeaderValue::from_static("a+b"));
        headers.insert("exclude-patterns-encoded", HeaderValue::from_static("1"));
        let wanted = Wanted::of(&headers);
        assert_eq!((wanted.excluded, wanted.included), (vec!["ä b".to_owned(), "a+b".to_owned()], vec!["a+b".to_owned()]));
    }

    #[test]
    fn another_text_of_the_same_length_is_another_file() {
        assert_eq!(time_of(b"FROM a"), time_of(b"FROM a"));
        assert_ne!(time_of(b"FROM a"), time_of(b"FROM b"));
        assert!(time_of(b"FROM a") >= 0);
    }

    #[test]
    fn a_file_is_told_with_its_mode_size_and_where_it_leads() {
        let dir = directory(&["d/f", "l -> d/f"]);
        fs::set_permissions(dir.path().join("d/f"), fs::Permissions::from_mode(0o4751)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let told = told(dir.path(), &[], &[], &[]);
        let [directory, file, link] = &told[..] else { panic!("{told:?}") };
        assert_eq!(directory.mode >> 31, 1);
        assert_eq!((file.mode, file.size), (0o751 | 1 << 23, 3));
        assert!(file.modified > 1_000_000_000_000_000_000, "{}", file.modified);
        assert_eq!((link.mode & 1 << 27, text(&link.link).as_str()), (1 << 27, "d/f"));
    }
}
