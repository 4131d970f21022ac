//! `requires:`: all of it is looked at, and all that is missing is told at once.

use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use indexmap::IndexMap;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{AccessFlags, access};

use crate::base::duration;
use crate::model::requires::{Comparison, Need, Requirement, comparisons};
use crate::plan::desired::Deployment;
use crate::world::native::exec::{Ran, run_plain};

/// How long one program that is asked may take. All are asked at once.
const LIMIT: Duration = Duration::from_secs(20);

/// As much of what it says as is looked at.
const KEPT: usize = 64 * 1024;

/// Tells the container engine's release, or why it cannot be reached.
pub type Engine<'a> = &'a dyn Fn() -> Result<String, String>;

/// Something that a stack requires and this host has not, as a program that is not in PATH, with what helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found}: {remedy}")]
pub struct Unmet {
    /// What was found, one sentence.
    pub found: String,
    /// What to do about it: the hint of the stack file, else what helps with all of its kind.
    pub remedy: String,
}

/// What a stack requires and this host has not, in the order of the file. The engine is asked by the caller's thread, everything else
/// at the same time.
pub fn missing(deployment: &Deployment, environment: &IndexMap<String, String>, engine: Engine<'_>) -> Vec<Unmet> {
    let host = &Host { directory: &deployment.stack.directory, environment, limit: LIMIT };
    let requires = &deployment.stack.requires;
    let found: Vec<Result<(), String>> = thread::scope(|scope| {
        let asked: Vec<_> = (requires.iter())
            .map(|requirement| match &requirement.what {
                Need::Docker(_) => None,
                need => Some(scope.spawn(move || host.check(need))),
            })
            .collect();
        let told = |asked: Option<ScopedJoinHandle<'_, Result<(), String>>>, need: &Need| match (asked, need) {
            (Some(asked), _) => asked.join().unwrap_or_else(|_| Err("it could not be looked at".to_owned())),
            (None, Need::Docker(version)) => docker(engine, version),
            (None, need) => host.check(need),
        };
        asked.into_iter().zip(requires).map(|(asked, requirement)| told(asked, &requirement.what)).collect()
    });
    let unmet = |(found, requirement): (Result<(), String>, &Requirement)| {
        let found = found.err()?;
        Some(Unmet { found, remedy: requirement.hint.clone().unwrap_or_else(|| remedy(&requirement.what)) })
    };
    found.into_iter().zip(requires).filter_map(unmet).collect()
}

/// What helps where a stack file gives no hint.
fn remedy(need: &Need) -> String {
    match need {
        Need::Locale(_) => "export LC_ALL=C.UTF-8".to_owned(),
        Need::Tool { name, version: None } => format!("install `{name}`, or put its directory into PATH"),
        Need::Tool { name, version: Some(version) } => format!("install `{name}` {version}, and put it first in PATH"),
        Need::Docker(version) => format!("sudo systemctl start docker; where it is another one, install {version}"),
        Need::File(path) => format!("make `{path}`, or install what it belongs to"),
        Need::OpenFiles(count) => {
            format!("echo \"$USER - nofile {count}\" | sudo tee /etc/security/limits.d/90-nofile.conf, and log in again")
        }
        Need::Command(text) => format!("mend what `{}` tells", text.lines().next().unwrap_or_default()),
    }
}

/// Whether there is an engine of that version.
fn docker(engine: Engine<'_>, version: &str) -> Result<(), String> {
    let found = engine().map_err(|why| format!("a Docker Engine is required: {why}"))?;
    satisfies(&found, version).map_err(|why| format!("the Docker Engine is {found}, {why}"))
}

struct Host<'a> {
    directory: &'a Path,
    environment: &'a IndexMap<String, String>,
    limit: Duration,
}

