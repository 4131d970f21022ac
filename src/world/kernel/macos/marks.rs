//! The mark of an environment's processes: a variable. It passes through fork, exec and `setsid`. A program that clears its variables
//! loses it, and of Apple's own programs (`/bin/sh`) nobody may see it where System Integrity Protection is on: those are known by
//! their session ([`super::ends`]).

use std::ffi::CString;

use super::processes;
use crate::world::kernel::launch::Launch;

/// The variable; its value is the number in hexadecimal digits.
const VARIABLE: &str = "BAISTACK_MARK";

/// Has a child carry a mark.
pub fn put(launch: &mut Launch, mark: u64) {
    let name = format!("{VARIABLE}=");
    launch.environment.retain(|variable| !variable.as_bytes().starts_with(name.as_bytes()));
    launch.environment.push(CString::new(format!("{name}{mark:x}")).expect("letters and digits"));
}

/// The mark of a process; none where it has none, or that may not be seen.
pub fn of_process(pid: i32) -> Option<u64> {
    u64::from_str_radix(&processes::variable(pid, VARIABLE)?, 16).ok()
}

/// Takes the mark off ourselves: what a process was started with cannot be changed. Whoever starts a supervisor leaves it out
/// ([`not_to_be_passed`]).
pub fn shed() {}

/// A variable that whoever starts a supervisor leaves out of its environment.
pub fn not_to_be_passed() -> Option<&'static str> {
    Some(VARIABLE)
}
