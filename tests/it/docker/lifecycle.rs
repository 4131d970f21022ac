//! Containers, networks and volumes from their making to their removal.

use std::time::Duration;

use baistack::plan::action::{Action, AnonymousVolumes, Exit, FaultKind, Incarnation, Outcome};
use baistack::plan::actual::{Query, SeenHealth, SeenState};
use baistack::supervisor::event::Event;
use indexmap::IndexMap;

use crate::support::engine::{spec, with_engine};

const SLEEPER: &str = r#"{"web": {"container": {"image": "IMAGE", "command": ["sleep", "1000"], "init": true}}}"#;

#[test]
fn a_container_is_seen_in_each_state_of_its_life() {
    with_engine("life", async |corner| {
        let deployment = corner.deployment(SLEEPER);
        corner.network(&deployment, "default").await;
        let spec = spec(&deployment, "web:1");
        let id = corner.create(&spec).await.unwrap();
        let seen = corner.observe().await.containers.remove(0);
        assert_eq!((&seen.id, seen.unit, seen.one_off, seen.by_us), (&id, Some(spec.unit.clone()), false, true));
        assert_eq!((seen.hash, seen.name), (Some(spec.hash.clone()), format!("{}-web-1", corner.env)));
        assert_eq!((seen.state, seen.health), (SeenState::Created, None));

        let birth = corner.start(&spec).await.unwrap();
        assert_eq!(corner.observe().await.containers[0].state, SeenState::Running { birth: birth.clone() });
        let stop =
            Action::Stop { spec: spec.clone(), incarnation: Incarnation(1), container: None, grace: Duration::from_secs(5) };
        assert_eq!(corner.act(stop.clone()).await.unwrap(), Outcome::Done);
        let exited = SeenState::Exited { exit: Exit::Code(143), birth };
        assert_eq!(corner.observe().await.containers[0].state, exited);
        assert_eq!(corner.act(stop).await.unwrap(), Outcome::Done, "it is stopped already");

        let remove = Action::Remove { unit: spec.unit.clone(), container: Some(id), spec: None, volumes: AnonymousVolumes::Left };
        assert_eq!(corner.act(remove.clone()).await.unwrap(), Outcome::Removed { anonymous: IndexMap::new() });
        assert_eq!(corner.act(remove).await.unwrap(), Outcome::Removed { anonymous: IndexMap::new() });
        assert!(corner.observe().await.containers.is_empty());
    });
}

#[test]
fn a_create_that_is_repeated_finds_its_own_container_and_no_one_else_s() {
    with_engine("again", async |corner| {
        let deployment = corner.deployment(SLEEPER);
        corner.network(&deployment, "default").await;
        let spec = spec(&deployment, "web:1");
        let id = corner.create(&spec).await.unwrap();
        assert_eq!(corner.create(&spec).await.unwrap(), id);
        let mut other = spec.clone();
        other.hash = baistack::plan::hash::ConfigHash::from_label("other");
        let fault = corner.create(&other).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Permanent);
        assert!(
            fault.message.contains(&format!("the name `{}-web-1` is taken by container {}", corner.env, &id[..12])),
            "{fault}"
        );
    });
}

#[test]
fn a_taken_port_is_named() {
    with_engine("port", async |corner| {
        let held = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let services = SLEEPER.replace(
            r#""container""#,
            &format!(r#""common": {{"ports": [{{"target": 80, "published": "{port}", "protocol": "tcp"}}]}}, "container""#),
        );
        let deployment = corner.deployment(&services);
        corner.network(&deployment, "default").await;
        let spec = spec(&deployment, "web:1");
        corner.create(&spec).await.unwrap();
        let fault = corner.start(&spec).await.unwrap_err();
        assert_eq!((fault.kind, fault.message), (FaultKind::Permanent, format!("port {port} of the host is already in use")));
    });
}

#[test]
fn anonymous_volumes_pass_to_the_next_container_until_they_are_removed_with_it() {
    with_engine("volumes", async |corner| {
        let deployment = corner.stack(
            r#"{"services": {"db": {"container": {"image": "IMAGE", "command": ["sleep", "1000"], "volumes": [
                {"type": "volume", "target": "/data"}, {"type": "volume", "source": "named", "target": "/named"}]}}},
                "networks": {"default": {}}, "volumes": {"named": {}}}"#,
        );
        let named = Action::CreateVolume { key: "named".to_owned(), deployment: deployment.clone() };
        assert_eq!(corner.act(named).await.unwrap(), Outcome::Done);
        let first = corner.up(&deployment, &["db:1"]).await.remove(0);
        assert_eq!(corner.sh(&first, "echo kept > /data/x; echo too > /named/x").await.0, 0);
        let spec = spec(&deployment, "db:1");
        let stop = Action::Stop { spec: spec.clone(), incarnation: Incarnation(1), container: None, grace: Duration::ZERO };
        corner.act(stop.clone()).await.unwrap();
        let remove =
            |container, volumes| Action::Remove { unit: spec.unit.clone(), container, spec: Some(spec.clone()), volumes };
        let Outcome::Removed { anonymous } = corner.act(remove(Some(first), AnonymousVolumes::Told)).await.unwrap() else {
            panic!()
        };
        assert_eq!(anonymous.keys().collect::<Vec<_>>(), ["/data"]);

        let inherited = anonymous.clone();
        let Outcome::Created { container } = corner.act(Action::Create { spec: spec.clone(), inherited }).await.unwrap() else {
            panic!()
        };
        corner.start(&spec).await.unwrap();
        assert_eq!(corner.sh(&container, "cat /data/x /named/x").await, (0, "kept\ntoo".to_owned()));
        corner.act(stop).await.unwrap();
        corner.act(remove(None, AnonymousVolumes::Removed)).await.unwrap();
        let volume = &anonymous["/data"];
        assert!(corner.api.inspect_volume(volume).await.is_err(), "the inherited volume is gone too");
        let name = format!("{}_named", corner.env);
        assert!(corner.observe().await.volumes[&name].ours);
        assert_eq!(corner.act(Action::RemoveVolume { name: name.clone() }).await.unwrap(), Outcome::Done);
        assert_eq!(corner.act(Action::RemoveVolume { name }).await.unwrap(), Outcome::Done);
    });
}

