//! Images that services build, by the whole program: who waits for whom, what is said meanwhile, and what is refused before.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::sandbox::{Said, Sandbox, pids_of, until};

/// A step that runs a command of a shell.
fn run(command: &str) -> String {
    format!("RUN {}", serde_json::json!(["/bin/sh", "-c", command]))
}

/// How often something was said.
fn count(said: &Said, words: &str) -> usize {
    said.err.matches(words).count()
}

#[test]
fn what_another_service_builds_is_waited_for_built_once_and_never_pulled() {
    let made = "image: localhost:1/IMAGE-app, pull_policy: build, build: {dockerfile_inline: \"FROM IMAGE\\n\"}, init: true";
    let stack = format!(
        "services:\n  \
           user: {{image: 'localhost:1/IMAGE-app', command: [sleep, '1000'], init: true}}\n  \
           maker: {{{made}, command: [sleep, '1000']}}\n  \
           twin: {{{made}, command: [sleep, '1001']}}\n"
    );
    let Some(sandbox) = Sandbox::with_engine("named", &stack) else { return };
    let said = sandbox.run(&["--progress", "plain", "up", "-d"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(["user-1", "maker-1", "twin-1"].iter().all(|unit| sandbox.engine().is_running(unit)), "{said:?}");
    assert_eq!((count(&said, " building"), count(&said, " pull")), (1, 0), "{said:?}");
    // More replicas leave those alone that are there, and their image.
    let before = sandbox.engine().id("maker-1");
    let said = sandbox.run(&["--progress", "plain", "scale", "twin=2"]);
    assert_eq!((said.code, count(&said, " building")), (0, 0), "{said:?}");
    assert_eq!(sandbox.engine().id("maker-1"), before);
    // Where nobody else wants it, and where it is gone.
    sandbox.ok(&["down", "--rmi", "all", "--timeout", "0"]);
    sandbox.ok(&["up", "-d", "user"]);
    assert_eq!(sandbox.engine().containers(), ["user-1"]);
    sandbox.ok(&["down", "--rmi", "all", "--timeout", "0"]);
    assert_eq!(sandbox.ok(&["run", "--rm", "user", "echo", "made"]), "made\n");
    let said = sandbox.run(&["--progress", "plain", "build"]);
    assert_eq!((said.code, count(&said, " building")), (0, 1), "{said:?}");
}

#[test]
fn a_build_is_followed_line_by_line_with_its_service_on_stderr() {
    let stack = format!(
        "services:\n  web:\n    build:\n      dockerfile_inline: |\n        FROM IMAGE\n        {}\n    command: [sleep, '1000']\n    init: true\n",
        run("echo one; echo one; echo two")
    );
    let Some(sandbox) = Sandbox::with_engine("followed", &stack) else { return };
    for line in [&["build"][..], &["--progress", "plain", "build", "--no-cache"], &["up", "-d", "--build"]] {
        if line[0] == "up" {
            sandbox.ok(&["down", "--rmi", "all", "--timeout", "0"]);
        }
        let said = sandbox.run(line);
        assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
        let written: Vec<&str> =
            said.err.lines().filter_map(|line| line.trim_start().strip_prefix("image of web")).map(str::trim).collect();
        let at = |text: &str| written.iter().position(|line| *line == text);
        let is_cached = line[0] == "up" && at("one").is_none();
        assert!(is_cached || written.windows(3).any(|lines| lines == ["one", "one", "two"]), "{line:?}: {said:?}");
        assert!(at("building") < at("built") && at("built").is_some(), "{said:?}");
    }
    sandbox.write("stack.yaml", &stack.replace("echo one; echo one", "echo one >&2").replace("IMAGE", &sandbox.engine().image()));
    let said = sandbox.run(&["--progress", "json", "build", "--no-cache"]);
    let words: Vec<Value> = said.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wrote: Vec<&str> = words.iter().filter_map(|word| word["wrote"]["line"].as_str()).map(str::trim).collect();
    assert!(wrote.contains(&"one") && !said.err.contains("u001b"), "{said:?}");
    let said = sandbox.run(&["build", "--quiet", "--no-cache"]);
    assert_eq!((said.code, said.err.as_str(), said.out.as_str()), (0, "", ""), "{said:?}");
    sandbox.ok(&["down", "--timeout", "0"]);
    let said = sandbox.run(&["up", "-d", "--build", "--quiet-build"]);
    assert!(said.code == 0 && said.err.contains("built") && !said.err.contains("RUN"), "{said:?}");
}

#[test]
fn a_build_that_fails_is_told_once_with_its_line_and_what_the_step_wrote() {
    let stack = "services: {web: {build: {context: web, args: {A: value}}, command: [sleep, '1000'], init: true}}\n";
    let Some(sandbox) = Sandbox::with_engine("fails", stack) else { return };
    let image = sandbox.engine().image();
    let failing = |flags: &str| format!("FROM {image}\nARG A\n\n  RUN {flags}echo the reason $A \\\n && exit 7\n");
    for flags in ["", "--mount=type=cache,target=/c "] {
        std::fs::create_dir_all(sandbox.path("web")).unwrap();
        sandbox.write("web/Dockerfile", &failing(flags));
        for line in [&["build"][..], &["up", "-d"], &["--progress", "plain", "up", "-d"]] {
            let said = sandbox.run(line);
            assert_eq!(said.code, 1, "{said:?}");
            let told = said.err.split("error: ").last().unwrap();
            assert!(told.contains("\n  the reason value\n"), "{line:?} {flags}: {said:?}");
            let place = format!("--> web/Dockerfile:4:3\n  |\n4 |   RUN {flags}echo the reason $A \\\n  |   ^^^^");
            assert!(told.contains(&place), "{line:?} {flags}: {said:?}");
            assert_eq!(count(&said, "web/Dockerfile:4:3"), 1, "{line:?} {flags}: {said:?}");
        }
    }
    sandbox.write("web/Dockerfile", &format!("FROM {image}\nRUNN x\n"));
    let said = sandbox.run(&["build"]);
    assert!(said.code == 1 && said.err.contains("--> web/Dockerfile:2:1") && said.err.contains("2 | RUNN x"), "{said:?}");
}

const AMISS: &str = "
services:
  first: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s}
  nowhere: {build: {context: ./none}, depends_on: [first]}
  unwritten:
    build:
      context: .
      dockerfile: web.Dockerfile
  named: {image: IMAGE-named, pull_policy: build, build: {additional_contexts: {other: ./other}, dockerfile_inline: FROM IMAGE}}
";

#[test]
fn what_a_build_begins_with_and_is_not_there_is_told_at_its_place_before_anything_is_begun() {
    let Some(sandbox) = Sandbox::with_engine("amiss", AMISS) else { return };
    // One mistake hides no other, of whatever kind.
    let misnamed =
        AMISS.replace("context: ./none}", "context: ./none, tags: ['X:1']}").replace("IMAGE", &sandbox.engine().image());
    sandbox.write("misnamed.yaml", &misnamed);
    for line in [&["-f", "misnamed.yaml", "up", "-d"][..], &["-f", "misnamed.yaml", "build"]] {
        let said = sandbox.run(line);
        assert_eq!(said.code, 3, "{said:?}");
        for words in
            ["`X:1` is no name of an image", "there is nothing to build from", "there is no Dockerfile", "context `other`"]
        {
            assert_eq!(said.err.matches(words).count(), 1, "{words}: {said:?}");
        }
    }
    let told = [
        ("stack.yaml:4:21", "`nowhere`: there is nothing to build from"),
        ("stack.yaml:8:7", "`unwritten`: there is no Dockerfile"),
        ("stack.yaml:9:", "`named`: there is nothing for its context `other`"),
    ];
    for line in [&["up", "-d"][..], &["build"]] {
        let said = sandbox.run(line);
        assert_eq!(said.code, 3, "{said:?}");
        for (place, words) in told {
            assert!(said.err.contains(place) && said.err.contains(words), "{place} {words}: {said:?}");
        }
        assert!(sandbox.engine().containers().is_empty());
    }
    for line in [&["plan"][..], &["up", "--dry-run"]] {
        let said = sandbox.run(line);
        assert_eq!(said.code, 10, "{said:?}");
        for (place, words) in told {
            let warning = said.err.lines().find(|line| line.contains(words)).unwrap_or_default();
            assert!(warning.starts_with("warning: `up` would not begin") && warning.contains(place), "{place} {words}: {said:?}");
        }
    }
    let said = sandbox.run(&["run", "--rm", "unwritten", "true"]);
    assert!(said.code == 3 && said.err.contains("stack.yaml:8:7"), "{said:?}");
    // What is not built is nobody's obstacle, and of what a task makes nobody knows before.
    sandbox.ok(&["up", "-d", "first"]);
    sandbox.ok(&["down"]);
    let stack = "processes: {make: {command: 'mkdir -p ctx && echo FROM IMAGE > ctx/Dockerfile', outputs: [ctx/Dockerfile]}}\n\
                 services:\n  web: {build: ctx, command: [sleep, '1000'], init: true, depends_on: {make: {condition: service_completed_successfully}}}\n";
    sandbox.write("stack.yaml", &stack.replace("IMAGE", &sandbox.engine().image()));
    sandbox.ok(&["up", "-d"]);
    assert!(sandbox.engine().is_running("web-1"));
}

#[test]
fn builds_are_printed_for_buildx_and_nothing_is_built_or_left() {
    let stack = "services:\n  web: {image: IMAGE-web, build: {context: ., target: t}}\n  other: {image: IMAGE}\n";
    let Some(sandbox) = Sandbox::with_engine("printed", stack) else { return };
    let printed: Value = serde_json::from_str(&sandbox.ok(&["build", "--print", "--build-arg", "A=1"])).unwrap();
    assert_eq!(printed["group"]["default"]["targets"], serde_json::json!(["web"]));
    let web = &printed["target"]["web"];
    assert_eq!((web["target"].as_str(), web["args"]["A"].as_str()), (Some("t"), Some("1")), "{printed}");
    let dockerfile = sandbox.path("Dockerfile").canonicalize().unwrap_or_else(|_| sandbox.path("Dockerfile"));
    assert_eq!(web["dockerfile"].as_str().map(std::path::Path::new), Some(dockerfile.as_path()), "{printed}");
    assert!(!sandbox.ok(&["ls", "--all"]).contains(sandbox.engine().env()));
}

#[test]
fn a_build_alone_leaves_no_environment_and_ctrl_c_says_what_it_broke_off() {
    let marker = format!("bld-ctrl-c-{}", std::process::id());
    let stack = format!(
        "services:\n  quick: {{build: {{dockerfile_inline: FROM IMAGE}}}}\n  slow:\n    build:\n      dockerfile_inline: |\n        \
         FROM IMAGE\n        RUN [\"/bin/sh\", \"-c\", \"sleep 1000; true\", \"{marker}\"]\n"
    );
    let Some(sandbox) = Sandbox::with_engine("alone", &stack) else { return };
    sandbox.ok(&["build", "quick"]);
    assert!(!sandbox.ok(&["ls", "--all"]).contains(sandbox.engine().env()));
    let build = sandbox.begin(&["build", "slow"]);
    until("the step runs", || !pids_of(&marker).is_empty());
    build.signal(Signal::SIGINT);
    build.wait_for("interrupted: the build was broken off");
    assert_eq!(build.end(), 130);
    until("the step has ended", || pids_of(&marker).is_empty());
}
