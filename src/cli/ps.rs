//! `ps`: every wanted service in any state. Works without a supervisor too.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Value, json};

use super::CliError;
use super::context::{Context, Missing};
use super::mask::Mask;
use super::providers;
use crate::base::duration;
use crate::base::exit::Exit;
use crate::base::name::{ServiceName, UnitId};
use crate::model::port::PublishedPort;
use crate::plan::desired::Deployment;
use crate::supervisor::request::{Reply, Request};
use crate::supervisor::status::{Status, UnitKind, UnitState, UnitStatus};
use crate::view::format::{Format, LABEL_FIELD};
use crate::view::states::{self, Mood};
use crate::view::table::{Table, shortened};
use crate::view::{ports, term};
use crate::world::clock;
use crate::world::docker::Listed;
use crate::world::provider::Provided;

/// Flags of `ps`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Compose's columns come first, then KIND, STATE with its reason, HEALTH, the PID or container, RESTARTS.\n\
                        Exit 0 also when nothing runs."
)]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// Services that nobody asked for, and one-off containers (of `run`), too
    #[arg(short, long)]
    pub all: bool,
    /// `table`, `json` (one object a line), a Go template for each, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    /// Container ids and names of processes only
    #[arg(short, long)]
    pub quiet: bool,
    /// Names of services only
    #[arg(long = "services", id = "services only")]
    pub services_only: bool,
    /// Only what is in this state
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    pub status: Vec<String>,
    /// `status=STATE`
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter)]
    pub filter: Option<String>,
    /// Do not shorten
    #[arg(long)]
    pub no_trunc: bool,
    /// Containers of services that the stack does not have too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    pub orphans: bool,
}

/// What stands over columns that are called otherwise than their field.
const HEADS: [(&str, &str); 3] = [("ID", "CONTAINER ID"), ("CreatedAt", "CREATED AT"), ("RunningFor", "CREATED")];

/// As wide as docker/cli shows a command, and a mount.
const COMMAND_WIDTH: usize = 20;
const MOUNT_WIDTH: usize = 15;
/// A reason is for `why`: where the line of a terminal has no room for all of it, its beginning is shown, and so much in any case.
const LEAST_STATE: usize = 16;

const STATES: [&str; 7] = ["created", "dead", "exited", "paused", "removing", "restarting", "running"];

fn filter(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("status", state)) if STATES.contains(&state) => Ok(state.to_owned()),
        _ => Err(format!("expected status=STATE with one of {}", STATES.join(", "))),
    }
}

/// Prints the states.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    let status = match context.answer(&env, Request::Status, Missing::IsFine)? {
        Some(Reply::Status(status)) => *status,
        None => Status { env: env.clone(), units: Vec::new(), engine_away: None },
        other => return Err(Context::unexpected(other.as_ref())),
    };
    let deployment = context.deployment(&env)?;
    if let Some(reason) = &status.engine_away {
        context.printer.warning(reason);
    }
    let known = |name: &ServiceName| deployment.as_ref().is_some_and(|deployment| deployment.service(name).is_some());
    context.known_in(&env, &args.services)?;
    let listed = listed(&status, context)?;
    let is_one_off = |id: &String| listed.iter().any(|container| container.one_off && container.id == *id);
    let mask = context.mask(&env)?;
    let provided = context.env_dir(&env)?.provided().map_err(CliError::failed)?;
    let provided: Vec<(UnitStatus, &Provided)> =
        provided.iter().map(|(name, provided)| (of_provider(name, provided), provided)).collect();
    let mut units: Vec<(&UnitStatus, Option<&Provided>)> = status.units.iter().map(|unit| (unit, None)).collect();
    units.extend(provided.iter().map(|(unit, provided)| (unit, Some(*provided))));
    units.sort_by(|(a, _), (b, _)| a.unit.cmp(&b.unit));
    let rows: Vec<Row<'_>> = (units.into_iter())
        .filter(|(unit, _)| args.services.is_empty() || args.services.contains(&unit.unit.service))
        .filter(|(unit, _)| args.all || unit.removed || unit.state != UnitState::Absent)
        .filter(|(unit, _)| args.orphans || known(&unit.unit.service))
        .filter(|(unit, _)| args.all || !unit.container.as_ref().is_some_and(is_one_off))
        .filter(|(unit, _)| {
            let mut wanted = args.status.iter().chain(&args.filter).peekable();
            wanted.peek().is_none() || wanted.any(|state| state == states::docker_word(unit))
        })
        .map(|(unit, provided)| {
            if let Some(provided) = provided {
                return Row::new(unit, deployment.as_ref(), &status, &mask).looked_after(provided);
            }
            let container = listed.iter().find(|container| Some(&container.id) == unit.container.as_ref());
            let row = Row::new(unit, deployment.as_ref(), &status, &mask).made_of(container, &mask);
            row.called(container.filter(|_| !known(&unit.unit.service)))
        })
        .collect();
    if args.services_only {
        let mut names: Vec<&str> = rows.iter().map(|row| row.status.unit.service.as_str()).collect();
        names.dedup();
        names.iter().try_for_each(|name| context.printer.line(name))?;
    } else if args.quiet {
        // There is nothing of what a provider looks after that such a name would stand for.
        let there = rows.iter().filter(|row| !row.status.removed && row.provided.is_none());
        there.map(|row| row.status.container.as_ref().unwrap_or(&row.name)).try_for_each(|id| context.printer.line(id))?;
    } else {
        let usual = || table(&rows, args.no_trunc, context);
        let objects = || rows.iter().map(|row| row.object(&mask, args.no_trunc)).collect();
        context.printer.data(args.format.draw(usual, &HEADS, objects).map_err(CliError::format)?)?;
    }
    Ok(Exit::Success)
}

