//! The logs of an environment as one: files of processes and what the engine keeps of containers, merged by time.
//!
//! Each container has a thread that reads it. A life that somebody waits to start until we are attached is read as it is written, and
//! none of it is missed; whatever else it has written, from the engine's log, which is opened again for every new life. The thread may
//! stay a step behind: only so much is read ahead.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, never, unbounded};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::engine::Engine;
use crate::base::name::{ServiceName, UnitId};
use crate::plan::action::{Fault, FaultKind};
use crate::supervisor::status::{UnitKind, UnitState, UnitStatus};
use crate::world::clock;
use crate::world::docker::{Docker, LiveOutput, Lives, LogLine, LogRange, LogStream};
use crate::world::envdir::EnvDir;
use crate::world::logs::line::{LineRef, Lines};
use crate::world::logs::merge::{self, Announced, Fed, Sources};
use crate::world::logs::record::{Stream, Timestamp};
use crate::world::logs::tail;

pub use crate::world::logs::merge::Given;
pub use crate::world::logs::tail::Run;

/// So many times some lines of one container are read ahead, as many as come at once.
const AHEAD: usize = 4;
/// So long the engine may be silent before it has told the last lines of containers that have ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// And so long where other containers run on.
const A_MOMENT: Duration = Duration::from_millis(100);
/// So long the engine is left in peace after it went away.
const PAUSE: Duration = Duration::from_secs(1);

/// What of the logs is wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of these services; all where none are given.
    pub services: Option<Vec<ServiceName>>,
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
        self.services.as_ref().is_none_or(|services| services.contains(&unit.service))
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
    /// What wakes the reader of a container.
    containers: HashMap<String, UnboundedSender<Wake>>,
    /// Each reader of a container holds one.
    alive: Sender<()>,
    /// Closed when all of them have ended.
    readers: Receiver<()>,
    /// Of all of them.
    pulse: Arc<Pulse>,
    reading: JoinHandle<io::Result<()>>,
}

impl Feed {
    /// Reads on a thread of its own; `deliver` says whether it wants more.
    pub fn start(
        env_dir: &EnvDir,
        wanted: Wanted,
        mut deliver: impl FnMut(Given<'_>) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        if wanted.follow && env_dir.is_ours() {
            // Only in a directory that is there can files be watched for, and only one that is watched is heard of at once. Where it
            // cannot be made nobody writes there either.
            let _ = env_dir.create_logs();
        }
        let (feeds, feed_list) = unbounded();
        let (reads, ended) = bounded(0);
        let (stop, stopped) = bounded(0);
        let (alive, readers) = bounded(0);
        let (begin, begun) = bounded::<()>(0);
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
                begun: Some(begin),
            };
            merge::read(sources, |given| if deliver(given) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        // What is written from now on is seen from its first line on. Nothing is sent: it is dropped.
        let _ = begun.recv();
        let pulse = Arc::default();
        Ok(Self { wanted, feeds, stop, ended, containers: HashMap::new(), alive, readers, pulse, reading })
    }

    /// A container is there, or has begun a new life. One that is known or not wanted is passed over.
    pub fn container(&mut self, engine: &'static Engine, container: &Container) -> io::Result<()> {
        self.wake(engine, container, Wake::Runs)
    }

    /// A container is about to start, for which somebody waits until `attached` is dropped. From then on nothing is missed that it writes.
    pub fn starts(&mut self, engine: &'static Engine, container: &Container, attached: Attached) -> io::Result<()> {
        self.wake(engine, container, Wake::Starts(attached))
    }

