//! Images whose files containers mount (`type: image`), which engines from 28 on can: here with engines that say so of themselves.

use crate::support::fake_engine::empty_engine;
use crate::support::sandbox::Sandbox;

const STACK: &str = "services:
  web:
    image: web:1
    volumes: [{type: image, source: 'data:2', target: /data, image: {subpath: etc}}]
  other:
    image: other:1
    volumes: [{type: image, source: 'data:2', target: /d}, {type: image, source: made, target: /made}]
  made: {build: .}
";

fn with(release: (&str, &str)) -> (Sandbox, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let mut sandbox = Sandbox::new(STACK);
    sandbox.write("Dockerfile", "FROM scratch\n");
    let socket = sandbox.root().join("engine.sock");
    let asked = empty_engine(&socket, release, "{}");
    sandbox.variable("DOCKER_HOST", Some(&format!("unix://{}", socket.display())));
    (sandbox, asked)
}

#[test]
fn an_engine_that_cannot_mount_images_is_told_with_both_versions_before_anything_starts() {
    let (sandbox, asked) = with(("20.10.24", "1.41"));
    let said = sandbox.run(&["up", "-d", "web"]);
    let need =
        "`web`: `volumes: /data: type: image` needs Docker Engine 28 (API 1.48) or newer, and this one is 20.10.24 (API 1.41)";
    assert!(said.code == 1 && said.err.contains(need), "{said:?}");
    let begun: Vec<String> = asked.lock().unwrap().iter().filter(|path| path.contains("create")).cloned().collect();
    assert!(begun.is_empty(), "{begun:?}");
}

#[test]
fn images_that_are_mounted_are_pulled_once_and_listed_unless_they_are_built_here() {
    let (sandbox, asked) = with(("28.0.0", "1.48"));
    let said = sandbox.run(&["pull"]);
    assert!(said.code == 0 && said.err.contains("data:2"), "{said:?}");
    let asked: Vec<String> = asked.lock().unwrap().clone();
    let mut pulled: Vec<&str> = asked.iter().filter_map(|path| path.split_once("/images/create?")?.1.split('&').next()).collect();
    pulled.sort_unstable();
    assert_eq!(pulled, ["fromImage=data%3A2", "fromImage=other%3A1", "fromImage=web%3A1"]);
    let said = sandbox.run(&["-p", "p", "config", "--images", "other"]);
    assert_eq!((said.code, said.out.as_str()), (0, "other:1\ndata:2\np-made\n"), "{said:?}");
}

#[test]
fn what_is_to_be_mounted_and_is_no_image_is_told_at_its_place() {
    let sandbox = Sandbox::new("services:\n  web:\n    image: x\n    volumes:\n    - {type: image, target: /data}\n");
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 3 && said.err.contains("stack.yaml:5:7") && said.err.contains("none is named"), "{said:?}");
}
