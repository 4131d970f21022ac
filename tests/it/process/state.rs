//! What a supervisor leaves on the disk: sockets, locks and records, also after it was killed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::sandbox::{NOBODY, Sandbox, is_alive, kill, until};

const STAYS: &str = "
processes:
  a: {command: 'echo $$$$ > new; mv new pid; exec sleep 1000', healthcheck: {file: pid, interval: 50ms, start_period: 1m}}
";

#[test]
fn a_foreground_and_a_background_up_share_a_supervisor_in_any_order() {
    let sandbox = Sandbox::new(
        "
processes:
  a:
    command: 'echo $$$$ > new; mv new pid; while :; do echo tick; sleep 0.05; done'
    healthcheck: {file: pid, interval: 50ms, start_period: 1m}
",
    );
    sandbox.ok(&["up", "-d", "--wait"]);
    let (supervisor, process) = (sandbox.supervisor(), sandbox.pid("pid"));
    let foreground = sandbox.begin(&["up"]);
    // It follows, so it listens to signals too.
    foreground.wait_for("tick");
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!((sandbox.supervisor(), sandbox.pid("pid")), (supervisor, process));
    foreground.signal(Signal::SIGINT);
    assert_eq!(foreground.end(), 130);
    // It was not this one that started it.
    assert!(is_alive(process));
    sandbox.ok(&["down"]);
    assert!(!is_alive(process));
}

#[test]
fn an_up_waits_for_the_command_that_holds_its_environment() {
    let sandbox = Sandbox::new(STAYS);
    // Each command takes the environment for a moment, to end what a dead supervisor may have left.
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["down"]);
    let lock = fs::File::options().write(true).open(sandbox.env_dir().join("lock")).unwrap();
    lock.lock().unwrap();
    let env = sandbox.env_dir().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(sandbox.run(&["supervise", "--env", &env]).code, 75);
    let up = sandbox.begin(&["up", "-d"]);
    drop(lock);
    assert_eq!(up.end(), 0);
    for _ in 0..10 {
        sandbox.ok(&["down"]);
        let looks = [(); 4].map(|()| sandbox.begin(&["ps"]));
        sandbox.ok(&["up", "-d"]);
        for look in looks {
            assert_eq!(look.end(), 0);
        }
    }
}

#[test]
fn a_recorded_pid_is_never_trusted() {
    let sandbox = Sandbox::new(STAYS);
    sandbox.ok(&["up", "-d", "--wait"]);
    let (supervisor, process) = (sandbox.supervisor(), sandbox.pid("pid"));
    kill(supervisor, Signal::SIGKILL);
    until("all of it is gone", || !is_alive(supervisor) && !is_alive(process));
    let mut stranger = Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap();
    let pid = stranger.id();
    for name in ["lock", "snapshot.json"] {
        let path = sandbox.env_dir().join(name);
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace(&supervisor.to_string(), &pid.to_string()).replace(&process.to_string(), &pid.to_string());
        fs::write(&path, text).unwrap();
    }
    fs::remove_file(sandbox.path("pid")).unwrap();
    for line in [&["ps"][..], &["down"], &["up", "-d", "--wait"], &["down"]] {
        sandbox.ok(line);
        assert!(is_alive(i32::try_from(pid).unwrap()), "{line:?} ended a stranger");
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_socket_that_was_left_behind_is_no_obstacle_and_no_supervisor_is_no_failure() {
    let sandbox = Sandbox::new(STAYS);
    sandbox.ok(&["up", "-d", "--wait"]);
    let supervisor = sandbox.supervisor();
    kill(supervisor, Signal::SIGKILL);
    until("it is gone", || !is_alive(supervisor));
    assert!(sandbox.env_dir().join("control.sock").exists());
    let said = sandbox.run(&["ps", "-a"]);
    assert!(said.code == 0 && !said.err.contains("panicked"), "{said:?}");
    let said = sandbox.run(&["why", "a"]);
    let told = "a:1: ended with its supervisor, which died; `start` starts it again\n";
    assert!(said.code == 1 && said.out == told, "{said:?}");
    sandbox.ok(&["up", "-d", "--wait"]);
}

#[test]
fn a_client_of_another_version_is_told_so_in_one_line() {
    let sandbox = Sandbox::new(STAYS);
    sandbox.ok(&["up", "-d", "--wait"]);
    let mut stream = UnixStream::connect(sandbox.env_dir().join("control.sock")).unwrap();
    stream.write_all(b"{\"version\":999999,\"program\":\"99\"}\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.ends_with('\n') && line.contains("version"), "{line:?}");
    assert!(is_alive(sandbox.pid("pid")));
}

#[test]
fn nothing_of_a_supervisor_listens_on_the_network() {
    let sandbox = Sandbox::new(STAYS);
    sandbox.ok(&["up", "-d", "--wait"]);
    let supervisor = sandbox.supervisor();
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{supervisor}/fd"))
        .unwrap()
        .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_str()?.to_owned()))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    assert!(!sockets.is_empty());
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        let inodes: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(9)).collect();
        assert!(sockets.iter().all(|socket| !inodes.contains(&socket.as_str())), "{table}");
    }
}

#[test]
fn another_user_can_neither_look_nor_ask() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let sandbox = Sandbox::new(STAYS);
    sandbox.ok(&["up", "-d", "--wait"]);
    let directory = sandbox.env_dir();
    for path in [directory.clone(), directory.join("control.sock"), directory.join("logs")] {
        let tried = Command::new("ls").arg("-d").arg(path.join(".")).uid(NOBODY).gid(NOBODY).stderr(Stdio::null()).status();
        assert!(!tried.unwrap().success(), "{}", path.display());
    }
}
