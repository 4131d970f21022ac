//! From the processes' pipes into their log files: one thread for all.
//!
//! It reads what is there, frames it into records (one timestamp a read) and writes them when the pipe is empty or 256 KiB
//! have come together. A line without its end is written after [`PATIENCE`], so that a prompt is seen; the reader joins the
//! pieces. An end is told only after all that was written before it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use indexmap::IndexMap;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollTimeout;

use super::file::{self, LogFile, Size};
use super::frame::Framer;
use super::record::{Head, Mark, Part, Record, Stream, Timestamp};
use crate::base::name::UnitId;
use crate::plan::action::{Exit, Incarnation};
use crate::supervisor::event::Event;
use crate::world::clock;
use crate::world::kernel::poller::{Poller, Ready, Waker};

/// So long an unfinished line is held back.
const PATIENCE: Duration = Duration::from_millis(50);
/// So much is read from one pipe before the next has its turn.
const TURN: usize = 256 * 1024;
/// So much is read for an end that is to be told while somebody goes on to write.
const LAST_TURN: usize = 1024 * 1024;
/// A pipe holds 64 KiB; one that was made larger has its larger reads.
const READ: usize = 128 * 1024;
/// The key of the descriptor that wakes the thread.
const WAKE: u64 = 0;

/// A regular expression that a line is to match.
#[derive(Debug, Clone)]
pub struct LinePattern(regex::bytes::Regex);

impl LinePattern {
    /// Compiles it.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        regex::bytes::Regex::new(pattern).map(Self)
    }
}

/// A life begins.
#[derive(Debug)]
pub struct Begin {
    /// Of which unit.
    pub unit: UnitId,
    /// Which life.
    pub incarnation: Incarnation,
    /// Another life of the unit goes on.
    pub beside: bool,
    /// How much of its log is kept.
    pub size: Size,
    /// What is looked for in its lines, told once by `Event::LineMatched`.
    pub pattern: Option<LinePattern>,
    /// Our ends of what it writes to.
    pub streams: Vec<(Stream, OwnedFd)>,
}

/// What a process is heard to do, by those who listen to it.
#[derive(Debug, Clone)]
pub enum Heard {
    /// It has written this.
    Written(Stream, Vec<u8>),
    /// It has ended, after all that it has written.
    Ended(Exit),
}

/// How much a listener may be behind. One that falls further behind is not told any more: the pump waits for nobody.
const BEHIND: usize = 512;

enum Order {
    Begin(Begin),
    Listen { unit: UnitId, incarnation: Incarnation, listener: Sender<Heard> },
    Add { unit: UnitId, stream: Stream, pipe: OwnedFd },
    Note { unit: UnitId, text: String },
    End { unit: UnitId, incarnation: Incarnation, event: Event },
    Finish,
}

/// Gives orders to the pump, from any thread.
#[derive(Debug, Clone)]
pub struct PumpHandle {
    orders: Sender<Order>,
    wake: Arc<Waker>,
}

impl PumpHandle {
    /// Takes over what a new life writes to.
    pub fn begin(&self, begin: Begin) {
        self.send(Order::Begin(begin));
    }

    /// Takes over one more pipe: the output of a hook or check goes into its unit's log.
    pub fn add(&self, unit: &UnitId, stream: Stream, pipe: OwnedFd) {
        self.send(Order::Add { unit: unit.clone(), stream, pipe });
    }

    /// Writes a word of the supervisor's into a unit's log.
    pub fn note(&self, unit: &UnitId, text: impl Into<String>) {
        self.send(Order::Note { unit: unit.clone(), text: text.into() });
    }

    /// Sends an event once everything that this life has written is in the log.
    pub fn end(&self, unit: &UnitId, incarnation: Incarnation, event: Event) {
        self.send(Order::End { unit: unit.clone(), incarnation, event });
    }

    /// Tells what a life of a unit writes from now on, until its end.
    pub fn listen(&self, unit: &UnitId, incarnation: Incarnation) -> Receiver<Heard> {
        let (listener, heard) = bounded(BEHIND);
        self.send(Order::Listen { unit: unit.clone(), incarnation, listener });
        heard
    }

    fn send(&self, order: Order) {
        // The thread ends only with `Pump::finish`; what is said afterwards has nobody to hear it.
        if self.orders.send(order).is_ok() {
            self.wake.wake();
        }
    }
}

