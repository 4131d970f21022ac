//! `RUN_DIR`, and limits that cannot be kept.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::sandbox::Sandbox;

const IN_RUN_DIR: &str = "
processes:
  a:
    command: exec sleep 1000
    environment: {SOCKET: '${RUN_DIR}/a.sock'}
    post_start: [{command: [sh, -c, 'touch \"$$SOCKET\"; dirname \"$$SOCKET\" > place']}]
";

#[test]
fn the_run_dir_is_ours_alone_and_goes_with_down() {
    let sandbox = Sandbox::new(IN_RUN_DIR);
    sandbox.ok(&["up", "-d", "--wait"]);
    let place = PathBuf::from(&sandbox.lines("place")[0]);
    let parent = place.parent().unwrap();
    assert!(place.join("a.sock").exists());
    assert_eq!(fs::metadata(parent).unwrap().permissions().mode() & 0o777, 0o700);
    sandbox.ok(&["down"]);
    assert!(!place.exists() && parent.exists());
}

#[test]
fn a_directory_for_run_dirs_that_others_can_write_into_is_refused() {
    let sandbox = Sandbox::new(IN_RUN_DIR);
    let parent = sandbox.root().join("run/baistack");
    fs::create_dir(&parent).unwrap();
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o777)).unwrap();
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    for text in [parent.to_str().unwrap(), "mode 0777", "remove it"] {
        assert!(said.err.contains(text), "{text}: {said:?}");
    }
    assert!(!sandbox.path("place").exists());
}

const LIMITED: &str = "
processes:
  a: {command: 'touch a; exec sleep 1000', pids_limit: 10, mem_limit: 64m}
  b: {command: 'touch b; exec sleep 1000'}
";

#[test]
fn limits_that_cannot_be_kept_are_told_before_anything_starts() {
    // An ordinary user has no cgroup to make one in, unless a session manager gives it one.
    let Some(sandbox) = Sandbox::of_ordinary_user(LIMITED) else { return };
    let said = sandbox.run(&["up", "-d", "--wait"]);
    if said.code == 0 {
        eprintln!("skipped: this user may make cgroups");
        return;
    }
    assert_eq!(said.code, 1, "{said:?}");
    for text in ["`a`", "`mem_limit`, `pids_limit`", "--ignore-limits"] {
        assert!(said.err.contains(text), "{text}: {said:?}");
    }
    assert!(!sandbox.path("a").exists() && !sandbox.path("b").exists());

    let said = sandbox.run(&["up", "-d", "--wait", "--ignore-limits"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("`a` runs without its `mem_limit`, `pids_limit`"), "{said:?}");
    assert!(sandbox.ok(&["ps", "--services", "--status", "running"]).contains('a'));
    // Who goes on with it does not ask again, and takes nothing for a change of it.
    let said = sandbox.run(&["plan"]);
    assert!(said.code == 0 && !said.err.contains("would not begin"), "{said:?}");
    for line in [&["scale", "a=2"][..], &["run", "a", "true"], &["restart", "a"]] {
        let said = sandbox.run(line);
        assert!(said.code == 0 && !said.err.contains("have changed"), "{line:?}: {said:?}");
    }
    assert_eq!(sandbox.run(&["up", "-d"]).code, 1, "an `up` goes by its own words");
}
