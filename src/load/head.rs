//! The first look: what must be known before variables can be filled in.

use std::path::Path as FilePath;

use super::formats::{Format, procfile};
use super::include;
use super::variables::Variables;
use super::{Head, Loading, Request, canonical, file, find, give_environment, merge, schema};
use crate::base::diagnostic::Diagnostics;
use crate::base::source::{SourceMap, Span};
use crate::model::port::NamedPort;
use crate::model::value::Generated;
use crate::yaml::node::{Mapping, Node, Value};
use crate::yaml::typed::typed;

/// The first look.
pub fn head(request: &Request, files: &dyn super::files::Files) -> (Head, SourceMap, Diagnostics) {
    let mut loading = Loading::new(request, files);
    let mut head = Head::default();
    let mut variables = Variables::default();
    give_environment(request, &mut variables);
    let found = find::stack(request, &mut variables, &mut loading);
    head.environment = variables.iter().map(|(name, variable)| (name.to_owned(), variable.value.clone())).collect();
    match found {
        Ok(found) => {
            (head.files, head.directory) = (found.files, found.directory);
            (head.elsewhere, head.origin) = (found.elsewhere, found.origin);
        }
        Err(diagnostic) => {
            loading.diagnostics.push(diagnostic);
            return (head, loading.sources, loading.diagnostics);
        }
    }
    let mut root: Option<Node> = None;
    for path in head.files.clone() {
        // What is wrong inside of the files is told by the second look, which reads them whole.
        if loading.read_unplaced(&path, "stack file").is_some() {
            let found = std::mem::take(&mut loading.diagnostics);
            let directory = head.directory.clone();
            let tree = look_at_file(&path, None, &directory, &variables, &mut head, &mut loading);
            root = laid_over(root, tree);
            loading.diagnostics = found;
        }
    }
    if let Some(root) = root {
        take(&merge::untagged(root), &mut head);
    }
    let has_errors = loading.diagnostics.has_errors();
    let found = if has_errors { loading.diagnostics } else { Diagnostics::default() };
    (head, loading.sources, found)
}

/// Looks at a file, and first at what it includes, over which it wins: layer over layer as the second look merges them.
/// `place` names it, for one that is included.
fn look_at_file(
    path: &FilePath,
    place: Option<Span>,
    directory: &FilePath,
    variables: &Variables,
    head: &mut Head,
    loading: &mut Loading<'_>,
) -> Option<Node> {
    let format = Format::of(path);
    head.has_own_keys |= format != Format::Stack;
    head.has_processes |= format != Format::Stack;
    if format == Format::ProcessCompose {
        return None;
    }
    if loading.open.iter().any(|open| open == path) {
        return None;
    }
    let read = match place {
        Some(span) => loading.read(path, span, true, "stack file"),
        None => loading.read_unplaced(path, "stack file"),
    };
    let (source, text) = read?;
    if format == Format::Stack && has_nothing_to_see(&text) {
        return None;
    }
    loading.open.push(path.to_owned());
    let asked = procfile::asked_port(variables);
    let trees = format.read(source, &text, asked.unwrap_or(procfile::FIRST_PORT), &mut Diagnostics::default());
    if format == Format::Procfile && asked.is_some() {
        // Whoever sets `PORT` has chosen the numbers, as if each had been set by its own name.
        trees.iter().for_each(|tree| give_ports(tree, head));
    }
    if trees.is_empty() && place.is_none() {
        // A file that is broken still says whose it is: what runs of it can be shown and stopped.
        head.name = name_in(&text).map(str::to_owned).or(head.name.take());
    }
    let mut whole: Option<Node> = None;
    for tree in trees {
        let Some(mut part) = part_of(tree, variables, head, loading) else { continue };
        let mut below: Option<Node> = None;
        for included in include::entries(&mut part, directory, variables, loading) {
            let mut stack: Option<Node> = None;
            for (path, span) in &included.files {
                let layer = look_at_file(path, Some(*span), &included.directory, &included.variables, head, loading);
                stack = laid_over(stack, layer);
            }
            below = laid_over(below, stack);
        }
        // A name is the whole stack's business.
        if place.is_some()
            && let Some(top) = part.as_mapping_mut()
        {
            top.remove("name");
        }
        whole = laid_over(whole, laid_over(below, Some(part)));
    }
    loading.open.pop();
    whole
}

