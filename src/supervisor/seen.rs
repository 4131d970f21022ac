//! Takes in what a look at the engine shows: the truth about containers, networks, volumes and images.
//!
//! Only facts are changed here. A look that was asked for before an action was answered does not show it, and is passed over for
//! that unit or resource.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::health::HealthState;
use super::machine::{Kind, Supervisor, keeper_among, mounted_among};
use super::news::begin_life;
use super::notice::{Level, does_not_answer};
use super::status::{Health, UnitKind};
use super::unit::{Have, Successor, Unit, WentOn};
use crate::base::name::UnitId;
use crate::model::container::Container;
use crate::model::service::{Common, Service};
use crate::model::stack::Stack;
use crate::plan::action::{Fault, ResourceId};
use crate::plan::actual::{Actual, SeenContainer, SeenHealth, SeenState};
use crate::plan::desired::{Caller, Deployment, Places, UnitSpec};
use crate::plan::hash::ConfigHash;
use crate::plan::next::Goal;

impl Supervisor {
    pub(super) fn engine_is_away(&mut self, message: String) {
        // A stack of processes alone has nothing to do with it.
        if self.engine_away.is_none() && self.may_have_containers() {
            self.say(Level::Warning, does_not_answer(&message));
        }
        self.engine_away = Some(message);
        self.away_at = self.asked;
    }

    /// Of what no deployment tells there may be any.
    fn may_have_containers(&self) -> bool {
        let has_some = |deployment: &Arc<Deployment>| deployment.stack.services.values().any(Service::needs_engine);
        self.touches_engine() || self.deployment.as_ref().is_none_or(has_some)
    }

    pub(super) fn observed(&mut self, number: u64, result: Result<Actual, Fault>) {
        if number != self.asked {
            return;
        }
        self.observing = false;
        match result {
            Err(fault) => self.engine_is_away(fault.message),
            Ok(actual) => {
                if self.engine_away.take().is_some() && self.may_have_containers() {
                    self.say(Level::Info, "the container engine is back");
                }
                self.seen = number;
                self.take_in(number, actual);
            }
        }
        if std::mem::take(&mut self.look_again) {
            self.look();
        }
    }

