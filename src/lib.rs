//! baistack
pub mod base;
pub mod cli;
pub mod control;
pub mod host;
pub mod load;
pub mod model;
pub mod plan;
pub mod supervisor;
pub mod view;
pub mod world;
pub mod yaml;
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    ExitCode::from(cli::main(std::env::args_os()).code())
}
