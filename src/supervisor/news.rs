//! Takes in what happened: answers of the edges, ends of lives, things outside. Looks at the engine are `seen`'s.
//!
//! Only facts are changed here; what follows from them is `reconcile`'s business.

use std::collections::BTreeSet;
use std::time::Duration;

use super::event::{ProbeResult, RuleId};
use super::gate::is_wish;
use super::health::HealthState;
use super::machine::{Images, Kind, Owned, Supervisor, keeper_among};
use super::notice::{Level, Notice, ResourceState};
use super::reload::SecondLife;
use super::restart::{STABLE, again, backoff};
use super::status::{Health, UnitKind};
use super::unit::{Cause, Done, Ending, Have, Hold, Phase, Step, Successor, Unit};
use super::watch::Change;
use crate::base::moment::Moment;
use crate::base::name::{ServiceName, UnitId};
use crate::model::process::RestartOn;
use crate::model::watch::WatchAction;
use crate::plan::action::{Assessment, Conclusion, Exit, Fault, FaultKind, Incarnation, Outcome, ResourceId, Ticket};
use crate::plan::desired::is_same_image;
use crate::plan::hash::ConfigHash;
use crate::plan::next::{self, Goal};
use crate::plan::provision::{Source, Way};

/// A temporary fault is tried again this often before it counts as lasting.
const TRIES: u32 = 5;

