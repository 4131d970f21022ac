//! `SOURCE:TARGET[:OPTIONS]` of mounts, and `SOURCE:TARGET[:PERMISSIONS]` of devices.

use crate::base::diagnostic::Diagnostics;
use crate::base::source::Span;
use crate::load::schema::forms::{flag, mapping};
use crate::load::told::bad_value;
use crate::yaml::node::{Kind, Node, Scalar, Value};
use crate::yaml::place::Place;

/// `src:dst:ro` → the long form.
pub(in crate::load) fn volumes(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    for (index, item) in node.as_sequence_mut().into_iter().flatten().enumerate() {
        if let Value::Scalar(Scalar { text, kind: Kind::Text }) = &item.value {
            match mount(text, item.span) {
                Ok(long) => item.value = long,
                Err(why) => {
                    bad_value(&place.index(index), item.span, why, "write `SOURCE:TARGET[:OPTIONS]`", diagnostics);
                    item.value = Value::Null;
                }
            }
        }
    }
}

fn mount(text: &str, span: Span) -> Result<Value, String> {
    let parts = sections(text);
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(format!("`{text}` has too many colons")),
    };
    if parts.iter().any(|part| part.is_empty()) {
        return Err(format!("`{text}` has an empty part"));
    }
    let node = |text: &str| Node::text(text, span);
    let is_bind = source.is_some_and(is_path);
    let mut long = vec![("type", node(if is_bind { "bind" } else { "volume" }))];
    long.extend(source.map(|source| ("source", node(source))));
    long.push(("target", node(target)));
    let (mut bind, mut volume) = (Vec::new(), Vec::new());
    for option in options.split(',') {
        match option {
            "ro" => long.push(("read_only", flag(true, span))),
            "nocopy" => volume.push(("nocopy", flag(true, span))),
            "z" | "Z" => bind.push(("selinux", node(option))),
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => bind.push(("propagation", node(option))),
            // `rw` is what a mount is anyway, and Compose passes over what it does not know.
            _ => volume.extend(option.strip_prefix("subpath=").map(|path| ("subpath", node(path)))),
        }
    }
    if is_bind || !bind.is_empty() {
        long.push(("bind", Node::new(mapping(bind, span), span)));
    }
    if !is_bind || !volume.is_empty() {
        long.push(("volume", Node::new(mapping(volume, span), span)));
    }
    Ok(mapping(long, span))
}

/// At the colons, but not behind the single letter of a Windows drive. A text of one or two characters is one part.
fn sections(text: &str) -> Vec<&str> {
    if text.len() <= 2 {
        return vec![text];
    }
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(':') {
        let is_drive = at == start + 1 && text.as_bytes()[start].is_ascii_alphabetic();
        if !is_drive {
            parts.push(&text[start..at]);
            start = at + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn is_path(source: &str) -> bool {
    source.starts_with(['.', '/', '~', '\\']) || source.as_bytes().get(1) == Some(&b':')
}

/// `/dev/a:/dev/b:rw` → `{source, target, permissions}`.
pub(in crate::load) fn devices(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    for (index, item) in node.as_sequence_mut().into_iter().flatten().enumerate() {
        let Value::Scalar(Scalar { text, kind: Kind::Text }) = &item.value else { continue };
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, permissions) = match parts.as_slice() {
            [source] => (*source, *source, "rwm"),
            [source, target] => (*source, *target, "rwm"),
            [source, target, permissions] => (*source, *target, *permissions),
            _ => {
                let why = format!("`{text}` has too many colons");
                bad_value(&place.index(index), item.span, why, "write `SOURCE[:TARGET[:PERMISSIONS]]`", diagnostics);
                continue;
            }
        };
        let node = |text: &str| Node::text(text, item.span);
        item.value = mapping([("source", node(source)), ("target", node(target)), ("permissions", node(permissions))], item.span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::source::SourceId;
    use crate::yaml::emit::json_value;

    #[test]
    fn mounts_read_as_in_compose() {
        let span = Span { source: SourceId(0), start: 0, end: 0 };
        for (text, expected) in [
            ("/data", r#"{"type":"volume","target":"/data","volume":{}}"#),
            ("v", r#"{"type":"volume","target":"v","volume":{}}"#),
            ("v:/v", r#"{"type":"volume","target":"v:/v","volume":{}}"#),
            ("data:/d:nocopy", r#"{"type":"volume","source":"data","target":"/d","volume":{"nocopy":true}}"#),
            ("data:/d:z", r#"{"type":"volume","source":"data","target":"/d","bind":{"selinux":"z"},"volume":{}}"#),
            (
                "./a:/b:ro,rslave",
                r#"{"type":"bind","source":"./a","target":"/b","read_only":true,"bind":{"propagation":"rslave"}}"#,
            ),
            (r"C:\a:/b", r#"{"type":"bind","source":"C:\\a","target":"/b","bind":{}}"#),
        ] {
            let long = mount(text, span).map(|value| json_value(&Node::new(value, span)).to_string());
            assert_eq!(long.as_deref(), Ok(expected), "{text}");
        }
        for text in ["data::/b", "aa:bb:cc:dd", "data:/b:"] {
            assert!(mount(text, span).is_err(), "{text}");
        }
    }
}
