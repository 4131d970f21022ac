//! `purge`: everything that belongs to an environment, for good. What would go is listed first; work that is nowhere else, and
//! what belongs to others, is never taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::context::{Context, Missing};
use super::elsewhere::Elsewhere;
use super::foreign::{Hands, recorded_images};
use super::losses::Going;
use super::targets::of_engine;
use super::{CliError, anonymous, elsewhere, ending, losses};
use crate::base::exit::Exit;
use crate::base::name::EnvId;
use crate::host::spawn::SWEEP_GRACE;
use crate::model::owned::Owned;
use crate::plan::action::{AnonymousVolume, Outcome};
use crate::plan::actual::Query;
use crate::plan::desired::Deployment;
use crate::supervisor::request::{Down, Request};
use crate::view::{measures, term};
use crate::world::docker::OwnedThing;
use crate::world::envdir::EnvDir;
use crate::world::envid::Moved;
use crate::world::git::{self, Ignored, Work};
use crate::world::native::{files, sweep};
use crate::world::owned_paths::{self, Named};
use crate::world::removal::{self, quoted};
use crate::world::{envid, owner, sizes};

/// Flags of `purge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  baistack purge -p k3v9x2ab --dry-run   what would go\n  baistack purge -p k3v9x2ab\n\n\
                        Takes containers, networks, volumes (also those that nobody has named, of containers that are gone too), images that were built, processes, what providers look after, scratch directories, ENV_DIR, logs, generated \
                        values and named ports; never the stack's own files, nor a directory of another environment or without a mark (`.baistack-owner`). Refuses while git work that is nowhere else would go, in repositories or in pieces of one, \
                        and while another environment of the directory has its data there too. Interrupted halfway, a second run finishes. With --dry-run it exits 10 when there is anything to remove.")]
pub struct Args {
    /// Git work may be lost, and what no provider takes away, or another engine holds, is forgotten
    #[arg(short, long)]
    pub force: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Leave volumes (those that nobody has named are told), scratch directories, `ENV_DIR`, the volumes, images and paths that
    /// services own, and the generated values and named ports; containers go, also those that services own
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
        let moved = context.readable(dir.moved(&context.working_dir)).flatten();
        let by_now = |path: &mut PathBuf| {
            if let Some(moved) = &moved {
                *path = moved.path(path);
            }
        };
        let mut deployment = context.deployment_as_known(&env)?;
        if let Some(deployment) = &mut deployment {
            by_now(&mut deployment.stack.directory);
            by_now(&mut deployment.places.env_dir);
            deployment.stack.files.iter_mut().for_each(by_now);
        }
        let mut home = context.readable(dir.home()).flatten().map(|home| home.path);
        home.as_mut().into_iter().for_each(by_now);
        let stack_dir = deployment.as_ref().map(|deployment| deployment.stack.directory.clone()).or(home);
        Ok(Self { env, dir, deployment, stack_dir, moved })
    }

    /// The paths that services own, as they are now.
    fn owned_paths(&self) -> Result<Vec<Named>, CliError> {
        let stack = self.stack_dir.as_deref().unwrap_or(Path::new("/"));
        owned_paths::named(self.owns(), self.moved.as_ref(), stack).map_err(CliError::Failed)
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
    /// Of what goes, the volumes that nobody has named: they go, or stay with the data.
    anonymous: BTreeMap<String, AnonymousVolume>,
    images: Vec<String>,
    owned: Vec<String>,
    /// What providers take away.
    provided: Vec<String>,
    processes: Vec<String>,
    /// What else is removed here.
    paths: Vec<PathBuf>,
    /// What services own, which is among these as far as it can be seen.
    owned_paths: Vec<PathBuf>,
    /// Scratch directories.
    scratch: Vec<PathBuf>,
    /// Of these the directories that would be ours by their place, and bear no mark that they are.
    unmarked: Vec<PathBuf>,
    /// What stays of these paths, with what it lies in.
    kept: BTreeSet<PathBuf>,
    /// What stays because nobody can tell what it holds.
    closed: BTreeSet<PathBuf>,
    /// The git work that would be lost.
    work: Vec<Work>,
    /// What git ignores of that which goes, one line for each working tree.
    ignored: Vec<String>,
    /// Among the containers are some that an earlier run has made to look at files or to remove them.
    has_idle_removers: bool,
    /// Images that a container which removes files could be made of.
    hands: Vec<String>,
    /// What is removed of the state: the last, so that an interrupted run can be repeated.
    state: Vec<PathBuf>,
}

