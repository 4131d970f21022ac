//! From a unit's definition to a [`Launch`]: which program, whose, where, with which limits; and what went wrong, in words.

use std::borrow::Cow;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use nix::errno::Errno;

use super::capabilities;
use super::sockets::Passed;
use super::user::Account;
use super::{isolation, limits};
use crate::model::process::{Process, fill_replica};
use crate::plan::action::{Fault, FaultKind};
use crate::plan::desired::UnitSpec;
use crate::plan::environment;
use crate::world::envdir::own_uid;
use crate::world::kernel::launch::{Launch, SpawnError, Step};

/// Search path of a process without `PATH`, as `execvp` has it.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A command to be run as a unit runs: the unit's own, a hook, a check, a probe.
#[derive(Debug)]
pub struct Order<'a> {
    /// The unit.
    pub spec: &'a UnitSpec,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables on top of the unit's.
    pub environment: IndexMap<String, String>,
    /// Another user than the unit's.
    pub user: Option<&'a str>,
    /// Another directory than the unit's, relative to it.
    pub directory: Option<&'a str>,
}

impl<'a> Order<'a> {
    /// The unit's own command.
    pub fn own(spec: &'a UnitSpec) -> Self {
        let argv = process(spec).map(argv).unwrap_or_default();
        Self { spec, argv, environment: IndexMap::new(), user: None, directory: None }
    }

    /// Another command of the unit's.
    pub fn other(spec: &'a UnitSpec, argv: Vec<String>) -> Self {
        Self { argv, ..Self::own(spec) }
    }

    /// All that the child needs, but descriptors and session, with whom it runs as.
    pub fn launch(&self) -> Result<(Launch, Account), Fault> {
        let common = &self.spec.service().common;
        let account = Account::resolve(self.user.or(common.user.as_deref()), &common.group_add)?;
        let mut variables = self.variables(&account)?;
        let fill = |text: &str| fill_replica(text, self.spec.unit.replica).into_owned();
        for value in variables.values_mut() {
            if let Cow::Owned(filled) = fill_replica(value, self.spec.unit.replica) {
                *value = filled;
            }
        }
        let argv: Vec<String> = self.argv.iter().map(|argument| fill(argument)).collect();
        let directory = self.directory();
        if !directory.is_dir() {
            let what = if directory.exists() { "is not a directory" } else { "does not exist" };
            return Err(Fault::permanent(format!("working_dir `{}` {what}", directory.display())));
        }
        let Some(program) = argv.first() else { return Err(Fault::permanent("no `command` to run")) };
        let file = find(program, &directory, variables.get("PATH").map(String::as_str))?;
        let launch = Launch {
            program: text(file.as_os_str().as_bytes(), "the program's path")?,
            arguments: argv.iter().map(|argument| text(argument.as_bytes(), "an argument")).collect::<Result<_, _>>()?,
            environment: block(&variables)?,
            directory: Some(text(directory.as_os_str().as_bytes(), "working_dir")?),
            limits: limits::resolve(&common.ulimits)?,
            oom_score_adj: common.oom_score_adj.map(oom_score).transpose()?,
            identity: account.identity.clone(),
            capabilities: capabilities::ambient(&common.cap_add, &file, variables.get("PATH").map(String::as_str))?,
            ..Launch::default()
        };
        Ok((launch, account))
    }

    /// Its working directory.
    pub fn directory(&self) -> PathBuf {
        let own = working_dir(self.spec);
        self.directory.map_or_else(|| own.clone(), |directory| own.join(directory))
    }

    fn variables(&self, account: &Account) -> Result<IndexMap<String, String>, Fault> {
        let UnitSpec { unit, deployment, .. } = self.spec;
        let service = self.spec.service();
        let process = process(self.spec)?;
        let mut variables = environment::of_process(deployment, unit, service, process);
        if let Some(entry) = &account.other {
            // The caller's home is of no use to another user. What the stack gives goes first.
            let given = environment::given(deployment, unit, service, process);
            for (name, value) in [("HOME", &entry.home), ("USER", &entry.name), ("LOGNAME", &entry.name)] {
                if !given.contains_key(name) {
                    variables.insert(name.to_owned(), value.clone());
                }
            }
        }
        if service.common.tty {
            // As the engine gives a container with a terminal.
            variables.entry("TERM".to_owned()).or_insert_with(|| "xterm".to_owned());
        }
        variables.extend(self.environment.clone());
        Ok(variables)
    }
}

