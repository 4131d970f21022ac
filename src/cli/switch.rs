//! `switch`: stops one environment and starts another.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::CliError;
use super::context::{Context, Missing};
use super::environments;
use super::port_numbers::Again;
use crate::base::exit::Exit;
use crate::base::name::{EnvId, ServiceName};
use crate::plan::desired::{Deployment, ONE_OFF};
use crate::supervisor::request::{Reply, Request, Select, Stop, Up};
use crate::supervisor::status::{UnitState, UnitStatus};
use crate::world::clock;

/// What ends with a failure within this after its start has not come up. Long enough for a program that misses its settings or its
/// port to say so, and for one that is started again at once to come up after all.
const SETTLING: Duration = Duration::from_secs(1);
/// So long it is between two looks meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Flags of `switch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  baistack switch k3v9x2ab\n\nStops the environment of the stack here (or of -p); where there is none, the only other \
                        one that runs. Then starts what was stopped of the other, as `baistack -p ENVID start` does; of one that is down all is brought up \
                        that its last `up` describes. Nothing is removed. If the other does not come up, or something of it fails within a second \
                        of its start, what ran here is started again."
)]
pub struct Args {
    /// Environment to start
    #[arg(value_name = "ENVID")]
    pub to: EnvId,
    /// Wait until it is healthy
    #[arg(long)]
    pub wait: bool,
}

/// Switches.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    // Nothing is stopped for one that cannot be started.
    let Some(mut deployment) = context.deployment(&args.to)? else {
        let why =
            format!("there is no environment `{}` that was ever up; `baistack ls --all` lists those that there are", args.to);
        return Err(CliError::NoEnvironment(why));
    };
    // What was run once has been run.
    let jobs = std::mem::take(&mut deployment.stack.jobs);
    deployment.stack.services.retain(|name, service| !service.common.labels.contains_key(ONE_OFF) && !jobs.contains(name));
    deployment.stack.jobs = jobs;
    context.check_place(&args.to, &[])?;
    let found = found(&args.to, context)?;
    if found == Found::Down {
        context.check_host_again(&deployment, false)?;
    }
    let from = from(args, context)?;
    let mut ran = Vec::new();
    if let Some(from) = &from {
        ran = running(from, context)?;
        if !ran.is_empty() {
            context.printer.say(format!("stopping {}", context.printer.paint_talk.strong(from.as_str())));
        }
        let exit = context.ask(from, Request::Stop(Stop::default()), Missing::IsFine)?;
        if exit != Exit::Success {
            return Ok(exit);
        }
        context.stop_provided(from, &[])?;
    }
    let name = context.printer.paint_talk.strong(args.to.as_str());
    context.printer.say(if found == Found::Up { format!("{name} runs already") } else { format!("starting {name}") });
    let mut started = start(args, found, deployment, context);
    if matches!(started, Ok(Exit::Success)) && found != Found::Up && !context.global.dry_run {
        started = settled(&args.to, context);
    }
    if let Some(from) = from.filter(|_| !context.global.dry_run && !matches!(started, Ok(Exit::Success))) {
        if matches!(started, Err(CliError::Interrupted(..))) {
            context.printer.say(format!("{from} is stopped: `baistack switch {from}` goes back to it"));
        } else {
            go_back(&from, &ran, args, found, context);
        }
    }
    started
}

/// Starts the environment that is switched to. What only shows now that the other one is stopped, who has its ports, is told before
/// anything of it is begun.
fn start(args: &Args, found: Found, mut deployment: Deployment, context: &Context) -> Result<Exit, CliError> {
    if found != Found::Down {
        context.check_ports_again(&args.to, &[], Again::Start)?;
        context.provide_stopped(&args.to, &[], false)?;
        let start = Select { wait: args.wait, ..Select::default() };
        return context.ask(&args.to, Request::Start(start), Missing::IsAnError);
    }
    context.check_host_again(&deployment, true)?;
    let held = context.ports_held(&deployment, &context.env_dir(&args.to)?, &[], true, Again::Start)?;
    if !held.is_empty() {
        return Err(CliError::Several(held));
    }
    context.leave_containers_out_of(&mut deployment.stack)?;
    context.provide_again(&mut deployment)?;
    let up = Up { wait: args.wait, ..Up::of(deployment) };
    context.ask(&args.to, Request::Up(Box::new(up)), Missing::IsStarted)
}

