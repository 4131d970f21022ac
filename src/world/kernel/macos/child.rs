//! From fork to exec: the few steps that only the child itself can do.
//!
//! The child is a copy of us with one thread. Until it executes its program it may only make calls that are safe in a signal handler
//! (signal-safety rules of sigaction(2)): it must not allocate, lock, panic or unwind. Everything is prepared before in [`Launch`];
//! what a unit needs is decided in `native::spawn`.
//!
//! Two pipes join it to us. It waits at the one until it has been written down: a child that nobody knows of runs no program, also
//! when we are killed in between. The other it closes by executing its program, or tells through it which step failed.
//!
//! What Linux would do and this kernel cannot is not asked for here: namespaces, a cgroup, capabilities and `oom_score_adj` are refused
//! before, by name. Of the death signal nothing is left but the guard.

use std::ffi::{CString, c_char, c_int};
use std::io::{self, Read, Write, pipe};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

use super::host::LAST_SIGNAL;
use super::{ends, info};
use crate::world::kernel::descriptors::limit_of_children;
use crate::world::kernel::launch::{Child, Launch, Limit, SpawnError, Step};
use crate::world::kernel::prepare::{
    FIRST_OTHER, HeldSignals, LISTEN_PID, Sockets, copied_above, listen_pid, place_sockets, place_stdio, write_decimal,
};

/// What the child sees: a copy of our memory at the moment of the fork.
struct Prepared<'a> {
    launch: &'a Launch,
    /// A limit before those of `launch`.
    limit: Option<&'static Limit>,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    /// Copies of `Launch::sockets` with numbers that none of them is to get.
    sockets: &'a [RawFd],
    /// Where the digits of the child's pid are to stand in its environment.
    pid_digits: *mut c_char,
    /// The highest descriptor that we have been given, or have opened.
    last_descriptor: RawFd,
    /// Gives a byte when the child may execute its program.
    go: RawFd,
    /// Our ends of both pipes. The child's copy of the one that gives that byte would hide that we have gone.
    ours: [RawFd; 2],
}

/// What the child tells of its failure: the number of the step, then the `errno`.
type Report = [u8; 8];

/// Starts a program. Returns when the child executes it or has given up; a child that gave up is collected.
pub fn spawn(launch: &Launch) -> Result<Child, SpawnError> {
    let pointers =
        |list: &[CString]| -> Vec<*const c_char> { list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect() };
    let (arguments, mut environment) = (pointers(&launch.arguments), pointers(&launch.environment));
    let sockets = Sockets::above_their_places(&launch.sockets).map_err(SpawnError::Clone)?;
    let mut listen_pid = listen_pid();
    let listen_pid = listen_pid.as_mut_ptr();
    if !launch.sockets.is_empty() {
        environment.insert(0, listen_pid);
    }
    let (mut failed, report) = pipe().map_err(SpawnError::Clone)?;
    let (go, mut may_go) = pipe().map_err(SpawnError::Clone)?;
    // Out of the way of the sockets' places.
    let above = |end: OwnedFd| copied_above(end.as_raw_fd(), launch.sockets.len()).map_err(SpawnError::Clone);
    let (report, go) = (above(report.into())?, above(go.into())?);
    let prepared = Prepared {
        launch,
        limit: limit_of_children(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        sockets: sockets.numbers(),
        pid_digits: listen_pid.wrapping_add(LISTEN_PID.len()),
        last_descriptor: last_descriptor(),
        go: go.as_raw_fd(),
        ours: [failed.as_raw_fd(), may_go.as_raw_fd()],
    };
    // A handler of ours must not run in the child: everything is held back until the child has put the default actions in place.
    let held = HeldSignals::all();
    // SAFETY: the child only makes calls that are safe after the fork of a process with threads, and never returns from here.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: we are that child, see `become_program`.
        unsafe {
            let (step, errno) = become_program(&prepared);
            let mut told: Report = [0; 8];
            told[..4].copy_from_slice(&(step as u32).to_ne_bytes());
            told[4..].copy_from_slice(&errno.to_ne_bytes());
            libc::write(report.as_raw_fd(), told.as_ptr().cast(), told.len());
            libc::_exit(127)
        }
    }
    let forked = if pid < 0 { Err(SpawnError::Clone(io::Error::last_os_error())) } else { Ok(pid) };
    drop((held, report, go));
    let pid = forked?;
    let pidfd = ends::open_child(pid).map_err(|errno| {
        give_up(pid);
        SpawnError::Clone(errno.into())
    })?;
    if launch.own_session {
        ends::write_down(pid);
    }
    // One that has given up before is told below.
    let _ = may_go.write(&[1]);
    let mut told: Report = [0; 8];
    if failed.read_exact(&mut told).is_err() {
        return Ok(Child { pid, pidfd });
    }
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, i32::from_ne_bytes);
    let step = usize::try_from(number(&told[..4])).ok().and_then(|at| Step::ALL.get(at));
    Err(SpawnError::Step { step: step.copied().unwrap_or(Step::Prepare), source: Errno::from_raw(number(&told[4..])) })
}

