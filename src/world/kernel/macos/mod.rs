//! macOS, from 11 on. Checked by the compiler alone: nobody has run it yet.

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

mod info;
