//! `reload: start-first`: on a file change a process's next life gets ready beside the present one, and takes its place then.
//!
//! A unit never has more than two lives. The second one is either the next, which no gate and no `ps` counts before it is ready, or
//! one whose time is over: the one that was, once the next is the unit's life, or a next one that nobody wants any more. Only what is
//! asked by name (`restart`, `stop`, a changed definition) ends the present life first, and takes a second along.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::effect::{Effect, Probe};
use super::gate::{Blocked, Gate};
use super::health::HealthState;
use super::machine::{KILL_AGAIN, Supervisor};
use super::notice::{Level, Notice};
use super::status::{Health, UnitKind};
use super::unit::{Cause, Have, Stopping, Unit};
use crate::base::duration;
use crate::base::moment::Moment;
use crate::base::name::{ServiceName, UnitId};
use crate::model::health::HealthCheck;
use crate::model::process::{OnUnhealthy, Reload as Order};
use crate::plan::action::{Action, Exit, Fault, FaultKind, Incarnation, Outcome, ResourceId, Ticket};
use crate::plan::desired::UnitSpec;
use crate::plan::next::{Definition, Goal};

/// A start that could not be is tried so often in all, where trying again may help.
const TRIES: u32 = 5;
/// Between two attempts to start one, or to end one.
const AGAIN: Duration = Duration::from_secs(1);

/// A next life that is asked for, and not begun.
#[derive(Debug, Clone)]
pub struct Reload {
    /// Why.
    pub reason: String,
    /// Starts that could not be.
    pub failures: u32,
    /// Not before.
    pub not_before: Moment,
}

/// What a second life is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To be the unit's life once it is ready.
    Next,
    /// It was the unit's life, and is to end.
    Former,
    /// It was to be the unit's life, and is to end.
    Unwanted,
}

/// A life of a process beside the one that counts.
#[derive(Debug, Clone)]
pub struct SecondLife {
    /// Which life.
    pub incarnation: Incarnation,
    /// What it is made of.
    pub spec: UnitSpec,
    /// What it is there for.
    pub role: Role,
    /// Running since; none while its start is under way.
    pub since: Option<Moment>,
    /// Its leader has ended; what it started lives on.
    pub leader_exit: Option<Exit>,
    /// Its leader.
    pub pid: Option<i32>,
    /// What tells it from other lives.
    pub birth: Option<String>,
    /// The action in flight.
    pub busy: Option<u64>,
    /// Its health.
    pub health: HealthState,
    /// The line of its health check was seen in its log.
    pub line_seen: bool,
    /// It was asked to end.
    pub asked: Option<Stopping>,
    /// It is not asked again before.
    pub not_before: Moment,
    /// Its start is not waited for any more, and the edge was told.
    pub called_off: bool,
    /// The reload that it is for.
    reload: Option<Reload>,
}

impl SecondLife {
    fn check(&self) -> Option<&HealthCheck> {
        self.spec.service().common.healthcheck.as_ref().filter(|check| check.is_on())
    }

    fn runs(&self) -> bool {
        self.since.is_some() && self.leader_exit.is_none()
    }

    fn is_ready(&self) -> bool {
        self.runs() && (self.check().is_none() || self.health.verdict == Some(Health::Healthy))
    }

    /// What the last probe of it said, if it failed.
    pub fn last_probe(&self) -> &str {
        self.health.output.as_deref().unwrap_or_default().trim()
    }

    /// Since when it has been coming up.
    pub fn rises_since(&self) -> Option<Moment> {
        self.since.filter(|_| self.role == Role::Next)
    }

    fn start_deadline(&self) -> Option<Moment> {
        let limit = self.spec.service().process()?.start_timeout?;
        Some(self.rises_since()? + limit)
    }

