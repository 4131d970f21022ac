//! Which steps may be taken now: dependencies up on the way up, dependents first on the way down, back-off over, image and
//! network and volume there.
//!
//! A gate counts only a current life of a dependency: definition and generation as wanted, no stop under way. Otherwise a save
//! that restarts two services would start the one against the dying other.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::Supervisor;
use super::resource::{Image, Resource};
use super::status::{Health, UnitKind};
use super::unit::{Cause, Have, Phase, Step, Unit};
use super::wishes::engine_restarts;
use crate::base::name::{ServiceName, UnitId};
use crate::model::container::Container;
use crate::model::depends::{Condition, Dependency};
use crate::model::service::Service;

use crate::plan::action::{Exit, ResourceId};
use crate::plan::desired::Deployment;
use crate::plan::next::{self, Goal};

/// Whether a way is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gate {
    /// It is.
    Open,
    /// Not yet; for this.
    Waiting(String),
    /// Not unless something else changes: the root, and what went wrong there.
    Blocked(ServiceName, String),
}

/// Services that cannot start because of another, with the root cause.
pub(super) type Blocked = BTreeMap<ServiceName, (ServiceName, String)>;

impl Supervisor {
    /// Whether a unit may take its next step now.
    pub(super) fn may(&self, id: &UnitId, step: Step, blocked: &Blocked) -> bool {
        let unit = &self.units[id];
        if unit.kind == UnitKind::Container && !self.may_touch_engine() {
            return false;
        }
        match step {
            Step::Kill | Step::Conclude => true,
            Step::Table(next::Step::Stop) => unit.not_before <= self.now && self.stop_gate(unit),
            Step::Table(next::Step::Remove | next::Step::TakeOver | next::Step::Discard) => unit.not_before <= self.now,
            Step::Table(next::Step::Succeed) => unit.not_before <= self.now && self.create_gate(unit) == Gate::Open,
            Step::Table(next::Step::Create) => {
                unit.not_before <= self.now && self.create_gate(unit) == Gate::Open && self.task_gate(unit, blocked)
            }
            Step::Table(next::Step::Start) | Step::Assess => {
                unit.not_before <= self.now && self.start_gate(unit, blocked) == Gate::Open
            }
        }
    }

    /// A task's files are made when it runs, not before.
    fn task_gate(&self, unit: &Unit, blocked: &Blocked) -> bool {
        unit.kind != UnitKind::Task || self.start_gate(unit, blocked) == Gate::Open
    }

    /// Dependents that are also going down go first; over any number of edges, also when one between has ended already.
    fn stop_gate(&self, unit: &Unit) -> bool {
        let wanted = unit.ending.is_none() && !matches!(unit.have, Have::Running { leader_exit: Some(_), .. });
        !wanted
            || unit.ghost
            || !self
                .units
                .values()
                .any(|other| other.is_going_down() && !self.runs_on(other) && self.depends(&other.id.service, &unit.id.service))
    }

    /// Whether what should be made anew goes on as it is, because what is to take its place cannot be made.
    fn runs_on(&self, unit: &Unit) -> bool {
        let replaced = unit.goal == Goal::Up && unit.stopping.is_none() && unit.beside() == next::Successor::Missing;
        replaced && (unit.given_up || matches!(self.successor_gate(unit), Gate::Blocked(..)))
    }

    /// What the container needs that is to take the place of another.
    pub(super) fn successor_gate(&self, unit: &Unit) -> Gate {
        let replaced = unit.goal == Goal::Up && unit.ending.is_none() && unit.definition() == next::Definition::Different;
        if replaced { self.create_gate(unit) } else { Gate::Open }
    }

    pub(super) fn depends(&self, dependent: &ServiceName, on: &ServiceName) -> bool {
        let mut queue = vec![dependent];
        let mut visited = std::collections::BTreeSet::new();
        while let Some(name) = queue.pop() {
            for dependency in self.definition_of(name).into_iter().flat_map(|service| service.common.depends_on.keys()) {
                if dependency == on {
                    return dependent != on;
                }
                if visited.insert(dependency) {
                    queue.push(dependency);
                }
            }
        }
        false
    }

    /// A service by the deployment in force, or by what its unit was made of.
    pub(super) fn definition_of<'a>(&'a self, name: &'a ServiceName) -> Option<&'a Service> {
        let in_force = self.deployment.as_ref().and_then(|deployment| deployment.service(name));
        in_force.or_else(|| self.units_of(name).next().map(|unit| unit.spec.service()))
    }

