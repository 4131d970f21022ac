//! What would be lost with a repository of git: work that is nowhere else.
//!
//! Git itself is asked; its hooks and monitors, which a repository may bring along, are not run. What cannot be judged counts as
//! work.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// Lines of one sort that are told; more are counted.
const TOLD: usize = 5;
/// Paths that git is asked about at a time.
const ASKED: usize = 1000;
/// What git may be told by the caller's variables: where it is, and what its user has set. All others are about another repository or
/// another question than ours.
const INHERITED: [&str; 4] = ["GIT_EXEC_PATH", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"];

/// The lines of an answer, or why there is none.
type Told = Result<Vec<String>, String>;

/// A repository with work that is nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Where.
    pub path: PathBuf,
    /// What, one sentence each.
    pub what: Vec<String>,
    /// Nobody can tell whether there is any: the directory cannot be looked into.
    pub is_closed: bool,
}

/// All work in repositories at or below a path. Links are not followed: what they lead to would not be lost.
pub fn work_below(path: &Path) -> Vec<Work> {
    let mut found = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(directory) = waiting.pop() {
        if !fs::symlink_metadata(&directory).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        let what = match Repository::at(&directory) {
            Some(repository) => repository.work(path),
            None => Vec::new(),
        };
        if !what.is_empty() {
            found.push(Work { path: directory.clone(), what, is_closed: false });
        }
        match fs::read_dir(&directory) {
            Ok(entries) => waiting.extend(entries.flatten().flat_map(|entry| {
                let below = entry.path();
                // The histories of submodules, which need not be checked out, lie within that of their repository.
                if entry.file_name() == ".git" { vec![below.join("modules"), below.join("worktrees")] } else { vec![below] }
            })),
            Err(error) => {
                let what = vec![format!("it cannot be looked into: {error}")];
                found.push(Work { path: directory, what, is_closed: true });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// What paths are to us that lie within a working tree or a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// We have made it, empty: what git does not track there is the environment's, and what git cannot judge too.
    Made,
    /// It was there, or services made it: in the stack's own tree what git tracks may be work, in any other all that git does not
    /// ignore.
    Found,
}

/// All work at paths that are only pieces of a working tree or of a repository; of one that is at a path or below, [`work_below`] tells.
pub fn work_around<'a>(paths: impl IntoIterator<Item = &'a PathBuf>, piece: Piece, stack: Option<&Path>) -> Vec<Work> {
    let mut trees: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for (tree, below) in paths.into_iter().filter_map(|path| place_in_tree(path)) {
        trees.entry(tree).or_default().push(below);
    }
    let own = stack.and_then(tree_of);
    let work = |(tree, pieces): (PathBuf, Vec<PathBuf>)| {
        let repository = Repository::at(&tree)?;
        let what = match (repository.kind, piece) {
            (Kind::Bare, Piece::Found) => repository.work(&tree),
            // Git has nothing of ours there.
            (Kind::Bare, Piece::Made) => return None,
            (Kind::Whole | Kind::Worktree, Piece::Found) => repository.work_at(&pieces, own.as_ref() != Some(&tree), true),
            (Kind::Whole | Kind::Worktree, Piece::Made) => repository.work_at(&pieces, false, false),
        };
        (!what.is_empty()).then_some(Work { path: tree, what, is_closed: false })
    };
    trees.into_iter().filter_map(work).collect()
}

/// What of paths that are only pieces of a working tree or of a repository is source: all of what was found in a tree that is not the
/// stack's own, else what git tracks.
pub fn sources_around<'a>(paths: impl IntoIterator<Item = &'a PathBuf>, piece: Piece, stack: Option<&Path>) -> BTreeSet<PathBuf> {
    let own = stack.and_then(tree_of);
    let sources = |path: &'a PathBuf| {
        let (tree, below) = place_in_tree(path)?;
        let repository = Repository::at(&tree)?;
        match (repository.kind, piece) {
            (Kind::Bare, Piece::Made) => return None,
            (Kind::Bare, Piece::Found) => return Some(vec![path.clone()]),
            (Kind::Whole | Kind::Worktree, Piece::Found) if own.as_ref() != Some(&tree) => return Some(vec![path.clone()]),
            (Kind::Whole | Kind::Worktree, _) => {}
        }
        match repository.tracked(&below) {
            Ok(tracked) => {
                let rest = |name: &PathBuf| Some(name.strip_prefix(&below).ok()?.to_owned());
                let at = |rest: PathBuf| if rest.as_os_str().is_empty() { path.clone() } else { path.join(rest) };
                Some(tracked.iter().filter_map(rest).map(at).filter(|source| source.symlink_metadata().is_ok()).collect())
            }
            Err(_) if piece == Piece::Made => None,
            Err(_) => Some(vec![path.clone()]),
        }
    };
    paths.into_iter().filter_map(sources).flatten().collect()
}

