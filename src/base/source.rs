//! Where things stand in the files that were read: which file, which bytes, which line and column.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One text that was read, as an index into its [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// A range of bytes in one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// Its first byte.
    pub start: u32,
    /// The byte after its last.
    pub end: u32,
}

impl Span {
    /// From this span's start to the other's end; both are of one source.
    pub fn to(self, other: Span) -> Span {
        Span { end: other.end.max(self.end), ..self }
    }
}

/// A text with its name.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path as the user would write it, `<stdin>`, or the name of what is not a file.
    pub name: PathBuf,
    /// The whole text.
    pub text: Arc<str>,
    /// The first byte of each line, so that a place is found without counting lines from the beginning.
    lines: Vec<u32>,
}

/// All texts of one load, so that a [`Span`] can be shown.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    sources: Vec<Source>,
}

impl SourceMap {
    /// Adds a text and gives it its number.
    pub fn add(&mut self, name: impl AsRef<Path>, text: impl Into<Arc<str>>) -> SourceId {
        let id = SourceId(u32::try_from(self.sources.len()).expect("fewer than 2^32 files in one load"));
        let text = text.into();
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at as u32 + 1)).collect();
        self.sources.push(Source { name: name.as_ref().to_owned(), text, lines });
        id
    }

    /// The text behind a number.
    pub fn get(&self, id: SourceId) -> &Source {
        &self.sources[id.0 as usize]
    }

    /// What a span covers.
    pub fn covered(&self, span: Span) -> &str {
        self.get(span.source).text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The line of a span's start, from 1.
    pub fn line(&self, span: Span) -> usize {
        self.get(span.source).lines.partition_point(|&begin| begin <= span.start)
    }

    /// Line and column of a span's start, both from 1; columns count characters.
    pub fn position(&self, span: Span) -> (usize, usize) {
        let (source, line) = (self.get(span.source), self.line(span));
        let begin = source.lines[line - 1] as usize;
        let ends = source.text[begin..].char_indices().map(|(at, char)| begin + at + char.len_utf8());
        (line, ends.take_while(|&end| end <= span.start as usize).count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        let mut map = SourceMap::default();
        let source = map.add("a.yaml", "é: 1\nüb: 2\n");
        let at = |start| map.position(Span { source, start, end: start });
        assert_eq!((at(0), at(4), at(6), at(9)), ((1, 1), (1, 4), (2, 1), (2, 3)));
        assert_eq!(at(1), (1, 1), "within a character");
        assert_eq!((at(13), at(99)), ((3, 1), (3, 1)), "after the last line, and after the text");
    }
}
