//! Environments kept apart: a name that is in use elsewhere, numbers of ports that are somebody's, the way back of a `switch`.

use std::fs;
use std::net::{TcpListener, UdpSocket};

use nix::sys::signal::Signal;

use crate::support::fake_engine::{empty_engine, empty_engine_elsewhere};
use crate::support::sandbox::{Said, Sandbox, kill, own_address, until};

const SLEEPER: &str = "processes: {a: {command: exec sleep 1000}}\n";

#[test]
fn a_name_that_is_up_in_another_directory_is_refused_before_anything_starts() {
    let sandbox = Sandbox::new(SLEEPER);
    sandbox.ok(&["-p", "demo", "up", "-d"]);
    let pid = || {
        let shown: serde_json::Value = serde_json::from_str(&sandbox.ok(&["-p", "demo", "ps", "--format", "json"])).unwrap();
        shown["Pid"].as_i64().unwrap()
    };
    let before = pid();
    let other = sandbox.root().join("other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("stack.yaml"), "processes: {b: {command: exec sleep 1000}}\n").unwrap();
    let told = format!("it is up in `{}` (a:1)", sandbox.root().join("stack").display());
    for line in [&["up", "-d"][..], &["up"], &["create"], &["watch"], &["build"]] {
        let said = sandbox.run_in(&other, &[&["-p", "demo"], line].concat());
        assert!(said.code == 1 && said.err.contains(&told), "{line:?}: {said:?}");
        assert!(said.err.contains("`-p NAME`") && said.err.contains("`baistack down -p demo`"), "{line:?}: {said:?}");
    }
    let said = sandbox.run_in(&other, &["-p", "demo", "plan"]);
    assert!(said.err.contains("`up` would not begin: ") && said.err.contains(&told), "{said:?}");
    assert!(sandbox.run_in(&other, &["-p", "demo", "doctor"]).out.contains("`up` would not begin: use the environment `demo`"));
    assert_eq!(sandbox.ok(&["-p", "demo", "ps", "--services"]), "a\n", "nothing was added");
    assert_eq!(pid(), before);
    // What is about the environment works from anywhere, and what was told helps.
    assert_eq!(sandbox.run_in(&other, &["-p", "demo", "restart"]).code, 0);
    assert_eq!(sandbox.run_in(&other, &["-p", "demo", "down"]).code, 0);
    assert_eq!(sandbox.run_in(&other, &["-p", "demo", "up", "-d"]).code, 0);
    assert_eq!(sandbox.run_in(&other, &["-p", "demo", "ps", "--services"]).out, "b\n");
}

#[test]
fn containers_of_the_name_whose_state_lies_elsewhere_are_refused_before_anything_starts() {
    let stack = "services: {web: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s}}\n";
    let Some(mut sandbox) = Sandbox::with_engine("namesake", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    let id = sandbox.engine().id("web-1");
    let (own, elsewhere) = (sandbox.root().join("state"), sandbox.root().join("elsewhere"));
    let theirs = sandbox.state().join(sandbox.engine().env());
    sandbox.variable("XDG_STATE_HOME", elsewhere.to_str());
    for line in [&["up", "-d", "--force-recreate"][..], &["create"], &["scale", "web=2"], &["run", "web", "true"], &["restart"]] {
        let said = sandbox.run(line);
        assert!(said.code == 1 && said.err.contains(&format!("its state is `{}`", theirs.display())), "{line:?}: {said:?}");
        let container = sandbox.engine().container("web-1");
        assert!(said.err.contains(&format!("({container}); choose another name with `-p NAME`")), "{line:?}: {said:?}");
        let remedy = format!("`env XDG_STATE_HOME='{}' baistack down -p {}`", own.display(), sandbox.engine().env());
        assert!(said.err.contains(&remedy), "{line:?}: {said:?}");
    }
    assert!(sandbox.run(&["plan"]).err.contains("`up` would not begin: use the environment"));
    assert!(!elsewhere.join("baistack").join(sandbox.engine().env()).exists(), "nothing is left of what was refused");
    assert_eq!((sandbox.engine().id("web-1"), sandbox.engine().containers()), (id.clone(), vec!["web-1".to_owned()]));
    // A state that is gone is nobody's.
    fs::remove_dir_all(&own).unwrap();
    sandbox.ok(&["up", "-d"]);
    assert_eq!(sandbox.engine().id("web-1"), id);
    sandbox.ok(&["down"]);
    sandbox.variable("XDG_STATE_HOME", own.to_str());
}

/// A stack with one named port.
fn with_port(name: &str, port: u16) -> String {
    format!(
        "name: {name}\nports: {{WEB: {port}}}\nprocesses: {{a: {{command: 'exec sleep 1000', environment: {{W: '${{WEB}}'}}}}}}\n"
    )
}

fn port(sandbox: &Sandbox, env: &str) -> String {
    sandbox.ok(&["-p", env, "port", "WEB"]).trim().to_owned()
}

#[test]
fn numbers_of_what_is_stopped_are_left_to_it_and_those_of_what_is_down_are_not() {
    let sandbox = Sandbox::new(&with_port("one", 18931));
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["stop"]);
    for name in ["two", "three"] {
        sandbox.write(&format!("{name}.yaml"), &with_port(name, 18931));
    }
    let said = sandbox.run(&["-f", "two.yaml", "up", "-d"]);
    let told = "port 18931 of `WEB` is held by the environment `one`, which is stopped; WEB is ";
    assert!(said.code == 0 && said.err.contains(told), "{said:?}");
    assert_ne!(port(&sandbox, "two"), "18931");
    sandbox.ok(&["start"]);
    assert_eq!(port(&sandbox, "one"), "18931");
    // Who insists on a number may have it while nobody uses it.
    sandbox.ok(&["stop"]);
    sandbox.ok(&["-f", "three.yaml", "up", "-d", "--strict-ports"]);
    let said = sandbox.run(&["start"]);
    assert!(said.code == 1 && said.err.contains("port 18931 of `WEB` is held by the environment `three`"), "{said:?}");
    sandbox.ok(&["-p", "three", "down"]);
    sandbox.ok(&["start"]);
    sandbox.ok(&["down"]);
    sandbox.write("four.yaml", &with_port("four", 18931));
    let said = sandbox.run(&["-f", "four.yaml", "up", "-d"]);
    assert!(said.code == 0 && !said.err.contains("instead"), "{said:?}");
    assert_eq!(port(&sandbox, "four"), "18931");
}

#[test]
fn a_start_again_tells_who_has_taken_its_port_meanwhile() {
    let sandbox = Sandbox::new(&with_port("demo", 18932));
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["stop"]);
    let holder = TcpListener::bind("127.0.0.1:18932").unwrap();
    let told = format!("port 18932 of `WEB` is held by process {} (", std::process::id());
    for line in [&["start"][..], &["restart"], &["switch", "demo"]] {
        let said = sandbox.run(line);
        assert!(said.code == 1 && said.err.contains(&told), "{line:?}: {said:?}");
        assert!(said.err.contains("change the number by `baistack up`"), "{line:?}: {said:?}");
        assert_eq!(sandbox.ok(&["ps", "--status", "running", "--services"]), "", "{line:?}");
    }
    // The plan knows what the remedy does.
    let plan = sandbox.run(&["plan"]);
    let said = sandbox.run(&["up", "-d"]);
    let number = format!("WEB is {} instead", port(&sandbox, "demo"));
    assert!(plan.err.contains(&told) && plan.err.contains(&number), "{number}: {plan:?}");
    assert!(said.code == 0 && said.err.contains(&number), "{number}: {said:?}");
    sandbox.ok(&["stop"]);
    drop(holder);
    sandbox.ok(&["start"]);
}

