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
    /// Makes due what it is time for, and asks for the time after that. Whether anything is due now that was not.
    pub(super) fn run_schedules(&mut self) -> bool {
        let mut begun = false;
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
                begun |= self.it_is_time(&id);
            }
        }
        begun
    }

    /// Whether it is to run now.
    fn it_is_time(&mut self, id: &UnitId) -> bool {
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        let overlap = unit.schedule().map(|schedule| schedule.overlap).unwrap_or_default();
        if unit.is_at_work() {
            match overlap {
                Overlap::Skip => {
                    self.say(Level::Info, format!("{id}: its last run is not over, so this one is left out"));
                    return false;
                }
                Overlap::Queue => {
                    unit.task.timer.queued = true;
                    return false;
                }
                Overlap::Kill => {
                    unit.forgive();
                    self.restart_unit(id, "it is time, and its last run was not over");
                    return true;
                }
            }
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
        true
    }

    pub(super) fn reckoned(&mut self, id: &UnitId, cron: &Cron, now_ms: u64, due_ms: Option<u64>) {
        let now = self.now;
        if let Some(unit) = self.units.get_mut(id) {
            unit.task.timer.answer(cron, now_ms, due_ms, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::process::{Command, Process};
    use crate::model::service::{Common, Kind, Service};
    use crate::model::stack::Stack;
    use crate::plan::action::{Action, Assessment, Conclusion, Exit, Outcome};
    use crate::plan::desired::{Caller, Deployment, Places};
    use crate::supervisor::event::{Event, RequestId};
    use crate::supervisor::request::{Reply, Request, Up};

    /// One task in a world where every run takes the same time.
    struct Story {
        machine: Supervisor,
        queue: BTreeMap<(u64, usize), Event>,
        now: u64,
        takes: u64,
        code: i32,
        /// How far the wall clock is ahead of the machine's, and from when on.
        leap: (u64, u64),
        starts: Vec<u64>,
        replies: Vec<Reply>,
    }

    impl Story {
        fn new(times: Times, overlap: Overlap) -> Self {
            let process = Process {
                command: Some(Command::Text("run".to_owned())),
                schedule: Some(Schedule { times, overlap }),
                task: true,
                ..Process::default()
            };
            let service = Service { common: Common::default(), kind: Kind::Process(Box::new(process)) };
            let stack = Stack { services: [("a".parse().unwrap(), service)].into(), ..Stack::default() };
            let env: crate::base::name::EnvId = "story".parse().unwrap();
            let deployment = Deployment { env: env.clone(), stack, caller: Caller::default(), places: Places::default() };
            let mut story = Self {
                machine: Supervisor::new(env, 1),
                queue: BTreeMap::new(),
                now: 0,
                takes: 1000,
                code: 0,
                leap: (u64::MAX, 0),
                starts: Vec::new(),
                replies: Vec::new(),
            };
            story.later(0, Event::Request(RequestId(1), Request::Up(Box::new(Up::of(deployment)))));
            story
        }

        fn later(&mut self, delay: u64, event: Event) {
            let number = self.queue.len() + self.starts.len() * 1000;
            self.queue.insert((self.now + delay, number), event);
        }

        /// The moments of the starts until then.
        fn starts_until(mut self, end: u64) -> Vec<u64> {
            self.live(end);
            self.starts
        }

        fn live(&mut self, end: u64) {
            loop {
                let due = self.machine.next_deadline().map(|due| due.0.max(self.now));
                let queued = self.queue.first_key_value().map(|(key, _)| key.0);
                let (at, event) = match (queued, due) {
                    (Some(at), due) if due.is_none_or(|due| at <= due) => (at, None),
                    (_, Some(due)) => (due, Some(Event::Tick)),
                    (_, None) => return,
                };
                if at > end {
                    return;
                }
                self.now = at;
                let event = event.unwrap_or_else(|| self.queue.pop_first().unwrap().1);
                for effect in self.machine.step(event, Moment(self.now)) {
                    self.take(effect);
                }
            }
        }

        fn take(&mut self, effect: Effect) {
            match effect {
                Effect::Act(ticket, action) => {
                    let exited =
                        |incarnation, exit| Event::Exited { unit: "a:1".parse().unwrap(), incarnation, exit, remaining: 0 };
                    let outcome = match action {
                        Action::Start { incarnation, .. } => {
                            self.starts.push(self.now);
                            self.later(self.takes, exited(incarnation, Exit::Code(self.code)));
                            Outcome::Started { pid: Some(1), birth: self.now.to_string() }
                        }
                        Action::Stop { incarnation, .. } => {
                            self.later(0, exited(incarnation, Exit::Signal(15)));
                            Outcome::Signalled
                        }
                        Action::Assess { .. } => Outcome::Assessed(Assessment::Due("asked".to_owned())),
                        Action::Conclude { exit, .. } if exit.is_success() => Outcome::Concluded(Conclusion::Succeeded),
                        Action::Conclude { exit, .. } => Outcome::Concluded(Conclusion::Failed(exit.to_string())),
                        _ => Outcome::Done,
                    };
                    self.later(0, Event::Acted(ticket, Ok(outcome)));
                }
                Effect::Reckon(question) => {
                    let now_ms = self.now + if self.now >= self.leap.0 { self.leap.1 } else { 0 };
                    // Its times are the whole hundreds of seconds.
                    let after = question.last_ms.unwrap_or(0).max(now_ms);
                    let due_ms = question.due_ms.or(Some((after / 100_000 + 1) * 100_000));
                    self.later(0, Event::Reckoned { unit: question.unit, cron: question.cron, now_ms, due_ms });
                }
                Effect::Reply(_, reply) => self.replies.push(reply),
                _ => {}
            }
        }
    }

    fn every(seconds: u64) -> Times {
        Times::Every(Duration::from_secs(seconds))
    }

    fn cron() -> Times {
        Times::Cron("0 3 * * *".parse().unwrap())
    }

    #[test]
    fn a_task_runs_at_each_of_its_times_and_up_does_not_wait_for_the_first() {
        let mut story = Story::new(every(10), Overlap::Skip);
        story.live(1);
        assert!(matches!(story.replies[..], [Reply::Done { .. }]), "{:?}", story.replies);
        assert_eq!(story.starts_until(35_000), [10_000, 20_000, 30_000]);
        assert_eq!(Story::new(cron(), Overlap::Skip).starts_until(350_000), [100_000, 200_000, 300_000]);
    }

    #[test]
    fn a_run_that_takes_longer_than_the_gap_is_waited_for_followed_or_ended() {
        for (overlap, expected) in [
            (Overlap::Skip, [10_000, 30_000, 50_000]),
            (Overlap::Queue, [10_000, 25_000, 40_000]),
            (Overlap::Kill, [10_000, 20_000, 30_000]),
        ] {
            let mut story = Story::new(every(10), overlap);
            story.takes = 15_000;
            let starts = story.starts_until(52_000);
            assert_eq!(starts[..3], expected, "{overlap:?}");
        }
    }

    #[test]
    fn a_time_that_the_host_slept_through_is_made_up_for_once() {
        let mut story = Story::new(cron(), Overlap::Skip);
        // Two times pass while it sleeps; it wakes at 255 s.
        story.leap = (55_000, 200_000);
        assert_eq!(story.starts_until(150_000), [60_000, 100_000]);
    }

    #[test]
    fn a_run_that_failed_is_shown_and_does_not_keep_the_next_from_its_time() {
        let mut story = Story::new(every(10), Overlap::Skip);
        story.code = 3;
        story.live(25_000);
        assert_eq!(story.starts, [10_000, 20_000]);
        let status = story.machine.status().units.remove(0).schedule.unwrap();
        let last = LastRun { success: false, result: "exit code 3".to_owned(), ago_ms: 0 };
        assert_eq!(status.last.map(|last| LastRun { ago_ms: 0, ..last }), Some(last));
        assert!(status.next_ms.is_some());
    }

    #[test]
    fn a_task_that_is_stopped_has_no_next_time() {
        let mut story = Story::new(every(10), Overlap::Skip);
        story.live(5_000);
        story.later(0, Event::Request(RequestId(2), Request::Stop(Default::default())));
        assert_eq!(story.starts_until(60_000), Vec::<u64>::new());
    }
}
