//! `supervise`: the background half, started by `up` and by nobody else.

use super::CliError;
use super::context::Context;
use crate::base::exit::Exit;
use crate::base::name::EnvId;
use crate::host::spawn;
use tracing_subscriber::EnvFilter;

/// Flags of `supervise`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Environment
    #[arg(long)]
    pub env: EnvId,
}

/// Runs the guard, which forks the supervisor. No thread may exist before it.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let filter = EnvFilter::try_from_env("BAISTACK_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let dir = context.env_dir(&args.env)?;
    // What it has to say is in its log; whoever started it learns of a failure by the pipe.
    let _ = spawn::supervise(&dir, &context.caller);
    Ok(Exit::Success)
}
