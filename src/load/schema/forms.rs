//! From short forms to long ones, where a few lines suffice; ports, volumes and command lines have their own grammars in `short`.
//!
//! A rewrite changes what it knows and leaves the rest for the long shape to refuse, so that each fault is told once.

use core::net::IpAddr;

use super::{Check, Forms, Object, Rewrite, Shape, TEXTS, attribute};
use crate::base::diagnostic::Diagnostics;
use crate::base::source::Span;
use crate::base::suggest::closest;
use crate::load::short;
use crate::load::told::bad_value;
use crate::yaml::node::{Kind, Mapping, Node, Scalar, Value};
use crate::yaml::place::Place;
use crate::yaml::scalar;

/// A mapping of these keys, all with one span.
pub(in crate::load) fn mapping(entries: impl IntoIterator<Item = (&'static str, Node)>, span: Span) -> Value {
    let mut mapping = Mapping::default();
    for (key, node) in entries {
        mapping.insert(key, span, node);
    }
    Value::Mapping(mapping)
}

/// An integer.
pub(in crate::load) fn integer(number: impl std::fmt::Display, span: Span) -> Node {
    Node::new(Value::Scalar(Scalar { text: number.to_string(), kind: Kind::Int }), span)
}

/// `true` or `false`.
pub(in crate::load) fn flag(value: bool, span: Span) -> Node {
    Node::new(Value::Bool(value), span)
}

/// A single value's text, as Compose prints it.
fn printed(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => Some(scalar.printed()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) => None,
    }
}

