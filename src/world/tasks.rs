//! Whether a task is due, and whether it succeeded.
//!
//! What is known of an output belongs to its path on this host, and so does the lock that is held while it is made:
//! environments that share it make it once. A task without outputs is known to its environment alone. Blocks; never runs the
//! task itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::base::name::UnitId;
use crate::model::process::{Process, fill_replica};
use crate::plan::action::{Assessment, Conclusion, Exit, Fault};
use crate::plan::desired::UnitSpec;
use crate::world::inputs;

use self::record::{Facts, Record};

mod record;

/// How often a lock that another environment holds is tried again: it is held for as long as a task runs.
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// Runs a task's `check`: nothing if it ended with 0, else what went wrong.
pub type RunCheck<'a> = &'a dyn Fn() -> Result<(), String>;

/// What is known of the tasks of one environment, and the locks on what they are making.
#[derive(Debug)]
pub struct Tasks {
    own: PathBuf,
    shared: PathBuf,
    held: Mutex<BTreeMap<UnitId, Arc<Held>>>,
}

/// What a unit holds from its assessment until its conclusion.
#[derive(Debug, Default)]
struct Held {
    state: Mutex<HeldState>,
}

#[derive(Debug, Default)]
struct HeldState {
    abandoned: bool,
    locks: BTreeMap<PathBuf, File>,
    /// As they were before the run: a file that changes during it makes the task due again.
    facts: Option<Facts>,
}

/// A task's own words.
struct Task<'a> {
    spec: &'a UnitSpec,
    process: &'a Process,
    outputs: Vec<String>,
}

impl<'a> Task<'a> {
    fn of(spec: &'a UnitSpec) -> Result<Self, Fault> {
        let process = spec.service().process().ok_or_else(|| Fault::permanent("a container is no task"))?;
        let outputs = process.outputs.iter().map(|glob| fill_replica(glob, spec.unit.replica).into_owned()).collect();
        Ok(Self { spec, process, outputs })
    }

    /// A path as the stack's author would write it.
    fn shown(&self, path: &str) -> String {
        let path = Path::new(path);
        path.strip_prefix(&self.spec.deployment.stack.directory).unwrap_or(path).display().to_string()
    }

    fn missing_output(&self) -> Result<Option<String>, Fault> {
        for output in &self.outputs {
            if !inputs::exists(output).map_err(|error| trouble("look for output", Path::new(output), &error))? {
                return Ok(Some(format!("output {} is missing", self.shown(output))));
            }
        }
        Ok(None)
    }
}

impl Tasks {
    /// For the environment whose state lies in `state_dir`; what environments share lies below `base`.
    pub fn new(state_dir: &Path, base: &Path) -> Self {
        Self { own: state_dir.join("tasks"), shared: base.join(".outputs"), held: Mutex::default() }
    }

    /// Says that a unit is about to be assessed or run. Whoever waits in [`Tasks::assess`] or [`Tasks::hold`] does so on its
    /// behalf, until [`Tasks::abandon`]. Blocks for nothing.
    pub fn claim(&self, unit: &UnitId) {
        self.held().entry(unit.clone()).or_default();
    }

    /// Whether a claimed unit holds all that a run of this definition needs.
    pub fn is_held(&self, spec: &UnitSpec) -> bool {
        let Ok(task) = Task::of(spec) else { return false };
        let held = self.held();
        held.get(&spec.unit).is_some_and(|held| {
            let state = lock(&held.state);
            state.facts.is_some() && self.locks_of(&task).iter().all(|path| state.locks.contains_key(path))
        })
    }

    /// Whether a claimed task is due. If it is, its outputs are locked until [`Tasks::conclude`] or [`Tasks::abandon`]; while
    /// another environment makes them, this waits.
    ///
    /// `trusted`: its check need not be asked. `dependency_ran`: a task that it depends on has run since its last success.
    pub fn assess(&self, spec: &UnitSpec, trusted: bool, dependency_ran: bool, run_check: RunCheck) -> Result<Assessment, Fault> {
        self.hold(spec)?;
        let assessment = self.judge(&Task::of(spec)?, trusted, dependency_ran, run_check);
        if !matches!(assessment, Ok(Assessment::Due(_))) {
            self.abandon(&spec.unit);
        }
        assessment
    }

    /// What [`Tasks::assess`] would say if it were asked now, as far as files tell; none where only the task's check can. Nothing is
    /// locked and nothing is run.
    pub fn foresee(&self, spec: &UnitSpec, trusted: bool, dependency_ran: bool) -> Result<Option<Assessment>, Fault> {
        let task = Task::of(spec)?;
        self.judge_files(&task, trusted, dependency_ran, || Facts::gather(spec, task.process).map_err(Fault::permanent))
    }

