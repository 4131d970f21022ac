//! What a plain scalar is taken for: null, boolean, whole number, number or text.
//!
//! The rules are those of go-yaml (`resolve.go`), which Compose reads its files with: the booleans of YAML 1.2, but the numbers of
//! YAML 1.1 too, so that `0777` and `1_000` are whole numbers while `yes`, `on` and `12:30` are text. Dates, which go-yaml turns
//! into a text of its own making, stay the text that was written.

use super::node::{Kind, Scalar, Value};

/// What an unquoted scalar is.
pub fn resolve(text: impl AsRef<str> + Into<String>) -> Value {
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        plain => {
            let kind = if integer(plain).is_some() {
                Kind::Int
            } else if float(plain).is_some() {
                Kind::Float
            } else {
                Kind::Text
            };
            Value::Scalar(Scalar { text: text.into(), kind })
        }
    }
}

/// What a scalar with a tag of YAML's own is (`!!str 12`, `!!int "12"`), whatever its quotes. `None` when it cannot be that.
pub fn tagged(tag: &str, text: &str) -> Option<Value> {
    let as_text = |text: String| Some(Value::Scalar(Scalar { text, kind: Kind::Text }));
    match (tag, resolve(text)) {
        ("null", value @ Value::Null)
        | ("bool", value @ Value::Bool(_))
        | ("int", value @ Value::Scalar(Scalar { kind: Kind::Int, .. })) => Some(value),
        ("float", Value::Scalar(Scalar { kind: Kind::Int | Kind::Float, text })) => {
            Some(Value::Scalar(Scalar { kind: Kind::Float, text }))
        }
        ("null" | "bool" | "int" | "float", _) => None,
        ("binary", _) => as_text(String::from_utf8(base64(text)?).ok()?),
        _ => as_text(text.to_owned()),
    }
}

/// The bytes of a base64 text (RFC 4648, section 4), line breaks ignored.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=') {
        let value = ALPHABET.iter().position(|&letter| letter == digit)?;
        bits = (bits << 6 | u32::try_from(value).ok()?) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// The whole number that a plain scalar stands for: decimal, `0x1f`, `0o17`, `017`, `0b11`, each with a sign and with `_` between
/// digits. Only what fits in 64 bits, signed or unsigned, is one; beyond that it is a [`float`].
pub fn integer(text: &str) -> Option<i128> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') {
        return None;
    }
    let digits = text.replace('_', "");
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let prefixed = |lower: &str, upper: &str| digits.strip_prefix(lower).or_else(|| digits.strip_prefix(upper));
    let (radix, digits) = if let Some(rest) = prefixed("0x", "0X") {
        (16, rest)
    } else if let Some(rest) = prefixed("0o", "0O") {
        (8, rest)
    } else if let Some(rest) = prefixed("0b", "0B") {
        (2, rest)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    // `from_str_radix` would take a second sign.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    // `-0` is the floating-point number of this name, which Compose prints as `-0`.
    if negative && magnitude == 0 {
        return None;
    }
    let value = if negative { -magnitude } else { magnitude };
    (value >= i128::from(i64::MIN)).then_some(value)
}

/// The number that a plain scalar stands for, if it is one with a fraction or an exponent, too large for [`integer`], `.inf` or `.nan`.
pub fn float(text: &str) -> Option<f64> {
    match text {
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    let digits = text.replace('_', "");
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(&digits);
    // Rust would also take `inf`, `nan` and `infinity`.
    let begins_as_number = unsigned.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
    let is_number = begins_as_number && unsigned.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c));
    if is_number { digits.parse().ok() } else { None }
}

/// The value of a scalar that is a number of either kind.
pub fn number(text: &str) -> Option<f64> {
    float(text).or_else(|| integer(text)?.to_string().parse().ok())
}

impl Scalar {
    /// The text that Compose makes of this value where it wants one, as in `labels` and `environment`: numbers are printed anew, so that
    /// `3.0` is `3`, `1.10` is `1.1` and `0x10` is `16`.
    pub fn printed(&self) -> String {
        match self.kind {
            Kind::Text => self.text.clone(),
            Kind::Int => integer(&self.text).map_or_else(|| self.text.clone(), |value| value.to_string()),
            Kind::Float => number(&self.text).map_or_else(|| self.text.clone(), print_float),
        }
    }
}

/// Go's `%v` of a float64: the fewest digits that read back the same, with an exponent below 1e-4 and from 1e6 on
/// (`strconv/ftoa.go`, format `g` with the shortest precision).
fn print_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        match resolve(text) {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => format!("bool {value}"),
            Value::Scalar(scalar) => format!("{:?} {}", scalar.kind, scalar.printed()).to_lowercase(),
            Value::Sequence(_) | Value::Mapping(_) => unreachable!("a scalar is no collection"),
        }
    }

    #[test]
    fn plain_scalars_are_taken_for_what_compose_takes_them_for() {
        for (text, expect) in [
            ("", "null"),
            ("~", "null"),
            ("NULL", "null"),
            ("True", "bool true"),
            ("tRue", "text true"),
            ("yes", "text yes"),
            ("off", "text off"),
            ("12", "int 12"),
            ("+12", "int 12"),
            ("-0x1F", "int -31"),
            ("0o17", "int 15"),
            ("0777", "int 511"),
            ("0888", "float 888"),
            ("1_000", "int 1000"),
            ("_1", "text _1"),
            ("0b11", "int 3"),
            ("18446744073709551615", "int 18446744073709551615"),
            ("-0", "float -0"),
            ("1e3", "float 1000"),
            ("1.50", "float 1.5"),
            (".5", "float 0.5"),
            ("5.", "float 5"),
            ("1e21", "float 1e+21"),
            ("100000000.5", "float 1.000000005e+08"),
            (".inf", "float +inf"),
            ("inf", "text inf"),
            ("nan", "text nan"),
            ("1.2.3", "text 1.2.3"),
            ("--1", "text --1"),
            ("12:30:45", "text 12:30:45"),
            ("2001-01-01", "text 2001-01-01"),
            ("0x", "text 0x"),
            ("e5", "text e5"),
            (".", "text ."),
        ] {
            assert_eq!(printed(text), expect, "{text}");
        }
    }

    #[test]
    fn tags_of_yaml_decide_over_quotes() {
        let text = |tag, text| tagged(tag, text).map(|value| format!("{value:?}"));
        assert!(text("int", "1024").unwrap().contains("Int"));
        assert!(text("str", "123").unwrap().contains("Text"));
        assert!(text("float", "3").unwrap().contains("Float"));
        assert!(text("binary", "aGVs\n bG8=").unwrap().contains("\"hello\""));
        assert_eq!((text("int", "abc"), text("binary", "??")), (None, None));
    }
}
