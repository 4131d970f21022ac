//! The tree as `config` prints it: what is on and what that uses, without what is empty.

use super::profiles::Selection;
use super::schema::{Attribute, Empty, Object, PROCESS, ROOT, Shape};
use crate::base::source::Span;
use crate::yaml::node::{Kind, Mapping, Node, Scalar, Value};
use crate::yaml::path::Pattern;

/// Makes the printed tree.
pub(super) fn printed(mut root: Node, selection: &Selection, env: &str) -> Node {
    let span = root.span;
    for section in ["services", "processes"] {
        if let Some(services) = section_mut(&mut root, section) {
            services.retain(|name, _| selection.is_on(name));
            services.sort_keys();
        }
    }
    if let Some(jobs) = section_mut(&mut root, "jobs") {
        jobs.retain(|name, _| selection.has_job(name));
    }
    selection.drop_unused(&mut root);
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
    for attribute in
        ROOT.attributes.iter().filter(|attribute| !matches!(attribute.name, "version" | "name" | "include" | "services"))
    {
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
            prune(&attribute.shape, false, &mut entry.node);
        }
    }
    Node::new(Value::Mapping(result), span)
}

fn section_mut<'a>(root: &'a mut Node, section: &str) -> Option<&'a mut Mapping> {
    root.as_mapping_mut()?.get_mut(section)?.as_mapping_mut()
}

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
    for (section, grants) in
        [("configs", service.get("configs")), ("secrets", service.get("secrets")), ("secrets", build_secrets)]
    {
        for grant in grants.and_then(Node::as_sequence).unwrap_or_default() {
            if let Some(source) = text(grant, "source") {
                visit(section, source, grant.span);
            }
        }
    }
}

/// In its JSON, and there alone, Compose has the `x-` keys of the top alone, writes some keys with capitals, and does not define models.
pub(super) fn json_spelling(root: &mut Node) {
    if let Some(top) = root.as_mapping_mut() {
        top.remove("models");
    }
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

/// In its YAML, and there alone, Compose leaves out what it shows though it is nothing.
pub(super) fn yaml_spelling(root: &mut Node) {
    for (key, entry) in root.as_mapping_mut().into_iter().flat_map(Mapping::iter_mut) {
        if let Some(attribute) = ROOT.get(key) {
            without_nothing(&attribute.shape, &mut entry.node);
        }
    }
}

fn without_nothing(shape: &'static Shape, node: &mut Node) {
    match (shape.long(), &mut node.value) {
        (Shape::List(items), Value::Sequence(list)) => list.iter_mut().for_each(|item| without_nothing(items, item)),
        (Shape::Map(values) | Shape::Named(values), Value::Mapping(mapping)) => {
            mapping.iter_mut().for_each(|(_, entry)| without_nothing(values, &mut entry.node));
        }
        (Shape::Object(object), Value::Mapping(mapping)) => mapping.retain(|key, entry| {
            let Some(attribute) = object.get(key) else { return true };
            without_nothing(&attribute.shape, &mut entry.node);
            let is_nothing = entry.node.is_null() || entry.node.as_mapping().is_some_and(Mapping::is_empty);
            attribute.empty != Empty::Always || !is_nothing
        }),
        _ => {}
    }
}

fn without_extensions(shape: &'static Shape, node: &mut Node) {
    match (shape.long(), &mut node.value) {
        (Shape::List(items), Value::Sequence(list)) => list.iter_mut().for_each(|item| without_extensions(items, item)),
        (Shape::Map(values) | Shape::Named(values), Value::Mapping(mapping)) => {
            mapping.iter_mut().for_each(|(_, entry)| without_extensions(values, &mut entry.node));
        }
        (Shape::Object(object), Value::Mapping(mapping)) => {
            mapping.retain(|key, entry| match object.get(key) {
                Some(attribute) => {
                    without_extensions(&attribute.shape, &mut entry.node);
                    true
                }
                None => false,
            });
        }
        _ => {}
    }
}

fn prune(shape: &'static Shape, of_process: bool, node: &mut Node) {
    match (shape.long(), &mut node.value) {
        (Shape::List(items), Value::Sequence(list)) => list.iter_mut().for_each(|item| prune(items, of_process, item)),
        (Shape::Map(values) | Shape::Named(values), Value::Mapping(mapping)) => {
            mapping.iter_mut().for_each(|(_, entry)| prune(values, of_process, &mut entry.node));
        }
        (Shape::Object(object), Value::Mapping(mapping)) => {
            let of_process = of_process || object.is(&PROCESS);
            members(object, of_process, mapping, node.span);
        }
        _ => {}
    }
}

fn members(object: &'static Object, of_process: bool, mapping: &mut Mapping, span: Span) {
    // What a variable or a template has filled in is not the file's.
    let is_filled_in = mapping.contains("environment") || mapping.contains("template");
    if is_filled_in && object.get("content").is_some() {
        mapping.remove("content");
    }
    mapping.retain(|key, entry| {
        let Some(attribute) = object.get(key) else { return true };
        prune(&attribute.shape, of_process, &mut entry.node);
        !is_left_out(attribute, &entry.node)
    });
    if !of_process {
        for attribute in object.attributes.iter().filter(|attribute| attribute.empty == Empty::Always) {
            if mapping.contains(attribute.name) {
                continue;
            }
            let is_mapping = matches!(attribute.shape, Shape::Object(_));
            let mut value = if is_mapping { Value::Mapping(Mapping::default()) } else { Value::Null };
            if let (Shape::Object(inner), Value::Mapping(inside)) = (&attribute.shape, &mut value) {
                members(inner, of_process, inside, span);
            }
            mapping.insert(attribute.name, span, Node::new(value, span));
        }
    }
    mapping.sort_keys();
}

/// `extends` and files of variables have done their work.
fn is_left_out(attribute: &Attribute, node: &Node) -> bool {
    let is_empty = is_empty(node) || matches!(attribute.shape, Shape::Bytes) && node.as_text() == Some("0");
    let is_omitted = match attribute.empty {
        Empty::Omitted => is_empty,
        Empty::True => matches!(node.value, Value::Bool(true)),
        Empty::Shown | Empty::Always => false,
    };
    is_omitted || attribute.name == "extends"
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
