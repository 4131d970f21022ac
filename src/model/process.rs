//! What only a native process has.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::socket::Socket;
use crate::base::duration;

/// Stands in a process's texts for `${REPLICA}`, whose number is only known when the replica starts.
pub const REPLICA_MARK: &str = "\u{E000}REPLICA\u{E001}";

/// A text that becomes `first` for the first replica and one more for each further one, as a port does that each needs one of.
/// `first` is a number, or the expression that one is filled in for.
pub fn from_replica(first: &str) -> String {
    format!("\u{E000}REPLICA+{first}\u{E001}")
}

/// The text of one replica: [`REPLICA_MARK`] and what [`from_replica`] makes, replaced by their numbers.
pub fn fill_replica(text: &str, replica: u32) -> Cow<'_, str> {
    const BEGIN: &str = "\u{E000}REPLICA";
    if !text.contains(BEGIN) {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split(BEGIN);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let number = part.split_once('\u{E001}').and_then(|(first, rest)| {
            let Some(first) = first.strip_prefix('+') else {
                return first.is_empty().then(|| (Cow::from(replica.to_string()), rest));
            };
            let number = match first.parse::<u32>() {
                Ok(first) => Cow::from(first.saturating_add(replica.saturating_sub(1)).to_string()),
                // Nothing is filled in yet: the first replica has it as it is.
                Err(_) if replica == 1 => Cow::from(first),
                Err(_) => return None,
            };
            Some((number, rest))
        });
        match number {
            Some((number, rest)) => filled.extend([&*number, rest]),
            // Somebody else's characters.
            None => filled.extend([BEGIN, part]),
        }
    }
    Cow::Owned(filled)
}

/// The text of a probe of one life behind a proxy: `$PORT` and `${PORT}` are its port.
pub fn fill_port(text: &str, port: u16) -> Cow<'_, str> {
    if !text.contains("$PORT") && !text.contains("${PORT}") {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("${PORT}", &port.to_string()).replace("$PORT", &port.to_string()))
}

/// A native process's own attributes. Paths are absolute.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// What is executed.
    pub command: Option<Command>,
    /// Prepended to `command`.
    pub entrypoint: Option<Command>,
    /// Files that a task reads: globs.
    pub inputs: Vec<String>,
    /// Files that a task makes: globs.
    pub outputs: Vec<String>,
    /// A task's proof.
    pub check: Option<Command>,
    /// Directories put before `PATH`.
    pub path: Vec<PathBuf>,
    /// Directories made before the start.
    pub scratch: Vec<PathBuf>,
    /// Not ready by then is a failed start; for a task the limit of one run.
    #[serde(with = "duration::optional")]
    pub start_timeout: Option<Duration>,
    /// What an unhealthy verdict causes.
    pub on_unhealthy: OnUnhealthy,
    /// Things outside that restart it.
    pub restart_on: Vec<RestartOn>,
    /// What is inherited from the caller of `up`.
    pub inherit_env: InheritEnv,
    /// Another shell than `/bin/sh -c`.
    pub shell: Option<Vec<String>>,
    /// Programs that may outlive the service.
    pub keep: Vec<String>,
    /// What it cannot see and cannot leave.
    pub isolation: Isolation,
    /// What the supervisor listens on for it.
    pub sockets: Vec<Socket>,
    /// Whether the supervisor holds its published port and forwards to the port of each life.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy: bool,
    /// Which life comes first on a restart by a file change.
    #[serde(skip_serializing_if = "Reload::is_stop_first")]
    pub reload: Reload,
    /// When a task runs by itself.
    pub schedule: Option<Schedule>,
    /// Whether it is a task: it has `check`, `inputs`, `outputs` or `schedule`, or something waits for its completion.
    /// Set by the loader, which alone sees the whole stack.
    pub task: bool,
}

/// A command: a list is executed as it is, a text by the rules of the format page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// Program and arguments.
    List(Vec<String>),
    /// One string.
    Text(String),
}

