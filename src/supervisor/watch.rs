//! Debounces file changes: a burst is one change, and a change is acted on once it has been quiet for a while.
//!
//! All rules share one quiet time, so that a save that touches two services restarts both in one pass, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::effect::{Effect, Watched};
use super::event::{RequestId, RuleId};
use super::machine::Supervisor;
use super::request::{Reply, Select};
use crate::base::moment::Moment;
use crate::base::name::{ServiceName, UnitId};
use crate::model::watch::{Sources, WatchAction, WatchRule};
use crate::plan::next::Goal;

/// After a single file: an editor's save is a burst of events within about a millisecond, and nobody is to wait longer than he notices.
const QUIET_ONE: Duration = Duration::from_millis(8);
/// After several files: a formatter, a branch switch. What comes so soon after a change that was acted on belongs to the same burst.
const QUIET_MANY: Duration = Duration::from_millis(100);
/// However long it goes on.
const PATIENCE: Duration = Duration::from_secs(1);
/// While git holds its index lock.
const PATIENCE_GIT: Duration = Duration::from_secs(30);

/// Watched files and what has changed among them.
#[derive(Debug, Clone, Default)]
pub struct Watches {
    armed: BTreeMap<RuleId, (ServiceName, WatchRule)>,
    trouble: BTreeMap<ServiceName, String>,
    changed: BTreeMap<RuleId, BTreeSet<PathBuf>>,
    /// Changes that wait, and until when.
    held: Vec<(Moment, Change)>,
    first: Option<Moment>,
    last: Option<Moment>,
    /// The last change that was acted on.
    acted_on: Option<Moment>,
    busy: bool,
    next_id: u32,
}

/// Files that have changed, by one rule.
#[derive(Debug, Clone)]
pub struct Change {
    /// Whose rule.
    pub service: ServiceName,
    /// The rule.
    pub rule: WatchRule,
    /// The files, at least one.
    pub paths: BTreeSet<PathBuf>,
    /// Of one that had to wait, when it came last: what has begun since knows of it.
    pub noticed: Option<Moment>,
}

impl Change {
    /// Why something is done about it.
    pub fn reason(&self) -> String {
        format!("{} changed", self.first().display())
    }

    /// One of the files.
    pub fn first(&self) -> &Path {
        self.paths.first().unwrap_or(&self.rule.path)
    }
}

impl Watches {
    /// The rules of a service that are armed.
    pub fn rules_of<'a>(&'a self, service: &'a ServiceName) -> impl Iterator<Item = &'a WatchRule> {
        self.armed.values().filter(move |(owner, _)| owner == service).map(|(_, rule)| rule)
    }

    /// Takes in changed files.
    pub fn changed(&mut self, rule: RuleId, paths: &[PathBuf], busy: bool, now: Moment) {
        let Some((service, _)) = self.armed.get(&rule) else { return };
        // What tells of changes works again.
        self.trouble.remove(service);
        self.changed.entry(rule).or_default().extend(paths.iter().cloned());
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.busy = busy;
    }

    /// A watch that does not work.
    pub fn trouble(&mut self, rule: RuleId, message: &str) {
        if let Some((service, _)) = self.armed.get(&rule) {
            self.trouble.insert(service.clone(), message.to_owned());
        }
    }

    /// Acts on a change later.
    pub fn hold(&mut self, change: Change, now: Moment, until: Moment) {
        self.held.push((until, Change { noticed: Some(now), ..change }));
    }

    /// Adds a change to the one of its service that waits, if one does.
    pub fn joins(&mut self, change: &Change, now: Moment) -> bool {
        let waiting = self.held.iter_mut().find(|(_, held)| held.service == change.service && held.rule == change.rule);
        let Some((_, held)) = waiting else { return false };
        held.paths.extend(change.paths.iter().cloned());
        held.noticed = Some(now);
        true
    }

    /// When something is to be done.
    pub fn due(&self) -> Option<Moment> {
        let held = self.held.iter().map(|(until, _)| *until);
        held.chain(self.quiet_at()).min()
    }

    /// When what has changed will have been quiet for long enough.
    fn quiet_at(&self) -> Option<Moment> {
        let (first, last) = (self.first?, self.last?);
        let paths: BTreeSet<&PathBuf> = self.changed.values().flatten().collect();
        let goes_on = self.acted_on.is_some_and(|before| first.since(before) < QUIET_MANY);
        let (quiet, patience) = match (self.busy, paths.len()) {
            (true, _) => (Duration::from_millis(200), PATIENCE_GIT),
            (false, 0 | 1) if !goes_on => (QUIET_ONE, PATIENCE),
            (false, _) => (QUIET_MANY, PATIENCE),
        };
        Some((last + quiet).min(first + patience))
    }

