//! The tree as `config` prints it: what is on and what that uses, without what is empty, every `$` doubled so that the output
//! can be read again.

use std::collections::HashSet;

use super::Omit;
use super::profiles::Selection;
use super::schema::{Attribute, Empty, Object, PROCESS, ROOT, Shape};
use crate::base::source::Span;
use crate::model::process::REPLICA_MARK;
use crate::yaml::node::{Kind, Mapping, Node, Scalar, Value};
use crate::yaml::path::Pattern;

/// Makes the printed tree.
pub(super) fn printed(mut root: Node, selection: &Selection, env: &str, omit: Omit) -> Node {
    let span = root.span;
    for section in ["services", "processes"] {
        if let Some(services) = section_mut(&mut root, section) {
            services.retain(|name, _| selection.is_on(name));
            services.sort_keys();
        }
    }
    if !omit.interpolation {
        keep_used(&mut root);
    }
    let Some(top) = root.as_mapping_mut() else { return root };
    let mut result = Mapping::default();
    result.insert("name", span, Node::text(env, span));
    let services = top.remove("services");
    let services_span = services.as_ref().map_or(span, |entry| entry.key_span);
    let mut services = services.map_or_else(|| Node::new(Value::Null, span), |entry| entry.node);
    if services.is_null() {
        services.value = Value::Mapping(Mapping::default());
    }
    result.insert("services", services_span, services);
    for attribute in ROOT.attributes.iter().filter(|attribute| !matches!(attribute.name, "version" | "name" | "include" | "services")) {
        if let Some(entry) = top.remove(attribute.name)
            && !is_empty(&entry.node)
        {
            result.insert(attribute.name, entry.key_span, entry.node);
        }
    }
    for (key, entry) in std::mem::take(top) {
        if key.starts_with("x-") {
            result.insert(key, entry.key_span, entry.node);
        }
    }
    for (key, entry) in result.iter_mut() {
        if let Some(attribute) = ROOT.get(key) {
            Printed { omit, of_process: false }.prune(&attribute.shape, &mut entry.node);
        }
    }
    let mut root = Node::new(Value::Mapping(result), span);
    if !omit.interpolation {
        double(&mut root);
    }
    root
}

fn section_mut<'a>(root: &'a mut Node, section: &str) -> Option<&'a mut Mapping> {
    root.as_mapping_mut()?.get_mut(section)?.as_mapping_mut()
}

/// Takes away networks, volumes, configs, secrets and models that no service of the tree uses, as Compose does.
fn keep_used(root: &mut Node) {
    let used = Used::by_services(root, |_| true);
    for section in SECTIONS {
        if let Some(entries) = section_mut(root, section) {
            entries.retain(|key, _| used.contains(section, key));
        }
    }
}

/// What services use of the top-level sections.
#[derive(Debug, Default)]
pub(super) struct Used(HashSet<(&'static str, String)>);

impl Used {
    /// By the services that are on.
    pub(super) fn by(root: &Node, selection: &Selection) -> Self {
        Self::by_services(root, |name| selection.is_on(name))
    }

    fn by_services(root: &Node, is_on: impl Fn(&str) -> bool) -> Self {
        let mut used = HashSet::new();
        for section in ["services", "processes"] {
            let services = root.get(section).and_then(Node::as_mapping);
            for (_, entry) in services.into_iter().flat_map(Mapping::iter).filter(|(name, _)| is_on(name)) {
                uses(&entry.node, |section, key, _| {
                    used.insert((section, key.to_owned()));
                });
            }
        }
        Self(used)
    }

    /// Whether an entry is used.
    pub(super) fn contains(&self, section: &str, key: &str) -> bool {
        SECTIONS.iter().any(|known| *known == section && self.0.contains(&(*known, key.to_owned())))
    }
}

const SECTIONS: [&str; 5] = ["networks", "volumes", "configs", "secrets", "models"];

/// What one service uses of the top-level sections.
pub(super) fn uses<'a>(service: &'a Node, mut visit: impl FnMut(&'static str, &'a str, Span)) {
    let text = |node: &'a Node, key: &str| node.get(key).and_then(Node::as_text);
    for section in ["networks", "models"] {
        for (key, entry) in service.get(section).and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter) {
            visit(section, key, entry.key_span);
        }
    }
    for mount in service.get("volumes").and_then(Node::as_sequence).unwrap_or_default() {
        if let (Some("volume"), Some(source)) = (text(mount, "type"), text(mount, "source")) {
            visit("volumes", source, mount.span);
        }
    }
    let build_secrets = service.get("build").and_then(|build| build.get("secrets"));
    for (section, grants) in [("configs", service.get("configs")), ("secrets", service.get("secrets")), ("secrets", build_secrets)] {
        for grant in grants.and_then(Node::as_sequence).unwrap_or_default() {
            if let Some(source) = text(grant, "source") {
                visit(section, source, grant.span);
            }
        }
    }
}

