//! `doctor` on a host that is broken in one way at a time: the line, its remedy, and that the remedy helps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::fake_engine::empty_engine;
use crate::support::sandbox::{Said, Sandbox, own_address};
use crate::support::terminal::Terminal;

const PROCESS: &str = "processes: {a: {command: exec sleep 1000}}\n";
const CONTAINER: &str = "services: {a: {image: x}}\n";

/// What it says of one thing: verdict, what was found, and the remedy.
type Line = (String, String, String);

fn lines(said: &Said, name: &str) -> Vec<Line> {
    let all: Vec<Value> = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let wanted = all.iter().filter(|line| line["name"] == name);
    wanted.map(|line| (text(line, "verdict"), text(line, "found"), text(line, "remedy"))).collect()
}

/// The one line about something.
fn line(sandbox: &Sandbox, name: &str) -> Line {
    let said = sandbox.run(&["doctor", "--format", "json"]);
    let [line] = <[Line; 1]>::try_from(lines(&said, name)).unwrap_or_else(|_| panic!("{name}: {said:?}"));
    line
}

/// The command in namespaces of its own, after these lines of shell; none, said aloud, where that may not be had.
fn inside(sandbox: &Sandbox, before: &str, words: &[&str]) -> Option<Command> {
    let spaces = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let may = Command::new("unshare").args(spaces).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !may.is_ok_and(|said| said.status.success()) {
        eprintln!("skipped: nothing can be mounted here");
        return None;
    }
    let inner = sandbox.command(words, &sandbox.path(""));
    let mut command = Command::new("unshare");
    command.args(spaces).args(["sh", "-ec", &format!("{before}\nexec \"$@\""), "sh"]);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(sandbox.path("")).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(command)
}

/// The one line about something that it says in there.
fn line_inside(sandbox: &Sandbox, before: &str, name: &str) -> Option<Line> {
    let output = inside(sandbox, before, &["doctor", "--format", "json"])?.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let said = Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) };
    let [line] = <[Line; 1]>::try_from(lines(&said, name)).unwrap_or_else(|_| panic!("{name}: {said:?}"));
    Some(line)
}

fn assert_line(line: &Line, verdict: &str, found: &str, remedy: &str) {
    assert!(line.0 == verdict && line.1.contains(found) && line.2.contains(remedy), "{verdict}, {found}, {remedy}: {line:?}");
}

