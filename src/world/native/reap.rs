//! Notices the ends of processes: leaders by a descriptor that stands for each, orphans where the kernel shows them.
//!
//! Never `wait(-1)`: it would take the status of a child that somebody else waits for. Those are in [`WAITED`], or stand in our
//! own session.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::poll::PollTimeout;

use super::cgroup::Cgroup;
use super::console::Console;
use super::marker::Marker;
use super::stop;
use super::tree::{self, Process, Root};
use crate::base::name::UnitId;
use crate::plan::action::{Exit, Incarnation};
use crate::world::kernel::poller::{Poller, Ready};
use crate::world::kernel::{ends, processes};
use crate::world::proxy;

/// Children that other threads wait for. Held while a child is made and entered, while one is collected and taken out, and
/// while the list of our children is read, which the kernel keeps consistent only as long as none of them is collected.
pub(super) static WAITED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Which life of which unit.
pub(super) type LifeId = (UnitId, Incarnation);

/// One life of a unit, until the last of its processes has ended.
#[derive(Debug)]
pub(super) struct Life {
    /// Its processes.
    pub root: Root,
    /// The leader, until its end has been seen.
    pub pidfd: Option<OwnedFd>,
    /// How the leader ended.
    pub exit: Option<Exit>,
    /// Its end has been told, with so many processes left.
    pub told: Option<u32>,
    /// It was asked to end, with this signal.
    pub asked: Option<i32>,
    /// It is to be killed, whatever else it makes.
    pub killed: bool,
    /// The groups that were asked one by one, after the leader's end.
    pub asked_too: BTreeSet<i32>,
    /// Programs that may outlive it.
    pub keep: Vec<String>,
    /// Where its input is written: a pipe or its terminal.
    pub console: Arc<Console>,
    /// Whether it is its unit's life; else it gets ready beside another, or has been one.
    pub leads: bool,
    /// When it was started.
    pub began: SystemTime,
    /// Behind a proxy: where connections arrive, and the port that it listens at.
    pub front: Option<(String, u16)>,
    /// It led: what a proxy has given it may still be under way.
    pub behind: Option<Arc<proxy::Life>>,
    /// Its cgroup, if it has one; removed with it.
    pub cgroup: Option<Cgroup>,
}

impl Life {
    /// The port that it listens at, behind a proxy.
    pub(super) fn port(&self) -> Option<u16> {
        self.front.as_ref().map(|(_, port)| *port)
    }

    /// Kills all of it but programs that were left behind and may stay.
    pub(super) fn kill(&mut self) -> Result<(), Errno> {
        self.killed = true;
        if self.keep.is_empty() {
            self.kill_cgroup();
        }
        stop::kill_all(&self.root, &self.keep)
    }

    /// Kills all of it: nothing outlives the environment.
    pub(super) fn kill_with_kept(&mut self) -> Result<(), Errno> {
        self.killed = true;
        self.kill_cgroup();
        stop::kill_all(&self.root, &[])
    }

    fn kill_cgroup(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
    }
}

/// An end to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub unit: UnitId,
    pub incarnation: Incarnation,
    pub exit: Exit,
    pub remaining: u32,
    /// It was the unit's life.
    pub led: bool,
}

/// Whose orphan it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    Life(LifeId),
    /// It has lost its mark, or its life has been given up for ended.
    Nobody,
}

/// All lives.
#[derive(Debug)]
pub(super) struct Reaper {
    leaders: Poller,
    pub lives: BTreeMap<LifeId, Life>,
    /// Their marks.
    markers: BTreeSet<Marker>,
    /// Children that we have adopted, with the life that they belong to.
    orphans: BTreeMap<i32, Owner>,
    env: Marker,
}

impl Reaper {
    pub(super) fn new(env: Marker) -> Result<Self, Errno> {
        Ok(Self { leaders: Poller::new()?, lives: BTreeMap::new(), markers: BTreeSet::new(), orphans: BTreeMap::new(), env })
    }

