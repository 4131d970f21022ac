//! A corner of the real Docker Engine for one test: an environment of its own, of which nothing is left behind, also when the
//! test fails.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use baistack::base::name::{EnvId, UnitId};
use baistack::plan::action::{Action, Fault, Generation, Incarnation, Outcome, ResourceId, Ticket};
use baistack::plan::actual::{Actual, Query};
use baistack::plan::desired::{Caller, Deployment, Places, UnitSpec};
use baistack::plan::hash::ConfigHash;
use baistack::supervisor::event::Event;
use baistack::world::docker::Docker;
use bollard::query_parameters as options;
use crossbeam_channel::{Receiver, Sender};
use futures_util::StreamExt;
use indexmap::IndexMap;

use super::nameless::Nameless;

/// A test's environment on the engine.
pub(crate) struct Corner {
    pub(crate) env: EnvId,
    pub(crate) docker: Docker,
    pub(crate) events: Sender<Event>,
    pub(crate) heard: Receiver<Event>,
    pub(crate) api: bollard::Docker,
}

/// Runs a test against the engine; skips it aloud where there is none, unless `BAISTACK_TEST_DOCKER=1` says that there must be.
pub(crate) fn with_engine<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Arc<Corner>) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let environment: IndexMap<String, String> = std::env::vars().collect();
        let docker = Docker::new(&environment);
        if let Err(fault) = docker.release().await {
            assert!(std::env::var_os("BAISTACK_TEST_DOCKER").is_none(), "{fault}");
            eprintln!("skipped: no Docker Engine ({fault})");
            return;
        }
        let env: EnvId = format!("bst-{name}-{}", std::process::id()).parse().unwrap();
        let (events, heard) = crossbeam_channel::unbounded();
        let api = bollard::Docker::connect_with_defaults().unwrap();
        let corner = Arc::new(Corner { env, docker, events, heard, api });
        let _cleaner = Cleaner(corner.clone(), Some(Nameless::of(corner.env.as_str())));
        import_image(&corner.api, corner.env.as_str()).await;
        tokio::time::timeout(Duration::from_secs(120), test(corner)).await.expect("the test takes too long");
    });
}

/// Removes all of the environment when it goes, also in a panic.
struct Cleaner(Arc<Corner>, Option<Nameless>);

impl Drop for Cleaner {
    fn drop(&mut self) {
        let (env, api, nameless) = (self.0.env.clone(), self.0.api.clone(), self.1.take());
        // The test's runtime is busy being left.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clean(&api, env.as_str()));
            nameless.into_iter().for_each(Nameless::remove);
        });
        cleaning.join().unwrap();
    }
}

/// Removes whatever on the engine carries the environment's label or name.
pub(crate) async fn clean(api: &bollard::Docker, env: &str) {
    let by_label = HashMap::from([("label", vec![format!("com.docker.compose.project={env}")])]);
    let list = options::ListContainersOptionsBuilder::default().all(true);
    let mut containers = api.list_containers(Some(list.clone().filters(&by_label).build())).await.unwrap();
    containers.extend(api.list_containers(Some(list.filters(&HashMap::from([("name", vec![env])])).build())).await.unwrap());
    for container in containers {
        let force = options::RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let _ = api.remove_container(&container.id.unwrap(), Some(force)).await;
    }
    let networks = options::ListNetworksOptionsBuilder::default().filters(&by_label).build();
    for network in api.list_networks(Some(networks)).await.unwrap() {
        let _ = api.remove_network(&network.name.unwrap()).await;
    }
    let volumes = options::ListVolumesOptionsBuilder::default().filters(&by_label).build();
    for volume in api.list_volumes(Some(volumes)).await.unwrap().volumes.unwrap_or_default() {
        let _ = api.remove_volume(&volume.name, None::<options::RemoveVolumeOptions>).await;
    }
    let images = options::ListImagesOptionsBuilder::default().build();
    let images = api.list_images(Some(images)).await.unwrap().into_iter().flat_map(|image| image.repo_tags);
    let mut images: Vec<String> = images.filter(|tag| tag.contains(env)).collect();
    let labelled = options::ListImagesOptionsBuilder::default().filters(&by_label).build();
    images.extend(api.list_images(Some(labelled)).await.unwrap().into_iter().map(|image| image.id));
    for image in images {
        let force = options::RemoveImageOptionsBuilder::default().force(true).build();
        let _ = api.remove_image(&image, Some(force), None).await;
    }
}

/// What the image's busybox is called inside.
const APPLETS: [&str; 17] = [
    "sh",
    "sleep",
    "cat",
    "echo",
    "true",
    "sha256sum",
    "stat",
    "ls",
    "id",
    "env",
    "touch",
    "test",
    "head",
    "stty",
    "kill",
    "nc",
    "rm",
];

/// The name of the image with busybox that an environment's containers are made of.
pub(crate) fn image(env: &str) -> String {
    format!("{env}-busybox")
}

/// Imports Debian's busybox-static: nothing is pulled, and no layer is run.
pub(crate) async fn import_image(api: &bollard::Docker, env: &str) {
    let busybox = std::fs::read("/usr/bin/busybox").or_else(|_| std::fs::read("/bin/busybox")).expect("busybox-static");
    let mut tar = tar::Builder::new(Vec::new());
    let mut file = |path: &str, mode, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        tar.append_data(&mut header, path, content).unwrap();
    };
    file("bin/busybox", 0o755, &busybox);
    // A layer of its own, so that removing the image removes it.
    file("etc/environment", 0o644, env.as_bytes());
    file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n");
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    let archive = tar.into_inner().unwrap();
    let import = options::CreateImageOptionsBuilder::default().from_src("-").repo(&image(env)).tag("latest").build();
    let mut progress = api.create_image(Some(import), Some(bollard::body_full(archive.into())), None);
    while let Some(step) = progress.next().await {
        step.unwrap();
    }
}

