//! Containers that run to their end: `jobs`, and `pre_start` of a service. Both have what a service has but for what means nothing
//! to them, so that their rows are a selection of a service's.

use super::service::{CONTAINER_ROWS, DEPENDS_ON_ROW};
use super::{Attribute, Forms, Honoured, Object, Shape, attribute, forms};

/// An attribute of services that neither has.
const OF_A_SERVICE: [&str; 12] = [
    "attach",
    "container_name",
    "deploy",
    "develop",
    "extends",
    "external_links",
    "links",
    "post_start",
    "pre_stop",
    "provider",
    "restart",
    "scale",
];

/// What a job has beside, and a hook before the start has not.
const OF_A_WORKLOAD: [&str; 8] = ["build", "depends_on", "expose", "healthcheck", "ports", "profiles", "stdin_open", "tty"];

/// The attributes of a hook that are its own business alone, as long as the rest is not honoured.
const OF_A_HOOK: [&str; 9] =
    ["command", "entrypoint", "environment", "image", "networks", "privileged", "user", "working_dir", "per_replica"];

/// A job.
pub(in crate::load) const JOB: Object = Object { what: "a job", attributes: &JOB_ROWS };

const JOB_ROWS: [Attribute; CONTAINER_ROWS.len() - OF_A_SERVICE.len() + 1] = {
    let mut rows = [DEPENDS_ON_ROW; CONTAINER_ROWS.len() - OF_A_SERVICE.len() + 1];
    let mut found = 0;
    let mut at = 0;
    while at < CONTAINER_ROWS.len() {
        if !names(&OF_A_SERVICE, CONTAINER_ROWS[at].name) {
            rows[found] = CONTAINER_ROWS[at];
            found += 1;
        }
        at += 1;
    }
    rows[found] = attribute("triggers", Shape::Object(&TRIGGERS), "What runs it.").required();
    rows
};

/// A container that has run before a service's own starts.
pub(in crate::load) const PRE_START: Object = Object { what: "a hook before the start", attributes: &PRE_START_ROWS };

const PRE_START_ROWS: [Attribute; CONTAINER_ROWS.len() - OF_A_SERVICE.len() - OF_A_WORKLOAD.len() + 1] = {
    let mut rows = [DEPENDS_ON_ROW; CONTAINER_ROWS.len() - OF_A_SERVICE.len() - OF_A_WORKLOAD.len() + 1];
    let mut found = 0;
    let mut at = 0;
    while at < CONTAINER_ROWS.len() {
        let row = CONTAINER_ROWS[at];
        if !names(&OF_A_SERVICE, row.name) && !names(&OF_A_WORKLOAD, row.name) {
            rows[found] = row;
            if !names(&OF_A_HOOK, row.name) {
                rows[found].honoured = Honoured::NotYet;
            }
            found += 1;
        }
        at += 1;
    }
    rows[found] = attribute("per_replica", Shape::Flag, "Once for each replica instead of once.");
    rows
};

const TRIGGERS: Object = Object {
    what: "`triggers`",
    attributes: &[
        attribute("manual", Shape::Flag, "Whether `run` may run it.").shown(super::Empty::Shown),
        attribute("schedule", Shape::List(&Shape::Forms(&SCHEDULE)), "The times at which it runs."),
    ],
};

const SCHEDULE: Forms = Forms {
    wanted: "a cron time, or a mapping with `cron`",
    short: &[Shape::Text],
    rewrite: forms::schedule,
    long: &Shape::Object(&SCHEDULE_ENTRY),
};

const SCHEDULE_ENTRY: Object = Object {
    what: "a schedule of a job",
    attributes: &[
        attribute("cron", Shape::Text, "The time, such as `0 3 * * *`.").required(),
        attribute("timezone", Shape::Text, "The time zone that it is meant in."),
        attribute("concurrency", Shape::Word(&["forbid", "queue"]), "What becomes of a run while another is under way."),
        attribute("missed_fires", Shape::Word(&["one", "skip"]), "What becomes of runs that were missed."),
    ],
};

/// Whether one of the names is this one; `==` is not for constants.
const fn names(names: &[&str], name: &str) -> bool {
    let mut at = 0;
    while at < names.len() {
        if is(names[at].as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn is(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}
