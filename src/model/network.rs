//! `networks:`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A network of the stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Its name in the engine; none is `<ENVID>_<key>`.
    pub name: Option<String>,
    /// Made by somebody else: must exist, is never removed.
    pub external: bool,
    /// The engine's driver.
    pub driver: Option<String>,
    /// The driver's options.
    pub driver_opts: IndexMap<String, String>,
    /// Without a way out.
    pub internal: bool,
    /// Containers may join by hand (Swarm).
    pub attachable: bool,
    /// IPv4, where the engine can turn it off.
    pub enable_ipv4: Option<bool>,
    /// IPv6.
    pub enable_ipv6: Option<bool>,
    /// Labels.
    pub labels: IndexMap<String, String>,
    /// Addresses.
    pub ipam: Ipam,
}

/// `ipam`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ipam {
    /// The address driver.
    pub driver: Option<String>,
    /// Address pools.
    pub config: Vec<IpamPool>,
    /// The driver's options.
    pub options: IndexMap<String, String>,
}

/// One pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamPool {
    /// CIDR.
    pub subnet: Option<String>,
    /// CIDR of the addresses given out.
    pub ip_range: Option<String>,
    /// The router's address.
    pub gateway: Option<String>,
    /// Names and addresses kept free.
    pub aux_addresses: IndexMap<String, String>,
}

/// How a service is attached to a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// Further names on this network.
    pub aliases: Vec<String>,
    /// A fixed address.
    pub ipv4_address: Option<String>,
    /// A fixed address.
    pub ipv6_address: Option<String>,
    /// Link-local addresses.
    pub link_local_ips: Vec<String>,
    /// What the interface is called inside.
    pub interface_name: Option<String>,
    /// A fixed hardware address.
    pub mac_address: Option<String>,
    /// The driver's options.
    pub driver_opts: IndexMap<String, String>,
    /// The highest is connected first.
    pub priority: i64,
    /// The highest is the way out.
    pub gw_priority: i64,
}
