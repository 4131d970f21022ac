//! `process-compose.yaml` → the tree of a stack file with `processes:`.
//!
//! Its words have their counterparts here (`process_healthy` is `service_healthy`, a `readiness_probe` is a `healthcheck`); what has
//! none is told and left out. Every value keeps its place, so later findings point into the file as it was written.

use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::Span;
use crate::yaml::node::{Entry, Mapping, Node, Value};

/// Keys of the file that say nothing about what is run.
const SILENT: &[&str] =
    &["version", "log_level", "log_location", "log_length", "log_configuration", "is_strict", "disable_env_expansion"];
/// Keys of a process with the same meaning here, by another name perhaps.
const SAME: &[(&str, &str)] = &[
    ("command", "command"),
    ("entrypoint", "entrypoint"),
    ("working_dir", "working_dir"),
    ("env_file", "env_file"),
    ("replicas", "scale"),
    ("is_tty", "tty"),
    ("description", "x-description"),
];
/// Keys of a process that say nothing about how it is run.
const SILENT_OF_PROCESS: &[&str] = &["log_location", "log_configuration", "disable_ansi_colors", "is_foreground", "namespace"];
/// What a dependency is waited for.
const CONDITIONS: &[(&str, &str)] = &[
    ("process_started", "service_started"),
    ("process_healthy", "service_healthy"),
    ("process_log_ready", "service_healthy"),
    ("process_completed_successfully", "service_completed_successfully"),
];
const RESTARTS: &[(&str, &str)] = &[("no", "no"), ("exit_on_failure", "no"), ("always", "always"), ("on_failure", "on-failure")];

/// The tree of a stack file.
pub fn stack(document: Node, diagnostics: &mut Diagnostics) -> Node {
    let span = document.span;
    let Some(top) = document.as_mapping() else { return document };
    let mut result = Mapping::default();
    let everywhere = top.get("environment").map(variables).unwrap_or_default();
    for (key, entry) in top.iter() {
        match key {
            "environment" => {}
            "name" => {
                result.insert("name", entry.key_span, entry.node.clone());
            }
            "processes" => {
                let mut processes = Mapping::default();
                for (name, process) in entry.node.as_mapping().into_iter().flat_map(Mapping::iter) {
                    let converted = self::process(process, &everywhere, diagnostics);
                    processes.insert(name, process.key_span, converted);
                }
                result.insert("processes", entry.key_span, Node::new(Value::Mapping(processes), entry.node.span));
            }
            key if SILENT.contains(&key) => {}
            key => ignored(key, entry, diagnostics),
        }
    }
    Node::new(Value::Mapping(result), span)
}

fn ignored(key: &str, entry: &Entry, diagnostics: &mut Diagnostics) {
    let message = format!("`{key}` of process-compose has no counterpart here and is ignored");
    diagnostics.push(Diagnostic::warning("ignored-key", message).at(entry.key_span, ""));
}

fn process(entry: &Entry, everywhere: &Mapping, diagnostics: &mut Diagnostics) -> Node {
    let Some(process) = entry.node.as_mapping() else { return entry.node.clone() };
    let mut result = Mapping::default();
    let own = process.get("environment").map(variables).unwrap_or_default();
    let mut environment = everywhere.clone();
    for (name, variable) in own.iter() {
        environment.insert(name, variable.key_span, variable.node.clone());
    }
    if !environment.is_empty() {
        result.insert("environment", entry.key_span, Node::new(Value::Mapping(environment), entry.key_span));
    }
    for (key, given) in process.iter() {
        let (span, node) = (given.key_span, &given.node);
        if let Some((_, ours)) = SAME.iter().find(|(theirs, _)| *theirs == key) {
            result.insert(*ours, span, node.clone());
            continue;
        }
        match key {
            "environment" => {}
            "depends_on" => {
                result.insert("depends_on", span, depends_on(node, diagnostics));
            }
            "availability" => availability(node, &mut result, diagnostics),
            "readiness_probe" | "ready_log_line" | "liveness_probe" => health(key, given, &mut result, diagnostics),
            "shutdown" => shutdown(node, &mut result, diagnostics),
            "disabled" => {
                if node.as_text() == Some("true") {
                    let profile = Node::text("disabled", node.span);
                    result.insert("profiles", span, Node::new(Value::Sequence(vec![profile]), node.span));
                }
            }
            key if SILENT_OF_PROCESS.contains(&key) || key.starts_with("x-") => {}
            key => ignored(key, given, diagnostics),
        }
    }
    Node::new(Value::Mapping(result), entry.node.span)
}