    fn take_in(&mut self, number: u64, actual: Actual) {
        let (look_first, going_down) = (self.look_first, self.going_down);
        for kind in [Kind::Network, Kind::Volume] {
            let seen = if kind == Kind::Network { &actual.networks } else { &actual.volumes };
            for resource in
                self.resources_mut(kind).values_mut().filter(|resource| resource.busy.is_none() && resource.blind_until < number)
            {
                let there = seen.contains_key(&resource.name);
                // What somebody else takes away is made again by the next `up`, not behind their back.
                if resource.there == Some(true) && !there && number > look_first && resource.want == super::resource::Want::There
                {
                    resource.want = super::resource::Want::Left;
                }
                // And what they put back is wanted as before.
                if resource.there == Some(false) && there && resource.want == super::resource::Want::Left && !going_down {
                    resource.want = super::resource::Want::There;
                }
                resource.there = Some(there);
                resource.renew &= there;
                resource.asking &= there;
                if resource.external && !there && resource.want == super::resource::Want::There {
                    let what = if kind == Kind::Network { "network" } else { "volume" };
                    resource.failed = Some(format!("{what} {} is declared `external` and does not exist", resource.name));
                }
            }
            let wanted: Vec<(String, String)> = (self.resources(kind).iter())
                .filter(|(_, resource)| resource.busy.is_none() && resource.blind_until < number)
                .map(|(key, resource)| (key.clone(), resource.name.clone()))
                .collect();
            for (key, name) in wanted {
                if let Some(resource) = seen.get(&name) {
                    self.compare(kind, &key, resource);
                }
            }
            // What carries our label and no file names: known, so that `down` finds it.
            let known: BTreeSet<String> = self.resources(kind).values().map(|resource| resource.name.clone()).collect();
            for (name, resource) in seen.iter().filter(|(name, resource)| resource.ours && !known.contains(*name)) {
                if self.removed.get(&(kind, name.clone())).is_some_and(|blind_until| *blind_until >= number) {
                    continue;
                }
                let want = match (self.going_down, kind, self.takes_volumes) {
                    (true, Kind::Network, _) | (true, Kind::Volume, true) => super::resource::Want::Gone,
                    (true, Kind::Volume, false) | (false, ..) => super::resource::Want::Left,
                };
                let key =
                    resource.key.clone().filter(|key| !self.resources(kind).contains_key(key)).unwrap_or_else(|| name.clone());
                let mut found = super::resource::Resource::new(name.clone(), false, want);
                found.there = Some(true);
                self.resources_mut(kind).insert(key, found);
            }
        }
        for image in self.images.values_mut().filter(|image| image.busy.is_none() && image.blind_until < number) {
            let tagged = actual.tagged.get(&image.reference).copied();
            image.seen(image.among(&actual.images), tagged);
        }
        self.names_seen(number, &actual);
        let (mut found, mut compared) = (BTreeSet::new(), Vec::new());
        let (waiting, in_place): (Vec<_>, Vec<_>) = actual.containers.iter().partition(|it| self.is_successor(it));
        self.successors_seen(number, &waiting);
        let there: BTreeSet<&str> = actual.containers.iter().map(|container| container.id.as_str()).collect();
        for container in in_place {
            let Some(id) = self.unit_of(number, container, &there) else { continue };
            if found.insert(id.clone()) {
                let is_shown = self.units[&id].is_seen_by(number);
                self.container_seen(number, &id, container);
                // `up` starts containers that have ended; which these are, its first look tells.
                let first_look = number >= self.look_first;
                let image = first_look.then(|| self.image_by_name(&id)).flatten();
                let mounted = if first_look { self.mounted_by_name(&id) } else { BTreeMap::new() };
                let unit = self.units.get_mut(&id).expect("just seen");
                let sought = first_look && std::mem::take(&mut unit.sought);
                if first_look && is_shown && std::mem::take(&mut unit.compares) {
                    compared.push(id.clone());
                }
                // And whether somebody has given the name of its image, or of one that it mounts, to another since.
                if sought && unit.goal == Goal::Up {
                    unit.image = image.or(unit.image.take());
                    unit.mounted.extend(mounted);
                }
                unit.again |= sought && unit.goal == Goal::Up && matches!(unit.have, Have::Exited { .. }) && unit.busy.is_none();
            }
        }
        self.make_anew_what_was_disconnected(&compared);
        if number >= self.look_first {
            self.units.values_mut().for_each(|unit| unit.sought = false);
            // What comes later is somebody else's word.
            self.orphans_go = false;
            self.scaled.clear();
        }
        self.forgotten.retain(|_, blind_until| *blind_until > number);
        self.removed.retain(|_, blind_until| *blind_until > number);
        for unit in self.units.values_mut().filter(|unit| unit.kind == UnitKind::Container && unit.is_seen_by(number)) {
            if unit.have != Have::Absent && !found.contains(&unit.id) {
                unit.have = Have::Absent;
                (unit.networks, unit.volumes, unit.shares) = Default::default();
                unit.stopping = None;
                (unit.made, unit.container, unit.made_image) = (None, None, None);
                unit.made_mounted.clear();
                unit.removed = true;
            }
            // What the first look after a request does not find is simply not there yet.
            unit.removed &= number > unit.ours_until;
        }
        if number >= self.look_first {
            self.follow_what_was_seen();
        }
        self.tell_removals();
        self.make_room(&actual.networks);
    }

    /// What a container is made of is what its image's name stands for then: where that is another image by now than the one that
    /// was wanted, no container could ever be of that one.
    fn names_seen(&mut self, number: u64, actual: &Actual) {
        let (images, keepers, suppliers) = (&self.images, &self.keepers, &self.suppliers);
        let is_shown = |id: &ResourceId| images.get(id).is_some_and(|image| image.busy.is_none() && image.blind_until < number);
        for unit in self.units.values_mut() {
            let deployment = &unit.spec.deployment;
            if let Some(wanted) = &unit.image {
                let keeper = keeper_among(keepers, &unit.id.service);
                let reference = deployment.image_of(&unit.id.service);
                let found = reference.and_then(|reference| actual.images.get(&reference));
                if is_shown(&ResourceId::Image(keeper.clone())) && found.is_some_and(|found| found != wanted) {
                    unit.image = None;
                }
            }
            if unit.mounted.is_empty() {
                continue;
            }
            let names = deployment.mounted_images(&unit.id.service);
            unit.mounted.retain(|path, wanted| {
                // What the file mounts no more is nothing that a container could lack.
                let Some(reference) = names.get(path) else { return false };
                !is_shown(&mounted_among(suppliers, reference))
                    || actual.images.get(reference).is_none_or(|found| found == wanted)
            });
        }
    }

