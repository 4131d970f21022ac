//! A unit's definition as the engine's create request: Compose's attributes, field by field. Pure.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigCgroupnsModeEnum, HostConfigLogConfig, NetworkingConfig, PortBinding, PortMap, ResourcesUlimits,
    RestartPolicy as EnginePolicy, RestartPolicyNameEnum,
};
use indexmap::IndexMap;

use super::connect::ApiVersion;
use super::labels::{self, OneOff};
use super::mounts::{self, Mounts, WrittenFile, needs};
use crate::base::name::{ServiceName, UnitId};
use crate::model::container::{Container, Device};
use crate::model::health::HealthCheck;
use crate::model::network::Attachment;
use crate::model::port::Port;
use crate::model::restart::RestartPolicy;
use crate::model::service::Common;
use crate::plan::action::Fault;
use crate::plan::desired::{Deployment, UnitSpec};

/// What must be known of the engine before a request can be written.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// What the engine understands.
    pub(super) version: ApiVersion,
    /// The image's id.
    pub(super) image: Option<String>,
    /// The image's own entry point.
    pub(super) image_entrypoint: Vec<String>,
    /// The containers of services whose namespaces are shared.
    pub(super) namespaces: IndexMap<ServiceName, String>,
    /// Anonymous volumes to take over: path → volume.
    pub(super) inherited: IndexMap<String, String>,
    /// `security_opt` with its files read.
    pub(super) security_opt: Vec<String>,
    /// For a one-off container: its name.
    pub(super) one_off: Option<OneOff>,
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
    let name = around.one_off.as_ref().map_or_else(|| deployment.container_name(&spec.unit), |one_off| one_off.name.clone());
    let mut mounts = Mounts::of(deployment, container, &around.inherited, around.version)?;
    let (granted, files) = mounts::granted_files(deployment, common, container.read_only)?;
    mounts.detailed.extend(granted);
    let networking = networking(spec, container, &name, around)?;
    let body = ContainerCreateBody {
        hostname: container.hostname.clone(),
        domainname: container.domainname.clone(),
        user: common.user.clone(),
        exposed_ports: filled(exposed_ports(container, &common.ports)),
        tty: common.tty.then_some(true),
        open_stdin: common.stdin_open.then_some(true),
        env: filled(environment(common)),
        cmd: container.command.clone(),
        healthcheck: common.healthcheck.as_ref().map(|check| health(check, around.version)),
        image: Some(image),
        volumes: filled(std::mem::take(&mut mounts.anonymous)),
        working_dir: common.working_dir.clone(),
        entrypoint: entrypoint(container, &around.image_entrypoint),
        labels: Some(labels::of_container(spec, around.image.as_deref(), around.one_off.as_ref())),
        stop_signal: common.stop_signal.clone(),
        stop_timeout: common.stop_grace_period.map(whole_seconds),
        host_config: Some(host_config(common, container, mounts, &networking.mode, around)?),
        networking_config: networking.first.map(|endpoints| NetworkingConfig { endpoints_config: Some(endpoints) }),
        ..Default::default()
    };
    Ok(CreateRequest { name, platform: container.platform.clone(), body, connect: networking.later, files })
}

/// Nothing where there is nothing, so that the image's own stays in force.
fn filled<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn map<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Option<HashMap<String, String>> {
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

fn environment(common: &Common) -> Vec<String> {
    common.environment.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}"))).collect()
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

fn health(check: &HealthCheck, version: ApiVersion) -> HealthConfig {
    let off = check.disable || check.test.first().is_some_and(|word| word == "NONE");
    if off || (check.test.is_empty() && check.has_own_probe()) {
        // Our own probes take the place of the image's check.
        return HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() };
    }
    let start_interval = check.start_interval.filter(|_| version >= ApiVersion::v1(44) && check.start_period.is_some());
    HealthConfig {
        test: filled(check.test.clone()),
        interval: check.interval.map(nanos),
        timeout: check.timeout.map(nanos),
        retries: check.retries.map(i64::from),
        start_period: check.start_period.map(nanos),
        start_interval: start_interval.map(nanos),
    }
}