/// Ends and collects a child that runs no program yet.
fn give_up(pid: i32) {
    // SAFETY: kill has no preconditions, and a child that is not collected is ours.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
}

/// The highest of our descriptors. One that is opened meanwhile is close-on-exec by itself; this is for what we were given.
fn last_descriptor() -> RawFd {
    let own = info::descriptors(nix::unistd::getpid().as_raw()).unwrap_or_default();
    own.iter().map(|descriptor| descriptor.proc_fd).max().unwrap_or(0)
}

/// Executes the program; returns only when a step failed, with the step and its `errno`.
///
/// # Safety
///
/// Only in a child that has just been forked, with all signals held back. Every call here is safe in a signal handler.
unsafe fn become_program(prepared: &Prepared<'_>) -> (Step, c_int) {
    // SAFETY: the caller vouches for the place; each call below is a system call on prepared, valid memory.
    unsafe {
        macro_rules! must {
            ($step:expr, $call:expr) => {
                if $call < 0 {
                    return ($step, *libc::__error());
                }
            };
        }
        let launch = prepared.launch;
        for end in prepared.ours {
            libc::close(end);
        }
        for signal in 1..=LAST_SIGNAL {
            // Refused for KILL and STOP. An ignored signal would stay ignored over exec, and Rust ignores SIGPIPE in every program.
            libc::signal(signal, libc::SIG_DFL);
        }
        if launch.own_session {
            must!(Step::Prepare, libc::setsid());
        }
        must!(Step::Prepare, place_stdio(launch.stdio));
        if launch.controlling_terminal {
            must!(Step::Terminal, libc::ioctl(0, libc::TIOCSCTTY.into(), 0));
        }
        // Everything that we open is close-on-exec, if perhaps not at once; this is for what we were given as well.
        for descriptor in FIRST_OTHER..=prepared.last_descriptor {
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        if !prepared.sockets.is_empty() {
            must!(Step::Prepare, place_sockets(prepared.sockets));
            write_decimal(libc::getpid(), prepared.pid_digits);
        }
        for limit in prepared.limit.into_iter().chain(&launch.limits) {
            let mut now: libc::rlimit = std::mem::zeroed();
            must!(Step::Limits, libc::getrlimit(limit.resource, &raw mut now));
            let wanted = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard.unwrap_or(now.rlim_max) };
            must!(Step::Limits, libc::setrlimit(limit.resource, &raw const wanted));
        }
        if let Some(identity) = &launch.identity {
            must!(Step::Identity, libc::setgroups(identity.groups.len() as c_int, identity.groups.as_ptr()));
            must!(Step::Identity, libc::setgid(identity.gid));
            // Of root these set all three ids.
            must!(Step::Identity, libc::setuid(identity.uid));
        }
        if let Some(directory) = &launch.directory {
            must!(Step::Directory, libc::chdir(directory.as_ptr()));
        }
        let mut go = 0_u8;
        if libc::read(prepared.go, (&raw mut go).cast(), 1) != 1 {
            // Our parent has gone and has not written us down.
            return (Step::Prepare, libc::ESRCH);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::execve(launch.program.as_ptr(), prepared.arguments, prepared.environment);
        (Step::Execute, *libc::__error())
    }
}
