//! `develop.watch` of containers: copies, rebuilds, and what a change during either causes.

use std::path::PathBuf;

use super::*;
use crate::model::watch::WatchRule;
use crate::plan::action::Fault;
use crate::supervisor::event::RuleId;
use crate::supervisor::notice::Level;
use crate::supervisor::request::Select;

/// `a`, built, with these rules for `/src`.
fn watched(rules: Value) -> Deployment {
    let common = json!({"develop": {"watch": rules}});
    deployment(json!({"a": {"common": common, "kind": {"container": {"image": "image", "build": {"context": "/"}}}}}))
}

fn rule(action: &str, more: Value) -> Value {
    let mut rule = json!({"path": "/src", "action": action, "target": "/app"});
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rule
}

/// A machine with `a` running and its watches armed.
fn armed(deployment: &Deployment) -> Bench {
    let mut bench = Bench::new();
    bench.up(deployment, |up| up.watch_containers = true);
    bench.look(&[seen(deployment, "a:1", SeenState::Running { birth: "1".to_owned() })]);
    bench
}

impl Bench {
    fn armed_rules(&self) -> Vec<(RuleId, WatchRule)> {
        let list = self.effects.iter().rev().find_map(|it| if let Effect::Watch(list) = it { Some(list) } else { None });
        list.into_iter().flatten().map(|watched| (watched.id, watched.rule.clone())).collect()
    }

    /// Files of the first rule change, and it is quiet after that.
    fn change(&mut self, paths: &[&str]) {
        let paths = paths.iter().map(PathBuf::from).collect();
        self.tell(Event::FilesChanged { rule: RuleId(1), paths, busy: false });
        self.now += 1000;
        self.tell(Event::Tick);
    }

    fn story_of_syncs(&self) -> Vec<String> {
        let tell = |action: &Action| match action {
            Action::Sync { container, paths, .. } => format!(
                "sync {container} {}",
                match paths {
                    None => "all".to_owned(),
                    Some(paths) => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" "),
                }
            ),
            other => other.verb().to_owned(),
        };
        self.acts().map(|(_, action)| tell(action)).collect()
    }
}

#[test]
fn rules_of_containers_are_armed_by_asking_for_it() {
    let deployment = watched(json!([rule("sync", json!({})), rule("rebuild", json!({}))]));
    assert_eq!(armed(&deployment).armed_rules().len(), 2);
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    assert_eq!(bench.armed_rules(), []);
}

#[test]
fn whoever_watches_arms_them_for_as_long_as_the_connection_lasts() {
    let deployment = watched(json!([rule("sync", json!({})), rule("rebuild", json!({}))]));
    let running = || [seen(&deployment, "a:1", SeenState::Running { birth: "1".to_owned() })];
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.look(&running());
    // With containers alone there is nothing to supervise: whoever watches finds a supervisor that has just begun.
    let recovered = Supervisor::recover(bench.machine.snapshot(), Processes::Gone, 1).unwrap();
    let mut bench = Bench { machine: recovered, ..Bench::new() };
    bench.ask(5, Request::Watch(Select::default()));
    bench.look(&running());
    bench.look(&running());
    assert_eq!(bench.armed_rules().len(), 2);
    assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Exit)));
    assert!(bench.replies().is_empty(), "a change might still be missed");
    for _ in 0..bench.effects.iter().filter(|effect| matches!(effect, Effect::Watch(_))).count() {
        bench.tell(Event::WatchSet);
    }
    assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
    bench.change(&["/src/a"]);
    assert_eq!(bench.story_of_syncs(), ["sync id of a:1 /src/a"]);
    bench.effects.clear();
    bench.tell(Event::Disconnected(RequestId(5)));
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Watch(list) if list.is_empty())));
}

