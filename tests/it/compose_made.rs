//! Containers that Docker Compose has made: shown, stopped and taken down without a record of our own, and taken over as they are.

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, EndpointSettings, NetworkingConfig};
use bollard::query_parameters as options;

use crate::support::sandbox::Sandbox;

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

/// Has the container of `web-1` made by somebody else: in its place, the same but for the signature. No record of ours is left.
fn made_by_compose(sandbox: &Sandbox) {
    sandbox.ok(&["up", "-d"]);
    let name = sandbox.engine().container("web-1");
    sandbox.engine().ask(async |api| {
        let ours: ContainerInspectResponse = api.inspect_container(&name, None).await.unwrap();
        let mut config = ours.config.unwrap();
        let labels = config.labels.as_mut().unwrap();
        labels.insert("com.docker.compose.version".to_owned(), "5.6.1".to_owned());
        labels.insert("com.docker.compose.config-hash".to_owned(), "of Compose".to_owned());
        let networks = ours.network_settings.unwrap().networks.unwrap().into_iter();
        let short = &ours.id.as_ref().unwrap()[..12];
        let endpoints = networks.map(|(network, endpoint)| {
            let aliases = endpoint.aliases.map(|aliases| aliases.into_iter().filter(|alias| alias != short).collect());
            (network, EndpointSettings { aliases, ..Default::default() })
        });
        let networking = NetworkingConfig { endpoints_config: Some(endpoints.collect()) };
        let body = ContainerCreateBody {
            hostname: None,
            host_config: ours.host_config,
            networking_config: Some(networking),
            ..from(config)
        };
        let force = options::RemoveContainerOptionsBuilder::default().force(true).build();
        api.remove_container(&name, Some(force)).await.unwrap();
        let create = options::CreateContainerOptionsBuilder::default().name(&name).build();
        api.create_container(Some(create), body).await.unwrap();
        api.start_container(&name, None::<options::StartContainerOptions>).await.unwrap();
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
