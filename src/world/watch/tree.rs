//! One watched path: what its files held when they were last looked at, and what has changed since.
//!
//! Compares states, so it does not matter which events an editor causes, how many of them were lost, or in which order they
//! came.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::filter::Filter;
use super::places::{Place, Places};
use crate::supervisor::effect::Watched;

/// Larger files are compared by size and time.
const HASHED_UP_TO: u64 = 16 * 1024 * 1024;

/// One watched path.
#[derive(Debug)]
pub(super) struct Tree {
    /// The rule, as it was asked for.
    pub(super) watched: Watched,
    filter: Filter,
    files: BTreeMap<PathBuf, Known>,
    /// Directories with their real paths.
    dirs: BTreeMap<PathBuf, PathBuf>,
    /// Each has one name: a link that leads back to it is not followed again.
    names: HashMap<PathBuf, PathBuf>,
}

/// A file's content, and what tells that it need not be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    stamp: (u64, i64, i64, u64),
    content: u64,
}

/// How a tree is looked through.
pub(super) struct Look<'a> {
    /// Where directories are to be watched; none while the first state is taken.
    pub(super) places: Option<&'a mut Places>,
    /// What has changed.
    pub(super) changed: Vec<PathBuf>,
    /// The first directory that could not be watched.
    pub(super) trouble: Option<notify::Error>,
}

impl<'a> Look<'a> {
    /// A look that arms what it finds.
    pub(super) fn arming(places: &'a mut Places) -> Self {
        Self { places: Some(places), changed: Vec::new(), trouble: None }
    }

    fn watch(&mut self, real: &Path, place: Place) {
        let Some(places) = &mut self.places else { return };
        if let Err(error) = places.watch(real, place) {
            self.trouble.get_or_insert(error);
        }
    }
}

impl Tree {
    /// Takes in the state of all files, then arms the watches and looks again: nothing that happens from here on is missed.
    /// What changed in between is in the look. The text tells of a pattern that cannot be understood.
    pub(super) fn new(watched: Watched, look: &mut Look) -> (Self, Option<String>) {
        let (filter, trouble) = Filter::new(&watched.rule, &watched.sources);
        let mut tree = Self { watched, filter, files: BTreeMap::new(), dirs: BTreeMap::new(), names: HashMap::new() };
        let root = tree.root().to_owned();
        tree.look_at(&root, &mut Look { places: None, changed: Vec::new(), trouble: None });
        tree.look_at_root(look);
        (tree, trouble)
    }

    /// All files that count.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// The watched path.
    pub(super) fn root(&self) -> &Path {
        &self.watched.rule.path
    }

    /// Looks at everything, and sees to it that the coming and going of the watched path itself is told.
    pub(super) fn look_at_root(&mut self, look: &mut Look) {
        let root = self.root().to_owned();
        // Never a single file: an editor that saves by renaming leaves the old inode, and its watch, behind.
        let mut names = vec![root.clone()];
        names.extend(fs::canonicalize(&root).ok().filter(|real| *real != root));
        for name in names {
            self.watch_name(&name, look);
        }
        self.look_at(&root, look);
    }

    /// Watches the nearest existing directory above a path for what is next on the way to it.
    fn watch_name(&self, path: &Path, look: &mut Look) {
        let mut next = path;
        while let Some(dir) = next.parent() {
            if let (Ok(real), Some(name)) = (fs::canonicalize(dir), next.file_name()) {
                let place = Place { rule: self.watched.id, dir: dir.to_owned(), only: Some(name.to_owned()) };
                look.watch(&real, place);
                return;
            }
            next = dir;
        }
    }

    /// Looks at a path and all below it.
    pub(super) fn look_at(&mut self, path: &Path, look: &mut Look) {
        if path.file_name().is_some_and(|name| name == ".gitignore")
            && let Some(dir) = path.parent().filter(|dir| dir.starts_with(self.root()))
        {
            self.filter.forget_gitignore(dir);
            self.look_below(dir, look);
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.look_below(path, look),
            Ok(metadata) => {
                // What was a directory may be a file now.
                self.forget_gone(path, look);
                if !self.filter.leaves_out(path, false) {
                    self.visit_file(path, &metadata, Trust::Content, look);
                }
            }
            Err(_) => self.forget_gone(path, look),
        }
    }

