//! Lays one tree over another by Compose's rules, which stand in the table of attributes.
//!
//! Both are in their long forms already, so that the rules are few: mappings merge by key; of lists what is new is appended, and
//! some are then made unique by what identifies an entry; everything else is replaced. `!reset` takes away, `!override` replaces,
//! nothing (`key:`) changes nothing.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::schema::{Attribute, Identity, Merge, PRE_START, ROOT, Shape};
use crate::yaml::node::{Entry, Kind, Mapping, Node, Tag, Value};

/// `over` laid over `base`.
pub(super) fn merge(base: Node, over: Node) -> Node {
    static WHOLE: Shape = Shape::Object(&ROOT);
    shaped(&WHOLE, Merge::Natural, base, over)
}

/// A hook before the start laid over what it has of its service.
pub(super) fn hook_over(service: Mapping, hook: Node) -> Node {
    static HOOK: Shape = Shape::Object(&PRE_START);
    let base = Node::new(Value::Mapping(service), hook.span);
    shaped(&HOOK, Merge::Natural, base, hook)
}

fn shaped(shape: &'static Shape, rule: Merge, base: Node, over: Node) -> Node {
    match over.tag {
        Some(Tag::Override) => return Node { tag: None, ..untagged(over) },
        Some(Tag::Reset) => return Node { value: Value::Null, ..over },
        None => {}
    }
    let (base_value, over_value) = match (base.value, over.value) {
        (below, Value::Null) if rule != Merge::Replace => return Node { value: below, tag: base.tag, span: base.span },
        (Value::Mapping(below), Value::Mapping(above)) => {
            let value = if apart(rule, &below, &above) { above } else { mappings(shape, rule, below, above) };
            return Node { value: Value::Mapping(value), tag: base.tag, span: over.span };
        }
        values => values,
    };
    let value = match (base_value, over_value) {
        (Value::Sequence(below), Value::Sequence(above)) => Value::Sequence(match rule {
            Merge::Replace => above,
            Merge::Natural | Merge::SameKey(_) | Merge::NullCounts => appended(below, above),
            Merge::Unique(identity) => unique(below.into_iter().chain(above).collect(), identity),
            Merge::ByKey(key) => by_key(shape, key, below, above),
        }),
        (_, above) => above,
    };
    untagged(Node { value, tag: base.tag, span: over.span })
}

/// A list and what another has beside; what is in both is not repeated.
fn appended(below: Vec<Node>, above: Vec<Node>) -> Vec<Node> {
    let known: HashSet<u64> = below.iter().map(fingerprint).collect();
    let is_new = |item: &Node| !known.contains(&fingerprint(item));
    let new: Vec<Node> = above.into_iter().filter(is_new).collect();
    below.into_iter().chain(new).collect()
}

