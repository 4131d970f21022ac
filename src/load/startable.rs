//! What loads and is shown as in Compose, but cannot be started on any engine that we know: told with its place before anything
//! starts, where the engine would only refuse it later and in other words.

use std::collections::BTreeSet;

use super::told::Found;
use crate::base::diagnostic::Diagnostic;
use crate::base::source::Span;
use crate::model::service::MAX_REPLICAS;
use crate::yaml::node::{Entry, Mapping, Node};

/// One service of either kind.
pub(super) fn replicas(name: &str, entry: &Entry, found: &mut Found<'_>) {
    let said = entry.node.get("scale").or_else(|| entry.node.get("deploy")?.get("replicas"));
    let Some((node, text)) = said.and_then(|node| Some((node, node.as_text()?))) else { return };
    if text.parse::<u64>().is_ok_and(|count| count > u64::from(MAX_REPLICAS)) {
        let why = format!("`{name}` has {text} replicas, and a service can have {MAX_REPLICAS}");
        let help = "write how many are meant";
        found.unstartable.push(Diagnostic::error("cannot-start", why).at(node.span, "").help(help));
    }
}

/// One container.
pub(super) fn container(name: &str, entry: &Entry, root: &Node, found: &mut Found<'_>) {
    idle_owners(name, &entry.node, found);
    let mut cannot = |span: Span, why: String, help: &str| {
        found.unstartable.push(Diagnostic::error("cannot-start", why).at(span, "").help(help));
    };
    let service = &entry.node;
    if let Some(check) = service.get("healthcheck")
        && let Some(interval) = check.get("start_interval")
        && check.get("start_period").is_none()
    {
        let why = format!("`{name}` has a `start_interval` without a `start_period` in which it would count");
        cannot(interval.span, why, "write `start_period` too: it is the time in which a failure does not count yet");
    }
    for mount in service.get("volumes").and_then(Node::as_sequence).unwrap_or_default() {
        if mount.get("type").and_then(Node::as_text) == Some("npipe") {
            cannot(mount.span, format!("`{name}` mounts a named pipe, which only Windows has"), "bind a socket instead");
        }
    }
    if let Some(build) = service.get("build") {
        contexts(name, build, root, &mut cannot);
        if let Some(isolation) = build.get("isolation").filter(|node| !matches!(node.as_text(), None | Some("" | "default"))) {
            cannot(
                isolation.span,
                format!("`{name}` is built in an isolation that only Windows has"),
                "write `default`, or nothing",
            );
        }
        for grant in build.get("secrets").and_then(Node::as_sequence).unwrap_or_default() {
            let source = grant.get("source").and_then(Node::as_text).unwrap_or_default();
            let definition = root.get("secrets").and_then(|all| all.get(source));
            if definition.and_then(|definition| definition.get("external")).and_then(Node::as_text) == Some("true") {
                let why = format!("the secret `{source}` of the build of `{name}` is kept by a cluster, and there is none");
                cannot(grant.span, why, "give it by `file` or `environment`");
            }
        }
    }
    for (kind, section) in [("secret", "secrets"), ("config", "configs")] {
        for grant in service.get(section).and_then(Node::as_sequence).unwrap_or_default() {
            let source = grant.get("source").and_then(Node::as_text).unwrap_or_default();
            let Some(definition) = root.get(section).and_then(|all| all.get(source)) else { continue };
            let has = |key: &str| definition.get(key).is_some_and(|node| node.as_text() != Some("false"));
            let is_read_only = service.get("read_only").and_then(Node::as_text) == Some("true");
            if has("external") || has("driver") {
                let why = format!("the {kind} `{source}` of `{name}` is kept by a cluster, and there is none");
                cannot(grant.span, why, "give it by `file`, `environment` or `content`");
            } else if is_read_only && !has("file") {
                let why = format!("the {kind} `{source}` cannot be written into `{name}`, which is `read_only`");
                cannot(grant.span, why, "give it by `file`: then it is mounted");
            }
        }
    }
}

/// The owner and mode of a build's secret are nobody's to read but the Dockerfile's; Compose says so too and goes on.
fn idle_owners(name: &str, service: &Node, found: &mut Found<'_>) {
    let grants = service.get("build").and_then(|build| build.get("secrets")).and_then(Node::as_sequence).unwrap_or_default();
    for grant in grants {
        let Some(key) = ["uid", "gid", "mode"].into_iter().find(|key| grant.get(key).is_some()) else { continue };
        let why = format!("`{name}`: `build.secrets.{key}` has no effect");
        let help = "the Dockerfile says whose a secret is: `RUN --mount=type=secret,uid=…,gid=…,mode=…`";
        found.unstartable.push(Diagnostic::warning("no-effect", why).at(grant.span, "").help(help));
    }
}

