//! What else of the kernel other rooms ask for: mounts, sockets in the file system, and what is not there.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

/// The kernel's name.
pub const NAME: &str = "macOS";

/// What this kernel lacks, and what that means.
pub const LACKS: [(&str, &str); 6] = [
    (
        "orphans",
        "macOS gives them to launchd: a program that makes a session of its own and clears its environment, or is one of Apple's, is \
         not found any more",
    ),
    (
        "death signals",
        "macOS has none: while the supervisor and its guard are both killed, processes run on until the next command",
    ),
    ("cgroups", "macOS has none: `mem_limit`, `cpus` and `pids_limit` of a process are refused"),
    ("capabilities", "macOS has none: `cap_add` of a process is refused"),
    ("namespaces", "macOS has none: `isolation: pid` is refused"),
    ("file watches", "macOS does not tell when a file is closed: one that is written slowly may be taken for two changes"),
];

/// Where more is said of that.
pub const MORE_OF_LACKS: &str = "README.md has more, under \"On macOS\"";

/// What helps where the engine does not answer.
pub const START_ENGINE: &str = "open -a Docker";

/// Whether a watch tells when a file that was written is closed, so that no half of it is taken for a change.
pub const TELLS_WHEN_FILES_ARE_CLOSED: bool = false;

/// Whether one watch stands for all directories (FSEvents): by path, so that another in the place of one is watched already; and it
/// begins anew with each one more, so that changes in between are not told.
pub const ONE_WATCH_FOR_ALL: bool = true;

/// `sun_path` holds 104 bytes with the final zero (unix(4)).
pub const SOCKET_PATH_LIMIT: usize = 103;

/// `NSIG` less one (sys/signal.h).
pub(super) const LAST_SIGNAL: i32 = 31;

/// The signals of real time, first and last, where there are any.
pub fn real_time_signals() -> Option<(i32, i32)> {
    None
}

/// The highest number of a signal.
pub fn last_signal() -> i32 {
    LAST_SIGNAL
}

/// Why there can be no PID namespace, where the kernel knows none.
pub fn no_pid_namespaces() -> Option<&'static str> {
    Some("macOS has no PID namespaces")
}

/// Where the hierarchy of cgroups (version 2) is mounted, and our own place in it; else why there is none.
pub fn cgroups() -> Result<(PathBuf, PathBuf), &'static str> {
    Err("macOS has no cgroups")
}

/// Where anything is mounted (getfsstat(2)).
pub fn mounts() -> io::Result<Vec<PathBuf>> {
    /// More than are mounted between two calls.
    const ROOM: usize = 8;
    // SAFETY: without a buffer only their number is answered.
    let count = unsafe { libc::getfsstat(ptr::null_mut(), 0, libc::MNT_NOWAIT) };
    let room = usize::try_from(count).unwrap_or(0) + ROOM;
    let mut found: Vec<libc::statfs> = Vec::with_capacity(room);
    let size = i32::try_from(room * size_of::<libc::statfs>()).unwrap_or(i32::MAX);
    // SAFETY: the buffer is as long as we say.
    let filled = unsafe { libc::getfsstat(found.as_mut_ptr(), size, libc::MNT_NOWAIT) };
    if filled < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled in so many, and there is room for them.
    unsafe { found.set_len(usize::try_from(filled).unwrap_or(0).min(room)) };
    // SAFETY: the kernel ends each path with a zero.
    let path = |mount: &libc::statfs| unsafe { CStr::from_ptr(mount.f_mntonname.as_ptr()) }.to_owned();
    Ok(found.iter().map(path).map(|path| PathBuf::from(OsStr::from_bytes(path.as_bytes()))).collect())
}

/// Bytes that are free for us on the disk on which a path lies.
pub fn free_bytes(path: &Path) -> Result<u64, Errno> {
    statvfs(path).map(|disk| u64::from(disk.blocks_available()) * disk.fragment_size())
}

/// The user at the other end of a socket.
pub fn user_of_peer(stream: &UnixStream) -> Option<u32> {
    let (mut user, mut group) = (0, 0);
    // SAFETY: a descriptor of ours, and two numbers that the call fills in.
    let told = unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut user, &raw mut group) };
    Errno::result(told).ok().map(|_| user)
}

/// Runs `with` on a short path to a directory: a link that is there meanwhile. Where it lies nobody else can put another in its place.
pub fn with_short_path<T>(directory: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let link = PathBuf::from(format!("/tmp/.baistack-{}-{serial}", std::process::id()));
    symlink(fs::canonicalize(directory)?, &link)?;
    let outcome = with(&link);
    // One that cannot be removed does no harm.
    let _ = fs::remove_file(&link);
    outcome
}

/// Has all descriptors from this one on closed by the next exec. Only makes calls that are safe after a fork.
pub fn close_on_exec_from(first: i32) {
    // SAFETY: calls on numbers; those of no descriptor are refused.
    unsafe {
        for descriptor in first..libc::getdtablesize() {
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}
