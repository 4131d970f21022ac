//! Tree → a type of the model, with the place and the user's words when it does not fit.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment as Step;

use super::emit::yaml_value;
use super::node::{Node, Value};
use super::path::{Path, Segment};
use super::read::Reading;
use crate::base::diagnostic::{Diagnostic, Diagnostics};

/// Makes a `T` of the tree. What does not fit is told under `code`, each at its place.
pub fn typed<T: DeserializeOwned>(node: &Node, code: &'static str, diagnostics: &mut Diagnostics) -> Option<T> {
    let (value, faults) = typed_all(&Path::root(), node, code);
    let value = value.filter(|_| faults.is_empty());
    diagnostics.extend(faults);
    value
}

/// The most faults of one value that are looked for.
const MAX_FAULTS: usize = 50;

/// What can be made of a part of a tree, and what does not fit: messages name the value with the path of that part before it. What
/// does not fit is taken out and the rest is looked at again, so a later fault may be no more than that something is missing; its
/// place then covers the earlier one's.
pub fn typed_all<T: DeserializeOwned>(at: &Path, node: &Node, code: &'static str) -> (Option<T>, Vec<Diagnostic>) {
    let mut rest = Cow::Borrowed(node);
    let mut faults = Vec::new();
    // Where what was taken out stood, in the tree as it was.
    let mut gone: Vec<Path> = Vec::new();
    while faults.len() < MAX_FAULTS {
        let unfit = match attempt(&rest) {
            Ok(value) => return (Some(value), faults),
            Err(unfit) => unfit,
        };
        let path = as_it_was(&unfit.path, &gone);
        faults.push(unfit.told(at, &path, &rest, code));
        if !take_out(&unfit.path, rest.to_mut()) {
            break;
        }
        gone.push(path);
    }
    (None, faults)
}

/// Takes away the value at a path, which is not the whole tree.
fn take_out(path: &Path, root: &mut Node) -> bool {
    let mut above = path.clone();
    let last = above.pop();
    match (above.get_mut(root).map(|node| &mut node.value), last) {
        (Some(Value::Mapping(mapping)), Some(Segment::Key(key))) => mapping.remove(&key).is_some(),
        (Some(Value::Sequence(items)), Some(Segment::Index(index))) if index < items.len() => {
            items.remove(index);
            true
        }
        _ => false,
    }
}

/// A path of a tree from which these values were taken out, in the tree as it was: indices behind them were higher.
fn as_it_was(path: &Path, gone: &[Path]) -> Path {
    let mut result = Path::root();
    for step in path.segments() {
        let Segment::Index(index) = step else {
            result.push(step.clone());
            continue;
        };
        let beside = gone.iter().filter_map(|path| match path.segments() {
            [above @ .., Segment::Index(index)] if above == result.segments() => Some(*index),
            _ => None,
        });
        let mut before: Vec<usize> = beside.collect();
        before.sort_unstable();
        let index = before.into_iter().fold(*index, |index, gone| if gone <= index { index + 1 } else { index });
        result.push(Segment::Index(index));
    }
    result
}

/// What does not fit.
struct Unfit {
    /// The value, or the nearest above it that is there.
    path: Path,
    /// In serde's words.
    error: String,
}

impl Unfit {
    fn told(&self, at: &Path, shown: &Path, root: &Node, code: &'static str) -> Diagnostic {
        let culprit = self.path.nearest(root);
        // A word that is a key is told where it stands, and not at what stands behind it.
        let key = self.path.key_in(root).filter(|(key, _)| self.error.starts_with(&format!("unknown variant `{key}`")));
        let whole: Path = at.segments().iter().chain(shown.segments()).cloned().collect();
        let message = words(&self.error, culprit);
        let message = if whole.segments().is_empty() { message } else { format!("`{whole}` {message}") };
        Diagnostic::error(code, message).at(key.map_or(culprit.span, |(_, span)| span), "")
    }
}

fn attempt<T: DeserializeOwned>(node: &Node) -> Result<T, Unfit> {
    if let Ok(value) = T::deserialize(Reading(node)) {
        return Ok(value);
    }
    // What does not fit, and where, is found out by going over it again.
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(yaml_value(node), &mut track);
    // In our files a choice is a mapping with one key (`{hex: 32}`); serde_yaml alone would want a tag (`!hex 32`).
    serde_yaml::with::singleton_map_recursive::deserialize(tracked).map_err(|error| {
        let mut path: Path = track.path().iter().filter_map(segment).collect();
        while path.get(node).is_none() {
            path.pop();
        }
        Unfit { path, error: error.to_string() }
    })
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
        let node = parse(SourceId(0), text, &mut Diagnostics::default()).unwrap().remove(0);
        let found = typed_all::<Example>(&Path::root().key("services"), &node, "bad-value").1.remove(0);
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

    #[test]
    fn one_fault_does_not_hide_another() {
        let text = "{port: x, list: [a, [b], c, {d: e}], map: {a: yes, b: true}, word: left, needed: true}";
        let node = parse(SourceId(0), text, &mut Diagnostics::default()).unwrap().remove(0);
        let (value, faults) = typed_all::<Example>(&Path::root().key("web"), &node, "bad-value");
        let told: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
        assert_eq!(
            told,
            [
                "`web.port` must be a whole number from 0 to 65535, not text `x`",
                "`web.list[1]` must be text, not a list",
                "`web.list[3]` must be text, not a mapping",
                "`web.map.a` must be `true` or `false`, not text `yes`",
                "`web.word` cannot be `left`, only `up` or `down`",
            ]
        );
        let value = value.unwrap();
        assert_eq!((value.list, value.map.len(), value.needed), (vec!["a".to_owned(), "c".to_owned()], 1, true));
        // What has to be there cannot be taken out.
        let node = parse(SourceId(0), "{needed: x}", &mut Diagnostics::default()).unwrap().remove(0);
        let (value, faults) = typed_all::<Example>(&Path::root(), &node, "bad-value");
        assert!(value.is_none() && faults.len() == 2 && faults[1].labels[0].span == node.span, "{faults:?}");
    }
}
