//! Mappings that services hold: dependencies, health checks, logging, limits, grants, and the rarer ones.

use super::service::{COMMAND, OPTIONS};
use super::{Attribute, Empty, Forms, Identity, Merge, Object, Shape, TEXTS, WHOLE, attribute, forms};

pub(super) const DEPENDENCY: Object = Object {
    what: "a dependency",
    attributes: &[
        attribute(
            "condition",
            Shape::Word(&["service_started", "service_healthy", "service_completed_successfully"]),
            "How far it has to be.",
        )
        .required(),
        attribute("restart", Shape::Flag, "This restarts when the dependency is restarted or made anew."),
        attribute("required", Shape::Flag, "Whether this cannot do without it; true when absent.").shown(Empty::Shown),
    ],
};

const TEST: Attribute = attribute("test", Shape::Forms(&TEST_FORMS), "A command that succeeds when it works.")
    .merged(Merge::Replace)
    .shown(Empty::Omitted);

const TEST_FORMS: Forms =
    Forms { wanted: "a text or a list of texts", short: &[Shape::Text], rewrite: forms::test, long: &TEXTS };

const HTTP_FORMS: Forms =
    Forms { wanted: "a URL, or a mapping with `url`", short: &[Shape::Text], rewrite: forms::http, long: &Shape::Object(&HTTP) };

const STATUS_FORMS: Forms = Forms {
    wanted: "a status, or a list of them",
    short: &[WHOLE],
    rewrite: forms::any_to_list,
    long: &Shape::List(&Shape::Whole(100, 599)),
};

const HTTP: Object = Object {
    what: "an HTTP probe",
    attributes: &[
        attribute("url", Shape::Text, "The address that must answer.").required(),
        attribute("method", Shape::Text, "`GET` when absent."),
        attribute("headers", Shape::Forms(&OPTIONS), "Headers that are sent."),
        attribute("status", Shape::Forms(&STATUS_FORMS), "Statuses that are healthy; 200 to 399 when absent."),
        attribute("body", Shape::Text, "A regular expression that the body must match."),
    ],
};

const GRPC_FORMS: Forms = Forms {
    wanted: "`host:port`, or a mapping with `address`",
    short: &[Shape::Text],
    rewrite: forms::grpc,
    long: &Shape::Object(&GRPC),
};

const GRPC: Object = Object {
    what: "a gRPC probe",
    attributes: &[
        attribute("address", Shape::Text, "`host:port` of the server.").required(),
        attribute("service", Shape::Text, "The service that is asked about; the whole server when absent."),
        attribute("tls", Shape::Flag, "Over TLS; the certificate is not verified, as with `http`."),
    ],
};

pub(super) const HEALTHCHECK: Object = Object {
    what: "a health check",
    attributes: &[
        TEST,
        attribute("interval", Shape::Duration, "Between probes; 30s when absent.").shown(Empty::Shown),
        attribute("timeout", Shape::Duration, "How long one probe may take; 30s when absent.").shown(Empty::Shown),
        attribute("retries", Shape::Whole(0, i64::MAX), "Failures in a row that make unhealthy; 3 when absent.")
            .shown(Empty::Shown),
        attribute("start_period", Shape::Duration, "Failures do not count for so long after the start.").shown(Empty::Shown),
        attribute("start_interval", Shape::Duration, "Between probes during the start period.").shown(Empty::Shown),
        attribute("disable", Shape::Flag, "No probing, whatever the image says."),
        attribute("http", Shape::Forms(&HTTP_FORMS), "An address that must answer (ours)."),
        attribute("tcp", Shape::Text, "`host:port` that must accept a connection (ours)."),
        attribute("log", Shape::Text, "A regular expression that a line of its log must match (ours)."),
        attribute("file", Shape::Path, "A path that must exist (ours)."),
        attribute("grpc", Shape::Forms(&GRPC_FORMS), "A server that must say that it is serving (ours)."),
    ],
};

