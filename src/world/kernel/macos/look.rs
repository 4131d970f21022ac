//! What a process does and uses, for `top` and `stats`, by `proc_pidinfo` and `proc_pid_rusage`.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use super::info;
use super::processes::{self, text};
use crate::world::clock;

/// `RUSAGE_INFO_V2` (sys/resource.h): the first with what goes to and from disks.
const USAGE: c_int = 2;
/// `NODEV` (sys/param.h).
const NO_TERMINAL: u32 = u32::MAX;
/// The major number of pseudo terminals.
const PSEUDO: u32 = 16;

/// A process at one moment.
#[derive(Debug)]
pub struct Look {
    pid: i32,
    about: libc::proc_taskallinfo,
    usage: Option<libc::rusage_info_v2>,
}

impl Look {
    /// Looks at a process; none if there is none of this id, or it is another user's.
    pub fn at(pid: i32) -> Option<Self> {
        let about = info::of_process::<libc::proc_taskallinfo>(pid)?;
        Some(Self { pid, about, usage: usage(pid) })
    }

    /// Its user.
    pub fn uid(&self) -> Option<u32> {
        Some(self.about.pbsd.pbi_uid)
    }

    /// Its parent.
    pub fn parent(&self) -> i32 {
        i32::try_from(self.about.pbsd.pbi_ppid).unwrap_or(0)
    }

    /// The name of its program.
    pub fn name(&self) -> String {
        text(&self.about.pbsd.pbi_name)
    }

    /// The words of its command line.
    pub fn arguments(&self) -> Vec<String> {
        processes::arguments(self.pid)
    }

    /// Its terminal, as `ps` writes it.
    pub fn terminal(&self) -> String {
        let device = self.about.pbsd.e_tdev;
        match (device >> 24, device & 0x00ff_ffff) {
            _ if device == NO_TERMINAL => "?".to_owned(),
            (PSEUDO, minor) => format!("ttys{minor:03}"),
            (major, minor) => format!("{major}:{minor}"),
        }
    }

    /// How long ago it was started.
    pub fn age(&self) -> Option<Duration> {
        let began =
            Duration::from_secs(self.about.pbsd.pbi_start_tvsec) + Duration::from_micros(self.about.pbsd.pbi_start_tvusec);
        Some(clock::wall().duration_since(UNIX_EPOCH).ok()?.saturating_sub(began))
    }

    /// Processor time that it has used.
    pub fn cpu(&self) -> Duration {
        ticks(self.about.ptinfo.pti_total_user + self.about.ptinfo.pti_total_system)
    }

    /// Processor time of its children that have ended.
    pub fn cpu_of_ended(&self) -> Duration {
        self.usage.map_or(Duration::ZERO, |usage| ticks(usage.ri_child_user_time + usage.ri_child_system_time))
    }

    /// How many threads it has.
    pub fn threads(&self) -> u64 {
        u64::try_from(self.about.ptinfo.pti_threadnum).unwrap_or(1)
    }

    /// Bytes of memory: what the Activity Monitor shows, else all that is resident.
    pub fn memory(&self) -> u64 {
        self.usage.map_or(self.about.ptinfo.pti_resident_size, |usage| usage.ri_phys_footprint)
    }

    /// Bytes that it has read from disks and written to them; none where that may not be seen, as of another user's process.
    pub fn block_io(&self) -> Option<(u64, u64)> {
        self.usage.map(|usage| (usage.ri_diskio_bytesread, usage.ri_diskio_byteswritten))
    }
}

fn usage(pid: i32) -> Option<libc::rusage_info_v2> {
    let mut usage = MaybeUninit::<libc::rusage_info_v2>::zeroed();
    // SAFETY: this flavor fills in this structure.
    let filled = unsafe { libc::proc_pid_rusage(pid, USAGE, usage.as_mut_ptr().cast()) };
    // SAFETY: numbers, of which any bytes are some.
    (filled == 0).then(|| unsafe { usage.assume_init() })
}

/// Bytes of memory that this host has.
pub fn host_memory() -> Option<u64> {
    let mut bytes = [0; 8];
    let size = info::sysctl(&mut [libc::CTL_HW, libc::HW_MEMSIZE], &mut bytes).ok()?;
    (size == bytes.len()).then(|| u64::from_ne_bytes(bytes))
}

/// Processor time is told in ticks of the machine, which are not nanoseconds on every one.
#[expect(deprecated, reason = "the crate that libc points to would be one more for two numbers")]
fn ticks(count: u64) -> Duration {
    static TIMEBASE: OnceLock<(u64, u64)> = OnceLock::new();
    let (numerator, denominator) = *TIMEBASE.get_or_init(|| {
        let mut timebase = libc::mach_timebase_info { numer: 0, denom: 0 };
        // SAFETY: fills in a structure of ours.
        unsafe { libc::mach_timebase_info(&raw mut timebase) };
        (u64::from(timebase.numer.max(1)), u64::from(timebase.denom.max(1)))
    });
    let nanoseconds = u128::from(count) * u128::from(numerator) / u128::from(denominator);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}
