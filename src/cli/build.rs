//! `build`: images, after the tasks that they are made from.

use super::CliError;
use super::context::Context;
use crate::base::exit::Exit;
use crate::base::name::ServiceName;

/// Flags of `build`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A build waits for the tasks that its service depends on: they run first.")]
pub struct Args {
    /// Services [default: all that have `build`]
    pub services: Vec<ServiceName>,
    /// Without the cache
    #[arg(long)]
    pub no_cache: bool,
    /// Pull base images first
    #[arg(long)]
    pub pull: bool,
    /// Show errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Build what the named services depend on too
    #[arg(long)]
    pub with_dependencies: bool,
}
