//! The command line: which commands and flags there are. What they do is in one file a command.
//!
//! Names and letters are those of `docker compose`. What Compose has and we have not yet is known too ([`NOT_YET`]), so that
//! it is refused by name and never taken in silence; so is a global flag by a command that has no use for it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::{
    attach, build, commit, completions, config, cp, create, doctor, down, env, events, exec, explain, export, graph, images,
    init, isolate, kill, logs, ls, pause, plan, port, ps, publish, pull, purge, push, restart, rm, run, scale, schema, start,
    stats, stop, supervise, switch, top, up, values, version, volumes, wait, watch, welcome, why,
};
use crate::view::progress;
use crate::view::term::Ansi;

/// Brings up the containers and the native processes of a stack, in one dependency graph.
#[derive(Debug, Parser)]
#[command(
    name = "baistack",
    version,
    disable_version_flag = true,
    after_help = "Exit codes:\n  \
        0 fine   1 a service failed or did not get ready   2 wrong usage   3 the stack file has errors\n  \
        4 an engine is not to be reached   5 no such environment, or not running   10 `plan` found changes\n  \
        130, 143 interrupted\n\n\
        Start with `baistack up`; `baistack COMMAND --help` says more."
)]
#[expect(clippy::manual_non_exhaustive, reason = "`version` is a flag that acts by itself")]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// Print the version.
    #[arg(short = 'v', long, visible_short_alias = 'V', action = ArgAction::Version)]
    version: (),
    /// What to do.
    #[command(subcommand)]
    pub command: Verb,
}

/// Flags that stand before the command or after it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Stack file; repeat to merge several, `-` is stdin [default: stack.yaml, compose.yaml, Procfile, … here or above]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Environment (ENVID), which is also the Compose project name
    #[arg(short, long, global = true, value_name = "ENVID")]
    pub project_name: Option<String>,
    /// Directory that relative paths are relative to [default: that of the first file]
    #[arg(long, global = true, value_name = "DIR")]
    pub project_directory: Option<PathBuf>,
    /// File with variables, instead of `.env`; repeatable
    #[arg(long, global = true, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Profile to turn on; repeatable
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Vec<String>,
    /// How progress is shown [default: auto]
    #[arg(long, global = true, value_enum, value_name = "STYLE", hide_default_value = true)]
    pub progress: Option<progress::Style>,
    /// When to use colours [default: auto]
    #[arg(long, global = true, value_enum, value_name = "WHEN", hide_default_value = true)]
    pub ansi: Option<Ansi>,
    /// Show generated values instead of masking them
    #[arg(long, global = true)]
    pub show_secrets: bool,
    /// Show what would be done, and do nothing; exit 10 when that is something (`up`, `down`, `stop`, `purge`, …)
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// How many images are pulled, built or pushed at once, -1 for all (`pull`, `build`, `push`)
    #[arg(long, global = true, value_name = "N", value_parser = values::parallel, allow_negative_numbers = true)]
    pub parallel: Option<values::Parallel>,
    /// Show what no service uses, too (`config`)
    #[arg(long, global = true)]
    pub all_resources: bool,
    /// Registry that is spoken to without TLS for `oci://`; before the command; repeatable
    #[arg(long, value_name = "HOST", hide = true)]
    pub insecure_registry: Vec<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start services and follow their logs
    Up(Box<up::Args>),
    /// Stop and remove everything of an environment
    Down(down::Args),
    /// Stop services
    Stop(stop::Args),
    /// Start services that are stopped
    Start(start::Args),
    /// Stop services and start them again, same definition
    Restart(restart::Args),
    /// Send a signal to services
    Kill(kill::Args),
    /// Let services stand still
    Pause(pause::Args),
    /// Let services go on that are paused
    Unpause(pause::Args),
    /// Remove what is stopped
    Rm(rm::Args),
    /// Make containers without starting them
    Create(create::Args),
    /// Change the number of replicas
    Scale(scale::Args),
    /// Wait until services have ended
    Wait(wait::Args),
    /// Have file changes act on services, and tell what they cause
    Watch(watch::Args),
    /// Check host and stack, and say what to do about what is wrong
    Doctor(doctor::Args),
    /// Remove everything that belongs to an environment, for good
    Purge(purge::Args),
    /// Stop one environment and start another
    Switch(switch::Args),
    /// Show the state of every service
    Ps(ps::Args),
    /// Show what services write, from the beginning or as it comes
    Logs(logs::Args),
    /// Run a command inside a running service
    Exec(exec::Args),
    /// Run a one-off copy of a service
    Run(Box<run::Args>),
    /// Attach to the terminal or the pipes of a running service
    Attach(attach::Args),
    /// Copy files between this host and a service's containers
    Cp(cp::Args),
    /// Show the processes of running services
    Top(top::Args),
    /// Show what services use, as it goes on
    Stats(stats::Args),
    /// Tell what happens to services, as it happens
    Events(events::Args),
    /// List the images that containers are made of
    Images(images::Args),
    /// List volumes
    Volumes(volumes::Args),
    /// Make an image of a service's container
    Commit(commit::Args),
    /// Write the files of a service's container as an archive
    Export(export::Args),
    /// Check the stack file and print it in canonical form
    Config(config::Args),
    /// Show what `up` would do and why
    Plan(plan::Args),
    /// Explain why a service is not running or not ready
    Why(why::Args),
    /// Draw what depends on what, with what it does now
    Graph(graph::Args),
    /// Print the variables that the stack gives to a service
    Env(env::Args),
    /// List named ports, or print the host's port for a port of a service
    Port(port::Args),
    /// List the environments on this host
    Ls(ls::Args),
    /// Say again what `up` says when all is up
    Welcome(welcome::Args),
    /// Build images
    Build(build::Args),
    /// Pull images
    Pull(pull::Args),
    /// Push images
    Push(push::Args),
    /// Publish the stack to a registry, from which `-f oci://…` starts it
    Publish(publish::Args),
    /// Write a stack file, from a Compose file, a Procfile or a process-compose.yaml that is here
    Init(init::Args),
    /// Explain what the code of an error or a warning means
    Explain(explain::Args),
    /// Print the version
    Version(version::Args),
    /// Print the JSON Schema of a stack file, for editors
    Schema(schema::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// The first process of a PID namespace
    #[command(hide = true)]
    Isolate(isolate::Args),
    /// The background supervisor of one environment
    #[command(hide = true)]
    Supervise(supervise::Args),
}

