//! One match: effect → edge. Each action that is handed out ends in exactly one event, also when its task panics.

use std::collections::HashMap;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use indexmap::IndexMap;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{AbortHandle, JoinError};

use super::run_loop::HostError;
use crate::base::name::UnitId;
use crate::control::attach;
use crate::control::server::{self, Hub};
use crate::model::health::HealthCheck;
use crate::plan::action::{Action, AnonymousVolume, Assessment, Fault, Outcome, Ticket};
use crate::plan::desired::UnitSpec;
use crate::supervisor::effect::{Effect, Probe};
use crate::supervisor::event::{Event, ProbeResult, RequestId};
use crate::supervisor::notice::Notice;
use crate::supervisor::request::Reply;
use crate::world::clock;
use crate::world::docker::Docker;
use crate::world::envdir::EnvDir;
use crate::world::logs::pump::{Pump, PumpHandle};
use crate::world::native::exec::{self, Output};
use crate::world::native::{Native, files, guard};
use crate::world::probe::{self, ProbeContext};
use crate::world::proxy::Proxy;
use crate::world::schedule;
use crate::world::tasks::Tasks;
use crate::world::watch::Watcher;

/// As much of a probe's output as people read.
const PROBE_OUTPUT: usize = 4096;

/// Where answers and notices go.
#[derive(Default)]
pub struct Answers {
    /// To the clients of the socket.
    pub hub: Hub,
    /// And to this very process, when it has a request of its own.
    pub here: Option<Here>,
}

/// Where those of a request go that is this process's own.
pub struct Here {
    /// Takes the answer.
    pub reply: Box<dyn Fn(Reply) + Send>,
    /// Takes notices.
    pub notice: Box<dyn FnMut(Notice) + Send>,
}

/// The number of the request that is this process's own: clients' are counted from one.
pub const OWN: RequestId = RequestId(0);

/// All edges of one supervisor.
pub struct Edges {
    events: Sender<Event>,
    answers: Answers,
    /// Actions whose wait is over come back to the loop through here.
    ready: Sender<(Ticket, Action)>,
    native: Native,
    pump: Option<Pump>,
    docker: Docker,
    watcher: Watcher,
    tasks: Arc<Tasks>,
    /// Starts of processes that are to be carried out next.
    due: Vec<(Ticket, Action)>,
    runtime: Option<Runtime>,
    env_dir: EnvDir,
    /// Starts of containers whose hooks may take any time.
    starts: HashMap<UnitId, AbortHandle>,
    /// Pulls and builds, which may be called off.
    fetches: HashMap<u64, AbortHandle>,
    /// By when the run of a task that is under way has to be over, its checks included.
    run_deadlines: Arc<Mutex<HashMap<UnitId, Instant>>>,
    /// The engine's events are followed once it has been asked for anything.
    following: bool,
    attached: attach::Audience,
    /// That something is made on the engine is on record.
    is_engine_noted: bool,
}

