//! `export`: the files of a service's container, as one archive.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use super::CliError;
use super::context::Context;
use super::targets::of_engine;
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::view::printer::PrintError;
use crate::view::term;

/// Flags of `export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack export -o web.tar web\n  baistack export web | tar t\n\nWhat volumes hold is not part of it."
)]
pub struct Args {
    /// Service
    pub service: ServiceName,
    /// Replica
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub index: u32,
    /// File to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Writes an archive.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    if args.output.is_none() && term::stdout_is_terminal() {
        return Err(CliError::Usage("an archive is nothing for a terminal: give --output, or redirect it".to_owned()));
    }
    let container = context.container_of(&args.service, args.index, "its files are this host's")?;
    let mut file = match &args.output {
        Some(path) => Some(File::create(path).map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))?),
        None => None,
    };
    let mut broken: Option<CliError> = None;
    let exported = context.engine()?.each_piece(
        async |docker| docker.export(&container.id).await,
        |piece| {
            let written = match &mut file {
                Some(file) => file.write_all(&piece).map_err(PrintError::from),
                None => context.printer.data(&piece),
            };
            broken = written.err().map(CliError::from);
            broken.is_none()
        },
    );
    exported.map_err(of_engine)?;
    broken.map_or(Ok(Exit::Success), Err)
}