    /// What a container needs before it can be made.
    pub(super) fn create_gate(&self, unit: &Unit) -> Gate {
        let Some(container) = unit.spec.service().container() else { return Gate::Open };
        match self.material_gate(&unit.id.service, container, &unit.spec.deployment) {
            Gate::Open => {}
            closed @ (Gate::Waiting(_) | Gate::Blocked(..)) => return closed,
        }
        // Without its dependencies it is made with what there is, or not at all.
        let is_missing = |name: &&str| {
            let mut units = self.units.values().filter(|other| other.id.service.as_str() == *name);
            !unit.no_deps && units.all(|other| other.have == Have::Absent)
        };
        container.partners().find(is_missing).map_or(Gate::Open, |name| Gate::Waiting(format!("the container of {name}")))
    }

    /// The image, networks and volumes that the containers of a service are made with.
    pub(super) fn material_gate(&self, service: &ServiceName, container: &Container, deployment: &Deployment) -> Gate {
        let declared = &deployment.stack;
        for id in self.images_by(deployment, service) {
            match self.images.get(&id) {
                Some(image) if image.is_ready() => {}
                Some(image) => match (&image.failed, &id) {
                    // Whoever builds it is the root; of what is pulled each service has it from elsewhere.
                    (Some(reason), ResourceId::Image(keeper)) if image.is_built() => {
                        return Gate::Blocked(keeper.clone(), reason.clone());
                    }
                    (Some(reason), _) => return Gate::Blocked(service.clone(), reason.clone()),
                    (None, _) => return Gate::Waiting(format!("the image {}", image.reference)),
                },
                None => return Gate::Waiting("its image".to_owned()),
            }
        }
        let networks = container.networks.keys().map(|key| ("network", key, self.networks.get(key)));
        let volumes = (container.volume_keys())
            .filter(|key| declared.volumes.contains_key(*key))
            .map(|key| ("volume", key, self.volumes.get(key)));
        for (what, key, resource) in networks.chain(volumes) {
            match resource {
                Some(resource) if resource.failed.is_some() => {
                    return Gate::Blocked(service.clone(), resource.failed.clone().unwrap_or_default());
                }
                Some(resource) if resource.is_ready() => {}
                Some(_) | None => return Gate::Waiting(format!("{what} {key}")),
            }
        }
        Gate::Open
    }

    /// Whether the image of a service may be built: the tasks that it is made after are done.
    pub(super) fn build_may_start(&self, service: &ServiceName) -> bool {
        self.build_gate(service, &Blocked::new()) == Gate::Open
    }

    /// What the images that a service needs wait for before they are got.
    pub(super) fn image_gate(&self, service: &ServiceName, blocked: &Blocked) -> Gate {
        let mut all = Gate::Open;
        for id in self.images_of(service) {
            let ResourceId::Image(keeper) = &id else { continue };
            if !self.images.get(&id).is_some_and(Image::is_built) {
                continue;
            }
            match self.build_gate(keeper, blocked) {
                Gate::Open => {}
                waiting @ Gate::Waiting(_) => all = waiting,
                blocked @ Gate::Blocked(..) => return blocked,
            }
        }
        all
    }

    /// What a build waits for.
    pub(super) fn build_gate(&self, service: &ServiceName, blocked: &Blocked) -> Gate {
        let mut all = Gate::Open;
        for (name, dependency) in self.tasks_before_build(service) {
            match self.satisfied(name, dependency, blocked) {
                Gate::Open => {}
                waiting @ Gate::Waiting(_) => all = waiting,
                blocked @ Gate::Blocked(..) => return blocked,
            }
        }
        all
    }

