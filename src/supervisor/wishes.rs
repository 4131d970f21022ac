//! Wishes under way and their answers: each request returns when its own wish is fulfilled, cannot be, or was overruled.

use std::collections::BTreeSet;

use indexmap::{IndexMap, IndexSet};

use super::audience::Audience;
use super::effect::Effect;
use super::event::RequestId;
use super::gate::{Blocked, Gate};
use super::machine::{Images, Owned, Supervisor};
use super::notice::does_not_answer;
use super::request::{Abort, Reply};
use super::resource::Want;
use super::status::{Health, UnitKind};
use super::unit::{Have, Phase, Unit};
use crate::base::moment::Moment;
use crate::base::name::{ServiceName, UnitId};
use crate::model::restart::RestartPolicy;
use crate::plan::next::{Definition, Goal};

/// What a wish is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Made.
    Made,
    /// Running, or done.
    Started,
    /// Healthy, or done.
    Ready,
    /// Not running, or gone.
    Down,
}

/// A request that is not answered yet.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// What it is about.
    pub aim: Aim,
    /// Whom it is about.
    pub units: Vec<UnitId>,
    /// Given up then.
    pub give_up_at: Option<Moment>,
    /// To be said with the answer.
    pub warnings: Vec<String>,
    /// Actions begun before it.
    pub acts: u64,
    /// Networks and owned things have to be gone too.
    pub networks: bool,
    /// What has failed for good meanwhile.
    pub failed: Vec<String>,
    /// Waits until an engine that is away is there again, as an `up` does; others are answered with that.
    pub patient: bool,
    /// The look at the engine that tells whether it is still away: what is known may be from long before.
    pub look: u64,
    /// It is about containers, whatever is known of them: without an engine nobody can say that it is fulfilled.
    pub unseen: bool,
    /// What its first look finds to be taken away has to be gone too.
    pub sweeps: bool,
    /// Services of which there is to be no container: all that these would be made with has to be there.
    pub idle: Vec<ServiceName>,
    /// The images of its units are a part of it, also of those that run: they may be asked for anew.
    pub images: bool,
}

impl Wish {
    /// A wish with nothing beside.
    pub(super) fn of(aim: Aim, units: Vec<UnitId>) -> Self {
        Self {
            aim,
            units,
            give_up_at: None,
            warnings: Vec::new(),
            acts: 0,
            networks: false,
            failed: Vec::new(),
            patient: false,
            look: 0,
            unseen: false,
            sweeps: false,
            idle: Vec::new(),
            images: false,
        }
    }
}

/// A foreground `up`: what it started is stopped when its connection ends.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    /// What it wants.
    pub units: Vec<UnitId>,
    /// What of that it has started: all that did not run before.
    pub started: BTreeSet<UnitId>,
    /// The look at the engine that tells which containers ran before.
    pub look: u64,
    /// When one end is everybody's.
    pub abort: Abort,
    /// The code of what ended first.
    pub first_end: Option<i32>,
    /// What of it is shown in the foreground.
    pub audience: Audience,
}

/// How far a unit is on the way to an aim.
enum Reach {
    There,
    NotYet,
    Failed(String),
    Lacks(Lack),
}

/// Something that a container is made with, and several may be, cannot be had.
struct Lack {
    /// A service, or a unit that goes on all the same.
    who: String,
    runs_on: bool,
    reason: String,
}

/// What several lack for one reason, in one sentence.
fn told_together(lacks: Vec<Lack>) -> impl Iterator<Item = String> {
    let mut all: IndexMap<(bool, String), IndexSet<String>> = IndexMap::new();
    for Lack { who, runs_on, reason } in lacks {
        all.entry((runs_on, reason)).or_default().insert(who);
    }
    all.into_iter().map(|((runs_on, reason), who)| {
        let does = match (runs_on, who.len()) {
            (false, _) => "",
            (true, 1) => " runs on as it was",
            (true, _) => " run on as they were",
        };
        format!("{}{does}: {reason}", who.into_iter().collect::<Vec<_>>().join(", "))
    })
}

impl Supervisor {
    pub(super) fn reply(&mut self, id: RequestId, reply: Reply) {
        self.effects.push(Effect::Reply(id, reply));
    }

