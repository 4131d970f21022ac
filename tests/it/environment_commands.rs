//! Commands about environments and processes that need no engine: what stands still, what is used, what depends on what, what
//! is left of the dead, and the end of everything.

use std::fs;
use std::process::Command;

use crate::support::sandbox::{Sandbox, is_alive, until};

const STACK: &str = "
name: demo
ports: {WEB_PORT: 18473}
processes:
  db: {command: exec sleep 1000, environment: {PLACE: '${ENV_DIR}'}}
  web: {command: 'sleep 1000 & wait', depends_on: {db: {condition: service_started}}}
";

fn state_of(sandbox: &Sandbox, service: &str) -> String {
    let shown = sandbox.ok(&["ps", "-a", "--format", "json", service]);
    serde_json::from_str::<serde_json::Value>(shown.lines().next().unwrap()).unwrap()["State"].as_str().unwrap().to_owned()
}

/// `T` for a process that stands still.
fn letter(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').next()?.to_owned())
}

#[test]
fn a_process_that_is_paused_stands_still_with_all_that_it_has_started() {
    let sandbox = Sandbox::new(STACK);
    sandbox.ok(&["up", "-d"]);
    let tree = || -> Vec<i32> {
        let top = sandbox.ok(&["top", "--format", "json", "web"]);
        top.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["PID"].as_str().unwrap().parse().unwrap())
            .collect()
    };
    until("both run", || tree().len() == 2);
    let members = tree();
    sandbox.ok(&["pause", "web"]);
    assert_eq!((state_of(&sandbox, "web"), state_of(&sandbox, "db")), ("paused".to_owned(), "running".to_owned()));
    until("all of it stands still", || members.iter().all(|pid| letter(*pid).as_deref() == Some("T")));
    sandbox.ok(&["unpause", "web"]);
    assert_eq!(state_of(&sandbox, "web"), "running");
    until("all of it goes on", || members.iter().all(|pid| letter(*pid).as_deref() == Some("S")));
    sandbox.ok(&["pause"]);
    sandbox.ok(&["stop"]);
    assert!(members.iter().all(|pid| !is_alive(*pid)), "what stands still can be stopped");
}

#[test]
fn top_and_stats_show_processes_in_the_columns_of_containers() {
    let sandbox = Sandbox::new(STACK);
    sandbox.ok(&["up", "-d"]);
    let top = sandbox.ok(&["top", "db"]);
    assert!(top.starts_with("SERVICE   #   UID") && top.contains("sleep 1000"), "{top}");
    let stats = sandbox.ok(&["stats", "--no-stream", "--format", "json", "db"]);
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!((stats["Name"].as_str(), stats["PIDs"].as_str()), (Some("demo-db-1"), Some("1")));
    sandbox.ok(&["down"]);
    assert_eq!(sandbox.ok(&["top", "db"]).lines().count(), 1, "the head alone");
}

#[test]
fn wait_ends_when_a_process_has_ended_for_good() {
    let sandbox = Sandbox::new("processes: {a: {command: 'until test -e go; do sleep 0.05; done; exit 3'}}");
    sandbox.ok(&["up", "-d"]);
    let waiting = sandbox.begin(&["wait", "a"]);
    sandbox.write("go", "");
    waiting.wait_for("exited with status code 3");
    assert_eq!(waiting.end(), 3);
    assert_eq!(sandbox.run(&["wait", "b"]).code, 2);
}

#[test]
fn the_graph_is_drawn_with_what_runs_and_without() {
    let sandbox = Sandbox::new(STACK);
    assert_eq!(sandbox.ok(&["graph"]), "web  process  not there\n└─ db (started)  process  not there\n");
    sandbox.ok(&["up", "-d"]);
    assert_eq!(sandbox.ok(&["graph"]), "web  process  running\n└─ db (started)  process  running\n");
    assert!(sandbox.ok(&["graph", "--format", "dot"]).starts_with("digraph stack {"));
    assert!(sandbox.ok(&["graph", "--format", "mermaid", "db"]).starts_with("flowchart LR\n  s0([\"db<br/>running\"])"));
}

