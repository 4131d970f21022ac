//! The first look: what must be known before variables can be filled in.

use std::path::Path as FilePath;

use indexmap::IndexMap;

use super::formats::Format;
use super::include;
use super::variables::Variables;
use super::{Head, Loading, Request, canonical, file, find, give_environment, schema};
use crate::base::diagnostic::Diagnostics;
use crate::base::source::{SourceMap, Span};
use crate::model::port::NamedPort;
use crate::model::value::Generated;
use crate::yaml::node::{Mapping, Node, Value};
use crate::yaml::parse;
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
        Ok(found) => (head.files, head.directory) = (found.files, found.directory),
        Err(diagnostic) => {
            loading.diagnostics.push(diagnostic);
            return (head, loading.sources, loading.diagnostics);
        }
    }
    for path in head.files.clone() {
        // What is wrong inside of the files is told by the second look, which reads them whole.
        if loading.read_unplaced(&path, "stack file").is_some() {
            let found = std::mem::take(&mut loading.diagnostics);
            let directory = head.directory.clone();
            look_at_file(&path, None, &directory, &variables, &mut head, &mut loading);
            loading.diagnostics = found;
        }
    }
    let has_errors = loading.diagnostics.has_errors();
    let found = if has_errors { loading.diagnostics } else { Diagnostics::default() };
    (head, loading.sources, found)
}

/// Looks at a file, and first at what it includes, over which it wins. `place` names it, for one that is included.
fn look_at_file(
    path: &FilePath,
    place: Option<Span>,
    directory: &FilePath,
    variables: &Variables,
    head: &mut Head,
    loading: &mut Loading<'_>,
) {
    if Format::of(path) != Format::Stack {
        head.has_own_keys = true;
        return;
    }
    if loading.open.iter().any(|open| open == path) {
        return;
    }
    let read = match place {
        Some(span) => loading.read(path, span, true, "stack file"),
        None => loading.read_unplaced(path, "stack file"),
    };
    let Some((source, text)) = read else { return };
    if has_nothing_to_see(&text) {
        return;
    }
    loading.open.push(path.to_owned());
    let trees = parse::parse(source, &text, &mut Diagnostics::default()).unwrap_or_default();
    if trees.is_empty() && place.is_none() {
        // A file that is broken still says whose it is: what runs of it can be shown and stopped.
        head.name = name_in(&text).map(str::to_owned).or(head.name.take());
    }
    for tree in trees {
        let Some(mut part) = part_of(tree, variables, head, loading) else { continue };
        for included in include::entries(&mut part, directory, variables, loading) {
            for (path, span) in &included.files {
                look_at_file(path, Some(*span), &included.directory, &included.variables, head, loading);
            }
        }
        take(&part, place.is_none(), head);
    }
    loading.open.pop();
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

fn take(part: &Node, is_of_the_stack: bool, head: &mut Head) {
    let mut quiet = Diagnostics::default();
    let name = part.get("name").and_then(Node::as_text).filter(|name| !name.is_empty() && is_of_the_stack);
    head.name = name.map(str::to_owned).or(head.name.take());
    if let Some(ports) = part.get("ports").and_then(|ports| typed::<IndexMap<String, NamedPort>>(ports, "bad-value", &mut quiet))
    {
        head.named_ports.extend(ports);
    }
    if let Some(generate) =
        part.get("generate").and_then(|values| typed::<IndexMap<String, Generated>>(values, "bad-value", &mut quiet))
    {
        head.generate.extend(generate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
