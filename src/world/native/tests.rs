//! What the native engine promises about processes, with small shell children.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};

use super::testing::{World, is_alive};
use super::tree::session_of;
use crate::base::name::UnitId;
use crate::model::hook::Hook;
use crate::model::process::{Command, REPLICA_MARK};
use crate::model::service::Ulimit;
use crate::model::socket::{Socket, SocketAddress};
use crate::plan::action::{Action, Exit, Incarnation, Outcome};
use crate::plan::desired::UnitSpec;
use crate::supervisor::event::Event;

/// A program that ignores TERM, leaves its session and loses its parent; it writes its pid to a file.
const DAEMON: &str = "(setsid sh -c 'trap \"\" TERM; echo $$ > daemon; while :; do sleep 1; done' >/dev/null 2>&1 &) &";

#[test]
fn a_process_is_started_its_output_kept_and_its_end_told() {
    let mut world = World::new("plain");
    let spec = world.unit("web:1", "echo out; echo err >&2; printf dying; exit 3", |_, _| {});
    world.start(&spec).unwrap();
    assert_eq!(world.ends(&spec), [(Exit::Code(3), 0)]);
    let mut log = world.log(&spec);
    log.sort();
    assert_eq!(log, ["dying", "err", "out"]);
}

#[test]
fn an_end_that_is_told_twice_stands_in_the_log_once() {
    let mut world = World::new("twice");
    let spec = world.unit("web:1", "exit 3", |_, _| {});
    world.start(&spec).unwrap();
    assert_eq!(world.ends(&spec), [(Exit::Code(3), 0)]);
    world.stop(&spec);
    assert_eq!(world.ends(&spec), [(Exit::Unknown, 0)]);
    let path = crate::world::logs::file::path(&world.directory.path().join("logs"), &spec.unit);
    let log = std::fs::read_to_string(path).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("end ")).count(), 1, "{log}");
}

#[test]
fn a_process_finds_what_the_stack_gives_it() {
    let mut world = World::new("given");
    let script = "echo $A $BAISTACK_ENVID $BAISTACK_SERVICE $REPLICA; pwd; ulimit -Sn; cat; cat /proc/self/oom_score_adj; echo";
    let script = &format!("{script} {REPLICA_MARK}");
    let spec = world.unit("web:2", script, |common, _| {
        common.environment.insert("A".to_owned(), Some("b c".to_owned()));
        common.ulimits.insert("nofile".to_owned(), Ulimit { soft: 99, hard: 200 });
        common.oom_score_adj = Some(700);
    });
    world.start(&spec).unwrap();
    world.ends(&spec);
    let directory = std::fs::canonicalize(world.directory.path()).unwrap();
    assert_eq!(world.log(&spec), ["b c given web 2", directory.to_str().unwrap(), "99", "700", "2"]);
}

#[test]
fn signals_are_as_a_program_expects_them() {
    let mut world = World::new("signals");
    let spec = world.unit("web", "", |_, process| {
        let words = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"];
        process.command = Some(Command::List(words.map(str::to_owned).to_vec()));
    });
    world.start(&spec).unwrap();
    world.ends(&spec);
    // 32 and 33 are the C library's own: a program of its making starts others with them ignored.
    let of_libc = 0x1_8000_0000_u64;
    for line in world.log(&spec) {
        let (_, set) = line.split_once('\t').unwrap();
        assert_eq!(u64::from_str_radix(set, 16).unwrap() & !of_libc, 0, "{line}");
    }
}

