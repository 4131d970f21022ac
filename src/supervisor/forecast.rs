//! What would happen: the machine itself, run to rest in a world where all goes well.
//!
//! Optimistic by definition. What only running can tell (whether a task's check fails) is said as such; what files tell, the caller
//! looks up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::effect::Effect;
use super::event::{Event, ProbeResult, RequestId};
use super::machine::Supervisor;
use super::notice::Notice;
use super::request::{Reply, Request};
use super::resource::Image;
use super::unit::{Have, Phase, Unit};
use crate::base::moment::Moment;
use crate::base::name::ServiceName;
use crate::model::depends::Condition;
use crate::model::health::HealthCheck;
use crate::model::service::Service;
use crate::plan::action::{Action, Assessment, Conclusion, Exit, Fault, Outcome, ResourceId, Ticket};
use crate::plan::actual::{Actual, SeenContainer, SeenHealth, SeenResource, SeenState};
use crate::plan::desired::UnitSpec;
use crate::plan::next::{Definition, Goal};
use crate::plan::render::{Plan, PlanStep};

/// After so many steps a forecast that has not come to rest never will.
const LIMIT: usize = 200_000;

impl Supervisor {
    /// The actions that a request would cause, given what the engine holds (or why it does not answer).
    ///
    /// `assess` says whether a task is due, as far as that can be told without running anything.
    pub fn forecast(&self, request: Request, actual: Result<Actual, Fault>, assess: Assess<'_>) -> Plan {
        let mut world = GoodWorld::new(self.clone(), actual, assess);
        world.queue.push_back(Event::Request(RequestId(0), request));
        world.go_on_with_what_runs();
        world.run();
        world.plan
    }
}

/// Whether a task is due: its definition, whether its last success still counts, whether a task before it runs. None where only
/// its check can tell.
pub type Assess<'a> = &'a dyn Fn(&UnitSpec, bool, bool) -> Option<Assessment>;

struct GoodWorld<'a> {
    machine: Supervisor,
    actual: Result<Actual, Fault>,
    plan: Plan,
    queue: VecDeque<Event>,
    because: Vec<(ResourceId, String)>,
    answered: bool,
    /// The engine has been looked at.
    looked: bool,
    /// The services whose end anybody waits for.
    awaited: BTreeSet<ServiceName>,
    /// How often the machine was asked what follows.
    turns: usize,
    assess: Assess<'a>,
}

impl<'a> GoodWorld<'a> {
    fn new(machine: Supervisor, actual: Result<Actual, Fault>, assess: Assess<'a>) -> Self {
        Self {
            awaited: awaited(&machine),
            machine,
            actual,
            plan: Plan::default(),
            queue: VecDeque::new(),
            because: Vec::new(),
            answered: false,
            looked: false,
            turns: 0,
            assess,
        }
    }

    /// What is on its way when the forecast begins arrives: lines are written, tasks end.
    fn go_on_with_what_runs(&mut self) {
        for unit in self.machine.units.values().filter(|unit| unit.is_alive()) {
            let service = unit.spec.service();
            if service.common.healthcheck.as_ref().is_some_and(|check| check.log.is_some()) {
                self.queue.push_back(Event::LineMatched(unit.id.clone(), unit.incarnation));
            }
            if service.is_process() && self.ends(service, &unit.id.service) {
                let (unit, incarnation) = (unit.id.clone(), unit.incarnation);
                self.queue.push_back(Event::Exited { unit, incarnation, exit: Exit::Code(0), remaining: 0 });
            }
        }
    }

    /// The same for containers, once the machine has seen them run.
    fn go_on_with_containers(&mut self) {
        let awaited = &self.awaited;
        let Ok(actual) = &mut self.actual else { return };
        for seen in &mut actual.containers {
            let SeenState::Running { birth } = &seen.state else { continue };
            seen.health = seen.health.map(|_| SeenHealth::Healthy);
            if seen.unit.as_ref().is_some_and(|unit| awaited.contains(&unit.service)) {
                seen.state = SeenState::Exited { exit: Exit::Code(0), birth: birth.clone() };
            }
        }
        self.queue.push_back(Event::EngineStirred);
    }

