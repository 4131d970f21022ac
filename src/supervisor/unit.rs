//! One unit: what is wanted of it, what is there of it, and what is under way.
//!
//! Only facts and what follows from one unit alone; everything between units is `gate`'s and `machine`'s business.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::health::HealthState;
use super::reload::{Reload, SecondLife};
use super::schedule::Timer;
use super::status::{Health, UnitKind};
use crate::base::moment::Moment;
use crate::base::name::{ServiceName, UnitId};
use crate::model::health::HealthCheck;
use crate::model::process::OnUnhealthy;
use crate::model::service::Kind;
use crate::plan::action::{Exit, Generation, Incarnation, ResourceId, Ticket, is_anonymous_volume};
use crate::plan::desired::{ONE_OFF, UnitSpec};
use crate::plan::hash::ConfigHash;
use crate::plan::next::{self, Definition, Goal, Shape};

/// What is there of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Have {
    /// Nothing, as far as anybody knows.
    Absent,
    /// Made, not running.
    Created,
    /// A life.
    Running {
        /// Since when.
        since: Moment,
        /// Its leader has ended; what it started lives on.
        leader_exit: Option<Exit>,
    },
    /// The remains of one.
    Exited {
        /// How it ended.
        exit: Exit,
        /// When.
        at: Moment,
    },
}

/// What to do next: the table's steps and those of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One of the table.
    Table(next::Step),
    /// Kill what does not want to end.
    Kill,
    /// Ask whether a task is due.
    Assess,
    /// Judge a task that has ended.
    Conclude,
}

/// An action in flight.
#[derive(Debug, Clone)]
pub struct Busy {
    /// The ticket's number.
    pub serial: u64,
    /// What.
    pub step: Step,
    /// What it acts for.
    pub spec: UnitSpec,
    /// The generation it acts for.
    pub generation: Generation,
    /// The edge was told that nobody wants it any more.
    pub called_off: bool,
}

/// A stop that was asked for and is not over.
#[derive(Debug, Clone)]
pub struct Stopping {
    /// Killed from then on.
    pub deadline: Moment,
    /// Whether it had to be killed.
    pub killed: bool,
    /// Why.
    pub cause: Cause,
}

/// Why a life is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Somebody wants it so.
    Wanted,
    /// We found it unfit: see [`Ending`].
    Unfit,
    /// Its leader is gone, the rest has to go too.
    Leftovers,
}

/// Why we end a life that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It was not ready in time, or a task not done.
    Late(Duration),
    /// Its health check fails and `on_unhealthy: restart` is set.
    Unhealthy(String),
}

/// A task between its assessments.
#[derive(Debug, Clone, Default)]
pub struct Task {
    /// Where it stands.
    pub phase: Phase,
    /// Its last success, for as long as the environment lives.
    pub done: Option<Done>,
    /// The definition that the phase is about.
    pub hash: Option<ConfigHash>,
    /// A task that it depends on has run since it was last asked about, or begun.
    pub dependency_ran: bool,
    /// What was known when it was last asked about, or begun: a change since then makes it due again.
    pub basis: Basis,
    /// What it holds of its outputs.
    pub hold: Hold,
    /// What it waits for, if it has a schedule.
    pub timer: Timer,
}

impl Task {
    /// It has to run. What it did before counts no more: should it be cut off halfway, nobody takes it for done.
    pub fn is_due(&mut self, reason: String) {
        (self.phase, self.done) = (Phase::Due(reason), None);
    }
}

/// What a task's assessment or run is based on.
#[derive(Debug, Clone, Default)]
pub struct Basis {
    /// The lives of what it depends on.
    pub lives: BTreeMap<ServiceName, String>,
    /// Whether a task that it depends on had run.
    pub dependency_ran: bool,
}

/// Whether other environments are kept from a task's outputs. What is taken for an assessment or a run is let go by the
/// verdict on it, or by `Effect::Abandon`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hold {
    /// Nothing is.
    #[default]
    Free,
    /// It holds them, or waits for them.
    Held,
    /// As before, and whoever waits was told that there is no need any more.
    Leaving,
}

