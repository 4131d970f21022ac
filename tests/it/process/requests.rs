//! What is asked of an environment in an odd moment: when nothing is up, again and again, from a directory that is gone.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, until};

const TWO: &str = "
processes:
  a: {command: exec sleep 1000}
  b: {command: exec sleep 1000}
";

#[test]
fn what_needs_something_that_is_up_says_so_when_nothing_is() {
    let sandbox = Sandbox::new(TWO);
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["down"]);
    for line in [&["start", "a"][..], &["start"], &["restart", "b"], &["restart"], &["pause", "a"], &["unpause"]] {
        let said = sandbox.run(line);
        assert!(said.code == 5 && said.err.contains("baistack up"), "{line:?}: {said:?}");
    }
    // What is gone already is what these ask for.
    for line in [&["stop"][..], &["down"], &["ps"], &["rm", "-f"]] {
        assert_eq!(sandbox.run(line).code, 0, "{line:?}");
    }
}

#[test]
fn what_was_stopped_is_made_already() {
    let sandbox = Sandbox::new(TWO);
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["stop", "a"]);
    sandbox.ok(&["create"]);
    assert!(sandbox.ok(&["ps", "b"]).contains("running"));
}

#[test]
fn a_run_of_a_schedule_that_fails_fails_no_up() {
    let sandbox = Sandbox::new(
        "
processes:
  a: {command: exec sleep 1000}
  cron: {command: 'echo >> runs; exit 1', schedule: {every: 1s}}
",
    );
    for rounds in 1..3 {
        sandbox.ok(&["up", "-d", "--wait"]);
        until("it has failed again", || sandbox.path("runs").exists() && sandbox.lines("runs").len() >= rounds);
    }
}

#[test]
fn a_terminal_that_is_closed_is_told_of_twice_and_stops_in_order_all_the_same() {
    let sandbox = Sandbox::new(
        "
processes:
  a:
    command: trap 'echo > asked; until [ -e go ]; do sleep 0.02; done; echo > clean; exit 0' TERM; echo > ready; while :; do sleep 0.02; done
",
    );
    let up = sandbox.begin(&["up"]);
    until("it runs", || sandbox.path("ready").exists());
    up.signal(Signal::SIGHUP);
    until("it is asked to end", || sandbox.path("asked").exists());
    up.signal(Signal::SIGHUP);
    up.signal(Signal::SIGTERM);
    // There is nothing to await where nothing is to happen.
    std::thread::park_timeout(Duration::from_millis(300));
    sandbox.write("go", "");
    assert_eq!(up.end(), 143);
    assert!(sandbox.path("clean").exists());
}

#[test]
fn a_directory_that_is_gone_keeps_nobody_from_an_environment_with_a_name() {
    let sandbox = Sandbox::new(TWO);
    sandbox.ok(&["-p", "gonedir", "up", "-d"]);
    let gone = sandbox.path("gone");
    fs::create_dir(&gone).unwrap();
    let down = sandbox.command(&["-p", "gonedir", "down"], &gone);
    let mut shell = Command::new("sh");
    shell.args(["-c", "rmdir \"$PWD\" && exec \"$0\" \"$@\""]).arg(down.get_program()).args(down.get_args());
    shell.current_dir(&gone).env_clear().envs(down.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let said = shell.output().unwrap();
    assert!(said.status.success() && !gone.exists(), "{said:?}");
}
