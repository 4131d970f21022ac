//! Builds and pulls.

use std::path::Path;
use std::sync::Arc;

use baistack::plan::action::{Action, Fault, FaultKind, Outcome};
use baistack::plan::desired::Deployment;
use baistack::supervisor::event::Event;

use crate::support::engine::{Corner, with_engine};

fn files(dir: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

fn with_build(corner: &Corner, dir: &Path, build: &str) -> Arc<Deployment> {
    let context = dir.display();
    corner.deployment(&format!(r#"{{"app": {{"container": {{"build": {{"context": "{context}"{build}}}}}}}}}"#))
}

async fn build(corner: &Corner, deployment: &Arc<Deployment>) -> Result<String, Fault> {
    let action = Action::Build { service: "app".parse().unwrap(), deployment: deployment.clone() };
    match corner.act(action).await? {
        Outcome::Image { id } => Ok(id),
        other => panic!("{other:?}"),
    }
}

/// What was told since the last look.
fn told(corner: &Corner) -> Vec<String> {
    corner.heard.try_iter().filter_map(|event| if let Event::Progress(_, text) = event { Some(text) } else { None }).collect()
}

#[test]
fn a_build_takes_its_context_arguments_target_and_hosts_and_tells_its_lines() {
    with_engine("build", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        let dockerfile = "FROM IMAGE AS base\nARG GREETING\nCOPY . /ctx/\nRUN [\"/bin/sh\", \"-c\", \"echo built $GREETING; cat /etc/hosts\"]\n\
            ENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"ls /ctx /ctx/sub\"]\nFROM base AS last\nRUN [\"/nonesuch\"]\n";
        let context = [
            ("Dockerfile", dockerfile.replace("IMAGE", &corner.image())),
            (".dockerignore", "*.tmp\nDockerfile\n.dockerignore\n".to_owned()),
            ("a.tmp", String::new()),
            ("b.txt", String::new()),
            ("sub/c.txt", String::new()),
        ];
        files(dir.path(), &context.each_ref().map(|(path, content)| (*path, content.as_str())));
        let more = r#", "target": "base", "args": {"GREETING": "hello", "UNSET": null}, "labels": {"mine": "yes"},
            "tags": ["IMAGE-second:1"], "extra_hosts": ["one=10.0.0.1", "two=10.0.0.2"], "network": "none""#;
        let deployment = with_build(&corner, dir.path(), more);
        let id = build(&corner, &deployment).await.unwrap();
        let told = told(&corner);
        for line in ["built hello", "10.0.0.1\tone", "10.0.0.2\ttwo"] {
            assert!(told.iter().any(|told| told == line), "{line}: {told:?}");
        }
        let image = corner.api.inspect_image(&format!("{}-second:1", corner.image())).await.unwrap();
        assert_eq!(image.id.as_ref(), Some(&id));
        let labels = image.config.unwrap().labels.unwrap();
        assert_eq!((labels["mine"].as_str(), labels["com.docker.compose.service"].as_str()), ("yes", "app"));

        corner.network(&deployment, "default").await;
        let attached = corner.docker.run(&corner.spec(&deployment, "app:1"), &Default::default()).await.unwrap();
        let mut listed = Vec::new();
        attached.carry(tokio::io::empty(), |_, bytes| listed.extend_from_slice(bytes)).await.unwrap();
        let listed = String::from_utf8(listed).unwrap();
        assert!(listed.contains("b.txt") && listed.contains("c.txt"), "{listed}");
        assert!(!listed.contains("a.tmp") && !listed.contains("ockerfile") && !listed.contains("ignore"), "{listed}");
    });
}

#[test]
fn an_inline_dockerfile_is_built_and_not_seen_by_copy() {
    with_engine("inline", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &[("a", "")]);
        let inline = format!(
            r#", "dockerfile_inline": "FROM {}\nCOPY . /ctx\nRUN [\"/bin/sh\", \"-c\", \"echo listed $(ls -A /ctx)\"]\n""#,
            corner.image()
        );
        build(&corner, &with_build(&corner, dir.path(), &inline)).await.unwrap();
        let told = told(&corner);
        assert!(told.iter().any(|line| line == "listed a"), "{told:?}");
    });
}

#[test]
fn a_failed_build_quotes_what_it_wrote_last() {
    with_engine("broken", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        files(
            dir.path(),
            &[("Dockerfile", &format!("FROM {}\nRUN [\"/bin/sh\", \"-c\", \"echo the reason; exit 9\"]\n", corner.image()))],
        );
        let fault = build(&corner, &with_build(&corner, dir.path(), "")).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Permanent);
        assert!(fault.message.contains("returned a non-zero code: 9") && fault.message.contains("\n  the reason"), "{fault}");
    });
}

#[test]
fn a_registry_that_says_no_is_believed_at_once() {
    with_engine("pull", async |corner| {
        // A registry that knows nothing: every question is answered by 404.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    use tokio::io::{AsyncReadExt, AsyncWriteExt};
                    let mut request = [0; 4096];
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        let found = request.starts_with(b"GET /v2/ ");
                        let status = if found { "200 OK" } else { "404 Not Found" };
                        let answer = format!(
                            "HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Length: 2\r\n\r\n{{}}"
                        );
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        let pull = Action::Pull { reference: format!("127.0.0.1:{port}/nobody/nothing"), platform: None };
        let fault = corner.act(pull).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Permanent, "{fault}");
        assert!(told(&corner).is_empty(), "it was not tried again");
    });
}
