//! Tree → text: canonical YAML and JSON.
//!
//! Numbers are numbers (`1.10` is what YAML takes it for, `1.1`), text is text, keys keep their order. Tags are not written: by the
//! time a tree is printed the merge has used them.

use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use serde_yaml::Value as Yaml;

use super::node::{Kind, Node, Scalar, Value};
use super::scalar;

/// The tree as `serde_yaml` has it, to be made into a type.
pub(super) fn yaml_value(node: &Node) -> Yaml {
    convert(node, |text| text.into())
}

fn convert(node: &Node, from_text: fn(&str) -> Yaml) -> Yaml {
    match &node.value {
        Value::Null => Yaml::Null,
        Value::Bool(value) => Yaml::Bool(*value),
        Value::Scalar(scalar) => match number(scalar) {
            Some(Number::Signed(value)) => value.into(),
            Some(Number::Unsigned(value)) => value.into(),
            Some(Number::Float(value)) => value.into(),
            None => from_text(&scalar.text),
        },
        Value::Sequence(items) => Yaml::Sequence(items.iter().map(|item| convert(item, from_text)).collect()),
        Value::Mapping(mapping) => {
            Yaml::Mapping(mapping.iter().map(|(key, entry)| (from_text(key), convert(&entry.node, from_text))).collect())
        }
    }
}

/// Begins a text that must stand in quotes. `serde_yaml` has no way to ask for them, but it quotes what begins with a space.
const QUOTED: &str = " \u{E000}quoted\u{E001}";

/// Whether go-yaml would take a text without quotes for a point in time (`2006-1-2`, and what may follow it).
fn is_date(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let digits: Vec<usize> =
        date.split('-').map(|part| if part.bytes().all(|byte| byte.is_ascii_digit()) { part.len() } else { 0 }).collect();
    matches!(digits[..], [4, 1..=2, 1..=2])
}

/// A text; the few that `serde_yaml` would leave without quotes though Compose reads something else in them (`1_000`, `<<`, a date) are
/// marked.
fn unmistakable(text: &str) -> Yaml {
    let is_text =
        matches!(scalar::resolve(text), Value::Scalar(Scalar { kind: Kind::Text, .. })) && text != "<<" && !is_date(text);
    if is_text || serde_yaml::to_string(text).is_ok_and(|written| written.starts_with(['\'', '"'])) {
        return text.into();
    }
    format!("{QUOTED}{text}").into()
}

/// The tree as `serde_json` has it. JSON has no infinity; it stays the text that was written.
pub fn json_value(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Scalar(scalar) => json_scalar(scalar),
        Value::Sequence(items) => Json::Array(items.iter().map(json_value).collect()),
        Value::Mapping(mapping) => {
            Json::Object(mapping.iter().map(|(key, entry)| (key.to_owned(), json_value(&entry.node))).collect())
        }
    }
}

fn json_scalar(scalar: &Scalar) -> Json {
    match number(scalar) {
        Some(Number::Signed(value)) => value.into(),
        Some(Number::Unsigned(value)) => value.into(),
        Some(Number::Float(value)) => serde_json::Number::from_f64(value).map_or_else(|| endless(value).into(), Json::Number),
        None => scalar.text.as_str().into(),
    }
}

/// A number that JSON has not, in the words of YAML; one that is too large for a float is as endless as `.inf`.
fn endless(value: f64) -> &'static str {
    if value.is_nan() {
        ".nan"
    } else if value.is_sign_negative() {
        "-.inf"
    } else {
        ".inf"
    }
}

/// A number as a type would have it.
pub(super) enum Number {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

/// What a scalar is as a number; none for text.
pub(super) fn number(scalar: &Scalar) -> Option<Number> {
    match scalar.kind {
        Kind::Text => None,
        Kind::Int => {
            let value = scalar::integer(&scalar.text)?;
            let signed = i64::try_from(value).ok().map(Number::Signed);
            signed.or_else(|| u64::try_from(value).ok().map(Number::Unsigned))
        }
        Kind::Float => scalar::number(&scalar.text).map(Number::Float),
    }
}

/// The tree as a YAML document, ending in a line end.
#[expect(clippy::missing_panics_doc, reason = "it cannot")]
pub fn to_yaml(node: &Node) -> String {
    let marked = serde_yaml::to_string(&convert(node, unmistakable));
    marked.expect("a tree of texts, numbers, lists and text-keyed mappings can always be written").replace(QUOTED, "")
}

/// The tree as JSON in lines, ending in a line end.
#[expect(clippy::missing_panics_doc, reason = "it cannot")]
pub fn to_json(node: &Node) -> String {
    let mut text = serde_json::to_string_pretty(&AsJson(node)).expect("texts and numbers can always be written");
    text.push('\n');
    text
}

/// A tree that is written without being made into another first.
struct AsJson<'a>(&'a Node);

