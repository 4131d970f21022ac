//! Where a value stands in a tree, and patterns for such places.
//!
//! A path is a list of segments and never a dotted text, since keys may contain dots.

use std::fmt;

use super::node::{Node, Value};
use super::place::Place;
use crate::base::source::Span;

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Into a mapping.
    Key(String),
    /// Into a sequence.
    Index(usize),
}

/// The way from the root of a tree to a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<Segment>);

impl Path {
    /// The path of the tree itself.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// This path and one key more.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        let mut path = self.clone();
        path.push(Segment::Key(key.into()));
        path
    }

    /// This path and one index more.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.push(Segment::Index(index));
        path
    }

    /// One step further down.
    pub fn push(&mut self, segment: Segment) {
        self.0.push(segment);
    }

    /// One step up; returns the step taken back.
    pub fn pop(&mut self) -> Option<Segment> {
        self.0.pop()
    }

    /// The steps.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The last step, if it is a key.
    pub fn last_key(&self) -> Option<&str> {
        match self.0.last() {
            Some(Segment::Key(key)) => Some(key),
            Some(Segment::Index(_)) | None => None,
        }
    }

    /// The value at this path.
    pub fn get<'a>(&self, root: &'a Node) -> Option<&'a Node> {
        self.0.iter().try_fold(root, step)
    }

    /// The value at this path, to be changed.
    pub fn get_mut<'a>(&self, root: &'a mut Node) -> Option<&'a mut Node> {
        self.0.iter().try_fold(root, |node, segment| match segment {
            Segment::Key(key) => node.as_mapping_mut()?.get_mut(key),
            Segment::Index(index) => node.as_sequence_mut()?.get_mut(*index),
        })
    }

    /// The key that this path ends with, and where it stands; none when it ends otherwise or is not there.
    pub fn key_in<'a>(&'a self, root: &Node) -> Option<(&'a str, Span)> {
        let (Segment::Key(last), above) = self.0.split_last()? else { return None };
        let mapping = above.iter().try_fold(root, step)?.as_mapping()?;
        Some((last, mapping.entry(last)?.key_span))
    }

    /// The value at this path or the nearest one above it that is there.
    pub fn nearest<'a>(&self, root: &'a Node) -> &'a Node {
        let mut node = root;
        for segment in &self.0 {
            let Some(next) = step(node, segment) else { break };
            node = next;
        }
        node
    }
}

fn step<'a>(node: &'a Node, segment: &Segment) -> Option<&'a Node> {
    match segment {
        Segment::Key(key) => node.get(key),
        Segment::Index(index) => node.as_sequence()?.get(*index),
    }
}

impl FromIterator<Segment> for Path {
    fn from_iter<T: IntoIterator<Item = Segment>>(iter: T) -> Self {
        Self(iter.into_iter().collect())
    }
}

/// `services.web.ports[1]`; a key that could be misread stands in quotes.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => {
                    if at > 0 {
                        f.write_str(".")?;
                    }
                    if key.is_empty() || key.contains(|c: char| c == '.' || c == '[' || c.is_whitespace() || c.is_control()) {
                        write!(f, "{key:?}")?;
                    } else {
                        f.write_str(key)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A set of paths: `services.*.ports[]`, where `*` is any key, a final `*` any key that begins so (`x-*`), and `[]` any index.
///
/// Keys of the Compose Specification contain neither dots nor brackets, so a pattern can be one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pattern(&'static str);

enum Part {
    Key(&'static str),
    Index,
}

impl Pattern {
    /// A pattern for a `const` table.
    pub const fn new(pattern: &'static str) -> Self {
        Self(pattern)
    }

    fn parts(self) -> impl Iterator<Item = Part> {
        self.0.split('.').filter(|part| !part.is_empty()).flat_map(|part| {
            let key = part.trim_end_matches("[]");
            let key_part = (!key.is_empty()).then_some(Part::Key(key));
            key_part.into_iter().chain((0..(part.len() - key.len()) / 2).map(|_| Part::Index))
        })
    }

    /// Whether the whole path is one of the set.
    pub fn matches(self, path: &Path) -> bool {
        let mut segments = path.segments().iter();
        for part in self.parts() {
            let same = match (part, segments.next()) {
                (Part::Key(pattern), Some(Segment::Key(key))) => key_matches(pattern, key),
                (Part::Index, Some(Segment::Index(_))) => true,
                (Part::Key(_) | Part::Index, _) => false,
            };
            if !same {
                return false;
            }
        }
        segments.next().is_none()
    }

    /// Calls `visit` for every value of the tree whose path is one of the set, in the order of the file.
    pub fn for_each<'a>(self, root: &'a Node, mut visit: impl FnMut(&Place<'_>, &'a Node)) {
        let parts: Vec<Part> = self.parts().collect();
        walk(&parts, root, &Place::ROOT, &mut visit);
    }

    /// As [`Pattern::for_each`], values to be changed.
    pub fn for_each_mut(self, root: &mut Node, mut visit: impl FnMut(&Place<'_>, &mut Node)) {
        let parts: Vec<Part> = self.parts().collect();
        walk_mut(&parts, root, &Place::ROOT, &mut visit);
    }
}

fn key_matches(pattern: &str, key: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == key, |prefix| key.starts_with(prefix))
}

fn walk<'a>(parts: &[Part], node: &'a Node, place: &Place<'_>, visit: &mut impl FnMut(&Place<'_>, &'a Node)) {
    let Some((part, rest)) = parts.split_first() else { return visit(place, node) };
    match (part, &node.value) {
        (Part::Key(pattern), Value::Mapping(mapping)) if pattern.ends_with('*') => {
            for (key, entry) in mapping.iter().filter(|(key, _)| key_matches(pattern, key)) {
                walk(rest, &entry.node, &place.key(key), visit);
            }
        }
        (Part::Key(key), Value::Mapping(mapping)) => {
            if let Some(node) = mapping.get(key) {
                walk(rest, node, &place.key(key), visit);
            }
        }
        (Part::Index, Value::Sequence(items)) => {
            for (index, item) in items.iter().enumerate() {
                walk(rest, item, &place.index(index), visit);
            }
        }
        (Part::Key(_) | Part::Index, _) => {}
    }
}