impl Host<'_> {
    fn check(&self, need: &Need) -> Result<(), String> {
        match need {
            Need::Locale(encoding) => self.locale(encoding),
            Need::Tool { name, version } => self.tool(name, version.as_deref()),
            // Asked elsewhere: it is one for all.
            Need::Docker(_) => Ok(()),
            Need::File(path) if self.directory.join(path).exists() => Ok(()),
            Need::File(path) => Err(format!("the file `{path}` is missing")),
            Need::OpenFiles(count) => open_files(*count),
            Need::Command(text) => self.command(text),
        }
    }

    /// What the C library makes of the caller's variables: a locale that is named but not installed is `C` to every program.
    fn locale(&self, encoding: &str) -> Result<(), String> {
        let set = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| Some((name, self.environment.get(name).filter(|value| !value.is_empty())?)));
        let charmap = self.program("locale").and_then(|program| {
            let output = self.run(&program, &["charmap"]).ok()?;
            let said = String::from_utf8_lossy(&output.output).into_owned();
            // What it has to complain about comes first.
            output.is_success().then(|| said.lines().last().unwrap_or_default().trim().to_owned())
        });
        let plain = |text: &str| text.to_ascii_lowercase().replace('-', "");
        let has = match (&charmap, set) {
            (Some(charmap), _) => plain(charmap) == plain(encoding),
            (None, Some((_, locale))) => plain(locale).ends_with(&plain(encoding)),
            (None, None) => false,
        };
        match (has, set) {
            (true, _) => Ok(()),
            (false, Some((name, locale))) => Err(format!("the locale `{locale}` (from {name}) is none of {encoding}")),
            (false, None) => Err(format!("no locale of {encoding} is set")),
        }
    }

    fn tool(&self, name: &str, version: Option<&str>) -> Result<(), String> {
        let Some(program) = self.program(name) else { return Err(format!("the program `{name}` is not in PATH")) };
        let Some(version) = version else { return Ok(()) };
        let output = self.run(&program, &["--version"]).map_err(|error| format!("`{name} --version` cannot be run: {error}"))?;
        if !output.is_success() {
            return Err(format!("`{name} --version` fails{}", said(&output)));
        }
        let text = String::from_utf8_lossy(&output.output);
        let Some(found) = text.split_whitespace().find_map(version_in) else {
            return Err(format!("`{name} --version` names no version"));
        };
        satisfies(found, version).map_err(|why| format!("`{name}` is version {found}, {why}"))
    }

    fn command(&self, text: &str) -> Result<(), String> {
        let output = self.run(Path::new("/bin/sh"), &["-c", text]).map_err(|error| format!("`{text}` cannot be run: {error}"))?;
        if output.is_success() {
            return Ok(());
        }
        Err(format!("`{}` fails{}", text.lines().next().unwrap_or_default(), said(&output)))
    }

    /// Where a program is: in the caller's `PATH`, or with `/` from the stack's directory.
    fn program(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(self.directory.join(name)).filter(|path| is_program(path));
        }
        let path = self.environment.get("PATH")?;
        std::env::split_paths(path).map(|directory| directory.join(name)).find(|path| is_program(path))
    }

    /// Runs a program to its end, or until it has taken too long.
    fn run(&self, program: &Path, arguments: &[&str]) -> Result<Ran, String> {
        let words = std::iter::once(program.to_string_lossy().into_owned());
        let argv: Vec<String> = words.chain(arguments.iter().map(|&word| word.to_owned())).collect();
        let ran = run_plain(&argv, self.environment, self.directory, Some(self.limit), KEPT).map_err(|fault| fault.message)?;
        if ran.timed_out {
            return Err(format!("it has not ended within {}", duration::format(self.limit)));
        }
        Ok(ran)
    }
}

/// Whether we may run a file.
fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

/// What a program that has failed says of it, in brackets: its first line, which names the fault in nearly all; Python names it in
/// the last.
fn said(ran: &Ran) -> String {
    let text = String::from_utf8_lossy(&ran.output);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = match lines.next() {
        Some(first) if first.starts_with("Traceback") => lines.next_back().or(Some(first)),
        first => first,
    };
    line.map_or_else(String::new, |line| format!(" ({line})"))
}

/// The soft limit is raised as far as is asked, in this process: the supervisor that it starts, and so the services, inherit it.
fn open_files(count: u64) -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| errno.desc().to_owned())?;
    if soft >= count || (hard >= count && setrlimit(Resource::RLIMIT_NOFILE, count, hard).is_ok()) {
        return Ok(());
    }
    Err(format!("{count} open files are required and at most {hard} are allowed"))
}

