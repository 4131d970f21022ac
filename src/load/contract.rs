//! The tables of the format: what is written → the canonical tree that `config` prints.

use super::testing::load;
use crate::yaml::emit::json_value;

/// Loads one service with these lines, and compares one attribute of it as `config` prints it.
fn check(section: &str, attribute: &str, expected: &str) {
    let base = match (section, attribute.starts_with("command")) {
        ("services", _) => "image: x",
        (_, false) => "command: x",
        (_, true) => "stdin_open: false",
    };
    let heading = if section == "services" { "" } else { "processes:\n" };
    let text = format!(
        "networks: {{n: , m: }}\nvolumes: {{data: }}\nsecrets: {{s: {{file: ./s}}}}\nconfigs: {{c: {{content: x}}}}\n\
         services:\n  other: {{image: x}}\n{heading}  web:\n    {base}\n    {attribute}\n"
    );
    let loaded = load(&[("compose.yaml", &text), ("s", ""), ("a.env", "A=1\n")]);
    let found: Vec<String> = loaded.diagnostics.sorted().iter().map(|found| found.message.clone()).collect();
    assert!(found.is_empty(), "{attribute}: {found:?}");
    let key = attribute.split(':').next().unwrap();
    let value = loaded.tree.get(section).and_then(|all| all.get("web")).and_then(|web| web.get(key)).map(json_value);
    assert_eq!(value.map_or("absent".to_owned(), |value| value.to_string()), expected, "{attribute}");
}

