//! The program as a user has it: command lines in, exit codes, output and processes out. Stacks of processes alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, is_alive, kill, parent, until};

/// Says its pid in a file once it is ready, and stays.
const STAYS: &str = "
processes:
  a:
    command: echo $$$$ > new; mv new pid; echo ready; exec sleep 1000
    stop_grace_period: 500ms
    healthcheck: {file: pid, interval: 50ms, start_period: 1m}
";

/// As [`STAYS`], and deaf.
const STUBBORN: &str = "
processes:
  a:
    command: trap '' TERM INT; echo $$$$ > new; mv new pid; echo ready; exec sleep 1000
    stop_grace_period: 500ms
    healthcheck: {file: pid, interval: 50ms, start_period: 1m}
";

fn up(stack: &str) -> Sandbox {
    let sandbox = Sandbox::new(stack);
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox
}

/// Rules that Compose's own reader goes by, each seen with it: `$$`, texts that YAML 1.1 takes for something else, names without a value.
#[test]
fn what_config_prints_is_a_stack_file_that_comes_to_the_same() {
    let sandbox = Sandbox::new(
        r#"
name: demo
services:
  web:
    image: x
    command: [sh, -c, "echo $$HOME ${A:-$$B} '#'"]
    environment: {DAY: '2001-12-14', MODE: '0777', WORD: 'yes', N: '1_000', NONE: , EMPTY: '', LINES: "a\nb\n", T: '~', K: ': '}
    labels: {on: '<<', '1': 'true'}
    stop_grace_period: 90s
    profiles: []
networks: {default: {name: plain}}
"#,
    );
    let printed = sandbox.ok(&["config"]);
    insta::assert_snapshot!(printed, @r"
    name: demo
    services:
      web:
        command:
        - sh
        - -c
        - echo $$HOME $$B '#'
        environment:
          DAY: '2001-12-14'
          MODE: '0777'
          WORD: yes
          N: '1_000'
          NONE: null
          EMPTY: ''
          LINES: |
            a
            b
          T: '~'
          K: ': '
        image: x
        labels:
          on: '<<'
          '1': 'true'
        networks:
          default: null
        stop_grace_period: 1m30s
    networks:
      default:
        name: plain
    ");
    sandbox.write("again.yaml", &printed);
    assert_eq!(sandbox.ok(&["-f", "again.yaml", "config"]), printed);
    let json = |line: &[&str]| serde_json::from_str::<serde_json::Value>(&sandbox.ok(line)).unwrap();
    let read = json(&["-f", "again.yaml", "config", "--format", "json"]);
    assert_eq!(read, json(&["config", "--format", "json"]));
    assert_eq!(read["services"]["web"]["command"][2], "echo $$HOME $$B '#'");
}

#[test]
fn down_is_not_back_before_a_child_that_ignores_the_signal_is_gone() {
    let sandbox = up("
processes:
  a:
    command: |
      sh -c 'trap \"\" TERM; echo $$$$ > new; mv new child; exec sleep 1000' &
      trap 'exit 0' TERM
      while :; do wait; done
    stop_grace_period: 500ms
    healthcheck: {file: child, interval: 50ms, start_period: 1m}
");
    let child = sandbox.pid("child");
    assert!(is_alive(child));
    sandbox.ok(&["down"]);
    assert!(!is_alive(child));
}

#[test]
fn a_killed_supervisor_takes_its_processes_along_and_the_next_up_starts_them_once() {
    let sandbox = up(STAYS);
    let (first, supervisor) = (sandbox.pid("pid"), sandbox.supervisor());
    kill(supervisor, Signal::SIGKILL);
    until("the guard has killed the process", || !is_alive(first));
    fs::remove_file(sandbox.path("pid")).unwrap();
    // The socket is still there, and nobody behind it.
    sandbox.ok(&["up", "-d", "--wait"]);
    let second = sandbox.pid("pid");
    assert!(second != first && is_alive(second) && sandbox.supervisor() != supervisor);
    sandbox.ok(&["down"]);
    assert!(!is_alive(second));
}

#[test]
fn a_list_looks_as_its_format_says_or_the_format_is_refused() {
    let sandbox = up(STAYS);
    assert_eq!(sandbox.ok(&["ps", "--format", "{{.Service}} {{upper .State}}"]), "a RUNNING\n");
    assert_eq!(sandbox.ok(&["ps", "--format", r"table {{.Service}}\t{{.Health}}"]), "SERVICE   HEALTH\na         healthy\n");
    for (format, said) in [("{{.Foo}}", "there is no field `Foo`; there are Command, CreatedAt"), ("{{.Name", "unclosed action")]
    {
        let refused = sandbox.run(&["ps", "--format", format]);
        assert!(refused.code == 2 && refused.err.contains(said), "{refused:?}");
    }
    sandbox.ok(&["down"]);
}

#[test]
fn a_killed_guard_means_an_orderly_stop() {
    let sandbox = up(STAYS);
    let (process, supervisor) = (sandbox.pid("pid"), sandbox.supervisor());
    kill(parent(supervisor), Signal::SIGKILL);
    until("the supervisor has stopped all and ended", || !is_alive(supervisor));
    assert!(!is_alive(process));
}

#[test]
fn what_a_supervisor_and_a_guard_killed_at_once_leave_is_swept_away_by_the_next_command() {
    // A child of the supervisor dies with it by the kernel's word; what has left its session and its parent does not.
    let sandbox = up("
processes:
  a:
    command: setsid sh -c 'trap \"\" TERM; echo $$$$ > new; mv new pid; exec sleep 1000' & wait
    healthcheck: {file: pid, interval: 50ms, start_period: 1m}
");
    let (process, supervisor) = (sandbox.pid("pid"), sandbox.supervisor());
    let guard = parent(supervisor);
    kill(supervisor, Signal::SIGSTOP);
    kill(guard, Signal::SIGKILL);
    kill(supervisor, Signal::SIGKILL);
    until("both are gone", || !is_alive(supervisor) && !is_alive(guard));
    assert!(is_alive(process));
    sandbox.ok(&["down"]);
    assert!(!is_alive(process));
}

#[test]
fn a_second_interrupt_kills_at_once_and_a_third_does_no_harm() {
    let sandbox = Sandbox::new(&STUBBORN.replace("500ms", "1h"));
    let foreground = sandbox.begin(&["up"]);
    foreground.wait_for("ready");
    until("the pid is written", || sandbox.path("pid").exists());
    let process = sandbox.pid("pid");
    foreground.signal(Signal::SIGINT);
    foreground.wait_for("stopping");
    foreground.signal(Signal::SIGINT);
    foreground.signal(Signal::SIGINT);
    assert_eq!(foreground.end(), 130);
    assert!(!is_alive(process));
}

#[test]
fn a_second_interrupt_kills_no_replica_that_ran_before() {
    let sandbox = Sandbox::new(
        "processes:\n  a:\n    command: trap '' TERM; echo $$$$ > pid.${REPLICA}; exec sleep 1000\n    stop_grace_period: 1h\n",
    );
    sandbox.ok(&["up", "-d"]);
    until("it runs", || sandbox.lines("pid.1").len() == 1);
    let foreground = sandbox.begin(&["up", "--scale", "a=2"]);
    until("the other one runs", || sandbox.lines("pid.2").len() == 1);
    foreground.signal(Signal::SIGINT);
    foreground.wait_for("stopping; Ctrl-C once more");
    foreground.signal(Signal::SIGINT);
    assert_eq!(foreground.end(), 130);
    assert!(!is_alive(sandbox.pid("pid.2")) && is_alive(sandbox.pid("pid.1")));
}

#[test]
fn ps_says_how_long_ago_what_has_ended_did_so_though_no_supervisor_lives() {
    let sandbox = Sandbox::new("processes: {a: {command: exit 3}}\n");
    assert_eq!(sandbox.run(&["up"]).code, 1);
    sandbox.wait_until_unattended();
    // An hour goes by.
    let snapshot = std::fs::File::options().write(true).open(sandbox.env_dir().join("snapshot.json")).unwrap();
    snapshot.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 3600)).unwrap();
    assert!(sandbox.ok(&["ps"]).contains("Exited (3) 3 hours ago"), "{}", sandbox.ok(&["ps"]));
    assert!(sandbox.ok(&["ps"]).contains("Exited (3) 3 hours ago"), "looking changes nothing: {}", sandbox.ok(&["ps"]));
}

#[test]
fn a_state_is_whole_where_nobody_looks_at_a_screen() {
    let program = format!("/nonesuch/{}", "x".repeat(80));
    let sandbox = Sandbox::new(&format!(
        "processes:\n  a: {{command: [{program}]}}\n  b: {{command: exec sleep 1000, labels: {{team: red}}, ports: ['17110', '17111']}}\n"
    ));
    assert_eq!(sandbox.run(&["up", "-d", "--wait"]).code, 1);
    let table = sandbox.ok(&["ps"]);
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head[..7], ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]);
    let state = table.lines().find(|line| line.contains("-a-1")).unwrap();
    assert!(state.contains("failed: ") && state.matches(&program).count() == 1, "{table}");
    assert!(table.contains("17110-17111/tcp"), "{table}");
    let json = sandbox.ok(&["ps", "--format", "json", "b"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["Labels"].as_str(), json["Ports"].as_str()), (Some("team=red"), Some("17110-17111/tcp")));
    assert!(json["CreatedAt"].as_str().unwrap().ends_with(" +0000 UTC"), "{json}");
    assert!(json["RunningFor"].as_str().unwrap().ends_with(" ago"), "{json}");
}

