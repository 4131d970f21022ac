//! Every command with right and wrong input: what it says and what it exits with, as a person sees it.
//!
//! What engines and processes do is told elsewhere; here it is about the words. `INSTA_UPDATE=always` writes them anew.

use crate::support::sandbox::Sandbox;

const STACK: &str = "
name: demo
processes:
  web:
    command: exec sleep 1000
    environment: {PORT: '80'}
    depends_on: {db: {condition: service_started}}
  db:
    command: exec sleep 1000
";

/// Every command that takes services, with what else it must be given.
const OF_SERVICES: [&str; 29] = [
    "up -d SERVICE",
    "down SERVICE",
    "stop SERVICE",
    "start SERVICE",
    "restart SERVICE",
    "kill SERVICE",
    "rm -f SERVICE",
    "ps SERVICE",
    "logs SERVICE",
    "why SERVICE",
    "env SERVICE",
    "exec SERVICE true",
    "run SERVICE true",
    "config SERVICE",
    "plan SERVICE",
    "create SERVICE",
    "scale SERVICE=2",
    "pause SERVICE",
    "unpause SERVICE",
    "wait SERVICE",
    "top SERVICE",
    "stats --no-stream SERVICE",
    "images SERVICE",
    "events --until 0s SERVICE",
    "attach SERVICE",
    "cp SERVICE:/x .",
    "commit SERVICE",
    "graph SERVICE",
    "watch --no-up SERVICE",
];

/// Every command, in its plainest form.
const PLAIN: [&str; 38] = [
    "up -d",
    "down",
    "stop",
    "start",
    "restart",
    "kill",
    "rm -f",
    "ps",
    "logs",
    "why web",
    "env web",
    "exec web true",
    "run web true",
    "config -q",
    "plan",
    "port",
    "build",
    "pull",
    "push",
    "create",
    "scale web=1",
    "pause",
    "unpause",
    "wait web",
    "watch",
    "top",
    "stats --no-stream",
    "images",
    "events --until 0s",
    "attach web",
    "cp web:/x .",
    "commit web",
    "export -o x.tar web",
    "graph",
    "purge --dry-run",
    "ls",
    "version",
    "completions",
];

