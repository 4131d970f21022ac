//! What is taken from variables and from files beside the stack file.

use std::path::{Path as FilePath, PathBuf};

use super::dotenv::{self, Format};
use super::files::Files;
use super::find::absolute;
use super::print::Used;
use super::variables::Variables;
use super::{Loading, template};
use crate::base::diagnostic::Diagnostic;
use crate::base::source::Span;
use crate::yaml::node::{Mapping, Node, Value};

/// Everything that needs the whole stack and files beside it: variables, labels, contents.
pub(super) fn resolve(root: &mut Node, used: &Used, variables: &Variables, loading: &mut Loading<'_>) {
    for section in ["services", "processes"] {
        let Some(Value::Mapping(services)) = section_of(root, section) else { continue };
        for (_, entry) in services.iter_mut() {
            let Some(service) = entry.node.as_mapping_mut() else { continue };
            environment(service, variables, loading);
            labels(service, variables, loading);
            arguments(service, variables);
        }
    }
    contents(root, used, variables, loading);
}

fn section_of<'a>(root: &'a mut Node, section: &str) -> Option<&'a mut Value> {
    root.as_mapping_mut()?.get_mut(section).map(|node| &mut node.value)
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

/// Lines of `label_file`, under what `labels` has.
fn labels(service: &mut Mapping, variables: &Variables, loading: &mut Loading<'_>) {
    let Some(files) = service.entry("label_file").cloned() else { return };
    let mut result = Mapping::default();
    for file in files.node.as_sequence().unwrap_or_default() {
        let name = PathBuf::from(file.as_text().unwrap_or_default());
        let Some((source, text)) = loading.read(&name, file.span, true, "label file") else { continue };
        let inherited = |name: &str| variables.get(name).map(|variable| variable.value.as_str());
        let format = Format::Compose;
        let entries = dotenv::parse(source, &text, format, &inherited, &mut loading.interpolator, &mut loading.diagnostics);
        for (name, entry) in entries {
            result.insert(name, entry.span, Node::text(entry.value, entry.span));
        }
    }
    if let Some(own) = service.remove("labels") {
        for (name, entry) in own.node.as_mapping().cloned().unwrap_or_default() {
            result.insert(name, entry.key_span, entry.node);
        }
    }
    service.insert("labels", files.key_span, Node::new(Value::Mapping(result), files.node.span));
}

/// An argument of a build without a value is taken from the variables, or is none.
fn arguments(service: &mut Mapping, variables: &Variables) {
    let args = service.get_mut("build").and_then(Node::as_mapping_mut).and_then(|build| build.get_mut("args"));
    if let Some(args) = args.and_then(Node::as_mapping_mut) {
        args.retain(|name, entry| {
            if entry.node.is_null()
                && let Some(variable) = variables.get(name)
            {
                entry.node.value = Node::text(variable.value.clone(), entry.node.span).value;
            }
            !entry.node.is_null()
        });
    }
}

/// Configs and secrets: variables and templates become content; a file must be there before something starts.
fn contents(root: &mut Node, used: &Used, variables: &Variables, loading: &mut Loading<'_>) {
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
            if !used.contains(section, name) {
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
            loading.unstartable.push(Diagnostic::error("unknown-variable", message).at(node.span, ""));
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
            let diagnostic = missing(&path, node.span, section.trim_end_matches('s'), loading.files);
            loading.unstartable.push(diagnostic);
        }
    }
    None
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