#[test]
fn of_what_failed_the_lines_of_its_last_life_are_shown_and_no_others() {
    let life = "echo x >> lives; echo this was life $(wc -l < lives); exit 3";
    let sandbox = Sandbox::new(&format!(
        "processes: {{a: {{command: '{life}', restart: 'on-failure:1', healthcheck: {{file: never, interval: 1s}}}}}}\n"
    ));
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert!(said.code == 1 && said.err.contains("this was life 2") && !said.err.contains("life 1"), "{said:?}");
    let said = sandbox.run(&["why", "a"]);
    assert!(said.code == 1 && said.err.contains("this was life 2") && !said.err.contains("life 1"), "{said:?}");
    assert!(sandbox.ok(&["logs", "a"]).contains("this was life 1"), "they are all kept");
}

#[test]
fn an_interrupt_while_a_dependency_gets_ready_stops_what_runs_and_starts_nothing_else() {
    let sandbox = Sandbox::new(&format!(
        "{STAYS}  b:\n    command: touch b\n    depends_on: {{c: {{condition: service_healthy}}}}\n  c:\n    command: exec sleep 1000\n    healthcheck: {{file: never, interval: 50ms, retries: 100000}}\n"
    ));
    let foreground = sandbox.begin(&["up"]);
    foreground.wait_for("ready");
    foreground.signal(Signal::SIGINT);
    assert_eq!(foreground.end(), 130);
    assert!(!is_alive(sandbox.pid("pid")) && !sandbox.path("b").exists());
}

