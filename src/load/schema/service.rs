//! `services.*`: what a container may have, and the rows that processes share.

use super::build::BUILD;
use super::deploy::{DEPLOY, DEVICE_REQUEST};
use super::develop::{DEVELOP, HOOK};
use super::forms;
use super::job::PRE_START;
use super::objects::{DEPENDENCY, GRANT, HEALTHCHECK, LOGGING, ULIMIT};
use super::{Attribute, Check, Empty, Forms, Identity, Merge, Object, Shape, TEXTS, WHOLE, attribute};

/// A container.
pub(in crate::load) const CONTAINER: Object = Object { what: "a service", attributes: &ROWS };

// ── shared shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// `[A=1, B]` or `{A: 1, B: }`; nothing means that the value comes from elsewhere.
pub(super) const ENVIRONMENT: Forms = Forms {
    wanted: "a mapping or a list of `NAME=value`",
    short: &[Shape::List(&Shape::Single)],
    rewrite: forms::pairs,
    long: &Shape::Map(&Shape::SingleOrNull),
};

/// `[a=1, b]` or `{a: 1, b: }`; nothing is an empty text.
pub(super) const LABELS: Forms = Forms {
    wanted: "a mapping or a list of `NAME=value`",
    short: &[Shape::List(&Shape::Single)],
    rewrite: forms::text_pairs,
    long: &Shape::Map(&Shape::SingleOrNull),
};

/// A mapping of single values that become texts.
pub(super) const OPTIONS: Forms = Forms {
    wanted: "a mapping of single values",
    short: &[],
    rewrite: forms::text_values,
    long: &Shape::Map(&Shape::SingleOrNull),
};

/// One text, or several.
pub(super) const ONE_OR_MORE: Forms =
    Forms { wanted: "a text or a list of texts", short: &[Shape::Text], rewrite: forms::one_to_list, long: &TEXTS };

/// As [`ONE_OR_MORE`]; an empty text is none.
const ADDRESSES: Forms =
    Forms { wanted: "a text or a list of texts", short: &[Shape::Text], rewrite: forms::addresses, long: &TEXTS };

/// One path, or several.
pub(super) const PATHS: Forms = Forms {
    wanted: "a path or a list of paths",
    short: &[Shape::Path],
    rewrite: forms::one_to_list,
    long: &Shape::List(&Shape::Path),
};

/// A command line, split as Compose does, or its words.
pub(super) const COMMAND: Forms =
    Forms { wanted: "a text or a list of texts", short: &[Shape::Text], rewrite: forms::words, long: &TEXTS };

/// `[a.env]`, `a.env` or `{path: a.env}`.
const ENV_FILE: Forms = Forms {
    wanted: "a path, a list of paths, or mappings with `path`",
    short: &[Shape::Path, Shape::List(&Shape::Path), Shape::Object(&ENV_FILE_ENTRY)],
    rewrite: forms::env_file,
    long: &Shape::List(&Shape::Object(&ENV_FILE_ENTRY)),
};

const ENV_FILE_ENTRY: Object = Object {
    what: "an entry of `env_file`",
    attributes: &[
        attribute("path", Shape::Path, "The file.").required(),
        attribute("required", Shape::Flag, "Whether the file has to be there; true when absent.").shown(Empty::Shown),
        attribute("format", Shape::Text, "`raw`: values are taken as they are, without quotes and variables."),
    ],
};

/// `[db]` or `{db: {condition: service_healthy}}`.
const DEPENDS_ON: Forms = Forms {
    wanted: "a list of services or a mapping",
    short: &[TEXTS],
    rewrite: forms::depends_on,
    long: &Shape::Named(&Shape::Object(&DEPENDENCY)),
};

const EXTENDS: Forms = Forms {
    wanted: "a service's name, or a mapping with `service`",
    short: &[Shape::Text],
    rewrite: forms::extends,
    long: &Shape::Object(&EXTENDS_ENTRY),
};

