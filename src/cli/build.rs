//! `build`: images, after the tasks that they are made from.

use std::sync::Arc;

use super::CliError;
use super::context::{Context, Missing, Purpose};
use super::image_jobs::{self, Job};
use super::{inside, push, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::model::service::{Kind, Service};
use crate::plan::desired::Deployment;
use crate::supervisor;
use crate::supervisor::request::{Request, Up};
use crate::view::progress::Style;

/// Flags of `build`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A build waits for the tasks that its service depends on: they run first.")]
pub struct Args {
    /// Services [default: all that have `build`]
    pub services: Vec<ServiceName>,
    /// Argument of the build, over the file's; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::variable)]
    pub build_arg: Vec<(String, Option<String>)>,
    /// Push the images afterwards that have a name of their own
    #[arg(long)]
    pub push: bool,
    /// Without the cache
    #[arg(long)]
    pub no_cache: bool,
    /// Pull base images first
    #[arg(long)]
    pub pull: bool,
    /// Show errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Build what the named services depend on too
    #[arg(long)]
    pub with_dependencies: bool,
}

/// Builds images.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let mut ready = context.load(Purpose::Build, &args.services)?;
    let known = &ready.deployment.stack.services;
    let only_named = !args.with_dependencies;
    let built: Vec<ServiceName> = (supervisor::select(&ready.deployment.stack, &args.services, only_named).into_iter())
        .filter(|name| known[name].needs_engine() && known[name].container().is_some_and(|container| container.build.is_some()))
        .collect();
    if built.is_empty() {
        context.printer.say("no service has `build`");
        return Ok(Exit::Success);
    }
    for name in &built {
        if let Some(Kind::Container(container)) = ready.deployment.stack.services.get_mut(name).map(|service| &mut service.kind)
            && let Some(build) = &mut container.build
        {
            build.no_cache |= args.no_cache;
            build.pull |= args.pull;
            build.args.extend(inside::variables(&args.build_arg, &context.caller));
        }
    }
    let style = if args.quiet { Style::Quiet } else { context.style };
    let tasks = tasks_before(&ready.deployment, &built);
    if !tasks.is_empty() {
        context.check_host(&ready, &tasks, false)?;
        ready.begins(context);
        context.provide(&mut ready, &tasks, false)?;
        let up = Up { services: tasks, wait: true, watch: false, beside: true, ..Up::of(ready.deployment.clone()) };
        let exit = context.ask(&ready.deployment.env, Request::Up(Box::new(up)), Missing::IsStarted)?;
        if exit != Exit::Success {
            return Ok(exit);
        }
    }
    ready.begins(context);
    let deployment = Arc::new(ready.deployment);
    let failures = image_jobs::perform(built.iter().map(|name| Job::build(name, &deployment)).collect(), style, context)?;
    if !failures.is_empty() {
        return Err(CliError::Several(failures));
    }
    let pushed = if args.push { push::jobs(&built, &deployment) } else { Vec::new() };
    let failures = image_jobs::perform(pushed, style, context)?;
    if failures.is_empty() { Ok(Exit::Success) } else { Err(CliError::Several(failures)) }
}

/// The tasks that services depend on, directly or through others.
fn tasks_before(deployment: &Deployment, services: &[ServiceName]) -> Vec<ServiceName> {
    let is_task = |name: &ServiceName| deployment.service(name).is_some_and(Service::is_task);
    supervisor::select(&deployment.stack, services, false).into_iter().filter(|name| is_task(name)).collect()
}
