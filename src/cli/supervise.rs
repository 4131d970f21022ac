//! `supervise`: the background half, started by `up` and by nobody else. What it has to say goes to `supervisor.log`.

use std::io;

use tracing_subscriber::EnvFilter;

use super::CliError;
use super::context::Context;
use crate::base::exit::Exit;
use crate::base::name::EnvId;
use crate::host::spawn;

/// Flags of `supervise`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Environment
    #[arg(long)]
    pub env: EnvId,
}

/// Runs the guard, which forks the supervisor. There is no other thread yet.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let chosen = context.caller.get("BAISTACK_LOG").and_then(|text| text.parse::<EnvFilter>().ok());
    tracing_subscriber::fmt()
        .with_env_filter(chosen.unwrap_or_else(|| EnvFilter::new("info")))
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
    Ok(spawn::supervise(&context.env_dir(&args.env)?, &context.caller))
}