/// What these command lines say in a directory of the sandbox.
fn said(sandbox: &Sandbox, directory: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    lines.into_iter().map(|line| sandbox.transcript(directory, line.as_ref())).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_service_that_there_is_not_is_refused_with_the_one_that_may_be_meant() {
    let lines = || OF_SERVICES.iter().map(|line| line.replace("SERVICE", "wbe"));
    let sandbox = Sandbox::new(STACK);
    insta::assert_snapshot!("unknown_service_before_an_up", said(&sandbox, "", lines()));
    sandbox.ok(&["up", "-d"]);
    insta::assert_snapshot!("unknown_service", said(&sandbox, "", lines()));
}

#[test]
fn a_flag_that_there_is_not_is_refused() {
    let sandbox = Sandbox::new(STACK);
    let lines = PLAIN.iter().map(|line| format!("{} --no-such-flag", line.split(' ').next().unwrap()));
    insta::assert_snapshot!("unknown_flag", said(&sandbox, "", lines));
}

#[test]
fn a_value_that_cannot_be_is_refused() {
    let lines = [
        "upp",
        "ps --format xml",
        "ps --status runing",
        "ps --filter name=web",
        "logs --tail some",
        "logs --since yesterday",
        "logs --grep (",
        "logs --run 0",
        "logs --index 1",
        "up --scale web",
        "up --scale web=many",
        "up --scale wbe=2",
        "up --dry-run --scale wbe=2",
        "create --scale wbe=2",
        "up --scale web=10000000",
        "scale web=10000000",
        "up --wait-timeout 3",
        "up -d --wait --abort-on-container-exit",
        "up --force-recreate --no-recreate",
        "up --pull sometimes",
        "down --rmi some",
        "down -t soon",
        "kill -s NONSENSE",
        "exec",
        "run",
        "why",
        "env --format xml web",
        "port web",
        "port web http",
        "completions dos",
        "config --format xml",
        "scale",
        "scale web",
        "cp web:/x",
        "cp a b",
        "cp web:/x web:/y",
        "attach --detach-keys ctrl-pq web",
        "wait",
        "graph --format svg",
        "switch No/Name",
        "export web",
        "export --to compose web",
    ];
    let sandbox = Sandbox::new(STACK);
    insta::assert_snapshot!("wrong_values", said(&sandbox, "", lines));
}

#[test]
fn a_name_that_no_environment_can_have_is_refused() {
    let sandbox = Sandbox::new(STACK);
    let of_environments = PLAIN.iter().filter(|line| !matches!(**line, "ls" | "version" | "completions"));
    let lines = of_environments.map(|line| format!("-p No/Name {line}"));
    insta::assert_snapshot!("bad_envid", said(&sandbox, "", lines));
}

#[test]
fn an_environment_that_there_is_not_is_said_to_be_none() {
    let sandbox = Sandbox::new(STACK);
    let lines = ["ps", "down", "stop", "start", "restart", "kill", "rm -f", "logs", "why web", "exec web true"];
    insta::assert_snapshot!("no_environment", said(&sandbox, "", lines.map(|line| format!("-p nobody {line}"))));
}

#[test]
fn a_directory_without_a_stack_file_is_told_from_a_wrong_one() {
    let sandbox = Sandbox::new(STACK);
    let elsewhere = "../home";
    insta::assert_snapshot!("no_stack_file", said(&sandbox, elsewhere, PLAIN));
    sandbox.write("folder/file", "");
    sandbox.write("broken.yaml", "name: other\nprocesses: {web: {comand: run}}\n");
    sandbox.write("torn.yaml", "processes: {web: [\n");
    sandbox.write("empty.yaml", "");
    sandbox.write("bad.env", "A=1\nTWO WORDS=1\n");
    let files = ["folder", "nonesuch.yaml", "broken.yaml", "torn.yaml", "empty.yaml", "--env-file bad.env -f broken.yaml"];
    let lines = files.iter().flat_map(|file| {
        ["config -q", "up -d", "plan", "run web true"].map(|line| format!("-f {file} {line}").replace("-f --", "--"))
    });
    insta::assert_snapshot!("wrong_stack_file", said(&sandbox, "", lines));
}

#[test]
fn what_goes_well_says_little() {
    let sandbox = Sandbox::new(STACK);
    let lines = [
        "config -q",
        "config --services",
        "env web",
        "env --format json web",
        "port",
        "plan",
        "up -d --progress quiet",
        "plan",
        "ps --services",
        "ps --status exited --services",
        "ps -q",
        "why web",
        "logs",
        "stop --progress quiet web",
        "start --progress quiet web",
        "restart --progress quiet web",
        "kill --progress quiet web",
        "rm -f --progress quiet web",
        "down --progress quiet",
        "down",
        "ps",
    ];
    insta::assert_snapshot!("right", said(&sandbox, "", lines));
}

#[test]
fn a_name_that_no_variable_can_have_is_refused_where_it_stands() {
    let sandbox = Sandbox::new(
        "generate:\n  1x: {hex: 3}\n  ENVID: {hex: 3}\nports:\n  a-b: 27990\n  _fine1: 27991\nprocesses: {a: {command: 'true'}}\n",
    );
    let said = sandbox.run(&["config", "-q"]);
    assert_eq!(said.code, 3, "{said:?}");
    for place in ["stack.yaml:2:3", "stack.yaml:3:3", "stack.yaml:5:3"] {
        assert!(said.err.contains(place), "{place}: {said:?}");
    }
    assert!(said.err.contains("3 errors"), "{said:?}");
}
