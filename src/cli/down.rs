//! `down`: stops in reverse order, removes containers and networks. Needs no stack file and no living supervisor.

use super::context::{Context, Missing, with_causes};
use super::foreign::Hands;
use super::{CliError, ending, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::host::spawn::SWEEP_GRACE;
use crate::supervisor::request::{Down, Request};
use crate::world::envdir::{self, EnvDir};
use crate::world::native::{files, sweep};
use crate::world::owned_paths;

/// Flags of `down`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack down                 stop everything, keep the data\n  baistack down -v              the data too\n  \
                        baistack down -p k3v9x2ab     from any directory; `baistack ls` lists the names\n\n\
                        Works with a broken or missing stack file. Exit 0 also when nothing was there."
)]
pub struct Args {
    /// Services [default: all, networks included]
    pub services: Vec<ServiceName>,
    /// Remove volumes, scratch directories and owned paths too
    #[arg(short, long)]
    pub volumes: bool,
    /// Remove images too: those without a name of their own, or all
    #[arg(long, value_name = "WHICH", value_parser = ["local", "all"])]
    pub rmi: Option<String>,
    /// As in Compose; `down` takes containers of services that the stack file does not have in any case
    #[arg(long)]
    pub remove_orphans: bool,
    /// Kill after so many seconds, instead of each service's `stop_grace_period`
    #[arg(short, long, value_name = "SECONDS", value_parser = values::whole_seconds)]
    pub timeout: Option<u64>,
}

/// Takes everything down.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    context.known_in(&env, &args.services)?;
    if args.rmi.is_some() && !args.services.is_empty() {
        let message = "--rmi is about all images of the environment: name no services with it";
        return Err(CliError::Usage(message.to_owned()));
    }
    let named = args.services.clone();
    let mut down = Down { services: args.services, volumes: args.volumes, rmi: args.rmi, timeout: values::seconds(args.timeout) };
    if context.global.dry_run {
        return context.ask(&env, Request::Down(down), Missing::IsFine);
    }
    let (services, volumes) = (down.services.clone(), down.volumes);
    let whole = services.is_empty();
    let deployment = context.deployment(&env)?.filter(|_| whole);
    let moved = if volumes && whole { context.relocated(&env)? } else { None };
    let dir = context.env_dir(&env)?;
    let has_owned = deployment.as_ref().is_some_and(|deployment| !deployment.stack.owns.is_empty());
    let has_files = volumes && (has_owned || !files::scratch_of(dir.path(), &services).is_empty());
    let hands = if has_files { Hands::of(&env, context) } else { Hands::new(&env, Vec::new(), context) };
    // After the files, which a container of one of the images may have to remove.
    let images = if has_files { down.rmi.take().map(|rmi| Down { rmi: Some(rmi), ..Down::default() }) } else { None };
    let exit = context.ask(&env, Request::Down(down), Missing::IsFine)?;
    let mut left = if exit == Exit::Success { context.remove_provided(&env, &named)? } else { Vec::new() };
    if exit == Exit::Success
        && let Some(deployment) = &deployment
    {
        // What `exec -d` has left to itself.
        sweep::sweep(&env, &deployment.places.state_dir, SWEEP_GRACE);
        let run_dir = &deployment.places.run_dir;
        if !envdir::remove_run_dir(run_dir, &env).map_err(|error| CliError::Failed(with_causes(&error)))? {
            let why = format!("it bears no mark that it was made for {env}");
            context.printer.warning(format!("`{}` stays: {why}; look at it and remove it yourself", run_dir.display()));
        }
    }
    // The engine's things are the supervisor's; files need neither it nor an engine.
    if volumes && exit == Exit::Success {
        left.extend(remaining_scratch(&dir, &services, &hands));
    }
    if let Some(deployment) = deployment.as_ref().filter(|_| volumes) {
        left.extend(owned_paths::remove(&deployment.stack.owns, moved.as_ref(), |path| hands.remove(path)));
    }
    if !left.is_empty() {
        if images.is_some() {
            left.push("the images stay: what is left may need one of them to be removed".to_owned());
        }
        return Err(CliError::Several(left));
    }
    match images {
        Some(images) if exit == Exit::Success => context.ask(&env, Request::Down(images), Missing::IsFine),
        Some(_) | None => Ok(exit),
    }
}

/// Removes the scratch directories of units that the supervisor knew no longer, as those of an earlier `down`, and those that hold
/// another user's files. What is left, and why, one sentence each.
pub fn remaining_scratch(dir: &EnvDir, services: &[ServiceName], hands: &Hands<'_>) -> Vec<String> {
    let scratch = files::scratch_of(dir.path(), services);
    if scratch.is_empty() {
        return Vec::new();
    }
    // Whoever has started the environment anew since then uses them. Beside other services a supervisor goes on.
    let lock = services.is_empty().then(|| ending::locked(dir)).transpose();
    let _lock = match lock {
        Ok(lock) => lock,
        Err(error) => return vec![format!("scratch directories stay: {error}")],
    };
    let left: Vec<String> = scratch.iter().filter_map(|path| Some(hands.remove(path).err()?.to_string())).collect();
    // What is gone is taken off the records; what is left was told.
    match files::remove_all(dir.path(), services) {
        Err(fault) if left.is_empty() => vec![fault.to_string()],
        Ok(()) | Err(_) => left,
    }
}
