//! Who holds a port of this host, and which of a stack's ports are taken.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::path::PathBuf;

use crate::base::name::{EnvId, ServiceName};
use crate::model::port::Port;
use crate::model::process::fill_replica;
use crate::model::service::{Kind, Service};
use crate::model::socket::SocketAddress;
use crate::plan::desired::Deployment;
use crate::plan::ports::{Numbers, Standing};
use crate::world::docker::{HeldPorts, PortOfContainer};
use crate::world::envdir::{EnvDir, StateDir, StateError, own_uid};
use crate::world::kernel::{processes, sockets};
use crate::world::native::marker::Marker;

/// Tells which containers hold ports; none when some of the environment's may, and nobody can tell. It is asked once at most, and
/// only when a port is held.
pub type Containers<'a> = &'a dyn Fn() -> Option<HeldPorts>;

/// What of an environment is alive.
#[derive(Debug, Clone, Default)]
pub struct Alive {
    /// Services of which something runs.
    pub services: BTreeSet<ServiceName>,
    /// All that was started runs, and is as it should be.
    pub is_well: bool,
}

/// Tells what of the environment is alive. Asked once at most, and only when somebody else seems to hold a number of it.
pub type IsAlive<'a> = &'a dyn Fn() -> Alive;

/// Where a number is to be used. It matters only while the engine is on another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this host, by processes.
    Here,
    /// On the engine's host, by containers.
    Engine,
    /// On either.
    Both,
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The usual one.
    Tcp,
    /// The other.
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
    /// What other environments keep of which something runs or is to run, whether it is bound yet or not.
    others: Vec<(EnvId, Numbers)>,
    /// What those keep of which something is there that does not run.
    stopped: Vec<(EnvId, Numbers)>,
    /// The engine is on another host: what its containers hold is none of this one's ports.
    is_engine_elsewhere: bool,
    containers: Containers<'a>,
    is_alive: IsAlive<'a>,
    alive: OnceCell<Alive>,
    seen: OnceCell<Option<HeldPorts>>,
    /// All processes with their sockets: looked at once, which takes as long as for a single port.
    sockets: OnceCell<Vec<(i32, HashSet<u64>)>>,
}

impl<'a> Holders<'a> {
    /// Looks at the state of all environments. For numbers that are to be kept the caller holds the host's lock.
    pub fn look(state: &StateDir, dir: &EnvDir, containers: Containers<'a>, is_alive: IsAlive<'a>) -> Result<Self, StateError> {
        let (mut others, mut stopped) = (Vec::new(), Vec::new());
        for other in state.list()?.into_iter().filter(|other| other.id() != dir.id()) {
            // What another one has may be broken, which `doctor` tells: what it has bound shows all the same.
            let numbers = other.ports_in_force().unwrap_or_default();
            if numbers.is_empty() {
                continue;
            }
            let kept = if other.needs_its_ports() {
                &mut others
            } else if !other.units().is_empty() {
                &mut stopped
            } else {
                continue;
            };
            kept.extend(numbers.into_values().map(|numbers| (other.id().clone(), numbers)));
        }
        // Not `is_in_use`: the `up` that asks is itself under way.
        let (own, is_supervised) = (dir.ports_in_force()?.into_values().collect(), dir.is_locked());
        let supervisor = dir.holder().and_then(|pid| i32::try_from(pid).ok());
        let state_dir = dir.path().to_owned();
        Ok(Self {
            env: dir.id().clone(),
            state_dir,
            own,
            is_supervised,
            supervisor,
            others,
            stopped,
            is_engine_elsewhere: false,
            containers,
            is_alive,
            alive: OnceCell::new(),
            seen: OnceCell::new(),
            sockets: OnceCell::new(),
        })
    }

    /// The same where the engine is on another host, if it `is_elsewhere`.
    #[must_use]
    pub fn with_engine_elsewhere(self, is_elsewhere: bool) -> Self {
        Self { is_engine_elsewhere: is_elsewhere, ..self }
    }

