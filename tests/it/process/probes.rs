//! Probes that do not behave, in the whole program.

use crate::support::sandbox::{Sandbox, is_alive, until};

/// Deaf to TERM, with a child in a session of its own whose parent has gone, and one that holds the output. Notes what of the probes
/// before it still runs; what has been killed and waits to be collected does not.
const HANGS: &str = "
trap '' TERM HUP
for before in $(cat probes deep 2>/dev/null); do grep -qs 'State:.[^ZX]' /proc/$before/status && echo $before >> beside; done
echo $$ >> probes
(setsid sh -c 'trap \"\" TERM; echo $$ >> deep; while :; do sleep 1; done' >/dev/null 2>&1 &)
sh -c 'trap \"\" TERM; echo $$ >> deep; while :; do sleep 1; done' &
while :; do sleep 1; done
";

fn check(sandbox: &Sandbox, probes: usize) {
    until("it has been probed often enough", || sandbox.lines("probes").len() >= probes);
    sandbox.ok(&["down"]);
    assert_eq!(sandbox.lines("beside"), Vec::<String>::new(), "they ran beside the next probe");
    let left: Vec<i32> = ["probes", "deep"].iter().flat_map(|file| sandbox.lines(file)).map(|pid| pid.parse().unwrap()).collect();
    assert!(left.len() > probes, "{left:?}");
    assert!(left.into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn a_probe_of_a_life_that_has_ended_does_not_run_beside_those_of_the_next() {
    let sandbox = Sandbox::new(
        "
processes:
  web:
    command: until [ -s deep ]; do sleep 0.02; done; sleep 0.2; exit 1
    restart: always
    healthcheck: {test: ['CMD', 'sh', './probe'], interval: 50ms, start_period: 1m}
",
    );
    sandbox.write("probe", HANGS);
    sandbox.ok(&["up", "-d"]);
    check(&sandbox, 3);
}

#[test]
fn a_probe_that_hangs_is_killed_with_its_tree_and_never_runs_beside_the_next() {
    let sandbox = Sandbox::new(
        "
processes:
  web:
    command: exec sleep 1000
    healthcheck:
      test: ['CMD', 'sh', './probe']
      interval: 50ms
      timeout: 1s
      retries: 100
",
    );
    sandbox.write("probe", HANGS);
    sandbox.ok(&["up", "-d"]);
    until("it is told", || sandbox.run(&["why", "web"]).out.contains("no answer within"));
    check(&sandbox, 3);
}
