//! From clone to exec: the few steps that only the child itself can do.
//!
//! The child is made as `posix_spawn` makes it: it shares our memory and the calling thread sleeps until it has executed its
//! program (`CLONE_VM | CLONE_VFORK`). So a start costs the same however large we are, the steps report their failure through
//! that memory, and nobody ever sees a child that is still a copy of us. The price: between clone and exec the child may only
//! make system calls. It must not allocate, lock, panic or unwind, and it must not call libc's wrappers for user and group
//! ids, which would also change those of our own threads (nptl(7)).
//!
//! It shares our descriptors too, until its first call gives it a table of its own that ends where [`Low`] does. Otherwise each
//! child would have all that a supervisor of hundreds has open copied, marked and closed, which costs more than the rest of its start.
//!
//! Everything is prepared before in [`Launch`]; what a unit needs is decided in `native::spawn`.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use nix::errno::Errno;

use super::host::close_on_exec_from;
use crate::world::kernel::descriptors::limit_of_children;
use crate::world::kernel::launch::{Child, Launch, Limit, Namespaces, SpawnError, Step};
use crate::world::kernel::prepare::{
    FIRST_OTHER, HeldSignals, LISTEN_PID, Sockets, listen_pid, place_sockets, place_stdio, write_decimal,
};

/// What the child sees: pointers into the parent's memory, all of them valid until it has executed its program.
struct Shared<'a> {
    launch: &'a Launch,
    /// A limit before those of `launch`.
    limit: Option<&'static Limit>,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    /// `Launch::stdio` and `Launch::cgroup`, by the numbers that the child has them by.
    stdio: [Option<RawFd>; 3],
    cgroup: Option<RawFd>,
    /// Copies of `Launch::sockets` with numbers that none of them is to get.
    sockets: &'a [RawFd],
    /// The child shares our descriptors, and lets go of those from this one on.
    shares_below: Option<c_int>,
    /// Where the digits of the child's pid are to stand in its environment.
    pid_digits: *mut c_char,
    parent: c_int,
    step: AtomicI32,
    errno: AtomicI32,
}

/// Descriptors that were opened early and so have low numbers, in the place of which a child gets its own: all others it can let go of
/// at once.
struct Low {
    slots: [OwnedFd; 4],
    /// What they stand for while nobody has them.
    nothing: File,
}

impl Low {
    /// One that is free: there is one for each of those who make children at the same time. None where there are no descriptors left, or
    /// more of them: whoever gets none goes without.
    fn get() -> Option<MutexGuard<'static, Self>> {
        static ALL: OnceLock<Vec<Mutex<Low>>> = OnceLock::new();
        let make = || {
            let nothing = File::open("/dev/null")?;
            let slot = || nothing.as_fd().try_clone_to_owned();
            io::Result::Ok(Mutex::new(Low { slots: [slot()?, slot()?, slot()?, slot()?], nothing }))
        };
        ALL.get_or_init(|| (0..AT_ONCE).map_while(|_| make().ok()).collect()).iter().find_map(|low| low.try_lock().ok())
    }

    /// The first number above all of them.
    fn end(&self) -> c_int {
        self.slots.iter().map(|slot| slot.as_raw_fd() + 1).max().unwrap_or(FIRST_OTHER)
    }

    /// Has these stand in their places.
    fn lend(&self, stdio: [Option<RawFd>; 3], cgroup: Option<RawFd>) -> Option<Lent<'_>> {
        // Made first: what is not lent to the end is taken back as well.
        let mut lent = Lent { low: self, stdio: [None; 3], cgroup: None };
        let [input, output, error] = stdio;
        let mut places = [None; 4];
        for ((place, slot), from) in places.iter_mut().zip(&self.slots).zip([input, output, error, cgroup]) {
            let Some(from) = from else { continue };
            *place = Some(slot.as_raw_fd());
            // SAFETY: a system call on numbers; the second is ours.
            if unsafe { libc::dup3(from, slot.as_raw_fd(), libc::O_CLOEXEC) } < 0 {
                return None;
            }
        }
        let [input, output, error, cgroup] = places;
        (lent.stdio, lent.cgroup) = ([input, output, error], cgroup);
        Some(lent)
    }
}

/// What a child gets, in the place of [`Low`]: given back when it is dropped, so that nobody waits for the end of a pipe that we hold.
struct Lent<'a> {
    low: &'a Low,
    stdio: [Option<RawFd>; 3],
    cgroup: Option<RawFd>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        for slot in &self.low.slots {
            // SAFETY: a system call on two descriptors of ours; onto one that is open it cannot fail.
            unsafe { libc::dup3(self.low.nothing.as_raw_fd(), slot.as_raw_fd(), libc::O_CLOEXEC) };
        }
    }
}

/// So many children may be made at the same time.
const AT_ONCE: usize = 4;

