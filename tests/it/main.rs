//! Everything that needs more than one floor, in one binary: each further one would cost a link.

mod docker;
mod stacks;
mod support;
