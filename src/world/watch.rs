//! Watches files: the library's events, pruned by ignore rules, compared by content, told per rule.
//!
//! One watch a directory, none on files (an editor replaces them), set up on a thread of its own. When a burst is over is the
//! machine's business; here only what comes within a few milliseconds is gathered.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use globset::{Glob, GlobSet, GlobSetBuilder};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use notify::{Config, ErrorKind, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::ignored::is_ignored;
use crate::supervisor::effect::Watched;
use crate::supervisor::event::{Event, RuleId};

/// What arrives within this time is told together.
const GATHER: Duration = Duration::from_millis(3);
/// Between looks where the kernel cannot tell.
const POLL: Duration = Duration::from_secs(3);

/// Watches what it is told to.
#[derive(Debug)]
pub struct Watcher {
    wanted: Sender<Vec<Watched>>,
}

impl Watcher {
    /// Starts to watch nothing.
    pub fn new(events: Sender<Event>) -> Self {
        let (wanted, receiver) = unbounded();
        let thread = Builder::new().name("watch".to_owned()).spawn(move || Thread::new(events).run(&receiver));
        if let Err(error) = thread {
            tracing::error!("files cannot be watched: {error}");
        }
        Self { wanted }
    }

    /// Watches these files and no others. Returns at once.
    pub fn set(&self, list: Vec<Watched>) {
        // The thread ends only when we do.
        let _ = self.wanted.send(list);
    }
}

enum Backend {
    Kernel(RecommendedWatcher),
    Poll(PollWatcher),
}

impl Backend {
    fn watch(&mut self, directory: &Path) -> notify::Result<()> {
        match self {
            Backend::Kernel(watcher) => watcher.watch(directory, RecursiveMode::NonRecursive),
            Backend::Poll(watcher) => watcher.watch(directory, RecursiveMode::NonRecursive),
        }
    }
}

struct Thread {
    events: Sender<Event>,
    rules: Vec<Rule>,
    backend: Option<Backend>,
    raw: (Sender<notify::Result<notify::Event>>, Receiver<notify::Result<notify::Event>>),
    watched: HashSet<PathBuf>,
    /// Content as last seen: a change of times alone is none.
    contents: HashMap<PathBuf, u64>,
}

