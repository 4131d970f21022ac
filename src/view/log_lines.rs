//! Log lines for the eye: whose it is in front, and of the bytes what a line on a screen can show.
//!
//! A service writes for a terminal of its own. Merged with others, moving the cursor or clearing the screen would destroy
//! what the others wrote, so only colours are left, and they end with the line.

use std::fmt::Display;
use std::io::Write;

use super::style::Paint;

/// Draws the lines of several services.
#[derive(Debug)]
pub struct LogLines {
    paint: Paint,
    prefix: Prefix,
    timestamps: bool,
    width: usize,
    speakers: Vec<Speaker>,
}

/// Somebody whose lines are drawn.
#[derive(Debug)]
struct Speaker {
    name: String,
    /// What stands before each line, once there was one and until the width changes.
    prefix: Option<String>,
}

impl Speaker {
    fn new(name: String) -> Self {
        Self { name, prefix: None }
    }
}

/// Whether lines say whose they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// `db-1  | …`.
    Name,
    /// Nothing.
    None,
}

impl LogLines {
    /// `names` are those known to speak: their longest sets the width, and their order gives the colours.
    pub fn new(paint: Paint, prefix: Prefix, timestamps: bool, names: impl IntoIterator<Item = String>) -> Self {
        let speakers: Vec<Speaker> = names.into_iter().map(Speaker::new).collect();
        let width = speakers.iter().map(|speaker| speaker.name.chars().count()).max().unwrap_or(0);
        Self { paint, prefix, timestamps, width, speakers }
    }

    /// Whether there are colours.
    pub fn paint(&self) -> Paint {
        self.paint
    }

    /// The number of whoever has this name, for [`Self::line`].
    pub fn speaker(&mut self, name: &str) -> usize {
        if let Some(number) = self.speakers.iter().position(|speaker| speaker.name == name) {
            return number;
        }
        let width = name.chars().count();
        if width > self.width {
            self.width = width;
            self.speakers.iter_mut().for_each(|speaker| speaker.prefix = None);
        }
        self.speakers.push(Speaker::new(name.to_owned()));
        self.speakers.len() - 1
    }

    /// Draws one line, without its end, behind what is there. `time` is written as RFC 3339.
    pub fn line(&mut self, speaker: usize, time: &dyn Display, bytes: &[u8], out: &mut Vec<u8>) {
        if self.prefix == Prefix::Name {
            let (paint, width) = (self.paint, self.width);
            let Speaker { name, prefix } = &mut self.speakers[speaker];
            let prefix = prefix.get_or_insert_with(|| paint.service(speaker, &format!("{name:<width$}  | ")));
            out.extend_from_slice(prefix.as_bytes());
        }
        if self.timestamps {
            // Memory takes whatever is written.
            let _ = write!(out, "{time} ");
        }
        clean_into(bytes, self.paint, out);
    }
}

/// What a screen would show of a line in the end.
pub fn clean(bytes: &[u8], paint: Paint) -> String {
    if is_plain(bytes) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    cleaned(bytes, paint)
}

/// The same of several lines.
pub fn clean_lines(text: &str, paint: Paint) -> String {
    text.split('\n').map(|line| clean(line.as_bytes(), paint)).collect::<Vec<_>>().join("\n")
}

fn clean_into(bytes: &[u8], paint: Paint, out: &mut Vec<u8>) {
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        out.extend_from_slice(cleaned(bytes, paint).as_bytes());
    }
}

/// Whether a line is what it looks like, as most are. Looked at as a whole, which a processor does many bytes at a time.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |is_plain, byte| is_plain & matches!(byte, b' '..=b'~' | b'\t'))
}

fn cleaned(bytes: &[u8], paint: Paint) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut line = Line { shown: String::with_capacity(text.len()), colors: String::new(), returned: false, paint };
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => line.escape(&mut rest),
            // Only what comes after a carriage return tells whether the line is written anew or was merely ended `\r\n`.
            '\r' => line.returned = true,
            '\u{8}' => {
                line.shown.pop();
            }
            '\t' => line.push(c),
            c if c.is_control() => {}
            c => line.push(c),
        }
    }
    if !line.colors.is_empty() {
        line.shown.push_str("\u{1b}[0m");
    }
    line.shown
}

struct Line {
    shown: String,
    /// The colours that are in force, as their escape sequences.
    colors: String,
    /// The cursor is at the line's start.
    returned: bool,
    paint: Paint,
}

impl Line {
    fn push(&mut self, c: char) {
        if self.returned {
            self.returned = false;
            self.shown.clear();
            self.shown.push_str(&self.colors);
        }
        self.shown.push(c);
    }

