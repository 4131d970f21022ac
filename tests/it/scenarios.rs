//! The program and the engine together, as a user has them: command lines in, containers out.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;
use std::thread;

use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, is_alive, until};

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

/// Named ports, a volume that says whose it is, and a task whose output all that run this stack share.
const OF_MANY: &str = r#"
ports: {DB_PORT: 18931, WEB_PORT: 18932}
services:
  db:
    image: IMAGE
    command: [sh, -c, 'echo ${ENVID} >> /data/who; exec nc -ll -p 8000 -e cat /data/who']
    init: true
    stop_grace_period: 1s
    ports: ["127.0.0.1:${DB_PORT}:8000"]
    volumes: ["data:/data"]
    healthcheck: {test: [CMD, test, -s, /data/who], interval: 100ms, retries: 100}
volumes: {data: {}}
processes:
  made:
    command: [sh, -c, 'echo made >> SHARED/runs; echo made > SHARED/output']
    outputs: [SHARED/output]
  seen:
    command: '"$$BAISTACK" exec -T db cat /data/who > "${ENV_DIR}/seen"'
    check: test -s "${ENV_DIR}/seen"
    depends_on: {db: {condition: service_healthy}}
  web:
    command: ["busybox", nc, -ll, -p, "${WEB_PORT}", -e, echo, "${ENVID}"]
    ports: ["${WEB_PORT}"]
    scratch: ["${ENV_DIR}/scratch"]
    healthcheck: {tcp: "127.0.0.1:${WEB_PORT}", interval: 1s, retries: 30}
    depends_on: {made: {condition: service_completed_successfully}, seen: {condition: service_completed_successfully}}
"#;

#[test]
fn three_environments_that_are_started_at_one_moment_come_up_and_one_is_purged_alone() {
    let shared = tempfile::tempdir().unwrap();
    let stack = OF_MANY.replace("SHARED", shared.path().to_str().unwrap());
    let all: Option<Vec<Sandbox>> =
        ["a", "b", "c"].iter().map(|name| Sandbox::with_engine(&format!("many-{name}"), &stack)).collect();
    let Some(mut all) = all else { return };
    // One user's: each in a directory of its own, all with one state. The first, which goes first, ends all that is left.
    let state = all[0].root().join("state").display().to_string();
    all.iter_mut().skip(1).for_each(|sandbox| sandbox.variable("XDG_STATE_HOME", Some(&state)));
    thread::scope(|scope| {
        let started: Vec<_> = all.iter().map(|sandbox| scope.spawn(|| sandbox.run(&["up", "-d", "--wait"]))).collect();
        for up in started {
            let said = up.join().unwrap();
            assert_eq!(said.code, 0, "{said:?}");
        }
    });

    let ports = |sandbox: &Sandbox| {
        let shown: serde_json::Value = serde_json::from_str(&sandbox.ok(&["port", "--format", "json"])).unwrap();
        ["DB_PORT", "WEB_PORT"].map(|name| shown[name].as_str().unwrap().parse::<u16>().unwrap())
    };
    let said = |port: u16| {
        let mut text = String::new();
        TcpStream::connect(("127.0.0.1", port)).unwrap().read_to_string(&mut text).unwrap();
        text
    };
    let answers = |sandbox: &Sandbox| ports(sandbox).map(said);
    let env = |sandbox: &Sandbox| format!("{}\n", sandbox.engine().env());
    let numbers: BTreeSet<u16> = all.iter().flat_map(ports).collect();
    assert_eq!(numbers.len(), 6, "{numbers:?}");
    for sandbox in &all {
        assert_eq!(answers(sandbox), [env(sandbox), env(sandbox)]);
        // A process has waited for the container, and asked inside of it.
        assert_eq!(sandbox.lines(&format!(".baistack/{}/seen", sandbox.engine().env())), [sandbox.engine().env()]);
    }
    assert_eq!(std::fs::read_to_string(shared.path().join("runs")).unwrap(), "made\n", "what is shared is made once");

    let lives = |sandbox: &Sandbox| (sandbox.engine().id("db-1"), sandbox.leaders(), ports(sandbox));
    let (before, gone) = (all.iter().map(lives).collect::<Vec<_>>(), all[1].leaders());
    let purged = all[1].run(&["purge", "--yes"]);
    assert_eq!(purged.code, 0, "{purged:?}");
    assert!(!gone.is_empty() && gone.iter().all(|pid| !is_alive(*pid)));
    assert!(all[1].engine().containers().is_empty() && all[1].engine().networks().is_empty());
    assert!(!all[1].path(&format!(".baistack/{}", all[1].engine().env())).exists());
    for (sandbox, before) in [(&all[0], &before[0]), (&all[2], &before[2])] {
        assert_eq!(lives(sandbox), *before, "nothing of it was touched");
        assert_eq!(answers(sandbox), [env(sandbox), env(sandbox)]);
        assert!(!purged.out.contains(sandbox.engine().env()), "{purged:?}");
    }
    // What the volume held is there for the next life.
    all[2].ok(&["down"]);
    all[2].ok(&["up", "-d", "--wait"]);
    assert_eq!(answers(&all[2]), [env(&all[2]).repeat(2), env(&all[2])]);
    assert_eq!(ports(&all[2]), before[2].2, "and so are its numbers");
}

