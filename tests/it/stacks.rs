//! The stacks that are shipped load without a word, and say what they are meant to say.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use baistack::base::name::ServiceName;
use baistack::load::{self, Request, Values};
use baistack::model::stack::Stack;
use baistack::view::diagnostics::{Look, render};
use baistack::world::disk::Disk;

/// Loads a shipped stack as `up` would, in an environment called `test1234`.
fn load(stack: &str, files: &[&str]) -> Stack {
    load_for(stack, files, "test1234", &[])
}

/// The same in another environment, with variables of the caller's.
fn load_for(stack: &str, files: &[&str], env: &str, variables: &[(&str, &str)]) -> Stack {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks").join(stack);
    let home = ("HOME".to_owned(), "/home/somebody".to_owned());
    let request = Request {
        working_dir: directory.clone(),
        files: files.iter().map(PathBuf::from).collect(),
        environment: (variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).chain([home]).collect(),
        ..Request::default()
    };
    let (head, sources, diagnostics) = load::head(&request, &Disk);
    let look = Look { directory: &directory, color: false, width: Some(100) };
    assert!(diagnostics.is_empty(), "{}", render(&diagnostics, &sources, &look));
    let mut ports = indexmap::IndexMap::new();
    for (name, port) in &head.named_ports {
        let text = if port.range { format!("{}-{}", port.first, port.last) } else { port.first.to_string() };
        ports.insert(name.clone(), text);
        if port.range {
            ports.insert(format!("{name}_FIRST"), port.first.to_string());
            ports.insert(format!("{name}_LAST"), port.last.to_string());
        }
    }
    let predefined = [
        ("ENVID", env.to_owned()),
        ("STACK_DIR", directory.display().to_string()),
        ("STACK_FILE", head.files[0].display().to_string()),
        ("ENV_DIR", directory.join(".baistack").join(env).display().to_string()),
        ("RUN_DIR", format!("/run/user/1/baistack/{env}")),
        ("CPUS", "2".to_owned()),
    ];
    let values = Values {
        env_id: env.parse().unwrap(),
        predefined: predefined.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ports,
        generated: head.generate.keys().map(|name| (name.clone(), format!("generated-{name}"))).collect(),
    };
    let loaded = load::stack(&request, &head, &values, &Disk);
    assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded.diagnostics, &loaded.sources, &look));
    loaded.stack
}

fn names(stack: &Stack) -> Vec<&str> {
    stack.services.keys().map(baistack::base::name::ServiceName::as_str).collect()
}

#[test]
fn the_quickstart_loads() {
    let stack = load("quickstart", &[]);
    assert_eq!(names(&stack).len(), 4);
    let compile = stack.services.get("compile").unwrap();
    assert!(compile.process().unwrap().task);
    assert!(!stack.services["web"].common.depends_on.get("counter").unwrap().required);
}

#[test]
fn the_backend_ai_stack_loads_with_each_of_its_overrides() {
    for files in [vec!["stack.yaml"], vec!["stack.yaml", "offline.yaml"]] {
        let stack = load("backend.ai", &files);
        let db = &stack.services["backendai-half-db"];
        assert_eq!(db.common.environment["POSTGRES_PASSWORD"].as_deref(), Some("generated-DB_PASSWORD"), "{files:?}");
        assert_eq!(db.common.ports.len(), 1, "{files:?}: {:?}", db.common.ports);
        assert_eq!(db.common.ports[0].published.as_deref(), Some("5442"));
        let agent = &stack.services["agent"];
        assert_eq!(agent.common.cap_add, ["SYS_PTRACE", "SYS_ADMIN", "DAC_OVERRIDE"]);
        assert!(agent.common.healthcheck.as_ref().unwrap().log.is_some());
        let config = stack.configs["manager.toml"].content.as_deref().unwrap();
        assert!(config.contains("generated-DB_PASSWORD") && !config.contains("${"), "{config}");
        assert!(stack.disabled.contains_key("client"), "{files:?}");
        assert_eq!(stack.images.is_empty(), files.contains(&"offline.yaml"));
        assert_eq!(stack.owns.len(), 2);
        assert!(stack.welcome.as_deref().unwrap().contains("http://127.0.0.1:8090/"));
    }
}

