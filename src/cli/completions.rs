//! `completions`: a script that a shell loads, and the answers that the script asks us for: commands and flags, the services and named
//! ports of what was started here, the environments of this host, templates, codes. Read from the state; no engine is asked.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::Shells;

use super::args::Global;
use super::context::Context;
use super::templates::TEMPLATES;
use super::{CliError, args};
use crate::base::exit::Exit;
use crate::load::codes::CODES;
use crate::model::stack::Stack;
use crate::view::printer::Printer;

/// The variable in which the script names its shell.
const VARIABLE: &str = "BAISTACK_COMPLETE";

/// Flags of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  echo 'source <(baistack completions bash)' >> ~/.bashrc\n  \
                        baistack completions fish > ~/.config/fish/completions/baistack.fish\n  \
                        echo 'source <(baistack completions zsh)' >> ~/.zshrc\n\n\
                        Names of services, ports and environments are those that there are when the key is pressed.")]
pub struct Args {
    /// Shell to complete for
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let name = args.shell.to_string();
    let shells = Shells::builtins();
    let shell = shells.completer(&name).ok_or_else(|| CliError::Usage(format!("no completions for `{name}`")))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "baistack", "baistack", "baistack", &mut script).map_err(CliError::failed)?;
    context.printer.data(script)?;
    Ok(Exit::Success)
}

/// Answers a shell that asks for completions: `baistack -- WORD…`. None when it is a user who calls.
pub fn answer(words: &[OsString], printer: Printer) -> Option<Exit> {
    let (_, shell) = std::env::vars_os().find(|(name, value)| name == VARIABLE && !value.is_empty())?;
    let asked = words.iter().skip_while(|word| *word != "--").skip(1);
    let answered = candidates(shell.to_str()?, asked.cloned().collect());
    // A shell that nobody knows, or one that does not listen, gets nothing: an error would stand in the user's line.
    let printed = answered.and_then(|text| printer.data(text).ok());
    Some(if printed.is_some() { Exit::Success } else { Exit::Failure })
}

fn candidates(shell: &str, words: Vec<OsString>) -> Option<Vec<u8>> {
    let before = words.split_last().map(|(_, before)| before).unwrap_or_default();
    let mut command = completed(args::command(), &global(&words), before);
    let mut text = Vec::new();
    let directory = std::env::current_dir().ok();
    Shells::builtins().completer(shell)?.write_complete(&mut command, words, directory.as_deref(), &mut text).ok()?;
    Some(text)
}

/// Which environment and which files the words are about, as far as they have been written.
fn global(words: &[OsString]) -> Global {
    let mut global = Global::default();
    let mut words = words.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let (flag, value) = word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)));
        match flag {
            "-p" | "--project-name" => global.project_name = value.or_else(|| words.next()).map(str::to_owned),
            "-f" | "--file" => global.file.extend(value.or_else(|| words.next()).map(Into::into)),
            _ => {}
        }
    }
    global
}

/// The command line, whose arguments know what they could be.
fn completed(command: Command, global: &Global, before: &[OsString]) -> Command {
    let with_names = |sub: &str, arg: Arg| match kind_of(sub, &arg) {
        Some(kind) => arg.add(ArgValueCompleter::new(Names { kind, global: global.clone(), before: before.to_vec() })),
        None => arg,
    };
    command.mut_args(|arg| with_names("", arg)).mut_subcommands(|sub| {
        let name = sub.get_name().to_owned();
        sub.mut_args(|arg| with_names(&name, arg))
    })
}

/// What an argument names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Service,
    /// The first of the words is a service, the others are its command.
    ServiceFirst,
    /// The same, and the first may be a job.
    JobFirst,
    /// A service or a named port.
    Port,
    Environment,
    /// What a stack can be made from: a template, or a file.
    Template,
    /// What a finding is called.
    Code,
}

/// What an argument of a command names; the command is nameless for those of all.
fn kind_of(command: &str, arg: &Arg) -> Option<Kind> {
    match (command, arg.get_id().as_str()) {
        ("port", "service") => Some(Kind::Port),
        ("run", "words") => Some(Kind::JobFirst),
        ("init", "from") => Some(Kind::Template),
        ("explain", "code") => Some(Kind::Code),
        (_, "service" | "services" | "attach" | "no_attach" | "exit_code_from") => Some(Kind::Service),
        (_, "words") => Some(Kind::ServiceFirst),
        (_, "project_name" | "to") => Some(Kind::Environment),
        _ => None,
    }
}

