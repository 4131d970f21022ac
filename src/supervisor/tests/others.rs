//! Beside somebody else who has the same containers in hand, as Compose has: what they do is taken over, not fought.

use super::*;
use crate::supervisor::request::{Select, Stop};
use crate::supervisor::status::UnitState;

fn one() -> Deployment {
    deployment(json!({"a": container(json!({}))}))
}

fn running(deployment: &Deployment) -> SeenContainer {
    seen(deployment, "a:1", SeenState::Running { birth: "1".to_owned() })
}

fn ended(deployment: &Deployment) -> SeenContainer {
    seen(deployment, "a:1", SeenState::Exited { exit: Exit::Code(0), birth: "1".to_owned() })
}

/// What Compose makes in the place of ours, in this state.
fn theirs(deployment: &Deployment, state: SeenState) -> SeenContainer {
    SeenContainer { id: "id of Compose's".to_owned(), by_us: false, ..seen(deployment, "a:1", state) }
}

/// The same, while it waits beside ours.
fn twin(deployment: &Deployment) -> SeenContainer {
    let replaces = "id of a:1".to_owned();
    let name = format!("{replaces}_{}", deployment.container_name(&unit("a:1")));
    SeenContainer { name, replaces: Some(replaces), ..theirs(deployment, SeenState::Created) }
}

/// A bench on which `a` has come up.
fn up(deployment: &Deployment) -> Bench {
    let mut bench = Bench::new();
    bench.up(deployment, |_| ());
    bench.look(&[running(deployment)]);
    bench.effects.clear();
    bench
}

/// The engine tells that something has changed, and every look shows this.
fn stir(bench: &mut Bench, containers: &[SeenContainer]) {
    bench.tell(Event::EngineStirred);
    while bench.machine.observing {
        let images = [("image".to_owned(), "sha256:1".to_owned())].into();
        let actual = Actual { containers: containers.to_vec(), images, ..Actual::default() };
        bench.tell(Event::Observed(bench.machine.asked, Ok(actual)));
    }
}

fn verbs(bench: &Bench) -> Vec<&'static str> {
    bench.acts().map(|(_, action)| action.verb()).collect()
}

#[test]
fn what_somebody_else_makes_anew_is_left_to_them_and_taken_over() {
    let stack = one();
    let mut bench = up(&stack);
    let started = theirs(&stack, SeenState::Running { birth: "2".to_owned() });
    let steps = [
        vec![running(&stack), twin(&stack)],
        vec![ended(&stack), twin(&stack)],
        vec![twin(&stack)],
        vec![theirs(&stack, SeenState::Created)],
        vec![started.clone()],
        vec![started.clone()],
    ];
    for step in steps {
        stir(&mut bench, &step);
        assert_eq!(verbs(&bench), Vec::<&str>::new(), "{step:?}");
    }
    assert_eq!(bench.machine.status().units[0].state, UnitState::Running);
    assert_eq!(bench.machine.status().units[0].container.as_deref(), Some("id of Compose's"));
    // From here on it is ours: what is asked of us is done to it.
    bench.ask(2, Request::Restart(Default::default()));
    bench.look(&[started]);
    assert_eq!(verbs(&bench), ["stop"]);
}

#[test]
fn an_up_compares_what_somebody_else_made_in_the_place_of_ours() {
    let stack = one();
    let mut bench = up(&stack);
    let started = theirs(&stack, SeenState::Running { birth: "2".to_owned() });
    stir(&mut bench, std::slice::from_ref(&started));
    bench.up(&stack, |_| ());
    bench.look(&[started]);
    let (_, action) = bench.take_act(|_| true);
    assert!(matches!(action, Action::Succeed { adopts: true, .. }), "{action:?}");
}

#[test]
fn a_replacement_that_somebody_else_has_given_up_is_brought_to_its_end_by_the_next_up() {
    let stack = one();
    let mut bench = up(&stack);
    stir(&mut bench, &[running(&stack), twin(&stack)]);
    bench.up(&stack, |_| ());
    bench.look(&[running(&stack), twin(&stack)]);
    let (_, action) = bench.take_act(|_| true);
    assert!(matches!(action, Action::Discard { .. }), "{action:?}");
}

#[test]
fn a_container_that_somebody_else_removes_is_told_of_and_stays_in_the_list() {
    let stack = one();
    for between in [vec![], vec![vec![running(&stack), twin(&stack)], vec![twin(&stack)]]] {
        let mut bench = up(&stack);
        between.iter().for_each(|step| stir(&mut bench, step));
        stir(&mut bench, &[]);
        let told = bench.effects.iter().filter(|effect| match effect {
            Effect::Tell(Notice::Message { text, .. }) => text.contains("removed by somebody else"),
            _ => false,
        });
        assert_eq!(told.count(), 1);
        let status = &bench.machine.status().units[0];
        assert!(status.removed && status.state == UnitState::Absent, "{status:?}");
        stir(&mut bench, &[]);
        assert_eq!(verbs(&bench), Vec::<&str>::new());
        bench.up(&stack, |_| ());
        bench.look(&[]);
        assert_eq!(verbs(&bench), ["create"]);
    }
}

