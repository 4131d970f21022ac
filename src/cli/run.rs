//! `run`: a one-off copy of a service, after what it depends on.

use std::path::PathBuf;
use std::sync::Arc;

use super::context::{Context, LAST_LINES, Missing, Ready};
use super::image_jobs::Job;
use super::inside::{self, Inside, Lent};
use super::targets::of_engine;
use super::up::Quiet;
use super::{CliError, image_jobs, orphans, providers, values as flag_values};
use crate::base::exit::Exit;
use crate::base::name::{ServiceName, UnitId};
use crate::load::flags;
use crate::model::depends::Condition;
use crate::model::mount::Mount;
use crate::model::port::Port;
use crate::model::process::Command;
use crate::model::restart::RestartPolicy;
use crate::model::service::{Kind, Service};
use crate::model::value::Generated;
use crate::plan::desired::{Deployment, ONE_OFF, UnitSpec};
use crate::plan::hash::ConfigHash;
use crate::plan::provision::Building;
use crate::supervisor::request::{Request, Up};
use crate::view::progress::Style;
use crate::world::docker::{Listed, RunSpec};
use crate::world::native::{files, spawn};
use crate::world::values;

/// So many random bytes tell the copies of a service apart.
const ONE_OFF_BYTES: u32 = 4;

/// Flags of `run`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "baistack run [OPTIONS] SERVICE [COMMAND] [ARGS]...",
    after_help = "Examples:\n  baistack run --rm web bash        a shell in a copy of `web`, its dependencies up\n  \
                  baistack run --rm -p 8080:80 web\n  baistack run schema               a task, once more\n\n\
                  Exits with the code of the command."
)]
pub struct Args {
    /// Do not wait for it; print its name
    #[arg(short, long)]
    pub detach: bool,
    /// Build its image first, and those of what it depends on
    #[arg(long)]
    pub build: bool,
    /// Capability on top of the service's; repeatable
    #[arg(long, value_name = "NAME")]
    pub cap_add: Vec<String>,
    /// Capability that it does not get; repeatable
    #[arg(long, value_name = "NAME")]
    pub cap_drop: Vec<String>,
    /// Another entry point than the service's
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Variable on top of the service's; repeatable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = flag_values::variable)]
    pub env: Vec<(String, Option<String>)>,
    /// File of variables on top of the service's, below --env; repeatable
    #[arg(long, value_name = "FILE")]
    pub env_from_file: Vec<PathBuf>,
    /// Keep the input open
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set, hide = true)]
    pub interactive: bool,
    /// Label of the container; repeatable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = flag_values::variable)]
    pub label: Vec<(String, Option<String>)>,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Do not start what it depends on
    #[arg(long)]
    pub no_deps: bool,
    /// No terminal, as when the input is a pipe
    #[arg(short = 'T', long = "no-tty", visible_alias = "no-TTY")]
    pub no_tty: bool,
    /// When to pull its image, and those of what it depends on
    #[arg(long, value_name = "WHEN", value_parser = ["always", "missing", "never"], conflicts_with = "build")]
    pub pull: Option<String>,
    /// Publish a port; repeatable
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Nothing but the command's own output
    #[arg(short, long)]
    pub quiet: bool,
    /// Do not show the progress of builds
    #[arg(long)]
    pub quiet_build: bool,
    /// Do not show the progress of pulls
    #[arg(long)]
    pub quiet_pull: bool,
    /// Remove containers and processes of services that the stack no longer has, first
    #[arg(long)]
    pub remove_orphans: bool,
    /// Remove the container, or the scratch directories made for the process, when it has ended
    #[arg(long)]
    pub rm: bool,
    /// Publish the service's ports
    #[arg(short = 'P', long)]
    pub service_ports: bool,
    /// Be reached by the service's names in its networks
    #[arg(long)]
    pub use_aliases: bool,
    /// As another user
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Mount; repeatable
    #[arg(short, long, value_name = "MOUNT")]
    pub volume: Vec<String>,
    /// In another directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Start a stack that lies elsewhere without a question
    #[arg(long)]
    pub yes: bool,
    /// Default, as in Compose
    #[arg(short, long, hide = true)]
    pub tty: bool,
    /// Service, and another command than its own
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["SERVICE", "COMMAND"])]
    pub words: Vec<String>,
}

