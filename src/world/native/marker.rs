//! A mark that every process of an environment inherits and, on Linux, none can lose by accident: a number made of the user, the
//! environment (name and place) and the unit.
//!
//! Where it stands, and who may see it, is the kernel's business ([`marks`]). On Linux it is a limit that nothing uses: it limits
//! only processes under a real-time policy, to more than a thousand years of processor time. `ulimits.rttime` is refused for its
//! sake.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::base::name::{EnvId, UnitId};
use crate::world::kernel::launch::Launch;
use crate::world::kernel::marks;

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
        let place = place_of(state_dir);
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

    /// The mark that a process carries; none if there is no mark or no such process.
    pub fn of_process(pid: i32) -> Option<Self> {
        Self::from_number(marks::of_process(pid)?)
    }

    /// Has a child carry it, where the host lets us.
    pub fn put(self, launch: &mut Launch) {
        marks::put(launch, self.0);
    }

    /// The mark that a number stands for; none where it is none.
    pub fn from_number(number: u64) -> Option<Self> {
        (number & ALWAYS != 0 && number >> 56 == 0).then_some(Self(number))
    }

    /// The number that it is.
    pub fn number(self) -> u64 {
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

/// Where a directory lies, whichever links lead there; what is lost of the way has only its name.
pub(super) fn place_of(state_dir: &Path) -> PathBuf {
    let known = |above: &Path| Some((fs::canonicalize(above).ok()?, state_dir.strip_prefix(above).ok()?));
    match state_dir.ancestors().find_map(known) {
        Some((place, rest)) if rest.as_os_str().is_empty() => place,
        Some((place, rest)) => place.join(rest),
        None => state_dir.to_owned(),
    }
}

fn digest(text: &str) -> u64 {
    let bytes = Sha256::digest(text.as_bytes());
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_a_lost_directory_is_the_same_whichever_link_leads_there() {
        let place = tempfile::tempdir().unwrap();
        let (real, link) = (place.path().join("real"), place.path().join("link"));
        fs::create_dir_all(real.join("state/demo")).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let env: EnvId = "demo".parse().unwrap();
        let mark = || Marker::of_env(&env, &link.join("state/demo"), 1000);
        let before = mark();
        for lost in ["state/demo", "state"] {
            fs::remove_dir(real.join(lost)).unwrap();
            assert_eq!(mark(), before, "{lost}");
        }
    }

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
        assert_eq!(Marker::from_number(unit.number()), Some(unit));
        assert_eq!(Marker::from_number(libc::RLIM_INFINITY), None);
        assert_eq!(Marker::from_number(1_000_000), None);
    }
}
