//! Bytes → text, for every file a user writes.

/// Why bytes are not a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A byte that UTF-8 does not have at this place.
    #[error("byte {byte:#04x} at line {line}, column {column} is not UTF-8")]
    Utf8 {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// The byte.
        byte: u8,
    },
    /// Half a character in a text that says it is UTF-16.
    #[error("line {line} holds half a character of UTF-16")]
    Utf16 {
        /// From 1.
        line: usize,
    },
}

/// The text of a file: UTF-8, or UTF-16 with a byte order mark; the mark itself is dropped. Line ends stay as they are.
pub fn decode(bytes: &[u8]) -> Result<String, DecodeError> {
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<String, DecodeError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let at = error.valid_up_to();
        let before = String::from_utf8_lossy(&bytes[..at]);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        DecodeError::Utf8 {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            byte: bytes[at],
        }
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, DecodeError> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(pairs.len());
    for character in char::decode_utf16(pairs.iter().map(|&pair| unit(pair))) {
        text.push(character.map_err(|_| half(&text))?);
    }
    if odd.is_empty() { Ok(text) } else { Err(half(&text)) }
}

fn half(before: &str) -> DecodeError {
    DecodeError::Utf16 { line: before.matches('\n').count() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_dropped_and_bad_bytes_have_a_place() {
        for (bytes, expect) in [
            (b"a: \xc3\xa9".as_slice(), Ok("a: é")),
            (b"\xef\xbb\xbfa", Ok("a")),
            (b"\xff\xfea\0\r\0\n\0", Ok("a\r\n")),
            (b"\xfe\xff\0a", Ok("a")),
            (b"", Ok("")),
            (b"a\n\xc3\xa9\xe9 b", Err(DecodeError::Utf8 { line: 2, column: 2, byte: 0xe9 })),
            (b"\xff\xfea\0\n\0\0\xd8", Err(DecodeError::Utf16 { line: 2 })),
            (b"\xff\xfea\0b", Err(DecodeError::Utf16 { line: 1 })),
        ] {
            assert_eq!(decode(bytes).as_deref(), expect.as_ref().copied(), "{bytes:?}");
        }
    }
}
