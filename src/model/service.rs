//! A service: what containers and processes have in common, and what only one of the kinds has.

use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::container::Container;
use super::depends::Dependency;
use super::environment::Environment;
use super::health::HealthCheck;
use super::hook::Hook;
use super::port::Port;
use super::process::{Process, fill_replica};
use super::provider::Provider;
use super::restart::RestartPolicy;
use super::secret::FileGrant;
use super::watch::WatchRule;
use crate::base::duration;
use crate::base::name::ServiceName;

/// The most replicas that one service can have. Compose has no limit, and goes on until the host has no more to give.
pub const MAX_REPLICAS: u32 = 10_000;

/// One entry under `services:` or `processes:`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// What both kinds have.
    pub common: Common,
    /// What only its kind has.
    pub kind: Kind,
}

/// The two kinds of service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// From `services:`.
    Container(Box<Container>),
    /// From `processes:`.
    Process(Box<Process>),
}

/// Attributes with the same meaning for containers and processes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Common {
    /// What must be up, and how far, before this starts.
    pub depends_on: IndexMap<ServiceName, Dependency>,
    /// `environment` over `env_file`, resolved; a null that found no value is gone.
    pub environment: Environment,
    /// `healthcheck`; for a container none means the image's own.
    pub healthcheck: Option<HealthCheck>,
    /// `restart`, or what `deploy.restart_policy` makes of it.
    pub restart: RestartPolicy,
    /// The signal that asks it to end; `SIGTERM` when absent (for a container: the image's).
    pub stop_signal: Option<String>,
    /// How long it may take to end before it is killed; 10 s when absent.
    #[serde(with = "duration::optional")]
    pub stop_grace_period: Option<Duration>,
    /// `profiles`.
    pub profiles: Vec<String>,
    /// Number of replicas (`scale`, `deploy.replicas`); 1 when absent.
    pub scale: Option<u32>,
    /// What it listens on.
    pub ports: Vec<Port>,
    /// `labels`.
    pub labels: IndexMap<String, String>,
    /// `annotations`.
    pub annotations: IndexMap<String, String>,
    /// `secrets` that it may read.
    pub secrets: Vec<FileGrant>,
    /// `configs` that it gets.
    pub configs: Vec<FileGrant>,
    /// Commands after each start, inside the service.
    pub post_start: Vec<Hook>,
    /// Commands before a stop that we cause, inside the service.
    pub pre_stop: Vec<Hook>,
    /// `develop.watch`.
    pub develop: Develop,
    /// Whether `up` follows its log; true when absent.
    pub attach: Option<bool>,
    /// A terminal of its own.
    pub tty: bool,
    /// Input stays open.
    pub stdin_open: bool,
    /// `user` (and group): for a container as the engine reads it, for a process `name|uid[:name|gid]`.
    pub user: Option<String>,
    /// Further groups.
    pub group_add: Vec<String>,
    /// `working_dir`; for a process absolute.
    pub working_dir: Option<String>,
    /// Capabilities to add, as written.
    pub cap_add: Vec<String>,
    /// Limits by name (`nofile`, …).
    pub ulimits: IndexMap<String, Ulimit>,
    /// Memory limit in bytes (`mem_limit`, `deploy.resources.limits.memory`).
    #[serde(with = "crate::base::bytes::optional")]
    pub mem_limit: Option<i64>,
    /// CPUs (`cpus`, `deploy.resources.limits.cpus`).
    pub cpus: Option<f64>,
    /// Number of processes (`pids_limit`, `deploy.resources.limits.pids`).
    pub pids_limit: Option<i64>,
    /// How willingly the kernel ends it when memory is short.
    pub oom_score_adj: Option<i64>,
    /// `logging`.
    pub logging: Option<Logging>,
}

/// A resource limit. In the short form both are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// The limit in force; -1 is none.
    pub soft: i64,
    /// How far the service may raise it itself.
    pub hard: i64,
}

/// `logging`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// The engine's driver; none is the engine's default.
    pub driver: Option<String>,
    /// `max-size`, `max-file` and the driver's own.
    pub options: IndexMap<String, String>,
}

/// `develop`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Develop {
    /// What file changes cause.
    pub watch: Vec<WatchRule>,
}

impl Service {
    /// Whether it is a native process.
    pub fn is_process(&self) -> bool {
        matches!(self.kind, Kind::Process(_))
    }

    /// Where the supervisor listens for a replica of a process behind a proxy: `address:port`, without a host for every address of
    /// this host, and the port.
    pub fn front(&self, replica: u32) -> Option<(String, u16)> {
        self.process().filter(|process| process.proxy)?;
        let port = self.common.ports.iter().find(|port| port.protocol != "udp")?;
        let number = match &port.published {
            Some(published) => fill_replica(published, replica).parse().ok()?,
            None => port.target,
        };
        let address = match port.host_ip.as_deref().unwrap_or_default() {
            six if six.contains(':') && !six.starts_with('[') => format!("[{six}]:{number}"),
            host => format!("{host}:{number}"),
        };
        Some((address, number))
    }

    /// Whether it is a process that ends, and is skipped while it is up to date.
    pub fn is_task(&self) -> bool {
        self.process().is_some_and(|process| process.task)
    }

    /// The process's own attributes.
    pub fn process(&self) -> Option<&Process> {
        if let Kind::Process(process) = &self.kind { Some(process) } else { None }
    }

    /// The container's own attributes.
    pub fn container(&self) -> Option<&Container> {
        if let Kind::Container(container) = &self.kind { Some(container) } else { None }
    }

    /// The program that looks after it instead of the engine, if there is one.
    pub fn provider(&self) -> Option<&Provider> {
        self.container()?.provider.as_ref()
    }

    /// Whether it is run by the engine.
    pub fn needs_engine(&self) -> bool {
        !self.is_process() && self.provider().is_none()
    }

    /// How many replicas the files ask for; what a provider looks after has none.
    pub fn replicas(&self) -> u32 {
        if self.provider().is_some() { 0 } else { self.common.scale.unwrap_or(1) }
    }

    /// How long it may take to end.
    pub fn grace(&self) -> Duration {
        self.common.stop_grace_period.unwrap_or(Duration::from_secs(10))
    }
}
