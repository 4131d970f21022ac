//! What is promised about tasks: when one is due, when it has succeeded, and that copies of a stack share what it made.

use std::cell::Cell;
use std::sync::mpsc;

use super::*;
use crate::model::process::Command;
use crate::model::secret::{FileGrant, FileObject};
use crate::model::service::{Common, Kind, Service};
use crate::plan::desired::{Caller, Deployment, Places};
use crate::plan::hash::ConfigHash;

/// Copies of a stack on one host, with one task each.
struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn tasks(&self, env: &str) -> Tasks {
        Tasks::new(&self.root.path().join("state").join(env), &self.root.path().join("state"))
    }

    /// A task of the stack in the directory `env`; `@` in its texts is that directory.
    fn spec(&self, env: &str, command: &str, inputs: &[&str], outputs: &[&str], check: bool) -> UnitSpec {
        let directory = self.root.path().join(env);
        let text = |text: &&str| {
            text.replace('@', &directory.display().to_string()).replace('~', &self.root.path().display().to_string())
        };
        let process = Process {
            command: Some(Command::Text(text(&command))),
            inputs: inputs.iter().map(text).collect(),
            outputs: outputs.iter().map(text).collect(),
            check: check.then(|| Command::Text("true".to_owned())),
            task: true,
            ..Process::default()
        };
        let service = Service { common: Common::default(), kind: Kind::Process(Box::new(process)) };
        let mut stack = crate::model::stack::Stack { directory: directory.clone(), ..Default::default() };
        let hash = ConfigHash::of(&service, &stack, &env.parse().unwrap());
        stack.services.insert("venv".parse().unwrap(), service);
        let places = Places { env_dir: directory.join(".baistack").join(env), ..Places::default() };
        let deployment = Deployment { env: env.parse().unwrap(), stack, caller: Caller::default(), places };
        UnitSpec { unit: "venv:1".parse().unwrap(), deployment: Arc::new(deployment), hash }
    }
}

fn fine() -> Result<(), String> {
    Ok(())
}

/// `up to date`, or why not.
fn assess(tasks: &Tasks, spec: &UnitSpec) -> String {
    tasks.claim(&spec.unit);
    let assessment = tasks.assess(spec, false, false, &fine).unwrap();
    tasks.abandon(&spec.unit);
    match assessment {
        Assessment::UpToDate => "up to date".to_owned(),
        Assessment::Due(reason) => reason,
    }
}

fn run(tasks: &Tasks, spec: &UnitSpec) {
    assert_eq!(tasks.conclude(spec, Exit::Code(0), &fine), Ok(Conclusion::Succeeded));
}

#[test]
fn a_task_is_due_when_anything_it_is_made_of_changes() {
    let host = Host::new();
    let tasks = host.tasks("a");
    host.write("a/in.txt", "1");
    host.write("a/out", "");
    let spec = host.spec("a", "make", &["@/*.txt"], &["@/out"], false);
    assert_eq!(assess(&tasks, &spec), "never run here");
    run(&tasks, &spec);
    assert_eq!(assess(&host.tasks("a"), &spec), "up to date");
    assert_eq!(assess(&tasks, &host.spec("a", "make all", &["@/*.txt"], &["@/out"], false)), "its definition changed");
    let with = |change: &dyn Fn(&mut Deployment)| {
        let mut deployment = (*spec.deployment).clone();
        change(&mut deployment);
        UnitSpec { deployment: deployment.into(), ..spec.clone() }
    };
    fn common(deployment: &mut Deployment) -> &mut Common {
        &mut deployment.stack.services.values_mut().next().unwrap().common
    }
    let rights = with(&|deployment| common(deployment).cap_add.push("SYS_PTRACE".to_owned()));
    assert_eq!(assess(&tasks, &rights), "its definition changed");
    let secret = |content: &str| {
        with(&|deployment| {
            common(deployment).secrets.push(FileGrant { source: "key".to_owned(), ..FileGrant::default() });
            let object = FileObject { content: Some(content.to_owned()), ..FileObject::default() };
            deployment.stack.secrets.insert("key".to_owned(), object);
        })
    };
    run(&tasks, &secret("1"));
    assert_eq!(assess(&tasks, &secret("1")), "up to date");
    assert_eq!(assess(&tasks, &secret("2")), "secret key changed");
    run(&tasks, &spec);
    host.write("a/in.txt", "2");
    assert_eq!(assess(&tasks, &spec), "in.txt changed");
    host.write("a/in.txt", "1");
    host.write("a/more.txt", "");
    assert_eq!(assess(&tasks, &spec), "more.txt is new");
    fs::remove_file(host.root.path().join("a/more.txt")).unwrap();
    fs::remove_file(host.root.path().join("a/in.txt")).unwrap();
    assert_eq!(assess(&tasks, &spec), "in.txt is gone");
    fs::remove_file(host.root.path().join("a/out")).unwrap();
    assert_eq!(assess(&tasks, &spec), "output out is missing");
    assert_eq!(tasks.conclude(&spec, Exit::Code(0), &fine), Ok(Conclusion::Failed("output out is missing".to_owned())));
    assert_eq!(tasks.conclude(&spec, Exit::Code(3), &fine), Ok(Conclusion::Failed("exit code 3".to_owned())));
}

