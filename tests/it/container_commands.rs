//! Commands about containers that run, as a user has them: files in and out, terminals, what is used, what stands still.

use std::fs;

use bollard::models::ContainerStateStatusEnum;

use crate::support::sandbox::{Sandbox, until};

const STACK: &str = "
services:
  web: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s, volumes: ['data:/data']}
  echo: {image: IMAGE, command: [cat], stdin_open: true, init: true, stop_grace_period: 1s}
volumes: {data: {}}
";

fn up(name: &str) -> Option<Sandbox> {
    let sandbox = Sandbox::with_engine(name, STACK)?;
    sandbox.ok(&["up", "-d", "--wait"]);
    Some(sandbox)
}

#[test]
fn create_makes_containers_and_starts_none() {
    let Some(sandbox) = Sandbox::with_engine("create", STACK) else { return };
    sandbox.ok(&["create", "web"]);
    assert_eq!(sandbox.engine().state("web-1"), Some(ContainerStateStatusEnum::CREATED));
    assert_eq!(sandbox.engine().state("echo-1"), None, "nobody asked for it");
    sandbox.ok(&["start", "web"]);
    assert!(sandbox.engine().is_running("web-1"));
    sandbox.ok(&["create"]);
    assert!(sandbox.run(&["create"]).err.contains("everything is made"));
}

#[test]
fn scale_leaves_the_replicas_that_stay_alone() {
    let Some(sandbox) = up("scale") else { return };
    let first = sandbox.engine().id("web-1");
    sandbox.ok(&["scale", "web=3"]);
    assert_eq!(sandbox.engine().containers(), ["echo-1", "web-1", "web-2", "web-3"]);
    sandbox.ok(&["scale", "echo=2"]);
    assert!(sandbox.engine().is_running("web-3"), "only what was named is changed");
    sandbox.ok(&["scale", "web=1"]);
    assert_eq!(sandbox.engine().containers(), ["echo-1", "echo-2", "web-1"]);
    assert_eq!(sandbox.engine().id("web-1"), first);
    let said = sandbox.run(&["exec", "--index", "3", "web", "true"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("`web` has no replica 3") && said.err.contains("only 1"), "{said:?}");
    assert_eq!(sandbox.run(&["logs", "--index", "9", "web"]).code, 5);
}

#[test]
fn what_is_paused_stands_still_until_it_is_let_go_on_and_can_be_stopped() {
    let Some(sandbox) = up("pause") else { return };
    let state = || sandbox.engine().state("web-1");
    sandbox.ok(&["pause", "web"]);
    assert_eq!(state(), Some(ContainerStateStatusEnum::PAUSED));
    assert!(sandbox.ok(&["ps", "web"]).contains("(Paused)"));
    assert_eq!(sandbox.ok(&["ps", "--status", "paused", "--services"]), "web\n");
    sandbox.ok(&["pause", "web"]);
    assert_eq!(state(), Some(ContainerStateStatusEnum::PAUSED), "it is already");
    sandbox.ok(&["unpause"]);
    assert_eq!(state(), Some(ContainerStateStatusEnum::RUNNING));
    sandbox.ok(&["pause", "web"]);
    sandbox.ok(&["stop", "web"]);
    assert_eq!(state(), Some(ContainerStateStatusEnum::EXITED));
    let said = sandbox.run(&["pause", "web"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("web:1 does not run"), "{said:?}");
}

#[test]
fn what_was_said_of_it_before_it_was_paused_is_no_verdict_on_what_goes_on() {
    let stack = "
services:
  web:
    image: IMAGE
    init: true
    command: sh -c 'touch /fit; exec sleep 1000'
    healthcheck: {test: [CMD, test, -e, /fit], interval: 3s, timeout: 20s, retries: 1}
";
    let Some(sandbox) = Sandbox::with_engine("went-on", stack) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["exec", "-T", "web", "rm", "/fit"]);
    until("it is unhealthy", || sandbox.ok(&["ps"]).contains("unhealthy"));
    // Until the next probe it counts as such.
    sandbox.ok(&["exec", "-T", "web", "touch", "/fit"]);
    sandbox.ok(&["pause", "web"]);
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert!(said.code == 1 && said.err.contains("web:1: it is paused; `baistack unpause web` lets it go on"), "{said:?}");
    sandbox.ok(&["unpause", "web"]);
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["down"]);
}