/// One rule with its matchers.
struct Rule {
    id: RuleId,
    /// As the rule has it, links resolved.
    root: PathBuf,
    /// The rule names a file: its directory is watched.
    single: bool,
    defaults: bool,
    ignore: GlobSet,
    include: Option<GlobSet>,
    git: Vec<Gitignore>,
    /// Directories whose `.gitignore` is known.
    learned: HashSet<PathBuf>,
    /// Directories reached through links inside the root: where they really lie → where the root has them.
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Thread {
    fn new(events: Sender<Event>) -> Self {
        Self { events, rules: Vec::new(), backend: None, raw: unbounded(), watched: HashSet::new(), contents: HashMap::new() }
    }

    fn run(mut self, wanted: &Receiver<Vec<Watched>>) {
        let raw = self.raw.1.clone();
        loop {
            crossbeam_channel::select! {
                recv(wanted) -> list => match list {
                    Ok(list) => self.set(&wanted.try_iter().last().unwrap_or(list)),
                    Err(_) => return,
                },
                recv(raw) -> event => {
                    let mut paths = BTreeSet::new();
                    let mut next = event.ok();
                    while let Some(event) = next {
                        self.take(event, &mut paths);
                        next = raw.recv_timeout(GATHER).ok();
                    }
                    self.tell(&paths);
                }
            }
        }
    }

    fn set(&mut self, list: &[Watched]) {
        self.rules = list.iter().map(Rule::new).collect();
        self.watched.clear();
        self.contents.clear();
        self.backend = None;
        if self.rules.is_empty() {
            return;
        }
        let sender = self.raw.0.clone();
        self.backend = match RecommendedWatcher::new(sender, Config::default()) {
            Ok(watcher) => Some(Backend::Kernel(watcher)),
            Err(error) => {
                self.poll_instead(&error);
                None
            }
        }
        .or_else(|| self.backend.take());
        for index in 0..self.rules.len() {
            let root = self.rules[index].root.clone();
            let start = if self.rules[index].single { root.parent().map_or_else(|| root.clone(), Path::to_owned) } else { root };
            self.walk(index, &start, &mut HashSet::new(), None);
        }
    }

    /// The kernel's limit is reached: look from time to time instead, and say so.
    fn poll_instead(&mut self, error: &notify::Error) {
        let reason = match &error.kind {
            ErrorKind::MaxFilesWatch => "the kernel's limit of file watches is reached (raise it: `sysctl fs.inotify.max_user_watches=524288`)".to_owned(),
            ErrorKind::Io(io) if io.raw_os_error() == Some(24) => {
                "the kernel's limit of inotify instances is reached (raise it: `sysctl fs.inotify.max_user_instances=512`)".to_owned()
            }
            _ => error.to_string(),
        };
        for rule in &self.rules {
            let message = format!("{}: {reason}; it is looked at every {} s instead", rule.root.display(), POLL.as_secs());
            let _ = self.events.send(Event::WatchTrouble { rule: rule.id, message });
        }
        let sender = self.raw.0.clone();
        let config = Config::default().with_poll_interval(POLL).with_compare_contents(true);
        self.backend = PollWatcher::new(sender, config).ok().map(Backend::Poll);
        for directory in self.watched.clone() {
            if let Some(backend) = &mut self.backend {
                let _ = backend.watch(&directory);
            }
        }
    }

    /// Watches a directory and what lies below it. With `found`, files are reported: they appeared with their directory.
    fn walk(&mut self, index: usize, directory: &Path, visited: &mut HashSet<PathBuf>, mut found: Option<&mut BTreeSet<PathBuf>>) {
        let Ok(real) = directory.canonicalize() else {
            if found.is_none() {
                let message = format!("{} does not exist, so a change of it is not seen", directory.display());
                let _ = self.events.send(Event::WatchTrouble { rule: self.rules[index].id, message });
            }
            return;
        };
        if !visited.insert(real.clone()) {
            return;
        }
        if self.watched.insert(real.clone())
            && let Some(Err(error)) = self.backend.as_mut().map(|backend| backend.watch(&real))
            && !matches!(error.kind, ErrorKind::PathNotFound)
            && matches!(self.backend, Some(Backend::Kernel(_)))
        {
            self.poll_instead(&error);
        }
        self.rules[index].learn_gitignore(&real);
        if self.rules[index].single {
            let root = self.rules[index].root.clone();
            self.contents.insert(root.clone(), content(&root).unwrap_or(0));
            return;
        }
        let Ok(entries) = fs::read_dir(&real) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            let target = if kind.is_symlink() { path.canonicalize().ok() } else { None };
            let is_dir = target.as_ref().map_or_else(|| kind.is_dir(), |target| target.is_dir());
            if self.rules[index].ignores(&path, is_dir) {
                continue;
            }
            if is_dir {
                if let Some(target) = target {
                    self.rules[index].links.insert(target, path.clone());
                }
                self.walk(index, &path, visited, found.as_deref_mut());
            } else if let Some(found) = found.as_deref_mut() {
                found.insert(path);
            } else {
                self.contents.entry(path.clone()).or_insert_with(|| content(&path).unwrap_or(0));
            }
        }
    }

    fn take(&mut self, event: notify::Result<notify::Event>, paths: &mut BTreeSet<PathBuf>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => return tracing::warn!("a watch reports: {error}"),
        };
        if event.need_rescan() {
            // The queue ran over: everything is looked at again.
            for index in 0..self.rules.len() {
                let root = self.rules[index].root.clone();
                self.walk(index, &root, &mut HashSet::new(), Some(paths));
            }
            return;
        }
        use notify::EventKind::{Access, Any, Create, Modify, Other, Remove};
        let counts = match event.kind {
            Access(notify::event::AccessKind::Close(notify::event::AccessMode::Write)) | Create(_) | Remove(_) | Any => true,
            Modify(notify::event::ModifyKind::Metadata(_)) => false,
            Modify(_) => true,
            Access(_) | Other => false,
        };
        if !counts {
            return;
        }
        for path in event.paths {
            if path.is_dir() {
                // What was made inside before the watch was set.
                for index in 0..self.rules.len() {
                    if self.rules[index].covers(&path).is_some_and(|shown| !self.rules[index].ignores(&shown, true)) {
                        self.watched.remove(&path);
                        self.walk(index, &path, &mut HashSet::new(), Some(paths));
                    }
                }
            } else {
                paths.insert(path);
            }
        }
    }

    fn tell(&mut self, paths: &BTreeSet<PathBuf>) {
        let mut changed = Vec::new();
        for path in paths {
            if path.file_name().is_some_and(|name| name == ".gitignore") {
                for rule in &mut self.rules {
                    rule.git.clear();
                    rule.learned.clear();
                }
                let directories: Vec<PathBuf> = self.watched.iter().cloned().collect();
                for rule in &mut self.rules {
                    let root = rule.root.clone();
                    directories.iter().filter(|directory| directory.starts_with(&root)).for_each(|directory| rule.learn_gitignore(directory));
                }
            }
            let interesting = self.rules.iter().any(|rule| rule.wants(path).is_some());
            if !interesting {
                continue;
            }
            let now = content(path);
            let before = match now {
                Some(hash) => self.contents.insert(path.clone(), hash),
                None => self.contents.remove(path),
            };
            if before != now {
                changed.push(path.clone());
            }
        }
        for rule in &self.rules {
            let shown: Vec<PathBuf> = changed.iter().filter_map(|path| rule.wants(path)).take(3).collect();
            if shown.is_empty() {
                continue;
            }
            let busy = shown.first().is_some_and(|path| git_is_at_work(path));
            let _ = self.events.send(Event::FilesChanged { rule: rule.id, paths: shown, busy });
        }
    }
}