#[test]
fn what_somebody_else_starts_after_our_stop_is_not_stopped_again() {
    let stack = one();
    let mut bench = up(&stack);
    bench.ask(2, Request::Stop(Stop::default()));
    bench.look(&[running(&stack)]);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.answer(ticket, Outcome::Done);
    bench.look(&[ended(&stack)]);
    let started = seen(&stack, "a:1", SeenState::Running { birth: "2".to_owned() });
    stir(&mut bench, std::slice::from_ref(&started));
    assert_eq!(verbs(&bench), Vec::<&str>::new());
    assert_eq!(bench.machine.status().units[0].state, UnitState::Running);
    bench.ask(3, Request::Stop(Stop::default()));
    bench.look(&[started]);
    assert_eq!(verbs(&bench), ["stop"]);
}

#[test]
fn a_start_that_was_not_answered_is_our_own_when_the_engine_shows_it() {
    let stack = one();
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    let made = seen(&stack, "a:1", SeenState::Created);
    bench.look(std::slice::from_ref(&made));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    bench.ask(2, Request::Stop(Stop::default()));
    let fault = Fault { kind: FaultKind::EngineAway, message: "no answer".to_owned() };
    bench.tell(Event::Acted(ticket, Err(fault)));
    stir(&mut bench, &[running(&stack)]);
    bench.now += 1000;
    bench.tell(Event::Tick);
    assert_eq!(verbs(&bench), ["stop"]);
}

#[test]
fn replicas_that_somebody_else_has_added_are_stopped_with_the_others_and_an_up_takes_them_away() {
    let stack = one();
    let added = |state| SeenContainer { by_us: false, ..seen(&stack, "a:2", state) };
    let both = [running(&stack), added(SeenState::Running { birth: "1".to_owned() })];
    let mut bench = up(&stack);
    stir(&mut bench, &both);
    bench.ask(2, Request::Stop(Stop::default()));
    bench.look(&both);
    assert_eq!(verbs(&bench), ["stop", "stop"]);

    let mut bench = up(&stack);
    stir(&mut bench, &both);
    bench.up(&stack, |_| ());
    bench.look(&both);
    assert_eq!(verbs(&bench), ["stop"]);
    assert_eq!(bench.replies(), [], "something is left");
    let (ticket, _) = bench.take_act(|_| true);
    bench.answer(ticket, Outcome::Done);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Remove { .. }));
    bench.answer(ticket, Outcome::Removed { anonymous: indexmap::IndexMap::new() });
    assert!(matches!(bench.replies()[..], [Reply::Done { changed: true, .. }]), "{:?}", bench.replies());
}

#[test]
fn an_up_that_removes_orphans_waits_for_their_end_and_takes_none_that_come_later() {
    let stack = one();
    let orphan =
        SeenContainer { id: "orphan".to_owned(), name: "test-old-1".to_owned(), unit: Some(unit("old:1")), ..running(&stack) };
    for known in [true, false] {
        let mut bench = up(&stack);
        let all = [running(&stack), orphan.clone()];
        if known {
            stir(&mut bench, &all);
        }
        bench.up(&stack, |up| up.remove_orphans = true);
        bench.look(&all);
        assert_eq!(bench.replies(), [], "the orphan is still there");
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
        bench.answer(ticket, Outcome::Done);
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Remove { .. }));
        bench.answer(ticket, Outcome::Removed { anonymous: indexmap::IndexMap::new() });
        assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
        bench.effects.clear();
        stir(&mut bench, &all[..1]);
        stir(&mut bench, &all);
        assert_eq!(verbs(&bench), Vec::<&str>::new());
    }
}

#[test]
fn a_failing_replica_that_is_scaled_away_fails_no_up() {
    let stack = deployment(json!({"a": process(json!({"restart": "always", "scale": 2}))}));
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    for _ in 0..2 {
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Create { .. }));
        bench.answer(ticket, Outcome::Done);
    }
    for _ in 0..2 {
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
        bench.answer(ticket, started());
    }
    let failing = unit("a:2");
    let fail = |bench: &mut Bench| {
        let incarnation = bench.machine.units[&failing].incarnation;
        bench.tell(Event::Exited { unit: failing.clone(), incarnation, exit: Exit::Code(1), remaining: 0 });
    };
    for _ in 0..5 {
        fail(&mut bench);
        bench.now += 60_000;
        bench.tell(Event::Tick);
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
        bench.answer(ticket, started());
    }
    fail(&mut bench);
    assert!(bench.machine.units[&failing].failures >= 5, "{:?}", bench.machine.status());
    bench.effects.clear();
    bench.up(&stack, |up| up.scale = [("a".parse().unwrap(), 1)].into());
    while bench.acts().next().is_some() {
        let (ticket, _) = bench.take_act(|_| true);
        bench.answer(ticket, Outcome::Removed { anonymous: indexmap::IndexMap::new() });
    }
    assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
}

#[test]
fn a_start_leaves_alone_what_somebody_else_made_but_starts_it() {
    let stack = one();
    let mut bench = up(&stack);
    stir(&mut bench, &[theirs(&stack, SeenState::Created)]);
    assert_eq!(verbs(&bench), Vec::<&str>::new());
    bench.ask(2, Request::Start(Select::default()));
    bench.look(&[theirs(&stack, SeenState::Created)]);
    assert_eq!(verbs(&bench), ["start"]);
}

#[test]
fn a_word_beside_an_up_leaves_the_replicas_that_others_have_added() {
    let stack = one();
    let all: Vec<SeenContainer> =
        (1..=3).map(|number| seen(&stack, &format!("a:{number}"), SeenState::Running { birth: number.to_string() })).collect();
    for beside in [true, false] {
        let mut bench = Bench::new();
        bench.up(&stack, |up| up.beside = beside);
        bench.look(&all);
        assert_eq!(verbs(&bench), if beside { vec![] } else { vec!["stop", "stop"] });
    }
}
