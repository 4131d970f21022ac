//! Lays one tree over another by Compose's rules.
//!
//! Both are in their long forms already, so that the rules are few: mappings merge by key, lists are appended and then made
//! unique by what identifies an entry, everything else is replaced. `!reset` takes away, `!override` replaces.

use crate::yaml::node::{Entry, Mapping, Node, Tag, Value};
use crate::yaml::path::{Path, Pattern};

/// How lists meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The later one stands alone.
    Replace,
    /// Entries with the same value of these keys are one; the later stays, in the place of the earlier.
    Unique(&'static [&'static str]),
    /// Texts that are the same up to `=` are one.
    UniqueText,
}

const RULES: &[(Pattern, Rule)] = &[
    (Pattern::new("services.*.command"), Rule::Replace),
    (Pattern::new("services.*.entrypoint"), Rule::Replace),
    (Pattern::new("services.*.healthcheck.test"), Rule::Replace),
    (Pattern::new("processes.*.command"), Rule::Replace),
    (Pattern::new("processes.*.entrypoint"), Rule::Replace),
    (Pattern::new("processes.*.check"), Rule::Replace),
    (Pattern::new("processes.*.shell"), Rule::Replace),
    (Pattern::new("processes.*.healthcheck.test"), Rule::Replace),
    (Pattern::new("services.*.ports"), Rule::Unique(&["host_ip", "target", "published", "protocol"])),
    (Pattern::new("processes.*.ports"), Rule::Unique(&["host_ip", "target", "published", "protocol"])),
    (Pattern::new("processes.*.sockets"), Rule::Unique(&["tcp", "unix"])),
    (Pattern::new("services.*.volumes"), Rule::Unique(&["target"])),
    (Pattern::new("services.*.devices"), Rule::Unique(&["target"])),
    (Pattern::new("services.*.secrets"), Rule::Unique(&["target", "source"])),
    (Pattern::new("services.*.configs"), Rule::Unique(&["target", "source"])),
    (Pattern::new("processes.*.secrets"), Rule::Unique(&["target", "source"])),
    (Pattern::new("processes.*.configs"), Rule::Unique(&["target", "source"])),
    (Pattern::new("services.*.expose"), Rule::UniqueText),
    (Pattern::new("services.*.cap_add"), Rule::UniqueText),
    (Pattern::new("services.*.cap_drop"), Rule::UniqueText),
    (Pattern::new("processes.*.cap_add"), Rule::UniqueText),
    (Pattern::new("services.*.profiles"), Rule::UniqueText),
    (Pattern::new("processes.*.profiles"), Rule::UniqueText),
    (Pattern::new("services.*.extra_hosts"), Rule::UniqueText),
    (Pattern::new("images"), Rule::UniqueText),
];

/// In these a null is a value: the variable is taken from the environment.
const NULL_IS_A_VALUE: &[Pattern] = &[
    Pattern::new("services.*.environment.*"),
    Pattern::new("processes.*.environment.*"),
    Pattern::new("services.*.build.args.*"),
];

/// `over` laid over `base`.
pub(super) fn merge(base: Node, over: Node) -> Node {
    at(&mut Path::root(), base, over)
}

fn at(path: &mut Path, base: Node, over: Node) -> Node {
    if over.tag == Some(Tag::Override) {
        return Node { tag: None, ..over };
    }
    match (base.value, over.value) {
        (Value::Mapping(mut below), Value::Mapping(above)) => {
            for (key, Entry { key_span, node }) in above {
                *path = path.key(&key);
                if node.tag == Some(Tag::Reset) {
                    below.remove(&key);
                } else if let Some(old) = below.get_mut(&key) {
                    let taken = std::mem::replace(old, Node::new(Value::Null, key_span));
                    *old = at(path, taken, node);
                } else {
                    below.insert(key, key_span, untagged(node));
                }
                path.pop();
            }
            Node { value: Value::Mapping(below), tag: base.tag, span: over.span }
        }
        (Value::Sequence(below), Value::Sequence(above)) => {
            let rule = RULES.iter().find(|(pattern, _)| pattern.matches(path)).map(|(_, rule)| *rule);
            let items = if rule == Some(Rule::Replace) { above } else { below.into_iter().chain(above).collect() };
            Node { value: Value::Sequence(unique(items, rule)), tag: base.tag, span: over.span }
        }
        (below, Value::Null) if !NULL_IS_A_VALUE.iter().any(|pattern| pattern.matches(path)) => {
            Node { value: below, tag: base.tag, span: base.span }
        }
        (_, above) => Node { value: above, tag: base.tag, span: over.span },
    }
}

