//! The tree that every loading phase works on.

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use crate::base::source::Span;

/// A value with its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// `!reset` or `!override`, until the merge has used it.
    pub tag: Option<Tag>,
    /// Where it stands. What a later phase makes (a default, a long form) has the span of what it was made from.
    pub span: Span,
}

/// Tags with a meaning in Compose files. Others are dropped by the parser as Compose does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// `!reset`: takes the value away.
    Reset,
    /// `!override`: replaces instead of merging.
    Override,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false` (never `yes` and `no`, which stay text as in Compose).
    Bool(bool),
    /// A number or a text; see [`Scalar`].
    Scalar(Scalar),
    /// `[…]`.
    Sequence(Vec<Node>),
    /// `{…}`.
    Mapping(Mapping),
}

/// A text, and what YAML takes it for. `1.10` keeps its text, so `"version: 1.10"` stays what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// As written, without quotes and escapes.
    pub text: String,
    /// What plain YAML makes of it; quoted scalars are [`Kind::Text`].
    pub kind: Kind,
}

/// What a scalar is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// An integer, also `0o17`, `0x1f`.
    Int,
    /// A number with a fraction or an exponent, `.inf`, `.nan`.
    Float,
}

/// A mapping's key with its place.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

/// Keys in the order of the file, each with the place of key and value.
///
/// Each load looks keys up by the hundred thousand, so they are hashed by something quicker than what the standard library has for all
/// purposes; it is seeded anew for each process as well.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    entries: IndexMap<String, Entry, RandomState>,
}

impl Mapping {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key).map(|entry| &entry.node)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.get_mut(key).map(|entry| &mut entry.node)
    }

    /// Key span and value of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Key span and value of a key, to be changed.
    pub fn entry_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Sets a key, in its old place if it was there; returns what it was.
    pub fn insert(&mut self, key: impl Into<String>, key_span: Span, node: Node) -> Option<Entry> {
        self.entries.insert(key.into(), Entry { key_span, node })
    }

    /// Takes a key away, keeping the order of the others.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        self.entries.shift_remove(key)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and entries in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// Keys and entries in order, values to be changed.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&str, &mut Entry)> {
        self.entries.iter_mut().map(|(key, entry)| (key.as_str(), entry))
    }

    /// Keeps the entries that the predicate wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Entry) -> bool) {
        self.entries.retain(|key, entry| keep(key, entry));
    }

    /// Sorts by key.
    pub fn sort_keys(&mut self) {
        self.entries.sort_keys();
    }
}

impl IntoIterator for Mapping {
    type Item = (String, Entry);
    type IntoIter = indexmap::map::IntoIter<String, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl Node {
    /// A node without a tag.
    pub fn new(value: Value, span: Span) -> Self {
        Self { value, tag: None, span }
    }

    /// A text.
    pub fn text(text: impl Into<String>, span: Span) -> Self {
        Self::new(Value::Scalar(Scalar { text: text.into(), kind: Kind::Text }), span)
    }

    /// The text of a scalar (number or text), `true`/`false` of a boolean; none for the rest.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// How many keys and values there are, this one included.
    pub fn count(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Bool(_) | Value::Scalar(_) => 0,
            Value::Sequence(items) => items.iter().map(Node::count).sum::<usize>(),
            Value::Mapping(mapping) => mapping.iter().map(|(_, entry)| 1 + entry.node.count()).sum(),
        }
    }

    /// The mapping, if it is one.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        if let Value::Mapping(mapping) = &self.value { Some(mapping) } else { None }
    }

    /// The mapping, if it is one, to be changed.
    pub fn as_mapping_mut(&mut self) -> Option<&mut Mapping> {
        if let Value::Mapping(mapping) = &mut self.value { Some(mapping) } else { None }
    }

    /// The mapping itself, if it is one.
    pub fn into_mapping(self) -> Option<Mapping> {
        if let Value::Mapping(mapping) = self.value { Some(mapping) } else { None }
    }

    /// The sequence, if it is one.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        if let Value::Sequence(items) = &self.value { Some(items) } else { None }
    }

    /// The sequence, if it is one, to be changed.
    pub fn as_sequence_mut(&mut self) -> Option<&mut Vec<Node>> {
        if let Value::Sequence(items) = &mut self.value { Some(items) } else { None }
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_mapping()?.get(key)
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// What kind of value it is, in the words of a message: `a list`, `a mapping`, `a number`, `text`.
    pub fn kind_name(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Scalar(Scalar { kind: Kind::Text, .. }) => "text",
            Value::Scalar(_) => "a number",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}