#[test]
fn two_environments_of_the_backend_ai_stack_share_nothing_by_which_agents_know_their_own() {
    let [one, two] = ["one", "two"].map(|env| load_for("backend.ai", &[], env, &[("BACKEND_SRC", "/src")]));
    let config = |stack: &Stack, name: &str| stack.configs[name].content.clone().unwrap();
    for (stack, env) in [(&one, "one"), (&two, "two")] {
        assert!(config(stack, "agent.toml").contains(&format!("id = \"i-{env}\"")));
        let agent = &stack.services["agent"];
        let text = serde_json::to_string(agent).unwrap();
        // What it makes in Docker is named by the path that its module is found at.
        assert!(text.contains(&format!(".baistack/{env}/venv-agent/bin/python")), "{text}");
        assert!(agent.common.environment["PYTHONPATH"].as_deref().unwrap().ends_with(&format!(".baistack/{env}/src")));
        let storage = config(stack, "storage-proxy.toml");
        let of = |section: &str| storage.split_once(section).unwrap().1.lines().nth(1).unwrap().to_owned();
        assert!(of("[api.client]").contains("port = 6021") && of("[api.manager]").contains("port = 6022"), "{storage}");
        for name in ["manager.toml", "storage-proxy.toml"] {
            assert!(config(stack, name).contains("\nnum-proc = 1"), "one processor is enough for {name}");
        }
    }
}

#[test]
fn a_checkout_takes_the_place_of_the_released_components_by_one_variable() {
    let (released, checkout) = (load("backend.ai", &[]), load_for("backend.ai", &[], "test1234", &[("BACKEND_SRC", "/src")]));
    let path = |stack: &Stack, name: &str| stack.services[name].common.environment["PYTHONPATH"].clone().unwrap();
    for name in ["manager", "storage-proxy", "webserver", "agent", "etcd-values", "schema"] {
        assert_eq!(path(&released, name), "", "{name}");
        assert!(path(&checkout, name).ends_with(".baistack/test1234/src"), "{name}");
        assert!(
            name == "etcd-values" || name == "schema" || checkout.services[name].common.depends_on["source"].restart,
            "{name}"
        );
    }
    for (name, own) in [("manager", &["common", "manager"][..]), ("agent", &["common", "agent"]), ("storage-proxy", &["common"])]
    {
        let watched: Vec<String> =
            checkout.services[name].common.develop.watch.iter().map(|rule| rule.path.display().to_string()).collect();
        let wanted: Vec<String> = own.iter().map(|part| format!("/src/src/ai/backend/{part}")).collect();
        assert_eq!(watched, wanted, "{name}");
    }
    assert!(!serde_json::to_string(&released.services["agent"]).unwrap().contains("/src/src/"));
}

#[test]
fn a_plugin_of_the_agent_is_installed_and_allowed_by_one_variable() {
    let with = load_for("backend.ai", &[], "test1234", &[("ACCELERATOR", "cuda_open")]);
    for (stack, allowed, installed) in [
        (&load("backend.ai", &[]), "allow-compute-plugins = []", ""),
        (&with, "allow-compute-plugins = [\"ai.backend.accelerator.cuda_open\"]", "backend.ai-accelerator-cuda_open==23.9.10"),
    ] {
        let config = stack.configs["agent.toml"].content.as_deref().unwrap();
        assert!(config.contains(allowed), "{config}");
        assert_eq!(stack.services["agent-accelerator"].common.environment["WANT"].as_deref(), Some(installed));
        assert!(stack.services["agent"].common.depends_on["agent-accelerator"].restart);
    }
}

#[test]
fn the_compose_stack_gives_its_included_container_a_port_of_its_own() {
    let stack = load("compose", &[]);
    assert_eq!(names(&stack), ["cache", "web"]);
    let ports = &stack.services["cache"].common.ports;
    assert_eq!((ports.len(), ports[0].published.as_deref()), (1, Some("6379")));
    assert_eq!(ports[0].host_ip.as_deref(), Some("127.0.0.1"), "the fixed one of the Compose file is gone");
}

#[test]
fn todays_backend_ai_stack_loads_and_says_nothing_of_what_it_has_not_filled_in() {
    let offline = load("backend.ai-next", &["stack.yaml", "offline.yaml"]);
    for name in ["db", "redis", "etcd", "prometheus", "db-exporter", "redis-exporter", "node-exporter"] {
        let name: ServiceName = format!("backendai-half-{name}").parse().unwrap();
        let service = offline.services.get(&name).or(offline.disabled.get(&name)).unwrap();
        assert_eq!(service.container().unwrap().image.as_deref(), Some("bai-halfstack:bookworm"), "{name}");
    }
    let stack = load("backend.ai-next", &[]);
    let named = names(&stack);
    for name in ["manager", "storage-proxy", "webserver", "agent", "backendai-half-db", "backendai-half-etcd"] {
        assert!(named.contains(&name), "{name} is not among {named:?}");
    }
    for name in ["backendai-half-otel-collector", "backendai-half-minio", "sftp-agent", "client"] {
        assert!(stack.disabled.contains_key(name), "{name} is behind a profile: {:?}", stack.disabled.keys());
    }
    for (name, config) in stack.configs.iter().filter(|(_, config)| config.template.is_some()) {
        let Some(text) = config.content.as_deref() else { continue };
        assert!(!text.contains("_PORT}"), "{name}: {text}");
    }
}

