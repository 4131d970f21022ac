//! Requests: each changes what is wanted, and is answered when its wish is fulfilled.
//!
//! Two things may be asked at once; the last word on a service wins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::audience::Audience;
use super::event::RequestId;
use super::gate::Gate;
use super::machine::{Images, Owned, Signals, Supervisor};
use super::notice::{Level, Notice, does_not_answer};
use super::request::{Abort, Down, Kill, Recreate, Remove, Reply, Request, Restart, Select, Stop, Up};
use super::resource::{Image, Resource, Want};
use super::status::UnitKind;
use super::unit::{Cause, Have, Step, Stopping, Unit};
use super::wishes::{Aim, Lease, Wish};
use crate::base::name::{ServiceName, UnitId};
use crate::model::service::Service;
use crate::model::stack::Stack;
use crate::plan::action::{Action, Fault, FaultKind, Outcome, Prune, ResourceId, Ticket};
use crate::plan::desired::{Deployment, UnitSpec};
use crate::plan::diff;
use crate::plan::next::{self, Goal};
use crate::plan::provision::Source;

impl Supervisor {
    pub(super) fn requested(&mut self, id: RequestId, request: Request) {
        self.asked_anything = true;
        self.persist = true;
        // What a snapshot says of containers may be long past; nothing is said or decided before somebody has looked.
        let looks_itself = matches!(&request, Request::Down(down) if down.services.is_empty());
        let unseen = self.is_unknown() && !looks_itself
            || self.seen < self.look_first && self.engine_away.is_none() && self.touches_engine();
        // An `up` asks for a look of its own, and decides nothing about containers before it.
        let is_about_no_unit = matches!(
            request,
            Request::Deployment | Request::Follow | Request::Detach | Request::CallOff | Request::Attached { .. }
        );
        if unseen && !is_about_no_unit && !matches!(request, Request::Up(_)) {
            self.look();
            return self.parked.push((id, request));
        }
        match request {
            // Nobody is left who could keep it: the caller's connection ends with us, and it asks our successor.
            Request::Up(_) | Request::Start(_) | Request::Restart(_) | Request::Watch(_) if self.terminating => {}
            Request::Up(up) => self.up(id, *up),
            Request::Start(select) => self.start(id, &select),
            Request::Stop(stop) => self.stop(id, &stop),
            Request::Restart(restart) => self.restart(id, &restart),
            Request::Kill(kill) => self.kill(id, &kill),
            Request::Pause(pause) => self.pause(id, &pause),
            Request::Down(down) => self.down(id, &down),
            Request::Remove(remove) => self.remove(id, &remove),
            Request::Status => {
                let status = self.status();
                self.reply(id, Reply::Status(Box::new(status)));
            }
            Request::Why { service } => {
                let reply = match self.why(&service) {
                    Some(why) => Reply::Why(Box::new(why)),
                    None => {
                        Reply::NotUp { reason: format!("`{service}` is not up; `baistack up {service}` makes and starts it") }
                    }
                };
                self.reply(id, reply);
            }
            Request::Deployment => {
                let deployment = self.deployment.as_ref().map(|deployment| Box::new(Deployment::clone(deployment)));
                self.reply(id, Reply::Deployment(deployment));
            }
            Request::Watch(select) => self.watch_for(id, &select),
            Request::Follow => {}
            Request::Attached { unit, container } => self.is_attached(id, &unit, &container),
            Request::Detach => {
                self.leases.remove(&id);
                self.reply(id, Reply::Done { changed: false, warnings: Vec::new() });
            }
            Request::CallOff => self.call_off(id),
        }
    }

    /// Whether nothing has ever been said of the environment here, and nobody has looked yet: Compose may have made all of it.
    fn is_unknown(&self) -> bool {
        self.deployment.is_none() && self.units.is_empty() && self.seen == 0 && self.engine_away.is_none()
    }

    /// Carries on with what waited for the first look, once that has been had or cannot be.
    pub(super) fn unpark(&mut self) {
        if (self.seen >= self.look_first || self.engine_away.is_some()) && !self.is_unknown() {
            for (id, request) in std::mem::take(&mut self.parked) {
                self.requested(id, request);
            }
        }
    }

