//! What Docker Compose's own end-to-end tests promise, where no other test of ours says it. The whole list, and where each is
//! tested, is `tests/compose.md`.

use bollard::query_parameters as options;

use crate::support::sandbox::{Sandbox, is_alive, own_address, until};

const SLEEPS: &str = "image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s";

fn with(name: &str, stack: &str) -> Option<Sandbox> {
    Sandbox::with_engine(name, &stack.replace("SLEEPS", SLEEPS))
}

#[test]
fn an_up_of_a_service_with_a_profile_starts_what_it_depends_on_and_none_of_its_siblings() {
    let stack = "
services:
  foo: {SLEEPS, profiles: [test], depends_on: [db]}
  bar: {SLEEPS, profiles: [test]}
  db: {SLEEPS}
";
    let Some(sandbox) = with("profile", stack) else { return };
    sandbox.ok(&["up", "-d", "foo"]);
    assert_eq!(sandbox.engine().containers(), ["db-1", "foo-1"]);
    sandbox.ok(&["--profile", "test", "down"]);
    assert!(sandbox.engine().containers().is_empty());
}

#[test]
fn a_dependency_that_ends_or_is_unhealthy_fails_the_up_and_its_dependent_is_not_started() {
    for (name, check, said) in [
        ("ends", "command: [sh, -c, 'exit 1'], healthcheck: {test: [CMD, 'false'], retries: 100}", "exit code 1"),
        (
            "ill",
            "command: [sleep, '1000'], init: true, stop_grace_period: 0s, healthcheck: {test: [CMD, nonesuch], interval: 100ms, retries: 2}",
            "unhealthy",
        ),
    ] {
        let stack = format!(
            "
services:
  web: {{SLEEPS, depends_on: {{db: {{condition: service_healthy}}}}}}
  db: {{image: IMAGE, {check}}}
"
        );
        let Some(sandbox) = with(name, &stack) else { return };
        let up = sandbox.run(&["up", "-d"]);
        assert_eq!(up.code, 1, "{up:?}");
        assert!(up.err.contains("db") && up.err.contains(said), "{up:?}");
        assert!(!sandbox.engine().is_running("web-1"));
        sandbox.ok(&["down"]);
    }
}

#[test]
fn an_abort_stops_all_and_passes_on_the_code_that_was_waited_for() {
    let stack = "
services:
  running: {SLEEPS}
  fine: {image: IMAGE, command: [sh, -c, 'exit 0']}
  fails: {image: IMAGE, command: [sh, -c, 'exit 111'], depends_on: {fine: {condition: service_completed_successfully}}}
";
    let Some(sandbox) = with("abort", stack) else { return };
    let said = sandbox.run(&["up", "--abort-on-container-failure"]);
    assert_eq!(said.code, 111, "{said:?}");
    assert!(!sandbox.engine().is_running("running-1"));
    let said = sandbox.run(&["up", "--abort-on-container-exit", "running", "fine"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!sandbox.engine().is_running("running-1"));
    sandbox.ok(&["down"]);
}

#[test]
fn stop_start_and_restart_leave_one_off_copies_alone_and_down_takes_them() {
    let Some(sandbox) = with("oneoffs", "services: {foo: {SLEEPS, depends_on: [bar]}, bar: {SLEEPS}}") else { return };
    sandbox.ok(&["up", "-d"]);
    let id = sandbox.ok(&["run", "-d", "--name", &sandbox.engine().container("copy"), "bar"]);
    let copy = || sandbox.engine().is_running("copy");
    assert!(!id.trim().is_empty() && copy());
    sandbox.ok(&["stop", "foo"]);
    assert!(!sandbox.engine().is_running("foo-1") && sandbox.engine().is_running("bar-1"));
    sandbox.ok(&["stop"]);
    assert!(!sandbox.engine().is_running("bar-1") && copy());
    // What it depends on comes along.
    sandbox.ok(&["start", "foo"]);
    assert!(sandbox.engine().is_running("foo-1") && sandbox.engine().is_running("bar-1"));
    sandbox.ok(&["restart"]);
    assert!(copy());
    sandbox.ok(&["down", "--remove-orphans"]);
    assert!(sandbox.engine().containers().is_empty());
}

#[test]
fn another_external_volume_makes_another_container_and_the_volumes_stay() {
    let stack = "
services: {app: {SLEEPS, volumes: ['data:/data']}}
volumes: {data: {external: true, name: VOLUME-1}}
";
    let Some(sandbox) = with("switched", stack) else { return };
    let volume = |number: u32| format!("{}-{number}", sandbox.engine().env());
    let text = std::fs::read_to_string(sandbox.path("stack.yaml")).unwrap().replace("VOLUME", sandbox.engine().env());
    let mounted = || {
        let name = sandbox.engine().container("app-1");
        let found = sandbox.engine().ask(async |api| api.inspect_container(&name, None).await.unwrap());
        found.mounts.unwrap()[0].name.clone().unwrap()
    };
    let volumes = Strangers { sandbox: &sandbox, names: [volume(1), volume(2)] };
    volumes.make();
    for number in [1, 2] {
        sandbox.write("stack.yaml", &text.replace("-1}", &format!("-{number}}}")));
        sandbox.ok(&["up", "-d"]);
        assert_eq!(mounted(), volume(number));
    }
    sandbox.ok(&["down", "-v"]);
    assert!(volumes.are_there());
}

/// Volumes of somebody else, which are gone when the test is over.
struct Strangers<'a> {
    sandbox: &'a Sandbox,
    names: [String; 2],
}

