//! What somebody meets who is new to the program: calls that are refused, names with a slip, images that do not come. Each is told
//! in words that help, with the documented exit code, and leaves nothing behind.

use std::fs;
use std::time::{Duration, Instant};

use bollard::query_parameters as options;
use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, is_alive, until};
use crate::support::terminal::Terminal;

/// A stack without a name: its first `up` makes one and records it.
const NAMELESS: &str = "
processes:
  web:
    command: exec sleep 1000
    stop_grace_period: 500ms
    environment: {TOKEN: '${TOKEN}'}
generate: {TOKEN: {hex: 16}}
";

/// The environments that the state knows.
fn environments(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.state()).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn a_refused_call_leaves_no_environment_behind() {
    let sandbox = Sandbox::new(NAMELESS);
    sandbox.write("wrong.yaml", "processes: {web: {command: run, depends_on: [nobody]}}\n");
    sandbox.write("needs.yaml", "processes: {web: {command: run}}\nrequires: [{tool: no-such-tool-anywhere}]\n");
    sandbox.write("away.yaml", "services: {db: {image: x}}\nprocesses: {web: {command: run}}\n");
    for (line, code) in [
        (&["up", "-d", "wbe"][..], 2),
        (&["run", "wbe", "true"], 2),
        (&["scale", "wbe=2"], 2),
        (&["up", "-d", "--scale", "wbe=2"], 2),
        (&["run", "--publish", "80", "web"], 2),
        (&["-f", "wrong.yaml", "up", "-d"], 3),
        (&["-f", "needs.yaml", "up", "-d"], 1),
        (&["-f", "away.yaml", "up", "-d"], 4),
        (&["-f", "away.yaml", "create"], 4),
    ] {
        let said = sandbox.run(line);
        assert_eq!(said.code, code, "{line:?}: {said:?}");
        assert!(!said.err.contains("environment "), "a name that nobody will see again: {said:?}");
        assert_eq!(environments(&sandbox), Vec::<String>::new(), "{line:?}");
        assert!(!sandbox.path(".baistack").exists(), "{line:?}");
    }
    assert_eq!(sandbox.ok(&["ls", "--all", "--quiet"]), "");
    sandbox.ok(&["up", "-d"]);
    let made = environments(&sandbox);
    assert_eq!(made.len(), 1);
    let kept = fs::read_to_string(sandbox.env_dir().join("values.json")).unwrap();
    assert_eq!(sandbox.run(&["up", "-d", "wbe"]).code, 2);
    assert_eq!(environments(&sandbox), made);
    assert_eq!(fs::read_to_string(sandbox.env_dir().join("values.json")).unwrap(), kept, "what there is stays");
    sandbox.ok(&["down"]);
}