/// How a service is that a provider looks after, as far as is known here.
fn of_provider(name: &ServiceName, provided: &Provided) -> UnitStatus {
    UnitStatus {
        unit: UnitId::new(name.clone(), 1),
        kind: UnitKind::Container,
        state: if provided.runs { UnitState::Running } else { UnitState::Stopped { code: 0, killed: false } },
        since_ms: None,
        health: None,
        probe_output: None,
        pid: None,
        container: None,
        removed: false,
        one_off: false,
        restarts: 0,
        last_exit: None,
        reload: None,
        watch: None,
        schedule: None,
    }
}

/// Containers as their engine knows them: only it knows what they are made of, and what those are called that no service of the
/// stack explains.
fn listed(status: &Status, context: &Context) -> Result<Vec<Listed>, CliError> {
    if status.units.iter().all(|unit| unit.container.is_none()) {
        return Ok(Vec::new());
    }
    // An engine that is away has been told of.
    Ok(context.engine()?.with(async |docker| docker.list(&status.env).await).unwrap_or_default())
}

struct Row<'a> {
    status: &'a UnitStatus,
    /// What is there of one that a provider looks after.
    provided: Option<&'static str>,
    project: &'a str,
    name: String,
    service: String,
    image: String,
    command: String,
    ports: Vec<PublishedPort>,
    labels: IndexMap<String, String>,
    mounts: Vec<String>,
    local_volumes: usize,
    networks: Vec<String>,
    /// When the container was made, or the process that runs; none where nobody knows.
    created: Option<SystemTime>,
}

/// A port as Compose's JSON has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Publisher {
    #[serde(rename = "URL")]
    url: String,
    target_port: u16,
    published_port: u16,
    protocol: String,
}

impl<'a> Row<'a> {
    fn new(unit: &'a UnitStatus, deployment: Option<&'a Deployment>, status: &'a Status, mask: &Mask) -> Self {
        let id = &unit.unit;
        let service = deployment.and_then(|deployment| deployment.service(&id.service));
        let name = match deployment {
            // A copy that `run` made is no replica.
            _ if unit.one_off => format!("{}-{}", status.env, id.service),
            Some(deployment) => deployment.container_name(id),
            None => format!("{}-{}-{}", status.env, id.service, id.replica),
        };
        let argv = service.map(|service| match (service.process(), service.container()) {
            (Some(process), _) => {
                process.command.as_ref().map(|command| command.argv(process.shell.as_deref())).unwrap_or_default()
            }
            (None, container) => container.and_then(|container| container.command.clone()).unwrap_or_default(),
        });
        Self {
            status: unit,
            provided: None,
            project: status.env.as_str(),
            name,
            service: id.service.to_string(),
            image: deployment.and_then(|deployment| deployment.image_of(&id.service)).unwrap_or_default(),
            command: mask.text(&argv.unwrap_or_default().join(" ")),
            ports: service.map(|service| ports::described(&service.common.ports, unit.kind)).unwrap_or_default(),
            labels: service.map(|service| service.common.labels.clone()).unwrap_or_default(),
            mounts: Vec::new(),
            local_volumes: 0,
            networks: Vec::new(),
            created: unit.pid.and(unit.since_ms).and_then(|ms| clock::wall().checked_sub(Duration::from_millis(ms))),
        }
    }

    /// What runs may be of another image than the files name by now; one that has lost its name is shown by its id, as in Docker.
    fn made_of(mut self, container: Option<&Listed>, mask: &Mask) -> Self {
        if let Some(container) = container {
            // With what its image brings along.
            self.command = mask.text(&container.command);
            self.mounts.clone_from(&container.mounts);
            self.local_volumes = container.local_volumes;
            self.networks.clone_from(&container.networks);
            let id = container.image.strip_prefix("sha256:").map(|id| id.get(..12).unwrap_or(id).to_owned());
            self.image = id.unwrap_or_else(|| container.image.clone());
            // What is published by now: the engine may have picked it. One that does not run publishes nothing.
            self.ports.clone_from(&container.ports);
            self.labels = container.labels.clone().into_iter().collect();
            let created = u64::try_from(container.created).ok().filter(|seconds| *seconds > 0);
            self.created = created.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        }
        self
    }

    /// Of one that a provider looks after: whatever it is, it is no container.
    fn looked_after(mut self, provided: &Provided) -> Self {
        self.command.clone_from(&provided.provider.program);
        self.provided = Some(providers::state(Some(provided)).0);
        self
    }

