//! What surrounds a stack's files: where they are found, what fills them in, what they include.

use baistack::load::{Omit, Request};
use serde_json::{Value, json};

use crate::support::memory::Memory;
use crate::support::sandbox::{Said, Sandbox};

const WEB: &str = "services: {web: {image: nginx}}\n";

fn request(files: &[&str], environment: &[(&str, &str)]) -> Request {
    Request {
        files: files.iter().map(Into::into).collect(),
        environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Request::default()
    }
}

#[test]
fn a_dotenv_names_the_files_and_all_compose_variables_count_in_it() {
    let files = Memory::of([
        (".env", "COMPOSE_FILE=a.yaml;b.yaml\nCOMPOSE_PATH_SEPARATOR=;\nCOMPOSE_PROJECT_NAME=fromdotenv\nCOMPOSE_PROFILES=p\n"),
        ("a.yaml", "services: {web: {image: nginx, profiles: [p]}, off: {image: x, profiles: [q]}}\n"),
        ("b.yaml", "services: {web: {command: fromb}}\n"),
    ]);
    let outcome = files.load(request(&[], &[]));
    assert_eq!(outcome.codes, [""; 0], "{}", outcome.told);
    assert_eq!(outcome.at("/services/web/command"), &json!(["fromb"]));
    assert_eq!((outcome.at("/name"), outcome.at("/services/off")), (&json!("fromdotenv"), &Value::Null));
    // The caller's word counts more.
    assert_eq!(files.load(request(&[], &[("COMPOSE_FILE", "a.yaml")])).at("/services/web/command"), &Value::Null);
}

#[test]
fn env_files_win_in_their_order_and_the_caller_over_them() {
    let files = Memory::of([
        ("compose.yaml", "services: {web: {image: \"a:$A-$B-$C\"}}\n"),
        (".env", "A=dotenv\n"),
        ("one.env", "A=one\nB=one\n"),
        ("two.env", "B=two-$A\n"),
    ]);
    for (env_files, environment, image) in [
        (&[][..], &[("B", "b"), ("C", "c")][..], "a:dotenv-b-c"),
        (&["one.env", "two.env"], &[("C", "c")], "a:one-two-one-c"),
        (&[], &[("COMPOSE_ENV_FILES", "one.env,two.env"), ("B", "caller"), ("C", "")], "a:one-caller-"),
        (&[], &[("COMPOSE_DISABLE_ENV_FILE", "1"), ("A", ""), ("B", ""), ("C", "")], "a:--"),
    ] {
        let mut request = request(&[], environment);
        request.env_files = env_files.iter().map(Into::into).collect();
        assert_eq!(files.load(request).at("/services/web/image"), &json!(image));
    }
}

#[test]
fn an_included_stack_has_its_own_directory_variables_and_ports() {
    let files = Memory::of([
        ("stack.yaml", "include: [sub/db.yaml]\nprocesses: {web: {command: \"serve $DB_PORT $X\"}}\n"),
        (".env", "X=outer\n"),
        ("sub/.env", "X=inner\nY=inner\n"),
        (
            "sub/db.yaml",
            "ports: {DB_PORT: 5442}\nprocesses: {db: {command: \"db $DB_PORT $X $Y\"}}\nservices: {s: {build: {}}}\n",
        ),
    ]);
    let outcome = files.load(request(&[], &[]));
    assert_eq!(outcome.codes, [""; 0], "{}", outcome.told);
    assert_eq!(outcome.at("/processes/web/command"), &json!("serve 5442 outer"));
    assert_eq!(outcome.at("/processes/db/command"), &json!("db 5442 outer inner"));
    assert_eq!(outcome.at("/processes/db/working_dir"), &json!("/stack/sub"));
    assert_eq!(outcome.at("/processes/web/working_dir"), &json!("/stack"));
    assert_eq!(outcome.at("/services/s/build/context"), &json!("/stack/sub"));
}

