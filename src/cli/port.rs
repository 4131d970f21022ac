//! `port`: the named ports of the environment (ours), or the host's port for a port of a service (Compose's).

use indexmap::IndexMap;
use serde_json::json;

use super::context::{Context, Purpose, Ready};
use super::targets::no_replica;
use super::{CliError, providers};
use crate::base::exit::Exit;
use crate::base::name::{ServiceName, UnitId};
use crate::model::service::Service;
use crate::model::stack::Stack;
use crate::view::json;
use crate::view::table::Table;

/// Flags of `port`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack port           the named ports of the environment\n  baistack port api       the number of the one that is called `api`\n  baistack port web 80    where port 80 of `web` is on the host"
)]
pub struct Args {
    /// Service, or a named port
    pub service: Option<ServiceName>,
    /// Port inside the service, `80` or `53/udp`
    #[arg(requires = "service")]
    pub private_port: Option<String>,
    /// Replica
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub index: u32,
    /// `tcp` or `udp`
    #[arg(long, value_parser = ["tcp", "udp"], default_value = "tcp")]
    pub protocol: String,
    /// `table` or `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    pub format: String,
}

/// Prints ports.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    match (&args.service, &args.private_port) {
        (Some(service), Some(private)) => of_service(args, service, private, context),
        (Some(name), None) if stack_and_ports(context)?.0.ports.contains_key(name.as_str()) => named(args, context),
        (Some(service), None) => {
            context.known_in(&context.env_id()?, std::slice::from_ref(service))?;
            Err(CliError::Usage("which port of the service? `baistack port SERVICE PORT`".to_owned()))
        }
        (None, _) => named(args, context),
    }
}

fn named(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (mut stack, mut ports) = stack_and_ports(context)?;
    if let Some(one) = &args.service {
        stack.ports.retain(|name, _| name == one.as_str());
        ports.retain(|name, _| name == one.as_str());
        if args.format == "table" {
            let port = ports.get(one.as_str());
            let port =
                port.ok_or_else(|| CliError::NoEnvironment(format!("`{one}` has no number yet; `baistack up` gives it one")))?;
            context.printer.line(port)?;
            return Ok(Exit::Success);
        }
    }
    if args.format == "json" {
        context.printer.data(json::document(&ports))?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["NAME", "PORT", "PREFERRED"]);
    for (name, preferred) in &stack.ports {
        let range = |first, last| if first == last { format!("{first}") } else { format!("{first}-{last}") };
        let port = ports.get(name).cloned().unwrap_or_default();
        table.row([name.clone(), port, range(preferred.first, preferred.last)]);
    }
    context.printer.data(table.render())?;
    Ok(Exit::Success)
}

/// The stack here with its ports; of an environment that is named, or of which no file is here, what was recorded.
fn stack_and_ports(context: &Context) -> Result<(Stack, IndexMap<String, String>), CliError> {
    let is_named = context.global.project_name.is_some();
    let recorded = if is_named || !context.has_stack_file() { context.recorded()? } else { None };
    let Some(deployment) = recorded else {
        if is_named && !context.exists(&context.env_id()?)? {
            return Err(Context::not_running(&context.env_id()?));
        }
        let Ready { deployment, mut ports, .. } = context.load(Purpose::Known, &[])?;
        // Of what is up, the numbers that it was started with count, also where its caller had set them and this one has not.
        if context.deployment(&deployment.env)?.is_some() {
            let in_force = context.env_dir(&deployment.env)?.ports_in_force().map_err(CliError::failed)?;
            for (name, port) in &mut ports {
                if let Some(numbers) = in_force.get(name) {
                    *port = numbers.to_string();
                }
            }
        }
        return Ok((deployment.stack, ports));
    };
    let numbers = context.env_dir(&deployment.env)?.ports_in_force().map_err(CliError::failed)?;
    let known = deployment.stack.ports.keys();
    let ports = known.filter_map(|name| Some((name.clone(), numbers.get(name)?.to_string()))).collect();
    Ok((deployment.stack, ports))
}

fn of_service(args: &Args, service: &ServiceName, private: &str, context: &Context) -> Result<Exit, CliError> {
    let (number, protocol) = private.split_once('/').unwrap_or((private, &args.protocol));
    let target: u16 = number.parse().map_err(|_| CliError::Usage(format!("`{private}` is not a port")))?;
    let env = context.env_id()?;
    context.known_in(&env, std::slice::from_ref(service))?;
    let (env, deployment) = context.environment()?;
    if let Some(deployment) = &deployment {
        providers::refuse(&deployment.stack, std::slice::from_ref(service), "that we could know the ports of")?;
    }
    let known = deployment.as_ref().and_then(|deployment| deployment.service(service));
    let is_process = known.is_some_and(Service::is_process);
    let unit = UnitId::new(service.clone(), args.index);
    let ports = known.map(|known| known.common.ports.as_slice()).unwrap_or_default();
    let port = ports.iter().find(|port| port.target == target && port.protocol == protocol);
    let address = match (port, is_process) {
        (Some(port), true) => Some((port.host_ip.clone().unwrap_or_else(|| "127.0.0.1".to_owned()), port.target)),
        (_, false) => context.published(&unit, &env, target, protocol)?,
        (None, true) => None,
    };
    if is_process {
        let units = context.processes(&env, deployment.as_ref(), std::slice::from_ref(service))?;
        let units: Vec<UnitId> = units.into_iter().map(|unit| unit.unit).collect();
        if !units.is_empty() && !units.contains(&unit) {
            return Err(no_replica(&env, &unit, &units));
        }
    }
    let Some((ip, number)) = address else {
        return Err(CliError::Failed(format!("no port {target}/{protocol} for {unit}")));
    };
    if args.format == "json" {
        context.printer.data(json::document(&json!({ "ip": ip, "port": number, "protocol": protocol })))?;
    } else {
        context.printer.line(if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") })?;
    }
    Ok(Exit::Success)
}