#[test]
fn a_container_is_ready_before_its_engine_has_looked_for_the_first_time() {
    // The engine looks an hour after the start. One check is in the file, the other in the image.
    let stack = "
services:
  web: {image: IMAGE, init: true, command: [sleep, '1000'], depends_on: {db: {condition: service_healthy}, cache: {condition: service_healthy}}}
  db:
    image: IMAGE
    init: true
    command: [sh, -c, 'sleep 1; touch /fit; exec sleep 1000']
    healthcheck: {test: [CMD, test, -e, /fit], interval: 1h}
  cache:
    build:
      dockerfile_inline: |
        FROM IMAGE
        HEALTHCHECK --interval=1h CMD true
    init: true
    command: [sleep, '1000']
";
    let Some(sandbox) = Sandbox::with_engine("early", stack) else { return };
    sandbox.ok(&["up", "-d", "--wait", "--wait-timeout", "100"]);
    let listed = sandbox.ok(&["ps", "--format", "json", "db", "cache"]);
    assert_eq!(listed.matches(r#""Health":"healthy""#).count(), 2, "{listed}");
    // A new supervisor finds it out again: the engine has still not looked.
    sandbox.ok(&["up", "-d", "--wait", "--wait-timeout", "100"]);
    sandbox.ok(&["restart", "db"]);
    sandbox.ok(&["up", "-d", "--wait", "--wait-timeout", "100"]);
    sandbox.ok(&["down", "--rmi", "local"]);
    let said = sandbox.run(&["up", "-d", "--wait", "--wait-timeout", "3", "--engine-health", "db"]);
    assert!(said.code != 0 && said.err.contains("db:1"), "{said:?}");
    sandbox.ok(&["down"]);
}

#[test]
fn files_go_in_and_out_by_the_rules_of_docker_cp() {
    let Some(sandbox) = up("cp") else { return };
    sandbox.write("from/deep/file", "content");
    let cat = |path: &str| sandbox.ok(&["exec", "-T", "web", "cat", path]);
    // Into a directory that is there: under its own name; with `/.` what is in it; else under a new one.
    sandbox.ok(&["cp", "from", "web:/data"]);
    sandbox.ok(&["cp", "from/.", "web:/data"]);
    sandbox.ok(&["cp", "from/deep/file", "web:/data/renamed"]);
    for path in ["/data/from/deep/file", "/data/deep/file", "/data/renamed"] {
        assert_eq!(cat(path), "content", "{path}");
    }
    sandbox.ok(&["cp", "web:/data/deep", "out"]);
    assert_eq!(fs::read_to_string(sandbox.path("out/file")).unwrap(), "content");
    sandbox.ok(&["cp", "web:/data/renamed", "out"]);
    assert_eq!(fs::read_to_string(sandbox.path("out/renamed")).unwrap(), "content");
    // As archives.
    let archive = sandbox.feed(&["cp", "web:/data/renamed", "-"], b"");
    assert!(archive.starts_with(b"renamed\0"), "{:?}", &archive[..32]);
    sandbox.feed(&["cp", "-", "web:/"], &archive);
    assert_eq!(cat("/renamed"), "content");
    for (line, code, words) in [
        (["cp", "web:/none", "."], 1, "there is no `/none`"),
        (["cp", "none", "web:/"], 1, "none: No such file"),
        (["cp", "from", "web:/data/renamed"], 1, "cannot be copied over the file"),
        (["cp", "web:/data/deep", "out/file"], 1, "cannot be copied over the file"),
        (["cp", "a", "b"], 2, "SERVICE:PATH"),
        (["cp", "wbe:/x", "."], 2, "did you mean `web`?"),
    ] {
        let said = sandbox.run(&line);
        assert!(said.code == code && said.err.contains(words), "{line:?}: {said:?}");
    }
}

#[test]
fn what_a_container_is_made_of_and_holds_is_listed() {
    let Some(sandbox) = up("listed") else { return };
    let env = sandbox.engine().env().to_owned();
    let shown = sandbox.ok(&["images", "--format", "json", "web"]);
    let images: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(images[0]["ContainerName"], format!("{env}-web-1"));
    assert_eq!((images[0]["Repository"].as_str(), images[0]["Tag"].as_str()), (Some(&*sandbox.engine().image()), Some("latest")));
    assert_eq!(sandbox.ok(&["images", "-q"]).lines().count(), 1, "one image, however many containers");
    assert_eq!(sandbox.ok(&["volumes", "-q"]), format!("{env}_data\n"));
    assert_eq!(sandbox.ok(&["volumes", "-q", "echo"]), "");
    // From any directory, by the environment's name alone.
    let elsewhere = sandbox.run_in(std::path::Path::new("/"), &["-p", &env, "images", "-q"]);
    assert_eq!((elsewhere.code, elsewhere.out.lines().count()), (0, 1), "{elsewhere:?}");

    let top = sandbox.ok(&["top", "web"]);
    assert!(top.starts_with("SERVICE   #   UID") && top.contains("sleep 1000") && !top.contains("cat"), "{top}");
    let stats = sandbox.ok(&["stats", "--no-stream", "--format", "json", "web"]);
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["Name"], format!("{env}-web-1"));
    assert!(
        stats["CPUPerc"].as_str().unwrap().ends_with('%') && stats["MemUsage"].as_str().unwrap().contains("iB / "),
        "{stats}"
    );

    let id = sandbox.ok(&["commit", "-m", "as it is", "web", &format!("{env}-committed:1")]);
    assert!(id.starts_with("sha256:"), "{id}");
    let archive = sandbox.feed(&["export", "web"], b"");
    assert!(memchr::memmem::find(&archive, b"bin/busybox").is_some());

    sandbox.ok(&["purge", "--yes"]);
    let kept = sandbox.engine().ask(async |docker| docker.inspect_image(&format!("{env}-committed:1")).await.is_ok());
    assert!(kept, "what somebody has made of a container is theirs");
}

#[test]
fn wait_tells_each_end_and_passes_the_code_on() {
    let Some(sandbox) = up("wait") else { return };
    let waiting = sandbox.begin(&["wait", "web"]);
    sandbox.engine().kill("web-1");
    assert_eq!(waiting.end(), 137);
    // One that has ended already tells its code all the same.
    let said = sandbox.run(&["wait", "web"]);
    assert!(said.code == 137 && said.out.contains("exited with status code 137"), "{said:?}");
    let past = sandbox.ok(&["events", "--json", "--since", "10m", "--until", "0s", "web"]);
    let actions: Vec<String> = past
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["action"].as_str().unwrap().to_owned())
        .collect();
    for action in ["create", "start", "kill", "die"] {
        assert!(actions.iter().any(|seen| seen == action), "{action} in {actions:?}");
    }
}

