//! `wait`: until services have ended, with their code.

use std::sync::mpsc::Sender;
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
use crate::world::docker::Listed;

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
    context.refuse_provided(&env, &args.services, "to wait for")?;
    let containers = context.containers(&env, deployment.as_ref(), &args.services)?;
    // One that has ended already tells its code at once, as in Compose.
    let has_run = |it: &Listed| it.is_alive() || it.state == "exited";
    let containers: Vec<_> = containers.into_iter().filter(|it| !it.one_off && has_run(it)).collect();
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
    let (sender, news) = std::sync::mpsc::channel();
    if !processes.is_empty() {
        let sender = sender.clone();
        let waiting: Vec<UnitId> = processes.into_iter().map(|unit| unit.unit).collect();
        match attach::open(&context.env_dir(&env)?)? {
            Env::Alive(client) => drop(thread::spawn(move || {
                if let Err(error) = follow(*client, waiting, &sender) {
                    // Who waits may have ended with another error.
                    drop(sender.send(News::Lost(error.into())));
                }
            })),
            Env::Dead => drop(sender.send(News::Unheard(waiting))),
        }
    }
    for container in containers {
        let (sender, engine) = (sender.clone(), context.engine()?);
        thread::spawn(move || {
            let code = engine.with(async |docker| docker.wait(&container.id).await).map_err(of_engine);
            drop(sender.send(News::Container(container.name, code)));
        });
    }
    drop(sender);
    for news in news {
        match news {
            News::Process(unit, code) => ended(&process(&env, &unit), Ok(code))?,
            News::Lost(error) => return Err(error),
            News::Container(name, code) => ended(&format!("container {name:?}"), code)?,
            // The processes ended with it or before it, and how stands in what it has left.
            News::Unheard(units) => {
                let left = context.processes(&env, deployment.as_ref(), &args.services)?;
                for unit in left.iter().filter(|unit| units.contains(&unit.unit)) {
                    ended(&process(&env, &unit.unit), Ok(end_of(unit).flatten().unwrap_or(1)))?;
                }
            }
        }
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

/// What is told of those that are waited for.
enum News {
    /// This process has ended with this code.
    Process(UnitId, i32),
    /// This container has.
    Container(String, Result<i32, CliError>),
    /// There is no supervisor that could tell of these processes.
    Unheard(Vec<UnitId>),
    /// The one that there is cannot be understood.
    Lost(CliError),
}

fn process(env: &EnvId, unit: &UnitId) -> String {
    format!("process \"{env}-{}-{}\"", unit.service, unit.replica)
}

/// Tells each end of these processes, as their supervisor tells of it.
fn follow(mut client: Client, mut waiting: Vec<UnitId>, tell: &Sender<News>) -> Result<(), AttachError> {
    // What has changed since the first look is told by this.
    client.voice().send(Request::Status)?;
    while !waiting.is_empty() {
        let told = match client.hear() {
            Ok(told) => told,
            Err(ClientError::Gone(_)) => {
                drop(tell.send(News::Unheard(waiting)));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let units = match told {
            Told::Notice(notice) => match *notice {
                Notice::Unit(unit) | Notice::Found(unit) => vec![*unit],
                _ => continue,
            },
            Told::Reply { reply, .. } => match *reply {
                Reply::Status(status) => status.units,
                _ => continue,
            },
        };
        for unit in units.iter().filter(|unit| unit.kind != UnitKind::Container) {
            let Some(end) = end_of(unit) else { continue };
            let Some(at) = waiting.iter().position(|id| *id == unit.unit) else { continue };
            waiting.remove(at);
            if let Some(code) = end
                && tell.send(News::Process(unit.unit.clone(), code)).is_err()
            {
                return Ok(());
            }
        }
    }
    Ok(())
}
