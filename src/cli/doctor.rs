//! `doctor`: looks at the host and at the stack, and says what to do about what is wrong.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;

use super::CliError;
use super::context::{Context, Purpose, Ready};
use super::stale::{self, Stale};
use super::version::VERSION;
use crate::base::exit::Exit;
use crate::base::name::{ServiceName, UnitId};
use crate::model::service::Service;
use crate::plan::desired::{Deployment, UnitSpec};
use crate::plan::hash::ConfigHash;
use crate::plan::ports::Numbers;
use crate::view::checkup::{self, Health};
use crate::view::{json, term};
use crate::world::clock;
use crate::world::facts::{self, Finding, Holders, Named, Verdict};
use crate::world::kernel::host;
use crate::world::native::capabilities::{self, Missing, Verdict as Capable};
use crate::world::native::cgroup;

/// The oldest engine that has all that is asked of one.
const OLDEST: (u32, u32) = (20, 10);

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Looks at the engine, limits of files and watches, locale, disks, clock and what dead environments left; of the stack \
                        here also at `requires`, ports, capabilities and limits. --fix does what is safe; what needs sudo it asks for \
                        once, on a terminal.\n\nExit codes:\n  0 nothing is wrong   1 something is"
)]
pub struct Args {
    /// Mend what can be mended safely
    #[arg(long)]
    pub fix: bool,
    /// `text` or `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    pub format: String,
}

/// One thing that was looked at, and how it can be mended by us.
struct Check {
    finding: Finding,
    cure: Option<Cure>,
}

/// What we can do about something.
enum Cure {
    /// Nothing of it can do harm.
    Stale(Stale),
    /// A command that needs root, and what it is for.
    Root(Vec<String>, String),
}

impl From<Finding> for Check {
    fn from(finding: Finding) -> Self {
        Self { finding, cure: None }
    }
}

impl Check {
    /// Of a limit of the kernel's: its remedy, which is of our own making and no stack file's, is a command and nothing else.
    fn of_kernel_limit(finding: Finding) -> Self {
        let root = finding.remedy.as_deref().filter(|remedy| remedy.starts_with("sudo sysctl -w "));
        let cure = root.map(|command| Cure::Root(command.split(' ').map(str::to_owned).collect(), finding.found.clone()));
        Self { finding, cure }
    }
}

/// Looks at everything.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let mut checks = checks(context)?;
    if args.fix && mend(&checks, context)? {
        checks = self::checks(context)?;
    }
    if args.format == "json" {
        let object = |check: &Check| {
            let finding = &check.finding;
            let verdict = match finding.verdict {
                Verdict::Fine => "ok",
                Verdict::Doubtful => "warning",
                Verdict::Wrong => "failed",
            };
            json!({ "name": finding.name, "verdict": verdict, "found": finding.found, "remedy": finding.remedy })
        };
        context.printer.data(json::document(&checks.iter().map(object).collect::<Vec<_>>()))?;
    } else {
        let width = checks.iter().map(|check| check.finding.name.len()).max().unwrap_or(0);
        for Check { finding, .. } in &checks {
            let health = match finding.verdict {
                Verdict::Fine => Health::Fine,
                Verdict::Doubtful => Health::Doubtful,
                Verdict::Wrong => Health::Wrong,
            };
            let remedy = finding.remedy.as_deref();
            context.printer.data(checkup::line(health, finding.name, width, &finding.found, remedy, context.printer.paint))?;
        }
    }
    let wrong = checks.iter().any(|check| check.finding.verdict == Verdict::Wrong);
    Ok(if wrong { Exit::Failure } else { Exit::Success })
}

fn checks(context: &Context) -> Result<Vec<Check>, CliError> {
    let state = context.state()?;
    let mut checks: Vec<Check> = vec![Finding::fine("version", VERSION).into()];
    let stack = stack(&mut checks, context);
    checks.extend(engine(stack.as_ref().map(|ready| &ready.deployment), context).into_iter().map(Check::from));
    checks.push(facts::locale(&context.caller).into());
    checks.push(Check::of_kernel_limit(facts::watches()));
    let general = [facts::open_files(), facts::own_capabilities(), facts::room("disk", state.path())];
    checks.extend(general.map(Check::from));
    checks.extend(facts::kernel().into_iter().map(Check::from));
    checks.push(match (facts::writable("state", state.path()), stale::privacy(&state)) {
        (Some(finding), _) => finding.into(),
        (None, None) => Finding::fine("state", state.path().display().to_string()).into(),
        (None, Some((finding, stale))) => Check { finding, cure: Some(Cure::Stale(stale)) },
    });
    let left: Vec<Check> =
        (stale::left(context)?.into_iter()).map(|(finding, stale)| Check { finding, cure: stale.map(Cure::Stale) }).collect();
    if left.is_empty() {
        checks.push(Finding::fine("dead environments", "nothing is left of any").into());
    }
    checks.extend(left);
    if let Some(ready) = &stack {
        // One check that cannot be made keeps none of the others from being shown.
        if let Err(error) = of_stack(ready, &mut checks, context) {
            checks.push(unusable("ports", &error));
        }
    }
    Ok(checks)
}