/// The innermost working tree or repository that a path is a piece of, and where the path is in it; the links of its parents
/// resolved and not its own. None when it is a repository itself.
fn place_in_tree(path: &Path) -> Option<(PathBuf, PathBuf)> {
    if Repository::at(path).is_some() {
        return None;
    }
    let (parent, name) = (fs::canonicalize(path.parent()?).ok()?, path.file_name()?);
    let tree = tree_of(&parent)?;
    let below = parent.strip_prefix(&tree).ok()?.join(name);
    Some((tree, below))
}

/// The innermost working tree or repository that a directory is or lies in, links resolved.
fn tree_of(directory: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(directory).ok()?;
    real.ancestors().find(|above| Repository::at(above).is_some()).map(Path::to_owned)
}

/// The outermost working trees and repositories at or below a path. Links are not followed.
pub fn trees_below(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(directory) = waiting.pop() {
        if !fs::symlink_metadata(&directory).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        if Repository::at(&directory).is_some() {
            found.push(directory);
        } else {
            waiting.extend(fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    found.sort();
    found
}

/// The directories at or below a path, outside of working trees, that cannot be looked into. Links are not followed.
pub fn closed_below(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(directory) = waiting.pop() {
        if !fs::symlink_metadata(&directory).is_ok_and(|metadata| metadata.is_dir()) || Repository::at(&directory).is_some() {
            continue;
        }
        match fs::read_dir(&directory) {
            Ok(entries) => waiting.extend(entries.flatten().map(|entry| entry.path())),
            Err(_) => found.push(directory),
        }
    }
    found.sort();
    found
}

/// What kind of repository lies in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With its history.
    Whole,
    /// A working tree whose history lies elsewhere.
    Worktree,
    /// History; its working trees, if there are any, lie elsewhere.
    Bare,
}

/// What of a history is lost with a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// All of it.
    All,
    /// The `HEAD` of this working tree: branches, tags and stashes are its main repository's.
    Head,
    /// None: it stays, or is found where it lies.
    Nothing,
}

struct Repository<'a> {
    path: &'a Path,
    kind: Kind,
}

impl<'a> Repository<'a> {
    fn at(path: &'a Path) -> Option<Self> {
        let kind = match fs::symlink_metadata(path.join(".git")) {
            Ok(metadata) if metadata.is_dir() => Kind::Whole,
            Ok(_) => Kind::Worktree,
            Err(_) if ["HEAD", "objects", "refs"].iter().all(|name| path.join(name).exists()) => Kind::Bare,
            Err(_) => return None,
        };
        Some(Self { path, kind })
    }

    /// What would be lost of it with all that is below `root`.
    fn work(&self, root: &Path) -> Vec<String> {
        let mut notes = Notes::default();
        if self.kind != Kind::Bare {
            notes.not_committed(self.changed(Untracked::Shown, &[]));
            notes.hidden(self.marked(&[]));
            notes.hidden(self.excluded(&[]));
        }
        let lost = self.lost(root).unwrap_or_else(|why| {
            notes.add(Err(why), "", "");
            Lost::Nothing
        });
        if lost == Lost::All {
            notes.add(self.ask(&["stash", "list", "--format=%gs"]), "stash", "stashes");
        }
        notes.add(self.unpushed(lost), "commit is not pushed", "commits are not pushed");
        notes.what
    }

    /// What would be lost with these pieces of it, while its history stays: of what is tracked, and with `untracked` of the rest.
    fn work_at(&self, pieces: &[PathBuf], untracked: bool, is_judged: bool) -> Vec<String> {
        let shown = if untracked { Untracked::Shown } else { Untracked::Left };
        // What is not there is not lost with them; and a repository in this one is judged by itself.
        let is_there = |line: &String| line.get(1..2).is_none_or(|state| state != "D") && !line.starts_with("D ");
        let goes = |line: &String| is_there(line) && !line.ends_with('/');
        let of_all = |ask: &dyn Fn(&[PathBuf]) -> Told| {
            let told = pieces.chunks(ASKED).map(ask).collect::<Result<Vec<_>, _>>().map(|told| told.concat());
            if is_judged { told } else { told.or(Ok(Vec::new())) }
        };
        let mut notes = Notes::default();
        notes.not_committed(of_all(&|pieces| Ok(self.changed(shown, pieces)?.into_iter().filter(goes).collect())));
        notes.hidden(of_all(&|pieces| self.marked(pieces)));
        if untracked {
            notes.hidden(of_all(&|pieces| self.excluded(pieces)));
        }
        notes.what
    }

