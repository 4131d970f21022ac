//! `plan`: what `up` would do and why, and `--dry-run` of other commands. Nothing is done, nothing is recorded.

use indexmap::IndexMap;

use super::CliError;
use super::context::{Context, Purpose, Ready};
use super::unbuildable::Asked;
use crate::base::exit::Exit;
use crate::base::moment::Moment;
use crate::base::name::{EnvId, ServiceName};
use crate::plan::actual::{Actual, Query};
use crate::plan::desired::{Deployment, UnitSpec};
use crate::plan::provision::Building;
use crate::supervisor::Supervisor;
use crate::supervisor::effect::Effect;
use crate::supervisor::event::{Event, RequestId};
use crate::supervisor::request::{Abort, Request, Up};
use crate::supervisor::snapshot::{Processes, Snapshot};
use crate::view::{json, plan as drawn};
use crate::world::tasks::Tasks;

/// One that a request waits for, one that it asks for itself, and one for what it turns out to need.
const LOOKS: usize = 3;

/// Flags of `plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Assumes that all goes well. Exit codes:\n  0 nothing to do   10 changes   1 it would never come to rest")]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// `text` or `json`
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// How a plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Shows what `up` would do.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    let mut ready = context.load(Purpose::Forecast { strict_ports: false }, &args.services)?;
    context.leave_out_limits_as_before(&mut ready)?;
    let remove_orphans = context.removes_orphans(&ready);
    show(|deployment| Up { services: args.services.clone(), remove_orphans, ..Up::of(deployment) }, ready, args.format, context)
}

/// Shows what an `up` of a stack would do, and what would keep it from beginning.
pub fn show(up: impl FnOnce(Deployment) -> Up, mut ready: Ready, format: Format, context: &Context) -> Result<Exit, CliError> {
    let up = up(ready.deployment.clone());
    let no_start = up.no_start;
    for refusal in &ready.refusals {
        context.printer.warning(format!("`up` would not begin: {refusal}"));
    }
    ready.foreseen_moves().iter().for_each(|moved| context.printer.say(moved.foretold()));
    for problem in context.obstacles(&mut ready, &up.services, &up.scale, !no_start)? {
        context.printer.warning(format!("`up` would not begin: {problem}"));
    }
    let building = match (up.build, up.no_build) {
        (_, true) => Building::Never,
        (true, false) => Building::Anew,
        (false, false) => Building::AsNeeded,
    };
    let pull = up.pull.as_deref().filter(|when| *when != "policy");
    let asked = Asked { services: &up.services, pull, building, no_deps: up.no_deps };
    for problem in context.build_obstacles(&ready, asked)? {
        context.printer.warning(format!("`up` would not begin: {problem}"));
    }
    let up = Up { deployment: ready.deployment.clone(), attached: false, abort: Abort::Never, ..up };
    rehearse(Request::Up(Box::new(up)), &ready.deployment.env, &ready.secrets, format, context)
}

/// Shows what a request would do, and does nothing. `secrets` are values that are not shown, beside those that are kept.
pub fn rehearse(
    request: Request,
    env: &EnvId,
    secrets: &IndexMap<String, String>,
    format: Format,
    context: &Context,
) -> Result<Exit, CliError> {
    let machine = known_machine(env, context)?;
    let actual = match query(&machine, &request) {
        Some(query) => {
            let actual = context.engine()?.observe(env, &query);
            if let Err(fault) = &actual {
                context.printer.warning(format!("{fault}; containers are planned as if there were none"));
            }
            actual.or_else(|_| Ok(Actual::default()))
        }
        None => Ok(Actual::default()),
    };
    let tasks = Tasks::new(context.env_dir(env)?.path(), context.state()?.path());
    // What cannot be looked up now, the start will tell of.
    let assess = |spec: &UnitSpec, trusted, dependency_ran| tasks.foresee(spec, trusted, dependency_ran).ok().flatten();
    let plan = machine.forecast(request, actual, &assess);
    // What is kept, and what an `up` would use instead of it.
    let mut values = context.readable(context.env_dir(env)?.values()).unwrap_or_default();
    values.extend(secrets.clone());
    let mask = context.mask_of(&values);
    let masked = |text: &str| mask.text(text);
    match format {
        Format::Json => context.printer.data(masked(&json::document(&plan)))?,
        Format::Text => {
            plan.warnings.iter().for_each(|warning| context.printer.warning(masked(warning)));
            if plan.is_empty() && plan.stuck.is_empty() {
                context.printer.line(format!("{env}: nothing to do"))?;
            } else {
                context.printer.data(drawn::colored(&masked(&plan.to_string()), context.printer.paint))?;
            }
        }
    }
    Ok(match (plan.stuck.is_empty(), plan.is_empty()) {
        (false, _) => Exit::Failure,
        (true, false) => Exit::Changes,
        (true, true) => Exit::Success,
    })
}

/// The machine as the supervisor last wrote it down, else one that knows nothing.
fn known_machine(env: &EnvId, context: &Context) -> Result<Supervisor, CliError> {
    let dir = context.state()?.env(env);
    let processes = if dir.is_locked() { Processes::Alive } else { Processes::Gone };
    let snapshot: Option<Snapshot> = context.readable(dir.snapshot()).flatten();
    Ok(match snapshot.map(|snapshot| Supervisor::recover(snapshot, processes, 0)) {
        Some(Ok(machine)) => machine,
        Some(Err(error)) => {
            context.printer.warning(format!("{error}; planned as if nothing were known"));
            Supervisor::new(env.clone(), 0)
        }
        None => Supervisor::new(env.clone(), 0),
    })
}

/// What the machine would look at, if anything: all that its first looks are for, since what it asks for next may follow from one.
fn query(machine: &Supervisor, request: &Request) -> Option<Query> {
    let mut machine = machine.clone();
    let mut event = Event::Request(RequestId(0), request.clone());
    let mut all: Option<Query> = None;
    for _ in 0..LOOKS {
        let effects = machine.step(event, Moment(0));
        let look =
            effects.into_iter().find_map(|it| if let Effect::Observe(number, query) = it { Some((number, query)) } else { None });
        let Some((number, query)) = look else { break };
        all.get_or_insert_default().extend(query);
        event = Event::Observed(number, Ok(Actual::default()));
    }
    all
}
