//! Generated values are not shown: whatever text holds one has stars in its place.

use indexmap::IndexMap;

use crate::yaml::node::{Node, Value};

/// What stands for a value.
pub const STARS: &str = "********";

/// Shorter values would make stars of texts that have nothing to do with them.
const SHORTEST: usize = 4;

/// Replaces values in a text.
pub fn text(text: &str, secrets: &IndexMap<String, String>) -> String {
    secrets.values().filter(|value| value.len() >= SHORTEST).fold(text.to_owned(), |text, value| text.replace(value, STARS))
}

/// Replaces values in all texts of a tree.
pub fn tree(node: &mut Node, secrets: &IndexMap<String, String>) {
    match &mut node.value {
        Value::Null | Value::Bool(_) => {}
        Value::Scalar(scalar) => {
            let masked = text(&scalar.text, secrets);
            if masked != scalar.text {
                *node = Node { tag: node.tag, ..Node::text(masked, node.span) };
            }
        }
        Value::Sequence(items) => items.iter_mut().for_each(|item| tree(item, secrets)),
        Value::Mapping(mapping) => mapping.iter_mut().for_each(|(_, entry)| tree(&mut entry.node, secrets)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_masked_wherever_it_stands() {
        let secrets = IndexMap::from([("A".to_owned(), "s3cret".to_owned()), ("B".to_owned(), "1".to_owned())]);
        assert_eq!(text("postgres://u:s3cret@db/1", &secrets), "postgres://u:********@db/1");
    }
}
