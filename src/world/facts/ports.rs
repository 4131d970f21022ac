//! Who holds a port of this host, and which of a stack's ports are taken.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::path::PathBuf;

use procfs::net::UdpState;
use procfs::process::Process;

use crate::base::name::{EnvId, ServiceName};
use crate::model::port::Port;
use crate::model::process::fill_replica;
use crate::model::service::{Kind, Service};
use crate::model::socket::SocketAddress;
use crate::plan::desired::Deployment;
use crate::plan::ports::Numbers;
use crate::world::docker::PortOfContainer;
use crate::world::envdir::{EnvDir, StateDir, StateError, own_uid};
use crate::world::native::listener;
use crate::world::native::marker::Marker;

/// Tells which containers hold ports; none when some of the environment's may, and nobody can tell. It is asked once at most, and
/// only when a port is held.
pub type Containers<'a> = &'a dyn Fn() -> Option<BTreeMap<u16, PortOfContainer>>;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    pid: i32,
    command: String,
    env: Option<String>,
}

/// All that is known about who holds what, as seen by one environment.
pub struct Holders<'a> {
    env: EnvId,
    state_dir: PathBuf,
    /// What the environment keeps.
    own: Vec<Numbers>,
    /// Its supervisor lives: its own services hold that.
    is_supervised: bool,
    /// Its supervisor, which holds sockets for them.
    supervisor: Option<i32>,
    /// What other environments that are in use keep, whether it is bound yet or not.
    others: Vec<(EnvId, Numbers)>,
    containers: Containers<'a>,
    seen: OnceCell<Option<BTreeMap<u16, PortOfContainer>>>,
    /// All processes with their sockets, by inode: looked at once, which takes as long as for a single port.
    sockets: OnceCell<Vec<(Process, HashSet<u64>)>>,
}

impl<'a> Holders<'a> {
    /// Looks at the state of all environments. For numbers that are to be kept the caller holds the host's lock.
    pub fn look(state: &StateDir, dir: &EnvDir, containers: Containers<'a>) -> Result<Self, StateError> {
        let mut others = Vec::new();
        for other in state.list()?.into_iter().filter(|other| other.id() != dir.id() && other.is_in_use()) {
            others.extend(other.ports_in_force()?.into_values().map(|numbers| (other.id().clone(), numbers)));
        }
        // Not `is_in_use`: the `up` that asks is itself under way.
        let (own, is_supervised) = (dir.ports_in_force()?.into_values().collect(), dir.is_locked());
        let supervisor = dir.holder().and_then(|pid| i32::try_from(pid).ok());
        let state_dir = dir.path().to_owned();
        let (env, seen, sockets) = (dir.id().clone(), OnceCell::new(), OnceCell::new());
        Ok(Self { env, state_dir, own, is_supervised, supervisor, others, containers, seen, sockets })
    }

    /// Whether a service of the environment could have this port, or has it already.
    pub fn is_free(&self, port: u16) -> bool {
        let all = || [Protocol::Tcp, Protocol::Udp].into_iter();
        // One that a service of the environment is running on stays, whoever has the other protocol of it meanwhile: the kernel gives
        // outgoing traffic any number.
        self.reserved(port).is_none()
            && (all().all(|protocol| self.is_ours(port, protocol, None)) || all().any(|protocol| self.runs_on(port, protocol)))
    }

    /// Whether something of the environment holds a port.
    fn runs_on(&self, port: u16, protocol: Protocol) -> bool {
        self.holders(port, protocol).iter().any(|holder| self.is_own(holder)) || self.is_of_own_container(port)
    }

    /// Who holds a port, for a message: `process 4711 (nginx -g …)`.
    pub fn who(&self, port: u16) -> String {
        if let Some(env) = self.reserved(port) {
            return format!("the environment `{env}`");
        }
        if let Some(container) = self.container(port) {
            return match &container.env {
                Some(env) => format!("the container `{}` of the environment `{env}`", container.name),
                None => format!("the container `{}`", container.name),
            };
        }
        let holder =
            [Protocol::Tcp, Protocol::Udp].into_iter().find_map(|protocol| self.holders(port, protocol).into_iter().next());
        match holder {
            Some(Holder { pid, command, env: Some(env) }) => format!("process {pid} ({command}) of the environment `{env}`"),
            Some(Holder { pid, command, env: None }) => format!("process {pid} ({command})"),
            None if has_just_ended(port) => "connections that have ended a moment ago".to_owned(),
            None => "a process of another user".to_owned(),
        }
    }

