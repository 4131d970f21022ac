//! Short forms → long forms, so that every later phase knows one shape.
//!
//! A const table of path pattern → function. What a function makes has the span of what it was made from, and a tag stays on
//! the node it was on.

use super::short;
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::Span;
use crate::yaml::node::{Kind, Mapping, Node, Scalar, Value};
use crate::yaml::path::{Path, Pattern};

type Rewrite = fn(&Path, &mut Node, &mut Diagnostics);

/// In this order: an outer form before what is inside of it.
const TABLE: &[(&str, Rewrite)] = &[
    ("build", build),
    ("build.args", list_to_map),
    ("build.labels", list_to_text_map),
    ("build.cache_from", one_to_list),
    ("build.extra_hosts", short::extra_hosts),
    ("environment", list_to_map),
    ("labels", list_to_text_map),
    ("annotations", list_to_text_map),
    ("sysctls", list_to_text_map),
    ("env_file", short::env_file),
    ("label_file", one_to_list),
    ("depends_on", short::depends_on),
    ("ports", short::ports),
    ("volumes", short::volumes),
    ("devices", short::devices),
    ("networks", names_to_map),
    ("extra_hosts", short::extra_hosts),
    ("dns", one_to_list),
    ("dns_search", one_to_list),
    ("tmpfs", one_to_list),
    ("secrets", short::grants),
    ("configs", short::grants),
    ("ulimits.*", short::ulimit),
    ("healthcheck.test", short::test),
    ("healthcheck.http", short::http),
    ("logging.options", texts),
    ("develop.watch[].ignore", one_to_list),
    ("develop.watch[].include", one_to_list),
    ("post_start[].command", short::words),
    ("pre_stop[].command", short::words),
    ("post_start[].environment", list_to_map),
    ("pre_stop[].environment", list_to_map),
    ("group_add", texts),
    ("expose", texts),
    ("healthcheck.disable", boolean),
    ("tty", boolean),
    ("stdin_open", boolean),
    ("privileged", boolean),
    ("read_only", boolean),
    ("init", boolean),
    ("attach", boolean),
    ("scale", number),
    ("deploy.replicas", number),
    ("deploy.resources.limits.pids", number),
    ("healthcheck.retries", number),
    ("cpus", number),
    ("deploy.resources.limits.cpus", number),
    ("cpu_shares", number),
    ("pids_limit", number),
    ("oom_score_adj", number),
];

const SERVICES: &[(Pattern, Rewrite)] = &[
    (Pattern::new("services.*.command"), short::words),
    (Pattern::new("services.*.entrypoint"), short::words),
    (Pattern::new("processes.*.inputs"), one_to_list),
    (Pattern::new("processes.*.outputs"), one_to_list),
    (Pattern::new("processes.*.path"), one_to_list),
    (Pattern::new("processes.*.scratch"), one_to_list),
    (Pattern::new("processes.*.keep"), one_to_list),
    (Pattern::new("processes.*.sockets[].backlog"), number),
    (Pattern::new("networks.*.labels"), list_to_text_map),
    (Pattern::new("networks.*.driver_opts"), texts),
    (Pattern::new("networks.*.external"), short::external),
    (Pattern::new("volumes.*.labels"), list_to_text_map),
    (Pattern::new("volumes.*.driver_opts"), texts),
    (Pattern::new("volumes.*.external"), short::external),
    (Pattern::new("secrets.*.external"), short::external),
    (Pattern::new("configs.*.external"), short::external),
    (Pattern::new("ports.*"), short::named_port),
    (Pattern::new("requires[]"), short::requirement),
];

/// Rewrites a whole file's tree.
pub(super) fn canonical(root: &mut Node, diagnostics: &mut Diagnostics) {
    for section in ["services", "processes"] {
        let Some(Value::Mapping(services)) =
            root.as_mapping_mut().and_then(|root| root.get_mut(section)).map(|node| &mut node.value)
        else {
            continue;
        };
        for (name, entry) in services.iter_mut() {
            let base = Path::root().key(section).key(name);
            for (pattern, rewrite) in TABLE {
                rewrite_at(&base, pattern, &mut entry.node, *rewrite, diagnostics);
            }
        }
    }
    for (pattern, rewrite) in SERVICES {
        pattern.for_each_mut(root, |path, node| rewrite(path, node, diagnostics));
    }
}

/// Applies a rewrite below a service. The table's texts are constants, so each is a pattern.
fn rewrite_at(base: &Path, pattern: &'static str, service: &mut Node, rewrite: Rewrite, diagnostics: &mut Diagnostics) {
    Pattern::new(pattern).for_each_mut(service, |below, node| {
        let whole: Path = base.segments().iter().chain(below.segments()).cloned().collect();
        rewrite(&whole, node, diagnostics);
    });
}

// ── what the rewrites are made of ──────────────────────────────────────────────────────────────────────────────────────────

/// A value of the wrong kind.
pub(super) fn wrong_kind(path: &Path, node: &Node, wanted: &str, diagnostics: &mut Diagnostics) {
    let message = format!("`{path}` must be {wanted}, not {}", node.kind_name());
    diagnostics.push(Diagnostic::error("wrong-kind", message).at(node.span, ""));
}

