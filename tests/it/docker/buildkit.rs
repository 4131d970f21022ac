//! Builds that need BuildKit. Engine 20.10 has one that knows neither texts in a Dockerfile nor named contexts.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use baistack::plan::desired::Deployment;
use baistack::supervisor::event::Event;
use futures_util::StreamExt;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::engine::{Corner, build, told, with_engine};
use crate::support::sandbox::{Sandbox, pids_of, until};

fn files(dir: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// A service `app` with this build of a directory; the secrets are the stack's.
fn deployment(corner: &Corner, dir: &Path, mut build: serde_json::Value, secrets: &serde_json::Value) -> Arc<Deployment> {
    build["context"] = json!(dir);
    let services = json!({"app": {"container": {"build": build}}});
    corner.stack(&json!({"services": services, "secrets": secrets}).to_string())
}

/// Whether the engine's own frontend is of version 1.4 at least.
async fn is_new(corner: &Corner) -> bool {
    let version = corner.api.version().await.unwrap().api_version.unwrap();
    version.split_once('.').unwrap().1.parse::<u32>().unwrap() >= 42
}

/// A step that runs a command of a shell.
fn run(flags: &str, command: &str) -> String {
    format!("RUN {flags} {}\n", json!(["/bin/sh", "-c", command]))
}

#[test]
fn what_a_cache_mount_holds_is_there_at_the_next_build() {
    with_engine("bk-cache", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        let step = run(&format!("--mount=type=cache,id={},target=/c", corner.env), "echo $A >> /c/x; echo kept $(cat /c/x)");
        files(dir.path(), &[("Dockerfile", &format!("FROM {}\nARG A\n{step}", corner.image()))]);
        for (argument, expected) in [("1", "kept 1"), ("2", "kept 1 2")] {
            let deployment = deployment(&corner, dir.path(), json!({"args": {"A": argument}}), &json!({}));
            build(&corner, &deployment).await.unwrap();
            let told = told(&corner);
            assert!(told.iter().any(|line| line == expected), "{told:?}");
        }
    });
}

#[test]
fn a_secret_is_there_for_a_step_and_neither_in_the_image_nor_in_the_output() {
    with_engine("bk-secret", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        let (of_file, of_variable) = ("s3cret-of-a-file", "s3cret-of-a-variable");
        let step = run(
            "--mount=type=secret,id=one --mount=type=secret,id=two",
            "for i in one two; do test -s /run/secrets/$i && echo $i $(stat -c %s /run/secrets/$i); done",
        );
        files(
            dir.path(),
            &[
                ("context/Dockerfile", &format!("FROM {}\n{step}COPY . /context/\n", corner.image())),
                ("context/.dockerignore", "*.tmp\n"),
                ("context/a.tmp", "left out"),
                ("context/b", "b"),
                ("secret", of_file),
            ],
        );
        let secrets = json!({"f": {"file": dir.path().join("secret")}, "v": {"environment": "V", "content": of_variable}});
        let more = json!({"secrets": [{"source": "f", "target": "one"}, {"source": "v", "target": "two"}], "labels": {"mine": "yes"},
            "tags": ["IMAGE-second:1"]});
        let id = build(&corner, &deployment(&corner, &dir.path().join("context"), more, &secrets)).await.unwrap();
        let told = told(&corner);
        for line in [format!("one {}", of_file.len()), format!("two {}", of_variable.len())] {
            assert!(told.contains(&line), "{line}: {told:?}");
        }
        let image = corner.api.inspect_image(&format!("{}-second:1", corner.image())).await.unwrap();
        assert_eq!(image.id, Some(id.clone()));
        let labels = image.config.unwrap().labels.unwrap();
        assert_eq!((labels["mine"].as_str(), labels["com.docker.compose.service"].as_str()), ("yes", "app"));
        let mut archive = corner.api.export_image(&id);
        let mut bytes = Vec::new();
        while let Some(piece) = archive.next().await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        let holds = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
        for secret in [of_file, of_variable, "left out"] {
            assert!(!holds(secret) && !told.iter().any(|line| line.contains(secret)), "{secret}");
        }
    });
}

