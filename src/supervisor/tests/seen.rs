//! What a look at the engine shows, and what is left alone of it.

use std::time::Duration;

use super::*;
use crate::plan::action::Prune;
use crate::supervisor::request::{Recreate, Stop};

fn running(deployment: &Deployment, name: &str) -> SeenContainer {
    seen(deployment, name, SeenState::Running { birth: format!("birth of {name}") })
}

fn ended(deployment: &Deployment, name: &str) -> SeenContainer {
    seen(deployment, name, SeenState::Exited { exit: Exit::Code(0), birth: format!("birth of {name}") })
}

fn verbs(bench: &Bench) -> Vec<String> {
    bench.acts().map(|(ticket, action)| format!("{} {}", action.verb(), ticket.resource)).collect()
}

fn two() -> Deployment {
    deployment(json!({"a": container(json!({})), "b": container(json!({}))}))
}

#[test]
fn an_up_leaves_alone_what_it_does_not_select() {
    let all = two();
    let mut without = all.clone();
    let (name, service) = without.stack.services.shift_remove_entry("b").unwrap();
    without.stack.disabled.insert(name, service);
    for (deployment, services) in [(&without, vec![]), (&all, vec!["a".parse().unwrap()])] {
        let mut bench = Bench::new();
        bench.up(&all, |_| ());
        bench.look(&[running(&all, "a:1"), running(&all, "b:1")]);
        bench.tell(Event::EngineStirred);
        bench.look(&[running(&all, "a:1"), ended(&all, "b:1")]);
        bench.up(deployment, |up| up.services.clone_from(&services));
        bench.look(&[running(&all, "a:1"), ended(&all, "b:1")]);
        assert_eq!(verbs(&bench), Vec::<String>::new(), "{services:?}");
        assert!(matches!(bench.replies()[..], [.., Reply::Done { changed: false, .. }]));
    }
}

#[test]
fn a_request_about_one_service_starts_no_other_that_has_ended() {
    let all = two();
    let mut bench = Bench::new();
    bench.up(&all, |_| ());
    bench.look(&[running(&all, "a:1"), running(&all, "b:1")]);
    bench.tell(Event::EngineStirred);
    bench.look(&[running(&all, "a:1"), ended(&all, "b:1")]);
    bench.ask(2, Request::Stop(super::super::request::Stop { services: vec!["a".parse().unwrap()], timeout: None }));
    bench.look(&[running(&all, "a:1"), ended(&all, "b:1")]);
    assert_eq!(verbs(&bench), ["stop a:1"]);
}

#[test]
fn what_run_made_is_no_replica_and_no_orphan() {
    let deployment = deployment(json!({"a": container(json!({}))}));
    let name = "test-a-run-1".to_owned();
    let one_off = SeenContainer { one_off: true, id: "one-off".to_owned(), name, ..running(&deployment, "a:1") };
    let found = [running(&deployment, "a:1"), one_off];
    let mut bench = Bench::new();
    bench.up(&deployment, |up| up.remove_orphans = true);
    bench.look(&found);
    assert_eq!(verbs(&bench), Vec::<String>::new());
    bench.up(&deployment, |_| ());
    bench.look(&found);
    let [.., Reply::Done { warnings, .. }] = &bench.replies()[..] else { panic!("{:?}", bench.replies()) };
    assert_eq!(warnings, &Vec::<String>::new());
    // It is shown, under a name of its own.
    let status = bench.machine.status();
    let shown: Vec<&str> = status.units.iter().map(|unit| unit.unit.service.as_str()).collect();
    assert!(shown.len() == 2 && shown.iter().filter(|name| **name == "a").count() == 1, "{shown:?}");
    bench.ask(2, Request::Down(Down::default()));
    bench.look(&found);
    assert_eq!(verbs(&bench).len(), 2, "it goes with the whole: {:?}", verbs(&bench));
}

#[test]
fn a_life_is_as_old_as_the_engine_says() {
    let deployment = deployment(json!({"a": container(json!({}))}));
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let aged = |state, age| SeenContainer { age: Some(age), ..seen(&deployment, "a:1", state) };
    let age = |bench: &Bench| bench.machine.status().units[0].since_ms.map(Duration::from_millis);
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.look(&[aged(SeenState::Running { birth: "1".to_owned() }, HOUR)]);
    assert_eq!(age(&bench), Some(HOUR));
    bench.now += 60_000;
    bench.tell(Event::Tick);
    assert_eq!(age(&bench), Some(HOUR + Duration::from_secs(60)));
    // The next supervisor has it of its predecessor, and better of the engine.
    bench.machine = Supervisor::recover(bench.machine.snapshot(), Processes::Gone, 0).unwrap();
    bench.now = 0;
    assert_eq!(age(&bench), Some(HOUR + Duration::from_secs(60)));
    bench.ask(2, Request::Status);
    bench.look(&[aged(SeenState::Running { birth: "1".to_owned() }, HOUR * 2)]);
    assert_eq!(age(&bench), Some(HOUR * 2));
    let exit = Exit::Code(0);
    bench.tell(Event::EngineStirred);
    bench.look(&[aged(SeenState::Exited { exit, birth: "1".to_owned() }, Duration::from_secs(5))]);
    assert_eq!(age(&bench), Some(Duration::from_secs(5)));
}