/// Runs a one-off copy.
pub fn run(mut args: Args, context: &Context) -> Result<Exit, CliError> {
    let (name, command) = inside::service_of(&args.words)?;
    let of_files = context.env_files(&args.env_from_file)?;
    args.env.splice(0..0, of_files.into_iter().map(|(name, value)| (name, Some(value))));
    let mut ready = context.load_to_run(&name)?;
    context.leave_out_limits_as_before(&mut ready)?;
    providers::refuse(&ready.deployment.stack, std::slice::from_ref(&name), "to run in")?;
    let service = ready.deployment.service(&name).expect("`load` knows it");
    if service.is_process() {
        refuse_what_only_containers_have(&args)?;
    }
    let given = Given::read(&args, context)?;
    if service.needs_engine() {
        context.refuse_unbuildable(&ready, std::slice::from_ref(&name), args.pull.as_deref(), args.building(), true)?;
    }
    context.confirm_other_edition(&ready, args.yes)?;
    // What providers give, it gets too.
    context.provide(&mut ready, std::slice::from_ref(&name), args.no_deps)?;
    let service = ready.deployment.service(&name).expect("`load` knows it").clone();
    if args.remove_orphans || context.removes_orphans(&ready) {
        let stack = &ready.deployment.stack;
        let known = stack.services.keys().chain(stack.disabled.keys()).chain(&stack.jobs).cloned().collect();
        let exit = orphans::remove(&ready.deployment.env, &known, context)?;
        if exit != Exit::Success {
            return Ok(exit);
        }
    }
    let brought_up = match bring_up_dependencies(&args, &name, &service, &mut ready, context)? {
        Some(Exit::Success) => true,
        Some(exit) => return Ok(exit),
        None => false,
    };
    ready.begins(context);
    let deployment = Arc::new(ready.deployment);
    let hash = ConfigHash::of(&service, &deployment.stack, &deployment.env);
    let spec = UnitSpec { unit: UnitId::new(name.clone(), 1), deployment: Arc::clone(&deployment), hash };
    match &service.kind {
        Kind::Container(_) => {
            renew_image(&args, &name, &deployment, context)?;
            let with_image = args.pull.as_deref() != Some("never");
            image_jobs::ensure(&name, &deployment, with_image, args.style(context), context)?;
            in_container(&args, given, command, &service, &spec, context)
        }
        Kind::Process(process) => {
            let own = if command.is_empty() { spawn::argv(process) } else { command };
            let argv: Vec<String> =
                args.entrypoint.as_deref().map(flags::words).unwrap_or_default().into_iter().chain(own).collect();
            if args.detach {
                return in_background(&args, argv, &spec, context);
            }
            let options = Inside { env: &args.env, user: args.user.as_deref(), workdir: args.workdir.as_deref(), rm: args.rm };
            if brought_up {
                return Err(inside::become_run(&spec, &argv, &options, context));
            }
            inside::process(&spec, argv, &options, context)
        }
    }
}

/// Builds or pulls its image though there may be one, where that is asked for.
fn renew_image(args: &Args, name: &ServiceName, deployment: &Arc<Deployment>, context: &Context) -> Result<(), CliError> {
    let container = deployment.service(name).and_then(|service| service.container());
    let builder = deployment.builder_of(name);
    let job = match (args.build, args.pull.as_deref(), builder) {
        (true, _, Some(builder)) => Job::build(builder, deployment),
        (false, Some("always"), None) => {
            let Some(reference) = container.and_then(|container| container.image.clone()) else { return Ok(()) };
            Job::pull(name, reference, container.and_then(|container| container.platform.clone()))
        }
        (true | false, ..) => return Ok(()),
    };
    let failures = image_jobs::perform(vec![job], args.style(context), context)?;
    if failures.is_empty() { Ok(()) } else { Err(CliError::Several(failures)) }
}