#[test]
fn what_services_made_outlives_a_stop_and_a_restart_and_goes_with_down() {
    let stack =
        "owns: [{containers: {label: 'own=${ENVID}'}}]\nprocesses: {agent: {command: exec sleep 1000, scratch: [scratches]}}\n";
    let Some(sandbox) = Sandbox::with_engine("kernel", stack) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    let (env, image) = (sandbox.engine().env().to_owned(), sandbox.engine().image());
    let name = format!("{env}-kernel");
    let start_kernel = || {
        let body = bollard::models::ContainerCreateBody {
            image: Some(image.clone()),
            cmd: Some(["sleep", "1000"].map(str::to_owned).to_vec()),
            labels: Some([("own".to_owned(), env.clone())].into()),
            host_config: Some(bollard::models::HostConfig {
                init: Some(true),
                binds: Some(vec![format!("{}:/work", sandbox.path("scratches").display())]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let named = bollard::query_parameters::CreateContainerOptionsBuilder::default().name(&name).build();
        sandbox.engine().ask(async |api| {
            api.create_container(Some(named), body).await.unwrap();
            api.start_container(&name, None::<bollard::query_parameters::StartContainerOptions>).await.unwrap();
        });
    };
    start_kernel();
    let id = sandbox.engine().id("kernel");
    for line in [&["restart"][..], &["stop"], &["up", "-d", "--wait"]] {
        sandbox.ok(line);
        assert!(sandbox.engine().is_running("kernel") && sandbox.engine().id("kernel") == id, "{line:?}");
    }
    sandbox.ok(&["down"]);
    assert_eq!((sandbox.engine().state("kernel"), sandbox.path("scratches").exists()), (None, true));
    // None is left that lives on without its scratch directory.
    sandbox.ok(&["up", "-d", "--wait"]);
    start_kernel();
    sandbox.ok(&["down", "--volumes"]);
    assert_eq!((sandbox.engine().state("kernel"), sandbox.path("scratches").exists()), (None, false));
}

#[test]
fn an_image_for_later_holds_nothing_up_and_its_arrival_restarts_who_asks_for_that() {
    let stack = "
images: ['IMAGE.invalid/none:1']
processes:
  other: {command: 'echo $$$$ >> other; exec sleep 1000'}
  agent: {command: 'echo $$$$ >> lives; exec sleep 1000', restart_on: [{image_pulled: 'IMAGE-kernel*'}]}
";
    let Some(sandbox) = Sandbox::with_engine("pulled", stack) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    until("both have begun", || sandbox.lines("lives").len() == 1 && sandbox.lines("other").len() == 1);
    let tag = |name: String| {
        let (image, options) = (sandbox.engine().image(), bollard::query_parameters::TagImageOptionsBuilder::default());
        let options = options.repo(&name).tag("1").build();
        sandbox.engine().ask(async |api| api.tag_image(&image, Some(options)).await.unwrap());
    };
    tag(format!("{}-other", sandbox.engine().image()));
    tag(format!("{}-kernel", sandbox.engine().image()));
    until("the image has come", || sandbox.lines("lives").len() == 2);
    assert_eq!((sandbox.lines("lives").len(), sandbox.lines("other").len()), (2, 1));
}
