//! `post_start` and `pre_stop`: run on a thread of their own, finished on the loop thread.
//!
//! The thread hands its result over and raises SIGCHLD, which brings the loop to [`super::Native::child_changed`] as the end
//! of a child does. So every answer comes from the loop thread, and a life is never touched by two.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::exec;
use super::stop;
use super::tree::Root;
use crate::model::hook::Hook;
use crate::plan::action::{Incarnation, Outcome, Ticket};
use crate::plan::desired::UnitSpec;
use crate::world::logs::pump::PumpHandle;
use crate::world::proxy;

/// Which hooks.
#[derive(Debug, Clone)]
pub(super) enum Which {
    /// After a start, which is answered with this.
    PostStart(Outcome),
    /// Before a stop.
    PreStop,
}

/// Hooks of one unit, to be run or run.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub which: Which,
    pub ticket: Ticket,
    pub spec: UnitSpec,
    pub incarnation: Incarnation,
    pub root: Root,
    pub timeout: Option<Duration>,
    /// The port that its life has behind a proxy.
    pub port: Option<u16>,
    /// A life that connections went to until now.
    pub leaving: Option<Leaving>,
}

/// A life that a proxy does not forward to any more: what it was given is answered before it is asked to end.
#[derive(Debug, Clone)]
pub(super) struct Leaving {
    pub life: Arc<proxy::Life>,
    pub port: Option<u16>,
}

/// A client that has not heard anything by then is not waited for.
const DRAINING: Duration = Duration::from_secs(1);

/// Both ends of the way back.
#[derive(Debug)]
pub(super) struct Hooks {
    sender: Sender<(Job, Result<(), String>)>,
    finished: Receiver<(Job, Result<(), String>)>,
}

impl Hooks {
    pub(super) fn new() -> Self {
        let (sender, finished) = unbounded();
        Self { sender, finished }
    }

    /// Runs hooks on a new thread. Gives the job back, with the reason, when there cannot be one.
    pub(super) fn run(&self, job: Job, pump: &PumpHandle) {
        let (sender, pump) = (self.sender.clone(), pump.clone());
        let work = {
            let (job, sender) = (job.clone(), sender.clone());
            move || {
                let run = || {
                    let result = exec::run_hooks(&job.spec, job.hooks(), job.root, job.timeout, job.port(), &pump);
                    if let Some(leaving) = &job.leaving {
                        leaving.life.drain(job.timeout.unwrap_or(DRAINING).min(DRAINING));
                    }
                    result
                };
                let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("it panicked".to_owned()));
                finish(&sender, job, result);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("hooks".to_owned()).spawn(work) {
            finish(&sender, job, Err(format!("no thread for it: {error}")));
        }
    }

    /// The next one that has been run.
    pub(super) fn next(&self) -> Option<(Job, Result<(), String>)> {
        self.finished.try_recv().ok()
    }
}

impl Job {
    fn port(&self) -> Option<u16> {
        self.port.or_else(|| self.leaving.as_ref()?.port)
    }

    fn hooks(&self) -> &[Hook] {
        let common = &self.spec.service().common;
        match self.which {
            Which::PostStart(_) => &common.post_start,
            Which::PreStop => &common.pre_stop,
        }
    }
}

fn finish(sender: &Sender<(Job, Result<(), String>)>, job: Job, result: Result<(), String>) {
    // Nobody is left to be told when the engine is gone.
    if sender.send((job, result)).is_ok() {
        let _ = stop::kill(nix::unistd::getpid().as_raw(), libc::SIGCHLD);
    }
}