impl Args {
    fn building(&self) -> Building {
        if self.build { Building::Anew } else { Building::AsNeeded }
    }

    fn style(&self, context: &Context) -> Style {
        if self.quiet { Style::Quiet } else { context.style }
    }
}

/// What it depends on, as far as it depends on it; none when there is nothing of it to be looked after.
fn bring_up_dependencies(
    args: &Args,
    name: &ServiceName,
    service: &Service,
    ready: &mut Ready,
    context: &Context,
) -> Result<Option<Exit>, CliError> {
    let edges = &service.common.depends_on;
    let active = |ready: &Ready| -> Vec<ServiceName> {
        edges.keys().filter(|name| ready.deployment.stack.services.contains_key(*name)).cloned().collect()
    };
    let mut services = active(ready);
    if args.no_deps || services.is_empty() {
        return Ok(None);
    }
    context.check_host(ready, &services, false)?;
    if service.is_process() {
        context.leave_out_containers(ready)?;
        services = active(ready);
    }
    if services.is_empty() {
        return Ok(Some(Exit::Success));
    }
    context.refuse_unbuildable(ready, &services, args.pull.as_deref(), args.building(), false)?;
    ready.begins(context);
    let wait = edges.values().any(|edge| edge.condition != Condition::Started);
    let is_done = |name: &&ServiceName| edges.get(*name).is_some_and(|edge| edge.condition == Condition::Completed);
    let is_required = |name: &ServiceName| edges.get(name).is_some_and(|edge| edge.required);
    let done: Vec<ServiceName> = services.iter().filter(is_done).cloned().collect();
    let mut deployment = ready.deployment.clone();
    if deployment.stack.jobs.contains(name) {
        // It is run beside the stack, and is no service of it afterwards.
        deployment.stack.services.shift_remove(name);
    }
    let quiet = Quiet { pulls: args.quiet_pull || args.quiet, builds: args.quiet_build || args.quiet };
    let (required, others): (Vec<ServiceName>, Vec<ServiceName>) = services.into_iter().partition(is_required);
    for (services, are_required) in [(required, true), (others, false)] {
        if services.is_empty() {
            continue;
        }
        let named: Vec<String> = services.iter().map(|name| format!("`{name}`")).collect();
        let up = Up { services, wait, beside: true, build: args.build, pull: args.pull.clone(), ..Up::of(deployment.clone()) };
        let exit = context.ask_quietly(&ready.deployment.env, Request::Up(Box::new(up)), Missing::IsStarted, quiet);
        match (exit, are_required) {
            (Ok(Exit::Success), _) => {}
            (Ok(failed), true) => return Ok(Some(failed)),
            // How soon it ended is no other story.
            (Err(CliError::Several(why)), true) => {
                let bad = ended_badly(&done, name, &is_required, &ready.deployment, context).ok().flatten();
                return Err(bad.map_or(CliError::Several(why), |(_, why)| CliError::Failed(why)));
            }
            (Err(CliError::Several(why)), false) => {
                let why = why.join("; ");
                context.printer.warning(format!("`{name}` runs all the same, and needs none of {}: {why}", named.join(", ")));
            }
            (Ok(interrupted @ (Exit::Interrupted | Exit::Terminated)), false) => return Ok(Some(interrupted)),
            (Ok(_), false) => context.printer.warning(format!("`{name}` runs without {}", named.join(", "))),
            (Err(error), _) => return Err(error),
        }
    }
    await_the_end(&done, name, &is_required, &ready.deployment, context)?;
    Ok(Some(Exit::Success))
}

