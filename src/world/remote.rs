//! Where stack files that lie elsewhere are kept on this host: `$XDG_CACHE_HOME/baistack`, by the digest of an application or the commit
//! of a repository, so that what is there need not be fetched again. Repositories are fetched by the host's own `git`, with its
//! credentials; it never asks anybody.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

use super::docker::{Part, PartKind};
use super::native::exec::run_plain;
use super::{disk, values};
use crate::base::duration;
use crate::load::remote::{InRepository, Remote, shown, without_who};
use crate::load::stack_file_names;
use crate::plan::action::FaultKind;
use crate::plan::hash;

/// So long a repository may take to say what it has.
const ASKED: Duration = Duration::from_secs(60);

/// So long a repository may take to be fetched: one commit, though of any size.
const FETCHED: Duration = Duration::from_secs(15 * 60);

/// As much of what git writes is read: it is asked for one name, and says why it fails in a few lines.
const READ_BYTES: usize = 1 << 20;

/// What an application's stack files are kept as, one behind the other.
const STACK_FILE: &str = "compose.yaml";

/// What is written last into what is kept: without it, that was not fetched whole.
const WHOLE: &str = ".whole";

/// So many seconds after what was begun or put aside goes.
const LEFT_BEHIND_SECS: i64 = 24 * 60 * 60;

/// Why something elsewhere was not fetched, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfetched {
    /// Who has it does not answer now.
    Away(String),
    /// It is not to be had.
    Refused(String),
}

impl From<String> for Unfetched {
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
}

/// Where fetched stack files are kept.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// That of a caller.
    pub fn of(environment: &IndexMap<String, String>) -> Result<Self, String> {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let own = set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| Some(set("HOME")?.join(".cache")));
        let own = own.ok_or("neither `XDG_CACHE_HOME` nor `HOME` says where to keep it")?;
        Ok(Self { root: own.join("baistack") })
    }

    /// Whether an application is kept, and whole.
    pub fn has_application(&self, digest: &str) -> bool {
        let file = self.application(digest);
        file.is_file() && file.with_file_name(WHOLE).is_file()
    }

    /// The stack file of the edition that something was when it was last asked for, if that is kept: nobody is asked.
    pub fn recorded(&self, remote: &Remote) -> Option<PathBuf> {
        let edition = fs::read_to_string(self.record_of(remote)).ok()?;
        match remote {
            Remote::Application(_) => self.has_application(&edition).then(|| self.application(&edition)),
            Remote::Repository(place) => {
                let tree = self.tree(&edition);
                found_in(&tree, place.path.as_deref()).ok().filter(|_| is_whole_tree(&tree))
            }
        }
    }

    /// Notes the digest or the commit that something is now.
    pub fn record(&self, remote: &Remote, edition: &str) {
        let path = self.record_of(remote);
        let made = path.parent().map(|parent| DirBuilder::new().recursive(true).mode(0o700).create(parent));
        if let Some(Ok(())) = made {
            // Without it, it is asked for once more.
            let _ = disk::replace(&path, edition.as_bytes(), 0o600);
        }
    }

    fn record_of(&self, remote: &Remote) -> PathBuf {
        let name = match remote {
            Remote::Application(reference) => format!("oci {reference}"),
            // Directories of one repository are of one commit, whoever asks.
            Remote::Repository(InRepository { url, reference, .. }) => {
                format!("git {} {}", shown(url), reference.as_deref().unwrap_or("HEAD"))
            }
        };
        self.root.join("editions").join(hash::digest(name.as_bytes()))
    }

    /// The stack file of an application that is kept.
    pub fn application(&self, digest: &str) -> PathBuf {
        let name = digest.rsplit(':').next().unwrap_or(digest);
        self.root.join("oci").join(name).join(STACK_FILE)
    }

    /// Keeps an application. Answers with its stack file.
    pub fn keep(&self, digest: &str, parts: &[Part]) -> Result<PathBuf, String> {
        let file = self.application(digest);
        if !file.is_file() {
            // What is whole has one.
            let _ = fs::remove_file(file.with_file_name(WHOLE));
        }
        self.make(file.parent().unwrap_or(&self.root), WHOLE, |place| {
            let mut files: IndexMap<&str, Vec<u8>> = IndexMap::new();
            for part in parts {
                let name = if part.kind == PartKind::StackFile { STACK_FILE } else { part.name.as_str() };
                let content = files.entry(name).or_default();
                if !content.is_empty() {
                    content.extend_from_slice(b"\n---\n");
                }
                content.extend_from_slice(&part.content);
            }
            for (name, content) in files {
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place.join(name))?;
                file.write_all(&content)?;
            }
            Ok(())
        })?;
        Ok(file)
    }

    /// The stack file of a place in a repository, which is fetched unless this commit of it is kept.
    pub fn checkout(&self, place: &InRepository, environment: &IndexMap<String, String>) -> Result<PathBuf, Unfetched> {
        let git = Git { environment, asked: ASKED, fetched: FETCHED };
        let wanted = place.reference.as_deref().unwrap_or("HEAD");
        if wanted.starts_with('-') || place.url.starts_with('-') {
            return Err(Unfetched::Refused(format!("`{wanted}` is no reference")));
        }
        let of_git = |why: String| without_who(&why, &place.url);
        let away = |why: String| Unfetched::Away(of_git(why));
        let commit = if is_commit(wanted) {
            wanted.to_owned()
        } else {
            let listed = git.listed(&place.url, wanted).map_err(away)?;
            commit_in(&listed, wanted).ok_or_else(|| format!("the repository has no `{wanted}`"))?
        };
        let tree = self.tree(&commit);
        let path = place.path.as_deref();
        if is_whole_tree(&tree) {
            // Files that somebody has removed are still in the repository beside them.
            let mended = || git.run(Some(&tree), &["checkout", "--quiet", "--force", "--detach", &commit]).ok();
            let found = found_in(&tree, path).or_else(|why| mended().map_or(Err(why), |_| found_in(&tree, path)))?;
            self.record(&Remote::Repository(place.clone()), &commit);
            return Ok(found);
        }
        self.make(&tree, WHOLE_TREE, |made| git.fetch(made, &place.url, &commit)).map_err(away)?;
        self.record(&Remote::Repository(place.clone()), &commit);
        Ok(found_in(&tree, path)?)
    }

    fn tree(&self, commit: &str) -> PathBuf {
        self.root.join("git").join(commit)
    }

    /// Makes a directory as a whole: who reads it meanwhile sees none, and of two that make it one is content with the other's. One that
    /// is not whole is put aside.
    fn make(&self, place: &Path, whole: &str, fill: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        let parent = place.parent().unwrap_or(&self.root);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|error| format!("make `{}`: {error}", parent.display()))?;
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let beside = |what: &str| {
            let own = values::env_name().map_err(failed)?;
            Ok::<PathBuf, String>(parent.join(format!(".{name}.{own}.{what}")))
        };
        let new = beside("new")?;
        DirBuilder::new().mode(0o700).create(&new).map_err(failed)?;
        sweep(parent, &new);
        let made = fill(&new).and_then(|()| fs::write(new.join(whole), b"")).map_err(failed).and_then(|()| {
            match fs::rename(&new, place) {
                Err(_) if place.join(whole).is_file() => Ok(()),
                Err(_) if place.exists() => {
                    fs::rename(place, beside("aside")?).and_then(|()| fs::rename(&new, place)).map_err(failed)
                }
                renamed => renamed.map_err(failed),
            }
        });
        // Where it has another name by now, there is nothing to be removed.
        let _ = fs::remove_dir_all(&new);
        made
    }
}

