//! `purge`: everything that belongs to an environment, for good. What would go is listed first; work that is nowhere else, and
//! what belongs to others, is never taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::context::{Context, Missing};
use super::foreign::Hands;
use super::targets::of_engine;
use super::{CliError, ending};
use crate::base::exit::Exit;
use crate::base::name::EnvId;
use crate::host::spawn::SWEEP_GRACE;
use crate::model::owned::Owned;
use crate::plan::action::Outcome;
use crate::plan::actual::Query;
use crate::plan::desired::Deployment;
use crate::supervisor::request::{Down, Request};
use crate::view::{measures, term};
use crate::world::envdir::EnvDir;
use crate::world::envid::Moved;
use crate::world::git::{self, Work};
use crate::world::native::{files, sweep};
use crate::world::removal::{self, Kept};
use crate::world::{envid, inputs, owned_paths, owner, sizes};

/// Flags of `purge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  baistack purge -p k3v9x2ab --dry-run   what would go\n  baistack purge -p k3v9x2ab\n\n\
                        Takes containers, networks, volumes, images that were built, processes, what providers look after, scratch directories, ENV_DIR, logs, generated \
                        values and named ports; never the stack's own files, nor a directory of another environment or without a mark (`.baistack-owner`). Refuses while git work that is nowhere else would go. \
                        Interrupted halfway, a second run finishes.")]
pub struct Args {
    /// Git work may be lost, and what no provider takes away is forgotten
    #[arg(short, long)]
    pub force: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Leave volumes, scratch directories, what services own, `ENV_DIR`, and the generated values and named ports
    #[arg(long)]
    pub keep_data: bool,
    /// Leave working trees and repositories of git, wherever they lie in what would go
    #[arg(long)]
    pub keep_source: bool,
}

/// An environment, and where its things are by now.
struct Subject {
    env: EnvId,
    dir: EnvDir,
    /// What was in force; its directories as they are by now.
    deployment: Option<Deployment>,
    /// The stack's directory.
    stack_dir: Option<PathBuf>,
    /// Whether that has been moved since the last `up`.
    moved: Option<Moved>,
}

impl Subject {
    fn of(env: EnvId, context: &Context) -> Result<Self, CliError> {
        let dir = context.env_dir(&env)?;
        let moved = dir.moved(&context.working_dir).map_err(CliError::failed)?;
        let by_now = |path: &mut PathBuf| {
            if let Some(moved) = &moved {
                *path = moved.path(path);
            }
        };
        let mut deployment = context.deployment(&env)?;
        if let Some(deployment) = &mut deployment {
            by_now(&mut deployment.stack.directory);
            by_now(&mut deployment.places.env_dir);
            deployment.stack.files.iter_mut().for_each(by_now);
        }
        let mut home = dir.home().map_err(CliError::failed)?.map(|home| home.path);
        home.as_mut().into_iter().for_each(by_now);
        let stack_dir = deployment.as_ref().map(|deployment| deployment.stack.directory.clone()).or(home);
        Ok(Self { env, dir, deployment, stack_dir, moved })
    }

    fn owns(&self) -> &[Owned] {
        self.deployment.as_ref().map(|deployment| deployment.stack.owns.as_slice()).unwrap_or_default()
    }
}

/// All that would go.
#[derive(Debug, Default)]
struct Plan {
    containers: Vec<String>,
    networks: Vec<String>,
    volumes: Vec<String>,
    images: Vec<String>,
    owned: Vec<String>,
    /// What providers take away.
    provided: Vec<String>,
    processes: Vec<String>,
    /// What else is removed here.
    paths: Vec<PathBuf>,
    /// Scratch directories.
    scratch: Vec<PathBuf>,
    /// Of these the directories that would be ours by their place, and bear no mark that they are.
    unmarked: Vec<PathBuf>,
    /// What stays of these paths, with what it lies in.
    kept: BTreeSet<PathBuf>,
    /// What stays because nobody can tell what it holds.
    closed: BTreeSet<PathBuf>,
    /// Images that a container which removes files could be made of.
    hands: Vec<String>,
    /// What is removed of the state: the last, so that an interrupted run can be repeated.
    state: Vec<PathBuf>,
}

