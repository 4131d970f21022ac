//! The guard: the process above the supervisor. When the supervisor is gone, for whatever reason, nothing that it started
//! outlives it.
//!
//! One thread, no configuration, no input or output: it forwards signals and waits. On Linux orphans come to it by the kernel's own
//! rule (`PR_SET_CHILD_SUBREAPER`), so it needs no list of what there is; on macOS it reads what the supervisor has written down.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::unistd::{ForkResult, Pid, fork, getpid};

use super::{reap, stop};
use crate::plan::action::Exit;
use crate::world::clock;
use crate::world::kernel::{Process, code, ends, marks, processes};

/// What a guard reports when its supervisor was killed, or could not be made.
const LOST: u8 = 1;

/// Splits into guard and supervisor. `supervise` runs in the supervisor, whose code this function returns there; in the guard
/// it returns the same code, once nothing of what the supervisor started is left.
///
/// `lock` is held by both for as long as they live, so that nobody takes the environment over while the guard still kills.
/// To be called in a session of its own and before there is any other thread: after it, only one of two processes would have
/// them. `state_dir` is where the supervisor's records lie.
pub fn guard<L>(state_dir: &Path, lock: L, supervise: impl FnOnce(L) -> ExitCode) -> ExitCode {
    marks::shed();
    // A host without these is one on which orphans go to init; the mark still finds them.
    let _ = ends::adopt_orphans();
    let mut waited = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        waited.add(signal);
    }
    let mut before = SigSet::empty();
    let _ = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&waited), Some(&mut before));
    let guard = getpid();
    // SAFETY: there is one thread, so the child may do whatever it likes.
    match unsafe { fork() } {
        Err(_) => ExitCode::from(LOST),
        Ok(ForkResult::Child) => {
            become_supervisor(guard);
            let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
            supervise(lock)
        }
        Ok(ForkResult::Parent { child }) => {
            code::give_back();
            let exit = watch_over(child, &waited);
            kill_all(state_dir);
            drop(lock);
            match exit {
                Exit::Code(code) => ExitCode::from(u8::try_from(code).unwrap_or(LOST)),
                Exit::Signal(_) | Exit::Unknown => ExitCode::from(LOST),
            }
        }
    }
}

fn become_supervisor(guard: Pid) {
    let _ = nix::unistd::setsid();
    let _ = ends::adopt_orphans();
    // A guard that is killed means an orderly end.
    ends::end_with(guard, Signal::SIGTERM);
}

/// Forwards signals to the supervisor and collects what ends, until the supervisor has.
fn watch_over(supervisor: Pid, waited: &SigSet) -> Exit {
    loop {
        match waited.wait() {
            Ok(Signal::SIGCHLD) => match collect(supervisor.as_raw()) {
                Supervisor::Runs => {}
                Supervisor::Ended(exit) => return exit,
            },
            Ok(signal) => {
                let _ = stop::kill(supervisor.as_raw(), signal as i32);
            }
            Err(_) => {}
        }
    }
}

enum Supervisor {
    Runs,
    Ended(Exit),
}

/// Collects what has ended, until that is the supervisor.
fn collect(supervisor: i32) -> Supervisor {
    loop {
        match reap::wait_any() {
            Ok(Some((pid, exit))) if pid == supervisor => return Supervisor::Ended(exit),
            Ok(Some(_)) => {}
            Ok(None) => return Supervisor::Runs,
            // There is no child at all.
            Err(_) => return Supervisor::Ended(Exit::Unknown),
        }
    }
}

/// How long what was killed may take to be gone; longer takes only what the kernel itself holds, and nobody shall wait for
/// that before the environment can be started again.
const DYING: Duration = Duration::from_secs(10);
/// Between two looks at what will not die.
const PAUSE: Duration = Duration::from_millis(5);