    pub(super) fn wish(&mut self, id: RequestId, wish: Wish) {
        let look = match self.engine_away {
            Some(_) if !wish.patient => self.look_from_now(),
            Some(_) | None => 0,
        };
        let wish = Wish { acts: self.acts, look, ..wish };
        self.wishes.insert(id, wish);
    }

    /// Answers the wishes that a later word on one of their units makes impossible.
    pub(super) fn overrule(&mut self, by: RequestId, units: &[UnitId], name: &str, aims: &[Aim]) {
        let overruled: Vec<RequestId> = (self.wishes.iter())
            .filter(|(id, wish)| **id != by && aims.contains(&wish.aim) && wish.units.iter().any(|unit| units.contains(unit)))
            .map(|(id, _)| *id)
            .collect();
        for id in overruled {
            self.wishes.remove(&id);
            self.leases.remove(&id);
            self.reply(id, Reply::Overruled { by: name.to_owned() });
        }
    }

    /// Whether what is wanted has changed by it.
    pub(super) fn answer_wishes(&mut self, blocked: &Blocked) -> bool {
        let ids: Vec<RequestId> = self.wishes.keys().copied().collect();
        for id in ids {
            let wish = &self.wishes[&id];
            let mut failed = wish.failed.clone();
            let mut lacks = Vec::new();
            let mut waiting = Vec::new();
            let mut out_of_reach = None;
            let is_away = self.engine_away.is_some() && self.away_at >= wish.look;
            if wish.unseen && self.engine_away.is_some() {
                if is_away {
                    out_of_reach.clone_from(&self.engine_away);
                } else {
                    waiting.push("the engine".to_owned());
                }
            }
            for unit in &wish.units {
                // What is known of one that is to run may be from before the engine went away; what waits for one waits for ever.
                let is_doubtful =
                    !wish.patient && (self.is_out_of_reach(unit) || (is_away && self.waits_for_the_engine(unit, blocked)));
                let reach = match if wish.images { self.reach_of_images(unit, blocked) } else { Reach::There } {
                    Reach::There => self.reach(unit, wish.aim, blocked),
                    not_yet => not_yet,
                };
                match reach {
                    Reach::There if !is_doubtful || wish.aim == Aim::Down => {}
                    Reach::There | Reach::NotYet if is_doubtful && is_away => out_of_reach.clone_from(&self.engine_away),
                    Reach::There | Reach::NotYet => waiting.push(unit.to_string()),
                    Reach::Failed(reason) => failed.push(reason),
                    Reach::Lacks(lack) => lacks.push(lack),
                }
            }
            for name in &wish.idle {
                match self.reach_of_material(name, blocked) {
                    Reach::There => {}
                    Reach::NotYet => waiting.push(name.to_string()),
                    Reach::Failed(reason) => failed.push(reason),
                    Reach::Lacks(lack) => lacks.push(lack),
                }
            }
            // What others cannot start for comes first.
            failed.splice(0..0, told_together(lacks));
            if wish.networks && self.reach_of_the_rest(is_away, &mut waiting, &mut failed) {
                out_of_reach.clone_from(&self.engine_away);
            }
            // A save right after the answer counts.
            if failed.is_empty() && matches!(wish.aim, Aim::Started | Aim::Ready) && self.arms_watches_of(&wish.units) {
                waiting.push("the watch of its files".to_owned());
            }
            let late = wish.give_up_at.is_some_and(|moment| moment <= self.now);
            if !waiting.is_empty() && !late {
                continue;
            }
            if late && !waiting.is_empty() {
                failed.push(format!("not ready in time: {}", waiting.join(", ")));
            }
            let wish = self.wishes.remove(&id).expect("just looked");
            self.say_warnings(&wish.warnings);
            failed.dedup();
            let reply = if let Some(message) = out_of_reach {
                failed.push(does_not_answer(&message));
                Reply::EngineAway { reasons: failed }
            } else if failed.is_empty() {
                Reply::Done { changed: self.acts > wish.acts, warnings: wish.warnings }
            } else {
                Reply::Failed { reasons: failed }
            };
            self.reply(id, reply);
        }
        self.end_leases(blocked)
    }

    /// Whether nothing can be done to a unit, nor be known of it, since the engine does not answer.
    fn is_out_of_reach(&self, id: &UnitId) -> bool {
        self.engine_away.is_some() && self.units.get(id).is_some_and(|unit| unit.kind == UnitKind::Container)
    }

