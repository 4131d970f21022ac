//! Whose things are whose: which environment a command acts on, and what of one is removed, kept, reserved and shown.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fake_engine::empty_engine;
use crate::support::sandbox::{NOBODY, Said, Sandbox, is_alive, own_address, until};

const SLEEPER: &str = "processes: {a: {command: exec sleep 1000}}\n";

#[test]
fn a_command_in_another_directory_of_the_same_name_does_nothing_to_the_environment() {
    let sandbox = Sandbox::new(SLEEPER);
    sandbox.ok(&["-p", "stack", "up", "-d"]);
    let other = sandbox.root().join("other/stack");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("stack.yaml"), SLEEPER).unwrap();
    let pids: Vec<i32> = sandbox.leaders();
    for line in [&["down", "-v"][..], &["stop"], &["kill"], &["purge", "--yes"], &["exec", "a", "true"], &["restart"], &["ps"]] {
        let said = sandbox.run_in(&other, line);
        assert!(said.code == 1 && said.err.contains("choose another name with `-p NAME`"), "{line:?}: {said:?}");
        assert!(said.err.contains("`baistack purge -p stack`"), "{line:?}: {said:?}");
    }
    assert!(pids.len() == 1 && is_alive(pids[0]), "nothing was touched");
    // What was started from a file that has lost its name is meant all the same.
    fs::write(other.join("stack.yaml"), format!("name: demo\n{SLEEPER}")).unwrap();
    assert_eq!(sandbox.run_in(&other, &["up", "-d"]).code, 0);
    fs::write(other.join("stack.yaml"), SLEEPER).unwrap();
    let said = sandbox.run_in(&other, &["down"]);
    assert!(said.code == 0 && is_alive(pids[0]), "{said:?}");
    assert_eq!(sandbox.ok(&["-p", "demo", "ps", "-q"]), "");
}

#[test]
fn what_a_plain_down_has_left_goes_with_the_volumes_later() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a]}}\n");
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["down"]);
    assert!(sandbox.path("tmp/a").exists(), "a plain `down` keeps it");
    sandbox.ok(&["down", "-v"]);
    assert!(!sandbox.path("tmp/a").exists());
    sandbox.ok(&["up", "-d"]);
    assert!(sandbox.path("tmp/a").exists());
    sandbox.ok(&["down", "-v"]);
    assert!(!sandbox.path("tmp/a").exists());
}

/// How a command ends, and what it says, to which a directory is mounted at another place; none, said aloud, where nothing can be
/// mounted.
fn mounted(sandbox: &Sandbox, what: &Path, at: &Path, line: &[&str]) -> Option<(Option<i32>, String)> {
    let inner = sandbox.command(line, &sandbox.path(""));
    let mut command = Command::new("unshare");
    let script = format!("mount --bind '{}' '{}' || exit 77; exec \"$@\"", what.display(), at.display());
    command.args(["-m", "sh", "-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(sandbox.path("")).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let said = command.output().unwrap();
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    if said.status.code() == Some(77) || told.contains("unshare") {
        eprintln!("skipped: nothing can be mounted here");
        return None;
    }
    Some((said.status.code(), told))
}

#[test]
fn a_purge_goes_through_nothing_that_is_not_its_own_whatever_is_confirmed() {
    let stack = "name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: ['${ENV_DIR}/b', '${RUN_DIR}/c', tmp/a]}}\n";
    let sandbox = Sandbox::new(stack);
    sandbox.ok(&["up", "-d", "--wait"]);
    let (own, run_dir) = (sandbox.path(".baistack/demo"), sandbox.root().join("run/baistack/demo"));
    let mark = |directory: &Path| fs::read_to_string(directory.join(".baistack-owner")).unwrap_or_default();
    for directory in [&own, &run_dir, &sandbox.env_dir()] {
        assert_eq!(mark(directory), "demo\n", "{}", directory.display());
    }
    assert_eq!(fs::read_dir(sandbox.path("tmp/a")).unwrap().count(), 0, "a scratch directory may have to be empty");
    let pids = sandbox.leaders();
    let purge = ["purge", "--yes", "--force"];
    let refused = |why: &str| {
        let said = sandbox.run(&purge);
        assert!(said.code == 1 && said.err.contains(why), "{why}: {said:?}");
        assert!(pids.iter().all(|pid| is_alive(*pid)) && own.join("b").exists() && sandbox.path("tmp/a").exists(), "{why}");
    };

    // The home directory, mounted.
    fs::create_dir(own.join("b/mounted")).unwrap();
    let home = sandbox.root().join("home");
    fs::write(home.join("thesis"), "years of it").unwrap();
    if let Some((code, told)) = mounted(&sandbox, &home, &own.join("b/mounted"), &purge) {
        assert!(code == Some(1) && told.contains("is mounted: what would be removed there is elsewhere too"), "{told}");
        assert!(home.join("thesis").exists() && pids.iter().all(|pid| is_alive(*pid)));
    }

    // Directories of another environment, also of one that this state knows nothing of.
    for place in [own.join("b"), sandbox.path("tmp/a"), run_dir.join("c")] {
        let other = place.join("deep/copy");
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join(".baistack-owner"), "other\n").unwrap();
        refused(&format!("`{}` was made for the environment `other`", other.display()));
        fs::remove_dir_all(place.join("deep")).unwrap();
    }

    // What bears no mark, or that of another.
    fs::remove_file(own.join(".baistack-owner")).unwrap();
    let line = format!("echo demo > '{}/.baistack-owner'", own.display());
    refused(&format!("it bears no mark that it was made for demo; look at it and remove it yourself, or mark it: {line}"));
    fs::write(own.join(".baistack-owner"), "other\n").unwrap();
    refused("was made for the environment `other`");
    let remedy = Command::new("sh").args(["-c", &line]).status().unwrap();
    assert!(remedy.success());

    // A link is removed, and what it leads to stays.
    std::os::unix::fs::symlink(&home, own.join("b/link")).unwrap();
    sandbox.ok(&["purge", "--yes"]);
    assert!(!own.exists() && !run_dir.exists() && !sandbox.path("tmp/a").exists() && !sandbox.state().join("demo").exists());
    assert!(home.join("thesis").exists());
}

#[test]
fn a_purge_asks_on_a_terminal_and_takes_no_silence_for_a_yes() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a]}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    for answer in ["\n", "n\n", "what?\n"] {
        let mut terminal = sandbox.begin_on_terminal(&["purge"]);
        terminal.wait_for("Remove all of this for good? [y/N]");
        terminal.type_until_it_ends(answer);
        assert!(terminal.end().contains("tmp/a ("), "it is listed first");
        assert!(sandbox.leaders().len() == 1 && sandbox.path("tmp/a").exists(), "{answer:?}");
    }
    let mut terminal = sandbox.begin_on_terminal(&["purge"]);
    terminal.wait_for("Remove all of this for good? [y/N]");
    terminal.type_until_it_ends("y\n");
    assert!(terminal.end().contains("demo is gone"));
    assert!(!sandbox.path("tmp/a").exists() && !sandbox.state().join("demo").exists());
}

