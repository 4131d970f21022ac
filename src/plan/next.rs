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

/// What stands beside a unit to take its place.
///
/// A container that has to be made anew runs on until its successor is made: if that cannot be, nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Successor {
    /// Nothing ever does: it is made anew in its own place, as a process is.
    Never,
    /// Nothing yet.
    Missing,
    /// One of the definition that is wanted.
    Fit,
    /// One of another definition, or of another predecessor: left over.
    Unfit,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make it.
    Create,
    /// Make what is to take its place, beside it.
    Succeed,
    /// Let the one beside it take its place, which is free.
    TakeOver,
    /// Take away the one beside it.
    Discard,
    /// Start it.
    Start,
    /// Ask it to end.
    Stop,
    /// Take away what is there.
    Remove,
}

/// One row and column of the table. `again` says that one which has ended is to be started again: its restart policy says so,
/// or we ended it only to start it anew.
pub fn next(goal: Goal, shape: Shape, definition: Definition, again: bool, successor: Successor) -> Option<Step> {
    match (goal, shape, successor) {
        (Goal::Up | Goal::Created | Goal::Stopped, Shape::Absent, Successor::Fit | Successor::Unfit) => Some(Step::TakeOver),
        (Goal::Up | Goal::Created, Shape::Created | Shape::Running | Shape::Exited, _) if definition == Definition::Different => {
            match (successor, shape) {
                (Successor::Missing, _) => Some(Step::Succeed),
                (Successor::Unfit, _) => Some(Step::Discard),
                (Successor::Fit | Successor::Never, Shape::Running) => Some(Step::Stop),
                (Successor::Fit | Successor::Never, Shape::Created | Shape::Exited | Shape::Absent) => Some(Step::Remove),
            }
        }
        (Goal::Up | Goal::Created, _, Successor::Fit | Successor::Unfit)
        | (Goal::Stopped, Shape::Created | Shape::Exited, Successor::Fit | Successor::Unfit)
        | (Goal::Gone, Shape::Absent | Shape::Created | Shape::Exited, Successor::Fit | Successor::Unfit) => Some(Step::Discard),
        (Goal::Up | Goal::Created | Goal::Stopped | Goal::Gone | Goal::Left, _, _) => alone(goal, shape, definition, again),
    }
}

/// The rows of a unit that is as it should be, or is to go, with nothing beside it.
fn alone(goal: Goal, shape: Shape, definition: Definition, again: bool) -> Option<Step> {
    match (goal, shape) {
        (Goal::Up | Goal::Created, Shape::Absent) => Some(Step::Create),
        (Goal::Up, Shape::Created) => Some(Step::Start),
        (Goal::Up, Shape::Running) if definition != Definition::Same => Some(Step::Stop),
        (Goal::Up, Shape::Exited) if again || definition == Definition::Outdated => Some(Step::Start),
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

    const SHAPES: [Shape; 4] = [Shape::Absent, Shape::Created, Shape::Running, Shape::Exited];

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
            for (shape, step) in SHAPES.into_iter().zip(expected) {
                let found = next(goal, shape, definition, false, Successor::Never);
                assert_eq!(found, step, "{goal:?} {definition:?} {shape:?}");
            }
        }
        assert_eq!(next(Goal::Up, Shape::Exited, Same, true, Successor::Never), Some(Step::Start));
        assert_eq!(next(Goal::Stopped, Shape::Exited, Same, true, Successor::Never), None);
    }

    #[test]
    fn what_takes_the_place_of_another_is_there_before_that_one_goes() {
        use Definition::{Different, Same};
        use Step::{Create, Discard, Remove, Start, Stop, Succeed, TakeOver};
        use Successor::{Fit, Missing, Unfit};
        let rows = [
            (Goal::Up, Different, Missing, [Some(Create), Some(Succeed), Some(Succeed), Some(Succeed)]),
            (Goal::Up, Different, Fit, [Some(TakeOver), Some(Remove), Some(Stop), Some(Remove)]),
            (Goal::Up, Different, Unfit, [Some(TakeOver), Some(Discard), Some(Discard), Some(Discard)]),
            // The file says again what it said before.
            (Goal::Up, Same, Unfit, [Some(TakeOver), Some(Discard), Some(Discard), Some(Discard)]),
            (Goal::Up, Same, Missing, [Some(Create), Some(Start), None, None]),
            (Goal::Created, Different, Missing, [Some(Create), Some(Succeed), Some(Succeed), Some(Succeed)]),
            // What somebody stops is stopped first; a service without a container is not what is meant by it.
            (Goal::Stopped, Different, Fit, [Some(TakeOver), Some(Discard), Some(Stop), Some(Discard)]),
            (Goal::Gone, Different, Fit, [Some(Discard), Some(Discard), Some(Stop), Some(Discard)]),
            (Goal::Gone, Different, Missing, [None, Some(Remove), Some(Stop), Some(Remove)]),
            (Goal::Left, Different, Fit, [None, None, None, None]),
        ];
        for (goal, definition, successor, expected) in rows {
            for (shape, step) in SHAPES.into_iter().zip(expected) {
                let found = next(goal, shape, definition, false, successor);
                assert_eq!(found, step, "{goal:?} {definition:?} {shape:?} {successor:?}");
            }
        }
    }
}