    /// How a port stands for the environment.
    pub fn standing(&self, port: u16, place: Place) -> Standing {
        if !self.is_free(port, place) {
            Standing::Held
        } else if self.kept_by_stopped(port).is_some() {
            Standing::Kept
        } else {
            Standing::Free
        }
    }

    /// Whether a service of the environment could have this port, or has it already.
    pub fn is_free(&self, port: u16, place: Place) -> bool {
        (!self.is_used_there(place) || self.reserved(port).is_none() && self.is_free_there(port) || self.is_in_force(port))
            && (!self.is_used_here(place) || self.is_free_here(port))
    }

    fn is_used_here(&self, place: Place) -> bool {
        !self.is_engine_elsewhere || place != Place::Engine
    }

    fn is_used_there(&self, place: Place) -> bool {
        self.is_engine_elsewhere && place != Place::Here
    }

    /// Whether no other container of an engine on another host holds this port there: who else does, only the engine finds out.
    fn is_free_there(&self, port: u16) -> bool {
        self.container(port).is_none_or(|it| it.own)
    }

    fn is_free_here(&self, port: u16) -> bool {
        let all = || [Protocol::Tcp, Protocol::Udp].into_iter();
        // One that a service of the environment is running on stays, whoever has the other protocol of it meanwhile: the kernel gives
        // outgoing traffic any number.
        self.reserved(port).is_none() && all().all(|protocol| self.is_ours(port, protocol, None))
            || all().any(|protocol| self.runs_on(port, protocol))
            || self.is_in_force(port)
    }

    /// Whether a service of the environment could have this port of one protocol, on this address or on any.
    pub fn can_be_had(&self, port: u16, place: Place, protocol: Protocol, address: Option<IpAddr>) -> bool {
        (!self.is_used_there(place) || self.is_free_there(port) || self.is_in_force(port))
            && (!self.is_used_here(place) || self.can_be_had_here(port, protocol, address))
    }

    fn can_be_had_here(&self, port: u16, protocol: Protocol, address: Option<IpAddr>) -> bool {
        self.reserved(port).is_none() && self.is_ours(port, protocol, address)
            || self.runs_on(port, protocol)
            || self.is_in_force(port)
    }

    /// Whether what runs was started with this number and runs well: then it is not for us to judge who answers there. It may be something
    /// that a service has started beside itself.
    fn is_in_force(&self, port: u16) -> bool {
        self.is_kept(port) && self.alive().is_well
    }

    /// What of the environment is alive.
    pub fn alive(&self) -> &Alive {
        self.alive.get_or_init(self.is_alive)
    }

    /// Whether something of the environment holds a port.
    fn runs_on(&self, port: u16, protocol: Protocol) -> bool {
        self.holders(port, protocol).iter().any(|holder| self.is_own(holder)) || self.is_of_own_container(port)
    }

    /// Who holds a port, for a message: `process 4711 (nginx -g …)`.
    pub fn who(&self, port: u16, place: Place) -> String {
        if self.is_used_here(place) && !(self.is_used_there(place) && self.is_free_here(port)) {
            return self.who_here(port);
        }
        if let Some(container) = self.container(port) {
            return named(container);
        }
        let stopped = || Some(format!("the environment `{}`, which is stopped", self.kept_by_stopped(port)?));
        let reserved = self.reserved(port).map(|env| format!("the environment `{env}`"));
        reserved.or_else(stopped).unwrap_or_else(|| "somebody on the engine's host".to_owned())
    }

