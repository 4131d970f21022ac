//! When it is time, by the wall clock and the time zone of this host.

use std::time::{SystemTime, UNIX_EPOCH};

use cronexpr::{FallbackTimezoneOption, MakeTimestamp};

use super::clock;
use crate::model::schedule::Cron;
use crate::supervisor::effect::Reckoning;
use crate::supervisor::event::Event;

/// Works out when it is time. Takes microseconds.
pub fn reckon(reckoning: Reckoning) -> Event {
    let now_ms = milliseconds(clock::wall());
    let after_ms = reckoning.last_ms.unwrap_or(0).max(now_ms);
    let due_ms = reckoning.due_ms.or_else(|| next(&reckoning.cron, after_ms, FallbackTimezoneOption::System));
    Event::Reckoned { unit: reckoning.unit, cron: reckoning.cron, now_ms, due_ms }
}

/// The first time after a moment, both in milliseconds since 1970; none for a day that never comes.
fn next(cron: &Cron, after_ms: u64, zone: FallbackTimezoneOption) -> Option<u64> {
    let after = MakeTimestamp::from_millisecond(i64::try_from(after_ms).ok()?).ok()?;
    let next = cron.times(zone).find_next(after).ok()?;
    u64::try_from(next.timestamp().as_millisecond()).ok()
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_the_first_one_after_the_moment() {
        // 2026-01-01T00:00:00Z was a Thursday.
        const START: u64 = 1_767_225_600_000;
        const HOUR: u64 = 3_600_000;
        for (cron, after, expected) in [
            ("0 3 * * *", START, Some(START + 3 * HOUR)),
            ("0 3 * * *", START + 3 * HOUR, Some(START + 27 * HOUR)),
            ("*/15 * * * *", START + 1, Some(START + HOUR / 4)),
            ("0 0 * * SUN", START, Some(START + 72 * HOUR)),
            ("0 0 30 2 *", START, None),
        ] {
            let cron: Cron = cron.parse().unwrap();
            assert_eq!(next(&cron, after, FallbackTimezoneOption::UTC), expected, "{cron} after {after}");
        }
    }

    #[test]
    fn a_time_that_is_known_stays_and_the_last_one_is_not_told_twice() {
        let reckon = |last_ms, due_ms| {
            let cron = "* * * * *".parse().unwrap();
            match reckon(Reckoning { unit: "a:1".parse().unwrap(), cron, last_ms, due_ms }) {
                Event::Reckoned { now_ms, due_ms: Some(due_ms), .. } => (now_ms, due_ms),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(reckon(None, Some(7)).1, 7);
        let (now, due) = reckon(None, None);
        assert!(due > now && due <= now + 60_000 && due % 60_000 == 0);
        assert!(reckon(Some(due), None).1 > due);
    }
}
