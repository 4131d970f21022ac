//! The host's engine beside the program under test, as its own tools see it and behind the program's back: what runs, what was
//! made, and a hand that kills, starts and removes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters as options;
use tokio::runtime::Runtime;

use super::engine::{clean, image, import_image};
use super::nameless::Nameless;

/// The engine, and one environment on it of which nothing is left when this goes.
pub(crate) struct HostEngine {
    api: bollard::Docker,
    env: String,
    runtime: Runtime,
    /// None once it has been told to remove them.
    nameless: Option<Nameless>,
}

impl HostEngine {
    /// `None`, said aloud, where there is no engine, unless `BAISTACK_TEST_DOCKER=1` says that there must be one.
    pub(crate) fn new(name: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answered = bollard::Docker::connect_with_defaults().and_then(|api| runtime.block_on(api.ping()).map(|_| api));
        let api = match answered {
            Ok(api) => api,
            Err(error) => {
                assert!(std::env::var_os("BAISTACK_TEST_DOCKER").is_none(), "{error}");
                eprintln!("{name} skipped: no Docker Engine ({error})");
                return None;
            }
        };
        let env = format!("bst-{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let nameless = Some(Nameless::of(&env));
        let engine = Self { api, env, runtime, nameless };
        engine.runtime.block_on(import_image(&engine.api, &engine.env));
        Some(engine)
    }

    /// The environment's ENVID.
    pub(crate) fn env(&self) -> &str {
        &self.env
    }

    /// The image with busybox.
    pub(crate) fn image(&self) -> String {
        image(&self.env)
    }

    /// The container of a unit: `web-1` → `ENVID-web-1`.
    pub(crate) fn container(&self, unit: &str) -> String {
        format!("{}-{unit}", self.env)
    }

    /// What the engine says of a unit's container: `running`, `exited`, …; `None` when there is none.
    pub(crate) fn state(&self, unit: &str) -> Option<ContainerStateStatusEnum> {
        self.inspect(unit)?.state.unwrap().status
    }

    pub(crate) fn is_running(&self, unit: &str) -> bool {
        self.state(unit) == Some(ContainerStateStatusEnum::RUNNING)
    }

    /// The id of a unit's container.
    pub(crate) fn id(&self, unit: &str) -> Option<String> {
        self.inspect(unit)?.id
    }

    fn inspect(&self, unit: &str) -> Option<bollard::models::ContainerInspectResponse> {
        let name = self.container(unit);
        self.runtime.block_on(self.api.inspect_container(&name, None::<options::InspectContainerOptions>)).ok()
    }

    /// The names of all containers of the environment, in whatever state, without `ENVID-`.
    pub(crate) fn containers(&self) -> Vec<String> {
        let list = options::ListContainersOptionsBuilder::default().all(true).filters(&self.label()).build();
        let containers = self.runtime.block_on(self.api.list_containers(Some(list))).unwrap();
        let mut names: Vec<_> = containers.into_iter().flat_map(|container| container.names.unwrap_or_default()).collect();
        for name in &mut names {
            *name = name.trim_start_matches('/').trim_start_matches(&self.env).trim_start_matches('-').to_owned();
        }
        names.sort();
        names
    }

    /// The names of all networks of the environment.
    pub(crate) fn networks(&self) -> Vec<String> {
        let list = options::ListNetworksOptionsBuilder::default().filters(&self.label()).build();
        let networks = self.runtime.block_on(self.api.list_networks(Some(list))).unwrap();
        networks.into_iter().filter_map(|network| network.name).collect()
    }

    /// Kills a unit's container behind the program's back.
    pub(crate) fn kill(&self, unit: &str) {
        let name = self.container(unit);
        self.runtime.block_on(self.api.kill_container(&name, None::<options::KillContainerOptions>)).unwrap();
    }

    /// Starts a unit's container behind the program's back.
    pub(crate) fn start(&self, unit: &str) {
        let name = self.container(unit);
        self.runtime.block_on(self.api.start_container(&name, None::<options::StartContainerOptions>)).unwrap();
    }

    /// Removes a unit's container behind the program's back, running or not.
    pub(crate) fn remove(&self, unit: &str) {
        let force = options::RemoveContainerOptionsBuilder::default().force(true).build();
        self.runtime.block_on(self.api.remove_container(&self.container(unit), Some(force))).unwrap();
    }

    /// The engine's own client, for what only one test asks.
    pub(crate) fn ask<T>(&self, question: impl AsyncFnOnce(&bollard::Docker) -> T) -> T {
        self.runtime.block_on(question(&self.api))
    }

    fn label(&self) -> HashMap<&'static str, Vec<String>> {
        HashMap::from([("label", vec![format!("com.docker.compose.project={}", self.env)])])
    }
}

impl Drop for HostEngine {
    fn drop(&mut self) {
        self.runtime.block_on(clean(&self.api, &self.env));
        self.nameless.take().into_iter().for_each(Nameless::remove);
    }
}
