//! Tasks of two environments that make the same output: one at a time, whatever made them run.
//!
//! Each test has names of its own: processes are known by their environment's name, wherever its state lies.

use crate::support::sandbox::{Sandbox, is_alive, until};

/// A task that says when it begins and ends, and ends when `go` is there; and something that keeps the supervisor alive.
const SHARED: &str = "
processes:
  stays: {command: exec sleep 1000}
  make:
    command: echo begin $$BAISTACK_ENVID >> log; until [ -e go ]; do sleep 0.02; done; touch out; echo end $$BAISTACK_ENVID >> log
    outputs: [out]
    stop_grace_period: 200ms
";

fn go(sandbox: &Sandbox, go: bool) {
    if go {
        sandbox.write("go", "");
    } else {
        std::fs::remove_file(sandbox.path("go")).unwrap();
    }
}

fn count(sandbox: &Sandbox, line: &str) -> usize {
    sandbox.lines("log").iter().filter(|found| *found == line).count()
}

#[test]
fn a_forced_run_waits_while_another_environment_makes_the_same_output() {
    let sandbox = Sandbox::new(SHARED);
    go(&sandbox, true);
    sandbox.ok(&["-p", "taskone", "up", "-d", "--wait"]);
    // What the one has made the other one does not make again.
    sandbox.ok(&["-p", "tasktwo", "up", "-d", "--wait"]);
    assert_eq!(sandbox.lines("log"), ["begin taskone", "end taskone"]);
    go(&sandbox, false);
    let first = sandbox.begin(&["-p", "taskone", "restart", "make"]);
    until("the first runs", || count(&sandbox, "begin taskone") == 2);
    let second = sandbox.begin(&["-p", "tasktwo", "restart", "make"]);
    until("the second is to run", || sandbox.ok(&["-p", "tasktwo", "ps", "--all"]).contains("starting"));
    assert_eq!(count(&sandbox, "begin tasktwo"), 0);
    go(&sandbox, true);
    assert_eq!((first.end(), second.end()), (0, 0));
    until("both have run", || count(&sandbox, "end tasktwo") == 1);
    assert_eq!(sandbox.lines("log")[2..], ["begin taskone", "end taskone", "begin tasktwo", "end tasktwo"]);
}

#[test]
fn a_task_that_is_stopped_lets_others_make_its_output() {
    let sandbox = Sandbox::new(SHARED);
    let first = sandbox.begin(&["-p", "stopone", "up", "-d"]);
    until("the first runs", || count(&sandbox, "begin stopone") == 1);
    sandbox.ok(&["-p", "stopone", "stop", "make"]);
    drop(first);
    go(&sandbox, true);
    sandbox.ok(&["-p", "stoptwo", "up", "-d", "--wait"]);
    assert_eq!(sandbox.lines("log"), ["begin stopone", "begin stoptwo", "end stoptwo"]);
    assert!(sandbox.ok(&["-p", "stopone", "ps", "stays"]).contains("running"));
}

#[test]
fn a_wait_for_another_environments_run_ends_with_the_wish() {
    let sandbox = Sandbox::new(SHARED);
    let first = sandbox.begin(&["-p", "waitone", "up", "-d"]);
    until("the first runs", || count(&sandbox, "begin waitone") == 1);
    let second = sandbox.begin(&["-p", "waittwo", "up", "-d"]);
    until("the second waits", || sandbox.ok(&["-p", "waittwo", "ps", "--all"]).contains("checking"));
    sandbox.ok(&["-p", "waittwo", "down"]);
    drop((first, second));
    assert_eq!(sandbox.lines("log"), ["begin waitone"]);
    go(&sandbox, true);
    until("the first has run", || count(&sandbox, "end waitone") == 1);
}

#[test]
fn a_task_whose_run_was_killed_with_its_supervisor_is_free_for_others() {
    let sandbox = Sandbox::new(SHARED);
    let first = sandbox.begin(&["-p", "killone", "up", "-d"]);
    until("the first runs", || count(&sandbox, "begin killone") == 1);
    let supervisor = sandbox.supervisor_of("killone");
    crate::support::sandbox::kill(supervisor, nix::sys::signal::Signal::SIGKILL);
    until("it is gone", || !is_alive(supervisor));
    drop(first);
    go(&sandbox, true);
    sandbox.ok(&["-p", "killtwo", "up", "-d", "--wait"]);
    assert_eq!(count(&sandbox, "end killtwo"), 1);
}
