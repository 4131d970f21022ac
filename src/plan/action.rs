//! Everything that we can ever do to the world.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::desired::{Deployment, UnitSpec};
use super::hash::ConfigHash;
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::model::owned::Owned;
use crate::model::watch::WatchRule;

/// Counts a unit's starts. Late news of an older life is known by it and dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u32);

/// Counts the restarts that were asked for. Running with an older one than wanted means "stop, then start".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u32);

/// What an action is done to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResourceId {
    /// A network, by its key in the files.
    Network(String),
    /// A volume, by its key in the files.
    Volume(String),
    /// The image of a service.
    Image(ServiceName),
    /// An image that is no service's, by reference: one of the top-level `images:`, or one that is mounted.
    #[serde(rename = "Prefetch")]
    NamedImage(String),
    /// A replica of a service.
    Unit(UnitId),
    /// What services made outside of our sight (`owns:`).
    Owned,
    /// The images of a whole environment, as `down --rmi` means them.
    Images,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourceId::Network(key) => write!(f, "network {key}"),
            ResourceId::Volume(key) => write!(f, "volume {key}"),
            ResourceId::Image(service) => write!(f, "image of {service}"),
            ResourceId::NamedImage(reference) => write!(f, "image {reference}"),
            ResourceId::Unit(unit) => write!(f, "{unit}"),
            ResourceId::Owned => f.write_str("owned things"),
            ResourceId::Images => f.write_str("images"),
        }
    }
}

/// Echoed back by the edge, so that an answer can be matched to the life and the definition that it was meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Unlike every other one of this supervisor's life.
    pub serial: u64,
    /// What is acted upon.
    pub resource: ResourceId,
    /// The life it is meant for (of a start: the one that begins).
    pub incarnation: Incarnation,
    /// The definition it acts for.
    pub hash: ConfigHash,
    /// The generation it acts for.
    pub generation: Generation,
}

