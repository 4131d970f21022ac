//! What Compose adds to a merged tree: names, the default network, implied dependencies, defaults of long forms.

use std::path::Path;

use super::merge::hook_over;
use super::schema::PRE_START;
use super::schema::forms::{flag, mapping};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::Span;
use crate::yaml::node::{Entry, Mapping, Node, Value};

/// Adds to each service, job and process what it does not say itself.
pub(super) fn containers_and_processes(root: &mut Node, directory: &Path) {
    for section in ["services", "jobs", "processes"] {
        for (_, entry) in entries(root, section) {
            let span = entry.key_span;
            let Some(service) = entry.node.as_mapping_mut() else { continue };
            if section != "processes" {
                container(service, span, directory);
            }
            edges(service);
            ports(service);
        }
    }
}

/// Adds what belongs to several of them: the default network, and names in the engine.
pub(super) fn what_they_use(root: &mut Node, env: &str, diagnostics: &mut Diagnostics) {
    default_network(root);
    for (_, entry) in entries(root, "services") {
        if let Some(service) = entry.node.as_mapping_mut() {
            before_start(service);
        }
    }
    for section in ["networks", "volumes", "secrets", "configs", "models"] {
        if let Some(section) = root.as_mapping_mut().and_then(|root| root.get_mut(section)).and_then(Node::as_mapping_mut) {
            section.retain(|key, _| !key.starts_with("x-"));
        }
        if section == "models" {
            continue;
        }
        for (key, entry) in entries(root, section) {
            if entry.node.is_null() {
                entry.node.value = Value::Mapping(Mapping::default());
            }
            external_name(section, key, entry, diagnostics);
            name(key, entry, env);
        }
    }
}

fn entries<'a>(root: &'a mut Node, section: &str) -> impl Iterator<Item = (&'a str, &'a mut Entry)> {
    let section = root.as_mapping_mut().and_then(|root| root.get_mut(section));
    section.and_then(Node::as_mapping_mut).into_iter().flat_map(Mapping::iter_mut)
}

/// Sets a key that is not there.
fn default(mapping: &mut Mapping, key: &str, span: Span, node: impl FnOnce() -> Node) {
    if !mapping.contains(key) {
        mapping.insert(key, span, node());
    }
}

/// A build without a context has the directory of the stack, or of the file that was included.
pub(super) fn contexts(root: &mut Node, directory: &Path) {
    for (_, entry) in entries(root, "services") {
        if let Some(service) = entry.node.as_mapping_mut() {
            context(service, directory);
        }
    }
}

fn context(service: &mut Mapping, directory: &Path) {
    let Some(build) = service.entry_mut("build") else { return };
    let span = build.key_span;
    if let Some(build) = build.node.as_mapping_mut() {
        default(build, "context", span, || Node::text(directory.display().to_string(), span));
    }
}

fn container(service: &mut Mapping, span: Span, directory: &Path) {
    context(service, directory);
    if let Some(build) = service.entry_mut("build") {
        let span = build.key_span;
        if let Some(build) = build.node.as_mapping_mut()
            && !build.contains("dockerfile_inline")
        {
            default(build, "dockerfile", span, || Node::text("Dockerfile", span));
        }
    }
    if let Some(policy) = service.get_mut("pull_policy")
        && policy.as_text() == Some("if_not_present")
    {
        policy.value = Node::text("missing", policy.span).value;
    }
    for grant in service.get_mut("secrets").and_then(Node::as_sequence_mut).into_iter().flatten() {
        let span = grant.span;
        let target = grant.get("source").and_then(Node::as_text).map(|source| format!("/run/secrets/{source}"));
        if let (Some(target), Some(grant)) = (target, grant.as_mapping_mut()) {
            default(grant, "target", span, || Node::text(target, span));
        }
    }
    long_forms(service);
    implied_edges(service, span);
}

