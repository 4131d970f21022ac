//! What the host must have before anything starts: looked at all at once, told all at once.

use std::process::Command;
use std::sync::Arc;

use indexmap::IndexMap;

use super::CliError;
use super::context::{Context, Ready};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::base::source::Span;
use crate::model::depends::Dependency;
use crate::model::requires::Need;
use crate::model::service::Service;
use crate::model::stack::Stack;
use crate::plan::desired::{Deployment, UnitSpec};
use crate::plan::hash::ConfigHash;
use crate::supervisor;
use crate::view::term;
use crate::world::facts::{self, Named, Unavailable};
use crate::world::native::capabilities::{self, Missing, Verdict};
use crate::world::native::cgroup;
use crate::yaml::node::Node;

impl Context {
    /// Checks `requires`, ports that are fixed in the files, limits, capabilities and the engine, for these services and what they
    /// depend on.
    pub fn check_host(&self, ready: &Ready, services: &[ServiceName], setcap: bool) -> Result<(), CliError> {
        self.check(&ready.deployment, Some(ready), services, setcap, true)
    }

    /// As [`Context::check_host`], with so many replicas of some.
    pub fn check_host_scaled(
        &self,
        ready: &Ready,
        services: &[ServiceName],
        setcap: bool,
        scale: &IndexMap<ServiceName, u32>,
    ) -> Result<(), CliError> {
        self.check(&scaled(&ready.deployment, scale), Some(ready), services, setcap, true)
    }

    /// As [`Context::check_host`], for what is only made: who holds a port does not matter yet.
    pub fn check_host_to_create(&self, ready: &Ready, services: &[ServiceName]) -> Result<(), CliError> {
        self.check(&ready.deployment, Some(ready), services, false, false)
    }

    /// As [`Context::check_host`], for all of what was started before and is to be started again; without the ports, while those
    /// who hold them are still to be stopped.
    pub fn check_host_again(&self, deployment: &Deployment, ports: bool) -> Result<(), CliError> {
        self.check(deployment, None, &[], false, ports)
    }

    /// What would keep an `up` of these services, with so many replicas of some, from beginning, one sentence each. Containers that
    /// it would leave out for want of an engine are taken out of the stack, as it does.
    pub fn obstacles(
        &self,
        ready: &mut Ready,
        services: &[ServiceName],
        scale: &IndexMap<ServiceName, u32>,
        ports: bool,
    ) -> Result<Vec<String>, CliError> {
        // A named port that is taken is replaced, which only an `up` does.
        let named = Named { movable: &ready.movable, given: &ready.given };
        let ports = if ports { Ports::All(named) } else { Ports::None };
        let mut deployment = scaled(&ready.deployment, scale);
        // Whoever only looks runs none of the user's commands.
        deployment.stack.requires.retain(|required| !matches!(required.what, Need::Command(_)));
        let Problems { mut others, ports, engine } = self.problems(&Arc::new(deployment), services, false, ports)?;
        others.extend(ports.into_iter().map(in_a_line));
        // That it does not answer is told where the containers are planned.
        if engine.is_none() {
            self.leave_out_containers(ready)?;
        }
        Ok(others)
    }

    /// The same in earnest. What has a place in the files is shown there, where these are at hand.
    fn check(
        &self,
        deployment: &Deployment,
        files: Option<&Ready>,
        services: &[ServiceName],
        setcap: bool,
        ports: bool,
    ) -> Result<(), CliError> {
        let given = match files {
            Some(ready) => ready.given.clone(),
            None => self.env_dir(&deployment.env)?.given_ports().map_err(CliError::failed)?,
        };
        let ports = if ports { Ports::All(Named { movable: &[], given: &given }) } else { Ports::None };
        let Problems { mut others, ports, engine } = self.problems(&Arc::new(deployment.clone()), services, setcap, ports)?;
        let mut shown = Diagnostics::default();
        for port in ports {
            match files.and_then(|files| place(&files.tree, &port)) {
                Some(span) => shown.push(Diagnostic::error("unfit-host", port.why).at(span, "").help(port.help)),
                None => others.push(in_a_line(port)),
            }
        }
        if let Some(files) = files.filter(|_| shown.has_errors()) {
            self.show(&shown, &files.sources);
            if others.is_empty() {
                others.push("nothing was begun: a port of the stack file cannot be had".to_owned());
            }
        }
        match (others.is_empty(), engine) {
            (true, None) => Ok(()),
            (true, Some(away)) => Err(CliError::Engine(away)),
            (false, None) => Err(CliError::Several(others)),
            (false, Some(away)) => {
                others.push(away);
                Err(CliError::EngineAmongOthers(others))
            }
        }
    }

