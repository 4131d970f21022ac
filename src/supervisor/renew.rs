//! Networks and volumes: which are needed, and what becomes of those whose definition has changed.
//!
//! A network holds nothing: it is removed and made again, and the containers in it are made anew around that. A volume holds
//! data: it stays as it is, and that is said, unless somebody has agreed to the loss.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::machine::{Kind, Supervisor};
use super::notice::{Level, Notice, ResourceState};
use super::resource::{Resource, Want};
use super::status::UnitKind;
use super::unit::{Have, Unit};
use crate::base::name::{ServiceName, UnitId};
use crate::plan::action::ResourceId;
use crate::plan::actual::SeenResource;
use crate::plan::desired::Deployment;
use crate::plan::diff;
use crate::plan::hash::ConfigHash;
use crate::plan::next::Goal;

impl Supervisor {
    pub(super) fn need_network(&mut self, deployment: &Arc<Deployment>, key: &str) {
        let network = deployment.stack.networks.get(key);
        let external = network.is_some_and(|network| network.external);
        let name = deployment.network_name(key);
        let hashes = network.map(|network| (ConfigHash::of_network(&name, network), ConfigHash::formerly_of_network(network)));
        self.need_resource(Kind::Network, key, name, external, hashes);
    }

    /// `may_lose`: whether a request says that its data may be lost; none of one that does not speak of it.
    pub(super) fn need_volume(&mut self, deployment: &Arc<Deployment>, key: &str, may_lose: Option<bool>) {
        let Some(volume) = deployment.stack.volumes.get(key) else { return };
        let name = deployment.volume_name(key);
        let hashes = (ConfigHash::of_volume(&name, volume), ConfigHash::formerly_of_volume(volume));
        self.need_resource(Kind::Volume, key, name, volume.external, Some(hashes));
        if let Some(resource) = self.volumes.get_mut(key) {
            resource.may_lose = may_lose.unwrap_or(resource.may_lose);
        }
    }

    /// `hashes` are the definition's, and what earlier releases made of it.
    fn need_resource(&mut self, kind: Kind, key: &str, name: String, external: bool, hashes: Option<(ConfigHash, ConfigHash)>) {
        // A thing found before the file named it goes by its engine name.
        if let Some(found) = self.resources_mut(kind).remove(&name).filter(|_| name != key) {
            self.resources_mut(kind).entry(key.to_owned()).or_insert(found);
        }
        let resource =
            self.resources_mut(kind).entry(key.to_owned()).or_insert_with(|| Resource::new(name.clone(), external, Want::There));
        if resource.name != name || resource.external != external {
            *resource = Resource::new(name, external, Want::There);
        }
        resource.want = Want::There;
        (resource.hash, resource.former) = hashes.unzip();
        resource.forgive();
        resource.told = false;
    }

    /// What the files say differently of networks and volumes than before.
    pub(super) fn note_changes(&mut self, before: Option<&Deployment>) {
        let (Some(before), Some(now)) = (before, self.deployment.clone()) else { return };
        for (key, resource) in &mut self.networks {
            if let (Some(old), Some(new)) = (before.stack.networks.get(key), now.stack.networks.get(key)) {
                note(resource, diff::changes(&format!("networks.{key}"), old, new));
            }
        }
        for (key, resource) in &mut self.volumes {
            if let (Some(old), Some(new)) = (before.stack.volumes.get(key), now.stack.volumes.get(key)) {
                note(resource, diff::changes(&format!("volumes.{key}"), old, new));
            }
        }
    }

