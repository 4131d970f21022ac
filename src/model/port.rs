//! `ports:` of a service and of the stack.

use serde::{Deserialize, Serialize};

/// One port that a service publishes (container) or listens on (process).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    /// The port inside; for a process the one it listens on.
    pub target: u16,
    /// The port on the host: a number, a range `8000-8010`, or nothing for one the engine picks.
    pub published: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The host's address; none is all.
    pub host_ip: Option<String>,
    /// `ingress` or `host`: without effect outside of Swarm.
    pub mode: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// What is spoken on it.
    pub app_protocol: Option<String>,
}

/// A port as it is in force: open inside, and perhaps published on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedPort {
    /// The port inside; for a process the one it listens on.
    pub target: u16,
    /// The host's address; nothing where it is not published, or, of a process, for all.
    pub host_ip: String,
    /// The port on the host; none where it is not published.
    pub published: Option<u16>,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// As `docker ps` writes them: `0.0.0.0:8000-8010->8000-8010/tcp, 443/tcp, 0.0.0.0:8080->80/tcp`. Ports that follow each other and
/// are the same on both sides are one range (docker/cli, cli/command/formatter/container.go, `DisplayablePorts`).
pub fn displayed(ports: impl IntoIterator<Item = PublishedPort>) -> String {
    let mut ports: Vec<PublishedPort> = ports.into_iter().collect();
    ports.sort();
    ports.dedup();
    let host = |ip: &str, port: &str| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    let range = |((ip, protocol), (first, last)): &((String, String), (u16, u16))| {
        let inside = if first == last { first.to_string() } else { format!("{first}-{last}") };
        if ip.is_empty() { format!("{inside}/{protocol}") } else { format!("{}->{inside}/{protocol}", host(ip, &inside)) }
    };
    let mut shown = Vec::new();
    // The ranges that may go on, and what leads from one number to another.
    let mut open: Vec<((String, String), (u16, u16))> = Vec::new();
    let mut others = Vec::new();
    for PublishedPort { target, host_ip, published, protocol } in ports {
        if let Some(number) = published.filter(|number| *number != target) {
            others.push(format!("{}->{target}/{protocol}", host(&host_ip, &number.to_string())));
            continue;
        }
        let key = (if published.is_some() { host_ip } else { String::new() }, protocol);
        match open.iter_mut().find(|(of, _)| *of == key) {
            Some((_, (_, last))) if last.checked_add(1) == Some(target) => *last = target,
            Some(ended) => {
                shown.push(range(ended));
                ended.1 = (target, target);
            }
            None => open.push((key, (target, target))),
        }
    }
    shown.extend(open.iter().map(range));
    shown.extend(others);
    shown.join(", ")
}

/// A named port of the environment: its preferred number or range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPort {
    /// The first port.
    pub first: u16,
    /// The last one, the same unless it is a range.
    pub last: u16,
    /// Whether `NAME: 1000-1000` was written: then `_FIRST` and `_LAST` exist too.
    pub range: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_read_as_in_docker_ps() {
        let port = |host_ip: &str, published: u16, target| PublishedPort {
            target,
            host_ip: host_ip.to_owned(),
            published: Some(published).filter(|port| *port != 0),
            protocol: "tcp".to_owned(),
        };
        let many = |ip: &'static str, first: u16, last: u16, shift: u16| (first..=last).map(move |at| (ip, at, at + shift));
        for (ports, expected) in [
            (vec![("", 0, 443), ("::", 8080, 80), ("0.0.0.0", 8080, 80)], "443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
            (many("0.0.0.0", 8000, 8010, 0).collect(), "0.0.0.0:8000-8010->8000-8010/tcp"),
            (
                many("0.0.0.0", 8000, 8001, 0).chain(many("::", 8000, 8001, 0)).chain([("0.0.0.0", 8003, 8003)]).collect(),
                "0.0.0.0:8000-8001->8000-8001/tcp, 0.0.0.0:8003->8003/tcp, [::]:8000-8001->8000-8001/tcp",
            ),
            (many("0.0.0.0", 8000, 8001, 1).collect(), "0.0.0.0:8000->8001/tcp, 0.0.0.0:8001->8002/tcp"),
            (vec![("", 0, 80), ("", 0, 81), ("", 0, 81)], "80-81/tcp"),
            (vec![("127.0.0.1", 65535, 65535)], "127.0.0.1:65535->65535/tcp"),
            (vec![], ""),
        ] {
            let ports = ports.into_iter().map(|(ip, published, target)| port(ip, published, target));
            assert_eq!(displayed(ports), expected);
        }
    }
}