/// `[A=1]` or `{A: 1}`.
fn variables(node: &Node) -> Mapping {
    let mut result = Mapping::default();
    for item in node.as_sequence().unwrap_or_default() {
        let (name, value) = item.as_text().unwrap_or_default().split_once('=').unwrap_or_default();
        result.insert(name, item.span, Node::text(value, item.span));
    }
    for (name, entry) in node.as_mapping().into_iter().flat_map(Mapping::iter) {
        result.insert(name, entry.key_span, entry.node.clone());
    }
    result
}

fn depends_on(node: &Node, diagnostics: &mut Diagnostics) -> Node {
    let mut result = Mapping::default();
    for (name, entry) in node.as_mapping().into_iter().flat_map(Mapping::iter) {
        let condition = entry.node.get("condition");
        let written = condition.and_then(Node::as_text).unwrap_or("process_completed_successfully");
        let ours = CONDITIONS.iter().find(|(theirs, _)| *theirs == written).map(|(_, ours)| *ours);
        let span = condition.map_or(entry.key_span, |condition| condition.span);
        if ours.is_none() {
            let message = format!("the condition `{written}` has no counterpart here: success is waited for");
            diagnostics.push(Diagnostic::warning("ignored-key", message).at(span, ""));
        }
        let condition = Node::text(ours.unwrap_or("service_completed_successfully"), span);
        result.insert(name, entry.key_span, one("condition", condition, entry.key_span));
    }
    Node::new(Value::Mapping(result), node.span)
}

fn availability(node: &Node, result: &mut Mapping, diagnostics: &mut Diagnostics) {
    let most = node.get("max_restarts").and_then(Node::as_text).filter(|most| *most != "0");
    for (key, given) in node.as_mapping().into_iter().flat_map(Mapping::iter) {
        match key {
            "restart" => {
                let written = given.node.as_text().unwrap_or_default();
                let ours = RESTARTS.iter().find(|(theirs, _)| *theirs == written).map_or(written, |(_, ours)| *ours);
                let policy = match most {
                    Some(most) if ours == "on-failure" => format!("{ours}:{most}"),
                    Some(_) | None => ours.to_owned(),
                };
                result.insert("restart", given.key_span, Node::text(policy, given.node.span));
            }
            // The waits between restarts grow by themselves.
            "max_restarts" | "backoff_seconds" => {}
            key => ignored(&format!("availability.{key}"), given, diagnostics),
        }
    }
}

/// Both probes become the one health check. What a liveness probe finds restarts the process.
fn health(key: &str, given: &Entry, result: &mut Mapping, diagnostics: &mut Diagnostics) {
    const TIMES: &[(&str, &str)] =
        &[("initial_delay_seconds", "start_period"), ("period_seconds", "interval"), ("timeout_seconds", "timeout")];
    let mut check = result.remove("healthcheck").and_then(|entry| entry.node.into_mapping()).unwrap_or_default();
    let (span, node) = (given.key_span, &given.node);
    if key == "ready_log_line" {
        // Theirs is a part of a line.
        let line = node.as_text().map(literally).unwrap_or_default();
        check.insert("log", span, Node::text(line, node.span));
    }
    if key == "liveness_probe" {
        result.insert("on_unhealthy", span, Node::text("restart", span));
    }
    let is_told = check.contains("test") || check.contains("http");
    for (key, given) in node.as_mapping().into_iter().flat_map(Mapping::iter).filter(|_| !is_told) {
        let (span, value) = (given.key_span, &given.node);
        if let Some((_, ours)) = TIMES.iter().find(|(theirs, _)| *theirs == key) {
            check.insert(*ours, span, Node::text(format!("{}s", value.as_text().unwrap_or_default()), value.span));
            continue;
        }
        match key {
            "exec" => {
                let command = value.get("command").cloned().unwrap_or_else(|| value.clone());
                check.insert("test", span, command);
            }
            "http_get" => {
                let part = |key: &str, otherwise: &'static str| {
                    value.get(key).and_then(Node::as_text).filter(|text| !text.is_empty()).unwrap_or(otherwise).to_owned()
                };
                let port = value.get("port").and_then(Node::as_text).map(|port| format!(":{port}")).unwrap_or_default();
                let url = format!("{}://{}{port}{}", part("scheme", "http"), part("host", "127.0.0.1"), part("path", "/"));
                check.insert("http", span, Node::text(url, value.span));
            }
            "failure_threshold" => {
                check.insert("retries", span, value.clone());
            }
            "success_threshold" => {}
            key => ignored(&format!("probe.{key}"), given, diagnostics),
        }
    }
    result.insert("healthcheck", span, Node::new(Value::Mapping(check), node.span));
}

