//! Turns the answers of probes into a verdict, and says when the next probe is due.
//!
//! Until its first success a unit is probed at once and then at growing gaps; such extra probes can make it healthy, but only
//! those due by `interval` count as failures. A container whose checks its engine runs is probed by us too until then, since an engine
//! looks for the first time one `interval` after the start: what we find makes it healthy, all else is the engine's to say.

use std::time::Duration;

use crate::base::moment::Moment;
use crate::model::health::HealthCheck;

use super::status::Health;

const FIRST_GAP: Duration = Duration::from_millis(50);

/// The health of one life.
#[derive(Debug, Clone, Default)]
pub struct HealthState {
    /// The verdict; none while there is nothing to judge.
    pub verdict: Option<Health>,
    /// The output of the last probe that failed.
    pub output: Option<String>,
    /// Whether the log line has been seen in this life.
    pub line_seen: bool,
    /// The probe in flight.
    pub in_flight: Option<u64>,
    /// When the next is due; none while one is in flight or nothing is to be probed.
    pub next: Option<Moment>,
    /// It stood still, or went on, while the probe in flight was asking.
    disturbed: bool,
    started: Moment,
    regular: Moment,
    gap: Duration,
    failures: u32,
}

impl HealthState {
    /// A life begins now.
    pub fn begin(check: &HealthCheck, now: Moment) -> Self {
        Self {
            verdict: Some(Health::Starting),
            next: Some(now),
            started: now,
            regular: now + check.interval(),
            gap: FIRST_GAP,
            ..Self::default()
        }
    }

    /// The log line appeared: worth a probe at once.
    pub fn line_seen(&mut self, now: Moment) {
        self.line_seen = true;
        if self.in_flight.is_none() && self.next.is_some() {
            self.next = Some(now);
        }
    }

    /// Its unit stands still from now on, or goes on. What the probe in flight does not get then says nothing; what is to be probed is
    /// probed at once.
    pub fn stirred(&mut self, paused: bool, now: Moment) {
        self.disturbed = self.in_flight.is_some();
        if !paused && self.next.is_some() {
            self.next = Some(now);
        }
    }

    /// Whether the answer of the probe in flight is to be passed over; the next one is due then.
    pub fn passes_over(&mut self, healthy: bool, now: Moment) -> bool {
        let passed = std::mem::take(&mut self.disturbed) && !healthy;
        if passed {
            (self.in_flight, self.next) = (None, Some(now));
        }
        passed
    }

    /// What is known without asking anybody: as long as the line of the log is missing, and where that is all.
    pub fn without_probe(&self, check: &HealthCheck) -> Option<(bool, String)> {
        match &check.log {
            Some(line) if !self.line_seen => Some((false, format!("no line of its log matches `{line}` yet"))),
            _ if check.is_log_alone() => Some((true, String::new())),
            Some(_) | None => None,
        }
    }

    /// Takes in a probe's answer. Returns whether the verdict changed.
    pub fn judge(&mut self, check: &HealthCheck, healthy: bool, output: String, now: Moment) -> bool {
        self.in_flight = None;
        let before = self.verdict;
        if healthy {
            self.verdict = Some(Health::Healthy);
            self.failures = 0;
            self.output = None;
            // Zero marks a life that has been ready: from then on only regular probes.
            self.gap = Duration::ZERO;
            self.next = Some(now + check.interval());
            return before != self.verdict;
        }
        self.output = Some(output);
        if self.gap.is_zero() {
            self.count(check);
            self.next = Some(now + check.interval());
            return before != self.verdict;
        }
        let counts = now >= self.regular;
        if counts {
            self.regular = now + check.interval();
            if now >= self.started + check.start_period() {
                self.count(check);
            }
        }
        let wait = self.wait(check, now);
        self.next = Some((now + wait).min(self.regular.max(now + Duration::from_millis(1))));
        before != self.verdict
    }

