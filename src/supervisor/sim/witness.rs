//! A second opinion on every start: what a machine that knows nothing but the events and its own effects may conclude. It shares
//! no code with the gates, asks for less than they do, and whatever it refuses is a fault.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::name::{ServiceName, UnitId};
use crate::model::depends::Condition;
use crate::model::service::Service;
use crate::plan::action::{Action, Assessment, Conclusion, Exit, Incarnation, Outcome, ResourceId, Ticket};
use crate::plan::actual::{SeenHealth, SeenState};
use crate::supervisor::effect::Effect;
use crate::supervisor::event::{Event, RequestId};
use crate::supervisor::request::{Reply, Request};

/// What has been told of one unit.
#[derive(Debug, Default, Clone)]
struct Told {
    runs: bool,
    healthy: bool,
    /// It has ended as one does who was successful, or need not run.
    done: bool,
    life: Incarnation,
    /// It has a health check.
    has_check: bool,
    /// The end of this life was told, perhaps before its start was.
    over: bool,
    /// How its leader ended, whose children live on.
    leader: Option<Exit>,
    /// The action that is to end it, and what it was before: whether it ran, whether it was healthy.
    ending: Option<(u64, bool, bool)>,
}

/// What has been told of all units.
#[derive(Debug, Default)]
pub(super) struct Witness {
    units: BTreeMap<UnitId, Told>,
    /// Lives beside those.
    seconds: BTreeMap<UnitId, Told>,
    /// Who holds a lease: the services that it shows, and the containers that it has attached to since they were started last.
    audience: BTreeMap<RequestId, (BTreeSet<ServiceName>, BTreeSet<String>)>,
}

