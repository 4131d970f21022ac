//! The sans-IO machine: takes one thing that happened, returns what must be done about it.
//!
//! No clock, no thread, no socket: whatever it wants done is an [`effect::Effect`], whatever it learns is an
//! [`event::Event`], and it is handed every moment. So it can be run against a simulated world, and `plan` is the same code
//! as `up`.

pub mod effect;
pub mod event;
pub mod notice;
pub mod request;
pub mod status;