    /// Compares one that is there with what is wanted of it.
    pub(super) fn compare(&mut self, kind: Kind, key: &str, seen: &SeenResource) {
        let Some(resource) = self.resources_mut(kind).get_mut(key) else { return };
        if resource.want != Want::There || resource.external || resource.renew || resource.kept.is_some() {
            return;
        }
        let name = resource.name.clone();
        if kind == Kind::Volume && !seen.ours {
            if !std::mem::replace(&mut resource.told, true) {
                let text = format!(
                    "the volume {name} was not made by this environment; it is used, and `down --volumes` leaves it: \
                     declare it `external: true` if that is meant"
                );
                self.say(Level::Warning, text);
            }
            return;
        }
        // What an earlier release made does not tell of what, nor does Compose.
        let made = seen.hash.as_ref().filter(|hash| !hash.as_str().is_empty());
        let (Some(made), Some(wanted)) = (made, &resource.hash) else { return };
        if made == wanted || resource.former.as_ref() == Some(made) {
            resource.asking = false;
            return;
        }
        if kind == Kind::Network && !std::mem::replace(&mut resource.asking, true) {
            // Nothing is announced, and no container touched, for what the engine will refuse; nor is anything answered before.
            return self.look_now();
        }
        let reason = changes_of(resource);
        resource.asking = false;
        if let Some(obstacle) = &seen.obstacle {
            let kept = format!("not made anew ({reason}): {obstacle}");
            resource.kept = Some(kept.clone());
            self.tell(Notice::Resource { resource: kind.id(key), state: ResourceState::Kept(kept), name });
        } else if kind == Kind::Network || resource.may_lose {
            resource.renew = true;
        } else if !std::mem::replace(&mut resource.told, true) {
            let text = format!(
                "the volume {name} stays as it was made, with its data, although its definition has changed ({reason}); \
                 `up --yes` makes it anew, and the data are lost"
            );
            self.say(Level::Warning, text);
        }
    }

    /// The networks of which the engine is asked whether they can be made anew, with the subnets that they are to have.
    pub(super) fn renewals(&self) -> BTreeMap<String, Vec<String>> {
        let subnets = |key: &String| {
            let network = self.deployment.as_ref().and_then(|deployment| deployment.stack.networks.get(key));
            network.iter().flat_map(|network| &network.ipam.config).filter_map(|pool| pool.subnet.clone()).collect()
        };
        let asking = self.networks.iter().filter(|(_, network)| network.asking);
        asking.map(|(key, network)| (network.name.clone(), subnets(key))).collect()
    }

    /// Has the containers made anew that use what is to be made anew, or that are in a network which is there no more; those
    /// that nobody has asked for keep it as it is.
    pub(super) fn make_room(&mut self, networks: &BTreeMap<String, SeenResource>) {
        for kind in [Kind::Network, Kind::Volume] {
            let renewed: Vec<(String, String)> = (self.resources(kind).iter())
                .filter(|(_, resource)| resource.want == Want::There && resource.renew && resource.busy.is_none())
                .filter(|(_, resource)| resource.there == Some(true))
                .map(|(key, resource)| (key.clone(), resource.name.clone()))
                .collect();
            for (key, name) in renewed {
                let others = self.units.values().filter(|unit| uses(unit, kind, &name) && !self.moves_along(unit));
                let in_the_way = |unit: &&Unit| kind == Kind::Volume || matches!(unit.have, Have::Running { .. });
                let other = others.filter(in_the_way).map(|unit| unit.id.clone()).next();
                let resource = self.resources_mut(kind).get_mut(&key).expect("just listed");
                let was_told = std::mem::replace(&mut resource.told, true);
                if let Some(other) = other {
                    let what = if kind == Kind::Network { "network" } else { "volume" };
                    let text = format!("the {what} {name} has changed, and stays as it was: {other} uses it");
                    resource.renew = false;
                    resource.kept = Some(text.clone());
                    self.say(Level::Warning, text);
                } else if !was_told {
                    let reason = changes_of(resource);
                    self.tell(Notice::Because { resource: kind.id(&key), what: "recreate".to_owned(), reason });
                }
            }
        }
        let strangers: BTreeMap<UnitId, ServiceName> =
            (self.units.values()).filter_map(|unit| Some((unit.id.clone(), self.moved_partner(unit)?))).collect();
        let astray: Vec<UnitId> = (self.units.values())
            .filter(|unit| strangers.contains_key(&unit.id) || self.has_to_move(unit, networks))
            .map(|unit| unit.id.clone())
            .collect();
        for id in astray {
            let unit = self.units.get_mut(&id).expect("just listed");
            (unit.recreate, unit.in_place) = (true, true);
            let reason = match strangers.get(&id) {
                Some(partner) => moved(partner),
                None => "a network or volume that it uses is another one".to_owned(),
            };
            let what = "recreate".to_owned();
            self.tell(Notice::Because { resource: ResourceId::Unit(id.clone()), what, reason });
            self.followers_restart(&id.service, &std::collections::BTreeSet::new());
        }
    }

