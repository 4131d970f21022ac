//! `security_opt`: what the engine is told, and the profiles that are read for it.

use std::path::Path;

use bollard::models::HostConfig;
use serde::de::IgnoredAny;

use super::body::filled;
use crate::plan::action::Fault;

/// Puts options into a request. `systempaths=unconfined` is none of the engine's: Docker's command line empties two lists for it.
pub(super) fn apply(config: &mut HostConfig, options: &[String]) {
    let (paths, others): (Vec<&String>, Vec<&String>) =
        options.iter().partition(|option| matches!(option.as_str(), "systempaths=unconfined" | "systempaths:unconfined"));
    if !paths.is_empty() {
        config.masked_paths = Some(Vec::new());
        config.readonly_paths = Some(Vec::new());
    }
    config.security_opt = filled(others.into_iter().cloned().collect());
}

/// The options with the profile in the place of each `seccomp=FILE`: the engine wants what it says, not its path.
pub(super) fn with_profiles(options: &[String], directory: &Path) -> Result<Vec<String>, Fault> {
    let read = |option: &String| {
        let (key, value) = option.split_once('=').or_else(|| option.split_once(':')).unwrap_or((option, ""));
        if key != "seccomp" || value == "unconfined" || value == "builtin" || value.starts_with('{') {
            return Ok(option.clone());
        }
        let path = directory.join(value);
        let wrong = |why: &dyn std::fmt::Display| Fault::permanent(format!("read seccomp profile `{}`: {why}", path.display()));
        let profile = std::fs::read_to_string(&path).map_err(|error| wrong(&error))?;
        serde_json::from_str::<IgnoredAny>(&profile).map_err(|error| wrong(&error))?;
        Ok(format!("seccomp={}", compact(&profile)))
    };
    options.iter().map(read).collect()
}

/// JSON without the space between its parts; their order stays.
fn compact(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |letter: &char| {
        let kept = inside || !letter.is_ascii_whitespace();
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = inside,
            '"' => inside = !inside,
            _ => {}
        }
        kept
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_takes_the_place_of_its_path() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("p.json"), "{\n  \"defaultAction\": \"a \\\" b\",\n  \"x\": [ 1 ]\n}\n").unwrap();
        let options = ["seccomp:p.json", "seccomp=unconfined", "no-new-privileges:true"].map(str::to_owned);
        assert_eq!(
            with_profiles(&options, directory.path()).unwrap(),
            [r#"seccomp={"defaultAction":"a \" b","x":[1]}"#, "seccomp=unconfined", "no-new-privileges:true"]
        );
    }

    #[test]
    fn a_profile_that_is_not_there_or_no_json_is_told_by_its_path() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("p.json"), "defaultAction: x").unwrap();
        for name in ["p.json", "gone.json"] {
            let fault = with_profiles(&[format!("seccomp={name}")], directory.path()).unwrap_err();
            assert!(fault.message.contains(&format!("/{name}`")), "{}", fault.message);
        }
    }
}
