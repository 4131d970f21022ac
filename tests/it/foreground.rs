//! What the foreground `up` shows of containers: all that they write from their start on, each line once.

use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, until};

/// The text of lines that have no prefix.
fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn every_line_is_shown_once_though_the_engines_log_is_rotated_meanwhile() {
    let stack = r#"
services:
  loud:
    image: IMAGE
    command: [busybox, seq, "1", "200000"]
    logging: {driver: json-file, options: {max-size: 100k, max-file: "2"}}
"#;
    let Some(sandbox) = Sandbox::with_engine("loud", stack) else { return };
    let said = sandbox.run(&["up", "--no-log-prefix"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let shown: Vec<&str> = said.out.lines().collect();
    let differs = shown.iter().zip(numbers(1..=200_000)).position(|(shown, wanted)| **shown != wanted);
    assert_eq!((differs, shown.len()), (None, 200_000));
}

#[test]
fn each_life_is_shown_once_whoever_began_it() {
    // The first waits to be stopped, the second fails, and what follows is the engine's restart.
    let stack = r#"
services:
  lives:
    image: IMAGE
    stop_signal: SIGKILL
    restart: on-failure
    command:
      - sh
      - -c
      - |
        echo x >>/lives
        life=$$(($$(busybox wc -l </lives)))
        busybox seq 1 2000 | busybox sed "s/^/$$life /"
        echo "$$life is all"
        [ $$life = 2 ] && exit 1
        sleep 1000
"#;
    let Some(sandbox) = Sandbox::with_engine("lives", stack) else { return };
    let up = sandbox.begin(&["up", "--no-log-prefix"]);
    let mut shown = up.wait_for("1 is all");
    sandbox.ok(&["restart", "lives"]);
    shown.extend(up.wait_for("2 is all"));
    shown.extend(up.wait_for("3 is all"));
    up.signal(Signal::SIGINT);
    shown.extend(up.wait_for("stopping"));
    up.end();
    let shown: Vec<&String> = shown.iter().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
    let wanted: Vec<String> =
        (1..=3).flat_map(|life| numbers(1..=2000).into_iter().map(move |number| format!("{life} {number}"))).collect();
    let differs = shown.iter().zip(&wanted).position(|(shown, wanted)| *shown != wanted);
    assert_eq!((differs, shown.len()), (None, wanted.len()), "{:?}", differs.map(|at| &shown[at.saturating_sub(3)..=at]));
}

#[test]
fn what_is_not_attached_to_is_not_shown_and_waits_for_nobody() {
    let stack = "
services:
  quiet: {image: IMAGE, attach: false, command: [echo, hush]}
  other: {image: IMAGE, command: [echo, hello], depends_on: {quiet: {condition: service_completed_successfully}}}
";
    let Some(sandbox) = Sandbox::with_engine("quiet", stack) else { return };
    assert_eq!(sandbox.ok(&["up", "--no-log-prefix"]), "hello\n");
    assert_eq!(sandbox.ok(&["up", "--no-log-prefix", "--no-attach", "other"]), "");
}

#[test]
fn a_foreground_that_is_stopped_hinders_no_start_and_shows_all_once_it_goes_on() {
    let stack = "
services:
  first:
    image: IMAGE
    init: true
    command: [sh, -c, 'echo first; sleep 1000']
    healthcheck: {test: [CMD, test, -e, /go], interval: 1s, retries: 1000}
  second:
    image: IMAGE
    init: true
    command: [sh, -c, 'echo >>/lives; echo second $$(wc -l </lives); sleep 1000']
    depends_on: {first: {condition: service_healthy}}
";
    let Some(sandbox) = Sandbox::with_engine("gone", stack) else { return };
    let up = sandbox.begin(&["up"]);
    up.wait_for("| first");
    // It is asked to attach, and cannot answer.
    up.signal(Signal::SIGSTOP);
    // Its line is shown as it is written, which may be before its start was answered.
    until("the first runs", || sandbox.run(&["exec", "-T", "first", "sh", "-c", ": >/go"]).code == 0);
    let waits = "waits for the `up` in the foreground to attach";
    until("the second waits", || sandbox.run(&["why", "second"]).out.contains(waits));
    until("it waits no longer", || sandbox.engine().is_running("second-1"));
    sandbox.ok(&["restart", "second"]);
    up.signal(Signal::SIGCONT);
    let told = [up.wait_for("| second 1"), up.wait_for("| second 2")].concat();
    assert!(!told.iter().any(|line| line.contains("| ")), "each line once: {told:#?}");
    up.signal(Signal::SIGKILL);
    sandbox.ok(&["down"]);
}