    /// Whether the environment keeps a port for itself.
    fn is_kept(&self, port: u16) -> bool {
        self.own.iter().any(|numbers| numbers.iter().contains(&port))
    }

    fn reserved(&self, port: u16) -> Option<&EnvId> {
        self.others.iter().find(|(_, numbers)| numbers.iter().contains(&port)).map(|(env, _)| env)
    }

    /// Whether nobody holds a port, or only the environment itself.
    fn is_ours(&self, port: u16, protocol: Protocol, address: Option<IpAddr>) -> bool {
        if can_bind(port, protocol, address) {
            return true;
        }
        let holders = self.holders(port, protocol);
        if holders.is_empty() {
            return self.is_of_own_container(port) || self.is_supervised && self.is_kept(port);
        }
        // Several may listen on one port, each on an address of its own.
        holders.iter().any(|holder| self.is_own(holder))
            // A proxy of the engine, or a process that we may not look into: of our own user only one with file capabilities.
            || (holders.iter().any(|holder| holder.env.is_none()) && self.is_of_own_container(port))
    }

    /// The processes that hold a port; none when nobody does or when we may not look into them.
    fn holders(&self, port: u16, protocol: Protocol) -> Vec<Holder> {
        let sockets = sockets_on(port, protocol);
        if sockets.is_empty() {
            return Vec::new();
        }
        (self.sockets.get_or_init(all_sockets).iter())
            .filter(|(_, own)| !own.is_disjoint(&sockets))
            .map(|(process, _)| {
                // On one line: an argument may be a whole program.
                let arguments = process.cmdline().unwrap_or_default().join(" ");
                let command = arguments.split_whitespace().collect::<Vec<_>>().join(" ");
                let command =
                    if command.chars().count() > 80 { command.chars().take(79).chain(['…']).collect() } else { command };
                let env = process.environ().ok().and_then(|variables| variables.get(OsStr::new("BAISTACK_ENVID")).cloned());
                Holder { pid: process.pid, command, env: env.map(|env| env.to_string_lossy().into_owned()) }
            })
            .collect()
    }

    fn is_own(&self, holder: &Holder) -> bool {
        // A program that shows a title has written it over its environment; the mark of its limits stays.
        Some(holder.pid) == self.supervisor || holder.env.as_deref() == Some(self.env.as_str()) || self.is_marked(holder.pid)
    }

    fn is_marked(&self, pid: i32) -> bool {
        let ours = Marker::of_env(&self.env, &self.state_dir, own_uid());
        Marker::of_process(pid).is_some_and(|mark| mark.is_of_same_env(ours))
    }

    fn is_of_own_container(&self, port: u16) -> bool {
        // While nobody can tell, what it keeps counts as its own: a number that is given away meanwhile would be a change to all.
        if self.seen.get_or_init(self.containers).is_none() {
            self.is_kept(port)
        } else {
            self.container(port).is_some_and(|it| it.own)
        }
    }

    fn container(&self, port: u16) -> Option<&PortOfContainer> {
        self.seen.get_or_init(self.containers).as_ref()?.get(&port)
    }
}

/// A port that a service cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// Which.
    pub service: ServiceName,
    /// Where it asks for it: `ports` or `sockets`, and the place in that list.
    pub attribute: (&'static str, usize),
    /// Why not, in a sentence.
    pub why: String,
    /// What helps.
    pub help: String,
}

