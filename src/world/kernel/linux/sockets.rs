//! Which sockets are bound to a port, and whose they are, by `/proc/net` and the descriptors of processes. A socket is known by its
//! inode.

use std::collections::HashSet;
use std::fs;
use std::io;

use procfs::net::{TcpState, UdpState};
use procfs::process::FDTarget;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The sockets that listen on a TCP port of this host.
pub fn listening(port: u16) -> HashSet<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|table| fs::read_to_string(table).ok());
    tables.flat_map(|table| listening_in(&table, port)).collect()
}

/// The inodes of the listening sockets on a port, in a table as `proc_pid_net(5)` has it. A busy host has tens of thousands of
/// connections that are over, and this is asked with each probe: a line that is none of a listener is not read any further.
fn listening_in(table: &str, port: u16) -> Vec<u64> {
    const LISTENS: &str = "0A";
    let place = format!(":{port:04X}");
    let of_line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (local, state) = (fields.nth(1)?, fields.nth(1)?);
        let is_meant = state == LISTENS && local.ends_with(&place);
        if is_meant { fields.nth(5)?.parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// The UDP sockets that are bound to a port and connected to nobody.
pub fn bound_udp(port: u16) -> HashSet<u64> {
    (procfs::net::udp().into_iter().chain(procfs::net::udp6()).flatten())
        .filter(|socket| socket.state == UdpState::Close && socket.local_address.port() == port)
        .map(|socket| socket.inode)
        .collect()
}

/// Whether the kernel keeps a port from being bound for what is left of connections (`TIME_WAIT`, a minute).
pub fn is_left_by_connections(port: u16) -> bool {
    let entries = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    entries.into_iter().any(|entry| entry.local_address.port() == port && entry.state == TcpState::TimeWait)
}

/// Waits until the other side of a connection is closed, whatever is still to be read before that.
pub async fn closed_by_peer(connection: &TcpStream) -> io::Result<()> {
    connection.ready(Interest::PRIORITY).await.map(drop)
}

/// The sockets of a process; none when we may not look.
pub fn of_process(pid: i32) -> Option<HashSet<u64>> {
    let descriptors = procfs::process::Process::new(pid).ok()?.fd().ok()?;
    Some(
        (descriptors.flatten())
            .filter_map(|descriptor| match descriptor.target {
                FDTarget::Socket(inode) => Some(inode),
                FDTarget::Path(_)
                | FDTarget::Net(_)
                | FDTarget::Pipe(_)
                | FDTarget::AnonInode(_)
                | FDTarget::MemFD(_)
                | FDTarget::Other(_, _)
                | FDTarget::Unknown(_, _) => None,
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_table_of_connections_only_the_listeners_of_a_port_count() {
        let row = |local: &str, state: &str, inode: u32| {
            format!(
                "   1: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100 0\n"
            )
        };
        let table = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n".to_owned(),
            row("0100007F:1F90", "0A", 11),
            row("0100007F:1F90", "06", 0),
            row("0100007F:1F91", "0A", 12),
            row("00000000000000000000000000000000:1F90", "0A", 13),
            "   5: torn\n".to_owned(),
        ]
        .concat();
        assert_eq!(listening_in(&table, 8080), [11, 13]);
        assert!(listening_in(&table, 80).is_empty());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listening(listener.local_addr().unwrap().port()).len(), 1);
    }
}
