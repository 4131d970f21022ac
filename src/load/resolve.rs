//! Paths become absolute, names and files are looked up.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use super::dotenv::{self, Format};
use super::find::absolute;
use super::profiles::Selection;
use super::variables::Variables;
use super::{Aim, Loading, Values, template};
use crate::base::diagnostic::Diagnostic;
use crate::base::source::{SourceId, Span};
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
pub(super) fn resolve(
    root: &mut Node,
    directory: &FilePath,
    values: &Values,
    variables: &Variables,
    selection: &Selection,
    loading: &mut Loading<'_>,
) {
    let env = values.env_id.as_str();
    if !loading.omit.normalization {
        default_network(root);
        names(root, env);
    }
    for section in ["services", "processes"] {
        let Some(Value::Mapping(services)) = section_of(root, section) else { continue };
        for (name, entry) in services.iter_mut() {
            let Some(service) = entry.node.as_mapping_mut() else { continue };
            if !loading.omit.env_resolution && !loading.omit.interpolation {
                // A service that is off may lack its files.
                let is_on = selection.is_on(name);
                environment(service, is_on, directory, variables, loading);
                labels(service, is_on, directory, loading);
            }
            if !loading.omit.normalization && !loading.omit.interpolation {
                arguments(service, variables);
            }
        }
    }
    if !loading.omit.path_resolution {
        working_directories(root, directory);
    }
    contents(root, variables, selection, loading);
}