    /// That processes which are to be started again as they were find the directory that they were started in; before anything is
    /// stopped for it.
    pub fn check_place(&self, env: &EnvId, services: &[ServiceName]) -> Result<(), CliError> {
        let Some(deployment) = self.deployment(env)? else { return Ok(()) };
        let is_meant = |name: &ServiceName| services.is_empty() || services.contains(name);
        if !deployment.stack.services.iter().any(|(name, service)| is_meant(name) && service.is_process()) {
            return Ok(());
        }
        let directory = &deployment.stack.directory;
        let fault = match self.env_dir(env)?.moved(&self.working_dir).map_err(CliError::failed)? {
            Some(moved) => {
                let (from, to) = (moved.from.display(), moved.to.display());
                format!("`{from}`, the directory of {env}, is `{to}` by now: `baistack up` there goes on with it")
            }
            None if !directory.is_dir() => {
                let remedy = "put it back, or start the stack with `baistack up` where it is";
                format!("`{}`, the directory of {env}, is not there: {remedy}", directory.display())
            }
            None => return Ok(()),
        };
        Err(CliError::Failed(format!("{fault}; nothing was done")))
    }

    /// All that is wrong with the host.
    fn problems(
        &self,
        deployment: &Arc<Deployment>,
        services: &[ServiceName],
        setcap: bool,
        ports: Ports<'_>,
    ) -> Result<Problems, CliError> {
        let selected = supervisor::select(&deployment.stack, services, false);
        let release = || self.engine().map_err(|error| error.to_string())?.release().map_err(|fault| fault.message);
        let mut others: Vec<String> =
            facts::missing(deployment, &self.caller, &release).iter().map(ToString::to_string).collect();
        let mut unavailable = Vec::new();
        if let Ports::All(named) = ports {
            unavailable.extend(facts::crowded_ports(deployment, &selected));
            let taken = self.with_holders(&self.env_dir(&deployment.env)?, |holders| {
                Ok(facts::taken_ports(deployment, &selected, holders, named))
            })?;
            unavailable.extend(taken);
        }
        let limits =
            processes(deployment, &selected).filter_map(|spec| Some((spec.unit.service.clone(), cgroup::check(&spec).err()?)));
        others.extend(limits.map(|(name, fault)| format!("`{name}`: {fault}")));
        others.extend(self.capabilities(deployment, &selected, setcap)?);
        let engine = self.engine_problem(deployment, &selected)?;
        if engine.is_none() {
            others.extend(self.too_old_for(deployment, &selected)?);
        }
        Ok(Problems { others, ports: unavailable, engine })
    }

    /// Takes containers out of a stack when no engine answers; [`Context::check_host`] has seen to it that nobody insists on
    /// one. What depends on them with `required: false` starts without.
    pub fn leave_out_containers(&self, ready: &mut Ready) -> Result<(), CliError> {
        self.leave_containers_out_of(&mut ready.deployment.stack)
    }

    /// The same of a stack that was started before.
    pub fn leave_containers_out_of(&self, stack: &mut Stack) -> Result<(), CliError> {
        if !stack.services.values().any(Service::needs_engine) || self.engine()?.release().is_ok() {
            return Ok(());
        }
        let (processes, containers) =
            std::mem::take(&mut stack.services).into_iter().partition(|(_, service)| !service.needs_engine());
        stack.services = processes;
        stack.disabled.extend::<indexmap::IndexMap<_, _>>(containers);
        stack.images.clear();
        Ok(())
    }

