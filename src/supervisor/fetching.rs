//! Which images are needed, by whom, and which are still waited for. The pull or build of one that nobody waits for any more is broken
//! off at once: a `down` or Ctrl-C need not sit out a registry that does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::effect::Effect;
use super::machine::{Supervisor, mounted_among};
use super::request::Up;
use super::resource::Image;
use super::unit::{Have, Unit};
use super::wishes::Wish;
use crate::base::name::{ServiceName, UnitId};
use crate::model::container::Container;
use crate::plan::action::ResourceId;
use crate::plan::desired::{Deployment, is_same_image};
use crate::plan::next::Goal;
use crate::plan::provision::{Building, Provision, Renew, Source, Way};

/// What a request says of images.
#[derive(Debug, Clone, Copy)]
struct OfImages<'a> {
    /// `--pull`, instead of `pull_policy`.
    pull: Option<&'a str>,
    /// `--build` and `--no-build`.
    build: Building,
    /// Another one than is there may be wanted.
    anew: bool,
}

impl Supervisor {
    /// The images that a container service is made of, and those that it mounts; `up` for what a request says of them. With `keeps`
    /// one that is there will do.
    pub(super) fn need_images(
        &mut self,
        deployment: &Deployment,
        container: &Container,
        name: &ServiceName,
        up: Option<&Up>,
        keeps: bool,
    ) {
        let build = match up {
            Some(up) if up.no_build => Building::Never,
            Some(up) if up.build => Building::Anew,
            Some(_) | None => Building::AsNeeded,
        };
        let pull = up.and_then(|up| up.pull.as_deref()).filter(|policy| *policy != "policy");
        let says = OfImages { pull, build, anew: up.is_some() && !keeps };
        for reference in deployment.mounted_images(name).into_values() {
            self.need_mounted(deployment, name, container, reference, says);
        }
        let keeper = deployment.keeper_of(name, build);
        let Some(own) = deployment.image_of(name) else { return };
        if keeper == name {
            self.keepers.remove(name);
        } else {
            self.keepers.insert(name.clone(), keeper.clone());
            // What it had of its own before, nobody waits for.
            if let Some(image) = self.images.get_mut(&ResourceId::Image(name.clone())) {
                image.wanted = false;
            }
        }
        let Some((image, way)) = self.image_kept_by(deployment, keeper, own, says) else { return };
        image.users.insert(name.clone());
        image.ask_for(name);
        // It is one image, and the builder's; but that it is to be built anew, each of those may say that build it.
        let own_way = Provision::of(container, pull, build);
        image.want(if own_way.renew == Renew::Always(Way::Build) { own_way } else { way }, says.anew);
    }

    /// The image of a service by which it, or one of this name, comes about; and how.
    fn image_kept_by(
        &mut self,
        deployment: &Deployment,
        keeper: &ServiceName,
        name: String,
        says: OfImages<'_>,
    ) -> Option<(&mut Image, Provision)> {
        let reference = deployment.image_of(keeper)?;
        let provision = Provision::of(deployment.service(keeper)?.container()?, says.pull, says.build);
        let image = self
            .images
            .entry(ResourceId::Image(keeper.clone()))
            .or_insert_with(|| Image::new(reference.clone(), provision.source));
        if image.reference != reference {
            *image = Image::new(reference, provision.source);
        }
        if image.reference != name {
            image.aliases.insert(name);
        }
        Some((image, provision))
    }

    /// An image that a service mounts: that of another service, or one that nothing but its name is known of.
    fn need_mounted(
        &mut self,
        deployment: &Deployment,
        user: &ServiceName,
        container: &Container,
        reference: String,
        says: OfImages<'_>,
    ) {
        let supplier = deployment.supplier_of(&reference, says.build).map(|name| deployment.keeper_of(name, says.build));
        if let Some(supplier) = supplier {
            self.suppliers.insert(reference.clone(), supplier.clone());
            if let Some((image, provision)) = self.image_kept_by(deployment, supplier, reference, says) {
                image.mounters.insert(user.clone());
                image.ask_for(user);
                image.want(provision, says.anew);
            }
            return;
        }
        self.suppliers.remove(&reference);
        let mut provision = Provision::of_mounted(container, says.pull);
        let image = self
            .images
            .entry(ResourceId::NamedImage(reference.clone()))
            .or_insert_with(|| Image::new(reference, provision.source));
        if image.source == Source::Pull && image.mounters.iter().any(|other| other != user) {
            // Others who mount it have it pulled.
            provision.source = Source::Pull;
        }
        image.mounters.insert(user.clone());
        image.ask_for(user);
        image.want(provision, says.anew);
    }

    /// An `up` begins to say anew who needs which image, and by what name.
    pub(super) fn forget_uses_of_images(&mut self, deployment: &Deployment) {
        let suppliers = &self.suppliers;
        for (id, image) in &mut self.images {
            image.aliases.clear();
            if !image.is_coming() {
                image.asked_by = Some(BTreeSet::new());
            }
            let is_it = |reference: &String| mounted_among(suppliers, reference) == *id;
            image.mounters.retain(|name| deployment.mounted_images(name).values().any(is_it));
            if matches!(id, ResourceId::NamedImage(_)) {
                image.wanted = !image.mounters.is_empty();
            }
        }
    }