    /// What `status` tells, a line each, of all or of these pieces.
    fn changed(&self, untracked: Untracked, pieces: &[PathBuf]) -> Told {
        let untracked = match untracked {
            Untracked::Shown => "--untracked-files=all",
            Untracked::Left => "--untracked-files=no",
        };
        self.ask_of(&["status", "--porcelain", untracked], pieces)
    }

    /// The files at a piece of it that are tracked.
    fn tracked(&self, piece: &Path) -> Result<Vec<PathBuf>, String> {
        let said = self.said(&["ls-files", "-z"], &[piece.to_owned()])?;
        let names = said.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| PathBuf::from(OsString::from_vec(name.to_vec()))).collect())
    }

    fn lost(&self, root: &Path) -> Result<Lost, String> {
        if self.kind != Kind::Worktree {
            return Ok(Lost::All);
        }
        let place = |which: &str| -> Result<PathBuf, String> {
            let said = self.ask(&["rev-parse", which])?;
            let told = said.first().ok_or_else(|| format!("git does not tell its {which}"))?;
            fs::canonicalize(self.path.join(told)).map_err(|error| format!("{told}: {error}"))
        };
        let own = place("--git-dir")?;
        if own != place("--git-common-dir")? {
            return Ok(Lost::Head);
        }
        let root = fs::canonicalize(root).map_err(|error| error.to_string())?;
        // A history elsewhere may go with this tree all the same: a submodule's with the linked working tree that has it.
        Ok(if own.starts_with(root) { Lost::Nothing } else { Lost::All })
    }

    /// The lost commits that no remote has.
    fn unpushed(&self, lost: Lost) -> Told {
        // `HEAD` names a branch without a commit in a new repository, and where another branch was pushed into it.
        let head = self.ask(&["rev-parse", "--verify", "--quiet", "HEAD"]).is_ok().then_some("HEAD");
        let (of, but): (&[&str], &[&str]) = match lost {
            // All refs, also those that no branch or tag is; a stash is told as one.
            Lost::All => (&["--exclude=refs/stash", "--all"], &["--remotes"]),
            Lost::Head if head.is_some() => (&[], &["--branches", "--tags", "--remotes"]),
            Lost::Head | Lost::Nothing => return Ok(Vec::new()),
        };
        let words = ["log", "--format=%h %s"].iter().chain(of).chain(&head).chain(&["--not"]).chain(but).chain(&["--"]);
        self.ask(&words.copied().collect::<Vec<_>>())
    }

    /// Tracked files, of all or of these pieces, that `status` passes over and that differ from what is committed: those marked
    /// `skip-worktree` or `assume-unchanged`.
    fn marked(&self, pieces: &[PathBuf]) -> Told {
        // `S` is skip-worktree, and small letters assume-unchanged (`git-ls-files(1)`, `-v`).
        let is_marked = |entry: &&[u8]| entry.first().is_some_and(|tag| *tag == b'S' || tag.is_ascii_lowercase());
        let tracked = self.said(&["ls-files", "-v", "-z"], pieces)?;
        let mut marked = Vec::new();
        for entry in tracked.split(|byte| *byte == 0).filter(is_marked) {
            let name = PathBuf::from(OsString::from_vec(entry.get(2..).unwrap_or_default().to_vec()));
            // One that is not there was left out of the working tree, as by a sparse checkout.
            if self.path.join(&name).symlink_metadata().is_ok_and(|there| !there.is_dir()) {
                let told = name.to_string_lossy().into_owned();
                let piece = [name];
                if self.said(&["hash-object"], &piece)?.trim_ascii() != self.staged(&piece)? {
                    marked.push(told);
                }
            }
        }
        Ok(marked)
    }

    /// Files, of all or of these pieces, that nobody else ignores: by `info/exclude` or `core.excludesFile`.
    fn excluded(&self, pieces: &[PathBuf]) -> Told {
        Ok(self.ignored(pieces)?.by_oneself)
    }

    /// What git ignores of what is not committed, of all or of these pieces.
    fn ignored(&self, pieces: &[PathBuf]) -> Result<ByWhom, String> {
        const ALL: [&str; 5] = ["ls-files", "-z", "--others", "--ignored", "--exclude-standard"];
        let mut ignored = ByWhom::default();
        let entries = words(&self.said(&[&ALL[..], &["--directory"]].concat(), pieces)?);
        // Of a directory that holds nothing else, each file may be ignored for a reason of its own.
        for entry in self.sort_ignored(&entries, &mut ignored)? {
            let files = words(&self.said(&ALL, &[PathBuf::from(entry)])?);
            let unexplained = self.sort_ignored(&files, &mut ignored)?;
            ignored.by_oneself.extend(unexplained);
        }
        for paths in [&mut ignored.by_all, &mut ignored.by_oneself] {
            paths.sort();
            paths.dedup();
            // What lies in a directory that is ignored as a whole is told with that, which comes first.
            let mut whole: Option<String> = None;
            paths.retain(|path| {
                let is_told = whole.as_ref().is_some_and(|whole| path.starts_with(whole));
                if !is_told && path.ends_with('/') {
                    whole = Some(path.clone());
                }
                !is_told
            });
        }
        Ok(ignored)
    }

    /// Sorts ignored paths by who ignores them; those of which git does not say it are answered with.
    fn sort_ignored(&self, paths: &[String], into: &mut ByWhom) -> Result<Vec<String>, String> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        // Source, line, pattern and path of each that is ignored; 1 says that none is (`git-check-ignore(1)`).
        let question = ["check-ignore", "-v", "-z", "--no-index", "--stdin"];
        let told = words(&self.answer(&question, &[], &paths.join("\0"), &[0, 1])?);
        let by: BTreeMap<&str, &str> = told.chunks_exact(4).map(|fields| (fields[3].as_str(), fields[0].as_str())).collect();
        let mut unexplained = Vec::new();
        for name in paths {
            match by.get(name.as_str()) {
                Some(source) if is_shared(source) => into.by_all.push(name.clone()),
                Some(_) => into.by_oneself.push(name.clone()),
                None => unexplained.push(name.clone()),
            }
        }
        Ok(unexplained)
    }

    /// The hash of a tracked file's content as it is in the index.
    fn staged(&self, file: &[PathBuf]) -> Result<Vec<u8>, String> {
        // Mode, hash, stage and path (`git-ls-files(1)`, `-s`).
        let said = self.said(&["ls-files", "-s", "-z"], file)?;
        Ok(said.split(|byte| *byte == b' ').nth(1).unwrap_or_default().to_vec())
    }

    /// The lines of an answer.
    fn ask(&self, question: &[&str]) -> Told {
        self.ask_of(question, &[])
    }

    /// The same, about these pieces alone if there are any.
    fn ask_of(&self, question: &[&str], pieces: &[PathBuf]) -> Told {
        let said = self.said(question, pieces)?;
        Ok(String::from_utf8_lossy(&said).lines().map(str::to_owned).collect())
    }

    fn said(&self, question: &[&str], pieces: &[PathBuf]) -> Result<Vec<u8>, String> {
        self.answer(question, pieces, "", &[0])
    }

    /// What git writes to a question, about these pieces alone if there are any, and what it is to read, where it ends with one of these
    /// codes.
    fn answer(&self, question: &[&str], pieces: &[PathBuf], input: &str, fine: &[i32]) -> Result<Vec<u8>, String> {
        let mut command = Command::new("git");
        for setting in ["core.fsmonitor=false", "core.hooksPath=/dev/null", "log.showSignature=false"] {
            command.args(["-c", setting]);
        }
        // Whatever repository the caller is in, this one is meant; and nothing is written to it.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"GIT_") && !INHERITED.iter().any(|it| name == OsStr::new(it)) {
                command.env_remove(name);
            }
        }
        if self.kind == Kind::Bare {
            // A working tree that the configuration names need not be there any more, and is not asked about.
            command.arg("--git-dir").arg(self.path).arg("--work-tree").arg(self.path);
        } else {
            // One that is damaged is none to git, which would answer for the repository that this one lies in.
            let real = fs::canonicalize(self.path).map_err(|error| error.to_string())?;
            let above = real.parent().unwrap_or(&real).as_os_str();
            if above.as_encoded_bytes().contains(&b':') {
                return Err("git cannot be kept to a directory below one with a `:` in its name".to_owned());
            }
            command.env("GIT_CEILING_DIRECTORIES", above).arg("-C").arg(self.path);
        }
        command.args(question);
        if !pieces.is_empty() {
            // Not for `check-ignore`, which takes no kind of pattern and refuses to be told so.
            command.env("GIT_LITERAL_PATHSPECS", "1").arg("--").args(pieces);
        }
        command.env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let unrun = |error: io::Error| format!("`git` cannot be run: {error}");
        let mut git = command.spawn().map_err(unrun)?;
        let mut to = git.stdin.take();
        let said = thread::scope(|scope| {
            // That it reads no further shows in how it ends.
            scope.spawn(move || to.as_mut().map(|to| to.write_all(input.as_bytes())));
            git.wait_with_output().map_err(unrun)
        })?;
        if !said.status.code().is_some_and(|code| fine.contains(&code)) {
            let why = String::from_utf8_lossy(&said.stderr);
            return Err(why.lines().next().unwrap_or("git fails").to_owned());
        }
        Ok(said.stdout)
    }
}

