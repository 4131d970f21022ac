//! Native processes: carries out the machine's actions on them and tells how they end.
//!
//! Everything here runs on the loop thread and takes microseconds, but for hooks and checks, which have threads of their own
//! ([`exec`]). Which process belongs to which unit is decided in [`tree`], by the mark of [`marker`]. Nothing outlives us:
//! [`guard`] sees to it when we are killed, [`sweep`] when the guard was killed as well.

pub mod capabilities;
pub mod cgroup;
pub mod child;
pub mod console;
pub mod exec;
pub mod files;
pub mod guard;
pub mod inspect;
pub mod isolation;
pub mod listener;
pub mod marker;
pub mod memory;
pub mod signal;
pub mod spawn;
pub mod sweep;
pub mod tree;
pub mod unfit;
pub mod user;

mod hooks;
mod limits;
mod reap;
mod run_dir;
mod sockets;
mod stdio;
mod stop;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::Sender;
use indexmap::IndexMap;
use nix::errno::Errno;

use self::cgroup::Cgroup;
use self::console::{Console, Consoles};
use self::hooks::{Hooks, Job, Leaving, Which};
use self::marker::Marker;
use self::reap::{End, Life, LifeId, Reaper};
use self::sockets::Sockets;
use self::spawn::Order;
use self::stdio::Stdio;
use self::tree::{Process, Root};
use super::logs::file::Size;
use super::logs::pump::{self, PumpHandle};
use super::proxy::{self, Proxy};
use crate::base::name::{EnvId, UnitId};
use crate::model::process::Isolation;
use crate::plan::action::{Action, Exit, Fault, Incarnation, Outcome, Ticket};
use crate::plan::desired::UnitSpec;
use crate::supervisor::event::Event;
use crate::world::clock;

/// The signal that asks a process to end, unless `stop_signal` says otherwise.
const STOP_SIGNAL: &str = "SIGTERM";

/// The native engine of one environment.
#[derive(Debug)]
pub struct Native {
    env: Marker,
    state_dir: PathBuf,
    events: Sender<Event>,
    pump: PumpHandle,
    reaper: Reaper,
    hooks: Hooks,
    sockets: Sockets,
    consoles: Consoles,
    /// None where there is nothing to forward with.
    proxy: Option<Proxy>,
}

impl Native {
    /// Begins to look after the processes of an environment. Orphans of what it starts come to this process from now on.
    pub fn new(env: &EnvId, state_dir: PathBuf, events: Sender<Event>, pump: PumpHandle) -> Result<Self, Errno> {
        nix::sys::prctl::set_child_subreaper(true)?;
        let env = Marker::of_env(env, &state_dir, nix::unistd::geteuid().as_raw());
        let (reaper, hooks) = (Reaper::new(env)?, Hooks::new());
        Ok(Self {
            env,
            state_dir,
            events,
            pump,
            reaper,
            hooks,
            sockets: Sockets::default(),
            consoles: Consoles::default(),
            proxy: None,
        })
    }

    /// Gives it what it forwards with.
    pub fn forward_with(&mut self, proxy: Proxy) {
        self.proxy = Some(proxy);
    }

