//! One record of a log file: the CRI log format of the container runtimes.
//!
//! `2026-11-25T05:19:40.123456789Z stdout F text`: time, stream, tags, bytes as they came up to the line end. The first tag
//! is `F` for a piece that ends its line and `P` for one that does not. Further tags stand behind `:`, as the format allows
//! (kubernetes/cri-api, `LogTagDelimiter`); ours mark what the supervisor has to say, on `stderr` so that other readers show
//! it: `F:run=3` begins the third life of a unit, `F:end` ends it, `F:note` is any other word of ours. Where a unit has two lives
//! at a time, the later one begins with `F:beside:run=3`, and what is not of the life that has begun last carries `of=2`. The first
//! record of a file that follows another carries the inode of that one, `after=7`: who follows knows whether it has missed any.

use std::borrow::Cow;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::plan::action::Incarnation;

/// Nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Timestamp {
    /// The same as the operating system counts it.
    pub fn system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.0)
    }

    /// Reads RFC 3339 in UTC, with or without fractions.
    pub fn parse(text: &str) -> Option<Self> {
        humantime::parse_rfc3339(text).ok().map(Self::from)
    }
}

impl std::fmt::Display for Timestamp {
    /// RFC 3339 with nanoseconds, in UTC.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        humantime::format_rfc3339_nanos(self.system_time()).fmt(f)
    }
}

/// Where a process wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Descriptor 1, or the terminal.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// As the record has it.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// What the supervisor itself has to say in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A life begins, and there is no other.
    Run(Incarnation),
    /// A life begins beside another.
    RunBeside(Incarnation),
    /// A life has ended.
    End,
    /// Anything else.
    Note,
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Text that ends its line.
    Full,
    /// Text whose line goes on in the next record of the same stream.
    Partial,
    /// No text of the process at all.
    Mark(Mark),
}

/// One record, its text borrowed from what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was read from the process.
    pub time: Timestamp,
    /// Where it was written.
    pub stream: Stream,
    /// What it is.
    pub part: Part,
    /// The life that it is of, if that is not the one that has begun last.
    pub of: Option<Incarnation>,
    /// The bytes, without the line end.
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a record, its line end removed. None for anything else: a torn write, somebody's note.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (time, rest) = line.split_at_checked(memchr::memchr(b' ', line)?)?;
        Self::parse_after_time(Timestamp::parse(std::str::from_utf8(time).ok()?)?, rest.strip_prefix(b" ")?)
    }

    /// Reads what follows the time.
    pub(super) fn parse_after_time(time: Timestamp, rest: &'a [u8]) -> Option<Self> {
        // Nearly all are this.
        if let Some(text) = rest.strip_prefix(b"stdout F ") {
            return Some(Self { time, stream: Stream::Stdout, part: Part::Full, of: None, text });
        }
        let mut fields = rest.splitn(3, |byte| *byte == b' ');
        let stream = match fields.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let (part, of) = parse_tags(std::str::from_utf8(fields.next()?).ok()?)?;
        Some(Self { time, stream, part, of, text: fields.next().unwrap_or_default() })
    }

    /// Writes it with its line end.
    pub fn write(&self, out: &mut Vec<u8>) {
        Head::new(self.time).of(self.of).write(out, self.stream, self.part);
        out.extend_from_slice(self.text);
        out.push(b'\n');
    }
}

fn parse_tags(tags: &str) -> Option<(Part, Option<Incarnation>)> {
    let (first, more) = tags.split_once(':').unwrap_or((tags, ""));
    let (mut mark, mut of, mut is_beside) = (None, None, false);
    for tag in more.split(':') {
        match tag.split_once('=') {
            Some(("run", number)) => mark = Some(Mark::Run(Incarnation(number.parse().ok()?))),
            Some(("of", number)) => of = Some(Incarnation(number.parse().ok()?)),
            None if tag == "end" => mark = Some(Mark::End),
            None if tag == "note" => mark = Some(Mark::Note),
            None if tag == "beside" => is_beside = true,
            Some(_) | None => {}
        }
    }
    let part = match (mark, first) {
        (Some(Mark::Run(run)), _) if is_beside => Part::Mark(Mark::RunBeside(run)),
        (Some(mark), _) => Part::Mark(mark),
        (None, "F") => Part::Full,
        (None, "P") => Part::Partial,
        (None, _) => return None,
    };
    Some((part, of))
}

/// The inode of the file that the one before ends with, from the first record of a file; none where that says nothing of it.
pub(super) fn after(line: &[u8]) -> Option<u64> {
    let tags = std::str::from_utf8(&line[tags(line)?]).ok()?;
    tags.split(':').find_map(|tag| tag.strip_prefix("after=")?.parse().ok())
}

/// The same records as the first of a file that follows one of this inode. What is no record is left as it is.
pub(super) fn following(records: &[u8], inode: u64) -> Cow<'_, [u8]> {
    let Some(tags) = tags(records) else { return Cow::Borrowed(records) };
    let (head, rest) = records.split_at(tags.end);
    Cow::Owned([head, format!(":after={inode}").as_bytes(), rest].concat())
}

