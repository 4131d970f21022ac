//! How a command reaches an environment: its supervisor when one lives, its state when none does.

use std::time::Duration;

use indexmap::IndexMap;

use super::run_loop::{HostError, run_once};
use super::spawn::{SWEEP_GRACE, SpawnError, spawn};
use crate::control::client::{Client, ClientError};
use crate::supervisor::notice::Notice;
use crate::supervisor::request::{Reply, Request};
use crate::world::clock;
use crate::world::envdir::{EnvDir, LockError, StateError};
use crate::world::native::sweep;

/// How long a supervisor that holds the lock may take to open its socket.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at a supervisor that holds the lock and does not listen.
const AGAIN: Duration = Duration::from_millis(10);

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

fn sweep_after_death(env_dir: &EnvDir) {
    if !env_dir.exists() {
        return;
    }
    // Whoever else holds the lock by now sweeps for us.
    if let Ok(_lock) = env_dir.try_lock() {
        sweep::sweep(env_dir.id(), env_dir.path(), SWEEP_GRACE);
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
            Env::Dead => {}
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

/// Asks an environment for something that needs no daemon afterwards: by its supervisor, or here when that is dead.
pub fn ask(
    env_dir: &EnvDir,
    environment: &IndexMap<String, String>,
    request: Request,
    mut notice: impl FnMut(Notice) + Send + 'static,
) -> Result<Reply, AttachError> {
    if let Env::Alive(mut client) = find(env_dir)? {
        match client.ask(request.clone(), &mut notice) {
            Ok(reply) => return Ok(reply),
            // It ended between our greeting and our question.
            Err(ClientError::Gone(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let _lock = match env_dir.try_lock() {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => return ask(env_dir, environment, request, notice),
        Err(LockError::State(error)) => return Err(error.into()),
    };
    sweep::sweep(env_dir.id(), env_dir.path(), SWEEP_GRACE);
    Ok(run_once(env_dir.clone(), environment, request, notice)?)
}
