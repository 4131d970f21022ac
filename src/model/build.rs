//! `build`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

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
}