#[test]
fn services_that_are_named_turn_their_profiles_on_and_are_shown_with_what_they_need() {
    let text = "services:\n  a: {image: a}\n  b: {image: b, profiles: [p], depends_on: [c], networks: [n]}\n  c: {image: c, profiles: [p]}\n\
                networks: {n: {}, m: {}}\nvolumes: {v: {}}\n";
    let named = Request { services: vec!["b".to_owned()], ..request(&[], &[]) };
    let outcome = Memory::of([("compose.yaml", text)]).load(named);
    assert_eq!(outcome.codes, [""; 0], "{}", outcome.told);
    let names = |pointer: &str| outcome.at(pointer).as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    assert_eq!(names("/services"), Some(vec!["b".to_owned(), "c".to_owned()]));
    assert_eq!(names("/networks"), Some(vec!["n".to_owned(), "default".to_owned()]));
    assert_eq!(names("/volumes"), None);
}

#[test]
fn each_step_of_a_load_can_be_left_out() {
    let files = Memory::of([
        (
            "compose.yaml",
            "services:\n  web: {image: \"a:${TAG:-1}\", env_file: a.env, build: ., ports: [\"${P}:80\"]}\n  off: {image: b, profiles: [p]}\n",
        ),
        ("a.env", "A=1\n"),
    ]);
    let load = |omit: Omit| files.load(Request { omit, ..request(&[], &[("P", "8080")]) });
    let raw = load(Omit { interpolation: true, ..Omit::default() });
    assert_eq!(raw.codes, [""; 0], "{}", raw.told);
    assert_eq!((raw.at("/services/web/image"), raw.at("/services/off/image")), (&json!("a:${TAG:-1}"), &json!("b")));
    let plain = load(Omit { normalization: true, ..Omit::default() });
    assert_eq!((plain.at("/networks"), plain.at("/services/web/build/dockerfile")), (&Value::Null, &Value::Null));
    assert_eq!(load(Omit { path_resolution: true, ..Omit::default() }).at("/services/web/build/context"), &json!("."));
    let unread = load(Omit { env_resolution: true, ..Omit::default() });
    assert_eq!(
        (unread.at("/services/web/environment"), unread.at("/services/web/env_file/0/path")),
        (&Value::Null, &json!("/stack/a.env"))
    );
    assert_eq!(load(Omit::default()).at("/services/web/environment"), &json!({"A": "1"}));
}

#[test]
fn other_tools_files_are_stacks() {
    let compose = "processes:\n  db: {command: ./db, ready_log_line: up}\n  web: {command: ./web, depends_on: {db: {condition: process_healthy}}}\n";
    let outcome = Memory::of([("process-compose.yaml", compose)]).load(request(&[], &[]));
    assert_eq!(outcome.codes, [""; 0], "{}", outcome.told);
    assert_eq!(outcome.at("/processes/web/depends_on/db/condition"), &json!("service_healthy"));
    let outcome = Memory::of([("Procfile", "web: ./serve $PORT\n")]).load(request(&[], &[]));
    assert_eq!(outcome.codes, [""; 0], "{}", outcome.told);
    assert_eq!(outcome.at("/processes/web/command"), &json!("./serve $PORT"));
}

#[test]
fn files_of_a_process_that_one_variable_would_name_are_refused_with_both_places() {
    let load = |first: &str, second: &str, kind: &str| {
        let text = format!(
            "secrets: {{{first}: {{file: a.txt}}, {second}: {{file: b.txt}}}}\nconfigs: {{{first}: {{file: a.txt}}, {second}: {{file: b.txt}}}}\n\
             processes:\n  web:\n    command: ./web\n    {kind}:\n      - {first}\n      - {second}\n"
        );
        Memory::of([("stack.yaml", text.as_str()), ("a.txt", "a"), ("b.txt", "b")]).load(request(&[], &[]))
    };
    for (first, second) in [("db-key", "db.key"), ("db_key", "DB-KEY")] {
        for (kind, variable) in [("secrets", "SECRET_DB_KEY_FILE"), ("configs", "CONFIG_DB_KEY_FILE")] {
            let outcome = load(first, second, kind);
            assert_eq!(outcome.codes, ["one-name"], "{}", outcome.told);
            let wanted = [variable, first, second, "stack.yaml:8:9", "the other one"];
            assert!(wanted.iter().all(|text| outcome.told.contains(text)), "{wanted:?}: {}", outcome.told);
        }
    }
    assert_eq!(load("db-key", "dbkey", "secrets").codes, [""; 0]);
}

