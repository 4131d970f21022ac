//! The stack as plain data: what the files say once they are loaded, in the words of the Compose Specification.
//!
//! Nothing here decides anything. The serde shape is the canonical long form that `load::canonical` produces; the same shape
//! travels to the supervisor. Unknown keys are `load::fields`' business and are ignored here.

pub mod block_io;
pub mod build;
pub mod container;
pub mod depends;
pub mod device;
pub mod environment;
pub mod health;
pub mod hook;
pub mod kernel;
pub mod language_model;
pub mod mount;
pub mod network;
pub mod owned;
pub mod pattern;
pub mod port;
pub mod process;
pub mod provider;
pub mod requires;
pub mod restart;
pub mod schedule;
pub mod secret;
pub mod service;
pub mod socket;
pub mod stack;
pub mod value;
pub mod volume;
pub mod watch;
