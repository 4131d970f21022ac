//! `attach`: this terminal becomes that of a running service.

use super::CliError;
use super::attach_process;
use super::context::Context;
use crate::base::exit::Exit;
use crate::base::name::{ServiceName, UnitId};
use crate::view::detach::Keys;

/// Flags of `attach`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  baistack attach shell                      ctrl-p ctrl-q leaves it running\n  \
                  baistack attach --detach-keys ctrl-a,d shell\n\n\
                  A service with `tty` has a terminal, one with `stdin_open` reads a pipe; any other is only listened to. Exits with\n\
                  the code of the service when it ends, with 0 when detached.")]
pub struct Args {
    /// Service
    pub service: ServiceName,
    /// Keys that leave the service to itself, such as `ctrl-a,d`
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub detach_keys: Keys,
    /// Replica
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub index: u32,
    /// Type nothing
    #[arg(long)]
    pub no_stdin: bool,
    /// Whether signals go to the service where it has no terminal
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub sig_proxy: bool,
}

/// Attaches.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    let unit = UnitId::new(args.service.clone(), args.index);
    let deployment = context.deployment(&env)?;
    if let Some(deployment) = &deployment {
        context.known(deployment, std::slice::from_ref(&args.service))?;
    }
    match deployment.as_ref().and_then(|deployment| deployment.service(&args.service)) {
        Some(service) if service.is_process() => attach_process::run(&args, &env, &unit, context),
        Some(_) => Err(CliError::Usage(format!("`{}` is a container, to which this version cannot attach", args.service))),
        None => Err(CliError::NoEnvironment(format!("nothing runs in {env}"))),
    }
}
