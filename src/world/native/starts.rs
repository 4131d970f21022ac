//! Starts processes, several at a time.
//!
//! Whoever makes a child waits until that executes its program, and a processor has nothing else to do meanwhile. So starts that
//! are asked for together are prepared and entered one by one, here, and in between their children are made by several threads.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::cgroup::Cgroup;
use super::console::Console;
use super::hooks::Which;
use super::marker::Marker;
use super::reap::{Life, LifeId};
use super::sockets::Passed;
use super::spawn::{self, Order};
use super::stdio::Stdio;
use super::tree::{Process, Root};
use super::{Native, exec, files, isolation, listener};
use crate::base::name::UnitId;
use crate::model::process::Isolation;
use crate::plan::action::{Action, Fault, Incarnation, Outcome, Ticket};
use crate::plan::desired::UnitSpec;
use crate::world::clock;
use crate::world::kernel::launch::{self, Child, Launch, SpawnError};
use crate::world::logs::file::Size;
use crate::world::logs::pump::{self, LinePattern};
use crate::world::proxy;

/// So many are prepared at a time: each has some descriptors open until it is entered.
const AT_A_TIME: usize = 16;
/// More threads would wait for each other.
const MOST_SPAWNERS: usize = 3;

/// What comes of an action: none yet where it takes longer.
pub(super) type Done = Option<Result<Outcome, Fault>>;

/// A life that is about to begin: all that its start has taken.
struct Prepared<'a> {
    spec: &'a UnitSpec,
    incarnation: Incarnation,
    beside: bool,
    pattern: Option<LinePattern>,
    front: Option<(String, u16)>,
    marker: Marker,
    /// Variables that the loader will drop.
    dropped: Vec<String>,
    stdio: Stdio,
    cgroup: Option<Cgroup>,
    /// What the child gets: open until it has it.
    open: (Option<OwnedFd>, Passed),
}

impl Native {
    /// Starts processes; one answer for each.
    pub fn start_all(&mut self, starts: &[(Ticket, Action)]) -> Vec<Done> {
        starts.chunks(AT_A_TIME).flat_map(|starts| self.start_some(starts)).collect()
    }

    fn start_some(&mut self, starts: &[(Ticket, Action)]) -> Vec<Done> {
        let (mut prepared, mut launches) = (Vec::new(), Vec::new());
        for (_, action) in starts {
            let Action::Start { spec, incarnation, line, beside, .. } = action else {
                prepared.push(Err(Fault::permanent(format!("{} is no start", action.verb()))));
                continue;
            };
            let is_taken = |marker| prepared.iter().flatten().any(|other: &Prepared<'_>| other.marker == marker);
            match self.prepare(spec, *incarnation, line.as_deref(), *beside, is_taken) {
                Ok((one, launch)) => {
                    prepared.push(Ok(one));
                    launches.push(launch);
                }
                Err(fault) => prepared.push(Err(fault)),
            }
        }
        let mut began = self.spawners.spawn(launches).into_iter();
        let enter = |(prepared, (ticket, _)): (Result<Prepared<'_>, Fault>, &(Ticket, Action))| {
            let started = prepared.and_then(|prepared| {
                let (spec, incarnation) = (prepared.spec, prepared.incarnation);
                let (launch, began) = began.next().expect("each that is prepared has a launch");
                self.enter(prepared, &launch, began).map(|outcome| (spec, incarnation, outcome))
            });
            match started {
                Ok((spec, incarnation, outcome)) if !spec.service().common.post_start.is_empty() => {
                    self.run_hooks(ticket, spec, incarnation, Which::PostStart(outcome), None, None)
                }
                started => Some(started.map(|(.., outcome)| outcome)),
            }
        };
        prepared.into_iter().zip(starts).map(enter).collect()
    }

    fn prepare<'a>(
        &mut self,
        spec: &'a UnitSpec,
        incarnation: Incarnation,
        line: Option<&str>,
        beside: bool,
        is_taken: impl Fn(Marker) -> bool,
    ) -> Result<(Prepared<'a>, Launch), Fault> {
        let other = self.reaper.of(&spec.unit).nth(usize::from(beside)).map(|((_, life), _)| *life);
        if let Some(life) = other {
            return Err(Fault::temporary(format!("its life number {} has not ended yet", life.0)));
        }
        if !beside {
            exec::end_tests(self.env, &spec.unit);
        }
        let pattern = line.map(LinePattern::new).transpose().map_err(|error| Fault::permanent(error.to_string()))?;
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
        let marker = self.free_marker(&spec.unit, is_taken);
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
        marker.put(&mut launch);
        // This thread and the spawners live as long as the supervisor does, so this signal means that the supervisor is gone.
        launch.death_signal = Some(libc::SIGKILL);
        let open = (entrance, passed);
        let one = Prepared { spec, incarnation, beside, pattern, front, marker, dropped, stdio, cgroup, open };
        Ok((one, launch))
    }

