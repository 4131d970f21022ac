//! `switch`: stops one environment and starts another.

use super::CliError;
use super::context::{Context, Missing};
use super::environments;
use crate::base::exit::Exit;
use crate::base::name::EnvId;
use crate::supervisor::request::{Request, Select, Stop};

/// Flags of `switch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  baistack switch k3v9x2ab\n\nStops the environment of the stack here (or of -p); where there is none, the only other \
                        one that runs. Then starts what was stopped of the other, as `baistack -p ENVID start` does. Nothing is removed."
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
    if context.deployment(&args.to)?.is_none() {
        return Err(Context::not_running(&args.to));
    }
    if let Some(from) = from(args, context)? {
        context.printer.say(format!("stopping {}", context.printer.paint_talk.strong(from.as_str())));
        let exit = context.ask(&from, Request::Stop(Stop::default()), Missing::IsFine)?;
        if exit != Exit::Success {
            return Ok(exit);
        }
    }
    context.printer.say(format!("starting {}", context.printer.paint_talk.strong(args.to.as_str())));
    let start = Select { wait: args.wait, ..Select::default() };
    context.ask(&args.to, Request::Start(start), Missing::IsAnError)
}

/// The environment that is to be stopped, if any.
fn from(args: &Args, context: &Context) -> Result<Option<EnvId>, CliError> {
    let here = if context.global.project_name.is_some() { Some(context.env_id()?) } else { context.recorded_env()? };
    if let Some(here) = here.filter(|here| *here != args.to) {
        return Ok(Some(here));
    }
    let running = environments::all(context)?.into_iter().filter(environments::Environment::runs);
    let others: Vec<EnvId> = running.filter_map(|env| env.name.parse().ok()).filter(|env: &EnvId| *env != args.to).collect();
    match others.as_slice() {
        [] => Ok(None),
        [only] if context.deployment(only)?.is_some() => Ok(Some(only.clone())),
        _ => {
            let names: Vec<String> = others.iter().map(|env| format!("`{env}`")).collect();
            Err(CliError::Usage(format!("which one is to be stopped? {} run; name one with -p", names.join(", "))))
        }
    }
}
