//! What would go, or be broken, though nobody sees it: pieces of a repository that stays, what a closed directory may hold, what
//! another environment of the same directory uses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::sandbox::{NOBODY, Sandbox, is_alive, own_address, until};

fn git(directory: &Path, words: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]);
    let said = command.args(words).env("HOME", directory).output().unwrap();
    assert!(said.status.success(), "{words:?}: {said:?}");
}

/// Makes a repository of all that is in a directory of the stack.
fn commit_all(sandbox: &Sandbox, directory: &str) {
    let directory = sandbox.path(directory);
    for words in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "all"]] {
        git(&directory, words);
    }
}

#[test]
fn pieces_of_a_repository_are_judged_with_the_repository_that_they_lie_in() {
    let stack = "name: demo\nowns: [{paths: 'checkout/s*'}, {paths: notes.txt}, {paths: 'made/*'}]\n\
                 processes: {a: {command: exec sleep 1000}}\n";
    let sandbox = Sandbox::new(stack);
    sandbox.write("checkout/src/code", "1");
    commit_all(&sandbox, "checkout");
    sandbox.write(".gitignore", "checkout\n");
    sandbox.write("notes.txt", "first");
    sandbox.write("made/tracked", "");
    commit_all(&sandbox, "");
    sandbox.ok(&["up", "-d", "--wait"]);
    let pids = sandbox.leaders();
    let refused = |why: &str| {
        for line in [&["down", "-v"][..], &["purge", "--yes"]] {
            let said = sandbox.run(line);
            assert!(said.code == 1 && said.err.contains(why), "{line:?}: {why}: {said:?}");
            assert!(pids.iter().all(|pid| is_alive(*pid)) && sandbox.path("notes.txt").exists(), "{line:?}: nothing was done");
        }
    };
    // In a repository beside it all that is not ignored may be work.
    sandbox.write("checkout/src/code", "hours of it");
    refused("1 file is not committed: M src/code");
    git(&sandbox.path("checkout"), &["commit", "-q", "-a", "-m", "kept, though nowhere else: the history stays"]);
    sandbox.write("checkout/src/new", "hours of it");
    refused("1 file is not committed: ?? src/new");
    fs::remove_file(sandbox.path("checkout/src/new")).unwrap();
    // In the stack's own, what is tracked.
    sandbox.write("made/data", "what the services wrote");
    sandbox.write("notes.txt", "hours of it");
    refused("1 file is not committed: M notes.txt");
    sandbox.write("checkout/src/new", "hours of it");
    let said = sandbox.run(&["purge", "--yes", "--keep-source"]);
    assert!(said.code == 0 && said.out.contains("but not the sources:"), "{said:?}");
    for source in ["checkout/src/code", "checkout/src/new", "notes.txt", "made/tracked"] {
        assert!(sandbox.path(source).exists(), "{source}: {said:?}");
    }
    assert!(!sandbox.path("made/data").exists() && !sandbox.state().join("demo").exists());
}

#[test]
fn a_closed_directory_is_in_the_way_only_of_what_it_may_hold() {
    let Some(sandbox) = Sandbox::of_ordinary_user(
        "name: demo\nowns: [{paths: 'scratch/kernel-*/data'}]\nprocesses: {a: {command: exec sleep 1000}}\n",
    ) else {
        return;
    };
    for directory in ["scratch/kernel-1/data", "scratch/kernel-2/data", "scratch/other"] {
        fs::create_dir_all(sandbox.path(directory)).unwrap();
    }
    sandbox.give_away();
    let close = |directory: &str, mode| {
        fs::set_permissions(sandbox.path(directory), fs::Permissions::from_mode(mode)).unwrap();
    };
    close("scratch/other", 0);
    close("scratch/kernel-2", 0);
    sandbox.ok(&["up", "-d", "--wait"]);
    let pids = sandbox.leaders();
    for line in [&["down", "-v"][..], &["purge", "--yes"]] {
        let said = sandbox.run(line);
        let told = format!("`{}` is not removed: ", sandbox.path("scratch/kernel-2").display());
        let remedy = format!("sudo rm -rf '{}'", sandbox.path("scratch/kernel-2").display());
        assert!(said.code == 1 && said.err.contains(&told) && said.err.contains(&remedy), "{line:?}: {said:?}");
        assert!(!said.err.contains("scratch/other"), "{line:?}: {said:?}");
        assert!(pids.iter().all(|pid| is_alive(*pid)) && sandbox.path("scratch/kernel-1/data").exists(), "{line:?}");
    }
    close("scratch/kernel-2", 0o755);
    sandbox.ok(&["purge", "--yes"]);
    close("scratch/other", 0o755);
    assert!(!sandbox.path("scratch/kernel-1/data").exists() && sandbox.path("scratch/other").exists());
}

