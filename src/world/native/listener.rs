//! Who listens on a port: the processes of a unit, or somebody else.

use std::collections::HashSet;

use procfs::net::TcpState;
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
    let four = procfs::net::tcp().unwrap_or_default();
    let six = procfs::net::tcp6().unwrap_or_default();
    (four.into_iter().chain(six))
        .filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)
        .map(|entry| entry.inode)
        .collect()
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
