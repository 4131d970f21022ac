//! What an environment's state says about engines: on which of them something was made, and which volumes that nobody has named were
//! left there.
//!
//! The supervisor and commands write these records at the same time, so each change is made under a lock of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::envdir::{EnvDir, FileLock, StateError};
use super::removal::quoted;
use crate::plan::action::AnonymousVolume;

/// Which engines hold something, or may.
pub(super) const ENGINES: &str = "engines.json";
/// Which volumes were left.
pub(super) const VOLUMES: &str = "volumes.json";
/// What whoever changes one of them holds meanwhile.
pub(super) const LOCK: &str = "records.lock";

/// Where an engine is, with all that it takes to ask it once more from another environment or under another context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnginePlace {
    /// As `DOCKER_HOST` names it, without TLS.
    Plain(String),
    /// Over TLS.
    Tls {
        /// As `DOCKER_HOST` names it.
        host: String,
        /// The directory of what it is verified with and shown, as `DOCKER_CERT_PATH` names it.
        certificates: PathBuf,
    },
}

impl EnginePlace {
    /// As `DOCKER_HOST` names it.
    pub fn host(&self) -> &str {
        match self {
            EnginePlace::Plain(host) | EnginePlace::Tls { host, .. } => host,
        }
    }

    /// Whether both mean one engine: a socket has as many paths as links lead to it.
    pub fn is_same(&self, other: &Self) -> bool {
        let socket = |place: &Self| place.host().strip_prefix("unix://").and_then(|path| fs::canonicalize(path).ok());
        self.host() == other.host() || socket(self).zip(socket(other)).is_some_and(|(one, other)| one == other)
    }

    /// The environment in which this engine is asked, made of one that may lead to another: what that one is shown is not for this one.
    pub fn environment(&self, caller: &IndexMap<String, String>) -> IndexMap<String, String> {
        const OF_ENGINE: [&str; 5] = ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"];
        let others = caller.iter().filter(|(name, _)| !OF_ENGINE.contains(&name.as_str()));
        let mut environment: IndexMap<String, String> = others.map(|(name, value)| (name.clone(), value.clone())).collect();
        environment.insert("DOCKER_HOST".to_owned(), self.host().to_owned());
        if let EnginePlace::Tls { certificates, .. } = self {
            environment.insert("DOCKER_TLS_VERIFY".to_owned(), "1".to_owned());
            environment.insert("DOCKER_CERT_PATH".to_owned(), certificates.display().to_string());
        }
        environment
    }

    /// The variables that have a command ask it, as they stand before the command in a shell.
    pub fn variables(&self) -> String {
        match self {
            // Whoever has certificates for another engine would show them to this one.
            EnginePlace::Plain(host) if host.starts_with("tcp://") => format!("DOCKER_HOST={host} DOCKER_TLS_VERIFY="),
            EnginePlace::Plain(host) => format!("DOCKER_HOST={host}"),
            EnginePlace::Tls { host, certificates } => {
                format!("DOCKER_HOST={host} DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={}", quoted(certificates))
            }
        }
    }
}

impl fmt::Display for EnginePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host())
    }
}

/// A volume that nobody has named and whose container is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftVolume {
    /// What it is.
    #[serde(flatten)]
    pub volume: AnonymousVolume,
    /// The engine that holds it; none is said by records of old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EnginePlace>,
}

impl LeftVolume {
    /// Whether this engine holds it, or may.
    pub fn may_be_on(&self, place: Option<&EnginePlace>) -> bool {
        self.engine.as_ref().zip(place).is_none_or(|(engine, place)| engine.is_same(place))
    }
}

impl EnvDir {
    /// The volumes that nobody has named and whose containers are gone, as far as they have been left, by name: not all of them need
    /// to be there any more.
    pub fn left_volumes(&self) -> Result<BTreeMap<String, LeftVolume>, StateError> {
        let left: Vec<LeftVolume> = self.read(VOLUMES)?.unwrap_or_default();
        Ok(left.into_iter().map(|left| (left.volume.name.clone(), left)).collect())
    }