#[test]
fn ps_tells_a_process_that_had_to_be_killed_from_one_that_ended() {
    for (stack, killed) in [(STUBBORN, "\"killed\":true"), (STAYS, "\"killed\":false")] {
        let sandbox = up(stack);
        sandbox.ok(&["stop"]);
        assert!(!is_alive(sandbox.pid("pid")));
        let shown = sandbox.ok(&["ps", "-a", "--format", "json"]);
        assert!(shown.contains(killed), "{shown}");
    }
}

#[test]
fn on_failure_3_starts_four_times_and_then_up_fails() {
    let sandbox = Sandbox::new(
        "processes: {a: {command: 'echo start >> starts; exit 1', restart: 'on-failure:3', healthcheck: {file: never}}}",
    );
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("a:1"), "{said:?}");
    assert_eq!(sandbox.lines("starts").len(), 4);
}

#[test]
fn stop_wins_over_a_restart_that_is_pending() {
    let sandbox = Sandbox::new("processes: {a: {command: 'echo start >> starts; exit 1', restart: always}}");
    sandbox.run(&["up", "-d"]);
    until("it crashes in a loop", || sandbox.lines("starts").len() >= 3);
    let supervisor = sandbox.supervisor();
    sandbox.ok(&["stop", "a"]);
    let starts = sandbox.lines("starts").len();
    // With nothing left to do the supervisor ends, and there is nobody who could start anything.
    until("the supervisor ends", || !is_alive(supervisor));
    assert_eq!(sandbox.lines("starts").len(), starts);
    sandbox.run(&["start", "a"]);
    until("it is started again", || sandbox.lines("starts").len() > starts);
}

