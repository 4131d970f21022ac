//! What loads and is shown, but with which nothing is started: attributes that this version does not honour. And what Compose
//! takes and nothing can honour on one machine, which is said once.

use indexmap::IndexMap;

use super::profiles::Selection;
use super::schema::{Honoured, Object, ROOT, Shape};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::Span;
use crate::yaml::node::{Mapping, Node, Value};
use crate::yaml::place::Place;

/// What was found on the way.
struct Found<'a> {
    refused: &'a mut Diagnostics,
    /// Attributes that have no effect, each by its name and its first place.
    idle: IndexMap<String, Span>,
}

/// Names every such attribute of what is on, with its place.
pub(super) fn check(root: &Node, selection: &Selection, refused: &mut Diagnostics) {
    let mut found = Found { refused, idle: IndexMap::new() };
    top(root, selection, &mut found);
    let Found { refused, idle } = found;
    if let Some((_, first)) = idle.first() {
        let names: Vec<String> = idle.keys().map(|name| format!("`{name}`")).collect();
        let (have, they) = if names.len() == 1 { ("has", "it is") } else { ("have", "they are") };
        let message = format!("{} {have} no effect on one machine", names.join(", "));
        refused.push(
            Diagnostic::warning("no-effect", message)
                .at(*first, "")
                .help(format!("{they} for a cluster or for another system; without it everything runs the same")),
        );
    }
}

fn top(root: &Node, selection: &Selection, found: &mut Found<'_>) {
    let Some(top) = root.as_mapping() else { return };
    for (key, entry) in top.iter() {
        let Some(attribute) = ROOT.get(key) else { continue };
        match (key, &entry.node.value) {
            ("services" | "processes", Value::Mapping(services)) => {
                for (_, service) in services.iter().filter(|(name, _)| selection.is_on(name)) {
                    if let Shape::Named(shape) = &attribute.shape {
                        below(shape, &Place::ROOT, &service.node, found);
                    }
                }
            }
            // One that is run is a service by then.
            ("jobs", _) => {}
            _ if attribute.honoured == Honoured::NotYet => found.refused.push(not_yet(key, entry.key_span)),
            _ => below(&attribute.shape, &Place::ROOT.key(key), &entry.node, found),
        }
    }
}

/// `place` is the attribute, below its service: what is in a list, or has a name of the user's, is a value of the attribute.
fn below(shape: &'static Shape, place: &Place<'_>, node: &Node, found: &mut Found<'_>) {
    match (shape.long(), &node.value) {
        (Shape::List(items), Value::Sequence(list)) => list.iter().for_each(|item| below(items, place, item, found)),
        (Shape::Map(values) | Shape::Named(values), Value::Mapping(mapping)) => {
            mapping.iter().for_each(|(_, entry)| below(values, place, &entry.node, found));
        }
        (Shape::Object(object), Value::Mapping(mapping)) => within(object, place, mapping, found),
        _ => {}
    }
}

fn within(object: &'static Object, above: &Place<'_>, mapping: &Mapping, found: &mut Found<'_>) {
    for (key, entry) in mapping.iter() {
        let Some(attribute) = object.get(key) else { continue };
        let place = above.key(key);
        if attribute.name == "pre_start" {
            hooks(&attribute.shape, &place, mapping, &entry.node, found);
            continue;
        }
        match attribute.honoured {
            // A `false` asks for nothing that would be missed.
            Honoured::NotYet if matches!(entry.node.value, Value::Null | Value::Bool(false)) => {}
            Honoured::NotYet => found.refused.push(not_yet(&place.to_string(), entry.key_span)),
            Honoured::Yes => below(&attribute.shape, &place, &entry.node, found),
            Honoured::WithoutEffect if is_what_happens_anyway(key, &entry.node) => {}
            Honoured::WithoutEffect => drop(found.idle.entry(place.to_string()).or_insert(entry.key_span)),
        }
    }
}

/// What asks for no more than what is done without it: what long forms fill in, and what is no matter of a cluster.
fn is_what_happens_anyway(key: &str, node: &Node) -> bool {
    match key {
        "mode" => matches!(node.as_text(), Some("ingress" | "host" | "replicated")),
        "consistency" => true,
        _ => matches!(node.value, Value::Null),
    }
}

/// Hooks before the start are judged by what they say themselves: what they have of their service stands there, and is honoured or
/// refused there.
fn hooks(shape: &'static Shape, place: &Place<'_>, service: &Mapping, hooks: &Node, found: &mut Found<'_>) {
    let Shape::List(items) = shape.long() else { return };
    for hook in hooks.as_sequence().unwrap_or_default() {
        let mut own = hook.clone();
        if let Some(own) = own.as_mapping_mut() {
            own.retain(|key, entry| service.entry(key).is_none_or(|of_service| of_service.key_span != entry.key_span));
        }
        below(items, place, &own, found);
    }
}

fn not_yet(key: &str, span: Span) -> Diagnostic {
    let help = match key {
        // Compose knows no such key.
        "reload" => "write `stop-first`, or remove it: the old life ends before the new one begins",
        _ => "remove it, or use Docker Compose for this service; nothing is started with an attribute that would be ignored",
    };
    Diagnostic::error("not-yet", format!("`{key}` is not supported by this version")).at(span, "").help(help)
}
