//! Containers that Docker Compose has made: shown, stopped and taken down without a record of our own, and taken over as they are.

use bollard::Docker;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, EndpointSettings, NetworkingConfig};
use bollard::query_parameters as options;

use crate::support::sandbox::{Sandbox, until};

const STACK: &str = "
services:
  web:
    image: IMAGE
    command: [sh, -c, 'echo hello; exec sleep 1000']
    init: true
    stop_grace_period: 1s
    environment: {MODE: fast}
    volumes: ['/cache', 'data:/data']
volumes: {data: {}}
";

/// The body that makes a container like this one of ours, as Compose would send it: the same but for the signature.
async fn body_of_compose(api: &Docker, name: &str) -> ContainerCreateBody {
    let ours: ContainerInspectResponse = api.inspect_container(name, None).await.unwrap();
    let mut config = ours.config.unwrap();
    let labels = config.labels.as_mut().unwrap();
    labels.insert("com.docker.compose.version".to_owned(), "5.6.1".to_owned());
    labels.insert("com.docker.compose.config-hash".to_owned(), "of Compose".to_owned());
    let networks = ours.network_settings.unwrap().networks.unwrap().into_iter();
    let short = &ours.id.as_ref().unwrap()[..12];
    let hostname = config.hostname.take().filter(|hostname| hostname != short);
    let endpoints = networks.map(|(network, endpoint)| {
        let aliases = endpoint.aliases.map(|aliases| aliases.into_iter().filter(|alias| alias != short).collect());
        (network, EndpointSettings { aliases, ..Default::default() })
    });
    let networking = NetworkingConfig { endpoints_config: Some(endpoints.collect()) };
    ContainerCreateBody { hostname, host_config: ours.host_config, networking_config: Some(networking), ..from(config) }
}

async fn create(api: &Docker, name: &str, body: ContainerCreateBody) {
    let options = options::CreateContainerOptionsBuilder::default().name(name).build();
    api.create_container(Some(options), body).await.unwrap();
}

async fn start(api: &Docker, name: &str) {
    api.start_container(name, None::<options::StartContainerOptions>).await.unwrap();
}

async fn remove(api: &Docker, name: &str) {
    let force = options::RemoveContainerOptionsBuilder::default().force(true).build();
    api.remove_container(name, Some(force)).await.unwrap();
}

/// Has the container of `web-1` made by somebody else, in its place. No record of ours is left.
fn made_by_compose(sandbox: &Sandbox) {
    sandbox.ok(&["up", "-d"]);
    let name = sandbox.engine().container("web-1");
    sandbox.engine().ask(async |api| {
        let body = body_of_compose(api, &name).await;
        remove(api, &name).await;
        create(api, &name, body).await;
        start(api, &name).await;
    });
    std::fs::remove_dir_all(sandbox.state()).unwrap();
}

fn from(config: bollard::models::ContainerConfig) -> ContainerCreateBody {
    // The engine describes a container in the words in which it is asked for one.
    serde_json::from_value(serde_json::to_value(config).unwrap()).unwrap()
}

#[test]
fn what_compose_made_is_shown_stopped_and_taken_down_where_nothing_is_recorded() {
    let Some(sandbox) = Sandbox::with_engine("shown", STACK) else { return };
    made_by_compose(&sandbox);
    let shown = sandbox.ok(&["ps", "--format", "json"]);
    assert!(shown.contains("\"State\":\"running\"") && shown.contains("web"), "{shown}");
    assert!(sandbox.ok(&["logs"]).contains("hello"));
    sandbox.ok(&["stop"]);
    assert!(!sandbox.engine().is_running("web-1"));
    sandbox.ok(&["down", "-v"]);
    assert!(sandbox.engine().containers().is_empty() && sandbox.engine().networks().is_empty());
}