impl Strangers<'_> {
    fn make(&self) {
        for name in &self.names {
            let request = bollard::models::VolumeCreateRequest { name: Some(name.clone()), ..Default::default() };
            self.sandbox.engine().ask(async |api| api.create_volume(request).await.unwrap());
        }
    }

    fn are_there(&self) -> bool {
        self.names.iter().all(|name| self.sandbox.engine().ask(async |api| api.inspect_volume(name).await.is_ok()))
    }
}

impl Drop for Strangers<'_> {
    fn drop(&mut self) {
        for container in self.sandbox.engine().containers() {
            self.sandbox.engine().remove(&container);
        }
        for name in &self.names {
            // One that was never made is gone as well.
            let _ = self.sandbox.engine().ask(async |api| api.remove_volume(name, None::<options::RemoveVolumeOptions>).await);
        }
    }
}

#[test]
fn logs_are_those_of_the_services_and_replicas_that_are_named() {
    let stack = "
services:
  ping: {image: IMAGE, command: [echo, pong]}
  hello: {image: IMAGE, command: [echo, hello], scale: 2}
";
    let Some(sandbox) = with("named", stack) else { return };
    // Not back before all have ended.
    sandbox.ok(&["up"]);
    let logs = |line: &[&str]| sandbox.ok(&[&["logs"], line].concat());
    assert!(logs(&[]).contains("pong") && logs(&[]).contains("hello"));
    assert!(logs(&["ping"]).contains("pong") && !logs(&["ping"]).contains("hello"));
    let second = logs(&["--index", "2", "hello"]);
    assert!(second.contains("hello-2") && !second.contains("hello-1"), "{second}");
    sandbox.ok(&["down"]);
}

#[test]
fn a_container_has_its_fixed_address_and_is_reached_by_its_aliases() {
    let stack = "
services:
  server:
    image: IMAGE
    command: [sh, -c, 'while true; do echo served | nc -l -p 80; done']
    init: true
    stop_grace_period: 0s
    networks: {default: {aliases: [other-name], ipv4_address: 10.231.77.100}}
  client: {SLEEPS, links: ['server:by-link']}
networks: {default: {ipam: {config: [{subnet: 10.231.77.0/24}]}}}
";
    let Some(sandbox) = with("aliases", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    for name in ["server", "other-name", "by-link", "10.231.77.100"] {
        // Between two of its servers nobody answers, or nobody is there any more to answer.
        let asks = format!("until [ \"$(nc {name} 80 < /dev/null)\" = served ]; do :; done; echo served");
        assert_eq!(sandbox.ok(&["exec", "-T", "client", "sh", "-c", &asks]), "served\n", "{name}");
    }
    sandbox.ok(&["down"]);
}

#[test]
fn rm_asks_and_takes_what_is_stopped_and_what_runs_when_it_is_told_to() {
    let Some(sandbox) = with("rm", "services: {one: {SLEEPS}, two: {SLEEPS}}") else { return };
    let containers = || sandbox.engine().containers();
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["stop", "one"]);
    let said = sandbox.run(&["rm"]);
    assert!(said.code == 2 && said.err.contains("--force"), "nobody is there to be asked: {said:?}");
    for (answer, left) in [("n\n", vec!["one-1", "two-1"]), ("y\n", vec!["two-1"])] {
        let terminal = sandbox.begin_on_terminal(&["rm"]);
        terminal.wait_for("[y/N]");
        terminal.write(answer.as_bytes());
        terminal.end();
        assert_eq!(containers(), left);
    }
    sandbox.ok(&["rm", "--force"]);
    assert_eq!(containers(), ["two-1"], "it runs");
    sandbox.ok(&["rm", "--force", "--stop", "two"]);
    assert!(containers().is_empty());
}