impl Supervisor {
    // ── answers ────────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn acted(&mut self, ticket: &Ticket, result: Result<Outcome, Fault>) {
        self.persist = true;
        if self.signalled(ticket, &result) || self.synced(ticket, &result) {
            return;
        }
        match &ticket.resource {
            ResourceId::Network(key) => self.resource_acted(Kind::Network, key, ticket, result),
            ResourceId::Volume(key) => self.resource_acted(Kind::Volume, key, ticket, result),
            ResourceId::Image(_) | ResourceId::NamedImage(_) => self.image_acted(ticket, result),
            ResourceId::Unit(id) => self.unit_acted(id, ticket, result),
            ResourceId::Images => {
                if self.rmi == Images::Busy(ticket.serial) {
                    self.rmi = Images::Left;
                    self.images_removed(result);
                }
            }
            ResourceId::Owned => {
                if self.owned == Owned::Busy(ticket.serial) {
                    self.owned = Owned::Left;
                    match result {
                        Ok(Outcome::Kept(reason)) => {
                            self.say(Level::Warning, format!("what the services made was kept: {reason}"));
                        }
                        Ok(_) => {}
                        Err(fault) => {
                            let reason = format!("what the services made could not be removed: {fault}");
                            for wish in self.wishes.values_mut().filter(|wish| wish.networks) {
                                wish.failed.push(reason.clone());
                            }
                        }
                    }
                }
            }
        }
    }

    fn images_removed(&mut self, result: Result<Outcome, Fault>) {
        match result {
            Ok(Outcome::Kept(reason)) => self.say(Level::Warning, reason),
            Ok(_) => {}
            Err(fault) => {
                let reason = format!("images could not be removed: {fault}");
                for wish in self.wishes.values_mut().filter(|wish| wish.networks) {
                    wish.failed.push(reason.clone());
                }
            }
        }
    }

    fn resource_acted(&mut self, kind: Kind, key: &str, ticket: &Ticket, result: Result<Outcome, Fault>) {
        let (asked, now) = (self.asked, self.now);
        let mut random = self.random.clone();
        let Some(resource) = self.resources_mut(kind).get_mut(key).filter(|resource| resource.busy == Some(ticket.serial)) else {
            return;
        };
        resource.busy = None;
        resource.blind_until = asked;
        let created = resource.there != Some(true);
        let asked_again = std::mem::take(&mut resource.asked_again);
        let state = match result {
            Ok(Outcome::Kept(reason)) => {
                resource.kept = Some(reason.clone());
                resource.renew = false;
                ResourceState::Kept(reason)
            }
            Ok(_) => {
                resource.there = Some(created);
                (resource.renew, resource.changes) = (false, None);
                resource.failures = 0;
                if created { ResourceState::Created } else { ResourceState::Removed }
            }
            Err(fault) => {
                resource.failures += 1;
                resource.not_before = now + backoff(resource.failures, &mut random);
                let failures = resource.failures;
                if fault.kind == FaultKind::EngineAway {
                    self.random = random;
                    return self.engine_did_not_answer(fault.message, failures);
                }
                // What could not be removed may be gone all the same; the next look tells.
                resource.there = resource.there.filter(|there| !there);
                if asked_again || (fault.kind == FaultKind::Temporary && failures < TRIES) {
                    ResourceState::Retrying(next_try(&fault, resource.not_before.since(now)))
                } else {
                    let what = if kind == Kind::Network { "network" } else { "volume" };
                    let reason = format!("{what} {}: {fault}", resource.name);
                    resource.failed = Some(reason.clone());
                    ResourceState::Failed(reason)
                }
            }
        };
        let (name, is_doubtful) = (resource.name.clone(), resource.there.is_none());
        self.random = random;
        let network = (kind == Kind::Network && created).then(|| self.networks[key].clone());
        if is_doubtful || network.is_some_and(|network| self.units.values().any(|unit| self.is_unseen_by(unit, &network))) {
            self.look();
        }
        self.tell(Notice::Resource { resource: kind.id(key), state, name });
    }

    fn image_acted(&mut self, ticket: &Ticket, result: Result<Outcome, Fault>) {
        let (asked, now) = (self.asked, self.now);
        let Some(image) = self.images.get_mut(&ticket.resource) else { return };
        let Some((_, way)) = image.busy.take_if(|(serial, _)| *serial == ticket.serial) else { return };
        // A build that was asked for during a pull is still to come.
        let renewed = image.renew.take_if(|renew| *renew == way);
        image.blind_until = asked;
        let outdated = std::mem::take(&mut image.outdated);
        if std::mem::take(&mut image.called_off) && result.is_err() {
            // Whoever waits for it again by now gets it by another try; what was to replace one that is there is still to do.
            let renewed = if outdated { Some(Way::Build) } else { renewed };
            image.renew = image.renew.or(renewed).filter(|_| image.wanted);
            return;
        }
        if outdated {
            // Whatever became of it, it is of files that are others by now.
            image.renew = Some(Way::Build);
            return;
        }
        let built = way == Way::Build;
        let state = match result {
            Ok(Outcome::Image { id }) => {
                image.id = Some(id.clone());
                image.failures = 0;
                let asked_by = image.asked_by.replace(BTreeSet::new());
                if let ResourceId::Image(service) = &ticket.resource {
                    let service = service.clone();
                    if way == Way::Pull {
                        self.built.remove(&service);
                    }
                    let (keepers, reference) = (&self.keepers, image.reference.clone());
                    // A pull leaves alone what the other names stand for.
                    let has_name = |unit: &Unit| {
                        let own = unit.spec.deployment.image_of(&unit.id.service);
                        own.is_some_and(|own| is_same_image(&own, &reference))
                    };
                    let is_of_it = |unit: &Unit| {
                        let name = &unit.id.service;
                        *keeper_among(keepers, name) == service
                            && asked_by.as_ref().is_none_or(|asked_by| asked_by.contains(name))
                            && (way == Way::Build || has_name(unit))
                    };
                    for unit in self.units.values_mut().filter(|unit| unit.goal == Goal::Up && is_of_it(unit)) {
                        unit.image = Some(id.clone());
                    }
                }
                self.mount_anew(&ticket.resource, way, asked_by.as_ref());
                if built { ResourceState::Built } else { ResourceState::Pulled }
            }
            Ok(_) => return,
            Err(fault) if way == Way::Pull && image.source == Source::PullElseBuild && fault.kind != FaultKind::EngineAway => {
                // It can be built as well; where one is there already it will do.
                image.unpullable = true;
                let instead = if image.id.is_some() { "the one that is here is used" } else { "it is built" };
                let text = format!("{} cannot be pulled, so {instead}: {fault}", image.reference);
                let kept = image.id.is_some().then(|| ResourceState::Kept("it cannot be pulled".to_owned()));
                self.say(Level::Info, text);
                let Some(kept) = kept else { return };
                kept
            }
            // A pull is tried again where it is done, as long as that makes sense.
            Err(fault)
                if fault.kind == FaultKind::EngineAway
                    || (built && fault.kind == FaultKind::Temporary && image.failures + 1 < TRIES) =>
            {
                image.failures += 1;
                image.renew = image.renew.or(renewed);
                image.not_before = now + backoff(image.failures, &mut self.random);
                let (failures, wait) = (image.failures, image.not_before.since(now));
                if fault.kind == FaultKind::EngineAway {
                    self.engine_did_not_answer(fault.message, failures);
                } else {
                    self.setback(ticket.resource.clone(), next_try(&fault, wait));
                }
                return;
            }
            Err(fault) => {
                let reason = format!("{} {}: {fault}", if built { "build of" } else { "pull of" }, image.reference);
                image.failed = image.renew.is_none().then(|| reason.clone());
                ResourceState::Failed(reason)
            }
        };
        let name = self.images[&ticket.resource].reference.clone();
        self.tell(Notice::Resource { resource: ticket.resource.clone(), state, name });
    }

    /// Tells that an image did not come, and when it is tried again.
    pub(super) fn setback(&mut self, resource: ResourceId, text: String) {
        let Some(image) = self.images.get(&resource).filter(|image| !image.called_off) else { return };
        let name = image.reference.clone();
        self.tell(Notice::Resource { resource, state: ResourceState::Retrying(text), name });
    }

    fn unit_acted(&mut self, id: &UnitId, ticket: &Ticket, result: Result<Outcome, Fault>) {
        if self.second_acted(id, ticket, &result) {
            return;
        }
        let (asked, now) = (self.asked, self.now);
        let Some(unit) = self.units.get_mut(id) else { return };
        let Some(busy) = unit.busy.take_if(|busy| busy.serial == ticket.serial) else { return };
        unit.blind_until = asked;
        let container = unit.kind == UnitKind::Container;
        let is_another = container && matches!(busy.step, Step::Table(next::Step::Create | next::Step::TakeOver));
        match result {
            Err(fault) => self.unit_fault(id, busy.step, &fault),
            Ok(outcome) => match (busy.step, outcome) {
                (Step::Table(next::Step::Create), outcome) => {
                    unit.have = Have::Created;
                    unit.made = Some(busy.spec.hash.clone());
                    unit.made_spec = Some(busy.spec);
                    unit.made_image = unit.image.clone();
                    unit.made_mounted.clone_from(&unit.mounted);
                    (unit.recreate, unit.renew_volumes, unit.in_place) = (false, false, false);
                    unit.anonymous.clear();
                    unit.unprobed = None;
                    if let Outcome::Created { container } = outcome {
                        unit.container = Some(container);
                    }
                }
                (Step::Table(next::Step::Succeed), Outcome::Created { container }) => {
                    unit.successor = Some(Successor {
                        container,
                        name: busy.spec.deployment.container_name(id),
                        replaces: unit.container.clone().unwrap_or_default(),
                        hash: Some(busy.spec.hash.clone()),
                        spec: Some(busy.spec),
                        image: unit.image.clone(),
                        mounted: unit.mounted.clone(),
                    });
                }
                (Step::Table(next::Step::Succeed), Outcome::Done) => {
                    // Somebody else's container is just as it is wanted.
                    unit.made = Some(busy.spec.hash.clone());
                    unit.made_spec = Some(busy.spec);
                }
                (Step::Table(next::Step::TakeOver), _) => unit.take_over(),
                (Step::Table(next::Step::Discard), _) => unit.successor = None,
                (Step::Table(next::Step::Start), Outcome::Started { pid, birth }) => {
                    unit.have = Have::Running { since: now, leader_exit: None };
                    unit.pid = pid;
                    unit.birth = Some(birth);
                    unit.started_generation = busy.generation;
                    begin_life(unit, now, !self.engine_health);
                }
                (Step::Table(next::Step::Stop) | Step::Kill, Outcome::Done) => self.life_ended(id, Exit::Unknown),
                (Step::Table(next::Step::Remove), outcome) => {
                    unit.have = Have::Absent;
                    (unit.made, unit.made_spec, unit.made_image, unit.container) = (None, None, None, None);
                    unit.made_mounted.clear();
                    (unit.networks, unit.volumes, unit.shares) = Default::default();
                    if let Outcome::Removed { anonymous } = outcome {
                        unit.anonymous = anonymous;
                    }
                }
                (Step::Assess, Outcome::Assessed(assessment)) => self.assessed(id, &busy.spec.hash, assessment),
                (Step::Conclude, Outcome::Concluded(conclusion)) => {
                    unit.task.hold = Hold::Free;
                    self.concluded(id, &busy.spec.hash, conclusion);
                }
                // The signal is sent; the end will be told. A start that says no more than "done" never happens.
                (
                    Step::Table(next::Step::Stop | next::Step::Start | next::Step::Succeed)
                    | Step::Kill
                    | Step::Assess
                    | Step::Conclude,
                    _,
                ) => {}
            },
        }
        if is_another && self.units[id].have == Have::Created {
            self.neighbours_move(&id.service);
        }
        if container {
            self.look();
        }
    }

    fn unit_fault(&mut self, id: &UnitId, step: Step, fault: &Fault) {
        let now = self.now;
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        match step {
            Step::Table(next::Step::Stop) => unit.stopping = None,
            // It may have been started all the same, and then it was us.
            Step::Table(next::Step::Start) => unit.ours_until = self.asked + 1,
            // What was not told to an edge that failed is told to the next.
            Step::Assess => unit.task.dependency_ran |= unit.task.basis.dependency_ran,
            Step::Table(_) | Step::Kill | Step::Conclude => {}
        }
        unit.failures += 1;
        unit.not_before = now + backoff(unit.failures, &mut self.random);
        unit.failure = Some(fault.message.clone());
        let lasting = match fault.kind {
            FaultKind::EngineAway => false,
            FaultKind::Temporary => unit.failures >= TRIES,
            FaultKind::Permanent | FaultKind::NoProgram | FaultKind::NotExecutable => true,
        };
        match step {
            Step::Table(
                next::Step::Create
                | next::Step::Succeed
                | next::Step::TakeOver
                | next::Step::Discard
                | next::Step::Start
                | next::Step::Remove,
            )
            | Step::Assess => unit.given_up |= lasting,
            Step::Conclude => {
                unit.given_up |= lasting;
                if lasting {
                    unit.task.phase = Phase::Failed;
                }
            }
            Step::Table(next::Step::Stop) | Step::Kill => {}
        }
        let failures = unit.failures;
        if fault.kind == FaultKind::EngineAway {
            self.engine_did_not_answer(fault.message.clone(), failures);
        }
    }

    /// An action that the engine did not answer may have been asked long ago, so a look says whether it is away now. One that it
    /// leaves unanswered again and again, answering looks meanwhile, counts as its absence: nobody should wait for it.
    fn engine_did_not_answer(&mut self, message: String, failures: u32) {
        if failures < TRIES { self.look() } else { self.engine_is_away(message) }
    }

    // ── tasks ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn assessed(&mut self, id: &UnitId, hash: &ConfigHash, assessment: Assessment) {
        let now = self.now;
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        // A restart asked for in the meantime makes it due whatever its check says; an answer about another definition, or
        // from before a dependency ran, says nothing.
        if unit.task.phase != Phase::Unasked || *hash != unit.spec.hash {
            return;
        }
        match assessment {
            Assessment::UpToDate if unit.task.dependency_ran => return,
            Assessment::UpToDate => {
                unit.task.hold = Hold::Free;
                unit.task.phase = Phase::UpToDate;
                unit.task.done = Some(Done { hash: hash.clone(), lives: unit.task.basis.lives.clone() });
                unit.task.timer.ran(true, "up to date", now);
            }
            Assessment::Due(reason) => unit.task.is_due(reason),
        }
        unit.task.hash = Some(hash.clone());
    }

    fn concluded(&mut self, id: &UnitId, hash: &ConfigHash, conclusion: Conclusion) {
        let now = self.now;
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        if !matches!(unit.task.phase, Phase::Ended(_)) {
            return;
        }
        match conclusion {
            Conclusion::Succeeded => {
                let holds = *hash == unit.spec.hash && !unit.task.dependency_ran;
                unit.task.phase = if holds { Phase::Succeeded } else { unit.unasked() };
                unit.task.hash = Some(hash.clone());
                unit.task.done = Some(Done { hash: hash.clone(), lives: unit.task.basis.lives.clone() });
                unit.failures = 0;
                unit.failure = None;
                unit.task.timer.ran(true, "done", now);
                let service = unit.id.service.clone();
                self.task_ran(&service);
            }
            // Its check was called off, or might as well have been.
            Conclusion::Failed(_) if matches!(unit.goal, Goal::Stopped | Goal::Gone) => unit.task.phase = Phase::Unasked,
            Conclusion::Failed(reason) => {
                unit.failures += 1;
                unit.failure = Some(reason.clone());
                unit.task.timer.ran(false, reason.clone(), now);
                unit.not_before = now + backoff(unit.failures, &mut self.random);
                if again(unit.spec.service().common.restart, true, unit.failures) {
                    unit.restarts += 1;
                    unit.task.is_due(reason);
                } else {
                    unit.task.phase = Phase::Failed;
                    unit.given_up = true;
                }
            }
        }
    }

    /// A task has run with success: tasks that depend on it are due, and whoever names it with `restart: true` is restarted.
    fn task_ran(&mut self, service: &ServiceName) {
        let dependents: Vec<(UnitId, bool)> = (self.units.values())
            .filter_map(|unit| {
                let dependency = unit.spec.service().common.depends_on.get(service)?;
                Some((unit.id.clone(), dependency.restart))
            })
            .collect();
        for (id, restart) in dependents {
            let unit = self.units.get_mut(&id).expect("just listed");
            if unit.kind == UnitKind::Task {
                unit.task.dependency_ran = true;
                if unit.is_done() && unit.goal == Goal::Up && !unit.is_alive() {
                    unit.task.phase = unit.unasked();
                }
            } else if restart && matches!(unit.goal, Goal::Up | Goal::Left) && unit.is_alive() {
                self.restart_unit(&id, &format!("{service} has run again"));
            }
        }
    }

    /// A restart that somebody or something asks for: counted, told, and carried on to those who ask to follow.
    pub(super) fn restart_unit(&mut self, id: &UnitId, reason: &str) {
        let (is_seen, looks) = (self.seen >= self.look_first, self.asked);
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        if unit.goal == Goal::Left {
            if !is_seen && unit.kind == UnitKind::Container {
                // Whether it runs at all, the first look tells.
                self.following.insert(id.clone(), reason.to_owned());
                return;
            }
            // What an earlier supervisor left running is looked after again.
            unit.goal = Goal::Up;
            unit.ours_again(looks);
            self.need_again(std::slice::from_ref(id));
        }
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        unit.bump(reason);
        let (what, service) = (if unit.kind == UnitKind::Task { "run" } else { "restart" }, unit.id.service.clone());
        let task = unit.kind == UnitKind::Task;
        self.tell(Notice::Because { resource: ResourceId::Unit(id.clone()), what: what.to_owned(), reason: reason.to_owned() });
        if !task {
            self.followers_restart(&service, &BTreeSet::new());
        }
    }

    /// Restarts those that the first look has found running, and that were to be restarted if they do.
    pub(super) fn follow_what_was_seen(&mut self) {
        for (id, reason) in std::mem::take(&mut self.following) {
            let follows = |unit: &Unit| {
                let is_wanted = matches!(unit.goal, Goal::Up | Goal::Left);
                is_wanted && unit.is_alive() && unit.generation == unit.started_generation
            };
            if self.units.get(&id).is_some_and(follows) {
                self.restart_unit(&id, &reason);
            }
        }
    }

    /// Dependents that name a service with `restart: true` are restarted with it, unless they are restarted anyway.
    pub(super) fn followers_restart(&mut self, service: &ServiceName, except: &BTreeSet<UnitId>) {
        for id in self.followers(service, except) {
            self.restart_unit(&id, &format!("{service} is restarted"));
        }
    }

    /// Those who name a service with `restart: true` and are not restarted anyway.
    pub(super) fn followers(&self, service: &ServiceName, except: &BTreeSet<UnitId>) -> Vec<UnitId> {
        let followers = (self.units.values())
            .filter(|unit| !except.contains(&unit.id) && unit.kind != UnitKind::Task)
            .filter(|unit| matches!(unit.goal, Goal::Up | Goal::Left) && !unit.ghost)
            .filter(|unit| unit.is_alive() && unit.generation == unit.started_generation)
            .filter(|unit| unit.spec.service().common.depends_on.get(service).is_some_and(|dependency| dependency.restart));
        followers.map(|unit| unit.id.clone()).collect()
    }

    // ── ends of lives ──────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn exited(&mut self, id: &UnitId, incarnation: Incarnation, exit: Exit, remaining: u32) {
        if self.second_exited(id, incarnation, exit, remaining) {
            return;
        }
        let now = self.now;
        let Some(unit) = self.units.get_mut(id) else { return };
        if unit.incarnation != incarnation {
            return;
        }
        // It may overtake the answer to its own start; that answer is then late news of a busy that is no more.
        if let Some(busy) = unit.busy.take_if(|busy| busy.step == Step::Table(next::Step::Start)) {
            unit.have = Have::Running { since: now, leader_exit: None };
            unit.started_generation = busy.generation;
            begin_life(unit, now, !self.engine_health);
        }
        let Have::Running { since, leader_exit } = unit.have else { return };
        let exit = leader_exit.unwrap_or(exit);
        self.persist = true;
        if remaining > 0 {
            unit.have = Have::Running { since, leader_exit: Some(exit) };
            unit.health.next = None;
            // Those who left the group have not heard the first signal.
            if let Some(stopping) = &unit.stopping
                && unit.busy.is_none()
                && leader_exit.is_none()
                && !stopping.killed
            {
                let (deadline, cause) = (stopping.deadline, stopping.cause);
                self.signal_leftovers(id, deadline, cause);
            }
            return;
        }
        unit.busy = None;
        self.life_ended(id, exit);
    }

    fn signal_leftovers(&mut self, id: &UnitId, deadline: crate::base::moment::Moment, cause: Cause) {
        let serial = self.next_serial();
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        let spec = unit.existing_spec();
        let grace = deadline.since(self.now);
        unit.busy = Some(super::unit::Busy {
            serial,
            step: Step::Table(next::Step::Stop),
            spec: spec.clone(),
            generation: unit.generation,
            called_off: false,
        });
        unit.stopping = Some(super::unit::Stopping { deadline, killed: false, cause });
        let ticket = unit.ticket(serial, &spec);
        let incarnation = unit.incarnation;
        let container = self.units[id].container.clone();
        self.act(ticket, crate::plan::action::Action::Stop { spec, incarnation, container, grace });
    }

    /// A life is over to the last process.
    pub(super) fn life_ended(&mut self, id: &UnitId, exit: Exit) {
        let now = self.now;
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        let Have::Running { since, leader_exit } = unit.have else { return };
        let exit = leader_exit.unwrap_or(exit);
        let uptime = now.since(since);
        let stopping = unit.stopping.take();
        let ending = unit.ending.take();
        unit.have = Have::Exited { exit, at: now };
        unit.before = Duration::ZERO;
        unit.pid = None;
        unit.between_lives = false;
        unit.paused = false;
        unit.killed = stopping.as_ref().is_some_and(|stopping| stopping.killed);
        unit.health = HealthState::default();
        let condemned = std::mem::take(&mut unit.condemned);
        let wished = stopping.as_ref().is_some_and(|stopping| is_wish(stopping.cause)) || unit.goal != Goal::Up || condemned;
        unit.stopped = wished;
        unit.again = false;
        let was_ready = std::mem::take(&mut unit.was_ready);
        if wished {
            unit.failures = 0;
            unit.not_before = now;
            // Wanted again while it was ending.
            unit.again = unit.goal == Goal::Up;
            if unit.kind == UnitKind::Task && matches!(unit.task.phase, Phase::Due(_)) && unit.goal != Goal::Up {
                unit.task.phase = unit.unasked();
            }
            return;
        }
        if unit.kind == UnitKind::Container {
            unit.failure = (!exit.is_success()).then(|| exit.to_string());
            return;
        }
        if unit.kind == UnitKind::Task {
            match ending {
                Some(Ending::Late(limit)) => {
                    unit.task.phase = Phase::Ended(Exit::Unknown);
                    let hash = unit.spec.hash.clone();
                    let reason = format!("not done within {}", crate::base::duration::format(limit));
                    self.concluded(id, &hash, Conclusion::Failed(reason));
                }
                Some(Ending::Unhealthy(_)) | None => unit.task.phase = Phase::Ended(exit),
            }
            return;
        }
        let reason = match &ending {
            Some(Ending::Late(limit)) => Some(format!("not ready within {}", crate::base::duration::format(*limit))),
            Some(Ending::Unhealthy(output)) => Some(format!("unhealthy: {}", output.trim())),
            None if unit.probed().is_some() && !was_ready => Some(format!("ended before it was ready ({exit})")),
            None if !exit.is_success() => Some(exit.to_string()),
            None => None,
        };
        let failed = reason.is_some();
        if uptime >= STABLE {
            unit.failures = 0;
        }
        unit.failures += 1;
        unit.failure.clone_from(&reason);
        unit.not_before = now + backoff(unit.failures, &mut self.random);
        let unhealthy = matches!(ending, Some(Ending::Unhealthy(_)));
        unit.again = unhealthy || again(unit.spec.service().common.restart, failed, unit.failures);
        if unit.again {
            unit.restarts += 1;
        } else {
            unit.given_up = failed;
        }
    }

    // ── probes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn probed(&mut self, ticket: &Ticket, result: ProbeResult) {
        let ResourceId::Unit(id) = &ticket.resource else { return };
        if self.second_probed(id, ticket, result.healthy, &result.output) {
            return;
        }
        let now = self.now;
        let Some(unit) = self.units.get_mut(id) else { return };
        if unit.incarnation != ticket.incarnation || unit.health.in_flight != Some(ticket.serial) {
            return;
        }
        if unit.health.passes_over(result.healthy, now) {
            return;
        }
        self.judged(id, result.healthy, result.output);
    }

    pub(super) fn judged(&mut self, id: &UnitId, healthy: bool, output: String) {
        let now = self.now;
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        if let Some(check) = unit.early.as_deref().filter(|_| unit.probed().is_none()).cloned() {
            self.persist |= unit.health.judge_beside_engine(&check, healthy, output, now);
            if healthy {
                unit.was_ready = true;
                unit.leave_to_engine();
            }
            return;
        }
        let Some(check) = unit.probed().cloned() else { return };
        let words = output.clone();
        let changed = unit.health.judge(&check, healthy, output, now);
        unit.went_on = None;
        unit.was_ready |= healthy;
        self.persist |= changed;
        if changed && unit.health.verdict == Some(Health::Unhealthy) && unit.restarts_when_unhealthy() {
            unit.ending = Some(Ending::Unhealthy(words));
        }
    }

    pub(super) fn line_matched(&mut self, id: &UnitId, incarnation: Incarnation) {
        let now = self.now;
        let Some(unit) = self.units.get_mut(id) else { return };
        if let Some(second) = unit.second.as_mut().filter(|second| second.incarnation == incarnation) {
            second.line_matched(now);
        } else if unit.incarnation == incarnation {
            // It may overtake the answer to its own start; the life that this answer begins knows of it.
            unit.line_of = Some(incarnation);
            unit.health.line_seen(now);
        }
    }

    // ── things outside ─────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn image_arrived(&mut self, reference: &str) {
        let waiting: Vec<UnitId> = (self.units.values())
            .filter(|unit| unit.goal == Goal::Up && (unit.is_alive() || unit.kind == UnitKind::Task))
            .filter(|unit| {
                let rules = unit.spec.service().process().map(|process| process.restart_on.as_slice()).unwrap_or_default();
                rules.iter().any(|RestartOn::ImagePulled(pattern)| crate::plan::environment::glob(pattern, reference))
            })
            .map(|unit| unit.id.clone())
            .collect();
        for id in waiting {
            // A task that has not been asked about yet will see the image anyway.
            if self.units[&id].task.phase != Phase::Unasked || self.units[&id].kind != UnitKind::Task {
                self.restart_unit(&id, &format!("image {reference} arrived"));
            }
        }
    }

    pub(super) fn watch_trouble(&mut self, rule: RuleId, message: String) {
        self.watches.trouble(rule, &message);
        self.say(Level::Warning, message);
    }

    /// Does what the rules want whose files have become quiet.
    pub(super) fn fire_watches(&mut self) {
        let mut asked = BTreeSet::new();
        for change in self.watches.take_due(self.now) {
            match change.rule.action {
                WatchAction::Restart => self.restart_for(&change, &mut asked),
                WatchAction::Rebuild => self.rebuild_for(&change),
                WatchAction::Sync | WatchAction::SyncRestart | WatchAction::SyncExec => self.sync_for(&change),
            }
        }
    }

    fn restart_for(&mut self, change: &Change, asked: &mut BTreeSet<UnitId>) {
        let ids: Vec<UnitId> =
            self.units_of(&change.service).filter(|unit| unit.goal == Goal::Up).map(|unit| unit.id.clone()).collect();
        if change.noticed.is_none() {
            if self.watches.joins(change, self.now) {
                return;
            }
            let brakes: Vec<Moment> = ids.iter().filter_map(|id| self.brake(id, change.first())).collect();
            if let Some(until) = brakes.into_iter().max() {
                return self.watches.hold(change.clone(), self.now, until);
            }
        }
        for id in ids {
            if !asked.insert(id.clone()) {
                continue;
            }
            let unit = self.units.get_mut(&id).expect("just listed");
            if let (Have::Running { since, .. }, Some(noticed)) = (unit.have, change.noticed)
                && since > noticed
            {
                continue;
            }
            unit.given_up = false;
            unit.failures = 0;
            unit.not_before = self.now;
            let is_due = unit.generation == unit.started_generation || unit.kind == UnitKind::Task || !unit.is_alive();
            if is_due {
                self.reload_or_restart(&id, &change.reason());
            }
        }
    }

    /// A service that restarts itself by what it writes is braked after five turns: what changes so soon after its start waits, each time
    /// for twice as long. Nobody can tell such a change from a save of its user's, so none is passed over. Until when this one waits, if it
    /// does.
    fn brake(&mut self, id: &UnitId, path: &std::path::Path) -> Option<Moment> {
        /// What it does at its start.
        const AT_ONCE: Duration = Duration::from_secs(1);
        /// What it does later, or its user does.
        const SOON: Duration = Duration::from_secs(3);
        /// So much a change of either kind weighs, and so much is let through.
        const WEIGHTS: [u32; 2] = [4, 1];
        const TURNS: u32 = 5 * WEIGHTS[0];
        const FIRST_WAIT: Duration = Duration::from_secs(10);
        const LONGEST_WAIT: Duration = Duration::from_secs(300);
        let now = self.now;
        let unit = self.units.get_mut(id).expect("looked up by the caller");
        let rises = unit.second.as_ref().and_then(SecondLife::rises_since);
        let runs = if let Have::Running { since, .. } = unit.have { Some(since) } else { None };
        let age = rises.into_iter().chain(runs).map(|since| now.since(since)).min();
        let weight = match age {
            _ if unit.is_going_down() => WEIGHTS[0],
            Some(age) if age < AT_ONCE => WEIGHTS[0],
            Some(age) if age < SOON => WEIGHTS[1],
            Some(_) | None => {
                (unit.self_made_changes, unit.braked) = (0, Duration::ZERO);
                return None;
            }
        };
        unit.self_made_changes = unit.self_made_changes.saturating_add(weight);
        if unit.self_made_changes <= TURNS {
            return None;
        }
        let wait = (unit.braked * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        unit.braked = wait;
        let text = format!(
            "{id} was restarted again and again just after its start, last by a change of {}: if it writes that file itself, ignore it in \
             `develop.watch`; such changes wait {} from now on",
            path.display(),
            crate::base::duration::format(wait)
        );
        self.say(Level::Warning, text);
        Some(now + wait)
    }
}

