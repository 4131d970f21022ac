//! How things are, in words: status for `ps`, the chain for `why`, notices for followers.

use super::gate::{Blocked, Gate};
use super::machine::Supervisor;
use super::notice::Notice;
use super::reload::{Role, SecondLife};
use super::status::{Status, UnitKind, UnitState, UnitStatus, Why};
use super::unit::{Busy, Have, Phase, Step, Unit};
use crate::base::name::ServiceName;
use crate::plan::action::Exit;
use crate::plan::next::{self, Goal};

impl Supervisor {
    /// How things are.
    pub fn status(&self) -> Status {
        let blocked = self.blocked();
        let mut units: Vec<UnitStatus> = self.units.values().map(|unit| self.status_of(unit, &blocked)).collect();
        if let Some(deployment) = &self.deployment {
            units.sort_by_key(|unit| deployment.stack.services.get_index_of(&unit.unit.service).unwrap_or(usize::MAX));
        }
        Status { env: self.env.clone(), units, engine_away: self.engine_away.clone() }
    }

    fn status_of(&self, unit: &Unit, blocked: &Blocked) -> UnitStatus {
        let running = matches!(unit.have, Have::Running { .. });
        UnitStatus {
            unit: unit.id.clone(),
            kind: unit.kind,
            state: self.state_of(unit, blocked),
            since_ms: unit.lasts(self.now).map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            // As in Compose, what stands still is neither healthy nor unhealthy.
            health: unit.health.verdict.filter(|_| running && !unit.paused),
            probe_output: unit.health.output.clone(),
            pid: unit.pid,
            container: unit.container.clone(),
            removed: unit.removed && unit.is_absent(),
            one_off: unit.is_one_off(),
            restarts: unit.restarts,
            last_exit: if let Have::Exited { exit, .. } = unit.have { Some(exit.code()) } else { None },
            reload: reload_of(unit),
            watch: self.watches.state_of(&unit.id.service),
            schedule: unit.schedule_status(self.now),
        }
    }

    fn state_of(&self, unit: &Unit, blocked: &Blocked) -> UnitState {
        if unit.kind == UnitKind::Container && self.engine_away.is_some() {
            return UnitState::Unknown;
        }
        if unit.stopping.is_some() {
            return UnitState::Stopping;
        }
        if let Some(second) = unit.second.as_ref().filter(|_| !matches!(unit.have, Have::Running { .. })) {
            return if second.role == Role::Next { UnitState::Starting } else { UnitState::Stopping };
        }
        if let Some(Busy { step, .. }) = &unit.busy {
            match step {
                Step::Table(next::Step::Create | next::Step::TakeOver) => return UnitState::Preparing,
                Step::Table(next::Step::Remove) => return UnitState::Removing,
                // What stands beside it does not touch it.
                Step::Table(next::Step::Succeed | next::Step::Discard) => {}
                Step::Table(next::Step::Start) => return UnitState::Starting,
                Step::Table(next::Step::Stop) | Step::Kill => return UnitState::Stopping,
                Step::Assess | Step::Conclude => return UnitState::Checking,
            }
        }
        if unit.at_work && unit.have == Have::Absent {
            return UnitState::Preparing;
        }
        let reason = || unit.failure.clone().unwrap_or_else(|| "failed".to_owned());
        match unit.have {
            Have::Running { .. } if unit.paused => return UnitState::Paused,
            Have::Running { .. } => return UnitState::Running,
            Have::Absent | Have::Created | Have::Exited { .. } if unit.given_up => return UnitState::Failed { reason: reason() },
            Have::Absent | Have::Created | Have::Exited { .. } => {}
        }
        if unit.kind == UnitKind::Task && unit.is_done() && unit.goal == Goal::Stopped {
            // Nothing of it was there to be stopped: it stays done.
            return if unit.task.phase == Phase::UpToDate { UnitState::UpToDate } else { UnitState::Succeeded };
        }
        if unit.goal == Goal::Up {
            if unit.kind == UnitKind::Task && unit.is_done() {
                return if unit.task.phase == Phase::UpToDate { UnitState::UpToDate } else { UnitState::Succeeded };
            }
            if let Some((root, why)) = blocked.get(&unit.id.service) {
                return if *root == unit.id.service {
                    UnitState::Failed { reason: why.clone() }
                } else {
                    UnitState::Blocked { by: root.clone(), reason: why.clone() }
                };
            }
            if unit.task.phase == Phase::Scheduled {
                return UnitState::Scheduled;
            }
            if let Some(step) = unit.next_step(self.now) {
                if unit.not_before > self.now {
                    let next_ms = u64::try_from(unit.not_before.since(self.now).as_millis()).unwrap_or(u64::MAX);
                    return UnitState::BackingOff { failures: unit.failures, next_ms, reason: reason() };
                }
                return UnitState::Waiting { on: self.waits_for(unit, step, blocked) };
            }
        }
        match unit.have {
            Have::Absent => UnitState::Absent,
            Have::Created | Have::Running { .. } => UnitState::Created,
            Have::Exited { exit, .. } if unit.stopped => {
                UnitState::Stopped { code: exit.code(), killed: unit.killed || had_to_be_killed(unit, exit) }
            }
            Have::Exited { exit, .. } => UnitState::Exited { code: exit.code() },
        }
    }

