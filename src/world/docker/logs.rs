//! A container's log as the engine keeps it: history, then what follows.
//!
//! Each frame carries the engine's time. A line that the engine cut (it keeps at most 16 KiB in one entry) comes in pieces, of
//! which only the last ends. A container with a terminal has one stream, told as standard output.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use crossbeam_channel::Sender;
use futures_util::stream::{BoxStream, StreamExt};
use regex::bytes::Regex;

use super::connect::Link;
use super::{Docker, error};
use crate::base::name::UnitId;
use crate::plan::action::{Fault, Incarnation};
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

/// A line, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The engine's time.
    pub time: SystemTime,
    /// Where it was written to.
    pub stream: LogStream,
    /// As it came, without the line break.
    pub bytes: Vec<u8>,
    /// Whether the line ends here.
    pub ends: bool,
}

/// Before a log that ended is looked at again.
const RETRY: Duration = Duration::from_millis(500);
/// How many lines are remembered as told, and read again at the end.
const REMEMBERED: usize = 1000;

impl Docker {
    /// A container's log. Ends when the container has ended (at once without `follow`), with a fault when the engine goes
    /// away: then it can be asked for again, with `since` the last time seen.
    pub async fn logs(&self, container: &str, range: LogRange) -> Result<BoxStream<'static, Result<LogLine, Fault>>, Fault> {
        let link = self.link().await?;
        if !range.follow {
            return Ok(read(&link, container, range));
        }
        let mut told = Told::default();
        if range.tail == Some(0) {
            // What is there already is not wanted, at the end no more than now.
            let newest = LogRange { tail: Some(1), ..LogRange::default() };
            let newest: Vec<_> = read(&link, container, newest).collect().await;
            newest.iter().flatten().for_each(|line| told.note(line));
        }
        let told = Arc::new(Mutex::new(told));
        let noting = told.clone();
        let lines = read(&link, container, range).inspect(move |line| {
            let mut told = noting.lock().unwrap_or_else(PoisonError::into_inner);
            match line {
                Ok(line) => told.note(line),
                Err(_) => told.broken = true,
            }
        });
        // An engine may let go of a follower before the last line, mostly one that has no line break (seen with 20.10). By
        // then the log itself is complete, so its end is read once more.
        let container = container.to_owned();
        let missed = futures_util::stream::once(async move {
            let mut told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
            if told.broken {
                return futures_util::stream::empty().boxed();
            }
            let end = LogRange { follow: false, tail: Some(REMEMBERED as u64), ..range };
            let lines = read(&link, &container, end);
            lines.filter(move |line| std::future::ready(line.as_ref().is_ok_and(|line| told.lacks(line)))).boxed()
        });
        Ok(lines.chain(missed.flatten()).boxed())
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
                while let Some(Ok(line)) = lines.next().await {
                    if pattern.is_match(&line.bytes) {
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

/// The lines that were told last.
#[derive(Debug, Default)]
struct Told {
    recent: VecDeque<(SystemTime, LogStream, usize)>,
    /// The connection broke: the caller will come again.
    broken: bool,
}

impl Told {
    fn note(&mut self, line: &LogLine) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((line.time, line.stream, line.bytes.len()));
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

/// One reading of a log.
fn read(link: &Link, container: &str, range: LogRange) -> BoxStream<'static, Result<LogLine, Fault>> {
    // The engine understands fractions of a second, bollard does not; what is too much is left out here.
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(range.follow)
        .since(range.since.map_or(0, |time| seconds(time, 0)))
        .until(range.until.map_or(0, |time| seconds(time, 1)))
        .tail(&range.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()))
        .build();
    let frames = link.patient().logs(container, Some(options));
    let lines = frames.map(|frame| Ok(line(frame?))).filter(move |line: &Result<LogLine, Fault>| {
        let within = |line: &LogLine| {
            range.since.is_none_or(|since| line.time >= since) && range.until.is_none_or(|until| line.time <= until)
        };
        std::future::ready(line.as_ref().map_or(true, within))
    });
    lines.boxed()
}

/// Whole seconds, rounded down, and `more` of them.
fn seconds(time: SystemTime, more: i32) -> i32 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i32::try_from(since_epoch.as_secs()).unwrap_or(i32::MAX - 1).saturating_add(more)
}

/// `2024-05-01T12:00:00.000000001Z text\n`.
fn line(frame: LogOutput) -> LogLine {
    let stream = match frame {
        LogOutput::StdErr { .. } => LogStream::Stderr,
        LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => LogStream::Stdout,
    };
    let frame = frame.into_bytes();
    let (time, text) = match memchr::memchr(b' ', &frame) {
        Some(space) => match std::str::from_utf8(&frame[..space]).ok().and_then(|time| humantime::parse_rfc3339(time).ok()) {
            Some(time) => (time, &frame[space + 1..]),
            None => (UNIX_EPOCH, &frame[..]),
        },
        None => (UNIX_EPOCH, &frame[..]),
    };
    let ends = text.ends_with(b"\n");
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    // A terminal ends its lines with both.
    let text = text.strip_suffix(b"\r").filter(|_| ends).unwrap_or(text);
    LogLine { time, stream, bytes: text.to_vec(), ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_time_and_a_line_or_a_piece_of_one() {
        let time = |nanos| UNIX_EPOCH + Duration::new(1_714_564_800, nanos);
        for (text, expected) in [
            ("2024-05-01T12:00:00.000000001Z hello world\n", (time(1), "hello world", true)),
            ("2024-05-01T12:00:00.500000000Z \n", (time(500_000_000), "", true)),
            ("2024-05-01T12:00:00.000000000Z a piece", (time(0), "a piece", false)),
            ("2024-05-01T12:00:00.000000000Z of a terminal\r\n", (time(0), "of a terminal", true)),
            ("no time\n", (UNIX_EPOCH, "no time", true)),
        ] {
            let found = line(LogOutput::StdOut { message: text.into() });
            assert_eq!((found.time, String::from_utf8(found.bytes).unwrap().as_str(), found.ends), expected, "{text:?}");
        }
    }
}