#[test]
fn a_run_that_there_was_not_is_refused_and_the_last_one_named() {
    let sandbox = Sandbox::new("processes: {web: {command: 'echo said; exec sleep 1000', stop_grace_period: 500ms}}\n");
    sandbox.ok(&["up", "-d"]);
    sandbox.ok(&["restart", "web"]);
    until("the second life speaks", || sandbox.ok(&["logs", "--run", "2", "web"]).contains("said"));
    assert!(sandbox.ok(&["logs", "--run", "last"]).contains("said"));
    let said = sandbox.run(&["logs", "--run", "99", "web"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("no run 99") && said.err.contains("the last one is 2"), "{said:?}");
    sandbox.ok(&["down"]);
}

#[test]
fn a_program_that_is_not_there_or_may_not_be_run_is_told_by_the_codes_of_a_shell() {
    let sandbox = Sandbox::new("processes: {web: {command: exec sleep 1000, stop_grace_period: 500ms}}\n");
    sandbox.write("plain", "");
    sandbox.ok(&["up", "-d"]);
    for verb in ["exec", "run"] {
        for (program, code) in [("no-such-program", 127), ("./no-such-program", 127), ("./plain", 126), ("/", 126)] {
            let said = sandbox.run(&[verb, "web", program]);
            assert_eq!(said.code, code, "{verb} {program}: {said:?}");
            assert!(said.err.contains(program.trim_start_matches("./")), "{said:?}");
        }
    }
    sandbox.ok(&["down"]);
}

#[test]
fn a_program_that_a_container_has_not_is_told_by_the_codes_of_a_shell() {
    let stack = "services:\n  web: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s}\n";
    let Some(sandbox) = Sandbox::with_engine("noprogram", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    for (program, code) in [("no-such-program", 127), ("/no/such", 127), ("/etc/passwd", 126)] {
        for line in [&["exec", "-T", "web", program][..], &["exec", "-d", "web", program], &["run", "--rm", "-T", "web", program]]
        {
            let said = sandbox.run(line);
            assert_eq!(said.code, code, "{line:?}: {said:?}");
        }
    }
    assert_eq!(sandbox.run(&["exec", "-T", "web", "sh", "-c", "exit 126"]).code, 126, "its own word");
    assert_eq!(sandbox.engine().containers(), ["web-1"]);
}

/// Nobody listens there: the engine is refused, and that may pass.
const UNREACHABLE: &str = "services:\n  web: {image: 'localhost:1/IMAGE', command: [sleep, '1000']}\n";

#[test]
fn each_try_of_a_pull_is_told_and_after_a_while_there_is_none_any_more() {
    let Some(sandbox) = Sandbox::with_engine("unpulled", UNREACHABLE) else { return };
    let begun = Instant::now();
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    for wait in ["next try in 1 s", "next try in 2 s"] {
        assert_eq!(said.err.matches(wait).count(), 1, "{said:?}");
    }
    assert_eq!(said.err.matches("\nerror: ").count() + usize::from(said.err.starts_with("error: ")), 1, "{said:?}");
    let said = sandbox.run(&["pull"]);
    assert!(said.code == 1 && said.err.contains("next try in 1 s"), "{said:?}");
}

#[test]
fn what_cannot_be_pulled_is_told_once_whoever_misses_it_and_the_rest_goes_on() {
    let service = |image: &str| format!("{{image: {image}, command: [sleep, '1000'], init: true, stop_grace_period: 0s}}");
    let (missing, good) = (service("'localhost:1/IMAGE'"), service("IMAGE"));
    let stack = format!("services:\n  one: {missing}\n  two: {missing}\n  good: {good}\n");
    let Some(sandbox) = Sandbox::with_engine("missed", &stack) else { return };
    let image = format!("localhost:1/{}", sandbox.engine().image());
    for (line, told) in [
        (&["create"][..], format!("error: one, two: pull of {image}: ")),
        (&["up", "-d"], format!("error: one, two: pull of {image}: ")),
        (&["up", "-d", "--wait"], format!("error: one, two: pull of {image}: ")),
        (&["pull", "one", "two"], format!("error: {image} (for one, two): ")),
        (&["run", "--rm", "two", "true"], format!("error: {image} (for two): ")),
    ] {
        let said = sandbox.run(line);
        assert_eq!(said.code, 1, "{line:?}: {said:?}");
        assert_eq!(said.err.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{line:?}: {said:?}");
        assert!(said.err.contains(&told), "{line:?}: {said:?}");
        assert_eq!(said.err.matches("next try in 1 s").count(), 1, "{line:?}: {said:?}");
        assert_eq!(sandbox.engine().containers(), ["good-1"]);
    }
    assert!(sandbox.engine().is_running("good-1"));
}

#[test]
fn a_pull_is_broken_off_by_down_and_purge_finds_nothing_in_its_way() {
    let Some(sandbox) = Sandbox::with_engine("brokenoff", UNREACHABLE) else { return };
    let up = sandbox.begin(&["up", "-d"]);
    up.wait_for("next try in 2 s");
    let begun = Instant::now();
    sandbox.ok(&["down"]);
    sandbox.ok(&["purge", "--yes"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(up.end(), 1, "overruled");
    assert_eq!(environments(&sandbox), Vec::<String>::new());
}

#[test]
fn a_pull_is_broken_off_by_ctrl_c() {
    let Some(sandbox) = Sandbox::with_engine("ctrlc", UNREACHABLE) else { return };
    let up = sandbox.begin(&["up"]);
    up.wait_for("next try in 2 s");
    let supervisor = sandbox.supervisor();
    let begun = Instant::now();
    up.signal(Signal::SIGINT);
    assert_eq!(up.end(), 130);
    until("the supervisor has nothing left to do", || !is_alive(supervisor));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn ctrl_c_in_the_background_ends_what_has_not_come_about_and_leaves_what_runs() {
    let stack = format!("{UNREACHABLE}  own: {{image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s}}\n");
    let Some(sandbox) = Sandbox::with_engine("recalled", &stack) else { return };
    for (line, signal, code) in [
        (&["up", "-d"][..], Signal::SIGINT, 130),
        (&["up", "-d", "--wait"], Signal::SIGTERM, 143),
        (&["start"], Signal::SIGINT, 130),
    ] {
        let command = sandbox.begin(line);
        command.wait_for("next try in 1 s");
        until("the other one runs", || sandbox.engine().is_running("own-1"));
        let supervisor = sandbox.supervisor();
        command.signal(signal);
        command.wait_for("interrupted: what runs stays, web:1 is not started; `baistack up` goes on");
        assert_eq!(command.end(), code, "{line:?}");
        until("the supervisor has nothing left to do", || !is_alive(supervisor));
        assert_eq!(sandbox.engine().containers(), ["own-1"]);
    }
    assert!(sandbox.engine().is_running("own-1"));
}

#[test]
fn ctrl_c_leaves_an_end_to_whoever_carries_it_out() {
    let sandbox = Sandbox::new(
        "processes: {slow: {command: \"trap '' TERM; echo up; while :; do sleep 1; done\", stop_grace_period: 3s}}\n",
    );
    sandbox.ok(&["up", "-d"]);
    until("it listens to no signal", || sandbox.run(&["logs"]).out.contains("up"));
    let supervisor = sandbox.supervisor();
    let stop = sandbox.begin(&["stop"]);
    stop.wait_for("slow:1");
    stop.signal(Signal::SIGINT);
    stop.wait_for("interrupted: it goes on in the background");
    assert_eq!(stop.end(), 130);
    until("it is stopped", || !is_alive(supervisor));
}

#[test]
fn nothing_is_made_under_a_name_that_is_none_or_where_there_is_no_place() {
    let stack = "services:\n  web: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s}\n";
    let Some(sandbox) = Sandbox::with_engine("badname", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    let images = || {
        let list = options::ListImagesOptionsBuilder::default().all(true);
        let filters = std::collections::HashMap::from([("dangling", vec!["true"])]);
        sandbox.engine().ask(async |api| api.list_images(Some(list.filters(&filters).build())).await.unwrap().len())
    };
    let before = images();
    for name in ["Bad Name", "web:-x", "web@sha256:00"] {
        let said = sandbox.run(&["commit", "web", name]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(name), "{said:?}");
    }
    assert_eq!(images(), before);
    let said = sandbox.run(&["export", "-o", "nowhere/web.tar", "web"]);
    assert!(said.code == 1 && said.err.contains("no directory `nowhere`"), "{said:?}");
    let said = sandbox.run(&["cp", "web:/etc/passwd", "nowhere/else/passwd"]);
    assert!(said.code == 1 && said.err.contains("nowhere/else"), "{said:?}");
    assert!(!sandbox.path("nowhere").exists());
    let said = sandbox.run(&["cp", "web:/no/such", "."]);
    assert!(said.code == 1 && said.err.contains("/no/such"), "{said:?}");
    for line in [
        &["exec", "--index", "7", "-T", "web", "true"][..],
        &["commit", "--index", "7", "web", "x"],
        &["export", "--index", "7", "-o", "x.tar", "web"],
        &["cp", "--index", "7", "web:/etc/passwd", "."],
        &["port", "--index", "7", "web", "80"],
        &["attach", "--index", "7", "web"],
        &["logs", "--index", "7", "web"],
    ] {
        let said = sandbox.run(line);
        assert_eq!(said.code, 5, "{line:?}: {said:?}");
        assert!(said.err.contains("`web` has no replica 7"), "{said:?}");
    }
    assert!(!sandbox.path("x.tar").exists() && !sandbox.path("passwd").exists());
}

#[test]
fn a_command_tells_what_it_causes_and_not_what_was_so_before() {
    let stack = "services:\n  db: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s}\n  \
                 web: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s}\n";
    let Some(sandbox) = Sandbox::with_engine("news", stack) else { return };
    let up = sandbox.run(&["up", "-d"]);
    assert_eq!(up.err.matches(" web:1").count(), up.err.lines().filter(|line| line.starts_with(" web:1")).count());
    let stopped = sandbox.run(&["stop", "web"]);
    assert!(!stopped.err.contains("db:1"), "{stopped:?}");
    assert!(stopped.err.contains("web:1") && !stopped.err.contains("running"), "{stopped:?}");
    let down = sandbox.run(&["down", "--progress", "json"]);
    let removed = down.err.lines().filter(|line| line.contains("\"db:1\"") && line.contains("absent")).count();
    assert_eq!(removed, 1, "{down:?}");
    assert!(!down.err.contains("\"running\""), "{down:?}");
}

#[test]
fn ps_shows_the_image_that_runs() {
    let stack = "services:\n  web: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s}\n";
    let Some(sandbox) = Sandbox::with_engine("psimage", stack) else { return };
    sandbox.ok(&["up", "-d"]);
    let image = sandbox.engine().image();
    sandbox.write("stack.yaml", &stack.replace("IMAGE", &format!("localhost:1/{image}")));
    assert_eq!(sandbox.run(&["up", "-d"]).code, 1, "it cannot be pulled");
    let shown = sandbox.ok(&["ps"]);
    assert!(shown.contains(&image) && !shown.contains("localhost:1"), "{shown}");
}

#[test]
fn a_plan_knows_which_tasks_have_new_inputs() {
    let sandbox = Sandbox::new(
        "processes:\n  make: {command: 'cat in > out', inputs: [in], outputs: [out]}\n  \
         proven: {command: 'echo > proof', check: test -e proof}\n",
    );
    sandbox.write("in", "1");
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(sandbox.run(&["plan"]).code, 0);
    sandbox.write("in", "2");
    let plan = sandbox.run(&["plan"]);
    assert_eq!(plan.code, 10, "{plan:?}");
    assert!(plan.out.contains("make:1") && plan.out.contains("in changed") && !plan.out.contains("proven"), "{plan:?}");
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(sandbox.run(&["up", "--dry-run"]).code, 0);
}

#[test]
fn a_network_that_somebody_else_uses_stays_and_its_containers_with_it() {
    let stack = |label: &str| {
        format!(
            "services:\n  web: {{image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 1s, networks: [front]}}\n\
             networks: {{front: {{labels: {{version: '{label}'}}}}}}\n"
        )
    };
    let Some(sandbox) = Sandbox::with_engine("foreign", &stack("1")) else { return };
    sandbox.ok(&["up", "-d"]);
    let engine = sandbox.engine();
    let (id, network) = (engine.id("web-1"), format!("{}_front", engine.env()));
    let stranger = format!("{}-stranger", engine.env());
    let body = bollard::models::ContainerCreateBody {
        image: Some(engine.image()),
        cmd: Some(vec!["sleep".to_owned(), "1000".to_owned()]),
        host_config: Some(bollard::models::HostConfig { network_mode: Some(network), init: Some(true), ..Default::default() }),
        ..Default::default()
    };
    let create = options::CreateContainerOptionsBuilder::default().name(&stranger).build();
    engine.ask(async |api| {
        api.create_container(Some(create), body).await.unwrap();
        api.start_container(&stranger, None::<options::StartContainerOptions>).await.unwrap();
    });
    sandbox.write("stack.yaml", &stack("2").replace("IMAGE", &engine.image()));
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.err.matches(&stranger).count(), 1, "{said:?}");
    assert!(said.err.contains("not made anew") && said.err.contains("networks.front.labels.version"), "{said:?}");
    assert!(!said.err.contains("recreate"), "{said:?}");
    assert_eq!(engine.id("web-1"), id, "no container is touched for nothing");
    let force = options::RemoveContainerOptionsBuilder::default().force(true).build();
    engine.ask(async |api| api.remove_container(&stranger, Some(force)).await.unwrap());
}

#[test]
fn directories_that_are_emptied_here_go_in_a_watched_container_too() {
    let stack = "services:\n  web:\n    image: IMAGE\n    command: [sleep, '1000']\n    init: true\n    stop_grace_period: 1s\n    \
                 develop: {watch: [{path: src, action: sync, target: /app}]}\n";
    let Some(sandbox) = Sandbox::with_engine("emptied", stack) else { return };
    sandbox.write("src/keep", "");
    let up = sandbox.begin(&["up", "--watch"]);
    until("it runs", || sandbox.engine().is_running("web-1"));
    let inside = |path: &str| sandbox.run(&["exec", "-T", "web", "test", "-e", path]).code == 0;
    sandbox.write("src/deep/er/file", "1");
    until("a new file is copied", || inside("/app/deep/er/file"));
    up.wait_for("web:1: synced src/deep/er/file");
    fs::remove_dir_all(sandbox.path("src/deep")).unwrap();
    until("its directories go with it", || !inside("/app/deep"));
    up.signal(Signal::SIGINT);
    assert_eq!(up.end(), 130);
}

#[test]
fn a_wrong_port_is_told_once_with_the_way_to_write_it_there() {
    let sandbox = Sandbox::new(
        "ports: {web: 99999, api: '99999'}\nservices: {db: {image: x, ports: [abc]}}\n\
         processes:\n  web: {command: run, ports: [abc]}\n",
    );
    let said = sandbox.run(&["config", "-q"]);
    assert_eq!(said.code, 3);
    for (mistake, help) in [
        ("`ports.web`", "a number from 1 to 65535"),
        ("`ports.api`", "a port such as `8081`"),
        ("`services.db.ports[0]`", "`[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`"),
        ("`processes.web.ports[0]`", "`[ADDRESS:]PORT[/PROTOCOL]`"),
    ] {
        assert_eq!(said.err.matches(mistake).count(), 1, "{mistake}: {}", said.err);
        assert!(said.err.contains(help), "{help}: {}", said.err);
    }
}

#[test]
fn a_working_dir_that_nothing_makes_is_told_with_its_place_before_anything_starts() {
    let sandbox =
        Sandbox::new("processes:\n  a: {command: exec sleep 1000, working_dir: nowhere}\n  b: {command: exec sleep 1000}\n");
    for line in [&["plan"][..], &["up", "-d"]] {
        let said = sandbox.run(line);
        assert!(
            said.code == 3 && said.err.contains("stack.yaml:2:46") && said.err.contains("nowhere` does not exist"),
            "{said:?}"
        );
    }
    assert_eq!(environments(&sandbox), [""; 0]);
    // What does not ask for it is kept from nothing.
    sandbox.ok(&["up", "-d", "b"]);
    for made in [
        "working_dir: '${ENV_DIR}/x'",
        "working_dir: '${RUN_DIR}'",
        "working_dir: tmp/x, scratch: [tmp/x/y]",
        "working_dir: made, depends_on: {b: {condition: service_completed_successfully}}",
    ] {
        let maker = "b: {command: mkdir -p made, outputs: [made]}";
        sandbox.write("stack.yaml", &format!("processes:\n  a: {{command: exec sleep 1000, {made}}}\n  {maker}\n"));
        sandbox.ok(&["up", "-d", "--wait"]);
        sandbox.ok(&["down"]);
    }
    sandbox.write("stack.yaml", "processes: {a: {command: 'true', working_dir: stack.yaml}}\n");
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 3 && said.err.contains("stack.yaml` is not a directory"), "{said:?}");
}

#[test]
fn an_up_of_nothing_says_so() {
    let sandbox = Sandbox::new("services: {}\n");
    for (stack, told) in [
        ("services: {}\n", "nothing to start: the stack has no service"),
        ("processes: {a: {command: 'true', profiles: [p]}}\n", "no profile is on that `a` asks for; --profile names one"),
    ] {
        sandbox.write("stack.yaml", stack);
        for line in [&["up"][..], &["up", "-d"]] {
            let said = sandbox.run(line);
            assert!(said.code == 0 && said.err.contains(told), "{line:?}: {said:?}");
        }
    }
}

#[test]
fn whoever_detaches_during_a_start_is_told_so_below_what_was_shown() {
    let stack = "name: demo\nprocesses: {slow: {command: exec sleep 1000, healthcheck: {file: never}}, \
                 web: {command: exec sleep 1000, depends_on: {slow: {condition: service_healthy}}}}\n";
    let sandbox = Sandbox::new(stack);
    // Nothing is drawn where there are no columns.
    let mut command = sandbox.command_after("stty cols 100 rows 40", &["up"]);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::begin(command);
    terminal.wait_for("slow:1");
    terminal.type_until_it_ends("d");
    let shown = terminal.end();
    let (_, below) = shown.split_once("detached; ").unwrap_or_else(|| panic!("{shown}"));
    assert!(below.contains("`baistack down -p demo` ends it") && !below.contains("slow:1"), "{below}");
    assert_eq!(sandbox.leaders().len(), 1);
}