    fn wake(&mut self, engine: &'static Engine, container: &Container, wake: Wake) -> io::Result<()> {
        if !self.wanted.has(&container.unit) {
            return Ok(());
        }
        if let Some(reader) = self.containers.get(&container.id) {
            // A reader that has ended needs not be woken.
            let _ = reader.send(wake);
            return Ok(());
        }
        let (waker, woken) = mpsc::unbounded_channel();
        let _ = waker.send(wake);
        let (lines, feed) = bounded(AHEAD);
        let lines = Outlet { lines, pulse: Arc::clone(&self.pulse) };
        let mut reader = Reader { container: container.clone(), wanted: self.wanted.clone(), last: None, lines, woken };
        let alive = self.alive.clone();
        thread::Builder::new().name(format!("log {}", container.unit)).spawn(move || {
            // Why it ends nobody asks: its feed does.
            let _ = engine.with(async |docker| reader.read(docker).await);
            drop((reader, alive));
        })?;
        self.containers.insert(container.id.clone(), waker);
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
        // Nothing is ever sent: it is closed, or it takes too long. Whoever takes the lines may take his time.
        let waits = |patience| matches!(self.readers.recv_timeout(patience), Err(RecvTimeoutError::Timeout));
        match (is_over, some_run_on) {
            (true, _) => {}
            (false, true) => drop(waits(A_MOMENT)),
            (false, false) => while waits(LAST_WORDS) && self.pulse.beats() {},
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
    container: Container,
    wanted: Wanted,
    /// Where what its log has is to be read from: the engine's time of the last line that was given, or stands there for one.
    last: Option<SystemTime>,
    lines: Outlet,
    woken: UnboundedReceiver<Wake>,
}

/// What becomes of a container.
enum Wake {
    /// It runs, perhaps in a new life.
    Runs,
    /// It is about to start.
    Starts(Attached),
}

/// Owed to whoever waits for somebody to be attached to a container, who is told when this is dropped: that it is so, or will not be.
pub struct Attached(Option<Box<dyn FnOnce() + Send>>);

impl Attached {
    /// Has `tell` called once.
    pub fn or_not(tell: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|tell| tell());
    }
}

/// Why a container is read no further.
enum Stop {
    /// Nobody listens, or will ask for more.
    Unheard,
    /// The engine says no.
    Fault(Fault),
}

impl Reader {
    async fn read(&mut self, docker: &Docker) -> Result<(), Stop> {
        let begun = self.wanted.since.unwrap_or_else(clock::wall);
        let mut woken = self.woken.recv().await;
        if let Some(Wake::Runs) = woken {
            self.read_history(docker).await?;
        }
        self.lines.send(Fed::CaughtUp)?;
        while let Some(wake) = woken.filter(|_| self.wanted.follow) {
            let broken_off = match wake {
                Wake::Runs => self.read_on(docker, self.last.unwrap_or(begun)).await?,
                Wake::Starts(attached) => self.read_life(docker, attached).await?,
            };
            woken = match broken_off {
                Some(wake) => Some(wake),
                None => self.woken.recv().await,
            };
        }
        Ok(())
    }

    async fn read_history(&mut self, docker: &Docker) -> Result<(), Stop> {
        let born = self.wanted.run.and(self.container.born);
        let range = LogRange {
            since: self.wanted.since.max(born),
            until: self.wanted.until,
            tail: self.wanted.tail.and_then(|lines| u64::try_from(lines).ok()),
            follow: false,
        };
        match self.read_to_end(docker, range).await {
            // What it has said since is told nevertheless.
            Err(Stop::Fault(_)) | Ok(()) => Ok(()),
            unheard => unheard,
        }
    }

    async fn read_to_end(&mut self, docker: &Docker, range: LogRange) -> Result<(), Stop> {
        let known = self.last;
        let mut log = docker.logs(&self.container.id, range).await?;
        while let Some(lines) = log.next().await {
            self.give_of_log(lines?, known)?;
        }
        Ok(())
    }

    /// Follows the log to the end of a life, across absences of the engine. What breaks that off is answered.
    async fn read_on(&mut self, docker: &Docker, begun: SystemTime) -> Result<Option<Wake>, Stop> {
        loop {
            let since = Some(self.last.unwrap_or(begun));
            let pause = match self.follow(docker, since).await {
                Ok(None) => return Ok(None),
                Ok(Some(Wake::Runs)) => continue,
                Ok(Some(starts @ Wake::Starts(_))) => {
                    // The life that was followed is over, and no other begins before this is answered.
                    let range = LogRange { since: Some(self.last.unwrap_or(begun)), ..LogRange::default() };
                    if let Err(Stop::Unheard) = self.read_to_end(docker, range).await {
                        return Err(Stop::Unheard);
                    }
                    return Ok(Some(starts));
                }
                Err(Stop::Fault(fault)) if fault.kind != FaultKind::Permanent => tokio::time::sleep(PAUSE),
                // It is no more, or nobody keeps what it writes.
                Err(Stop::Fault(_)) => return Ok(None),
                Err(Stop::Unheard) => return Err(Stop::Unheard),
            };
            let woken = tokio::select! {
                woken = self.woken.recv() => woken.ok_or(Stop::Unheard)?,
                () = pause => Wake::Runs,
            };
            if let Wake::Starts(_) = woken {
                return Ok(Some(woken));
            }
        }
    }

