//! Restarts by saved files, in the whole program.

use std::time::{Duration, Instant};

use crate::support::sandbox::{Sandbox, until};

/// A service that notes what it has read, and takes its time to end.
const SLOW: &str = "
processes:
  a:
    command: cat src/version >> starts; echo >> starts; trap 'sleep 0.5; exit' TERM; true > ready; while :; do sleep 0.02; done
    healthcheck: {file: ready, interval: 50ms, start_period: 1m}
    develop: {watch: [{path: src, action: restart}]}
";

fn starts(sandbox: &Sandbox) -> Vec<String> {
    sandbox.lines("starts").into_iter().filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_change_during_a_restart_is_not_lost() {
    let sandbox = Sandbox::new(SLOW);
    sandbox.save("src/version", "1");
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.save("src/version", "2");
    until("the restart is under way", || sandbox.ok(&["ps", "-a"]).contains("stopping"));
    sandbox.save("src/version", "3");
    until("the last one was read", || starts(&sandbox).last().is_some_and(|line| line == "3"));
    sandbox.ok(&["ps"]);
    assert!(starts(&sandbox).len() <= 3, "{:?}", starts(&sandbox));
}

#[test]
fn a_stopped_service_stays_stopped_and_its_watch_is_armed_again_with_it() {
    let sandbox = Sandbox::new(&format!(
        "{SLOW}  other:\n    command: echo >> others; exec sleep 1000\n    develop: {{watch: [{{path: src, action: restart}}]}}\n"
    ));
    sandbox.save("src/version", "1");
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["stop", "a"]);
    sandbox.save("src/version", "2");
    until("the other one was restarted", || sandbox.lines("others").len() == 2);
    assert_eq!(starts(&sandbox), ["1"]);
    sandbox.ok(&["start", "a"]);
    until("it has read the last one", || starts(&sandbox).len() == 2);
    assert_eq!(starts(&sandbox), ["1", "2"]);
    // Nothing tells when its files are watched again: what was saved before that is not seen, and what is saved after it is.
    let mut version = 2;
    until("it is restarted", || {
        version += 1;
        sandbox.save("src/version", &version.to_string());
        let saved = Instant::now();
        while starts(&sandbox).len() == 2 && saved.elapsed() < Duration::from_secs(2) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        starts(&sandbox).len() > 2
    });
}

#[test]
fn a_change_restarts_its_service_and_those_that_follow_and_no_dependency() {
    let one = |name: &str, rest: &str| format!("  {name}:\n    command: echo {name} >> order; echo up; exec sleep 1000\n{rest}");
    let watch = "    develop: {watch: [{path: src, action: restart}]}\n";
    let probe = "    healthcheck: {log: up, interval: 50ms, start_period: 1m}\n";
    let mut stack = "processes:\n".to_owned();
    stack += &one("db", "");
    stack += &one("web", &format!("    depends_on: [db]\n{watch}{probe}"));
    stack += &one("worker", &format!("    depends_on: {{web: {{condition: service_healthy}}}}\n{watch}"));
    stack += &one("follower", "    depends_on: {web: {condition: service_healthy, restart: true}}\n");
    let sandbox = Sandbox::new(&stack);
    sandbox.save("src/main", "1");
    sandbox.ok(&["up", "-d", "--wait"]);
    until("all have started", || sandbox.lines("order").len() == 4);
    sandbox.save("src/main", "2");
    until("three have started again", || sandbox.lines("order").len() >= 7);
    sandbox.ok(&["ps"]);
    let mut again = sandbox.lines("order")[4..].to_vec();
    assert_eq!(again[0], "web");
    again.sort();
    assert_eq!(again, ["follower", "web", "worker"]);
}

#[test]
fn what_several_services_have_to_say_is_said_once() {
    let watch = "develop: {watch: [{path: nowhere, action: restart}]}";
    let services = (1..=4).map(|n| format!("  s{n}: {{command: exec sleep 1000, {watch}}}\n")).collect::<Vec<_>>().concat();
    let sandbox = Sandbox::new(&format!("processes:\n{services}"));
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!(said.err.matches("is watched as soon as it does").count(), 1, "{said:?}");
}
