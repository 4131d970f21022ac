//! What is told before anything is done: plans and dry runs, and which flags and records they go by.

use crate::provided::with_cloud;
use crate::support::sandbox::{Sandbox, is_alive, until};

#[test]
fn a_dry_run_does_nothing_and_says_what_would_be_done() {
    let sandbox = Sandbox::new(
        "services: {db: {provider: {type: ./cloud}}}\nprocesses: {a: {command: exec sleep 1000, scratch: [tmp/a], depends_on: [db]}}\n",
    );
    with_cloud(&sandbox);
    sandbox.ok(&["up", "-d", "--wait"]);
    let (pids, calls) = (sandbox.leaders(), sandbox.lines("calls"));
    for (line, step) in [
        (&["down", "-v", "--dry-run"][..], "stop"),
        (&["--dry-run", "stop"], "stop"),
        (&["restart", "--dry-run", "a"], "start"),
        (&["kill", "--dry-run"], "kill"),
        (&["pause", "--dry-run"], "pause"),
        (&["rm", "--stop", "--dry-run"], "stop"),
        (&["scale", "--dry-run", "a=2"], "a:2"),
        (&["up", "--dry-run", "--scale", "a=2"], "a:2"),
        (&["purge", "--dry-run"], "tmp/a"),
    ] {
        let said = sandbox.run(line);
        assert!(said.code == 10 && said.out.contains(step), "{line:?}: {said:?}");
        assert_eq!((sandbox.leaders(), sandbox.lines("calls")), (pids.clone(), calls.clone()), "{line:?}");
    }
    assert_eq!(sandbox.run(&["start", "--dry-run"]).code, 0, "it runs already");
    // What cannot be rehearsed is refused.
    for line in [
        &["exec", "--dry-run", "a", "touch", "made"][..],
        &["--dry-run", "run", "a", "touch", "made"],
        &["switch", "--dry-run", "demo"],
    ] {
        let said = sandbox.run(line);
        assert!(said.code == 2 && said.err.contains("has no dry run"), "{line:?}: {said:?}");
        assert_eq!((sandbox.leaders(), sandbox.lines("calls")), (pids.clone(), calls.clone()), "{line:?}");
        assert!(!sandbox.path("made").exists(), "{line:?}");
    }
    assert_eq!(sandbox.run(&["-p", "nobody", "--dry-run", "down"]).code, 0);
    assert_eq!(sandbox.run(&["-p", "nobody", "--dry-run", "restart"]).code, 5);
    assert!(is_alive(pids[0]) && sandbox.path("tmp/a").exists());
    // Nor is what was stopped brought up.
    sandbox.ok(&["stop"]);
    let calls = sandbox.lines("calls");
    for line in [&["start", "--dry-run"][..], &["restart", "--dry-run"]] {
        assert_eq!(sandbox.run(line).code, 10, "{line:?}");
        assert_eq!(sandbox.lines("calls"), calls, "{line:?}");
    }
}

#[test]
fn a_plan_says_what_an_up_would_not_begin_with() {
    let sandbox = Sandbox::new(
        "requires: [{file: wanted, hint: make it}, {command: touch ran}]\nprocesses: {a: {command: exec sleep 1000}}\n",
    );
    for line in [&["plan"][..], &["up", "--dry-run"]] {
        let said = sandbox.run(line);
        assert!(
            said.err.contains("`up` would not begin: the file `") && said.err.contains("wanted` is missing: make it"),
            "{said:?}"
        );
        assert!(said.code == 10 && said.out.contains("a:1"), "what else it would do is shown: {said:?}");
    }
    sandbox.write("wanted", "");
    let said = sandbox.run(&["plan"]);
    assert!(said.code == 10 && said.err.is_empty(), "{said:?}");
    assert!(!sandbox.path("ran").exists(), "whoever only looks runs no command of the user's");
}

