//! Random values from the operating system: `generate:`, and the names of new environments.

use std::fs::File;
use std::io::{self, Read};

use crate::model::value::Generated;
use crate::plan::hash::hex;

const ALNUM: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const LOWER_AND_DIGITS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Makes a value of this kind.
pub fn make(kind: Generated) -> io::Result<String> {
    Ok(match kind {
        Generated::Hex(count) => hex(&random(count as usize)?),
        Generated::Base64(count) => base64(&random(count as usize)?),
        Generated::Alnum(count) => characters(ALNUM, count as usize)?,
        Generated::Uuid => uuid(&random(16)?),
    })
}

/// A new environment's name: eight characters `[a-z0-9]`, the first a letter.
pub fn env_name() -> io::Result<String> {
    Ok(characters(LOWER, 1)? + &characters(LOWER_AND_DIGITS, 7)?)
}

fn random(count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// So many characters of an alphabet, each as likely as any other: bytes beyond its last whole multiple are thrown away.
fn characters(alphabet: &[u8], count: usize) -> io::Result<String> {
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let bytes = random(count)?;
        let fair = bytes.into_iter().map(usize::from).filter(|&byte| byte < fair);
        text.extend(fair.map(|byte| char::from(alphabet[byte % alphabet.len()])).take(count - text.len()));
    }
    Ok(text)
}

/// The standard alphabet, padded (RFC 4648, section 4).
pub(in crate::world) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0_u32, |group, at| group << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let sextet = (group >> (18 - 6 * at)) & 63;
            text.push(if at <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

/// Version 4, variant 1 (RFC 9562, section 5.4).
fn uuid(bytes: &[u8]) -> String {
    let mut bytes = bytes.to_vec();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_shape() {
        let shape = |kind, length, allowed: fn(char) -> bool| {
            let value = make(kind).unwrap();
            assert!(value.len() == length && value.chars().all(allowed), "{kind:?}: {value}");
            assert_ne!(value, make(kind).unwrap());
        };
        shape(Generated::Hex(16), 32, |c| c.is_ascii_hexdigit());
        shape(Generated::Base64(16), 24, |c| c.is_ascii_alphanumeric() || "+/=".contains(c));
        shape(Generated::Alnum(40), 40, |c| c.is_ascii_alphanumeric());
        shape(Generated::Uuid, 36, |c| c.is_ascii_hexdigit() || c == '-');
        let name = env_name().unwrap();
        assert!(name.len() == 8 && name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
    }

    #[test]
    fn base64_is_padded() {
        for (bytes, text) in [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes), text);
        }
    }

    #[test]
    fn a_uuid_says_its_version() {
        assert_eq!(uuid(&[0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
