//! `ls`: every environment on this host, ours and Compose's.

use std::path::Path;
use std::time::Duration;

use super::CliError;
use super::context::Context;
use super::environments::{self, Environment};
use crate::base::duration;
use crate::base::exit::Exit;
use crate::view::table::Table;
use crate::view::{json, measures, term};

/// So many named ports of an environment are listed where there is a screen to be filled; `port -p ENVID` lists them all.
const PORTS_ON_A_SCREEN: usize = 3;

/// Flags of `ls`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "(gone) stands behind a directory that is not there. SUPERVISOR says whether one is alive; containers run without one. MEMORY is what its services use, AGE how long ago the \
                        environment was made. With --all also what is down, and of which only networks and volumes are left. \
                        Every name is good for `-p`."
)]
pub struct Args {
    /// Those that do not run too
    #[arg(short, long)]
    pub all: bool,
    /// `table` or `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    pub format: String,
    /// Names only
    #[arg(short, long)]
    pub quiet: bool,
    /// `name=TEXT`: only environments whose name holds it
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter)]
    pub filter: Option<String>,
}

fn filter(text: &str) -> Result<String, String> {
    text.strip_prefix("name=").map(str::to_owned).ok_or_else(|| "expected name=TEXT".to_owned())
}

/// Where an environment lives, and whether that is still there.
fn directory(env: &Environment) -> String {
    if env.directory.is_empty() || Path::new(&env.directory).is_dir() {
        return env.directory.clone();
    }
    format!("{} (gone)", env.directory)
}

/// Lists environments.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let mut all = environments::all(context)?;
    if args.all {
        all.extend(environments::remains(&all, context)?);
        all.sort_by(|a, b| a.name.cmp(&b.name));
    }
    all.retain(|env| args.filter.as_ref().is_none_or(|text| env.name.contains(text)));
    let count = all.len();
    all.retain(|env| args.all || env.runs());
    let down = count - all.len();
    if args.quiet {
        all.iter().try_for_each(|env| context.printer.line(&env.name))?;
    } else if args.format == "json" {
        context.printer.data(json::line(&all))?;
    } else {
        let mut table =
            Table::new(["NAME", "STATUS", "CONFIG FILES", "DIRECTORY", "SUPERVISOR", "OWNED", "MEMORY", "AGE", "NAMED PORTS"]);
        for env in &all {
            let supervisor = env.supervisor.map_or_else(|| "-".to_owned(), |pid| format!("pid {pid}"));
            let owned = if env.owned == 0 { String::new() } else { env.owned.to_string() };
            let memory = env.memory.map_or_else(|| "-".to_owned(), measures::binary);
            let age = env.age.map_or_else(|| "-".to_owned(), |age| duration::human(Duration::from_secs(age)));
            let mut ports: Vec<String> = env.ports.iter().map(|(name, numbers)| format!("{name}={numbers}")).collect();
            if term::stdout_is_terminal() && ports.len() > PORTS_ON_A_SCREEN {
                let more = ports.split_off(PORTS_ON_A_SCREEN).len();
                ports.push(format!("and {more} more"));
            }
            table.row([
                env.name.clone(),
                env.status.clone(),
                env.config_files.clone(),
                directory(env),
                supervisor,
                owned,
                memory,
                age,
                ports.join(" "),
            ]);
        }
        context.printer.data(table.render())?;
        if down > 0 {
            context.printer.say(format!("{down} more that do not run: `baistack ls --all`"));
        }
    }
    Ok(Exit::Success)
}
