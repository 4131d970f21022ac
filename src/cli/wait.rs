//! `wait`: until services have ended, with their code.

use std::thread;

use super::CliError;
use super::context::{Context, Missing};
use super::targets::of_engine;
use crate::base::exit::Exit;
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::control::client::{Client, ClientError};
use crate::control::wire::Told;
use crate::host::attach::{self, AttachError, Env};
use crate::supervisor::notice::Notice;
use crate::supervisor::request::{Down, Reply, Request};
use crate::supervisor::status::{UnitKind, UnitState, UnitStatus};

/// Flags of `wait`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Says how each has ended, in the order in which they end, and exits with the code of the last. A process that is \
                        to be started again has not ended."
)]
pub struct Args {
    /// Services
    #[arg(required = true)]
    pub services: Vec<ServiceName>,
    /// Take everything down afterwards
    #[arg(long)]
    pub down_project: bool,
}

/// Waits for the end of services.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (env, deployment) = context.environment()?;
    let containers = context.containers(&env, deployment.as_ref(), &args.services)?;
    let containers: Vec<_> = containers.into_iter().filter(|it| !it.one_off && it.is_alive()).collect();
    let processes = context.processes(&env, deployment.as_ref(), &args.services)?;
    let mut code = 0;
    let mut ended = |name: &str, how: Result<i32, CliError>| -> Result<(), CliError> {
        code = how?;
        context.printer.line(format!("{name} exited with status code {code}"))?;
        Ok(())
    };
    if containers.is_empty() && processes.iter().all(|unit| end_of(unit).is_some_and(|end| end.is_none())) {
        return Err(CliError::NoEnvironment(format!("none of these services runs in {env}")));
    }
    let (sender, ends) = std::sync::mpsc::channel();
    if !processes.is_empty() {
        let (sender, env, dir) = (sender.clone(), env.clone(), context.env_dir(&env)?);
        let client = match attach::open(&dir)? {
            Env::Alive(client) => Some(*client),
            Env::Dead => None,
        };
        thread::spawn(move || drop(follow(client, &env, processes, |name, how| sender.send((name, how)).is_ok())));
    }
    for container in containers {
        let (sender, engine) = (sender.clone(), context.engine()?);
        thread::spawn(move || {
            let code = engine.with(async |docker| docker.wait(&container.id).await).map_err(of_engine);
            drop(sender.send((format!("container {:?}", container.name), code)));
        });
    }
    drop(sender);
    for (name, how) in ends {
        ended(&name, how)?;
    }
    if args.down_project {
        context.ask(&env, Request::Down(Down::default()), Missing::IsFine)?;
    }
    Ok(if code == 0 { Exit::Success } else { Exit::Passed(u8::try_from(code).unwrap_or(1)) })
}

/// Whether a unit has ended for good, and with which code; none of something that never ran.
#[expect(clippy::option_option, reason = "it has not ended; it is over without a code; it is over with one")]
fn end_of(unit: &UnitStatus) -> Option<Option<i32>> {
    match unit.state {
        UnitState::Exited { code } | UnitState::Stopped { code, .. } => Some(Some(code)),
        UnitState::Succeeded | UnitState::UpToDate => Some(Some(0)),
        UnitState::Failed { .. } => Some(Some(unit.last_exit.filter(|code| *code != 0).unwrap_or(1))),
        UnitState::Absent | UnitState::Created | UnitState::Blocked { .. } => Some(None),
        UnitState::Waiting { .. }
        | UnitState::Preparing
        | UnitState::Removing
        | UnitState::Checking
        | UnitState::Starting
        | UnitState::Running
        | UnitState::Paused
        | UnitState::Stopping
        | UnitState::Scheduled
        | UnitState::BackingOff { .. }
        | UnitState::Unknown => None,
    }
}

/// Tells each end of these processes, as their supervisor tells of it. Without one they have ended.
fn follow(
    client: Option<Client>,
    env: &EnvId,
    units: Vec<UnitStatus>,
    tell: impl Fn(String, Result<i32, CliError>) -> bool,
) -> Result<(), AttachError> {
    let name = |unit: &UnitId| format!("process \"{env}-{}-{}\"", unit.service, unit.replica);
    let mut waiting: Vec<UnitId> = Vec::new();
    let take = |waiting: &mut Vec<UnitId>, unit: &UnitStatus| {
        let Some(end) = end_of(unit) else { return true };
        let known = waiting.iter().position(|id| *id == unit.unit);
        match (known, end) {
            (Some(at), Some(code)) => {
                waiting.remove(at);
                tell(name(&unit.unit), Ok(code))
            }
            (Some(at), None) => {
                waiting.remove(at);
                true
            }
            (None, _) => true,
        }
    };
    waiting.extend(units.iter().map(|unit| unit.unit.clone()));
    let Some(mut client) = client else {
        for unit in &units {
            take(&mut waiting, unit);
        }
        return Ok(());
    };
    // What has changed since the first look is told by this.
    client.voice().send(Request::Status)?;
    while !waiting.is_empty() {
        let told = match client.hear() {
            Ok(told) => told,
            // The processes end with it.
            Err(ClientError::Gone(_)) => {
                for unit in &waiting {
                    tell(name(unit), Ok(1));
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let units = match told {
            Told::Notice(notice) => match *notice {
                Notice::Unit(unit) => vec![*unit],
                _ => continue,
            },
            Told::Reply { reply, .. } => match *reply {
                Reply::Status(status) => status.units,
                _ => continue,
            },
        };
        if !units.iter().filter(|unit| unit.kind != UnitKind::Container).all(|unit| take(&mut waiting, unit)) {
            return Ok(());
        }
    }
    Ok(())
}
