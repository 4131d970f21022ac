//! `blkio_config`: how much a container may read from and write to block devices.

use serde::{Deserialize, Serialize};

/// Weights and limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIo {
    /// Its weight among others, 10 to 1000.
    pub weight: Option<u16>,
    /// Its weight for single devices.
    pub weight_device: Vec<DeviceWeight>,
    /// Bytes read in a second.
    pub device_read_bps: Vec<DeviceRate>,
    /// Reads in a second.
    pub device_read_iops: Vec<DeviceRate>,
    /// Bytes written in a second.
    pub device_write_bps: Vec<DeviceRate>,
    /// Writes in a second.
    pub device_write_iops: Vec<DeviceRate>,
}

/// A weight for one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceWeight {
    /// The device's path.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// A limit for one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRate {
    /// The device's path.
    pub path: String,
    /// Bytes or operations in a second.
    #[serde(with = "crate::base::bytes::optional")]
    pub rate: Option<i64>,
}