    fn who_here(&self, port: u16) -> String {
        let reserved = self.reserved(port).map(|env| format!("the environment `{env}`"));
        if is_unbound(port) {
            let stopped = || Some(format!("the environment `{}`, which is stopped", self.kept_by_stopped(port)?));
            if let Some(env) = reserved.clone().or_else(stopped) {
                return env;
            }
        }
        if let Some(container) = self.container(port).filter(|_| !self.is_engine_elsewhere) {
            return named(container);
        }
        let holder =
            [Protocol::Tcp, Protocol::Udp].into_iter().find_map(|protocol| self.holders(port, protocol).into_iter().next());
        match holder {
            Some(Holder { pid, command, env: Some(env) }) => format!("process {pid} ({command}) of the environment `{env}`"),
            Some(Holder { pid, command, env: None }) => match reserved {
                // It may be a program of that one that shows a title, or a stranger.
                Some(env) => format!("process {pid} ({command}), and {env} keeps it"),
                None => format!("process {pid} ({command})"),
            },
            None => reserved.unwrap_or_else(|| {
                if sockets::is_left_by_connections(port) {
                    "connections that have ended a moment ago".to_owned()
                } else {
                    "a process of another user, or one that does not listen on it".to_owned()
                }
            }),
        }
    }

    /// Whether the environment keeps a port for itself.
    fn is_kept(&self, port: u16) -> bool {
        self.own.iter().any(|numbers| numbers.iter().contains(&port))
    }

    fn reserved(&self, port: u16) -> Option<&EnvId> {
        self.others.iter().find(|(_, numbers)| numbers.iter().contains(&port)).map(|(env, _)| env)
    }

    fn kept_by_stopped(&self, port: u16) -> Option<&EnvId> {
        self.stopped.iter().find(|(_, numbers)| numbers.iter().contains(&port)).map(|(env, _)| env)
    }

