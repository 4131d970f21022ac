//! The edges: each turns what the machine asks for into input and output, and the world into events.

pub mod docker;
