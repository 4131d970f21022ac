//! YAML that cannot be read: from the parser's words to the user's.
//!
//! The parser says where it gave up and which of its rules was broken. The cause is often something else, so the text around the place
//! is looked at too.

use crate::base::diagnostic::Diagnostic;
use crate::base::source::{SourceId, Span};

/// The first character that YAML does not allow anywhere, if there is one (YAML 1.2.2, production 1, `c-printable`).
pub(super) fn unprintable(source: SourceId, text: &str) -> Option<Diagnostic> {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{85}' | ' '..='~' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..);
    let (at, c) = text.char_indices().find(|&(_, c)| !allowed(c) || c == '\u{feff}')?;
    let span = Span { source, start: offset(at), end: offset(at + c.len_utf8()) };
    let message = format!("the control character U+{:04X} cannot stand in YAML", u32::from(c));
    let help = format!("in double quotes it can be written as `\\u{:04x}`", u32::from(c));
    Some(invalid(message).at(span, "").help(help))
}

/// A syntax error: `at` is where the parser stopped, `info` what it said, `open` the places of the lists and mappings it was in.
pub(super) fn fault(source: SourceId, text: &str, at: u32, info: &str, open: &[Span]) -> Diagnostic {
    let at = at as usize;
    let span = |start: usize, end: usize| Span { source, start: offset(start), end: offset(end) };
    if let Some(tab) = indenting_tab(text, at, info) {
        return invalid("a tab cannot indent YAML").at(span(tab, tab + 1), "tab").help("indent with spaces");
    }
    let here = span(at, text[at..].chars().next().filter(|c| !matches!(c, '\n' | '\r')).map_or(at, |c| at + c.len_utf8()));
    let innermost = open.last().copied();
    // A bracket that is still open on an earlier line is the likelier cause than what the parser met since.
    let unclosed = innermost.filter(|open| {
        let since = &text[open.start as usize..at.max(open.start as usize)];
        since.starts_with(['[', '{']) && (since.contains('\n') || info.contains("flow") || info.contains("eof"))
    });
    match (info, innermost) {
        _ if info.contains("quoted scalar, found unexpected") || info == "invalid indentation in quoted scalar" => {
            invalid("a quoted text is not closed")
                .at(span(at, (at + 1).min(text.len())), "opened here")
                .help("a `'` inside of single quotes is written twice, a `\"` inside of double quotes as `\\\"`")
        }
        _ if let Some(open) = unclosed => {
            let is_list = text[open.start as usize..].starts_with('[');
            let (what, close) = if is_list { ("list", ']') } else { ("mapping", '}') };
            let fault = invalid(format!("expected `,` or `{close}` in this {what}"))
                .at(here, "")
                .at(Span { end: open.start + 1, ..open }, "opened here");
            // To YAML the brace of a variable is one of its own.
            if text[..at].ends_with('$') && text[at..].starts_with('{') {
                fault.help(format!("put a text that holds `${{…}}` in quotes inside of a {what}"))
            } else {
                fault
            }
        }
        ("mapping values are not allowed in this context" | "illegal placement of ':' indicator", _) => {
            invalid("a second `: ` in one line").at(here, "").help("put a text that holds `: ` in quotes")
        }
        ("while parsing a block mapping, did not find expected key", Some(open)) => {
            invalid("this does not fit into the mapping it stands in")
                .at(here, "neither a key of it nor a value")
                .at(Span { end: open.start, ..open }, "the mapping begins here")
                .help("the keys of one mapping begin in the same column")
        }
        ("while parsing a block collection, did not find expected '-' indicator", Some(open)) => {
            invalid("this does not fit into the list it stands in")
                .at(here, "expected `- `")
                .at(Span { end: open.start, ..open }, "the list begins here")
        }
        ("while parsing node, found unknown anchor", _) => {
            let name: String = text[at..].chars().take_while(|c| !c.is_whitespace() && !",[]{}".contains(*c)).collect();
            let anchor = name.replacen('*', "&", 1);
            invalid(format!("`{name}` refers to an anchor that is not defined before it"))
                .at(span(at, at + name.len()), format!("no `{anchor}` above"))
                .note("anchors do not reach into other files")
        }
        ("while parsing a quoted scalar, found unknown escape character", _) => {
            invalid("an unknown escape in double quotes").at(here, "").help("write `\\\\` for a backslash, or use single quotes")
        }
        ("simple key expect ':'" | "simple key expected", _) => {
            // The parser stops at the next key.
            let end = text[..at].trim_end().len();
            let start = text[..end].rfind(['\n', '\r']).map_or(0, |end| end + 1);
            let start = start + (end - start - text[start..end].trim_start().len());
            invalid("expected `: ` after a key").at(span(start, end), "")
        }
        ("misplaced bracket", _) => invalid("this bracket closes nothing").at(here, ""),
        ("invalid trailing content after double-quoted scalar", _) => {
            invalid("more text after the closing quote").at(here, "").help("put the whole value in quotes")
        }
        ("block sequence entries are not allowed in this context", _) => invalid("a list cannot begin with `- ` in this line")
            .at(here, "")
            .help("begin it in the next line, or write it in `[…]`"),
        _ if info.starts_with("unexpected character") => {
            let c = text[at..].chars().next().unwrap_or_default();
            invalid(format!("a text cannot begin with `{c}`")).at(here, "").help("put the text in quotes")
        }
        _ => invalid(format!("not valid YAML: {}", plainly(info))).at(here, ""),
    }
}

/// The tab that the parser did not like, if one stands in the indentation of the line where it stopped or, when it says so, of a
/// later one: the parser stops where the text began that the tab then spoilt.
fn indenting_tab(text: &str, at: usize, info: &str) -> Option<usize> {
    let line_start = text[..at].rfind(['\n', '\r']).map_or(0, |end| end + 1);
    let lines = if info.contains("tab") { usize::MAX } else { 1 };
    let mut start = line_start;
    for line in text[line_start..].split_inclusive(['\n', '\r']).take(lines) {
        let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        if let Some(tab) = indent.find('\t').filter(|_| indent.len() < line.trim_end().len()) {
            return Some(start + tab);
        }
        start += line.len();
    }
    None
}

/// The parser's sentence without the name of the rule it was applying.
fn plainly(info: &str) -> &str {
    let is_rule = |head: &&str| head.starts_with("while ");
    info.split_once(", ").filter(|(head, _)| is_rule(head)).map_or(info, |(_, rest)| rest)
}

fn invalid(message: impl Into<String>) -> Diagnostic {
    Diagnostic::error("invalid-yaml", message)
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
