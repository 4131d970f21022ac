//! What the engine holds of an environment: three lists, and a closer look at what they cannot say.
//!
//! The list of containers tells state, exit code and health, but not when a life began; so each container is inspected once a
//! life. While the events are listened to ([`super::events`]) what was found stays valid until an event says otherwise.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
    EndpointSettings, HealthConfig, HealthStatusEnum, HostConfig, ImageInspect,
};
use bollard::query_parameters::{
    InspectNetworkOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::sleep;

use super::connect::Link;
use super::labels::{self, Labels};
use super::{AT_ONCE, Docker, error, network, time};
use crate::base::duration;
use crate::base::name::EnvId;
use crate::model::health::HealthCheck;
use crate::plan::action::{Exit, Fault, FaultKind};
use crate::plan::actual::{Actual, Query, SeenContainer, SeenHealth, SeenResource, SeenState};
use crate::world::clock;

/// As many digits of an id as people and Compose write.
const SHORT_ID: usize = 12;
/// So long an engine is asked again that cannot say what it holds.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two times.
const AGAIN: Duration = Duration::from_millis(100);

/// When the present life of each container began, as far as that is known to be still true.
#[derive(Debug, Default)]
pub(super) struct Births(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Whether events are listened to; without them nothing is kept.
    live: bool,
    /// Counts what was forgotten, so that an answer that was overtaken by an event is not kept.
    turn: u64,
    births: HashMap<String, Life>,
}

/// What only a closer look tells of a container's life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Life {
    /// The engine's `StartedAt`.
    birth: String,
    /// The ids of the containers whose namespaces it shares.
    shares: BTreeSet<String>,
    /// How the engine probes it.
    check: Option<HealthCheck>,
    /// It is over.
    ended: bool,
}

impl Life {
    /// From a closer look.
    fn of(container: &ContainerInspectResponse, birth: &str, ended: bool) -> Self {
        let check = container.config.as_ref().and_then(|config| config.healthcheck.as_ref()).map(check_of);
        Self {
            birth: birth.to_owned(),
            shares: container.host_config.as_ref().map(shares).unwrap_or_default(),
            check: check.filter(HealthCheck::is_on),
            ended,
        }
    }
}

impl Births {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events are listened to from now on, or no longer: what was known may have changed unseen.
    pub(super) fn set_live(&self, live: bool) {
        let mut known = self.known();
        known.live = live;
        known.turn += 1;
        known.births.clear();
    }

    /// A container was started at this time of the engine's, in nanoseconds since 1970. The life that is known may be that one: whoever
    /// starts a container looks at it before the event comes.
    pub(super) fn started(&self, id: &str, at: Option<i64>) {
        let mut known = self.known();
        if known.births.get(id).is_some_and(|life| !life.ended && at.is_some_and(|at| began_at(&life.birth, at))) {
            return;
        }
        known.turn += 1;
        known.births.remove(id);
    }

    /// A container has ended; until it is started again, when its last life began stays true.
    pub(super) fn ended(&self, id: &str) {
        if let Some(life) = self.known().births.get_mut(id) {
            life.ended = true;
        }
    }

    fn turn(&self) -> u64 {
        self.known().turn
    }

    fn get(&self, id: &str) -> Option<Life> {
        self.known().births.get(id).cloned()
    }

    fn keep(&self, turn: u64, id: &str, life: &Life) {
        let mut known = self.known();
        if known.live && known.turn == turn {
            known.births.insert(id.to_owned(), life.clone());
        }
    }
}

impl Docker {
    /// All that the engine holds of one environment, and what is asked for beside. An engine that answers but cannot say it just now is
    /// asked again: Podman names a state, `stopped`, that Docker's interface does not have, until it has cleaned up behind a
    /// container, and fails to list what is being removed.
    pub async fn observe(&self, env: &EnvId, query: &Query) -> Result<Actual, Fault> {
        let deadline = clock::deadline(PATIENCE);
        loop {
            match self.look(env, query).await {
                Err(fault) if fault.kind != FaultKind::EngineAway && !clock::is_past(deadline) => sleep(AGAIN).await,
                seen => return seen,
            }
        }
    }

