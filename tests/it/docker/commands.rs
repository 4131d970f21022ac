//! What is done with running containers: logs, exec, run, what is owned, the end without a stack file.

use std::time::{Duration, SystemTime};

use baistack::model::health::HealthCheck;
use baistack::model::owned::{Owned, OwnedBy};
use baistack::plan::action::{Action, FaultKind, Incarnation, Outcome};
use baistack::supervisor::event::Event;
use baistack::world::docker::{ExecSpec, LogRange, LogStream, OwnedThing, RunSpec};

use crate::support::engine::{Corner, spec, with_engine};

const SLEEPER: &str = r#"{"web": {"container": {"image": "IMAGE", "command": ["sleep", "1000"], "init": true}}}"#;

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn a_log_has_its_streams_and_times_and_goes_on_when_it_is_followed() {
    with_engine("logs", async |corner| {
        let deployment = corner.deployment(
            r#"{"web": {"container": {"image": "IMAGE", "init": true,
                "command": ["sh", "-c", "echo one; echo two >&2; while ! test -e /go; do sleep 0.05; done; printf dying"]}}}"#,
        );
        let before = SystemTime::now();
        let id = corner.up(&deployment, &["web:1"]).await.remove(0);
        let mut log = corner.docker.logs(&id, LogRange { follow: true, ..LogRange::default() }).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            for line in log.next().await.unwrap().unwrap() {
                assert!(line.time >= before && line.time <= SystemTime::now());
                seen.push((line.stream, String::from_utf8(line.bytes).unwrap()));
            }
        }
        seen.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(seen, [(LogStream::Stdout, "one".to_owned()), (LogStream::Stderr, "two".to_owned())]);
        corner.sh(&id, "touch /go").await;
        let last = log.next().await.unwrap().unwrap().remove(0);
        assert_eq!(last.bytes, b"dying");
        assert!(log.next().await.is_none(), "the log ends with its container");
        assert_eq!(corner.docker.newest_entry(&id).await.unwrap(), Some(last.time));

        let text = async |range| {
            let (mut log, mut text) = (corner.docker.logs(&id, range).await.unwrap(), Vec::new());
            while let Some(lines) = log.next().await {
                text.extend(lines.unwrap().into_iter().map(|line| String::from_utf8(line.bytes).unwrap()));
            }
            text
        };
        assert_eq!(text(LogRange { tail: Some(1), ..LogRange::default() }).await, ["dying"]);
        assert_eq!(text(LogRange { since: Some(last.time), ..LogRange::default() }).await, ["dying"]);
        let until = Some(last.time - Duration::from_nanos(1));
        assert_eq!(text(LogRange { until, ..LogRange::default() }).await.len(), 2);
    });
}

#[test]
fn the_line_that_a_start_asks_for_is_told_once_it_appears() {
    with_engine("line", async |corner| {
        let deployment = corner.deployment(
            r#"{"web": {"container": {"image": "IMAGE", "init": true, "command": ["sh", "-c", "echo listening on 80; sleep 1000"]}}}"#,
        );
        corner.network(&deployment, "default").await;
        let spec = spec(&deployment, "web:1");
        corner.create(&spec).await.unwrap();
        let line = Some("listening on [0-9]+".to_owned());
        corner.act(Action::Start { spec, incarnation: Incarnation(7), line, container: None, beside: false }).await.unwrap();
        let matched = corner.hear(|event| if let Event::LineMatched(unit, life) = event { Some((unit, life)) } else { None });
        assert_eq!(matched.await, ("web:1".parse().unwrap(), Incarnation(7)));
    });
}

