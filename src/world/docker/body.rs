//! A unit's definition as the engine's create request: Compose's attributes, field by field. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigIsolationEnum,
    HostConfigLogConfig, NetworkingConfig, PortBinding, PortMap, RestartPolicy as EnginePolicy, RestartPolicyNameEnum,
};
use indexmap::IndexMap;

use super::connect::ApiVersion;
use super::endpoints::Networking;
use super::labels::{self, OneOff};
use super::mounts::{self, Mounts, WrittenFile};
use super::sharing::{self, Partners};
use super::{needs, resources, security};
use crate::model::container::Container;
use crate::model::environment::Environment;
use crate::model::health::HealthCheck;
use crate::model::port::Port;
use crate::model::restart::RestartPolicy;
use crate::model::service::Common;
use crate::plan::action::Fault;
use crate::plan::desired::UnitSpec;

/// What must be known of the engine before a request can be written.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// What the engine understands.
    pub(super) version: ApiVersion,
    /// The image's id.
    pub(super) image: Option<String>,
    /// The ids of the images that it mounts, by the path inside.
    pub(super) mounted: BTreeMap<String, String>,
    /// The image's own entry point.
    pub(super) image_entrypoint: Vec<String>,
    /// The containers of services whose namespaces or mounts are shared.
    pub(super) partners: Partners,
    /// Anonymous volumes to take over: path → volume.
    pub(super) inherited: IndexMap<String, String>,
    /// `security_opt` with its files read.
    pub(super) security_opt: Vec<String>,
    /// For `use_api_socket`: the text of a `config.json` with what the caller may do at registries.
    pub(super) credentials: Option<String>,
    /// For a one-off container: its name.
    pub(super) one_off: Option<OneOff>,
}

impl Surroundings {
    /// Of an engine of this version, of which nothing else is known yet.
    pub(super) fn of(version: ApiVersion) -> Self {
        Self {
            version,
            image: None,
            mounted: BTreeMap::new(),
            image_entrypoint: Vec::new(),
            partners: Partners::new(),
            inherited: IndexMap::new(),
            security_opt: Vec::new(),
            credentials: None,
            one_off: None,
        }
    }

    fn images(&self) -> labels::OfImages<'_> {
        labels::OfImages { image: self.image.as_deref(), mounted: Some(&self.mounted) }
    }
}

/// A create request and what has to follow it.
#[derive(Debug)]
pub(super) struct CreateRequest {
    /// The container's name.
    pub(super) name: String,
    /// `os/arch`.
    pub(super) platform: Option<String>,
    /// The body.
    pub(super) body: ContainerCreateBody,
    /// `MacAddress` of the body, which an engine before 25 reads there, and whose place bollard no longer has.
    pub(super) mac_address: Option<String>,
    /// Networks to be connected before the start: an engine before 25 takes one at the creation.
    pub(super) connect: Vec<(String, EndpointSettings)>,
    /// Files to be written before the start.
    pub(super) files: Vec<WrittenFile>,
}

/// The request that makes a unit's container.
pub(super) fn create_request(spec: &UnitSpec, around: &Surroundings) -> Result<CreateRequest, Fault> {
    let deployment = &*spec.deployment;
    let service = spec.service();
    let common = &service.common;
    let Some(container) = service.container() else {
        return Err(Fault::permanent(format!("`{}` is a process, not a container", spec.unit.service)));
    };
    let Some(image) = deployment.image_of(&spec.unit.service) else {
        return Err(Fault::permanent(format!("`{}` has neither `image` nor `build`", spec.unit.service)));
    };
    if let Some(need) = needs::of_service(common, container).find(|need| !need.is_met(around.version)) {
        return Err(Fault::permanent(format!("{need} or newer")));
    }
    let name = around.one_off.as_ref().map_or_else(|| deployment.container_name(&spec.unit), |one_off| one_off.name.clone());
    let (granted, mut files) = mounts::granted_files(deployment, common, container.read_only)?;
    let mut mounts = Mounts::of(deployment, container, granted, &around.inherited, around.version)?;
    let mut environment = environment(&common.environment);
    if container.use_api_socket {
        api_socket(container, around, &mut mounts, &mut environment, &mut files);
    }
    let networking = Networking::of(spec, container, &name, around)?;
    let body = ContainerCreateBody {
        hostname: container.hostname.clone(),
        domainname: container.domainname.clone(),
        user: common.user.clone(),
        // Compose's containers say so too, and nothing comes of it.
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        exposed_ports: filled(exposed_ports(container, &common.ports)),
        tty: common.tty.then_some(true),
        open_stdin: common.stdin_open.then_some(true),
        env: filled(environment),
        cmd: container.command.clone(),
        healthcheck: common.healthcheck.as_ref().map(|check| health(check, around.version)),
        image: Some(image),
        working_dir: common.working_dir.clone(),
        entrypoint: entrypoint(container, &around.image_entrypoint),
        labels: Some(labels::of_container(spec, around.images(), around.one_off.as_ref())),
        stop_signal: common.stop_signal.clone(),
        stop_timeout: common.stop_grace_period.map(whole_seconds),
        host_config: Some(host_config(common, container, mounts, &networking, around)?),
        networking_config: networking.first.map(|endpoints| NetworkingConfig { endpoints_config: Some(endpoints) }),
        ..Default::default()
    };
    let Networking { later: connect, mac_address, .. } = networking;
    Ok(CreateRequest { name, platform: container.platform.clone(), body, mac_address, connect, files })
}