    /// Does what an earlier `up --ignore-limits` did, if there was one: whoever goes on with what it started does not ask again.
    pub fn leave_out_limits_as_before(&self, ready: &mut Ready) -> Result<(), CliError> {
        if self.deployment(&ready.deployment.env)?.is_some_and(|deployment| deployment.caller.ignores_limits) {
            self.leave_out_limits(ready, &[]);
        }
        Ok(())
    }

    /// Takes those limits out of a stack that cannot be kept here, and says so.
    pub fn leave_out_limits(&self, ready: &mut Ready, services: &[ServiceName]) {
        ready.deployment.caller.ignores_limits = true;
        let deployment = Arc::new(ready.deployment.clone());
        let selected = supervisor::select(&deployment.stack, services, false);
        for spec in processes(&deployment, &selected).filter(|spec| cgroup::check(spec).is_err()) {
            let name = &spec.unit.service;
            if let Some(service) = ready.deployment.stack.services.get_mut(name) {
                let left_out = cgroup::leave_out(&mut service.common);
                self.printer.warning(format!("`{name}` runs without its `{}`, which cannot be kept here", left_out.join("`, `")));
            }
        }
    }

    /// What is wrong with the engine, if a container needs one that does not answer. Containers that nobody insists on are
    /// left out with a warning.
    fn engine_problem(&self, deployment: &Deployment, selected: &[ServiceName]) -> Result<Option<String>, CliError> {
        let needs_none = |name: &&ServiceName| deployment.service(name).is_some_and(|service| !service.needs_engine());
        let (processes, containers): (Vec<&ServiceName>, Vec<&ServiceName>) = selected.iter().partition(needs_none);
        if containers.is_empty() {
            return Ok(None);
        }
        let Err(fault) = self.engine()?.release() else { return Ok(None) };
        let needed: Vec<String> =
            containers.iter().filter(|name| is_needed(deployment, name)).map(|name| format!("`{name}`")).collect();
        if needed.is_empty() {
            let names: Vec<String> = containers.iter().map(|name| format!("`{name}`")).collect();
            self.printer.warning(format!("{fault}; {} left out, since nothing requires it", names.join(", ")));
            return Ok(None);
        }
        let could: Vec<&str> =
            (processes.iter()).filter(|name| !depends_on_container(deployment, name)).map(|name| name.as_str()).collect();
        let hint = if could.is_empty() { String::new() } else { format!("; without it: `baistack up {}`", could.join(" ")) };
        Ok(Some(format!("{fault}; needed for {}{hint}", needed.join(", "))))
    }

    /// What these containers ask of an engine that is too old for it. None that answers is told elsewhere.
    fn too_old_for(&self, deployment: &Deployment, selected: &[ServiceName]) -> Result<Vec<String>, CliError> {
        if !selected.iter().any(|name| deployment.service(name).is_some_and(Service::needs_engine)) {
            return Ok(Vec::new());
        }
        Ok(self.engine()?.too_old_for(deployment, selected).unwrap_or_default())
    }

    /// Processes that would not get what their `cap_add` asks for.
    fn capabilities(
        &self,
        deployment: &Arc<Deployment>,
        selected: &[ServiceName],
        setcap: bool,
    ) -> Result<Vec<String>, CliError> {
        let mut problems = Vec::new();
        for spec in processes(deployment, selected) {
            let name = &spec.unit.service;
            match capabilities::check(&spec) {
                Verdict::NotAsked | Verdict::Ambient | Verdict::InFile | Verdict::NotYet(_) => {}
                Verdict::Wrong(fault) => problems.push(format!("`{name}`: {fault}")),
                Verdict::Missing(missing) if setcap && term::stdin_is_terminal() => self.set_capabilities(missing)?,
                Verdict::Missing(missing) => {
                    let line = missing.command().join(" ");
                    let shared =
                        if missing.shared_interpreter { " (its program is an interpreter that everybody may run)" } else { "" };
                    problems.push(format!("`{name}` lacks capabilities{shared}; this would help, or `up --setcap`: {line}"));
                }
            }
        }
        Ok(problems)
    }