#[test]
fn short_forms_are_long_ones() {
    for (attribute, expected) in [
        ("build: .", r#"{"context":"/app","dockerfile":"Dockerfile"}"#),
        ("build: {dockerfile_inline: FROM x}", r#"{"context":"/app","dockerfile_inline":"FROM x"}"#),
        (
            "build: {context: 'https://x/y', ssh: default}",
            r#"{"context":"https://x/y","dockerfile":"Dockerfile","ssh":["default"]}"#,
        ),
        ("command: sh -c 'a b'", r#"["sh","-c","a b"]"#),
        ("command: []", "[]"),
        ("depends_on: [other]", r#"{"other":{"condition":"service_started","required":true}}"#),
        (
            "depends_on: {other: {condition: service_healthy, restart: 'yes'}}",
            r#"{"other":{"condition":"service_healthy","required":true,"restart":true}}"#,
        ),
        (
            "devices: ['/dev/a:/dev/b:r', /dev/c]",
            r#"[{"permissions":"r","source":"/dev/a","target":"/dev/b"},{"permissions":"rwm","source":"/dev/c","target":"/dev/c"}]"#,
        ),
        ("dns: 1.1.1.1", r#"["1.1.1.1"]"#),
        ("environment: [A=1, B=, TAG, C]", r#"{"A":"1","B":"","TAG":"7","C":null}"#),
        ("environment: {A: 1.50, B: true, C: }", r#"{"A":"1.5","B":"true","C":null}"#),
        ("env_file: a.env", "absent"),
        ("expose: [80, '90/udp']", r#"["80","90/udp"]"#),
        ("extra_hosts: {a: [1.2.3.4, '::1']}", r#"["a=1.2.3.4","a=::1"]"#),
        ("extra_hosts: ['a:1.2.3.4', 'b=[::1]']", r#"["a=1.2.3.4","b=::1"]"#),
        ("gpus: all", r#"[{"count":-1}]"#),
        ("healthcheck: {test: x, interval: 90s}", r#"{"interval":"1m30s","test":["CMD-SHELL","x"]}"#),
        ("labels: [a=1, b]", r#"{"a":"1","b":""}"#),
        ("mem_limit: 1.5g", r#""1610612736""#),
        ("networks: [n]", r#"{"n":null}"#),
        (
            "ports: [80, '8080-8081:80-81/udp']",
            r#"[{"mode":"ingress","protocol":"tcp","target":80},{"mode":"ingress","protocol":"udp","published":"8080","target":80},{"mode":"ingress","protocol":"udp","published":"8081","target":81}]"#,
        ),
        ("ports: [{target: '80', published: 8080}]", r#"[{"mode":"ingress","protocol":"tcp","published":"8080","target":80}]"#),
        ("secrets: [s]", r#"[{"source":"s","target":"/run/secrets/s"}]"#),
        ("secrets: [{source: s, target: t, mode: 0440}]", r#"[{"mode":"0440","source":"s","target":"t"}]"#),
        ("stop_grace_period: 1d", r#""24h0m0s""#),
        ("tmpfs: /x", r#"["/x"]"#),
        ("ulimits: {nofile: '10', nproc: {soft: 1, hard: 2}}", r#"{"nofile":10,"nproc":{"hard":2,"soft":1}}"#),
        (
            "volumes: [data:/d/, './a:/b:ro', ~/h:/h]",
            r#"[{"source":"data","target":"/d","type":"volume","volume":{}},{"bind":{},"read_only":true,"source":"/app/a","target":"/b","type":"bind"},{"bind":{},"source":"/home/me/h","target":"/h","type":"bind"}]"#,
        ),
        ("x-own: {a: 1}", r#"{"a":1}"#),
        ("ulimits: {nofile: {soft: 0, hard: 2}, core: 0}", r#"{"nofile":{"hard":2},"core":{}}"#),
        ("extra_hosts: {a: ''}", r#"["a="]"#),
        ("labels: ['a =1']", r#"{"a ":"1"}"#),
        ("volumes: ['/a:/b:nocopy']", r#"[{"bind":{},"source":"/a","target":"/b","type":"bind","volume":{"nocopy":true}}]"#),
        (
            "volumes: [./a, '~a:/b']",
            r#"[{"target":"a","type":"volume","volume":{}},{"bind":{},"source":"/home/me/a","target":"/b","type":"bind"}]"#,
        ),
    ] {
        check("services", attribute, expected);
    }
}

#[test]
fn what_compose_refuses_is_refused() {
    for attribute in [
        "ports: ['127.0.0.1:80']",
        "ports: ['0']",
        "ports: [{target: 80, host_ip: here}]",
        "ports: [{target: 80, published: 80.5}]",
        "devices: [{source: /dev/a}]",
        "extra_hosts: {a: 5}",
        "extra_hosts: {'': 1.2.3.4}",
        "environment: {'': 1}",
        "environment: ['A =1']",
        "environment: [true]",
        "environment: {A: .inf}",
        "labels: {'': 1}",
        "mem_limit: -5m",
        "stop_grace_period: 99999999h",
        "cpu_percent: 0.5",
        "cpus: .nan",
        "blkio_config: {weight: -1}",
    ] {
        let loaded = load(&[("compose.yaml", &format!("services: {{web: {{image: x, {attribute}}}}}\n"))]);
        assert!(loaded.diagnostics.has_errors(), "{attribute}");
    }
}

#[test]
fn processes_have_them_too() {
    for (attribute, expected) in [
        ("command: a && b", r#""a && b""#),
        ("check: [a, b]", r#"["a","b"]"#),
        ("inputs: a/*.rs", r#"["/app/a/*.rs"]"#),
        ("ports: [80]", r#"[{"mode":"ingress","protocol":"tcp","published":"80","target":80}]"#),
        ("healthcheck: {http: 'http://127.0.0.1:80/'}", r#"{"http":{"url":"http://127.0.0.1:80/"}}"#),
        ("healthcheck: {grpc: '127.0.0.1:80'}", r#"{"grpc":{"address":"127.0.0.1:80"}}"#),
        ("healthcheck: {grpc: {address: '127.0.0.1:80', tls: true}}", r#"{"grpc":{"address":"127.0.0.1:80","tls":true}}"#),
        ("healthcheck: {file: ready}", r#"{"file":"/app/ready"}"#),
        ("working_dir: src", r#""/app/src""#),
        ("inherit_env: false", "false"),
        ("keep: sccache", r#"["sccache"]"#),
        ("configs: [{source: c, target: x}]", r#"[{"source":"c","target":"x"}]"#),
        ("start_timeout: 90s", r#""1m30s""#),
    ] {
        check("processes", attribute, expected);
    }
}

#[test]
fn later_files_lie_over_earlier_ones() {
    for (base, over, expected) in [
        ("command: [a]", "command: ", r#"{"command":null}"#),
        ("labels: {a: b}", "labels: ", r#"{"labels":{"a":"b"}}"#),
        ("environment: [A=1, B=2]", "environment: {A: , C: 3}", r#"{"environment":{"A":null,"B":"2","C":"3"}}"#),
        ("dns: [a]", "dns: b", r#"{"dns":["a","b"]}"#),
        (
            "ports: ['80:80']",
            "ports: ['80:80', '81:81']",
            r#"{"ports":[{"mode":"ingress","protocol":"tcp","published":"80","target":80},{"mode":"ingress","protocol":"tcp","published":"81","target":81}]}"#,
        ),
        ("ports: ['80:80']", "ports: !override []", "{}"),
        ("ports: ['80:80']", "ports: !reset ", "{}"),
        (
            "depends_on: [other]",
            "depends_on: {other: {condition: service_healthy}}",
            r#"{"depends_on":{"other":{"condition":"service_healthy","required":true}}}"#,
        ),
        ("ulimits: {nofile: 1}", "ulimits: {nofile: {soft: 1, hard: 2}}", r#"{"ulimits":{"nofile":{"hard":2,"soft":1}}}"#),
        ("build: a", "build: {target: t}", r#"{"build":{"context":"/app/a","dockerfile":"Dockerfile","target":"t"}}"#),
        ("cap_add: [A]", "cap_add: [A, B]", r#"{"cap_add":["A","B"]}"#),
        // What is in both is there once, in any list.
        ("dns: [a, b]", "dns: [b, c]", r#"{"dns":["a","b","c"]}"#),
        ("tmpfs: /t", "tmpfs: [/t, /u]", r#"{"tmpfs":["/t","/u"]}"#),
        ("label_file: l", "label_file: [l]", r#"{"label_file":["/app/l"]}"#),
        ("gpus: [{count: 1}]", "gpus: [{count: 1}, {count: 2}]", r#"{"gpus":[{"count":1},{"count":2}]}"#),
        (
            "deploy: {placement: {constraints: [a]}}",
            "deploy: {placement: {constraints: [a, b]}}",
            r#"{"deploy":{"placement":{"constraints":["a","b"]},"resources":{}}}"#,
        ),
        // A short form says all that it stands for.
        (
            "depends_on: {other: {condition: service_healthy, restart: true, required: false}}",
            "depends_on: [other]",
            r#"{"depends_on":{"other":{"condition":"service_started","required":true,"restart":true}}}"#,
        ),
        ("ulimits: {nofile: {soft: 1, hard: 2}}", "ulimits: {nofile: 0}", r#"{"ulimits":{"nofile":{}}}"#),
    ] {
        let file = |attribute: &str| format!("services:\n  other: {{image: x}}\n  web:\n    image: x\n    {attribute}\n");
        let loaded = load(&[("a.yaml", &file(base)), ("b.yaml", &file(over)), ("l", "")]);
        assert!(loaded.diagnostics.is_empty(), "{base} + {over}: {:?}", loaded.diagnostics);
        let mut web = loaded.tree.get("services").and_then(|all| all.get("web")).map(json_value).unwrap();
        let web = web.as_object_mut().unwrap();
        web.retain(|key, value| {
            !matches!(key.as_str(), "image" | "networks" | "entrypoint")
                && (key != "command" || base.contains("command") || !value.is_null())
        });
        assert_eq!(serde_json::to_string(web).unwrap(), expected, "{base} + {over}");
    }
}

/// What `config` has at a path of keys.
fn at(loaded: &super::Loaded, path: &[&str]) -> String {
    let node = path.iter().try_fold(&loaded.tree, |node, key| node.get(key));
    node.map_or("absent".to_owned(), |node| json_value(node).to_string())
}

#[test]
fn jobs_are_containers_that_nothing_starts_by_itself() {
    let job =
        |rest: &str| format!("services: {{web: {{image: x}}}}\njobs:\n  j: {{image: y, triggers: {{manual: true}}{rest}}}\n");
    let text = "services:\n  web: {image: x}\njobs:\n  j:\n    image: y\n    command: a b\n    environment: [A=1, TAG, NOPE]\n    \
                env_file: a.env\n    depends_on: [web]\n    volumes: [./a:/a/]\n    triggers: {manual: 'false', schedule: ['0 3 * * *', {cron: x, concurrency: queue}]}\n  \
                k: {image: z, triggers: {manual: true}, profiles: [p], networks: [n]}\nnetworks: {n: }\n";
    let loaded = load(&[("compose.yaml", text), ("a.env", "B=1\n")]);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    for (path, expected) in [
        (
            &["jobs", "j", "triggers"][..],
            r#"{"manual":false,"schedule":[{"cron":"0 3 * * *"},{"concurrency":"queue","cron":"x"}]}"#,
        ),
        (&["jobs", "j", "command"], r#"["a","b"]"#),
        (&["jobs", "j", "entrypoint"], "null"),
        // Its files are read when it runs.
        (&["jobs", "j", "environment"], r#"{"A":"1","TAG":"7","NOPE":null}"#),
        (&["jobs", "j", "env_file"], r#"[{"path":"/app/a.env"}]"#),
        (&["jobs", "j", "depends_on"], r#"{"web":{"condition":"service_started","required":true}}"#),
        (&["jobs", "j", "networks"], r#"{"default":null}"#),
        (&["jobs", "j", "volumes"], r#"[{"bind":{},"source":"/app/a","target":"/a","type":"bind"}]"#),
        (&["jobs", "k"], "absent"),
        (&["networks", "n"], "absent"),
    ] {
        assert_eq!(at(&loaded, path), expected, "{path:?}");
    }
    assert!(loaded.unstartable.is_empty(), "{:?}", loaded.unstartable);
    assert_eq!(loaded.stack.jobs.iter().map(ToString::to_string).collect::<Vec<_>>(), ["j", "k"]);
    assert_eq!(super::jobs::scheduled(&loaded.tree).len(), 1);
    let untriggered = load(&[("compose.yaml", "services: {web: {image: x}}\njobs: {j: {image: y}}\n")]).diagnostics;
    assert_eq!(untriggered.sorted().len(), 1, "{:?}", untriggered.sorted());
    for (text, code) in [
        (job(", depends_on: [nope]"), "unknown-service"),
        (job(", restart: always"), "unknown-key"),
        (job("").replace("manual: true", ""), "empty-triggers"),
        (job("").replace("j:", "web:"), "two-kinds"),
        (job("").replace("image: x", "image: x, depends_on: [j]"), "unknown-service"),
        (job(", depends_on: [web]"), ""),
    ] {
        let codes: Vec<_> = load(&[("compose.yaml", &text)]).diagnostics.sorted().iter().map(|found| found.code).collect();
        assert_eq!(codes.first().copied().unwrap_or_default(), code, "{text}");
    }
}

#[test]
fn a_job_that_is_run_is_a_service_with_the_jobs_that_it_depends_on() {
    let text = "services:\n  db: {image: db}\njobs:\n  deploy: {image: d, env_file: a.env, depends_on: {prep: {condition: \
                service_completed_successfully}}, profiles: [p], triggers: {manual: true}}\n  prep: {image: p, depends_on: [db], triggers: \
                {schedule: ['0 3 * * *']}, networks: {n: }}\n  other: {image: o, triggers: {manual: true}}\n  last: {image: l, \
                depends_on: [never], triggers: {manual: true}}\n  never: {image: n, triggers: {manual: false, schedule: [x]}}\nnetworks: {n: }\n";
    let run = |job: &str| {
        let loaded = super::testing::load_to_run(&[("compose.yaml", text), ("a.env", "B=1\n")], Some(job));
        assert!(loaded.diagnostics.is_empty(), "{job}: {:?}", loaded.diagnostics);
        let names: Vec<String> = loaded.stack.services.keys().map(ToString::to_string).collect();
        let told: Vec<String> = loaded.unstartable.sorted().iter().map(|found| found.message.clone()).collect();
        (loaded, names.join(" "), told.join("; "))
    };
    let (loaded, names, told) = run("deploy");
    assert_eq!((names.as_str(), told.as_str()), ("db prep deploy", ""));
    // Variables and networks are those of any service.
    assert_eq!(at(&loaded, &["services", "deploy", "environment"]), r#"{"B":"1"}"#);
    assert_eq!(at(&loaded, &["services", "deploy", "networks"]), r#"{"default":null}"#);
    assert_eq!(at(&loaded, &["services", "prep", "triggers"]), "absent");
    assert!(loaded.stack.networks.contains_key("n") && loaded.stack.networks.contains_key("default"));
    assert_eq!(loaded.stack.jobs.len(), 5);
    for (job, names, told) in [
        ("db", "db", ""),
        ("other", "db other", ""),
        ("never", "db never", "the job `never` is not to be run by hand"),
        ("last", "db never last", "the job `never`, which `last` depends on, is not to be run by hand"),
    ] {
        let (_, found, said) = run(job);
        assert_eq!((found.as_str(), said.as_str()), (names, told), "{job}");
    }
}

#[test]
fn a_hook_before_the_start_has_what_its_service_has() {
    let text = "services:\n  web:\n    image: x\n    command: serve\n    environment: {A: 1, B: 2}\n    labels: {l: m}\n    volumes: [./v:/v]\n    \
                networks: [n]\n    mem_limit: 7m\n    extra_hosts: [a=1.1.1.1]\n    ports: ['80']\n    pre_start:\n      \
                - {command: a b, environment: {B: 3}, extra_hosts: [z=1.1.1.1], networks: {m: }}\n      \
                - {image: y, per_replica: true, volumes: ['./a:/b/'], devices: [/dev/a]}\nnetworks: {n: , m: }\n";
    let loaded = load(&[("compose.yaml", text)]);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    let hooks: serde_json::Value = serde_json::from_str(&at(&loaded, &["services", "web", "pre_start"])).unwrap();
    assert_eq!(
        hooks[0].to_string(),
        r#"{"command":["a","b"],"entrypoint":null,"environment":{"A":"1","B":"3"},"extra_hosts":["a=1.1.1.1","z=1.1.1.1"],"image":"x","labels":{"l":"m"},"mem_limit":"7340032","networks":{"n":null,"m":null}}"#
    );
    assert_eq!(
        hooks[1].to_string(),
        r#"{"command":["serve"],"devices":[{"permissions":"rwm","source":"/dev/a","target":"/dev/a"}],"entrypoint":null,"environment":{"A":"1","B":"2"},"extra_hosts":["a=1.1.1.1"],"image":"y","labels":{"l":"m"},"mem_limit":"7340032","networks":{"n":null},"per_replica":true,"volumes":[{"bind":{},"source":"/app/a","target":"/b","type":"bind"}]}"#
    );
    let with = |key: &str| format!("services: {{web: {{image: x, pre_start: [{{command: a, {key}}}]}}}}\n");
    for key in ["ports: ['80']", "healthcheck: {test: x}", "restart: always", "depends_on: [web]"] {
        assert!(load(&[("compose.yaml", &with(key))]).diagnostics.has_errors(), "{key}");
    }
}

#[test]
fn keys_of_ours_have_two_spellings_and_named_ports_are_variables() {
    let text = "x-ports: {WEB: 8081, R: 30000-30010}\nx-processes:\n  web: {command: 'serve ${WEB}', ports: ['${WEB}']}\n";
    let loaded = load(&[("stack.yaml", text)]);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    let tree = json_value(&loaded.tree);
    assert_eq!(tree["processes"]["web"]["command"], "serve 8081");
    assert_eq!(tree["processes"]["web"]["ports"][0]["published"], "8081");
    assert_eq!(tree["ports"]["R"]["last"], 30010);
    let both = load(&[("stack.yaml", "ports: {A: 1}\nx-ports: {B: 2}\n")]);
    assert!(both.diagnostics.sorted().iter().any(|found| found.code == "two-spellings"));
}

#[test]
fn in_json_no_models_are_defined_as_in_compose() {
    let text = "services: {web: {image: x, models: [m]}}\nmodels: {m: {model: ai/m}}\n";
    let mut loaded = load(&[("compose.yaml", text)]);
    assert_eq!(at(&loaded, &["models", "m", "model"]), "\"ai/m\"");
    super::json_spelling(&mut loaded.tree);
    assert_eq!(at(&loaded, &["models"]), "absent");
    assert_ne!(at(&loaded, &["services", "web", "models"]), "absent");
}

#[test]
fn what_a_build_needs_buildkit_for_is_read() {
    let text = "services:\n  web:\n    build:\n      context: .\n      cache_to: [type=inline]\n      no_cache_filter: a\n      ssh: {default: , k: ./key}\n      \
                additional_contexts: [one=./d, 'two=docker-image://x']\n      secrets: [s, {source: s, target: id}]\n      \
                privileged: true\n      entitlements: [network.host]\n      ulimits: {nofile: 5}\n      provenance: true\n      \
                sbom: 'generator=x'\nsecrets: {s: {environment: TAG}}\n";
    let loaded = load(&[("compose.yaml", text)]);
    assert!(loaded.diagnostics.is_empty() && loaded.unstartable.is_empty(), "{:?}", loaded.unstartable);
    let build = loaded.stack.services["web"].container().unwrap().build.clone().unwrap();
    assert_eq!((build.cache_to, build.no_cache_filter), (vec!["type=inline".to_owned()], vec!["a".to_owned()]));
    assert_eq!(build.ssh, ["default", "k=./key"]);
    assert_eq!(
        (build.additional_contexts["one"].as_str(), build.additional_contexts["two"].as_str()),
        ("/app/d", "docker-image://x")
    );
    let ids: Vec<_> = build.secrets.iter().map(|grant| (grant.source.as_str(), grant.target.as_deref())).collect();
    assert_eq!(ids, [("s", None), ("s", Some("id"))]);
    assert!(build.privileged && build.entitlements == ["network.host"]);
    assert_eq!((build.ulimits["nofile"].soft, build.ulimits["nofile"].hard), (5, 5));
    assert_eq!((build.provenance.as_deref(), build.sbom.as_deref()), (Some("true"), Some("generator=x")));
}

#[test]
fn what_is_not_honoured_loads_and_is_refused_at_a_start() {
    let service =
        |profiles: &str| format!("services: {{web: {{image: x, pre_start: [{{command: [x], hostname: h}}]{profiles}}}}}\n");
    let refused_hook = "`pre_start.hostname` is not supported by this version";
    for (text, expected) in [(service(""), &[refused_hook][..]), (service(", profiles: [p]"), &[])] {
        let loaded = load(&[("compose.yaml", &text)]);
        assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
        let refused: Vec<String> = loaded.unstartable.sorted().iter().map(|found| found.message.clone()).collect();
        assert_eq!(refused, expected, "{text}");
    }
}

#[test]
fn a_hook_before_the_start_is_judged_by_what_it_says_itself() {
    let text = "services:\n  web:\n    image: x\n    labels: {a: b}\n    read_only: true\n    cap_add: [ALL]\n    mem_limit: 7m\n    \
                pre_start: [{command: [x]}]\n";
    let refused = |text: &str| -> Vec<String> {
        let loaded = load(&[("compose.yaml", text)]);
        assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
        loaded.unstartable.sorted().iter().map(|found| found.message.clone()).collect()
    };
    assert_eq!(refused(text), Vec::<String>::new());
    // Also what it says over its service's own.
    let own = text.replace("{command: [x]}", "{command: [x], labels: {c: d}, cpus: 1}");
    let expected = ["labels", "cpus"].map(|key| format!("`pre_start.{key}` is not supported by this version"));
    assert_eq!(refused(&own), expected);
}

#[test]
fn a_hook_may_have_no_command_and_the_image_of_its_service() {
    let text = "services:\n  web:\n    image: x\n    restart: 'no'\n    pre_start: [{command: , per_replica: true}]\n    \
                develop: {watch: [{path: ., action: rebuild, exec: {command: }}]}\n";
    let loaded = load(&[("compose.yaml", text)]);
    assert!(loaded.diagnostics.is_empty() && loaded.unstartable.is_empty(), "{:?}", loaded.diagnostics);
    let container = loaded.stack.services["web"].container().unwrap();
    assert!(container.restart.is_some(), "a policy that is said is told to the engine");
    let hook = &container.pre_start[0];
    assert_eq!((hook.hook.command.len(), hook.image.as_deref(), hook.per_replica), (0, Some("x"), true));
}

#[test]
fn one_mistake_is_one_finding() {
    for (text, at) in [
        ("requires: [{toool: x}]", "toool"),
        ("requires: [{tool: x, verson: '1'}]", "verson"),
        ("requires: [{tool: x, version: '>=3.x'}]", "'>=3.x'"),
        ("requires: [{tool: x, version: latest}]", "latest"),
        ("requires: [{docker: '~3.11'}]", "'~3.11'"),
        ("requires: [{tool: ''}]", "''"),
        ("requires: [{tool: [a]}]", "[a]"),
        ("ports: {A: 0x50}", "0x50"),
        ("ports: {A: '${B}', B: 4000}", "'${B}'"),
        ("ports: {A: '${B:-5000}', B: 4000}", "'${B:-5000}'"),
        ("owns: [{foo: 1}]", "foo"),
        ("generate: {A: {hx: 3}}", "hx"),
        ("generate: {A: uid}", "uid"),
        ("owns: [{container: {label: 'a=app'}}]", "container"),
        ("owns: [{containers: {lable: 'a=app'}}]", "lable"),
        ("configs: {c: {contnt: x}}", "contnt"),
        ("secrets: {s: {fiel: x}}", "fiel"),
        ("processes: {a: {comand: x}}", "comand"),
        ("processes: {a: {command: x, restart: sometimes}}", "sometimes"),
        ("processes: {a: {command: x, stop_signal: NOPE}}", "NOPE"),
        ("processes: {a: {command: x, develop: {watch: [{path: ., action: restrt}]}}}", "restrt"),
        ("processes: {a: {command: x, develop: {watch: [{pth: ., action: restart}]}}}", "pth"),
        ("processes: {a: {command: x, develop: {watch: [{path: ., action: rebuild}]}}}", "rebuild"),
        ("processes: {a: {command: x, restart_on: [{image_puled: x}]}}", "image_puled"),
        ("processes: {a: {command: x, sockets: [{nme: x, tcp: '127.0.0.1:80'}]}}", "nme"),
        ("processes: {a: {command: x, schedule: {evry: 3s}}}", "evry"),
        ("processes: {a: {command: x, healthcheck: {htp: 'http://x'}}}", "htp"),
        ("processes: {a: {command: x, healthcheck: {http: {ulr: 'http://x'}}}}", "ulr"),
        ("processes: {a: {command: x, reload: never}}", "never"),
        ("processes: {a: {command: x, isolation: p}}", "p"),
        ("processes: {a: {command: x, inherit_env: maybe}}", "maybe"),
        ("processes: {a: {command: x, post_start: [{comand: x}]}}", "comand"),
        ("processes: {a: {command: x, depends_on: {b: {condition: healthy}}}, b: {command: x}}", "healthy"),
        ("services: {a: {image: x, restart: sometimes}}", "sometimes"),
        ("services: {a: {image: x, deploy: {restart_policy: {condition: on-error}}}}", "on-error"),
        ("services: {a: {imgae: x}}", "imgae"),
        ("services: {a: {image: x, pull_policy: sometimes}}", "sometimes"),
        ("services: {a: {image: x, ulimits: {nofile: {sfot: 1, hard: 2}}}}", "sfot"),
    ] {
        let text = if text.starts_with("processes") || text.starts_with("services") {
            format!("{text}\n")
        } else {
            format!("{text}\nprocesses: {{a: {{command: x}}}}\n")
        };
        let loaded = load(&[("stack.yaml", &text)]);
        let place = |span: crate::base::source::Span| &text[span.start as usize..span.end as usize];
        let found = loaded.diagnostics.sorted().into_iter().chain(loaded.unstartable.sorted());
        let told: Vec<_> = found.map(|found| (place(found.labels[0].span), found.message.as_str())).collect();
        assert!(matches!(&told[..], [(place, _)] if *place == at), "{text}{told:#?}");
    }
}

#[test]
fn a_condition_of_deploy_is_a_restart_policy_as_in_compose() {
    use crate::model::restart::RestartPolicy;
    for (policy, expected) in [
        ("condition: none", RestartPolicy::No),
        ("condition: 'no'", RestartPolicy::No),
        ("condition: any", RestartPolicy::Always),
        ("condition: unless-stopped", RestartPolicy::UnlessStopped),
        ("condition: on-failure", RestartPolicy::OnFailure { max: None }),
        ("condition: on-failure, max_attempts: 3", RestartPolicy::OnFailure { max: Some(3) }),
        ("max_attempts: 3", RestartPolicy::Always),
    ] {
        let text = format!("services: {{a: {{image: x, deploy: {{restart_policy: {{{policy}}}}}}}}}\n");
        let loaded = load(&[("compose.yaml", &text)]);
        assert!(loaded.diagnostics.is_empty(), "{policy}: {:?}", loaded.diagnostics);
        assert_eq!(loaded.stack.services["a"].common.restart, expected, "{policy}");
    }
}
