//! Images that come from a registry and go to one: with a password, and over a connection that is slow or breaks.

use crate::support::registry::{PASSWORD, Registry};
use crate::support::sandbox::Sandbox;

/// A stack of one service whose image is built, and goes to the registry.
fn with_registry(name: &str) -> Option<(Sandbox, Registry)> {
    let registry = Registry::serve(name)?;
    let sandbox = Sandbox::with_engine(name, "services: {}\n")?;
    let engine = sandbox.engine();
    // Something that no compression makes small: what is held up has to be in the middle of it.
    let mut seed = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as u8
    })
    .take(2_000_000)
    .collect();
    sandbox.write("Dockerfile", &format!("FROM {}\nCOPY noise /noise\n", engine.image()));
    std::fs::write(sandbox.path("noise"), noise).unwrap();
    let image = format!("{}/{}/app:1", registry.address(), engine.env());
    let more = "command: [sleep, '1000'], init: true, stop_grace_period: 0s";
    sandbox.write("stack.yaml", &format!("services:\n  app: {{image: '{image}', build: ., {more}}}\n"));
    sandbox.write("pulled.yaml", &format!("services:\n  app: {{image: '{image}', {more}}}\n"));
    sandbox.write("../home/.docker/config.json", &registry.login(PASSWORD));
    Some((sandbox, registry))
}

/// Builds the image, pushes it, and forgets it here.
fn pushed(sandbox: &Sandbox) {
    sandbox.ok(&["build", "-q"]);
    let said = sandbox.run(&["push"]);
    assert_eq!(said.code, 0, "{said:?}");
    forget(sandbox);
}

fn forget(sandbox: &Sandbox) {
    let stack = std::fs::read_to_string(sandbox.path("pulled.yaml")).unwrap();
    let image = stack.split('\'').nth(1).unwrap();
    sandbox
        .engine()
        .ask(async |api| api.remove_image(image, None::<bollard::query_parameters::RemoveImageOptions>, None).await.unwrap());
}

#[test]
fn what_is_pushed_with_a_password_is_pulled_with_it() {
    let Some((sandbox, _registry)) = with_registry("registry") else { return };
    pushed(&sandbox);
    let pull = ["-f", "pulled.yaml", "pull"];
    let said = sandbox.run(&pull);
    assert!(said.code == 0 && said.err.contains("pulled"), "{said:?}");
    forget(&sandbox);
    // An `up` pulls what is not there, by the same rules.
    sandbox.ok(&["-f", "pulled.yaml", "up", "-d"]);
    assert!(sandbox.engine().is_running("app-1"));
    sandbox.ok(&["down"]);
}

#[test]
fn a_wrong_password_is_refused_at_once_and_said() {
    let Some((sandbox, registry)) = with_registry("password") else { return };
    pushed(&sandbox);
    for config in [registry.login("guessed"), "{}".to_owned()] {
        sandbox.write("../home/.docker/config.json", &config);
        for line in [&["-f", "pulled.yaml", "pull"][..], &["-f", "pulled.yaml", "up", "-d"]] {
            let said = sandbox.run(line);
            assert_eq!(said.code, 1, "{line:?}: {said:?}");
            let words = said.err.to_lowercase();
            assert!(words.contains("no basic auth credentials") || words.contains("unauthorized"), "{line:?}: {said:?}");
            assert!(!words.contains("next try"), "{line:?}: {said:?}");
        }
    }
    sandbox.ok(&["build", "-q"]);
    let said = sandbox.run(&["push"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("no basic auth credentials"), "{said:?}");
    sandbox.ok(&["down"]);
}

#[test]
fn a_tag_that_the_registry_does_not_have_is_named_and_stops_no_other_pull() {
    let Some((sandbox, _registry)) = with_registry("tag") else { return };
    pushed(&sandbox);
    let stack = std::fs::read_to_string(sandbox.path("pulled.yaml")).unwrap();
    let other = stack.lines().nth(1).unwrap().replace("app:", "other:").replace("/other:1", "/app:2");
    sandbox.write("pulled.yaml", &format!("{stack}{other}\n"));
    let said = sandbox.run(&["-f", "pulled.yaml", "pull"]);
    assert_eq!(said.code, 1, "{said:?}");
    let errors: Vec<&str> = said.err.lines().filter(|line| line.contains("error")).collect();
    assert!(errors.iter().any(|line| line.contains("/app:2") && line.contains("manifest unknown")), "{said:?}");
    assert!(!said.err.contains("next try"), "{said:?}");
    forget(&sandbox);
}

#[test]
fn a_connection_that_breaks_is_tried_again_and_the_image_comes() {
    let Some((sandbox, registry)) = with_registry("breaks") else { return };
    pushed(&sandbox);
    // The engine asks by `https` first, and tries some answers again by itself.
    registry.break_off(6);
    let said = sandbox.run(&["-f", "pulled.yaml", "pull"]);
    assert!(said.code == 0 && said.err.contains("next try in 1 s") && said.err.contains("EOF"), "{said:?}");
    assert_eq!(registry.to_break(), 0);
    forget(&sandbox);
}

#[test]
fn a_slow_connection_shows_how_much_is_there_and_nothing_is_begun_anew() {
    let Some((sandbox, registry)) = with_registry("slow") else { return };
    pushed(&sandbox);
    registry.hold_after(1_200_000);
    let pull = sandbox.begin(&["--progress", "json", "-f", "pulled.yaml", "pull"]);
    let seen = pull.wait_for(" of ");
    assert!(!seen.iter().any(|line| line.contains("etrying")), "{seen:?}");
    registry.let_go();
    pull.wait_for("pulled");
    assert_eq!(pull.end(), 0);
    forget(&sandbox);
}