    /// Gives what the log has from then on until it ends; the engine tells lines of this very time again, which are known. Answers with
    /// what has become of the container meanwhile.
    async fn follow(&mut self, docker: &Docker, since: Option<SystemTime>) -> Result<Option<Wake>, Stop> {
        let (known, mut woken) = (self.last, None);
        let mut log = docker.logs(&self.container.id, LogRange { since, follow: true, ..LogRange::default() }).await?;
        let mut is_asked = true;
        loop {
            tokio::select! {
                lines = log.next() => match lines {
                    Some(lines) => self.give_of_log(lines?, known)?,
                    None => return Ok(woken),
                },
                wake = self.woken.recv(), if is_asked => match wake {
                    Some(Wake::Runs) => woken = Some(Wake::Runs),
                    Some(starts) => return Ok(Some(starts)),
                    // Who is woken no more ends with the life that it reads.
                    None => is_asked = false,
                },
            }
        }
    }

    /// Is attached to a container from before its start to the end of its life, and of each that it is attached to meanwhile.
    async fn read_life(&mut self, docker: &Docker, attached: Attached) -> Result<Option<Wake>, Stop> {
        let (mut live, mut next) = (self.attach(docker).await, None);
        drop(attached);
        if live.as_ref().is_some_and(|live| live.before.runs) {
            // We come too late for its begin, which its log has.
            return Ok(Some(Wake::Runs));
        }
        let mut is_asked = true;
        while let Some(Live { output, before, heard }) = &mut live {
            let mut some = Gathered::of(&self.container.unit);
            tokio::select! {
                // A life's last words come before whatever follows it.
                biased;
                read = output.next(|time, stream, line| some.push(time, stream, line)) => match read {
                    Some(Ok(())) => {
                        *heard = some.last();
                        self.lines.send(Fed::Lines(some.lines))?;
                    }
                    Some(Err(_)) | None if next.is_none() && is_asked => {
                        let (before, heard) = (*before, *heard);
                        return Ok(self.pass_over(docker, before, heard).await);
                    }
                    Some(Err(_)) | None => {
                        live = next.take();
                        // All of the life before has been given.
                        self.last = live.as_ref().and_then(|live: &Live| live.before.ended).max(self.last);
                    }
                },
                wake = self.woken.recv(), if is_asked => match wake {
                    // In the life at hand.
                    Some(Wake::Runs) => {}
                    Some(Wake::Starts(attached)) => {
                        let another = self.attach(docker).await;
                        drop(attached);
                        let Some(another) = another.filter(|another| !another.before.runs) else { continue };
                        // A start that has failed has begun no life that could be told of.
                        let is_unused = before.began == another.before.began;
                        *if is_unused { &mut live } else { &mut next } = Some(another);
                    }
                    None => is_asked = false,
                },
            }
        }
        if is_asked { Ok(None) } else { Err(Stop::Unheard) }
    }

    async fn attach(&self, docker: &Docker) -> Option<Live> {
        let (output, before) = docker.live_output(&self.container.id).await.ok()?;
        Some(Live { output, before, heard: None })
    }

