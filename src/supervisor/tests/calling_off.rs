//! Commands that are interrupted while they wait: what has not begun is left undone.

use super::*;
use crate::supervisor::request::{Restart, Select, Stop};

/// `db` and a `web` that waits for it.
fn two(version: &str) -> Deployment {
    let edge = json!({"db": {"condition": "service_healthy", "restart": true, "required": true}});
    let check = json!({"test": ["CMD", "true"]});
    deployment(json!({
        "db": container(json!({"healthcheck": check, "environment": {"VERSION": version}})),
        "web": container(json!({"depends_on": edge, "environment": {"VERSION": version}})),
    }))
}

fn running(deployment: &Deployment, name: &str) -> SeenContainer {
    let health = deployment.service(&unit(name).service).unwrap().common.healthcheck.as_ref();
    let health = health.map(|_| crate::plan::actual::SeenHealth::Healthy);
    SeenContainer { health, ..seen(deployment, name, SeenState::Running { birth: "1".to_owned() }) }
}

impl Bench {
    fn call_off(&mut self, id: u64) -> Option<Reply> {
        self.effects.retain(|effect| matches!(effect, Effect::Observe(..)));
        self.ask(id, Request::CallOff);
        self.replies().pop()
    }
}

/// What is asked for by now.
fn verbs(bench: &Bench) -> Vec<String> {
    bench.acts().map(|(ticket, action)| format!("{} {}", action.verb(), ticket.resource)).collect()
}

fn called_off(left: &[&str]) -> Option<Reply> {
    called_off_beside(left, &[])
}

fn called_off_beside(left: &[&str], goes_on: &[&str]) -> Option<Reply> {
    let units = |names: &[&str]| names.iter().map(|name| unit(name)).collect();
    Some(Reply::CalledOff { left: units(left), goes_on: units(goes_on) })
}

#[test]
fn a_pull_ends_with_the_up_that_it_is_for_and_what_runs_stays() {
    let mut bench = Bench::new();
    let stack = deployment(json!({
        "a": container(json!({})),
        "b": {"common": {}, "kind": {"container": {"image": "missing"}}},
        "c": process(json!({})),
    }));
    bench.up(&stack, |_| ());
    bench.look(&[running(&stack, "a:1")]);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Create { .. }));
    bench.answer(ticket, Outcome::Done);
    let (pull, _) = bench.take_act(|action| matches!(action, Action::Pull { .. }));
    assert_eq!(bench.call_off(1), called_off(&["b:1"]));
    let is_ended = |effect: &Effect| matches!(effect, Effect::CallOff(serial) if *serial == pull.serial);
    assert_eq!(bench.effects.iter().filter(|effect| is_ended(effect)).count(), 1);
    // What comes of it all the same is of no use to anybody.
    bench.answer(pull, Outcome::Image { id: "sha256:2".to_owned() });
    assert_eq!(verbs(&bench), Vec::<String>::new());
}

#[test]
fn what_is_to_be_made_anew_runs_on_as_it_is_until_somebody_asks_again() {
    let mut bench = Bench::new();
    let (old, new) = (two("0"), two("1"));
    let there = [running(&old, "db:1"), running(&old, "web:1")];
    bench.up(&old, |_| ());
    bench.look(&there);
    bench.effects.clear();
    bench.up(&new, |up| up.pull = Some("always".to_owned()));
    bench.look(&there);
    let (pull, action) = bench.take_act(|_| true);
    assert!(matches!(action, Action::Pull { .. }));
    assert_eq!(bench.call_off(1), called_off(&[]));
    bench.tell(Event::Acted(pull, Err(Fault::permanent("it was broken off"))));
    bench.tell(Event::EngineStirred);
    bench.look(&there);
    assert_eq!(verbs(&bench), Vec::<String>::new());
    bench.up(&new, |_| ());
    bench.look(&there);
    assert_eq!(bench.acts().next().map(|(_, action)| action.verb()), Some("create"), "{:?}", verbs(&bench));
}