/// So long those who are attached may take to read the last of it.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Edges {
    pub(super) fn new(
        env_dir: &EnvDir,
        environment: &IndexMap<String, String>,
        events: Sender<Event>,
        ready: Sender<(Ticket, Action)>,
        answers: Answers,
    ) -> Result<Self, HostError> {
        let runtime =
            Builder::new_multi_thread().worker_threads(2).max_blocking_threads(32).enable_all().thread_name("edge").build();
        let runtime = runtime.map_err(HostError::system("start the runtime"))?;
        env_dir.create_logs()?;
        let pump = Pump::start(&env_dir.logs(), events.clone()).map_err(HostError::system("start the log pump"))?;
        let mut native = Native::new(env_dir.id(), env_dir.path().to_owned(), events.clone(), pump.handle())
            .map_err(|errno| HostError::system("look after processes")(errno.into()))?;
        native.forward_with(Proxy::new(runtime.handle().clone()));
        let base: PathBuf = env_dir.path().parent().map_or_else(|| env_dir.path().to_owned(), std::path::Path::to_owned);
        Ok(Self {
            docker: Docker::new(environment),
            watcher: Watcher::new(events.clone()),
            tasks: Arc::new(Tasks::new(env_dir.path(), &base)),
            events,
            answers,
            ready,
            due: Vec::new(),
            native,
            pump: Some(pump),
            runtime: Some(runtime),
            env_dir: env_dir.clone(),
            starts: HashMap::new(),
            fetches: HashMap::new(),
            run_deadlines: Arc::default(),
            following: false,
            attached: attach::Audience::default(),
            is_engine_noted: false,
        })
    }

    pub(super) fn events(&self) -> Sender<Event> {
        self.events.clone()
    }

    pub(super) fn native(&mut self) -> &mut Native {
        &mut self.native
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("taken only at the end")
    }

    /// Serves those who attach to processes.
    pub(super) fn serve_consoles(&mut self, listener: UnixListener) -> std::io::Result<()> {
        self.attached = attach::serve(listener, self.native.consoles(), self.log())?;
        Ok(())
    }

    pub(super) fn serve(&self, listener: UnixListener) {
        let _guard = self.runtime().enter();
        self.runtime().spawn(server::serve(listener, self.answers.hub.clone(), self.events.clone()));
    }

    /// Carries out effects in their order; processes that are to be started one after the other are started together.
    pub(super) fn carry_out_all(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            if !matches!(effect, Effect::Act(_, Action::Start { .. })) {
                self.start_due();
            }
            self.carry_out(effect);
        }
        self.start_due();
    }

    fn start_due(&mut self) {
        let due = std::mem::take(&mut self.due);
        let done = self.native.start_all(&due);
        for ((ticket, _), result) in due.into_iter().zip(done) {
            result.into_iter().for_each(|result| self.send(Event::Acted(ticket.clone(), result)));
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Act(ticket, action) => self.act(ticket, action),
            Effect::Abandon(unit) => {
                self.native.call_off(&unit);
                if let Some(hooks) = self.starts.remove(&unit) {
                    hooks.abort();
                }
                // What lives goes on making its outputs; the machine says it again after its end.
                if self.native.roots(&unit).is_empty() {
                    self.tasks.abandon(&unit);
                }
            }
            Effect::CallOff(serial) => {
                if let Some(fetch) = self.fetches.remove(&serial) {
                    fetch.abort();
                }
            }
            Effect::Observe(number, query) => {
                let (docker, env, events) = (self.docker.clone(), self.env_dir.id().clone(), self.events.clone());
                if !std::mem::replace(&mut self.following, true) {
                    let (docker, env, events) = (docker.clone(), env.clone(), events.clone());
                    self.runtime().spawn(async move { docker.watch(&env, events).await });
                }
                self.spawn(
                    async move { docker.observe(&env, &query).await },
                    move |result| Event::Observed(number, result.unwrap_or_else(|panic| Err(Fault::temporary(panic)))),
                    events,
                );
            }
            Effect::Probe(ticket, probe) => self.probe(ticket, probe),
            Effect::Lead(unit, incarnation) => self.native.lead(&unit, incarnation),
            Effect::Watch(list) => self.watcher.set(list),
            Effect::Reckon(reckoning) => self.send(schedule::reckon(reckoning)),
            Effect::Hold(units) => self.native.hold_sockets(&units),
            Effect::Reply(id, reply) => match &self.answers.here {
                Some(here) if id == OWN => (here.reply)(reply),
                Some(_) | None => self.answers.hub.reply(id, reply),
            },
            Effect::Tell(notice) => {
                if let Some(here) = &mut self.answers.here {
                    (here.notice)(notice.clone());
                }
                self.answers.hub.tell(notice);
            }
            // The loop's own business.
            Effect::Persist | Effect::Exit => {}
        }
    }

    fn act(&mut self, ticket: Ticket, action: Action) {
        tracing::debug!("{} {}", action.verb(), ticket.resource);
        // What is not done to a process is the container engine's.
        if let Some(spec) = action.spec().filter(|spec| spec.service().is_process()) {
            let spec = spec.clone();
            let left = self.left_of_run(&action, &spec);
            match action {
                Action::Assess { trusted, dependency_ran, .. } => self.assess(ticket, spec, trusted, dependency_ran, left),
                Action::Conclude { exit, .. } => self.conclude(ticket, spec, exit, left),
                action @ Action::Start { .. } if spec.service().is_task() && !self.tasks.is_held(&spec) => {
                    self.hold(ticket, spec, action);
                }
                action @ Action::Start { .. } => self.due.push((ticket, action)),
                action => self.carry_out_on_process(ticket, &action),
            }
            return;
        }
        if let Action::Create { spec, .. } | Action::Succeed { spec, .. } = &action
            && let Err(fault) = files::create_places(spec)
        {
            // The engine can make it all the same.
            tracing::warn!("{}: {fault}", spec.unit);
        }
        let (docker, events) = (self.docker.clone(), self.events.clone());
        let (answer, progress, spec) = (ticket.clone(), events.clone(), action.spec().cloned());
        let has_hooks = |spec: &UnitSpec| !spec.service().common.post_start.is_empty();
        let starts = matches!(action, Action::Start { .. });
        let (fetches, serial) = (matches!(action, Action::Build { .. } | Action::Pull { .. }), ticket.serial);
        self.note_engine(&action);
        let left = match &action {
            Action::Remove { unit, spec, .. } => Some(self.left_behind(unit, spec.as_ref())),
            _ => None,
        };
        let work = self.spawn(
            async move {
                let outcome = docker.act(&ticket, &action, &progress).await;
                if let (Some(left), Ok(Outcome::Removed { anonymous })) = (left, &outcome)
                    && !anonymous.is_empty()
                {
                    let anonymous = anonymous.clone();
                    // Told before the answer: whoever has that may go and look.
                    let _ = tokio::task::spawn_blocking(move || left(anonymous)).await;
                }
                outcome
            },
            move |result| Event::Acted(answer, result.unwrap_or_else(|panic| Err(Fault::permanent(panic)))),
            events,
        );
        if fetches {
            self.fetches.retain(|_, fetch| !fetch.is_finished());
            self.fetches.insert(serial, work.clone());
        }
        if let Some(spec) = spec.filter(|spec| starts && has_hooks(spec)) {
            self.starts.insert(spec.unit, work);
        }
    }

    /// Records on which engine something is made: whoever removes it later may be asking another one.
    fn note_engine(&mut self, action: &Action) {
        let makes = matches!(
            action,
            Action::CreateNetwork { .. }
                | Action::CreateVolume { .. }
                | Action::Build { .. }
                | Action::Create { .. }
                | Action::Succeed { .. }
        );
        if makes
            && !std::mem::replace(&mut self.is_engine_noted, true)
            && let Some(engine) = self.docker.place()
            && let Err(error) = self.env_dir.note_engine(&engine)
        {
            tracing::warn!("that the engine at {engine} is used cannot be written down: {error}");
        }
    }

    /// What records the volumes that nobody has named and that a removal has left: no name leads to them any more.
    fn left_behind(&self, unit: &UnitId, spec: Option<&UnitSpec>) -> impl FnOnce(IndexMap<String, String>) + Send + use<> {
        let container = match spec {
            Some(spec) => spec.deployment.container_name(unit),
            None => format!("{}-{}-{}", self.env_dir.id(), unit.service, unit.replica),
        };
        let (dir, engine) = (self.env_dir.clone(), self.docker.place());
        move |anonymous| {
            let of = |(path, name)| AnonymousVolume { name, container: container.clone(), path };
            if let Err(error) = dir.note_left_volumes(engine.as_ref(), anonymous.into_iter().map(of)) {
                tracing::warn!("the volumes that {container} has left cannot be written down: {error}");
            }
        }
    }

    /// Does what has not to wait, or no longer.
    pub(super) fn carry_out_on_process(&mut self, ticket: Ticket, action: &Action) {
        if let Some(result) = self.native.act(&ticket, action) {
            self.send(Event::Acted(ticket, result));
        }
    }

    /// Starts a task once nobody else makes its outputs.
    fn hold(&self, ticket: Ticket, spec: UnitSpec, start: Action) {
        let (tasks, ready, events) = (self.tasks.clone(), self.ready.clone(), self.events.clone());
        tasks.claim(&spec.unit);
        let work = self.runtime().spawn_blocking(move || tasks.hold(&spec));
        self.runtime().spawn(async move {
            let held = work.await.unwrap_or_else(|error| Err(Fault::permanent(format!("a fault of our own: {error}"))));
            // The loop may have ended; then nobody waits.
            let _ = match held {
                Ok(()) => ready.send((ticket, start)).is_ok(),
                Err(fault) => events.send(Event::Acted(ticket, Err(fault))).is_ok(),
            };
        });
    }

    /// What is left of a task's `start_timeout`, which limits one run from its first check to its last.
    fn left_of_run(&mut self, action: &Action, spec: &UnitSpec) -> Option<Duration> {
        let limit = spec.service().process()?.start_timeout?;
        let mut deadlines = self.run_deadlines.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = match action {
            Action::Assess { .. } => {
                let deadline = clock::deadline(limit);
                deadlines.insert(spec.unit.clone(), deadline);
                deadline
            }
            // A further attempt is another run, which no check precedes.
            Action::Create { .. } | Action::Start { .. } => {
                *deadlines.entry(spec.unit.clone()).or_insert_with(|| clock::deadline(limit))
            }
            _ => deadlines.remove(&spec.unit).unwrap_or_else(|| clock::deadline(limit)),
        };
        Some(clock::until(deadline))
    }

    fn assess(&self, ticket: Ticket, spec: UnitSpec, trusted: bool, dependency_ran: bool, limit: Option<Duration>) {
        let (tasks, deadlines) = (self.tasks.clone(), self.run_deadlines.clone());
        let log = self.log();
        tasks.claim(&spec.unit);
        self.blocking(ticket, move || {
            let check = || run_check(&spec, &log, limit);
            let assessed = tasks.assess(&spec, trusted, dependency_ran, &check);
            if !matches!(assessed, Ok(Assessment::Due(_))) {
                // There is no run that it would be the deadline of.
                deadlines.lock().unwrap_or_else(PoisonError::into_inner).remove(&spec.unit);
            }
            assessed.map(Outcome::Assessed)
        });
    }

    fn conclude(&self, ticket: Ticket, spec: UnitSpec, exit: crate::plan::action::Exit, limit: Option<Duration>) {
        let tasks = self.tasks.clone();
        let log = self.log();
        self.blocking(ticket, move || {
            let check = || run_check(&spec, &log, limit);
            tasks.conclude(&spec, exit, &check).map(Outcome::Concluded)
        });
    }

    fn log(&self) -> PumpHandle {
        self.pump.as_ref().expect("taken only at the end").handle()
    }

    fn probe(&self, ticket: Ticket, probe: Probe) {
        let Probe { spec, check, container, beside } = probe;
        let root = if container.is_none() { self.native.root(&spec.unit, ticket.incarnation) } else { None };
        // What two lives listen at together is ours: which one is meant, another part of the check has to tell.
        let others = if beside { self.native.roots(&spec.unit) } else { Vec::new() };
        let ports_owned = root.map(|root| -> probe::PortsOwned { Box::new(move |port| root.owns_listener(&others, port)) });
        let replica = spec.unit.replica;
        let port = self.native.port(&spec.unit, ticket.incarnation);
        let newer_than = self.native.began(&spec.unit, ticket.incarnation).filter(|_| beside);
        let proxied = spec.service().front(replica).and_then(|(_, public)| Some((public, port?)));
        let (docker, for_test, in_container) = (self.docker.clone(), check.clone(), container);
        let test: probe::RunTest = Box::new(move |test, limit| {
            let (docker, check, test, spec) = (docker.clone(), for_test.clone(), test.to_vec(), spec.clone());
            match in_container.clone() {
                Some(container) => Box::pin(async move {
                    let check = HealthCheck { timeout: Some(limit), ..HealthCheck::clone(&check) };
                    let result = docker.probe(&container, &check).await;
                    if result.healthy { Ok(result.output) } else { Err(result.output) }
                }),
                None => Box::pin(async move {
                    let run = tokio::task::spawn_blocking(move || run_test(&spec, &test, limit, port));
                    run.await.unwrap_or_else(|error| Err(error.to_string()))
                }),
            }
        });
        let cx = ProbeContext { replica, proxied, newer_than, test: Some(test), ports_owned };
        self.spawn(
            async move { probe::check(&check, &cx).await },
            move |result| Event::Probed(ticket, result.unwrap_or_else(|panic| ProbeResult { healthy: false, output: panic })),
            self.events.clone(),
        );
    }

    /// Runs a future; whatever becomes of it, exactly one event follows.
    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        event: impl FnOnce(Result<T, String>) -> Event + Send + 'static,
        events: Sender<Event>,
    ) -> AbortHandle {
        let work = self.runtime().spawn(work);
        let handle = work.abort_handle();
        self.runtime().spawn(async move {
            let why = |error: JoinError| {
                if error.is_cancelled() { "it was called off".to_owned() } else { format!("a fault of our own: {error}") }
            };
            let result = work.await.map_err(why);
            // The loop may have ended; then nobody waits.
            let _ = events.send(event(result));
        });
        handle
    }

    fn blocking(&self, ticket: Ticket, work: impl FnOnce() -> Result<Outcome, Fault> + Send + 'static) {
        self.spawn(
            async move { tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Fault::permanent(error.to_string()))) },
            move |result| Event::Acted(ticket, result.unwrap_or_else(|panic| Err(Fault::permanent(panic)))),
            self.events.clone(),
        );
    }

    fn send(&self, event: Event) {
        // The loop holds the receiver for as long as it dispatches.
        let _ = self.events.send(event);
    }

    /// Everything is over: what is left of the log is written, the socket goes.
    pub(super) fn end(mut self, env_dir: &EnvDir) {
        self.native.kill_everything();
        if let Some(pump) = self.pump.take() {
            pump.finish();
        }
        // What it has told them, the last words and the code of what they are attached to, they have yet to be sent.
        self.attached.wait(LAST_WORDS);
        // Removed before the answer to the last client is flushed: whoever comes now starts another supervisor.
        let _ = std::fs::remove_file(attach::socket_beside(&env_dir.socket()));
        let _ = std::fs::remove_file(env_dir.socket());
        if let Some(runtime) = self.runtime.take() {
            // A runtime that is shut down drops what its tasks have not yet written.
            runtime.block_on(self.answers.hub.finish());
            runtime.shutdown_timeout(std::time::Duration::from_millis(200));
        }
        // Whatever nobody knew of: a guard would do the same, but it may be gone.
        guard::kill_all(env_dir.path());
    }
}

