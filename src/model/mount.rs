//! `volumes:` of a container.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// One mount, in the long form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Bind, volume, tmpfs, …
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// A host path (bind, absolute) or a volume's key; none for an anonymous volume.
    #[serde(default)]
    pub source: Option<String>,
    /// The path inside.
    pub target: String,
    /// Not writable inside.
    #[serde(default)]
    pub read_only: bool,
    /// Options of a bind.
    #[serde(default)]
    pub bind: Option<BindOptions>,
    /// Options of a volume.
    #[serde(default)]
    pub volume: Option<VolumeOptions>,
    /// Options of a tmpfs.
    #[serde(default)]
    pub tmpfs: Option<TmpfsOptions>,
    /// Options of an image.
    #[serde(default)]
    pub image: Option<ImageOptions>,
}

/// `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A volume of the engine.
    Volume,
    /// Memory.
    Tmpfs,
    /// A Windows pipe.
    Npipe,
    /// A Swarm cluster volume.
    Cluster,
    /// An image's files.
    Image,
}

/// `bind`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    /// `rprivate`, `rslave`, …
    pub propagation: Option<String>,
    /// Make the host path when it is missing; true when absent.
    pub create_host_path: Option<bool>,
    /// `enabled`, `disabled`, `writable`, `readonly`.
    pub recursive: Option<String>,
    /// `z` or `Z`.
    pub selinux: Option<String>,
}

/// `volume`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// Labels of an anonymous volume.
    pub labels: IndexMap<String, String>,
    /// Do not fill it from the image.
    pub nocopy: bool,
    /// A directory inside the volume.
    pub subpath: Option<String>,
}

/// `tmpfs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TmpfsOptions {
    /// Bytes.
    #[serde(with = "crate::base::bytes::optional")]
    pub size: Option<i64>,
    /// Unix mode.
    pub mode: Option<u32>,
}

/// `image`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageOptions {
    /// A directory inside the image.
    pub subpath: Option<String>,
}
