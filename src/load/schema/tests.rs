//! The table against what the Compose Specification's schema has, and what is ours beside it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Attribute, Honoured, Object, ROOT, Shape};

/// Every mapping of known keys, as Compose's schema has it.
const COMPOSE: &str = include_str!("compose.keys");

/// What we add to it.
const OURS: &[(&str, &str)] = &[
    ("(top)", "processes ports requires generate images owns welcome"),
    ("services.*.develop.watch", "ignore_defaults"),
    ("services.*.healthcheck", "http tcp log file grpc"),
    ("configs.*", "template"),
];

/// Paths whose keys stand in the list at another path: what jobs and hooks share with services.
fn is_shared(path: &str) -> bool {
    let of_job = path.strip_prefix("jobs.*.").is_some_and(|rest| !rest.starts_with("triggers"));
    of_job || path.starts_with("services.*.pre_start.")
}

/// Path and keys of each line of the list.
fn lines(list: &str) -> impl Iterator<Item = (&str, BTreeSet<&str>)> {
    let lines = list.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(": "));
    lines.map(|(path, keys)| (path, keys.split_whitespace().collect()))
}

fn visit(path: &str, shape: &'static Shape, found: &mut Vec<(String, &'static Object)>) {
    if let Shape::Forms(forms) = shape {
        let mappings = forms.short.iter().filter(|short| matches!(short, Shape::Object(_)));
        mappings.for_each(|short| visit(path, short, found));
    }
    match shape.long() {
        Shape::List(items) => visit(path, items, found),
        Shape::Map(values) | Shape::Named(values) => visit(&format!("{path}.*"), values, found),
        Shape::Object(object) => {
            found.push((path.trim_start_matches('.').to_owned(), object));
            for attribute in object.attributes {
                visit(&format!("{path}.{}", attribute.name), &attribute.shape, found);
            }
        }
        _ => {}
    }
}

fn all() -> Vec<(String, &'static Object)> {
    static WHOLE: Shape = Shape::Object(&ROOT);
    let mut found = Vec::new();
    visit("", &WHOLE, &mut found);
    found
}

#[test]
fn the_table_has_what_the_schema_of_compose_has_and_what_is_ours() {
    let mut objects: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (path, object) in all() {
        let path = if path.is_empty() { "(top)".to_owned() } else { path };
        let names: BTreeSet<&str> = object.attributes.iter().map(|attribute| attribute.name).collect();
        assert_eq!(names.len(), object.attributes.len(), "{path} names an attribute twice");
        objects.entry(path).or_default().extend(names);
    }
    for (path, theirs) in lines(COMPOSE) {
        let ours = OURS.iter().filter(|(known, _)| *known == path).flat_map(|(_, keys)| keys.split_whitespace());
        let expected: BTreeSet<&str> = theirs.into_iter().chain(ours).collect();
        assert_eq!(objects.remove(path).as_ref(), Some(&expected), "{path}");
    }
    // What is left is ours altogether.
    let is_ours =
        |path: &str| ["processes.", "ports.", "requires", "generate.", "owns"].iter().any(|ours| path.starts_with(ours));
    let unknown = |path: &&String| {
        !is_shared(path)
            && !is_ours(path)
            && !path.starts_with("services.*.healthcheck.http")
            && !path.starts_with("services.*.healthcheck.grpc")
    };
    assert_eq!(objects.keys().filter(unknown).collect::<Vec<_>>(), Vec::<&String>::new(), "Compose has no such mapping");
}

#[test]
fn the_list_is_that_of_compose() {
    let Some(path) = std::env::var_os("BAISTACK_COMPOSE_SCHEMA") else { return };
    let schema: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut found = BTreeMap::new();
    keys(&schema, &schema, "", &mut found);
    found.retain(|path, _| !is_shared(path));
    let known: BTreeMap<String, BTreeSet<String>> =
        lines(COMPOSE).map(|(path, keys)| (path.to_owned(), keys.into_iter().map(str::to_owned).collect())).collect();
    assert_eq!(found, known);
}

/// The keys of every mapping that a JSON Schema describes.
fn keys(of: &serde_json::Value, whole: &serde_json::Value, path: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if let Some(reference) = of.get("$ref").and_then(serde_json::Value::as_str) {
        return keys(whole.pointer(reference.trim_start_matches('#')).unwrap(), whole, path, found);
    }
    for part in ["allOf", "oneOf", "anyOf"].iter().filter_map(|key| of.get(key)?.as_array()).flatten() {
        keys(part, whole, path, found);
    }
    for (key, value) in of.get("properties").and_then(|all| all.as_object()).into_iter().flatten() {
        let here = if path.is_empty() { "(top)" } else { path };
        found.entry(here.to_owned()).or_default().insert(key.clone());
        keys(value, whole, &below(key), found);
    }
    for (pattern, value) in of.get("patternProperties").and_then(|all| all.as_object()).into_iter().flatten() {
        if pattern != "^x-" {
            keys(value, whole, &below("*"), found);
        }
    }
    if let Some(items) = of.get("items") {
        keys(items, whole, path, found);
    }
    if let Some(values) = of.get("additionalProperties").filter(|values| values.is_object()) {
        keys(values, whole, &below("*"), found);
    }
}

#[test]
fn every_attribute_says_what_it_is_in_one_sentence() {
    for (path, object) in all() {
        for Attribute { name, doc, .. } in object.attributes {
            assert!(doc.ends_with(['.', ')']) && doc.len() <= 120 && !doc.contains(". "), "{path}.{name}: {doc}");
        }
    }
}

#[test]
fn what_is_not_honoured_is_known() {
    let mut refused: Vec<String> = (all().into_iter())
        .filter(|(path, _)| !path.starts_with("processes.*.") || path == "processes.*")
        // Of them what `job.rs` names.
        .filter(|(path, _)| !path.starts_with("services.*.pre_start") && !path.starts_with("jobs.*.pre_start"))
        .flat_map(|(path, object)| object.attributes.iter().map(move |attribute| (path.clone(), attribute)))
        .filter(|(_, attribute)| attribute.honoured == Honoured::NotYet)
        .map(|(path, attribute)| format!("{path}.{}", attribute.name).trim_start_matches('.').to_owned())
        .collect();
    refused.sort();
    assert_eq!(refused, [""; 0]);
}