/// Here alone Compose passes over keys that it does not know.
pub(in crate::load) const EXTENDS_NAME: &str = "`extends`";

const EXTENDS_ENTRY: Object = Object {
    what: EXTENDS_NAME,
    attributes: &[
        attribute("service", Shape::Text, "The service that this one begins with.").required(),
        attribute("file", Shape::Text, "The file that it stands in; this one when absent."),
    ],
};

/// `[name]` or `[{source: name}]`.
pub(super) const GRANTS: Forms = Forms {
    wanted: "a list of names, or of mappings with `source`",
    short: &[TEXTS],
    rewrite: forms::grants,
    long: &Shape::List(&Shape::Object(&GRANT)),
};

/// `1024` or `{soft: 1, hard: 2}`.
pub(super) const ULIMITS: Shape = Shape::Map(&Shape::Forms(&ULIMIT_FORMS));

const ULIMIT_FORMS: Forms = Forms {
    wanted: "a whole number, or a mapping with `soft` and `hard`",
    short: &[WHOLE],
    rewrite: forms::ulimit,
    long: &Shape::Object(&ULIMIT),
};

/// `[h=1.2.3.4]`, `[h:1.2.3.4]`, `{h: 1.2.3.4}`, `{h: [1.2.3.4]}`.
pub(super) const EXTRA_HOSTS: Forms = Forms {
    wanted: "a list of `NAME=ADDRESS`, or a mapping",
    short: &[Shape::Map(&Shape::Any)],
    rewrite: forms::extra_hosts,
    long: &TEXTS,
};

const PULL_POLICY: Check = Check {
    pattern: "^(always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+)$",
    wanted: "one of `always`, `never`, `missing`, `build`, `refresh`, `daily`, `weekly`, or `every_` and a time such as `every_12h`",
    accepts: forms::is_pull_policy,
};

const CONTAINER_NAME: Check = Check {
    pattern: "[a-zA-Z0-9][a-zA-Z0-9_.-]+",
    wanted: "a name of letters, digits, `_`, `.` and `-` that begins with a letter or a digit",
    accepts: forms::is_container_name,
};

// ── shared rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────

pub(super) const DEPENDS_ON_ROW: Attribute =
    attribute("depends_on", Shape::Forms(&DEPENDS_ON), "What has to be up, and how far, before this starts.");
pub(super) const ENVIRONMENT_ROW: Attribute =
    attribute("environment", Shape::Forms(&ENVIRONMENT), "Variables; a name alone takes the value that you have.")
        .merged(Merge::NullCounts);
pub(super) const ENV_FILE_ROW: Attribute =
    attribute("env_file", Shape::Forms(&ENV_FILE), "Files of variables; `environment` beats them.").unique(Identity::Path);
pub(super) const HEALTHCHECK_ROW: Attribute =
    attribute("healthcheck", Shape::Object(&HEALTHCHECK), "How it is found out whether it works.");
pub(super) const RESTART_ROW: Attribute =
    attribute("restart", Shape::Text, "`no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`.");
pub(super) const STOP_SIGNAL_ROW: Attribute = attribute("stop_signal", Shape::Text, "The signal that asks it to end.");
pub(super) const STOP_GRACE_PERIOD_ROW: Attribute =
    attribute("stop_grace_period", Shape::Duration, "How long it may take to end before it is killed; 10s when absent.")
        .shown(Empty::Shown);
pub(super) const PROFILES_ROW: Attribute =
    attribute("profiles", TEXTS, "It is on only when one of these profiles is.").unique(Identity::Name);
pub(super) const SCALE_ROW: Attribute = attribute("scale", Shape::Whole(0, i64::MAX), "How many of it run.").shown(Empty::Shown);
pub(super) const DEPLOY_ROW: Attribute =
    attribute("deploy", Shape::Object(&DEPLOY), "Replicas, resources, and what only clusters read.").nullable();
