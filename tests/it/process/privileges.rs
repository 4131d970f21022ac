//! Capabilities of programs: asked for before the start, set on a copy, and what they cost.

use std::fs;
use std::process::Command;

use crate::support::sandbox::Sandbox;

/// Whether this host can give a file capabilities.
fn can_set() -> bool {
    nix::unistd::geteuid().is_root() && Command::new("setcap").arg("-h").output().is_ok()
}

/// A program of the stack's own with this capability on its file.
fn program_with(sandbox: &Sandbox, name: &str, capability: &str) -> bool {
    let program = sandbox.path(name);
    sandbox.program(&program, fs::read("/bin/sleep").unwrap());
    Command::new("setcap").arg(capability).arg(&program).status().is_ok_and(|status| status.success())
}

#[test]
fn capabilities_that_cannot_be_had_are_told_before_anything_starts() {
    let Some(sandbox) = Sandbox::of_ordinary_user(
        "
processes:
  other: {command: 'touch started; exec sleep 1000'}
  a: {command: sleep 1000, cap_add: [NET_BIND_SERVICE]}
",
    ) else {
        return;
    };
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    for text in ["`a` lacks capabilities", "sudo setcap cap_net_bind_service+ep", "/sleep"] {
        assert!(said.err.contains(text), "{text}: {said:?}");
    }
    assert!(!sandbox.path("started").exists());
}

#[test]
fn a_program_whose_file_carries_them_runs_and_the_log_says_what_the_loader_drops() {
    let Some(sandbox) = Sandbox::of_ordinary_user(
        "
processes:
  a:
    command: ./holder 1000
    cap_add: [NET_BIND_SERVICE]
    environment: {LD_LIBRARY_PATH: /nowhere}
",
    ) else {
        return;
    };
    if !can_set() || !program_with(&sandbox, "holder", "cap_net_bind_service+ep") {
        eprintln!("skipped: this host gives files no capabilities");
        return;
    }
    sandbox.ok(&["up", "-d", "--wait"]);
    let log = sandbox.ok(&["logs", "a"]);
    assert!(log.contains("the loader drops `LD_LIBRARY_PATH`") && log.contains("rpath"), "{log}");
    // What the kernel lets nobody look into is ended all the same.
    let [holder] = sandbox.leaders()[..] else { panic!("{:?}", sandbox.leaders()) };
    let supervisor = sandbox.supervisor();
    crate::support::sandbox::kill(supervisor, nix::sys::signal::Signal::SIGKILL);
    crate::support::sandbox::until("the guard has ended it", || !crate::support::sandbox::is_alive(holder));
}

#[test]
fn capabilities_that_no_new_privs_would_take_away_are_told_before_anything_starts() {
    let stack = "processes: {a: {command: touch started}, b: {command: ./holder 1000, cap_add: [NET_BIND_SERVICE]}}\n";
    let Some(sandbox) = Sandbox::of_ordinary_user(stack) else { return };
    if !can_set() || !program_with(&sandbox, "holder", "cap_net_bind_service+ep") {
        eprintln!("skipped: this host gives files no capabilities");
        return;
    }
    let inner = sandbox.command(&["up", "-d", "--wait"], &sandbox.path(""));
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", &format!("--reuid={}", sandbox.uid()), "--clear-groups", "--"]);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(sandbox.path("")).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let said = command.output().unwrap();
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.code() == Some(1) && told.contains("we were started with `no_new_privs`"), "{told}");
    assert!(!sandbox.path("started").exists());
}

#[test]
fn setcap_gives_them_to_a_copy_of_the_interpreter_in_its_virtual_environment() {
    let Some(mut sandbox) = Sandbox::of_ordinary_user(
        "
processes:
  a: {command: venv/bin/python 1000, cap_add: [NET_BIND_SERVICE]}
",
    ) else {
        return;
    };
    let bin = sandbox.path("venv/bin");
    sandbox.write("venv/pyvenv.cfg", "");
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/sleep", bin.join("python")).unwrap();
    // In place of the real one, which would ask for a password.
    sandbox.program("tools/sudo", "#!/bin/sh\necho \"$@\" > asked\n");
    sandbox.give_away();
    let path = format!("{}:/usr/sbin:/usr/bin:/bin", sandbox.path("tools").display());
    sandbox.variable("PATH", Some(&path));
    let shown = sandbox.on_terminal(&["up", "-d", "--setcap"]);
    let python = bin.join("python");
    assert_eq!(sandbox.lines("asked"), [format!("setcap cap_net_bind_service+ep {}", python.display())], "{shown}");
    assert!(fs::symlink_metadata(&python).unwrap().is_file(), "a copy, and no link any more");
    assert!(shown.contains("is a copy of") && shown.contains("LD_LIBRARY_PATH"), "{shown}");
}
