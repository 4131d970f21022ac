//! Stops: nothing is left to run beside its successor, in the order of the graph, and no slower than that takes.

use std::time::{Duration, Instant};

use crate::support::sandbox::{Sandbox, is_alive, until};

#[test]
fn a_restart_waits_for_the_program_behind_the_shell() {
    // The shell dies of the signal at once, its child takes its time.
    let sandbox = Sandbox::new(
        "
processes:
  a:
    command: |
      sh -c 'echo begin >> log; trap \"sleep 0.5; echo end >> log; exit\" TERM; true > ready; while :; do sleep 0.02; done'
      true
    healthcheck: {file: ready, interval: 50ms, start_period: 1m}
",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["restart", "a"]);
    until("the second copy has begun", || sandbox.lines("log").len() == 3);
    assert_eq!(sandbox.lines("log"), ["begin", "end", "begin"]);
}

#[test]
fn independent_services_stop_side_by_side_and_dependents_before_what_they_need() {
    let mut stack = "processes:\n".to_owned();
    let one = |name: &str, rest: &str| {
        format!(
            "  {name}:\n    command: |\n      trap 'echo {name} asked >> log; sleep 0.4; echo {name} gone >> log; exit' TERM\n      : > {name}; while :; do sleep 0.02; done\n    healthcheck: {{file: {name}, interval: 50ms, start_period: 1m}}\n{rest}"
        )
    };
    for index in 0..8 {
        stack += &one(&format!("s{index}"), "");
    }
    stack += &one("db", "");
    stack += &one("api", "    depends_on: [db]\n");
    stack += &one("web", "    depends_on: [api]\n");
    let sandbox = Sandbox::new(&stack);
    sandbox.ok(&["up", "-d", "--wait"]);
    let before = Instant::now();
    sandbox.ok(&["down"]);
    // One after the other would be 4.4 seconds of waiting alone.
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    let chain: Vec<String> = sandbox.lines("log").into_iter().filter(|line| !line.starts_with('s')).collect();
    assert_eq!(chain, ["web asked", "web gone", "api asked", "api gone", "db asked", "db gone"]);
}

#[test]
fn what_needs_something_through_a_service_that_has_ended_is_stopped_before_it() {
    let sandbox = Sandbox::new(
        "
processes:
  db: {command: \"trap 'echo db >> log; exit' TERM; true > db; while :; do sleep 0.02; done\", healthcheck: {file: db, interval: 50ms, start_period: 1m}}
  api: {command: 'true > api', depends_on: [db]}
  web:
    command: trap 'sleep 0.3; echo web >> log; exit' TERM; true > web; while :; do sleep 0.02; done
    healthcheck: {file: web, interval: 50ms, start_period: 1m}
    depends_on: [api]
",
    );
    sandbox.ok(&["up", "-d"]);
    until("all have started", || sandbox.path("web").exists() && sandbox.path("api").exists());
    until("api has ended", || sandbox.ok(&["ps", "-a", "api"]).contains("exited"));
    sandbox.ok(&["down"]);
    assert_eq!(sandbox.lines("log"), ["web", "db"]);
}

#[test]
fn a_stop_signal_of_its_own_is_what_a_service_gets_first() {
    let sandbox = Sandbox::new(
        "
processes:
  a:
    command: trap 'echo INT >> log; exit' INT; trap 'echo TERM >> log; exit' TERM; true > ready; while :; do sleep 0.02; done
    stop_signal: SIGINT
    healthcheck: {file: ready, interval: 50ms, start_period: 1m}
",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["stop"]);
    assert_eq!(sandbox.lines("log"), ["INT"]);
}

const STAYS: &str = "
processes:
  a: {command: 'echo $$$$ > new; mv new pid; echo ready; exec sleep 1000', healthcheck: {file: pid, interval: 50ms, start_period: 1m}}
";

#[test]
fn a_terminal_that_is_closed_stops_what_ran_in_its_foreground() {
    let sandbox = Sandbox::new(STAYS);
    let foreground = sandbox.begin_on_terminal(&["up"]);
    until("it runs", || sandbox.path("pid").exists());
    let (process, supervisor) = (sandbox.pid("pid"), sandbox.supervisor());
    drop(foreground);
    until("all of it has ended", || !is_alive(process) && !is_alive(supervisor));
    std::fs::remove_file(sandbox.path("pid")).unwrap();
    sandbox.ok(&["up", "-d", "--wait"]);
}

#[test]
fn a_hangup_does_not_reach_what_was_started_in_the_background() {
    let sandbox = Sandbox::new(STAYS);
    sandbox.on_terminal(&["up", "-d", "--wait"]);
    assert!(is_alive(sandbox.pid("pid")) && is_alive(sandbox.supervisor()));
}

#[test]
fn the_detach_key_leaves_everything_running() {
    let sandbox = Sandbox::new(STAYS);
    let mut foreground = sandbox.begin_on_terminal(&["up"]);
    until("it runs", || sandbox.path("pid").exists());
    foreground.type_until_it_ends("d");
    assert!(is_alive(sandbox.pid("pid")) && is_alive(sandbox.supervisor()));
    let following = sandbox.begin(&["logs", "-f"]);
    following.wait_for("ready");
    drop(following);
    assert!(is_alive(sandbox.pid("pid")));
}

#[test]
fn the_detach_key_means_the_up_also_after_a_restart() {
    let sandbox = Sandbox::new("processes: {web: {command: 'echo $$$$ >> lives; exec sleep 1000'}}\n");
    let mut foreground = sandbox.begin_on_terminal(&["up"]);
    foreground.wait_for("Keys: d detaches");
    until("it runs", || sandbox.lines("lives").len() == 1);
    foreground.write(b"rweb\n");
    until("it runs again", || sandbox.lines("lives").len() == 2);
    foreground.type_until_it_ends("d");
    let life: i32 = sandbox.lines("lives").pop().unwrap().parse().unwrap();
    assert!(is_alive(life) && is_alive(sandbox.supervisor()));
    sandbox.ok(&["down"]);
}

#[test]
fn keys_restart_a_service_filter_the_log_help_and_stop() {
    let sandbox = Sandbox::new(
        "
processes:
  web: {command: 'trap \"echo left >> lives; exit\" TERM; echo $$$$ >> lives; while :; do echo tick of web; sleep 0.05; done'}
  other: {command: 'while :; do echo tick of other; sleep 0.05; done'}
",
    );
    let terminal = sandbox.begin_on_terminal(&["up"]);
    terminal.wait_for("Keys: d detaches");
    terminal.wait_for("tick of web");
    terminal.wait_for("tick of other");
    terminal.write(b"h");
    terminal.wait_for("restart a service, and whoever follows it");
    terminal.write(b"rw");
    // What the services write meanwhile waits.
    terminal.wait_for("restart which service? w");
    terminal.write(b"\r");
    until("it has been restarted", || sandbox.lines("lives").len() >= 3);
    terminal.write(b"fot\t\r");
    terminal.wait_for_after("log of `other` alone", "tick of other");
    terminal.write(b"fnothing\r");
    terminal.wait_for("there is no one service `nothing`");
    terminal.write(b"q");
    let shown = terminal.end();
    let (_, after) = shown.split_once("log of `other` alone").unwrap();
    assert!(after.contains("tick of other") && !after.contains("tick of web"), "{after}");
    let lives = sandbox.lines("lives");
    assert_eq!((lives.len(), lives[1].as_str(), lives[3].as_str()), (4, "left", "left"), "{lives:?}");
}

#[test]
fn each_process_of_a_tree_gets_its_stop_signal_once() {
    let sandbox = Sandbox::new(
        "
processes:
  a:
    command: |
      sh deaf.sh near & setsid sh deaf.sh far & sh deaf.sh under & (sh deaf.sh orphan &)
      trap 'echo leader >> log; exit' TERM
      while :; do sleep 0.02; done
    healthcheck: {test: cat near far under orphan}
    stop_grace_period: 60s
",
    );
    // Goes on for a while after the first signal, and would hear of a second one.
    sandbox.write(
        "deaf.sh",
        "left=; trap 'echo '$1' >> log; left=40' TERM; : > $1\n\
         until [ \"$left\" = 0 ]; do sleep 0.02; [ -z \"$left\" ] || left=$((left - 1)); done\n",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["stop", "a"]);
    let mut told = sandbox.lines("log");
    told.sort_unstable();
    assert_eq!(told, ["far", "leader", "near", "orphan", "under"]);
}
