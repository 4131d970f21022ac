//! `models`: language models that Docker's model runner serves, through its plugin.

use std::fs;
use std::path::Path;

use crate::support::sandbox::Sandbox;

const STACK: &str = "
services:
  chat:
    image: IMAGE
    command: [sleep, '1000']
    init: true
    stop_grace_period: 0s
    models: {small-one: {}, big: {endpoint_var: WHERE, model_var: WHICH}}
  other: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s}
models:
  small-one: {model: ai/small, context_size: 4096}
  big:
    model: ai/big
    runtime_flags: [--seed, '7']
  idle: {model: ai/idle}
";

/// Notes how it is called; has one model from the beginning, and serves where the file `where` says.
const PLUGIN: &str = r#"#!/bin/sh
[ "$1" = docker-cli-plugin-metadata ] || echo "$*" >> "$HOME/calls"
case "$1" in
docker-cli-plugin-metadata) echo '{"SchemaVersion":"0.1.0","Vendor":"tests","Version":"VERSION"}' ;;
ls) echo '[{"id":"1","tags":["ai/small"],"created":1}]' ;;
pull) [ -e "$HOME/broken" ] && { echo 'no such model' >&2; exit 1; }; echo pulling ;;
status) echo "{\"endpoint\":\"http://$(cat "$HOME/where")/\"}" ;;
esac
"#;

fn with_plugin(sandbox: &Sandbox, version: &str) {
    sandbox.program("../home/.docker/cli-plugins/docker-model", PLUGIN.replace("VERSION", version));
    sandbox.write("../home/where", "one");
}

fn calls(sandbox: &Sandbox) -> Vec<String> {
    let calls = fs::read_to_string(sandbox.root().join("home/calls")).unwrap_or_default();
    let _ = fs::remove_file(sandbox.root().join("home/calls"));
    let mut calls: Vec<String> = calls.lines().map(str::to_owned).collect();
    calls.sort();
    calls
}

#[test]
fn models_are_fetched_and_set_up_and_their_services_are_told_where_they_are_served() {
    let Some(sandbox) = Sandbox::with_engine("models", STACK) else { return };
    with_plugin(&sandbox, "v1.0.6");
    sandbox.ok(&["up", "-d", "--wait", "other"]);
    assert_eq!(calls(&sandbox), [""; 0], "who uses none asks for none");
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert!(said.code == 0 && said.err.contains("big: pulling the model `ai/big`"), "{said:?}");
    let set_up =
        ["configure --context-size 4096 ai/small", "configure ai/big -- --seed 7", "ls --json", "pull ai/big", "status --json"];
    assert_eq!(calls(&sandbox), set_up);
    let told =
        |sandbox: &Sandbox| sandbox.ok(&["exec", "-T", "chat", "sh", "-c", "echo $SMALL_ONE_URL $SMALL_ONE_MODEL $WHERE $WHICH"]);
    assert_eq!(told(&sandbox), "http://one/ ai/small http://one/ ai/big\n");
    let first = sandbox.engine().id("chat-1");
    let plan = sandbox.run(&["plan"]);
    assert_eq!(plan.code, 0, "nothing has changed: {plan:?}");
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(sandbox.engine().id("chat-1"), first);
    // Who is not named is told what he was told.
    sandbox.ok(&["up", "-d", "--wait", "other"]);
    let in_force = fs::read_to_string(sandbox.env_dir().join("stack.json")).unwrap();
    assert!(in_force.contains("http://one/"), "{in_force}");
    // Served elsewhere, those who use them are made anew.
    sandbox.write("../home/where", "two");
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_ne!(sandbox.engine().id("chat-1"), first);
    assert_eq!(told(&sandbox), "http://two/ ai/small http://two/ ai/big\n");
    assert_eq!(sandbox.ok(&["run", "--rm", "-T", "chat", "sh", "-c", "echo $WHICH"]), "ai/big\n");
    assert_eq!(sandbox.ok(&["config", "--models"]), "small-one\nbig\n");
    sandbox.ok(&["down"]);
    sandbox.write("../home/where", "three");
    sandbox.ok(&["switch", sandbox.engine().env(), "--wait"]);
    assert_eq!(told(&sandbox), "http://three/ ai/small http://three/ ai/big\n");
    // Before a model is asked for, what is asked for has to make sense.
    calls(&sandbox);
    assert_eq!(sandbox.run(&["run", "--publish", "nonsense", "chat"]).code, 2);
    assert_eq!(calls(&sandbox), [""; 0]);
    sandbox.write("../home/broken", "");
    calls(&sandbox);
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert!(said.code == 1 && said.err.contains("the model `big`: `docker model pull ai/big` failed: no such model"), "{said:?}");
    sandbox.ok(&["down"]);
}

#[test]
fn without_the_plugin_or_with_an_old_one_nothing_begins_and_the_model_is_named() {
    let usual = ["/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec"];
    if usual.iter().any(|place| Path::new(place).join("docker/cli-plugins/docker-model").exists()) {
        eprintln!("skipped: this host has the plugin");
        return;
    }
    let sandbox = Sandbox::new(&STACK.replace("IMAGE", "busybox"));
    for line in [&["up", "-d"][..], &["plan"], &["run", "chat"]] {
        let said = sandbox.run(line);
        assert!(said.code == 3 && said.err.contains("the model `small-one` cannot be served"), "{line:?}: {said:?}");
        assert!(said.err.contains("stack.yaml:11:") && said.err.contains("docker-model-plugin"), "{line:?}: {said:?}");
        assert!(!said.err.contains("idle"), "{line:?}: {said:?}");
    }
    with_plugin(&sandbox, "v1.0.5");
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 3 && said.err.contains("the model `big`") && said.err.contains("stack.yaml:14:"), "{said:?}");
    assert_eq!(calls(&sandbox), [""; 0]);
    // Who only looks needs none.
    sandbox.ok(&["config", "-q"]);
}
