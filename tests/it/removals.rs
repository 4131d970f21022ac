//! Nothing goes that was not listed and confirmed, and what stays can be found again.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, VolumeCreateRequest};
use bollard::query_parameters as options;

use crate::environments::Somebody;
use crate::support::fake_engine::empty_engine;
use crate::support::sandbox::{Sandbox, is_alive};

const NAMELESS: &str =
    "services: {db: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s, volumes: [/data]}}\n";

/// The volume of a container, by its name.
fn volume_of(sandbox: &Sandbox, container: &str) -> String {
    let name = sandbox.engine().container(container);
    let seen = sandbox.engine().ask(async |api| api.inspect_container(&name, None).await.unwrap());
    seen.mounts.unwrap().into_iter().find_map(|mount| mount.name).unwrap()
}

fn has_volume(sandbox: &Sandbox, name: &str) -> bool {
    sandbox.engine().ask(async |api| api.inspect_volume(name).await).is_ok()
}

#[test]
fn volumes_that_nobody_has_named_are_listed_and_told_where_they_stay() {
    let Some(sandbox) = Sandbox::with_engine("nameless", NAMELESS) else { return };
    let container = sandbox.engine().container("db-1");
    sandbox.ok(&["up", "-d"]);
    let first = volume_of(&sandbox, "db-1");
    for line in [
        &["purge", "--dry-run"][..],
        &["down", "-v", "--dry-run"],
        &["down", "-v", "db", "--dry-run"],
        &["rm", "-s", "-v", "--dry-run"],
    ] {
        let said = sandbox.run(line);
        let is_listed = said.out.lines().any(|line| line.contains(&first) && line.contains(&format!("of {container}, /data)")));
        assert!(said.code == 10 && is_listed, "{line:?}: {said:?}");
    }
    let said = sandbox.run(&["purge", "--yes", "--keep-data"]);
    assert!(said.code == 0 && !said.out.contains(&first), "it does not go: {said:?}");
    assert!(said.err.contains(&format!("the volume {first} stays: {container} had it at /data")), "{said:?}");

    // Nor is one forgotten that a plain `down` has left, and both go with the data.
    sandbox.ok(&["up", "-d"]);
    let second = volume_of(&sandbox, "db-1");
    sandbox.ok(&["down"]);
    assert!(first != second && [&first, &second].iter().all(|volume| has_volume(&sandbox, volume)));
    let said = sandbox.run(&["down", "-v", "--dry-run"]);
    assert!(said.code == 10 && [&first, &second].iter().all(|volume| said.out.contains(*volume)), "{said:?}");
    sandbox.ok(&["down", "-v"]);
    assert!([&first, &second].iter().all(|volume| !has_volume(&sandbox, volume)));
    let said = sandbox.run(&["down", "-v", "--dry-run"]);
    assert!(said.code == 0, "{said:?}");
    sandbox.ok(&["up", "-d"]);
    let (third, _) = (volume_of(&sandbox, "db-1"), sandbox.ok(&["down"]));
    sandbox.ok(&["up", "-d"]);
    let fourth = volume_of(&sandbox, "db-1");
    let said = sandbox.run(&["purge", "--yes"]);
    assert!(said.code == 0 && [&third, &fourth].iter().all(|volume| said.out.contains(*volume)), "{said:?}");
    assert!([&third, &fourth].iter().all(|volume| !has_volume(&sandbox, volume)));
}

#[test]
fn volumes_whose_environment_has_lost_all_else_are_known_and_listed() {
    let stack = "services: {db: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s, volumes: ['data:/data']}}\n\
                 volumes: {data: {}}\n";
    let Some(sandbox) = Sandbox::with_engine("alone", stack) else { return };
    let (env, volume) = (sandbox.engine().env(), format!("{}_data", sandbox.engine().env()));
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["down"]);
    fs::remove_dir_all(sandbox.state().join(env)).unwrap();
    let elsewhere = |line: &[&str]| sandbox.run_in(Path::new("/"), &[&["-p", env], line].concat());
    let said = elsewhere(&["purge", "--dry-run"]);
    assert!(said.code == 10 && said.out.contains(&volume) && has_volume(&sandbox, &volume), "{said:?}");
    assert_eq!(elsewhere(&["purge", "--yes"]).code, 0);
    assert!(!has_volume(&sandbox, &volume));
    assert_eq!(elsewhere(&["purge", "--yes"]).code, 5);
}

