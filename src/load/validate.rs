//! What only the whole can tell: dependencies that are not there, circles, one name for two things.

use std::collections::{HashMap, HashSet};

use super::consistent;
use super::print::uses;
use super::profiles::Selection;
use super::schema::{CONTAINER, PROCESS};
use super::told::{Found, meant};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::Span;
use crate::base::suggest::closest;
use crate::model::pattern;
use crate::yaml::node::{Entry, Mapping, Node};

/// Looks at the whole, merged tree.
pub(super) fn check(root: &Node, selection: &Selection, env: &str, directory: &str, found: &mut Found<'_>) {
    let services: Vec<(&str, &Entry, bool)> = (["services", "processes"].into_iter())
        .flat_map(|section| {
            let entries = root.get(section).and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter);
            entries.map(move |(name, entry)| (name, entry, section == "processes"))
        })
        .filter(|(_, entry, _)| !entry.node.is_null())
        .collect();
    // Of a name that is there twice the container counts: what is wrong with that is told, and the rest is looked at.
    let by_name: HashMap<&str, (&Entry, bool)> =
        services.iter().rev().map(|(name, entry, process)| (*name, (*entry, *process))).collect();
    two_kinds(root, ("processes", "a process"), found.wrong);
    two_kinds(root, ("jobs", "a job"), found.wrong);
    jobs(root, selection, &by_name, found);
    for (name, entry, process) in services.iter().filter(|(name, ..)| selection.is_on(name)) {
        has_something_to_run(name, entry, *process, found.wrong);
        dependencies(name, entry, &by_name, root, selection, found);
        if !found.is_partial {
            references(name, entry, root, found.wrong);
        }
        consistent::service(name, entry, *process, found.wrong);
        super::supervised::check(&entry.node, found.wrong);
        super::startable::replicas(name, entry, found);
        if !process {
            super::startable::container(name, entry, root, found);
            super::refused::container(name, entry, found.unstartable);
        }
        super::usable::check(name, entry, *process, found.wrong);
    }
    consistent::stack(&services, root, selection, found.wrong);
    circles(&services, &by_name, found.wrong);
    fixed_ports(&services, selection, found.unstartable);
    owned(root, env, directory, found.wrong);
}

fn two_kinds(root: &Node, (section_name, what): (&str, &str), diagnostics: &mut Diagnostics) {
    let section = |section: &str| root.get(section).and_then(Node::as_mapping);
    let (Some(containers), Some(others)) = (section("services"), section(section_name)) else { return };
    for (name, entry) in others.iter() {
        if let Some(other) = containers.entry(name) {
            diagnostics.push(
                Diagnostic::error("two-kinds", format!("`{name}` is both a container and {what}"))
                    .at(entry.key_span, what)
                    .at(other.key_span, "a container")
                    .help("services have one namespace: give one of them another name"),
            );
        }
    }
}

/// What jobs depend on is a service or a job, and only jobs depend on jobs.
fn jobs(root: &Node, selection: &Selection, services: &HashMap<&str, (&Entry, bool)>, found: &mut Found<'_>) {
    let is_partial = found.is_partial;
    let diagnostics = &mut *found.wrong;
    let Some(jobs) = root.get("jobs").and_then(Node::as_mapping) else { return };
    let edges = |entry: &Entry| entry.node.get("depends_on").and_then(Node::as_mapping).cloned().unwrap_or_default();
    for (name, entry) in jobs.iter().filter(|(name, _)| selection.has_job(name)) {
        // That there are none at all is told as of whatever has to be there.
        let triggers = entry.node.get("triggers");
        if triggers.is_some_and(|triggers| ["manual", "schedule"].iter().all(|key| triggers.get(key).is_none())) {
            let fault = Diagnostic::error("empty-triggers", format!("the job `{name}` has no trigger")).at(entry.key_span, "");
            diagnostics.push(fault.help("write `triggers: {manual: true}`, or a `schedule`"));
        }
        for (dependency, edge) in edges(entry) {
            let required = edge.node.get("required").and_then(Node::as_text) != Some("false");
            if required && !is_partial && !jobs.contains(&dependency) && !services.contains_key(dependency.as_str()) {
                let message = format!("the job `{name}` depends on `{dependency}`, which is neither a service nor a job");
                let fault = Diagnostic::error("unknown-service", message).at(edge.key_span, "nothing of this name");
                let near = meant(&dependency, || sorted(services), diagnostics);
                diagnostics.push(near.into_iter().fold(fault, |fault, near| fault.help(format!("did you mean `{near}`?"))));
            }
        }
    }
}

