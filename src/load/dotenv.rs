//! `.env` files and `env_file:`, in Compose's dialect.
//!
//! `NAME=value`, `NAME: value`, a bare `NAME` (inherited), `export ` before any of them, `#` comments, `'…'` as it is, `"…"` with
//! escapes and variables, both over several lines. The rules are those of compose-go (`dotenv/parser.go`). Nothing here touches an
//! environment: the caller gets the lines and decides what they win over.

use indexmap::IndexMap;

use super::interpolate::Interpolator;
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::{SourceId, Span};

/// How a file is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Quotes, escapes and variables.
    #[default]
    Compose,
    /// `format: raw`: all that follows the `=`, as `docker run --env-file` reads it.
    Raw,
}

/// A variable of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its value; of a bare name what `inherited` has for it.
    pub value: String,
    /// Where its name stands.
    pub span: Span,
}

/// Reads a file. Of a name given twice the later value stays, in the place of the first.
///
/// A variable in a value is looked up with `inherited` first (the environment beats the file, also inside of it) and then in the lines
/// above. A bare name that `inherited` does not know is left out.
pub fn parse<'v>(
    source: SourceId,
    text: &str,
    format: Format,
    inherited: &dyn Fn(&str) -> Option<&'v str>,
    interpolator: &mut Interpolator,
    diagnostics: &mut Diagnostics,
) -> IndexMap<String, Entry> {
    let mut reader = Reader { source, text, at: 0, inherited, interpolator, diagnostics, entries: IndexMap::new() };
    while reader.at < text.len() {
        match format {
            Format::Compose => reader.statement(),
            Format::Raw => reader.raw_line(),
        }
    }
    reader.entries
}

struct Reader<'r, 'v> {
    source: SourceId,
    text: &'r str,
    at: usize,
    inherited: &'r dyn Fn(&str) -> Option<&'v str>,
    interpolator: &'r mut Interpolator,
    diagnostics: &'r mut Diagnostics,
    entries: IndexMap<String, Entry>,
}

impl Reader<'_, '_> {
    fn span(&self, start: usize, end: usize) -> Span {
        let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Span { source: self.source, start: offset(start), end: offset(end) }
    }

    /// The end of the line that `from` is in, without its line break.
    fn line_end(&self, from: usize) -> usize {
        let end = self.text[from..].find('\n').map_or(self.text.len(), |at| from + at);
        if self.text[from..end].ends_with('\r') { end - 1 } else { end }
    }

    fn statement(&mut self) {
        let blank = self.text[self.at..].len() - self.text[self.at..].trim_start().len();
        self.at += blank;
        let end = self.line_end(self.at);
        let mut start = self.at;
        let mut line = &self.text[start..end];
        if line.is_empty() || line.starts_with('#') {
            self.at = end;
            return;
        }
        if let Some(rest) = line.strip_prefix("export").filter(|rest| rest.starts_with(is_space) && !rest.trim().is_empty()) {
            line = rest.trim_start_matches(is_space);
            start = end - line.len();
        }
        let name_end = line.find(['=', ':']);
        let name = line[..name_end.unwrap_or(line.len())].trim_end();
        let span = self.span(start, start + name.len());
        self.at = end;
        if let Some(fault) = name_fault(name, line) {
            self.diagnostics.push(Diagnostic::error("bad-env-line", fault).at(span, ""));
            return;
        }
        let Some(name_end) = name_end else {
            if let Some(value) = (self.inherited)(name) {
                self.entries.insert(name.to_owned(), Entry { value: value.to_owned(), span });
            }
            return;
        };
        let value_start = end - line[name_end + 1..].trim_start_matches(is_space).len();
        let value = if let Some(quote @ ('"' | '\'')) = self.text[value_start..end].chars().next() {
            self.quoted(value_start, quote)
        } else {
            // A comment needs a space before it, which may be the one after the `=`.
            let value = &self.text[start + name_end + 1..end];
            let value = [" #", "\t#"].iter().filter_map(|comment| value.find(comment)).min().map_or(value, |at| &value[..at]);
            self.filled(value.trim(), self.span(value_start, end))
        };
        if let Some(value) = value {
            self.entries.insert(name.to_owned(), Entry { value, span });
        }
    }