#[test]
fn a_file_is_copied_with_the_mode_that_the_dockerfile_says_and_sees_its_changes() {
    with_engine("bk-chmod", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        let inline = format!(
            "FROM {}\nCOPY --chmod=751 d/tool /tool\n{}",
            corner.image(),
            run("", "echo $(stat -c %a /tool) $(cat /tool)")
        );
        files(dir.path(), &[("d/tool", "one"), ("d/other", "")]);
        std::fs::set_permissions(dir.path().join("d/tool"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let deployment = deployment(&corner, dir.path(), json!({"dockerfile_inline": inline}), &json!({}));
        for content in ["one", "another"] {
            files(dir.path(), &[("d/tool", content)]);
            build(&corner, &deployment).await.unwrap();
            let told = told(&corner);
            assert!(told.contains(&format!("751 {content}")), "{told:?}");
        }
    });
}

#[test]
fn texts_in_a_dockerfile_are_built_or_refused_by_an_older_engine_with_the_remedy() {
    with_engine("bk-text", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        let dockerfile = format!("FROM {}\nCOPY <<EOF /text\nline of text\nEOF\n{}", corner.image(), run("", "cat /text"));
        files(dir.path(), &[("Dockerfile", &dockerfile)]);
        let built = build(&corner, &deployment(&corner, dir.path(), json!({}), &json!({}))).await;
        if is_new(&corner).await {
            built.unwrap();
            assert!(told(&corner).iter().any(|line| line == "line of text"));
        } else {
            let fault = built.unwrap_err().message;
            assert!(["`<<EOF` (Dockerfile:2)", "Engine 23", "# syntax="].iter().all(|word| fault.contains(word)), "{fault}");
        }
    });
}

#[test]
fn named_contexts_are_copied_from_or_refused_by_an_older_engine() {
    with_engine("bk-named", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        let read = run("", "cat /here /there");
        files(
            dir.path(),
            &[
                ("context/Dockerfile", &format!("FROM base\nCOPY here /here\nCOPY --from=other sub/there /there\n{read}")),
                ("context/here", "here\n"),
                ("other/sub/there", "there\n"),
            ],
        );
        let contexts = json!({"other": dir.path().join("other"), "base": "docker-image://IMAGE"});
        let build_of = json!({"additional_contexts": contexts});
        let built = build(&corner, &deployment(&corner, &dir.path().join("context"), build_of, &json!({}))).await;
        if is_new(&corner).await {
            built.unwrap();
            let told = told(&corner);
            assert!(["here", "there"].iter().all(|line| told.iter().any(|said| said == line)), "{told:?}");
        } else {
            let fault = built.unwrap_err().message;
            assert!(["`build.additional_contexts`", "Engine 23"].iter().all(|word| fault.contains(word)), "{fault}");
        }
    });
}

#[test]
fn a_step_that_fails_is_told_with_its_line_and_what_it_wrote_last() {
    with_engine("bk-fails", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        let step = run("--mount=type=cache,target=/c", "echo the reason; exit 9");
        files(dir.path(), &[("Dockerfile", &format!("FROM {}\n\n{step}", corner.image()))]);
        let fault = build(&corner, &deployment(&corner, dir.path(), json!({}), &json!({}))).await.unwrap_err().message;
        let lines: Vec<&str> = fault.lines().collect();
        assert!(lines[0].ends_with("exit code: 9"), "{fault}");
        assert_eq!(lines[1], "  the reason", "{fault}");
        assert!(lines[2].ends_with("/Dockerfile:3:1"), "{fault}");
        assert!(lines[4].starts_with("3 | RUN --mount") && lines[5].starts_with("  | ^^^^^^^^^^"), "{fault}");
    });
}

