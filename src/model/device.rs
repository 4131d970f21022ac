//! Devices that a container may use: those of the host by their path, and those that a driver of the engine hands out.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A device of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Path on the host, or a name of the Container Device Interface: `vendor.com/class=name`.
    pub source: String,
    /// Path inside.
    pub target: String,
    /// `rwm`.
    pub permissions: String,
}

/// An entry of `gpus` or of `deploy.resources.reservations.devices`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// What the devices have to be able to do.
    pub capabilities: Vec<String>,
    /// How many; -1 is all of them.
    pub count: Option<i64>,
    /// Which ones.
    pub device_ids: Vec<String>,
    /// The driver that hands them out; the engine's choice when absent.
    pub driver: Option<String>,
    /// The driver's options.
    pub options: IndexMap<String, String>,
}