    /// The tasks that a service depends on, and its image is built after. Not those of a service that is no part of this run, and is
    /// built for others; nor those that themselves wait for the image.
    fn tasks_before_build<'a>(&'a self, service: &'a ServiceName) -> impl Iterator<Item = (&'a ServiceName, &'a Dependency)> {
        let is_of_this_run = |name: &ServiceName| self.units_of(name).any(|unit| unit.goal != Goal::Gone);
        let is_mounted = || self.suppliers.values().any(|supplier| supplier == service);
        let has_users = self.keepers.values().any(|keeper| keeper == service) || is_mounted();
        let is_for_others = has_users && !is_of_this_run(service);
        let dependencies = self.definition_of(service).into_iter().flat_map(|definition| &definition.common.depends_on);
        dependencies
            .filter(|(_, dependency)| dependency.condition == Condition::Completed)
            .filter(move |(name, _)| !is_for_others || is_of_this_run(name))
            .filter(move |(name, _)| !self.needs_image(name, service))
    }

    /// Whether a service cannot start before the image of another is built: it is of that image or mounts it, or waits for one that
    /// does, or for a build that does.
    fn needs_image(&self, name: &ServiceName, maker: &ServiceName) -> bool {
        let mut queue = vec![name.clone()];
        let mut known: BTreeSet<ServiceName> = queue.iter().cloned().collect();
        while let Some(name) = queue.pop() {
            let images = self.images_of(&name).into_iter();
            let builders: Vec<ServiceName> =
                images.filter_map(|id| if let ResourceId::Image(keeper) = id { Some(keeper) } else { None }).collect();
            if builders.contains(maker) {
                return true;
            }
            let is_built = |service: &&Service| service.container().is_some_and(|container| container.build.is_some());
            let needed = self.definition_of(&name).into_iter().flat_map(|service| service.common.depends_on.keys());
            let before_build = (builders.iter().filter_map(|builder| self.definition_of(builder)).filter(is_built))
                .flat_map(|service| &service.common.depends_on)
                .filter(|(_, dependency)| dependency.condition == Condition::Completed)
                .map(|(name, _)| name);
            queue.extend(needed.chain(before_build).filter(|name| known.insert((*name).clone())).cloned());
        }
        false
    }

    /// What a start waits for.
    pub(super) fn start_gate(&self, unit: &Unit, blocked: &Blocked) -> Gate {
        match self.readiness_gate(unit, blocked) {
            Gate::Open => self.audience_gate(unit),
            closed @ (Gate::Waiting(_) | Gate::Blocked(..)) => closed,
        }
    }

    /// What has to be there for a start.
    pub(super) fn readiness_gate(&self, unit: &Unit, blocked: &Blocked) -> Gate {
        // One that was made before its network was remade joins the new one, once that is there.
        let networks = unit.spec.service().container().into_iter().flat_map(|container| container.networks.keys());
        let is_remade = |network: &Resource| network.is_being_remade() || self.is_unseen_by(unit, network);
        let mut remade = networks.filter(|key| self.networks.get(*key).is_some_and(is_remade));
        if let Some(key) = remade.next() {
            return Gate::Waiting(format!("network {key}"));
        }
        if unit.no_deps || unit.ghost {
            return Gate::Open;
        }
        let mut waiting = Vec::new();
        for (name, dependency) in &unit.spec.service().common.depends_on {
            match self.satisfied(name, dependency, blocked) {
                Gate::Open => {}
                Gate::Waiting(what) => waiting.push(what),
                Gate::Blocked(root, reason) => return Gate::Blocked(root, reason),
            }
        }
        if waiting.is_empty() { Gate::Open } else { Gate::Waiting(waiting.join(", ")) }
    }

    /// Whether a container has been in a network of this name, and a look has yet to tell whether it is still the one that is there.
    pub(super) fn is_unseen_by(&self, unit: &Unit, network: &Resource) -> bool {
        let has_joined = unit.networks.get(&network.name).is_some_and(|id| !id.is_empty());
        has_joined && unit.have != Have::Absent && network.blind_until >= self.seen
    }

    pub(super) fn satisfied(&self, name: &ServiceName, dependency: &Dependency, blocked: &Blocked) -> Gate {
        let gate = self.condition(name, dependency.condition, blocked);
        if matches!(gate, Gate::Blocked(..)) && !dependency.required { Gate::Open } else { gate }
    }

    fn condition(&self, name: &ServiceName, condition: Condition, blocked: &Blocked) -> Gate {
        let Some(service) = self.deployment.as_ref().and_then(|deployment| deployment.stack.services.get(name)) else {
            return Gate::Blocked(name.clone(), "it is not part of this run".to_owned());
        };
        if service.provider().is_some() {
            // Whoever asked has had it brought up first.
            return Gate::Open;
        }
        if service.container().is_some() && self.seen < self.look_first && self.engine_away.is_none() {
            // What an earlier supervisor knew of a container is no ground to start on.
            return Gate::Waiting(format!("{name}, which the engine is asked about"));
        }
        // Others may be of the same image.
        let image = self.images.get(&self.image_of(name)).filter(|image| image.wanted && image.users.contains(name));
        if let Some(image) = image
            && service.container().is_some()
            && self.units_of(name).all(|unit| unit.goal == Goal::Gone)
        {
            // `scale: 0`: an image only.
            return match &image.failed {
                None if image.is_ready() => Gate::Open,
                None => Gate::Waiting(format!("the image of {name}")),
                Some(reason) => Gate::Blocked(name.clone(), reason.clone()),
            };
        }
        if let Some((root, reason)) = blocked.get(name) {
            return Gate::Blocked(root.clone(), reason.clone());
        }
        let mut waiting = None;
        let mut any = false;
        for unit in self.units_of(name).filter(|unit| unit.goal != Goal::Gone) {
            any = true;
            if unit.given_up {
                return Gate::Blocked(name.clone(), unit.failure.clone().unwrap_or_else(|| "it failed".to_owned()));
            }
            if let Some(reason) = self.stays_down(unit) {
                return Gate::Blocked(name.clone(), reason.to_owned());
            }
            match unit_satisfies(unit, condition) {
                Gate::Open => {}
                Gate::Waiting(what) => waiting = waiting.or(Some(what)),
                Gate::Blocked(root, reason) => return Gate::Blocked(root, reason),
            }
        }
        match waiting {
            // An earlier supervisor has seen to its image.
            _ if !any && service.container().is_some() && service.replicas() == 0 => Gate::Open,
            _ if !any => Gate::Waiting(format!("{name}, which is not up")),
            Some(what) => Gate::Waiting(what),
            None => Gate::Open,
        }
    }

    /// Why a unit that does not run gives nobody what they wait for: nobody wants it up, and nobody will before somebody asks.
    fn stays_down(&self, unit: &Unit) -> Option<&'static str> {
        let is_left_alone = match unit.goal {
            Goal::Up | Goal::Gone => false,
            Goal::Stopped | Goal::Created => true,
            // What is known of one that an earlier supervisor looked after may be long past.
            Goal::Left => self.engine_away.is_none(),
        };
        let rests = !unit.is_alive() && unit.busy.is_none() && !unit.is_done() && !ended_well(unit);
        let reason = match (unit.goal, unit.have) {
            (Goal::Left, Have::Absent) => "it is not up",
            (Goal::Created | Goal::Left, Have::Created) => "it was not started",
            _ => "it is stopped",
        };
        (is_left_alone && rests).then_some(reason)
    }

    /// Whether nothing will change in what there is of a service before somebody asks for that, or changes it behind our back.
    pub(super) fn rests(&self, name: &ServiceName) -> bool {
        self.units_of(name).filter(|unit| unit.goal != Goal::Gone).all(|unit| {
            let is_idle = unit.busy.is_none() && unit.next_step(self.now).is_none();
            !unit.is_alive() && is_idle && !unit.again && unit.schedule().is_none()
        })
    }

    /// All services that cannot start, each with its root cause.
    pub(super) fn blocked(&self) -> Blocked {
        let mut blocked = Blocked::new();
        let Some(deployment) = &self.deployment else { return blocked };
        // In the order of starting; the loader has put dependencies first, else a further round finds the rest.
        loop {
            let before = blocked.len();
            for name in deployment.stack.services.keys().filter(|name| !self.units_of(name).all(Unit::is_alive)) {
                if blocked.contains_key(name) {
                    continue;
                }
                for unit in self.units_of(name).filter(|unit| unit.goal == Goal::Up && !unit.is_alive() && !unit.is_done()) {
                    let gates =
                        [self.start_gate(unit, &blocked), if unit.is_absent() { self.create_gate(unit) } else { Gate::Open }];
                    if let Some(Gate::Blocked(root, reason)) = gates.into_iter().find(|gate| matches!(gate, Gate::Blocked(..))) {
                        blocked.insert(name.clone(), (root, reason));
                        break;
                    }
                }
            }
            if blocked.len() == before {
                return blocked;
            }
        }
    }

    /// The lives of what a unit depends on, to tell whether a task's check has to be asked again.
    pub(super) fn lives_of_dependencies(&self, id: &UnitId) -> BTreeMap<ServiceName, String> {
        let Some(unit) = self.units.get(id) else { return BTreeMap::new() };
        (unit.spec.service().common.depends_on.keys())
            .map(|name| {
                let lives: Vec<String> = self.units_of(name).map(life).collect();
                (name.clone(), lives.join(","))
            })
            .collect()
    }

    /// The lives of the tasks that a service's image is built from.
    pub(super) fn lives_of_tasks(&self, service: &ServiceName) -> BTreeMap<String, String> {
        self.tasks_before_build(service)
            .flat_map(|(name, _)| self.units_of(name))
            .filter(|unit| unit.task.phase == Phase::Succeeded || unit.kind != UnitKind::Task)
            .map(|unit| (unit.id.to_string(), life(unit)))
            .collect()
    }
}

