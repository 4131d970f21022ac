//! `extends`: a service laid over another one, of the same file or of another.

use std::collections::HashMap;
use std::path::{Path as FilePath, PathBuf};
use std::rc::Rc;

use super::find::{absolute, elsewhere};
use super::merge::merge;
use super::told::meant;
use super::variables::Variables;
use super::{Loading, file};
use crate::base::diagnostic::Diagnostic;
use crate::yaml::node::{Mapping, Node, Value};

/// The longest way from a service to what it is made from in the end.
const MAX_CHAIN: usize = 100;

/// Works out all `extends` of one file's tree, whose paths are absolute already.
pub(super) fn extend(root: &mut Node, path: &FilePath, directory: &FilePath, variables: &Variables, loading: &mut Loading<'_>) {
    for section in ["services", "processes"] {
        let services = root.get(section).and_then(Node::as_mapping);
        if !services.is_some_and(|services| services.iter().any(|(_, entry)| entry.node.get("extends").is_some())) {
            continue;
        }
        let Some(services) = root.as_mapping_mut().and_then(|root| root.get_mut(section)).and_then(Node::as_mapping_mut) else {
            continue;
        };
        let own = Rc::new(Layer { path: path.to_owned(), directory: directory.to_owned(), services: std::mem::take(services) });
        let mut extending =
            Extending { section, variables, layers: HashMap::new(), done: HashMap::new(), chain: Vec::new(), loading };
        for (name, entry) in own.services.iter() {
            let extended = extending.whole(&own, name);
            services.insert(name, entry.key_span, extended.unwrap_or_else(|| entry.node.clone()));
        }
    }
}

/// The services of one file.
struct Layer {
    path: PathBuf,
    directory: PathBuf,
    services: Mapping,
}

struct Extending<'a, 'l> {
    section: &'static str,
    variables: &'a Variables,
    /// Other files, each read once.
    layers: HashMap<PathBuf, Rc<Layer>>,
    /// What has been worked out, and what had a fault.
    done: HashMap<(PathBuf, String), Option<Node>>,
    /// What is being worked out.
    chain: Vec<(PathBuf, String)>,
    loading: &'a mut Loading<'l>,
}

impl Extending<'_, '_> {
    /// A service with all that it extends; none if there is a fault, which is told.
    fn whole(&mut self, layer: &Rc<Layer>, name: &str) -> Option<Node> {
        let here = (layer.path.clone(), name.to_owned());
        if let Some(known) = self.done.get(&here) {
            return known.clone();
        }
        self.chain.push(here.clone());
        let whole = self.laid_over(layer, layer.services.get(name)?);
        self.chain.pop();
        let whole = whole.filter(|node| self.loading.spend(node.count(), node));
        self.done.insert(here, whole.clone());
        whole
    }

    fn laid_over(&mut self, layer: &Rc<Layer>, service: &Node) -> Option<Node> {
        let Some(extends) = service.get("extends").filter(|extends| !extends.is_null()) else { return Some(service.clone()) };
        let named = extends.as_text().or_else(|| extends.get("service").and_then(Node::as_text));
        let Some(name) = named.map(str::to_owned) else {
            let fault = Diagnostic::error("bad-extends", "`extends` must name a service");
            self.loading.diagnostics.push(fault.at(extends.span, "").help("write `extends: {service: NAME}`"));
            return None;
        };
        let below = match extends.get("file").and_then(Node::as_text) {
            Some(text) => {
                let on_this_host = || Ok(absolute(&layer.directory, FilePath::new(text)));
                match elsewhere(text, self.loading.files).unwrap_or_else(on_this_host) {
                    Ok(path) => self.layer(path, extends)?,
                    Err(fault) => {
                        self.loading.diagnostics.push(fault.at(extends.span, ""));
                        return None;
                    }
                }
            }
            None => layer.clone(),
        };
        if !below.services.contains(&name) {
            let message = format!("there is no service `{name}` to extend in `{}`", below.path.display());
            let fault = Diagnostic::error("unknown-service", message).at(extends.span, "");
            let near = meant(&name, || below.services.iter().map(|(name, _)| name), &self.loading.diagnostics);
            self.loading
                .diagnostics
                .push(near.into_iter().fold(fault, |fault, near| fault.help(format!("did you mean `{near}`?"))));
            return None;
        }
        let base = (below.path.clone(), name.clone());
        if self.chain.contains(&base) {
            let names: Vec<&str> = self.chain.iter().map(|(_, name)| name.as_str()).chain([name.as_str()]).collect();
            let message = format!("`extends` goes round in a circle: {}", names.join(" → "));
            self.loading.diagnostics.push(Diagnostic::error("cycle", message).at(extends.span, ""));
            return None;
        }
        if self.chain.len() >= MAX_CHAIN {
            let fault = Diagnostic::error("too-large", format!("more than {MAX_CHAIN} services extend each other in a row"));
            self.loading.diagnostics.push(fault.at(extends.span, "too many from here on"));
            return None;
        }
        let base = self.whole(&below, &name)?;
        let mut own = service.clone();
        if let Some(own) = own.as_mapping_mut() {
            own.remove("extends");
        }
        let merged = merge(self.alone(base), self.alone(own));
        merged.into_mapping()?.remove(self.section)?.node.into_mapping()?.remove("it").map(|entry| entry.node)
    }

    fn layer(&mut self, path: PathBuf, extends: &Node) -> Option<Rc<Layer>> {
        if let Some(known) = self.layers.get(&path) {
            return Some(known.clone());
        }
        let directory = path.parent().map_or_else(PathBuf::new, FilePath::to_owned);
        let tree = file::plain(&path, extends.span, &directory, self.variables, self.loading)?;
        let services = tree.into_mapping()?.remove(self.section).and_then(|entry| entry.node.into_mapping()).unwrap_or_default();
        let layer = Rc::new(Layer { path: path.clone(), directory, services });
        self.layers.insert(path, layer.clone());
        Some(layer)
    }

    /// A tree with one service, since the merge's table speaks of whole trees.
    fn alone(&self, service: Node) -> Node {
        let span = service.span;
        let within = |key: &str, node: Node| {
            let mut mapping = Mapping::default();
            mapping.insert(key, span, node);
            Node::new(Value::Mapping(mapping), span)
        };
        within(self.section, within("it", service))
    }
}