/// A text as a regular expression that matches it alone.
fn literally(text: &str) -> String {
    text.chars().flat_map(|c| c.is_ascii_punctuation().then_some('\\').into_iter().chain([c])).collect()
}

fn shutdown(node: &Node, result: &mut Mapping, diagnostics: &mut Diagnostics) {
    for (key, given) in node.as_mapping().into_iter().flat_map(Mapping::iter) {
        let (span, value) = (given.key_span, &given.node);
        let text = value.as_text().unwrap_or_default();
        match key {
            "signal" => result.insert("stop_signal", span, Node::text(text, value.span)),
            "timeout_seconds" => result.insert("stop_grace_period", span, Node::text(format!("{text}s"), value.span)),
            "command" => {
                let hook = one("command", value.clone(), span);
                result.insert("pre_stop", span, Node::new(Value::Sequence(vec![hook]), value.span))
            }
            key => {
                ignored(&format!("shutdown.{key}"), given, diagnostics);
                None
            }
        };
    }
}

fn one(key: &str, node: Node, span: Span) -> Node {
    let mut mapping = Mapping::default();
    mapping.insert(key, span, node);
    Node::new(Value::Mapping(mapping), span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::source::SourceId;
    use crate::yaml::emit::json_value;
    use crate::yaml::parse::parse;
    use serde_json::json;

    #[test]
    fn each_word_has_its_counterpart_and_the_rest_is_told() {
        let text = "
version: '0.5'
environment: [A=1, B=2]
processes:
  db:
    command: ./db
    ready_log_line: ready (1)
    availability: {restart: on_failure, max_restarts: 3, backoff_seconds: 2}
    shutdown: {signal: 2, timeout_seconds: 5, parent_only: true}
  web:
    command: ./web
    environment: [B=3]
    replicas: 2
    disabled: true
    depends_on: {db: {condition: process_healthy}, seed: {condition: process_completed}}
    readiness_probe: {http_get: {port: 80, path: /up}, period_seconds: 2, failure_threshold: 4}
    liveness_probe: {exec: {command: ./alive}}
";
        let mut diagnostics = Diagnostics::default();
        let document = parse(SourceId(0), text, &mut diagnostics).unwrap().remove(0);
        assert_eq!(
            json_value(&stack(document, &mut diagnostics)),
            json!({"processes": {
                "db": {
                    "environment": {"A": "1", "B": "2"}, "command": "./db", "healthcheck": {"log": "ready \\(1\\)"},
                    "restart": "on-failure:3", "stop_signal": "2", "stop_grace_period": "5s",
                },
                "web": {
                    "environment": {"A": "1", "B": "3"}, "command": "./web", "scale": 2, "profiles": ["disabled"],
                    "depends_on": {
                        "db": {"condition": "service_healthy"}, "seed": {"condition": "service_completed_successfully"},
                    },
                    "on_unhealthy": "restart",
                    "healthcheck": {"http": "http://127.0.0.1:80/up", "interval": "2s", "retries": 4},
                },
            }})
        );
        let told: Vec<_> = diagnostics.sorted().iter().map(|found| found.message.clone()).collect();
        assert_eq!(
            told,
            [
                "`shutdown.parent_only` of process-compose has no counterpart here and is ignored",
                "the condition `process_completed` has no counterpart here: success is waited for",
            ]
        );
    }
}
