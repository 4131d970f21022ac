//! `why`: what a service waits for, down to the root, with the last probe, the last end and the last lines of its log.

use super::context::{Context, Missing};
use super::{CliError, providers};
use crate::base::exit::Exit;
use crate::base::name::{EnvId, ServiceName};
use crate::supervisor::request::{Reply, Request};
use crate::supervisor::status::{Health, UnitState, UnitStatus, Why};
use crate::view::json;

/// Lines of the log that are shown of what failed.
const LINES: usize = 10;

/// Flags of `why`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes:\n  0 it runs and is ready, or it is a task that is done   1 not   5 no such environment")]
pub struct Args {
    /// Service
    pub service: ServiceName,
    /// `text` or `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    pub format: String,
}

/// Explains a service.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let env = context.env_id()?;
    context.known_in(&env, std::slice::from_ref(&args.service))?;
    if let Some((text, is_there)) = provided(&args.service, &env, context)? {
        let why = Why { units: Vec::new(), chain: vec![text], depths: vec![0] };
        context.printer.data(if args.format == "json" { json::document(&why) } else { self::text(&why, context) })?;
        return Ok(if is_there { Exit::Success } else { Exit::Failure });
    }
    let why = match context.answer(&env, Request::Why { service: args.service.clone() }, Missing::IsAnError)? {
        Some(Reply::Why(why)) => why,
        other => return Err(Context::unexpected(other.as_ref())),
    };
    if args.format == "json" {
        context.printer.data(json::document(&why))?;
    } else {
        context.printer.data(text(&why, context))?;
        for unit in why.units.iter().filter(|unit| !is_ready(unit)) {
            context.show_last_lines(&env, &unit.unit, LINES)?;
        }
    }
    Ok(if !why.units.is_empty() && why.units.iter().all(is_ready) { Exit::Success } else { Exit::Failure })
}

/// How a service is that a provider looks after, in a sentence, and whether it is there.
fn provided(service: &ServiceName, env: &EnvId, context: &Context) -> Result<Option<(String, bool)>, CliError> {
    let Some(deployment) = context.deployment(env)? else { return Ok(None) };
    let Some(provider) = deployment.service(service).and_then(|service| service.provider()) else { return Ok(None) };
    let provided = context.env_dir(env)?.provided().map_err(CliError::failed)?;
    let (state, is_there) = providers::state(provided.get(service));
    let remedy = match provided.get(service) {
        Some(provided) if provided.runs => String::new(),
        Some(_) => format!("; `start {service}` brings it up again"),
        None => format!("; `up {service}` brings it up"),
    };
    Ok(Some((format!("{service}: {state}, by the provider `{}`{remedy}", provider.program), is_there)))
}

fn text(why: &Why, context: &Context) -> String {
    let mut text = String::new();
    // A supervisor of an earlier release tells no depths.
    let depths = why.depths.iter().copied().chain(std::iter::repeat(0));
    for (link, depth) in why.chain.iter().zip(depths) {
        let arrow = if depth == 0 { "" } else { "└ " };
        let line = format!("{}{arrow}{link}\n", "  ".repeat(depth.saturating_sub(1)));
        text.push_str(&if depth == 0 { context.printer.paint.strong(line.trim_end()) + "\n" } else { line });
    }
    for unit in &why.units {
        if let Some(code) = unit.last_exit {
            text.push_str(&format!("{} ended last with {code}\n", unit.unit));
        }
        if let Some(watch) = unit.watch.as_ref().filter(|watch| *watch != "armed") {
            text.push_str(&format!("{} file changes: {watch}\n", unit.unit));
        }
    }
    text
}

fn is_ready(unit: &UnitStatus) -> bool {
    match unit.state {
        UnitState::Running => matches!(unit.health, None | Some(Health::Healthy)),
        UnitState::Scheduled | UnitState::UpToDate | UnitState::Succeeded | UnitState::Exited { code: 0 } => true,
        UnitState::Absent
        | UnitState::Waiting { .. }
        | UnitState::Preparing
        | UnitState::Removing
        | UnitState::Created
        | UnitState::Checking
        | UnitState::Starting
        | UnitState::Paused
        | UnitState::Stopping
        | UnitState::Exited { .. }
        | UnitState::Stopped { .. }
        | UnitState::BackingOff { .. }
        | UnitState::Failed { .. }
        | UnitState::Blocked { .. }
        | UnitState::Unknown => false,
    }
}
