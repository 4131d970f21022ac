//! The table against what the Compose Specification's schema has, and what is ours beside it.

use std::collections::BTreeSet;

use super::{Attribute, Honoured, Object, ROOT, Shape};

/// Every mapping of known keys, as Compose's schema (compose-go, `schema/compose-spec.json`) has it, then what we add to it.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "",
        "version name include services networks volumes secrets configs models",
        "processes ports requires generate images owns welcome",
    ),
    ("include", "path env_file project_directory", ""),
    (
        "services.*",
        "annotations attach build blkio_config cap_add cap_drop cgroup cgroup_parent command configs container_name cpu_count \
         cpu_percent cpu_shares cpu_quota cpu_period cpu_rt_period cpu_rt_runtime cpus cpuset credential_spec depends_on deploy \
         develop device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint env_file environment expose extends \
         external_links extra_hosts gpus group_add healthcheck hostname image init ipc isolation label_file labels links logging \
         mac_address mem_limit mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable \
         oom_score_adj pid pids_limit platform ports post_start pre_start pre_stop privileged profiles provider pull_policy \
         pull_refresh_after read_only restart runtime scale secrets security_opt shm_size stdin_open stop_grace_period \
         stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir",
        "",
    ),
    (
        "services.*.build",
        "additional_contexts args cache_from cache_to context dockerfile dockerfile_inline entitlements extra_hosts isolation \
         labels network no_cache no_cache_filter platforms privileged provenance pull sbom secrets shm_size ssh tags target \
         ulimits",
        "",
    ),
    ("services.*.blkio_config", "weight weight_device device_read_bps device_read_iops device_write_bps device_write_iops", ""),
    ("services.*.blkio_config.device_read_bps", "path rate", ""),
    ("services.*.blkio_config.weight_device", "path weight", ""),
    ("services.*.configs", "source target uid gid mode", ""),
    ("services.*.credential_spec", "config file registry", ""),
    ("services.*.depends_on.*", "condition restart required", ""),
    (
        "services.*.deploy",
        "mode endpoint_mode replicas labels rollback_config update_config resources restart_policy placement",
        "",
    ),
    ("services.*.deploy.placement", "constraints preferences max_replicas_per_node", ""),
    ("services.*.deploy.placement.preferences", "spread", ""),
    ("services.*.deploy.resources", "limits reservations", ""),
    ("services.*.deploy.resources.limits", "cpus memory pids", ""),
    ("services.*.deploy.resources.reservations", "cpus memory generic_resources devices", ""),
    ("services.*.deploy.resources.reservations.devices", "capabilities count device_ids driver options", ""),
    ("services.*.deploy.resources.reservations.generic_resources", "discrete_resource_spec", ""),
    ("services.*.deploy.resources.reservations.generic_resources.discrete_resource_spec", "kind value", ""),
    ("services.*.deploy.restart_policy", "condition delay max_attempts window", ""),
    ("services.*.deploy.rollback_config", "parallelism delay failure_action monitor max_failure_ratio order", ""),
    ("services.*.deploy.update_config", "parallelism delay failure_action monitor max_failure_ratio order", ""),
    ("services.*.develop", "watch", ""),
    ("services.*.develop.watch", "ignore include path action target exec initial_sync", "ignore_defaults"),
    ("services.*.devices", "source target permissions", ""),
    ("services.*.env_file", "path required format", ""),
    ("services.*.extends", "service file", ""),
    ("services.*.gpus", "capabilities count device_ids driver options", ""),
    ("services.*.healthcheck", "disable interval retries test timeout start_period start_interval", "http tcp log file grpc"),
    ("services.*.logging", "driver options", ""),
    ("services.*.models.*", "endpoint_var model_var", ""),
    (
        "services.*.networks.*",
        "aliases interface_name ipv4_address ipv6_address link_local_ips mac_address driver_opts priority gw_priority",
        "",
    ),
    ("services.*.ports", "name mode host_ip target published protocol app_protocol", ""),
    ("services.*.post_start", "command user privileged working_dir environment", ""),
    ("services.*.pre_start", "command image user privileged working_dir environment per_replica entrypoint networks", ""),
    ("services.*.pre_stop", "command user privileged working_dir environment", ""),
    ("services.*.provider", "type options", ""),
    ("services.*.secrets", "source target uid gid mode", ""),
    ("services.*.ulimits.*", "hard soft", ""),
    ("services.*.volumes", "type source target read_only consistency bind volume tmpfs image", ""),
    ("services.*.volumes.bind", "propagation create_host_path recursive selinux", ""),
    ("services.*.volumes.image", "subpath", ""),
    ("services.*.volumes.tmpfs", "size mode", ""),
    ("services.*.volumes.volume", "labels nocopy subpath", ""),
    ("networks.*", "name driver driver_opts ipam external internal enable_ipv4 enable_ipv6 attachable labels", ""),
    ("networks.*.ipam", "driver config options", ""),
    ("networks.*.ipam.config", "subnet ip_range gateway aux_addresses", ""),
    ("volumes.*", "name driver driver_opts external labels", ""),
    ("secrets.*", "name environment file external labels driver driver_opts template_driver", ""),
    ("configs.*", "name content environment file external labels template_driver", "template"),
    ("models.*", "name model context_size runtime_flags", ""),
];