/// Sets the ports of a Procfile that are not set by their own names.
fn give_ports(procfile: &Node, head: &mut Head) {
    let ports = procfile.get("ports").and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter);
    for (name, entry) in ports {
        if let Some(port) = entry.node.as_text() {
            head.environment.entry(name.to_owned()).or_insert_with(|| port.to_owned());
        }
    }
}

fn laid_over(below: Option<Node>, over: Option<Node>) -> Option<Node> {
    match (below, over) {
        (Some(below), Some(over)) => Some(merge::merge(below, over)),
        (below, over) => below.or(over),
    }
}

/// The `name:` of a text that is no YAML, where it is a plain word.
fn name_in(text: &str) -> Option<&str> {
    let value = text.lines().find_map(|line| line.strip_prefix("name:"))?;
    let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    (!value.is_empty() && !value.contains(['$', '{', '[', '&', '*', '!'])).then_some(value)
}

/// Whether a file surely has none of the keys that the first look is for, so that a long one need not be parsed twice. Every key of the
/// top must stand at the beginning of a line, as letters; whatever else could be one there counts as something to see.
fn has_nothing_to_see(text: &str) -> bool {
    let mut first = true;
    for line in text.split(['\n', '\r']) {
        let content = line.trim_end();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let key: &str = content.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').next().unwrap_or_default();
        let is_indented = content.starts_with(' ');
        // A lone bracket or a list's dash closes or continues what a key above has.
        let continues = !first && (is_indented || content.starts_with(['-', ']', '}']) && !content.starts_with("---"));
        let seen = is_wanted(key) || schema::OWN_KEYS.contains(&key.strip_prefix("x-").unwrap_or(key));
        if !continues && (key.is_empty() || !content.as_bytes()[0].is_ascii_alphabetic() || seen) {
            return false;
        }
        first = false;
    }
    true
}

/// What the first look takes from a file, beside the keys of ours.
fn is_wanted(key: &str) -> bool {
    matches!(key, "name" | "ports" | "x-ports" | "generate" | "x-generate" | "include")
}

/// What the first look needs of a file's tree, filled in and in its long forms.
fn part_of(tree: Node, variables: &Variables, head: &mut Head, loading: &mut Loading<'_>) -> Option<Node> {
    let Value::Mapping(top) = tree.value else { return None };
    let mut part = Mapping::default();
    for (key, entry) in top {
        let ours = schema::OWN_KEYS.iter().any(|own| key == *own || key.strip_prefix("x-") == Some(own));
        head.has_own_keys |= ours;
        head.has_processes |= matches!(key.strip_prefix("x-").unwrap_or(&key), "processes" | "jobs");
        if is_wanted(&key) {
            part.insert(key, entry.key_span, entry.node);
        }
    }
    file::own_spelling(&mut part, &mut loading.diagnostics);
    let mut node = Node::new(Value::Mapping(part), tree.span);
    loading.interpolator.tree(&mut node, variables, &mut loading.diagnostics);
    canonical::canonical(&mut node, &mut loading.diagnostics);
    Some(node)
}