/// The thread.
#[derive(Debug)]
pub struct Pump {
    handle: PumpHandle,
    thread: JoinHandle<()>,
}

impl Pump {
    /// Starts it. Logs are written below `directory`, which is made for its owner alone; events go to `events`.
    pub fn start(directory: &Path, events: Sender<Event>) -> io::Result<Self> {
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).recursive(true).create(directory)?;
        let (sender, orders) = unbounded();
        let wake = Arc::new(Waker::new()?);
        let poller = Poller::new()?;
        poller.add(&*wake, WAKE)?;
        let mut worker = Worker {
            poller,
            wake: Arc::clone(&wake),
            orders,
            events,
            directory: directory.to_owned(),
            logs: IndexMap::new(),
            sources: IndexMap::new(),
            last_key: WAKE,
            unfinished: VecDeque::new(),
            buffer: vec![0; READ],
            out: Vec::with_capacity(2 * TURN),
        };
        let thread = std::thread::Builder::new().name("log pump".to_owned()).spawn(move || worker.run())?;
        Ok(Self { handle: PumpHandle { orders: sender, wake }, thread })
    }

    /// For giving orders.
    pub fn handle(&self) -> PumpHandle {
        self.handle.clone()
    }

    /// Writes down everything that has been written so far and ends.
    pub fn finish(self) {
        self.handle.send(Order::Finish);
        // A panic of the thread has already been reported by its hook.
        let _ = self.thread.join();
    }
}

struct Log {
    file: LogFile,
    /// Who is to be told which line.
    patterns: Vec<(Incarnation, LinePattern)>,
    /// The life that has begun last.
    begun: Option<Incarnation>,
    /// The life whose end is in it last: it may be told again, to whoever cannot have heard it.
    ended: Option<Incarnation>,
    sources: usize,
    /// Those who are told what a life writes.
    listeners: Vec<(Incarnation, Sender<Heard>)>,
}

struct Source {
    unit: UnitId,
    /// The life that it belongs to; none for a command beside it.
    incarnation: Option<Incarnation>,
    stream: Stream,
    pipe: OwnedFd,
    framer: Framer,
    is_listed: bool,
}

struct Worker {
    poller: Poller,
    wake: Arc<Waker>,
    orders: Receiver<Order>,
    events: Sender<Event>,
    directory: PathBuf,
    logs: IndexMap<UnitId, Log>,
    sources: IndexMap<u64, Source>,
    last_key: u64,
    /// Sources with an unfinished line, and when it is to be written: oldest first.
    unfinished: VecDeque<(Instant, u64)>,
    buffer: Vec<u8>,
    /// Records of the source at hand, not yet written.
    out: Vec<u8>,
}

enum Progress {
    Going,
    Finished,
}

impl Worker {
    fn run(&mut self) {
        loop {
            let mut ready = Ready::<128>::default();
            match self.poller.wait(&mut ready, self.timeout()) {
                Ok(()) => {}
                Err(Errno::EINTR) => continue,
                // Nothing that the other errors of epoll_wait(2) or kevent(2) name can happen to a set of our own.
                Err(_) => return,
            }
            let mut is_woken = false;
            for key in ready.keys() {
                if key == WAKE {
                    is_woken = true;
                } else {
                    self.read(key, TURN);
                }
            }
            if is_woken && matches!(self.obey(), Progress::Finished) {
                return self.finish();
            }
            self.write_unfinished();
        }
    }

    fn timeout(&self) -> PollTimeout {
        let Some((due, _)) = self.unfinished.front() else { return PollTimeout::NONE };
        let wait = clock::until(*due).as_millis() + 1;
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
    }

    fn obey(&mut self) -> Progress {
        self.wake.clear();
        loop {
            match self.orders.try_recv() {
                Ok(Order::Begin(begin)) => self.begin(begin),
                Ok(Order::Listen { unit, incarnation, listener }) => self.log(&unit).listeners.push((incarnation, listener)),
                Ok(Order::Add { unit, stream, pipe }) => self.add(unit, None, stream, pipe),
                Ok(Order::Note { unit, text }) => self.mark(&unit, Mark::Note, &text),
                Ok(Order::End { unit, incarnation, event }) => self.end(&unit, incarnation, event),
                Ok(Order::Finish) | Err(TryRecvError::Disconnected) => return Progress::Finished,
                Err(TryRecvError::Empty) => return Progress::Going,
            }
        }
    }