/// Defaults and order of what services, jobs and hooks before the start write alike.
fn long_forms(container: &mut Mapping) {
    if let Some(hosts) = container.get_mut("extra_hosts").and_then(Node::as_sequence_mut) {
        let host = |line: &Node| line.as_text().and_then(|text| text.split('=').next()).unwrap_or_default().to_owned();
        hosts.sort_by_key(host);
    }
    for device in container.get_mut("devices").and_then(Node::as_sequence_mut).into_iter().flatten() {
        let span = device.span;
        let source = device.get("source").and_then(Node::as_text).unwrap_or_default().to_owned();
        if let Some(device) = device.as_mapping_mut() {
            default(device, "target", span, || Node::text(source, span));
            default(device, "permissions", span, || Node::text("rwm", span));
        }
    }
    for mount in container.get_mut("volumes").and_then(Node::as_sequence_mut).into_iter().flatten() {
        if let Some(target) = mount.as_mapping_mut().and_then(|mount| mount.get_mut("target"))
            && let Some(text) = target.as_text().filter(|text| !text.is_empty())
        {
            target.value = Node::text(clean(text), target.span).value;
        }
    }
}

/// A hook before the start has of its service all that a container of its own can have, but for the mounts: it gets the service's
/// own.
fn before_start(service: &mut Mapping) {
    let Some(mut hooks) = service.remove("pre_start") else { return };
    let is_shared = |key: &str| key != "volumes" && PRE_START.get(key).is_some();
    let mut shared = Mapping::default();
    for (key, entry) in service.iter().filter(|(key, _)| is_shared(key)) {
        shared.insert(key, entry.key_span, entry.node.clone());
    }
    for hook in hooks.node.as_sequence_mut().into_iter().flatten().filter(|hook| hook.as_mapping().is_some()) {
        let own = std::mem::replace(hook, Node::new(Value::Null, hook.span));
        *hook = hook_over(shared.clone(), own);
        if let Some(hook) = hook.as_mapping_mut() {
            long_forms(hook);
        }
    }
    service.insert("pre_start", hooks.key_span, hooks.node);
}

/// `{default: }`.
fn only_default(span: Span) -> Node {
    let mut networks = Mapping::default();
    networks.insert("default", span, Node::new(Value::Null, span));
    Node::new(Value::Mapping(networks), span)
}

/// A path without `.`, `..` and double slashes, as Go's `path.Clean` has it.
pub(super) fn clean(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            // There is nothing above the root.
            ".." if !root.is_empty() => {}
            _ => parts.push(part),
        }
    }
    if root.is_empty() && parts.is_empty() { ".".to_owned() } else { format!("{root}{}", parts.join("/")) }
}

/// Links, shared name spaces and shared mounts are dependencies too.
fn implied_edges(service: &mut Mapping, span: Span) {
    let mut implied: Vec<(String, Span, bool)> = Vec::new();
    for link in service.get("links").and_then(Node::as_sequence).unwrap_or_default() {
        let text = link.as_text().unwrap_or_default();
        implied.push((text.split(':').next().unwrap_or_default().to_owned(), link.span, true));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let Some(node) = service.get(key) else { continue };
        if let Some(name) = node.as_text().and_then(|text| text.strip_prefix("service:")) {
            implied.push((name.to_owned(), node.span, true));
        }
    }
    for from in service.get("volumes_from").and_then(Node::as_sequence).unwrap_or_default() {
        let text = from.as_text().unwrap_or_default();
        if !text.starts_with("container:") {
            implied.push((text.split(':').next().unwrap_or_default().to_owned(), from.span, false));
        }
    }
    if implied.is_empty() {
        return;
    }
    default(service, "depends_on", span, || Node::new(Value::Mapping(Mapping::default()), span));
    let Some(depends_on) = service.get_mut("depends_on").and_then(Node::as_mapping_mut) else { return };
    for (name, span, restart) in implied.into_iter().filter(|(name, ..)| !name.is_empty()) {
        default(depends_on, &name, span, || {
            let mut edge = vec![("condition", Node::text("service_started", span))];
            if restart {
                edge.push(("restart", flag(true, span)));
            }
            Node::new(mapping(edge, span), span)
        });
    }
}