    /// Whether nobody holds a port, or only the environment itself.
    fn is_ours(&self, port: u16, protocol: Protocol, address: Option<IpAddr>) -> bool {
        if can_bind(port, protocol, address) {
            return true;
        }
        let holders = self.holders(port, protocol);
        if holders.is_empty() {
            // Of a container on the host's own network the engine knows no ports, and its processes are another user's.
            return self.is_of_own_container(port) || self.is_kept(port) && (self.is_supervised || self.has_container_on_host());
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
            .map(|&(pid, _)| {
                // On one line: an argument may be a whole program.
                let arguments = processes::arguments(pid).join(" ");
                let command = arguments.split_whitespace().collect::<Vec<_>>().join(" ");
                let command =
                    if command.chars().count() > 80 { command.chars().take(79).chain(['…']).collect() } else { command };
                Holder { pid, command, env: processes::variable(pid, "BAISTACK_ENVID") }
            })
            .collect()
    }

    fn is_own(&self, holder: &Holder) -> bool {
        // A program that shows a title has written it over its environment; the mark of its limits stays.
        Some(holder.pid) == self.supervisor
            || holder.env.as_deref() == Some(self.env.as_str())
            || self.is_marked(holder.pid)
            || self.own_on_host().any(|id| processes::is_in_container(holder.pid, id))
    }

    fn is_marked(&self, pid: i32) -> bool {
        let ours = Marker::of_env(&self.env, &self.state_dir, own_uid());
        Marker::of_process(pid).is_some_and(|mark| mark.is_of_same_env(ours))
    }

    fn is_of_own_container(&self, port: u16) -> bool {
        if self.is_engine_elsewhere {
            return false;
        }
        // While nobody can tell, what it keeps counts as its own: a number that is given away meanwhile would be a change to all.
        if self.seen.get_or_init(self.containers).is_none() {
            self.is_kept(port)
        } else {
            self.container(port).is_some_and(|it| it.own)
        }
    }

    fn container(&self, port: u16) -> Option<&PortOfContainer> {
        self.seen.get_or_init(self.containers).as_ref()?.published.get(&port)
    }

    /// The ids of the environment's containers that are alive on this host's own network.
    fn own_on_host(&self) -> impl Iterator<Item = &str> {
        let seen = if self.is_engine_elsewhere { None } else { self.seen.get_or_init(self.containers).as_ref() };
        seen.into_iter().flat_map(|seen| seen.on_host.iter().map(String::as_str))
    }

    fn has_container_on_host(&self) -> bool {
        self.own_on_host().next().is_some()
    }
}

fn named(container: &PortOfContainer) -> String {
    match &container.env {
        Some(env) => format!("the container `{}` of the environment `{env}`", container.name),
        None => format!("the container `{}`", container.name),
    }
}

/// The services whose definition has a number in it, by its first, wherever it stands: in `ports`, a command, a variable.
fn users(deployment: &Deployment, numbers: Numbers) -> impl Iterator<Item = (&ServiceName, &Service)> {
    let first = numbers.first.to_string();
    deployment.stack.services.iter().filter(move |(_, service)| {
        let text = serde_json::to_string(service).unwrap_or_default();
        text.split(|letter: char| !letter.is_ascii_digit()).any(|word| word == first)
    })
}

/// The services that a named port is in the definition of.
pub fn users_of(deployment: &Deployment, numbers: Numbers) -> BTreeSet<ServiceName> {
    users(deployment, numbers).map(|(name, _)| name.clone()).collect()
}

/// Where a named port is used, as far as that shows.
pub fn place_of(deployment: &Deployment, numbers: Numbers) -> Place {
    let (mut here, mut engine) = (false, false);
    for (_, service) in users(deployment, numbers) {
        if service.is_process() { here = true } else { engine = true }
    }
    match (here, engine) {
        (true, false) => Place::Here,
        (false, true) => Place::Engine,
        (true, true) | (false, false) => Place::Both,
    }
}

/// The protocol that a number is used for: UDP where all who list it say so.
pub fn protocol_of(deployment: &Deployment, port: u16) -> Protocol {
    let listed = deployment.stack.services.values().flat_map(|service| service.common.ports.iter().map(move |it| (service, it)));
    let mut listed =
        listed.filter(|(service, it)| numbers_on_host(service, it).is_some_and(|it| it.iter().contains(&port))).peekable();
    if listed.peek().is_some() && listed.all(|(_, it)| it.protocol == "udp") { Protocol::Udp } else { Protocol::Tcp }
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
    /// The named port whose number it is, where the caller or `.env` sets that.
    pub given: Option<String>,
    /// What helps.
    pub help: String,
}

/// The numbers of named ports, as far as it matters what is done about one that is held.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// Those in whose place the next `up` puts others.
    pub movable: &'a [Numbers],
    /// Those that the caller or `.env` sets, by name.
    pub given: &'a BTreeMap<String, Numbers>,
}

/// What helps where a number is held that the caller or `.env` sets for a named port.
pub fn remedy_of_given(name: &str) -> String {
    format!("end whoever holds it, or unset `{name}`, which the environment or `.env` sets: then `baistack up` finds a free one")
}

