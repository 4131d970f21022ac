//! The architecture as a test: what `src/ARCHITECTURE.md` says of floors, purity, crates and names.
//!
//! Reads the source as text, without comments, strings and test code; knows only as much Rust as rustfmt leaves
//! standing. Each finding names the file, the line, the rule and why there is such a rule.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. A floor may use itself and what lies below.
const FLOORS: [&str; 11] = ["base", "yaml", "model", "load", "plan", "supervisor", "world", "control", "host", "view", "cli"];

/// The floors that compute and do nothing else.
const PURE: [&str; 6] = ["base", "yaml", "model", "load", "plan", "supervisor"];

/// What would let a pure floor fail, or differ, for reasons outside its arguments.
const IMPURE: [&str; 11] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "std::time::Instant::now",
    "Instant::now",
    "std::time::SystemTime",
    "tokio",
    "nix",
    "bollard",
];

/// Where each crate that shapes the design may be used: a folder, or a file without `.rs`.
const CRATES: &[(&str, &[&str])] = &[
    ("annotate_snippets", &["view/diagnostics"]),
    ("bollard", &["world/docker"]),
    ("caps", &["world/kernel"]),
    ("clap_complete", &["cli/completions"]),
    ("console", &["view"]),
    ("cronexpr", &["model/schedule", "world/schedule"]),
    ("crossbeam_channel", &["world", "control/attach", "control/server", "host", "cli/follow", "cli/logs"]),
    ("ctrlc", &["cli/interrupt"]),
    ("foldhash", &["yaml/node"]),
    ("gotmpl", &["view/format"]),
    ("globset", &["model/pattern", "world/inputs"]),
    ("hyper", &["world/docker", "world/probe"]),
    ("hyper_util", &["world/docker", "world/probe"]),
    ("ignore", &["model/pattern", "world/watch"]),
    ("indicatif", &["view"]),
    ("libc", &["world/kernel", "world/native", "host/spawn"]),
    (
        "nix",
        &[
            "world/kernel",
            "world/native",
            "world/envdir",
            "world/facts",
            "world/logs",
            "world/owner",
            "world/proxy",
            "host/spawn",
            "view/term",
        ],
    ),
    ("notify", &["world/watch", "world/logs"]),
    ("prost", &["world/docker/buildkit"]),
    ("procfs", &["world/kernel"]),
    ("saphyr_parser", &["yaml"]),
    ("serde", &["base", "yaml", "model", "load", "plan", "supervisor", "world", "control", "view", "cli"]),
    ("serde_path_to_error", &["yaml/typed"]),
    ("serde_yaml", &["yaml/typed", "yaml/emit"]),
    ("signal_hook", &["world/signals"]),
    ("tar", &["world/docker"]),
    ("tokio_rustls", &["world/probe", "world/docker/dial"]),
    ("tokio", &["world/docker", "world/kernel", "world/probe", "world/proxy", "control/server", "host"]),
    ("tower_service", &["world/docker"]),
    ("tracing_subscriber", &["cli/supervise"]),
];

#[test]
fn a_floor_uses_only_itself_and_those_below() {
    check(|file| {
        let Some(own) = file.floor() else { return Vec::new() };
        let used = file.paths.iter().filter_map(|path| Some((path.line, file.floor_used(path)?)));
        let above = used.filter(|(_, used)| *used > own);
        above
            .map(|(line, used)| {
                let (own, name) = (FLOORS[own], FLOORS[used]);
                (
                    line,
                    format!("{own} may not import {name} (floor {used}): what lies below must be readable, and testable, alone"),
                )
            })
            .collect()
    });
}

#[test]
fn pure_floors_touch_neither_the_system_nor_a_clock() {
    check(|file| {
        if !file.floor().is_some_and(|floor| PURE.contains(&FLOORS[floor])) {
            return Vec::new();
        }
        let banned = |path: &&PathUse| IMPURE.iter().any(|banned| path.is_below(banned));
        let why = "is banned in a pure floor: it could fail for reasons outside its arguments; let the caller pass the value in";
        file.paths.iter().filter(banned).map(|path| (path.line, format!("`{}` {why}", path.text()))).collect()
    });
}

#[test]
fn each_crate_stays_in_its_folders() {
    check(|file| {
        let rules = || CRATES.iter().filter(|(_, places)| !places.iter().any(|place| file.is_in(place)));
        let strays = file.paths.iter().flat_map(|path| {
            rules().filter(|(name, _)| path.segments[0] == *name).map(|(name, places)| {
                (path.line, format!("`{name}` lives in {}: whoever replaces it must know where to look", places.join(", ")))
            })
        });
        strays.collect()
    });
}

#[test]
fn no_row_of_the_table_of_crates_is_stale() {
    let files = sources();
    let unused = |(name, place): &(&str, &str)| {
        !files.iter().any(|file| file.is_in(place) && file.paths.iter().any(|path| path.segments[0] == *name))
    };
    let rows = CRATES.iter().flat_map(|(name, places)| places.iter().map(move |place| (*name, *place)));
    let stale: Vec<_> = rows.filter(unused).collect();
    assert!(stale.is_empty(), "tests/tidy.rs allows what nobody does: {stale:?}");
}