    /// Somebody else removed containers; that is a word of the same weight as ours. An `up` brings them back.
    fn tell_removals(&mut self) {
        // What is made anew is between two containers.
        let is_gone = |unit: &&Unit| unit.removed && unit.have == Have::Absent && unit.successor.is_none();
        let gone: Vec<UnitId> =
            self.units.values().filter(is_gone).filter(|unit| unit.goal == Goal::Up).map(|unit| unit.id.clone()).collect();
        for id in gone {
            let unit = self.units.get_mut(&id).expect("just listed");
            (unit.goal, unit.at_work) = (Goal::Stopped, false);
            self.say(Level::Warning, format!("the container of {id} was removed by somebody else; `up` makes it anew"));
        }
    }

    /// Whether a container waits to take the place of a unit's that we know.
    fn is_successor(&self, container: &SeenContainer) -> bool {
        let unit = container.unit.as_ref().filter(|_| !container.one_off && container.replaces.is_some());
        unit.and_then(|id| self.units.get(id)).is_some_and(|unit| {
            let own_name = unit.spec.deployment.container_name(&unit.id);
            // One that we know by its id may have taken the place and not yet the name, when its supervisor was killed.
            let is_running = matches!(container.state, SeenState::Running { .. } | SeenState::Restarting);
            let is_in_place = unit.container.as_ref() == Some(&container.id) && is_running;
            unit.kind == UnitKind::Container && container.name != own_name && !is_in_place
        })
    }

    /// What waits beside containers. Of several that wait for one place, which only a mishap can leave behind, the next look
    /// shows the others once the first is gone.
    fn successors_seen(&mut self, number: u64, waiting: &[&SeenContainer]) {
        for unit in self.units.values_mut().filter(|unit| unit.is_seen_by(number)) {
            let mut beside = waiting.iter().filter(|seen| seen.unit.as_ref() == Some(&unit.id));
            let known = unit.successor.take();
            let same = |seen: &&&SeenContainer| known.as_ref().is_some_and(|known| known.container == seen.id);
            let Some(seen) = beside.clone().find(same).or_else(|| beside.next()) else { continue };
            let is_new = known.as_ref().is_none_or(|known| known.container != seen.id);
            if is_new && !seen.by_us && number > unit.ours_until {
                unit.hand_over();
            }
            let replaces = seen.replaces.clone().unwrap_or_default();
            unit.successor = Some(Successor {
                container: seen.id.clone(),
                name: seen.name.get(replaces.len() + 1..).unwrap_or_default().to_owned(),
                replaces,
                hash: seen.hash.clone().filter(|_| seen.by_us),
                spec: known.filter(|known| known.container == seen.id).and_then(|known| known.spec),
                image: Some(seen.image.clone()),
                mounted: seen.mounted.clone(),
            });
        }
    }

    /// The unit that a container belongs to; one that no unit can have is known by its own name. None for what is gone since the
    /// look was asked for, and its unit with it. `there` are all containers: one that somebody else has put in the place of ours
    /// is the unit's by now.
    fn unit_of(&mut self, number: u64, container: &SeenContainer, there: &BTreeSet<&str>) -> Option<UnitId> {
        let by_name: Option<UnitId> = container.name.trim_start_matches('/').parse().ok().map(|name| UnitId::new(name, 1));
        let by_label = container.unit.clone().filter(|_| !container.one_off);
        if [&by_label, &by_name].into_iter().flatten().any(|id| self.is_forgotten(number, id)) {
            return None;
        }
        if let Some(id) = by_label {
            // What had this place before the last action is nobody else; the next look shows who has it now.
            let is_blind = |unit: &Unit| unit.kind == UnitKind::Container && unit.blind_until >= number;
            if self.units.get(&id).is_some_and(is_blind) {
                return Some(id);
            }
            let taken = self.units.get(&id).is_some_and(|unit| {
                unit.kind != UnitKind::Container
                    || (unit.container.as_ref().is_some_and(|own| *own != container.id && there.contains(own.as_str()))
                        && unit.have != Have::Absent)
            });
            if !taken && self.units.contains_key(&id) {
                return Some(id);
            }
        }
        let id = match (&container.unit, container.one_off, by_name) {
            (Some(unit), false, _) if !self.units.contains_key(unit) => unit.clone(),
            (_, _, Some(id)) => id,
            (Some(unit), _, None) => unit.clone(),
            (None, _, None) => return Some(UnitId::new("unnamed".parse().expect("a legal name"), 1)),
        };
        if !self.units.contains_key(&id) {
            let leaves = self.is_to_leave(&id) && !container.one_off;
            if leaves {
                self.wishes.values_mut().filter(|wish| wish.sweeps).for_each(|wish| wish.units.push(id.clone()));
            }
            let goal = if self.going_down || leaves { Goal::Gone } else { Goal::Left };
            let mut unit = Unit::new(self.ghost_spec(&id, container), goal);
            unit.takes_volumes = self.going_down && self.takes_volumes;
            (unit.ghost, unit.one_off) = (true, container.one_off);
            unit.kind = UnitKind::Container;
            self.units.insert(id.clone(), unit);
        }
        Some(id)
    }

