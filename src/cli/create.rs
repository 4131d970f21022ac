//! `create`: what `up` makes, without starting it.

use super::CliError;
use super::context::Context;
use super::{up, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;

/// Flags of `create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The same as `baistack up --no-start`; `baistack start` starts what was made.")]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// Build images first, even those that are there
    #[arg(long)]
    pub build: bool,
    /// Make containers anew though nothing changed
    #[arg(long, conflicts_with = "no_recreate")]
    pub force_recreate: bool,
    /// Leave what exists as it is, whatever changed
    #[arg(long)]
    pub no_recreate: bool,
    /// When to pull images
    #[arg(long, value_name = "WHEN", value_parser = ["always", "missing", "never", "policy", "build"])]
    pub pull: Option<String>,
    /// Do not show the progress of pulls
    #[arg(long)]
    pub quiet_pull: bool,
    /// Remove containers of services that the stack no longer has
    #[arg(long)]
    pub remove_orphans: bool,
    /// Number of replicas of a service; repeatable
    #[arg(long, value_name = "SERVICE=N", value_parser = values::scale)]
    pub scale: Vec<(ServiceName, u32)>,
    /// As in Compose; nothing is asked in any case
    #[arg(short, long)]
    pub yes: bool,
}

/// Makes containers.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let builds = args.pull.as_deref() == Some("build");
    let up = up::Args {
        services: args.services,
        no_start: true,
        build: args.build || builds,
        force_recreate: args.force_recreate,
        no_recreate: args.no_recreate,
        pull: args.pull.filter(|_| !builds),
        quiet_pull: args.quiet_pull,
        remove_orphans: args.remove_orphans,
        scale: args.scale,
        ..up::Args::default()
    };
    up::run(up, context)
}