    /// When the life of a container that has just been started began, in the engine's words.
    pub(super) async fn begun(&self, link: &Link, id: &str) -> Result<String, Fault> {
        let turn = self.0.births.turn();
        let container = link.api.inspect_container(id, None).await?;
        let state = container.state.as_ref();
        let birth = state.and_then(|state| state.started_at.clone()).unwrap_or_default();
        let runs = state.is_some_and(|state| matches!(state.status, Some(ContainerStateStatusEnum::RUNNING)));
        if runs && !link.is_podman && !birth.is_empty() {
            self.0.births.keep(turn, id, &Life::of(&container, &birth, false));
        }
        Ok(birth)
    }

    async fn look(&self, env: &EnvId, query: &Query) -> Result<Actual, Fault> {
        let link = self.link().await?;
        let (containers, networks, volumes, (images, tagged)) = tokio::try_join!(
            self.seen_containers(&link, env, &query.lives),
            seen_networks(&link, env, &query.networks, &query.renewals),
            seen_volumes(&link, env, &query.volumes),
            seen_images(&link, &query.images),
        )?;
        Ok(Actual { containers, networks, volumes, images, tagged })
    }

    async fn seen_containers(
        &self,
        link: &Link,
        env: &EnvId,
        lives: &BTreeMap<String, String>,
    ) -> Result<Vec<SeenContainer>, Fault> {
        let turn = self.0.births.turn();
        let list = list_containers(link, &[("label", labels::of_env(env))]).await?;
        let ours = list.into_iter().filter(|summary| labels::is_of_service(summary.labels.as_ref()));
        let looks: Vec<_> = ours.map(|summary| self.seen_container(link, summary, turn, lives)).collect();
        let seen: Vec<Option<SeenContainer>> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        // Podman lists the addresses that a container has, not those that it was given.
        let is_told = !link.is_podman;
        let as_told = |seen: SeenContainer| SeenContainer { addresses: seen.addresses.filter(|_| is_told), ..seen };
        Ok(seen.into_iter().flatten().map(as_told).collect())
    }

    /// A listed container; none if it has gone in the meantime.
    async fn seen_container(
        &self,
        link: &Link,
        summary: ContainerSummary,
        turn: u64,
        lives: &BTreeMap<String, String>,
    ) -> Result<Option<SeenContainer>, Fault> {
        let id = summary.id.clone().unwrap_or_default();
        let status = summary.status.as_deref().unwrap_or_default();
        if summary.state == Some(ContainerSummaryStateEnum::CREATED) {
            return Ok(Some(seen(&summary, SeenState::Created, None, None)));
        }
        // One that has ended is not what runs: its successor has begun while we looked elsewhere.
        let runs = matches!(summary.state, Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED));
        if let Some(Life { birth, shares, check, .. }) = self.0.births.get(&id).filter(|life| !(life.ended && runs)) {
            let seen = seen(&summary, state_of_list(&summary, birth), None, health_of_status(status));
            let check = check.filter(|_| seen.health == Some(SeenHealth::Starting));
            let probed = match seen.health {
                Some(SeenHealth::Unhealthy) => inspect(link, &id).await?.and_then(|container| probed(&container.state?)),
                Some(SeenHealth::Starting | SeenHealth::Healthy) | None => None,
            };
            return Ok(Some(SeenContainer { shares, probed, check, ..seen }));
        }
        if let Some(birth) = lives.get(&id).filter(|birth| !link.is_podman && is_as_old_as(status, birth)) {
            return Ok(Some(seen(&summary, state_of_list(&summary, birth.clone()), None, health_of_status(status))));
        }
        let Some(container) = inspect(link, &id).await? else { return Ok(None) };
        let state = container.state.clone().unwrap_or_default();
        let birth = state.started_at.clone().unwrap_or_default();
        let ended = !matches!(state.status, Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED));
        let life = Life::of(&container, &birth, ended);
        // Where the list does not tell the health, each look asks for it.
        if state.started_at.is_some() && (!link.is_podman || state.health.is_none()) {
            self.0.births.keep(turn, &id, &life);
        }
        let Life { shares, check, .. } = life;
        let health = state.health.as_ref().and_then(|health| health_of(health.status?));
        let seen = seen(&summary, state_of_inspect(&state), state.finished_at.as_deref(), health);
        let is_silent = |check: &HealthCheck| link.is_podman && seen.health.is_some() && is_silent(check, &state);
        let unprobed = check.clone().filter(is_silent);
        let check = check.filter(|_| seen.health == Some(SeenHealth::Starting));
        let probed = probed(&state).filter(|_| seen.health == Some(SeenHealth::Unhealthy));
        Ok(Some(SeenContainer { shares, probed, check, unprobed, ..seen }))
    }
}