#[test]
fn a_program_that_cannot_run_is_a_fault_of_the_start() {
    let mut world = World::new("faults");
    for (name, text, mode) in [("plain", "#!/bin/sh\n", 0o644), ("orphan", "#!/no/such/sh\n", 0o755), ("text", "hello\n", 0o755)]
    {
        use std::os::unix::fs::PermissionsExt;
        let path = world.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    for (program, expected) in [
        ("no-such-program", "no such program `no-such-program` in PATH /usr/bin:/bin"),
        ("./plain", "is not executable"),
        ("./orphan", "is to be run by `/no/such/sh`, which does not exist"),
        ("./text", "is neither a program for this machine nor a script with a `#!` line"),
    ] {
        let spec = world.unit("web", "", |_, process| process.command = Some(Command::List(vec![program.to_owned()])));
        let message = world.start(&spec).unwrap_err();
        assert!(message.contains(expected), "{program}: {message}");
    }
    let spec = world.unit("web", "true", |common, _| common.working_dir = Some("nowhere".to_owned()));
    assert!(world.start(&spec).unwrap_err().ends_with("/nowhere` does not exist"));
}

#[test]
fn each_process_leads_a_session_of_its_own() {
    let mut world = World::new("sessions");
    let (a, b) = (world.unit("a", "kill -TERM 0; sleep 60", |_, _| {}), world.unit("b", "echo $$ > b; exec sleep 60", |_, _| {}));
    let pid = world.start(&b).unwrap();
    assert_eq!(session_of(pid), Some(pid));
    world.start(&a).unwrap();
    assert_eq!(world.ends(&a), [(Exit::Signal(libc::SIGTERM), 0)]);
    assert!(is_alive(pid));
    world.stop(&b).unwrap().unwrap();
    assert_eq!(world.ends(&b), [(Exit::Signal(libc::SIGTERM), 0)]);
}

#[test]
fn a_stop_is_over_when_the_last_of_the_group_is_gone() {
    let mut world = World::new("group");
    let script = "trap 'exit 0' TERM; sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done' & wait";
    let spec = world.unit("a", script, |_, _| {});
    world.start(&spec).unwrap();
    let child: i32 = world.file("child").parse().unwrap();
    world.stop(&spec).unwrap().unwrap();
    let left = world.wait(|event| match event {
        Event::Exited { exit, remaining, .. } => Some((*exit, *remaining)),
        _ => None,
    });
    assert_eq!(left.0, Exit::Code(0));
    assert!(left.1 >= 1 && is_alive(child));
    world.kill(&spec, "SIGKILL");
    assert_eq!(world.ends(&spec), [(Exit::Code(0), 0)]);
    assert!(!is_alive(child));
}

#[test]
fn a_stop_that_is_asked_for_again_for_those_who_left_the_group_is_told_to_each_once() {
    let mut world = World::new("once");
    let deaf = |name: &str| format!("sh -c 'trap \"echo {name}\" TERM; echo up > {name}; until [ -s go ]; do sleep 0.01; done'");
    let script =
        format!("trap 'echo leader; exit 0' TERM; {} & setsid {} & while :; do sleep 0.01; done", deaf("near"), deaf("far"));
    let spec = world.unit("a", &script, |_, _| {});
    world.start(&spec).unwrap();
    world.file("near");
    world.file("far");
    world.stop(&spec).unwrap().unwrap();
    world.wait(|event| matches!(event, Event::Exited { .. }).then_some(()));
    // As the machine does when a leader has gone and others have not.
    world.stop(&spec).unwrap().unwrap();
    world.stop(&spec).unwrap().unwrap();
    std::fs::write(world.directory.path().join("go"), "go\n").unwrap();
    world.ends(&spec);
    let mut told = world.log(&spec);
    // Shells tell of a `sleep` that was asked, too.
    told.retain(|line| line != "Terminated");
    told.sort_unstable();
    assert_eq!(told, ["far", "leader", "near"]);
}

#[test]
fn a_daemon_that_left_everything_still_belongs_to_its_unit() {
    let mut world = World::new("daemon");
    let other = world.unit("other", "exec sleep 60", |_, _| {});
    let other_pid = world.start(&other).unwrap();
    let spec = world.unit("a", &format!("{DAEMON} wait; while [ ! -s daemon ]; do :; done"), |_, _| {});
    world.start(&spec).unwrap();
    let daemon: i32 = world.file("daemon").parse().unwrap();
    let told = world.wait(|event| match event {
        Event::Exited { unit, remaining, .. } if *unit == "a:1".parse::<UnitId>().unwrap() => Some(*remaining),
        _ => None,
    });
    assert!(told >= 1);
    world.stop(&spec).unwrap().unwrap();
    assert!(is_alive(daemon));
    world.kill(&spec, "KILL");
    world.ends(&spec);
    assert!(!is_alive(daemon) && is_alive(other_pid));
}

#[test]
fn what_was_left_in_other_sessions_is_asked_once_the_leader_is_gone() {
    let mut world = World::new("leftovers");
    let script = "trap 'exit 0' TERM; \
                  setsid sh -c 'trap \"echo asked; exit 0\" TERM; echo $$ > child; while :; do sleep 0.01; done' & wait";
    let spec = world.unit("a", script, |_, _| {});
    world.start(&spec).unwrap();
    world.file("child");
    world.stop(&spec).unwrap().unwrap();
    let ends = world.ends(&spec);
    assert_eq!(ends.last(), Some(&(Exit::Code(0), 0)));
    assert_eq!(world.log(&spec).iter().filter(|line| *line == "asked").count(), 1);
}

#[test]
fn a_kept_program_may_stay() {
    let mut world = World::new("kept");
    let script = "(setsid sleep 7777 >/dev/null 2>&1 & echo $! > kept) & wait; \
                  until read name < /proc/$(cat kept)/comm && [ \"$name\" = sleep ]; do :; done";
    let spec = world.unit("a", script, |_, process| process.keep = vec!["sleep".to_owned()]);
    world.start(&spec).unwrap();
    assert_eq!(world.ends(&spec), [(Exit::Code(0), 0)]);
    let kept: i32 = world.file("kept").parse().unwrap();
    assert!(is_alive(kept));
    super::stop::kill(kept, libc::SIGKILL).unwrap();
}

#[test]
fn nothing_written_before_an_end_is_lost() {
    let mut world = World::new("drain");
    for round in 0..10 {
        let spec = world.unit(&format!("a{round}"), "seq 1 5000", |_, _| {});
        world.start(&spec).unwrap();
        world.ends(&spec);
        let expected: Vec<String> = (1..=5000).map(|number: u32| number.to_string()).collect();
        assert_eq!(world.log(&spec), expected);
    }
}

#[test]
fn a_line_is_told_once_and_only_of_this_life() {
    let mut world = World::new("line");
    let spec = world.unit("a", "echo starting; echo 'ready on 80'; echo 'ready on 81'", |_, _| {});
    world.start_for_line(&spec, Some("^ready on [0-9]+$")).unwrap();
    let mut matches = 0;
    world.wait(|event| match event {
        Event::LineMatched(..) => {
            matches += 1;
            None
        }
        Event::Exited { .. } => Some(()),
        _ => None,
    });
    assert_eq!(matches, 1);
}

#[test]
fn a_terminal_of_its_own() {
    let mut world = World::new("tty");
    let spec = world.unit("a", "test -t 0 && test -t 1 && test -t 2 && tty >/dev/tty && echo yes", |common, _| common.tty = true);
    world.start(&spec).unwrap();
    world.ends(&spec);
    let log = world.log(&spec);
    assert!(log[0].starts_with("/dev/pts/") && log[1] == "yes\r", "{log:?}");
}

#[test]
fn a_crash_is_told_with_its_signal() {
    let mut world = World::new("crash");
    let spec = world.unit("a", "kill -9 $$", |_, _| {});
    let pid = world.start(&spec).unwrap();
    assert_eq!(world.ends(&spec), [(Exit::Signal(9), 0)]);
    assert!(super::tree::Process::read(pid).is_none(), "no zombie is left");
}

#[test]
fn the_end_of_a_life_that_nobody_knows_is_told_when_it_is_stopped() {
    let mut world = World::new("unknown");
    let spec = world.unit("a", "true", |_, _| {});
    world.stop(&spec).unwrap().unwrap();
    assert_eq!(world.ends(&spec), [(Exit::Unknown, 0)]);
}

fn hook(script: &str) -> Vec<Hook> {
    vec![Hook { command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(), ..Hook::default() }]
}

#[test]
fn hooks_run_inside_of_the_service_and_are_waited_for() {
    let mut world = World::new("hooks");
    let spec = world.unit("a", "trap 'echo end; exit 0' TERM; echo > up; while :; do sleep 0.01; done", |common, _| {
        common.post_start = hook("until [ -e up ]; do :; done; echo after start in $BAISTACK_SERVICE");
        common.pre_stop = hook("echo before stop; exit 1");
    });
    let start = Action::Start { spec: spec.clone(), incarnation: Incarnation(1), line: None, container: None, beside: false };
    assert_eq!(world.act(&spec, &start), None);
    let answer = |event: &Event| if let Event::Acted(_, answer) = event { Some(answer.clone()) } else { None };
    assert!(matches!(world.wait(answer), Ok(Outcome::Started { .. })));
    assert_eq!(world.stop(&spec), None);
    assert_eq!(world.wait(answer), Ok(Outcome::Signalled));
    assert_eq!(world.ends(&spec), [(Exit::Code(0), 0)]);
    let log = world.log(&spec);
    for line in ["after start in a", "before stop", "end"] {
        assert!(log.iter().any(|found| found == line), "{log:?}");
    }
}

#[test]
fn a_start_whose_hook_fails_is_none() {
    let mut world = World::new("badhook");
    let spec = world.unit("a", "exec sleep 1000", |common, _| common.post_start = hook("exit 4"));
    let start = Action::Start { spec: spec.clone(), incarnation: Incarnation(1), line: None, container: None, beside: false };
    assert_eq!(world.act(&spec, &start), None);
    let fault = world.wait(|event| if let Event::Acted(_, Err(fault)) = event { Some(fault.message.clone()) } else { None });
    assert_eq!(fault, "post_start: `/bin/sh -c exit 4` ended with exit code 4");
    assert_eq!(world.ends(&spec), [(Exit::Signal(9), 0)]);
}

/// A socket of each kind, and what holds for them.
fn listening(world: &World, script: &str, sockets: &[(Option<&str>, SocketAddress)]) -> UnitSpec {
    world.unit("a", script, |_, process| {
        process.sockets = (sockets.iter())
            .map(|(name, address)| Socket { name: name.map(str::to_owned), address: address.clone(), backlog: Some(5) })
            .collect();
    })
}

#[test]
fn each_life_gets_the_same_sockets_in_their_order_with_their_names_and_its_own_pid() {
    let mut world = World::new("listen");
    let path = world.directory.path().join("a.sock");
    // More than the descriptors that were free when they were opened, so that their places overlap.
    let mut sockets: Vec<_> = (0..8).map(|_| (Some("tcp"), SocketAddress::Tcp(free_address()))).collect();
    sockets.push((None, SocketAddress::Unix(path.clone())));
    let script = "echo $LISTEN_FDS $LISTEN_FDNAMES; [ $LISTEN_PID = $$ ] && echo mine; ls -l /proc/$$/fd 2>/dev/null | sed -n 's/.* \\([0-9]*\\) -> \\(socket.*\\)/\\1 \\2/p'; echo";
    let spec = listening(&world, script, &sockets);
    let mut lives = Vec::new();
    for _ in 0..2 {
        world.start(&spec).unwrap();
        world.ends(&spec);
        lives.push(world.log(&spec));
    }
    let first = &lives[0];
    assert_eq!(first[..2], ["9 tcp:tcp:tcp:tcp:tcp:tcp:tcp:tcp:a", "mine"], "{first:?}");
    let places: Vec<&str> = first.iter().filter_map(|line| line.split_once(" socket").map(|(place, _)| place)).collect();
    assert_eq!(places.len(), 9, "{first:?}");
    assert!((3..12).all(|place| places.contains(&place.to_string().as_str())), "{first:?}");
    // The log goes on: the second life is told after the first.
    assert_eq!(lives[1][first.len()..], first[..], "the second life has the very same ones");
    assert!(UnixStream::connect(&path).is_ok(), "it waits in the queue");
    world.native.hold_sockets(&BTreeSet::new());
    assert!(!path.exists());
}

#[test]
fn a_path_that_a_killed_process_left_is_taken_and_one_that_is_in_use_is_not() {
    let mut world = World::new("leftsock");
    let (left, used) = (world.directory.path().join("left"), world.directory.path().join("used"));
    drop(UnixListener::bind(&left).unwrap());
    let _holder = UnixListener::bind(&used).unwrap();
    let spec = listening(&world, "true", &[(None, SocketAddress::Unix(left))]);
    world.start(&spec).unwrap();
    world.ends(&spec);
    let spec = listening(&world, "true", &[(None, SocketAddress::Unix(used.clone()))]);
    let reason = "somebody else listens there, or it is a file that is no socket";
    assert_eq!(world.start(&spec).unwrap_err(), format!("listen at {}: {reason}", used.display()));
}

#[test]
fn a_port_that_is_in_use_is_told_with_its_holder() {
    let mut world = World::new("inuse");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let spec = listening(&world, "true", &[(None, SocketAddress::Tcp(address.clone()))]);
    let said = world.start(&spec).unwrap_err();
    assert!(said.starts_with(&format!("listen at {address}: it is held by process {} (", std::process::id())), "{said}");
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
