//! `logs`: history and what follows, of both kinds of service merged by time. Reads files and the engine; needs no supervisor.

use std::sync::{Arc, OnceLock};
use std::thread;

use crossbeam_channel::{Receiver, select};
use regex::bytes::Regex;
use serde_json::json;

use super::CliError;
use super::context::Context;
use super::log_feed::{self, LineWriter};
use super::targets::no_replica;
use super::values::{self, When};
use crate::base::exit::Exit;
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::control::client::Client;
use crate::control::wire::Told;
use crate::host::attach::{self, AttachError, Env};
use crate::host::logs::{Feed, Given, Run, Wanted};
use crate::plan::action::Incarnation;
use crate::plan::desired::Deployment;
use crate::supervisor::event::Event;
use crate::supervisor::request::Request;
use crate::view::json;
use crate::view::log_lines::{LogLines, Prefix, clean};
use crate::view::printer::{PrintError, Printer};
use crate::view::style::Paint;
use crate::view::term;
use crate::world::logs::line::LineRef;
use crate::world::logs::{file, tail};

/// Flags of `logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  baistack logs -f --tail 20        the last lines of each service, and what follows\n  \
                        baistack logs --run last agent    only the present (or last) life\n  baistack logs --since 10m --grep ERROR\n\n\
                        Ctrl-C ends the following and stops nothing.")]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// Replica
    #[arg(long, value_name = "N", requires = "services")]
    pub index: Option<u32>,
    /// Without colours
    #[arg(long)]
    pub no_color: bool,
    /// Do not say which service a line is from
    #[arg(long)]
    pub no_log_prefix: bool,
    /// Not older than a time (2026-01-02T13:23:37Z) or an age (42m)
    #[arg(long, value_name = "TIME", value_parser = values::when)]
    pub since: Option<When>,
    /// Not younger than a time or an age
    #[arg(long, value_name = "TIME", value_parser = values::when)]
    pub until: Option<When>,
    /// The last lines of each service only
    #[arg(short = 'n', long, value_name = "LINES", value_parser = tail, default_value = "all")]
    pub tail: Tail,
    /// Show the time of each line
    #[arg(short, long)]
    pub timestamps: bool,
    /// Only one life of each service: its number from 1, or `last`
    #[arg(long, value_name = "N", value_parser = life)]
    pub run: Option<Run>,
    /// Only lines that match a regular expression
    #[arg(long, value_name = "RE")]
    pub grep: Option<Regex>,
    /// One JSON object a line
    #[arg(long, conflicts_with_all = ["timestamps", "no_log_prefix"])]
    pub json: bool,
}

/// `--tail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail(pub Option<usize>);

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" | "-1" => Ok(Tail(None)),
        _ => text.parse().map(|lines| Tail(Some(lines))).map_err(|_| "expected a number of lines, or `all`".to_owned()),
    }
}

fn life(text: &str) -> Result<Run, String> {
    match (text, text.parse()) {
        ("last", _) => Ok(Run::Last),
        (_, Ok(number)) if number > 0 => Ok(Run::Number(Incarnation(number))),
        _ => Err("expected a number from 1, or `last`".to_owned()),
    }
}

