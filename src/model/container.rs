//! What only a container has.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::block_io::BlockIo;
use super::build::Build;
use super::device::{Device, DeviceRequest};
use super::hook::PreStart;
use super::language_model::ModelUse;
use super::mount::{Mount, MountKind};
use super::network::Attachment;
use super::provider::Provider;
use super::restart::RestartPolicy;

/// A container's own attributes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// The image's reference; none with `build` is `<ENVID>-<service>`.
    pub image: Option<String>,
    /// How it is built.
    pub build: Option<Build>,
    /// When it is pulled.
    pub pull_policy: Option<String>,
    /// `os/arch`.
    pub platform: Option<String>,
    /// Replaces the image's command; an empty list clears it.
    pub command: Option<Vec<String>>,
    /// Replaces the image's entry point; an empty list clears it.
    pub entrypoint: Option<Vec<String>>,
    /// A name of its own.
    pub container_name: Option<String>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// Domain name inside.
    pub domainname: Option<String>,
    /// Ports open to other containers, `port[/proto]`.
    pub expose: Vec<String>,
    /// Mounts.
    pub volumes: Vec<Mount>,
    /// `path[:options]` in memory.
    pub tmpfs: Vec<String>,
    /// Networks, by key.
    pub networks: IndexMap<String, Option<Attachment>>,
    /// `host`, `none`, `bridge`, `service:X`, `container:X`.
    pub network_mode: Option<String>,
    /// `name=address`.
    pub extra_hosts: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Resolver options.
    pub dns_opt: Vec<String>,
    /// `service[:alias]`.
    pub links: Vec<String>,
    /// `container[:alias]`: containers of somebody else.
    pub external_links: Vec<String>,
    /// A hardware address on the main network.
    pub mac_address: Option<String>,
    /// A small init as process 1.
    pub init: Option<bool>,
    /// All capabilities and devices.
    pub privileged: bool,
    /// The root file system is not writable.
    pub read_only: bool,
    /// Capabilities to drop.
    pub cap_drop: Vec<String>,
    /// Security options.
    pub security_opt: Vec<String>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Graphics processors.
    pub gpus: Vec<DeviceRequest>,
    /// `deploy.resources.reservations.devices`.
    pub reserved_devices: Vec<DeviceRequest>,
    /// Rules for devices, as the kernel's cgroups write them.
    pub device_cgroup_rules: Vec<String>,
    /// Kernel parameters of the container.
    pub sysctls: IndexMap<String, String>,
    /// Size of `/dev/shm`.
    #[serde(with = "crate::base::bytes::optional")]
    pub shm_size: Option<i64>,
    /// Memory that is kept for it.
    #[serde(with = "crate::base::bytes::optional")]
    pub mem_reservation: Option<i64>,
    /// Memory and swap together; -1 is no limit.
    #[serde(with = "crate::base::bytes::optional")]
    pub memswap_limit: Option<i64>,
    /// How willingly its memory is swapped out, 0 to 100; 0 is the engine's own (Compose cannot say it either).
    #[serde(with = "crate::base::bytes::optional")]
    pub mem_swappiness: Option<i64>,
    /// Not ended by the kernel when memory is short.
    pub oom_kill_disable: bool,
    /// Relative weight.
    pub cpu_shares: Option<i64>,
    /// Microseconds of CPU for each period.
    pub cpu_quota: Option<i64>,
    /// The period of `cpu_quota` in microseconds.
    pub cpu_period: Option<i64>,
    /// Microseconds of real-time CPU for each period.
    pub cpu_rt_runtime: Option<i64>,
    /// The period of `cpu_rt_runtime` in microseconds.
    pub cpu_rt_period: Option<i64>,
    /// Usable CPUs (Windows).
    pub cpu_count: Option<i64>,
    /// Usable share of the CPUs in percent (Windows).
    pub cpu_percent: Option<f64>,
    /// CPUs it may use, `0-3`.
    pub cpuset: Option<String>,
    /// Reading and writing of block devices.
    pub blkio_config: Option<BlockIo>,
    /// Options of the engine's storage driver.
    pub storage_opt: IndexMap<String, String>,
    /// Process namespace.
    pub pid: Option<String>,
    /// IPC namespace.
    pub ipc: Option<String>,
    /// UTS namespace.
    pub uts: Option<String>,
    /// User namespace.
    pub userns_mode: Option<String>,
    /// `host` or `private`.
    pub cgroup: Option<String>,
    /// Parent cgroup.
    pub cgroup_parent: Option<String>,
    /// The OCI runtime.
    pub runtime: Option<String>,
    /// How it is isolated: `default` on Linux.
    pub isolation: Option<String>,
    /// `service[:mode]`, `container:name[:mode]`: whose mounts it gets too.
    pub volumes_from: Vec<String>,
    /// It may use the engine, with the caller's credentials.
    pub use_api_socket: bool,
    /// `restart` where something is said: the engine is told `no` then too, as Compose does. What counts is
    /// [`Common::restart`](super::service::Common::restart).
    pub restart: Option<RestartPolicy>,
    /// Language models that it uses, by key.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub models: IndexMap<String, Option<ModelUse>>,
    /// Commands in containers of their own before each start.
    pub pre_start: Vec<PreStart>,
    /// Who looks after it instead of the engine: there is no container then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
}

impl Container {
    /// The volumes that it mounts, by key; those without one have none.
    pub fn volume_keys(&self) -> impl Iterator<Item = &String> {
        self.volumes.iter().filter(|mount| mount.kind == MountKind::Volume).filter_map(|mount| mount.source.as_ref())
    }

    /// What it mounts of images: the path inside, and the image as the file names it.
    pub fn image_mounts(&self) -> impl Iterator<Item = (&String, &String)> {
        let images = self.volumes.iter().filter(|mount| mount.kind == MountKind::Image);
        images.filter_map(|mount| Some((&mount.target, mount.source.as_ref()?)))
    }

    /// Whether it has a namespace in common with another container.
    pub fn shares_namespace(&self) -> bool {
        let modes = [&self.network_mode, &self.pid, &self.ipc];
        modes.into_iter().flatten().any(|mode| mode.starts_with("service:") || mode.starts_with("container:"))
    }

    /// The services whose containers must be there before this one can be made: it shares a name space or mounts with them.
    pub fn partners(&self) -> impl Iterator<Item = &str> {
        let modes = [&self.network_mode, &self.pid, &self.ipc];
        let namespaces = modes.into_iter().flatten().filter_map(|mode| mode.strip_prefix("service:"));
        let mounts = self.volumes_from.iter().filter(|from| !from.starts_with("container:"));
        namespaces.chain(mounts.map(|from| from.split(':').next().unwrap_or(from)))
    }
}
