//! A container's log as the engine keeps it: history, then what follows.
//!
//! Each entry carries the engine's time. A line that the engine cut (it keeps at most 16 KiB in one entry) comes in pieces, of
//! which only the last ends. A container with a terminal has one stream, told as standard output.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Sender;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use regex::bytes::Regex;

use super::frames::Frames;
use super::{Docker, dial, error};
use crate::base::name::UnitId;
use crate::plan::action::{Fault, FaultKind, Incarnation};
use crate::supervisor::event::Event;

/// What of a log is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogRange {
    /// Not older than this.
    pub since: Option<SystemTime>,
    /// Not younger than this.
    pub until: Option<SystemTime>,
    /// At most so many of the last lines.
    pub tail: Option<u64>,
    /// Go on with what comes.
    pub follow: bool,
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When its beginning was written: the engine's time, or ours of what is read as it is written.
    pub time: SystemTime,
    /// Where it was written to.
    pub stream: LogStream,
    /// As it came, without the line break.
    pub bytes: Vec<u8>,
}

/// Before a log that ended is looked at again.
const RETRY: Duration = Duration::from_millis(500);
/// How many lines are remembered as told, and read again at the end.
const REMEMBERED: usize = 1000;
/// A longer line is given in pieces of this size.
pub(super) const LONGEST: usize = 256 * 1024;

impl Docker {
    /// A container's log. Ends when the container has ended (at once without `follow`), with a fault when the engine goes
    /// away: then it can be asked for again, with `since` the last time seen.
    pub async fn logs(&self, container: &str, range: LogRange) -> Result<LogReading, Fault> {
        let mut told = Told::default();
        if range.follow && range.tail == Some(0) {
            // What is there already is not wanted, at the end no more than now.
            let newest = LogRange { tail: Some(1), ..LogRange::default() };
            let mut newest = Entries::open(self, container, newest).await?;
            while let Some(lines) = newest.next().await {
                lines?.iter().for_each(|line| told.note(line));
            }
        }
        let entries = Entries::open(self, container, range).await?;
        let stage = if range.follow { Stage::Following } else { Stage::Last };
        Ok(LogReading { docker: self.clone(), container: container.to_owned(), range, told, stage, entries })
    }

    /// The time of the last entry of a container's log, if there is one.
    pub async fn newest_entry(&self, container: &str) -> Result<Option<SystemTime>, Fault> {
        let mut reading = self.logs(container, LogRange { tail: Some(1), ..LogRange::default() }).await?;
        let mut newest = None;
        while let Some(lines) = reading.next().await {
            newest = lines?.last().map(|line| line.time).or(newest);
        }
        Ok(newest)
    }

    /// Looks for a line in the log of a container's present life, and tells of the first that matches. `after` is the end of
    /// the life before: a process can write before the engine notes that it has started.
    pub(super) fn watch_for_line(
        &self,
        life: Life,
        after: Option<SystemTime>,
        pattern: &str,
        unit: UnitId,
        incarnation: Incarnation,
        events: Sender<Event>,
    ) -> Result<(), Fault> {
        let pattern =
            Regex::new(pattern).map_err(|error| Fault::permanent(format!("`{pattern}` is no regular expression: {error}")))?;
        let docker = self.clone();
        tokio::spawn(async move {
            if docker.finds_line(&life, after, &pattern).await {
                // When nobody listens any more the supervisor is ending.
                let _ = events.send(Event::LineMatched(unit, incarnation));
            }
        });
        Ok(())
    }

