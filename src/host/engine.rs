//! The Docker Engine for foreground commands: each call runs to its end on a small runtime of its own.
//!
//! Commands are synchronous; only this room and the supervisor's dispatch know that the engine's edge is not.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::pin::pin;
use std::thread;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use indexmap::IndexMap;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

use crate::base::detach_keys::{DetachKeys, Typed};
use crate::base::name::{EnvId, ServiceName};
use crate::model::owned::Owned;
use crate::plan::action::{Action, Fault, FaultKind, Outcome, Ticket};
use crate::plan::actual::{Actual, Query};
use crate::plan::desired::{Deployment, UnitSpec};
use crate::supervisor::event::Event;
use crate::world::docker::{
    Archive, Docker, ExecSpec, Happened, HeldPorts, LogStream, OwnedThing, RunSpec, SeenEnvironments, Terminal,
};
use crate::world::engine_records::EnginePlace;
use crate::world::signals::{self, Signal};

/// A Docker Engine and what it takes to talk to it.
pub struct Engine {
    runtime: Runtime,
    docker: Docker,
    /// Actions are broken off from now on.
    called_off: watch::Sender<bool>,
}

/// What an action says before it is done.
pub enum Meanwhile {
    /// It goes on.
    Progress(String),
    /// It has written a line.
    Wrote(String),
    /// It was refused and is tried again.
    Retrying(String),
}

/// Told what a command inside a container writes.
pub type Sink<'a> = &'a mut dyn FnMut(LogStream, &[u8]);

/// Told, once the command runs, how to say how large its terminal is.
pub type OnTerminal<'a> = &'a mut dyn FnMut(Resize);

/// How to be attached to a container.
pub struct Attachment<'a> {
    /// Which.
    pub container: &'a str,
    /// Its input is ours, if it reads any.
    pub stdin: bool,
    /// The keys that end it and leave the container running.
    pub keys: DetachKeys,
    /// A signal to us is sent on to it.
    pub pass_signals: bool,
}

/// Says how large a terminal is.
pub struct Resize {
    terminal: Terminal,
    runtime: tokio::runtime::Handle,
}

impl Resize {
    /// Columns and rows. That it cannot be told is no reason to stop.
    pub fn to(&self, columns: u16, rows: u16) {
        let terminal = self.terminal.clone();
        self.runtime.spawn(async move { terminal.resize(columns, rows).await });
    }
}

/// What happens to containers.
pub struct Happenings(mpsc::Receiver<Result<Happened, Fault>>);

impl Iterator for Happenings {
    type Item = Result<Happened, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.blocking_recv()
    }
}

