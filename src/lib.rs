//! baistack
pub mod base;
pub mod control;
pub mod load;
pub mod model;
pub mod plan;
pub mod supervisor;
pub mod world;
pub mod yaml;
use std::process::ExitCode;
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