#[test]
fn a_one_off_copy_publishes_what_it_is_told_and_the_ports_of_its_service_on_request() {
    let (address, port) = own_address();
    let stack = format!("services: {{web: {{SLEEPS, ports: ['{address}:{port}:80']}}}}");
    let Some(sandbox) = with("published", &stack) else { return };
    let (_, other) = own_address();
    let publish = format!("{address}:{other}:81");
    for (name, flags, expected) in [
        ("neither", vec![], None),
        ("own", vec!["--publish", &publish], Some(("81/tcp", other))),
        ("service", vec!["--service-ports"], Some(("80/tcp", port))),
    ] {
        let container = sandbox.engine().container(name);
        sandbox.ok(&[&["run", "-d", "--name", &container], &flags[..], &["web"]].concat());
        let found = sandbox.engine().ask(async |api| api.inspect_container(&container, None).await.unwrap());
        let bindings = found.host_config.unwrap().port_bindings.unwrap_or_default();
        let published: Vec<(&str, Option<String>)> = (bindings.iter())
            .map(|(target, on_host)| (target.as_str(), on_host.iter().flatten().find_map(|binding| binding.host_port.clone())))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(target, port)| (*target, Some(port.to_string()))).collect();
        assert_eq!(published, expected, "{name}");
    }
    sandbox.ok(&["down"]);
    assert!(sandbox.engine().containers().is_empty());
}

#[test]
fn an_image_may_be_named_by_its_id() {
    let Some(sandbox) = with("id", "services: {web: {SLEEPS}}") else { return };
    let image = sandbox.engine().image();
    let id = sandbox.engine().ask(async |api| api.inspect_image(&image).await.unwrap().id.unwrap());
    let stack = std::fs::read_to_string(sandbox.path("stack.yaml")).unwrap();
    for named in [id.clone(), id.trim_start_matches("sha256:")[..12].to_owned()] {
        sandbox.write("stack.yaml", &stack.replace(&image, &format!("'{named}'")));
        sandbox.ok(&["up", "-d"]);
        assert!(sandbox.engine().is_running("web-1"), "{named}");
        sandbox.ok(&["down"]);
    }
}

#[test]
fn a_container_becomes_an_image_and_an_archive_and_its_end_is_told() {
    let Some(sandbox) = with("kept", "services: {web: {SLEEPS}}") else { return };
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["exec", "-T", "web", "touch", "/made"]);
    let image = format!("{}-kept", sandbox.engine().env());
    sandbox.ok(&["commit", "--message", "with a file", "web", &image]);
    assert!(sandbox.engine().ask(async |api| api.inspect_image(&image).await.is_ok()));
    sandbox.ok(&["export", "--output", "files.tar", "web"]);
    let mut archive = tar::Archive::new(std::fs::File::open(sandbox.path("files.tar")).unwrap());
    let has_file = archive.entries().unwrap().any(|entry| entry.unwrap().path().unwrap().ends_with("made"));
    assert!(has_file);
    // What happens before anybody listens, the engine remembers.
    let events = sandbox.begin(&["events", "--since", "1m"]);
    sandbox.ok(&["stop"]);
    events.wait_for("container stop ");
    sandbox.ok(&["down"]);
}