/// Waits for the ends of containers that have to be done first: an answered `up` has started them. A process that is waited for so
/// is a task, and is done by then. One that is not required is waited for all the same, and may end as it likes.
fn await_the_end(
    services: &[ServiceName],
    dependent: &ServiceName,
    is_required: &dyn Fn(&ServiceName) -> bool,
    deployment: &Deployment,
    context: &Context,
) -> Result<(), CliError> {
    let is_container = |name: &&ServiceName| deployment.service(name).is_some_and(Service::needs_engine);
    let services: Vec<ServiceName> = services.iter().filter(is_container).cloned().collect();
    if services.is_empty() {
        return Ok(());
    }
    let engine = context.engine()?;
    for container in replicas(&services, deployment, context)? {
        let code = engine.with(async |docker| docker.wait(&container.id).await).map_err(of_engine)?;
        if code != 0 && !container.unit.as_ref().is_some_and(|unit| is_required(&unit.service)) {
            let ended = ended(&container, code);
            context.printer.warning(format!("`{dependent}` runs all the same: {ended}"));
        }
    }
    match ended_badly(&services, dependent, is_required, deployment, context)? {
        None => Ok(()),
        Some((unit, why)) => {
            context.show_last_lines(&deployment.env, &unit, LAST_LINES)?;
            Err(CliError::Failed(why))
        }
    }
}

/// The first required one of these that has ended and was no success, and what that means.
fn ended_badly(
    services: &[ServiceName],
    dependent: &ServiceName,
    is_required: &dyn Fn(&ServiceName) -> bool,
    deployment: &Deployment,
    context: &Context,
) -> Result<Option<(UnitId, String)>, CliError> {
    let engine = context.engine()?;
    for container in replicas(services, deployment, context)?.into_iter().filter(|it| !it.is_alive()) {
        let Some(unit) = container.unit.clone().filter(|unit| is_required(&unit.service)) else { continue };
        // It has ended, or was never started: nothing is waited for.
        let code = engine.with(async |docker| docker.wait(&container.id).await).map_err(of_engine)?;
        if code != 0 {
            return Ok(Some((unit, format!("`{dependent}` does not run: {}", ended(&container, code)))));
        }
    }
    Ok(None)
}

/// The containers of these services, without one-off copies.
fn replicas(services: &[ServiceName], deployment: &Deployment, context: &Context) -> Result<Vec<Listed>, CliError> {
    let listed = context.engine()?.with(async |docker| docker.list(&deployment.env).await).map_err(of_engine)?;
    let is_meant = |it: &Listed| !it.one_off && it.unit.as_ref().is_some_and(|unit| services.contains(&unit.service));
    Ok(listed.into_iter().filter(is_meant).collect())
}

fn ended(container: &Listed, code: i32) -> String {
    format!("`{}`, which it depends on, ended with exit code {code}", container.name)
}

/// Flags in their own short forms; one that cannot be read is refused before anything starts.
struct Given {
    volumes: Vec<Mount>,
    ports: Vec<Port>,
}

impl Given {
    fn read(args: &Args, context: &Context) -> Result<Self, CliError> {
        let home = context.caller.get("HOME").map(String::as_str);
        let wrong = |flag: &str, text: &str, why: String| CliError::Usage(format!("{flag} {text}: {why}"));
        let volume = |text: &String| flags::mount(text, &context.working_dir, home).map_err(|why| wrong("--volume", text, why));
        let port = |text: &String| flags::ports(text).map_err(|why| wrong("--publish", text, why));
        let ports: Vec<Vec<Port>> = args.publish.iter().map(port).collect::<Result<_, _>>()?;
        Ok(Self { volumes: args.volume.iter().map(volume).collect::<Result<_, _>>()?, ports: ports.concat() })
    }
}

