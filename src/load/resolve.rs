//! Paths become absolute, names and files are looked up.

use std::path::{Path as FilePath, PathBuf};

use super::dotenv::{self, Format};
use super::find::absolute;
use super::variables::Variables;
use super::{Loading, Values, template};
use crate::base::diagnostic::Diagnostic;
use crate::base::source::Span;
use crate::yaml::node::{Mapping, Node, Value};
use crate::yaml::path::Pattern;

/// Values that are paths of the host, relative to the directory of the file they stand in.
const PATHS: &[Pattern] = &[
    Pattern::new("services.*.env_file[].path"),
    Pattern::new("processes.*.env_file[].path"),
    Pattern::new("services.*.label_file[]"),
    Pattern::new("services.*.develop.watch[].path"),
    Pattern::new("processes.*.develop.watch[].path"),
    Pattern::new("processes.*.working_dir"),
    Pattern::new("processes.*.inputs[]"),
    Pattern::new("processes.*.outputs[]"),
    Pattern::new("processes.*.path[]"),
    Pattern::new("processes.*.scratch[]"),
    Pattern::new("processes.*.healthcheck.file"),
    Pattern::new("processes.*.sockets[].unix"),
    Pattern::new("secrets.*.file"),
    Pattern::new("configs.*.file"),
    Pattern::new("configs.*.template"),
    Pattern::new("requires[].file"),
    Pattern::new("owns[].paths"),
];

/// Makes the relative paths of one file's tree absolute.
pub(super) fn paths(root: &mut Node, directory: &FilePath, home: Option<&str>) {
    let make = |node: &mut Node| {
        if let Some(text) = node.as_text() {
            let expanded = match (text.strip_prefix('~'), home) {
                (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
                _ => text.to_owned(),
            };
            node.value = Node::text(absolute(directory, FilePath::new(&expanded)).display().to_string(), node.span).value;
        }
    };
    for pattern in PATHS {
        pattern.for_each_mut(root, |_, node| make(node));
    }
    Pattern::new("services.*.build.context").for_each_mut(root, |_, node| {
        if node.as_text().is_some_and(|text| !is_remote(text)) {
            make(node);
        }
    });
    Pattern::new("services.*.volumes[]").for_each_mut(root, |_, node| {
        if node.get("type").and_then(Node::as_text) == Some("bind")
            && let Some(source) = node.as_mapping_mut().and_then(|mount| mount.get_mut("source"))
        {
            make(source);
        }
    });
}

/// A build context that is no directory of this host.
fn is_remote(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@") || text.starts_with("github.com/")
}

/// Everything that needs the whole stack: names, the default network, files of variables, contents.
pub(super) fn resolve(root: &mut Node, directory: &FilePath, values: &Values, variables: &Variables, loading: &mut Loading<'_>) {
    let env = values.env_id.as_str();
    default_network(root);
    names(root, env);
    for section in ["services", "processes"] {
        let Some(Value::Mapping(services)) = section_of(root, section) else { continue };
        for (_, entry) in services.iter_mut() {
            let Some(service) = entry.node.as_mapping_mut() else { continue };
            environment(service, variables, loading);
            if section == "processes" && !service.contains("working_dir") {
                let span = entry.key_span;
                service.insert("working_dir", span, Node::text(directory.display().to_string(), span));
            }
        }
    }
    contents(root, variables, loading);
}

fn section_of<'a>(root: &'a mut Node, section: &str) -> Option<&'a mut Value> {
    root.as_mapping_mut()?.get_mut(section).map(|node| &mut node.value)
}

