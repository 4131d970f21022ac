//! What of a stack is published: its files as they are written, with the names under which the files beside them are published; and what
//! whoever publishes them should know before.
//!
//! Nothing is filled in or merged: who fetches the stack has variables of his own.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt::Write as _;
use std::path::{Path as FilePath, PathBuf};

use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use super::files::Files;
use super::find::absolute;
use super::interpolate::Interpolator;
use super::variables::{Origin, Variables};
use super::{remote, schema, sensitive};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::{SourceMap, Span};
use crate::yaml::node::{Mapping, Node};
use crate::yaml::parse;
use crate::yaml::path::Pattern;

/// What is ours below the top, which Compose would refuse.
const OURS: [Pattern; 7] = [
    Pattern::new("services.*.healthcheck.http"),
    Pattern::new("services.*.healthcheck.tcp"),
    Pattern::new("services.*.healthcheck.log"),
    Pattern::new("services.*.healthcheck.file"),
    Pattern::new("services.*.healthcheck.grpc"),
    Pattern::new("services.*.develop.watch[].ignore_defaults"),
    Pattern::new("configs.*.template"),
];

/// What is published.
#[derive(Debug, Default)]
pub struct Publication {
    /// The stack's files in their order, then those whose services are extended.
    pub files: Vec<PublishedFile>,
    /// Files of variables, and the names that the published files have for them.
    pub env_files: IndexMap<PathBuf, String>,
    /// Services with files of variables.
    pub with_env_files: BTreeSet<String>,
    /// Variables with values that by their names are secrets, by service.
    pub secrets: BTreeMap<String, BTreeSet<String>>,
    /// Configs whose content stands in the file.
    pub contents: BTreeSet<String>,
    /// What cannot be published, and what nobody else would understand.
    pub diagnostics: Diagnostics,
    /// The texts that the places are in.
    pub sources: SourceMap,
}

/// A file that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedFile {
    /// Where it is on this host.
    pub path: PathBuf,
    /// What it is published as.
    pub name: String,
    /// What it holds then.
    pub text: String,
    /// It is no layer of the stack; services of it are extended.
    pub is_extended: bool,
}

/// Looks at a stack that loads: its files, its directory, and the variables that names of files may be written with.
pub fn publication(
    files: &[PathBuf],
    directory: &FilePath,
    variables: &IndexMap<String, String>,
    reader: &dyn Files,
) -> Publication {
    let mut known = Variables::default();
    for (name, value) in variables {
        known.give(name, value, Origin::Environment);
    }
    let mut looking =
        Looking { variables: known, reader, found: Publication::default(), waiting: VecDeque::new(), seen: HashSet::new() };
    for path in files {
        let name = path.file_name().filter(|name| *name != "-").map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| "compose.yaml".to_owned());
        looking.file(path, name, directory, false);
    }
    while let Some((path, name)) = looking.waiting.pop_front() {
        let directory = path.parent().map_or_else(|| directory.to_owned(), FilePath::to_owned);
        looking.file(&path, name, &directory, true);
    }
    looking.found
}

struct Looking<'a> {
    variables: Variables,
    reader: &'a dyn Files,
    found: Publication,
    /// Files whose services are extended.
    waiting: VecDeque<(PathBuf, String)>,
    seen: HashSet<PathBuf>,
}

