//! `processes.*` (ours): what a native process may have.

use super::service::{self, COMMAND, PATHS};
use super::{Attribute, Empty, Forms, Identity, Merge, Object, Shape, TEXTS, attribute, forms};

/// A native process.
pub(in crate::load) const PROCESS: Object = Object { what: "a process", attributes: ROWS };

/// A text for the shell or for splitting, which stays one; or words.
const TEXT_OR_WORDS: Forms =
    Forms { wanted: "a text or a list of texts", short: &[Shape::Text], rewrite: forms::leave, long: &TEXTS };

const INHERIT: Forms =
    Forms { wanted: "`true`, `false` or a list of names", short: &[Shape::Flag], rewrite: forms::leave, long: &TEXTS };

const RESTART_ON: Object =
    Object { what: "an entry of `restart_on`", attributes: &[attribute("image_pulled", Shape::Text, "An image, a glob.")] };

const ROWS: &[Attribute] = &[
    service::DEPENDS_ON_ROW,
    service::ENVIRONMENT_ROW,
    service::ENV_FILE_ROW,
    service::HEALTHCHECK_ROW,
    service::RESTART_ROW,
    service::STOP_SIGNAL_ROW,
    service::STOP_GRACE_PERIOD_ROW,
    service::PROFILES_ROW,
    service::SCALE_ROW,
    service::DEPLOY_ROW,
    service::MEM_LIMIT_ROW,
    service::CPUS_ROW,
    service::PIDS_LIMIT_ROW,
    service::ULIMITS_ROW,
    service::OOM_SCORE_ADJ_ROW,
    service::USER_ROW,
    service::GROUP_ADD_ROW,
    service::TTY_ROW,
    service::STDIN_OPEN_ROW,
    service::LABELS_ROW,
    service::ANNOTATIONS_ROW,
    service::LOGGING_ROW,
    service::SECRETS_ROW,
    service::CONFIGS_ROW,
    service::POST_START_ROW,
    service::PRE_STOP_ROW,
    service::DEVELOP_ROW,
    service::EXTENDS_ROW,
    service::ATTACH_ROW,
    service::CAP_ADD_ROW,
    attribute("command", Shape::Forms(&TEXT_OR_WORDS), "What is run: words, or a text for the shell.").merged(Merge::Replace),
    attribute("entrypoint", Shape::Forms(&COMMAND), "Words before `command`.").merged(Merge::Replace),
    attribute("working_dir", Shape::Path, "The directory that it starts in; the stack's when absent."),
    attribute("ports", Shape::Forms(&forms::PROCESS_PORTS), "What it listens on.").unique(Identity::Port),
    attribute("inputs", Shape::Forms(&PATHS), "Files that a task reads."),
    attribute("outputs", Shape::Forms(&PATHS), "Files that a task makes."),
    attribute("check", Shape::Forms(&TEXT_OR_WORDS), "A task's proof: it is up to date when this succeeds.")
        .merged(Merge::Replace),
    attribute("path", Shape::Forms(&PATHS), "Directories before its `PATH`."),
    attribute("scratch", Shape::Forms(&PATHS), "Directories that are made before the start."),
    attribute("start_timeout", Shape::Duration, "Not ready by then is a failed start.").shown(Empty::Shown),
    attribute("on_unhealthy", Shape::Word(&["none", "restart"]), "What an unhealthy verdict causes."),
    attribute("restart_on", Shape::List(&Shape::Object(&RESTART_ON)), "Things outside that restart it."),
    attribute("inherit_env", Shape::Forms(&INHERIT), "What it inherits of your environment.").shown(Empty::Shown),
    attribute("shell", TEXTS, "Another shell than `/bin/sh -c`.").merged(Merge::Replace),
    attribute("keep", Shape::Forms(&service::ONE_OR_MORE), "Names of programs that may outlive it."),
    attribute("sockets", Shape::List(&Shape::Object(&SOCKET)), "Listening sockets that outlive restarts.")
        .unique(Identity::Address),
    attribute("proxy", Shape::Flag, "Its port is held for it, and forwarded to the `$PORT` of each life."),
    attribute("reload", Shape::Word(&["stop-first", "start-first"]), "Which life comes first on a restart by a file change."),
    attribute("schedule", Shape::Object(&SCHEDULE), "When a task runs."),
    attribute("isolation", Shape::Word(&["none", "pid"]), "A name space of its own for its processes."),
];

const SOCKET: Object = Object {
    what: "a socket",
    attributes: &[
        attribute("name", Shape::Text, "Its name in `LISTEN_FDNAMES`."),
        attribute("tcp", Shape::Text, "An address, `127.0.0.1:8080`."),
        attribute("unix", Shape::Path, "A path."),
        attribute("backlog", Shape::Whole(0, i64::MAX), "How many may wait."),
    ],
};

const SCHEDULE: Object = Object {
    what: "a schedule",
    attributes: &[
        attribute("cron", Shape::Text, "Five fields, as cron has them."),
        attribute("every", Shape::Duration, "Between two runs."),
        attribute("overlap", Shape::Word(&["skip", "queue", "kill"]), "What is done when the last run goes on."),
    ],
};