/// Where a task stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nobody has asked yet whether it is due.
    #[default]
    Unasked,
    /// Nobody has to ask before it is time.
    Scheduled,
    /// To be run, for this reason.
    Due(String),
    /// It has ended and is to be judged.
    Ended(Exit),
    /// Nothing to do.
    UpToDate,
    /// It has run with success.
    Succeeded,
    /// It will not be tried again.
    Failed,
}

/// A task's last success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// With this definition.
    pub hash: ConfigHash,
    /// While what it depends on was in these lives.
    pub lives: BTreeMap<ServiceName, String>,
}

/// When a unit went on that had stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WentOn {
    /// The moment that we know it since.
    pub at: Moment,
    /// How long before that it was: another supervisor may have seen to it.
    pub before: Duration,
}

impl WentOn {
    /// How long ago that was.
    pub fn ago(self, now: Moment) -> Duration {
        now.since(self.at) + self.before
    }
}

/// A container that is made to take the place of another, and waits beside it.
#[derive(Debug, Clone)]
pub struct Successor {
    /// The engine's id.
    pub container: String,
    /// The name that it will have.
    pub name: String,
    /// The beginning of the id of the container whose place it is to take.
    pub replaces: String,
    /// The definition that it was made of; none where that cannot be compared.
    pub hash: Option<ConfigHash>,
    /// The spec that it was made of, if it was made by us.
    pub spec: Option<UnitSpec>,
    /// The image that it was made of.
    pub image: Option<String>,
    /// The images that it mounts, by the path inside.
    pub mounted: BTreeMap<String, String>,
}

