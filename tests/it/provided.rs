//! Services that a program looks after (`provider`), beside those that depend on them.

use std::fs;
use std::net::TcpListener;

use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, own_address, until};

/// Notes how it is called, can be stopped, and gives what the file `address` holds.
const CLOUD: &str = r#"#!/bin/sh
if [ "$2" = metadata ]; then
    echo '{"description": "for tests", "up": {"parameters": [{"name": "size"}]}, "down": {}, "stop": {}}'
    exit
fi
echo "$*" >> calls
[ "$3" = up ] || exit 0
[ -e broken ] && { echo '{"type": "error", "message": "no credit left"}'; exit; }
echo '{"type": "info", "message": "making it"}'
echo '{"type": "setenv", "message": "URL='"$(cat address)"'"}'
echo '{"type": "rawsetenv", "message": "TOKEN=abc"}'
"#;

pub(crate) fn with_cloud(sandbox: &Sandbox) {
    sandbox.program("cloud", CLOUD);
    sandbox.write("address", "tcp://one\n");
}

const STACK: &str = "
services:
  db: {provider: {type: ./cloud, options: {size: 3, unknown: x}}}
processes:
  web: {command: 'echo $$DB_URL $$TOKEN >> seen; exec sleep 1000', depends_on: [db]}
  other: {command: 'echo .$$DB_URL >> alone; exec sleep 1000'}
";

