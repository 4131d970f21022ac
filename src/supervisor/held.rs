//! Whose listening sockets and proxies are held: of what runs or will run, and of nobody else.
//!
//! They are opened by the start that needs them first. They are closed when nobody wants the service, and when it will not
//! start again by itself: clients would wait in a queue that nobody ever looks at.

use std::collections::BTreeSet;

use super::effect::Effect;
use super::machine::Supervisor;
use super::unit::Unit;
use crate::base::name::UnitId;
use crate::plan::next::Goal;

impl Supervisor {
    /// Says whose sockets are to be held, when that has changed.
    pub(super) fn hold_sockets(&mut self) {
        let wanted: BTreeSet<UnitId> =
            self.units.values().filter(|unit| self.is_held(unit)).map(|unit| unit.id.clone()).collect();
        if wanted != self.held {
            self.held.clone_from(&wanted);
            self.effects.push(Effect::Hold(wanted));
        }
    }

    fn is_held(&self, unit: &Unit) -> bool {
        let listens = unit.spec.service().process().is_some_and(|process| process.proxy || !process.sockets.is_empty());
        listens
            && unit.goal == Goal::Up
            && !unit.given_up
            && (unit.is_alive() || unit.busy.is_some() || unit.next_step(self.now).is_some())
    }
}
