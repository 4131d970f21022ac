//! `welcome`: what `up` says when all is up, once more: the addresses are forgotten long before the environment is.

use super::CliError;
use super::context::Context;
use crate::base::exit::Exit;

/// Flags of `welcome`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  baistack welcome                with the numbers that the environment here runs on\n  \
                  baistack welcome -p k3v9x2ab    from any directory\n\nThe stack file has it under `welcome`.")]
pub struct Args {}

/// Prints the welcome of the last `up`.
pub fn run(context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    let deployment = context.deployment(&env)?.ok_or_else(|| Context::not_running(&env))?;
    match context.welcome_of(&deployment)? {
        Some(text) => context.printer.line(text)?,
        None => context.printer.say(format!("the stack of {env} has no `welcome`")),
    }
    Ok(Exit::Success)
}