    /// The value that begins with a quote at `start`.
    fn quoted(&mut self, start: usize, quote: char) -> Option<String> {
        let body = &self.text[start + 1..];
        let mut raw = String::new();
        let mut escaped = false;
        for (at, c) in body.char_indices() {
            if c == quote && !escaped {
                let end = start + 1 + at + 1;
                self.at = self.line_end(end);
                let rest = self.text[end..self.at].trim();
                if !rest.is_empty() && !rest.starts_with('#') {
                    let span = self.span(end, self.at);
                    let ignored = Diagnostic::warning("ignored-env-text", "what follows the closing quote is ignored");
                    self.diagnostics.push(ignored.at(span, ""));
                }
                let span = self.span(start, end);
                return if quote == '"' { self.filled(&unescape(&raw), span) } else { Some(raw) };
            }
            if escaped && c != quote {
                raw.push('\\');
            }
            let begins_escape = c == '\\' && !escaped;
            if !begins_escape {
                raw.push(c);
            }
            escaped = begins_escape;
        }
        // Nothing below can be told from the inside of the text.
        self.at = self.text.len();
        self.diagnostics.push(
            Diagnostic::error("unclosed-env-quote", "a quoted value is not closed")
                .at(self.span(start, start + 1), "opened here"),
        );
        None
    }

    fn filled(&mut self, value: &str, span: Span) -> Option<String> {
        let (entries, inherited) = (&self.entries, self.inherited);
        let get = |name: &str| inherited(name).or_else(|| entries.get(name).map(|entry| entry.value.as_str()));
        self.interpolator.text(value, span, &get, self.diagnostics)
    }

    fn raw_line(&mut self) {
        let end = self.line_end(self.at);
        let line = &self.text[self.at..end];
        let start = end - line.trim_start().len();
        let line = &self.text[start..end];
        self.at = self.text[end..].find('\n').map_or(self.text.len(), |at| end + at + 1);
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
        let span = self.span(start, start + name.len());
        if name.is_empty() || name.contains(char::is_whitespace) {
            self.diagnostics
                .push(Diagnostic::error("bad-raw-env-line", format!("`{name}` is not the name of a variable")).at(span, ""));
        } else if let Some(value) = value.or_else(|| (self.inherited)(name)) {
            self.entries.insert(name.to_owned(), Entry { value: value.to_owned(), span });
        }
    }
}

fn is_space(c: char) -> bool {
    c != '\n' && c.is_whitespace()
}

fn name_fault(name: &str, line: &str) -> Option<String> {
    if name.is_empty() {
        return Some(format!("`{}` has no name before it", &line[..1]));
    }
    if name.contains(char::is_whitespace) {
        return Some(format!("`{name}` is not the name of a variable: it holds a space"));
    }
    let allowed = |c: char| c.is_alphanumeric() || "_.-[]".contains(c);
    let c = name.chars().find(|&c| !allowed(c))?;
    Some(format!("`{name}` is not the name of a variable: it holds `{}`", c.escape_default()))
}

