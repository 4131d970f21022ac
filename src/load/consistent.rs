//! Attributes that contradict each other, within a service or between two.

use std::collections::HashMap;

use super::profiles::Selection;
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::name::is_variable;
use crate::base::source::Span;
use crate::model::secret::file_variable;
use crate::model::value::PREDEFINED;
use crate::yaml::node::{Entry, Mapping, Node};

/// Attributes of which one says what the other says too: they have to agree.
const SAID_TWICE: &[(&str, &[&str])] = &[
    ("scale", &["deploy", "replicas"]),
    ("cpus", &["deploy", "resources", "limits", "cpus"]),
    ("mem_limit", &["deploy", "resources", "limits", "memory"]),
    ("pids_limit", &["deploy", "resources", "limits", "pids"]),
    ("mem_reservation", &["deploy", "resources", "reservations", "memory"]),
];

/// One service by itself.
pub(super) fn service(name: &str, entry: &Entry, process: bool, diagnostics: &mut Diagnostics) {
    let service = &entry.node;
    for (plain, path) in SAID_TWICE {
        let other = path.iter().try_fold(service, |node, key| node.get(key));
        if let (Some(one), Some(other)) = (service.get(plain), other)
            && !agree(one, other)
        {
            let message = format!("`{name}` has two values for `{plain}`: it is also `{}`", path.join("."));
            diagnostics.push(Diagnostic::error("two-values", message).at(one.span, "").at(other.span, "the other one"));
        }
    }
    replicas_of_a_name(name, service, diagnostics);
    devices(name, service, diagnostics);
    if process {
        variables_of_files(name, service, diagnostics);
    } else {
        mounts(name, service, diagnostics);
    }
    build(name, service, diagnostics);
    if let (Some(mode), Some(networks)) =
        (service.get("network_mode"), service.as_mapping().and_then(|all| all.entry("networks")))
        && networks.node.as_mapping().is_some_and(|networks| !networks.is_empty())
    {
        let message = format!("`{name}` has both `network_mode` and `networks`");
        let diagnostic = Diagnostic::error("two-networks", message).at(mode.span, "").at(networks.key_span, "the other one");
        diagnostics.push(diagnostic.help("a service shares another network, or is in networks of its own"));
    }
    if process && let Some(limit) = service.get("ulimits").and_then(Node::as_mapping).and_then(|limits| limits.entry("rttime")) {
        let message = "`ulimits.rttime` is used by the supervisor itself, to find what a service leaves behind";
        diagnostics.push(Diagnostic::error("reserved-limit", message).at(limit.key_span, ""));
    }
}

fn agree(one: &Node, other: &Node) -> bool {
    let number = |node: &Node| node.as_text().and_then(|text| text.parse::<f64>().ok());
    one.as_text() == other.as_text() || number(one).is_some() && number(one) == number(other)
}

