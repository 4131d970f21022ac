//! What must not go with the files of an environment: what belongs to others, and git work that is nowhere else. Every command that
//! removes files asks here before anything is stopped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::CliError;
use super::context::Context;
use super::foreign::Hands;
use crate::base::name::EnvId;
use crate::model::process::fill_replica;
use crate::model::service::{Kind, Service};
use crate::plan::desired::Deployment;
use crate::world::envdir::EnvDir;
use crate::world::git::{self, Piece, Work};
use crate::world::owned_paths;
use crate::world::removal::{self, Kept};

/// Paths of an environment that would be removed.
#[derive(Debug, Default)]
pub struct Going {
    /// Those that services own: they may be pieces of a repository that stays.
    pub owned: Vec<PathBuf>,
    /// Those that we have made.
    pub made: Vec<PathBuf>,
}

impl Going {
    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.owned.iter().chain(&self.made)
    }

    /// The git work in repositories that these paths are only pieces of.
    pub fn work_around(&self, stack: Option<&Path>) -> Vec<Work> {
        let mut work = git::work_around(&self.owned, Piece::Found, stack);
        work.extend(
            git::work_around(&self.made, Piece::Made, stack).into_iter().filter(|it| !work.contains(it)).collect::<Vec<_>>(),
        );
        work
    }

    /// What of them is source in a repository that they are only pieces of.
    pub fn sources_around(&self, stack: Option<&Path>) -> BTreeSet<PathBuf> {
        let mut sources = git::sources_around(&self.owned, Piece::Found, stack);
        sources.extend(git::sources_around(&self.made, Piece::Made, stack));
        sources
    }
}

/// Why these paths must not be removed, one sentence each: somebody else's directory, or the user's own, lies there, or something
/// is mounted. No flag overrides it.
pub fn objections<'a>(
    env: &EnvId,
    deployment: Option<&Deployment>,
    paths: impl Iterator<Item = &'a PathBuf>,
    context: &Context,
) -> Result<Vec<String>, CliError> {
    let kept = kept(env, deployment, context)?;
    let of = |path: &PathBuf| kept.objection(path).into_iter().chain(removal::of_others(path, env.as_str())).collect::<Vec<_>>();
    Ok(paths.flat_map(|path| of(path).into_iter().map(|why| removal::refusal(path, &why))).collect())
}

/// What must survive whatever goes of an environment.
fn kept(env: &EnvId, deployment: Option<&Deployment>, context: &Context) -> Result<Kept, CliError> {
    let mut kept = Kept { whole: vec![context.working_dir.clone()], ..Kept::default() };
    kept.whole.extend(context.caller.get("HOME").map(PathBuf::from));
    kept.whole.extend(deployment.map(|deployment| deployment.stack.directory.clone()));
    kept.whole.extend(deployment.iter().flat_map(|deployment| deployment.stack.files.iter().cloned()));
    for other in context.state()?.list().map_err(CliError::failed)?.iter().filter(|other| other.id() != env) {
        kept.untouched.push(other.path().to_owned());
        kept.shared.extend(shared_with(other, context));
        // Where its record cannot be read, what it was started from says it too, and its directories bear its mark in any case.
        let home = context.readable(other.home()).flatten().map(|home| home.path);
        let Some(home) = home.or_else(|| other.stack_dir()) else { continue };
        let places = other.places(&home, &context.caller, PathBuf::new());
        kept.untouched.extend([places.env_dir, places.run_dir]);
        kept.whole.push(home);
    }
    Ok(kept)
}

/// What the definition of another environment names, whoever made it: what it has for scratch and, while it is up, what its services
/// own.
fn shared_with(other: &EnvDir, context: &Context) -> Vec<(PathBuf, String)> {
    let Some(stack) = context.readable(other.deployment()).flatten().map(|deployment| deployment.stack) else {
        return Vec::new();
    };
    let env = other.id();
    let leave = "`purge --keep-data` and `down` without --volumes leave it";
    let is_scratch = format!("scratch of the environment `{env}` too: {leave}, and after `baistack purge -p {env}` it may go");
    let is_owned =
        format!("owned by the environment `{env}` too, which is up: {leave}, and after `baistack down -p {env}` it may go");
    let owned =
        if other.is_up() { owned_paths::named(&stack.owns, None, &stack.directory).unwrap_or_default() } else { Vec::new() };
    let scratch = stack.services.into_values().flat_map(scratch_of).map(|path| (path, is_scratch.clone()));
    scratch.chain(owned.into_iter().map(|named| (named.path, is_owned.clone()))).collect()
}

/// The scratch directories of all replicas of a service.
fn scratch_of(service: Service) -> Vec<PathBuf> {
    let replicas = service.replicas().max(1);
    let Kind::Process(process) = service.kind else { return Vec::new() };
    let of_replica = |replica| {
        let filled = |path: &PathBuf| PathBuf::from(fill_replica(&path.to_string_lossy(), replica).as_ref());
        process.scratch.iter().map(filled).collect::<Vec<_>>()
    };
    (1..=replicas).flat_map(of_replica).collect()
}

/// Tells the git work that would be lost.
pub fn tell(work: &[Work], context: &Context) {
    for repository in work {
        let why = if repository.is_closed { "may have git work" } else { "has git work that is nowhere else" };
        context.printer.warning(format!("`{}` {why}:", repository.path.display()));
        repository.what.iter().for_each(|what| context.printer.say(format!("  {what}")));
    }
}

/// Refuses to remove the data of services, scratch directories and what they own, while others' directories or git work lie there;
/// `forced` lets the work go, and `remedy` says how that is asked for. A directory that nobody can look into, nor a container, is not taken
/// for a repository: containers leave such ones, and their data is what is to go.
pub fn refuse_data(
    env: &EnvId,
    deployment: Option<&Deployment>,
    going: &Going,
    forced: bool,
    remedy: &str,
    context: &Context,
) -> Result<(), CliError> {
    let is_none = going.all().next().is_none();
    let objections = if is_none { Vec::new() } else { objections(env, deployment, going.all(), context)? };
    if !objections.is_empty() {
        return Err(CliError::Several(objections));
    }
    let stack = deployment.map(|deployment| deployment.stack.directory.as_path());
    let hands = if is_none { Hands::new(env, Vec::new(), context) } else { Hands::of(env, deployment, context) };
    let below = going.all().flat_map(|path| hands.work_below(path)).filter(|work| !work.is_closed);
    let work: Vec<Work> = below.chain(going.work_around(stack)).collect();
    tell(&work, context);
    if context.global.dry_run {
        let ignored = going.all().flat_map(|path| git::ignored_below(path));
        ignored.for_each(|ignored| context.printer.say(format!("git ignores, and it would go: {ignored}")));
    }
    if work.is_empty() || forced || context.global.dry_run {
        return Ok(());
    }
    Err(CliError::Failed(format!("git work would be lost, and nothing was stopped; commit and push it, or say {remedy}")))
}
