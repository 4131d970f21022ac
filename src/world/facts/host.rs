//! What this host offers everybody: limits of the kernel, room on the disk, the locale. For `doctor`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use indexmap::IndexMap;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use crate::world::kernel::{Process, host, processes};

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// It will do, and may become a nuisance.
    Doubtful,
    /// Something will not work.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, in a word or two.
    pub name: &'static str,
    /// How good it is.
    pub verdict: Verdict,
    /// What was found, one sentence.
    pub found: String,
    /// What to do about it: a command, or a sentence.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn fine(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fine, found: found.into(), remedy: None }
    }

    /// It will do.
    pub fn doubtful(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Doubtful, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// It will not.
    pub fn wrong(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Wrong, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Watches of files that one user may have, below which large trees are not watched as a whole.
const WATCHES: u64 = 65_536;
/// Watchers that one user may have: editors take some, and each supervisor one.
const WATCHERS: u64 = 128;
/// Open files that a service can count on.
const OPEN_FILES: u64 = 1024;
/// Room on a disk that an image or a database soon fills.
const ROOM: u64 = 2 << 30;
/// Room with which nothing works.
const NO_ROOM: u64 = 64 << 20;
/// The engine's clock may differ by this much before logs are merged in a wrong order.
const CLOCKS: Duration = Duration::from_secs(2);

/// What this host's kernel lacks of what others give us.
pub fn kernel() -> Vec<Finding> {
    host::LACKS.into_iter().map(|(name, what)| Finding::doubtful(name, what, host::MORE_OF_LACKS)).collect()
}

/// Why nothing can be kept in a directory of ours, which may be one that is still to be made; none where it can.
pub fn writable(name: &'static str, path: &Path) -> Option<Finding> {
    let there = path.ancestors().find(|path| path.symlink_metadata().is_ok())?;
    let shown = there.display();
    if !there.is_dir() {
        return Some(Finding::wrong(name, format!("`{shown}` is no directory"), format!("mv '{shown}' '{shown}.old'")));
    }
    if let Err(errno) = access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        let remedy = match errno {
            Errno::EROFS => "export XDG_STATE_HOME=DIR, where DIR is a directory that can be written".to_owned(),
            _ => format!("sudo chown \"$USER\" '{shown}' && chmod u+rwx '{shown}'"),
        };
        return Some(Finding::wrong(name, format!("`{shown}` cannot be written: {}", errno.desc()), remedy));
    }
    let disk = statvfs(there).ok()?;
    (disk.files() > 0 && disk.files_available() == 0).then(|| {
        let remedy = "baistack purge, of an environment that nobody needs; `df -i` shows where they are used";
        Finding::wrong(name, format!("no more files can be made on the disk of `{shown}`: it is out of inodes"), remedy)
    })
}

/// Whether file changes can be watched.
pub fn watches() -> Finding {
    let limit = |name: &str| fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse::<u64>().ok();
    judge_watches(limit("max_user_watches"), limit("max_user_instances"))
}

fn judge_watches(watches: Option<u64>, watchers: Option<u64>) -> Finding {
    const NAME: &str = "file watches";
    let set = |name: &str, value: u64| format!("sudo sysctl -w fs.inotify.{name}={value}");
    match (watches, watchers) {
        (Some(watches), _) if watches < WATCHES => {
            Finding::doubtful(NAME, format!("{watches} files may be watched"), set("max_user_watches", 524_288))
        }
        (_, Some(watchers)) if watchers < WATCHERS => {
            Finding::doubtful(NAME, format!("{watchers} programs may watch files"), set("max_user_instances", 1024))
        }
        (Some(watches), Some(watchers)) => Finding::fine(NAME, format!("{watches} files by {watchers} programs")),
        (None, _) | (_, None) => Finding::fine(NAME, "the kernel does not tell its limits"),
    }
}

/// Whether services can open enough files.
pub fn open_files() -> Finding {
    const NAME: &str = "open files";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard < OPEN_FILES => Finding::doubtful(
            NAME,
            format!("at most {hard} in a process"),
            "echo \"$USER - nofile 65536\" | sudo tee /etc/security/limits.d/90-nofile.conf, and log in again",
        ),
        Ok((soft, hard)) => Finding::fine(NAME, format!("{soft} in a process, up to {hard} where it is asked for")),
        Err(errno) => Finding::doubtful(NAME, errno.desc(), "`ulimit -n` tells the limit"),
    }
}

/// What we may do that other users may not.
pub fn own_capabilities() -> Finding {
    const NAME: &str = "own capabilities";
    match capability_sets("self") {
        Some(sets) if sets.effective == 0 => {
            Finding::fine(NAME, "none: what a `cap_add` asks for has to be in the program's file")
        }
        Some(sets) if sets.effective == sets.bounding => Finding::fine(NAME, "all that this host gives"),
        Some(sets) => Finding::fine(NAME, format!("{} of them", sets.effective.count_ones())),
        None => Finding::fine(NAME, "the kernel does not tell them"),
    }
}

/// Whether the engine on this host may raise the limits of containers; `needed` says that one has `ulimits`. None when its
/// process is not to be seen from here.
pub fn engine_capabilities(needed: bool) -> Option<Finding> {
    let is_engine = |process: &Process| matches!(process.name.as_str(), "dockerd" | "podman");
    let engine = processes::numbers().into_iter().filter_map(Process::read).find(is_engine)?;
    Some(judge_engine(&capability_sets(&engine.pid.to_string())?, needed))
}

