//! Where machine and edges meet: the loop of a supervisor, and the ways to start one and to reach one.

pub mod attach;
pub mod dispatch;
pub mod engine;
pub mod logs;
pub mod look;
pub mod run_loop;
pub mod spawn;
