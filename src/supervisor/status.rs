//! How things are, as told to `ps`, `why` and everybody else who asks. The serde shape travels over the control socket.

use serde::{Deserialize, Serialize};

use crate::base::name::{EnvId, ServiceName, UnitId};

/// The whole environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Which.
    pub env: EnvId,
    /// Every wanted unit in any state, and those that are still there though nobody wants them.
    pub units: Vec<UnitStatus>,
    /// The engine does not answer: its last words.
    pub engine_away: Option<String>,
}

/// One unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Which.
    pub unit: UnitId,
    /// Container or process.
    pub kind: UnitKind,
    /// What it does.
    pub state: UnitState,
    /// For how long, in milliseconds; none when unknown.
    pub since_ms: Option<u64>,
    /// Its health.
    pub health: Option<Health>,
    /// The last probe's output, where it failed.
    pub probe_output: Option<String>,
    /// The leader of a process.
    pub pid: Option<i32>,
    /// The engine's id of a container.
    pub container: Option<String>,
    /// Somebody else has removed its container.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// A copy that `run` made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_off: bool,
    /// How often it was started again by us since the last `up` or `start`.
    pub restarts: u32,
    /// How the last life ended: a shell's number.
    pub last_exit: Option<i32>,
    /// Beside the life that this is about a next one gets ready, or the last one that should have did not: one sentence fragment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<String>,
    /// `armed`, or why file changes do nothing.
    pub watch: Option<String>,
    /// Of a task with a schedule: its last run and its next.
    #[serde(default)]
    pub schedule: Option<ScheduleStatus>,
}

/// A schedule's last run and its next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleStatus {
    /// In so many milliseconds; none when it is not armed.
    pub next_ms: Option<u64>,
    /// The last run that came to an end.
    pub last: Option<LastRun>,
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// Whether it succeeded.
    pub success: bool,
    /// How it ended: `done`, `exit code 3`.
    pub result: String,
    /// So many milliseconds ago.
    pub ago_ms: u64,
}

/// The two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// From `services:`.
    Container,
    /// From `processes:`.
    Process,
    /// From `processes:`, and it ends.
    Task,
}

/// Health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No verdict yet.
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// Too many failed in a row.
    Unhealthy,
}

/// What a container waits for that a foreground `up` is to attach to.
pub const AUDIENCE: &str = "the `up` in the foreground to attach to it";

/// What a unit does, with the reason where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum UnitState {
    /// Neither made nor asked for.
    Absent,
    /// It will start when something else has come about: `db healthy`.
    Waiting {
        /// What for.
        on: String,
    },
    /// Its image is pulled or built, its container or files are made.
    Preparing,
    /// What is left of it is being removed.
    Removing,
    /// Made, not started.
    Created,
    /// A task's check is being asked.
    Checking,
    /// Being started.
    Starting,
    /// Running.
    Running,
    /// Running, and standing still by request.
    Paused,
    /// Being stopped.
    Stopping,
    /// It ended by itself.
    Exited {
        /// A shell's number.
        code: i32,
    },
    /// It was stopped by request.
    Stopped {
        /// A shell's number.
        code: i32,
        /// It had to be killed.
        killed: bool,
    },
    /// A task whose time has not come yet.
    Scheduled,
    /// A task that need not run.
    UpToDate,
    /// A task that has run.
    Succeeded,
    /// It will be started again.
    BackingOff {
        /// So many failures in a row.
        failures: u32,
        /// In so many milliseconds.
        next_ms: u64,
        /// What went wrong.
        reason: String,
    },
    /// It will not be started again.
    Failed {
        /// What went wrong.
        reason: String,
    },
    /// It cannot start because of another that failed.
    Blocked {
        /// The root cause.
        by: ServiceName,
        /// What went wrong there.
        reason: String,
    },
    /// Its engine does not answer.
    Unknown,
}

/// Why a service is as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// Its units.
    pub units: Vec<UnitStatus>,
    /// From the service down to the root: what waits for what, one sentence each.
    pub chain: Vec<String>,
    /// How many steps from the service each of them is.
    #[serde(default)]
    pub depths: Vec<usize>,
}