    /// Services that are not asked for keep the image that they are of: what they have in common with one that has another by now is
    /// over.
    pub(super) fn part_images(&mut self, deployment: &Deployment, selected: &[ServiceName]) {
        let others: Vec<(ServiceName, ServiceName)> = (self.keepers.iter())
            .filter(|(user, _)| !selected.contains(user))
            .map(|(user, keeper)| (user.clone(), keeper.clone()))
            .collect();
        for (user, keeper) in others {
            let Some(unit) = self.units_of(&user).next() else {
                self.keepers.remove(&user);
                continue;
            };
            let (own, is_missing) = (Arc::clone(&unit.spec.deployment), unit.have == Have::Absent && unit.goal == Goal::Up);
            let container = own.service(&user).and_then(|service| service.container());
            let (Some(reference), Some(container)) = (own.image_of(&user), container) else { continue };
            let image = self.images.get_mut(&ResourceId::Image(keeper.clone()));
            match image.filter(|image| {
                let tags = deployment.service(&keeper).and_then(|service| service.container()?.build.as_ref());
                let mut names = std::iter::once(&image.reference).chain(tags.into_iter().flat_map(|build| &build.tags));
                names.any(|name| is_same_image(name, &reference))
            }) {
                Some(image) if image.reference == reference => {}
                Some(image) => drop(image.aliases.insert(reference)),
                None => {
                    self.keepers.remove(&user);
                    let mut image = Image::new(reference, Provision::of(container, None, Building::AsNeeded).source);
                    image.wanted = is_missing;
                    image.users.insert(user.clone());
                    self.images.insert(ResourceId::Image(user), image);
                }
            }
        }
    }

    /// The images that a unit mounts by their names, as they were seen last: the path inside → the id. None of what is on its way.
    pub(super) fn mounted_by_name(&self, id: &UnitId) -> BTreeMap<String, String> {
        let Some(deployment) = &self.deployment else { return BTreeMap::new() };
        let ready = |reference: &String| {
            let image = self.images.get(&self.mounted_image(reference))?;
            let is_meant = image.wanted && image.is_ready() && image.reference == *reference;
            image.id.clone().filter(|_| is_meant)
        };
        let mounted = deployment.mounted_images(&id.service).into_iter();
        mounted.filter_map(|(path, reference)| Some((path, ready(&reference)?))).collect()
    }

    /// An image has come, in this way: what mounts it by a name that is its own by now has to mount this one.
    /// Of several only those who have asked for it, where these are named.
    pub(super) fn mount_anew(&mut self, resource: &ResourceId, way: Way, asked_by: Option<&BTreeSet<ServiceName>>) {
        let Some(image) = self.images.get(resource) else { return };
        let Some(image_id) = image.id.clone() else { return };
        let mut found = Vec::new();
        let is_asked = |unit: &&Unit| asked_by.is_none_or(|asked_by| asked_by.contains(&unit.id.service));
        for unit in self.units.values().filter(|unit| unit.goal == Goal::Up).filter(is_asked) {
            for (path, reference) in unit.spec.deployment.mounted_images(&unit.id.service) {
                // A pull leaves alone what the other names stand for.
                let has_name = way == Way::Build || is_same_image(&image.reference, &reference);
                if has_name && self.mounted_image(&reference) == *resource {
                    found.push((unit.id.clone(), path));
                }
            }
        }
        for (id, path) in found {
            self.units.get_mut(&id).expect("just listed").mounted.insert(path, image_id.clone());
        }
    }

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
        let mounters = &self.images[id].mounters;
        let is_prefetched =
            |name: &String| self.deployment.as_ref().is_some_and(|deployment| deployment.stack.images.contains(name));
        let mut own = match id {
            ResourceId::Image(service) => {
                let is_of_it = move |unit: &&Unit| {
                    !unit.ghost && (self.keeper_of(&unit.id.service) == service || mounters.contains(&unit.id.service))
                };
                self.units.values().filter(is_of_it).filter(|unit| unit.goal != Goal::Gone).peekable()
            }
            ResourceId::NamedImage(name) if !is_prefetched(name) => {
                let mounts_it = |unit: &Unit| !unit.ghost && mounters.contains(&unit.id.service);
                let is_idle = |wish: &Wish| wish.idle.iter().any(|service| mounters.contains(service));
                return self.units.values().any(|unit| mounts_it(unit) && is_to_be(unit)) || self.wishes.values().any(is_idle);
            }
            ResourceId::NamedImage(_)
            | ResourceId::Network(_)
            | ResourceId::Volume(_)
            | ResourceId::Unit(_)
            | ResourceId::Owned
            | ResourceId::Images => return self.units.values().any(is_to_be),
        };
        let is_asked_for = || match id {
            ResourceId::Image(service) => {
                let needs_it = |idle: &ServiceName| self.keeper_of(idle) == service || mounters.contains(idle);
                self.wishes.values().any(|wish| wish.idle.iter().any(needs_it))
            }
            ResourceId::NamedImage(_)
            | ResourceId::Network(_)
            | ResourceId::Volume(_)
            | ResourceId::Unit(_)
            | ResourceId::Owned
            | ResourceId::Images => false,
        };
        if own.peek().is_some() { own.any(is_to_be) } else { self.units.values().any(is_to_be) || is_asked_for() }
    }
}