    /// Containers that somebody has disconnected from a network, or given another address in it: as under Compose an `up` makes them
    /// anew.
    pub(super) fn make_anew_what_was_disconnected(&mut self, units: &[UnitId]) {
        for id in units {
            let Some(reason) = self.units.get(id).filter(|unit| self.is_free(unit)).and_then(disconnected) else { continue };
            self.units.get_mut(id).expect("just looked").recreate = true;
            let what = "recreate".to_owned();
            self.tell(Notice::Because { resource: ResourceId::Unit(id.clone()), what, reason });
            self.followers_restart(&id.service, &std::collections::BTreeSet::new());
        }
    }

    /// What lives in the namespaces of a service is made anew when that has another container: those of the old one are gone.
    pub(super) fn neighbours_move(&mut self, service: &ServiceName) {
        let lives_there = |unit: &&Unit| shared_with(unit).any(|own| own == service.as_str());
        let neighbours: Vec<UnitId> = (self.units.values())
            .filter(|unit| unit.have != Have::Absent && is_asked_for(unit) && !unit.keep && !unit.in_place)
            .filter(lives_there)
            .map(|unit| unit.id.clone())
            .collect();
        for id in neighbours {
            let unit = self.units.get_mut(&id).expect("just listed");
            (unit.recreate, unit.in_place) = (true, true);
            let (what, reason) = ("recreate".to_owned(), moved(service));
            self.tell(Notice::Because { resource: ResourceId::Unit(id), what, reason });
        }
    }

    /// The service in whose container's namespaces a unit should live and does not: that has had another container since, which
    /// nobody was there to act upon.
    fn moved_partner(&self, unit: &Unit) -> Option<ServiceName> {
        if !self.is_free(unit) || unit.shares.is_empty() || unit.blind_until >= self.seen {
            return None;
        }
        let partners = shared_with(unit).filter_map(|name| name.parse::<ServiceName>().ok());
        let mut settled = partners.filter_map(|service| {
            let partner = self.units.get(&UnitId::new(service, 1))?;
            let is_settled = partner.have != Have::Absent && partner.busy.is_none() && partner.successor.is_none();
            Some((partner.id.service.clone(), partner.container.clone().filter(|_| is_settled)?))
        });
        settled.find(|(_, container)| !unit.shares.contains(container)).map(|(service, _)| service)
    }

    fn has_to_move(&self, unit: &Unit, networks: &BTreeMap<String, SeenResource>) -> bool {
        let free = self.is_free(unit);
        let is_renewed = |kind| self.resources(kind).values().any(|resource| resource.renew && uses(unit, kind, &resource.name));
        // One that is gone will be another one when it is there again; of what is none of ours nothing is known.
        let is_gone =
            |name: &str| self.networks.values().any(|it| it.name == name && it.want == Want::There && it.there == Some(false));
        // One that has been made and never started joins whatever has the name when it is.
        let is_another = |(name, id): (&String, &String)| {
            let now = networks.get(name).and_then(|network| network.id.as_ref());
            !id.is_empty() && now.map_or_else(|| is_gone(name), |now| now != id)
        };
        free && (is_renewed(Kind::Network) || is_renewed(Kind::Volume) || unit.networks.iter().any(is_another))
    }

