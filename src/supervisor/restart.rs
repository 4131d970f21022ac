//! Decides whether and when a unit that ended by itself is started again.
//!
//! Knows nothing of clocks: callers pass moments, and jitter comes from a seed. Containers are not decided here: their
//! restart policy is the engine's.

use std::time::Duration;

use crate::base::random::Random;
use crate::model::restart::RestartPolicy;

/// A life of this length forgets the failures before it.
pub const STABLE: Duration = Duration::from_secs(10);

/// The wait before the start that follows `failures` failures in a row: 100 ms doubled each time, at most 30 s, ±10 % by
/// the seed.
///
/// moby's restart manager starts alike, so that both kinds of service feel alike.
pub fn backoff(failures: u32, random: &mut Random) -> Duration {
    let doubled = 100u64.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(30_000);
    let jitter = random.below(doubled / 5 + 1);
    Duration::from_millis(doubled - doubled / 10 + jitter)
}

/// Whether a unit whose life ended, as a failure or not, is to be started again. `failures` counts this one.
pub fn again(policy: RestartPolicy, failed: bool, failures: u32) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { max } => failed && max.is_none_or(|max| failures <= max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gaps_double_up_to_half_a_minute() {
        let mut random = Random::new(1);
        for (failures, expected) in [(1, 100), (2, 200), (5, 1600), (9, 25_600), (10, 30_000), (4_000_000, 30_000)] {
            for _ in 0..100 {
                let wait = u64::try_from(backoff(failures, &mut random).as_millis()).unwrap();
                assert!((expected * 9 / 10..=expected * 11 / 10).contains(&wait), "{failures}: {wait}");
            }
        }
    }

    #[test]
    fn on_failure_3_means_four_starts() {
        let policy = RestartPolicy::OnFailure { max: Some(3) };
        assert_eq!((1..=4).map(|failures| again(policy, true, failures)).collect::<Vec<_>>(), [true, true, true, false]);
        assert!(!again(policy, false, 1));
        assert!(again(RestartPolicy::Always, false, 99));
        assert!(!again(RestartPolicy::No, true, 1));
    }
}
