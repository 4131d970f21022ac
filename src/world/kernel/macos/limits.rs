//! Resource limits by Docker's names: those of setrlimit(2).

use std::ffi::c_int;

use nix::unistd::geteuid;

/// `RLIMIT_…`.
pub type Resource = c_int;

/// No limit.
pub const UNLIMITED: u64 = libc::RLIM_INFINITY;

/// No process can have more descriptors, whatever its limit is (`OPEN_MAX`; setrlimit(2) refuses more).
pub const MOST_DESCRIPTORS: u64 = 10_240;

/// Docker's names of the limits (docker/go-units, ulimit.go), as far as there are such limits here.
pub const NAMES: [(&str, Resource); 10] = [
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("stack", libc::RLIMIT_STACK),
    ("as", libc::RLIMIT_AS),
];

/// A limit of this process: the one in force, and how far it may be raised.
pub fn current(resource: Resource) -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: UNLIMITED };
    // SAFETY: reads a limit of this process into a structure of ours.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

/// Whether we may raise hard limits.
pub fn may_be_raised() -> bool {
    geteuid().is_root()
}

/// Our own `oom_score_adj`; none, as this kernel has no such thing.
pub fn own_oom_score() -> Option<i64> {
    None
}
