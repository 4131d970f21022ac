//! The machine as versioned JSON, and back after a crash.
//!
//! A snapshot holds ages, not moments, and no action in flight: what was under way is found out by looking. It is a help, not
//! a truth: containers are read off the engine, and of processes nothing outlives their supervisor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::machine::Supervisor;
use super::news::begin_life;
use super::resource::{Resource, Want};
use super::status::UnitKind;
use super::unit::{Done, Have, Phase, Unit, WentOn};
use crate::base::moment::Moment;
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::plan::action::{Exit, Generation, Incarnation};
use crate::plan::desired::{Deployment, UnitSpec};
use crate::plan::hash::ConfigHash;
use crate::plan::next::Goal;

/// The version that this program writes and reads.
pub const VERSION: u32 = 1;

/// What is kept of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`VERSION`] of the program that wrote it.
    pub version: u32,
    /// The environment.
    pub env: EnvId,
    /// What was in force.
    pub deployment: Option<Arc<Deployment>>,
    /// Its units.
    pub units: Vec<UnitRecord>,
    /// Networks by key, with the engine's name.
    pub networks: BTreeMap<String, String>,
    /// Volumes by key, with the engine's name.
    pub volumes: BTreeMap<String, String>,
    /// Services whose watches are armed while they are wanted.
    #[serde(default)]
    pub watched: BTreeSet<ServiceName>,
    /// Images that were built here: the lives of the tasks that had run before.
    #[serde(default)]
    pub built: BTreeMap<ServiceName, BTreeMap<String, String>>,
    /// Of containers whose checks their engine runs, its verdict alone counts.
    #[serde(default)]
    pub engine_health: bool,
}

/// What is kept of a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitRecord {
    /// Which.
    pub unit: UnitId,
    /// What was wanted.
    pub goal: Goal,
    /// How often a restart was asked for.
    pub generation: Generation,
    /// The generation of its last start.
    pub started_generation: Generation,
    /// Its last life.
    pub incarnation: Incarnation,
    /// The highest number that was given to one of its lives.
    #[serde(default)]
    pub last: Incarnation,
    /// What it is made of.
    pub made: Option<ConfigHash>,
    /// What is there.
    pub have: HaveRecord,
    /// The leader of a process.
    pub pid: Option<i32>,
    /// What tells its last life from others.
    pub birth: Option<String>,
    /// Its container.
    pub container: Option<String>,
    /// Somebody else made that since we were asked about it.
    #[serde(default)]
    pub theirs: bool,
    /// It was asked for without what it depends on.
    #[serde(default)]
    pub no_deps: bool,
    /// Anonymous volumes of the container before, for the one that is yet to be made.
    #[serde(default)]
    pub anonymous: IndexMap<String, String>,
    /// A task's last success.
    pub done: Option<Done>,
    /// Its last failure.
    pub failure: Option<String>,
    /// It was not to be tried again.
    pub given_up: bool,
    /// The life before was ended by request.
    pub stopped: bool,
    /// The life that it has has been ready.
    #[serde(default)]
    pub ready: bool,
    /// It stood still.
    #[serde(default)]
    pub paused: bool,
    /// It had gone on so many milliseconds ago, and was not probed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub went_on: Option<u64>,
}

/// What is there of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaveRecord {
    /// Nothing.
    Absent,
    /// Made.
    Created,
    /// Running, for so many milliseconds.
    Running(u64),
    /// Ended so, so many milliseconds ago.
    Exited(Exit, u64),
}

/// Why a snapshot cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by another release.
    #[error("the snapshot is of version {found}; this program reads version {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
}

/// What has become of the processes of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processes {
    /// Their supervisor lives, and so do they: the snapshot is read by somebody who only wants to know.
    Alive,
    /// Their supervisor is dead, and they with it.
    Gone,
}

impl Snapshot {
    /// The same, so long after it was written: what has ended, ended longer ago.
    #[must_use]
    pub fn aged(mut self, by: Duration) -> Self {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        for record in &mut self.units {
            match &mut record.have {
                HaveRecord::Running(age) | HaveRecord::Exited(_, age) => *age = age.saturating_add(by),
                HaveRecord::Absent | HaveRecord::Created => {}
            }
            record.went_on = record.went_on.map(|ago| ago.saturating_add(by));
        }
        self
    }
}

impl Supervisor {
    /// What is kept of this machine.
    pub fn snapshot(&self) -> Snapshot {
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let age = |unit: &Unit| millis(unit.lasts(self.now).unwrap_or_default());
        let units = (self.units.values())
            .filter(|unit| !unit.ghost)
            .map(|unit| UnitRecord {
                unit: unit.id.clone(),
                goal: unit.goal,
                generation: unit.generation,
                started_generation: unit.started_generation,
                incarnation: unit.incarnation,
                last: unit.last,
                made: unit.made.clone(),
                have: match unit.have {
                    // It may run by now, and nobody would know how it ended.
                    _ if unit.kind == UnitKind::Process && unit.is_being_started() => HaveRecord::Running(0),
                    Have::Absent => HaveRecord::Absent,
                    Have::Created => HaveRecord::Created,
                    Have::Running { .. } => HaveRecord::Running(age(unit)),
                    Have::Exited { exit, .. } => HaveRecord::Exited(exit, age(unit)),
                },
                pid: unit.pid,
                birth: unit.birth.clone(),
                container: unit.container.clone(),
                theirs: unit.theirs,
                no_deps: unit.no_deps,
                anonymous: unit.anonymous.clone(),
                done: unit.task.done.clone(),
                failure: unit.failure.clone(),
                given_up: unit.given_up,
                stopped: unit.stopped,
                ready: unit.was_ready,
                paused: unit.paused,
                went_on: unit.went_on.map(|went_on| millis(went_on.ago(self.now))),
            })
            .collect();
        let names = |resources: &BTreeMap<String, Resource>| {
            let kept = resources.iter().filter(|(_, resource)| !resource.external);
            kept.map(|(key, resource)| (key.clone(), resource.name.clone())).collect()
        };
        Snapshot {
            version: VERSION,
            env: self.env.clone(),
            deployment: self.deployment.clone(),
            units,
            networks: names(&self.networks),
            volumes: names(&self.volumes),
            watched: self.watched.clone(),
            built: self.built.clone(),
            engine_health: self.engine_health,
        }
    }

