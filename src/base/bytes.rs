//! Compose sizes: `512m`, `1.5gb`, `2GiB`; always powers of 1024 (Compose Specification, "Specifying byte values").

/// Reads a size in bytes. `None` when the text is not one.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_end);
    let scale: u128 = match suffix.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        "p" | "pb" | "pib" => 1 << 50,
        _ => return None,
    };
    u64::try_from(super::duration::scaled(number, scale)?).ok()
}

/// For serde: a size that may be absent, as a number or a text.
pub mod optional {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    /// Writes bytes as text (as Compose prints them), or null.
    pub fn serialize<S: Serializer>(size: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        match size {
            Some(size) => serializer.serialize_str(&size.to_string()),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a number, a text or null. `-1` means "no limit" where the engine knows that.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = Option<i64>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a size such as `512m`")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_i64<E: Error>(self, size: i64) -> Result<Self::Value, E> {
                Ok(Some(size))
            }

            fn visit_u64<E: Error>(self, size: u64) -> Result<Self::Value, E> {
                i64::try_from(size).map(Some).map_err(E::custom)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let size = match text.strip_prefix('-') {
                    Some(rest) => super::parse(rest).map(|size| -i128::from(size)),
                    None => super::parse(text).map(i128::from),
                };
                size.and_then(|size| i64::try_from(size).ok())
                    .map(Some)
                    .ok_or_else(|| E::custom(format!("`{text}` is not a size")))
            }
        }
        deserializer.deserialize_any(Size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [("0", 0), ("64m", 64 << 20), ("1.5gb", 3 << 29), ("1GiB", 1 << 30), ("10 k", 10240), ("7", 7)] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "1x", "-1", "1.2.3k", "99999999p"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
