//! All that the machine can ask for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::event::{RequestId, RuleId};
use super::notice::Notice;
use super::request::Reply;
use crate::base::name::{ServiceName, UnitId};
use crate::model::health::HealthCheck;
use crate::model::schedule::Cron;
use crate::model::watch::{Sources, WatchRule};
use crate::plan::action::{Action, Incarnation, Ticket};
use crate::plan::actual::Query;
use crate::plan::desired::UnitSpec;

/// One thing to be done. The order of a step's effects counts.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Do this; answer with `Event::Acted` exactly once.
    Act(Ticket, Action),
    /// What is under way for this unit is not wanted any more. Hooks and checks are ended; what a task's run would have been
    /// protected by is let go, and an assessment or a start that still waits for it fails.
    Abandon(UnitId),
    /// Look at the container engine; answer with `Event::Observed` and the same number exactly once.
    Observe(u64, Query),
    /// Probe a unit once, all parts but `log`; answer with `Event::Probed` exactly once, also when it takes too long.
    Probe(Ticket, Probe),
    /// This life of a process is its unit's from now on: what comes for the unit goes to it, no longer to the one before.
    Lead(UnitId, Incarnation),
    /// Watch these files, and no others.
    Watch(Vec<Watched>),
    /// The action of this ticket's number is not wanted any more: it is broken off, and answered all the same.
    CallOff(u64),
    /// Hold the listening sockets and proxies of these units, and of no others.
    Hold(BTreeSet<UnitId>),
    /// Say when it is time; answer with `Event::Reckoned`.
    Reckon(Reckoning),
    /// Answer a request. A request has exactly one answer; what it is told before that are notices.
    Reply(RequestId, Reply),
    /// Tell those who follow.
    Tell(Notice),
    /// Write the snapshot down, at the end of this turn of the loop.
    Persist,
    /// End the supervisor.
    Exit,
}

/// A probe to be run.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Of which unit.
    pub spec: UnitSpec,
    /// The checks.
    pub check: Arc<HealthCheck>,
    /// For a container: its id.
    pub container: Option<String>,
    /// It is a life beside another of the unit: what that one has made or answers counts for nothing.
    pub beside: bool,
}

/// A question to the wall clock: how long it is until it is time.
#[derive(Debug, Clone)]
pub struct Reckoning {
    /// For which unit.
    pub unit: UnitId,
    /// By which times.
    pub cron: Cron,
    /// The time of its last run, in milliseconds since 1970: the next one comes after it, and after now.
    pub last_ms: Option<u64>,
    /// The next time, if it is known: then only the clock is asked.
    pub due_ms: Option<u64>,
}

/// Files to be watched.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Echoed in `FilesChanged`.
    pub id: RuleId,
    /// Whose rule.
    pub service: ServiceName,
    /// The rule.
    pub rule: WatchRule,
    /// Whose word on what is no source counts.
    pub sources: Sources,
}
