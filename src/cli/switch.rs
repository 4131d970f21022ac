//! `switch`: stops one environment and starts another.

use super::CliError;
use super::context::{Context, Missing};
use super::environments;
use crate::base::exit::Exit;
use crate::base::name::EnvId;
use crate::plan::desired::ONE_OFF;
use crate::supervisor::request::{Reply, Request, Select, Stop, Up};
use crate::supervisor::status::UnitState;

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
    let is_down = is_down(&args.to, context)?;
    if is_down {
        context.check_host_again(&deployment, false)?;
    }
    let from = from(args, context)?;
    if let Some(from) = &from {
        context.printer.say(format!("stopping {}", context.printer.paint_talk.strong(from.as_str())));
        let exit = context.ask(from, Request::Stop(Stop::default()), Missing::IsFine)?;
        if exit != Exit::Success {
            return Ok(exit);
        }
        context.stop_provided(from, &[])?;
    }
    context.printer.say(format!("starting {}", context.printer.paint_talk.strong(args.to.as_str())));
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

/// Whether there is nothing of an environment that could be started: it was taken down.
fn is_down(env: &EnvId, context: &Context) -> Result<bool, CliError> {
    match context.answer(env, Request::Status, Missing::IsAnError)? {
        Some(Reply::Status(status)) => Ok(status.units.iter().all(|unit| unit.state == UnitState::Absent)),
        other => Err(Context::unexpected(other.as_ref())),
    }
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
