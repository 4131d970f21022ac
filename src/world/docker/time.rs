//! The engine's times: RFC 3339, in UTC or with the offset of its host.

use std::time::{Duration, SystemTime};

use crate::world::clock;

/// A time as the engine writes it; none for what is none, as the year 1 by which it means never.
pub(super) fn moment(text: &str) -> Option<SystemTime> {
    const OFFSET: usize = "+00:00".len();
    if text.ends_with('Z') {
        return humantime::parse_rfc3339(text).ok();
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(OFFSET)?)?;
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let ahead = Duration::from_secs(hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60);
    match offset.as_bytes().first()? {
        b'+' => local.checked_sub(ahead),
        b'-' => local.checked_add(ahead),
        _ => None,
    }
}

/// How long ago a time was; none for what is none or lies ahead.
pub(super) fn age(text: &str) -> Option<Duration> {
    clock::wall().duration_since(moment(text)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_whatever_zone_the_engine_lives_in() {
        let noon = humantime::parse_rfc3339("2026-11-29T12:00:00.5Z").ok();
        for (text, expected) in [
            ("2026-11-29T12:00:00.5Z", noon),
            ("2026-11-29T13:00:00.5+01:00", noon),
            ("2026-11-29T06:30:00.5-05:30", noon),
            ("0001-01-01T00:00:00Z", None),
            ("", None),
            ("noon", None),
        ] {
            assert_eq!(moment(text), expected, "{text}");
        }
    }
}
