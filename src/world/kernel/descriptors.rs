//! How many descriptors this process may have open at once.

use std::sync::OnceLock;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::launch::Limit;
use super::limits;

/// What this process was started with, once it has taken more.
static STARTED_WITH: OnceLock<Limit> = OnceLock::new();

/// So many are plenty for a thousand services; the kernel's table of them takes 32 KiB.
const TABLE: u64 = 4096;

/// Takes as many as the hard limit allows: each service takes several, and the soft limit is often that of programs which use
/// `select` (systemd's NEWS for version 240 tells why it stays at 1024). What is started is given back the former limit.
///
/// For a process with one thread. The kernel's table of descriptors is made large here, since it grows with them by a factor of two,
/// and each time, once there are threads, Linux waits until no processor can be reading the old one (`synchronize_rcu` in `fs/file.c`):
/// 8 to 20 ms.
pub fn take_all() -> Result<(), nix::Error> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let most = hard.min(limits::MOST_DESCRIPTORS);
    if most > soft {
        setrlimit(Resource::RLIMIT_NOFILE, most, hard)?;
        STARTED_WITH.get_or_init(|| Limit { resource: libc::RLIMIT_NOFILE, soft, hard: None });
    }
    let last = i32::try_from(most.max(soft).min(TABLE) - 1).unwrap_or(i32::MAX);
    // The highest is given back at once; the table stays as it is.
    let highest = fcntl(std::io::stderr(), FcntlArg::F_DUPFD_CLOEXEC(last))?;
    nix::unistd::close(highest)
}

/// The limit that a child is to begin with, where it is another than ours.
pub(super) fn limit_of_children() -> Option<&'static Limit> {
    STARTED_WITH.get()
}
