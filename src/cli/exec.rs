//! `exec`: a command inside a running container; for a process with its environment, directory and user.

use super::context::{Context, Missing};
use super::{CliError, values};
use crate::base::exit::Exit;
use crate::base::name::{ServiceName, UnitId};

/// Flags of `exec`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "baistack exec [OPTIONS] SERVICE COMMAND [ARGS]...",
    after_help = "Examples:\n  baistack exec db psql -U postgres\n  echo 'select 1' | baistack exec -T db psql -U postgres\n  \
                  baistack exec manager python\n\n\
                  Exits with the code of the command. A process needs not run for it."
)]
pub struct Args {
    /// Do not wait for it
    #[arg(short, long)]
    pub detach: bool,
    /// Variable on top of the service's; repeatable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = values::variable)]
    pub env: Vec<(String, Option<String>)>,
    /// Replica
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub index: u32,
    /// No terminal, as when the input is a pipe
    #[arg(short = 'T', long = "no-tty", visible_alias = "no-TTY")]
    pub no_tty: bool,
    /// All capabilities (containers)
    #[arg(long)]
    pub privileged: bool,
    /// As another user
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// In another directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Default, as in Compose
    #[arg(short, long, hide = true)]
    pub interactive: bool,
    /// Default, as in Compose
    #[arg(short, long, hide = true)]
    pub tty: bool,
    /// Service, command and its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["SERVICE", "COMMAND"])]
    pub words: Vec<String>,
}
