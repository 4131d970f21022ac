//! Numbers for the named ports of a stack, and who stands in the way of those that it would like to have.

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::CliError;
use super::context::{Context, Missing};
use crate::base::name::{EnvId, ServiceName};
use crate::load::Head;
use crate::model::service::Service;
use crate::plan::desired::Deployment;
use crate::plan::ports::{self, Numbers, Standing};
use crate::supervisor::request::{Reply, Request};
use crate::supervisor::status::{Health, Status, UnitState, UnitStatus};
use crate::world::docker::{Endpoint, HeldPorts};
use crate::world::envdir::{EnvDir, FileLock};
use crate::world::facts::{self, Alive, Holders, IsAlive, Place};

/// What the named ports of a stack get.
pub(super) struct Allotment {
    /// The numbers, by name.
    pub(super) numbers: BTreeMap<String, Numbers>,
    /// Who holds what was wanted, one clause for each, and what is had instead.
    pub(super) moved: Vec<Moved>,
}

/// What is done to services that are to run again as they did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// What is stopped is started.
    Start,
    /// What is alive is stopped first, which leaves its numbers.
    Restart,
}

/// Numbers that one holder has, and those that are had in their place.
pub(super) struct Moved {
    held: String,
    instead: String,
}

impl Moved {
    /// Who holds what.
    pub(super) fn held(&self) -> &str {
        &self.held
    }

    /// In one line, of numbers that are kept from now on.
    pub(super) fn told(&self) -> String {
        format!("{}; {} instead", self.held, self.instead)
    }

    /// The same of what an `up` would do.
    pub(super) fn foretold(&self) -> String {
        format!("{}; with `up`, {} instead", self.held, self.instead)
    }
}

impl Context {
    /// As [`allot_ports`](Self::allot_ports) under the host's lock, for numbers that are kept. A supervisor may take its time to answer,
    /// and what a dead one has left takes time to end: what is alive is asked without the lock.
    pub(super) fn allot_ports_under(
        &self,
        lock: &mut Option<FileLock>,
        head: &Head,
        dir: &EnvDir,
        strict: bool,
    ) -> Result<Allotment, CliError> {
        let known: OnceCell<Alive> = OnceCell::new();
        loop {
            let is_wanted = Cell::new(false);
            let is_alive = || {
                is_wanted.set(known.get().is_none());
                known.get().cloned().unwrap_or_default()
            };
            let allotted = self.allot(head, dir, strict, &is_alive);
            if !is_wanted.get() {
                return allotted;
            }
            drop(lock.take());
            known.get_or_init(|| self.alive(dir));
            *lock = Some(self.state()?.host_lock().map_err(CliError::failed)?);
        }
    }

    /// Numbers for the named ports, and what is to be said of replacements. Nothing is recorded.
    pub(super) fn allot_ports(&self, head: &Head, dir: &EnvDir, strict: bool) -> Result<Allotment, CliError> {
        self.allot(head, dir, strict, &|| self.alive(dir))
    }

    fn allot(&self, head: &Head, dir: &EnvDir, strict: bool, is_alive: IsAlive<'_>) -> Result<Allotment, CliError> {
        let is_set = |name: &str| head.environment.contains_key(name);
        // What the caller or `.env` sets is not for us to choose, nor to find free.
        let named: IndexMap<_, _> =
            head.named_ports.iter().filter(|(name, _)| !is_set(name)).map(|(name, port)| (name.clone(), *port)).collect();
        if named.is_empty() {
            return Ok(Allotment { numbers: BTreeMap::new(), moved: Vec::new() });
        }
        let kept = dir.ports().map_err(CliError::failed)?;
        // Which of them is for what, only the second look tells.
        let place = if head.has_processes { Place::Both } else { Place::Engine };
        self.with_holders_and(dir, is_alive, |holders| {
            // Who insists on the preferred ones is not content with what was once found in their place, nor leaves them to what is stopped.
            let before = if strict { BTreeMap::new() } else { kept };
            let standing = |port| match holders.standing(port, place) {
                Standing::Kept if strict => Standing::Free,
                standing => standing,
            };
            let allotted = ports::allot(&named, &before, dir.id(), standing).map_err(CliError::failed)?;
            // All that one holder has taken in one line.
            let mut held: IndexMap<String, Vec<(&str, u16, Numbers)>> = IndexMap::new();
            for (name, port) in &allotted {
                if let Some(blocked) = &port.blocked {
                    let who = blocked.sibling.as_ref().map(|sibling| format!("`{sibling}` of this stack"));
                    let who = who.unwrap_or_else(|| holders.who(blocked.port, place));
                    held.entry(who).or_default().push((name, blocked.port, port.numbers));
                }
            }
            let moved: Vec<Moved> = held.iter().map(|(who, ports)| moved(who, ports)).collect();
            if strict && !moved.is_empty() {
                return Err(CliError::Several(moved.into_iter().map(|moved| moved.held).collect()));
            }
            Ok(Allotment { numbers: allotted.into_iter().map(|(name, port)| (name, port.numbers)).collect(), moved })
        })
    }

