//! Every key there is: honoured, not yet honoured, without effect, or unknown.
//!
//! What cannot be honoured is an error that names it, never silence.

use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::suggest::closest;
use crate::yaml::node::{Mapping, Node};

/// Top-level keys of ours; each may be written with `x-`.
pub(super) const OURS: [&str; 7] = ["processes", "ports", "requires", "generate", "images", "owns", "welcome"];

const TOP: &[&str] = &["version", "name", "include", "services", "networks", "volumes", "secrets", "configs", "models"];

/// What both kinds of service have.
const COMMON: &[&str] = &[
    "depends_on",
    "environment",
    "env_file",
    "working_dir",
    "healthcheck",
    "restart",
    "stop_signal",
    "stop_grace_period",
    "profiles",
    "scale",
    "deploy",
    "mem_limit",
    "cpus",
    "pids_limit",
    "ulimits",
    "oom_score_adj",
    "user",
    "group_add",
    "tty",
    "stdin_open",
    "ports",
    "labels",
    "annotations",
    "logging",
    "secrets",
    "configs",
    "post_start",
    "pre_stop",
    "develop",
    "extends",
    "attach",
    "cap_add",
    "command",
    "entrypoint",
];

const CONTAINER: &[&str] = &[
    "image",
    "build",
    "pull_policy",
    "platform",
    "container_name",
    "hostname",
    "domainname",
    "label_file",
    "expose",
    "volumes",
    "tmpfs",
    "networks",
    "network_mode",
    "extra_hosts",
    "dns",
    "dns_search",
    "dns_opt",
    "links",
    "mac_address",
    "init",
    "privileged",
    "read_only",
    "cap_drop",
    "security_opt",
    "devices",
    "sysctls",
    "shm_size",
    "mem_reservation",
    "memswap_limit",
    "cpu_shares",
    "cpuset",
    "pid",
    "ipc",
    "uts",
    "userns_mode",
    "cgroup",
    "cgroup_parent",
    "runtime",
];

const CONTAINER_NOT_YET: &[&str] = &[
    "blkio_config",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "credential_spec",
    "device_cgroup_rules",
    "external_links",
    "gpus",
    "isolation",
    "mem_swappiness",
    "models",
    "oom_kill_disable",
    "pre_start",
    "provider",
    "pull_refresh_after",
    "storage_opt",
    "use_api_socket",
    "volumes_from",
];

const PROCESS: &[&str] = &[
    "inputs",
    "outputs",
    "check",
    "path",
    "scratch",
    "start_timeout",
    "on_unhealthy",
    "restart_on",
    "inherit_env",
    "shell",
    "keep",
    "isolation",
    "sockets",
    "schedule",
];

const PROCESS_NOT_YET: &[&str] = &["proxy", "reload"];

/// Keys of mappings inside, by the key above them.
const INSIDE: &[(&str, &[&str], &[&str])] = &[
    (
        "build",
        &[
            "context",
            "dockerfile",
            "dockerfile_inline",
            "args",
            "target",
            "cache_from",
            "labels",
            "tags",
            "network",
            "no_cache",
            "pull",
            "extra_hosts",
            "shm_size",
            "platforms",
        ],
        &[
            "additional_contexts",
            "cache_to",
            "entitlements",
            "isolation",
            "no_cache_filter",
            "privileged",
            "provenance",
            "sbom",
            "secrets",
            "ssh",
            "ulimits",
        ],
    ),
    (
        "healthcheck",
        &["test", "http", "tcp", "log", "file", "interval", "timeout", "retries", "start_period", "start_interval", "disable"],
        &["grpc"],
    ),
    ("develop", &["watch"], &[]),
    ("schedule", &["cron", "every", "overlap"], &[]),
    ("logging", &["driver", "options"], &[]),
    (
        "deploy",
        &[
            "replicas",
            "resources",
            "restart_policy",
            "labels",
            "mode",
            "endpoint_mode",
            "placement",
            "update_config",
            "rollback_config",
        ],
        &[],
    ),
];

/// Why a container's attribute means nothing for a process, and what to use instead.
const INSTEAD: &[(&str, &str)] = &[
    ("image", "a process runs on this host: name its program in `command`, or put it under `services:`"),
    ("build", "a process is not built into an image: make what it needs in a task with `inputs` and `outputs`"),
    ("networks", "a process uses the host's network: reach a container at its published port"),
    ("network_mode", "a process uses the host's network"),
    ("volumes", "a process sees the host's files: use paths, and `scratch` for directories that have to be made"),
    ("tmpfs", "a process sees the host's files: use `scratch` for a directory of its own"),
    ("privileged", "name the capabilities that it needs in `cap_add`"),
    ("container_name", "a process has no container"),
    ("hostname", "a process has the host's name"),
    ("links", "use `depends_on`"),
    ("cap_drop", "a process has no capabilities but those of its user: name what it needs in `cap_add`"),
    ("extra_hosts", "a process uses the host's names: see /etc/hosts"),
    ("dns", "a process uses the host's resolver"),
    ("devices", "a process sees the host's devices"),
    ("expose", "name what it listens on in `ports`"),
    ("init", "the supervisor reaps what a process leaves behind"),
];

