//! What is promised about watches, with real files and the kernel's events.

use std::os::unix::fs::symlink;

use super::*;
use crate::model::watch::{Sources, WatchAction, WatchRule};

/// Longer than any machine takes to tell of a change.
const PATIENCE: Duration = Duration::from_secs(20);

/// A watched directory `root`, and a file beside the rules that ends a list of changes.
struct Fixture {
    dir: tempfile::TempDir,
    watcher: Watcher,
    events: Receiver<Event>,
    marks: u32,
}

fn watched(id: u32, path: PathBuf) -> Watched {
    let rule = WatchRule {
        path,
        action: WatchAction::Restart,
        target: None,
        ignore: vec!["gen".to_owned()],
        include: Vec::new(),
        initial_sync: false,
        exec: None,
        ignore_defaults: None,
    };
    Watched { id: RuleId(id), service: "web".parse().unwrap(), rule, sources: Sources::Git }
}

impl Fixture {
    /// Watches `path` after these files were made.
    fn new(files: &[&str], path: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sender, events) = unbounded();
        let fixture = Self { watcher: Watcher::new(sender), dir, events, marks: 0 };
        fs::create_dir(fixture.dir.path().join("mark")).unwrap();
        for file in files {
            fixture.write(file, "old");
        }
        prepare(fixture.dir.path());
        fixture.set(path);
        fixture
    }

    fn set(&self, path: &str) {
        let at = |path: &str| self.dir.path().join(path);
        self.settle(vec![watched(1, at(path)), watched(2, at("mark"))]);
    }

    fn settle(&self, list: Vec<Watched>) {
        self.watcher.set(list);
        let (done, settled) = unbounded();
        self.watcher.commands.send(Command::Settle(done)).unwrap();
        assert!(settled.recv_timeout(PATIENCE).is_err_and(|error| !error.is_timeout()), "armed in time");
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What is told of everything done so far.
    fn changed(&mut self) -> String {
        self.marks += 1;
        let mut names = BTreeSet::new();
        self.write("mark/file", &self.marks.to_string());
        loop {
            match self.events.recv_timeout(PATIENCE).expect("told in time") {
                Event::FilesChanged { rule: RuleId(2), .. } => {
                    let names: Vec<String> = names.into_iter().collect();
                    return names.join(" ");
                }
                Event::FilesChanged { paths, .. } => {
                    names.extend(paths.iter().map(|path| path.strip_prefix(self.dir.path()).unwrap().display().to_string()));
                }
                Event::WatchSet => {}
                Event::WatchTrouble { message, .. } => drop(names.insert(format!("({message})"))),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn each_way_of_saving_is_one_changed_file() {
    let mut fixture = Fixture::new(&["root/a.py"], "root", |_| {});
    let a = fixture.dir.path().join("root/a.py");
    let beside = |name: &str| a.with_file_name(name);
    fixture.write("root/a.py", "in place");
    assert_eq!(fixture.changed(), "root/a.py");
    // vim with a backup.
    fs::write(beside(".a.py.swp"), "x").unwrap();
    fs::rename(&a, beside("a.py~")).unwrap();
    fs::write(&a, "vim").unwrap();
    fs::remove_file(beside("a.py~")).unwrap();
    fs::remove_file(beside(".a.py.swp")).unwrap();
    assert_eq!(fixture.changed(), "root/a.py");
    // sed -i, black, JetBrains.
    fs::write(beside("a.py~"), "renamed").unwrap();
    fs::rename(beside("a.py~"), &a).unwrap();
    assert_eq!(fixture.changed(), "root/a.py");
    fs::remove_file(&a).unwrap();
    assert_eq!(fixture.changed(), "root/a.py");
}

#[test]
fn the_same_content_again_is_no_change() {
    let mut fixture = Fixture::new(&["root/a.py", "root/b.py"], "root", |_| {});
    fixture.write("root/a.py", "old");
    let b = fixture.dir.path().join("root/b.py");
    fs::remove_file(&b).unwrap();
    fixture.write("root/b.py", "old");
    let mut permissions = fs::metadata(&b).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&b, permissions).unwrap();
    // A removal and the new file may be told apart; the other file never is.
    assert!(!fixture.changed().contains("a.py"));
}

#[test]
fn a_burst_is_told_whole() {
    let mut fixture = Fixture::new(&["root/a.py"], "root", |_| {});
    for number in 0..200 {
        fixture.write(&format!("root/p{}/q/f{number}.py", number % 10), "new");
    }
    assert_eq!(fixture.changed().split(' ').count(), 200);
    fs::rename(fixture.dir.path().join("root/p0"), fixture.dir.path().join("away")).unwrap();
    assert_eq!(fixture.changed().split(' ').count(), 20);
}

#[test]
fn ignored_files_are_silent_and_a_changed_gitignore_counts_at_once() {
    let files = ["root/pkg/a.py", "root/dist/x", "root/gen/x"];
    let mut fixture = Fixture::new(&files, "root", |dir| {
        fs::create_dir(dir.join(".git")).unwrap();
        fs::write(dir.join(".gitignore"), "dist/\n*.log\n").unwrap();
        fs::write(dir.join("root/pkg/.gitignore"), "out\n!keep.log\n").unwrap();
    });
    for file in ["dist/y", "gen/x", "x.log", "pkg/out", "pkg/__pycache__/a.pyc", "f~", ".git/index", "pkg/keep.log"] {
        fixture.write(&format!("root/{file}"), "new");
    }
    assert_eq!(fixture.changed(), "root/pkg/keep.log");
    fixture.write("root/pkg/.gitignore", "a.py\n");
    assert_eq!(fixture.changed(), "root/pkg/.gitignore root/pkg/out");
    fixture.write("root/pkg/a.py", "new");
    assert_eq!(fixture.changed(), "");
}

#[test]
fn links_are_followed_and_loops_end() {
    let mut fixture = Fixture::new(&["root/a.py", "common/src/b.py"], "link", |dir| {
        symlink("root", dir.join("link")).unwrap();
        symlink("../common", dir.join("root/common")).unwrap();
        symlink("../../root", dir.join("common/src/back")).unwrap();
    });
    fixture.write("common/src/b.py", "new");
    fixture.write("root/a.py", "new");
    assert_eq!(fixture.changed(), "link/a.py link/common/src/b.py");
}

#[test]
fn a_single_file_is_watched_through_its_directory_and_from_its_birth() {
    let mut fixture = Fixture::new(&["root/a.py"], "root/conf/app.toml", |_| {});
    let message =
        format!("({} does not exist; it is watched as soon as it does)", fixture.dir.path().join("root/conf/app.toml").display());
    assert_eq!(fixture.changed(), message);
    fixture.write("root/conf/app.toml", "born");
    assert_eq!(fixture.changed(), "root/conf/app.toml");
    fixture.write("root/conf/other", "new");
    let file = fixture.dir.path().join("root/conf/app.toml");
    fs::write(file.with_extension("tmp"), "renamed").unwrap();
    fs::rename(file.with_extension("tmp"), file).unwrap();
    assert_eq!(fixture.changed(), "root/conf/app.toml");
}

#[test]
fn a_rule_that_stays_loses_nothing_and_one_that_goes_is_silent() {
    let mut fixture = Fixture::new(&["root/a.py"], "root", |_| {});
    fixture.write("root/a.py", "new");
    fixture.set("root");
    assert_eq!(fixture.changed(), "root/a.py");
    fixture.settle(vec![watched(2, fixture.dir.path().join("mark"))]);
    fixture.write("root/a.py", "newer");
    assert_eq!(fixture.changed(), "");
}