#[test]
fn an_engine_that_is_away_too_old_or_has_another_time_is_told_until_it_is_there() {
    let mut sandbox = Sandbox::new(CONTAINER);
    assert_line(&line(&sandbox, "engine"), "failed", "no-engine.sock", "sudo systemctl start docker");
    for (nth, (release, time, engine, clock)) in [
        (("18.09.0", "1.39"), "NOW", Some("install 20.10 or a later one"), None),
        (("20.10.0", "1.41"), "1970-01-01T00:00:00Z", None, Some("sudo timedatectl set-ntp true")),
        (("20.10.0", "1.41"), "NOW", None, None),
    ]
    .into_iter()
    .enumerate()
    {
        let socket = sandbox.root().join(format!("engine-{nth}.sock"));
        empty_engine(&socket, release, &format!(r#"{{"SystemTime": "{time}"}}"#));
        sandbox.variable("DOCKER_HOST", Some(&format!("unix://{}", socket.display())));
        for (name, remedy) in [("engine", engine), ("clock", clock)] {
            let verdict = if remedy.is_some() { "warning" } else { "ok" };
            assert_line(&line(&sandbox, name), verdict, "", remedy.unwrap_or_default());
        }
    }
}

#[test]
fn an_engine_whose_socket_may_not_be_opened_is_told_with_the_group_that_may() {
    let Some(mut sandbox) = Sandbox::of_ordinary_user(CONTAINER) else { return };
    let socket = sandbox.root().join("engine.sock");
    empty_engine(&socket, ("20.10.0", "1.41"), "{}");
    sandbox.variable("DOCKER_HOST", Some(&format!("unix://{}", socket.display())));
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
    assert_line(&line(&sandbox, "engine"), "failed", "permission denied", "sudo usermod -aG docker \"$USER\", and log in again");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    assert_line(&line(&sandbox, "engine"), "ok", "20.10.0", "");
}

#[test]
fn each_requirement_is_told_until_its_hint_was_followed() {
    let mut sandbox = Sandbox::new("");
    let (bin, file) = (sandbox.root().join("bin"), sandbox.root().join("file"));
    let requires = format!(
        "requires:\n- {{tool: thing, version: '>=2', hint: hint-tool}}\n- {{file: {}, hint: hint-file}}\n- {{locale: UTF-8, hint: hint-locale}}\n\
         - {{command: test -e made, hint: hint-command}}\n{PROCESS}",
        file.display()
    );
    sandbox.write("stack.yaml", &requires);
    fs::create_dir(&bin).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    sandbox.variable("PATH", Some(&path));
    sandbox.variable("LC_ALL", Some("C"));
    let tool = |version: &str| {
        Sandbox::program_at(&bin.join("thing"), format!("#!/bin/sh\necho thing {version}\n"));
    };
    let missing = |sandbox: &Sandbox| -> Vec<&str> {
        let said = sandbox.run(&["doctor", "--format", "json"]);
        let hints = ["hint-tool", "hint-file", "hint-locale", "hint-command"];
        let failed: Vec<Line> = lines(&said, "requires").into_iter().filter(|line| line.0 == "failed").collect();
        assert_eq!(said.code, i32::from(!failed.is_empty()), "{said:?}");
        hints.into_iter().filter(|hint| failed.iter().any(|line| line.2 == *hint)).collect()
    };
    assert_eq!(missing(&sandbox), ["hint-tool", "hint-file", "hint-locale", "hint-command"]);
    assert_line(&line(&sandbox, "locale"), "warning", "LC_ALL=C", "export LC_ALL=C.UTF-8");
    tool("1.9");
    assert_eq!(missing(&sandbox), ["hint-tool", "hint-file", "hint-locale", "hint-command"], "it is too old");
    tool("2.0");
    assert_eq!(missing(&sandbox), ["hint-file", "hint-locale", "hint-command"]);
    fs::write(&file, "").unwrap();
    assert_eq!(missing(&sandbox), ["hint-locale", "hint-command"]);
    sandbox.variable("LC_ALL", Some("C.UTF-8"));
    assert_eq!(missing(&sandbox), ["hint-command"]);
    assert_line(&line(&sandbox, "locale"), "ok", "", "");
    sandbox.write("made", "");
    assert_eq!(missing(&sandbox), [""; 0]);
}

#[test]
fn a_fixed_port_that_is_held_is_told_until_its_holder_has_ended() {
    let (address, port) = own_address();
    let listener = std::net::TcpListener::bind((address.as_str(), port)).unwrap();
    let sandbox = Sandbox::new(&format!("processes: {{a: {{command: exec sleep 1000, ports: ['{address}:{port}']}}}}\n"));
    let held = format!("`a` needs port {port}, which is held by process {}", std::process::id());
    assert_line(&line(&sandbox, "ports"), "failed", &held, "end whoever holds it, write another number, or name the port");
    drop(listener);
    assert_line(&line(&sandbox, "ports"), "ok", "", "");
}

#[test]
fn limits_of_files_and_watches_are_told_and_root_is_asked_once_with_the_reason() {
    let mut sandbox = Sandbox::new(PROCESS);
    let low = "ulimit -Sn 512; ulimit -Hn 512";
    let Some(found) = line_inside(&sandbox, low, "open files") else { return };
    assert_line(&found, "warning", "at most 512 in a process", "nofile");
    let high = "ulimit -Sn 1024; ulimit -Hn 4096";
    assert_line(&line_inside(&sandbox, high, "open files").unwrap(), "ok", "up to 4096", "");

    // A file of ours stands for the kernel's, and a `sudo` that only writes down what it is asked.
    let limit = sandbox.root().join("watches");
    fs::write(&limit, "8192\n").unwrap();
    let bin = sandbox.root().join("bin");
    fs::create_dir(&bin).unwrap();
    let sudo = format!("#!/bin/sh\necho \"$*\" >> '{}'\nexec \"$@\"\n", sandbox.path("asked").display());
    sandbox.program(bin.join("sudo"), sudo);
    let sysctl = "#!/bin/sh\nname=${2%%=*}\necho \"${2#*=}\" > \"/proc/sys/$(echo \"$name\" | tr . /)\"\n";
    sandbox.program(bin.join("sysctl"), sysctl);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    sandbox.variable("PATH", Some(&path));
    let few = format!("mount --bind '{}' /proc/sys/fs/inotify/max_user_watches", limit.display());
    let remedy = "sudo sysctl -w fs.inotify.max_user_watches=524288";
    assert_line(&line_inside(&sandbox, &few, "file watches").unwrap(), "warning", "8192 files may be watched", remedy);
    let mut terminal = Terminal::begin(inside(&sandbox, &few, &["doctor", "--fix"]).unwrap());
    terminal.wait_for("Run this as root? [y/N]");
    assert_eq!(sandbox.lines("asked"), [""; 0], "nobody has said yes yet");
    terminal.type_until_it_ends("y\n");
    let shown = terminal.end();
    assert!(shown.contains(&format!("`{remedy}`: 8192 files may be watched")), "{shown}");
    assert_eq!(sandbox.lines("asked"), [remedy.trim_start_matches("sudo ")]);
    assert_eq!(line_inside(&sandbox, &few, "file watches").unwrap().0, "ok");
    // Without a terminal nobody is asked.
    fs::write(&limit, "8192\n").unwrap();
    let said = inside(&sandbox, &few, &["doctor", "--fix"]).unwrap().output().unwrap();
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(told.contains(remedy) && told.contains("that needs root, and there is no terminal to ask on"), "{told}");
    assert_eq!(sandbox.lines("asked").len(), 1);
}

#[test]
fn a_disk_without_room_is_told_until_there_is_some() {
    let sandbox = Sandbox::new(PROCESS);
    let disk = |size: &str| format!("mount -t tmpfs -o size={size} none '{}'", sandbox.root().join("state").display());
    let Some(found) = line_inside(&sandbox, &disk("1m"), "disk") else { return };
    assert_line(&found, "failed", "1 MiB are free", "baistack purge");
    assert_line(&line_inside(&sandbox, &disk("1g"), "disk").unwrap(), "warning", "1024 MiB are free", "docker system df");
    assert_eq!(line_inside(&sandbox, &disk("64g"), "disk").unwrap().0, "ok");
}

#[test]
fn an_engine_that_cannot_raise_limits_is_told_until_it_can() {
    let mut sandbox = Sandbox::new(PROCESS);
    let socket = sandbox.root().join("engine.sock");
    empty_engine(&socket, ("20.10.0", "1.41"), "{}");
    sandbox.variable("DOCKER_HOST", Some(&format!("unix://{}", socket.display())));
    sandbox.program("dockerd", fs::read("/bin/sleep").unwrap());
    // It is there under its name before anybody looks.
    let engine = |with: &str| format!("{with} ./dockerd 1000 & until grep -qx dockerd /proc/$!/comm; do :; done");
    let without = engine("setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource");
    let Some(found) = line_inside(&sandbox, &without, "engine's capabilities") else { return };
    assert_line(&found, "warning", "it lacks CAP_SYS_RESOURCE", "--cap-add SYS_RESOURCE");
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let bounding = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    if u64::from_str_radix(bounding.trim(), 16).unwrap() & 1 << 24 == 0 {
        eprintln!("skipped in part: this host itself lacks CAP_SYS_RESOURCE");
        return;
    }
    assert_eq!(line_inside(&sandbox, &engine(""), "engine's capabilities").unwrap().0, "ok");
}

#[test]
fn a_program_without_its_capabilities_is_told_until_it_has_them() {
    let stack = "processes: {a: {command: ./holder 1000, cap_add: [NET_BIND_SERVICE]}}\n";
    let Some(sandbox) = Sandbox::of_ordinary_user(stack) else { return };
    sandbox.program("holder", fs::read("/bin/sleep").unwrap());
    let remedy = format!("sudo setcap cap_net_bind_service+ep {}", sandbox.path("holder").display());
    assert_line(&line(&sandbox, "capabilities"), "failed", "`a` lacks some of its `cap_add`", &remedy);
    if !nix::unistd::geteuid().is_root() || !is_done(&remedy) {
        eprintln!("skipped in part: this host gives files no capabilities");
        return;
    }
    assert!(lines(&sandbox.run(&["doctor", "--format", "json"]), "capabilities").is_empty());
}

/// Whether a remedy can be carried out by us, who are root.
fn is_done(remedy: &str) -> bool {
    let words: Vec<&str> = remedy.trim_start_matches("sudo ").split(' ').collect();
    Command::new(words[0]).args(&words[1..]).current_dir(Path::new("/")).status().is_ok_and(|status| status.success())
}

#[test]
fn a_limit_that_cannot_be_kept_is_told_with_the_flag_that_goes_without() {
    let sandbox = Sandbox::new("processes: {a: {command: exec sleep 1000, mem_limit: 64m}}\n");
    let none = "mount -t tmpfs none /sys/fs/cgroup";
    let Some(found) = line_inside(&sandbox, none, "limits") else { return };
    assert_line(&found, "failed", "`a`", "`up --ignore-limits` runs without them");
    let started = inside(&sandbox, none, &["up", "-d", "--ignore-limits"]).unwrap().output().unwrap();
    assert!(started.status.success(), "{started:?}");
    sandbox.write("stack.yaml", PROCESS);
    assert_eq!(line_inside(&sandbox, none, "limits").unwrap().0, "ok");
}

#[test]
fn a_directory_without_a_stack_is_told_in_a_line_with_what_makes_one() {
    let sandbox = Sandbox::new(PROCESS);
    fs::create_dir(sandbox.root().join("empty")).unwrap();
    let doctor = || sandbox.run_in(&sandbox.root().join("empty"), &["doctor", "--format", "json"]);
    let said = doctor();
    let [line] = <[Line; 1]>::try_from(lines(&said, "stack file")).unwrap();
    assert_line(&line, "warning", "there is none in", "`baistack init` writes one");
    assert_eq!(said.err, "", "it is no mistake of anybody's");
    assert_eq!(sandbox.run_in(&sandbox.root().join("empty"), &["init", "quickstart"]).code, 0);
    let [line] = <[Line; 1]>::try_from(lines(&doctor(), "stack file")).unwrap();
    assert_eq!(line.0, "ok");
}

#[test]
fn an_environment_whose_directory_is_gone_is_told_while_it_runs_until_it_is_purged() {
    let sandbox = Sandbox::new(PROCESS);
    let other = sandbox.root().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("stack.yaml"), format!("name: lost\n{PROCESS}")).unwrap();
    assert_eq!(sandbox.run_in(&other, &["up", "-d", "--wait"]).code, 0);
    fs::remove_dir_all(&other).unwrap();
    assert_line(&line(&sandbox, "dead environments"), "warning", "`lost` is gone, and it runs on", "baistack purge -p lost");
    assert!(sandbox.ok(&["ls"]).contains("/other (gone)"));
    sandbox.ok(&["purge", "-p", "lost", "--yes"]);
    assert_line(&line(&sandbox, "dead environments"), "ok", "nothing is left of any", "");
}

#[test]
fn a_named_port_that_is_held_is_none_that_the_file_fixes() {
    let (address, port) = own_address();
    let _listener = std::net::TcpListener::bind((address.as_str(), port)).unwrap();
    let stack = format!("ports: {{NP: {port}}}\nprocesses: {{a: {{command: exec sleep 1000, ports: ['${{NP}}']}}}}\n");
    let sandbox = Sandbox::new(&stack);
    assert_line(&line(&sandbox, "ports"), "ok", "", "");
    assert_line(&line(&sandbox, "named ports"), "warning", &format!("{port} of `NP` is held by"), "takes another number");
    // Beside a named port, one that is fixed is told by the plan as by the start.
    sandbox.write(
        "stack.yaml",
        &format!("ports: {{NP: 18973}}\nprocesses: {{a: {{command: exec sleep 1000, ports: ['{port}']}}}}\n"),
    );
    let held = format!("`a` needs port {port}, which is held by");
    for words in [&["plan"][..], &["up", "--dry-run"], &["up", "-d"]] {
        let said = sandbox.run(words);
        assert!(said.err.contains(&held), "{words:?}: {said:?}");
    }
}

#[test]
fn every_requirement_has_a_remedy_and_all_are_asked_at_once() {
    let mut sandbox = Sandbox::new("");
    sandbox.variable("LC_ALL", Some("C"));
    let place = sandbox.root().display().to_string();
    // Each waits for the other.
    let meet = |mine: &str, other: &str| {
        format!("mkfifo {place}/{mine} 2>&-; mkfifo {place}/{other} 2>&-; echo > {place}/{mine} & read x < {place}/{other}")
    };
    sandbox.write(
        "stack.yaml",
        &format!(
            "requires:\n- {{locale: UTF-8}}\n- {{tool: no-such-tool}}\n- {{command: '{}'}}\n- {{command: '{}'}}\n{PROCESS}",
            meet("a", "b"),
            meet("b", "a")
        ),
    );
    let said = sandbox.run(&["doctor", "--format", "json"]);
    let lines = lines(&said, "requires");
    assert_eq!(lines.len(), 2, "{said:?}");
    assert_line(&lines[0], "failed", "(from LC_ALL) is none of UTF-8", "export LC_ALL=C.UTF-8");
    assert_line(&lines[1], "failed", "`no-such-tool` is not in PATH", "install `no-such-tool`");
    assert!(!lines[0].1.contains("export"), "{lines:?}");
}

#[test]
fn a_state_that_cannot_be_used_is_told_with_its_cause_and_a_remedy() {
    let sandbox = Sandbox::new(PROCESS);
    fs::write(sandbox.state(), "").unwrap();
    let said = sandbox.run(&["doctor", "--format", "json"]);
    assert_line(&lines(&said, "state")[0], "failed", "is no directory", "mv '");
    let said = sandbox.run(&["ls"]);
    assert!(said.code == 1 && said.err.contains("baistack`: ") && said.err.contains("ot a directory"), "{said:?}");
    fs::remove_file(sandbox.state()).unwrap();
    fs::create_dir_all(sandbox.state().join("broken")).unwrap();
    fs::write(sandbox.state().join("broken/stack.json"), "{\"env\": ").unwrap();
    let said = sandbox.run(&["doctor", "--format", "json"]);
    let dead = lines(&said, "dead environments");
    assert!(dead.iter().any(|line| line.1.contains("stack.json`: EOF") && line.2.starts_with("rm '")), "{dead:?}");
}