fn judge_engine(sets: &CapabilitySets, needed: bool) -> Finding {
    const NAME: &str = "engine's capabilities";
    // capabilities(7): to raise a hard limit, which the container runtime does for `ulimits`.
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    if sets.effective & sets.bounding & CAP_SYS_RESOURCE != 0 {
        return Finding::fine(NAME, "it may raise the limits of containers");
    }
    let found = "it lacks CAP_SYS_RESOURCE: a container with higher `ulimits` than its own does not start";
    let remedy = "where the engine runs in a container, give that `--cap-add SYS_RESOURCE`; else take the line `CapabilityBoundingSet=` out of \
                  its unit (`systemctl edit docker`)";
    if needed { Finding::wrong(NAME, found, remedy) } else { Finding::doubtful(NAME, found, remedy) }
}

/// Sets of a process's capabilities, a bit each.
struct CapabilitySets {
    effective: u64,
    bounding: u64,
}

/// `CapEff` and `CapBnd` of `/proc/PID/status` (`proc_pid_status(5)`).
fn capability_sets(pid: &str) -> Option<CapabilitySets> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let set = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(value.trim(), 16).ok()
    };
    Some(CapabilitySets { effective: set("CapEff:")?, bounding: set("CapBnd:")? })
}

/// Whether a disk has room, by a path on it.
pub fn room(name: &'static str, path: &Path) -> Finding {
    // What is yet to be made will lie where its parent is.
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match host::free_bytes(there) {
        Ok(free) => judge_room(name, there, free),
        Err(errno) => Finding::doubtful(name, format!("{}: {}", there.display(), errno.desc()), "`df` tells what is mounted"),
    }
}

fn judge_room(name: &'static str, path: &Path, free: u64) -> Finding {
    let found = format!("{} MiB are free at {}", free >> 20, path.display());
    let remedy = "`docker system df` and `du` tell what takes the room; `baistack purge` removes an environment";
    match free {
        0..NO_ROOM => Finding::wrong(name, found, remedy),
        NO_ROOM..ROOM => Finding::doubtful(name, found, remedy),
        _ => Finding::fine(name, found),
    }
}

/// Whether programs write UTF-8.
pub fn locale(environment: &IndexMap<String, String>) -> Finding {
    const NAME: &str = "locale";
    let set = |name: &&str| environment.get(*name).filter(|value| !value.is_empty());
    let first = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| Some((name, set(&name)?)));
    match first {
        Some((name, value)) if value.to_ascii_lowercase().replace('-', "").ends_with("utf8") => {
            Finding::fine(NAME, format!("{name}={value}"))
        }
        Some((name, value)) => Finding::doubtful(NAME, format!("{name}={value} is none of UTF-8"), "export LC_ALL=C.UTF-8"),
        None => Finding::doubtful(NAME, "none is set: many programs take that for ASCII", "export LC_ALL=C.UTF-8"),
    }
}

/// Whether the engine's clock and ours agree: lines of both kinds are merged by time.
pub fn clocks(ours: SystemTime, engines: SystemTime) -> Finding {
    const NAME: &str = "clock";
    let apart = ours.duration_since(engines).unwrap_or_else(|error| error.duration());
    if apart <= CLOCKS {
        return Finding::fine(NAME, "the engine's is ours");
    }
    let found = format!("the engine's is {} s from ours, which mixes up the order of log lines", apart.as_secs());
    Finding::doubtful(NAME, found, "sudo timedatectl set-ntp true, on both hosts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_cannot_raise_limits_is_told() {
        let all = u64::MAX;
        let but_one = all & !(1 << 24);
        for (effective, bounding, needed, expected) in
            [(all, all, true, Verdict::Fine), (all, but_one, false, Verdict::Doubtful), (but_one, all, true, Verdict::Wrong)]
        {
            let finding = judge_engine(&CapabilitySets { effective, bounding }, needed);
            assert_eq!(finding.verdict, expected);
            assert_eq!(finding.remedy.is_some(), expected != Verdict::Fine);
        }
        assert!(capability_sets("self").is_some());
    }

    #[test]
    fn what_is_too_little_is_told_with_its_remedy() {
        let told = |finding: Finding| (finding.verdict, finding.remedy.unwrap_or_default());
        let environment = |value: &str| IndexMap::from([("LANG".to_owned(), value.to_owned())]);
        let (long_ago, now) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(60));
        for (finding, verdict, remedy) in [
            (judge_watches(Some(8192), Some(128)), Verdict::Doubtful, "sudo sysctl -w fs.inotify.max_user_watches=524288"),
            (judge_watches(Some(100_000), Some(16)), Verdict::Doubtful, "sudo sysctl -w fs.inotify.max_user_instances=1024"),
            (judge_watches(Some(100_000), Some(128)), Verdict::Fine, ""),
            (judge_watches(None, None), Verdict::Fine, ""),
            (locale(&environment("C.UTF-8")), Verdict::Fine, ""),
            (locale(&environment("de_DE.utf8")), Verdict::Fine, ""),
            (locale(&environment("C")), Verdict::Doubtful, "export LC_ALL=C.UTF-8"),
            (locale(&IndexMap::new()), Verdict::Doubtful, "export LC_ALL=C.UTF-8"),
            (clocks(now, now), Verdict::Fine, ""),
            (clocks(long_ago, now), Verdict::Doubtful, "sudo timedatectl set-ntp true, on both hosts"),
        ] {
            let shown = format!("{finding:?}");
            assert_eq!(told(finding), (verdict, remedy.to_owned()), "{shown}");
        }
        for (free, verdict) in [(0, Verdict::Wrong), (1 << 30, Verdict::Doubtful), (1 << 40, Verdict::Fine)] {
            assert_eq!(judge_room("disk", Path::new("/"), free).verdict, verdict, "{free}");
        }
        assert_ne!(room("disk", Path::new("/no/such/place")).found, "");
        assert_eq!(open_files().name, "open files");
        assert_eq!(watches().name, "file watches");
    }
}
