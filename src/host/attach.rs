//! How a command reaches an environment: its supervisor when one lives, its state when none does.

use std::time::Duration;

use indexmap::IndexMap;

use super::engine::Engine;
use super::look;
use super::run_loop::{HostError, run_once};
use super::spawn::{SWEEP_GRACE, SpawnError, spawn};
use crate::control::client::{Client, ClientError, Voice};
use crate::model::service::Service;
use crate::supervisor::notice::Notice;
use crate::supervisor::request::{Reply, Request, Up};
use crate::world::clock;
use crate::world::envdir::{EnvDir, LockError, StateError};
use crate::world::native::sweep;

/// How long a supervisor that holds the lock may take to open its socket.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at a supervisor that holds the lock and does not listen.
const AGAIN: Duration = Duration::from_millis(10);

/// How long a supervisor that lost its state may take to stop its services in order.
const LOST_GRACE: Duration = Duration::from_secs(30);

/// How many supervisors that listened, and were gone when we came, one command starts.
const ATTEMPTS: usize = 3;

/// Why an environment cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Talking to its supervisor.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Starting one.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Its state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// Being one.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It lives and does not answer.
    #[error("the supervisor (process {pid}) holds the environment and does not answer; `kill {pid}` ends it and its processes")]
    Deaf {
        /// Its process.
        pid: String,
    },
}

/// An environment as found.
pub enum Env {
    /// Its supervisor listens.
    Alive(Box<Client>),
    /// No supervisor lives.
    Dead,
}

/// The supervisor of an environment. Where none lives, what a supervisor and its guard left that were killed together is ended:
/// the first command that comes by does so.
pub fn open(env_dir: &EnvDir) -> Result<Env, AttachError> {
    let found = find(env_dir)?;
    if matches!(found, Env::Dead) {
        sweep_after_death(env_dir);
    }
    Ok(found)
}

/// Looks for the supervisor, and waits for one that is just coming up or going down. For those who take the environment over
/// when there is none: they sweep then.
fn find(env_dir: &EnvDir) -> Result<Env, AttachError> {
    let deadline = clock::deadline(PATIENCE);
    loop {
        match Client::connect(&env_dir.socket()) {
            Ok(client) => return Ok(Env::Alive(Box::new(client))),
            Err(ClientError::Nobody { .. } | ClientError::Gone(_)) if !env_dir.is_locked() => return Ok(Env::Dead),
            Err(ClientError::Nobody { .. } | ClientError::Gone(_)) if clock::is_past(deadline) => {
                let pid = env_dir.holder().map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
                return Err(AttachError::Deaf { pid });
            }
            // It is coming up or going down; there is no event for a socket that is not there yet.
            Err(ClientError::Nobody { .. } | ClientError::Gone(_)) => std::thread::park_timeout(AGAIN),
            Err(error @ ClientError::Version { .. }) => return Err(error.into()),
        }
    }
}

/// Ends a supervisor whose state was deleted behind its back: the environment is taken over by whoever comes now.
fn end_lost_supervisor(env_dir: &EnvDir) {
    // Whoever has locked it since then has seen to that.
    if !env_dir.was_ever_locked() {
        sweep::end_lost_supervisors(env_dir.id(), env_dir.path(), LOST_GRACE);
    }
}

/// A supervisor that ended in order has left nothing, and says so in its lock.
fn sweep_after_death(env_dir: &EnvDir) {
    if !env_dir.was_abandoned() {
        return;
    }
    // Whoever else holds the lock by now sweeps for us.
    if let Ok(lock) = env_dir.try_lock()
        && sweep::sweep(env_dir.id(), env_dir.path(), SWEEP_GRACE).left.is_empty()
    {
        // If it cannot be written, the next command looks again.
        let _ = lock.settled();
    }
}

