//! YAML text → [`Node`]s, one for each document.
//!
//! The events of `saphyr-parser` are collected first and the tree is built from them, so that an alias is the repetition of a range of
//! events: its nodes keep the places of the anchor, and what it costs is counted as it is spent. Anchors, `<<`, duplicate keys, tags
//! and the budget are dealt with here; what a key means is not known here.

use std::collections::HashMap;

use saphyr_parser::{ScalarStyle, Tag as WrittenTag};

pub use super::decode::{DecodeError, decode};
use super::events::{Event, Located, MAX_DEPTH, MAX_NODES, collect, too_deep, too_large};
use super::node::{Kind, Mapping, Node, Scalar, Tag, Value};
use super::scalar;
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::{SourceId, Span};

/// Reads a text. `None` when it cannot be read as YAML at all; faults that leave a tree (a duplicate key, a number as a key) are told
/// and the tree is given.
pub fn parse(source: SourceId, text: &str, diagnostics: &mut Diagnostics) -> Option<Vec<Node>> {
    match collect(source, text) {
        Ok(events) => Builder::new(text, events, diagnostics).documents().ok(),
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            None
        }
    }
}

/// The rest of the text cannot be built; why has been told.
struct Stop;

struct Builder<'a> {
    text: &'a str,
    /// Of texts that nothing can repeat, what has been built is no longer here.
    events: Vec<Located>,
    at: usize,
    /// Where each anchor's node begins.
    anchors: HashMap<usize, usize>,
    /// Anchors whose node is being built.
    unfinished: Vec<usize>,
    /// The outermost alias that is being filled in.
    alias: Option<Span>,
    nodes: usize,
    diagnostics: &'a mut Diagnostics,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, events: Vec<Located>, diagnostics: &'a mut Diagnostics) -> Self {
        let (anchors, unfinished) = (HashMap::new(), Vec::new());
        Self { text, events, at: 0, anchors, unfinished, alias: None, nodes: 0, diagnostics }
    }

    fn documents(&mut self) -> Result<Vec<Node>, Stop> {
        let mut documents = Vec::new();
        while self.at < self.events.len() {
            documents.push(self.node(0)?);
        }
        Ok(documents)
    }

    /// Whether the open collection ends here; takes its end and gives the place.
    fn end(&mut self) -> Option<Span> {
        let located = &self.events[self.at];
        matches!(located.event, Event::End).then(|| {
            self.at += 1;
            located.span
        })
    }

    fn node(&mut self, depth: usize) -> Result<Node, Stop> {
        let begin = self.at;
        self.at += 1;
        let may_come_again = self.alias.is_some() || !self.unfinished.is_empty();
        let Located { event, span } = &mut self.events[begin];
        let span = *span;
        let event = match event {
            Event::Scalar { text, style, anchor: 0, tag } if !may_come_again => {
                Event::Scalar { text: std::mem::take(text), style: *style, anchor: 0, tag: tag.take() }
            }
            event => event.clone(),
        };
        self.spend(span, depth)?;
        match event {
            Event::Alias(anchor) => self.aliased(anchor, span, depth),
            Event::Scalar { text, style, anchor, tag } => {
                self.anchored(anchor, begin);
                Ok(self.scalar(text, style, tag.as_ref(), span))
            }
            Event::Sequence { anchor, tag } => self.collection(anchor, begin, tag.as_ref(), |this| this.sequence(span, depth)),
            Event::Mapping { anchor, tag } => self.collection(anchor, begin, tag.as_ref(), |this| this.mapping(span, depth)),
            Event::End => unreachable!("a collection's end is taken by whoever builds the collection"),
        }
    }

    /// Remembers where an anchor's node begins; 0 is the anchor of those that have none.
    fn anchored(&mut self, anchor: usize, begin: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, begin);
        }
    }

    fn spend(&mut self, span: Span, depth: usize) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let place = self.alias.unwrap_or(span);
            let message = "holds more than 300,000 keys and values once its aliases are filled in";
            self.diagnostics.push(too_large(message, place, "filling in this alias makes it too large"));
            return Err(Stop);
        }
        if depth > MAX_DEPTH {
            self.diagnostics.push(too_deep(self.alias.unwrap_or(span)));
            return Err(Stop);
        }
        Ok(())
    }

    fn aliased(&mut self, anchor: usize, span: Span, depth: usize) -> Result<Node, Stop> {
        if self.unfinished.contains(&anchor) {
            let name = &self.text[span.start as usize..span.end as usize];
            self.diagnostics.push(
                Diagnostic::error("endless-alias", format!("`{name}` stands inside of what it stands for"))
                    .at(span, "would go on for ever")
                    .at(self.events[self.anchors[&anchor]].span, "the anchor is on this value"),
            );
            return Err(Stop);
        }
        // The parser has refused an alias without an anchor, and an anchor precedes its aliases.
        let Some(&begin) = self.anchors.get(&anchor) else { return Err(Stop) };
        let (after, outer) = (self.at, self.alias);
        self.at = begin;
        self.alias = outer.or(Some(span));
        let node = self.node(depth);
        (self.at, self.alias) = (after, outer);
        node
    }

    fn collection(
        &mut self,
        anchor: usize,
        begin: usize,
        tag: Option<&WrittenTag>,
        build: impl FnOnce(&mut Self) -> Result<Node, Stop>,
    ) -> Result<Node, Stop> {
        self.anchored(anchor, begin);
        if anchor != 0 {
            self.unfinished.push(anchor);
        }
        let mut node = build(self)?;
        if anchor != 0 {
            self.unfinished.pop();
        }
        node.tag = tag.and_then(compose_tag);
        Ok(node)
    }

    /// A node and the place where it stands here, which for an alias is another than the node's own.
    fn child(&mut self, depth: usize) -> Result<(Node, Span), Stop> {
        let Located { event, span } = &self.events[self.at];
        let alias = matches!(event, Event::Alias(_)).then_some(*span);
        let node = self.node(depth)?;
        let place = alias.unwrap_or(node.span);
        Ok((node, place))
    }

    fn sequence(&mut self, start: Span, depth: usize) -> Result<Node, Stop> {
        let mut items = Vec::new();
        let mut last = None;
        let end = loop {
            if let Some(end) = self.end() {
                break end;
            }
            let (item, place) = self.child(depth + 1)?;
            items.push(item);
            last = Some(place);
        };
        Ok(Node::new(Value::Sequence(items), self.extent(start, last, end)))
    }

    fn mapping(&mut self, start: Span, depth: usize) -> Result<Node, Stop> {
        let mut mapping = Mapping::default();
        let mut merge: Option<(Span, Node)> = None;
        let mut last = None;
        let end = loop {
            if let Some(end) = self.end() {
                break end;
            }
            let is_merge =
                matches!(&self.events[self.at].event, Event::Scalar { text, style: ScalarStyle::Plain, .. } if text == "<<");
            let (key, key_span) = self.child(depth + 1)?;
            let is_written =
                !matches!(&self.events[self.at].event, Event::Scalar { text, style: ScalarStyle::Plain, .. } if text.is_empty());
            let (mut node, place) = self.child(depth + 1)?;
            last = Some(if is_written { place } else { key_span });
            if !is_written {
                node.span = key_span;
            }
            if is_merge {
                match merge {
                    Some((first, _)) => self.duplicate("<<", key_span, first),
                    None => merge = Some((key_span, node)),
                }
                continue;
            }
            let Some(name) = self.key(key, key_span) else { continue };
            match mapping.entry(&name).map(|entry| entry.key_span) {
                Some(first) => self.duplicate(&name, key_span, first),
                None => {
                    mapping.insert(name, key_span, node);
                }
            }
        };
        if let Some((key_span, source)) = merge {
            self.merge(&mut mapping, key_span, source);
        }
        Ok(Node::new(Value::Mapping(mapping), self.extent(start, last, end)))
    }

    /// The place of a whole collection. A block ends, for the parser, where the next token begins; for a reader with its last value.
    fn extent(&self, start: Span, last: Option<Span>, end: Span) -> Span {
        let is_flow = end.end > end.start;
        let end = match last {
            Some(last) if !is_flow => last.end,
            // After a comma the parser takes that for the end.
            Some(_) if self.text[end.start as usize..].starts_with(',') => {
                end.end + self.text[end.end as usize..].find(['}', ']']).map_or(0, |at| offset(at) + 1)
            }
            Some(_) | None => end.end,
        };
        Span { end: end.max(start.start), ..start }
    }

    fn key(&mut self, mut key: Node, span: Span) -> Option<String> {
        if let Value::Scalar(Scalar { text, kind: Kind::Text }) = &mut key.value {
            return Some(std::mem::take(text));
        }
        // Said once, where it is written, not again for every alias.
        if self.alias.is_none() {
            let kind = if key.is_null() { "empty" } else { key.kind_name() };
            let written = &self.text[key.span.start as usize..key.span.end as usize];
            self.diagnostics.push(match key.as_text() {
                Some(text) => bad_key(format!("the key `{text}` is {kind}, and keys are text"), span)
                    .help(format!("write it in quotes: `\"{written}\"`")),
                None => bad_key(format!("a key must be text; this one is {kind}"), span),
            });
        }
        None
    }

    fn duplicate(&mut self, name: &str, second: Span, first: Span) {
        if self.alias.is_none() {
            self.diagnostics.push(
                Diagnostic::error("duplicate-key", format!("the key `{name}` is given twice"))
                    .at(second, "given again here")
                    .at(first, "first given here"),
            );
        }
    }

    /// `<<`, as YAML 1.1 has it: keys of the mapping itself win, and of several sources the earlier.
    fn merge(&mut self, mapping: &mut Mapping, key_span: Span, source: Node) {
        let place = source.span;
        let sources = match source.value {
            Value::Mapping(_) => vec![source],
            Value::Sequence(items) => items,
            Value::Null | Value::Bool(_) | Value::Scalar(_) => {
                let kind = source.kind_name();
                return self.bad_merge(format!("`<<` takes a mapping or a list of mappings, not {kind}"), key_span, place);
            }
        };
        for source in sources {
            let (kind, place) = (source.kind_name(), source.span);
            let Value::Mapping(entries) = source.value else {
                self.bad_merge(format!("the list of `<<` holds {kind}; all its items must be mappings"), key_span, place);
                continue;
            };
            for (key, entry) in entries {
                if !mapping.contains(&key) {
                    mapping.insert(key, entry.key_span, entry.node);
                }
            }
        }
    }

    fn bad_merge(&mut self, message: String, key_span: Span, place: Span) {
        if self.alias.is_none() {
            self.diagnostics.push(Diagnostic::error("bad-merge-key", message).at(place, "").at(key_span, "merged here"));
        }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, tag: Option<&WrittenTag>, span: Span) -> Node {
        let as_text = |text: String| Value::Scalar(Scalar { text, kind: Kind::Text });
        let value = match tag {
            Some(tag) if tag.is_yaml_core_schema() => scalar::tagged(&tag.suffix, &text).unwrap_or_else(|| {
                if self.alias.is_none() {
                    let name = &tag.suffix;
                    self.diagnostics.push(
                        Diagnostic::error("bad-tag", format!("`{text}` cannot be read as `!!{name}`")).at(span, "tagged so here"),
                    );
                }
                as_text(text)
            }),
            // `! 12` is the old way to say that this is text.
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => as_text(text),
            Some(_) | None if style == ScalarStyle::Plain => scalar::resolve(text),
            Some(_) | None => as_text(text),
        };
        let span = match style {
            ScalarStyle::Literal | ScalarStyle::Folded => self.without_trailing_space(span),
            ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => span,
        };
        Node { value, tag: tag.and_then(compose_tag), span }
    }

    /// A block of text ends, for the parser, at the next token.
    fn without_trailing_space(&self, span: Span) -> Span {
        let written = self.text[span.start as usize..span.end as usize].trim_end();
        Span { end: span.start + offset(written.len()), ..span }
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Compose ignores the tags that it does not know, and so do we.
fn compose_tag(tag: &WrittenTag) -> Option<Tag> {
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "reset") => Some(Tag::Reset),
        ("!", "override") => Some(Tag::Override),
        _ => None,
    }
}

