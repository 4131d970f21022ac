//! One file: read, parsed, filled in, in long forms, with absolute paths; then what it extends and includes.

use std::path::{Path as FilePath, PathBuf};

use super::find::absolute;
use super::formats::procfile;
use super::merge::{make_unique, merge};
use super::variables::{Origin, Variables};
use super::{Loading, canonical, extends, normal, paths, schema};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::Span;
use crate::yaml::node::{Mapping, Node, Value};
use crate::yaml::parse;

/// A file of the stack with all that it extends and includes.
pub(super) fn whole(
    path: &FilePath,
    place: Option<Span>,
    directory: &FilePath,
    variables: &Variables,
    loading: &mut Loading<'_>,
) -> Option<Node> {
    if loading.open.contains(&path.to_owned()) {
        let message = format!("`{}` includes itself", path.display());
        let diagnostic = Diagnostic::error("cycle", message);
        loading.diagnostics.push(place.into_iter().fold(diagnostic, |diagnostic, span| diagnostic.at(span, "")));
        return None;
    }
    loading.open.push(path.to_owned());
    let mut result: Option<Node> = None;
    for mut tree in documents(path, place, directory, variables, loading) {
        extends::extend(&mut tree, path, directory, variables, loading);
        let tree = with_includes(tree, directory, variables, loading);
        result = Some(match result {
            None => tree,
            Some(below) => merge(below, tree),
        });
    }
    loading.open.pop();
    result
}

/// A file as `extends` sees it: without what it includes.
pub(super) fn plain(
    path: &FilePath,
    place: Span,
    directory: &FilePath,
    variables: &Variables,
    loading: &mut Loading<'_>,
) -> Option<Node> {
    documents(path, Some(place), directory, variables, loading).into_iter().reduce(merge)
}

fn documents(
    path: &FilePath,
    place: Option<Span>,
    directory: &FilePath,
    variables: &Variables,
    loading: &mut Loading<'_>,
) -> Vec<Node> {
    let read = match place {
        Some(span) => loading.read(path, span, true, "stack file"),
        None => loading.read_unplaced(path, "stack file"),
    };
    let Some((source, text)) = read else { return Vec::new() };
    let trees = if is_procfile(path) {
        let first = variables.get("PORT").and_then(|variable| variable.value.parse().ok()).unwrap_or(procfile::FIRST_PORT);
        vec![procfile::parse(source, &text, first, &mut loading.diagnostics)]
    } else {
        parse::parse(source, &text, &mut loading.diagnostics).unwrap_or_default()
    };
    let mut result = Vec::new();
    for mut tree in trees {
        if tree.is_null() {
            continue;
        }
        let Some(top) = tree.as_mapping_mut() else {
            let message = format!("a stack file is a mapping, not {}", tree.kind_name());
            loading.diagnostics.push(Diagnostic::error("wrong-kind", message).at(tree.span, ""));
            continue;
        };
        own_spelling(top, &mut loading.diagnostics);
        loading.interpolator.tree(&mut tree, variables, &mut loading.diagnostics);
        canonical::canonical(&mut tree, &mut loading.diagnostics);
        let home = variables.get("HOME").map(|variable| variable.value.as_str());
        paths::paths(&mut tree, directory, home);
        make_unique(&mut tree);
        result.push(tree);
    }
    result
}

pub(super) fn is_procfile(path: &FilePath) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("Procfile"))
}

/// `x-processes:` is `processes:`; both in one file is a mistake.
pub(super) fn own_spelling(top: &mut Mapping, diagnostics: &mut Diagnostics) {
    for key in schema::OWN_KEYS {
        let Some(entry) = top.remove(&format!("x-{key}")) else { continue };
        if let Some(other) = top.entry(key) {
            let message = format!("`{key}` and `x-{key}` mean the same; a file has one of them");
            diagnostics
                .push(Diagnostic::error("two-spellings", message).at(entry.key_span, "").at(other.key_span, "the other one"));
        }
        top.insert(key, entry.key_span, entry.node);
    }
}

/// What a file includes lies below it.
fn with_includes(mut tree: Node, directory: &FilePath, variables: &Variables, loading: &mut Loading<'_>) -> Node {
    let Some(include) = tree.as_mapping_mut().and_then(|top| top.remove("include")) else { return tree };
    let Some(entries) = include.node.as_sequence() else {
        let message = format!("`include` must be a list of files, not {}", include.node.kind_name());
        loading.diagnostics.push(Diagnostic::error("wrong-kind", message).at(include.node.span, ""));
        return tree;
    };
    let mut below: Option<Node> = None;
    for entry in entries {
        let paths: Vec<&Node> = match (entry.as_text(), entry.get("path")) {
            (Some(_), _) => vec![entry],
            (None, Some(path)) => path.as_sequence().map_or_else(|| vec![path], |items| items.iter().collect()),
            (None, None) => {
                let message = "an entry of `include` must name a file";
                loading
                    .diagnostics
                    .push(Diagnostic::error("bad-include", message).at(entry.span, "").help("write a path, or `{path: …}`"));
                continue;
            }
        };
        let files: Vec<(PathBuf, Span)> =
            paths.iter().filter_map(|node| Some((absolute(directory, FilePath::new(node.as_text()?)), node.span))).collect();
        let Some((first, _)) = files.first() else { continue };
        let own_directory = match entry.get("project_directory").and_then(Node::as_text) {
            Some(text) => absolute(directory, FilePath::new(text)),
            None => first.parent().map_or_else(|| directory.to_owned(), FilePath::to_owned),
        };
        let variables = included_variables(entry, &own_directory, directory, variables, loading);
        for (path, span) in &files {
            if let Some(mut included) = whole(path, Some(*span), &own_directory, &variables, loading) {
                normal::contexts(&mut included, &own_directory);
                below = Some(match below {
                    None => included,
                    Some(known) => merge(known, included),
                });
            }
        }
    }
    match below {
        Some(mut below) => {
            // A name is the stack's own business.
            if let Some(top) = below.as_mapping_mut() {
                top.remove("name");
            }
            merge(below, tree)
        }
        None => tree,
    }
}

/// An included file has a `.env` of its own; what the parent knows beats it.
fn included_variables(
    entry: &Node,
    own: &FilePath,
    parent: &FilePath,
    variables: &Variables,
    loading: &mut Loading<'_>,
) -> Variables {
    let mut all = variables.clone();
    let named: Vec<PathBuf> = match entry.get("env_file").map(|node| &node.value) {
        Some(Value::Sequence(items)) => {
            items.iter().filter_map(Node::as_text).map(|text| absolute(parent, FilePath::new(text))).collect()
        }
        Some(_) => {
            entry.get("env_file").and_then(Node::as_text).map(|text| absolute(parent, FilePath::new(text))).into_iter().collect()
        }
        None if own == parent => return all,
        None => Some(own.join(".env"))
            .filter(|path| loading.files.kind(path) == Some(super::files::FileKind::File))
            .into_iter()
            .collect(),
    };
    for path in named {
        let Some((source, text)) = loading.read_unplaced(&path, "env file") else { continue };
        let inherited = |name: &str| variables.get(name).map(|variable| variable.value.as_str());
        let format = super::dotenv::Format::Compose;
        let lines = super::dotenv::parse(source, &text, format, &inherited, &mut loading.interpolator, &mut loading.diagnostics);
        for (name, line) in lines {
            all.give(name, line.value, Origin::File(line.span));
        }
    }
    all
}