#[test]
fn a_file_that_is_broken_or_has_lost_its_name_still_says_what_runs_of_it() {
    let sandbox = Sandbox::new(STACK);
    sandbox.ok(&["up", "-d"]);
    let services = || sandbox.ok(&["ps", "--services"]);
    for broken in ["name: demo\nprocesses: [\n", "processes: [\n", "processes: {db: {command: exec sleep 1000}}\n"] {
        sandbox.write("stack.yaml", broken);
        assert_eq!(services(), "db\nweb\n", "{broken:?}");
    }
    // Another name is another environment; that the first one runs is said.
    sandbox.write("stack.yaml", "name: other\nprocesses: {db: {command: exec sleep 1000}}\n");
    let said = sandbox.run(&["down"]);
    assert_eq!(said.code, 0);
    assert!(said.err.contains("`demo` was started from this directory and runs"), "{said:?}");
    sandbox.write("stack.yaml", "processes: [\n");
    let pids = sandbox.leaders();
    assert_eq!(pids.len(), 2);
    sandbox.ok(&["down"]);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn named_ports_of_what_was_started_are_known_from_any_directory() {
    let sandbox = Sandbox::new(STACK);
    sandbox.ok(&["up", "-d"]);
    let here = sandbox.ok(&["port"]);
    let elsewhere = sandbox.run_in(std::path::Path::new("/"), &["-p", "demo", "port"]);
    assert_eq!((elsewhere.code, elsewhere.out), (0, here));
    fs::remove_file(sandbox.path("stack.yaml")).unwrap();
    let said = sandbox.run_in(std::path::Path::new("/"), &["-p", "demo", "port", "--format", "json"]);
    assert!(said.code == 0 && said.out.contains("WEB_PORT"), "{said:?}");
}

#[test]
fn a_replica_that_there_is_not_is_refused() {
    let sandbox = Sandbox::new(STACK);
    sandbox.ok(&["up", "-d", "--scale", "web=2"]);
    for line in
        [&["exec", "--index", "9", "web", "true"][..], &["logs", "--index", "9", "web"], &["port", "--index", "9", "web", "80"]]
    {
        let said = sandbox.run(line);
        assert_eq!(said.code, 5, "{line:?}: {said:?}");
        assert!(said.err.contains("`web` has no replica 9 in demo, only 1, 2"), "{line:?}: {said:?}");
    }
    assert_eq!(sandbox.run(&["exec", "--index", "2", "web", "true"]).code, 0);
}

#[test]
fn switch_stops_one_environment_and_starts_another() {
    let sandbox = Sandbox::new(STACK);
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["stop"]);
    sandbox.write("other.yaml", "name: other\nprocesses: {a: {command: exec sleep 1000}}\n");
    sandbox.ok(&["-f", "other.yaml", "up", "-d"]);
    let running = |env: &str| sandbox.ok(&["-p", env, "ps", "--status", "running", "--services"]);
    sandbox.ok(&["-p", "other", "switch", "demo", "--wait"]);
    assert_eq!((running("other"), running("demo")), (String::new(), "db\nweb\n".to_owned()));
    let said = sandbox.run(&["switch", "other"]);
    assert!(said.err.contains("stopping demo") && said.err.contains("starting other"), "{said:?}");
    assert_eq!((running("other"), running("demo")), ("a\n".to_owned(), String::new()));
    let said = sandbox.run(&["switch", "other"]);
    assert!(said.code == 0 && said.err.contains("other runs already"), "{said:?}");
    assert!(!said.err.contains("stopping") && !said.err.contains("starting"), "{said:?}");
    let said = sandbox.run(&["switch", "nobody"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert_eq!(running("other"), "a\n", "nothing is stopped for what there is not");
}

#[test]
fn the_doctor_says_what_to_do_about_what_is_wrong() {
    let mut sandbox = Sandbox::new(
        "
requires: [{tool: no-such-tool, hint: apt install it}]
processes: {a: {command: exec sleep 1000}}
",
    );
    sandbox.variable("LC_ALL", Some("C"));
    let said = sandbox.run(&["doctor"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("FAIL  requires") && said.out.contains("no-such-tool") && said.out.contains("apt install it"),
        "{said:?}"
    );
    assert!(said.out.contains("warn  locale") && said.out.contains("→ export LC_ALL=C.UTF-8"), "{said:?}");
    // No container needs the engine that is not there.
    assert!(said.out.contains("warn  engine"), "{said:?}");
    sandbox.write("stack.yaml", "processes: {a: {command: exec sleep 1000}}\n");
    let shown = sandbox.ok(&["doctor", "--format", "json"]);
    let checks: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let verdict = |name: &str| checks.as_array().unwrap().iter().find(|it| it["name"] == name).unwrap()["verdict"].clone();
    assert_eq!((verdict("requires"), verdict("locale"), verdict("ports")), ("ok".into(), "warning".into(), "ok".into()));
    sandbox.write("stack.yaml", "services: {a: {image: x}}\n");
    let said = sandbox.run(&["doctor"]);
    assert!(said.code == 1 && said.out.contains("FAIL  engine"), "{said:?}");
}

#[test]
fn the_doctor_finds_and_mends_what_the_dead_have_left() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new(STACK);
    sandbox.ok(&["up", "-d"]);
    let pids = sandbox.leaders();
    let supervisor = sandbox.supervisor();
    let guard = crate::support::sandbox::parent(supervisor);
    // The supervisor cannot see to its children, nor the guard to it.
    for pid in [guard, supervisor] {
        crate::support::sandbox::kill(pid, nix::sys::signal::Signal::SIGSTOP);
    }
    for pid in [guard, supervisor] {
        crate::support::sandbox::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    until("both are dead", || !is_alive(guard) && !is_alive(supervisor));
    fs::set_permissions(sandbox.state(), fs::Permissions::from_mode(0o755)).unwrap();
    let said = sandbox.run(&["doctor"]);
    assert!(said.out.contains("others may look into"), "{said:?}");
    assert!(said.out.contains("`demo` left its socket"), "{said:?}");
    let said = sandbox.run(&["doctor", "--fix"]);
    assert!(said.out.contains("nothing is left of any") && !said.out.contains("others may look into"), "{said:?}");
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert_eq!(fs::metadata(sandbox.state()).unwrap().permissions().mode() & 0o777, 0o711);
}

#[test]
fn purge_lists_everything_first_and_leaves_nothing() {
    let sandbox = Sandbox::new(&format!("{STACK}\n  extra: {{command: exec sleep 1000, scratch: [tmp/extra]}}\n"));
    sandbox.ok(&["up", "-d"]);
    let (pids, state) = (sandbox.leaders(), sandbox.env_dir());
    sandbox.write(".baistack/demo/venv/file", "");
    let said = sandbox.run(&["purge", "--dry-run"]);
    assert_eq!(said.code, 10);
    for text in ["processes:", ".baistack/demo (", "tmp/extra (", "state/baistack/demo ("] {
        assert!(said.out.contains(text), "{text}: {said:?}");
    }
    assert!(pids.iter().all(|pid| is_alive(*pid)), "nothing has been done");
    let said = sandbox.run(&["purge"]);
    assert!(said.code == 2 && said.err.contains("give --yes"), "{said:?}");
    sandbox.ok(&["purge", "--yes"]);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert!(!state.exists() && !sandbox.path(".baistack/demo").exists() && !sandbox.path("tmp/extra").exists());
    assert!(sandbox.path("stack.yaml").exists(), "the stack's own files are nobody's to remove");
    assert_eq!(sandbox.run(&["-p", "demo", "purge", "--yes"]).code, 5);
}

fn git(directory: &std::path::Path, words: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]);
    let said = command.args(words).env("HOME", directory).output().unwrap();
    assert!(said.status.success(), "{words:?}: {said:?}");
}

#[test]
fn purge_refuses_while_git_work_would_be_lost() {
    let sandbox = Sandbox::new(STACK);
    sandbox.ok(&["up", "-d"]);
    let clone = sandbox.path(".baistack/demo/checkout");
    fs::create_dir_all(&clone).unwrap();
    git(&clone, &["init", "-q"]);
    fs::write(clone.join("work"), "hours of it").unwrap();
    let said = sandbox.run(&["purge", "--yes"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("checkout") && said.err.contains("1 file is not committed: ?? work"), "{said:?}");
    git(&clone, &["add", "."]);
    git(&clone, &["commit", "-q", "-m", "kept"]);
    let said = sandbox.run(&["purge", "--yes"]);
    assert!(said.code == 1 && said.err.contains("1 commit is not pushed"), "{said:?}");
    assert!(clone.join("work").exists() && sandbox.leaders().len() == 2, "nothing was touched");
    // What a link leads to would not be lost.
    fs::rename(&clone, sandbox.path("kept")).unwrap();
    std::os::unix::fs::symlink(sandbox.path("kept"), &clone).unwrap();
    sandbox.ok(&["purge", "--yes"]);
    assert!(!clone.exists() && sandbox.path("kept/work").exists());
}

#[test]
fn purge_takes_nothing_that_lies_elsewhere_by_now() {
    let sandbox = Sandbox::new(STACK);
    sandbox.ok(&["up", "-d"]);
    let elsewhere = sandbox.root().join("home/elsewhere");
    fs::create_dir_all(elsewhere.join("demo")).unwrap();
    fs::write(elsewhere.join("demo/thesis"), "years of it").unwrap();
    fs::rename(sandbox.path(".baistack"), sandbox.path("away")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, sandbox.path(".baistack")).unwrap();
    let said = sandbox.run(&["purge", "--yes", "--force"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("is not removed: it leads out of the stack's directory"), "{said:?}");
    assert!(elsewhere.join("demo/thesis").exists() && sandbox.leaders().len() == 2, "nothing was touched");
}

#[test]
fn a_second_up_asks_no_check_again() {
    let task = |n| format!("  t{n}: {{command: touch made{n}, check: 'echo {n} >> asked; test -e made{n}'}}");
    let tasks: Vec<String> = (0..10).map(task).collect();
    let sandbox = Sandbox::new(&format!("processes:\n{}\n  main: {{command: exec sleep 1000}}\n", tasks.join("\n")));
    sandbox.ok(&["up", "-d", "--wait"]);
    let asked = sandbox.lines("asked").len();
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert!(said.err.contains("nothing to do"), "{said:?}");
    assert_eq!(sandbox.lines("asked").len(), asked);
}

#[test]
fn a_screen_gets_a_few_of_many_ports_and_a_pipe_all() {
    let ports = (1..=5).map(|n| format!("  P{n}: {}\n", 27000 + n)).collect::<Vec<_>>().concat();
    let sandbox = Sandbox::new(&format!("name: many\nports:\n{ports}processes: {{a: {{command: exec sleep 1000}}}}\n"));
    sandbox.ok(&["up", "-d"]);
    let piped = sandbox.ok(&["ls"]);
    assert!((1..=5).all(|n| piped.contains(&format!("P{n}="))), "{piped}");
    let shown = sandbox.on_terminal(&["ls"]);
    assert!(shown.contains("and 2 more") && !shown.contains("P4="), "{shown}");
}

#[test]
fn the_welcome_is_said_again_from_any_directory_when_it_is_asked_for() {
    let sandbox = Sandbox::new(
        "name: demo\nports: {P: 18977}\ngenerate: {S: {hex: 8}}\nprocesses: {a: {command: exec sleep 1000}}\nwelcome: 'at ${P}, with ${S}'\n",
    );
    let said = sandbox.run(&["welcome"]);
    assert_eq!(said.code, 5, "{said:?}");
    sandbox.ok(&["up", "-d", "--wait"]);
    let ports: serde_json::Value = serde_json::from_str(&sandbox.ok(&["port", "--format", "json"])).unwrap();
    let said = sandbox.run_in(sandbox.root(), &["welcome", "-p", "demo"]);
    assert!(said.code == 0 && said.out.starts_with(&format!("at {}, with ", ports["P"].as_str().unwrap())), "{said:?}");
    let shown = sandbox.ok(&["welcome", "--show-secrets"]);
    assert!(
        shown != said.out && shown.trim_end().len() == said.out.find(", with ").unwrap() + ", with ".len() + 16,
        "{shown} {said:?}"
    );
    sandbox.write("stack.yaml", "name: demo\nprocesses: {a: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    let said = sandbox.run(&["welcome"]);
    assert!(said.code == 0 && said.out.is_empty() && said.err.contains("has no `welcome`"), "{said:?}");
}

#[test]
fn switch_asks_which_of_what_was_started_here_and_knows_no_name_that_never_was() {
    let sandbox = Sandbox::new("name: one\nprocesses: {a: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    let said = sandbox.run_in(sandbox.root(), &["switch", "none"]);
    assert!(said.code == 5 && said.err.contains("there is no environment `none` that was ever up"), "{said:?}");
    for name in ["two", "three"] {
        sandbox.write(&format!("{name}.yaml"), &format!("name: {name}\nprocesses: {{a: {{command: exec sleep 1000}}}}\n"));
        sandbox.ok(&["-f", &format!("{name}.yaml"), "up", "-d", "--wait"]);
    }
    let said = sandbox.run_in(sandbox.root(), &["switch", "one"]);
    assert!(said.code == 2 && said.err.contains("`three`, `two` run; name one with -p"), "{said:?}");
}

#[test]
fn two_worktrees_of_one_repository_are_two_environments_with_ports_of_their_own() {
    let sandbox = Sandbox::new("ports: {WEB: 18891}\nprocesses: {a: {command: exec sleep 1000}}\n");
    let (main, other) = (sandbox.path(""), sandbox.root().join("worktree"));
    git(&main, &["init", "-q"]);
    git(&main, &["add", "stack.yaml"]);
    git(&main, &["commit", "-q", "-m", "one"]);
    git(&main, &["worktree", "add", "-q", other.to_str().unwrap()]);
    let started = [&main, &other].map(|place| {
        let said = sandbox.run_in(place, &["up", "-d"]);
        assert_eq!(said.code, 0, "{said:?}");
        let env = fs::read_to_string(place.join(".baistack/envid")).unwrap();
        (env, sandbox.run_in(place, &["port", "WEB"]).out)
    });
    assert!(started[0].0 != started[1].0 && started[0].1 != started[1].1, "{started:?}");
    assert_eq!(sandbox.run_in(&main, &["down"]).code, 0);
    let said = sandbox.run_in(&other, &["ps", "--status", "running", "--services"]);
    assert_eq!(said.out, "a\n", "it runs on: {said:?}");
    assert_eq!(sandbox.run_in(&other, &["down"]).code, 0);
}
