//! What loads and is shown, but with which nothing is started: attributes that this version does not honour.

use super::profiles::Selection;
use super::schema::{Honoured, Object, ROOT, Shape};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::Span;
use crate::yaml::node::{Mapping, Node, Value};

/// Names every such attribute of what is on, with its place.
pub(super) fn check(root: &Node, selection: &Selection, refused: &mut Diagnostics) {
    let Some(top) = root.as_mapping() else { return };
    for (key, entry) in top.iter() {
        let Some(attribute) = ROOT.get(key) else { continue };
        match (key, &entry.node.value) {
            ("services" | "processes", Value::Mapping(services)) => {
                for (_, service) in services.iter().filter(|(name, _)| selection.is_on(name)) {
                    if let Shape::Named(shape) = &attribute.shape {
                        below(shape, "", &service.node, refused);
                    }
                }
            }
            ("jobs", Value::Mapping(jobs)) if !jobs.iter().any(|(name, _)| selection.has_job(name)) => {}
            _ if attribute.honoured == Honoured::NotYet => refused.push(not_yet(key, entry.key_span)),
            _ => below(&attribute.shape, key, &entry.node, refused),
        }
    }
}

fn below(shape: &'static Shape, key: &str, node: &Node, refused: &mut Diagnostics) {
    match (shape.long(), &node.value) {
        (Shape::List(items), Value::Sequence(list)) => list.iter().for_each(|item| below(items, key, item, refused)),
        (Shape::Map(values) | Shape::Named(values), Value::Mapping(mapping)) => {
            mapping.iter().for_each(|(_, entry)| below(values, key, &entry.node, refused));
        }
        (Shape::Object(object), Value::Mapping(mapping)) => within(object, key, mapping, refused),
        _ => {}
    }
}

fn within(object: &'static Object, above: &str, mapping: &Mapping, refused: &mut Diagnostics) {
    for (key, entry) in mapping.iter() {
        let Some(attribute) = object.get(key) else { continue };
        let name = if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
        if attribute.name == "pre_start" {
            hooks(&attribute.shape, &name, mapping, &entry.node, refused);
            continue;
        }
        match attribute.honoured {
            // A `false` asks for nothing that would be missed.
            Honoured::NotYet if matches!(entry.node.value, Value::Null | Value::Bool(false)) => {}
            Honoured::NotYet => refused.push(not_yet(&name, entry.key_span)),
            Honoured::Yes => below(&attribute.shape, &name, &entry.node, refused),
            Honoured::WithoutEffect => {}
        }
    }
}

/// Hooks before the start are judged by what they say themselves: what they have of their service stands there, and is honoured or
/// refused there.
fn hooks(shape: &'static Shape, name: &str, service: &Mapping, hooks: &Node, refused: &mut Diagnostics) {
    let Shape::List(items) = shape.long() else { return };
    for hook in hooks.as_sequence().unwrap_or_default() {
        let mut own = hook.clone();
        if let Some(own) = own.as_mapping_mut() {
            own.retain(|key, entry| service.entry(key).is_none_or(|of_service| of_service.key_span != entry.key_span));
        }
        below(items, name, &own, refused);
    }
}

fn not_yet(key: &str, span: Span) -> Diagnostic {
    Diagnostic::error("not-yet", format!("`{key}` is not supported by this version"))
        .at(span, "")
        .help("remove it, or use Docker Compose for this service; nothing is started with an attribute that would be ignored")
}