/// Whether an event that a container was started tells of the life that the engine says began then: it notes the one right after the
/// other.
fn began_at(birth: &str, event: i64) -> bool {
    const APART: Duration = Duration::from_secs(2);
    let event = u64::try_from(event).ok().map(Duration::from_nanos);
    let gap = time::moment(birth).and_then(|birth| birth.duration_since(SystemTime::UNIX_EPOCH).ok()).zip(event);
    gap.and_then(|(birth, event)| event.checked_sub(birth)).is_some_and(|gap| gap < APART)
}

/// What the engine tells of a container; none if it has gone.
async fn inspect(link: &Link, id: &str) -> Result<Option<ContainerInspectResponse>, Fault> {
    match link.api.inspect_container(id, None).await {
        Ok(container) => Ok(Some(container)),
        Err(error) if error::is_not_found(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A check as the engine holds it.
fn check_of(check: &HealthConfig) -> HealthCheck {
    let nanos = |nanos: Option<i64>| nanos.and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos);
    HealthCheck {
        test: check.test.clone().unwrap_or_default(),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        retries: check.retries.and_then(|retries| u32::try_from(retries).ok()),
        start_period: nanos(check.start_period),
        start_interval: nanos(check.start_interval),
        ..HealthCheck::default()
    }
}

/// Whether nothing has been probed by a check for longer than that takes. Podman has systemd run its checks: where there is none,
/// nobody does.
fn is_silent(check: &HealthCheck, state: &ContainerState) -> bool {
    let usual = (check.interval() + check.timeout()).saturating_mul(2);
    probed(state).is_none_or(|age| age > usual)
}

/// How long ago the last probe began that has ended.
fn probed(state: &ContainerState) -> Option<Duration> {
    time::age(state.health.as_ref()?.log.as_ref()?.last()?.start.as_deref()?)
}

/// The ids of the containers whose namespaces one shares.
fn shares(config: &HostConfig) -> BTreeSet<String> {
    let modes = [&config.network_mode, &config.pid_mode, &config.ipc_mode];
    modes.into_iter().flatten().filter_map(|mode| mode.strip_prefix("container:")).map(str::to_owned).collect()
}

/// Containers in any state that match all of these filters.
pub(super) async fn list_containers(link: &Link, filters: &[(&str, String)]) -> Result<Vec<ContainerSummary>, Fault> {
    let mut all: HashMap<String, Vec<String>> = HashMap::new();
    for (name, value) in filters {
        all.entry((*name).to_owned()).or_default().push(value.clone());
    }
    let options = ListContainersOptionsBuilder::default().all(true).filters(&all).build();
    Ok(link.api.list_containers(Some(options)).await?)
}

/// A container's name, without the slash that the engine puts before it.
pub(super) fn name_of(summary: &ContainerSummary) -> String {
    let names = summary.names.iter().flatten();
    // With links the engine also lists `/other/alias`.
    let own = names.map(|name| name.trim_start_matches('/')).find(|name| !name.contains('/'));
    own.or(summary.id.as_deref()).unwrap_or_default().to_owned()
}

/// The name of a container that is to take the place of another, as Compose has it.
pub(super) fn successor_name(predecessor: &str, name: &str) -> String {
    format!("{}_{name}", predecessor.get(..SHORT_ID).unwrap_or(predecessor))
}

/// The beginning of the id of the container whose place one of this name is to take.
pub(super) fn replaced_by(name: &str) -> Option<&str> {
    let (id, rest) = name.split_once('_')?;
    let is_id = id.len() == SHORT_ID && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_id && !rest.is_empty()).then_some(id)
}

fn seen(summary: &ContainerSummary, state: SeenState, ended: Option<&str>, health: Option<SeenHealth>) -> SeenContainer {
    let labels = summary.labels.as_ref();
    let (hash, by_us) = labels::hash(labels);
    let running = matches!(state, SeenState::Running { .. });
    let since = match &state {
        SeenState::Running { birth } => Some(birth.as_str()),
        SeenState::Exited { .. } => ended,
        SeenState::Created | SeenState::Restarting => None,
    };
    SeenContainer {
        age: since.and_then(time::age),
        id: summary.id.clone().unwrap_or_default(),
        name: name_of(summary),
        unit: labels::unit(labels),
        replaces: replaced_by(&name_of(summary)).map(str::to_owned),
        one_off: labels::get(labels, labels::ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true")),
        hash,
        by_us,
        networks: networks_of(summary),
        addresses: Some(addresses_of(summary)),
        shares: BTreeSet::new(),
        volumes: summary.mounts.iter().flatten().filter_map(|mount| mount.name.clone()).collect(),
        mounted: labels::mounted_images(labels),
        // What Compose compares too: an engine that keeps images as they came may list another id than it gives for the name.
        image: labels::get(labels, labels::IMAGE).or(summary.image_id.as_deref()).unwrap_or_default().to_owned(),
        state,
        paused: summary.state == Some(ContainerSummaryStateEnum::PAUSED),
        health: health.filter(|_| running),
        probed: None,
        check: None,
        unprobed: None,
    }
}

fn networks_of(summary: &ContainerSummary) -> BTreeMap<String, String> {
    let networks = summary.network_settings.iter().flat_map(|settings| settings.networks.iter().flatten());
    // Podman gives a network's name for its id: which one of that name it is, is not known then.
    let id_of = |name: &str, endpoint: &EndpointSettings| endpoint.network_id.clone().filter(|id| id != name).unwrap_or_default();
    networks.map(|(name, endpoint)| (name.clone(), id_of(name, endpoint))).collect()
}

/// The fixed addresses that a container was given in its networks.
fn addresses_of(summary: &ContainerSummary) -> BTreeMap<String, BTreeSet<String>> {
    let networks = summary.network_settings.iter().flat_map(|settings| settings.networks.iter().flatten());
    let given = |endpoint: &EndpointSettings| {
        let fixed = endpoint.ipam_config.iter().flat_map(|fixed| [&fixed.ipv4_address, &fixed.ipv6_address]);
        fixed.flatten().filter(|address| !address.is_empty()).cloned().collect()
    };
    networks.map(|(name, endpoint)| (name.clone(), given(endpoint))).collect()
}

fn state_of_list(summary: &ContainerSummary, birth: String) -> SeenState {
    match summary.state.unwrap_or(ContainerSummaryStateEnum::EMPTY) {
        ContainerSummaryStateEnum::CREATED => SeenState::Created,
        ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED | ContainerSummaryStateEnum::STOPPING => {
            SeenState::Running { birth }
        }
        ContainerSummaryStateEnum::RESTARTING => SeenState::Restarting,
        ContainerSummaryStateEnum::EXITED => {
            SeenState::Exited { exit: exit_of_status(summary.status.as_deref().unwrap_or_default()), birth }
        }
        ContainerSummaryStateEnum::REMOVING | ContainerSummaryStateEnum::DEAD | ContainerSummaryStateEnum::EMPTY => {
            SeenState::Exited { exit: Exit::Unknown, birth }
        }
    }
}

fn state_of_inspect(state: &ContainerState) -> SeenState {
    let birth = state.started_at.clone().unwrap_or_default();
    let exit = state.exit_code.and_then(|code| i32::try_from(code).ok()).map_or(Exit::Unknown, Exit::Code);
    match state.status.unwrap_or(ContainerStateStatusEnum::EMPTY) {
        ContainerStateStatusEnum::CREATED => SeenState::Created,
        ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED | ContainerStateStatusEnum::STOPPING => {
            SeenState::Running { birth }
        }
        ContainerStateStatusEnum::RESTARTING => SeenState::Restarting,
        ContainerStateStatusEnum::EXITED => SeenState::Exited { exit, birth },
        ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::EMPTY => {
            SeenState::Exited { exit: Exit::Unknown, birth }
        }
    }
}

fn health_of(status: HealthStatusEnum) -> Option<SeenHealth> {
    match status {
        HealthStatusEnum::STARTING => Some(SeenHealth::Starting),
        HealthStatusEnum::HEALTHY => Some(SeenHealth::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(SeenHealth::Unhealthy),
        HealthStatusEnum::NONE | HealthStatusEnum::EMPTY => None,
    }
}

/// Whether a container that is listed with `Up 5 minutes (healthy)` can have been started then.
fn is_as_old_as(status: &str, birth: &str) -> bool {
    let listed = status.strip_prefix("Up ").map(|rest| rest.split_once(" (").map_or(rest, |(age, _)| age));
    listed.is_some_and(|listed| time::age(birth).is_some_and(|age| duration::human(age) == listed))
}

/// The verdict in `Up 5 seconds (health: starting)`.
fn health_of_status(status: &str) -> Option<SeenHealth> {
    match status.rsplit_once(" (")?.1.trim_end_matches(')') {
        "healthy" => Some(SeenHealth::Healthy),
        "unhealthy" => Some(SeenHealth::Unhealthy),
        "health: starting" => Some(SeenHealth::Starting),
        _ => None,
    }
}

/// The code in `Exited (137) 5 minutes ago`.
fn exit_of_status(status: &str) -> Exit {
    let code = status.strip_prefix("Exited (").and_then(|rest| rest.split_once(')'));
    code.and_then(|(code, _)| code.parse().ok()).map_or(Exit::Unknown, Exit::Code)
}

fn seen_resource(labels: Option<&Labels>, env: &EnvId, key: &str) -> SeenResource {
    let (hash, by_us) = labels::hash(labels);
    SeenResource {
        key: labels::get(labels, key).map(str::to_owned),
        hash: hash.filter(|_| by_us),
        ours: labels::get(labels, labels::PROJECT) == Some(env.as_str()),
        id: None,
        obstacle: None,
    }
}

async fn seen_networks(
    link: &Link,
    env: &EnvId,
    others: &[String],
    renewals: &BTreeMap<String, Vec<String>>,
) -> Result<BTreeMap<String, SeenResource>, Fault> {
    let filters = HashMap::from([("label", vec![labels::of_env(env)])]);
    let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
    let mut all = BTreeMap::new();
    for network in link.api.list_networks(Some(options)).await? {
        let seen = seen_resource(network.labels.as_ref(), env, labels::NETWORK);
        all.insert(network.name.unwrap_or_default(), SeenResource { id: network.id, ..seen });
    }
    for name in others {
        match link.api.inspect_network(name, None::<InspectNetworkOptions>).await {
            Ok(network) => {
                let seen = seen_resource(network.labels.as_ref(), env, labels::NETWORK);
                all.insert(name.clone(), SeenResource { id: network.id, ..seen });
            }
            Err(error) if error::is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for (name, subnets) in renewals {
        if let Some(seen) = all.get_mut(name) {
            seen.obstacle = network::obstacle(link, env, name, subnets).await?;
        }
    }
    Ok(all)
}

async fn seen_volumes(link: &Link, env: &EnvId, others: &[String]) -> Result<BTreeMap<String, SeenResource>, Fault> {
    let filters = HashMap::from([("label", vec![labels::of_env(env)])]);
    let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
    let mut all = BTreeMap::new();
    for volume in link.api.list_volumes(Some(options)).await?.volumes.unwrap_or_default() {
        let seen = seen_resource(Some(&volume.labels), env, labels::VOLUME);
        all.insert(volume.name, seen);
    }
    for name in others.iter().filter(|name| !all.contains_key(*name)).collect::<Vec<_>>() {
        match link.api.inspect_volume(name).await {
            Ok(volume) => {
                all.insert(name.clone(), seen_resource(Some(&volume.labels), env, labels::VOLUME));
            }
            Err(error) if error::is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all)
}

/// The ids of images, and how long ago each was given its name.
type SeenImages = (BTreeMap<String, String>, BTreeMap<String, Duration>);

async fn seen_images(link: &Link, references: &[String]) -> Result<SeenImages, Fault> {
    let looks: Vec<_> = references.iter().map(|reference| seen_image(link, reference)).collect();
    let found: Vec<Option<ImageInspect>> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    let (mut ids, mut tagged) = SeenImages::default();
    for (reference, image) in references.iter().zip(found) {
        let Some(ImageInspect { id: Some(id), metadata, .. }) = image else { continue };
        ids.insert(reference.clone(), id);
        if let Some(age) = metadata.and_then(|metadata| time::age(&metadata.last_tag_time?)) {
            tagged.insert(reference.clone(), age);
        }
    }
    Ok((ids, tagged))
}

async fn seen_image(link: &Link, reference: &str) -> Result<Option<ImageInspect>, Fault> {
    match link.api.inspect_image(reference).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if error::is_not_found(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_id_of_a_network() {
        let listed = |id: &str| {
            let text = format!(r#"{{"NetworkSettings": {{"Networks": {{"demo_default": {{"NetworkID": "{id}"}}}}}}}}"#);
            networks_of(&serde_json::from_str(&text).unwrap()).remove("demo_default").unwrap()
        };
        assert_eq!([listed("3f4e"), listed("demo_default")], ["3f4e", ""]);
    }

    #[test]
    fn addresses_that_were_given_are_told_from_those_that_a_network_chose() {
        let text = r#"{"NetworkSettings": {"Networks": {
            "front": {"IPAddress": "10.1.0.9", "IPAMConfig": {"IPv4Address": "10.1.0.9", "IPv6Address": "fd00::9"}},
            "back": {"IPAddress": "10.2.0.2", "IPAMConfig": null}
        }}}"#;
        let found = addresses_of(&serde_json::from_str(text).unwrap());
        let front = ["10.1.0.9", "fd00::9"].map(str::to_owned).into();
        assert_eq!(found, [("front".to_owned(), front), ("back".to_owned(), BTreeSet::new())].into());
    }

    #[test]
    fn the_list_tells_exit_code_and_health_in_its_status_text() {
        for (status, exit, health) in [
            ("Exited (137) 5 minutes ago", Exit::Code(137), None),
            ("Exited (0) Less than a second ago", Exit::Code(0), None),
            ("Dead", Exit::Unknown, None),
            ("Up 5 minutes (healthy)", Exit::Unknown, Some(SeenHealth::Healthy)),
            ("Up 1 second (health: starting)", Exit::Unknown, Some(SeenHealth::Starting)),
            ("Up 2 weeks (unhealthy)", Exit::Unknown, Some(SeenHealth::Unhealthy)),
            ("Up 2 weeks (Paused)", Exit::Unknown, None),
            ("Up 2 weeks", Exit::Unknown, None),
        ] {
            assert_eq!((exit_of_status(status), health_of_status(status)), (exit, health), "{status}");
        }
    }

    #[test]
    fn a_list_tells_of_a_life_that_it_is_younger() {
        let born = |ago: u64| {
            let birth = std::time::SystemTime::now() - Duration::from_secs(ago);
            humantime::format_rfc3339_nanos(birth).to_string()
        };
        for (status, ago, expected) in [
            ("Up 2 minutes (healthy)", 150, true),
            ("Up 2 minutes", 150, true),
            ("Up 2 minutes (Paused)", 150, true),
            ("Up 4 seconds", 150, false),
            ("Exited (0) 2 minutes ago", 150, false),
            ("Up 2 hours", 2 * 3600, true),
            ("Up About a minute (health: starting)", 90, true),
        ] {
            assert_eq!(is_as_old_as(status, &born(ago)), expected, "{status} {ago}");
        }
        assert!(!is_as_old_as("Up 2 minutes", ""));
    }

    #[test]
    fn a_check_that_nobody_runs_is_known_by_what_it_has_not_found() {
        let check: HealthConfig = serde_json::from_str(
            r#"{"Test": ["CMD-SHELL", "true"], "Interval": 1000000000, "Timeout": 2000000000, "Retries": 2}"#,
        )
        .unwrap();
        let ours = check_of(&check);
        let expected = HealthCheck {
            test: ["CMD-SHELL", "true"].map(str::to_owned).to_vec(),
            interval: Some(Duration::from_secs(1)),
            timeout: Some(Duration::from_secs(2)),
            retries: Some(2),
            ..HealthCheck::default()
        };
        assert_eq!(ours, expected);
        let ago = |seconds| humantime::format_rfc3339(clock::wall() - Duration::from_secs(seconds)).to_string();
        for (log, expected) in [
            (String::new(), true),
            (format!(r#"{{"Start": "{}"}}"#, ago(60)), true),
            (format!(r#"{{"Start": "{}"}}, {{"Start": "{}"}}"#, ago(60), ago(1)), false),
        ] {
            let state = serde_json::from_str(&format!(r#"{{"Health": {{"Status": "starting", "Log": [{log}]}}}}"#)).unwrap();
            assert_eq!(is_silent(&ours, &state), expected, "{log}");
        }
    }

    #[test]
    fn a_successor_is_known_by_its_name() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(successor_name(id, "env-web-1"), "0123456789ab_env-web-1");
        for (name, replaced) in [
            ("0123456789ab_env-web-1", Some("0123456789ab")),
            ("env-web-1", None),
            ("0123456789ab", None),
            ("0123456789ab_", None),
            ("0123456789aX_env-web-1", None),
            ("my_web", None),
        ] {
            assert_eq!(replaced_by(name), replaced, "{name}");
        }
    }

    #[test]
    fn a_birth_is_kept_only_while_events_would_say_that_it_is_over() {
        let life = |birth: &str| Life { birth: birth.to_owned(), ..Life::default() };
        let births = Births::default();
        births.keep(births.turn(), "c", &life("1"));
        assert_eq!(births.get("c"), None, "nobody listens");
        births.set_live(true);
        births.keep(births.turn(), "c", &life("1"));
        assert_eq!(births.get("c"), Some(life("1")));
        let before_the_event = births.turn();
        births.started("c", None);
        births.keep(before_the_event, "c", &life("1"));
        assert_eq!(births.get("c"), None, "the answer was overtaken by the event");
        births.keep(births.turn(), "c", &life("2"));
        births.set_live(false);
        assert_eq!(births.get("c"), None);
    }

    #[test]
    fn a_birth_that_is_known_is_not_forgotten_when_the_engine_tells_of_it() {
        const BIRTH: &str = "2026-11-30T12:00:00.5Z";
        const AT: i64 = 1_796_040_000_500_000_000;
        let births = Births::default();
        births.set_live(true);
        let keep = || births.keep(births.turn(), "c", &Life { birth: BIRTH.to_owned(), ..Life::default() });
        let is_known = || births.get("c").is_some();
        keep();
        births.started("c", Some(AT + 3_000_000));
        assert!(is_known());
        for (at, why) in [(AT - 1, "it began after the event"), (AT + 2_000_000_000, "long before it")] {
            keep();
            births.started("c", Some(at));
            assert!(!is_known(), "{why}");
        }
        keep();
        births.ended("c");
        assert!(is_known());
        births.started("c", Some(AT + 3_000_000));
        assert!(!is_known(), "what has ended does not begin");
    }

    #[test]
    fn whose_namespaces_a_container_shares_is_in_its_modes() {
        let config = HostConfig {
            network_mode: Some("container:one".to_owned()),
            pid_mode: Some("host".to_owned()),
            ipc_mode: Some("container:two".to_owned()),
            ..HostConfig::default()
        };
        assert_eq!(shares(&config), ["one".to_owned(), "two".to_owned()].into());
        assert_eq!(
            shares(&HostConfig { network_mode: Some("env_default".to_owned()), ..HostConfig::default() }),
            BTreeSet::new()
        );
    }
}