#[test]
fn a_plan_leaves_out_the_containers_that_an_up_would_leave_out() {
    let edge = "depends_on: {c: {condition: service_started, required: false}}";
    let stack = format!("services: {{c: {{image: x}}}}\nprocesses: {{a: {{command: exec sleep 1000, {edge}}}}}\n");
    let sandbox = Sandbox::new(&stack);
    let said = sandbox.run(&["plan"]);
    assert!(said.out.contains("a:1") && !said.out.contains("c:1") && !said.out.contains("image"), "{said:?}");
    assert!(said.err.contains("`c` left out, since nothing requires it"), "{said:?}");
    sandbox.ok(&["up", "-d"]);
    let said = sandbox.run(&["plan"]);
    assert_eq!((said.code, said.out.contains("nothing to do")), (0, true), "{said:?}");
}

#[test]
fn orphans_go_with_a_variable_or_a_flag_of_any_command_that_has_it() {
    const BOTH: &str = "processes: {a: {command: exec sleep 1000}, b: {command: exec sleep 1000}}\n";
    const ONE: &str = "processes: {a: {command: exec sleep 1000}}\n";
    for line in [&["kill", "--remove-orphans", "-s", "CONT", "a"][..], &["run", "--remove-orphans", "a", "true"], &["up", "-d"]] {
        let mut sandbox = Sandbox::new(BOTH);
        sandbox.ok(&["up", "-d"]);
        let pids = sandbox.leaders();
        sandbox.write("stack.yaml", ONE);
        let said = sandbox.run(&["plan"]);
        assert!(!said.out.contains("b:1") && said.err.contains("no longer has `b`"), "{said:?}");
        sandbox.write(".env", "COMPOSE_REMOVE_ORPHANS=true\n");
        let said = sandbox.run(&["plan"]);
        assert!(said.out.contains("b:1") && !said.err.contains("no longer has"), "{said:?}");
        if line[0] == "up" {
            sandbox.variable("COMPOSE_REMOVE_ORPHANS", Some("1"));
        }
        std::fs::remove_file(sandbox.path(".env")).unwrap();
        sandbox.ok(line);
        until("the orphan is gone", || pids.iter().filter(|pid| is_alive(**pid)).count() == 1);
        until("nobody knows it", || sandbox.ok(&["ps", "--all", "--services"]) == "a\n");
    }
}

#[test]
fn nothing_is_an_orphan_of_which_it_is_not_certain() {
    const A: &str = "a: {command: exec sleep 1000}";
    const B: &str = "processes: {b: {command: exec sleep 1000}}\n";
    let sandbox = Sandbox::new(&format!("name: demo\nprocesses: {{{A}}}\n"));
    sandbox.write("more.yaml", B);
    sandbox.ok(&["-f", "stack.yaml", "-f", "more.yaml", "up", "-d"]);
    let pids = sandbox.leaders();
    let intact = |what: &str| {
        assert!(pids.len() == 2 && pids.iter().all(|pid| is_alive(*pid)), "{what}");
        assert_eq!(sandbox.ok(&["-p", "demo", "ps", "--all", "--services"]), "a\nb\n", "{what}");
    };
    let lines = [&["kill", "--remove-orphans", "-s", "CONT"][..], &["run", "--remove-orphans", "a", "true"]];
    for line in lines {
        sandbox.ok(line);
        intact("it was started from several files");
    }
    for broken in
        ["processes: {b: 7}\n", "include: [missing.yaml]\n", "processes: {b: {command: '${MISSING:?}'}}\n", "processes: {"]
    {
        sandbox.write("more.yaml", broken);
        for line in lines {
            let said = sandbox.run(line);
            assert!(said.code == 3 && said.err.contains("yaml:1:"), "{line:?}, {broken}: {said:?}");
            intact(broken);
        }
    }
    // The files that are here are another stack's.
    let here = ["-p", "demo", "kill", "--remove-orphans", "-s", "CONT"];
    sandbox.write("more.yaml", B);
    sandbox.write("other/stack.yaml", "processes: {c: {command: 'true'}}\n");
    assert_eq!(sandbox.run_in(&sandbox.path("other"), &here).code, 0);
    intact("another stack's files");
    std::fs::remove_file(sandbox.path("more.yaml")).unwrap();
    assert_eq!(sandbox.run_in(&sandbox.path("other"), &here).code, 0);
    intact("another stack's files, and its own are gone");
    // Neither the files nor what was started from them are known.
    std::fs::remove_file(sandbox.path("stack.yaml")).unwrap();
    for record in std::fs::read_dir(sandbox.env_dir()).unwrap().map(|entry| entry.unwrap()) {
        let name = record.file_name().into_string().unwrap();
        if name.starts_with("deployment") || name.starts_with("snapshot") {
            std::fs::remove_file(record.path()).unwrap();
        }
    }
    sandbox.ok(&here);
    intact("nothing is known");
}

