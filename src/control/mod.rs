//! Talking to a running supervisor: JSON lines over a Unix socket, and bytes over another for who attaches to a process.

pub mod attach;
pub mod client;
pub mod server;
pub mod wire;
