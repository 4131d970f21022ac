//! `graph`: what depends on what, with what it does now.

use super::context::{Context, Missing, Purpose};
use super::{CliError, providers};
use crate::base::exit::Exit;
use crate::base::name::{EnvId, ServiceName};
use crate::model::depends::Condition;
use crate::plan::desired::Deployment;
use crate::supervisor;
use crate::supervisor::request::{Reply, Request};
use crate::supervisor::status::UnitStatus;
use crate::view::graph::{self, Edge, Node};
use crate::view::states::{self, Mood};

/// Flags of `graph`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  baistack graph\n  baistack graph --format dot web | dot -Tsvg > web.svg\n\n\
                        Shows the stack that runs, else the file here.")]
pub struct Args {
    /// Services, with what they depend on [default: all]
    pub services: Vec<ServiceName>,
    /// How it is drawn
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "dot", "mermaid"], default_value = "text")]
    pub format: String,
}

/// Draws the graph.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let deployment = match context.recorded()? {
        Some(deployment) => deployment,
        None => context.load(Purpose::Known, &args.services)?.deployment,
    };
    context.known(&deployment, &args.services)?;
    let states = states(&deployment.env, context)?;
    let selected = supervisor::select(&deployment.stack, &args.services, false);
    let mut nodes: Vec<Node> = selected.iter().map(|name| node(name, &deployment, &states)).collect();
    let provided = context.env_dir(&deployment.env)?.provided().map_err(CliError::failed)?;
    for (name, node) in selected.iter().zip(&mut nodes).filter(|(name, _)| deployment.stack.services[*name].provider().is_some())
    {
        let (state, is_there) = providers::state(provided.get(name));
        node.state = Some((state.to_owned(), if is_there { Mood::Good } else { Mood::Idle }));
    }
    let mask = context.mask(&deployment.env)?;
    for (text, _) in nodes.iter_mut().filter_map(|node| node.state.as_mut()) {
        *text = mask.text(text);
    }
    let drawn = match args.format.as_str() {
        "dot" => graph::dot(&nodes),
        "mermaid" => graph::mermaid(&nodes),
        _ => graph::text(&nodes, context.printer.paint),
    };
    context.printer.data(drawn)?;
    Ok(Exit::Success)
}

fn states(env: &EnvId, context: &Context) -> Result<Vec<UnitStatus>, CliError> {
    match context.answer(env, Request::Status, Missing::IsFine)? {
        Some(Reply::Status(status)) => Ok(status.units),
        None => Ok(Vec::new()),
        other => Err(Context::unexpected(other.as_ref())),
    }
}

fn node(name: &ServiceName, deployment: &Deployment, states: &[UnitStatus]) -> Node {
    let service = deployment.service(name).expect("selected from it");
    let kind = match (service.is_process(), service.is_task()) {
        (true, true) => "task",
        (true, false) => "process",
        (false, _) if service.provider().is_some() => "provider",
        (false, _) => "container",
    };
    let edges = service.common.depends_on.iter().map(|(to, dependency)| Edge {
        to: to.to_string(),
        condition: match dependency.condition {
            Condition::Started => "started",
            Condition::Healthy => "healthy",
            Condition::Completed => "completed",
        },
        optional: !dependency.required,
        restart: dependency.restart,
    });
    let units: Vec<&UnitStatus> = states.iter().filter(|unit| unit.unit.service == *name).collect();
    Node { name: name.to_string(), kind, state: state(&units), edges: edges.collect() }
}

/// Of several replicas the state that needs a look most, and how many are in it.
fn state(units: &[&UnitStatus]) -> Option<(String, Mood)> {
    let gravity = |mood: Mood| match mood {
        Mood::Idle => 0,
        Mood::Good => 1,
        Mood::Busy => 2,
        Mood::Warning => 3,
        Mood::Bad => 4,
    };
    let told: Vec<(String, Mood)> = units.iter().map(|unit| with_health(unit)).collect();
    let (text, mood) = told.iter().max_by_key(|(_, mood)| gravity(*mood))?.clone();
    let same = told.iter().filter(|(other, _)| *other == text).count();
    let text = if units.len() > 1 { format!("{same} of {}: {text}", units.len()) } else { text };
    Some((text, mood))
}

fn with_health(unit: &UnitStatus) -> (String, Mood) {
    let (text, mood) = states::state(unit);
    match unit.health {
        Some(supervisor::status::Health::Unhealthy) => (format!("{text}, unhealthy"), Mood::Warning),
        Some(health) => (format!("{text}, {}", states::health_word(health)), mood),
        None => (text, mood),
    }
}
