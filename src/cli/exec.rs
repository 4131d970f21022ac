//! `exec`: a command inside a running container; for a process with its environment, directory and user.

use super::context::Context;
use super::inside::{self, Inside, Lent};
use super::{CliError, values};
use crate::base::exit::Exit;
use crate::base::name::UnitId;
use crate::plan::desired::{Deployment, UnitSpec};
use crate::plan::hash::ConfigHash;
use crate::world::docker::ExecSpec;

/// Flags of `exec`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "baistack exec [OPTIONS] SERVICE COMMAND [ARGS]...",
    after_help = "Examples:\n  baistack exec db psql -U postgres\n  echo 'select 1' | baistack exec -T db psql -U postgres\n  \
                  baistack exec manager python\n\n\
                  Exits with the code of the command. A process needs not run for it."
)]
pub struct Args {
    /// Do not wait for it
    #[arg(short, long)]
    pub detach: bool,
    /// Variable on top of the service's; repeatable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = values::variable)]
    pub env: Vec<(String, Option<String>)>,
    /// Replica
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub index: u32,
    /// No terminal, as when the input is a pipe
    #[arg(short = 'T', long = "no-tty", visible_alias = "no-TTY")]
    pub no_tty: bool,
    /// All capabilities (containers)
    #[arg(long)]
    pub privileged: bool,
    /// As another user
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// In another directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Default, as in Compose
    #[arg(short, long, hide = true)]
    pub interactive: bool,
    /// Default, as in Compose
    #[arg(short, long, hide = true)]
    pub tty: bool,
    /// Service, command and its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["SERVICE", "COMMAND"])]
    pub words: Vec<String>,
}

/// Runs a command inside a service.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let (service, command) = inside::service_of(&args.words)?;
    let env = context.env_id()?;
    let unit = UnitId::new(service, args.index);
    let deployment = context.deployment(&env)?;
    context.refuse_provided(&env, std::slice::from_ref(&unit.service), "to run in")?;
    let known = deployment.as_ref().and_then(|deployment| deployment.service(&unit.service));
    match known {
        Some(known) if known.is_process() => {
            let deployment = deployment.expect("a service of it is known");
            context.has_replica(&deployment, &unit)?;
            in_process(&args, command, unit, deployment, context)
        }
        // What is not known may be a container that Compose made.
        Some(_) | None => {
            let container = context.running_container(&env, &unit);
            // Of a name that nobody knows, that is what is to be said.
            if container.is_err() {
                context.known_in(&env, std::slice::from_ref(&unit.service))?;
            }
            let container = container?;
            in_container(&args, command, &container, context)
        }
    }
}

fn in_container(args: &Args, command: Vec<String>, container: &str, context: &Context) -> Result<Exit, CliError> {
    let tty = inside::wants_terminal(args.no_tty || args.detach);
    let variables = inside::variables(&args.env, &context.caller);
    let spec = ExecSpec {
        command,
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        environment: variables.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))).collect(),
        tty,
        stdin: !args.detach,
        privileged: args.privileged,
    };
    if args.detach {
        return inside::exit(context.engine()?.exec_detached(container, &spec).map(|()| 0));
    }
    let lent = Lent::new(tty);
    let code = context.engine()?.exec(container, &spec, &mut |resize| lent.begin(resize), &mut inside::pass_on);
    drop(lent);
    inside::exit(code)
}

/// A child of our own: with the service's environment, directory and user, and the terminal that we have.
fn in_process(
    args: &Args,
    command: Vec<String>,
    unit: UnitId,
    deployment: Deployment,
    context: &Context,
) -> Result<Exit, CliError> {
    if args.privileged {
        return Err(CliError::Usage("--privileged is for containers: a process has the rights of its user".to_owned()));
    }
    let hash = deployment.service(&unit.service).map(|service| ConfigHash::of(service, &deployment.stack, &deployment.env));
    let spec = UnitSpec { unit, hash: hash.expect("the caller found it"), deployment: deployment.into() };
    let options = Inside { env: &args.env, user: args.user.as_deref(), workdir: args.workdir.as_deref(), rm: false };
    if args.detach {
        return inside::detached_process(&spec, command, &options, context);
    }
    inside::process(&spec, command, &options, context)
}
