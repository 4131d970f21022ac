//! What the tests share.

pub(crate) mod engine;
pub(crate) mod memory;
pub(crate) mod sandbox;
