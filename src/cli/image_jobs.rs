//! Pulls and builds for commands that need no supervisor: all at once, each with its progress, and none stops the others.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::CliError;
use super::context::Context;
use super::interrupt::{self, Cause, Interrupts};
use super::mask::Mask;
use crate::base::name::{EnvId, ServiceName};
use crate::host::engine::{Engine, Meanwhile};
use crate::plan::action::{Action, Fault, Generation, Incarnation, ResourceId, Ticket};
use crate::plan::actual::{Actual, Query};
use crate::plan::desired::Deployment;
use crate::plan::hash::ConfigHash;
use crate::plan::provision::Building;
use crate::supervisor::notice::{Notice, ResourceState};
use crate::view::progress::{Progress, Style};

/// One thing to be done.
#[derive(Debug, Clone)]
pub struct Job {
    /// To what.
    pub resource: ResourceId,
    /// Its name in the engine.
    pub name: String,
    /// What.
    pub work: Work,
    /// The services that it is done for, where there may be several.
    pub users: Vec<ServiceName>,
}

/// What is done to an image, a network or a volume.
#[derive(Debug, Clone)]
pub enum Work {
    /// What a supervisor could do as well.
    Act(Box<Action>),
    /// It is sent to its registry.
    Push,
}

impl Job {
    /// Pulls a service's image.
    pub fn pull(service: &ServiceName, reference: String, platform: Option<String>) -> Self {
        let action = Action::Pull { reference: reference.clone(), platform, once: false };
        let job = Self::act(ResourceId::Image(service.clone()), reference, action);
        Self { users: vec![service.clone()], ..job }
    }

    fn act(resource: ResourceId, name: String, action: Action) -> Self {
        Self { resource, name, work: Work::Act(Box::new(action)), users: Vec::new() }
    }

    /// Pushes an image.
    pub fn push(service: &ServiceName, reference: String) -> Self {
        Self { resource: ResourceId::Image(service.clone()), name: reference, work: Work::Push, users: Vec::new() }
    }

    /// Pulls an image that is no service's.
    pub fn named(reference: String) -> Self {
        let action = Action::Pull { reference: reference.clone(), platform: None, once: false };
        Self::act(ResourceId::NamedImage(reference.clone()), reference, action)
    }

    /// Builds a service's image.
    pub fn build(service: &ServiceName, deployment: &Arc<Deployment>) -> Self {
        let action = Action::Build { service: service.clone(), deployment: Arc::clone(deployment) };
        let name = deployment.image_of(service).unwrap_or_default();
        Self::act(ResourceId::Image(service.clone()), name, action)
    }

    /// What it is about: its name, and for whom it is where that does not follow.
    fn subject(&self) -> String {
        if self.users.is_empty() {
            return self.name.clone();
        }
        let users: Vec<&str> = self.users.iter().map(ServiceName::as_str).collect();
        format!("{} (for {})", self.name, users.join(", "))
    }

    /// The environment that it builds for.
    fn env(&self) -> Option<&EnvId> {
        match &self.work {
            Work::Act(action) => match &**action {
                Action::Build { deployment, .. } => Some(&deployment.env),
                _ => None,
            },
            Work::Push => None,
        }
    }

    fn states(&self) -> (ResourceState, ResourceState) {
        match &self.work {
            Work::Push => (ResourceState::Pushing, ResourceState::Pushed),
            Work::Act(action) => match **action {
                Action::Pull { .. } => (ResourceState::Pulling, ResourceState::Pulled),
                Action::Build { .. } => (ResourceState::Building, ResourceState::Built),
                _ => (ResourceState::Creating, ResourceState::Created),
            },
        }
    }
}

/// An end that somebody wants before all is done.
pub struct Stop {
    cause: Arc<OnceLock<Cause>>,
    _listening: Interrupts,
}

