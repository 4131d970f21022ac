//! From clone to exec: the few steps that only the child itself can do.
//!
//! The child is made as `posix_spawn` makes it: it shares our memory and the calling thread sleeps until it has executed its
//! program (`CLONE_VM | CLONE_VFORK`). So a start costs the same however large we are, the steps report their failure through
//! that memory, and nobody ever sees a child that is still a copy of us. The price: between clone and exec the child may only
//! make system calls. It must not allocate, lock, panic or unwind, and it must not call libc's wrappers for user and group
//! ids, which would also change those of our own threads (nptl(7)).
//!
//! Everything is prepared before in [`Launch`]; what a unit needs is decided in `spawn`.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;

/// What the child is to become.
#[derive(Debug, Default)]
pub struct Launch {
    /// The program's file.
    pub program: CString,
    /// Its arguments, the name first.
    pub arguments: Vec<CString>,
    /// Its environment, `NAME=value`.
    pub environment: Vec<CString>,
    /// Its working directory; ours when absent.
    pub directory: Option<CString>,
    /// Namespaces of its own; the first process in them is this one.
    pub namespaces: Option<Namespaces>,
    /// Whether it leads a session of its own.
    pub own_session: bool,
    /// Descriptors that become 0, 1 and 2; ours stay where absent. They are closed by whoever owns them.
    pub stdio: [Option<RawFd>; 3],
    /// Listening sockets that become 3, 4, …, as `sd_listen_fds(3)` has it; `LISTEN_PID` is added to the environment. Closed by
    /// whoever owns them.
    pub sockets: Vec<RawFd>,
    /// Whether descriptor 0 becomes its controlling terminal.
    pub controlling_terminal: bool,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// What goes into `oom_score_adj`, as text.
    pub oom_score_adj: Option<CString>,
    /// The `cgroup.procs` of the cgroup that it moves into; closed by whoever owns it.
    pub cgroup: Option<RawFd>,
    /// Whom it runs as; like us when absent.
    pub identity: Option<Identity>,
    /// Capabilities (bit `n` is capability `n`) that it holds in spite of an ordinary user or program.
    pub capabilities: u64,
    /// The signal that it gets when the calling *thread* ends. Only for a thread that lives as long as we do.
    pub death_signal: Option<c_int>,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_…`.
    pub resource: u32,
    /// The limit in force.
    pub soft: u64,
    /// How far it may be raised; none leaves it as it is.
    pub hard: Option<u64>,
}

/// A PID namespace, with a `/proc` that shows it where the host allows one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaces {
    /// The lines of `uid_map` and `gid_map` of a user namespace around it; none makes no user namespace, which takes root.
    pub maps: Option<[CString; 2]>,
}

/// User and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// A child that executes its program.
#[derive(Debug)]
pub struct Child {
    /// Its process id.
    pub pid: i32,
    /// Stands for this very process, also when the id has come to mean another.
    pub pidfd: OwnedFd,
}

/// Where the way to the program ended.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no child.
    #[error("make a process")]
    Clone(#[source] io::Error),
    /// The child gave up at this step.
    #[error("{step}")]
    Step {
        /// What it could not do.
        step: Step,
        /// Why.
        source: Errno,
    },
}

/// What the child does before its program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Signals, session, descriptors: nothing that a user could have asked for wrongly.
    Prepare,
    /// Its namespaces.
    Namespaces,
    /// The controlling terminal.
    Terminal,
    /// Its cgroup.
    Cgroup,
    /// Resource limits.
    Limits,
    /// `oom_score_adj`.
    OomScore,
    /// User and groups.
    Identity,
    /// Capabilities.
    Capabilities,
    /// The working directory.
    Directory,
    /// The program itself.
    Execute,
}

impl Step {
    const ALL: [Step; 10] = [
        Step::Prepare,
        Step::Namespaces,
        Step::Terminal,
        Step::Cgroup,
        Step::Limits,
        Step::OomScore,
        Step::Identity,
        Step::Capabilities,
        Step::Directory,
        Step::Execute,
    ];
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Step::Prepare => "prepare the process",
            Step::Namespaces => "set up its namespace",
            Step::Terminal => "give it a terminal",
            Step::Cgroup => "move it into its cgroup",
            Step::Limits => "set its limits",
            Step::OomScore => "set its oom_score_adj",
            Step::Identity => "change its user",
            Step::Capabilities => "give it capabilities",
            Step::Directory => "enter its working directory",
            Step::Execute => "execute its program",
        })
    }
}

/// What the child sees: pointers into the parent's memory, all of them valid until it has executed its program.
struct Shared<'a> {
    launch: &'a Launch,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    /// Copies of `Launch::sockets` with numbers that none of them is to get.
    sockets: &'a [RawFd],
    /// Where the digits of the child's pid are to stand in its environment.
    pid_digits: *mut c_char,
    parent: c_int,
    step: AtomicI32,
    errno: AtomicI32,
}

/// Enough for a dozen frames of system calls.
const STACK: usize = 64 * 1024;

/// How often a program that is "busy" is tried again, waiting twice as long each time.
const BUSY_TRIES: u32 = 5;

/// Starts a program. Returns when the child executes it or has given up; a child that gave up is collected.
///
/// A file just written may be "busy": a child of another thread, not yet at its own program, still has our descriptor of it.
/// That is over in a moment.
pub fn spawn(launch: &Launch) -> Result<Child, SpawnError> {
    for attempt in 0..BUSY_TRIES {
        match spawn_once(launch) {
            Err(SpawnError::Step { step: Step::Execute, source: Errno::ETXTBSY }) => {
                std::thread::sleep(Duration::from_millis(1 << attempt));
            }
            other => return other,
        }
    }
    spawn_once(launch)
}

fn spawn_once(launch: &Launch) -> Result<Child, SpawnError> {
    let pointers =
        |list: &[CString]| -> Vec<*const c_char> { list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect() };
    let (arguments, mut environment) = (pointers(&launch.arguments), pointers(&launch.environment));
    let sockets = Sockets::above_their_places(&launch.sockets).map_err(SpawnError::Clone)?;
    let mut listen_pid = listen_pid();
    let listen_pid = listen_pid.as_mut_ptr();
    if !launch.sockets.is_empty() {
        environment.insert(0, listen_pid);
    }
    let shared = Shared {
        launch,
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        sockets: &sockets.numbers,
        pid_digits: listen_pid.wrapping_add(LISTEN_PID.len()),
        // SAFETY: getpid has no preconditions.
        parent: unsafe { libc::getpid() },
        step: AtomicI32::new(0),
        errno: AtomicI32::new(0),
    };
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    let mut pidfd: c_int = -1;
    // A handler of ours must not run in the child, which would run it in our memory: everything is held back until the child
    // has put the default actions in place. glibc's posix_spawn does the same (sysdeps/unix/sysv/linux/spawni.c).
    let held = HeldSignals::all();
    let namespaces = launch.namespaces.as_ref().map_or(0, |namespaces| {
        let around = if namespaces.maps.is_some() { libc::CLONE_NEWUSER } else { 0 };
        libc::CLONE_NEWPID | libc::CLONE_NEWNS | around
    });
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD | namespaces;
    // SAFETY: `child` only makes system calls and never returns into our frames; `stack` is aligned, large enough and, as
    // everything that `shared` points to, outlives the child's use of it, because CLONE_VFORK stops this thread until then.
    let pid = unsafe { libc::clone(child, top, flags, ptr::from_ref(&shared).cast_mut().cast::<c_void>(), &raw mut pidfd) };
    let cloned = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) };
    drop(held);
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

/// Copies of sockets whose numbers lie above all that the child will give them, so that none is overwritten by another.
#[derive(Default)]
struct Sockets {
    numbers: Vec<RawFd>,
    open: Vec<OwnedFd>,
}

impl Sockets {
    fn above_their_places(sockets: &[RawFd]) -> io::Result<Self> {
        let mut copies = Self::default();
        let above = FIRST_OTHER as c_int + c_int::try_from(sockets.len()).unwrap_or(c_int::MAX);
        for &socket in sockets {
            // SAFETY: a system call on a number; what it answers is a new descriptor or -1.
            let copy = unsafe { libc::fcntl(socket, libc::F_DUPFD_CLOEXEC, above) };
            if copy < 0 {
                return Err(io::Error::last_os_error());
            }
            copies.numbers.push(copy);
            // SAFETY: the kernel has just made this descriptor for us.
            copies.open.push(unsafe { OwnedFd::from_raw_fd(copy) });
        }
        Ok(copies)
    }
}

/// `LISTEN_PID=`, with room for the number that only the child knows.
fn listen_pid() -> Vec<c_char> {
    let mut text: Vec<c_char> = LISTEN_PID.iter().map(|byte| *byte as c_char).collect();
    text.resize(text.len() + PID_DIGITS + 1, 0);
    text
}

const LISTEN_PID: &[u8] = b"LISTEN_PID=";
/// Enough for any pid.
const PID_DIGITS: usize = 10;

/// Writes a number in decimal digits, and a zero behind them.
///
/// # Safety
///
/// As [`become_program`]; there is room for [`PID_DIGITS`] and the zero.
unsafe fn write_decimal(number: c_int, to: *mut c_char) {
    let mut digits = [0; PID_DIGITS];
    let (mut rest, mut count) = (number, 0);
    while count < PID_DIGITS {
        digits[count] = b'0' as c_char + (rest % 10) as c_char;
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    let mut at = 0;
    while at < count {
        // SAFETY: `at` stays below the room that the caller vouches for.
        unsafe { *to.add(at) = digits[count - 1 - at] };
        at += 1;
    }
    // SAFETY: as above.
    unsafe { *to.add(count) = 0 };
}

/// Holds back all signals of this thread until it is dropped.
struct HeldSignals {
    before: libc::sigset_t,
}

impl HeldSignals {
    fn all() -> Self {
        // SAFETY: both sets are plain memory of ours that the calls fill in.
        unsafe {
            let mut every: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut every);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const every, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // SAFETY: `before` was filled in by the kernel.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
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

/// The first descriptor that is not input, output or error.
const FIRST_OTHER: c_long = 3;
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
        for (descriptor, from) in (0..).zip(launch.stdio) {
            let Some(from) = from else { continue };
            // dup2 onto itself would keep close-on-exec.
            if from == descriptor {
                must!(Step::Prepare, libc::fcntl(from, libc::F_SETFD, 0));
            } else {
                must!(Step::Prepare, libc::dup2(from, descriptor));
            }
        }
        if launch.controlling_terminal {
            must!(Step::Terminal, libc::ioctl(0, libc::TIOCSCTTY as _, 0));
        }
        if let Some(cgroup) = launch.cgroup {
            must!(Step::Cgroup, libc::write(cgroup, c"0".as_ptr().cast(), 1));
        }
        // Everything that we open is close-on-exec; this is for what we were given. Kernels before 5.11 do not know it.
        libc::syscall(libc::SYS_close_range, FIRST_OTHER, c_long::from(u32::MAX), c_long::from(libc::CLOSE_RANGE_CLOEXEC));
        if !shared.sockets.is_empty() {
            for (descriptor, from) in (FIRST_OTHER as c_int..).zip(shared.sockets) {
                // Never onto itself: the copies have higher numbers. So it stays open over exec.
                must!(Step::Prepare, libc::dup2(*from, descriptor));
            }
            // As the child sees itself, also in a PID namespace of its own.
            write_decimal(libc::syscall(libc::SYS_getpid) as c_int, shared.pid_digits);
        }
        if let Some(text) = &launch.oom_score_adj {
            let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            must!(Step::OomScore, file);
            must!(Step::OomScore, libc::write(file, text.as_ptr().cast(), text.as_bytes().len()));
            libc::close(file);
        }
        for limit in &launch.limits {
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
