//! Shared words: names, times, sizes, places in source files, diagnostics.
//!
//! No I/O and no clock. Whatever lives here may be used by every other floor.

pub mod bytes;
pub mod detach_keys;
pub mod diagnostic;
pub mod duration;
pub mod exit;
pub mod moment;
pub mod name;
pub mod random;
pub mod reference;
pub mod source;
pub mod suggest;
pub mod way;
