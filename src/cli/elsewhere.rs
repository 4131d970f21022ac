//! What an environment has on another engine than the one that is asked: `DOCKER_HOST` or the context in use may have changed since
//! it was started, and what nobody asks about would live on unseen.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use indexmap::IndexMap;

use super::context::Context;
use super::{CliError, ending};
use crate::base::name::EnvId;
use crate::host::engine::Engine;
use crate::plan::actual::{Query, SeenResource};
use crate::world::docker::Docker;
use crate::world::engine_records::{EnginePlace, LeftVolume};
use crate::world::envdir::EnvDir;

/// So long an engine may take that something is to be removed from.
const PATIENCE: Duration = Duration::from_secs(20);
/// So long one may take that nothing is asked of but what it holds: a start waits for it.
const BRIEFLY: Duration = Duration::from_secs(3);

/// An engine that holds something of an environment, or may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Where it is.
    pub engine: EnginePlace,
    /// What of it is there, or why that cannot be told.
    found: Result<Vec<String>, String>,
}

impl Elsewhere {
    /// What is there, as the end of a sentence.
    pub fn told(&self) -> String {
        match &self.found {
            Ok(things) => format!("the engine at {} holds {}", self.engine, things.join(", ")),
            Err(why) => format!("the engine at {} may hold something of it and cannot be asked ({why})", self.engine),
        }
    }

    /// Whether something that is removed without the data is there, or may be.
    pub fn has_more_than_data(&self) -> bool {
        match &self.found {
            Ok(things) => things.iter().any(|thing| !thing.starts_with(VOLUME)),
            Err(_) => true,
        }
    }

    /// Whether it holds nothing.
    fn is_empty(&self) -> bool {
        self.found == Ok(Vec::new())
    }

    /// Whether it has told what it holds.
    pub fn is_known(&self) -> bool {
        self.found.is_ok()
    }

    /// The command that is to be given to this engine, and, where it does not answer, what is done about it in the end.
    pub fn remedy(&self, what: &str, env: &EnvId, does: &str) -> String {
        let asked = format!("`{} baistack {what} -p {env}` {does}", self.engine.variables());
        let gone = format!("; if it is gone for good, `baistack purge --force -p {env}` forgets it");
        if self.is_known() { asked } else { asked + &gone }
    }
}

/// What a volume is called among what an engine holds.
const VOLUME: &str = "the volume ";

/// The engines beside the one that is asked which hold something of an environment, or may, by its record.
pub fn all(env: &EnvId, context: &Context) -> Result<Vec<Elsewhere>, CliError> {
    beside(env, PATIENCE, context)
}

fn beside(env: &EnvId, limit: Duration, context: &Context) -> Result<Vec<Elsewhere>, CliError> {
    let dir = context.env_dir(env)?;
    let recorded = context.readable(dir.engines()).unwrap_or_default();
    if recorded.is_empty() {
        return Ok(Vec::new());
    }
    let left = context.readable(dir.left_volumes()).unwrap_or_default();
    let here = context.engine()?.place();
    let others = recorded.into_iter().filter(|engine| here.as_ref().is_none_or(|here| !engine.is_same(here)));
    let mut asked = look_at_all(env, others, &left, &context.caller, limit);
    asked.retain(|it| !it.is_empty());
    Ok(asked)
}

/// Asks all at the same time: one that is gone takes as long as it is waited for.
fn look_at_all(
    env: &EnvId,
    engines: impl IntoIterator<Item = EnginePlace>,
    left: &BTreeMap<String, LeftVolume>,
    caller: &IndexMap<String, String>,
    limit: Duration,
) -> Vec<Elsewhere> {
    thread::scope(|scope| {
        let ask = |engine: EnginePlace| {
            scope.spawn(move || {
                let found = look(env, &engine, left, caller, limit);
                Elsewhere { engine, found }
            })
        };
        let asked: Vec<_> = engines.into_iter().map(ask).collect();
        asked.into_iter().map(|asked| asked.join().expect("whoever asks does not panic")).collect()
    })
}

