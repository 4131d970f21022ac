//! `healthcheck.file`: a path that must exist.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The kernel stamps files with the time of its last tick.
const TICK: Duration = Duration::from_millis(10);

/// Whether the path exists, through links; of a life beside another, whether it has been made or written since that life began.
pub(super) async fn check(path: &str, newer_than: Option<SystemTime>) -> Result<String, String> {
    // One stat: shorter than the way to another thread and back.
    let about = match Path::new(path).metadata() {
        Ok(about) => about,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(format!("{path} does not exist")),
        Err(error) => return Err(format!("{path}: {error}")),
    };
    match (newer_than, about.modified()) {
        (Some(begin), Ok(modified)) if modified + TICK < begin => {
            Err(format!("{path} is from before this life, which has not written it anew"))
        }
        (_, _) => Ok(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_life_has_made_is_not_this_ones() {
        let run = |future| tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let made = file.as_file().metadata().unwrap().modified().unwrap();
        let second = Duration::from_secs(1);
        for (begin, is_ready) in [(None, true), (Some(made - second), true), (Some(made), true), (Some(made + second), false)] {
            assert_eq!(run(check(path, begin)).is_ok(), is_ready, "{begin:?}");
        }
    }
}
