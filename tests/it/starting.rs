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
    assert!(said.err.contains("`docker-compose.yml` and `process-compose.yaml` and `Procfile`"), "{}", said.err);
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
