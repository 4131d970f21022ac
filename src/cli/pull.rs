//! `pull`: images, all of them though one cannot be had.

use super::CliError;
use super::context::Context;
use crate::base::exit::Exit;
use crate::base::name::ServiceName;

/// Flags of `pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = "One image that cannot be had does not stop the others; exit 1 then.")]
pub struct Args {
    /// Services [default: all, and `images:`]
    pub services: Vec<ServiceName>,
    /// Leave out what can be built
    #[arg(long)]
    pub ignore_buildable: bool,
    /// Exit 0 though images could not be had
    #[arg(long)]
    pub ignore_pull_failures: bool,
    /// Pull what the named services depend on too
    #[arg(long)]
    pub include_deps: bool,
    /// Only what is not there (`missing`), or everything
    #[arg(long, value_name = "WHEN", value_parser = ["always", "missing"], default_value = "always")]
    pub policy: String,
    /// Show errors only
    #[arg(short, long)]
    pub quiet: bool,
}
