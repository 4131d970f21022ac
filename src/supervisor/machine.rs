//! The supervisor: what is wanted, what is there, and one pass that brings them together.
//!
//! Level-triggered: whatever happens only changes facts; every step ends in [`Supervisor::reconcile`], which asks the table
//! what each resource needs next, asks the gates whether it may, and emits the effect. Taking in news is `news`' business,
//! requests are `asked`'s, answers `wishes`'.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::effect::{Effect, Probe};
use super::event::{Event, RequestId};
use super::notice::{Level, Notice, ResourceState};
use super::request::Request;
use super::resource::{Image, Resource, Want};
use super::status::{UnitKind, UnitStatus};
use super::sync::Syncing;
use super::unit::{Busy, Cause, Have, Hold, Phase, Step, Stopping, Unit};
use super::watch::Watches;
use super::wishes::{Lease, Wish};
use crate::base::moment::Moment;
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::base::random::Random;
use crate::plan::action::{Action, AnonymousVolumes, Incarnation, Prune, ResourceId, Ticket};
use crate::plan::actual::Query;
use crate::plan::desired::{Deployment, UnitSpec};
use crate::plan::hash::ConfigHash;
use crate::plan::next;
use crate::plan::provision::{Source, Way};
use std::time::Duration;

/// After a `SIGKILL` that showed no effect it is sent again: a process may have been forked in between, or sit in a system
/// call that cannot be interrupted.
pub(super) const KILL_AGAIN: Duration = Duration::from_secs(2);
/// For the images of `down --rmi`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Images {
    /// Nothing to do.
    Left,
    /// To be removed once no container is left.
    Due(Prune),
    /// Being removed.
    Busy(u64),
}

/// For what `owns:` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owned {
    /// Nothing to do.
    Left,
    /// To be removed.
    Due {
        /// Volumes, images and paths too.
        volumes: bool,
    },
    /// Being removed.
    Busy(u64),
}

/// The signals of one request.
#[derive(Debug, Clone, Default)]
pub(super) struct Signals {
    /// Not yet sent.
    pub waiting: std::collections::BTreeSet<u64>,
    /// Why some could not be.
    pub failed: Vec<String>,
    /// Why the engine did not send some: it does not answer.
    pub away: Option<String>,
    /// They are no signals: the units stand still once they have arrived, or go on.
    pub freezes: Option<bool>,
}

/// The machine of one environment.
#[derive(Debug, Clone)]
pub struct Supervisor {
    pub(super) env: EnvId,
    pub(super) random: Random,
    pub(super) now: Moment,
    pub(super) deployment: Option<Arc<Deployment>>,
    pub(super) units: BTreeMap<UnitId, Unit>,
    pub(super) networks: BTreeMap<String, Resource>,
    pub(super) volumes: BTreeMap<String, Resource>,
    pub(super) images: BTreeMap<ResourceId, Image>,
    /// Services whose image is kept as that of another, whose build makes it, or which pulls it alike.
    pub(super) keepers: BTreeMap<ServiceName, ServiceName>,
    /// Of the images that are mounted, by reference: the service as whose image one is kept. Others are kept by their name alone.
    pub(super) suppliers: BTreeMap<String, ServiceName>,
    /// Of the images that were built here: the lives of the tasks that had run before. Outlives us.
    pub(super) built: BTreeMap<ServiceName, BTreeMap<String, String>>,
    pub(super) owned: Owned,
    pub(super) rmi: Images,
    /// Everything goes: removing networks and volumes waits for this.
    pub(super) going_down: bool,
    /// Of containers whose checks their engine runs, its verdict alone counts.
    pub(super) engine_health: bool,
    /// With that, volumes go too.
    pub(super) takes_volumes: bool,
    pub(super) wishes: BTreeMap<RequestId, Wish>,
    pub(super) leases: BTreeMap<RequestId, Lease>,
    pub(super) watches: Watches,
    /// Files on their way into containers.
    pub(super) syncs: BTreeMap<UnitId, Syncing>,
    /// Units whose listening sockets are held.
    pub(super) held: std::collections::BTreeSet<UnitId>,
    /// Services whose watches an `up` has armed.
    pub(super) watched: std::collections::BTreeSet<ServiceName>,
    /// Services that somebody watches for as long as a connection lasts.
    pub(super) watchers: BTreeMap<RequestId, std::collections::BTreeSet<ServiceName>>,
    /// Those of them who have not been told yet that files are watched.
    pub(super) expectant: Vec<RequestId>,
    /// How many times the files to watch have been named that are not watched yet.
    pub(super) watches_under_way: u32,
    /// The last `up` takes orphans away that the first look shows.
    pub(super) orphans_go: bool,
    /// How many replicas the last `up` wants of its services: the first look may show more.
    pub(super) scaled: BTreeMap<ServiceName, u32>,
    /// Containers that are restarted if the first look finds them running, each with the reason.
    pub(super) following: BTreeMap<UnitId, String>,
    /// The number of the last `Effect::Observe`.
    pub(super) asked: u64,
    pub(super) observing: bool,
    pub(super) look_again: bool,
    /// Containers are left alone until an observation of at least this number has been seen.
    pub(super) look_first: u64,
    pub(super) seen: u64,
    /// Containers' units that were forgotten since the last look was taken in, and up to which one looks may still show them.
    pub(super) forgotten: BTreeMap<UnitId, u64>,
    /// The same of networks and volumes, by their names.
    pub(super) removed: BTreeMap<(Kind, String), u64>,
    pub(super) engine_away: Option<String>,
    /// The last look that had been asked for when it was found to be away.
    pub(super) away_at: u64,
    pub(super) terminating: bool,
    pub(super) asked_anything: bool,
    /// Requests that wait for the first look at what a snapshot says is there.
    pub(super) parked: Vec<(RequestId, Request)>,
    /// Signals on their way, by the request that sends them.
    pub(super) signals: BTreeMap<RequestId, Signals>,
    /// Actions begun, for "nothing had to be done".
    pub(super) acts: u64,
    pub(super) serial: u64,
    pub(super) told: BTreeMap<UnitId, UnitStatus>,
    pub(super) effects: Vec<Effect>,
    pub(super) persist: bool,
}