#[test]
fn a_port_that_is_lost_after_the_check_fails_one_service_and_the_next_up_starts_that_alone() {
    let (address, number) = own_address();
    let sandbox = Sandbox::new(&format!(
        "name: demo\nprocesses:\n  a: {{command: exec sleep 1000}}\n  \
         b: {{command: exec sleep 1000, healthcheck: {{file: go, interval: 50ms, start_period: 1m}}}}\n  \
         c: {{command: exec sleep 1000, sockets: [{{name: web, tcp: '{address}:{number}'}}], depends_on: {{b: {{condition: service_healthy}}}}}}\n"
    ));
    let up = sandbox.begin(&["up", "-d", "--wait"]);
    up.wait_for("not healthy yet");
    let holder = TcpListener::bind((address.as_str(), number)).unwrap();
    sandbox.write("go", "");
    let before = up.wait_for(&format!("it is held by process {}", std::process::id()));
    assert!(before.iter().all(|line| !line.contains("c:1") || !line.contains("running")), "{before:?}");
    assert_eq!(up.end(), 1);
    let pids = sandbox.leaders();
    assert_eq!(pids.len(), 2, "the others run");
    drop(holder);
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert!(said.code == 0 && !said.err.contains("a:1") && !said.err.contains("b:1"), "{said:?}");
    assert!(sandbox.leaders().starts_with(&pids) && sandbox.leaders().len() == 3, "they are the same");
    sandbox.ok(&["down"]);
    assert_eq!(sandbox.ok(&["ps", "-q"]), "");
}