    fn is_forgotten(&self, number: u64, id: &UnitId) -> bool {
        !self.units.contains_key(id) && self.forgotten.get(id).is_some_and(|blind_until| *blind_until >= number)
    }

    /// The definition of a replica that somebody else has added. Of what no file describes, one that says no more than the
    /// container's name: enough to stop and to remove it.
    fn ghost_spec(&self, id: &UnitId, container: &SeenContainer) -> UnitSpec {
        let in_force = self.deployment.as_ref().filter(|deployment| {
            let is_container = deployment.service(&id.service).is_some_and(|service| service.container().is_some());
            is_container && !container.one_off && deployment.container_name(id) == container.name
        });
        if let Some(spec) = in_force.and_then(|deployment| Self::spec_of(deployment, id)) {
            return spec;
        }
        let body = Container { container_name: Some(container.name.trim_start_matches('/').to_owned()), ..Container::default() };
        let service = Service { common: Common::default(), kind: crate::model::service::Kind::Container(Box::new(body)) };
        let mut stack = Stack::default();
        stack.disabled.insert(id.service.clone(), service);
        let deployment = Deployment { env: self.env.clone(), stack, caller: Caller::default(), places: Places::default() };
        let hash = container.hash.clone().unwrap_or_else(|| ConfigHash::from_label(""));
        UnitSpec { unit: id.clone(), deployment: Arc::new(deployment), hash }
    }

    /// The image that a unit's service names, as it was seen last; none while another is on its way.
    fn image_by_name(&self, id: &UnitId) -> Option<String> {
        let image = self.images.get(&self.image_of(&id.service)).filter(|image| image.wanted && image.is_ready())?;
        let own = self.deployment.as_ref()?.image_of(&id.service)?;
        (own == image.reference).then(|| image.id.clone()).flatten()
    }