    /// After ESC. ECMA-48: `[` begins a control sequence (parameters 0x30–0x3F, intermediates 0x20–0x2F, a final byte), `]`,
    /// `P`, `X`, `^` and `_` a string that ends with ST or (xterm) BEL; intermediates and one more character make up the rest.
    fn escape(&mut self, rest: &mut std::str::Chars<'_>) {
        match rest.next() {
            Some('[') => {
                let mut parameters = String::new();
                for c in rest.by_ref() {
                    match c {
                        ' '..='?' => parameters.push(c),
                        'm' => return self.color(&parameters),
                        'G' if matches!(parameters.as_str(), "" | "0" | "1") => {
                            self.returned = true;
                            return;
                        }
                        _ => return,
                    }
                }
            }
            Some(']' | 'P' | 'X' | '^' | '_') => {
                let mut escaped = false;
                for c in rest.by_ref() {
                    if c == '\u{7}' || c == '\u{9c}' || (escaped && c == '\\') {
                        return;
                    }
                    escaped = c == '\u{1b}';
                }
            }
            Some(' '..='/') => {
                for c in rest.by_ref() {
                    if !matches!(c, ' '..='/') {
                        return;
                    }
                }
            }
            Some(_) | None => {}
        }
    }

    fn color(&mut self, parameters: &str) {
        if self.paint == Paint::Off {
            return;
        }
        let resets = matches!(parameters, "" | "0" | "00");
        let sequence = format!("\u{1b}[{parameters}m");
        if !self.returned {
            self.shown.push_str(&sequence);
        }
        if resets || parameters.starts_with("0;") {
            self.colors.clear();
        }
        if !resets {
            self.colors.push_str(&sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_what_a_screen_would_show_in_the_end() {
        for (bytes, expected) in [
            (&b"plain"[..], "plain"),
            (b"dos\r", "dos"),
            (b" 10%\r 50%\r100%\r", "100%"),
            (b"10%\x1b[2K\x1b[1Gdone", "done"),
            (b"a\tb", "a\tb"),
            (b"\x1b[2J\x1b[Hhello\x1b[3A", "hello"),
            (b"\x1b]0;title\x07x\x1b]8;;http://a\x1b\\y", "xy"),
            (b"\x1b(Bx\x1b=y\x1b7z", "xyz"),
            (b"ab\x08c\x00\x07", "ac"),
            (b"bad \xff\xc3", "bad \u{fffd}\u{fffd}"),
            (b"\x1b[31mred\x1b[0m", "red"),
            (b"cut \x1b[3", "cut "),
            (b"\x1b]never ends", ""),
        ] {
            assert_eq!(clean(bytes, Paint::Off), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn lines_are_cleaned_one_by_one() {
        assert_eq!(clean_lines("one\u{1b}[2J\ntw\rtwo\n", Paint::Off), "one\ntwo\n");
    }

    #[test]
    fn colors_end_with_their_line() {
        for (bytes, expected) in [
            ("\u{1b}[31mred", "\u{1b}[31mred\u{1b}[0m"),
            ("\u{1b}[31mred\u{1b}[0m.", "\u{1b}[31mred\u{1b}[0m."),
            ("\u{1b}[1m\u{1b}[31mA\r\u{1b}[32mB", "\u{1b}[1m\u{1b}[31m\u{1b}[32mB\u{1b}[0m"),
            ("\u{1b}[1mA\u{1b}[0;34mB", "\u{1b}[1mA\u{1b}[0;34mB\u{1b}[0m"),
        ] {
            assert_eq!(clean(bytes.as_bytes(), Paint::On), expected);
        }
    }

    #[test]
    fn prefixes_are_as_wide_as_the_longest_name() {
        let mut lines = LogLines::new(Paint::Off, Prefix::Name, false, ["db-1".to_owned(), "manager-1".to_owned()]);
        let mut drawn = |name: &str| {
            let (mut out, speaker) = (Vec::new(), lines.speaker(name));
            lines.line(speaker, &"", b"up", &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(drawn("db-1"), "db-1       | up");
        assert_eq!(drawn("manager-1"), "manager-1  | up");
        assert_eq!(drawn("storage-proxy-1"), "storage-proxy-1  | up");
        assert_eq!(drawn("db-1"), "db-1             | up");
        let mut lines = LogLines::new(Paint::Off, Prefix::None, true, []);
        let (mut out, speaker) = (Vec::new(), lines.speaker("db-1"));
        lines.line(speaker, &"2026-01-01T00:00:00Z", b"up", &mut out);
        assert_eq!(out, b"2026-01-01T00:00:00Z up");
    }
}
