//! What is told to a user about a file: one sentence, the place, another place if there is one, and a next step.
//!
//! A diagnostic says what is wrong in the user's words. How it is drawn is `view::diagnostics`' business.

use indexmap::IndexSet;

use super::source::Span;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is started.
    Error,
    /// Said once; the command goes on.
    Warning,
}

/// A place in a file and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// A few words beside the caret; may be empty.
    pub text: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// A name in kebab case that `explain` knows, as `unknown-service`.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// One sentence without a full stop, literals in backticks.
    pub message: String,
    /// The first is the place of the fault, the others help to see it.
    pub labels: Vec<Label>,
    /// Facts that help to understand.
    pub notes: Vec<String>,
    /// The next step.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, message: message.into(), labels: Vec::new(), notes: Vec::new(), help: None }
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// With a place; the first one is the place of the fault.
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// With a fact.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// With a next step.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// All findings of one run.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    list: IndexSet<Diagnostic>,
}

impl Diagnostics {
    /// Adds one; an exact repetition is dropped (an anchor used twice has its fault once).
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.insert(diagnostic);
    }

    /// Whether an error is among them.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Where the faults of all errors are.
    pub fn places_of_errors(&self) -> impl Iterator<Item = Span> {
        self.list.iter().filter(|d| d.severity == Severity::Error).filter_map(|d| Some(d.labels.first()?.span))
    }

    /// Whether an error is told of something within a place: that something else is missing there may follow from it.
    pub fn has_error_within(&self, place: Span) -> bool {
        let is_within = |span: Span| span.source == place.source && span.start >= place.start && span.end <= place.end;
        self.places_of_errors().any(is_within)
    }

    /// All of them, sorted by place; those without a place come first.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut all: Vec<_> = self.list.iter().collect();
        all.sort_by_key(|d| d.labels.first().map(|label| label.span));
        all
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<T: IntoIterator<Item = Diagnostic>>(&mut self, iter: T) {
        for diagnostic in iter {
            self.push(diagnostic);
        }
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = indexmap::set::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}
