//! What a developer's stack asks for, end to end: ports that are wanted twice, readiness that is not there, words for people.

use std::fs;
use std::net::TcpListener;

use crate::support::sandbox::{Sandbox, kill, until};
use nix::sys::signal::Signal;

fn has_one_line(sandbox: &Sandbox, name: &str) -> String {
    until("it has written", || !sandbox.lines(name).is_empty());
    sandbox.lines(name).remove(0)
}

#[test]
fn two_directories_that_want_one_number_get_two_and_keep_them() {
    let stack = "
ports: {WEB_PORT: 18911}
processes: {web: {command: 'echo $$PORT > port; exec sleep 1000', environment: {PORT: '${WEB_PORT}'}, ports: ['${WEB_PORT}']}}
";
    let sandbox = Sandbox::new("processes: {}\n");
    for place in ["one", "two"] {
        sandbox.write(&format!("{place}/stack.yaml"), stack);
    }
    // At the same moment.
    let mut started: Vec<_> =
        ["one", "two"].map(|place| sandbox.command(&["up", "-d"], &sandbox.path(place)).spawn().unwrap()).into();
    assert!(started.iter_mut().all(|child| child.wait().unwrap().success()));
    let numbers = ["one/port", "two/port"].map(|name| has_one_line(&sandbox, name));
    assert_ne!(numbers[0], numbers[1]);
    assert!(numbers.contains(&"18911".to_owned()), "{numbers:?}");
    for (place, number) in ["one", "two"].into_iter().zip(&numbers) {
        let said = sandbox.run_in(&sandbox.path(place), &["port"]);
        assert!(said.out.contains(number.as_str()), "{said:?}");
        // A second `up` asks for nothing else.
        assert_eq!(sandbox.run_in(&sandbox.path(place), &["up", "-d"]).code, 0);
        assert_eq!(sandbox.lines(&format!("{place}/port")).len(), 1);
        assert_eq!(sandbox.run_in(&sandbox.path(place), &["down"]).code, 0);
    }
}

#[test]
fn a_number_that_somebody_holds_is_replaced_or_under_strict_ports_an_error_that_names_the_holder() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    let sandbox = Sandbox::new(&format!(
        "
ports: {{WEB_PORT: {taken}}}
processes: {{web: {{command: 'echo $$PORT > port; exec sleep 1000', environment: {{PORT: '${{WEB_PORT}}'}}}}}}
"
    ));
    let said = sandbox.run(&["up", "-d", "--strict-ports"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains(&taken.to_string()) && said.err.contains(&std::process::id().to_string()), "{said:?}");
    assert!(!sandbox.path("port").exists(), "nothing has been started");
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 0, "{said:?}");
    let number = has_one_line(&sandbox, "port");
    assert!(number != taken.to_string() && said.err.contains(&number), "{number}: {said:?}");
    let said = sandbox.run(&["up", "-d", "--strict-ports"]);
    assert!(said.code == 1 && said.err.contains(&taken.to_string()), "what was found in its place is not it: {said:?}");
    sandbox.ok(&["down"]);
}

#[test]
fn one_that_is_unhealthy_is_started_anew_where_that_is_said() {
    // The main process lives on; what it is for does not.
    let sandbox = Sandbox::new(
        "
processes:
  manager:
    command: echo $$$$ >> lives; touch works; exec sleep 1000
    healthcheck: {test: [CMD, test, -e, works], interval: 50ms, retries: 2, start_period: 1m}
    on_unhealthy: restart
  beside: {command: echo x >> beside; exec sleep 1000}
",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(sandbox.lines("lives").len(), 1);
    until("the other one has written", || sandbox.lines("beside").len() == 1);
    fs::remove_file(sandbox.path("works")).unwrap();
    until("a second life", || sandbox.lines("lives").len() == 2);
    until("which is healthy", || sandbox.ok(&["ps", "manager"]).contains("(healthy)"));
    assert_eq!(sandbox.lines("beside").len(), 1, "nobody else is restarted");
    let lives = sandbox.lines("lives");
    assert_ne!(lives[0], lives[1]);
    sandbox.ok(&["down"]);
}

#[test]
fn an_end_before_it_is_ready_is_a_failure_whatever_the_code() {
    let sandbox = Sandbox::new(
        "
processes:
  quick: {command: exit 0, healthcheck: {test: [CMD, test, -e, never], interval: 50ms, start_period: 10s}, restart: 'no'}
  user: {command: exec sleep 1000, depends_on: {quick: {condition: service_healthy}}}
",
    );
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("user") && said.err.contains("quick"), "{said:?}");
    sandbox.ok(&["down"]);
}

