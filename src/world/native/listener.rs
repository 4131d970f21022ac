//! Who listens on a port: a probe of a process only counts when it is that process that answers.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::tree::{self, Root};

/// Who listens on a TCP port of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Nobody.
    Nobody,
    /// Processes of the unit, and nobody else.
    Ours,
    /// At least one other process, perhaps beside ours (SO_REUSEPORT).
    Foreign(i32),
    /// It cannot be seen: another user's process, or one with file capabilities.
    Unknown,
}

/// The state of a listening socket in `/proc/net/tcp` (`TCP_LISTEN`, include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// Says who listens on a port, seen from a unit.
pub fn of_port(unit: &Root, port: u16) -> Listener {
    let sockets = sockets(port);
    if sockets.is_empty() {
        return Listener::Nobody;
    }
    let mut left = sockets;
    let mut is_hidden = false;
    for process in unit.members() {
        match held(process.pid) {
            Some(inodes) => left.retain(|inode| !inodes.contains(inode)),
            None => is_hidden = true,
        }
        if left.is_empty() {
            return Listener::Ours;
        }
    }
    if is_hidden {
        return Listener::Unknown;
    }
    let holder = tree::scan().into_iter().find(|process| held(process.pid).is_some_and(|inodes| !inodes.is_disjoint(&left)));
    holder.map_or(Listener::Unknown, |process| Listener::Foreign(process.pid))
}

/// The process that listens on a port, if that can be seen.
pub fn holder(port: u16) -> Option<i32> {
    let sockets = sockets(port);
    if sockets.is_empty() {
        return None;
    }
    let holds = |pid| held(pid).is_some_and(|inodes| !inodes.is_disjoint(&sockets));
    tree::scan().into_iter().map(|process| process.pid).find(|pid| holds(*pid))
}

/// The sockets that listen on a port, by inode.
fn sockets(port: u16) -> BTreeSet<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| listening(table, port)).collect()
}

/// The inodes of a table's listening sockets: `sl local_address rem_address st queues timer retrnsmt uid timeout inode …`.
fn listening(table: &str, port: u16) -> Vec<u64> {
    let inode = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (_, number) = fields.nth(1)?.rsplit_once(':')?;
        let is_wanted = u16::from_str_radix(number, 16).is_ok_and(|number| number == port) && fields.nth(1)? == LISTEN;
        if is_wanted { fields.nth(5)?.parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// The sockets that a process has open; none if that may not be seen.
fn held(pid: i32) -> Option<BTreeSet<u64>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let inode = |target: &[u8]| {
        let number = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    Some(entries.flatten().filter_map(|entry| inode(fs::read_link(entry.path()).ok()?.as_os_str().as_bytes())).collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::world::native::testing::World;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4711 1 0 100 0 0 10 0\n   \
                     1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  0 0 4712 1 0 20 4 30 10 -1\n";
        assert_eq!(listening(table, 8080), [4711]);
        assert_eq!(listening(table, 8081), [0; 0]);
    }

    #[test]
    fn a_port_that_somebody_else_holds_is_not_ours() {
        let mut world = World::new("listener");
        let spec = world.unit("a", "exec sleep 1000", |_, _| {});
        world.start(&spec).unwrap();
        let root = world.native.root(&spec.unit).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = nix::unistd::getpid().as_raw();
        assert_eq!((of_port(&root, port), holder(port)), (Listener::Foreign(own), Some(own)));
    }
}
