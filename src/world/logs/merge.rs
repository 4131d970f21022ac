//! Many logs as one, in the order of time; followed for as long as somebody listens.
//!
//! Processes are read from their files; containers, or whatever else has lines, feed theirs in through channels. Only one
//! line of each source is held, so memory does not depend on how much there is to read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, TryRecvError, bounded, never};
use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::file;
use super::line::Line;
use super::record::Timestamp;
use super::tail::{Kept, Next, Reader, Room, Wanted};
use crate::base::name::UnitId;
use crate::world::clock;

/// So long all wait for a feed whose history has not come.
const PATIENCE: Duration = Duration::from_secs(1);
/// Files are looked at so often where they cannot be watched.
const POLL: Duration = Duration::from_millis(200);
/// So many changes are remembered one by one; after more, everything is looked at.
const CHANGES: usize = 256;
/// So many lines of one source are given before the others are asked again whether they have earlier ones.
const RUN: usize = 256;

/// What a feed sends.
#[derive(Debug)]
pub enum Fed {
    /// A line. Those of one feed come in the order of time.
    Line(Line),
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
pub enum Given {
    /// A line.
    Line(Line),
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
}

/// Gives all lines to `deliver`, until there are none, `stop` says so, or `deliver` does.
pub fn read(sources: Sources<'_>, mut deliver: impl FnMut(Given) -> ControlFlow<()>) -> io::Result<()> {
    let stop = sources.stop.clone();
    // Watched before the first look, so that nothing falls in between.
    let watch = sources.wanted.follow.then(|| Watch::new(sources.directory));
    let mut merge = Merge::new(sources, watch.as_ref().map(|watch| Arc::clone(&watch.keeper)));
    merge.find_files()?;
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
    /// All that there were at the beginning are known.
    is_complete: bool,
    /// Units whose file is among the sources.
    open: BTreeSet<UnitId>,
    sources: BTreeMap<u64, Source>,
    /// The sources that have no line, and
    without_head: BTreeSet<u64>,
    /// those that have one, by its time.
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
    File { unit: UnitId, reader: Box<Reader> },
    Feed(Receiver<Fed>),
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
        let Sources { directory, select, mut wanted, feeds, stop: _ } = sources;
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
            is_complete: false,
            open: BTreeSet::new(),
            sources: BTreeMap::new(),
            without_head: BTreeSet::new(),
            heads: BinaryHeap::new(),
            last: 0,
            patience: clock::deadline(PATIENCE),
        }
    }

    /// Delivers all that there is at present.
    fn give(&mut self, deliver: &mut impl FnMut(Given) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
        while let Some((key, line)) = self.next()? {
            if deliver(Given::Line(line)).is_break() || self.give_run(key, deliver)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(deliver(Given::Pause))
    }

    /// Goes on with the source that had the earliest line, as long as it has the earliest: nobody else need be asked for each line.
    fn give_run(&mut self, key: u64, deliver: &mut impl FnMut(Given) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
        let other = self.heads.peek().map(|Reverse(head)| *head);
        for _ in 0..RUN {
            let Some(Source { from: From::File { reader, .. }, state, .. }) = self.sources.get_mut(&key) else { break };
            match reader.next_line()? {
                Next::Line(line) if other.is_none_or(|other| (line.time, key) < other) => {
                    if deliver(Given::Line(line)).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Next::Line(line) => {
                    self.hold(key, line);
                    break;
                }
                Next::Nothing => {
                    *state = State::Idle;
                    break;
                }
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
        self.without_head.remove(&key);
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
        self.without_head.remove(&key);
    }

    /// The earliest line and its source, unless a source that may have an earlier one has yet to be heard.
    fn next(&mut self) -> io::Result<Option<(u64, Line)>> {
        self.take_feeds();
        for key in self.due() {
            self.advance(key)?;
        }
        if self.must_wait() {
            return Ok(None);
        }
        let Some(Reverse((_, key))) = self.heads.pop() else { return Ok(None) };
        let line = self.sources.get_mut(&key).and_then(|source| source.head.take());
        self.without_head.insert(key);
        Ok(line.map(|line| (key, line)))
    }

    /// Sources to be asked for a line.
    fn due(&self) -> Vec<u64> {
        let is_due = |key: &&u64| self.sources.get(key).is_some_and(|source| source.state != State::Idle);
        self.without_head.iter().filter(is_due).copied().collect()
    }

    /// A source that may have an earlier line has yet to be heard. Whoever follows does not wait for ever for it.
    fn must_wait(&self) -> bool {
        self.is_loading() && !(self.wanted.follow && clock::is_past(self.patience))
    }

    fn is_loading(&self) -> bool {
        let loads = |key: &u64| self.sources.get(key).is_some_and(|source| source.state == State::Loading);
        !self.is_complete || self.without_head.iter().any(loads)
    }

    /// Asks a source for its next line.
    fn advance(&mut self, key: u64) -> io::Result<()> {
        let Some(source) = self.sources.get_mut(&key) else { return Ok(()) };
        let next = match &mut source.from {
            From::File { reader, .. } => reader.next_line()?,
            From::Feed(feed) => loop {
                match feed.try_recv() {
                    Ok(Fed::Line(line)) => {
                        if source.state == State::Loading && self.wanted.follow {
                            self.patience = clock::deadline(PATIENCE);
                        }
                        break Next::Line(line);
                    }
                    Ok(Fed::CaughtUp) => source.state = State::Ready,
                    Err(TryRecvError::Disconnected) => break Next::End,
                    Err(TryRecvError::Empty) => break Next::Nothing,
                }
            },
        };
        match next {
            Next::Line(line) => self.hold(key, line),
            Next::Nothing => {
                if let From::File { .. } = source.from {
                    source.state = State::Idle;
                }
            }
            Next::End => self.remove(key),
        }
        Ok(())
    }

    fn take_feeds(&mut self) {
        while let Some(feeds) = &self.feeds {
            match feeds.try_recv() {
                Ok(Announced::Feed(feed)) => {
                    self.patience = clock::deadline(PATIENCE);
                    self.add(From::Feed(feed), State::Loading);
                }
                Ok(Announced::All) => self.is_complete = true,
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => (self.feeds, self.is_complete) = (None, true),
            }
        }
    }

    fn add(&mut self, from: From, state: State) {
        self.last += 1;
        self.sources.insert(self.last, Source { from, head: None, state });
        self.without_head.insert(self.last);
    }

    /// Opens the logs that are not open yet.
    fn find_files(&mut self) -> io::Result<()> {
        let entries = match fs::read_dir(self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut found: Vec<(UnitId, PathBuf)> =
            entries.flatten().filter_map(|entry| Some((file::unit_of(&entry.path())?, entry.path()))).collect();
        found.sort();
        for (unit, path) in found {
            self.open_file(unit, path)?;
        }
        // One that comes later is new as a whole.
        self.wanted.tail = None;
        Ok(())
    }

    /// Opens a log, if it is wanted and not open yet.
    fn open_file(&mut self, unit: UnitId, path: PathBuf) -> io::Result<()> {
        if (self.select)(&unit) && self.open.insert(unit.clone()) {
            let reader = Box::new(Reader::open(path, unit.clone(), self.wanted, &self.room)?);
            if let Some(keeper) = &self.keeper {
                lock(keeper).insert(unit.clone(), reader.kept());
                // For what was moved before it was known.
                reader.kept().look();
            }
            self.add(From::File { unit, reader }, State::Ready);
        }
        Ok(())
    }

    /// Some files have changed.
    fn look_at(&mut self, units: &BTreeSet<Option<UnitId>>) -> io::Result<()> {
        let any = units.contains(&None);
        for source in self.sources.values_mut() {
            if let From::File { unit, .. } = &source.from
                && (any || units.contains(&Some(unit.clone())))
            {
                source.state = State::Ready;
            }
        }
        if any {
            return self.find_files();
        }
        for unit in units.iter().flatten().filter(|unit| !self.open.contains(*unit)).cloned().collect::<Vec<_>>() {
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
        for source in self.without_head.iter().filter_map(|key| self.sources.get(key)) {
            if let From::Feed(feed) = &source.from {
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

    use crossbeam_channel::{Sender, unbounded};

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
        let sources = Sources { directory, select: &select, wanted, feeds: no_feeds(), stop: never() };
        read(sources, |given| {
            if let Given::Line(line) = given
                && line.mark.is_none()
            {
                lines.push(shown(&line));
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
        let directory = directory.to_owned();
        let thread = std::thread::spawn(move || {
            let select = |_: &UnitId| true;
            let sources = Sources { directory: &directory, select: &select, wanted, feeds, stop: stopped };
            read(sources, |given| {
                if let Given::Line(line) = given {
                    sender.send(line).unwrap();
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        });
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
                read(Sources { directory: &at, select: &select, wanted, feeds: no_feeds(), stop }, |given| {
                    let Given::Line(line) = given else { return ControlFlow::Continue(()) };
                    let text = shown(&line);
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

    /// A line of a feed.
    fn line(seconds: u64, text: &str) -> Fed {
        let unit = "c:1".parse().unwrap();
        let text = text.as_bytes().to_vec();
        let time = Timestamp(seconds * SECOND);
        Fed::Line(Line { time, unit, stream: Stream::Stdout, text, open: false, shown: 0, mark: None })
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