/// One thing to do. Each is answered exactly once, by `Event::Acted`.
#[derive(Debug, Clone)]
pub enum Action {
    /// Makes a network of the engine. Answer: `Done`.
    CreateNetwork {
        /// Its key.
        key: String,
        /// The whole.
        deployment: Arc<Deployment>,
    },
    /// Removes a network; one that others still use is kept, with a warning. Answer: `Done` or `Kept`.
    RemoveNetwork {
        /// The engine's name.
        name: String,
    },
    /// Makes a volume of the engine. Answer: `Done`.
    CreateVolume {
        /// Its key.
        key: String,
        /// The whole.
        deployment: Arc<Deployment>,
    },
    /// Removes a volume. Answer: `Done` or `Kept`.
    RemoveVolume {
        /// The engine's name.
        name: String,
    },
    /// Pulls an image. Answer: `Image`.
    Pull {
        /// Its reference.
        reference: String,
        /// `os/arch`, else the engine's.
        platform: Option<String>,
        /// It can be built if it cannot be pulled: a registry that does not answer is not waited for.
        once: bool,
    },
    /// Builds a service's image. Answer: `Image`.
    Build {
        /// Whose.
        service: ServiceName,
        /// The whole.
        deployment: Arc<Deployment>,
    },
    /// Makes a container (answer: `Created`); for a process: directories and files (answer: `Done`).
    Create {
        /// What.
        spec: UnitSpec,
        /// Anonymous volumes of the container that this one replaces: path inside → volume.
        inherited: IndexMap<String, String>,
    },
    /// Makes the container that is to take the place of another beside that one, with its anonymous volumes. Answer: `Created`;
    /// `Done` where the one that is there is adopted, and nothing was left beside it.
    Succeed {
        /// What.
        spec: UnitSpec,
        /// The container whose place it is to take.
        predecessor: Option<String>,
        /// With new anonymous volumes instead.
        renew_volumes: bool,
        /// The one that is there was made by somebody else, and stays if it is just as this one would be.
        adopts: bool,
    },
    /// Gives a container its proper name, once the one that had it is gone. Answer: `Done`.
    TakeOver {
        /// What.
        spec: UnitSpec,
        /// The container.
        container: String,
        /// The name.
        name: String,
    },
    /// Removes a container that has never been started, and the volumes that were made for it. Answer: `Removed`.
    Discard {
        /// Of which unit.
        spec: UnitSpec,
        /// The container.
        container: String,
        /// The volumes that it shares with its predecessor too.
        volumes: bool,
    },
    /// Starts a unit, and runs its `post_start` hooks. Answer: `Started`. A process's `Exited` may overtake it.
    Start {
        /// What.
        spec: UnitSpec,
        /// Which life begins.
        incarnation: Incarnation,
        /// A regular expression that is looked for in the log of this life; a match is told once by `LineMatched`.
        line: Option<String>,
        /// For a container: its id, if known.
        container: Option<String>,
        /// Beside another life of the unit, which goes on. Nothing that comes for the unit goes to it before `Effect::Lead`.
        beside: bool,
    },
    /// Runs the `pre_stop` hooks and asks a unit to end. Answer: `Signalled` for a process (its end is told by `Exited`);
    /// for a container `Done` once it has ended (the engine knows `grace` and kills after it).
    Stop {
        /// What.
        spec: UnitSpec,
        /// Which life.
        incarnation: Incarnation,
        /// The engine's id of a container; what has no labels of a unit is found by it alone.
        container: Option<String>,
        /// How long it may take.
        grace: Duration,
    },
    /// Sends a signal to the whole of a unit. Answer: `Signalled`.
    Kill {
        /// What.
        spec: UnitSpec,
        /// Which life.
        incarnation: Incarnation,
        /// The engine's id of a container.
        container: Option<String>,
        /// `SIGKILL`, or what a `kill -s` asked for.
        signal: String,
    },
    /// Lets a unit that runs stand still, or go on. Answer: `Signalled`.
    Freeze {
        /// What.
        spec: UnitSpec,
        /// Which life.
        incarnation: Incarnation,
        /// The engine's id of a container.
        container: Option<String>,
        /// Stand still; else go on.
        frozen: bool,
    },
    /// Removes a container (answer: `Removed`); for a process: its placed configs, and its scratch directories with `volumes`.
    Remove {
        /// What.
        unit: UnitId,
        /// The container, by id, where there is one.
        container: Option<String>,
        /// The definition that it was made of, if known.
        spec: Option<UnitSpec>,
        /// What becomes of its anonymous volumes.
        volumes: AnonymousVolumes,
    },
    /// Asks whether a task is due. Answer: `Assessed`.
    Assess {
        /// What.
        spec: UnitSpec,
        /// The task has succeeded in this environment's life with this definition, and what it depends on is still in the
        /// life it had then: `check` need not be asked, only inputs and outputs are looked at.
        trusted: bool,
        /// A task that it depends on has run since its last success.
        dependency_ran: bool,
    },
    /// Judges a task that has ended: `check`, `outputs`; records a success. Answer: `Concluded`.
    Conclude {
        /// What.
        spec: UnitSpec,
        /// How its command ended.
        exit: Exit,
    },
    /// Copies files into a container, removes there what is gone here, and runs the command of `sync+exec`. Answer: `Done`.
    Sync {
        /// Whose.
        spec: UnitSpec,
        /// The container.
        container: String,
        /// Where from and where to.
        rule: Box<WatchRule>,
        /// Which files; none is all of them, without the command.
        paths: Option<Vec<PathBuf>>,
    },
    /// Removes the images of an environment, as far as its labels and its services tell. Answer: `Done` or `Kept`.
    RemoveImages {
        /// Whose.
        env: EnvId,
        /// What its files say, if that is known.
        deployment: Option<Arc<Deployment>>,
        /// Which.
        which: Prune,
    },
    /// Removes what services made (`owns:`). Answer: `Done`.
    RemoveOwned {
        /// Whose: what another environment has made is not among it.
        env: EnvId,
        /// What.
        owned: Vec<Owned>,
        /// Volumes, images and paths too.
        volumes: bool,
    },
}

/// What becomes of the anonymous volumes of a container that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnonymousVolumes {
    /// They stay, and nobody asks what they are: there are none, or it is known already.
    Left,
    /// They stay, and are told: the container that takes its place is to have them, or they are put on record.
    Told,
    /// They go with it; the scratch directories of a process, too.
    Removed,
}