/// [`Supervisor::keeper_of`], while something else of the machine is being changed.
pub(super) fn keeper_among<'a>(keepers: &'a BTreeMap<ServiceName, ServiceName>, service: &'a ServiceName) -> &'a ServiceName {
    keepers.get(service).unwrap_or(service)
}

/// [`Supervisor::mounted_image`], in the same case.
pub(super) fn mounted_among(suppliers: &BTreeMap<String, ServiceName>, reference: &str) -> ResourceId {
    match suppliers.get(reference) {
        Some(supplier) => ResourceId::Image(supplier.clone()),
        None => ResourceId::NamedImage(reference.to_owned()),
    }
}

impl Supervisor {
    /// A machine that knows of nothing yet. The seed is for the jitter of back-offs.
    pub fn new(env: EnvId, seed: u64) -> Self {
        Self {
            env,
            random: Random::new(seed),
            now: Moment::default(),
            deployment: None,
            units: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            keepers: BTreeMap::new(),
            suppliers: BTreeMap::new(),
            built: BTreeMap::new(),
            owned: Owned::Left,
            rmi: Images::Left,
            going_down: false,
            engine_health: false,
            takes_volumes: false,
            wishes: BTreeMap::new(),
            leases: BTreeMap::new(),
            watches: Watches::default(),
            syncs: BTreeMap::new(),
            held: std::collections::BTreeSet::new(),
            watched: std::collections::BTreeSet::new(),
            watchers: BTreeMap::new(),
            expectant: Vec::new(),
            watches_under_way: 0,
            orphans_go: false,
            scaled: BTreeMap::new(),
            following: BTreeMap::new(),
            asked: 0,
            forgotten: BTreeMap::new(),
            removed: BTreeMap::new(),
            observing: false,
            look_again: false,
            look_first: 0,
            seen: 0,
            engine_away: None,
            away_at: 0,
            terminating: false,
            asked_anything: false,
            parked: Vec::new(),
            signals: BTreeMap::new(),
            acts: 0,
            serial: 0,
            told: BTreeMap::new(),
            effects: Vec::new(),
            persist: false,
        }
    }

    /// Takes one thing that happened; returns what must be done about it, in order. Moments must not go back.
    pub fn step(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        self.steps([event], now)
    }

