//! `extends`: a service laid over another one, of the same file or of another.

use std::path::{Path as FilePath, PathBuf};

use super::find::absolute;
use super::merge::merge;
use super::variables::Variables;
use super::{Loading, file};
use crate::base::diagnostic::Diagnostic;
use crate::base::suggest::closest;
use crate::yaml::node::{Mapping, Node};

/// Works out all `extends` of one file's tree, whose paths are absolute already.
pub(super) fn extend(root: &mut Node, path: &FilePath, directory: &FilePath, variables: &Variables, loading: &mut Loading<'_>) {
    for section in ["services", "processes"] {
        let Some(services) = root.get(section).and_then(Node::as_mapping).cloned() else { continue };
        let mut result = services.clone();
        for (name, entry) in services.iter() {
            if entry.node.get("extends").is_none() {
                continue;
            }
            let mut chain = vec![(path.to_owned(), name.to_owned())];
            if let Some(extended) = work_out(&entry.node, &services, section, path, directory, &mut chain, variables, loading) {
                result.insert(name, entry.key_span, extended);
            }
        }
        if let Some(node) = root.as_mapping_mut().and_then(|root| root.get_mut(section))
            && let Some(services) = node.as_mapping_mut()
        {
            *services = result;
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "a recursion over files carries what each of them needs")]
fn work_out(
    service: &Node,
    siblings: &Mapping,
    section: &str,
    path: &FilePath,
    directory: &FilePath,
    chain: &mut Vec<(PathBuf, String)>,
    variables: &Variables,
    loading: &mut Loading<'_>,
) -> Option<Node> {
    let Some(extends) = service.get("extends") else { return Some(service.clone()) };
    let base_name = extends.as_text().or_else(|| extends.get("service").and_then(Node::as_text));
    let Some(base_name) = base_name.map(str::to_owned) else {
        let message = "`extends` must name a service";
        loading
            .diagnostics
            .push(Diagnostic::error("bad-extends", message).at(extends.span, "").help("write `extends: {service: NAME}`"));
        return None;
    };
    let (base_path, base_directory, base_services) = match extends.get("file").and_then(Node::as_text) {
        Some(text) => {
            let base_path = absolute(directory, FilePath::new(text));
            let base_directory = base_path.parent().map_or_else(|| directory.to_owned(), FilePath::to_owned);
            let tree = file::plain(&base_path, extends.span, &base_directory, variables, loading)?;
            let services = tree.get(section).and_then(Node::as_mapping).cloned().unwrap_or_default();
            (base_path, base_directory, services)
        }
        None => (path.to_owned(), directory.to_owned(), siblings.clone()),
    };
    let Some(base) = base_services.get(&base_name) else {
        let names = base_services.iter().map(|(name, _)| name);
        let mut diagnostic = Diagnostic::error(
            "unknown-service",
            format!("there is no service `{base_name}` to extend in `{}`", base_path.display()),
        );
        if let Some(near) = closest(&base_name, names) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        loading.diagnostics.push(diagnostic.at(extends.span, ""));
        return None;
    };
    let here = (base_path.clone(), base_name.clone());
    if chain.contains(&here) {
        let names: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).chain([base_name.as_str()]).collect();
        let message = format!("`extends` goes round in a circle: {}", names.join(" → "));
        loading.diagnostics.push(Diagnostic::error("cycle", message).at(extends.span, ""));
        return None;
    }
    chain.push(here);
    let base = work_out(base, &base_services, section, &base_path, &base_directory, chain, variables, loading)?;
    chain.pop();
    let mut own = service.clone();
    if let Some(own) = own.as_mapping_mut() {
        own.remove("extends");
    }
    // The merge's table speaks of whole trees.
    let wrap = |node: Node| {
        let span = node.span;
        let mut services = Mapping::default();
        services.insert("it", span, node);
        let mut root = Mapping::default();
        root.insert(section, span, Node::new(crate::yaml::node::Value::Mapping(services), span));
        Node::new(crate::yaml::node::Value::Mapping(root), span)
    };
    let merged = merge(wrap(base), wrap(own));
    merged.get(section)?.get("it").cloned()
}