/// Ports that are fixed in the files of these services and held by somebody else.
pub fn taken_ports(deployment: &Deployment, services: &[ServiceName], holders: &Holders<'_>) -> Vec<Unavailable> {
    let help = "end whoever holds it, write another number, or name the port under `ports` at the top: then a free one is found";
    let mut taken = Vec::new();
    for name in services {
        let Some(service) = deployment.service(name) else { continue };
        let mut held = Vec::new();
        for (index, port) in service.common.ports.iter().enumerate() {
            let Some(numbers) = numbers_on_host(service, port) else { continue };
            let protocol = if port.protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
            let address = port.host_ip.as_deref().and_then(|address| address.parse().ok());
            let is_free = |port: u16| holders.reserved(port).is_none() && holders.is_ours(port, protocol, address);
            // Of a range the engine picks one for each replica: it is taken when all are.
            if numbers.iter().any(is_free) {
                continue;
            }
            held.push(Held { numbers, who: holders.who(numbers.first), index });
        }
        let mut tell = |attribute, why| {
            let help = help.to_owned();
            taken.push(Unavailable { service: name.clone(), attribute, why, help });
        };
        for Held { numbers, who, index } in folded(held) {
            tell(("ports", index), format!("`{name}` needs port {numbers}, which is held by {who}"));
        }
        let ports: BTreeMap<u16, usize> = held_ports(service).collect();
        for (port, index) in ports {
            let listed = service.common.ports.iter().any(|listed| listed.target == port && listed.protocol != "udp");
            let is_free = holders.reserved(port).is_none() && holders.is_ours(port, Protocol::Tcp, None);
            if !listed && !is_free {
                let who = holders.who(port);
                tell(("sockets", index), format!("`{name}` needs port {port} for a socket, which is held by {who}"));
            }
        }
    }
    taken
}

/// Ports that more replicas of a container are to publish than there are numbers for. An engine gives a number to the first alone.
pub fn crowded_ports(deployment: &Deployment, services: &[ServiceName]) -> Vec<Unavailable> {
    let containers = services.iter().filter_map(|name| Some((name, deployment.service(name).filter(|it| publishes(it))?)));
    let crowded = containers.flat_map(|(name, service)| {
        let replicas = service.replicas();
        let ports = service.common.ports.iter().enumerate();
        let numbers = ports.filter_map(|(index, port)| Some((index, numbers_on_host(service, port)?)));
        let is_short = move |numbers: Numbers| u32::from(numbers.last.saturating_sub(numbers.first)) + 1 < replicas;
        numbers.filter(move |(_, numbers)| is_short(*numbers)).map(move |(index, numbers)| Unavailable {
            service: name.clone(),
            attribute: ("ports", index),
            why: format!("`services.{name}.ports`: {replicas} replicas cannot share port {numbers} of the host"),
            help: format!("leave the number to the engine, or give a range of {replicas}"),
        })
    });
    crowded.collect()
}

/// Whether it is a container whose ports the engine publishes; on the host's own network it passes them over.
fn publishes(service: &Service) -> bool {
    service.container().is_some_and(|container| container.network_mode.as_deref() != Some("host"))
}

/// Numbers that somebody holds.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    numbers: Numbers,
    who: String,
    /// The place of the first in the list of ports.
    index: usize,
}

/// Ports that one holds in a row, as a range that was mapped number by number: told once.
fn folded(mut held: Vec<Held>) -> Vec<Held> {
    held.sort_by_key(|held| held.numbers.first);
    let mut rows: Vec<Held> = Vec::new();
    for next in held {
        match rows.last_mut() {
            Some(row) if row.who == next.who && row.numbers.last.checked_add(1) == Some(next.numbers.first) => {
                row.numbers.last = next.numbers.last;
            }
            Some(_) | None => rows.push(next),
        }
    }
    rows
}

/// The ports at which the supervisor listens for a service, each with the place of its socket in the list.
fn held_ports(service: &Service) -> impl Iterator<Item = (u16, usize)> {
    let sockets = service.process().map(|process| process.sockets.as_slice()).unwrap_or_default();
    sockets.iter().enumerate().flat_map(|(index, socket)| {
        let replicas = 1..=service.replicas();
        replicas.filter_map(move |replica| match &socket.address {
            SocketAddress::Tcp(address) => Some((fill_replica(address, replica).rsplit_once(':')?.1.parse().ok()?, index)),
            SocketAddress::Unix(_) => None,
        })
    })
}

/// The numbers on the host that a service asks for; none when the engine picks one, or nobody will run.
fn numbers_on_host(service: &Service, port: &Port) -> Option<Numbers> {
    if service.replicas() == 0 {
        return None;
    }
    let single = |number| Numbers { first: number, last: number };
    let published = match &port.published {
        Some(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            Some(Numbers { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? })
        }
        None => None,
    };
    let numbers = match &service.kind {
        Kind::Container(_) => published?,
        Kind::Process(_) => published.unwrap_or_else(|| single(port.target)),
    };
    (numbers.first > 0).then_some(numbers)
}

