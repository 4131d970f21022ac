//! Findings that every walk through a tree may make.

use std::fmt::Display;

use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::Span;
use crate::base::suggest::{closest, few};
use crate::yaml::node::Node;
use crate::yaml::place::Place;

/// Where findings about the whole go.
pub(super) struct Found<'a> {
    /// Mistakes of the files.
    pub wrong: &'a mut Diagnostics,
    /// What only forbids a start.
    pub unstartable: &'a mut Diagnostics,
    /// Whether a part of the stack could not be read, so that what is not here may be there.
    pub is_partial: bool,
}

/// More findings than this are not all read, and in thousands of them a search for what was meant takes its time.
const MAX_SUGGESTED: usize = 200;

/// What a name was probably meant to be; not sought once there are many findings.
pub(super) fn meant<'a, I: IntoIterator<Item = &'a str>>(
    name: &str,
    known: impl FnOnce() -> I,
    diagnostics: &Diagnostics,
) -> Option<&'a str> {
    (diagnostics.len() < MAX_SUGGESTED).then(|| closest(name, known())).flatten()
}

/// What is wanted where one value could as well be several.
pub(super) const A_LIST: &str = "a list";

/// Whether a text is an item of a list without quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_alphanumeric() || "._/-".contains(letter))
}

/// A value of the wrong kind.
pub(super) fn wrong_kind(place: &Place<'_>, node: &Node, wanted: &str, diagnostics: &mut Diagnostics) {
    let shown = node.as_text().filter(|text| text.len() <= 40 && !text.contains('\n'));
    let found = shown.map_or_else(|| node.kind_name().to_owned(), |text| format!("{} `{text}`", node.kind_name()));
    let message = format!("`{place}` must be {wanted}, not {found}");
    let diagnostic = Diagnostic::error("wrong-kind", message).at(node.span, "");
    diagnostics.push(match shown {
        Some(text) if wanted == A_LIST && is_plain(text) => diagnostic.help(format!("write `[{text}]`")),
        _ => diagnostic,
    });
}

/// A value that cannot be read.
pub(super) fn bad_value(place: &Place<'_>, span: Span, why: impl Display, help: &str, diagnostics: &mut Diagnostics) {
    let diagnostic = Diagnostic::error("bad-value", format!("`{place}`: {why}")).at(span, "");
    diagnostics.push(if help.is_empty() { diagnostic } else { diagnostic.help(help) });
}

/// A key that is none.
pub(super) fn unknown_key<'a>(
    what: &str,
    key: &str,
    span: Span,
    known: impl IntoIterator<Item = &'a str>,
    diagnostics: &mut Diagnostics,
) {
    let diagnostic = Diagnostic::error("unknown-key", format!("{what} has no attribute `{key}`")).at(span, "");
    let known: Vec<&str> = known.into_iter().collect();
    let near = meant(key, || known.iter().copied(), diagnostics);
    diagnostics.push(match (near, few(known)) {
        (Some(near), _) => diagnostic.help(format!("did you mean `{near}`?")),
        (None, Some(all)) => diagnostic.help(format!("it has {all}")),
        (None, None) => diagnostic.help("names of your own begin with `x-`"),
    });
}