/// Something that Compose (or our own manual) has and this version has not.
struct NotYet {
    /// The command; `""` for the global flags.
    verb: &'static str,
    /// The flag; `""` for the command itself.
    flag: &'static str,
    /// Whether it takes a value.
    takes_value: bool,
    /// What to do instead, or why there is no need to; may be empty.
    instead: &'static str,
}

const fn not_yet(verb: &'static str, flag: &'static str, takes_value: bool, instead: &'static str) -> NotYet {
    NotYet { verb, flag, takes_value, instead }
}

const NOT_YET: &[NotYet] = &[
    not_yet("", "compatibility", false, "containers are named as by Compose without it, `ENVID-SERVICE-1`"),
    not_yet("ui", "", false, "`baistack up` follows the logs, and `baistack ps` shows the states"),
    not_yet(
        "build",
        "builder",
        true,
        "images are built by the engine itself; for a builder of Docker Buildx run \
         `baistack build --print | docker buildx bake --builder NAME --file -`",
    ),
    not_yet(
        "build",
        "check",
        false,
        "for the check of Docker Buildx run `baistack build --print | docker buildx bake --call check --file -`",
    ),
    not_yet("export", "to", true, "`baistack config` prints the stack, which other Compose tools read"),
    not_yet("up", "ui", false, "without it the logs are followed, and `baistack ps` shows the states"),
];

/// Parses a command line, the program's name first.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    if let Some(cli) = parse_narrowly(&words) {
        return Ok(cli);
    }
    let mut command = command();
    let matches = command.try_get_matches_from_mut(words)?;
    let mut refuse = |why: String| Err(command.error(clap::error::ErrorKind::InvalidSubcommand, why));
    if let Some(missing) = missing(&matches) {
        return refuse(missing);
    }
    if let Some(idle) = matches.subcommand().and_then(|(verb, inner)| idle_global(verb, inner)) {
        return refuse(idle);
    }
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Parses with the one command that the line seems to name, since building all fifty takes longer than most of them run. Whatever
/// is not plain sailing is left to the whole: a flag that only the whole has or that means nothing here, another command, an error, a
/// question for help.
fn parse_narrowly(words: &[OsString]) -> Option<Cli> {
    let mut verbs = Verb::augment_subcommands(Command::new("baistack"));
    let named = words.iter().skip(1).find(|word| verbs.find_subcommand(word).is_some())?;
    let verb = std::mem::replace(verbs.find_subcommand_mut(named)?, Command::new(""));
    let root = Global::augment_args(Command::new("baistack").disable_help_flag(true).disable_help_subcommand(true));
    let globals: Vec<Arg> = root.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let matches = root.subcommand(with_globals(verb, &globals)).try_get_matches_from(words).ok()?;
    if matches.subcommand().is_none_or(|(verb, inner)| idle_global(verb, inner).is_some()) {
        return None;
    }
    let (global, command) = (Global::from_arg_matches(&matches).ok()?, Verb::from_arg_matches(&matches).ok()?);
    Some(Cli { global, version: (), command })
}