/// Where the tags of a record are.
fn tags(record: &[u8]) -> Option<Range<usize>> {
    // The time, and the longer of the two streams.
    const LONGEST_HEAD: usize = 64;
    let mut ends = record.iter().enumerate().take(LONGEST_HEAD).filter(|(_, byte)| **byte == b' ').map(|(at, _)| at);
    let (time, stream) = (ends.next()?, ends.next()?);
    let end = stream + 1 + memchr::memchr(b' ', &record[stream + 1..])?;
    let is_record = matches!(&record[time + 1..stream], b"stdout" | b"stderr") && matches!(record[stream + 1], b'F' | b'P');
    is_record.then_some(stream + 1..end)
}

/// The beginning of records of one moment, made once for all that one read has brought.
#[derive(Debug, Clone)]
pub struct Head {
    time: String,
    of: Option<Incarnation>,
}

impl Head {
    /// For this moment.
    pub fn new(time: Timestamp) -> Self {
        Self { time: time.to_string(), of: None }
    }

    /// Of this life, which has not begun last.
    #[must_use]
    pub fn of(self, life: Option<Incarnation>) -> Self {
        Self { of: life, ..self }
    }

    /// Writes all that stands before the text.
    pub fn write(&self, out: &mut Vec<u8>, stream: Stream, part: Part) {
        out.extend_from_slice(self.time.as_bytes());
        let rest: &[u8] = match (stream, part) {
            (Stream::Stdout, Part::Full) => b" stdout F",
            (Stream::Stdout, Part::Partial) => b" stdout P",
            (Stream::Stderr, Part::Full) => b" stderr F",
            (Stream::Stderr, Part::Partial) => b" stderr P",
            (_, Part::Mark(Mark::End)) => b" stderr F:end",
            (_, Part::Mark(Mark::Note)) => b" stderr F:note",
            (_, Part::Mark(Mark::Run(run))) => {
                out.extend_from_slice(format!(" stderr F:run={} ", run.0).as_bytes());
                return;
            }
            (_, Part::Mark(Mark::RunBeside(run))) => {
                out.extend_from_slice(format!(" stderr F:beside:run={} ", run.0).as_bytes());
                return;
            }
        };
        out.extend_from_slice(rest);
        if let Some(life) = self.of {
            out.extend_from_slice(format!(":of={}", life.0).as_bytes());
        }
        out.push(b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_is_written() {
        let marks = [Mark::Run(Incarnation(3)), Mark::RunBeside(Incarnation(3)), Mark::End, Mark::Note].map(Part::Mark);
        let begins = |part| matches!(part, Part::Mark(Mark::Run(_) | Mark::RunBeside(_)));
        let parts = [Part::Full, Part::Partial].into_iter().chain(marks);
        let cases = parts.flat_map(|part| [(part, None), (part, Some(Incarnation(2)))]);
        for (part, of) in cases.filter(|(part, of)| of.is_none() || !begins(*part)) {
            let text = b"a  b\xff\r \x1b[1m";
            let record = Record { time: Timestamp(1_795_583_980_123_456_789), stream: Stream::Stderr, part, of, text };
            let mut line = Vec::new();
            record.write(&mut line);
            assert_eq!(line.pop(), Some(b'\n'));
            assert_eq!(Record::parse(&line), Some(record));
        }
    }

    #[test]
    fn the_first_record_of_a_file_names_the_one_before() {
        let time = Timestamp(1_795_583_980_123_456_789);
        for (stream, part) in
            [(Stream::Stdout, Part::Full), (Stream::Stderr, Part::Partial), (Stream::Stderr, Part::Mark(Mark::End))]
        {
            let record = Record { time, stream, part, of: None, text: b"a  b" };
            let mut records = Vec::new();
            record.write(&mut records);
            assert_eq!(after(&records), None);
            let named = following(&records, 4711);
            assert_eq!(after(&named), Some(4711));
            assert_eq!(Record::parse(named.strip_suffix(b"\n").unwrap()), Some(record), "it is the same for whoever reads it");
        }
        for other in [&b"line 4\n"[..], b"", b"a b c\n", b"x stdout "] {
            assert_eq!((following(other, 1).as_ref(), after(other)), (other, None));
        }
    }

    #[test]
    fn the_format_is_that_of_the_container_runtimes() {
        let mut line = Vec::new();
        let time = Timestamp::parse("2026-11-25T05:19:40.000000001Z").unwrap();
        Record { time, stream: Stream::Stdout, part: Part::Full, of: None, text: b"hi" }.write(&mut line);
        assert_eq!(line, b"2026-11-25T05:19:40.000000001Z stdout F hi\n");
        assert_eq!(Record::parse(b"2026-11-25T05:19:40Z stdout F:x ").map(|r| r.part), Some(Part::Full));
        for torn in ["", "x", "2026-11-25T05:19:40Z", "2026-11-25T05:19:40Z stdin F x", "0Z stdout stdout F x"] {
            assert_eq!(Record::parse(torn.as_bytes()), None, "{torn}");
        }
    }
}