    /// Whether a unit cannot start for want of a container that nobody can see.
    fn waits_for_the_engine(&self, id: &UnitId, blocked: &Blocked) -> bool {
        let Some(unit) = self.units.get(id).filter(|unit| !unit.is_alive() && unit.busy.is_none()) else { return false };
        if !matches!(self.start_gate(unit, blocked), Gate::Waiting(_)) {
            return false;
        }
        let mut known = BTreeSet::new();
        let mut queue: Vec<&Unit> = vec![unit];
        while let Some(unit) = queue.pop() {
            for name in unit.spec.service().common.depends_on.keys().filter(|name| known.insert((*name).clone())) {
                if self.units_of(name).any(|below| self.is_out_of_reach(&below.id)) {
                    return true;
                }
                queue.extend(self.units_of(name));
            }
        }
        false
    }

    fn reach(&self, id: &UnitId, aim: Aim, blocked: &Blocked) -> Reach {
        let Some(unit) = self.units.get(id) else { return Reach::There };
        if unit.kind == UnitKind::Container && self.seen < self.look_first && self.engine_away.is_none() {
            return Reach::NotYet;
        }
        if aim == Aim::Down || unit.goal == Goal::Gone {
            let gone = if unit.goal == Goal::Gone { unit.is_absent() } else { !unit.is_alive() };
            return match (gone && unit.busy.is_none(), &unit.failure) {
                (true, _) => Reach::There,
                (false, Some(reason)) if unit.failures >= 5 => Reach::Failed(format!("{id}: {reason}")),
                (false, _) if unit.kind == UnitKind::Container && self.engine_away.is_some() && unit.have == Have::Absent => {
                    Reach::There
                }
                (false, _) => Reach::NotYet,
            };
        }
        if unit.goal == Goal::Stopped && aim != Aim::Made {
            let by_whom = if unit.removed { "'s container was removed by somebody else" } else { " was stopped" };
            return Reach::Failed(format!("{id}{by_whom}"));
        }
        // Armed it is there: how its runs end is told where they are listed.
        if unit.schedule().is_some() && aim != Aim::Made {
            return Reach::There;
        }
        if let Some((root, reason)) = blocked.get(&id.service)
            && !unit.is_alive()
        {
            let name = &id.service;
            if root == name {
                return Reach::Lacks(Lack { who: name.to_string(), runs_on: false, reason: reason.clone() });
            }
            // All of it is told of the root.
            let reason = reason.lines().next().unwrap_or_default();
            return Reach::Failed(format!("{name} cannot start, because of {root}: {reason}"));
        }
        if unit.given_up {
            return Reach::Failed(format!("{id}: {}", unit.failure.as_deref().unwrap_or("failed")));
        }
        // What is only made waits for no dependency, but for what it is made with.
        if aim == Aim::Made
            && unit.is_absent()
            && let Gate::Blocked(_, reason) = self.create_gate(unit)
        {
            return Reach::Lacks(Lack { who: id.service.to_string(), runs_on: false, reason });
        }
        if unit.task.phase == Phase::Scheduled && aim != Aim::Made && !unit.is_alive() {
            return Reach::There;
        }
        // As under Compose, which cannot start what is paused.
        if aim != Aim::Made
            && let Some(reason) = unit.standstill()
        {
            return Reach::Failed(format!("{id}: {reason}"));
        }
        if unit.kind == UnitKind::Task && aim != Aim::Made {
            return if unit.is_done() && !unit.is_alive() { Reach::There } else { Reach::NotYet };
        }
        if let Gate::Blocked(_, reason) = self.successor_gate(unit)
            && unit.is_alive()
        {
            return Reach::Lacks(Lack { who: id.to_string(), runs_on: true, reason });
        }
        match unit.have {
            Have::Absent => Reach::NotYet,
            Have::Created if aim == Aim::Made && unit.busy.is_none() && unit.definition() != Definition::Different => {
                Reach::There
            }
            Have::Created => Reach::NotYet,
            Have::Running { .. } if aim == Aim::Made && unit.definition() == Definition::Different => Reach::NotYet,
            Have::Running { .. } if aim == Aim::Made => Reach::There,
            Have::Exited { .. } if aim == Aim::Made && unit.definition() != Definition::Different => Reach::There,
            Have::Running { .. } if !unit.is_current() => Reach::NotYet,
            Have::Running { .. } if aim == Aim::Started => Reach::There,
            Have::Running { .. } => match unit.verdict() {
                Some(Health::Healthy) => Reach::There,
                Some(Health::Unhealthy) if !unit.restarts_when_unhealthy() => {
                    let output = unit.health.output.as_deref().unwrap_or_default().trim();
                    Reach::Failed(if output.is_empty() {
                        format!("{id} is unhealthy")
                    } else {
                        format!("{id} is unhealthy: {output}")
                    })
                }
                Some(Health::Starting | Health::Unhealthy) => Reach::NotYet,
                None if unit.probed().is_none() && unit.inspected => Reach::There,
                None => Reach::NotYet,
            },
            Have::Exited { exit, .. } => ended(unit, exit.is_success(), id),
        }
    }

