//! The edges. Each turns what the machine asks for into input and output, and what happens outside into events.
//!
//! Nothing here decides what should be done: that is the machine's business.

pub mod clock;
pub mod disk;
pub mod docker;
pub mod engine_records;
pub mod envdir;
pub mod envid;
pub mod facts;
pub mod git;
pub mod ignored;
pub mod inputs;
pub mod kernel;
pub mod logs;
pub mod model_runner;
pub mod native;
pub mod owned_paths;
pub mod owner;
pub mod probe;
pub mod provider;
pub mod proxy;
pub mod remote;
pub mod removal;
pub mod schedule;
pub mod signals;
pub mod sizes;
pub mod tasks;
pub mod usage;
pub mod values;
pub mod watch;

#[cfg(test)]
pub(crate) mod testing_tls;