#[test]
fn what_another_environment_of_the_directory_has_its_data_in_stays_with_that() {
    let sandbox = Sandbox::new("owns: [{paths: 'kernel-*'}]\nprocesses: {a: {command: exec sleep 1000, scratch: [scratches]}}\n");
    sandbox.ok(&["-p", "one", "up", "-d", "--wait"]);
    sandbox.ok(&["-p", "two", "up", "-d", "--wait"]);
    sandbox.write("scratches/thesis", "years of it");
    sandbox.write("kernel-1/thesis", "years of it");
    for line in [&["-p", "one", "purge", "--yes", "--force"][..], &["-p", "one", "down", "-v", "--force"]] {
        let said = sandbox.run(line);
        for told in
            ["scratches` is scratch of the environment `two` too", "kernel-1` is owned by the environment `two` too, which is up"]
        {
            assert!(said.code == 1 && said.err.contains(told), "{line:?}: {told}: {said:?}");
        }
        assert!(sandbox.path("scratches/thesis").exists() && sandbox.path("kernel-1/thesis").exists(), "{line:?}");
        assert!(!sandbox.ok(&["-p", "one", "ps", "-q"]).is_empty(), "{line:?}: nothing was stopped");
    }
    // What is down has no use for what its services owned; the scratch was made for the first.
    sandbox.ok(&["-p", "one", "down"]);
    sandbox.ok(&["-p", "two", "purge", "--yes"]);
    assert!(sandbox.path("scratches/thesis").exists() && !sandbox.path("kernel-1").exists());
    sandbox.ok(&["-p", "one", "purge", "--yes"]);
    assert!(!sandbox.path("scratches").exists());
}

#[test]
fn only_an_up_that_begins_puts_the_numbers_of_its_caller_in_force() {
    let stack = "name: demo\nports: {WEB: 18991}\nprocesses:\n  a: {command: exec sleep 1000}\n  b: {command: exec sleep 1000, ports: ['${HELD:-18993}']}\n";
    let mut sandbox = Sandbox::new(stack);
    sandbox.variable("WEB", Some("18992"));
    sandbox.ok(&["up", "-d", "--wait"]);
    let (address, held) = own_address();
    let _listener = std::net::TcpListener::bind((address.as_str(), held)).unwrap();
    let in_force = |sandbox: &Sandbox| {
        let said = sandbox.run_in(Path::new("/"), &["-p", "demo", "port", "--format", "json"]);
        serde_json::from_str::<serde_json::Value>(&said.out).unwrap()["WEB"].as_str().unwrap().to_owned()
    };
    for other in [None, Some("18994")] {
        sandbox.variable("WEB", other);
        for line in [&["run", "--rm", "a", "true"][..], &["scale", "a=1"], &["create"], &["build"]] {
            let said = sandbox.run(line);
            assert_eq!(said.code, 0, "{line:?}: {said:?}");
            assert_eq!(in_force(&sandbox), "18992", "{line:?}");
        }
        sandbox.variable("HELD", Some(&held.to_string()));
        assert_ne!(sandbox.run(&["up", "-d"]).code, 0);
        assert_eq!(in_force(&sandbox), "18992", "an `up` that was refused");
        sandbox.variable("HELD", None);
    }
    sandbox.ok(&["up", "-d"]);
    assert_eq!(in_force(&sandbox), "18994");
}

#[test]
fn a_command_beside_what_is_stopped_is_nobodys_leftover() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["stop"]);
    sandbox.wait_until_unattended();
    let command = sandbox.begin(&["exec", "-T", "a", "sh", "-c", "echo $$ > pid; exec sleep 1000"]);
    let pid = sandbox.pid("pid");
    let said = sandbox.run(&["doctor", "--fix"]);
    assert!(said.out.contains("nothing is left of any") && is_alive(pid), "{said:?}");
    drop(command);
}