#[test]
fn what_runs_well_keeps_its_numbers_whoever_answers_there() {
    let sandbox = Sandbox::new(&with_port("demo", 18933));
    sandbox.ok(&["up", "-d", "--wait"]);
    let pids = sandbox.leaders();
    // Something that it has started beside itself, as far as anybody can tell.
    let _holder = TcpListener::bind("127.0.0.1:18933").unwrap();
    let plan = sandbox.run(&["plan"]);
    assert!(plan.code == 0 && plan.out.contains("nothing to do") && !plan.err.contains("18933"), "{plan:?}");
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 0 && !said.err.contains("instead"), "{said:?}");
    assert_eq!((sandbox.leaders(), port(&sandbox, "demo").as_str()), (pids, "18933"));
    // Nor does another environment take it away by what its caller sets.
    let mut other = Sandbox::new(&with_port("other", 18999));
    other.variable("XDG_STATE_HOME", sandbox.root().join("state").to_str());
    other.variable("WEB", Some("18933"));
    other.ok(&["up", "-d"]);
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 0 && !said.err.contains("instead"), "{said:?}");
    other.ok(&["down"]);
}

#[test]
fn a_container_on_the_hosts_own_network_is_started_again_beside_one_that_is_unwell() {
    let stack = "ports: {WEB: 18934}\nservices:\n  web: {image: IMAGE, network_mode: host, init: true, stop_grace_period: 1s, \
                 command: [nc, -ll, -p, '${WEB}', -e, cat]}\n  \
                 ill: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s}\n";
    let Some(sandbox) = Sandbox::with_engine("own-network", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    let listens = || TcpListener::bind("0.0.0.0:18934").is_err();
    for line in [&["restart"][..], &["start"], &["up", "-d"]] {
        until("it listens", listens);
        sandbox.engine().kill("ill-1");
        let said = sandbox.run(line);
        assert!(said.code == 0 && !said.err.contains("instead"), "{line:?}: {said:?}");
        until("it is up", || sandbox.engine().is_running("ill-1") && sandbox.engine().is_running("web-1"));
    }
    assert_eq!(sandbox.ok(&["port", "WEB"]).trim(), "18934");
    sandbox.ok(&["stop"]);
    let _holder = TcpListener::bind("0.0.0.0:18934").unwrap();
    let said = sandbox.run(&["restart"]);
    let told = format!("port 18934 of `WEB` is held by process {}", std::process::id());
    assert!(said.code == 1 && said.err.contains(&told), "{said:?}");
}

#[test]
fn a_number_for_udp_alone_is_started_with_again_whoever_has_it_for_tcp() {
    let sandbox = Sandbox::new(
        "name: demo\nports: {DNS: 18935}\nprocesses: {a: {command: exec sleep 1000, ports: ['${DNS}:${DNS}/udp']}}\n",
    );
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["stop"]);
    let _tcp = TcpListener::bind("127.0.0.1:18935").unwrap();
    for line in ["start", "restart"] {
        sandbox.ok(&[line]);
        sandbox.ok(&["stop"]);
    }
    let _udp = UdpSocket::bind("127.0.0.1:18935").unwrap();
    let said = sandbox.run(&["start"]);
    assert!(said.code == 1 && said.err.contains("port 18935 of `DNS` is held by process"), "{said:?}");
}

#[test]
fn a_restart_stops_who_is_alive_first_and_does_not_ask_who_answers_at_its_numbers() {
    let sandbox = Sandbox::new(
        "name: demo\nports: {WEB: 18936}\nprocesses:\n  a: {command: exec sleep 1000, environment: {W: '${WEB}'}}\n  \
         b: {command: exec sleep 1000}\n",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["stop", "b"]);
    let _beside = TcpListener::bind("127.0.0.1:18936").unwrap();
    sandbox.ok(&["restart"]);
    sandbox.ok(&["stop"]);
    assert_eq!(sandbox.run(&["restart"]).code, 1, "nothing of it is alive");
}