    /// The same for several things that have happened by then, in this order. What follows from all of them is looked at once: a
    /// pass takes as long as there are units.
    pub fn steps(&mut self, events: impl IntoIterator<Item = Event>, now: Moment) -> Vec<Effect> {
        self.now = self.now.max(now);
        events.into_iter().for_each(|event| self.hear(event));
        self.reconcile();
        std::mem::take(&mut self.effects)
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Request(id, request) => self.requested(id, request),
            Event::Disconnected(id) => self.disconnected(id),
            Event::Observed(number, result) => self.observed(number, result),
            Event::EngineStirred => self.look(),
            Event::EngineAway(message) => self.engine_is_away(message),
            Event::Acted(ticket, result) => self.acted(&ticket, result),
            Event::Progress(ticket, text) => self.tell(Notice::Progress { resource: ticket.resource, text }),
            Event::Wrote(ticket, line) => self.tell(Notice::Wrote { resource: ticket.resource, line }),
            Event::Retrying(ticket, text) => self.setback(ticket.resource, text),
            Event::Exited { unit, incarnation, exit, remaining } => self.exited(&unit, incarnation, exit, remaining),
            Event::Probed(ticket, result) => self.probed(&ticket, result),
            Event::LineMatched(unit, incarnation) => self.line_matched(&unit, incarnation),
            Event::FilesChanged { rule, paths, busy } => self.watches.changed(rule, &paths, busy, self.now),
            Event::WatchTrouble { rule, message } => self.watch_trouble(rule, message),
            Event::Reckoned { unit, cron, now_ms, due_ms } => self.reckoned(&unit, &cron, now_ms, due_ms),
            Event::ImageArrived(reference) => self.image_arrived(&reference),
            Event::WatchSet => self.watches_under_way = self.watches_under_way.saturating_sub(1),
            Event::Terminate => self.terminate(),
            Event::Tick => {}
        }
    }

    /// The moment at which `step(Event::Tick, …)` is due even if nothing happens.
    pub fn next_deadline(&self) -> Option<Moment> {
        let units = self.units.values().flat_map(|unit| {
            let stopping = unit
                .stopping
                .as_ref()
                .filter(|_| unit.busy.is_none() && matches!(unit.have, Have::Running { .. }))
                .map(|stopping| stopping.deadline);
            let waits = unit.not_before > self.now && unit.busy.is_none() && unit.next_step(self.now).is_some();
            let start = unit.start_deadline().filter(|_| unit.ending.is_none() && unit.stopping.is_none());
            let probe = unit.health.next.filter(|_| unit.is_current() && !unit.paused);
            let second = unit.second.as_ref().and_then(|second| second.wake(self.now));
            let reload = unit.reload.as_ref().map(|reload| reload.not_before).filter(|moment| *moment > self.now);
            [stopping, waits.then_some(unit.not_before), start, probe, unit.task.timer.wake(), second, reload]
        });
        let resources = (self.networks.values().chain(self.volumes.values()))
            .map(|resource| (resource.not_before > self.now && resource.next().is_some()).then_some(resource.not_before));
        let images =
            (self.images.values()).map(|image| (image.not_before > self.now && image.is_due()).then_some(image.not_before));
        let wishes = self.wishes.values().map(|wish| wish.give_up_at);
        units
            .chain(resources)
            .chain(images)
            .chain(wishes)
            .chain(self.audience_deadlines())
            .chain([self.watches.due()])
            .flatten()
            .min()
    }

    /// The deployment in force.
    pub fn deployment(&self) -> Option<&Arc<Deployment>> {
        self.deployment.as_ref()
    }

    // ── one pass ───────────────────────────────────────────────────────────────────────────────────────────────────────

    fn reconcile(&mut self) {
        self.unpark();
        // The end of a foreground `up` takes others along: what that changes is acted upon now, since nothing else would wake us.
        while self.pass() {}
        self.hold_sockets();
        if std::mem::take(&mut self.persist) {
            self.effects.push(Effect::Persist);
        }
        if self.is_useless() {
            self.effects.push(Effect::Tell(Notice::Ending));
            self.effects.push(Effect::Exit);
        }
    }

    /// Looks at everything once; whether an answer has changed what is wanted, or a task has become due.
    fn pass(&mut self) -> bool {
        self.fire_watches();
        self.judge_deadlines();
        self.miss_audience();
        self.call_off_images();
        self.reconcile_resources();
        let mut ids: Vec<UnitId> = self.units.keys().cloned().collect();
        // What starts first is asked first, so that effects read in the order in which they matter.
        ids.sort_by_cached_key(|id| (self.rank(&id.service), id.clone()));
        // Before the units' turn: a verdict that needs no probe (`log` alone) opens gates at once, and nothing else would wake us.
        for id in &ids {
            self.probe_if_due(id);
            self.probe_second(id);
        }
        let blocked = self.blocked();
        let mut moved = false;
        for id in &ids {
            moved |= self.carry_reload(id, &blocked);
        }
        for id in &ids {
            self.call_audience(id, &blocked);
            if let Some(step) = self.units[id].next_step(self.now)
                && self.may(id, step, &blocked)
            {
                self.begin(id, step);
            }
        }
        self.carry_syncs();
        self.abandon();
        self.forget_what_is_gone();
        // Whoever stops listening with the answer has heard how things stand.
        self.report_changes(&blocked);
        self.arm_watches();
        let overruled = self.answer_wishes(&blocked);
        // After the answers: a run that follows the last one at once must not hide that one's success.
        self.run_schedules() || overruled || moved
    }

    /// Ends lives that were not ready in time.
    fn judge_deadlines(&mut self) {
        for unit in self.units.values_mut() {
            if unit.ending.is_none()
                && unit.stopping.is_none()
                && let Some(limit) = unit.start_deadline().filter(|deadline| *deadline <= self.now)
            {
                let Have::Running { since, .. } = unit.have else { continue };
                unit.ending = Some(super::unit::Ending::Late(limit.since(since)));
            }
        }
    }

    /// Lets go of the outputs of tasks that no verdict will follow on, and of what is under way for units that are to end.
    fn abandon(&mut self) {
        for unit in self.units.values_mut() {
            let hold = unit.next_hold();
            unit.task.hold = hold.unwrap_or(unit.task.hold);
            if unit.is_called_off() || hold.is_some() {
                self.effects.push(Effect::Abandon(unit.id.clone()));
            }
        }
    }

    /// Emits what a step asks for and marks the unit busy.
    /// Says that a container is made anew for an image's sake alone; that its definition changed is said by whoever notices.
    fn tell_other_image(&mut self, id: &UnitId) {
        let unit = &self.units[id];
        if !unit.recreate
            && !unit.is_of_another_definition()
            && let Some(reason) = unit.other_image()
        {
            self.tell(Notice::Because { resource: ResourceId::Unit(id.clone()), what: "recreate".to_owned(), reason });
        }
    }

    fn begin(&mut self, id: &UnitId, step: Step) {
        match step {
            Step::Table(next::Step::Stop) => self.wake(id),
            Step::Table(next::Step::Start) => self.audience_sees(id),
            Step::Table(next::Step::Succeed) => self.tell_other_image(id),
            _ => {}
        }
        let serial = self.next_serial();
        // What a task is, and is made, depends on these.
        let is_basis = self.units[id].kind == UnitKind::Task && matches!(step, Step::Assess | Step::Table(next::Step::Start));
        let lives = is_basis.then(|| self.lives_of_dependencies(id));
        debug_assert!(self.deployment.is_some() || self.units[id].ghost, "{id}: a unit without a deployment");
        let unit = self.units.get_mut(id).expect("begun for a unit that there is");
        if let Some(lives) = lives {
            unit.begin_on(lives);
        }
        let spec = match step {
            Step::Table(next::Step::Stop) | Step::Kill => unit.existing_spec(),
            Step::Table(
                next::Step::Create
                | next::Step::Succeed
                | next::Step::TakeOver
                | next::Step::Discard
                | next::Step::Start
                | next::Step::Remove,
            )
            | Step::Assess
            | Step::Conclude => unit.spec.clone(),
        };
        let action = match step {
            Step::Table(next::Step::Create) => {
                let inherited = if unit.renew_volumes { IndexMap::new() } else { unit.anonymous.clone() };
                Action::Create { spec: spec.clone(), inherited }
            }
            Step::Table(next::Step::Succeed) => {
                let adopts = unit.made.is_none() && !unit.recreate && !unit.renew_volumes;
                let (predecessor, renew_volumes) = (unit.container.clone(), unit.renew_volumes);
                Action::Succeed { spec: spec.clone(), predecessor, renew_volumes, adopts }
            }
            Step::Table(next::Step::TakeOver) => {
                let Some(successor) = &unit.successor else { return };
                let (container, name) = (successor.container.clone(), successor.name.clone());
                Action::TakeOver { spec: spec.clone(), container, name }
            }
            Step::Table(next::Step::Discard) => {
                let Some(successor) = &unit.successor else { return };
                let volumes = unit.goal == next::Goal::Gone && unit.takes_volumes;
                Action::Discard { spec: spec.clone(), container: successor.container.clone(), volumes }
            }
            Step::Table(next::Step::Start) => {
                unit.incarnation = unit.next_incarnation();
                (unit.hurry, unit.condemned) = (None, false);
                let line = unit.probed().and_then(|check| check.log.clone());
                let container = unit.container.clone();
                Action::Start { spec: spec.clone(), incarnation: unit.incarnation, line, container, beside: false }
            }
            Step::Table(next::Step::Stop) => {
                let cause = match (unit.have, &unit.ending) {
                    (Have::Running { leader_exit: Some(_), .. }, _) => Cause::Leftovers,
                    (_, Some(_)) if unit.goal == next::Goal::Up => Cause::Unfit,
                    _ => Cause::Wanted,
                };
                let grace = unit.hurry.take().or(unit.timeout).unwrap_or_else(|| spec.service().grace());
                unit.stopping = Some(Stopping { deadline: self.now + grace, killed: false, cause });
                Action::Stop { spec: spec.clone(), incarnation: unit.incarnation, container: unit.container.clone(), grace }
            }
            Step::Table(next::Step::Remove) => Action::Remove {
                unit: id.clone(),
                container: unit.container.clone(),
                spec: Some(unit.existing_spec()),
                volumes: match unit.goal {
                    next::Goal::Gone if unit.takes_volumes => AnonymousVolumes::Removed,
                    next::Goal::Gone if unit.has_no_anonymous_volume(self.seen) => AnonymousVolumes::Left,
                    next::Goal::Gone | next::Goal::Up | next::Goal::Created | next::Goal::Stopped | next::Goal::Left => {
                        AnonymousVolumes::Told
                    }
                },
            },
            Step::Kill => {
                if let Some(stopping) = &mut unit.stopping {
                    stopping.killed = true;
                    stopping.deadline = self.now + KILL_AGAIN;
                }
                let signal = "SIGKILL".to_owned();
                Action::Kill { spec: spec.clone(), incarnation: unit.incarnation, container: unit.container.clone(), signal }
            }
            Step::Assess => Action::Assess {
                spec: spec.clone(),
                trusted: unit
                    .task
                    .done
                    .as_ref()
                    .is_some_and(|done| done.hash == spec.hash && done.lives == unit.task.basis.lives),
                dependency_ran: unit.task.basis.dependency_ran,
            },
            Step::Conclude => {
                let Phase::Ended(exit) = unit.task.phase else { return };
                Action::Conclude { spec: spec.clone(), exit }
            }
        };
        if unit.kind == super::status::UnitKind::Task && matches!(step, Step::Assess | Step::Table(next::Step::Start)) {
            unit.task.hold = Hold::Held;
        }
        unit.busy = Some(Busy { serial, step, spec: spec.clone(), generation: unit.generation, called_off: false });
        let ticket = unit.ticket(serial, &spec);
        self.act(ticket, action);
    }

    fn reconcile_resources(&mut self) {
        self.follow_rebuilds();
        if !self.may_touch_engine() {
            return;
        }
        let containers_left =
            self.units.values().any(|unit| unit.kind == UnitKind::Container && (!unit.is_absent() || unit.busy.is_some()));
        let units_left = self.units.values().any(super::unit::Unit::is_alive);
        if self.going_down
            && !units_left
            && let Owned::Due { volumes } = self.owned
        {
            let owned = self.deployment.as_ref().map(|deployment| deployment.stack.owns.clone()).unwrap_or_default();
            let serial = self.next_serial();
            self.owned = Owned::Busy(serial);
            let env = self.env.clone();
            self.act_on(serial, ResourceId::Owned, Action::RemoveOwned { env, owned, volumes });
        }
        if !containers_left && let Images::Due(which) = self.rmi {
            let serial = self.next_serial();
            self.rmi = Images::Busy(serial);
            let action = Action::RemoveImages { env: self.env.clone(), deployment: self.deployment.clone(), which };
            self.act_on(serial, ResourceId::Images, action);
        }
        for kind in [Kind::Network, Kind::Volume] {
            let keys: Vec<String> = self.resources(kind).keys().cloned().collect();
            for key in keys {
                let resource = &self.resources(kind)[&key];
                let (name, now) = (resource.name.clone(), self.now);
                if resource.not_before > now {
                    continue;
                }
                let action = match (resource.next(), kind) {
                    (Some(true), _) if self.deployment.is_none() => continue,
                    (Some(true), Kind::Network) => {
                        Action::CreateNetwork { key: key.clone(), deployment: self.deployment.clone().expect("just looked") }
                    }
                    (Some(true), Kind::Volume) => {
                        Action::CreateVolume { key: key.clone(), deployment: self.deployment.clone().expect("just looked") }
                    }
                    (Some(false), _) if resource.want == Want::There && self.is_in_the_way(kind, &name) => continue,
                    (Some(false), _) if resource.want == Want::Gone && (containers_left || self.owned != Owned::Left) => continue,
                    (Some(false), Kind::Network) => Action::RemoveNetwork { name: name.clone() },
                    (Some(false), Kind::Volume) => Action::RemoveVolume { name: name.clone() },
                    (None, _) => continue,
                };
                let serial = self.next_serial();
                self.resources_mut(kind).get_mut(&key).expect("just looked").busy = Some(serial);
                let state = if resource_is_made(&action) { ResourceState::Creating } else { ResourceState::Removing };
                self.tell(Notice::Resource { resource: kind.id(&key), state, name });
                self.act_on(serial, kind.id(&key), action);
            }
        }
        self.reconcile_images();
    }

    fn reconcile_images(&mut self) {
        let due: Vec<ResourceId> = self
            .images
            .iter()
            .filter(|(id, image)| image.is_due() && image.not_before <= self.now && self.is_waited_for(id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            let image = &self.images[&id];
            let reference = image.reference.clone();
            let Some(way) = image.way() else {
                let kept_by = self.keeps_from_coming(&id);
                let reason = format!("the image `{reference}` is not present, and {kept_by}");
                self.images.get_mut(&id).expect("just looked").failed = Some(reason);
                continue;
            };
            let action = match (way, &id, self.deployment.clone()) {
                (Way::Build, ResourceId::Image(service), Some(deployment)) => {
                    if !self.build_may_start(service) {
                        continue;
                    }
                    Action::Build { service: service.clone(), deployment }
                }
                (Way::Build | Way::Pull, id, _) => {
                    let platform = if let ResourceId::Image(service) = id { self.platform_of(service) } else { None };
                    let once = image.source == Source::PullElseBuild;
                    Action::Pull { reference: reference.clone(), platform, once }
                }
            };
            let serial = self.next_serial();
            if let (Action::Build { .. }, ResourceId::Image(service)) = (&action, &id) {
                self.built.insert(service.clone(), self.lives_of_tasks(service));
            }
            let image = self.images.get_mut(&id).expect("just looked");
            image.busy = Some((serial, way));
            // Whichever way it is got anew.
            image.renew = image.renew.map(|_| way);
            let state = if matches!(action, Action::Build { .. }) { ResourceState::Building } else { ResourceState::Pulling };
            self.tell(Notice::Resource { resource: id.clone(), state, name: reference });
            self.act_on(serial, id, action);
        }
    }

    /// Why there is no way to an image.
    fn keeps_from_coming(&self, id: &ResourceId) -> &'static str {
        let container = match id {
            ResourceId::Image(service) => self.definition_of(service).and_then(|service| service.container()),
            ResourceId::NamedImage(_)
            | ResourceId::Network(_)
            | ResourceId::Volume(_)
            | ResourceId::Unit(_)
            | ResourceId::Owned
            | ResourceId::Images => None,
        };
        match container.map(|container| (container.build.is_some(), container.image.is_some())) {
            Some((true, false)) => "`--no-build` keeps it from being built",
            Some((true, true)) => "`--no-build` keeps it from being built, and its `pull_policy` from being pulled",
            Some((false, _)) | None => "its `pull_policy` keeps it from being pulled",
        }
    }

    /// A build is done again when a task that its service depends on has run since. A task that was up to date has not.
    fn follow_rebuilds(&mut self) {
        let has_run_since = |service: &ServiceName| {
            let known = self.built.get(service);
            self.lives_of_tasks(service).iter().any(|(task, life)| known.and_then(|known| known.get(task)) != Some(life))
        };
        let stale: Vec<ResourceId> = (self.images.iter())
            .filter(|(_, image)| image.wanted && image.looked && image.busy.is_none() && image.renew.is_none())
            .filter_map(|(id, image)| match id {
                ResourceId::Image(service)
                    if self.is_built_here(service, image) && self.build_may_start(service) && has_run_since(service) =>
                {
                    Some(id.clone())
                }
                ResourceId::Image(_)
                | ResourceId::Network(_)
                | ResourceId::Volume(_)
                | ResourceId::NamedImage(_)
                | ResourceId::Unit(_)
                | ResourceId::Owned
                | ResourceId::Images => None,
            })
            .collect();
        for id in stale {
            let image = self.images.get_mut(&id).expect("just looked");
            (image.renew, image.asked_by) = (Some(Way::Build), None);
        }
    }

    /// Whether what is there of an image is, or is to be, our own work; what could be pulled is not.
    fn is_built_here(&self, service: &ServiceName, image: &Image) -> bool {
        match image.source {
            Source::Build => true,
            Source::PullElseBuild => self.built.contains_key(service),
            Source::Pull | Source::Never => false,
        }
    }

    fn platform_of(&self, service: &ServiceName) -> Option<String> {
        self.deployment.as_ref()?.service(service)?.container()?.platform.clone()
    }

    fn probe_if_due(&mut self, id: &UnitId) {
        let now = self.now;
        let unit = &self.units[id];
        let Some(check) = unit.probing().cloned() else { return };
        let due = unit.health.in_flight.is_none() && unit.health.next.is_some_and(|next| next <= now);
        if !due || !unit.is_current() || unit.paused {
            return;
        }
        if let Some((healthy, output)) = unit.health.without_probe(&check) {
            self.judged(id, healthy, output);
            if healthy {
                self.units.get_mut(id).expect("just looked").health.next = None;
            }
            return;
        }
        let serial = self.next_serial();
        let unit = self.units.get_mut(id).expect("just looked");
        unit.health.in_flight = Some(serial);
        unit.health.next = None;
        let ticket = unit.ticket(serial, &unit.spec);
        let probe = Probe { spec: unit.spec.clone(), check: Arc::new(check), container: unit.container.clone(), beside: false };
        self.effects.push(Effect::Probe(ticket, probe));
    }

    /// Units that nobody wants and that are gone are forgotten.
    fn forget_what_is_gone(&mut self) {
        let before = self.units.len();
        self.units.retain(|id, unit| {
            let gone = unit.is_absent() && (unit.goal == next::Goal::Gone || unit.ghost) && unit.busy.is_none();
            if gone && unit.blind_until > self.seen {
                self.forgotten.insert(id.clone(), unit.blind_until);
            }
            !gone
        });
        self.syncs.retain(|id, _| self.units.contains_key(id));
        let (seen, removed) = (self.seen, &mut self.removed);
        for (kind, resources) in [(Kind::Network, &mut self.networks), (Kind::Volume, &mut self.volumes)] {
            resources.retain(|_, it| {
                let gone = it.want == Want::Gone && it.there == Some(false) && it.busy.is_none();
                if gone && it.blind_until > seen {
                    removed.insert((kind, it.name.clone()), it.blind_until);
                }
                !gone
            });
        }
        self.persist |= before != self.units.len();
    }

    // ── small things everybody uses ────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn act(&mut self, ticket: Ticket, action: Action) {
        if !matches!(action, Action::Assess { .. }) {
            self.acts += 1;
        }
        self.persist = true;
        self.effects.push(Effect::Act(ticket, action));
    }

    fn act_on(&mut self, serial: u64, resource: ResourceId, action: Action) {
        let ticket = Ticket {
            serial,
            resource,
            incarnation: Incarnation::default(),
            hash: ConfigHash::from_label(""),
            generation: crate::plan::action::Generation::default(),
        };
        self.act(ticket, action);
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        self.effects.push(Effect::Tell(notice));
    }

    pub(super) fn say(&mut self, level: Level, text: impl Into<String>) {
        self.tell(Notice::Message { level, text: text.into() });
    }

    /// Asks the engine what there is; if that is being asked already, once more after it.
    pub(super) fn look(&mut self) {
        if self.observing {
            self.look_again = true;
            return;
        }
        self.asked += 1;
        self.observing = true;
        let names = |resources: &BTreeMap<String, Resource>, asked: fn(&Resource) -> bool| {
            resources.values().filter(|resource| asked(resource)).map(|resource| resource.name.clone()).collect()
        };
        let networks = names(&self.networks, |network| network.external);
        // A volume that somebody else made is used too.
        let volumes = names(&self.volumes, |volume| volume.external || volume.want == Want::There);
        let mut images: Vec<String> = self.images.values().flat_map(Image::names).cloned().collect();
        images.sort_unstable();
        images.dedup();
        let query = Query { images, networks, volumes, renewals: self.renewals(), ..Query::default() };
        self.effects.push(Effect::Observe(self.asked, query));
    }

    /// Whether the engine answers and has been looked at since the last request that needs it.
    pub(super) fn may_touch_engine(&self) -> bool {
        self.engine_away.is_none() && self.seen >= self.look_first
    }

    pub(super) fn resources(&self, kind: Kind) -> &BTreeMap<String, Resource> {
        match kind {
            Kind::Network => &self.networks,
            Kind::Volume => &self.volumes,
        }
    }

    pub(super) fn resources_mut(&mut self, kind: Kind) -> &mut BTreeMap<String, Resource> {
        match kind {
            Kind::Network => &mut self.networks,
            Kind::Volume => &mut self.volumes,
        }
    }

    /// What the image of a service is kept as.
    pub(super) fn image_of(&self, service: &ServiceName) -> ResourceId {
        ResourceId::Image(self.keeper_of(service).clone())
    }

    /// What an image is kept as that is mounted.
    pub(super) fn mounted_image(&self, reference: &str) -> ResourceId {
        mounted_among(&self.suppliers, reference)
    }

    /// What all the images are kept as that a service needs: its own, and those that it mounts.
    pub(super) fn images_of(&self, service: &ServiceName) -> Vec<ResourceId> {
        self.deployment.as_ref().map_or_else(Vec::new, |deployment| self.images_by(deployment, service))
    }

    /// The same by this deployment: that of a unit may be an earlier one.
    pub(super) fn images_by(&self, deployment: &Deployment, service: &ServiceName) -> Vec<ResourceId> {
        let mounted = deployment.mounted_images(service).into_values();
        std::iter::once(self.image_of(service)).chain(mounted.map(|reference| self.mounted_image(&reference))).collect()
    }

    /// The service whose image its own is kept as: the one that builds it, or the first of those that pull it alike.
    pub(super) fn keeper_of<'a>(&'a self, service: &'a ServiceName) -> &'a ServiceName {
        keeper_among(&self.keepers, service)
    }

    /// The units of a service that are not merely on their way out.
    pub(super) fn units_of<'a>(&'a self, service: &'a ServiceName) -> impl Iterator<Item = &'a Unit> {
        let first = UnitId::new(service.clone(), 0);
        (self.units.range(first..))
            .take_while(move |(id, _)| &id.service == service)
            .map(|(_, unit)| unit)
            .filter(|unit| !unit.ghost)
    }

    /// The position of a service in the order of starting.
    fn rank(&self, service: &ServiceName) -> usize {
        let services: Option<&IndexMap<_, _>> = self.deployment.as_ref().map(|deployment| &deployment.stack.services);
        services.and_then(|services| services.get_index_of(service)).unwrap_or(usize::MAX)
    }

    /// Makes a unit's spec of the deployment in force.
    pub(super) fn spec_of(deployment: &Arc<Deployment>, id: &UnitId) -> Option<UnitSpec> {
        let service = deployment.service(&id.service)?;
        let hash = ConfigHash::of(service, &deployment.stack, &deployment.env);
        Some(UnitSpec { unit: id.clone(), deployment: deployment.clone(), hash })
    }
}

/// Networks and volumes are handled alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Networks.
    Network,
    /// Volumes.
    Volume,
}

impl Kind {
    pub(super) fn id(self, key: &str) -> ResourceId {
        match self {
            Kind::Network => ResourceId::Network(key.to_owned()),
            Kind::Volume => ResourceId::Volume(key.to_owned()),
        }
    }
}

fn resource_is_made(action: &Action) -> bool {
    matches!(action, Action::CreateNetwork { .. } | Action::CreateVolume { .. })
}