    /// Does an action on a process. `None`: it takes longer, and `Event::Acted` will be sent.
    pub fn act(&mut self, ticket: &Ticket, action: &Action) -> Option<Result<Outcome, Fault>> {
        match action {
            Action::Create { spec, .. } => Some(files::create(spec).map(|()| Outcome::Done)),
            Action::Start { spec, incarnation, line, beside, .. } => {
                let started = self.start(spec, *incarnation, line.as_deref(), *beside);
                let hooks = &spec.service().common.post_start;
                match started {
                    Ok(outcome) if !hooks.is_empty() => {
                        self.run_hooks(ticket, spec, *incarnation, Which::PostStart(outcome), None, None)
                    }
                    Ok(_) | Err(_) => Some(started),
                }
            }
            Action::Stop { spec, incarnation, grace, .. } => {
                let life = self.reaper.lives.get_mut(&(spec.unit.clone(), *incarnation));
                let runs = life.as_ref().is_some_and(|life| life.exit.is_none());
                let port = life.as_ref().and_then(|life| life.port());
                // From now on clients wait for the next life, or are with it already.
                let behind = life.and_then(|life| match (&self.proxy, life.leads) {
                    (Some(proxy), true) => proxy.end(&spec.unit),
                    (Some(_) | None, _) => life.behind.take(),
                });
                if runs && (behind.is_some() || !spec.service().common.pre_stop.is_empty()) {
                    let leaving = behind.map(|life| Leaving { life, port });
                    return self.run_hooks(ticket, spec, *incarnation, Which::PreStop, Some(*grace), leaving);
                }
                Some(self.stop(spec, *incarnation))
            }
            Action::Kill { spec, incarnation, signal, .. } => Some(self.kill(spec, *incarnation, signal)),
            Action::Freeze { spec, incarnation, frozen, .. } => {
                Some(self.kill(spec, *incarnation, if *frozen { "SIGSTOP" } else { "SIGCONT" }))
            }
            Action::Remove { unit, volumes, .. } => {
                let removed = files::remove(&self.state_dir, unit, *volumes);
                Some(removed.map(|()| Outcome::Removed { anonymous: IndexMap::new() }))
            }
            Action::CreateNetwork { .. }
            | Action::RemoveNetwork { .. }
            | Action::CreateVolume { .. }
            | Action::RemoveVolume { .. }
            | Action::Pull { .. }
            | Action::Succeed { .. }
            | Action::TakeOver { .. }
            | Action::Discard { .. }
            | Action::Build { .. }
            | Action::Assess { .. }
            | Action::Conclude { .. }
            | Action::RemoveImages { .. }
            | Action::Sync { .. }
            | Action::RemoveOwned { .. } => Some(Err(Fault::permanent(format!(
                "{} {} is nothing that a process engine does",
                action.verb(),
                ticket.resource
            )))),
        }
    }

    /// To be called when SIGCHLD has come: collects what has ended and tells it.
    pub fn child_changed(&mut self) {
        while let Some((job, result)) = self.hooks.next() {
            self.after_hooks(job, result);
        }
        for end in self.reaper.collect() {
            if end.led {
                self.consoles.end(&end.unit);
                if let Some(proxy) = &self.proxy {
                    proxy.end(&end.unit);
                }
            }
            self.tell(end);
        }
    }

    /// What tells a life's processes from others, for probes on other threads.
    pub fn root(&self, unit: &UnitId, incarnation: Incarnation) -> Option<Root> {
        self.reaper.lives.get(&(unit.clone(), incarnation)).map(|life| life.root)
    }

    /// The same for all lives of a unit.
    pub fn roots(&self, unit: &UnitId) -> Vec<Root> {
        self.lives_of(unit).map(|life| life.root).collect()
    }

    /// When a life was started.
    pub fn began(&self, unit: &UnitId, incarnation: Incarnation) -> Option<SystemTime> {
        self.reaper.lives.get(&(unit.clone(), incarnation)).map(|life| life.began)
    }

    fn lives_of<'a>(&'a self, unit: &'a UnitId) -> impl Iterator<Item = &'a Life> {
        self.reaper.lives.iter().filter(move |((of, _), _)| of == unit).map(|(_, life)| life)
    }

