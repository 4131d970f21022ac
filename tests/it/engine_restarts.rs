//! The engine goes away and comes back while somebody looks.

use crate::support::own_engine::OwnEngine;
use crate::support::sandbox::Sandbox;

/// The numbers of the lines that one life of the container has written, as they were shown.
fn written_by(life: u32, shown: &[String]) -> Vec<u32> {
    let prefix = format!("life {life} line ");
    shown.iter().filter_map(|line| line.strip_prefix(&prefix)?.parse().ok()).collect()
}

#[test]
fn an_engine_that_restarts_is_told_and_every_line_is_shown_once() {
    let Some(mut engine) = OwnEngine::new("an engine that restarts") else { return };
    let stack = r#"
name: demo
services:
  loud:
    image: IMAGE
    network_mode: none
    restart: always
    stop_grace_period: 5s
    command:
      - sh
      - -c
      - |
        trap 'exit 0' TERM
        echo x >>/lives
        life=$$(($$(busybox wc -l </lives)))
        line=0
        while :; do line=$$((line + 1)); echo "life $$life line $$line"; busybox usleep 20000; done
"#;
    let mut sandbox = Sandbox::new(&stack.replace("IMAGE", &OwnEngine::image()));
    sandbox.variable("DOCKER_HOST", Some(&engine.host()));
    // With live restore the container runs on meanwhile; without, it ends with the engine and is started again with it.
    for (live_restore, lives) in [(true, 1), (false, 2)] {
        engine.end();
        engine.begin(live_restore).unwrap();
        let up = sandbox.begin(&["up", "--no-log-prefix"]);
        let mut shown = up.wait_for_all("life 1 line 20");
        engine.end();
        shown.extend(up.wait_for_all("the container engine does not answer"));
        engine.begin(live_restore).unwrap();
        shown.extend(up.wait_for_all("the container engine is back"));
        let before = written_by(1, &shown).len();
        shown.extend(up.wait_for_all(&if lives == 1 {
            format!("life 1 line {}", before + 50)
        } else {
            "life 2 line 50".to_owned()
        }));
        sandbox.ok(&["down"]);
        let (code, rest) = up.end_with_the_rest();
        assert_eq!(code, 0, "{rest:?}");
        shown.extend(rest);
        for life in 1..=lives {
            let written = written_by(life, &shown);
            let last = u32::try_from(written.len()).unwrap();
            assert_eq!(written, (1..=last).collect::<Vec<_>>(), "life {life}, live restore: {live_restore}");
        }
        assert_eq!(engine.containers(), [""; 0]);
    }
}
