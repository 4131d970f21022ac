//! For tests of this room: a unit from a few attributes, and a loop that waits for events.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use indexmap::IndexMap;
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::{Handle, Signals};

use super::Native;
use super::tree::Process as Seen;
use crate::base::name::UnitId;
use crate::model::process::{Command, Process};
use crate::model::service::{Common, Kind, Service};
use crate::model::stack::Stack;
use crate::plan::action::{Action, Exit, Fault, Incarnation, Outcome, ResourceId, Ticket};
use crate::plan::desired::{Caller, Deployment, Places, UnitSpec};
use crate::plan::hash::ConfigHash;
use crate::supervisor::event::Event;
use crate::world::clock;
use crate::world::logs::pump::Pump;
use crate::world::logs::tail::{Next, Reader, Room, Wanted};

/// No wait of a test is longer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub directory: tempfile::TempDir,
    pub native: Native,
    pub events: Receiver<Event>,
    pub pump: Option<Pump>,
    wake: Receiver<()>,
    signals: Handle,
    env: crate::base::name::EnvId,
    serial: u64,
}

impl World {
    /// An environment named after the test.
    pub(super) fn new(env: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sender, events) = unbounded();
        std::fs::create_dir(directory.path().join("logs")).unwrap();
        let pump = Pump::start(&directory.path().join("logs"), sender.clone()).unwrap();
        let env = env.parse().unwrap();
        let native = Native::new(&env, directory.path().to_owned(), sender, pump.handle()).unwrap();
        let (wake, signals) = sigchld();
        Self { directory, native, events, pump: Some(pump), wake, signals, env, serial: 0 }
    }

    /// A unit that runs this script, after the changes.
    pub(super) fn unit(&self, name: &str, script: &str, change: impl FnOnce(&mut Common, &mut Process)) -> UnitSpec {
        let mut common = Common::default();
        let command = Some(Command::List(["/bin/sh", "-c", script].map(str::to_owned).to_vec()));
        let mut process = Process { command, ..Process::default() };
        change(&mut common, &mut process);
        let service = Service { common, kind: Kind::Process(Box::new(process)) };
        let unit: UnitId = name.parse().unwrap();
        let services = IndexMap::from([(unit.service.clone(), service)]);
        let directory = self.directory.path().to_owned();
        let deployment = Deployment {
            env: self.env.clone(),
            stack: Stack { directory: directory.clone(), services, ..Stack::default() },
            caller: Caller {
                environment: IndexMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
                ..Caller::default()
            },
            places: Places {
                state_dir: directory.clone(),
                env_dir: directory.join("env"),
                run_dir: directory.join("run"),
                program: PathBuf::from("/baistack"),
            },
        };
        UnitSpec { unit, deployment: Arc::new(deployment), hash: ConfigHash::from_label("0") }
    }

    pub(super) fn act(&mut self, spec: &UnitSpec, action: &Action) -> Option<Result<Outcome, Fault>> {
        self.serial += 1;
        let ticket = Ticket {
            serial: self.serial,
            resource: ResourceId::Unit(spec.unit.clone()),
            incarnation: Incarnation(1),
            hash: spec.hash.clone(),
            generation: Default::default(),
        };
        self.native.act(&ticket, action)
    }

    pub(super) fn start(&mut self, spec: &UnitSpec) -> Result<i32, String> {
        self.start_for_line(spec, None)
    }

    pub(super) fn start_for_line(&mut self, spec: &UnitSpec, line: Option<&str>) -> Result<i32, String> {
        let (spec_of_it, line) = (spec.clone(), line.map(str::to_owned));
        let action = Action::Start { spec: spec_of_it, incarnation: Incarnation(1), line, container: None, beside: false };
        match self.act(spec, &action) {
            Some(Ok(Outcome::Started { pid: Some(pid), .. })) => Ok(pid),
            Some(Err(fault)) => Err(fault.message),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn stop(&mut self, spec: &UnitSpec) -> Option<Result<Outcome, Fault>> {
        let grace = Duration::from_secs(10);
        self.act(spec, &Action::Stop { spec: spec.clone(), incarnation: Incarnation(1), container: None, grace })
    }

    pub(super) fn kill(&mut self, spec: &UnitSpec, signal: &str) {
        let action = Action::Kill { spec: spec.clone(), incarnation: Incarnation(1), container: None, signal: signal.to_owned() };
        assert_eq!(self.act(spec, &action), Some(Ok(Outcome::Signalled)));
    }

    /// Lets the world go on until an event is as wanted.
    pub(super) fn wait<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = clock::deadline(PATIENCE);
        loop {
            crossbeam_channel::select! {
                recv(self.wake) -> _ => self.native.child_changed(),
                recv(self.events) -> event => if let Some(found) = wanted(&event.unwrap()) { return found },
                default(clock::until(deadline)) => panic!("nothing came"),
            }
        }
    }

    /// Waits until the last process of the unit has ended; every end told until then.
    pub(super) fn ends(&mut self, spec: &UnitSpec) -> Vec<(Exit, u32)> {
        let mut ends = Vec::new();
        self.wait(|event| match event {
            Event::Exited { unit, exit, remaining, .. } if *unit == spec.unit => {
                ends.push((*exit, *remaining));
                (*remaining == 0).then_some(())
            }
            _ => None,
        });
        ends
    }

    /// Waits until a script has written this file.
    pub(super) fn file(&mut self, name: &str) -> String {
        let path = self.directory.path().join(name);
        let deadline = clock::deadline(PATIENCE);
        while !clock::is_past(deadline) {
            match std::fs::read_to_string(&path) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => std::thread::yield_now(),
            }
        }
        panic!("no file {name}");
    }

    /// The lines of a unit's log, without the marks.
    pub(super) fn log(&self, spec: &UnitSpec) -> Vec<String> {
        let path = crate::world::logs::file::path(&self.directory.path().join("logs"), &spec.unit);
        let mut reader = Reader::open(path, spec.unit.clone(), Wanted::default(), &Room::of_process()).unwrap();
        let mut lines = Vec::new();
        while let Next::Line(line) = reader.next_line().unwrap() {
            if line.mark.is_none() {
                lines.push(String::from_utf8(line.text).unwrap());
            }
        }
        lines
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.native.kill_everything();
        self.signals.close();
        if let Some(pump) = self.pump.take() {
            pump.finish();
        }
    }
}

fn sigchld() -> (Receiver<()>, Handle) {
    let (sender, wake): (Sender<()>, _) = unbounded();
    let mut signals = Signals::new([SIGCHLD]).unwrap();
    let handle = signals.handle();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if sender.send(()).is_err() {
                return;
            }
        }
    });
    (wake, handle)
}

/// Whether a process that was seen alive still is.
pub(crate) fn is_alive(pid: i32) -> bool {
    Seen::read(pid).is_some_and(|process| process.is_alive())
}

/// Waits until a process that was killed is gone.
pub(crate) fn await_end(pid: i32) {
    let deadline = clock::deadline(PATIENCE);
    while is_alive(pid) {
        assert!(!clock::is_past(deadline), "{pid} lives on");
        std::thread::yield_now();
    }
}