#[test]
fn no_shipped_stack_prefers_a_port_that_the_kernel_gives_away() {
    for name in ["quickstart", "compose", "backend.ai", "backend.ai-next"] {
        for (port, numbers) in load(name, &[]).ports {
            // `net.ipv4.ip_local_port_range` begins here on every Linux that nobody has changed.
            assert!(numbers.last < 32_768, "{port} of {name}");
        }
    }
}

#[test]
fn every_image_of_the_backend_ai_stack_is_pinned_to_a_release() {
    for (name, service) in load("backend.ai", &[]).services {
        let Some(image) = service.container().and_then(|container| container.image.as_deref()) else { continue };
        let tag = image.rsplit_once(':').map(|(_, tag)| tag.trim_start_matches('v')).unwrap_or_default();
        assert!(tag.split('-').next().is_some_and(|release| release.matches('.').count() >= 1), "{name}: {image}");
    }
}

/// Stands for our own program: the databases inside, of which one can be broken.
const INSIDE: &str = r#"#!/bin/sh
echo "$*" >> asked
case "$*" in
*pg_dump*) [ ! -e broken ] && echo rows ;;
*pg_restore*) cat > restored ;;
*"etcdctl get"*) echo '{"kvs": [{"key": "L3Nvcm5hL2UvYS9i", "value": "djE="}]}' ;;
esac
"#;

#[test]
fn data_are_saved_whole_and_brought_back_while_nothing_writes() {
    if !Command::new("python3").arg("--version").output().is_ok_and(|said| said.status.success()) {
        eprintln!("skipped: there is no python3");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("inside");
    crate::support::sandbox::Sandbox::program_at(&program, INSIDE);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks/backend.ai/data.py");
    let run = |verb: &str| {
        let mut command = Command::new("python3");
        command.arg(&script).args([verb, "backup/e"]).current_dir(place.path());
        command.env("BAISTACK", &program).env("BAISTACK_ENVID", "e").output().unwrap().status.success()
    };
    let read = |name: &str| fs::read_to_string(place.path().join(name)).unwrap();
    assert!(run("save"));
    assert_eq!(read("backup/e.dump"), "rows\n");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&read("backup/e.etcd.json")).unwrap()["values"]["a/b"], "v1");
    assert_eq!(fs::metadata(place.path().join("backup/e.dump")).unwrap().permissions().mode() & 0o777, 0o600);
    // The copy before stays beside the new one.
    fs::write(place.path().join("backup/e.dump"), "older rows").unwrap();
    assert!(run("save"));
    assert_eq!([read("backup/e.dump"), read("backup/e.dump.1")], ["rows\n", "older rows"]);
    // One that was put in the place of another is not brought back with the values of that.
    fs::write(place.path().join("backup/e.dump"), "somebody else's").unwrap();
    fs::remove_file(place.path().join("backup/e.dump.1")).unwrap();
    fs::remove_file(place.path().join("asked")).unwrap();
    assert!(!run("restore") && !place.path().join("asked").exists(), "nothing is stopped for it");
    assert!(run("save"));
    // What cannot be saved leaves the older copy alone.
    fs::write(place.path().join("broken"), "").unwrap();
    assert!(!run("save"));
    assert_eq!(read("backup/e.dump"), "rows\n");
    fs::remove_file(place.path().join("asked")).unwrap();
    // A save that was interrupted while it put things in their places: the copy before is found, whatever it is called.
    fs::rename(place.path().join("backup/e.dump"), place.path().join("backup/e.dump.1")).unwrap();
    assert!(run("restore"));
    assert_eq!(read("restored"), "rows\n");
    let asked = read("asked");
    let verbs: Vec<&str> = asked.lines().collect();
    assert_eq!(verbs.first(), Some(&"stop agent webserver storage-proxy manager"));
    assert_eq!(verbs.last(), Some(&"start manager storage-proxy webserver agent"));
    assert!(asked.contains("etcdctl del --prefix /sorna/e/\n") && asked.contains("etcdctl put -- /sorna/e/a/b v1\n"), "{asked}");
    // One that was saved before the two told each other apart.
    fs::write(place.path().join("backup/e.dump"), "old rows").unwrap();
    fs::write(place.path().join("backup/e.etcd.json"), r#"{"a/b": "v0"}"#).unwrap();
    assert!(run("restore"));
    assert_eq!(read("restored"), "old rows");
}