fn host_config(
    common: &Common,
    container: &Container,
    mounts: Mounts,
    network_mode: &str,
    around: &Surroundings,
) -> Result<HostConfig, Fault> {
    let shared = |mode: &Option<String>| mode.as_deref().map(|mode| namespace(mode, around)).transpose();
    let (cdi, devices): (Vec<&Device>, Vec<&Device>) = container.devices.iter().partition(|device| is_cdi(device));
    let mut config = HostConfig {
        binds: filled(mounts.binds),
        mounts: filled(mounts.detailed),
        network_mode: Some(network_mode.to_owned()),
        port_bindings: port_bindings(&common.ports),
        restart_policy: restart_policy(common.restart),
        cap_add: filled(common.cap_add.clone()),
        cap_drop: filled(container.cap_drop.clone()),
        group_add: filled(common.group_add.clone()),
        privileged: container.privileged.then_some(true),
        readonly_rootfs: container.read_only.then_some(true),
        init: container.init,
        dns: filled(container.dns.clone()),
        dns_search: filled(container.dns_search.clone()),
        dns_options: filled(container.dns_opt.clone()),
        extra_hosts: filled(container.extra_hosts.iter().map(|host| host.replacen('=', ":", 1)).collect()),
        sysctls: map(&container.sysctls),
        shm_size: container.shm_size,
        memory: common.mem_limit,
        memory_reservation: container.mem_reservation,
        memory_swap: container.memswap_limit,
        nano_cpus: common.cpus.map(nano_cpus),
        cpu_shares: container.cpu_shares,
        cpuset_cpus: container.cpuset.clone(),
        pids_limit: common.pids_limit,
        oom_score_adj: common.oom_score_adj,
        pid_mode: shared(&container.pid)?,
        ipc_mode: shared(&container.ipc)?,
        uts_mode: container.uts.clone(),
        userns_mode: container.userns_mode.clone(),
        cgroup_parent: container.cgroup_parent.clone(),
        cgroupns_mode: container.cgroup.as_deref().map(cgroup_mode).transpose()?,
        runtime: container.runtime.clone(),
        annotations: map(&common.annotations),
        ulimits: filled(ulimits(common)),
        devices: filled(devices.into_iter().map(device).collect()),
        device_requests: filled(cdi.into_iter().map(|device| cdi_request(&device.source)).collect()),
        tmpfs: tmpfs(&container.tmpfs),
        log_config: common
            .logging
            .as_ref()
            .map(|logging| HostConfigLogConfig { typ: logging.driver.clone(), config: map(&logging.options) }),
        ..Default::default()
    };
    security(&mut config, &around.security_opt);
    Ok(config)
}

#[expect(clippy::cast_possible_truncation, reason = "far fewer CPUs than 2^63 / 10^9")]
fn nano_cpus(cpus: f64) -> i64 {
    (cpus * 1e9).round() as i64
}

fn restart_policy(policy: RestartPolicy) -> Option<EnginePolicy> {
    let (name, maximum_retry_count) = match policy {
        RestartPolicy::No => return None,
        RestartPolicy::Always => (RestartPolicyNameEnum::ALWAYS, None),
        RestartPolicy::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        RestartPolicy::OnFailure { max } => (RestartPolicyNameEnum::ON_FAILURE, max.map(i64::from)),
    };
    Some(EnginePolicy { name: Some(name), maximum_retry_count })
}

/// `service:X` becomes `container:<id>`; everything else is the engine's own word.
fn namespace(mode: &str, around: &Surroundings) -> Result<String, Fault> {
    let Some(service) = mode.strip_prefix("service:") else { return Ok(mode.to_owned()) };
    match around.namespaces.get(service) {
        Some(container) => Ok(format!("container:{container}")),
        None => Err(Fault::temporary(format!("`{service}`, whose namespace is to be shared, has no container"))),
    }
}

/// The services whose containers must be there before this one can be made.
pub(super) fn shared_namespaces(container: &Container) -> impl Iterator<Item = &str> {
    let modes = [&container.network_mode, &container.pid, &container.ipc];
    modes.into_iter().flatten().filter_map(|mode| mode.strip_prefix("service:"))
}

fn cgroup_mode(mode: &str) -> Result<HostConfigCgroupnsModeEnum, Fault> {
    match mode {
        "host" => Ok(HostConfigCgroupnsModeEnum::HOST),
        "private" => Ok(HostConfigCgroupnsModeEnum::PRIVATE),
        other => Err(Fault::permanent(format!("`cgroup` is `host` or `private`, not `{other}`"))),
    }
}

fn ulimits(common: &Common) -> Vec<ResourcesUlimits> {
    let limits = common.ulimits.iter();
    limits
        .map(|(name, limit)| ResourcesUlimits { name: Some(name.clone()), soft: Some(limit.soft), hard: Some(limit.hard) })
        .collect()
}

/// A device of the Container Device Interface: `vendor.com/class=name`.
fn is_cdi(device: &Device) -> bool {
    !device.source.starts_with('/') && device.source.contains('/') && device.source.contains('=')
}

fn cdi_request(name: &str) -> DeviceRequest {
    DeviceRequest { driver: Some("cdi".to_owned()), device_ids: Some(vec![name.to_owned()]), ..Default::default() }
}