/// A container that names no network is in `default`.
fn default_network(root: &mut Node) {
    let mut used = None;
    if let Some(Value::Mapping(services)) = section_of(root, "services") {
        for (_, entry) in services.iter_mut() {
            let span = entry.key_span;
            let Some(service) = entry.node.as_mapping_mut() else { continue };
            if service.contains("network_mode") || service.contains("provider") {
                continue;
            }
            if service
                .get("networks")
                .is_none_or(|networks| networks.is_null() || networks.as_mapping().is_some_and(Mapping::is_empty))
            {
                let mut networks = Mapping::default();
                networks.insert("default", span, Node::new(Value::Null, span));
                service.insert("networks", span, Node::new(Value::Mapping(networks), span));
            }
            if service.get("networks").and_then(|networks| networks.get("default")).is_some() {
                used = Some(span);
            }
        }
    }
    if let (Some(span), Some(top)) = (used, root.as_mapping_mut()) {
        if top.get("networks").is_none_or(Node::is_null) {
            top.insert("networks", span, Node::new(Value::Mapping(Mapping::default()), span));
        }
        if let Some(networks) = top.get_mut("networks").and_then(Node::as_mapping_mut)
            && !networks.contains("default")
        {
            networks.insert("default", span, Node::new(Value::Mapping(Mapping::default()), span));
        }
    }
}

/// Each network and volume has its name in the engine; an empty definition is a definition.
fn names(root: &mut Node, env: &str) {
    for section in ["networks", "volumes", "secrets", "configs"] {
        let Some(Value::Mapping(entries)) = section_of(root, section) else { continue };
        for (key, entry) in entries.iter_mut() {
            let span = entry.key_span;
            if entry.node.is_null() {
                entry.node.value = Value::Mapping(Mapping::default());
            }
            let Some(definition) = entry.node.as_mapping_mut() else { continue };
            if matches!(section, "networks" | "volumes") && !definition.contains("name") {
                let external = definition.get("external").and_then(Node::as_text) == Some("true");
                let name = if external { key.to_owned() } else { format!("{env}_{key}") };
                definition.insert("name", span, Node::text(name, span));
            }
        }
    }
}

/// `env_file` under `environment`; a name without a value is taken from the variables.
fn environment(service: &mut Mapping, variables: &Variables, loading: &mut Loading<'_>) {
    let mut result = Mapping::default();
    if let Some(files) = service.remove("env_file") {
        for file in files.node.as_sequence().unwrap_or_default() {
            let Some(path) = file.get("path") else { continue };
            let required = file.get("required").and_then(Node::as_text) != Some("false");
            let raw = file.get("format").and_then(Node::as_text) == Some("raw");
            let name = PathBuf::from(path.as_text().unwrap_or_default());
            let Some((source, text)) = loading.read(&name, path.span, required, "env file") else { continue };
            let own: Vec<(String, String)> =
                (result.iter()).filter_map(|(name, entry)| Some((name.to_owned(), entry.node.as_text()?.to_owned()))).collect();
            let inherited = |name: &str| {
                let outer = variables.get(name).map(|variable| variable.value.as_str());
                outer.or_else(|| own.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str()))
            };
            let format = if raw { Format::Raw } else { Format::Compose };
            let entries = dotenv::parse(source, &text, format, &inherited, &mut loading.interpolator, &mut loading.diagnostics);
            for (name, entry) in entries {
                result.insert(name, entry.span, Node::text(entry.value, entry.span));
            }
        }
    }
    let span = service.iter().next().map(|(_, entry)| entry.key_span);
    if let Some(own) = service.remove("environment") {
        for (name, entry) in own.node.as_mapping().cloned().unwrap_or_default() {
            let node = match variables.get(&name) {
                Some(variable) if entry.node.is_null() => Node::text(variable.value.clone(), entry.node.span),
                Some(_) | None => entry.node,
            };
            // A bare name that finds nothing leaves what a file said.
            if !(node.is_null() && result.contains(&name)) {
                result.insert(name, entry.key_span, node);
            }
        }
    }
    if let (Some(span), false) = (span, result.is_empty()) {
        service.insert("environment", span, Node::new(Value::Mapping(result), span));
    }
}

