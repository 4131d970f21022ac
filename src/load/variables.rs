//! The variables that `${…}` is filled in from, each with where its value came from.

use indexmap::IndexMap;

use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::{SourceMap, Span};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `ENVID`, `STACK_DIR` and the like.
    Predefined,
    /// The caller's environment.
    Environment,
    /// A line of `.env` or `--env-file`.
    File(Span),
    /// A named port of the stack.
    NamedPort,
    /// A generated value, which is never shown.
    Generated,
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The value.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// All variables. Of several values for one name the first that is given stays: give them in the order of their rank.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    variables: IndexMap<String, Variable>,
}

impl Variables {
    /// Gives a value, unless the name has one.
    pub fn give(&mut self, name: impl Into<String>, value: impl Into<String>, origin: Origin) {
        self.variables.entry(name.into()).or_insert_with(|| Variable { value: value.into(), origin });
    }

    /// Value and origin of a name.
    pub fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name)
    }

    /// All of them, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Variable)> {
        self.variables.iter().map(|(name, variable)| (name.as_str(), variable))
    }

    /// Adds to each finding about a text with variables what they stand for, so that a bad value can be traced to where it was set.
    pub fn explain(&self, diagnostics: Diagnostics, sources: &SourceMap) -> Diagnostics {
        let mut explained = Diagnostics::default();
        explained.extend(diagnostics.into_iter().map(|diagnostic| self.explain_one(diagnostic, sources)));
        explained
    }

    fn explain_one(&self, mut diagnostic: Diagnostic, sources: &SourceMap) -> Diagnostic {
        let Some(label) = diagnostic.labels.first() else { return diagnostic };
        let text = &sources.get(label.span.source).text;
        let covered = text.get(label.span.start as usize..label.span.end as usize).unwrap_or_default();
        // Whole sections mention many variables; only a value on one line is likely to be about its own.
        if covered.contains('\n') {
            return diagnostic;
        }
        for name in super::interpolate::names(covered) {
            let Some(Variable { value, origin }) = self.get(name) else { continue };
            let note = match origin {
                Origin::Predefined => format!("`{name}` is `{value}`, which is predefined"),
                Origin::Environment => format!("`{name}` is `{value}` in the environment"),
                Origin::NamedPort => format!("`{name}` is `{value}`, a port of this stack"),
                Origin::Generated => format!("`{name}` is a generated value"),
                Origin::File(span) => {
                    let file = sources.get(span.source).name.display();
                    format!("`{name}` is `{value}` by {file}:{}", sources.line(*span))
                }
            };
            if !diagnostic.notes.contains(&note) {
                diagnostic.notes.push(note);
            }
        }
        diagnostic
    }
}
