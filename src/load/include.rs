//! `include`: a stack of its own, with its own directory and variables, of which the including file is the upper layer.

use std::path::{Path as FilePath, PathBuf};

use super::find::{absolute, elsewhere, env_files};
use super::merge::merge;
use super::variables::Variables;
use super::{Loading, file, normal, resolve};
use crate::base::diagnostic::Diagnostic;
use crate::base::source::Span;
use crate::yaml::node::{Node, Value};

/// The most files that one stack includes, and how deep; both far from what anybody writes.
const MAX_FILES: usize = 1_000;
const MAX_DEPTH: usize = 64;

/// An entry of `include`, worked out.
pub(super) struct Included {
    /// Its files, absolute, each with the place that names it.
    pub(super) files: Vec<(PathBuf, Span)>,
    /// What its relative paths are relative to.
    pub(super) directory: PathBuf,
    /// What its expressions are filled in from.
    pub(super) variables: Variables,
}

/// What a file includes lies below it.
pub(super) fn with_includes(mut tree: Node, directory: &FilePath, variables: &Variables, loading: &mut Loading<'_>) -> Node {
    let mut below: Option<Node> = None;
    for included in entries(&mut tree, directory, variables, loading) {
        let layers = included
            .files
            .iter()
            .filter_map(|(path, span)| file::whole(path, Some(*span), &included.directory, &included.variables, loading));
        let Some(mut stack) = layers.reduce(merge) else { continue };
        // A name is the whole stack's business.
        if let Some(top) = stack.as_mapping_mut() {
            top.remove("name");
        }
        resolve::working_directories(&mut stack, &included.directory);
        normal::contexts(&mut stack, &included.directory);
        below = Some(match below {
            None => stack,
            Some(known) => merge(known, stack),
        });
    }
    match below {
        Some(below) => merge(below, tree),
        None => tree,
    }
}

/// Takes `include` out of a file's tree and works out its entries.
pub(super) fn entries(tree: &mut Node, directory: &FilePath, variables: &Variables, loading: &mut Loading<'_>) -> Vec<Included> {
    let Some(include) = tree.as_mapping_mut().and_then(|top| top.remove("include")) else { return Vec::new() };
    let entries = match include.node.value {
        Value::Null => Vec::new(),
        Value::Sequence(entries) => entries,
        Value::Bool(_) | Value::Scalar(_) | Value::Mapping(_) => {
            let message = format!("`include` must be a list of files, not {}", include.node.kind_name());
            let fault = Diagnostic::error("wrong-kind", message).at(include.node.span, "");
            loading.diagnostics.push(fault.help("write `include: [FILE]`"));
            Vec::new()
        }
    };
    let mut result = Vec::new();
    for entry in &entries {
        match worked_out(entry, directory, variables, loading) {
            Some(included) => result.push(included),
            None => loading.is_partial = true,
        }
    }
    result
}

fn worked_out(entry: &Node, directory: &FilePath, variables: &Variables, loading: &mut Loading<'_>) -> Option<Included> {
    let at = |text: &str| absolute(directory, FilePath::new(text));
    let paths: Vec<&Node> = match (entry.as_text(), entry.get("path")) {
        (Some(_), _) => vec![entry],
        (None, Some(path)) => path.as_sequence().map_or_else(|| vec![path], |items| items.iter().collect()),
        (None, None) => Vec::new(),
    };
    if paths.iter().all(|node| node.as_text().is_none()) {
        let fault = Diagnostic::error("bad-include", "an entry of `include` must name a file");
        loading.diagnostics.push(fault.at(entry.span, "").help("write a path, or `{path: …}`"));
        return None;
    }
    loading.included += paths.len();
    if loading.included > MAX_FILES || loading.open.len() > MAX_DEPTH {
        let message = format!("more than {MAX_FILES} files are included, or more than {MAX_DEPTH} in each other");
        loading.diagnostics.push(Diagnostic::error("too-large", message).at(entry.span, "too many from here on"));
        return None;
    }
    let mut files: Vec<(PathBuf, Span)> = Vec::new();
    for (node, text) in paths.iter().filter_map(|node| Some((node, node.as_text()?))) {
        match elsewhere(text, loading.files).unwrap_or_else(|| Ok(at(text))) {
            Ok(path) => files.push((path, node.span)),
            Err(fault) => {
                loading.diagnostics.push(fault.at(node.span, ""));
                return None;
            }
        }
    }
    let (first, _) = files.first()?;
    let own = match entry.get("project_directory").and_then(Node::as_text) {
        Some(text) => at(text),
        None => first.parent().map_or_else(|| directory.to_owned(), FilePath::to_owned),
    };
    let mut all = variables.clone();
    match entry.get("env_file").filter(|node| !node.is_null()) {
        Some(node) => {
            let named = node.as_sequence().unwrap_or(std::slice::from_ref(node));
            // What is named must be there, but for the one name that means nothing at all.
            let named = named.iter().filter_map(|node| Some((at(node.as_text()?), node.span)));
            let named = named.filter(|(path, _)| path != FilePath::new("/dev/null"));
            let there: Vec<PathBuf> = named
                .filter(|(path, span)| {
                    let is_there = loading.files.kind(path) == Some(super::files::FileKind::File);
                    if !is_there {
                        let fault = resolve::missing(path, *span, "env file", loading.files);
                        loading.diagnostics.push(fault);
                    }
                    is_there
                })
                .map(|(path, _)| path)
                .collect();
            env_files(&there, &mut all, loading);
        }
        None => {
            let path = own.join(".env");
            if own != directory && loading.files.kind(&path) == Some(super::files::FileKind::File) {
                env_files(&[path], &mut all, loading);
            }
        }
    }
    Some(Included { files, directory: own, variables: all })
}