/// [`WHOLE`] of a repository, where no file of its own can be.
const WHOLE_TREE: &str = ".git/baistack-whole";

fn is_whole_tree(tree: &Path) -> bool {
    tree.join(WHOLE_TREE).is_file()
}

/// Takes away what was begun long ago and never ended, and what was put aside: by the clock of those who wrote `new`.
fn sweep(parent: &Path, new: &Path) {
    let Ok(now) = fs::metadata(new).map(|it| it.ctime()) else { return };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with('.') && (name.ends_with(".new") || name.ends_with(".aside"));
        if is_ours && entry.metadata().is_ok_and(|it| it.ctime() + LEFT_BEHIND_SECS < now) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The stack file at a path of a tree: that file, or the one in that directory.
fn found_in(tree: &Path, path: Option<&str>) -> Result<PathBuf, String> {
    let shown = path.unwrap_or(".");
    let tree = tree.canonicalize().map_err(|error| error.to_string())?;
    // Also where links lead.
    let found = tree.join(shown.trim_start_matches('/')).canonicalize().ok().filter(|found| found.starts_with(&tree));
    let Some(found) = found else { return Err(format!("the repository has no `{shown}`")) };
    if found.is_file() {
        return Ok(found);
    }
    let names = stack_file_names().iter().map(|name| found.join(name));
    names.into_iter().find(|file| file.is_file()).ok_or_else(|| format!("there is no stack file in `{shown}` of the repository"))
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

/// The commit that a branch or a tag is at, by what git has listed.
fn commit_in(listed: &str, wanted: &str) -> Option<String> {
    let commit = |name: &str| {
        let mut lines = listed.lines().filter_map(|line| line.split_once('\t'));
        lines.find(|(_, known)| *known == name).map(|(commit, _)| commit.to_owned()).filter(|commit| is_commit(commit))
    };
    let names = [wanted.to_owned(), format!("refs/{wanted}"), format!("refs/tags/{wanted}"), format!("refs/heads/{wanted}")];
    names.iter().find_map(|name| commit(name))
}

struct Git<'a> {
    environment: &'a IndexMap<String, String>,
    /// So long it may ask somebody.
    asked: Duration,
    /// So long anything else may take.
    fetched: Duration,
}

impl Git<'_> {
    /// The names of a repository elsewhere that end so, with their commits.
    fn listed(&self, url: &str, wanted: &str) -> Result<String, String> {
        self.run(None, &["ls-remote", "--", url, wanted])
    }

    fn fetch(&self, place: &Path, url: &str, commit: &str) -> io::Result<()> {
        let in_place = |words: &[&str]| self.run(Some(place), words).map_err(io::Error::other);
        in_place(&["init", "--quiet"])?;
        in_place(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", url, commit])?;
        in_place(&["checkout", "--quiet", "--detach", "FETCH_HEAD"]).map(drop)
    }

    fn run(&self, place: Option<&Path>, words: &[&str]) -> Result<String, String> {
        let mut environment = self.environment.clone();
        // A hook of git that calls us speaks of its own repository.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
            environment.shift_remove(name);
        }
        let is_set = |name: &str| self.environment.get(name).is_some_and(|value| !value.is_empty());
        if !is_set("GIT_TERMINAL_PROMPT") {
            environment.insert("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned());
        }
        if !is_set("GIT_SSH") && !is_set("GIT_SSH_COMMAND") {
            let command = "ssh -o ControlMaster=no -o BatchMode=yes";
            environment.insert("GIT_SSH_COMMAND".to_owned(), command.to_owned());
        }
        let command = words.first().copied().unwrap_or_default();
        let limit = if command == "ls-remote" { self.asked } else { self.fetched };
        let argv: Vec<String> = std::iter::once("git").chain(words.iter().copied()).map(str::to_owned).collect();
        let ran = run_plain(&argv, &environment, place.unwrap_or(Path::new("/")), Some(limit), READ_BYTES);
        let ran = ran.map_err(|fault| match fault.kind {
            FaultKind::NoProgram => "there is no `git` on this host, which fetches it".to_owned(),
            FaultKind::Permanent | FaultKind::Temporary | FaultKind::EngineAway | FaultKind::NotExecutable => {
                format!("run `git`: {fault}")
            }
        })?;
        let said = String::from_utf8_lossy(&ran.output);
        if ran.is_success() {
            return Ok(said.into_owned());
        }
        if ran.timed_out {
            return Err(format!("`git {command}` failed: it has not ended within {}", duration::format(limit)));
        }
        let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Err(format!("`git {command}` failed: {}", said.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let place = tempfile::tempdir().unwrap();
        let environment = IndexMap::from([("XDG_CACHE_HOME".to_owned(), place.path().display().to_string())]);
        let cache = Cache::of(&environment).unwrap();
        (place, cache)
    }

    #[test]
    fn an_application_is_kept_whole_by_its_digest() {
        let (_place, cache) = cache();
        let part = |kind, name: &str, content: &str| Part { kind, name: name.to_owned(), content: content.as_bytes().to_vec() };
        let parts = [
            part(PartKind::StackFile, "compose.yaml", "services: {}\n"),
            part(PartKind::StackFile, "over.yaml", "name: x"),
            part(PartKind::Variables, "a.env", "A=1\n"),
            part(PartKind::Extended, "b.yaml", "services: {b: {image: b}}"),
        ];
        let remote = Remote::Application("r/app:1".to_owned());
        assert!(!cache.has_application("sha256:00"));
        let file = cache.keep("sha256:00", &parts).unwrap();
        assert!(cache.has_application("sha256:00"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "services: {}\n\n---\nname: x");
        assert_eq!(fs::read_to_string(file.with_file_name("a.env")).unwrap(), "A=1\n");
        // Whoever comes second is content.
        assert_eq!(cache.keep("sha256:00", &parts).unwrap(), file);
        assert_eq!(fs::read_dir(cache.root.join("oci")).unwrap().count(), 1);
        assert_eq!(cache.recorded(&remote), None);
        cache.record(&remote, "sha256:00");
        assert_eq!(cache.recorded(&remote), Some(file.clone()));
        // What is not whole any more is none, and is made again.
        for damage in [WHOLE, STACK_FILE] {
            fs::remove_file(file.with_file_name(damage)).unwrap();
            assert!(!cache.has_application("sha256:00") && cache.recorded(&remote).is_none());
            assert_eq!(cache.keep("sha256:00", &parts).unwrap(), file);
            assert!(cache.has_application("sha256:00"), "{damage}");
        }
    }

    #[test]
    fn a_repository_that_does_not_answer_is_not_waited_for_without_an_end() {
        let (place, _cache) = cache();
        // It writes the same words for ever.
        std::os::unix::fs::symlink("/usr/bin/yes", place.path().join("git")).unwrap();
        let environment = IndexMap::from([("PATH".to_owned(), place.path().display().to_string())]);
        let soon = Duration::from_millis(50);
        let git = Git { environment: &environment, asked: soon, fetched: soon };
        let why = git.listed("https://git.invalid/x.git", "HEAD").unwrap_err();
        assert_eq!(why, "`git ls-remote` failed: it has not ended within 50ms");
        let nowhere = IndexMap::from([("PATH".to_owned(), String::new())]);
        let why = Git { environment: &nowhere, ..git }.listed("https://git.invalid/x.git", "HEAD").unwrap_err();
        assert!(why.contains("there is no `git`"), "{why}");
    }

    #[test]
    fn a_repository_is_fetched_once_for_each_commit() {
        let (place, cache) = cache();
        let home = place.path().display().to_string();
        let environment: IndexMap<String, String> =
            std::env::vars().filter(|(name, _)| name == "PATH").chain([("HOME".to_owned(), home)]).collect();
        let git = Git { environment: &environment, asked: ASKED, fetched: FETCHED };
        let work = place.path().join("work");
        fs::create_dir_all(work.join("sub")).unwrap();
        fs::write(work.join("sub/compose.yaml"), "services: {}\n").unwrap();
        std::os::unix::fs::symlink("/etc", work.join("out")).unwrap();
        let who = ["-c", "user.name=me", "-c", "user.email=me@x"];
        let made = git.run(Some(&work), &["init", "--quiet", "-b", "main"]).and_then(|_| {
            git.run(Some(&work), &["add", "."])?;
            git.run(Some(&work), &[&who[..], &["commit", "--quiet", "-m", "first"]].concat())?;
            git.run(Some(&work), &["tag", "v1"])
        });
        if let Err(why) = made {
            assert!(why.contains("there is no `git`"), "{why}");
            eprintln!("skipped: no git");
            return;
        }
        let url = work.display().to_string();
        let at = |reference: Option<&str>, path: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            cache.checkout(&InRepository { url: url.clone(), reference: own(reference), path: own(path) }, &environment)
        };
        let file = at(None, Some("sub")).unwrap();
        assert!(file.ends_with("sub/compose.yaml"), "{}", file.display());
        for reference in ["main", "v1"] {
            assert_eq!(at(Some(reference), Some("sub/compose.yaml")).unwrap(), file);
        }
        for (reference, path, why) in [
            (Some("nope"), None, "no `nope`"),
            (Some("--upload-pack=x"), None, "no reference"),
            (None, None, "no stack file in `.`"),
            (None, Some("../.."), "no `../..`"),
            (None, Some("out"), "no `out`"),
        ] {
            let Unfetched::Refused(told) = at(reference, path).unwrap_err() else { panic!("{why}") };
            assert!(told.contains(why), "{told}");
        }
        // A file that is gone is there again, and a tree of which there is no more than a directory too.
        fs::remove_file(&file).unwrap();
        assert_eq!(at(Some("main"), Some("sub")).unwrap(), file);
        assert!(file.is_file());
        let tree = file.ancestors().nth(2).unwrap();
        fs::remove_dir_all(tree).unwrap();
        fs::create_dir(tree).unwrap();
        fs::write(tree.join("rest"), "").unwrap();
        assert_eq!(at(Some("main"), Some("sub")).unwrap(), file);
        assert!(file.is_file());
        // What is kept needs no repository.
        let commit = file.ancestors().nth(2).unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        fs::remove_dir_all(&work).unwrap();
        assert_eq!(at(Some(&commit), Some("sub")).unwrap(), file);
        let away = at(Some("main"), Some("sub")).unwrap_err();
        assert!(matches!(&away, Unfetched::Away(why) if why.contains("`git ls-remote` failed")), "{away:?}");
        let place = InRepository { url, reference: Some("main".to_owned()), path: Some("sub".to_owned()) };
        assert_eq!(cache.recorded(&Remote::Repository(place)).unwrap(), file);
    }
}