/// Removes everything of an environment.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id_to_empty()?;
    if !context.exists(&env)? {
        return Err(CliError::NoEnvironment(format!(
            "there is nothing of an environment `{env}`; `baistack ls --all` lists those that there are"
        )));
    }
    // Nothing is begun under an engine that has never held anything of it.
    let mut elsewhere = elsewhere::all(&env, context)?;
    if args.keep_data {
        elsewhere.retain(Elsewhere::has_more_than_data);
    }
    if !args.force {
        elsewhere::refuse(&elsewhere, &env, "purge", context)?;
    }
    elsewhere.iter().for_each(|it| context.printer.warning(format!("this is about one engine, and {}", it.told())));
    let mut subject = Subject::of(env, context)?;
    let mut plan = Plan::of(&subject, args, context)?;
    if let Some(directory) = subject.stack_dir.as_ref().filter(|directory| !directory.exists()) {
        let found = format!("`{}`, the directory of {}, is not there", directory.display(), subject.env);
        context.printer.warning(format!("{found}; if it was moved, run this in it, or what lies in it stays"));
    }
    if subject.stack_dir.is_none() && (subject.dir.exists() || !plan.processes.is_empty()) {
        let place = Path::new(".baistack").join(subject.env.as_str());
        let why = format!("nothing says any more in which directory {} was started", subject.env);
        context.printer.warning(format!("{why}; what lies in `{}` there, if anything, stays", place.display()));
    }
    context.printer.data(plan.render(&subject.env))?;
    plan.judge(&subject, args, context)?;
    for closed in &plan.closed {
        let why = "it cannot be looked into, and sources are to be kept";
        let remedy = removal::by_hand(closed);
        context.printer.warning(format!("`{}` stays: {why}; `{remedy}` removes it", closed.display()));
    }
    if context.global.dry_run {
        return Ok(if plan.is_empty() { Exit::Success } else { Exit::Changes });
    }
    if !args.yes {
        let Some(both) = confirmed(subject, plan, args, context)? else {
            context.printer.say("nothing was removed");
            return Ok(Exit::Success);
        };
        (subject, plan) = both;
    }
    perform(&subject, &plan, &elsewhere, args, context)
}

/// An interrupted purge does not go on once the environment, of the stack in this directory, lives again: what it has not come to is on
/// record again as what was made, and nothing that was confirmed for it counts any more.
pub fn end_interrupted(env: &EnvId, stack: &Path, context: &Context) -> Result<(), CliError> {
    let dir = context.env_dir(env)?;
    let scratch = context.readable(dir.purging(Some(stack))).unwrap_or_default();
    if !scratch.is_empty() {
        files::take_back_scratch(dir.path(), stack, &scratch).map_err(CliError::failed)?;
    }
    dir.forget_purging().map_err(CliError::failed)
}

/// Asks whether what was listed may go, until all that is there by then was listed. None: it may not.
fn confirmed(mut subject: Subject, mut plan: Plan, args: &Args, context: &Context) -> Result<Option<(Subject, Plan)>, CliError> {
    loop {
        if !term::stdin_is_terminal() {
            return Err(CliError::Usage("there is no terminal to ask on: give --yes".to_owned()));
        }
        context.printer.ask("Remove all of this for good? [y/N] ");
        if !term::answer_is_yes() {
            return Ok(None);
        }
        // Nobody holds still while somebody thinks.
        subject = Subject::of(subject.env, context)?;
        let listed = std::mem::replace(&mut plan, Plan::of(&subject, args, context)?);
        plan.judge(&subject, args, context)?;
        let came = plan.besides(&listed);
        if came.is_empty() {
            return Ok(Some((subject, plan)));
        }
        context.printer.warning("since this was listed, more has come that would be removed:");
        came.iter().for_each(|thing| context.printer.say(format!("  {thing}")));
    }
}

