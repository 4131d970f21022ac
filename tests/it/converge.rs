//! How what is there is brought to what is wanted, with the program and a real engine.

use std::time::{Duration, Instant};

use bollard::models::VolumeCreateRequest;

use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, is_alive, until};

/// Whether a command inside a service's container ends with 0.
fn inside(sandbox: &Sandbox, service: &str, command: &[&str]) -> bool {
    sandbox.run(&[&["exec", "-T", service], command].concat()).code == 0
}

fn has_image(sandbox: &Sandbox, name: &str) -> bool {
    sandbox.engine().ask(async |api| api.inspect_image(name).await.is_ok())
}

/// A service with an anonymous volume, in this version.
fn version(number: u32, more: &str) -> String {
    format!(
        "services:\n  web:\n    image: IMAGE\n    command: [sleep, '1000']\n    init: true\n    volumes: [/data]\n    \
         environment: {{VERSION: '{number}'}}\n{more}"
    )
}

#[test]
fn a_changed_container_keeps_its_anonymous_volumes_unless_new_ones_are_asked_for() {
    let Some(sandbox) = Sandbox::with_engine("succeed", &version(1, "")) else { return };
    sandbox.ok(&["up", "-d"]);
    let first = sandbox.engine().id("web-1");
    assert!(inside(&sandbox, "web", &["touch", "/data/kept"]));
    let rewrite = |text: String| sandbox.write("stack.yaml", &text.replace("IMAGE", &sandbox.engine().image()));
    rewrite(version(2, ""));
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.err.contains(r#"environment.VERSION: "1" → "2""#), "{said:?}");
    assert_ne!(sandbox.engine().id("web-1"), first);
    assert!(inside(&sandbox, "web", &["test", "-e", "/data/kept"]));
    assert_eq!(sandbox.engine().containers(), ["web-1"]);
    rewrite(version(3, ""));
    sandbox.ok(&["up", "-d", "--renew-anon-volumes"]);
    assert!(!inside(&sandbox, "web", &["test", "-e", "/data/kept"]));
}

#[test]
fn a_container_whose_successor_cannot_be_made_runs_on() {
    let Some(sandbox) = Sandbox::with_engine("stays", &version(1, "")) else { return };
    sandbox.ok(&["up", "-d"]);
    let first = sandbox.engine().id("web-1");
    let broken = version(2, "    runtime: nonesuch\n").replace("IMAGE", &sandbox.engine().image());
    sandbox.write("stack.yaml", &broken);
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("nonesuch"), "{said:?}");
    assert!(sandbox.engine().is_running("web-1"));
    assert_eq!((sandbox.engine().id("web-1"), sandbox.engine().containers()), (first, vec!["web-1".to_owned()]));
}

