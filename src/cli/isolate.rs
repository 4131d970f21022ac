//! `isolate`: the first process of a PID namespace (`isolation: pid`), started by a supervisor and by nobody else.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

use super::CliError;
use crate::base::exit::Exit;
use crate::world::native::isolation;

/// What `isolate` is given.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The program's file, then its arguments, its name first
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// Runs it. There is no other thread yet.
pub fn run(args: Args) -> Result<Exit, CliError> {
    let words: Result<Vec<CString>, _> = args.words.into_iter().map(|word| CString::new(word.into_vec())).collect();
    let words = words.map_err(CliError::failed)?;
    isolation::init(&words).map(Exit::Passed).map_err(CliError::Failed)
}
