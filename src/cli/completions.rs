//! `completions`: a script that a shell loads.

use clap_complete::{Shell, generate};

use super::context::Context;
use super::{CliError, args};
use crate::base::exit::Exit;

/// Flags of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  baistack completions bash > /etc/bash_completion.d/baistack\n  \
                        baistack completions fish > ~/.config/fish/completions/baistack.fish\n  \
                        baistack completions zsh > \"${fpath[1]}/_baistack\"")]
pub struct Args {
    /// Shell to complete for
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    generate(args.shell, &mut args::command(), "baistack", &mut script);
    context.printer.data(script)?;
    Ok(Exit::Success)
}