/// A process that names no directory runs in the one of its stack, which of an included one is its own.
pub(super) fn working_directories(root: &mut Node, directory: &FilePath) {
    let Some(Value::Mapping(processes)) = section_of(root, "processes") else { return };
    for (_, entry) in processes.iter_mut() {
        let span = entry.key_span;
        if let Some(process) = entry.node.as_mapping_mut().filter(|process| !process.contains("working_dir")) {
            process.insert("working_dir", span, Node::text(directory.display().to_string(), span));
        }
    }
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

/// Each network, volume, secret and config has its name in the engine; an empty definition is a definition.
fn names(root: &mut Node, env: &str) {
    for section in ["networks", "volumes", "secrets", "configs"] {
        let Some(Value::Mapping(entries)) = section_of(root, section) else { continue };
        for (key, entry) in entries.iter_mut() {
            let span = entry.key_span;
            if entry.node.is_null() {
                entry.node.value = Value::Mapping(Mapping::default());
            }
            let Some(definition) = entry.node.as_mapping_mut() else { continue };
            if !definition.contains("name") {
                let external = definition.get("external").and_then(Node::as_text) == Some("true");
                let name = if external { key.to_owned() } else { format!("{env}_{key}") };
                definition.insert("name", span, Node::text(name, span));
            }
        }
    }
}

/// `env_file` under `environment`; a name without a value is taken from the variables.
fn environment(
    service: &mut Mapping,
    is_on: bool,
    directory: &FilePath,
    variables: &Variables,
    loading: &mut Loading<'_>,
) {
    let outer = |name: &str| variables.get(name).map(|variable| variable.value.as_str());
    let span = service.iter().next().map(|(_, entry)| entry.key_span);
    let mut own = Mapping::default();
    for (name, entry) in service.remove("environment").and_then(|own| own.node.into_mapping()).unwrap_or_default() {
        if name.trim_end() != name {
            let message = format!("the variable `{name}` has a space after its name");
            loading.diagnostics.push(Diagnostic::error("bad-name", message).at(entry.key_span, "").help("remove the space"));
        }
        let node = match outer(&name) {
            Some(value) if entry.node.is_null() => Node::text(value, entry.node.span),
            Some(_) | None => entry.node,
        };
        own.insert(name, entry.key_span, node);
    }
    let mut result = Mapping::default();
    if let Some(files) = service.remove("env_file") {
        for file in files.node.as_sequence().unwrap_or_default() {
            let Some(path) = file.get("path") else { continue };
            let required = is_on && file.get("required").and_then(Node::as_text) != Some("false");
            let format = if file.get("format").and_then(Node::as_text) == Some("raw") { Format::Raw } else { Format::Compose };
            let name = absolute(directory, FilePath::new(path.as_text().unwrap_or_default()));
            let Some((source, text)) = loading.read(&name, path.span, required, "env file") else { continue };
            let inherited =
                |name: &str| outer(name).or_else(|| own.get(name)?.as_text()).or_else(|| result.get(name)?.as_text());
            let (interpolator, diagnostics) = (&mut loading.interpolator, &mut loading.diagnostics);
            for (name, entry) in dotenv::parse(source, &text, format, &inherited, interpolator, diagnostics) {
                result.insert(name, entry.span, Node::text(entry.value, entry.span));
            }
        }
    }
    for (name, entry) in own {
        // A bare name that finds nothing leaves what a file said.
        if !(entry.node.is_null() && result.contains(&name)) {
            result.insert(name, entry.key_span, entry.node);
        }
    }
    if let (Some(span), false) = (span, result.is_empty()) {
        service.insert("environment", span, Node::new(Value::Mapping(result), span));
    }
}

/// The lines of `label_file` under `labels`.
fn labels(service: &mut Mapping, is_on: bool, directory: &FilePath, loading: &mut Loading<'_>) {
    let files: Vec<(PathBuf, Span)> = (service.get("label_file").and_then(Node::as_sequence).unwrap_or_default().iter())
        .filter_map(|file| Some((absolute(directory, FilePath::new(file.as_text()?)), file.span)))
        .collect();
    let mut result = Mapping::default();
    for (path, span) in &files {
        let Some((source, text)) = loading.read(path, *span, is_on, "label file") else { continue };
        let inherited = |name: &str| result.get(name)?.as_text();
        let (interpolator, diagnostics) = (&mut loading.interpolator, &mut loading.diagnostics);
        for (name, entry) in dotenv::parse(source, &text, Format::Compose, &inherited, interpolator, diagnostics) {
            result.insert(name, entry.span, Node::text(entry.value, entry.span));
        }
    }
    let Some((_, span)) = files.first().filter(|_| !result.is_empty()) else { return };
    for (name, entry) in service.remove("labels").and_then(|own| own.node.into_mapping()).unwrap_or_default() {
        result.insert(name, entry.key_span, entry.node);
    }
    service.insert("labels", *span, Node::new(Value::Mapping(result), *span));
}

/// An argument of a build without a value is taken from the variables; one that finds nothing is left out.
fn arguments(service: &mut Mapping, variables: &Variables) {
    let build = service.get_mut("build").and_then(Node::as_mapping_mut);
    let Some(arguments) = build.and_then(|build| build.get_mut("args")).and_then(Node::as_mapping_mut) else { return };
    arguments.retain(|name, entry| {
        if entry.node.is_null()
            && let Some(variable) = variables.get(name)
        {
            entry.node = Node::text(variable.value.clone(), entry.node.span);
        }
        !entry.node.is_null()
    });
}

/// Configs and secrets: variables and templates become content; a file must be there, if a service that is on is to have it.
fn contents(root: &mut Node, variables: &Variables, selection: &Selection, loading: &mut Loading<'_>) {
    for section in ["configs", "secrets"] {
        let used = selection.used(root, section);
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
            if loading.aim == Aim::Run && used.contains(name) {
                if let Some(content) = content_of(definition, section, name, variables, loading) {
                    definition.insert("content", span, Node::text(content, span));
                }
            } else if !loading.omit.leaves_a_tree_only()
                && let Some((source, text)) = template_of(definition, loading) {
                template::render(source, &text, variables, &mut loading.diagnostics);
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
    if definition.contains("template") {
        let (source, text) = template_of(definition, loading)?;
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

/// The template that a config is made from.
fn template_of(definition: &Mapping, loading: &mut Loading<'_>) -> Option<(SourceId, Arc<str>)> {
    let node = definition.get("template")?;
    loading.read(FilePath::new(node.as_text()?), node.span, true, "template")
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