    /// What was given as it was written stands in the log too, which is read from behind it. Answers with what has become of the
    /// container since. How it stood `before`, and when it was `heard` last, tell what has happened if it runs.
    async fn pass_over(&mut self, docker: &Docker, before: Lives, heard: Option<SystemTime>) -> Option<Wake> {
        let id = self.container.id.clone();
        let ended = docker.lives(&id).await;
        let newest = docker.newest_entry(&id).await.unwrap_or_default();
        let mut starts = None;
        while let Ok(wake) = self.woken.try_recv() {
            starts = Some(wake).filter(|wake| matches!(wake, Wake::Starts(_))).or(starts);
        }
        let (Ok(ended), Ok(now)) = (ended, docker.lives(&id).await) else {
            // The engine has gone away, and will tell where it runs when it is there again.
            self.last = heard.or(self.last);
            return starts;
        };
        if !ended.runs && !now.runs {
            self.last = newest.max(self.last);
            return starts;
        }
        self.last = match (now.ended.filter(|ended| Some(*ended) > before.ended), now.began) {
            // It is in another life by now. An engine lets some time pass between two.
            (Some(ended), Some(began)) => Some(ended + began.duration_since(ended).unwrap_or_default() / 2),
            // Or in the same: the connection has broken off.
            (None, _) | (_, None) => heard.or(self.last),
        };
        starts.or(Some(Wake::Runs))
    }

    /// Gives lines of the log that are not older than what is known.
    fn give_of_log(&mut self, mut lines: Vec<LogLine>, known: Option<SystemTime>) -> Result<(), Stop> {
        lines.retain(|line| known.is_none_or(|known| line.time > known));
        self.last = lines.iter().map(|line| line.time).max().max(self.last);
        let mut some = Gathered::of(&self.container.unit);
        lines.iter().for_each(|line| some.push(line.time, line.stream, &line.bytes));
        self.lines.send(Fed::Lines(some.lines))
    }
}

/// What a container writes in the life that it was attached to for.
struct Live {
    output: LiveOutput,
    /// How it stood before.
    before: Lives,
    /// When something was heard last.
    heard: Option<SystemTime>,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Where the lines of a container are given.
struct Outlet {
    lines: Sender<Fed>,
    pulse: Arc<Pulse>,
}

impl Outlet {
    /// Waits for whoever takes them.
    fn send(&self, fed: Fed) -> Result<(), Stop> {
        self.pulse.giving.fetch_add(1, Ordering::Relaxed);
        let sent = self.lines.send(fed).map_err(|_| Stop::Unheard);
        self.pulse.given.store(true, Ordering::Relaxed);
        self.pulse.giving.fetch_sub(1, Ordering::Relaxed);
        sent
    }
}

/// Lines of a container that are given at once.
struct Gathered<'a> {
    unit: &'a UnitId,
    lines: Lines,
    /// What is read at once has one time.
    last: Option<(SystemTime, Timestamp)>,
}

impl<'a> Gathered<'a> {
    fn of(unit: &'a UnitId) -> Self {
        Self { unit, lines: Lines::default(), last: None }
    }

    fn push(&mut self, time: SystemTime, stream: LogStream, text: &[u8]) {
        let stamp = match self.last {
            Some((last, stamp)) if last == time => stamp,
            Some(_) | None => time.into(),
        };
        self.last = Some((time, stamp));
        let stream = match stream {
            LogStream::Stdout => Stream::Stdout,
            LogStream::Stderr => Stream::Stderr,
        };
        self.lines.push(LineRef { time: stamp, unit: self.unit, stream, text, open: false, shown: 0, mark: None });
    }

    /// The time of the last one.
    fn last(&self) -> Option<SystemTime> {
        self.last.map(|(time, _)| time)
    }
}

/// Whether readers have anything to give.
#[derive(Debug, Default)]
struct Pulse {
    /// So many wait for whoever takes it.
    giving: AtomicUsize,
    /// Something was given since this was asked last.
    given: AtomicBool,
}

impl Pulse {
    fn beats(&self) -> bool {
        self.given.swap(false, Ordering::Relaxed) || self.giving.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::envdir::StateDir;

    #[test]
    fn whoever_follows_a_new_environment_has_a_directory_to_watch_and_leaves_none_behind_of_nobody() {
        let place = tempfile::tempdir().unwrap();
        let dir = StateDir::at(place.path().to_owned()).env(&"e".parse().unwrap());
        let follow = || Feed::start(&dir, Wanted { follow: true, ..Wanted::default() }, |_| true).unwrap();
        follow().finish(true).unwrap();
        assert!(!dir.path().exists());
        dir.create().unwrap();
        follow().finish(true).unwrap();
        assert!(dir.logs().is_dir());
    }
}
