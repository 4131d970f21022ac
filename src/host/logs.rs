//! The logs of an environment as one: files of processes and what the engine keeps of containers, merged by time.
//!
//! Each container has a thread that reads its log and, when following, opens it again after every new life. It may stay a
//! step behind: only so many lines are read ahead.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, never, unbounded};

use super::engine::Engine;
use crate::base::name::{ServiceName, UnitId};
use crate::plan::action::{Fault, FaultKind};
use crate::supervisor::status::{UnitKind, UnitState, UnitStatus};
use crate::world::docker::{LogLine, LogRange, LogStream};
use crate::world::envdir::EnvDir;
use crate::world::logs::line::Line;
use crate::world::logs::merge::{self, Announced, Fed, Sources};
use crate::world::logs::record::{Stream, Timestamp};
use crate::world::logs::tail;

pub use crate::world::logs::merge::Given;
pub use crate::world::logs::tail::Run;

/// Lines of one container that are read ahead.
const AHEAD: usize = 1024;
/// A container's line is given in pieces of this size at most.
const LONGEST: usize = 256 * 1024;
/// So long the engine may take to tell the last lines of containers that have ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// And so long where other containers run on.
const A_MOMENT: Duration = Duration::from_millis(100);
/// So long the engine is left in peace after it went away.
const PAUSE: Duration = Duration::from_secs(1);

/// What of the logs is wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of these services; empty is all.
    pub services: Vec<ServiceName>,
    /// Of this replica only.
    pub replica: Option<u32>,
    /// The last so many lines of each unit.
    pub tail: Option<usize>,
    /// Lines from then on.
    pub since: Option<SystemTime>,
    /// Lines until then.
    pub until: Option<SystemTime>,
    /// Only one life. Containers keep no count of theirs: only the last can be told.
    pub run: Option<Run>,
    /// What is added later, too.
    pub follow: bool,
}

impl Wanted {
    /// Whether a unit's log is wanted.
    pub fn has(&self, unit: &UnitId) -> bool {
        (self.services.is_empty() || self.services.contains(&unit.service))
            && self.replica.is_none_or(|replica| replica == unit.replica)
    }
}

/// A container whose log is to be read.
#[derive(Debug, Clone)]
pub struct Container {
    /// Whose replica it is.
    pub unit: UnitId,
    /// The engine's id.
    pub id: String,
    /// When its present or last life began, if known.
    pub born: Option<SystemTime>,
}

/// Logs that are being read.
pub struct Feed {
    wanted: Wanted,
    /// Where further sources are put.
    feeds: Sender<Announced>,
    /// Closing it ends the reading.
    stop: Sender<()>,
    /// Closed when the reading has ended.
    ended: Receiver<()>,
    /// What wakes the reader of a container: it may have begun a new life.
    containers: HashMap<String, mpsc::Sender<()>>,
    /// Each reader of a container holds one.
    alive: Sender<()>,
    /// Closed when all of them have ended.
    readers: Receiver<()>,
    reading: JoinHandle<io::Result<()>>,
}

