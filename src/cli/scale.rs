//! `scale`: more or fewer replicas, and nothing else.

use indexmap::IndexMap;

use super::CliError;
use super::context::{Context, Missing, Purpose};
use super::{plan, providers, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::plan::provision::Building;
use crate::supervisor::request::{Request, Up};

/// Flags of `scale`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "baistack scale [OPTIONS] SERVICE=N...",
    after_help = "Example:\n  baistack scale worker=4 web=2\n\nReplicas that stay are not touched. The next `up` goes by the stack \
                  file again, or by its own --scale."
)]
pub struct Args {
    /// Service and number of its replicas
    #[arg(required = true, value_name = "SERVICE=N", value_parser = values::scale)]
    pub replicas: Vec<(ServiceName, u32)>,
    /// Do not start what the services depend on
    #[arg(long)]
    pub no_deps: bool,
    /// Start a stack that lies elsewhere without a question
    #[arg(long)]
    pub yes: bool,
}

/// Changes the number of replicas.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let services: Vec<ServiceName> = args.replicas.iter().map(|(name, _)| name.clone()).collect();
    let rehearses = context.global.dry_run;
    let purpose = if rehearses { Purpose::Forecast { strict_ports: false } } else { Purpose::Start { strict_ports: false } };
    let mut ready = context.load_as_started(purpose, &services)?;
    providers::refuse(&ready.deployment.stack, &services, "to scale")?;
    context.leave_out_limits_as_before(&mut ready)?;
    let scale: IndexMap<ServiceName, u32> = args.replicas.into_iter().collect();
    let up = |deployment| Up {
        services: services.clone(),
        no_deps: args.no_deps,
        scale: scale.clone(),
        beside: true,
        ..Up::of(deployment)
    };
    if rehearses {
        return plan::show(up, ready, plan::Format::Text, context);
    }
    context.check_host_scaled(&ready, &services, false, &scale)?;
    context.leave_out_containers(&mut ready)?;
    context.refuse_unbuildable(&ready, &services, None, Building::AsNeeded, args.no_deps)?;
    context.confirm_other_edition(&ready, args.yes)?;
    ready.begins(context);
    context.provide(&mut ready, &services, args.no_deps)?;
    let up = up(ready.deployment.clone());
    context.ask(&ready.deployment.env, Request::Up(Box::new(up)), Missing::IsStarted)
}
