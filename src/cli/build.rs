//! `build`: images, after the tasks that they are made from.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexSet;

use super::CliError;
use super::bake::Bake;
use super::context::{Context, Missing, Purpose};
use super::image_jobs::{self, Job, Stop};
use super::{inside, push, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::model::build::Build;
use crate::model::service::{Kind, Service};
use crate::plan::desired::Deployment;
use crate::supervisor;
use crate::supervisor::request::{Request, Up};
use crate::view::json;
use crate::view::progress::Style;
use crate::world::docker;

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
    /// SSH agent or keys that the builds may use beside the file's: `default`, or `ID=PATH`; repeatable
    #[arg(long, value_name = "ID[=PATH]")]
    pub ssh: Vec<String>,
    /// Memory that each step may use, such as `2g`; the classic builder alone has such a limit
    #[arg(short, long, value_name = "SIZE", value_parser = values::size)]
    pub memory: Option<i64>,
    /// Add a record of how the images were built: `true`, `false`, or `mode=max`
    #[arg(long, value_name = "RECORD")]
    pub provenance: Option<String>,
    /// Add a record of what the images contain: `true`, `false`, or `generator=IMAGE`
    #[arg(long, value_name = "RECORD")]
    pub sbom: Option<String>,
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
    /// Build nothing, but print the builds as a file for `docker buildx bake`
    #[arg(long)]
    pub print: bool,
    /// Build a stack that lies elsewhere without a question
    #[arg(long)]
    pub yes: bool,
}

/// Builds images.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let purpose = if args.print { Purpose::Read } else { Purpose::Build };
    let mut ready = context.load(purpose, &args.services)?;
    let known = &ready.deployment.stack.services;
    let only_named = !args.with_dependencies;
    let built: Vec<ServiceName> = (supervisor::select(&ready.deployment.stack, &args.services, only_named).into_iter())
        .filter(|name| known[name].needs_engine() && known[name].container().is_some_and(|container| container.build.is_some()))
        .collect();
    if built.is_empty() {
        context.printer.say("no service has `build`");
        return Ok(Exit::Success);
    }
    let all = with_contexts(&built, &ready.deployment);
    for name in &all {
        if let Some(Kind::Container(container)) = ready.deployment.stack.services.get_mut(name).map(|service| &mut service.kind)
            && let Some(build) = &mut container.build
        {
            args.adjust(build, context);
        }
    }
    if args.print {
        let bake = Bake::of(&all, &ready.deployment, args.push);
        let mask = context.mask(&ready.deployment.env)?;
        context.printer.data(mask.text(&json::document(&bake)))?;
        return Ok(Exit::Success);
    }
    context.refuse_to_build(&ready, &all)?;
    context.confirm_other_edition(&ready, args.yes)?;
    let style = if args.quiet { Style::Quiet } else { context.style };
    let tasks = tasks_before(&ready.deployment, &all);
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
    ready.begins_with_images(context);
    let deployment = Arc::new(ready.deployment);
    // Of services with one image and one build the first builds it for all.
    let makers: IndexSet<ServiceName> = built.iter().filter_map(|name| deployment.builder_of(name)).cloned().collect();
    let makers: Vec<ServiceName> = makers.into_iter().collect();
    let jobs = makers.iter().filter(|name| !is_context(name, &makers, &deployment)).map(|name| Job::build(name, &deployment));
    let stop = Stop::listen(context)?;
    let failures = image_jobs::perform_until(&stop, "the build", jobs.collect(), style, context)?;
    if !failures.is_empty() {
        return Err(CliError::Several(failures));
    }
    let pushed = if args.push { push::jobs(&built, &deployment) } else { Vec::new() };
    let failures = image_jobs::perform_until(&stop, "the push", pushed, style, context)?;
    if failures.is_empty() { Ok(Exit::Success) } else { Err(CliError::Several(failures)) }
}

impl Args {
    /// What the flags say over the file.
    fn adjust(&self, build: &mut Build, context: &Context) {
        build.for_all_platforms = true;
        build.no_cache |= self.no_cache;
        build.pull |= self.pull;
        build.args.extend(inside::variables(&self.build_arg, &context.caller));
        build.memory = self.memory;
        let id = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
        build.ssh.retain(|entry| !self.ssh.iter().any(|other| id(other) == id(entry)));
        build.ssh.extend(self.ssh.iter().map(|entry| from_here(entry, &context.working_dir)));
        build.provenance = self.provenance.clone().or(build.provenance.take());
        build.sbom = self.sbom.clone().or(build.sbom.take());
    }
}

/// An entry of `--ssh` with its paths from where the command is given, not from the stack's directory as the file's are.
fn from_here(entry: &str, directory: &Path) -> String {
    let Some((id, paths)) = entry.split_once('=').filter(|(_, paths)| !paths.is_empty()) else { return entry.to_owned() };
    let place = |path: &str| {
        if path.starts_with("~/") { path.to_owned() } else { directory.join(path).display().to_string() }
    };
    format!("{id}={}", paths.split(',').map(place).collect::<Vec<_>>().join(","))
}

/// Services with those whose images they take as contexts, which are built before them.
fn with_contexts(services: &[ServiceName], deployment: &Deployment) -> IndexSet<ServiceName> {
    services.iter().flat_map(|name| docker::in_order(name, deployment)).collect()
}

/// Whether another of these takes the service's image as a context, and so builds it.
fn is_context(name: &ServiceName, services: &[ServiceName], deployment: &Deployment) -> bool {
    services.iter().any(|other| other != name && docker::in_order(other, deployment).contains(name))
}

/// The tasks that services depend on, directly or through others.
fn tasks_before(deployment: &Deployment, services: &IndexSet<ServiceName>) -> Vec<ServiceName> {
    let services: Vec<ServiceName> = services.iter().cloned().collect();
    let is_task = |name: &ServiceName| deployment.service(name).is_some_and(Service::is_task);
    supervisor::select(&deployment.stack, &services, false).into_iter().filter(|name| is_task(name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_a_flag_begin_where_the_command_is_given() {
        for (entry, expected) in
            [("default", "default"), ("k=", "k="), ("k=./key,/other,~/.ssh/id", "k=/here/./key,/other,~/.ssh/id")]
        {
            assert_eq!(from_here(entry, Path::new("/here")), expected);
        }
    }

    #[test]
    fn a_service_whose_image_is_a_context_is_built_with_the_one_that_takes_it() {
        let service = |contexts| json!({"common": {}, "kind": {"container": {"build": {"additional_contexts": contexts}}}});
        let mut stack = serde_json::to_value(crate::model::stack::Stack::default()).unwrap();
        stack["services"] =
            json!({"app": service(json!({"base": "service:base"})), "base": service(json!({})), "other": service(json!({}))});
        let deployment = Deployment {
            env: "e".parse().unwrap(),
            stack: serde_json::from_value(stack).unwrap(),
            caller: crate::plan::desired::Caller::default(),
            places: crate::plan::desired::Places::default(),
        };
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<ServiceName>>();
        let built = names(&["app", "base", "other"]);
        assert_eq!(Vec::from_iter(with_contexts(&built[..1], &deployment)), names(&["base", "app"]));
        let jobs: Vec<_> = built.iter().filter(|name| !is_context(name, &built, &deployment)).cloned().collect();
        assert_eq!(jobs, names(&["app", "other"]));
    }
}
