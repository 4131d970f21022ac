//! Capabilities: there are none.

use std::path::Path;

/// Why there are none.
pub fn why_none() -> Option<&'static str> {
    Some("`cap_add`: macOS has no capabilities")
}

/// Whoever names one asks for what cannot be had.
pub fn parse(names: &[String]) -> Result<u64, String> {
    why_none().filter(|_| !names.is_empty()).map_or(Ok(0), |why| Err(why.to_owned()))
}

/// Their names: none has one.
pub fn names(_capabilities: u64) -> Vec<String> {
    Vec::new()
}

/// Those that we hold: none.
pub fn held() -> u64 {
    0
}

/// Whether a file has any to give: none has.
pub fn are_carried_by(_file: &Path) -> bool {
    false
}

/// Those that a file gives to whoever executes it: none.
pub fn of_file(_file: &Path) -> u64 {
    0
}

/// Why the kernel takes no notice of the capabilities that a file carries: it carries none.
pub fn are_ignored(_carrier: &Path) -> Option<String> {
    None
}
