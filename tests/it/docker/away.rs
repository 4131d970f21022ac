//! An engine that goes away and comes back, played by a socket in between that can be cut.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use baistack::plan::action::FaultKind;
use baistack::plan::actual::Query;
use baistack::supervisor::event::Event;
use baistack::world::docker::Docker;
use indexmap::IndexMap;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::support::engine::with_engine;

/// Passes connections on to the engine until it is dropped.
struct Between {
    path: PathBuf,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Between {
    fn open(path: &Path, engine: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let tasks = Arc::new(Mutex::new(JoinSet::new()));
        let (all, engine) = (tasks.clone(), engine.to_owned());
        tasks.lock().unwrap().spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let engine = engine.clone();
                all.lock().unwrap().spawn(async move {
                    let mut far = UnixStream::connect(engine).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { path: path.to_owned(), tasks }
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.tasks.lock().unwrap().abort_all();
        std::fs::remove_file(&self.path).unwrap();
    }
}

#[test]
fn an_absence_of_the_engine_is_told_once_and_its_return_calls_for_a_look() {
    with_engine("away", async |corner| {
        let engine = PathBuf::from("/var/run/docker.sock");
        if !engine.exists() {
            eprintln!("skipped: the Docker Engine has no socket at {}", engine.display());
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let environment = IndexMap::from([("DOCKER_HOST".to_owned(), format!("unix://{}", path.display()))]);
        let docker = Docker::new(&environment);
        let fault = docker.observe(&corner.env, &Query::default()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::EngineAway);

        let between = Between::open(&path, &engine);
        let watcher = {
            let (docker, corner) = (docker.clone(), corner.clone());
            tokio::spawn(async move { docker.watch(&corner.env, corner.events.clone()).await })
        };
        let next =
            async || corner.hear(|event| matches!(event, Event::EngineStirred | Event::EngineAway(_)).then_some(event)).await;
        assert!(matches!(next().await, Event::EngineStirred));
        docker.observe(&corner.env, &Query::default()).await.unwrap();

        drop(between);
        let away = loop {
            if let Event::EngineAway(text) = next().await {
                break text;
            }
        };
        assert!(!away.is_empty());
        let fault = docker.observe(&corner.env, &Query::default()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::EngineAway);
        assert!(fault.message.contains("docker.sock"), "{fault}");

        let _between = Between::open(&path, &engine);
        assert!(matches!(next().await, Event::EngineStirred));
        docker.observe(&corner.env, &Query::default()).await.unwrap();
        watcher.abort();
    });
}