/// Configs and secrets: variables and templates become content; a file must be there.
fn contents(root: &mut Node, variables: &Variables, loading: &mut Loading<'_>) {
    for section in ["configs", "secrets"] {
        let Some(Value::Mapping(entries)) = section_of(root, section) else { continue };
        for (name, entry) in entries.iter_mut() {
            let span = entry.key_span;
            let Some(definition) = entry.node.as_mapping_mut() else { continue };
            let sources: Vec<&str> =
                ["file", "environment", "content", "template"].into_iter().filter(|key| definition.contains(key)).collect();
            let external = definition.get("external").and_then(Node::as_text) == Some("true");
            if sources.len() + usize::from(external) != 1 {
                let what = section.trim_end_matches('s');
                let message = match sources.as_slice() {
                    [] => format!("the {what} `{name}` has no content"),
                    [first, second, ..] => format!("the {what} `{name}` has both `{first}` and `{second}`"),
                    [one] => format!("the {what} `{name}` is external and has `{one}` too"),
                };
                loading.diagnostics.push(
                    Diagnostic::error("config-source", message)
                        .at(span, "")
                        .help("give one of `file`, `environment`, `content`, `template`"),
                );
                continue;
            }
            if let Some(content) = content_of(definition, section, name, variables, loading) {
                definition.insert("content", span, Node::text(content, span));
            }
        }
    }
}

fn content_of(
    definition: &Mapping,
    section: &str,
    name: &str,
    variables: &Variables,
    loading: &mut Loading<'_>,
) -> Option<String> {
    if let Some(node) = definition.get("environment") {
        let variable = node.as_text()?;
        let value = variables.get(variable).map(|variable| variable.value.clone());
        if value.is_none() {
            let message = format!("`{section}.{name}` takes the variable `{variable}`, which is not set");
            loading.diagnostics.push(Diagnostic::error("unknown-variable", message).at(node.span, ""));
        }
        return value;
    }
    if let Some(node) = definition.get("template") {
        let path = PathBuf::from(node.as_text()?);
        let (source, text) = loading.read(&path, node.span, true, "template")?;
        return template::render(source, &text, variables, &mut loading.diagnostics);
    }
    if let Some(node) = definition.get("file") {
        let path = PathBuf::from(node.as_text()?);
        if loading.files.kind(&path) != Some(super::files::FileKind::File) {
            missing(&path, node.span, section.trim_end_matches('s'), loading);
        }
    }
    None
}

/// A file that is not there, or is a directory.
pub(super) fn missing(path: &FilePath, span: Span, what: &str, loading: &mut Loading<'_>) {
    let message = match loading.files.kind(path) {
        Some(super::files::FileKind::Directory) => format!("the {what} `{}` is a directory", path.display()),
        Some(super::files::FileKind::File | super::files::FileKind::Other) => {
            format!("the {what} `{}` cannot be read", path.display())
        }
        None => format!("there is no {what} `{}`", path.display()),
    };
    loading.diagnostics.push(Diagnostic::error("no-file", message).at(span, ""));
}

/// The lines of `.env` files, under what the environment has.
pub(super) fn env_files(request: &super::Request, directory: &FilePath, variables: &mut Variables, loading: &mut Loading<'_>) {
    let off = |name: &str| variables.get(name).is_some_and(|variable| matches!(variable.value.as_str(), "1" | "true"));
    let explicit = !request.env_files.is_empty();
    let paths: Vec<PathBuf> = if explicit {
        request.env_files.iter().map(|path| absolute(&request.working_dir, path)).collect()
    } else if off("COMPOSE_DISABLE_ENV_FILE") {
        Vec::new()
    } else {
        vec![directory.join(".env")]
    };
    let mut lines = indexmap::IndexMap::new();
    for path in paths {
        if !explicit && loading.files.kind(&path) != Some(super::files::FileKind::File) {
            continue;
        }
        let Some((source, text)) = loading.read_unplaced(&path, "env file") else { continue };
        let inherited = |name: &str| variables.get(name).map(|variable| variable.value.as_str());
        let entries =
            dotenv::parse(source, &text, Format::Compose, &inherited, &mut loading.interpolator, &mut loading.diagnostics);
        lines.extend(entries);
    }
    for (name, entry) in lines {
        variables.give(name, entry.value, super::variables::Origin::File(entry.span));
    }
}