#[test]
fn a_provider_is_asked_before_its_dependents_start_and_after_they_are_gone() {
    let sandbox = Sandbox::new(STACK);
    with_cloud(&sandbox);
    let project = |verb: &str, rest: &str| format!("compose --project-name=demo {verb}{rest} db");
    let said = sandbox.run(&["-p", "demo", "up", "-d", "--wait"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("db: making it") && said.err.contains("brought up by `./cloud`"), "{said:?}");
    until("both have written", || !sandbox.lines("seen").is_empty() && !sandbox.lines("alone").is_empty());
    assert_eq!((sandbox.lines("seen"), sandbox.lines("alone")), (vec!["tcp://one abc".to_owned()], vec![".".to_owned()]));
    assert_eq!(sandbox.lines("calls"), [project("up", " --size=3")]);

    // What it gave is known to whoever only looks, and nothing has changed as long as it gives the same.
    assert_eq!(sandbox.run(&["-p", "demo", "plan"]).code, 0);
    sandbox.ok(&["-p", "demo", "up", "-d"]);
    assert_eq!(sandbox.lines("seen").len(), 1);
    assert_eq!(sandbox.lines("calls").len(), 2);
    sandbox.write("address", "tcp://two\n");
    let said = sandbox.run(&["-p", "demo", "up", "-d", "--wait"]);
    assert!(said.err.contains("environment.DB_URL"), "{said:?}");
    until("it has started anew", || sandbox.lines("seen").len() == 2);
    assert_eq!(sandbox.lines("seen")[1], "tcp://two abc");
    assert_eq!(sandbox.lines("alone").len(), 1);

    sandbox.ok(&["-p", "demo", "stop"]);
    assert_eq!(sandbox.lines("calls").pop(), Some(project("stop", "")));
    // Whatever the file says by now, what was brought up is taken away, once.
    sandbox.write("stack.yaml", "processes: {web: {command: 'true'}}\n");
    sandbox.ok(&["-p", "demo", "down"]);
    assert_eq!(sandbox.lines("calls").pop(), Some(project("down", "")));
    let calls = sandbox.lines("calls").len();
    sandbox.ok(&["-p", "demo", "down"]);
    assert_eq!(sandbox.lines("calls").len(), calls);
}

#[test]
fn a_provider_that_is_not_there_is_told_with_its_place_before_anything_starts() {
    let stack = STACK.replace("./cloud", "no-such-cloud");
    let sandbox = Sandbox::new(&stack);
    let said = sandbox.run(&["-p", "demo", "up", "-d"]);
    assert_eq!(said.code, 3, "{said:?}");
    for words in ["`db` is looked after by the provider `no-such-cloud`", "stack.yaml:3:25", "`docker-no-such-cloud`", "PATH"] {
        assert!(said.err.contains(words), "{words}: {said:?}");
    }
    assert!(!sandbox.path("alone").exists(), "nothing has been started");
    // Whoever does not need it is not kept from anything.
    assert!(sandbox.ok(&["-p", "demo", "config"]).contains("no-such-cloud"));
    sandbox.ok(&["-p", "demo", "up", "-d", "other"]);
    sandbox.ok(&["-p", "demo", "down"]);
}

#[test]
fn a_provider_that_fails_is_told_in_its_words_starts_nothing_and_is_taken_away() {
    let sandbox = Sandbox::new(STACK);
    with_cloud(&sandbox);
    sandbox.write("broken", "");
    let said = sandbox.run(&["-p", "demo", "up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("`db`, by the provider `./cloud`: no credit left"), "{said:?}");
    assert!(!sandbox.path("alone").exists(), "nothing has been started");
    sandbox.ok(&["-p", "demo", "down"]);
    assert_eq!(sandbox.lines("calls").pop().as_deref(), Some("compose --project-name=demo down db"));
}

#[test]
fn the_end_of_a_foreground_stops_what_a_provider_looks_after() {
    let sandbox = Sandbox::new(STACK);
    with_cloud(&sandbox);
    let up = sandbox.begin(&["-p", "demo", "up"]);
    until("it runs", || !sandbox.lines("seen").is_empty());
    up.signal(Signal::SIGINT);
    assert_eq!(up.end(), 130);
    assert_eq!(sandbox.lines("calls").pop().as_deref(), Some("compose --project-name=demo stop db"));
}

#[test]
fn the_end_of_a_foreground_leaves_alone_what_was_there_before() {
    let sandbox = Sandbox::new(STACK);
    with_cloud(&sandbox);
    sandbox.ok(&["-p", "demo", "up", "-d", "--wait", "web"]);
    let up = sandbox.begin(&["-p", "demo", "up"]);
    until("the rest runs", || !sandbox.lines("alone").is_empty());
    up.signal(Signal::SIGINT);
    assert_eq!(up.end(), 130);
    assert_eq!(verbs(&sandbox), ["up", "up"]);
    // What was stopped was not there.
    sandbox.ok(&["-p", "demo", "stop"]);
    let up = sandbox.begin(&["-p", "demo", "up"]);
    until("it runs again", || sandbox.lines("alone").len() == 2);
    up.signal(Signal::SIGINT);
    assert_eq!(up.end(), 130);
    assert_eq!(verbs(&sandbox), ["up", "up", "stop", "up", "stop"]);
}

/// What the provider was asked for, one after the other.
fn verbs(sandbox: &Sandbox) -> Vec<String> {
    sandbox.lines("calls").iter().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect()
}

#[test]
fn what_was_stopped_is_brought_up_by_whatever_starts_its_dependents_again() {
    let sandbox = Sandbox::new(STACK);
    with_cloud(&sandbox);
    sandbox.ok(&["-p", "demo", "up", "-d", "--wait"]);
    for line in [&["start"][..], &["start", "web"]] {
        sandbox.ok(&["-p", "demo", "stop"]);
        let calls = sandbox.lines("calls").len();
        for _ in 0..2 {
            sandbox.ok(&[&["-p", "demo"], line].concat());
            assert_eq!(verbs(&sandbox)[calls - 1..], ["stop", "up"], "once: {line:?}");
        }
    }
    // What was stopped has not to be stopped for it.
    sandbox.ok(&["-p", "demo", "stop"]);
    let calls = sandbox.lines("calls").len();
    for expected in [&["up"][..], &["up", "stop", "up"], &["up", "stop", "up", "stop", "up"]] {
        sandbox.ok(&["-p", "demo", "restart"]);
        assert_eq!(verbs(&sandbox)[calls..], *expected);
    }
    // Who does not depend on it has no use for it.
    sandbox.ok(&["-p", "demo", "stop"]);
    sandbox.ok(&["-p", "demo", "start", "other"]);
    assert_eq!(verbs(&sandbox).pop().as_deref(), Some("stop"));
    sandbox.write("address", "tcp://two\n");
    let said = sandbox.run(&["-p", "demo", "start"]);
    assert!(said.code == 0 && said.err.contains("`db` gives something else than before; `up` applies it"), "{said:?}");
}

#[test]
fn switch_brings_up_what_was_stopped_of_a_provider_also_when_it_goes_back() {
    let sandbox = Sandbox::new(&format!("name: demo\n{STACK}"));
    with_cloud(&sandbox);
    let (address, port) = own_address();
    let held = format!("name: held\nprocesses: {{a: {{command: exec sleep 1000, ports: ['{address}:{port}']}}}}\n");
    sandbox.write("held.yaml", &held);
    sandbox.ok(&["-f", "held.yaml", "up", "-d"]);
    sandbox.ok(&["-f", "held.yaml", "down"]);
    sandbox.write("other.yaml", "name: other\nprocesses: {b: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["stop"]);
    sandbox.ok(&["-f", "other.yaml", "up", "-d"]);
    sandbox.ok(&["-p", "other", "switch", "demo"]);
    assert_eq!(verbs(&sandbox), ["up", "stop", "up"]);
    let _holder = TcpListener::bind((address.as_str(), port)).unwrap();
    let said = sandbox.run(&["-p", "demo", "switch", "held"]);
    assert!(said.code == 1 && said.err.contains("starting demo again"), "{said:?}");
    assert_eq!(verbs(&sandbox), ["up", "stop", "up", "stop", "up"]);
}

#[test]
fn a_provider_that_is_gone_is_told_keeps_nothing_else_and_is_forgotten_by_force() {
    let sandbox = Sandbox::new(&STACK.replace("depends_on: [db]", "depends_on: [db], environment: {R: '${RUN_DIR}'}"));
    with_cloud(&sandbox);
    let runs_in = || fs::read_dir(sandbox.root().join("run/baistack")).map(Iterator::count).unwrap_or_default();
    let gone = || {
        sandbox.ok(&["-p", "demo", "up", "-d", "--wait"]);
        assert_eq!(runs_in(), 1, "{:?}", sandbox.root());
        fs::remove_file(sandbox.path("cloud")).unwrap();
    };
    gone();
    let said = sandbox.run(&["-p", "demo", "down", "-v"]);
    assert!(said.code == 1 && said.err.contains("`db`, by the provider `./cloud`: "), "{said:?}");
    assert!(said.err.contains("`baistack down -p demo` takes it away; `purge --force` forgets it"), "{said:?}");
    assert_eq!(runs_in(), 0, "all the rest has been done");
    // It is still known, for when the provider is there again.
    with_cloud(&sandbox);
    sandbox.ok(&["-p", "demo", "down"]);
    assert_eq!(verbs(&sandbox), ["up", "down"]);

    gone();
    let said = sandbox.run(&["-p", "demo", "purge", "--yes"]);
    assert!(said.code == 1 && said.err.contains("`db`, by the provider `./cloud`: "), "{said:?}");
    assert_eq!(runs_in(), 0, "all the rest has been done");
    assert!(sandbox.state().join("demo/providers.json").exists(), "it is still known");
    let said = sandbox.run(&["-p", "demo", "purge", "--yes", "--force"]);
    assert!(said.code == 0 && said.err.contains("`db`, by the provider `./cloud`: "), "{said:?}");
    assert!(!sandbox.state().join("demo").exists());
}

#[test]
fn env_has_what_the_provider_of_a_service_has_given() {
    let sandbox = Sandbox::new(STACK);
    with_cloud(&sandbox);
    sandbox.ok(&["-p", "demo", "up", "-d", "--wait"]);
    let shown = sandbox.ok(&["-p", "demo", "env", "--format", "json", "web"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((shown["DB_URL"].as_str(), shown["TOKEN"].as_str()), (Some("tcp://one"), Some("abc")));
}

#[test]
fn a_container_gets_what_the_provider_gives_and_is_made_anew_when_that_changes() {
    let stack = "
services:
  db: {provider: {type: ./cloud}}
  web: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s, depends_on: {db: {condition: service_healthy}}}
";
    let Some(sandbox) = Sandbox::with_engine("provided", stack) else { return };
    with_cloud(&sandbox);
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(sandbox.ok(&["exec", "-T", "web", "sh", "-c", "echo $DB_URL"]), "tcp://one\n");
    let first = sandbox.engine().id("web-1");
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(sandbox.engine().id("web-1"), first);
    sandbox.write("address", "tcp://two\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_ne!(sandbox.engine().id("web-1"), first);
    assert_eq!(sandbox.ok(&["run", "--rm", "-T", "web", "sh", "-c", "echo $DB_URL"]), "tcp://two\n");
    assert_eq!(sandbox.engine().containers(), ["web-1"]);
    sandbox.ok(&["down"]);
    assert!(sandbox.lines("calls").last().is_some_and(|call| call.contains(" down ")));
}

#[test]
fn what_is_done_to_one_that_a_provider_looks_after_is_done_by_it_or_refused() {
    let sandbox = Sandbox::new(STACK);
    with_cloud(&sandbox);
    sandbox.ok(&["-p", "demo", "up", "-d", "--wait", "other"]);
    let said = sandbox.run(&["-p", "demo", "why", "db"]);
    assert_eq!((said.code, said.out.as_str()), (1, "db: not brought up, by the provider `./cloud`; `up db` brings it up\n"));
    let said = sandbox.run(&["-p", "demo", "start", "db"]);
    assert!(said.code == 5 && said.err.contains("`baistack up db` has its provider bring it up"), "{said:?}");
    sandbox.ok(&["-p", "demo", "up", "-d", "--wait"]);
    for (line, code, why, state) in [
        (&["start", "db"][..], 0, "db: brought up, by the provider `./cloud`", "brought up"),
        (&["stop", "db"], 1, "db: stopped, by the provider `./cloud`; `start db` brings it up again", "stopped"),
        (&["start", "db", "web"], 0, "db: brought up, by the provider `./cloud`", "brought up"),
        (&["restart", "db"], 0, "db: brought up, by the provider `./cloud`", "brought up"),
    ] {
        sandbox.ok(&[&["-p", "demo"], line].concat());
        let said = sandbox.run(&["-p", "demo", "why", "db"]);
        assert_eq!((said.code, said.out.trim_end()), (code, why), "{line:?}");
        let drawn = sandbox.ok(&["-p", "demo", "graph"]);
        assert!(drawn.contains(&format!("db (started)  provider  {state}")), "{drawn}");
        let listed = sandbox.ok(&["-p", "demo", "ps", "--format", "json", "db"]);
        let row: serde_json::Value = serde_json::from_str(&listed).unwrap();
        assert_eq!((&row["Kind"], &row["Detail"], &row["Command"]), (&"provider".into(), &state.into(), &"\"./cloud\"".into()));
        assert_eq!(row["State"], if state == "stopped" { "exited" } else { "running" });
    }
    // Whatever is done with ids and names, there is none of it.
    assert!(!sandbox.ok(&["-p", "demo", "ps", "-q"]).contains("db"));
    let listed = sandbox.ok(&["-p", "demo", "ps", "--services", "--status", "running"]);
    assert_eq!(listed, "db\nother\nweb\n");
    assert_eq!(verbs(&sandbox), ["up", "stop", "up", "stop", "up"]);
    for line in [
        &["kill", "db"][..],
        &["pause", "db"],
        &["scale", "db=2"],
        &["up", "-d", "--scale", "db=2"],
        &["exec", "-T", "db", "true"],
        &["run", "db"],
        &["attach", "db"],
        &["port", "db", "80"],
        &["wait", "db"],
        &["cp", "db:/x", "."],
    ] {
        let said = sandbox.run(&[&["-p", "demo"], line].concat());
        assert!(said.code == 2 && said.err.contains("`db` is looked after by the provider `./cloud`"), "{line:?}: {said:?}");
    }
    assert_eq!(verbs(&sandbox).len(), 5, "nobody was asked for any of that");
    let said = sandbox.run(&["-p", "demo", "purge", "--dry-run"]);
    assert!(said.out.contains("  looked after by providers:\n    db (`./cloud`)\n"), "{said:?}");
}

#[test]
fn a_restart_that_is_refused_is_refused_before_a_provider_has_done_anything() {
    let stack = "
services:
  db: {provider: {type: ./cloud}}
processes:
  cache: {command: 'exec sleep 1000'}
  web: {command: 'exec sleep 1000', depends_on: [db, cache]}
";
    let sandbox = Sandbox::new(stack);
    with_cloud(&sandbox);
    sandbox.ok(&["-p", "demo", "up", "-d", "--wait"]);
    sandbox.ok(&["-p", "demo", "stop", "cache"]);
    let said = sandbox.run(&["-p", "demo", "restart", "db", "web"]);
    assert!(said.code == 1 && said.err.matches("because of cache: it is stopped").count() == 1, "{said:?}");
    assert_eq!(verbs(&sandbox), ["up"]);
    sandbox.ok(&["-p", "demo", "start", "cache"]);
    sandbox.ok(&["-p", "demo", "restart", "db", "web"]);
    assert_eq!(verbs(&sandbox), ["up", "stop", "up"]);
    sandbox.ok(&["-p", "demo", "down"]);
}