/// The supervisor of an environment; one is started when none lives.
pub fn open_or_spawn(env_dir: &EnvDir) -> Result<Client, AttachError> {
    env_dir.create()?;
    let mut started = 0;
    loop {
        match find(env_dir)? {
            // What was started in it would end with it.
            Env::Alive(client) if client.passing => {
                client.outlive();
                continue;
            }
            Env::Alive(client) => return Ok(*client),
            Env::Dead => end_lost_supervisor(env_dir),
        }
        if started == ATTEMPTS {
            return Err(SpawnError::Ended { log: "it ended again and again".to_owned() }.into());
        }
        match spawn(env_dir) {
            Ok(()) => started += 1,
            // Another `up` was faster, or a command that looks after what is left of a dead supervisor: `find` waits for either.
            Err(SpawnError::Held) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Told of the connection on which a request has been sent.
pub type Sent<'a> = &'a dyn Fn(&Voice);

/// Sends a request, and waits for its answer.
pub fn put(client: &mut Client, request: Request, sent: Sent<'_>, notice: impl FnMut(Notice)) -> Result<Reply, ClientError> {
    let asked = client.voice().send(request)?;
    sent(&client.voice());
    client.answer(asked, notice)
}

/// What a supervisor answers; none where none lives, or lives any more.
fn answer_of(
    found: Env,
    request: &Request,
    sent: Sent<'_>,
    notice: &mut impl FnMut(Notice),
) -> Result<Option<Reply>, AttachError> {
    let Env::Alive(mut client) = found else { return Ok(None) };
    match put(&mut client, request.clone(), sent, notice) {
        Ok(reply) => Ok(Some(reply)),
        // It ended between our greeting and our question.
        Err(ClientError::Gone(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks an environment for what somebody only wants to know: by its supervisor, or from outside when that is dead.
pub fn look(
    env_dir: &EnvDir,
    environment: &IndexMap<String, String>,
    request: Request,
    mut notice: impl FnMut(Notice) + Send + 'static,
) -> Result<Reply, AttachError> {
    if let Some(reply) = answer_of(open(env_dir)?, &request, &|_| (), &mut notice)? {
        return Ok(reply);
    }
    match look::answer(env_dir, environment, request.clone(), &mut notice)? {
        Some(reply) => Ok(reply),
        None => ask(env_dir, environment, request, &|_| (), notice),
    }
}

/// The answer to an `up` that finds nothing to do and needs nobody to look after anything; `None` when a supervisor has to see to it.
pub fn answer_if_idle(
    env_dir: &EnvDir,
    engine: &Engine,
    up: &Up,
    notice: impl FnMut(Notice),
) -> Result<Option<Reply>, AttachError> {
    // A dead one that left something behind is a case for the next.
    if env_dir.is_locked() || env_dir.was_abandoned() {
        return Ok(None);
    }
    Ok(look::answer_if_idle(env_dir, engine, up, notice)?)
}

/// Asks an environment for something that needs no daemon afterwards: by its supervisor, or here when that is dead.
pub fn ask(
    env_dir: &EnvDir,
    environment: &IndexMap<String, String>,
    request: Request,
    sent: Sent<'_>,
    mut notice: impl FnMut(Notice) + Send + 'static,
) -> Result<Reply, AttachError> {
    if let Some(reply) = answer_of(find(env_dir)?, &request, sent, &mut notice)? {
        return Ok(reply);
    }
    end_lost_supervisor(env_dir);
    let lock = match env_dir.try_lock() {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => return ask(env_dir, environment, request, sent, notice),
        Err(LockError::State(error)) => return Err(error.into()),
    };
    // A supervisor that ended in order leaves nothing, but what runs beside one (`exec`, `run`) may have lost its command.
    let has_processes =
        || env_dir.deployment().ok().flatten().is_none_or(|it| it.stack.services.values().any(Service::is_process));
    let is_swept = if lock.was_abandoned() || has_processes() {
        sweep::sweep(env_dir.id(), env_dir.path(), SWEEP_GRACE).left.is_empty()
    } else {
        true
    };
    let reply = run_once(env_dir.clone(), environment, request, notice)?;
    if is_swept {
        // If it cannot be written, the next command looks again.
        let _ = lock.settled();
    }
    Ok(reply)
}