/// Removes everything of an environment.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    if !context.exists(&env)? {
        return Err(CliError::NoEnvironment(format!(
            "there is nothing of an environment `{env}`; `baistack ls --all` lists those that there are"
        )));
    }
    let subject = Subject::of(env, context)?;
    let plan = Plan::of(&subject, args, context)?;
    if let Some(directory) = subject.stack_dir.as_ref().filter(|directory| !directory.exists()) {
        let found = format!("`{}`, the directory of {}, is not there", directory.display(), subject.env);
        context.printer.warning(format!("{found}; if it was moved, run this in it, or what lies in it stays"));
    }
    context.printer.data(plan.render(&subject.env))?;
    let objections = plan.objections(&subject, context)?;
    if !objections.is_empty() {
        return Err(CliError::Several(objections));
    }
    let goes = |work: &Work| !plan.kept.iter().any(|kept| work.path.starts_with(kept));
    let work: Vec<Work> = plan.all_paths().flat_map(|path| git::work_below(path)).filter(goes).collect();
    for repository in &work {
        let why = if repository.is_closed { "may have git work" } else { "has git work that is nowhere else" };
        context.printer.warning(format!("`{}` {why}:", repository.path.display()));
        repository.what.iter().for_each(|what| context.printer.say(format!("  {what}")));
    }
    for closed in &plan.closed {
        let why = "it cannot be looked into, and sources are to be kept";
        context.printer.warning(format!("`{0}` stays: {why}; `sudo rm -rf '{0}'` removes it", closed.display()));
    }
    if context.global.dry_run {
        return Ok(Exit::Success);
    }
    if !work.is_empty() && !args.force {
        let reason = if work.iter().all(|work| work.is_closed) {
            "git work might be lost; look with `sudo ls`, and say --keep-source to leave it or --force to remove it"
        } else {
            "git work would be lost; commit and push it, or say --keep-source or --force"
        };
        return Err(CliError::Failed(reason.to_owned()));
    }
    if !args.yes {
        if !term::stdin_is_terminal() {
            return Err(CliError::Usage("there is no terminal to ask on: give --yes".to_owned()));
        }
        context.printer.ask("Remove all of this for good? [y/N] ");
        if !term::answer_is_yes() {
            return Ok(Exit::Success);
        }
    }
    perform(&subject, &plan, args, context)
}

impl Plan {
    fn of(subject: &Subject, args: &Args, context: &Context) -> Result<Self, CliError> {
        let Subject { env, dir, deployment, stack_dir, moved } = subject;
        let (deployment, keep_data) = (deployment.as_ref(), args.keep_data);
        let mut plan = Plan::default();
        let has_containers = deployment.is_none_or(|it| {
            it.stack.services.values().chain(it.stack.disabled.values()).any(crate::model::service::Service::needs_engine)
        });
        match plan.look_at_engine(env, subject.owns(), keep_data, context) {
            Ok(()) => {}
            // Nothing says that it holds anything of this environment.
            Err(CliError::Engine(_)) if !has_containers => {}
            Err(CliError::Engine(why)) if deployment.is_none() => {
                context.printer.warning(format!("containers, if there are any, are not among this: {why}"));
            }
            Err(error) => return Err(error),
        }
        let provided = dir.provided().map_err(CliError::failed)?;
        plan.provided = provided.iter().map(|(name, it)| format!("{name} (`{}`)", it.provider.program)).collect();
        let found = sweep::find(env, dir.path());
        plan.processes = found.iter().map(|process| format!("{} ({})", process.pid, process.name)).collect();
        let places = stack_dir.as_ref().map(|stack| dir.places(stack, &context.caller, PathBuf::new()));
        let places = deployment.map(|deployment| deployment.places.clone()).or(places);
        if let Some(places) = &places {
            if !keep_data {
                plan.paths.push(places.env_dir.clone());
            }
            plan.paths.push(places.run_dir.clone());
        }
        if !keep_data {
            for glob in owned_paths::globs(subject.owns(), moved.as_ref()) {
                plan.paths.extend(inputs::existing(&glob).map_err(|error| CliError::Failed(format!("{glob}: {error}")))?);
            }
            // Not what the definition says by now: what was made, and what an interrupted run has not come to.
            let mut scratch = files::scratch(dir.path(), moved.as_ref());
            scratch.extend(dir.purging().map_err(CliError::failed)?);
            plan.scratch = scratch.into_iter().collect();
        }
        plan.state = state(dir, keep_data)?;
        for paths in [&mut plan.paths, &mut plan.scratch, &mut plan.state] {
            paths.retain(|path| path.symlink_metadata().is_ok());
        }
        let is_directory = |path: &Path| path.symlink_metadata().is_ok_and(|there| there.is_dir());
        let own = places.iter().flat_map(|places| [&places.env_dir, &places.run_dir]).filter(|path| plan.paths.contains(path));
        plan.unmarked.extend(own.filter(|path| is_directory(path) && owner::of(path).is_none()).cloned());
        let state = dir.path();
        if is_directory(state) && !dir.is_ours() && owner::of(state).is_none() {
            plan.unmarked.push(state.to_owned());
        }
        let mut seen = BTreeSet::new();
        plan.paths.retain(|path| seen.insert(path.clone()));
        if args.keep_source {
            let all = || plan.paths.iter().chain(&plan.scratch);
            plan.kept = all().flat_map(|path| git::trees_below(path)).collect();
            // What nobody can look into may hold some too.
            plan.closed = all().flat_map(|path| git::closed_below(path)).collect();
            plan.kept.extend(plan.closed.iter().cloned());
        }
        Ok(plan)
    }

