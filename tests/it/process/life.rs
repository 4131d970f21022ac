//! Starts, crashes, health and what others wait for.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, children, is_alive, kill, until};

fn state(sandbox: &Sandbox, service: &str) -> serde_json::Value {
    let shown = sandbox.ok(&["ps", "-a", "--format", "json", service]);
    serde_json::from_str(shown.lines().next().unwrap_or("null")).unwrap()
}

#[test]
fn a_crash_is_seen_at_once_with_its_signal_and_leaves_no_zombie() {
    let sandbox = Sandbox::new("processes: {a: {command: exec sleep 1000}, b: {command: exec sleep 1000}}");
    sandbox.ok(&["up", "-d", "--wait"]);
    let pid = i32::try_from(state(&sandbox, "a")["Pid"].as_i64().unwrap()).unwrap();
    kill(pid, Signal::SIGKILL);
    until("it is seen", || state(&sandbox, "a")["State"] == "exited");
    assert_eq!(state(&sandbox, "a")["ExitCode"], 137);
    assert!(!children(sandbox.supervisor()).contains(&pid));
}

#[test]
fn a_fault_that_lasts_is_tried_at_growing_gaps_and_shown() {
    let sandbox = Sandbox::new("processes: {a: {command: 'date +%s%N >> starts; exit 1', restart: always}}");
    sandbox.run(&["up", "-d"]);
    until("it has been tried six times", || sandbox.lines("starts").len() >= 6);
    let at: Vec<u64> = sandbox.lines("starts").iter().map(|line| line.parse().unwrap()).collect();
    let gaps: Vec<u64> = at.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect();
    // 100 ms doubled each time, ±10 %.
    assert!(gaps[4] > gaps[0] && gaps[4] >= 1400, "{gaps:?}");
    let shown = sandbox.ok(&["ps", "-a", "--no-trunc"]);
    assert!(shown.contains("backing off") && shown.contains("next try in") && shown.contains("exit code 1"), "{shown}");
}

