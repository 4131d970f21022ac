//! What a unit does, in words: for `ps`, `why` and the progress of `up`.

use std::time::Duration;

use super::style::Paint;
use crate::base::duration;
use crate::supervisor::status::{Health, UnitKind, UnitState, UnitStatus};

/// How a state is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Something goes on.
    Busy,
    /// It is as it should be.
    Good,
    /// It is at rest and nobody minds.
    Idle,
    /// It needs a look.
    Warning,
    /// It failed.
    Bad,
}

/// The state with its reason and, where it matters, its time: `backing off, 3 failures, next try in 4 s: exit code 1`.
pub fn state(unit: &UnitStatus) -> (String, Mood) {
    let (mut text, mood) = without_schedule(unit);
    if let Some(reload) = &unit.reload {
        text.push_str(&format!(", {reload}"));
    }
    let Some(schedule) = &unit.schedule else { return (text, mood) };
    if let Some(next) = schedule.next_ms {
        text.push_str(&format!(", next run in {}", rounded(Duration::from_millis(next))));
    }
    // The others say it themselves.
    let is_between = matches!(unit.state, UnitState::Scheduled | UnitState::Running | UnitState::Waiting { .. });
    if let Some(last) = schedule.last.as_ref().filter(|_| is_between) {
        text.push_str(&format!(", last {} ago: {}", rounded(Duration::from_millis(last.ago_ms)), last.result));
    }
    (text, mood)
}

fn without_schedule(unit: &UnitStatus) -> (String, Mood) {
    match &unit.state {
        UnitState::Absent if unit.removed => ("removed by somebody else".to_owned(), Mood::Warning),
        UnitState::Absent => ("absent".to_owned(), Mood::Idle),
        UnitState::Waiting { on } => (format!("waiting for {on}"), Mood::Busy),
        UnitState::Preparing => ("preparing".to_owned(), Mood::Busy),
        UnitState::Removing => ("removing".to_owned(), Mood::Busy),
        UnitState::Created => ("created".to_owned(), Mood::Idle),
        UnitState::Checking => ("checking whether it is due".to_owned(), Mood::Busy),
        UnitState::Starting => ("starting".to_owned(), Mood::Busy),
        UnitState::Running => ("running".to_owned(), if unit.kind == UnitKind::Task { Mood::Busy } else { Mood::Good }),
        UnitState::Paused => ("paused".to_owned(), Mood::Warning),
        UnitState::Stopping => ("stopping".to_owned(), Mood::Busy),
        UnitState::Exited { code: 0 } => ("exited with 0".to_owned(), Mood::Idle),
        UnitState::Exited { code } => (format!("exited with {code}"), Mood::Bad),
        UnitState::Stopped { killed: true, .. } => ("stopped (had to be killed)".to_owned(), Mood::Idle),
        UnitState::Stopped { killed: false, .. } => ("stopped".to_owned(), Mood::Idle),
        UnitState::Scheduled => ("scheduled".to_owned(), Mood::Idle),
        UnitState::UpToDate => ("up to date".to_owned(), Mood::Good),
        UnitState::Succeeded => ("done".to_owned(), Mood::Good),
        UnitState::BackingOff { failures, next_ms, reason } => {
            let times = if *failures == 1 { "1 failure".to_owned() } else { format!("{failures} failures") };
            let next = rounded(Duration::from_millis(*next_ms));
            (format!("backing off, {times}, next try in {next}: {reason}"), Mood::Warning)
        }
        UnitState::Failed { reason } => (format!("failed: {}", first_line(reason)), Mood::Bad),
        UnitState::Blocked { by, reason } => (format!("not started, because `{by}` failed: {}", first_line(reason)), Mood::Bad),
        UnitState::Unknown => ("unknown: the engine does not answer".to_owned(), Mood::Warning),
    }
}

/// What a build wrote last stands below what went wrong, and is told once: with the image, and in the end.
fn first_line(reason: &str) -> &str {
    reason.lines().next().unwrap_or_default()
}

/// The word of `docker ps` for a state, as in Compose's column `State`; `ps --status` takes the same words.
pub fn docker_word(unit: &UnitStatus) -> &'static str {
    match &unit.state {
        UnitState::Absent if unit.removed => "dead",
        UnitState::Running | UnitState::Stopping => "running",
        UnitState::Paused => "paused",
        UnitState::BackingOff { .. } => "restarting",
        UnitState::Exited { .. }
        | UnitState::Stopped { .. }
        | UnitState::UpToDate
        | UnitState::Succeeded
        | UnitState::Failed { .. } => "exited",
        UnitState::Created
        | UnitState::Absent
        | UnitState::Scheduled
        | UnitState::Waiting { .. }
        | UnitState::Preparing
        | UnitState::Removing
        | UnitState::Checking
        | UnitState::Starting
        | UnitState::Blocked { .. } => "created",
        UnitState::Unknown => "unknown",
    }
}

