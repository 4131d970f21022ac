//! The Docker Engine's edge against a real engine.

mod attributes;
mod away;
mod buildkit;
mod commands;
mod images;
mod lifecycle;