    fn waits_for(&self, unit: &Unit, step: Step, blocked: &Blocked) -> String {
        let gate = match step {
            Step::Table(next::Step::Create | next::Step::Succeed) if unit.kind == UnitKind::Container => self.create_gate(unit),
            Step::Table(next::Step::Create | next::Step::Start) | Step::Assess => self.start_gate(unit, blocked),
            Step::Table(
                next::Step::Succeed | next::Step::TakeOver | next::Step::Discard | next::Step::Stop | next::Step::Remove,
            )
            | Step::Kill
            | Step::Conclude => Gate::Open,
        };
        match gate {
            Gate::Waiting(what) => what,
            Gate::Blocked(root, reason) => format!("{root}: {reason}"),
            Gate::Open => "its turn".to_owned(),
        }
    }

    /// Why a service is as it is; none for one that there is not.
    pub fn why(&self, service: &ServiceName) -> Option<Why> {
        let blocked = self.blocked();
        // Where nothing was ever recorded, what is there is all that is known.
        let of = |name: &ServiceName| {
            let all = self.units.values().filter(|unit| unit.id.service == *name && !unit.one_off);
            all.filter(|unit| !unit.ghost || self.deployment.is_none()).collect::<Vec<_>>()
        };
        let status = |unit: &Unit| {
            let status = self.status_of(unit, &blocked);
            // A code that nobody knows tells nothing.
            UnitStatus { last_exit: status.last_exit.filter(|_| !was_lost(unit)), ..status }
        };
        let units: Vec<UnitStatus> = of(service).into_iter().map(status).collect();
        if units.is_empty() && self.deployment.as_ref().is_none_or(|deployment| deployment.service(service).is_none()) {
            return None;
        }
        let (mut chain, mut depths) = (Vec::new(), Vec::new());
        let mut queue = vec![(service.clone(), 0)];
        let mut visited = std::collections::BTreeSet::new();
        while let Some((name, depth)) = queue.pop() {
            if !visited.insert(name.clone()) {
                continue;
            }
            for unit in of(&name) {
                let sentence = if was_lost(unit) && unit.goal != Goal::Up {
                    "ended with its supervisor, which died; `start` starts it again".to_owned()
                } else {
                    sentence(&self.status_of(unit, &blocked))
                };
                chain.push(format!("{}: {sentence}", unit.id));
                depths.push(depth);
                let settled = (unit.is_current() && unit.is_ready()) || unit.is_done();
                if !settled {
                    let dependencies = unit.spec.service().common.depends_on.keys().rev().cloned();
                    let unsettled = dependencies.filter(|name| {
                        self.units_of(name).any(|unit| !((unit.is_current() && unit.is_ready()) || unit.is_done()))
                    });
                    queue.extend(unsettled.map(|name| (name, depth + 1)));
                }
            }
        }
        if chain.is_empty() {
            chain.push(format!("{service}: nobody asked for it; `up {service}` starts it"));
            depths.push(0);
        }
        Some(Why { units, chain, depths })
    }

    /// Tells followers what has changed since the last pass.
    pub(super) fn report_changes(&mut self, blocked: &Blocked) {
        let mut news = Vec::new();
        let unseen = self.seen < self.look_first && self.engine_away.is_none();
        for unit in self.units.values() {
            let told = self.told.get(&unit.id);
            if told.is_none() && unseen && unit.kind == UnitKind::Container {
                // What the engine has of it is being asked.
                continue;
            }
            let status = self.status_of(unit, blocked);
            if told.is_none_or(|told| !same_news(told, &status)) {
                // What nobody has been told of yet, and is there, or is not and nobody wants it, and is not being worked on, was so before.
                let is_settled = unit.have != Have::Absent || status.state == UnitState::Absent;
                let is_found = told.is_none() && is_settled && unit.busy.is_none();
                news.push(if is_found { Notice::Found(Box::new(status)) } else { Notice::Unit(Box::new(status)) });
            }
        }
        let gone: Vec<_> = self.told.keys().filter(|id| !self.units.contains_key(*id)).cloned().collect();
        for id in gone {
            if let Some(status) = self.told.remove(&id).filter(|told| told.state != UnitState::Absent) {
                self.tell(Notice::Unit(Box::new(UnitStatus {
                    state: UnitState::Absent,
                    health: None,
                    pid: None,
                    since_ms: None,
                    ..status
                })));
            }
        }
        for notice in news {
            if let Some(status) = notice.unit() {
                self.told.insert(status.unit.clone(), status.clone());
            }
            self.persist = true;
            self.tell(notice);
        }
    }
}

