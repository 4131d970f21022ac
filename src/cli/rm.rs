//! `rm`: removes what is stopped.

use super::context::{Context, Missing};
use super::foreign::Hands;
use super::losses::Going;
use super::{CliError, anonymous, down, losses};
use crate::base::exit::Exit;
use crate::base::name::{EnvId, ServiceName};
use crate::supervisor::request::{Remove, Reply, Request};
use crate::supervisor::status::{UnitState, UnitStatus};
use crate::view::term;
use crate::world::docker::Listed;
use crate::world::native::files;

/// Flags of `rm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Running services are left alone unless --stop is given.")]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Stop them first
    #[arg(short, long)]
    pub stop: bool,
    /// Remove anonymous volumes and scratch directories too; not while git work that is nowhere else lies there
    #[arg(short, long)]
    pub volumes: bool,
    /// Without effect, as in Compose: one-off containers are always included
    #[arg(short, long, hide = true)]
    pub all: bool,
}

/// Removes what is stopped.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let env = if args.volumes { context.env_id_to_empty()? } else { context.env_id()? };
    context.known_in(&env, &args.services)?;
    let dir = context.env_dir(&env)?;
    let has_scratch = !files::scratch_of(dir.path(), &args.services).is_empty();
    if args.volumes && has_scratch {
        let services = named(&env, &args.services, context)?;
        let ending = if args.stop { services } else { with_stopped_units(services, &env, context)? };
        let made = ending.iter().flat_map(|name| files::scratch_of(dir.path(), std::slice::from_ref(name)));
        let going = Going { made: made.collect(), ..Going::default() };
        // `--force` spares the question here, as in Compose, and is given by habit: it lets no work go.
        let remedy = "`baistack down --volumes --force SERVICE`";
        losses::refuse_data(&env, context.deployment(&env)?.as_ref(), &going, false, remedy, context)?;
    }
    let of_services = |container: &Listed| {
        args.services.is_empty() || container.unit.as_ref().is_some_and(|unit| args.services.contains(&unit.service))
    };
    let goes = |container: &Listed| (args.stop || !container.is_alive()) && of_services(container);
    let may_hold_volumes = || Ok::<_, CliError>(context.deployment_as_known(&env)?.is_none_or(|it| it.has_containers()));
    let nameless = if args.volumes && (!args.force || context.global.dry_run) && may_hold_volumes()? {
        anonymous::of_containers(&env, goes, context)?
    } else {
        Vec::new()
    };
    if !args.force && !context.global.dry_run {
        if !term::stdin_is_terminal() {
            return Err(CliError::Usage("there is no terminal to ask on: give --force".to_owned()));
        }
        anonymous::show(&nameless, context)?;
        context.printer.ask(format!("Remove what is stopped in {env}? [y/N] "));
        if !term::answer_is_yes() {
            context.printer.say("nothing was removed");
            return Ok(Exit::Success);
        }
    }
    let volumes = args.volumes && !context.global.dry_run;
    let has_files = volumes && has_scratch;
    let services = if has_files { named(&env, &args.services, context)? } else { Vec::new() };
    let deployment = if has_files { context.deployment_as_known(&env)? } else { None };
    let hands = has_files.then(|| Hands::of(&env, deployment.as_ref(), context));
    let remove = Remove { services: args.services, stop: args.stop, volumes: args.volumes };
    let exit = context.ask(&env, Request::Remove(remove), Missing::IsFine)?;
    if context.global.dry_run {
        anonymous::show(&nameless, context)?;
        return Ok(exit);
    }
    let Some(hands) = hands.filter(|_| exit == Exit::Success) else { return Ok(exit) };
    let gone = without_units(services, &env, context)?;
    // With nothing named it would be about everything.
    let left = if gone.is_empty() { Vec::new() } else { down::remaining_scratch(&dir, &gone, &hands) };
    if left.is_empty() { Ok(exit) } else { Err(CliError::Several(left)) }
}

/// The services that are meant: all that were started when none is named.
fn named(env: &EnvId, services: &[ServiceName], context: &Context) -> Result<Vec<ServiceName>, CliError> {
    if !services.is_empty() {
        return Ok(services.to_vec());
    }
    let stack = context.deployment(env)?.map(|deployment| deployment.stack).unwrap_or_default();
    Ok(stack.services.into_keys().chain(stack.disabled.into_keys()).collect())
}

/// Those of which nothing is left: what still runs uses its files.
fn without_units(mut services: Vec<ServiceName>, env: &EnvId, context: &Context) -> Result<Vec<ServiceName>, CliError> {
    let units = units(env, context)?;
    let is_there = |name: &ServiceName| units.iter().any(|unit| unit.unit.service == *name && unit.state != UnitState::Absent);
    services.retain(|name| !is_there(name));
    Ok(services)
}

/// Those that do not run as a whole: of them something would be removed.
fn with_stopped_units(mut services: Vec<ServiceName>, env: &EnvId, context: &Context) -> Result<Vec<ServiceName>, CliError> {
    let units = units(env, context)?;
    let runs = |unit: &UnitStatus| matches!(unit.state, UnitState::Running | UnitState::Paused);
    services.retain(|name| {
        let mut own = units.iter().filter(|unit| unit.unit.service == *name).peekable();
        own.peek().is_none() || !own.all(runs)
    });
    Ok(services)
}

/// The units of an environment as they are; none of one that is not there.
fn units(env: &EnvId, context: &Context) -> Result<Vec<UnitStatus>, CliError> {
    match context.answer(env, Request::Status, Missing::IsFine)? {
        Some(Reply::Status(status)) => Ok(status.units),
        None => Ok(Vec::new()),
        other => Err(Context::unexpected(other.as_ref())),
    }
}