impl Feed {
    /// Reads on a thread of its own; `deliver` says whether it wants more.
    pub fn start(env_dir: &EnvDir, wanted: Wanted, mut deliver: impl FnMut(Given) -> bool + Send + 'static) -> io::Result<Self> {
        let (feeds, feed_list) = unbounded();
        let (reads, ended) = bounded(0);
        let (stop, stopped) = bounded(0);
        let (alive, readers) = bounded(0);
        let directory: PathBuf = env_dir.logs();
        let selection = wanted.clone();
        let reading = thread::Builder::new().name("logs".to_owned()).spawn(move || {
            let _reads: Sender<()> = reads;
            let select = |unit: &UnitId| selection.has(unit);
            let sources = Sources {
                directory: &directory,
                select: &select,
                wanted: of_files(&selection),
                feeds: feed_list,
                stop: if selection.follow { stopped } else { never() },
            };
            merge::read(sources, |given| if deliver(given) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(Self { wanted, feeds, stop, ended, containers: HashMap::new(), alive, readers, reading })
    }

    /// A container is there, or has begun a new life. One that is known or not wanted is passed over.
    pub fn container(&mut self, engine: &'static Engine, container: &Container) -> io::Result<()> {
        if !self.wanted.has(&container.unit) {
            return Ok(());
        }
        if let Some(wake) = self.containers.get(&container.id) {
            // A reader that has ended needs not be woken.
            let _ = wake.send(());
            return Ok(());
        }
        let (wake, woken) = mpsc::channel();
        let (lines, feed) = bounded(AHEAD);
        let mut reader = Reader { engine, container: container.clone(), wanted: self.wanted.clone(), last: None, lines, woken };
        let alive = self.alive.clone();
        thread::Builder::new().name(format!("log {}", container.unit)).spawn(move || {
            reader.read();
            drop(alive);
        })?;
        self.containers.insert(container.id.clone(), wake);
        // The thread that merges has ended only when nobody wants more.
        let _ = self.feeds.send(Announced::Feed(feed));
        Ok(())
    }

    /// All containers that there are at present have been handed over: lines are given from now on.
    pub fn all_known(&self) {
        // As above.
        let _ = self.feeds.send(Announced::All);
    }

    /// What a notice says of a container: it is there, or has begun a new life. `engine` is asked for when it is needed.
    pub fn unit<E>(&mut self, unit: &UnitStatus, engine: impl FnOnce() -> Result<&'static Engine, E>) -> io::Result<()> {
        let Some(id) = &unit.container else { return Ok(()) };
        if unit.kind != UnitKind::Container || unit.state != UnitState::Running {
            return Ok(());
        }
        let Ok(engine) = engine() else { return Ok(()) };
        self.container(engine, &Container { unit: unit.unit.clone(), id: id.clone(), born: None })
    }

    /// Whether nobody wants more, or there is no more.
    pub fn is_over(&self) -> bool {
        matches!(self.ended.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Closed when nobody wants more, or there is no more.
    pub fn ended(&self) -> &Receiver<()> {
        &self.ended
    }

    /// Waits until all history has been delivered. For what is not followed.
    pub fn join(self) -> io::Result<()> {
        drop(self.feeds);
        drop(self.containers);
        joined(self.reading)
    }

    /// Delivers what there is, and ends. For what is followed. Of containers that have ended the engine tells the last lines, and
    /// that there are no more. One that runs on has none, so where `some_run_on` nobody waits for the end of everything.
    pub fn finish(self, some_run_on: bool) -> io::Result<()> {
        let is_over = self.is_over();
        // Who is woken no more ends with the life that it reads.
        drop((self.containers, self.alive));
        if !is_over {
            // Nothing is ever sent: it is closed, or it takes too long.
            let _ = self.readers.recv_timeout(if some_run_on { A_MOMENT } else { LAST_WORDS });
        }
        drop(self.stop);
        joined(self.reading)
    }
}

fn joined(reading: JoinHandle<io::Result<()>>) -> io::Result<()> {
    reading.join().unwrap_or_else(|_| Err(io::Error::other("the reader of logs has panicked")))
}

fn of_files(wanted: &Wanted) -> tail::Wanted {
    tail::Wanted {
        tail: wanted.tail,
        since: wanted.since.map(Timestamp::from),
        until: wanted.until.map(Timestamp::from),
        run: wanted.run,
        follow: wanted.follow,
    }
}

/// Reads one container.
struct Reader {
    engine: &'static Engine,
    container: Container,
    wanted: Wanted,
    /// The time of the last line.
    last: Option<SystemTime>,
    lines: Sender<Fed>,
    woken: mpsc::Receiver<()>,
}

/// Why a log is read no further.
enum Stop {
    /// Nobody listens.
    Unheard,
    /// The engine says no.
    Fault(Fault),
}

impl Reader {
    fn read(&mut self) {
        let born = self.wanted.run.and(self.container.born);
        let range = LogRange {
            since: self.wanted.since.max(born),
            until: self.wanted.until,
            tail: self.wanted.tail.and_then(|lines| u64::try_from(lines).ok()),
            follow: false,
        };
        let history = self.pass_on(range);
        if matches!(history, Err(Stop::Unheard)) || self.lines.send(Fed::CaughtUp).is_err() || !self.wanted.follow {
            return;
        }
        let begun = self.wanted.since.unwrap_or_else(crate::world::clock::wall);
        loop {
            // The engine tells lines of this very time again; they are known and left out.
            let since = Some(self.last.unwrap_or(begun));
            let woken = match self.pass_on(LogRange { since, follow: true, ..LogRange::default() }) {
                Err(Stop::Unheard) => return,
                // A container that is no more has said everything.
                Err(Stop::Fault(fault)) if fault.kind == FaultKind::Permanent => return,
                Err(Stop::Fault(_)) => self.woken.recv_timeout(PAUSE).or_else(|error| match error {
                    mpsc::RecvTimeoutError::Timeout => Ok(()),
                    mpsc::RecvTimeoutError::Disconnected => Err(()),
                }),
                Ok(()) => self.woken.recv().map_err(|_| ()),
            };
            if woken.is_err() {
                return;
            }
        }
    }

    fn pass_on(&mut self, range: LogRange) -> Result<(), Stop> {
        let known = self.last;
        let mut open: [Option<Line>; 2] = [None, None];
        for line in self.engine.logs(self.container.id.clone(), range) {
            let LogLine { time, stream, bytes, ends } = line.map_err(Stop::Fault)?;
            if known.is_some_and(|known| time <= known) {
                continue;
            }
            self.last = Some(time);
            let stream = match stream {
                LogStream::Stdout => Stream::Stdout,
                LogStream::Stderr => Stream::Stderr,
            };
            let line = open[stream as usize].get_or_insert_with(|| Line {
                time: time.into(),
                unit: self.container.unit.clone(),
                stream,
                text: Vec::new(),
                open: false,
                shown: 0,
                mark: None,
            });
            line.text.extend_from_slice(&bytes);
            if (ends || line.text.len() >= LONGEST)
                && let Some(line) = open[stream as usize].take()
            {
                self.lines.send(Fed::Line(line)).map_err(|_| Stop::Unheard)?;
            }
        }
        for line in open.into_iter().flatten() {
            self.lines.send(Fed::Line(line)).map_err(|_| Stop::Unheard)?;
        }
        Ok(())
    }
}