#[test]
fn attach_has_the_containers_output_and_the_keys_leave_it_running() {
    let Some(sandbox) =
        Sandbox::with_engine("attach", "services: {sh: {image: IMAGE, command: [sh], stdin_open: true, tty: true}}")
    else {
        return;
    };
    sandbox.ok(&["up", "-d"]);
    let terminal = sandbox.begin_on_terminal(&["attach", "sh"]);
    terminal.type_until_shown("echo $((6 * 7))\r", "42");
    terminal.write(b"\x10\x11");
    terminal.wait_for("it runs on");
    terminal.end();
    assert!(sandbox.engine().is_running("sh-1"));
    sandbox.ok(&["stop", "-t", "0"]);
    let said = sandbox.run(&["attach", "sh"]);
    assert!(said.code == 5 && said.err.contains("does not run"), "{said:?}");
}

#[test]
fn a_one_off_copy_is_no_replica() {
    let Some(sandbox) = up("one-off") else { return };
    sandbox.ok(&["run", "-d", "web", "sleep", "1000"]);
    let shown = |flags: &[&str]| sandbox.ok(&[&["ps", "--format", "json"], flags].concat());
    assert!(!shown(&[]).contains("-run-"), "{}", shown(&[]));
    assert!(shown(&["--all"]).contains("-web-run-"), "{}", shown(&["--all"]));
}

