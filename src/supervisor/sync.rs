//! `develop.watch` of containers: files that are copied into a running one, and images that are built anew.
//!
//! A container takes one copy at a time, in the order in which things changed. The old container goes on until a new image is
//! built: a build is only another image that is wanted, and the table does the rest.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use super::effect::Effect;
use super::machine::{Supervisor, keeper_among};
use super::notice::{Level, Notice};
use super::status::UnitKind;
use super::unit::Unit;
use super::watch::Change;
use crate::base::name::{ServiceName, UnitId};
use crate::model::watch::{WatchAction, WatchRule};
use crate::plan::action::{Action, Fault, FaultKind, Outcome, ResourceId, Ticket};
use crate::plan::next::Goal;
use crate::plan::provision::Way;

/// What is on its way into one container.
#[derive(Debug, Clone, Default)]
pub(super) struct Syncing {
    waiting: VecDeque<Sync>,
    in_flight: Option<(u64, Sync)>,
    /// The container that was given all files of the rules with `initial_sync`.
    begun: Option<String>,
}

/// One copy.
#[derive(Debug, Clone)]
struct Sync {
    rule: WatchRule,
    /// None is all that there is.
    paths: Option<BTreeSet<PathBuf>>,
}

impl Supervisor {
    /// Lets the image of a service be built anew. One whose build is under way is outdated, and broken off.
    pub(super) fn rebuild_for(&mut self, change: &Change) {
        let builder = self.keeper_of(&change.service).clone();
        let id = ResourceId::Image(builder.clone());
        let can_be_built = self.is_buildable(&builder);
        let Some(image) = self.images.get_mut(&id).filter(|_| can_be_built) else {
            let text = format!("{}: {} has no `build`, so there is nothing to rebuild", change.reason(), change.service);
            return self.say(Level::Warning, text);
        };
        (image.failed, image.failures, image.not_before) = (None, 0, self.now);
        image.asked_by = None;
        match image.busy {
            Some((serial, Way::Build)) => {
                if !std::mem::replace(&mut image.outdated, true) {
                    self.effects.push(Effect::CallOff(serial));
                }
            }
            Some((_, Way::Pull)) | None => image.renew = Some(Way::Build),
        }
        let keepers = &self.keepers;
        let is_of_it = |unit: &Unit| *keeper_among(keepers, &unit.id.service) == builder;
        for unit in self.units.values_mut().filter(|unit| unit.goal == Goal::Up && is_of_it(unit)) {
            (unit.given_up, unit.failures, unit.not_before, unit.keep) = (false, 0, self.now, false);
        }
        self.tell(Notice::Because { resource: id, what: "rebuild".to_owned(), reason: change.reason() });
    }

    fn is_buildable(&self, service: &ServiceName) -> bool {
        let container = self.definition_of(service).and_then(|service| service.container());
        container.is_some_and(|container| container.build.is_some())
    }

    /// Lets changed files be copied into the containers of their service.
    pub(super) fn sync_for(&mut self, change: &Change) {
        let units: Vec<UnitId> = (self.units_of(&change.service))
            .filter(|unit| unit.goal == Goal::Up && unit.kind == UnitKind::Container)
            .map(|unit| unit.id.clone())
            .collect();
        for id in units {
            let waiting = &mut self.syncs.entry(id).or_default().waiting;
            match waiting.iter_mut().find(|sync| sync.rule == change.rule) {
                Some(sync) => {
                    if let Some(paths) = &mut sync.paths {
                        paths.extend(change.paths.iter().cloned());
                    }
                }
                None => waiting.push_back(Sync { rule: change.rule.clone(), paths: Some(change.paths.clone()) }),
            }
        }
    }

