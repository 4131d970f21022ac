//! The Docker Engine's edge against a real engine.

mod away;
mod commands;
mod images;
mod lifecycle;