#[test]
fn a_secret_that_is_not_given_and_a_context_that_is_not_there_are_named() {
    with_engine("bk-lacks", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        let step = run("--mount=type=secret,id=token,required=true", "true");
        files(dir.path(), &[("Dockerfile", &format!("FROM {}\n{step}", corner.image()))]);
        let fault = build(&corner, &deployment(&corner, dir.path(), json!({}), &json!({}))).await.unwrap_err().message;
        assert!(fault.contains("token"), "{fault}");
        let more = json!({"dockerfile": "Nofile", "cache_to": ["type=inline"]});
        let fault = build(&corner, &deployment(&corner, dir.path(), more, &json!({}))).await.unwrap_err().message;
        assert!(fault.contains("Nofile"), "{fault}");
    });
}

#[test]
fn a_build_that_is_given_up_ends_in_the_engine() {
    with_engine("bk-gives-up", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        let marker = format!("{}-marker", corner.env);
        let step = format!(
            "RUN --mount=type=cache,target=/c {}\n",
            json!(["/bin/sh", "-c", "echo slow begins; sleep 1000; true", marker])
        );
        files(dir.path(), &[("Dockerfile", &format!("FROM {}\n{step}", corner.image()))]);
        let deployment = deployment(&corner, dir.path(), json!({}), &json!({}));
        {
            let mut slow = std::pin::pin!(build(&corner, &deployment));
            let heard = corner.heard.clone();
            let is_it = |event: Event| matches!(event, Event::Wrote(_, text) if text == "slow begins");
            let runs = tokio::task::spawn_blocking(move || heard.iter().any(is_it));
            tokio::select! {
                built = &mut slow => panic!("{built:?}"),
                runs = runs => assert!(runs.unwrap()),
            }
            assert_ne!(pids_of(&marker), [0_i32; 0]);
        }
        until("the step has ended", || pids_of(&marker).is_empty());
    });
}

#[test]
fn a_step_may_use_an_ssh_agent_and_keys() {
    with_engine("bk-ssh", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let _agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let step = run("--mount=type=ssh,id=mine,required=true", "test -S $SSH_AUTH_SOCK && echo an agent");
        files(dir.path(), &[("context/Dockerfile", &format!("FROM {}\n{step}", corner.image()))]);
        let context = dir.path().join("context");
        let given = json!({"ssh": [format!("mine={}", socket.display())]});
        build(&corner, &deployment(&corner, &context, given, &json!({}))).await.unwrap();
        let heard = told(&corner);
        assert!(heard.iter().any(|line| line == "an agent"), "{heard:?}");
        let fault = build(&corner, &deployment(&corner, &context, json!({"ssh": ["default"]}), &json!({}))).await.unwrap_err();
        assert!(fault.message.contains("SSH_AUTH_SOCK"), "{fault}");
        let fault =
            build(&corner, &deployment(&corner, &context, json!({"ssh": ["mine=nowhere"]}), &json!({}))).await.unwrap_err();
        assert!(fault.message.contains("nowhere"), "{fault}");
    });
}

#[test]
fn a_dockerfile_that_needs_nothing_new_goes_to_the_builder_that_the_engine_builds_with_itself() {
    with_engine("bk-plain", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &[("Dockerfile", &format!("FROM {}\n{}", corner.image(), run("", "true")))]);
        build(&corner, &deployment(&corner, dir.path(), json!({}), &json!({}))).await.unwrap();
        let told = told(&corner);
        let is_classic = told.iter().any(|line| line.starts_with("Step 2/"));
        assert_eq!(is_classic, !is_new(&corner).await, "{told:?}");
    });
}

const NEEDY: &str = "
services:
  first: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s}
  web:
    build:
      dockerfile_inline: FROM IMAGE
      secrets: [token]
    depends_on: [first]
    command: [sleep, '1000']
    init: true
    stop_grace_period: 0s
  other: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s, depends_on: [web]}
secrets:
  token: {environment: TOKEN}
";