fn has_something_to_run(name: &str, entry: &Entry, process: bool, diagnostics: &mut Diagnostics) {
    let has = |key: &str| entry.node.get(key).is_some_and(|node| !node.is_null());
    if has("extends") {
        // What it was to be made from had a fault, which is told.
        return;
    }
    let wanted: &[&str] = if process { &["command", "entrypoint"] } else { &["image", "build", "provider"] };
    let known = if process { &PROCESS } else { &CONTAINER };
    let keys = entry.node.as_mapping().into_iter().flat_map(Mapping::iter).map(|(key, _)| key);
    let mut strangers = keys.filter(|key| known.get(key).is_none() && !key.starts_with("x-"));
    if wanted.iter().any(|key| has(key)) || strangers.any(|key| closest(key, wanted.iter().copied()).is_some()) {
        // Under a wrong name, it is told.
        return;
    }
    let fault = if process {
        Diagnostic::error("nothing-to-run", format!("the process `{name}` has no `command`")).at(entry.key_span, "")
    } else {
        Diagnostic::error("nothing-to-run", format!("the service `{name}` has neither `image` nor `build`"))
            .at(entry.key_span, "")
            .help("a native process belongs under `processes:`")
    };
    diagnostics.push(fault);
}

fn dependencies(
    name: &str,
    entry: &Entry,
    services: &HashMap<&str, (&Entry, bool)>,
    root: &Node,
    selection: &Selection,
    found: &mut Found<'_>,
) {
    let is_partial = found.is_partial;
    let diagnostics = &mut *found.wrong;
    for (dependency, edge) in entry.node.get("depends_on").and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter) {
        let required = edge.node.get("required").and_then(Node::as_text) != Some("false");
        let known = services.get(dependency);
        match known {
            None if required && !is_partial => {
                let is_job = root.get("jobs").is_some_and(|jobs| jobs.get(dependency).is_some());
                let what = if is_job { "a job: only jobs depend on jobs" } else { "not a service" };
                let message = format!("`{name}` depends on `{dependency}`, which is {what}");
                let mut diagnostic = Diagnostic::error("unknown-service", message).at(edge.key_span, "no service of this name");
                if let Some(near) = meant(dependency, || sorted(services), diagnostics) {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                diagnostics.push(diagnostic);
            }
            Some((target, _)) if required && !selection.is_on(dependency) => {
                let profiles = super::profiles::of_service(&target.node);
                let message = format!("`{name}` depends on `{dependency}`, whose profile `{}` is off", profiles.join("`, `"));
                diagnostics.push(
                    Diagnostic::error("profile-off", message).at(edge.key_span, "").at(target.key_span, "defined here").help(
                        format!(
                            "turn it on with `--profile {}`, or write `required: false`",
                            profiles.first().unwrap_or(&"NAME")
                        ),
                    ),
                );
            }
            Some((target, process)) => {
                health(name, dependency, edge, target, *process, diagnostics);
                completion(name, dependency, edge, target, diagnostics);
            }
            None => {}
        }
    }
}

/// A process without a health check can never be healthy; a container's image may bring one.
fn health(name: &str, dependency: &str, edge: &Entry, target: &Entry, process: bool, diagnostics: &mut Diagnostics) {
    let wants = edge.node.get("condition").and_then(Node::as_text) == Some("service_healthy");
    let has = target.node.get("healthcheck").is_some_and(|check| check.get("disable").and_then(Node::as_text) != Some("true"));
    let task = ["check", "inputs", "outputs", "schedule"].iter().any(|key| target.node.get(key).is_some());
    if wants && process && !has && !task {
        diagnostics.push(
            Diagnostic::error(
                "no-health-check",
                format!("`{name}` waits for `{dependency}` to be healthy, which has no `healthcheck`"),
            )
            .at(edge.key_span, "")
            .at(target.key_span, "defined here")
            .help("give it a `healthcheck`, or wait for `service_started`"),
        );
    }
}

/// What is waited for to its end is a task, whatever else makes it one, and has one life at a time.
fn completion(name: &str, dependency: &str, edge: &Entry, target: &Entry, diagnostics: &mut Diagnostics) {
    let waits = edge.node.get("condition").and_then(Node::as_text) == Some("service_completed_successfully");
    let reload = target.node.get("reload").filter(|reload| reload.as_text() == Some("start-first"));
    if let (true, Some(reload)) = (waits, reload) {
        let message = format!("`{name}` waits for the end of `{dependency}`, whose next life is to begin before that");
        diagnostics.push(
            Diagnostic::error("bad-reload", message)
                .at(reload.span, "")
                .at(edge.key_span, "")
                .help("remove `reload`, or wait for `service_healthy`"),
        );
    }
}