#[test]
fn ports_that_an_engine_elsewhere_publishes_are_not_looked_for_on_this_host() {
    let here = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = here.local_addr().unwrap().port();
    let mut sandbox = Sandbox::new(&format!(
        "name: demo\nports: {{WEB: {port}}}\nservices: {{a: {{image: x, ports: ['{port}:80']}}, b: {{image: x, ports: ['${{WEB}}:81']}}}}\n"
    ));
    let socket = sandbox.root().join("engine.sock");
    empty_engine(&socket, ("20.10.0", "1.41"), "{}");
    let elsewhere = empty_engine_elsewhere(("20.10.0", "1.41"));
    for (host, is_held) in [(format!("unix://{}", socket.display()), true), (format!("tcp://{elsewhere}"), false)] {
        sandbox.variable("DOCKER_HOST", Some(&host));
        let plan = sandbox.run(&["plan"]);
        let said = sandbox.run(&["doctor"]);
        for text in [format!("`a` needs port {port}"), format!("{port} of `WEB` is held by process")] {
            assert_eq!(
                (plan.err.contains(&text), said.out.contains(&text)),
                (is_held, is_held),
                "{host} {text}: {plan:?} {said:?}"
            );
        }
    }
}

#[test]
fn a_supervisor_that_does_not_answer_keeps_no_other_environment_from_its_numbers() {
    let sandbox = Sandbox::new(&with_port("demo", 18937));
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.write("other.yaml", &with_port("other", 18938));
    // Whether it runs well decides about its number.
    let _holder = TcpListener::bind("127.0.0.1:18937").unwrap();
    let supervisor = sandbox.supervisor();
    kill(supervisor, Signal::SIGSTOP);
    let up = sandbox.begin(&["up", "-d"]);
    let claim = || fs::File::open(sandbox.env_dir().join("claim")).unwrap().try_lock().is_err();
    until("it has its environment, and asks", claim);
    let other = sandbox.run(&["-f", "other.yaml", "up", "-d"]);
    kill(supervisor, Signal::SIGCONT);
    assert_eq!((other.code, up.end()), (0, 0), "{other:?}");
    assert_eq!(port(&sandbox, "demo"), "18937");
}

#[test]
fn a_number_that_the_caller_sets_is_to_be_unset_or_let_go_by_its_holder() {
    let mut sandbox =
        Sandbox::new("name: demo\nports: {WEB: 18939}\nprocesses: {a: {command: exec sleep 1000, ports: ['${WEB}:${WEB}']}}\n");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = holder.local_addr().unwrap().port().to_string();
    sandbox.variable("WEB", Some(&number));
    let said = sandbox.run(&["doctor"]);
    assert!(said.out.contains(&format!("{number} of `WEB` is held by process")), "{said:?}");
    assert!(said.out.contains("unset WEB, and `up` finds a free one"), "{said:?}");
    for line in [&["up", "-d"][..], &["plan"]] {
        let said = sandbox.run(line);
        let all = format!("{}{}", said.out, said.err);
        assert!(all.contains(&format!("`a` needs port {number}, which is held by process")), "{line:?}: {said:?}");
        assert!(all.contains("unset `WEB`") && !all.contains("name the port under `ports`"), "{line:?}: {said:?}");
    }
    drop(holder);
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["stop"]);
    let _holder = TcpListener::bind(format!("127.0.0.1:{number}")).unwrap();
    let said = sandbox.run(&["start"]);
    assert!(said.code == 1 && said.err.contains("unset `WEB`"), "{said:?}");
}

/// A command about the stack of `other.yaml`.
fn of_other(sandbox: &Sandbox, line: &[&str]) -> Said {
    sandbox.run(&[&["-f", "other.yaml"], line].concat())
}

fn running(sandbox: &Sandbox, env: &str) -> String {
    sandbox.ok(&["-p", env, "ps", "--status", "running", "--services"])
}

/// Switches from `other`, of which `c` is stopped, to what came up once, was ended, and needs the file `ok` that is gone since.
fn switch_to_what_cannot_run(sandbox: &Sandbox, end: &str, switch: &[&str]) -> Said {
    sandbox.write("ok", "");
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&[end]);
    assert_eq!(of_other(sandbox, &["up", "-d", "--wait"]).code, 0);
    assert_eq!(of_other(sandbox, &["stop", "c"]).code, 0);
    fs::remove_file(sandbox.path("ok")).unwrap();
    of_other(sandbox, switch)
}