impl Plan {
    fn of(subject: &Subject, args: &Args, context: &Context) -> Result<Self, CliError> {
        let Subject { env, dir, deployment, stack_dir, moved } = subject;
        let (deployment, keep_data) = (deployment.as_ref(), args.keep_data);
        let mut plan = Plan::default();
        let has_containers = deployment.is_none_or(Deployment::has_containers);
        match plan.look_at_engine(subject, keep_data, context) {
            Ok(()) => {}
            // Nothing says that it holds anything of this environment.
            Err(CliError::Engine(_)) if !has_containers => {}
            Err(CliError::Engine(why)) if deployment.is_none() => {
                context.printer.warning(format!("containers, if there are any, are not among this: {why}"));
            }
            Err(error) => return Err(error),
        }
        let provided = context.readable(dir.provided()).unwrap_or_default();
        plan.provided = provided.iter().map(|(name, it)| format!("{name} (`{}`)", it.provider.program)).collect();
        let mut found = sweep::find(env, dir.path());
        found.extend(sweep::lost_supervisors(env, dir.path()));
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
            plan.owned_paths = subject.owned_paths()?.into_iter().map(|named| named.path).collect();
            plan.paths.extend(plan.owned_paths.iter().cloned());
            // Not what the definition says by now: what was made, and what an interrupted run has not come to.
            let mut scratch = files::scratch(dir.path(), moved.as_ref());
            scratch.extend(context.readable(dir.purging(stack_dir.as_deref())).unwrap_or_default());
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
            let hands = Hands::new(env, plan.hands.clone(), context);
            plan.closed = all().flat_map(|path| hands.closed_below(path)).collect();
            plan.kept.extend(plan.closed.iter().cloned());
            // Nor do pieces of a working tree go while the rest of it stays.
            plan.kept.extend(plan.going().sources_around(stack_dir.as_deref()));
        }
        let goes = |ignored: &Ignored| !plan.kept.iter().any(|kept| ignored.path.starts_with(kept));
        let ignored = plan.all_paths().flat_map(|path| git::ignored_below(path)).filter(goes);
        plan.ignored = ignored.map(|ignored| ignored.to_string()).collect();
        Ok(plan)
    }

    fn look_at_engine(&mut self, subject: &Subject, keep_data: bool, context: &Context) -> Result<(), CliError> {
        let (env, deployment, engine) = (&subject.env, subject.deployment.as_ref(), context.engine()?);
        let listed = engine.with(async |docker| docker.list(env).await).map_err(of_engine)?;
        let seen = engine.observe(env, &Query::default()).map_err(of_engine)?;
        let mut owned = engine.owned(env, subject.owns()).map_err(of_engine)?;
        // With the data those stay that hold some; `down` takes the others in any case.
        owned.retain(|thing| !keep_data || matches!(thing, OwnedThing::Container { .. } | OwnedThing::Network(_)));
        self.anonymous = anonymous::all(&subject.dir, deployment, &listed, &owned, context)?;
        self.owned = owned.iter().map(ToString::to_string).collect();
        self.networks = seen.networks.iter().filter(|(_, it)| it.ours).map(|(name, _)| name.clone()).collect();
        self.images = engine.with(async |docker| docker.images_of(env).await).map_err(of_engine)?;
        self.hands = listed.iter().map(|container| container.image_id.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        self.hands.extend(self.images.iter().cloned().chain(recorded_images(deployment)));
        self.containers = listed.into_iter().map(|container| format!("{} ({})", container.name, container.state)).collect();
        let idle = engine.with(async |docker| docker.idle_removers(env).await).map_err(of_engine)?;
        self.has_idle_removers = !idle.is_empty();
        self.containers.extend(idle.into_iter().map(|name| format!("{name} (created)")));
        if !keep_data {
            let named = seen.volumes.iter().filter(|(_, it)| it.ours).map(|(name, _)| (name.clone(), None));
            let volumes: BTreeMap<String, Option<String>> =
                named.chain(self.anonymous.values().map(|it| (it.name.clone(), Some(anonymous::whose(it))))).collect();
            // One that does not tell how large they are has them all the same.
            let sizes =
                if volumes.is_empty() { Ok(BTreeMap::new()) } else { engine.with(async |docker| docker.volume_sizes().await) };
            let sizes = sizes.unwrap_or_default();
            let described = |(name, whose): (String, Option<String>)| {
                let size = sizes.get(&name).map(|size| measures::decimal(*size));
                let about: Vec<String> = size.into_iter().chain(whose).collect();
                if about.is_empty() { name } else { format!("{name} ({})", about.join(", ")) }
            };
            self.volumes = volumes.into_iter().map(described).collect();
        }
        Ok(())
    }

    /// Whether nothing would go.
    fn is_empty(&self) -> bool {
        let of_engine = [&self.containers, &self.networks, &self.volumes, &self.images, &self.owned];
        let others = [&self.provided, &self.processes];
        of_engine.into_iter().chain(others).all(Vec::is_empty) && self.all_paths().next().is_none()
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
            ("ignored by git, among these", &self.ignored),
            ("but not the sources", &kept),
        ] {
            if !things.is_empty() {
                text.push_str(&format!("  {title}:\n"));
                things.iter().for_each(|thing| text.push_str(&format!("    {thing}\n")));
            }
        }
        text
    }

    /// Refuses what must not go, and tells the git work that would; unless that may be lost, or this is a rehearsal, it is refused too.
    fn judge(&mut self, subject: &Subject, args: &Args, context: &Context) -> Result<(), CliError> {
        let objections = self.objections(subject, context)?;
        if !objections.is_empty() {
            return Err(CliError::Several(objections));
        }
        self.work = self.find_work(subject, args, context);
        losses::tell(&self.work, context);
        if self.work.is_empty() || args.force || context.global.dry_run {
            return Ok(());
        }
        let reason = if self.work.iter().all(|work| work.is_closed) {
            "git work might be lost; look with `sudo ls`, and say --keep-source to leave it or --force to remove it"
        } else {
            "git work would be lost; commit and push it, or say --keep-source or --force"
        };
        Err(CliError::Failed(reason.to_owned()))
    }

    /// The git work that would be lost, as it is now.
    fn find_work(&self, subject: &Subject, args: &Args, context: &Context) -> Vec<Work> {
        let hands = Hands::new(&subject.env, self.hands.clone(), context);
        let goes = |work: &Work| !self.kept.iter().any(|kept| work.path.starts_with(kept));
        let below = self.all_paths().flat_map(|path| hands.work_below(path)).filter(goes);
        // With the sources all that git tracks stays, and all of other trees.
        let around = if args.keep_source { Vec::new() } else { self.going().work_around(subject.stack_dir.as_deref()) };
        below.chain(around).collect()
    }

    /// What of it may be a piece of a repository: the state is ours alone.
    fn going(&self) -> Going {
        let is_made = |path: &&PathBuf| !self.owned_paths.contains(path);
        let made = self.paths.iter().filter(is_made).chain(&self.scratch);
        Going { owned: self.owned_paths.clone(), made: made.cloned().collect() }
    }

    /// What would go and was not in an earlier list, or the work of which has changed. Processes are not among it: they come and go.
    fn besides(&self, listed: &Self) -> Vec<String> {
        let lists = |plan: &Self| {
            [&plan.containers, &plan.networks, &plan.volumes, &plan.images, &plan.owned, &plan.provided]
                .map(Clone::clone)
                .concat()
        };
        // States and sizes stand behind the names.
        let name = |thing: &String| thing.split(" (").next().unwrap_or_default().to_owned();
        let known: BTreeSet<String> = lists(listed).iter().map(name).collect();
        let mut came: Vec<String> = lists(self).into_iter().filter(|thing| !known.contains(&name(thing))).collect();
        let paths: BTreeSet<&PathBuf> = listed.all_paths().collect();
        came.extend(self.all_paths().filter(|path| !paths.contains(path)).map(|path| path.display().to_string()));
        let work = self.work.iter().filter(|work| !listed.work.contains(work));
        came.extend(work.map(|work| format!("git work in {}", work.path.display())));
        came
    }

    /// What of it belongs to somebody else, or leads there.
    fn objections(&self, subject: &Subject, context: &Context) -> Result<Vec<String>, CliError> {
        let (env, deployment) = (&subject.env, subject.deployment.as_ref());
        let mut objections = losses::objections(env, deployment, self.all_paths(), context)?;
        let owned = subject.owned_paths()?.into_iter().filter(|named| self.owned_paths.contains(&named.path));
        objections.extend(owned.filter_map(|named| named.refusal()));
        objections.extend(self.unmarked.iter().map(|path| {
            let mark = quoted(&path.join(owner::MARK));
            let why = format!(
                "it bears no mark that it was made for {env}; look at it and remove it yourself, or mark it: echo {env} > {mark}"
            );
            removal::refusal(path, &why)
        }));
        if let Some(deployment) = deployment {
            let env_dir = &deployment.places.env_dir;
            if self.paths.contains(env_dir) && removal::leads_out(env_dir, &deployment.stack.directory) {
                objections.push(removal::refusal(env_dir, "it leads out of the stack's directory"));
            }
        }
        Ok(objections)
    }
}

