//! `purge`: everything that belongs to an environment, for good. What would go is listed first; work that is nowhere else, and
//! what belongs to others, is never taken.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::CliError;
use super::context::{Context, Missing};
use super::targets::of_engine;
use crate::base::exit::Exit;
use crate::base::name::EnvId;
use crate::host::spawn::SWEEP_GRACE;
use crate::model::owned::Owned;
use crate::plan::actual::Query;
use crate::plan::desired::Deployment;
use crate::supervisor::request::{Down, Request};
use crate::view::{measures, term};
use crate::world::envdir::EnvDir;
use crate::world::git::{self, Work};
use crate::world::native::{files, sweep};
use crate::world::removal::{self, Kept};
use crate::world::{clock, envid, inputs, sizes};

/// How long the last supervisor may take to end after a `down`.
const ENDING: Duration = Duration::from_secs(10);
/// Between two looks at it.
const AGAIN: Duration = Duration::from_millis(10);

/// Flags of `purge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  baistack purge -p k3v9x2ab --dry-run   what would go\n  baistack purge -p k3v9x2ab\n\n\
                        Takes containers, networks, volumes, images that were built, processes, scratch directories, ENV_DIR, logs, generated \
                        values and named ports; never the stack's own files. Refuses while git work that is nowhere else would go. \
                        Interrupted halfway, a second run finishes.")]
pub struct Args {
    /// Git work may be lost
    #[arg(short, long)]
    pub force: bool,
    /// Show what would go, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Leave volumes, scratch directories, what services own, `ENV_DIR`, and the generated values and named ports
    #[arg(long)]
    pub keep_data: bool,
}

/// All that would go.
#[derive(Debug, Default)]
struct Plan {
    containers: Vec<String>,
    networks: Vec<String>,
    volumes: Vec<String>,
    images: Vec<String>,
    owned: Vec<String>,
    processes: Vec<String>,
    /// What else is removed here.
    paths: Vec<PathBuf>,
    /// Scratch directories, which go by the hand of `down`.
    scratch: Vec<PathBuf>,
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
    let deployment = context.deployment(&env)?;
    let plan = Plan::of(&env, deployment.as_ref(), args.keep_data, context)?;
    context.printer.data(plan.render(&env))?;
    let objections = plan.objections(&env, deployment.as_ref(), context)?;
    if !objections.is_empty() {
        return Err(CliError::Several(objections));
    }
    let work: Vec<Work> = plan.all_paths().flat_map(|path| git::work_below(path)).collect();
    for repository in &work {
        context.printer.warning(format!("`{}` has git work that is nowhere else:", repository.path.display()));
        repository.what.iter().for_each(|what| context.printer.say(format!("  {what}")));
    }
    if args.dry_run {
        return Ok(Exit::Success);
    }
    if !work.is_empty() && !args.force {
        let reason = "git work would be lost; commit and push it, or say --force";
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
    perform(&env, &plan, deployment.as_ref(), args.keep_data, context)
}

impl Plan {
    fn of(env: &EnvId, deployment: Option<&Deployment>, keep_data: bool, context: &Context) -> Result<Self, CliError> {
        let dir = context.env_dir(env)?;
        let mut plan = Plan::default();
        let has_containers =
            deployment.is_none_or(|it| it.stack.services.values().chain(it.stack.disabled.values()).any(|it| !it.is_process()));
        let owns = deployment.map(|deployment| deployment.stack.owns.as_slice()).unwrap_or_default();
        match plan.look_at_engine(env, owns, keep_data, context) {
            Ok(()) => {}
            // Nothing says that it holds anything of this environment.
            Err(CliError::Engine(_)) if !has_containers => {}
            Err(CliError::Engine(why)) if deployment.is_none() => {
                context.printer.warning(format!("containers, if there are any, are not among this: {why}"));
            }
            Err(error) => return Err(error),
        }
        let found = sweep::find(env, dir.path());
        plan.processes = found.iter().map(|process| format!("{} ({})", process.pid, process.name)).collect();
        let home = dir.home().map_err(CliError::failed)?.map(|home| home.path);
        let stack_dir = deployment.map(|deployment| deployment.stack.directory.clone()).or(home);
        let program = PathBuf::new();
        let places = stack_dir.as_ref().map(|stack| dir.places(stack, &context.caller, program));
        let places = deployment.map(|deployment| deployment.places.clone()).or(places);
        if let Some(places) = &places {
            if !keep_data {
                plan.paths.push(places.env_dir.clone());
            }
            plan.paths.push(places.run_dir.clone());
        }
        if !keep_data {
            for owned in owns {
                if let Owned::Paths(glob) = owned {
                    plan.paths.extend(inputs::existing(glob).map_err(|error| CliError::Failed(format!("{glob}: {error}")))?);
                }
            }
            // Not what the definition says by now: what was made.
            plan.scratch = files::scratch(dir.path()).into_iter().collect();
        }
        plan.state = state(&dir, keep_data)?;
        for paths in [&mut plan.paths, &mut plan.state] {
            paths.retain(|path| path.symlink_metadata().is_ok());
        }
        let mut seen = BTreeSet::new();
        plan.paths.retain(|path| seen.insert(path.clone()));
        Ok(plan)
    }