    /// Records further ones, that this engine holds.
    pub fn note_left_volumes(
        &self,
        engine: Option<&EnginePlace>,
        volumes: impl IntoIterator<Item = AnonymousVolume>,
    ) -> Result<(), StateError> {
        let further: Vec<LeftVolume> = volumes.into_iter().map(|volume| LeftVolume { volume, engine: engine.cloned() }).collect();
        if further.is_empty() {
            return Ok(());
        }
        self.change(VOLUMES, |left: &mut Vec<LeftVolume>| {
            left.retain(|known| further.iter().all(|it| it.volume.name != known.volume.name));
            left.extend(further);
            left.sort_by(|one, other| one.volume.name.cmp(&other.volume.name));
        })
    }

    /// Forgets these: they are gone.
    pub fn forget_left_volumes(&self, names: &BTreeSet<String>) -> Result<(), StateError> {
        if names.is_empty() || !self.path().join(VOLUMES).exists() {
            return Ok(());
        }
        self.change(VOLUMES, |left: &mut Vec<LeftVolume>| left.retain(|it| !names.contains(&it.volume.name)))
    }

    /// The engines that something was made on; that what was made is there still, nobody says.
    pub fn engines(&self) -> Result<BTreeSet<EnginePlace>, StateError> {
        Ok(self.read(ENGINES)?.unwrap_or_default())
    }

    /// Records that something is made on an engine.
    pub fn note_engine(&self, engine: &EnginePlace) -> Result<(), StateError> {
        self.change(ENGINES, |engines: &mut BTreeSet<EnginePlace>| {
            // What it takes to ask it may have changed.
            engines.retain(|known| known.host() != engine.host());
            engines.insert(engine.clone());
        })
    }

    /// Forgets an engine: nothing is left there.
    pub fn forget_engine(&self, engine: &EnginePlace) -> Result<(), StateError> {
        if !self.path().join(ENGINES).exists() {
            return Ok(());
        }
        self.change(ENGINES, |engines: &mut BTreeSet<EnginePlace>| engines.retain(|known| !known.is_same(engine)))
    }