#[test]
fn a_check_decides_alone_and_is_not_asked_when_trusted() {
    let host = Host::new();
    let tasks = host.tasks("a");
    let spec = host.spec("a", "migrate", &[], &[], true);
    for (trusted, dependency_ran, succeeds, due, asked) in [
        (false, false, true, None, true),
        (false, false, false, Some("its check fails"), true),
        (true, false, false, None, false),
        (true, true, true, None, true),
        (true, true, false, Some("its check fails"), true),
    ] {
        let count = Cell::new(0);
        let check = || {
            count.set(count.get() + 1);
            if succeeds { Ok(()) } else { Err("no".to_owned()) }
        };
        let expected = due.map_or(Assessment::UpToDate, super::due);
        tasks.claim(&spec.unit);
        assert_eq!(tasks.assess(&spec, trusted, dependency_ran, &check), Ok(expected), "{trusted} {dependency_ran} {succeeds}");
        assert_eq!(count.get() > 0, asked);
    }
    let failed = Conclusion::Failed("its check fails: no".to_owned());
    assert_eq!(tasks.conclude(&spec, Exit::Code(0), &|| Err("no".to_owned())), Ok(failed));
    let plain = host.spec("a", "once", &[], &[], false);
    tasks.claim(&plain.unit);
    assert_eq!(tasks.assess(&plain, true, false, &fine), Ok(Assessment::UpToDate));
    tasks.claim(&plain.unit);
    assert_eq!(tasks.assess(&plain, true, true, &fine), Ok(due("a task it depends on has run")));
    assert_eq!(assess(&tasks, &plain), "it has not run since the start");
}

#[test]
fn copies_of_a_stack_make_a_shared_output_once() {
    let host = Host::new();
    let spec =
        |env: &str| host.spec(env, "pip install -r @/in.txt", &["@/in.txt", "~/common/setup.cfg"], &["~/cache/venv"], false);
    for path in ["copyone1/in.txt", "copytwo2/in.txt", "common/setup.cfg", "cache/venv"] {
        host.write(path, "same");
    }
    let (one, two) = (host.tasks("copyone1"), host.tasks("copytwo2"));
    one.claim(&spec("copyone1").unit);
    assert_eq!(one.assess(&spec("copyone1"), false, false, &fine), Ok(due("never run here")));

    // The second copy waits for the first one's run and finds it done.
    let (send, received) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| send.send(assess(&two, &spec("copytwo2"))));
        assert_eq!(received.recv_timeout(LOCK_WAIT * 2), Err(mpsc::RecvTimeoutError::Timeout));
        run(&one, &spec("copyone1"));
        assert_eq!(received.recv().unwrap(), "up to date");
    });
    host.write("copytwo2/in.txt", "other");
    assert_eq!(assess(&two, &spec("copytwo2")), "in.txt changed");
    assert_eq!(assess(&one, &spec("copyone1")), "up to date");
}

#[test]
fn a_wait_for_another_environment_can_be_given_up() {
    let host = Host::new();
    let spec = |env: &str| host.spec(env, "make", &[], &["~/out"], false);
    let (one, two) = (host.tasks("a"), host.tasks("b"));
    one.claim(&spec("a").unit);
    assert!(!one.is_held(&spec("a")));
    one.hold(&spec("a")).unwrap();
    assert!(one.is_held(&spec("a")));
    thread::scope(|scope| {
        two.claim(&spec("b").unit);
        let waiting = scope.spawn(|| two.hold(&spec("b")));
        two.abandon(&spec("b").unit);
        assert!(waiting.join().unwrap().is_err());
    });
    // Given up before the wait has begun: it never does.
    assert!(two.hold(&spec("b")).is_err());
    one.abandon(&spec("a").unit);
    two.claim(&spec("b").unit);
    two.hold(&spec("b")).unwrap();
}

#[test]
fn a_file_that_changes_during_the_run_makes_the_task_due_again() {
    let host = Host::new();
    let tasks = host.tasks("a");
    let spec = host.spec("a", "make", &["@/in.txt"], &[], false);
    host.write("a/in.txt", "1");
    tasks.claim(&spec.unit);
    tasks.assess(&spec, false, false, &fine).unwrap();
    host.write("a/in.txt", "2");
    run(&tasks, &spec);
    assert_eq!(assess(&tasks, &spec), "in.txt changed");
}

#[test]
fn what_files_tell_of_a_task_is_foreseen_without_running_anything() {
    let host = Host::new();
    host.write("env/in", "1");
    let tasks = host.tasks("env");
    let foreseen = |check, trusted| {
        let spec = host.spec("env", "run", &["@/in"], &["@/out"], check);
        tasks.foresee(&spec, trusted, false).unwrap()
    };
    let due = |reason: &str| Some(Assessment::Due(reason.to_owned()));
    assert_eq!(foreseen(false, true), due("output out is missing"));
    host.write("env/out", "");
    assert_eq!(foreseen(false, true), due("never run here"));
    let spec = host.spec("env", "run", &["@/in"], &["@/out"], false);
    tasks.claim(&spec.unit);
    tasks.hold(&spec).unwrap();
    assert_eq!(tasks.conclude(&spec, Exit::Code(0), &fine).unwrap(), Conclusion::Succeeded);
    assert_eq!(foreseen(false, false), Some(Assessment::UpToDate));
    host.write("env/in", "2");
    assert!(matches!(foreseen(false, true), Some(Assessment::Due(reason)) if reason.contains("in")));
    let spec = host.spec("env", "run", &["@/in"], &["@/out"], true);
    tasks.claim(&spec.unit);
    tasks.hold(&spec).unwrap();
    assert_eq!(tasks.conclude(&spec, Exit::Code(0), &fine).unwrap(), Conclusion::Succeeded);
    assert_eq!(foreseen(true, true), Some(Assessment::UpToDate));
    assert_eq!(foreseen(true, false), None, "only its check can tell");
}
