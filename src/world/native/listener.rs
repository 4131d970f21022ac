//! Who listens on a port: the processes of a unit, or somebody else.

use std::collections::HashSet;

use super::tree::Root;
use crate::world::kernel::{Process, processes, sockets};

impl Root {
    /// Whether every listener on a port belongs to this tree, or to one of these, where that can be seen. Else one sentence fragment.
    ///
    /// An orphan of a former life may still answer on a port that is shared by `SO_REUSEPORT`, so one listener of ours is not
    /// enough. Sockets of processes that we may not look into count for nothing.
    pub fn owns_listener(&self, others: &[Root], port: u16) -> Result<(), String> {
        let listening = sockets::listening(port);
        if listening.is_empty() {
            return Ok(());
        }
        let mut ours = HashSet::new();
        let mut blind = false;
        let trees = others.iter().chain([self]);
        let members: HashSet<i32> = trees.flat_map(Root::members).map(|process| process.pid).collect();
        for &pid in &members {
            match sockets::of_process(pid) {
                Some(sockets) => ours.extend(sockets),
                None => blind = true,
            }
        }
        let foreign: HashSet<u64> = listening.difference(&ours).copied().collect();
        if foreign.is_empty() || blind {
            return Ok(());
        }
        let mut others = owners().filter(|(pid, _)| !members.contains(pid));
        match others.find(|(_, sockets)| !sockets.is_disjoint(&foreign)) {
            Some((pid, _)) => {
                Err(format!("port {port} is answered by process {pid} ({}), which this service did not start", name(pid)))
            }
            None => Ok(()),
        }
    }
}

/// The process that listens on the port of `host:port`, as `process 4711 (nginx)`; none when we may not see it.
pub(super) fn holder_of(address: &str) -> Option<String> {
    let port = address.rsplit_once(':')?.1.parse().ok()?;
    let listening = sockets::listening(port);
    let (pid, _) = owners().find(|(_, sockets)| !sockets.is_disjoint(&listening))?;
    Some(format!("process {pid} ({})", name(pid)))
}

/// The processes that we may look into, with their sockets.
fn owners() -> impl Iterator<Item = (i32, HashSet<u64>)> {
    processes::numbers().into_iter().filter_map(|pid| Some((pid, sockets::of_process(pid)?)))
}

fn name(pid: i32) -> String {
    Process::read(pid).map_or_else(|| "?".to_owned(), |process| process.name)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let birth = Process::read(leader).unwrap().birth;
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
