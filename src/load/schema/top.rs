//! The top of a stack file, and what stands there beside services and networks.

use super::job::JOB;
use super::network::{EXTERNAL, NETWORK};
use super::process::PROCESS;
use super::service::{CONTAINER, LABELS, ONE_OR_MORE, OPTIONS};
use super::{Attribute, Check, Empty, Forms, Identity, Object, Shape, TEXTS, WHOLE, attribute, forms};
use crate::model::requires;

/// Top-level keys of ours; each may be written with `x-`.
pub(in crate::load) const OWN_KEYS: [&str; 7] = ["processes", "ports", "requires", "generate", "images", "owns", "welcome"];

/// A stack file.
pub(in crate::load) const ROOT: Object = Object { what: "a stack file", attributes: ROWS };

const ROWS: &[Attribute] = &[
    attribute("version", Shape::Text, "Has no effect any more.").nullable(),
    attribute("name", Shape::Text, "The environment's name, unless one is given."),
    attribute("include", Shape::List(&Shape::Forms(&INCLUDE)), "Files that belong to the stack too."),
    attribute("services", Shape::Named(&Shape::Object(&CONTAINER)), "Containers."),
    attribute("networks", Shape::Named(&Shape::Object(&NETWORK)), "Networks.").nullable(),
    attribute("volumes", Shape::Named(&Shape::Object(&VOLUME)), "Volumes.").nullable(),
    attribute("secrets", Shape::Named(&Shape::Object(&SECRET)), "Secrets.").nullable(),
    attribute("configs", Shape::Named(&Shape::Object(&CONFIG)), "Configs.").nullable(),
    attribute("models", Shape::Named(&Shape::Object(&MODEL)), "Language models.").nullable(),
    attribute("jobs", Shape::Named(&Shape::Object(&JOB)), "Containers that run to their end when they are asked to."),
    attribute("processes", Shape::Named(&Shape::Object(&PROCESS)), "Native processes (ours).").nullable(),
    attribute("ports", Shape::Named(&Shape::Forms(&NAMED_PORT)), "Named ports with the numbers that they prefer (ours).")
        .nullable(),
    attribute("requires", Shape::List(&Shape::Forms(&REQUIREMENT)), "What the host must have (ours)."),
    attribute("generate", Shape::Named(&Shape::Forms(&GENERATED)), "Random values, made once for each environment (ours).")
        .nullable(),
    attribute("images", TEXTS, "Images that are pulled beside the start (ours).").unique(Identity::Text),
    attribute("owns", Shape::List(&Shape::Object(&OWNED)), "What services make, and `down` takes along (ours)."),
    attribute("welcome", Shape::Text, "Printed when the stack is up (ours)."),
];

const INCLUDE: Forms = Forms {
    wanted: "a path, or a mapping with `path`",
    short: &[Shape::Text],
    rewrite: forms::include,
    long: &Shape::Object(&INCLUDE_ENTRY),
};

const INCLUDE_ENTRY: Object = Object {
    what: "an entry of `include`",
    attributes: &[
        attribute("path", Shape::Forms(&ONE_OR_MORE), "The file, or several that are merged.").required(),
        attribute("env_file", Shape::Forms(&ONE_OR_MORE), "Its files of variables."),
        attribute("project_directory", Shape::Text, "What its relative paths are relative to."),
    ],
};

const VOLUME: Object = Object {
    what: "a volume",
    attributes: &[
        attribute("name", Shape::Text, "Its name in the engine."),
        attribute("driver", Shape::Text, "The engine's driver."),
        attribute("driver_opts", Shape::Forms(&OPTIONS), "The driver's options."),
        attribute("external", Shape::Forms(&EXTERNAL), "Made by somebody else: it must be there, and stays."),
        attribute("labels", Shape::Forms(&LABELS), "Labels."),
    ],
};

const NAME: Attribute = attribute("name", Shape::Text, "Its name in a cluster.");
const FILE: Attribute = attribute("file", Shape::Path, "A file of this host that holds it.");
const ENVIRONMENT: Attribute = attribute("environment", Shape::Text, "A variable that holds it.");
const EXTERNAL_ROW: Attribute = attribute("external", Shape::Forms(&EXTERNAL), "Made by somebody else.");
const LABELS_ROW: Attribute = attribute("labels", Shape::Forms(&LABELS), "Labels.");
const TEMPLATE_DRIVER: Attribute =
    attribute("template_driver", Shape::Text, "A cluster's driver for templates.").without_effect();

const SECRET: Object = Object {
    what: "a secret",
    attributes: &[
        NAME,
        FILE,
        ENVIRONMENT,
        EXTERNAL_ROW,
        LABELS_ROW,
        attribute("driver", Shape::Text, "A cluster's driver for secrets."),
        attribute("driver_opts", Shape::Forms(&OPTIONS), "The driver's options."),
        TEMPLATE_DRIVER,
    ],
};

const CONFIG: Object = Object {
    what: "a config",
    attributes: &[
        NAME,
        FILE,
        ENVIRONMENT,
        attribute("content", Shape::Text, "The text itself.").shown(Empty::Shown),
        attribute("template", Shape::Path, "A file of this host whose `${…}` are filled in (ours)."),
        EXTERNAL_ROW,
        LABELS_ROW,
        TEMPLATE_DRIVER,
    ],
};

