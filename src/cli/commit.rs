//! `commit`: an image of a service's container as it is.

use super::CliError;
use super::context::Context;
use super::targets::of_engine;
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::base::reference;
use crate::world::docker::Commit;

/// Flags of `commit`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  baistack commit -m 'with data' db mydb:loaded\n\nPrints the image's id. What volumes hold is not part of it."
)]
pub struct Args {
    /// Service
    pub service: ServiceName,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
    /// Who made it
    #[arg(short, long, value_name = "NAME")]
    pub author: Option<String>,
    /// Instruction of a Dockerfile to apply; repeatable
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Replica
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub index: u32,
    /// What it is
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// The container stands still meanwhile
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub pause: bool,
}

/// Makes an image.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    // The engine makes the image first and finds afterwards that the name is none.
    if let Some(fault) = args.reference.as_deref().and_then(reference::fault) {
        return Err(CliError::Usage(fault));
    }
    let container = context.container_of(&args.service, args.index, "only containers have an image")?;
    let commit =
        Commit { reference: args.reference, author: args.author, message: args.message, changes: args.change, pause: args.pause };
    let id = context.engine()?.with(async |docker| docker.commit(&container.id, &commit).await).map_err(of_engine)?;
    context.printer.line(id)?;
    Ok(Exit::Success)
}