#[test]
fn changed_files_are_copied_one_change_after_the_other() {
    let mut bench = armed(&watched(json!([rule("sync", json!({}))])));
    bench.change(&["/src/b", "/src/a"]);
    assert_eq!(bench.story_of_syncs(), ["sync id of a:1 /src/a /src/b"]);
    bench.change(&["/src/c"]);
    bench.change(&["/src/d", "/src/c"]);
    let (ticket, _) = bench.take_act(|_| true);
    assert_eq!(bench.story_of_syncs(), Vec::<String>::new(), "one at a time");
    bench.answer(ticket, Outcome::Done);
    assert_eq!(bench.story_of_syncs(), ["sync id of a:1 /src/c /src/d"]);
}

#[test]
fn a_copy_that_fails_is_said_and_the_service_runs_on() {
    let mut bench = armed(&watched(json!([rule("sync", json!({}))])));
    bench.change(&["/src/a"]);
    let (ticket, _) = bench.take_act(|_| true);
    bench.tell(Event::Acted(ticket, Err(Fault::permanent("read-only"))));
    let said =
        |it: &Effect| matches!(it, Effect::Tell(Notice::Message { level: Level::Warning, text }) if text.contains("read-only"));
    assert!(bench.effects.iter().any(said));
    assert_eq!(bench.story_of_syncs(), Vec::<String>::new());
}

#[test]
fn each_batch_that_was_copied_is_told_in_one_line() {
    let mut bench = armed(&watched(json!([rule("sync", json!({"initial_sync": true}))])));
    let mut told = Vec::new();
    for change in [&["/src/a"][..], &["/src/a"], &["/src/b", "/src/c", "/src/d"], &[]] {
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Sync { .. }));
        bench.answer(ticket, Outcome::Done);
        told.extend(bench.effects.drain(..).filter_map(|effect| match effect {
            Effect::Tell(Notice::Message { level: Level::Info, text }) => Some(text),
            _ => None,
        }));
        if !change.is_empty() {
            bench.change(change);
        }
    }
    let all = ["a:1: synced all of /src", "a:1: synced /src/a", "a:1: synced /src/a", "a:1: synced /src/b and 2 more"];
    assert_eq!(told, all);
}

#[test]
fn sync_and_restart_restarts_after_the_copy() {
    let mut bench = armed(&watched(json!([rule("sync+restart", json!({}))])));
    bench.change(&["/src/a"]);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Sync { .. }));
    assert_eq!(bench.story_of_syncs(), Vec::<String>::new());
    bench.answer(ticket, Outcome::Done);
    assert_eq!(bench.story_of_syncs(), ["stop"]);
}

#[test]
fn everything_is_copied_first_where_a_rule_says_so() {
    let mut bench = armed(&watched(json!([rule("sync+restart", json!({"initial_sync": true}))])));
    let (ticket, action) = bench.take_act(|_| true);
    assert!(matches!(action, Action::Sync { paths: None, .. }), "{action:?}");
    bench.answer(ticket, Outcome::Done);
    assert_eq!(bench.story_of_syncs(), Vec::<String>::new(), "no restart, and not again");
}

#[test]
fn the_old_container_runs_until_the_new_image_is_built() {
    let mut bench = armed(&watched(json!([rule("rebuild", json!({}))])));
    bench.change(&["/src/a"]);
    assert_eq!(bench.story_of_syncs(), ["build"]);
    let (ticket, _) = bench.take_act(|_| true);
    bench.answer(ticket, Outcome::Image { id: "sha256:2".to_owned() });
    assert_eq!(bench.story_of_syncs(), ["create"]);
}

