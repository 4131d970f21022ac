//! What would be lost with a repository of git: work that is nowhere else.
//!
//! Git itself is asked; its hooks and monitors, which a repository may bring along, are not run. What cannot be judged counts as
//! work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Lines of one sort that are told; more are counted.
const TOLD: usize = 5;

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
        let mut what = Vec::new();
        let mut note = |found: Result<Vec<String>, String>, say: &dyn Fn(usize) -> String| match found {
            Ok(lines) if lines.is_empty() => {}
            Ok(lines) => {
                let more = if lines.len() > TOLD { ", …" } else { "" };
                let told: Vec<&str> = lines.iter().take(TOLD).map(|line| line.trim()).collect();
                what.push(format!("{}: {}{more}", say(lines.len()), told.join(", ")));
            }
            Err(why) => what.push(format!("it cannot be judged: {why}")),
        };
        if self.kind != Kind::Bare {
            let changed = self.ask(&["status", "--porcelain", "--untracked-files=all"]);
            note(changed, &|count| counted(count, "file is not committed", "files are not committed"));
        }
        let lost = self.lost(root).unwrap_or_else(|why| {
            note(Err(why), &|_| String::new());
            Lost::Nothing
        });
        if lost == Lost::All {
            let stashed = self.ask(&["stash", "list", "--format=%gs"]);
            note(stashed, &|count| counted(count, "stash", "stashes"));
        }
        note(self.unpushed(lost), &|count| counted(count, "commit is not pushed", "commits are not pushed"));
        what.dedup();
        what
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
    fn unpushed(&self, lost: Lost) -> Result<Vec<String>, String> {
        // `HEAD` names a branch without a commit in a new repository, and where another branch was pushed into it.
        let head = self.ask(&["rev-parse", "--verify", "--quiet", "HEAD"]).is_ok().then_some("HEAD");
        let (of, but): (&[&str], &[&str]) = match lost {
            Lost::All => (&["--branches", "--tags"], &["--remotes"]),
            Lost::Head if head.is_some() => (&[], &["--branches", "--tags", "--remotes"]),
            Lost::Head | Lost::Nothing => return Ok(Vec::new()),
        };
        let words = ["log", "--format=%h %s"].iter().chain(of).chain(&head).chain(&["--not"]).chain(but).chain(&["--"]);
        self.ask(&words.copied().collect::<Vec<_>>())
    }

    /// The lines of an answer.
    fn ask(&self, question: &[&str]) -> Result<Vec<String>, String> {
        let mut command = Command::new("git");
        command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
        if self.kind == Kind::Bare {
            // A working tree that the configuration names need not be there any more, and is not asked about.
            command.arg("--git-dir").arg(self.path).arg("--work-tree").arg(self.path);
        } else {
            command.arg("-C").arg(self.path);
        }
        command.args(question);
        // Whatever repository the caller is in, this one is meant; and nothing is written to it.
        for name in ["GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"] {
            command.env_remove(name);
        }
        command.env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C").stdin(Stdio::null());
        let said = command.output().map_err(|error| format!("`git` cannot be run: {error}"))?;
        if !said.status.success() {
            let why = String::from_utf8_lossy(&said.stderr);
            return Err(why.lines().next().unwrap_or("git fails").to_owned());
        }
        Ok(String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect())
    }
}

fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
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
    fn what_git_refuses_to_judge_counts_as_work() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join(".git")).unwrap();
        let found = work_below(place.path());
        assert!(found[0].what[0].starts_with("it cannot be judged: "), "{found:?}");
        assert_eq!(work_below(&place.path().join("none")), []);
    }
}