    fn run(&mut self) {
        let mut now = Moment(0);
        for _ in 0..LIMIT {
            // All that has happened by now is one turn: what follows from it is asked once.
            let mut events = std::mem::take(&mut self.queue);
            match events.is_empty() {
                false => {}
                true if self.answered => return,
                true => match self.machine.next_deadline() {
                    Some(deadline) => {
                        now = now.max(deadline);
                        events.push_back(Event::Tick);
                    }
                    None => break,
                },
            }
            self.turns += 1;
            let effects = self.machine.steps(events, now);
            self.awaited = awaited(&self.machine);
            for effect in effects {
                self.take(effect);
            }
        }
        if !self.answered {
            let status = self.machine.status();
            self.plan.stuck = (status.units.iter())
                .filter(|unit| matches!(unit.state, super::status::UnitState::Waiting { .. }))
                .map(|unit| format!("{}: {}", unit.unit, super::report::sentence(unit)))
                .collect();
        }
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Act(ticket, action) => self.act(ticket, action),
            Effect::Observe(number, _) => {
                self.queue.push_back(Event::Observed(number, self.actual.clone()));
                if !std::mem::replace(&mut self.looked, true) {
                    self.go_on_with_containers();
                }
            }
            Effect::Probe(ticket, _) => {
                self.queue.push_back(Event::Probed(ticket, ProbeResult { healthy: true, output: String::new() }));
            }
            Effect::Reply(_, reply) => {
                if let Reply::Failed { reasons } = &reply {
                    self.plan.stuck.clone_from(reasons);
                }
                if let Reply::Refused { reason } | Reply::NotUp { reason } = &reply {
                    self.plan.stuck = vec![reason.clone()];
                }
                self.answered = true;
            }
            Effect::Tell(Notice::Because { resource, reason, .. }) => self.because.push((resource, reason)),
            Effect::Tell(Notice::Message { text, .. }) => self.plan.warnings.push(text),
            Effect::Watch(_) => self.queue.push_back(Event::WatchSet),
            Effect::Tell(_)
            | Effect::Lead(..)
            | Effect::Abandon(_)
            | Effect::CallOff(_)
            | Effect::Hold(_)
            | Effect::Reckon(_)
            | Effect::Persist
            | Effect::Exit => {}
        }
    }

    fn act(&mut self, ticket: Ticket, action: Action) {
        self.note(&ticket, &action);
        let outcome = match &action {
            Action::CreateNetwork { key, deployment } => {
                let seen = SeenResource { key: Some(key.clone()), ours: true, ..SeenResource::default() };
                self.change(|actual| actual.networks.insert(deployment.network_name(key), seen));
                Outcome::Done
            }
            Action::CreateVolume { key, deployment } => {
                let seen = SeenResource { key: Some(key.clone()), ours: true, ..SeenResource::default() };
                self.change(|actual| actual.volumes.insert(deployment.volume_name(key), seen));
                Outcome::Done
            }
            Action::RemoveNetwork { name } => {
                self.change(|actual| actual.networks.remove(name));
                Outcome::Done
            }
            Action::RemoveVolume { name } => {
                self.change(|actual| actual.volumes.remove(name));
                Outcome::Done
            }
            Action::Pull { reference, .. } => self.image(reference),
            Action::Build { service, deployment } => {
                // By all names that it is asked for.
                let known = self.machine.images.get(&ResourceId::Image(service.clone()));
                let names: Vec<String> = known.into_iter().flat_map(Image::names).cloned().collect();
                let id = format!("forecast {}", deployment.image_of(service).unwrap_or_default());
                self.change(|actual| actual.images.extend(names.into_iter().map(|name| (name, id.clone()))));
                Outcome::Image { id }
            }
            Action::Create { spec, .. } if spec.service().container().is_some() => {
                let id = format!("forecast {}", spec.unit);
                let seen = self.made(spec, &id);
                self.change(|actual| actual.containers.push(seen));
                Outcome::Created { container: id }
            }
            Action::Create { .. } | Action::RemoveOwned { .. } | Action::RemoveImages { .. } | Action::Sync { .. } => {
                Outcome::Done
            }
            // Nobody knows before they are compared, and what goes well needs no other.
            Action::Succeed { adopts: true, .. } => Outcome::Done,
            Action::Succeed { spec, predecessor, .. } => {
                let replaces = predecessor.clone().unwrap_or_default();
                let id = format!("forecast {}", ticket.serial);
                let name = format!("{replaces}_{}", spec.deployment.container_name(&spec.unit));
                let seen = SeenContainer { name, replaces: Some(replaces), ..self.made(spec, &id) };
                self.change(|actual| actual.containers.push(seen));
                Outcome::Created { container: id }
            }
            Action::TakeOver { container, name, .. } => {
                self.change(|actual| {
                    for seen in actual.containers.iter_mut().filter(|seen| seen.id == *container) {
                        (seen.name, seen.replaces) = (name.clone(), None);
                    }
                });
                Outcome::Done
            }
            Action::Discard { container, .. } => {
                self.change(|actual| actual.containers.retain(|seen| seen.id != *container));
                Outcome::Removed { anonymous: indexmap::IndexMap::new() }
            }
            Action::Start { spec, incarnation, .. } => {
                let ends = self.ends(spec.service(), &spec.unit.service);
                let birth = format!("forecast {}", ticket.serial);
                let container = spec.service().container().is_some();
                let name = spec.deployment.container_name(&spec.unit);
                if container {
                    let state = if ends {
                        SeenState::Exited { exit: Exit::Code(0), birth: birth.clone() }
                    } else {
                        SeenState::Running { birth: birth.clone() }
                    };
                    self.change(|actual| {
                        for seen in actual.containers.iter_mut().filter(|seen| seen.name == name) {
                            seen.state = state.clone();
                            // An image may bring a health check that no file names.
                            seen.health = Some(SeenHealth::Healthy);
                        }
                    });
                }
                let outcome = Outcome::Started { pid: None, birth };
                self.queue.push_back(Event::Acted(ticket, Ok(outcome)));
                if spec.service().common.healthcheck.as_ref().is_some_and(|check: &HealthCheck| check.log.is_some()) {
                    self.queue.push_back(Event::LineMatched(spec.unit.clone(), *incarnation));
                }
                if ends && !container {
                    self.queue.push_back(Event::Exited {
                        unit: spec.unit.clone(),
                        incarnation: *incarnation,
                        exit: Exit::Code(0),
                        remaining: 0,
                    });
                }
                return;
            }
            Action::Freeze { .. } => Outcome::Signalled,
            Action::Stop { spec, incarnation, .. } | Action::Kill { spec, incarnation, .. } => {
                if spec.service().container().is_some() {
                    let name = spec.deployment.container_name(&spec.unit);
                    self.change(|actual| {
                        for seen in actual.containers.iter_mut().filter(|seen| seen.name == name) {
                            seen.state = SeenState::Exited { exit: Exit::Code(0), birth: "forecast".to_owned() };
                        }
                    });
                    Outcome::Done
                } else {
                    let exited = Event::Exited {
                        unit: spec.unit.clone(),
                        incarnation: *incarnation,
                        exit: Exit::Signal(15),
                        remaining: 0,
                    };
                    self.queue.push_back(Event::Acted(ticket, Ok(Outcome::Signalled)));
                    self.queue.push_back(exited);
                    return;
                }
            }
            Action::Remove { container, .. } => {
                self.change(|actual| actual.containers.retain(|seen| Some(&seen.id) != container.as_ref()));
                Outcome::Removed { anonymous: indexmap::IndexMap::new() }
            }
            Action::Assess { spec, trusted, dependency_ran } => {
                let assessment = (self.assess)(spec, *trusted, *dependency_ran);
                Outcome::Assessed(assessment.unwrap_or_else(|| Assessment::Due(String::new())))
            }
            Action::Conclude { .. } => Outcome::Concluded(Conclusion::Succeeded),
        };
        self.queue.push_back(Event::Acted(ticket, Ok(outcome)));
    }

    /// Whether a life of this service ends with success before anything else can go on.
    fn ends(&self, service: &Service, name: &ServiceName) -> bool {
        service.is_task() || self.awaited.contains(name)
    }

    /// A container that has just been made.
    fn made(&self, spec: &UnitSpec, id: &str) -> SeenContainer {
        let image = spec.deployment.image_of(&spec.unit.service).unwrap_or_default();
        let builder = spec.deployment.builder_of(&spec.unit.service);
        let built = builder.and_then(|builder| spec.deployment.image_of(builder)).unwrap_or_default();
        SeenContainer {
            id: id.to_owned(),
            name: spec.deployment.container_name(&spec.unit),
            unit: Some(spec.unit.clone()),
            one_off: false,
            replaces: None,
            hash: Some(spec.hash.clone()),
            by_us: true,
            age: None,
            networks: joined(spec),
            addresses: None,
            volumes: BTreeSet::new(),
            shares: BTreeSet::new(),
            image: self
                .actual
                .as_ref()
                .ok()
                .and_then(|actual| actual.images.get(&image).or_else(|| actual.images.get(&built)).cloned())
                .unwrap_or_default(),
            mounted: self.mounted(spec),
            state: SeenState::Created,
            paused: false,
            health: None,
            probed: None,
            check: None,
            unprobed: None,
        }
    }

    /// The images that a container mounts that has just been made.
    fn mounted(&self, spec: &UnitSpec) -> BTreeMap<String, String> {
        let Ok(actual) = &self.actual else { return BTreeMap::new() };
        let mounted = spec.deployment.mounted_images(&spec.unit.service).into_iter();
        mounted.filter_map(|(path, reference)| Some((path, actual.images.get(&reference)?.clone()))).collect()
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Actual) -> T) {
        if let Ok(actual) = &mut self.actual {
            change(actual);
        }
    }

    /// A pull brings what was there, or what is still in use under this name: that a registry has another one by now, only the pull
    /// would show.
    fn image(&mut self, reference: &str) -> Outcome {
        let there = self.actual.as_ref().ok().and_then(|actual| actual.images.get(reference).cloned());
        let is_of_it = |unit: &&Unit| {
            let named = unit.spec.deployment.image_of(&unit.id.service);
            named.as_deref() == Some(reference) && !unit.is_of_another_definition()
        };
        let used = || self.machine.units.values().find(is_of_it).and_then(|unit| unit.made_image.clone());
        let mounted = || {
            let units = self.machine.units.values().filter(|unit| !unit.is_of_another_definition());
            let mut paths = units.flat_map(|unit| {
                let mounts = unit.spec.deployment.mounted_images(&unit.id.service).into_iter();
                mounts.filter(|(_, named)| named == reference).map(move |(path, _)| (unit, path))
            });
            paths.find_map(|(unit, path)| unit.made_mounted.get(&path).cloned())
        };
        let id = there.or_else(used).or_else(mounted).unwrap_or_else(|| format!("forecast {reference}"));
        self.change(|actual| actual.images.insert(reference.to_owned(), id.clone()));
        Outcome::Image { id }
    }

    /// Writes the action into the plan, with its cause and what it waited for.
    fn note(&mut self, ticket: &Ticket, action: &Action) {
        let (subject, cause) = match action {
            // A new name is no news to anybody.
            Action::Conclude { .. } | Action::Assess { .. } | Action::TakeOver { .. } | Action::Sync { .. } => return,
            Action::CreateNetwork { .. } | Action::CreateVolume { .. } => (ticket.resource.to_string(), "not found".to_owned()),
            Action::RemoveNetwork { name } => (format!("network {name}"), self.why_removed(ticket)),
            Action::RemoveVolume { name } => (format!("volume {name}"), self.why_removed(ticket)),
            Action::Pull { reference, .. } => {
                let cause = if self.has_image(reference) { "is to be pulled again" } else { "not present" };
                (format!("image {reference}"), cause.to_owned())
            }
            Action::Build { service, deployment } => {
                let is_there = self.has_image(&deployment.image_of(service).unwrap_or_default());
                let cause = if is_there { "is to be built again" } else { "not present" };
                (format!("image of {service}"), cause.to_owned())
            }
            Action::RemoveImages { .. } => ("images".to_owned(), "no longer wanted".to_owned()),
            Action::RemoveOwned { .. } => ("what the services made".to_owned(), "no longer wanted".to_owned()),
            Action::Create { spec, .. } if spec.service().process().is_some() => return,
            Action::Remove { spec: Some(spec), .. } if spec.service().process().is_some() => return,
            Action::Create { .. }
            | Action::Succeed { .. }
            | Action::Discard { .. }
            | Action::Start { .. }
            | Action::Stop { .. }
            | Action::Kill { .. }
            | Action::Freeze { .. }
            | Action::Remove { .. } => (ticket.resource.to_string(), self.cause(ticket, action)),
        };
        let task = matches!(action, Action::Start { spec, .. } if spec.service().is_task());
        let verb = match action {
            Action::Succeed { adopts: true, .. } => "compare",
            _ if task => "run",
            other => other.verb(),
        };
        let after = if let Action::Start { spec, .. } = action {
            spec.service().common.depends_on.iter().map(|(name, dependency)| (name.to_string(), dependency.condition)).collect()
        } else {
            Vec::new()
        };
        self.plan.steps.push(PlanStep { subject, verb, cause, after });
    }

    fn has_image(&self, reference: &str) -> bool {
        self.actual.as_ref().is_ok_and(|actual| actual.images.contains_key(reference))
    }

    /// Whether the plan has stopped it, and removed nothing of it.
    fn is_stopped_for_a_start(&self, resource: &ResourceId) -> bool {
        let subject = resource.to_string();
        self.plan.steps.iter().rev().find(|step| step.subject == subject).is_some_and(|step| step.verb == "stop")
    }

    fn why_removed(&self, ticket: &Ticket) -> String {
        let because = self.because.iter().rev().find(|(resource, _)| *resource == ticket.resource);
        because.map_or_else(|| "no longer wanted".to_owned(), |(_, reason)| reason.clone())
    }

    fn cause(&self, ticket: &Ticket, action: &Action) -> String {
        if let Some((_, reason)) = self.because.iter().rev().find(|(resource, _)| *resource == ticket.resource) {
            return reason.clone();
        }
        let ResourceId::Unit(id) = &ticket.resource else { return String::new() };
        let unit = self.machine.units.get(id);
        match action {
            Action::Start { spec, .. } if spec.service().is_task() => {
                let process = spec.service().process().expect("just looked");
                if let Some(Phase::Due(reason)) = unit.map(|unit| &unit.task.phase)
                    && !reason.is_empty()
                {
                    return reason.clone();
                }
                if process.check.is_some() { "if its check fails".to_owned() } else { "unless it is up to date".to_owned() }
            }
            Action::Create { .. } => "not found".to_owned(),
            Action::Succeed { adopts: true, .. } => "made by another program; made anew unless it is the same".to_owned(),
            Action::Succeed { .. } => unit.map(why_made_anew).unwrap_or_default(),
            Action::Discard { .. } => "left over".to_owned(),
            Action::Start { .. } if self.is_stopped_for_a_start(&ticket.resource) => "is restarted".to_owned(),
            Action::Start { .. } => "wanted up".to_owned(),
            Action::Stop { .. } | Action::Kill { .. } | Action::Remove { .. } => match unit {
                Some(unit) if unit.goal == Goal::Up && !matches!(unit.have, Have::Absent) => why_ended(unit),
                Some(_) | None => "no longer wanted".to_owned(),
            },
            Action::CreateNetwork { .. }
            | Action::RemoveNetwork { .. }
            | Action::CreateVolume { .. }
            | Action::RemoveVolume { .. }
            | Action::Pull { .. }
            | Action::Build { .. }
            | Action::TakeOver { .. }
            | Action::Freeze { .. }
            | Action::Assess { .. }
            | Action::Conclude { .. }
            | Action::RemoveImages { .. }
            | Action::Sync { .. }
            | Action::RemoveOwned { .. } => String::new(),
        }
    }
}