#[test]
fn what_compose_runs_in_another_directory_is_refused_and_goes_along_when_that_is_moved() {
    let Some(sandbox) = Sandbox::with_engine("their-place", STACK) else { return };
    made_by_compose(&sandbox);
    let theirs = sandbox.engine().id("web-1");
    let other = sandbox.root().join("other");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::copy(sandbox.path("stack.yaml"), other.join("stack.yaml")).unwrap();
    let said = sandbox.run_in(&other, &["up", "-d"]);
    let told =
        format!("Compose runs it in `{}` ({})", sandbox.root().join("stack").display(), sandbox.engine().container("web-1"));
    assert!(said.code == 1 && said.err.contains(&told) && said.err.contains("`docker compose --project-directory "), "{said:?}");
    assert_eq!((sandbox.engine().id("web-1"), sandbox.engine().containers()), (theirs.clone(), vec!["web-1".to_owned()]));
    // Images are built all the same, and their name is anybody's.
    let build = "services: {web: {image: IMAGE, build: {context: ., dockerfile_inline: 'FROM IMAGE'}}}\n";
    let build =
        build.replacen("IMAGE", "ENV-own", 1).replace("IMAGE", &sandbox.engine().image()).replace("ENV", sandbox.engine().env());
    std::fs::write(other.join("build.yaml"), build).unwrap();
    let said = sandbox.run_in(&other, &["-f", "build.yaml", "build"]);
    assert!(said.code == 0 && said.err.contains(&told) && said.err.contains("-p NAME keeps them apart"), "{said:?}");
    // What does not run is not said to.
    sandbox.engine().kill("web-1");
    until("it has ended", || !sandbox.engine().is_running("web-1"));
    let said = sandbox.run_in(&other, &["up", "-d"]);
    let has = told.replace("Compose runs it in", "Compose has containers of it in");
    assert!(said.code == 1 && said.err.contains(&has), "{said:?}");
    sandbox.engine().start("web-1");
    // A directory that was moved is no other one.
    let moved = sandbox.root().join("moved");
    std::fs::rename(sandbox.path(""), &moved).unwrap();
    let said = sandbox.run_in(&moved, &["up", "-d"]);
    assert!(said.code == 0 && sandbox.engine().id("web-1") == theirs, "{said:?}");
    assert_eq!(sandbox.run_in(&moved, &["down", "-v"]).code, 0);
    std::fs::rename(&moved, sandbox.path("")).unwrap();
}

#[test]
fn what_compose_made_is_taken_over_as_it_is_and_made_anew_when_it_changes() {
    let Some(sandbox) = Sandbox::with_engine("adopted", STACK) else { return };
    made_by_compose(&sandbox);
    let theirs = sandbox.engine().id("web-1");
    for _ in 0..2 {
        sandbox.ok(&["up", "-d", "--wait"]);
        assert_eq!(sandbox.engine().id("web-1"), theirs);
        assert_eq!(sandbox.engine().containers(), ["web-1"]);
    }
    let stack = std::fs::read_to_string(sandbox.path("stack.yaml")).unwrap();
    sandbox.write("stack.yaml", &stack.replace("fast", "slow"));
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_ne!(sandbox.engine().id("web-1"), theirs);
    sandbox.ok(&["down", "-v"]);
}

#[test]
fn what_compose_has_put_in_the_place_of_ours_is_taken_over_by_the_next_up() {
    let Some(sandbox) = Sandbox::with_engine("back", STACK) else { return };
    let record = sandbox.path("../record");
    sandbox.ok(&["up", "-d"]);
    std::fs::rename(sandbox.state(), &record).unwrap();
    made_by_compose(&sandbox);
    std::fs::rename(&record, sandbox.state()).unwrap();
    let theirs = sandbox.engine().id("web-1");
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(sandbox.engine().id("web-1"), theirs);
    sandbox.ok(&["down", "-v"]);
    assert!(sandbox.engine().containers().is_empty());
}

/// The stack beside a process, which keeps a supervisor alive.
const BESIDE: &str = "
services:
  web: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s, volumes: [/cache]}
processes:
  side: {command: sleep 1000}
";

/// The one line of `ps --format json` about a service.
fn shown(sandbox: &Sandbox, service: &str) -> serde_json::Value {
    let lines = sandbox.ok(&["ps", "--format", "json", service]);
    let mut lines = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    let line = lines.next().unwrap_or_else(|| panic!("{service} is not shown"));
    assert!(lines.next().is_none(), "{service} is shown more than once");
    line
}

#[test]
fn what_compose_makes_anew_beside_a_living_supervisor_is_left_to_compose_and_taken_over() {
    let Some(sandbox) = Sandbox::with_engine("twin", BESIDE) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    let (engine, name) = (sandbox.engine(), sandbox.engine().container("web-1"));
    let old = engine.id("web-1").unwrap();
    let twin = format!("{}_{name}", &old[..12]);
    // The steps of Compose, each seen by the supervisor before the next.
    let is_seen = |what: &str| {
        let seen = shown(&sandbox, "web");
        assert!(seen["State"] != "dead", "after {what}: {seen}");
    };
    engine.ask(async |api| {
        let body = body_of_compose(api, &name).await;
        create(api, &twin, body).await;
    });
    is_seen("its making");
    engine.ask(async |api| api.stop_container(&old, None::<options::StopContainerOptions>).await).unwrap();
    until("the end of ours is seen", || shown(&sandbox, "web")["State"] == "exited");
    engine.ask(async |api| remove(api, &old).await);
    until("the removal of ours is seen", || shown(&sandbox, "web")["ID"] == "");
    let rename = options::RenameContainerOptionsBuilder::default().name(&name).build();
    engine.ask(async |api| api.rename_container(&twin, rename).await).unwrap();
    until("its new name is seen", || shown(&sandbox, "web")["State"] == "created");
    engine.ask(async |api| start(api, &name).await);
    until("it is taken over", || shown(&sandbox, "web")["State"] == "running");
    assert_eq!(engine.containers(), ["web-1"]);
    assert_ne!(engine.id("web-1"), Some(old));
    sandbox.ok(&["restart", "web"]);
    assert!(engine.is_running("web-1"));
    let theirs = engine.id("web-1");
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(engine.id("web-1"), theirs, "it is as the stack describes it");
}

