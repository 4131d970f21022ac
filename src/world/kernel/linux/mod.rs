//! Linux, from 5.3 on: the first with `pidfd_open`.

pub mod capabilities;
pub mod child;
pub mod code;
pub mod ends;
pub mod host;
pub mod limits;
pub mod look;
pub mod marks;
pub mod poller;
pub mod processes;
pub mod sockets;
pub mod users;