    /// Takes in the answer of a probe of ours beside those of an engine, whose failures are the engine's to count. Returns whether
    /// the verdict changed; when it did, there is nothing more to ask.
    pub fn judge_beside_engine(&mut self, check: &HealthCheck, healthy: bool, output: String, now: Moment) -> bool {
        self.in_flight = None;
        if healthy {
            let before = self.verdict.replace(Health::Healthy);
            (self.output, self.next) = (None, None);
            return before != self.verdict;
        }
        self.output = Some(output);
        self.next = Some(now + self.wait(check, now));
        false
    }

    /// Until the next of the probes before the first success. The one after that has twice as long to wait.
    fn wait(&mut self, check: &HealthCheck, now: Moment) -> Duration {
        let in_start_period = now < self.started + check.start_period();
        let wait = match check.start_interval.filter(|_| in_start_period) {
            Some(start_interval) => start_interval,
            None => self.gap.min(check.interval()),
        };
        self.gap = (self.gap * 2).min(check.interval().max(FIRST_GAP));
        wait
    }

    fn count(&mut self, check: &HealthCheck) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= check.retries() {
            self.verdict = Some(Health::Unhealthy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(interval_s: u64, retries: u32, start_period_s: u64) -> HealthCheck {
        HealthCheck {
            interval: Some(Duration::from_secs(interval_s)),
            retries: Some(retries),
            start_period: Some(Duration::from_secs(start_period_s)),
            ..HealthCheck::default()
        }
    }

    /// Lets every probe fail until `until_ms`; returns when it turned unhealthy and how many probes there were.
    fn fail_until(check: &HealthCheck, until_ms: u64) -> (Option<u64>, u32) {
        let mut health = HealthState::begin(check, Moment(0));
        let mut probes = 0;
        while let Some(now) = health.next.filter(|next| next.0 <= until_ms) {
            probes += 1;
            health.judge(check, false, String::new(), now);
            if health.verdict == Some(Health::Unhealthy) {
                return (Some(now.0), probes);
            }
        }
        (None, probes)
    }

    #[test]
    fn extra_probes_do_not_make_it_unhealthy_early() {
        let (at, probes) = fail_until(&check(1, 3, 0), 60_000);
        assert_eq!(at, Some(3000));
        assert!(probes > 6, "{probes}");
    }

    #[test]
    fn failures_in_the_start_period_do_not_count() {
        assert_eq!(fail_until(&check(1, 1, 30), 29_000).0, None);
        assert_eq!(fail_until(&check(1, 1, 30), 60_000).0, Some(30_000));
    }

    #[test]
    fn a_success_in_the_start_period_is_a_success() {
        let check = check(30, 3, 300);
        let mut health = HealthState::begin(&check, Moment(0));
        assert!(health.judge(&check, true, String::new(), Moment(3)));
        assert_eq!((health.verdict, health.next), (Some(Health::Healthy), Some(Moment(30_003))));
    }

    #[test]
    fn after_readiness_only_retries_in_a_row_make_it_unhealthy_and_one_success_mends_it() {
        let check = check(1, 2, 0);
        let mut health = HealthState::begin(&check, Moment(0));
        health.judge(&check, true, String::new(), Moment(0));
        health.judge(&check, false, "x".into(), Moment(1000));
        assert_eq!(health.verdict, Some(Health::Healthy));
        health.judge(&check, true, String::new(), Moment(2000));
        health.judge(&check, false, "x".into(), Moment(3000));
        assert_eq!(health.verdict, Some(Health::Healthy));
        health.judge(&check, false, "x".into(), Moment(4000));
        assert_eq!((health.verdict, health.next), (Some(Health::Unhealthy), Some(Moment(5000))));
        health.judge(&check, false, "x".into(), Moment(5000));
        assert_eq!(health.next, Some(Moment(6000)));
        health.judge(&check, true, String::new(), Moment(6000));
        assert_eq!(health.verdict, Some(Health::Healthy));
    }
}