    /// Changes a record while nobody else does.
    fn change<T>(&self, name: &str, change: impl FnOnce(&mut T)) -> Result<(), StateError>
    where
        T: Clone + Default + PartialEq + Serialize + DeserializeOwned,
    {
        let _lock = FileLock::wait(&self.path().join(LOCK))?;
        let was: T = self.read_to_change(name)?.unwrap_or_default();
        let mut now = was.clone();
        change(&mut now);
        match now {
            now if now == was => Ok(()),
            now if now == T::default() => self.forget(name),
            now => self.write(name, &now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::base::name::EnvId;
    use crate::world::envdir::StateDir;

    fn env() -> (tempfile::TempDir, EnvDir) {
        let dir = tempfile::tempdir().unwrap();
        let environment = IndexMap::from([("XDG_STATE_HOME".to_owned(), dir.path().display().to_string())]);
        let env = StateDir::of(&environment).unwrap().env(&EnvId::normalized("k3v9x2ab").unwrap());
        env.create().unwrap();
        (dir, env)
    }

    fn volume(name: &str) -> AnonymousVolume {
        AnonymousVolume { name: name.to_owned(), container: "db-1".to_owned(), path: "/data".to_owned() }
    }

    fn plain(host: &str) -> EnginePlace {
        EnginePlace::Plain(host.to_owned())
    }

    fn secured() -> EnginePlace {
        EnginePlace::Tls { host: "tcp://h:2376".to_owned(), certificates: "/c d".into() }
    }

    #[test]
    fn each_volume_is_known_with_its_engine_and_only_what_is_gone_is_forgotten() {
        let (_dir, env) = env();
        let (here, there) = (plain("unix:///here.sock"), secured());
        fs::write(env.path().join(VOLUMES), r#"[{"name": "old", "container": "db-1", "path": "/data"}]"#).unwrap();
        env.note_left_volumes(Some(&here), [volume("a"), volume("b")]).unwrap();
        env.note_left_volumes(Some(&there), [volume("c")]).unwrap();
        let on = |place: &EnginePlace| -> Vec<String> {
            env.left_volumes().unwrap().into_iter().filter(|(_, it)| it.may_be_on(Some(place))).map(|(name, _)| name).collect()
        };
        assert_eq!((on(&here), on(&there)), (vec!["a".into(), "b".into(), "old".into()], vec!["c".into(), "old".into()]));
        env.forget_left_volumes(&BTreeSet::from(["a".to_owned(), "old".to_owned()])).unwrap();
        assert_eq!((on(&here), on(&there)), (vec!["b".into()], vec!["c".into()]));
        env.forget_left_volumes(&BTreeSet::from(["b".to_owned(), "c".to_owned()])).unwrap();
        assert!(!env.path().join(VOLUMES).exists());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_not_overwritten_and_a_damaged_one_is_put_aside() {
        let (_dir, env) = env();
        let path = env.path().join(ENGINES);
        // Nobody can read through it, whatever rights he has.
        std::os::unix::fs::symlink(ENGINES, &path).unwrap();
        assert!(matches!(env.note_engine(&plain("unix:///here.sock")), Err(StateError::Io { .. })));
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        fs::remove_file(&path).unwrap();
        fs::write(&path, r#"["tcp://h:2376""#).unwrap();
        env.note_engine(&plain("unix:///here.sock")).unwrap();
        assert_eq!(env.engines().unwrap(), BTreeSet::from([plain("unix:///here.sock")]));
        assert_eq!(fs::read_to_string(env.path().join("engines.json.damaged")).unwrap(), r#"["tcp://h:2376""#);
    }

    #[test]
    fn whoever_changes_a_record_at_the_same_time_loses_nothing() {
        let (_dir, env) = env();
        env.note_left_volumes(None, (0..8).map(|number| volume(&format!("gone{number}")))).unwrap();
        // Each has its own descriptor of the lock, as two processes have.
        thread::scope(|scope| {
            for number in 0..8 {
                let env = &env;
                scope.spawn(move || env.note_left_volumes(None, [volume(&format!("left{number}"))]).unwrap());
                scope.spawn(move || env.forget_left_volumes(&BTreeSet::from([format!("gone{number}")])).unwrap());
                scope.spawn(move || env.note_engine(&plain(&format!("unix:///{number}.sock"))).unwrap());
            }
        });
        let left: Vec<String> = env.left_volumes().unwrap().into_keys().collect();
        assert_eq!(left, (0..8).map(|number| format!("left{number}")).collect::<Vec<_>>());
        assert_eq!(env.engines().unwrap().len(), 8);
    }

    #[test]
    fn an_engine_over_tls_can_be_asked_again_and_no_other_is_shown_its_certificates() {
        let (_dir, env) = env();
        fs::write(env.path().join(ENGINES), r#"["tcp://h:2376", "unix:///here.sock"]"#).unwrap();
        env.note_engine(&secured()).unwrap();
        assert_eq!(env.engines().unwrap(), BTreeSet::from([plain("unix:///here.sock"), secured()]));
        assert_eq!(secured().variables(), "DOCKER_HOST=tcp://h:2376 DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH='/c d'");
        assert_eq!(plain("tcp://h:1").variables(), "DOCKER_HOST=tcp://h:1 DOCKER_TLS_VERIFY=");
        let caller: IndexMap<String, String> = [
            ("DOCKER_CERT_PATH", "/mine"),
            ("DOCKER_CONTEXT", "mine"),
            ("DOCKER_HOST", "tcp://mine:1"),
            ("DOCKER_TLS", "1"),
            ("DOCKER_TLS_VERIFY", "1"),
            ("HOME", "/h"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let told = |place: &EnginePlace| -> Vec<String> {
            let mut told: Vec<_> = place.environment(&caller).iter().map(|(name, value)| format!("{name}={value}")).collect();
            told.sort();
            told
        };
        assert_eq!(told(&plain("tcp://h:1")), ["DOCKER_HOST=tcp://h:1", "HOME=/h"]);
        assert_eq!(told(&secured()), ["DOCKER_CERT_PATH=/c d", "DOCKER_HOST=tcp://h:2376", "DOCKER_TLS_VERIFY=1", "HOME=/h"]);
        env.forget_engine(&secured()).unwrap();
        env.forget_engine(&plain("unix:///here.sock")).unwrap();
        assert!(env.engines().unwrap().is_empty() && !env.path().join(ENGINES).exists());
    }
}