/// Networks, volumes, configs and secrets that a service names have to be defined.
fn references(name: &str, entry: &Entry, root: &Node, diagnostics: &mut Diagnostics) {
    let mut look = |section: &'static str, key: &str, span: Span| {
        let defined = root.get(section).and_then(Node::as_mapping);
        if defined.is_some_and(|defined| defined.contains(key)) {
            return;
        }
        let what = section.trim_end_matches('s');
        let message = format!("`{name}` uses the {what} `{key}`, which is not defined");
        let mut diagnostic = Diagnostic::error("undefined", message).at(span, "");
        let known = || defined.into_iter().flat_map(Mapping::iter).map(|(name, _)| name);
        diagnostic = match meant(key, known, diagnostics) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help(format!("define it under `{section}:` at the top")),
        };
        diagnostics.push(diagnostic);
    };
    uses(&entry.node, &mut look);
}

/// Names in an order that does not change from run to run.
fn sorted<'a>(services: &HashMap<&'a str, (&'a Entry, bool)>) -> Vec<&'a str> {
    let mut names: Vec<&str> = services.keys().copied().collect();
    names.sort_unstable();
    names
}

fn circles(services: &[(&str, &Entry, bool)], by_name: &HashMap<&str, (&Entry, bool)>, diagnostics: &mut Diagnostics) {
    let edges = |name: &str| -> Vec<&str> {
        by_name
            .get(name)
            .and_then(|(entry, _)| entry.node.get("depends_on")?.as_mapping())
            .into_iter()
            .flat_map(Mapping::iter)
            .map(|(name, _)| name)
            .collect()
    };
    let mut done: HashSet<&str> = HashSet::new();
    for (name, ..) in services {
        // Depth first, without recursion: a chain may be long.
        let mut stack = vec![(*name, edges(name).into_iter())];
        let mut open: HashMap<&str, usize> = [(*name, 0)].into();
        while let Some((here, rest)) = stack.last_mut() {
            let here = *here;
            match rest.next() {
                Some(next) if done.contains(next) => {}
                Some(next) => match open.get(next) {
                    Some(&at) => {
                        let names: Vec<&str> = stack[at..].iter().map(|(name, _)| *name).chain([next]).collect();
                        let span = by_name
                            .get(here)
                            .and_then(|(entry, _)| Some(entry.node.get("depends_on")?.as_mapping()?.entry(next)?.key_span));
                        let message = format!("dependencies go round in a circle: {}", names.join(" → "));
                        let diagnostic = Diagnostic::error("cycle", message).help("one of these edges has to go");
                        diagnostics.push(span.into_iter().fold(diagnostic, |diagnostic, span| diagnostic.at(span, "")));
                    }
                    None => {
                        open.insert(next, stack.len());
                        stack.push((next, edges(next).into_iter()));
                    }
                },
                None => {
                    open.remove(here);
                    done.insert(here);
                    stack.pop();
                }
            }
        }
    }
}

/// Two services cannot have one port of the host.
fn fixed_ports(services: &[(&str, &Entry, bool)], selection: &Selection, diagnostics: &mut Diagnostics) {
    let mut taken: HashMap<String, (&str, Span)> = HashMap::new();
    for (name, entry, _) in services.iter().filter(|(name, ..)| selection.is_on(name)) {
        for port in entry.node.get("ports").and_then(Node::as_sequence).unwrap_or_default() {
            let text = |key: &str| port.get(key).and_then(Node::as_text).unwrap_or_default();
            let published = text("published");
            if published.is_empty() || published == "0" || published.contains('-') {
                continue;
            }
            let key = format!("{}:{published}/{}", text("host_ip"), text("protocol"));
            match taken.get(&key).filter(|(owner, _)| owner != name) {
                Some((owner, span)) => diagnostics.push(
                    Diagnostic::error("port-twice", format!("`{name}` and `{owner}` both take port {published} of the host"))
                        .at(port.span, "")
                        .at(*span, "taken here"),
                ),
                None => {
                    taken.insert(key, (name, port.span));
                }
            }
        }
    }
}

/// An entry of `owns` that could take another environment's things.
fn owned(root: &Node, env: &str, directory: &str, diagnostics: &mut Diagnostics) {
    for entry in root.get("owns").and_then(Node::as_sequence).unwrap_or_default() {
        if diagnostics.has_error_within(entry.span) {
            continue;
        }
        let unfit = diagnostics.len();
        patterns_of_owned(entry, diagnostics);
        if diagnostics.len() > unfit {
            continue;
        }
        let mut texts = Vec::new();
        collect(entry, &mut texts);
        let paths = entry.as_mapping().and_then(|entry| entry.get("paths")).and_then(Node::as_text);
        if let Some(path) = paths.filter(|path| !names_a_part(path, directory)) {
            diagnostics.push(
                Diagnostic::error(
                    "owns-too-much",
                    format!("`{path}` is more than a service may own: `down --volumes` would remove it"),
                )
                .at(entry.span, "")
                .help("name something below the stack's directory, without `..` and not all of it"),
            );
            continue;
        }
        if !texts.iter().any(|text| holds_word(text, env) || holds_path(text, directory)) {
            diagnostics.push(
                Diagnostic::error("owns-too-much", "this entry of `owns` could take what belongs to another environment")
                    .at(entry.span, "")
                    .help("let it hold `${ENVID}` or a path of this stack"),
            );
        }
    }
}

/// Whether a text holds a name as a word of its own: `web` is one of `i-web` and of `web_data`, and none of `webserver`.
fn holds_word(text: &str, name: &str) -> bool {
    holds(text, name, char::is_alphanumeric, char::is_alphanumeric)
}

/// Whether a text holds a path, or one below it: `/a/shop` is in `/a/shop/data`, and neither in `/a/shop2` nor in `/b/a/shop`.
fn holds_path(text: &str, path: &str) -> bool {
    let is_of_a_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    holds(text, path, |c| is_of_a_name(c) || c == '/', is_of_a_name)
}

/// Whether a text holds a part with nothing before and after it that would make another of it.
fn holds(text: &str, part: &str, joins_before: impl Fn(char) -> bool, joins_after: impl Fn(char) -> bool) -> bool {
    text.match_indices(part).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + part.len()..].chars().next());
        !before.is_some_and(&joins_before) && !after.is_some_and(&joins_after)
    })
}

