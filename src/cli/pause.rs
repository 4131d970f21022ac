//! `pause` and `unpause`: services stand still, and go on.

use super::CliError;
use super::context::{Context, Missing};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::supervisor::request::{Pause, Request};

/// Flags of `pause` and of `unpause`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A container is frozen by its engine; a process and all that it has started gets SIGSTOP, and SIGCONT to go on. \
                        What is paused is not probed; `stop` ends it all the same."
)]
pub struct Args {
    /// Services [default: all that run]
    pub services: Vec<ServiceName>,
}

/// Lets services stand still, or go on.
pub fn run(args: Args, paused: bool, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    context.known_in(&env, &args.services)?;
    context.refuse_provided(&env, &args.services, "to pause")?;
    context.ask(&env, Request::Pause(Pause { services: args.services, paused }), Missing::IsAnError)
}
