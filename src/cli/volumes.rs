//! `volumes`: the volumes of an environment.

use serde_json::json;

use super::CliError;
use super::context::Context;
use super::targets::of_engine;
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::view::json;
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
    /// `table` or `json`, one object a line
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    pub format: String,
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
    } else if args.format == "json" {
        context.printer.data(volumes.iter().map(|volume| json::line(&object(volume))).collect::<String>())?;
    } else {
        let mut table = Table::new(["DRIVER", "VOLUME NAME"]);
        volumes.iter().for_each(|volume| table.row([volume.driver.clone(), volume.name.clone()]));
        context.printer.data(table.render())?;
    }
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
    })
}
