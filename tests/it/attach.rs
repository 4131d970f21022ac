//! `attach` to processes: a terminal, a pipe, detach keys, signals, and the code of the service.

use std::io::Write;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, until};
use crate::support::terminal::Terminal;

const SHELL: &str = "
processes:
  shell:
    command: |
      trap 'stty size > size' WINCH
      stty size > size
      echo ready
      while :; do read -r line || continue; echo \"got $$line\"; [ \"$$line\" != end ] || exit 7; done
    tty: true
";

#[test]
fn a_terminal_is_lent_until_the_detach_keys_and_the_service_goes_on() {
    let sandbox = Sandbox::new(SHELL);
    sandbox.ok(&["up", "-d"]);
    let pid = sandbox.ok(&["ps", "--format", "json"]);
    let attached = sandbox.command(&["attach", "shell"], &sandbox.path(""));
    let mut sized = Command::new("sh");
    sized.args(["-c", "stty rows 33 cols 101; exec \"$0\" \"$@\""]).arg(attached.get_program()).args(attached.get_args());
    sized.current_dir(sandbox.path("")).envs(attached.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let attached = Terminal::begin(sized);
    // The service learns the size of the terminal that it is lent.
    until("it has been told the size", || sandbox.path("size").exists() && sandbox.lines("size") == ["33 101"]);
    attached.write(b"hello\r");
    attached.wait_for("got hello");
    // Half of the keys are only held back.
    attached.write(b"\x10x\r");
    attached.wait_for("got");
    attached.write(b"\x10\x11");
    let shown = attached.end();
    assert!(shown.contains("detached from shell:1"), "{shown}");
    assert_eq!(pid_of(&sandbox.ok(&["ps", "--format", "json"])), pid_of(&pid));
    // Other keys, and an end with the code of the service.
    let attached = sandbox.begin_on_terminal(&["attach", "--detach-keys", "ctrl-a,d", "shell"]);
    attached.type_until_shown("again\r", "got again");
    attached.write(b"end\r");
    let shown = attached.end();
    assert!(shown.contains("got end") && !shown.contains("detached"), "{shown}");
}

fn pid_of(shown: &str) -> i64 {
    serde_json::from_str::<serde_json::Value>(shown.lines().next().unwrap()).unwrap()["Pid"].as_i64().unwrap()
}

/// As with a container that Compose started: `stdin_open` is Docker's `OpenStdin` without `StdinOnce`, so the end of one client's
/// input is not the end of the service's, and the next one goes on. (`run` without `-d` is its own client, and passes the end on.)
#[test]
fn a_pipe_is_typed_into_and_stays_open_when_ours_ends() {
    let sandbox = Sandbox::new(
        "
processes:
  reader: {command: 'while read -r line; do echo \"got $$line\" | tee -a seen; echo odd >&2; done; echo over > over', stdin_open: true}
  deaf: {command: exec sleep 1000}
",
    );
    sandbox.ok(&["up", "-d"]);
    for word in ["one", "two"] {
        let mut command = sandbox.command(&["attach", "reader"], &sandbox.path(""));
        let mut attached = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = attached.stdin.take().unwrap();
        writeln!(stdin, "{word}").unwrap();
        drop(stdin);
        until("it has read the line", || sandbox.path("seen").exists() && sandbox.lines("seen").contains(&format!("got {word}")));
        attached.kill().unwrap();
        attached.wait().unwrap();
    }
    assert!(!sandbox.path("over").exists());
    // The log has it, as always.
    until("the log has it", || sandbox.ok(&["logs", "--no-log-prefix", "reader"]).contains("got two"));
    let said = sandbox.run(&["attach", "no-such-service"]);
    assert_eq!(said.code, 2, "{said:?}");
    sandbox.ok(&["stop", "deaf"]);
    let said = sandbox.run(&["attach", "deaf"]);
    assert_eq!((said.code, said.err.contains("deaf:1 is not running")), (5, true), "{said:?}");
}

#[test]
fn a_signal_goes_to_a_service_without_a_terminal_and_its_code_comes_back() {
    let script = "trap 'exit 9' INT; while :; do echo tick; sleep 0.02; done";
    let sandbox = Sandbox::new(&format!("processes: {{a: {{command: \"{script}\"}}}}"));
    sandbox.ok(&["up", "-d"]);
    let attached = sandbox.begin(&["attach", "a"]);
    // From then on it passes signals on.
    attached.wait_for("tick");
    attached.signal(Signal::SIGINT);
    assert_eq!(attached.end(), 9);
}
