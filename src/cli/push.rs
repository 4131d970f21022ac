//! `push`: the images that services are built to.

use super::CliError;
use super::context::{Context, Purpose};
use super::image_jobs::{self, Job, Stop};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::plan::desired::Deployment;
use crate::supervisor;
use crate::view::progress::Style;

/// Flags of `push`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Services with `build` and `image`, and the `tags` of their builds. One image that cannot be pushed does not stop \
                        the others; exit 1 then."
)]
pub struct Args {
    /// Services [default: all that have `build` and `image`]
    pub services: Vec<ServiceName>,
    /// Exit 0 though images could not be pushed
    #[arg(long)]
    pub ignore_push_failures: bool,
    /// Push what the named services depend on too
    #[arg(long)]
    pub include_deps: bool,
    /// Show errors only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Pushes images.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let deployment = context.load(Purpose::Read, &args.services)?.deployment;
    let jobs = jobs(&supervisor::select(&deployment.stack, &args.services, !args.include_deps), &deployment);
    if jobs.is_empty() {
        context.printer.say("nothing to push: no service has both `build` and `image`");
        return Ok(Exit::Success);
    }
    let style = if args.quiet { Style::Quiet } else { context.style };
    let stop = Stop::listen(context)?;
    let failures = image_jobs::perform_until(&stop, "the push", jobs, style, context)?;
    match (failures.is_empty(), args.ignore_push_failures) {
        (true, _) => Ok(Exit::Success),
        (false, true) => {
            failures.iter().for_each(|failure| context.printer.warning(failure));
            Ok(Exit::Success)
        }
        (false, false) => Err(CliError::Several(failures)),
    }
}

/// One for each image, however many services make it.
pub fn jobs(services: &[ServiceName], deployment: &Deployment) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for name in services {
        let service = &deployment.stack.services[name];
        let Some(container) = service.container().filter(|_| service.needs_engine()) else { continue };
        let (Some(build), Some(image)) = (&container.build, &container.image) else { continue };
        for reference in std::iter::once(image).chain(&build.tags) {
            if !jobs.iter().any(|job| job.name == *reference) {
                jobs.push(Job::push(name, reference.clone()));
            }
        }
    }
    jobs
}