/// What the files say in the end.
fn take(root: &Node, head: &mut Head) {
    // What is wrong is told by the second look, and keeps nothing else from being known.
    let mut quiet = Diagnostics::default();
    let name = root.get("name").and_then(Node::as_text).filter(|name| !name.is_empty());
    head.name = name.map(str::to_owned).or(head.name.take());
    let entries = |key: &str| root.get(key).and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter);
    for (name, entry) in entries("ports") {
        match typed::<NamedPort>(&entry.node, "bad-value", &mut quiet) {
            Some(port) => drop(head.named_ports.insert(name.to_owned(), port)),
            None => drop(head.unusable.insert(name.to_owned())),
        }
    }
    for (name, entry) in entries("generate") {
        match typed::<Generated>(&entry.node, "bad-value", &mut quiet) {
            Some(kind) => drop(head.generate.insert(name.to_owned(), kind)),
            None => drop(head.unusable.insert(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::testing::load;

    /// What `${A}` and `${B}` are filled in with, where there are such named ports.
    fn filled(over: &str, included: &str) -> String {
        let below =
            "include: [_c.yaml]\nports: {A: 1, B: 2}\nservices: {w: {image: x, labels: {l: '${A-no} ${B-no} ${C-no}'}}}\n";
        let loaded = load(&[("a.yaml", below), ("b.yaml", over), ("_c.yaml", included)]);
        assert!(!loaded.diagnostics.has_errors(), "{:?}", loaded.diagnostics);
        let service = loaded.tree.get("services").and_then(|services| services.get("w")).unwrap();
        service.get("labels").and_then(|labels| labels.get("l")).and_then(Node::as_text).unwrap().to_owned()
    }

    #[test]
    fn named_ports_merge_and_are_taken_away_as_everything_else() {
        let included = "services: {}\nports: {B: 7, C: 8}\n";
        for (over, expected) in [
            ("services: {}\n", "1 2 8"),
            ("ports: {A: 3}\n", "3 2 8"),
            ("ports: {A: !reset null}\n", "no 2 8"),
            ("ports: !reset {}\n", "no no no"),
            ("ports: !override {A: 3}\n", "3 no no"),
            ("x-ports: !override {C: 3}\n", "no no 3"),
        ] {
            assert_eq!(filled(over, included), expected, "{over}");
        }
    }

    #[test]
    fn a_mistake_in_a_named_port_or_value_is_told_once_and_nothing_that_follows_from_it() {
        let uses =
            "processes: {a: {command: run, ports: ['${A}'], healthcheck: {tcp: '127.0.0.1:${A:?}'}, environment: {E: '${A}'}}}\n";
        for (definition, expected) in [
            ("ports: {A: null}", "`ports.A` must be a port or a range of ports, not nothing"),
            ("ports: {A: 0x}", "`ports.A`: `0x` is not a port: ports are numbers up to 65535"),
            ("generate: {A: null}", "`generate.A` must be `uuid`, or a mapping such as `{hex: 32}`, not nothing"),
            ("generate: {A: {hx: 3}}", "a generated value has no attribute `hx`"),
        ] {
            let loaded = load(&[("a.yaml", &format!("{definition}\n{uses}"))]);
            let told: Vec<&str> = loaded.diagnostics.sorted().iter().map(|found| found.message.as_str()).collect();
            assert_eq!(told, [expected], "{definition}");
        }
    }

    #[test]
    fn a_file_is_parsed_twice_only_if_something_may_be_seen() {
        for (text, expected) in [
            ("x-a: &a\n  name: b\nservices:\n  web:\n    ports:\n    - 80\nnetworks:\n- a\n", true),
            ("# c\n\nservices: {\n  web: {image: x}\n}\n", true),
            ("services: {}\nname: a\n", false),
            ("services: {}\nname : a\n", false),
            ("services: {}\n\"name\": a\n", false),
            ("services: {}\n? name\n: a\n", false),
            ("services: {}\n<<: {name: a}\n", false),
            ("services: {}\n---\nname: a\n", false),
            ("services: {}\n---\n  name: a\n", false),
            ("{name: a}", false),
            ("  name: a", false),
            ("!!map\nname: a", false),
            ("\u{feff}name: a", false),
            ("x-processes:\n  web: {command: x}\n", false),
            ("services: {}\nprocesses:\n  web: {command: x}\n", false),
            ("services: {}\ninclude: [a.yaml]\n", false),
            ("services: {}\rname: a\r", false),
            ("services: {web: {image: x}}\r\nname: a\r\n", false),
        ] {
            assert_eq!(has_nothing_to_see(text), expected, "{text}");
        }
    }
}