/// Kills everything that is left of what was started below us, until there is nothing: groups first, which the kernel does in one piece,
/// then one by one. Looks again each time, since what is killed may have forked before. Another user's processes (`sudo`)
/// stay if we may not kill them.
pub fn kill_all(state_dir: &Path) {
    let own = Process::read(getpid().as_raw());
    let deadline = clock::deadline(DYING);
    while !clock::is_past(deadline) {
        let mut is_hopeless = true;
        let left = processes::left_below(state_dir);
        for process in &left {
            let shares_our_group = own.as_ref().is_some_and(|own| own.group == process.group);
            if !shares_our_group {
                let _ = stop::kill(-process.group, libc::SIGKILL);
            }
            is_hopeless &= stop::kill(process.pid, libc::SIGKILL) == Err(Errno::EPERM);
        }
        loop {
            match reap::wait_any() {
                Ok(Some(_)) => is_hopeless = false,
                Ok(None) if is_hopeless => return,
                // ECHILD: there is no child; where orphans do not come to us, others may be left.
                Err(_) if ends::ORPHANS_ARE_CHILDREN || left.is_empty() || is_hopeless => return,
                Ok(None) | Err(_) => {
                    ends::await_child(PAUSE);
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use nix::unistd::getppid;

    use super::*;
    use crate::world::native::testing::is_alive;
    use crate::world::native::tree;

    const DIRECTORY: &str = "BAISTACK_TEST_GUARD";

    /// Not a test by itself: run again by the tests below, it is guard and supervisor.
    #[test]
    fn role() {
        let Some(directory) = std::env::var_os(DIRECTORY) else { return };
        let supervise = |directory: &Path| -> ExitCode {
            let start = |script: &str| {
                let mut command = Command::new("/bin/sh");
                // SAFETY: setsid is a system call and nothing else.
                unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
                command.args(["-c", script]).current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null());
                // The guard is who reaps it.
                drop(command.spawn().unwrap());
            };
            start("trap '' TERM HUP; echo $$ > deaf; while :; do sleep 1; done");
            start("(setsid sh -c 'trap \"\" TERM; echo $$ > daemon; exec sleep 1000' &) & wait");
            start("env -i setsid sh -c 'echo $$ > bare; exec sleep 1000' & sleep 1000");
            start("rabbit() { (sh -c 'echo > rabbit; exec sh rabbit.sh' &) ; }; rabbit; sleep 1000");
            fs::write(directory.join("supervisor"), format!("{}\n", getpid())).unwrap();
            fs::write(directory.join("guard"), format!("{}\n", getppid())).unwrap();
            loop {
                nix::unistd::pause();
            }
        };
        let directory = Path::new(&directory);
        fs::write(directory.join("rabbit.sh"), "setsid sh rabbit.sh &\nexit 0\n").unwrap();
        // The test harness has threads; a guard has one.
        // SAFETY: the other thread waits for this test and holds no lock.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                nix::unistd::setsid().unwrap();
                guard(directory, directory, supervise);
                // SAFETY: ends the process.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => drop(reap::wait(child.as_raw(), 0)),
        }
    }

    /// Lets `end` do something to a guard and a supervisor; the processes that there were, once the guard has ended.
    fn run(directory: &Path, end: impl FnOnce(i32, i32)) -> Vec<i32> {
        let mut role = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "world::native::guard::tests::role", "--test-threads=1"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pids = ["guard", "supervisor", "deaf", "daemon", "bare"].map(|name| read(&directory.join(name)));
        read_any(&directory.join("rabbit"));
        end(pids[0], pids[1]);
        role.wait().unwrap();
        pids.to_vec()
    }

    fn read_any(path: &Path) -> String {
        let deadline = clock::deadline(Duration::from_secs(20));
        while !clock::is_past(deadline) {
            match fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => std::thread::yield_now(),
            }
        }
        panic!("no {}", path.display());
    }

    fn read(path: &Path) -> i32 {
        read_any(path).trim().parse().unwrap()
    }

    #[test]
    fn nothing_outlives_a_supervisor_that_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let pids = run(directory.path(), |_, supervisor| stop::kill(supervisor, libc::SIGKILL).unwrap());
        assert_eq!(pids.into_iter().filter(|pid| is_alive(*pid)).count(), 0);
        let rabbits = tree::scan()
            .into_iter()
            .filter(|process| fs::read_link(format!("/proc/{}/cwd", process.pid)).is_ok_and(|cwd| cwd == directory.path()));
        assert_eq!(rabbits.count(), 0);
    }

    #[test]
    fn a_signal_to_the_guard_reaches_the_supervisor() {
        let directory = tempfile::tempdir().unwrap();
        // The supervisor of this test dies of it, as it has no handler.
        let pids = run(directory.path(), |guard, _| stop::kill(guard, libc::SIGTERM).unwrap());
        assert_eq!(pids.into_iter().filter(|pid| is_alive(*pid)).count(), 0);
    }
}