#[test]
fn what_others_remove_stays_in_the_list_and_what_they_start_goes_on() {
    let Some(sandbox) = Sandbox::with_engine("others", BESIDE) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    let (engine, name) = (sandbox.engine(), sandbox.engine().container("web-1"));
    sandbox.ok(&["stop", "web"]);
    engine.ask(async |api| start(api, &name).await);
    until("it is taken over", || shown(&sandbox, "web")["State"] == "running");
    assert!(engine.is_running("web-1"));
    engine.ask(async |api| remove(api, &name).await);
    until("its removal is told", || shown(&sandbox, "web")["Detail"] == "removed by somebody else");
    assert_eq!(sandbox.ok(&["ps", "-q", "web"]), "");
    assert!(sandbox.run(&["why", "web"]).out.contains("was removed by somebody else"));
    sandbox.ok(&["up", "-d", "--wait"]);
    assert!(engine.is_running("web-1"));
}

#[test]
fn replicas_that_compose_has_added_are_stopped_with_the_others_and_taken_away_by_an_up() {
    let Some(sandbox) = Sandbox::with_engine("added", BESIDE) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    let engine = sandbox.engine();
    let (first, second) = (engine.container("web-1"), engine.container("web-2"));
    engine.ask(async |api| {
        let mut body = body_of_compose(api, &first).await;
        body.labels.as_mut().unwrap().insert("com.docker.compose.container-number".to_owned(), "2".to_owned());
        create(api, &second, body).await;
        start(api, &second).await;
    });
    until("the second is shown", || sandbox.ok(&["ps", "-q", "web"]).lines().count() == 2);
    sandbox.ok(&["stop", "web"]);
    assert!(!engine.is_running("web-1") && !engine.is_running("web-2"));
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(engine.containers(), ["web-1"]);
}

#[test]
fn commands_about_what_compose_made_need_no_up_before() {
    let Some(sandbox) = Sandbox::with_engine("commands", &STACK.replace("environment:", "ports: ['80']\n    environment:"))
    else {
        return;
    };
    made_by_compose(&sandbox);
    let theirs = sandbox.engine().id("web-1");
    let line = shown(&sandbox, "web");
    assert!(line["Command"].as_str().unwrap().starts_with("\"sh -c"), "{line}");
    let network = format!("{}_default", sandbox.engine().env());
    assert_eq!((&line["Networks"], &line["LocalVolumes"]), (&network.into(), &"2".into()), "{line}");
    assert!(sandbox.ok(&["port", "web", "80"]).contains(':'));
    assert!(sandbox.ok(&["why", "web"]).contains("runs"));
    assert!(sandbox.ok(&["graph"]).contains("running"));
    let plan = sandbox.run(&["plan"]);
    assert!(plan.code == 10 && plan.out.contains("compare") && !plan.out.contains("remove"), "{plan:?}");
    sandbox.ok(&["restart", "web"]);
    sandbox.ok(&["stop", "web"]);
    sandbox.ok(&["start", "web"]);
    assert!(sandbox.engine().is_running("web-1"));
    let plan = sandbox.run(&["restart", "--dry-run"]);
    assert!(plan.code == 10 && plan.out.contains("is restarted") && !plan.out.contains("pull"), "{plan:?}");
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 0 && !said.err.contains("recreate"), "{said:?}");
    assert_eq!(sandbox.engine().id("web-1"), theirs);
}

#[test]
fn a_host_name_and_written_files_are_no_reason_to_make_anew_what_compose_made() {
    let stack = STACK.replace("environment:", "hostname: own\n    configs: [greeting]\n    environment:");
    let stack = format!("{stack}configs: {{greeting: {{content: hello}}}}\n");
    for (content, stays) in [("hello", true), ("other", false)] {
        let Some(sandbox) = Sandbox::with_engine(if stays { "written" } else { "rewritten" }, &stack) else { return };
        made_by_compose(&sandbox);
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o444);
        archive.append_data(&mut header, "greeting", content.as_bytes()).unwrap();
        let archive = archive.into_inner().unwrap();
        let (engine, name) = (sandbox.engine(), sandbox.engine().container("web-1"));
        let theirs = engine.id("web-1");
        engine.ask(async |api| {
            let to = options::UploadToContainerOptionsBuilder::default().path("/").build();
            api.upload_to_container(&name, Some(to), bollard::body_full(archive.into())).await.unwrap();
        });
        sandbox.ok(&["up", "-d", "--wait"]);
        assert_eq!(engine.id("web-1") == theirs, stays, "{content}");
        sandbox.ok(&["down", "-v"]);
    }
}
