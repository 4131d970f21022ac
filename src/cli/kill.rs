//! `kill`: a signal, at once.

use super::context::{Context, Missing};
use super::{CliError, values};
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
}

/// Sends a signal.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    context.known_in(&env, &args.services)?;
    let kill = Kill { services: args.services, signal: args.signal, ..Kill::default() };
    context.ask(&env, Request::Kill(kill), Missing::IsAnError)
}