    /// What has changed and is quiet now.
    pub fn take_due(&mut self, now: Moment) -> Vec<Change> {
        let armed = &self.armed;
        // One whose rule is there no more was of a rule that is not asked for any more.
        let is_armed = |change: &Change| armed.values().any(|(owner, rule)| *owner == change.service && *rule == change.rule);
        let waited = self.held.extract_if(.., |(until, _)| *until <= now).map(|(_, change)| change);
        let waited: Vec<Change> = waited.filter(is_armed).collect();
        if self.quiet_at().is_none_or(|quiet| quiet > now) {
            return waited;
        }
        self.acted_on = self.last;
        (self.first, self.last, self.busy) = (None, None, false);
        let changed = std::mem::take(&mut self.changed);
        (changed.into_iter())
            .filter_map(|(id, paths)| {
                let (service, rule) = self.armed.get(&id)?.clone();
                Some(Change { service, rule, paths, noticed: None })
            })
            .chain(waited)
            .collect()
    }

    /// Whether file changes restart a service: what `ps` shows.
    pub fn state_of(&self, service: &ServiceName) -> Option<String> {
        let armed = self.armed.values().any(|(owner, _)| owner == service);
        armed.then(|| self.trouble.get(service).cloned().unwrap_or_else(|| "armed".to_owned()))
    }

    #[cfg(test)]
    pub(super) fn armed_rules(&self) -> Vec<RuleId> {
        self.armed.keys().copied().collect()
    }

    /// Whether any rule is armed.
    pub fn any(&self) -> bool {
        !self.armed.is_empty()
    }
}

impl Supervisor {
    fn is_watched(&self, service: &ServiceName) -> bool {
        self.watched.contains(service) || self.watchers.values().any(|watched| watched.contains(service))
    }

    /// File changes act on what runs of these services, until whoever asks for it goes away.
    pub(super) fn watch_for(&mut self, id: RequestId, select: &Select) {
        let Some(units) = self.present(id, &select.services) else { return };
        let looks = self.asked;
        for unit in &units {
            let unit = self.units.get_mut(unit).expect("just chosen");
            // What an earlier supervisor left running is looked after again.
            if unit.goal == Goal::Left && unit.is_alive() {
                unit.goal = Goal::Up;
                unit.ours_again(looks);
            }
        }
        // Whoever only looks calls off no `down` under way.
        let wanted: Vec<UnitId> = units.iter().filter(|unit| self.units[*unit].goal == Goal::Up).cloned().collect();
        if !wanted.is_empty() {
            self.need_again(&wanted);
        }
        self.watchers.insert(id, units.into_iter().map(|unit| unit.service).collect());
        self.expectant.push(id);
    }

    /// Whether a change of the files of these units might be missed as yet.
    pub(super) fn arms_watches_of(&self, units: &[UnitId]) -> bool {
        let is_armed = |unit: &UnitId| self.watches.rules_of(&unit.service).next().is_some();
        self.watches_under_way > 0 && units.iter().any(is_armed)
    }

    /// Tells those who watch, once every change counts.
    fn tell_watchers(&mut self) {
        if self.watches_under_way > 0 {
            return;
        }
        for id in std::mem::take(&mut self.expectant) {
            if self.watchers.contains_key(&id) {
                self.reply(id, Reply::Done { changed: false, warnings: Vec::new() });
            }
        }
    }

    /// Arms the rules of what is wanted up, and only those.
    pub(super) fn arm_watches(&mut self) {
        self.name_watches();
        self.tell_watchers();
    }

