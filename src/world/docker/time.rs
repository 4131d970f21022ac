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

/// A duration as an engine words it in its lists (docker/go-units, `HumanDuration`).
pub(super) fn spoken(age: Duration) -> String {
    let seconds = age.as_secs();
    let hours = (age.as_secs_f64() / 3600.0 + 0.5) as u64;
    let (count, unit) = match (seconds, hours) {
        (0, _) => return "Less than a second".to_owned(),
        (1, _) => return "1 second".to_owned(),
        (2..60, _) => (seconds, "seconds"),
        (60..120, _) => return "About a minute".to_owned(),
        (120..3600, _) => (seconds / 60, "minutes"),
        (_, ..=1) => return "About an hour".to_owned(),
        (_, 2..48) => (hours, "hours"),
        (_, 48..336) => (hours / 24, "days"),
        (_, 336..1440) => (hours / 24 / 7, "weeks"),
        (_, 1440..17520) => (hours / 24 / 30, "months"),
        _ => (seconds / 3600 / 24 / 365, "years"),
    };
    format!("{count} {unit}")
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
    #[test]
    fn a_duration_is_worded_as_the_engine_words_it() {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        for (seconds, expected) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (2 * MINUTE, "2 minutes"),
            (HOUR - 1, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 29 * MINUTE, "About an hour"),
            (HOUR + 30 * MINUTE, "2 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (60 * DAY, "2 months"),
            (800 * DAY, "2 years"),
        ] {
            assert_eq!(spoken(Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }
}
