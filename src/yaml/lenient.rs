//! What `saphyr-parser` refuses and Compose's reader, go-yaml, takes.
//!
//! YAML wants what stands in brackets or in quotes over several lines to be indented more than the key it belongs to. go-yaml never
//! asked for that, and many a Compose file closes its list with a `]` right below the key:
//!
//! ```yaml
//!     command: [
//!       "start",
//!     ]
//! ```
//!
//! In brackets and quotes the spaces at the beginning of a line mean nothing. So where the parser objects to one, spaces are put before
//! that line and the text is read again; places are reckoned back to the text as it was written.

use std::borrow::Cow;

/// A text with spaces before some of its lines.
pub(super) struct Padding<'t> {
    text: &'t str,
    bytes: Bytes,
    /// Where the padded lines begin, in characters of the text as written, in order.
    lines: Vec<usize>,
    width: usize,
}

impl<'t> Padding<'t> {
    /// Nothing padded yet.
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, bytes: Bytes::new(text), lines: Vec::new(), width: 0 }
    }

    /// The text to be read.
    pub(super) fn text(&self) -> Cow<'t, str> {
        if self.lines.is_empty() {
            return Cow::Borrowed(self.text);
        }
        let mut padded = String::with_capacity(self.text.len() + self.lines.len() * self.width);
        let mut from = 0;
        for &line in &self.lines {
            let at = self.bytes.of(line) as usize;
            padded.push_str(&self.text[from..at]);
            padded.extend(std::iter::repeat_n(' ', self.width));
            from = at;
        }
        padded.push_str(&self.text[from..]);
        Cow::Owned(padded)
    }

    /// The byte of the text as written that a character of the padded one stands for.
    pub(super) fn place(&self, character: usize) -> u32 {
        self.bytes.of(self.original(character))
    }

    fn original(&self, character: usize) -> usize {
        // The number of padded lines that begin before or at the character; each begins as much later as there are lines before it.
        let (mut low, mut high) = (0, self.lines.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.lines[middle] + middle * self.width <= character {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let line = low.checked_sub(1).map_or(0, |nth| self.lines[nth]);
        character.saturating_sub(low * self.width).max(line)
    }

    /// Pads what the parser objected to at a character of the padded text. False if it is nothing that can be made up for.
    pub(super) fn make_up_for(&mut self, info: &str, character: usize) -> bool {
        let at = self.bytes.of(self.original(character)) as usize;
        let before = self.lines.len();
        match info {
            // Both are only said inside of brackets.
            "invalid indentation" | "invalid indentation in flow construct" => {
                let start = self.text[..at].rfind(['\n', '\r']).map_or(0, |end| end + 1);
                let indent = &self.text[start..at];
                if indent.chars().all(|c| c == ' ') {
                    self.pad(self.original(character) - indent.len());
                }
            }
            "invalid indentation in quoted scalar" => self.pad_quoted(at, self.original(character)),
            _ => return false,
        }
        if self.width == 0 {
            let deepest = self.text.lines().map(|line| line.len() - line.trim_start_matches(' ').len()).max();
            self.width = deepest.unwrap_or(0) + 1;
        }
        self.lines.len() > before
    }

    fn pad(&mut self, line: usize) {
        if let Err(at) = self.lines.binary_search(&line) {
            self.lines.insert(at, line);
        }
    }

    /// Pads all lines that a quoted text reaches into.
    fn pad_quoted(&mut self, at: usize, character: usize) {
        let mut chars = self.text[at..].chars().zip(character..).peekable();
        let Some((quote, _)) = chars.next() else { return };
        let mut lines = Vec::new();
        while let Some((c, nth)) = chars.next() {
            match c {
                '\\' if quote == '"' => {
                    chars.next();
                }
                '\n' | '\r' if chars.peek().is_some_and(|&(next, _)| c == '\n' || next != '\n') => lines.push(nth + 1),
                _ if c == quote => {
                    if quote == '\'' && chars.peek().is_some_and(|&(next, _)| next == quote) {
                        chars.next();
                        continue;
                    }
                    return lines.into_iter().for_each(|line| self.pad(line));
                }
                _ => {}
            }
        }
    }
}

/// From the parser's count of characters to bytes.
enum Bytes {
    Ascii(u32),
    Offsets(Vec<u32>),
}

impl Bytes {
    fn new(text: &str) -> Self {
        let length = offset(text.len());
        if text.is_ascii() {
            return Self::Ascii(length);
        }
        Self::Offsets(text.char_indices().map(|(at, _)| offset(at)).chain([length]).collect())
    }

    fn of(&self, characters: usize) -> u32 {
        match self {
            Self::Ascii(length) => offset(characters).min(*length),
            Self::Offsets(offsets) => offsets[characters.min(offsets.len() - 1)],
        }
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
