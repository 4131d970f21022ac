//! The one clock. Everything else is handed its moments, so that it can be run in virtual time.

use std::time::{Duration, Instant, SystemTime};

use crate::base::moment::Moment;

/// Counts from the supervisor's start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Begins to count.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// A moment as the operating system counts it, for waiting; a year ahead when it lies further away.
    pub fn instant(&self, moment: Moment) -> Instant {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let latest = Instant::now() + YEAR;
        self.start.checked_add(Duration::from_millis(moment.0)).map_or(latest, |instant| instant.min(latest))
    }
}

/// The moment at which a wait that begins now is over.
pub fn deadline(wait: Duration) -> Instant {
    Instant::now() + wait
}

/// Whether a moment of [`deadline`] has come.
pub fn is_past(deadline: Instant) -> bool {
    Instant::now() >= deadline
}

/// How long it is until a moment of [`deadline`]; zero once it has come.
pub fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// The time of day, for logs and records.
pub fn wall() -> SystemTime {
    SystemTime::now()
}