/// The stack here, if there is one and it can be read.
fn stack(checks: &mut Vec<Check>, context: &Context) -> Option<Ready> {
    let is_asked_for = context.global.project_name.is_some() || !context.global.file.is_empty();
    if !is_asked_for && !context.has_stack_file() && context.recorded_env().ok().flatten().is_none() {
        let found = format!("there is none in `{}` or above it", context.working_dir.display());
        checks.push(Finding::doubtful("stack file", found, "`baistack init` writes one; -f names one").into());
        return None;
    }
    match context.load(Purpose::Forecast { strict_ports: false }, &[]) {
        Ok(ready) => {
            let files: Vec<String> = ready.deployment.stack.files.iter().map(|file| file.display().to_string()).collect();
            checks.push(Finding::fine("stack file", files.join(", ")).into());
            Some(ready)
        }
        Err(error @ CliError::StackFile(_)) => {
            let remedy = "the places are shown above; `baistack explain CODE` says more";
            checks.push(Finding::wrong("stack file", error.to_string(), remedy).into());
            None
        }
        Err(error) => {
            checks.push(unusable("stack file", &error));
            None
        }
    }
}

/// What could not be looked at; what is to be done about it stands behind what is wrong.
fn unusable(name: &'static str, error: &CliError) -> Check {
    let text = error.to_string();
    let (found, remedy) = text.split_once("; ").unwrap_or((&text, "see to it that what it names can be read"));
    Finding::wrong(name, found, remedy).into()
}

fn engine(deployment: Option<&Deployment>, context: &Context) -> Vec<Finding> {
    let needed = deployment.is_none_or(|it| it.stack.services.values().any(Service::needs_engine));
    let engine = match context.engine() {
        Ok(engine) => engine,
        Err(error) => return vec![Finding::wrong("engine", error.to_string(), "raise what it names: `ulimit -n 1024`")],
    };
    let about = match engine.with(async |docker| docker.about().await) {
        Ok(about) => about,
        Err(fault) => {
            let remedy = if fault.message.contains("permission denied") {
                "sudo usermod -aG docker \"$USER\", and log in again".to_owned()
            } else {
                format!("{}; `docker context ls` and DOCKER_HOST say which engine is asked", host::START_ENGINE)
            };
            let finding = if needed { Finding::wrong } else { Finding::doubtful };
            return vec![finding("engine", fault.message, remedy)];
        }
    };
    let mut parts = about.release.split(['.', '-', '+']).filter_map(|part| part.parse().ok());
    let release: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let told = format!("Docker Engine {}", about.release);
    let mut findings = vec![if release < OLDEST && release != (0, 0) {
        Finding::doubtful("engine", format!("{told} is old"), format!("install {}.{:02} or a later one", OLDEST.0, OLDEST.1))
    } else {
        Finding::fine("engine", told)
    }];
    // An engine elsewhere has its disk there.
    if let Some(root) = about.root.filter(|root| root.is_dir()) {
        findings.push(facts::room("engine's disk", &root));
    }
    let has_ulimits = |service: &Service| !service.is_process() && !service.common.ulimits.is_empty();
    findings.extend(facts::engine_capabilities(deployment.is_some_and(|it| it.stack.services.values().any(has_ulimits))));
    let engines = about.clock.as_deref().and_then(|clock| humantime::parse_rfc3339(clock).ok());
    findings.extend(engines.map(|engines| facts::clocks(clock::wall(), engines)));
    findings
}

