//! The Docker Engine: carries out the actions on containers, networks, volumes and images, and tells what it holds.
//!
//! The only room that knows bollard. It decides nothing: what is to be done is an [`Action`], what is seen an
//! [`Actual`](crate::plan::actual::Actual).
//!
//! | file | what |
//! |---|---|
//! | `connect` `error` | where the engine is; its refusals as faults |
//! | `observe` `events` | what there is; when to look again |
//! | `body` `mounts` `labels` | a unit's definition as a create request (pure) |
//! | `container` `network` `volume` | make, start, stop, remove |
//! | `image` `context` `dockerignore` `registry` `progress` | pull and build |
//! | `logs` `exec` `run` | what a container writes; commands inside one; one-off containers |
//! | `owned` `environments` | what else belongs to an environment; all environments |

mod body;
mod connect;
mod container;
mod context;
mod digest;
mod dockerignore;
mod environments;
mod error;
mod events;
mod exec;
mod image;
mod labels;
mod logs;
mod mounts;
mod network;
mod observe;
mod owned;
mod progress;
mod published;
mod registry;
mod run;
mod volume;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use indexmap::IndexMap;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use connect::Endpoint;
use connect::Link;
pub use dockerignore::{BadPattern, DockerIgnore};
pub use environments::SeenEnvironment;
pub use exec::{ExecSpec, Input, Output, Session, Terminal};
pub use logs::{LogLine, LogRange, LogStream};
use observe::Births;
pub use owned::OwnedThing;
pub use published::PortOfContainer;
pub use run::{Attached, RunSpec};

use crate::plan::action::{Action, Fault, Outcome, Ticket};
use crate::supervisor::event::Event;

/// How many calls that make the engine work may be under way at once. Two to four saturate an engine on two cores, more only
/// make each of them slower.
const AT_ONCE: usize = 4;

/// A Docker Engine. Cheap to clone; connects when it is first needed, and again after the engine was away.
#[derive(Debug, Clone)]
pub struct Docker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    /// Where `docker login` leaves what it knows.
    config_dir: Option<PathBuf>,
    link: Mutex<Option<Link>>,
    slots: Semaphore,
    births: Births,
}

impl Docker {
    /// The engine that Docker's command line would use in this environment.
    pub fn new(environment: &IndexMap<String, String>) -> Self {
        Self(Arc::new(Inner {
            endpoint: Endpoint::find(environment),
            config_dir: connect::config_dir(environment),
            link: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
            births: Births::default(),
        }))
    }

    /// The engine's release, `20.10.24`; a fault of kind `EngineAway`, in the user's words, when it cannot be reached.
    pub async fn release(&self) -> Result<String, Fault> {
        Ok(self.link().await?.release)
    }

    /// Does one action on a container, network, volume or image.
    pub async fn act(&self, ticket: &Ticket, action: &Action, events: &Sender<Event>) -> Result<Outcome, Fault> {
        match action {
            Action::CreateNetwork { key, deployment } => self.create_network(key, deployment, &ticket.hash).await,
            Action::RemoveNetwork { name } => self.remove_network(name).await,
            Action::CreateVolume { key, deployment } => self.create_volume(key, deployment, &ticket.hash).await,
            Action::RemoveVolume { name } => self.remove_volume(name).await,
            Action::Pull { reference, platform } => self.pull(reference, platform.as_deref(), ticket, events).await,
            Action::Build { service, deployment } => self.build(service, deployment, ticket, events).await,
            Action::RemoveOwned { owned, volumes } => self.remove_owned(owned, *volumes).await,
            Action::Create { spec, inherited } => self.create(spec, inherited).await,
            Action::Start { spec, incarnation, line } => self.start(spec, *incarnation, line.as_deref(), events).await,
            Action::Stop { spec, grace, container, .. } => self.stop(spec, container.as_deref(), *grace).await,
            Action::Kill { spec, signal, container, .. } => self.kill(spec, container.as_deref(), signal).await,
            Action::Remove { unit, container, spec, volumes } => {
                self.remove(unit, container.as_deref(), spec.as_ref(), *volumes).await
            }
            Action::Assess { .. } | Action::Conclude { .. } => Err(Fault::permanent("tasks are no containers")),
        }
    }

    /// The way to the engine.
    async fn link(&self) -> Result<Link, Fault> {
        let open = self.0.link.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(link) = open {
            return Ok(link);
        }
        let link = Link::open(&self.0.endpoint).await?;
        *self.0.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(link.clone());
        Ok(link)
    }

    /// Another engine may answer next time.
    fn unlink(&self) {
        *self.0.link.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits for a turn to let the engine work.
    async fn slot(&self) -> SemaphorePermit<'_> {
        self.0.slots.acquire().await.expect("the semaphore is never closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::name::EnvId;
    use crate::plan::actual::Query;

    /// Never called: that it compiles is the test.
    #[expect(dead_code, reason = "checked by the compiler")]
    fn what_takes_time_can_be_left_to_a_task(docker: &Docker, env: &EnvId, ticket: &Ticket, action: &Action) {
        fn is_send(_: impl Send) {}
        let (events, _) = crossbeam_channel::unbounded();
        is_send(docker.act(ticket, action, &events));
        is_send(docker.observe(env, &Query::default()));
        is_send(docker.down(env, false, None));
        is_send(docker.watch(env, events));
    }
}