/// Services whose images are contexts of a build are built first: there has to be something to build, and it must not go round.
fn contexts(name: &str, build: &Node, root: &Node, cannot: &mut dyn FnMut(Span, String, &str)) {
    let built = |service: &str| root.get("services")?.get(service)?.get("build");
    for (key, entry) in entries(build.get("additional_contexts")) {
        let Some(service) = entry.node.as_text().and_then(|place| place.strip_prefix("service:")) else { continue };
        if built(service).is_none() {
            let why = format!("`{name}` is built with `{service}` as its context `{key}`, which is no service with `build`");
            cannot(entry.node.span, why, "name a service that is built, or write `docker-image://` and an image");
        } else if leads_to(service, name, &built) {
            let why = format!("`{name}` is built with `{service}` as its context `{key}`, and that one with `{name}`");
            cannot(entry.node.span, why, "one of these contexts has to go");
        }
    }
}

/// Whether the contexts of a service's build, and theirs, come to another.
fn leads_to<'n>(from: &str, to: &str, built: &impl Fn(&str) -> Option<&'n Node>) -> bool {
    let (mut waiting, mut seen) = (vec![from], BTreeSet::new());
    while let Some(service) = waiting.pop() {
        if service == to {
            return true;
        }
        if seen.insert(service) {
            let contexts = entries(built(service).and_then(|build| build.get("additional_contexts")));
            waiting.extend(contexts.filter_map(|(_, entry)| entry.node.as_text()?.strip_prefix("service:")));
        }
    }
    false
}

fn entries(node: Option<&Node>) -> impl Iterator<Item = (&str, &Entry)> {
    node.and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter)
}

#[cfg(test)]
mod tests {
    use crate::load::testing::load;

    #[test]
    fn what_no_engine_can_start_is_told_with_its_place() {
        let cases: [(&str, &[&str], usize); 15] = [
            ("scale: 10001", &["10001 replicas", "10000"], 4),
            ("deploy: {replicas: 10000000}", &["10000000 replicas"], 4),
            ("healthcheck: {test: [CMD, x], start_interval: 1s}", &["`start_interval`", "`start_period`"], 4),
            ("healthcheck: {test: [CMD, x], start_interval: 1s, start_period: 9s}", &[], 0),
            ("volumes: [{type: npipe, source: p, target: /p}]", &["named pipe"], 4),
            ("secrets: [kept]", &["`kept`", "cluster"], 4),
            ("configs: [told]", &[], 0),
            ("read_only: true\n    configs: [told]", &["`told`", "`read_only`"], 5),
            ("build: {isolation: hyperv}", &["`web`", "Windows"], 4),
            ("build: {isolation: default, ulimits: {nofile: 5}}", &[], 0),
            ("build: {secrets: [kept]}", &["`kept`", "cluster"], 4),
            ("build: {secrets: [{source: mine, mode: 0400}]}", &["`build.secrets.mode`"], 4),
            ("build: {secrets: [{source: mine, target: id}]}", &[], 0),
            ("build: {additional_contexts: {a: 'service:none'}}", &["`none`", "no service with `build`"], 4),
            ("build: {additional_contexts: {a: 'service:base', b: 'docker-image://x', c: ./c}}", &[], 0),
        ];
        for (attribute, expected, line) in cases {
            let text = format!(
                "services:\n  web:\n    image: x\n    {attribute}\n  base: {{build: .}}\n\
                 secrets: {{kept: {{external: true}}, mine: {{environment: TAG}}}}\n\
                 configs: {{told: {{content: c}}}}\n"
            );
            let loaded = load(&[("compose.yaml", &text)]);
            assert!(loaded.diagnostics.is_empty(), "{attribute}: {:?}", loaded.diagnostics);
            let found: Vec<_> = loaded.unstartable.sorted();
            assert_eq!(found.len(), usize::from(!expected.is_empty()), "{attribute}: {found:?}");
            for diagnostic in found {
                assert!(expected.iter().all(|word| diagnostic.message.contains(word)), "{}", diagnostic.message);
                let place = loaded.sources.position(diagnostic.labels[0].span);
                assert_eq!(place.0, line, "{attribute}");
            }
        }
    }
    #[test]
    fn contexts_that_go_round_are_told_of_each_service_in_the_circle() {
        let build = |name: &str, other: &str| format!("  {name}: {{build: {{additional_contexts: {{c: 'service:{other}'}}}}}}\n");
        let text = format!("services:\n{}{}{}", build("a", "b"), build("b", "a"), build("c", "a"));
        let loaded = load(&[("compose.yaml", &text)]);
        assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
        let found: Vec<&str> = loaded.unstartable.sorted().into_iter().map(|found| found.message.as_str()).collect();
        assert!(
            matches!(found[..], [one, two] if one.contains("that one with `a`") && two.contains("that one with `b`")),
            "{found:?}"
        );
    }
}
