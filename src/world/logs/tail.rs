//! Reads one unit's log: the history that was asked for, then what is added, over all rotations.
//!
//! Files are told apart by their inode. The one that is read is kept open, so its inode cannot become another file's, and
//! what was written into it before it was moved away is read to its end.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::file::older;
use super::line::{Joiner, Line};
use super::record::{Mark, Part, Record, Timestamp};
use crate::base::name::UnitId;
use crate::plan::action::Incarnation;

/// No record is longer: a piece of a line and what one read has added to it.
const LONGEST_RECORD: u64 = 1024 * 1024;
/// More old files than anybody keeps.
const MOST_FILES: u32 = 1000;
/// So often the files are looked at while they are being moved.
const TRIES: u32 = 1000;
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

/// One unit's log.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    wanted: Wanted,
    current: Option<Current>,
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

impl Reader {
    /// Opens a log at the first line that is wanted. It need not exist yet.
    pub fn open(path: PathBuf, unit: UnitId, wanted: Wanted) -> io::Result<Self> {
        let mut reader = Self {
            path,
            wanted,
            current: None,
            joiner: Joiner::new(unit),
            pending: Vec::new(),
            life: None,
            begun: None,
            is_over: false,
            last_time: (Vec::new(), Timestamp(0)),
        };
        reader.current = reader.find_start()?;
        Ok(reader)
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

    /// Takes one record in; false at the end of what there is.
    fn read_record(&mut self) -> io::Result<bool> {
        let mut is_moved = false;
        loop {
            let Some(current) = &mut self.current else {
                self.current = open_with_inode(&self.path)?;
                if self.current.is_none() {
                    return Ok(false);
                }
                continue;
            };
            let room = LONGEST_RECORD.saturating_sub(self.pending.len() as u64);
            let count = current.reader.by_ref().take(room).read_until(b'\n', &mut self.pending)?;
            if self.pending.last() == Some(&b'\n') || self.pending.len() as u64 >= LONGEST_RECORD {
                self.take_record();
                return Ok(true);
            }
            if count > 0 {
                continue;
            }
            // The end. What was written between the last read and the move of the file is read once it is seen as moved.
            let newest = fs::metadata(&self.path).ok().map(|about| about.ino());
            match (newest, is_moved) {
                (Some(inode), false) if inode != current.inode => is_moved = true,
                (Some(_), true) => {
                    let Some(next) = self.after()? else { return Ok(false) };
                    self.pending.clear();
                    self.current = Some(next);
                    is_moved = false;
                }
                (Some(_) | None, _) => return Ok(false),
            }
        }
    }

    fn take_record(&mut self) {
        let line = std::mem::take(&mut self.pending);
        if let Some(record) = parse(line.strip_suffix(b"\n").unwrap_or(&line), &mut self.last_time) {
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
        self.pending = line;
        self.pending.clear();
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

    /// The file that was begun when this one was moved away; the oldest one there is if this one is gone; none while files
    /// are being moved.
    fn after(&self) -> io::Result<Option<Current>> {
        let Some(current) = &self.current else { return Ok(None) };
        for _ in 0..TRIES {
            let files = self.files();
            let is_gone = current.reader.get_ref().metadata()?.nlink() == 0;
            match files.iter().find(|(_, found)| *found == current.inode) {
                Some((at, inode)) if *at > 0 => {
                    let next = open_with_inode(&older(&self.path, at - 1))?;
                    // Files only move away from the newest, the oldest first: if this one has not moved, the other one,
                    // which is there, has not either.
                    if next.is_some() && self.files().contains(&(*at, *inode)) {
                        return Ok(next);
                    }
                }
                None if is_gone => {
                    let Some((oldest, _)) = files.last() else { return Ok(None) };
                    return open_with_inode(&older(&self.path, *oldest));
                }
                Some(_) | None => {}
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    /// The files of the log with their inodes, the newest first. While they are being moved one may be seen twice, and there
    /// are gaps: one at a time, but we may meet the same one twice.
    fn files(&self) -> Vec<(u32, u64)> {
        let mut files = Vec::new();
        let mut gap = 0;
        for index in 0..MOST_FILES {
            match fs::metadata(older(&self.path, index)) {
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

    /// Goes back from the newest record to the first one that is wanted.
    fn find_start(&mut self) -> io::Result<Option<Current>> {
        let Wanted { tail, since, run, .. } = self.wanted;
        if tail.is_none() && since.is_none() && run.is_none() {
            return match self.files().last() {
                Some((oldest, _)) => open_with_inode(&older(&self.path, *oldest)),
                None => Ok(None),
            };
        }
        let mut lines = 0;
        let mut start = None;
        let mut time = (Vec::new(), Timestamp(0));
        let indexes: Vec<u32> = self.files().into_iter().map(|(index, _)| index).collect();
        for index in indexes {
            let Some(mut current) = open_with_inode(&older(&self.path, index))? else { continue };
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

/// The life that begins with this, if it is the one that is wanted.
fn begins(run: Run, part: Part) -> Option<Incarnation> {
    match part {
        Part::Mark(Mark::Run(found) | Mark::RunBeside(found)) => (run == Run::Last || run == Run::Number(found)).then_some(found),
        Part::Mark(Mark::End | Mark::Note) | Part::Full | Part::Partial => None,
    }
}

/// Parses a record; its time only when it is another one than before.
fn parse<'a>(line: &'a [u8], last: &mut (Vec<u8>, Timestamp)) -> Option<Record<'a>> {
    let (time, rest) = line.split_at_checked(memchr::memchr(b' ', line)?)?;
    if time != last.0 {
        *last = (time.to_vec(), Timestamp::parse(std::str::from_utf8(time).ok()?)?);
    }
    Record::parse_after_time(last.1, rest.strip_prefix(b" ")?)
}

fn open_with_inode(path: &Path) -> io::Result<Option<Current>> {
    match File::open(path) {
        Ok(file) => {
            let inode = file.metadata()?.ino();
            Ok(Some(Current { reader: BufReader::with_capacity(BLOCK, file), inode }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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
        if bytes.len() as u64 > LONGEST_RECORD {
            bytes.clear();
        }
    }
    if let Some(line) = bytes.strip_suffix(b"\n") {
        let _ = visit(bytes.len() as u64, line);
    }
    Ok(())
}