    /// Looks at who holds which port, as seen by an environment.
    pub(super) fn with_holders<T>(
        &self,
        dir: &EnvDir,
        ask: impl FnOnce(&Holders<'_>) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        self.with_holders_and(dir, &|| self.alive(dir), ask)
    }

    fn with_holders_and<T>(
        &self,
        dir: &EnvDir,
        is_alive: IsAlive<'_>,
        ask: impl FnOnce(&Holders<'_>) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let containers = || self.ports_of_containers(dir.id());
        let holders = Holders::look(&self.state()?, dir, &containers, is_alive).map_err(CliError::failed)?;
        ask(&holders.with_engine_elsewhere(Endpoint::find(&self.caller).is_elsewhere()))
    }

    /// The ports that containers hold. What the environment owns is known from its last `up`; none when the engine does not answer
    /// and the environment had containers, which may run on.
    fn ports_of_containers(&self, env: &EnvId) -> Option<HeldPorts> {
        let stack = self.deployment(env).ok().flatten().map(|deployment| deployment.stack).unwrap_or_default();
        let held = self.engine().ok().and_then(|engine| engine.held_ports(env, &stack.owns).ok());
        let may_run_on = stack.services.values().any(Service::needs_engine);
        if may_run_on { held } else { Some(held.unwrap_or_default()) }
    }

    fn alive(&self, dir: &EnvDir) -> Alive {
        if dir.units().is_empty() {
            return Alive::default();
        }
        match self.answer(dir.id(), Request::Status, Missing::IsFine) {
            Ok(Some(Reply::Status(status))) => alive_in(&status),
            Ok(_) | Err(_) => Alive::default(),
        }
    }

    /// That what is to be started again as it was, these services or all of which something is there, finds the ports that it was
    /// started with. Before anything is begun.
    pub(super) fn check_ports_again(&self, env: &EnvId, services: &[ServiceName], again: Again) -> Result<(), CliError> {
        let Some(deployment) = self.deployment(env)? else { return Ok(()) };
        let dir = self.env_dir(env)?;
        let is_meant = |name: &ServiceName| services.is_empty() || services.contains(name);
        let there: BTreeSet<ServiceName> = dir.units().into_iter().map(|unit| unit.service).filter(is_meant).collect();
        let there: Vec<ServiceName> = there.into_iter().collect();
        let held = self.ports_held(&deployment, &dir, &there, services.is_empty(), again)?;
        if held.is_empty() { Ok(()) } else { Err(CliError::Several(held)) }
    }

    /// Who holds ports that these services, or `all` of the environment, were started with; one sentence each, with what to do.
    pub(super) fn ports_held(
        &self,
        deployment: &Deployment,
        dir: &EnvDir,
        services: &[ServiceName],
        all: bool,
        again: Again,
    ) -> Result<Vec<String>, CliError> {
        let given = dir.given_ports().map_err(CliError::failed)?;
        let in_force = dir.ports_in_force().map_err(CliError::failed)?;
        let numbers = |name: &String| Some((name.clone(), *in_force.get(name)?));
        let named: Vec<(String, Numbers)> = deployment.stack.ports.keys().filter_map(numbers).collect();
        let of_names: Vec<Numbers> = named.iter().map(|(_, numbers)| *numbers).collect();
        self.with_holders(dir, |holders| {
            // A number that has a name is told by that where all is started: a service alone may not need it.
            let of_names = facts::Named { movable: if all { &of_names } else { &[] }, given: &given };
            let mut taken = facts::taken_ports(deployment, services, holders, of_names);
            // What is alive has its ports.
            taken.retain(|port| !holders.alive().services.contains(&port.service));
            let remedy = |given: Option<&str>| given.map_or_else(|| AGAIN.to_owned(), facts::remedy_of_given);
            let mut told: Vec<String> =
                taken.iter().map(|port| format!("{}; {}", port.why, remedy(port.given.as_deref()))).collect();
            let mut held: IndexMap<(String, Option<&str>), Vec<HeldPort<'_>>> = IndexMap::new();
            for (name, numbers) in named.iter().filter(|_| all) {
                let place = facts::place_of(deployment, *numbers);
                let is_held = |port: &u16| !holders.can_be_had(*port, place, facts::protocol_of(deployment, *port), None);
                let Some(port) = numbers.iter().find(is_held) else { continue };
                if again == Again::Restart && !facts::users_of(deployment, *numbers).is_disjoint(&holders.alive().services) {
                    continue;
                }
                let given = given.contains_key(name).then_some(name.as_str());
                held.entry((holders.who(port, place), given)).or_default().push((name, port, *numbers));
            }
            told.extend(held.iter().map(|((who, given), ports)| format!("{}; {}", moved(who, ports).held, remedy(*given))));
            Ok(told)
        })
    }
}

/// What to do about a port that was had before.
const AGAIN: &str = "end whoever holds it, or change the number by `baistack up`, which finds another one for a named port";

/// The name of a port, the number of it that is held, and all of its numbers.
type HeldPort<'a> = (&'a str, u16, Numbers);

fn moved(who: &str, ports: &[HeldPort<'_>]) -> Moved {
    let each: Vec<_> = ports.iter().map(|(name, port, _)| format!("{port} of `{name}`")).collect();
    let instead: Vec<_> = ports.iter().map(|(name, _, numbers)| format!("{name} is {numbers}")).collect();
    let (ports, are) = if each.len() == 1 { ("port", "is") } else { ("ports", "are") };
    Moved { held: format!("{ports} {} {are} held by {who}", each.join(", ")), instead: instead.join(", ") }
}

fn alive_in(status: &Status) -> Alive {
    let runs = |unit: &&UnitStatus| {
        matches!(unit.state, UnitState::Running | UnitState::Paused | UnitState::Starting | UnitState::Stopping)
    };
    let services = status.units.iter().filter(runs).map(|unit| unit.unit.service.clone()).collect();
    Alive { services, is_well: is_well(status) }
}

/// Whether something runs, and all that was started is as it should be.
fn is_well(status: &Status) -> bool {
    let is_as_wanted = |unit: &UnitStatus| match unit.state {
        UnitState::Running | UnitState::Paused => matches!(unit.health, None | Some(Health::Healthy)),
        UnitState::Absent | UnitState::UpToDate | UnitState::Succeeded | UnitState::Scheduled | UnitState::Exited { code: 0 } => {
            true
        }
        UnitState::Waiting { .. }
        | UnitState::Preparing
        | UnitState::Removing
        | UnitState::Created
        | UnitState::Checking
        | UnitState::Starting
        | UnitState::Stopping
        | UnitState::Exited { .. }
        | UnitState::Stopped { .. }
        | UnitState::BackingOff { .. }
        | UnitState::Failed { .. }
        | UnitState::Blocked { .. }
        | UnitState::Unknown => false,
    };
    let lasting = || status.units.iter().filter(|unit| !unit.one_off);
    lasting().any(|unit| unit.state == UnitState::Running) && lasting().all(is_as_wanted)
}

/// Keeps the numbers that were found. Those that the caller of an `up` has set are kept when that begins.
pub(super) fn keep_ports(dir: &EnvDir, numbers: &BTreeMap<String, Numbers>) -> Result<(), CliError> {
    // Numbers of names that the file has no longer stay: it may have them again.
    let mut recorded = dir.ports().map_err(CliError::failed)?;
    recorded.extend(numbers.clone());
    dir.set_ports(&recorded).map_err(CliError::failed)
}

/// The numbers of named ports that the caller or `.env` sets, as far as they are numbers.
pub(super) fn given_ports(head: &Head) -> BTreeMap<String, Numbers> {
    let given = head.named_ports.keys().filter_map(|name| Some((name.clone(), head.environment.get(name)?.parse().ok()?)));
    given.collect()
}

/// The variables of named ports. Where the caller or `.env` sets one, its value wins, and the ends of a range are that value's.
pub(super) fn port_variables(head: &Head, numbers: &BTreeMap<String, Numbers>) -> IndexMap<String, String> {
    let given = given_ports(head);
    ports::variables(&head.named_ports, |name| given.get(name).or_else(|| numbers.get(name)).copied())
}