/// Whether `status` tells of files that are not tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Untracked {
    Shown,
    Left,
}

/// What is told of a repository, one sentence for each sort of work.
#[derive(Default)]
struct Notes {
    what: Vec<String>,
}

impl Notes {
    /// So many of one sort, with the first of them by name; or that it cannot be judged.
    fn add(&mut self, found: Told, one: &str, several: &str) {
        let what = match found {
            Ok(lines) if lines.is_empty() => return,
            Ok(lines) => {
                let more = if lines.len() > TOLD { ", …" } else { "" };
                let told: Vec<&str> = lines.iter().take(TOLD).map(|line| line.trim()).collect();
                format!("{}: {}{more}", counted(lines.len(), one, several), told.join(", "))
            }
            Err(why) => format!("it cannot be judged: {why}"),
        };
        if self.what.last() != Some(&what) {
            self.what.push(what);
        }
    }

    fn not_committed(&mut self, found: Told) {
        self.add(found, "file is not committed", "files are not committed");
    }

    fn hidden(&mut self, found: Told) {
        self.add(found, "file that git is told not to look at", "files that git is told not to look at");
    }
}

/// What git ignores, by whose word.
#[derive(Debug, Default)]
struct ByWhom {
    /// A `.gitignore`, which is the repository's: what builds and tools leave.
    by_all: Vec<String>,
    /// Settings of this user alone: nobody else has ever heard of it.
    by_oneself: Vec<String>,
}

