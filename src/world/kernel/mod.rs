//! The kernel below us: everything that Linux and macOS do in different ways, and nothing else.
//!
//! This is the only room that names a kernel (`cfg(target_os)`). Each module below is there once for each of them, with the same
//! items; the rooms above use those and know neither. What one of them cannot do at all is an error, by name, where it is asked for,
//! or stands in [`host::LACKS`].
//!
//! | module | Linux | macOS |
//! |---|---|---|
//! | [`child`] | `clone` that shares memory until the exec | `fork` |
//! | [`processes`] | `/proc` | `proc_pidinfo`, `KERN_PROCARGS2` |
//! | [`code`] | unmapped when it has done its work | left |
//! | [`ends`] | pidfds; orphans come to a subreaper; parent-death signals | kqueues; a record of sessions; a thread that waits |
//! | [`marks`] | the soft `RLIMIT_RTTIME` | a variable, as far as it may be seen |
//! | [`poller`] | epoll, eventfd | kqueue, a pipe |
//! | [`sockets`] | `/proc/net`, inodes | `proc_pidfdinfo` |
//! | [`look`] | `/proc` | `proc_pidinfo`, `proc_pid_rusage` |
//! | [`capabilities`] | capabilities(7) | none |
//! | [`limits`] | all of Docker's; `oom_score_adj` | those of setrlimit(2) |
//! | [`users`] | as libc has them | as libc has them, with its own types |
//! | [`host`] | cgroups, namespaces, signals of real time, inotify | none of these; FSEvents |

pub mod descriptors;
pub mod launch;

mod prepare;
mod process;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::{capabilities, child, code, ends, host, limits, look, marks, poller, processes, sockets, users};

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
pub use macos::{capabilities, child, code, ends, host, limits, look, marks, poller, processes, sockets, users};

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!("baistack knows Linux and macOS");

// What only macOS needs, where Linux can test it.
#[cfg(any(target_os = "macos", test))]
mod parent;
#[cfg(any(target_os = "macos", test))]
mod procargs;
#[cfg(any(target_os = "macos", test))]
mod sessions;

pub use process::Process;
