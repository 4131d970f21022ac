//! YAML text → events with their bytes, within a budget.
//!
//! `saphyr-parser` does the reading. What it refuses although Compose's own reader takes it is made up for here (see [`lenient`]).
//!
//! [`lenient`]: super::lenient

use saphyr_parser::{Event as Parsed, Parser, ScalarStyle, ScanError, Span as Marks, Tag};

use super::lenient::Padding;
use super::syntax;
use crate::base::diagnostic::Diagnostic;
use crate::base::source::{SourceId, Span};

/// The longest file, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// The deepest nesting of lists and mappings.
pub(super) const MAX_DEPTH: usize = 256;
/// The most keys and values in one file, aliases filled in.
pub(super) const MAX_NODES: usize = 300_000;
/// How many bytes may be read again for what [`Padding`] makes up for.
const MAX_REREAD_BYTES: usize = 16 << 20;

/// An event with its place.
pub(super) struct Located {
    /// What the parser met.
    pub(super) event: Event,
    /// Where.
    pub(super) span: Span,
}

/// What the parser met. Each document is one node: a scalar, an alias, or a collection with its nodes and its end.
pub(super) enum Event {
    /// `*name`, by the number of its anchor.
    Alias(usize),
    /// A text.
    Scalar { text: String, style: ScalarStyle, anchor: usize, tag: Option<Tag> },
    /// A list begins.
    Sequence { anchor: usize, tag: Option<Tag> },
    /// A mapping begins; key and value alternate.
    Mapping { anchor: usize, tag: Option<Tag> },
    /// The innermost collection ends.
    End,
}

/// All events of a text, or why there are none; nothing that is too large is held in memory.
pub(super) fn collect(source: SourceId, text: &str) -> Result<Vec<Located>, Box<Diagnostic>> {
    if text.len() > MAX_BYTES {
        let begin = Span { source, start: 0, end: 0 };
        return Err(Box::new(too_large("is longer than 4 MiB", begin, "")));
    }
    if let Some(fault) = syntax::unprintable(source, text) {
        return Err(Box::new(fault));
    }
    let mut padding = Padding::new(text);
    let mut budget = MAX_REREAD_BYTES;
    // What went wrong before something was made up for that may as well have been the fault itself.
    let mut doubt = None;
    loop {
        let mut attempt = Attempt { source, padding: &padding, open: Vec::new() };
        let (error, info) = match attempt.read(&padding.text()) {
            Ok(events) => return Ok(events),
            Err(Refusal::Budget(diagnostic)) => return Err(diagnostic),
            Err(Refusal::Syntax(error)) => {
                let at = padding.place(error.marker().index());
                (Box::new(syntax::fault(source, text, at, error.info(), &attempt.open)), error)
            }
        };
        budget = budget.saturating_sub(text.len());
        if budget == 0 || !padding.make_up_for(info.info(), info.marker().index()) {
            return Err(doubt.unwrap_or(error));
        }
        if info.info().contains("quoted") {
            doubt = doubt.or(Some(error));
        }
    }
}

enum Refusal {
    Syntax(ScanError),
    Budget(Box<Diagnostic>),
}

struct Attempt<'p> {
    source: SourceId,
    padding: &'p Padding<'p>,
    /// The places of the collections that are still open, outermost first.
    open: Vec<Span>,
}

impl Attempt<'_> {
    fn read(&mut self, text: &str) -> Result<Vec<Located>, Refusal> {
        let mut events: Vec<Located> = Vec::new();
        let mut nodes = 0;
        for result in Parser::new_from_str(text) {
            let (parsed, marks) = result.map_err(Refusal::Syntax)?;
            let span = self.span(marks);
            let event = match parsed {
                Parsed::Nothing | Parsed::StreamStart | Parsed::StreamEnd | Parsed::DocumentStart(_) | Parsed::DocumentEnd => {
                    continue;
                }
                Parsed::Alias(anchor) => Event::Alias(anchor),
                Parsed::Scalar(text, style, anchor, tag) => {
                    Event::Scalar { text: text.into_owned(), style, anchor, tag: tag.map(std::borrow::Cow::into_owned) }
                }
                Parsed::SequenceStart(anchor, tag) => Event::Sequence { anchor, tag: tag.map(std::borrow::Cow::into_owned) },
                Parsed::MappingStart(anchor, tag) => Event::Mapping { anchor, tag: tag.map(std::borrow::Cow::into_owned) },
                Parsed::SequenceEnd | Parsed::MappingEnd => Event::End,
            };
            match event {
                Event::Sequence { .. } | Event::Mapping { .. } if self.open.len() >= MAX_DEPTH => {
                    return Err(Refusal::Budget(Box::new(too_deep(span))));
                }
                Event::Sequence { .. } | Event::Mapping { .. } => {
                    nodes += 1;
                    self.open.push(span);
                }
                Event::Scalar { .. } | Event::Alias(_) => nodes += 1,
                Event::End => {
                    self.open.pop();
                }
            }
            if nodes > MAX_NODES {
                let diagnostic = too_large("holds more than 300,000 keys and values", span, "the first that is too many");
                return Err(Refusal::Budget(Box::new(diagnostic)));
            }
            events.push(Located { event, span });
        }
        Ok(events)
    }

    fn span(&self, marks: Marks) -> Span {
        let (start, end) = (self.padding.place(marks.start.index()), self.padding.place(marks.end.index()));
        Span { source: self.source, start, end: end.max(start) }
    }
}

/// Deeper than [`MAX_DEPTH`].
pub(super) fn too_deep(span: Span) -> Diagnostic {
    too_large("is nested more than 256 deep", span, "too deep from here on")
}

/// Over one of the limits.
pub(super) fn too_large(what: &str, span: Span, label: &str) -> Diagnostic {
    Diagnostic::error("too-large", format!("the file {what}")).at(span, label)
}