    /// Follows a log to the first line that matches, across absences of the engine, until the life is over.
    async fn finds_line(&self, life: &Life, after: Option<SystemTime>, pattern: &Regex) -> bool {
        loop {
            let range = LogRange { since: after, follow: true, ..LogRange::default() };
            if let Ok(mut lines) = self.logs(&life.container, range).await {
                while let Some(Ok(lines)) = lines.next().await {
                    if lines.iter().any(|line| pattern.is_match(&line.bytes)) {
                        return true;
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
            let Ok(link) = self.link().await else { continue };
            match link.api.inspect_container(&life.container, None).await {
                Ok(container) => {
                    let state = container.state.unwrap_or_default();
                    if state.running != Some(true) || state.started_at.as_deref() != Some(&life.birth) {
                        return false;
                    }
                }
                Err(error) if error::is_not_found(&error) => return false,
                Err(_) => {}
            }
        }
    }
}

/// One life of a container.
#[derive(Debug, Clone)]
pub(super) struct Life {
    /// The container.
    pub(super) container: String,
    /// The engine's `StartedAt`.
    pub(super) birth: String,
}

/// A log that is being read.
pub struct LogReading {
    docker: Docker,
    container: String,
    range: LogRange,
    told: Told,
    stage: Stage,
    entries: Entries,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// What comes is told, and noted.
    Following,
    /// No more comes: the end of the log is to be read once more.
    Over,
    /// It is, for what was not told.
    Missed,
    /// There is nothing after this.
    Last,
}

impl LogReading {
    /// The next lines, some at a time. None at the end. Nothing is lost when it is called off, and called again.
    pub async fn next(&mut self) -> Option<Result<Vec<LogLine>, Fault>> {
        loop {
            if self.stage == Stage::Over {
                // An engine may let go of a follower before the last line, mostly one that has no line break (seen with 20.10). By
                // then the log itself is complete, so its end is read once more.
                let end = LogRange { follow: false, tail: Some(REMEMBERED as u64), ..self.range };
                self.entries = match Entries::open(&self.docker, &self.container, end).await {
                    Ok(entries) => entries,
                    // It has been removed with all that it wrote.
                    Err(fault) if fault.kind == FaultKind::Permanent => return None,
                    Err(fault) => return Some(Err(fault)),
                };
                self.stage = Stage::Missed;
            }
            let mut lines = match (self.entries.next().await, self.stage) {
                (None, Stage::Following) => {
                    self.stage = Stage::Over;
                    continue;
                }
                (None, _) => return None,
                (Some(Err(fault)), _) => return Some(Err(fault)),
                (Some(Ok(lines)), _) => lines,
            };
            let told = &mut self.told;
            match self.stage {
                Stage::Following => lines.retain(|line| told.is_news(line)),
                Stage::Missed => lines.retain(|line| told.lacks(line)),
                Stage::Over | Stage::Last => {}
            }
            if !lines.is_empty() {
                return Some(Ok(lines));
            }
        }
    }
}

/// The lines that were told last.
#[derive(Debug, Default)]
struct Told {
    recent: VecDeque<(SystemTime, LogStream, usize)>,
    /// The time of the youngest.
    newest: Option<SystemTime>,
}

impl Told {
    fn note(&mut self, line: &LogLine) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((line.time, line.stream, line.bytes.len()));
        self.newest = self.newest.max(Some(line.time));
    }

    /// Whether a line has not been told yet, which it is now. An engine whose log is rotated while it is followed reads a file again
    /// that it has read (seen with 20.10): then times go back.
    fn is_news(&mut self, line: &LogLine) -> bool {
        // Both streams are written at once, and clocks are set: what is a little older may be new all the same.
        let known = (line.time, line.stream, line.bytes.len());
        let is_forgotten = || self.recent.len() == REMEMBERED && self.recent.front().is_some_and(|oldest| line.time < oldest.0);
        let is_known = self.newest.is_some_and(|newest| line.time <= newest) && (is_forgotten() || self.recent.contains(&known));
        if !is_known {
            self.note(line);
        }
        !is_known
    }

    /// Whether a line of the log's end has not been told.
    fn lacks(&mut self, line: &LogLine) -> bool {
        // Both streams are written at once, so neighbours may stand in either order.
        if let Some(place) = self.recent.iter().position(|told| *told == (line.time, line.stream, line.bytes.len())) {
            self.recent.remove(place);
            return false;
        }
        self.recent.front().is_none_or(|oldest| line.time >= oldest.0)
    }
}

/// The entries of a log, one reading of it.
struct Entries {
    body: Incoming,
    range: LogRange,
    form: Form,
    /// Of each stream the line whose last piece has not come.
    open: [Option<LogLine>; 2],
}

/// How entries are told from each other.
enum Form {
    /// Nothing has come yet. An entry begins with its time, a frame with the number of its stream.
    Unknown,
    Framed(Frames),
    /// A terminal's: each is a line. This one has begun.
    Lines(Vec<u8>),
}

impl Entries {
    async fn open(docker: &Docker, container: &str, range: LogRange) -> Result<Self, Fault> {
        let mut path = format!("/containers/{container}/logs?stdout=1&stderr=1&timestamps=1&follow={}", u8::from(range.follow));
        for (name, time) in [("since", range.since), ("until", range.until)] {
            // A `String` takes whatever is written.
            let _ = time.map(|time| write!(path, "&{name}={}", seconds(time)));
        }
        let _ = range.tail.map(|lines| write!(path, "&tail={lines}"));
        let body = dial::streamed(&docker.0.endpoint, &path).await?;
        Ok(Self { body, range, form: Form::Unknown, open: [None, None] })
    }

    /// The next lines, perhaps none; `None` at the end.
    async fn next(&mut self) -> Option<Result<Vec<LogLine>, Fault>> {
        let read = match self.body.frame().await {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => {
                return Some(Err(Fault { kind: FaultKind::EngineAway, message: format!("the log breaks off: {error}") }));
            }
            None => {
                let rest = self.finish();
                return (!rest.is_empty()).then_some(Ok(rest));
            }
        };
        let mut lines = Vec::new();
        Some(self.take(&read, &mut lines).map(|()| lines))
    }

    fn take(&mut self, mut read: &[u8], lines: &mut Vec<LogLine>) -> Result<(), Fault> {
        let (range, open) = (&self.range, &mut self.open);
        if let (Form::Unknown, Some(first)) = (&self.form, read.first()) {
            self.form = if first.is_ascii_digit() { Form::Lines(Vec::new()) } else { Form::Framed(Frames::default()) };
        }
        match &mut self.form {
            Form::Unknown => {}
            Form::Framed(frames) => frames.take(read, |stream, entry| add(entry, stream, range, open, lines))?,
            Form::Lines(begun) => {
                while let Some(end) = memchr::memchr(b'\n', read) {
                    let (line, later) = read.split_at(end + 1);
                    begun.extend_from_slice(line);
                    add(begun, LogStream::Stdout, range, open, lines);
                    begun.clear();
                    read = later;
                }
                begun.extend_from_slice(read);
            }
        }
        Ok(())
    }

    /// What has begun and will not be ended.
    fn finish(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        if let Form::Lines(begun) = &mut self.form
            && !begun.is_empty()
        {
            add(&std::mem::take(begun), LogStream::Stdout, &self.range, &mut self.open, &mut lines);
        }
        lines.extend(self.open.iter_mut().filter_map(Option::take));
        lines
    }
}

/// Adds an entry to the line that it is a piece of, and that to the others if it is whole.
fn add(entry: &[u8], stream: LogStream, range: &LogRange, open: &mut [Option<LogLine>; 2], lines: &mut Vec<LogLine>) {
    let (time, text) = timed(entry);
    if range.since.is_some_and(|since| time < since) || range.until.is_some_and(|until| time > until) {
        return;
    }
    let ends = text.ends_with(b"\n");
    let text = without_line_break(text);
    let open = &mut open[stream as usize];
    match open {
        None if ends => return lines.push(LogLine { time, stream, bytes: text.to_vec() }),
        None => *open = Some(LogLine { time, stream, bytes: text.to_vec() }),
        Some(line) => line.bytes.extend_from_slice(text),
    }
    lines.extend(open.take_if(|line| ends || line.bytes.len() >= LONGEST));
}

/// `1714564800.000000001`.
fn seconds(time: SystemTime) -> String {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", since_epoch.as_secs(), since_epoch.subsec_nanos())
}

/// `2024-05-01T12:00:00.000000001Z text\n`.
fn timed(entry: &[u8]) -> (SystemTime, &[u8]) {
    let split = memchr::memchr(b' ', entry).and_then(|space| {
        let time = humantime::parse_rfc3339(std::str::from_utf8(&entry[..space]).ok()?).ok()?;
        Some((time, &entry[space + 1..]))
    });
    split.unwrap_or((UNIX_EPOCH, entry))
}

/// A line without what ends it; a terminal ends its lines with both.
pub(super) fn without_line_break(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_time_and_a_line_or_a_piece_of_one() {
        let time = |nanos| UNIX_EPOCH + Duration::new(1_714_564_800, nanos);
        let entries = [
            "2024-05-01T12:00:00.000000001Z hello world\n",
            "2024-05-01T12:00:00.500000000Z \n",
            "2024-05-01T12:00:01.000000000Z a piece",
            "2024-05-01T12:00:01.000000000Z  and its end\n",
            "2024-05-01T12:00:00.000000000Z of a terminal\r\n",
            "2024-05-01T12:00:09.000000000Z too young\n",
            "no time\n",
        ];
        let range = LogRange { until: Some(time(0) + Duration::from_secs(8)), ..LogRange::default() };
        let (mut open, mut lines) = ([None, None], Vec::new());
        entries.iter().for_each(|entry| add(entry.as_bytes(), LogStream::Stdout, &range, &mut open, &mut lines));
        let found: Vec<_> = lines.iter().map(|line| (line.time, String::from_utf8(line.bytes.clone()).unwrap())).collect();
        let expected = [
            (time(1), "hello world"),
            (time(500_000_000), ""),
            (time(0) + Duration::from_secs(1), "a piece and its end"),
            (time(0), "of a terminal"),
            (UNIX_EPOCH, "no time"),
        ];
        assert_eq!(found, expected.map(|(time, text)| (time, text.to_owned())));
        assert_eq!(open, [None, None]);
    }

    fn line(second: u64, stream: LogStream, length: usize) -> LogLine {
        LogLine { time: UNIX_EPOCH + Duration::from_secs(second), stream, bytes: vec![b'x'; length] }
    }

    #[test]
    fn what_an_engine_reads_again_after_a_rotation_is_known() {
        let mut told = Told::default();
        let mut is_news = |second, stream, length| told.is_news(&line(second, stream, length));
        for second in 10..10 + 2 * REMEMBERED as u64 {
            assert!(is_news(second, LogStream::Stdout, 3));
        }
        for second in 10..10 + 2 * REMEMBERED as u64 {
            assert!(!is_news(second, LogStream::Stdout, 3), "{second}");
        }
        // The other stream was a little later to be written, and a clock was set.
        assert!(is_news(2000, LogStream::Stderr, 3));
        assert!(!is_news(2000, LogStream::Stderr, 3));
        assert!(is_news(1999, LogStream::Stdout, 4));
        assert!(is_news(9000, LogStream::Stdout, 3));
    }
}
