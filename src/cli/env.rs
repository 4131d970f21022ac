//! `env`: the variables that the stack gives to a service, for a shell, a file or a program.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::CliError;
use super::context::{Context, Purpose};
use super::providers;
use crate::base::exit::Exit;
use crate::base::name::{ServiceName, UnitId};
use crate::model::service::Kind;
use crate::plan::desired::Deployment;
use crate::plan::environment;
use crate::view::variables::{self, Format};

/// Flags of `env`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  eval \"$(baistack env client)\"\n  baistack env --format fish client | source\n  \
                        baistack env --format dotenv client > client.env\n\n\
                        Prints what the stack sets, nothing that is merely inherited; generated values are shown, since they are of use.")]
pub struct Args {
    /// Service [default: the variables that are the same in every service that has them]
    pub service: Option<ServiceName>,
    /// Who reads it
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "sh")]
    pub format: Format,
}

/// Prints variables.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let named: Vec<ServiceName> = args.service.iter().cloned().collect();
    let ready = context.load_as_started(Purpose::Known, &named)?;
    let mut deployment = ready.deployment;
    providers::as_given(&context.env_dir(&deployment.env)?, &mut deployment.stack)?;
    let mut given = match &args.service {
        Some(service) => of_service(&deployment, service).expect("`load` knows it"),
        None => shared(&deployment),
    };
    // A text that only says what is missing must not be taken for the value.
    for (value, text) in &ready.stand_ins {
        let missing: Vec<String> = given.extract_if(.., |_, it| it.contains(text)).map(|(name, _)| format!("`{name}`")).collect();
        if !missing.is_empty() {
            let names = missing.join(", ");
            context.printer.warning(format!("left out, since the first `up` has yet to generate `{value}`: {names}"));
        }
    }
    let (text, unnamable) = variables::render(&given, args.format);
    for name in unnamable {
        context.printer.warning(format!("`{name}` is no name for a shell and is left out"));
    }
    context.printer.data(text)?;
    Ok(Exit::Success)
}

fn of_service(deployment: &Deployment, name: &ServiceName) -> Option<IndexMap<String, String>> {
    let service = deployment.service(name)?;
    Some(match &service.kind {
        Kind::Process(process) => environment::given(deployment, &UnitId::new(name.clone(), 1), service, process),
        Kind::Container(_) => {
            let set = service.common.environment.iter();
            set.filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect()
        }
    })
}

/// What all services that have it agree upon.
fn shared(deployment: &Deployment) -> IndexMap<String, String> {
    let mut all: IndexMap<String, BTreeSet<String>> = IndexMap::new();
    for name in deployment.stack.services.keys() {
        for (variable, value) in of_service(deployment, name).unwrap_or_default() {
            all.entry(variable).or_default().insert(value);
        }
    }
    let agreed = all.into_iter().filter(|(_, values)| values.len() == 1);
    agreed.filter_map(|(name, values)| Some((name, values.into_iter().next()?))).collect()
}
