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
    /// Build no image; one that is not there is an error
    #[arg(long, conflicts_with = "build")]
    pub no_build: bool,
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
    /// Make volumes anew whose definition has changed: what they hold is lost; make what lies elsewhere without a question
    #[arg(short, long)]
    pub yes: bool,
}

/// Makes containers.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    up::run(args.into(), context)
}

impl From<Args> for up::Args {
    /// The `up` that it is. Taken apart by name, so that no flag is forgotten.
    fn from(args: Args) -> Self {
        let Args { services, build, no_build, force_recreate, no_recreate, pull, quiet_pull, remove_orphans, scale, yes } = args;
        let builds = pull.as_deref() == Some("build");
        Self {
            services,
            no_start: true,
            build: build || builds,
            no_build,
            force_recreate,
            no_recreate,
            pull: pull.filter(|_| !builds),
            quiet_pull,
            remove_orphans,
            scale,
            yes,
            ..Self::default()
        }
    }
}
