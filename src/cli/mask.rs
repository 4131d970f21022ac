//! Generated values are not shown: whatever text holds one has stars in its place.

use indexmap::IndexMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::yaml::node::{Node, Value};

/// What stands for a value.
pub const STARS: &str = "********";

/// Shorter values would make stars of texts that have nothing to do with them.
const SHORTEST: usize = 4;

/// What ends a text that was cut short.
const CUT: char = '…';

/// The values that are not shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask {
    /// The longest first: one may hold another.
    values: Vec<String>,
}

impl Mask {
    /// Hides these values.
    pub fn of(values: &IndexMap<String, String>) -> Self {
        let mut values: Vec<String> = values.values().filter(|value| value.len() >= SHORTEST).cloned().collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values }
    }

    /// A text without the values, also where one was cut short (`54245f8e…`).
    pub fn text(&self, text: &str) -> String {
        let whole = self.values.iter().fold(text.to_owned(), |text, value| text.replace(value, STARS));
        if self.values.is_empty() || !whole.contains(CUT) {
            return whole;
        }
        let mut parts = whole.split(CUT).map(str::to_owned).collect::<Vec<_>>();
        let last = parts.len() - 1;
        for part in &mut parts[..last] {
            if let Some(length) = self.values.iter().filter_map(|value| cut_at_end(part, value)).max() {
                part.truncate(part.len() - length);
                part.push_str(STARS);
            }
        }
        parts.join(&CUT.to_string())
    }

    /// Replaces values in all texts of a tree.
    pub fn tree(&self, node: &mut Node) {
        if self.values.is_empty() {
            return;
        }
        match &mut node.value {
            Value::Null | Value::Bool(_) => {}
            Value::Scalar(scalar) => {
                let masked = self.text(&scalar.text);
                if masked != scalar.text {
                    *node = Node { tag: node.tag, ..Node::text(masked, node.span) };
                }
            }
            Value::Sequence(items) => items.iter_mut().for_each(|item| self.tree(item)),
            Value::Mapping(mapping) => mapping.iter_mut().for_each(|(_, entry)| self.tree(&mut entry.node)),
        }
    }

    /// A message of the supervisor's, a notice or an answer, without the values in any of its texts.
    pub fn message<T: Serialize + DeserializeOwned>(&self, message: T) -> T {
        if self.values.is_empty() {
            return message;
        }
        let Ok(mut tree) = serde_json::to_value(&message) else { return message };
        self.json(&mut tree);
        // What can no longer be read holds a value in a name, which is shown everywhere anyway.
        serde_json::from_value(tree).unwrap_or(message)
    }

    fn json(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
            serde_json::Value::String(text) => *text = self.text(text),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| self.json(field)),
        }
    }
}

/// How much of a value's beginning a text ends with.
fn cut_at_end(text: &str, value: &str) -> Option<usize> {
    let lengths = (SHORTEST..value.len()).rev().filter(|length| value.is_char_boundary(*length));
    lengths.into_iter().find(|length| text.ends_with(&value[..*length]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::notice::{Level, Notice};

    fn mask(values: &[&str]) -> Mask {
        Mask::of(&values.iter().map(|value| ((*value).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_value_is_masked_wherever_it_stands() {
        for (values, text, expected) in [
            (&["s3cret", "1"][..], "postgres://u:s3cret@db/1", "postgres://u:********@db/1"),
            (&["s3cr", "s3cret"], "s3cret", "********"),
            (&["0123456789abcdef"], "A: \"0123456789… → nothing", "A: \"********… → nothing"),
            (&["0123456789abcdef"], "A: 01… and on", "A: 01… and on"),
            (&[], "as it is…", "as it is…"),
        ] {
            assert_eq!(mask(values).text(text), expected);
        }
    }

    #[test]
    fn a_message_keeps_its_shape() {
        let message = |text: &str| Notice::Message { level: Level::Info, text: text.to_owned() };
        assert_eq!(mask(&["s3cret"]).message(message("it is s3cret")), message("it is ********"));
    }
}