/// `use_api_socket`: the engine's socket, and what the caller may do at registries unless the service says so itself.
fn api_socket(
    container: &Container,
    around: &Surroundings,
    mounts: &mut Mounts,
    environment: &mut Vec<String>,
    files: &mut Vec<WrittenFile>,
) {
    const SOCKET: &str = "/var/run/docker.sock";
    const CONFIG: &str = "/run/secrets/docker";
    if !container.volumes.iter().any(|mount| mount.target == SOCKET) {
        mounts.binds.push(format!("{SOCKET}:{SOCKET}:rw"));
    }
    let has_config = environment.iter().any(|variable| variable.split('=').next() == Some("DOCKER_CONFIG"));
    if !has_config {
        environment.push(format!("DOCKER_CONFIG={CONFIG}"));
    }
    if let Some(content) = &around.credentials {
        files.push(WrittenFile { path: format!("{CONFIG}/config.json"), content: content.clone(), uid: 0, gid: 0, mode: 0o444 });
    }
}

/// Nothing where there is nothing, so that the image's own stays in force.
pub(super) fn filled<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

pub(super) fn map<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Option<HashMap<String, String>> {
    let map: HashMap<_, _> = pairs.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    (!map.is_empty()).then_some(map)
}

/// A whole number of seconds, never less than asked.
pub(super) fn whole_seconds(duration: Duration) -> i64 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A name that found no value takes the image's variable away (moby `container/env.go`, `ReplaceOrAppendEnvVars`).
pub(super) fn environment(environment: &Environment) -> Vec<String> {
    let variable = |(name, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    };
    environment.iter().map(variable).collect()
}

/// With an empty `command` the image's entry point is given by name: only then does the engine leave the image's own command
/// out (moby `daemon/commit.go`, `merge`).
fn entrypoint(container: &Container, of_image: &[String]) -> Option<Vec<String>> {
    let clears_command = container.command.as_ref().is_some_and(Vec::is_empty);
    match &container.entrypoint {
        Some(entrypoint) => Some(entrypoint.clone()),
        None if clears_command => filled(of_image.to_vec()),
        None => None,
    }
}

/// `name:address`.
pub(super) fn extra_hosts(container: &Container) -> Vec<String> {
    container.extra_hosts.iter().map(|host| host.replacen('=', ":", 1)).collect()
}

fn exposed_ports(container: &Container, ports: &[Port]) -> Vec<String> {
    let mut exposed: Vec<String> = ports.iter().map(|port| format!("{}/{}", port.target, protocol(port))).collect();
    for text in &container.expose {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) => exposed.extend((first..=last).map(|port| format!("{port}/{protocol}"))),
            _ => exposed.push(format!("{range}/{protocol}")),
        }
    }
    exposed.sort();
    exposed.dedup();
    exposed
}

fn protocol(port: &Port) -> &str {
    if port.protocol.is_empty() { "tcp" } else { &port.protocol }
}

fn port_bindings(ports: &[Port]) -> Option<PortMap> {
    let mut map = PortMap::new();
    for port in ports {
        let bindings = map.entry(format!("{}/{}", port.target, protocol(port))).or_default();
        bindings
            .get_or_insert_with(Vec::new)
            .push(PortBinding { host_ip: port.host_ip.clone(), host_port: port.published.clone() });
    }
    (!map.is_empty()).then_some(map)
}

/// The engine's own check. One before 25 does not know `start_interval` and probes at its usual interval from the start on, which
/// is no reason to refuse a service: it is ready a little later.
fn health(check: &HealthCheck, version: ApiVersion) -> HealthConfig {
    const START_INTERVAL: ApiVersion = ApiVersion::v1(44);
    let off = check.disable || check.test.first().is_some_and(|word| word == "NONE");
    let is_ours = check.test.is_empty() && check.has_own_probe();
    let probes_not = off || is_ours;
    HealthConfig {
        // Our own probes take the place of the image's check.
        test: if probes_not { Some(vec!["NONE".to_owned()]) } else { filled(check.test.clone()) },
        interval: check.interval.map(nanos),
        timeout: check.timeout.map(nanos),
        retries: check.retries.map(i64::from),
        start_period: check.start_period.map(nanos),
        start_interval: check.start_interval.filter(|_| !probes_not && version >= START_INTERVAL).map(nanos),
    }
}

