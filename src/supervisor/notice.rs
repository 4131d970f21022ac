//! What those who follow are told: state changes, progress, warnings. The serde shape travels over the control socket.

use serde::{Deserialize, Serialize};

use super::status::UnitStatus;
use crate::plan::action::ResourceId;

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// A unit's state or health changed.
    Unit(Box<UnitStatus>),
    /// How a unit was found by a supervisor that has only begun: nothing has changed.
    Found(Box<UnitStatus>),
    /// A network, volume or image: what is being done to it or was done.
    Resource {
        /// Which.
        resource: ResourceId,
        /// What.
        state: ResourceState,
        /// Its name in the engine.
        name: String,
    },
    /// A build in flight has written a line.
    Wrote {
        /// Of what.
        resource: ResourceId,
        /// The line.
        line: String,
    },
    /// An action in flight goes on.
    Progress {
        /// Of what.
        resource: ResourceId,
        /// `12.3 MB of 40 MB`.
        text: String,
    },
    /// A unit is restarted, recreated, … and this is why: `common/src/x.py changed`, `environment.DEBUG: "0" → "1"`.
    Because {
        /// Which.
        resource: ResourceId,
        /// What will happen to it: `restart`, `recreate`.
        what: String,
        /// Why.
        reason: String,
    },
    /// To be read by a person.
    Message {
        /// How important.
        level: Level,
        /// One sentence.
        text: String,
    },
    /// The environment has come to rest: nothing is in flight, nothing waits.
    Settled,
    /// The supervisor ends.
    Ending,
}

/// What is said when the engine does not answer, to those who follow and to those who asked for something.
pub fn does_not_answer(message: &str) -> String {
    format!("the container engine does not answer: {message}")
}

impl Notice {
    /// How a unit is, if it is about one.
    pub fn unit(&self) -> Option<&UnitStatus> {
        match self {
            Notice::Unit(unit) | Notice::Found(unit) => Some(unit),
            Notice::Resource { .. }
            | Notice::Wrote { .. }
            | Notice::Progress { .. }
            | Notice::Because { .. }
            | Notice::Message { .. }
            | Notice::Settled
            | Notice::Ending => None,
        }
    }
}

/// How important.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
}

/// What is done to a resource that is no unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceState {
    /// Being made.
    Creating,
    /// Made.
    Created,
    /// Being pulled.
    Pulling,
    /// Pulled.
    Pulled,
    /// Being built.
    Building,
    /// Built.
    Built,
    /// Being sent to its registry.
    Pushing,
    /// There.
    Pushed,
    /// Being removed.
    Removing,
    /// Removed.
    Removed,
    /// Left alone, for this reason.
    Kept(String),
    /// It did not work and is tried again: `next try in 2 s: connection refused`.
    Retrying(String),
    /// Failed, for this reason.
    Failed(String),
}
