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
    /// All of it in one.
    whole: String,
}

impl Instruction {
    /// `RUN`.
    fn name(&self) -> String {
        self.whole.split_whitespace().next().unwrap_or_default().to_ascii_uppercase()
    }

    /// What BuildKit counts as a step.
    fn is_step(&self) -> bool {
        matches!(self.name().as_str(), "ADD" | "COPY" | "RUN" | "WORKDIR")
    }

    /// The name of the stage that it begins.
    fn stage(&self) -> Option<&str> {
        let words: Vec<&str> = self.whole.split_whitespace().collect();
        match words[..] {
            [.., keyword, name] if keyword.eq_ignore_ascii_case("as") => Some(name),
            _ => None,
        }
    }
}

/// What stands in a Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dockerfile {
    text: String,
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
        let directives = directives(text);
        let has_syntax = directives.iter().any(|(name, _)| name == "syntax");
        let escape = directives.iter().find_map(|(name, value)| (name == "escape").then(|| value.chars().next()).flatten());
        let escape = escape.unwrap_or('\\');
        let mut found = Self { text: text.to_owned(), has_syntax, ..Self::default() };
        if found.has_syntax {
            found.features.push(Feature { what: "# syntax=".to_owned(), line: 1, is_newer: false, is_soft: false });
        }
        let mut lines = text.lines().enumerate();
        while let Some((index, first)) = lines.next() {
            if first.trim().is_empty() || first.trim_start().starts_with('#') {
                continue;
            }
            let mut instruction = first.trim().to_owned();
            while instruction.ends_with(escape) {
                instruction.pop();
                // Comments and blank lines within an instruction are passed over.
                let next = lines.find(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
                let Some((_, next)) = next else { break };
                instruction.push_str(next.trim_end());
            }
            found.instruction(&instruction, index + 1);
            let heredocs = heredocs(&instruction);
            found.instructions.push(Instruction { line: index + 1, whole: instruction });
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

    /// The line of a step by what a builder calls it; none when several are called so.
    fn line_of(&self, step: &str) -> Option<usize> {
        let mut same = self.instructions.iter().filter(|instruction| is_same(&instruction.whole, step));
        let line = same.next()?.line;
        same.next().is_none().then_some(line)
    }

    /// The line of the instruction that the classic builder announces so: `Step 2/7 : RUN a`. It counts all of them.
    pub(super) fn line_of_announced(&self, announced: &str) -> Option<usize> {
        let (count, step) = announced.strip_prefix("Step ")?.split_once(" : ")?;
        let number: usize = count.split_once('/')?.0.parse().ok()?;
        let counted = number.checked_sub(1).and_then(|index| self.instructions.get(index));
        counted.filter(|instruction| is_same(&instruction.whole, step)).map(|instruction| instruction.line).or(self.line_of(step))
    }

    /// The line of a step by the name that BuildKit gives it: `[build 2/7] RUN a`. It counts what a stage does, and may have filled in
    /// variables.
    pub(super) fn line_of_named(&self, name: &str) -> Option<usize> {
        let (count, step) = name.strip_prefix('[')?.split_once("] ")?;
        self.line_of_counted(count, step).or_else(|| self.line_of(step))
    }

    fn line_of_counted(&self, count: &str, step: &str) -> Option<usize> {
        let (stage, count) = count.trim().rsplit_once(' ').unwrap_or(("", count.trim()));
        // The platform may come first.
        let stage = stage.split_whitespace().next_back().unwrap_or_default();
        let (number, all) = count.split_once('/')?;
        let (number, all): (usize, usize) = (number.parse().ok()?, all.parse().ok()?);
        let begins: Vec<usize> =
            (0..self.instructions.len()).filter(|index| self.instructions[*index].name() == "FROM").collect();
        let is_meant = |nth: usize| match self.instructions[begins[nth]].stage() {
            _ if stage.is_empty() => begins.len() == 1,
            Some(own) => own.eq_ignore_ascii_case(stage),
            None => format!("stage-{nth}") == stage,
        };
        let nth = (0..begins.len()).find(|nth| is_meant(*nth))?;
        let end = begins.get(nth + 1).copied().unwrap_or(self.instructions.len());
        let steps: Vec<&Instruction> = self.instructions[begins[nth]..end].iter().filter(|it| it.is_step()).collect();
        // That a stage begins with an image is counted, with another stage or nothing it is not.
        let before = all.checked_sub(steps.len()).filter(|before| *before <= 1)?;
        let found = steps.get(number.checked_sub(before + 1)?)?;
        let is_kind = step.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case(&found.name()));
        is_kind.then_some(found.line)
    }

    /// The line that a builder complains of which could not read it: `dockerfile parse error on line 2: unknown instruction`.
    pub(super) fn line_of_complaint(message: &str) -> Option<usize> {
        let (_, rest) = message.split_once("parse error ")?;
        let rest = rest.strip_prefix("on ").unwrap_or(rest).strip_prefix("line ")?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
        digits.parse().ok()
    }

    /// A line as people are shown it.
    pub(super) fn shown(&self, file: &str, line: usize) -> Option<String> {
        shown(&self.text, file, line)
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

/// A line of a Dockerfile as people are shown it: where it is, and its text with carets below.
pub(super) fn shown(text: &str, file: &str, line: usize) -> Option<String> {
    /// More of a line than this tells nobody more.
    const WIDTH: usize = 120;
    let whole = text.lines().nth(line.checked_sub(1)?)?.trim_end().replace('\t', " ");
    let step = whole.trim_start();
    let column = whole.len() - step.len();
    let carets = "^".repeat(step.chars().count().clamp(1, WIDTH.saturating_sub(column).max(1)));
    let whole: String = whole.chars().take(WIDTH.max(column + 1)).collect();
    let margin = " ".repeat(line.to_string().len());
    Some(format!(
        "{margin}--> {file}:{line}:{}\n{margin} |\n{line} | {whole}\n{margin} | {}{carets}",
        column + 1,
        " ".repeat(column)
    ))
}

/// Whether two texts have the same words.
fn is_same(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

/// `# name=value` in the first lines, before anything else.
fn directives(text: &str) -> Vec<(String, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map_while(|line| line.trim().strip_prefix('#')?.split_once('='));
    lines.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect()
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
        for (announced, line) in [
            ("Step 2/4 : RUN a &&   b", Some(2)),
            ("Step 4/4 : RUN c", Some(5)),
            // Its count is of another text, and so there are two.
            ("Step 1/4 : RUN c", None),
            ("Step 9/9 : RUN a && b", Some(2)),
            ("Step 4/4 : RUN d", None),
            ("RUN c", None),
        ] {
            assert_eq!(found.line_of_announced(announced), line, "{announced}");
        }
    }

    #[test]
    fn a_step_is_found_by_its_number_though_its_variables_were_filled_in() {
        let text = "ARG V=1\nFROM x AS base\nRUN echo $V\nENV A=b\nRUN echo $A\n\nFROM base\nWORKDIR /$A\nRUN echo $A\nFROM scratch AS Last\nCOPY --from=base /a /\n";
        let found = Dockerfile::parse(text);
        for (name, line) in [
            ("[base 1/3] FROM docker.io/library/x", None),
            ("[base 2/3] RUN echo 1", Some(3)),
            ("[base 3/3] RUN echo b", Some(5)),
            ("[linux/amd64 base 3/3] RUN echo b", Some(5)),
            ("[stage-1 1/2] WORKDIR /b", Some(8)),
            ("[stage-1 2/2] RUN echo b", Some(9)),
            ("[last 1/1] COPY --from=base /a /", Some(11)),
            // Of another stage than these, but called as none other.
            ("[other 7/9] RUN echo $V", Some(3)),
            ("[base 2/3] COPY 1 2", None),
            ("[base 2/9] RUN echo 1", None),
        ] {
            assert_eq!(found.line_of_named(name), line, "{name}");
        }
        let single = Dockerfile::parse("FROM x\nRUN a\nRUN $B\n");
        assert_eq!((single.line_of_named("[2/3] RUN a"), single.line_of_named("[ 3/3] RUN b")), (Some(2), Some(3)));
    }

    #[test]
    fn a_line_is_shown_with_its_place_and_carets() {
        let found = Dockerfile::parse("# escape=`\nFROM x\n  RUN a `\n b\n");
        assert_eq!(found.shown("web/Dockerfile", 3).unwrap(), " --> web/Dockerfile:3:3\n  |\n3 |   RUN a `\n  |   ^^^^^^^");
        assert_eq!(found.line_of_announced("Step 2/2 : RUN a b"), Some(3));
        assert_eq!(found.shown("Dockerfile", 9), None);
        for (message, line) in [
            ("dockerfile parse error line 2: unknown instruction: FOO", Some(2)),
            ("dockerfile parse error on line 12: unknown instruction: FOO", Some(12)),
            ("Dockerfile parse error line 3", Some(3)),
            ("no such image", None),
        ] {
            assert_eq!(Dockerfile::line_of_complaint(message), line, "{message}");
        }
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
