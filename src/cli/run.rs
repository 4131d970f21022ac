//! `run`: a one-off copy of a service, after what it depends on.

use super::CliError;
use super::context::{Context, Purpose};
use super::values;
use crate::base::exit::Exit;

/// Flags of `run`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "baistack run [OPTIONS] SERVICE [COMMAND] [ARGS]...",
    after_help = "Examples:\n  baistack run --rm web bash        a shell in a copy of `web`, its dependencies up\n  \
                  baistack run --rm -p 8080:80 web\n  baistack run schema               a task, once more\n\n\
                  Exits with the code of the command."
)]
pub struct Args {
    /// Do not wait for it; print its name
    #[arg(short, long)]
    pub detach: bool,
    /// Another entry point than the service's
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Variable on top of the service's; repeatable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = values::variable)]
    pub env: Vec<(String, Option<String>)>,
    /// Keep the input open
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set, hide = true)]
    pub interactive: bool,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Do not start what it depends on
    #[arg(long)]
    pub no_deps: bool,
    /// No terminal, as when the input is a pipe
    #[arg(short = 'T', long = "no-tty", visible_alias = "no-TTY")]
    pub no_tty: bool,
    /// Publish a port; repeatable
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Nothing but the command's own output
    #[arg(short, long)]
    pub quiet: bool,
    /// Do not show the progress of builds
    #[arg(long)]
    pub quiet_build: bool,
    /// Do not show the progress of pulls
    #[arg(long)]
    pub quiet_pull: bool,
    /// Remove the container when it has ended
    #[arg(long)]
    pub rm: bool,
    /// Publish the service's ports
    #[arg(short = 'P', long)]
    pub service_ports: bool,
    /// As another user
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Mount; repeatable
    #[arg(short, long, value_name = "MOUNT")]
    pub volume: Vec<String>,
    /// In another directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Default, as in Compose
    #[arg(short, long, hide = true)]
    pub tty: bool,
    /// Service, and another command than its own
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["SERVICE", "COMMAND"])]
    pub words: Vec<String>,
}