#[test]
fn a_restart_that_has_begun_goes_on_and_no_other_begins() {
    let mut bench = Bench::new();
    let stack = two("0");
    bench.up(&stack, |_| ());
    let there = [running(&stack, "db:1"), running(&stack, "web:1")];
    bench.look(&there);
    bench.ask(2, Request::Restart(Restart { services: vec!["db".parse().unwrap()], ..Restart::default() }));
    bench.look(&there);
    // The dependent goes first.
    let (stop, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    assert_eq!(stop.resource.to_string(), "web:1");
    assert_eq!(bench.call_off(2), called_off_beside(&[], &["web:1"]));
    bench.answer(stop, Outcome::Done);
    assert_eq!(verbs(&bench), ["start web:1"]);
}

#[test]
fn an_end_goes_on_without_whoever_asked_for_it() {
    let mut bench = Bench::new();
    let stack = two("0");
    bench.up(&stack, |_| ());
    let there = [running(&stack, "db:1"), running(&stack, "web:1")];
    bench.look(&there);
    bench.ask(2, Request::Stop(Stop::default()));
    bench.look(&there);
    let (stop, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    assert_eq!(bench.call_off(2), Some(Reply::GoesOn));
    bench.answer(stop, Outcome::Done);
    assert_eq!(verbs(&bench), ["stop db:1"]);
}

#[test]
fn what_somebody_else_asks_for_too_is_done() {
    let mut bench = Bench::new();
    let stack = two("0");
    bench.up(&stack, |_| ());
    bench.look(&[]);
    bench.ask(2, Request::Start(Select { services: vec!["db".parse().unwrap()], ..Select::default() }));
    bench.look(&[]);
    assert_eq!(bench.call_off(1), called_off(&["web:1"]));
    assert_eq!(verbs(&bench), Vec::<String>::new(), "it is being made already");
    assert_eq!(bench.call_off(2), called_off(&["db:1"]));
}

#[test]
fn nothing_is_stopped_that_nobody_has_seen_yet() {
    let mut bench = Bench::new();
    let stack = two("0");
    bench.up(&stack, |_| ());
    assert_eq!(bench.call_off(1), called_off(&[]));
    bench.look(&[running(&stack, "db:1"), running(&stack, "web:1")]);
    assert_eq!(verbs(&bench), Vec::<String>::new());
}

#[test]
fn a_request_that_has_its_answer_is_not_called_off() {
    let mut bench = Bench::new();
    bench.up(&deployment(json!({})), |_| ());
    assert_eq!(bench.replies().len(), 1);
    assert_eq!(bench.call_off(1), None);
}

/// A service that is built, and one that is not, which run.
fn built_and_plain() -> (Deployment, [SeenContainer; 2]) {
    let rule = watch_rule(WatchAction::Rebuild);
    let stack = deployment(json!({
        "db": container(json!({})),
        "web": {
            "common": {"develop": {"watch": [rule]}},
            "kind": {"container": {"image": "web", "build": {"context": "/src"}}},
        },
    }));
    let there = [running(&stack, "db:1"), running(&stack, "web:1")];
    (stack, there)
}

fn see(bench: &mut Bench, there: &[SeenContainer]) {
    let images = ["image", "web"].map(|name| (name.to_owned(), "sha256:1".to_owned())).into();
    let actual = Actual { containers: there.to_vec(), images, ..Actual::default() };
    while bench.machine.observing {
        bench.tell(Event::Observed(bench.machine.asked, Ok(actual.clone())));
    }
}

/// A machine that watches the files of a service that is built.
fn watching() -> (Bench, [SeenContainer; 2]) {
    let (stack, there) = built_and_plain();
    let mut bench = Bench::new();
    bench.up(&stack, |up| up.watch_containers = true);
    see(&mut bench, &there);
    (bench, there)
}

fn save(bench: &mut Bench) {
    let rule = bench.machine.watches.armed_rules()[0];
    bench.tell(Event::FilesChanged { rule, paths: vec!["/src/file".into()], busy: false });
    bench.now += 1000;
    bench.tell(Event::Tick);
}

#[test]
fn a_rebuild_that_a_save_asked_for_is_nobody_elses_to_call_off() {
    let (mut bench, there) = watching();
    save(&mut bench);
    let (build, action) = bench.take_act(|_| true);
    assert!(matches!(action, Action::Build { .. }));
    bench.ask(2, Request::Restart(Restart { services: vec!["db".parse().unwrap()], ..Restart::default() }));
    see(&mut bench, &there);
    bench.call_off(2);
    assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::CallOff(_))), "{:?}", bench.effects);
    bench.answer(build, Outcome::Image { id: "sha256:2".to_owned() });
    assert!(verbs(&bench).contains(&"create web:1".to_owned()), "{:?}", verbs(&bench));
}

#[test]
fn an_up_that_was_called_off_keeps_no_later_rebuild_from_what_it_is_for() {
    let (mut bench, there) = watching();
    let (stack, _) = built_and_plain();
    let again = Up { watch_containers: true, ..Up::of(stack) };
    bench.ask(2, Request::Up(Box::new(again)));
    assert_eq!(bench.call_off(2), called_off(&[]));
    see(&mut bench, &there);
    bench.effects.clear();
    save(&mut bench);
    let (build, _) = bench.take_act(|action| matches!(action, Action::Build { .. }));
    bench.answer(build, Outcome::Image { id: "sha256:2".to_owned() });
    assert!(verbs(&bench).contains(&"create web:1".to_owned()), "{:?}", verbs(&bench));
}

#[test]
fn what_a_foreground_up_keeps_running_is_not_made_anew_once_that_is_called_off() {
    let mut bench = Bench::new();
    let (old, new) = (two("0"), two("1"));
    let there = [running(&old, "db:1"), running(&old, "web:1")];
    bench.up(&old, |up| up.attached = true);
    bench.look(&there);
    bench.effects.clear();
    let mut up = Up::of(new.clone());
    up.pull = Some("always".to_owned());
    bench.ask(2, Request::Up(Box::new(up)));
    bench.look(&there);
    let (pull, action) = bench.take_act(|_| true);
    assert!(matches!(action, Action::Pull { .. }), "{action:?}");
    assert_eq!(bench.call_off(2), called_off(&[]));
    bench.tell(Event::Acted(pull, Err(Fault::permanent("it was broken off"))));
    bench.tell(Event::EngineStirred);
    bench.look(&there);
    assert_eq!(verbs(&bench), Vec::<String>::new());
}