    /// Why it is not going to be ready, if that is so.
    fn fault(&self, now: Moment) -> Option<String> {
        if let Some(exit) = self.leader_exit {
            return Some(format!("it ended before it was ready ({exit})"));
        }
        let process = self.spec.service().process()?;
        // As anywhere, the verdict alone ends nothing: it can turn.
        if self.health.verdict == Some(Health::Unhealthy) && process.on_unhealthy == OnUnhealthy::Restart {
            return Some(format!("unhealthy: {}", self.last_probe()));
        }
        let limit = process.start_timeout?;
        self.start_deadline()
            .is_some_and(|deadline| deadline <= now)
            .then(|| format!("not ready within {}", duration::format(limit)))
    }

    /// When something is to be done about it though nothing happens.
    pub fn wake(&self, now: Moment) -> Option<Moment> {
        let ends = if self.busy.is_none() {
            let again = Some(self.not_before).filter(|moment| self.role != Role::Next && *moment > now);
            self.asked.as_ref().map_or(again, |asked| Some(asked.deadline))
        } else {
            None
        };
        let probe = self.health.next.filter(|_| self.role == Role::Next && self.runs());
        [ends, probe, self.start_deadline()].into_iter().flatten().min()
    }

    fn ticket(&self, serial: u64, unit: &Unit) -> Ticket {
        Ticket {
            serial,
            resource: ResourceId::Unit(unit.id.clone()),
            incarnation: self.incarnation,
            hash: self.spec.hash.clone(),
            generation: unit.generation,
        }
    }
}

impl Unit {
    /// Whether file changes make a next life beside the present one.
    pub fn starts_first(&self) -> bool {
        self.kind == UnitKind::Process && self.spec.service().process().is_some_and(|process| process.reload == Order::StartFirst)
    }

    /// Whether a next life can be had beside the present one, or is had already.
    fn may_reload(&self) -> bool {
        self.starts_first()
            && self.goal == Goal::Up
            && matches!(self.have, Have::Running { leader_exit: None, .. })
            && self.stopping.is_none()
            && self.ending.is_none()
            // What stands still could not be asked to end.
            && !self.paused
            && self.definition() == Definition::Same
    }

    /// Whether the life that counts is over, and nothing is done about it.
    fn has_ended(&self) -> bool {
        self.busy.is_none() && !matches!(self.have, Have::Running { .. })
    }

    /// Whether a next life is under way that is still wanted.
    fn wants_next(&self) -> bool {
        self.goal == Goal::Up && self.definition() == Definition::Same && self.reload.is_none()
    }

    /// Whether a next life is asked for, or on its way.
    pub fn is_reloading(&self) -> bool {
        self.reload.is_some() || self.second.as_ref().is_some_and(|second| second.role == Role::Next)
    }

    /// The number of the life that begins.
    pub fn next_incarnation(&mut self) -> Incarnation {
        self.last = Incarnation(self.incarnation.max(self.last).0 + 1);
        self.last
    }
}

impl Supervisor {
    /// A restart by a file change, or by that of a dependency which was never away for it: beside the present life where the service
    /// is to have it so.
    pub(super) fn reload_or_restart(&mut self, id: &UnitId, reason: &str) {
        let now = self.now;
        let Some(unit) = self.units.get_mut(id).filter(|unit| unit.may_reload()) else { return self.restart_unit(id, reason) };
        unit.reload = Some(Reload { reason: reason.to_owned(), failures: 0, not_before: now });
        self.tell(Notice::Because {
            resource: ResourceId::Unit(id.clone()),
            what: "reload".to_owned(),
            reason: reason.to_owned(),
        });
    }

    /// Carries a unit's second life on; whether anything has changed that others may wait for.
    pub(super) fn carry_reload(&mut self, id: &UnitId, blocked: &Blocked) -> bool {
        let now = self.now;
        let unit = self.units.get_mut(id).expect("a unit that there is");
        let wanted = unit.wants_next();
        let is_current = unit.is_current();
        let has_ended = unit.has_ended();
        let Some(second) = &mut unit.second else { return self.begin_next(id, blocked) };
        if second.role != Role::Next {
            self.end_second(id);
            return false;
        }
        if !wanted {
            second.role = Role::Unwanted;
            self.end_second(id);
            return true;
        }
        if let Some(reason) = second.fault(now) {
            second.role = Role::Unwanted;
            self.reload_failed(id, &reason);
            self.end_second(id);
            return true;
        }
        // Without the one before there is nothing to wait for.
        if (second.is_ready() && is_current) || (second.runs() && has_ended) {
            self.lead(id);
            return true;
        }
        false
    }