    fn look_at_engine(&mut self, env: &EnvId, owns: &[Owned], keep_data: bool, context: &Context) -> Result<(), CliError> {
        let engine = context.engine()?;
        let listed = engine.with(async |docker| docker.list(env).await).map_err(of_engine)?;
        self.containers = listed.into_iter().map(|container| format!("{} ({})", container.name, container.state)).collect();
        let seen = engine.observe(env, &Query::default()).map_err(of_engine)?;
        self.networks = seen.networks.iter().filter(|(_, it)| it.ours).map(|(name, _)| name.clone()).collect();
        self.images = engine.with(async |docker| docker.images_of(env).await).map_err(of_engine)?;
        if !keep_data {
            self.volumes = seen.volumes.iter().filter(|(_, it)| it.ours).map(|(name, _)| name.clone()).collect();
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
        for (title, things) in [
            ("processes", &self.processes),
            ("containers", &self.containers),
            ("networks", &self.networks),
            ("volumes", &self.volumes),
            ("images", &self.images),
            ("made by its services", &self.owned),
            ("files", &paths),
        ] {
            if !things.is_empty() {
                text.push_str(&format!("  {title}:\n"));
                things.iter().for_each(|thing| text.push_str(&format!("    {thing}\n")));
            }
        }
        text
    }

    /// What of it belongs to somebody else, or leads there.
    fn objections(&self, env: &EnvId, deployment: Option<&Deployment>, context: &Context) -> Result<Vec<String>, CliError> {
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
        if let Some(deployment) = deployment {
            let env_dir = &deployment.places.env_dir;
            if self.paths.contains(env_dir) && removal::leads_out(env_dir, &deployment.stack.directory) {
                objections.push(format!("`{}` is not removed: it leads out of the stack's directory", env_dir.display()));
            }
        }
        Ok(objections)
    }
}

fn perform(
    env: &EnvId,
    plan: &Plan,
    deployment: Option<&Deployment>,
    keep_data: bool,
    context: &Context,
) -> Result<Exit, CliError> {
    let dir = context.env_dir(env)?;
    let down = Down { volumes: !keep_data, ..Down::default() };
    let exit = context.ask(env, Request::Down(down), Missing::IsFine)?;
    if exit != Exit::Success {
        return Ok(exit);
    }
    sweep::sweep(env, dir.path(), SWEEP_GRACE);
    let mut left = Vec::new();
    for image in &plan.images {
        match context.engine()?.with(async |docker| docker.remove_image(image).await) {
            Ok(crate::plan::action::Outcome::Kept(reason)) => left.push(reason),
            Ok(_) => {}
            Err(fault) => left.push(format!("image {image}: {fault}")),
        }
    }
    // The environment's own lock, so that nobody starts it meanwhile.
    let deadline = clock::deadline(ENDING);
    let _lock = loop {
        match dir.try_lock() {
            Ok(lock) => break lock,
            Err(_) if !clock::is_past(deadline) => thread::park_timeout(AGAIN),
            Err(error) => return Err(CliError::failed(error)),
        }
    };
    if !keep_data {
        // `down` has taken away that of the units which there were; of others there may be records.
        left.extend(files::remove_all(dir.path()).err().map(|fault| fault.to_string()));
    }
    left.extend(plan.paths.iter().filter_map(|path| removed(path).err()));
    if !left.is_empty() {
        left.push(format!("what is left of {env} is still known: `baistack purge -p {env}` once more finishes it"));
        return Err(CliError::Several(left));
    }
    let stack_dir = deployment.map(|it| it.stack.directory.clone()).or_else(|| Some(dir.home().ok()??.path));
    if let Some(stack_dir) = stack_dir.filter(|_| !keep_data) {
        envid::forget(&stack_dir, env).map_err(CliError::failed)?;
    }
    // What there is by now: `down` may have written something, and so has the lock.
    let state = state(&dir, keep_data)?;
    for path in &state {
        removed(path).map_err(CliError::Failed)?;
    }
    let but = if keep_data { ", but for its data and the values and ports that belong to it" } else { "" };
    context.printer.say(format!("{env} is gone{but}"));
    Ok(Exit::Success)
}

/// What goes of the state.
fn state(dir: &EnvDir, keep_data: bool) -> Result<Vec<PathBuf>, CliError> {
    if keep_data { dir.besides_data().map_err(CliError::failed) } else { Ok(vec![dir.path().to_owned()]) }
}

fn removed(path: &Path) -> Result<(), String> {
    removal::remove(path).map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                format!("; a container has made it as another user: `sudo rm -rf '{}'`", path.display())
            }
            _ => String::new(),
        };
        format!("{}: {error}{remedy}", path.display())
    })
}