#[test]
fn a_switch_goes_back_where_the_other_does_not_come_up() {
    let sandbox =
        Sandbox::new("name: demo\nprocesses: {a: {command: test -e ok && echo up && exec sleep 1000, healthcheck: {log: up}}}\n");
    sandbox.write("ok", "");
    sandbox.ok(&["up", "-d"]);
    sandbox.write(
        "other.yaml",
        "name: other\nprocesses: {b: {command: exec sleep 1000}, c: {command: exec sleep 1000}, d: {command: exec sleep 1000}}\n",
    );
    for end in ["stop", "down"] {
        let said = switch_to_what_cannot_run(&sandbox, end, &["switch", "demo", "--wait"]);
        assert!(said.code == 1 && said.err.contains("demo did not come up: starting other again"), "{said:?}");
        assert_eq!(running(&sandbox, "demo"), "");
        assert_eq!(running(&sandbox, "other"), "b\nd\n", "what was stopped before stays so");
    }
    sandbox.write("ok", "");
    assert_eq!(of_other(&sandbox, &["switch", "demo", "--wait"]).code, 0);
    assert_eq!((running(&sandbox, "demo").as_str(), running(&sandbox, "other").as_str()), ("a\n", ""));
}

#[test]
fn a_switch_goes_back_where_the_other_fails_right_after_its_start() {
    let program = "test -e ok || exit 3; exec sleep 1000";
    for restart in ["no", "on-failure"] {
        let sandbox = Sandbox::new(&format!("name: demo\nprocesses: {{a: {{command: '{program}', restart: '{restart}'}}}}\n"));
        sandbox.write("other.yaml", "name: other\nprocesses: {b: {command: exec sleep 1000}, c: {command: exec sleep 1000}}\n");
        for end in ["stop", "down"] {
            let said = switch_to_what_cannot_run(&sandbox, end, &["switch", "demo"]);
            assert!(
                said.code == 1 && said.err.contains("demo did not come up: starting other again"),
                "{restart}, {end}: {said:?}"
            );
            assert!(said.err.contains("a:1: ") && said.err.contains("code 3"), "{restart}, {end}: {said:?}");
            let runs = (running(&sandbox, "demo"), running(&sandbox, "other"));
            assert_eq!((runs.0.as_str(), runs.1.as_str()), ("", "b\n"), "{restart}, {end}");
        }
        sandbox.write("ok", "");
        let said = of_other(&sandbox, &["switch", "demo"]);
        assert!(said.code == 0 && !said.err.contains("did not come up"), "{said:?}");
        let runs = (running(&sandbox, "demo"), running(&sandbox, "other"));
        assert_eq!((runs.0.as_str(), runs.1.as_str()), ("a\n", ""), "{restart}");
    }
}

#[test]
fn a_switch_stays_where_what_ends_at_once_has_done_its_work() {
    let sandbox =
        Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000}, once: {command: 'true', restart: 'no'}}\n");
    sandbox.write("other.yaml", "name: other\nprocesses: {b: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["down"]);
    sandbox.ok(&["-f", "other.yaml", "up", "-d", "--wait"]);
    let said = of_other(&sandbox, &["switch", "demo"]);
    assert!(said.code == 0 && !said.err.contains("did not come up"), "{said:?}");
    assert_eq!(running(&sandbox, "demo"), "a\n");
}

#[test]
fn scratch_behind_a_link_that_leads_out_is_told_at_its_place_before_anything_is_made() {
    let sandbox = Sandbox::new("name: demo\nprocesses:\n  a: {command: exec sleep 1000, scratch: [own, link/deep/inside]}\n");
    let outside = sandbox.root().join("home/outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, sandbox.path("link")).unwrap();
    for line in [&["up", "-d"][..], &["plan"]] {
        let said = sandbox.run(line);
        let link = format!("the link `{}` leads out of `", sandbox.path("link").display());
        assert!(said.code == 3 && said.err.contains("stack.yaml:3:48") && said.err.contains(&link), "{line:?}: {said:?}");
        assert!(fs::read_dir(&outside).unwrap().next().is_none() && !sandbox.path("own").exists(), "{line:?}: nothing is made");
    }
    // What is there is used, and stays.
    fs::create_dir_all(outside.join("deep/inside")).unwrap();
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["down", "-v"]);
    assert!(outside.join("deep/inside").exists() && !sandbox.path("own").exists());
}