impl Stop {
    /// Has Ctrl-C and its like break off what the engine does. To be used once in a process.
    pub fn listen(context: &Context) -> Result<Self, CliError> {
        let engine = context.engine()?;
        let cause = Arc::new(OnceLock::new());
        let first = Arc::clone(&cause);
        let listening = interrupt::listen(move |cause| {
            // Who is told twice knows it already.
            let _ = first.set(cause);
            engine.call_off();
        });
        Ok(Self { cause, _listening: listening.map_err(CliError::failed)? })
    }
}

/// As [`perform`], until somebody interrupts it; `what` is what is broken off then.
pub fn perform_until(stop: &Stop, what: &str, jobs: Vec<Job>, style: Style, context: &Context) -> Result<Vec<String>, CliError> {
    let failures = perform(jobs, style, context)?;
    match stop.cause.get() {
        Some(cause) if !failures.is_empty() => Err(CliError::Interrupted(*cause, format!("{what} was broken off"))),
        Some(_) | None => Ok(failures),
    }
}

/// Does all jobs at once, or as many as `--parallel` allows. Answers with what failed, one sentence each.
pub fn perform(jobs: Vec<Job>, style: Style, context: &Context) -> Result<Vec<String>, CliError> {
    let engine = context.engine()?;
    engine.release().map_err(|fault| CliError::Engine(fault.to_string()))?;
    let mask = jobs.iter().find_map(Job::env).map(|env| context.mask(env)).transpose()?;
    let talk = Talk { progress: Mutex::new(Progress::new(style, context.printer)), mask, tells_reasons: style == Style::Json };
    let failures = Mutex::new(Vec::new());
    let hands = context.parallel()?.min(jobs.len());
    let waiting = Mutex::new(jobs.into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..hands {
            scope.spawn(|| {
                while let Some(job) = next() {
                    if let Err(fault) = perform_one(&job, engine, &talk) {
                        let sentence = talk.masked(format!("{}: {fault}", job.subject()));
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(sentence);
                    }
                }
            });
        }
    });
    Ok(failures.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What is said meanwhile.
struct Talk {
    progress: Mutex<Progress>,
    /// Values that are not shown.
    mask: Option<Mask>,
    /// Why something failed is said with the progress too, and not only at the end.
    tells_reasons: bool,
}

impl Talk {
    fn masked<T: Serialize + DeserializeOwned>(&self, message: T) -> T {
        match &self.mask {
            Some(mask) => mask.message(message),
            None => message,
        }
    }

    fn show(&self, notice: Notice) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).show(&self.masked(notice));
    }
}

fn perform_one(job: &Job, engine: &Engine, talk: &Talk) -> Result<(), Fault> {
    let show = |notice| talk.show(notice);
    let state = |state| Notice::Resource { resource: job.resource.clone(), state, name: job.name.clone() };
    let ticket = Ticket {
        serial: 0,
        resource: job.resource.clone(),
        incarnation: Incarnation::default(),
        // Networks and volumes are told apart by their definition alone, as the machine does it.
        hash: ConfigHash::from_label(""),
        generation: Generation::default(),
    };
    let (doing, done) = job.states();
    show(state(doing));
    let say = |said| {
        show(match said {
            Meanwhile::Progress(text) => Notice::Progress { resource: job.resource.clone(), text },
            Meanwhile::Wrote(line) => Notice::Wrote { resource: job.resource.clone(), line },
            Meanwhile::Retrying(text) => state(ResourceState::Retrying(text)),
        });
    };
    let outcome = match &job.work {
        Work::Act(action) => engine.act(&ticket, action, say).map(drop),
        Work::Push => engine.push(&ticket, &job.name, say),
    };
    let reason = |fault: &Fault| if talk.tells_reasons { fault.to_string() } else { String::new() };
    show(state(outcome.as_ref().map_or_else(|fault| ResourceState::Failed(reason(fault)), |()| done)));
    outcome
}

