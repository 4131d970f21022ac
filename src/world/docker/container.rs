//! Containers of units: make, start, stop, signal, remove.
//!
//! A container is found by its labels, never by its name alone: a name may belong to somebody else.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerState, ContainerSummary, NetworkConnectRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    RenameContainerOptionsBuilder, StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use crossbeam_channel::Sender;
use indexmap::IndexMap;
use tokio::time::sleep;

use super::body::{self, CreateRequest, Surroundings};
use super::connect::Link;
use super::labels::{self, OneOff};
use super::logs::Life;
use super::mounts;
use super::observe::{list_containers, name_of, replaced_by, successor_name};
use super::{Docker, alike, error, files, registry, security};
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::model::container::Container;
use crate::model::hook::Hook;
use crate::plan::action::{AnonymousVolumes, Fault, Incarnation, Outcome, Ticket, is_anonymous_volume};
use crate::plan::desired::UnitSpec;
use crate::supervisor::event::Event;
use crate::world::clock;

/// How long a removal that another one is already doing may take.
const REMOVAL: Duration = Duration::from_secs(30);

/// A stop that takes longer than this waits for the container, not for the engine, and no longer counts as a call at work.
const STOP_AT_WORK: Duration = Duration::from_millis(500);

impl Docker {
    pub(super) async fn create(&self, spec: &UnitSpec, inherited: &IndexMap<String, String>) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let _slot = self.slot().await;
        let request = self.request(&link, spec, inherited.clone(), None).await?;
        let name = request.name.clone();
        match make(&link, request).await {
            Ok(container) => Ok(Outcome::Created { container }),
            Err(MakeError::NameTaken(fault)) => match holder_of_name(&link, &name).await? {
                // The answer to an earlier request was lost: the container is the one that is wanted.
                Some(holder) if holder.is_fresh(spec) => Ok(Outcome::Created { container: holder.id }),
                Some(holder) => Err(Fault::permanent(holder.complaint(&name))),
                None => Err(Fault::temporary(fault.message)),
            },
            Err(MakeError::Other(fault)) => Err(fault),
        }
    }

    /// Makes a container that is to take another one's place, under a name of its own beside that one.
    pub(super) async fn succeed(
        &self,
        spec: &UnitSpec,
        predecessor: Option<&str>,
        renew_volumes: bool,
        adopts: bool,
    ) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let _slot = self.slot().await;
        let gone = || Fault::temporary("the container that it is to replace is gone");
        let Some(predecessor) = known_or_found(&link, spec, predecessor).await? else { return Err(gone()) };
        let present = match link.api.inspect_container(&predecessor, None).await {
            Ok(container) => container,
            Err(error) if error::is_not_found(&error) => return Err(gone()),
            Err(error) => return Err(error.into()),
        };
        let inherited = if renew_volumes { IndexMap::new() } else { anonymous_volumes(&present) };
        // Under its proper name it is known to others from the beginning; the name that the engine knows follows.
        let mut request = self.request(&link, spec, inherited, None).await?;
        request.name = successor_name(&predecessor, &request.name);
        let name = request.name.clone();
        let files = request.files.clone();
        match make(&link, request).await {
            Ok(container) if adopts => {
                let made = link.api.inspect_container(&container, None).await?;
                // What was written into files inside, the engine's description does not show.
                if !alike::are_alike(&present, &made) || !files::holds(&link, &predecessor, &files).await? {
                    return Ok(Outcome::Created { container });
                }
                discard(&link, &container).await?;
                Ok(Outcome::Done)
            }
            Ok(container) => Ok(Outcome::Created { container }),
            Err(MakeError::NameTaken(fault)) => match holder_of_name(&link, &name).await? {
                Some(holder) if holder.is_fresh(spec) && !renew_volumes => Ok(Outcome::Created { container: holder.id }),
                // Of a definition that is no longer wanted; made by an earlier supervisor, or by Compose.
                Some(holder) if holder.is_ours(spec) && holder.never_started => {
                    discard(&link, &holder.id).await?;
                    Err(Fault::temporary("an older successor was in its place"))
                }
                Some(holder) => Err(Fault::permanent(holder.complaint(&name))),
                None => Err(Fault::temporary(fault.message)),
            },
            Err(MakeError::Other(fault)) => Err(fault),
        }
    }

    /// Gives a container its proper name.
    pub(super) async fn take_over(&self, container: &str, name: &str) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let options = RenameContainerOptionsBuilder::default().name(name).build();
        let Err(error) = link.api.rename_container(container, options).await else { return Ok(Outcome::Done) };
        if error::is_not_found(&error) {
            return Err(Fault::temporary("the container is gone"));
        }
        match holder_of_name(&link, name).await? {
            // The answer to an earlier request was lost.
            Some(holder) if holder.id == container => Ok(Outcome::Done),
            Some(holder) => Err(Fault::permanent(holder.complaint(name))),
            None => Err(error.into()),
        }
    }

    /// Removes a container that has never been started.
    pub(super) async fn discard_successor(&self, container: &str, volumes: bool) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        if volumes {
            remove_by_id(&link, container, Removal { volumes: AnonymousVolumes::Removed, force: false }, &[]).await?;
        } else {
            discard(&link, container).await?;
        }
        Ok(Outcome::Removed { anonymous: IndexMap::new() })
    }

    /// The request that makes a container of this unit, with all that has to be asked for it.
    pub(super) async fn request(
        &self,
        link: &Link,
        spec: &UnitSpec,
        inherited: IndexMap<String, String>,
        one_off: Option<OneOff>,
    ) -> Result<CreateRequest, Fault> {
        let image = match spec.deployment.image_of(&spec.unit.service) {
            Some(reference) => link.api.inspect_image(&reference).await.map_err(|error| no_image(error, &reference))?,
            None => bollard::models::ImageInspect::default(),
        };
        let around = match spec.service().container() {
            Some(container) => self.surroundings(link, spec, container).await?,
            None => Surroundings::of(link.version),
        };
        let around = Surroundings {
            image: image.id,
            mounted: mounted_images(link, spec).await?,
            image_entrypoint: image.config.and_then(|config| config.entrypoint).unwrap_or_default(),
            inherited,
            one_off,
            ..around
        };
        body::create_request(spec, &around)
    }

    /// What has to be asked, of the engine and of files, for any container of a service.
    pub(super) async fn surroundings(&self, link: &Link, spec: &UnitSpec, container: &Container) -> Result<Surroundings, Fault> {
        let mut around = Surroundings::of(link.version);
        for name in container.partners() {
            let Ok(name) = name.parse::<ServiceName>() else { continue };
            if let Some(id) = find_unit(link, &spec.deployment.env, &UnitId::new(name.clone(), 1)).await? {
                around.partners.insert(name, id);
            }
        }
        around.security_opt = security::with_profiles(&container.security_opt, &spec.deployment.stack.directory)?;
        if container.use_api_socket {
            around.credentials = self.config_for_container().await;
        }
        Ok(around)
    }

    /// What a container that may use the engine is told of the caller's logins.
    async fn config_for_container(&self) -> Option<String> {
        let directory = self.0.config_dir.clone()?;
        tokio::task::spawn_blocking(move || registry::config_for_container(&directory)).await.ok()
    }

    pub(super) async fn start(&self, life: Beginning<'_>, ticket: &Ticket, events: &Sender<Event>) -> Result<Outcome, Fault> {
        let Beginning { spec, incarnation, line, container } = life;
        let link = self.link().await?;
        let gone = || format!("the container `{}` is gone", spec.deployment.container_name(&spec.unit));
        let id = known_or_found(&link, spec, container).await?.ok_or_else(|| Fault::permanent(gone()))?;
        let turn = self.before_start(&link, spec, &id, ticket, events).await?;
        // Both times are the engine's, so its clock may differ from ours.
        let last_end = match line {
            Some(_) => state_of(&link, &id).await?.finished_at.and_then(|time| humantime::parse_rfc3339(&time).ok()),
            None => None,
        };
        {
            let _slot = self.slot().await;
            // An engine answers 304 when the container already runs; for us that is success (moby `api/swagger.yaml`).
            match link.api.start_container(&id, None).await {
                // Somebody else made it anew: a look shows that.
                Err(error) if error::is_not_found(&error) && container.is_some() && !exists(&link, &id).await? => {
                    return Err(Fault::temporary(gone()));
                }
                started => started?,
            }
        }
        drop(turn);
        let birth = self.begun(&link, &id).await?;
        if let Some(pattern) = line {
            let life = Life { container: id.clone(), birth: birth.clone() };
            self.watch_for_line(life, last_end, pattern, spec.unit.clone(), incarnation, events.clone())?;
        }
        for hook in &spec.service().common.post_start {
            self.run_hook(&id, hook, "post_start").await?;
        }
        Ok(Outcome::Started { pid: None, birth })
    }

    pub(super) async fn stop(&self, spec: &UnitSpec, container: Option<&str>, grace: Duration) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let Some(id) = known_or_found(&link, spec, container).await? else { return Ok(Outcome::Done) };
        let deadline = clock::deadline(grace);
        let hooks = async {
            for hook in &spec.service().common.pre_stop {
                // A container that cannot run its hook must be stopped all the same.
                if let Err(fault) = self.run_hook(&id, hook, "pre_stop").await {
                    tracing::warn!(unit = %spec.unit, %fault, "a hook failed");
                }
            }
        };
        if tokio::time::timeout(grace, hooks).await.is_err() {
            tracing::warn!(unit = %spec.unit, "its pre_stop hooks took longer than its grace period");
        }
        self.stop_by_id(&link, &id, Some(clock::until(deadline))).await?;
        Ok(Outcome::Done)
    }

    /// Asks a container to end and waits until it has; the engine kills it after `grace`, or the time that it was made with.
    pub(super) async fn stop_by_id(&self, link: &Link, id: &str, grace: Option<Duration>) -> Result<(), Fault> {
        let mut options = StopContainerOptionsBuilder::default();
        if let Some(grace) = grace {
            options = options.t(i32::try_from(body::whole_seconds(grace)).unwrap_or(i32::MAX));
        }
        let api = link.patient();
        let call = api.stop_container(id, Some(options.build()));
        tokio::pin!(call);
        let slot = self.slot().await;
        let early = tokio::time::timeout(STOP_AT_WORK, &mut call).await;
        drop(slot);
        let answer = if let Ok(answer) = early { answer } else { call.await };
        match answer {
            Ok(()) => Ok(()),
            Err(error) if error::is_not_found(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn kill(&self, spec: &UnitSpec, container: Option<&str>, signal: &str) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let Some(id) = known_or_found(&link, spec, container).await? else { return Ok(Outcome::Signalled) };
        match link.api.kill_container(&id, Some(KillContainerOptionsBuilder::default().signal(signal).build())).await {
            Ok(()) => Ok(Outcome::Signalled),
            // 409: it does not run.
            Err(error) if matches!(error::status(&error), Some(404 | 409)) => Ok(Outcome::Signalled),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets a container stand still, or go on; one that does already, or does not run, is left as it is.
    pub(super) async fn freeze(&self, spec: &UnitSpec, container: Option<&str>, frozen: bool) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let Some(id) = known_or_found(&link, spec, container).await? else { return Ok(Outcome::Signalled) };
        let done = if frozen { link.api.pause_container(&id).await } else { link.api.unpause_container(&id).await };
        match done {
            Ok(()) => Ok(Outcome::Signalled),
            // 409: it is so already. Old engines say 500.
            Err(error) if matches!(error::status(&error), Some(404 | 409)) || error.to_string().contains("already paused") => {
                Ok(Outcome::Signalled)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn remove(
        &self,
        unit: &UnitId,
        container: Option<&str>,
        spec: Option<&UnitSpec>,
        volumes: AnonymousVolumes,
    ) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let id = match (container, spec) {
            (Some(id), _) => Some(id.to_owned()),
            (None, Some(spec)) => find_unit(&link, &spec.deployment.env, unit).await?,
            (None, None) => None,
        };
        let anonymous = match id {
            Some(id) => {
                let declared = spec.map(|spec| spec.deployment.volume_names()).unwrap_or_default();
                remove_by_id(&link, &id, Removal { volumes, force: false }, &declared).await?
            }
            None => IndexMap::new(),
        };
        Ok(Outcome::Removed { anonymous })
    }

    async fn run_hook(&self, id: &str, hook: &Hook, kind: &str) -> Result<(), Fault> {
        let (code, output) = self.run_inside(id, hook).await?;
        if code == 0 {
            return Ok(());
        }
        let command = hook.command.join(" ");
        let output = output.trim();
        let colon = if output.is_empty() { "" } else { ": " };
        Err(Fault::permanent(format!("{kind} hook `{command}` ended with exit code {code}{colon}{output}")))
    }
}

/// The ids of the images that a container of this unit mounts, by the path inside.
async fn mounted_images(link: &Link, spec: &UnitSpec) -> Result<BTreeMap<String, String>, Fault> {
    let mut mounted = BTreeMap::new();
    for (path, reference) in spec.deployment.mounted_images(&spec.unit.service) {
        let image = link.api.inspect_image(&reference).await.map_err(|error| no_image(error, &reference))?;
        mounted.insert(path, image.id.unwrap_or_default());
    }
    Ok(mounted)
}

/// A life of a container that is to begin.
pub(super) struct Beginning<'a> {
    /// Whose.
    pub(super) spec: &'a UnitSpec,
    /// Which.
    pub(super) incarnation: Incarnation,
    /// What is looked for in its log.
    pub(super) line: Option<&'a str>,
    /// The container's id, if known.
    pub(super) container: Option<&'a str>,
}

/// How a container is removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Removal {
    /// What becomes of its anonymous volumes.
    pub(super) volumes: AnonymousVolumes,
    /// Even while it runs.
    pub(super) force: bool,
}

/// Removes a container. Answers with the anonymous volumes that stay and are to be told; one that is gone already has none. What the
/// stack itself names is none of them, whatever its name looks like: whoever has found such a volume again may use it so.
pub(super) async fn remove_by_id(
    link: &Link,
    id: &str,
    removal: Removal,
    declared: &[String],
) -> Result<IndexMap<String, String>, Fault> {
    let mut anonymous = match removal.volumes {
        // An engine at work answers no question for nothing.
        AnonymousVolumes::Left => IndexMap::new(),
        AnonymousVolumes::Told | AnonymousVolumes::Removed => match link.api.inspect_container(id, None).await {
            Ok(container) => anonymous_volumes(&container),
            Err(error) if error::is_not_found(&error) => return Ok(IndexMap::new()),
            Err(error) => return Err(error.into()),
        },
    };
    anonymous.retain(|_, volume| !declared.contains(volume));
    let takes_volumes = removal.volumes == AnonymousVolumes::Removed;
    let options = RemoveContainerOptionsBuilder::default().v(takes_volumes).force(removal.force).build();
    match link.api.remove_container(id, Some(options)).await {
        Ok(()) => {}
        Err(error) if error::is_not_found(&error) => {}
        // Somebody else is removing it; it is gone when it can no longer be found.
        Err(error) if error::status(&error) == Some(409) && error.to_string().contains("already in progress") => {
            wait_until_gone(link, id).await?;
        }
        Err(error) if error::status(&error) == Some(409) => return Err(Fault::temporary(Fault::from(error).message)),
        Err(error) => return Err(error.into()),
    }
    if !takes_volumes {
        return Ok(anonymous);
    }
    // The engine takes volumes along that it made for this container, but not those that were inherited by name.
    for volume in anonymous.values() {
        match link.api.remove_volume(volume, None::<RemoveVolumeOptions>).await {
            Ok(()) => {}
            Err(error) if matches!(error::status(&error), Some(404 | 409)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(IndexMap::new())
}

/// Removes a container with the volumes that the engine made for it. Those that it shares with its predecessor are mounted by
/// name, and the engine leaves them.
async fn discard(link: &Link, id: &str) -> Result<(), Fault> {
    let options = RemoveContainerOptionsBuilder::default().v(true).build();
    match link.api.remove_container(id, Some(options)).await {
        Ok(()) => Ok(()),
        Err(error) if error::is_not_found(&error) => Ok(()),
        Err(error) if error::status(&error) == Some(409) => Err(Fault::temporary(Fault::from(error).message)),
        Err(error) => Err(error.into()),
    }
}

async fn wait_until_gone(link: &Link, id: &str) -> Result<(), Fault> {
    let gone = async {
        loop {
            match link.api.inspect_container(id, None).await {
                Ok(_) => sleep(Duration::from_millis(50)).await,
                Err(error) if error::is_not_found(&error) => return Ok(()),
                Err(error) => return Err(Fault::from(error)),
            }
        }
    };
    tokio::time::timeout(REMOVAL, gone)
        .await
        .unwrap_or_else(|_| Err(Fault::temporary("the Docker Engine has been removing the container for too long")))
}

/// Volumes without a name of their own: the engine names them with 64 hexadecimal digits.
fn anonymous_volumes(container: &ContainerInspectResponse) -> IndexMap<String, String> {
    let volumes = container.mounts.iter().flatten().filter(|mount| mount.typ.as_deref() == Some("volume"));
    let named = volumes.filter_map(|mount| Some((mount.destination.clone()?, mount.name.clone()?)));
    named.filter(|(_, name)| is_anonymous_volume(name)).collect()
}

/// The container of a unit, by its labels; of several the newest, and one that waits for another's place only if it is alone.
pub(super) async fn find_unit(link: &Link, env: &EnvId, unit: &UnitId) -> Result<Option<String>, Fault> {
    let filters = [
        ("label", labels::of_env(env)),
        ("label", format!("{}={}", labels::SERVICE, unit.service)),
        ("label", format!("{}={}", labels::NUMBER, unit.replica)),
        ("label", format!("{}=False", labels::ONE_OFF)),
    ];
    let list = list_containers(link, &filters).await?;
    let in_place = |container: &ContainerSummary| replaced_by(&name_of(container)).is_none();
    Ok(list.into_iter().max_by_key(|it| (in_place(it), it.created)).and_then(|container| container.id))
}

/// The container that is meant: by its id, else by the labels of its unit.
async fn known_or_found(link: &Link, spec: &UnitSpec, container: Option<&str>) -> Result<Option<String>, Fault> {
    match container {
        Some(id) => Ok(Some(id.to_owned())),
        None => find_unit(link, &spec.deployment.env, &spec.unit).await,
    }
}

/// An engine also answers 404 when something is missing that a container needs for its start.
async fn exists(link: &Link, id: &str) -> Result<bool, Fault> {
    match link.api.inspect_container(id, None).await {
        Ok(_) => Ok(true),
        Err(error) if error::is_not_found(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn state_of(link: &Link, id: &str) -> Result<ContainerState, Fault> {
    Ok(link.api.inspect_container(id, None).await?.state.unwrap_or_default())
}

/// Why no container was made.
pub(super) enum MakeError {
    /// Another one has the name.
    NameTaken(Fault),
    /// Anything else.
    Other(Fault),
}

impl<E: Into<Fault>> From<E> for MakeError {
    fn from(error: E) -> Self {
        MakeError::Other(error.into())
    }
}

/// Makes a container with its networks and files, or none at all.
pub(super) async fn make(link: &Link, request: CreateRequest) -> Result<String, MakeError> {
    let CreateRequest { name, platform, body, mac_address, connect, files } = request;
    let mut options = CreateContainerOptionsBuilder::default().name(&name);
    if let Some(platform) = &platform {
        options = options.platform(platform);
    }
    let api = match mac_address {
        Some(address) => with_mac_address(&link.api, &body, &address)?,
        None => link.api.clone(),
    };
    let id = match api.create_container(Some(options.build()), body).await {
        Ok(created) => created.id,
        Err(error) if error::status(&error) == Some(409) => return Err(MakeError::NameTaken(error.into())),
        Err(error) => return Err(error.into()),
    };
    let furnished = async {
        for (network, endpoint) in connect {
            let request = NetworkConnectRequest { container: id.clone(), endpoint_config: Some(endpoint) };
            link.api.connect_network(&network, request).await?;
        }
        if !files.is_empty() {
            let archive = mounts::archive(&files).map_err(|error| Fault::permanent(format!("secrets and configs: {error}")))?;
            // Without `copyUIDGID`: it would give the files to the container's user, whom some releases seek among those of the host.
            let options = UploadToContainerOptionsBuilder::default().path("/").build();
            link.api.upload_to_container(&id, Some(options), bollard::body_full(archive.into())).await?;
        }
        Ok::<(), Fault>(())
    };
    if let Err(fault) = furnished.await {
        let options = RemoveContainerOptionsBuilder::default().v(true).force(true).build();
        if let Err(error) = link.api.remove_container(&id, Some(options)).await {
            tracing::warn!(container = id, %error, "a half-made container stays behind");
        }
        return Err(fault.into());
    }
    Ok(id)
}

/// A way to an engine that gives the next container a hardware address. The field is gone from the interface since 1.44, and with
/// it from bollard's body.
fn with_mac_address(
    api: &bollard::Docker,
    body: &bollard::models::ContainerCreateBody,
    address: &str,
) -> Result<bollard::Docker, Fault> {
    let unwritable = |error: serde_json::Error| Fault::permanent(format!("write a container's definition: {error}"));
    let mut body = serde_json::to_value(body).map_err(unwritable)?;
    body["MacAddress"] = address.into();
    let bytes = serde_json::to_vec(&body).map_err(unwritable)?;
    Ok(api.clone().with_request_modifier(move |request| request.map(|_| bollard::body_full(bytes.clone().into()))))
}

/// Who has a name that we want.
struct Holder {
    id: String,
    project: Option<String>,
    hash: Option<crate::plan::hash::ConfigHash>,
    by_us: bool,
    never_started: bool,
}

impl Holder {
    fn is_ours(&self, spec: &UnitSpec) -> bool {
        self.project.as_deref() == Some(spec.deployment.env.as_str())
    }

    fn is_fresh(&self, spec: &UnitSpec) -> bool {
        self.is_ours(spec) && self.by_us && self.never_started && self.hash.as_ref() == Some(&spec.hash)
    }

    fn complaint(&self, name: &str) -> String {
        let id = self.id.get(..12).unwrap_or(&self.id);
        match &self.project {
            Some(project) => format!("the name `{name}` is taken by container {id} of environment `{project}`"),
            None => format!("the name `{name}` is taken by container {id}, which belongs to no environment"),
        }
    }
}

async fn holder_of_name(link: &Link, name: &str) -> Result<Option<Holder>, Fault> {
    // The filter is a regular expression over names with their slash.
    let list = list_containers(link, &[("name", format!("^/{}$", regex::escape(name)))]).await?;
    Ok(list.into_iter().find(|container| name_of(container) == name).map(|container| {
        let (hash, by_us) = labels::hash(container.labels.as_ref());
        Holder {
            project: labels::get(container.labels.as_ref(), labels::PROJECT).map(str::to_owned),
            hash,
            by_us,
            never_started: container.state == Some(bollard::models::ContainerSummaryStateEnum::CREATED),
            id: container.id.unwrap_or_default(),
        }
    }))
}

fn no_image(error: bollard::errors::Error, reference: &str) -> Fault {
    if error::is_not_found(&error) { Fault::permanent(format!("there is no image `{reference}`")) } else { error.into() }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http_body_util::Full;
    use hyper::body::{Bytes, Incoming};
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Method, Request, Response};
    use hyper_util::rt::TokioIo;
    use tokio::net::UnixListener;

    use super::super::connect::Endpoint;
    use super::*;

    /// An engine with one container, which mounts an anonymous volume; and what it is asked.
    fn engine(directory: &std::path::Path) -> (Endpoint, Arc<Mutex<Vec<String>>>) {
        let socket = directory.join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let all = Arc::clone(&all);
                let service = service_fn(move |request: Request<Incoming>| {
                    let path = request.uri().path();
                    let versioned = path.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|at| rest[at..].to_owned()));
                    let path = versioned.unwrap_or_else(|| path.to_owned());
                    all.lock().unwrap().push(format!("{} {path}", request.method()));
                    let volume = "0".repeat(64);
                    let mount = format!(r#"{{"Type": "volume", "Name": "{volume}", "Destination": "/data"}}"#);
                    let (status, body) = match (request.method(), path.as_str()) {
                        (&Method::GET, "/containers/c/json") => (200, format!(r#"{{"Id": "c", "Mounts": [{mount}]}}"#)),
                        (&Method::GET, _) => (200, "OK".to_owned()),
                        _ => (204, String::new()),
                    };
                    let head =
                        Response::builder().status(status).header("Api-Version", "1.41").header("Server", "Docker/20.10.24");
                    let response = head.body(Full::new(Bytes::from(body))).unwrap();
                    async move { Ok::<_, Infallible>(response) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        (Endpoint::Unix(socket), asked)
    }

    #[tokio::test]
    async fn an_engine_is_asked_for_no_more_than_a_removal_takes() {
        use AnonymousVolumes::{Left, Removed, Told};
        const LOOK: &str = "GET /containers/c/json";
        const REMOVE: &str = "DELETE /containers/c";
        let volume = "0".repeat(64);
        let volume_goes = format!("DELETE /volumes/{volume}");
        for (volumes, expected, told) in
            [(Left, &[REMOVE][..], false), (Told, &[LOOK, REMOVE], true), (Removed, &[LOOK, REMOVE, &volume_goes], false)]
        {
            let dir = tempfile::tempdir().unwrap();
            let (endpoint, asked) = engine(dir.path());
            let link = Link::open(&endpoint).await.unwrap();
            asked.lock().unwrap().clear();
            let handed_on = remove_by_id(&link, "c", Removal { volumes, force: false }, &[]).await.unwrap();
            assert_eq!(*asked.lock().unwrap(), expected, "{volumes:?}");
            assert_eq!(handed_on.get("/data") == Some(&volume), told, "{volumes:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let (endpoint, asked) = engine(dir.path());
        let docker = Docker::new(&[("DOCKER_HOST".to_owned(), format!("unix://{}", endpoint.shown()))].into());
        assert_eq!(docker.remove_network("n").await, Ok(Outcome::Done));
        assert_eq!(*asked.lock().unwrap(), ["GET /_ping", "DELETE /networks/n"]);
    }
}
