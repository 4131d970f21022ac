//! The ends of processes: kqueues that stand for one (`EVFILT_PROC`), a record of sessions in the place of a subreaper, and a thread
//! that waits for the end of a parent.

use std::io::pipe;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::timespec;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};

use crate::world::kernel::Process;
use crate::world::kernel::parent::signal_at_end_of;
use crate::world::kernel::sessions::{Record, Seen};
use crate::world::native::marker::Marker;

/// Whether orphans come to us: they go to launchd, so `ECHILD` says nothing of them.
pub const ORPHANS_ARE_CHILDREN: bool = false;

/// The record of this supervisor's sessions, where there is one.
static RECORD: OnceLock<Record> = OnceLock::new();

/// A descriptor that stands for a process, and that can be read from once it has ended; none where there is none of this id.
pub fn open(pid: i32) -> Option<OwnedFd> {
    let queue = Kqueue::new().ok()?;
    // What comes stays in the queue, as nobody takes it out.
    wait_for_end(&queue, pid).ok()?;
    Some(queue.into())
}

/// The same for a child that is not collected yet: one that has ended already has one that can be read from at once.
pub(super) fn open_child(pid: i32) -> Result<OwnedFd, Errno> {
    let queue = Kqueue::new()?;
    match wait_for_end(&queue, pid) {
        Ok(()) => Ok(queue.into()),
        // A zombie is none for kevent(2). The end of a pipe whose other end is closed is at its end.
        Err(Errno::ESRCH) => {
            pipe().map(|(end, _)| end.into()).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
        }
        Err(errno) => Err(errno),
    }
}

fn wait_for_end(queue: &Kqueue, pid: i32) -> Result<(), Errno> {
    let pid = usize::try_from(pid).map_err(|_| Errno::ESRCH)?;
    let event = KEvent::new(pid, EventFilter::EVFILT_PROC, EvFlags::EV_ADD, FilterFlag::NOTE_EXIT, 0, 0);
    queue.kevent(&[event], &mut [], None).map(drop)
}

/// Signals the process that a descriptor of [`open`] stands for, unless it has ended. What may not be signalled stays as it is.
pub fn signal(pid: i32, process: &OwnedFd, signal: i32) {
    let mut ends = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ends, PollTimeout::ZERO) == Ok(0) {
        // SAFETY: kill has no preconditions.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Has orphans of all that descends from us come to us: there is no such thing here, and they are sought instead.
pub fn adopt_orphans() -> Result<(), Errno> {
    Ok(())
}

/// Keeps a record of the sessions that this supervisor starts, for whoever looks for what it has left.
pub fn write_sessions_down(state_dir: &Path, env: Marker) {
    match Record::begin(state_dir, env.number()) {
        Ok(record) => drop(RECORD.set(record)),
        Err(error) => tracing::warn!("what is left of processes may not be found later: their record cannot be written: {error}"),
    }
}

/// Enters a session, by its leader, in that record. Before its program runs.
pub(super) fn write_down(leader: i32) {
    let Some(record) = RECORD.get() else { return };
    let Some(birth) = Process::read(leader).map(|process| process.birth) else { return };
    if let Err(error) = record.add(leader, birth, look) {
        tracing::warn!("process {leader} is not in the record of processes: {error}");
    }
}

fn look(leader: i32) -> Seen {
    match Process::read(leader) {
        Some(process) => Seen::Leader(process.birth),
        // The group of a leader has its number; members that made groups of their own are found by their mark, or by one that has not.
        None if kill(Pid::from_raw(-leader), None) != Err(Errno::ESRCH) => Seen::Members,
        None => Seen::Nothing,
    }
}

/// Sends ourselves a signal when our parent ends, at once if it has ended already.
pub fn end_with(parent: Pid, with: Signal) {
    let is_watched = open(parent.as_raw()).map(|process| signal_at_end_of(process, with)).is_some();
    if !is_watched || getppid() != parent {
        let _ = kill(getpid(), with);
    }
}

/// Has SIGCHLD come for the end of an orphan, as for that of a child: a thread waits for it.
pub fn tell_end_of(orphan: i32) {
    static QUEUE: OnceLock<Option<Kqueue>> = OnceLock::new();
    let is_watched = match QUEUE.get_or_init(|| Kqueue::new().ok()) {
        Some(queue) => {
            static THREAD: OnceLock<()> = OnceLock::new();
            THREAD.get_or_init(|| tell_ends(queue));
            wait_for_end(queue, orphan).is_ok()
        }
        None => false,
    };
    if !is_watched {
        // It has ended by now, or nobody will tell: whoever is told looks again.
        let _ = kill(getpid(), Signal::SIGCHLD);
    }
}

fn tell_ends(queue: &'static Kqueue) {
    let tell = move || {
        let mut ended = [KEvent::new(0, EventFilter::EVFILT_PROC, EvFlags::empty(), FilterFlag::empty(), 0, 0); 16];
        loop {
            match queue.kevent(&[], &mut ended, None) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => {
                    let _ = kill(getpid(), Signal::SIGCHLD);
                }
                Err(errno) => return tracing::warn!("ends of orphans are not noticed any more: {}", errno.desc()),
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("orphans".to_owned()).spawn(tell) {
        tracing::warn!("ends of orphans will not be noticed: {error}");
    }
}

/// Waits until a child has ended, without collecting it, at most so long. SIGCHLD must be blocked.
pub fn await_child(at_most: Duration) {
    let Ok(queue) = Kqueue::new() else { return thread::sleep(at_most) };
    let child = KEvent::new(libc::SIGCHLD as usize, EventFilter::EVFILT_SIGNAL, EvFlags::EV_ADD, FilterFlag::empty(), 0, 0);
    let timeout =
        timespec { tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(1), tv_nsec: i64::from(at_most.subsec_nanos()) };
    let _ = queue.kevent(&[child], &mut [child; 1], Some(timeout));
}
