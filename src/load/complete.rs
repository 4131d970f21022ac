//! The whole, merged tree against the table: what has to be there is, and nothing stands only where it may.

use super::schema::{CONTAINER, JOB, Object, PROCESS, ROOT, Shape};
use super::told::wrong_kind;
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::Span;
use crate::base::suggest::closest;
use crate::yaml::node::{Mapping, Node, Value};
use crate::yaml::place::Place;

/// Tells what is missing.
pub(super) fn check(root: &Node, diagnostics: &mut Diagnostics) {
    if let Some(top) = root.as_mapping() {
        object(&ROOT, &Place::ROOT, top, root.span, diagnostics);
    }
}

fn below(shape: &'static Shape, place: &Place<'_>, node: &Node, diagnostics: &mut Diagnostics) {
    match (shape.long(), &node.value) {
        (Shape::List(items), Value::Sequence(list)) => {
            for (index, item) in list.iter().enumerate() {
                let place = place.index(index);
                if item.is_null() { empty(items, &place, item, diagnostics) } else { below(items, &place, item, diagnostics) }
            }
        }
        (Shape::Map(values), Value::Mapping(mapping)) => {
            for (key, entry) in mapping.iter() {
                let place = place.key(key);
                if !entry.node.is_null() {
                    below(values, &place, &entry.node, diagnostics);
                } else if !matches!(values.long(), Shape::SingleOrNull | Shape::Any | Shape::PathOrUrl) {
                    empty(values, &place, &entry.node, diagnostics);
                }
            }
        }
        (Shape::Named(values), Value::Mapping(mapping)) => {
            for (key, entry) in mapping.iter() {
                let place = place.key(key);
                match (&entry.node.value, values.long()) {
                    (Value::Null, Shape::Object(known)) if known.is(&CONTAINER) || known.is(&PROCESS) || known.is(&JOB) => {
                        let message = format!("`{place}` must be a mapping, not nothing");
                        diagnostics.push(Diagnostic::error("wrong-kind", message).at(entry.key_span, ""));
                    }
                    // What has a short form is written as a value, and not as the mapping that is made of it.
                    (Value::Null, Shape::Object(_)) if matches!(values, Shape::Forms(_)) => {
                        empty(values, &place, &entry.node, diagnostics);
                    }
                    (Value::Null, Shape::Object(known)) => {
                        object(known, &place, &Mapping::default(), entry.key_span, diagnostics);
                    }
                    _ => below(values, &place, &entry.node, diagnostics),
                }
            }
        }
        (Shape::Object(known), Value::Mapping(mapping)) => object(known, place, mapping, node.span, diagnostics),
        _ => {}
    }
}

fn object(known: &'static Object, place: &Place<'_>, mapping: &Mapping, span: Span, diagnostics: &mut Diagnostics) {
    for (key, entry) in mapping.iter() {
        let Some(attribute) = known.get(key) else { continue };
        let place = place.key(key);
        if !entry.node.is_null() {
            below(&attribute.shape, &place, &entry.node, diagnostics);
        } else if !attribute.nullable {
            let wanted = wanted(&attribute.shape);
            let message = format!("`{place}` must be {wanted}, not nothing");
            let help = "write a value, or remove the line";
            diagnostics.push(Diagnostic::error("wrong-kind", message).at(entry.key_span, "").help(help));
        }
    }
    let strangers = || mapping.iter().map(|(key, _)| key).filter(|key| known.get(key).is_none() && !key.starts_with("x-"));
    for attribute in known.attributes.iter().filter(|attribute| attribute.required && !mapping.contains(attribute.name)) {
        if strangers().any(|key| closest(key, [attribute.name]).is_some()) {
            // It is there under a wrong name, which is told.
            continue;
        }
        let message = format!("{} lacks `{}`, in `{place}`", known.what, attribute.name);
        let mut diagnostic = Diagnostic::error("missing-key", message).at(span, "");
        if let Shape::Word(words) = &attribute.shape {
            diagnostic = diagnostic.help(format!("it is one of `{}`", words.join("`, `")));
        }
        diagnostics.push(diagnostic);
    }
}

fn empty(shape: &'static Shape, place: &Place<'_>, node: &Node, diagnostics: &mut Diagnostics) {
    wrong_kind(place, node, wanted(shape), diagnostics);
}

/// What a shape wants, in words.
fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Forms(forms) => forms.wanted,
        Shape::Flag => "`true` or `false`",
        Shape::Whole(..) => "a whole number",
        Shape::Number => "a number",
        Shape::Duration => "a duration such as `1m30s`",
        Shape::Bytes => "a size such as `64m`",
        Shape::Single | Shape::SingleOrNull => "a single value",
        Shape::List(_) => "a list",
        Shape::Map(_) | Shape::Named(_) | Shape::Object(_) => "a mapping",
        Shape::Any => "something",
        Shape::Text | Shape::Path | Shape::PathOrUrl | Shape::Word(_) | Shape::Checked(_) => "a text",
    }
}