impl Engine {
    /// The engine that Docker's command line would use in this environment. Connects when it is first asked.
    pub fn new(environment: &IndexMap<String, String>) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().thread_name("engine").build()?;
        Ok(Self { runtime, docker: Docker::new(environment), called_off: watch::Sender::new(false) })
    }

    /// The same for a few questions, without a thread of its own: whoever goes on to wait for signals is the only one to get them.
    pub fn brief(environment: &IndexMap<String, String>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, docker: Docker::new(environment), called_off: watch::Sender::new(false) })
    }

    /// Asks it for something, and waits here until that is told.
    pub fn with<T>(&self, ask: impl AsyncFnOnce(&Docker) -> T) -> T {
        self.runtime.block_on(ask(&self.docker))
    }

    /// Asks it for something, and waits here no longer than that. Nothing else can be asked of it then.
    pub fn within<T>(self, limit: Duration, ask: impl AsyncFnOnce(&Docker) -> Result<T, Fault>) -> Result<T, Fault> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(limit, ask(&self.docker)).await });
        // The look-up of a name may go on for long.
        self.runtime.shutdown_background();
        answer.unwrap_or_else(|_| {
            Err(Fault { kind: FaultKind::EngineAway, message: format!("no answer within {} seconds", limit.as_secs()) })
        })
    }

    /// Where it is; none of what cannot be used.
    pub fn place(&self) -> Option<EnginePlace> {
        self.docker.place()
    }

    /// The engine's release.
    pub fn release(&self) -> Result<String, Fault> {
        self.runtime.block_on(self.docker.release())
    }

    /// All that these services ask of an engine that is too old for it.
    pub fn too_old_for(&self, deployment: &Deployment, services: &[ServiceName]) -> Result<Vec<String>, Fault> {
        self.runtime.block_on(self.docker.too_old_for(deployment, services))
    }

    /// An image's reference with its digest.
    pub fn pinned(&self, reference: &str) -> Result<String, Fault> {
        self.runtime.block_on(self.docker.pinned(reference))
    }

    /// All that it holds of an environment, and what is asked for beside.
    pub fn observe(&self, env: &EnvId, query: &Query) -> Result<Actual, Fault> {
        self.runtime.block_on(self.docker.observe(env, query))
    }

    /// Every environment that has containers, and how much there is of what these own.
    pub fn environments(&self, owners: &BTreeMap<EnvId, Vec<Owned>>) -> Result<SeenEnvironments, Fault> {
        self.runtime.block_on(self.docker.environments(owners))
    }

    /// What there is of things that an environment's services made.
    pub fn owned(&self, env: &EnvId, entries: &[Owned]) -> Result<Vec<OwnedThing>, Fault> {
        self.runtime.block_on(self.docker.owned(env, entries))
    }

    /// Where a container's port is on the host.
    pub fn published(&self, container: &str, target: u16, protocol: &str) -> Result<Option<(String, u16)>, Fault> {
        self.runtime.block_on(self.docker.published(container, target, protocol))
    }

    /// The ports of the host that containers hold, as seen by an environment that owns these things beside its own.
    pub fn held_ports(&self, env: &EnvId, owned: &[Owned]) -> Result<HeldPorts, Fault> {
        self.runtime.block_on(self.docker.held_ports(env, owned))
    }

    /// Tells when it is worth to look at an environment again, for as long as it is listened to.
    pub fn watch(&self, env: &EnvId) -> Receiver<Event> {
        let (sender, events) = crossbeam_channel::unbounded();
        let (docker, env) = (self.docker.clone(), env.clone());
        self.runtime.spawn(async move { docker.watch(&env, sender).await });
        events
    }

    /// Does one action, and tells what it says meanwhile.
    pub fn act(&self, ticket: &Ticket, action: &Action, progress: impl FnMut(Meanwhile) + Send) -> Result<Outcome, Fault> {
        self.told(async |docker, events| docker.act(ticket, action, events).await, progress)
    }

    /// Pushes an image, and tells how it goes on.
    pub fn push(&self, ticket: &Ticket, reference: &str, progress: impl FnMut(Meanwhile) + Send) -> Result<(), Fault> {
        self.told(async |docker, events| docker.push(reference, ticket, events).await, progress)
    }

    /// Breaks off what is being done, and whatever is asked for after this: the command is to end.
    pub fn call_off(&self) {
        self.called_off.send_replace(true);
    }

    fn told<T>(
        &self,
        work: impl AsyncFnOnce(&Docker, &Sender<Event>) -> Result<T, Fault>,
        mut progress: impl FnMut(Meanwhile) + Send,
    ) -> Result<T, Fault> {
        let (sender, events) = crossbeam_channel::unbounded();
        thread::scope(|scope| {
            scope.spawn(move || {
                for event in events {
                    match event {
                        Event::Progress(_, text) => progress(Meanwhile::Progress(text)),
                        Event::Wrote(_, line) => progress(Meanwhile::Wrote(line)),
                        Event::Retrying(_, text) => progress(Meanwhile::Retrying(text)),
                        _ => {}
                    }
                }
            });
            let mut called_off = self.called_off.subscribe();
            let outcome = self.runtime.block_on(async {
                let (work, end) = (pin!(work(&self.docker, &sender)), pin!(called_off.wait_for(|is_so| *is_so)));
                match select(work, end).await {
                    Either::Left((outcome, _)) => outcome,
                    Either::Right(_) => Err(Fault::permanent("it was broken off")),
                }
            });
            drop(sender);
            outcome
        })
    }

    /// Runs a command inside a container. Answers with its exit code.
    pub fn exec(&self, container: &str, spec: &ExecSpec, on_terminal: OnTerminal<'_>, sink: Sink<'_>) -> Result<i32, Fault> {
        self.runtime.block_on(async {
            let session = self.docker.exec(container, spec).await?;
            on_terminal(self.resize(session.terminal()));
            session.carry(self.stdin(spec.stdin), sink).await
        })
    }

    /// Runs a command inside a container and does not wait for it.
    pub fn exec_detached(&self, container: &str, spec: &ExecSpec) -> Result<(), Fault> {
        self.runtime.block_on(self.docker.exec_detached(container, spec))
    }

    /// Runs a one-off container to its end; with `remove` it is gone afterwards. Answers with its exit code. A signal to us is
    /// passed on; what has not ended within its grace period then, or at the next signal, is killed.
    pub fn run(
        &self,
        spec: &UnitSpec,
        run: &RunSpec,
        remove: bool,
        on_terminal: OnTerminal<'_>,
        sink: Sink<'_>,
    ) -> Result<i32, Fault> {
        let (sender, signals) = mpsc::unbounded_channel();
        let listening = signals::listen(&[Signal::Interrupt, Signal::Terminate, Signal::Hangup], move |signal| {
            // When the container has ended there is nobody to tell.
            let _ = sender.send(signal);
        });
        let _listening = listening.map_err(|error| Fault::permanent(format!("listen to signals: {error}")))?;
        self.runtime.block_on(async {
            let attached = self.docker.run(spec, run).await?;
            let container = attached.container.clone();
            on_terminal(self.resize(attached.terminal()));
            let carrying = attached.carry(self.stdin(run.stdin), sink);
            let code = self.until_interrupted(&container, spec.service().grace(), signals, carrying).await;
            if remove {
                self.docker.discard(&container).await;
            }
            code
        })
    }

    /// Attaches to a container that runs, until it ends (its exit code) or the detach keys are pressed (none).
    pub fn attach(&self, attachment: Attachment<'_>, on_terminal: OnTerminal<'_>, sink: Sink<'_>) -> Result<Option<i32>, Fault> {
        let Attachment { container, stdin, mut keys, pass_signals } = attachment;
        let (sender, mut signals) = mpsc::unbounded_channel();
        let wanted: &[Signal] = if pass_signals { &[Signal::Interrupt, Signal::Terminate, Signal::Hangup] } else { &[] };
        // When the container has ended there is nobody to tell.
        let listening = signals::listen(wanted, move |signal| {
            let _ = sender.send(signal);
        });
        let _listening = listening.map_err(|error| Fault::permanent(format!("listen to signals: {error}")))?;
        let (pressed, mut detached) = mpsc::unbounded_channel();
        self.runtime.block_on(async {
            let stdin = stdin && self.docker.reads_input(container).await?;
            let attached = self.docker.attach(container, stdin).await?;
            on_terminal(self.resize(attached.terminal()));
            let typed = self.stdin_through(stdin, move |bytes| match keys.take(bytes) {
                Typed::Passed(bytes) => bytes,
                Typed::Detached(bytes) => {
                    let _ = pressed.send(());
                    bytes
                }
            });
            let carrying = attached.carry(typed, sink);
            tokio::pin!(carrying);
            loop {
                tokio::select! {
                    code = &mut carrying => return code.map(Some),
                    Some(()) = detached.recv() => return Ok(None),
                    Some(signal) = signals.recv() => self.docker.signal(container, signal.name()).await?,
                }
            }
        })
    }

    /// What `ended` says, or, once a signal has come, 128 and its number.
    async fn until_interrupted(
        &self,
        container: &str,
        grace: Duration,
        mut signals: mpsc::UnboundedReceiver<Signal>,
        ended: impl Future<Output = Result<i32, Fault>>,
    ) -> Result<i32, Fault> {
        tokio::pin!(ended);
        let first = tokio::select! {
            code = &mut ended => return code,
            Some(signal) = signals.recv() => signal,
        };
        self.docker.signal(container, first.name()).await?;
        tokio::select! {
            _ = &mut ended => {}
            _ = signals.recv() => self.docker.signal(container, "SIGKILL").await?,
            () = tokio::time::sleep(grace) => self.docker.signal(container, "SIGKILL").await?,
        }
        Ok(128 + first.number())
    }

    /// Starts a one-off container. Answers with its id.
    pub fn run_detached(&self, spec: &UnitSpec, run: &RunSpec, remove: bool) -> Result<String, Fault> {
        self.runtime.block_on(self.docker.run_detached(spec, run, remove))
    }

    /// Our own input as an archive that is unpacked in a directory of a container.
    pub fn upload_stdin(&self, container: &str, directory: &str, keep_owners: bool) -> Result<(), Fault> {
        self.runtime.block_on(self.docker.upload_from(container, directory, keep_owners, self.stdin(true)))
    }

    /// Hands over an archive piece by piece, as it comes; `take` says whether it goes on.
    pub fn each_piece(
        &self,
        archive: impl AsyncFnOnce(&Docker) -> Result<Archive, Fault>,
        mut take: impl FnMut(Vec<u8>) -> bool,
    ) -> Result<(), Fault> {
        self.runtime.block_on(async {
            let mut pieces = archive(&self.docker).await?;
            while let Some(piece) = pieces.next().await {
                if !take(piece?) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// What happens to the containers of an environment, as it comes, until `until`.
    pub fn happenings(&self, env: &EnvId, since: Option<SystemTime>, until: Option<SystemTime>) -> Happenings {
        let (sender, receiver) = mpsc::channel(64);
        let (docker, env) = (self.docker.clone(), env.clone());
        self.runtime.spawn(async move {
            let mut all = match docker.happenings(&env, since, until).await {
                Ok(all) => all,
                Err(fault) => return drop(sender.send(Err(fault)).await),
            };
            while let Some(happened) = all.next().await {
                if sender.send(happened).await.is_err() {
                    return;
                }
            }
        });
        Happenings(receiver)
    }

    fn resize(&self, terminal: Terminal) -> Resize {
        Resize { terminal, runtime: self.runtime.handle().clone() }
    }

    /// Our own input, read by a thread: a read that waits for a terminal cannot be called off, so nobody waits for it.
    fn stdin(&self, wanted: bool) -> DuplexStream {
        self.stdin_through(wanted, <[u8]>::to_vec)
    }

    /// The same, with what is made of each piece.
    fn stdin_through(&self, wanted: bool, mut through: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> DuplexStream {
        const ROOM: usize = 256 * 1024;
        let (ours, mut theirs) = tokio::io::duplex(ROOM);
        if !wanted {
            return ours;
        }
        let runtime = self.runtime.handle().clone();
        let reading = thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match io::stdin().read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(read) if runtime.block_on(theirs.write_all(&through(&buffer[..read]))).is_err() => return,
                    Ok(_) => {}
                }
            }
        });
        if let Err(error) = reading {
            tracing::warn!("no thread to read the input with: {error}");
        }
        ours
    }
}