/// Whether a service could listen on this port: on any address (IPv4, IPv6, loopback alone), or on the one it asks for.
///
/// Only "in use" is an answer here. That a port below 1024 is not for us to bind says nothing about who holds it.
fn can_bind(port: u16, protocol: Protocol, address: Option<IpAddr>) -> bool {
    let all = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        // Someone who asked for the port to be shared (SO_REUSEADDR) may hold one address beside the wildcard.
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    let given = address.map(|address| [address]);
    let addresses: &[IpAddr] = given.as_ref().map_or(&all, |given| given);
    addresses.iter().all(|&address| {
        let bound = match protocol {
            Protocol::Tcp => TcpListener::bind((address, port)).map(drop),
            Protocol::Udp => UdpSocket::bind((address, port)).map(drop),
        };
        !bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    })
}

/// Whether the kernel keeps a port from being bound for what is left of connections (`TIME_WAIT`, a minute).
fn has_just_ended(port: u16) -> bool {
    let entries = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    entries.into_iter().any(|entry| entry.local_address.port() == port && entry.state == procfs::net::TcpState::TimeWait)
}

/// All processes that we may look into, with their sockets.
fn all_sockets() -> Vec<(Process, HashSet<u64>)> {
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    all.filter_map(|process| Some((listener::sockets(process.pid)?, process)))
        .map(|(sockets, process)| (process, sockets))
        .collect()
}

