//! `rm`: removes what is stopped.

use super::context::{Context, Missing};
use super::foreign::Hands;
use super::{CliError, down};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::supervisor::request::{Remove, Request};
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
    let (services, volumes) = (args.services.clone(), args.volumes && !context.global.dry_run);
    let dir = context.env_dir(&env)?;
    let has_files = volumes && !services.is_empty() && !files::scratch_of(dir.path(), &services).is_empty();
    let hands = has_files.then(|| Hands::of(&env, context));
    let remove = Remove { services: args.services, stop: args.stop, volumes: args.volumes };
    let exit = context.ask(&env, Request::Remove(remove), Missing::IsFine)?;
    let left = match hands.filter(|_| exit == Exit::Success && args.stop) {
        Some(hands) => down::remaining_scratch(&dir, &services, &hands),
        None => Vec::new(),
    };
    if left.is_empty() { Ok(exit) } else { Err(CliError::Several(left)) }
}
