//! `run`, and files that are given to processes: what goes on beside the services that are up.

use crate::support::sandbox::{Sandbox, until};

#[test]
fn a_command_runs_without_a_container_that_nobody_insists_on_where_there_is_no_engine() {
    let sandbox = Sandbox::new(
        "
services: {db: {image: nothing}}
processes:
  helper: {command: exec sleep 1000}
  client: {command: echo hi, depends_on: {db: {condition: service_started, required: false}, helper: {condition: service_started}}}
  lonely: {command: echo alone, depends_on: {db: {condition: service_started, required: false}}}
",
    );
    let said = sandbox.run(&["run", "client"]);
    assert_eq!((said.code, said.out.as_str()), (0, "hi\n"), "{said:?}");
    assert!(said.err.contains("`db` left out"), "{said:?}");
    let said = sandbox.run(&["run", "lonely"]);
    assert_eq!((said.code, said.out.as_str()), (0, "alone\n"), "{said:?}");
    sandbox.ok(&["down"]);
}

#[test]
fn a_copy_in_the_background_has_neither_the_services_sockets_nor_its_hours() {
    let sandbox = Sandbox::new(
        "
ports: {WEB_PORT: 18731}
processes:
  web: {command: exec sleep 1000, sockets: [{name: http, tcp: '127.0.0.1:${WEB_PORT}'}]}
  nightly: {command: exec sleep 1000, schedule: {cron: '0 3 * * *'}}
",
    );
    sandbox.ok(&["up", "-d"]);
    for service in ["web", "nightly"] {
        let name = sandbox.ok(&["run", "-d", service]);
        let name = name.trim();
        until("it runs", || sandbox.ok(&["ps", "--status", "running", "--services"]).lines().any(|line| line == name));
        let shown = sandbox.ok(&["ps", "--format", "json", name]);
        let shown: serde_json::Value = serde_json::from_str(shown.lines().next().unwrap()).unwrap();
        assert!(shown["Schedule"].as_str().unwrap_or_default().is_empty(), "{shown}");
    }
    sandbox.ok(&["down"]);
}

#[test]
fn a_copy_in_the_background_is_no_replica_and_no_orphan() {
    let sandbox = Sandbox::new("processes: {web: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d"]);
    let name = sandbox.ok(&["run", "-d", "web"]);
    let said = sandbox.run(&["up", "-d", "--remove-orphans"]);
    assert!(said.code == 0 && !said.err.contains("no longer has"), "{said:?}");
    let all = sandbox.ok(&["ps", "--format", "json"]);
    let mut all = all.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let copy = all.find(|line| line["Service"] == name.trim()).expect("it is shown");
    assert!(copy["State"] == "running" && copy["Name"].as_str().unwrap().ends_with(name.trim()), "{copy}");
    sandbox.ok(&["down"]);
}

#[test]
fn a_process_is_given_the_file_as_it_is_now() {
    let sandbox = Sandbox::new(
        "
configs: {greeting: {file: greeting.txt}}
processes:
  web:
    command: cat greeting.conf >> seen; exec sleep 1000
    configs: [{source: greeting, target: greeting.conf}]
",
    );
    let seen = |count: usize| {
        until("it has begun", || sandbox.lines("seen").len() == count);
        sandbox.lines("seen").pop().unwrap()
    };
    sandbox.write("greeting.txt", "one\n");
    sandbox.ok(&["up", "-d"]);
    assert_eq!(seen(1), "one");
    sandbox.ok(&["up", "-d"]);
    sandbox.write("greeting.txt", "two\n");
    let plan = sandbox.run(&["plan"]);
    assert!(plan.code == 10 && plan.out.contains("a file it is given changed"), "{plan:?}");
    sandbox.ok(&["up", "-d"]);
    assert_eq!(seen(2), "two");
    // A restart is no `up`: the definition is the old one, and the file is what it is.
    sandbox.write("greeting.txt", "three\n");
    sandbox.ok(&["restart", "web"]);
    assert_eq!(seen(3), "three");
    sandbox.ok(&["down"]);
}

#[test]
fn what_is_not_required_may_fail_before_a_run() {
    let stack = |required: bool| {
        format!(
            "processes:
  before: {{command: [sh, -c, 'exit 3'], restart: 'no'}}
  web:
    command: [echo, served]
    depends_on: {{before: {{condition: service_completed_successfully, required: {required}}}}}
"
        )
    };
    let sandbox = Sandbox::new(&stack(true));
    let said = sandbox.run(&["run", "web"]);
    assert!(said.code != 0 && said.out.is_empty(), "{said:?}");
    sandbox.write("stack.yaml", &stack(false));
    let said = sandbox.run(&["run", "web"]);
    assert!(said.code == 0 && said.out == "served\n" && said.err.contains("`web` runs"), "{said:?}");
}
