//! Many logs as one, in the order of time; followed for as long as somebody listens.
//!
//! Processes are read from their files; containers, or whatever else has lines, feed theirs in through channels, some lines at a
//! time. Only those of each source are held, so memory does not depend on how much there is to read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, bounded, never};
use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::file;
use super::line::{Line, LineRef, Lines, Place};
use super::record::Timestamp;
use super::tail::{Kept, Next, Reader, Room, Wanted};
use crate::base::name::UnitId;
use crate::world::clock;

/// So long all wait for a feed whose history has not come.
const PATIENCE: Duration = Duration::from_secs(1);
/// Files are looked at so often where they cannot be watched.
const POLL: Duration = Duration::from_millis(200);
/// A log that has just been written to is heard of again so much later: what is written without a pause is read in large pieces.
const MOMENT: Duration = Duration::from_millis(2);
/// So many changes are remembered one by one; after more, everything is looked at.
const CHANGES: usize = 256;
/// So many lines of one source are given before the others are asked again whether they have earlier ones.
const RUN: usize = 1024;

/// What a feed sends.
#[derive(Debug)]
pub enum Fed {
    /// Some lines. Those of one feed come in the order of time.
    Lines(Lines),
    /// The history has been sent; what follows is new.
    CaughtUp,
}

/// What is said of sources that are no files.
#[derive(Debug)]
pub enum Announced {
    /// There is one more.
    Feed(Receiver<Fed>),
    /// All that there are at present have been named: their histories can be merged.
    All,
}

/// What a reader gets.
#[derive(Debug)]
pub enum Given<'a> {
    /// A line.
    Line(LineRef<'a>),
    /// There is no more at present: what is held back should be shown.
    Pause,
}

/// Which logs are read, and how.
pub struct Sources<'a> {
    /// The directory of the processes' logs. It need not exist.
    pub directory: &'a Path,
    /// Which of them.
    pub select: &'a dyn Fn(&UnitId) -> bool,
    /// What of them. Feeds see to that themselves.
    pub wanted: Wanted,
    /// Further sources; closed when there will be no more. A feed ends when its channel is closed.
    pub feeds: Receiver<Announced>,
    /// Ends a follow, once everything that is there has been given: by a message, or by being closed.
    pub stop: Receiver<()>,
    /// Dropped once the logs that there are have been opened, and none that comes later can be missed.
    pub begun: Option<Sender<()>>,
}

/// Gives all lines to `deliver`, until there are none, `stop` says so, or `deliver` does.
pub fn read(mut sources: Sources<'_>, mut deliver: impl FnMut(Given<'_>) -> ControlFlow<()>) -> io::Result<()> {
    let (stop, begun) = (sources.stop.clone(), sources.begun.take());
    // Watched before the first look, so that nothing falls in between.
    let watch = sources.wanted.follow.then(|| Watch::new(sources.directory));
    let mut merge = Merge::new(sources, watch.as_ref().map(|watch| Arc::clone(&watch.keeper)));
    merge.find_files()?;
    drop(begun);
    loop {
        if merge.give(&mut deliver)?.is_break() || merge.is_at_end() {
            return Ok(());
        }
        match merge.wait(watch.as_ref(), &stop) {
            Wake::Feed => {}
            Wake::Files(units) => merge.look_at(&units)?,
            Wake::Stop => {
                // Once more, for what was written before the word to stop.
                merge.look_at(&BTreeSet::from([None]))?;
                return merge.give(&mut deliver).map(drop);
            }
        }
    }
}

/// What keeps the files of each log open for its reader.
type Keeper = Arc<Mutex<BTreeMap<UnitId, Kept>>>;

struct Merge<'a> {
    directory: &'a Path,
    /// Hears of rotations while we wait for whoever reads from us.
    keeper: Option<Keeper>,
    /// For what is kept open.
    room: Room,
    select: &'a dyn Fn(&UnitId) -> bool,
    wanted: Wanted,
    /// None once there will be no more.
    feeds: Option<Receiver<Announced>>,
    /// The logs that there were at the beginning are open.
    is_begun: bool,
    /// All that there were at the beginning are known.
    is_complete: bool,
    /// Units whose file is or was among the sources, and which it is.
    open: BTreeMap<UnitId, u64>,
    sources: BTreeMap<u64, Source>,
    /// The sources that have no line and are to be asked for one;
    due: BTreeSet<u64>,
    /// those of them whose history has not come;
    loading: BTreeSet<u64>,
    /// and those that have a line, by its time.
    heads: BinaryHeap<Reverse<(Timestamp, u64)>>,
    last: u64,
    /// Feeds are waited for until then.
    patience: Instant,
}