#[test]
fn what_a_crash_left_between_two_containers_is_put_in_order() {
    let Some(sandbox) = Sandbox::with_engine("halfway", &version(1, "")) else { return };
    sandbox.ok(&["up", "-d"]);
    let engine = sandbox.engine();
    let id = engine.id("web-1").unwrap();
    // As if the old one had been removed, and its successor not yet been renamed.
    let waiting = format!("0123456789ab_{}", engine.container("web-1"));
    let rename = bollard::query_parameters::RenameContainerOptionsBuilder::default().name(&waiting).build();
    sandbox.ok(&["stop"]);
    engine.ask(async |api| api.rename_container(&id, rename).await).unwrap();
    // And nothing had been written down of it.
    std::fs::remove_file(sandbox.env_dir().join("snapshot.json")).unwrap();
    sandbox.ok(&["up", "-d"]);
    assert!(engine.is_running("web-1"));
    assert_eq!(engine.containers(), ["web-1"]);
    sandbox.ok(&["down"]);
    assert_eq!(engine.containers(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_pulled_is_built_and_down_takes_images_along() {
    let stack = "services:\n  both:\n    image: localhost:1/IMAGE-own\n    build: {dockerfile_inline: \"FROM IMAGE\\n\"}\n    \
                 command: [sleep, '1000']\n    init: true\n  built:\n    build: {dockerfile_inline: \"FROM IMAGE\\n\"}\n    \
                 command: [sleep, '1000']\n    init: true\n";
    let Some(sandbox) = Sandbox::with_engine("pullbuild", stack) else { return };
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.err.matches("cannot be pulled, so it is built").count(), 1, "{said:?}");
    let own = format!("localhost:1/{}-own", sandbox.engine().image());
    let built = format!("{}-built", sandbox.engine().env());
    assert!(has_image(&sandbox, &own) && has_image(&sandbox, &built));
    sandbox.ok(&["down"]);
    assert!(has_image(&sandbox, &own) && has_image(&sandbox, &built));
    sandbox.ok(&["down", "--rmi", "local"]);
    assert!(has_image(&sandbox, &own) && !has_image(&sandbox, &built));
    sandbox.ok(&["down", "--rmi", "all"]);
    assert!(!has_image(&sandbox, &own));
}

#[test]
fn a_changed_network_is_made_again_and_its_containers_with_it() {
    let stack =
        |internal: bool| format!("{}networks: {{front: {{internal: {internal}}}}}\n", version(1, "    networks: [front]\n"));
    let Some(sandbox) = Sandbox::with_engine("network", &stack(false)) else { return };
    sandbox.ok(&["up", "-d"]);
    assert!(inside(&sandbox, "web", &["touch", "/data/kept"]));
    sandbox.write("stack.yaml", &stack(true).replace("IMAGE", &sandbox.engine().image()));
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("networks.front.internal: false → true"), "{said:?}");
    let name = format!("{}_front", sandbox.engine().env());
    let network = sandbox.engine().ask(async |api| api.inspect_network(&name, None).await).unwrap();
    assert_eq!(network.internal, Some(true));
    assert!(inside(&sandbox, "web", &["test", "-e", "/data/kept"]), "it runs, with its volume");
    let said = sandbox.run(&["up", "-d"]);
    assert!(!said.err.contains("network"), "nothing more is to be done: {said:?}");
}

#[test]
fn a_container_that_somebody_has_disconnected_is_connected_again_by_the_next_up() {
    let networks = "networks: {front: {ipam: {config: [{subnet: 10.231.77.0/29}]}}, back: {}}\n";
    let stack = format!("{}{networks}", version(1, "    networks: {front: {ipv4_address: 10.231.77.5}, back: {}}\n"));
    let Some(sandbox) = Sandbox::with_engine("disconnected", &stack) else { return };
    sandbox.ok(&["up", "-d"]);
    assert!(sandbox.run(&["up", "-d"]).err.contains("nothing to do"), "it is as the engine lists it");
    let engine = sandbox.engine();
    for (network, address) in [("back", None), ("front", None), ("front", Some("10.231.77.6"))] {
        let (name, container) = (format!("{}_{network}", engine.env()), engine.id("web-1").unwrap());
        engine.ask(async |api| {
            let leave = bollard::models::NetworkDisconnectRequest { container: container.clone(), force: Some(true) };
            api.disconnect_network(&name, leave).await.unwrap();
            let Some(address) = address else { return };
            let ipam = bollard::models::EndpointIpamConfig { ipv4_address: Some(address.to_owned()), ..Default::default() };
            let endpoint = bollard::models::EndpointSettings { ipam_config: Some(ipam), ..Default::default() };
            let join = bollard::models::NetworkConnectRequest { container, endpoint_config: Some(endpoint) };
            api.connect_network(&name, join).await.unwrap();
        });
        let plan = sandbox.run(&["plan"]);
        assert!(plan.code == 10 && plan.out.contains(&name), "{plan:?}");
        let said = sandbox.run(&["up", "-d"]);
        assert!(said.code == 0 && said.err.contains("recreate: somebody has"), "{said:?}");
        let container = engine.id("web-1").unwrap();
        let found = engine.ask(async |api| api.inspect_container(&container, None).await.unwrap());
        let joined = found.network_settings.unwrap().networks.unwrap();
        let front = joined.iter().find(|(name, _)| name.ends_with("_front")).unwrap().1;
        assert_eq!((joined.len(), front.ip_address.as_deref()), (2, Some("10.231.77.5")), "{joined:?}");
        assert!(sandbox.run(&["up", "-d"]).err.contains("nothing to do"));
    }
}

#[test]
fn the_data_of_a_changed_or_foreign_volume_are_not_lost_in_silence() {
    let stack = |label: &str| {
        let web = version(1, "").replace("[/data]", "['data:/data', 'theirs:/theirs']");
        format!("{web}volumes: {{data: {{labels: {{version: '{label}'}}}}, theirs: {{name: IMAGE-theirs}}}}\n")
    };
    let Some(sandbox) = Sandbox::with_engine("volume", &stack("1")) else { return };
    let theirs = format!("{}-theirs", sandbox.engine().image());
    let request = VolumeCreateRequest { name: Some(theirs.clone()), ..Default::default() };
    sandbox.engine().ask(async |api| api.create_volume(request).await).unwrap();
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.err.contains("was not made by this environment"), "{said:?}");
    assert!(inside(&sandbox, "web", &["touch", "/data/kept"]));
    sandbox.write("stack.yaml", &stack("2").replace("IMAGE", &sandbox.engine().image()));
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 0 && said.err.contains("volumes.data.labels.version") && said.err.contains("--yes"), "{said:?}");
    assert!(inside(&sandbox, "web", &["test", "-e", "/data/kept"]));
    sandbox.ok(&["up", "-d", "--yes"]);
    assert!(inside(&sandbox, "web", &["test", "!", "-e", "/data/kept"]));
    sandbox.ok(&["down", "--volumes"]);
    let left = sandbox.engine().ask(async |api| api.inspect_volume(&theirs).await.is_ok());
    let none = None::<bollard::query_parameters::RemoveVolumeOptions>;
    sandbox.engine().ask(async |api| api.remove_volume(&theirs, none).await).unwrap();
    assert!(left, "what somebody else made stays");
}

