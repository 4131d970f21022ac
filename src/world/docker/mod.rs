//! The Docker Engine: carries out the actions on containers, networks, volumes and images, and tells what it holds.
//!
//! The only room that knows bollard. It decides nothing: what is to be done is an [`Action`], what is seen an
//! [`Actual`](crate::plan::actual::Actual).
//!
//! | file | what |
//! |---|---|
//! | `connect` `dial` `error` | where the engine is; its refusals as faults |
//! | `observe` `events` | what there is; when to look again |
//! | `body` `mounts` `resources` `endpoints` `sharing` `security` `labels` | a unit's definition as a create request |
//! | `needs` | what an engine may be too old for |
//! | `container` `network` `volume` | make, start, stop, remove |
//! | `image` `context` `dockerignore` `registry` `progress` `prune` | pull, build and remove |
//! | `builder` `dockerfile` `classic` `buildkit` `layout` | who builds what: the two builders; layers in directories |
//! | `logs` `live` `frames` | what a container has written, and what it writes |
//! | `exec` `run` `pre_start` `sync` | commands inside one; one-off containers, for hooks too; files for one |
//! | `owned` `environments` | what else belongs to an environment; all environments |
//! | `rooted` `disk_usage` | removing what containers have left on the disk as root; how large volumes are |
//! | `listing` `usage` `feed` | containers, what they use, and events, as commands show them |
//! | `files` `copy` `push` | files in and out of a container, images out |
//! | `distribution` `patient` `web_proxy` `application` | a registry without an engine; stacks that are published to one |

mod alike;
mod application;
mod body;
mod builder;
mod buildkit;
mod classic;
mod connect;
mod container;
mod context;
mod copy;
mod dial;
mod digest;
mod disk_usage;
mod distribution;
mod dockerfile;
mod dockerignore;
mod endpoints;
mod environments;
mod error;
mod events;
mod exec;
mod feed;
mod files;
mod frames;
mod image;
mod labels;
mod layout;
mod listing;
mod live;
mod logs;
mod mounts;
mod needs;
mod network;
mod observe;
mod owned;
mod patient;
mod pre_start;
mod progress;
mod prune;
mod published;
mod push;
mod registry;
mod resources;
mod rooted;
mod run;
mod security;
mod sharing;
mod ssh;
mod sync;
mod time;
mod turns;
mod usage;
mod volume;
mod web_proxy;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use indexmap::IndexMap;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use application::{Application, OciVersion, Part, PartKind, Publication, check_published};
pub use builder::{Unbuildable, in_order, is_remote, labels_of_build, lacking};
pub use connect::Endpoint;
use connect::Link;
pub use copy::CopyOptions;
pub use dockerignore::{BadPattern, DockerIgnore};
pub use environments::{SeenEnvironment, SeenEnvironments};
pub use exec::{ExecSpec, Input, Output, Session, Terminal};
pub use feed::Happened;
pub use files::{Archive, Commit, PathInside};
use image::Patience;
pub use listing::{ImageFacts, Listed, ListedVolume};
pub use live::{LiveOutput, Lives};
pub use logs::{LogLine, LogRange, LogReading, LogStream};
use observe::Births;
pub use owned::OwnedThing;
pub use published::{HeldPorts, PortOfContainer};
pub use run::{Attached, RunSpec};
use turns::Turns;
pub use usage::Top;
use web_proxy::WebProxies;

use crate::base::name::ServiceName;
use crate::plan::action::{Action, Fault, Outcome, Ticket};
use crate::plan::desired::Deployment;
use crate::supervisor::event::Event;
use crate::world::engine_records::EnginePlace;

/// How many calls that make the engine work may be under way at once. Two to four saturate an engine on two cores, more only
/// make each of them slower.
const AT_ONCE: usize = 4;

/// A Docker Engine. Cheap to clone; connects when it is first needed, and again after the engine was away.
#[derive(Debug, Clone)]
pub struct Docker(Arc<Inner>);

/// What an engine says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Its release, `20.10.24`.
    pub release: String,
    /// Where it keeps its things, on its own host.
    pub root: Option<PathBuf>,
    /// What its clock says, in RFC 3339.
    pub clock: Option<String>,
}

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    /// Where `docker login` leaves what it knows.
    config_dir: Option<PathBuf>,
    /// What is between us and registries.
    proxies: WebProxies,
    link: Mutex<Option<Link>>,
    slots: Semaphore,
    births: Births,
    /// The images that steps of builds have made which were broken off, by the name of what was to be built.
    broken_off: Mutex<HashMap<String, BTreeSet<String>>>,
    turns_of_builds: Turns,
    /// Whose hooks run before a start: one replica of a service after the other.
    turns: Mutex<HashMap<ServiceName, Arc<Semaphore>>>,
}