#[test]
fn a_network_that_a_stranger_uses_is_kept_and_the_stranger_named() {
    with_engine("network", async |corner| {
        let deployment = corner.deployment(SLEEPER);
        let id = corner.up(&deployment, &["web:1"]).await.remove(0);
        let stranger = format!("{}-stranger", corner.env);
        let body = bollard::models::ContainerCreateBody {
            image: Some(corner.image()),
            cmd: Some(vec!["sleep".to_owned(), "1000".to_owned()]),
            host_config: Some(bollard::models::HostConfig {
                network_mode: Some(format!("{}_default", corner.env)),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = bollard::query_parameters::CreateContainerOptionsBuilder::default().name(&stranger).build();
        corner.api.create_container(Some(options), body).await.unwrap();
        corner.api.start_container(&stranger, None).await.unwrap();
        let spec = spec(&deployment, "web:1");
        corner
            .act(Action::Stop { spec: spec.clone(), incarnation: Incarnation(1), container: None, grace: Duration::ZERO })
            .await
            .unwrap();
        corner
            .act(Action::Remove { unit: spec.unit, container: Some(id), spec: None, volumes: AnonymousVolumes::Removed })
            .await
            .unwrap();
        let name = format!("{}_default", corner.env);
        let remove = Action::RemoveNetwork { name: name.clone() };
        let kept = format!("network `{name}` is still used by `{stranger}`");
        assert_eq!(corner.act(remove.clone()).await.unwrap(), Outcome::Kept(kept));
        assert_eq!(corner.observe().await.networks[&name].key.as_deref(), Some("default"));
        let force = bollard::query_parameters::RemoveContainerOptionsBuilder::default().force(true).build();
        corner.api.remove_container(&stranger, Some(force)).await.unwrap();
        assert_eq!(corner.act(remove.clone()).await.unwrap(), Outcome::Done);
        assert_eq!(corner.act(remove).await.unwrap(), Outcome::Done);
    });
}

#[test]
fn a_network_of_somebody_else_is_not_taken_for_ours() {
    with_engine("foreign", async |corner| {
        let deployment = corner.deployment(SLEEPER);
        let create = Action::CreateNetwork { key: "default".to_owned(), deployment: deployment.clone() };
        assert_eq!(corner.act(create.clone()).await.unwrap(), Outcome::Done);
        assert_eq!(corner.act(create.clone()).await.unwrap(), Outcome::Done, "there is only one");
        let name = format!("{}_default", corner.env);
        assert_eq!(corner.act(Action::RemoveNetwork { name: name.clone() }).await.unwrap(), Outcome::Done);
        let foreign = bollard::models::NetworkCreateRequest { name: name.clone(), ..Default::default() };
        corner.api.create_network(foreign).await.unwrap();
        let fault = corner.act(create).await.unwrap_err();
        corner.api.remove_network(&name).await.unwrap();
        assert!(fault.message.contains("`external: true`"), "{fault}");
    });
}

#[test]
fn what_happens_to_a_container_wakes_up_and_a_new_life_has_a_new_birth() {
    with_engine("events", async |corner| {
        let deployment = corner.deployment(SLEEPER);
        let id = corner.up(&deployment, &["web:1"]).await.remove(0);
        let watcher = {
            let corner = corner.clone();
            tokio::spawn(async move { corner.docker.watch(&corner.env, corner.events.clone()).await })
        };
        let stirred = |event| matches!(event, Event::EngineStirred).then_some(());
        corner.hear(stirred).await;
        let before = corner.observe().await.containers.remove(0);
        let restart = bollard::query_parameters::RestartContainerOptionsBuilder::default().t(0).build();
        corner.api.restart_container(&id, Some(restart)).await.unwrap();
        loop {
            corner.hear(stirred).await;
            let now = corner.observe().await.containers.remove(0);
            if now.state != before.state && matches!(now.state, SeenState::Running { .. }) {
                break;
            }
        }
        let tag = bollard::query_parameters::TagImageOptionsBuilder::default().repo(&corner.image()).tag("new").build();
        corner.api.tag_image(&corner.image(), Some(tag)).await.unwrap();
        // Those of others come to the same engine.
        let wanted = format!("{}:new", corner.image());
        corner.hear(|event| matches!(event, Event::ImageArrived(reference) if reference == wanted).then_some(())).await;
        watcher.abort();
    });
}

#[test]
fn health_is_the_engine_s_verdict() {
    with_engine("health", async |corner| {
        let deployment = corner.deployment(
            r#"{"web": {"common": {"healthcheck": {"test": ["CMD", "test", "-e", "/ok"], "interval": "50ms", "retries": 1}},
                "container": {"image": "IMAGE", "command": ["sleep", "1000"]}}}"#,
        );
        let id = corner.up(&deployment, &["web:1"]).await.remove(0);
        let reached = async |health| {
            while corner.observe().await.containers[0].health != Some(health) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        reached(SeenHealth::Unhealthy).await;
        corner.sh(&id, "touch /ok").await;
        reached(SeenHealth::Healthy).await;
        let check = deployment.service("web".parse().as_ref().unwrap()).unwrap().common.healthcheck.clone().unwrap();
        assert!(corner.docker.probe(&id, &check).await.healthy);
    });
}

#[test]
fn images_that_are_asked_for_are_told_by_their_id() {
    with_engine("images", async |corner| {
        let query = Query { images: vec![corner.image(), "nobody/has:this".to_owned()], ..Query::default() };
        let actual = corner.docker.observe(&corner.env, &query).await.unwrap();
        assert_eq!(actual.images.keys().collect::<Vec<_>>(), [&corner.image()]);
        assert!(actual.images[&corner.image()].starts_with("sha256:"));
    });
}

#[test]
fn secrets_and_several_networks_are_there_at_the_start() {
    with_engine("given", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "of the host").unwrap();
        let deployment = corner.stack(&format!(
            r#"{{"services": {{"app": {{
                "common": {{"secrets": [{{"source": "s", "uid": "7", "mode": "0440"}}, {{"source": "f"}}],
                            "configs": [{{"source": "c", "target": "/etc/deep/app.conf"}}]}},
                "container": {{"image": "IMAGE", "command": ["sleep", "1000"],
                               "networks": {{"default": null, "back": {{"aliases": ["other"], "priority": 5}}}}}}}}}},
                "networks": {{"default": {{}}, "back": {{}}}},
                "secrets": {{"s": {{"content": "hush"}}, "f": {{"file": "{}"}}}},
                "configs": {{"c": {{"content": "x = 1"}}}}}}"#,
            dir.path().join("file").display()
        ));
        corner.network(&deployment, "back").await;
        let id = corner.up(&deployment, &["app:1"]).await.remove(0);
        let shown = corner.sh(&id, "cat /run/secrets/s /run/secrets/f /etc/deep/app.conf; stat -c %u:%a /run/secrets/s").await;
        assert_eq!(shown, (0, "hushof the hostx = 17:440".to_owned()));
        let inspected = corner.api.inspect_container(&id, None).await.unwrap();
        let mut networks: Vec<_> = inspected.network_settings.unwrap().networks.unwrap().into_keys().collect();
        networks.sort();
        assert_eq!(networks, [format!("{}_back", corner.env), format!("{}_default", corner.env)]);
    });
}

#[test]
fn hooks_run_inside_and_a_failing_one_is_told() {
    with_engine("hooks", async |corner| {
        let deployment = corner.deployment(
            r#"{"ok": {"common": {"post_start": [{"command": ["touch", "/started"]}]},
                       "container": {"image": "IMAGE", "command": ["sleep", "1000"]}},
                "bad": {"common": {"post_start": [{"command": ["sh", "-c", "echo why; exit 3"]}]},
                       "container": {"image": "IMAGE", "command": ["sleep", "1000"]}}}"#,
        );
        let id = corner.up(&deployment, &["ok:1"]).await.remove(0);
        assert_eq!(corner.sh(&id, "test -e /started").await.0, 0);
        let spec = spec(&deployment, "bad:1");
        corner.create(&spec).await.unwrap();
        let fault = corner.start(&spec).await.unwrap_err();
        assert_eq!(fault.message, "post_start hook `sh -c echo why; exit 3` ended with exit code 3: why");
    });
}