#[test]
fn restart_takes_files_as_they_are_and_says_of_the_stack_alone_that_up_applies_it() {
    let command = "'cat $$CONFIG_C_FILE >> seen; exec sleep 1000'";
    let stack = format!("configs: {{c: {{file: c.txt}}}}\nprocesses: {{a: {{command: {command}, configs: [c]}}}}\n");
    let sandbox = Sandbox::new(&stack);
    sandbox.write("c.txt", "one\n");
    sandbox.ok(&["up", "-d"]);
    until("it has read it", || sandbox.lines("seen") == ["one"]);
    sandbox.write("c.txt", "two\n");
    let said = sandbox.run(&["restart"]);
    assert!(said.code == 0 && !said.err.contains("have changed"), "{said:?}");
    until("it has read what is there by now", || sandbox.lines("seen") == ["one", "two"]);
    sandbox.write("stack.yaml", &stack.replace(">> seen", ">> other"));
    let said = sandbox.run(&["restart"]);
    assert!(said.err.contains("the files of `a` have changed since the last `up`, which alone applies them"), "{said:?}");
    until("it is the same definition", || sandbox.lines("seen").len() == 3);
}

#[test]
fn what_no_service_uses_is_shown_when_it_is_asked_for() {
    let sandbox = Sandbox::new("services: {a: {image: x}}\nvolumes: {idle: {}}\nnetworks: {spare: {}}\n");
    let plain = sandbox.ok(&["config"]);
    assert!(!plain.contains("idle") && !plain.contains("spare"), "{plain}");
    let all = sandbox.ok(&["--all-resources", "config"]);
    assert!(all.contains("idle") && all.contains("spare"), "{all}");
}

#[test]
fn a_value_that_could_only_be_refused_later_is_refused_before_anything_starts() {
    let sandbox = Sandbox::new("");
    for (attribute, in_config, message) in [
        ("stop_signal: NOPE", 3, "`services.a.stop_signal`: `NOPE` is not a signal"),
        ("restart: sometimes", 3, "`services.a.restart`: `sometimes` is not a restart policy"),
        ("mem_limit: 1m", 0, "`services.a.mem_limit`: 1048576 bytes are too few"),
        ("working_dir: app", 0, "`services.a.working_dir`: `app` is not an absolute path"),
    ] {
        sandbox.write(
            "stack.yaml",
            &format!(
                "services: {{a: {{image: x, {attribute}}}}}\nprocesses: {{p: {{command: 'touch begun; exec sleep 1000'}}}}\n"
            ),
        );
        assert_eq!(sandbox.run(&["config", "-q"]).code, in_config, "{attribute}");
        for line in [&["up", "-d"][..], &["plan"], &["create"], &["run", "p", "true"], &["scale", "p=1"]] {
            let said = sandbox.run(line);
            assert!(said.code == 3 && said.err.contains(message) && said.err.contains("stack.yaml:1:"), "{line:?}: {said:?}");
        }
    }
    assert!(!sandbox.path("begun").exists());
}
