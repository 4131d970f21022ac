//! Tree → a type of the model, with the place and the user's words when it does not fit.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment as Step;

use super::emit::yaml_value;
use super::node::Node;
use super::path::{Path, Segment};
use super::read::Reading;
use crate::base::diagnostic::{Diagnostic, Diagnostics};

/// Makes a `T` of the tree. What does not fit is told under `code`, at the value that does not.
pub fn typed<T: DeserializeOwned>(node: &Node, code: &'static str, diagnostics: &mut Diagnostics) -> Option<T> {
    typed_at(&Path::root(), node, code, diagnostics)
}

/// As [`typed`], for a part of a tree: messages name the value with the path of that part before it.
pub fn typed_at<T: DeserializeOwned>(at: &Path, node: &Node, code: &'static str, diagnostics: &mut Diagnostics) -> Option<T> {
    if let Ok(value) = T::deserialize(Reading(node)) {
        return Some(value);
    }
    // What does not fit, and where, is found out by going over it again.
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(yaml_value(node), &mut track);
    // In our files a choice is a mapping with one key (`{hex: 32}`); serde_yaml alone would want a tag (`!hex 32`).
    match serde_yaml::with::singleton_map_recursive::deserialize(tracked) {
        Ok(value) => Some(value),
        Err(error) => {
            let below: Path = track.path().iter().filter_map(segment).collect();
            let culprit = below.nearest(node);
            let whole: Path = at.segments().iter().chain(below.segments()).cloned().collect();
            let message = words(&error.to_string(), culprit);
            let message = if whole.segments().is_empty() { message } else { format!("`{whole}` {message}") };
            diagnostics.push(Diagnostic::error(code, message).at(culprit.span, ""));
            None
        }
    }
}

fn segment(step: &Step) -> Option<Segment> {
    match step {
        Step::Seq { index } => Some(Segment::Index(*index)),
        Step::Map { key } => Some(Segment::Key(key.clone())),
        Step::Enum { .. } | Step::Unknown => None,
    }
}

/// What follows the name of the value in a message, from what serde says: its sentences, but not its names for types.
fn words(error: &str, found: &Node) -> String {
    let invalid = error.strip_prefix("invalid type: ").or_else(|| error.strip_prefix("invalid value: "));
    if let Some((_, expected)) = invalid.and_then(|rest| rest.split_once(", expected ")) {
        let shown = found.as_text().filter(|text| text.len() <= 40 && !text.contains('\n'));
        let found = shown.map_or_else(|| found.kind_name().to_owned(), |text| format!("{} `{text}`", found.kind_name()));
        return format!("must be {}, not {found}", expectation(expected));
    }
    if error.starts_with("invalid length") {
        return "has the wrong number of items".to_owned();
    }
    if error.starts_with("data did not match any variant") {
        return format!("cannot be {} of this form", found.kind_name());
    }
    if let Some(rest) = error.strip_prefix("unknown variant ") {
        return match rest.split_once(", expected ") {
            Some((given, known)) => format!("cannot be {given}, only {}", known.trim_start_matches("one of ")),
            None => format!("cannot be {rest}"),
        };
    }
    if let Some(field) = error.strip_prefix("missing field ") {
        return format!("lacks the key {field}");
    }
    if let Some(field) = error.strip_prefix("unknown field ") {
        return format!("has no key {}", field.split(',').next().unwrap_or(field));
    }
    error.to_owned()
}

/// From serde's and Rust's names for what was expected.
fn expectation(expected: &str) -> String {
    let name = match expected {
        "a string" | "string" | "str" | "a borrowed string" | "path string" => "text",
        "a boolean" | "bool" => "`true` or `false`",
        "a sequence" | "sequence" => "a list",
        "a map" | "map" => "a mapping",
        "unit" => "nothing",
        "f32" | "f64" => "a number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "u128" | "usize" => "a whole number, not negative",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        _ if expected.starts_with("struct ") || expected.starts_with("variant ") => "a mapping",
        _ if expected.starts_with("tuple ") || expected.starts_with("a tuple") => "a list",
        _ if expected.contains("enum ") => "one of its words or a mapping with one key",
        _ => return expected.to_owned(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use indexmap::IndexMap;
    use serde::Deserialize;

    use super::*;
    use crate::base::source::SourceId;
    use crate::yaml::parse::parse;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Up,
        Down,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read to see what fails")]
    struct Example {
        #[serde(default)]
        port: u16,
        #[serde(default)]
        scale: Option<u32>,
        #[serde(default)]
        list: Vec<String>,
        #[serde(default)]
        map: IndexMap<String, bool>,
        #[serde(default)]
        word: Option<Word>,
        #[serde(default)]
        path: Option<PathBuf>,
        needed: bool,
    }

    fn check(text: &str, expect: &str) {
        let mut diagnostics = Diagnostics::default();
        let node = parse(SourceId(0), text, &mut diagnostics).unwrap().remove(0);
        assert!(typed_at::<Example>(&Path::root().key("services"), &node, "bad-value", &mut diagnostics).is_none(), "{text}");
        let found = diagnostics.into_iter().next().unwrap();
        let span = found.labels[0].span;
        assert_eq!(format!("{} @ {}", found.message, &text[span.start as usize..span.end as usize]), expect, "{text}");
    }

    #[test]
    fn what_does_not_fit_is_told_in_words_at_its_place() {
        for (text, expect) in [
            ("{port: 70000}", "`services.port` must be a whole number from 0 to 65535, not a number `70000` @ 70000"),
            ("{port: x}", "`services.port` must be a whole number from 0 to 65535, not text `x` @ x"),
            ("{scale: -1}", "`services.scale` must be a whole number, not negative, not a number `-1` @ -1"),
            ("{list: [a, [b]]}", "`services.list[1]` must be text, not a list @ [b]"),
            ("{list: {a: b}}", "`services.list` must be a list, not a mapping @ {a: b}"),
            ("{map: {a.b: yes}}", "`services.map.\"a.b\"` must be `true` or `false`, not text `yes` @ yes"),
            ("{word: left}", "`services.word` cannot be `left`, only `up` or `down` @ left"),
            ("{path: 5}", "`services.path` must be text, not a number `5` @ 5"),
            ("{port: 1}", "`services` lacks the key `needed` @ {port: 1}"),
            ("[]", "`services` must be a mapping, not a list @ []"),
        ] {
            check(text, expect);
        }
    }
}