#[test]
fn a_stack_elsewhere_whose_copy_is_gone_is_no_dead_environment() {
    let mut sandbox = Sandbox::new("");
    let work = sandbox.root().join("app.git");
    fs::create_dir(&work).unwrap();
    fs::write(work.join("stack.yaml"), "name: far\nprocesses: {a: {command: exec sleep 1000}}\n").unwrap();
    for words in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "all"]] {
        git(&work, words);
    }
    let place = format!("url.file://{}/.insteadOf", sandbox.root().display());
    for (name, value) in
        [("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", place.as_str()), ("GIT_CONFIG_VALUE_0", "https://git.invalid/")]
    {
        sandbox.variable(name, Some(value));
    }
    let file = "https://git.invalid/app.git#main";
    sandbox.ok(&["-f", file, "up", "-d", "--yes"]);
    fs::rename(sandbox.root().join("home/.cache"), sandbox.root().join("home/.gone")).unwrap();
    let said = sandbox.run_in(Path::new("/"), &["doctor"]);
    assert!(said.out.contains("nothing is left of any") && !said.out.contains("purge -p far"), "{said:?}");
    sandbox.ok(&["-p", "far", "down"]);
}

#[test]
fn a_held_number_that_the_caller_has_set_is_told_once_with_where_it_was_set() {
    let (address, held) = own_address();
    let _listener = std::net::TcpListener::bind((address.as_str(), held)).unwrap();
    let mut sandbox = Sandbox::new("ports: {NP: 18995}\nprocesses: {a: {command: exec sleep 1000, ports: ['${NP}']}}\n");
    let told = |sandbox: &Sandbox| {
        let said = sandbox.run(&["doctor", "--format", "json"]);
        let all: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
        let is_about = |found: &str| found.contains(&format!("{held} of `NP`")) || found.contains(&format!("port {held}"));
        let about: Vec<_> = all.into_iter().filter(|line| is_about(line["found"].as_str().unwrap())).collect();
        let [line] = <[serde_json::Value; 1]>::try_from(about).unwrap_or_else(|about| panic!("{about:?}"));
        ["name", "verdict", "remedy"].map(|key| line[key].as_str().unwrap().to_owned())
    };
    sandbox.write(".env", &format!("NP={held}\n"));
    let [name, verdict, remedy] = told(&sandbox);
    assert_eq!((name.as_str(), verdict.as_str()), ("named ports", "failed"));
    assert!(remedy.starts_with("take NP out of `.env`"), "{remedy}");
    // What no service asks for may be a server that the caller means.
    sandbox.write("stack.yaml", "ports: {NP: 18995}\nprocesses: {a: {command: 'exec sleep 1000; : ${NP}'}}\n");
    fs::remove_file(sandbox.path(".env")).unwrap();
    sandbox.variable("NP", Some(&held.to_string()));
    let [name, verdict, remedy] = told(&sandbox);
    assert_eq!((name.as_str(), verdict.as_str()), ("named ports", "warning"));
    assert!(remedy.starts_with("unset NP"), "{remedy}");
}