impl Rule {
    fn new(watched: &Watched) -> Self {
        let path = &watched.rule.path;
        let single = path.is_file();
        let root = match (single, path.parent(), path.file_name()) {
            // The name stays what it is: an editor may replace the file by another.
            (true, Some(parent), Some(name)) => parent.canonicalize().unwrap_or_else(|_| parent.to_owned()).join(name),
            _ => path.canonicalize().unwrap_or_else(|_| path.clone()),
        };
        Self {
            id: watched.id,
            root,
            single,
            defaults: watched.rule.ignore_defaults.unwrap_or(true),
            ignore: globs(&watched.rule.ignore),
            include: (!watched.rule.include.is_empty()).then(|| globs(&watched.rule.include)),
            git: Vec::new(),
            learned: HashSet::new(),
            links: BTreeMap::new(),
        }
    }

    /// Where the root has a path; none when it is not below it.
    fn covers(&self, path: &Path) -> Option<PathBuf> {
        if self.single {
            return (path == self.root).then(|| path.to_owned());
        }
        if path.starts_with(&self.root) {
            return Some(path.to_owned());
        }
        let (real, shown) = self.links.iter().find(|(real, _)| path.starts_with(real))?;
        path.strip_prefix(real).ok().map(|rest| shown.join(rest))
    }

    /// The path as shown, if a change of it counts.
    fn wants(&self, path: &Path) -> Option<PathBuf> {
        let shown = self.covers(path)?;
        (self.single || !self.ignores(&shown, false)).then_some(shown)
    }

    fn ignores(&self, path: &Path, is_dir: bool) -> bool {
        let Ok(inside) = path.strip_prefix(&self.root) else { return false };
        if self.defaults {
            let by_name = inside.components().any(|part| is_ignored(part.as_os_str()));
            if by_name || self.git.iter().rev().any(|git| path.starts_with(git.path()) && git.matched_path_or_any_parents(path, is_dir).is_ignore()) {
                return true;
            }
        }
        let any = |globs: &GlobSet| inside.ancestors().any(|part| !part.as_os_str().is_empty() && globs.is_match(part));
        any(&self.ignore) || (!is_dir && self.include.as_ref().is_some_and(|include| !any(include)))
    }

    fn learn_gitignore(&mut self, directory: &Path) {
        if !self.defaults || !self.learned.insert(directory.to_owned()) {
            return;
        }
        let file = directory.join(".gitignore");
        if file.is_file() {
            let mut builder = GitignoreBuilder::new(directory);
            // A line that is no pattern is passed over, as git does.
            let _ = builder.add(&file);
            if let Ok(git) = builder.build() {
                self.git.push(git);
            }
        }
    }
}

/// Patterns relative to the rule's path; a name alone matches at any depth.
fn globs(patterns: &[String]) -> GlobSet {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        let pattern = pattern.trim_start_matches("./").trim_end_matches('/');
        for text in [pattern.to_owned(), format!("**/{pattern}")] {
            if let Ok(glob) = Glob::new(&text) {
                builder.add(glob);
            }
        }
    }
    builder.build().unwrap_or_else(|_| GlobSet::empty())
}

