//! `configs.<name>.template`: a file whose `${…}` are filled in.
//!
//! Braces only, with `:-` and the like; `$name` stays, since it means something in many a language, and `$${` is a plain `${`. A name
//! without a value is an error at its place in the template.

use super::expression::{self, Dialect};
use super::interpolate::{no_value, shortened};
use super::variables::Variables;
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::{SourceId, Span};
use crate::base::suggest::closest;

/// The longest text that a template may become.
const MAX_BYTES: usize = 32 << 20;

/// Fills in a template. `None` when something is wrong; all unknown names are told at once.
pub fn render(source: SourceId, text: &str, variables: &Variables, diagnostics: &mut Diagnostics) -> Option<String> {
    let place = |at: std::ops::Range<usize>| {
        let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Span { source, start: offset(at.start), end: offset(at.end) }
    };
    let pieces = match expression::parse(text, Dialect::Template) {
        Ok(pieces) => pieces,
        Err(fault) => {
            let expression = shortened(&text[fault.at.clone()]);
            // An unclosed one reaches to the end of the file.
            let at = fault.at.start..fault.at.start + text[fault.at].lines().next().unwrap_or_default().len();
            diagnostics.push(
                Diagnostic::error("bad-template", format!("`{expression}` is no expression: {}", fault.reason))
                    .at(place(at), "")
                    .help("write `$${` for a `${` that is meant as it is"),
            );
            return None;
        }
    };
    let get = |name: &str| variables.get(name).map(|variable| variable.value.as_str());
    let mut missing = Vec::new();
    let result = expression::evaluate(&pieces, MAX_BYTES, &get, &mut missing);
    for (name, at) in &missing {
        let mut unknown = Diagnostic::error("unknown-variable", format!("the template uses `{name}`, which is not set"));
        unknown = unknown.at(place(at.clone()), "");
        unknown = match closest(name, variables.iter().map(|(name, _)| name)) {
            Some(known) => unknown.help(format!("did you mean `{known}`?")),
            None => unknown.help(format!("give a default, as in `${{{name}:-default}}`, or set it in `.env`")),
        };
        diagnostics.push(unknown);
    }
    match result {
        Ok(rendered) => missing.is_empty().then_some(rendered),
        Err(fault) => {
            let at = match &fault {
                expression::NoValue::Required { at, .. } | expression::NoValue::Malformed(expression::Malformed { at, .. }) => {
                    at.clone()
                }
                expression::NoValue::TooLong => 0..0,
            };
            diagnostics.push(no_value(text, fault).at(place(at), ""));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::variables::Origin;

    fn rendered(text: &str) -> String {
        let mut variables = Variables::default();
        variables.give("DB_PORT", "5432", Origin::NamedPort);
        let mut diagnostics = Diagnostics::default();
        match render(SourceId(0), text, &variables, &mut diagnostics) {
            Some(rendered) => rendered,
            None => diagnostics
                .sorted()
                .iter()
                .map(|found| {
                    format!("{} @ {}; {}", found.message, found.labels[0].span.start, found.help.as_deref().unwrap_or(""))
                })
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    #[test]
    fn braces_are_filled_in_and_unknown_names_told_at_their_place() {
        for (text, expect) in [
            ("port = ${DB_PORT}\nawk = '$1' $DB_PORT $${X} ${X:-d}", "port = 5432\nawk = '$1' $DB_PORT ${X} d"),
            (
                "a\n${DB_PROT}\n${OTHER}",
                "the template uses `DB_PROT`, which is not set @ 2; did you mean `DB_PORT`?\n\
                 the template uses `OTHER`, which is not set @ 13; give a default, as in `${OTHER:-default}`, or set it in `.env`",
            ),
            (
                "x ${DB_PORT\ny",
                "`${DB_PORT…` is no expression: its `}` is missing @ 2; write `$${` for a `${` that is meant as it is",
            ),
            (
                "${X?why}",
                "the required variable `X` is not set: why @ 0; set it in `.env`, or before the command: `X=… baistack …`",
            ),
        ] {
            assert_eq!(rendered(text), expect, "{text}");
        }
    }
}
