//! `volumes`: the volumes of an environment.

use serde_json::json;

use super::CliError;
use super::context::Context;
use super::targets::of_engine;
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::view::format::{Format, LABEL_FIELD};
use crate::view::table::Table;
use crate::world::docker::ListedVolume;

/// What Docker writes where it knows nothing.
const UNKNOWN: &str = "N/A";

/// Flags of `volumes`.
#[derive(Debug, clap::Args)]
#[command(after_help = "With services: only volumes that their containers mount. `baistack down -v` removes them.")]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// `table`, `json` (one object a line), a Go template for each, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    /// Names only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Lists volumes.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (env, deployment) = context.environment()?;
    let mut volumes = context.engine()?.with(async |docker| docker.list_volumes(&env).await).map_err(of_engine)?;
    if !args.services.is_empty() {
        let containers = context.containers(&env, deployment.as_ref(), &args.services)?;
        volumes.retain(|volume| containers.iter().any(|container| container.volumes.contains(&volume.name)));
    }
    if args.quiet {
        volumes.iter().try_for_each(|volume| context.printer.line(&volume.name))?;
        return Ok(Exit::Success);
    }
    let table = || {
        let mut table = Table::new(["DRIVER", "VOLUME NAME"]);
        volumes.iter().for_each(|volume| table.row([volume.driver.clone(), volume.name.clone()]));
        table.render()
    };
    let objects = || volumes.iter().map(object).collect();
    context.printer.data(args.format.draw(table, &[("Name", "VOLUME NAME")], objects).map_err(CliError::format)?)?;
    Ok(Exit::Success)
}

/// The shape of `docker volume ls`, which Compose uses too.
fn object(volume: &ListedVolume) -> serde_json::Value {
    let labels: Vec<String> = volume.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "Availability": UNKNOWN,
        "Driver": volume.driver,
        "Group": UNKNOWN,
        "Labels": labels.join(","),
        "Links": UNKNOWN,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": volume.scope,
        "Size": UNKNOWN,
        "Status": UNKNOWN,
        (LABEL_FIELD): volume.labels,
    })
}
