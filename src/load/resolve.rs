//! What is taken from variables and from files beside the stack file.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use super::dotenv::{self, Format};
use super::files::Files;
use super::find::absolute;
use super::profiles::Selection;
use super::variables::Variables;
use super::{Loading, template};
use crate::base::diagnostic::Diagnostic;
use crate::base::source::{SourceId, Span};
use crate::yaml::node::{Mapping, Node, Value};
use crate::yaml::path::Pattern;

/// Everything that needs the whole stack and files beside it: variables, labels, contents.
pub(super) fn resolve(
    root: &mut Node,
    directory: &FilePath,
    variables: &Variables,
    selection: &Selection,
    loading: &mut Loading<'_>,
) {
    if !loading.omit.env_resolution && !loading.omit.interpolation {
        own_environments(root, variables);
    }
    for section in ["services", "jobs", "processes"] {
        let Some(Value::Mapping(services)) = section_of(root, section) else { continue };
        for (name, entry) in services.iter_mut() {
            let Some(service) = entry.node.as_mapping_mut() else { continue };
            // Jobs keep their files, which are read when they run.
            if section != "jobs" && !loading.omit.env_resolution && !loading.omit.interpolation {
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

/// In the environment of a job a name without a value is taken from the variables.
fn own_environments(root: &mut Node, variables: &Variables) {
    Pattern::new("jobs.*.environment.*").for_each_mut(root, |path, node| {
        if let (true, Some(variable)) = (node.is_null(), path.last_key().and_then(|name| variables.get(name))) {
            node.value = Node::text(variable.value.clone(), node.span).value;
        }
    });
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

/// `env_file` under `environment`; a name without a value is taken from the variables.
fn environment(service: &mut Mapping, is_on: bool, directory: &FilePath, variables: &Variables, loading: &mut Loading<'_>) {
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
            let inherited = |name: &str| outer(name).or_else(|| own.get(name)?.as_text()).or_else(|| result.get(name)?.as_text());
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
            // It may have what is missing under a wrong name, which is told.
            let is_mistyped = loading.diagnostics.has_error_within(entry.node.span);
            let Some(definition) = entry.node.as_mapping_mut() else { continue };
            let sources: Vec<&str> =
                ["file", "environment", "content", "template"].into_iter().filter(|key| definition.contains(key)).collect();
            let external = definition.get("external").and_then(Node::as_text) == Some("true");
            if sources.is_empty() && !external && is_mistyped {
                continue;
            }
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
            if !loading.omit.leaves_a_tree_only()
                && used.contains(name)
                && let Some(content) = content_of(definition, section, name, variables, loading)
            {
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
            loading.unstartable.push(Diagnostic::error("unknown-variable", message).at(node.span, ""));
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
            let diagnostic = missing(&path, node.span, section.trim_end_matches('s'), loading.files);
            loading.unstartable.push(diagnostic);
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
pub(super) fn missing(path: &FilePath, span: Span, what: &str, files: &dyn Files) -> Diagnostic {
    let message = match files.kind(path) {
        Some(super::files::FileKind::Directory) => format!("the {what} `{}` is a directory", path.display()),
        Some(super::files::FileKind::File | super::files::FileKind::Other) => {
            format!("the {what} `{}` cannot be read", path.display())
        }
        None => format!("there is no {what} `{}`", path.display()),
    };
    Diagnostic::error("no-file", message).at(span, "")
}