#[test]
fn a_volume_that_the_stack_names_is_no_nameless_one_whatever_it_is_called() {
    let name = format!("{:064x}", std::process::id());
    let stack = format!(
        "services: {{db: {{image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s, volumes: ['found:/data']}}}}\n\
         volumes: {{found: {{external: true, name: '{name}'}}}}\n"
    );
    let Some(sandbox) = Sandbox::with_engine("found", &stack) else { return };
    let made = VolumeCreateRequest { name: Some(name.clone()), ..Default::default() };
    sandbox.engine().ask(async |api| api.create_volume(made).await.unwrap());
    for line in [&["down", "-v"][..], &["purge", "--yes"]] {
        sandbox.ok(&["up", "-d"]);
        let said = sandbox.run(line);
        assert!(said.code == 0 && !said.out.contains(&name) && has_volume(&sandbox, &name), "{line:?}: {said:?}");
    }
    sandbox.engine().ask(async |api| api.remove_volume(&name, None::<options::RemoveVolumeOptions>).await.unwrap());
}

#[test]
fn of_what_services_made_the_containers_go_with_a_list_and_their_volumes_stay_with_the_data() {
    let stack = "owns: [{containers: {label: 'own=${ENVID}'}}]\nprocesses: {agent: {command: exec sleep 1000}}\n";
    let Some(sandbox) = Sandbox::with_engine("owned", stack) else { return };
    let (env, image, name) = (sandbox.engine().env(), sandbox.engine().image(), sandbox.engine().container("kernel"));
    let start_kernel = || {
        let data = Mount { typ: Some(MountType::VOLUME), target: Some("/data".to_owned()), ..Default::default() };
        let body = ContainerCreateBody {
            image: Some(image.clone()),
            cmd: Some(["sleep", "1000"].map(str::to_owned).to_vec()),
            labels: Some([("own".to_owned(), env.to_owned())].into()),
            host_config: Some(HostConfig { init: Some(true), mounts: Some(vec![data]), ..Default::default() }),
            ..Default::default()
        };
        let named = options::CreateContainerOptionsBuilder::default().name(&name).build();
        sandbox.engine().ask(async |api| {
            api.create_container(Some(named), body).await.unwrap();
            api.start_container(&name, None::<options::StartContainerOptions>).await.unwrap();
        });
        volume_of(&sandbox, "kernel")
    };
    sandbox.ok(&["up", "-d", "--wait"]);
    let first = start_kernel();
    let said = sandbox.run(&["purge", "--yes", "--keep-data"]);
    assert!(said.code == 0 && said.out.contains(&format!("container {name}")), "{said:?}");
    assert!(said.err.contains(&format!("the volume {first} stays: {name} had it at /data")), "{said:?}");
    assert!(sandbox.engine().state("kernel").is_none() && has_volume(&sandbox, &first));

    sandbox.ok(&["up", "-d", "--wait"]);
    let second = start_kernel();
    sandbox.ok(&["down"]);
    assert!(sandbox.engine().state("kernel").is_none() && has_volume(&sandbox, &second), "a plain `down` keeps data");
    let said = sandbox.run(&["purge", "--yes"]);
    assert!(said.code == 0 && [&first, &second].iter().all(|volume| said.out.contains(*volume)), "{said:?}");
    assert!([&first, &second].iter().all(|volume| !has_volume(&sandbox, volume)));
}

#[test]
fn an_up_ends_a_purge_that_was_interrupted() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a]}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    let (held, begun) = (sandbox.path("tmp/a/held"), sandbox.state().join("demo/purging.json"));
    fs::create_dir(&held).unwrap();
    let Some(said) = sandbox.purge_all_but(&held) else { return };
    assert!(said.code == 1 && begun.exists(), "{said:?}");
    sandbox.ok(&["up", "-d", "--wait"]);
    assert!(!begun.exists(), "nothing of it is confirmed any more");
    // It is what the environment has made, as before.
    let said = sandbox.run(&["purge", "--dry-run"]);
    assert!(said.out.contains("tmp/a ("), "{said:?}");
    // Also where the stack's directory is another by then.
    let Some(said) = sandbox.purge_all_but(&held) else { return };
    assert!(said.code == 1 && begun.exists(), "{said:?}");
    let moved = sandbox.root().join("moved");
    fs::rename(sandbox.path(""), &moved).unwrap();
    assert_eq!(sandbox.run_in(&moved, &["up", "-d", "--wait"]).code, 0);
    assert!(!begun.exists());
    assert_eq!(sandbox.run_in(&moved, &["down", "-v"]).code, 0);
    assert!(!moved.join("tmp/a").exists());
    fs::rename(&moved, sandbox.path("")).unwrap();
}