#[test]
fn where_nothing_was_ever_said_what_the_engine_has_is_shown_and_can_be_stopped() {
    let theirs = SeenContainer { by_us: false, ..running(&two(), "a:1") };
    let one_off = SeenContainer { one_off: true, name: "test-a-run-1".to_owned(), id: "other".to_owned(), ..theirs.clone() };
    let mut bench = Bench::new();
    bench.ask(1, Request::Status);
    assert_eq!(bench.replies(), []);
    bench.look(std::slice::from_ref(&theirs));
    let replies = bench.replies();
    let [Reply::Status(status)] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!(status.units.iter().map(|unit| unit.unit.to_string()).collect::<Vec<_>>(), ["a:1"]);

    let mut bench = Bench::new();
    bench.ask(1, Request::Stop(Stop::default()));
    // The look that it waited for, and the one that a stop asks for itself.
    for _ in 0..2 {
        bench.look(&[theirs.clone(), one_off.clone()]);
    }
    assert_eq!(verbs(&bench), ["stop a:1"]);
}

#[test]
fn a_container_that_nobody_has_looked_for_yet_is_made_anew_where_that_is_asked_for() {
    let all = two();
    let mut bench = Bench::new();
    bench.up(&all, |up| up.recreate = Recreate::Always);
    bench.look(&[running(&all, "a:1")]);
    let verbs: Vec<&str> = bench.acts().map(|(_, action)| action.verb()).collect();
    assert!(bench.acts().any(|(_, action)| matches!(action, Action::Succeed { .. })), "{verbs:?}");
}

#[test]
fn images_go_once_no_container_is_left_also_when_nothing_is_known_of_the_stack() {
    for (rmi, expected) in [("local", Prune::Local), ("all", Prune::All)] {
        let deployment = deployment(json!({"a": container(json!({}))}));
        let mut bench = Bench::new();
        bench.ask(1, Request::Down(Down { rmi: Some(rmi.to_owned()), ..Down::default() }));
        bench.look(&[ended(&deployment, "a:1")]);
        assert_eq!(verbs(&bench), ["remove a:1"]);
        let (ticket, _) = bench.take_act(|_| true);
        bench.answer(ticket, Outcome::Removed { anonymous: indexmap::IndexMap::new() });
        let (ticket, action) = bench.take_act(|_| true);
        assert!(matches!(action, Action::RemoveImages { which, deployment: None, .. } if which == expected), "{action:?}");
        assert_eq!(bench.replies(), []);
        bench.answer(ticket, Outcome::Kept("image x was kept: it is in use".to_owned()));
        assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
    }
}

/// Answers the look that was asked for last, whatever has been done since.
fn late_look(bench: &mut Bench, containers: &[SeenContainer]) {
    let number = bench.machine.asked;
    bench.tell(Event::Observed(number, Ok(Actual { containers: containers.to_vec(), ..Actual::default() })));
}

#[test]
fn a_look_that_a_replacement_overtook_shows_nothing_that_is_not_there() {
    let (old, new) = (two(), deployment(json!({"a": container(json!({"environment": {"V": "2"}})), "b": container(json!({}))})));
    let mut bench = Bench::new();
    bench.up(&new, |_| ());
    bench.look(&[running(&old, "a:1"), running(&new, "b:1")]);
    for outcome in [
        Outcome::Created { container: "new".to_owned() },
        Outcome::Done,
        Outcome::Removed { anonymous: indexmap::IndexMap::new() },
    ] {
        let (ticket, _) = bench.take_act(|_| true);
        bench.answer(ticket, outcome);
    }
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::TakeOver { .. }));
    bench.answer(ticket, Outcome::Done);
    // Asked for before the old one was removed.
    late_look(&mut bench, &[ended(&old, "a:1"), running(&new, "b:1")]);
    let units: Vec<String> = bench.machine.status().units.iter().map(|unit| unit.unit.to_string()).collect();
    assert_eq!(units, ["a:1", "b:1"]);
}

#[test]
fn a_look_that_a_removal_overtook_brings_nothing_back() {
    let all = two();
    let mut bench = Bench::new();
    bench.ask(1, Request::Down(Down::default()));
    bench.look(&[running(&all, "a:1"), ended(&all, "b:1")]);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Remove { .. }));
    bench.tell(Event::EngineStirred);
    bench.answer(ticket, Outcome::Removed { anonymous: indexmap::IndexMap::new() });
    late_look(&mut bench, &[running(&all, "a:1"), ended(&all, "b:1")]);
    let units: Vec<String> = bench.machine.status().units.iter().map(|unit| unit.unit.to_string()).collect();
    assert_eq!(units, ["a:1"]);
}

#[test]
fn a_look_from_before_its_removal_makes_no_network_be_removed_again() {
    use crate::plan::actual::SeenResource;
    let ours = SeenResource { key: Some("front".to_owned()), ours: true, ..SeenResource::default() };
    let actual = Actual { networks: [("test_front".to_owned(), ours)].into(), ..Actual::default() };
    let mut bench = Bench::new();
    bench.up(&deployment(json!({"a": container(json!({})), "p": process(json!({}))})), |up| up.no_start = true);
    bench.look_at(actual.clone());
    bench.ask(2, Request::Down(Down::default()));
    bench.look_at(actual.clone());
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::RemoveNetwork { .. }));
    // Asked for before the answer, it may have looked before the removal.
    bench.tell(Event::EngineStirred);
    bench.answer(ticket, Outcome::Done);
    bench.effects.retain(|effect| !matches!(effect, Effect::Act(..)));
    let looks = bench.effects.iter().any(|effect| matches!(effect, Effect::Observe(..)));
    assert!(looks, "{:?}", bench.effects);
    bench.look_at(actual);
    let again = bench.acts().any(|(_, action)| matches!(action, Action::RemoveNetwork { .. }));
    assert!(!again, "{:?}", verbs(&bench));
}
