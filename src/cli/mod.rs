//! The commands: one file each. A command parses its flags into options, asks others to do the work, and shows what came of
//! it; what is decided is decided below.

pub mod anonymous;
pub mod args;
pub mod attach;
pub mod attach_container;
pub mod attach_process;
pub mod bake;
pub mod build;
pub mod checks;
pub mod commit;
pub mod completions;
pub mod config;
pub mod context;
pub mod cp;
pub mod create;
pub mod doctor;
pub mod down;
pub mod elsewhere;
pub mod ending;
pub mod env;
pub mod environments;
pub mod events;
pub mod exec;
pub mod explain;
pub mod export;
pub mod follow;
pub mod foreign;
pub mod graph;
pub mod image_jobs;
pub mod images;
pub mod init;
pub mod inside;
pub mod interrupt;
pub mod isolate;
pub mod keys;
pub mod kill;
pub mod loading;
pub mod log_feed;
pub mod logs;
pub mod losses;
pub mod ls;
pub mod mask;
mod models;
mod namesakes;
pub mod orphans;
pub mod pause;
pub mod plan;
pub mod port;
mod port_numbers;
pub mod providers;
pub mod ps;
pub mod publish;
pub mod pull;
pub mod purge;
pub mod push;
mod remote;
pub mod restart;
pub mod rm;
pub mod run;
pub mod scale;
pub mod schema;
pub mod stale;
pub mod start;
pub mod stats;
pub mod stop;
pub mod supervise;
pub mod switch;
pub mod targets;
pub mod templates;
pub mod top;
pub mod unbuildable;
pub mod unfit;
pub mod unused;
pub mod up;
pub mod values;
pub mod version;
pub mod volumes;
pub mod wait;
pub mod watch;
pub mod welcome;
pub mod why;

use std::ffi::OsString;

use args::Verb;
use context::{Context, with_causes};
use interrupt::Cause;

