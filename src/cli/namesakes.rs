//! An environment's name that is in use elsewhere on the engine: by containers that were made in another directory, or by an environment
//! whose state lies elsewhere. Told before anything is started; two stacks under one name would stop and replace each other's containers.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::CliError;
use super::context::Context;
use crate::base::name::EnvId;
use crate::model::service::Service;
use crate::plan::desired::Deployment;
use crate::world::docker::Listed;
use crate::world::envdir::{EnvDir, other_user_of};
use crate::world::envid::in_brackets;
use crate::world::removal::quoted;

/// Where containers of the environment's name come from, when they are not its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// Another stack's directory, and whether we made them there or Compose did.
    Directory { path: PathBuf, by_us: bool },
    /// The state of an environment elsewhere.
    State(PathBuf),
}

impl Context {
    /// Who else has the name of a stack's environment, as far as the engine tells: it may not be started under that. `was_known` says that the name has a
    /// state here. What is up here was looked at when it came to be; of an engine on another host, paths mean nothing here.
    pub(super) fn used_elsewhere(&self, deployment: &Deployment, was_known: bool) -> Result<Option<Namesake>, CliError> {
        let dir = self.env_dir(&deployment.env)?;
        let has_containers = deployment.stack.services.values().any(Service::needs_engine);
        if !has_containers || was_known && !dir.units().is_empty() {
            return Ok(None);
        }
        let engine = self.engine()?;
        // That it does not answer is told where something is asked of it.
        let Ok(listed) =
            engine.with(async |docker| if docker.is_local() { docker.list(&deployment.env).await } else { Ok(Vec::new()) })
        else {
            return Ok(None);
        };
        let origin_of = |container: &Listed| origin(container, &deployment.stack.directory, &dir, was_known);
        let Some(origin) = listed.iter().find_map(origin_of) else { return Ok(None) };
        let theirs: Vec<&Listed> = listed.iter().filter(|container| origin_of(container).as_ref() == Some(&origin)).collect();
        let names = theirs.iter().map(|container| container.name.clone()).collect();
        let is_alive = theirs.iter().any(|container| container.is_alive());
        Ok(Some(Namesake { env: deployment.env.clone(), origin, names, is_alive }))
    }
}

/// Who has the name elsewhere.
#[derive(Debug)]
pub(super) struct Namesake {
    env: EnvId,
    origin: Origin,
    /// Its containers.
    names: Vec<String>,
    /// Whether any of them is alive.
    is_alive: bool,
}

impl Namesake {
    /// Why nothing may be started under the name.
    pub(super) fn refusal(&self) -> String {
        let (whose, there) = self.told();
        format!(
            "use the environment `{}`: {whose}; choose another name with `-p NAME`, or take it down there first: `{there}`",
            self.env
        )
    }

    /// What it means for images that are built under the name.
    pub(super) fn of_images(&self) -> String {
        let whose = self.told().0;
        format!(
            "the environment `{}` is another one's: {whose}; images of one name are written over: -p NAME keeps them apart",
            self.env
        )
    }

    /// Who it is, and what takes it down.
    fn told(&self) -> (String, String) {
        let Self { env, origin, names, is_alive } = self;
        let (whose, there) = match origin {
            Origin::Directory { path, by_us } => {
                let path_shown = path.display();
                let whose = match (by_us, is_alive) {
                    (false, true) => format!("Compose runs it in `{path_shown}`"),
                    (false, false) => format!("Compose has containers of it in `{path_shown}`"),
                    (true, true) => format!("it is up in `{path_shown}`"),
                    (true, false) => format!("it has containers in `{path_shown}`"),
                };
                let there = if *by_us {
                    format!("baistack down -p {env}")
                } else {
                    format!("docker compose --project-directory {} -p {env} down", quoted(path))
                };
                (whose, there)
            }
            Origin::State(state) => {
                // `$XDG_STATE_HOME/baistack/ENVID`
                let root = state.ancestors().nth(2).unwrap_or(state);
                let (of, sudo) = match state.ancestors().find_map(other_user_of) {
                    Some(name) => (format!(" of the user `{name}`"), format!("sudo -u '{name}' ")),
                    None => (String::new(), String::new()),
                };
                let is = if *is_alive { "it is up" } else { "it has containers" };
                let whose = format!("{is}, and its state{of} is `{}`", state.display());
                (whose, format!("{sudo}env XDG_STATE_HOME={} baistack down -p {env}", quoted(root)))
            }
        };
        (format!("{whose}{}", in_brackets(names)), there)
    }
}