/// The directory that a unit runs in.
pub fn working_dir(spec: &UnitSpec) -> PathBuf {
    let directory = &spec.deployment.stack.directory;
    let own = spec.service().common.working_dir.as_deref();
    own.map_or_else(|| directory.clone(), |own| directory.join(fill_replica(own, spec.unit.replica).as_ref()))
}

/// A process's own attributes.
pub fn process(spec: &UnitSpec) -> Result<&Process, Fault> {
    spec.service().process().ok_or_else(|| Fault::permanent(format!("{} is not a process", spec.unit)))
}

/// What is executed: `entrypoint`, then `command`.
pub fn argv(process: &Process) -> Vec<String> {
    let parts = [&process.entrypoint, &process.command];
    parts.into_iter().flatten().flat_map(|command| command.argv(process.shell.as_deref())).collect()
}

/// The file of a program: one without `/` is sought in `PATH`, one with it from the working directory.
pub fn find(program: &str, directory: &Path, path: Option<&str>) -> Result<PathBuf, Fault> {
    if program.is_empty() {
        return Err(Fault::permanent("the program's name is empty"));
    }
    if program.contains('/') {
        let file = directory.join(program.trim_start_matches("./"));
        return match kind(&file) {
            FileKind::Program => Ok(file),
            FileKind::NotExecutable => Err(Fault::not_executable(format!("`{}` is not executable", file.display()))),
            FileKind::Directory => Err(Fault::not_executable(format!("`{}` is a directory", file.display()))),
            FileKind::Nothing => Err(Fault::no_program(format!("no such program `{}`", file.display()))),
        };
    }
    let path = path.unwrap_or(DEFAULT_PATH);
    let mut refused = None;
    for entry in path.split(':') {
        let file = directory.join(entry).join(program);
        match kind(&file) {
            FileKind::Program => return Ok(file),
            FileKind::NotExecutable => refused = refused.or(Some(file)),
            FileKind::Directory | FileKind::Nothing => {}
        }
    }
    Err(match refused {
        Some(file) => Fault::not_executable(format!("`{}` is not executable", file.display())),
        None => Fault::no_program(format!("no such program `{program}` in PATH {path}")),
    })
}

enum FileKind {
    Program,
    NotExecutable,
    Directory,
    Nothing,
}

fn kind(file: &Path) -> FileKind {
    match fs::metadata(file) {
        Ok(about) if about.is_dir() => FileKind::Directory,
        Ok(about) if about.permissions().mode() & 0o111 == 0 => FileKind::NotExecutable,
        Ok(_) => FileKind::Program,
        Err(_) => FileKind::Nothing,
    }
}

/// Hands listening sockets to a child.
pub(super) fn pass_sockets(launch: &mut Launch, passed: &Passed) -> Result<(), Fault> {
    for (name, value) in passed.variables() {
        launch.environment.push(text(format!("{name}={value}").as_bytes(), "a socket's name")?);
    }
    launch.sockets.clone_from(&passed.descriptors);
    Ok(())
}

/// A command of no unit.
pub(super) fn plain(argv: &[String], environment: &IndexMap<String, String>, directory: &Path) -> Result<Launch, Fault> {
    let Some(program) = argv.first() else { return Err(Fault::permanent("no command to run")) };
    let file = find(program, directory, environment.get("PATH").map(String::as_str))?;
    Ok(Launch {
        program: text(file.as_os_str().as_bytes(), "the program's path")?,
        arguments: argv.iter().map(|argument| text(argument.as_bytes(), "an argument")).collect::<Result<_, _>>()?,
        environment: block(environment)?,
        directory: Some(text(directory.as_os_str().as_bytes(), "the directory")?),
        // Nobody else waits for it, and in a session of its own it hears no Ctrl-C.
        death_signal: Some(libc::SIGTERM),
        ..Launch::default()
    })
}

/// The variables that the loader will drop, since the program's file carries capabilities.
pub(super) fn dropped_by_loader(launch: &Launch) -> Vec<String> {
    let file = Path::new(std::ffi::OsStr::from_bytes(launch.program.as_bytes()));
    let uid = launch.identity.as_ref().map_or_else(own_uid, |identity| identity.uid);
    let variables = || launch.environment.iter().map(CString::as_bytes);
    let path = variables().find_map(|variable| std::str::from_utf8(variable.strip_prefix(b"PATH=")?).ok());
    capabilities::dropped_by_loader(file, uid, variables(), path)
}

