//! `init`: a stack from a template, from other tools' files, and from nothing.

use std::fs;

use crate::support::sandbox::Sandbox;

/// The stack file that is there, which loads.
fn is_a_stack(sandbox: &Sandbox, directory: &str) -> String {
    let place = sandbox.path(directory);
    let said = sandbox.run_in(&place, &["config", "-q"]);
    assert_eq!(said.code, 0, "{said:?}");
    fs::read_to_string(place.join("stack.yaml")).unwrap()
}

#[test]
fn each_template_is_listed_and_makes_a_stack_that_loads() {
    let sandbox = Sandbox::new("processes: {}\n");
    let listed = sandbox.ok(&["init", "--list"]);
    let names: Vec<&str> = listed.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["quickstart", "compose", "backend.ai", "backend.ai-next"]);
    for name in names {
        let place = format!("new/{name}");
        let said = sandbox.run(&["init", name, &place]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.err.contains(&format!("cd {place} && baistack up")), "{}", said.err);
        let place = sandbox.path(&place);
        let said = sandbox.run_in(&place, &["config", "-q"]);
        assert_eq!(said.code, 0, "{name}: {}", said.err);
    }
    // A second time nothing is written, also not what is missing.
    fs::remove_file(sandbox.path("new/compose/README.md")).unwrap();
    fs::write(sandbox.path("new/compose/stack.yaml"), "mine").unwrap();
    let said = sandbox.run(&["init", "compose", "new/compose"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("`stack.yaml`") && said.err.contains("--force"), "{}", said.err);
    assert_eq!(fs::read_to_string(sandbox.path("new/compose/stack.yaml")).unwrap(), "mine");
    assert!(!sandbox.path("new/compose/README.md").exists());
    sandbox.ok(&["init", "compose", "new/compose", "--force"]);
    assert!(sandbox.path("new/compose/README.md").exists());
}

