//! The keys that leave an attached service to itself: found in what is typed, which passes on without them.

use std::str::FromStr;

/// Keys, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(Vec<u8>);

impl FromStr for Keys {
    type Err = String;

    /// As Docker's: `ctrl-p,ctrl-q`; a key is a character, or `ctrl-` and one of `a` to `z`, `@`, `^`, `[`, `,` and `_`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A comma may be a key itself.
        let names = text.replace("ctrl-,", "ctrl-\u{0}");
        let key = |name: &str| match (name.strip_prefix("ctrl-").map(str::as_bytes), name.as_bytes()) {
            (Some([key @ (b'a'..=b'z' | b'@' | b'^' | b'[' | b'_')]), _) => Ok(key.to_ascii_uppercase() & 0x1f),
            (Some([0]), _) => Ok(b',' & 0x1f),
            (None, [key]) => Ok(*key),
            _ => Err(format!("`{name}` is no key; write a character or `ctrl-` and a letter, with commas between")),
        };
        names.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }
}

/// Looks for the keys in what is typed, however it is cut.
#[derive(Debug)]
pub struct Detacher {
    keys: Keys,
    /// So many of them have been typed, and held back.
    held: usize,
}

/// What is to be done with what was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// To be passed on.
    Bytes(Vec<u8>),
    /// The same, and then to be left.
    Detach(Vec<u8>),
}

impl Detacher {
    /// Looks for these.
    pub fn new(keys: Keys) -> Self {
        Self { keys, held: 0 }
    }

    /// Takes in what is typed.
    pub fn take(&mut self, typed: &[u8]) -> Typed {
        let mut passed = Vec::with_capacity(typed.len());
        let keys = &self.keys.0;
        for &byte in typed {
            if byte == keys[self.held] {
                self.held += 1;
                if self.held == keys.len() {
                    return Typed::Detach(passed);
                }
                continue;
            }
            passed.extend_from_slice(&keys[..self.held]);
            self.held = usize::from(byte == keys[0]);
            if self.held == 0 {
                passed.push(byte);
            }
        }
        Typed::Bytes(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_dockers() {
        for (text, expected) in [
            ("ctrl-p,ctrl-q", Some(&[16, 17][..])),
            ("ctrl-a,d", Some(&[1, b'd'])),
            ("ctrl-,,x", Some(&[12, b'x'])),
            ("ctrl-[", Some(&[27])),
            ("", None),
            ("ctrl-1", None),
            ("ab", None),
        ] {
            assert_eq!(text.parse::<Keys>().ok(), expected.map(|keys| Keys(keys.to_vec())), "{text}");
        }
    }

    #[test]
    fn what_is_typed_passes_on_but_for_the_keys() {
        let bytes = |text: &[u8]| Typed::Bytes(text.to_vec());
        let mut detacher = Detacher::new("ctrl-p,ctrl-q".parse().unwrap());
        assert_eq!(detacher.take(b"ls\r"), bytes(b"ls\r"));
        // Half of them is held back, until it is clear what is meant.
        assert_eq!(detacher.take(b"a\x10"), bytes(b"a"));
        assert_eq!(detacher.take(b"b"), bytes(b"\x10b"));
        assert_eq!(detacher.take(b"\x10\x10"), bytes(b"\x10"));
        assert_eq!(detacher.take(b"\x11rest"), Typed::Detach(Vec::new()));
    }
}