/// Says why a unit's program does not run, so that the reader knows what to change.
pub(super) fn explain(error: &SpawnError, order: &Order<'_>, launch: &Launch) -> Fault {
    match error {
        SpawnError::Step { step: Step::Directory, source } => {
            Fault::permanent(format!("working_dir `{}`: {}", order.directory().display(), source.desc()))
        }
        SpawnError::Clone(_) | SpawnError::Step { .. } => explain_plain(error, launch),
    }
}

/// Says why a program does not run.
pub(super) fn explain_plain(error: &SpawnError, launch: &Launch) -> Fault {
    match error {
        SpawnError::Clone(source) if launch.namespaces.is_some() => {
            isolation::explain(Errno::from_raw(source.raw_os_error().unwrap_or_default()))
        }
        SpawnError::Step { step: Step::Namespaces, source } => isolation::explain(*source),
        SpawnError::Clone(source) => Fault::temporary(format!("make a process: {source}")),
        SpawnError::Step { step: Step::Execute, source } => explain_execute(*source, launch),
        SpawnError::Step { step, source } => {
            let kind = if *step == Step::Prepare { FaultKind::Temporary } else { FaultKind::Permanent };
            Fault { kind, message: format!("{step}: {}", source.desc()) }
        }
    }
}

fn explain_execute(errno: Errno, launch: &Launch) -> Fault {
    let program = launch.program.to_string_lossy();
    Fault::not_executable(match errno {
        Errno::ENOENT => {
            return Fault::no_program(match interpreter(&launch.program) {
                Some(interpreter) => format!("`{program}` is to be run by `{interpreter}`, which does not exist"),
                None => format!("`{program}` needs an interpreter or a loader that does not exist"),
            });
        }
        Errno::ENOEXEC => format!("`{program}` is neither a program for this machine nor a script with a `#!` line"),
        Errno::EACCES => format!("`{program}` may not be executed by this user"),
        Errno::E2BIG => format!("arguments and environment of `{program}` are too long for the kernel"),
        Errno::EPERM => format!("`{program}` carries capabilities in its file that this user may not hold here"),
        Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::ETXTBSY => {
            return Fault::temporary(format!("execute `{program}`: {}", errno.desc()));
        }
        _ => format!("execute `{program}`: {}", errno.desc()),
    })
}

/// The program that a `#!` line names.
fn interpreter(program: &CString) -> Option<String> {
    use std::io::Read;
    let path = Path::new(std::ffi::OsStr::from_bytes(program.as_bytes()));
    let mut head = Vec::new();
    fs::File::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().next().map(str::to_owned)
}

fn oom_score(score: i64) -> Result<CString, Fault> {
    text(limits::oom_score(score)?.as_bytes(), "oom_score_adj")
}

fn block(variables: &IndexMap<String, String>) -> Result<Vec<CString>, Fault> {
    let one = |(name, value): (&String, &String)| {
        let mut variable = Vec::with_capacity(name.len() + value.len() + 2);
        variable.extend_from_slice(name.as_bytes());
        variable.push(b'=');
        variable.extend_from_slice(value.as_bytes());
        CString::new(variable)
            .map_err(|_| Fault::permanent(format!("the value of `{name}` holds a NUL character, which no environment can")))
    };
    variables.iter().map(one).collect()
}

fn text(bytes: &[u8], what: &str) -> Result<CString, Fault> {
    CString::new(bytes).map_err(|_| Fault::permanent(format!("{what} holds a NUL character, which the kernel does not allow")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_sought_where_the_process_will_seek_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        fs::create_dir_all(at.join("bin")).unwrap();
        for (name, mode) in [("bin/tool", 0o755), ("bin/data", 0o644), ("run", 0o755)] {
            fs::write(at.join(name), "").unwrap();
            fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let found = |program: &str| {
            find(program, at, Some("/nowhere:bin"))
                .map(|file| file.strip_prefix(at).unwrap().display().to_string())
                .map_err(|fault| fault.message.replace(&at.display().to_string(), "DIR"))
        };
        assert_eq!(found("tool").as_deref(), Ok("bin/tool"));
        assert_eq!(found("./run").as_deref(), Ok("run"));
        assert_eq!(found("data").unwrap_err(), "`DIR/bin/data` is not executable");
        assert_eq!(found("nothing").unwrap_err(), "no such program `nothing` in PATH /nowhere:bin");
        assert_eq!(found("./nothing").unwrap_err(), "no such program `DIR/nothing`");
        assert_eq!(found("./bin").unwrap_err(), "`DIR/bin` is a directory");
        assert_eq!(found("run").unwrap_err(), "no such program `run` in PATH /nowhere:bin");
    }
}