#[test]
fn a_failed_task_fails_what_waits_for_it_and_is_named() {
    let sandbox = Sandbox::new(
        "
processes:
  migrate: {command: 'echo no such table; exit 3'}
  app:
    command: touch app
    depends_on: {migrate: {condition: service_completed_successfully}}
",
    );
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    for text in ["migrate", "3", "no such table"] {
        assert!(said.err.contains(text), "{text}: {said:?}");
    }
    assert!(!sandbox.path("app").exists());
}

#[test]
fn a_dependent_starts_after_its_task_has_succeeded() {
    let sandbox = Sandbox::new(
        "
processes:
  migrate: {command: 'sleep 0.3; touch migrated'}
  app:
    command: test -f migrated && touch app
    depends_on: {migrate: {condition: service_completed_successfully}}
",
    );
    assert_eq!(sandbox.begin(&["up"]).end(), 0);
    assert!(sandbox.path("app").exists());
}

#[test]
fn a_dependency_that_dies_before_it_is_healthy_ends_up() {
    let sandbox = Sandbox::new(
        "
processes:
  db: {command: 'echo disk full; exit 7', healthcheck: {file: never, interval: 50ms, start_period: 1m}}
  app: {command: touch app, depends_on: {db: {condition: service_healthy}}}
",
    );
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    for text in ["db", "7", "disk full"] {
        assert!(said.err.contains(text), "{text}: {said:?}");
    }
    assert!(!sandbox.path("app").exists());
}

#[test]
fn lines_written_right_before_the_end_are_in_the_log() {
    let sandbox = Sandbox::new("processes: {a: {command: 'seq 5000'}}");
    for _ in 0..3 {
        assert_eq!(sandbox.begin(&["up"]).end(), 0);
        let shown = sandbox.ok(&["logs", "--no-log-prefix", "--run", "last"]);
        let expected: Vec<String> = (1..=5000).map(|number| number.to_string()).collect();
        let expected = expected.join("\n") + "\n";
        assert!(shown == expected, "{} lines, the last: {:?}", shown.lines().count(), shown.lines().last());
    }
}

#[test]
fn a_save_restarts_a_process_once_and_a_touch_does_not() {
    let sandbox = Sandbox::new(
        "
processes:
  a:
    command: echo start >> starts; exec sleep 1000
    healthcheck: {file: starts, interval: 50ms, start_period: 1m}
    develop: {watch: [{path: src, action: restart}]}
",
    );
    sandbox.write("src/main", "one");
    sandbox.ok(&["up", "-d", "--wait"]);
    let file = sandbox.path("src/main");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::File::open(&file).unwrap().set_modified(SystemTime::now()).unwrap();
    // What is no change is seen before what is one, and either would have been a start.
    for (text, starts) in [("two", 2), ("three", 3)] {
        sandbox.save("src/main", text);
        until("it is restarted", || sandbox.lines("starts").len() >= starts);
        sandbox.ok(&["ps"]);
        assert_eq!(sandbox.lines("starts").len(), starts);
    }
}

