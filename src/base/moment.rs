//! Points in time as the machine knows them: milliseconds since the supervisor started.
//!
//! Arithmetic only. The one clock is `world::clock`; everything below is handed its moments, so that tests run in virtual time.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Milliseconds since the supervisor started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The time from `earlier` until now; zero if `earlier` lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Rounded up to a whole millisecond, so that a wait is never shorter than asked; saturates.
    fn add(self, wait: Duration) -> Moment {
        let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(millis))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    /// Stops at the supervisor's start.
    fn sub(self, wait: Duration) -> Moment {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_sub(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_shorter_than_asked() {
        assert_eq!(Moment(5) + Duration::from_micros(1), Moment(6));
        assert_eq!(Moment(5) + Duration::MAX, Moment(u64::MAX));
        assert_eq!(Moment(5) - Duration::from_secs(1), Moment(0));
        assert_eq!(Moment(5).since(Moment(9)), Duration::ZERO);
    }
}
