//! Sends signals to the whole of a unit.
//!
//! A signal goes to process groups, which the kernel does in one piece: no member can fork past it.

use std::collections::BTreeSet;

use nix::errno::Errno;

use super::tree::{Process, Root, session_of};

/// How often a tree is looked at again while it is killed: each time finds what was forked since the last.
const SWEEPS: u32 = 4;

/// Asks a living leader to end, and its group with it; what it has started elsewhere learns of it from the leader, as from a
/// terminal that goes away. Something that is paused is woken, as it could not end otherwise.
pub(super) fn ask(leader: i32, signal: i32) -> Result<(), Errno> {
    kill(-leader, signal)?;
    if signal != libc::SIGKILL && signal != libc::SIGSTOP {
        let _ = kill(-leader, libc::SIGCONT);
    }
    Ok(())
}

/// Sends a signal to each of these processes once. Returns an error if one of them may not be signalled.
pub(super) fn signal_all(members: &[Process], signal: i32) -> Result<(), Errno> {
    let mut groups = BTreeSet::new();
    let mut outcome = Ok(());
    for member in members {
        let target = target(member);
        if groups.insert(target) && member.is_current() {
            match kill(target, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => outcome = Err(errno),
            }
        }
    }
    outcome
}

/// What a signal to a process is sent to: its whole group. A process that still is in our own session (it has not come as far as
/// its own) shares our group, too, and is meant alone.
pub(super) fn target(process: &Process) -> i32 {
    if Some(process.session) == session_of(0) { process.pid } else { -process.group }
}

/// Kills everything that `members` finds, looking again for what was forked meanwhile. Whatever escapes even so is found
/// when its parent's end is told. What may stay is left alone where it has left its unit's groups.
pub(super) fn kill_all(root: &Root, keep: &[String]) -> Result<(), Errno> {
    let mut outcome = Ok(());
    for _ in 0..SWEEPS {
        let members = root.members_but(keep);
        if members.is_empty() {
            break;
        }
        outcome = signal_all(&members, libc::SIGKILL);
    }
    outcome
}

/// kill(2), with numbers that may be real-time signals.
pub(super) fn kill(target: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill has no preconditions.
    Errno::result(unsafe { libc::kill(target, signal) }).map(drop)
}