#[test]
fn a_one_off_copy_is_no_replica_and_no_orphan() {
    let Some(sandbox) = Sandbox::with_engine("oneoff", &version(1, "")) else { return };
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["run", "-d", "web", "sleep", "1000"]);
    assert_eq!(sandbox.engine().containers().len(), 2);
    assert_eq!(sandbox.ok(&["ps", "-q"]).lines().count(), 1);
    let said = sandbox.run(&["up", "-d", "--remove-orphans"]);
    assert!(said.code == 0 && !said.err.contains("no longer has"), "{said:?}");
    assert_eq!(sandbox.engine().containers().len(), 2);
    sandbox.ok(&["down"]);
    assert_eq!(sandbox.engine().containers(), Vec::<String>::new());
}

#[test]
fn saved_files_come_into_a_watched_container_and_into_its_image() {
    let stack = "services:\n  web:\n    image: IMAGE\n    command: [sleep, '1000']\n    init: true\n    develop:\n      watch: \
                 [{path: src, action: sync, target: /app, ignore: [out], initial_sync: true}]\n  \
                 made:\n    build: made\n    command: [sleep, '1000']\n    init: true\n    develop:\n      watch: \
                 [{path: made, action: rebuild}]\n";
    let Some(sandbox) = Sandbox::with_engine("sync", stack) else { return };
    let dockerfile = format!("FROM {}\nCOPY word /word\n", sandbox.engine().image());
    for (path, text) in [("src/first", ""), ("src/out/x", ""), ("made/word", "old\n"), ("made/Dockerfile", &dockerfile)] {
        sandbox.write(path, text);
    }
    sandbox.ok(&["up", "-d", "--watch"]);
    until("what was there at the beginning is copied", || inside(&sandbox, "web", &["test", "-e", "/app/first"]));
    assert!(!inside(&sandbox, "web", &["test", "-e", "/app/out/x"]));
    sandbox.write("src/sub/second", "new");
    until("a new file is copied", || inside(&sandbox, "web", &["test", "-e", "/app/sub/second"]));
    std::fs::rename(sandbox.path("src/first"), sandbox.path("src/renamed")).unwrap();
    until("a renamed file is too", || inside(&sandbox, "web", &["test", "-e", "/app/renamed"]));
    until("and goes where it was", || inside(&sandbox, "web", &["test", "!", "-e", "/app/first"]));
    sandbox.write("made/word", "fresh\n");
    until("the image is built anew", || sandbox.run(&["exec", "-T", "made", "cat", "/word"]).out.contains("fresh"));
}

