//! `supervise`: the background half, started by `up` and by nobody else.

use super::CliError;
use super::context::Context;
use crate::base::exit::Exit;
use crate::base::name::EnvId;

/// Flags of `supervise`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Environment
    #[arg(long)]
    pub env: EnvId,
}

/// Runs the guard, which forks the supervisor.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let _ = (args, context);
    todo!()
}
