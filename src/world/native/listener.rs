//! Who listens on a port: the processes of a unit, or somebody else.

use std::collections::HashSet;
use std::fs;

use procfs::process::FDTarget;

use super::tree::Root;

impl Root {
    /// Whether every listener on a port belongs to this tree, or to one of these, where that can be seen. Else one sentence fragment.
    ///
    /// An orphan of a former life may still answer on a port that is shared by `SO_REUSEPORT`, so one listener of ours is not
    /// enough. Sockets of processes that we may not look into count for nothing.
    pub fn owns_listener(&self, others: &[Root], port: u16) -> Result<(), String> {
        let listening = listening(port);
        if listening.is_empty() {
            return Ok(());
        }
        let mut ours = HashSet::new();
        let mut blind = false;
        let trees = others.iter().chain([self]);
        let members: HashSet<i32> = trees.flat_map(Root::members).map(|process| process.pid).collect();
        for &pid in &members {
            match sockets(pid) {
                Some(sockets) => ours.extend(sockets),
                None => blind = true,
            }
        }
        let foreign: HashSet<u64> = listening.difference(&ours).copied().collect();
        if foreign.is_empty() || blind {
            return Ok(());
        }
        let Ok(processes) = procfs::process::all_processes() else { return Ok(()) };
        for process in processes.flatten().filter(|process| !members.contains(&process.pid)) {
            if sockets(process.pid).is_some_and(|sockets| sockets.iter().any(|inode| foreign.contains(inode))) {
                return Err(format!(
                    "port {port} is answered by process {} ({}), which this service did not start",
                    process.pid,
                    name(&process)
                ));
            }
        }
        Ok(())
    }
}

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

/// The process that listens on the port of `host:port`, as `process 4711 (nginx)`; none when we may not see it.
pub(super) fn holder_of(address: &str) -> Option<String> {
    let port = address.rsplit_once(':')?.1.parse().ok()?;
    let listening = listening(port);
    let mut processes = procfs::process::all_processes().ok()?.flatten();
    let holder =
        processes.find(|process| sockets(process.pid).is_some_and(|sockets| sockets.iter().any(|it| listening.contains(it))))?;
    Some(format!("process {} ({})", holder.pid, name(&holder)))
}

fn name(process: &procfs::process::Process) -> String {
    process.stat().map_or_else(|_| "?".to_owned(), |stat| stat.comm)
}

/// The sockets of a process; none when we may not look.
pub fn sockets(pid: i32) -> Option<HashSet<u64>> {
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

    #[test]
    fn one_that_answers_beside_ours_on_a_shared_port_is_named() {
        use nix::sys::socket::sockopt::ReusePort;
        use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, listen, setsockopt, socket};
        let listener = |port: u16| {
            let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
            setsockopt(&socket, ReusePort, &true).unwrap();
            let address = libc::sockaddr_in {
                sin_family: u16::try_from(libc::AF_INET).unwrap(),
                sin_port: port.to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(std::net::Ipv4Addr::LOCALHOST).to_be() },
                sin_zero: [0; 8],
            };
            let size = u32::try_from(size_of_val(&address)).unwrap();
            let number = std::os::fd::AsRawFd::as_raw_fd(&socket);
            // SAFETY: binds a socket of ours; the kernel copies the address, which is as long as it is said to be.
            assert_eq!(unsafe { libc::bind(number, (&raw const address).cast(), size) }, 0);
            listen(&socket, Backlog::new(1).unwrap()).unwrap();
            std::net::TcpListener::from(socket)
        };
        let first = listener(0);
        let port = first.local_addr().unwrap().port();
        // Its standard input is the socket, and nobody else's.
        let socket = std::process::Stdio::from(std::os::fd::OwnedFd::from(first));
        let mut service = std::process::Command::new("sleep").arg("1000").stdin(socket).spawn().unwrap();
        let leader = i32::try_from(service.id()).unwrap();
        let birth = super::super::tree::Process::read(leader).unwrap().birth;
        let root = Root { leader, birth, marker: super::super::marker::Marker::NONE };
        let alone = root.owns_listener(&[], port);
        let beside = listener(port);
        let shared = root.owns_listener(&[], port);
        drop(beside);
        let again = root.owns_listener(&[], port);
        service.kill().unwrap();
        service.wait().unwrap();
        assert_eq!((&alone, &again), (&Ok(()), &Ok(())));
        let told = shared.unwrap_err();
        assert!(told.starts_with(&format!("port {port} is answered by process {} (", std::process::id())), "{told}");
    }
}
