//! Runs tasks when it is time.
//!
//! The machine knows moments, not the time of day: for a cron time it asks how long it is until then. A host may sleep, and
//! its clock may be set, so a wait of more than a minute is looked at again after a minute. A time that was slept through is
//! made up for once.

use std::time::Duration;

use super::effect::{Effect, Reckoning};
use super::machine::Supervisor;
use super::notice::Level;
use super::status::{LastRun, ScheduleStatus};
use super::unit::{Phase, Unit};
use crate::base::moment::Moment;
use crate::base::name::UnitId;
use crate::model::schedule::{Cron, Overlap, Schedule, Times};
use crate::plan::next::Goal;

/// A wait for a cron time is not trusted for longer.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What a scheduled task waits for.
#[derive(Debug, Clone, Default)]
pub struct Timer {
    /// The schedule that it is set for.
    armed: Option<Schedule>,
    /// When to wake up: it is time, or time to look at the clock again.
    wake: Option<Moment>,
    /// When it is time, as far as is known.
    due: Option<Moment>,
    /// As the wall clock has it: milliseconds since 1970.
    due_ms: Option<u64>,
    /// The cron time of the last run.
    last_ms: Option<u64>,
    /// The wall clock was asked.
    asked: bool,
    /// A run is to follow the one under way.
    queued: bool,
    /// How the last run ended, and when.
    last: Option<(bool, String, Moment)>,
}

impl Timer {
    /// When something is to be done about it.
    pub(super) fn wake(&self) -> Option<Moment> {
        self.wake
    }

    /// A run is over.
    pub(super) fn ran(&mut self, success: bool, result: impl Into<String>, at: Moment) {
        self.last = Some((success, result.into(), at));
    }

    fn disarm(&mut self) {
        *self = Self { last: self.last.take(), ..Self::default() };
    }

    /// Whether it is time.
    fn rings(&mut self, now: Moment) -> bool {
        let Some(schedule) = &self.armed else { return false };
        if self.wake.is_none_or(|wake| wake > now) {
            return false;
        }
        let due = self.due.unwrap_or(now);
        match &schedule.times {
            Times::Every(gap) => {
                // What was missed is not made up for.
                let next = Some(due + *gap).filter(|next| *next > now).unwrap_or(now + *gap);
                (self.wake, self.due) = (Some(next), Some(next));
                true
            }
            Times::Cron(_) => {
                (self.wake, self.due) = (None, None);
                if due > now {
                    return false;
                }
                self.last_ms = self.due_ms.take();
                true
            }
        }
    }

    /// What is to be asked of the wall clock.
    fn question(&mut self, unit: &UnitId) -> Option<Reckoning> {
        let Some(Schedule { times: Times::Cron(cron), .. }) = &self.armed else { return None };
        if self.wake.is_some() || std::mem::replace(&mut self.asked, true) {
            return None;
        }
        Some(Reckoning { unit: unit.clone(), cron: cron.clone(), last_ms: self.last_ms, due_ms: self.due_ms })
    }

    fn answer(&mut self, cron: &Cron, now_ms: u64, due_ms: Option<u64>, now: Moment) {
        let is_meant = matches!(&self.armed, Some(Schedule { times: Times::Cron(armed), .. }) if armed == cron);
        if !is_meant || !self.asked {
            return;
        }
        // A day that never comes is not asked for again.
        let Some(due) = due_ms else { return };
        let wait = Duration::from_millis(due.saturating_sub(now_ms));
        self.asked = false;
        self.due_ms = due_ms;
        self.due = Some(now + wait);
        self.wake = Some(now + wait.min(LOOK_AGAIN));
    }
}

impl Unit {
    /// When it runs by itself.
    pub(super) fn schedule(&self) -> Option<&Schedule> {
        self.spec.service().process()?.schedule.as_ref()
    }

    /// Where a task stands of which nobody has asked yet whether it is due: one with a schedule waits for its time, unless
    /// something waits for it.
    pub(super) fn unasked(&self) -> Phase {
        let is_needed = || {
            let mut services = self.spec.deployment.stack.services.values();
            services.any(|service| service.common.depends_on.contains_key(&self.id.service))
        };
        if self.schedule().is_some() && !is_needed() { Phase::Scheduled } else { Phase::Unasked }
    }

    /// Whether a run is under way, or about to be.
    fn is_at_work(&self) -> bool {
        self.is_alive() || self.busy.is_some() || matches!(self.task.phase, Phase::Unasked | Phase::Due(_) | Phase::Ended(_))
    }

    /// What `ps` shows of its schedule.
    pub(super) fn schedule_status(&self, now: Moment) -> Option<ScheduleStatus> {
        self.schedule()?;
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let timer = &self.task.timer;
        Some(ScheduleStatus {
            next_ms: timer.due.map(|due| milliseconds(due.since(now))),
            last: timer.last.as_ref().map(|(success, result, at)| LastRun {
                success: *success,
                result: result.clone(),
                ago_ms: milliseconds(now.since(*at)),
            }),
        })
    }
}

impl Supervisor {
    /// Starts what it is time for, and asks for the time after that.
    pub(super) fn run_schedules(&mut self) {
        let now = self.now;
        let scheduled: Vec<UnitId> =
            self.units.values().filter(|unit| unit.schedule().is_some()).map(|unit| unit.id.clone()).collect();
        for id in scheduled {
            let unit = self.units.get_mut(&id).expect("just listed");
            let schedule = unit.schedule().cloned();
            if unit.goal != Goal::Up {
                unit.task.timer.disarm();
                continue;
            }
            if unit.task.timer.armed != schedule {
                unit.task.timer.disarm();
                if let Some(Schedule { times: Times::Every(gap), .. }) = &schedule {
                    let first = Some(now + *gap);
                    (unit.task.timer.wake, unit.task.timer.due) = (first, first);
                }
                unit.task.timer.armed.clone_from(&schedule);
            }
            let rings = unit.task.timer.rings(now);
            let waits = !unit.is_at_work() && std::mem::take(&mut unit.task.timer.queued);
            if let Some(question) = unit.task.timer.question(&id) {
                self.effects.push(Effect::Reckon(question));
            }
            if rings || waits {
                self.it_is_time(&id);
            }
        }
    }

    fn it_is_time(&mut self, id: &UnitId) {
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        let overlap = unit.schedule().map(|schedule| schedule.overlap).unwrap_or_default();
        if unit.is_at_work() {
            match overlap {
                Overlap::Skip => self.say(Level::Info, format!("{id}: its last run is not over, so this one is left out")),
                Overlap::Queue => unit.task.timer.queued = true,
                Overlap::Kill => {
                    unit.forgive();
                    self.restart_unit(id, "it is time, and its last run was not over");
                }
            }
            return;
        }
        unit.forgive();
        self.restart_unit(id, "it is time");
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        // One with a proof is asked whether there is anything to do, and does not take an old answer for a new one.
        let process = unit.spec.service().process();
        if process.is_some_and(|process| process.check.is_some() || !process.inputs.is_empty() || !process.outputs.is_empty()) {
            unit.task.phase = Phase::Unasked;
            unit.task.done = None;
        }
    }

    pub(super) fn reckoned(&mut self, id: &UnitId, cron: &Cron, now_ms: u64, due_ms: Option<u64>) {
        let now = self.now;
        if let Some(unit) = self.units.get_mut(id) {
            unit.task.timer.answer(cron, now_ms, due_ms, now);
        }
    }
}