impl Looking<'_> {
    fn file(&mut self, path: &FilePath, name: String, directory: &FilePath, is_extended: bool) {
        let read = self.reader.read(path).map_err(|error| error.to_string());
        let read = read.and_then(|bytes| parse::decode(&bytes).map_err(|error| error.to_string()));
        let text = match read {
            Ok(text) => text,
            Err(why) => {
                let fault = Diagnostic::error("no-file", format!("`{}` cannot be read: {why}", path.display()));
                return self.found.diagnostics.push(fault);
            }
        };
        let source = self.found.sources.add(path, text.as_str());
        // It has been loaded, and what is wrong with it told.
        let trees = parse::parse(source, &text, &mut Diagnostics::default()).unwrap_or_default();
        let mut edits: BTreeMap<Span, String> = BTreeMap::new();
        for tree in &trees {
            let mut filled = tree.clone();
            Interpolator::default().tree(&mut filled, &self.variables, &mut Diagnostics::default());
            self.what_nobody_else_knows(tree);
            self.includes(&filled);
            for section in ["services", "jobs"] {
                for (service, entry) in entries(&filled, section) {
                    self.env_files(service, &entry.node, directory, &mut edits);
                    self.extended(&entry.node, directory, &mut edits);
                }
                for (service, entry) in entries(tree, section) {
                    self.secrets(service, &entry.node);
                }
            }
            for (config, entry) in entries(tree, "configs") {
                if entry.node.get("content").and_then(Node::as_text).is_some_and(sensitive::is_literal) {
                    self.found.contents.insert(config.to_owned());
                }
            }
        }
        let mut published = text;
        for (span, name) in edits.into_iter().rev() {
            published.replace_range(span.start as usize..span.end as usize, &name);
        }
        self.found.files.push(PublishedFile { path: path.to_owned(), name, text: published, is_extended });
    }

    fn env_files(&mut self, service: &str, node: &Node, directory: &FilePath, edits: &mut BTreeMap<Span, String>) {
        let Some(files) = node.get("env_file") else { return };
        for file in files.as_sequence().unwrap_or(std::slice::from_ref(files)) {
            let named = if file.as_mapping().is_some() { file.get("path") } else { Some(file) };
            let Some((named, text)) = named.and_then(|named| Some((named, named.as_text()?))) else { continue };
            let path = absolute(directory, FilePath::new(text));
            let name = published_as(&path, "env");
            edits.insert(named.span, name.clone());
            self.found.env_files.insert(path, name);
            self.found.with_env_files.insert(service.to_owned());
        }
    }

    fn extended(&mut self, node: &Node, directory: &FilePath, edits: &mut BTreeMap<Span, String>) {
        let Some(file) = node.get("extends").and_then(|extends| extends.get("file")) else { return };
        // What lies elsewhere is fetched by whoever fetches this.
        let Some(text) = file.as_text().filter(|text| remote::of(text).is_none()) else { return };
        let path = absolute(directory, FilePath::new(text));
        let name = published_as(&path, "yaml");
        edits.insert(file.span, name.clone());
        if self.seen.insert(path.clone()) {
            self.waiting.push_back((path, name));
        }
    }

    fn secrets(&mut self, service: &str, node: &Node) {
        let Some(environment) = node.get("environment") else { return };
        let mut suspicious = |name: &str, value: &str| {
            if sensitive::is_secret(name, value) {
                self.found.secrets.entry(service.to_owned()).or_default().insert(name.to_owned());
            }
        };
        for (name, entry) in environment.as_mapping().into_iter().flat_map(Mapping::iter) {
            suspicious(name, entry.node.as_text().unwrap_or_default());
        }
        for line in environment.as_sequence().unwrap_or_default() {
            if let Some((name, value)) = line.as_text().and_then(|line| line.split_once('=')) {
                suspicious(name, value);
            }
        }
    }

    fn includes(&mut self, tree: &Node) {
        let Some(includes) = tree.get("include") else { return };
        for entry in includes.as_sequence().unwrap_or_default() {
            let named = if entry.as_mapping().is_some() { entry.get("path") } else { Some(entry) };
            let Some(named) = named else { continue };
            for path in named.as_sequence().unwrap_or(std::slice::from_ref(named)) {
                let Some(text) = path.as_text().filter(|text| remote::of(text).is_none()) else { continue };
                let fault = format!("`{text}` is included from this host, where nobody else finds it");
                let help = "publish it by itself and include `oci://…`, or name it as one more `-f`";
                self.found.diagnostics.push(Diagnostic::error("unpublishable", fault).at(path.span, "").help(help));
            }
        }
    }

    fn what_nobody_else_knows(&mut self, tree: &Node) {
        let diagnostics = &mut self.found.diagnostics;
        for (key, entry) in tree.as_mapping().into_iter().flat_map(Mapping::iter) {
            if schema::OWN_KEYS.contains(&key) {
                let fault = format!("`{key}` is no key of Compose, which would refuse the whole stack");
                let help = format!("write it as `x-{key}`, which Compose passes over");
                diagnostics.push(Diagnostic::error("unpublishable", fault).at(entry.key_span, "").help(help));
            } else if key.strip_prefix("x-").is_some_and(|key| schema::OWN_KEYS.contains(&key)) {
                let warning =
                    format!("`{key}` is published as it is: Compose passes over it, and no file of this host goes along");
                diagnostics.push(Diagnostic::warning("unpublishable", warning).at(entry.key_span, ""));
            }
        }
        for pattern in OURS {
            pattern.for_each(tree, |place, node| {
                let fault = format!(
                    "`{}` is no attribute of Compose, which would refuse the whole stack",
                    place.last_key().unwrap_or_default()
                );
                diagnostics.push(Diagnostic::error("unpublishable", fault).at(node.span, "").help("write what Compose knows"));
            });
        }
    }
}