#[test]
fn init_writes_through_no_link_and_all_or_nothing() {
    let sandbox = Sandbox::new("");
    let elsewhere = sandbox.root().join("home/elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(elsewhere.join("thesis"), "years of it").unwrap();
    sandbox.ok(&["init", "backend.ai", "new"]);
    for (name, link) in [("thesis", "new/README.md"), ("", "new/config")] {
        let place = sandbox.path(link);
        if place.is_dir() { fs::remove_dir_all(&place) } else { fs::remove_file(&place) }.unwrap();
        std::os::unix::fs::symlink(elsewhere.join(name), place).unwrap();
    }
    fs::write(sandbox.path("new/stack.yaml"), "mine").unwrap();
    let untouched = || {
        assert_eq!(fs::read_to_string(elsewhere.join("thesis")).unwrap(), "years of it");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    };
    let said = sandbox.run(&["init", "backend.ai", "new", "--force"]);
    assert!(said.code == 1 && said.err.contains("a link on the way leads out of"), "{said:?}");
    untouched();
    fs::remove_file(sandbox.path("new/config")).unwrap();
    fs::create_dir_all(sandbox.path("new/README.d")).unwrap();
    fs::remove_file(sandbox.path("new/README.md")).unwrap();
    fs::rename(sandbox.path("new/README.d"), sandbox.path("new/README.md")).unwrap();
    let said = sandbox.run(&["init", "backend.ai", "new", "--force"]);
    assert!(said.code == 1 && said.err.contains("README.md`: a directory is there"), "{said:?}");
    assert_eq!(fs::read_to_string(sandbox.path("new/stack.yaml")).unwrap(), "mine");
    assert!(!sandbox.path("new/config").exists(), "nothing was made for it");
    fs::remove_dir(sandbox.path("new/README.md")).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("thesis"), sandbox.path("new/README.md")).unwrap();
    sandbox.ok(&["init", "backend.ai", "new", "--force"]);
    untouched();
    assert!(sandbox.path("new/README.md").symlink_metadata().unwrap().is_file());
    assert_ne!(fs::read_to_string(sandbox.path("new/stack.yaml")).unwrap(), "mine");
}

/// A shell that waits until it is let go.
const SLOW: &str = "#!/bin/busybox sh\nwhile [ ! -e /host/go ]; do /bin/busybox sleep 0.05; done\n";

#[test]
fn of_a_removal_through_a_container_that_is_broken_off_nothing_stays_with_the_engine() {
    let stack = "services: {a: {build: slow, command: [/bin/busybox, sleep, '1000'], init: true, stop_grace_period: 0s}}\n\
                 owns: [{paths: 'made/*'}]\n";
    let Some(sandbox) = Sandbox::with_engine("broken-off", stack) else { return };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: the test needs root, to become somebody who may use the engine and not remove a file");
        return;
    }
    sandbox.program("slow/sh", SLOW);
    sandbox.write("slow/Dockerfile", &format!("FROM {}\nCOPY sh /slow/sh\nENV PATH=/slow:/bin\n", sandbox.engine().image()));
    fs::create_dir_all(sandbox.path("made/by-root/deep")).unwrap();
    fs::write(sandbox.path("made/by-root/deep/file"), "").unwrap();
    let mut given = vec![sandbox.root().to_owned()];
    while let Some(path) = given.pop() {
        std::os::unix::fs::lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() && !path.ends_with("by-root") {
            given.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    let socket = fs::metadata("/var/run/docker.sock").map(|there| std::os::unix::fs::MetadataExt::gid(&there)).unwrap();
    let command = |line: &[&str]| {
        let inner = sandbox.command(line, &sandbox.path(""));
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), &format!("--groups={socket}"), "--"]);
        command.arg(inner.get_program()).args(inner.get_args()).current_dir(sandbox.path("")).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    };
    assert!(command(&["up", "-d"]).output().unwrap().status.success());
    let purge = command(&["purge", "--yes"]).spawn().unwrap();
    let remover = || sandbox.engine().containers().into_iter().find(|name| name.starts_with("purge-"));
    until("a container is removing it", || remover().is_some_and(|name| sandbox.engine().is_running(&name)));
    crate::support::sandbox::kill(i32::try_from(purge.id()).unwrap(), Signal::SIGINT);
    purge.wait_with_output().unwrap();
    fs::write(sandbox.path("made/go"), "").unwrap();
    until("it is gone by itself", || remover().is_none());
    // One that was killed before it could start it: the next finds it.
    let image = sandbox.engine().image();
    let env = sandbox.engine().env().to_owned();
    let labels = [("com.docker.compose.project", env.as_str()), ("baistack.removes", "made")];
    let body = bollard::models::ContainerCreateBody {
        image: Some(image),
        cmd: Some(vec!["true".to_owned()]),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        ..Default::default()
    };
    let name = bollard::query_parameters::CreateContainerOptionsBuilder::default().name(&format!("{env}-purge-left")).build();
    sandbox.engine().ask(async |api| api.create_container(Some(name), body).await).unwrap();
    let said = command(&["purge", "--yes"]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(out.contains(&format!("{env}-purge-left (created)")), "{out}{err}");
    assert_eq!(sandbox.engine().containers(), Vec::<String>::new(), "{out}{err}");
}