#[test]
fn all_mistakes_are_told_in_one_run() {
    let text = r#"include: [more.yaml]
requires: [{tool: 5}, {docker: [x]}]
generate: {KEY: {hex: many}}
owns: [{containers: {name: "a["}}]
services:
  web:
    image: nginx
    imag: nginx
    tty: true
    tty: true
    stop_grace_period: soon
    depends_on: [databse, a]
    networks: [front]
    env_file: none.env
    healthcheck: {tcp: nowhere}
  api: {extends: wev, image: "x:${TAG:?which}", mem_limit: "${LIMIT:?how much}"}
  a: {image: x, depends_on: [b], network_mode: host, networks: [default]}
  b: {image: x, depends_on: [a]}
  none: {}
processes:
  job: {command: x, schedule: {cron: "0 3 * *", overlap: never}, sockets: [{tcp: "80"}, {unix: /s, name: "a b"}]}
  make: {command: make, inputs: ["src/a["], stop_signal: SIGTREM}
  empty: {environment: {A: 1}}
  b: {command: x, image: y}
configs: {c: {content: x, file: y}}
networks: {default: {attachable: perhaps}}
"#;
    let files = Memory::of([("stack.yaml", text), ("more.yaml", "volumes: {v: {drivr: local}}\n")]);
    let outcome = files.load(request(&[], &[]));
    let lines: Vec<&str> = outcome.told.lines().filter(|line| line.starts_with("error")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    error[wrong-kind]: `requires[0].tool.name` must be a text, not a number `5`
    error[wrong-kind]: `requires[1].docker` must be a text, not a list
    error[wrong-kind]: `generate.KEY.hex` must be a whole number, not text `many`
    error[bad-value]: `owns.containers.name`: `a[` is not a pattern of names: unclosed character class; missing ']'
    error[unknown-key]: a service has no attribute `imag`
    error[duplicate-key]: the key `tty` is given twice
    error[bad-value]: `services.web.stop_grace_period`: `soon` is not a duration
    error[unknown-service]: `web` depends on `databse`, which is not a service
    error[undefined]: `web` uses the network `front`, which is not defined
    error[no-file]: there is no env file `/stack/none.env`
    error[bad-value]: `services.web.healthcheck.tcp`: `nowhere` has no port from 1 to 65535
    error[unknown-service]: there is no service `wev` to extend in `/stack/stack.yaml`
    error[required-variable]: the required variable `TAG` is not set: which
    error[required-variable]: the required variable `LIMIT` is not set: how much
    error[two-networks]: `a` has both `network_mode` and `networks`
    error[cycle]: dependencies go round in a circle: a → b → a
    error[nothing-to-run]: the service `none` has neither `image` nor `build`
    error[bad-schedule]: `0 3 * *` is not a time of cron: it has 4 fields, not five; write minute, hour, day, month and weekday, as `0 3 * * *`
    error[bad-value]: `processes.job.schedule.overlap`: `never` is not known
    error[bad-socket]: `80` is not `host:port`
    error[bad-socket]: `a b` cannot be the name of a socket
    error[bad-value]: `processes.make.inputs`: `/stack/src/a[` is not a pattern of files: unclosed character class; missing ']'
    error[bad-value]: `processes.make.stop_signal`: `SIGTREM` is not a signal
    error[nothing-to-run]: the process `empty` has no `command`
    error[two-kinds]: `b` is both a container and a process
    error[container-only]: `image` means nothing for a process
    error[config-source]: the config `c` has both `file` and `content`
    error[bad-value]: `networks.default.attachable`: `perhaps` is neither true nor false
    error[unknown-key]: a volume has no attribute `drivr`
    "#);
}

#[test]
fn a_mistake_is_told_once() {
    for (text, code) in [
        // What is not filled in cannot be judged.
        ("services: {web: {image: x, stop_grace_period: \"${T:?how long}\"}}\n", "required-variable"),
        ("services: {web: {image: x, ports: [\"${1}:80\"]}}\n", "bad-expression"),
        ("services: {web: {image: x, depends_on: [\"${DB:?which}\"]}}\n", "required-variable"),
        // What is not read may have what seems to be missing.
        ("include: [none.yaml]\nservices: {web: {image: x, depends_on: [db], networks: [front]}}\n", "no-file"),
        ("include: [broken.yaml]\nservices: {web: {image: x, depends_on: [db]}}\n", "invalid-yaml"),
        ("services: {web: {image: x, depends_on: [db]}}\nprocesses: [db]\n", "wrong-kind"),
        // The model would say the same in other words.
        ("services: {web: {image: x, tty: 5}}\n", "wrong-kind"),
        ("processes: {web: {command: x, sockets: [{tpc: 'h:80'}]}}\n", "unknown-key"),
        ("processes: {job: {command: x, schedule: {cron: '* *'}}}\n", "bad-schedule"),
        ("requires: [{tool: {nme: git}}]\nservices: {web: {image: x}}\n", "unknown-key"),
    ] {
        let outcome = Memory::of([("compose.yaml", text), ("broken.yaml", "services: [\n")]).load(request(&[], &[]));
        assert_eq!(outcome.codes, [code], "{text}{}", outcome.told);
    }
}

/// Seconds of processor time that this thread has used.
fn spent() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// Files by name.
type Texts = Vec<(String, Vec<u8>)>;

#[test]
fn hostile_files_are_refused_soon() {
    let with = |text: String| vec![("compose.yaml".to_owned(), format!("{WEB}{text}").into_bytes())];
    let file = |name: &str, text: String| (name.to_owned(), text.into_bytes());
    let many = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let chain = |name: &str, text: &dyn Fn(usize) -> String, count: usize| {
        (0..count).map(|n| file(&format!("{name}{n}.yaml"), text(n))).collect::<Vec<_>>()
    };
    let bomb = |join: &str| {
        let below = |level: usize| vec![format!("*x{}", level.saturating_sub(1)); 9].join(join);
        format!("x-0: &x0 [a]\n{}", many(9, &|level| format!("x-{n}: &x{n} [{}]\n", below(level + 1), n = level + 1)))
    };
    let extends = |to: &dyn Fn(usize) -> String| {
        vec![file(
            "compose.yaml",
            format!("services:\n{}  s2000: {{image: x}}\n", many(2000, &|n| format!("  s{n}: {{extends: s{}}}\n", to(n)))),
        )]
    };
    // Ten times as much when it is optimised.
    let scale = if cfg!(debug_assertions) { 10 } else { 1 };
    let cases: Vec<(&str, Texts, &str)> = vec![
        ("aliases of aliases", with(bomb(", ")), "too-large"),
        ("an endless alias", with("x-a: &a [*a]\n".to_owned()), "endless-alias"),
        ("brackets in brackets", with(format!("x-a: {}", "[".repeat(100_000))), "too-large"),
        ("braces in braces", with(format!("x-a: {}{}", "{a: ".repeat(100_000), "}".repeat(100_000))), "too-large"),
        ("anchors before anchors", with(format!("x-a: {}", "&a ".repeat(1 << 20))), "invalid-yaml"),
        ("lists in lists", with(format!("x-a:\n{}", "- ".repeat(100_000))), "too-large"),
        ("a long file", with(format!("x-a: {}\n", "a".repeat(5 << 20))), "too-large"),
        ("many values", with(format!("x-a:\n{}", "- a\n".repeat(400_000))), "too-large"),
        ("keys twice", with(format!("x-a:\n{}", "- b: 1\n  b: 2\n".repeat(1_000))), "duplicate-key"),
        ("no UTF-8", vec![("compose.yaml".to_owned(), b"services: {web: {image: \"\xff\"}}\n".to_vec())], "bad-text"),
        ("a NUL", with("x-a: \"\0\"\n".to_owned()), "invalid-yaml"),
        ("tabs", with("x-a:\n\tb: 1\n".to_owned()), "invalid-yaml"),
        ("expressions in expressions", with(format!("x-a: '{}'\n", "${A:-".repeat(50_000))), "bad-expression"),
        ("ranges of ports", with(format!("x-p: &p [{}]\n", "'1-65535', ".repeat(50)) + "networks: {}\n"), ""),
        (
            "a range of ports",
            vec![file("compose.yaml", format!("services: {{web: {{image: x, ports: [{}]}}}}\n", "'1-65535', ".repeat(50)))],
            "too-large",
        ),
        (
            "a hundred thousand mistakes",
            vec![file(
                "compose.yaml",
                format!("services:\n  web:\n    image: x\n{}", many(100_000 / scale, &|n| format!("    imag{n}: 1\n"))),
            )],
            "unknown-key",
        ),
        (
            "a hundred thousand dependencies",
            vec![file(
                "compose.yaml",
                format!("services: {{web: {{image: x, depends_on: [{}]}}}}\n", many(100_000, &|n| format!("s{n}, "))),
            )],
            "too-large",
        ),
        (
            "fifty thousand services that are not there",
            vec![file(
                "compose.yaml",
                format!("services: {{web: {{image: x, depends_on: [{}]}}}}\n", many(50_000 / scale, &|n| format!("wep{n}, "))),
            )],
            "unknown-service",
        ),
        (
            "a long chain of dependencies",
            vec![file(
                "compose.yaml",
                format!(
                    "services:\n  s0: {{image: x}}\n{}",
                    many(20_000 / scale, &|n| format!("  s{}: {{image: x, depends_on: [s{n}]}}\n", n + 1))
                ),
            )],
            "",
        ),
        ("a name that is a directory", vec![file("compose.yaml", "services: {..: {image: x}}\n".to_owned())], "bad-name"),
        ("a long name", vec![file("compose.yaml", format!("services: {{{}: {{image: x}}}}\n", "a".repeat(300)))], "bad-name"),
        ("a file that includes itself", vec![file("compose.yaml", format!("include: [compose.yaml]\n{WEB}"))], "cycle"),
        (
            "includes that double",
            [with("include: [a0.yaml]\n".to_owned()), chain("a", &|n| format!("include: [a{0}.yaml, a{0}.yaml]\n", n + 1), 40)]
                .concat(),
            "too-large",
        ),
        (
            "includes in includes",
            [with("include: [a0.yaml]\n".to_owned()), chain("a", &|n| format!("include: [a{}.yaml]\n", n + 1), 500)].concat(),
            "too-large",
        ),
        ("a service that extends itself", extends(&|n| n.to_string()), "cycle"),
        ("services that extend each other", extends(&|n| ((n + 1) % 2000).to_string()), "too-large"),
        ("a chain of extensions", extends(&|n| (n + 1).to_string()), "too-large"),
        (
            "extensions that grow",
            vec![file(
                "compose.yaml",
                format!(
                    "services:\n  s0: {{image: x}}\n{}",
                    many(2000, &|n| format!("  s{}: {{extends: s{n}, dns: [a{n}, b{n}]}}\n", n + 1))
                ),
            )],
            "too-large",
        ),
        (
            "a circle of dependencies",
            vec![file(
                "compose.yaml",
                format!("services:\n{}", many(500, &|n| format!("  s{n}: {{image: x, depends_on: [s{}]}}\n", (n + 1) % 500))),
            )],
            "cycle",
        ),
        (
            "variables that double",
            vec![
                file("compose.yaml", "services: {web: {image: x, env_file: e.env}}\n".to_owned()),
                file("e.env", format!("A0=0123456789\n{}", many(60, &|n| format!("A{}=$A{n}$A{n}\n", n + 1)))),
            ],
            "too-long",
        ),
        (
            "a long env file",
            vec![
                file("compose.yaml", "services: {web: {image: x, env_file: e.env}}\n".to_owned()),
                file("e.env", "A=1\n".repeat(2 << 20)),
            ],
            "too-large",
        ),
    ];
    for (what, files, code) in cases {
        let before = spent();
        let outcome = Memory::of(files).load(request(&["compose.yaml"], &[]));
        // A second when it is optimised.
        let limit = if cfg!(debug_assertions) { 15.0 } else { 1.0 };
        assert!(spent() - before < limit, "{what}: {} s", spent() - before);
        assert!(
            code.is_empty() || outcome.codes.contains(&code),
            "{what}: {}",
            &outcome.told.chars().take(2_000).collect::<String>()
        );
    }
}

#[test]
fn what_is_wrong_ten_thousand_times_is_told_within_200_mb() {
    let many = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<String>();
    let several =
        |n| format!("  s{n}:\n    imge: x\n    ports: [a, b]\n    restart: {{}}\n    depends_on: [nope{n}]\n    image: [1]\n");
    let sandbox = Sandbox::new("services: {}\n");
    for (what, stack, told) in [
        ("one line", format!("services: {{{}}}\n", many(50_000, &|n| format!("s{n}: {{imge: x}},"))), "error[unknown-key]"),
        ("several faults of each service", format!("services:\n{}", many(15_000, &several)), "error[bad-value]"),
        (
            "ranges of ports",
            "services: {a: {image: x, ports: ['1-65535:1-65535', '1-65535:1-65535/udp', '1-65535']}}\n".to_owned(),
            "error[too-large]",
        ),
    ] {
        sandbox.write("hostile.yaml", &stack);
        let limited = sandbox.command_after("ulimit -d 200000", &["-f", "hostile.yaml", "config", "-q"]);
        let Said { code, err: said, .. } = Sandbox::run_command(limited);
        assert_eq!(code, 3, "{what}: {}", said.chars().take(500).collect::<String>());
        assert!(said.contains(told), "{what}: {}", said.chars().take(500).collect::<String>());
    }
}

#[test]
fn deep_nesting_needs_no_deep_stack() {
    let lists = |depth: usize| format!("{WEB}x-a: {}1{}\n", "[".repeat(depth), "]".repeat(depth));
    let in_service =
        |depth: usize| format!("services: {{web: {{image: nginx, x-a: {}1{}}}}}\n", "{a: ".repeat(depth), "}".repeat(depth));
    // The parser counts 255 brackets. The stack is the one that a program begins with.
    for text in [lists(250), in_service(250), lists(509), in_service(508)] {
        let twice = [("compose.yaml", text.clone()), ("over.yaml", text)];
        let load = move || Memory::of(twice).load(request(&["compose.yaml", "over.yaml"], &[]));
        let outcome = std::thread::Builder::new().stack_size(8 << 20).spawn(load).unwrap().join().unwrap();
        assert_eq!(outcome.codes, [""; 0], "{}", outcome.told);
    }
}

#[test]
fn text_may_have_a_mark_and_any_line_ends() {
    for text in [format!("\u{feff}{WEB}"), WEB.replace('\n', "\r\n"), WEB.replace('\n', "\r")] {
        assert_eq!(Memory::of([("compose.yaml", text)]).load(request(&[], &[])).at("/services/web/image"), &json!("nginx"));
    }
}