/// The whole command line, for parsing and for completing.
pub fn command() -> Command {
    let mut command = Cli::command();
    let globals: Vec<Arg> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    command = command.mut_subcommands(|sub| with_globals(sub, &globals));
    for &NotYet { verb, flag, takes_value, .. } in NOT_YET {
        let arg = || {
            let action = if takes_value { ArgAction::Append } else { ArgAction::SetTrue };
            Arg::new(flag).long(flag).hide(true).action(action)
        };
        command = match (verb, flag) {
            ("", _) => command.arg(arg().global(true)),
            (_, "") => command.subcommand(
                Command::new(verb)
                    .hide(true)
                    .disable_help_flag(true)
                    .arg(Arg::new("rest").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true)),
            ),
            // What it is refused with comes before what else would be missing.
            _ => command.mut_subcommand(verb, |sub| {
                sub.mut_args(|arg| {
                    let is_required = arg.is_required_set();
                    if is_required { arg.required(false).required_unless_present(flag) } else { arg }
                })
                .arg(arg())
            }),
        };
    }
    command
}

/// A command takes the global flags too, without a letter that it uses itself; its short help does not list them.
fn with_globals(sub: Command, globals: &[Arg]) -> Command {
    let own: Vec<char> = sub.get_arguments().filter_map(Arg::get_short).collect();
    globals.iter().fold(sub, |sub, global| {
        let arg = global.clone().hide_short_help(true);
        let taken = global.get_short().is_some_and(|short| own.contains(&short));
        sub.arg(if taken { arg.short(None) } else { arg })
    })
}

fn missing(matches: &ArgMatches) -> Option<String> {
    let (verb, inner) = matches.subcommand()?;
    NOT_YET.iter().find_map(|&NotYet { verb: command, flag, takes_value, instead }| {
        let given = |matches: &ArgMatches| if takes_value { matches.contains_id(flag) } else { matches.get_flag(flag) };
        let name = match (command, flag) {
            ("", _) => given(inner).then(|| format!("`--{flag}`")),
            (command, _) if command != verb => None,
            (_, "") => Some(format!("`baistack {verb}`")),
            _ => given(inner).then(|| format!("`baistack {verb} --{flag}`")),
        }?;
        let remedy = if instead.is_empty() { String::new() } else { format!(": {instead}") };
        Some(format!("{name} is not there yet in this version{remedy}"))
    })
}

/// Commands that change nothing, so that a rehearsal of them is they themselves.
const ONLY_LOOK: [&str; 22] = [
    "ps",
    "logs",
    "top",
    "stats",
    "events",
    "images",
    "volumes",
    "config",
    "plan",
    "why",
    "graph",
    "env",
    "port",
    "ls",
    "welcome",
    "wait",
    "explain",
    "version",
    "schema",
    "completions",
    "help",
    "supervise",
];

/// Commands that can say what they would do.
const REHEARSED: [&str; 13] =
    ["up", "create", "down", "stop", "start", "restart", "kill", "pause", "unpause", "rm", "scale", "purge", "publish"];

