//! What a process does and uses, for `top` and `stats`, by `/proc`.

use std::time::Duration;

use procfs::process::{Process, Stat};
use procfs::{Current, WithCurrentSystemInfo};

/// A process at one moment.
#[derive(Debug)]
pub struct Look {
    process: Process,
    stat: Stat,
}

impl Look {
    /// Looks at a process; none if there is none of this id.
    pub fn at(pid: i32) -> Option<Self> {
        let process = Process::new(pid).ok()?;
        let stat = process.stat().ok()?;
        Some(Self { process, stat })
    }

    /// Its user.
    pub fn uid(&self) -> Option<u32> {
        self.process.uid().ok()
    }

    /// Its parent.
    pub fn parent(&self) -> i32 {
        self.stat.ppid
    }

    /// The name of its program.
    pub fn name(&self) -> String {
        self.stat.comm.clone()
    }

    /// The words of its command line; none of a part of the kernel.
    pub fn arguments(&self) -> Vec<String> {
        self.process.cmdline().unwrap_or_default()
    }

    /// Its terminal, as `ps` writes it.
    pub fn terminal(&self) -> String {
        terminal(self.stat.tty_nr())
    }

    /// How long ago it was started.
    pub fn age(&self) -> Option<Duration> {
        let up = procfs::Uptime::current().ok()?.uptime_duration();
        Some(up.saturating_sub(ticks(self.stat.starttime)))
    }

    /// Processor time that it has used.
    pub fn cpu(&self) -> Duration {
        ticks(self.stat.utime + self.stat.stime)
    }

    /// Processor time of its children that have ended.
    pub fn cpu_of_ended(&self) -> Duration {
        ticks(u64::try_from(self.stat.cutime.saturating_add(self.stat.cstime)).unwrap_or(0))
    }

    /// How many threads it has.
    pub fn threads(&self) -> u64 {
        u64::try_from(self.stat.num_threads).unwrap_or(1)
    }

    /// Bytes of memory. A page that several processes share counts once among them, where the kernel tells.
    pub fn memory(&self) -> u64 {
        let shared_out = self.process.smaps_rollup().ok().and_then(|rollup| {
            let map = rollup.memory_map_rollup.0.into_iter().next()?;
            map.extension.map.get("Pss").copied()
        });
        shared_out.unwrap_or_else(|| self.stat.rss_bytes().get())
    }

    /// Bytes that it has read from disks and written to them; none where that may not be seen, as of another user's process.
    pub fn block_io(&self) -> Option<(u64, u64)> {
        self.process.io().ok().map(|io| (io.read_bytes, io.write_bytes))
    }
}

/// Bytes of memory that this host has.
pub fn host_memory() -> Option<u64> {
    Some(procfs::Meminfo::current().ok()?.mem_total)
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1000 / procfs::ticks_per_second().max(1))
}

fn terminal((major, minor): (i32, i32)) -> String {
    match major {
        0 => "?".to_owned(),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 => format!("tty{minor}"),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_read_as_in_ps() {
        for (device, expected) in [((0, 0), "?"), ((136, 3), "pts/3"), ((4, 1), "tty1")] {
            assert_eq!(terminal(device), expected);
        }
    }
}
