//! `rm`: removes what is stopped.

use super::context::{Context, Missing};
use super::foreign::Hands;
use super::{CliError, down};
use crate::base::exit::Exit;
use crate::base::name::{EnvId, ServiceName};
use crate::supervisor::request::{Remove, Reply, Request};
use crate::supervisor::status::UnitState;
use crate::view::term;
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
    /// Remove anonymous volumes too
    #[arg(short, long)]
    pub volumes: bool,
    /// Without effect, as in Compose: one-off containers are always included
    #[arg(short, long, hide = true)]
    pub all: bool,
}

/// Removes what is stopped.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    context.known_in(&env, &args.services)?;
    if !args.force && !context.global.dry_run {
        if !term::stdin_is_terminal() {
            return Err(CliError::Usage("there is no terminal to ask on: give --force".to_owned()));
        }
        context.printer.ask(format!("Remove what is stopped in {env}? [y/N] "));
        if !term::answer_is_yes() {
            return Ok(Exit::Success);
        }
    }
    let volumes = args.volumes && !context.global.dry_run;
    let dir = context.env_dir(&env)?;
    let has_files = volumes && !files::scratch_of(dir.path(), &args.services).is_empty();
    let services = if has_files { named(&env, &args.services, context)? } else { Vec::new() };
    let hands = has_files.then(|| Hands::of(&env, context));
    let remove = Remove { services: args.services, stop: args.stop, volumes: args.volumes };
    let exit = context.ask(&env, Request::Remove(remove), Missing::IsFine)?;
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
    let units = match context.answer(env, Request::Status, Missing::IsFine)? {
        Some(Reply::Status(status)) => status.units,
        None => Vec::new(),
        other => return Err(Context::unexpected(other.as_ref())),
    };
    let is_there = |name: &ServiceName| units.iter().any(|unit| unit.unit.service == *name && unit.state != UnitState::Absent);
    services.retain(|name| !is_there(name));
    Ok(services)
}
