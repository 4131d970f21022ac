//! The loop: wait for something to happen, step the machine, hand out what it asks for, until it asks to end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use indexmap::IndexMap;

use super::dispatch::{Answers, Edges, Here, OWN};
use crate::base::moment::Moment;
use crate::control::attach;
use crate::control::server::{self, Hub};
use crate::plan::action::{Action, Ticket};
use crate::plan::desired::Deployment;
use crate::supervisor::Supervisor;
use crate::supervisor::effect::Effect;
use crate::supervisor::event::Event;
use crate::supervisor::notice::Notice;
use crate::supervisor::request::{Reply, Request};
use crate::supervisor::snapshot::{Processes, Snapshot};
use crate::world::clock::{self, Clock};
use crate::world::envdir::{EnvDir, StateError};
use crate::world::kernel::code;
use crate::world::signals::{self, Signal};

/// Why a supervisor could not begin.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Its state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// A signal ended it before it had an answer.
    #[error("it was broken off; the same command goes on with it")]
    BrokenOff,
    /// Something of the operating system.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// In the system's words.
        source: io::Error,
    },
}

impl HostError {
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// So long what the machine knows is not written down again, unless somebody waits for it: while many start, or end, it would be
/// written, and put in the place of another, for each.
const BETWEEN_SNAPSHOTS: Duration = Duration::from_millis(50);

/// A message to the loop: an event, or what only the native engine, which is the loop's own, can make one of.
#[derive(Debug)]
enum Woken {
    Event(Event),
    /// A child has changed.
    Child,
    /// An action had to wait and may be done now.
    Ready(Ticket, Action),
}

/// A running supervisor: its machine and its edges.
pub struct Host {
    machine: Supervisor,
    edges: Edges,
    clock: Clock,
    events: Receiver<Event>,
    /// One that was taken from there too early.
    next: Option<Event>,
    children: Receiver<()>,
    ready: Receiver<(Ticket, Action)>,
    env_dir: EnvDir,
    /// The snapshot is older than the machine.
    is_stale: bool,
    /// No snapshot is written before that, unless somebody has an answer.
    next_snapshot: Instant,
    /// The deployment that `stack.json` holds; the outer one is none before anything has been written.
    recorded: Option<Option<Arc<Deployment>>>,
    _signals: signals::Listener,
}

impl Host {
    /// Recovers what was, begins to listen to signals and to the engine. The caller holds the environment's lock; leftovers of
    /// an earlier supervisor have been swept away.
    pub fn begin(env_dir: EnvDir, environment: &IndexMap<String, String>, answers: Answers) -> Result<Self, HostError> {
        let (sender, events) = crossbeam_channel::unbounded();
        let (woken, children) = crossbeam_channel::unbounded();
        let (waited, ready) = crossbeam_channel::unbounded();
        let terminate = sender.clone();
        let listener = signals::listen(&[Signal::Child, Signal::Terminate, Signal::Interrupt, Signal::Hangup], move |signal| {
            // When the loop has ended there is nobody to tell.
            let _ = match signal {
                Signal::Child => woken.send(()).is_ok(),
                Signal::Terminate | Signal::Interrupt | Signal::Hangup => terminate.send(Event::Terminate).is_ok(),
                Signal::Resized | Signal::Continued => true,
            };
        })
        .map_err(HostError::system("listen to signals"))?;
        let edges = Edges::new(&env_dir, environment, sender, waited, answers)?;
        let machine = recover(&env_dir)?;
        let (clock, recorded) = (Clock::start(), None);
        let (is_stale, next_snapshot) = (false, clock::deadline(Duration::ZERO));
        Ok(Self {
            machine,
            edges,
            clock,
            events,
            next: None,
            children,
            ready,
            env_dir,
            is_stale,
            next_snapshot,
            recorded,
            _signals: listener,
        })
    }

    /// Opens the control socket and serves it.
    pub fn listen(&mut self) -> Result<(), HostError> {
        let listener = server::bind(&self.env_dir.socket()).map_err(HostError::system("bind the control socket"))?;
        let consoles = server::bind(&attach::socket_beside(&self.env_dir.socket()));
        consoles.and_then(|consoles| self.edges.serve_consoles(consoles)).map_err(HostError::system("serve those who attach"))?;
        self.edges.serve(listener);
        Ok(())
    }

    /// Where requests of this process itself are put.
    pub fn sender(&self) -> Sender<Event> {
        self.edges.events()
    }

    /// Runs until the machine asks to end.
    pub fn run(mut self) {
        // Nobody may ever ask: then there is nothing to supervise.
        let patience = clock::deadline(Duration::from_secs(30));
        let mut asked = false;
        // The code of the start is still in memory, and has done its work.
        let (mut is_fresh, mut is_started) = (true, false);
        loop {
            let woken = self.wait(asked, patience);
            let now = self.clock.now();
            let events = match woken {
                Some(Woken::Child) => {
                    self.edges.native().child_changed();
                    continue;
                }
                Some(Woken::Ready(ticket, action)) => {
                    self.edges.carry_out_on_process(ticket, &action);
                    continue;
                }
                Some(Woken::Event(event)) => self.with_what_came_meanwhile(event),
                None if !asked && clock::is_past(patience) => break,
                None => vec![Event::Tick],
            };
            asked |= events.iter().any(|event| matches!(event, Event::Request(..) | Event::Terminate));
            let effects = self.machine.steps(events, now);
            self.is_stale |= effects.iter().any(|effect| matches!(effect, Effect::Persist));
            // Whoever has an answer may go and read the snapshot; nobody else waits for it to be written.
            let answers = effects.iter().any(is_answer);
            if answers && self.is_stale {
                self.persist();
            }
            let is_over = effects.iter().any(|effect| matches!(effect, Effect::Exit));
            self.edges.carry_out_all(effects);
            // Somebody may have asked in the meantime.
            if is_over && self.next.is_none() && self.events.is_empty() {
                break;
            }
            // None while more is waiting to be taken in, nor for each of many turns that follow each other.
            if self.is_stale && self.events.len() < 2 && clock::is_past(self.next_snapshot) {
                self.persist();
            }
            is_started |= answers;
            if is_fresh && is_started && self.is_idle() {
                is_fresh = false;
                code::give_back();
            }
        }
        if self.is_stale {
            self.persist();
        }
        self.edges.end(&self.env_dir);
    }

