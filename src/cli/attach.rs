//! `attach`: the terminal, or the pipes, of a running service.

use super::context::Context;
use super::{CliError, attach_container, attach_process};
use crate::base::detach_keys::{self, DetachKeys};
use crate::base::exit::Exit;
use crate::base::name::{ServiceName, UnitId};
use crate::model::service::Service;

/// Flags of `attach`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A service with `tty` has a terminal, one with `stdin_open` reads a pipe; any other is only listened to.\n\
                        From terminal to terminal Ctrl-P Ctrl-Q leaves the service running. Without a terminal of its own a service \
                        gets the signals that come here (--sig-proxy).\nExits with the code of the service when that ends."
)]
pub struct Args {
    /// Service
    pub service: ServiceName,
    /// Keys that leave it running
    #[arg(long, value_name = "KEYS", value_parser = detach_keys::parse, default_value = "ctrl-p,ctrl-q")]
    pub detach_keys: DetachKeys,
    /// Replica
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub index: u32,
    /// Its input is not ours
    #[arg(long)]
    pub no_stdin: bool,
    /// Signals to us are sent on to it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub sig_proxy: bool,
}

/// Attaches to a service.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (env, deployment) = context.environment()?;
    context.refuse_provided(&env, std::slice::from_ref(&args.service), "to attach to")?;
    let known = deployment.as_ref().and_then(|deployment| deployment.service(&args.service));
    if known.is_some_and(Service::is_process) {
        return attach_process::run(args, &env, &UnitId::new(args.service.clone(), args.index), context);
    }
    attach_container::run(args, context)
}
