//! Builds and pulls.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use baistack::plan::action::{Action, FaultKind, Outcome};
use baistack::plan::desired::Deployment;
use baistack::supervisor::event::Event;
use baistack::world::docker::{Commit, RunSpec};
use futures_util::StreamExt;

use crate::support::engine::{Corner, build, spec, told, with_engine};

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
        let attached = corner.docker.run(&spec(&deployment, "app:1"), &RunSpec::default()).await.unwrap();
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
fn a_build_that_was_broken_off_leaves_no_image_once_another_has_succeeded() {
    with_engine("leftover", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        let step = r#"RUN ["/bin/sh", "-c", "test $(cat /pace) = quick || sleep 1000"]"#;
        let dockerfile = format!("FROM {}\nCOPY pace /pace\n{step}\n", corner.image());
        files(dir.path(), &[("Dockerfile", &dockerfile), (".dockerignore", "Dockerfile\n"), ("pace", "slow")]);
        let deployment = with_build(&corner, dir.path(), "");
        // Somebody else's image without a name, made of the same one.
        let labels = [("com.docker.compose.project".to_owned(), corner.env.to_string())].into();
        let (image, cmd) = (Some(corner.image()), Some(vec!["true".to_owned()]));
        let body = bollard::models::ContainerCreateBody { image, cmd, labels: Some(labels), ..Default::default() };
        let no_name = None::<bollard::query_parameters::CreateContainerOptions>;
        let container = corner.api.create_container(no_name, body).await.unwrap().id;
        let strangers = corner.docker.commit(&container, &Commit::default()).await.unwrap();
        corner.docker.discard(&container).await;
        let unnamed = async || {
            let base = corner.api.inspect_image(&corner.image()).await.unwrap().id.unwrap();
            let filters = std::collections::HashMap::from([("dangling", vec!["true".to_owned()])]);
            let options = bollard::query_parameters::ListImagesOptionsBuilder::default().filters(&filters).build();
            let images = corner.api.list_images(Some(options)).await.unwrap();
            let of_the_same = images.into_iter().filter(|image| image.parent_id == base);
            of_the_same.map(|image| image.id).collect::<BTreeSet<_>>()
        };
        {
            let mut slow = std::pin::pin!(build(&corner, &deployment));
            // Its last step runs when its container has been announced.
            let heard = corner.heard.clone();
            let is_it = |event: Event| matches!(event, Event::Wrote(_, text) if text.contains("Running in"));
            let runs = tokio::task::spawn_blocking(move || heard.iter().any(is_it));
            tokio::select! {
                built = &mut slow => panic!("{built:?}"),
                runs = runs => assert!(runs.unwrap()),
            }
        }
        assert_eq!(unnamed().await.len(), 2, "what its first step has made, too");
        files(dir.path(), &[("pace", "quick")]);
        build(&corner, &deployment).await.unwrap();
        assert_eq!(unnamed().await, BTreeSet::from([strangers]));
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
        let place = fault.message.lines().rev().take(4).collect::<Vec<_>>();
        assert!(
            place[3].ends_with("/Dockerfile:2:1") && place[1].starts_with("2 | RUN ") && place[0].starts_with("  | ^^^^"),
            "{fault}"
        );
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
        let pull = Action::Pull { reference: format!("127.0.0.1:{port}/nobody/nothing"), platform: None, once: false };
        let fault = corner.act(pull).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Permanent, "{fault}");
        assert!(told(&corner).is_empty(), "it was not tried again");
    });
}

/// Debian's registry on loopback; gone with the test.
struct Registry {
    server: std::process::Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// None where it is not installed.
    async fn serve() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            dir.path().join("data").display()
        );
        files(dir.path(), &[("config.yml", &config)]);
        let mut command = std::process::Command::new("docker-registry");
        command
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let server = command.spawn().ok()?;
        let registry = Self { server, port, _dir: dir };
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

#[test]
fn a_pull_brings_an_image_and_tells_how_much_of_it_is_there() {
    with_engine("pulled", async |corner| {
        let Some(registry) = Registry::serve().await else {
            eprintln!("skipped: no docker-registry");
            return;
        };
        let repository = format!("127.0.0.1:{}/{}", registry.port, corner.image());
        let tag = bollard::query_parameters::TagImageOptionsBuilder::default().repo(&repository).tag("latest").build();
        corner.api.tag_image(&corner.image(), Some(tag)).await.unwrap();
        let push = bollard::query_parameters::PushImageOptionsBuilder::default().tag("latest").build();
        let pushed: Vec<_> = corner.api.push_image(&repository, Some(push), None).collect().await;
        assert!(pushed.iter().all(Result::is_ok), "{pushed:?}");
        for image in [&repository, &corner.image()] {
            corner.api.remove_image(image, None::<bollard::query_parameters::RemoveImageOptions>, None).await.unwrap();
        }
        let pull = Action::Pull { reference: repository.clone(), platform: None, once: false };
        let Outcome::Image { id } = corner.act(pull).await.unwrap() else { panic!() };
        assert_eq!(corner.api.inspect_image(&repository).await.unwrap().id, Some(id));
        let told = told(&corner);
        assert!(told.iter().any(|text| text.ends_with(" MB")), "{told:?}");
        assert_eq!(corner.docker.remove_image(&repository).await.unwrap(), Outcome::Done);
        assert_eq!(corner.docker.remove_image(&repository).await.unwrap(), Outcome::Done);
    });
}

#[test]
fn what_only_comes_of_a_services_image_is_no_container_of_the_service() {
    with_engine("inherits", async |corner| {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &[("Dockerfile", &format!("FROM {}\n", corner.image()))]);
        let image = build(&corner, &with_build(&corner, dir.path(), "")).await.unwrap();
        let body =
            bollard::models::ContainerCreateBody { image: Some(image), cmd: Some(vec!["true".to_owned()]), ..Default::default() };
        let none = None::<bollard::query_parameters::CreateContainerOptions>;
        let made = corner.api.create_container(none, body).await.unwrap();
        let inspected = corner.api.inspect_container(&made.id, None).await.unwrap();
        assert_eq!(inspected.config.unwrap().labels.unwrap()["com.docker.compose.service"], "app");
        assert_eq!(corner.observe().await.containers, []);
    });
}