/// What `up` would look at before it starts anything.
fn of_stack(ready: &Ready, checks: &mut Vec<Check>, context: &Context) -> Result<(), CliError> {
    let deployment = &Arc::new(ready.deployment.clone());
    let release = || context.engine().map_err(|error| error.to_string())?.release().map_err(|fault| fault.message);
    let missing = facts::missing(deployment, &context.caller, &release);
    if missing.is_empty() {
        checks.push(Finding::fine("requires", "all that the stack requires is there").into());
    }
    checks.extend(missing.into_iter().map(|unmet| Finding::wrong("requires", unmet.found, unmet.remedy).into()));
    checks.extend(ready.refusals.iter().map(|refusal| {
        let (found, remedy) = refusal.split_once("; ").unwrap_or((refusal, ""));
        Finding::wrong("environment", format!("`up` would not begin: {found}"), remedy).into()
    }));
    let selected: Vec<ServiceName> = deployment.stack.services.keys().cloned().collect();
    let (taken, named) = context.with_holders(&context.env_dir(&deployment.env)?, |holders| {
        // Those that the caller has set are told with the named ports.
        let fixed = |given: &BTreeMap<String, Numbers>| {
            let movable: Vec<Numbers> = ready.movable.iter().chain(given.values()).copied().collect();
            facts::taken_ports(deployment, &selected, holders, Named { movable: &movable, given: &BTreeMap::new() })
        };
        let taken = fixed(&ready.given);
        // What `up` would not begin without.
        let is_needed = |name: &str| {
            let mut others = ready.given.clone();
            others.remove(name).is_some() && fixed(&others).len() > taken.len()
        };
        let set = |name: &str| {
            let by_caller = context.caller.contains_key(name);
            let unset = if by_caller {
                format!("unset {name}")
            } else {
                format!("take {name} out of `.env`, or of the file of --env-file")
            };
            ready.given.contains_key(name).then(|| Set { unset, is_needed: is_needed(name) })
        };
        let named = if ready.ports.is_empty() { Vec::new() } else { named_ports(ready, holders, set) };
        Ok((taken, named))
    })?;
    if taken.is_empty() {
        checks.push(Finding::fine("ports", "those that the files fix are free, or ours").into());
    }
    checks.extend(taken.into_iter().map(|port| Finding::wrong("ports", port.why, port.help).into()));
    checks.extend(named.into_iter().map(Check::from));
    let mut limits = Vec::new();
    for (name, service) in deployment.stack.services.iter().filter(|(_, service)| service.is_process()) {
        let hash = ConfigHash::of(service, &deployment.stack, &deployment.env);
        let spec = UnitSpec { unit: UnitId::new(name.clone(), 1), deployment: Arc::clone(deployment), hash };
        limits.extend(cgroup::check(&spec).err().map(|fault| format!("`{name}`: {fault}")));
        match capabilities::check(&spec) {
            Capable::NotAsked | Capable::Ambient | Capable::InFile | Capable::NotYet(_) => {}
            Capable::Wrong(fault) => {
                checks.push(Finding::wrong("capabilities", format!("`{name}`: {fault}"), "see `cap_add` of the service").into());
            }
            Capable::Missing(missing) => {
                let command = missing.command();
                let found = format!("`{name}` lacks some of its `cap_add`");
                let finding = Finding::wrong("capabilities", found, remedy(&missing));
                let cure = (!missing.shared_interpreter).then(|| Cure::Root(command, missing.consequences()));
                checks.push(Check { finding, cure });
            }
        }
    }
    tell(checks, "limits", limits, "those of processes can be kept", "`up --ignore-limits` runs without them");
    Ok(())
}

/// Of a named port that the caller or `.env` sets, which no `up` replaces.
struct Set {
    /// What leaves the choice to `up`.
    unset: String,
    /// A service asks for it: no `up` begins while it is held.
    is_needed: bool,
}

/// What named ports are, and who stands in the way of them.
fn named_ports(ready: &Ready, holders: &Holders<'_>, set: impl Fn(&str) -> Option<Set>) -> Vec<Finding> {
    const NAME: &str = "named ports";
    let another = "the next `up` takes another number; end whoever holds it to have this one";
    let moves = ready.foreseen_moves();
    let mut findings: Vec<Finding> = moves.iter().map(|moved| Finding::doubtful(NAME, moved.held(), another)).collect();
    for (name, text) in &ready.ports {
        let Ok(numbers) = text.parse::<Numbers>() else {
            let found = format!("`{name}` is set to `{text}`, which is no port");
            findings.push(Finding::wrong(NAME, found, format!("unset {name}, and look for it in `.env`")));
            continue;
        };
        let place = facts::place_of(&ready.deployment, numbers);
        if let Some(port) = numbers.iter().find(|port| !holders.is_free(*port, place)) {
            let found = format!("{port} of `{name}` is held by {}", holders.who(port, place));
            findings.push(match set(name) {
                None => Finding::doubtful(NAME, found, format!("end whoever holds it, or set `{name}` to another number")),
                Some(Set { unset, is_needed }) => {
                    let remedy = format!("{unset}, and `up` finds a free one; or end whoever holds it");
                    if is_needed { Finding::wrong(NAME, found, remedy) } else { Finding::doubtful(NAME, found, remedy) }
                }
            });
        }
    }
    if findings.is_empty() {
        let all: Vec<String> = ready.ports.iter().map(|(name, number)| format!("{name} {number}")).collect();
        findings.push(Finding::fine(NAME, all.join(", ")));
    }
    findings
}