#[test]
fn only_one_room_names_a_kernel() {
    check(|file| {
        if file.is_in("world/kernel") {
            return Vec::new();
        }
        let why =
            "names a kernel: what they do in different ways is in world/kernel, so that whoever adds one knows where to look";
        let naming = file.code.lines().enumerate().filter(|(_, line)| has_word(line, "target_os"));
        naming.map(|(number, _)| (number + 1, why.to_owned())).collect()
    });
}

#[test]
fn only_the_view_prints_and_only_main_exits() {
    check(|file| {
        if file.is_in("main") {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (number, line) in file.code.lines().enumerate() {
            let prints = ["println!", "print!", "eprintln!", "eprint!", "dbg!"].iter().any(|name| has_word(line, name));
            if prints && !file.is_in("view") {
                found
                    .push((number + 1, "prints: text for people is made in view, which knows colour, width and --format".into()));
            }
        }
        for path in &file.paths {
            if path.is_below("std::process::exit") || path.is_below("process::exit") {
                found.push((path.line, "exits: return the code, so that what is held is given back".into()));
            }
        }
        found
    });
}

#[test]
fn no_file_is_named_for_what_it_is_not() {
    check(|file| {
        let stem = file.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let vague = ["utils", "util", "helpers", "common", "misc", "imp", "manager"].contains(&stem);
        let why = format!("`{stem}` says nothing: name a file for its main type, or for what it does");
        if vague { vec![(1, why)] } else { Vec::new() }
    });
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let missing = |path: &PathBuf| !fs::read_to_string(path).unwrap().starts_with("//!");
    let silent: Vec<_> =
        rust_files(&root().join("src")).into_iter().chain(rust_files(&root().join("tests"))).filter(missing).collect();
    assert!(silent.is_empty(), "no `//!` at the top, which says what a file does and what it leaves to others: {silent:#?}");
}

#[test]
fn every_unsafe_says_why_it_is_sound() {
    let mut findings = Vec::new();
    for path in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let code = without_comments_and_strings(&text);
        let lines: Vec<_> = text.lines().collect();
        for (number, _) in code.lines().enumerate().filter(|(_, line)| has_word(line, "unsafe")) {
            // The reason stands in the same paragraph; `unsafe fn` inside `unsafe extern` or a doc section counts too.
            let paragraph = lines[..=number].iter().rev().take_while(|line| !line.trim().is_empty()).take(40);
            if !paragraph.into_iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety")) {
                findings.push(format!("{}:{}: `unsafe` without `// SAFETY:`", shown(&path), number + 1));
            }
        }
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// Fails with all that `rule` finds in the sources: line numbers and what is wrong there.
fn check(rule: impl Fn(&Source) -> Vec<(usize, String)>) {
    let files = sources();
    assert!(files.len() > 100, "found only {} files", files.len());
    let findings: Vec<_> = files
        .iter()
        .flat_map(|file| rule(file).into_iter().map(|(line, what)| format!("{}:{line}: {what}", shown(&file.path))))
        .collect();
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// One file of the product, without its test code.
struct Source {
    path: PathBuf,
    code: String,
    paths: Vec<PathUse>,
}

/// A path like `crate::world::disk`, wherever it stands; groups in `use` are taken apart.
#[derive(Debug, PartialEq)]
struct PathUse {
    line: usize,
    segments: Vec<String>,
}

impl PathUse {
    fn text(&self) -> String {
        self.segments.join("::")
    }

    fn is_below(&self, path: &str) -> bool {
        let wanted: Vec<_> = path.split("::").collect();
        self.segments.len() >= wanted.len() && self.segments.iter().zip(wanted).all(|(have, want)| have == want)
    }
}

impl Source {
    fn below_src(&self) -> &Path {
        self.path.strip_prefix(root().join("src")).unwrap()
    }

    /// The modules of this file, from the crate's root.
    fn modules(&self) -> Vec<String> {
        let path = self.below_src().with_extension("");
        let names = path.components().map(|name| name.as_os_str().to_str().unwrap().to_owned());
        names.filter(|name| !["mod", "lib", "main"].contains(&name.as_str())).collect()
    }

    fn floor(&self) -> Option<usize> {
        floor(self.modules().first()?)
    }

    fn is_in(&self, place: &str) -> bool {
        self.below_src().with_extension("").starts_with(place)
    }

    fn floor_used(&self, path: &PathUse) -> Option<usize> {
        let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
        let from_root = path.segments[0] == "crate" || (supers > 0 && supers >= self.modules().len());
        if from_root { floor(path.segments.get(supers.max(1))?) } else { None }
    }
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == name)
}

/// The files of the product; what `#[cfg(test)] mod name;` declares is left out.
fn sources() -> Vec<Source> {
    let mut tests = BTreeSet::new();
    let mut texts = BTreeMap::new();
    for path in rust_files(&root().join("src")) {
        let (code, declared) = without_tests(&without_comments_and_strings(&fs::read_to_string(&path).unwrap()));
        let stem = path.file_stem().unwrap();
        let folder = if ["mod", "lib", "main"].iter().any(|name| stem == *name) {
            path.parent().unwrap().to_owned()
        } else {
            path.with_extension("")
        };
        tests.extend(declared.iter().map(|name| folder.join(name)));
        // `#[path]` names a sibling.
        tests.extend(declared.iter().map(|name| path.with_file_name(name)));
        texts.insert(path, code);
    }
    let is_test = |path: &Path| tests.iter().any(|test| path.with_extension("").starts_with(test));
    let product = texts.into_iter().filter(|(path, _)| !is_test(path));
    product.map(|(path, code)| Source { paths: paths(&code), path, code }).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let boundary = |c: char| !c.is_alphanumeric() && c != '_';
        line[..start].chars().next_back().is_none_or(boundary)
            && (word.ends_with('!') || line[start + word.len()..].chars().next().is_none_or(boundary))
    })
}