    /// Whether nothing of what was written down is yet to be done or looked after: no unit is to go, no file is watched.
    pub fn is_at_rest(&self) -> bool {
        self.watched.is_empty() && self.units.values().all(|unit| unit.goal != Goal::Gone)
    }

    /// Which containers run, by id, and what tells their lives from others, if they are no older than this. One that shares another's
    /// namespaces has to be looked at for whose they are.
    pub fn lives(&self, within: Duration) -> BTreeMap<String, String> {
        let is_young = |unit: &&Unit| unit.lasts(self.now).is_some_and(|age| age <= within);
        let running = self.units.values().filter(|unit| matches!(unit.have, Have::Running { .. })).filter(is_young);
        let alone = running.filter(|unit| unit.spec.service().container().is_some_and(|it| !it.shares_namespace()));
        alone.filter_map(|unit| Some((unit.container.clone()?, unit.birth.clone()?))).collect()
    }

    /// A machine as a snapshot has it. Nothing is wanted of processes whose supervisor is dead until somebody asks.
    pub fn recover(snapshot: Snapshot, processes: Processes, seed: u64) -> Result<Self, SnapshotError> {
        if snapshot.version != VERSION {
            return Err(SnapshotError::Version { found: snapshot.version });
        }
        let mut machine = Self::new(snapshot.env, seed);
        let Some(deployment) = snapshot.deployment else { return Ok(machine) };
        let mut specs: BTreeMap<ServiceName, Option<UnitSpec>> = BTreeMap::new();
        for record in snapshot.units {
            let spec = specs.entry(record.unit.service.clone()).or_insert_with(|| Self::spec_of(&deployment, &record.unit));
            let Some(spec) = spec.as_ref() else { continue };
            let spec = UnitSpec { unit: record.unit.clone(), ..spec.clone() };
            let mut unit = Unit::new(spec, record.goal);
            let lost = unit.kind != UnitKind::Container && processes == Processes::Gone;
            unit.generation = record.generation;
            unit.started_generation = record.started_generation;
            unit.incarnation = record.incarnation;
            unit.last = record.last;
            unit.made = record.made;
            unit.birth = record.birth;
            unit.container = record.container;
            unit.theirs = record.theirs;
            unit.no_deps = record.no_deps;
            unit.anonymous = record.anonymous;
            unit.failure = record.failure;
            unit.given_up = record.given_up;
            unit.stopped = record.stopped;
            unit.have = match record.have {
                HaveRecord::Absent => Have::Absent,
                HaveRecord::Created => Have::Created,
                HaveRecord::Running(_) if lost => Have::Exited { exit: Exit::Unknown, at: Moment(0) },
                HaveRecord::Running(_) => Have::Running { since: Moment(0), leader_exit: None },
                HaveRecord::Exited(exit, _) => Have::Exited { exit, at: Moment(0) },
            };
            unit.pid = record.pid.filter(|_| !lost);
            if matches!(unit.have, Have::Running { .. }) {
                // Its health is probed anew, but the line of its log is not written again.
                unit.line_of = record.ready.then_some(unit.incarnation);
                // Whether its engine has come to a verdict, the first look tells.
                begin_life(&mut unit, Moment(0), false);
                unit.was_ready = record.ready && unit.kind == UnitKind::Container && unit.probed().is_none();
                unit.paused = record.paused;
                unit.went_on = record.went_on.map(|ago| WentOn { at: Moment(0), before: Duration::from_millis(ago) });
            }
            if let (HaveRecord::Running(age), false) | (HaveRecord::Exited(_, age), _) = (record.have, lost) {
                unit.before = Duration::from_millis(age);
            }
            unit.task.hash = Some(unit.spec.hash.clone());
            if record.done.as_ref().is_some_and(|done| done.hash == unit.spec.hash) {
                unit.task.phase = Phase::UpToDate;
            }
            unit.task.done = record.done;
            if processes == Processes::Gone && unit.goal != Goal::Gone {
                unit.goal = match unit.kind {
                    // Whatever the engine holds is right until somebody asks.
                    UnitKind::Container => Goal::Left,
                    UnitKind::Process => Goal::Stopped,
                    UnitKind::Task if unit.is_done() => unit.goal,
                    UnitKind::Task => Goal::Stopped,
                };
            }
            machine.units.insert(record.unit, unit);
        }
        for (key, name) in snapshot.networks {
            machine.networks.insert(key, Resource::new(name, false, Want::Left));
        }
        for (key, name) in snapshot.volumes {
            machine.volumes.insert(key, Resource::new(name, false, Want::Left));
        }
        machine.watched = snapshot.watched;
        machine.engine_health = snapshot.engine_health;
        machine.built = snapshot.built;
        machine.deployment = Some(deployment);
        // Containers are looked at before anything is done to one.
        machine.look_first = 1;
        Ok(machine)
    }
}
