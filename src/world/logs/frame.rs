//! Cuts what one pipe brings into records.

use super::record::{Head, Part, Stream};

/// So much of an unfinished line is held back; more is written as a piece of it.
const PIECE: usize = 64 * 1024;
/// An unfinished line longer than this gives its memory back when it is written.
const SMALL: usize = 4 * 1024;

/// The state of one stream between two reads.
#[derive(Debug, Default)]
pub(super) struct Framer {
    /// The beginning of a line whose end has not come, not yet written.
    rest: Vec<u8>,
    /// The last record written was a piece of a line.
    is_open: bool,
    /// The beginning of the line at hand, for [`Framer::any_line`] alone.
    line: Vec<u8>,
}

impl Framer {
    /// Appends the records of what was read.
    pub(super) fn push(&mut self, head: &Head, stream: Stream, bytes: &[u8], out: &mut Vec<u8>) {
        let mut ends = memchr::memchr_iter(b'\n', bytes);
        let mut start = 0;
        if let Some(end) = ends.next() {
            // What is held back is the beginning of this one.
            self.write_line(head, stream, Part::Full, &bytes[..end], out);
            self.is_open = false;
            start = end + 1;
        }
        let begin = out.len();
        head.write(out, stream, Part::Full);
        let lead = out.split_off(begin);
        for end in ends {
            out.extend_from_slice(&lead);
            out.extend_from_slice(&bytes[start..=end]);
            start = end + 1;
        }
        let rest = &bytes[start..];
        if self.rest.len() + rest.len() > PIECE {
            self.write_line(head, stream, Part::Partial, rest, out);
            self.is_open = true;
        } else {
            self.rest.extend_from_slice(rest);
        }
    }

    /// Whether something is held back.
    pub(super) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Writes what is held back as a piece of its line.
    pub(super) fn write_rest(&mut self, head: &Head, stream: Stream, out: &mut Vec<u8>) {
        if self.has_rest() {
            self.write_line(head, stream, Part::Partial, b"", out);
            self.is_open = true;
        }
    }

    /// Nothing more will come: ends a line that is open.
    pub(super) fn end(&mut self, head: &Head, stream: Stream, out: &mut Vec<u8>) {
        if self.has_rest() || self.is_open {
            self.write_line(head, stream, Part::Full, b"", out);
            self.is_open = false;
        }
    }

    fn write_line(&mut self, head: &Head, stream: Stream, part: Part, tail: &[u8], out: &mut Vec<u8>) {
        head.write(out, stream, part);
        if !self.rest.is_empty() {
            out.extend_from_slice(&self.rest);
            self.rest.clear();
            self.rest.shrink_to(SMALL);
        }
        out.extend_from_slice(tail);
        out.push(b'\n');
    }

    /// Whether a line of what was read is one that is looked for. A line that goes on is looked at as far as it has come,
    /// then again with what follows.
    pub(super) fn any_line(&mut self, bytes: &[u8], mut is_wanted: impl FnMut(&[u8]) -> bool) -> bool {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let found = if self.line.is_empty() && is_whole {
                is_wanted(trimmed(text))
            } else {
                let room = PIECE.saturating_sub(self.line.len());
                self.line.extend_from_slice(&text[..text.len().min(room)]);
                is_wanted(trimmed(&self.line))
            };
            if is_whole || found {
                self.line = Vec::new();
            }
            if found {
                return true;
            }
        }
        false
    }
}

/// A terminal ends its lines with `\r\n`.
fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::logs::record::{Record, Timestamp};

    fn records(out: &[u8]) -> Vec<(Part, usize, String)> {
        let lines = out.strip_suffix(b"\n").unwrap_or_default().split(|byte| *byte == b'\n');
        let record = |line| Record::parse(line).unwrap();
        lines
            .map(record)
            .map(|r| (r.part, r.text.len(), String::from_utf8_lossy(&r.text[..r.text.len().min(8)]).into()))
            .collect()
    }

    #[test]
    fn lines_are_put_together_and_pieces_marked() {
        let (mut framer, mut out) = (Framer::default(), Vec::new());
        let head = Head::new(Timestamp(0));
        framer.push(&head, Stream::Stdout, b"one\ntw", &mut out);
        framer.push(&head, Stream::Stdout, b"o\n\nst", &mut out);
        framer.write_rest(&head, Stream::Stdout, &mut out);
        framer.push(&head, Stream::Stdout, b"ep\nlast", &mut out);
        framer.end(&head, Stream::Stdout, &mut out);
        framer.end(&head, Stream::Stdout, &mut out);
        let text: Vec<_> = records(&out).into_iter().map(|(part, _, text)| (part, text)).collect();
        let full = |text: &str| (Part::Full, text.to_owned());
        let expected = [full("one"), full("two"), full(""), (Part::Partial, "st".to_owned()), full("ep"), full("last")];
        assert_eq!(text, expected);
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let (mut framer, mut out) = (Framer::default(), Vec::new());
        let head = Head::new(Timestamp(0));
        for _ in 0..64 {
            framer.push(&head, Stream::Stdout, &[b'x'; 50_000], &mut out);
            assert!(framer.rest.capacity() <= 2 * PIECE);
        }
        framer.push(&head, Stream::Stdout, b"\n", &mut out);
        let pieces = records(&out);
        assert_eq!(pieces.iter().map(|(_, length, _)| length).sum::<usize>(), 64 * 50_000);
        assert_eq!(pieces.iter().filter(|(part, _, _)| *part == Part::Full).count(), 1);
    }

    #[test]
    fn a_line_is_found_wherever_the_reads_cut_it() {
        for cuts in [vec!["a ready b\n"], vec!["a rea", "dy b\n"], vec!["x\na r", "e", "ady"], vec!["ready\r\n"]] {
            let mut framer = Framer::default();
            let found: Vec<bool> =
                cuts.iter().map(|cut| framer.any_line(cut.as_bytes(), |line| line.windows(5).any(|w| w == b"ready"))).collect();
            assert_eq!(found.iter().filter(|found| **found).count(), 1, "{cuts:?}");
            assert!(found[found.len() - 1], "{cuts:?}");
        }
    }
}
