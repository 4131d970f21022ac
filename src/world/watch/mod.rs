//! Watches files, and tells which of those that count hold something else than before.
//!
//! An event of the kernel only says where to look; what changed is seen from the content. When a burst is over is the
//! machine's business: here only what comes within a few milliseconds is gathered.

mod filter;
mod places;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never, select, tick, unbounded};
use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};

use self::places::{Concern, Places};
use self::tree::{Look, Tree};
use crate::base::name::ServiceName;
use crate::model::watch::{Sources, WatchRule};
use crate::supervisor::effect::Watched;
use crate::supervisor::event::{Event, RuleId};
use crate::world::clock;
use crate::world::kernel::host;

/// What arrives within this time is told together.
const GATHER: Duration = Duration::from_millis(5);
/// Between looks where the kernel does not tell.
const POLL: Duration = Duration::from_secs(3);

/// Watches what it is told to, on a thread of its own that ends with this value.
#[derive(Debug)]
pub struct Watcher {
    commands: Sender<Command>,
    events: Sender<Event>,
}

#[derive(Debug)]
enum Command {
    Set(Vec<Watched>),
    /// Answered once all before is done.
    #[cfg(test)]
    Settle(Sender<()>),
}

impl Watcher {
    /// Starts to watch nothing.
    pub fn new(events: Sender<Event>) -> Self {
        let (commands, received) = unbounded();
        let thread = thread::Builder::new().name("watch".to_owned()).spawn({
            let events = events.clone();
            move || Watching::new(events).run(&received)
        });
        if let Err(error) = thread {
            tracing::error!("files cannot be watched: {error}");
        }
        Self { commands, events }
    }

    /// Watches these files and no others. Returns at once. Rules that stay lose no change.
    pub fn set(&self, list: Vec<Watched>) {
        if self.commands.send(Command::Set(list)).is_err() {
            tracing::error!("files are not watched: the thread for it is gone");
            // Nobody is kept waiting for what will not be.
            let _ = self.events.send(Event::WatchSet);
        }
    }
}

/// The files that count for a rule, as they are now.
pub fn files(service: ServiceName, rule: WatchRule, sources: Sources) -> Vec<PathBuf> {
    let watched = Watched { id: RuleId(0), service, rule, sources };
    let (tree, _) = Tree::new(watched, &mut Look { places: None, changed: Vec::new(), trouble: None });
    tree.files().map(Path::to_owned).collect()
}

/// The thread's own.
struct Watching {
    events: Sender<Event>,
    raw: Receiver<notify::Result<notify::Event>>,
    places: Places,
    trees: BTreeMap<RuleId, Tree>,
    /// Rules that are looked after from time to time.
    polled: BTreeSet<RuleId>,
    /// Why the kernel cannot watch anything for us.
    no_kernel: Option<notify::Error>,
}

/// Tells that a list has been taken in, also where that has failed: requests wait for it.
struct Taken(Sender<Event>);

impl Drop for Taken {
    fn drop(&mut self) {
        // When the loop has ended there is nobody to tell.
        let _ = self.0.send(Event::WatchSet);
    }
}

impl Watching {
    fn new(events: Sender<Event>) -> Self {
        let (sender, raw) = unbounded();
        let (places, no_kernel) = Places::new(sender);
        Self { events, raw, places, trees: BTreeMap::new(), polled: BTreeSet::new(), no_kernel }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        let mut poll = never();
        let raw = self.raw.clone();
        loop {
            select! {
                recv(commands) -> command => match command {
                    Ok(Command::Set(list)) => {
                        let was_polled = !self.polled.is_empty();
                        let taken = Taken(self.events.clone());
                        self.set(list);
                        drop(taken);
                        // One that ticks goes on doing so: who is told often would never look.
                        match (was_polled, !self.polled.is_empty()) {
                            (false, true) => poll = tick(POLL),
                            (true, false) => poll = never(),
                            (true, true) | (false, false) => {}
                        }
                    }
                    #[cfg(test)]
                    Ok(Command::Settle(done)) => drop(done),
                    Err(_) => return,
                },
                recv(raw) -> event => {
                    if let Ok(event) = event {
                        let was_polled = !self.polled.is_empty();
                        self.gather(event);
                        if !was_polled && !self.polled.is_empty() {
                            poll = tick(POLL);
                        }
                    }
                },
                recv(poll) -> _ => self.look_at_polled(),
            }
        }
    }

    fn set(&mut self, list: Vec<Watched>) {
        let stays = |tree: &Tree| {
            let old = &tree.watched;
            list.iter().any(|new| new.id == old.id && new.service == old.service && new.rule == old.rule)
        };
        let gone: Vec<RuleId> = self.trees.iter().filter(|(_, tree)| !stays(tree)).map(|(id, _)| *id).collect();
        for id in gone {
            self.trees.remove(&id);
            self.polled.remove(&id);
            self.places.forget(id);
        }
        for watched in list {
            if !self.trees.contains_key(&watched.id) {
                self.add(watched);
            }
        }
        if host::ONE_WATCH_FOR_ALL {
            // What has changed while it began anew, nobody was told.
            self.look(self.trees.keys().map(|id| Concern::Root(*id)).collect());
        }
    }