/// The version in a word such as `3.11.2,` or `v20.10.24` or `(1.2)`.
fn version_in(word: &str) -> Option<&str> {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let word = word.strip_prefix('v').unwrap_or(word);
    (word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')).then_some(word)
}

/// Whether a version satisfies a comma list of comparisons, as `>=3.11,<3.12`.
fn satisfies(found: &str, wanted: &str) -> Result<(), String> {
    let numbers = |text: &str| -> Vec<u64> {
        let text = text.trim().trim_start_matches('v');
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        text[..end].split('.').filter_map(|part| part.parse().ok()).collect()
    };
    for (comparison, mut want) in comparisons(wanted).map_err(|error| format!("and {error}"))? {
        let mut have = numbers(found);
        if matches!(comparison, Comparison::Is | Comparison::IsNot) {
            // `3.11` means any 3.11.
            have.truncate(want.len());
        }
        let length = want.len().max(have.len());
        want.resize(length, 0);
        have.resize(length, 0);
        let holds = match comparison {
            Comparison::AtLeast => have >= want,
            Comparison::AtMost => have <= want,
            Comparison::After => have > want,
            Comparison::Before => have < want,
            Comparison::Is => have == want,
            Comparison::IsNot => have != want,
        };
        if !holds {
            return Err(format!("and {wanted} is required"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_number_by_number() {
        for (found, wanted, expected) in [
            ("3.11.7", ">=3.11,<3.12", true),
            ("3.12.0", ">=3.11,<3.12", false),
            ("20.10.24+dfsg1", ">=20.10", true),
            ("20.9", ">=20.10", false),
            ("1.2.3", "1.2", true),
            ("1.3", "1.2", false),
            ("2.0", "!=2.0.0", false),
            ("2", "~>2", false),
        ] {
            assert_eq!(satisfies(found, wanted).is_ok(), expected, "{found} {wanted}");
        }
    }

    #[test]
    fn a_version_is_found_among_words() {
        let find = |text: &str| text.split_whitespace().find_map(version_in).map(str::to_owned);
        assert_eq!(find("Python 3.11.2").as_deref(), Some("3.11.2"));
        assert_eq!(find("Docker version 20.10.24, build 297e128").as_deref(), Some("20.10.24"));
        assert_eq!(find("go version go1.22 (linux)"), None);
        assert_eq!(find("v1.2 (x)").as_deref(), Some("1.2"));
    }

    #[test]
    fn all_that_is_missing_is_said_at_once_with_its_hint() {
        let environment: IndexMap<String, String> =
            [("PATH".to_owned(), "/bin:/usr/bin".to_owned()), ("LANG".to_owned(), "C".to_owned())].into();
        let engine: Engine<'_> = &|| Err("it is away".to_owned());
        let host = Host { directory: Path::new("/"), environment: &environment, limit: Duration::from_secs(2) };
        let said = |need: Need| host.check(&need).err();
        assert_eq!(said(Need::Tool { name: "sh".to_owned(), version: None }), None);
        let said_of_tool = said(Need::Tool { name: "no-such-tool".to_owned(), version: None });
        assert_eq!(said_of_tool.as_deref(), Some("the program `no-such-tool` is not in PATH"));
        assert_eq!(said(Need::File("/no/such/file".to_owned())).as_deref(), Some("the file `/no/such/file` is missing"));
        assert_eq!(said(Need::File("etc".to_owned())), None, "relative to the stack");
        assert_eq!(said(Need::Command("echo oh >&2; exit 3".to_owned())).as_deref(), Some("`echo oh >&2; exit 3` fails (oh)"));
        let place = tempfile::tempdir().unwrap();
        let shim = place.path().join("shim");
        std::fs::write(&shim, "#!/bin/sh\necho 'shim: no such program'\necho 'it is in 3.13.0'\nexit 127\n").unwrap();
        std::fs::set_permissions(&shim, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let shim = shim.display().to_string();
        let of_shim = said(Need::Tool { name: shim.clone(), version: Some(">=3.13".to_owned()) });
        assert_eq!(of_shim.as_deref(), Some(&*format!("`{shim} --version` fails (shim: no such program)")));
        let trace = "echo Traceback; echo '  File'; echo 'ImportError: no'; exit 1".to_owned();
        assert_eq!(said(Need::Command(trace.clone())), Some(format!("`{trace}` fails (ImportError: no)")));
        let said_of_slow = said(Need::Command("sleep 987".to_owned())).unwrap();
        assert_eq!(said_of_slow, "`sleep 987` cannot be run: it has not ended within 2s");
        assert!(docker(engine, ">=20").unwrap_err().contains("it is away"));
        assert!(said(Need::Locale("UTF-8".to_owned())).unwrap().contains("LANG"));
        assert_eq!(said(Need::OpenFiles(1)), None);
        assert!(said(Need::OpenFiles(u64::MAX)).unwrap().contains("at most"));
        std::fs::set_permissions(place.path().join("shim"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(said(Need::Tool { name: shim.clone(), version: None }), Some(format!("the program `{shim}` is not in PATH")));
    }
}