/// What tells this life of a unit from others; a task that was up to date has none.
fn life(unit: &Unit) -> String {
    match unit.kind {
        UnitKind::Container => {
            format!("{} {}", unit.container.as_deref().unwrap_or_default(), unit.birth.as_deref().unwrap_or_default())
        }
        UnitKind::Process | UnitKind::Task => unit.incarnation.0.to_string(),
    }
}

/// Whether the end of a unit, which nobody asked for, was a success.
fn ended_well(unit: &Unit) -> bool {
    !unit.stopped && matches!(unit.have, Have::Exited { exit, .. } if exit.is_success())
}

/// Whether one that has ended is not just being started again.
fn is_at_its_end(unit: &Unit) -> bool {
    !unit.again && unit.busy.is_none() && unit.definition() == next::Definition::Same
}

/// How a unit ended that nobody stopped and nothing starts again: it will never be healthy, as Compose says too.
fn ended_for_good(unit: &Unit) -> Option<Exit> {
    let Have::Exited { exit, .. } = unit.have else { return None };
    (unit.goal == Goal::Up && !unit.stopped && is_at_its_end(unit) && !engine_restarts(unit)).then_some(exit)
}

fn unit_satisfies(unit: &Unit, condition: Condition) -> Gate {
    let name = &unit.id.service;
    // It runs, but that it was healthy before says nothing of how it would answer now.
    let waits_for_more = match unit.kind {
        UnitKind::Task => true,
        UnitKind::Process | UnitKind::Container => condition == Condition::Healthy,
    };
    if waits_for_more && let Some(reason) = unit.standstill() {
        return Gate::Blocked(name.clone(), reason);
    }
    if unit.kind == UnitKind::Task {
        return match (condition, &unit.task.phase) {
            _ if unit.is_done() => Gate::Open,
            (Condition::Started, _) if unit.is_current() => Gate::Open,
            (Condition::Started | Condition::Healthy | Condition::Completed, _) => Gate::Waiting(format!("{name} done")),
        };
    }
    if condition == Condition::Healthy
        && let Some(exit) = ended_for_good(unit)
    {
        return Gate::Blocked(name.clone(), format!("it ended with {exit}"));
    }
    match condition {
        Condition::Completed => match unit.have {
            Have::Exited { exit, .. } if exit.is_success() && is_at_its_end(unit) => Gate::Open,
            Have::Exited { exit, .. } if unit.kind == UnitKind::Container && !unit.stopped => {
                Gate::Blocked(name.clone(), format!("it ended with {exit}"))
            }
            Have::Exited { .. } | Have::Absent | Have::Created | Have::Running { .. } => Gate::Waiting(format!("{name} done")),
        },
        Condition::Started => match unit.have {
            Have::Running { .. } if unit.is_current() => Gate::Open,
            Have::Exited { exit, .. } if exit.is_success() && is_at_its_end(unit) && !unit.stopped => Gate::Open,
            Have::Exited { exit, .. } if unit.kind == UnitKind::Container && ended_for_good(unit).is_some() => {
                Gate::Blocked(name.clone(), format!("it ended with {exit}"))
            }
            Have::Running { .. } | Have::Exited { .. } | Have::Absent | Have::Created => Gate::Waiting(format!("{name} running")),
        },
        Condition::Healthy => match (unit.is_current(), unit.verdict()) {
            (true, Some(Health::Healthy)) => Gate::Open,
            (true, Some(Health::Unhealthy)) if !unit.restarts_when_unhealthy() => {
                let output = unit.health.output.as_deref().unwrap_or_default().trim();
                Gate::Blocked(
                    name.clone(),
                    if output.is_empty() { "it is unhealthy".to_owned() } else { format!("it is unhealthy: {output}") },
                )
            }
            (true, None) if unit.probed().is_none() && unit.inspected => {
                Gate::Blocked(name.clone(), "it has no health check, so it can never be healthy".to_owned())
            }
            (true | false, Some(Health::Starting | Health::Unhealthy | Health::Healthy) | None) => {
                Gate::Waiting(format!("{name} healthy"))
            }
        },
    }
}

/// Whether a stop of this cause counts as one that was asked for.
pub(super) fn is_wish(cause: Cause) -> bool {
    match cause {
        Cause::Wanted => true,
        Cause::Unfit | Cause::Leftovers => false,
    }
}