/// Looks at one file's tree, before anything is merged.
pub(super) fn check(root: &Node, diagnostics: &mut Diagnostics) {
    let Some(top) = root.as_mapping() else { return };
    let known: Vec<&str> = TOP.iter().chain(&OURS).copied().collect();
    for (key, entry) in top.iter().filter(|(key, _)| !key.starts_with("x-")) {
        match key {
            "version" => diagnostics.push(
                Diagnostic::warning("obsolete-version", "`version` has no effect any more")
                    .at(entry.key_span, "")
                    .help("remove the line"),
            ),
            "models" => diagnostics.push(not_yet("models").at(entry.key_span, "")),
            key if known.contains(&key) => {}
            key => diagnostics.push(unknown(key, &known).at(entry.key_span, "")),
        }
    }
    for section in ["services", "processes"] {
        let Some(services) = top.get(section) else { continue };
        let Some(services) = services.as_mapping() else {
            if !services.is_null() {
                let message = format!("`{section}` must be a mapping of names, not {}", services.kind_name());
                diagnostics.push(Diagnostic::error("wrong-kind", message).at(services.span, ""));
            }
            continue;
        };
        for (name, entry) in services.iter() {
            if let Err(error) = name.parse::<crate::base::name::ServiceName>() {
                diagnostics.push(Diagnostic::error("bad-name", error.to_string()).at(entry.key_span, ""));
            }
            match entry.node.as_mapping() {
                Some(service) => check_service(section, service, diagnostics),
                None => {
                    let message = format!("`{section}.{name}` must be a mapping, not {}", entry.node.kind_name());
                    diagnostics.push(Diagnostic::error("wrong-kind", message).at(entry.key_span, ""));
                }
            }
        }
    }
}

fn check_service(section: &str, service: &Mapping, diagnostics: &mut Diagnostics) {
    let process = section == "processes";
    let (own, not_yet_own) = if process { (PROCESS, PROCESS_NOT_YET) } else { (CONTAINER, CONTAINER_NOT_YET) };
    let known: Vec<&str> = COMMON.iter().chain(own).copied().collect();
    for (key, entry) in service.iter().filter(|(key, _)| !key.starts_with("x-")) {
        if not_yet_own.contains(&key) {
            diagnostics.push(not_yet(key).at(entry.key_span, ""));
        } else if process && !PROCESS.contains(&key) && (CONTAINER.contains(&key) || CONTAINER_NOT_YET.contains(&key)) {
            let message = format!("`{key}` means nothing for a process");
            let help = INSTEAD.iter().find(|(name, _)| *name == key).map_or("it is an attribute of containers", |(_, help)| help);
            diagnostics
                .push(Diagnostic::error("container-only", message).at(entry.key_span, "only containers have it").help(help));
        } else if !process && !CONTAINER.contains(&key) && (PROCESS.contains(&key) || PROCESS_NOT_YET.contains(&key)) {
            let message = format!("`{key}` means nothing for a container");
            diagnostics.push(
                Diagnostic::error("process-only", message)
                    .at(entry.key_span, "only processes have it")
                    .help("put the service under `processes:`"),
            );
        } else if !known.contains(&key) {
            diagnostics.push(unknown(key, &known).at(entry.key_span, ""));
        }
        if let Some((_, known, later)) = INSIDE.iter().find(|(name, ..)| *name == key)
            && let Some(inner) = entry.node.as_mapping()
        {
            for (inside, entry) in inner.iter().filter(|(inside, _)| !inside.starts_with("x-")) {
                if later.contains(&inside) {
                    diagnostics.push(not_yet(&format!("{key}.{inside}")).at(entry.key_span, ""));
                } else if !known.contains(&inside) {
                    diagnostics.push(unknown(inside, known).at(entry.key_span, ""));
                }
            }
        }
        if process
            && key == "ulimits"
            && let Some(limit) = entry.node.as_mapping().and_then(|limits| limits.entry("rttime"))
        {
            let message = "`ulimits.rttime` is used by the supervisor itself, to find what a service leaves behind";
            diagnostics.push(Diagnostic::error("reserved-limit", message).at(limit.key_span, ""));
        }
    }
}

fn unknown(key: &str, known: &[&str]) -> Diagnostic {
    let diagnostic = Diagnostic::error("unknown-key", format!("there is no attribute `{key}`"));
    match closest(key, known.iter().copied()) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic.help("names of your own begin with `x-`"),
    }
}

fn not_yet(key: &str) -> Diagnostic {
    Diagnostic::error("not-yet", format!("`{key}` is not supported by this version"))
        .help("remove it, or use Docker Compose for this service; nothing is started with an attribute that would be ignored")
}