/// A global flag that this command could only pass over, which nobody should rely on.
fn idle_global(verb: &str, given: &ArgMatches) -> Option<String> {
    let only_looks = ONLY_LOOK.contains(&verb);
    if given.get_flag("dry_run") && !only_looks && !REHEARSED.contains(&verb) {
        return Some(format!("`baistack {verb}` has no dry run; `baistack plan` says what `up` would do"));
    }
    if given.contains_id("parallel") && !only_looks && !["pull", "build", "push"].contains(&verb) {
        let why = "it is for `pull`, `build` and `push`; what waits for nothing is done at once";
        return Some(format!("`--parallel` means nothing for `baistack {verb}`: {why}"));
    }
    if given.get_flag("all_resources") && !only_looks {
        let why = "it is for `config`; what no service uses is not made";
        return Some(format!("`--all-resources` means nothing for `baistack {verb}`: {why}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        parse(["baistack"].into_iter().chain(line.split_ascii_whitespace()).map(OsString::from))
    }

    fn ok(line: &str) -> Cli {
        parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        for line in ["-p x -f a.yaml ps", "ps -p x -f a.yaml", "-f a.yaml ps --project-name x", "-p x logs --file a.yaml web"] {
            let global = ok(line).global;
            assert_eq!(global.project_name.as_deref(), Some("x"), "{line}");
            assert_eq!(global.file, [PathBuf::from("a.yaml")], "{line}");
        }
    }

    #[test]
    fn a_letter_that_the_command_uses_itself_is_its_own() {
        let Verb::Logs(logs) = ok("logs -f web").command else { panic!() };
        assert!(logs.follow);
        let Cli { command: Verb::Run(run), global, .. } = ok("run -p 80:80 web") else { panic!() };
        assert_eq!((run.publish, global.project_name), (vec!["80:80".to_owned()], None));
    }

    #[test]
    fn create_hands_its_flags_to_up() {
        let Verb::Create(create) = ok("create --pull build --yes --no-recreate web").command else { panic!() };
        let up = up::Args::from(create);
        assert!(up.yes && up.build && up.no_start && up.no_recreate && !up.force_recreate);
        assert_eq!((up.pull, up.services), (None, vec!["web".parse().unwrap()]));
    }

    #[test]
    fn all_after_the_service_belongs_to_the_command() {
        let Verb::Exec(exec) = ok("exec -T db psql -U postgres -p 1 --version").command else { panic!() };
        assert!(exec.no_tty);
        assert_eq!(exec.words.join(" "), "db psql -U postgres -p 1 --version");
        let Verb::Run(run) = ok("run --rm web --help").command else { panic!() };
        assert_eq!(run.words.join(" "), "web --help");
    }

    #[test]
    fn what_is_not_there_yet_is_refused_by_name() {
        for (line, name) in [
            ("ui", "`baistack ui`"),
            ("up --ui", "`baistack up --ui`"),
            ("build --builder mine web", "`baistack build --builder`"),
            ("build --check", "`baistack build --check`"),
            ("--compatibility up", "`--compatibility`"),
            ("ps --compatibility", "`--compatibility`"),
            ("export --to compose", "`baistack export --to`"),
            ("export --to compose web", "`baistack export --to`"),
        ] {
            let error = parsed(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(&format!("{name} is not there yet")), "{error}");
        }
    }

    #[test]
    fn a_global_flag_means_something_or_is_refused_by_the_command_that_has_no_use_for_it() {
        for line in ["--dry-run down", "down --dry-run", "--dry-run ps", "--parallel 2 pull", "build --parallel -1"] {
            ok(line);
        }
        assert!(ok("--dry-run stop web").global.dry_run && ok("config --all-resources").global.all_resources);
        for (line, why) in [
            ("--dry-run exec web true", "`baistack exec` has no dry run"),
            ("cp --dry-run a web:/a", "`baistack cp` has no dry run"),
            ("--parallel 3 up", "`--parallel` means nothing for `baistack up`"),
            ("up --all-resources", "`--all-resources` means nothing for `baistack up`"),
            ("--parallel 0 pull", "1 or more, or -1"),
        ] {
            let error = parsed(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn every_command_that_is_named_for_a_dry_run_is_one() {
        let command = command();
        for name in ONLY_LOOK.iter().chain(&REHEARSED).filter(|name| **name != "help") {
            assert!(command.find_subcommand(name).is_some(), "{name}");
        }
    }

    #[test]
    fn wrong_usage_exits_with_2_and_help_with_0() {
        for (line, code) in [
            ("", 2),
            ("upp", 2),
            ("up --no-such", 2),
            ("up --force-recreate --no-recreate", 2),
            ("up -d --abort-on-container-exit", 2),
            ("exec", 2),
            ("up --scale web", 2),
            ("--help", 0),
            ("up -h", 0),
            ("-v", 0),
        ] {
            assert_eq!(parsed(line).expect_err(line).exit_code(), code, "{line}");
        }
    }

    #[test]
    fn every_flag_of_up_parses() {
        let line = "up -d --build --pull always --force-recreate --no-deps --remove-orphans --scale web=2 --scale db=0 -t 5 \
                    --wait --wait-timeout 30 --no-watch --strict-ports --setcap --ignore-limits --quiet-pull -y web db";
        let Verb::Up(up) = ok(line).command else { panic!() };
        assert_eq!(up.scale, [("web".parse().unwrap(), 2), ("db".parse().unwrap(), 0)]);
        assert_eq!((up.services.len(), up.timeout, up.wait_timeout), (2, Some(5), Some(30)));
    }
}
