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
    ] {
        check("services", attribute, expected);
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
    ] {
        let file = |attribute: &str| format!("services:\n  other: {{image: x}}\n  web:\n    image: x\n    {attribute}\n");
        let loaded = load(&[("a.yaml", &file(base)), ("b.yaml", &file(over))]);
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
fn what_is_not_honoured_loads_and_is_refused_at_a_start() {
    let text = "services:\n  web:\n    image: x\n    build: {context: ., sbom: true, cache_to: [a]}\n  off: {profiles: [p], build: {context: ., sbom: true}}\n";
    let loaded = load(&[("compose.yaml", text)]);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    let refused: Vec<String> = loaded.unstartable.sorted().iter().map(|found| found.message.clone()).collect();
    assert_eq!(refused, ["`build.sbom` is not supported by this version", "`build.cache_to` is not supported by this version"]);
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
