//! The Docker Engine's edge against a real engine.

mod attributes;
mod away;
mod commands;
mod images;
mod lifecycle;
