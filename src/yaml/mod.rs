//! Text ⇄ tree: YAML with a place for every key and value.
//!
//! Knows YAML, not Compose: which keys there are and what they mean is `load`'s business.

pub mod decode;
mod deep;
pub mod emit;
mod events;
mod lenient;
pub mod node;
pub mod parse;
pub mod path;
pub mod place;
mod read;
pub mod scalar;
mod syntax;
pub mod typed;
