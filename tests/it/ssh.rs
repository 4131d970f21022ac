//! An engine on another host.

use crate::support::sandbox::Sandbox;
use crate::support::ssh::SshHost;

#[test]
fn an_engine_on_another_host_is_reached_over_ssh() {
    let Some(host) = SshHost::serve("ssh") else { return };
    let Some(mut sandbox) = Sandbox::with_engine("ssh", "services: {}\n") else { return };
    let image = sandbox.engine().image().clone();
    sandbox.write(
        "stack.yaml",
        &format!(
            "services:\n  web: {{image: '{image}', command: [sh, -c, 'echo here; exec sleep 1000'], init: true, stop_grace_period: 0s}}\n"
        ),
    );
    let path = format!("{}:{}", host.programs().display(), std::env::var("PATH").unwrap());
    sandbox.variable("PATH", Some(&path));
    sandbox.variable("DOCKER_HOST", Some(&host.docker_host(None)));
    sandbox.ok(&["up", "-d", "--wait"]);
    assert!(sandbox.ok(&["ps"]).contains("running"));
    assert!(sandbox.ok(&["logs", "web"]).contains("here"));
    // Byte for byte, and the end of the input arrives.
    let input: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    assert!(sandbox.feed(&["exec", "-T", "web", "cat"], &input) == input);
    sandbox.ok(&["down"]);

    sandbox.variable("DOCKER_HOST", Some(&host.docker_host(Some("nobody-of-this-name"))));
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("ssh://nobody-of-this-name@127.0.0.1") && said.err.contains("Permission denied"), "{said:?}");
    sandbox.variable("DOCKER_HOST", Some(&host.docker_host(None)));
}