use crate::base::exit::Exit;
use crate::host::attach::AttachError;
use crate::host::run_loop::HostError;
use crate::view::printer::{PrintError, Printer};
use crate::view::term::{self, Ansi};
use crate::world::envdir::{LockError, StateError};
use crate::world::envid::EnvIdError;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// The stack file has errors; they have been shown.
    #[error("{0} in the stack file")]
    StackFile(String),
    /// An engine is not to be reached.
    #[error("{0}")]
    Engine(String),
    /// There is no such environment, or it is not running.
    #[error("{0}")]
    NoEnvironment(String),
    /// A service failed or did not get ready, or something else went wrong.
    #[error("{0}")]
    Failed(String),
    /// The command that was to be run inside a service does not run; what a shell would exit with.
    #[error("{1}")]
    NotRun(u8, String),
    /// It was interrupted.
    #[error("interrupted: {1}")]
    Interrupted(Cause, String),
    /// Several things went wrong.
    #[error("{}", .0.join("\n"))]
    Several(Vec<String>),
    /// Several things are wrong, and one of them is that an engine is not to be reached.
    #[error("{}", .0.join("\n"))]
    EngineAmongOthers(Vec<String>),
    /// The output could not be written.
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// What is wrong with the state, where that is what an error passes on.
fn state_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a StateError> {
    if let Some(AttachError::State(error) | AttachError::Host(HostError::State(error))) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(LockError::State(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(EnvIdError::State(error)) = error.downcast_ref() {
        return Some(error);
    }
    error.downcast_ref()
}

impl CliError {
    /// For `map_err`: what failed and what caused it, in the words of the errors, and what to do about it where they say so.
    pub fn failed(error: impl std::error::Error + 'static) -> Self {
        let words = with_causes(&error);
        CliError::Failed(match state_error(&error) {
            Some(error) => format!("{words}; {}", error.remedy()),
            None => words,
        })
    }

    /// For `map_err`: what is wrong with a template given as `--format`.
    fn format(error: String) -> Self {
        CliError::Usage(format!("--format: {error}"))
    }

    fn exit(&self) -> Exit {
        match self {
            CliError::Usage(_) => Exit::Usage,
            CliError::StackFile(_) => Exit::StackFile,
            CliError::Engine(_) | CliError::EngineAmongOthers(_) => Exit::Engine,
            CliError::NoEnvironment(_) => Exit::NoEnvironment,
            CliError::NotRun(code, _) => Exit::Passed(*code),
            CliError::Interrupted(cause, _) => cause.exit(),
            // Data that nobody wants to read any further is no failure.
            CliError::Print(PrintError::ReaderGone) => Exit::Success,
            CliError::Failed(_) | CliError::Several(_) | CliError::Print(PrintError::Io(_)) => Exit::Failure,
        }
    }
}

/// Runs one command line, the program's name first.
pub fn main(words: impl IntoIterator<Item = OsString>) -> Exit {
    let words: Vec<OsString> = words.into_iter().collect();
    let plain = Printer { paint: term::paint_stdout(Ansi::Never), paint_talk: term::paint_stderr(Ansi::Never) };
    if let Some(exit) = completions::answer(&words, plain) {
        return exit;
    }
    let cli = match args::parse(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Fails only when nobody reads.
            let _ = error.print();
            return if error.exit_code() == 0 { Exit::Success } else { Exit::Usage };
        }
    };
    // Needs nothing of its surroundings, which are the service's.
    if let Verb::Isolate(args) = cli.command {
        let printer = Printer { paint: term::paint_stdout(Ansi::Auto), paint_talk: term::paint_stderr(Ansi::Auto) };
        return isolate::run(args).unwrap_or_else(|error| told(&printer, &error));
    }
    let context = match Context::new(cli.global) {
        Ok(context) => context,
        Err(error) => {
            let printer = Printer { paint: term::paint_stdout(Ansi::Auto), paint_talk: term::paint_stderr(Ansi::Auto) };
            return told(&printer, &error);
        }
    };
    match perform(cli.command, &context) {
        Ok(exit) => exit,
        Err(error) => told(&context.printer, &error),
    }
}

fn told(printer: &Printer, error: &CliError) -> Exit {
    match error {
        CliError::Print(PrintError::ReaderGone) => {}
        CliError::Several(reasons) | CliError::EngineAmongOthers(reasons) => {
            reasons.iter().for_each(|reason| printer.error(reason));
        }
        CliError::Usage(_)
        | CliError::StackFile(_)
        | CliError::Engine(_)
        | CliError::NoEnvironment(_)
        | CliError::Failed(_)
        | CliError::NotRun(..)
        | CliError::Interrupted(..)
        | CliError::Print(PrintError::Io(_)) => printer.error(error.to_string()),
    }
    error.exit()
}

fn perform(verb: Verb, context: &Context) -> Result<Exit, CliError> {
    match verb {
        Verb::Up(args) => up::run(*args, context),
        Verb::Down(args) => down::run(args, context),
        Verb::Stop(args) => stop::run(args, context),
        Verb::Start(args) => start::run(args, context),
        Verb::Restart(args) => restart::run(args, context),
        Verb::Kill(args) => kill::run(args, context),
        Verb::Pause(args) => pause::run(args, true, context),
        Verb::Unpause(args) => pause::run(args, false, context),
        Verb::Rm(args) => rm::run(args, context),
        Verb::Create(args) => create::run(args, context),
        Verb::Scale(args) => scale::run(args, context),
        Verb::Wait(args) => wait::run(&args, context),
        Verb::Watch(args) => watch::run(&args, context),
        Verb::Doctor(args) => doctor::run(&args, context),
        Verb::Purge(args) => purge::run(&args, context),
        Verb::Switch(args) => switch::run(&args, context),
        Verb::Ps(args) => ps::run(&args, context),
        Verb::Logs(args) => logs::run(args, context),
        Verb::Exec(args) => exec::run(args, context),
        Verb::Run(args) => run::run(*args, context),
        Verb::Attach(args) => attach::run(&args, context),
        Verb::Cp(args) => cp::run(&args, context),
        Verb::Top(args) => top::run(&args, context),
        Verb::Stats(args) => stats::run(&args, context),
        Verb::Events(args) => events::run(&args, context),
        Verb::Images(args) => images::run(&args, context),
        Verb::Volumes(args) => volumes::run(&args, context),
        Verb::Commit(args) => commit::run(args, context),
        Verb::Export(args) => export::run(&args, context),
        Verb::Config(args) => config::run(&args, context),
        Verb::Plan(args) => plan::run(args, context),
        Verb::Why(args) => why::run(&args, context),
        Verb::Graph(args) => graph::run(&args, context),
        Verb::Env(args) => env::run(&args, context),
        Verb::Port(args) => port::run(&args, context),
        Verb::Ls(args) => ls::run(&args, context),
        Verb::Welcome(_) => welcome::run(context),
        Verb::Build(args) => build::run(args, context),
        Verb::Pull(args) => pull::run(args, context),
        Verb::Push(args) => push::run(&args, context),
        Verb::Publish(args) => publish::run(&args, context),
        Verb::Init(args) => init::run(&args, context),
        Verb::Explain(args) => explain::run(&args, context),
        Verb::Version(args) => version::run(&args, context),
        Verb::Schema(args) => schema::run(&args, context),
        Verb::Completions(args) => completions::run(&args, context),
        Verb::Isolate(args) => isolate::run(args),
        Verb::Supervise(args) => supervise::run(&args, context),
    }
}