    fn look_at_engine(&mut self, env: &EnvId, owns: &[Owned], keep_data: bool, context: &Context) -> Result<(), CliError> {
        let engine = context.engine()?;
        let listed = engine.with(async |docker| docker.list(env).await).map_err(of_engine)?;
        self.hands = listed.iter().map(|container| container.image_id.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        self.containers = listed.into_iter().map(|container| format!("{} ({})", container.name, container.state)).collect();
        let seen = engine.observe(env, &Query::default()).map_err(of_engine)?;
        self.networks = seen.networks.iter().filter(|(_, it)| it.ours).map(|(name, _)| name.clone()).collect();
        self.images = engine.with(async |docker| docker.images_of(env).await).map_err(of_engine)?;
        self.hands.extend(self.images.iter().cloned());
        if !keep_data {
            let names: Vec<String> = seen.volumes.iter().filter(|(_, it)| it.ours).map(|(name, _)| name.clone()).collect();
            // One that does not tell how large they are has them all the same.
            let sizes =
                if names.is_empty() { Ok(BTreeMap::new()) } else { engine.with(async |docker| docker.volume_sizes().await) };
            let sizes = sizes.unwrap_or_default();
            let sized = |name: String| match sizes.get(&name) {
                Some(size) => format!("{name} ({})", measures::decimal(*size)),
                None => name,
            };
            self.volumes = names.into_iter().map(sized).collect();
            self.owned = engine.owned(env, owns).map_err(of_engine)?.iter().map(ToString::to_string).collect();
        }
        Ok(())
    }

    fn all_paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.paths.iter().chain(&self.scratch).chain(&self.state)
    }

    fn render(&self, env: &EnvId) -> String {
        let mut text = format!("Of {env} would be removed:\n");
        let sized = |path: &PathBuf| format!("{} ({})", path.display(), measures::decimal(sizes::size_of(path)));
        let paths: Vec<String> = self.all_paths().map(sized).collect();
        let kept: Vec<String> = self.kept.iter().map(sized).collect();
        for (title, things) in [
            ("processes", &self.processes),
            ("containers", &self.containers),
            ("networks", &self.networks),
            ("volumes", &self.volumes),
            ("images", &self.images),
            ("made by its services", &self.owned),
            ("looked after by providers", &self.provided),
            ("files", &paths),
            ("but not the sources", &kept),
        ] {
            if !things.is_empty() {
                text.push_str(&format!("  {title}:\n"));
                things.iter().for_each(|thing| text.push_str(&format!("    {thing}\n")));
            }
        }
        text
    }

