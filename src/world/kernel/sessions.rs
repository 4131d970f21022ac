//! A record of the sessions that a supervisor has started, for kernels on which orphans do not come to it: whoever looks for what it
//! has left finds them by it, also where the mark of a process may not be seen.
//!
//! A file of the environment's state: the environment's mark, then a line for each session, its leader and when that was born. A
//! leader stands there before its program runs. Sessions that are over are taken out when the file has grown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::world::disk;

/// The file's name.
const NAME: &str = "sessions";
/// From so many bytes on the file is gone through.
const LARGE: u64 = 64 * 1024;

/// What a session looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Its leader lives, and was born then.
    Leader(u64),
    /// Others of it live.
    Members,
    /// Nothing of it is there.
    Nothing,
}

/// The record, by who reads it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    /// The mark of the environment.
    pub(super) mark: Option<u64>,
    /// Leaders, and when each was born.
    leaders: BTreeMap<i32, u64>,
}

impl Sessions {
    /// Reads the record of an environment; an empty one where there is none.
    pub(super) fn of(state_dir: &Path) -> Self {
        let text = fs::read_to_string(state_dir.join(NAME)).unwrap_or_default();
        let mut lines = text.lines();
        let mark = lines.next().and_then(|line| line.parse().ok());
        // A line that is not whole was being written when its writer was killed, and its leader ran no program.
        let leaders = lines.filter_map(|line| {
            let (leader, birth) = line.split_once(' ')?;
            Some((leader.parse().ok()?, birth.parse().ok()?))
        });
        Self { mark, leaders: leaders.collect() }
    }

    /// Whether a session is one of these: its number may have come to mean another. `born` tells of a process when it was born.
    ///
    /// A number is not given again while a session has it. So it is ours unless a leader lives that is another than ours.
    pub(super) fn has(&self, session: i32, born: impl FnOnce(i32) -> Option<u64>) -> bool {
        self.leaders.get(&session).is_some_and(|birth| born(session).is_none_or(|now| now == *birth))
    }
}

/// The record, by who writes it.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    mark: u64,
    file: Mutex<File>,
}

impl Record {
    /// Begins an empty one.
    pub(super) fn begin(state_dir: &Path, mark: u64) -> io::Result<Self> {
        let path = state_dir.join(NAME);
        disk::replace(&path, format!("{mark}\n").as_bytes(), 0o600)?;
        Ok(Self { mark, file: Mutex::new(open(&path)?), path })
    }

    /// Writes a leader down. `look` tells of a session what it looks like, for those that may be over.
    pub(super) fn add(&self, leader: i32, birth: u64, look: impl Fn(i32) -> Seen) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.metadata()?.len() > LARGE {
            *file = self.shrunk(look)?;
        }
        file.write_all(format!("{leader} {birth}\n").as_bytes())
    }

    fn shrunk(&self, look: impl Fn(i32) -> Seen) -> io::Result<File> {
        let before = Sessions::of(self.path.parent().unwrap_or(Path::new("")));
        let mut text = format!("{}\n", self.mark);
        for (leader, birth) in before.leaders {
            let goes_on = match look(leader) {
                Seen::Leader(now) => now == birth,
                Seen::Members => true,
                Seen::Nothing => false,
            };
            if goes_on {
                let _ = writeln!(text, "{leader} {birth}");
            }
        }
        disk::replace(&self.path, text.as_bytes(), 0o600)?;
        open(&self.path)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_by_its_number_until_that_is_anothers() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(Sessions::of(state.path()), Sessions::default());
        let record = Record::begin(state.path(), 77).unwrap();
        record.add(10, 1000, |_| Seen::Nothing).unwrap();
        record.add(11, 1001, |_| Seen::Nothing).unwrap();
        let mut text = OpenOptions::new().append(true).open(state.path().join(NAME)).unwrap();
        text.write_all(b"12").unwrap();

        let sessions = Sessions::of(state.path());
        assert_eq!(sessions.mark, Some(77));
        assert!(sessions.has(10, |_| Some(1000)), "its leader lives");
        assert!(sessions.has(11, |_| None), "its leader is gone, and others of it are not");
        assert!(!sessions.has(10, |_| Some(2000)), "the number is another's by now");
        assert!(!sessions.has(12, |_| None), "torn");
        drop(record);
        Record::begin(state.path(), 78).unwrap();
        assert!(!Sessions::of(state.path()).has(10, |_| Some(1000)), "an earlier supervisor's");
    }

    #[test]
    fn a_record_does_not_grow_by_sessions_that_are_over() {
        let state = tempfile::tempdir().unwrap();
        let record = Record::begin(state.path(), 77).unwrap();
        let look = |leader: i32| match leader {
            1 => Seen::Leader(1),
            2 => Seen::Members,
            3 => Seen::Leader(9),
            _ => Seen::Nothing,
        };
        for leader in 1..20_000 {
            record.add(leader, u64::try_from(leader).unwrap(), look).unwrap();
        }
        assert!(fs::metadata(state.path().join(NAME)).unwrap().len() <= LARGE + 100);
        let sessions = Sessions::of(state.path());
        let has = |session: i32| sessions.has(session, |_| None);
        assert!(has(1) && has(2) && has(19_999) && !has(3) && !has(4));
    }
}