#[test]
fn a_broken_record_is_named_and_takes_no_command_down() {
    let stack = "ports: {P: 18871}\ngenerate: {S: {hex: 8}}\n\
                 processes: {a: {command: 'exec sleep 1000', environment: {KEY: '${S}'}, scratch: ['${ENV_DIR}/b']}}\n";
    for record in ["stack.json", "directory.json", "ports.json", "values.json", "snapshot.json"] {
        let sandbox = Sandbox::new(&format!("name: demo\n{stack}"));
        let other = sandbox.root().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("stack.yaml"), format!("name: other\n{}", stack.replace("18871", "18872"))).unwrap();
        sandbox.ok(&["up", "-d", "--wait"]);
        assert_eq!(sandbox.run_in(&other, &["up", "-d", "--wait"]).code, 0);
        let pids = sandbox.leaders();
        let broken = sandbox.state().join("demo").join(record);
        let is_named = |text: &str| text.contains(&broken.display().to_string());
        // The supervisor writes its own anew.
        let break_it = || fs::write(&broken, "{").unwrap();
        break_it();

        let said = sandbox.run(&["ls", "--all"]);
        assert!(said.code == 0 && ["demo", "other"].iter().all(|name| said.out.contains(name)), "{record}: {said:?}");
        // It reads no more than it shows.
        let is_shown = !["directory.json", "values.json"].contains(&record);
        assert!(!is_shown || is_named(&said.err), "{record}: {said:?}");
        for directory in [&other, &sandbox.path("")] {
            let said = sandbox.run_in(directory, &["doctor"]);
            assert!(is_named(&said.out) && said.out.contains("clock") | said.out.contains("state"), "{record}: {said:?}");
        }
        let lost = match record {
            "values.json" => Some("generates new values"),
            "ports.json" => Some("finds new numbers"),
            _ => None,
        };
        for line in [&["ps"][..], &["up", "-d"], &["doctor"]] {
            let Some(lost) = lost else { break };
            let said = sandbox.run(line);
            let told = format!("{}{}", said.out, said.err);
            let remedy = format!("rm '{}'; the next `up` {lost}", broken.display());
            let is_told = is_named(&told) && told.contains("line 1 column 1") && told.contains(&remedy);
            assert!(is_told || record == "ports.json" && line == ["ps"], "{record}: {line:?}: {said:?}");
        }
        // Another environment's is nobody's hindrance.
        let said = sandbox.run_in(&other, &["doctor"]);
        assert!(said.out.contains("named ports"), "{record}: {said:?}");
        for line in [&["up", "-d"][..], &["down"], &["purge", "--yes"]] {
            let said = sandbox.run_in(&other, line);
            assert_eq!(said.code, 0, "{record}: {line:?}: {said:?}");
        }
        break_it();
        let said = sandbox.run_in(Path::new("/"), &["-p", "demo", "down"]);
        assert!(said.code == 0 && pids.iter().all(|pid| !is_alive(*pid)), "{record}: {said:?}");
        break_it();
        let said = sandbox.run(&["purge", "--yes"]);
        assert!(
            said.code == 0 && (["ports.json", "snapshot.json"].contains(&record) || is_named(&said.err)),
            "{record}: {said:?}"
        );
        assert!(!sandbox.state().join("demo").exists() && !sandbox.path(".baistack/demo").exists(), "{record}: {said:?}");
    }
}

