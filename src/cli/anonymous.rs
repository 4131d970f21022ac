//! Volumes of an environment that nobody has named: listed before they go, and told by their names where they stay.

use std::collections::{BTreeMap, BTreeSet};

use super::CliError;
use super::context::Context;
use super::targets::of_engine;
use crate::base::name::{EnvId, ServiceName};
use crate::plan::action::{AnonymousVolume, Outcome};
use crate::plan::desired::Deployment;
use crate::world::docker::{Listed, OwnedThing};
use crate::world::envdir::EnvDir;

/// One of them in a list, behind its name.
pub fn whose(volume: &AnonymousVolume) -> String {
    format!("of {}, {}", volume.container, volume.path)
}

/// All that would go with an environment's data, by name: those of these containers, of what its services made, and those that
/// earlier removals have left on this engine, as far as they are still there.
pub fn all(
    dir: &EnvDir,
    deployment: Option<&Deployment>,
    listed: &[Listed],
    owned: &[OwnedThing],
    context: &Context,
) -> Result<BTreeMap<String, AnonymousVolume>, CliError> {
    let mut left = context.readable(dir.left_volumes()).unwrap_or_default();
    let here = context.engine()?.place();
    left.retain(|_, it| it.may_be_on(here.as_ref()));
    if !left.is_empty() {
        let names: Vec<String> = left.keys().cloned().collect();
        let there = context.engine()?.with(async |docker| docker.existing_volumes(names).await).map_err(of_engine)?;
        left.retain(|name, _| there.contains(name));
    }
    let mut all: BTreeMap<String, AnonymousVolume> = left.into_iter().map(|(name, it)| (name, it.volume)).collect();
    let of_owned = owned.iter().flat_map(OwnedThing::anonymous);
    let present = listed.iter().flat_map(|container| &container.anonymous).chain(of_owned);
    all.extend(present.map(|volume| (volume.name.clone(), volume.clone())));
    // What the stack names is no such volume, whatever its name looks like.
    let declared: BTreeSet<String> = deployment.map(Deployment::volume_names).unwrap_or_default().into_iter().collect();
    all.retain(|name, _| !declared.contains(name));
    Ok(all)
}

/// Removes such volumes, and forgets those that are gone; says which of them stay, since somebody else uses them. Answers with what
/// could not be removed, one sentence each.
pub fn remove(dir: &EnvDir, names: impl IntoIterator<Item = String>, context: &Context) -> Result<Vec<String>, CliError> {
    let (mut left, mut gone) = (Vec::new(), BTreeSet::new());
    for name in names {
        match context.engine()?.with(async |docker| docker.remove_volume(&name).await) {
            Ok(Outcome::Kept(why)) => context.printer.say(format!("{why}, and stays")),
            Ok(_) => {
                gone.insert(name);
            }
            Err(fault) => left.push(format!("volume {name}: {fault}")),
        }
    }
    dir.forget_left_volumes(&gone).map_err(CliError::failed)?;
    Ok(left)
}

/// Shows which of them would go with `down --volumes`, of these services or of all; whether there are any.
pub fn rehearse(env: &EnvId, services: &[ServiceName], context: &Context) -> Result<bool, CliError> {
    if !services.is_empty() {
        let is_meant = |container: &Listed| container.unit.as_ref().is_some_and(|unit| services.contains(&unit.service));
        return show(&of_containers(env, is_meant, context)?, context);
    }
    let (dir, deployment, engine) = (context.env_dir(env)?, context.deployment_as_known(env)?, context.engine()?);
    let Ok(listed) = engine.with(async |docker| docker.list(env).await) else {
        // That it does not answer has been told with the plan.
        return Ok(false);
    };
    let owns = deployment.as_ref().map_or(&[][..], |deployment| &deployment.stack.owns);
    let owned = engine.owned(env, owns).map_err(of_engine)?;
    let volumes = all(&dir, deployment.as_ref(), &listed, &owned, context)?;
    show(&volumes.into_values().collect::<Vec<_>>(), context)
}

/// Those of the containers of an environment that go; none where no engine answers.
pub fn of_containers(env: &EnvId, goes: impl Fn(&Listed) -> bool, context: &Context) -> Result<Vec<AnonymousVolume>, CliError> {
    let listed = context.engine()?.with(async |docker| docker.list(env).await).unwrap_or_default();
    let declared = context.deployment_as_known(env)?.as_ref().map(Deployment::volume_names).unwrap_or_default();
    let anonymous = listed.into_iter().filter(|container| goes(container)).flat_map(|container| container.anonymous);
    Ok(anonymous.filter(|volume| !declared.contains(&volume.name)).collect())
}

/// Lists them; whether there are any.
pub fn show(volumes: &[AnonymousVolume], context: &Context) -> Result<bool, CliError> {
    if !volumes.is_empty() {
        context.printer.line("and volumes that nobody has named:")?;
    }
    volumes.iter().try_for_each(|volume| context.printer.line(format!("  {} ({})", volume.name, whose(volume))))?;
    Ok(!volumes.is_empty())
}
