//! What a unit has used so far, whoever counted it: the engine for a container, the kernel for the processes of a process.
//!
//! Counters only grow; what is used *now* is the difference of two looks.

use std::time::Duration;

/// Counters and sizes at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// When it was read, since 1970.
    pub at: Duration,
    /// Processor time, of all processors together.
    pub cpu: Duration,
    /// Bytes of memory in use.
    pub memory: u64,
    /// Bytes of memory that may be used; none when that is not known.
    pub limit: Option<u64>,
    /// Bytes received and sent; none where nobody counts them.
    pub network: Option<(u64, u64)>,
    /// Bytes read from and written to disks; none where they may not be seen.
    pub block: Option<(u64, u64)>,
    /// Processes and threads.
    pub pids: u64,
}

impl Usage {
    /// Hundredths of one processor that were used since an earlier look.
    pub fn cpu_percent(&self, earlier: &Usage) -> f64 {
        let passed = self.at.saturating_sub(earlier.at).as_secs_f64();
        let used = self.cpu.saturating_sub(earlier.cpu).as_secs_f64();
        if passed > 0.0 { used / passed * 100.0 } else { 0.0 }
    }

    /// Hundredths of the memory that may be used.
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits after the point")]
    pub fn memory_percent(&self) -> f64 {
        match self.limit {
            Some(limit) if limit > 0 => self.memory as f64 / limit as f64 * 100.0,
            Some(_) | None => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_time_that_passed_and_of_one_processor() {
        let at = |at, cpu| Usage {
            at: Duration::from_millis(at),
            cpu: Duration::from_millis(cpu),
            memory: 50,
            limit: Some(200),
            ..Usage::default()
        };
        for (earlier, later, percent) in [
            (at(0, 0), at(1000, 500), 50.0),
            (at(0, 0), at(1000, 3000), 300.0),
            (at(5, 5), at(5, 5), 0.0),
            (at(0, 9), at(9, 0), 0.0),
        ] {
            assert!((later.cpu_percent(&earlier) - percent).abs() < 1e-9, "{earlier:?} {later:?}");
        }
        assert!((at(0, 0).memory_percent() - 25.0).abs() < 1e-9);
        assert!(Usage::default().memory_percent().abs() < 1e-9, "a limit that is not known");
    }
}