struct Names {
    kind: Kind,
    global: Global,
    /// What has been written already.
    before: Vec<OsString>,
}

impl ValueCompleter for Names {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        // What cannot be found out is not told here: there is a line being written.
        let names = match self.kind {
            Kind::ServiceFirst | Kind::JobFirst if has_service(&self.before) => None,
            Kind::Service | Kind::ServiceFirst => services(&self.global, false),
            Kind::JobFirst => services(&self.global, true),
            Kind::Port => services_and_ports(&self.global),
            Kind::Environment => environments(&self.global),
            Kind::Template => Some(TEMPLATES.iter().map(|template| template.name.to_owned()).collect()),
            Kind::Code => Some(CODES.iter().map(|code| code.name.to_owned()).collect()),
        };
        let begun = current.to_string_lossy();
        let names = names.unwrap_or_default().into_iter().filter(|name| name.starts_with(&*begun));
        let names = names.map(CompletionCandidate::new);
        match self.kind {
            Kind::Template => names.chain(PathCompleter::any().complete(current)).collect(),
            _ => names.collect(),
        }
    }
}

/// Whether the words have come to a command of the service's own.
fn has_service(words: &[OsString]) -> bool {
    let parsed = args::command().ignore_errors(true).try_get_matches_from(words);
    let given = parsed.as_ref().ok().and_then(|matches| matches.subcommand()?.1.try_get_many::<String>("words").ok()?);
    given.is_some_and(|words| words.len() > 0)
}

/// What was started here, or of the environment that is named.
fn recorded(global: &Global) -> Option<Stack> {
    let mut context = Context::new(global.clone()).ok()?;
    // Nobody waits for a registry at each key.
    context.offline = true;
    Some(context.recorded().ok()??.stack)
}

/// Its services, and its jobs where these are meant too.
fn services(global: &Global, with_jobs: bool) -> Option<Vec<String>> {
    let stack = recorded(global)?;
    let jobs = stack.jobs.iter().filter(|job| with_jobs && !stack.services.contains_key(*job));
    Some(stack.services.keys().chain(stack.disabled.keys()).chain(jobs).map(ToString::to_string).collect())
}

/// Its services and its named ports.
fn services_and_ports(global: &Global) -> Option<Vec<String>> {
    let stack = recorded(global)?;
    let services = stack.services.keys().chain(stack.disabled.keys()).map(ToString::to_string);
    Some(services.chain(stack.ports.keys().cloned()).collect())
}

fn environments(global: &Global) -> Option<Vec<String>> {
    let known = Context::new(global.clone()).ok()?.state().ok()?.list().ok()?;
    Some(known.iter().map(|dir| dir.id().to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_known_from_the_words_before() {
        for (line, name, files) in [
            ("baistack ps", None, 0),
            ("baistack -p a logs", Some("a"), 0),
            ("baistack logs --project-name=a -f x -f y", Some("a"), 2),
            ("baistack exec db -- psql -p 1", None, 0),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let global = global(&words);
            assert_eq!((global.project_name.as_deref(), global.file.len()), (name, files), "{line}");
        }
    }

    #[test]
    fn what_follows_the_service_is_its_own() {
        for (line, expected) in [
            ("baistack exec", false),
            ("baistack exec -e A=b --index 2", false),
            ("baistack -p a exec -T web", true),
            ("baistack run --rm web sh -c", true),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(has_service(&words), expected, "{line}");
        }
    }

    #[test]
    fn every_command_about_services_or_environments_completes_them() {
        let command = args::command();
        let kinds = |name: &str| -> Vec<Kind> {
            let sub = command.find_subcommand(name).unwrap();
            sub.get_arguments().filter(|arg| !arg.is_global_set()).filter_map(|arg| kind_of(name, arg)).collect()
        };
        for name in
            ["up", "down", "stop", "start", "restart", "kill", "rm", "ps", "logs", "top", "stats", "images", "volumes", "why"]
        {
            assert!(kinds(name).contains(&Kind::Service), "{name}");
        }
        for (name, kind) in [
            ("exec", Kind::ServiceFirst),
            ("run", Kind::JobFirst),
            ("switch", Kind::Environment),
            ("port", Kind::Port),
            ("init", Kind::Template),
            ("explain", Kind::Code),
        ] {
            assert!(kinds(name).contains(&kind), "{name}");
        }
    }
}
