//! The program and the engine together, as a user has them: command lines in, containers out.

use nix::sys::signal::Signal;

use crate::support::sandbox::Sandbox;

const SLEEPER: &str = "
services:
  web: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s}
";

#[test]
fn what_up_starts_ps_shows_and_down_removes() {
    let Some(sandbox) = Sandbox::with_engine("up", SLEEPER) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    assert!(sandbox.engine().is_running("web-1"));
    let shown = sandbox.ok(&["ps", "--format", "json"]);
    assert!(shown.contains("\"State\":\"running\"") && shown.contains("\"Service\":\"web\""), "{shown}");
    sandbox.ok(&["down"]);
    assert!(sandbox.engine().containers().is_empty());
    assert!(sandbox.engine().networks().is_empty());
    assert!(!sandbox.ok(&["ps", "-a", "--format", "json"]).contains("running"));
}

#[test]
fn up_again_leaves_alone_what_has_not_changed() {
    let Some(sandbox) = Sandbox::with_engine("again", SLEEPER) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    let id = sandbox.engine().id("web-1");
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(sandbox.engine().id("web-1"), id);
    assert!(id.is_some() && sandbox.engine().is_running("web-1"));
}

#[test]
fn a_changed_definition_makes_another_container() {
    let Some(sandbox) = Sandbox::with_engine("changed", SLEEPER) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    let first = sandbox.engine().id("web-1");
    let stack = std::fs::read_to_string(sandbox.path("stack.yaml")).unwrap();
    sandbox.write("stack.yaml", &stack.replace("1000", "2000"));
    sandbox.ok(&["up", "-d", "--wait"]);
    let second = sandbox.engine().id("web-1");
    assert!(second.is_some() && second != first);
    assert_eq!(sandbox.engine().containers(), ["web-1"]);
}

#[test]
fn run_passes_on_output_and_exit_code_and_rm_leaves_nothing() {
    let Some(sandbox) = Sandbox::with_engine("run", SLEEPER) else { return };
    let said = sandbox.run(&["run", "--rm", "-T", "web", "sh", "-c", "echo from within; exit 7"]);
    assert_eq!((said.code, said.out.as_str()), (7, "from within\n"), "{said:?}");
    assert!(sandbox.engine().containers().is_empty());
}

#[test]
fn down_ends_well_whatever_others_did_to_a_container() {
    let Some(sandbox) = Sandbox::with_engine("others", SLEEPER) else { return };
    let engine = sandbox.engine();
    let killed = || engine.kill("web-1");
    let started_again = || {
        engine.kill("web-1");
        engine.start("web-1");
    };
    let removed = || engine.remove("web-1");
    for done in [&killed as &dyn Fn(), &started_again, &removed] {
        sandbox.ok(&["up", "-d", "--wait"]);
        done();
        sandbox.ok(&["down"]);
        assert!(engine.containers().is_empty());
    }
}

#[test]
fn an_interrupted_run_leaves_no_container() {
    let Some(sandbox) = Sandbox::with_engine("interrupted", SLEEPER) else { return };
    let run = sandbox.begin(&["run", "--rm", "-T", "web", "sh", "-c", "echo begun; exec sleep 900"]);
    run.wait_for("begun");
    run.signal(Signal::SIGINT);
    assert_eq!(run.end(), 130);
    assert!(sandbox.engine().containers().is_empty());
}

#[test]
fn stop_and_start_keep_the_container() {
    let Some(sandbox) = Sandbox::with_engine("stop", SLEEPER) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    let id = sandbox.engine().id("web-1");
    sandbox.ok(&["stop"]);
    assert!(!sandbox.engine().is_running("web-1"));
    assert!(sandbox.ok(&["ps", "-a", "--format", "json"]).contains("exited"));
    sandbox.ok(&["start"]);
    assert!(sandbox.engine().is_running("web-1"));
    assert_eq!(sandbox.engine().id("web-1"), id);
    sandbox.ok(&["up", "-d"]);
    assert_eq!(sandbox.engine().id("web-1"), id, "nothing changed, so nothing is made again");
}

#[test]
fn a_container_waits_for_its_healthy_dependency_and_stops_before_it() {
    let stack = "
services:
  web:
    image: IMAGE
    command: [sleep, '1000']
    init: true
    depends_on: {db: {condition: service_healthy}}
  db:
    image: IMAGE
    command: [sh, -c, 'sleep 0.5; touch /ready; exec sleep 1000']
    init: true
    healthcheck: {test: [CMD, test, -f, /ready], interval: 100ms, retries: 100}
";
    let Some(sandbox) = Sandbox::with_engine("healthy", stack) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    let state = |unit: &str| {
        sandbox.engine().ask(async |api| {
            let name = sandbox.engine().container(unit);
            let found = api.inspect_container(&name, None::<bollard::query_parameters::InspectContainerOptions>).await;
            found.unwrap().state.unwrap()
        })
    };
    let time = |text: Option<String>| humantime::parse_rfc3339(&text.unwrap()).unwrap();
    let started = |unit| time(state(unit).started_at);
    let finished = |unit| time(state(unit).finished_at);
    assert!(started("db-1") < started("web-1"));
    sandbox.ok(&["stop"]);
    assert!(finished("web-1") < finished("db-1"));
}