#[test]
fn what_is_data_is_kept_where_that_is_said_and_is_the_next_lifes() {
    let stack = "name: demo\nports: {P: 18941}\ngenerate: {S: {hex: 8}}\nowns: [{paths: 'made-*'}]\n\
                 processes: {a: {command: 'exec sleep 1000', environment: {KEY: '${S}'}, scratch: [tmp/a, '${ENV_DIR}/b']}}\n";
    let sandbox = Sandbox::new(stack);
    sandbox.ok(&["up", "-d", "--wait"]);
    let known = || ["port", "env"].map(|command| sandbox.ok(&[command, "--format", "json"]));
    let (before, kept) = (known(), ["tmp/a/data", ".baistack/demo/b/data", "made-1"]);
    kept.iter().for_each(|file| sandbox.write(file, "days of it"));
    let said = sandbox.run(&["purge", "--yes", "--keep-data"]);
    assert!(said.code == 0 && said.err.contains("demo is gone, but for its data"), "{said:?}");
    assert!(
        kept.iter().all(|file| !said.out.contains(file.rsplit_once('/').map_or(*file, |(directory, _)| directory))),
        "{said:?}"
    );
    let state = sandbox.state().join("demo");
    assert!(!state.join("logs").exists() && !state.join("snapshot.json").exists());
    assert!(kept.iter().all(|file| sandbox.path(file).exists()));
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(known(), before, "its numbers and values");
    sandbox.ok(&["purge", "--yes"]);
    assert!(kept.iter().all(|file| !sandbox.path(file).exists()) && !state.exists());
}

#[test]
fn a_run_dir_without_its_mark_stays_with_down_and_is_told() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: ['${RUN_DIR}/c']}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    let run_dir = sandbox.root().join("run/baistack/demo");
    fs::remove_file(run_dir.join(".baistack-owner")).unwrap();
    let said = sandbox.run(&["down"]);
    assert!(said.code == 0 && said.err.contains(&format!("`{}` stays", run_dir.display())), "{said:?}");
    assert!(run_dir.join("c").exists());
}

#[test]
fn what_is_mounted_in_a_scratch_directory_is_not_removed() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a]}}\n");
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["down"]);
    let kept = sandbox.root().join("home/thesis");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("chapter"), "years of it").unwrap();
    fs::create_dir(sandbox.path("tmp/a/mounted")).unwrap();
    let Some((code, told)) = mounted(&sandbox, &kept, &sandbox.path("tmp/a/mounted"), &["down", "-v"]) else { return };
    assert!(code == Some(1) && told.contains("is mounted: what would be removed there is elsewhere too"), "{told}");
    assert_eq!(fs::read_to_string(kept.join("chapter")).unwrap(), "years of it");
    // It stays on record: without the mount it goes.
    sandbox.ok(&["down", "-v"]);
    assert!(!sandbox.path("tmp/a").exists());
}

#[test]
fn switch_brings_up_what_was_taken_down() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["down"]);
    sandbox.write("other.yaml", "name: other\nprocesses: {b: {command: exec sleep 1000}}\n");
    sandbox.ok(&["-f", "other.yaml", "up", "-d"]);
    let running = |env: &str| sandbox.ok(&["-p", env, "ps", "--status", "running", "--services"]);
    sandbox.ok(&["-p", "other", "switch", "demo", "--wait"]);
    assert_eq!((running("other"), running("demo")), (String::new(), "a\n".to_owned()));
    assert!(sandbox.path("stack.yaml").exists());
}

#[test]
fn switch_stops_nothing_for_what_cannot_be_started_and_starts_again_what_it_has_stopped() {
    let (address, port) = own_address();
    let stack = "name: demo\nrequires: [{file: wanted}]\nprocesses: {a: {command: exec sleep 1000, ports: ['ADDRESS:PORT']}}\n";
    let sandbox = Sandbox::new(&stack.replace("ADDRESS", &address).replace("PORT", &port.to_string()));
    sandbox.write("wanted", "");
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["down"]);
    sandbox.write("other.yaml", "name: other\nprocesses: {b: {command: 'echo $$$$ >> lives; exec sleep 1000'}}\n");
    sandbox.ok(&["-f", "other.yaml", "up", "-d"]);
    until("it runs", || sandbox.lines("lives").len() == 1);
    // What can be told before: nothing is stopped for it.
    std::fs::remove_file(sandbox.path("wanted")).unwrap();
    let said = sandbox.run(&["-p", "other", "switch", "demo"]);
    assert!(said.code == 1 && said.err.contains("wanted` is missing") && !said.err.contains("stopping"), "{said:?}");
    assert!(is_alive(sandbox.lines("lives")[0].parse().unwrap()), "it is the same life");
    // What only shows once the other one is stopped: it is started again.
    sandbox.write("wanted", "");
    let _holder = TcpListener::bind((address.as_str(), port)).unwrap();
    let said = sandbox.run(&["-p", "other", "switch", "demo"]);
    assert!(said.code == 1 && said.err.contains(&format!("`a` needs port {port}")), "{said:?}");
    assert_eq!(sandbox.ok(&["-p", "other", "ps", "--status", "running", "--services"]), "b\n", "it runs again");
    until("its next life has begun", || sandbox.lines("lives").len() == 2);
    assert!(!is_alive(sandbox.lines("lives")[0].parse().unwrap()), "its first life was ended");
}

/// A port that somebody holds.
fn held() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn a_first_up_that_is_refused_tells_of_no_numbers_that_it_does_not_keep() {
    let (_listener, taken) = held();
    let stack = "name: demo\nports: {WEB: TAKEN}\nrequires: [{file: wanted}]\nprocesses: {a: {command: exec sleep 1000}}\n";
    let stack = stack.replace("TAKEN", &taken.to_string());
    let sandbox = Sandbox::new(&stack);
    for text in [&stack.replace("command", "comand"), &stack] {
        sandbox.write("stack.yaml", text);
        let said = sandbox.run(&["up", "-d"]);
        assert!(said.code != 0 && !said.err.contains("instead"), "{said:?}");
    }
    sandbox.write("wanted", "");
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 0 && said.err.contains(&format!("port {taken} of `WEB` is held by")), "{said:?}");
    sandbox.ok(&["down"]);
    // What is kept from now on is told in any case.
    let number = sandbox.ok(&["port", "--format", "json"]);
    let number: serde_json::Value = serde_json::from_str(&number).unwrap();
    let number: u16 = number["WEB"].as_str().unwrap().parse().unwrap();
    let _kept = TcpListener::bind(("127.0.0.1", number)).unwrap();
    std::fs::remove_file(sandbox.path("wanted")).unwrap();
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 1 && said.err.contains(&format!("port {number} of `WEB` is held by")), "{said:?}");
}

