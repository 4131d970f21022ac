//! Processes by `proc_pidinfo` and `sysctl(KERN_PROCARGS2)`.

use std::ffi::c_char;
use std::path::Path;

use nix::unistd::{Pid, getpid, getsid};

use super::{info, marks};
use crate::world::kernel::Process;
use crate::world::kernel::procargs::Started;
use crate::world::kernel::sessions::Sessions;
use crate::world::native::marker::Marker;

/// `PROC_ALL_PIDS` and `PROC_PPID_ONLY` (sys/proc_info.h).
const ALL: u32 = 1;
const OF_PARENT: u32 = 6;
/// `PID_MAX` (sys/proc_internal.h).
const HIGHEST_NUMBER: i32 = 99_999;
/// `ARG_MAX` (sys/syslimits.h): no more is to be had, and more may not be asked for.
const LONGEST: usize = 1024 * 1024;

/// Looks at a process; none if there is none of this id.
pub fn read(pid: i32) -> Option<Process> {
    let about = info::of_process::<libc::proc_bsdinfo>(pid)?;
    let number = |number: u32| i32::try_from(number).unwrap_or(0);
    Some(Process {
        pid,
        parent: number(about.pbi_ppid),
        group: number(about.pbi_pgid),
        // A zombie is in none.
        session: session_of(pid).unwrap_or(0),
        birth: about.pbi_start_tvsec * 1_000_000 + about.pbi_start_tvusec,
        // `SIDL`, `SRUN`, … (sys/proc.h).
        state: b"?IRSTZ".get(about.pbi_status as usize).copied().unwrap_or(b'?'),
        name: text(&about.pbi_comm[..15]),
    })
}

/// The ids of all processes that we may see.
pub fn numbers() -> Vec<i32> {
    info::list(ALL, 0)
}

/// The number that was given to a process last: it is not to be known here, which 0 says.
pub fn last_number() -> i32 {
    0
}

/// The highest number that a process can have.
pub fn highest_number() -> i32 {
    HIGHEST_NUMBER
}

/// Whether [`children_of`] can be asked.
pub fn tells_children() -> bool {
    true
}

/// The children of a process.
pub fn children_of(pid: i32) -> Vec<i32> {
    u32::try_from(pid).map(|pid| info::list(OF_PARENT, pid)).unwrap_or_default()
}

/// Where orphans of what we have started are: among all processes of the host, since they go to launchd. Our children, what is in one of
/// these sessions, and what carries a mark.
pub fn adopted(of_session: impl Fn(i32) -> bool) -> Vec<i32> {
    let own = getpid().as_raw();
    let mut found = children_of(own);
    let is_meant = |pid: &i32| session_of(*pid).is_some_and(&of_session) || marks::of_process(*pid).is_some();
    let others: Vec<i32> = numbers().into_iter().filter(|pid| *pid != own && !found.contains(pid)).filter(is_meant).collect();
    found.extend(others);
    found
}

/// All that is left of what was started below us, from one look at the whole host: what is in a session that was written down, or
/// carries the mark of that environment.
pub fn left_below(state_dir: &Path) -> Vec<Process> {
    let sessions = Sessions::of(state_dir);
    let env = sessions.mark.and_then(Marker::from_number);
    // A command may well be called from inside a service.
    let ours = Process::lineage();
    let is_marked = |pid: i32| env.is_some_and(|env| Marker::of_process(pid).is_some_and(|mark| mark.is_of_same_env(env)));
    let is_left = |pid: &i32| !ours.contains(pid) && (is_in(&sessions, *pid) || is_marked(*pid));
    numbers().into_iter().filter(is_left).filter_map(read).filter(Process::is_alive).collect()
}

/// Tells of a process whether a supervisor has written down that it started it: by its session.
pub fn written_down(state_dir: &Path) -> impl Fn(i32) -> bool {
    let sessions = Sessions::of(state_dir);
    move |pid| is_in(&sessions, pid)
}

fn is_in(sessions: &Sessions, pid: i32) -> bool {
    session_of(pid).is_some_and(|session| sessions.has(session, |leader| read(leader).map(|leader| leader.birth)))
}

fn session_of(pid: i32) -> Option<i32> {
    getsid(Some(Pid::from_raw(pid))).ok().map(Pid::as_raw)
}

/// Whether a process runs in the container of this id: here all containers run in a virtual machine.
pub fn is_in_container(_pid: i32, _id: &str) -> bool {
    false
}

/// The words of a process's command line; none where they may not be seen.
pub fn arguments(pid: i32) -> Vec<String> {
    let words = |started: &Started<'_>| started.words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    started(pid, words).unwrap_or_default()
}

/// A variable that a process was started with; none where that may not be seen.
pub fn variable(pid: i32, name: &str) -> Option<String> {
    started(pid, |started| started.variable(name).map(|value| String::from_utf8_lossy(value).into_owned()))?
}

/// Looks at what a process was started with; none where there is none of this id, or it is another user's.
fn started<T>(pid: i32, look: impl FnOnce(&Started<'_>) -> T) -> Option<T> {
    let mut buffer = vec![0; LONGEST];
    let size = info::sysctl(&mut [libc::CTL_KERN, libc::KERN_PROCARGS2, pid], &mut buffer).ok()?;
    Started::parse(&buffer[..size]).map(|started| look(&started))
}

/// Whether a process holds a file open that was at this path and has been deleted: what is deleted has no path here.
pub fn holds_deleted(_pid: i32, _path: &Path) -> bool {
    false
}

/// Bytes that a process holds in memory.
pub fn resident(pid: i32) -> Option<u64> {
    info::of_process::<libc::proc_taskinfo>(pid).map(|task| task.pti_resident_size)
}

/// What stands in an array of characters up to a zero.
pub(super) fn text(characters: &[c_char]) -> String {
    let bytes: Vec<u8> = characters.iter().take_while(|character| **character != 0).map(|character| *character as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
