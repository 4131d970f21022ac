//! `jobs`: containers that `run` runs to their end, and that nothing else starts.

use crate::support::sandbox::Sandbox;

const STACK: &str = "
services:
  web: {image: IMAGE, command: [sleep, '1000'], init: true, stop_grace_period: 0s}
jobs:
  migrate:
    image: IMAGE
    command: [sh, -c, 'echo migrated $$WHO']
    env_file: who.env
    depends_on: [web]
    triggers: {manual: true}
  prep: {image: IMAGE, command: [sh, -c, 'sleep 1; echo ready > /data/prep'], volumes: ['data:/data'], triggers: {manual: true}}
  deploy:
    image: IMAGE
    command: [cat, /data/prep]
    volumes: ['data:/data']
    depends_on: {prep: {condition: service_completed_successfully}}
    triggers: {manual: true}
  broken: {image: IMAGE, command: [sh, -c, 'exit 3'], triggers: {manual: true}}
  after: {image: IMAGE, command: [echo, never], depends_on: {broken: {condition: service_completed_successfully}}, triggers: {manual: true}}
  nightly: {image: IMAGE, command: [echo, night], profiles: [night], triggers: {schedule: ['0 3 * * *']}}
  lenient: {image: IMAGE, command: [echo, done], depends_on: {broken: {condition: service_completed_successfully, required: false}}, triggers: {manual: true}}
volumes: {data: }
";

fn with_jobs(name: &str) -> Option<Sandbox> {
    let sandbox = Sandbox::with_engine(name, STACK)?;
    sandbox.write("who.env", "WHO=me\n");
    Some(sandbox)
}

#[test]
fn a_job_is_run_with_what_it_depends_on_and_nothing_else_starts_it() {
    let Some(sandbox) = with_jobs("job") else { return };
    let said = sandbox.run(&["run", "--rm", "-T", "migrate"]);
    assert_eq!((said.code, said.out.as_str()), (0, "migrated me\n"), "{said:?}");
    assert_eq!(sandbox.engine().containers(), ["web-1"], "what it depends on runs on, and it is gone");
    let said = sandbox.run(&["run", "--rm", "-T", "migrate", "sh", "-c", "echo again $WHO; exit 7"]);
    assert_eq!((said.code, said.out.as_str()), (7, "again me\n"), "{said:?}");

    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 0 && said.err.contains("not started by `up`") && !said.err.contains("nightly"), "{said:?}");
    assert_eq!(sandbox.engine().containers(), ["web-1"]);
    for line in
        [&["up", "-d", "migrate"][..], &["start", "migrate"], &["stop", "migrate"], &["logs", "migrate"], &["create", "migrate"]]
    {
        let said = sandbox.run(line);
        assert!(said.code == 2 && said.err.contains("`migrate` is a job and no service"), "{line:?}: {said:?}");
        assert!(said.err.contains("`baistack run migrate` runs it"), "{line:?}: {said:?}");
    }
    let listed = sandbox.ok(&["config", "--services"]);
    assert_eq!(listed, "web\n");
    // One that stays is a copy of it, and goes with the rest.
    sandbox.ok(&["run", "-T", "migrate"]);
    assert_eq!(sandbox.engine().containers().len(), 2);
    sandbox.ok(&["down", "-v"]);
    assert_eq!((sandbox.engine().containers().len(), sandbox.engine().networks().len()), (0, 0));
}

#[test]
fn a_job_runs_when_the_job_that_it_depends_on_is_done_and_not_when_that_has_failed() {
    let Some(sandbox) = with_jobs("jobs") else { return };
    let said = sandbox.run(&["run", "--rm", "-T", "deploy"]);
    assert_eq!((said.code, said.out.as_str()), (0, "ready\n"), "{said:?}");
    // However soon it ends, and whether it has run before, it is told alike.
    for _ in 0..3 {
        let said = sandbox.run(&["run", "--rm", "-T", "after"]);
        let why = "-broken-1`, which it depends on, ended with exit code 3";
        assert!(said.code == 1 && !said.out.contains("never"), "{said:?}");
        let errors: Vec<&str> = said.err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(
            matches!(errors[..], [one] if one.starts_with("error: `after` does not run: `") && one.ends_with(why)),
            "{said:?}"
        );
    }
    let said = sandbox.run(&["run", "--rm", "-T", "lenient"]);
    assert!(said.code == 0 && said.out == "done\n" && said.err.contains("ended with exit code 3"), "{said:?}");
    // What has run for another one is neither an orphan nor started again.
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 0 && !said.err.contains("no longer has"), "{said:?}");
    let left = sandbox.engine().id("prep-1");
    assert!(left.is_some(), "{:?}", sandbox.engine().containers());
    sandbox.ok(&["stop"]);
    sandbox.ok(&["start"]);
    assert!(sandbox.engine().is_running("web-1") && !sandbox.engine().is_running("prep-1"));
    sandbox.ok(&["down", "-v"]);
    assert_eq!(sandbox.engine().containers(), [""; 0]);
}

#[test]
fn a_job_with_a_schedule_is_refused_by_name_unless_it_is_run_by_hand() {
    let Some(sandbox) = with_jobs("schedule") else { return };
    for line in [&["--profile", "night", "up", "-d"][..], &["--profile", "night", "plan"], &["--profile", "night", "create"]] {
        let said = sandbox.run(line);
        assert!(said.code == 3 && said.err.contains("the job `nightly` has a `schedule`"), "{line:?}: {said:?}");
        assert!(said.err.contains("stack.yaml:20:"), "{line:?}: {said:?}");
    }
    assert_eq!(sandbox.engine().containers(), [""; 0]);
    assert_eq!(sandbox.ok(&["run", "--rm", "-T", "nightly"]), "night\n");
    sandbox.ok(&["down", "-v"]);
}
