//! Everything that needs more than one floor, in one binary: each further one would cost a link.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says aloud what it skips")]

mod apart;
mod attach;
mod builds;
mod cli;
mod commands;
mod compose_made;
mod compose_scenarios;
mod container_commands;
mod converge;
mod docker;
mod doctor;
mod engine_restarts;
mod environment_commands;
mod environments;
mod first_steps;
mod foreground;
mod fuzz;
mod jobs;
mod loading;
mod losses;
mod models;
mod mounted_images;
mod process;
mod provided;
mod publishing;
mod registry;
mod rehearsals;
mod removals;
mod scenarios;
mod schedule;
mod sockets;
mod ssh;
mod stacks;
mod starting;
mod support;