impl Witness {
    /// To be called before the machine hears of it.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::Request(id, Request::Up(up)) if up.attached => {
                self.audience.insert(*id, (up.shown.iter().cloned().collect(), BTreeSet::new()));
            }
            Event::Request(id, Request::Attached { container, .. }) => {
                self.audience.get_mut(id).into_iter().for_each(|(_, attached)| attached.extend([container.clone()]));
            }
            Event::Request(_, Request::Down(_)) => self.audience.clear(),
            Event::Disconnected(id) => drop(self.audience.remove(id)),
            Event::Acted(ticket, Ok(outcome)) => self.hear_outcome(ticket, outcome),
            // It was not asked to end after all.
            Event::Acted(Ticket { serial, resource: ResourceId::Unit(unit), .. }, Err(_)) => {
                for told in [self.units.get_mut(unit), self.seconds.get_mut(unit)].into_iter().flatten() {
                    if let Some((_, runs, healthy)) = told.ending.take_if(|(ending, ..)| ending == serial) {
                        (told.runs, told.healthy) = (runs && !told.over, healthy && !told.over);
                    }
                }
            }
            Event::Exited { unit, incarnation, exit, remaining } => {
                let told = self.life(unit, *incarnation);
                if told.life == *incarnation {
                    let exit = *told.leader.get_or_insert(*exit);
                    if *remaining == 0 {
                        (told.runs, told.healthy, told.done, told.over) = (false, false, exit.is_success(), true);
                    }
                }
            }
            Event::Probed(ticket, result) if result.healthy => {
                if let ResourceId::Unit(unit) = &ticket.resource {
                    let told = self.life(unit, ticket.incarnation);
                    // A life that began under an earlier supervisor, or was begun by somebody else, has a later number.
                    told.healthy |= told.life <= ticket.incarnation;
                }
            }
            // A look may be older than what has been told since, so only what speaks for a start counts.
            Event::Observed(_, Ok(actual)) => {
                for it in &actual.containers {
                    let Some(unit) = &it.unit else { continue };
                    let told = self.unit(unit);
                    told.runs |= matches!(it.state, SeenState::Running { .. });
                    told.healthy |= it.health == Some(SeenHealth::Healthy);
                    told.done |= matches!(&it.state, SeenState::Exited { exit, .. } if exit.is_success());
                }
            }
            _ => {}
        }
    }

    fn hear_outcome(&mut self, ticket: &Ticket, outcome: &Outcome) {
        let ResourceId::Unit(unit) = &ticket.resource else { return };
        let told = self.life(unit, ticket.incarnation);
        match outcome {
            Outcome::Started { .. } => told.runs |= told.life == ticket.incarnation && !told.over,
            Outcome::Assessed(Assessment::UpToDate) | Outcome::Concluded(Conclusion::Succeeded) => told.done = true,
            Outcome::Assessed(_) | Outcome::Concluded(_) => told.done = false,
            _ => {}
        }
    }

    /// The processes have died with their supervisor. What tasks have done stays done.
    pub(super) fn bury(&mut self, is_process: impl Fn(&ServiceName) -> bool) {
        for (unit, told) in &mut self.units {
            if is_process(&unit.service) {
                (told.runs, told.healthy) = (false, false);
            }
        }
        self.seconds.clear();
        self.audience.clear();
    }

    /// What the machine does in one step: nothing is started that has to wait, and nothing beside the end of what it stands on.
    /// `exempt`: units that start without their dependencies, by request or by a schedule.
    pub(super) fn judge(&mut self, effects: &[Effect], exempt: impl Fn(&UnitId) -> bool) {
        for effect in effects {
            let Effect::Act(Ticket { serial, resource: ResourceId::Unit(unit), .. }, action) = effect else { continue };
            if let Action::Stop { incarnation, .. } | Action::Kill { incarnation, .. } = action {
                let told = self.life(unit, *incarnation);
                told.ending = Some((*serial, told.runs, told.healthy));
                (told.runs, told.healthy) = (false, false);
            }
        }
        for effect in effects {
            match effect {
                Effect::Lead(unit, incarnation) => self.judge_lead(unit, *incarnation),
                Effect::Reply(id, Reply::Ended { .. } | Reply::Overruled { .. } | Reply::Refused { .. }) => {
                    self.audience.remove(id);
                }
                _ => {}
            }
            let Effect::Act(Ticket { resource: ResourceId::Unit(unit), .. }, action) = effect else { continue };
            if let Action::Start { spec, incarnation, beside, container, .. } = action {
                if !exempt(unit) {
                    self.judge_start(unit, spec.service());
                }
                container.iter().for_each(|container| self.judge_audience(unit, container));
                let has_check = spec.service().common.healthcheck.is_some();
                let begun = Told { life: *incarnation, has_check, ..Told::default() };
                let lives = if *beside { &mut self.seconds } else { &mut self.units };
                lives.insert(unit.clone(), begun);
            }
        }
    }

    /// Nothing takes the place of what runs before it is ready itself.
    fn judge_lead(&mut self, unit: &UnitId, incarnation: Incarnation) {
        let next = self.seconds.remove(unit).unwrap_or_else(|| panic!("{unit}: nothing beside it takes its place"));
        assert!(
            next.life == incarnation && next.runs && next.leader.is_none(),
            "{unit}: a life takes its place that does not run"
        );
        let before = self.units.insert(unit.clone(), next.clone());
        if let Some(before) = before.filter(|before| !before.over && before.leader.is_none()) {
            assert!(next.healthy || !next.has_check, "{unit}: a life takes its place before it is ready: {next:?}");
            self.seconds.insert(unit.clone(), before);
        }
    }

    /// Nobody misses what it writes who is to see it.
    fn judge_audience(&mut self, unit: &UnitId, container: &str) {
        for (id, (shown, attached)) in &mut self.audience {
            let is_attached = attached.remove(container);
            assert!(is_attached || !shown.contains(&unit.service), "{unit} is started though {id:?} is not attached to it");
        }
    }

    fn judge_start(&self, unit: &UnitId, service: &Service) {
        for (name, dependency) in service.common.depends_on.iter().filter(|(_, dependency)| dependency.required) {
            let mut replicas = self.units.iter().filter(|(id, _)| id.service == *name).map(|(_, told)| told);
            let fulfilled = match dependency.condition {
                Condition::Started => replicas.any(|told| told.runs || told.done),
                Condition::Healthy => replicas.any(|told| told.healthy),
                Condition::Completed => replicas.any(|told| told.done),
            };
            let told: Vec<_> = self.units.iter().filter(|(id, _)| id.service == *name).collect();
            assert!(fulfilled, "{unit} is started though {name} is not {:?}, as far as was told: {told:?}", dependency.condition);
        }
    }

    /// A life of a unit, or the one that is its own.
    fn life(&mut self, unit: &UnitId, incarnation: Incarnation) -> &mut Told {
        match self.seconds.get_mut(unit) {
            Some(_) if self.units.get(unit).is_some_and(|told| told.life == incarnation) => self.unit(unit),
            Some(second) if second.life == incarnation => self.seconds.get_mut(unit).expect("just looked"),
            Some(_) | None => self.unit(unit),
        }
    }

    fn unit(&mut self, unit: &UnitId) -> &mut Told {
        self.units.entry(unit.clone()).or_default()
    }
}
