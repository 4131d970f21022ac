//! `schema`: the JSON Schema of a stack file, for editors.

use super::CliError;
use super::context::Context;
use crate::base::exit::Exit;
use crate::load;

/// Flags of `schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  baistack schema > ~/.config/stack.schema.json\n\n\
                        An editor with a YAML language server reads it where a file begins with\n  \
                        # yaml-language-server: $schema=FILE")]
pub struct Args {}

/// Prints the schema.
pub fn run(_: &Args, context: &Context) -> Result<Exit, CliError> {
    context.printer.data(format!("{:#}\n", load::json_schema()))?;
    Ok(Exit::Success)
}
