//! Values → text: tables, progress, log lines, JSON. No decisions: whoever calls has made them.
//!
//! The only place where anything is printed. stdout is data, stderr is talk.

pub mod checkup;
pub mod diagnostics;
pub mod format;
pub mod graph;
pub mod json;
pub mod log_lines;
pub mod measures;
pub mod plan;
pub mod ports;
pub mod printer;
pub mod progress;
pub mod states;
pub mod style;
pub mod table;
pub mod term;
pub mod variables;

#[cfg(test)]
mod messages;
