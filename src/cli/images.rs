//! Pulls and builds for commands that need no supervisor: all at once, each with its progress, and none stops the others.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::CliError;
use super::context::Context;
use crate::base::name::ServiceName;
use crate::host::engine::Engine;
use crate::plan::action::{Action, Fault, Generation, Incarnation, ResourceId, Ticket};
use crate::plan::actual::Query;
use crate::plan::desired::Deployment;
use crate::plan::hash::ConfigHash;
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
    pub action: Action,
}

impl Job {
    /// Pulls a service's image.
    pub fn pull(service: &ServiceName, reference: String, platform: Option<String>) -> Self {
        let action = Action::Pull { reference: reference.clone(), platform, once: false };
        Self { resource: ResourceId::Image(service.clone()), name: reference, action }
    }

    /// Pulls an image of `images:`.
    pub fn prefetch(reference: String) -> Self {
        let action = Action::Pull { reference: reference.clone(), platform: None, once: false };
        Self { resource: ResourceId::Prefetch(reference.clone()), name: reference, action }
    }

    /// Builds a service's image.
    pub fn build(service: &ServiceName, deployment: &Arc<Deployment>) -> Self {
        let action = Action::Build { service: service.clone(), deployment: Arc::clone(deployment) };
        let name = deployment.image_of(service).unwrap_or_default();
        Self { resource: ResourceId::Image(service.clone()), name, action }
    }

    fn states(&self) -> (ResourceState, ResourceState) {
        match self.action {
            Action::Pull { .. } => (ResourceState::Pulling, ResourceState::Pulled),
            Action::Build { .. } => (ResourceState::Building, ResourceState::Built),
            Action::CreateNetwork { .. }
            | Action::RemoveNetwork { .. }
            | Action::CreateVolume { .. }
            | Action::RemoveVolume { .. }
            | Action::Create { .. }
            | Action::Succeed { .. }
            | Action::TakeOver { .. }
            | Action::Discard { .. }
            | Action::Start { .. }
            | Action::Stop { .. }
            | Action::Kill { .. }
            | Action::Remove { .. }
            | Action::Assess { .. }
            | Action::Conclude { .. }
            | Action::RemoveImages { .. }
            | Action::Sync { .. }
            | Action::RemoveOwned { .. } => (ResourceState::Creating, ResourceState::Created),
        }
    }
}

/// Does all jobs at once. Answers with what failed, one sentence each.
pub fn perform(jobs: Vec<Job>, style: Style, context: &Context) -> Result<Vec<String>, CliError> {
    let engine = context.engine()?;
    engine.release().map_err(|fault| CliError::Engine(fault.to_string()))?;
    let progress = Mutex::new(Progress::new(style, context.printer));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for job in jobs {
            let (progress, failures) = (&progress, &failures);
            scope.spawn(move || {
                if let Err(fault) = perform_one(&job, engine, progress) {
                    let sentence = format!("{}: {fault}", job.name);
                    failures.lock().unwrap_or_else(PoisonError::into_inner).push(sentence);
                }
            });
        }
    });
    Ok(failures.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn perform_one(job: &Job, engine: &Engine, progress: &Mutex<Progress>) -> Result<(), Fault> {
    let show = |notice: &Notice| progress.lock().unwrap_or_else(PoisonError::into_inner).show(notice);
    let state = |state| Notice::Resource { resource: job.resource.clone(), state, name: job.name.clone() };
    let ticket = Ticket {
        serial: 0,
        resource: job.resource.clone(),
        incarnation: Incarnation::default(),
        hash: ConfigHash::from_label(""),
        generation: Generation::default(),
    };
    let (doing, done) = job.states();
    show(&state(doing));
    let outcome = engine.act(&ticket, &job.action, |text| show(&Notice::Progress { resource: job.resource.clone(), text }));
    show(&state(outcome.as_ref().map_or_else(|fault| ResourceState::Failed(fault.to_string()), |_| done)));
    outcome.map(|_| ())
}

/// Sees to it that the image and the networks and volumes of a container service are there, for a one-off copy of it.
pub fn ensure(service: &ServiceName, deployment: &Arc<Deployment>, style: Style, context: &Context) -> Result<(), CliError> {
    let Some(container) = deployment.service(service).and_then(|service| service.container()) else { return Ok(()) };
    let reference = deployment.image_of(service);
    let query = Query { images: reference.iter().cloned().collect(), ..Query::default() };
    let seen = context.engine()?.observe(&deployment.env, &query).map_err(|fault| CliError::Engine(fault.to_string()))?;
    let mut jobs = Vec::new();
    for key in container.networks.keys() {
        let external = deployment.stack.networks.get(key).is_some_and(|network| network.external);
        if !external && !seen.networks.contains_key(&deployment.network_name(key)) {
            let action = Action::CreateNetwork { key: key.clone(), deployment: Arc::clone(deployment) };
            jobs.push(Job { resource: ResourceId::Network(key.clone()), name: deployment.network_name(key), action });
        }
    }
    for key in container.volumes.iter().filter_map(|mount| mount.source.as_ref()) {
        let ours = deployment.stack.volumes.get(key).is_some_and(|volume| !volume.external);
        if ours && !seen.volumes.contains_key(&deployment.volume_name(key)) {
            let action = Action::CreateVolume { key: key.clone(), deployment: Arc::clone(deployment) };
            jobs.push(Job { resource: ResourceId::Volume(key.clone()), name: deployment.volume_name(key), action });
        }
    }
    if let Some(reference) = reference.filter(|reference| !seen.images.contains_key(reference)) {
        jobs.push(if container.build.is_some() {
            Job::build(service, deployment)
        } else {
            Job::pull(service, reference, container.platform.clone())
        });
    }
    if jobs.is_empty() {
        return Ok(());
    }
    let failures = perform(jobs, style, context)?;
    if failures.is_empty() { Ok(()) } else { Err(CliError::Several(failures)) }
}
