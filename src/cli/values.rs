//! Values of flags that several commands take.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::name::ServiceName;
use crate::base::{bytes, duration};
use crate::model::service::MAX_REPLICAS;
use crate::world::clock;
use crate::world::native::signal;

/// `web=3`.
pub fn scale(text: &str) -> Result<(ServiceName, u32), String> {
    let (service, count) = text.split_once('=').ok_or("expected SERVICE=N")?;
    let service = service.parse().map_err(|error: crate::base::name::NameError| error.to_string())?;
    let count: u32 = count.parse().map_err(|_| format!("`{count}` is not a number of replicas"))?;
    if count > MAX_REPLICAS {
        return Err(format!("{count} replicas are more than one environment may have of a service: at most {MAX_REPLICAS}"));
    }
    Ok((service, count))
}

/// `NAME=value`, or `NAME` for the caller's own value.
pub fn variable(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
    if name.is_empty() { Err("expected NAME=VALUE".to_owned()) } else { Ok((name.to_owned(), value)) }
}

/// A signal's name or number.
pub fn signal(text: &str) -> Result<String, String> {
    match signal::number(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("no such signal; `kill -l` lists them".to_owned()),
    }
}

/// How many things are done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parallel {
    /// As many as there are.
    Unlimited,
    /// At most so many, 1 or more.
    AtMost(usize),
}

/// `2g`; a number alone counts bytes.
pub fn size(text: &str) -> Result<i64, String> {
    let size = bytes::parse(text).and_then(|bytes| i64::try_from(bytes).ok());
    size.ok_or_else(|| format!("`{text}` is not a size such as `64m`"))
}

/// `4`, or `-1` for no limit, as Compose takes it.
pub fn parallel(text: &str) -> Result<Parallel, String> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(Parallel::Unlimited),
        Ok(count) if count >= 1 => Ok(Parallel::AtMost(usize::try_from(count).unwrap_or(usize::MAX))),
        Ok(_) | Err(_) => Err("expected a number, 1 or more, or -1 for no limit".to_owned()),
    }
}

/// Whole seconds, as Compose takes them.
pub fn whole_seconds(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a number of seconds".to_owned())
}

/// Whole seconds as a duration.
pub fn seconds(seconds: Option<u64>) -> Option<Duration> {
    seconds.map(Duration::from_secs)
}

/// A point in time: RFC 3339 (`2026-01-02T13:23:37Z`, its parts optional from the right), seconds since 1970, or how long ago
/// (`42m`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So long before now.
    Ago(Duration),
    /// So long after the beginning of 1970.
    Since1970(Duration),
}

impl When {
    /// The time of day that is meant.
    pub fn time(self) -> SystemTime {
        match self {
            When::Ago(ago) => clock::wall().checked_sub(ago).unwrap_or(UNIX_EPOCH),
            When::Since1970(since) => UNIX_EPOCH + since,
        }
    }
}

/// Reads a [`When`].
pub fn when(text: &str) -> Result<When, String> {
    if let Some(ago) = duration::parse(text).filter(|_| text.chars().any(char::is_alphabetic) && !text.contains(['T', 'Z', ':']))
    {
        return Ok(When::Ago(ago));
    }
    if let Some((seconds, nanos)) = text.split_once('.').or(Some((text, "0")))
        && let (Ok(seconds), Ok(fraction)) = (seconds.parse(), format!("0.{nanos}").parse::<f64>())
    {
        return Ok(When::Since1970(Duration::new(seconds, (fraction * 1e9) as u32)));
    }
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    let time =
        humantime::parse_rfc3339_weak(&full).map_err(|_| "expected a time such as 2026-01-02T13:23:37Z or 42m".to_owned())?;
    Ok(When::Since1970(time.duration_since(UNIX_EPOCH).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_has_three_spellings() {
        let since = |seconds| Ok(When::Since1970(Duration::from_secs(seconds)));
        for (text, expected) in [
            ("42m", Ok(When::Ago(Duration::from_secs(2520)))),
            ("1h30m", Ok(When::Ago(Duration::from_secs(5400)))),
            ("1136073845", since(1_136_073_845)),
            ("1136073845.5", Ok(When::Since1970(Duration::new(1_136_073_845, 500_000_000)))),
            ("2006-01-02T00:04:05Z", since(1_136_160_245)),
            ("2006-01-02T00:04:05", since(1_136_160_245)),
            ("2006-01-02", since(1_136_160_000)),
        ] {
            assert_eq!(when(text), expected, "{text}");
        }
        assert!(when("yesterday").is_err());
    }

    #[test]
    fn scale_and_variables_need_their_names() {
        assert_eq!(scale("web=3").unwrap(), ("web".parse().unwrap(), 3));
        assert_eq!(scale("web=10000").unwrap().1, 10_000);
        for text in ["web", "web=", "=3", "web=-1", "web=10001", "web=10000000"] {
            assert!(scale(text).is_err(), "{text}");
        }
        assert_eq!(variable("A=b=c").unwrap(), ("A".to_owned(), Some("b=c".to_owned())));
        assert_eq!(variable("A").unwrap(), ("A".to_owned(), None));
        assert!(variable("=x").is_err());
    }
}
