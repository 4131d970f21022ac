//! `process-compose.yaml` → the tree of a stack file with `processes:`.
//!
//! Its words have their counterparts here (`process_healthy` is `service_healthy`, a `readiness_probe` is a `healthcheck`), and what
//! it takes for granted is written out where we take something else for granted (bash, a probe every ten seconds). What has no
//! counterpart is told, each key at its place, and left out. Every value keeps its place, so later findings point into the file as
//! it was written.

use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::name::EnvId;
use crate::base::source::Span;
use crate::model::process::Command;
use crate::yaml::node::{Entry, Mapping, Node, Value};

/// Keys of the file that say nothing about what is run: the version of its format, and that unknown keys are mistakes, as here.
const SILENT: &[&str] = &["version", "is_strict"];
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
/// What stands here for keys that have no counterpart, as far as something does.
const INSTEAD: &[(&str, &str)] = &[
    ("log_location", "what processes write is kept by itself, and `baistack logs` shows it"),
    ("log_configuration", "`logging: {options: {max-size: 20m, max-file: \"5\"}}` says how much of a process's log is kept"),
    ("availability.backoff_seconds", "the waits between restarts grow by themselves, from 100 ms to 30 s"),
    ("availability.exit_on_end", "`up --abort-on-container-exit` ends all with the first process that ends"),
    ("is_daemon", "run it in the foreground: what it leaves running ends with it"),
    ("is_elevated", "nothing is run as root; `cap_add` gives a process single capabilities"),
    ("env_cmds", "let a script set them and start the program"),
    ("extends", "name both files: `-f FILE -f FILE`"),
];
/// What a dependency is waited for.
const CONDITIONS: &[(&str, &str)] = &[
    ("process_started", "service_started"),
    ("process_healthy", "service_healthy"),
    ("process_log_ready", "service_healthy"),
    ("process_completed_successfully", "service_completed_successfully"),
];
const RESTARTS: &[(&str, &str)] = &[("no", "no"), ("exit_on_failure", "no"), ("always", "always"), ("on_failure", "on-failure")];

