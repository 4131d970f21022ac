//! `down`: stops in reverse order, removes containers and networks. Needs no stack file and no living supervisor.

use std::collections::BTreeMap;

use super::context::{Context, Missing, with_causes};
use super::elsewhere::Elsewhere;
use super::foreign::Hands;
use super::losses::Going;
use super::{CliError, anonymous, elsewhere, ending, losses, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::host::spawn::SWEEP_GRACE;
use crate::model::owned::Owned;
use crate::plan::desired::Deployment;
use crate::supervisor::request::{Down, Request};
use crate::world::docker::OwnedThing;
use crate::world::engine_records::LeftVolume;
use crate::world::envdir::{self, EnvDir};
use crate::world::native::{files, sweep};
use crate::world::owned_paths::{self, Named};

/// Flags of `down`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack down                 stop everything, keep the data\n  baistack down -v              the data too\n  \
                        baistack down -p k3v9x2ab     from any directory; `baistack ls` lists the names\n\n\
                        Works with a broken or missing stack file. Exit 0 also when nothing was there.\n\
                        With --volumes it stops nothing and refuses while scratch directories or owned paths hold git work that is nowhere else \
                        (--force lets it go), another environment's directory or a mount."
)]
pub struct Args {
    /// Services [default: all, networks included]
    pub services: Vec<ServiceName>,
    /// Remove volumes (also those that nobody has named, of containers that are gone too), scratch directories and owned paths too
    #[arg(short, long)]
    pub volumes: bool,
    /// With --volumes: git work in scratch directories and owned paths may be lost
    #[arg(long, requires = "volumes")]
    pub force: bool,
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
    let env = if args.volumes { context.env_id_to_empty()? } else { context.env_id()? };
    context.known_in(&env, &args.services)?;
    if args.rmi.is_some() && !args.services.is_empty() {
        let message = "--rmi is about all images of the environment: name no services with it";
        return Err(CliError::Usage(message.to_owned()));
    }
    let named = args.services.clone();
    let mut down = Down { services: args.services, volumes: args.volumes, rmi: args.rmi, timeout: values::seconds(args.timeout) };
    let (services, volumes) = (down.services.clone(), down.volumes);
    let whole = services.is_empty();
    let mut deployment = context.deployment_as_known(&env)?;
    let dir = context.env_dir(&env)?;
    let moved = if volumes && whole { context.readable(dir.moved(&context.working_dir)).flatten() } else { None };
    if let Some((deployment, moved)) = deployment.as_mut().zip(moved.as_ref()) {
        deployment.stack.directory = moved.path(&deployment.stack.directory);
    }
    let stack = deployment.as_ref().map(|deployment| deployment.stack.directory.clone()).unwrap_or_default();
    if volumes {
        let owns = deployment.as_ref().filter(|_| whole).map_or(&[][..], |deployment| &deployment.stack.owns);
        let owned = owned_paths::named(owns, moved.as_ref(), &stack).map_err(CliError::Failed)?;
        let led_out: Vec<String> = owned.iter().filter_map(Named::refusal).collect();
        if !led_out.is_empty() {
            return Err(CliError::Several(led_out));
        }
        let scratch = if whole { files::scratch(dir.path(), moved.as_ref()) } else { files::scratch_of(dir.path(), &services) };
        let owned = owned.into_iter().map(|named| named.path).collect();
        let going = Going { owned, made: scratch.into_iter().collect() };
        losses::refuse_data(&env, deployment.as_ref(), &going, args.force, "--force", context)?;
    }
    // A supervisor that lives asks the engine that it was started with; whoever asks in its place may mean another one.
    let asks_others = volumes || !dir.is_locked();
    if asks_others {
        let mut others = elsewhere::all(&env, context)?;
        if !volumes {
            others.retain(Elsewhere::has_more_than_data);
        }
        elsewhere::refuse_down(others, &dir, context)?;
    }
    let may_hold_volumes = deployment.as_ref().is_none_or(Deployment::has_containers);
    if context.global.dry_run {
        let exit = context.ask(&env, Request::Down(down), Missing::IsFine)?;
        let has_more = volumes && may_hold_volumes && anonymous::rehearse(&env, &services, context)?;
        return Ok(if has_more && exit == Exit::Success { Exit::Changes } else { exit });
    }
    let left_volumes = if volumes && whole { context.readable(dir.left_volumes()).unwrap_or_default() } else { BTreeMap::new() };
    if let Some(deployment) = deployment.as_ref().filter(|_| whole && !volumes) {
        note_volumes_of_owned(&dir, &deployment.stack.owns, context)?;
    }
    if let Some(moved) = &moved {
        files::relocate(dir.path(), moved).map_err(CliError::failed)?;
    }
    let deployment = deployment.filter(|_| whole);
    let has_owned = deployment.as_ref().is_some_and(|deployment| !deployment.stack.owns.is_empty());
    let has_files = volumes && (has_owned || !files::scratch_of(dir.path(), &services).is_empty());
    let hands = if has_files { Hands::of(&env, deployment.as_ref(), context) } else { Hands::new(&env, Vec::new(), context) };
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
    if !left_volumes.is_empty() && exit == Exit::Success {
        // What the stack names is no such volume, whatever its name looks like.
        let declared = deployment.as_ref().map(Deployment::volume_names).unwrap_or_default();
        dir.forget_left_volumes(&declared.iter().cloned().collect()).map_err(CliError::failed)?;
        // What another engine holds is not gone because this one does not have it.
        let here = context.engine()?.place();
        let is_meant = |(name, it): &(String, LeftVolume)| !declared.contains(name) && it.may_be_on(here.as_ref());
        left.extend(anonymous::remove(&dir, left_volumes.into_iter().filter(is_meant).map(|(name, _)| name), context)?);
    }
    if let Some(deployment) = deployment.as_ref().filter(|_| volumes) {
        left.extend(owned_paths::remove(&deployment.stack.owns, moved.as_ref(), &stack, |path| hands.remove(path)));
    }
    if !left.is_empty() {
        if images.is_some() {
            left.push("the images stay: what is left may need one of them to be removed".to_owned());
        }
        return Err(CliError::Several(left));
    }
    let exit = match images {
        Some(images) if exit == Exit::Success => context.ask(&env, Request::Down(images), Missing::IsFine)?,
        Some(_) | None => exit,
    };
    if whole && exit == Exit::Success {
        elsewhere::settle(&dir, asks_others, context)?;
    }
    Ok(exit)
}

/// Records the volumes that nobody has named of what the services have made: their containers go, and no name leads to them then.
fn note_volumes_of_owned(dir: &EnvDir, owns: &[Owned], context: &Context) -> Result<(), CliError> {
    if !dir.exists() || !owns.iter().any(|entry| matches!(entry, Owned::Containers(_))) {
        return Ok(());
    }
    // An engine that does not answer removes nothing either, which is told by whoever asks it to.
    let Ok(owned) = context.engine()?.owned(dir.id(), owns) else { return Ok(()) };
    let volumes = owned.iter().flat_map(OwnedThing::anonymous).cloned();
    let here = context.engine()?.place();
    dir.note_left_volumes(here.as_ref(), volumes).map_err(CliError::failed)
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