fn count(service: &Node) -> i64 {
    let said = service.get("scale").or_else(|| service.get("deploy")?.get("replicas"));
    said.and_then(Node::as_text).and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn replicas_of_a_name(name: &str, service: &Node, diagnostics: &mut Diagnostics) {
    if let Some(own) = service.get("container_name")
        && count(service) > 1
    {
        let message = format!("`{name}` has {} replicas, and one `container_name`", count(service));
        let help = "remove `container_name`, or `scale`";
        diagnostics.push(Diagnostic::error("one-name", message).at(own.span, "names are taken once").help(help));
    }
}

fn devices(name: &str, service: &Node, diagnostics: &mut Diagnostics) {
    let reserved = ["deploy", "resources", "reservations", "devices"].iter().try_fold(service, |node, key| node.get(key));
    for (request, reserves) in [(reserved, true), (service.get("gpus"), false)].into_iter().flat_map(|(list, reserves)| {
        list.and_then(Node::as_sequence).unwrap_or_default().iter().map(move |item| (item, reserves))
    }) {
        if request.get("count").is_some() && request.get("device_ids").is_some() {
            let message = format!("`{name}` asks for devices by `count` and by `device_ids`");
            diagnostics.push(Diagnostic::error("two-values", message).at(request.span, "").help("use one of them"));
        }
        if reserves && request.get("capabilities").is_none() {
            let message = format!("`{name}` asks for devices without `capabilities`");
            let help = "write what they have to be able to do, such as `capabilities: [gpu]`";
            diagnostics.push(Diagnostic::error("missing-key", message).at(request.span, "").help(help));
        }
    }
}

/// Each secret and config of a process is found by a variable of its own.
fn variables_of_files(name: &str, service: &Node, diagnostics: &mut Diagnostics) {
    for (key, kind) in [("secrets", "SECRET"), ("configs", "CONFIG")] {
        let mut taken: HashMap<String, (&str, Span)> = HashMap::new();
        for grant in service.get(key).and_then(Node::as_sequence).unwrap_or_default() {
            let Some(source) = grant.get("source").and_then(Node::as_text) else { continue };
            let variable = file_variable(kind, source);
            if let Some((other, span)) = taken.get(&variable).filter(|(other, _)| *other != source) {
                let message =
                    format!("`{name}` would find `{other}` and `{source}` of its `{key}` by one variable, `{variable}`");
                let diagnostic = Diagnostic::error("one-name", message).at(grant.span, "").at(*span, "the other one");
                diagnostics.push(
                    diagnostic
                        .help("rename one of them: capitals and small letters are the same in it, and so are `-`, `.` and `_`"),
                );
            } else {
                taken.insert(variable, (source, grant.span));
            }
        }
    }
}

/// A path inside is mounted once; a bind has a source.
fn mounts(name: &str, service: &Node, diagnostics: &mut Diagnostics) {
    let mut taken: HashMap<&str, (&str, Span)> = HashMap::new();
    for (key, list) in [("tmpfs", service.get("tmpfs")), ("volumes", service.get("volumes"))] {
        for mount in list.and_then(Node::as_sequence).unwrap_or_default() {
            let target = mount.get("target").unwrap_or(mount).as_text().unwrap_or_default();
            let target = if key == "tmpfs" { target.split(':').next().unwrap_or_default() } else { target };
            if let Some((other, span)) = taken.insert(target, (key, mount.span)) {
                let message = format!("`{name}` mounts `{target}` twice: in `{other}` and in `{key}`");
                diagnostics.push(Diagnostic::error("mounted-twice", message).at(mount.span, "").at(span, "the first time"));
            }
            if key == "volumes" && !mount.is_null() {
                source(name, mount, diagnostics);
            }
        }
    }
}

fn source(name: &str, mount: &Node, diagnostics: &mut Diagnostics) {
    let text = |key: &str| mount.get(key).and_then(Node::as_text);
    if text("target").is_none_or(str::is_empty) {
        let message = format!("a mount of `{name}` has no `target`");
        diagnostics.push(Diagnostic::error("missing-key", message).at(mount.span, "").help("write the path inside"));
    }
    if let Some(size) = mount.get("tmpfs").and_then(|tmpfs| tmpfs.get("size"))
        && size.as_text().is_some_and(|text| text.starts_with('-'))
    {
        let message = format!("a `tmpfs` of `{name}` has a negative `size`");
        diagnostics.push(Diagnostic::error("bad-value", message).at(size.span, "").help("write bytes, or `64m`; 0 is no limit"));
    }
    if matches!(text("type"), Some("bind")) && text("source").is_none_or(str::is_empty) {
        let message = format!("a mount of `{name}` has no `source`");
        diagnostics.push(Diagnostic::error("missing-key", message).at(mount.span, "").help("write what is mounted"));
    }
}

fn build(name: &str, service: &Node, diagnostics: &mut Diagnostics) {
    let Some(build) = service.get("build") else { return };
    if let (Some(inline), Some(dockerfile)) = (build.get("dockerfile_inline"), build.get("dockerfile")) {
        let message = format!("`{name}` has both `dockerfile` and `dockerfile_inline`");
        diagnostics.push(Diagnostic::error("two-values", message).at(inline.span, "").at(dockerfile.span, "the other one"));
    }
    let platforms = build.get("platforms").and_then(Node::as_sequence).unwrap_or_default();
    if let Some(platform) = service.get("platform")
        && !platforms.is_empty()
        && !platforms.iter().any(|known| known.as_text() == platform.as_text())
    {
        let platform_name = platform.as_text().unwrap_or_default();
        let message = format!("`{name}` is for `{platform_name}`, which its `build.platforms` does not name");
        diagnostics.push(Diagnostic::error("two-values", message).at(platform.span, "").at(platforms[0].span, "built for this"));
    }
}

/// What `generate` and the named `ports` make are variables, under names that nobody else has.
fn variables(root: &Node, diagnostics: &mut Diagnostics) {
    for section in ["generate", "ports"] {
        for (name, entry) in root.get(section).and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter) {
            let message = if PREDEFINED.contains(&name) {
                format!("`{name}` in `{section}` is predefined, and nothing overrides that")
            } else if is_variable(name) {
                continue;
            } else {
                format!("`{name}` in `{section}` cannot be the name of a variable")
            };
            let help = "a variable's name is made of letters, digits and `_`, and begins with no digit";
            diagnostics.push(Diagnostic::error("bad-name", message).at(entry.key_span, "").help(help));
        }
    }
}

/// What two services, or a section, contradict.
pub(super) fn stack(services: &[(&str, &Entry, bool)], root: &Node, selection: &Selection, diagnostics: &mut Diagnostics) {
    variables(root, diagnostics);
    let mut names: HashMap<&str, (&str, Span)> = HashMap::new();
    for (name, entry, _) in services.iter().filter(|(name, ..)| selection.is_on(name)) {
        let Some(own) = entry.node.get("container_name") else { continue };
        let text = own.as_text().unwrap_or_default();
        if let Some((other, span)) = names.insert(text, (name, own.span)) {
            let message = format!("`{name}` and `{other}` have one `container_name`: `{text}`");
            diagnostics.push(Diagnostic::error("one-name", message).at(own.span, "").at(span, "taken here"));
        }
    }
    for (key, volume) in root.get("volumes").and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter) {
        if volume.node.get("external").and_then(Node::as_text) != Some("true") {
            continue;
        }
        let others = volume.node.as_mapping().into_iter().flat_map(Mapping::iter);
        for (other, entry) in others.filter(|(other, _)| !matches!(*other, "external" | "name") && !other.starts_with("x-")) {
            let message = format!("the volume `{key}` is external, and has `{other}` too");
            let help = "whoever made it has decided that: leave `name` and `external`";
            diagnostics.push(Diagnostic::error("external-with", message).at(entry.key_span, "").help(help));
        }
    }
}