/// Enough for a dozen frames of system calls.
const STACK: usize = 64 * 1024;

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
    let low = if launch.sockets.is_empty() { Low::get() } else { None };
    let lent = low.as_ref().and_then(|low| low.lend(launch.stdio, launch.cgroup));
    let shared = Shared {
        launch,
        limit: limit_of_children(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        stdio: lent.as_ref().map_or(launch.stdio, |lent| lent.stdio),
        cgroup: lent.as_ref().map_or(launch.cgroup, |lent| lent.cgroup),
        sockets: sockets.numbers(),
        shares_below: lent.as_ref().map(|lent| lent.low.end()),
        pid_digits: listen_pid.wrapping_add(LISTEN_PID.len()),
        // SAFETY: getpid has no preconditions.
        parent: unsafe { libc::getpid() },
        step: AtomicI32::new(0),
        errno: AtomicI32::new(0),
    };
    // Left as it is: the child touches a few pages of it.
    let mut stack = Box::<[u128]>::new_uninit_slice(STACK / size_of::<u128>());
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    let mut pidfd: c_int = -1;
    // A handler of ours must not run in the child, which would run it in our memory: everything is held back until the child
    // has put the default actions in place. glibc's posix_spawn does the same (sysdeps/unix/sysv/linux/spawni.c).
    let held = HeldSignals::all();
    let namespaces = launch.namespaces.as_ref().map_or(0, |namespaces| {
        let around = if namespaces.maps.is_some() { libc::CLONE_NEWUSER } else { 0 };
        libc::CLONE_NEWPID | libc::CLONE_NEWNS | around
    });
    let files = if lent.is_some() { libc::CLONE_FILES } else { 0 };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD | namespaces | files;
    // SAFETY: `child` only makes system calls and never returns into our frames; `stack` is aligned, large enough and, as
    // everything that `shared` points to, outlives the child's use of it, because CLONE_VFORK stops this thread until then.
    let pid = unsafe { libc::clone(child, top, flags, ptr::from_ref(&shared).cast_mut().cast::<c_void>(), &raw mut pidfd) };
    let cloned = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) };
    drop((held, lent));
    let pid = cloned.map_err(SpawnError::Clone)?;
    // SAFETY: the kernel has just made this descriptor for us (CLONE_PIDFD).
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    match shared.errno.load(Ordering::Acquire) {
        0 => Ok(Child { pid, pidfd }),
        errno => {
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            let step = usize::try_from(shared.step.load(Ordering::Acquire)).ok().and_then(|at| Step::ALL.get(at));
            Err(SpawnError::Step { step: step.copied().unwrap_or(Step::Prepare), source: Errno::from_raw(errno) })
        }
    }
}

/// Runs in the child, on its own stack, in the parent's memory.
extern "C" fn child(shared: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a `Shared` that outlives us; the thread that owns it sleeps.
    let shared: &Shared<'_> = unsafe { &*shared.cast::<Shared<'_>>() };
    // SAFETY: only system calls on values that were prepared before, see `become_program`.
    let (step, errno) = unsafe { become_program(shared) };
    shared.step.store(step as i32, Ordering::Release);
    shared.errno.store(if errno == 0 { libc::EINVAL } else { errno }, Ordering::Release);
    // SAFETY: ends this process without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

/// The kernel's highest signal number.
const LAST_SIGNAL: c_int = 64;

