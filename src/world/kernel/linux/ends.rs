//! The ends of processes: descriptors that stand for one (`pidfd_open(2)`), orphans that come to us, and a signal when a parent
//! goes.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use crate::world::native::marker::Marker;

/// Whether orphans come to us, so that `ECHILD` means that nothing is left.
pub const ORPHANS_ARE_CHILDREN: bool = true;

/// A descriptor that stands for a process, and that can be read from once it has ended; none where there is none of this id.
pub fn open(pid: i32) -> Option<OwnedFd> {
    // SAFETY: pidfd_open takes two numbers and gives a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made it for us.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Signals the very process that a descriptor of [`open`] stands for. What may not be signalled stays as it is.
pub fn signal(_pid: i32, process: &OwnedFd, signal: i32) {
    // SAFETY: a descriptor of ours and a signal number; no further information is given.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0) };
}

/// Has orphans of all that descends from us come to us (`PR_SET_CHILD_SUBREAPER`).
pub fn adopt_orphans() -> Result<(), Errno> {
    prctl::set_child_subreaper(true)
}

/// Keeps a record of the sessions that this supervisor starts, for whoever looks for what it has left: needless here.
pub fn write_sessions_down(_state_dir: &Path, _env: Marker) {}

/// Sends ourselves a signal when our parent ends (`PR_SET_PDEATHSIG`), at once if it has ended already. The parent is to have one
/// thread: it is that thread's end that is told.
pub fn end_with(parent: Pid, with: Signal) {
    let _ = prctl::set_pdeathsig(with);
    if getppid() != parent {
        let _ = nix::sys::signal::raise(with);
    }
}

/// Has SIGCHLD come for the end of an orphan: it is a child of ours, for which it comes by itself.
pub fn tell_end_of(_orphan: i32) {}

/// Waits until a child has ended, without collecting it, at most so long. SIGCHLD must be blocked.
pub fn await_child(at_most: Duration) {
    let wait = libc::timespec {
        tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(1),
        tv_nsec: i64::from(at_most.subsec_nanos()),
    };
    // SAFETY: the set is memory of ours that the calls fill in; what would be told about the signal is not asked for.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const wait);
    }
}