#[test]
fn what_git_ignores_is_listed_before_it_goes() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a]}}\n");
    sandbox.ok(&["up", "-d"]);
    let tree = sandbox.path("tmp/a/checkout");
    fs::create_dir_all(&tree).unwrap();
    assert!(Command::new("git").arg("-C").arg(&tree).args(["init", "-q"]).status().unwrap().success());
    fs::write(tree.join(".gitignore"), ".env\n").unwrap();
    fs::write(tree.join(".env"), "the only copy").unwrap();
    let said = sandbox.run(&["purge", "--dry-run"]);
    let told = format!("{}: .env", tree.display());
    assert!(said.out.contains("ignored by git, among these:") && said.out.contains(&told), "{said:?}");
    let said = sandbox.run(&["down", "-v", "--dry-run"]);
    assert!(said.err.contains(&format!("git ignores, and it would go: {told}")), "{said:?}");
    assert!(tree.join(".env").exists());
}

#[test]
fn a_no_is_answered_with_what_comes_of_it() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    for (line, question) in [(&["purge"][..], "for good? [y/N]"), (&["rm"], "[y/N]")] {
        let mut terminal = sandbox.begin_on_terminal(line);
        terminal.wait_for(question);
        terminal.type_until_it_ends("n\n");
        assert!(terminal.end().contains("nothing was removed"), "{line:?}");
    }
    assert_eq!(sandbox.leaders().len(), 1);
}

#[test]
fn a_closed_directory_is_looked_into_through_a_container_also_when_the_environments_own_are_gone() {
    let stack = "services: {a: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s}}\n\
                 processes: {p: {command: exec sleep 1000, scratch: [scratch]}}\n";
    for holds_repository in [true, false] {
        let Some(somebody) = Somebody::with_engine("closed", stack) else { return };
        let sandbox = &somebody.sandbox;
        assert!(somebody.run(&["up", "-d"]).0);
        let left = somebody.root_leaves("scratch");
        let repository = left.join("deep/checkout");
        if holds_repository {
            fs::create_dir_all(repository.join(".git")).unwrap();
        }
        let said = somebody.run(&["down"]);
        assert!(said.0 && sandbox.engine().containers().is_empty(), "{said:?}");
        if holds_repository {
            for line in [&["purge", "--yes"][..], &["down", "-v"]] {
                let (success, out, err) = somebody.run(line);
                let told = format!("`{}` is a repository that only root can judge", repository.display());
                assert!(!success && err.contains(&told) && repository.exists(), "{line:?}: {out}{err}");
            }
            let (success, out, err) = somebody.run(&["purge", "--yes", "--keep-source"]);
            assert!(success && repository.exists(), "{out}{err}");
        } else {
            let (success, out, err) = somebody.run(&["purge", "--yes"]);
            assert!(success && !sandbox.path("scratch").exists(), "{out}{err}");
        }
        assert_eq!(sandbox.engine().containers(), Vec::<String>::new());
    }
}

#[test]
fn processes_whose_state_is_gone_are_known_and_ended() {
    for (line, keeps_parent) in [(&["down"][..], true), (&["purge", "--yes"], true), (&["purge", "--yes"], false)] {
        let sandbox = Sandbox::new(
            "name: demo\nprocesses: {a: {command: exec sleep 1000, restart: always}, b: {command: exec sleep 1000}}\n",
        );
        sandbox.ok(&["up", "-d", "--wait"]);
        let (pids, supervisor) = (sandbox.leaders(), sandbox.supervisor());
        let gone = if keeps_parent { sandbox.state().join("demo") } else { sandbox.state() };
        fs::remove_dir_all(&gone).unwrap();
        let elsewhere = Path::new("/");
        let told = "`baistack down -p demo` ends them";
        for looks in [&["ls"][..], &["-p", "demo", "ps"]] {
            let said = sandbox.run_in(elsewhere, looks);
            assert!(said.code == 0 && said.err.contains("the state of `demo` is gone") && said.err.contains(told), "{said:?}");
        }
        assert!(sandbox.run_in(elsewhere, &["ls"]).out.contains("demo"), "it runs");
        let said = sandbox.run_in(elsewhere, &["doctor"]);
        assert!(said.out.contains("processes of `demo` run, and its state is gone"), "{said:?}");
        assert!(said.out.contains("baistack down -p demo"), "{said:?}");
        let said = sandbox.run_in(elsewhere, &["-p", "demo", "purge", "--dry-run"]);
        let lists = |pid: &i32| said.out.contains(&format!("    {pid} ("));
        assert!(said.code == 10 && pids.iter().chain([&supervisor]).all(lists), "{said:?}");
        assert!(pids.iter().all(|pid| is_alive(*pid)), "whoever looks ends nothing");
        let said = sandbox.run_in(elsewhere, &[&["-p", "demo"], line].concat());
        assert_eq!(said.code, 0, "{line:?}: {said:?}");
        assert!(!is_alive(supervisor) && pids.iter().all(|pid| !is_alive(*pid)), "{line:?}: {said:?}");
        assert!(!sandbox.run_in(elsewhere, &["ls"]).out.contains("demo"));
    }
}