/// The inodes of the sockets that are bound to a port.
fn sockets_on(port: u16, protocol: Protocol) -> HashSet<u64> {
    match protocol {
        Protocol::Tcp => listener::listening(port),
        Protocol::Udp => (procfs::net::udp().into_iter().chain(procfs::net::udp6()).flatten())
            .filter(|socket| socket.state == UdpState::Close && socket.local_address.port() == port)
            .map(|socket| socket.inode)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::Common;
    use crate::model::stack::Stack;

    struct Fixture {
        _dir: tempfile::TempDir,
        state: StateDir,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let state = StateDir::at(dir.path().join("baistack"));
            Self { _dir: dir, state }
        }

        fn env(&self, name: &str) -> EnvDir {
            self.state.env(&name.parse().unwrap())
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is one of those who may not know")]
    fn nobody() -> Option<BTreeMap<u16, PortOfContainer>> {
        Some(BTreeMap::new())
    }

    fn held(address: &str) -> (TcpListener, u16) {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[test]
    fn a_port_held_on_one_loopback_alone_is_not_free_and_its_holder_is_named() {
        let fixture = Fixture::new();
        let look = || Holders::look(&fixture.state, &fixture.env("demo"), &nobody).unwrap();
        let (_four, port) = held("127.0.0.1:0");
        assert!(!look().is_free(port));
        assert!(look().who(port).starts_with(&format!("process {} (", std::process::id())));
        if TcpListener::bind("[::1]:0").is_ok() {
            let (_six, port) = held("[::1]:0");
            assert!(!look().is_free(port));
        }
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!look().is_free(udp.local_addr().unwrap().port()));
        assert!(look().who(udp.local_addr().unwrap().port()).starts_with("process"));
    }

    #[test]
    fn while_nobody_knows_of_containers_what_an_environment_keeps_is_its_own() {
        let fixture = Fixture::new();
        let (_kept, kept) = held("127.0.0.1:0");
        let (_other, other) = held("127.0.0.1:0");
        let dir = fixture.env("demo");
        dir.set_ports(&BTreeMap::from([("DB_PORT".to_owned(), Numbers { first: kept, last: kept })])).unwrap();
        let holders = Holders::look(&fixture.state, &dir, &|| None).unwrap();
        assert!(holders.is_free(kept) && !holders.is_free(other));
        assert!(!Holders::look(&fixture.state, &dir, &nobody).unwrap().is_free(kept), "nobody's container holds it");
    }

    #[test]
    fn a_port_that_our_own_container_holds_is_ours_and_any_other_is_named() {
        let fixture = Fixture::new();
        let (_listener, port) = held("127.0.0.1:0");
        let of = |own| {
            move || {
                let container = PortOfContainer { name: "demo-db-1".to_owned(), env: Some("demo".to_owned()), own };
                Some(BTreeMap::from([(port, container)]))
            }
        };
        let (ours, theirs) = (of(true), of(false));
        assert!(Holders::look(&fixture.state, &fixture.env("demo"), &ours).unwrap().is_free(port));
        let holders = Holders::look(&fixture.state, &fixture.env("other"), &theirs).unwrap();
        assert!(!holders.is_free(port));
        assert_eq!(holders.who(port), "the container `demo-db-1` of the environment `demo`");
    }

    #[test]
    fn a_port_that_a_service_runs_on_stays_whoever_has_the_other_protocol_of_it() {
        let fixture = Fixture::new();
        let (listener, port, _udp) = loop {
            let (listener, port) = held("127.0.0.1:0");
            if let Ok(udp) = UdpSocket::bind(("127.0.0.1", port)) {
                break (listener, port, udp);
            }
        };
        // Its standard input is the socket, and nobody else's.
        let listener = std::os::fd::OwnedFd::from(listener);
        let mut service = std::process::Command::new("sleep")
            .arg("1000")
            .env("BAISTACK_ENVID", "demo")
            .stdin(std::process::Stdio::from(listener))
            .spawn()
            .unwrap();
        let is_free = |env: &str| Holders::look(&fixture.state, &fixture.env(env), &nobody).unwrap().is_free(port);
        let found = (is_free("demo"), is_free("other"));
        service.kill().unwrap();
        service.wait().unwrap();
        assert_eq!(found, (true, false));
        assert!(!is_free("demo"), "nothing of it runs there any more");
    }

    #[test]
    fn ports_in_a_row_that_one_holds_are_told_as_a_range() {
        let port = |first, last, who: &str, index| Held { numbers: Numbers { first, last }, who: who.to_owned(), index };
        let held = vec![
            port(5, 5, "a", 0),
            port(3, 3, "a", 1),
            port(4, 4, "a", 2),
            port(6, 6, "b", 3),
            port(8, 9, "b", 4),
            port(10, 10, "b", 5),
        ];
        assert_eq!(folded(held), [port(3, 5, "a", 1), port(6, 6, "b", 3), port(8, 10, "b", 4)]);
    }

    #[test]
    fn what_another_environment_in_use_keeps_is_taken_before_it_is_bound() {
        let fixture = Fixture::new();
        // Not one of the kernel's choice: another test could be given the same.
        let is_unbound = |port: &u16| [Protocol::Tcp, Protocol::Udp].iter().all(|&protocol| can_bind(*port, protocol, None));
        let port = (20_000..32_000).find(is_unbound).unwrap();
        let other = fixture.env("other");
        other.set_ports(&BTreeMap::from([("P".to_owned(), Numbers { first: port, last: port })])).unwrap();
        let look = || Holders::look(&fixture.state, &fixture.env("demo"), &nobody).unwrap();
        assert!(look().is_free(port), "it is down");
        let claim = other.claim().unwrap();
        assert!(!look().is_free(port));
        assert_eq!(look().who(port), "the environment `other`");
        drop(claim);
        assert!(look().is_free(port));
    }

    #[test]
    fn a_fixed_port_that_is_taken_is_said_with_service_and_holder() {
        let fixture = Fixture::new();
        let holders = Holders::look(&fixture.state, &fixture.env("demo"), &nobody).unwrap();
        let (_listener, port) = held("127.0.0.1:0");
        let service = |published: Option<String>, host_ip: Option<&str>, kind| Service {
            common: Common {
                ports: vec![Port { target: port, published, host_ip: host_ip.map(str::to_owned), ..Port::default() }],
                ..Common::default()
            },
            kind,
        };
        let process = || Kind::Process(Box::default());
        let container = || Kind::Container(Box::default());
        for (service, is_taken) in [
            (service(None, None, process()), true),
            (service(None, None, container()), false),
            (service(Some(port.to_string()), None, container()), true),
            (service(Some(port.to_string()), Some("127.0.0.2"), container()), false),
        ] {
            let name: ServiceName = "web".parse().unwrap();
            let deployment = Deployment {
                env: "demo".parse().unwrap(),
                stack: Stack { services: [(name.clone(), service.clone())].into(), ..Stack::default() },
                caller: crate::plan::desired::Caller::default(),
                places: crate::plan::desired::Places::default(),
            };
            let said = taken_ports(&deployment, std::slice::from_ref(&name), &holders);
            assert_eq!(said.len(), usize::from(is_taken), "{service:?}");
            assert!(said.iter().all(|it| it.why.starts_with(&format!("`web` needs port {port}, which is held by process"))));
        }
    }
}