/// The short form is taken as it is.
pub(super) fn leave(_: &Place<'_>, _: &mut Node, _: &mut Diagnostics) {}

/// `[A=1, B]` → `{A: "1", B: }`.
pub(super) fn pairs(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    for item in node.as_sequence().unwrap_or_default() {
        let key = item.as_text().and_then(|text| text.split('=').next()).unwrap_or_default();
        if key.ends_with(char::is_whitespace) {
            let why = format!("the name `{key}` ends with a space");
            bad_value(place, item.span, why, "write `NAME=value` without spaces round `=`", diagnostics);
        }
    }
    from_pairs(place, node, diagnostics);
}

fn from_pairs(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    if let Some(entry) = node.as_mapping().and_then(|mapping| mapping.entry("")) {
        bad_value(place, entry.key_span, "a name is empty", "write `NAME: value`", diagnostics);
    }
    if let Value::Sequence(items) = &mut node.value {
        let mut mapping = Mapping::default();
        for item in std::mem::take(items) {
            // A number may be a name, `true` may not.
            let Some(text) = printed(&item).filter(|_| !matches!(item.value, Value::Bool(_))) else {
                let message = format!("`{place}` is a list of `NAME=value`, and {} is none", item.kind_name());
                diagnostics.push(crate::base::diagnostic::Diagnostic::error("wrong-kind", message).at(item.span, ""));
                continue;
            };
            let (key, value) = match text.split_once('=') {
                Some((key, value)) => (key, Node::text(value, item.span)),
                None => (text.as_str(), Node::new(Value::Null, item.span)),
            };
            mapping.insert(key, item.span, value);
        }
        node.value = Value::Mapping(mapping);
    }
}

/// As [`pairs`]; a name alone has an empty value.
pub(super) fn text_pairs(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    from_pairs(place, node, diagnostics);
    text_values(place, node, diagnostics);
}

/// `{a: }` → `{a: ""}`.
pub(super) fn text_values(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    for (_, entry) in node.as_mapping_mut().into_iter().flat_map(Mapping::iter_mut) {
        if entry.node.is_null() && entry.node.tag.is_none() {
            entry.node.value = Node::text("", entry.node.span).value;
        }
    }
}

/// `a` → `[a]`.
pub(super) fn one_to_list(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    if let Value::Scalar(Scalar { kind: Kind::Text, .. }) = &node.value {
        let item = Node::new(std::mem::replace(&mut node.value, Value::Null), node.span);
        node.value = Value::Sequence(vec![item]);
    }
}

/// `a` → `[a]`, `""` → `[]`.
pub(super) fn addresses(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    one_to_list(place, node, diagnostics);
    if let Value::Sequence(items) = &mut node.value {
        items.retain(|item| item.as_text() != Some(""));
    }
}

/// `1` → `[1]`, also `a` and `true`.
pub(super) fn any_to_list(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    if matches!(node.value, Value::Scalar(_) | Value::Bool(_)) {
        let item = Node::new(std::mem::replace(&mut node.value, Value::Null), node.span);
        node.value = Value::Sequence(vec![item]);
    }
}

/// `[a, b]` → `{a: , b: }`.
pub(super) fn names(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    let Value::Sequence(items) = &node.value else { return };
    if !items.iter().all(is_text) {
        return;
    }
    let mut mapping = Mapping::default();
    for item in items {
        mapping.insert(item.as_text().unwrap_or_default(), item.span, Node::new(Value::Null, item.span));
    }
    node.value = Value::Mapping(mapping);
}

fn is_text(node: &Node) -> bool {
    matches!(node.value, Value::Scalar(Scalar { kind: Kind::Text, .. }))
}

/// `[db]` → `{db: {condition: service_started, required: true}}`: over another file's edge both count.
pub(super) fn depends_on(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    if node.as_sequence().is_none() {
        return;
    }
    names(place, node, diagnostics);
    for (_, entry) in node.as_mapping_mut().into_iter().flat_map(Mapping::iter_mut) {
        let span = entry.key_span;
        entry.node.value = mapping([("condition", Node::text("service_started", span)), ("required", flag(true, span))], span);
    }
}

/// `a.env` → `[{path: a.env}]`.
pub(super) fn env_file(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    if is_text(node) || node.as_mapping().is_some() {
        let item = Node::new(std::mem::replace(&mut node.value, Value::Null), node.span);
        node.value = Value::Sequence(vec![item]);
    }
    for item in node.as_sequence_mut().into_iter().flatten().filter(|item| is_text(item)) {
        let path = Node::new(std::mem::replace(&mut item.value, Value::Null), item.span);
        item.value = mapping([("path", path)], item.span);
    }
}

/// `base` → `{service: base}`.
pub(super) fn extends(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    if is_text(node) {
        let name = Node::new(std::mem::replace(&mut node.value, Value::Null), node.span);
        node.value = mapping([("service", name)], node.span);
    }
}

/// `a.yaml` → `{path: a.yaml}`.
pub(super) fn include(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    if is_text(node) {
        let path = Node::new(std::mem::replace(&mut node.value, Value::Null), node.span);
        node.value = mapping([("path", path)], node.span);
    }
}

/// `0 3 * * *` → `{cron: 0 3 * * *}`.
pub(super) fn schedule(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    if is_text(node) {
        let cron = Node::new(std::mem::replace(&mut node.value, Value::Null), node.span);
        node.value = mapping([("cron", cron)], node.span);
    }
}

/// `name` → `{source: name}`.
pub(super) fn grants(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    for item in node.as_sequence_mut().into_iter().flatten().filter(|item| is_text(item)) {
        let name = Node::new(std::mem::replace(&mut item.value, Value::Null), item.span);
        item.value = mapping([("source", name)], item.span);
    }
}

/// `1024`, also as a text, stays one number: soft and hard limit are the same. Nothing at all is shown as both, without either.
pub(super) fn ulimit(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    if let Value::Scalar(Scalar { text, kind: Kind::Text }) = &node.value {
        match text.parse::<i64>() {
            Ok(limit) => node.value = integer(limit, node.span).value,
            Err(_) => {
                let why = format!("`{text}` is not a number");
                bad_value(place, node.span, why, "write a number; -1 is no limit", diagnostics);
            }
        }
    }
    if node.as_text().is_some_and(|text| scalar::integer(text) == Some(0)) {
        let span = node.span;
        node.value = mapping([("soft", integer(0, span)), ("hard", integer(0, span))], span);
    }
}

/// `0440` and `"0440"` → `"0440"`.
pub(super) fn mode(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    let Value::Scalar(Scalar { text, kind }) = &node.value else { return };
    let value = match kind {
        Kind::Int => scalar::integer(text).and_then(|value| u32::try_from(value).ok()),
        Kind::Text => u32::from_str_radix(text, 8).ok(),
        Kind::Float => None,
    };
    match value {
        Some(value) => node.value = Node::text(format!("0{value:o}"), node.span).value,
        None => bad_value(place, node.span, format!("`{text}` is not a mode"), "write digits from 0 to 7: `0440`", diagnostics),
    }
}

/// `curl localhost` → `[CMD-SHELL, curl localhost]`.
pub(super) fn test(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    if is_text(node) {
        let text = Node::new(std::mem::replace(&mut node.value, Value::Null), node.span);
        node.value = Value::Sequence(vec![Node::text("CMD-SHELL", node.span), text]);
    }
    let first = node.as_sequence().and_then(<[Node]>::first);
    if let Some(first) = first
        && !matches!(first.as_text(), Some("CMD" | "CMD-SHELL" | "NONE"))
    {
        let help = "write `[CMD, program, argument]`, or one text for the shell";
        bad_value(place, first.span, "a list must begin with `CMD`, `CMD-SHELL` or `NONE`", help, diagnostics);
    }
}

/// `http://…` or `https://…` → `{url: …}`.
pub(super) fn http(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    if is_text(node) {
        let url = Node::new(std::mem::replace(&mut node.value, Value::Null), node.span);
        node.value = mapping([("url", url)], node.span);
    }
    let is_web = |url: &str| url.starts_with("http://") || url.starts_with("https://");
    if let Some(url) = node.get("url").and_then(Node::as_text).filter(|url| !is_web(url)) {
        let why = format!("`{url}` is not an address that can be probed");
        bad_value(place, node.span, why, "write `http://HOST:PORT/PATH` or `https://HOST:PORT/PATH`", diagnostics);
    }
}

/// `host:port` → `{address: host:port}`.
pub(super) fn grpc(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    if is_text(node) {
        let address = Node::new(std::mem::replace(&mut node.value, Value::Null), node.span);
        node.value = mapping([("address", address)], node.span);
    }
}

/// A command line → its words.
pub(super) fn words(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    if is_text(node) {
        let words = short::split_words(node.as_text().unwrap_or_default());
        node.value = Value::Sequence(words.into_iter().map(|word| Node::text(word, node.span)).collect());
    }
}

/// `.` → `{context: .}`.
pub(super) fn build(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    if is_text(node) {
        let context = Node::new(std::mem::replace(&mut node.value, Value::Null), node.span);
        node.value = mapping([("context", context)], node.span);
    }
}

/// `80` → `"80"`.
fn whole_to_text(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    if let Value::Scalar(scalar @ Scalar { kind: Kind::Int, .. }) = &node.value {
        node.value = Node::text(scalar.printed(), node.span).value;
    }
}

/// `default`, `{id: path}` → `[default, id=path]`.
pub(super) fn ssh(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    one_to_list(place, node, diagnostics);
    let Value::Mapping(entries) = &node.value else { return };
    let text = |(key, entry): (&str, &crate::yaml::node::Entry)| match printed(&entry.node) {
        Some(value) if !value.is_empty() => Node::text(format!("{key}={value}"), entry.node.span),
        _ => Node::text(key, entry.key_span),
    };
    node.value = Value::Sequence(entries.iter().map(text).collect());
}

/// `all` → `[{count: -1}]`; an entry that says neither how many nor which means all.
pub(super) fn gpus(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    if node.as_text() == Some("all") {
        node.value = Value::Sequence(vec![Node::new(Value::Mapping(Mapping::default()), node.span)]);
    }
    requests(place, node, diagnostics);
}

/// A request for devices that says neither how many nor which means all.
pub(super) fn requests(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    for item in node.as_sequence_mut().into_iter().flatten() {
        let span = item.span;
        if let Some(request) = item.as_mapping_mut()
            && !request.contains("count")
            && !request.contains("device_ids")
        {
            request.insert("count", span, integer(-1, span));
        }
    }
}

/// `all` → `-1`.
pub(super) fn count(_: &Place<'_>, node: &mut Node, _: &mut Diagnostics) {
    if node.as_text() == Some("all") {
        node.value = integer(-1, node.span).value;
    }
}

/// `external: {name: x}` of old files is `external: true` and the name beside it, which [`super::super::complete`] moves.
pub(super) fn external(_: &Place<'_>, _: &mut Node, _: &mut Diagnostics) {}

/// `[h=1.2.3.4]`, `[h:1.2.3.4]`, `{h: 1.2.3.4}`, `{h: [1.2.3.4]}` → `[h=1.2.3.4]`.
pub(super) fn extra_hosts(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    let line = |host: &str, address: &str, span| {
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        Node::text(format!("{host}={bare}"), span)
    };
    match &mut node.value {
        Value::Sequence(items) => {
            let mut hosts = Vec::with_capacity(items.len());
            for item in std::mem::take(items) {
                let Some(text) = item.as_text().filter(|_| is_text(&item)) else {
                    hosts.push(item);
                    continue;
                };
                match text.split_once('=').or_else(|| text.split_once(':')) {
                    Some((host, addresses)) if !host.is_empty() => {
                        hosts.extend(addresses.split(',').map(|address| line(host, address, item.span)));
                    }
                    _ => bad_value(place, item.span, format!("`{text}` names no address"), "write `NAME=ADDRESS`", diagnostics),
                }
            }
            *items = hosts;
        }
        Value::Mapping(mapping) => {
            let mut hosts = Vec::new();
            for (host, entry) in mapping.iter() {
                let addresses = entry.node.as_sequence().unwrap_or(std::slice::from_ref(&entry.node));
                for address in addresses {
                    match address.as_text().filter(|_| is_text(address) && !host.is_empty()) {
                        Some(text) => hosts.push(line(host, text, address.span)),
                        None => {
                            let why = format!("`{host}` has no address");
                            bad_value(place, entry.key_span, why, "write `NAME: ADDRESS`", diagnostics);
                        }
                    }
                }
            }
            node.value = Value::Sequence(hosts);
        }
        Value::Null | Value::Bool(_) | Value::Scalar(_) => {}
    }
}

/// `8081` or `30000-30100` → `{first, last, range}`.
pub(super) fn named_port(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    let Some(text) = node.as_text() else { return };
    match short::range(text) {
        Ok((first, last)) if first > 0 => {
            let span = node.span;
            let is_range = flag(text.contains('-'), span);
            node.value = mapping([("first", integer(first, span)), ("last", integer(last, span)), ("range", is_range)], span);
        }
        Ok(_) => bad_value(place, node.span, "0 is no port that can be preferred", "write a number from 1 to 65535", diagnostics),
        // That a number is too large is told by the shape.
        Err(_) if matches!(&node.value, Value::Scalar(Scalar { kind: Kind::Int, text }) if text.parse::<i64>().is_ok()) => {}
        Err(why) => {
            let help = "write a port such as `8081`, or a range such as `30000-30100`";
            bad_value(place, node.span, why, help, diagnostics);
        }
    }
}

/// `{tool: x, version: y, hint: z}` → `{tool: {name: x, version: y}, hint: z}`.
pub(super) fn requirement(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    const KINDS: [&str; 6] = ["locale", "tool", "docker", "file", "open_files", "command"];
    let span = node.span;
    let Some(entry) = node.as_mapping_mut() else { return };
    if entry.get("tool").is_some_and(|tool| tool.as_mapping().is_none())
        && let Some(tool) = entry.remove("tool")
    {
        let mut long = Mapping::default();
        long.insert("name", tool.key_span, tool.node);
        if let Some(version) = entry.remove("version") {
            let text = printed(&version.node).unwrap_or_default();
            long.insert("version", version.key_span, Node::text(text, version.node.span));
        }
        // What is no key at all may be meant for it, and is told as one of it.
        let is_stranger = |key: &str| !KINDS.contains(&key) && key != "hint" && !key.starts_with("x-");
        let strangers: Vec<String> = entry.iter().map(|(key, _)| key.to_owned()).filter(|key| is_stranger(key)).collect();
        for key in strangers {
            if let Some(found) = entry.remove(&key) {
                long.insert(key, found.key_span, found.node);
            }
        }
        entry.insert("tool", tool.key_span, Node::new(Value::Mapping(long), span));
    }
    let kinds = entry.iter().filter(|(key, _)| KINDS.contains(key)).count();
    // Under a wrong name it is told.
    let is_mistyped = kinds == 0 && entry.iter().any(|(key, _)| closest(key, KINDS).is_some());
    if kinds != 1 && !is_mistyped {
        let help = "write one of locale, tool, docker, file, open_files, command";
        bad_value(place, span, "one entry requires one thing", help, diagnostics);
    }
}

/// `always`, …, `every_12h`.
pub(super) fn is_pull_policy(text: &str) -> bool {
    let every = |rest: &str| {
        let mut rest = rest;
        while !rest.is_empty() {
            let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            if unit.len() == rest.len() || !unit.starts_with(['w', 'd', 'h', 'm', 's']) {
                return false;
            }
            rest = &unit[1..];
        }
        true
    };
    let words = ["always", "never", "build", "if_not_present", "missing", "refresh", "daily", "weekly"];
    words.contains(&text) || text.strip_prefix("every_").is_some_and(|rest| !rest.is_empty() && every(rest))
}

/// What the engine takes for a container's name, as far as Compose checks it: somewhere two such characters.
pub(super) fn is_container_name(text: &str) -> bool {
    let letters = text.as_bytes();
    letters
        .windows(2)
        .any(|pair| pair[0].is_ascii_alphanumeric() && (pair[1].is_ascii_alphanumeric() || matches!(pair[1], b'_' | b'.' | b'-')))
}

const PORT: Object = Object {
    what: "a port",
    attributes: &[
        attribute("target", Shape::Whole(0, 65535), "The port inside.").required(),
        attribute("published", Shape::Forms(&PUBLISHED), "The port of the host, or a range."),
        attribute("host_ip", Shape::Checked(&ADDRESS), "The host's address; all of them when absent."),
        attribute("protocol", Shape::Text, "`tcp` or `udp`."),
        attribute("mode", Shape::Text, "How a cluster publishes it.").without_effect(),
        attribute("name", Shape::Text, "A name for people."),
        attribute("app_protocol", Shape::Text, "What is spoken on it."),
    ],
};

const PUBLISHED: Forms =
    Forms { wanted: "a port or a range of ports", short: &[Shape::Whole(0, 65535)], rewrite: whole_to_text, long: &Shape::Text };

const ADDRESS: Check = Check {
    pattern: "^[0-9a-fA-F:.]*$",
    wanted: "an address such as `127.0.0.1` or `::1`",
    accepts: |text| text.is_empty() || text.parse::<IpAddr>().is_ok(),
};

const PORTS: Shape = Shape::List(&Shape::Object(&PORT));

const SHORT_PORTS: &[Shape] = &[Shape::List(&Shape::Single)];

const fn ports_as(rewrite: Rewrite) -> Forms {
    Forms { wanted: "a list of ports", short: SHORT_PORTS, rewrite, long: &PORTS }
}

/// `8080:80`: where no host port is given, the engine picks one.
pub(super) const CONTAINER_PORTS: Forms = ports_as(short::ports);

/// `8080`: what a process listens on is on the host already.
pub(super) const PROCESS_PORTS: Forms = ports_as(short::process_ports);

/// `/dev/a:/dev/b:rw`.
pub(super) const DEVICES: Forms =
    Forms { wanted: "a list of devices", short: &[TEXTS], rewrite: short::devices, long: &Shape::List(&Shape::Object(&DEVICE)) };

const DEVICE: Object = Object {
    what: "a device",
    attributes: &[
        attribute("source", Shape::Text, "Its path on the host.").required(),
        attribute("target", Shape::Text, "Its path inside.").required(),
        attribute("permissions", Shape::Text, "`rwm` or a part of it."),
    ],
};

/// `src:dst:ro`.
pub(super) const VOLUMES: Forms = Forms {
    wanted: "a list of `SOURCE:TARGET`, or of mappings with `type` and `target`",
    short: &[TEXTS],
    rewrite: short::volumes,
    long: &Shape::List(&Shape::Object(&MOUNT)),
};

const MOUNT: Object = Object {
    what: "a mount",
    attributes: &[
        attribute("type", Shape::Word(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]), "What is mounted.").required(),
        attribute("source", Shape::Text, "A path of the host, a volume or an image."),
        attribute("target", Shape::Text, "The path inside."),
        attribute("read_only", Shape::Flag, "It cannot be written inside."),
        attribute("consistency", Shape::Text, "Without meaning on Linux.").without_effect(),
        attribute("bind", Shape::Object(&BIND), "Options of a path of the host.").shown(super::Empty::Shown),
        attribute("volume", Shape::Object(&VOLUME), "Options of a volume.").shown(super::Empty::Shown),
        attribute("tmpfs", Shape::Object(&TMPFS), "Options of memory.").shown(super::Empty::Shown),
        attribute("image", Shape::Object(&IMAGE), "Options of an image.").shown(super::Empty::Shown),
    ],
};

const BIND: Object = Object {
    what: "`bind`",
    attributes: &[
        attribute("propagation", Shape::Text, "How mounts below it spread."),
        attribute("create_host_path", Shape::Flag, "Makes the path when it is not there; true when absent.")
            .shown(super::Empty::True),
        attribute(
            "recursive",
            Shape::Word(&["enabled", "disabled", "writable", "readonly"]),
            "Whether mounts below it come along.",
        ),
        attribute("selinux", Shape::Word(&["z", "Z"]), "Relabels it: `z` shared, `Z` private."),
    ],
};

const VOLUME: Object = Object {
    what: "`volume`",
    attributes: &[
        attribute("labels", Shape::Forms(&super::service::LABELS), "Labels of an anonymous volume."),
        attribute("nocopy", Shape::Flag, "Does not fill it from the image."),
        attribute("subpath", Shape::Text, "A directory of the volume."),
    ],
};

const TMPFS: Object = Object {
    what: "`tmpfs`",
    attributes: &[attribute("size", Shape::Bytes, "Its size."), attribute("mode", super::WHOLE, "The mode of its directory.")],
};

const IMAGE: Object = Object { what: "`image`", attributes: &[attribute("subpath", Shape::Text, "A directory of the image.")] };