/// What helps where capabilities are missing: never what would give them to everybody.
fn remedy(missing: &Missing) -> String {
    match (missing.shared_interpreter, &missing.link) {
        (false, _) => missing.command().join(" "),
        (true, Some(_)) => "baistack up --setcap, which first copies the interpreter into the virtual environment".to_owned(),
        (true, None) => format!(
            "python3 -m venv .venv, run the program from there, and `baistack up --setcap`: everybody may run `{}`",
            missing.file.display()
        ),
    }
}

fn tell(checks: &mut Vec<Check>, name: &'static str, problems: Vec<String>, fine: &str, remedy: &str) {
    if problems.is_empty() {
        checks.push(Finding::fine(name, fine).into());
    }
    checks.extend(problems.into_iter().map(|problem| Finding::wrong(name, problem, remedy).into()));
}

/// Mends what can be mended; whether anything was tried.
fn mend(checks: &[Check], context: &Context) -> Result<bool, CliError> {
    let mut tried = false;
    for check in checks {
        if let Some(Cure::Stale(stale)) = &check.cure {
            tried = true;
            match stale.mend() {
                Ok(done) => context.printer.say(format!("mended: {done}")),
                Err(why) => context.printer.warning(format!("{}: {why}", check.finding.name)),
            }
        }
    }
    let root: Vec<(&Vec<String>, &String)> = (checks.iter())
        .filter_map(|check| if let Some(Cure::Root(command, why)) = &check.cure { Some((command, why)) } else { None })
        .collect();
    if root.is_empty() {
        return Ok(tried);
    }
    root.iter().for_each(|(command, why)| context.printer.say(format!("`{}`: {why}", command.join(" "))));
    if !term::stdin_is_terminal() {
        context.printer.warning("that needs root, and there is no terminal to ask on");
        return Ok(tried);
    }
    context.printer.ask("Run this as root? [y/N] ");
    if !term::answer_is_yes() {
        context.printer.say("nothing was run as root");
        return Ok(tried);
    }
    for (command, _) in root {
        match Command::new(&command[0]).args(&command[1..]).status() {
            Ok(status) if status.success() => tried = true,
            Ok(status) => context.printer.warning(format!("`{}` ended with {status}", command.join(" "))),
            Err(error) => context.printer.warning(format!("`{}`: {error}", command.join(" "))),
        }
    }
    Ok(tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_stack_file_is_run_as_root() {
        let hint = "sudo sysctl -w a=1 b=2; rm -rf /";
        assert!(Check::from(Finding::wrong("requires", "it is missing", hint)).cure.is_none());
        let ours =
            Check::of_kernel_limit(Finding::doubtful("file watches", "few", "sudo sysctl -w fs.inotify.max_user_watches=524288"));
        let Some(Cure::Root(words, _)) = ours.cure else { panic!("it has a cure") };
        assert_eq!(words, ["sudo", "sysctl", "-w", "fs.inotify.max_user_watches=524288"]);
        assert!(Check::of_kernel_limit(Finding::fine("file watches", "many")).cure.is_none());
    }

    #[test]
    fn no_remedy_gives_capabilities_to_everybody() {
        let missing = |shared_interpreter, link: Option<&str>| Missing {
            file: "/usr/bin/python3".into(),
            capabilities: "cap_sys_ptrace+ep".to_owned(),
            shared_interpreter,
            link: link.map(Into::into),
        };
        assert!(remedy(&missing(false, None)).ends_with("setcap cap_sys_ptrace+ep /usr/bin/python3"));
        for shared in [missing(true, None), missing(true, Some("/app/.venv/bin/python"))] {
            let told = remedy(&shared);
            assert!(told.contains("baistack up --setcap") && !told.contains("setcap cap_sys_ptrace"), "{told}");
        }
    }
}