pub(super) const MEM_LIMIT_ROW: Attribute = attribute("mem_limit", Shape::Bytes, "The most memory that it may use.");
pub(super) const CPUS_ROW: Attribute = attribute("cpus", Shape::Number, "How many CPUs it may use, also fractions.");
pub(super) const PIDS_LIMIT_ROW: Attribute = attribute("pids_limit", WHOLE, "How many processes it may have; -1 is no limit.");
pub(super) const ULIMITS_ROW: Attribute = attribute("ulimits", ULIMITS, "Limits of the kernel by name, such as `nofile`.");
pub(super) const OOM_SCORE_ADJ_ROW: Attribute = attribute(
    "oom_score_adj",
    Shape::Whole(-1000, 1000),
    "How willingly the kernel ends it when memory is short, from -1000 to 1000.",
);
pub(super) const USER_ROW: Attribute = attribute("user", Shape::Text, "The user, and after a colon the group.");
pub(super) const GROUP_ADD_ROW: Attribute =
    attribute("group_add", Shape::List(&Shape::Single), "Further groups.").unique(Identity::Text);
pub(super) const TTY_ROW: Attribute = attribute("tty", Shape::Flag, "A terminal of its own.");
pub(super) const STDIN_OPEN_ROW: Attribute = attribute("stdin_open", Shape::Flag, "Its input stays open.");
pub(super) const LABELS_ROW: Attribute = attribute("labels", Shape::Forms(&LABELS), "Labels.");
pub(super) const ANNOTATIONS_ROW: Attribute = attribute("annotations", Shape::Forms(&LABELS), "Annotations.");
pub(super) const LOGGING_ROW: Attribute =
    attribute("logging", Shape::Object(&LOGGING), "Where its output goes.").merged(Merge::SameKey("driver"));
pub(super) const SECRETS_ROW: Attribute =
    attribute("secrets", Shape::Forms(&GRANTS), "Secrets that it may read.").unique(Identity::Grant("/run/secrets"));
pub(super) const CONFIGS_ROW: Attribute =
    attribute("configs", Shape::Forms(&GRANTS), "Configs that it gets.").unique(Identity::Grant(""));
pub(super) const POST_START_ROW: Attribute =
    attribute("post_start", Shape::List(&Shape::Object(&HOOK)), "Commands run inside after each start.");
pub(super) const PRE_STOP_ROW: Attribute =
    attribute("pre_stop", Shape::List(&Shape::Object(&HOOK)), "Commands run inside before we stop it.");
pub(super) const DEVELOP_ROW: Attribute = attribute("develop", Shape::Object(&DEVELOP), "What a saved file causes.").nullable();
pub(super) const EXTENDS_ROW: Attribute = attribute("extends", Shape::Forms(&EXTENDS), "A service that this one begins with.");
pub(super) const ATTACH_ROW: Attribute = attribute("attach", Shape::Flag, "Whether `up` follows its log.").shown(Empty::Shown);
pub(super) const CAP_ADD_ROW: Attribute = attribute("cap_add", TEXTS, "Capabilities that it gets.").unique(Identity::Name);

const PRE_START_ROW: Attribute =
    attribute("pre_start", Shape::List(&Shape::Object(&PRE_START)), "Commands run in containers of their own before it starts.");

const ROWS: [Attribute; CONTAINER_ROWS.len() + 1] = {
    let mut rows = [PRE_START_ROW; CONTAINER_ROWS.len() + 1];
    let mut at = 0;
    while at < CONTAINER_ROWS.len() {
        rows[at] = CONTAINER_ROWS[at];
        at += 1;
    }
    rows
};