    fn begin(&mut self, begin: Begin) {
        let Begin { unit, incarnation, beside, size, pattern, streams } = begin;
        let log = self.log(&unit);
        log.file.resize(size);
        log.ended = None;
        if !beside {
            log.patterns.clear();
        }
        log.patterns.extend(pattern.map(|pattern| (incarnation, pattern)));
        log.begun = Some(incarnation);
        log.file.begin(&of_mark(if beside { Mark::RunBeside(incarnation) } else { Mark::Run(incarnation) }, None, ""));
        if log.sources == 0 {
            log.file.close();
        }
        for (stream, pipe) in streams {
            self.add(unit.clone(), Some(incarnation), stream, pipe);
        }
    }

    fn add(&mut self, unit: UnitId, incarnation: Option<Incarnation>, stream: Stream, pipe: OwnedFd) {
        self.last_key += 1;
        let key = self.last_key;
        // Only the reading end: the two ends of a pipe are two open files. A failure leaves a pipe that is read all the same,
        // as far as the kernel says that there is something.
        let _ = fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        if self.poller.add(&pipe, key).is_err() {
            return self.mark(&unit, Mark::Note, "its output cannot be read: too many open files");
        }
        self.log(&unit).sources += 1;
        self.sources.insert(key, Source { unit, incarnation, stream, pipe, framer: Framer::default(), is_listed: false });
    }

    fn end(&mut self, unit: &UnitId, incarnation: Incarnation, event: Event) {
        // Also what hooks have written.
        let of_life = |source: &Source| source.unit == *unit && source.incarnation.is_none_or(|own| own == incarnation);
        let keys: Vec<u64> = self.sources.iter().filter(|(_, source)| of_life(source)).map(|(key, _)| *key).collect();
        let over = if let Event::Exited { exit, remaining: 0, .. } = &event { Some(*exit) } else { None };
        for key in keys {
            self.read(key, LAST_TURN);
            if over.is_some() {
                self.end_line(key);
            } else {
                self.write_rest(key);
            }
        }
        if let Some(exit) = over {
            let log = self.log(unit);
            log.patterns.retain(|(life, _)| *life != incarnation);
            log.listeners.retain(|(life, listener)| {
                if *life == incarnation {
                    // One that has gone, or fallen behind, is told no end.
                    let _ = listener.try_send(Heard::Ended(exit));
                }
                *life != incarnation
            });
        }
        if let Some(exit) = over
            && self.log(unit).ended.replace(incarnation) != Some(incarnation)
        {
            let of = self.of(unit, Some(incarnation));
            self.mark_of(unit, Mark::End, of, &exit.to_string());
        }
        // The loop thread has gone: nobody is left to be told.
        let _ = self.events.send(event);
    }

