//! Tasks that run when it is time.

use crate::support::sandbox::{Sandbox, is_alive, until};

#[test]
fn a_scheduled_task_runs_again_and_again_until_it_is_stopped() {
    let sandbox = Sandbox::new("processes: {a: {command: 'echo run >> runs; exit 3', schedule: {every: 1s}}}");
    // It is not waited for, and what it does is nobody's failure.
    sandbox.ok(&["up", "-d", "--wait"]);
    until("it has run twice", || sandbox.lines("runs").len() >= 2);
    let supervisor = sandbox.supervisor();
    let mut shown = String::new();
    until("its last run is shown", || {
        shown = sandbox.ok(&["ps", "-a", "--format", "json"]);
        shown.contains("\"success\":false,\"result\":\"exit code 3\"")
    });
    assert!(shown.contains("\"next_ms\":"), "{shown}");
    sandbox.ok(&["stop"]);
    until("the supervisor ends", || !is_alive(supervisor));
}

#[test]
fn a_foreground_up_stays_for_a_task_whose_time_has_not_come() {
    let sandbox = Sandbox::new("processes: {a: {command: echo it ran, schedule: {every: 1s}}}");
    let foreground = sandbox.begin(&["up"]);
    foreground.wait_for("it ran");
    foreground.wait_for("it ran");
    foreground.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(foreground.end(), 130);
}

#[test]
fn a_cron_time_is_local_and_shown_as_the_time_until_then() {
    let sandbox = Sandbox::new("processes: {a: {command: touch a, schedule: {cron: '* * * * *'}}}");
    sandbox.ok(&["up", "-d"]);
    let mut shown = String::new();
    until("the clock has been asked", || {
        shown = sandbox.ok(&["ps", "-a"]);
        shown.contains("scheduled, next run in")
    });
}

#[test]
fn a_time_that_is_none_is_said_with_its_place() {
    let sandbox = Sandbox::new(
        "processes:\n  a: {command: touch a, schedule: {cron: '61 * * * *'}}\n  b: {command: touch b, schedule: {evry: 1s}}\n",
    );
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 3, "{said:?}");
    for text in ["stack.yaml:2:", "61 * * * *", "stack.yaml:3:", "did you mean `every`?"] {
        assert!(said.err.contains(text), "{text}: {said:?}");
    }
}