/// The line of `docker ps` for a state: `Up 5 minutes (healthy)`, `Exited (0) 2 hours ago`.
pub fn docker_status(unit: &UnitStatus) -> String {
    let age = unit.since_ms.map(|ms| duration::human(Duration::from_millis(ms)));
    let up = |health: Option<Health>| {
        let age = age.as_ref().map(|age| format!(" {age}")).unwrap_or_default();
        match health {
            Some(Health::Starting) => format!("Up{age} (health: starting)"),
            Some(health) => format!("Up{age} ({})", health_word(health)),
            None => format!("Up{age}"),
        }
    };
    let ago = age.as_ref().map(|age| format!(" {age} ago")).unwrap_or_default();
    match &unit.state {
        UnitState::Absent if unit.removed => "Dead".to_owned(),
        UnitState::Running | UnitState::Stopping => up(unit.health),
        UnitState::Paused => format!("{} (Paused)", up(None)),
        UnitState::Exited { code } | UnitState::Stopped { code, .. } => format!("Exited ({code}){ago}"),
        UnitState::Succeeded | UnitState::UpToDate => format!("Exited (0){ago}"),
        UnitState::Failed { .. } => format!("Exited ({}){ago}", unit.last_exit.unwrap_or(1)),
        UnitState::BackingOff { .. } => format!("Restarting ({}){ago}", unit.last_exit.unwrap_or(1)),
        UnitState::Absent
        | UnitState::Scheduled
        | UnitState::Waiting { .. }
        | UnitState::Preparing
        | UnitState::Removing
        | UnitState::Created
        | UnitState::Checking
        | UnitState::Starting
        | UnitState::Blocked { .. } => "Created".to_owned(),
        UnitState::Unknown => "Unknown".to_owned(),
    }
}

/// `healthy` and its like.
pub fn health_word(health: Health) -> &'static str {
    match health {
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

/// `container`, `process` or `task`.
pub fn kind_word(kind: UnitKind) -> &'static str {
    match kind {
        UnitKind::Container => "container",
        UnitKind::Process => "process",
        UnitKind::Task => "task",
    }
}

/// A text in the colour of a mood.
pub fn in_mood(text: &str, mood: Mood, paint: Paint) -> String {
    match mood {
        Mood::Busy => text.to_owned(),
        Mood::Good => paint.good(text),
        Mood::Idle => paint.dim(text),
        Mood::Warning => paint.warn(text),
        Mood::Bad => paint.bad(text),
    }
}

/// A short duration: `0.4 s`, `4 s`, `3 min`.
pub fn rounded(time: Duration) -> String {
    match time.as_millis() {
        0..950 => format!("{:.1} s", time.as_secs_f64()),
        950..99_500 => format!("{:.0} s", time.as_secs_f64()),
        _ => format!("{:.0} min", time.as_secs_f64() / 60.0),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A running container, for tests to change.
    pub(crate) fn unit(name: &str, state: UnitState) -> UnitStatus {
        UnitStatus {
            reload: None,
            unit: name.parse().unwrap(),
            kind: UnitKind::Container,
            state,
            since_ms: Some(300_000),
            health: None,
            probe_output: None,
            pid: None,
            container: None,
            removed: false,
            one_off: false,
            restarts: 0,
            last_exit: None,
            watch: None,
            schedule: None,
        }
    }

    #[test]
    fn a_state_says_why_and_when() {
        let backing_off = UnitState::BackingOff { failures: 3, next_ms: 4000, reason: "exit code 1".to_owned() };
        assert_eq!(state(&unit("a", backing_off)).0, "backing off, 3 failures, next try in 4 s: exit code 1");
        let blocked = UnitState::Blocked { by: "db".parse().unwrap(), reason: "exit code 3".to_owned() };
        assert_eq!(state(&unit("a", blocked)), ("not started, because `db` failed: exit code 3".to_owned(), Mood::Bad));
        let failed = UnitState::Failed { reason: "build of web: exit code 1\n  what it wrote".to_owned() };
        assert_eq!(state(&unit("a", failed)), ("failed: build of web: exit code 1".to_owned(), Mood::Bad));
    }

    #[test]
    fn the_status_column_is_that_of_docker() {
        let mut running = unit("a", UnitState::Running);
        assert_eq!(docker_status(&running), "Up 5 minutes");
        running.health = Some(Health::Starting);
        assert_eq!(docker_status(&running), "Up 5 minutes (health: starting)");
        running.health = Some(Health::Healthy);
        assert_eq!(docker_status(&running), "Up 5 minutes (healthy)");
        assert_eq!(docker_status(&unit("a", UnitState::Exited { code: 2 })), "Exited (2) 5 minutes ago");
    }
}