/// One unit.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its name.
    pub id: UnitId,
    /// Which kind.
    pub kind: UnitKind,
    /// Found by its labels; no file describes it.
    pub ghost: bool,
    /// It was made by `run`: a ghost that stands for no replica of its service.
    pub one_off: bool,
    /// The last request asked for it to be up: what the first look finds ended is started.
    pub sought: bool,
    /// An `up` asked for it: the first look tells whether its container is still connected as the files say.
    pub compares: bool,
    /// Looks at the engine up to this one may show what we did, or what somebody asked of us. What a later one shows that we did not
    /// do is somebody else's word.
    pub ours_until: u64,
    /// Somebody else made its container since we were asked about it: it is taken as it is. The next `up` compares it.
    pub theirs: bool,
    /// Somebody else is making its container anew, as Compose does: nothing is done to it before that has ended.
    pub at_work: bool,
    /// Somebody else has removed its container.
    pub removed: bool,

    /// What is wanted.
    pub goal: Goal,
    /// The definition that is wanted.
    pub spec: UnitSpec,
    /// The generation that is wanted.
    pub generation: Generation,
    /// To be made anew whatever it is made of.
    pub recreate: bool,
    /// The image that a container must be made of; none when that does not matter now.
    pub image: Option<String>,
    /// The images that a container must mount, by the path inside; those are missing that do not matter now.
    pub mounted: BTreeMap<String, String>,
    /// Start without regard to dependencies.
    pub no_deps: bool,
    /// Replaces the grace period of every stop.
    pub timeout: Option<Duration>,
    /// Replaces the grace period of the next stop.
    pub hurry: Option<Duration>,
    /// What exists is left as it is, whatever changed.
    pub keep: bool,
    /// Its anonymous volumes go with its container.
    pub takes_volumes: bool,

    /// What is there.
    pub have: Have,
    /// How long that had lasted before the moment that we know it since: a life may be older than its supervisor.
    pub before: Duration,
    /// The definition that it was made of.
    pub made: Option<ConfigHash>,
    /// The spec that it was made of, if it was made by us.
    pub made_spec: Option<UnitSpec>,
    /// The generation of its last start.
    pub started_generation: Generation,
    /// Its last life; with a second one beside it, the one that counts.
    pub incarnation: Incarnation,
    /// The highest number that was given to one of its lives.
    pub last: Incarnation,
    /// A next life beside the present one is asked for.
    pub reload: Option<Reload>,
    /// The life beside the one that counts.
    pub second: Option<SecondLife>,
    /// Why the last next life did not get ready.
    pub reload_failure: Option<String>,
    /// What tells its last life from others.
    pub birth: Option<String>,
    /// The leader of a process.
    pub pid: Option<i32>,
    /// The engine's id of its container.
    pub container: Option<String>,
    /// The image its container was made of.
    pub made_image: Option<String>,
    /// The images that its container mounts, by the path inside.
    pub made_mounted: BTreeMap<String, String>,
    /// What is to take the place of its container.
    pub successor: Option<Successor>,
    /// The networks that its container is in, by the engine's name, with their ids.
    pub networks: BTreeMap<String, String>,
    /// The fixed addresses that its container was given there; none where the engine does not tell.
    pub addresses: Option<BTreeMap<String, BTreeSet<String>>>,
    /// The named volumes that its container mounts.
    pub volumes: BTreeSet<String>,
    /// The ids of the containers whose namespaces its container lives in.
    pub shares: BTreeSet<String>,
    /// It is made anew in its own place: what it uses cannot be there twice.
    pub in_place: bool,
    /// Its next container gets new anonymous volumes.
    pub renew_volumes: bool,
    /// Anonymous volumes of the container before.
    pub anonymous: IndexMap<String, String>,
    /// Observations asked for up to this one do not show the last action.
    pub blind_until: u64,

    /// The action in flight.
    pub busy: Option<Busy>,
    /// The stop under way.
    pub stopping: Option<Stopping>,
    /// Why its life is to be ended though it is wanted.
    pub ending: Option<Ending>,
    /// An exited one is to be started again.
    pub again: bool,
    /// The engine is about to start it again: it can be stopped, and nothing can be said of its life.
    pub between_lives: bool,
    /// A container that was killed by request while it was being started: when it ends, that was meant.
    pub condemned: bool,
    /// It stands still.
    pub paused: bool,
    /// When it went on after that, until a probe has begun since.
    pub went_on: Option<WentOn>,
    /// The last life was ended by request.
    pub stopped: bool,
    /// The last life had to be killed.
    pub killed: bool,
    /// Failures in a row.
    pub failures: u32,
    /// No start, and no repetition of a failed action, before.
    pub not_before: Moment,
    /// Starts by ourselves since somebody asked for one.
    pub restarts: u32,
    /// What went wrong last.
    pub failure: Option<String>,
    /// It will not be tried again.
    pub given_up: bool,
    /// Health of the life it has.
    pub health: HealthState,
    /// The check of a container that its engine does not run.
    pub unprobed: Option<Box<HealthCheck>>,
    /// The check of a container that is starting, which we run as well as its engine, until one of us has found something.
    pub early: Option<Box<HealthCheck>>,
    /// The life in whose log the line of its health check was seen last.
    pub line_of: Option<Incarnation>,
    /// This life has been ready.
    pub was_ready: bool,
    /// The engine has been looked at since this life began (always true of a process).
    pub inspected: bool,
    /// A task's own state.
    pub task: Task,
    /// Restarts by file changes that came soon after a start, in a row.
    pub self_made_changes: u32,
    /// So long the last of them was made to wait.
    pub braked: Duration,
}

impl Unit {
    /// A unit of which nothing is there yet.
    pub fn new(spec: UnitSpec, goal: Goal) -> Self {
        let kind = match &spec.service().kind {
            Kind::Container(_) => UnitKind::Container,
            Kind::Process(process) if process.task => UnitKind::Task,
            Kind::Process(_) => UnitKind::Process,
        };
        Self {
            id: spec.unit.clone(),
            kind,
            ghost: false,
            one_off: false,
            sought: false,
            compares: false,
            ours_until: 0,
            theirs: false,
            at_work: false,
            removed: false,
            goal,
            spec,
            generation: Generation::default(),
            recreate: false,
            image: None,
            mounted: BTreeMap::new(),
            no_deps: false,
            timeout: None,
            hurry: None,
            keep: false,
            takes_volumes: false,
            have: Have::Absent,
            before: Duration::ZERO,
            made: None,
            made_spec: None,
            started_generation: Generation::default(),
            incarnation: Incarnation::default(),
            last: Incarnation::default(),
            reload: None,
            second: None,
            reload_failure: None,
            birth: None,
            pid: None,
            container: None,
            made_image: None,
            made_mounted: BTreeMap::new(),
            successor: None,
            networks: BTreeMap::new(),
            addresses: None,
            volumes: BTreeSet::new(),
            shares: BTreeSet::new(),
            in_place: false,
            renew_volumes: false,
            anonymous: IndexMap::new(),
            blind_until: 0,
            busy: None,
            stopping: None,
            ending: None,
            again: false,
            between_lives: false,
            condemned: false,
            paused: false,
            went_on: None,
            stopped: false,
            killed: false,
            failures: 0,
            not_before: Moment::default(),
            restarts: 0,
            failure: None,
            given_up: false,
            health: HealthState::default(),
            unprobed: None,
            early: None,
            line_of: None,
            was_ready: false,
            inspected: false,
            task: Task::default(),
            self_made_changes: 0,
            braked: Duration::ZERO,
        }
    }