/// Ports that are fixed in the files of these services and held by somebody else.
pub fn taken_ports(
    deployment: &Deployment,
    services: &[ServiceName],
    holders: &Holders<'_>,
    named: Named<'_>,
) -> Vec<Unavailable> {
    let is_movable = |port: u16| named.movable.iter().any(|numbers| numbers.iter().contains(&port));
    let given_as =
        |port: u16| named.given.iter().find(|(_, numbers)| numbers.iter().contains(&port)).map(|(name, _)| name.clone());
    let mut taken = Vec::new();
    for name in services {
        let Some(service) = deployment.service(name) else { continue };
        let place = if service.is_process() { Place::Here } else { Place::Engine };
        // The engine passes over what a container on the host's own network lists; it may be what that listens on itself.
        if service.container().is_some() && !publishes(service) && holders.has_container_on_host() {
            continue;
        }
        let mut held = Vec::new();
        for (index, port) in service.common.ports.iter().enumerate() {
            let Some(numbers) = numbers_on_host(service, port) else { continue };
            let protocol = if port.protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
            let address = port.host_ip.as_deref().and_then(|address| address.parse().ok());
            let is_free = |port: u16| holders.can_be_had(port, place, protocol, address);
            // Of a range the engine picks one for each replica: it is taken when all are.
            if numbers.iter().any(is_free) || numbers.iter().all(is_movable) {
                continue;
            }
            held.push(Held { numbers, who: holders.who(numbers.first, place), index });
        }
        let mut tell = |attribute, port, why| {
            let given = given_as(port);
            let help = given.as_deref().map_or_else(|| FIXED.to_owned(), remedy_of_given);
            taken.push(Unavailable { service: name.clone(), attribute, why, given, help });
        };
        for Held { numbers, who, index } in folded(held) {
            tell(("ports", index), numbers.first, format!("`{name}` needs port {numbers}, which is held by {who}"));
        }
        let ports: BTreeMap<u16, usize> = held_ports(service).collect();
        for (port, index) in ports {
            let listed = service.common.ports.iter().any(|listed| listed.target == port && listed.protocol != "udp");
            let is_free = holders.can_be_had(port, place, Protocol::Tcp, None);
            if !listed && !is_free && !is_movable(port) {
                let who = holders.who(port, place);
                tell(("sockets", index), port, format!("`{name}` needs port {port} for a socket, which is held by {who}"));
            }
        }
    }
    taken
}

/// What helps where a number is held that stands in the files.
const FIXED: &str =
    "end whoever holds it, write another number, or name the port under `ports` at the top: then a free one is found";

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
            given: None,
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

fn is_unbound(port: u16) -> bool {
    [Protocol::Tcp, Protocol::Udp].into_iter().all(|protocol| can_bind(port, protocol, None))
}

/// All processes that we may look into, with their sockets.
fn all_sockets() -> Vec<(i32, HashSet<u64>)> {
    processes::numbers().into_iter().filter_map(|pid| Some((pid, sockets::of_process(pid)?))).collect()
}

