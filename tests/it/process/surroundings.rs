//! The variables and limits that a process finds.

use crate::support::sandbox::{Sandbox, until};

fn found(sandbox: &Sandbox) -> Vec<String> {
    sandbox.ok(&["up", "-d"]);
    until("it has told", || sandbox.path("told").exists());
    sandbox.lines("told")
}

#[test]
fn the_callers_value_counts_also_inside_of_the_file() {
    let mut sandbox = Sandbox::new("processes: {a: {command: 'echo ${VERSION} ${IMAGE} > new; mv new told; exec sleep 1000'}}");
    sandbox.write(".env", "VERSION=file\nIMAGE=app:${VERSION}\n");
    sandbox.variable("VERSION", Some("shell"));
    assert_eq!(found(&sandbox), ["shell app:shell"]);
}

#[test]
fn empty_null_and_absent_are_three_things() {
    let stack = "
processes:
  a:
    command: env | grep -E '^[ABC]=' | sort > new; mv new told; exec sleep 1000
    env_file: e.env
    environment: {A: '', B: , C: '${UNSET_HERE}'}
";
    let sandbox = Sandbox::new(stack);
    sandbox.write("e.env", "B=1\n");
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 0 && said.err.contains("UNSET_HERE"), "{said:?}");
    until("it has told", || sandbox.path("told").exists());
    assert_eq!(sandbox.lines("told"), ["A=", "B=1", "C="]);

    let mut sandbox = Sandbox::new(stack);
    sandbox.write("e.env", "B=1\n");
    sandbox.variable("B", Some("host"));
    assert_eq!(found(&sandbox), ["A=", "B=host", "C="]);

    let sandbox = Sandbox::new("processes: {a: {command: 'echo ${UNSET_HERE:?is needed}'}}");
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 3 && said.err.contains("is needed"), "{said:?}");
}

#[test]
fn files_of_variables_are_read_as_they_are_meant() {
    let sandbox = Sandbox::new(
        "
processes:
  a:
    command: printf '%s\\n' \"$$P\" \"$$K\" \"$$H\" \"$$U\" \"$$D\" > new; mv new told; exec sleep 1000
    env_file: [one.env, two.env]
    environment: {E: given}
",
    );
    sandbox.write("one.env", "P='pa$$w$x'\nK=\"-----BEGIN\nline\n-----END\"\nH=\"a # b\"\nU=a#b\nD=one\nE=file\n");
    sandbox.write("two.env", "D=two\n");
    assert_eq!(found(&sandbox), ["pa$$w$x", "-----BEGIN", "line", "-----END", "a # b", "a#b", "two"]);
}

#[test]
fn the_limit_of_descriptors_is_that_of_the_services_and_hinders_no_start() {
    let mut stack = "processes:\n".to_owned();
    for number in 0..40 {
        stack += &format!("  s{number}: {{command: exec sleep 1000}}\n");
    }
    stack += "  a: {command: 'echo $$(ulimit -Sn) > new; mv new told; exec sleep 1000'}\n";
    let sandbox = Sandbox::new(&stack);
    // Each service takes the supervisor three or four.
    let said = Sandbox::run_command(sandbox.command_after("ulimit -Sn 64", &["up", "-d"]));
    assert!(said.code == 0 && !said.err.contains("backing off"), "{said:?}");
    until("it has told", || sandbox.path("told").exists());
    assert_eq!(sandbox.lines("told"), ["64"]);
    assert_eq!(sandbox.leaders().len(), 41);
}
