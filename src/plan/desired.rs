//! What `up` sent: the stack for one environment, and what each unit of it needs to be made.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::hash::ConfigHash;
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::model::network::Network;
use crate::model::service::Service;
use crate::model::stack::Stack;
use crate::model::volume::Volume;

/// The label of what `run` makes, as Compose has it.
pub const ONE_OFF: &str = "com.docker.compose.oneoff";

/// A stack as one environment runs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// The environment.
    pub env: EnvId,
    /// What the files describe.
    pub stack: Stack,
    /// Who asked.
    pub caller: Caller,
    /// Where the environment's things lie.
    pub places: Places,
}

/// The caller of `up`: what processes inherit from it, and what it said that holds until the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Its environment variables.
    pub environment: IndexMap<String, String>,
    /// Limits that cannot be kept on this host are left out (`--ignore-limits`).
    #[serde(default)]
    pub ignores_limits: bool,
}

/// Directories of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// `$XDG_STATE_HOME/baistack/<ENVID>`.
    pub state_dir: PathBuf,
    /// `ENV_DIR`.
    pub env_dir: PathBuf,
    /// `RUN_DIR`.
    pub run_dir: PathBuf,
    /// Our own program, for `BAISTACK`.
    pub program: PathBuf,
}

/// What an engine needs to make and run one unit.
#[derive(Debug, Clone)]
pub struct UnitSpec {
    /// Which.
    pub unit: UnitId,
    /// The whole it belongs to.
    pub deployment: Arc<Deployment>,
    /// The hash of its definition, kept as a label of its container.
    pub hash: ConfigHash,
}

impl UnitSpec {
    /// The unit's service.
    pub fn service(&self) -> &Service {
        self.deployment.service(&self.unit.service).expect("a unit is only made of a service of its own deployment")
    }
}

impl Deployment {
    /// A service, also one whose profile is off.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.stack.services.get(name).or_else(|| self.stack.disabled.get(name))
    }

    /// Whether a service of this name belongs to the stack: also one whose profile is off, or what `run` makes of a job.
    pub fn knows(&self, name: &ServiceName) -> bool {
        self.service(name).is_some() || self.stack.jobs.contains(name)
    }

    /// The engine's name of a network: its own, else `<ENVID>_<key>`.
    pub fn network_name(&self, key: &str) -> String {
        let own = self.stack.networks.get(key).and_then(|Network { name, .. }| name.clone());
        own.unwrap_or_else(|| format!("{}_{key}", self.env))
    }

    /// The engine's name of a volume: its own, else `<ENVID>_<key>`.
    pub fn volume_name(&self, key: &str) -> String {
        let own = self.stack.volumes.get(key).and_then(|Volume { name, .. }| name.clone());
        own.unwrap_or_else(|| format!("{}_{key}", self.env))
    }

    /// The engine's name of a unit's container: its own, else `<ENVID>-<service>-<replica>`.
    pub fn container_name(&self, unit: &UnitId) -> String {
        let own = self.service(&unit.service).and_then(Service::container).and_then(|c| c.container_name.clone());
        own.unwrap_or_else(|| format!("{}-{}-{}", self.env, unit.service, unit.replica))
    }

    /// The reference of a container service's image: `image`, else `<ENVID>-<service>` for what is built. What a provider looks
    /// after has none.
    pub fn image_of(&self, service: &ServiceName) -> Option<String> {
        let container = self.service(service)?.container().filter(|container| container.provider.is_none())?;
        container.image.clone().or_else(|| container.build.as_ref().map(|_| format!("{}-{service}", self.env)))
    }
}
