//! The directories that the kernel watches for us, and for which rules.
//!
//! One watch a directory, not the library's recursive ones: those would count every file that is opened, by their own walk
//! too, until the kernel's queue runs over; and what is ignored is not watched at all.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crossbeam_channel::Sender;
use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::supervisor::event::RuleId;
use crate::world::kernel::host;

/// What a rule wants to know of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Whose.
    pub(super) rule: RuleId,
    /// The directory as the rule has it; the kernel knows it by its real path.
    pub(super) dir: PathBuf,
    /// The one name in it that leads to the watched path; none for a directory inside.
    pub(super) only: Option<OsString>,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Concern {
    /// The watched path itself, or the way to it.
    Root(RuleId),
    /// A path inside, as the rule has it.
    Inside(RuleId, PathBuf),
}

/// All watched directories, by their real paths.
#[derive(Debug)]
pub(super) struct Places {
    kernel: Option<RecommendedWatcher>,
    dirs: HashMap<PathBuf, Vec<Place>>,
}

impl Places {
    /// Watches nothing yet; the error says why the kernel cannot be asked to.
    pub(super) fn new(raw: Sender<notify::Result<notify::Event>>) -> (Self, Option<notify::Error>) {
        let (kernel, error) = match RecommendedWatcher::new(raw, Config::default()) {
            Ok(kernel) => (Some(kernel), None),
            Err(error) => (None, Some(error)),
        };
        (Self { kernel, dirs: HashMap::new() }, error)
    }

    /// Watches a directory for a rule. Also one that is watched already: another may have taken its place.
    pub(super) fn watch(&mut self, real: &Path, place: Place) -> notify::Result<()> {
        let is_watched = self.dirs.contains_key(real);
        let places = self.dirs.entry(real.to_owned()).or_default();
        if !places.contains(&place) {
            places.push(place);
        }
        if is_watched && host::ONE_WATCH_FOR_ALL {
            return Ok(());
        }
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        match kernel.watch(real, RecursiveMode::NonRecursive) {
            Err(error) if is_gone(&error) => Ok(()),
            result => result,
        }
    }

    /// Watches nothing for this rule any more.
    pub(super) fn forget(&mut self, rule: RuleId) {
        let kernel = &mut self.kernel;
        self.dirs.retain(|real, places| {
            places.retain(|place| place.rule != rule);
            if places.is_empty()
                && let Some(kernel) = kernel
            {
                // A directory that is gone has lost its watch already.
                let _: notify::Result<()> = kernel.unwatch(real);
            }
            !places.is_empty()
        });
    }

    /// Whom a change of this path concerns.
    pub(super) fn concerns<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = Concern> + 'a {
        let places = path.parent().and_then(|dir| self.dirs.get(dir)).into_iter().flatten();
        places.filter_map(move |place| {
            let name = path.file_name()?;
            match &place.only {
                Some(only) => (only == name).then_some(Concern::Root(place.rule)),
                None => Some(Concern::Inside(place.rule, place.dir.join(name))),
            }
        })
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound | ErrorKind::WatchNotFound => true,
        ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        ErrorKind::Generic(_) | ErrorKind::InvalidConfig(_) | ErrorKind::MaxFilesWatch => false,
    }
}