    /// How far the images of a unit are on their way, for which a container that runs does not wait.
    fn reach_of_images(&self, id: &UnitId, blocked: &Blocked) -> Reach {
        let name = &id.service;
        let runs = self.units.get(id).is_some_and(|unit| unit.is_alive() && unit.goal == Goal::Up);
        if !runs || self.engine_away.is_some() {
            return Reach::There;
        }
        let images = self.images_of(name).into_iter().filter_map(|id| self.images.get(&id));
        let mut coming = images.filter(|image| image.wanted && !image.is_ready()).peekable();
        if coming.peek().is_none() {
            return Reach::There;
        }
        let reason = match (coming.find_map(|image| image.failed.clone()), self.image_gate(name, blocked)) {
            (Some(reason), _) => reason,
            (None, Gate::Blocked(root, reason)) => format!("it cannot be built, because of {root}: {reason}"),
            (None, Gate::Open | Gate::Waiting(_)) => return Reach::NotYet,
        };
        Reach::Lacks(Lack { who: id.to_string(), runs_on: true, reason })
    }

    /// How far what the containers of a service would be made with is on its way.
    fn reach_of_material(&self, name: &ServiceName, blocked: &Blocked) -> Reach {
        let Some(deployment) = &self.deployment else { return Reach::There };
        let Some(service) = deployment.service(name) else { return Reach::There };
        let Some(container) = service.container() else { return Reach::There };
        if self.going_down {
            return Reach::Failed(format!("{name}: overruled by a later `down`"));
        }
        if self.units_of(name).any(|unit| unit.goal != Goal::Gone) {
            // Wanted after all.
            return Reach::There;
        }
        if !self.may_touch_engine() {
            return Reach::NotYet;
        }
        match self.material_gate(name, container, deployment) {
            Gate::Open => Reach::There,
            Gate::Blocked(_, reason) => Reach::Lacks(Lack { who: name.to_string(), runs_on: false, reason }),
            // What is built waits for tasks.
            Gate::Waiting(_) => match self.image_gate(name, blocked) {
                Gate::Blocked(root, reason) => {
                    let reason = reason.lines().next().unwrap_or_default();
                    Reach::Failed(format!("{name} cannot be built, because of {root}: {reason}"))
                }
                Gate::Open | Gate::Waiting(_) => Reach::NotYet,
            },
        }
    }

    /// Whether the engine, which does not answer, may hold something that was to go.
    fn reach_of_the_rest(&self, is_away: bool, waiting: &mut Vec<String>, failed: &mut Vec<String>) -> bool {
        let looked = self.seen >= self.look_first;
        if !looked && !is_away {
            waiting.push("the engine".to_owned());
        }
        if is_away {
            return self.units.values().any(|unit| unit.kind == UnitKind::Container && unit.have != Have::Absent)
                || !self.networks.is_empty()
                || self.rmi != Images::Left;
        }
        for unit in self.units.values().filter(|unit| unit.goal == Goal::Gone) {
            if unit.failures < 5 {
                waiting.push(unit.id.to_string());
            }
        }
        for resource in self.networks.values().chain(self.volumes.values()).filter(|resource| resource.want == Want::Gone) {
            match &resource.failed {
                Some(reason) => failed.push(reason.clone()),
                None if resource.there != Some(false) && resource.kept.is_none() => waiting.push(resource.name.clone()),
                None => {}
            }
        }
        if self.owned != Owned::Left {
            waiting.push("what the services made".to_owned());
        }
        if self.rmi != Images::Left {
            waiting.push("images".to_owned());
        }
        false
    }