/// Whether a list of what is ignored is the repository's own.
fn is_shared(source: &str) -> bool {
    // One of the user's own may have that name too, and is told by its whole path.
    Path::new(source).is_relative() && Path::new(source).file_name().is_some_and(|name| name == ".gitignore")
}

/// What git ignores in a working tree by the repository's own word: no work of git's, and gone with it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// The working tree.
    pub path: PathBuf,
    /// What, directories as one.
    what: Vec<String>,
}

impl std::fmt::Display for Ignored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told: Vec<&str> = self.what.iter().take(TOLD).map(String::as_str).collect();
        let more = if self.what.len() > TOLD { format!(" and {} more", self.what.len() - TOLD) } else { String::new() };
        write!(f, "{}: {}{more}", self.path.display(), told.join(", "))
    }
}

/// What git ignores in working trees at or below a path. Links are not followed.
pub fn ignored_below(path: &Path) -> Vec<Ignored> {
    let mut found = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(directory) = waiting.pop() {
        if !fs::symlink_metadata(&directory).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        let tree = Repository::at(&directory).filter(|repository| repository.kind != Kind::Bare);
        // One that git cannot judge is told as work.
        let what = tree.and_then(|tree| tree.ignored(&[]).ok()).map(|ignored| ignored.by_all).unwrap_or_default();
        if !what.is_empty() {
            found.push(Ignored { path: directory.clone(), what });
        }
        let below = fs::read_dir(&directory).into_iter().flatten().flatten();
        waiting.extend(below.filter(|entry| entry.file_name() != ".git").map(|entry| entry.path()));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The words of an answer, each of which a zero byte ends.
fn words(said: &[u8]) -> Vec<String> {
    let words = said.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn git(directory: &Path, words: &[&str]) {
        let mut command = Command::new("git");
        command.arg("-C").arg(directory).args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]);
        let said = command.args(words).output().unwrap();
        assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
    }

    /// A repository `work` whose one commit is pushed to `origin`.
    fn pushed(place: &Path) -> PathBuf {
        git(place, &["init", "-q", "--bare", "origin"]);
        git(place, &["clone", "-q", "origin", "work"]);
        let work = place.join("work");
        fs::write(work.join("file"), "1").unwrap();
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", "first"]);
        git(&work, &["push", "-q", "origin", "HEAD"]);
        work
    }

    #[test]
    fn work_that_is_nowhere_else_is_found_and_pushed_work_is_not() {
        let place = tempfile::tempdir().unwrap();
        let work = pushed(place.path());
        let said = || work_below(&work).into_iter().flat_map(|work| work.what).collect::<Vec<_>>();
        assert_eq!(said(), Vec::<String>::new());
        fs::write(work.join("new"), "").unwrap();
        assert_eq!(said(), ["1 file is not committed: ?? new"]);
        git(&work, &["stash", "-q", "-u"]);
        assert_eq!(said().len(), 1, "{:?}", said());
        assert!(said()[0].starts_with("1 stash: "), "{:?}", said());
        git(&work, &["stash", "drop", "-q"]);
        git(&work, &["commit", "-q", "--allow-empty", "-m", "second"]);
        assert!(said()[0].starts_with("1 commit is not pushed: ") && said()[0].ends_with(" second"), "{:?}", said());
    }

    #[test]
    fn a_repository_is_found_however_deep_and_whatever_it_is() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        let work = pushed(&deep);
        git(&work, &["worktree", "add", "-q", "../tree"]);
        fs::write(deep.join("tree/file"), "2").unwrap();
        let found = work_below(place.path());
        // Nothing in a bare repository that is nobody's clone is anywhere else.
        let paths: Vec<_> = found.iter().map(|work| work.path.strip_prefix(&deep).unwrap().to_owned()).collect();
        assert_eq!(paths, [PathBuf::from("origin"), PathBuf::from("tree")], "{found:#?}");
    }

    #[test]
    fn branches_count_behind_a_head_without_a_commit() {
        let place = tempfile::tempdir().unwrap();
        git(place.path(), &["init", "-q", "--bare", "-b", "other", "empty"]);
        git(place.path(), &["init", "-q", "--bare", "-b", "other", "bare"]);
        git(place.path(), &["init", "-q", "-b", "main", "work"]);
        let work = place.path().join("work");
        git(&work, &["commit", "-q", "--allow-empty", "-m", "first"]);
        git(&work, &["push", "-q", "../bare", "main"]);
        git(&work, &["checkout", "-q", "--orphan", "unborn"]);
        let found = work_below(place.path());
        let names: Vec<_> = found.iter().map(|work| work.path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["bare", "work"], "{found:#?}");
        assert!(found.iter().all(|work| work.what[0].starts_with("1 commit is not pushed: ")), "{found:#?}");
    }

    #[test]
    fn commits_and_stashes_of_a_submodule_count_even_when_it_is_not_checked_out() {
        let place = tempfile::tempdir().unwrap();
        pushed(place.path());
        let home = place.path().join("home");
        fs::create_dir(&home).unwrap();
        let work = pushed(&home);
        let url = place.path().join("origin");
        git(&work, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url.to_str().unwrap(), "part"]);
        git(&work, &["commit", "-q", "-m", "with a part"]);
        git(&work, &["push", "-q", "origin", "HEAD"]);
        assert_eq!(work_below(&work), []);
        let part = work.join("part");
        fs::write(part.join("file"), "2").unwrap();
        git(&part, &["stash", "-q"]);
        git(&part, &["checkout", "-q", "-b", "aside"]);
        git(&part, &["commit", "-q", "--allow-empty", "-m", "second"]);
        git(&part, &["checkout", "-q", "main"]);
        let told = || {
            let found = work_below(&work);
            let of_part = found.iter().find(|work| work.path.ends_with(".git/modules/part")).unwrap();
            assert!(of_part.what[0].starts_with("1 stash: "), "{found:#?}");
            assert!(of_part.what[1].ends_with(" second"), "{found:#?}");
        };
        told();
        fs::remove_dir_all(&part).unwrap();
        told();
        // The part alone: whether its history outlives it is not for us to say.
        git(&work, &["checkout", "-q", "part"]);
        git(&work, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "update"]);
        assert_eq!(work_below(&part)[0].what.len(), 2);
    }

    #[test]
    fn of_a_linked_working_tree_only_a_head_on_no_branch_is_lost() {
        let place = tempfile::tempdir().unwrap();
        let work = pushed(place.path());
        git(&work, &["worktree", "add", "-q", "../tree"]);
        let tree = place.path().join("tree");
        git(&tree, &["commit", "-q", "--allow-empty", "-m", "second"]);
        assert_eq!(work_below(&tree), []);
        git(&tree, &["checkout", "-q", "--detach"]);
        git(&tree, &["commit", "-q", "--allow-empty", "-m", "third"]);
        let found = work_below(&tree);
        assert!(found[0].what[0].starts_with("1 commit is not pushed: ") && found[0].what[0].ends_with(" third"), "{found:?}");
    }

    #[test]
    fn work_that_git_is_told_not_to_look_at_counts() {
        let place = tempfile::tempdir().unwrap();
        let work = pushed(place.path());
        let said = || work_below(&work).into_iter().flat_map(|work| work.what).collect::<Vec<_>>();
        for mark in ["skip-worktree", "assume-unchanged"] {
            git(&work, &["update-index", &format!("--{mark}"), "file"]);
            assert_eq!(said(), Vec::<String>::new(), "{mark}: it is as it was committed");
            let committed = fs::read(work.join("file")).unwrap();
            fs::write(work.join("file"), "hours of it").unwrap();
            assert_eq!(said(), ["1 file that git is told not to look at: file"], "{mark}");
            fs::write(work.join("file"), committed).unwrap();
            git(&work, &["update-index", &format!("--no-{mark}"), "file"]);
        }
        // Whatever its name is.
        let odd = OsStr::from_bytes(b"a \"\\\n\xff");
        fs::write(work.join(odd), "").unwrap();
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", "odd"]);
        git(&work, &["push", "-q"]);
        let listed = Command::new("git").arg("-C").arg(&work).args(["update-index", "--skip-worktree"]).arg(odd).status();
        assert!(listed.unwrap().success() && said().is_empty());
        fs::write(work.join(odd), "hours of it").unwrap();
        assert!(said()[0].starts_with("1 file that git is told not to look at: a \"\\"), "{:?}", said());
        fs::write(work.join(odd), "").unwrap();
        fs::create_dir_all(work.join(".git/info")).unwrap();
        fs::write(work.join(".git/info/exclude"), "notes*\n").unwrap();
        assert_eq!(said(), Vec::<String>::new());
        fs::write(work.join("notes.md"), "hours of it").unwrap();
        assert_eq!(said(), ["1 file that git is told not to look at: notes.md"]);
        fs::remove_file(work.join("notes.md")).unwrap();
        git(&work, &["commit", "-q", "--allow-empty", "-m", "aside"]);
        git(&work, &["update-ref", "refs/kept/aside", "HEAD"]);
        git(&work, &["reset", "-q", "--hard", "HEAD~1"]);
        assert!(said()[0].starts_with("1 commit is not pushed: ") && said()[0].ends_with(" aside"), "{:?}", said());
    }

    #[test]
    fn what_only_this_user_ignores_is_work_and_what_everybody_ignores_is_listed() {
        let place = tempfile::tempdir().unwrap();
        let work = pushed(place.path());
        let said = || work_below(&work).into_iter().flat_map(|work| work.what).collect::<Vec<_>>();
        let listed = || ignored_below(&work).into_iter().map(|ignored| ignored.to_string()).collect::<Vec<_>>();
        for directory in ["sub/build", "both"] {
            fs::create_dir_all(work.join(directory)).unwrap();
        }
        fs::write(work.join(".gitignore"), "build/\n*.o\n").unwrap();
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", "ignore"]);
        git(&work, &["push", "-q", "origin", "HEAD"]);
        for file in ["sub/build/a", "sub/build/b", "one.o"] {
            fs::write(work.join(file), "").unwrap();
        }
        assert_eq!((said(), listed()), (Vec::new(), vec![format!("{}: one.o, sub/build/", work.display())]));
        // As a file of the user's own, of a name that says nothing.
        let own = place.path().join(".gitignore");
        fs::write(&own, "*.notes\n").unwrap();
        git(&work, &["config", "core.excludesFile", own.to_str().unwrap()]);
        for file in ["my.notes", "both/x.notes", "both/y.o"] {
            fs::write(work.join(file), "hours of it").unwrap();
        }
        assert_eq!(said(), ["2 files that git is told not to look at: both/x.notes, my.notes"]);
        assert_eq!(listed(), [format!("{}: both/y.o, one.o, sub/build/", work.display())]);
    }

    #[test]
    fn what_git_refuses_to_judge_counts_as_work() {
        let place = tempfile::tempdir().unwrap();
        // Git climbs out of a repository that is none to it, and the outer one may have nothing to tell of it.
        git(place.path(), &["init", "-q"]);
        fs::write(place.path().join(".gitignore"), "*\n").unwrap();
        for damage in ["the directory is empty", "HEAD is empty"] {
            let clone = place.path().join(damage);
            fs::create_dir_all(&clone).unwrap();
            if damage == "HEAD is empty" {
                git(&clone, &["init", "-q"]);
                fs::write(clone.join(".git/HEAD"), "").unwrap();
            } else {
                fs::create_dir(clone.join(".git")).unwrap();
            }
            fs::write(clone.join("thesis"), "years of it").unwrap();
            let found = work_below(&clone);
            assert!(found[0].what[0].starts_with("it cannot be judged: "), "{damage}: {found:?}");
            let around = work_around([&clone.join("thesis")], Piece::Found, None);
            assert!(around[0].what[0].starts_with("it cannot be judged: "), "{damage}: {around:?}");
        }
        assert_eq!(work_below(&place.path().join("none")), []);
    }

    #[test]
    fn a_piece_of_a_working_tree_is_judged_by_the_tree_that_it_lies_in() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let work = pushed(&root);
        let at = |name: &str| work.join(name);
        fs::create_dir_all(at("src/deep")).unwrap();
        fs::write(at("src/deep/code"), "1").unwrap();
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", "second"]);
        let said = |path: &str, piece: Piece, stack: Option<&Path>| {
            let found = work_around([&at(path)], piece, stack);
            assert!(found.iter().all(|found| found.path.starts_with(&work)), "{found:?}");
            found.into_iter().flat_map(|work| work.what).collect::<Vec<_>>()
        };
        let (own, nothing) = (Some(work.as_path()), Vec::<String>::new());
        let found = |path: &str| said(path, Piece::Found, None);
        // What is committed stays in the history, pushed or not.
        assert_eq!([found("file"), found("src"), found(".git")], [nothing.clone(), nothing.clone(), nothing.clone()]);
        assert!(work_below(&at(".git"))[0].what[0].starts_with("1 commit is not pushed: "), "it goes with the history alone");
        assert!(found(".git/objects")[0].starts_with("1 commit is not pushed: "), "or with a piece of it");
        for (path, stack) in [("src", None), ("src/deep", None), ("src/deep/code", own), ("src", own)] {
            fs::write(at("src/deep/code"), "hours of it").unwrap();
            assert_eq!(said(path, Piece::Found, stack), ["1 file is not committed: M src/deep/code"], "{path}");
            assert_eq!(said(path, Piece::Made, stack), ["1 file is not committed: M src/deep/code"], "{path}");
            fs::remove_file(at("src/deep/code")).unwrap();
            assert_eq!(said(path, Piece::Found, stack), nothing, "{path}: what is not there is not lost with it");
            git(&work, &["checkout", "-q", "src"]);
        }
        fs::write(at("src/new"), "hours of it").unwrap();
        assert_eq!(found("src"), ["1 file is not committed: ?? src/new"]);
        assert_eq!(said("src", Piece::Found, own), nothing, "what is not tracked in the stack's own tree is data");
        assert_eq!(said("src", Piece::Made, None), nothing);
        fs::write(at(".git/info/exclude"), "src/new\n").unwrap();
        assert_eq!(found("src"), ["1 file that git is told not to look at: src/new"]);
        let sources = |piece: Piece, stack: Option<&Path>| sources_around([&at("src")], piece, stack);
        assert_eq!(sources(Piece::Found, None), BTreeSet::from([at("src")]));
        assert_eq!(sources(Piece::Found, own), BTreeSet::from([at("src/deep/code")]));
        assert_eq!(sources(Piece::Made, None), BTreeSet::from([at("src/deep/code")]));
        assert_eq!(sources_around([&root.join("elsewhere")], Piece::Found, None), BTreeSet::new());
    }
}
