//! Random stacks and random requests.

use std::sync::Arc;
use std::time::Duration;

use crate::base::name::ServiceName;
use crate::base::random::Random;
use crate::model::build::Build;
use crate::model::container::Container;
use crate::model::depends::{Condition, Dependency};
use crate::model::health::HealthCheck;
use crate::model::network::Network;
use crate::model::process::{Command, OnUnhealthy, Process, Reload};
use crate::model::restart::RestartPolicy;
use crate::model::schedule::{Overlap, Schedule, Times};
use crate::model::service::{Common, Kind, Service};
use crate::model::socket::{Socket, SocketAddress};
use crate::model::stack::Stack;
use crate::model::watch::{WatchAction, WatchRule};
use crate::plan::desired::{Caller, Deployment, Places};
use crate::supervisor::request::{Abort, Down, Pause, Recreate, Request, Restart, Select, Stop, Up};

/// A stack with this many services, a version in each one's definition, and one more in the network's.
pub(super) fn deployment(random: &mut Random, size: u64, versions: &[u64]) -> Deployment {
    let mut stack = Stack::default();
    let of_network = versions.last().copied().unwrap_or_default().to_string();
    let network = Network { driver_opts: [("version".to_owned(), of_network)].into(), ..Network::default() };
    stack.networks.insert("default".to_owned(), network);
    for index in 0..size {
        let kind = random.below(5);
        let task = kind == 0;
        let container = kind >= 3;
        let mut common = Common {
            restart: match random.below(4) {
                0 => RestartPolicy::Always,
                1 => RestartPolicy::OnFailure { max: Some(2) },
                2 => RestartPolicy::UnlessStopped,
                _ => RestartPolicy::No,
            },
            stop_grace_period: Some(Duration::from_secs(1)),
            scale: (random.below(6) == 0 && !task).then(|| 1 + u32::try_from(random.below(2)).expect("small")),
            ..Common::default()
        };
        common.environment.insert("VERSION".to_owned(), Some(versions[usize::try_from(index).expect("small")].to_string()));
        if !task && random.chance(50) {
            common.healthcheck = Some(HealthCheck {
                test: vec!["CMD".to_owned(), "true".to_owned()],
                interval: Some(Duration::from_secs(5)),
                retries: Some(2),
                ..HealthCheck::default()
            });
        }
        for other in 0..index {
            if !random.chance(33) {
                continue;
            }
            let (name, service): (&ServiceName, &Service) =
                stack.services.get_index(usize::try_from(other).expect("small")).expect("made before");
            let is_task = service.is_task();
            let condition = match (is_task, service.common.healthcheck.is_some()) {
                (true, _) => Condition::Completed,
                (false, true) if random.chance(60) => Condition::Healthy,
                (false, _) => Condition::Started,
            };
            common
                .depends_on
                .insert(name.clone(), Dependency { condition, restart: random.chance(30), required: random.chance(90) });
        }
        let kind = if container {
            let networks = [("default".to_owned(), None)].into();
            // Who only names what another builds waits for that.
            let build = random.chance(20).then(|| Build { context: "/".to_owned(), ..Build::default() });
            let pull_policy = (build.is_some() && random.chance(30)).then(|| "build".to_owned());
            let image = Some("image".to_owned());
            Kind::Container(Box::new(Container { image, build, pull_policy, networks, ..Container::default() }))
        } else {
            let on_unhealthy = if random.chance(50) { OnUnhealthy::Restart } else { OnUnhealthy::None };
            let start_timeout = random.chance(20).then_some(Duration::from_secs(20));
            let command = Some(Command::Text("run".to_owned()));
            let address = SocketAddress::Tcp(format!("127.0.0.1:{}", 8000 + index));
            let sockets = random.chance(20).then_some(Socket { name: None, address, backlog: None }).into_iter().collect();
            let schedule = (task && random.chance(40)).then(|| schedule(random));
            if random.chance(40) {
                common.develop.watch.push(watch());
            }
            let reload = if !task && random.chance(50) { Reload::StartFirst } else { Reload::StopFirst };
            Kind::Process(Box::new(Process {
                command,
                start_timeout,
                on_unhealthy,
                sockets,
                reload,
                schedule,
                task,
                ..Process::default()
            }))
        };
        stack.services.insert(format!("s{index}").parse().expect("a legal name"), Service { common, kind });
    }
    Deployment { env: "sim".parse().expect("a legal name"), stack, caller: Caller::default(), places: Places::default() }
}

fn watch() -> WatchRule {
    WatchRule {
        path: "/src".into(),
        action: WatchAction::Restart,
        target: None,
        ignore: Vec::new(),
        include: Vec::new(),
        initial_sync: false,
        exec: None,
        ignore_defaults: None,
    }
}

fn schedule(random: &mut Random) -> Schedule {
    let times = if random.chance(50) {
        Times::Every(Duration::from_secs(1 + random.below(20)))
    } else {
        Times::Cron("* * * * *".parse().expect("a time of cron"))
    };
    let overlap = match random.below(3) {
        0 => Overlap::Skip,
        1 => Overlap::Queue,
        _ => Overlap::Kill,
    };
    Schedule { times, overlap }
}

/// `up` of everything.
pub(super) fn up(deployment: &Arc<Deployment>, services: Vec<ServiceName>, wait: bool, attached: bool) -> Request {
    Request::Up(Box::new(Up {
        deployment: Deployment::clone(deployment),
        services,
        no_deps: false,
        wait,
        wait_timeout: wait.then_some(Duration::from_secs(30)),
        recreate: Recreate::WhenChanged,
        recreate_dependencies: false,
        renew_anon_volumes: false,
        yes: false,
        build: false,
        no_build: false,
        pull: None,
        remove_orphans: true,
        scale: indexmap::IndexMap::new(),
        beside: false,
        watch: true,
        watch_containers: false,
        engine_health: false,
        no_start: false,
        attached,
        shown: if attached { deployment.stack.services.keys().cloned().collect() } else { Vec::new() },
        abort: Abort::Never,
        timeout: None,
    }))
}

/// `down` of everything.
pub(super) fn down() -> Request {
    Request::Down(Down::default())
}

/// One of the other requests.
pub(super) fn any(random: &mut Random, deployment: &Deployment) -> Request {
    let services = if random.chance(40) { Vec::new() } else { vec![one(random, deployment)] };
    match random.below(5) {
        4 => Request::Pause(Pause { services, paused: random.chance(60) }),
        0 => Request::Stop(Stop { services, timeout: None }),
        1 => Request::Start(Select { services, wait: random.chance(50), wait_timeout: Some(Duration::from_secs(20)) }),
        2 => Request::Kill(crate::supervisor::request::Kill { services, ..Default::default() }),
        _ => Request::Restart(Restart { services, no_deps: random.chance(20), ..Restart::default() }),
    }
}

/// A service of the stack.
pub(super) fn one(random: &mut Random, deployment: &Deployment) -> ServiceName {
    let services = &deployment.stack.services;
    services.get_index(random.index(services.len())).expect("in range").0.clone()
}