/// Where a container comes from that is not this environment's; none when it is, or when nobody can tell.
fn origin(container: &Listed, directory: &Path, dir: &EnvDir, was_known: bool) -> Option<Origin> {
    if let Some(state) = container.state_dir() {
        if is_same(state, dir.path()) {
            // The state knows by itself whose directory it is, wherever that has been moved; one that was lost does not.
            if was_known {
                return None;
            }
        } else if stands(state) {
            return Some(Origin::State(state.to_owned()));
        }
    }
    let path = container.directory().filter(|path| stands(path) && !is_same(path, directory))?;
    Some(Origin::Directory { path: path.to_owned(), by_us: container.is_by_us() })
}

/// Whether a directory is there. One that we may not look for is somebody's.
fn stands(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(there) => there.is_dir(),
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// Whether two paths lead to one directory.
fn is_same(one: &Path, other: &Path) -> bool {
    let inode = |there: Metadata| (there.dev(), there.ino());
    one == other || fs::metadata(one).ok().zip(fs::metadata(other).ok()).is_some_and(|(one, other)| inode(one) == inode(other))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::world::envdir::StateDir;

    #[test]
    fn a_container_is_somebody_elses_by_the_directory_and_the_state_that_it_was_made_for() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["one", "two", "own/baistack/demo", "other/baistack/demo"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        std::os::unix::fs::symlink(at("one"), at("link")).unwrap();
        let dir = StateDir::at(at("own/baistack")).env(&"demo".parse().unwrap());
        let of = |directory: &str, state: Option<&str>, was_known| {
            let mut labels =
                BTreeMap::from([("com.docker.compose.project.working_dir".to_owned(), at(directory).display().to_string())]);
            if let Some(state) = state {
                labels.insert("baistack.state".to_owned(), at(state).display().to_string());
                labels.insert("com.docker.compose.version".to_owned(), "0.1.0+baistack".to_owned());
            }
            origin(&Listed { labels, ..Listed::default() }, &at("one"), &dir, was_known)
        };
        let (own, other, lost) = (Some("own/baistack/demo"), Some("other/baistack/demo"), Some("lost/baistack/demo"));
        let in_two = |by_us| Some(Origin::Directory { path: at("two"), by_us });
        for (directory, state, was_known, expected) in [
            ("one", None, false, None),
            ("link", None, false, None),
            ("gone", None, false, None),
            ("two", None, false, in_two(false)),
            ("two", None, true, in_two(false)),
            ("one", own, false, None),
            // The state knows a directory that was moved, in whose place another one is.
            ("two", own, true, None),
            ("two", own, false, in_two(true)),
            ("one", other, false, Some(Origin::State(at("other/baistack/demo")))),
            ("one", lost, false, None),
            ("two", lost, false, in_two(true)),
        ] {
            assert_eq!(of(directory, state, was_known), expected, "{directory} {state:?} {was_known}");
        }
        assert_eq!(of("one", None, true), None);
    }

    #[test]
    fn whoever_has_the_name_is_told_with_what_there_is_and_what_ends_it() {
        let names = ["demo-db-1".to_owned()];
        let of = |origin, is_alive| Namesake { env: "demo".parse().unwrap(), origin, names: names.to_vec(), is_alive };
        let directory = |by_us| Origin::Directory { path: "/a b".into(), by_us };
        let compose = of(directory(false), true).refusal();
        assert!(compose.contains("Compose runs it in `/a b` (demo-db-1); choose another name with `-p NAME`"), "{compose}");
        assert!(compose.ends_with("`docker compose --project-directory '/a b' -p demo down`"), "{compose}");
        for (origin, told) in [
            (directory(false), "Compose has containers of it in `/a b` (demo-db-1)"),
            (directory(true), "it has containers in `/a b` (demo-db-1)"),
            (Origin::State("/s/demo".into()), "it has containers, and its state is `/s/demo` (demo-db-1)"),
        ] {
            let dead = of(origin, false);
            assert!(dead.refusal().contains(told) && dead.of_images().contains(told), "{dead:?}");
            assert!(!dead.of_images().contains("down"), "whoever builds needs nobody to end anything: {dead:?}");
        }
        let ours = of(Origin::State("/none/of/it/baistack/demo".into()), true).refusal();
        assert!(ours.ends_with("`env XDG_STATE_HOME='/none/of/it' baistack down -p demo`"), "{ours}");
    }
}