#[test]
fn what_another_engine_holds_is_named_and_not_forgotten() {
    let stack = "services: {db: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s, volumes: ['data:/data']}}\n\
                 volumes: {data: {}}\n";
    let Some(mut sandbox) = Sandbox::with_engine("moved", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    let (env, container) = (sandbox.engine().env().to_owned(), sandbox.engine().container("db-1"));
    let other = format!("unix://{}", sandbox.root().join("other.sock").display());
    empty_engine(&sandbox.root().join("other.sock"), ("20.10.0", "1.41"), "{}");
    sandbox.variable("DOCKER_HOST", Some(&other));
    for line in [&["purge", "--yes"][..], &["purge", "--yes", "--keep-data"], &["down"], &["down", "-v"]] {
        let said = sandbox.run(line);
        assert!(said.code == 1 && said.err.contains(&format!("holds the container {container}")), "{line:?}: {said:?}");
        assert!(said.err.contains(&format!("the one that is asked is at {other}: nothing was done")), "{line:?}: {said:?}");
        assert!(said.err.contains("DOCKER_HOST=") && said.err.contains(&format!("-p {env}")), "{line:?}: {said:?}");
        assert!(sandbox.engine().is_running("db-1") && sandbox.state().join(&env).exists(), "{line:?}");
    }
    // Where both hold something, or held it, what is left is said at the end.
    let engines = sandbox.state().join(&env).join("engines.json");
    let mut recorded: Vec<String> = serde_json::from_str(&fs::read_to_string(&engines).unwrap()).unwrap();
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    recorded.push(other.clone());
    fs::write(&engines, serde_json::to_string(&recorded).unwrap()).unwrap();
    let said = sandbox.run(&["purge", "--yes"]);
    assert!(said.code == 1 && said.err.contains(&format!("baistack purge -p {env}` removes that")), "{said:?}");
    assert!(sandbox.engine().is_running("db-1") && sandbox.state().join(&env).exists());
    sandbox.variable("DOCKER_HOST", std::env::var("DOCKER_HOST").ok().as_deref());
    sandbox.ok(&["-p", &env, "purge", "--yes"]);
    assert!(sandbox.engine().containers().is_empty() && !sandbox.state().join(&env).exists());
}

#[test]
fn what_another_engine_holds_is_told_at_the_end_of_a_down_under_a_living_supervisor() {
    let stack = "services: {db: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s}}\n\
                 processes: {a: {command: exec sleep 1000}}\n";
    let Some(mut sandbox) = Sandbox::with_engine("beside", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["stop", "a"]);
    sandbox.wait_until_unattended();
    let other = sandbox.root().join("other.sock");
    empty_engine(&other, ("20.10.0", "1.41"), "{}");
    sandbox.variable("DOCKER_HOST", Some(&format!("unix://{}", other.display())));
    sandbox.ok(&["up", "-d", "a"]);
    let said = sandbox.run(&["down"]);
    assert!(
        said.code == 0 && said.err.contains(&format!("holds the container {}", sandbox.engine().container("db-1"))),
        "{said:?}"
    );
    assert!(said.err.contains("ends that as well") && sandbox.engine().is_running("db-1"), "{said:?}");
    sandbox.variable("DOCKER_HOST", std::env::var("DOCKER_HOST").ok().as_deref());
    sandbox.ok(&["down"]);
    assert!(sandbox.engine().containers().is_empty());
}

#[test]
fn engines_are_asked_at_the_same_time() {
    let mut sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["down"]);
    // Each answers once both have been asked; who is asked alone is not waited for so long.
    let both = Arc::new(Barrier::new(2));
    let mut sockets = Vec::new();
    for name in ["one.sock", "two.sock"] {
        let path = sandbox.root().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        sockets.push(format!("unix://{}", path.display()));
        let both = both.clone();
        thread::spawn(move || {
            let mut asked = listener.accept().unwrap().0;
            both.wait();
            loop {
                let told = r#"{"message": "not alone"}"#;
                let _ = asked.read(&mut [0; 4096]);
                let _ = write!(asked, "HTTP/1.1 500 No\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{told}", told.len());
                asked = listener.accept().unwrap().0;
            }
        });
    }
    fs::write(sandbox.env_dir().join("engines.json"), serde_json::to_string(&sockets).unwrap()).unwrap();
    let here = sandbox.root().join("here.sock");
    empty_engine(&here, ("20.10.0", "1.41"), "{}");
    sandbox.variable("DOCKER_HOST", Some(&format!("unix://{}", here.display())));
    let said = sandbox.run(&["down"]);
    for socket in sockets {
        let told = said.err.lines().find(|line| line.contains(&socket));
        assert!(told.is_some_and(|line| line.contains("not alone")), "{said:?}");
    }
}