    fn kind(&self) -> &'static str {
        if self.provided.is_some() { "provider" } else { states::kind_word(self.status.kind) }
    }

    fn state(&self) -> (String, Mood) {
        let (text, mood) = states::state(self.status);
        (self.provided.map_or(text, str::to_owned), mood)
    }

    /// Of a container that no service explains, only its engine knows what it is called. Those that `run` made are no replicas, and
    /// shown with `--all` alone, as in Compose.
    fn called(mut self, stranger: Option<&Listed>) -> Self {
        if let Some(stranger) = stranger {
            self.name = stranger.name.clone();
            self.service = stranger.unit.as_ref().map_or(self.service, |unit| unit.service.to_string());
        }
        self
    }

    fn quoted_command(&self) -> String {
        if self.command.is_empty() { String::new() } else { format!("\"{}\"", self.command) }
    }

    /// `5 minutes ago`, as Docker says how old a container is.
    fn running_for(&self) -> String {
        let age = self.created.map(|created| clock::wall().duration_since(created).unwrap_or_default());
        age.map(|age| format!("{} ago", duration::human(age))).unwrap_or_default()
    }

    /// Compose's fields first, ours at the end.
    fn object(&self, mask: &Mask, full: bool) -> Value {
        let unit = self.status;
        let short = |text: &str, width| if full { text.to_owned() } else { shortened(text, width) };
        let id = unit.container.as_deref().map(|id| if full { id } else { short_id(id) });
        let publishers: Vec<Publisher> = (self.ports.iter())
            .map(|port| Publisher {
                url: if unit.kind != UnitKind::Container && port.host_ip.is_empty() {
                    "0.0.0.0".to_owned()
                } else {
                    port.host_ip.clone()
                },
                target_port: port.target,
                published_port: ports::host_port(port, unit.kind).unwrap_or(0),
                protocol: port.protocol.clone(),
            })
            .collect();
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        json!({
            "Command": short(&self.quoted_command(), COMMAND_WIDTH),
            "CreatedAt": self.created.map(moment).unwrap_or_default(),
            "Engine": "",
            "ExitCode": unit.last_exit.unwrap_or(0),
            "Health": unit.health.map(states::health_word).unwrap_or_default(),
            "ID": id.unwrap_or_default(),
            "Image": self.image,
            "Labels": mask.text(&labels.join(",")),
            "LocalVolumes": self.local_volumes.to_string(),
            "Mounts": self.mounts.iter().map(|mount| short(mount, MOUNT_WIDTH)).collect::<Vec<_>>().join(","),
            "Name": self.name,
            "Names": self.name,
            "Networks": self.networks.join(","),
            "Ports": ports::listed(&self.ports, unit.kind),
            "Project": self.project,
            "Publishers": publishers,
            "RunningFor": self.running_for(),
            "Service": self.service,
            "Size": "0B",
            "State": states::docker_word(unit),
            "Status": states::docker_status(unit),
            "Kind": self.kind(),
            "Replica": unit.unit.replica,
            "Detail": self.state().0,
            "Is": unit.state,
            "SinceMs": unit.since_ms,
            "Pid": unit.pid,
            "Restarts": unit.restarts,
            "Watch": unit.watch,
            "Schedule": unit.schedule,
            (LABEL_FIELD): self.labels.iter().map(|(name, value)| (name, mask.text(value))).collect::<IndexMap<_, _>>(),
        })
    }
}

/// An id as people write it, and Compose's JSON.
fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// As Go writes a time, which Compose prints: `2026-01-02 13:23:37 +0000 UTC`.
fn moment(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    format!("{} +0000 UTC", text.trim_end_matches('Z').replace('T', " "))
}

fn table(rows: &[Row<'_>], full: bool, context: &Context) -> String {
    let paint = context.printer.paint;
    let mut table = Table::new([
        "NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS", "KIND", "STATE", "HEALTH", "PID/ID", "RESTARTS",
    ]);
    for row in rows {
        let unit = row.status;
        let (state, mood) = row.state();
        let mood = if unit.health == Some(crate::supervisor::status::Health::Unhealthy) { Mood::Warning } else { mood };
        let short = |text: &str, width| if full { text.to_owned() } else { shortened(text, width) };
        let id = match (&unit.container, unit.pid) {
            (Some(id), _) if full => id.clone(),
            (Some(id), _) => short_id(id).to_owned(),
            (None, Some(pid)) => pid.to_string(),
            (None, None) => String::new(),
        };
        table.row([
            row.name.clone(),
            row.image.clone(),
            short(&row.quoted_command(), COMMAND_WIDTH),
            row.service.clone(),
            row.running_for(),
            states::docker_status(unit),
            ports::listed(&row.ports, unit.kind),
            row.kind().to_owned(),
            states::in_mood(&state, mood, paint),
            unit.health.map(states::health_word).unwrap_or_default().to_owned(),
            id,
            unit.restarts.to_string(),
        ]);
    }
    // Only a line on a screen has an end.
    if let Some((columns, _)) = term::stdout_size().filter(|_| !full) {
        table.fit("STATE", columns.into(), LEAST_STATE);
    }
    table.render()
}
