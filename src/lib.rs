//! Brings up the containers and the native processes of a stack, in one dependency graph.
//!
//! The program is a command line over this library ([`run`]); how the library is built follows.
#![doc = include_str!("ARCHITECTURE.md")]

// In floor order: each may use itself and what stands above it in this list (`tests/tidy.rs`).
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