fn host_config(
    common: &Common,
    container: &Container,
    mounts: Mounts,
    networking: &Networking,
    around: &Surroundings,
) -> Result<HostConfig, Fault> {
    let shared = |mode: &Option<String>| mode.as_deref().map(|mode| sharing::namespace(mode, &around.partners)).transpose();
    let mut config = HostConfig {
        binds: filled(mounts.binds),
        mounts: filled(mounts.detailed),
        volumes_from: filled(sharing::volumes_from(container, &around.partners)?),
        network_mode: Some(networking.mode.clone()),
        links: filled(networking.links.clone()),
        port_bindings: port_bindings(&common.ports),
        restart_policy: restart_policy(common.restart, container.restart.is_some()),
        cap_add: filled(capabilities(&common.cap_add)),
        cap_drop: filled(capabilities(&container.cap_drop)),
        group_add: filled(common.group_add.clone()),
        privileged: container.privileged.then_some(true),
        readonly_rootfs: container.read_only.then_some(true),
        init: container.init,
        dns: filled(container.dns.clone()),
        dns_search: filled(container.dns_search.clone()),
        dns_options: filled(container.dns_opt.clone()),
        extra_hosts: filled(extra_hosts(container)),
        sysctls: map(&container.sysctls),
        pid_mode: shared(&container.pid)?,
        ipc_mode: shared(&container.ipc)?,
        uts_mode: container.uts.clone(),
        userns_mode: container.userns_mode.clone(),
        cgroup_parent: container.cgroup_parent.clone(),
        cgroupns_mode: container.cgroup.as_deref().map(cgroup_mode).transpose()?,
        runtime: container.runtime.clone(),
        isolation: container.isolation.as_deref().map(isolation).transpose()?,
        storage_opt: map(&container.storage_opt),
        annotations: map(&common.annotations),
        tmpfs: tmpfs(&container.tmpfs),
        log_config: common
            .logging
            .as_ref()
            .map(|logging| HostConfigLogConfig { typ: logging.driver.clone(), config: map(&logging.options) }),
        ..Default::default()
    };
    resources::apply(&mut config, common, container);
    security::apply(&mut config, &around.security_opt);
    Ok(config)
}

fn restart_policy(policy: RestartPolicy, is_said: bool) -> Option<EnginePolicy> {
    let (name, maximum_retry_count) = match policy {
        RestartPolicy::No if !is_said => return None,
        RestartPolicy::No => (RestartPolicyNameEnum::NO, None),
        RestartPolicy::Always => (RestartPolicyNameEnum::ALWAYS, None),
        RestartPolicy::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        RestartPolicy::OnFailure { max } => (RestartPolicyNameEnum::ON_FAILURE, max.map(i64::from)),
    };
    Some(EnginePolicy { name: Some(name), maximum_retry_count })
}

/// As Docker's own client sends them: with `CAP_`, each once, in order. An engine since 23 takes no other spelling.
fn capabilities(names: &[String]) -> Vec<String> {
    let spelled = |name: &String| {
        let name = name.to_uppercase();
        if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
    };
    let mut all: Vec<String> = names.iter().map(spelled).collect();
    all.sort();
    all.dedup();
    all
}

fn isolation(word: &str) -> Result<HostConfigIsolationEnum, Fault> {
    match word {
        "default" => Ok(HostConfigIsolationEnum::DEFAULT),
        "process" => Ok(HostConfigIsolationEnum::PROCESS),
        "hyperv" => Ok(HostConfigIsolationEnum::HYPERV),
        other => Err(Fault::permanent(format!("`isolation` is `default`, `process` or `hyperv`, not `{other}`"))),
    }
}

fn cgroup_mode(mode: &str) -> Result<HostConfigCgroupnsModeEnum, Fault> {
    match mode {
        "host" => Ok(HostConfigCgroupnsModeEnum::HOST),
        "private" => Ok(HostConfigCgroupnsModeEnum::PRIVATE),
        other => Err(Fault::permanent(format!("`cgroup` is `host` or `private`, not `{other}`"))),
    }
}

fn tmpfs(paths: &[String]) -> Option<HashMap<String, String>> {
    let entries = paths.iter().map(|entry| {
        let (path, options) = entry.split_once(':').unwrap_or((entry, ""));
        (path.to_owned(), options.to_owned())
    });
    let map: HashMap<_, _> = entries.collect();
    (!map.is_empty()).then_some(map)
}

#[cfg(test)]
#[path = "body_tests.rs"]
#[expect(clippy::needless_pass_by_value, reason = "the JSON of a case is written where it is used")]
mod tests;