/// `on_unhealthy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnhealthy {
    /// Shown, nothing done, as in Compose.
    #[default]
    None,
    /// Restarted, obeying the back-off.
    Restart,
}

/// `isolation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// None: it is a process as any other.
    #[default]
    None,
    /// A PID namespace of its own: whatever it starts ends with it.
    Pid,
}

/// `reload`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reload {
    /// The present life ends before the next one begins.
    #[default]
    StopFirst,
    /// The next life is ready before the present one ends.
    StartFirst,
}

impl Reload {
    fn is_stop_first(&self) -> bool {
        *self == Self::StopFirst
    }
}

/// One entry of `restart_on`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartOn {
    /// An image whose reference matches this glob was pulled, built, loaded or tagged.
    ImagePulled(String),
}

/// `inherit_env`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InheritEnv {
    /// All or nothing.
    All(bool),
    /// Names let through (globs such as `LC_*`); if all begin with `!`, everything else is.
    Names(Vec<String>),
}

impl Default for InheritEnv {
    fn default() -> Self {
        InheritEnv::All(true)
    }
}

impl Command {
    /// Whether it is a text that a shell has to run.
    pub fn wants_shell(&self) -> bool {
        matches!(self, Command::Text(text) if !is_plain(text))
    }

    /// Program and arguments, given the shell (`["/bin/sh", "-c"]` unless `shell` says otherwise).
    ///
    /// A text of plain words (letters, digits and `_@%+=:,./-`) is split at spaces and executed; any other goes to the shell.
    pub fn argv(&self, shell: Option<&[String]>) -> Vec<String> {
        match self {
            Command::List(list) => list.clone(),
            Command::Text(text) if is_plain(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
            Command::Text(text) => {
                let mut argv: Vec<String> = match shell {
                    Some(shell) => shell.to_vec(),
                    None => vec!["/bin/sh".to_owned(), "-c".to_owned()],
                };
                argv.push(text.clone());
                argv
            }
        }
    }
}

/// POSIX special and regular builtins, reserved words, and the common extensions of shells: their names mean something
/// else to a shell than a program of that name would do, or have no program at all.
const SHELL_WORDS: [&str; 66] = [
    "!",
    ".",
    ":",
    "[[",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "case",
    "cd",
    "command",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "jobs",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "pushd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "then",
    "time",
    "times",
    "trap",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
];

fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./- ".contains(c);
    let Some(first) = text.split_ascii_whitespace().next() else { return false };
    let more_words = ["wait", "while", "{", "}"];
    text.trim().chars().all(plain) && !first.contains('=') && !SHELL_WORDS.contains(&first) && !more_words.contains(&first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_replica_has_its_own_number_in_its_texts() {
        let text = format!("a{REPLICA_MARK}b{}c{REPLICA_MARK}", from_replica("5000"));
        assert_eq!(fill_replica(&text, 2), "a2b5001c2");
        let unfilled = from_replica("${WEB_PORT}");
        assert_eq!((&*fill_replica(&unfilled, 1), &*fill_replica(&unfilled, 2)), ("${WEB_PORT}", &*unfilled));
        for text in ["", "plain", "\u{E000}REPLICA", "\u{E000}REPLICA+x\u{E001}"] {
            assert_eq!(fill_replica(text, 2), text);
        }
    }

    #[test]
    fn plain_words_are_executed_and_the_rest_goes_to_the_shell() {
        let argv = |text: &str| Command::Text(text.to_owned()).argv(None);
        assert_eq!(argv("python3 -m http.server 80"), ["python3", "-m", "http.server", "80"]);
        for shell in ["exec foo", "A=1 foo", "echo $HOME", "a && b", "cd x", "echo 'x'", "a\nb", "while true"] {
            assert_eq!(argv(shell), ["/bin/sh", "-c", shell], "{shell}");
        }
    }
}
