//! What would change: the stack as wanted, the world as seen, and the table between them. Pure.

pub mod action;
pub mod actual;
pub mod desired;
pub mod diff;
pub mod environment;
pub mod hash;
pub mod next;
pub mod ports;
pub mod provision;
pub mod render;
