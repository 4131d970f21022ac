//! Which processes there are and which of them belong to a unit.
//!
//! A unit's processes are its leader with all that descends from it, and what it has left behind: children of ours (a
//! subreaper gets the orphans of everything that it started) that are in the leader's session or carry the unit's mark, with
//! all that descends from them. A process is known by its id *and* its start time, because ids are used again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::OnceLock;

use nix::unistd::{Pid, getsid};

use super::marker::Marker;

/// One process, as the kernel shows it.
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
    /// When it started, in the kernel's ticks since boot.
    pub birth: u64,
    /// What it does: `R`, `S`, `D`, `T`, `Z`, …
    pub state: u8,
    /// The first 15 bytes of its program's name.
    pub name: String,
}

impl Process {
    /// Looks at a process; none if there is none of this id.
    pub fn read(pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The line of `/proc/PID/stat` (`proc_pid_stat(5)`). The name may hold spaces and parentheses: it ends at the last one.
    fn parse(pid: i32, line: &[u8]) -> Option<Self> {
        let open = memchr::memchr(b'(', line)?;
        let close = memchr::memrchr(b')', line)?;
        let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let mut number = || fields.next()?.parse::<i32>().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        // Field 22; the session is field 6.
        let birth = fields.nth(15)?.parse().ok()?;
        let name = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
        Some(Self { pid, parent, group, session, birth, state, name })
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
        let mut heads: Vec<i32> = adopted().into_iter().filter(is_head).collect();
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

/// The children of ours among which orphans are: the kernel gives them to the first thread that is not ending
/// (`find_new_reaper` in kernel/exit.c), and the main thread ends last.
pub fn adopted() -> Vec<i32> {
    let own = nix::unistd::getpid().as_raw();
    if has_children_file() {
        children_of_thread(own, own)
    } else {
        scan().into_iter().filter(|process| process.parent == own).map(|process| process.pid).collect()
    }
}

/// These processes and all that descends from them, parents first.
pub fn with_descendants(heads: &[i32]) -> Vec<Process> {
    let index = if heads.is_empty() || has_children_file() { None } else { Some(by_parent(scan())) };
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
            None => next.extend(children_of(pid)),
        }
        found.push(process);
    }
    found
}

/// All that descends from us, from one look at the whole host: for the guard, which has no second chance.
pub fn descendants() -> Vec<Process> {
    let all = scan();
    let mut ours = BTreeSet::from([nix::unistd::getpid().as_raw()]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for process in &all {
            if ours.contains(&process.parent) && ours.insert(process.pid) {
                found.push(process.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Every process of the host that we may see.
pub fn scan() -> Vec<Process> {
    numbers().into_iter().filter_map(Process::read).collect()
}

/// Their ids.
pub fn numbers() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn by_parent(processes: Vec<Process>) -> BTreeMap<i32, Vec<i32>> {
    let mut index: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in processes {
        index.entry(process.parent).or_default().push(process.pid);
    }
    index
}

fn children_of(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let threads = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    threads.flat_map(|thread: i32| children_of_thread(pid, thread)).collect()
}

fn children_of_thread(pid: i32, thread: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Kernels without `CONFIG_PROC_CHILDREN` have no such file; there everything is scanned.
fn has_children_file() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let own = nix::unistd::getpid();
        fs::exists(format!("/proc/{own}/task/{own}/children")).unwrap_or(false)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let line = b"7 (a) S (b) ) R 1 2 3 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 0 0\n";
        let process = Process::parse(7, line).unwrap();
        assert_eq!((process.name.as_str(), process.parent, process.group, process.session), ("a) S (b) ", 1, 2, 3));
        assert_eq!((process.state, process.birth), (b'R', 12345));
        assert_eq!(Process::parse(7, b"7 (a"), None);
    }

    #[test]
    fn we_are_seen_as_we_are() {
        let own = Process::read(nix::unistd::getpid().as_raw()).unwrap();
        assert_eq!(own.parent, nix::unistd::getppid().as_raw());
        assert!(own.is_alive() && own.is_current());
        assert!(scan().iter().any(|process| process.pid == own.pid));
    }
}
