//! YAML text → events with their bytes, within a budget.
//!
//! `saphyr-parser` does the reading. What it refuses although Compose's own reader takes it is made up for here (see [`lenient`] and
//! [`deep`]).
//!
//! [`lenient`]: super::lenient
//! [`deep`]: super::deep

use saphyr_parser::{Event as Parsed, Parser, ScalarStyle, ScanError, Span as Marks, Tag};

use super::deep::{self, Island};
use super::lenient::Padding;
use super::syntax;
use crate::base::diagnostic::Diagnostic;
use crate::base::source::{SourceId, Span};

/// The longest file, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// The deepest nesting of lists and mappings.
pub(super) const MAX_DEPTH: usize = 512;
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
#[derive(Clone)]
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
        let mut attempt = Attempt { source, padding: &padding, open: Vec::new(), events: Vec::new(), nodes: 0, budget };
        let (error, info, character) = match attempt.read(&padding.text(), 0) {
            Ok(()) => return Ok(attempt.events),
            Err(Refusal::Budget(diagnostic)) => return Err(diagnostic),
            Err(Refusal::Syntax(error, before)) => {
                let character = before + error.marker().index();
                let at = padding.place(character);
                (Box::new(syntax::fault(source, text, at, error.info(), &attempt.open)), error, character)
            }
        };
        budget = attempt.budget.saturating_sub(text.len());
        if budget == 0 || !padding.make_up_for(info.info(), character) {
            return Err(doubt.unwrap_or(error));
        }
        if info.info().contains("quoted") {
            doubt = doubt.or(Some(error));
        }
    }
}

enum Refusal {
    /// With the number of characters that stand before the text that was read.
    Syntax(ScanError, usize),
    Budget(Box<Diagnostic>),
}

struct Attempt<'p> {
    source: SourceId,
    padding: &'p Padding<'p>,
    /// The places of the collections that are still open, outermost first.
    open: Vec<Span>,
    events: Vec<Located>,
    nodes: usize,
    /// How many bytes may still be read again.
    budget: usize,
}

impl Attempt<'_> {
    /// Reads a text that stands after so many characters of the whole.
    fn read(&mut self, text: &str, before: usize) -> Result<(), Refusal> {
        let (open, events, nodes) = (self.open.len(), self.events.len(), self.nodes);
        let mut islands: Vec<Island> = Vec::new();
        loop {
            let error = match self.pass(text, before, &islands) {
                Err(Refusal::Syntax(error, at)) if at == before && error.info() == deep::REFUSED => error,
                result => return result,
            };
            let character = error.marker().index();
            let place = self.span_of(before + character, before + character + 1);
            self.budget = self.budget.saturating_sub(text.len());
            let room = MAX_DEPTH.saturating_sub(open + deep::LIMIT);
            match deep::island(text, character, room).filter(|_| self.budget > 0) {
                Some(island) => islands.push(island),
                None => return Err(Refusal::Budget(Box::new(too_deep(place)))),
            }
            self.open.truncate(open);
            self.events.truncate(events);
            self.nodes = nodes;
        }
    }

    /// Reads a text once; what is too deep for the parser is read by itself.
    fn pass(&mut self, text: &str, before: usize, islands: &[Island]) -> Result<(), Refusal> {
        for result in Parser::new_from_str(&deep::without(text, islands)) {
            let (parsed, marks) = result.map_err(|error| Refusal::Syntax(error, before))?;
            if let Some(island) = islands.iter().find(|island| island.character == marks.start.index())
                && matches!(parsed, Parsed::Scalar(..))
            {
                self.island(&text[island.bytes.clone()], before + island.character)?;
                continue;
            }
            let span = self.span(marks, before);
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
                    self.nodes += 1;
                    self.open.push(span);
                }
                Event::Scalar { .. } | Event::Alias(_) => self.nodes += 1,
                Event::End => {
                    self.open.pop();
                }
            }
            if self.nodes > MAX_NODES {
                let diagnostic = too_large("holds more than 300,000 keys and values", span, "the first that is too many");
                return Err(Refusal::Budget(Box::new(diagnostic)));
            }
            self.events.push(Located { event, span });
        }
        Ok(())
    }

    /// Reads one value, which must be whole and by itself: anchors are numbered anew in it.
    fn island(&mut self, text: &str, before: usize) -> Result<(), Refusal> {
        let (first, open) = (self.events.len(), self.open.len());
        self.read(text, before)?;
        let mut depth = 0_usize;
        let mut values = 0;
        for Located { event, .. } in &self.events[first..] {
            let anchor = match event {
                Event::Alias(_) => 1,
                Event::Scalar { anchor, .. } | Event::Sequence { anchor, .. } | Event::Mapping { anchor, .. } => *anchor,
                Event::End => 0,
            };
            values += usize::from(depth == 0);
            match event {
                Event::Sequence { .. } | Event::Mapping { .. } => depth += 1,
                Event::End => depth = depth.saturating_sub(1),
                Event::Scalar { .. } | Event::Alias(_) => {}
            }
            if anchor != 0 {
                values = 0;
                break;
            }
        }
        if values == 1 && depth == 0 && self.open.len() == open {
            return Ok(());
        }
        Err(Refusal::Budget(Box::new(too_deep(self.span_of(before, before + 1)))))
    }

    fn span(&self, marks: Marks, before: usize) -> Span {
        self.span_of(before + marks.start.index(), before + marks.end.index())
    }

    fn span_of(&self, start: usize, end: usize) -> Span {
        let (start, end) = (self.padding.place(start), self.padding.place(end));
        Span { source: self.source, start, end: end.max(start) }
    }
}

/// Deeper than [`MAX_DEPTH`].
pub(super) fn too_deep(span: Span) -> Diagnostic {
    too_large("is nested more than 512 deep", span, "too deep from here on")
}

/// Over one of the limits.
pub(super) fn too_large(what: &str, span: Span, label: &str) -> Diagnostic {
    Diagnostic::error("too-large", format!("the file {what}")).at(span, label)
}