    fn look_below(&mut self, dir: &Path, look: &mut Look) {
        if let Ok(real) = fs::canonicalize(dir) {
            self.visit_dir(dir, &real, look);
        }
        self.forget_gone(dir, look);
    }

    fn visit_dir(&mut self, dir: &Path, real: &Path, look: &mut Look) {
        let named_otherwise = self.names.get(real).is_some_and(|name| name != dir);
        if named_otherwise || self.filter.leaves_out(dir, true) {
            return;
        }
        self.names.insert(real.to_owned(), dir.to_owned());
        self.dirs.insert(dir.to_owned(), real.to_owned());
        // Watched first and read then: whatever comes in between is seen twice rather than never.
        look.watch(real, Place { rule: self.watched.id, dir: dir.to_owned(), only: None });
        // One that cannot be read has nothing to say.
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_file() {
                if !self.filter.leaves_out(&path, false) {
                    self.visit_file(&path, &metadata, Trust::Stamp, look);
                }
            } else if metadata.is_dir() {
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                let real = if is_link { fs::canonicalize(&path) } else { Ok(real.join(entry.file_name())) };
                if let Ok(real) = real {
                    self.visit_dir(&path, &real, look);
                }
            }
        }
    }

    fn visit_file(&mut self, path: &Path, metadata: &Metadata, trust: Trust, look: &mut Look) {
        if !metadata.is_file() || !self.filter.includes(path) {
            return;
        }
        let stamp = (metadata.size(), metadata.ctime(), metadata.ctime_nsec(), metadata.ino());
        let known = self.files.get(path);
        if trust == Trust::Stamp && known.is_some_and(|known| known.stamp == stamp) {
            return;
        }
        let content = content(path, metadata);
        if known.is_none_or(|known| known.content != content) {
            look.changed.push(path.to_owned());
        }
        self.files.insert(path.to_owned(), Known { stamp, content });
    }

    /// Drops what is not there any more, or does not count any more, at a path or below it; what is gone has changed.
    fn forget_gone(&mut self, path: &Path, look: &mut Look) {
        for file in below(&self.files, path) {
            let exists = fs::metadata(&file).is_ok_and(|metadata| metadata.is_file());
            let counts = exists && !self.is_left_out(&file);
            if !counts {
                self.files.remove(&file);
            }
            if !exists {
                look.changed.push(file);
            }
        }
        for dir in below(&self.dirs, path) {
            if !dir.is_dir()
                && let Some(real) = self.dirs.remove(&dir)
            {
                self.names.remove(&real);
            }
        }
    }

    /// Whether a file, or a directory on the way to it, is left out.
    fn is_left_out(&mut self, file: &Path) -> bool {
        let root = self.root().to_owned();
        let way: Vec<&Path> = file.ancestors().take_while(|dir| **dir != *root).collect();
        way.into_iter().any(|part| self.filter.leaves_out(part, part != file))
    }
}

/// The keys at a path and below it; paths sort by their parts, so they stand together.
fn below<T>(map: &BTreeMap<PathBuf, T>, path: &Path) -> Vec<PathBuf> {
    map.range(path.to_owned()..).map(|(key, _)| key).take_while(|key| key.starts_with(path)).cloned().collect()
}

/// What decides whether a file is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// An event named it: only its content.
    Content,
    /// It is met on the way: size and times that are the same will do.
    Stamp,
}

fn content(path: &Path, metadata: &Metadata) -> u64 {
    let mut hasher = DefaultHasher::new();
    if metadata.len() > HASHED_UP_TO || feed(path, &mut hasher).is_err() {
        hasher.write_u64(metadata.len());
        hasher.write_i64(metadata.mtime());
        hasher.write_i64(metadata.mtime_nsec());
    }
    hasher.finish()
}

fn feed(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = [0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => hasher.write(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