/// The text with comments, strings and character literals made blank; lines stay where they are.
fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = out.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest).filter(|_| !after_word) {
            length
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_character(rest) {
            quoted(rest, '\'')
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let (blank, next) = rest.split_at(length);
        out.extend(blank.chars().filter(|c| *c == '\n'));
        out.push(' ');
        rest = next;
    }
    out
}

/// The length of a raw string that begins here.
fn raw_string(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = inner.chars().take_while(|c| *c == '#').count();
    let body = inner[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(text.len() - body.len() + body.find(&close)? + close.len())
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character literal and not a lifetime.
fn is_character(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    chars.next() == Some('\\') || chars.next() == Some('\'')
}

/// The code without what stands under `#[cfg(test)]`, and the names of the modules declared there.
///
/// rustfmt ends an item with a brace at the column where its attribute began.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let (mut kept, mut declared) = (String::new(), Vec::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        kept.push('\n');
        let close = line.replace("#[cfg(test)]", "}");
        for line in lines.by_ref() {
            kept.push('\n');
            let item = line.trim();
            if let Some(name) = item.strip_suffix(';').and_then(|item| item.split("mod ").nth(1)) {
                declared.push(name.to_owned());
            }
            if line.starts_with(&close) || item.ends_with(';') && line.len() - line.trim_start().len() == close.len() - 1 {
                break;
            }
        }
    }
    (kept, declared)
}

/// All paths in the code, those of `use` groups in full.
fn paths(code: &str) -> Vec<PathUse> {
    let mut found = Vec::new();
    // What stands before the groups that are open: `use a::{b, c::{d}}` is a stack of `a`, then `a::c`.
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut in_use = false;
    for (number, line) in code.lines().enumerate() {
        for token in tokens(line) {
            match token {
                "use" => in_use = true,
                ";" => (in_use, groups) = (false, Vec::new()),
                "}" => drop(groups.pop()),
                _ if token.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                    let opens = in_use && token.ends_with("::");
                    let own = token.trim_end_matches("::").split("::").map(str::to_owned);
                    let segments: Vec<_> = groups.last().cloned().unwrap_or_default().into_iter().chain(own).collect();
                    if opens {
                        groups.push(segments.clone());
                    }
                    if segments.len() > 1 {
                        found.push(PathUse { line: number + 1, segments });
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// Paths as they are written (one that opens a group ends with `::`), `;` and `}`.
fn tokens(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_word(first) {
            let mut end = 0;
            loop {
                end += rest[end..].find(|c| !is_word(c)).unwrap_or(rest.len() - end);
                if !rest[end..].starts_with("::") {
                    break end;
                }
                end += 2;
            }
        } else {
            first.len_utf8()
        };
        let token = &rest[..length];
        if is_word(first) || [";", "}"].contains(&token) {
            found.push(token);
        }
        rest = &rest[length..];
    }
    found
}

#[test]
fn the_reader_of_rust_sees_what_it_must() {
    let code = without_comments_and_strings(
        "use std::{fs, env::{self, var}}; // std::net\nlet a = \"std::thread\"; let b: &'a str = r#\"tokio::x\"#; crate::cli::x('\\'');",
    );
    let texts: Vec<_> = paths(&code).iter().map(PathUse::text).collect();
    assert_eq!(texts, ["std", "std::fs", "std::env", "std::env::self", "std::env::var", "crate::cli::x"][1..]);

    let (code, declared) = without_tests("a\n#[cfg(test)]\nmod tests {\n    b;\n}\nc\n    #[cfg(test)]\n    pub mod sim;\nd\n");
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "c", "d"]);
    assert_eq!(declared, ["sim"]);
}

/// `explain` knows every code that a message may have.
#[test]
fn every_code_is_explained() {
    let mut missing = Vec::new();
    for path in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for call in ["Diagnostic::error(", "Diagnostic::warning("] {
            for (at, _) in code.match_indices(call) {
                let name = code[at + call.len()..].trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                if let Some(name) = name.filter(|name| baistack::load::codes::Code::of(name).is_none()) {
                    missing.push(format!("{}: `{name}` has no entry in src/load/codes.rs", shown(&path)));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