/// A unit as an engine is given it.
pub(crate) fn spec(deployment: &Arc<Deployment>, unit: &str) -> UnitSpec {
    let unit: UnitId = unit.parse().unwrap();
    let hash = ConfigHash::of(deployment.service(&unit.service).unwrap(), &deployment.stack, &deployment.env);
    UnitSpec { unit, deployment: deployment.clone(), hash }
}

impl Corner {
    /// The image that the test's containers are made of.
    pub(crate) fn image(&self) -> String {
        image(self.env.as_str())
    }

    /// A deployment of these services, as their JSON shape `{"name": {"common": …, "container": …}}`; `IMAGE` stands for the
    /// test's image.
    pub(crate) fn deployment(&self, services: &str) -> Arc<Deployment> {
        self.stack(&format!(r#"{{"services": {services}, "networks": {{"default": {{}}}}}}"#))
    }

    /// A deployment of this stack.
    pub(crate) fn stack(&self, stack: &str) -> Arc<Deployment> {
        let mut stack: serde_json::Value = serde_json::from_str(&stack.replace("IMAGE", &self.image())).unwrap();
        for (_, service) in stack["services"].as_object_mut().unwrap() {
            let kind = serde_json::json!({"container": service["container"].take()});
            *service = serde_json::json!({"common": service.get("common").cloned().unwrap_or_default(), "kind": kind});
            if service["common"].is_null() {
                service["common"] = serde_json::json!({});
            }
        }
        let mut whole = serde_json::to_value(baistack::model::stack::Stack::default()).unwrap();
        for (key, value) in stack.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let stack = serde_json::from_value(whole).unwrap();
        Arc::new(Deployment { env: self.env.clone(), stack, caller: Caller::default(), places: Places::default() })
    }

    pub(crate) async fn act(&self, action: Action) -> Result<Outcome, Fault> {
        let ticket = Ticket {
            serial: 1,
            resource: ResourceId::Owned,
            incarnation: Incarnation(1),
            hash: ConfigHash::from_label("hash"),
            generation: Generation(1),
        };
        self.docker.act(&ticket, &action, &self.events).await
    }

    pub(crate) async fn create(&self, spec: &UnitSpec) -> Result<String, Fault> {
        match self.act(Action::Create { spec: spec.clone(), inherited: IndexMap::new() }).await? {
            Outcome::Created { container } => Ok(container),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn start(&self, spec: &UnitSpec) -> Result<String, Fault> {
        match self
            .act(Action::Start { spec: spec.clone(), incarnation: Incarnation(1), line: None, container: None, beside: false })
            .await?
        {
            Outcome::Started { birth, .. } => Ok(birth),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn network(&self, deployment: &Arc<Deployment>, key: &str) {
        let action = Action::CreateNetwork { key: key.to_owned(), deployment: deployment.clone() };
        assert_eq!(self.act(action).await.unwrap(), Outcome::Done);
    }

    /// The default network and a running container of each unit.
    pub(crate) async fn up(&self, deployment: &Arc<Deployment>, units: &[&str]) -> Vec<String> {
        self.network(deployment, "default").await;
        let mut ids = Vec::new();
        for unit in units {
            let spec = spec(deployment, unit);
            ids.push(self.create(&spec).await.unwrap());
            self.start(&spec).await.unwrap();
        }
        ids
    }

    pub(crate) async fn observe(&self) -> Actual {
        self.docker.observe(&self.env, &Query::default()).await.unwrap()
    }

    /// What a shell command prints inside a container, and its exit code.
    pub(crate) async fn sh(&self, container: &str, command: &str) -> (i32, String) {
        let spec = baistack::world::docker::ExecSpec {
            command: ["/bin/sh", "-c", command].map(str::to_owned).to_vec(),
            ..Default::default()
        };
        let session = self.docker.exec(container, &spec).await.unwrap();
        let mut printed = Vec::new();
        let code = session.carry(tokio::io::empty(), |_, bytes| printed.extend_from_slice(bytes)).await.unwrap();
        (code, String::from_utf8(printed).unwrap().trim().to_owned())
    }

    /// Waits for an event that is wanted.
    pub(crate) async fn hear<T>(&self, wanted: impl Fn(Event) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            while let Ok(event) = self.heard.try_recv() {
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
            assert!(tokio::time::Instant::now() < deadline, "the event does not come");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Builds the image of the service `app`.
pub(crate) async fn build(corner: &Corner, deployment: &Arc<Deployment>) -> Result<String, Fault> {
    let action = Action::Build { service: "app".parse().unwrap(), deployment: deployment.clone() };
    match corner.act(action).await? {
        Outcome::Image { id } => Ok(id),
        other => panic!("{other:?}"),
    }
}

/// What was told since the last look.
pub(crate) fn told(corner: &Corner) -> Vec<String> {
    let text = |event| match event {
        Event::Progress(_, text) | Event::Wrote(_, text) => Some(text),
        _ => None,
    };
    corner.heard.try_iter().filter_map(text).collect()
}