fn edges(service: &mut Mapping) {
    for (_, edge) in service.get_mut("depends_on").and_then(Node::as_mapping_mut).into_iter().flat_map(Mapping::iter_mut) {
        let span = edge.key_span;
        if let Some(edge) = edge.node.as_mapping_mut() {
            default(edge, "required", span, || flag(true, span));
        }
    }
}

fn ports(service: &mut Mapping) {
    for port in service.get_mut("ports").and_then(Node::as_sequence_mut).into_iter().flatten() {
        let span = port.span;
        if let Some(port) = port.as_mapping_mut() {
            default(port, "protocol", span, || Node::text("tcp", span));
            default(port, "mode", span, || Node::text("ingress", span));
        }
    }
}

/// A container that names no network is in `default`.
fn default_network(root: &mut Node) {
    let mut used = None;
    for section in ["services", "jobs"] {
        for (_, entry) in entries(root, section) {
            let is_used = in_default_network(entry);
            // What jobs alone need is made when they run.
            used = used.or(is_used.filter(|_| section == "services"));
        }
    }
    if let (Some(span), Some(top)) = (used, root.as_mapping_mut()) {
        if top.get("networks").is_none_or(Node::is_null) {
            top.insert("networks", span, Node::new(Value::Mapping(Mapping::default()), span));
        }
        if let Some(networks) = top.get_mut("networks").and_then(Node::as_mapping_mut) {
            default(networks, "default", span, || Node::new(Value::Mapping(Mapping::default()), span));
        }
    }
}

/// Puts a container that names no network into `default`; tells whether it is in it.
fn in_default_network(entry: &mut Entry) -> Option<Span> {
    let span = entry.key_span;
    let container = entry.node.as_mapping_mut()?;
    if container.contains("network_mode") || container.contains("provider") {
        return None;
    }
    let networks = container.get("networks").filter(|networks| !networks.is_null()).and_then(Node::as_mapping);
    if networks.is_none_or(Mapping::is_empty) {
        container.insert("networks", span, only_default(span));
    }
    let networks = container.get("networks").and_then(Node::as_mapping);
    networks.is_some_and(|networks| networks.contains("default")).then_some(span)
}

/// `external: {name: x}` of old files is `external: true` and `name: x`.
fn external_name(section: &str, key: &str, entry: &mut Entry, diagnostics: &mut Diagnostics) {
    let Some(definition) = entry.node.as_mapping_mut() else { return };
    let Some(external) = definition.get_mut("external") else { return };
    let Some(old) = external.as_mapping() else { return };
    let name = old.entry("name").map(|name| (name.key_span, name.node.clone()));
    let span = external.span;
    external.value = Value::Bool(true);
    let Some((key_span, name)) = name else { return };
    let diagnostic = Diagnostic::warning("old-external", format!("`{section}.{key}.external.name` is an old spelling"));
    diagnostics.push(diagnostic.at(key_span, "").help("write `external: true` and `name:` beside it"));
    match definition.get("name") {
        Some(other) if other.as_text() != name.as_text() => diagnostics.push(
            Diagnostic::error("two-names", format!("`{section}.{key}` has two names: `name` and `external.name`"))
                .at(other.span, "")
                .at(span, "the other one")
                .help("use `name` alone"),
        ),
        Some(_) => {}
        None => {
            definition.insert("name", key_span, name);
        }
    }
}

/// What the engine calls it.
fn name(key: &str, entry: &mut Entry, env: &str) {
    let span = entry.key_span;
    let Some(definition) = entry.node.as_mapping_mut() else { return };
    if !definition.contains("name") {
        let external = definition.get("external").and_then(Node::as_text) == Some("true");
        let name = if external { key.to_owned() } else { format!("{env}_{key}") };
        definition.insert("name", span, Node::text(name, span));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_inside_are_cleaned() {
        for (path, expected) in [
            ("/a/", "/a"),
            ("/", "/"),
            ("/a//b/../c/.", "/a/c"),
            ("/../x", "/x"),
            ("./a", "a"),
            ("a/../../b/", "../b"),
            (".", "."),
        ] {
            assert_eq!(clean(path), expected);
        }
    }
}