#[test]
fn a_push_that_cannot_be_is_told_with_its_image() {
    let Some(sandbox) = Sandbox::with_engine(
        "push",
        "services: {web: {image: 'localhost:1/x/IMAGE', build: {context: ., dockerfile_inline: FROM IMAGE}}, other: {image: IMAGE}}",
    ) else {
        return;
    };
    let said = sandbox.run(&["push", "other"]);
    assert!(said.code == 0 && said.err.contains("nothing to push"), "{said:?}");
    let said = sandbox.run(&["push"]);
    assert!(said.code == 1 && said.err.contains("localhost:1/x/"), "{said:?}");
    assert_eq!(sandbox.run(&["push", "--ignore-push-failures"]).code, 0);
}

#[test]
fn commands_meet_in_the_one_that_carries_out_a_stop_where_no_supervisor_lives() {
    let stack = "services:\n  deaf:\n    image: IMAGE\n    command: [sh, -c, \"trap '' TERM; while :; do sleep 1; done\"]\n    \
                 stop_grace_period: 5m\n";
    let Some(sandbox) = Sandbox::with_engine("meet", stack) else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    let socket = sandbox.state().join(sandbox.engine().env()).join("control.sock");
    until("the supervisor has ended: an engine keeps containers", || !socket.exists());
    let stop = sandbox.begin(&["stop"]);
    until("the stop listens", || socket.exists());
    assert!(sandbox.ok(&["ps"]).contains("deaf"), "who only looks is answered");
    sandbox.ok(&["kill"]);
    assert_eq!(stop.end(), 0);
    assert!(!sandbox.engine().is_running("deaf-1"));
    // What is to be started waits until that command is over, and is started by a supervisor of its own.
    sandbox.ok(&["up", "-d", "--wait"]);
    until("the supervisor has ended", || !socket.exists());
    let stop = sandbox.begin(&["stop", "--timeout", "2"]);
    until("the stop listens", || socket.exists());
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_ne!(stop.end(), 2);
    assert!(sandbox.engine().is_running("deaf-1"));
    sandbox.ok(&["down", "--timeout", "0"]);
}

#[test]
fn a_one_off_copy_has_other_rights_and_the_variables_of_files() {
    let Some(sandbox) = up("runflags") else { return };
    sandbox.write("more.env", "GREETING=hello\nTO=\"${GREETING} you\"\n");
    let line = [
        "run",
        "--rm",
        "-T",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CHOWN",
        "--env-from-file",
        "more.env",
        "-e",
        "GREETING=hi",
        "web",
    ];
    let script = "echo $GREETING, $TO; grep CapBnd /proc/self/status";
    let out = sandbox.ok(&[&line[..], &["sh", "-c", script]].concat());
    assert_eq!(out, "hi, hello you\nCapBnd:\t0000000000000001\n");
    let said = sandbox.run(&["run", "--rm", "--env-from-file", "none.env", "web", "true"]);
    assert!(said.code == 1 && said.err.contains("none.env"), "{said:?}");
}

