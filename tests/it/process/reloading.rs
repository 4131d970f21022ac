//! `reload: start-first`, in the whole program: the next life is ready before the one before ends.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use nix::sys::signal::Signal;

use crate::sockets::{ask, free_port, service};
use crate::support::sandbox::{Sandbox, is_alive, kill, until};

const WATCH: &str = "    develop: {watch: [{path: src, action: restart}]}\n    reload: start-first\n";

/// Saves the file that is watched.
fn save(sandbox: &Sandbox, text: &str) {
    sandbox.save("src/version", text);
}

/// Tells clients to end, also when a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Over ten reloads eight clients ask without pause, and each is answered by each life; which lives these are.
fn ask_over_reloads(sandbox: &Sandbox, port: u16) -> Vec<i32> {
    let over = AtomicBool::new(false);
    let answered = [const { AtomicUsize::new(0) }; 8];
    let counts = || answered.each_ref().map(|answered| answered.load(Ordering::Relaxed));
    let mut lives = vec![ask(port).unwrap()];
    let client = |answered: &AtomicUsize| {
        while !over.load(Ordering::Relaxed) {
            // Neither refused, nor reset, nor cut.
            ask(port)?;
            answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<(), std::io::Error>(())
    };
    thread::scope(|scope| {
        let clients = answered.each_ref().map(|answered| scope.spawn(|| client(answered)));
        let end = Over(&over);
        for reload in 0..10 {
            // So many in a row look like a service that restarts itself, unless somebody asks for it anew.
            sandbox.ok(&["up", "-d"]);
            let before = *lives.last().unwrap();
            save(sandbox, &reload.to_string());
            until("the next life answers alone", || !is_alive(before));
            lives.push(ask(port).unwrap());
            let before = counts();
            let is_answered = || counts().iter().zip(before).all(|(now, before)| *now > before);
            // A client that has failed is answered no more, and tells why at its end.
            until("each client has been answered", || is_answered() || clients.iter().any(ScopedJoinHandle::is_finished));
        }
        drop(end);
        clients.into_iter().for_each(|client| client.join().unwrap().unwrap());
    });
    lives
}

#[test]
fn no_client_is_refused_over_ten_reloads_of_a_service_with_a_held_socket() {
    let port = free_port();
    let rest = format!(
        "    sockets: [{{name: web, tcp: '127.0.0.1:{port}'}}]\n    healthcheck: {{log: serving, interval: 100ms, start_period: 1m}}\n{WATCH}"
    );
    let sandbox = Sandbox::new(&service("fds", &rest));
    save(&sandbox, "first");
    sandbox.ok(&["up", "-d", "--wait"]);
    let lives = ask_over_reloads(&sandbox, port);
    assert!(lives.windows(2).all(|pair| pair[0] != pair[1]), "{lives:?}");
    assert_eq!(sandbox.leaders(), [*lives.last().unwrap()]);
    sandbox.ok(&["down"]);
    assert!(!lives.into_iter().any(|pid| sandbox.has_process(pid)));
}

#[test]
fn no_client_is_refused_over_ten_reloads_of_a_service_behind_a_proxy() {
    let port = free_port();
    let rest = format!(
        "    proxy: true\n    ports: ['127.0.0.1:{port}:{port}']\n    healthcheck: {{tcp: '127.0.0.1:{port}', interval: 100ms, start_period: 1m}}\n{WATCH}"
    );
    let sandbox = Sandbox::new(&service("proxied", &rest));
    save(&sandbox, "first");
    sandbox.ok(&["up", "-d", "--wait"]);
    let lives = ask_over_reloads(&sandbox, port);
    assert!(lives.windows(2).all(|pair| pair[0] != pair[1]), "{lives:?}");
    sandbox.ok(&["stop"]);
    assert!(!lives.into_iter().any(|pid| sandbox.has_process(pid)));
}

/// Each life notes its pid; one that reads `bad` fails, one that reads `slow` never gets ready.
const VERSIONED: &str = "
processes:
  web:
    command: |
      echo $$$$ >> lives
      case $$(cat src/version) in bad) echo no; exit 3;; slow) exec sleep 1000;; esac
      echo ready
      exec sleep 1000
    healthcheck: {log: ready, interval: 50ms, start_period: 1m}
    start_timeout: 5s
";

