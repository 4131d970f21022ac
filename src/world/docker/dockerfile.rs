//! What a Dockerfile needs of its builder. It is not understood any further: that is the builder's work.

use std::collections::HashSet;

use crate::model::build::Build;
use crate::plan::action::Fault;

use super::builder;

/// Something in a Dockerfile that the classic builder does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Feature {
    /// As it is written: `RUN --mount`.
    pub(super) what: String,
    /// Its line, from 1.
    pub(super) line: usize,
    /// Only frontends from 1.4 on know it, which engines have from 23 on.
    pub(super) is_newer: bool,
    /// Without BuildKit it is empty, which may be meant: no reason to refuse a build.
    pub(super) is_soft: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Instruction {
    /// Where it begins, from 1.
    line: usize,
    /// Its first line.
    first: String,
    /// All of it in one.
    whole: String,
}

/// What stands in a Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dockerfile {
    instructions: Vec<Instruction>,
    /// What BuildKit is needed for.
    pub(super) features: Vec<Feature>,
    /// It names its own frontend (`# syntax=`), which is fetched from a registry.
    pub(super) has_syntax: bool,
}

/// Variables that only BuildKit sets.
const PLATFORM: [&str; 8] =
    ["TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT", "BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT"];

/// The flags that the classic builder knows.
fn is_classic(instruction: &str, flag: &str) -> bool {
    match instruction {
        "FROM" => flag == "--platform",
        "COPY" => matches!(flag, "--from" | "--chown"),
        "ADD" => flag == "--chown",
        "HEALTHCHECK" => true,
        _ => false,
    }
}

impl Dockerfile {
    /// The one of a build; none where it is not on this host.
    pub(super) fn of(build: &Build) -> Result<Option<Self>, Fault> {
        if let Some(text) = &build.dockerfile_inline {
            return Ok(Some(Self::parse(text)));
        }
        if builder::is_remote(&build.context) {
            return Ok(None);
        }
        let path = std::path::Path::new(&build.context).join(build.dockerfile.as_deref().unwrap_or("Dockerfile"));
        match std::fs::read(&path) {
            Ok(text) => Ok(Some(Self::parse(&String::from_utf8_lossy(&text)))),
            Err(error) => Err(Fault::permanent(format!("read `{}`: {error}", path.display()))),
        }
    }