/// Refuses to go on where the engine that is asked has never held anything of an environment and another one does: `what` is the
/// command that would be meant for that one.
pub fn refuse(found: &[Elsewhere], env: &EnvId, what: &str, context: &Context) -> Result<(), CliError> {
    let Some(first) = found.first() else { return Ok(()) };
    let recorded = context.readable(context.env_dir(env)?.engines()).unwrap_or_default();
    let here = context.engine()?.place();
    if here.as_ref().is_some_and(|here| recorded.iter().any(|engine| engine.is_same(here))) {
        return Ok(());
    }
    let here = here.map_or_else(|| "another place".to_owned(), |here| here.to_string());
    let told: Vec<String> = found.iter().map(Elsewhere::told).collect();
    Err(CliError::Failed(format!(
        "{}, and the one that is asked is at {here}: nothing was done; {}",
        told.join("; "),
        first.remedy(what, env, "asks the other")
    )))
}

/// [`refuse`] for `down`, which ends what is up: of what is not, an engine that does not answer is only told.
pub fn refuse_down(mut found: Vec<Elsewhere>, dir: &EnvDir, context: &Context) -> Result<(), CliError> {
    if dir.units().is_empty() {
        let (known, silent) = found.into_iter().partition(Elsewhere::is_known);
        found = known;
        let tell = |it: Elsewhere| {
            let remedy = it.remedy("down", dir.id(), "asks it once more");
            context.printer.warning(format!("{}; {remedy}", it.told()));
        };
        Vec::into_iter(silent).for_each(tell);
    }
    refuse(&found, dir.id(), "down", context)
}

/// Says at a start what lives on at other engines, beside what is made here.
pub fn mention(env: &EnvId, context: &Context) -> Result<(), CliError> {
    for it in beside(env, BRIEFLY, context)? {
        let remedy = it.remedy("down", env, "ends that");
        context.printer.warning(format!("{}, beside what is started here: {remedy}", it.told()));
    }
    Ok(())
}

/// Forgets the engines that hold nothing of an environment any more, after a `down` of all of it. One that does not answer may. What
/// else the others hold is told, unless they were asked before.
pub fn settle(dir: &EnvDir, is_told: bool, context: &Context) -> Result<(), CliError> {
    if context.readable(dir.engines()).unwrap_or_default().is_empty() {
        return Ok(());
    }
    // Whoever has started it anew makes something, which an engine does not hold yet.
    let Ok(lock) = ending::locked(dir) else { return Ok(()) };
    let left = context.readable(dir.left_volumes()).unwrap_or_default();
    let engines = context.readable(dir.engines()).unwrap_or_default();
    for it in look_at_all(dir.id(), engines, &left, &context.caller, BRIEFLY) {
        if it.is_empty() {
            dir.forget_engine(&it.engine).map_err(CliError::failed)?;
        } else if !is_told && it.has_more_than_data() {
            let remedy = it.remedy("down", dir.id(), "ends that as well");
            context.printer.warning(format!("{}; {remedy}", it.told()));
        }
    }
    if !lock.was_abandoned() {
        lock.settled().map_err(|error| CliError::Failed(format!("release the environment: {error}")))?;
    }
    Ok(())
}

/// What an engine holds of an environment, also of the volumes that were left there, or why it cannot be told.
fn look(
    env: &EnvId,
    engine: &EnginePlace,
    left: &BTreeMap<String, LeftVolume>,
    caller: &IndexMap<String, String>,
    limit: Duration,
) -> Result<Vec<String>, String> {
    let is_there = |it: &LeftVolume| it.engine.as_ref().is_some_and(|place| place.is_same(engine));
    let left: Vec<String> = left.iter().filter(|(_, it)| is_there(it)).map(|(name, _)| name.clone()).collect();
    let asked = Engine::brief(&engine.environment(caller)).map_err(|error| error.to_string())?;
    let ask = async |docker: &Docker| {
        let seen = docker.observe(env, &Query::default()).await?;
        let left = if left.is_empty() { Default::default() } else { docker.existing_volumes(left).await? };
        Ok((seen, left))
    };
    let (seen, left) = asked.within(limit, ask).map_err(|fault| fault.to_string())?;
    let containers = seen.containers.iter().map(|container| format!("the container {}", container.name));
    let of = |word: &'static str| move |name: &String| format!("{word}{name}");
    let ours = |things: &BTreeMap<String, SeenResource>| {
        things.iter().filter(|(_, it)| it.ours).map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let (networks, volumes) = (ours(&seen.networks), ours(&seen.volumes));
    let networks = networks.iter().map(of("the network "));
    Ok(containers.chain(networks).chain(volumes.iter().chain(&left).map(of(VOLUME))).collect())
}
