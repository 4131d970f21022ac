//! Logs: every line, once, in time, whatever a service writes and however it ends.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, is_alive, kill, until};

#[test]
fn the_last_words_without_a_line_end_are_kept_and_closed() {
    let sandbox = Sandbox::new("processes: {a: {command: 'printf dying; exit 1'}}");
    let said = sandbox.run(&["up"]);
    assert!(said.out.contains("dying\n"), "{said:?}");
    assert_eq!(sandbox.ok(&["logs", "--no-log-prefix"]), "dying\n");
}

#[test]
fn a_line_of_four_megabytes_blocks_nobody() {
    let sandbox = Sandbox::new(
        "
processes:
  a:
    command: |
      head -c 4194304 /dev/zero | tr '\\0' x; echo; echo after; true > done; exec sleep 1000
",
    );
    sandbox.ok(&["up", "-d"]);
    until("it has written all", || sandbox.path("done").exists());
    until("the line after it is there", || sandbox.ok(&["logs", "--no-log-prefix", "--tail", "1"]) == "after\n");
    let whole = sandbox.ok(&["logs", "--no-log-prefix"]);
    assert_eq!(whole.bytes().filter(|byte| *byte == b'x').count(), 4 << 20);
}

#[test]
fn a_line_of_a_hundred_megabytes_takes_bounded_memory_and_blocks_nobody() {
    let sandbox = Sandbox::new(
        "
processes:
  a:
    command: |
      head -c 100000000 /dev/zero | tr '\\0' x; echo; echo after; true > done; exec sleep 1000
",
    );
    sandbox.ok(&["up", "-d"]);
    until("it has written all", || sandbox.path("done").exists());
    until("the line after it is there", || sandbox.ok(&["logs", "--no-log-prefix", "--tail", "1"]) == "after\n");
    let status = fs::read_to_string(format!("/proc/{}/status", sandbox.supervisor())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    assert!(peak.unwrap() < 64 << 10, "{peak:?} kB");
}

#[test]
fn progress_and_broken_bytes_are_shown_in_the_end_and_kept_as_they_came() {
    let sandbox =
        Sandbox::new("processes:\n  a:\n    command: |\n      printf '10%%\\r50%%\\r\\033[2Kdone\\nbro\\377ken\\n'; true\n");
    sandbox.run(&["up"]);
    assert_eq!(sandbox.ok(&["logs", "--no-log-prefix"]), "done\nbro\u{fffd}ken\n");
    let kept = fs::read(sandbox.env_dir().join("logs/a.1.log")).unwrap();
    for bytes in [&b"10%\r50%\r\x1b[2Kdone\n"[..], b"bro\xffken\n"] {
        assert!(kept.windows(bytes.len()).any(|window| window == bytes), "{kept:?}");
    }
}

#[test]
fn a_full_disk_stops_no_service_and_what_was_lost_is_counted() {
    let sandbox = Sandbox::new(
        "
processes:
  a: {command: 'echo lost words; : > wrote; until [ -e go ]; do sleep 0.02; done; echo found words; exec sleep 1000'}
  b: {command: exec sleep 1000}
",
    );
    sandbox.ok(&["up", "-d", "b"]);
    // Whatever is written there finds no room.
    let log = sandbox.env_dir().join("logs/a.1.log");
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    sandbox.ok(&["up", "-d"]);
    until("it has written", || sandbox.path("wrote").exists());
    assert!(sandbox.ok(&["ps", "a"]).contains("running"));
    // The supervisor answers and lets go of what it could not write before there is room again.
    sandbox.ok(&["restart", "b"]);
    fs::remove_file(&log).unwrap();
    sandbox.write("go", "");
    let shown = || sandbox.ok(&["logs", "--no-log-prefix", "a"]);
    until("there is room again", || shown().contains("found words"));
    let shown = shown();
    assert!(shown.contains("bytes of output could not be written and are lost") && !shown.contains("lost words"), "{shown}");
}

#[test]
fn a_prompt_is_shown_before_its_line_ends_and_kept_as_one_line() {
    let sandbox =
        Sandbox::new("processes: {a: {command: \"printf 'step 1... '; until [ -e go ]; do sleep 0.02; done; echo ok\"}}");
    let up = sandbox.begin_on_terminal(&["up"]);
    up.wait_for("step 1...");
    sandbox.write("go", "");
    drop(up.end());
    assert_eq!(sandbox.ok(&["logs", "--no-log-prefix"]), "step 1... ok\n");
}

#[test]
fn a_follower_sees_every_line_of_every_run_once() {
    let sandbox = Sandbox::new(
        "
processes:
  a: {command: 'n=$$(cat n 2>/dev/null || echo 0); n=$$((n+1)); echo $$n > n; echo run $$n; : > up$$n; exec sleep 1000'}
  b: {command: 'echo b; until [ -e go ]; do sleep 0.02; done; echo b ends'}
",
    );
    sandbox.ok(&["up", "-d"]);
    let following = sandbox.begin(&["logs", "-f", "--no-log-prefix"]);
    until("the first run is up", || sandbox.path("up1").exists());
    for run in 2..=4 {
        sandbox.ok(&["restart", "a"]);
        until("the next run is up", || sandbox.path(&format!("up{run}")).exists());
    }
    sandbox.write("go", "");
    following.wait_for("b ends");
    sandbox.ok(&["restart", "a"]);
    let seen = following.wait_for("run 5");
    let runs: Vec<&String> = seen.iter().filter(|line| line.starts_with("run ")).collect();
    assert!(runs.iter().filter(|line| line.as_str() == "run 4").count() <= 1 && runs.len() <= 4, "{seen:?}");
}

#[test]
fn lines_are_on_the_disk_while_a_service_runs_and_after_its_supervisor_was_killed() {
    let sandbox = Sandbox::new("processes: {a: {command: 'echo one; echo two; exec sleep 1000'}}");
    sandbox.ok(&["up", "-d"]);
    until("the line is there", || sandbox.ok(&["logs", "--no-log-prefix", "--tail", "1"]) == "two\n");
    let (supervisor, process) = (sandbox.supervisor(), sandbox.leaders()[0]);
    kill(supervisor, Signal::SIGKILL);
    until("all of it is gone", || !is_alive(supervisor) && !is_alive(process));
    assert_eq!(sandbox.ok(&["logs", "--no-log-prefix"]), "one\ntwo\n");
}

#[test]
fn without_a_terminal_there_is_plain_text_and_nothing_else() {
    let sandbox = Sandbox::new("processes: {a: {command: 'echo hello; exec sleep 1000'}}");
    for line in [&["up", "-d", "--wait"][..], &["ps"], &["logs"], &["down"]] {
        let said = sandbox.run(line);
        assert_eq!(said.code, 0, "{line:?}: {said:?}");
        assert!(!said.out.contains('\u{1b}') && !said.err.contains('\u{1b}'), "{line:?}: {said:?}");
    }
}

#[test]
fn a_service_that_closes_its_output_costs_nothing_and_still_runs() {
    let sandbox = Sandbox::new("processes: {a: {command: 'exec >&- 2>&-; : > closed; exec sleep 1000'}}");
    sandbox.ok(&["up", "-d", "--wait"]);
    until("it is closed", || sandbox.path("closed").exists());
    let ticks = |pid: i32| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let supervisor = sandbox.supervisor();
    sandbox.ok(&["ps"]);
    let before = ticks(supervisor);
    std::thread::park_timeout(std::time::Duration::from_secs(2));
    // A loop that polls an end of file takes all of a processor: two hundred ticks.
    assert!(ticks(supervisor) - before < 20, "{} ticks", ticks(supervisor) - before);
    assert!(sandbox.ok(&["ps"]).contains("running"));
}

#[test]
fn exec_passes_large_input_and_output_and_ends_with_them() {
    let sandbox = Sandbox::new("processes: {a: {command: exec sleep 1000}}");
    sandbox.ok(&["up", "-d", "--wait"]);
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[2]).collect();
    let echoed = sandbox.feed(&["exec", "-T", "a", "cat"], &bytes);
    assert!(echoed == bytes, "{} of {} bytes", echoed.len(), bytes.len());
    assert_eq!(sandbox.run(&["exec", "a", "sh", "-c", "cat; exit 9"]).code, 9);
}
