//! Which files of a watched path count: not what tools leave behind, not what `.gitignore` names, not what the rule leaves out.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::model::pattern::add_of_watch;
use crate::model::watch::{Sources, WatchRule};
use crate::world::docker::DockerIgnore;
use crate::world::ignored;

/// The patterns of one rule, and the `.gitignore` files met on the way.
#[derive(Debug)]
pub(super) struct Filter {
    root: PathBuf,
    defaults: bool,
    ignore: Gitignore,
    include: Option<Gitignore>,
    /// The topmost directory whose `.gitignore` counts.
    top: PathBuf,
    gitignores: HashMap<PathBuf, Gitignore>,
    /// Whether they count.
    git: bool,
    /// A build context, and what does not belong to it.
    context: Option<(PathBuf, DockerIgnore)>,
}

impl Filter {
    /// For a rule; a pattern that cannot be understood is told, and the others count.
    pub(super) fn new(rule: &WatchRule, sources: &Sources) -> (Self, Option<String>) {
        let root = rule.path.clone();
        let mut trouble = None;
        let mut patterns = |list: &[String]| {
            let mut builder = GitignoreBuilder::new(&root);
            for pattern in list {
                if let Err(error) = add_of_watch(&mut builder, pattern) {
                    trouble = Some(format!("pattern `{pattern}` of its watch rule: {error}"));
                }
            }
            builder.build().unwrap_or_else(|error| {
                trouble = Some(format!("patterns of its watch rule: {error}"));
                Gitignore::empty()
            })
        };
        let ignore = patterns(&rule.ignore);
        let include = (!rule.include.is_empty()).then(|| patterns(&rule.include));
        let top = root.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(&root).to_owned();
        let defaults = rule.ignore_defaults.unwrap_or(true);
        let git = *sources == Sources::Git;
        let context = match sources {
            Sources::Context(root) => read_dockerignore(root, &mut trouble).map(|ignore| (root.clone(), ignore)),
            Sources::Git | Sources::All => None,
        };
        (Self { root, defaults, ignore, include, top, git, context, gitignores: HashMap::new() }, trouble)
    }

    /// Whether a path below the watched one is left out; the directories between them are known not to be. Never the watched
    /// path itself.
    pub(super) fn leaves_out(&mut self, path: &Path, is_dir: bool) -> bool {
        if path == self.root {
            return false;
        }
        let by_rule = self.ignore.matched(path, is_dir).is_ignore();
        by_rule || (self.defaults && (path.file_name().is_some_and(ignored::is_ignored) || self.is_no_source(path, is_dir)))
    }

    fn is_no_source(&mut self, path: &Path, is_dir: bool) -> bool {
        if self.git {
            return self.git_ignores(path, is_dir);
        }
        let Some((root, ignore)) = &self.context else { return false };
        let Ok(path) = path.strip_prefix(root) else { return false };
        ignore.excludes(path) && !(is_dir && ignore.may_take_back_below(path))
    }

    /// Whether a file is one of those that alone count.
    pub(super) fn includes(&self, path: &Path) -> bool {
        let Some(include) = &self.include else { return true };
        path == self.root || include.matched_path_or_any_parents(path, false).is_ignore()
    }

    /// A `.gitignore` was written.
    pub(super) fn forget_gitignore(&mut self, dir: &Path) {
        self.gitignores.remove(dir);
    }

