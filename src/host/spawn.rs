//! Starts a supervisor in the background, and is that supervisor.
//!
//! Our own program again, in a session of its own, with a pipe: a byte on it means that the socket listens, its end without
//! one that it failed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use indexmap::IndexMap;

use super::dispatch::Answers;
use super::run_loop::{Host, HostError};
use crate::base::exit::Exit;
use crate::world::envdir::{EnvDir, LockError};
use crate::world::kernel::{self, descriptors};
use crate::world::native::{guard, sweep};

/// Where the new supervisor finds the pipe.
const READY_FD: &str = "BAISTACK_READY_FD";

/// What an earlier supervisor and its guard left behind, both killed, may take to end.
pub const SWEEP_GRACE: Duration = Duration::from_secs(2);

/// Why a supervisor did not come up.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program could not be started.
    #[error("start the supervisor")]
    Start(#[source] io::Error),
    /// Another process holds the environment: a supervisor, or a command that does something to it while none lives.
    #[error("another process holds the environment")]
    Held,
    /// It ended before it listened; its last words.
    #[error("the supervisor ended before it was ready:\n{log}")]
    Ended {
        /// The end of its log.
        log: String,
    },
}

/// How a supervisor that finds the environment held tells it to its starter (`EX_TEMPFAIL` of sysexits.h).
const HELD: u8 = 75;

/// A log that has grown beyond this is put aside before the next supervisor writes to it.
const LOG_LIMIT: u64 = 4 << 20;

/// Starts one and waits until it listens.
pub fn spawn(env_dir: &EnvDir) -> Result<(), SpawnError> {
    let path = env_dir.supervisor_log();
    if path.metadata().is_ok_and(|metadata| metadata.len() > LOG_LIMIT) {
        std::fs::rename(&path, path.with_extension("log.1")).map_err(SpawnError::Start)?;
    }
    let log =
        OpenOptions::new().create(true).append(true).mode(0o600).open(env_dir.supervisor_log()).map_err(SpawnError::Start)?;
    let before = log.metadata().map_or(0, |metadata| metadata.len());
    let (mut reader, writer) = io::pipe().map_err(SpawnError::Start)?;
    let fd = writer.as_raw_fd();
    let program = std::env::current_exe().map_err(SpawnError::Start)?;
    let mut command = Command::new(program);
    command.args(["supervise", "--env", env_dir.id().as_str()]).env(READY_FD, fd.to_string()).current_dir("/");
    if let Some(mark) = kernel::marks::not_to_be_passed() {
        command.env_remove(mark);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(SpawnError::Start)?).stderr(log);
    // SAFETY: between fork and exec only `setsid`, `close_on_exec_from` and `fcntl` are called, all async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            // Whatever our caller left open is not for a daemon: somebody may wait for its end.
            kernel::host::close_on_exec_from(3);
            if libc::fcntl(fd, libc::F_SETFD, 0) == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut child = command.spawn().map_err(SpawnError::Start)?;
    drop(writer);
    let mut byte = [0];
    if matches!(reader.read(&mut byte), Ok(1)) {
        // It outlives us; whoever reaps orphans reaps it.
        return Ok(());
    }
    if child.wait().is_ok_and(|status| status.code() == Some(HELD.into())) {
        return Err(SpawnError::Held);
    }
    Err(SpawnError::Ended { log: tail(env_dir, before) })
}

fn tail(env_dir: &EnvDir, from: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(env_dir.supervisor_log())?;
        file.seek(io::SeekFrom::Start(from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// The hidden command: guard and supervisor of one environment. Must be called before there is any other thread.
pub fn supervise(env_dir: &EnvDir, environment: &IndexMap<String, String>) -> Exit {
    let ready = take_ready_pipe();
    let lock = match env_dir.try_lock() {
        Ok(lock) => lock,
        Err(LockError::Held { pid }) => {
            let who = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
            tracing::info!("another process holds the environment{who}");
            return Exit::Passed(HELD);
        }
        Err(LockError::State(error)) => {
            tracing::error!("{error}");
            return Exit::Failure;
        }
    };
    let abandoned = lock.was_abandoned();
    let code = guard::guard(env_dir.path(), lock, |mut lock| {
        if let Err(error) = lock.name_holder(std::process::id()) {
            tracing::warn!("the lock cannot name us: {error}");
        }
        if let Err(error) = descriptors::take_all() {
            tracing::warn!("as many descriptors as are allowed cannot be had: {}", error.desc());
        }
        let code = match begin(env_dir, environment, abandoned) {
            Ok((host, is_swept)) => {
                if let Some(mut ready) = ready {
                    // Whoever started us may have gone away.
                    let _ = ready.write_all(b"\n");
                }
                host.run();
                if is_swept {
                    // Nothing is left that anybody would have to look for; who cannot read that looks.
                    let _ = lock.settled();
                    return ExitCode::SUCCESS;
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
                tracing::error!("{error}{source}");
                ExitCode::FAILURE
            }
        };
        drop(lock);
        code
    });
    if code == ExitCode::SUCCESS { Exit::Success } else { Exit::Failure }
}

/// Answers also with whether nothing is left of an earlier supervisor that went without a word.
fn begin(env_dir: &EnvDir, environment: &IndexMap<String, String>, abandoned: bool) -> Result<(Host, bool), HostError> {
    let is_swept = !abandoned || sweep::sweep(env_dir.id(), env_dir.path(), SWEEP_GRACE).left.is_empty();
    let mut host = Host::begin(env_dir.clone(), environment, Answers::default())?;
    host.listen()?;
    Ok((host, is_swept))
}

fn take_ready_pipe() -> Option<File> {
    let fd: i32 = std::env::var(READY_FD).ok()?.parse().ok()?;
    // SAFETY: nothing else of this process knows of the descriptor that our starter opened for us.
    let file = unsafe { File::from_raw_fd(fd) };
    // SAFETY: `fcntl` on a descriptor that we own. A service must not inherit it.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    Some(file)
}
