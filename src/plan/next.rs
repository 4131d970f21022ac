//! The table: what a unit needs next. All the policy there is; order and gates come after.
//!
//! Restart on a file change, recreate on a changed definition, scale, stop, down and recovery are the same rows.

use serde::{Deserialize, Serialize};

/// What is wanted of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// It runs (a task: it has succeeded).
    Up,
    /// It exists and does not run.
    Created,
    /// It does not run.
    Stopped,
    /// Nothing is left of it.
    Gone,
    /// It was found, nobody asked for it, it is left alone.
    Left,
}

/// What is there of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing.
    Absent,
    /// Made, not running, never started since.
    Created,
    /// A life.
    Running,
    /// The remains of one.
    Exited,
}

/// How what is there compares with what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definition {
    /// The same.
    Same,
    /// The same, but a restart was asked for since it was started.
    Outdated,
    /// Another one: it has to be made anew.
    Different,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make it.
    Create,
    /// Start it.
    Start,
    /// Ask it to end.
    Stop,
    /// Take away what is there.
    Remove,
}

/// One row and column of the table. `again` says that one which has ended is to be started again: its restart policy says so,
/// or we ended it only to start it anew.
pub fn next(goal: Goal, shape: Shape, definition: Definition, again: bool) -> Option<Step> {
    match (goal, shape) {
        (Goal::Up | Goal::Created, Shape::Absent) => Some(Step::Create),
        (Goal::Up | Goal::Created, Shape::Created | Shape::Exited) if definition == Definition::Different => Some(Step::Remove),
        (Goal::Up, Shape::Created) => Some(Step::Start),
        (Goal::Up, Shape::Running) if definition != Definition::Same => Some(Step::Stop),
        (Goal::Up, Shape::Exited) if again || definition == Definition::Outdated => Some(Step::Start),
        (Goal::Created, Shape::Running) if definition == Definition::Different => Some(Step::Stop),
        (Goal::Up, Shape::Running | Shape::Exited) | (Goal::Created, Shape::Created | Shape::Running | Shape::Exited) => None,
        (Goal::Stopped | Goal::Gone, Shape::Running) => Some(Step::Stop),
        (Goal::Gone, Shape::Created | Shape::Exited) => Some(Step::Remove),
        (Goal::Stopped, Shape::Absent | Shape::Created | Shape::Exited) | (Goal::Gone, Shape::Absent) => None,
        (Goal::Left, Shape::Absent | Shape::Created | Shape::Running | Shape::Exited) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_as_in_the_architecture_page() {
        use Definition::{Different, Outdated, Same};
        let rows = [
            (Goal::Up, Different, [Some(Step::Create), Some(Step::Remove), Some(Step::Stop), Some(Step::Remove)]),
            (Goal::Up, Outdated, [Some(Step::Create), Some(Step::Start), Some(Step::Stop), Some(Step::Start)]),
            (Goal::Up, Same, [Some(Step::Create), Some(Step::Start), None, None]),
            (Goal::Stopped, Same, [None, None, Some(Step::Stop), None]),
            (Goal::Gone, Same, [None, Some(Step::Remove), Some(Step::Stop), Some(Step::Remove)]),
            (Goal::Left, Different, [None, None, None, None]),
        ];
        for (goal, definition, expected) in rows {
            for (shape, step) in [Shape::Absent, Shape::Created, Shape::Running, Shape::Exited].into_iter().zip(expected) {
                assert_eq!(next(goal, shape, definition, false), step, "{goal:?} {definition:?} {shape:?}");
            }
        }
        assert_eq!(next(Goal::Up, Shape::Exited, Same, true), Some(Step::Start));
        assert_eq!(next(Goal::Stopped, Shape::Exited, Same, true), None);
    }
}