/// The tree of a stack file.
pub fn stack(mut document: Node, diagnostics: &mut Diagnostics) -> Node {
    let span = document.span;
    if document.get("disable_env_expansion").and_then(Node::as_text) == Some("true") {
        // What is not filled in there must not be here.
        each_text(&mut document, &mut |text, _| *text = text.replace('$', "$$"));
    }
    let Some(top) = document.as_mapping() else { return document };
    let mut result = Mapping::default();
    let file = File {
        environment: top.get("environment").map(|node| variables(node, diagnostics)).unwrap_or_default(),
        shell: top.get("shell").map(|node| shell(node, diagnostics)),
        vars: top.get("vars").and_then(Node::as_mapping).cloned().unwrap_or_default(),
    };
    for (key, entry) in top.iter() {
        match key {
            "environment" | "shell" | "vars" | "disable_env_expansion" => {}
            // Theirs is shown, and may be anything.
            "name" if entry.node.as_text().is_some_and(|text| !text.contains('$') && EnvId::normalized(text).is_none()) => {
                differs(entry.node.span, "`name` is left out, since nothing of it can name an environment", diagnostics);
            }
            "name" => drop(result.insert("name", entry.key_span, entry.node.clone())),
            "processes" => {
                let mut processes = Mapping::default();
                let Some(given) = entry.node.as_mapping() else {
                    result.insert("processes", entry.key_span, entry.node.clone());
                    continue;
                };
                for (name, process) in given.iter() {
                    let converted = file.process(process, diagnostics);
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

/// Says that a key is left out; that its value is what it would be without it is not worth a line.
fn ignored(key: &str, entry: &Entry, diagnostics: &mut Diagnostics) {
    if is_empty(&entry.node) {
        return;
    }
    let message = format!("`{key}` of process-compose has no counterpart here and is ignored");
    let told = Diagnostic::warning("ignored-key", message).at(entry.key_span, "");
    let instead = INSTEAD.iter().find(|(theirs, _)| *theirs == key);
    diagnostics.push(if let Some((_, instead)) = instead { told.help(*instead) } else { told });
}

/// Says that something has not quite the meaning here that it has there.
fn differs(span: Span, message: impl Into<String>, diagnostics: &mut Diagnostics) {
    diagnostics.push(Diagnostic::warning("ignored-key", message).at(span, ""));
}

/// What Go takes a key for that is not there.
fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Scalar(scalar) => matches!(scalar.text.as_str(), "" | "0"),
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(mapping) => mapping.is_empty(),
    }
}

/// The entries of what has to be a mapping; that it is none is an error.
fn entries<'n>(key: &str, node: &'n Node, diagnostics: &mut Diagnostics) -> impl Iterator<Item = (&'n str, &'n Entry)> + use<'n> {
    let mapping = node.as_mapping();
    if mapping.is_none() && !node.is_null() {
        let message = format!("`{key}` must be a mapping, and this is {}", node.kind_name());
        diagnostics.push(Diagnostic::error("wrong-kind", message).at(node.span, ""));
    }
    mapping.into_iter().flat_map(Mapping::iter)
}

/// What the file says for all of its processes.
struct File {
    environment: Mapping,
    /// None for bash, which is theirs unless they say otherwise.
    shell: Option<Vec<Node>>,
    vars: Mapping,
}

impl File {
    fn process(&self, entry: &Entry, diagnostics: &mut Diagnostics) -> Node {
        let mut process = entry.node.clone();
        if process.as_mapping().is_none() {
            return process;
        }
        self.fill_in(&mut process, diagnostics);
        let Some(process) = process.as_mapping() else { return process };
        let mut result = Mapping::default();
        let own = process.get("environment").map(|node| variables(node, diagnostics)).unwrap_or_default();
        let mut environment = self.environment.clone();
        for (name, variable) in own.iter() {
            environment.insert(name, variable.key_span, variable.node.clone());
        }
        if !environment.is_empty() {
            result.insert("environment", entry.key_span, Node::new(Value::Mapping(environment), entry.key_span));
        }
        for (key, given) in process.iter() {
            let (span, node) = (given.key_span, &given.node);
            match key {
                // The command alone is run there.
                "entrypoint" if process.get("command").is_some_and(|command| !is_empty(command)) => {
                    differs(
                        span,
                        "`entrypoint` of process-compose counts for nothing beside `command`, and is left out",
                        diagnostics,
                    );
                }
                // None is one there.
                "replicas" if is_empty(node) => {}
                key if SAME.iter().any(|(theirs, _)| *theirs == key) => {
                    let ours = SAME.iter().find(|(theirs, _)| *theirs == key).map_or(key, |(_, ours)| ours);
                    result.insert(ours, span, node.clone());
                }
                "environment" | "vars" | "liveness_probe" | "readiness_probe" | "ready_log_line" => {}
                "depends_on" => {
                    result.insert("depends_on", span, depends_on(node, diagnostics));
                }
                "availability" => availability(node, &mut result, diagnostics),
                "shutdown" => shutdown(node, &mut result, diagnostics),
                "disabled" | "is_foreground" => behind_profile(key, given, &mut result),
                "schedule" => schedule(given, &mut result, diagnostics),
                "watch" => watch(given, process.get("working_dir"), &mut result, diagnostics),
                "namespace" if node.as_text() == Some("default") => {}
                key if key.starts_with("x-") => {
                    result.insert(key, span, node.clone());
                }
                key => ignored(key, given, diagnostics),
            }
        }
        health(process, &mut result, diagnostics);
        if self.shell.is_some() || wants_shell(&result) {
            let bash = || ["bash", "-c"].map(|word| Node::text(word, entry.key_span)).to_vec();
            let shell = self.shell.clone().unwrap_or_else(bash);
            result.insert("shell", entry.key_span, Node::new(Value::Sequence(shell), entry.key_span));
        }
        Node::new(Value::Mapping(result), entry.node.span)
    }

    /// Fills in the `{{.NAME}}` of `vars`. Everything else of Go's templates stays as it is, and is told.
    fn fill_in(&self, process: &mut Node, diagnostics: &mut Diagnostics) {
        let own = process.get("vars").and_then(Node::as_mapping).cloned().unwrap_or_default();
        let has_vars = !own.is_empty() || !self.vars.is_empty();
        each_text(process, &mut |text, span| {
            let mut filled = String::new();
            let mut rest = text.as_str();
            while let Some((before, after)) = rest.split_once("{{") {
                filled.push_str(before);
                let Some((inside, after)) = after.split_once("}}") else {
                    rest = &rest[before.len()..];
                    break;
                };
                let name = inside.trim().strip_prefix('.');
                let value = name.and_then(|name| own.get(name).or_else(|| self.vars.get(name))).and_then(Node::as_text);
                if let Some(value) = value {
                    filled.push_str(value);
                } else {
                    if has_vars || name == Some("PC_REPLICA_NUM") {
                        let message = format!(
                            "the template `{{{{{inside}}}}}` of process-compose has no counterpart here and stays as it is"
                        );
                        differs(span, message, diagnostics);
                    }
                    filled.push_str(&format!("{{{{{inside}}}}}"));
                }
                rest = after;
            }
            filled.push_str(rest);
            *text = filled;
        });
    }
}

/// Changes each text and number below a node, keys excepted.
fn each_text(node: &mut Node, change: &mut impl FnMut(&mut String, Span)) {
    match &mut node.value {
        Value::Null | Value::Bool(_) => {}
        Value::Scalar(scalar) => change(&mut scalar.text, node.span),
        Value::Sequence(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Mapping(mapping) => mapping.iter_mut().for_each(|(_, entry)| each_text(&mut entry.node, change)),
    }
}

/// `[A=1]` or `{A: 1}`.
fn variables(node: &Node, diagnostics: &mut Diagnostics) -> Mapping {
    let mut result = Mapping::default();
    for item in node.as_sequence().unwrap_or_default() {
        match item.as_text().and_then(|text| text.split_once('=')) {
            Some((name, value)) => {
                result.insert(name, item.span, Node::text(value, item.span));
            }
            None => differs(item.span, "this is not `NAME=VALUE` and is ignored", diagnostics),
        }
    }
    for (name, entry) in node.as_mapping().into_iter().flat_map(Mapping::iter) {
        result.insert(name, entry.key_span, entry.node.clone());
    }
    result
}

/// The words before a text that a shell is to run.
fn shell(node: &Node, diagnostics: &mut Diagnostics) -> Vec<Node> {
    let mut words = ["bash", "-c"].map(|word| Node::text(word, node.span));
    for (key, given) in entries("shell", node, diagnostics) {
        match key {
            "shell_command" => words[0] = given.node.clone(),
            "shell_argument" => words[1] = given.node.clone(),
            key => ignored(&format!("shell.{key}"), given, diagnostics),
        }
    }
    words.to_vec()
}

/// Whether anything of a process goes to a shell.
fn wants_shell(process: &Mapping) -> bool {
    let goes_to_shell = |node: &Node| {
        let text = node.as_text().filter(|text| !text.is_empty());
        text.is_some_and(|text| Command::Text(text.to_owned()).wants_shell())
    };
    process.get("command").is_some_and(goes_to_shell)
        || process.get("healthcheck").is_some_and(|check| check.get("test").is_some())
        || process.contains("pre_stop")
}

/// A process that is not started with the others.
fn behind_profile(key: &str, given: &Entry, result: &mut Mapping) {
    if given.node.as_text() != Some("true") {
        return;
    }
    let profile = Node::text(if key == "disabled" { "disabled" } else { "foreground" }, given.node.span);
    let mut profiles =
        result.remove("profiles").and_then(|entry| entry.node.as_sequence().map(<[Node]>::to_vec)).unwrap_or_default();
    profiles.push(profile);
    result.insert("profiles", given.key_span, Node::new(Value::Sequence(profiles), given.node.span));
    if key == "is_foreground" {
        result.insert("stdin_open", given.key_span, Node::new(Value::Bool(true), given.node.span));
    }
}

fn depends_on(node: &Node, diagnostics: &mut Diagnostics) -> Node {
    let Some(given) = node.as_mapping() else { return node.clone() };
    let mut result = Mapping::default();
    for (name, entry) in given.iter() {
        let condition = entry.node.get("condition");
        let written = condition.and_then(Node::as_text).filter(|text| !text.is_empty()).unwrap_or("process_started");
        let ours = CONDITIONS.iter().find(|(theirs, _)| *theirs == written).map(|(_, ours)| *ours);
        let span = condition.map_or(entry.key_span, |condition| condition.span);
        if ours.is_none() {
            let message = format!("the condition `{written}` has no counterpart here: success is waited for");
            differs(span, message, diagnostics);
        }
        for (key, other) in
            entries(&format!("depends_on.{name}"), &entry.node, diagnostics).filter(|(key, _)| *key != "condition")
        {
            ignored(&format!("depends_on.{name}.{key}"), other, diagnostics);
        }
        let condition = Node::text(ours.unwrap_or("service_completed_successfully"), span);
        result.insert(name, entry.key_span, one("condition", condition, entry.key_span));
    }
    Node::new(Value::Mapping(result), node.span)
}

fn availability(node: &Node, result: &mut Mapping, diagnostics: &mut Diagnostics) {
    let most = node.get("max_restarts").and_then(Node::as_text).filter(|most| *most != "0");
    let written = node.get("restart").and_then(Node::as_text).unwrap_or_default();
    for (key, given) in entries("availability", node, diagnostics) {
        match key {
            "restart" if is_empty(&given.node) => {}
            "restart" => {
                let ours = RESTARTS.iter().find(|(theirs, _)| *theirs == written).map_or(written, |(_, ours)| *ours);
                let policy = match most {
                    Some(most) if ours == "on-failure" => format!("{ours}:{most}"),
                    Some(_) | None => ours.to_owned(),
                };
                if written == "exit_on_failure" {
                    let message = "`restart: exit_on_failure` has no counterpart here: it is not restarted, and the others go on";
                    let help = "`up --abort-on-container-failure` ends all with the first process that fails";
                    diagnostics.push(Diagnostic::warning("ignored-key", message).at(given.node.span, "").help(help));
                }
                result.insert("restart", given.key_span, Node::text(policy, given.node.span));
            }
            "max_restarts" if written == "on_failure" => {}
            key => ignored(&format!("availability.{key}"), given, diagnostics),
        }
    }
}

/// The probes and the awaited line become the one health check. What a liveness probe finds restarts the process.
fn health(process: &Mapping, result: &mut Mapping, diagnostics: &mut Diagnostics) {
    let given = |key: &str| process.entry(key).filter(|given| !is_empty(&given.node));
    let mut check = Mapping::default();
    let mut place = None;
    if let Some(line) = given("ready_log_line") {
        // Theirs is a part of a line.
        let text = line.node.as_text().map(literally).unwrap_or_default();
        check.insert("log", line.key_span, Node::text(text, line.node.span));
        place = Some(line);
    }
    let (ready, alive) = (given("readiness_probe"), given("liveness_probe"));
    if let (Some(_), Some(alive)) = (ready, alive) {
        let message = "`liveness_probe` beside a `readiness_probe` is left out: a process has one health check here";
        let help = "the readiness probe goes on for as long as the process runs, and a failure restarts it (`on_unhealthy`)";
        diagnostics.push(Diagnostic::warning("ignored-key", message).at(alive.key_span, "").help(help));
    }
    let key = if ready.is_some() { "readiness_probe" } else { "liveness_probe" };
    if let Some(given) = ready.or(alive) {
        probe(key, given, &mut check, diagnostics);
        place = Some(given);
    }
    if let Some(alive) = alive {
        result.insert("on_unhealthy", alive.key_span, Node::text("restart", alive.key_span));
    }
    if let Some(given) = place {
        result.insert("healthcheck", given.key_span, Node::new(Value::Mapping(check), given.node.span));
    }
}

fn probe(name: &str, given: &Entry, check: &mut Mapping, diagnostics: &mut Diagnostics) {
    const TIMES: &[(&str, &str)] =
        &[("initial_delay_seconds", "start_period"), ("period_seconds", "interval"), ("timeout_seconds", "timeout")];
    let place = given.key_span;
    for (key, given) in entries(name, &given.node, diagnostics) {
        let (span, value) = (given.key_span, &given.node);
        if let Some((_, ours)) = TIMES.iter().find(|(theirs, _)| *theirs == key) {
            if !is_empty(value) {
                check.insert(*ours, span, Node::text(format!("{}s", value.as_text().unwrap_or_default()), value.span));
            }
            continue;
        }
        match key {
            "exec" => {
                for (part, given) in entries(&format!("{name}.exec"), value, diagnostics).filter(|(part, _)| *part != "command") {
                    ignored(&format!("{name}.exec.{part}"), given, diagnostics);
                }
                check.insert("test", span, value.get("command").cloned().unwrap_or_else(|| value.clone()));
            }
            "http_get" => {
                check.insert("http", span, http(&format!("{name}.http_get"), value, diagnostics));
            }
            "failure_threshold" if is_empty(value) => {}
            "failure_threshold" => {
                check.insert("retries", span, value.clone());
            }
            "success_threshold" if value.as_text() == Some("1") => {}
            key => ignored(&format!("{name}.{key}"), given, diagnostics),
        }
    }
    // Theirs where nothing is said.
    for (ours, time) in [("interval", "10s"), ("timeout", "1s")] {
        if !check.contains(ours) {
            check.insert(ours, place, Node::text(time, place));
        }
    }
}

/// A URL, or one with what is sent along and the status that is wanted.
fn http(name: &str, value: &Node, diagnostics: &mut Diagnostics) -> Node {
    let part = |key: &str| value.get(key).and_then(Node::as_text).filter(|text| !text.is_empty());
    let port = part("port").or(part("num_port")).map(|port| format!(":{port}")).unwrap_or_default();
    let (scheme, host, path) =
        (part("scheme").unwrap_or("http"), part("host").unwrap_or("127.0.0.1"), part("path").unwrap_or("/"));
    let url = Node::text(format!("{}://{host}{port}{path}", scheme.to_ascii_lowercase()), value.span);
    let mut long = Mapping::default();
    for (key, given) in entries(name, value, diagnostics) {
        match key {
            "host" | "port" | "num_port" | "scheme" | "path" => {}
            "headers" => {
                let mut headers = Mapping::default();
                for (name, header) in given.node.as_mapping().into_iter().flat_map(Mapping::iter) {
                    let several =
                        header.node.as_sequence().map(|all| all.iter().filter_map(Node::as_text).collect::<Vec<_>>().join(", "));
                    let text = several.or_else(|| header.node.as_text().map(str::to_owned)).unwrap_or_default();
                    headers.insert(name, header.key_span, Node::text(text, header.node.span));
                }
                long.insert("headers", given.key_span, Node::new(Value::Mapping(headers), given.node.span));
            }
            "status_code" if is_empty(&given.node) => {}
            "status_code" => {
                let status = Node::new(Value::Sequence(vec![given.node.clone()]), given.node.span);
                long.insert("status", given.key_span, status);
            }
            key => ignored(&format!("{name}.{key}"), given, diagnostics),
        }
    }
    if long.is_empty() {
        return url;
    }
    long.insert("url", value.span, url);
    Node::new(Value::Mapping(long), value.span)
}

/// A text as a regular expression that matches it alone.
fn literally(text: &str) -> String {
    text.chars().flat_map(|c| c.is_ascii_punctuation().then_some('\\').into_iter().chain([c])).collect()
}

fn shutdown(node: &Node, result: &mut Mapping, diagnostics: &mut Diagnostics) {
    for (key, given) in entries("shutdown", node, diagnostics) {
        let (span, value) = (given.key_span, &given.node);
        let text = value.as_text().unwrap_or_default();
        match key {
            "signal" | "timeout_seconds" | "command" if is_empty(value) => None,
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

fn schedule(given: &Entry, result: &mut Mapping, diagnostics: &mut Diagnostics) {
    let mut ours = Mapping::default();
    for (key, part) in entries("schedule", &given.node, diagnostics) {
        match key {
            "cron" | "interval" if is_empty(&part.node) => {}
            "cron" => drop(ours.insert("cron", part.key_span, part.node.clone())),
            "interval" => drop(ours.insert("every", part.key_span, part.node.clone())),
            "max_concurrent" if part.node.as_text() == Some("1") => {}
            key => ignored(&format!("schedule.{key}"), part, diagnostics),
        }
    }
    if !ours.is_empty() {
        result.insert("schedule", given.key_span, Node::new(Value::Mapping(ours), given.node.span));
    }
}

/// Their paths are relative to where the process runs.
fn watch(given: &Entry, working_dir: Option<&Node>, result: &mut Mapping, diagnostics: &mut Diagnostics) {
    let mut rules = Vec::new();
    for (key, part) in entries("watch", &given.node, diagnostics) {
        if key != "paths" {
            ignored(&format!("watch.{key}"), part, diagnostics);
            continue;
        }
        for item in part.node.as_sequence().unwrap_or_default() {
            let mut rule = Mapping::default();
            for (key, part) in entries("watch.paths", item, diagnostics) {
                match key {
                    "path" => {
                        let text = part.node.as_text().unwrap_or_default();
                        let base = working_dir.and_then(Node::as_text).filter(|base| !base.is_empty() && !text.starts_with('/'));
                        let path = base.map_or_else(|| text.to_owned(), |base| format!("{}/{text}", base.trim_end_matches('/')));
                        rule.insert("path", part.key_span, Node::text(path, part.node.span));
                    }
                    "include" if !is_empty(&part.node) => drop(rule.insert("include", part.key_span, part.node.clone())),
                    "exclude" if !is_empty(&part.node) => drop(rule.insert("ignore", part.key_span, part.node.clone())),
                    key => ignored(&format!("watch.paths.{key}"), part, diagnostics),
                }
            }
            rule.insert("action", item.span, Node::text("restart", item.span));
            rules.push(Node::new(Value::Mapping(rule), item.span));
        }
    }
    if !rules.is_empty() {
        let watch = one("watch", Node::new(Value::Sequence(rules), given.node.span), given.key_span);
        result.insert("develop", given.key_span, watch);
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

    fn read(text: &str) -> (serde_json::Value, Vec<String>) {
        let mut diagnostics = Diagnostics::default();
        let document = parse(SourceId(0), text, &mut diagnostics).unwrap().remove(0);
        let tree = json_value(&stack(document, &mut diagnostics));
        // By its place: what a line is about stands there.
        let told = diagnostics.sorted().into_iter().map(|found| {
            let span = found.labels[0].span;
            format!("{}: {}", &text[span.start as usize..span.end as usize], found.message)
        });
        (tree, told.collect())
    }

    fn indented(lines: &str) -> String {
        lines.lines().flat_map(|line| ["    ", line, "\n"]).collect()
    }

    /// What is said of a process with these lines, and what it becomes.
    fn process(lines: &str) -> (serde_json::Value, Vec<String>) {
        let (tree, told) = read(&format!("processes:\n  a:\n    command: ./a\n{}", indented(lines)));
        (tree["processes"]["a"].clone(), told)
    }

    #[test]
    fn each_word_has_its_counterpart_and_the_rest_is_told() {
        let (tree, told) = read(
            "
version: '0.5'
environment: [A=1, B=2, C]
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
    depends_on: {db: {condition: process_healthy}, seed: {condition: process_completed}, log: {}}
    readiness_probe: {http_get: {port: 80, path: /up}, period_seconds: 2, failure_threshold: 4}
    liveness_probe: {exec: {command: ./alive}}
",
        );
        assert_eq!(
            tree,
            json!({"processes": {
                "db": {
                    "environment": {"A": "1", "B": "2"}, "command": "./db", "healthcheck": {"log": "ready \\(1\\)"},
                    "restart": "on-failure:3", "stop_signal": "2", "stop_grace_period": "5s",
                },
                "web": {
                    "environment": {"A": "1", "B": "3"}, "command": "./web", "scale": 2, "profiles": ["disabled"],
                    "depends_on": {
                        "db": {"condition": "service_healthy"}, "seed": {"condition": "service_completed_successfully"},
                        "log": {"condition": "service_started"},
                    },
                    "on_unhealthy": "restart",
                    "healthcheck": {"http": "http://127.0.0.1:80/up", "interval": "2s", "retries": 4, "timeout": "1s"},
                },
            }})
        );
        let ignored = "has no counterpart here and is ignored";
        assert_eq!(
            told,
            [
                "C: this is not `NAME=VALUE` and is ignored".to_owned(),
                format!("backoff_seconds: `availability.backoff_seconds` of process-compose {ignored}"),
                format!("parent_only: `shutdown.parent_only` of process-compose {ignored}"),
                "process_completed: the condition `process_completed` has no counterpart here: success is waited for".to_owned(),
                "liveness_probe: `liveness_probe` beside a `readiness_probe` is left out: a process has one health check here"
                    .to_owned(),
            ]
        );
    }

    #[test]
    fn nothing_is_left_out_unsaid_whatever_the_order() {
        for key in [
            "log_location: a.log",
            "log_level: debug",
            "namespace: back",
            "is_daemon: true",
            "is_elevated: true",
            "launch_timeout_seconds: 3",
            "disable_ansi_colors: true",
            "log_configuration: {fields_order: [time]}",
            "no_such: 1",
        ] {
            let (_, told) = process(key);
            let name = key.split(':').next().unwrap();
            assert_eq!(told, [format!("{name}: `{name}` of process-compose has no counterpart here and is ignored")]);
            let (_, told) = read(&format!("{key}\nprocesses: {{a: {{command: ./a}}}}\n"));
            assert_eq!(told.len(), 1, "{key} at the top: {told:?}");
        }
        for (lines, about) in [
            ("availability: {restart: exit_on_failure}", "exit_on_failure: `restart: exit_on_failure`"),
            ("availability: {restart: always, max_restarts: 3}", "max_restarts: `availability.max_restarts`"),
            ("availability: {max_restarts: 3}", "max_restarts: `availability.max_restarts`"),
            ("availability: {exit_on_end: true}", "exit_on_end: `availability.exit_on_end`"),
            ("entrypoint: [./b]", "entrypoint: `entrypoint`"),
            ("readiness_probe: {exec: {command: x, working_dir: y}}", "working_dir: `readiness_probe.exec.working_dir`"),
            ("readiness_probe: {exec: {command: x}, success_threshold: 2}", "success_threshold: `readiness_probe.success"),
            ("liveness_probe: {http_get: {port: 1, no_such: 1}}", "no_such: `liveness_probe.http_get.no_such`"),
            (
                "liveness_probe: {exec: {command: x}}\nreadiness_probe: {exec: {command: y}}",
                "liveness_probe: `liveness_probe` beside",
            ),
            ("schedule: {cron: '0 3 * * *', timezone: UTC}", "timezone: `schedule.timezone`"),
            ("watch: {paths: [{path: src}], cascade: true}", "cascade: `watch.cascade`"),
            ("depends_on: {b: {condition: process_started, no_such: 1}}", "no_such: `depends_on.b.no_such`"),
            ("description: replica {{.PC_REPLICA_NUM}}", "replica {{.PC_REPLICA_NUM}}: the template"),
            ("availability: often", "often: `availability` must be a mapping, and this is text"),
        ] {
            let (_, told) = process(lines);
            assert!(told.len() == 1 && told[0].starts_with(about), "{lines}: {told:?}");
        }
        // What says no more than silence does.
        let (_, told) = process(
            "namespace: default\nis_daemon: false\nlog_location: ''\nreplicas: 0\n\
             availability: {restart: 'no', max_restarts: 0, backoff_seconds: 0}\nshutdown: {signal: 0, parent_only: false}",
        );
        assert_eq!(told, [""; 0]);
    }

    #[test]
    fn what_is_taken_for_granted_there_is_written_out_here() {
        let (bash, none) = (json!(["bash", "-c"]), serde_json::Value::Null);
        for (lines, key, wanted) in [
            ("", "shell", none.clone()),
            ("command: ./a && ./b", "shell", bash.clone()),
            ("readiness_probe: {exec: {command: ./up}}", "shell", bash.clone()),
            ("shutdown: {command: ./down}", "shell", bash),
            ("replicas: 0", "scale", none.clone()),
            ("is_foreground: true", "profiles", json!(["foreground"])),
            ("is_foreground: true\ndisabled: true", "profiles", json!(["foreground", "disabled"])),
            (
                "readiness_probe: {exec: {command: ./up}}",
                "healthcheck",
                json!({"test": "./up", "interval": "10s", "timeout": "1s"}),
            ),
            (
                "readiness_probe: {http_get: {scheme: HTTPS, host: h, status_code: 204, headers: {A: b, C: [d, e]}}, timeout_seconds: 3}",
                "healthcheck",
                json!({
                    "http": {"headers": {"A": "b", "C": "d, e"}, "status": [204], "url": "https://h/"},
                    "timeout": "3s", "interval": "10s",
                }),
            ),
            ("schedule: {interval: 30s, run_on_start: false}", "schedule", json!({"every": "30s"})),
            (
                "working_dir: sub\nwatch: {paths: [{path: src, include: ['*.go'], exclude: [gen]}, {path: /etc/a}]}",
                "develop",
                json!({"watch": [
                    {"path": "sub/src", "include": ["*.go"], "ignore": ["gen"], "action": "restart"},
                    {"path": "/etc/a", "action": "restart"},
                ]}),
            ),
            ("vars: {X: 1}\ndescription: a {{.X}} {{ .X }} {{", "x-description", json!("a 1 1 {{")),
            ("description: '{{.Names}}'", "x-description", json!("{{.Names}}")),
        ] {
            let text = if lines.starts_with("command") { lines.to_owned() } else { format!("command: ./a\n{lines}") };
            let (tree, told) = read(&format!("processes:\n  a:\n{}", indented(&text)));
            assert_eq!((&tree["processes"]["a"][key], &told), (&wanted, &Vec::new()), "{text}");
        }
        let (tree, told) =
            read("name: …\nshell: {shell_command: zsh}\ndisable_env_expansion: true\nprocesses: {a: {command: echo $A}}\n");
        assert_eq!(tree, json!({"processes": {"a": {"command": "echo $$A", "shell": ["zsh", "-c"]}}}));
        assert!(told.len() == 1 && told[0].starts_with("…: `name` is left out"), "{told:?}");
    }
}
