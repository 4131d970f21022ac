//! Findings about files, drawn as rustc draws them: the sentence, the lines with their carets, notes and the next step.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};

use crate::base::diagnostic::{Diagnostic, Diagnostics, Label, Severity};
use crate::base::source::{SourceId, SourceMap, Span};
use crate::load::remote;

/// More findings than this are counted only: nobody reads them, and a file made by a machine can have thousands.
const MAX_SHOWN: usize = 100;

/// Of a line no more bytes than this are looked at behind what is marked in it: a file made by a machine can be one long line, of
/// which a terminal's width is shown.
const MAX_AFTER: usize = 4_000;

/// How findings are drawn.
#[derive(Debug, Clone)]
pub struct Look<'a> {
    /// The caller's working directory, absolute: paths are shown relative to it where that is shorter.
    pub directory: &'a Path,
    /// With colours.
    pub color: bool,
    /// The width of the terminal, for lines that are longer.
    pub width: Option<usize>,
}

/// All findings, sorted by place, with a blank line after each. Empty when there are none.
pub fn render(diagnostics: &Diagnostics, sources: &SourceMap, look: &Look<'_>) -> String {
    let renderer = if look.color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(look.width.unwrap_or(140));
    let sorted = diagnostics.sorted();
    let mut out = String::new();
    for diagnostic in sorted.iter().take(MAX_SHOWN) {
        out.push_str(&renderer.render(&[group(diagnostic, sources, look.directory)]));
        out.push_str("\n\n");
    }
    if sorted.len() > MAX_SHOWN {
        let more = format!("… and {} more\n\n", sorted.len() - MAX_SHOWN);
        out.push_str(&more);
    }
    out
}

/// How many there are: `2 errors, 1 warning`. `None` when there are none.
pub fn summary(diagnostics: &Diagnostics) -> Option<String> {
    let count = |severity| diagnostics.sorted().iter().filter(|found| found.severity == severity).count();
    let words = |count: usize, word: &str| (count > 0).then(|| format!("{count} {word}{}", if count == 1 { "" } else { "s" }));
    let parts = [words(count(Severity::Error), "error"), words(count(Severity::Warning), "warning")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn group<'a>(diagnostic: &'a Diagnostic, sources: &'a SourceMap, directory: &Path) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(&*diagnostic.message).id(diagnostic.code);
    let mut group = Group::with_title(title);
    let mut shown: Vec<SourceId> = Vec::new();
    for label in &diagnostic.labels {
        if !shown.contains(&label.span.source) {
            shown.push(label.span.source);
            group = group.element(snippet(diagnostic, label.span.source, sources, directory));
        }
    }
    let notes = diagnostic.notes.iter().map(|note| Level::NOTE.message(normalize_untrusted_str(note)));
    let help = diagnostic.help.iter().map(|help| Level::HELP.message(normalize_untrusted_str(help)));
    group.elements(notes.chain(help))
}

/// The lines of one file that the labels are about, and those between them.
fn snippet<'a>(
    diagnostic: &'a Diagnostic,
    source: SourceId,
    sources: &'a SourceMap,
    directory: &Path,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let file = sources.get(source);
    let text = &*file.text;
    let labels: Vec<(usize, &Label, Range<usize>)> = diagnostic
        .labels
        .iter()
        .enumerate()
        .filter(|(_, label)| label.span.source == source)
        .map(|(nth, label)| (nth, label, first_line(text, label)))
        .collect();
    // Only what is shown is handed on: the file may be large.
    let first = labels.iter().map(|(_, _, range)| range.start).min().unwrap_or(0);
    let last = labels.iter().map(|(_, _, range)| range.end).max().unwrap_or(0);
    let at = Span { source, start: first as u32, end: last as u32 };
    let begin = text[..first].rfind('\n').map_or(0, |at| at + 1);
    let end = text[last..].find('\n').map_or(text.len(), |at| last + at);
    let end = boundary(text, end.min(last + MAX_AFTER));
    let annotations = labels.into_iter().map(|(nth, label, range)| {
        let kind = if nth == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let text = (!label.text.is_empty()).then(|| Cow::from(normalize_untrusted_str(&label.text)));
        kind.span(range.start - begin..range.end - begin).label(text)
    });
    Snippet::source(remote::starred(&text[begin..end]))
        .line_start(sources.line(at))
        .path(normalize_untrusted_str(&shown_path(&file.name, directory).to_string_lossy()))
        .annotations(annotations)
}

