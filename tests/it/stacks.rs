//! The stacks that are shipped load without a word, and say what they are meant to say.

use std::path::{Path, PathBuf};

use baistack::load::{self, Request, Values};
use baistack::model::stack::Stack;
use baistack::view::diagnostics::{Look, render};
use baistack::world::disk::Disk;

/// Loads a shipped stack as `up` would, in an environment called `test1234`.
fn load(stack: &str, files: &[&str]) -> Stack {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks").join(stack);
    let home = ("HOME".to_owned(), "/home/somebody".to_owned());
    let request = Request {
        working_dir: directory.clone(),
        files: files.iter().map(PathBuf::from).collect(),
        environment: [home].into(),
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
        ("ENVID", "test1234".to_owned()),
        ("STACK_DIR", directory.display().to_string()),
        ("STACK_FILE", head.files[0].display().to_string()),
        ("ENV_DIR", directory.join(".baistack/test1234").display().to_string()),
        ("RUN_DIR", "/run/user/1/baistack/test1234".to_owned()),
        ("CPUS", "2".to_owned()),
    ];
    let values = Values {
        env_id: "test1234".parse().unwrap(),
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
    for files in [vec!["stack.yaml"], vec!["stack.yaml", "offline.yaml"], vec!["stack.yaml", "editable.yaml"]] {
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
fn the_compose_stack_gives_its_included_container_a_port_of_its_own() {
    let stack = load("compose", &[]);
    assert_eq!(names(&stack), ["cache", "web"]);
    let ports = &stack.services["cache"].common.ports;
    assert_eq!((ports.len(), ports[0].published.as_deref()), (1, Some("6379")));
    assert_eq!(ports[0].host_ip.as_deref(), Some("127.0.0.1"), "the fixed one of the Compose file is gone");
}

#[test]
fn todays_backend_ai_stack_loads_and_says_nothing_of_what_it_has_not_filled_in() {
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