#[test]
fn watch_acts_on_saved_files_until_it_ends_and_leaves_all_running() {
    let stack = "services:\n  web:\n    image: IMAGE\n    command: [sleep, '1000']\n    init: true\n    develop:\n      watch: \
                 [{path: src, action: sync, target: /app}]\n  \
                 made:\n    build: made\n    command: [sleep, '1000']\n    init: true\n    develop:\n      watch: \
                 [{path: made, action: rebuild}]\n  \
                 plain: {image: IMAGE, command: [sleep, '1000'], init: true}\n";
    let Some(sandbox) = Sandbox::with_engine("watch", stack) else { return };
    let dockerfile = format!("FROM {}\nCOPY word /word\n", sandbox.engine().image());
    for (path, text) in [("src/first", ""), ("made/word", "old\n"), ("made/Dockerfile", &dockerfile)] {
        sandbox.write(path, text);
    }
    let said = sandbox.run(&["watch", "plain"]);
    assert!(said.code == 2 && said.err.contains("nothing to watch"), "{said:?}");
    let watch = sandbox.begin(&["watch"]);
    watch.wait_for("watching");
    sandbox.write("src/second", "new");
    watch.wait_for("web:1: synced src/second");
    sandbox.write("made/word", "fresh\n");
    watch.wait_for("rebuild: ");
    watch.wait_for("removed 1 image");
    assert!(sandbox.ok(&["exec", "-T", "made", "cat", "/word"]).contains("fresh"));
    let supervisor = sandbox.supervisor();
    watch.signal(Signal::SIGINT);
    assert_eq!(watch.end(), 130);
    until("nobody watches any more", || !is_alive(supervisor));
    assert!(["web-1", "made-1", "plain-1"].iter().all(|unit| sandbox.engine().is_running(unit)));
    let watch = sandbox.begin(&["watch", "--no-up"]);
    watch.wait_for("watching");
    sandbox.write("src/third", "new");
    watch.wait_for("web:1: synced src/third");
}