const MODEL: Object = Object {
    what: "a model",
    attributes: &[
        attribute("name", Shape::Text, "Its name."),
        attribute("model", Shape::Text, "What is run.").required(),
        attribute("context_size", WHOLE, "Tokens of context."),
        attribute("runtime_flags", TEXTS, "Options of the program that runs it."),
    ],
};

const NAMED_PORT: Forms = Forms {
    wanted: "a port or a range of ports",
    short: &[Shape::Whole(1, 65535), Shape::Text],
    rewrite: forms::named_port,
    long: &Shape::Object(&NAMED_PORT_ENTRY),
};

const NAMED_PORT_ENTRY: Object = Object {
    what: "a named port",
    attributes: &[
        attribute("first", Shape::Whole(1, 65535), "The first port.").required(),
        attribute("last", Shape::Whole(1, 65535), "The last port.").required(),
        attribute("range", Shape::Flag, "Whether it is a range.").required().shown(Empty::Shown),
    ],
};

const REQUIREMENT: Forms = Forms {
    wanted: "a mapping such as `{tool: git}`",
    short: &[Shape::Object(&REQUIREMENT_SHORT)],
    rewrite: forms::requirement,
    long: &Shape::Object(&REQUIREMENT_ENTRY),
};

const LOCALE: Attribute = attribute("locale", Shape::Text, "The locale's encoding, such as `UTF-8`.");
const DOCKER: Attribute = attribute("docker", Shape::Checked(&VERSIONS), "A Docker Engine, of a version such as `>=20.10`.");
const REQUIRED_FILE: Attribute = attribute("file", Shape::Path, "A file.");
const OPEN_FILES: Attribute = attribute("open_files", Shape::Whole(0, i64::MAX), "So many open files.");
const REQUIRED_COMMAND: Attribute = attribute("command", Shape::Text, "A command that ends with 0.");
const HINT: Attribute = attribute("hint", Shape::Text, "Said when it is missing.");

const PROGRAM: Check = Check { pattern: ".", wanted: "a program's name", accepts: |text| !text.is_empty() };

const VERSIONS: Check = Check {
    pattern: r"^\s*(([<>]=?|[!=]?=)?\s*v?[0-9]+(\.[0-9]+)*\s*(,\s*|$))*$",
    wanted: "a comma list of comparisons such as `>=3.11,<3.12`",
    accepts: |text| requires::comparisons(text).is_ok(),
};

const REQUIREMENT_SHORT: Object = Object {
    what: "a requirement",
    attributes: &[
        LOCALE,
        attribute("tool", Shape::Checked(&PROGRAM), "A program."),
        attribute("version", Shape::Checked(&VERSIONS), "The tool's version, such as `>=3.11`."),
        DOCKER,
        REQUIRED_FILE,
        OPEN_FILES,
        REQUIRED_COMMAND,
        HINT,
    ],
};

const REQUIREMENT_ENTRY: Object = Object {
    what: "a requirement",
    attributes: &[
        LOCALE,
        attribute("tool", Shape::Object(&TOOL), "A program."),
        DOCKER,
        REQUIRED_FILE,
        OPEN_FILES,
        REQUIRED_COMMAND,
        HINT,
    ],
};

const TOOL: Object = Object {
    what: "a tool",
    attributes: &[
        attribute("name", Shape::Checked(&PROGRAM), "The program's name.").required(),
        attribute("version", Shape::Checked(&VERSIONS), "Its version, such as `>=3.11`."),
    ],
};

const GENERATED: Forms = Forms {
    wanted: "`uuid`, or a mapping such as `{hex: 32}`",
    short: &[Shape::Word(&["uuid"])],
    rewrite: forms::leave,
    long: &Shape::Object(&GENERATED_ENTRY),
};

const GENERATED_ENTRY: Object = Object {
    what: "a generated value",
    attributes: &[
        attribute("hex", Shape::Whole(1, 65536), "So many random bytes, in hexadecimal."),
        attribute("base64", Shape::Whole(1, 65536), "So many random bytes, in base64."),
        attribute("alnum", Shape::Whole(1, 65536), "So many letters and digits."),
    ],
};

const OWNED: Object = Object {
    what: "an entry of `owns`",
    attributes: &[
        attribute("containers", Shape::Object(&OWNED_BY), "Containers."),
        attribute("volumes", Shape::Object(&OWNED_BY), "Volumes."),
        attribute("networks", Shape::Object(&OWNED_BY), "Networks."),
        attribute("images", Shape::Object(&OWNED_BY), "Images."),
        attribute("paths", Shape::Path, "Files and directories, a glob."),
    ],
};

const OWNED_BY: Object = Object {
    what: "a way to know what is owned",
    attributes: &[
        attribute("label", Shape::Text, "A label, `key=value`."),
        attribute("name", Shape::Text, "A name, a glob."),
        attribute("mounts", Shape::Text, "Containers that mount something below this path."),
    ],
};