pub(super) const LOGGING: Object = Object {
    what: "`logging`",
    attributes: &[
        attribute("driver", Shape::Text, "The engine's driver."),
        attribute("options", Shape::Forms(&OPTIONS), "The driver's options, such as `max-size` and `max-file`."),
    ],
};

pub(super) const ULIMIT: Object = Object {
    what: "a limit",
    attributes: &[
        attribute("soft", WHOLE, "The limit in force.").required(),
        attribute("hard", WHOLE, "How far the service may raise it.").required(),
    ],
};

pub(super) const GRANT: Object = Object {
    what: "a grant of a config or secret",
    attributes: &[
        attribute("source", Shape::Text, "Its name at the top."),
        attribute("target", Shape::Text, "The path of the file."),
        attribute("uid", Shape::Text, "The owner of the file."),
        attribute("gid", Shape::Text, "The group of the file."),
        attribute("mode", Shape::Forms(&MODE), "The mode of the file, such as `0440`."),
    ],
};

/// A mode: digits to the base of eight, with or without quotes.
const MODE: Forms = Forms { wanted: "a mode such as `0440`", short: &[WHOLE], rewrite: forms::mode, long: &Shape::Text };

pub(super) const CREDENTIAL_SPEC: Object = Object {
    what: "`credential_spec`",
    attributes: &[
        attribute("config", Shape::Text, "A config that holds it."),
        attribute("file", Shape::Text, "A file that holds it."),
        attribute("registry", Shape::Text, "A value of the Windows registry that holds it."),
    ],
};

/// What fits into the engine's field; what it makes of it is its own affair.
const WEIGHT: Shape = Shape::Whole(0, 65535);

const LIMITED: Shape = Shape::List(&Shape::Object(&BLKIO_LIMIT));

pub(super) const BLKIO: Object = Object {
    what: "`blkio_config`",
    attributes: &[
        attribute("weight", WEIGHT, "Its weight among others, 10 to 1000."),
        attribute("weight_device", Shape::List(&Shape::Object(&BLKIO_WEIGHT)), "Its weight for single devices."),
        attribute("device_read_bps", LIMITED, "Bytes read in a second."),
        attribute("device_read_iops", LIMITED, "Reads in a second."),
        attribute("device_write_bps", LIMITED, "Bytes written in a second."),
        attribute("device_write_iops", LIMITED, "Writes in a second."),
    ],
};

const BLKIO_LIMIT: Object = Object {
    what: "a limit of a device",
    attributes: &[attribute("path", Shape::Text, "The device."), attribute("rate", Shape::Bytes, "So many in a second.")],
};

const BLKIO_WEIGHT: Object = Object {
    what: "a weight of a device",
    attributes: &[attribute("path", Shape::Text, "The device."), attribute("weight", WEIGHT, "The weight, 10 to 1000.")],
};

pub(super) const PROVIDER: Object = Object {
    what: "a provider",
    attributes: &[
        attribute("type", Shape::Text, "The program.").required(),
        attribute("options", Shape::Map(&Shape::Forms(&PROVIDER_OPTION)), "Its options."),
    ],
};

const PROVIDER_OPTION: Forms = Forms {
    wanted: "a single value or a list of them",
    short: &[Shape::Single],
    rewrite: forms::any_to_list,
    long: &Shape::List(&Shape::Single),
};

pub(super) const MODEL_GRANT: Object = Object {
    what: "the use of a model",
    attributes: &[
        attribute("endpoint_var", Shape::Text, "The variable that gets the model's address."),
        attribute("model_var", Shape::Text, "The variable that gets the model's name."),
    ],
};

/// A command of a hook.
pub(super) const HOOK_COMMAND: Attribute =
    attribute("command", Shape::Forms(&COMMAND), "Program and arguments.").merged(Merge::Replace).shown(Empty::Always);

/// The identity of a list of texts that is no more than a set.
pub(super) const SET: Merge = Merge::Unique(Identity::Name);