impl Serialize for AsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Scalar(scalar) => match number(scalar) {
                Some(Number::Signed(value)) => serializer.serialize_i64(value),
                Some(Number::Unsigned(value)) => serializer.serialize_u64(value),
                Some(Number::Float(value)) if value.is_finite() => serializer.serialize_f64(value),
                Some(Number::Float(value)) => serializer.serialize_str(endless(value)),
                None => serializer.serialize_str(&scalar.text),
            },
            Value::Sequence(items) => serializer.collect_seq(items.iter().map(AsJson)),
            Value::Mapping(mapping) => serializer.collect_map(mapping.iter().map(|(key, entry)| (key, AsJson(&entry.node)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diagnostic::Diagnostics;
    use crate::base::source::{SourceId, Span};
    use crate::yaml::node::Mapping;
    use crate::yaml::parse::parse;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<Node> {
        let mut diagnostics = Diagnostics::default();
        let documents = parse(SourceId(0), text, &mut diagnostics)?;
        assert!(diagnostics.is_empty(), "{text}: {diagnostics:?}");
        documents.into_iter().next()
    }

    #[test]
    fn what_is_written_is_what_was_meant() {
        let text = "b: 1.10\na: '1.10'\nn: 0x10\nbig: 18446744073709551615\nyes: yes\nz: ~\n\"null\": [a, {x: .inf}, '1_000']\n";
        let node = read(text).unwrap();
        assert_eq!(
            to_yaml(&node),
            "b: 1.1\na: '1.10'\nn: 16\nbig: 18446744073709551615\nyes: yes\nz: null\n'null':\n- a\n- x: .inf\n- '1_000'\n"
        );
        assert_eq!(
            json_value(&node).to_string(),
            r#"{"b":1.1,"a":"1.10","n":16,"big":18446744073709551615,"yes":"yes","z":null,"null":["a",{"x":".inf"},"1_000"]}"#
        );
        assert_eq!(to_json(&node), format!("{:#}\n", json_value(&node)));
    }

    #[test]
    fn a_number_without_end_is_one_however_it_was_written() {
        for (text, expected) in
            [("-4.4e444444", "-.inf"), ("1e999", ".inf"), ("+.INF", ".inf"), (".NaN", ".nan"), ("-.Inf", "-.inf")]
        {
            let node = read(&format!("a: {text}\n")).unwrap();
            assert_eq!(json_value(&node).to_string(), format!(r#"{{"a":"{expected}"}}"#), "{text}");
            assert_eq!(to_json(&node), format!("{:#}\n", json_value(&node)), "{text}");
            assert_eq!(json_value(&read(&to_yaml(&node)).unwrap()), json_value(&node), "{text}");
        }
    }

    #[test]
    fn what_another_reader_would_take_for_something_else_stands_in_quotes() {
        for (text, expected) in [
            ("2001-12-14", "'2001-12-14'"),
            ("2001-1-2t21:59:43.10-05:00", "'2001-1-2t21:59:43.10-05:00'"),
            ("2001-12-14 21:59:43", "'2001-12-14 21:59:43'"),
            ("2001-12-14x", "2001-12-14x"),
            ("8000-8010", "8000-8010"),
            ("1_000", "'1_000'"),
            ("<<", "'<<'"),
            ("0777", "'0777'"),
        ] {
            let span = Span { source: SourceId(0), start: 0, end: 0 };
            assert_eq!(to_yaml(&Node::text(text, span)).trim_end(), expected);
        }
    }

    fn trees() -> impl Strategy<Value = Yaml> {
        let words = prop::sample::select(vec![
            "1_000", "0777", "1e3", "-0", ".5", "yes", "<<", "~", "0b1", "+1", "a: b", "#", "- x", "", "!reset",
        ]);
        let text = prop_oneof![words.prop_map(str::to_owned), "[ -~\n\té]{0,8}"];
        let leaf = prop_oneof![
            Just(Yaml::Null),
            any::<bool>().prop_map(Yaml::from),
            any::<i64>().prop_map(Yaml::from),
            any::<u64>().prop_map(Yaml::from),
            prop::num::f64::NORMAL.prop_map(Yaml::from),
            text.clone().prop_map(Yaml::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Yaml::from),
                prop::collection::vec((text.clone(), inner), 0..4)
                    .prop_map(|entries| Yaml::Mapping(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())),
            ]
        })
    }

    fn node(tree: &Yaml) -> Node {
        let span = Span { source: SourceId(0), start: 0, end: 0 };
        let value = match tree {
            Yaml::Null => Value::Null,
            Yaml::Bool(value) => Value::Bool(*value),
            Yaml::Number(number) => {
                let kind = if number.is_f64() { Kind::Float } else { Kind::Int };
                Value::Scalar(Scalar { text: number.to_string(), kind })
            }
            Yaml::String(text) => return Node::text(text, span),
            Yaml::Sequence(items) => Value::Sequence(items.iter().map(node).collect()),
            Yaml::Mapping(entries) => {
                let mut mapping = Mapping::default();
                for (key, value) in entries {
                    mapping.insert(key.as_str().unwrap(), span, node(value));
                }
                Value::Mapping(mapping)
            }
            Yaml::Tagged(_) => unreachable!("none are made here"),
        };
        Node::new(value, span)
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(tree in trees()) {
            let written = to_yaml(&node(&tree));
            prop_assert_eq!(yaml_value(&read(&written).unwrap()), tree, "{}", written);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "([ -~\n\té]|: |- |\\[|\\{|&a |\\*a |<<: |\"|'|\\||>){0,60}") {
            let mut diagnostics = Diagnostics::default();
            let tree = parse(SourceId(0), &text, &mut diagnostics);
            prop_assert!(tree.is_some() || diagnostics.has_errors());
            for label in diagnostics.into_iter().flat_map(|d| d.labels) {
                prop_assert!(text.get(label.span.start as usize..label.span.end as usize).is_some(), "{:?}", label);
            }
        }
    }
}