#[test]
fn exec_passes_input_output_and_the_code_on() {
    with_engine("exec", async |corner| {
        let deployment = corner.deployment(SLEEPER);
        let id = corner.up(&deployment, &["web:1"]).await.remove(0);
        let run = async |spec: ExecSpec, stdin: &[u8]| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let session = corner.docker.exec(&id, &spec).await.unwrap();
            let code = session.carry(stdin, |stream, bytes| match stream {
                LogStream::Stdout => out.extend_from_slice(bytes),
                LogStream::Stderr => err.extend_from_slice(bytes),
            });
            (code.await.unwrap(), out, err)
        };
        let spec = ExecSpec {
            command: words(&["sh", "-c", "echo $A; id -u; pwd; echo e >&2; exit 3"]),
            environment: vec!["A=b".to_owned()],
            user: Some("5".to_owned()),
            working_dir: Some("/etc".to_owned()),
            ..ExecSpec::default()
        };
        assert_eq!(run(spec, b"").await, (3, b"b\n5\n/etc\n".to_vec(), b"e\n".to_vec()));

        let mut random = baistack::base::random::Random::new(1);
        let large: Vec<u8> = (0..20 << 17).flat_map(|_| random.next_u64().to_le_bytes()).collect();
        let cat = ExecSpec { command: words(&["cat"]), stdin: true, ..ExecSpec::default() };
        let (code, out, _) = run(cat, &large).await;
        assert_eq!((code, out.len(), out == large), (0, large.len(), true));

        let command = words(&["sh", "-c", "read x; stty size"]);
        let session =
            corner.docker.exec(&id, &ExecSpec { command, tty: true, stdin: true, ..ExecSpec::default() }).await.unwrap();
        session.terminal().resize(100, 40).await.unwrap();
        let mut shown = Vec::new();
        assert_eq!(session.carry(&b"\n"[..], |_, bytes| shown.extend_from_slice(bytes)).await.unwrap(), 0);
        assert!(String::from_utf8_lossy(&shown).contains("40 100"), "{shown:?}");

        let missing = ExecSpec { command: words(&["nonesuch"]), ..ExecSpec::default() };
        assert_eq!(run(missing, b"").await.0, 127);
        let detached = ExecSpec { command: words(&["touch", "/x"]), ..ExecSpec::default() };
        corner.docker.exec_detached(&id, &detached).await.unwrap();
        while corner.sh(&id, "test -e /x").await.0 != 0 {}
    });
}

#[test]
fn a_one_off_copy_runs_beside_its_service() {
    with_engine("run", async |corner| {
        let services = r#"{"web": {"common": {"environment": {"A": "service", "B": "kept"}, "restart": "always",
            "ports": [{"target": 80, "published": "1", "protocol": "tcp"}]}, "container": {"image": "IMAGE", "command": ["false"]}}}"#;
        let deployment = corner.deployment(services);
        corner.network(&deployment, "default").await;
        let spec = spec(&deployment, "web:1");
        let run = RunSpec {
            command: Some(words(&["sh", "-c", "echo $A $B; cat; exit 4"])),
            environment: [("A".to_owned(), Some("own".to_owned()))].into(),
            stdin: true,
            ..RunSpec::default()
        };
        let attached = corner.docker.run(&spec, &run).await.unwrap();
        let id = attached.container.clone();
        let mut out = Vec::new();
        let code = attached.carry(&b"typed"[..], |_, bytes| out.extend_from_slice(bytes)).await.unwrap();
        assert_eq!((code, String::from_utf8(out).unwrap().as_str()), (4, "own kept\ntyped"));
        let seen = corner.observe().await.containers.remove(0);
        assert!(seen.one_off && seen.name.starts_with(&format!("{}-web-run-", corner.env)), "{}", seen.name);
        corner.docker.discard(&id).await;
        assert!(corner.observe().await.containers.is_empty());

        let quick = RunSpec { command: Some(words(&["true"])), ..RunSpec::default() };
        corner.docker.run_detached(&spec, &quick, true).await.unwrap();
        while !corner.observe().await.containers.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let missing = RunSpec { command: Some(words(&["nonesuch"])), ..RunSpec::default() };
        let fault = corner.docker.run(&spec, &missing).await.err().unwrap();
        assert_eq!(fault.kind, FaultKind::NoProgram);
        assert!(corner.observe().await.containers.is_empty(), "a copy that cannot start is not left behind");
    });
}