#[test]
fn a_task_whose_check_fails_is_tried_again_and_tasks_that_do_not_need_each_other_run_side_by_side() {
    let sandbox = Sandbox::new(
        "
processes:
  flaky: {command: echo x >> tries, check: 'test $$(wc -l < tries) -ge 3', restart: 'on-failure:5'}
  left:  {command: 'touch left-here;  until [ -e right-here ]; do sleep 0.01; done', check: test -e left-here -a -e right-here}
  right: {command: 'touch right-here; until [ -e left-here ];  do sleep 0.01; done', check: test -e left-here -a -e right-here}
",
    );
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(sandbox.lines("tries").len(), 3);
    sandbox.ok(&["down"]);
}

#[test]
fn the_welcome_is_said_with_the_real_numbers_by_each_up() {
    let sandbox = Sandbox::new(
        "
ports: {WEB_PORT: 18913}
processes: {web: {command: exec sleep 1000}}
welcome: 'Open http://127.0.0.1:${WEB_PORT}/ of ${ENVID}'
",
    );
    for _ in 0..2 {
        let said = sandbox.run(&["up", "-d"]);
        let number = sandbox.ok(&["port"]).split_whitespace().last().unwrap().to_owned();
        assert_eq!(sandbox.ok(&["port", "WEB_PORT"]), format!("{number}\n"));
        let text = format!("{}{}", said.out, said.err);
        assert!(text.contains(&format!("Open http://127.0.0.1:{number}/ of ")), "{said:?}");
    }
    sandbox.ok(&["down"]);
}

#[test]
fn a_config_that_is_missing_or_a_directory_is_told_before_anything_starts() {
    let stack = "
configs: {c: {file: conf/web.conf}}
processes:
  web: {command: exec sleep 1000, configs: [c]}
  other: {command: touch started; exec sleep 1000}
";
    let sandbox = Sandbox::new(stack);
    for what in ["missing", "a directory"] {
        let said = sandbox.run(&["up", "-d"]);
        assert_eq!(said.code, 3, "{said:?}");
        assert!(said.err.contains("conf/web.conf") && said.err.contains("stack.yaml:2:"), "{what}: {said:?}");
        assert!(!sandbox.path("started").exists());
        fs::create_dir_all(sandbox.path("conf/web.conf")).unwrap();
    }
}

#[test]
fn path_and_cpus_are_what_is_promised() {
    let sandbox = Sandbox::new(
        "
configs: {c: {content: 'workers = ${CPUS}'}}
processes:
  web: {command: tool > told; cat c.conf >> told; exec sleep 1000, path: [bin], configs: [{source: c, target: c.conf}]}
",
    );
    sandbox.program("bin/tool", "#!/bin/sh\necho from the directory\n");
    sandbox.ok(&["up", "-d"]);
    until("it has told both", || sandbox.lines("told").len() == 2);
    let cpus = std::thread::available_parallelism().unwrap();
    assert_eq!(sandbox.lines("told"), ["from the directory".to_owned(), format!("workers = {cpus}")]);
    sandbox.ok(&["down"]);
}

#[test]
fn a_down_without_profiles_takes_what_a_profile_had_started() {
    let sandbox = Sandbox::new(
        "
processes:
  web: {command: exec sleep 1000}
  extra: {command: 'echo $$$$ > extra.pid; exec sleep 1000', profiles: [more]}
",
    );
    sandbox.ok(&["--profile", "more", "up", "-d"]);
    until("it runs", || sandbox.path("extra.pid").exists() && !sandbox.lines("extra.pid").is_empty());
    let pid = sandbox.pid("extra.pid");
    sandbox.ok(&["down"]);
    assert!(!crate::support::sandbox::is_alive(pid));
}

#[test]
fn ls_tells_what_runs_and_where() {
    let sandbox = Sandbox::new("name: shown\nprocesses: {web: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d"]);
    let shown = sandbox.ok(&["ls"]);
    assert!(shown.contains("shown") && shown.contains(sandbox.path("").to_str().unwrap().trim_end_matches('/')), "{shown}");
    let supervisor = sandbox.supervisor();
    kill(supervisor, Signal::SIGKILL);
    until("its processes are gone", || !sandbox.ok(&["ls"]).contains("running(1)"));
    sandbox.ok(&["down"]);
    let left = sandbox.ok(&["ls", "--all"]);
    assert!(left.contains("shown"), "its ports and logs stay: {left}");
    sandbox.ok(&["purge", "-p", "shown", "--yes"]);
    assert!(!sandbox.ok(&["ls", "--all"]).contains("shown"));
}