fn visit(path: &str, shape: &'static Shape, found: &mut Vec<(String, &'static Object)>) {
    match shape.long() {
        Shape::List(items) => visit(path, items, found),
        Shape::Map(values) | Shape::Named(values) => visit(&format!("{path}.*"), values, found),
        Shape::Object(object) => {
            found.push((path.trim_start_matches('.').to_owned(), object));
            for attribute in object.attributes {
                visit(&format!("{path}.{}", attribute.name), &attribute.shape, found);
            }
        }
        _ => {}
    }
}

fn all() -> Vec<(String, &'static Object)> {
    static WHOLE: Shape = Shape::Object(&ROOT);
    let mut found = Vec::new();
    visit("", &WHOLE, &mut found);
    found
}

#[test]
fn the_table_has_what_the_schema_of_compose_has_and_what_is_ours() {
    let objects = all();
    for (path, theirs, ours) in KNOWN {
        let Some((_, object)) = objects.iter().find(|(known, _)| known == path) else { panic!("no mapping at {path}") };
        let names: BTreeSet<&str> = object.attributes.iter().map(|attribute| attribute.name).collect();
        let expected: BTreeSet<&str> = theirs.split_whitespace().chain(ours.split_whitespace()).collect();
        assert_eq!(names, expected, "{path}");
        assert_eq!(names.len(), object.attributes.len(), "{path} names an attribute twice");
    }
}

#[test]
fn every_attribute_says_what_it_is_in_one_sentence() {
    for (path, object) in all() {
        for Attribute { name, doc, .. } in object.attributes {
            assert!(doc.ends_with(['.', ')']) && doc.len() <= 120 && !doc.contains(". "), "{path}.{name}: {doc}");
        }
    }
}

#[test]
fn what_is_not_honoured_is_known() {
    let mut refused: Vec<String> = (all().into_iter())
        .filter(|(path, _)| !path.starts_with("processes.*.") || path == "processes.*")
        .flat_map(|(path, object)| object.attributes.iter().map(move |attribute| (path.clone(), attribute)))
        .filter(|(_, attribute)| attribute.honoured == Honoured::NotYet)
        .map(|(path, attribute)| format!("{path}.{}", attribute.name).trim_start_matches('.').to_owned())
        .collect();
    refused.sort();
    let refused = refused.join("\n");
    insta::assert_snapshot!(refused, @"
    processes.*.reload
    services.*.build.additional_contexts
    services.*.build.cache_to
    services.*.build.entitlements
    services.*.build.isolation
    services.*.build.no_cache_filter
    services.*.build.privileged
    services.*.build.provenance
    services.*.build.sbom
    services.*.build.secrets
    services.*.build.ssh
    services.*.build.ulimits
    ");
}
