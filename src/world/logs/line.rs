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

impl Line {
    /// To look at.
    pub fn borrowed(&self) -> LineRef<'_> {
        let Self { time, unit, stream, text, open, shown, mark } = self;
        LineRef { time: *time, unit, stream: *stream, text, open: *open, shown: *shown, mark: *mark }
    }
}

/// A [`Line`] whose text and unit stand elsewhere: nearly all can be given as they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineRef<'a> {
    /// As there; so are the others.
    pub time: Timestamp,
    /// Whose it is.
    pub unit: &'a UnitId,
    /// Where it was written.
    pub stream: Stream,
    /// Its bytes.
    pub text: &'a [u8],
    /// Its end has not come yet.
    pub open: bool,
    /// What of it was given before.
    pub shown: usize,
    /// A word of the supervisor's.
    pub mark: Option<Mark>,
}

impl LineRef<'_> {
    /// To keep.
    pub fn to_line(self) -> Line {
        let Self { time, unit, stream, text, open, shown, mark } = self;
        Line { time, unit: unit.clone(), stream, text: text.to_vec(), open, shown, mark }
    }
}

/// Lines that are handed to another thread: one piece of memory for all, where each would be made here and given back there.
#[derive(Debug, Default)]
pub struct Lines {
    text: Vec<u8>,
    /// Where the text of each ends, and that of the next begins.
    ends: Vec<usize>,
    alike: Vec<Alike>,
    units: Vec<UnitId>,
}

/// Lines one after the other that differ in their text alone: what was read at once has one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Alike {
    /// The number of the first line after them.
    end: usize,
    unit: usize,
    time: Timestamp,
    stream: Stream,
    open: bool,
    shown: usize,
    mark: Option<Mark>,
}

/// Where one who takes [`Lines`] one by one has come to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    line: usize,
    /// Which of [`Lines::alike`] it is among.
    alike: usize,
}

impl Lines {
    /// Adds one.
    pub fn push(&mut self, line: LineRef<'_>) {
        if self.units.last() != Some(line.unit) {
            self.units.push(line.unit.clone());
        }
        self.text.extend_from_slice(line.text);
        self.ends.push(self.text.len());
        let LineRef { time, stream, open, shown, mark, .. } = line;
        let end = self.ends.len();
        let this = Alike { end, unit: self.units.len() - 1, time, stream, open, shown, mark };
        match self.alike.last_mut() {
            Some(last) if (Alike { end, ..*last }) == this => last.end = end,
            Some(_) | None => self.alike.push(this),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes that they take, roughly.
    pub fn bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.ends) + size_of_val(&*self.alike)
    }

    /// Has none any more, and room for as many as before, up to so many bytes of text.
    pub fn clear(&mut self, keep: usize) {
        let Self { text, ends, alike, units } = self;
        text.clear();
        ends.clear();
        alike.clear();
        units.clear();
        text.shrink_to(keep);
        ends.shrink_to(keep / size_of::<usize>());
        alike.shrink_to(keep / size_of::<Alike>());
    }

    /// The line at a place.
    pub fn at(&self, place: Place) -> Option<LineRef<'_>> {
        let end = *self.ends.get(place.line)?;
        let begin = self.begin(place.line);
        let Alike { end: _, unit, time, stream, open, shown, mark } = *self.alike.get(place.alike)?;
        Some(LineRef { time, unit: &self.units[unit], stream, text: &self.text[begin..end], open, shown, mark })
    }

    /// The place after one.
    pub fn after(&self, place: Place) -> Place {
        let line = place.line + 1;
        let is_over = self.alike.get(place.alike).is_some_and(|alike| alike.end <= line);
        Place { line, alike: place.alike + usize::from(is_over) }
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = LineRef<'_>> {
        self.alike().flat_map(|(first, texts)| texts.map(move |text| LineRef { text, ..first }))
    }

    /// Those that differ in their text alone together: the first of them, and the texts of all.
    pub fn alike(&self) -> impl Iterator<Item = (LineRef<'_>, impl Iterator<Item = &[u8]>)> {
        let mut place = Place::default();
        std::iter::from_fn(move || {
            let first = self.at(place)?;
            let end = self.alike[place.alike].end;
            let begin = self.begin(place.line);
            let ends = self.ends[place.line..end].iter();
            place = Place { line: end, alike: place.alike + 1 };
            Some((first, ends.scan(begin, |begin, end| Some(&self.text[std::mem::replace(begin, *end)..*end]))))
        })
    }

    fn begin(&self, line: usize) -> usize {
        line.checked_sub(1).map_or(0, |before| self.ends[before])
    }
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

    /// Whose lines they are.
    pub(super) fn unit(&self) -> &UnitId {
        &self.unit
    }

    /// Whether nothing waits for its end, or to be given.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.unfinished.iter().all(Option::is_none)
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
    fn lines_side_by_side_are_the_lines_they_were() {
        let line = |unit: &str, text: &str, open, mark| Line {
            time: Timestamp(text.len() as u64),
            unit: unit.parse().unwrap(),
            stream: Stream::Stderr,
            text: text.as_bytes().to_vec(),
            open,
            shown: text.len() / 2,
            mark,
        };
        let given = [
            line("a:1", "first", false, None),
            line("a:1", "alike", false, None),
            line("a:1", "", false, Some(Mark::End)),
            line("b:2", "of another", true, None),
            line("a:1", "again", false, None),
        ];
        let mut lines = Lines::default();
        given.iter().for_each(|line| lines.push(line.borrowed()));
        assert_eq!(lines.iter().map(LineRef::to_line).collect::<Vec<_>>(), given);
        assert_eq!((lines.len(), lines.is_empty(), lines.units.len(), lines.alike.len()), (5, false, 3, 4));
        let one_by_one = std::iter::successors(Some(Place::default()), |place| Some(lines.after(*place)));
        assert_eq!(one_by_one.map_while(|place| lines.at(place)).map(LineRef::to_line).collect::<Vec<_>>(), given);
        lines.clear(16);
        assert!(lines.is_empty() && lines.iter().next().is_none() && lines.text.capacity() <= 16);
    }

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
