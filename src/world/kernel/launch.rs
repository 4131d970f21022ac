//! What a child is to become, and what kept it from it: the same for every kernel. Each makes it in its `child`.

use std::ffi::{CString, c_int};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;

use super::child;
use super::limits::Resource;

/// How often a program that is "busy" is tried again, waiting twice as long each time.
const BUSY_TRIES: u32 = 5;

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
    /// The signal that it gets when the calling *thread* ends, where the kernel sees to that. Only for a thread that lives as
    /// long as we do.
    pub death_signal: Option<c_int>,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_…`.
    pub resource: Resource,
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
    /// Stands for this very process, also when the id has come to mean another; can be read from once it has ended. See
    /// [`super::ends`].
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
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Step; 10] = [
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

/// Starts a program. Returns when the child executes it or has given up; a child that gave up is collected.
///
/// A file just written may be "busy": a child of another thread, not yet at its own program, still has our descriptor of it.
/// That is over in a moment.
pub fn spawn(launch: &Launch) -> Result<Child, SpawnError> {
    for attempt in 0..BUSY_TRIES {
        match child::spawn(launch) {
            Err(SpawnError::Step { step: Step::Execute, source: Errno::ETXTBSY }) => {
                std::thread::sleep(Duration::from_millis(1 << attempt));
            }
            other => return other,
        }
    }
    child::spawn(launch)
}