/// A value that cannot be read.
pub(super) fn bad_value(path: &Path, span: Span, why: impl std::fmt::Display, help: &str, diagnostics: &mut Diagnostics) {
    diagnostics.push(Diagnostic::error("bad-value", format!("`{path}`: {why}")).at(span, "").help(help));
}

/// A mapping of these keys, all with one span.
pub(super) fn mapping(entries: impl IntoIterator<Item = (&'static str, Node)>, span: Span) -> Value {
    let mut mapping = Mapping::default();
    for (key, node) in entries {
        mapping.insert(key, span, node);
    }
    Value::Mapping(mapping)
}

/// An integer.
pub(super) fn integer(number: impl std::fmt::Display, span: Span) -> Node {
    Node::new(Value::Scalar(Scalar { text: number.to_string(), kind: Kind::Int }), span)
}

fn build(_: &Path, node: &mut Node, _: &mut Diagnostics) {
    if let Some(context) = node.as_text() {
        node.value = mapping([("context", Node::text(context, node.span))], node.span);
    } else if let Some(mapping) = node.as_mapping_mut()
        && !mapping.contains("context")
    {
        let span = mapping.iter().next().map(|(_, entry)| entry.key_span);
        if let Some(span) = span {
            mapping.insert("context", span, Node::text(".", span));
        }
    }
}

/// `[A=1, B]` → `{A: "1", B: null}`; values of a mapping become texts.
fn list_to_map(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    match &mut node.value {
        Value::Sequence(items) => {
            let mut mapping = Mapping::default();
            for item in std::mem::take(items) {
                let Some(text) = item.as_text() else {
                    wrong_kind(path, &item, "a list of `NAME=value`", diagnostics);
                    continue;
                };
                match text.split_once('=') {
                    Some((key, value)) => mapping.insert(key, item.span, Node::text(value, item.span)),
                    None => mapping.insert(text, item.span, Node::new(Value::Null, item.span)),
                };
            }
            node.value = Value::Mapping(mapping);
        }
        Value::Mapping(_) => texts(path, node, diagnostics),
        Value::Null => {}
        Value::Bool(_) | Value::Scalar(_) => wrong_kind(path, node, "a mapping or a list of `NAME=value`", diagnostics),
    }
}

/// As [`list_to_map`], a name alone has an empty value.
fn list_to_text_map(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    list_to_map(path, node, diagnostics);
    if let Some(mapping) = node.as_mapping_mut() {
        for (_, entry) in mapping.iter_mut() {
            if entry.node.is_null() {
                entry.node = Node::text("", entry.node.span);
            }
        }
    }
}

/// Numbers and booleans inside become texts.
fn texts(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    let mut turn = |node: &mut Node| match &node.value {
        Value::Null | Value::Scalar(Scalar { kind: Kind::Text, .. }) => {}
        Value::Scalar(scalar) => node.value = Value::Scalar(Scalar { text: scalar.printed(), kind: Kind::Text }),
        Value::Bool(flag) => node.value = Value::Scalar(Scalar { text: flag.to_string(), kind: Kind::Text }),
        Value::Sequence(_) | Value::Mapping(_) => wrong_kind(path, node, "made of single values", diagnostics),
    };
    match &mut node.value {
        Value::Sequence(items) => items.iter_mut().for_each(&mut turn),
        Value::Mapping(mapping) => mapping.iter_mut().for_each(|(_, entry)| turn(&mut entry.node)),
        Value::Null | Value::Bool(_) | Value::Scalar(_) => {}
    }
}

fn one_to_list(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    if let Some(text) = node.as_text() {
        node.value = Value::Sequence(vec![Node::text(text, node.span)]);
    } else if node.as_mapping().is_some() {
        wrong_kind(path, node, "a text or a list", diagnostics);
    }
}

/// `[a, b]` → `{a: null, b: null}`.
fn names_to_map(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    let Some(items) = node.as_sequence_mut() else { return };
    let mut mapping = Mapping::default();
    for item in std::mem::take(items) {
        match item.as_text() {
            Some(name) => {
                mapping.insert(name, item.span, Node::new(Value::Null, item.span));
            }
            None => wrong_kind(path, &item, "a list of names", diagnostics),
        }
    }
    node.value = Value::Mapping(mapping);
}

/// What a variable can stand for where a boolean is wanted.
fn boolean(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    let Value::Scalar(Scalar { text, .. }) = &node.value else { return };
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "1" | "t" => node.value = Value::Bool(true),
        "false" | "no" | "off" | "n" | "0" | "f" => node.value = Value::Bool(false),
        _ => bad_value(path, node.span, format!("`{text}` is neither true nor false"), "write `true` or `false`", diagnostics),
    }
}

/// What a variable can stand for where a number is wanted.
fn number(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    let Value::Scalar(Scalar { text, kind: Kind::Text }) = &node.value else { return };
    let kind = match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(_), _) => Kind::Int,
        (Err(_), Ok(_)) => Kind::Float,
        (Err(_), Err(_)) => {
            return bad_value(path, node.span, format!("`{text}` is not a number"), "write a number", diagnostics);
        }
    };
    node.value = Value::Scalar(Scalar { text: text.clone(), kind });
}