    fn add(&mut self, watched: Watched) {
        let id = watched.id;
        let mut look = Look::arming(&mut self.places);
        let (tree, trouble) = Tree::new(watched, &mut look);
        let Look { changed, trouble: unwatched, .. } = look;
        let missing = !tree.root().exists();
        let root = tree.root().display().to_string();
        self.trees.insert(id, tree);
        if let Some(message) = trouble {
            self.trouble(id, message);
        }
        if missing {
            self.trouble(id, format!("{root} does not exist; it is watched as soon as it does"));
        }
        let why = self.no_kernel.as_ref().or(unwatched.as_ref()).map(reason);
        if let Some(why) = why {
            self.poll_instead(id, &why);
        }
        self.tell(id, changed);
    }

    /// Takes in a burst and looks where it points.
    fn gather(&mut self, first: notify::Result<notify::Event>) {
        let mut concerns = BTreeSet::new();
        let until = clock::deadline(GATHER);
        let mut next = Some(first);
        while let Some(event) = next {
            self.take(event, &mut concerns);
            next = self.raw.recv_deadline(until).ok();
        }
        self.look(concerns);
    }

    /// Looks there, and tells what has changed.
    fn look(&mut self, concerns: BTreeSet<Concern>) {
        let mut changed: BTreeMap<RuleId, Vec<PathBuf>> = BTreeMap::new();
        let mut troubles = BTreeMap::new();
        for concern in concerns {
            let (Concern::Root(id) | Concern::Inside(id, _)) = concern;
            let Some(tree) = self.trees.get_mut(&id) else { continue };
            let mut look = Look::arming(&mut self.places);
            match &concern {
                Concern::Root(_) => tree.look_at_root(&mut look),
                Concern::Inside(_, path) => tree.look_at(path, &mut look),
            }
            changed.entry(id).or_default().append(&mut look.changed);
            if let Some(error) = look.trouble {
                troubles.entry(id).or_insert_with(|| reason(&error));
            }
        }
        for (id, why) in troubles {
            self.poll_instead(id, &why);
        }
        for (id, paths) in changed {
            self.tell(id, paths);
        }
    }

    fn take(&self, event: notify::Result<notify::Event>, concerns: &mut BTreeSet<Concern>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!("a file watch reports: {error}");
                return;
            }
        };
        if event.need_rescan() {
            // The kernel's queue ran over: everything is looked at again.
            concerns.extend(self.trees.keys().map(|id| Concern::Root(*id)));
            return;
        }
        for path in event.paths.iter().filter(|path| is_news(event.kind, path)) {
            concerns.extend(self.places.concerns(path));
        }
    }

    fn look_at_polled(&mut self) {
        for id in self.polled.clone() {
            let Some(tree) = self.trees.get_mut(&id) else { continue };
            let mut look = Look { places: None, changed: Vec::new(), trouble: None };
            tree.look_at_root(&mut look);
            let changed = look.changed;
            self.tell(id, changed);
        }
    }

    /// Looks at a rule's files from time to time, and says so.
    fn poll_instead(&mut self, id: RuleId, why: &str) {
        if self.polled.insert(id)
            && let Some(tree) = self.trees.get(&id)
        {
            let root = tree.root().display();
            self.trouble(id, format!("{root} is looked at every {} s instead of being watched: {why}", POLL.as_secs()));
        }
    }

    fn trouble(&self, rule: RuleId, message: String) {
        self.send(Event::WatchTrouble { rule, message });
    }

    fn tell(&self, rule: RuleId, mut paths: Vec<PathBuf>) {
        paths.sort();
        paths.dedup();
        let Some(first) = paths.first() else { return };
        let busy = filter::git_is_busy(first);
        self.send(Event::FilesChanged { rule, paths, busy });
    }

    fn send(&self, event: Event) {
        // A supervisor that is gone needs no news.
        let _: Result<(), _> = self.events.send(event);
    }
}

/// Whether an event can mean that a file holds something else now. A file that is being written is looked at once it is
/// closed, so that no half of it is taken for a change; times and modes are none.
fn is_news(kind: EventKind, path: &Path) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Create(CreateKind::File) => {
            // Unless it is a link: that is never closed.
            let is_closed_later = |metadata: &fs::Metadata| metadata.is_file() && metadata.nlink() <= 1;
            !host::TELLS_WHEN_FILES_ARE_CLOSED || fs::symlink_metadata(path).is_ok_and(|metadata| !is_closed_later(&metadata))
        }
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) | EventKind::Any => true,
        // Written, and not yet closed: the last that is told where the closing is not.
        EventKind::Modify(ModifyKind::Data(_)) => !host::TELLS_WHEN_FILES_ARE_CLOSED,
        EventKind::Access(_) | EventKind::Modify(_) | EventKind::Other => false,
    }
}

fn reason(error: &notify::Error) -> String {
    const EMFILE: i32 = 24;
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the limit of file watches is reached; `sudo sysctl fs.inotify.max_user_watches=524288` raises it".to_owned()
        }
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(EMFILE) => {
            "the limit of inotify instances is reached; `sudo sysctl fs.inotify.max_user_instances=512` raises it".to_owned()
        }
        _ => error.to_string(),
    }
}
