//! `sockets:` of a process: what the supervisor listens on for it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One listening socket, held over restarts and handed to each life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Its name in `LISTEN_FDNAMES`; the service's when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Where it listens.
    #[serde(flatten)]
    pub address: SocketAddress,
    /// How many connections may wait to be accepted; as many as the kernel allows when absent.
    #[serde(default)]
    pub backlog: Option<u32>,
}

/// Where a socket listens. `${REPLICA}` is filled in when the replica starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketAddress {
    /// `host:port`.
    Tcp(String),
    /// A path, absolute.
    Unix(PathBuf),
}