fn perform(subject: &Subject, plan: &Plan, others: &[Elsewhere], args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (Subject { env, dir, stack_dir, moved, .. }, keep_data) = (subject, args.keep_data);
    if let Some(moved) = moved {
        files::relocate(dir.path(), moved).map_err(CliError::failed)?;
    }
    if !plan.scratch.is_empty() {
        // A unit's removal takes its scratch along, and would fail on what a container has left there as another user.
        let scratch = plan.scratch.iter().cloned().collect();
        dir.set_purging(&scratch, stack_dir.as_deref()).map_err(CliError::failed)?;
        files::forget_scratch(dir.path(), &scratch).map_err(CliError::failed)?;
    }
    if keep_data && !plan.anonymous.is_empty() {
        // By their names alone nobody could tell whose they were.
        let here = context.engine()?.place();
        dir.create()
            .and_then(|()| dir.note_left_volumes(here.as_ref(), plan.anonymous.values().cloned()))
            .map_err(CliError::failed)?;
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
    // Others have had time to come in between while everything was stopped.
    let mut refused = plan.objections(subject, context)?;
    if !args.force {
        let lost =
            |work: Work| format!("`{}` has git work now that would be lost: {}", work.path.display(), work.what.join("; "));
        refused.extend(plan.find_work(subject, args, context).into_iter().map(lost));
    }
    if !refused.is_empty() {
        left.extend(refused);
        return Err(unfinished(env, left));
    }
    if !keep_data {
        // `down` has taken those of the units along; others have been left by earlier ones.
        left.extend(anonymous::remove(dir, plan.anonymous.keys().cloned(), context)?);
        // `down` has taken away that of the units which there were; of others there may be records.
        left.extend(files::remove_all(dir.path(), &[]).err().map(|fault| fault.to_string()));
    }
    if plan.has_idle_removers {
        let discarded = context.engine()?.with(async |docker| docker.discard_idle_removers(env).await);
        left.extend(discarded.err().map(|fault| fault.to_string()));
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
        return Err(unfinished(env, left));
    }
    if !others.is_empty() && !args.force {
        // What is known of it has to lead there.
        let here = context.engine()?.place();
        if let Some(here) = here.filter(|_| !keep_data) {
            dir.forget_engine(&here).map_err(CliError::failed)?;
        }
        let at = |it: &Elsewhere| format!("{}: {}", it.told(), it.remedy("purge", env, "removes that"));
        return Err(CliError::Several(others.iter().map(at).collect()));
    }
    if let Some(stack_dir) = stack_dir.as_ref().filter(|_| !keep_data) {
        envid::forget(stack_dir, env).map_err(CliError::failed)?;
    }
    // What there is by now: `down` may have written something, and so has the lock.
    let state = state(dir, keep_data)?;
    for path in &state {
        removal::remove_mark_last(path, env.as_str())
            .map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))?;
    }
    if keep_data {
        let stay = plan.anonymous.values();
        stay.for_each(|it| context.printer.say(format!("the volume {} stays: {} had it at {}", it.name, it.container, it.path)));
    }
    let but = if keep_data { ", but for its data and the values and ports that belong to it" } else { "" };
    context.printer.say(format!("{env} is gone{but}"));
    Ok(Exit::Success)
}

/// That something is left, and that it is not forgotten.
fn unfinished(env: &EnvId, mut left: Vec<String>) -> CliError {
    left.push(format!("what is left of {env} is still known: `baistack purge -p {env}` once more finishes it"));
    CliError::Several(left)
}

/// What goes of the state.
fn state(dir: &EnvDir, keep_data: bool) -> Result<Vec<PathBuf>, CliError> {
    if keep_data { dir.besides_data().map_err(CliError::failed) } else { Ok(vec![dir.path().to_owned()]) }
}