    /// A foreground `up` ends when nothing of it runs and nothing will be started again. Whether an abort rule has stopped others.
    fn end_leases(&mut self, blocked: &Blocked) -> bool {
        let mut stopped = false;
        let ids: Vec<RequestId> = self.leases.keys().copied().filter(|id| !self.wishes.contains_key(id)).collect();
        for id in ids {
            let lease = &self.leases[&id];
            let mut all_over = true;
            let mut failed = false;
            let mut first = lease.first_end;
            for unit in lease.units.iter().filter_map(|unit| self.units.get(unit)) {
                let armed = unit.goal == Goal::Up && unit.schedule().is_some();
                let stays = unit.next_step(self.now).is_none() || blocked.contains_key(&unit.id.service);
                let over = !armed && stays && unit.busy.is_none() && !unit.is_alive();
                all_over &= over;
                let bad = unit.given_up
                    || blocked.contains_key(&unit.id.service)
                    || matches!(unit.have, Have::Exited { exit, .. } if !exit.is_success() && !unit.stopped);
                failed |= bad;
                let counts = match lease.abort {
                    Abort::Never => false,
                    Abort::OnExit => matches!(unit.have, Have::Exited { .. }) && !unit.again,
                    Abort::OnFailure => bad && !unit.again,
                };
                if counts
                    && over
                    && let Have::Exited { exit, .. } = unit.have
                {
                    first = first.or(Some(exit.code()));
                }
            }
            if first.is_some() && lease.first_end.is_none() {
                let units: Vec<UnitId> = lease.units.clone();
                self.leases.get_mut(&id).expect("just looked").first_end = first;
                self.set_goal(&units, Goal::Stopped);
                stopped = true;
                continue;
            }
            if all_over {
                let lease = self.leases.remove(&id).expect("just looked");
                // Nobody waits for them any more, so nothing is started when their root comes good.
                let never: Vec<UnitId> = lease.units.into_iter().filter(|unit| blocked.contains_key(&unit.service)).collect();
                self.set_goal(&never, Goal::Stopped);
                self.reply(id, Reply::Ended { code: first.unwrap_or(i32::from(failed)) });
            }
        }
        stopped
    }

    /// Whether nothing is left that only a supervisor can do.
    pub(super) fn is_useless(&self) -> bool {
        let busy = self.observing
            || self.units.values().any(|unit| unit.busy.is_some())
            || self.networks.values().chain(self.volumes.values()).any(|resource| resource.busy.is_some())
            || self.images.values().any(|image| image.busy.is_some())
            || (self.owned != Owned::Left || self.rmi != Images::Left) && self.engine_away.is_none();
        let processes = self.units.values().filter(|unit| unit.kind != UnitKind::Container).any(|unit| match unit.goal {
            Goal::Up => {
                unit.schedule().is_some()
                    || unit.is_alive()
                    || unit.again
                    || (unit.next_step(self.now).is_some() && !unit.given_up)
            }
            // What is left of a process is in this table alone: nobody else takes it away.
            Goal::Gone => unit.is_alive() || (unit.next_step(self.now).is_some() && !unit.given_up),
            Goal::Created | Goal::Stopped | Goal::Left => unit.is_alive(),
        });
        if self.terminating {
            return !self.units.values().any(|unit| unit.kind != UnitKind::Container && unit.is_alive());
        }
        let asked = self.wishes.is_empty() && self.parked.is_empty() && self.signals.is_empty();
        self.asked_anything && !busy && !processes && asked && self.leases.is_empty() && !self.watches.any()
    }
}

/// Whether the engine starts a container again that has ended. While it is about to, the container counts as running; one
/// with `on-failure` that stays ended has ended well, or used up its attempts.
pub(super) fn engine_restarts(unit: &Unit) -> bool {
    unit.kind == UnitKind::Container
        && match unit.spec.service().common.restart {
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::No | RestartPolicy::OnFailure { .. } => false,
        }
}

fn ended(unit: &Unit, success: bool, id: &UnitId) -> Reach {
    if unit.again || unit.definition() != Definition::Same || unit.task.phase != Phase::Unasked {
        return Reach::NotYet;
    }
    match (success, engine_restarts(unit)) {
        (_, true) => Reach::NotYet,
        (true, false) => Reach::There,
        (false, false) => Reach::Failed(format!("{id} ended with {}", unit.failure.as_deref().unwrap_or("a failure"))),
    }
}
