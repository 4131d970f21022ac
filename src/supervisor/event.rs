//! All that can happen.

use std::path::PathBuf;

use super::request::Request;
use crate::base::name::UnitId;
use crate::model::schedule::Cron;
use crate::plan::action::{Exit, Fault, Incarnation, Outcome, Ticket};
use crate::plan::actual::Actual;

/// One client's request, counted over the supervisor's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One rule of `develop.watch`, or one other thing that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client wants something.
    Request(RequestId, Request),
    /// The client of this request has gone away.
    Disconnected(RequestId),
    /// The engine has been looked at; the number is the one of `Effect::Observe`.
    Observed(u64, Result<Actual, Fault>),
    /// The engine says that something may have changed, or that it is back: worth a look.
    EngineStirred,
    /// The engine does not answer.
    EngineAway(String),
    /// An action is done, or has failed.
    Acted(Ticket, Result<Outcome, Fault>),
    /// An action in flight has something to tell people that only counts until the next of it: `12.3 MB of 40 MB`.
    Progress(Ticket, String),
    /// A build in flight has written a line.
    Wrote(Ticket, String),
    /// An action in flight was refused and is tried again: when, and why.
    Retrying(Ticket, String),
    /// A process's leader has ended, or (with `remaining` 0, for the second time) the last of what it had started.
    Exited {
        /// Which.
        unit: UnitId,
        /// Which life.
        incarnation: Incarnation,
        /// How the leader ended.
        exit: Exit,
        /// How many processes of its tree live on.
        remaining: u32,
    },
    /// A probe has an answer.
    Probed(Ticket, ProbeResult),
    /// The line that a start asked for has appeared in the log.
    LineMatched(UnitId, Incarnation),
    /// Files of a watch rule changed (content really changed; ignored paths are not among them). `busy` says that git is at work above the path, so more is to come.
    FilesChanged {
        /// Which rule.
        rule: RuleId,
        /// What changed, absolute.
        paths: Vec<PathBuf>,
        /// `.git/index.lock` is there.
        busy: bool,
    },
    /// A file watch could not be armed, or is only a poll: said to the user, and shown by `ps`.
    WatchTrouble {
        /// Which rule.
        rule: RuleId,
        /// What is wrong and what to do, one sentence.
        message: String,
    },
    /// When it is time for a unit with this schedule, by the wall clock: milliseconds since 1970.
    Reckoned {
        /// Which.
        unit: UnitId,
        /// By which times.
        cron: Cron,
        /// What time it is.
        now_ms: u64,
        /// When it is time; none for never.
        due_ms: Option<u64>,
    },
    /// An image was pulled, built, loaded or tagged under this reference.
    ImageArrived(String),
    /// An [`Effect::Watch`](super::effect::Effect::Watch) is carried out: from now on no change of those files is missed.
    WatchSet,
    /// The supervisor itself is asked to end.
    Terminate,
    /// Nothing but time.
    Tick,
}

impl Event {
    /// Whether there may be hundreds of them at one moment: one for each unit when everything is started, or stopped, or the lines of
    /// a build.
    pub fn comes_in_bulk(&self) -> bool {
        matches!(self, Event::Acted(..) | Event::Wrote(..) | Event::Exited { .. } | Event::Probed(..))
    }
}

/// What a probe says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// Whether all parts succeeded.
    pub healthy: bool,
    /// The output, or what went wrong: for `ps` and `why`. At most 4 KiB.
    pub output: String,
}
