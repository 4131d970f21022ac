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
use std::process::ExitCode;
pub fn run() -> ExitCode { ExitCode::SUCCESS }
