//! YAML text → events with their bytes, within a budget.

use saphyr_parser::{Event, Parser, Span as Marks};

use super::syntax;
use crate::base::diagnostic::Diagnostic;
use crate::base::source::{SourceId, Span};

/// The longest file, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// The deepest nesting of lists and mappings.
pub(super) const MAX_DEPTH: usize = 256;
/// The most keys and values in one file, aliases filled in.
pub(super) const MAX_NODES: usize = 100_000;

/// An event with its range of bytes.
pub(super) struct Located<'a> {
    /// What the parser met.
    pub(super) event: Event<'a>,
    /// Where.
    pub(super) span: Span,
}

/// All events of a text, or why there are none; nothing that is too large is held in memory.
pub(super) fn collect(source: SourceId, text: &str) -> Result<Vec<Located<'_>>, Box<Diagnostic>> {
    if text.len() > MAX_BYTES {
        let begin = Span { source, start: 0, end: 0 };
        return Err(Box::new(too_large("is longer than 4 MiB", begin, "")));
    }
    if let Some(fault) = syntax::unprintable(source, text) {
        return Err(Box::new(fault));
    }
    let bytes = Bytes::new(text);
    let locate = |marks: Marks| Span { source, start: bytes.of(marks.start.index()), end: bytes.of(marks.end.index()) };
    let mut events: Vec<Located> = Vec::new();
    // The places of the collections that are still open, outermost first.
    let mut open: Vec<Span> = Vec::new();
    let mut nodes = 0;
    for result in Parser::new_from_str(text) {
        let (event, marks) = match result {
            Ok(found) => found,
            Err(error) => {
                return Err(Box::new(syntax::fault(source, text, bytes.of(error.marker().index()), error.info(), &open)));
            }
        };
        let span = locate(marks);
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                nodes += 1;
                if open.len() >= MAX_DEPTH {
                    return Err(Box::new(too_deep(span)));
                }
                open.push(span);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
            }
            Event::Scalar(..) | Event::Alias(_) => nodes += 1,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        if nodes > MAX_NODES {
            return Err(Box::new(too_large("holds more than 100,000 keys and values", span, "the first that is too many")));
        }
        events.push(Located { event, span });
    }
    Ok(events)
}

/// From the parser's count of characters to bytes.
enum Bytes {
    Ascii(u32),
    Offsets(Vec<u32>),
}

impl Bytes {
    fn new(text: &str) -> Self {
        let length = index(text.len());
        if text.is_ascii() {
            return Self::Ascii(length);
        }
        Self::Offsets(text.char_indices().map(|(at, _)| index(at)).chain([length]).collect())
    }

    fn of(&self, characters: usize) -> u32 {
        match self {
            Self::Ascii(length) => index(characters).min(*length),
            Self::Offsets(offsets) => offsets[characters.min(offsets.len() - 1)],
        }
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Deeper than [`MAX_DEPTH`].
pub(super) fn too_deep(span: Span) -> Diagnostic {
    too_large("is nested more than 256 deep", span, "too deep from here on")
}

/// Over one of the limits.
pub(super) fn too_large(what: &str, span: Span, label: &str) -> Diagnostic {
    Diagnostic::error("too-large", format!("the file {what}")).at(span, label)
}