    /// Whether a container is made anew around what changes. What has ended, and is no part of the present stack (its profile is
    /// not active, or no file names it any more), stays as it is: it would run once more. Nor is what has failed for good waited
    /// for.
    fn moves_along(&self, unit: &Unit) -> bool {
        let is_part = self.deployment.as_ref().is_some_and(|deployment| deployment.service(&unit.id.service).is_some());
        is_asked_for(unit) && !unit.given_up && (is_part || matches!(unit.have, Have::Running { .. }))
    }

    /// Whether a unit may be made anew on our own account.
    fn is_free(&self, unit: &Unit) -> bool {
        unit.have != Have::Absent
            && unit.busy.is_none()
            && !unit.in_place
            && !unit.keep
            && !unit.at_work
            && self.moves_along(unit)
    }

    /// Whether a container still keeps something from being removed.
    pub(super) fn is_in_the_way(&self, kind: Kind, name: &str) -> bool {
        self.units.values().filter(|unit| unit.kind == UnitKind::Container).any(|unit| {
            let holds = match unit.have {
                Have::Running { .. } => true,
                Have::Created | Have::Exited { .. } => kind == Kind::Volume || self.moves_along(unit),
                Have::Absent => false,
            };
            // What it was joined to since the last look is not known yet.
            let unseen = unit.blind_until >= self.seen;
            unit.busy.is_some() || (holds && (unseen || uses(unit, kind, name)))
        })
    }
}

fn note(resource: &mut Resource, changes: Vec<String>) {
    if !changes.is_empty() {
        resource.changes = Some(changes.join(", "));
    }
}

/// What has changed in a network or volume, in the words of the file where they are known.
fn changes_of(resource: &Resource) -> String {
    resource.changes.clone().unwrap_or_else(|| format!("the definition of {} has changed", resource.name))
}

/// Why what lives in the namespaces of a service is made anew.
fn moved(partner: &ServiceName) -> String {
    format!("{partner} has another container, whose namespaces it shares")
}

/// In which of the networks of its definition a container is not as that says, if its definition is the one that is wanted.
fn disconnected(unit: &Unit) -> Option<String> {
    let deployment = &unit.spec.deployment;
    let container = unit.spec.service().container()?;
    if unit.is_of_another_definition() || unit.recreate || container.network_mode.is_some() {
        return None;
    }
    container.networks.iter().find_map(|(key, attachment)| {
        let name = deployment.network_name(key);
        // An external one may be named by its id.
        let (joined, _) = match unit.networks.get_key_value(&name) {
            Some(joined) => joined,
            None => match unit.networks.iter().find(|(_, id)| id.starts_with(&name)) {
                Some(joined) => joined,
                None => return Some(format!("somebody has disconnected it from the network {name}")),
            },
        };
        let given = unit.addresses.as_ref()?.get(joined);
        let fixed = attachment.iter().flat_map(|it| [&it.ipv4_address, &it.ipv6_address]).flatten();
        // One of version 6 may be written in several ways: of that only whether there is any can be told.
        let is_given = |address: &String| {
            given.is_some_and(|given| given.contains(address) || address.contains(':') && given.iter().any(|it| it.contains(':')))
        };
        let mut lost = fixed.filter(|address| !is_given(address));
        lost.next().map(|address| format!("somebody has taken its address {address} in the network {name} from it"))
    })
}

/// The services in whose namespaces a unit is to live.
fn shared_with(unit: &Unit) -> impl Iterator<Item = &str> {
    let container = unit.spec.service().container();
    let modes = container.map(|container| [&container.network_mode, &container.pid, &container.ipc]);
    modes.into_iter().flatten().flatten().filter_map(|mode| mode.strip_prefix("service:"))
}

fn is_asked_for(unit: &Unit) -> bool {
    matches!(unit.goal, Goal::Up | Goal::Created)
}

fn uses(unit: &Unit, kind: Kind, name: &str) -> bool {
    let in_use = match kind {
        Kind::Network => unit.networks.contains_key(name),
        Kind::Volume => unit.volumes.contains(name),
    };
    in_use && unit.have != Have::Absent
}