    /// Whether `run` made it: a copy of a service, and none of its replicas.
    pub fn is_one_off(&self) -> bool {
        self.one_off || self.spec.service().common.labels.contains_key(ONE_OFF)
    }

    /// What it was made of; what is wanted where that is not known. What exists is ended by the rules that it was made by.
    pub fn existing_spec(&self) -> UnitSpec {
        self.made_spec.as_ref().unwrap_or(&self.spec).clone()
    }

    /// A ticket for something that is done to its present life.
    pub fn ticket(&self, serial: u64, spec: &UnitSpec) -> Ticket {
        Ticket {
            serial,
            resource: ResourceId::Unit(self.id.clone()),
            incarnation: self.incarnation,
            hash: spec.hash.clone(),
            generation: self.generation,
        }
    }

    /// What is there, in the table's terms.
    pub fn shape(&self) -> Shape {
        match self.have {
            Have::Absent => Shape::Absent,
            Have::Created => Shape::Created,
            Have::Running { .. } => Shape::Running,
            Have::Exited { .. } => Shape::Exited,
        }
    }

    /// How what is there compares with what is wanted.
    pub fn definition(&self) -> Definition {
        if self.recreate || (self.differs() && !self.keep && !self.theirs) {
            Definition::Different
        } else if self.started_generation < self.generation {
            Definition::Outdated
        } else {
            Definition::Same
        }
    }

    /// Whether it was seen, in this look or later, that no volume of its container is without a name of its own.
    pub fn has_no_anonymous_volume(&self, seen: u64) -> bool {
        self.blind_until < seen && !self.volumes.iter().any(|name| is_anonymous_volume(name))
    }

    /// Whether it was made of another definition or image than is wanted.
    pub fn differs(&self) -> bool {
        self.is_of_another_definition() || self.other_image().is_some()
    }

    /// Whether it was made of another definition than the one that is wanted, its image aside.
    pub fn is_of_another_definition(&self) -> bool {
        self.made.as_ref() != Some(&self.spec.hash)
    }

    /// Which of the images that its container must be of or mount is another one, in words that may follow its name.
    pub fn other_image(&self) -> Option<String> {
        self.other_image_than(self.made_image.as_ref(), &self.made_mounted)
    }

    fn other_image_than(&self, made: Option<&String>, mounted: &BTreeMap<String, String>) -> Option<String> {
        if let (Some(wanted), Some(made)) = (&self.image, made)
            && wanted != made
        {
            return Some("its image is another one".to_owned());
        }
        // Of what an earlier release made it is not known; and what is mounted at another place is another definition.
        let is_another = |(path, wanted): &(&String, &String)| mounted.get(*path).is_some_and(|made| made != *wanted);
        let mut others = self.mounted.iter().filter(is_another);
        others.next().map(|(path, _)| format!("the image that it mounts at {path} is another one"))
    }

    /// What stands beside it, in the table's terms.
    pub fn beside(&self) -> next::Successor {
        let Some(successor) = &self.successor else {
            let by_itself = self.kind == UnitKind::Container && !self.ghost && !self.in_place;
            return if by_itself { next::Successor::Missing } else { next::Successor::Never };
        };
        let is_of_this = successor.hash.as_ref() == Some(&self.spec.hash)
            && self.other_image_than(successor.image.as_ref(), &successor.mounted).is_none();
        let replaces_this = self.container.as_ref().is_some_and(|id| id.starts_with(&successor.replaces));
        if is_of_this && replaces_this { next::Successor::Fit } else { next::Successor::Unfit }
    }

