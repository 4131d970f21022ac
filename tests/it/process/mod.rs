//! What native processes promise, with the program as a user has it.

mod beside;
mod isolation;
mod life;
mod lines;
mod needs;
mod places;
mod privileges;
mod probes;
mod reloading;
mod requests;
mod state;
mod stops;
mod surroundings;
mod tasks;
mod torture;
mod values;
mod watching;