fn device(device: &Device) -> DeviceMapping {
    let or = |text: &str, default: &str| Some(if text.is_empty() { default } else { text }.to_owned());
    DeviceMapping {
        path_on_host: Some(device.source.clone()),
        path_in_container: or(&device.target, &device.source),
        cgroup_permissions: or(&device.permissions, "rwm"),
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

/// `systempaths=unconfined` is no option of the engine: the command line empties two lists for it.
fn security(config: &mut HostConfig, options: &[String]) {
    let (paths, others): (Vec<&String>, Vec<&String>) =
        options.iter().partition(|option| matches!(option.as_str(), "systempaths=unconfined" | "systempaths:unconfined"));
    if !paths.is_empty() {
        config.masked_paths = Some(Vec::new());
        config.readonly_paths = Some(Vec::new());
    }
    config.security_opt = filled(others.into_iter().cloned().collect());
}

struct Networking {
    /// `HostConfig.NetworkMode`.
    mode: String,
    /// Joined at the creation.
    first: Option<HashMap<String, EndpointSettings>>,
    /// Joined after it.
    later: Vec<(String, EndpointSettings)>,
}

fn networking(spec: &UnitSpec, container: &Container, name: &str, around: &Surroundings) -> Result<Networking, Fault> {
    if let Some(mode) = &container.network_mode {
        return Ok(Networking { mode: namespace(mode, around)?, first: None, later: Vec::new() });
    }
    let deployment = &spec.deployment;
    let none = None;
    let mut networks: Vec<(&str, &Option<Attachment>)> =
        container.networks.iter().map(|(key, attachment)| (key.as_str(), attachment)).collect();
    if networks.is_empty() {
        networks.push(("default", &none));
    }
    // As in Compose: the highest priority first, then by name.
    networks.sort_by_key(|(key, attachment)| (std::cmp::Reverse(attachment.as_ref().map_or(0, |a| a.priority)), *key));
    let mut endpoints = Vec::with_capacity(networks.len());
    for (position, (key, attachment)) in networks.into_iter().enumerate() {
        let engine_name = deployment.network_name(key);
        let mut endpoint = endpoint(spec, container, name, attachment.as_ref(), &engine_name, around);
        if position == 0 && endpoint.mac_address.is_none() {
            endpoint.mac_address.clone_from(&container.mac_address);
        }
        if endpoint.mac_address.is_some() {
            needs(around.version, 44, "mac_address", "25")?;
        }
        if endpoint.gw_priority.is_some() {
            needs(around.version, 48, "gw_priority", "28")?;
        }
        endpoints.push((engine_name, endpoint));
    }
    let mode = endpoints[0].0.clone();
    let at_once = if around.version >= ApiVersion::v1(44) { endpoints.len() } else { 1 };
    let later = endpoints.split_off(at_once);
    Ok(Networking { mode, first: Some(endpoints.into_iter().collect()), later })
}

fn endpoint(
    spec: &UnitSpec,
    container: &Container,
    name: &str,
    attachment: Option<&Attachment>,
    engine_name: &str,
    around: &Surroundings,
) -> EndpointSettings {
    let attachment = attachment.cloned().unwrap_or_default();
    let mut aliases = vec![name.to_owned()];
    if around.one_off.is_none() {
        aliases.push(spec.unit.service.to_string());
        aliases.extend(attachment.aliases);
    }
    let has_address =
        attachment.ipv4_address.is_some() || attachment.ipv6_address.is_some() || !attachment.link_local_ips.is_empty();
    EndpointSettings {
        // The engine refuses aliases on its own networks.
        aliases: (!matches!(engine_name, "bridge" | "host" | "none" | "default")).then_some(aliases),
        links: filled(links(&container.links, &spec.deployment)),
        mac_address: attachment.mac_address,
        driver_opts: map(&attachment.driver_opts),
        gw_priority: (attachment.gw_priority != 0).then_some(attachment.gw_priority),
        ipam_config: has_address.then_some(EndpointIpamConfig {
            ipv4_address: attachment.ipv4_address,
            ipv6_address: attachment.ipv6_address,
            link_local_ips: filled(attachment.link_local_ips),
        }),
        ..Default::default()
    }
}

/// Each replica of a linked service under the link's name, its own short name and its full name.
fn links(links: &[String], deployment: &Deployment) -> Vec<String> {
    let mut all = Vec::new();
    for link in links {
        let (service, alias) = link.split_once(':').unwrap_or((link, link));
        let Ok(service) = service.parse::<ServiceName>() else { continue };
        let replicas = deployment.service(&service).map_or(0, crate::model::service::Service::replicas);
        for replica in 1..=replicas {
            let unit = UnitId::new(service.clone(), replica);
            let container = deployment.container_name(&unit);
            all.push(format!("{container}:{alias}"));
            all.push(format!("{container}:{service}-{replica}"));
            all.push(format!("{container}:{container}"));
        }
    }
    all
}

#[cfg(test)]
#[path = "body_tests.rs"]
#[expect(clippy::needless_pass_by_value, reason = "the JSON of a case is written where it is used")]
mod tests;
