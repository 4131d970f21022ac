//! Words of the kernel that attributes use: names of signals, capabilities and resource limits.
//!
//! Only which words there are, so that a wrong one is told when files are loaded; the numbers are `world/native`'s.

/// Signals by name, as signal(7) has them, without `SIG`. Those of real time have no names of their own.
pub const SIGNALS: [&str; 34] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR",
    "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH",
    "XCPU", "XFSZ",
];

/// The highest number of a signal.
pub const LAST_SIGNAL: i32 = 64;

/// How many signals lie between the first and the last of real time: two are the C library's.
pub const REAL_TIME_SPAN: i32 = 30;

/// Capabilities, as capabilities(7) has them, without `CAP_`.
pub const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Resource limits by Docker's names (docker/go-units, ulimit.go), and `as`. `rttime` is the supervisor's own.
pub const LIMITS: [&str; 15] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "sigpending",
    "stack",
];

/// Whether a text names a signal: `SIGTERM`, `TERM`, `term`, `15`, `SIGRTMIN+3`.
pub fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=LAST_SIGNAL).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i32>().ok() };
    if let Some(rest) = short.strip_prefix("RTMIN") {
        return offset(rest).is_some_and(|by| (0..=REAL_TIME_SPAN).contains(&by));
    }
    if let Some(rest) = short.strip_prefix("RTMAX") {
        return offset(rest).is_some_and(|by| (-REAL_TIME_SPAN..=0).contains(&by));
    }
    SIGNALS.contains(&short)
}

/// A capability's name as [`CAPABILITIES`] has it, from `SYS_ADMIN`, `cap_sys_admin` and the like.
pub fn capability(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    upper.strip_prefix("CAP_").map_or_else(|| upper.clone(), str::to_owned)
}