#[test]
fn what_cannot_be_built_is_refused_at_its_place_before_anything_is_begun() {
    let Some(mut sandbox) = Sandbox::with_engine("bk-off", NEEDY) else { return };
    sandbox.variable("TOKEN", Some("value"));
    sandbox.variable("DOCKER_BUILDKIT", Some("0"));
    for line in [&["up", "-d"][..], &["build"]] {
        let said = sandbox.run(line);
        assert_eq!(said.code, 3, "{said:?}");
        for words in ["stack.yaml:7:7", "`web`: `build.secrets` needs BuildKit", "DOCKER_BUILDKIT=0", "unset it"] {
            assert!(said.err.contains(words), "{words}: {said:?}");
        }
        assert!(sandbox.engine().containers().is_empty());
    }
    // What is not built is nobody's obstacle.
    for line in [&["up", "-d", "--no-deps", "other"][..], &["scale", "--no-deps", "other=2"]] {
        sandbox.ok(line);
    }
    assert_eq!(sandbox.run(&["up", "-d", "other"]).code, 3);
    sandbox.variable("DOCKER_BUILDKIT", None);
    let said = sandbox.run(&["build", "--memory", "64m"]);
    assert!(said.code == 3 && said.err.contains("limits no memory"), "{said:?}");
    sandbox.ok(&["build", "--provenance", "false"]);
    // What is there need not be built.
    sandbox.variable("DOCKER_BUILDKIT", Some("0"));
    sandbox.ok(&["up", "-d"]);
}

#[test]
fn ctrl_c_ends_a_build_in_the_engine() {
    let stack = "
services:
  web:
    build:
      dockerfile_inline: |
        FROM IMAGE
        RUN --mount=type=cache,target=/c [\"/bin/sh\", \"-c\", \"sleep 1000; true\", \"MARKER\"]
";
    let marker = format!("bk-ctrl-c-{}", std::process::id());
    let Some(sandbox) = Sandbox::with_engine("bk-ctrlc", &stack.replace("MARKER", &marker)) else { return };
    let build = sandbox.begin(&["build"]);
    until("the step runs", || !pids_of(&marker).is_empty());
    build.signal(Signal::SIGINT);
    until("the step has ended", || pids_of(&marker).is_empty());
}

/// What a cache of nothing consists of: its manifest, and the list of its layers.
fn empty_cache(place: &Path) -> String {
    let put = |content: &str| {
        let digest = baistack::plan::hash::digest(content.as_bytes());
        std::fs::create_dir_all(place.join("blobs/sha256")).unwrap();
        std::fs::write(place.join("blobs/sha256").join(&digest), content).unwrap();
        (format!("sha256:{digest}"), content.len())
    };
    let (config, size) = put(r#"{"layers":[],"records":[]}"#);
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {"mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": config, "size": size}]});
    let (digest, size) = put(&manifest.to_string());
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": media_type, "digest": digest, "size": size,
        "annotations": {"org.opencontainers.image.ref.name": "latest"}}]});
    std::fs::write(place.join("index.json"), index.to_string()).unwrap();
    digest
}

#[test]
fn layers_are_taken_from_a_directory_and_one_without_any_stops_no_build() {
    with_engine("bk-local", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &[("Dockerfile", &format!("FROM {}\n{}", corner.image(), run("", "echo built")))]);
        let layers = dir.path().join("layers");
        let from = json!({"cache_from": [format!("type=local,src={}", layers.display())]});
        let deployment = deployment(&corner, dir.path(), from, &json!({}));
        build(&corner, &deployment).await.unwrap();
        let lines = told(&corner);
        assert!(lines.iter().any(|line| *line == format!("there are no layers in {} yet", layers.display())), "{lines:?}");
        let digest = empty_cache(&layers);
        build(&corner, &deployment).await.unwrap();
        let lines = told(&corner);
        assert!(lines.iter().any(|line| line.contains("importing cache manifest from local:")), "{digest}: {lines:?}");
    });
}