/// Looks at what has been started until it has settled: that it was started may be answered before its programs have failed.
fn settled(env: &EnvId, context: &Context) -> Result<Exit, CliError> {
    let settled_at = clock::deadline(SETTLING);
    loop {
        let is_last_look = clock::is_past(settled_at);
        let units = match context.answer(env, Request::Status, Missing::IsAnError)? {
            Some(Reply::Status(status)) => status.units,
            other => return Err(Context::unexpected(other.as_ref())),
        };
        let faults = units.iter().filter(|unit| !unit.one_off).filter_map(|unit| Some((unit, fault(unit, is_last_look)?)));
        let (failed, reasons): (Vec<UnitStatus>, Vec<String>) =
            faults.map(|(unit, reason)| (unit.clone(), format!("{}: {reason}", unit.unit))).unzip();
        if !reasons.is_empty() {
            return context.judge(env, Reply::Failed { reasons }, &failed);
        }
        if is_last_look {
            return Ok(Exit::Success);
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Why a unit counts as one that did not come up, if it does. One that is started again by its own rules has until the last look to run.
fn fault(unit: &UnitStatus, is_last_look: bool) -> Option<String> {
    match &unit.state {
        UnitState::Failed { reason } => Some(reason.clone()),
        UnitState::BackingOff { reason, .. } if is_last_look => Some(reason.clone()),
        UnitState::Blocked { by, reason } => {
            Some(format!("it cannot start, because of {by}: {}", reason.lines().next().unwrap_or_default()))
        }
        UnitState::Exited { code } if *code != 0 => Some(format!("exit code {code}")),
        UnitState::Absent
        | UnitState::Waiting { .. }
        | UnitState::Preparing
        | UnitState::Removing
        | UnitState::Created
        | UnitState::Checking
        | UnitState::Starting
        | UnitState::Running
        | UnitState::Paused
        | UnitState::Stopping
        | UnitState::Exited { .. }
        | UnitState::Stopped { .. }
        | UnitState::Scheduled
        | UnitState::UpToDate
        | UnitState::Succeeded
        | UnitState::BackingOff { .. }
        | UnitState::Unknown => None,
    }
}

/// Starts again what ran before, once what of the other has come about is stopped: both may want the same ports. The fault that led here
/// is told by whoever calls.
fn go_back(from: &EnvId, ran: &[ServiceName], args: &Args, found: Found, context: &Context) {
    let to = &args.to;
    let back = || -> Result<Exit, CliError> {
        if found != Found::Up {
            context.ask(to, Request::Stop(Stop::default()), Missing::IsFine)?;
            context.stop_provided(to, &[])?;
        }
        context.provide_stopped(from, &[], false)?;
        if ran.is_empty() {
            return Ok(Exit::Success);
        }
        let strong = context.printer.paint_talk.strong(from.as_str());
        context.printer.say(format!("{to} did not come up: starting {strong} again"));
        let start = Select { services: ran.to_vec(), ..Select::default() };
        context.ask(from, Request::Start(start), Missing::IsAnError)
    };
    match back() {
        Ok(Exit::Success) => {}
        Ok(_) => context.printer.error(format!("{from} did not come up again: `baistack start -p {from}` starts it")),
        Err(error) => context.printer.error(format!("start {from} again: {error}; `baistack start -p {from}` does")),
    }
}

/// What there is of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing that could be started: it was taken down.
    Down,
    /// Something that does not run.
    Stopped,
    /// All of it runs, or is done.
    Up,
}

/// The services of which a stop would find something to do, as far as that can be known.
fn running(env: &EnvId, context: &Context) -> Result<Vec<ServiceName>, CliError> {
    let is_over = |unit: &UnitStatus| {
        matches!(
            unit.state,
            UnitState::Absent
                | UnitState::Created
                | UnitState::Exited { .. }
                | UnitState::Stopped { .. }
                | UnitState::UpToDate
                | UnitState::Succeeded
                | UnitState::Failed { .. }
        )
    };
    let units = match context.answer(env, Request::Status, Missing::IsFine)? {
        Some(Reply::Status(status)) => status.units,
        Some(_) | None => Vec::new(),
    };
    let running = units.into_iter().filter(|unit| !unit.one_off && !is_over(unit)).map(|unit| unit.unit.service);
    Ok(running.collect::<BTreeSet<_>>().into_iter().collect())
}

fn found(env: &EnvId, context: &Context) -> Result<Found, CliError> {
    let status = match context.answer(env, Request::Status, Missing::IsAnError)? {
        Some(Reply::Status(status)) => *status,
        other => return Err(Context::unexpected(other.as_ref())),
    };
    let provided = context.env_dir(env)?.provided().map_err(CliError::failed)?;
    let runs = |unit: &UnitStatus| match unit.state {
        UnitState::Running | UnitState::Scheduled | UnitState::UpToDate | UnitState::Succeeded => true,
        UnitState::Absent
        | UnitState::Waiting { .. }
        | UnitState::Preparing
        | UnitState::Removing
        | UnitState::Created
        | UnitState::Checking
        | UnitState::Starting
        | UnitState::Paused
        | UnitState::Stopping
        | UnitState::Exited { .. }
        | UnitState::Stopped { .. }
        | UnitState::BackingOff { .. }
        | UnitState::Failed { .. }
        | UnitState::Blocked { .. }
        | UnitState::Unknown => false,
    };
    Ok(if status.units.iter().all(|unit| unit.state == UnitState::Absent) {
        Found::Down
    } else if status.units.iter().filter(|unit| !unit.one_off).all(runs) && provided.values().all(|provided| provided.runs) {
        Found::Up
    } else {
        Found::Stopped
    })
}

/// The environment that is to be stopped, if any.
fn from(args: &Args, context: &Context) -> Result<Option<EnvId>, CliError> {
    let here = if context.global.project_name.is_some() { Some(context.env_id()?) } else { context.recorded_env()? };
    if let Some(here) = here.filter(|here| *here != args.to) {
        return Ok(Some(here));
    }
    let running = environments::all(context)?.into_iter().filter(environments::Environment::runs);
    let others = running.filter_map(|env| env.name.parse().ok()).filter(|env: &EnvId| *env != args.to);
    // What nobody has started here is not ours to stop unasked.
    let others: Vec<EnvId> = others.filter(|env| matches!(context.deployment(env), Ok(Some(_)))).collect();
    match others.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only.clone())),
        _ => {
            let names: Vec<String> = others.iter().map(|env| format!("`{env}`")).collect();
            Err(CliError::Usage(format!("which one is to be stopped? {} run; name one with -p", names.join(", "))))
        }
    }
}
