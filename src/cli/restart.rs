//! `restart`: the same definition again; dependents that ask for it follow.

use super::context::{Context, Missing};
use super::port_numbers::Again;
use super::{CliError, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::supervisor::request::{Request, Restart};

/// Flags of `restart`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack restart agent    and whoever depends on it with `restart: true`\n  baistack restart schema   \
                        runs a task again, whatever its check says\n\nA changed stack file is applied by `up`, not by `restart`. What \
                        the files of `configs` and `secrets` hold is read at each start."
)]
pub struct Args {
    /// Services [default: all but finished tasks]
    pub services: Vec<ServiceName>,
    /// Leave dependents alone
    #[arg(long)]
    pub no_deps: bool,
    /// Kill after so many seconds, instead of each service's `stop_grace_period`
    #[arg(short, long, value_name = "SECONDS", value_parser = values::whole_seconds)]
    pub timeout: Option<u64>,
}

/// Restarts services.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    context.known_in(&env, &args.services)?;
    context.record_what_is_there(&env)?;
    context.check_place(&env, &args.services)?;
    context.check_ports_again(&env, &args.services, Again::Restart)?;
    context.mention_changed_files(&env)?;
    let beside = context.beside_provided(&env, &args.services)?;
    let restart = |only_asks: bool| {
        let timeout = values::seconds(args.timeout);
        beside.clone().map(|services| Request::Restart(Restart { services, no_deps: args.no_deps, timeout, only_asks }))
    };
    // What is refused is refused before a provider has done anything.
    if let Some(request) = restart(true).filter(|_| !context.global.dry_run)
        && context.has_provided(&env)?
    {
        let answer = context.ask(&env, request, Missing::IsAnError)?;
        if answer != Exit::Success {
            return Ok(answer);
        }
    }
    context.stop_provided_to_restart(&env, &args.services)?;
    context.provide_stopped(&env, &args.services, args.no_deps)?;
    restart(false).map_or(Ok(Exit::Success), |request| context.ask(&env, request, Missing::IsAnError))
}
