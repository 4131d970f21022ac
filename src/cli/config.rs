//! `config`: the stack as it was understood, or one aspect of it.

use std::fs;
use std::path::PathBuf;

use super::CliError;
use super::context::{Context, Purpose, Ready};
use super::mask;
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::load;
use crate::plan::desired::Deployment;
use crate::plan::hash::ConfigHash;
use crate::supervisor;
use crate::yaml::emit;
use crate::yaml::node::Node;

/// Flags of `config`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack config              the whole, canonical\n  baistack config -q           check only\n  \
                        baistack config --hash '*'   what decides whether `up` makes a service anew\n\n\
                        Shows all errors of the files at once; exit 3 when there are any."
)]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// `yaml` or `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["yaml", "json"], default_value = "yaml")]
    pub format: String,
    /// Check only
    #[arg(short, long)]
    pub quiet: bool,
    /// Write to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// One aspect
    #[command(flatten)]
    pub aspect: Aspect,
}

/// What to print instead of the whole.
#[derive(Debug, Default, clap::Args)]
#[group(multiple = false)]
pub struct Aspect {
    /// Names of services
    #[arg(long = "services", id = "services only")]
    pub services: bool,
    /// Names of volumes
    #[arg(long)]
    pub volumes: bool,
    /// Names of networks
    #[arg(long)]
    pub networks: bool,
    /// Images
    #[arg(long)]
    pub images: bool,
    /// Names of profiles
    #[arg(long)]
    pub profiles: bool,
    /// Hashes of services, `*` for all
    #[arg(long, value_name = "SERVICES")]
    pub hash: Option<String>,
    /// Variables that interpolation sees
    #[arg(long)]
    pub environment: bool,
}

/// Prints the stack.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let ready = context.load(Purpose::Read, &args.services)?;
    if args.quiet {
        return Ok(Exit::Success);
    }
    let text = text(args, &ready, context)?;
    match &args.output {
        Some(path) => fs::write(path, text).map_err(|error| CliError::Failed(format!("write `{}`: {error}", path.display())))?,
        None => context.printer.data(text)?,
    }
    Ok(Exit::Success)
}

fn text(args: &Args, ready: &Ready, context: &Context) -> Result<String, CliError> {
    let deployment = &ready.deployment;
    let stack = &deployment.stack;
    let aspect = &args.aspect;
    let lines = |names: Vec<String>| names.into_iter().map(|name| name + "\n").collect::<String>();
    Ok(if aspect.services {
        lines(stack.services.keys().map(ToString::to_string).collect())
    } else if aspect.volumes {
        lines(stack.volumes.keys().cloned().collect())
    } else if aspect.networks {
        lines(stack.networks.keys().cloned().collect())
    } else if aspect.images {
        let mut images: Vec<String> = stack.services.keys().filter_map(|name| deployment.image_of(name)).collect();
        images.extend(stack.images.iter().cloned());
        lines(images)
    } else if aspect.profiles {
        let services = stack.services.values().chain(stack.disabled.values());
        let mut profiles: Vec<String> = services.flat_map(|service| service.common.profiles.clone()).collect();
        profiles.sort();
        profiles.dedup();
        lines(profiles)
    } else if let Some(which) = &aspect.hash {
        hashes(deployment, which)?
    } else if aspect.environment {
        let mut variables: Vec<String> = ready.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        variables.sort();
        lines(variables)
    } else {
        let mut tree = ready.tree.clone();
        if !args.services.is_empty() {
            keep(&mut tree, &supervisor::select(deployment, &args.services, false));
            load::keep_used(&mut tree);
        }
        if !context.global.show_secrets {
            mask::tree(&mut tree, &ready.secrets);
        }
        if args.format == "json" {
            load::json_spelling(&mut tree);
            emit::to_json(&tree)
        } else {
            emit::to_yaml(&tree)
        }
    })
}

/// Leaves these services only.
fn keep(tree: &mut Node, services: &[ServiceName]) {
    for section in ["services", "processes"] {
        let section = tree.as_mapping_mut().and_then(|root| root.get_mut(section)).and_then(Node::as_mapping_mut);
        if let Some(section) = section {
            section.retain(|name, _| services.iter().any(|kept| kept.as_str() == name));
        }
    }
}

fn hashes(deployment: &Deployment, which: &str) -> Result<String, CliError> {
    let all = deployment.stack.services.keys().map(ToString::to_string).collect::<Vec<_>>();
    let wanted = if which == "*" { all } else { which.split(',').map(str::to_owned).collect() };
    wanted
        .into_iter()
        .map(|name| match deployment.stack.services.get(name.as_str()) {
            Some(service) => Ok(format!("{name} {}\n", ConfigHash::of(service, &deployment.stack))),
            None => Err(CliError::Usage(format!("no service `{name}` in this stack"))),
        })
        .collect()
}
