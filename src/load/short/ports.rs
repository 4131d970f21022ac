//! `[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`, with ranges.

use core::net::IpAddr;

use crate::base::diagnostic::Diagnostics;
use crate::base::source::Span;
use crate::load::schema::forms::{integer, mapping};
use crate::load::told::{bad_value, wrong_kind};
use crate::yaml::node::{Kind, Node, Scalar, Value};
use crate::yaml::path::Pattern;
use crate::yaml::place::Place;

/// `127.0.0.1:8080-8081:80-81/udp` → one long form for each port.
pub(in crate::load) fn ports(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    long_ports(false, place, node, diagnostics);
}

/// As [`ports`]; what a process listens on is on the host already.
pub(in crate::load) fn process_ports(place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    long_ports(true, place, node, diagnostics);
}

fn long_ports(process: bool, place: &Place<'_>, node: &mut Node, diagnostics: &mut Diagnostics) {
    let Some(items) = node.as_sequence_mut() else { return };
    if items.iter().all(|item| item.as_mapping().is_some()) {
        return;
    }
    let mut long = Vec::with_capacity(items.len());
    for (index, item) in std::mem::take(items).into_iter().enumerate() {
        let text = match &item.value {
            Value::Scalar(Scalar { kind: Kind::Int | Kind::Text, text }) => text,
            Value::Mapping(_) => {
                long.push(item);
                continue;
            }
            _ => {
                wrong_kind(&place.index(index), &item, "a port", diagnostics);
                continue;
            }
        };
        match split_port(text, process) {
            Ok(ports) => long.extend(ports.into_iter().map(|port| Node::new(port.long(item.span), item.span))),
            Err(why) => {
                // A process listens on the host itself: there is nothing that its port could be another one of.
                let help =
                    if process { "write `[ADDRESS:]PORT[/PROTOCOL]`" } else { "write `[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`" };
                bad_value(&place.index(index), item.span, why, help, diagnostics);
            }
        }
    }
    *items = long;
}

/// The keys and values of a port in its long form: itself, and at least three keys with their values.
const NODES_OF_A_PORT: usize = 7;

/// How many keys and values the short forms of a file's ports stand for, which have not been written out yet.
pub(in crate::load) fn nodes(root: &Node) -> usize {
    let mut count = 0;
    for pattern in [Pattern::new("services.*.ports[]"), Pattern::new("processes.*.ports[]")] {
        pattern.for_each(root, |_, port| {
            let text = port.as_text().unwrap_or_default();
            let target = text.rsplit_once(':').map_or(text, |(_, target)| target);
            let ends = range(target.split('/').next().unwrap_or_default());
            count += ends.map_or(0, |(first, last)| (usize::from(last - first) + 1) * NODES_OF_A_PORT);
        });
    }
    count
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
    let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, ""));
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("`{protocol}` is not a protocol: use `tcp` or `udp`"));
    }
    let (rest, target) = rest.rsplit_once(':').map_or((None, rest), |(rest, target)| (Some(rest), target));
    let bare = |ip: &str| ip.trim_start_matches('[').trim_end_matches(']').to_owned();
    let (ip, host) = match rest {
        None => (None, None),
        // A process has one port: what stands before it may be the address that it listens at.
        Some(rest) if process && bare(rest).parse::<IpAddr>().is_ok() => (Some(bare(rest)), None),
        Some(rest) => match rest.rsplit_once(':') {
            Some((ip, host)) => (Some(bare(ip)), Some(host)),
            None => (None, Some(rest)),
        },
    };
    let ip = ip.filter(|ip| !ip.is_empty());
    if let Some(ip) = &ip
        && ip.parse::<IpAddr>().is_err()
    {
        return Err(format!("`{ip}` is not an address"));
    }
    let targets = range(target)?;
    if targets.0 == 0 {
        return Err("0 is no port inside".to_owned());
    }
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
pub(in crate::load) fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is not a port: ports are numbers up to 65535"));
    match text.split_once('-') {
        None => port(text).map(|port| (port, port)),
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            if last < first { Err(format!("the range `{text}` goes backwards")) } else { Ok((first, last)) }
        }
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
            ("80/", vec![port(None, None, 80, "tcp")]),
            ("127.0.0.1:8080:80/udp", vec![port(Some("127.0.0.1"), Some("8080"), 80, "udp")]),
            ("127.0.0.1::80", vec![port(Some("127.0.0.1"), None, 80, "tcp")]),
            ("[::1]:8080:80", vec![port(Some("::1"), Some("8080"), 80, "tcp")]),
            ("::1:8080:80", vec![port(Some("::1"), Some("8080"), 80, "tcp")]),
            ("8080-8081:80", vec![port(None, Some("8080-8081"), 80, "tcp")]),
            ("8080-8081:80-81/UDP", vec![port(None, Some("8080"), 80, "udp"), port(None, Some("8081"), 81, "udp")]),
        ] {
            assert_eq!(split_port(text, false).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(split_port("80", true), Ok(vec![port(None, Some("80"), 80, "tcp")]));
        assert_eq!(split_port("127.0.0.1:80", true), Ok(vec![port(Some("127.0.0.1"), Some("80"), 80, "tcp")]));
        assert_eq!(split_port("[::1]:80/udp", true), Ok(vec![port(Some("::1"), Some("80"), 80, "udp")]));
        assert!(split_port("localhost:80", true).is_err());
        for text in ["", "a", "70000", "80/foo", "8080-8082:80-81", "81-80", "-1:80", "a.b:80:80", "127.0.0.1:80", "0", "0-3"] {
            assert!(split_port(text, false).is_err(), "{text}");
        }
    }
}
