//! baistack
pub mod base;
pub mod yaml;
pub mod model;
pub mod load;
pub mod plan;
pub mod supervisor;
pub mod world;
pub mod control;
pub mod host;
pub mod view;
pub mod cli;
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    ExitCode::from(cli::main(std::env::args_os()).code())
}
