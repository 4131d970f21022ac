//! What an engine reports, in words that are no engine's own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::action::Exit;
use super::hash::ConfigHash;
use crate::base::name::UnitId;
use crate::model::health::HealthCheck;

/// What to look at beside everything that carries the environment's label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Images, by reference.
    pub images: Vec<String>,
    /// External networks, by the engine's name.
    pub networks: Vec<String>,
    /// Volumes that are wanted, by the engine's name.
    pub volumes: Vec<String>,
    /// Networks that are to be made anew, by the engine's name, with the subnets that they are to have: whether that can be.
    pub renewals: BTreeMap<String, Vec<String>>,
    /// Containers by id whose present life was known to have begun so, for who is content with the age that a list gives: one that
    /// it agrees with is not looked at more closely.
    pub lives: BTreeMap<String, String>,
}

impl Query {
    /// Asks for all of this too.
    pub fn extend(&mut self, more: Query) {
        let join = |all: &mut Vec<String>, more: Vec<String>| {
            all.extend(more);
            all.sort_unstable();
            all.dedup();
        };
        join(&mut self.images, more.images);
        join(&mut self.networks, more.networks);
        join(&mut self.volumes, more.volumes);
        self.renewals.extend(more.renewals);
        self.lives.extend(more.lives);
    }
}

/// All that an engine holds of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actual {
    /// Containers with the environment's label, one-off ones too.
    pub containers: Vec<SeenContainer>,
    /// Networks with its label, and those asked for: the engine's name → what is known.
    pub networks: BTreeMap<String, SeenResource>,
    /// Volumes with its label, and those asked for.
    pub volumes: BTreeMap<String, SeenResource>,
    /// The images asked for that are present: reference → id.
    pub images: BTreeMap<String, String>,
    /// How long ago these were given their names, where the engine knows.
    pub tagged: BTreeMap<String, Duration>,
}

/// A network or volume as seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenResource {
    /// Its key in the files, from the label.
    pub key: Option<String>,
    /// The hash label.
    pub hash: Option<ConfigHash>,
    /// Whether it carries this environment's label.
    pub ours: bool,
    /// The engine's id of a network.
    pub id: Option<String>,
    /// What keeps it from being made anew, if that was asked: that a container uses it.
    pub obstacle: Option<String>,
}

/// A container as seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenContainer {
    /// The engine's id.
    pub id: String,
    /// The engine's name.
    pub name: String,
    /// The unit that its labels name; none for labels that no unit can have.
    pub unit: Option<UnitId>,
    /// Made by `run`.
    pub one_off: bool,
    /// It was made to take the place of another container, and has not yet: the first twelve digits of that one's id, which its
    /// name begins with.
    pub replaces: Option<String>,
    /// The hash label.
    pub hash: Option<ConfigHash>,
    /// Whether the hash is one of ours (a label says so); Compose's cannot be compared.
    pub by_us: bool,
    /// The id of the image it was made of.
    pub image: String,
    /// The ids of the images that it mounts, by the path inside.
    pub mounted: BTreeMap<String, String>,
    /// The networks that it is in: the engine's name → the id, empty for one that it has not joined yet.
    pub networks: BTreeMap<String, String>,
    /// The fixed addresses that it was given, by the engine's name of the network; none where the list does not tell of any.
    pub addresses: Option<BTreeMap<String, BTreeSet<String>>>,
    /// The named volumes that it mounts.
    pub volumes: BTreeSet<String>,
    /// The ids of the containers whose namespaces it lives in, as far as that is known; of one that was never started it is not.
    pub shares: BTreeSet<String>,
    /// What it does.
    pub state: SeenState,
    /// How long it has been running, or ended, where that is known.
    pub age: Option<Duration>,
    /// It runs and stands still.
    pub paused: bool,
    /// The engine's verdict, where the container has a health check.
    pub health: Option<SeenHealth>,
    /// How long ago the last probe began of one that is unhealthy.
    pub probed: Option<Duration>,
    /// The check of one that is starting, where it is known: the engine has not looked yet.
    pub check: Option<HealthCheck>,
    /// A check that the engine holds and does not run: nobody comes to a verdict by it.
    pub unprobed: Option<HealthCheck>,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenState {
    /// Made, never started.
    Created,
    /// Running (or paused).
    Running {
        /// The engine's `StartedAt`.
        birth: String,
    },
    /// The engine will start it again by its restart policy.
    Restarting,
    /// Ended.
    Exited {
        /// How.
        exit: Exit,
        /// The engine's `StartedAt` of the life that ended.
        birth: String,
    },
}

/// The engine's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenHealth {
    /// No verdict yet.
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// Too many failed in a row.
    Unhealthy,
}