/// The sockets that are bound to a port.
fn sockets_on(port: u16, protocol: Protocol) -> HashSet<u64> {
    match protocol {
        Protocol::Tcp => sockets::listening(port),
        Protocol::Udp => sockets::bound_udp(port),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

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
    fn nobody() -> Option<HeldPorts> {
        Some(HeldPorts::default())
    }

    /// A port that nobody has bound, and that no other test gets: the kernel could choose the same for two.
    fn unbound() -> u16 {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Those of another run of the tests begin elsewhere.
        let begin = u16::try_from(std::process::id() % 100).unwrap() * 100 + 20_000;
        std::iter::repeat_with(|| begin + NEXT.fetch_add(1, Ordering::Relaxed)).find(|&port| is_unbound(port)).unwrap()
    }

    fn held(address: &str) -> (TcpListener, u16) {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[test]
    fn a_port_held_on_one_loopback_alone_is_not_free_and_its_holder_is_named() {
        let fixture = Fixture::new();
        let look = || Holders::look(&fixture.state, &fixture.env("demo"), &nobody, &Alive::default).unwrap();
        let (_four, port) = held("127.0.0.1:0");
        assert!(!look().is_free(port, Place::Both));
        assert!(look().who(port, Place::Both).starts_with(&format!("process {} (", std::process::id())));
        if TcpListener::bind("[::1]:0").is_ok() {
            let (_six, port) = held("[::1]:0");
            assert!(!look().is_free(port, Place::Both));
        }
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!look().is_free(udp.local_addr().unwrap().port(), Place::Both));
        assert!(look().who(udp.local_addr().unwrap().port(), Place::Both).starts_with("process"));
    }

    #[test]
    fn while_nobody_knows_of_containers_what_an_environment_keeps_is_its_own() {
        let fixture = Fixture::new();
        let (_kept, kept) = held("127.0.0.1:0");
        let (_other, other) = held("127.0.0.1:0");
        let dir = fixture.env("demo");
        dir.set_ports(&BTreeMap::from([("DB_PORT".to_owned(), Numbers { first: kept, last: kept })])).unwrap();
        let holders = Holders::look(&fixture.state, &dir, &|| None, &Alive::default).unwrap();
        assert!(holders.is_free(kept, Place::Both) && !holders.is_free(other, Place::Both));
        assert!(
            !Holders::look(&fixture.state, &dir, &nobody, &Alive::default).unwrap().is_free(kept, Place::Both),
            "nobody's container holds it"
        );
    }

    #[test]
    fn a_port_that_our_own_container_holds_is_ours_and_any_other_is_named() {
        let fixture = Fixture::new();
        let (_listener, port) = held("127.0.0.1:0");
        let of = |own| {
            move || {
                let container = PortOfContainer { name: "demo-db-1".to_owned(), env: Some("demo".to_owned()), own };
                Some(HeldPorts { published: BTreeMap::from([(port, container)]), ..HeldPorts::default() })
            }
        };
        let (ours, theirs) = (of(true), of(false));
        assert!(Holders::look(&fixture.state, &fixture.env("demo"), &ours, &Alive::default).unwrap().is_free(port, Place::Both));
        let holders = Holders::look(&fixture.state, &fixture.env("other"), &theirs, &Alive::default).unwrap();
        assert!(!holders.is_free(port, Place::Both));
        assert_eq!(holders.who(port, Place::Both), "the container `demo-db-1` of the environment `demo`");
    }

    #[test]
    fn on_the_hosts_own_network_a_kept_number_is_ours_whoever_may_look_and_no_other_is() {
        let fixture = Fixture::new();
        let dir = fixture.env("demo");
        let id = "0".repeat(64);
        let on_host = || Some(HeldPorts { on_host: BTreeSet::from([id.clone()]), ..HeldPorts::default() });
        // Nobody's process that can be seen: sockets that wait for their last connections look so too.
        let (_listener, port) = held("127.0.0.1:0");
        dir.set_ports(&BTreeMap::from([("P".to_owned(), Numbers { first: port, last: port })])).unwrap();
        let mut holders = Holders::look(&fixture.state, &dir, &on_host, &Alive::default).unwrap();
        assert!(!holders.is_free(port, Place::Both), "this process is in no container of that id");
        holders.sockets = OnceCell::from(Vec::new());
        assert!(holders.is_free(port, Place::Both));
        let mut nobodys = Holders::look(&fixture.state, &dir, &nobody, &Alive::default).unwrap();
        nobodys.sockets = OnceCell::from(Vec::new());
        assert!(!nobodys.is_free(port, Place::Both));
    }

    #[test]
    fn numbers_of_an_engine_elsewhere_are_those_that_its_containers_hold() {
        let fixture = Fixture::new();
        let (_here, here) = held("127.0.0.1:0");
        let there = unbound();
        let container = PortOfContainer { name: "other-db-1".to_owned(), env: Some("other".to_owned()), own: false };
        let containers = || Some(HeldPorts { published: BTreeMap::from([(there, container.clone())]), ..HeldPorts::default() });
        let holders = Holders::look(&fixture.state, &fixture.env("demo"), &containers, &Alive::default).unwrap();
        let holders = holders.with_engine_elsewhere(true);
        for (place, is_here_free, is_there_free) in
            [(Place::Here, false, true), (Place::Engine, true, false), (Place::Both, false, false)]
        {
            let had = |port| holders.can_be_had(port, place, Protocol::Tcp, None);
            assert_eq!((holders.is_free(here, place), holders.is_free(there, place)), (is_here_free, is_there_free), "{place:?}");
            assert_eq!((had(here), had(there)), (is_here_free, is_there_free), "{place:?}");
        }
        for place in [Place::Engine, Place::Both] {
            assert_eq!(holders.who(there, place), "the container `other-db-1` of the environment `other`");
        }
        assert!(holders.who(here, Place::Both).starts_with(&format!("process {} (", std::process::id())));
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
        let is_free = |env: &str| {
            Holders::look(&fixture.state, &fixture.env(env), &nobody, &Alive::default).unwrap().is_free(port, Place::Both)
        };
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
        let port = unbound();
        let other = fixture.env("other");
        other.set_ports(&BTreeMap::from([("P".to_owned(), Numbers { first: port, last: port })])).unwrap();
        let look = || Holders::look(&fixture.state, &fixture.env("demo"), &nobody, &Alive::default).unwrap();
        assert!(look().is_free(port, Place::Both), "it is down");
        let claim = other.claim().unwrap();
        assert!(!look().is_free(port, Place::Both));
        assert_eq!(look().who(port, Place::Both), "the environment `other`");
        let bound = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let who = look().who(port, Place::Both);
        assert!(
            who.starts_with(&format!("process {} (", std::process::id()))
                && who.ends_with("), and the environment `other` keeps it"),
            "{who}"
        );
        drop(bound);
        drop(claim);
        assert!(look().is_free(port, Place::Both));
    }

    #[test]
    fn what_was_started_with_a_number_keeps_it_while_it_runs_well_and_what_is_stopped_is_spared() {
        let fixture = Fixture::new();
        let (_listener, port) = held("127.0.0.1:0");
        let numbers = BTreeMap::from([("P".to_owned(), Numbers { first: port, last: port })]);
        fixture.env("demo").set_ports(&numbers).unwrap();
        for runs_well in [true, false] {
            let alive = || Alive { is_well: runs_well, ..Alive::default() };
            let look = |env: &str| Holders::look(&fixture.state, &fixture.env(env), &nobody, &alive).unwrap();
            assert_eq!((look("demo").is_free(port, Place::Both), look("other").is_free(port, Place::Both)), (runs_well, false));
            assert_eq!(look("demo").can_be_had(port, Place::Both, Protocol::Tcp, None), runs_well);
        }
        // What is stopped has left something; nobody has bound this one.
        let port = unbound();
        let (stopped, look) =
            (fixture.env("stopped"), || Holders::look(&fixture.state, &fixture.env("demo"), &nobody, &Alive::default).unwrap());
        stopped.set_ports(&BTreeMap::from([("P".to_owned(), Numbers { first: port, last: port })])).unwrap();
        assert_eq!(look().standing(port, Place::Both), Standing::Free, "it is down");
        let unit = serde_json::json!({"unit": "a:1", "goal": "stopped", "have": "created"});
        stopped.set_snapshot(&serde_json::json!({"deployment": null, "units": [unit]})).unwrap();
        assert_eq!((look().standing(port, Place::Both), look().is_free(port, Place::Both)), (Standing::Kept, true));
        assert_eq!(look().who(port, Place::Both), "the environment `stopped`, which is stopped");
    }

    #[test]
    fn a_fixed_port_that_is_taken_is_said_with_service_and_holder() {
        let fixture = Fixture::new();
        let holders = Holders::look(&fixture.state, &fixture.env("demo"), &nobody, &Alive::default).unwrap();
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
            let mut given = BTreeMap::new();
            let told = |given: &BTreeMap<String, Numbers>| {
                taken_ports(&deployment, std::slice::from_ref(&name), &holders, Named { movable: &[], given })
            };
            let said = told(&given);
            assert_eq!(said.len(), usize::from(is_taken), "{service:?}");
            assert!(said.iter().all(|it| it.why.starts_with(&format!("`web` needs port {port}, which is held by process"))));
            assert!(said.iter().all(|it| it.help.contains("name the port under `ports`")));
            given.insert("WEB".to_owned(), Numbers { first: port, last: port });
            let said = told(&given);
            assert!(said.iter().all(|it| it.help.contains("unset `WEB`") && !it.help.contains("under `ports`")), "{said:?}");
            assert_eq!(said.len(), usize::from(is_taken));
        }
    }
}