    /// This life is its unit's from now on: whoever comes for the unit gets to it.
    pub fn lead(&mut self, unit: &UnitId, incarnation: Incarnation) {
        for ((_, number), life) in self.reaper.lives.iter_mut().filter(|((of, _), _)| of == unit) {
            if life.leads && *number != incarnation {
                life.leads = false;
                life.behind = self.proxy.as_ref().and_then(|proxy| proxy.end(unit));
            }
        }
        // It may have ended; then its end is on its way.
        let Some(life) = self.reaper.lives.get_mut(&(unit.clone(), incarnation)) else { return self.consoles.end(unit) };
        life.leads = true;
        self.consoles.begin(unit, Arc::clone(&life.console));
        if let (Some(proxy), Some((address, port))) = (&self.proxy, &life.front) {
            proxy.begin(unit, address, *port);
        }
    }

    /// Ends what runs beside a unit: hooks, checks, tests. They fail, and that is told.
    pub fn call_off(&self, unit: &UnitId) {
        exec::call_off(self.env, unit);
    }

    /// What its processes read, for those who attach to them.
    pub fn consoles(&self) -> Consoles {
        self.consoles.clone()
    }

    /// The port of a life of a unit behind a proxy.
    pub fn port(&self, unit: &UnitId, incarnation: Incarnation) -> Option<u16> {
        self.reaper.lives.get(&(unit.clone(), incarnation))?.port()
    }

    /// Holds the sockets and proxies of these units, and of no others.
    pub fn hold_sockets(&mut self, units: &BTreeSet<UnitId>) {
        self.sockets.keep(units);
        if let Some(proxy) = &mut self.proxy {
            proxy.keep(units);
        }
    }

    /// Kills every process of every unit. Their ends will be told.
    pub fn kill_everything(&mut self) {
        for life in self.reaper.lives.values_mut() {
            // What may not be signalled cannot be helped here: the guard is no mightier.
            let _ = life.kill_with_kept();
        }
    }

    fn run_hooks(
        &self,
        ticket: &Ticket,
        spec: &UnitSpec,
        incarnation: Incarnation,
        which: Which,
        timeout: Option<Duration>,
        leaving: Option<Leaving>,
    ) -> Option<Result<Outcome, Fault>> {
        let Some(root) = self.root(&spec.unit, incarnation) else { return Some(Ok(Outcome::Signalled)) };
        let port = self.port(&spec.unit, incarnation);
        let job = Job { which, ticket: ticket.clone(), spec: spec.clone(), incarnation, root, timeout, port, leaving };
        self.hooks.run(job, &self.pump);
        None
    }

    /// Goes on where an action had to wait for its hooks.
    fn after_hooks(&mut self, job: Job, result: Result<(), String>) {
        let Job { which, ticket, spec, incarnation, .. } = job;
        let answer = match (which, result) {
            (Which::PostStart(outcome), Ok(())) => Ok(outcome),
            (Which::PostStart(_), Err(reason)) => {
                // As it has not started, it must not run.
                if let Some(life) = self.reaper.lives.get_mut(&(spec.unit.clone(), incarnation)) {
                    let _ = life.kill();
                }
                Err(Fault::permanent(format!("post_start: {reason}")))
            }
            (Which::PreStop, result) => {
                // What a hook has failed to do does not keep the process alive.
                if let Err(reason) = result {
                    self.pump.note(&spec.unit, format!("pre_stop: {reason}"));
                }
                self.stop(&spec, incarnation)
            }
        };
        // The loop has gone, and with it whoever wanted to know.
        let _ = self.events.send(Event::Acted(ticket, answer));
    }

