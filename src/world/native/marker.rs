//! A mark that every process of an environment inherits and none can lose by accident: a limit that nothing uses.
//!
//! The soft `RLIMIT_RTTIME` of each child is a number made of the user, the environment (name and place) and the unit. It passes through fork,
//! exec, `env -i`, `setsid` and file capabilities, and anybody may read it in `/proc/PID/limits`, where the environment
//! variables of a process with capabilities are hidden. It limits only processes under a real-time policy, to more than a
//! thousand years of processor time. `ulimits.rttime` is refused for its sake.

use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::base::name::{EnvId, UnitId};

/// Every marker has this bit, so each is above 2⁵⁵ µs.
const ALWAYS: u64 = 1 << 55;
/// The bits of the user and the environment.
const ENV_BITS: u64 = ((1 << 31) - 1) << 24;
/// The bits of the unit or command.
const NUMBER_BITS: u64 = (1 << 24) - 1;
/// Set in the number of a command that is run beside a unit, absent in a unit's.
const COMMAND_BIT: u32 = 1 << 23;

/// The mark of one unit, or of one command, of one environment of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Marker(u64);

impl Marker {
    /// A mark that no process has.
    pub(super) const NONE: Self = Self(0);

    /// The environment's mark, without a unit. The same each time, so that it survives a lost state directory; another one
    /// where a user's environment of the same name has its state elsewhere (`XDG_STATE_HOME`).
    pub fn of_env(env: &EnvId, state_dir: &Path, uid: u32) -> Self {
        // Whichever links lead there; a directory that is lost has only its name.
        let place = fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        Self(ALWAYS | (digest(&format!("{uid}/{env}/{}", place.display())) << 24 & ENV_BITS))
    }

    /// The mark of a unit. Two units of an environment may get the same (once in eight million pairs).
    #[must_use]
    pub fn of_unit(self, unit: &UnitId) -> Self {
        Self(self.env() | (digest(&unit.to_string()) & NUMBER_BITS & !u64::from(COMMAND_BIT)))
    }

    /// The unit mark after this one, for a unit whose own is taken.
    #[must_use]
    pub fn successor(self) -> Self {
        Self(self.env() | ((self.0 & NUMBER_BITS) + 1) & u64::from(COMMAND_BIT - 1))
    }

    /// The mark of the `serial`th command run beside a unit, unlike that of any unit.
    #[must_use]
    pub fn of_command(self, serial: u32) -> Self {
        Self(self.env() | u64::from(COMMAND_BIT | serial & (COMMAND_BIT - 1)))
    }

    /// Whether it is that of a command that is run beside a unit.
    pub(super) fn is_of_command(self) -> bool {
        self.0 & ALWAYS != 0 && self.0 & u64::from(COMMAND_BIT) != 0
    }

    /// The mark that stands in a process's limits; none if there is no mark or no such process.
    pub fn of_process(pid: i32) -> Option<Self> {
        Self::from_limit(limit_of(pid)?)
    }

    fn from_limit(limit: u64) -> Option<Self> {
        (limit & ALWAYS != 0 && limit >> 56 == 0).then_some(Self(limit))
    }

    /// The limit to be set.
    pub fn limit(self) -> u64 {
        self.0
    }

    /// Whether both belong to one environment of one user.
    pub fn is_of_same_env(self, other: Marker) -> bool {
        self.env() == other.env()
    }

    fn env(self) -> u64 {
        self.0 & !NUMBER_BITS
    }
}

fn digest(text: &str) -> u64 {
    let bytes = Sha256::digest(text.as_bytes());
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The soft limit of a process, in microseconds.
fn limit_of(pid: i32) -> Option<u64> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads into a structure of ours.
    match unsafe { libc::prlimit64(pid, libc::RLIMIT_RTTIME, std::ptr::null(), &raw mut limit) } {
        0 => Some(limit.rlim_cur),
        // Another user's process, or one whose user changed: the file is readable for all, only slower to read.
        _ if io::Error::last_os_error().raw_os_error() == Some(libc::EPERM) => {
            parse_limits(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)
        }
        _ => None,
    }
}

fn parse_limits(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max realtime timeout"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Takes the mark off ourselves: an environment started from inside another one is not a part of it.
pub(super) fn shed() {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads and sets a limit of this process with a structure of ours. Raising up to the hard limit is always allowed.
    unsafe {
        if libc::prlimit64(0, libc::RLIMIT_RTTIME, std::ptr::null(), &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::prlimit64(0, libc::RLIMIT_RTTIME, &raw const limit, std::ptr::null_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_environments_users_units_and_commands_apart() {
        let env: EnvId = "demo".parse().unwrap();
        let place = Path::new("/no/such/state");
        let mark = Marker::of_env(&env, place, 1000);
        assert_eq!(mark, Marker::of_env(&env, place, 1000));
        assert!(!mark.is_of_same_env(Marker::of_env(&env, place, 1001)));
        assert!(!mark.is_of_same_env(Marker::of_env(&"demo2".parse().unwrap(), place, 1000)));
        assert!(!mark.is_of_same_env(Marker::of_env(&env, Path::new("/no/other/state"), 1000)));
        let unit = mark.of_unit(&"web:1".parse().unwrap());
        assert!(unit.is_of_same_env(mark));
        assert_ne!(unit, mark.of_unit(&"web:2".parse().unwrap()));
        assert_ne!(mark.of_command(1), mark.of_command(2));
        assert!(mark.of_command(1).is_of_command() && !unit.is_of_command() && !Marker::NONE.is_of_command());
        assert_eq!(Marker::from_limit(unit.limit()), Some(unit));
        assert_eq!(Marker::from_limit(libc::RLIM_INFINITY), None);
        assert_eq!(Marker::from_limit(1_000_000), None);
    }

    #[test]
    fn limits_are_read_from_the_kernels_table() {
        let text = "Limit   Soft Limit  Hard Limit  Units\nMax realtime timeout      36028797018963968   unlimited  us  \n";
        assert_eq!(parse_limits(text), Some(1 << 55));
        assert_eq!(parse_limits("Max realtime timeout unlimited unlimited us"), None);
    }
}
