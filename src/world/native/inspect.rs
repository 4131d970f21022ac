//! A unit's processes as seen from outside its supervisor: for `top` and `stats`, which need no more than the kernel tells.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use nix::unistd::{Uid, User};

use super::marker::Marker;
use super::tree;
use crate::base::name::{EnvId, UnitId};
use crate::world::clock;
use crate::world::envdir::own_uid;
use crate::world::kernel::look::{self, Look};
use crate::world::usage::Usage;

/// The columns of `ps -ef`.
pub const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The living processes of a unit: its leader's descendants, and all that carries its mark. Parents come first.
pub fn members(env: &EnvId, state_dir: &Path, unit: &UnitId, leader: Option<i32>) -> Vec<i32> {
    let own = Marker::of_env(env, state_dir, own_uid()).of_unit(unit);
    // One that took the place of another life has another mark.
    let of_leader = leader.and_then(Marker::of_process).filter(|mark| mark.is_of_same_env(own));
    let is_meant = |pid: &i32| Marker::of_process(*pid).is_some_and(|mark| mark == own || Some(mark) == of_leader);
    let mut heads: Vec<i32> = leader.into_iter().collect();
    heads.extend(tree::scan().iter().map(|process| process.pid).filter(is_meant));
    let members: BTreeSet<i32> =
        tree::with_descendants(&heads).into_iter().filter(tree::Process::is_alive).map(|process| process.pid).collect();
    members.into_iter().collect()
}

/// A process in the columns of [`TITLES`]; none when it has ended meanwhile.
pub fn row(pid: i32) -> Option<[String; 8]> {
    let process = Look::at(pid)?;
    let uid = process.uid()?;
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let cpu = process.cpu();
    let age = process.age().unwrap_or_default();
    let share = if age.as_secs() > 0 { cpu.as_secs() * 100 / age.as_secs() } else { 0 };
    let words = process.arguments();
    let command = if words.is_empty() { format!("[{}]", process.name()) } else { words.join(" ") };
    Some([
        user,
        pid.to_string(),
        process.parent().to_string(),
        share.min(99).to_string(),
        started(age),
        process.terminal(),
        time(cpu),
        command,
    ])
}

/// What these processes have used together. `limit` is what their service may use; else it is the host's memory.
pub fn usage(members: &[i32], limit: Option<u64>) -> Usage {
    let mut usage = Usage {
        at: clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default(),
        limit: limit.or_else(look::host_memory),
        block: Some((0, 0)),
        ..Usage::default()
    };
    for process in members.iter().filter_map(|pid| Look::at(*pid)) {
        // What its children have used that have ended is counted too, or a build of short commands would use nothing.
        usage.cpu += process.cpu() + process.cpu_of_ended();
        usage.pids += process.threads();
        usage.memory += process.memory();
        usage.block = match (process.block_io(), usage.block) {
            (Some((read, written)), Some(before)) => Some((before.0 + read, before.1 + written)),
            // Of another user's process they may not be seen.
            (None, _) | (_, None) => None,
        };
    }
    usage
}

/// The time of day in UTC when it is younger than a day, else the date.
fn started(age: Duration) -> String {
    let began = clock::wall().checked_sub(age).unwrap_or(UNIX_EPOCH);
    let stamp = humantime::format_rfc3339_seconds(began).to_string();
    let part = if age < DAY { stamp.get(11..16) } else { stamp.get(5..10) };
    part.unwrap_or_default().to_owned()
}

fn time(cpu: Duration) -> String {
    let seconds = cpu.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_seen_as_ps_would_see_us() {
        let own = nix::unistd::getpid().as_raw();
        let row = row(own).unwrap();
        assert_eq!((row[1].as_str(), row[2].as_str()), (own.to_string().as_str(), nix::unistd::getppid().to_string().as_str()));
        assert_eq!(row[6].len(), 8, "{row:?}");
        let usage = usage(&[own], Some(1 << 40));
        assert!(usage.memory > 0 && usage.pids > 0 && usage.limit == Some(1 << 40), "{usage:?}");
        assert!(super::usage(&[own], None).limit > Some(0), "the host's memory");
    }

    #[test]
    fn times_read_as_in_ps() {
        assert_eq!(time(Duration::from_secs(3 * 3600 + 62)), "03:01:02");
    }
}