/// Something that a service could have made by itself.
async fn stranger(corner: &Corner, name: &str, label: Option<&str>, mount: Option<&str>) {
    let body = bollard::models::ContainerCreateBody {
        image: Some(corner.image()),
        cmd: Some(words(&["sleep", "1000"])),
        labels: label.map(|label| [("own".to_owned(), label.to_owned())].into()),
        host_config: Some(bollard::models::HostConfig {
            binds: mount.map(|path| vec![format!("{path}:/mounted")]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let options = bollard::query_parameters::CreateContainerOptionsBuilder::default().name(name).build();
    corner.api.create_container(Some(options), body).await.unwrap();
    corner.api.start_container(name, None).await.unwrap();
}

#[test]
fn owned_things_are_found_by_label_name_and_mount_and_nothing_else_is_touched() {
    with_engine("owned", async |corner| {
        let env = corner.env.as_str();
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("below");
        std::fs::create_dir(&below).unwrap();
        stranger(&corner, &format!("{env}-label"), Some(env), None).await;
        stranger(&corner, &format!("{env}-glob-1"), None, None).await;
        stranger(&corner, &format!("{env}-mount"), None, below.to_str()).await;
        stranger(&corner, &format!("{env}-other"), Some("other"), None).await;
        let owned = [
            Owned::Containers(OwnedBy::Label(format!("own={env}"))),
            Owned::Containers(OwnedBy::Name(format!("{env}-glob-*"))),
            Owned::Containers(OwnedBy::Mounts(dir.path().to_str().unwrap().to_owned())),
        ];
        let things = corner.docker.owned(&corner.env, &owned).await.unwrap();
        let mut names: Vec<_> =
            things.iter().map(|thing| if let OwnedThing::Container { name, .. } = thing { name } else { "" }).collect();
        names.sort_unstable();
        assert_eq!(names, [format!("{env}-glob-1"), format!("{env}-label"), format!("{env}-mount")]);
        let remove = Action::RemoveOwned { env: corner.env.clone(), owned: owned.to_vec(), volumes: false };
        assert_eq!(corner.act(remove).await.unwrap(), Outcome::Done);
        assert!(corner.docker.owned(&corner.env, &owned).await.unwrap().is_empty());
        corner.api.inspect_container(&format!("{env}-other"), None).await.unwrap();
    });
}

#[test]
fn an_environment_ends_by_its_label_alone() {
    with_engine("down", async |corner| {
        let deployment = corner.deployment(
            r#"{"db": {"common": {"stop_grace_period": "1s"}, "container": {"image": "IMAGE", "command": ["sleep", "1000"], "init": true}},
                "web": {"common": {"depends_on": {"db": {}}}, "container": {"image": "IMAGE", "command": ["sleep", "1000"], "init": true}}}"#,
        );
        corner.up(&deployment, &["db:1", "web:1"]).await;
        let seen = corner
            .docker
            .environments(&std::collections::BTreeMap::new())
            .await
            .unwrap()
            .all
            .remove(corner.env.as_str())
            .unwrap();
        assert_eq!((seen.running, seen.containers, seen.by_us), (2, 2, true));
        assert_eq!(corner.docker.down(&corner.env, false, None).await.unwrap(), Vec::<String>::new());
        let left = corner.observe().await;
        assert!(left.containers.is_empty() && left.networks.is_empty());
        assert_eq!(corner.docker.down(&corner.env, true, None).await.unwrap(), Vec::<String>::new());
    });
}

#[test]
fn a_probe_that_takes_too_long_is_ended_inside_its_container() {
    with_engine("probe", async |corner| {
        let deployment = corner.deployment(SLEEPER);
        let id = corner.up(&deployment, &["web:1"]).await.remove(0);
        let check = HealthCheck {
            test: words(&["CMD-SHELL", "sleep 777; true"]),
            timeout: Some(Duration::from_millis(300)),
            ..HealthCheck::default()
        };
        for _ in 0..2 {
            let result = corner.docker.probe(&id, &check).await;
            assert_eq!((result.healthy, result.output.as_str()), (false, "no answer within 300ms"));
        }
        let (_, running) = corner.sh(&id, "cat /proc/[0-9]*/cmdline").await;
        assert!(running.contains("1000") && !running.contains("777"), "{running:?}");
    });
}