    /// Begins the next copy of every container that runs as it should.
    pub(super) fn carry_syncs(&mut self) {
        self.begin_initial_syncs();
        let ready: Vec<UnitId> = (self.syncs.iter())
            .filter(|(id, syncing)| syncing.in_flight.is_none() && !syncing.waiting.is_empty() && self.units[*id].is_current())
            .map(|(id, _)| id.clone())
            .collect();
        let may = self.may_touch_engine();
        for id in ready.iter().filter(|_| may) {
            let unit = &self.units[id];
            let Some(container) = unit.container.clone() else { continue };
            let spec = unit.spec.clone();
            let serial = self.next_serial();
            let ticket = self.units[id].ticket(serial, &spec);
            let syncing = self.syncs.get_mut(id).expect("just listed");
            let Some(sync) = syncing.waiting.pop_front() else { continue };
            let paths = sync.paths.as_ref().map(|paths| paths.iter().cloned().collect());
            let rule = Box::new(sync.rule.clone());
            syncing.in_flight = Some((serial, sync));
            self.act(ticket, Action::Sync { spec, container, rule, paths });
        }
    }

    /// A container that has just begun to be watched is given all files of the rules that say so.
    fn begin_initial_syncs(&mut self) {
        let fresh: Vec<(UnitId, String, Vec<WatchRule>)> = (self.units.values())
            .filter(|unit| unit.kind == UnitKind::Container && !unit.ghost && unit.is_current())
            .filter_map(|unit| {
                let container = unit.container.clone()?;
                let begun = self.syncs.get(&unit.id).and_then(|syncing| syncing.begun.as_ref());
                let rules = self.watches.rules_of(&unit.id.service).filter(|rule| rule.initial_sync && copies(rule));
                let rules: Vec<WatchRule> = rules.cloned().collect();
                (begun != Some(&container) && !rules.is_empty()).then(|| (unit.id.clone(), container, rules))
            })
            .collect();
        for (id, container, rules) in fresh {
            let syncing = self.syncs.entry(id).or_default();
            syncing.begun = Some(container);
            for rule in rules.into_iter().rev() {
                syncing.waiting.retain(|sync| sync.rule != rule);
                syncing.waiting.push_front(Sync { rule, paths: None });
            }
        }
    }

    /// What a copy brought, as the author of the stack would write it.
    fn shown(&self, sync: &Sync) -> String {
        let directory = self.deployment.as_ref().map(|deployment| deployment.stack.directory.clone()).unwrap_or_default();
        let short = |path: &Path| path.strip_prefix(&directory).unwrap_or(path).display().to_string();
        let Some(paths) = &sync.paths else { return format!("all of {}", short(&sync.rule.path)) };
        match (paths.first(), paths.len()) {
            (None, _) => short(&sync.rule.path),
            (Some(only), 1) => short(only),
            (Some(first), count) => format!("{} and {} more", short(first), count - 1),
        }
    }

    /// Whether an answer was one to a copy.
    pub(super) fn synced(&mut self, ticket: &Ticket, result: &Result<Outcome, Fault>) -> bool {
        let ResourceId::Unit(id) = &ticket.resource else { return false };
        let Some(syncing) = self.syncs.get_mut(id) else { return false };
        let Some((_, sync)) = syncing.in_flight.take_if(|(serial, _)| *serial == ticket.serial) else { return false };
        match result {
            Err(fault) if fault.kind == FaultKind::EngineAway => {
                syncing.waiting.push_front(sync);
                self.engine_is_away(fault.message.clone());
            }
            Err(fault) => self.say(Level::Warning, format!("{id}: {}: {fault}", sync.rule.path.display())),
            Ok(_) => {
                let text = format!("{id}: synced {}", self.shown(&sync));
                self.say(Level::Info, text);
                let restarts = sync.rule.action == WatchAction::SyncRestart;
                let first = sync.paths.as_ref().and_then(|paths| paths.first());
                // It may have gone while the answer was on its way.
                let is_wanted = self.units.get(id).is_some_and(|unit| unit.goal == Goal::Up);
                if let Some(first) = first.filter(|_| restarts && is_wanted) {
                    self.restart_unit(id, &format!("{} changed", first.display()));
                }
            }
        }
        true
    }
}

fn copies(rule: &WatchRule) -> bool {
    match rule.action {
        WatchAction::Sync | WatchAction::SyncRestart | WatchAction::SyncExec => true,
        WatchAction::Rebuild | WatchAction::Restart => false,
    }
}
