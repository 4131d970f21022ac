//! What a command that needs no stack file is about: the containers and processes of an environment, as the engine and the
//! supervisor tell, chosen by service and replica.

use super::CliError;
use super::context::{Context, Missing};
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::plan::action::{Fault, FaultKind};
use crate::plan::desired::Deployment;
use crate::supervisor::request::{Reply, Request};
use crate::supervisor::status::{UnitKind, UnitStatus};
use crate::world::docker::Listed;

impl Context {
    /// The environment, and what is in force in it; whatever there is of it, it must be something.
    pub fn environment(&self) -> Result<(EnvId, Option<Deployment>), CliError> {
        let env = self.env_id()?;
        let deployment = self.deployment(&env)?;
        // A state without a deployment is left of an `up` that failed.
        if deployment.is_none() && !self.has_containers(&env) {
            return Err(Self::not_running(&env));
        }
        Ok((env, deployment))
    }

    /// The containers of these services (all when none is named), in any state, one-off ones too. None are asked for where
    /// the stack has processes alone. Refuses a name that neither the stack nor the engine has.
    pub fn containers(
        &self,
        env: &EnvId,
        deployment: Option<&Deployment>,
        services: &[ServiceName],
    ) -> Result<Vec<Listed>, CliError> {
        self.known_in(env, services)?;
        if let Some(deployment) = deployment {
            let named = |name: &ServiceName| services.is_empty() || services.contains(name);
            let all = deployment.stack.services.iter().chain(&deployment.stack.disabled);
            let mut wanted = all.filter(|(name, _)| named(name)).peekable();
            if wanted.peek().is_some() && wanted.all(|(_, service)| service.is_process()) {
                return Ok(Vec::new());
            }
        }
        let mut listed = self.engine()?.with(async |docker| docker.list(env).await).map_err(of_engine)?;
        let is_of = |listed: &Listed, name: &ServiceName| listed.unit.as_ref().is_some_and(|unit| unit.service == *name);
        listed.retain(|container| services.is_empty() || services.iter().any(|name| is_of(container, name)));
        Ok(listed)
    }

    /// The processes of these services (all when none is named), as their supervisor tells; none where none lives.
    pub fn processes(
        &self,
        env: &EnvId,
        deployment: Option<&Deployment>,
        services: &[ServiceName],
    ) -> Result<Vec<UnitStatus>, CliError> {
        let Some(deployment) = deployment else { return Ok(Vec::new()) };
        if !deployment.stack.services.values().any(crate::model::service::Service::is_process) {
            return Ok(Vec::new());
        }
        let mut units = match self.answer(env, Request::Status, Missing::IsFine)? {
            Some(Reply::Status(status)) => status.units,
            None => Vec::new(),
            other => return Err(Context::unexpected(other.as_ref())),
        };
        units.retain(|unit| unit.kind != UnitKind::Container);
        units.retain(|unit| services.is_empty() || services.contains(&unit.unit.service));
        Ok(units)
    }

    /// Refuses a replica of a process that there is not, by what its supervisor tells, else by the files.
    pub fn has_replica(&self, deployment: &Deployment, unit: &UnitId) -> Result<(), CliError> {
        let known = self.processes(&deployment.env, Some(deployment), std::slice::from_ref(&unit.service))?;
        let mut units: Vec<UnitId> = known.into_iter().map(|unit| unit.unit).collect();
        if units.is_empty() {
            let replicas = deployment.service(&unit.service).map_or(1, crate::model::service::Service::replicas);
            units.extend((1..=replicas.max(1)).map(|replica| UnitId::new(unit.service.clone(), replica)));
        }
        if units.contains(unit) { Ok(()) } else { Err(no_replica(&deployment.env, unit, &units)) }
    }

    /// The one container of a replica; `verb` is what a process has no use for. One-off copies are addressed by nobody.
    pub fn container_of(&self, service: &ServiceName, index: u32, verb: &str) -> Result<Listed, CliError> {
        let (env, deployment) = self.environment()?;
        if let Some(deployment) = &deployment {
            self.known(deployment, std::slice::from_ref(service))?;
            if deployment.service(service).is_some_and(crate::model::service::Service::is_process) {
                return Err(CliError::Usage(format!("`{service}` is a process, and {verb}")));
            }
        }
        let containers = self.containers(&env, deployment.as_ref(), std::slice::from_ref(service))?;
        let units: Vec<UnitId> = containers.iter().filter(|it| !it.one_off).filter_map(|it| it.unit.clone()).collect();
        let wanted = UnitId::new(service.clone(), index);
        let found = containers.into_iter().find(|it| !it.one_off && it.unit.as_ref() == Some(&wanted));
        found.ok_or_else(|| no_replica(&env, &wanted, &units))
    }
}

/// That there is no such replica, and which there are.
pub fn no_replica(env: &EnvId, wanted: &UnitId, units: &[UnitId]) -> CliError {
    let mut numbers: Vec<u32> = units.iter().filter(|unit| unit.service == wanted.service).map(|unit| unit.replica).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let there: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    let (service, replica) = (&wanted.service, wanted.replica);
    CliError::NoEnvironment(match there.as_slice() {
        [] => format!("`{service}` has no containers or processes in {env}; `baistack up {service}` starts it"),
        [one] => format!("`{service}` has no replica {replica} in {env}, only {one}"),
        several => format!("`{service}` has no replica {replica} in {env}, only {}", several.join(", ")),
    })
}

/// What a shell exits with, and Docker, when there is no such program.
const NO_PROGRAM: u8 = 127;
/// The same when it cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// A fault of the engine as a command ends with it.
pub fn of_engine(fault: Fault) -> CliError {
    match fault.kind {
        FaultKind::EngineAway => CliError::Engine(fault.to_string()),
        FaultKind::NoProgram => CliError::NotRun(NO_PROGRAM, fault.to_string()),
        FaultKind::NotExecutable => CliError::NotRun(NOT_EXECUTABLE, fault.to_string()),
        FaultKind::Temporary | FaultKind::Permanent => CliError::Failed(fault.to_string()),
    }
}
