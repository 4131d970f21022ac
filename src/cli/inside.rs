//! What `exec` and `run` share: a command inside a container, with our terminal or our pipes as its own.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;

use super::CliError;
use super::context::Context;
use super::targets::{no_replica, of_engine};
use crate::base::exit::Exit;
use crate::base::name::{EnvId, NameError, ServiceName, UnitId};
use crate::host::engine::Resize;
use crate::model::environment::Environment;
use crate::plan::action::Fault;
use crate::plan::actual::{Query, SeenContainer, SeenState};
use crate::plan::desired::UnitSpec;
use crate::view::term::{self, Raw};
use crate::world::docker::LogStream;
use crate::world::native::exec::{Interactive, exec_detached, exec_interactive};
use crate::world::native::files::{self, Stay};
use crate::world::signals::{self, Listener, Signal};

/// Whether the command gets a terminal: when both ends of ours are one, and nobody refused.
pub fn wants_terminal(refused: bool) -> bool {
    !refused && term::stdin_is_terminal() && term::stdout_is_terminal()
}

/// Variables of flags; a bare name is the caller's own, and nothing where the caller has none.
pub fn variables(flags: &[(String, Option<String>)], caller: &IndexMap<String, String>) -> Environment {
    let value = |name: &String, value: &Option<String>| value.clone().or_else(|| caller.get(name).cloned());
    flags.iter().filter_map(|(name, given)| Some((name.clone(), Some(value(name, given)?)))).collect()
}

/// Our terminal while a command elsewhere has it.
pub struct Lent {
    _raw: Option<Raw>,
    resize: Arc<Mutex<Option<Resize>>>,
    _listener: Option<Listener>,
}

impl Lent {
    /// Lends it, if `tty` is wanted.
    pub fn new(tty: bool) -> Self {
        let resize: Arc<Mutex<Option<Resize>>> = Arc::default();
        let listener = tty.then(|| {
            let resize = Arc::clone(&resize);
            signals::listen(&[Signal::Resized], move |_| tell_size(&resize)).ok()
        });
        Self { _raw: if tty { Raw::enter() } else { None }, resize, _listener: listener.flatten() }
    }

    /// The command runs, and this is how to tell it the terminal's size.
    pub fn begin(&self, resize: Resize) {
        *self.resize.lock().unwrap_or_else(PoisonError::into_inner) = Some(resize);
        tell_size(&self.resize);
    }
}

fn tell_size(resize: &Mutex<Option<Resize>>) {
    if let (Some(resize), Some((columns, rows))) = (&*resize.lock().unwrap_or_else(PoisonError::into_inner), term::stdout_size())
    {
        resize.to(columns, rows);
    }
}

/// Writes what the command writes to where it belongs. A reader of ours that went away is the command's business: it is told
/// by its own broken pipe when it has one, and goes on when it has none.
pub fn pass_on(stream: LogStream, bytes: &[u8]) {
    let _ = match stream {
        LogStream::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        LogStream::Stderr => io::stderr().lock().write_all(bytes),
    };
}

/// The command's code, or why there is none.
pub fn exit(code: Result<i32, Fault>) -> Result<Exit, CliError> {
    match code {
        Ok(code) => Ok(Exit::Passed(u8::try_from(code).unwrap_or(255))),
        Err(fault) => Err(of_engine(fault)),
    }
}

/// The service of a command line, and what comes after it.
pub fn service_of(words: &[String]) -> Result<(ServiceName, Vec<String>), CliError> {
    let (service, command) = words.split_first().expect("clap wants at least one");
    let service = service.parse().map_err(|error: NameError| CliError::Usage(error.to_string()))?;
    Ok((service, command.to_vec()))
}

/// What flags change for a command.
pub struct Inside<'a> {
    /// Variables on top of the service's.
    pub env: &'a [(String, Option<String>)],
    /// Another user.
    pub user: Option<&'a str>,
    /// Another directory.
    pub workdir: Option<&'a str>,
    /// What was made for this command alone goes with it, scratch directories too; those that were there stay.
    pub rm: bool,
}

impl Inside<'_> {
    fn options(&self, context: &Context) -> Interactive<'_> {
        let variables = variables(self.env, &context.caller);
        let environment = variables.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Interactive { environment, user: self.user, directory: self.workdir }
    }
}

/// Runs a command as a process of the stack runs, as a child of ours: its environment, directory and user, our terminal.
pub fn process(spec: &UnitSpec, argv: Vec<String>, inside: &Inside<'_>, context: &Context) -> Result<Exit, CliError> {
    // What it starts has the environment's mark, and no supervisor where none runs: it is nobody's leftover all the same.
    let _claim = context.env_dir(&spec.deployment.env)?.claim().map_err(CliError::failed)?;
    let scratch = if inside.rm { Stay::ForTheCommand } else { Stay::ForTheUnit };
    let code = files::lend(spec, scratch).and_then(|lent| {
        let exit = exec_interactive(spec, argv, inside.options(context));
        lent.give_back()?;
        Ok(exit?.code())
    });
    exit(code)
}

/// The same, left to itself. Its files are those of the unit, if that has some.
pub fn detached_process(spec: &UnitSpec, argv: Vec<String>, inside: &Inside<'_>, context: &Context) -> Result<Exit, CliError> {
    exit(exec_detached(spec, argv, inside.options(context)).map(|()| 0))
}

/// Becomes a `run` of the same command that brings nothing up; returns only when that fails.
///
/// [`exec_interactive`] wants a process without other threads, and whoever has talked to the engine has some.
pub fn become_run(spec: &UnitSpec, argv: &[String], inside: &Inside<'_>, context: &Context) -> CliError {
    let (deployment, global) = (&spec.deployment, &context.global);
    let mut command = Command::new(&deployment.places.program);
    command.args(["--project-name", deployment.env.as_str()]);
    command.arg("--project-directory").arg(&deployment.stack.directory);
    for file in &deployment.stack.files {
        command.arg("--file").arg(file);
    }
    for file in &global.env_file {
        command.arg("--env-file").arg(file);
    }
    for profile in &global.profile {
        command.arg("--profile").arg(profile);
    }
    command.args(["run", "--no-deps"]).args(inside.rm.then_some("--rm"));
    for (name, value) in inside.env {
        command.arg("--env").arg(value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
    }
    for (flag, value) in [("--user", inside.user), ("--workdir", inside.workdir)] {
        command.args(value.map(|value| [flag, value]).into_iter().flatten());
    }
    let error = command.arg(spec.unit.service.as_str()).args(argv).exec();
    CliError::Failed(format!("start our own program again: {error}"))
}

impl Context {
    /// The container of a unit that runs.
    pub fn running_container(&self, env: &EnvId, unit: &UnitId) -> Result<String, CliError> {
        let seen = self.engine()?.observe(env, &Query::default());
        let seen = seen.map_err(|fault| CliError::Engine(fault.to_string()))?;
        let all: Vec<SeenContainer> = seen.containers.into_iter().filter(|container| !container.one_off).collect();
        let replicas: Vec<UnitId> = all.iter().filter_map(|container| container.unit.clone()).collect();
        let Some(container) = all.into_iter().find(|container| container.unit.as_ref() == Some(unit)) else {
            return Err(no_replica(env, unit, &replicas));
        };
        match container.state {
            SeenState::Running { .. } => Ok(container.id),
            SeenState::Created | SeenState::Restarting | SeenState::Exited { .. } => {
                Err(CliError::NoEnvironment(format!("{unit} is not running in {env}")))
            }
        }
    }
}