/// Sees to it that the networks and volumes of a container service are there, and with `with_image` its image, for a one-off copy
/// of it.
pub fn ensure(
    service: &ServiceName,
    deployment: &Arc<Deployment>,
    with_image: bool,
    style: Style,
    context: &Context,
) -> Result<(), CliError> {
    let mounted = deployment.mounted_images(service).into_values();
    let images = deployment.image_of(service).into_iter().chain(mounted).collect();
    let query = Query { images, ..Query::default() };
    let seen = context.engine()?.observe(&deployment.env, &query).map_err(|fault| CliError::Engine(fault.to_string()))?;
    let jobs = missing(service, deployment, with_image, &seen);
    if jobs.is_empty() {
        return Ok(());
    }
    let failures = perform(jobs, style, context)?;
    if failures.is_empty() { Ok(()) } else { Err(CliError::Several(failures)) }
}

/// What makes what the engine has not.
fn missing(service: &ServiceName, deployment: &Arc<Deployment>, with_image: bool, seen: &Actual) -> Vec<Job> {
    let mut jobs = Vec::new();
    let Some(container) = deployment.service(service).and_then(|service| service.container()) else { return jobs };
    for key in container.networks.keys() {
        let external = deployment.stack.networks.get(key).is_some_and(|network| network.external);
        if !external && !seen.networks.contains_key(&deployment.network_name(key)) {
            let action = Action::CreateNetwork { key: key.clone(), deployment: Arc::clone(deployment) };
            jobs.push(Job::act(ResourceId::Network(key.clone()), deployment.network_name(key), action));
        }
    }
    for key in container.volume_keys() {
        let ours = deployment.stack.volumes.get(key).is_some_and(|volume| !volume.external);
        if ours && !seen.volumes.contains_key(&deployment.volume_name(key)) {
            let action = Action::CreateVolume { key: key.clone(), deployment: Arc::clone(deployment) };
            jobs.push(Job::act(ResourceId::Volume(key.clone()), deployment.volume_name(key), action));
        }
    }
    let reference = deployment.image_of(service).filter(|reference| with_image && !seen.images.contains_key(reference));
    if let Some(reference) = reference {
        jobs.push(match deployment.builder_of(service) {
            Some(builder) => Job::build(builder, deployment),
            None => Job::pull(service, reference, container.platform.clone()),
        });
    }
    for reference in deployment.mounted_images(service).into_values() {
        if seen.images.contains_key(&reference) || jobs.iter().any(|job| job.name == reference) {
            continue;
        }
        let builder = deployment.supplier_of(&reference, Building::AsNeeded).and_then(|name| deployment.builder_of(name));
        jobs.push(match builder {
            Some(builder) => Job::build(builder, deployment),
            None => Job { users: vec![service.clone()], ..Job::named(reference) },
        });
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_its_image_a_copy_gets_its_networks_and_volumes_all_the_same() {
        let mut stack = serde_json::to_value(crate::model::stack::Stack::default()).unwrap();
        stack["services"] = serde_json::json!({"web": {"common": {}, "kind": {"container": {
            "image": "nginx", "networks": {"front": null}, "volumes": [{"type": "volume", "source": "data", "target": "/d"}],
        }}}});
        stack["networks"] = serde_json::json!({"front": {}});
        stack["volumes"] = serde_json::json!({"data": {}});
        let deployment = Arc::new(Deployment {
            env: "e".parse().unwrap(),
            stack: serde_json::from_value(stack).unwrap(),
            caller: crate::plan::desired::Caller::default(),
            places: crate::plan::desired::Places::default(),
        });
        let web = "web".parse().unwrap();
        let of = |with_image| {
            let jobs = missing(&web, &deployment, with_image, &Actual::default()).into_iter();
            jobs.map(|job| job.resource).collect::<Vec<_>>()
        };
        let both = [ResourceId::Network("front".to_owned()), ResourceId::Volume("data".to_owned())];
        assert_eq!(of(false), both);
        assert_eq!(of(true), [&both[..], &[ResourceId::Image(web.clone())]].concat());
    }
}