/// A life begins. `probe_beside_engine`: whatever checks its engine runs, we run them as well until the first success.
pub(super) fn begin_life(unit: &mut Unit, now: crate::base::moment::Moment, probe_beside_engine: bool) {
    unit.health = match unit.probed() {
        Some(check) => HealthState::begin(check, now),
        None => HealthState::default(),
    };
    unit.early = None;
    match unit.check_of_engine().cloned() {
        Some(check) if probe_beside_engine => unit.probe_beside_engine(check, now),
        Some(_) => unit.health.verdict = Some(Health::Starting),
        None => {}
    }
    unit.health.line_seen = unit.line_of == Some(unit.incarnation);
    unit.was_ready = false;
    unit.before = Duration::ZERO;
    unit.inspected = unit.kind != UnitKind::Container;
    unit.again = false;
    (unit.paused, unit.went_on) = (false, None);
    unit.stopped = false;
    unit.killed = false;
    unit.ending = None;
    unit.stopping = None;
    unit.given_up = false;
    unit.between_lives = false;
    unit.reload_failure = None;
}

/// How long it is until it is tried again, and what went wrong: where there is little room, the first of it is seen.
fn next_try(fault: &Fault, wait: Duration) -> String {
    format!("next try in {:.1} s: {fault}", wait.as_secs_f64())
}
