//! The keys that leave a terminal to its service: `ctrl-p,ctrl-q`.

use std::mem;

/// A sequence of keys, and how much of it has been pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    sequence: Vec<u8>,
    pressed: usize,
}

/// What is to be done with what was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// It goes to the service; perhaps less than was typed, until it is clear that no sequence begins there.
    Passed(Vec<u8>),
    /// The sequence is complete; what was typed before it goes to the service.
    Detached(Vec<u8>),
}

/// Reads `ctrl-p,ctrl-q`: single characters and `ctrl-` with a letter or one of `@[\]^_`, with commas between. An empty text
/// turns the keys off.
pub fn parse(text: &str) -> Result<DetachKeys, String> {
    let key = |name: &str| {
        let name_of = |c: char| u8::try_from(c).ok().filter(u8::is_ascii_graphic);
        let mut plain = name.chars();
        if let (Some(only), None) = (plain.next(), plain.next()) {
            return name_of(only);
        }
        let held = name.to_ascii_lowercase();
        match held.strip_prefix("ctrl-")?.as_bytes() {
            [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
            [b'@'] => Some(0),
            [sign @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Some(sign - b'@'),
            _ => None,
        }
    };
    let parts = text.split(',').filter(|_| !text.is_empty());
    let keys = parts.map(|name| key(name).ok_or_else(|| format!("`{name}` is no key; expected a character or ctrl-LETTER")));
    Ok(DetachKeys { sequence: keys.collect::<Result<_, _>>()?, pressed: 0 })
}

impl DetachKeys {
    /// These keys where somebody types them at a terminal; elsewhere none, since there they are bytes like any other.
    #[must_use]
    pub fn only_if(self, typed: bool) -> Self {
        if typed { self } else { Self { sequence: Vec::new(), pressed: 0 } }
    }

    /// Takes in what was typed.
    pub fn take(&mut self, typed: &[u8]) -> Typed {
        let mut passed = Vec::new();
        for &byte in typed {
            if self.sequence.get(self.pressed) == Some(&byte) {
                self.pressed += 1;
                if self.pressed == self.sequence.len() {
                    self.pressed = 0;
                    return Typed::Detached(passed);
                }
                continue;
            }
            // It was none after all: what was held back belongs to the service.
            passed.extend_from_slice(&self.sequence[..mem::take(&mut self.pressed)]);
            if self.sequence.first() == Some(&byte) {
                self.pressed = 1;
            } else {
                passed.push(byte);
            }
        }
        Typed::Passed(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_docker_names_them() {
        for (text, expected) in [
            ("ctrl-p,ctrl-q", Ok(vec![16, 17])),
            ("ctrl-[,x", Ok(vec![27, b'x'])),
            ("CTRL-C", Ok(vec![3])),
            ("", Ok(vec![])),
            ("ctrl-pq", Err(())),
            ("esc", Err(())),
            ("a,,b", Err(())),
        ] {
            assert_eq!(parse(text).map(|keys| keys.sequence).map_err(drop), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_sequence_after_all_is_passed_on() {
        let mut keys = parse("ctrl-p,ctrl-q").unwrap();
        let passed = |bytes: &[u8]| Typed::Passed(bytes.to_vec());
        assert_eq!(keys.take(b"ab\x10"), passed(b"ab"), "held back until the next key");
        assert_eq!(keys.take(b"c"), passed(b"\x10c"));
        assert_eq!(keys.take(b"\x10\x10"), passed(b"\x10"), "the second may begin one");
        assert_eq!(keys.take(b"\x11tail"), Typed::Detached(Vec::new()));
        assert_eq!(keys.take(b"x\x10\x11y"), Typed::Detached(b"x".to_vec()));
        assert_eq!(parse("").unwrap().take(b"\x10\x11"), passed(b"\x10\x11"));
    }

    #[test]
    fn what_nobody_types_is_passed_on_whole() {
        let keys = parse("ctrl-p,ctrl-q").unwrap();
        let piped = b"a\x10\x11b\x10";
        assert_eq!(keys.clone().only_if(false).take(piped), Typed::Passed(piped.to_vec()), "also what would begin a sequence");
        assert_eq!(keys.only_if(true).take(piped), Typed::Detached(b"a".to_vec()));
    }
}