    fn enter(&mut self, prepared: Prepared<'_>, launch: &Launch, began: Began) -> Result<Outcome, Fault> {
        let Prepared { spec, incarnation, beside, pattern, front, marker, dropped, stdio, cgroup, open } = prepared;
        let Began { child, at } = began;
        let child = child.map_err(|error| spawn::explain(&error, &Order::own(spec), launch))?;
        drop(open);
        let common = &spec.service().common;
        let birth = Process::read(child.pid).map_or(0, |process| process.birth);
        let (streams, input) = stdio.into_ours();
        self.pump.begin(pump::Begin {
            unit: spec.unit.clone(),
            incarnation,
            beside,
            size: Size::of(common.logging.as_ref()),
            pattern,
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
            began: at,
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

    /// A unit's mark, or the next one that no other unit has.
    fn free_marker(&self, unit: &UnitId, is_taken: impl Fn(Marker) -> bool) -> Marker {
        let mut marker = self.env.of_unit(unit);
        while self.reaper.has(marker) || is_taken(marker) {
            marker = marker.successor();
        }
        marker
    }
}

/// A child that was made, or why not.
struct Began {
    child: Result<Child, SpawnError>,
    /// When that was begun.
    at: std::time::SystemTime,
}

impl Began {
    fn now(launch: &Launch) -> Self {
        Self { at: clock::wall(), child: launch::spawn(launch) }
    }
}

/// Threads that make children beside the one which asks for them; there are none before several are asked for at a time. They live
/// as long as the supervisor: the kernel kills a child when the thread that made it ends.
#[derive(Debug, Default)]
pub(super) struct Spawners(Option<Helpers>);

#[derive(Debug)]
struct Helpers {
    jobs: Sender<(usize, Launch)>,
    /// Those that nobody has taken yet.
    waiting: Receiver<(usize, Launch)>,
    done: Receiver<(usize, Launch, Began)>,
}

impl Spawners {
    /// Makes children of these, all at the same time as far as there are processors.
    fn spawn(&mut self, launches: Vec<Launch>) -> Vec<(Launch, Began)> {
        let alone = |launch: Launch| {
            let began = Began::now(&launch);
            (launch, began)
        };
        if launches.len() < 2 {
            return launches.into_iter().map(alone).collect();
        }
        let helpers = self.0.get_or_insert_with(Helpers::start);
        let count = launches.len();
        let mut made: Vec<Option<(Launch, Began)>> = (0..count).map(|_| None).collect();
        for job in launches.into_iter().enumerate() {
            helpers.jobs.send(job).expect("we hold a receiver");
        }
        while let Ok((index, launch)) = helpers.waiting.try_recv() {
            made[index] = Some(alone(launch));
        }
        while made.iter().any(Option::is_none) {
            let (index, launch, began) = helpers.done.recv().expect("a thread that takes a job answers, or there is no thread");
            made[index] = Some((launch, began));
        }
        made.into_iter().flatten().collect()
    }
}

impl Helpers {
    fn start() -> Self {
        let (jobs, waiting) = unbounded::<(usize, Launch)>();
        let (tell, done) = unbounded();
        let processors = thread::available_parallelism().map_or(1, Into::into);
        for _ in 0..(processors - 1).min(MOST_SPAWNERS) {
            let (waiting, tell) = (waiting.clone(), tell.clone());
            let make = move || {
                for (index, launch) in waiting {
                    let began = Began::now(&launch);
                    if tell.send((index, launch, began)).is_err() {
                        return;
                    }
                }
            };
            // Without any the thread that asks makes them all.
            let _ = thread::Builder::new().name("spawner".to_owned()).spawn(make);
        }
        Self { jobs, waiting, done }
    }
}
