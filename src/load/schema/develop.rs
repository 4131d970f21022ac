//! `develop`, and the hooks whose shape its `exec` shares.

use super::objects::HOOK_COMMAND;
use super::service::{ENVIRONMENT, ONE_OR_MORE};
use super::{Attribute, Empty, Merge, Object, Shape, attribute};

pub(super) const DEVELOP: Object = Object {
    what: "`develop`",
    attributes: &[attribute("watch", Shape::List(&Shape::Object(&WATCH)), "What is watched, and what a change causes.")],
};

const WATCH: Object = Object {
    what: "an entry of `watch`",
    attributes: &[
        attribute("path", Shape::Path, "A file or directory.").required(),
        attribute("action", Shape::Word(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]), "What a change causes.")
            .required(),
        attribute("target", Shape::Text, "Where `sync` puts the files."),
        attribute("ignore", Shape::Forms(&ONE_OR_MORE), "Patterns of what does not count."),
        attribute("include", Shape::Forms(&ONE_OR_MORE), "Patterns of what alone counts."),
        attribute("exec", Shape::Object(&HOOK_OPTIONAL), "The command of `sync+exec`.").shown(Empty::Always),
        attribute("initial_sync", Shape::Flag, "Copies everything when the watch begins."),
        attribute("ignore_defaults", Shape::Flag, "Whether the built-in rules and `.gitignore` apply (ours).")
            .shown(Empty::Shown),
    ],
};

const USER: Attribute = attribute("user", Shape::Text, "Another user than the service's.");
const PRIVILEGED: Attribute = attribute("privileged", Shape::Flag, "With all capabilities.");
const WORKING_DIR: Attribute = attribute("working_dir", Shape::Text, "Another directory than the service's.");
const HOOK_ENVIRONMENT: Attribute =
    attribute("environment", Shape::Forms(&ENVIRONMENT), "Variables on top of the service's.").merged(Merge::NullCounts);

const HOOK_OPTIONAL: Object =
    Object { what: "a hook", attributes: &[HOOK_COMMAND.nullable(), USER, PRIVILEGED, WORKING_DIR, HOOK_ENVIRONMENT] };

pub(super) const HOOK: Object =
    Object { what: "a hook", attributes: &[HOOK_COMMAND.required(), USER, PRIVILEGED, WORKING_DIR, HOOK_ENVIRONMENT] };