#[test]
fn several_ups_at_once_share_one_supervisor_and_start_once() {
    let sandbox = Sandbox::new(
        "
name: together
processes: {a: {command: echo start >> starts; exec sleep 1000, healthcheck: {file: starts, interval: 50ms, start_period: 1m}}}
",
    );
    let commands: Vec<_> = (0..4).map(|_| sandbox.begin(&["up", "-d", "--wait"])).collect();
    for command in commands {
        assert_eq!(command.end(), 0);
    }
    assert_eq!(sandbox.lines("starts").len(), 1);
    assert!(is_alive(sandbox.supervisor()));
}

#[test]
fn what_up_has_started_answers_the_next_command() {
    let sandbox = Sandbox::new(STAYS);
    for _ in 0..5 {
        sandbox.ok(&["up", "-d", "--wait"]);
        assert!(sandbox.ok(&["ps"]).contains("running"));
        assert!(sandbox.ok(&["logs", "--tail", "1"]).contains("ready"));
        sandbox.ok(&["exec", "a", "true"]);
        assert_eq!(sandbox.run(&["exec", "a", "sh", "-c", "exit 7"]).code, 7);
        sandbox.ok(&["down"]);
        fs::remove_file(sandbox.path("pid")).unwrap();
    }
}

#[test]
fn paths_are_relative_to_the_stack_from_wherever_it_is_called() {
    let sandbox = Sandbox::new(
        "
name: relative
processes:
  a:
    command: echo $$WORD > word; touch marker; exec sleep 1000
    working_dir: ./svc
    env_file: ./e.env
    healthcheck: {test: 'test -f marker', interval: 50ms, start_period: 1m}
",
    );
    sandbox.write("e.env", "WORD=found\n");
    sandbox.write("svc/here", "");
    let file = sandbox.path("stack.yaml");
    let file = file.to_str().unwrap();
    for line in [&["-f", file, "up", "-d", "--wait"][..], &["-f", file, "exec", "a", "test", "-f", "here"]] {
        let said = sandbox.run_in(Path::new("/"), line);
        assert_eq!(said.code, 0, "{line:?}: {said:?}");
    }
    assert_eq!(sandbox.lines("svc/word"), ["found"]);
}

#[test]
fn nobody_else_can_read_or_drive_an_environment() {
    let sandbox = up(STAYS);
    let directory = sandbox.env_dir();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("control.sock")), 0o600);
    for entry in fs::read_dir(directory.join("logs")).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn names_that_would_be_paths_are_refused_and_nothing_is_made() {
    let long = "x".repeat(300);
    let sandbox = Sandbox::new(STAYS);
    for name in ["../../tmp/x", "..", "a/b", "a\nb", &long] {
        let said = sandbox.run(&["-p", name, "up", "-d"]);
        assert_eq!(said.code, 2, "{name:?}: {said:?}");
        sandbox.write("bad.yaml", &format!("processes: {{{name:?}: {{command: 'true'}}}}"));
        let said = sandbox.run(&["-f", "bad.yaml", "config"]);
        assert_eq!(said.code, 3, "{name:?}: {said:?}");
    }
    assert!(!sandbox.state().exists(), "something was made");
}

