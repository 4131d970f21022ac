//! Which processes there are and which of them belong to a unit.
//!
//! A unit's processes are its leader with all that descends from it, and what it has left behind: orphans, where the kernel shows
//! them ([`processes::adopted`]), that are in the leader's session or carry the unit's mark, with all that descends from them.

use std::collections::{BTreeMap, BTreeSet};

use nix::unistd::{Pid, getsid};

use super::marker::Marker;
use crate::world::kernel::processes;

pub use crate::world::kernel::Process;

/// What makes up a unit's processes; enough to find them from any thread of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// The leader's process id.
    pub leader: i32,
    /// The leader's start time.
    pub birth: u64,
    /// The unit's mark.
    pub marker: Marker,
}

impl Root {
    /// Everything of the unit that lives.
    pub fn members(&self) -> Vec<Process> {
        self.members_but(&[])
    }

    /// Everything of the unit that lives, without programs that were left behind and may stay.
    pub fn members_but(&self, keep: &[String]) -> Vec<Process> {
        let is_head = |pid: &i32| self.has_left_behind(*pid) && !may_stay(*pid, keep);
        let adopted = processes::adopted(|session| session == self.leader);
        let mut heads: Vec<i32> = adopted.into_iter().filter(is_head).collect();
        if Process::read(self.leader).is_some_and(|leader| leader.birth == self.birth) {
            heads.push(self.leader);
        }
        let mut members = with_descendants(&heads);
        members.retain(Process::is_alive);
        members
    }

    /// Whether a child of ours is an orphan of the unit.
    pub fn has_left_behind(&self, child: i32) -> bool {
        child != self.leader && (session_of(child) == Some(self.leader) || Marker::of_process(child) == Some(self.marker))
    }
}

/// Whether a process is one of these programs, by the name that the kernel shows.
pub fn may_stay(pid: i32, keep: &[String]) -> bool {
    // The kernel keeps 15 bytes of a name.
    let matches = |name: &str| keep.iter().any(|kept| kept.as_bytes().get(..15).unwrap_or(kept.as_bytes()) == name.as_bytes());
    !keep.is_empty() && Process::read(pid).is_some_and(|process| matches(&process.name))
}

/// The session of a process, also of a zombie.
pub fn session_of(pid: i32) -> Option<i32> {
    getsid(Some(Pid::from_raw(pid))).ok().map(Pid::as_raw)
}

/// These processes and all that descends from them, parents first.
pub fn with_descendants(heads: &[i32]) -> Vec<Process> {
    let index = if heads.is_empty() || processes::tells_children() { None } else { Some(by_parent(scan())) };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut next: Vec<i32> = heads.to_vec();
    while let Some(pid) = next.pop() {
        if !seen.insert(pid) {
            continue;
        }
        let Some(process) = Process::read(pid) else { continue };
        match &index {
            Some(index) => next.extend(index.get(&pid).into_iter().flatten()),
            None => next.extend(processes::children_of(pid)),
        }
        found.push(process);
    }
    found
}

/// Every process of the host that we may see.
pub fn scan() -> Vec<Process> {
    processes::numbers().into_iter().filter_map(Process::read).collect()
}

fn by_parent(processes: Vec<Process>) -> BTreeMap<i32, Vec<i32>> {
    let mut index: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in processes {
        index.entry(process.parent).or_default().push(process.pid);
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_seen_as_we_are() {
        let own = Process::read(nix::unistd::getpid().as_raw()).unwrap();
        assert_eq!(own.parent, nix::unistd::getppid().as_raw());
        assert!(own.is_alive() && own.is_current());
        assert!(scan().iter().any(|process| process.pid == own.pid));
    }
}