/// A tree that met no other: what was to be taken away is not there, what was to replace stands.
pub(super) fn untagged(mut node: Node) -> Node {
    node.tag = None;
    match &mut node.value {
        Value::Mapping(mapping) => {
            let old = std::mem::take(mapping);
            for (key, entry) in old {
                if entry.node.tag != Some(Tag::Reset) {
                    mapping.insert(key, entry.key_span, untagged(entry.node));
                }
            }
        }
        Value::Sequence(items) => {
            let old = std::mem::take(items);
            items.extend(old.into_iter().filter(|item| item.tag != Some(Tag::Reset)).map(untagged));
        }
        Value::Null | Value::Bool(_) | Value::Scalar(_) => {}
    }
    node
}

/// Applies the uniqueness of lists to a tree that stands alone: Compose does so within one file too.
pub(super) fn make_unique(root: &mut Node) {
    for (pattern, rule) in RULES.iter().filter(|(_, rule)| *rule != Rule::Replace) {
        pattern.for_each_mut(root, |_, node| {
            if let Some(items) = node.as_sequence_mut() {
                *items = unique(std::mem::take(items), Some(*rule));
            }
        });
    }
}

fn unique(items: Vec<Node>, rule: Option<Rule>) -> Vec<Node> {
    type Identity = Box<dyn Fn(&Node) -> Option<String>>;
    let identity: Identity = match rule {
        Some(Rule::Unique(keys)) => Box::new(|node| {
            let mapping: &Mapping = node.as_mapping()?;
            Some(keys.iter().map(|key| mapping.get(key).and_then(Node::as_text).unwrap_or("\0")).collect::<Vec<_>>().join("\n"))
        }),
        Some(Rule::UniqueText) => Box::new(|node| Some(node.as_text()?.to_owned())),
        Some(Rule::Replace) | None => return items,
    };
    let mut result: Vec<(Option<String>, Node)> = Vec::new();
    for item in items {
        let key = identity(&item);
        match result.iter_mut().find(|(known, _)| key.is_some() && *known == key) {
            Some((_, old)) => *old = item,
            None => result.push((key, item)),
        }
    }
    result.into_iter().map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diagnostic::Diagnostics;
    use crate::base::source::SourceMap;
    use crate::yaml::{emit, parse};

    fn tree(text: &str) -> Node {
        let mut sources = SourceMap::default();
        let source = sources.add("a.yaml", text);
        parse::parse(source, text, &mut Diagnostics::default()).unwrap().remove(0)
    }

    #[test]
    fn each_rule_of_the_table_holds() {
        for (base, over, expected) in [
            ("a: 1", "a: 2", "a: 2"),
            ("a: 1", "a:", "a: 1"),
            (
                "{services: {w: {environment: {A: '1'}}}}",
                "{services: {w: {environment: {A: }}}}",
                "{services: {w: {environment: {A: }}}}",
            ),
            ("{services: {w: {command: [a]}}}", "{services: {w: {command: [b]}}}", "{services: {w: {command: [b]}}}"),
            ("{services: {w: {dns: [a]}}}", "{services: {w: {dns: [b]}}}", "{services: {w: {dns: [a, b]}}}"),
            ("{services: {w: {cap_add: [A, B]}}}", "{services: {w: {cap_add: [B, C]}}}", "{services: {w: {cap_add: [A, B, C]}}}"),
            (
                "{services: {w: {volumes: [{target: /a, source: x}, {target: /b}]}}}",
                "{services: {w: {volumes: [{target: /a, source: y}]}}}",
                "{services: {w: {volumes: [{target: /a, source: y}, {target: /b}]}}}",
            ),
            ("{services: {w: {ports: [1]}}}", "{services: {w: {ports: !override [2]}}}", "{services: {w: {ports: [2]}}}"),
            ("{images: [a], b: 1}", "{images: !reset []}", "{b: 1}"),
            ("{requires: [{file: a}]}", "{requires: [{file: b}]}", "{requires: [{file: a}, {file: b}]}"),
        ] {
            let merged = merge(tree(base), tree(over));
            assert_eq!(emit::json_value(&merged), emit::json_value(&tree(expected)), "{base} + {over}");
        }
    }
}