#[test]
fn a_named_port_that_the_caller_sets_is_neither_sought_nor_reserved_and_shown_as_it_is() {
    let (_listener, taken) = held();
    let stack = "name: demo\nports: {WEB: TAKEN, R: 21000-21002}\nprocesses: {a: {command: 'echo ${WEB} ${R_FIRST} > said; exec sleep 1000'}}\n";
    let mut sandbox = Sandbox::new(&stack.replace("TAKEN", &taken.to_string()));
    let said = sandbox.run(&["up", "-d", "--strict-ports"]);
    assert!(said.code == 1 && said.err.contains(&format!("port {taken} of `WEB` is held by")), "{said:?}");
    sandbox.write(".env", "R=22000-22002\n");
    sandbox.variable("WEB", Some("23456"));
    sandbox.ok(&["up", "-d", "--strict-ports"]);
    until("it has said what it got", || sandbox.lines("said") == ["23456 22000"]);
    let shown = |said: Said| serde_json::from_str::<serde_json::Value>(&said.out).unwrap();
    let expected = serde_json::json!({"WEB": "23456", "R": "22000-22002"});
    assert_eq!(shown(sandbox.run(&["port", "--format", "json"])), expected);
    assert_eq!(shown(sandbox.run_in(Path::new("/"), &["-p", "demo", "port", "--format", "json"])), expected);
    let variables = sandbox.ok(&["config", "--environment"]);
    assert!(variables.lines().any(|line| line == "WEB=23456") && variables.contains("R=22000-22002"), "{variables}");
    // What demo would have had is anybody's.
    sandbox.write("other.yaml", "name: other\nports: {OTHER: 21001}\nprocesses: {b: {command: exec sleep 1000}}\n");
    sandbox.ok(&["-f", "other.yaml", "up", "-d", "--strict-ports"]);
}

#[test]
fn an_up_from_cron_means_the_same_sockets() {
    let stack = "name: demo\nprocesses: {a: {command: exec sleep 1000, environment: {R: '${RUN_DIR}'}}}\n";
    let mut sandbox = Sandbox::new(stack);
    sandbox.ok(&["up", "-d"]);
    let pids = sandbox.leaders();
    let run_dir = sandbox.root().join("run/baistack/demo");
    assert!(run_dir.is_dir());
    sandbox.variable("XDG_RUNTIME_DIR", None);
    sandbox.ok(&["up", "-d"]);
    assert_eq!(sandbox.leaders(), pids, "nothing was restarted");
    assert_eq!(
        sandbox.ok(&["config", "--environment"]).lines().find(|line| line.starts_with("RUN_DIR=")).unwrap()[8..],
        *run_dir.to_str().unwrap()
    );
    sandbox.ok(&["down"]);
    assert!(!run_dir.exists(), "and nothing is left behind");
}

#[test]
fn what_lies_in_a_directory_that_was_moved_is_purged_where_it_is() {
    let stack =
        "name: demo\nowns: [{paths: 'made-*'}]\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a, '${ENV_DIR}/b']}}\n";
    for line in [&["purge", "--yes"][..], &["down", "-v"]] {
        let sandbox = Sandbox::new(stack);
        sandbox.ok(&["up", "-d"]);
        sandbox.write(".baistack/demo/file", "");
        sandbox.write("made-1", "");
        sandbox.ok(&["down"]);
        let renamed = sandbox.root().join("renamed");
        fs::rename(sandbox.path(""), &renamed).unwrap();
        let told = format!("was moved: it is `{}` by now", renamed.display());
        // Not before its supervisor has ended.
        until("the doctor tells it", || sandbox.run_in(Path::new("/"), &["doctor"]).out.contains(&told));
        let said = sandbox.run_in(Path::new("/"), &[&["-p", "demo"], line].concat());
        assert_eq!(said.code, 0, "{line:?}: {said:?}");
        assert!(!renamed.join("tmp/a").exists() && !renamed.join("made-1").exists(), "{line:?}");
        assert_eq!(renamed.join(".baistack/demo").exists(), line[0] == "down", "{line:?}");
        assert!(renamed.join("stack.yaml").exists());
        fs::rename(&renamed, sandbox.path("")).unwrap();
    }
}

#[test]
fn where_a_stack_file_is_needed_the_name_of_an_environment_is_no_remedy() {
    let sandbox = Sandbox::new("name: shop\nprocesses: {web: {command: [sleep, '1000'], stop_grace_period: 0s}}\n");
    let elsewhere = sandbox.root().join("home");
    let told = |line: &[&str], expected: &str| {
        let said = sandbox.run_in(&elsewhere, line);
        assert!(said.code == 3 && said.err.contains(expected) && !said.err.contains("-p ENVID"), "{line:?}: {said:?}");
    };
    told(&["up", "-d"], "help: name one with `-f FILE`, or write one with `baistack init`\n");
    told(&["-p", "shop", "plan"], "help: `-p shop` names an environment and no stack: name one with `-f FILE`");
    sandbox.ok(&["up", "-d"]);
    let file = sandbox.path("stack.yaml");
    let remedy = format!("`shop` was started from `{0}`: `-f {0}` names that; `baistack start -p shop`", file.display());
    for line in [&["-p", "shop", "plan"][..], &["-p", "shop", "up", "-d"]] {
        told(line, &remedy);
    }
    let said = sandbox.run_in(&elsewhere, &["stop"]);
    assert!(said.code == 3 && said.err.contains("`-p ENVID` names an environment that was started"), "{said:?}");
}

#[test]
fn a_name_is_its_directorys_also_while_nothing_runs_there() {
    let sandbox = Sandbox::new(&format!("name: demo\n{SLEEPER}"));
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["down"]);
    let other = sandbox.root().join("other");
    fs::create_dir_all(&other).unwrap();
    fs::copy(sandbox.path("stack.yaml"), other.join("stack.yaml")).unwrap();
    let said = sandbox.run_in(&other, &["up", "-d"]);
    let told = format!("it is the one of `{}`", sandbox.root().join("stack").display());
    assert!(said.code == 1 && said.err.contains(&told) && !said.err.contains("runs under"), "{said:?}");
    assert!(said.err.contains("`-p NAME`") && said.err.contains("`baistack purge -p demo`"), "{said:?}");
    sandbox.ok(&["purge", "-p", "demo", "--yes"]);
    assert_eq!(sandbox.run_in(&other, &["up", "-d"]).code, 0);
}

