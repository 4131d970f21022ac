//! What else of the kernel other rooms ask for: signals of real time, mounts, sockets in the file system, and what there is to be
//! isolated with.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::statvfs::statvfs;

/// The kernel's name.
pub const NAME: &str = "Linux";

/// What this kernel lacks that others have: nothing.
pub const LACKS: [(&str, &str); 0] = [];

/// Where more is said of that.
pub const MORE_OF_LACKS: &str = "";

/// What helps where the engine does not answer.
pub const START_ENGINE: &str = "sudo systemctl start docker";

/// Whether a watch tells when a file that was written is closed, so that no half of it is taken for a change.
pub const TELLS_WHEN_FILES_ARE_CLOSED: bool = true;

/// Whether one watch stands for all directories (FSEvents): by path, so that another in the place of one is watched already; and it
/// begins anew with each one more, so that changes in between are not told.
pub const ONE_WATCH_FOR_ALL: bool = false;

/// `sun_path` holds 108 bytes with the final zero (unix(7)).
pub const SOCKET_PATH_LIMIT: usize = 107;

/// The signals of real time, first and last, where there are any.
pub fn real_time_signals() -> Option<(i32, i32)> {
    Some((libc::SIGRTMIN(), libc::SIGRTMAX()))
}

/// The highest number of a signal.
pub fn last_signal() -> i32 {
    libc::SIGRTMAX()
}

/// Why there can be no PID namespace, where the kernel knows none.
pub fn no_pid_namespaces() -> Option<&'static str> {
    None
}

/// Where the hierarchy of cgroups (version 2) is mounted, and our own place in it; else why there is none.
pub fn cgroups() -> Result<(PathBuf, PathBuf), &'static str> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    cgroups_in(&mounts, &own).ok_or("this host has no cgroup v2")
}

fn cgroups_in(mounts: &str, own: &str) -> Option<(PathBuf, PathBuf)> {
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let top = PathBuf::from(mount.split_ascii_whitespace().nth(4)?);
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let place = top.join(own);
    Some((top, place))
}

/// Where anything is mounted (`proc_pid_mountinfo(5)`, field 5).
pub fn mounts() -> io::Result<Vec<PathBuf>> {
    mounts_in(Path::new("/proc/self/mountinfo"))
}

fn mounts_in(table: &Path) -> io::Result<Vec<PathBuf>> {
    let text =
        fs::read_to_string(table).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", table.display())))?;
    Ok(text.lines().filter_map(|line| line.split(' ').nth(4)).map(|path| PathBuf::from(unescaped(path))).collect())
}

/// Spaces and the like stand there in octal.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (code, character)| path.replace(code, character))
}

/// Bytes that are free for us on the disk on which a path lies.
pub fn free_bytes(path: &Path) -> Result<u64, Errno> {
    statvfs(path).map(|disk| disk.blocks_available() * disk.fragment_size())
}

/// The user at the other end of a socket.
pub fn user_of_peer(stream: &UnixStream) -> Option<u32> {
    getsockopt(stream, PeerCredentials).ok().map(|peer| peer.uid())
}

/// Runs `with` on a short path to a directory, through our descriptor of it.
pub fn with_short_path<T>(directory: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let directory = File::open(directory)?;
    with(&Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()))
}

/// Has all descriptors from this one on closed by the next exec. Only makes a system call, so that it may be used after a fork.
pub fn close_on_exec_from(first: i32) {
    // SAFETY: a system call on numbers. Kernels before 5.11 do not know it.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            libc::c_long::from(first),
            libc::c_long::from(u32::MAX),
            libc::c_long::from(libc::CLOSE_RANGE_CLOEXEC),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_place_among_the_cgroups_is_found_wherever_they_are_mounted() {
        let mounts = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let found = cgroups_in(mounts, "2:cpu:/x\n0::/user.slice/a.scope\n");
        let top = PathBuf::from("/sys/fs/cgroup/unified");
        assert_eq!(found, Some((top.clone(), top.join("user.slice/a.scope"))));
        assert_eq!(cgroups_in("", "0::/"), None);
    }

    #[test]
    fn what_is_mounted_is_told_or_that_it_cannot_be() {
        assert!(mounts_in(Path::new("/nowhere/mountinfo")).unwrap_err().to_string().starts_with("/nowhere/mountinfo: "));
        assert!(mounts().unwrap().contains(&PathBuf::from("/")));
    }

    #[test]
    fn a_mounts_path_may_hold_anything() {
        assert_eq!(unescaped("/a\\040b\\134040"), "/a b\\040");
    }
}
