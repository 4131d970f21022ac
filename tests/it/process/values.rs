//! Values that no start could use are told at their place in the file, before anything has started.

use crate::support::sandbox::Sandbox;

#[test]
fn what_this_host_does_not_have_is_told_at_its_place_before_anything_starts() {
    let sandbox = Sandbox::new(
        "
processes:
  first: {command: touch first}
  a:
    command: sleep 1000
    user: no-such-user-here
    group_add: ['0', no-such-group-here]
    post_start: [{command: 'true', user: no-such-user-either}]
",
    );
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 3, "{said:?}");
    for expected in [
        "error[unfit-host]: `a`: no user `no-such-user-here` on this host",
        "stack.yaml:6:11",
        "error[unfit-host]: `a`: no group `no-such-group-here` on this host",
        "stack.yaml:7:22",
        "error[unfit-host]: `a`: no user `no-such-user-either` on this host",
        "stack.yaml:8:42",
    ] {
        assert!(said.err.contains(expected), "{expected}: {said:?}");
    }
    assert!(!sandbox.path("first").exists());
    // To be looked at it is as good as any.
    sandbox.ok(&["config", "--quiet"]);
}

#[test]
fn a_stop_signal_that_is_none_is_told_before_anything_starts() {
    let sandbox = Sandbox::new("processes: {a: {command: touch a, stop_signal: SIGTREM}}");
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("`SIGTREM` is not a signal") && said.err.contains("did you mean `SIGTERM`?"), "{said:?}");
    assert!(!sandbox.path("a").exists());
}