impl Docker {
    /// The engine that Docker's command line would use in this environment.
    pub fn new(environment: &IndexMap<String, String>) -> Self {
        Self(Arc::new(Inner {
            endpoint: Endpoint::find(environment),
            config_dir: connect::config_dir(environment),
            proxies: WebProxies::of(environment),
            link: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
            births: Births::default(),
            broken_off: Mutex::default(),
            turns_of_builds: Turns::default(),
            turns: Mutex::default(),
        }))
    }

    /// Where the engine is; none of one that cannot be used.
    pub fn place(&self) -> Option<EnginePlace> {
        self.0.endpoint.place()
    }

    /// The engine's release, `20.10.24`; a fault of kind `EngineAway`, in the user's words, when it cannot be reached.
    pub async fn release(&self) -> Result<String, Fault> {
        Ok(self.link().await?.release)
    }

    /// Whether it is reached by a socket of this host: of one elsewhere, directories in labels say nothing here.
    pub fn is_local(&self) -> bool {
        self.0.endpoint.is_local()
    }

    /// All that these services ask of an engine that is too old for it, one sentence each.
    pub async fn too_old_for(&self, deployment: &Deployment, services: &[ServiceName]) -> Result<Vec<String>, Fault> {
        let link = self.link().await?;
        Ok(needs::unmet(deployment, services, link.version, &link.release))
    }

    /// What the engine says of itself: release, where it keeps its things, its clock.
    pub async fn about(&self) -> Result<About, Fault> {
        let link = self.link().await?;
        let info = link.api.info().await?;
        Ok(About { release: link.release, root: info.docker_root_dir.map(PathBuf::from), clock: info.system_time })
    }

    /// Does one action on a container, network, volume or image.
    pub async fn act(&self, ticket: &Ticket, action: &Action, events: &Sender<Event>) -> Result<Outcome, Fault> {
        match action {
            Action::CreateNetwork { key, deployment } => self.create_network(key, deployment).await,
            Action::RemoveNetwork { name } => self.remove_network(name).await,
            Action::CreateVolume { key, deployment } => self.create_volume(key, deployment).await,
            Action::RemoveVolume { name } => self.remove_volume(name).await,
            Action::Pull { reference, platform, once } => {
                let patience = if *once { Patience::Once } else { Patience::Retries };
                self.pull(reference, platform.as_deref(), patience, ticket, events).await
            }
            Action::Build { service, deployment } => self.build(service, deployment, ticket, events).await,
            Action::Sync { spec, container, rule, paths } => self.sync(spec, container, rule, paths.clone()).await,
            Action::RemoveImages { env, deployment, which } => self.remove_images(env, deployment.as_deref(), *which).await,
            Action::RemoveOwned { env, owned, volumes } => self.remove_owned(env, owned, *volumes).await,
            Action::Create { spec, inherited } => self.create(spec, inherited).await,
            Action::Succeed { spec, predecessor, renew_volumes, adopts } => {
                // Two containers are described and compared there: much for a place that all actions share.
                Box::pin(self.succeed(spec, predecessor.as_deref(), *renew_volumes, *adopts)).await
            }
            Action::TakeOver { container, name, .. } => self.take_over(container, name).await,
            Action::Discard { container, volumes, .. } => self.discard_successor(container, *volumes).await,
            Action::Start { spec, incarnation, line, container, .. } => {
                let life = container::Beginning {
                    spec,
                    incarnation: *incarnation,
                    line: line.as_deref(),
                    container: container.as_deref(),
                };
                self.start(life, ticket, events).await
            }
            Action::Stop { spec, grace, container, .. } => self.stop(spec, container.as_deref(), *grace).await,
            Action::Kill { spec, signal, container, .. } => self.kill(spec, container.as_deref(), signal).await,
            Action::Freeze { spec, container, frozen, .. } => self.freeze(spec, container.as_deref(), *frozen).await,
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

    /// The turns of a service's replicas.
    fn turns_of(&self, service: &ServiceName) -> Arc<Semaphore> {
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(service.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))))
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