/// Compose's JSON is not quite its YAML: it writes some keys with capitals, and has the `x-` keys of the top alone.
pub(super) fn json_spelling(root: &mut Node) {
    for (key, entry) in root.as_mapping_mut().into_iter().flat_map(Mapping::iter_mut) {
        if let Some(attribute) = ROOT.get(key) {
            without_extensions(&attribute.shape, &mut entry.node);
        }
    }
    let capitals = |device: &mut Node| {
        let Some(old) = device.as_mapping_mut() else { return };
        for (key, entry) in std::mem::take(old) {
            let capital: String = key[..1].to_uppercase() + &key[1..];
            old.insert(capital, entry.key_span, entry.node);
        }
    };
    Pattern::new("services.*.blkio_config.*[]").for_each_mut(root, |_, device| capitals(device));
}

fn without_extensions(shape: &'static Shape, node: &mut Node) {
    match (shape.long(), &mut node.value) {
        (Shape::List(items), Value::Sequence(list)) => list.iter_mut().for_each(|item| without_extensions(items, item)),
        (Shape::Map(values) | Shape::Named(values), Value::Mapping(mapping)) => {
            mapping.iter_mut().for_each(|(_, entry)| without_extensions(values, &mut entry.node));
        }
        (Shape::Object(object), Value::Mapping(mapping)) => mapping.retain(|key, entry| {
            let attribute = object.get(key);
            attribute.into_iter().for_each(|attribute| without_extensions(&attribute.shape, &mut entry.node));
            attribute.is_some()
        }),
        _ => {}
    }
}

/// How what is below is printed.
#[derive(Debug, Clone, Copy)]
struct Printed {
    omit: Omit,
    of_process: bool,
}

impl Printed {
    fn prune(self, shape: &'static Shape, node: &mut Node) {
        match (shape.long(), &mut node.value) {
            (Shape::List(items), Value::Sequence(list)) => list.iter_mut().for_each(|item| self.prune(items, item)),
            (Shape::Map(values) | Shape::Named(values), Value::Mapping(mapping)) => {
                mapping.iter_mut().for_each(|(_, entry)| self.prune(values, &mut entry.node));
            }
            (Shape::Object(object), Value::Mapping(mapping)) => {
                let of_process = self.of_process || object.is(&PROCESS);
                Self { of_process, ..self }.members(object, mapping, node.span);
            }
            _ => {}
        }
    }

    fn members(self, object: &'static Object, mapping: &mut Mapping, span: Span) {
        mapping.retain(|key, entry| {
            let Some(attribute) = object.get(key) else { return key.starts_with("x-") };
            self.prune(&attribute.shape, &mut entry.node);
            !self.leaves_out(attribute, &entry.node)
        });
        if !self.of_process {
            for attribute in object.attributes.iter().filter(|attribute| attribute.empty == Empty::Always) {
                if mapping.contains(attribute.name) {
                    continue;
                }
                let is_mapping = matches!(attribute.shape, Shape::Object(_));
                let mut value = if is_mapping { Value::Mapping(Mapping::default()) } else { Value::Null };
                if let (Shape::Object(inner), Value::Mapping(inside)) = (&attribute.shape, &mut value) {
                    self.members(inner, inside, span);
                }
                mapping.insert(attribute.name, span, Node::new(value, span));
            }
        }
        mapping.sort_keys();
    }

    /// `extends` and files of variables have done their work.
    fn leaves_out(self, attribute: &Attribute, node: &Node) -> bool {
        let is_empty = is_empty(node) || matches!(attribute.shape, Shape::Bytes) && node.as_text() == Some("0");
        let are_files_read = !self.omit.env_resolution && !self.omit.interpolation;
        let is_done = attribute.name == "extends" || attribute.name == "env_file" && are_files_read;
        is_done || attribute.empty == Empty::Omitted && is_empty
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Scalar(Scalar { text, kind: Kind::Text }) => text.is_empty(),
        Value::Scalar(Scalar { text, .. }) => crate::yaml::scalar::number(text) == Some(0.0),
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(mapping) => mapping.is_empty(),
    }
}

fn double(node: &mut Node) {
    match &mut node.value {
        Value::Scalar(Scalar { text, kind: Kind::Text }) => {
            if text.contains('$') {
                *text = text.replace('$', "$$");
            }
            if text.contains(REPLICA_MARK) {
                *text = text.replace(REPLICA_MARK, "${REPLICA}");
            }
        }
        Value::Null | Value::Bool(_) | Value::Scalar(_) => {}
        Value::Sequence(items) => items.iter_mut().for_each(double),
        Value::Mapping(mapping) => {
            mapping.iter_mut().for_each(|(_, entry)| double(&mut entry.node));
            if mapping.iter().any(|(key, _)| key.contains('$')) {
                let old = std::mem::take(mapping);
                for (key, entry) in old {
                    mapping.insert(key.replace('$', "$$"), entry.key_span, entry.node);
                }
            }
        }
    }
}