fn entries<'a>(tree: &'a Node, section: &str) -> impl Iterator<Item = (&'a str, &'a crate::yaml::node::Entry)> + use<'a> {
    tree.get(section).and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter)
}

/// What a file of this host is called where only names are: as by Compose, its path's hash.
fn published_as(path: &FilePath, ending: &str) -> String {
    let mut name = String::new();
    for byte in Sha256::digest(path.display().to_string().as_bytes()) {
        let _ = write!(name, "{byte:02x}");
    }
    format!("{name}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::testing::Texts;

    fn look(texts: &[(&str, &str)]) -> Publication {
        let first = FilePath::new("/app").join(texts[0].0);
        let variables = IndexMap::from([("WHO".to_owned(), "web".to_owned())]);
        publication(&[first], FilePath::new("/app"), &variables, &Texts::of(texts))
    }

    #[test]
    fn files_beside_a_stack_are_named_by_what_they_are_published_as_and_the_rest_stays_as_written() {
        let text = "# kept\nservices:\n  web:\n    image: x   # here too\n    env_file: [ '${WHO}.env', {path: b.env} ]\n    extends: {service: base, file: \"sub/base.yaml\"}\n  far: {extends: {service: a, file: oci://x/y}}\n";
        let base = "services: {base: {image: y, env_file: c.env}}\n";
        let found = look(&[("compose.yaml", text), ("sub/base.yaml", base)]);
        assert!(found.diagnostics.is_empty(), "{:?}", found.diagnostics);
        let name = |path: &str| {
            let ending = path.rsplit('.').next().unwrap();
            published_as(FilePath::new(path), ending)
        };
        let (web, b, c) = (name("/app/web.env"), name("/app/b.env"), name("/app/sub/c.env"));
        let expected =
            text.replace("'${WHO}.env'", &web).replace("b.env", &b).replace("\"sub/base.yaml\"", &name("/app/sub/base.yaml"));
        assert_eq!(found.files[0].text, expected);
        assert_eq!((found.files[0].name.as_str(), found.files[0].is_extended), ("compose.yaml", false));
        assert_eq!(found.files[1].text, base.replace("c.env", &c));
        assert_eq!((found.files[1].name.clone(), found.files[1].is_extended), (name("/app/sub/base.yaml"), true));
        assert_eq!(found.env_files.values().cloned().collect::<Vec<_>>(), [web, b, c]);
    }

    #[test]
    fn what_nobody_else_would_find_or_understand_is_told_with_its_place() {
        for (text, severity) in [
            ("processes: {a: {command: x}}\n", "Error"),
            ("x-processes: {a: {command: x}}\n", "Warning"),
            ("include: [sub.yaml]\n", "Error"),
            ("include: [{path: [sub.yaml]}]\n", "Error"),
            ("include: [oci://x/y]\n", ""),
            ("services: {a: {image: x, healthcheck: {tcp: 'a:1'}}}\n", "Error"),
            ("configs: {a: {template: x}}\n", "Error"),
            ("x-mine: {a: 1}\nservices: {a: {image: x, healthcheck: {test: a}}}\n", ""),
        ] {
            let found = look(&[("compose.yaml", text)]);
            let told: Vec<String> = found.diagnostics.sorted().iter().map(|found| format!("{:?}", found.severity)).collect();
            assert_eq!(told.join(" "), severity, "{text}");
            assert!(found.diagnostics.sorted().iter().all(|found| found.code == "unpublishable" && !found.labels.is_empty()));
        }
    }

    #[test]
    fn secrets_and_contents_that_stand_in_the_file_are_found() {
        let text = "services:\n  a: {environment: {DB_PASSWORD: hunter2, TOKEN: '${TOKEN}', MODE: fast, API_KEY: }}\n  b: {environment: ['secret=abc', PWD]}\nconfigs: {c: {content: text}, d: {content: '${D}'}}\n";
        let found = look(&[("compose.yaml", text)]);
        let secrets: Vec<String> = found.secrets.iter().map(|(name, keys)| format!("{name} {keys:?}")).collect();
        assert_eq!(secrets, ["a {\"DB_PASSWORD\"}", "b {\"secret\"}"]);
        assert_eq!(found.contents.into_iter().collect::<Vec<_>>(), ["c"]);
    }
}