fn content(path: &Path) -> Option<u64> {
    let mut file = fs::File::open(path).ok()?;
    let mut hasher = DefaultHasher::new();
    let mut buffer = [0; 64 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer) {
            Ok(0) => return Some(hasher.finish()),
            Ok(count) => buffer[..count].hash(&mut hasher),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

fn git_is_at_work(path: &Path) -> bool {
    path.ancestors().any(|directory| directory.join(".git/index.lock").exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::watch::{WatchAction, WatchRule};

    struct Fixture {
        _dir: tempfile::TempDir,
        root: PathBuf,
        watcher: Watcher,
        events: Receiver<Event>,
    }

    fn watch(ignore: &[&str], prepare: impl FnOnce(&Path)) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        fs::create_dir(&root).unwrap();
        prepare(&root);
        let (sender, events) = unbounded();
        let watcher = Watcher::new(sender);
        let rule = WatchRule {
            path: root.clone(),
            action: WatchAction::Restart,
            target: None,
            ignore: ignore.iter().map(|&text| text.to_owned()).collect(),
            include: Vec::new(),
            initial_sync: false,
            exec: None,
            ignore_defaults: None,
        };
        watcher.set(vec![Watched { id: RuleId(1), service: "web".parse().unwrap(), rule }]);
        let fixture = Fixture { _dir: dir, root, watcher, events };
        // Armed once a change is seen.
        for turn in 0.. {
            fs::write(fixture.root.join("probe"), turn.to_string()).unwrap();
            if fixture.events.recv_timeout(Duration::from_millis(100)).is_ok() {
                break;
            }
        }
        while fixture.events.recv_timeout(Duration::from_millis(150)).is_ok() {}
        fixture
    }

    impl Fixture {
        fn changed(&self) -> Vec<String> {
            let mut names = BTreeSet::new();
            let mut wait = Duration::from_secs(10);
            while let Ok(event) = self.events.recv_timeout(wait) {
                if let Event::FilesChanged { paths, .. } = event {
                    names.extend(paths.iter().map(|path| path.strip_prefix(&self.root).unwrap().display().to_string()));
                }
                wait = Duration::from_millis(200);
            }
            names.into_iter().collect()
        }

        /// What is told of these changes; a last one, of `mark`, makes sure that all has been told.
        fn after(&self, change: impl FnOnce(&Path)) -> Vec<String> {
            change(&self.root);
            fs::write(self.root.join("mark"), format!("{:?}", fs::metadata(self.root.join("mark")).map(|m| m.len()))).unwrap();
            let mut names = self.changed();
            names.retain(|name| name != "mark");
            let _ = fs::remove_file(self.root.join("mark"));
            self.changed();
            names
        }
    }

    #[test]
    fn each_way_of_saving_is_one_changed_file() {
        let fixture = watch(&[], |root| fs::write(root.join("a"), "1").unwrap());
        assert_eq!(fixture.after(|root| fs::write(root.join("a"), "2").unwrap()), ["a"]);
        let renamed = fixture.after(|root| {
            fs::write(root.join(".a.swp"), "x").unwrap();
            fs::write(root.join("sedAbC"), "3").unwrap();
            fs::rename(root.join("sedAbC"), root.join("a")).unwrap();
        });
        assert!(renamed.contains(&"a".to_owned()) && !renamed.contains(&".a.swp".to_owned()), "{renamed:?}");
        assert_eq!(fixture.after(|root| fs::remove_file(root.join("a")).unwrap()), ["a"]);
    }

    #[test]
    fn the_same_content_again_is_no_change() {
        let fixture = watch(&[], |root| fs::write(root.join("a"), "1").unwrap());
        assert!(fixture.after(|root| fs::write(root.join("a"), "1").unwrap()).is_empty());
    }

    #[test]
    fn files_in_a_new_directory_are_seen_and_ignored_ones_are_not() {
        let fixture = watch(&["gen"], |root| {
            fs::write(root.join(".gitignore"), "dist/\n").unwrap();
            fs::create_dir_all(root.join("pkg")).unwrap();
            fs::write(root.join("pkg/.gitignore"), "out\n").unwrap();
            fs::create_dir_all(root.join("dist")).unwrap();
        });
        let seen = fixture.after(|root| {
            fs::create_dir_all(root.join("p/q")).unwrap();
            fs::write(root.join("p/q/new.py"), "1").unwrap();
            for ignored in ["dist/x", "pkg/out", "pkg/gen", "x.pyc", "f~"] {
                fs::write(root.join(ignored), "1").unwrap();
            }
            fs::create_dir_all(root.join("__pycache__")).unwrap();
            fs::write(root.join("__pycache__/z"), "1").unwrap();
        });
        assert_eq!(seen, ["p/q/new.py"]);
    }

    #[test]
    fn a_link_to_a_directory_is_followed() {
        let other = tempfile::tempdir().unwrap();
        let fixture = watch(&[], |root| std::os::unix::fs::symlink(other.path(), root.join("common")).unwrap());
        assert_eq!(fixture.after(|_| fs::write(other.path().join("x.py"), "1").unwrap()), ["common/x.py"]);
        fixture.watcher.set(Vec::new());
    }
}