    /// Reads one source until it is empty, at its end, or its turn is over, and writes the records.
    fn read(&mut self, key: u64, turn: usize) {
        let mut taken = 0;
        let mut at_end = false;
        while taken < turn && !at_end {
            let of = self.of_source(key);
            let Some(source) = self.sources.get_mut(&key) else { return };
            match nix::unistd::read(&source.pipe, &mut self.buffer) {
                Ok(0) => at_end = true,
                Ok(count) => {
                    taken += count;
                    let head = Head::new(Timestamp::from(clock::wall())).of(of);
                    source.framer.push(&head, source.stream, &self.buffer[..count], &mut self.out);
                    self.look_for_pattern(key, count);
                    self.tell_listeners(key, count);
                    if self.out.len() >= TURN {
                        self.write(key);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                // EIO: the last one to have the terminal open has gone.
                Err(_) => at_end = true,
            }
        }
        if at_end {
            self.close(key);
        } else {
            self.write(key);
            self.list_unfinished(key);
        }
    }

    fn look_for_pattern(&mut self, key: u64, count: usize) {
        let Some(source) = self.sources.get_mut(&key) else { return };
        let Some(log) = self.logs.get_mut(&source.unit) else { return };
        let Some(at) = log.patterns.iter().position(|(life, _)| source.incarnation == Some(*life)) else { return };
        let (incarnation, pattern) = &log.patterns[at];
        if source.framer.any_line(&self.buffer[..count], |line| pattern.0.is_match(line)) {
            let _ = self.events.send(Event::LineMatched(source.unit.clone(), *incarnation));
            log.patterns.remove(at);
        }
    }

    fn tell_listeners(&mut self, key: u64, count: usize) {
        let Some(source) = self.sources.get(&key) else { return };
        let Some(life) = source.incarnation else { return };
        let Some(log) = self.logs.get_mut(&source.unit).filter(|log| !log.listeners.is_empty()) else { return };
        let heard = Heard::Written(source.stream, self.buffer[..count].to_vec());
        log.listeners.retain(|(of, listener)| *of != life || listener.try_send(heard.clone()).is_ok());
    }

    fn list_unfinished(&mut self, key: u64) {
        let Some(source) = self.sources.get_mut(&key) else { return };
        if source.framer.has_rest() && !source.is_listed {
            source.is_listed = true;
            self.unfinished.push_back((clock::deadline(PATIENCE), key));
        }
    }

    fn write_unfinished(&mut self) {
        while let Some((due, key)) = self.unfinished.front().copied() {
            if !clock::is_past(due) {
                return;
            }
            self.unfinished.pop_front();
            if let Some(source) = self.sources.get_mut(&key) {
                source.is_listed = false;
                self.write_rest(key);
            }
        }
    }

    /// Writes what a source has of an unfinished line.
    fn write_rest(&mut self, key: u64) {
        let of = self.of_source(key);
        let Some(source) = self.sources.get_mut(&key) else { return };
        let head = Head::new(Timestamp::from(clock::wall())).of(of);
        source.framer.write_rest(&head, source.stream, &mut self.out);
        self.write(key);
    }

    fn write(&mut self, key: u64) {
        if let Some(source) = self.sources.get(&key)
            && let Some(log) = self.logs.get_mut(&source.unit)
        {
            log.file.append(&self.out);
        }
        self.out.clear();
        // A flood of short lines grows it; it is not kept that large.
        self.out.shrink_to(4 * TURN);
    }

    fn end_line(&mut self, key: u64) {
        let of = self.of_source(key);
        let Some(source) = self.sources.get_mut(&key) else { return };
        let head = Head::new(Timestamp::from(clock::wall())).of(of);
        source.framer.end(&head, source.stream, &mut self.out);
        self.write(key);
    }

    /// A source is at its end: its last line is one, whether it says so or not.
    fn close(&mut self, key: u64) {
        self.end_line(key);
        let Some(source) = self.sources.swap_remove(&key) else { return };
        let _ = self.poller.remove(&source.pipe);
        if let Some(log) = self.logs.get_mut(&source.unit) {
            log.sources -= 1;
            if log.sources == 0 {
                log.file.close();
            }
        }
    }

    /// The life that a source is of, if that is not the one that has begun last.
    fn of_source(&self, key: u64) -> Option<Incarnation> {
        let source = self.sources.get(&key)?;
        self.of(&source.unit, source.incarnation)
    }

    fn of(&self, unit: &UnitId, life: Option<Incarnation>) -> Option<Incarnation> {
        let begun = self.logs.get(unit)?.begun;
        life.filter(|_| begun.is_some() && begun != life)
    }

    fn mark(&mut self, unit: &UnitId, mark: Mark, text: &str) {
        self.mark_of(unit, mark, None, text);
    }

    fn mark_of(&mut self, unit: &UnitId, mark: Mark, of: Option<Incarnation>, text: &str) {
        let log = self.log(unit);
        log.file.append(&of_mark(mark, of, text));
        if log.sources == 0 {
            log.file.close();
        }
    }

    fn log(&mut self, unit: &UnitId) -> &mut Log {
        let directory = &self.directory;
        self.logs.entry(unit.clone()).or_insert_with(|| Log {
            file: LogFile::new(file::path(directory, unit), Size::default()),
            patterns: Vec::new(),
            begun: None,
            ended: None,
            sources: 0,
            listeners: Vec::new(),
        })
    }

    fn finish(&mut self) {
        let keys: Vec<u64> = self.sources.keys().copied().collect();
        for key in keys {
            self.read(key, LAST_TURN);
            if self.sources.contains_key(&key) {
                self.close(key);
            }
        }
    }
}

/// The record of what the supervisor has to say now.
fn of_mark(mark: Mark, of: Option<Incarnation>, text: &str) -> Vec<u8> {
    let mut record = Vec::new();
    let time = Timestamp::from(clock::wall());
    Record { time, stream: Stream::Stderr, part: Part::Mark(mark), of, text: text.as_bytes() }.write(&mut record);
    record
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("poller", &self.poller).finish_non_exhaustive()
    }
}
