//! The Docker Engine's edge against a real engine.

mod lifecycle;
