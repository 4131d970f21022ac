//! Resource limits by Docker's names, and the score by which the kernel chooses whom it ends when memory runs out.

use std::fs;

use caps::{CapSet, Capability};

/// `RLIMIT_…`.
pub type Resource = u32;

/// No limit.
pub const UNLIMITED: u64 = libc::RLIM64_INFINITY;

/// No process can have more descriptors, whatever its limit is: `fs.nr_open`, where nobody has changed that.
pub const MOST_DESCRIPTORS: u64 = 1 << 20;

/// Docker's names of the limits (docker/go-units, ulimit.go).
pub const NAMES: [(&str, Resource); 15] = [
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
    ("as", libc::RLIMIT_AS),
];

/// A limit of this process: the one in force, and how far it may be raised.
pub fn current(resource: Resource) -> (u64, u64) {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: UNLIMITED };
    // SAFETY: reads a limit of this process into a structure of ours.
    unsafe { libc::prlimit64(0, resource, std::ptr::null(), &raw mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

/// Whether we may raise hard limits, and lower our score (`CAP_SYS_RESOURCE`).
pub fn may_be_raised() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE).unwrap_or(false)
}

/// Our own `oom_score_adj`; none on a kernel that has no such thing.
pub fn own_oom_score() -> Option<i64> {
    let own = fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
    Some(own.unwrap_or(0))
}
