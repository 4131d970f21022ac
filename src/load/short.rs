//! The short forms that have a grammar of their own: ports, volumes, devices, probes, named ports, requirements.

use super::canonical::{bad_value, integer, mapping, wrong_kind};
use crate::base::diagnostic::Diagnostics;
use crate::base::source::Span;
use crate::yaml::node::{Mapping, Node, Value};
use crate::yaml::path::Path;

/// `[db]` → `{db: {condition: service_started, required: true}}`; a mapping's entries get what they leave out.
pub(super) fn depends_on(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    let started = |span| {
        let condition = ("condition", Node::text("service_started", span));
        mapping([condition, ("required", Node::new(Value::Bool(true), span))], span)
    };
    match &mut node.value {
        Value::Sequence(items) => {
            let mut result = Mapping::default();
            for item in std::mem::take(items) {
                match item.as_text() {
                    Some(name) => {
                        result.insert(name, item.span, Node::new(started(item.span), item.span));
                    }
                    None => wrong_kind(path, &item, "a list of services", diagnostics),
                }
            }
            node.value = Value::Mapping(result);
        }
        Value::Mapping(entries) => {
            for (name, entry) in entries.iter_mut() {
                match &mut entry.node.value {
                    Value::Null => entry.node.value = started(entry.key_span),
                    Value::Mapping(edge) => {
                        if !edge.contains("condition") {
                            let why = "a `condition` is missing";
                            let help =
                                "write `condition: service_started`, `service_healthy` or `service_completed_successfully`";
                            bad_value(&path.key(name), entry.key_span, why, help, diagnostics);
                        }
                        if !edge.contains("required") {
                            edge.insert("required", entry.key_span, Node::new(Value::Bool(true), entry.key_span));
                        }
                    }
                    Value::Bool(_) | Value::Scalar(_) | Value::Sequence(_) => {
                        wrong_kind(&path.key(name), &entry.node, "a mapping", diagnostics)
                    }
                }
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Scalar(_) => wrong_kind(path, node, "a list of services or a mapping", diagnostics),
    }
}

/// `a.env` → `[{path: a.env, required: true}]`.
pub(super) fn env_file(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    let long = |node: &Node| match node.as_text() {
        Some(text) => {
            let file = ("path", Node::text(text, node.span));
            Node::new(mapping([file, ("required", Node::new(Value::Bool(true), node.span))], node.span), node.span)
        }
        None => node.clone(),
    };
    match &node.value {
        Value::Sequence(items) => node.value = Value::Sequence(items.iter().map(long).collect()),
        Value::Scalar(_) | Value::Bool(_) | Value::Mapping(_) => node.value = Value::Sequence(vec![long(node)]),
        Value::Null => {}
    }
    for item in node.as_sequence().unwrap_or_default() {
        if item.get("path").and_then(Node::as_text).is_none() {
            wrong_kind(path, item, "a path, or a mapping with `path`", diagnostics);
        }
    }
}

/// `name` → `{source: name}`.
pub(super) fn grants(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    for item in node.as_sequence_mut().into_iter().flatten() {
        if let Some(name) = item.as_text() {
            item.value = mapping([("source", Node::text(name, item.span))], item.span);
        } else if item.get("source").is_none() {
            wrong_kind(path, item, "a list of names, or of mappings with `source`", diagnostics);
        }
    }
}

/// `1024` → `{soft: 1024, hard: 1024}`.
pub(super) fn ulimit(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    if let Some(text) = node.as_text() {
        match text.parse::<i64>() {
            Ok(limit) => {
                node.value = mapping([("soft", integer(limit, node.span)), ("hard", integer(limit, node.span))], node.span)
            }
            Err(_) => {
                bad_value(path, node.span, format!("`{text}` is not a number"), "write a number; -1 is no limit", diagnostics)
            }
        }
    }
}

/// `curl localhost` → `[CMD-SHELL, curl localhost]`.
pub(super) fn test(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    if let Some(text) = node.as_text() {
        let words = if text == "NONE" { vec!["NONE"] } else { vec!["CMD-SHELL", text] };
        node.value = Value::Sequence(words.into_iter().map(|word| Node::text(word, node.span)).collect());
    }
    let first = node.as_sequence().and_then(|items| items.first()).and_then(Node::as_text);
    if node.as_sequence().is_some_and(|items| !items.is_empty()) && !matches!(first, Some("CMD" | "CMD-SHELL" | "NONE")) {
        let help = "write `[CMD, program, argument]`, or one text for the shell";
        bad_value(path, node.span, "a list must begin with `CMD`, `CMD-SHELL` or `NONE`", help, diagnostics);
    }
}

/// `http://…` → `{url: http://…}`.
pub(super) fn http(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    if let Some(url) = node.as_text() {
        node.value = mapping([("url", Node::text(url, node.span))], node.span);
    }
    if let Some(status) = node.as_mapping_mut().and_then(|mapping| mapping.get_mut("status"))
        && let Value::Scalar(_) = status.value
    {
        status.value = Value::Sequence(vec![status.clone()]);
    }
    let url = node.get("url").and_then(Node::as_text).unwrap_or_default();
    if !url.starts_with("http://") {
        let help = "write `http://HOST:PORT/PATH`";
        bad_value(path, node.span, format!("`{url}` is not an address that can be probed"), help, diagnostics);
    }
}

/// A command as Compose splits it: words and quotes, no shell.
pub(super) fn words(_: &Path, node: &mut Node, _: &mut Diagnostics) {
    if let Some(text) = node.as_text() {
        node.value = Value::Sequence(split_words(text).into_iter().map(|word| Node::text(word, node.span)).collect());
    }
}

/// Splits as `mattn/go-shellwords` does for Compose: blanks, single and double quotes, backslashes.
pub(super) fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(characters.by_ref().take_while(|&c| c != '\''));
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(character) = characters.next() {
                    match character {
                        '"' => break,
                        '\\' => word.extend(characters.next()),
                        _ => word.push(character),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// `external: {name: x}` of old files → `external: true`; the name is `resolve`'s.
pub(super) fn external(_: &Path, node: &mut Node, _: &mut Diagnostics) {
    if let Some(text) = node.as_text() {
        node.value = Value::Bool(matches!(text, "true" | "yes" | "on"));
    } else if node.as_mapping().is_some() {
        node.value = Value::Bool(true);
    }
}

/// `[h=1.2.3.4]`, `[h:1.2.3.4]`, `{h: 1.2.3.4}` → `[h=1.2.3.4]`.
pub(super) fn extra_hosts(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    let mut hosts = Vec::new();
    match &node.value {
        Value::Sequence(items) => {
            for item in items {
                let Some(text) = item.as_text() else {
                    wrong_kind(path, item, "a list of `NAME=ADDRESS`", diagnostics);
                    continue;
                };
                let split = text.split_once('=').or_else(|| text.split_once(':'));
                match split {
                    Some((host, address)) => hosts.push(Node::text(format!("{host}={address}"), item.span)),
                    None => bad_value(path, item.span, format!("`{text}` names no address"), "write `NAME=ADDRESS`", diagnostics),
                }
            }
        }
        Value::Mapping(mapping) => {
            for (host, entry) in mapping.iter() {
                let addresses: Vec<&Node> =
                    entry.node.as_sequence().map_or_else(|| vec![&entry.node], |items| items.iter().collect());
                for address in addresses {
                    hosts.push(Node::text(format!("{host}={}", address.as_text().unwrap_or_default()), address.span));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Scalar(_) => return,
    }
    node.value = Value::Sequence(hosts);
}

/// `/dev/a:/dev/b:rw` → `{source, target, permissions}`.
pub(super) fn devices(_: &Path, node: &mut Node, _: &mut Diagnostics) {
    for item in node.as_sequence_mut().into_iter().flatten() {
        let Some(text) = item.as_text() else { continue };
        let mut parts = text.split(':');
        let source = parts.next().unwrap_or_default();
        let target = parts.next().unwrap_or(source);
        let permissions = parts.next().unwrap_or("rwm");
        let node = |text: &str| Node::text(text, item.span);
        item.value = mapping([("source", node(source)), ("target", node(target)), ("permissions", node(permissions))], item.span);
    }
}

/// `src:dst:ro` → the long form.
pub(super) fn volumes(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    for item in node.as_sequence_mut().into_iter().flatten() {
        let span = item.span;
        let Some(text) = item.as_text().map(str::to_owned) else {
            if item.get("target").is_none() {
                wrong_kind(path, item, "a list of `SOURCE:TARGET`, or of mappings with `type` and `target`", diagnostics);
            }
            continue;
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [target] => (None, *target, ""),
            [source, target] => (Some(*source), *target, ""),
            [source, target, options] => (Some(*source), *target, *options),
            _ => {
                bad_value(path, span, format!("`{text}` has too many colons"), "write `SOURCE:TARGET[:OPTIONS]`", diagnostics);
                continue;
            }
        };
        if target.is_empty() || source == Some("") {
            bad_value(path, span, format!("`{text}` has an empty part"), "write `SOURCE:TARGET[:OPTIONS]`", diagnostics);
            continue;
        }
        let is_path = source.is_some_and(|source| source.starts_with(['.', '/', '~']));
        let text = |text: &str| Node::text(text, span);
        let yes = || Node::new(Value::Bool(true), span);
        let mut long = vec![("type", text(if is_path { "bind" } else { "volume" }))];
        long.extend(source.map(|source| ("source", text(source))));
        long.push(("target", text(if target.len() > 1 { target.trim_end_matches('/') } else { target })));
        let mut inner = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => long.push(("read_only", yes())),
                "rw" => {}
                "z" | "Z" => inner.push(("selinux", text(option))),
                "nocopy" => inner.push(("nocopy", yes())),
                "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => inner.push(("propagation", text(option))),
                "cached" | "delegated" | "consistent" => {}
                _ => bad_value(
                    path,
                    span,
                    format!("`{option}` is no option of a volume"),
                    "known are ro, rw, z, Z, nocopy, rslave, …",
                    diagnostics,
                ),
            }
        }
        if !inner.is_empty() || is_path {
            long.push((if is_path { "bind" } else { "volume" }, Node::new(mapping(inner, span), span)));
        }
        item.value = mapping(long, span);
    }
}

/// `127.0.0.1:8080-8081:80-81/udp` → one long form for each port.
pub(super) fn ports(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    let process = matches!(path.segments().first(), Some(crate::yaml::path::Segment::Key(section)) if section == "processes");
    let Some(items) = node.as_sequence_mut() else { return };
    let mut long = Vec::new();
    for mut item in std::mem::take(items) {
        let Some(text) = item.as_text().map(str::to_owned) else {
            if let Some(mapping) = item.as_mapping_mut() {
                complete_port(mapping);
            } else {
                wrong_kind(path, &item, "a list of ports", diagnostics);
            }
            long.push(item);
            continue;
        };
        match split_port(&text, process) {
            Ok(ports) => long.extend(ports.into_iter().map(|port| Node::new(port.long(item.span), item.span))),
            Err(why) => bad_value(path, item.span, why, "write `[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`", diagnostics),
        }
    }
    *items = long;
}

fn complete_port(mapping: &mut Mapping) {
    let Some(span) = mapping.iter().next().map(|(_, entry)| entry.key_span) else { return };
    for (key, default) in [("protocol", "tcp"), ("mode", "ingress")] {
        if !mapping.contains(key) {
            mapping.insert(key, span, Node::text(default, span));
        }
    }
    if let Some(published) = mapping.get_mut("published")
        && let Some(text) = published.as_text().map(str::to_owned)
    {
        published.value = Node::text(text, published.span).value;
    }
    if let Some(target) = mapping.get_mut("target")
        && let Some(number) = target.as_text().and_then(|text| text.parse::<u16>().ok())
    {
        target.value = integer(number, target.span).value;
    }
}

#[derive(Debug, PartialEq, Eq)]
struct PortParts {
    ip: Option<String>,
    published: Option<String>,
    target: u16,
    protocol: String,
}

impl PortParts {
    fn long(self, span: Span) -> Value {
        let text = |text: String| Node::text(text, span);
        let mut parts = vec![("mode", text("ingress".to_owned()))];
        parts.extend(self.ip.map(|ip| ("host_ip", text(ip))));
        parts.push(("target", integer(self.target, span)));
        parts.extend(self.published.map(|published| ("published", text(published))));
        parts.push(("protocol", text(self.protocol)));
        mapping(parts, span)
    }
}

fn split_port(text: &str, process: bool) -> Result<Vec<PortParts>, String> {
    let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("`{protocol}` is not a protocol: use `tcp` or `udp`"));
    }
    let (rest, target) = rest.rsplit_once(':').map_or((None, rest), |(rest, target)| (Some(rest), target));
    let (ip, host) = match rest {
        None => (None, None),
        Some(rest) => match rest.rsplit_once(':') {
            Some((ip, host)) => (Some(ip.trim_start_matches('[').trim_end_matches(']').to_owned()), Some(host)),
            None if rest.contains('.') => (Some(rest.to_owned()), None),
            None => (None, Some(rest)),
        },
    };
    let targets = range(target)?;
    let hosts = host.filter(|host| !host.is_empty()).map(range).transpose()?;
    let count = targets.1 - targets.0;
    // What a process listens on is on the host already.
    let hosts = if process && hosts.is_none() { Some(targets) } else { hosts };
    match hosts {
        Some((first, last)) if count == 0 && last > first => {
            let published = Some(format!("{first}-{last}"));
            Ok(vec![PortParts { ip, published, target: targets.0, protocol }])
        }
        Some((first, last)) if last - first != count => {
            Err(format!("the ranges of `{text}` differ in length: {} and {} ports", last - first + 1, count + 1))
        }
        hosts => Ok((0..=count)
            .map(|offset| PortParts {
                ip: ip.clone(),
                published: hosts.map(|(first, _)| (first + offset).to_string()),
                target: targets.0 + offset,
                protocol: protocol.clone(),
            })
            .collect()),
    }
}

/// `80` or `80-82`.
fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is not a port: ports are numbers from 0 to 65535"));
    match text.split_once('-') {
        None => port(text).map(|port| (port, port)),
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            if last < first { Err(format!("the range `{text}` goes backwards")) } else { Ok((first, last)) }
        }
    }
}

/// `8081` or `30000-30100` → `{first, last, range}`.
pub(super) fn named_port(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    let Some(text) = node.as_text() else { return wrong_kind(path, node, "a port or a range of ports", diagnostics) };
    match range(text) {
        Ok((first, last)) if first > 0 => {
            let is_range = Node::new(Value::Bool(text.contains('-')), node.span);
            node.value = mapping(
                [("first", integer(first, node.span)), ("last", integer(last, node.span)), ("range", is_range)],
                node.span,
            );
        }
        Ok(_) => bad_value(path, node.span, "0 is no port that can be preferred", "write a number from 1 to 65535", diagnostics),
        Err(why) => bad_value(path, node.span, why, "write a port such as `8081`, or a range such as `30000-30100`", diagnostics),
    }
}

/// `{tool: x, version: y, hint: z}` → `{tool: {name: x, version: y}, hint: z}`.
pub(super) fn requirement(path: &Path, node: &mut Node, diagnostics: &mut Diagnostics) {
    let span = node.span;
    let Some(entry) = node.as_mapping_mut() else {
        return wrong_kind(path, node, "a mapping such as `{tool: git}`", diagnostics);
    };
    if let Some(tool) = entry.remove("tool") {
        let name = Node::text(tool.node.as_text().unwrap_or_default(), tool.node.span);
        let mut long = Mapping::default();
        long.insert("name", tool.key_span, name);
        if let Some(version) = entry.remove("version") {
            long.insert("version", version.key_span, Node::text(version.node.as_text().unwrap_or_default(), version.node.span));
        }
        entry.insert("tool", tool.key_span, Node::new(Value::Mapping(long), tool.node.span));
    }
    const KINDS: [&str; 6] = ["locale", "tool", "docker", "file", "open_files", "command"];
    if let Some((key, stranger)) = entry.iter().find(|(key, _)| !KINDS.contains(key) && *key != "hint") {
        bad_value(
            path,
            stranger.key_span,
            format!("`{key}` cannot be required"),
            "what can be is locale, tool, docker, file, open_files, command",
            diagnostics,
        );
    } else if entry.iter().filter(|(key, _)| *key != "hint").count() != 1 {
        bad_value(
            path,
            span,
            "one entry requires one thing",
            "write one of locale, tool, docker, file, open_files, command",
            diagnostics,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: Option<&str>, published: Option<&str>, target: u16, protocol: &str) -> PortParts {
        PortParts { ip: ip.map(str::to_owned), published: published.map(str::to_owned), target, protocol: protocol.to_owned() }
    }

    #[test]
    fn ports_read_as_in_compose() {
        for (text, expected) in [
            ("80", vec![port(None, None, 80, "tcp")]),
            ("8080:80", vec![port(None, Some("8080"), 80, "tcp")]),
            ("127.0.0.1:8080:80/udp", vec![port(Some("127.0.0.1"), Some("8080"), 80, "udp")]),
            ("127.0.0.1::80", vec![port(Some("127.0.0.1"), None, 80, "tcp")]),
            ("[::1]:8080:80", vec![port(Some("::1"), Some("8080"), 80, "tcp")]),
            ("8080-8081:80", vec![port(None, Some("8080-8081"), 80, "tcp")]),
            ("8080-8081:80-81", vec![port(None, Some("8080"), 80, "tcp"), port(None, Some("8081"), 81, "tcp")]),
        ] {
            assert_eq!(split_port(text, false).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(split_port("80", true), Ok(vec![port(None, Some("80"), 80, "tcp")]));
        for text in ["", "a", "70000", "80/foo", "8080-8082:80-81", "81-80"] {
            assert!(split_port(text, false).is_err(), "{text}");
        }
    }

    #[test]
    fn words_are_split_without_a_shell() {
        for (text, expected) in [
            ("a b", vec!["a", "b"]),
            ("sh -c 'x  y'", vec!["sh", "-c", "x  y"]),
            (r#"a "b \"c\"" d\ e"#, vec!["a", r#"b "c""#, "d e"]),
            ("  ", vec![]),
            ("a ''", vec!["a", ""]),
        ] {
            assert_eq!(split_words(text), expected, "{text}");
        }
    }
}
