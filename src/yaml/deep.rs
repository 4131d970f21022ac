//! Brackets in brackets deeper than `saphyr-parser` counts.
//!
//! It counts them in a byte, and go-yaml does not. The value at which it gives up is cut out, a plain text is read in its place, and
//! the value is read by itself: an island. It begins at depth one again, and may have an island of its own.

use std::borrow::Cow;
use std::ops::Range;

/// What the parser says when there are too many.
pub(super) const REFUSED: &str = "recursion limit exceeded";

/// How many it counts.
pub(super) const LIMIT: usize = u8::MAX as usize;

/// A value that is read by itself.
pub(super) struct Island {
    /// Its first character, counted from the beginning of the text.
    pub(super) character: usize,
    /// Where it stands.
    pub(super) bytes: Range<usize>,
}

/// The value that begins with the bracket at a character. None when it is deeper than `room`, or has no end.
pub(super) fn island(text: &str, character: usize, room: usize) -> Option<Island> {
    let start = text.char_indices().nth(character)?.0;
    let mut depth = 0_usize;
    // The last character that means something: a quote opens a quoted text only where a value or key begins.
    let mut last = '[';
    let mut chars = text[start..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '[' | '{' => {
                depth += 1;
                if depth > room {
                    return None;
                }
            }
            ']' | '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(Island { character, bytes: start..start + at + 1 });
                }
            }
            '\'' | '"' if matches!(last, '[' | '{' | ',' | ':') => {
                while let Some((_, inner)) = chars.next() {
                    if inner == '\\' && c == '"' {
                        chars.next();
                    } else if inner == c {
                        // Twice is one that is meant as it is.
                        if c == '"' || chars.next_if(|(_, next)| *next == c).is_none() {
                            break;
                        }
                    }
                }
            }
            '#' if text[..start + at].ends_with(char::is_whitespace) => {
                while chars.next_if(|(_, next)| !matches!(next, '\n' | '\r')).is_some() {}
                continue;
            }
            _ => {}
        }
        if !c.is_whitespace() {
            last = c;
        }
    }
    None
}

/// The text with something plain and as long in the place of each island.
pub(super) fn without<'t>(text: &'t str, islands: &[Island]) -> Cow<'t, str> {
    if islands.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len());
    let mut from = 0;
    for island in islands {
        result.push_str(&text[from..island.bytes.start]);
        let length = text[island.bytes.clone()].chars().count();
        result.push('x');
        result.extend(std::iter::repeat_n(' ', length.saturating_sub(1)));
        from = island.bytes.end;
    }
    result.push_str(&text[from..]);
    Cow::Owned(result)
}