/// Shows logs.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    let dir = context.env_dir(&env)?;
    let deployment = context.deployment(&env)?;
    context.known_in(&env, &args.services)?;
    if deployment.is_none() && !context.exists(&env)? {
        return Err(Context::not_running(&env));
    }
    let wanted = Wanted {
        services: (!args.services.is_empty()).then(|| args.services.clone()),
        replica: args.index,
        tail: args.tail.0,
        since: args.since.map(When::time),
        until: args.until.map(When::time),
        run: args.run,
        follow: args.follow && args.until.is_none(),
    };
    if let (Some(index), Some(deployment)) = (args.index, &deployment) {
        known_replica(&args.services, index, deployment, context)?;
    }
    if let Some(Run::Number(number)) = args.run {
        known_run(&args.services, number, &env, context)?;
    }
    let names =
        deployment.iter().flat_map(|it| it.stack.services.keys()).filter(|name| wanted.has(&UnitId::new((*name).clone(), 1)));
    let broken: Arc<OnceLock<PrintError>> = Arc::default();
    let mut shown = Shown::new(&args, context, names.map(|name| format!("{name}-1")));
    let breaks = Arc::clone(&broken);
    let deliver = move |given: Given<'_>| {
        let printed = match given {
            Given::Line(line) => shown.print(line),
            Given::Pause => shown.flush(),
        };
        let goes_on = printed.is_ok();
        // Nothing is printed after the first failure.
        printed.err().into_iter().for_each(|error| drop(breaks.set(error)));
        goes_on
    };
    let mut feed = Feed::start(&dir, wanted.clone(), deliver).map_err(CliError::failed)?;
    let has_containers =
        deployment.as_ref().is_none_or(|it| it.stack.services.values().any(crate::model::service::Service::needs_engine));
    if has_containers {
        match context.feed_containers(&env, &mut feed) {
            Ok(_) => {}
            // Without a deployment nobody says that there are any.
            Err(_) if deployment.is_none() && dir.exists() => {}
            Err(error) => context.printer.warning(format!("containers are not among them: {error}")),
        }
    }
    feed.all_known();
    if wanted.follow {
        follow(feed, &env, has_containers, context)?;
    } else {
        feed.join().map_err(CliError::failed)?;
    }
    match Arc::into_inner(broken).and_then(OnceLock::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(Exit::Success),
    }
}

/// Refuses a replica that no service named has or ever had: of a process there would be a log, of a container that.
fn known_replica(services: &[ServiceName], index: u32, deployment: &Deployment, context: &Context) -> Result<(), CliError> {
    let env = &deployment.env;
    let mut known: Vec<UnitId> = file::logged(&context.env_dir(env)?.logs());
    let containers = context.containers(env, Some(deployment), services).unwrap_or_default();
    known.extend(containers.into_iter().filter_map(|container| container.unit));
    // One that has written nothing has no log.
    known.extend(context.processes(env, Some(deployment), services)?.into_iter().map(|process| process.unit));
    for (name, service) in deployment.stack.services.iter().filter(|(name, _)| services.contains(name)) {
        known.extend((1..=service.replicas()).map(|replica| UnitId::new(name.clone(), replica)));
    }
    let is_known = |name: &ServiceName| known.contains(&UnitId::new(name.clone(), index));
    match services.first().filter(|_| !services.iter().any(is_known)) {
        Some(first) => Err(no_replica(env, &UnitId::new(first.clone(), index), &known)),
        None => Ok(()),
    }
}

/// Refuses a life that no process named has had. Of containers their engine keeps one log of all.
fn known_run(services: &[ServiceName], number: Incarnation, env: &EnvId, context: &Context) -> Result<(), CliError> {
    let logs = context.env_dir(env)?.logs();
    let mut last = None;
    for unit in file::logged(&logs).into_iter().filter(|unit| services.is_empty() || services.contains(&unit.service)) {
        let path = file::path(&logs, &unit);
        if tail::last_run(&path, Some(number)).map_err(CliError::failed)?.is_some() {
            return Ok(());
        }
        last = last.max(tail::last_run(&path, None).map_err(CliError::failed)?);
    }
    let there = match last {
        Some(Incarnation(last)) => format!("the last one is {last}"),
        None => {
            "they are counted for processes that have written something; of a container `--run last` is the only one to be had"
                .to_owned()
        }
    };
    Err(CliError::NoEnvironment(format!("there is no run {} in the logs of {env}; {there}", number.0)))
}