    /// Takes a new life in.
    pub(super) fn add(&mut self, id: LifeId, life: Life) -> Result<(), Errno> {
        if let Some(pidfd) = &life.pidfd {
            let key = u64::try_from(life.root.leader).unwrap_or_default();
            self.leaders.add(pidfd, key)?;
        }
        self.markers.insert(life.root.marker);
        self.lives.insert(id, life);
        Ok(())
    }

    /// Whether a life has this mark.
    pub(super) fn has(&self, marker: Marker) -> bool {
        self.markers.contains(&marker)
    }

    /// The lives of a unit.
    pub(super) fn of<'a>(&'a self, unit: &UnitId) -> impl Iterator<Item = (&'a LifeId, &'a Life)> + use<'a> {
        self.lives.range((unit.clone(), Incarnation(0))..=(unit.clone(), Incarnation(u32::MAX)))
    }

    /// The same, to be changed.
    pub(super) fn of_mut<'a>(&'a mut self, unit: &UnitId) -> impl Iterator<Item = (&'a LifeId, &'a mut Life)> + use<'a> {
        self.lives.range_mut((unit.clone(), Incarnation(0))..=(unit.clone(), Incarnation(u32::MAX)))
    }

    /// Collects everything that has ended; says what is to be told.
    pub(super) fn collect(&mut self) -> Vec<End> {
        self.collect_leaders();
        self.collect_orphans();
        let mut ends = Vec::new();
        let ended: Vec<LifeId> = self.lives.iter().filter(|(_, life)| life.exit.is_some()).map(|(id, _)| id.clone()).collect();
        for id in ended {
            ends.extend(self.follow_up(&id));
        }
        ends
    }

    /// What is left of a life whose leader has ended: told, asked to end, killed.
    fn follow_up(&mut self, id: &LifeId) -> Option<End> {
        let heads = self.heads(id);
        let left = living(&heads);
        let life = self.lives.get_mut(id)?;
        let exit = life.exit?;
        // One that ended since it was listed may have left a child to us. It is still to be collected, and then that is seen.
        let remaining = u32::try_from(left.len().max(usize::from(!heads.is_empty()))).unwrap_or(u32::MAX);
        let is_news = life.told.is_none() || (remaining == 0 && life.told != Some(0));
        let end = is_news.then(|| {
            life.told = Some(remaining);
            End { unit: id.0.clone(), incarnation: id.1, exit, remaining, led: life.leads }
        });
        if remaining == 0 {
            self.markers.remove(&life.root.marker);
            self.lives.remove(id);
        } else if life.killed {
            // Errors were told when the kill was asked for.
            let _ = stop::signal_all(&left, libc::SIGKILL);
        } else if let Some(signal) = life.asked {
            ask_others(life, &left, signal);
        }
        end
    }

    /// Asks what a leader has left behind to end, as it was asked itself.
    pub(super) fn ask_left_behind(&mut self, id: &LifeId, signal: i32) {
        let left = living(&self.heads(id));
        if let Some(life) = self.lives.get_mut(id) {
            ask_others(life, &left, signal);
        }
    }

    /// The orphans of a life, without what may stay.
    fn heads(&self, id: &LifeId) -> Vec<i32> {
        let Some(life) = self.lives.get(id) else { return Vec::new() };
        let of_life =
            self.orphans.iter().filter(|(_, owner)| matches!(owner, Owner::Life(owner) if owner == id)).map(|(pid, _)| *pid);
        of_life.filter(|pid| !tree::may_stay(*pid, &life.keep)).collect()
    }

    fn collect_leaders(&mut self) {
        loop {
            let mut ready = Ready::<64>::default();
            let Ok(()) = self.leaders.wait(&mut ready, PollTimeout::ZERO) else { return };
            for key in ready.keys() {
                let pid = i32::try_from(key).unwrap_or_default();
                let Some(life) = self.lives.values_mut().find(|life| life.root.leader == pid && life.exit.is_none()) else {
                    continue;
                };
                if let Some(exit) = collect(pid) {
                    life.exit = Some(exit);
                    // Closing the descriptor takes it out of the set.
                    life.pidfd = None;
                }
            }
            if !ready.is_full() {
                return;
            }
        }
    }

    /// Finds and collects orphans until nothing changes: the children of one that is collected are ours, too.
    fn collect_orphans(&mut self) {
        let waited = WAITED.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let leaders: BTreeSet<i32> = self.running_leaders();
            let adopted = processes::adopted(|session| self.lives.values().any(|life| life.root.leader == session));
            let children: Vec<i32> = adopted.into_iter().filter(|pid| !leaders.contains(pid) && !waited.contains(pid)).collect();
            self.orphans.retain(|pid, _| children.binary_search(pid).is_ok() || children.contains(pid));
            for pid in children {
                if !self.orphans.contains_key(&pid)
                    && let Some(owner) = self.classify(pid)
                {
                    ends::tell_end_of(pid);
                    self.orphans.insert(pid, owner);
                }
            }
            let before = self.orphans.len();
            self.orphans.retain(|pid, _| collect(*pid).is_none());
            if self.orphans.len() == before {
                return;
            }
        }
    }

    fn running_leaders(&self) -> BTreeSet<i32> {
        self.lives.values().filter(|life| life.exit.is_none()).map(|life| life.root.leader).collect()
    }

    /// Whose orphan a child of ours is; none if it is no business of ours.
    fn classify(&self, pid: i32) -> Option<Owner> {
        let session = tree::session_of(pid);
        let marker = Marker::of_process(pid);
        let owner = self.lives.iter().find(|(_, life)| session == Some(life.root.leader) || marker == Some(life.root.marker));
        if let Some((id, _)) = owner {
            return Some(Owner::Life(id.clone()));
        }
        let is_elsewhere = session != tree::session_of(0);
        let is_ours = marker.is_none_or(|marker| marker.is_of_same_env(self.env));
        (is_elsewhere && is_ours).then_some(Owner::Nobody)
    }
}