#[test]
fn what_would_be_started_where_its_directory_was_is_not_stopped_for_that() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000}, b: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["stop", "b"]);
    let pids = sandbox.leaders();
    let renamed = sandbox.root().join("renamed");
    fs::rename(sandbox.path(""), &renamed).unwrap();
    let told = format!("is `{}` by now: `baistack up` there goes on with it; nothing was done", renamed.display());
    for line in [&["restart"][..], &["restart", "a"], &["start"], &["start", "b"]] {
        for directory in [Path::new("/"), &renamed] {
            let said = sandbox.run_in(directory, &[&["-p", "demo"], line].concat());
            assert!(said.code == 1 && said.err.contains(&told), "{line:?}: {said:?}");
        }
    }
    assert!(is_alive(pids[0]), "it was not touched");
    assert_eq!(sandbox.run_in(&renamed, &["up", "-d"]).code, 0);
    fs::rename(&renamed, sandbox.path("")).unwrap();
}

#[test]
fn what_cannot_be_looked_into_stays_with_the_sources() {
    let Some(sandbox) = Sandbox::of_ordinary_user("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a]}}\n")
    else {
        return;
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: the test needs root, to make what somebody else cannot look into");
        return;
    }
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["down"]);
    let closed = sandbox.path("tmp/a/closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let said = sandbox.run(&["purge", "--yes"]);
    assert!(said.code == 1 && said.err.contains("may have git work") && said.err.contains("--keep-source"), "{said:?}");
    let said = sandbox.run(&["purge", "--yes", "--keep-source"]);
    let told =
        format!("`{0}` stays: it cannot be looked into, and sources are to be kept; `sudo rm -rf '{0}'`", closed.display());
    assert!(said.code == 0 && said.err.contains(&told) && !said.err.contains("--keep-source"), "{said:?}");
    assert!(closed.exists() && !sandbox.state().join("demo").exists());
}

#[test]
fn what_somebody_else_has_left_in_scratch_is_told_once_with_what_removes_it() {
    let Some(sandbox) = Sandbox::of_ordinary_user("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a]}}\n")
    else {
        return;
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: the test needs root, to make what somebody else cannot remove");
        return;
    }
    sandbox.ok(&["up", "-d"]);
    fs::create_dir_all(sandbox.path("tmp/a/closed/deep")).unwrap();
    for line in
        [&["rm", "-f", "-s", "-v"][..], &["rm", "-f", "-v"], &["rm", "-f", "-v", "a"], &["down", "-v"], &["down", "-v", "a"]]
    {
        let said = sandbox.run(line);
        assert_eq!(said.code, 1, "{line:?}: {said:?}");
        assert_eq!(said.err.matches("Permission denied").count(), 1, "{line:?}: {said:?}");
        assert!(said.err.contains(&format!("`sudo rm -rf '{}'`", sandbox.path("tmp/a").display())), "{line:?}: {said:?}");
        assert!(!said.err.contains("a:1: "), "{line:?}: {said:?}");
    }
    fs::remove_dir_all(sandbox.path("tmp/a/closed")).unwrap();
    sandbox.ok(&["down", "-v"]);
    assert!(!sandbox.path("tmp/a").exists());
}

#[test]
fn a_purge_that_was_interrupted_is_finished_by_the_next() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a, tmp/b]}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    let state = sandbox.state().join("demo");
    let held = sandbox.path("tmp/a/held");
    fs::create_dir(&held).unwrap();
    let Some(said) = sandbox.purge_all_but(&held) else { return };
    assert!(said.code == 1 && said.err.contains("once more finishes it"), "{said:?}");
    assert!(held.exists() && !sandbox.path("tmp/b").exists() && state.exists(), "{said:?}");
    // What somebody has made in the place of what went already is not ours.
    sandbox.write("tmp/b/thesis", "years of it");
    let said = sandbox.run(&["purge", "--dry-run"]);
    assert!(said.out.contains("tmp/a (") && !said.out.contains("tmp/b"), "{said:?}");
    // Killed while it removes the state, one leaves the mark to the last.
    for entry in fs::read_dir(&state).unwrap().map(|entry| entry.unwrap()) {
        if ![".baistack-owner", "logs", "purging.json"].contains(&entry.file_name().to_str().unwrap()) {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
    }
    sandbox.ok(&["-p", "demo", "purge", "--yes"]);
    assert!(!sandbox.path("tmp/a").exists() && sandbox.path("tmp/b/thesis").exists() && !state.exists());
}

#[test]
fn sources_stay_where_they_are_to_be_kept() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a, '${ENV_DIR}/b']}}\n");
    sandbox.ok(&["up", "-d"]);
    for directory in [".baistack/demo/src/checkout", "tmp/a/deep/checkout"] {
        fs::create_dir_all(sandbox.path(directory)).unwrap();
        let init = Command::new("git").arg("-C").arg(sandbox.path(directory)).args(["init", "-q"]).status().unwrap();
        assert!(init.success());
        sandbox.write(&format!("{directory}/work"), "hours of it");
        sandbox.write(&format!("{directory}/../other"), "");
    }
    let said = sandbox.run(&["purge", "--yes"]);
    assert!(said.code == 1 && said.err.contains("--keep-source"), "{said:?}");
    let said = sandbox.run(&["purge", "--yes", "--keep-source"]);
    assert!(said.code == 0 && said.out.contains("but not the sources:"), "{said:?}");
    for directory in [".baistack/demo/src", "tmp/a/deep"] {
        assert!(sandbox.path(directory).join("checkout/work").exists(), "{directory}");
        assert!(!sandbox.path(directory).join("other").exists(), "{directory}");
    }
    assert!(!sandbox.state().join("demo").exists());
}

#[test]
fn what_predefined_variables_would_be_is_warned_of_once() {
    let mut sandbox = Sandbox::new(SLEEPER);
    assert!(!sandbox.run(&["config", "-q"]).err.contains("predefined"));
    sandbox.variable("CPUS", Some("999"));
    sandbox.variable("ENVID", Some("mine"));
    let said = sandbox.run(&["config", "-q"]);
    assert_eq!((said.code, said.err.matches("counts for nothing").count()), (0, 1), "{said:?}");
    assert!(said.err.contains("`ENVID`, `CPUS` of the environment"), "{said:?}");
}