    /// Whether nothing is to be done now, nor in a moment.
    fn is_idle(&self) -> bool {
        const MOMENT: Duration = Duration::from_millis(100);
        let is_far = |due: Moment| due.since(self.clock.now()) > MOMENT;
        self.next.is_none() && self.events.is_empty() && self.machine.next_deadline().is_none_or(is_far)
    }

    /// A pass of the machine takes as long as there are units, and the starts and ends of many of them are told at one moment: those
    /// are taken in together, as many as have come by now.
    fn with_what_came_meanwhile(&mut self, event: Event) -> Vec<Event> {
        let mut events = vec![event];
        while events.last().is_some_and(Event::comes_in_bulk) {
            match self.events.try_recv() {
                Ok(event) if event.comes_in_bulk() => events.push(event),
                // What is anything else has its own turn.
                Ok(event) => {
                    self.next = Some(event);
                    break;
                }
                Err(_) => break,
            }
        }
        events
    }

    fn wait(&mut self, asked: bool, patience: Instant) -> Option<Woken> {
        if let Some(event) = self.next.take() {
            return Some(Woken::Event(event));
        }
        let due = self.machine.next_deadline().map(|moment| self.clock.instant(moment));
        let snapshot = self.is_stale.then_some(self.next_snapshot);
        let deadline = due.into_iter().chain(snapshot).chain((!asked).then_some(patience)).min();
        let never = crossbeam_channel::never();
        let timeout = deadline.map_or(never, crossbeam_channel::at);
        crossbeam_channel::select! {
            recv(self.children) -> _ => {
                while self.children.try_recv().is_ok() {}
                Some(Woken::Child)
            }
            recv(self.ready) -> ready => ready.ok().map(|(ticket, action)| Woken::Ready(ticket, action)),
            recv(self.events) -> event => event.ok().map(Woken::Event),
            recv(timeout) -> _ => None,
        }
    }

    fn persist(&mut self) {
        (self.is_stale, self.next_snapshot) = (false, clock::deadline(BETWEEN_SNAPSHOTS));
        let deployment = self.machine.deployment();
        let same = |recorded: &Option<Arc<Deployment>>| match (recorded, deployment) {
            (Some(recorded), Some(deployment)) => Arc::ptr_eq(recorded, deployment),
            (recorded, deployment) => recorded.is_none() && deployment.is_none(),
        };
        if !self.recorded.as_ref().is_some_and(same) {
            match self.env_dir.set_deployment(deployment.map(Arc::as_ref)) {
                Ok(()) => self.recorded = Some(deployment.cloned()),
                Err(error) => tracing::warn!("the deployment cannot be written: {error}"),
            }
        }
        if let Err(error) = self.env_dir.set_snapshot(&self.machine.snapshot()) {
            tracing::warn!("the snapshot cannot be written: {error}");
        }
    }
}

fn is_answer(effect: &Effect) -> bool {
    matches!(effect, Effect::Reply(..))
}

/// The machine as its last supervisor wrote it down; of processes nothing outlives one.
pub(super) fn recover(env_dir: &EnvDir) -> Result<Supervisor, HostError> {
    let seed = clock::wall().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()) | 1);
    let fresh = || Supervisor::new(env_dir.id().clone(), seed);
    let age = env_dir.snapshot_age();
    // A snapshot that cannot be read is worth no more than none: the engine's labels say what there is.
    let snapshot: Option<Snapshot> = match env_dir.snapshot() {
        Ok(snapshot) => snapshot,
        Err(error) => {
            tracing::warn!("the snapshot cannot be read and is passed over: {error}");
            None
        }
    };
    Ok(match snapshot {
        None => fresh(),
        Some(snapshot) => match Supervisor::recover(snapshot.aged(age), Processes::Gone, seed) {
            Ok(machine) => machine,
            Err(error) => {
                tracing::warn!("{error}");
                fresh()
            }
        },
    })
}

/// Carries out one request in this very process, for an environment whose supervisor is dead: the same loop, no daemon. Commands
/// that come meanwhile are served as by a supervisor, but for those that start something.
pub fn run_once(
    env_dir: EnvDir,
    environment: &IndexMap<String, String>,
    request: Request,
    notice: impl FnMut(Notice) + Send + 'static,
) -> Result<Reply, HostError> {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let here = Here {
        reply: Box::new(move |reply| {
            // The first answer counts; the caller may have stopped listening.
            let _ = sender.send(reply);
        }),
        notice: Box::new(notice),
    };
    let mut host = Host::begin(env_dir, environment, Answers { hub: Hub::passing(), here: Some(here) })?;
    // Before anybody else's.
    host.sender().send(Event::Request(OWN, request)).expect("the loop has its receiver");
    host.listen()?;
    host.run();
    match receiver.recv_timeout(std::time::Duration::ZERO) {
        Ok(reply) => Ok(reply),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(HostError::BrokenOff),
    }
}