/// A number that two values share only if they are the same, wherever they stand. Mappings are the same in any order.
fn fingerprint(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::mem::discriminant(&node.value).hash(&mut hasher);
    match &node.value {
        Value::Null => {}
        Value::Bool(value) => value.hash(&mut hasher),
        Value::Scalar(scalar) => (&scalar.text, scalar.kind == Kind::Text).hash(&mut hasher),
        Value::Sequence(items) => items.iter().for_each(|item| fingerprint(item).hash(&mut hasher)),
        Value::Mapping(mapping) => {
            let entries = mapping.iter().map(|(key, entry)| {
                let mut hasher = DefaultHasher::new();
                (key, fingerprint(&entry.node)).hash(&mut hasher);
                hasher.finish()
            });
            entries.fold(0, u64::wrapping_add).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Whether two mappings are of different kinds, so that the later one stands alone.
fn apart(rule: Merge, below: &Mapping, above: &Mapping) -> bool {
    let Merge::SameKey(key) = rule else { return false };
    let (below, above) = (below.get(key).and_then(Node::as_text), above.get(key).and_then(Node::as_text));
    below.is_some() && above.is_some() && below != above
}

fn mappings(shape: &'static Shape, rule: Merge, mut below: Mapping, above: Mapping) -> Mapping {
    for (key, Entry { key_span, node }) in above {
        if node.tag == Some(Tag::Reset) {
            below.remove(&key);
            continue;
        }
        let Some(old) = below.entry_mut(&key) else {
            below.insert(key, key_span, untagged(node));
            continue;
        };
        let (shape, inner) = within(shape, &key);
        let replaces = rule == Merge::NullCounts;
        let taken = std::mem::replace(&mut old.node, Node::new(Value::Null, key_span));
        old.node = if replaces { untagged(node) } else { shaped(shape, inner, taken, node) };
        old.key_span = key_span;
    }
    below
}

/// What the table says of a key: its shape and how it merges.
fn within(shape: &'static Shape, key: &str) -> (&'static Shape, Merge) {
    match shape.long() {
        Shape::Object(object) => object.get(key).map_or((&Shape::Any, Merge::Natural), |row: &Attribute| (&row.shape, row.merge)),
        Shape::Map(values) | Shape::Named(values) => (values, Merge::Natural),
        _ => (&Shape::Any, Merge::Natural),
    }
}

fn by_key(shape: &'static Shape, key: &str, below: Vec<Node>, above: Vec<Node>) -> Vec<Node> {
    let item_shape = if let Shape::List(items) = shape.long() { items } else { &Shape::Any };
    let mut result = below;
    for item in above {
        let identity = item.get(key).and_then(Node::as_text);
        let known = result.iter().position(|old| identity.is_some() && old.get(key).and_then(Node::as_text) == identity);
        match known {
            Some(at) => {
                let old = std::mem::replace(&mut result[at], Node::new(Value::Null, item.span));
                result[at] = shaped(item_shape, Merge::Natural, old, item);
            }
            None => result.push(item),
        }
    }
    result
}

/// A tree that met no other: what was to be taken away is not there, what was to replace stands.
pub(super) fn untagged(mut node: Node) -> Node {
    node.tag = None;
    strip(&mut node);
    node
}

fn strip(node: &mut Node) {
    match &mut node.value {
        Value::Mapping(mapping) => {
            if mapping.iter().any(|(_, entry)| entry.node.tag == Some(Tag::Reset)) {
                mapping.retain(|_, entry| entry.node.tag != Some(Tag::Reset));
            }
            for (_, entry) in mapping.iter_mut() {
                entry.node.tag = None;
                strip(&mut entry.node);
            }
        }
        Value::Sequence(items) => {
            items.retain(|item| item.tag != Some(Tag::Reset));
            for item in items {
                item.tag = None;
                strip(item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Scalar(_) => {}
    }
}

/// Applies the uniqueness of lists to a tree that stands alone: Compose does so within one file too.
pub(super) fn make_unique(root: &mut Node) {
    static WHOLE: Shape = Shape::Object(&ROOT);
    unique_below(&WHOLE, Merge::Natural, root);
}

fn unique_below(shape: &'static Shape, rule: Merge, node: &mut Node) {
    match (&mut node.value, shape.long()) {
        (Value::Mapping(mapping), _) => {
            for (key, entry) in mapping.iter_mut() {
                let (shape, rule) = within(shape, key);
                unique_below(shape, rule, &mut entry.node);
            }
        }
        (Value::Sequence(items), Shape::List(inner)) => {
            items.iter_mut().for_each(|item| unique_below(inner, Merge::Natural, item));
            if let Merge::Unique(identity) = rule {
                *items = unique(std::mem::take(items), identity);
            }
        }
        _ => {}
    }
}

fn unique(items: Vec<Node>, identity: Identity) -> Vec<Node> {
    let mut known: HashMap<String, usize> = HashMap::with_capacity(items.len());
    let mut result: Vec<Node> = Vec::with_capacity(items.len());
    for item in items {
        match identified(&item, identity).map(|key| known.entry(key)) {
            Some(std::collections::hash_map::Entry::Occupied(old)) => result[*old.get()] = item,
            Some(std::collections::hash_map::Entry::Vacant(free)) => {
                free.insert(result.len());
                result.push(item);
            }
            None => result.push(item),
        }
    }
    result
}

fn identified(node: &Node, identity: Identity) -> Option<String> {
    let part = |key: &str| node.get(key).and_then(Node::as_text);
    match identity {
        Identity::Text => node.as_text().map(str::to_owned),
        Identity::Name => {
            let text = node.as_text()?;
            Some(text.split_once('=').map_or(text, |(name, _)| name).to_owned())
        }
        Identity::Port => {
            let (ip, protocol) = (part("host_ip").unwrap_or("0.0.0.0"), part("protocol").unwrap_or("tcp"));
            Some(format!("{ip}:{}:{}/{protocol}", part("published").unwrap_or_default(), part("target")?))
        }
        Identity::Address => part("tcp").or_else(|| part("unix")).map(str::to_owned),
        Identity::Path => part("path").map(str::to_owned),
        Identity::Target => part("target").or_else(|| part("source")).map(str::to_owned),
        Identity::Grant(directory) => {
            part("target").map(str::to_owned).or_else(|| Some(format!("{directory}/{}", part("source")?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diagnostic::Diagnostics;
    use crate::base::source::SourceMap;
    use crate::load::canonical::canonical;
    use crate::yaml::{emit, parse};

    fn tree(text: &str) -> Node {
        let mut sources = SourceMap::default();
        let source = sources.add("a.yaml", text);
        let mut node = parse::parse(source, text, &mut Diagnostics::default()).unwrap().remove(0);
        canonical(&mut node, &mut Diagnostics::default());
        node
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
            ("{services: {w: {dns: [a]}}}", "{services: {w: {dns: b}}}", "{services: {w: {dns: [a, b]}}}"),
            ("{services: {w: {cap_add: [A, B]}}}", "{services: {w: {cap_add: [B, C]}}}", "{services: {w: {cap_add: [A, B, C]}}}"),
            (
                "{services: {w: {volumes: [{target: /a, source: x}, {target: /b}]}}}",
                "{services: {w: {volumes: [{target: /a, source: y}]}}}",
                "{services: {w: {volumes: [{target: /a, source: y}, {target: /b}]}}}",
            ),
            ("{services: {w: {ports: [1]}}}", "{services: {w: {ports: !override [2]}}}", "{services: {w: {ports: [2]}}}"),
            (
                "{services: {w: {ports: ['1:1']}}}",
                "{services: {w: {ports: ['0.0.0.0:1:1']}}}",
                "{services: {w: {ports: ['0.0.0.0:1:1']}}}",
            ),
            (
                "{services: {w: {build: a}}}",
                "{services: {w: {build: {target: t}}}}",
                "{services: {w: {build: {context: a, target: t}}}}",
            ),
            (
                "{services: {w: {logging: {driver: a, options: {x: 1}}}}}",
                "{services: {w: {logging: {options: {y: 2}}}}}",
                "{services: {w: {logging: {driver: a, options: {x: 1, y: 2}}}}}",
            ),
            (
                "{services: {w: {logging: {driver: a, options: {x: 1}}}}}",
                "{services: {w: {logging: {driver: b}}}}",
                "{services: {w: {logging: {driver: b}}}}",
            ),
            (
                "{networks: {n: {ipam: {config: [{subnet: a, gateway: b}]}}}}",
                "{networks: {n: {ipam: {config: [{subnet: a, ip_range: c}]}}}}",
                "{networks: {n: {ipam: {config: [{subnet: a, gateway: b, ip_range: c}]}}}}",
            ),
            ("{images: [a], b: 1}", "{images: !reset []}", "{b: 1}"),
            ("{requires: [{file: a}]}", "{requires: [{file: b}]}", "{requires: [{file: a}, {file: b}]}"),
            // What is there already is not repeated.
            ("{services: {w: {dns: [a, b]}}}", "{services: {w: {dns: [b, c]}}}", "{services: {w: {dns: [a, b, c]}}}"),
            (
                "{services: {w: {post_start: [{command: a}]}}}",
                "{services: {w: {post_start: [{command: a}, {command: b}]}}}",
                "{services: {w: {post_start: [{command: a}, {command: b}]}}}",
            ),
            (
                "{services: {w: {depends_on: {a: {condition: service_started, required: false}}}}}",
                "{services: {w: {depends_on: [a]}}}",
                "{services: {w: {depends_on: {a: {condition: service_started, required: true}}}}}",
            ),
        ] {
            let merged = merge(tree(base), tree(over));
            assert_eq!(emit::json_value(&merged), emit::json_value(&tree(expected)), "{base} + {over}");
        }
    }
}
