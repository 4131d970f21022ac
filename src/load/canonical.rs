//! One file's tree against the table: every key known, every value of its kind, every short form made long.
//!
//! What a rewrite makes has the span of what it was made from, and a tag stays on the node that it was on. Nothing (`key:`) passes
//! here: a later file may have something in its place, or this one may only repeat an earlier one; [`super::complete`] looks at
//! what is left of it.

use super::schema::forms::{flag, integer};
use super::schema::{CONTAINER, CONTAINER_ONLY_HELP, EXTENDS_NAME, JOB, Object, PROCESS, ROOT, Shape};
use super::told::{A_LIST, bad_value, unknown_key, wrong_kind};
use crate::base::bytes;
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::duration;
use crate::base::name::{self, ServiceName};
use crate::base::source::Span;
use crate::base::suggest::closest;
use crate::yaml::node::{Kind, Mapping, Node, Scalar, Tag, Value};
use crate::yaml::place::Place;
use crate::yaml::scalar;

/// Rewrites a whole file's tree.
pub(super) fn canonical(root: &mut Node, diagnostics: &mut Diagnostics) {
    object(&ROOT, &Place::ROOT, root, diagnostics);
}

fn shaped(shape: &'static Shape, place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    if node.is_null() || node.tag == Some(Tag::Reset) {
        return;
    }
    match shape {
        Shape::Any => {}
        Shape::Text | Shape::Path | Shape::PathOrUrl => {
            text(place, node, diagnostics);
        }
        Shape::Word(words) => {
            if let Some(found) = text(place, node, diagnostics)
                && !words.contains(&found)
            {
                let all = || format!("it is one of `{}`", words.join("`, `"));
                let help = closest(found, words.iter().copied()).map_or_else(all, |near| format!("did you mean `{near}`?"));
                bad_value(place, node.span, format!("`{found}` is not known"), &help, diagnostics);
            }
        }
        Shape::Checked(check) => {
            if let Some(found) = text(place, node, diagnostics)
                && !(check.accepts)(found)
            {
                bad_value(place, node.span, format!("`{found}` is not {}", check.wanted), "", diagnostics);
            }
        }
        Shape::Flag => boolean(place, node, diagnostics),
        Shape::Whole(least, most) => whole(*least, *most, place, node, diagnostics),
        Shape::Number => number(place, node, diagnostics),
        Shape::Duration => span_of_time(place, node, diagnostics),
        Shape::Bytes => size(place, node, diagnostics),
        Shape::Single | Shape::SingleOrNull => single(place, node, diagnostics),
        Shape::List(items) => match node.as_sequence_mut() {
            Some(list) => {
                for (index, item) in list.iter_mut().enumerate() {
                    shaped(items, &place.index(index), item, diagnostics);
                }
            }
            None => wrong_kind(place, node, A_LIST, diagnostics),
        },
        Shape::Map(values) => match node.as_mapping_mut() {
            Some(mapping) => {
                for (key, entry) in mapping.iter_mut() {
                    shaped(values, &place.key(key), &mut entry.node, diagnostics);
                }
            }
            None => wrong_kind(place, node, "a mapping", diagnostics),
        },
        Shape::Named(values) => match node.as_mapping_mut() {
            Some(mapping) => {
                for (key, entry) in mapping.iter_mut() {
                    name_of(values, key, entry.key_span, place, diagnostics);
                    shaped(values, &place.key(key), &mut entry.node, diagnostics);
                }
            }
            None => wrong_kind(place, node, "a mapping of names", diagnostics),
        },
        Shape::Object(known) => object(known, place, node, diagnostics),
        Shape::Forms(forms) => {
            let before = diagnostics.len();
            (forms.rewrite)(place, node, diagnostics);
            let long = forms.long.long();
            let fits = fits(long, node);
            if fits {
                shaped(forms.long, place, node, diagnostics);
            } else if !forms.short.iter().any(|short| as_short(short, place, node, diagnostics)) && diagnostics.len() == before {
                wrong_kind(place, node, forms.wanted, diagnostics);
            }
        }
    }
}

/// Whether a value is of a shape's kind, whatever is inside.
fn fits(shape: &Shape, node: &Node) -> bool {
    match (shape, &node.value) {
        (Shape::Any, _)
        | (_, Value::Null)
        | (Shape::List(_), Value::Sequence(_))
        | (Shape::Map(_) | Shape::Named(_) | Shape::Object(_), Value::Mapping(_))
        | (Shape::Flag, Value::Bool(_) | Value::Scalar(_)) => true,
        (Shape::List(_) | Shape::Map(_) | Shape::Named(_) | Shape::Object(_) | Shape::Flag, _) => false,
        (Shape::Forms(forms), _) => fits(forms.long, node),
        _ => matches!(node.value, Value::Bool(_) | Value::Scalar(_)),
    }
}

