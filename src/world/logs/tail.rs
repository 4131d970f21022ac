//! Reads one unit's log: the history that was asked for, then what is added, over all rotations.
//!
//! Files are told apart by their inode. The one that is read is kept open, so its inode cannot become another file's, and
//! what was written into it before it was moved away is read to its end. Those that come after it are kept open too
//! ([`Kept`]): a reader that is slow, or that somebody has stopped, finds what has been rotated away meanwhile, and hinders nobody.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::resource::{Resource, getrlimit};

use super::file::older;
use super::line::{Joiner, Line, LineRef};
use super::record::{self, Mark, Part, Record, Stream, Timestamp};
use crate::base::name::UnitId;
use crate::plan::action::Incarnation;

/// No record is longer: a piece of a line and what one read has added to it.
const LONGEST_RECORD: usize = 1024 * 1024;
/// More old files than anybody keeps.
const MOST_FILES: u32 = 1000;
/// So many files are kept open for a reader that has yet to come to them; with the default size, 320 MiB.
const MOST_KEPT: usize = 16;
/// All that read beside each other keep no more than this part of the descriptors that there may be.
const PART_OF_DESCRIPTORS: u64 = 4;
/// `EMFILE` and `ENFILE` of `open(2)`.
const NONE_LEFT: i32 = 24;
const NONE_LEFT_FOR_ANYBODY: i32 = 23;
/// The inode of no file.
const NO_FILE: u64 = 0;
/// Said where a log has been rotated faster than it was read.
const GAP: &str = "lines may be missing here: the log was rotated faster than it was read";
/// So much is read at once on the way back.
const BLOCK: usize = 64 * 1024;

/// What of a log is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// The last so many lines.
    pub tail: Option<usize>,
    /// Lines from then on.
    pub since: Option<Timestamp>,
    /// Lines until then.
    pub until: Option<Timestamp>,
    /// Only one life.
    pub run: Option<Run>,
    /// What is added later, too.
    pub follow: bool,
}

/// One life of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// The last one that there is.
    Last,
    /// This one; the last of this number.
    Number(Incarnation),
}

/// What a source of lines has.
#[derive(Debug)]
pub enum Next {
    /// A line.
    Line(Line),
    /// Nothing at present.
    Nothing,
    /// Nothing any more.
    End,
}

/// What has been taken in of a file.
enum Taken {
    /// All of a record.
    Record,
    /// The beginning of one.
    Piece,
    /// It is at its end.
    Nothing,
}

/// One unit's log.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    wanted: Wanted,
    current: Option<Current>,
    /// The files after it.
    kept: Kept,
    /// The file that was read last.
    last_read: Option<u64>,
    /// Between that and the one before, until its first record is read.
    seam: Option<Seam>,
    joiner: Joiner,
    /// The beginning of a record whose end is not written yet.
    pending: Vec<u8>,
    /// The one life that is wanted, and the one that has begun last.
    life: Option<Incarnation>,
    begun: Option<Incarnation>,
    /// The run at hand is over, or `until` is past.
    is_over: bool,
    /// The time of the last record, as text and parsed: one read has many records.
    last_time: (Vec<u8>, Timestamp),
}

#[derive(Debug)]
struct Current {
    reader: BufReader<File>,
    inode: u64,
}

/// Between two files of a log.
#[derive(Debug, Clone, Copy)]
struct Seam {
    /// The file that was read before.
    before: u64,
    /// There may have been others in between, for all that is known without the record that tells.
    is_doubtful: bool,
}

impl Seam {
    /// Whether there were others, by the first record.
    fn is_gap(self, line: &[u8]) -> bool {
        record::after(line).map_or(self.is_doubtful, |after| after != self.before)
    }
}

/// How many files may be kept open by all readers together.
#[derive(Debug, Clone)]
pub struct Room(Arc<AtomicUsize>);

impl Room {
    /// A part of the descriptors that this process may have.
    pub fn of_process() -> Self {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        Self::of(usize::try_from(limit / PART_OF_DESCRIPTORS).unwrap_or(usize::MAX))
    }

