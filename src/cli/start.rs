//! `start`: what was stopped, with the same definition.

use super::context::{Context, Missing};
use super::port_numbers::Again;
use super::{CliError, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::supervisor::request::{Request, Select};

/// Flags of `start`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Starts the definition of the last `up`; `up` applies changed files.")]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// Wait until they are healthy
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = values::whole_seconds, requires = "wait")]
    pub wait_timeout: Option<u64>,
}

/// Starts services.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    context.known_in(&env, &args.services)?;
    context.record_what_is_there(&env)?;
    context.check_place(&env, &args.services)?;
    context.check_ports_again(&env, &args.services, Again::Start)?;
    let beside = context.beside_provided(&env, &args.services)?;
    context.provide_stopped(&env, &args.services, false)?;
    let Some(services) = beside else { return Ok(Exit::Success) };
    let select = Select { services, wait: args.wait, wait_timeout: values::seconds(args.wait_timeout) };
    context.ask(&env, Request::Start(select), Missing::IsAnError)
}
