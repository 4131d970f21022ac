//! Processes by `/proc` (`proc(5)`).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use crate::world::kernel::Process;

/// More than the longest line of `/proc/PID/stat` has.
const LONGEST_STAT: usize = 2048;

/// Looks at a process; none if there is none of this id.
pub fn read(pid: i32) -> Option<Process> {
    // The kernel makes the line anew for each read from its beginning, and gives all of it to one that has room: 52 numbers and a name.
    let mut line = [0; LONGEST_STAT];
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    parse(pid, &line[..length])
}

/// The line of `/proc/PID/stat` (`proc_pid_stat(5)`). The name may hold spaces and parentheses: it ends at the last one.
fn parse(pid: i32, line: &[u8]) -> Option<Process> {
    let open = memchr::memchr(b'(', line)?;
    let close = memchr::memrchr(b')', line)?;
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let mut number = || fields.next()?.parse::<i32>().ok();
    let (parent, group, session) = (number()?, number()?, number()?);
    // Field 22; the session is field 6.
    let birth = fields.nth(15)?.parse().ok()?;
    let name = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
    Some(Process { pid, parent, group, session, birth, state, name })
}

/// The ids of all processes that we may see.
pub fn numbers() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The number that was given to a process last: the end of `/proc/loadavg` (`proc_loadavg(5)`); 0 where it is not to be known.
pub fn last_number() -> i32 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().next_back().and_then(|last| last.parse().ok()).unwrap_or(0)
}

/// The highest number that a process can have.
pub fn highest_number() -> i32 {
    let text = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    text.trim().parse().unwrap_or(1 << 22)
}

/// Whether [`children_of`] can be asked. Kernels without `CONFIG_PROC_CHILDREN` have no such file; there everything is scanned.
pub fn tells_children() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let own = nix::unistd::getpid();
        fs::exists(format!("/proc/{own}/task/{own}/children")).unwrap_or(false)
    })
}

/// The children of a process.
pub fn children_of(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let threads = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    threads.flat_map(|thread: i32| children_of_thread(pid, thread)).collect()
}

fn children_of_thread(pid: i32, thread: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Where orphans of what we have started are: children of ours, since a subreaper gets them all, whatever session they are in.
/// The kernel gives them to the first thread that is not ending (`find_new_reaper` in kernel/exit.c), and the main thread ends
/// last.
pub fn adopted(_of_session: impl Fn(i32) -> bool) -> Vec<i32> {
    let own = nix::unistd::getpid().as_raw();
    if tells_children() {
        children_of_thread(own, own)
    } else {
        numbers().into_iter().filter_map(read).filter(|process| process.parent == own).map(|process| process.pid).collect()
    }
}

/// All that is left of what was started below us, from one look at the whole host: our descendants, since orphans come to us.
pub fn left_below(_state_dir: &Path) -> Vec<Process> {
    let all: Vec<Process> = numbers().into_iter().filter_map(read).collect();
    let mut ours = BTreeSet::from([nix::unistd::getpid().as_raw()]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for process in &all {
            if ours.contains(&process.parent) && ours.insert(process.pid) {
                found.push(process.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Tells of a process whether a supervisor has written down that it started it: here nothing is, and its mark says so.
pub fn written_down(_state_dir: &Path) -> impl Fn(i32) -> bool {
    |_| false
}

/// The words of a process's command line; none where they may not be seen.
pub fn arguments(pid: i32) -> Vec<String> {
    procfs::process::Process::new(pid).and_then(|process| process.cmdline()).unwrap_or_default()
}

/// A variable that a process was started with; none where that may not be seen.
pub fn variable(pid: i32, name: &str) -> Option<String> {
    let variables = procfs::process::Process::new(pid).ok()?.environ().ok()?;
    variables.get(std::ffi::OsStr::new(name)).map(|value| value.to_string_lossy().into_owned())
}

/// Whether a process runs in the container of this id, as far as that shows: an engine names the container's control group after it
/// (`/proc/PID/cgroup`, `cgroups(7)`).
pub fn is_in_container(pid: i32, id: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(id))
}

/// Whether a process holds a file open that was at this path and has been deleted: `/proc/PID/fd` says so (`proc_pid_fd(5)`).
pub fn holds_deleted(pid: i32, path: &Path) -> bool {
    let deleted = format!("{} (deleted)", path.display());
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|file| file.as_os_str() == deleted.as_str())
}

/// Bytes that a process holds in memory: the second number of `/proc/PID/statm`, in pages (`proc_pid_statm(5)`).
pub fn resident(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * procfs::page_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let line = b"7 (a) S (b) ) R 1 2 3 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 0 0\n";
        let process = parse(7, line).unwrap();
        assert_eq!((process.name.as_str(), process.parent, process.group, process.session), ("a) S (b) ", 1, 2, 3));
        assert_eq!((process.state, process.birth), (b'R', 12345));
        assert_eq!(parse(7, b"7 (a"), None);
    }
}