    fn begin_next(&mut self, id: &UnitId, blocked: &Blocked) -> bool {
        let now = self.now;
        let unit = &self.units[id];
        let Some(reload) = unit.reload.clone() else { return false };
        if unit.goal != Goal::Up || unit.definition() != Definition::Same {
            // Whatever starts next sees the files as they are.
            self.units.get_mut(id).expect("just looked").reload = None;
            return false;
        }
        if unit.has_ended() {
            let unit = self.units.get_mut(id).expect("just looked");
            (unit.reload, unit.given_up) = (None, false);
            self.restart_unit(id, &reload.reason);
            return true;
        }
        let is_free = unit.is_current()
            && reload.not_before <= now
            && !self.waits_for_a_reload(unit)
            && self.start_gate(unit, blocked) == Gate::Open;
        if !is_free {
            return false;
        }
        let serial = self.next_serial();
        let unit = self.units.get_mut(id).expect("just looked");
        unit.reload = None;
        unit.reload_failure = None;
        let second = SecondLife {
            incarnation: unit.next_incarnation(),
            spec: unit.spec.clone(),
            role: Role::Next,
            since: None,
            leader_exit: None,
            pid: None,
            birth: None,
            busy: Some(serial),
            health: HealthState::default(),
            line_seen: false,
            asked: None,
            not_before: now,
            called_off: false,
            reload: Some(reload),
        };
        let line = second.check().and_then(|check| check.log.clone());
        let (spec, incarnation) = (second.spec.clone(), second.incarnation);
        let action = Action::Start { spec, incarnation, line, container: None, beside: true };
        let ticket = second.ticket(serial, unit);
        unit.second = Some(second);
        self.act(ticket, action);
        false
    }

    /// A service follows one whose next life is still on its way: one change restarts it once.
    fn waits_for_a_reload(&self, unit: &Unit) -> bool {
        let mut followed = unit.spec.service().common.depends_on.iter().filter(|(_, dependency)| dependency.restart);
        followed.any(|(name, _)| self.units_of(name).any(Unit::is_reloading))
    }

    /// The next life is the unit's from now on, and the one before is to end.
    fn lead(&mut self, id: &UnitId) {
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        let Some(next) = unit.second.take() else { return };
        let Some(since) = next.since else { return };
        if let Have::Running { since, leader_exit } = unit.have {
            unit.second = Some(SecondLife {
                incarnation: unit.incarnation,
                spec: unit.existing_spec(),
                role: Role::Former,
                since: Some(since),
                leader_exit,
                pid: unit.pid,
                birth: unit.birth.take(),
                health: HealthState::default(),
                reload: None,
                ..next.clone()
            });
            (unit.failures, unit.failure) = (0, None);
        }
        let is_ready = next.is_ready();
        unit.have = Have::Running { since, leader_exit: None };
        unit.before = Duration::ZERO;
        unit.incarnation = next.incarnation;
        (unit.pid, unit.birth) = (next.pid, next.birth);
        (unit.made, unit.made_spec) = (Some(next.spec.hash.clone()), Some(next.spec));
        unit.started_generation = unit.generation;
        (unit.health, unit.was_ready) = (next.health, is_ready);
        unit.line_of = next.line_seen.then_some(next.incarnation);
        (unit.again, unit.given_up, unit.paused, unit.stopped, unit.killed) = Default::default();
        self.persist = true;
        self.effects.push(Effect::Lead(id.clone(), next.incarnation));
        let service = id.service.clone();
        self.followers_reload(&service);
    }

