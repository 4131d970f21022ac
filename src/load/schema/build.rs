//! `services.*.build`.

use super::objects::SET;
use super::service::{ENVIRONMENT, EXTRA_HOSTS, GRANTS, LABELS, ONE_OR_MORE, ULIMITS};
use super::{Empty, Forms, Merge, Object, Shape, TEXTS, attribute, forms};

/// `.` or `{context: .}`.
pub(super) const BUILD: Forms = Forms {
    wanted: "a directory, or a mapping",
    short: &[Shape::PathOrUrl],
    rewrite: forms::build,
    long: &Shape::Object(&BUILD_ENTRY),
};

const SSH: Forms = Forms {
    wanted: "`default`, a list of `ID=PATH`, or a mapping",
    short: &[Shape::Text, Shape::Map(&Shape::SingleOrNull)],
    rewrite: forms::ssh,
    long: &TEXTS,
};

const CONTEXTS: Forms = Forms {
    wanted: "a mapping or a list of `NAME=PLACE`",
    short: &[TEXTS],
    rewrite: forms::text_pairs,
    long: &Shape::Map(&Shape::PathOrUrl),
};

const BUILD_ENTRY: Object = Object {
    what: "`build`",
    attributes: &[
        attribute("context", Shape::PathOrUrl, "The directory or repository that the image is built from."),
        attribute("dockerfile", Shape::Text, "Seen from the context; `Dockerfile` when absent."),
        attribute("dockerfile_inline", Shape::Text, "The Dockerfile's text."),
        attribute("args", Shape::Forms(&ENVIRONMENT), "Arguments of the build; a name alone takes the value that you have.")
            .merged(Merge::NullCounts),
        attribute("target", Shape::Text, "The stage that is built."),
        attribute("cache_from", TEXTS, "Images and places that layers are taken from."),
        attribute("cache_to", TEXTS, "Places that layers are left in."),
        attribute("labels", Shape::Forms(&LABELS), "Labels of the image."),
        attribute("tags", TEXTS, "Further names of the image.").merged(SET),
        attribute("network", Shape::Text, "The network that is there while it is built."),
        attribute("no_cache", Shape::Flag, "Builds every layer anew."),
        attribute("no_cache_filter", Shape::Forms(&ONE_OR_MORE), "Stages that are built anew."),
        attribute("pull", Shape::Flag, "Pulls the images that it begins with."),
        attribute("extra_hosts", Shape::Forms(&EXTRA_HOSTS), "Names with their addresses."),
        attribute("shm_size", Shape::Bytes, "Size of `/dev/shm` while it is built."),
        attribute("platforms", TEXTS, "`os/arch` that it is built for."),
        attribute("additional_contexts", Shape::Forms(&CONTEXTS), "Further directories, images and services to copy from."),
        attribute("entitlements", TEXTS, "What the build may do beyond the usual."),
        attribute("isolation", Shape::Text, "How it is isolated, on Windows."),
        attribute("privileged", Shape::Flag, "Builds with all capabilities."),
        attribute("provenance", Shape::Single, "Adds a record of how it was built."),
        attribute("sbom", Shape::Single, "Adds a record of what it contains."),
        attribute("secrets", Shape::Forms(&GRANTS), "Secrets that the build may read."),
        attribute("ssh", Shape::Forms(&SSH), "Keys and agents that the build may use."),
        attribute("ulimits", ULIMITS, "Limits of the kernel while it is built.").shown(Empty::Omitted),
    ],
};