#[test]
fn all_that_is_wrong_with_a_file_is_told_at_once_with_its_place() {
    let sandbox = Sandbox::new(
        "x-free: {anything: goes}\nprocesses:\n  a:\n    command: 'true'\n    environment: {A: 1}\n    environment: {B: 1}\n    helthcheck: {file: x}\n",
    );
    let said = sandbox.run(&["config"]);
    assert_eq!(said.code, 3, "{said:?}");
    for text in ["stack.yaml:6:5", "stack.yaml:7:5", "did you mean `healthcheck`", "2 errors"] {
        assert!(said.err.contains(text), "{text}: {}", said.err);
    }
    assert!(!said.err.contains("x-free"), "{}", said.err);
}

#[test]
fn a_plan_right_after_an_up_finds_nothing_to_do() {
    let sandbox = Sandbox::new(&format!(
        "{STAYS}  b:\n    command: echo up; exec sleep 1000\n    healthcheck: {{log: up}}\n  c:\n    command: exec sleep 1000\n    \
         depends_on: {{a: {{condition: service_healthy}}, b: {{condition: service_healthy}}}}\n"
    ));
    for _ in 0..3 {
        sandbox.ok(&["up", "-d"]);
        let planned = sandbox.run(&["plan"]);
        assert_eq!((planned.code, planned.out.contains("nothing to do")), (0, true), "{planned:?}");
        sandbox.ok(&["restart"]);
    }
}

#[test]
fn down_of_a_stack_of_processes_says_nothing_of_an_engine() {
    let sandbox = up(STAYS);
    let said = sandbox.run(&["down"]);
    assert_eq!((said.code, said.err.contains("engine")), (0, false), "{said:?}");
}

/// A supervisor that ends when it hears a wish: what it was asked for never reached its loop.
fn ending_supervisor(sandbox: &Sandbox, env: &str) -> std::thread::JoinHandle<()> {
    use std::io::{BufRead, BufReader, Write};
    let dir = sandbox.state().join(env);
    fs::create_dir_all(&dir).unwrap();
    let lock = fs::File::create(dir.join("lock")).unwrap();
    lock.try_lock().unwrap();
    let socket = dir.join("control.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let status = format!(r#"{{"status":{{"env":"{env}","units":[],"engine_away":null}}}}"#);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let hello = lines.next().unwrap().unwrap();
            writeln!(stream, "{hello}").unwrap();
            for line in lines.map_while(Result::ok) {
                let asked: serde_json::Value = serde_json::from_str(&line).unwrap();
                if asked["request"] != "status" {
                    fs::remove_file(&socket).unwrap();
                    drop(lock);
                    return;
                }
                writeln!(stream, r#"{{"reply":{{"id":{},"reply":{status}}}}}"#, asked["id"]).unwrap();
            }
        }
    })
}

#[test]
fn a_foreground_up_asks_again_when_the_supervisor_ends_before_it_hears_the_wish() {
    let sandbox = Sandbox::new(STAYS);
    let ending = ending_supervisor(&sandbox, "demo");
    let foreground = sandbox.begin(&["-p", "demo", "up"]);
    foreground.wait_for("ready");
    ending.join().unwrap();
    foreground.signal(Signal::SIGINT);
    assert_eq!(foreground.end(), 130);
}

#[test]
fn a_generated_value_is_masked_in_what_up_says() {
    let sandbox = Sandbox::new(&format!("{STAYS}generate: {{TOKEN: {{hex: 64}}}}\n"));
    sandbox.ok(&["up", "-d", "--wait"]);
    let stack = fs::read_to_string(sandbox.path("stack.yaml")).unwrap();
    sandbox.write("stack.yaml", &stack.replace("    stop_grace", "    environment: {PASSWORD: \"${TOKEN}\"}\n    stop_grace"));
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert!(said.err.contains("environment.PASSWORD: nothing") && said.err.contains("********"), "{said:?}");
    let values = fs::read_to_string(sandbox.env_dir().join("values.json")).unwrap();
    let value = values.split('"').nth(3).unwrap();
    assert!(value.len() >= 64 && !said.err.contains(&value[..8]), "{said:?}");
}