struct Source {
    from: From,
    head: Option<Line>,
    state: State,
}

enum From {
    File {
        unit: UnitId,
        reader: Box<Reader>,
    },
    Feed {
        feed: Receiver<Fed>,
        /// The lines that have come and were not asked for.
        ahead: Ahead,
    },
}

/// Lines that came at once, and are given one by one.
#[derive(Default)]
struct Ahead {
    lines: Lines,
    /// The next to be given.
    next: Place,
}

impl Ahead {
    fn next_line(&mut self) -> Option<Line> {
        let line = self.lines.at(self.next)?.to_line();
        self.next = self.lines.after(self.next);
        Some(line)
    }

    /// Gives at most so many lines as they lie there, as long as `is_wanted` by their time; how many were given.
    fn give_plain(
        &mut self,
        most: usize,
        is_wanted: impl Fn(Timestamp) -> bool,
        mut give: impl FnMut(LineRef<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<(), usize> {
        let mut given = 0;
        while given < most
            && let Some(line) = self.lines.at(self.next).filter(|line| is_wanted(line.time))
        {
            self.next = self.lines.after(self.next);
            given += 1;
            give(line)?;
        }
        ControlFlow::Continue(given)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A feed whose history has not come yet: nothing is given before it has.
    Loading,
    /// To be asked for its next line.
    Ready,
    /// A file that has nothing at present; it is asked again when it has changed.
    Idle,
}

/// `None` among units stands for any of them.
enum Wake {
    Feed,
    Files(BTreeSet<Option<UnitId>>),
    Stop,
}

impl<'a> Merge<'a> {
    fn new(sources: Sources<'a>, keeper: Option<Keeper>) -> Self {
        let Sources { directory, select, mut wanted, feeds, stop: _, begun: _ } = sources;
        if !wanted.follow && wanted.until.is_none() {
            // A log that grows faster than it is read would have no end.
            wanted.until = Some(Timestamp::from(clock::wall()));
        }
        Self {
            directory,
            keeper,
            room: Room::of_process(),
            select,
            wanted,
            feeds: Some(feeds),
            is_begun: false,
            is_complete: false,
            open: BTreeMap::new(),
            sources: BTreeMap::new(),
            due: BTreeSet::new(),
            loading: BTreeSet::new(),
            heads: BinaryHeap::new(),
            last: 0,
            patience: clock::deadline(PATIENCE),
        }
    }

    /// Delivers all that there is at present.
    fn give(&mut self, deliver: &mut impl FnMut(Given<'_>) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
        while let Some((key, line)) = self.next()? {
            if deliver(Given::Line(line.borrowed())).is_break() || self.give_run(key, deliver)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(deliver(Given::Pause))
    }

    /// Goes on with the source that had the earliest line, as long as it has the earliest: nobody else need be asked for each line.
    fn give_run(&mut self, key: u64, deliver: &mut impl FnMut(Given<'_>) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
        let other = self.heads.peek().map(|Reverse(head)| *head);
        let is_first = |time| other.is_none_or(|other| (time, key) < other);
        let mut given = 0;
        while given < RUN {
            let give = |line: LineRef<'_>| deliver(Given::Line(line));
            let flow = match self.sources.get_mut(&key).map(|source| &mut source.from) {
                Some(From::File { reader, .. }) => reader.give_plain(RUN - given, is_first, give),
                Some(From::Feed { ahead, .. }) => ahead.give_plain(RUN - given, is_first, give),
                None => ControlFlow::Continue(0),
            };
            match flow {
                ControlFlow::Continue(count) => given += count,
                ControlFlow::Break(()) => return Ok(ControlFlow::Break(())),
            }
            match self.ask(key)? {
                Next::Line(line) if is_first(line.time) => {
                    given += 1;
                    if deliver(Given::Line(line.borrowed())).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Next::Line(line) => {
                    self.hold(key, line);
                    break;
                }
                Next::Nothing => break,
                Next::End => {
                    self.remove(key);
                    break;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A source has this line next.
    fn hold(&mut self, key: u64, line: Line) {
        self.heads.push(Reverse((line.time, key)));
        self.due.remove(&key);
        self.loading.remove(&key);
        if let Some(source) = self.sources.get_mut(&key) {
            source.head = Some(line);
        }
    }

    fn remove(&mut self, key: u64) {
        if let Some(Source { from: From::File { unit, .. }, .. }) = self.sources.remove(&key)
            && let Some(keeper) = &self.keeper
        {
            // Nobody comes to what would be kept for it.
            lock(keeper).remove(&unit);
        }
        self.due.remove(&key);
        self.loading.remove(&key);
    }

    /// The earliest line and its source, unless a source that may have an earlier one has yet to be heard.
    fn next(&mut self) -> io::Result<Option<(u64, Line)>> {
        self.take_feeds();
        for key in self.due.iter().copied().collect::<Vec<_>>() {
            self.advance(key)?;
        }
        if self.must_wait() {
            return Ok(None);
        }
        let Some(Reverse((_, key))) = self.heads.pop() else { return Ok(None) };
        let line = self.sources.get_mut(&key).and_then(|source| source.head.take());
        self.list(key);
        Ok(line.map(|line| (key, line)))
    }

    /// A source has no line now.
    fn list(&mut self, key: u64) {
        let Some(Source { state, head: None, .. }) = self.sources.get(&key) else { return };
        if *state != State::Idle {
            self.due.insert(key);
        }
        if *state == State::Loading {
            self.loading.insert(key);
        }
    }

    /// A source that may have an earlier line has yet to be heard. Whoever follows does not wait for ever for it.
    fn must_wait(&self) -> bool {
        self.is_loading() && !(self.wanted.follow && clock::is_past(self.patience))
    }

    fn is_loading(&self) -> bool {
        !self.is_complete || !self.loading.is_empty()
    }

    /// Asks a source for its next line, to be held.
    fn advance(&mut self, key: u64) -> io::Result<()> {
        match self.ask(key)? {
            Next::Line(line) => self.hold(key, line),
            Next::Nothing => {}
            Next::End => self.remove(key),
        }
        Ok(())
    }

    /// Asks a source for its next line.
    fn ask(&mut self, key: u64) -> io::Result<Next> {
        let Some(source) = self.sources.get_mut(&key) else { return Ok(Next::Nothing) };
        match &mut source.from {
            From::File { reader, .. } => {
                let next = reader.next_line()?;
                if matches!(next, Next::Nothing) {
                    source.state = State::Idle;
                    self.due.remove(&key);
                }
                Ok(next)
            }
            From::Feed { feed, ahead } => loop {
                if let Some(line) = ahead.next_line() {
                    return Ok(Next::Line(line));
                }
                match feed.try_recv() {
                    Ok(Fed::Lines(lines)) => {
                        if source.state == State::Loading && self.wanted.follow {
                            self.patience = clock::deadline(PATIENCE);
                        }
                        *ahead = Ahead { lines, next: Place::default() };
                    }
                    Ok(Fed::CaughtUp) => {
                        source.state = State::Ready;
                        self.loading.remove(&key);
                    }
                    Err(TryRecvError::Disconnected) => return Ok(Next::End),
                    Err(TryRecvError::Empty) => return Ok(Next::Nothing),
                }
            },
        }
    }

    fn take_feeds(&mut self) {
        while let Some(feeds) = &self.feeds {
            match feeds.try_recv() {
                Ok(Announced::Feed(feed)) => {
                    self.patience = clock::deadline(PATIENCE);
                    self.add(From::Feed { feed, ahead: Ahead::default() }, State::Loading);
                }
                Ok(Announced::All) => self.is_complete = true,
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => (self.feeds, self.is_complete) = (None, true),
            }
        }
    }

    fn add(&mut self, from: From, state: State) -> u64 {
        self.last += 1;
        self.sources.insert(self.last, Source { from, head: None, state });
        self.list(self.last);
        self.last
    }

    /// Opens the logs that are not open yet.
    fn find_files(&mut self) -> io::Result<()> {
        let entries = match fs::read_dir(self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            entries => Some(entries?),
        };
        let mut found: Vec<(UnitId, PathBuf)> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((file::unit_of(&entry.path())?, entry.path())))
            .collect();
        found.sort();
        for (unit, path) in found {
            self.open_file(unit, path)?;
        }
        // One that comes later is new as a whole.
        (self.wanted.tail, self.is_begun) = (None, true);
        Ok(())
    }

    /// Opens a log, if it is wanted and not open yet.
    fn open_file(&mut self, unit: UnitId, path: PathBuf) -> io::Result<()> {
        if (self.select)(&unit) && !self.open.contains_key(&unit) {
            let mut reader = Box::new(Reader::open(path, unit.clone(), self.wanted, &self.room)?);
            if self.is_begun {
                reader.expect_the_first();
            }
            if let Some(keeper) = &self.keeper {
                lock(keeper).insert(unit.clone(), reader.kept());
                // For what was moved before it was known.
                reader.kept().look();
            }
            let key = self.add(From::File { unit: unit.clone(), reader }, State::Ready);
            self.open.insert(unit, key);
        }
        Ok(())
    }

    /// Some files have changed.
    fn look_at(&mut self, units: &BTreeSet<Option<UnitId>>) -> io::Result<()> {
        let any = units.contains(&None);
        let changed: Vec<u64> = if any {
            self.open.values().copied().collect()
        } else {
            units.iter().flatten().filter_map(|unit| self.open.get(unit).copied()).collect()
        };
        for key in changed {
            if let Some(source) = self.sources.get_mut(&key) {
                source.state = State::Ready;
                self.list(key);
            }
        }
        if any {
            return self.find_files();
        }
        for unit in units.iter().flatten().filter(|unit| !self.open.contains_key(*unit)).cloned().collect::<Vec<_>>() {
            let path = file::path(self.directory, &unit);
            self.open_file(unit, path)?;
        }
        Ok(())
    }

    /// No source is left and none will come.
    fn is_at_end(&self) -> bool {
        self.sources.is_empty() && self.feeds.is_none() && !self.wanted.follow
    }

    /// Waits until a file has changed, a feed has something, or it is time to stop.
    fn wait(&self, watch: Option<&Watch>, stop: &Receiver<()>) -> Wake {
        let nothing = never();
        // One that could not be made has hung up, which would wake us again and again.
        let changes = watch.filter(|watch| watch.watcher.is_some()).map_or(&nothing, |watch| &watch.changes);
        let mut select = Select::new();
        let at_stop = select.recv(stop);
        let at_changes = select.recv(changes);
        if let Some(feeds) = &self.feeds {
            select.recv(feeds);
        }
        for source in self.due.iter().filter_map(|key| self.sources.get(key)) {
            if let From::Feed { feed, .. } = &source.from {
                select.recv(feed);
            }
        }
        let is_blind = watch.is_some_and(|watch| watch.watcher.is_none());
        let ready = match (is_blind, self.wanted.follow && self.must_wait()) {
            (true, _) => select.ready_timeout(POLL).ok(),
            (false, true) => select.ready_timeout(clock::until(self.patience)).ok(),
            (false, false) => Some(select.ready()),
        };
        match ready {
            Some(index) if index == at_stop => Wake::Stop,
            Some(index) if index == at_changes => Wake::Files(watch.map(Watch::take).unwrap_or_default()),
            Some(_) => Wake::Feed,
            None => Wake::Files(BTreeSet::from([None])),
        }
    }
}

fn lock(keeper: &Keeper) -> MutexGuard<'_, BTreeMap<UnitId, Kept>> {
    // Nothing is half done where a holder of it panics.
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells which logs have changed.
struct Watch {
    /// None where files cannot be watched: no such directory yet, or no watches left.
    watcher: Option<RecommendedWatcher>,
    changes: Receiver<Option<UnitId>>,
    /// More has changed than the channel holds.
    overflow: Arc<AtomicBool>,
    /// Looked after by the thread that hears of changes, which nobody makes wait.
    keeper: Keeper,
}

impl Watch {
    fn new(directory: &Path) -> Self {
        let (sender, changes) = bounded(CHANGES);
        let overflow = Arc::new(AtomicBool::new(false));
        let full = Arc::clone(&overflow);
        let keeper = Keeper::default();
        let known = Arc::clone(&keeper);
        let mut last = None;
        let tell = move |event: notify::Result<notify::Event>| {
            let may_be_moved = !matches!(&event, Ok(event) if matches!(event.kind, EventKind::Modify(ModifyKind::Data(_))));
            let unit = match event {
                Ok(event) if event.need_rescan() => None,
                Ok(event) => match event.kind {
                    EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => return,
                    EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => {
                        // The older files of a log change their names with the newest.
                        let Some(unit) = event.paths.iter().find_map(|path| file::unit_of(path)) else { return };
                        Some(unit)
                    }
                },
                Err(_) => None,
            };
            if may_be_moved {
                let kept: Vec<Kept> = match &unit {
                    Some(unit) => lock(&known).get(unit).cloned().into_iter().collect(),
                    None => lock(&known).values().cloned().collect(),
                };
                kept.iter().for_each(Kept::look);
            } else {
                last.map(clock::until).into_iter().for_each(thread::sleep);
                last = Some(clock::deadline(MOMENT));
            }
            if sender.try_send(unit).is_err() {
                full.store(true, Ordering::Release);
            }
        };
        let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        Self { watcher: watcher.ok(), changes, overflow, keeper }
    }

    fn take(&self) -> BTreeSet<Option<UnitId>> {
        let mut units: BTreeSet<Option<UnitId>> = self.changes.try_iter().collect();
        if self.overflow.swap(false, Ordering::AcqRel) {
            units.insert(None);
        }
        units
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use crossbeam_channel::unbounded;

    use super::*;
    use crate::plan::action::Incarnation;
    use crate::world::logs::file::{LogFile, Size};
    use crate::world::logs::record::{Mark, Part, Record, Stream};
    use crate::world::logs::tail::Run;

    const SECOND: u64 = 1_000_000_000;

    fn record(seconds: u64, part: Part, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Record { time: Timestamp(seconds * SECOND), stream: Stream::Stdout, part, of: None, text: text.as_bytes() }
            .write(&mut out);
        out
    }

    fn write(directory: &Path, name: &str, records: &[(u64, Part, &str)]) {
        let mut file = OpenOptions::new().create(true).append(true).open(directory.join(name)).unwrap();
        for (seconds, part, text) in records {
            file.write_all(&record(*seconds, *part, text)).unwrap();
        }
    }

    fn no_feeds() -> Receiver<Announced> {
        unbounded().1
    }

    fn shown(line: &Line) -> String {
        let text = String::from_utf8_lossy(&line.text[line.shown..]).into_owned();
        if line.open { format!("{}|{text}…", line.unit.service) } else { format!("{}|{text}", line.unit.service) }
    }

    fn history(directory: &Path, wanted: Wanted) -> Vec<String> {
        let mut lines = Vec::new();
        let select = |_: &UnitId| true;
        let sources = Sources { directory, select: &select, wanted, feeds: no_feeds(), stop: never(), begun: None };
        read(sources, |given| {
            if let Given::Line(line) = given
                && line.mark.is_none()
            {
                lines.push(shown(&line.to_line()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        lines
    }

    fn run(number: u32) -> Part {
        Part::Mark(Mark::Run(Incarnation(number)))
    }

    #[test]
    fn histories_are_merged_by_time_and_cut_as_asked() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write(at, "a.1.log.1", &[(1, run(1), ""), (2, Part::Full, "a2"), (4, Part::Partial, "a4")]);
        write(at, "a.1.log", &[(5, Part::Full, "+"), (7, run(2), ""), (8, Part::Full, "a8"), (9, Part::Partial, "a9")]);
        write(at, "b.1.log", &[(3, Part::Full, "b3"), (6, Part::Full, "b6"), (9, Part::Full, "b9")]);
        let all = Wanted::default();
        let at_second = |seconds| Some(Timestamp(seconds * SECOND));
        for (wanted, expected) in [
            (all, "a|a2 b|b3 a|a4+ b|b6 a|a8 a|a9 b|b9"),
            (Wanted { tail: Some(2), ..all }, "b|b6 a|a8 a|a9 b|b9"),
            (Wanted { tail: Some(0), ..all }, ""),
            (Wanted { tail: Some(99), ..all }, "a|a2 b|b3 a|a4+ b|b6 a|a8 a|a9 b|b9"),
            (Wanted { since: at_second(6), ..all }, "b|b6 a|a8 a|a9 b|b9"),
            (Wanted { until: at_second(3), ..all }, "a|a2 b|b3"),
            (Wanted { run: Some(Run::Last), ..all }, "a|a8 a|a9"),
            (Wanted { run: Some(Run::Number(Incarnation(1))), ..all }, "a|a2 a|a4+"),
            (Wanted { run: Some(Run::Number(Incarnation(3))), ..all }, ""),
        ] {
            assert_eq!(history(at, wanted).join(" "), expected, "{wanted:?}");
        }
    }

    /// Follows on a thread of its own.
    struct Follow {
        lines: Receiver<Line>,
        stop: Sender<()>,
        thread: std::thread::JoinHandle<()>,
    }

    fn follow(directory: &Path, wanted: Wanted, feeds: Receiver<Announced>) -> Follow {
        begin(directory, Wanted { follow: true, ..wanted }, feeds)
    }

    fn begin(directory: &Path, wanted: Wanted, feeds: Receiver<Announced>) -> Follow {
        let (sender, lines) = unbounded();
        let (stop, stopped) = unbounded();
        let (begin, begun) = bounded::<()>(0);
        let directory = directory.to_owned();
        let thread = std::thread::spawn(move || {
            let select = |_: &UnitId| true;
            let sources = Sources { directory: &directory, select: &select, wanted, feeds, stop: stopped, begun: Some(begin) };
            read(sources, |given| {
                if let Given::Line(line) = given {
                    sender.send(line.to_line()).unwrap();
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        });
        assert!(begun.recv().is_err(), "nothing is sent");
        Follow { lines, stop, thread }
    }

    impl Follow {
        fn next(&self) -> String {
            shown(&self.lines.recv_timeout(Duration::from_secs(20)).unwrap())
        }

        fn finish(self) -> Vec<String> {
            self.stop.send(()).unwrap();
            self.thread.join().unwrap();
            self.lines.iter().map(|line| shown(&line)).collect()
        }
    }

    #[test]
    fn a_follow_sees_every_line_once_over_rotations_and_new_files() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write(at, "a.1.log", &[(1, Part::Full, "old"), (2, Part::Full, "last")]);
        let following = follow(at, Wanted { tail: Some(1), ..Wanted::default() }, no_feeds());
        assert_eq!(following.next(), "a|last");
        let mut log = LogFile::new(at.join("a.1.log"), Size { bytes: 4000, files: 50 });
        for number in 0..1000 {
            log.append(&record(3, Part::Full, &number.to_string()));
        }
        for number in 0..1000 {
            assert_eq!(following.next(), format!("a|{number}"));
        }
        write(at, "b.1.log", &[(4, Part::Partial, "step 1... ")]);
        assert_eq!(following.next(), "b|step 1... …");
        write(at, "b.1.log", &[(5, Part::Full, "ok")]);
        assert_eq!(following.next(), "b|ok");
        log.append(&record(6, Part::Full, "end"));
        assert_eq!(following.finish(), ["a|end"]);
    }

    /// How often this process has a file open.
    fn opened(path: &Path) -> usize {
        let about = fs::metadata(path).unwrap();
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| fs::metadata(entry.path()).ok());
        open.filter(|open| (open.dev(), open.ino()) == (about.dev(), about.ino())).count()
    }

    #[test]
    fn a_follow_that_nobody_reads_from_finds_what_was_rotated_away_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write(at, "a.1.log", &[(1, Part::Full, "first")]);
        let (waits, waiting) = bounded::<()>(0);
        let (lines, given) = unbounded();
        let reading = std::thread::spawn({
            let at = at.to_owned();
            move || {
                let (_going, stop) = bounded(0);
                let select = |_: &UnitId| true;
                let wanted = Wanted { follow: true, ..Wanted::default() };
                read(Sources { directory: &at, select: &select, wanted, feeds: no_feeds(), stop, begun: None }, |given| {
                    let Given::Line(line) = given else { return ControlFlow::Continue(()) };
                    let text = shown(&line.to_line());
                    if text == "a|first" {
                        // Once when it begins to wait, once when it has waited enough.
                        waits.send(()).unwrap();
                        waits.send(()).unwrap();
                    }
                    let is_last = text == "a|last";
                    lines.send(text).unwrap();
                    if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
                .unwrap();
            }
        });
        waiting.recv().unwrap();
        // Of ten files two are left in the end.
        let path = at.join("a.1.log");
        let mut log = LogFile::new(path.clone(), Size { bytes: 4000, files: 2 });
        let mut written = vec!["a|first".to_owned()];
        let mut inode = fs::metadata(&path).unwrap().ino();
        let mut rotations = 0;
        while rotations < 10 {
            let text = written.len().to_string();
            log.append(&record(2, Part::Full, &text));
            written.push(format!("a|{text}"));
            let newest = fs::metadata(&path).unwrap().ino();
            if newest != inode {
                (inode, rotations) = (newest, rotations + 1);
                // The writer has it open, and before the next rotation whoever keeps it.
                let deadline = Instant::now() + Duration::from_secs(20);
                while opened(&path) < 2 {
                    assert!(Instant::now() < deadline, "nobody keeps it");
                    std::thread::yield_now();
                }
            }
        }
        log.append(&record(3, Part::Full, "last"));
        written.push("a|last".to_owned());
        waiting.recv().unwrap();
        reading.join().unwrap();
        assert_eq!(given.iter().collect::<Vec<_>>(), written);
    }

    #[test]
    fn a_follow_that_begins_before_there_is_a_directory_sees_what_comes() {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().join("logs");
        let following = follow(&at, Wanted::default(), no_feeds());
        fs::create_dir(&at).unwrap();
        write(&at, "a.1.log", &[(1, Part::Full, "first")]);
        assert_eq!(following.next(), "a|first");
        assert_eq!(following.finish(), Vec::<String>::new());
    }

    #[test]
    fn a_log_that_lost_its_first_lines_before_it_was_found_tells_so() {
        let place = tempfile::tempdir().unwrap();
        let (made, at) = (place.path().join("made"), place.path().join("logs"));
        fs::create_dir(&made).unwrap();
        let following = follow(&at, Wanted { tail: Some(1), ..Wanted::default() }, no_feeds());
        // A file for each line, and two files.
        let mut log = LogFile::new(made.join("a.1.log"), Size { bytes: 1, files: 2 });
        (1..=3).for_each(|number| log.append(&record(number, Part::Full, &number.to_string())));
        fs::rename(&made, &at).unwrap();
        assert_eq!(following.next(), "a|lines may be missing here: the log was rotated faster than it was read");
        assert_eq!([following.next(), following.next()], ["a|2", "a|3"]);
        assert_eq!(following.finish(), Vec::<String>::new());
    }

    /// A line of a feed.
    fn line(seconds: u64, text: &str) -> Fed {
        let unit = "c:1".parse().unwrap();
        let text = text.as_bytes().to_vec();
        let time = Timestamp(seconds * SECOND);
        let mut lines = Lines::default();
        lines.push(Line { time, unit, stream: Stream::Stdout, text, open: false, shown: 0, mark: None }.borrowed());
        Fed::Lines(lines)
    }

    #[test]
    fn a_history_waits_for_feeds_that_are_not_known_yet() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a.1.log", &[(1, Part::Full, "1"), (3, Part::Full, "3")]);
        let (feeds, feed_list) = unbounded();
        let reading = begin(directory.path(), Wanted::default(), feed_list);
        assert!(reading.lines.recv_timeout(Duration::from_millis(50)).is_err());
        let (feed, fed) = unbounded();
        feeds.send(Announced::Feed(fed)).unwrap();
        drop(feeds);
        assert!(reading.lines.recv_timeout(Duration::from_millis(50)).is_err());
        feed.send(line(2, "2")).unwrap();
        drop(feed);
        assert_eq!([reading.next(), reading.next(), reading.next()], ["a|1", "c|2", "a|3"]);
    }

    #[test]
    fn feeds_are_merged_with_files() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write(at, "a.1.log", &[(1, Part::Full, "1"), (3, Part::Full, "3")]);
        let (feeds, feed_list) = unbounded();
        let (feed, fed) = unbounded();
        feeds.send(Announced::Feed(fed)).unwrap();
        feeds.send(Announced::All).unwrap();
        let following = follow(at, Wanted::default(), feed_list);
        feed.send(line(2, "2")).unwrap();
        feed.send(Fed::CaughtUp).unwrap();
        assert_eq!([following.next(), following.next(), following.next()], ["a|1", "c|2", "a|3"]);
        feed.send(line(9, "9")).unwrap();
        assert_eq!(following.next(), "c|9");
        drop((feed, feeds));
        assert_eq!(following.finish(), Vec::<String>::new());
    }
}
