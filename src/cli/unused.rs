//! An environment that was named for a start: when the start is refused before anything began, nothing is left of it.

use std::cell::Cell;
use std::path::PathBuf;

use crate::base::name::EnvId;
use crate::view::printer::Printer;
use crate::world::envdir::{EnvDir, FileLock, StateDir};
use crate::world::envid;

/// Keeps others from an environment's ports until the command ends, and forgets an environment that was made for nothing.
pub struct Claim {
    /// Held until the command ends: the ports count as taken before anybody has bound them.
    lock: Option<FileLock>,
    /// What was not there before.
    fresh: Option<Fresh>,
}

struct Fresh {
    state: StateDir,
    dir: EnvDir,
    home: PathBuf,
    /// The name was made just now: to be told when something begins.
    made: bool,
    begun: Cell<bool>,
}

impl Claim {
    /// For one that was there before.
    pub fn of(lock: FileLock) -> Self {
        Self { lock: Some(lock), fresh: None }
    }

    /// For one whose state was made just now, for the stack in `home`; `made` says that its name was too.
    pub fn fresh(lock: FileLock, state: &StateDir, dir: &EnvDir, home: PathBuf, made: bool) -> Self {
        let fresh = Fresh { state: state.clone(), dir: dir.clone(), home, made, begun: Cell::new(false) };
        Self { lock: Some(lock), fresh: Some(fresh) }
    }

    /// Whether its name was made just now.
    pub fn is_named_anew(&self) -> bool {
        self.fresh.as_ref().is_some_and(|fresh| fresh.made)
    }

    /// Nothing is refused any more: from now on there may be something that the environment's state tells of.
    pub fn begins(&self, env: &EnvId, printer: &Printer) {
        if let Some(fresh) = &self.fresh
            && !fresh.begun.replace(true)
            && fresh.made
        {
            printer.say(format!("environment {}", printer.paint_talk.strong(env.as_str())));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(fresh) = self.fresh.as_ref().filter(|fresh| !fresh.begun.get()) else { return };
        // Another start may have found the name meanwhile: it has claimed it too, and not without the host's lock.
        let Ok(_lock) = fresh.state.host_lock() else { return };
        self.lock = None;
        if !fresh.dir.is_in_use() {
            // What cannot be removed is a state of which nothing runs.
            let _ = fresh.dir.remove();
            let _ = envid::forget(&fresh.home, fresh.dir.id());
        }
    }
}