#[test]
fn a_value_that_is_not_made_yet_is_not_exported() {
    let stack = "name: demo\ngenerate: {S: {hex: 8}}\nprocesses: {a: {command: exec sleep 1000, environment: {KEY: 'k-${S}', PLAIN: p}}}\n";
    let sandbox = Sandbox::new(stack);
    for line in [&["env", "a"][..], &["env"]] {
        let said = sandbox.run(line);
        assert!(said.code == 0 && said.out.contains("PLAIN") && !said.out.contains("KEY"), "{said:?}");
        assert!(said.err.contains("left out, since the first `up` has yet to generate `S`: `KEY`"), "{said:?}");
    }
    sandbox.ok(&["up", "-d"]);
    let said = sandbox.run(&["env", "--format", "json", "a"]);
    let given: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert!(given["KEY"].as_str().unwrap().len() == 18 && said.err.is_empty(), "{said:?}");
}

#[test]
fn a_procfile_by_any_name_ends_with_its_first_process() {
    let sandbox = Sandbox::new(SLEEPER);
    sandbox.write("Procfile.dev", "a: sleep 0.2\nb: exec sleep 1000\n");
    let said = sandbox.run(&["-f", "Procfile.dev", "-p", "foreman", "up"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn services_and_environments_complete_from_what_was_started() {
    let mut sandbox = Sandbox::new(
        "name: demo\nports: {WEB_PORT: 18921}\nprocesses: {web: {command: exec sleep 1000}, worker: {command: exec sleep 1000}}\n",
    );
    sandbox.ok(&["up", "-d"]);
    // Were an engine asked, it would never answer.
    let silent = UnixListener::bind(sandbox.root().join("silent.sock")).unwrap();
    sandbox.variable("DOCKER_HOST", Some(&format!("unix://{}", sandbox.root().join("silent.sock").display())));
    sandbox.variable("BAISTACK_COMPLETE", Some("fish"));
    for (line, directory, expected) in [
        (&["logs", "w"][..], sandbox.path(""), "web worker"),
        (&["restart", "web", "wo"], sandbox.path(""), "worker"),
        (&["exec", "we"], sandbox.path(""), "web"),
        (&["exec", "web", "we"], sandbox.path(""), ""),
        (&["-p", "demo", "stop", "we"], sandbox.root().to_owned(), "web"),
        (&["ps", "-p", "d"], sandbox.root().to_owned(), "demo"),
        (&["switch", ""], sandbox.root().to_owned(), "demo"),
        (&["port", "W"], sandbox.path(""), "WEB_PORT"),
        (&["port", "wo"], sandbox.path(""), "worker"),
        (&["init", "qu"], sandbox.root().to_owned(), "quickstart"),
        (&["init", "st"], sandbox.path(""), "stack.yaml"),
        (&["explain", "cyc"], sandbox.root().to_owned(), "cycle"),
    ] {
        let said = sandbox.run_in(&directory, &[&["--", "baistack"], line].concat());
        let names: Vec<&str> = said.out.lines().filter(|name| !name.starts_with('-')).collect();
        assert_eq!((names.join(" ").as_str(), said.err.as_str()), (expected, ""), "{line:?}");
    }
    silent.set_nonblocking(true).unwrap();
    assert!(silent.accept().is_err(), "the engine was asked");
    sandbox.variable("BAISTACK_COMPLETE", None);
    assert!(sandbox.ok(&["completions", "bash"]).contains("BAISTACK_COMPLETE"));
}

#[test]
fn fifty_environments_are_listed_with_as_many_questions_as_one() {
    let stack = "name: demo\nports: {WEB: 18900}\nowns: [{containers: {label: 'owner=${ENVID}'}}, {volumes: {name: '${ENVID}-*'}}]\n\
                 processes: {a: {command: exec sleep 1000}}\n";
    let mut sandbox = Sandbox::new(stack);
    sandbox.ok(&["up", "-d"]);
    let socket = sandbox.root().join("engine.sock");
    let asked = empty_engine(&socket, ("20.10.0", "1.41"), "{}");
    sandbox.variable("DOCKER_HOST", Some(&format!("unix://{}", socket.display())));
    let ask = || {
        asked.lock().unwrap().clear();
        let shown = sandbox.ok(&["ls", "--all", "--format", "json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        (shown.as_array().unwrap().clone(), asked.lock().unwrap().len())
    };
    let (one, questions) = ask();
    assert_eq!((one.len(), &one[0]["Ports"]["WEB"]), (1, &"18900".into()), "{one:?}");
    assert!(one[0]["Memory"].as_u64().unwrap() > 0 && one[0]["Age"].as_u64().is_some(), "{one:?}");
    for number in 1..50 {
        let name = format!("env{number}");
        let place = sandbox.state().join(&name);
        fs::create_dir(&place).unwrap();
        for file in ["stack.json", "snapshot.json", "directory.json", "ports.json"] {
            let text = fs::read_to_string(sandbox.state().join("demo").join(file)).unwrap();
            fs::write(place.join(file), text.replace("\"demo\"", &format!("\"{name}\""))).unwrap();
        }
    }
    let begun = std::time::Instant::now();
    let (all, questions_of_all) = ask();
    eprintln!("50 environments are listed in {:?}", begun.elapsed());
    assert_eq!((all.len(), questions_of_all), (50, questions));
    let table = sandbox.run(&["ls"]);
    assert!(table.out.contains("WEB=18900") && table.out.lines().count() == 2, "{table:?}");
    assert!(table.err.contains("49 more that do not run: `baistack ls --all`"), "{table:?}");
}

#[test]
fn the_doctor_tells_named_ports_and_who_holds_one() {
    let (_listener, port) = held();
    let sandbox = Sandbox::new(&format!("ports: {{WEB: {port}}}\n{SLEEPER}"));
    let said = sandbox.run(&["doctor"]);
    assert!(said.out.contains(&format!("{port} of `WEB` is held by process")), "{said:?}");
    assert!(said.out.contains("own capabilities"), "{said:?}");
    sandbox.ok(&["up", "-d"]);
    let shown = sandbox.ok(&["port", "--format", "json"]);
    let number = serde_json::from_str::<serde_json::Value>(&shown).unwrap()["WEB"].as_str().unwrap().to_owned();
    let said = sandbox.run(&["doctor"]);
    assert!(said.out.contains(&format!("WEB {number}")), "{said:?}");
}

/// A stack and an engine for an ordinary user who may use it.
pub(crate) struct Somebody {
    pub(crate) sandbox: Sandbox,
    /// The group that may use the engine.
    group: u32,
}

impl Somebody {
    /// All in the sandbox is the user's. None, said aloud, where that cannot be had.
    pub(crate) fn with_engine(name: &str, stack: &str) -> Option<Self> {
        let sandbox = Sandbox::with_engine(name, stack)?;
        let of_socket = fs::metadata("/var/run/docker.sock").map(|metadata| metadata.gid());
        let (Ok(group), true) = (of_socket, nix::unistd::geteuid().is_root()) else {
            eprintln!("skipped: the test needs root, to become somebody else, and the engine's usual socket");
            return None;
        };
        let mut given = vec![sandbox.root().to_owned()];
        while let Some(path) = given.pop() {
            lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                given.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        Some(Self { sandbox, group })
    }

    /// Runs a command to its end: whether it succeeded, its output and its errors.
    pub(crate) fn run(&self, line: &[&str]) -> (bool, String, String) {
        let inner = self.sandbox.command(line, &self.sandbox.path(""));
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), &format!("--groups={}", self.group), "--"]);
        command.arg(inner.get_program()).args(inner.get_args()).current_dir(self.sandbox.path("")).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let said = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (said.status.success(), text(&said.stdout), text(&said.stderr))
    }

    /// What a container of root's has left in a directory, which is the user's.
    pub(crate) fn root_leaves(&self, directory: &str) -> PathBuf {
        let directory = self.sandbox.path(directory);
        let left = directory.join("kept-by-root");
        fs::create_dir_all(&left).unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o700)).unwrap();
        lchown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::write(left.join("file"), "").unwrap();
        left
    }
}

#[test]
fn what_a_container_removes_is_looked_through_for_directories_of_other_environments() {
    let stack = "services: {a: {image: IMAGE, command: [sleep, '1000'], init: true}}\n\
                 processes: {p: {command: exec sleep 1000, scratch: [scratch]}}\nowns: [{paths: 'made-*'}]\n";
    for line in [&["down", "-v"][..], &["purge", "--yes", "--force"]] {
        let Some(somebody) = Somebody::with_engine("others", stack) else { return };
        let sandbox = &somebody.sandbox;
        let said = somebody.run(&["up", "-d"]);
        assert!(said.0, "{said:?}");
        let env = sandbox.engine().env();
        let left = ["scratch", "made-1", "made-2"].map(|directory| somebody.root_leaves(directory));
        let marked = |directory: PathBuf, owner: &str| {
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(".baistack-owner"), format!("{owner}\n")).unwrap();
            directory
        };
        let others = [marked(left[0].join(".deep/it's two"), "two"), marked(left[0].join("three"), "three")];
        let in_owned = marked(left[1].join("two"), "two");
        // Neither is another environment's: our own, and what a link leads to.
        marked(left[2].join("own"), env);
        std::os::unix::fs::symlink(&others[0], left[2].join("link")).unwrap();
        let (success, out, err) = somebody.run(line);
        assert!(!success, "{line:?}: {out}{err}");
        for (directory, owner) in [(&others[0], "two"), (&others[1], "three"), (&in_owned, "two")] {
            let told = format!("`{}` was made for the environment `{owner}`", directory.display());
            assert!(err.contains(&told) && directory.exists(), "{line:?}: {told}: {out}{err}");
        }
        assert!(!err.contains("sudo rm"), "nobody is told to remove it: {line:?}: {out}{err}");
        assert!(left[0].join("file").exists() && !left[2].exists(), "{line:?}: {out}{err}");
    }
}