fn walk_mut(parts: &[Part], node: &mut Node, place: &Place<'_>, visit: &mut impl FnMut(&Place<'_>, &mut Node)) {
    let Some((part, rest)) = parts.split_first() else { return visit(place, node) };
    match (part, &mut node.value) {
        (Part::Key(pattern), Value::Mapping(mapping)) if pattern.ends_with('*') => {
            for (key, entry) in mapping.iter_mut().filter(|(key, _)| key_matches(pattern, key)) {
                walk_mut(rest, &mut entry.node, &place.key(key), visit);
            }
        }
        (Part::Key(key), Value::Mapping(mapping)) => {
            if let Some(node) = mapping.get_mut(key) {
                walk_mut(rest, node, &place.key(key), visit);
            }
        }
        (Part::Index, Value::Sequence(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk_mut(rest, item, &place.index(index), visit);
            }
        }
        (Part::Key(_) | Part::Index, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::source::{SourceId, Span};
    use crate::yaml::node::Mapping;

    #[test]
    fn keys_with_dots_are_shown_in_quotes() {
        let path = Path::root().key("services").key("a.b").key("ports").index(1).index(0).key("x");
        assert_eq!(path.to_string(), "services.\"a.b\".ports[1][0].x");
    }

    #[test]
    fn a_pattern_matches_whole_paths_only() {
        let ports = Path::root().key("services").key("a.b").key("ports").index(1);
        for (pattern, path, expect) in [
            ("services.*.ports[]", ports.clone(), true),
            ("services.*.ports", ports.clone(), false),
            ("services.*.ports[].target", ports.clone(), false),
            ("services.*.ports[]", ports.key("x"), false),
            ("services.*.*[]", ports.clone(), true),
            ("x-*", Path::root().key("x-a"), true),
            ("x-*", Path::root().key("y"), false),
            ("", Path::root(), true),
            ("*", Path::root(), false),
            ("a[][]", Path::root().key("a").index(0).index(2), true),
            ("*", Path::root().index(0), false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(&path), expect, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_visits_what_it_matches() {
        let span = Span { source: SourceId(0), start: 0, end: 0 };
        let list = Node::new(Value::Sequence(vec![Node::text("p", span), Node::text("q", span)]), span);
        let wrap = |key: &str, node| {
            let mut mapping = Mapping::default();
            mapping.insert(key, span, node);
            Node::new(Value::Mapping(mapping), span)
        };
        let mut root = wrap("services", wrap("web", wrap("ports", list)));
        Pattern::new("services.*.ports[]").for_each_mut(&mut root, |path, node| {
            *node = Node::text(path.to_string(), node.span);
        });
        let mut seen = Vec::new();
        Pattern::new("services.*.ports[]").for_each(&root, |path, node| seen.push((path.path(), node.as_text().unwrap())));
        let texts: Vec<_> = seen.iter().map(|(_, text)| *text).collect();
        assert_eq!(texts, ["services.web.ports[0]", "services.web.ports[1]"]);
        assert_eq!(seen[1].0.get(&root).unwrap().as_text(), Some(texts[1]));
        assert_eq!(Path::root().key("services").key("db").nearest(&root).kind_name(), "a mapping");
    }
}
