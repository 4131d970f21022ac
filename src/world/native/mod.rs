//! Native processes: carries out the machine's actions on them and tells how they end.
//!
//! Everything here runs on the loop thread and takes microseconds, but for starts, which others help it with, hooks and checks, which
//! have threads of their own ([`exec`]). Which process belongs to which unit is decided in [`tree`], by the mark of [`marker`]. Nothing
//! outlives us: [`guard`] sees to it when we are killed, [`sweep`] when the guard was killed as well.

pub mod capabilities;
pub mod cgroup;
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
mod starts;
mod stdio;
mod stop;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::Sender;
use indexmap::IndexMap;
use nix::errno::Errno;

use self::console::Consoles;
use self::hooks::{Hooks, Job, Leaving, Which};
use self::marker::Marker;
use self::reap::{End, Life, LifeId, Reaper};
use self::sockets::Sockets;
use self::starts::Spawners;
use self::tree::Root;
use super::logs::pump::PumpHandle;
use super::proxy::Proxy;
use crate::base::name::{EnvId, UnitId};
use crate::plan::action::{Action, AnonymousVolumes, Exit, Fault, Incarnation, Outcome, Ticket};
use crate::plan::desired::UnitSpec;
use crate::supervisor::event::Event;
use crate::world::kernel::ends;

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
    spawners: Spawners,
    sockets: Sockets,
    consoles: Consoles,
    /// None where there is nothing to forward with.
    proxy: Option<Proxy>,
}

impl Native {
    /// Begins to look after the processes of an environment. Orphans of what it starts come to this process from now on.
    pub fn new(env: &EnvId, state_dir: PathBuf, events: Sender<Event>, pump: PumpHandle) -> Result<Self, Errno> {
        ends::adopt_orphans()?;
        let env = Marker::of_env(env, &state_dir, nix::unistd::geteuid().as_raw());
        ends::write_sessions_down(&state_dir, env);
        let (reaper, hooks) = (Reaper::new(env)?, Hooks::new());
        Ok(Self {
            env,
            state_dir,
            events,
            pump,
            reaper,
            hooks,
            spawners: Spawners::default(),
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
            Action::Start { .. } => self.start_all(&[(ticket.clone(), action.clone())]).pop().flatten(),
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
                let removed = files::remove(&self.state_dir, unit, *volumes == AnonymousVolumes::Removed);
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

    fn lives_of<'a>(&'a self, unit: &UnitId) -> impl Iterator<Item = &'a Life> + use<'a> {
        self.reaper.of(unit).map(|(_, life)| life)
    }

    /// This life is its unit's from now on: whoever comes for the unit gets to it.
    pub fn lead(&mut self, unit: &UnitId, incarnation: Incarnation) {
        for ((_, number), life) in self.reaper.of_mut(unit) {
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
