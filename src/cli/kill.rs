//! `kill`: a signal, at once.

use super::context::{Context, Missing};
use super::{CliError, orphans, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::supervisor::request::{Kill, Request};

/// Flags of `kill`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  baistack kill -s HUP gateway   to reread its configuration")]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", value_parser = values::signal, default_value = "SIGKILL")]
    pub signal: String,
    /// Kill and remove containers and processes of services that the stack no longer has, too
    #[arg(long)]
    pub remove_orphans: bool,
}

/// Sends a signal.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    context.known_in(&env, &args.services)?;
    context.refuse_provided(&env, &args.services, "to send a signal to")?;
    // Nothing is done for files that do not tell what an orphan is.
    let belonging = if args.remove_orphans { context.services_that_belong(&env)? } else { None };
    let kill = Kill { services: args.services, signal: args.signal, ..Kill::default() };
    let exit = context.ask(&env, Request::Kill(kill), Missing::IsAnError)?;
    let Some(belonging) = belonging else { return Ok(exit) };
    let removed = orphans::remove(&env, &belonging, context)?;
    Ok(if exit == Exit::Success { removed } else { exit })
}