#[test]
fn replicas_that_cannot_share_a_port_are_refused_before_anything_starts() {
    let (address, port) = own_address();
    let stack = format!("services: {{web: {{SLEEPS, ports: ['{address}:{port}:80']}}, other: {{SLEEPS}}}}");
    let Some(sandbox) = with("crowded", &stack) else { return };
    let refused = format!("`services.web.ports`: 2 replicas cannot share port {port} of the host");
    for line in [vec!["up", "-d", "--scale", "web=2"], vec!["scale", "web=2"]] {
        let said = sandbox.run(&line);
        assert!(said.code == 1 && said.err.contains(&refused), "{said:?}");
        assert!(said.err.contains("stack.yaml:1:") && said.err.contains("^^^") && said.err.contains("a range of 2"), "{said:?}");
        assert!(sandbox.engine().containers().is_empty());
    }
    for line in [vec!["up", "--dry-run", "--scale", "web=2"], vec!["scale", "--dry-run", "web=2"]] {
        let said = sandbox.run(&line);
        assert!(said.err.contains(&format!("`up` would not begin: {refused}")), "{said:?}");
    }
    let said = sandbox.run(&["plan"]);
    assert!(said.code == 10 && !said.err.contains("would not begin"), "{said:?}");
    // One that somebody else has is told where it stands.
    let holder = std::net::TcpListener::bind((address.as_str(), port)).unwrap();
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 1 && said.err.contains(&format!("`web` needs port {port}, which is held by process")), "{said:?}");
    assert!(said.err.contains("stack.yaml:1:") && said.err.contains("^^^"), "{said:?}");
    assert!(sandbox.engine().containers().is_empty());
    drop(holder);
    // What is only made publishes nothing.
    sandbox.ok(&["create", "--scale", "web=2"]);
    assert_eq!(sandbox.engine().containers(), ["other-1", "web-1", "web-2"]);
    sandbox.ok(&["down"]);
}

/// When the container of a unit was started last.
fn begun(sandbox: &Sandbox, unit: &str) -> Option<String> {
    let name = sandbox.engine().container(unit);
    sandbox.engine().ask(async |api| api.inspect_container(&name, None).await.unwrap()).state?.started_at
}

/// The next command takes over what there is.
fn nobody_supervises(sandbox: &Sandbox) {
    let lock = sandbox.env_dir().join("lock");
    // Whoever has ended may have left it empty.
    let supervisor = || std::fs::read_to_string(&lock).unwrap_or_default().trim().parse::<i32>().ok();
    until("the supervisor has ended", || !supervisor().is_some_and(is_alive));
}

#[test]
fn what_is_restarted_while_nobody_supervises_comes_up_again_or_is_left_alone() {
    let stack = "services: {db: {SLEEPS}, web: {SLEEPS, depends_on: [db]}}";
    let Some(sandbox) = with("restarted", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    nobody_supervises(&sandbox);
    sandbox.ok(&["stop", "db"]);
    nobody_supervises(&sandbox);
    let before = begun(&sandbox, "web-1");
    let said = sandbox.run(&["restart", "web"]);
    assert!(said.code == 1 && said.err.contains("could not start again, because of db: it is stopped"), "{said:?}");
    assert!(sandbox.engine().is_running("web-1"));
    assert_eq!(begun(&sandbox, "web-1"), before);
    nobody_supervises(&sandbox);
    sandbox.ok(&["down"]);
    // Asked for alone, it is restarted alone.
    sandbox.ok(&["up", "-d", "--no-deps", "web"]);
    nobody_supervises(&sandbox);
    let before = begun(&sandbox, "web-1");
    sandbox.ok(&["restart", "web"]);
    assert_ne!(begun(&sandbox, "web-1"), before);
    assert_eq!(sandbox.engine().containers(), ["web-1"]);
}

#[test]
fn dependents_follow_a_restart_and_a_change_while_nobody_supervises() {
    let edge = "depends_on: {db: {condition: service_started, restart: true}}";
    let stack = format!("services: {{db: {{SLEEPS}}, web: {{SLEEPS, {edge}}}, other: {{SLEEPS, depends_on: [db]}}}}");
    let Some(sandbox) = with("followed", &stack) else { return };
    sandbox.ok(&["up", "-d"]);
    let changed = std::fs::read_to_string(sandbox.path("stack.yaml")).unwrap().replacen("{db: {", "{db: {labels: [changed], ", 1);
    for line in [&["restart", "db"][..], &["up", "-d"]] {
        nobody_supervises(&sandbox);
        let before = ["db-1", "web-1", "other-1"].map(|unit| begun(&sandbox, unit));
        sandbox.ok(line);
        let after = ["db-1", "web-1", "other-1"].map(|unit| begun(&sandbox, unit));
        let is_another: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before != after).collect();
        assert_eq!(is_another, [true, true, false], "{line:?}");
        sandbox.write("stack.yaml", &changed);
    }
    sandbox.ok(&["down"]);
}