    /// Whoever follows a service that was never away need not be away either.
    fn followers_reload(&mut self, service: &ServiceName) {
        for id in self.followers(service, &BTreeSet::new()) {
            self.reload_or_restart(&id, &format!("{service} is restarted"));
        }
    }

    fn reload_failed(&mut self, id: &UnitId, reason: &str) {
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        unit.reload_failure = Some(reason.to_owned());
        let goes_on = if matches!(unit.have, Have::Running { .. }) { "; the one before goes on" } else { "" };
        self.say(Level::Warning, format!("the next life of {id} did not get ready: {reason}{goes_on}"));
    }

    // ── its end ────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn end_second(&mut self, id: &UnitId) {
        let now = self.now;
        let unit = &self.units[id];
        let Some(second) = &unit.second else { return };
        if second.busy.is_some() {
            // Hooks after a start may take any time.
            let has_hooks = !second.spec.service().common.post_start.is_empty();
            if second.since.is_none() && has_hooks && !second.called_off {
                self.units.get_mut(id).and_then(|unit| unit.second.as_mut()).expect("just looked").called_off = true;
                self.effects.push(Effect::Abandon(id.clone()));
            }
            return;
        }
        let grace = unit.hurry.or(unit.timeout).unwrap_or_else(|| second.spec.service().grace());
        match &second.asked {
            Some(asked) if asked.deadline <= now => self.kill_second(id),
            Some(_) => {}
            None if second.not_before <= now && self.may_end(unit, second) => self.ask_second(id, now + grace),
            None => {}
        }
    }

    /// What depends on a service and is going down goes first, as before any stop.
    fn may_end(&self, unit: &Unit, second: &SecondLife) -> bool {
        let leaves = second.role == Role::Unwanted || second.leader_exit.is_some();
        leaves || !self.units.values().any(|other| other.is_going_down() && self.depends(&other.id.service, &unit.id.service))
    }

    fn ask_second(&mut self, id: &UnitId, deadline: Moment) {
        let serial = self.next_serial();
        let (now, unit) = (self.now, self.units.get_mut(id).expect("looked up by the caller"));
        let Some(mut second) = unit.second.take() else { return };
        let ticket = second.ticket(serial, unit);
        second.busy = Some(serial);
        second.asked = Some(Stopping { deadline, killed: false, cause: Cause::Wanted });
        let (spec, incarnation) = (second.spec.clone(), second.incarnation);
        unit.second = Some(second);
        self.act(ticket, Action::Stop { spec, incarnation, container: None, grace: deadline.since(now) });
    }

    /// Kills a second life, whatever is under way with it. The answer is nobody's: the end is told.
    pub(super) fn kill_second(&mut self, id: &UnitId) {
        let serial = self.next_serial();
        let (now, unit) = (self.now, self.units.get_mut(id).expect("looked up by the caller"));
        let Some(mut second) = unit.second.take() else { return };
        let ticket = second.ticket(serial, unit);
        if second.role == Role::Next {
            second.role = Role::Unwanted;
        }
        let (spec, incarnation, starts) = (second.spec.clone(), second.incarnation, second.since.is_none());
        let deadline = if starts { now } else { now + KILL_AGAIN };
        second.asked = Some(Stopping { deadline, killed: !starts, cause: Cause::Wanted });
        unit.second = Some(second);
        if !starts {
            self.act(ticket, Action::Kill { spec, incarnation, container: None, signal: "SIGKILL".to_owned() });
        }
    }

    // ── news ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes in an answer that is about a second life; else false.
    pub(super) fn second_acted(&mut self, id: &UnitId, ticket: &Ticket, result: &Result<Outcome, Fault>) -> bool {
        let now = self.now;
        let Some(unit) = self.units.get_mut(id) else { return false };
        let Some(second) = unit.second.as_mut().filter(|second| second.busy == Some(ticket.serial)) else { return false };
        second.busy = None;
        match result {
            Ok(Outcome::Started { pid, birth }) => {
                (second.since, second.pid, second.birth) = (Some(now), *pid, Some(birth.clone()));
                second.begin_health(now);
            }
            // The signal is sent; the end will be told.
            Ok(_) => {}
            Err(fault) if second.since.is_none() => {
                let (role, reload) = (second.role, second.reload.clone());
                unit.second = None;
                match (role, reload) {
                    (Role::Next, Some(reload)) if fault.kind == FaultKind::Temporary && reload.failures + 1 < TRIES => {
                        let failures = reload.failures + 1;
                        unit.reload.get_or_insert(Reload { failures, not_before: now + AGAIN, ..reload });
                    }
                    (Role::Next, _) => self.reload_failed(id, &fault.message),
                    (Role::Former | Role::Unwanted, _) => {}
                }
            }
            Err(_) => (second.asked, second.not_before) = (None, now + AGAIN),
        }
        true
    }

    /// Takes in the end of a second life; else false.
    pub(super) fn second_exited(&mut self, id: &UnitId, incarnation: Incarnation, exit: Exit, remaining: u32) -> bool {
        let now = self.now;
        let Some(unit) = self.units.get_mut(id) else { return false };
        let Some(second) = unit.second.as_mut().filter(|second| second.incarnation == incarnation) else { return false };
        self.persist = true;
        // It may overtake the answer to its own start.
        if second.since.is_none() {
            (second.since, second.busy) = (Some(now), None);
        }
        let first = second.leader_exit.is_none();
        let exit = *second.leader_exit.get_or_insert(exit);
        if remaining > 0 {
            // Those who left the group have not heard the first signal.
            if let Some(asked) = second.asked.as_ref().filter(|asked| first && second.busy.is_none() && !asked.killed) {
                let deadline = asked.deadline;
                self.ask_second(id, deadline);
            }
            return true;
        }
        let role = second.role;
        unit.second = None;
        if role == Role::Next {
            self.reload_failed(id, &format!("it ended before it was ready ({exit})"));
        }
        true
    }

    /// Takes in what a probe of a second life says; else false.
    pub(super) fn second_probed(&mut self, id: &UnitId, ticket: &Ticket, healthy: bool, output: &str) -> bool {
        let now = self.now;
        let Some(second) = self.units.get_mut(id).and_then(|unit| unit.second.as_mut()) else { return false };
        if second.incarnation != ticket.incarnation || second.health.in_flight != Some(ticket.serial) {
            return false;
        }
        second.judge(healthy, output.to_owned(), now);
        true
    }

    /// Probes a next life, when it is time.
    pub(super) fn probe_second(&mut self, id: &UnitId) {
        let now = self.now;
        let unit = self.units.get_mut(id).expect("a unit that there is");
        let Some(second) = unit.second.as_mut().filter(|second| second.role == Role::Next && second.runs()) else { return };
        let due = second.health.in_flight.is_none() && second.health.next.is_some_and(|next| next <= now);
        let Some(check) = second.check().cloned().filter(|_| due) else { return };
        if let Some((healthy, output)) = second.health.without_probe(&check) {
            second.judge(healthy, output, now);
            return;
        }
        self.serial += 1;
        let serial = self.serial;
        (second.health.in_flight, second.health.next) = (Some(serial), None);
        let spec = second.spec.clone();
        let second = unit.second.as_ref().expect("just looked");
        let ticket = second.ticket(serial, unit);
        self.effects.push(Effect::Probe(ticket, Probe { spec, check: Arc::new(check), container: None, beside: true }));
    }
}

impl SecondLife {
    fn begin_health(&mut self, now: Moment) {
        self.health = self.check().map_or_else(HealthState::default, |check| HealthState::begin(check, now));
        self.health.line_seen = self.line_seen;
    }

    fn judge(&mut self, healthy: bool, output: String, now: Moment) {
        let Some(check) = self.check().cloned() else { return };
        self.health.judge(&check, healthy, output, now);
    }

    /// The line of its health check has appeared.
    pub fn line_matched(&mut self, now: Moment) {
        self.line_seen = true;
        self.health.line_seen(now);
    }
}
