//! Finds what is left of an environment whose supervisor *and* guard were killed at once, by the mark that everything
//! inherits.
//!
//! None of it is our child: it is asked to end, watched through a descriptor that stands for it, and killed. Whoever collects it is init's business.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::marker::{Marker, place_of};
use crate::base::name::EnvId;
use crate::world::clock;
use crate::world::kernel::{Process, ends, processes};

/// How long what was killed may take to be gone; longer takes only what the kernel itself holds.
const DYING: Duration = Duration::from_secs(2);

/// What a sweep came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Ended by the sweep.
    pub ended: Vec<Process>,
    /// Still there: another user's, or held by the kernel.
    pub left: Vec<Process>,
}

/// Every living process that carries the environment's mark, but ourselves and our ancestors (a command may well be called
/// from inside a service).
pub fn find(env: &EnvId, state_dir: &Path) -> Vec<Process> {
    let mut found = Vec::new();
    hunt(env, state_dir, |process| found.push(process.clone()));
    found.retain(Process::is_current);
    found
}

/// How often a look follows what was forked during the last one; a host on which others never stop forking is no reason to go on.
const CHASES: u32 = 100;

/// Shows every marked process as soon as it is seen, also one that was forked while we looked: who is forked has a number above
/// the last one that was given before, so nothing that forks and ends faster than a whole look takes can slip through.
fn hunt(env: &EnvId, state_dir: &Path, mut see: impl FnMut(&Process)) {
    let mark = Marker::of_env(env, state_dir, nix::unistd::geteuid().as_raw());
    let is_written_down = processes::written_down(state_dir);
    let ours = Process::lineage();
    let mut look = |pid: i32| {
        let is_marked = Marker::of_process(pid).is_some_and(|found| found.is_of_same_env(mark));
        if (is_marked || is_written_down(pid))
            && !ours.contains(&pid)
            && let Some(process) = Process::read(pid).filter(Process::is_alive)
        {
            see(&process);
        }
    };
    let mut last = processes::last_number();
    processes::numbers().into_iter().for_each(&mut look);
    for _ in 0..CHASES {
        let now = processes::last_number();
        if now == last {
            return;
        }
        given_between(last, now, processes::highest_number()).for_each(&mut look);
        last = now;
    }
}

/// Numbers are given upwards, and from the lowest on after the highest.
fn given_between(last: i32, now: i32, highest: i32) -> impl Iterator<Item = i32> {
    let (upwards, anew) = if now > last { (now, 0) } else { (highest, now) };
    (last + 1..=upwards).chain(1..=anew)
}

/// The environments of which processes live and whose state, below `base`, is gone, by name: it is in the variables of its processes,
/// and their mark says that it is true.
pub fn stateless(base: &Path) -> BTreeMap<EnvId, Vec<Process>> {
    let uid = nix::unistd::geteuid().as_raw();
    let mut marked: Vec<(Marker, Process)> = Vec::new();
    let mut names: BTreeMap<EnvId, Marker> = BTreeMap::new();
    for pid in processes::numbers() {
        let Some(mark) = Marker::of_process(pid) else { continue };
        let Some(process) = Process::read(pid).filter(Process::is_alive) else { continue };
        marked.push((mark, process));
        let Some(env) = processes::variable(pid, "BAISTACK_ENVID").and_then(|name| name.parse::<EnvId>().ok()) else { continue };
        let place = base.join(env.as_str());
        if !names.contains_key(&env) && !place.is_dir() && mark.is_of_same_env(Marker::of_env(&env, &place, uid)) {
            names.insert(env, mark);
        }
    }
    let of =
        |mark: Marker| marked.iter().filter(|(own, _)| own.is_of_same_env(mark)).map(|(_, process)| process.clone()).collect();
    names.into_iter().map(|(env, mark)| (env, of(mark))).collect()
}

/// The supervisors, with their guards, of an environment whose state was deleted while they lived: nobody reaches them any more, and
/// they would start again what is ended behind their back.
pub fn lost_supervisors(env: &EnvId, state_dir: &Path) -> Vec<Process> {
    let lock = place_of(state_dir).join("lock");
    let supervises = |words: &[String]| words.get(1..).is_some_and(|words| words == ["supervise", "--env", env.as_str()]);
    let is_lost = |pid: &i32| supervises(&processes::arguments(*pid)) && processes::holds_deleted(*pid, &lock);
    let lost = processes::numbers().into_iter().filter(is_lost);
    lost.filter_map(Process::read).filter(Process::is_alive).collect()
}

/// Ends those: asks first, which ends their processes in order, and kills after `grace`.
pub fn end_lost_supervisors(env: &EnvId, state_dir: &Path, grace: Duration) {
    let lost: Vec<(Process, OwnedFd)> = lost_supervisors(env, state_dir).iter().filter_map(open).collect();
    let signal = |signal: i32| lost.iter().for_each(|(process, pidfd)| ends::signal(process.pid, pidfd, signal));
    if lost.is_empty() {
        return;
    }
    signal(libc::SIGTERM);
    await_ends(&lost, grace);
    signal(libc::SIGKILL);
    await_ends(&lost, DYING);
}