#[test]
fn a_name_that_is_no_template_and_no_file_is_told_with_the_nearest() {
    let sandbox = Sandbox::new("processes: {}\n");
    let said = sandbox.run(&["init", "quikstart", "demo"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("did you mean `quickstart`?") && said.err.contains("--list"), "{}", said.err);
    assert!(!sandbox.path("demo").exists(), "nothing is made");
}

#[test]
fn a_directory_with_several_tools_files_becomes_one_stack() {
    let sandbox = Sandbox::new("processes: {}\n");
    sandbox.write("app/docker-compose.yml", "services:\n  db: {image: 'postgres:17'}\n");
    sandbox.write("app/docker-compose.override.yml", "services:\n  db: {environment: {POSTGRES_PASSWORD: x}}\n");
    sandbox.write("app/Procfile", "web: ./serve --price 5$\nworker: ./work\n");
    sandbox.write("app/process-compose.yaml", "processes:\n  docs: {command: ./docs}\n");
    let said = sandbox.run(&["init", "app"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("`docker-compose.yml`, `process-compose.yaml`, `Procfile`"), "{}", said.err);
    let text = is_a_stack(&sandbox, "app");
    assert!(text.contains("docker-compose.override.yml"), "{text}");
    let services = sandbox.run_in(&sandbox.path("app"), &["config", "--services"]).out;
    let mut services: Vec<&str> = services.lines().collect();
    services.sort_unstable();
    assert_eq!(services, ["db", "docs", "web", "worker"]);
    let model = sandbox.run_in(&sandbox.path("app"), &["config"]).out;
    assert!(model.contains("POSTGRES_PASSWORD: x") && model.contains("--price 5$$"), "{model}");
}

#[test]
fn one_name_in_two_files_is_nobodys_to_choose_and_one_file_can_be_named() {
    let sandbox = Sandbox::new("processes: {}\n");
    sandbox.write("app/Procfile", "web: ./serve\n");
    sandbox.write("app/process-compose.yaml", "processes:\n  web: {command: ./other}\n");
    let said = sandbox.run(&["init", "app"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("`web` stands in `process-compose.yaml` and in `Procfile`"), "{}", said.err);
    assert!(!sandbox.path("app/stack.yaml").exists());
    sandbox.ok(&["init", "Procfile", "app"]);
    assert!(is_a_stack(&sandbox, "app").contains("./serve"));
    let plan = sandbox.run_in(&sandbox.path("app"), &["plan"]);
    assert!(plan.code == 10 && plan.out.contains("web"), "{plan:?}");
}

#[test]
fn what_is_not_carried_over_is_said_line_by_line_and_the_rest_can_be_planned() {
    let sandbox = Sandbox::new("processes: {}\n");
    sandbox.write(
        "app/process-compose.yaml",
        "version: '0.5'
log_level: debug
log_location: all.log
processes:
  db:
    command: exec sleep 100 # with bash's words
    namespace: back
    availability: {restart: exit_on_failure, backoff_seconds: 2, max_restarts: 5}
    liveness_probe: {exec: {command: test -e alive}}
    readiness_probe: {exec: {command: test -e ready}}
  web:
    command: sleep 100
    is_foreground: true
    depends_on: {db: {condition: process_healthy}}
",
    );
    sandbox.write("app/process-compose.override.yaml", "processes:\n  web: {command: sleep 200}\n");
    let place = sandbox.path("app");
    let direct = sandbox.run_in(&place, &["-f", "process-compose.yaml", "config", "-q"]);
    let made = sandbox.run_in(&place, &["init", "process-compose.yaml"]);
    assert_eq!((direct.code, made.code), (0, 0), "{direct:?} {made:?}");
    for (line, column, key) in [
        (2, 1, "log_level"),
        (3, 1, "log_location"),
        (7, 5, "namespace"),
        (8, 29, "exit_on_failure"),
        (8, 46, "backoff_seconds"),
        (8, 66, "max_restarts"),
        (9, 5, "liveness_probe"),
    ] {
        for said in [&direct, &made] {
            let at = format!("process-compose.yaml:{line}:{column}");
            assert!(said.err.contains(key) && said.err.contains(&at), "{key} at {at}: {}", said.err);
        }
    }
    assert!(made.err.contains("`process-compose.override.yaml`") && made.err.contains("not carried over"), "{}", made.err);
    is_a_stack(&sandbox, "app");
    let plan = sandbox.run_in(&place, &["plan"]);
    assert_eq!(plan.code, 10, "{plan:?}");
}

#[test]
fn what_would_not_load_or_could_not_be_planned_is_not_written() {
    let sandbox = Sandbox::new("processes: {}\n");
    let process = |lines: &str| format!("processes:\n  web: {{command: sleep 1, {lines}}}\n");
    for (file, text, place) in [
        ("process-compose.yaml", process("depends_on: {none: {}}"), "process-compose.yaml:2"),
        ("process-compose.yaml", process("replicas: many"), "process-compose.yaml:2"),
        ("process-compose.yaml", process("shutdown: {signal: 99}"), "process-compose.yaml:2"),
        ("process-compose.yaml", process("env_file: none.env"), "process-compose.yaml:2"),
        ("process-compose.yaml", process("depends_on: {web: {}}"), "process-compose.yaml:2"),
        ("process-compose.yaml", process("schedule: {cron: never}"), "process-compose.yaml:2"),
        ("process-compose.yaml", "processes: [web]\n".to_owned(), "process-compose.yaml:1"),
        ("compose.yaml", "services: {web: {imag: nginx}}\n".to_owned(), "compose.yaml:1"),
        ("compose.yaml", "services: {web: {image: nginx, env_file: none.env}}\n".to_owned(), "compose.yaml:1"),
    ] {
        sandbox.write(&format!("app/{file}"), &text);
        for args in [&["init", "app"][..], &["init", "app", "-o", "-"]] {
            let said = sandbox.run(args);
            assert_eq!(said.code, 3, "{text} {said:?}");
            assert!(said.err.contains(place), "{text} {}", said.err);
            assert_eq!(said.out, "", "{text}");
        }
        assert!(!sandbox.path("app/stack.yaml").exists(), "{text}");
        fs::remove_file(sandbox.path(&format!("app/{file}"))).unwrap();
    }
}

#[test]
fn what_cannot_be_had_together_is_not_offered() {
    let sandbox = Sandbox::new("processes: {}\n");
    sandbox.write("app/docker-compose.yml", "services:\n  web: {image: 'nginx'}\n");
    sandbox.write("app/Procfile", "web: ./serve\n");
    let mut terminal = sandbox.begin_on_terminal(&["init", "app"]);
    terminal.wait_for("from which? [1]");
    terminal.type_until_it_ends("2\n");
    let seen = terminal.end();
    assert!(seen.contains("docker-compose.yml, Procfile make no stack together: `web`"), "{seen}");
    assert!(!seen.contains("all of"), "{seen}");
    assert!(is_a_stack(&sandbox, "app").contains("./serve"));
}

#[test]
fn on_a_terminal_it_asks_where_there_is_a_choice() {
    let sandbox = Sandbox::new("processes: {}\n");
    sandbox.write("app/Procfile", "web: ./serve\n");
    sandbox.write("app/process-compose.yaml", "processes:\n  docs: {command: ./docs}\n");
    let mut terminal = sandbox.begin_on_terminal(&["init", "app"]);
    terminal.wait_for("from which? [1]");
    terminal.type_until_it_ends("3\n");
    let seen = terminal.end();
    assert!(seen.contains("all of process-compose.yaml, Procfile"), "{seen}");
    let text = is_a_stack(&sandbox, "app");
    assert!(text.contains("./serve") && !text.contains("./docs"), "{text}");
    let mut terminal = sandbox.begin_on_terminal(&["init", "empty"]);
    terminal.wait_for("neither a template nor a file");
    terminal.type_until_it_ends("");
}

#[test]
fn a_stack_file_elsewhere_runs_the_same_programs_with_the_same_files() {
    let sandbox = Sandbox::new("processes: {}\n");
    sandbox.write("app/Procfile", "web: ./serve\n");
    sandbox.write("app/.env", "SAID=from-env\n");
    sandbox.write("app/compose.yml", "services: {db: {image: x, env_file: .env}}\n");
    sandbox.program("app/serve", "#!/bin/sh\necho \"$SAID $PORT\" > said\n");
    let app = sandbox.path("app");
    for (line, stack) in [
        (&["init", "Procfile", "out"][..], "app/out/stack.yaml"),
        (&["init", "Procfile", "-o", "sub/s.yaml"], "app/sub/s.yaml"),
        (&["init", "Procfile", "../beside"], "beside/stack.yaml"),
    ] {
        let said = sandbox.run_in(&app, line);
        assert!(said.code == 0 && said.err.contains("end of one process ends all"), "{said:?}");
        let text = fs::read_to_string(sandbox.path(stack)).unwrap();
        assert!(text.contains("ports:\n  WEB_PORT: 5000\n") && text.contains("PORT: ${WEB_PORT}\n"), "{text}");
        fs::remove_file(sandbox.path("app/said")).ok();
        let said = sandbox.run(&["-f", stack, "-p", "elsewhere", "up"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(sandbox.lines("app/said").concat().starts_with("from-env "), "{stack}: {text}");
        sandbox.ok(&["-p", "elsewhere", "purge", "--yes"]);
    }
    let said = sandbox.run_in(&app, &["init", "compose.yml", "../composed"]);
    assert_eq!(said.code, 0, "{said:?}");
    let model = sandbox.run_in(&sandbox.path("composed"), &["config"]).out;
    assert!(model.contains("SAID: from-env"), "{model}");
}

#[test]
fn no_file_that_a_stack_is_made_from_is_overwritten() {
    let sandbox = Sandbox::new("processes: {}\n");
    sandbox.write("app/Procfile", "web: ./serve\n");
    sandbox.write("app/docker-compose.yml", "services: {db: {image: x}}\n");
    for (line, why) in [
        (&["init", "--force", "-o", "Procfile", "Procfile"][..], "not read as a stack file"),
        (&["init", "-o", "Procfile.dev", "Procfile"], "not read as a stack file"),
        (&["init", "--force", "-o", "docker-compose.yml", "docker-compose.yml"], "is what the stack is made from"),
    ] {
        let said = sandbox.run_in(&sandbox.path("app"), line);
        assert!(said.code == 2 && said.err.contains(why) && said.err.contains("--output"), "{said:?}");
    }
    assert_eq!(fs::read_to_string(sandbox.path("app/Procfile")).unwrap(), "web: ./serve\n");
    assert!(fs::read_to_string(sandbox.path("app/docker-compose.yml")).unwrap().starts_with("services:"));
    assert!(!sandbox.path("app/Procfile.dev").exists());
}
