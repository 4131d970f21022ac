//! `build`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::secret::FileGrant;
use super::service::Ulimit;

/// How an image is built.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Build {
    /// A directory (absolute) or a URL.
    pub context: String,
    /// Relative to the context; `Dockerfile` when absent.
    pub dockerfile: Option<String>,
    /// The Dockerfile's text.
    pub dockerfile_inline: Option<String>,
    /// Build arguments.
    pub args: IndexMap<String, Option<String>>,
    /// The stage to build.
    pub target: Option<String>,
    /// Images to take layers from.
    pub cache_from: Vec<String>,
    /// Labels of the image.
    pub labels: IndexMap<String, String>,
    /// Further names of the image.
    pub tags: Vec<String>,
    /// The network of `RUN`.
    pub network: Option<String>,
    /// The most memory that a step may use, in bytes; no attribute of files, but a flag of `build`.
    pub memory: Option<i64>,
    /// Without the cache.
    pub no_cache: bool,
    /// Always pull the base image.
    pub pull: bool,
    /// Hosts of `RUN`, `name:address`.
    pub extra_hosts: Vec<String>,
    /// Size of `/dev/shm` in `RUN`.
    #[serde(with = "crate::base::bytes::optional")]
    pub shm_size: Option<i64>,
    /// `os/arch` to build for.
    pub platforms: Vec<String>,
    /// For all of them, and not only for what runs here: that is what `build` is for.
    pub for_all_platforms: bool,
    /// Where layers are left for later builds: `type=inline`, `type=registry,ref=…`.
    pub cache_to: Vec<String>,
    /// Stages that are built without the cache.
    pub no_cache_filter: Vec<String>,
    /// Further contexts by name: a directory (absolute), a URL, `docker-image://IMAGE`, `service:NAME`.
    pub additional_contexts: IndexMap<String, String>,
    /// Secrets that `RUN --mount=type=secret` may have; their `target` is the id.
    pub secrets: Vec<FileGrant>,
    /// Agents that `RUN --mount=type=ssh` may use: `default`, or `ID=PATH` of a socket or a key.
    pub ssh: Vec<String>,
    /// What the build may do beyond the usual: `network.host`, `security.insecure`.
    pub entitlements: Vec<String>,
    /// `RUN --security=insecure` is allowed.
    pub privileged: bool,
    /// Limits of the kernel in `RUN`.
    pub ulimits: IndexMap<String, Ulimit>,
    /// A record of how it was built: `true`, `false`, or `mode=max` and the like.
    pub provenance: Option<String>,
    /// A record of what it contains: `true`, `false`, or `generator=IMAGE`.
    pub sbom: Option<String>,
}
