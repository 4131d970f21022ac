//! What clients ask for and what they are answered. The serde shape travels over the control socket.

use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::base::name::{ServiceName, UnitId};
use crate::plan::desired::Deployment;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Bring services up. Answered by `Done`, `Failed` or `Overruled`; with `attached` later by `Ended`.
    Up(Box<Up>),
    /// Stop services, dependents first, and wait for their end.
    Stop(Stop),
    /// Start services that are stopped; the same definition.
    Start(Select),
    /// Stop and start again, the same definition; dependents with `restart: true` follow.
    Restart(Restart),
    /// Send a signal.
    Kill(Kill),
    /// Let what runs stand still, or go on.
    Pause(Pause),
    /// Stop and remove everything.
    Down(Down),
    /// Stop (if asked) and remove what is stopped.
    Remove(Remove),
    /// How things are.
    Status,
    /// Why a service is not running or not ready.
    Why {
        /// Which.
        service: ServiceName,
    },
    /// The deployment in force.
    Deployment,
    /// File changes act on these services, containers too, until the connection ends. Answered at once.
    Watch(Select),
    /// Nothing but the notices, until the connection ends.
    Follow,
    /// The `up` of this connection no longer owns what it started.
    Detach,
    /// The last request of this connection that asked for anything to be done is not wanted any more. That one is answered, by
    /// `CalledOff` or `GoesOn`, unless it has been already.
    CallOff,
    /// The `up` of this connection has done what [`Reply::Attach`] asks for, or cannot: the start need not wait for it any longer. Not
    /// answered.
    Attached {
        /// To whose container.
        unit: UnitId,
        /// The engine's id of that.
        container: String,
    },
}

/// `up`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Up {
    /// The stack.
    pub deployment: Deployment,
    /// Services named on the command line; empty is all.
    pub services: Vec<ServiceName>,
    /// Only what was named, not what it depends on.
    pub no_deps: bool,
    /// Do not answer before everything is healthy or done.
    pub wait: bool,
    /// Give up waiting after this.
    pub wait_timeout: Option<Duration>,
    /// Whether containers are made anew.
    pub recreate: Recreate,
    /// What the services named depend on is made anew, changed or not.
    #[serde(default)]
    pub recreate_dependencies: bool,
    /// Containers that are made anew get new anonymous volumes.
    #[serde(default)]
    pub renew_anon_volumes: bool,
    /// A volume whose definition has changed is made anew, and what it holds is lost.
    #[serde(default)]
    pub yes: bool,
    /// Build images even when they are there; of all services that are brought up, as `no_build` and `pull`.
    pub build: bool,
    /// Build no image, even one that is not there.
    #[serde(default)]
    pub no_build: bool,
    /// Pull images even when they are there.
    pub pull: Option<String>,
    /// Remove containers and processes of services that the files no longer have.
    pub remove_orphans: bool,
    /// Replicas for services, over what the files say.
    pub scale: IndexMap<ServiceName, u32>,
    /// A word beside the `up` that made what is there, as of `run` and `scale`: what it does not name keeps its number of
    /// replicas and its watches.
    #[serde(default)]
    pub beside: bool,
    /// Arm the watches of processes.
    pub watch: bool,
    /// Arm the watches of containers too.
    pub watch_containers: bool,
    /// Of containers whose checks their engine runs, its verdict alone counts: we run none of them beside it.
    #[serde(default)]
    pub engine_health: bool,
    /// Make, do not start.
    pub no_start: bool,
    /// This connection is the lease: when it ends without `Detach`, what this `up` started is stopped.
    pub attached: bool,
    /// With that, the services whose containers are shown: none of them is started before [`Reply::Attach`] has been answered.
    #[serde(default)]
    pub shown: Vec<ServiceName>,
    /// `--abort-on-container-exit`, `--abort-on-container-failure`.
    pub abort: Abort,
    /// `--timeout`: replaces the grace period of every stop.
    pub timeout: Option<Duration>,
}

/// When containers and processes are made anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recreate {
    /// When their definition changed.
    #[default]
    WhenChanged,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// When one end is everybody's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Abort {
    /// Never.
    #[default]
    Never,
    /// When any service has ended.
    OnExit,
    /// When any service has failed.
    OnFailure,
}