/// Whether a volume has no name of its own: the engine names such a one with 64 hexadecimal digits.
pub fn is_anonymous_volume(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Which images go with an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prune {
    /// Those that were built here and have no name of their own.
    Local,
    /// All that its services use.
    All,
}

impl Action {
    /// The unit that it is done to; none for what is done to a resource, or to a unit that no file describes.
    pub fn spec(&self) -> Option<&UnitSpec> {
        match self {
            Action::Create { spec, .. }
            | Action::Succeed { spec, .. }
            | Action::TakeOver { spec, .. }
            | Action::Discard { spec, .. }
            | Action::Sync { spec, .. }
            | Action::Start { spec, .. }
            | Action::Stop { spec, .. }
            | Action::Kill { spec, .. }
            | Action::Freeze { spec, .. }
            | Action::Assess { spec, .. }
            | Action::Conclude { spec, .. } => Some(spec),
            Action::Remove { spec, .. } => spec.as_ref(),
            Action::CreateNetwork { .. }
            | Action::RemoveNetwork { .. }
            | Action::CreateVolume { .. }
            | Action::RemoveVolume { .. }
            | Action::Pull { .. }
            | Action::Build { .. }
            | Action::RemoveImages { .. }
            | Action::RemoveOwned { .. } => None,
        }
    }

    /// The word for it in plans and messages.
    pub fn verb(&self) -> &'static str {
        match self {
            Action::CreateNetwork { .. } | Action::CreateVolume { .. } | Action::Create { .. } | Action::Succeed { .. } => {
                "create"
            }
            Action::RemoveNetwork { .. }
            | Action::RemoveVolume { .. }
            | Action::Remove { .. }
            | Action::Discard { .. }
            | Action::RemoveImages { .. }
            | Action::RemoveOwned { .. } => "remove",
            Action::TakeOver { .. } => "rename",
            Action::Sync { .. } => "sync",
            Action::Pull { .. } => "pull",
            Action::Build { .. } => "build",
            Action::Start { .. } => "start",
            Action::Stop { .. } => "stop",
            Action::Kill { .. } => "kill",
            Action::Freeze { frozen: true, .. } => "pause",
            Action::Freeze { frozen: false, .. } => "unpause",
            Action::Assess { .. } => "check",
            Action::Conclude { .. } => "conclude",
        }
    }
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// While nobody was looking: a supervisor's death, a host's restart.
    Unknown,
}

impl Exit {
    /// Whether it ended with 0.
    pub fn is_success(self) -> bool {
        self == Exit::Code(0)
    }

    /// The number a shell would show: the code, 128 + signal, or 255.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
            Exit::Unknown => 255,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
            Exit::Unknown => f.write_str("an end that nobody saw"),
        }
    }
}

/// What an action has yielded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was left alone, for this reason.
    Kept(String),
    /// A container was made.
    Created {
        /// Its id.
        container: String,
    },
    /// A unit runs.
    Started {
        /// The process id of a process's leader; for a container none.
        pid: Option<i32>,
        /// What tells this life from every other: for a container the engine's `StartedAt`, for a process its start time in
        /// the kernel's ticks since boot.
        birth: String,
    },
    /// The signal is sent; the end will be told.
    Signalled,
    /// A container was removed.
    Removed {
        /// Its anonymous volumes, if they were kept: path inside → volume.
        anonymous: IndexMap<String, String>,
    },
    /// An image is there.
    Image {
        /// Its id, `sha256:…`.
        id: String,
    },
    /// Whether a task is due.
    Assessed(Assessment),
    /// Whether a task succeeded.
    Concluded(Conclusion),
}

/// A volume that nobody has named, and what it belongs to: its own name tells nobody what it holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AnonymousVolume {
    /// The engine's name for it, 64 hexadecimal digits.
    pub name: String,
    /// The container that it was made for, by name.
    pub container: String,
    /// Where that mounts it.
    pub path: String,
}

/// Whether a task is due, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assessment {
    /// Nothing to do.
    UpToDate,
    /// To be run, for this reason: `never run here`, `constraints.txt changed`, `its check fails`.
    Due(String),
}

/// Whether a task succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conclusion {
    /// All that it gives agree.
    Succeeded,
    /// Not, for this reason: `exit code 3`, `output .venv/bin/python is missing`, `its check fails: …`.
    Failed(String),
}

/// Why an action failed, in the engine's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What sort.
    pub kind: FaultKind,
    /// One sentence fragment, as it would follow "failed to …:".
    pub message: String,
}

/// What sort of fault: what may be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The engine did not answer. Tried again when it is back.
    EngineAway,
    /// Trying again may help.
    Temporary,
    /// Trying again will not help: what was asked for cannot be.
    Permanent,
    /// The same, since the program that was to be run is not there.
    NoProgram,
    /// The same, since the program that was to be run is none, or may not be run.
    NotExecutable,
}

impl Fault {
    /// A fault that trying again will not cure.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Permanent, message: message.into() }
    }

    /// A program that is not there.
    pub fn no_program(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::NoProgram, message: message.into() }
    }

    /// What cannot be executed, or not by whom it should be.
    pub fn not_executable(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::NotExecutable, message: message.into() }
    }

    /// A fault that may go away.
    pub fn temporary(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Temporary, message: message.into() }
    }
}