    /// Whether nothing of it is left, at whatever name.
    pub fn is_absent(&self) -> bool {
        self.have == Have::Absent && self.successor.is_none() && self.second.is_none()
    }

    /// How long it has been running, or ended.
    pub fn lasts(&self, now: Moment) -> Option<Duration> {
        match self.have {
            Have::Running { since, .. } => Some(now.since(since) + self.before),
            Have::Exited { at, .. } => Some(now.since(at) + self.before),
            Have::Absent | Have::Created => None,
        }
    }

    /// Somebody who knows better says how long that is.
    pub fn aged(&mut self, age: Duration, now: Moment) {
        self.before = Duration::ZERO;
        self.before = age.saturating_sub(self.lasts(now).unwrap_or_default());
    }

    /// Whether anything of it runs, or may run.
    pub fn is_alive(&self) -> bool {
        let starting = matches!(&self.busy, Some(Busy { step: Step::Table(next::Step::Start), .. }));
        starting || matches!(self.have, Have::Running { .. }) || self.second.is_some()
    }

    /// Whether it runs in the life that is wanted and nobody is ending it.
    pub fn is_current(&self) -> bool {
        matches!(self.have, Have::Running { leader_exit: None, .. })
            && !self.between_lives
            && self.stopping.is_none()
            && self.ending.is_none()
            && matches!(self.goal, Goal::Up | Goal::Left)
            && self.definition() == Definition::Same
            && self.busy.is_none()
    }

    /// Whether it is about to be stopped, or being stopped, because somebody wants it so.
    pub fn is_going_down(&self) -> bool {
        self.is_alive()
            && match self.goal {
                Goal::Up => self.stopping.is_some() || self.definition() != Definition::Same,
                Goal::Stopped | Goal::Gone => true,
                Goal::Created => self.definition() == Definition::Different,
                Goal::Left => false,
            }
    }

    /// The health check that we probe ourselves: a process's, and of a container the probes that are ours, or what its engine does not
    /// run.
    pub fn probed(&self) -> Option<&HealthCheck> {
        let is_ours = |check: &&HealthCheck| match self.kind {
            UnitKind::Process | UnitKind::Task => check.is_on(),
            UnitKind::Container => !check.disable && check.has_own_probe(),
        };
        self.spec.service().common.healthcheck.as_ref().filter(is_ours).or(self.unprobed.as_deref())
    }

