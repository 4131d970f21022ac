//! A container's log as the engine keeps it: history, then what follows.
//!
//! Each frame carries the engine's time. A line that the engine cut (it keeps at most 16 KiB in one entry) comes in pieces, of
//! which only the last ends. A container with a terminal has one stream, told as standard output.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use crossbeam_channel::Sender;
use futures_util::stream::{BoxStream, StreamExt};
use regex::bytes::Regex;

use super::Docker;
use crate::base::name::UnitId;
use crate::plan::action::{Fault, Incarnation};
use crate::supervisor::event::Event;

/// What of a log is wanted.
#[derive(Debug, Clone, Default)]
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

impl Docker {
    /// A container's log. Ends when the container has ended (at once without `follow`), with a fault when the engine goes
    /// away: then it can be asked for again, with `since` the last time seen.
    pub async fn logs(&self, container: &str, range: LogRange) -> Result<BoxStream<'static, Result<LogLine, Fault>>, Fault> {
        let link = self.link().await?;
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
        let frames = link.patient().logs(container, Some(options)).boxed();
        let (since, until) = (range.since, range.until);
        let lines = frames.map(|frame| Ok(line(frame?))).filter(move |line| {
            let wanted = line.as_ref().map_or(true, |line| {
                since.is_none_or(|since| line.time >= since) && until.is_none_or(|until| line.time <= until)
            });
            std::future::ready(wanted)
        });
        Ok(lines.boxed())
    }

    /// Looks for a line in the log of a container's present life, and tells of the first that matches.
    pub(super) fn watch_for_line(
        &self,
        container: &str,
        birth: &str,
        pattern: &str,
        unit: UnitId,
        incarnation: Incarnation,
        events: Sender<Event>,
    ) -> Result<(), Fault> {
        let pattern =
            Regex::new(pattern).map_err(|error| Fault::permanent(format!("`{pattern}` is no regular expression: {error}")))?;
        let since = humantime::parse_rfc3339(birth).ok();
        let (docker, container, birth) = (self.clone(), container.to_owned(), birth.to_owned());
        tokio::spawn(async move {
            if docker.finds_line(&container, &birth, since, &pattern).await {
                // When nobody listens any more the supervisor is ending.
                let _ = events.send(Event::LineMatched(unit, incarnation));
            }
        });
        Ok(())
    }

    /// Follows a log to the first line that matches, across absences of the engine, until the life is over.
    async fn finds_line(&self, container: &str, birth: &str, since: Option<SystemTime>, pattern: &Regex) -> bool {
        loop {
            let range = LogRange { since, follow: true, ..LogRange::default() };
            if let Ok(mut lines) = self.logs(container, range).await {
                while let Some(Ok(line)) = lines.next().await {
                    if pattern.is_match(&line.bytes) {
                        return true;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            let Ok(link) = self.link().await else { continue };
            match super::container::started_at(&link, container).await {
                Ok(now) if now == birth && is_running(&link, container).await => {}
                Ok(_) => return false,
                Err(fault) if fault.kind == crate::plan::action::FaultKind::EngineAway => {}
                Err(_) => return false,
            }
        }
    }
}

async fn is_running(link: &super::connect::Link, container: &str) -> bool {
    let inspected = link.api.inspect_container(container, None).await;
    inspected.ok().and_then(|container| container.state?.running).unwrap_or(false)
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