/// What of a label is marked: its first line. A whole section in brackets tells less than the line it begins in.
fn first_line(text: &str, label: &Label) -> Range<usize> {
    let start = boundary(text, label.span.start as usize);
    let end = boundary(text, label.span.end as usize).max(start);
    let line = text[start..end].find(['\n', '\r']).map_or(end, |at| start + at);
    start..line
}

/// The nearest place at or before this one where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The path from `directory` if that is shorter to read.
fn shown_path(path: &Path, directory: &Path) -> PathBuf {
    if !path.is_absolute() {
        return path.to_owned();
    }
    let shared = path.components().zip(directory.components()).take_while(|(a, b)| a == b).count();
    let up = directory.components().skip(shared).map(|_| Component::ParentDir);
    let relative: PathBuf = up.chain(path.components().skip(shared)).collect();
    let is_shorter = !relative.as_os_str().is_empty() && relative.as_os_str().len() < path.as_os_str().len();
    if is_shorter { relative } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look() -> Look<'static> {
        Look { directory: Path::new("/home/me/app"), color: false, width: None }
    }

    fn span(sources: &SourceMap, source: SourceId, part: &str) -> Span {
        let start = sources.get(source).text.find(part).unwrap();
        Span { source, start: u32::try_from(start).unwrap(), end: u32::try_from(start + part.len()).unwrap() }
    }

    #[test]
    fn a_finding_shows_its_place_the_other_place_and_the_next_step() {
        let mut sources = SourceMap::default();
        let base = sources.add("/home/me/base.yaml", "services:\n  db: {}\n");
        let file = sources.add(
            "/home/me/app/compose.yaml",
            "# é\nservices:\n  web:\n    image: é\n    depends_on:\n      - databse\n  x:\n    - 1\n",
        );
        let mut found = Diagnostics::default();
        found.push(
            Diagnostic::error("unknown-service", "`web` depends on `databse`, which is not a service")
                .at(span(&sources, file, "databse"), "no service of this name")
                .at(span(&sources, file, "web"), "")
                .at(span(&sources, base, "db"), "a near one")
                .note("services of all files count")
                .help("did you mean `db`?"),
        );
        found.push(Diagnostic::warning("something", "a whole section\u{1b}[31m").at(span(&sources, file, "x:\n    - 1"), "here"));
        found.push(Diagnostic::error("nowhere", "has no place"));
        insta::assert_snapshot!(render(&found, &sources, &look()), @r"
        error[nowhere]: has no place

        error[unknown-service]: `web` depends on `databse`, which is not a service
         --> compose.yaml:6:9
          |
        3 |   web:
          |   ---
        ...
        6 |       - databse
          |         ^^^^^^^ no service of this name
          |
         ::: ../base.yaml:2:3
          |
        2 |   db: {}
          |   -- a near one
          |
          = note: services of all files count
          = help: did you mean `db`?

        warning[something]: a whole section␛[31m
         --> compose.yaml:7:3
          |
        7 |   x:
          |   ^^ here
        ");
        assert_eq!(summary(&found).as_deref(), Some("2 errors, 1 warning"));
        assert_eq!(summary(&Diagnostics::default()), None);
    }

    #[test]
    fn a_path_is_shown_from_here_where_that_is_shorter() {
        for (path, shown) in [
            ("/home/me/app/a/b.yaml", "a/b.yaml"),
            ("/home/me/b.yaml", "../b.yaml"),
            ("/etc/b.yaml", "/etc/b.yaml"),
            ("sub/b.yaml", "sub/b.yaml"),
            ("<stdin>", "<stdin>"),
        ] {
            assert_eq!(shown_path(Path::new(path), look().directory), Path::new(shown));
        }
    }

    #[test]
    fn places_at_the_end_and_crowds_are_drawn_too() {
        let mut sources = SourceMap::default();
        let source = sources.add("a", "é\r\nb");
        let mut found = Diagnostics::default();
        for at in 0..200 {
            found.push(Diagnostic::error("e", format!("number {at}")).at(Span { source, start: at, end: at + 1 }, ""));
        }
        assert!(render(&found, &sources, &look()).ends_with("… and 100 more\n\n"));
    }
}
