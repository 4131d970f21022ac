//! The sans-IO machine: takes one thing that happened, returns what must be done about it.
//!
//! No clock, no thread, no socket: whatever it wants done is an [`effect::Effect`], whatever it learns is an
//! [`event::Event`], and it is handed every moment. So it can be run against a simulated world, and `plan` is the same code
//! as `up`.

mod asked;
mod audience;
mod calling_off;
mod fetching;
mod gate;
mod held;
mod machine;
mod news;
mod pause;
mod renew;
mod schedule;
mod seen;
mod sync;
mod wishes;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

pub mod effect;
pub mod event;
pub mod forecast;
pub mod health;
pub mod notice;
pub mod reload;
pub mod report;
pub mod request;
pub mod resource;
pub mod restart;
pub mod snapshot;
pub mod status;
pub mod unit;
pub mod watch;

pub use asked::select;
pub use machine::Supervisor;
