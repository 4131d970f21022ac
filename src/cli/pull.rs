//! `pull`: images, all of them though one cannot be had.

use super::CliError;
use super::context::{Context, Purpose};
use super::image_jobs::{self, Job, Stop};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::plan::actual::Query;
use crate::plan::desired::Deployment;
use crate::plan::provision::Building;
use crate::supervisor;
use crate::view::progress::Style;

/// Flags of `pull`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Images that are mounted (`volumes:` with `type: image`) are pulled as well. One image that cannot be had does not \
                        stop the others; exit 1 then."
)]
pub struct Args {
    /// Services [default: all, and `images:`]
    pub services: Vec<ServiceName>,
    /// Leave out what can be built
    #[arg(long)]
    pub ignore_buildable: bool,
    /// Exit 0 though images could not be had
    #[arg(long)]
    pub ignore_pull_failures: bool,
    /// Pull what the named services depend on too
    #[arg(long)]
    pub include_deps: bool,
    /// Only what is not there (`missing`), or everything
    #[arg(long, value_name = "WHEN", value_parser = ["always", "missing"], default_value = "always")]
    pub policy: String,
    /// Show errors only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Pulls images.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let deployment = context.load(Purpose::Read, &args.services)?.deployment;
    let mut jobs = jobs(&args, &deployment);
    if args.policy == "missing" {
        let query = Query { images: jobs.iter().map(|job| job.name.clone()).collect(), ..Query::default() };
        let seen = context.engine()?.observe(&deployment.env, &query).map_err(|fault| CliError::Engine(fault.to_string()))?;
        jobs.retain(|job| !seen.images.contains_key(&job.name));
    }
    if jobs.is_empty() {
        context.printer.say("nothing to pull");
        return Ok(Exit::Success);
    }
    let style = if args.quiet { Style::Quiet } else { context.style };
    let stop = Stop::listen(context)?;
    let failures = image_jobs::perform_until(&stop, "the pull", jobs, style, context)?;
    match (failures.is_empty(), args.ignore_pull_failures) {
        (true, _) => Ok(Exit::Success),
        (false, true) => {
            failures.iter().for_each(|failure| context.printer.warning(failure));
            Ok(Exit::Success)
        }
        (false, false) => Err(CliError::Several(failures)),
    }
}

/// One for each image, however many services use it.
fn jobs(args: &Args, deployment: &Deployment) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut add = |job: Job, user: &ServiceName| match jobs.iter_mut().find(|known| known.name == job.name) {
        Some(known) if known.users.contains(user) => {}
        Some(known) => known.users.push(user.clone()),
        None => jobs.push(Job { users: vec![user.clone()], ..job }),
    };
    for name in supervisor::select(&deployment.stack, &args.services, !args.include_deps) {
        let service = &deployment.stack.services[&name];
        let Some(container) = service.container().filter(|_| service.needs_engine()) else { continue };
        // What is built here and has no name of its own is nowhere to be had.
        if let Some(reference) = container.image.clone()
            && !(args.ignore_buildable && deployment.builder_of(&name).is_some())
        {
            add(Job::pull(&name, reference, container.platform.clone()), &name);
        }
        for reference in deployment.mounted_images(&name).into_values() {
            // What a service builds is pulled for that service, if at all.
            let is_built = |supplier| deployment.builder_of(supplier).is_some();
            if !deployment.supplier_of(&reference, Building::AsNeeded).is_some_and(is_built) {
                add(Job::named(reference), &name);
            }
        }
    }
    if args.services.is_empty() {
        let more = deployment.stack.images.iter().filter(|reference| !jobs.iter().any(|job| job.name == **reference)).cloned();
        let more: Vec<Job> = more.map(Job::named).collect();
        jobs.extend(more);
    }
    jobs
}