#[test]
fn run_and_exec_of_what_was_never_up_find_its_files_and_leave_none() {
    let sandbox = Sandbox::new(
        "
configs: {c: {content: from the stack}}
processes:
  a: {command: exec sleep 1000}
  client:
    command: cat conf.txt \"$$CONFIG_C_FILE\"
    profiles: [tools]
    configs: [{source: c, target: conf.txt}]
    scratch: [scratch]
",
    );
    sandbox.ok(&["up", "-d"]);
    assert_eq!(sandbox.ok(&["run", "--rm", "client"]), "from the stackfrom the stack");
    assert_eq!(sandbox.ok(&["exec", "client", "cat", "conf.txt"]), "from the stack");
    assert!(fs::symlink_metadata(sandbox.path("conf.txt")).is_err());
    assert!(!sandbox.env_dir().join("files/client.1/config").exists());
}

#[test]
fn a_daemon_keeps_nothing_open_that_its_caller_had_open() {
    let sandbox = Sandbox::new(STAYS);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&writer);
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    sandbox.ok(&["up", "-d", "--wait"]);
    let supervisor = sandbox.supervisor();
    for holder in [supervisor, parent(supervisor), sandbox.pid("pid")] {
        assert!(is_alive(holder));
    }
    drop(writer);
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(std::io::Read::read(&mut reader, &mut [0]).unwrap()));
    let read = ended.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(read, Ok(0), "descriptor {fd} is still open somewhere");
}

#[test]
fn start_timeout_limits_a_run_with_its_checks() {
    let sandbox = Sandbox::new("processes: {t: {command: touch done, check: 'sleep 2; test -e done', start_timeout: 3s}}");
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("not done within 3s"), "{said:?}");
}

#[test]
fn a_generated_value_is_masked_in_labels() {
    let sandbox = up("
generate: {TOKEN: {hex: 16}}
processes: {a: {command: exec sleep 1000, labels: {auth: 'user:${TOKEN}'}}}
");
    let shown = sandbox.ok(&["ps", "--format", "json"]);
    assert!(shown.contains("auth=user:********"), "{shown}");
}

#[test]
fn a_run_without_a_check_before_it_has_its_whole_time() {
    let sandbox = Sandbox::new(
        "processes: {stay: {command: exec sleep 1000}, t: {command: touch done, check: 'test -e done && sleep 0.2', start_timeout: 2s}}",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
    let asked = Instant::now();
    sandbox.ok(&["up", "-d", "--wait"]);
    // The check that found it up to date began a run that was none; its time is over by then.
    until("its time is over", || asked.elapsed() > Duration::from_secs(3));
    sandbox.ok(&["restart", "t"]);
}

#[test]
fn the_state_says_what_is_in_force() {
    let sandbox = up(STAYS);
    assert!(fs::read_to_string(sandbox.env_dir().join("stack.json")).unwrap().contains("echo ready"));
}

#[test]
fn down_with_volumes_takes_owned_paths_along_and_the_whole_stack_cannot_be_owned() {
    let sandbox = Sandbox::new(&format!("{STAYS}owns: [{{paths: 'scratches/kernel-*'}}]\n"));
    sandbox.write("scratches/kernel-1/log", "");
    sandbox.write("scratches/mine", "");
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["down"]);
    assert!(sandbox.path("scratches/kernel-1/log").exists());
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["down", "-v"]);
    assert!(!sandbox.path("scratches/kernel-1").exists() && sandbox.path("scratches/mine").exists());
    for path in [".", "*", "..", "scratches/../.."] {
        sandbox.write("bad.yaml", &format!("processes: {{a: {{command: 'true'}}}}\nowns: [{{paths: '{path}'}}]\n"));
        let said = sandbox.run(&["-f", "bad.yaml", "config"]);
        assert!(said.code == 3 && said.err.contains("bad.yaml:2"), "{path}: {said:?}");
    }
}