    fn git_ignores(&mut self, path: &Path, is_dir: bool) -> bool {
        for dir in path.ancestors().skip(1) {
            let gitignore = self.gitignores.entry(dir.to_owned()).or_insert_with(|| read(dir));
            match gitignore.matched(path, is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
            if dir == self.top {
                return false;
            }
        }
        false
    }
}

/// The rules of a build context; none where there are none.
fn read_dockerignore(root: &Path, trouble: &mut Option<String>) -> Option<DockerIgnore> {
    let file = root.join(".dockerignore");
    match DockerIgnore::parse(&fs::read_to_string(&file).ok()?) {
        Ok(ignore) => Some(ignore),
        Err(error) => {
            *trouble = Some(format!("`{}`, {error}", file.display()));
            None
        }
    }
}

/// The patterns of a directory's `.gitignore`; a line that git would not understand counts for nothing there either.
fn read(dir: &Path) -> Gitignore {
    let Ok(text) = fs::read_to_string(dir.join(".gitignore")) else { return Gitignore::empty() };
    let mut builder = GitignoreBuilder::new(dir);
    for line in text.lines() {
        let _: Result<_, ignore::Error> = builder.add_line(None, line).map(|_| ());
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// Whether git is at work above a path: its index is locked.
pub(super) fn git_is_busy(path: &Path) -> bool {
    path.ancestors().skip(1).any(|dir| {
        let git = dir.join(".git");
        if git.join("index.lock").exists() {
            return true;
        }
        // In a worktree `.git` is a file that names the directory.
        let Ok(text) = fs::read_to_string(&git) else { return false };
        text.strip_prefix("gitdir:").is_some_and(|place| dir.join(place.trim()).join("index.lock").exists())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::watch::WatchAction;

    fn rule(path: &Path, ignore: &[&str], include: &[&str]) -> WatchRule {
        let list = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect();
        WatchRule {
            path: path.to_owned(),
            action: WatchAction::Restart,
            target: None,
            ignore: list(ignore),
            include: list(include),
            initial_sync: false,
            exec: None,
            ignore_defaults: None,
        }
    }

    #[test]
    fn gitignore_counts_at_every_level_and_above_the_watched_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("src");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir_all(dir.path().join(".git")).unwrap();
        fs::write(dir.path().join(".gitignore"), "*.log\nsrc\n").unwrap();
        fs::write(root.join("sub/.gitignore"), "!keep.log\n/made\n").unwrap();
        let (mut filter, trouble) = Filter::new(&rule(&root, &[], &[]), &Sources::Git);
        assert_eq!(trouble, None);
        for (path, left_out) in
            [("a.log", true), ("a.py", false), ("sub/keep.log", false), ("sub/made", true), ("made", false), ("", false)]
        {
            assert_eq!(filter.leaves_out(&root.join(path).components().collect::<PathBuf>(), false), left_out, "{path}");
        }
    }

    #[test]
    fn of_a_container_dockerignore_counts_and_gitignore_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("src");
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join(".gitignore"), "*.py\n").unwrap();
        fs::write(dir.path().join(".dockerignore"), "src/out\n**/*.log\n!src/keep.log\n").unwrap();
        let (mut filter, trouble) = Filter::new(&rule(&root, &[], &[]), &Sources::Context(dir.path().to_owned()));
        assert_eq!(trouble, None);
        for (path, left_out) in [("a.py", false), ("out", true), ("a.log", true), ("keep.log", false), (".a.py.swp", true)] {
            assert_eq!(filter.leaves_out(&root.join(path), false), left_out, "{path}");
        }
    }

    #[test]
    fn a_rule_has_its_own_patterns() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let (mut filter, _) = Filter::new(&rule(root, &["out", "**/*.tmp", "docs/"], &["*.py", "sub"]), &Sources::All);
        for (path, left_out) in [("out", true), ("sub/out", false), ("sub/x.tmp", true), ("docs", true)] {
            assert_eq!(filter.leaves_out(&root.join(path), true), left_out, "{path}");
        }
        for (path, included) in [("a.py", true), ("sub/x.txt", true), ("x.txt", false)] {
            assert_eq!(filter.includes(&root.join(path)), included, "{path}");
        }
    }

    #[test]
    fn git_is_busy_while_an_index_above_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("work/src/a.py");
        assert!(!git_is_busy(&file));
        fs::create_dir_all(dir.path().join("repo/worktrees/w")).unwrap();
        fs::create_dir_all(dir.path().join("work")).unwrap();
        fs::write(dir.path().join("work/.git"), "gitdir: ../repo/worktrees/w\n").unwrap();
        assert!(!git_is_busy(&file));
        fs::write(dir.path().join("repo/worktrees/w/index.lock"), "").unwrap();
        assert!(git_is_busy(&file));
    }
}