/// What `down` could not look for.
fn patterns_of_owned(entry: &Node, diagnostics: &mut Diagnostics) {
    let mut bad = |keys: &str, node: &Node, why: &str, help: &str| {
        let message = format!("`owns.{keys}`: {why}");
        diagnostics.push(Diagnostic::error("bad-value", message).at(node.span, "").help(help));
    };
    let help = "put a backslash before what is meant as it is, as in `\\[`";
    for (key, of_kind) in entry.as_mapping().into_iter().flat_map(Mapping::iter) {
        let name = of_kind.node.get("name").filter(|_| key != "paths");
        if let Some(name) = name
            && let Some(Err(fault)) = name.as_text().map(pattern::of_names)
        {
            let why = format!("`{}` is not a pattern of names: {fault}", name.as_text().unwrap_or_default());
            bad(&format!("{key}.name"), name, &why, help);
        }
        if key == "paths"
            && let Some(text) = of_kind.node.as_text().filter(|text| text.contains(pattern::WILD))
            && let Err(fault) = pattern::of_files(text)
        {
            bad(key, &of_kind.node, &format!("`{text}` is not a pattern of files: {fault}"), help);
        }
        if let Some(mounts) = of_kind.node.get("mounts").filter(|_| key != "containers") {
            let help = "know them by `label` or `name`";
            bad(&format!("{key}.mounts"), mounts, "only containers are known by what they mount", help);
        }
    }
}

/// Whether a path is neither the stack's directory, nor all that lies in it, nor above it.
fn names_a_part(path: &str, directory: &str) -> bool {
    let above = directory.strip_prefix(path.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let first = path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')).map(|rest| rest.split('/').next());
    let all = first.flatten().is_some_and(|first| first.chars().all(|c| matches!(c, '*' | '?' | '.')));
    !above && !all && path.split('/').all(|part| part != "..")
}

fn collect<'a>(node: &'a Node, texts: &mut Vec<&'a str>) {
    texts.extend(node.as_text());
    node.as_sequence().into_iter().flatten().for_each(|item| collect(item, texts));
    node.as_mapping().into_iter().flat_map(Mapping::iter).for_each(|(_, entry)| collect(&entry.node, texts));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owned_holds_the_environments_name_or_a_path_of_the_stack_as_a_whole() {
        for (text, expected) in [
            ("owner=i-web", true),
            ("web", true),
            ("web_data", true),
            ("*-web-*", true),
            ("app=webserver", false),
            ("app=web2", false),
            ("myweb", false),
            ("webserver-web", true),
            ("/srv/shop", true),
            ("/srv/shop/data/*", true),
            ("home=/srv/shop", true),
            ("/srv/shop2/data", false),
            ("/srv/shop.old", false),
            ("/mnt/srv/shop", false),
            ("", false),
        ] {
            assert_eq!(holds_word(text, "web") || holds_path(text, "/srv/shop"), expected, "{text}");
        }
    }
}
