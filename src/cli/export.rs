//! `export`: the files of a service's container, as one archive.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::CliError;
use super::context::Context;
use super::targets::of_engine;
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::view::term;

/// Flags of `export`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "baistack export [OPTIONS] <SERVICE>",
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
    let mut file = args.output.as_deref().map(Written::begin).transpose()?;
    let mut broken: Option<CliError> = None;
    let exported = context.engine()?.each_piece(
        async |docker| docker.export(&container.id).await,
        |piece| {
            let written = match &mut file {
                Some(file) => file.write(&piece),
                None => context.printer.data(&piece).map_err(CliError::from),
            };
            broken = written.err();
            broken.is_none()
        },
    );
    exported.map_err(of_engine)?;
    match (broken, file) {
        (Some(error), _) => Err(error),
        (None, Some(file)) => {
            file.finish();
            Ok(Exit::Success)
        }
        (None, None) => Ok(Exit::Success),
    }
}

/// The file that an archive is written to. One that was not there before goes again when the archive does not come.
struct Written<'a> {
    path: &'a Path,
    file: File,
    is_new: bool,
}

impl<'a> Written<'a> {
    fn begin(path: &'a Path) -> Result<Self, CliError> {
        let is_new = !path.exists();
        let file = File::create(path).map_err(|error| {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir());
            CliError::Failed(match parent {
                Some(parent) => format!("write {}: there is no directory `{}`", path.display(), parent.display()),
                None => format!("write {}: {error}", path.display()),
            })
        })?;
        Ok(Self { path, file, is_new })
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), CliError> {
        self.file.write_all(piece).map_err(|error| CliError::Failed(format!("write {}: {error}", self.path.display())))
    }

    fn finish(mut self) {
        self.is_new = false;
    }
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        if self.is_new {
            // What cannot be removed is an archive that ends early.
            let _ = std::fs::remove_file(self.path);
        }
    }
}