    /// Whether a start of it has been asked for and not been answered.
    pub fn is_being_started(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.step == Step::Table(next::Step::Start))
    }

    /// The check by which it is probed at present: the one that is ours, or that of an engine that has not looked yet.
    pub fn probing(&self) -> Option<&HealthCheck> {
        self.probed().or(self.early.as_deref())
    }

    /// The check in the file that its engine runs.
    pub fn check_of_engine(&self) -> Option<&HealthCheck> {
        let check = self.spec.service().common.healthcheck.as_ref()?;
        (self.kind == UnitKind::Container && self.probed().is_none() && check.is_on()).then_some(check)
    }

    /// Runs its engine's check as well, from now on.
    pub fn probe_beside_engine(&mut self, check: HealthCheck, now: Moment) {
        self.health = HealthState::begin(&check, now);
        self.early = Some(Box::new(check));
    }

    /// Its engine has come to this verdict, which counts from now on.
    pub fn engine_says(&mut self, verdict: Option<Health>) {
        self.leave_to_engine();
        self.health.verdict = verdict;
    }

    /// Leaves it to its engine; what a probe of ours says that is on its way comes too late.
    pub fn leave_to_engine(&mut self) {
        if self.early.take().is_some() {
            // What our last probe said is no word of the engine's.
            (self.health.in_flight, self.health.next, self.health.output) = (None, None, None);
        }
    }

    /// Why it gets nowhere, though nothing is wrong with it: somebody has paused it. Nobody but whoever did that lets it go on.
    pub fn standstill(&self) -> Option<String> {
        // One that is about to end, as for a restart, goes on in its next life.
        (self.paused && self.is_current() && self.stopping.is_none() && matches!(self.have, Have::Running { .. }))
            .then(|| format!("it is paused; `baistack unpause {}` lets it go on", self.id.service))
    }

    /// It stands still from now on, or goes on: what a probe says that began before, and what was said of it meanwhile, is no ground
    /// to give it up.
    pub fn stand_still(&mut self, paused: bool, now: Moment) {
        if self.paused == paused {
            return;
        }
        self.paused = paused;
        self.went_on = (!paused).then_some(WentOn { at: now, before: Duration::ZERO });
        self.health.stirred(paused, now);
    }

    /// The verdict on its health that counts: that it was unhealthy before it went on says nothing of how it is.
    pub fn verdict(&self) -> Option<Health> {
        match (self.health.verdict, self.went_on) {
            (Some(Health::Unhealthy), Some(_)) => Some(Health::Starting),
            (verdict, _) => verdict,
        }
    }

    /// Whether readiness means more than running.
    pub fn has_health(&self) -> bool {
        self.probed().is_some() || self.health.verdict.is_some()
    }

    /// Whether its last probe succeeded, or it has none and runs.
    pub fn is_ready(&self) -> bool {
        match self.verdict() {
            Some(verdict) => verdict == Health::Healthy,
            None => self.probed().is_none(),
        }
    }

    /// Whether an unhealthy verdict ends its life.
    pub fn restarts_when_unhealthy(&self) -> bool {
        self.spec.service().process().is_some_and(|process| process.on_unhealthy == OnUnhealthy::Restart)
    }

    /// When it must be ready (a task: done), if it must.
    pub fn start_deadline(&self) -> Option<Moment> {
        let limit = self.spec.service().process()?.start_timeout?;
        match self.have {
            Have::Running { since, .. } if self.kind == UnitKind::Task || (self.probed().is_some() && !self.was_ready) => {
                Some(since + limit)
            }
            Have::Running { .. } | Have::Absent | Have::Created | Have::Exited { .. } => None,
        }
    }

    /// Whether a task has all that it gives.
    pub fn is_done(&self) -> bool {
        matches!(self.task.phase, Phase::UpToDate | Phase::Succeeded) && self.task.hash.as_ref() == Some(&self.spec.hash)
    }

    /// What to do next, if nothing else stands in the way.
    pub fn next_step(&self, now: Moment) -> Option<Step> {
        if self.busy.is_some() {
            return None;
        }
        if let (Have::Running { .. }, Some(stopping)) = (self.have, &self.stopping) {
            return (now >= stopping.deadline).then_some(Step::Kill);
        }
        if (self.at_work && self.goal != Goal::Gone) || (self.ghost && self.is_absent()) {
            return None;
        }
        if let Have::Running { leader_exit, .. } = self.have
            && (leader_exit.is_some() || (self.ending.is_some() && self.goal == Goal::Up))
        {
            return Some(Step::Table(next::Step::Stop));
        }
        if self.second.is_some() && self.shape() != Shape::Running {
            // It is the next life, or has to be gone before there is one.
            return None;
        }
        if self.kind == UnitKind::Task && self.goal == Goal::Up && self.shape() != Shape::Running {
            return self.next_step_of_task();
        }
        if self.given_up && !matches!(self.goal, Goal::Stopped | Goal::Gone) {
            return None;
        }
        next::next(self.goal, self.shape(), self.definition(), self.again, self.beside()).map(Step::Table)
    }

    fn next_step_of_task(&self) -> Option<Step> {
        match &self.task.phase {
            Phase::Unasked => Some(Step::Assess),
            Phase::Ended(_) => Some(Step::Conclude),
            Phase::Scheduled | Phase::UpToDate | Phase::Succeeded | Phase::Failed => None,
            Phase::Due(_) => {
                let made_of_this = self.made.as_ref() == Some(&self.spec.hash);
                let step = match self.shape() {
                    Shape::Absent => next::Step::Create,
                    Shape::Created | Shape::Exited if !made_of_this => next::Step::Remove,
                    Shape::Created | Shape::Exited => next::Step::Start,
                    Shape::Running => return None,
                };
                Some(Step::Table(step))
            }
        }
    }

    /// Whether what is under way has just become useless: the unit is to end, and what may take any time keeps it from that.
    pub fn is_called_off(&mut self) -> bool {
        let ends = matches!(self.goal, Goal::Stopped | Goal::Gone);
        let has_hooks = !self.spec.service().common.post_start.is_empty();
        match &mut self.busy {
            Some(busy) if ends && !busy.called_off => {
                busy.called_off = match busy.step {
                    Step::Assess | Step::Conclude => true,
                    Step::Table(next::Step::Start) => has_hooks,
                    Step::Table(
                        next::Step::Create
                        | next::Step::Succeed
                        | next::Step::TakeOver
                        | next::Step::Discard
                        | next::Step::Stop
                        | next::Step::Remove,
                    )
                    | Step::Kill => false,
                };
                busy.called_off
            }
            Some(_) | None => false,
        }
    }

    /// What becomes of a task's hold as things are now; none if nothing changes.
    pub fn next_hold(&self) -> Option<Hold> {
        let wanted = self.goal == Goal::Up;
        match (&self.busy, self.task.hold) {
            (_, Hold::Free) => None,
            (Some(busy), Hold::Held) => {
                let waits = matches!(busy.step, Step::Assess | Step::Table(next::Step::Start));
                (waits && !wanted).then_some(Hold::Leaving)
            }
            (Some(_), Hold::Leaving) => None,
            (None, Hold::Held | Hold::Leaving) => {
                let goes_on = wanted && !self.given_up && matches!(self.task.phase, Phase::Due(_) | Phase::Ended(_));
                (!goes_on && self.shape() != Shape::Running).then_some(Hold::Free)
            }
        }
    }

    /// Whether a look of this number shows what we did last.
    pub fn is_seen_by(&self, look: u64) -> bool {
        self.busy.is_none() && self.blind_until < look
    }

    /// Somebody asks us about it. What the look shows that comes next was so before; up to now that is look number `looks`.
    pub fn ours_again(&mut self, looks: u64) {
        self.ours_until = looks + 1;
        (self.at_work, self.removed) = (false, false);
    }

    /// Somebody asks for what the files say: what somebody else made is compared with that.
    pub fn as_described(&mut self, looks: u64) {
        self.ours_again(looks);
        (self.theirs, self.compares) = (false, true);
    }

    /// Somebody else has taken it in hand.
    pub fn hand_over(&mut self) {
        self.at_work = true;
        (self.recreate, self.renew_volumes, self.again) = (false, false, false);
    }

    /// What stood beside its container is its container now.
    pub fn take_over(&mut self) {
        let Some(successor) = self.successor.take() else { return };
        self.have = Have::Created;
        (self.made, self.made_spec, self.made_image) = (successor.hash, successor.spec, successor.image);
        self.made_mounted = successor.mounted;
        self.container = Some(successor.container);
        (self.recreate, self.renew_volumes, self.in_place) = (false, false, false);
        self.unprobed = None;
        (self.networks, self.volumes, self.shares) = Default::default();
        self.anonymous.clear();
    }

    /// Forgets failures: somebody asks anew.
    pub fn forgive(&mut self) {
        self.failures = 0;
        self.restarts = 0;
        self.given_up = false;
        self.failure = None;
        self.not_before = Moment::default();
        (self.self_made_changes, self.braked) = (0, Duration::ZERO);
    }

    /// What a task's assessment or run that begins now is based on.
    pub fn begin_on(&mut self, lives: BTreeMap<ServiceName, String>) {
        self.task.basis = Basis { lives, dependency_ran: std::mem::take(&mut self.task.dependency_ran) };
    }

    /// A restart is asked for. A task runs whatever its check says.
    pub fn bump(&mut self, reason: &str) {
        self.generation.0 += 1;
        if self.kind == UnitKind::Task {
            self.task.is_due(reason.to_owned());
            self.task.hash = Some(self.spec.hash.clone());
        }
    }
}