/// All but `pre_start`, whose own rows are a selection of these.
pub(super) const CONTAINER_ROWS: &[Attribute] = &[
    DEPENDS_ON_ROW,
    ENVIRONMENT_ROW,
    ENV_FILE_ROW,
    HEALTHCHECK_ROW,
    RESTART_ROW,
    STOP_SIGNAL_ROW,
    STOP_GRACE_PERIOD_ROW,
    PROFILES_ROW,
    SCALE_ROW,
    DEPLOY_ROW,
    MEM_LIMIT_ROW,
    CPUS_ROW,
    PIDS_LIMIT_ROW,
    ULIMITS_ROW,
    OOM_SCORE_ADJ_ROW,
    USER_ROW,
    GROUP_ADD_ROW,
    TTY_ROW,
    STDIN_OPEN_ROW,
    LABELS_ROW,
    ANNOTATIONS_ROW,
    LOGGING_ROW,
    SECRETS_ROW,
    CONFIGS_ROW,
    POST_START_ROW,
    PRE_STOP_ROW,
    DEVELOP_ROW,
    EXTENDS_ROW,
    ATTACH_ROW,
    CAP_ADD_ROW,
    attribute("image", Shape::Text, "The image that it is made of."),
    attribute("build", Shape::Forms(&BUILD), "How its image is built."),
    attribute("command", Shape::Forms(&COMMAND), "Replaces the image's command.")
        .merged(Merge::Replace)
        .nullable()
        .shown(Empty::Always),
    attribute("entrypoint", Shape::Forms(&COMMAND), "Replaces the image's entry point.")
        .merged(Merge::Replace)
        .nullable()
        .shown(Empty::Always),
    attribute("working_dir", Shape::Text, "The directory inside that it starts in."),
    attribute("ports", Shape::Forms(&forms::CONTAINER_PORTS), "Ports of the host that lead to ports inside.")
        .unique(Identity::Port),
    attribute("blkio_config", Shape::Object(&super::objects::BLKIO), "Limits of reading and writing devices."),
    attribute("cap_drop", TEXTS, "Capabilities that it loses.").unique(Identity::Name),
    attribute("cgroup", Shape::Word(&["host", "private"]), "The control group's name space."),
    attribute("cgroup_parent", Shape::Text, "The control group above its own."),
    attribute("container_name", Shape::Checked(&CONTAINER_NAME), "A name of its own for the container."),
    attribute("cpu_count", Shape::Whole(0, i64::MAX), "Usable CPUs, on Windows."),
    attribute("cpu_percent", Shape::Whole(0, 100), "Usable share of the CPUs, on Windows."),
    attribute("cpu_shares", WHOLE, "Its weight among others when CPUs are short."),
    attribute("cpu_quota", WHOLE, "Microseconds of CPU for each period."),
    attribute("cpu_period", WHOLE, "The period of `cpu_quota` in microseconds."),
    attribute("cpu_rt_period", WHOLE, "The period of `cpu_rt_runtime` in microseconds."),
    attribute("cpu_rt_runtime", WHOLE, "Microseconds of real-time CPU for each period."),
    attribute("cpuset", Shape::Text, "The CPUs that it may use, such as `0-3`."),
    attribute("credential_spec", Shape::Object(&super::objects::CREDENTIAL_SPEC), "A managed service account, on Windows.")
        .without_effect(),
    attribute("device_cgroup_rules", TEXTS, "Rules for devices, as the kernel writes them.").unique(Identity::Text),
    attribute("devices", Shape::Forms(&forms::DEVICES), "Devices of the host that it may use.").unique(Identity::Target),
    attribute("dns", Shape::Forms(&ADDRESSES), "Name servers."),
    attribute("dns_opt", TEXTS, "Options of the resolver."),
    attribute("dns_search", Shape::Forms(&ONE_OR_MORE), "Domains that names are sought in."),
    attribute("domainname", Shape::Text, "Its domain's name."),
    attribute("expose", Shape::List(&Shape::Single), "Ports that other containers may use.").unique(Identity::Name),
    attribute("external_links", TEXTS, "Containers outside of the stack that it can name.").unique(Identity::Text),
    attribute("extra_hosts", Shape::Forms(&EXTRA_HOSTS), "Names with their addresses.").unique(Identity::Text),
    attribute("gpus", Shape::Forms(&GPUS), "Graphics processors that it may use."),
    attribute("hostname", Shape::Text, "Its host name."),
    attribute("init", Shape::Flag, "A small init that reaps what is left behind.").shown(Empty::Shown),
    attribute("ipc", Shape::Text, "Whose shared memory it sees: `host`, `shareable`, `service:NAME`."),
    attribute("isolation", Shape::Text, "How it is isolated, on Windows."),
    attribute("label_file", Shape::Forms(&PATHS), "Files of labels; `labels` beats them."),
    attribute("links", TEXTS, "Services that it can name, `service:alias`.").unique(Identity::Name),
    attribute("mac_address", Shape::Text, "The hardware address on its main network."),
    attribute("mem_reservation", Shape::Bytes, "Memory that is kept for it."),
    attribute("mem_swappiness", Shape::Bytes, "How willingly its memory is swapped out, 0 to 100."),
    attribute("memswap_limit", Shape::Bytes, "Memory and swap together; -1 is no limit."),
    attribute("models", Shape::Forms(&MODELS), "Language models that it uses."),
    attribute("network_mode", Shape::Text, "`host`, `none`, `bridge`, `service:NAME`, `container:NAME`."),
    attribute("networks", Shape::Forms(&NETWORKS), "Networks that it is in."),
    attribute("oom_kill_disable", Shape::Flag, "It is not ended when memory is short."),
    attribute("pid", Shape::Text, "Whose processes it sees: `host`, `service:NAME`.").nullable(),
    attribute("platform", Shape::Text, "`os/arch` that it is made for."),
    attribute("privileged", Shape::Flag, "All capabilities and devices."),
    attribute("provider", Shape::Object(&super::objects::PROVIDER), "A program that looks after this service instead."),
    attribute("pull_policy", Shape::Checked(&PULL_POLICY), "When its image is pulled."),
    attribute("pull_refresh_after", Shape::Text, "How old an image may be before it is pulled again.").without_effect(),
    attribute("read_only", Shape::Flag, "Its file system cannot be written."),
    attribute("runtime", Shape::Text, "The program that runs it, such as `runc`."),
    attribute("security_opt", TEXTS, "Security options.").unique(Identity::Text),
    attribute("shm_size", Shape::Bytes, "Size of `/dev/shm`."),
    attribute("storage_opt", Shape::Forms(&OPTIONS), "Options of the storage driver."),
    attribute("sysctls", Shape::Forms(&LABELS), "Parameters of the kernel."),
    attribute("tmpfs", Shape::Forms(&ONE_OR_MORE), "Directories in memory, `path:options`."),
    attribute("use_api_socket", Shape::Flag, "It may use the engine."),
    attribute("userns_mode", Shape::Text, "The user name space."),
    attribute("uts", Shape::Text, "The name space of host names."),
    attribute("volumes", Shape::Forms(&forms::VOLUMES), "What is mounted inside.").unique(Identity::Target),
    attribute("volumes_from", TEXTS, "Services and containers whose mounts it gets too.").unique(Identity::Text),
];

pub(super) const NETWORKS: Forms = Forms {
    wanted: "a list of networks or a mapping",
    short: &[TEXTS],
    rewrite: forms::names,
    long: &Shape::Named(&Shape::Object(&super::network::ATTACHMENT)),
};

const MODELS: Forms = Forms {
    wanted: "a list of models or a mapping",
    short: &[TEXTS],
    rewrite: forms::names,
    long: &Shape::Named(&Shape::Object(&super::objects::MODEL_GRANT)),
};

const GPUS: Forms = Forms {
    wanted: "`all`, or a list of mappings",
    short: &[Shape::Word(&["all"])],
    rewrite: forms::gpus,
    long: &Shape::List(&Shape::Object(&DEVICE_REQUEST)),
};

/// Why a container's attribute means nothing for a process, and what to use instead.
pub(in crate::load) const CONTAINER_ONLY_HELP: &[(&str, &str)] = &[
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