    /// Looks through the text.
    pub(super) fn parse(text: &str) -> Self {
        let mut found = Self { has_syntax: has_syntax(text), ..Self::default() };
        if found.has_syntax {
            found.features.push(Feature { what: "# syntax=".to_owned(), line: 1, is_newer: false, is_soft: false });
        }
        let mut lines = text.lines().enumerate();
        while let Some((index, first)) = lines.next() {
            if first.trim().is_empty() || first.trim_start().starts_with('#') {
                continue;
            }
            let mut instruction = first.trim().to_owned();
            while instruction.ends_with('\\') {
                instruction.pop();
                // Comments and blank lines within an instruction are passed over.
                let next = lines.find(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
                let Some((_, next)) = next else { break };
                instruction.push_str(next.trim_end());
            }
            found.instruction(&instruction, index + 1);
            let heredocs = heredocs(&instruction);
            found.instructions.push(Instruction { line: index + 1, first: first.trim().to_owned(), whole: instruction });
            for end in heredocs {
                // One that never ends is none, and what follows are instructions.
                let mut ahead = lines.clone();
                if ahead.any(|(_, line)| line.trim_start_matches('\t') == end) {
                    let what = format!("<<{end}");
                    found.features.push(Feature { what, line: index + 1, is_newer: true, is_soft: false });
                    lines = ahead;
                }
            }
        }
        found.leave_out_defaulted();
        found
    }

    /// A variable of the platform that has a default (`ARG TARGETARCH=amd64`) needs nobody to set it.
    fn leave_out_defaulted(&mut self) {
        let arguments = self.instructions.iter().map(|instruction| instruction.whole.as_str());
        let arguments =
            arguments.filter(|text| text.split_whitespace().next().is_some_and(|name| name.eq_ignore_ascii_case("ARG")));
        let defaulted: HashSet<&str> =
            arguments.flat_map(str::split_whitespace).filter_map(|word| Some(word.split_once('=')?.0)).collect();
        self.features.retain(|feature| !feature.is_soft || !defaulted.contains(feature.what.as_str()));
    }

    /// The line of a step by what a builder calls it, and what stands there; none when several are called so.
    pub(super) fn line_of(&self, step: &str) -> Option<(usize, &str)> {
        let is_same = |text: &str| text.split_whitespace().eq(step.split_whitespace());
        let mut same = self.instructions.iter().filter(|instruction| is_same(&instruction.whole));
        let Instruction { line, first, .. } = same.next()?;
        same.next().is_none().then_some((*line, first.as_str()))
    }

    fn instruction(&mut self, text: &str, line: usize) {
        let mut words = text.split_whitespace().peekable();
        let mut name = words.next().unwrap_or_default().to_ascii_uppercase();
        if name == "ONBUILD" {
            name = words.next().unwrap_or_default().to_ascii_uppercase();
        }
        while let Some(word) = words.next_if(|word| word.starts_with("--")) {
            let flag = word.split('=').next().unwrap_or(word);
            if !is_classic(&name, flag) {
                self.features.push(Feature { what: format!("{name} {flag}"), line, is_newer: flag == "--link", is_soft: false });
            }
        }
        if name == "ADD" && words.next().is_some_and(is_git) {
            self.features.push(Feature { what: "ADD of a repository".to_owned(), line, is_newer: true, is_soft: false });
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for variable in PLATFORM.into_iter().filter(|name| text.split(|c| !is_part(c)).any(|word| word == *name)) {
            self.features.push(Feature { what: variable.to_owned(), line, is_newer: false, is_soft: true });
        }
    }
}

/// `# syntax=…` in one of the first lines, before anything but other directives.
fn has_syntax(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let directives = text.lines().map_while(|line| line.trim().strip_prefix('#')?.split_once('='));
    directives.map(|(name, _)| name.trim().to_ascii_lowercase()).any(|name| name == "syntax")
}

fn is_git(source: &str) -> bool {
    source.starts_with("git@")
        || source.starts_with("git://")
        || source.split(['#', '?']).next().is_some_and(|url| url.contains("://") && url.ends_with(".git"))
}

/// The words that end the texts which begin behind an instruction (`<<EOF`, `<<-"EOF"`, `3<<EOF`).
fn heredocs(instruction: &str) -> Vec<String> {
    let name = instruction.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if !matches!(name.as_str(), "RUN" | "COPY" | "ADD") {
        return Vec::new();
    }
    let words = words(instruction).into_iter().filter_map(|word| {
        let (descriptor, rest) = word.split_once("<<")?;
        let end = rest.strip_prefix('-').unwrap_or(rest);
        let bare = end.trim_matches(['"', '\'']);
        let is_word = bare.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && bare.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        (descriptor.chars().all(|c| c.is_ascii_digit()) && is_word).then(|| bare.to_owned())
    });
    words.collect()
}

/// The words of a shell, with their quotes.
fn words(text: &str) -> Vec<&str> {
    let (mut quote, mut is_escaped) = (None, false);
    let is_between = move |c: char| {
        match (quote, c) {
            _ if is_escaped => is_escaped = false,
            (None | Some('"'), '\\') => is_escaped = true,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, _) => return c.is_whitespace(),
            (Some(_), _) => {}
        }
        false
    };
    text.split(is_between).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, usize)]) {
        let found = Dockerfile::parse(text);
        let features: Vec<_> = found.features.iter().map(|feature| (feature.what.as_str(), feature.line)).collect();
        assert_eq!(features, expected, "{text}");
    }

    #[test]
    fn what_the_classic_builder_knows_needs_no_other() {
        check("FROM --platform=linux/amd64 x AS a\nCOPY --from=a --chown=1:1 / /\nADD --chown=1 http://x/y.tar /\n", &[]);
        check("FROM x\n# RUN --mount=type=cache\nRUN echo --mount \\\n  --network\nHEALTHCHECK --interval=1s CMD x\n", &[]);
        check("FROM x\nRUN cat <<< text && echo $((1<<2)) && a <<1\nENV A=<<EOF\nRUN [\"a\", \"<<EOF\"]\n", &[]);
        check("FROM x\nRUN echo \"a <<EOF b\" 'c <<EOF' d\\ \\\" \nEOF\n", &[]);
        check("FROM x\nARG TARGETARCH=amd64\nRUN x $TARGETARCH\n", &[]);
        check("", &[]);
    }

    #[test]
    fn flags_variables_and_texts_of_newer_builders_are_found_with_their_lines() {
        check(
            "FROM x\n\nRUN --mount=type=cache,target=/c \\\n # note\n\n --network=none x\n",
            &[("RUN --mount", 3), ("RUN --network", 3)],
        );
        check(
            "FROM x\ncopy --chmod=755 --link a b\nONBUILD RUN --security=insecure x\n",
            &[("COPY --chmod", 2), ("COPY --link", 2), ("RUN --security", 3)],
        );
        check(
            "FROM --platform=$BUILDPLATFORM x\nARG TARGETARCH\nRUN MY_TARGETOS=1\n",
            &[("BUILDPLATFORM", 1), ("TARGETARCH", 2)],
        );
        check(
            "FROM x\nRUN <<EOF\nRUN --mount\nEOF\nCOPY <<-'A' <<B /d/\n\tx\n\tA\ny\nB\nADD --checksum=x https://x/y /\n",
            &[("<<EOF", 2), ("<<A", 5), ("<<B", 5), ("ADD --checksum", 10)],
        );
        check("FROM x\nRUN cat <<EOF\nRUN --mount=type=cache,target=/c x\n", &[("RUN --mount", 3)]);
        check("FROM x\nARG A TARGETOS=linux\nRUN $TARGETOS $TARGETARCH\n", &[("TARGETARCH", 3)]);
        check("FROM x\nADD https://github.com/a/b.git#v1 /\n", &[("ADD of a repository", 2)]);
    }

    #[test]
    fn a_step_is_found_by_what_it_is_called() {
        let found = Dockerfile::parse("FROM x\nRUN a  && \\\n  b\nRUN c\nRUN c\n");
        assert_eq!(found.line_of("RUN a &&   b"), Some((2, "RUN a  && \\")));
        assert_eq!((found.line_of("RUN c"), found.line_of("RUN d")), (None, None));
    }

    #[test]
    fn a_frontend_is_named_before_anything_else() {
        for (text, has_syntax) in [
            ("# syntax=docker/dockerfile:1\nFROM x\n", true),
            ("#escape=`\n# Syntax = x\nFROM x\n", true),
            ("FROM x\n# syntax=docker/dockerfile:1\n", false),
            ("# a note\n# syntax=docker/dockerfile:1\n", false),
            ("\n# syntax=docker/dockerfile:1\n", false),
        ] {
            assert_eq!(Dockerfile::parse(text).has_syntax, has_syntax, "{text}");
        }
    }
}
