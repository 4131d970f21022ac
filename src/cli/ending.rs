//! The end of an environment: waiting until its supervisor is gone, so that what is left is nobody's while it is removed.

use std::thread;
use std::time::Duration;

use crate::world::clock;
use crate::world::envdir::{EnvDir, FileLock, LockError};

/// How long the last supervisor may take to end after a `down`.
const ENDING: Duration = Duration::from_secs(10);
/// Between two looks at it.
const AGAIN: Duration = Duration::from_millis(10);

/// The environment's own lock, so that nobody starts it meanwhile.
pub fn locked(dir: &EnvDir) -> Result<FileLock, LockError> {
    let deadline = clock::deadline(ENDING);
    loop {
        match dir.try_lock() {
            Ok(lock) => return Ok(lock),
            Err(_) if !clock::is_past(deadline) => thread::park_timeout(AGAIN),
            Err(error) => return Err(error),
        }
    }
}
