//! Ports of a service as its files describe them, in the shape of what is in force: for what does not run now.

use crate::model::port::{self, Port, PublishedPort};
use crate::supervisor::status::UnitKind;

/// What a container would publish, and what a process, which forwards nothing, listens on. A port that the engine picks has no
/// number yet.
pub fn described(ports: &[Port], kind: UnitKind) -> Vec<PublishedPort> {
    let one = |port: &Port| {
        let ip = |usual: &str| port.host_ip.clone().unwrap_or_else(|| usual.to_owned());
        let (host_ip, published) = match (kind, &port.published) {
            (UnitKind::Process | UnitKind::Task, _) => (ip(""), None),
            (UnitKind::Container, Some(published)) => (ip("0.0.0.0"), published.parse().ok()),
            (UnitKind::Container, None) => (String::new(), None),
        };
        PublishedPort { target: port.target, host_ip, published, protocol: port.protocol.clone() }
    };
    ports.iter().map(one).collect()
}

/// `0.0.0.0:8080->80/tcp`; of a process `8080/tcp`, or `127.0.0.1:8080/tcp`.
pub fn listed(ports: &[PublishedPort], kind: UnitKind) -> String {
    let is_at = |port: &&PublishedPort| kind != UnitKind::Container && !port.host_ip.is_empty();
    let at = ports.iter().filter(is_at).map(|port| format!("{}:{}/{}", port.host_ip, port.target, port.protocol));
    let anywhere = port::displayed(ports.iter().filter(|port| !is_at(port)).cloned());
    Some(anywhere).filter(|text| !text.is_empty()).into_iter().chain(at).collect::<Vec<_>>().join(", ")
}

/// The port of the host, where there is one.
pub fn host_port(port: &PublishedPort, kind: UnitKind) -> Option<u16> {
    match kind {
        UnitKind::Container => port.published,
        UnitKind::Process | UnitKind::Task => Some(port.target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_listens_and_a_container_is_forwarded_to() {
        let port = |published: &str, target, ip: Option<&str>| Port {
            target,
            published: Some(published.to_owned()),
            protocol: "tcp".to_owned(),
            host_ip: ip.map(str::to_owned),
            ..Port::default()
        };
        let ports = [port("8080", 80, None), port("81", 81, None), port("82", 82, None), port("90", 90, Some("127.0.0.1"))];
        for (kind, expected, host) in [
            (UnitKind::Container, "0.0.0.0:81-82->81-82/tcp, 127.0.0.1:90->90/tcp, 0.0.0.0:8080->80/tcp", Some(8080)),
            (UnitKind::Process, "80-82/tcp, 127.0.0.1:90/tcp", Some(80)),
        ] {
            let described = described(&ports, kind);
            assert_eq!(listed(&described, kind), expected);
            assert_eq!(host_port(&described[0], kind), host);
        }
    }
}