/// Why what is wanted up is ended all the same.
fn why_ended(unit: &Unit) -> String {
    match unit.definition() {
        Definition::Different => why_made_anew(unit),
        Definition::Outdated | Definition::Same => "is restarted".to_owned(),
    }
}

fn why_made_anew(unit: &Unit) -> String {
    let why = match (unit.recreate, unit.is_of_another_definition()) {
        (true, _) => "is made anew",
        (false, true) => "its definition changed",
        (false, false) => return unit.other_image().unwrap_or_default(),
    };
    why.to_owned()
}

/// The networks that a container will be in.
fn joined(spec: &UnitSpec) -> BTreeMap<String, String> {
    let keys = spec.service().container().into_iter().flat_map(|container| container.networks.keys());
    keys.map(|key| (spec.deployment.network_name(key), String::new())).collect()
}

/// The services whose end anybody waits for.
fn awaited(machine: &Supervisor) -> BTreeSet<ServiceName> {
    let services = machine.deployment().into_iter().flat_map(|deployment| deployment.stack.services.values());
    let edges = services.flat_map(|service| &service.common.depends_on);
    edges.filter(|(_, edge)| edge.condition == Condition::Completed).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::desired::Deployment;
    use crate::supervisor::request::{Restart, Up};

    impl GoodWorld<'static> {
        /// Where nothing is yet of these services.
        fn of(services: &str) -> (Self, Deployment) {
            let stack = format!(
                r#"{{"directory": "/", "files": [], "services": {services}, "disabled": {{}}, "networks": {{"default": {{}}}},
                    "volumes": {{}}, "secrets": {{}}, "configs": {{}}, "ports": {{}}, "requires": [], "generate": {{}}, "images": [],
                    "owns": [], "welcome": null}}"#
            );
            let deployment = Deployment {
                env: "test".parse().unwrap(),
                stack: serde_json::from_str(&stack).unwrap(),
                caller: crate::plan::desired::Caller::default(),
                places: crate::plan::desired::Places::default(),
            };
            let machine = Supervisor::new(deployment.env.clone(), 0);
            let world = GoodWorld::new(machine, Ok(Actual::default()), &|_, trusted, _| trusted.then_some(Assessment::UpToDate));
            (world, deployment)
        }
    }

    /// What each of these requests causes, one after the other.
    fn plans(services: &str, requests: impl IntoIterator<Item = fn(&Deployment) -> Request>) -> Vec<Vec<String>> {
        let (mut world, deployment) = GoodWorld::of(services);
        let plan = |request: fn(&Deployment) -> Request| {
            world.plan = Plan::default();
            world.answered = false;
            world.queue.push_back(Event::Request(RequestId(0), request(&deployment)));
            world.run();
            assert_eq!(world.plan.stuck, Vec::<String>::new());
            world.plan.steps.iter().map(|step| format!("{} {}", step.verb, step.subject)).collect()
        };
        requests.into_iter().map(plan).collect()
    }

    #[test]
    fn an_image_is_built_again_when_a_task_before_it_has_run_and_not_when_that_was_up_to_date() {
        let services = r#"{
            "make": {"common": {}, "kind": {"process": {"task": true, "command": ["true"]}}},
            "web": {"common": {"depends_on": {"make": {"condition": "service_completed_successfully"}}},
                    "kind": {"container": {"build": {"context": "/nowhere"}}}}
        }"#;
        let up = |deployment: &Deployment| Request::Up(Box::new(Up::of(deployment.clone())));
        let make = |_: &Deployment| Request::Restart(Restart { services: vec!["make".parse().unwrap()], ..Restart::default() });
        let plans = plans(services, [up, up, make, up]);
        let builds = |plan: &Vec<String>| plan.iter().any(|step| step == "build image of web");
        assert_eq!(plans.iter().map(builds).collect::<Vec<_>>(), [true, false, true, false], "{plans:#?}");
    }

    #[test]
    fn an_image_that_is_gone_or_to_be_pulled_again_makes_no_container_anew_that_is_of_it() {
        let of = |image: &str, policy: &str| {
            GoodWorld::of(&format!(
                r#"{{"web": {{"common": {{}}, "kind": {{"container": {{"image": "{image}", "pull_policy": "{policy}"}}}}}}}}"#
            ))
        };
        let tell = |world: &mut GoodWorld<'static>, deployment: Deployment| {
            world.plan = Plan::default();
            world.answered = false;
            world.queue.push_back(Event::Request(RequestId(0), Request::Up(Box::new(Up::of(deployment)))));
            world.run();
            world.plan.steps.iter().map(|step| format!("{} {}: {}", step.verb, step.subject, step.cause)).collect::<Vec<_>>()
        };
        let (mut world, deployment) = of("app", "missing");
        assert_eq!(tell(&mut world, deployment.clone())[0], "pull image app: not present");
        // Somebody removes it, by its name or altogether.
        world.change(|actual| actual.images.clear());
        assert_eq!(tell(&mut world, deployment), ["pull image app: not present"]);
        let (_, always) = of("app", "always");
        assert_eq!(tell(&mut world, always), ["pull image app: is to be pulled again"]);
        // And gives its name to another one.
        world.change(|actual| actual.images.insert("app".to_owned(), "another".to_owned()));
        let (_, missing) = of("app", "missing");
        let anew = tell(&mut world, missing);
        let expected = ["create", "stop", "remove"].map(|verb| format!("{verb} web:1: its image is another one"));
        assert_eq!(anew[..3], expected, "{anew:#?}");
        let (_, other) = of("other", "missing");
        let anew = tell(&mut world, other);
        assert!(anew.iter().any(|step| step == "stop web:1: image: \"app\" → \"other\""), "{anew:#?}");
    }

    #[test]
    fn a_restart_is_told_as_one_and_a_stop_for_good_as_what_it_is() {
        let (mut world, deployment) =
            GoodWorld::of(r#"{"web": {"common": {}, "kind": {"container": {"image": "web", "networks": {"default": null}}}}}"#);
        let mut causes = |request: Request| {
            world.plan = Plan::default();
            world.answered = false;
            world.queue.push_back(Event::Request(RequestId(0), request));
            world.run();
            let steps = world.plan.steps.iter().filter(|step| step.subject == "web:1");
            steps.map(|step| format!("{}: {}", step.verb, step.cause)).collect::<Vec<_>>()
        };
        assert_eq!(causes(Request::Up(Box::new(Up::of(deployment)))), ["create: not found", "start: wanted up"]);
        assert_eq!(causes(Request::Restart(Restart::default())), ["stop: is restarted", "start: is restarted"]);
        assert_eq!(causes(Request::Stop(crate::supervisor::request::Stop::default())), ["stop: no longer wanted"]);
        assert_eq!(causes(Request::Start(crate::supervisor::request::Select::default())), ["start: wanted up"]);
    }

    #[test]
    fn what_happens_to_a_thousand_replicas_at_once_is_looked_at_once() {
        let stack = |count: u32| {
            format!(
                r#"{{"db": {{"common": {{}}, "kind": {{"container": {{"image": "db"}}}}}},
                    "web": {{"common": {{"scale": {count}, "depends_on": {{"db": {{"condition": "service_healthy"}}}}}},
                             "kind": {{"container": {{"image": "web", "networks": {{"default": null}}}}}}}}}}"#
            )
        };
        let turns = |count| {
            let (mut world, deployment) = GoodWorld::of(&stack(count));
            world.queue.push_back(Event::Request(RequestId(0), Request::Up(Box::new(Up::of(deployment)))));
            world.run();
            assert_eq!(world.plan.steps.iter().filter(|step| step.verb == "start").count(), count as usize + 1);
            world.turns
        };
        assert_eq!(turns(1000), turns(2));
    }
}
