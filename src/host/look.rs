//! An environment without a supervisor, seen from outside: what the machine says that its last one wrote down, once it has looked at
//! the engine. Nothing is taken over, started or written.

use std::collections::VecDeque;
use std::time::Duration;

use indexmap::IndexMap;

use super::dispatch::OWN;
use super::engine::Engine;
use super::run_loop::{HostError, recover};
use crate::base::moment::Moment;
use crate::model::service::Service;
use crate::plan::actual::Query;
use crate::plan::desired::Deployment;
use crate::supervisor::effect::Effect;
use crate::supervisor::event::Event;
use crate::supervisor::notice::Notice;
use crate::supervisor::request::{Reply, Request, Up};
use crate::world::envdir::EnvDir;

/// Up to this age the list of an engine tells how old a life is to the minute; beyond it, to the hour at best.
const TELLING: Duration = Duration::from_secs(3600);

/// Answers what is asked by somebody who only wants to know. `None` when that cannot be answered from outside.
pub fn answer(
    env_dir: &EnvDir,
    environment: &IndexMap<String, String>,
    request: Request,
    mut notice: impl FnMut(Notice),
) -> Result<Option<Reply>, HostError> {
    let mut machine = recover(env_dir)?;
    let lives = machine.lives(TELLING);
    let mut engine = None;
    let mut events = VecDeque::from([Event::Request(OWN, request)]);
    while let Some(event) = events.pop_front() {
        for effect in machine.step(event, Moment(0)) {
            match effect {
                Effect::Observe(number, query) => {
                    let engine = match &mut engine {
                        Some(engine) => engine,
                        none => none.insert(Engine::brief(environment).map_err(HostError::system("start the engine's runtime"))?),
                    };
                    let query = Query { lives: lives.clone(), ..query };
                    events.push_back(Event::Observed(number, engine.observe(env_dir.id(), &query)));
                }
                Effect::Reply(_, reply) => return Ok(Some(reply)),
                Effect::Tell(told) => notice(told),
                // Whoever only looks does nothing.
                _ => {}
            }
        }
    }
    Ok(None)
}

/// What a supervisor would answer to an `up` that finds everything as it is wanted, by the very definition that is in force, and after
/// which it would end at once: then there is none to be started, and nothing to be written down. `None` when there is more to it.
pub fn answer_if_idle(
    env_dir: &EnvDir,
    engine: &Engine,
    up: &Up,
    mut notice: impl FnMut(Notice),
) -> Result<Option<Reply>, HostError> {
    let mut machine = recover(env_dir)?;
    // What was on its way out, or is watched, would go on to be in the eyes of the next supervisor if this one did not say otherwise.
    let is_at_rest =
        machine.is_at_rest() && machine.deployment().is_some_and(|deployment| is_in_force(&up.deployment, deployment));
    if up.attached || !is_at_rest {
        return Ok(None);
    }
    let lives = machine.lives(Duration::MAX);
    let (mut told, mut answer) = (Vec::new(), None);
    let mut events = VecDeque::from([Event::Request(OWN, Request::Up(Box::new(up.clone())))]);
    while let Some(event) = events.pop_front() {
        for effect in machine.step(event, Moment(0)) {
            match effect {
                Effect::Observe(number, query) => {
                    let query = Query { lives: lives.clone(), ..query };
                    let Ok(actual) = engine.observe(env_dir.id(), &query) else { return Ok(None) };
                    events.push_back(Event::Observed(number, Ok(actual)));
                }
                Effect::Reply(_, reply) if is_idle(&reply) => answer = Some(reply),
                Effect::Tell(news) => told.push(news),
                Effect::Persist => {}
                Effect::Exit => {
                    told.into_iter().for_each(&mut notice);
                    return Ok(answer);
                }
                _ => return Ok(None),
            }
        }
    }
    Ok(None)
}

fn is_idle(reply: &Reply) -> bool {
    matches!(reply, Reply::Done { changed: false, warnings } if warnings.is_empty())
}

/// Whether what is wanted is what is in force. What the caller's environment holds beside what has been filled in concerns processes and
/// builds alone.
fn is_in_force(wanted: &Deployment, deployment: &Deployment) -> bool {
    let Deployment { env, stack, caller, places } = deployment;
    let is_built = |service: &Service| service.container().is_some_and(|container| container.build.is_some());
    let inherits = stack.services.values().any(|service| service.is_process() || is_built(service));
    (env, stack, places) == (&wanted.env, &wanted.stack, &wanted.places)
        && caller.ignores_limits == wanted.caller.ignores_limits
        && (!inherits || caller.environment == wanted.caller.environment)
}