    fn start(&mut self, spec: &UnitSpec, incarnation: Incarnation, line: Option<&str>, beside: bool) -> Result<Outcome, Fault> {
        let mut others = self.reaper.lives.keys().filter(|(unit, _)| *unit == spec.unit);
        if let Some((_, life)) = others.nth(usize::from(beside)) {
            return Err(Fault::temporary(format!("its life number {} has not ended yet", life.0)));
        }
        if !beside {
            exec::end_tests(self.env, &spec.unit);
        }
        let line = line.map(pump::LinePattern::new).transpose().map_err(|error| Fault::permanent(error.to_string()))?;
        let common = &spec.service().common;
        if !common.secrets.is_empty() || !common.configs.is_empty() {
            files::renew(spec)?;
        }
        let mut order = Order::own(spec);
        let front = self.front(spec)?;
        if let Some((_, port)) = &front {
            order.environment.insert("PORT".to_owned(), port.to_string());
        }
        let (mut launch, _) = order.launch()?;
        let dropped = spawn::dropped_by_loader(&launch);
        let marker = self.free_marker(&spec.unit);
        let stdio = Stdio::open(common.tty, common.stdin_open)
            .map_err(|error| Fault::temporary(format!("open pipes for it: {error}")))?;
        let cgroup = Cgroup::make(spec, self.lives_of(&spec.unit).filter_map(|life| life.cgroup.as_ref()))?;
        let entrance = cgroup.as_ref().map(Cgroup::entrance).transpose()?;
        launch.cgroup = entrance.as_ref().map(AsRawFd::as_raw_fd);
        launch.own_session = true;
        launch.stdio = stdio.of_child();
        let passed = self.sockets.of(spec)?;
        spawn::pass_sockets(&mut launch, &passed)?;
        launch.controlling_terminal = common.tty;
        if spawn::process(spec)?.isolation == Isolation::Pid {
            isolation::isolate(&mut launch)?;
        }
        launch.limits.extend(limits::marking(marker));
        // The loop thread lives as long as the supervisor does, so this signal means that the supervisor is gone.
        launch.death_signal = Some(libc::SIGKILL);
        let began = clock::wall();
        let child = child::spawn(&launch).map_err(|error| spawn::explain(&error, &order, &launch))?;
        let birth = Process::read(child.pid).map_or(0, |process| process.birth);
        let (streams, input) = stdio.into_ours();
        self.pump.begin(pump::Begin {
            unit: spec.unit.clone(),
            incarnation,
            beside,
            size: Size::of(common.logging.as_ref()),
            pattern: line,
            streams,
        });
        if !dropped.is_empty() {
            self.pump.note(
                &spec.unit,
                format!(
                    "its program's file carries capabilities, so the loader drops `{}`: give the program an rpath, or name the \
                     directory in /etc/ld.so.conf.d",
                    dropped.join("`, `")
                ),
            );
        }
        let root = Root { leader: child.pid, birth, marker };
        let console = Arc::new(Console::new(input, common.tty, root, incarnation));
        let life = Life {
            root,
            pidfd: Some(child.pidfd),
            exit: None,
            told: None,
            asked: None,
            killed: false,
            asked_too: std::collections::BTreeSet::new(),
            keep: spec.service().process().map(|process| process.keep.clone()).unwrap_or_default(),
            console,
            leads: false,
            began,
            front,
            behind: None,
            cgroup,
        };
        let id: LifeId = (spec.unit.clone(), incarnation);
        self.reaper.add(id, life).map_err(|errno| Fault::temporary(format!("watch for its end: {}", errno.desc())))?;
        if !beside {
            self.lead(&spec.unit, incarnation);
        }
        Ok(Outcome::Started { pid: Some(child.pid), birth: birth.to_string() })
    }

    /// Where connections to a unit that is about to start arrive, and the port that it is to listen at.
    fn front(&mut self, spec: &UnitSpec) -> Result<Option<(String, u16)>, Fault> {
        let service = spec.service();
        let Some((address, public)) = service.front(spec.unit.replica) else { return Ok(None) };
        let Some(proxy) = &mut self.proxy else { return Err(Fault::permanent("nothing forwards to it here")) };
        let last = service.replicas().max(spec.unit.replica);
        let wanted: Vec<String> = (1..=last).filter_map(|replica| Some(service.front(replica)?.0)).collect();
        // What the definition no longer has is closed first: a new one may want its address.
        proxy.keep_address(&spec.unit.service, &wanted);
        proxy.hold(&spec.unit.service, &address).map_err(|error| {
            let holder = listener::holder_of(&address).filter(|_| error.kind() == std::io::ErrorKind::AddrInUse);
            let reason = holder.map_or_else(|| error.to_string(), |holder| format!("it is held by {holder}"));
            Fault::permanent(format!("listen at port {public} for it: {reason}"))
        })?;
        let port = proxy::free_port().map_err(|error| Fault::temporary(format!("find a port for it: {error}")))?;
        Ok(Some((address, port)))
    }