/// Executes the program; returns only when a step failed, with the step and its `errno`.
///
/// # Safety
///
/// Only in a child that shares the parent's memory, with the parent's thread asleep and all signals held back. Everything
/// here is async-signal-safe (signal-safety(7)) and raw where libc's wrapper is more than the system call.
unsafe fn become_program(shared: &Shared<'_>) -> (Step, c_int) {
    // SAFETY: the caller vouches for the place; each call below is a system call on prepared, valid memory.
    unsafe {
        macro_rules! must {
            ($step:expr, $call:expr) => {
                if $call < 0 {
                    return ($step, *libc::__errno_location());
                }
            };
        }
        let launch = shared.launch;
        if let Some(first) = shared.shares_below {
            // Before anything is done to a descriptor.
            let (first, last) = (c_long::from(first), c_long::from(u32::MAX));
            if libc::syscall(libc::SYS_close_range, first, last, c_long::from(libc::CLOSE_RANGE_UNSHARE)) < 0 {
                // Kernels before 5.9 do not know it.
                must!(Step::Prepare, libc::unshare(libc::CLONE_FILES));
            }
        }
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=LAST_SIGNAL {
            // Refused for KILL, STOP and what libc keeps for itself. An ignored signal would stay ignored over exec, and Rust
            // ignores SIGPIPE in every program.
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
        if let Some(namespaces) = &launch.namespaces {
            let errno = enter_namespaces(namespaces);
            if errno != 0 {
                return (Step::Namespaces, errno);
            }
        }
        if launch.own_session {
            must!(Step::Prepare, libc::setsid());
        }
        must!(Step::Prepare, place_stdio(shared.stdio));
        if launch.controlling_terminal {
            must!(Step::Terminal, libc::ioctl(0, libc::TIOCSCTTY as _, 0));
        }
        if let Some(cgroup) = shared.cgroup {
            must!(Step::Cgroup, libc::write(cgroup, c"0".as_ptr().cast(), 1));
        }
        // Everything that we open is close-on-exec; this is for what we were given.
        close_on_exec_from(FIRST_OTHER);
        if !shared.sockets.is_empty() {
            must!(Step::Prepare, place_sockets(shared.sockets));
            // As the child sees itself, also in a PID namespace of its own.
            write_decimal(libc::syscall(libc::SYS_getpid) as c_int, shared.pid_digits);
        }
        if let Some(text) = &launch.oom_score_adj {
            let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            must!(Step::OomScore, file);
            must!(Step::OomScore, libc::write(file, text.as_ptr().cast(), text.as_bytes().len()));
            libc::close(file);
        }
        for limit in shared.limit.into_iter().chain(&launch.limits) {
            let mut now: libc::rlimit64 = std::mem::zeroed();
            must!(Step::Limits, libc::prlimit64(0, limit.resource, ptr::null(), &raw mut now));
            let wanted = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard.unwrap_or(now.rlim_max) };
            must!(Step::Limits, libc::prlimit64(0, limit.resource, &raw const wanted, ptr::null_mut()));
        }
        if let Some(identity) = &launch.identity {
            if launch.capabilities != 0 {
                must!(Step::Capabilities, libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0));
            }
            let groups = (identity.groups.len(), identity.groups.as_ptr());
            must!(Step::Identity, libc::syscall(libc::SYS_setgroups, groups.0, groups.1));
            let (uid, gid) = (c_long::from(identity.uid), c_long::from(identity.gid));
            must!(Step::Identity, libc::syscall(libc::SYS_setresgid, gid, gid, gid));
            must!(Step::Identity, libc::syscall(libc::SYS_setresuid, uid, uid, uid));
        }
        if launch.capabilities != 0 {
            let errno = raise_capabilities(launch.capabilities, launch.identity.is_some());
            if errno != 0 {
                return (Step::Capabilities, errno);
            }
        }
        if let Some(directory) = &launch.directory {
            must!(Step::Directory, libc::chdir(directory.as_ptr()));
        }
        if let Some(signal) = launch.death_signal {
            // After the change of user, which clears it (prctl(2)).
            must!(Step::Prepare, libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0));
            // From inside a PID namespace no parent can be seen.
            if launch.namespaces.is_none() && libc::getppid() != shared.parent {
                return (Step::Prepare, libc::ESRCH);
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::execve(launch.program.as_ptr(), shared.arguments, shared.environment);
        (Step::Execute, *libc::__errno_location())
    }
}

/// Maps the user, and shows the new namespace in `/proc`; returns an `errno`, 0 when all is well.
///
/// # Safety
///
/// As [`become_program`].
unsafe fn enter_namespaces(namespaces: &Namespaces) -> c_int {
    // SAFETY: system calls on constants and prepared texts, and the caller vouches for the place.
    unsafe {
        if let Some([uid, gid]) = &namespaces.maps {
            // The first is what allows the last (user_namespaces(7)).
            for (file, text) in [(c"/proc/self/setgroups", c"deny"), (c"/proc/self/uid_map", uid), (c"/proc/self/gid_map", gid)] {
                let file = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                if file < 0 || libc::write(file, text.as_ptr().cast(), text.to_bytes().len()) < 0 {
                    return *libc::__errno_location();
                }
                libc::close(file);
            }
        }
        let none = ptr::null::<c_char>();
        if libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, ptr::null()) < 0 {
            return *libc::__errno_location();
        }
        // Refused inside of a container that hides parts of its own; then the host's stays, which shows more and hurts nobody.
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), flags, ptr::null());
        0
    }
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Raises capabilities as ambient ones; returns an `errno`, 0 when all is well. `only` drops all others.
///
/// # Safety
///
/// As [`become_program`].
unsafe fn raise_capabilities(mask: u64, only: bool) -> c_int {
    // SAFETY: the structures are those of capset(2), and the caller vouches for the place.
    unsafe {
        let mut header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
        let mut data = [CapabilityData { effective: 0, permitted: 0, inheritable: 0 }; 2];
        if libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) < 0 {
            return *libc::__errno_location();
        }
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the mask")]
        let halves = [mask as u32, (mask >> 32) as u32];
        for (data, half) in data.iter_mut().zip(halves) {
            data.inheritable |= half;
            if only {
                *data = CapabilityData { effective: half, permitted: half, inheritable: half };
            }
        }
        if libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) < 0 {
            return *libc::__errno_location();
        }
        for capability in 0..64 {
            let wanted = mask >> capability & 1 == 1;
            if wanted && libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, c_long::from(capability), 0, 0) < 0 {
                return *libc::__errno_location();
            }
        }
        0
    }
}
