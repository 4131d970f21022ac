//! The command that asked for something is interrupted: what has not begun is left undone, pulls and builds end, what runs stays.
//!
//! Compose's commands end alike, since nobody else does their work. What is to go, goes: nobody is helped by half of an end.

use std::collections::BTreeSet;

use super::effect::Effect;
use super::event::RequestId;
use super::machine::Supervisor;
use super::request::Reply;
use super::status::UnitKind;
use super::unit::{Busy, Have, Step, Unit};
use super::wishes::{Aim, Wish};
use crate::base::moment::Moment;
use crate::base::name::{ServiceName, UnitId};
use crate::model::container::Container;
use crate::plan::action::ResourceId;
use crate::plan::next::{self, Goal};

impl Supervisor {
    /// Calls off what a request asks for that has not been answered. What somebody else asks for as well is done all the same.
    pub(super) fn call_off(&mut self, id: RequestId) {
        let parked = self.parked.len();
        self.parked.retain(|(parked, _)| *parked != id);
        if self.parked.len() < parked {
            return self.reply(id, Reply::CalledOff { left: Vec::new(), goes_on: Vec::new() });
        }
        match self.wishes.get(&id).map(|wish| wish.aim) {
            // Signals take no time, and their answer is on its way.
            None => {}
            Some(Aim::Down) => {
                self.wishes.remove(&id);
                self.reply(id, Reply::GoesOn);
            }
            Some(Aim::Made | Aim::Started | Aim::Ready) => {
                let wish = self.wishes.remove(&id).expect("just looked");
                self.leases.remove(&id);
                let reply = self.leave_undone(&wish);
                self.reply(id, reply);
            }
        }
    }

    /// Leaves things as they are, as far as nobody else asks for others.
    fn leave_undone(&mut self, wish: &Wish) -> Reply {
        self.persist = true;
        let others: BTreeSet<UnitId> =
            (self.wishes.values()).filter(|wish| wish.aim != Aim::Down).flat_map(|wish| &wish.units).cloned().collect();
        let mut units: BTreeSet<UnitId> = wish.units.iter().filter(|unit| !others.contains(unit)).cloned().collect();
        let restarted: BTreeSet<ServiceName> = units.iter().map(|unit| unit.service.clone()).collect();
        units.extend(
            self.units.values().filter(|unit| follows(unit, &restarted) && !others.contains(&unit.id)).map(|it| it.id.clone()),
        );
        if wish.sweeps {
            // What the first look would have shown to be too many.
            self.orphans_go = false;
            self.scaled.clear();
        }
        self.leave_resources(&units, &others);
        self.leave_images(wish, &units, &others);
        let is_seen = self.seen >= self.look_first;
        let (mut left, mut goes_on) = (Vec::new(), Vec::new());
        for id in units {
            let Some(unit) = self.units.get_mut(&id) else { continue };
            let goal = unit.goal;
            let is_left = unit.leave_as_it_is(self.now);
            if unit.goal != Goal::Left && !is_left && unit.is_between_lives() {
                goes_on.push(id.clone());
            }
            // A foreground `up` asks that it runs, though not that it is made anew.
            if !is_left || self.leases.values().any(|lease| lease.units.contains(&id)) {
                continue;
            }
            let is_container = self.units[&id].kind == UnitKind::Container;
            // Whatever an engine holds is right: it may not have been looked at yet.
            self.set_goal(std::slice::from_ref(&id), if is_container { Goal::Left } else { Goal::Stopped });
            if goal == Goal::Up && (is_seen || !is_container) {
                left.push(id);
            }
        }
        Reply::CalledOff { left, goes_on }
    }

