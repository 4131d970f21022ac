//! The edges: each turns what the machine asks for into input and output, and what happens outside into events.
//!
//! Nothing here decides what should be done: that is the machine's business.

pub mod ignored;
pub mod inputs;
pub mod probe;
pub mod tasks;
