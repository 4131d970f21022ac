//! `healthcheck.file`: a path that must exist.

use std::io::ErrorKind;
use std::path::Path;

/// Whether the path exists, through links.
pub(super) async fn check(path: &str) -> Result<String, String> {
    // One stat: shorter than the way to another thread and back.
    match Path::new(path).metadata() {
        Ok(_) => Ok(String::new()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(format!("{path} does not exist")),
        Err(error) => Err(format!("{path}: {error}")),
    }
}
