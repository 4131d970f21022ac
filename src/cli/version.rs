//! `version`.

use serde_json::json;

use super::CliError;
use super::context::Context;
use crate::base::exit::Exit;
use crate::view::json;

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Flags of `version`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `pretty` or `json`
    #[arg(short, long, value_name = "FORMAT", value_parser = ["pretty", "json"], default_value = "pretty")]
    pub format: String,
    /// The number alone
    #[arg(long)]
    pub short: bool,
}

/// Prints the version.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    match (args.short, args.format.as_str()) {
        (true, _) => context.printer.line(VERSION)?,
        (false, "json") => context.printer.data(json::line(&json!({ "version": VERSION })))?,
        (false, _) => context.printer.line(format!("baistack {VERSION}"))?,
    }
    Ok(Exit::Success)
}
