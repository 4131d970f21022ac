//! Talking to a running supervisor: JSON lines over a Unix socket.

pub mod client;
pub mod server;
pub mod wire;