/// Follows until nothing runs and nothing is to be restarted, over the ends and beginnings of supervisors.
fn follow(mut feed: Feed, env: &EnvId, has_containers: bool, context: &Context) -> Result<(), CliError> {
    let dir = context.env_dir(env)?;
    let mut engine_events: Option<Receiver<Event>> = None;
    while !feed.is_over() {
        if let Env::Alive(client) = attach::open(&dir)? {
            follow_supervisor(*client, &mut feed, context)?;
            continue;
        }
        if !has_containers {
            break;
        }
        // Listened to before the look, so that nothing falls in between.
        let events = match &engine_events {
            Some(events) => events,
            None => engine_events.insert(context.engine()?.watch(env)),
        };
        match context.feed_containers(env, &mut feed) {
            Ok(true) => select! {
                recv(events) -> _ => events.try_iter().for_each(drop),
                recv(feed.ended()) -> _ => {}
            },
            // An engine that is away has nothing to say; nor has anybody else.
            Ok(false) | Err(_) => break,
        }
    }
    feed.finish(false).map_err(CliError::failed)
}

/// As long as a supervisor lives there may be more. It tells which containers there are.
fn follow_supervisor(mut client: Client, feed: &mut Feed, context: &Context) -> Result<(), CliError> {
    client.voice().send(Request::Follow).map_err(AttachError::from)?;
    let (sender, news) = crossbeam_channel::unbounded();
    thread::spawn(move || while client.hear().is_ok_and(|told| sender.send(told).is_ok()) {});
    loop {
        let told = select! {
            recv(news) -> told => told,
            recv(feed.ended()) -> _ => return Ok(()),
        };
        match told {
            Ok(Told::Notice(notice)) => {
                if let Some(unit) = notice.unit() {
                    feed.unit(unit, || context.engine()).map_err(CliError::failed)?;
                }
            }
            Ok(Told::Reply { .. }) => {}
            Err(_) => return Ok(()),
        }
    }
}

/// Draws lines, those that are wanted.
struct Shown {
    writer: LineWriter,
    printer: Printer,
    grep: Option<Regex>,
    json: bool,
    /// What is drawn and not written yet: one write takes many lines.
    drawn: Vec<u8>,
}

/// So much is written at once.
const PIECE: usize = 256 * 1024;

impl Shown {
    fn new(args: &Args, context: &Context, names: impl Iterator<Item = String>) -> Self {
        let paint = if args.no_color { Paint::Off } else { context.printer.paint };
        let prefix = if args.no_log_prefix { Prefix::None } else { Prefix::Name };
        let lines = LogLines::new(paint, prefix, args.timestamps, names);
        // A pattern needs the whole line.
        let shows_open = args.follow && args.grep.is_none() && term::stdout_is_terminal();
        Self {
            writer: LineWriter::new(lines, shows_open),
            printer: context.printer,
            grep: args.grep.clone(),
            json: args.json,
            drawn: Vec::new(),
        }
    }

    fn print(&mut self, line: LineRef<'_>) -> Result<(), PrintError> {
        if self.grep.as_ref().is_some_and(|pattern| !pattern.is_match(line.text)) {
            return Ok(());
        }
        if !self.json {
            self.writer.draw(line, &mut self.drawn);
            return self.flush_much();
        }
        if line.open || !log_feed::is_output(line) {
            return Ok(());
        }
        let object = json!({
            "time": line.time.to_string(),
            "service": line.unit.service,
            "replica": line.unit.replica,
            "stream": line.stream.name(),
            "line": clean(line.text, Paint::Off),
        });
        self.drawn.extend_from_slice(json::line(&object).as_bytes());
        self.flush_much()
    }

    fn flush_much(&mut self) -> Result<(), PrintError> {
        if self.drawn.len() < PIECE { Ok(()) } else { self.flush() }
    }

    /// Writes what has been drawn.
    fn flush(&mut self) -> Result<(), PrintError> {
        if !self.drawn.is_empty() {
            self.printer.data(&self.drawn)?;
            self.drawn.clear();
        }
        Ok(())
    }
}
