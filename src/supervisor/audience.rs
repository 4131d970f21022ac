//! Who is to see all that a container writes is attached to it before it starts.
//!
//! An engine tells what a container writes while it is written, or later from a log that may have been rotated meanwhile. Only the first
//! is complete, and an engine that is starting a container lets nobody attach. So a start waits until the foreground `up` that shows the
//! container says that it is attached, or cannot be, no longer than its lease lives, and not for one that is itself stopped. An
//! attachment ends with the life of the container, so each start asks anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::RequestId;
use super::gate::{Blocked, Gate};
use super::machine::Supervisor;
use super::notice::Level;
use super::request::Reply;
use super::status::{AUDIENCE, UnitKind};
use super::unit::{Step, Unit};
use super::wishes::Lease;
use crate::base::moment::Moment;
use crate::base::name::{ServiceName, UnitId};
use crate::plan::next;

/// So long a start waits for an answer. Whoever gives none until then reads nothing, as one that is stopped or whose output nobody takes,
/// and hinders nobody until it answers again.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a foreground `up` attaches to.
#[derive(Debug, Clone, Default)]
pub(super) struct Audience {
    /// The services whose containers it shows.
    services: BTreeSet<ServiceName>,
    /// Which container of a unit it was asked to attach to since that was started last.
    asked: BTreeMap<UnitId, Asked>,
    /// It has not answered in time: it is asked all the same, and not waited for.
    is_absent: bool,
}

/// A question that a foreground `up` was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    /// The engine's id.
    container: String,
    answered: bool,
    /// Waited for until then.
    until: Moment,
}

impl Audience {
    /// Whoever shows these services.
    pub(super) fn of(services: &[ServiceName]) -> Self {
        Self { services: services.iter().cloned().collect(), ..Self::default() }
    }

    /// Whether this container must not be started yet.
    fn is_missing(&self, unit: &UnitId, container: &str) -> bool {
        !self.is_absent && self.is_unattached(unit, container)
    }

    /// Whether it shows this container and has not said yet that it is attached.
    fn is_unattached(&self, unit: &UnitId, container: &str) -> bool {
        let is_answered = |asked: &Asked| asked.answered && asked.container == container;
        self.services.contains(&unit.service) && !self.asked.get(unit).is_some_and(is_answered)
    }

    /// Notes that it is asked; whether it was not yet.
    fn ask(&mut self, unit: &UnitId, container: &str, now: Moment) -> bool {
        let is_new = self.asked.get(unit).is_none_or(|asked| asked.container != container);
        if is_new {
            self.asked.insert(unit.clone(), Asked { container: container.to_owned(), answered: false, until: now + PATIENCE });
        }
        is_new
    }

    /// When it is waited for no longer.
    fn gives_up(&self) -> Option<Moment> {
        let open = self.asked.values().filter(|asked| !asked.answered && !self.is_absent);
        open.map(|asked| asked.until).min()
    }

    /// A life of a unit begins, which is the one that is attached to.
    pub(super) fn sees(&mut self, unit: &UnitId) {
        self.asked.remove(unit);
    }

    /// It says that it is attached, or cannot be. An answer to another question than the last is late news.
    fn answer(&mut self, unit: &UnitId, container: &str) {
        if let Some(asked) = self.asked.get_mut(unit).filter(|asked| asked.container == container) {
            asked.answered = true;
        }
        self.is_absent = false;
    }
}

impl Supervisor {
    /// Whether all who are to see what a container writes are there.
    pub(super) fn audience_gate(&self, unit: &Unit) -> Gate {
        let Some(container) = unit.container.as_ref().filter(|_| unit.kind == UnitKind::Container) else { return Gate::Open };
        if self.leases.values().any(|lease| lease.audience.is_missing(&unit.id, container)) {
            Gate::Waiting(AUDIENCE.to_owned())
        } else {
            Gate::Open
        }
    }

    /// Asks those to attach whom alone a start waits for.
    pub(super) fn call_audience(&mut self, id: &UnitId, blocked: &Blocked) {
        let unit = &self.units[id];
        let starts = unit.next_step(self.now) == Some(Step::Table(next::Step::Start)) && unit.not_before <= self.now;
        let Some(container) = unit.container.clone().filter(|_| unit.kind == UnitKind::Container && starts) else { return };
        if !self.may_touch_engine() || self.readiness_gate(unit, blocked) != Gate::Open {
            return;
        }
        let now = self.now;
        let missing = self.leases.iter_mut().filter(|(_, lease)| lease.audience.is_unattached(id, &container));
        let asked: Vec<RequestId> =
            missing.filter_map(|(request, lease)| lease.audience.ask(id, &container, now).then_some(*request)).collect();
        for request in asked {
            self.reply(request, Reply::Attach { unit: id.clone(), container: container.clone() });
        }
    }

    /// The `up` of this request is attached to a container, or cannot be.
    pub(super) fn is_attached(&mut self, request: RequestId, unit: &UnitId, container: &str) {
        if let Some(lease) = self.leases.get_mut(&request) {
            lease.audience.answer(unit, container);
        }
    }

    /// When the start of something waits no longer for whoever is to see it.
    pub(super) fn audience_deadlines(&self) -> impl Iterator<Item = Option<Moment>> {
        self.leases.values().map(|lease| lease.audience.gives_up())
    }

    /// Waits no longer for those who do not answer.
    pub(super) fn miss_audience(&mut self) {
        let now = self.now;
        let late = |lease: &&mut Lease| lease.audience.gives_up().is_some_and(|until| until <= now);
        let mut is_missed = false;
        for lease in self.leases.values_mut().filter(late) {
            (lease.audience.is_absent, is_missed) = (true, true);
        }
        if is_missed {
            let text = "the `up` in the foreground does not answer, so containers start without it; it shows what they write from their \
                        engine's logs once it goes on";
            self.say(Level::Warning, text);
        }
    }

    /// A life of a unit begins.
    pub(super) fn audience_sees(&mut self, unit: &UnitId) {
        self.leases.values_mut().for_each(|lease| lease.audience.sees(unit));
    }
}