/// A task's `check`, with its output in the task's log, within what is left of the limit of its run.
fn run_check(spec: &UnitSpec, log: &PumpHandle, limit: Option<Duration>) -> Result<(), String> {
    let process = spec.service().process().ok_or("a container has no `check`")?;
    let Some(check) = &process.check else { return Ok(()) };
    let argv = check.argv(process.shell.as_deref());
    let ran = exec::run_command(spec, argv, IndexMap::new(), limit, Output::Log(log)).map_err(|fault| fault.message)?;
    match (ran.is_success(), ran.timed_out) {
        (true, _) => Ok(()),
        (false, true) => {
            Err(format!("not done within {}", crate::base::duration::format(process.start_timeout.unwrap_or_default())))
        }
        (false, false) => Err(ran.exit.to_string()),
    }
}

/// A process's `healthcheck.test`: its output when it succeeds, else what went wrong.
fn run_test(spec: &UnitSpec, test: &[String], timeout: Duration, port: Option<u16>) -> Result<String, String> {
    let shell = spec.service().process().and_then(|process| process.shell.as_deref());
    let argv = match test {
        [kind, text] if kind == "CMD-SHELL" => match shell {
            Some(shell) => shell.iter().cloned().chain([text.clone()]).collect(),
            None => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()],
        },
        [_, argv @ ..] => argv.to_vec(),
        [] => return Err("the test is empty".to_owned()),
    };
    let environment = port.map(|port| ("PORT".to_owned(), port.to_string())).into_iter().collect();
    let ran =
        exec::run_command(spec, argv, environment, Some(timeout), Output::Kept(PROBE_OUTPUT)).map_err(|fault| fault.message)?;
    let said = String::from_utf8_lossy(&ran.output).trim().to_owned();
    match (ran.is_success(), ran.timed_out, said.is_empty()) {
        (true, ..) => Ok(said),
        (false, true, _) => Err(format!("no answer within {}", crate::base::duration::format(timeout))),
        (false, false, true) => Err(ran.exit.to_string()),
        (false, false, false) => Err(format!("{said} ({})", ran.exit)),
    }
}
