//! The short forms that have a grammar of their own: ports, mounts, devices, command lines.

mod ports;
mod volumes;
mod words;

pub(super) use ports::{nodes as nodes_of_ports, ports, process_ports, range};
pub(super) use volumes::{devices, volumes};
pub(super) use words::split_words;