#[test]
fn an_image_that_is_not_there_is_not_built_where_that_is_not_wanted() {
    let stack =
        "services:\n  made:\n    build: {dockerfile_inline: \"FROM IMAGE\\n\"}\n    command: [sleep, '1000']\n    init: true\n";
    let Some(sandbox) = Sandbox::with_engine("nobuild", stack) else { return };
    let said = sandbox.run(&["up", "-d", "--no-build"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("made") && sandbox.engine().containers().is_empty(), "{said:?}");
    sandbox.ok(&["up", "-d"]);
    let first = sandbox.engine().id("made-1");
    sandbox.ok(&["up", "-d", "--no-build"]);
    assert_eq!(sandbox.engine().id("made-1"), first, "what is there is as good as one that would be built");
    sandbox.ok(&["down", "--rmi", "local"]);
}

#[test]
fn the_last_lines_of_a_container_that_ends_all_are_shown() {
    let stack = "services:\n  talker:\n    image: IMAGE\n    \
                 command: [sh, -c, 'i=0; while [ $$i -lt 3000 ]; do i=$$((i+1)); echo line $$i; done; exit 3']\n";
    let Some(sandbox) = Sandbox::with_engine("lastwords", stack) else { return };
    let said = sandbox.run(&["up", "--abort-on-container-exit"]);
    assert_eq!(said.code, 3, "{}", said.err);
    let lines = said.out.lines().filter(|line| line.contains("line ")).count();
    assert_eq!(lines, 3000, "{}", said.out.lines().last().unwrap_or_default());
}

#[test]
fn without_its_engine_every_command_about_containers_says_so_once_and_ends_with_4() {
    let stack = "services: {web: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s}}";
    let Some(mut sandbox) = Sandbox::with_engine("away", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    // It has the engine that it began with.
    sandbox.wait_until_unattended();
    let usual = std::env::var("DOCKER_HOST").ok();
    let nowhere = format!("unix://{}", sandbox.root().join("none.sock").display());
    sandbox.variable("DOCKER_HOST", Some(&nowhere));
    let lines = ["pause", "unpause", "kill -s HUP", "stop", "kill", "rm -f", "rm -f -s", "restart", "start"];
    let said: Vec<_> = lines.iter().map(|line| (line, sandbox.run(&line.split(' ').collect::<Vec<_>>()))).collect();
    // A supervisor that lives would be asked in the place of the engine, and has none either.
    sandbox.wait_until_unattended();
    let down = sandbox.run(&["down"]);
    sandbox.variable("DOCKER_HOST", usual.as_deref());
    // The engine that holds the container is known, and named with what asks it.
    assert!(down.code == 1 && down.err.contains("holds the container") && down.err.contains("baistack down"), "{down:?}");
    for (line, said) in said {
        assert_eq!(said.code, 4, "{line}: {said:?}");
        assert_eq!(said.err.matches("no Docker Engine at").count(), 1, "{line}: {said:?}");
    }
    assert!(sandbox.engine().is_running("web-1"), "nothing was done to it");
}

#[test]
fn ps_shows_the_ports_that_are_published_and_when_containers_were_made() {
    let stack =
        "services: {web: {image: IMAGE, command: [sleep, '1000'], init: true, ports: ['127.0.0.1::80'], expose: ['90-91']}}";
    let Some(sandbox) = Sandbox::with_engine("published", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    let json: serde_json::Value = serde_json::from_str(&sandbox.ok(&["ps", "--format", "json"])).unwrap();
    let publisher = json["Publishers"].as_array().unwrap().iter().find(|it| it["TargetPort"] == 80).unwrap();
    let port = publisher["PublishedPort"].as_u64().unwrap();
    assert_eq!(sandbox.ok(&["port", "web", "80"]), format!("127.0.0.1:{port}\n"));
    assert_eq!(json["Ports"], format!("90-91/tcp, 127.0.0.1:{port}->80/tcp"));
    assert!(json["CreatedAt"].as_str().unwrap().starts_with("20"), "{json}");
    assert!(json["Labels"].as_str().unwrap().contains("com.docker.compose.service=web"), "{json}");
    assert!(sandbox.ok(&["ps"]).contains(" ago "), "{}", sandbox.ok(&["ps"]));
    sandbox.ok(&["stop", "-t", "0"]);
    let json: serde_json::Value = serde_json::from_str(&sandbox.ok(&["ps", "--format", "json"])).unwrap();
    assert_eq!(json["Ports"], "", "nothing is published any more");
}

#[test]
fn with_a_limit_images_are_built_one_after_the_other() {
    let stack =
        "services:\n  a: {build: {dockerfile_inline: \"FROM IMAGE\\n\"}}\n  b: {build: {dockerfile_inline: \"FROM IMAGE\\n\"}}\n";
    let Some(sandbox) = Sandbox::with_engine("parallel", stack) else { return };
    let said = sandbox.run(&["--progress", "plain", "--parallel", "1", "build"]);
    assert_eq!(said.code, 0, "{said:?}");
    let states: Vec<&str> = (said.err.lines().chain(said.out.lines()))
        .filter_map(|line| line.split_whitespace().last())
        .filter(|word| ["building", "built"].contains(word))
        .collect();
    assert_eq!(states, ["building", "built", "building", "built"], "{said:?}");
}
