//! `stats`: what services use, now and as it goes on.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::CliError;
use super::context::Context;
use super::targets::of_engine;
use crate::base::exit::Exit;
use crate::base::name::{EnvId, ServiceName};
use crate::plan::desired::Deployment;
use crate::supervisor::status::UnitStatus;
use crate::view::format::Format;
use crate::view::table::{Table, shortened};
use crate::view::{measures, term};
use crate::world::docker::Listed;
use crate::world::native::inspect;
use crate::world::usage::Usage;

/// Between two looks, as with `docker stats`.
const PAUSE: Duration = Duration::from_secs(1);
/// What Docker writes where nobody counts.
const UNKNOWN: &str = "--";
/// What stands over columns that are called otherwise than their field.
const HEADS: [(&str, &str); 6] = [
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
];

/// Flags of `stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A process counts with all that it has started. CPU % is of one processor. Ctrl-C ends it.")]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// What does not run too
    #[arg(short, long)]
    pub all: bool,
    /// `table`, `json` (one object a line), a Go template for each, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    /// Once
    #[arg(long)]
    pub no_stream: bool,
    /// Do not shorten
    #[arg(long)]
    pub no_trunc: bool,
}

/// Shows what is used.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (env, deployment) = context.environment()?;
    let mut before = Sample::take(args, &env, deployment.as_ref(), context)?;
    loop {
        // A share of time needs two looks.
        thread::park_timeout(PAUSE);
        let now = Sample::take(args, &env, deployment.as_ref(), context)?;
        let rows = now.rows(&before);
        let clear = if !args.no_stream && args.format == Format::Table && term::stdout_is_terminal() { term::CLEAR } else { "" };
        let table = || as_table(&rows, args.no_trunc);
        let text = args.format.draw(table, &HEADS, || objects(&rows)).map_err(CliError::format)?;
        context.printer.data(format!("{clear}{text}"))?;
        if args.no_stream {
            return Ok(Exit::Success);
        }
        before = now;
    }
}

/// Everything at one moment: by id of the container, or name of the process.
struct Sample(BTreeMap<String, (String, Option<Usage>)>);

/// One line.
struct Row {
    id: String,
    name: String,
    usage: Option<Usage>,
    cpu: f64,
}

impl Sample {
    fn take(args: &Args, env: &EnvId, deployment: Option<&Deployment>, context: &Context) -> Result<Self, CliError> {
        let mut all = BTreeMap::new();
        let containers = context.containers(env, deployment, &args.services)?;
        let shown: Vec<&Listed> = containers.iter().filter(|it| args.all || it.is_alive()).collect();
        let usages = context.engine()?.with(async |docker| {
            let looks = shown.iter().filter(|it| it.is_alive()).map(|it| async { (&it.id, docker.usage(&it.id).await) });
            futures_util::future::join_all(looks).await
        });
        let mut used = BTreeMap::new();
        for (id, usage) in usages {
            used.insert(id.clone(), usage.map_err(of_engine)?);
        }
        for container in shown {
            let usage = used.remove(&container.id).flatten();
            all.insert(container.id.clone(), (container.name.clone(), usage));
        }
        let dir = context.env_dir(env)?;
        for unit in context.processes(env, deployment, &args.services)? {
            let UnitStatus { unit: id, pid, .. } = &unit;
            let members = inspect::members(env, dir.path(), id, *pid);
            let limit = deployment.and_then(|it| it.service(&id.service)).and_then(|service| service.common.mem_limit);
            let limit = limit.and_then(|limit| u64::try_from(limit).ok());
            if args.all || !members.is_empty() {
                let name = format!("{env}-{}-{}", id.service, id.replica);
                let usage = (!members.is_empty()).then(|| inspect::usage(&members, limit));
                all.insert(pid.map_or_else(|| name.clone(), |pid| pid.to_string()), (name, usage));
            }
        }
        Ok(Self(all))
    }

    fn rows(&self, before: &Sample) -> Vec<Row> {
        let row = |(id, (name, usage)): (&String, &(String, Option<Usage>))| {
            let earlier = before.0.get(id).and_then(|(_, usage)| *usage);
            let cpu = usage.zip(earlier).map_or(0.0, |(usage, earlier)| usage.cpu_percent(&earlier));
            Row { id: id.clone(), name: name.clone(), usage: *usage, cpu }
        };
        let mut rows: Vec<Row> = self.0.iter().map(row).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }
}

impl Row {
    fn memory(&self) -> String {
        let Some(usage) = self.usage else { return format!("{UNKNOWN} / {UNKNOWN}") };
        let limit = usage.limit.map_or_else(|| UNKNOWN.to_owned(), measures::binary);
        format!("{} / {limit}", measures::binary(usage.memory))
    }

    fn traffic(&self, of: impl Fn(&Usage) -> Option<(u64, u64)>) -> String {
        match self.usage.as_ref().and_then(of) {
            Some((one, other)) => format!("{} / {}", measures::decimal(one), measures::decimal(other)),
            None => UNKNOWN.to_owned(),
        }
    }

    fn number(&self, of: impl Fn(&Usage) -> String) -> String {
        self.usage.as_ref().map_or_else(|| UNKNOWN.to_owned(), of)
    }
}

fn objects(rows: &[Row]) -> Vec<serde_json::Value> {
    let object = |row: &Row| {
        json!({
            "BlockIO": row.traffic(|usage| usage.block),
            "CPUPerc": row.number(|_| measures::percent(row.cpu)),
            "Container": row.id,
            "ID": row.id,
            "MemPerc": row.number(|usage| measures::percent(usage.memory_percent())),
            "MemUsage": row.memory(),
            "Name": row.name,
            "NetIO": row.traffic(|usage| usage.network),
            "PIDs": row.number(|usage| usage.pids.to_string()),
        })
    };
    rows.iter().map(object).collect()
}

fn as_table(rows: &[Row], full: bool) -> String {
    let mut table = Table::new(["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]);
    for row in rows {
        let id = if full { row.id.clone() } else { shortened(&row.id, 13).trim_end_matches('…').to_owned() };
        table.row([
            id,
            row.name.clone(),
            row.number(|_| measures::percent(row.cpu)),
            row.memory(),
            row.number(|usage| measures::percent(usage.memory_percent())),
            row.traffic(|usage| usage.network),
            row.traffic(|usage| usage.block),
            row.number(|usage| usage.pids.to_string()),
        ]);
    }
    table.render()
}
