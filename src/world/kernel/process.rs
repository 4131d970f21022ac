//! One process, as the kernel shows it.

use std::collections::BTreeSet;

use super::processes;

/// A process is known by its id *and* its start time, because ids are used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// When it started, in the kernel's own count: only to be compared.
    pub birth: u64,
    /// What it does: `R`, `S`, `D`, `T`, `Z`, …
    pub state: u8,
    /// The first 15 bytes of its program's name.
    pub name: String,
}

impl Process {
    /// Looks at a process; none if there is none of this id.
    pub fn read(pid: i32) -> Option<Self> {
        processes::read(pid)
    }

    /// Our own id and those of our ancestors.
    pub fn lineage() -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        let mut next = nix::unistd::getpid().as_raw();
        while next > 0 && pids.insert(next) {
            next = Self::read(next).map_or(0, |process| process.parent);
        }
        pids
    }

    /// Whether it can still do something: a zombie only waits to be collected.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }

    /// Whether its id still stands for it.
    pub fn is_current(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.birth == self.birth)
    }
}