    fn stop(&mut self, spec: &UnitSpec, incarnation: Incarnation) -> Result<Outcome, Fault> {
        let name = spec.service().common.stop_signal.as_deref().unwrap_or(STOP_SIGNAL);
        let signal = signal::number(name).unwrap_or_else(|| {
            // Loading refuses such a name, and an older supervisor may have recorded one. What is to end, ends.
            self.pump.note(&spec.unit, format!("`stop_signal: {name}` is not a signal; it gets {STOP_SIGNAL}"));
            libc::SIGTERM
        });
        let Some(life) = self.life_or_tell(spec, incarnation) else { return Ok(Outcome::Signalled) };
        // The group outlives its leader as long as one of its members does. Each member hears of the stop once: when the leader has
        // gone and others have not, the machine asks again for those who left the group.
        let asked = if life.asked.is_some() { Ok(()) } else { stop::ask(life.root.leader, signal) };
        if !matches!(asked, Err(errno) if errno != Errno::ESRCH) {
            life.asked = Some(signal);
        }
        if life.exit.is_some() {
            self.reaper.ask_left_behind(&(spec.unit.clone(), incarnation), signal);
            return Ok(Outcome::Signalled);
        }
        outcome_of(asked)
    }

    fn kill(&mut self, spec: &UnitSpec, incarnation: Incarnation, name: &str) -> Result<Outcome, Fault> {
        let signal = signal::number(name).ok_or_else(|| Fault::permanent(format!("`{name}` is not a signal")))?;
        let Some(life) = self.life_or_tell(spec, incarnation) else { return Ok(Outcome::Signalled) };
        if signal == libc::SIGKILL {
            outcome_of(life.kill())
        } else {
            outcome_of(stop::signal_all(&life.root.members_but(&life.keep), signal))
        }
    }

    /// The life that is meant. When it is over, that is told (perhaps again: whoever asks cannot have heard it).
    fn life_or_tell(&mut self, spec: &UnitSpec, incarnation: Incarnation) -> Option<&mut Life> {
        let id: LifeId = (spec.unit.clone(), incarnation);
        if !self.reaper.lives.contains_key(&id) {
            self.tell(End { unit: spec.unit.clone(), incarnation, exit: Exit::Unknown, remaining: 0, led: false });
        }
        self.reaper.lives.get_mut(&id)
    }

    /// An end is told by the pump, once it has read all that was written before it.
    fn tell(&self, end: End) {
        let End { unit, incarnation, exit, remaining, led: _ } = end;
        let event = Event::Exited { unit: unit.clone(), incarnation, exit, remaining };
        self.pump.end(&unit, incarnation, event);
    }

    /// A unit's mark, or the next one that no other unit has.
    fn free_marker(&self, unit: &UnitId) -> Marker {
        let mut marker = self.env.of_unit(unit);
        while self.reaper.lives.values().any(|life| life.root.marker == marker) {
            marker = marker.successor();
        }
        marker
    }
}

fn outcome_of(signalled: Result<(), Errno>) -> Result<Outcome, Fault> {
    match signalled {
        // Already gone: its end is on its way.
        Ok(()) | Err(Errno::ESRCH) => Ok(Outcome::Signalled),
        Err(Errno::EPERM) => {
            Err(Fault::permanent("we may not signal it: it runs as another user now, and ending it needs that user or root"))
        }
        Err(errno) => Err(Fault::temporary(format!("signal it: {}", errno.desc()))),
    }
}