#[test]
fn images_go_after_the_files_that_a_container_of_one_has_to_remove() {
    let stack = "services: {a: {build: {dockerfile_inline: \"FROM IMAGE\\n\"}, command: [sleep, '1000'], init: true}}\n\
                 processes: {p: {command: exec sleep 1000, scratch: [scratch]}}\nowns: [{paths: 'made-*'}]\n";
    let Some(somebody) = Somebody::with_engine("rmi", stack) else { return };
    let sandbox = &somebody.sandbox;
    let said = somebody.run(&["up", "-d"]);
    assert!(said.0, "{said:?}");
    let image = format!("{}-a", sandbox.engine().env());
    let has_image = || sandbox.engine().ask(async |api| api.inspect_image(&image).await).is_ok();
    for directory in ["scratch", "made-1"] {
        somebody.root_leaves(directory);
    }
    assert!(has_image());
    let (success, out, err) = somebody.run(&["down", "-v", "--rmi", "local"]);
    assert!(success, "{out}{err}");
    assert!(!sandbox.path("scratch").exists() && !sandbox.path("made-1").exists() && !has_image(), "{out}{err}");
}

#[test]
fn roots_files_are_removed_through_a_container_and_volumes_are_listed_with_their_sizes() {
    let stack = "services: {a: {image: IMAGE, command: [sleep, '1000'], init: true, volumes: ['data:/data', '${ENV_DIR}/made:/made']}}\n\
                 processes: {p: {command: exec sleep 1000, scratch: [scratch]}}\nowns: [{paths: 'made-*'}]\nvolumes: {data: {}}\n";
    for line in [&["purge", "--yes"][..], &["down", "-v"]] {
        let Some(somebody) = Somebody::with_engine("rooted", stack) else { return };
        let sandbox = &somebody.sandbox;
        let as_somebody = |line: &[&str]| somebody.run(line);
        let env = sandbox.engine().env().to_owned();
        let own = sandbox.path(&format!(".baistack/{env}"));
        let said = as_somebody(&["up", "-d"]);
        assert!(said.0, "{said:?}");
        for directory in [&own, &sandbox.path("scratch"), &sandbox.path("made-1")] {
            fs::create_dir_all(directory.join("kept-by-root")).unwrap();
            lchown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
            fs::write(directory.join("kept-by-root/file"), "").unwrap();
        }
        lchown(sandbox.path(".baistack"), Some(NOBODY), Some(NOBODY)).unwrap();
        let (success, out, err) = as_somebody(line);
        assert!(success, "{line:?}: {out}{err}");
        assert!(!sandbox.path("scratch").exists() && !sandbox.path("made-1").exists(), "{line:?}: {out}{err}");
        assert_eq!(sandbox.engine().containers(), Vec::<String>::new());
        if line[0] == "purge" {
            assert!(out.contains(&format!("{env}_data (0B)")), "{out}");
            assert!(!own.exists() && !sandbox.state().join(&env).exists(), "{out}{err}");
        } else {
            assert!(!err.contains("failed"), "{out}{err}");
        }
    }
}

