//! `isolation: pid`: a PID namespace of a process's own. When its first process ends, for whatever reason, the kernel kills all
//! the others: nothing can leave it.
//!
//! Root makes such a namespace as it is; anybody else makes a user namespace around it, in which only our own user exists.
//! The first process of a namespace is its init, which no signal without a handler reaches and which has to collect orphans;
//! few programs are made for that. So it is our own program ([`init`]), with the service's as its child.

use std::convert::Infallible;
use std::ffi::CString;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, signal};
use nix::unistd::{ForkResult, Pid, execve, fork, getegid, geteuid, getpid, isatty, setpgid, tcsetpgrp};

use super::{reap, stop};
use crate::plan::action::{Exit, Fault};
use crate::world::kernel::host;
use crate::world::kernel::launch::{Launch, Namespaces};

/// The hidden command that is [`init`].
pub const COMMAND: &str = "isolate";

/// Our own program, whatever its user may look into.
const OWN_PROGRAM: &std::ffi::CStr = c"/proc/self/exe";

/// Puts a launch into a namespace of its own.
pub(super) fn isolate(launch: &mut Launch) -> Result<(), Fault> {
    check()?;
    let root = geteuid().is_root();
    if !root && launch.capabilities != 0 {
        return Err(Fault::permanent(
            "`isolation: pid` without root takes a user namespace, in which `cap_add` has no effect on the host",
        ));
    }
    let alone = |id: u32| CString::new(format!("{id} {id} 1")).expect("digits and spaces");
    let maps = (!root).then(|| [alone(geteuid().as_raw()), alone(getegid().as_raw())]);
    launch.namespaces = Some(Namespaces { maps });
    let program = std::mem::replace(&mut launch.program, OWN_PROGRAM.to_owned());
    let own = [c"baistack", c"isolate", c"--"].map(CString::from);
    let arguments = std::mem::take(&mut launch.arguments);
    launch.arguments = own.into_iter().chain([program]).chain(arguments).collect();
    Ok(())
}

/// Says, before anything starts, whether the kernel knows such namespaces.
pub(super) fn check() -> Result<(), Fault> {
    host::no_pid_namespaces().map_or(Ok(()), |why| Err(Fault::permanent(format!("`isolation: pid`: {why}"))))
}

/// What is wrong when there can be no namespace.
pub(super) fn explain(errno: Errno) -> Fault {
    Fault::permanent(format!(
        "`isolation: pid` takes a PID namespace, which this host does not let us make ({}); remove it, or run as root",
        errno.desc()
    ))
}

/// The first process of a namespace: runs a program, hands on every signal to it and its group, collects what it leaves
/// behind, and ends with its code when it ends.
///
/// `words`: the program's file, then its arguments, its name first. To be called while there is one thread.
pub fn init(words: &[CString]) -> Result<u8, String> {
    let (program, arguments) = words.split_first().ok_or("no program to run")?;
    let every = SigSet::all();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&every), None).map_err(Errno::desc)?;
    // SAFETY: there is one thread, so the child may do whatever it likes.
    match unsafe { fork() }.map_err(|errno| format!("make a process: {}", errno.desc()))? {
        ForkResult::Child => {
            let Err(errno) = become_program(program, arguments);
            Err(format!("execute `{}`: {}", program.to_string_lossy(), errno.desc()))
        }
        ForkResult::Parent { child } => {
            // As its parent does, so that a signal that comes now finds the group.
            let _ = setpgid(child, child);
            Ok(u8::try_from(look_after(child, &every).code()).unwrap_or(u8::MAX))
        }
    }
}

fn become_program(program: &CString, arguments: &[CString]) -> Result<Infallible, Errno> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    if isatty(std::io::stdin()).unwrap_or(false) {
        // All signals are held back, so SIGTTOU does not stop us.
        tcsetpgrp(std::io::stdin(), getpid())?;
    }
    // SAFETY: no handler is installed, only what Rust ignores in every program is put back.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    let environment: Vec<CString> = own_environment();
    execve(program, arguments, &environment)
}

/// As we were given it, byte for byte.
fn own_environment() -> Vec<CString> {
    use std::os::unix::ffi::OsStrExt;
    std::env::vars_os()
        .filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok())
        .collect()
}

fn look_after(child: Pid, every: &SigSet) -> Exit {
    loop {
        match every.wait() {
            Ok(Signal::SIGCHLD) => {
                while let Ok(Some((pid, exit))) = reap::wait_any() {
                    if pid == child.as_raw() {
                        return exit;
                    }
                }
            }
            Ok(signal) => {
                let _ = stop::kill(-child.as_raw(), signal as i32);
            }
            // A real-time signal has no name here.
            Err(_) => {}
        }
    }
}
