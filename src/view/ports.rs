//! Ports of a service, as `docker ps` shows them.

use crate::model::port::Port;
use crate::supervisor::status::UnitKind;

/// `0.0.0.0:8080->80/tcp`; of a process, which forwards nothing, `8080/tcp`.
pub fn listed(ports: &[Port], kind: UnitKind) -> String {
    let one = |port: &Port| {
        let (target, protocol) = (port.target, &port.protocol);
        match (kind, &port.published, &port.host_ip) {
            (UnitKind::Process | UnitKind::Task, _, Some(ip)) => format!("{ip}:{target}/{protocol}"),
            (UnitKind::Process | UnitKind::Task, _, None) | (UnitKind::Container, None, _) => format!("{target}/{protocol}"),
            (UnitKind::Container, Some(published), ip) => {
                format!("{}:{published}->{target}/{protocol}", ip.as_deref().unwrap_or("0.0.0.0"))
            }
        }
    };
    ports.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The port of the host, where the files say it.
pub fn host_port(port: &Port, kind: UnitKind) -> Option<u16> {
    match (kind, &port.published) {
        (UnitKind::Container, published) => published.as_ref()?.parse().ok(),
        (UnitKind::Process | UnitKind::Task, _) => Some(port.target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_listens_and_a_container_is_forwarded_to() {
        let port = Port { target: 80, published: Some("8080".to_owned()), protocol: "tcp".to_owned(), ..Port::default() };
        assert_eq!(listed(&[port.clone(), port.clone()], UnitKind::Container), "0.0.0.0:8080->80/tcp, 0.0.0.0:8080->80/tcp");
        assert_eq!(listed(std::slice::from_ref(&port), UnitKind::Process), "80/tcp");
        assert_eq!((host_port(&port, UnitKind::Container), host_port(&port, UnitKind::Process)), (Some(8080), Some(80)));
    }
}