#[test]
fn a_file_that_is_named_and_not_there_means_nothing_else() {
    let sandbox = Sandbox::new("processes: {web: {command: exec sleep 1000}}\n");
    sandbox.write("other.yaml", "name: other\nprocesses: {web: {command: exec sleep 1000}}\n");
    sandbox.ok(&["up", "-d"]);
    for line in [&["-f", "nope.yaml", "down"][..], &["-f", "nope.yaml", "stop", "web"], &["-f", "away/stack.yaml", "ps"]] {
        let said = sandbox.run(line);
        assert!(said.code != 0 && said.err.contains("there is no file"), "{line:?}: {said:?}");
    }
    assert_eq!(sandbox.leaders().len(), 1, "what is here runs on");
    sandbox.ok(&["down"]);
    // What was started from a file is known by it when it is gone.
    sandbox.ok(&["-f", "other.yaml", "up", "-d"]);
    std::fs::remove_file(sandbox.path("other.yaml")).unwrap();
    sandbox.ok(&["-f", "other.yaml", "down"]);
    // Its supervisor may be just ending.
    until("it is down", || !sandbox.ok(&["ls"]).contains("other"));
}

#[test]
fn what_still_runs_keeps_its_scratch_when_the_stopped_is_removed() {
    let stack = "name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a]}, b: {command: exec sleep 1000, scratch: [tmp/b]}}\n";
    let sandbox = Sandbox::new(stack);
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.ok(&["stop", "a"]);
    sandbox.ok(&["rm", "-f", "-v"]);
    assert_eq!((sandbox.path("tmp/a").exists(), sandbox.path("tmp/b").exists()), (false, true));
    assert_eq!(sandbox.leaders().len(), 1);
}

#[test]
fn a_command_takes_no_scratch_of_its_service_with_it() {
    let sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [src]}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    sandbox.write("src/work", "hours of it");
    sandbox.ok(&["run", "--rm", "--no-deps", "a", "true"]);
    assert!(sandbox.path("src/work").exists(), "it runs");
    sandbox.ok(&["down"]);
    sandbox.ok(&["run", "--rm", "a", "true"]);
    assert!(sandbox.path("src/work").exists(), "a plain `down` has kept it");
    sandbox.ok(&["down", "-v"]);
    assert!(!sandbox.path("src").exists());
    sandbox.ok(&["run", "--rm", "a", "test", "-d", "src"]);
    assert!(!sandbox.path("src").exists(), "the command's own goes with it");
}

#[test]
fn data_is_not_removed_while_others_directories_or_git_work_lie_in_it() {
    let stack = "name: demo\nowns: [{paths: work}]\n\
                 processes: {a: {command: exec sleep 1000, scratch: [tmp/a]}, b: {command: exec sleep 1000, scratch: [tmp/b]}}\n";
    let sandbox = Sandbox::new(stack);
    sandbox.ok(&["up", "-d", "--wait"]);
    let pids = sandbox.leaders();
    let refused = |line: &[&str], why: &str| {
        let said = sandbox.run(line);
        assert!(said.code == 1 && said.err.contains(why), "{line:?}: {said:?}");
        assert!(pids.iter().all(|pid| is_alive(*pid)), "{line:?}: nothing was stopped");
    };

    // The directory of another environment that runs.
    let other = sandbox.path("work/other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("stack.yaml"), format!("name: other\n{SLEEPER}")).unwrap();
    assert_eq!(sandbox.run_in(&other, &["up", "-d"]).code, 0);
    for line in [&["down", "-v"][..], &["down", "-v", "--force"], &["purge", "--yes", "--force"]] {
        refused(line, &format!("`{}` lies in it", other.display()));
        assert!(other.join("stack.yaml").exists(), "{line:?}");
    }
    assert_eq!(sandbox.run_in(&other, &["purge", "--yes"]).code, 0);
    fs::remove_dir_all(sandbox.path("work")).unwrap();

    // Git work, in an owned path and in scratch.
    let init = |directory: &str| {
        fs::create_dir_all(sandbox.path(directory)).unwrap();
        let init = Command::new("git").arg("-C").arg(sandbox.path(directory)).args(["init", "-q"]).status().unwrap();
        assert!(init.success());
        sandbox.write(&format!("{directory}/work"), "hours of it");
    };
    init("work");
    refused(&["down", "-v"], "git work would be lost, and nothing was stopped");
    assert!(sandbox.path("work/work").exists());
    fs::remove_dir_all(sandbox.path("work")).unwrap();
    init("tmp/a/checkout");
    for line in [&["down", "-v"][..], &["down", "-v", "a"], &["rm", "-f", "-s", "-v"], &["rm", "-f", "-s", "-v", "a"]] {
        refused(line, "1 file is not committed: ?? work");
        assert!(sandbox.path("tmp/a/checkout/work").exists(), "{line:?}");
    }
    let said = sandbox.run(&["down", "--force"]);
    assert!(said.code == 2 && said.err.contains("--volumes"), "{said:?}");
    // What runs is left alone, and so is what lies there.
    sandbox.ok(&["stop", "b"]);
    sandbox.ok(&["rm", "-f", "-v"]);
    assert!(!sandbox.path("tmp/b").exists() && sandbox.path("tmp/a/checkout/work").exists());
    sandbox.ok(&["down", "-v", "--force"]);
    assert!(!sandbox.path("tmp/a").exists());
}

#[test]
fn an_owned_path_behind_a_link_is_somebody_elses() {
    let sandbox = Sandbox::new(&format!("name: demo\nowns: [{{paths: 'scratches/kernel-*'}}]\n{SLEEPER}"));
    sandbox.ok(&["up", "-d", "--wait"]);
    let important = sandbox.root().join("home/important");
    fs::create_dir_all(important.join("kernel-1")).unwrap();
    std::os::unix::fs::symlink(&important, sandbox.path("scratches")).unwrap();
    for line in [&["purge", "--yes", "--force"][..], &["down", "-v", "--force"]] {
        let said = sandbox.run(line);
        let link = format!("the link `{}` leads out of `", sandbox.path("scratches").display());
        assert!(
            said.code == 1 && said.err.contains("kernel-1` is not removed: ") && said.err.contains(&link),
            "{line:?}: {said:?}"
        );
        assert!(important.join("kernel-1").exists() && sandbox.leaders().len() == 1, "{line:?}");
    }
}

#[test]
fn what_has_come_while_a_purge_asked_is_judged_after_the_answer() {
    let stack = "name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a, '${ENV_DIR}/b']}}\n";
    let sandbox = Sandbox::new(stack);
    sandbox.ok(&["up", "-d", "--wait"]);
    let question = "Remove all of this for good? [y/N]";
    let purge = |meanwhile: &dyn Fn()| {
        let terminal = sandbox.begin_on_terminal(&["purge"]);
        terminal.wait_for(question);
        meanwhile();
        terminal.write(b"y\n");
        terminal
    };
    let runs = |services: usize| assert_eq!(sandbox.leaders().len(), services, "nothing was stopped");

    // Git work.
    let checkout = sandbox.path("tmp/a/checkout");
    let told = purge(&|| {
        fs::create_dir(&checkout).unwrap();
        assert!(Command::new("git").arg("-C").arg(&checkout).args(["init", "-q"]).status().unwrap().success());
        fs::write(checkout.join("work"), "hours of it").unwrap();
    });
    assert!(told.end().contains("git work would be lost"));
    assert!(checkout.join("work").exists());
    runs(1);
    fs::remove_dir_all(&checkout).unwrap();

    // A link in the place of a directory on the way.
    let elsewhere = sandbox.root().join("home/elsewhere");
    fs::create_dir_all(elsewhere.join("demo")).unwrap();
    fs::write(elsewhere.join("demo/thesis"), "years of it").unwrap();
    fs::write(elsewhere.join("demo/.baistack-owner"), "demo\n").unwrap();
    let (own, away) = (sandbox.path(".baistack"), sandbox.path("away"));
    let told = purge(&|| {
        fs::rename(&own, &away).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &own).unwrap();
    });
    assert!(told.end().contains("it leads out of the stack's directory"));
    assert!(elsewhere.join("demo/thesis").exists());
    runs(1);
    fs::remove_file(&own).unwrap();
    fs::rename(&away, &own).unwrap();

    // More of the environment's own: it is told, and asked for again.
    let told = purge(&|| {
        sandbox.write("stack.yaml", &stack.replace("tmp/a", "tmp/a, tmp/new"));
        sandbox.ok(&["up", "-d", "--wait"]);
        sandbox.write("tmp/new/data", "days of it");
    });
    told.wait_for_after("more has come that would be removed", question);
    told.write(b"n\n");
    assert!(told.end().contains("tmp/new"));
    assert!(sandbox.path("tmp/new/data").exists());
    runs(1);
    sandbox.ok(&["purge", "--yes"]);
    assert!(!sandbox.path("tmp/new").exists() && !sandbox.path("tmp/a").exists() && !own.join("demo").exists());
}

