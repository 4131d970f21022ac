//! `top`: the processes of running services.

use serde_json::{Map, Value};

use super::CliError;
use super::context::Context;
use super::targets::of_engine;
use crate::base::exit::Exit;
use crate::base::name::{ServiceName, UnitId};
use crate::view::json;
use crate::view::table::Table;
use crate::world::native::inspect;

/// Flags of `top`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Of containers their engine tells, as `ps -ef` on its host; of processes the kernel, with all that they have \
                        started."
)]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// `table` or `json`, one object a line
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    pub format: String,
}

/// Shows processes.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (env, deployment) = context.environment()?;
    let mut shown = Shown::default();
    let containers = context.containers(&env, deployment.as_ref(), &args.services)?;
    // One between two lives has no processes.
    for container in containers.iter().filter(|it| it.is_alive() && it.state != "restarting") {
        let Some(unit) = &container.unit else { continue };
        let top = context.engine()?.with(async |docker| docker.top(&container.id).await).map_err(of_engine)?;
        for process in top.processes {
            shown.add(unit, &top.titles, process);
        }
    }
    let titles = inspect::TITLES.map(str::to_owned);
    let dir = context.env_dir(&env)?;
    for process in context.processes(&env, deployment.as_ref(), &args.services)? {
        let members = inspect::members(&env, dir.path(), &process.unit, process.pid);
        for row in members.into_iter().filter_map(inspect::row) {
            shown.add(&process.unit, &titles, row.to_vec());
        }
    }
    let mask = context.mask(&env)?;
    shown.rows.iter_mut().flatten().for_each(|cell| *cell = mask.text(cell));
    if args.format == "json" {
        context.printer.data(shown.objects().iter().map(json::line).collect::<String>())?;
    } else {
        context.printer.data(Table::of(shown.titles, shown.rows).render())?;
    }
    Ok(Exit::Success)
}

/// One table of all, whichever columns each of them has.
struct Shown {
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Default for Shown {
    fn default() -> Self {
        Self { titles: vec!["SERVICE".to_owned(), "#".to_owned()], rows: Vec::new() }
    }
}

impl Shown {
    fn add(&mut self, unit: &UnitId, titles: &[String], process: Vec<String>) {
        let mut row = vec![String::new(); self.titles.len()];
        (row[0], row[1]) = (unit.service.to_string(), unit.replica.to_string());
        for (title, cell) in titles.iter().zip(process) {
            let at = self.titles.iter().position(|known| known == title).unwrap_or_else(|| {
                self.titles.push(title.clone());
                self.titles.len() - 1
            });
            row.resize(self.titles.len(), String::new());
            row[at] = cell;
        }
        self.rows.push(row);
    }

    fn objects(&self) -> Vec<Value> {
        let of_row = |row: &Vec<String>| {
            let cells = self.titles.iter().zip(row).map(|(title, cell)| (title.clone(), Value::from(cell.clone())));
            Value::Object(cells.collect::<Map<_, _>>())
        };
        self.rows.iter().map(of_row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_other_columns_gets_them_in_the_same_table() {
        let titles = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let mut shown = Shown::default();
        shown.add(&"web:1".parse().unwrap(), &titles(&["PID", "CMD"]), titles(&["7", "sleep"]));
        shown.add(&"db:2".parse().unwrap(), &titles(&["UID", "PID"]), titles(&["root", "8"]));
        let text = Table::of(shown.titles.clone(), shown.rows.clone()).render();
        assert_eq!(text, "SERVICE   #   PID   CMD     UID\nweb       1   7     sleep\ndb        2   8             root\n");
        assert_eq!(shown.objects()[0]["CMD"], "sleep");
    }
}
