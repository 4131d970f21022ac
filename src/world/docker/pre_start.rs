//! `pre_start`: commands in containers of their own, one after the other, before a container starts.
//!
//! They see what the container will see: its mounts, its networks, its variables. One that fails keeps it from starting.

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::LogsOptionsBuilder;
use crossbeam_channel::Sender;
use futures_util::StreamExt;
use tokio::sync::OwnedSemaphorePermit;

use super::body::{Surroundings, filled};
use super::connect::Link;
use super::container::{MakeError, make};
use super::endpoints::Networking;
use super::image::Patience;
use super::labels::{self, OneOff};
use super::observe::list_containers;
use super::run::slug;
use super::{Docker, body, error};
use crate::model::container::Container;
use crate::model::hook::PreStart;
use crate::plan::action::{Fault, Ticket};
use crate::plan::desired::UnitSpec;
use crate::supervisor::event::Event;

/// How many lines of a failed hook its fault quotes.
const LAST_LINES: &str = "12";

/// As long as it is held, no other replica of the service starts: it would run the hooks once more.
pub(super) struct Turn(#[expect(dead_code, reason = "it is held, not read")] Option<OwnedSemaphorePermit>);

impl Docker {
    /// Runs what has to be done before a unit starts, whose container is made. Hooks that are not for each replica are left out
    /// while another replica runs. The turn is to be held until the container runs.
    pub(super) async fn before_start(
        &self,
        link: &Link,
        spec: &UnitSpec,
        id: &str,
        ticket: &Ticket,
        events: &Sender<Event>,
    ) -> Result<Turn, Fault> {
        let Some(container) = spec.service().container().filter(|container| !container.pre_start.is_empty()) else {
            return Ok(Turn(None));
        };
        let turns = self.turns_of(&spec.unit.service);
        let turn = turns.acquire_owned().await.expect("the semaphore is never closed");
        let another_runs = another_runs(link, spec, id).await?;
        for hook in container.pre_start.iter().filter(|hook| hook.per_replica || !another_runs) {
            self.run_before_start(link, spec, container, hook, id, ticket, events).await?;
        }
        Ok(Turn(Some(turn)))
    }

    #[expect(clippy::too_many_arguments, reason = "a hook, what it is for, and where its image's progress is told")]
    async fn run_before_start(
        &self,
        link: &Link,
        spec: &UnitSpec,
        container: &Container,
        hook: &PreStart,
        id: &str,
        ticket: &Ticket,
        events: &Sender<Event>,
    ) -> Result<(), Fault> {
        let image = hook.image.clone().or_else(|| spec.deployment.image_of(&spec.unit.service)).unwrap_or_default();
        match link.api.inspect_image(&image).await {
            Ok(_) => {}
            Err(error) if error::is_not_found(&error) => {
                self.pull(&image, container.platform.as_deref(), Patience::Retries, ticket, events).await?;
            }
            Err(error) => return Err(error.into()),
        }
        let slug = slug()?;
        let name = format!("{}-{}-pre_start-{slug}", spec.deployment.env, spec.unit.service);
        let around = Surroundings {
            image: Some(image),
            one_off: Some(OneOff { name: name.clone(), slug, aliases: false }),
            ..self.surroundings(link, spec, container).await?
        };
        let request = request(spec, container, hook, id, &around)?;
        let made = make(link, request).await.map_err(|error| match error {
            MakeError::NameTaken(fault) | MakeError::Other(fault) => fault,
        })?;
        let done = async {
            link.api.start_container(&made, None).await?;
            let code = self.wait(&made).await?;
            if code == 0 { Ok(()) } else { Err(self.failure(link, hook, &made, code).await) }
        };
        let done = done.await;
        self.discard(&made).await;
        done
    }

    async fn failure(&self, link: &Link, hook: &PreStart, container: &str, code: i32) -> Fault {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(LAST_LINES).build();
        let mut log = link.api.logs(container, Some(options));
        let mut said = Vec::new();
        while let Some(Ok(line)) = log.next().await {
            said.extend_from_slice(&line.into_bytes());
        }
        let said = String::from_utf8_lossy(&said);
        let colon = if said.trim().is_empty() { "" } else { ": " };
        let command = hook.hook.command.join(" ");
        Fault::permanent(format!("pre_start hook `{command}` ended with exit code {code}{colon}{}", said.trim()))
    }
}

/// The request that makes a hook's container.
fn request(
    spec: &UnitSpec,
    container: &Container,
    hook: &PreStart,
    id: &str,
    around: &Surroundings,
) -> Result<body::CreateRequest, Fault> {
    let common = &spec.service().common;
    let name = around.one_off.as_ref().map(|one_off| one_off.name.clone()).unwrap_or_default();
    let mut networks = container.clone();
    if !hook.networks.is_empty() && networks.network_mode.is_none() {
        networks.networks.clone_from(&hook.networks);
    }
    // An address is its container's own.
    networks.mac_address = None;
    for attachment in networks.networks.values_mut().flatten() {
        (attachment.ipv4_address, attachment.ipv6_address, attachment.mac_address) = (None, None, None);
        attachment.link_local_ips.clear();
    }
    let networking = Networking::of(spec, &networks, &name, around)?;
    let mut environment = common.environment.clone();
    environment.extend(hook.hook.environment.clone());
    let is_its_own = hook.image.is_none() || hook.image == container.image;
    let or_the_services =
        |own: &Option<String>, other: &Option<String>| own.clone().or_else(|| other.clone().filter(|_| is_its_own));
    let mut labels = labels::of_container(spec, labels::OfImages::default(), around.one_off.as_ref());
    labels.insert(labels::HOOK.to_owned(), "pre_start".to_owned());
    let host_config = HostConfig {
        volumes_from: Some(vec![id.to_owned()]),
        network_mode: Some(networking.mode.clone()),
        links: filled(networking.links.clone()),
        privileged: hook.hook.privileged.then_some(true),
        extra_hosts: filled(body::extra_hosts(container)),
        ..Default::default()
    };
    let body = ContainerCreateBody {
        image: around.image.clone(),
        cmd: filled(hook.hook.command.clone()),
        entrypoint: hook.entrypoint.clone(),
        env: filled(body::environment(&environment)),
        user: or_the_services(&hook.hook.user, &common.user),
        working_dir: or_the_services(&hook.hook.working_dir, &common.working_dir),
        labels: Some(labels),
        host_config: Some(host_config),
        networking_config: networking.first.map(|all| bollard::models::NetworkingConfig { endpoints_config: Some(all) }),
        ..Default::default()
    };
    let platform = container.platform.clone().filter(|_| is_its_own);
    Ok(body::CreateRequest { name, platform, body, mac_address: None, connect: networking.later, files: Vec::new() })
}

/// Whether another replica of the service runs.
async fn another_runs(link: &Link, spec: &UnitSpec, id: &str) -> Result<bool, Fault> {
    let filters = [
        ("label", labels::of_env(&spec.deployment.env)),
        ("label", format!("{}={}", labels::SERVICE, spec.unit.service)),
        ("label", format!("{}=False", labels::ONE_OFF)),
        ("status", "running".to_owned()),
    ];
    Ok(list_containers(link, &filters).await?.iter().any(|container| container.id.as_deref() != Some(id)))
}
