//! One file: read, parsed, filled in, in long forms, with absolute paths; then what it extends and includes.

use std::path::Path as FilePath;

use super::formats::{Format, procfile};
use super::merge::{make_unique, merge};
use super::variables::Variables;
use super::{Loading, canonical, extends, include, paths, schema, short};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::Span;
use crate::yaml::node::{Mapping, Node};

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
        let tree = include::with_includes(tree, directory, variables, loading);
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
    let Some((source, text)) = read else {
        loading.is_partial = true;
        return Vec::new();
    };
    let first = procfile::asked_port(variables).unwrap_or(procfile::FIRST_PORT);
    let before = loading.diagnostics.len();
    let trees = Format::of(path).read(source, &text, first, &mut loading.diagnostics);
    loading.is_partial |= trees.is_empty() && loading.diagnostics.len() > before;
    let mut result = Vec::new();
    for mut tree in trees {
        if tree.is_null() {
            continue;
        }
        let Some(top) = tree.as_mapping_mut() else {
            let message = format!("a stack file is a mapping, not {}", tree.kind_name());
            let diagnostic = Diagnostic::error("wrong-kind", message).at(tree.span, "");
            loading
                .diagnostics
                .push(diagnostic.help("it has `services:` for containers, or `processes:`, with each by its name"));
            loading.is_partial = true;
            continue;
        };
        own_spelling(top, &mut loading.diagnostics);
        if !loading.omit.interpolation {
            loading.interpolator.tree(&mut tree, variables, &mut loading.diagnostics);
        }
        let mut found = Diagnostics::default();
        // A range of ports is a few letters and may be thousands of ports.
        if !loading.has_room(short::nodes_of_ports(&tree), &tree) {
            loading.is_partial = true;
            continue;
        }
        canonical::canonical(&mut tree, &mut found);
        loading.tell_of(found);
        if !loading.spend(tree.count(), &tree) {
            loading.is_partial = true;
            continue;
        }
        let home = variables.get("HOME").map(|variable| variable.value.as_str());
        match (loading.omit.path_resolution, directory.strip_prefix(&loading.directory)) {
            (false, _) | (true, Err(_)) => paths::paths(&mut tree, directory, home),
            // Relative to the stack's directory, those of an included file too.
            (true, Ok(below)) if !below.as_os_str().is_empty() => paths::paths(&mut tree, below, None),
            (true, Ok(_)) => {}
        }
        make_unique(&mut tree);
        result.push(tree);
    }
    result
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