#[test]
fn a_build_of_files_that_have_changed_since_is_called_off_and_done_again() {
    for answer in [Err(Fault::permanent("it was called off")), Ok(Outcome::Image { id: "sha256:2".to_owned() })] {
        let mut bench = armed(&watched(json!([rule("rebuild", json!({}))])));
        bench.change(&["/src/a"]);
        let (ticket, _) = bench.take_act(|_| true);
        bench.change(&["/src/b"]);
        bench.change(&["/src/c"]);
        let called_off: Vec<u64> =
            bench.effects.iter().filter_map(|it| if let Effect::CallOff(serial) = it { Some(*serial) } else { None }).collect();
        assert_eq!(called_off, [ticket.serial]);
        bench.tell(Event::Acted(ticket, answer));
        assert_eq!(bench.story_of_syncs(), ["build"]);
    }
}

#[test]
fn a_build_that_fails_leaves_the_old_container_and_the_next_change_tries_again() {
    let mut bench = armed(&watched(json!([rule("rebuild", json!({}))])));
    bench.change(&["/src/a"]);
    let (ticket, _) = bench.take_act(|_| true);
    bench.tell(Event::Acted(ticket, Err(Fault::permanent("no such base"))));
    assert_eq!(bench.story_of_syncs(), Vec::<String>::new());
    bench.change(&["/src/a"]);
    assert_eq!(bench.story_of_syncs(), ["build"]);
}

#[test]
fn a_copy_that_is_answered_after_its_unit_is_gone_is_passed_over() {
    let deployment = watched(json!([rule("sync+restart", json!({}))]));
    let mut bench = armed(&deployment);
    bench.change(&["/src/a"]);
    let (copy, _) = bench.take_act(|action| matches!(action, Action::Sync { .. }));
    bench.ask(2, Request::Down(Down::default()));
    bench.look(&[]);
    assert_eq!(bench.machine.status().units.len(), 0, "forgotten");
    bench.answer(copy, Outcome::Done);
    assert_eq!(bench.story_of_syncs(), Vec::<String>::new());
}

#[test]
fn a_rebuild_that_is_asked_for_during_a_pull_follows_it() {
    let fault = Err(Fault::permanent("no such thing"));
    for answer in [Ok(Outcome::Image { id: "sha256:2".to_owned() }), fault] {
        let deployment = watched(json!([rule("rebuild", json!({}))]));
        let mut bench = armed(&deployment);
        bench.up(&deployment, |up| {
            up.watch_containers = true;
            up.pull = Some("always".to_owned());
        });
        bench.look(&[seen(&deployment, "a:1", SeenState::Running { birth: "1".to_owned() })]);
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Pull { .. }));
        bench.change(&["/src/a"]);
        bench.tell(Event::Acted(ticket, answer));
        assert_eq!(bench.story_of_syncs(), ["build"]);
    }
}

#[test]
fn a_build_that_nobody_waits_for_any_more_is_called_off_and_is_no_failure() {
    // There is an older image: after `down` that will do, what was only stopped is still to be built.
    for (end, next) in
        [(Request::Down(Down::default()), "create"), (Request::Stop(crate::supervisor::request::Stop::default()), "build")]
    {
        let deployment = watched(json!([rule("rebuild", json!({}))]));
        let mut bench = Bench::new();
        bench.up(&deployment, |up| up.build = true);
        bench.look(&[]);
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Build { .. }));
        bench.ask(2, end);
        let called_off = |effect: &Effect| matches!(effect, Effect::CallOff(serial) if *serial == ticket.serial);
        assert_eq!(bench.effects.iter().filter(|effect| called_off(effect)).count(), 1);
        bench.tell(Event::Acted(ticket, Err(Fault::permanent("it was called off"))));
        bench.look(&[]);
        let failed = |effect: &Effect| match effect {
            Effect::Tell(Notice::Resource { state, .. }) => {
                matches!(state, crate::supervisor::notice::ResourceState::Failed(_))
            }
            _ => false,
        };
        assert!(!bench.effects.iter().any(failed));
        assert_eq!(bench.story_of_syncs(), Vec::<String>::new(), "and it is not begun again");
        bench.up(&deployment, |_| ());
        bench.look(&[]);
        assert_eq!(bench.story_of_syncs(), [next]);
    }
}
