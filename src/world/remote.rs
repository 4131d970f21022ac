//! Where stack files that lie elsewhere are kept on this host: `$XDG_CACHE_HOME/baistack`, by the digest of an application or the commit
//! of a repository, so that what is there need not be fetched again. Repositories are fetched by the host's own `git`, with its
//! credentials; it never asks anybody.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use indexmap::IndexMap;

use super::docker::{Part, PartKind};
use crate::load::remote::InRepository;
use crate::load::stack_file_names;

/// What an application's stack files are kept as, one behind the other.
const STACK_FILE: &str = "compose.yaml";

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

    /// Whether an application is kept.
    pub fn has_application(&self, digest: &str) -> bool {
        self.application(digest).is_file()
    }

    /// The stack file of an application that is kept.
    pub fn application(&self, digest: &str) -> PathBuf {
        let name = digest.rsplit(':').next().unwrap_or(digest);
        self.root.join("oci").join(name).join(STACK_FILE)
    }

    /// Keeps an application. Answers with its stack file.
    pub fn keep(&self, digest: &str, parts: &[Part]) -> Result<PathBuf, String> {
        let file = self.application(digest);
        self.make(file.parent().unwrap_or(&self.root), |place| {
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
    pub fn checkout(&self, place: &InRepository, environment: &IndexMap<String, String>) -> Result<PathBuf, String> {
        let git = Git { environment };
        let wanted = place.reference.as_deref().unwrap_or("HEAD");
        if wanted.starts_with('-') || place.url.starts_with('-') {
            return Err(format!("`{wanted}` is no reference"));
        }
        let commit = if is_commit(wanted) { wanted.to_owned() } else { git.commit_of(&place.url, wanted)? };
        let tree = self.root.join("git").join(&commit);
        if !tree.is_dir() {
            self.make(&tree, |made| git.fetch(made, &place.url, &commit))?;
        }
        found_in(&tree, place.path.as_deref())
    }

    /// Makes a directory as a whole: who reads it meanwhile sees none, and of two that make it one is content with the other's.
    fn make(&self, place: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        let parent = place.parent().unwrap_or(&self.root);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|error| format!("make `{}`: {error}", parent.display()))?;
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let new = parent.join(format!(".{name}.{}.new", std::process::id()));
        // Left by an earlier process of the same number, if at all.
        let _ = fs::remove_dir_all(&new);
        DirBuilder::new().mode(0o700).create(&new).map_err(failed)?;
        let made = fill(&new).and_then(|()| fs::rename(&new, place));
        if made.is_err() {
            let _ = fs::remove_dir_all(&new);
        }
        match made {
            Err(_) if place.is_dir() => Ok(()),
            made => made.map_err(failed),
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

struct Git<'a> {
    environment: &'a IndexMap<String, String>,
}

impl Git<'_> {
    /// The commit that a branch or a tag of a repository elsewhere is at.
    fn commit_of(&self, url: &str, wanted: &str) -> Result<String, String> {
        let listed = self.run(None, &["ls-remote", "--", url, wanted])?;
        // It lists all names that end so.
        let commit = |name: &str| {
            let mut lines = listed.lines().filter_map(|line| line.split_once('\t'));
            lines.find(|(_, known)| *known == name).map(|(commit, _)| commit.to_owned()).filter(|commit| is_commit(commit))
        };
        let names = [wanted.to_owned(), format!("refs/{wanted}"), format!("refs/tags/{wanted}"), format!("refs/heads/{wanted}")];
        names.iter().find_map(|name| commit(name)).ok_or_else(|| format!("the repository has no `{wanted}`"))
    }

    fn fetch(&self, place: &Path, url: &str, commit: &str) -> io::Result<()> {
        let in_place = |words: &[&str]| self.run(Some(place), words).map_err(io::Error::other);
        in_place(&["init", "--quiet"])?;
        in_place(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", url, commit])?;
        in_place(&["checkout", "--quiet", "--detach", "FETCH_HEAD"]).map(drop)
    }

    fn run(&self, place: Option<&Path>, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("git");
        command.args(words).env_clear().envs(self.environment).stdin(Stdio::null());
        // A hook of git that calls us speaks of its own repository.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
            command.env_remove(name);
        }
        let is_set = |name: &str| self.environment.get(name).is_some_and(|value| !value.is_empty());
        if !is_set("GIT_TERMINAL_PROMPT") {
            command.env("GIT_TERMINAL_PROMPT", "0");
        }
        if !is_set("GIT_SSH") && !is_set("GIT_SSH_COMMAND") {
            command.env("GIT_SSH_COMMAND", "ssh -o ControlMaster=no -o BatchMode=yes");
        }
        if let Some(place) = place {
            command.current_dir(place);
        }
        let output = command.output().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "there is no `git` on this host, which fetches it".to_owned(),
            _ => format!("run `git`: {error}"),
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Err(format!("`git {}` failed: {}", words.first().unwrap_or(&""), said.join("; ")))
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
        assert!(!cache.has_application("sha256:00"));
        let file = cache.keep("sha256:00", &parts).unwrap();
        assert!(cache.has_application("sha256:00"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "services: {}\n\n---\nname: x");
        assert_eq!(fs::read_to_string(file.with_file_name("a.env")).unwrap(), "A=1\n");
        // Whoever comes second is content.
        assert_eq!(cache.keep("sha256:00", &parts).unwrap(), file);
        assert_eq!(fs::read_dir(cache.root.join("oci")).unwrap().count(), 1);
    }

    #[test]
    fn a_repository_is_fetched_once_for_each_commit() {
        let (place, cache) = cache();
        let home = place.path().display().to_string();
        let environment: IndexMap<String, String> =
            std::env::vars().filter(|(name, _)| name == "PATH").chain([("HOME".to_owned(), home)]).collect();
        let git = Git { environment: &environment };
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
            let told = at(reference, path).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        // What is kept needs no repository.
        let commit = file.ancestors().nth(2).unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        fs::remove_dir_all(&work).unwrap();
        assert_eq!(at(Some(&commit), Some("sub")).unwrap(), file);
        assert!(at(Some("main"), None).unwrap_err().contains("`git ls-remote` failed"));
    }
}