    fn of(files: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(files)))
    }

    /// As many places as there are, up to this.
    fn places(&self, wanted: usize) -> Vec<Place> {
        let take = |free: usize| free.checked_sub(free.min(wanted));
        let free = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).unwrap_or_default();
        (0..free.min(wanted)).map(|_| Place(Some(self.clone()))).collect()
    }
}

/// A descriptor for one file, given back with it.
#[derive(Debug)]
struct Place(Option<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(Room(free)) = &self.0 {
            free.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// The files of a log that its reader has yet to come to, the oldest first. Shared with whoever hears of a rotation
/// while the reader waits for those who read from it.
#[derive(Debug, Clone)]
pub struct Kept {
    path: PathBuf,
    files: Arc<Mutex<Files>>,
}

#[derive(Debug)]
struct Files {
    waiting: VecDeque<Waiting>,
    /// The newest file that is known: the last that waits, or the one that is read.
    last: Option<u64>,
    room: Room,
}

#[derive(Debug)]
struct Waiting {
    file: File,
    inode: u64,
    /// There may have been files between the one before and this one.
    after_gap: bool,
    _place: Place,
}

impl Kept {
    fn new(path: PathBuf, room: Room) -> Self {
        Self { path, files: Arc::new(Mutex::new(Files { waiting: VecDeque::new(), last: None, room })) }
    }

    /// Opens the files that are newer than those that are known. No more than [`MOST_KEPT`], nor than there is room for, and none
    /// where there are no descriptors left: the next look finds them, if they are there by then.
    pub fn look(&self) {
        // That some of them cannot be opened is told when the reader comes to them.
        let _ = self.lock().look(&self.path, 0);
    }

    /// The file after the one that was read.
    fn next(&self) -> io::Result<Option<Waiting>> {
        let mut files = self.lock();
        if files.waiting.is_empty() {
            // For the one that is read there is always room.
            files.look(&self.path, 1)?;
        }
        Ok(files.waiting.pop_front())
    }

    /// The reader begins with this one.
    fn begin(&self, inode: u64) {
        self.lock().last = Some(inode);
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        // Nothing is half done where a holder of it panics.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn look(&mut self, path: &Path, least: usize) -> io::Result<()> {
        let mut places = self.room.places(MOST_KEPT.saturating_sub(self.waiting.len()));
        let room = places.len().max(least);
        let (mut found, mut is_last_there, mut gap, mut count) = (VecDeque::<(File, u64)>::new(), false, 0, 0);
        let mut newer = None;
        // From the newest to the oldest. A file only ever moves on, so that this meets one twice but passes none over.
        for index in 0..MOST_FILES {
            match File::open(older(path, index)) {
                Ok(file) => {
                    gap = 0;
                    let inode = file.metadata()?.ino();
                    if self.last == Some(inode) {
                        is_last_there = true;
                        break;
                    }
                    if newer.replace(inode) != Some(inode) {
                        count += 1;
                        found.push_back((file, inode));
                    }
                    if found.len() > room {
                        found.pop_front();
                    }
                }
                // There are gaps while files are being moved, one at a time, and we may meet the same one twice.
                Err(error) if error.kind() == io::ErrorKind::NotFound && gap < 2 => gap += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                // No descriptors are left, for us or for anybody: what there is can be read, and the rest is found later.
                Err(error) if matches!(error.raw_os_error(), Some(NONE_LEFT | NONE_LEFT_FOR_ANYBODY)) => break,
                Err(error) => return Err(error),
            }
        }
        // Where no old files are kept, the last one is never there any more.
        let mut after_gap = self.last.is_some() && !is_last_there && count > 1;
        self.last = found.front().map(|(_, newest)| *newest).or(self.last);
        for (file, inode) in found.into_iter().rev() {
            let place = places.pop().unwrap_or(Place(None));
            self.waiting.push_back(Waiting { file, inode, after_gap, _place: place });
            after_gap = false;
        }
        Ok(())
    }
}

impl Reader {
    /// Opens a log at the first line that is wanted. It need not exist yet.
    pub fn open(path: PathBuf, unit: UnitId, wanted: Wanted, room: &Room) -> io::Result<Self> {
        let mut reader = Self {
            kept: Kept::new(path.clone(), room.clone()),
            path,
            wanted,
            current: None,
            last_read: None,
            seam: None,
            joiner: Joiner::new(unit),
            pending: Vec::new(),
            life: None,
            begun: None,
            is_over: false,
            last_time: (Vec::new(), Timestamp(0)),
        };
        reader.current = reader.find_start()?;
        if let Some(current) = &reader.current {
            reader.kept.begin(current.inode);
            reader.last_read = Some(current.inode);
        }
        Ok(reader)
    }

    /// It is to be read from its first record on: where that is there no more, a gap is told.
    pub fn expect_the_first(&mut self) {
        self.seam = Some(Seam { before: NO_FILE, is_doubtful: false });
    }

    /// What keeps the files open that are still to be read.
    pub fn kept(&self) -> Kept {
        self.kept.clone()
    }

    /// The next line.
    pub fn next_line(&mut self) -> io::Result<Next> {
        loop {
            if let Some(line) = self.joiner.next() {
                if self.wanted.since.is_some_and(|since| line.time < since) {
                    continue;
                }
                return Ok(Next::Line(line));
            }
            if self.is_over {
                return Ok(Next::End);
            }
            if self.read_record()? {
                continue;
            }
            if self.wanted.follow {
                self.joiner.give_open();
            } else {
                self.joiner.finish_all();
                self.is_over = true;
            }
            match self.joiner.next() {
                Some(line) => return Ok(Next::Line(line)),
                None if self.is_over => return Ok(Next::End),
                None => return Ok(Next::Nothing),
            }
        }
    }

    /// Gives up to `most` lines that stand in what has been read already just as they are to be given, which nearly all do: whole, and no
    /// other of their unit waits for its end. Goes no further than to the first that `is_wanted` refuses by its time, or of which that
    /// cannot be said: [`Self::next_line`] has that one. Answers with how many were given.
    pub fn give_plain(
        &mut self,
        most: usize,
        is_wanted: impl Fn(Timestamp) -> bool,
        mut give: impl FnMut(LineRef<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<(), usize> {
        let is_plain = self.joiner.is_empty() && self.pending.is_empty() && self.seam.is_none() && !self.is_over;
        let Wanted { since, until, run, .. } = self.wanted;
        let Some(current) = self.current.as_mut().filter(|_| is_plain && run.is_none()) else { return ControlFlow::Continue(0) };
        let buffer = current.reader.buffer();
        let (mut taken, mut given) = (0, 0);
        let mut flow = ControlFlow::Continue(());
        while given < most && flow.is_continue() {
            let Some(end) = memchr::memchr(b'\n', &buffer[taken..]) else { break };
            let Some(record) = parse(&buffer[taken..taken + end], &mut self.last_time) else { break };
            let Record { time, stream, part: Part::Full, of: None, text } = record else { break };
            if until.is_some_and(|until| time > until) || !is_wanted(time) {
                break;
            }
            taken += end + 1;
            if since.is_none_or(|since| time >= since) {
                given += 1;
                flow = give(LineRef { time, unit: self.joiner.unit(), stream, text, open: false, shown: 0, mark: None });
            }
        }
        current.reader.consume(taken);
        flow.map_continue(|()| given)
    }

    /// Takes one record in; false at the end of what there is.
    fn read_record(&mut self) -> io::Result<bool> {
        let mut is_moved = false;
        loop {
            let Some(mut current) = self.current.take() else {
                if !self.go_on()? {
                    return Ok(false);
                }
                continue;
            };
            let taken = self.take_from(&mut current.reader);
            let inode = self.current.insert(current).inode;
            match taken? {
                Taken::Record => return Ok(true),
                Taken::Piece => continue,
                Taken::Nothing => {}
            }
            // The end. What was written between the last read and the move of the file is read once it is seen as moved.
            let newest = fs::metadata(&self.path).ok().map(|about| about.ino());
            match newest {
                Some(newest) if newest != inode && !is_moved => is_moved = true,
                Some(_) if is_moved && self.go_on()? => is_moved = false,
                Some(_) | None => return Ok(false),
            }
        }
    }

    /// Takes in what has been read of a file up to the next line end.
    fn take_from(&mut self, reader: &mut BufReader<File>) -> io::Result<Taken> {
        let buffer = loop {
            match reader.fill_buf() {
                Ok(_) => break reader.buffer(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        if buffer.is_empty() {
            return Ok(Taken::Nothing);
        }
        let room = LONGEST_RECORD - self.pending.len();
        let line_end = memchr::memchr(b'\n', buffer).map(|end| end + 1);
        let end = line_end.unwrap_or(buffer.len()).min(room);
        let is_whole = end == room || line_end == Some(end);
        if is_whole && self.pending.is_empty() {
            self.take_record(&buffer[..end]);
        } else {
            self.pending.extend_from_slice(&buffer[..end]);
            if is_whole {
                let mut line = std::mem::take(&mut self.pending);
                self.take_record(&line);
                line.clear();
                self.pending = line;
            }
        }
        reader.consume(end);
        Ok(if is_whole { Taken::Record } else { Taken::Piece })
    }

    /// Goes on with the next file, if there is one.
    fn go_on(&mut self) -> io::Result<bool> {
        let Some(Waiting { file, inode, after_gap: is_doubtful, _place }) = self.kept.next()? else { return Ok(false) };
        self.pending.clear();
        self.seam = self.last_read.replace(inode).map(|before| Seam { before, is_doubtful });
        self.current = Some(Current { reader: BufReader::with_capacity(BLOCK, file), inode });
        Ok(true)
    }

    fn tell_gap(&mut self) {
        self.joiner.finish_all();
        let (time, text) = (self.last_time.1, GAP.as_bytes());
        self.joiner.push(&Record { time, stream: Stream::Stderr, part: Part::Mark(Mark::Note), of: None, text });
    }

    fn take_record(&mut self, line: &[u8]) {
        let record = parse(line.strip_suffix(b"\n").unwrap_or(line), &mut self.last_time);
        if let Some(seam) = self.seam.take()
            && seam.is_gap(line)
        {
            self.tell_gap();
        }
        let Some(record) = record else { return };
        let is_past = self.wanted.until.is_some_and(|until| record.time > until);
        let is_next_run = self.wanted.run.is_some() && matches!(record.part, Part::Mark(Mark::Run(_)));
        if is_past || is_next_run {
            self.joiner.finish_all();
            self.is_over = true;
        } else if self.is_of_wanted(&record) {
            self.joiner.push(&record);
            // What goes on has begun later.
            self.is_over |= record.of.is_some() && self.life.is_some() && record.part == Part::Mark(Mark::End);
        }
    }

    /// Whether a record is of the one life that is wanted, if only one is.
    fn is_of_wanted(&mut self, record: &Record<'_>) -> bool {
        if self.life.is_none() {
            return true;
        }
        if let Part::Mark(Mark::RunBeside(run)) = record.part {
            self.begun = Some(run);
            return false;
        }
        record.of.or(self.begun) == self.life
    }

    fn files(&self) -> Vec<(u32, u64)> {
        files(&self.path)
    }

    /// Goes back from the newest record to the first one that is wanted.
    fn find_start(&mut self) -> io::Result<Option<Current>> {
        let Wanted { tail, since, run, .. } = self.wanted;
        if tail.is_none() && since.is_none() && run.is_none() {
            while let Some((index, inode)) = self.files().last().copied() {
                if let Some(oldest) = open_moved(&self.path, index, inode)? {
                    return Ok(Some(oldest));
                }
            }
            return Ok(None);
        }
        let mut lines = 0;
        let mut start = None;
        let mut time = (Vec::new(), Timestamp(0));
        // All of them before one is looked at, which takes its time.
        let mut files = Vec::new();
        for (index, inode) in self.files() {
            files.extend(open_moved(&self.path, index, inode)?);
        }
        for mut current in files {
            let first =
                since.filter(|_| tail.is_none() && run.is_none()).map(|since| (since, first_time(current.reader.get_ref())));
            if let Some((since, Some(first))) = first
                && first >= since
            {
                start = Some(current);
                continue;
            }
            let (mut found, mut life) = (None, None);
            backwards(current.reader.get_ref(), |end, line| {
                let Some(record) = parse(line, &mut time) else { return ControlFlow::Continue(()) };
                let is_before = since.is_some_and(|since| record.time < since);
                lines += usize::from(record.part == Part::Full || (lines == 0 && record.part == Part::Partial));
                let is_enough = tail.is_some_and(|tail| lines > tail);
                life = run.and_then(|run| begins(run, record.part));
                if is_before || is_enough || life.is_some() {
                    found = Some(end);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            current.reader.seek(SeekFrom::Start(found.unwrap_or(0)))?;
            start = Some(current);
            if found.is_some() {
                (self.life, self.begun) = (life, life);
                return Ok(start);
            }
        }
        // A life that is not there has no lines, and gets none later.
        self.is_over |= run.is_some();
        Ok(start)
    }
}

/// The files of a log with their inodes, the newest first. While they are being moved one may be seen twice, and there are gaps:
/// one at a time, but we may meet the same one twice.
fn files(path: &Path) -> Vec<(u32, u64)> {
    let mut files = Vec::new();
    let mut gap = 0;
    for index in 0..MOST_FILES {
        match fs::metadata(older(path, index)) {
            Ok(about) => {
                files.push((index, about.ino()));
                gap = 0;
            }
            Err(_) if gap == 2 => break,
            Err(_) => gap += 1,
        }
    }
    files
}

/// The number of the last life in a log that is this one, where one is named; none where there is no such life.
pub fn last_run(path: &Path, named: Option<Incarnation>) -> io::Result<Option<Incarnation>> {
    let mut time = (Vec::new(), Timestamp(0));
    for (index, inode) in files(path) {
        let Some(current) = open_moved(path, index, inode)? else { continue };
        let mut found = None;
        backwards(current.reader.get_ref(), |_, line| match parse(line, &mut time).map(|record| record.part) {
            Some(Part::Mark(Mark::Run(run) | Mark::RunBeside(run))) if named.is_none_or(|named| named == run) => {
                found = Some(run);
                ControlFlow::Break(())
            }
            Some(_) | None => ControlFlow::Continue(()),
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The life that begins with this, if it is the one that is wanted.
fn begins(run: Run, part: Part) -> Option<Incarnation> {
    match part {
        Part::Mark(Mark::Run(found) | Mark::RunBeside(found)) => (run == Run::Last || run == Run::Number(found)).then_some(found),
        Part::Mark(Mark::End | Mark::Note) | Part::Full | Part::Partial => None,
    }
}

/// Parses a record; its time only when it is another one than before.
fn parse<'a>(line: &'a [u8], last: &mut (Vec<u8>, Timestamp)) -> Option<Record<'a>> {
    // One read has many records, all of its time.
    if let Some(rest) = line.strip_prefix(last.0.as_slice()).and_then(|rest| rest.strip_prefix(b" "))
        && !last.0.is_empty()
    {
        return Record::parse_after_time(last.1, rest);
    }
    let (time, rest) = line.split_at_checked(memchr::memchr(b' ', line)?)?;
    *last = (time.to_vec(), Timestamp::parse(std::str::from_utf8(time).ok()?)?);
    Record::parse_after_time(last.1, rest.strip_prefix(b" ")?)
}

/// Opens the file of a log that had this index and inode; it may have been moved on since, perhaps out of sight.
fn open_moved(path: &Path, index: u32, inode: u64) -> io::Result<Option<Current>> {
    let mut gap = 0;
    for index in index..MOST_FILES {
        match File::open(older(path, index)) {
            Ok(file) if file.metadata()?.ino() == inode => {
                return Ok(Some(Current { reader: BufReader::with_capacity(BLOCK, file), inode }));
            }
            Ok(_) => gap = 0,
            // As above.
            Err(error) if error.kind() == io::ErrorKind::NotFound && gap < 2 => gap += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The time of a file's first record.
fn first_time(file: &File) -> Option<Timestamp> {
    let mut head = [0; 64];
    let read = file.read_at(&mut head, 0).ok()?;
    let time = &head[..memchr::memchr(b' ', &head[..read])?];
    Timestamp::parse(std::str::from_utf8(time).ok()?)
}

/// Calls `visit` with each whole line from the last to the first, and the offset after it.
fn backwards(file: &File, mut visit: impl FnMut(u64, &[u8]) -> ControlFlow<()>) -> io::Result<()> {
    let mut start = file.metadata()?.len();
    // The bytes from `start` on that belong to no line visited yet.
    let mut bytes: Vec<u8> = Vec::new();
    while start > 0 {
        let take = BLOCK.min(usize::try_from(start).unwrap_or(BLOCK));
        start -= take as u64;
        let mut block = vec![0; take];
        file.read_exact_at(&mut block, start)?;
        block.append(&mut bytes);
        bytes = block;
        let mut line_end: Option<usize> = None;
        let mut searched = bytes.len();
        while let Some(newline) = memchr::memrchr(b'\n', &bytes[..searched]) {
            if let Some(line_end) = line_end
                && visit(start + line_end as u64 + 1, &bytes[newline + 1..line_end]).is_break()
            {
                return Ok(());
            }
            (line_end, searched) = (Some(newline), newline);
        }
        // What is left begins within a line, and ends with the first line end of this block.
        let keep = memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |newline| newline + 1);
        bytes.truncate(keep);
        if bytes.len() > LONGEST_RECORD {
            bytes.clear();
        }
    }
    if let Some(line) = bytes.strip_suffix(b"\n") {
        let _ = visit(bytes.len() as u64, line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::logs::file::{LogFile, Size};

    fn record(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let time = Timestamp(1);
        Record { time, stream: Stream::Stdout, part: Part::Full, of: None, text: text.as_bytes() }.write(&mut out);
        out
    }

    fn lines(reader: &mut Reader) -> Vec<String> {
        let next = || match reader.next_line().unwrap() {
            Next::Line(line) => Some(String::from_utf8(line.text).unwrap()),
            Next::Nothing | Next::End => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_is_kept_is_read_and_a_gap_is_told_where_that_was_too_much() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.1.log");
        // A file for each line.
        let mut log = LogFile::new(path.clone(), Size { bytes: 1, files: 3 });
        log.append(&record("first"));
        let wanted = Wanted { follow: true, ..Wanted::default() };
        let mut reader = Reader::open(path, "a:1".parse().unwrap(), wanted, &Room::of(1000)).unwrap();
        let mut write = |kept: &Kept, numbers: std::ops::Range<usize>| {
            for number in numbers {
                log.append(&record(&number.to_string()));
                kept.look();
            }
        };
        let kept = reader.kept();
        write(&kept, 0..MOST_KEPT);
        let numbers = |range: std::ops::Range<usize>| range.map(|number| number.to_string());
        let expected: Vec<String> = std::iter::once("first".to_owned()).chain(numbers(0..MOST_KEPT)).collect();
        assert_eq!(lines(&mut reader), expected);
        // Of those that there was no room for the last three are there.
        write(&kept, 0..MOST_KEPT + 5);
        let expected: Vec<String> =
            numbers(0..MOST_KEPT).chain([GAP.to_owned()]).chain(numbers(MOST_KEPT + 2..MOST_KEPT + 5)).collect();
        assert_eq!(lines(&mut reader), expected);
    }

    #[test]
    fn a_log_without_old_files_is_followed_without_a_word_of_gaps() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.1.log");
        let mut log = LogFile::new(path.clone(), Size { bytes: 1, files: 1 });
        let wanted = Wanted { follow: true, ..Wanted::default() };
        let mut reader = Reader::open(path, "a:1".parse().unwrap(), wanted, &Room::of(1000)).unwrap();
        for number in 0..4 {
            log.append(&record(&number.to_string()));
            assert_eq!(lines(&mut reader), [number.to_string()]);
        }
        // What nobody has looked at before it was removed.
        (4..7).for_each(|number| log.append(&record(&number.to_string())));
        assert_eq!(lines(&mut reader), [GAP, "6"]);
        log.append(&record("7"));
        assert_eq!(lines(&mut reader), ["7"]);
    }

    #[test]
    fn a_log_whose_changes_nobody_hears_of_tells_what_it_has_lost_and_no_more() {
        for (files, missed, expected) in [(3, 3, &["1", "2", "3"][..]), (3, 4, &[GAP, "2", "3", "4"]), (2, 3, &[GAP, "2", "3"])] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.1.log");
            let mut log = LogFile::new(path.clone(), Size { bytes: 1, files });
            log.append(&record("0"));
            let wanted = Wanted { follow: true, ..Wanted::default() };
            let mut reader = Reader::open(path, "a:1".parse().unwrap(), wanted, &Room::of(1000)).unwrap();
            assert_eq!(lines(&mut reader), ["0"]);
            // The file that was read is none of those that are left.
            (1..=missed).for_each(|number| log.append(&record(&number.to_string())));
            assert_eq!(lines(&mut reader), expected, "{files} files");
        }
    }

    #[test]
    fn a_log_that_is_rotated_while_it_is_opened_is_read_from_its_first_line() {
        const FILES: u32 = 400;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.1.log");
        let mut log = LogFile::new(path.clone(), Size { bytes: 1, files: FILES });
        log.append(&record("0"));
        let writer = std::thread::spawn(move || (1..FILES - 1).for_each(|number| log.append(&record(&number.to_string()))));
        let wanted = Wanted { follow: true, ..Wanted::default() };
        while !writer.is_finished() {
            let mut reader = Reader::open(path.clone(), "a:1".parse().unwrap(), wanted, &Room::of(1000)).unwrap();
            reader.expect_the_first();
            let first = match reader.next_line().unwrap() {
                Next::Line(line) => String::from_utf8(line.text).unwrap(),
                other => panic!("{other:?}"),
            };
            assert_eq!(first, "0");
        }
        writer.join().unwrap();
    }

    #[test]
    fn a_log_that_lost_its_first_lines_before_it_was_opened_tells_so_to_whoever_wants_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.1.log");
        let mut log = LogFile::new(path.clone(), Size { bytes: 1, files: 2 });
        (0..3).for_each(|number| log.append(&record(&number.to_string())));
        let wanted = Wanted { follow: true, ..Wanted::default() };
        let mut reader = Reader::open(path, "a:1".parse().unwrap(), wanted, &Room::of(1000)).unwrap();
        reader.expect_the_first();
        assert_eq!(lines(&mut reader), [GAP, "1", "2"]);
    }

    #[test]
    fn readers_beside_each_other_share_the_descriptors_that_there_are() {
        const ROOM: usize = 10;
        let directory = tempfile::tempdir().unwrap();
        let room = Room::of(ROOM);
        let wanted = Wanted { follow: true, ..Wanted::default() };
        let mut all: Vec<(LogFile, Reader)> = (1..5)
            .map(|number| {
                let path = directory.path().join(format!("a.{number}.log"));
                let mut log = LogFile::new(path.clone(), Size { bytes: 1, files: 5 });
                log.append(&record("first"));
                (log, Reader::open(path, format!("a:{number}").parse().unwrap(), wanted, &room).unwrap())
            })
            .collect();
        for (log, reader) in &mut all {
            for number in 0..4 {
                log.append(&record(&number.to_string()));
                reader.kept().look();
            }
        }
        let kept: usize = all.iter().map(|(_, reader)| reader.kept.lock().waiting.len()).sum();
        assert_eq!((kept, room.0.load(Ordering::Relaxed)), (ROOM, 0));
        // Who has no room reads what is there when it comes to it.
        for (_, reader) in all.iter_mut().rev() {
            assert_eq!(lines(reader), ["first", "0", "1", "2", "3"]);
        }
        drop(all);
        assert_eq!(room.0.load(Ordering::Relaxed), ROOM);
    }
}