/// A short form that stays as it is.
fn as_short(short: &'static Shape, place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) -> bool {
    let is_text = matches!(node.value, Value::Scalar(Scalar { kind: Kind::Text, .. }));
    let is = match short {
        Shape::Text | Shape::Word(_) | Shape::Path | Shape::PathOrUrl => is_text,
        Shape::Flag => matches!(node.value, Value::Bool(_)),
        Shape::Whole(..) => matches!(node.value, Value::Scalar(Scalar { kind: Kind::Int, .. })),
        Shape::Object(_) => node.as_mapping().is_some(),
        _ => false,
    };
    if is {
        shaped(short, place, node, diagnostics);
    }
    is
}

fn object(known: &'static Object, place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    let Some(mapping) = node.as_mapping_mut() else {
        let wanted = if known.is(&ROOT) { "a mapping with `services` or `processes`" } else { "a mapping" };
        return wrong_kind(place, node, wanted, diagnostics);
    };
    renamed(known, mapping);
    for (key, entry) in mapping.iter_mut() {
        match known.get(key) {
            Some(attribute) => shaped(&attribute.shape, &place.key(key), &mut entry.node, diagnostics),
            None if key.starts_with("x-") => {}
            None => stranger(known, key, entry.key_span, diagnostics),
        }
    }
}

/// Spellings from before an attribute was one.
fn renamed(known: &'static Object, mapping: &mut Mapping) {
    const OLD: [(&str, &str); 2] = [("x-develop", "develop"), ("x-initialSync", "initial_sync")];
    for (old, new) in OLD {
        if mapping.contains(old)
            && known.get(new).is_some()
            && !mapping.contains(new)
            && let Some(entry) = mapping.remove(old)
        {
            mapping.insert(new, entry.key_span, entry.node);
        }
    }
}

fn stranger(known: &'static Object, key: &str, span: Span, diagnostics: &mut Diagnostics) {
    if known.is(&PROCESS) && CONTAINER.get(key).is_some() {
        let help = CONTAINER_ONLY_HELP
            .iter()
            .find(|(name, _)| *name == key)
            .map_or("it is an attribute of containers", |(_, help)| help);
        let message = format!("`{key}` means nothing for a process");
        diagnostics.push(Diagnostic::error("container-only", message).at(span, "only containers have it").help(help));
    } else if known.is(&CONTAINER) && PROCESS.get(key).is_some() {
        let message = format!("`{key}` means nothing for a container");
        let diagnostic = Diagnostic::error("process-only", message).at(span, "only processes have it");
        diagnostics.push(diagnostic.help("put the service under `processes:`"));
    } else if known.what == EXTENDS_NAME {
        let message = format!("`extends` has no attribute `{key}`, which has no effect");
        diagnostics.push(Diagnostic::warning("unknown-key", message).at(span, "").help("remove the line"));
    } else {
        unknown_key(known.what, key, span, known.attributes.iter().map(|attribute| attribute.name), diagnostics);
    }
}

fn name_of(values: &Shape, key: &str, span: Span, place: &Place<'_>, diagnostics: &mut Diagnostics) {
    let is_service = matches!(values, Shape::Object(known) if known.is(&CONTAINER) || known.is(&PROCESS) || known.is(&JOB));
    let checked = if is_service { key.parse::<ServiceName>().map(|_| ()) } else { name::check_key(key) };
    if let Err(error) = checked {
        let message = format!("`{key}` in `{place}` is not a name: {error}");
        diagnostics.push(Diagnostic::error("bad-name", message).at(span, ""));
    }
}

fn text<'n>(place: &Place<'_>, node: &'n Node, diagnostics: &mut Diagnostics) -> Option<&'n str> {
    if let Value::Scalar(Scalar { text, kind: Kind::Text }) = &node.value {
        return Some(text);
    }
    let quoted = matches!(node.value, Value::Scalar(_) | Value::Bool(_));
    if quoted {
        let written = node.as_text().unwrap_or_default();
        let message = format!("`{place}` must be a text, not {} `{written}`", node.kind_name());
        diagnostics
            .push(Diagnostic::error("wrong-kind", message).at(node.span, "").help(format!("put it in quotes: `\"{written}\"`")));
    } else {
        wrong_kind(place, node, "a text", diagnostics);
    }
    None
}

