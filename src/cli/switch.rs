//! `switch`: stops one environment and starts another.

use super::CliError;
use super::context::{Context, Missing};
use super::environments;
use crate::base::exit::Exit;
use crate::base::name::EnvId;
use crate::plan::desired::ONE_OFF;
use crate::supervisor::request::{Reply, Request, Select, Stop, Up};
use crate::supervisor::status::{UnitState, UnitStatus};

/// Flags of `switch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  baistack switch k3v9x2ab\n\nStops the environment of the stack here (or of -p); where there is none, the only other \
                        one that runs. Then starts what was stopped of the other, as `baistack -p ENVID start` does; of one that is down all is brought up \
                        that its last `up` describes. Nothing is removed."
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
    let is_down = found == Found::Down;
    if is_down {
        context.check_host_again(&deployment, false)?;
    }
    let from = from(args, context)?;
    if let Some(from) = &from {
        if has_to_be_stopped(from, context)? {
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
    if !is_down {
        context.provide_stopped(&args.to, &[], false)?;
        let start = Select { wait: args.wait, ..Select::default() };
        return context.ask(&args.to, Request::Start(start), Missing::IsAnError);
    }
    // Only now can it be told whether somebody else has its ports.
    if let Err(error) = context.check_host_again(&deployment, true) {
        if let Some(from) = &from {
            context.printer.say(format!("starting {} again", context.printer.paint_talk.strong(from.as_str())));
            context.provide_stopped(from, &[], false)?;
            context.ask(from, Request::Start(Select::default()), Missing::IsAnError)?;
        }
        return Err(error);
    }
    context.leave_containers_out_of(&mut deployment.stack)?;
    context.provide_again(&mut deployment)?;
    let up = Up { wait: args.wait, ..Up::of(deployment) };
    context.ask(&args.to, Request::Up(Box::new(up)), Missing::IsStarted)
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

/// Whether a stop would find anything to do, as far as that can be known.
fn has_to_be_stopped(env: &EnvId, context: &Context) -> Result<bool, CliError> {
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
    Ok(match context.answer(env, Request::Status, Missing::IsFine)? {
        Some(Reply::Status(status)) => !status.units.iter().all(is_over),
        Some(_) | None => false,
    })
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