    /// Locks a claimed task's outputs, unless it holds them: to be called before a run that no assessment precedes, as a
    /// further attempt or `restart TASK`. Waits while another environment makes them.
    pub fn hold(&self, spec: &UnitSpec) -> Result<(), Fault> {
        let task = Task::of(spec)?;
        let wanted = self.locks_of(&task);
        let given_up = || Fault::temporary("it was given up while another environment made its outputs");
        let held = self.held().get(&spec.unit).cloned().ok_or_else(given_up)?;
        lock(&held.state).locks.retain(|path, _| wanted.contains(path));
        // In the order of the paths, so that two environments cannot wait for each other.
        for path in wanted {
            if lock(&held.state).locks.contains_key(&path) {
                continue;
            }
            let file = open_lock(&path).map_err(|error| trouble("lock", &path, &error))?;
            loop {
                if lock(&held.state).abandoned {
                    return Err(given_up());
                }
                match file.try_lock() {
                    Ok(()) => break,
                    Err(TryLockError::WouldBlock) => thread::sleep(LOCK_WAIT),
                    Err(TryLockError::Error(error)) => return Err(trouble("lock", &path, &error)),
                }
            }
            let mut state = lock(&held.state);
            if state.abandoned {
                return Err(given_up());
            }
            state.locks.insert(path, file);
        }
        let facts = Facts::gather(spec, task.process).map_err(Fault::permanent)?;
        lock(&held.state).facts = Some(facts);
        Ok(())
    }

    /// Judges a task that has ended, records a success, and lets go of its outputs.
    pub fn conclude(&self, spec: &UnitSpec, exit: Exit, run_check: RunCheck) -> Result<Conclusion, Fault> {
        let conclusion = self.conclude_held(spec, exit, run_check);
        self.abandon(&spec.unit);
        conclusion
    }

    /// Lets go of a unit's outputs without a verdict: it was stopped, or is not wanted any more. Ends a wait for them.
    pub fn abandon(&self, unit: &UnitId) {
        if let Some(held) = self.held().remove(unit) {
            let mut state = lock(&held.state);
            state.abandoned = true;
            state.locks.clear();
        }
    }

    fn conclude_held(&self, spec: &UnitSpec, exit: Exit, run_check: RunCheck) -> Result<Conclusion, Fault> {
        let task = Task::of(spec)?;
        if !exit.is_success() {
            return Ok(Conclusion::Failed(exit.to_string()));
        }
        if let Some(missing) = task.missing_output()? {
            return Ok(Conclusion::Failed(missing));
        }
        if task.process.check.is_some()
            && let Err(reason) = run_check()
        {
            return Ok(Conclusion::Failed(format!("its check fails: {reason}")));
        }
        let before = self.held().get(&spec.unit).and_then(|held| lock(&held.state).facts.take());
        let facts = match before {
            Some(facts) => facts,
            None => Facts::gather(spec, task.process).map_err(Fault::permanent)?,
        };
        for path in self.record_files(&task) {
            Record::of(&facts, spec).write(&path).map_err(|error| trouble("record the success in", &path, &error))?;
        }
        Ok(Conclusion::Succeeded)
    }

    fn judge(&self, task: &Task, trusted: bool, dependency_ran: bool, run_check: RunCheck) -> Result<Assessment, Fault> {
        let facts = || {
            let facts = self.held().get(&task.spec.unit).and_then(|held| lock(&held.state).facts.clone());
            facts.ok_or_else(|| Fault::temporary("it was given up"))
        };
        Ok(match self.judge_files(task, trusted, dependency_ran, facts)? {
            Some(assessment) => assessment,
            None if run_check().is_err() => due("its check fails"),
            None => Assessment::UpToDate,
        })
    }

    /// The verdict without the check; none where that has to be asked.
    fn judge_files(
        &self,
        task: &Task,
        trusted: bool,
        dependency_ran: bool,
        facts: impl FnOnce() -> Result<Facts, Fault>,
    ) -> Result<Option<Assessment>, Fault> {
        let Process { inputs, outputs, check, .. } = task.process;
        let has_files = !inputs.is_empty() || !outputs.is_empty();
        let has_check = check.is_some();
        if dependency_ran && !has_check {
            return Ok(Some(due("a task it depends on has run")));
        }
        if !has_files && !has_check {
            return Ok(Some(if trusted { Assessment::UpToDate } else { due("it has not run since the start") }));
        }
        if let Some(missing) = task.missing_output()? {
            return Ok(Some(Assessment::Due(missing)));
        }
        let facts = facts()?;
        for path in self.record_files(task) {
            match Record::read(&path) {
                Some(record) => {
                    if let Some(change) = record.difference(&facts, task.spec) {
                        return Ok(Some(Assessment::Due(change)));
                    }
                }
                None if has_files => return Ok(Some(due("never run here"))),
                None => {}
            }
        }
        let is_asked = has_check && (dependency_ran || !trusted);
        Ok((!is_asked).then_some(Assessment::UpToDate))
    }

    /// Where a success is recorded: one file for each output, or one of the environment's own.
    fn record_files(&self, task: &Task) -> Vec<PathBuf> {
        if task.outputs.is_empty() {
            let unit = &task.spec.unit;
            return vec![self.own.join(format!("{}.{}.json", unit.service, unit.replica))];
        }
        task.outputs.iter().map(|output| self.output_file(output, "json")).collect()
    }

    /// In the order of the paths.
    fn locks_of(&self, task: &Task) -> BTreeSet<PathBuf> {
        task.outputs.iter().map(|output| self.output_file(output, "lock")).collect()
    }

    fn output_file(&self, output: &str, extension: &str) -> PathBuf {
        self.shared.join(format!("{}.{extension}", record::hash(output.as_bytes())))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<UnitId, Arc<Held>>> {
        lock(&self.held)
    }
}

fn due(reason: &str) -> Assessment {
    Assessment::Due(reason.to_owned())
}

/// What these mutexes guard is whole between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_lock(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

fn trouble(what: &str, path: &Path, error: &io::Error) -> Fault {
    Fault::permanent(format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
