//! `--remove-orphans` of commands beside `up`, which has it in its request: what is left of services that the stack no longer has.

use std::collections::BTreeSet;

use super::CliError;
use super::context::{Context, Missing};
use crate::base::exit::Exit;
use crate::base::name::{EnvId, ServiceName};
use crate::supervisor::request::{Remove, Reply, Request};
use crate::supervisor::status::{UnitKind, UnitState, UnitStatus};

/// Stops and removes what belongs to none of these services. One-off copies belong to the service that they are made of.
pub fn remove(env: &EnvId, known: &BTreeSet<ServiceName>, context: &Context) -> Result<Exit, CliError> {
    let units = match context.answer(env, Request::Status, Missing::IsFine)? {
        Some(Reply::Status(status)) => status.units,
        None => return Ok(Exit::Success),
        other => return Err(Context::unexpected(other.as_ref())),
    };
    let has_containers = units.iter().any(|unit| unit.kind == UnitKind::Container && unit.container.is_some());
    let listed = if has_containers {
        // That the engine is away, the removal tells.
        context.engine()?.with(async |docker| docker.list(env).await).unwrap_or_default()
    } else {
        Vec::new()
    };
    let is_one_off = |unit: &UnitStatus| {
        unit.one_off || listed.iter().any(|container| container.one_off && Some(&container.id) == unit.container.as_ref())
    };
    let left = units.iter().filter(|unit| unit.state != UnitState::Absent && !is_one_off(unit));
    let orphans: BTreeSet<ServiceName> =
        left.map(|unit| unit.unit.service.clone()).filter(|service| !known.contains(service)).collect();
    if orphans.is_empty() {
        return Ok(Exit::Success);
    }
    let remove = Remove { services: orphans.into_iter().collect(), stop: true, volumes: false };
    context.ask(env, Request::Remove(remove), Missing::IsFine)
}
