//! `.dockerignore`: which files of a directory do not belong to a build context.
//!
//! The rules are the builder's own (moby/patternmatcher): patterns are cleaned paths relative to the root, `*` and `?` stay
//! within one name, `**` crosses any number of directories, what lies below a match is matched too, `!` takes files back, and
//! the last pattern that matches decides. They are neither those of `.gitignore` nor those of a common glob, so the patterns
//! are translated to regular expressions here.

use std::path::Path;

use regex::Regex;

/// The rules of one file.
#[derive(Debug, Default)]
pub struct DockerIgnore {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    /// Cleaned, without the `!`.
    text: String,
    regex: Regex,
    /// Written with `!`.
    takes_back: bool,
}

/// A line that is no pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{text}` is not a pattern")]
pub struct BadPattern {
    line: usize,
    text: String,
}

impl DockerIgnore {
    /// Reads the rules.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let written = line.trim();
            if line.starts_with('#') || written.is_empty() {
                continue;
            }
            let bad = || BadPattern { line: index + 1, text: written.to_owned() };
            let (takes_back, pattern) = written.strip_prefix('!').map_or((false, written), |rest| (true, rest.trim()));
            if pattern.is_empty() {
                return Err(bad());
            }
            let text = clean(pattern);
            let regex = translate(&text).and_then(|regex| Regex::new(&regex).ok()).ok_or_else(bad)?;
            patterns.push(Pattern { text, regex, takes_back });
        }
        Ok(Self { patterns })
    }

    /// Whether a path, relative to the root, is left out.
    pub fn excludes(&self, path: &Path) -> bool {
        let names: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        let prefixes: Vec<String> = (1..=names.len()).map(|length| names[..length].join("/")).collect();
        let mut excluded = false;
        for pattern in &self.patterns {
            // A pattern of the sort that is in force already changes nothing.
            if excluded == pattern.takes_back && prefixes.iter().rev().any(|prefix| pattern.regex.is_match(prefix)) {
                excluded = !pattern.takes_back;
            }
        }
        excluded
    }

    /// Whether something below a directory that is left out might be taken back, so that it has to be looked into.
    pub fn may_take_back_below(&self, directory: &Path) -> bool {
        let directory = format!("{}/", directory.to_string_lossy());
        self.patterns.iter().filter(|pattern| pattern.takes_back).any(|pattern| {
            let literal = &pattern.text[..pattern.text.find(['*', '?', '[', '\\']).unwrap_or(pattern.text.len())];
            // The literal part either leads into the directory or ends, in a wildcard, above it.
            literal.starts_with(&directory) || (literal.len() < pattern.text.len() && directory.starts_with(literal))
        })
    }
}

/// Go's `filepath.Clean`, without a leading slash.
fn clean(pattern: &str) -> String {
    let rooted = pattern.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            other => parts.push(other),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// `None` when the pattern ends within a `[`.
fn translate(pattern: &str) -> Option<String> {
    let mut regex = String::from("(?s)^");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                regex.push_str(if chars.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '\\' => match chars.next() {
                Some(escaped) => regex.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4]))),
                None => return None,
            },
            '[' => {
                regex.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    regex.push('^');
                }
                loop {
                    match chars.next()? {
                        ']' => break,
                        '-' => regex.push('-'),
                        '\\' => regex.push_str(&regex::escape(chars.next()?.encode_utf8(&mut [0; 4]))),
                        other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
                    }
                }
                regex.push(']');
            }
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    Some(regex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rules: &str, excluded: &[&str], kept: &[&str]) {
        let ignore = DockerIgnore::parse(rules).unwrap();
        for path in excluded {
            assert!(ignore.excludes(Path::new(path)), "{rules:?} leaves out {path}");
        }
        for path in kept {
            assert!(!ignore.excludes(Path::new(path)), "{rules:?} keeps {path}");
        }
    }

    #[test]
    fn a_pattern_is_a_path_from_the_root_and_all_below_it() {
        check("target", &["target", "target/debug/x"], &["sub/target", "targets"]);
        check("/a/./b/../c//", &["a/c", "a/c/d"], &["a/b", "c"]);
        check("a.c", &["a.c"], &["abc"]);
        check("a+(b)", &["a+(b)"], &["aab"]);
    }

    #[test]
    fn wildcards_stay_within_a_name_but_for_two_stars() {
        check("*.pyc", &["x.pyc"], &["sub/x.pyc"]);
        check("*/temp*", &["a/temp", "a/temporary/x"], &["temp", "a/b/temp"]);
        check("**/*.pyc", &["x.pyc", "a/x.pyc", "a/b/x.pyc"], &["x.py"]);
        check("a/**", &["a/b", "a/b/c"], &["a", "b/a/c"]);
        check("**", &["a", "a/b"], &[]);
        check("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["a/bz"]);
        check("te?t", &["test"], &["tet", "te/t"]);
        check("[a-c]x", &["bx"], &["dx"]);
        check("[^a-c]x", &["dx"], &["bx"]);
        check("\\*", &["*"], &["a"]);
    }

    #[test]
    fn the_last_match_decides() {
        check("*.md\n!README.md", &["a.md"], &["README.md"]);
        check("*.md\n!README*.md\nREADME-secret.md", &["README-secret.md"], &["README.md"]);
        check("docs\n!docs/keep", &["docs/a"], &["docs/keep", "docs/keep/x"]);
        check("!docs\ndocs", &["docs"], &[]);
    }

    #[test]
    fn comments_blanks_and_the_mark_of_utf8_say_nothing() {
        check("\u{feff}# note\n\n  a  \n #b", &["a", "#b"], &["# note", "note"]);
        for text in ["!", "a\n[", "\\"] {
            assert!(DockerIgnore::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_directory_is_looked_into_only_if_something_could_be_taken_back() {
        let may = |rules: &str, directory: &str| DockerIgnore::parse(rules).unwrap().may_take_back_below(Path::new(directory));
        assert!(!may("node_modules", "node_modules"));
        assert!(may("*\n!a/b/c", "a"));
        assert!(may("*\n!a/b/c", "a/b"));
        assert!(!may("*\n!a/b/c", "b"));
        assert!(may("*\n!**/*.go", "b"));
        assert!(may("*\n!src/*.go", "src"));
        assert!(!may("*\n!src/*.go", "lib"));
    }
}
