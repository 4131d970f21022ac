//! `pause` and `unpause`: what runs stands still, and goes on. Neither changes what is wanted.
//!
//! A container is the engine's to freeze, and looks tell whether it is frozen; of a process nobody but we know. What stands
//! still is not probed and has no health, so nobody who waits for that starts. Once it goes on its last verdict stands, but a bad one
//! counts no more: a probe has to say so anew.

use super::event::RequestId;
use super::machine::{Signals, Supervisor};
use super::request::{Pause, Reply};
use super::status::UnitKind;
use super::unit::Have;
use crate::base::name::UnitId;
use crate::plan::action::{Action, ResourceId, Ticket};

impl Supervisor {
    pub(super) fn pause(&mut self, id: RequestId, pause: &Pause) {
        let Some(units) = self.present(id, &pause.services) else { return };
        // One that is about to end has nothing to stand still for.
        let runs = |unit: &UnitId| {
            let unit = &self.units[unit];
            matches!(unit.have, Have::Running { .. }) && unit.busy.is_none() && unit.stopping.is_none() && !unit.between_lives
        };
        let (running, still): (Vec<UnitId>, Vec<UnitId>) = units.into_iter().partition(runs);
        if running.is_empty() && !pause.services.is_empty() {
            let reasons = still.iter().map(|unit| format!("{unit} does not run")).collect();
            return self.reply(id, Reply::Failed { reasons });
        }
        let mut signals = Signals { freezes: Some(pause.paused), ..Signals::default() };
        for unit in &running {
            // Whether a container stands still, an engine that does not answer cannot have told.
            let is_known = self.units[unit].kind != UnitKind::Container || self.engine_away.is_none();
            if is_known && self.units[unit].paused == pause.paused {
                continue;
            }
            let serial = self.next_serial();
            let (ticket, action) = self.freeze(unit, serial, pause.paused);
            signals.waiting.insert(serial);
            self.act(ticket, action);
        }
        if signals.waiting.is_empty() {
            self.reply(id, Reply::Done { changed: false, warnings: Vec::new() });
        } else {
            self.signals.insert(id, signals);
        }
    }

    /// Lets a process go on that is to end: standing still it could not. An engine sees to that itself.
    pub(super) fn wake(&mut self, id: &UnitId) {
        if self.units[id].paused && self.units[id].kind != UnitKind::Container {
            let serial = self.next_serial();
            let (ticket, action) = self.freeze(id, serial, false);
            self.units.get_mut(id).expect("just looked").paused = false;
            self.act(ticket, action);
        }
    }

    /// What lets a unit stand still or go on.
    fn freeze(&self, unit: &UnitId, serial: u64, frozen: bool) -> (Ticket, Action) {
        let state = &self.units[unit];
        let (spec, incarnation, container) = (state.existing_spec(), state.incarnation, state.container.clone());
        (state.ticket(serial, &spec), Action::Freeze { spec, incarnation, container, frozen })
    }

    /// A unit stands still, or goes on, if it is still the life that was meant.
    pub(super) fn frozen(&mut self, ticket: &Ticket, frozen: bool) {
        let ResourceId::Unit(id) = &ticket.resource else { return };
        let (asked, now) = (self.asked, self.now);
        let Some(unit) = self.units.get_mut(id) else { return };
        if unit.incarnation == ticket.incarnation && matches!(unit.have, Have::Running { .. }) {
            unit.stand_still(frozen, now);
            // What was asked before may show it as it was.
            unit.blind_until = asked;
            self.persist = true;
        }
    }
}