/// These processes and all that descends from them, as far as they live.
fn living(heads: &[i32]) -> Vec<Process> {
    let mut living = tree::with_descendants(heads);
    living.retain(Process::is_alive);
    living
}

/// Members of the leader's group were asked with it; each of the other groups is asked once. Who comes to one later was made by
/// somebody who was asked.
fn ask_others(life: &mut Life, left: &[Process], signal: i32) {
    let others: Vec<Process> = (left.iter())
        .filter(|process| process.group != life.root.leader && life.asked_too.insert(stop::target(process)))
        .cloned()
        .collect();
    let _ = stop::signal_all(&others, signal);
    let _ = stop::signal_all(&others, libc::SIGCONT);
}

/// Collects a child of ours if it has ended.
pub(super) fn collect(pid: i32) -> Option<Exit> {
    wait(pid, libc::WNOHANG).ok().flatten()
}

/// Collects any child that has ended: for the guard, where nobody else waits for one.
pub(super) fn wait_any() -> Result<Option<(i32, Exit)>, Errno> {
    wait_for(-1, libc::WNOHANG)
}

/// Waits for a child, with the flags of waitpid(2); none when it has not ended (`WNOHANG`).
pub(super) fn wait(pid: i32, flags: i32) -> Result<Option<Exit>, Errno> {
    wait_for(pid, flags).map(|ended| ended.map(|(_, exit)| exit))
}

/// waitpid(2) with exits by real-time signals, which nix does not know.
fn wait_for(pid: i32, flags: i32) -> Result<Option<(i32, Exit)>, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: waitpid fills in a number of ours.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, flags) }) {
            Ok(0) => return Ok(None),
            Ok(pid) if libc::WIFEXITED(status) => return Ok(Some((pid, Exit::Code(libc::WEXITSTATUS(status))))),
            Ok(pid) => return Ok(Some((pid, Exit::Signal(libc::WTERMSIG(status))))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