#[test]
fn a_success_ends_the_start_period() {
    let sandbox = Sandbox::new(
        "
processes:
  a: {command: exec sleep 1000, healthcheck: {test: 'true', interval: 1s, start_period: 1h}}
  b: {command: ': > b; exec sleep 1000', depends_on: {a: {condition: service_healthy}}}
",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
    // It runs; its first command may be still to come.
    until("it has written", || sandbox.path("b").exists());
}

/// Healthy while `good` is there.
const WATCHED: &str = "
processes:
  a:
    command: exec sleep 1000
    restart: always
    healthcheck: {test: 'test -e good', interval: 100ms, retries: 1}
  b: {command: ': > b; exec sleep 1000', depends_on: {a: {condition: service_healthy}}}
";

#[test]
fn an_unhealthy_verdict_alone_kills_nothing_and_can_turn() {
    let sandbox = Sandbox::new(WATCHED);
    sandbox.write("good", "");
    sandbox.ok(&["up", "-d", "--wait"]);
    let pid = state(&sandbox, "a")["Pid"].clone();
    fs::remove_file(sandbox.path("good")).unwrap();
    until("it is unhealthy", || state(&sandbox, "a")["Health"] == "unhealthy");
    sandbox.write("good", "");
    until("it is healthy again", || state(&sandbox, "a")["Health"] == "healthy");
    assert_eq!((&state(&sandbox, "a")["Pid"], &state(&sandbox, "a")["Restarts"]), (&pid, &serde_json::json!(0)));
}

#[test]
fn a_verdict_does_not_outlive_the_life_that_it_was_about() {
    let sandbox = Sandbox::new(WATCHED);
    sandbox.write("good", "");
    sandbox.ok(&["up", "-d", "--wait"]);
    // It runs; its first command may be still to come.
    until("it has written", || sandbox.path("b").exists());
    fs::remove_file(sandbox.path("good")).unwrap();
    fs::remove_file(sandbox.path("b")).unwrap();
    let restart = sandbox.begin(&["restart"]);
    until("it runs again", || state(&sandbox, "a")["Health"] != "healthy" && state(&sandbox, "a")["State"] == "running");
    assert!(!sandbox.path("b").exists());
    sandbox.write("good", "");
    until("b has started after a fresh success", || sandbox.path("b").exists());
    drop(restart);
}

#[test]
fn a_restart_obeys_the_conditions_that_up_obeys() {
    let sandbox = Sandbox::new(
        "
processes:
  job: {command: exit 3}
  app: {command: ': > app; exec sleep 1000', depends_on: {job: {condition: service_completed_successfully}}}
",
    );
    assert_eq!(sandbox.run(&["up", "-d"]).code, 1);
    assert_eq!(sandbox.run(&["restart", "app"]).code, 1);
    assert!(!sandbox.path("app").exists());
}

#[test]
fn a_command_about_one_service_leaves_what_it_depends_on_alone() {
    let sandbox = Sandbox::new(
        "
processes:
  db: {command: exec sleep 1000}
  web: {command: exec sleep 1000, depends_on: [db]}
  other: {command: exec sleep 1000, depends_on: [db]}
",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
    let pids = || (state(&sandbox, "db")["Pid"].clone(), state(&sandbox, "other")["Pid"].clone());
    let before = pids();
    for line in [&["restart", "web"][..], &["up", "-d", "web"], &["stop", "web"], &["start", "web"], &["down", "web"]] {
        sandbox.ok(line);
        assert_eq!(pids(), before, "{line:?}");
    }
}

#[test]
fn a_dependency_behind_a_profile_is_named_or_passed_over() {
    let stack = |required: bool| {
        format!(
            "
processes:
  app: {{command: exec sleep 1000, depends_on: {{dbg: {{condition: service_started, required: {required}}}}}}}
  dbg: {{command: exec sleep 1000, profiles: [debug]}}
"
        )
    };
    let sandbox = Sandbox::new(&stack(true));
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("`dbg`") && said.err.contains("debug"), "{said:?}");
    sandbox.write("stack.yaml", &stack(false));
    sandbox.ok(&["up", "-d", "--wait"]);
    for line in [&["logs", "app"][..], &["ps"], &["stop", "app"]] {
        sandbox.ok(line);
    }
}

#[test]
fn a_second_up_touches_nothing_whatever_was_only_written_otherwise() {
    let sandbox = Sandbox::new("processes:\n  a: {command: exec sleep 1000, environment: {A: '1', B: '2'}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    let pid = state(&sandbox, "a")["Pid"].clone();
    sandbox.write(
        "stack.yaml",
        "# said otherwise\nprocesses:\n  b: {command: exec sleep 1000}\n  a:\n    environment: [B=2, A=1]\n    command: exec sleep 1000\n",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(state(&sandbox, "a")["Pid"], pid);
    let other = state(&sandbox, "b")["Pid"].clone();
    sandbox.write(
        "stack.yaml",
        "processes:\n  b: {command: exec sleep 1000}\n  a: {command: exec sleep 1000, environment: {A: '9', B: '2'}}\n",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_ne!(state(&sandbox, "a")["Pid"], pid);
    assert_eq!(state(&sandbox, "b")["Pid"], other);
}

#[test]
fn a_task_that_nothing_waits_for_does_not_keep_up_waiting() {
    let sandbox = Sandbox::new(
        "
processes:
  init: {command: 'exit 0'}
  app: {command: ': > ready; exec sleep 1000', healthcheck: {file: ready, interval: 50ms, start_period: 1m}}
",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
}

#[test]
fn replicas_that_stay_keep_their_life_and_the_highest_go_first() {
    let stack = |scale: u32| {
        format!(
            "
processes:
  worker: {{command: 'echo replica $$REPLICA; exec sleep 1000', scale: {scale}, healthcheck: {{log: replica, interval: 50ms, start_period: 1m}}}}
  app: {{command: exec sleep 1000, depends_on: [worker]}}
"
        )
    };
    let sandbox = Sandbox::new(&stack(3));
    let pids = || -> Vec<(i64, i64)> {
        let shown = sandbox.ok(&["ps", "--format", "json", "worker"]);
        let rows = shown.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        rows.map(|row| (row["Replica"].as_i64().unwrap(), row["Pid"].as_i64().unwrap())).collect()
    };
    sandbox.ok(&["up", "-d", "--wait"]);
    let three = pids();
    assert_eq!(three.iter().map(|(replica, _)| *replica).collect::<Vec<_>>(), [1, 2, 3]);
    for scale in [1, 0, 2] {
        sandbox.write("stack.yaml", &stack(scale));
        sandbox.ok(&["up", "-d", "--wait"]);
        assert_eq!(pids().len(), usize::try_from(scale).unwrap());
        if scale == 1 {
            assert_eq!(pids(), three[..1]);
        }
    }
    let log = sandbox.ok(&["logs", "worker"]);
    assert!(log.contains("replica 3"), "{log}");
    assert!(three.iter().all(|(_, pid)| !is_alive(i32::try_from(*pid).unwrap())));
}

#[test]
fn a_command_left_to_itself_has_the_services_surroundings_and_ends_with_down() {
    let sandbox = Sandbox::new("processes: {a: {command: exec sleep 1000, environment: {WORD: given}}}");
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["exec", "-d", "a", "sh", "-c", "echo $WORD > word; echo $$ > new; mv new left; exec sleep 1000"]);
    until("it runs", || sandbox.path("left").exists());
    assert_eq!(sandbox.lines("word"), ["given"]);
    assert!(is_alive(sandbox.pid("left")));
    sandbox.ok(&["down"]);
    assert!(!is_alive(sandbox.pid("left")));
}

#[test]
fn one_off_copies_in_the_background_are_services_of_their_own() {
    let sandbox =
        Sandbox::new("processes: {a: {command: exec sleep 1000, environment: {WORD: given}, restart: always, ports: ['4711']}}");
    let first = sandbox.ok(&["run", "-d", "a", "sh", "-c", "echo first $WORD; exec sleep 1000"]).trim().to_owned();
    let second = sandbox.ok(&["run", "-d", "-e", "WORD=other", "a", "sh", "-c", "echo second $WORD"]).trim().to_owned();
    assert!(first.starts_with("a-run-") && second.starts_with("a-run-") && first != second);
    until("the second has ended", || state(&sandbox, &second)["State"] == "exited");
    assert_eq!(state(&sandbox, &first)["State"], "running");
    for (name, line) in [(&first, "first given\n"), (&second, "second other\n")] {
        assert_eq!(sandbox.ok(&["logs", "--no-log-prefix", name]), line);
    }
    let pid = i32::try_from(state(&sandbox, &first)["Pid"].as_i64().unwrap()).unwrap();
    sandbox.ok(&["down"]);
    assert!(!is_alive(pid));
}

#[test]
fn of_many_that_start_together_each_is_told_of_its_own_fate() {
    let mut stack = "processes:\n".to_owned();
    for number in 0..24 {
        let program = if number % 3 == 0 { "./missing" } else { "sleep" };
        stack += &format!("  s{number}: {{command: [{program}, '1000{number:02}']}}\n");
    }
    let sandbox = Sandbox::new(&stack);
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    for number in 0..24 {
        let shown = state(&sandbox, &format!("s{number}"));
        if number % 3 == 0 {
            assert!(shown["State"] != "running" && shown.to_string().contains("missing"), "{shown}");
        } else {
            let command = fs::read(format!("/proc/{}/cmdline", shown["Pid"])).unwrap();
            assert_eq!(String::from_utf8_lossy(&command), format!("sleep\01000{number:02}\0"), "{shown}");
        }
    }
}
