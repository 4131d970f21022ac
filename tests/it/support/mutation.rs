//! Changes to stack files that make interesting ones: of their bytes and lines, and of their trees.
//!
//! Used by the test that mutates and by the fuzz target (`fuzz/`), which includes this file.

use std::sync::OnceLock;

use baistack::base::diagnostic::Diagnostics;
use baistack::base::random::Random;
use baistack::base::source::{SourceId, Span};
use baistack::load;
use baistack::yaml::emit;
use baistack::yaml::node::{Kind, Mapping, Node, Scalar, Value};
use baistack::yaml::parse::parse;

/// Texts that mean something somewhere.
const TOKENS: &[&str] = &[
    "${",
    "}",
    "${A:-",
    "$$",
    "&a ",
    "*a",
    "<<: *a",
    "!reset ",
    "!override ",
    "!!int ",
    "- ",
    ": ",
    "? ",
    "| \n",
    ">-\n",
    "'",
    "\"",
    "[",
    "]",
    "{",
    "}",
    "#",
    "\n",
    "\r",
    "\t",
    "  ",
    "---\n",
    "\u{feff}",
    "\0",
    "é",
    "null",
    "true",
    "-1",
    "1e999",
    "0x",
    "1-65535",
    "service:web",
    "services",
    "processes",
    "include",
    "extends",
    "depends_on",
    "ports",
    "volumes",
    "environment",
    "env_file",
    "profiles",
    "compose.yaml",
    "base.yaml",
    "..",
    "/",
    "~",
    ":",
    "=",
    "99999999999999999999",
    "1m30s",
    "64m",
];

/// Changes some bytes or lines.
pub(crate) fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let at = random.index(bytes.len() + 1);
    let end = (at + random.index(40)).min(bytes.len());
    let line = |text: &[u8], at: usize| {
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        lines.get(at % lines.len().max(1)).map(|line| line.to_vec()).unwrap_or_default()
    };
    match random.index(8) {
        0 => drop(bytes.drain(at..end)),
        1 => drop(bytes.splice(at..end, TOKENS[random.index(TOKENS.len())].bytes())),
        2 => drop(bytes.splice(at..at, TOKENS[random.index(TOKENS.len())].bytes())),
        3 => bytes.insert(at, random.index(256) as u8),
        4 => {
            let copy = bytes[at..end].to_vec();
            let to = random.index(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        5 => {
            let copy = line(bytes, random.index(1 << 20));
            bytes.extend(copy);
        }
        6 => {
            let copy = line(&others[random.index(others.len())], random.index(1 << 20));
            let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            bytes.splice(start..start, copy);
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.index(8);
            }
        }
    }
}

/// Changes a value, a key or a branch of a stack file that can be parsed; none of one that cannot.
pub(crate) fn mutate_tree(text: &str, other: &str, random: &mut Random) -> Option<String> {
    let read = |text: &str| parse(SourceId(0), text, &mut Diagnostics::default())?.into_iter().next();
    let mut tree = read(text)?;
    let nth = random.index(tree.count());
    let node = find(&mut tree, &mut { nth })?;
    let value = match random.index(4) {
        0 => read(other).and_then(|mut other| {
            let nth = random.index(other.count());
            find(&mut other, &mut { nth }).map(|node| node.value.clone())
        }),
        _ => Some(odd(random)),
    }?;
    match (&mut node.value, random.index(5)) {
        (Value::Mapping(mapping), 0..3) => {
            mapping.insert(key(random), node.span, Node::new(value, node.span));
        }
        (Value::Mapping(mapping), 3) if !mapping.is_empty() => {
            let nth = random.index(mapping.len());
            let name = mapping.iter().nth(nth)?.0.to_owned();
            mapping.remove(&name);
        }
        (Value::Sequence(items), 0..2) => {
            let at = random.index(items.len() + 1);
            items.insert(at, Node::new(value, node.span));
        }
        (Value::Sequence(items), 2..4) if !items.is_empty() => {
            let copy = items[random.index(items.len())].clone();
            items.push(copy);
        }
        (_, 4) => {
            let inner = Node::new(std::mem::replace(&mut node.value, Value::Null), node.span);
            node.value = if random.chance(50) {
                Value::Sequence(vec![inner])
            } else {
                let mut mapping = Mapping::default();
                mapping.insert(key(random), node.span, inner);
                Value::Mapping(mapping)
            };
        }
        _ => node.value = value,
    }
    Some(emit::to_yaml(&tree))
}

/// The node that many steps further on, keys counted too.
fn find<'t>(node: &'t mut Node, steps: &mut usize) -> Option<&'t mut Node> {
    if *steps == 0 {
        return Some(node);
    }
    *steps -= 1;
    match &mut node.value {
        Value::Sequence(items) => items.iter_mut().find_map(|item| find(item, steps)),
        Value::Mapping(mapping) => mapping.iter_mut().find_map(|(_, entry)| {
            // Its key is one with its value.
            *steps = steps.saturating_sub(1);
            find(&mut entry.node, steps)
        }),
        Value::Null | Value::Bool(_) | Value::Scalar(_) => None,
    }
}

/// A key of the stack file's schema.
fn key(random: &mut Random) -> &'static str {
    static KEYS: OnceLock<Vec<String>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let mut keys = vec!["web".to_owned(), "db".to_owned(), "default".to_owned(), "x-a".to_owned(), "<<".to_owned()];
        collect(&load::json_schema(), &mut keys);
        keys.sort();
        keys.dedup();
        keys
    });
    &keys[random.index(keys.len())]
}

fn collect(schema: &serde_json::Value, keys: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                if let (true, Some(properties)) = (name == "properties", member.as_object()) {
                    keys.extend(properties.keys().cloned());
                }
                collect(member, keys);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, keys)),
        _ => {}
    }
}

/// A value that fits somewhere, and seldom here.
fn odd(random: &mut Random) -> Value {
    let scalar = |text: &str, kind| Value::Scalar(Scalar { text: text.to_owned(), kind });
    let number = ["0", "-1", "1", "65536", "9223372036854775808", "0o777"];
    let text = [
        "",
        "web",
        "db",
        "1",
        "a=b",
        "A",
        "80:80",
        "1-5:80",
        "./a:/b:ro",
        "a:/b",
        "${A:-b}",
        "$A",
        "1m30s",
        "64m",
        "true",
        "service:web",
        "base.yaml",
        "web.env",
        "compose.yaml",
        "..",
        "x y 'z'",
        "p",
        "host",
        "service_healthy",
        "all",
        "*",
    ];
    let span = Span { source: SourceId(0), start: 0, end: 0 };
    match random.index(9) {
        0 => Value::Null,
        1 => Value::Bool(random.chance(50)),
        2 => scalar(number[random.index(number.len())], Kind::Int),
        3 => scalar(["1.5", "-0.1", ".inf", "1e3"][random.index(4)], Kind::Float),
        4 => Value::Sequence(vec![Node::new(odd(random), span)]),
        5 => {
            let mut mapping = Mapping::default();
            mapping.insert(key(random), span, Node::new(odd(random), span));
            Value::Mapping(mapping)
        }
        _ => scalar(text[random.index(text.len())], Kind::Text),
    }
}