/// Ends everything that [`find`] finds: asks first, kills after `grace`.
pub fn sweep(env: &EnvId, state_dir: &Path, grace: Duration) -> Swept {
    let found = find(env, state_dir);
    if found.is_empty() {
        return Swept::default();
    }
    let watched: Vec<(Process, OwnedFd)> = found.iter().filter_map(open).collect();
    for (process, pidfd) in &watched {
        ends::signal(process.pid, pidfd, libc::SIGTERM);
        ends::signal(process.pid, pidfd, libc::SIGCONT);
    }
    await_ends(&watched, grace);
    let deadline = clock::deadline(DYING);
    let left = loop {
        // Killed at sight: it has no time to fork again.
        let mut killed = Vec::new();
        hunt(env, state_dir, |process| {
            if let Some((process, pidfd)) = open(process) {
                ends::signal(process.pid, &pidfd, libc::SIGKILL);
                killed.push((process, pidfd));
            }
        });
        if killed.is_empty() || clock::is_past(deadline) {
            break find(env, state_dir);
        }
        await_ends(&killed, clock::until(deadline).min(Duration::from_millis(100)));
    };
    let remains: BTreeSet<i32> = left.iter().map(|process| process.pid).collect();
    Swept { ended: found.into_iter().filter(|process| !remains.contains(&process.pid)).collect(), left }
}

/// A descriptor of this very process; none if its id stands for another by now.
fn open(process: &Process) -> Option<(Process, OwnedFd)> {
    let pidfd = ends::open(process.pid)?;
    process.is_current().then(|| (process.clone(), pidfd))
}

/// Waits until all of them have ended, at most so long.
fn await_ends(watched: &[(Process, OwnedFd)], at_most: Duration) {
    let deadline = clock::deadline(at_most);
    let mut running: Vec<&OwnedFd> = watched.iter().map(|(_, pidfd)| pidfd).collect();
    while !running.is_empty() && !clock::is_past(deadline) {
        let mut fds: Vec<PollFd<'_>> = running.iter().map(|pidfd| PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(clock::until(deadline)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) => return,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        let ended: Vec<bool> = fds.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect();
        let mut ended = ended.into_iter();
        running.retain(|_| !ended.next().unwrap_or(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::native::testing::{World, is_alive};

    #[test]
    fn a_sweep_finds_what_has_hidden_everything_but_its_mark() {
        let mut world = World::new("sweep");
        let script = "env -i /bin/sh -c '(setsid sh -c \"trap : TERM; echo \\$\\$ > hidden; while :; do sleep 1; done\" \
                      >/dev/null 2>&1 &) &'; wait; exec sleep 1000";
        let spec = world.unit("a", script, |_, _| {});
        let leader = world.start(&spec).unwrap();
        let hidden: i32 = world.file("hidden").parse().unwrap();
        // The same name with its state elsewhere.
        let mut bystanders = World::new("sweep");
        let other = bystanders.unit("a", "exec sleep 1000", |_, _| {});
        let bystander = bystanders.start(&other).unwrap();

        let swept = sweep(&"sweep".parse().unwrap(), world.directory.path(), Duration::from_millis(50));

        let ended: BTreeSet<i32> = swept.ended.iter().map(|process| process.pid).collect();
        assert!(ended.is_superset(&BTreeSet::from([leader, hidden])), "{swept:?}");
        assert_eq!(swept.left, []);
        assert!(!is_alive(leader) && !is_alive(hidden) && is_alive(bystander));
    }
    #[test]
    fn numbers_begin_anew_after_the_highest() {
        let between = |last, now| given_between(last, now, 10).collect::<Vec<i32>>();
        assert_eq!(between(3, 5), [4, 5]);
        assert_eq!(between(8, 2), [9, 10, 1, 2]);
    }

    #[test]
    fn a_sweep_ends_what_forks_and_ends_faster_than_the_host_can_be_looked_at() {
        let mut world = World::new("rabbits");
        // Each lives for less than a millisecond, and there is never none.
        let rabbit = "echo $$ >> trail; (exec setsid sh rabbit.sh &) >/dev/null 2>&1\n";
        std::fs::write(world.directory.path().join("rabbit.sh"), rabbit).unwrap();
        let spec = world.unit("a", "sh rabbit.sh; sh rabbit.sh; sh rabbit.sh; exec sleep 1000", |_, _| {});
        world.start(&spec).unwrap();
        let env: EnvId = "rabbits".parse().unwrap();
        let trail = world.directory.path().join("trail");
        let length = || std::fs::metadata(&trail).map_or(0, |about| about.len());
        let deadline = clock::deadline(Duration::from_secs(20));
        while length() < 100 {
            assert!(!clock::is_past(deadline), "no rabbits");
            std::thread::yield_now();
        }
        let swept = sweep(&env, world.directory.path(), Duration::ZERO);
        assert_eq!(swept.left, []);
        assert_eq!(find(&env, world.directory.path()), []);
        let before = length();
        // As long as hundreds of them would take.
        assert_eq!((0..50).map(|_| find(&env, world.directory.path()).len()).sum::<usize>(), 0);
        assert_eq!(length(), before);
    }
}