/// The escapes of double quotes: `\n` and the like, `\$` (written so that interpolation leaves it alone), and `\0` with three octal
/// digits. Any other backslash stays.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let octal =
            after.strip_prefix('0').and_then(|digits| digits.get(..3)).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let (replacement, length) = match (after.as_bytes().first(), octal) {
            (Some(b'n'), _) => ("\n", 1),
            (Some(b'r'), _) => ("\r", 1),
            (Some(b't'), _) => ("\t", 1),
            (Some(b'a'), _) => ("\u{7}", 1),
            (Some(b'b'), _) => ("\u{8}", 1),
            (Some(b'f'), _) => ("\u{c}", 1),
            (Some(b'v'), _) => ("\u{b}", 1),
            (Some(b'"'), _) => ("\"", 1),
            (Some(b'\\'), _) => ("\\", 1),
            (Some(b'$'), _) => ("$$", 1),
            (Some(b'0'), Some(value)) => {
                out.push(char::from(value));
                ("", 4)
            }
            _ => ("\\", 0),
        };
        out.push_str(replacement);
        rest = &after[length..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, format: Format) -> (String, String) {
        let inherited = |name: &str| match name {
            "VERSION" => Some("shell"),
            "SHELL_ONLY" => Some("inherited"),
            _ => None,
        };
        let mut diagnostics = Diagnostics::default();
        let entries = parse(SourceId(0), text, format, &inherited, &mut Interpolator::default(), &mut diagnostics);
        let entries: Vec<_> = entries
            .iter()
            .map(|(name, entry)| {
                assert_eq!(&text[entry.span.start as usize..entry.span.end as usize], name);
                format!("{name}={:?}", entry.value)
            })
            .collect();
        let said: Vec<_> = diagnostics
            .sorted()
            .iter()
            .map(|found| {
                let span = found.labels[0].span;
                format!("{} @ {:?}", found.message, &text[span.start as usize..span.end as usize])
            })
            .collect();
        (entries.join(" "), said.join("\n"))
    }

    #[test]
    fn lines_are_read_as_compose_reads_them() {
        for (text, expect) in [
            ("A=1\r\nB= 3 \nC =4\n456 = ABC\nD = \nE=", r#"A="1" B="3" C="4" 456="ABC" D="" E="""#),
            ("H = my string # comment\nU=a#b\nI= # c\n# c\n  # d\n\tT=x", r#"H="my string" U="a#b" I="" T="x""#),
            ("FOO:BAR\nV: Foo=bar\nW=1:B", r#"FOO="BAR" V="Foo=bar" W="1:B""#),
            ("export A=2\nexport\tB='\\n'\nexport_C =2\nexport.D= 2\nexport", r#"A="2" B="\\n" export_C="2" export.D="2""#),
            ("A='Let\\'s go!' # c\nB=\"a # b\"\nC='a\nb'\nD=\"x\ny\"", r#"A="Let's go!" B="a # b" C="a\nb" D="x\ny""#),
            (r#"A="e\"b""#, r#"A="e\"b""#),
            (r#"A="\0123\x07\u12e4\n\\n\c\09""#, r#"A="S\\x07\\u12e4\n\\n\\c\\09""#),
            ("P='pa$$w$x'\nQ=\"\\$x $$y\"", r#"P="pa$$w$x" Q="$x $y""#),
            ("A=1\nB=${A}\nC=$B-${A}\nD=${X:-d}", r#"A="1" B="1" C="1-1" D="d""#),
            ("VERSION=file\nIMAGE=app:${VERSION}", r#"VERSION="file" IMAGE="app:shell""#),
            ("SHELL_ONLY\nNOT_THERE\nA=1\nA=2", r#"SHELL_ONLY="inherited" A="2""#),
            ("VAR.WITH.DOTS=a\nVAR-B=é", r#"VAR.WITH.DOTS="a" VAR-B="é""#),
        ] {
            assert_eq!(read(text, Format::Compose), (expect.to_owned(), String::new()), "{text}");
        }
    }

    #[test]
    fn a_raw_file_is_taken_as_it_is() {
        let text = "A=\"quoted $X\"\nB='single'\r\n\n# c\n  C=plain # not comment\nSHELL_ONLY\nD E=1";
        let (entries, said) = read(text, Format::Raw);
        assert_eq!(entries, r#"A="\"quoted $X\"" B="'single'" C="plain # not comment" SHELL_ONLY="inherited""#);
        assert_eq!(said, "`D E` is not the name of a variable @ \"D E\"");
    }

    #[test]
    fn every_fault_has_its_place_and_the_other_lines_are_read() {
        for (text, entries, said) in [
            (
                "A=1\nINVALID LINE\nB=2",
                r#"A="1" B="2""#,
                "`INVALID LINE` is not the name of a variable: it holds a space @ \"INVALID LINE\"",
            ),
            ("a!b=1", "", "`a!b` is not the name of a variable: it holds `!` @ \"a!b\""),
            ("=1", "", "`=` has no name before it @ \"\""),
            ("A=1\nB='x\ny\nC=2", r#"A="1""#, "a quoted value is not closed @ \"'\""),
            ("A='x'y z\nB=1", r#"A="x" B="1""#, "what follows the closing quote is ignored @ \"y z\""),
            (
                "A=$X\nB=${X:?why}",
                r#"A="""#,
                "the variable `X` is not set and counts as empty @ \"$X\"\nthe required variable `X` is not set: why @ \"${X:?why}\"",
            ),
        ] {
            assert_eq!(read(text, Format::Compose), (entries.to_owned(), said.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_value_that_doubles_with_each_line_is_stopped() {
        use std::fmt::Write as _;
        let mut text = "A0=0123456789\n".to_owned();
        for line in 1..60 {
            writeln!(text, "A{line}=$A{}$A{0}", line - 1).unwrap();
        }
        assert!(read(&text, Format::Compose).1.contains("longer than 32 MiB"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([ -~\n\té]|export |\"|'|\\\\|\\$|=|#){0,60}") {
            read(&text, Format::Compose);
            read(&text, Format::Raw);
        }
    }
}
