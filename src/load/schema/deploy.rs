//! `services.*.deploy`. What only clusters read is kept and printed, as Compose does, and has no effect here.

use super::service::LABELS;
use super::{Empty, Forms, Object, Shape, TEXTS, WHOLE, attribute, forms};

pub(super) const DEPLOY: Object = Object {
    what: "`deploy`",
    attributes: &[
        attribute("replicas", Shape::Whole(0, i64::MAX), "How many of it run.").shown(Empty::Shown),
        attribute("resources", Shape::Object(&RESOURCES), "What it may use, and what is kept for it.").shown(Empty::Always),
        attribute("restart_policy", Shape::Object(&RESTART_POLICY), "When it is started again; beats `restart`."),
        attribute("labels", Shape::Forms(&LABELS), "Labels of the service in a cluster.").without_effect(),
        attribute("mode", Shape::Text, "How a cluster spreads it.").without_effect(),
        attribute("endpoint_mode", Shape::Text, "How a cluster reaches it.").without_effect(),
        attribute("placement", Shape::Object(&PLACEMENT), "Where a cluster runs it.").without_effect().shown(Empty::Always),
        attribute("update_config", Shape::Object(&UPDATE), "How a cluster updates it.").without_effect(),
        attribute("rollback_config", Shape::Object(&UPDATE), "How a cluster takes an update back.").without_effect(),
    ],
};

const RESOURCES: Object = Object {
    what: "`resources`",
    attributes: &[
        attribute("limits", Shape::Object(&LIMITS), "The most that it may use."),
        attribute("reservations", Shape::Object(&RESERVATIONS), "What is kept for it."),
    ],
};

const LIMITS: Object = Object {
    what: "`limits`",
    attributes: &[
        attribute("cpus", Shape::Number, "CPUs, also fractions."),
        attribute("memory", Shape::Bytes, "Memory, such as `512m`."),
        attribute("pids", WHOLE, "Processes."),
    ],
};

const RESERVATIONS: Object = Object {
    what: "`reservations`",
    attributes: &[
        attribute("cpus", Shape::Number, "CPUs, in a cluster.").without_effect(),
        attribute("memory", Shape::Bytes, "Memory, such as `64m`."),
        attribute("devices", Shape::Forms(&DEVICES), "Devices such as graphics processors."),
        attribute("generic_resources", Shape::List(&Shape::Object(&GENERIC)), "Resources of a cluster's own.").without_effect(),
    ],
};

/// An entry that says neither how many nor which means all.
const DEVICES: Forms = Forms {
    wanted: "a list of mappings",
    short: &[],
    rewrite: forms::requests,
    long: &Shape::List(&Shape::Object(&DEVICE_REQUEST)),
};

const GENERIC: Object = Object {
    what: "a generic resource",
    attributes: &[attribute("discrete_resource_spec", Shape::Object(&DISCRETE), "A kind that is counted.")],
};

const DISCRETE: Object = Object {
    what: "a counted resource",
    attributes: &[attribute("kind", Shape::Text, "Its name."), attribute("value", WHOLE, "How many.").shown(Empty::Shown)],
};

pub(super) const DEVICE_REQUEST: Object = Object {
    what: "a request for devices",
    attributes: &[
        attribute("capabilities", TEXTS, "What they have to be able to do."),
        attribute("count", Shape::Forms(&COUNT), "How many, or `all`."),
        attribute("device_ids", TEXTS, "Which ones."),
        attribute("driver", Shape::Text, "Their driver."),
        attribute("options", Shape::Forms(&LABELS), "The driver's options."),
    ],
};

const COUNT: Forms =
    Forms { wanted: "a whole number or `all`", short: &[Shape::Word(&["all"])], rewrite: forms::count, long: &WHOLE };

const RESTART_POLICY: Object = Object {
    what: "`restart_policy`",
    attributes: &[
        attribute("condition", Shape::Text, "`none`, `on-failure` or `any`."),
        attribute("delay", Shape::Duration, "Before it is started again, in a cluster.").without_effect().shown(Empty::Shown),
        attribute("max_attempts", Shape::Whole(0, i64::MAX), "How often.").shown(Empty::Shown),
        attribute("window", Shape::Duration, "How long it must run to have started, in a cluster.")
            .without_effect()
            .shown(Empty::Shown),
    ],
};

const PLACEMENT: Object = Object {
    what: "`placement`",
    attributes: &[
        attribute("constraints", TEXTS, "Conditions that a node has to meet."),
        attribute("preferences", Shape::List(&Shape::Object(&PREFERENCE)), "How it is spread."),
        attribute("max_replicas_per_node", Shape::Whole(0, i64::MAX), "The most on one node."),
    ],
};

const PREFERENCE: Object =
    Object { what: "a preference", attributes: &[attribute("spread", Shape::Text, "A label whose values it is spread over.")] };

const UPDATE: Object = Object {
    what: "the rules of an update",
    attributes: &[
        attribute("parallelism", Shape::Whole(0, i64::MAX), "How many at a time.").shown(Empty::Shown),
        attribute("delay", Shape::Duration, "Between one group and the next."),
        attribute("failure_action", Shape::Text, "What a failure causes."),
        attribute("monitor", Shape::Duration, "How long a new one is watched."),
        attribute("max_failure_ratio", Shape::Number, "The share of failures that is borne."),
        attribute("order", Shape::Word(&["start-first", "stop-first"]), "Which comes first."),
    ],
};