#[test]
fn what_removes_data_obeys_no_name_that_a_shell_has_inherited() {
    let mut sandbox = Sandbox::new("name: demo\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a]}}\n");
    sandbox.ok(&["up", "-d", "--wait"]);
    let other = sandbox.root().join("other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("stack.yaml"), format!("name: other\n{SLEEPER}")).unwrap();
    sandbox.variable("BAISTACK_ENVID", Some("demo"));
    for line in [&["down", "-v"][..], &["purge", "--yes"], &["rm", "-f", "-s", "-v"]] {
        let said = sandbox.run_in(&other, line);
        assert!(said.code == 1 && said.err.contains("`BAISTACK_ENVID` says `demo`, which is"), "{line:?}: {said:?}");
        assert!(sandbox.path("tmp/a").exists() && sandbox.leaders().len() == 1, "{line:?}: nothing was touched");
    }
    // Where both say the same, or `-p` says which, it is meant.
    sandbox.ok(&["down", "-v"]);
    assert!(!sandbox.path("tmp/a").exists());
    assert_eq!(sandbox.run_in(&other, &["-p", "demo", "purge", "--yes"]).code, 0);
    assert!(!sandbox.state().join("demo").exists());
}

#[test]
fn a_procfile_in_two_directories_has_ports_of_its_own_in_each() {
    let mut sandbox = Sandbox::new(SLEEPER);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    // Numbers that nobody else here has, and not as the caller's wish.
    let procfile = "web: echo $PORT > web.port; exec sleep 1000\nmy-job: echo $PORT > job.port; exec sleep 1000\n";
    for place in ["one", "two"] {
        sandbox.write(&format!("{place}/Procfile"), procfile);
        let said = sandbox.run_in(&sandbox.path(place), &["-p", place, "up", "-d"]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let mut seen = BTreeSet::new();
    for place in ["one", "two"] {
        let read = |name: &str| {
            until(&format!("{place}/{name} holds a number"), || !sandbox.lines(&format!("{place}/{name}")).is_empty());
            sandbox.lines(&format!("{place}/{name}")).concat()
        };
        let listed = sandbox.run_in(&sandbox.path(place), &["-p", place, "port", "--format", "json"]).out;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        for (name, file) in [("WEB_PORT", "web.port"), ("MY_JOB_PORT", "job.port")] {
            assert_eq!(listed[name].as_str(), Some(read(file).as_str()), "{place}: {listed}");
            assert!(seen.insert(read(file)), "{place}: {name} is {} twice", read(file));
        }
    }
    // Whoever sets `PORT` has chosen.
    sandbox.variable("PORT", Some(&taken.to_string()));
    sandbox.write("three/Procfile", procfile);
    let said = sandbox.run_in(&sandbox.path("three"), &["config", "--environment"]);
    assert!(said.out.contains(&format!("WEB_PORT={taken}\n")), "{said:?}");
    let said = sandbox.run_in(&sandbox.path("three"), &["port"]);
    assert!(said.out.contains(&taken.to_string()), "{said:?}");
}

#[test]
fn ports_are_told_as_they_are_in_force_and_never_of_an_environment_that_is_not_there() {
    let stack = "name: demo\nports: {A: 18861, B: 18861}\nprocesses: {a: {command: exec sleep 1000}}\n";
    let mut sandbox = Sandbox::new(stack);
    sandbox.variable("A", Some("18862"));
    sandbox.ok(&["up", "-d"]);
    sandbox.variable("A", None);
    assert_eq!(sandbox.ok(&["port", "A"]).trim(), "18862");
    let said = sandbox.run(&["-p", "nope", "port"]);
    assert!(said.code == 5 && said.out.is_empty(), "{said:?}");
    sandbox.ok(&["down"]);
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 0 && said.err.contains("port 18861 of `B` is held by `A` of this stack"), "{said:?}");
    // What is no port is told at its name.
    sandbox.write("path.yaml", "ports: {PATH: 2000}\nprocesses: {a: {command: run}}\n");
    let said = sandbox.run(&["-f", "path.yaml", "config"]);
    assert!(said.code == 3 && said.err.contains("path.yaml:1:9") && said.err.contains("`PATH` is set to `"), "{said:?}");
}
