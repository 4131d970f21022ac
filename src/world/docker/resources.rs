//! What a container may use of the host, as the engine takes it: memory, CPUs, block devices, devices. Pure.

use bollard::models::{
    DeviceMapping, DeviceRequest as EngineRequest, HostConfig, ResourcesBlkioWeightDevice, ResourcesUlimits, ThrottleDevice,
};

use super::body::{filled, map};
use crate::model::block_io::{BlockIo, DeviceRate};
use crate::model::container::Container;
use crate::model::device::{Device, DeviceRequest};
use crate::model::service::Common;

/// Fills in all limits and devices.
pub(super) fn apply(config: &mut HostConfig, common: &Common, container: &Container) {
    memory_and_cpus(config, common, container);
    if let Some(limits) = &container.blkio_config {
        block_io(config, limits);
    }
    let (cdi, devices): (Vec<&Device>, Vec<&Device>) = container.devices.iter().partition(|device| is_cdi(device));
    config.devices = filled(devices.into_iter().map(device).collect());
    config.device_cgroup_rules = filled(container.device_cgroup_rules.clone());
    let mut requests: Vec<EngineRequest> = container.reserved_devices.iter().map(|asked| request(asked, None)).collect();
    if !cdi.is_empty() {
        requests.push(EngineRequest {
            driver: Some("cdi".to_owned()),
            device_ids: Some(cdi.into_iter().map(|device| device.source.clone()).collect()),
            ..Default::default()
        });
    }
    requests.extend(container.gpus.iter().map(|asked| request(asked, Some("gpu"))));
    config.device_requests = filled(requests);
}

fn memory_and_cpus(config: &mut HostConfig, common: &Common, container: &Container) {
    config.memory = common.mem_limit;
    config.memory_reservation = container.mem_reservation;
    config.memory_swap = container.memswap_limit;
    // Compose cannot say 0 either: it takes it for nothing.
    config.memory_swappiness = container.mem_swappiness.filter(|&swappiness| swappiness != 0);
    config.oom_kill_disable = container.oom_kill_disable.then_some(true);
    config.oom_score_adj = common.oom_score_adj;
    config.shm_size = container.shm_size;
    config.nano_cpus = common.cpus.map(nano_cpus);
    config.cpu_shares = container.cpu_shares;
    config.cpu_quota = container.cpu_quota;
    config.cpu_period = container.cpu_period;
    config.cpu_realtime_runtime = container.cpu_rt_runtime;
    config.cpu_realtime_period = container.cpu_rt_period;
    config.cpu_count = container.cpu_count;
    config.cpu_percent = container.cpu_percent.map(hundredths);
    config.cpuset_cpus.clone_from(&container.cpuset);
    config.pids_limit = common.pids_limit;
    config.ulimits = filled(ulimits(common));
}

#[expect(clippy::cast_possible_truncation, reason = "far fewer CPUs than 2^63 / 10^9")]
fn nano_cpus(cpus: f64) -> i64 {
    (cpus * 1e9).round() as i64
}

/// The engine counts shares of the CPUs in hundredths of a percent.
#[expect(clippy::cast_possible_truncation, reason = "a percentage is far less than 2^63 / 100")]
fn hundredths(percent: f64) -> i64 {
    (percent * 100.0).round() as i64
}

fn ulimits(common: &Common) -> Vec<ResourcesUlimits> {
    let limits = common.ulimits.iter();
    limits
        .map(|(name, limit)| ResourcesUlimits { name: Some(name.clone()), soft: Some(limit.soft), hard: Some(limit.hard) })
        .collect()
}

fn block_io(config: &mut HostConfig, limits: &BlockIo) {
    let rates = |list: &[DeviceRate]| {
        filled(list.iter().map(|limit| ThrottleDevice { path: Some(limit.path.clone()), rate: limit.rate }).collect())
    };
    let weights = limits.weight_device.iter();
    config.blkio_weight = limits.weight;
    config.blkio_weight_device = filled(
        weights
            .map(|device| ResourcesBlkioWeightDevice {
                path: Some(device.path.clone()),
                weight: Some(usize::from(device.weight)),
            })
            .collect(),
    );
    config.blkio_device_read_bps = rates(&limits.device_read_bps);
    config.blkio_device_read_iops = rates(&limits.device_read_iops);
    config.blkio_device_write_bps = rates(&limits.device_write_bps);
    config.blkio_device_write_iops = rates(&limits.device_write_iops);
}

/// A device of the Container Device Interface: `vendor.com/class=name`.
pub(super) fn is_cdi(device: &Device) -> bool {
    !device.source.starts_with('/') && device.source.contains('/') && device.source.contains('=')
}

/// A request for devices of a driver; `capability` is one that goes without saying.
fn request(asked: &DeviceRequest, capability: Option<&str>) -> EngineRequest {
    let capabilities: Vec<String> = asked.capabilities.iter().cloned().chain(capability.map(str::to_owned)).collect();
    EngineRequest {
        driver: asked.driver.clone(),
        count: asked.count,
        device_ids: filled(asked.device_ids.clone()),
        capabilities: filled(vec![capabilities]),
        options: map(&asked.options),
    }
}

fn device(device: &Device) -> DeviceMapping {
    let or = |text: &str, default: &str| Some(if text.is_empty() { default } else { text }.to_owned());
    DeviceMapping {
        path_on_host: Some(device.source.clone()),
        path_in_container: or(&device.target, &device.source),
        cgroup_permissions: or(&device.permissions, "rwm"),
    }
}