fn lives(sandbox: &Sandbox) -> Vec<i32> {
    sandbox.lines("lives").iter().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_next_life_that_does_not_get_ready_leaves_the_one_before_and_is_told() {
    let sandbox = Sandbox::new(&format!("{VERSIONED}{WATCH}"));
    save(&sandbox, "good");
    sandbox.ok(&["up", "-d", "--wait"]);
    let first = lives(&sandbox)[0];
    let why = |part: &str| until(part, || sandbox.ok(&["why", "web"]).contains(part));
    for (count, (version, reason)) in
        [("bad", "it ended before it was ready (exit code 3)"), ("slow", "not ready within 5s")].into_iter().enumerate()
    {
        save(&sandbox, version);
        why(&format!("its next life did not get ready: {reason}"));
        assert_eq!(sandbox.leaders(), [first]);
        let lives = lives(&sandbox);
        assert_eq!(lives.len(), count + 2);
        until("nothing of it is left", || !is_alive(lives[count + 1]));
    }
    assert!(sandbox.ok(&["ps"]).contains("(healthy)"));
    // What was mended is taken in.
    save(&sandbox, "good again");
    until("the one before has ended", || !is_alive(first));
    assert_eq!(sandbox.leaders(), [*lives(&sandbox).last().unwrap()]);
    assert!(!sandbox.ok(&["why", "web"]).contains("did not get ready"));
}

#[test]
fn each_life_has_its_own_run_in_the_log() {
    let sandbox = Sandbox::new(
        "
processes:
  web:
    command: |
      trap 'echo last words of $$(cat src/own.$$$$); exit' TERM
      cp src/version src/own.$$$$
      echo first words of $$(cat src/version)
      while :; do sleep 0.02; done
    healthcheck: {log: first words, interval: 50ms, start_period: 1m}
    reload: start-first
    develop: {watch: [{path: src/version, action: restart}]}
",
    );
    save(&sandbox, "one");
    sandbox.ok(&["up", "-d", "--wait"]);
    save(&sandbox, "two");
    until("the first one has ended", || sandbox.ok(&["logs", "web"]).contains("last words of one"));
    // The shell has words of its own on what the signal ended.
    let run = |number: &str| {
        let shown = sandbox.ok(&["logs", "--no-log-prefix", "--run", number, "web"]);
        shown.lines().filter(|line| line.contains("words")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(run("1"), ["first words of one", "last words of one"]);
    assert_eq!(run("2"), ["first words of two"]);
    sandbox.ok(&["stop"]);
    assert_eq!(run("last"), ["first words of two", "last words of two"]);
    assert_eq!(run("1"), ["first words of one", "last words of one"]);
}

#[test]
fn a_supervisor_that_is_killed_between_two_lives_leaves_neither() {
    let sandbox = Sandbox::new(&format!("{VERSIONED}{WATCH}").replace("start_timeout: 5s", "stop_grace_period: 1s"));
    save(&sandbox, "good");
    sandbox.ok(&["up", "-d", "--wait"]);
    save(&sandbox, "slow");
    until("two live", || lives(&sandbox).len() == 2);
    until("one gets ready", || sandbox.ok(&["ps"]).contains("its next life gets ready"));
    kill(sandbox.supervisor(), Signal::SIGKILL);
    until("both are gone", || lives(&sandbox).into_iter().all(|pid| !is_alive(pid)));
    save(&sandbox, "good");
    sandbox.ok(&["up", "-d", "--wait"]);
    let alive: Vec<i32> = lives(&sandbox).into_iter().filter(|pid| is_alive(*pid)).collect();
    assert_eq!(alive, sandbox.leaders());
    assert_eq!(alive.len(), 1);
}

#[test]
fn stop_and_down_take_a_life_that_gets_ready_along() {
    for command in ["stop", "down", "kill"] {
        let sandbox = Sandbox::new(&format!("{VERSIONED}{WATCH}").replace("start_timeout: 5s", "stop_grace_period: 1s"));
        save(&sandbox, "good");
        sandbox.ok(&["up", "-d", "--wait"]);
        save(&sandbox, "slow");
        until("two live", || lives(&sandbox).len() == 2);
        sandbox.ok(&[command]);
        let lives = lives(&sandbox);
        assert!(lives.iter().all(|pid| !is_alive(*pid)), "{command}");
        assert_eq!(lives.len(), 2, "{command}");
    }
}

#[test]
fn a_restart_by_name_ends_the_life_before_it_begins_the_next() {
    let sandbox = Sandbox::new(&format!("{VERSIONED}{WATCH}"));
    save(&sandbox, "good");
    sandbox.ok(&["up", "-d", "--wait"]);
    let first = lives(&sandbox)[0];
    sandbox.ok(&["restart", "web"]);
    assert!(!is_alive(first));
    until("the next one has noted itself", || lives(&sandbox).len() == 2);
    assert_eq!(sandbox.leaders(), [lives(&sandbox)[1]]);
}

#[test]
fn all_that_a_life_has_started_is_shown_also_when_it_has_taken_the_place_of_another() {
    let stack = format!(
        "processes:\n  a:\n    command: (setsid sleep 1000 &); echo ready; exec sleep 1000\n    healthcheck: {{log: ready, interval: 100ms}}\n{WATCH}"
    );
    let sandbox = Sandbox::new(&stack);
    save(&sandbox, "first");
    sandbox.ok(&["up", "-d", "--wait"]);
    let shown = || sandbox.ok(&["top", "a"]).matches("sleep 1000").count();
    until("both are shown", || shown() == 2);
    let first = sandbox.leaders();
    save(&sandbox, "second");
    until("the next life is the only one", || sandbox.leaders() != first && !is_alive(first[0]));
    until("both of the next life are shown", || shown() == 2);
}
