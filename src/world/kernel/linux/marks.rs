//! The mark of an environment's processes: the soft `RLIMIT_RTTIME`, which passes through fork, exec, `env -i`, `setsid` and file
//! capabilities, and which anybody may read in `/proc/PID/limits`, also where the variables of a process are hidden.

use std::fs;
use std::io;

use super::limits;
use crate::world::kernel::launch::{Launch, Limit};

/// Has a child carry a mark; without one where the host does not let us set the limit that high.
pub fn put(launch: &mut Launch, mark: u64) {
    let (_, hard) = limits::current(libc::RLIMIT_RTTIME);
    let allowed = mark <= hard;
    launch.limits.extend(allowed.then_some(Limit { resource: libc::RLIMIT_RTTIME, soft: mark, hard: None }));
}

/// What stands where a mark would: the soft limit of a process, in microseconds.
pub fn of_process(pid: i32) -> Option<u64> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads into a structure of ours.
    match unsafe { libc::prlimit64(pid, libc::RLIMIT_RTTIME, std::ptr::null(), &raw mut limit) } {
        0 => Some(limit.rlim_cur),
        // Another user's process, or one whose user changed: the file is readable for all, only slower to read.
        _ if io::Error::last_os_error().raw_os_error() == Some(libc::EPERM) => {
            parse(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)
        }
        _ => None,
    }
}

fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max realtime timeout"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Takes the mark off ourselves: an environment started from inside another one is not a part of it.
pub fn shed() {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads and sets a limit of this process with a structure of ours. Raising up to the hard limit is always allowed.
    unsafe {
        if libc::prlimit64(0, libc::RLIMIT_RTTIME, std::ptr::null(), &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::prlimit64(0, libc::RLIMIT_RTTIME, &raw const limit, std::ptr::null_mut());
        }
    }
}

/// A variable that whoever starts a supervisor leaves out of its environment: the mark is none.
pub fn not_to_be_passed() -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_from_the_kernels_table() {
        let text = "Limit   Soft Limit  Hard Limit  Units\nMax realtime timeout      36028797018963968   unlimited  us  \n";
        assert_eq!(parse(text), Some(1 << 55));
        assert_eq!(parse("Max realtime timeout unlimited unlimited us"), None);
    }
}
