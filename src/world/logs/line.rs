//! Lines as a reader gets them: records put together again.

use std::collections::VecDeque;

use super::record::{Mark, Part, Record, Stream, Timestamp};
use crate::base::name::UnitId;

/// A line longer than this is given in several, so that nobody needs more memory for it.
const LONGEST: usize = 256 * 1024;

/// One line of a log, of a process or a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its beginning was read.
    pub time: Timestamp,
    /// Whose it is.
    pub unit: UnitId,
    /// Where it was written.
    pub stream: Stream,
    /// Its bytes as they came, without the line end.
    pub text: Vec<u8>,
    /// Its end has not come yet: it will be given again, with all of its text.
    pub open: bool,
    /// So many bytes of the text were given before, while it was open.
    pub shown: usize,
    /// It is a word of the supervisor's, not the process's own.
    pub mark: Option<Mark>,
}

/// A line that is being put together.
#[derive(Debug, Default)]
struct Unfinished {
    time: Timestamp,
    text: Vec<u8>,
    shown: usize,
}

/// Puts the records of one unit together.
#[derive(Debug)]
pub(super) struct Joiner {
    unit: UnitId,
    /// Of each stream of the life that has begun last, then of the one before, which may go on beside it.
    unfinished: [Option<Unfinished>; 4],
    ready: VecDeque<Line>,
}

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

impl Joiner {
    pub(super) fn new(unit: UnitId) -> Self {
        Self { unit, unfinished: Default::default(), ready: VecDeque::new() }
    }

    /// Takes one record.
    pub(super) fn push(&mut self, record: &Record<'_>) {
        let place = record.stream as usize + if record.of.is_some() { STREAMS.len() } else { 0 };
        match record.part {
            Part::Full => match self.unfinished[place].take() {
                None => self.give(record.stream, record.time, record.text.to_vec(), 0, None),
                Some(mut line) => {
                    line.text.extend_from_slice(record.text);
                    self.give(record.stream, line.time, line.text, line.shown, None);
                }
            },
            Part::Partial => {
                let slot = &mut self.unfinished[place];
                let line = slot.get_or_insert_with(|| Unfinished { time: record.time, ..Unfinished::default() });
                line.text.extend_from_slice(record.text);
                if line.text.len() > LONGEST {
                    self.finish(place);
                }
            }
            Part::Mark(mark @ Mark::RunBeside(_)) => {
                // The lines of the one before go on.
                self.finish_from(STREAMS.len());
                self.unfinished.rotate_right(STREAMS.len());
                self.give(record.stream, record.time, record.text.to_vec(), 0, Some(mark));
            }
            Part::Mark(Mark::End) if record.of.is_some() => {
                self.finish_from(STREAMS.len());
                self.give(record.stream, record.time, record.text.to_vec(), 0, Some(Mark::End));
            }
            Part::Mark(mark) => {
                // Nothing goes on beyond the end of a life, and a note must not stand within a line.
                if mark != Mark::Note {
                    self.finish_all();
                }
                self.give(record.stream, record.time, record.text.to_vec(), 0, Some(mark));
            }
        }
    }

    /// The next line that is whole.
    pub(super) fn next(&mut self) -> Option<Line> {
        self.ready.pop_front()
    }

    /// Gives what is there of lines that are open, where there is more of it than before.
    pub(super) fn give_open(&mut self) {
        for (stream, line) in STREAMS.into_iter().cycle().zip(&mut self.unfinished) {
            let Some(line) = line.as_mut().filter(|line| line.text.len() > line.shown) else { continue };
            let (time, text, shown) = (line.time, line.text.clone(), line.shown);
            line.shown = text.len();
            let unit = self.unit.clone();
            self.ready.push_back(Line { time, unit, stream, text, open: true, shown, mark: None });
        }
    }

    /// Nothing will be added to lines that are open.
    pub(super) fn finish_all(&mut self) {
        self.finish_from(0);
    }

    fn finish_from(&mut self, first: usize) {
        (first..self.unfinished.len()).for_each(|place| self.finish(place));
    }

    fn finish(&mut self, place: usize) {
        if let Some(line) = self.unfinished[place].take() {
            self.give(STREAMS[place % STREAMS.len()], line.time, line.text, line.shown, None);
        }
    }

    fn give(&mut self, stream: Stream, time: Timestamp, text: Vec<u8>, shown: usize, mark: Option<Mark>) {
        let unit = self.unit.clone();
        self.ready.push_back(Line { time, unit, stream, text, open: false, shown, mark });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_both_streams_become_whole_lines() {
        let mut joiner = Joiner::new("a:1".parse().unwrap());
        let mut push = |stream, part, text: &str| {
            joiner.push(&Record { time: Timestamp(1), stream, part, of: None, text: text.as_bytes() });
            let mut lines = Vec::new();
            while let Some(line) = joiner.next() {
                lines.push((String::from_utf8(line.text).unwrap(), line.shown));
            }
            joiner.give_open();
            while let Some(line) = joiner.next() {
                lines.push((format!("{}…", String::from_utf8(line.text).unwrap()), line.shown));
            }
            lines
        };
        let line = |text: &str, shown| (text.to_owned(), shown);
        assert_eq!(push(Stream::Stdout, Part::Partial, "step "), [line("step …", 0)]);
        assert_eq!(push(Stream::Stderr, Part::Full, "other"), [line("other", 0)]);
        assert_eq!(push(Stream::Stdout, Part::Partial, "1"), [line("step 1…", 5)]);
        assert_eq!(push(Stream::Stdout, Part::Full, " ok"), [line("step 1 ok", 6)]);
        assert_eq!(push(Stream::Stdout, Part::Partial, "dying"), [line("dying…", 0)]);
        assert_eq!(push(Stream::Stderr, Part::Mark(Mark::End), "bye"), [line("dying", 5), line("bye", 0)]);
    }
}
