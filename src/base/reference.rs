//! What an engine takes for the name of an image (distribution's `reference` grammar), so that a wrong one is told before anything
//! is made of it.

/// Why this is no `[REGISTRY/]NAME[:TAG]`, one sentence; none when it is one.
pub fn fault(text: &str) -> Option<String> {
    let name_start = text.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match text[name_start..].find(':') {
        Some(colon) => (&text[..name_start + colon], Some(&text[name_start + colon + 1..])),
        None => (text, None),
    };
    if text.contains('@') {
        return Some(format!("`{text}` names content by its digest: give a name, and a tag after a colon"));
    }
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        let rule = "letters, digits, `_`, `.` and `-`, at most 128, the first of them no `.` or `-`";
        return Some(format!("the tag `{tag}` of `{text}` is none: a tag has {rule}"));
    }
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        Some(_) | None => (None, name),
    };
    if let Some(host) = host.filter(|host| !is_host(host)) {
        return Some(format!("`{host}` of `{text}` is no registry: it is a host, and a port after a colon"));
    }
    let is_path = !path.is_empty() && name.len() <= 255 && path.split('/').all(is_component);
    match (is_path, path.chars().any(char::is_uppercase)) {
        (true, _) => None,
        (false, true) => Some(format!("`{text}` is no name of an image: it has to be in small letters")),
        (false, false) => {
            let rule = "small letters and digits, with `.`, `_` or `-` between them, and `/` between parts";
            Some(format!("`{text}` is no name of an image: it has {rule}"))
        }
    }
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128 && tag.starts_with(is_word) && tag.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

fn is_host(host: &str) -> bool {
    let (host, port) = host.rsplit_once(':').map_or((host, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = bytes.first().into_iter().chain(bytes.last());
        !bytes.is_empty()
            && ends.into_iter().all(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    let is_port = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    is_port && (host.split('.').all(is_label) || (host.starts_with('[') && host.ends_with(']')))
}

/// Words of small letters and digits, with `.`, `_`, `__` or any number of `-` between two of them.
fn is_component(part: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let gaps = part.split(is_word).filter(|gap| !gap.is_empty());
    let is_gap = |gap: &str| matches!(gap, "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-');
    part.starts_with(is_word) && part.ends_with(is_word) && gaps.into_iter().all(is_gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_by_the_rules_of_registries() {
        for text in ["db", "db:loaded", "a/b-c__d.e:1_2-3.", "localhost/x", "localhost:5000/x:V1", "cr.example.org/a/b", "a--b"] {
            assert_eq!(fault(text), None, "{text}");
        }
        for (text, expected) in [
            ("", "is no name of an image"),
            ("Upper", "small letters"),
            ("bad name", "is no name of an image"),
            ("a//b", "is no name of an image"),
            ("-a", "is no name of an image"),
            ("a..b", "is no name of an image"),
            ("db:", "the tag ``"),
            ("db:-x", "the tag `-x`"),
            ("db@sha256:00", "by its digest"),
            ("ex_ample.org/x", "is no registry"),
            ("localhost:port/x", "is no registry"),
        ] {
            let found = fault(text).unwrap_or_default();
            assert!(found.contains(expected), "{text}: {found}");
        }
    }
}