    /// Leaves the networks and volumes as they are that only these units use. That data may be lost was said with the request, and for
    /// it alone.
    fn leave_resources(&mut self, units: &BTreeSet<UnitId>, others: &BTreeSet<UnitId>) {
        let used = |unit: &UnitId| -> Vec<String> {
            let container = self.units.get(unit).and_then(|unit| unit.spec.service().container());
            let networks = container.into_iter().flat_map(|container| container.networks.keys());
            let volumes = container.into_iter().flat_map(Container::volume_keys);
            networks.chain(volumes).cloned().collect()
        };
        let of_others: BTreeSet<String> = others.iter().flat_map(used).collect();
        let own: BTreeSet<String> = units.iter().flat_map(used).filter(|key| !of_others.contains(key)).collect();
        let resources = self.networks.iter_mut().chain(&mut self.volumes);
        for (_, resource) in resources.filter(|(key, _)| own.contains(*key)) {
            resource.let_be();
            resource.may_lose = false;
        }
    }

    /// Ends the pulls and builds that are for services of these units and for no others; what is fetched beside the stack, where nobody
    /// else brings it up.
    fn leave_images(&mut self, wish: &Wish, units: &BTreeSet<UnitId>, others: &BTreeSet<UnitId>) {
        let mut ended = Vec::new();
        let own: BTreeSet<&ServiceName> = units.iter().map(|unit| &unit.service).chain(&wish.idle).collect();
        let of_others: BTreeSet<&ServiceName> = others.iter().map(|unit| &unit.service).collect();
        let is_last = wish.images && !self.wishes.values().any(|wish| wish.images);
        for (id, image) in &mut self.images {
            let is_over = match id {
                ResourceId::NamedImage(_) if image.mounters.is_empty() => is_last,
                // Of what is built anew because of a change the users are not named.
                ResourceId::Image(_) | ResourceId::NamedImage(_) => image.asked_by.as_ref().is_some_and(|asked_by| {
                    asked_by.iter().any(|user| own.contains(user)) && !asked_by.iter().any(|user| of_others.contains(user))
                }),
                ResourceId::Network(_) | ResourceId::Volume(_) | ResourceId::Unit(_) | ResourceId::Owned | ResourceId::Images => {
                    false
                }
            };
            if !is_over {
                continue;
            }
            (image.renew, image.pull_after) = (None, None);
            image.wanted &= image.id.is_some();
            if let Some((serial, _)) = image.busy
                && !std::mem::replace(&mut image.called_off, true)
            {
                ended.push(Effect::CallOff(serial));
            }
        }
        self.effects.append(&mut ended);
    }
}

/// Whether a unit that runs is to be restarted because one of these services is.
fn follows(unit: &Unit, restarted: &BTreeSet<ServiceName>) -> bool {
    let edges = &unit.spec.service().common.depends_on;
    let is_due = matches!(unit.have, Have::Running { .. }) && unit.started_generation < unit.generation;
    is_due && edges.iter().any(|(name, edge)| edge.restart && restarted.contains(name))
}

impl Unit {
    /// Whether it is being ended or replaced. One that is being made or started is on the way to where it is to be.
    fn is_between_lives(&self) -> bool {
        let is_first = |busy: &Busy| matches!(busy.step, Step::Table(next::Step::Create | next::Step::Start));
        self.stopping.is_some() || self.busy.as_ref().is_some_and(|busy| !is_first(busy))
    }

    /// Has nothing more begun for it. Whether it was to be made or to run, and neither has come about.
    fn leave_as_it_is(&mut self, now: Moment) -> bool {
        match self.goal {
            Goal::Gone if self.busy.is_none() && self.stopping.is_none() => self.goal = Goal::Left,
            Goal::Gone | Goal::Stopped | Goal::Left => {}
            // It is between two lives.
            Goal::Up | Goal::Created if self.stopping.is_some() => {}
            Goal::Up | Goal::Created => {
                // What it uses is another one by now: as it is it could not run.
                let must_move = self.in_place && !self.is_alive();
                // Only of what differs now: what is built or pulled for it later is somebody else's wish.
                (self.keep, self.recreate, self.in_place) = (!must_move && self.differs(), must_move, must_move);
                (self.renew_volumes, self.sought) = (false, false);
                if matches!(self.have, Have::Running { .. }) {
                    self.generation = self.started_generation;
                }
                return !self.is_alive() && (self.busy.is_some() || self.next_step(now).is_some());
            }
        }
        false
    }
}