    fn container_seen(&mut self, number: u64, id: &UnitId, container: &SeenContainer) {
        let now = self.now;
        let unit = self.units.get_mut(id).expect("found or made by the caller");
        if !unit.is_seen_by(number) {
            return;
        }
        let is_another = unit.container.as_ref() != Some(&container.id);
        let is_news = number > unit.ours_until;
        if is_another && !container.by_us && !unit.ghost && (is_news || unit.keep) {
            unit.theirs = true;
            if is_news {
                unit.hand_over();
            }
        }
        unit.theirs &= !container.by_us;
        // What has been started is done with, unless a successor waits beside it.
        unit.at_work &= unit.successor.is_some() || container.state == SeenState::Created;
        unit.removed = false;
        let known_life = unit.birth.clone();
        // One that was adopted stays what it was found to be.
        let adopted = unit.made.take().filter(|_| unit.container.as_ref() == Some(&container.id));
        unit.container = Some(container.id.clone());
        unit.networks.clone_from(&container.networks);
        unit.addresses.clone_from(&container.addresses);
        unit.volumes.clone_from(&container.volumes);
        unit.shares.clone_from(&container.shares);
        unit.made_image = Some(container.image.clone());
        unit.made_mounted.clone_from(&container.mounted);
        // A hash that is not ours cannot be compared: such a container counts as different until it is adopted.
        unit.made = match (unit.ghost, container.by_us) {
            (true, _) => Some(unit.spec.hash.clone()),
            (false, true) => container.hash.clone(),
            (false, false) => adopted,
        };
        let same_life = |birth: &str| known_life.as_deref() == Some(birth);
        if let SeenState::Running { birth } | SeenState::Exited { birth, .. } = &container.state
            && !same_life(birth)
        {
            // Whoever was attached has seen this life, whoever began it.
            self.leases.values_mut().for_each(|lease| lease.audience.sees(id));
        }
        match &container.state {
            SeenState::Created => unit.have = Have::Created,
            SeenState::Running { birth } => {
                let was_running = matches!(unit.have, Have::Running { .. });
                unit.between_lives = false;
                if unit.goal == Goal::Stopped && !was_running && !same_life(birth) && number > unit.ours_until {
                    // Nor is what somebody else starts stopped again.
                    unit.goal = Goal::Up;
                }
                if !same_life(birth) || !was_running {
                    let first = unit.incarnation.0 == 0 && unit.birth.is_none();
                    unit.incarnation.0 += 1;
                    if !first
                        && unit.birth.is_some()
                        && matches!(unit.have, Have::Running { .. } | Have::Exited { .. })
                        && !same_life(birth)
                    {
                        unit.restarts += 1;
                    }
                    unit.birth = Some(birth.clone());
                    unit.have = Have::Running { since: now, leader_exit: None };
                    if first {
                        unit.started_generation = unit.generation;
                    }
                    begin_life(unit, now, !self.engine_health);
                }
                unit.inspected = true;
                // The signal came before there was anything to be killed.
                unit.condemned = false;
                unit.stand_still(container.paused, now);
                if unit.unprobed.as_deref() != container.unprobed.as_ref() {
                    // From now on we do, or the engine does.
                    unit.unprobed = container.unprobed.clone().map(Box::new);
                    unit.health = unit.probed().map_or_else(HealthState::default, |check| HealthState::begin(check, now));
                }
                // Of what is paused the list tells none: the last one stands.
                let is_told = !container.paused || container.health.is_some();
                if unit.probed().is_none() && is_told {
                    match container.health {
                        // What has been found is not set back by an engine that has not looked yet.
                        Some(SeenHealth::Starting) if unit.was_ready => unit.health.verdict = Some(Health::Healthy),
                        Some(SeenHealth::Starting) => {
                            unit.health.verdict = Some(Health::Starting);
                            let check = container.check.as_ref().or_else(|| unit.check_of_engine()).cloned();
                            if let Some(check) = check.filter(|_| unit.early.is_none() && !self.engine_health) {
                                unit.probe_beside_engine(check, now);
                            }
                        }
                        Some(SeenHealth::Healthy) => unit.engine_says(Some(Health::Healthy)),
                        Some(SeenHealth::Unhealthy) => unit.engine_says(Some(Health::Unhealthy)),
                        None => unit.engine_says(None),
                    }
                    unit.was_ready |= unit.health.verdict == Some(Health::Healthy);
                    let is_younger = |went_on: WentOn| container.probed.is_some_and(|age| age < went_on.ago(now));
                    let is_told_anew = unit.health.verdict != Some(Health::Unhealthy) || unit.went_on.is_some_and(is_younger);
                    unit.went_on = unit.went_on.filter(|_| !is_told_anew);
                }
                for lease in self.leases.values_mut().filter(|lease| lease.look == number) {
                    lease.started.remove(id);
                }
            }
            SeenState::Restarting => {
                unit.health = HealthState::default();
                unit.early = None;
                unit.between_lives = true;
                if !matches!(unit.have, Have::Running { .. }) {
                    unit.have = Have::Running { since: now, leader_exit: None };
                }
            }
            SeenState::Exited { exit, birth } => match unit.have {
                Have::Running { .. } => {
                    unit.birth = Some(birth.clone());
                    self.life_ended(id, *exit);
                }
                Have::Exited { at, .. } => unit.have = Have::Exited { exit: *exit, at },
                Have::Absent | Have::Created => {
                    unit.birth = Some(birth.clone());
                    unit.have = Have::Exited { exit: *exit, at: now };
                }
            },
        }
        let unit = self.units.get_mut(id).expect("just seen");
        if let Some(age) = container.age {
            unit.aged(age, now);
        }
    }
}
