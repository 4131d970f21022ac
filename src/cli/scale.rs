//! `scale`: more or fewer replicas, and nothing else.

use indexmap::IndexMap;

use super::CliError;
use super::context::{Context, Missing, Purpose};
use super::values;
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::plan::desired::Deployment;
use crate::supervisor::request::{Reply, Request, Up};
use crate::supervisor::status::UnitState;

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
}

/// Changes the number of replicas.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let services: Vec<ServiceName> = args.replicas.iter().map(|(name, _)| name.clone()).collect();
    let mut ready = context.load_as_started(Purpose::Start { strict_ports: false }, &services)?;
    context.check_host(&ready, &services, false)?;
    context.leave_out_containers(&mut ready)?;
    let mut scale: IndexMap<ServiceName, u32> = args.replicas.into_iter().collect();
    keep_the_others(&mut scale, &ready.deployment, context)?;
    ready.begins(context);
    let up = Up { services, no_deps: args.no_deps, scale, ..Up::of(ready.deployment.clone()) };
    context.ask(&ready.deployment.env, Request::Up(Box::new(up)), Missing::IsStarted)
}

/// What the services depend on keeps the number of replicas that it has, though an earlier `scale` gave it that.
fn keep_the_others(scale: &mut IndexMap<ServiceName, u32>, deployment: &Deployment, context: &Context) -> Result<(), CliError> {
    let Some(Reply::Status(status)) = context.answer(&deployment.env, Request::Status, Missing::IsFine)? else { return Ok(()) };
    let mut present: IndexMap<ServiceName, u32> = IndexMap::new();
    for unit in status.units.into_iter().filter(|unit| !matches!(unit.state, UnitState::Absent)) {
        *present.entry(unit.unit.service).or_default() += 1;
    }
    for (name, count) in present {
        if deployment.stack.services.contains_key(&name) {
            scale.entry(name).or_insert(count);
        }
    }
    Ok(())
}
