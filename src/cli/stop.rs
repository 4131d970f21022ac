//! `stop`: dependents first, and not back before all is over.

use super::context::{Context, Missing};
use super::{CliError, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::supervisor::request::{Request, Stop};

/// Flags of `stop`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack stop            everything, dependents first\n  baistack stop -t 2 web   SIGKILL after 2 s\n\n\
                        What is stopped stays stopped until `start` or `up`. Exit 0 also when nothing ran."
)]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// Kill after so many seconds, instead of each service's `stop_grace_period`
    #[arg(short, long, value_name = "SECONDS", value_parser = values::whole_seconds)]
    pub timeout: Option<u64>,
}

/// Stops services.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    context.known_in(&env, &args.services)?;
    let stop = Stop { services: args.services.clone(), timeout: values::seconds(args.timeout) };
    let exit = context.ask(&env, Request::Stop(stop), Missing::IsFine)?;
    if exit == Exit::Success {
        context.stop_provided(&env, &args.services)?;
    }
    Ok(exit)
}