    fn name_watches(&mut self) {
        let wanted: Vec<(ServiceName, WatchRule)> = match &self.deployment {
            Some(deployment) if !self.terminating => (deployment.stack.services.iter())
                .filter(|(name, _)| self.is_watched(name) && self.units_of(name).any(|unit| unit.goal == Goal::Up))
                .flat_map(|(name, service)| {
                    let rules = service.common.develop.watch.iter();
                    // There is nowhere to copy the files of a process to.
                    let fitting = rules.filter(|rule| !service.is_process() || rule.action == WatchAction::Restart);
                    fitting.map(|rule| (name.clone(), rule.clone()))
                })
                .collect(),
            Some(_) | None => Vec::new(),
        };
        let is_armed = |rule: &(ServiceName, WatchRule)| self.watches.armed.values().any(|armed| armed == rule);
        if self.watches.armed.len() == wanted.len() && wanted.iter().all(is_armed) {
            return;
        }
        let mut old: Vec<_> = std::mem::take(&mut self.watches.armed).into_iter().collect();
        for rule in wanted {
            let id = match old.iter().position(|(_, known)| *known == rule) {
                Some(at) => old.swap_remove(at).0,
                None => {
                    self.watches.next_id += 1;
                    RuleId(self.watches.next_id)
                }
            };
            self.watches.armed.insert(id, rule);
        }
        let list = (self.watches.armed.iter())
            .map(|(id, (service, rule))| {
                let sources = self.definition_of(service).map_or(Sources::All, Sources::of);
                Watched { id: *id, service: service.clone(), rule: rule.clone(), sources }
            })
            .collect();
        self.watches_under_way += 1;
        self.effects.push(Effect::Watch(list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watches() -> Watches {
        let rule = WatchRule {
            path: "/src".into(),
            action: WatchAction::Restart,
            target: None,
            ignore: Vec::new(),
            include: Vec::new(),
            initial_sync: false,
            exec: None,
            ignore_defaults: None,
        };
        Watches { armed: [(RuleId(1), ("web".parse().unwrap(), rule))].into(), ..Watches::default() }
    }

    /// Feeds changes at these moments and returns when they are acted on.
    fn acted_on(changes: &[(u64, &str, bool)]) -> Vec<u64> {
        let mut watches = watches();
        let mut fired = Vec::new();
        let mut changes = changes.iter().peekable();
        loop {
            let due = watches.due().map(|due| due.0);
            match (changes.peek(), due) {
                (Some((at, path, busy)), due) if due.is_none_or(|due| *at < due) => {
                    watches.changed(RuleId(1), &[(*path).into()], *busy, Moment(*at));
                    changes.next();
                }
                (_, Some(due)) => {
                    assert_eq!(watches.take_due(Moment(due)).len(), 1);
                    fired.push(due);
                }
                (_, None) => return fired,
            }
        }
    }

    #[test]
    fn a_watch_that_tells_of_changes_is_in_trouble_no_more() {
        let mut watches = watches();
        watches.trouble(RuleId(1), "`/src` does not exist");
        assert_eq!(watches.trouble.len(), 1);
        watches.changed(RuleId(1), &["/src/a".into()], false, Moment(0));
        assert!(watches.trouble.is_empty());
    }

    #[test]
    fn one_file_waits_eight_milliseconds_and_several_a_hundred() {
        assert_eq!(acted_on(&[(0, "a", false), (1, "a", false)]), [9]);
        assert_eq!(acted_on(&[(0, "a", false), (1, "b", false), (50, "c", false)]), [150]);
    }

    #[test]
    fn a_burst_without_end_is_acted_on_after_a_second() {
        let burst: Vec<(u64, &str, bool)> = (0..30).map(|n| (n * 90 / 2, if n % 2 == 0 { "a" } else { "b" }, false)).collect();
        assert_eq!(acted_on(&burst[1..])[0], 8 + 45, "the first file alone");
        let both: Vec<_> = [(0, "a", false), (0, "b", false)].into_iter().chain(burst).collect();
        assert_eq!(acted_on(&both)[0], 1000);
    }

    #[test]
    fn a_burst_of_saves_is_acted_on_at_its_begin_and_once_more_at_its_end() {
        let saves: Vec<(u64, &str, bool)> = (0..10).map(|n| (n * 50, "a", false)).collect();
        assert_eq!(acted_on(&saves), [8, 450 + 100]);
        assert_eq!(acted_on(&[(0, "a", false), (100, "a", false)]), [8, 108], "two saves that are no burst");
    }

    #[test]
    fn nothing_happens_while_git_holds_its_lock() {
        assert_eq!(acted_on(&[(0, "a", true), (190, "b", true), (300, "c", false)]), [400]);
    }

    #[test]
    fn a_change_of_a_rule_that_is_no_longer_armed_is_nothing() {
        let mut watches = watches();
        watches.changed(RuleId(9), &["a".into()], false, Moment(0));
        assert_eq!(watches.due(), None);
    }
}