/// A selection of services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Select {
    /// Which; empty is all.
    pub services: Vec<ServiceName>,
    /// Answer when they are healthy.
    #[serde(default)]
    pub wait: bool,
    /// Give up waiting after this.
    #[serde(default)]
    pub wait_timeout: Option<Duration>,
}

/// `stop`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Which; empty is all.
    pub services: Vec<ServiceName>,
    /// Replaces the grace period.
    pub timeout: Option<Duration>,
}

/// `restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Which; empty is all but finished tasks.
    pub services: Vec<ServiceName>,
    /// Without the dependents that ask for it.
    pub no_deps: bool,
    /// Replaces the grace period.
    pub timeout: Option<Duration>,
    /// Only whether it would be refused: nothing is restarted.
    #[serde(default)]
    pub only_asks: bool,
}

/// `kill`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// Which; empty is all.
    pub services: Vec<ServiceName>,
    /// Only these replicas of them; empty is all.
    #[serde(default)]
    pub units: Vec<UnitId>,
    /// `SIGKILL` when empty.
    pub signal: String,
}

/// `pause` and `unpause`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Which; empty is all that runs.
    pub services: Vec<ServiceName>,
    /// Stand still; else go on.
    pub paused: bool,
}

/// `down`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// Which; empty is all, networks and owned things included.
    pub services: Vec<ServiceName>,
    /// Volumes, scratch directories and owned volumes too.
    pub volumes: bool,
    /// `--rmi`: images too. `all` or `local`.
    pub rmi: Option<String>,
    /// Replaces the grace period.
    pub timeout: Option<Duration>,
}

/// `rm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remove {
    /// Which; empty is all.
    pub services: Vec<ServiceName>,
    /// Stop them first.
    pub stop: bool,
    /// Anonymous volumes too.
    pub volumes: bool,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The wish is fulfilled.
    Done {
        /// Whether anything had to be done.
        changed: bool,
        /// What is to be said beside, one sentence each.
        warnings: Vec<String>,
    },
    /// It is not.
    Failed {
        /// Each with its root cause, in the user's words.
        reasons: Vec<String>,
    },
    /// It is not, as far as it is about containers: the engine does not answer. What is about processes is done.
    EngineAway {
        /// That, and what else has failed.
        reasons: Vec<String>,
    },
    /// A later wish won; this is its name.
    Overruled {
        /// As `down`.
        by: String,
    },
    /// It was called off: what runs stays, and what had not begun is left undone.
    CalledOff {
        /// The units that were to run and do not.
        left: Vec<UnitId>,
        /// Those with whom something has begun that goes on, as a restart does whose first half is done.
        #[serde(default)]
        goes_on: Vec<UnitId>,
    },
    /// It was to be called off, and is about an end: that goes on without whoever asked for it.
    GoesOn,
    /// A foreground `up` is at its end: nothing runs and nothing will be started again.
    Ended {
        /// 0 if every service ended with 0 or was stopped by request, else 1; with an abort rule the code of the service
        /// that ended first.
        code: i32,
    },
    /// Beside the answer to a foreground `up`: a container that it shows is about to start, and waits for [`Request::Attached`].
    Attach {
        /// Whose container.
        unit: UnitId,
        /// The engine's id of that.
        container: String,
    },
    /// How things are.
    Status(Box<Status>),
    /// Why.
    Why(Box<super::status::Why>),
    /// What is in force; none before the first `up`.
    Deployment(Option<Box<Deployment>>),
    /// There is nothing that it could be done to: no `up` has made it, or a `down` has taken it away.
    NotUp {
        /// What, and what to do; one sentence.
        reason: String,
    },
    /// The request is not possible: no such service, …
    Refused {
        /// Why, one sentence.
        reason: String,
    },
}

impl Up {
    /// Everything of a deployment, in the background, made anew only where its definition changed.
    pub fn of(deployment: Deployment) -> Self {
        Self {
            deployment,
            services: Vec::new(),
            no_deps: false,
            wait: false,
            wait_timeout: None,
            recreate: Recreate::WhenChanged,
            recreate_dependencies: false,
            renew_anon_volumes: false,
            yes: false,
            build: false,
            no_build: false,
            pull: None,
            remove_orphans: false,
            scale: IndexMap::new(),
            beside: false,
            watch: true,
            watch_containers: false,
            engine_health: false,
            no_start: false,
            attached: false,
            shown: Vec::new(),
            abort: Abort::Never,
            timeout: None,
        }
    }
}