fn in_container(
    args: &Args,
    given: Given,
    command: Vec<String>,
    service: &Service,
    spec: &UnitSpec,
    context: &Context,
) -> Result<Exit, CliError> {
    let tty = !args.detach && inside::wants_terminal(args.no_tty);
    let run = RunSpec {
        command: (!command.is_empty()).then_some(command),
        entrypoint: args.entrypoint.as_deref().map(flags::words),
        environment: inside::variables(&args.env, &context.caller),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        volumes: given.volumes,
        ports: given.ports,
        service_ports: args.service_ports,
        use_aliases: args.use_aliases,
        cap_add: args.cap_add.clone(),
        cap_drop: args.cap_drop.clone(),
        labels: args.label.iter().map(|(name, value)| (name.clone(), value.clone().unwrap_or_default())).collect(),
        name: args.name.clone(),
        tty: tty || service.common.tty && args.detach,
        stdin: args.interactive && !args.detach,
    };
    files::create_places(spec).map_err(CliError::failed)?;
    if args.detach {
        let id = context.engine()?.run_detached(spec, &run, args.rm);
        context.printer.line(id.map_err(of_engine)?)?;
        return Ok(Exit::Success);
    }
    let lent = Lent::new(tty);
    let code = context.engine()?.run(spec, &run, args.rm, &mut |resize| lent.begin(resize), &mut inside::pass_on);
    drop(lent);
    inside::exit(code)
}

/// A further service of the environment, with its own log and its own place in `ps`, until `down`.
fn in_background(args: &Args, argv: Vec<String>, spec: &UnitSpec, context: &Context) -> Result<Exit, CliError> {
    let mut deployment = (*spec.deployment).clone();
    // Those that run go on as they are.
    let earlier = context.deployment(&deployment.env)?.map(|deployment| deployment.stack.services).unwrap_or_default();
    deployment.stack.services.extend(earlier.into_iter().filter(|(_, service)| service.common.labels.contains_key(ONE_OFF)));
    let digits = values::make(Generated::Hex(ONE_OFF_BYTES)).map_err(CliError::failed)?;
    let name: ServiceName = format!("{}-run-{digits}", spec.unit.service).parse().map_err(CliError::failed)?;
    deployment.stack.services.insert(name.clone(), one_off(args, argv, spec, context));
    context.printer.line(name.as_str())?;
    let up = Up { services: vec![name], no_deps: true, beside: true, ..Up::of(deployment) };
    let quiet = Quiet { pulls: true, builds: true };
    context.ask_quietly(&spec.deployment.env, Request::Up(Box::new(up)), Missing::IsStarted, quiet)
}

/// The service with another command: run once, by nobody else's rules.
fn one_off(args: &Args, argv: Vec<String>, spec: &UnitSpec, context: &Context) -> Service {
    let mut service = spec.service().clone();
    let common = &mut service.common;
    common.labels.insert(ONE_OFF.to_owned(), "True".to_owned());
    common.environment.extend(inside::variables(&args.env, &context.caller));
    common.user = args.user.clone().or_else(|| common.user.take());
    common.working_dir = args.workdir.clone().or_else(|| common.working_dir.take());
    common.restart = RestartPolicy::No;
    (common.scale, common.healthcheck) = (None, None);
    common.develop.watch.clear();
    if !args.service_ports {
        common.ports.clear();
    }
    if let Kind::Process(process) = &mut service.kind {
        (process.command, process.entrypoint, process.check) = (Some(Command::List(argv)), None, None);
        process.inputs.clear();
        process.outputs.clear();
        process.restart_on.clear();
        // The service's own address is the service's, and its hours are.
        process.sockets.clear();
        (process.task, process.proxy, process.schedule) = (false, false, None);
    }
    service
}

fn refuse_what_only_containers_have(args: &Args) -> Result<(), CliError> {
    let given = [
        ("--build", args.build),
        ("--cap-add", !args.cap_add.is_empty()),
        ("--cap-drop", !args.cap_drop.is_empty()),
        ("--label", !args.label.is_empty()),
        ("--pull", args.pull.is_some()),
        ("--name", args.name.is_some()),
        ("--publish", !args.publish.is_empty()),
        ("--use-aliases", args.use_aliases),
        ("--volume", !args.volume.is_empty()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(CliError::Usage(format!("{flag} is for containers; a process has no use for it"))),
        None => Ok(()),
    }
}