    /// Sets what is missing. An interpreter that everybody may run gets a copy first, where a virtual environment has a place
    /// for one.
    fn set_capabilities(&self, missing: Missing) -> Result<(), CliError> {
        let interpreter = missing.file.clone();
        let missing = missing.made_private().map_err(|error| {
            CliError::Failed(format!("copy `{}` into the virtual environment: {error}", interpreter.display()))
        })?;
        let (command, shown) = (missing.command(), missing.command().join(" "));
        if missing.shared_interpreter {
            return Err(CliError::Failed(format!(
                "`{shown}` would give capabilities to everybody who may run the interpreter; put it into a virtual environment"
            )));
        }
        if missing.file != interpreter {
            self.printer.say(format!("`{}` is a copy of `{}` now", missing.file.display(), interpreter.display()));
        }
        self.printer.say(format!("running `{shown}`: {}", missing.consequences()));
        let status = Command::new(&command[0]).args(&command[1..]).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(CliError::Failed(format!("`{shown}` ended with {status}"))),
            Err(error) => Err(CliError::Failed(format!("`{shown}`: {error}"))),
        }
    }
}

/// Which of a stack's fixed ports are looked at.
#[derive(Debug, Clone, Copy)]
enum Ports<'a> {
    /// Whether there are enough of them, and who holds them.
    All(Named<'a>),
    /// None.
    None,
}

/// What keeps a start from beginning.
struct Problems {
    /// One sentence each.
    others: Vec<String>,
    ports: Vec<Unavailable>,
    /// What is wrong with the engine, if a container needs one.
    engine: Option<String>,
}

/// A port that cannot be had, without its place.
fn in_a_line(port: Unavailable) -> String {
    format!("{}; {}", port.why, port.help)
}

/// Where a service asks for a port: an item of its list, as far as that still has the items of the file.
fn place(tree: &Node, port: &Unavailable) -> Option<Span> {
    let (attribute, index) = port.attribute;
    let service = ["services", "processes"].iter().find_map(|kind| tree.get(kind)?.as_mapping()?.entry(port.service.as_str()))?;
    let list = service.node.as_mapping()?.entry(attribute)?;
    let item = list.node.as_sequence().and_then(|items| items.get(index));
    Some(item.map_or(list.key_span, |item| item.span))
}

/// The processes among these services, by their first replica.
fn processes(deployment: &Arc<Deployment>, selected: &[ServiceName]) -> impl Iterator<Item = UnitSpec> {
    selected.iter().filter_map(|name| {
        let service = deployment.service(name).filter(|service| service.is_process())?;
        let hash = ConfigHash::of(service, &deployment.stack, &deployment.env);
        Some(UnitSpec { unit: UnitId::new(name.clone(), 1), deployment: Arc::clone(deployment), hash })
    })
}

/// A deployment with so many replicas of some services.
pub fn scaled(deployment: &Deployment, scale: &IndexMap<ServiceName, u32>) -> Deployment {
    let mut deployment = deployment.clone();
    for (name, replicas) in scale {
        if let Some(service) = deployment.stack.services.get_mut(name) {
            service.common.scale = Some(*replicas);
        }
    }
    deployment
}

/// Whether a container has to be there: nobody depends on it, or somebody insists.
fn is_needed(deployment: &Deployment, name: &ServiceName) -> bool {
    let edges: Vec<&Dependency> =
        deployment.stack.services.values().filter_map(|service| service.common.depends_on.get(name)).collect();
    edges.is_empty() || edges.iter().any(|edge| edge.required)
}

fn depends_on_container(deployment: &Deployment, name: &ServiceName) -> bool {
    let all = supervisor::select(&deployment.stack, std::slice::from_ref(name), false);
    all.iter().any(|name| deployment.service(name).is_some_and(Service::needs_engine))
}