/// Whether a process ended with its supervisor: of how it did, nobody has heard.
fn was_lost(unit: &Unit) -> bool {
    unit.kind != UnitKind::Container && !unit.stopped && matches!(unit.have, Have::Exited { exit: Exit::Unknown, .. })
}

/// Whether an end was none of its own. An engine tells of a signal only by its number, and kills when the grace period is over.
fn had_to_be_killed(unit: &Unit, exit: Exit) -> bool {
    const KILLED: i32 = 128 + 9;
    let asked_so = || {
        let signal = unit.spec.service().common.stop_signal.as_deref().unwrap_or_default();
        matches!(signal.trim_start_matches("SIG"), "KILL" | "9")
    };
    match unit.kind {
        UnitKind::Container => exit.code() == KILLED && !asked_so(),
        UnitKind::Process | UnitKind::Task => exit == Exit::Signal(9),
    }
}

/// What there is to say of a unit's next life, beside the one that it has.
fn reload_of(unit: &Unit) -> Option<String> {
    let (second, reload) = (unit.second.as_ref(), &unit.reload);
    match (second.map(|second| second.role), reload) {
        _ if !matches!(unit.have, Have::Running { .. }) => None,
        (Some(Role::Next), _) => match second.map(SecondLife::last_probe).filter(|output| !output.is_empty()) {
            Some(output) => Some(format!("its next life gets ready (last probe: {output})")),
            None => Some("its next life gets ready".to_owned()),
        },
        (Some(Role::Former), None) => Some("its life before ends".to_owned()),
        (Some(Role::Former | Role::Unwanted) | None, Some(_)) => Some("its next life is about to start".to_owned()),
        (Some(Role::Unwanted) | None, None) => {
            unit.reload_failure.as_ref().map(|reason| format!("its next life did not get ready: {reason}"))
        }
    }
}

/// Whether two reports differ in nothing but the time that has passed.
fn same_news(a: &UnitStatus, b: &UnitStatus) -> bool {
    let state = match (&a.state, &b.state) {
        (UnitState::BackingOff { failures: a, .. }, UnitState::BackingOff { failures: b, .. }) => a == b,
        (a, b) => a == b,
    };
    state
        && a.health == b.health
        && a.pid == b.pid
        && a.container == b.container
        && a.restarts == b.restarts
        && a.watch == b.watch
        && a.reload == b.reload
}

/// A state in one sentence.
pub fn sentence(status: &UnitStatus) -> String {
    let text = match &status.state {
        UnitState::Absent if status.removed => {
            format!("its container was removed by somebody else; `up {}` makes it anew", status.unit.service)
        }
        UnitState::Absent => "not started".to_owned(),
        UnitState::Waiting { on } => format!("waits for {on}"),
        UnitState::Preparing => "is being prepared".to_owned(),
        UnitState::Removing => "is being removed".to_owned(),
        UnitState::Created => "made, not started".to_owned(),
        UnitState::Checking => "is being checked".to_owned(),
        UnitState::Starting => "is being started".to_owned(),
        UnitState::Running => match status.health {
            Some(super::status::Health::Starting) => "runs, not ready yet".to_owned(),
            Some(super::status::Health::Healthy) => "runs and is healthy".to_owned(),
            Some(super::status::Health::Unhealthy) => "runs and is unhealthy".to_owned(),
            None => "runs".to_owned(),
        },
        UnitState::Paused => "is paused".to_owned(),
        UnitState::Stopping => "is being stopped".to_owned(),
        UnitState::Exited { code } => format!("ended by itself with code {code}"),
        UnitState::Stopped { code, killed: false } => format!("was stopped by request, with code {code}"),
        UnitState::Stopped { killed: true, .. } => "was stopped by request and had to be killed".to_owned(),
        UnitState::Scheduled => "waits for its time".to_owned(),
        UnitState::UpToDate => "up to date, did not have to run".to_owned(),
        UnitState::Succeeded => "has run with success".to_owned(),
        UnitState::BackingOff { failures, next_ms, reason } => {
            format!("will be started again in {:.1} s after {failures} failures: {reason}", *next_ms as f64 / 1000.0)
        }
        UnitState::Failed { reason } => format!("failed: {reason}"),
        UnitState::Blocked { by, reason } => format!("cannot start, because of {by}: {reason}"),
        UnitState::Unknown => "unknown: the container engine does not answer".to_owned(),
    };
    let text = status.reload.as_ref().map_or_else(|| text.clone(), |reload| format!("{text}; {reload}"));
    match &status.probe_output {
        Some(output) if status.health != Some(super::status::Health::Healthy) => {
            format!("{text} (last probe: {})", output.trim())
        }
        Some(_) | None => text,
    }
}