fn bad_key(message: String, span: Span) -> Diagnostic {
    Diagnostic::error("bad-key", message).at(span, "")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::base::source::SourceMap;

    /// The message, then every label with its line and column and the text it covers.
    fn faults(text: &str) -> String {
        let mut sources = SourceMap::default();
        let source = sources.add("a.yaml", text);
        let mut diagnostics = Diagnostics::default();
        let tree = parse(source, text, &mut diagnostics);
        let mut out = String::new();
        for diagnostic in diagnostics.sorted() {
            write!(out, "{}", diagnostic.message).unwrap();
            for label in &diagnostic.labels {
                let (line, column) = sources.position(label.span);
                let covered = &text[label.span.start as usize..label.span.end as usize];
                write!(out, " | {line}:{column} {covered:?} {}", label.text).unwrap();
            }
            out.push('\n');
        }
        if tree.is_none() { format!("refused: {out}") } else { out }
    }

    fn show(node: &Node, text: &str, out: &mut String) {
        let covered = &text[node.span.start as usize..node.span.end as usize];
        match &node.value {
            Value::Null => out.push('~'),
            Value::Bool(value) => write!(out, "{value}").unwrap(),
            Value::Scalar(Scalar { text, kind: Kind::Text }) => write!(out, "{text:?}").unwrap(),
            Value::Scalar(Scalar { text, .. }) => out.push_str(text),
            Value::Sequence(items) => {
                out.push('[');
                for item in items {
                    show(item, text, out);
                    out.push(',');
                }
                out.push(']');
            }
            Value::Mapping(mapping) => {
                out.push('{');
                for (key, entry) in mapping.iter() {
                    assert!(!text[entry.key_span.start as usize..entry.key_span.end as usize].is_empty());
                    write!(out, "{key}:").unwrap();
                    show(&entry.node, text, out);
                    out.push(',');
                }
                out.push('}');
            }
        }
        write!(out, "‹{covered}›").unwrap();
        if let Some(tag) = node.tag {
            write!(out, "{tag:?}").unwrap();
        }
    }

    /// Each value with the text its span covers.
    fn check(text: &str, expect: &str) {
        let mut diagnostics = Diagnostics::default();
        let documents = parse(SourceId(0), text, &mut diagnostics).unwrap();
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        let mut out = String::new();
        for document in &documents {
            show(document, text, &mut out);
        }
        assert_eq!(out, expect, "{text}");
    }

    #[test]
    fn every_value_knows_its_bytes() {
        check("é: [ü, 'x']\nb: \"q\"\n", "{é:[\"ü\"‹ü›,\"x\"‹'x'›,]‹[ü, 'x']›,b:\"q\"‹\"q\"›,}‹é: [ü, 'x']\nb: \"q\"›");
        check("a:\n  b: 1\n\n# c\nd:\n", "{a:{b:1‹1›,}‹b: 1›,d:~‹d›,}‹a:\n  b: 1\n\n# c\nd›");
        check("a: |\n  x\n  y\n\nb: 1", "{a:\"x\\ny\\n\"‹x\n  y›,b:1‹1›,}‹a: |\n  x\n  y\n\nb: 1›");
        check("a: b\r\nc: |\r\n  d\r\n", "{a:\"b\"‹b›,c:\"d\\n\"‹d›,}‹a: b\r\nc: |\r\n  d›");
        check("- {a: 1}\n- - 2\n", "[{a:1‹1›,}‹{a: 1}›,[2‹2›,]‹- 2›,]‹- {a: 1}\n- - 2›");
        check("{a, b: , c: ~,  }", "{a:~‹a›,b:~‹b›,c:~‹~›,}‹{a, b: , c: ~,  }›");
        check("[a: b]", "[{a:\"b\"‹b›,}‹a: b›,]‹[a: b]›");
    }

    #[test]
    fn what_stands_in_brackets_and_quotes_needs_no_indentation() {
        check(
            "a:\n  b: [\n  'é',\n{c: d,\n},\n  ]\n  e: \"ü\n\n  y\\\"\nz\"\nf: 'x\ny'\n",
            "{a:{b:[\"é\"‹'é'›,{c:\"d\"‹d›,}‹{c: d,\n}›,]‹[\n  'é',\n{c: d,\n},\n  ]›,e:\"ü\\ny\\\" z\"‹\"ü\n\n  y\\\"\nz\"›,}\
             ‹b: [\n  'é',\n{c: d,\n},\n  ]\n  e: \"ü\n\n  y\\\"\nz\"›,f:\"x y\"‹'x\ny'›,}\
             ‹a:\n  b: [\n  'é',\n{c: d,\n},\n  ]\n  e: \"ü\n\n  y\\\"\nz\"\nf: 'x\ny'›",
        );
    }

    #[test]
    fn documents_tags_and_directives() {
        check("", "");
        check("---\n", "~‹›");
        check("a: 1\n---\nb: 2\n...\n", "{a:1‹1›,}‹a: 1›{b:2‹2›,}‹b: 2›");
        check(
            "%YAML 1.1\n---\n{a: !reset 1, b: !override [], c: !foo x, d: !!str 1, e: ! 2}",
            "{a:1‹!reset 1›Reset,b:[]‹!override []›Override,c:\"x\"‹!foo x›,d:\"1\"‹!!str 1›,e:\"2\"‹! 2›,}‹{a: !reset 1, b: !override [], c: !foo x, d: !!str 1, e: ! 2}›",
        );
    }

    #[test]
    fn aliases_are_filled_in_and_merged_as_in_yaml_1_1() {
        check("a: &x [1]\nb: *x\n", "{a:[1‹1›,]‹&x [1]›,b:[1‹1›,]‹&x [1]›,}‹a: &x [1]\nb: *x›");
        check("{a: &x b, *x : c}", "{a:\"b\"‹&x b›,b:\"c\"‹c›,}‹{a: &x b, *x : c}›");
        check(
            "{p: &p {k: 1, l: 1}, q: &q {l: 2, m: 2}, r: {l: 3, <<: [*p, *q]}, s: {<<: {t: 4}}, u: {\"<<\": 1}}",
            "{p:{k:1‹1›,l:1‹1›,}‹&p {k: 1, l: 1}›,q:{l:2‹2›,m:2‹2›,}‹&q {l: 2, m: 2}›,r:{l:3‹3›,k:1‹1›,m:2‹2›,}‹{l: 3, <<: [*p, *q]}›,s:{t:4‹4›,}‹{<<: {t: 4}}›,u:{<<:1‹1›,}‹{\"<<\": 1}›,}‹{p: &p {k: 1, l: 1}, q: &q {l: 2, m: 2}, r: {l: 3, <<: [*p, *q]}, s: {<<: {t: 4}}, u: {\"<<\": 1}}›",
        );
    }

    #[test]
    fn faults_that_leave_a_tree_are_all_told() {
        for (text, expect) in [
            ("a: 1\nb: 2\na: 3\n", "the key `a` is given twice | 3:1 \"a\" given again here | 1:1 \"a\" first given here\n"),
            (
                "1: a\n~: b\n[x]: c\n",
                "the key `1` is a number, and keys are text | 1:1 \"1\" \na key must be text; this one is empty | 2:1 \"~\" \na key must be text; this one is a list | 3:1 \"[x]\" \n",
            ),
            ("<<: [a]\n", "the list of `<<` holds text; all its items must be mappings | 1:6 \"a\"  | 1:1 \"<<\" merged here\n"),
            ("a: &a {1: x}\nb: *a\nc: *a", "the key `1` is a number, and keys are text | 1:8 \"1\" \n"),
            ("a: !!int x\n", "`x` cannot be read as `!!int` | 1:4 \"!!int x\" tagged so here\n"),
        ] {
            assert_eq!(faults(text), expect, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_at_its_place() {
        for (text, expect) in [
            ("a:\n\tb: 1\n", "a tab cannot indent YAML | 2:1 \"\\t\" tab\n"),
            ("a:\n  b: 1\n  \tc: 1\n", "a tab cannot indent YAML | 3:3 \"\\t\" tab\n"),
            ("a: \"b\nc: d\n", "a quoted text is not closed | 1:4 \"\\\"\" opened here\n"),
            ("a: 'b", "a quoted text is not closed | 1:4 \"'\" opened here\n"),
            ("a: b: c\n", "a second `: ` in one line | 1:5 \":\" \n"),
            ("a: [b, c\nd: e\n", "expected `,` or `]` in this list | 2:2 \":\"  | 1:4 \"[\" opened here\n"),
            ("a: {b: c\n", "expected `,` or `}` in this mapping | 2:1 \"\"  | 1:4 \"{\" opened here\n"),
            ("a: {b: ${C}}\n", "expected `,` or `}` in this mapping | 1:9 \"{\"  | 1:4 \"{\" opened here\n"),
            (
                "a:\n  b: 1\n c: 2\n",
                "this does not fit into the mapping it stands in | 3:2 \"c\" neither a key of it nor a value | 1:1 \"\" the mapping begins here\n",
            ),
            (
                "a:\n  - b\n  c: 2\n",
                "this does not fit into the list it stands in | 3:3 \"c\" expected `- ` | 2:3 \"\" the list begins here\n",
            ),
            ("a: *x\n", "`*x` refers to an anchor that is not defined before it | 1:4 \"*x\" no `&x` above\n"),
            (
                "a: &x [*x]\n",
                "`*x` stands inside of what it stands for | 1:8 \"*x\" would go on for ever | 1:4 \"&x [\" the anchor is on this value\n",
            ),
            ("a: @b\n", "a text cannot begin with `@` | 1:4 \"@\" \n"),
            ("a: \"\\d\"\n", "an unknown escape in double quotes | 1:4 \"\\\"\" \n"),
            ("a: 1\nb\nc: 2\n", "expected `: ` after a key | 2:1 \"b\" \n"),
            ("a: b\0c\n", "the control character U+0000 cannot stand in YAML | 1:5 \"\\0\" \n"),
            ("a: ]\n", "this bracket closes nothing | 1:4 \"]\" \n"),
            ("a: 'x' y\n", "more text after the closing quote | 1:8 \"y\" \n"),
            ("a: -\n", "a list cannot begin with `- ` in this line | 1:4 \"-\" \n"),
        ] {
            assert_eq!(faults(text), format!("refused: {expect}"), "{text}");
        }
    }

    #[test]
    fn hostile_files_are_refused_at_once() {
        let mut bomb = "x0: &x0 [a, a, a, a, a, a, a, a, a]\n".to_owned();
        for level in 1..9 {
            let below = format!("*x{}", level - 1);
            writeln!(bomb, "x{level}: &x{level} [{}]", vec![below; 9].join(", ")).unwrap();
        }
        assert!(faults(&bomb).contains("6:20 \"*x4\""), "{}", faults(&bomb));
        let deep = |open: &str| faults(&open.repeat(1 << 20));
        for told in [
            deep("["),
            deep("- "),
            deep("{a: "),
            deep("? "),
            deep("a:\n "),
            deep("&a "),
            faults(&"a".repeat(5 << 20)),
            faults(&"- a\n".repeat(1 << 20)),
            faults(&"- a: 1\n  a: 2\n".repeat(20_000)),
            faults(&format!("a:\n  b: [{}]\n", "x,\n".repeat(40_000))),
            faults(&format!("a:\n  b: [\n{}]\n", "'\n',\n".repeat(20_000))),
        ] {
            assert!(told.len() < 1_000 || told.starts_with("the key"), "{}", &told[..1_000]);
        }
    }
}