#[test]
fn an_engine_that_holds_nothing_any_more_stands_in_nobodys_way() {
    let stack = "services: {db: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s}}\n";
    let Some(mut sandbox) = Sandbox::with_engine("settled", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    let env = sandbox.engine().env().to_owned();
    let engines = sandbox.state().join(&env).join("engines.json");
    assert!(engines.exists());
    sandbox.ok(&["down"]);
    assert!(!engines.exists(), "nothing is left there");
    // One that is gone is told, and nothing is up that it could be asked to end.
    fs::write(&engines, r#"["unix:///nonexistent/engine.sock"]"#).unwrap();
    let other = sandbox.root().join("other.sock");
    empty_engine(&other, ("20.10.0", "1.41"), "{}");
    sandbox.variable("DOCKER_HOST", Some(&format!("unix://{}", other.display())));
    let said = sandbox.run(&["down"]);
    assert!(said.code == 0 && said.err.contains("unix:///nonexistent/engine.sock may hold something of it"), "{said:?}");
    assert!(said.err.contains(&format!("`baistack purge --force -p {env}` forgets it")), "{said:?}");
    assert!(engines.exists(), "it may hold something still");
    sandbox.ok(&["purge", "--force", "--yes"]);
    assert!(!sandbox.state().join(&env).exists());
}

#[test]
fn what_volumes_another_engine_holds_is_not_forgotten_with_those_of_this_one() {
    let Some(mut sandbox) = Sandbox::with_engine("apartvolumes", NAMELESS) else { return };
    sandbox.ok(&["up", "-d"]);
    let (env, volume) = (sandbox.engine().env().to_owned(), volume_of(&sandbox, "db-1"));
    sandbox.ok(&["down"]);
    let state = sandbox.state().join(&env);
    let (engines, volumes) = (state.join("engines.json"), state.join("volumes.json"));
    assert!(engines.exists(), "a volume stays there");
    // As if something had been made on both.
    let other = sandbox.root().join("other.sock");
    empty_engine(&other, ("20.10.0", "1.41"), "{}");
    let other = format!("unix://{}", other.display());
    let mut recorded: Vec<String> = serde_json::from_str(&fs::read_to_string(&engines).unwrap()).unwrap();
    recorded.push(other.clone());
    fs::write(&engines, serde_json::to_string(&recorded).unwrap()).unwrap();
    sandbox.variable("DOCKER_HOST", Some(&other));
    sandbox.ok(&["down", "-v"]);
    assert!(fs::read_to_string(&volumes).unwrap().contains(&volume), "it is on the first one");
    let said = sandbox.run(&["purge", "--yes"]);
    assert!(said.code == 1 && said.err.contains(&format!("the volume {volume}")), "{said:?}");
    sandbox.variable("DOCKER_HOST", std::env::var("DOCKER_HOST").ok().as_deref());
    sandbox.ok(&["down", "-v"]);
    assert!(!has_volume(&sandbox, &volume) && !volumes.exists() && !engines.exists());
}