/// What a variable can stand for where a boolean is wanted.
fn boolean(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    match &node.value {
        Value::Bool(_) => {}
        Value::Scalar(Scalar { text, kind: Kind::Text }) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => node.value = flag(true, node.span).value,
            "false" | "no" | "off" | "n" => node.value = flag(false, node.span).value,
            _ => {
                let why = format!("`{text}` is neither true nor false");
                bad_value(place, node.span, why, "write `true` or `false`", diagnostics);
            }
        },
        _ => wrong_kind(place, node, "`true` or `false`", diagnostics),
    }
}

fn whole(least: i64, most: i64, place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    let Value::Scalar(Scalar { text, kind }) = &node.value else {
        return wrong_kind(place, node, "a whole number", diagnostics);
    };
    let value = match kind {
        Kind::Int => scalar::integer(text),
        Kind::Text => text.parse::<i64>().ok().map(i128::from),
        // `1e3` and `5.` are whole numbers as well.
        Kind::Float => scalar::float(text).filter(|value| value.fract() == 0.0 && value.abs() < 1e15).map(|value| value as i128),
    };
    match value {
        Some(value) if value < i128::from(least) || value > i128::from(most) => {
            let range = match (least, most) {
                (least, i64::MAX) => format!("at least {least}"),
                (least, most) => format!("from {least} to {most}"),
            };
            bad_value(place, node.span, format!("{value} is out of range"), &format!("write a number {range}"), diagnostics);
        }
        Some(value) => node.value = integer(value, node.span).value,
        None => wrong_kind(place, node, "a whole number", diagnostics),
    }
}

fn number(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    let Value::Scalar(Scalar { text, kind: Kind::Text }) = &node.value else {
        if !matches!(node.value, Value::Scalar(_)) || is_endless(node) {
            wrong_kind(place, node, "a number", diagnostics);
        }
        return;
    };
    let kind = match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(_), _) => Kind::Int,
        (Err(_), Ok(value)) if value.is_finite() => Kind::Float,
        (Err(_), _) => return wrong_kind(place, node, "a number", diagnostics),
    };
    node.value = Value::Scalar(Scalar { text: text.clone(), kind });
}

fn span_of_time(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    if let Value::Scalar(Scalar { text, kind: Kind::Int | Kind::Float }) = &node.value {
        let (message, help) = (format!("`{place}` lacks its unit"), format!("write `{text}s` if seconds are meant"));
        diagnostics.push(Diagnostic::error("wrong-kind", message).at(node.span, "").help(help));
        return;
    }
    let Some(found) = text(place, node, diagnostics) else { return };
    // Go counts nanoseconds in 63 bits.
    match duration::parse(found).filter(|value| i64::try_from(value.as_nanos()).is_ok()) {
        Some(value) => node.value = Node::text(duration::format(value), node.span).value,
        None => {
            let why = format!("`{found}` is not a duration");
            bad_value(place, node.span, why, "write a number with a unit, such as `90s` or `1m30s`", diagnostics);
        }
    }
}

fn size(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    let Value::Scalar(Scalar { text, kind }) = &node.value else {
        return wrong_kind(place, node, "a size such as `64m`", diagnostics);
    };
    let value = match kind {
        Kind::Int => scalar::integer(text),
        Kind::Float => scalar::float(text).filter(|value| value.fract() == 0.0).map(|value| value as i128),
        Kind::Text => match text.strip_prefix('-') {
            Some(rest) => rest.parse::<i64>().ok().map(|size| -i128::from(size)),
            None => bytes::parse(text).map(i128::from),
        },
    };
    match value {
        Some(value) => node.value = Node::text(value.to_string(), node.span).value,
        None => {
            let why = format!("`{text}` is not a size");
            bad_value(place, node.span, why, "write bytes, or a number with a unit, such as `64m` or `1.5gb`", diagnostics);
        }
    }
}

/// `.inf` and `.nan` are no numbers that Compose takes.
fn is_endless(node: &Node) -> bool {
    let Value::Scalar(Scalar { text, kind: Kind::Float }) = &node.value else { return false };
    scalar::float(text).is_some_and(|value| !value.is_finite())
}

fn single(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    let text = match &node.value {
        Value::Scalar(Scalar { kind: Kind::Text, .. }) => return,
        _ if is_endless(node) => return wrong_kind(place, node, "a single value", diagnostics),
        Value::Scalar(scalar) => scalar.printed(),
        Value::Bool(value) => value.to_string(),
        _ => return wrong_kind(place, node, "a single value", diagnostics),
    };
    node.value = Node::text(text, node.span).value;
}