    /// What of it belongs to somebody else, or leads there.
    fn objections(&self, subject: &Subject, context: &Context) -> Result<Vec<String>, CliError> {
        let (env, deployment) = (&subject.env, subject.deployment.as_ref());
        let mut kept = Kept { whole: vec![context.working_dir.clone()], untouched: Vec::new() };
        kept.whole.extend(context.caller.get("HOME").map(PathBuf::from));
        kept.whole.extend(deployment.map(|deployment| deployment.stack.directory.clone()));
        kept.whole.extend(deployment.iter().flat_map(|deployment| deployment.stack.files.iter().cloned()));
        for other in context.state()?.list().map_err(CliError::failed)?.iter().filter(|other| other.id() != env) {
            kept.untouched.push(other.path().to_owned());
            let Some(home) = other.home().map_err(CliError::failed)? else { continue };
            let places = other.places(&home.path, &context.caller, PathBuf::new());
            kept.untouched.extend([places.env_dir, places.run_dir]);
            kept.whole.push(home.path);
        }
        let objection = |path: &PathBuf| Some(format!("`{}` is not removed: {}", path.display(), kept.objection(path)?));
        let mut objections: Vec<String> = self.all_paths().filter_map(objection).collect();
        for path in self.all_paths() {
            let why = removal::of_others(path, env.as_str());
            objections.extend(why.into_iter().map(|why| format!("`{}` is not removed: {why}", path.display())));
        }
        objections.extend(self.unmarked.iter().map(|path| {
            let (path, mark) = (path.display(), owner::MARK);
            format!(
                "`{path}` is not removed: it bears no mark that it was made for {env}; look at it and remove it yourself, or mark it: \
                 echo {env} > '{path}/{mark}'"
            )
        }));
        if let Some(deployment) = deployment {
            let env_dir = &deployment.places.env_dir;
            if self.paths.contains(env_dir) && removal::leads_out(env_dir, &deployment.stack.directory) {
                objections.push(format!("`{}` is not removed: it leads out of the stack's directory", env_dir.display()));
            }
        }
        Ok(objections)
    }
}

fn perform(subject: &Subject, plan: &Plan, args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (Subject { env, dir, stack_dir, moved, .. }, keep_data) = (subject, args.keep_data);
    if let Some(moved) = moved {
        files::relocate(dir.path(), moved).map_err(CliError::failed)?;
    }
    if !plan.scratch.is_empty() {
        // A unit's removal takes its scratch along, and would fail on what a container has left there as another user.
        let scratch = plan.scratch.iter().cloned().collect();
        dir.set_purging(&scratch).map_err(CliError::failed)?;
        files::forget_scratch(dir.path(), &scratch).map_err(CliError::failed)?;
    }
    let down = Down { volumes: !keep_data, ..Down::default() };
    let exit = context.ask(env, Request::Down(down), Missing::IsFine)?;
    if exit != Exit::Success {
        return Ok(exit);
    }
    let mut left = context.remove_provided(env, &[])?;
    if args.force && !left.is_empty() {
        left.drain(..).for_each(|why| context.printer.warning(why));
        context.forget_provided(env)?;
    }
    sweep::sweep(env, dir.path(), SWEEP_GRACE);
    // The environment's own lock, so that nobody starts it meanwhile.
    let _lock = ending::locked(dir).map_err(CliError::failed)?;
    if !keep_data {
        // `down` has taken away that of the units which there were; of others there may be records.
        left.extend(files::remove_all(dir.path(), &[]).err().map(|fault| fault.to_string()));
    }
    let hands = Hands::new(env, plan.hands.clone(), context);
    for path in plan.paths.iter().chain(&plan.scratch) {
        let removed = removal::remove_but(path, &plan.kept, &mut |path| hands.remove(path));
        left.extend(removed.err().map(|error| error.to_string()));
    }
    // After the files, which a container of one of them may have to remove.
    for image in &plan.images {
        match context.engine()?.with(async |docker| docker.remove_image(image).await) {
            // Somebody else uses it, and it goes when that does: nothing of this environment is left with it.
            Ok(Outcome::Kept(reason)) => context.printer.say(format!("the image {image} stays: {reason}")),
            Ok(_) => {}
            Err(fault) => left.push(format!("image {image}: {fault}")),
        }
    }
    if !left.is_empty() {
        left.push(format!("what is left of {env} is still known: `baistack purge -p {env}` once more finishes it"));
        return Err(CliError::Several(left));
    }
    if let Some(stack_dir) = stack_dir.as_ref().filter(|_| !keep_data) {
        envid::forget(stack_dir, env).map_err(CliError::failed)?;
    }
    // What there is by now: `down` may have written something, and so has the lock.
    let state = state(dir, keep_data)?;
    for path in &state {
        removal::remove(path, env.as_str()).map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))?;
    }
    let but = if keep_data { ", but for its data and the values and ports that belong to it" } else { "" };
    context.printer.say(format!("{env} is gone{but}"));
    Ok(Exit::Success)
}

/// What goes of the state.
fn state(dir: &EnvDir, keep_data: bool) -> Result<Vec<PathBuf>, CliError> {
    if keep_data { dir.besides_data().map_err(CliError::failed) } else { Ok(vec![dir.path().to_owned()]) }
}
