//! Which images are still waited for. The pull or build of one that nobody waits for any more is broken off at once: a `down` or
//! Ctrl-C need not sit out a registry that does not answer.

use super::effect::Effect;
use super::machine::Supervisor;
use super::unit::Unit;
use crate::plan::action::ResourceId;
use crate::plan::next::Goal;

impl Supervisor {
    /// Breaks off pulls and builds that nobody waits for.
    pub(super) fn call_off_images(&mut self) {
        let waits = |image: &super::resource::Image| image.busy.is_some() && !image.called_off;
        let unwanted: Vec<ResourceId> = (self.images.iter())
            .filter(|(id, image)| waits(image) && !self.is_waited_for(id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in unwanted {
            let image = self.images.get_mut(&id).expect("just listed");
            image.called_off = true;
            if let Some((serial, _)) = image.busy {
                self.effects.push(Effect::CallOff(serial));
            }
        }
    }

    /// Whether anybody waits for an image: a unit of a service that is of it and is to be there, or, where there is none (`scale: 0`,
    /// `images:`), anything else of the stack.
    pub(super) fn is_waited_for(&self, id: &ResourceId) -> bool {
        if !self.images.get(id).is_some_and(|image| image.wanted) {
            return false;
        }
        let is_to_be = |unit: &Unit| matches!(unit.goal, Goal::Up | Goal::Created);
        let mut own = match id {
            ResourceId::Image(service) => {
                let is_of_it = move |unit: &&Unit| !unit.ghost && self.builder_of(&unit.id.service) == service;
                self.units.values().filter(is_of_it).filter(|unit| unit.goal != Goal::Gone).peekable()
            }
            ResourceId::Prefetch(_)
            | ResourceId::Network(_)
            | ResourceId::Volume(_)
            | ResourceId::Unit(_)
            | ResourceId::Owned
            | ResourceId::Images => return self.units.values().any(is_to_be),
        };
        let is_asked_for = || match id {
            ResourceId::Image(service) => self.wishes.values().any(|wish| wish.idle.contains(service)),
            ResourceId::Prefetch(_)
            | ResourceId::Network(_)
            | ResourceId::Volume(_)
            | ResourceId::Unit(_)
            | ResourceId::Owned
            | ResourceId::Images => false,
        };
        if own.peek().is_some() { own.any(is_to_be) } else { self.units.values().any(is_to_be) || is_asked_for() }
    }
}