#[test]
fn what_shares_with_a_container_waits_until_that_is_built_and_made() {
    let stack = "services:
  a: {build: {context: ., dockerfile_inline: \"FROM IMAGE\\nRUN sleep 3\\n\"}, command: [sleep, '1000'], init: true, volumes: [/data]}
  b: {image: IMAGE, command: [sleep, '1000'], init: true, network_mode: 'service:a', pid: 'service:a', volumes_from: [a]}
";
    let Some(sandbox) = Sandbox::with_engine("shares", stack) else { return };
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.err.contains("backing off"), "{said:?}");
}

/// What a supervisor, or a command in its place, would write.
fn written(sandbox: &Sandbox) -> Vec<std::time::SystemTime> {
    let names = ["snapshot.json", "stack.json", "supervisor.log"];
    names.map(|name| std::fs::metadata(sandbox.env_dir().join(name)).unwrap().modified().unwrap()).to_vec()
}

#[test]
fn where_nothing_is_to_be_done_and_for_who_only_looks_no_supervisor_is_started() {
    let Some(mut sandbox) = Sandbox::with_engine("idle", &version(1, "    healthcheck: {test: [CMD, 'true'], interval: 1s}\n"))
    else {
        return;
    };
    sandbox.ok(&["up", "-d", "--wait"]);
    let (id, before) = (sandbox.engine().id("web-1"), written(&sandbox));
    // A supervisor says in its lock that it has ended in order.
    assert_eq!(sandbox.wait_until_unattended(), b"");
    // What only processes would inherit changes nothing.
    sandbox.variable("SOMETHING_ELSE", Some("1"));
    let engine = sandbox.engine();
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!((said.code, said.err.contains("nothing to do")), (0, true), "{said:?}");
    let listed = sandbox.ok(&["ps", "--format", "json"]);
    assert!(listed.contains(r#""State":"running""#) && listed.contains(r#""Health":"healthy""#), "{listed}");
    sandbox.ok(&["why", "web"]);
    assert_eq!((engine.id("web-1"), written(&sandbox)), (id.clone(), before.clone()));
    // What does not run any more is something to be done.
    let stop = bollard::query_parameters::StopContainerOptionsBuilder::default().t(0).build();
    engine.ask(async |api| api.stop_container(&id.clone().unwrap(), Some(stop)).await).unwrap();
    let listed = sandbox.ok(&["ps", "--format", "json"]);
    assert!(listed.contains(r#""State":"exited""#), "{listed}");
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!((said.code, said.err.contains("nothing to do")), (0, false), "{said:?}");
    assert!(engine.is_running("web-1") && engine.id("web-1") == id && written(&sandbox) != before);
    // And so is another definition.
    sandbox.write("stack.yaml", &version(2, "").replace("IMAGE", &engine.image()));
    sandbox.ok(&["up", "-d"]);
    assert_ne!(engine.id("web-1"), id);
}

#[test]
fn a_container_that_was_started_anew_meanwhile_is_seen_to_be_younger() {
    let Some(sandbox) = Sandbox::with_engine("younger", &version(1, "")) else { return };
    sandbox.ok(&["up", "-d"]);
    let engine = sandbox.engine();
    let id = engine.id("web-1").unwrap();
    let age = || {
        let listed: serde_json::Value = serde_json::from_str(&sandbox.ok(&["ps", "--format", "json"])).unwrap();
        Duration::from_millis(listed["SinceMs"].as_u64().unwrap())
    };
    until("it has an age", || age() > Duration::from_secs(3));
    let before = Instant::now();
    let restart = bollard::query_parameters::RestartContainerOptionsBuilder::default().t(0).build();
    engine.ask(async |api| api.restart_container(&id, Some(restart)).await).unwrap();
    let now = age();
    assert!(now <= before.elapsed(), "{now:?}");
}

#[test]
fn who_waits_for_a_container_to_be_done_starts_when_it_is() {
    let stack = "services:\n  job: {image: IMAGE, command: [sh, -c, sleep 1]}\n  after:\n    image: IMAGE\n    command: [sleep, '1000']\n    \
                 init: true\n    depends_on: {job: {condition: service_completed_successfully}}\n";
    let Some(sandbox) = Sandbox::with_engine("done", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    let engine = sandbox.engine();
    let state = |name: &str| {
        let id = engine.id(name).unwrap();
        engine.ask(async |api| api.inspect_container(&id, None).await).unwrap().state.unwrap()
    };
    let time = |text: Option<String>| humantime::parse_rfc3339(&text.unwrap()).unwrap();
    let waited = time(state("after-1").started_at).duration_since(time(state("job-1").finished_at)).unwrap();
    // Thirty seconds is how long it takes to find what an engine did not tell.
    assert!(waited < Duration::from_secs(20), "{waited:?}");
}

#[test]
fn an_up_waits_for_the_build_it_asks_for_and_fails_with_it() {
    let stack =
        "services:\n  web:\n    build: {context: .}\n    image: IMAGE-built\n    command: [sleep, '1000']\n    init: true\n";
    let Some(sandbox) = Sandbox::with_engine("anew", stack) else { return };
    let dockerfile = |more: &str| sandbox.write("Dockerfile", &format!("FROM {}\n{more}\n", sandbox.engine().image()));
    dockerfile("ENV V=1");
    sandbox.ok(&["up", "-d"]);
    let first = sandbox.engine().id("web-1");
    dockerfile("ENV V=2\nRUN sleep 1");
    sandbox.ok(&["up", "-d", "--build"]);
    let second = sandbox.engine().id("web-1");
    assert_ne!(second, first);
    assert!(inside(&sandbox, "web", &["sh", "-c", "test $V = 2"]));
    dockerfile("RUN exit 3");
    let said = sandbox.run(&["up", "-d", "--build"]);
    assert_eq!((said.code, sandbox.engine().id("web-1")), (1, second), "{said:?}");
    assert!(sandbox.engine().is_running("web-1"));
    sandbox.ok(&["down", "--rmi", "all"]);
}

#[test]
fn an_image_that_was_built_anew_by_somebody_else_is_taken_up_by_the_next_up() {
    let stack = "services:\n  web: {image: IMAGE-named, command: [sleep, '1000'], init: true}\n";
    let Some(sandbox) = Sandbox::with_engine("named", stack) else { return };
    let engine = sandbox.engine();
    let name = format!("{}-named", engine.image());
    let give = |value: &str| {
        let build = sandbox.path("build.yaml");
        let text = format!(
            "name: {}-b\nservices:\n  b: {{image: {name}, build: {{dockerfile_inline: \"FROM {}\\nENV V={value}\\n\"}}}}\n",
            engine.env(),
            engine.image()
        );
        sandbox.write("build.yaml", &text);
        sandbox.ok(&["-f", build.to_str().unwrap(), "build"]);
    };
    give("1");
    sandbox.ok(&["up", "-d"]);
    let first = engine.id("web-1");
    sandbox.ok(&["up", "-d"]);
    assert_eq!(engine.id("web-1"), first);
    give("2");
    assert_eq!(sandbox.run(&["plan"]).code, 10);
    sandbox.ok(&["up", "-d"]);
    assert_ne!(engine.id("web-1"), first);
    assert!(inside(&sandbox, "web", &["sh", "-c", "test $V = 2"]));
    assert_eq!(sandbox.run(&["plan"]).code, 0);
    sandbox.ok(&["down", "--rmi", "all"]);
}