    pub(super) fn disconnected(&mut self, id: RequestId) {
        self.parked.retain(|(parked, _)| *parked != id);
        self.signals.remove(&id);
        self.watchers.remove(&id);
        self.wishes.remove(&id);
        if let Some(lease) = self.leases.remove(&id) {
            let units: Vec<UnitId> = lease.started.into_iter().collect();
            self.set_goal(&units, Goal::Stopped);
        }
    }

    // ── up ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn up(&mut self, id: RequestId, up: Up) {
        let deployment = Arc::new(up.deployment.clone());
        for name in &up.services {
            if !deployment.stack.services.contains_key(name) {
                return self.reply(id, Reply::Refused { reason: format!("no service `{name}` in this stack") });
            }
        }
        let selected = select(&deployment.stack, &up.services, up.no_deps);
        let before = self.deployment.replace(deployment.clone());
        (self.going_down, self.takes_volumes) = (false, false);
        if !up.beside {
            self.engine_health = up.engine_health;
            if up.engine_health {
                self.units.values_mut().for_each(Unit::leave_to_engine);
            }
        }
        (self.owned, self.rmi) = (Owned::Left, Images::Left);
        self.note_changes(before.as_deref());
        // The look that follows shows what is to be made anew by now.
        self.networks.values_mut().chain(self.volumes.values_mut()).for_each(Resource::let_be);
        self.keepers.retain(|user, keeper| {
            let is_part = |name: &ServiceName| deployment.stack.services.contains_key(name);
            is_part(user) && is_part(keeper)
        });
        // Those that are still asked for say so below.
        self.forget_uses_of_images(&deployment);
        let mut units = Vec::new();
        // Of these it is awaited that they are gone.
        let mut leaving = Vec::new();
        let mut idle = Vec::new();
        let mut warnings = Vec::new();
        for name in &selected {
            let service = &deployment.stack.services[name];
            let named = up.services.is_empty() || up.services.contains(name);
            let present = self.units_of(name).filter(|unit| !unit.ghost && !unit.is_absent() && unit.goal != Goal::Gone).count();
            let stays = up.beside && present > 0;
            let armed = if service.is_process() { up.watch } else { up.watch_containers };
            match (stays, armed) {
                (true, _) => {}
                (false, true) => drop(self.watched.insert(name.clone())),
                (false, false) => drop(self.watched.remove(name)),
            }
            let usual = if stays { u32::try_from(present).unwrap_or(u32::MAX) } else { service.replicas() };
            // What a provider looks after cannot be scaled.
            let scaled = up.scale.get(name).copied().filter(|_| service.provider().is_none());
            let replicas = scaled.unwrap_or(usual);
            // Where only their number is asked for, replicas that stay are not touched.
            let is_counted = stays && up.scale.contains_key(name);
            // What is said of images holds for all that is brought up, as in Compose.
            self.need(&deployment, service, name, Some(&up).filter(|_| named || !up.beside), is_counted);
            if replicas == 0 && service.needs_engine() {
                idle.push(name.clone());
            }
            let first = UnitId::new(name.clone(), 1);
            // One definition, however many replicas: its hash is no small matter.
            let spec = Self::spec_of(&deployment, &first).expect("a selected service is part of its deployment");
            for replica in 1..=replicas {
                let unit = UnitId::new(name.clone(), replica);
                self.want_up(UnitSpec { unit: unit.clone(), ..spec.clone() }, &up, named, before.as_deref());
                units.push(unit);
            }
            if up.beside && scaled.is_none() {
                // However many there are, and whoever has made them.
                self.scaled.remove(name);
                continue;
            }
            self.scaled.insert(name.clone(), replicas);
            let surplus =
                self.units.values().filter(|unit| unit.id.service == *name && self.is_to_leave(&unit.id) && !unit.one_off);
            leaving.extend(surplus.map(|unit| unit.id.clone()));
        }
        self.set_goal(&leaving, Goal::Gone);
        self.part_images(&deployment, &selected);
        for reference in &deployment.stack.images {
            let image = self
                .images
                .entry(ResourceId::NamedImage(reference.clone()))
                .or_insert_with(|| Image::new(reference.clone(), Source::Pull));
            image.wanted = true;
            image.failed = None;
        }
        match (self.orphans(&deployment), up.remove_orphans) {
            (orphans, true) => {
                self.set_goal(&orphans, Goal::Gone);
                leaving.extend(orphans);
            }
            (orphans, false) if orphans.is_empty() => {}
            (orphans, false) => warnings.push(left_behind(&orphans)),
        }
        self.orphans_go = up.remove_orphans;
        // What runs of the others, the look tells.
        let unseen = self.seen < self.look_first;
        let is_known_alive = |unit: &Unit| unit.is_alive() && !(unseen && unit.kind == UnitKind::Container);
        let started = units.iter().filter(|unit| !is_known_alive(&self.units[*unit])).cloned().collect();
        self.overrule(id, &units, "up", &[Aim::Down]);
        self.look_now();
        let give_up_at = up.wait_timeout.map(|limit| self.now + limit);
        let aim = match (up.no_start, up.wait) {
            (true, _) => Aim::Made,
            (false, true) => Aim::Ready,
            (false, false) => Aim::Started,
        };
        leaving.extend(units.iter().cloned());
        self.wish(
            id,
            Wish { give_up_at, warnings, patient: true, sweeps: true, idle, images: !up.beside, ..Wish::of(aim, leaving) },
        );
        if up.attached {
            let audience = Audience::of(&up.shown);
            self.leases.insert(id, Lease { units, started, look: self.look_first, abort: up.abort, first_end: None, audience });
        }
        debug_assert!(!matches!(up.abort, Abort::OnExit | Abort::OnFailure) || up.attached);
    }

    fn want_up(&mut self, spec: UnitSpec, up: &Up, named: bool, before: Option<&Deployment>) {
        let (deployment, id) = (Arc::clone(&spec.deployment), &spec.unit.clone());
        let goal = if up.no_start { Goal::Created } else { Goal::Up };
        let recreate = match up.recreate {
            Recreate::Always if named => true,
            Recreate::Always | Recreate::WhenChanged | Recreate::Never => up.recreate_dependencies && !named,
        };
        // Of what was not looked at yet the first look tells whether it has to be started.
        let (seen, looks) = (self.seen >= self.look_first, self.asked);
        let unit = self.units.entry(id.clone()).or_insert_with(|| Unit::new(spec.clone(), goal));
        let (old_hash, was_stopping) = (unit.spec.hash.clone(), unit.stopping.is_some());
        let fresh = Unit::new(spec.clone(), goal);
        unit.kind = fresh.kind;
        if std::mem::take(&mut unit.ghost) {
            unit.made = None;
        }
        unit.as_described(looks);
        unit.goal = goal;
        unit.sought = true;
        (unit.timeout, unit.hurry) = (up.timeout, None);
        unit.keep = up.recreate == Recreate::Never;
        unit.renew_volumes = up.renew_anon_volumes && named;
        unit.takes_volumes = false;
        unit.no_deps = up.no_deps;
        // Of a container that nobody has looked for yet it holds as well, should there be one.
        unit.recreate |= recreate && (unit.have != Have::Absent || unit.kind == UnitKind::Container);
        let exists = unit.have != Have::Absent;
        unit.spec = spec;
        unit.forgive();
        let ended = matches!(unit.have, Have::Exited { .. });
        if unit.kind == UnitKind::Task {
            // What is just being taken away, by a `down`, is no run.
            let busy = unit.busy.as_ref().is_some_and(|busy| busy.step != Step::Table(next::Step::Remove));
            let runs = matches!(unit.have, Have::Running { .. }) || busy;
            if !runs || unit.spec.hash != old_hash {
                unit.task.phase = unit.unasked();
                if recreate {
                    // What it has done counts as after a `down`: its check, inputs and outputs say whether it has to be done again.
                    unit.task.done = None;
                }
                unit.task.hash = Some(unit.spec.hash.clone());
            }
            unit.recreate = false;
        } else if (ended || was_stopping) && goal == Goal::Up && (unit.kind != UnitKind::Container || seen) {
            unit.generation.0 += 1;
        }
        let changed = exists && !unit.keep && unit.spec.hash != old_hash;
        // What somebody else made may be just what is wanted now.
        let is_told = changed && (unit.made.is_some() || unit.kind != UnitKind::Container);
        let service = id.service.clone();
        if is_told && let Some(old) = before.and_then(|before| before.service(&id.service)) {
            let reason = diff::reasons(old, deployment.service(&id.service).expect("selected")).join(", ");
            let given = if self.units[id].kind == UnitKind::Container { "file, network or volume" } else { "file" };
            let reason = if reason.is_empty() { format!("a {given} it is given changed") } else { reason };
            self.tell(Notice::Because { resource: ResourceId::Unit(id.clone()), what: "recreate".to_owned(), reason });
        }
        if changed || recreate {
            self.followers_restart(&service, &BTreeSet::new());
        }
    }

    /// Networks, volumes and the image that a container service needs; `up` for what a request says of images. With `keeps_image` one
    /// that is there will do.
    fn need(&mut self, deployment: &Arc<Deployment>, service: &Service, name: &ServiceName, up: Option<&Up>, keeps_image: bool) {
        let Some(container) = service.container().filter(|container| container.provider.is_none()) else { return };
        for key in container.networks.keys() {
            self.need_network(deployment, key);
        }
        for key in container.volume_keys() {
            self.need_volume(deployment, key, up.map(|up| up.yes));
        }
        self.need_images(deployment, container, name, up, keeps_image);
    }

    /// What a `down` under way was about to take from units that are wanted after all.
    pub(super) fn need_again(&mut self, units: &[UnitId]) {
        let Some(deployment) = self.deployment.clone() else { return };
        (self.going_down, self.takes_volumes) = (false, false);
        (self.owned, self.rmi) = (Owned::Left, Images::Left);
        self.take_volumes(units, false);
        let names: BTreeSet<&ServiceName> = units.iter().map(|unit| &unit.service).collect();
        for name in names {
            if let Some(service) = deployment.stack.services.get(name) {
                self.need(&deployment, service, name, None, true);
            }
        }
        self.look_now();
    }

    /// Looks at the engine, and lets nothing be done or said about containers before.
    pub(super) fn look_now(&mut self) {
        if self.touches_engine() {
            self.look_first = self.look_from_now();
        }
    }

    /// Looks at the engine; the number of the look that begins after this moment. One that is already under way may be older than
    /// what the caller saw.
    pub(super) fn look_from_now(&mut self) -> u64 {
        self.look();
        if self.look_again { self.asked + 1 } else { self.asked }
    }

    /// Units of services that the files no longer have. What `run` has left of a job is none.
    fn orphans(&self, deployment: &Deployment) -> Vec<UnitId> {
        let is_orphan = |unit: &&Unit| !deployment.knows(&unit.id.service) && unit.have != Have::Absent && !unit.is_one_off();
        self.units.values().filter(is_orphan).map(|unit| unit.id.clone()).collect()
    }

    /// Whether the last `up` has no room for it: an orphan, or a replica too many.
    pub(super) fn is_to_leave(&self, id: &UnitId) -> bool {
        let is_known = self.deployment.as_ref().is_some_and(|deployment| deployment.knows(&id.service));
        (!is_known && self.orphans_go) || self.scaled.get(&id.service).is_some_and(|replicas| id.replica > *replicas)
    }

    /// Whether anything of this environment is or was with the engine.
    pub(super) fn touches_engine(&self) -> bool {
        let units = self.units.values().any(|unit| unit.kind == UnitKind::Container);
        units || self.images.values().any(|image| image.wanted) || !self.networks.is_empty() || !self.volumes.is_empty()
    }

    // ── start, stop, restart, kill, remove, down ───────────────────────────────────────────────────────────────────────

    fn start(&mut self, id: RequestId, select: &Select) {
        let Some(mut units) = self.present(id, &select.services) else { return };
        if select.services.is_empty() {
            // A job has run for another one, and is not asked for again.
            units.retain(|unit| !self.is_job(&unit.service));
        }
        units.extend(self.stopped_dependencies(&select.services));
        let looks = self.asked;
        for unit in &units {
            let unit = self.units.get_mut(unit).expect("just chosen");
            let running = matches!(unit.have, Have::Running { .. }) && unit.stopping.is_none();
            unit.goal = Goal::Up;
            unit.sought = true;
            unit.ours_again(looks);
            unit.forgive();
            if unit.kind == UnitKind::Task {
                if !running {
                    unit.task.phase = unit.unasked();
                }
            } else if !running {
                unit.generation.0 += 1;
            }
        }
        self.need_again(&units);
        self.overrule(id, &units, "start", &[Aim::Down]);
        let aim = if select.wait { Aim::Ready } else { Aim::Started };
        let give_up_at = select.wait_timeout.map(|limit| self.now + limit);
        self.wish(id, Wish { give_up_at, ..Wish::of(aim, units) });
    }

    /// What the services named depend on and was stopped, as in Compose: without it they could not start.
    fn stopped_dependencies(&self, services: &[ServiceName]) -> Vec<UnitId> {
        let Some(deployment) = self.deployment.as_ref().filter(|_| !services.is_empty()) else { return Vec::new() };
        let needed = select(&deployment.stack, services, false);
        let stopped = self.units.values().filter(|unit| {
            let is_dependency = needed.contains(&unit.id.service) && !services.contains(&unit.id.service);
            // What an earlier supervisor has stopped is left as it is until somebody asks, and this asks.
            let is_stopped = match unit.goal {
                Goal::Stopped | Goal::Created => true,
                Goal::Left => !unit.is_alive(),
                Goal::Up | Goal::Gone => false,
            };
            is_dependency && !unit.ghost && is_stopped && !unit.is_done()
        });
        stopped.map(|unit| unit.id.clone()).collect()
    }

    fn stop(&mut self, id: RequestId, stop: &Stop) {
        let units = self.chosen(&stop.services);
        self.look_now();
        self.hurry(&units, stop.timeout);
        self.set_goal(&units, Goal::Stopped);
        self.overrule(id, &units, "stop", &[Aim::Made, Aim::Started, Aim::Ready]);
        let unseen = self.has_containers(&units);
        self.wish(id, Wish { unseen, ..Wish::of(Aim::Down, units) });
    }

    fn restart(&mut self, id: RequestId, restart: &Restart) {
        let Some(mut units) = self.present(id, &restart.services) else { return };
        if restart.services.is_empty() {
            units.retain(|unit| self.units[unit].kind != UnitKind::Task || !self.units[unit].is_done());
            units.retain(|unit| !self.is_job(&unit.service));
        }
        let all: BTreeSet<UnitId> = units.iter().cloned().collect();
        let reasons = self.not_to_come_back(&all, restart.no_deps);
        if !reasons.is_empty() {
            return self.reply(id, Reply::Failed { reasons });
        }
        if restart.only_asks {
            return self.reply(id, Reply::Done { changed: false, warnings: Vec::new() });
        }
        self.hurry(&units, restart.timeout);
        let looks = self.asked;
        for unit in &units {
            let state = self.units.get_mut(unit).expect("just chosen");
            state.goal = Goal::Up;
            state.sought = true;
            state.ours_again(looks);
            state.forgive();
            state.bump("asked for");
        }
        if !restart.no_deps {
            for unit in &units {
                self.followers_restart(&unit.service, &all);
            }
        }
        self.need_again(&units);
        self.overrule(id, &units, "restart", &[Aim::Down]);
        self.wish(id, Wish::of(Aim::Started, units));
    }

    /// Why what runs of these, or would be restarted with them, could not come up again once it is stopped, one sentence for each
    /// service. What is restarted beside it does not stand in its way as it is now, but may have somebody in its own.
    fn not_to_come_back(&self, units: &BTreeSet<UnitId>, no_deps: bool) -> Vec<String> {
        let Some(deployment) = &self.deployment else { return Vec::new() };
        let mut restarted: BTreeSet<ServiceName> = units.iter().map(|unit| unit.service.clone()).collect();
        let mut queue: Vec<ServiceName> = if no_deps { Vec::new() } else { restarted.iter().cloned().collect() };
        while let Some(name) = queue.pop() {
            let followers = self.followers(&name, units).into_iter().map(|unit| unit.service);
            queue.extend(followers.filter(|name| restarted.insert(name.clone())));
        }
        let blocked = self.blocked();
        let mut stuck: BTreeMap<&ServiceName, (ServiceName, String)> = BTreeMap::new();
        let mut reasons = Vec::new();
        // The loader has put dependencies first.
        for (name, service) in deployment.stack.services.iter().filter(|(name, _)| restarted.contains(*name)) {
            if self.units_of(name).all(|unit| unit.no_deps) {
                continue;
            }
            let hindrance = service.common.depends_on.iter().find_map(|(on, dependency)| {
                if restarted.contains(on) {
                    return stuck.get(on).filter(|_| dependency.required).cloned();
                }
                match self.satisfied(on, dependency, &blocked) {
                    Gate::Blocked(root, reason) => Some((root, reason)),
                    // It would wait for ever.
                    Gate::Waiting(_) if self.rests(on) => Some((on.clone(), "it does not run".to_owned())),
                    Gate::Open | Gate::Waiting(_) => None,
                }
            });
            let Some((root, reason)) = hindrance else { continue };
            if self.units_of(name).any(Unit::is_alive) {
                let reason = reason.lines().next().unwrap_or_default();
                let is_named = units.iter().any(|unit| unit.service == *name);
                let way_out = if is_named { "" } else { "; `--no-deps` leaves it alone" };
                reasons.push(format!("{name} is not restarted: it could not start again, because of {root}: {reason}{way_out}"));
            }
            stuck.insert(name, (root, reason));
        }
        reasons
    }

    /// Sends a signal, and nothing else: no hook, no `stop_signal`, no order. What `SIGKILL` ends stays ended.
    fn kill(&mut self, id: RequestId, kill: &Kill) {
        self.mention_missing(&kill.services);
        let units = self.chosen(&kill.services);
        let signal = if kill.signal.is_empty() { "SIGKILL".to_owned() } else { kill.signal.to_ascii_uppercase() };
        let deadly = matches!(signal.trim_start_matches("SIG"), "KILL" | "9");
        let is_meant = |unit: &UnitId| kill.units.is_empty() || kill.units.contains(unit);
        let units: Vec<UnitId> = units.into_iter().filter(is_meant).collect();
        let unseen = self.has_containers(&units);
        let running: Vec<UnitId> = units.into_iter().filter(|unit| self.units[unit].is_alive()).collect();
        if deadly {
            self.set_goal(&running, Goal::Stopped);
            self.overrule(id, &running, "kill", &[Aim::Made, Aim::Started, Aim::Ready]);
            for unit in &running {
                self.kill_second(unit);
                let (now, unit) = (self.now, self.units.get_mut(unit).expect("just chosen"));
                unit.hurry = Some(Duration::ZERO);
                if unit.busy.is_some() {
                    unit.condemned = unit.kind == UnitKind::Container;
                } else if matches!(unit.have, Have::Running { .. }) {
                    // A stop whose time is over: what follows is the kill.
                    unit.stopping = Some(Stopping { deadline: now, killed: false, cause: Cause::Wanted });
                }
            }
        }
        // Where something is under way the table has to wait; a signal has not.
        let sent: Vec<UnitId> = running.iter().filter(|unit| !deadly || self.units[*unit].busy.is_some()).cloned().collect();
        let mut signals = Signals::default();
        for unit in &sent {
            let serial = self.next_serial();
            let state = &self.units[unit];
            let (spec, incarnation, container) = (state.existing_spec(), state.incarnation, state.container.clone());
            let ticket = state.ticket(serial, &spec);
            signals.waiting.insert(serial);
            self.act(ticket, Action::Kill { spec, incarnation, container, signal: signal.clone() });
        }
        if deadly || (signals.waiting.is_empty() && unseen && self.engine_away.is_some()) {
            self.wish(id, Wish { unseen, ..Wish::of(Aim::Down, if deadly { running } else { Vec::new() }) });
        } else if signals.waiting.is_empty() {
            self.reply(id, Reply::Done { changed: false, warnings: Vec::new() });
        } else {
            self.signals.insert(id, signals);
        }
    }

    /// Whether an answer was one to a signal of `kill`; the last one is the answer to that.
    pub(super) fn signalled(&mut self, ticket: &Ticket, result: &Result<Outcome, Fault>) -> bool {
        let Some((id, signals)) = self.signals.iter_mut().find(|(_, signals)| signals.waiting.contains(&ticket.serial)) else {
            return false;
        };
        let id = *id;
        signals.waiting.remove(&ticket.serial);
        let (is_over, freezes) = (signals.waiting.is_empty(), signals.freezes);
        match (result, freezes) {
            (Err(fault), _) if fault.kind == FaultKind::EngineAway => signals.away = Some(fault.message.clone()),
            (Err(fault), _) => signals.failed.push(format!("{}: {fault}", ticket.resource)),
            (Ok(_), Some(frozen)) => self.frozen(ticket, frozen),
            (Ok(_), None) => {}
        }
        if is_over {
            if freezes.is_some() {
                // Before the answer, after which nobody listens.
                let blocked = self.blocked();
                self.report_changes(&blocked);
            }
            let Signals { failed: mut reasons, away, .. } = self.signals.remove(&id).unwrap_or_default();
            let reply = match (away, reasons.is_empty()) {
                (Some(message), _) => {
                    reasons.push(does_not_answer(&message));
                    Reply::EngineAway { reasons }
                }
                (None, true) => Reply::Done { changed: true, warnings: Vec::new() },
                (None, false) => Reply::Failed { reasons },
            };
            self.reply(id, reply);
        }
        true
    }

    fn remove(&mut self, id: RequestId, remove: &Remove) {
        self.mention_missing(&remove.services);
        let mut units = self.chosen(&remove.services);
        self.look_now();
        let unseen = self.has_containers(&units);
        if !remove.stop {
            units.retain(|unit| !self.units[unit].is_alive());
        }
        self.set_goal(&units, Goal::Gone);
        self.take_volumes(&units, remove.volumes);
        self.overrule(id, &units, "rm", &[Aim::Made, Aim::Started, Aim::Ready]);
        self.wish(id, Wish { unseen, ..Wish::of(Aim::Down, units) });
    }

    fn down(&mut self, id: RequestId, down: &Down) {
        if !down.services.is_empty() {
            let units = self.chosen(&down.services);
            self.look_now();
            self.hurry(&units, down.timeout);
            self.set_goal(&units, Goal::Gone);
            self.take_volumes(&units, down.volumes);
            self.overrule(id, &units, "down", &[Aim::Made, Aim::Started, Aim::Ready]);
            let unseen = self.has_containers(&units);
            return self.wish(id, Wish { unseen, ..Wish::of(Aim::Down, units) });
        }
        let units: Vec<UnitId> = self.units.keys().cloned().collect();
        self.hurry(&units, down.timeout);
        self.set_goal(&units, Goal::Gone);
        self.take_volumes(&units, down.volumes);
        self.overrule(id, &units, "down", &[Aim::Made, Aim::Started, Aim::Ready]);
        self.watched.clear();
        (self.going_down, self.takes_volumes) = (true, down.volumes);
        for network in self.networks.values_mut() {
            network.want = if network.external { Want::Left } else { Want::Gone };
            network.forgive();
        }
        for volume in self.volumes.values_mut() {
            volume.want = if volume.external || !down.volumes { Want::Left } else { Want::Gone };
            volume.forgive();
        }
        if down.volumes
            && let Some(deployment) = self.deployment.clone()
        {
            for (key, volume) in deployment.stack.volumes.iter().filter(|(_, volume)| !volume.external) {
                let name = volume.name.clone().unwrap_or_else(|| deployment.volume_name(key));
                self.volumes.entry(key.clone()).or_insert_with(|| Resource::new(name, false, Want::Gone)).want = Want::Gone;
            }
        }
        for image in self.images.values_mut() {
            image.wanted = false;
            image.users.clear();
            image.mounters.clear();
        }
        let owns = self.deployment.as_ref().is_some_and(|deployment| !deployment.stack.owns.is_empty());
        self.rmi = match down.rmi.as_deref() {
            Some("local") => Images::Due(Prune::Local),
            Some(_) => Images::Due(Prune::All),
            None => Images::Left,
        };
        self.owned = if owns { Owned::Due { volumes: down.volumes } } else { Owned::Left };
        self.look_first = self.look_from_now();
        self.wish(id, Wish { networks: true, ..Wish::of(Aim::Down, units) });
    }

    /// The supervisor itself is to end: processes are stopped, dependents first; containers are the engine's.
    pub(super) fn terminate(&mut self) {
        if self.terminating {
            return;
        }
        self.terminating = true;
        let processes: Vec<UnitId> =
            self.units.values().filter(|unit| unit.kind != UnitKind::Container).map(|unit| unit.id.clone()).collect();
        self.set_goal(&processes, Goal::Stopped);
        let everything: Vec<UnitId> = self.units.keys().cloned().collect();
        self.overrule(RequestId(u64::MAX), &everything, "the end of the supervisor", &[Aim::Made, Aim::Started, Aim::Ready]);
    }

    // ── small things ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// The units of the services named, or all that are no ghosts. A service that never came up has none; whoever asks has looked
    /// whether there is one of this name. Where nothing has ever been said of the environment, what is there is all that it
    /// consists of.
    pub(super) fn chosen(&self, services: &[ServiceName]) -> Vec<UnitId> {
        let is_described = |unit: &Unit| self.deployment.as_ref().is_none_or(|all| all.service(&unit.id.service).is_some());
        let is_part = |unit: &Unit| !unit.ghost || is_described(unit);
        let all = self
            .units
            .values()
            // A one-off copy is no replica, and what no file describes is meant by nobody who says "all".
            .filter(|unit| !unit.one_off)
            .filter(|unit| if services.is_empty() { is_part(unit) } else { services.contains(&unit.id.service) });
        all.map(|unit| unit.id.clone()).collect()
    }

    /// The same for what can only be done to something: answers where there is nothing.
    pub(super) fn present(&mut self, id: RequestId, services: &[ServiceName]) -> Option<Vec<UnitId>> {
        let units = self.chosen(services);
        let missing = services.iter().find(|name| units.iter().all(|unit| unit.service != **name));
        let reason = match (missing, units.is_empty()) {
            (None, false) => return Some(units),
            (Some(name), _) => format!("`{name}` is not up; `baistack up {name}` makes and starts it"),
            (None, true) => format!("nothing of {} is up; `baistack up` makes and starts it", self.env),
        };
        self.reply(id, Reply::NotUp { reason });
        None
    }

    /// Whether it is a job that `run` has made a service of.
    fn is_job(&self, name: &ServiceName) -> bool {
        self.deployment.as_ref().is_some_and(|deployment| deployment.stack.jobs.contains(name))
    }

    /// Says of which services there is nothing that something could be done to.
    fn mention_missing(&mut self, services: &[ServiceName]) {
        for name in services.iter().filter(|name| self.units.keys().all(|unit| unit.service != **name)).collect::<Vec<_>>() {
            self.say(Level::Info, format!("nothing of `{name}` is there"));
        }
    }

    /// Whether any of these is a container, as far as is known: of one only its engine can tell how it is.
    fn has_containers(&self, units: &[UnitId]) -> bool {
        let is_one = |unit: &Unit| unit.kind == UnitKind::Container && unit.have != Have::Absent;
        units.iter().filter_map(|id| self.units.get(id)).any(is_one)
    }

    pub(super) fn set_goal(&mut self, units: &[UnitId], goal: Goal) {
        for id in units {
            if let Some(unit) = self.units.get_mut(id) {
                unit.goal = goal;
                unit.ours_again(self.asked);
                unit.not_before = self.now;
                if matches!(goal, Goal::Stopped | Goal::Gone) {
                    // How its lives have ended says nothing about how its end will go.
                    unit.failures = 0;
                }
                (unit.again, unit.sought) = (false, false);
            }
        }
    }

    /// The grace period of the stop that a request causes.
    fn hurry(&mut self, units: &[UnitId], timeout: Option<Duration>) {
        for id in units {
            if let Some(unit) = self.units.get_mut(id) {
                unit.hurry = timeout.filter(|_| unit.is_alive());
            }
        }
    }

    fn take_volumes(&mut self, units: &[UnitId], volumes: bool) {
        for id in units {
            if let Some(unit) = self.units.get_mut(id) {
                unit.takes_volumes = volumes;
            }
        }
    }

    pub(super) fn say_warnings(&mut self, warnings: &[String]) {
        for warning in warnings {
            self.say(Level::Warning, warning.clone());
        }
    }
}

fn left_behind(orphans: &[UnitId]) -> String {
    let names: Vec<String> = orphans.iter().map(|unit| format!("`{}`", unit.service)).collect();
    format!("the stack no longer has {}, which still exists: `--remove-orphans` removes it", names.join(", "))
}

/// The services named and what they need, in the order of the stack; all when none is named.
pub fn select(stack: &Stack, named: &[ServiceName], no_deps: bool) -> Vec<ServiceName> {
    let services = &stack.services;
    if named.is_empty() {
        return services.keys().cloned().collect();
    }
    let mut wanted: BTreeSet<&ServiceName> = BTreeSet::new();
    let mut queue: Vec<&ServiceName> = named.iter().collect();
    while let Some(name) = queue.pop() {
        if let Some(service) = services.get(name)
            && wanted.insert(name)
            && !no_deps
        {
            queue.extend(service.common.depends_on.keys());
        }
    }
    services.keys().filter(|name| wanted.contains(name)).cloned().collect()
}
