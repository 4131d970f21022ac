//! `isolation: pid`: nothing leaves the namespace, and a program in it is what it would be outside.

use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, is_alive, kill, pids_of, until};

/// A daemon that has left session and parent, ignores what it can, and has no mark any more that could be taken off.
fn leaving(word: &str) -> String {
    format!(
        "
processes:
  a:
    isolation: pid
    command: |
      trap 'echo term >> terms; exit 7' TERM
      (setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 0.1; done' {word} >/dev/null 2>&1 &) &
      echo $$$$ > new; mv new pid
      while :; do sleep 0.05; done
    healthcheck: {{file: pid, interval: 50ms, start_period: 1m}}
"
    )
}

fn ends_with_its_leader(sandbox: &Sandbox, word: &str) {
    let said = sandbox.run(&["up", "-d", "--wait"]);
    if said.code != 0 && said.err.contains("PID namespace") {
        eprintln!("skipped: this host makes no PID namespaces: {}", said.err);
        return;
    }
    assert_eq!(said.code, 0, "{said:?}");
    // Numbers are the namespace's own.
    assert!(sandbox.pid("pid") < 10, "{}", sandbox.pid("pid"));
    until("the daemon is there", || !pids_of(word).is_empty());
    let [leader] = sandbox.leaders()[..] else { panic!("{:?}", sandbox.leaders()) };
    kill(leader, Signal::SIGKILL);
    until("the kernel has ended all of it", || !is_alive(leader) && pids_of(word).is_empty());

    // Healthy means that this life has written it, with its trap set.
    std::fs::remove_file(sandbox.path("pid")).unwrap();
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["stop"]);
    // Asked once, and its code is passed on.
    assert_eq!(sandbox.lines("terms"), ["term"]);
    let shown = sandbox.ok(&["ps", "-a", "--format", "json"]);
    assert!(shown.contains("\"ExitCode\":7") && shown.contains("\"killed\":false"), "{shown}");
    assert!(pids_of(word).is_empty(), "{:?}", pids_of(word));
}

#[test]
fn what_an_isolated_process_starts_ends_with_it() {
    ends_with_its_leader(&Sandbox::new(&leaving("isolated-by-us")), "isolated-by-us");
}

#[test]
fn an_ordinary_user_isolates_with_a_user_namespace() {
    let Some(sandbox) = Sandbox::of_ordinary_user(&leaving("isolated-by-user")) else { return };
    ends_with_its_leader(&sandbox, "isolated-by-user");
}

#[test]
fn a_supervisor_and_a_guard_killed_at_once_leave_nothing_of_an_isolated_process() {
    let sandbox = Sandbox::new(&leaving("isolated-twice"));
    let said = sandbox.run(&["up", "-d", "--wait"]);
    if said.code != 0 {
        eprintln!("skipped: {}", said.err);
        return;
    }
    until("the daemon is there", || !pids_of("isolated-twice").is_empty());
    let supervisor = sandbox.supervisor();
    let guard = crate::support::sandbox::parent(supervisor);
    kill(supervisor, Signal::SIGSTOP);
    kill(guard, Signal::SIGKILL);
    kill(supervisor, Signal::SIGKILL);
    until("all of it is gone without anybody's help", || pids_of("isolated-twice").is_empty());
}
