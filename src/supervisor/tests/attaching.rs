//! A foreground `up` is attached to what it shows before that starts.

use serde_json::json;

use super::super::request::{Reply, Request, Restart};
use super::super::status::UnitState;
use super::*;

const UP: RequestId = RequestId(1);

/// A foreground `up` of a container, which has been made, and waits for nothing else.
fn made(deployment: &Deployment, shown: &[&str]) -> Bench {
    let mut bench = Bench::new();
    bench.up(deployment, |up| {
        up.attached = true;
        up.shown = shown.iter().map(|name| name.parse().unwrap()).collect();
    });
    bench.look(&[seen(deployment, "a:1", SeenState::Created)]);
    bench
}

fn one() -> Deployment {
    deployment(json!({"a": container(json!({}))}))
}

fn starts(bench: &Bench) -> usize {
    bench.acts().filter(|(_, action)| matches!(action, Action::Start { .. })).count()
}

/// The questions whether somebody is attached that were put since this was asked last.
fn questions(bench: &mut Bench) -> Vec<(RequestId, String)> {
    let effects = std::mem::take(&mut bench.effects);
    let (questions, others): (Vec<_>, Vec<_>) =
        effects.into_iter().partition(|effect| matches!(effect, Effect::Reply(_, Reply::Attach { .. })));
    bench.effects = others;
    let question = |effect| match effect {
        Effect::Reply(id, Reply::Attach { unit, container }) => (id, format!("{unit} {container}")),
        _ => unreachable!(),
    };
    questions.into_iter().map(question).collect()
}

fn attached(bench: &mut Bench, id: RequestId, container: &str) {
    bench.tell(Event::Request(id, Request::Attached { unit: unit("a:1"), container: container.to_owned() }));
}

fn question() -> Vec<(RequestId, String)> {
    vec![(UP, "a:1 id of a:1".to_owned())]
}

#[test]
fn what_is_shown_starts_once_the_foreground_is_attached() {
    let mut bench = made(&one(), &["a"]);
    assert_eq!(questions(&mut bench), question());
    assert_eq!(starts(&bench), 0);
    let state = bench.machine.status().units[0].state.clone();
    assert_eq!(state, UnitState::Waiting { on: "the `up` in the foreground to attach to it".to_owned() });
    // Not to this one.
    attached(&mut bench, UP, "another");
    attached(&mut bench, RequestId(7), "id of a:1");
    assert_eq!(starts(&bench), 0);
    attached(&mut bench, UP, "id of a:1");
    assert_eq!(starts(&bench), 1);
    attached(&mut bench, UP, "id of a:1");
    assert_eq!((starts(&bench), questions(&mut bench)), (1, Vec::new()));
}

#[test]
fn what_is_not_shown_waits_for_nobody() {
    let mut bench = made(&one(), &[]);
    assert_eq!((starts(&bench), questions(&mut bench)), (1, Vec::new()));
}

#[test]
fn it_waits_no_longer_than_the_foreground_lives() {
    for last_word in [Event::Disconnected(UP), Event::Request(UP, Request::Detach)] {
        let deployment = one();
        let mut bench = made(&deployment, &["a"]);
        bench.tell(last_word.clone());
        // What its end has stopped, the next one starts, and asks nobody.
        bench.ask(2, Request::Up(Box::new(Up::of(deployment.clone()))));
        bench.look(&[seen(&deployment, "a:1", SeenState::Created)]);
        assert_eq!(starts(&bench), 1, "{last_word:?}");
    }
}

#[test]
fn each_start_asks_anew_whoever_caused_it() {
    let deployment = one();
    let mut bench = made(&deployment, &["a"]);
    attached(&mut bench, UP, "id of a:1");
    questions(&mut bench);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    // One that did not succeed as well.
    bench.tell(Event::Acted(ticket, Err(Fault::temporary("not now"))));
    bench.now += 60_000;
    bench.tell(Event::Tick);
    assert_eq!((questions(&mut bench), starts(&bench)), (question(), 0));
    // And one that a restart asks for.
    let mut bench = made(&deployment, &["a"]);
    attached(&mut bench, UP, "id of a:1");
    questions(&mut bench);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    bench.answer(ticket, started());
    // The look that the start asks for, and that of the restart.
    let runs = seen(&deployment, "a:1", SeenState::Running { birth: "1".to_owned() });
    bench.look(std::slice::from_ref(&runs));
    bench.ask(2, Request::Restart(Restart::default()));
    bench.look(&[runs]);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.answer(ticket, Outcome::Done);
    assert_eq!((questions(&mut bench), starts(&bench)), (question(), 0));
    attached(&mut bench, UP, "id of a:1");
    assert_eq!(starts(&bench), 1);
}

#[test]
fn nobody_is_asked_before_all_else_is_there() {
    let healthy = json!({"b": {"condition": "service_healthy", "restart": false, "required": true}});
    let deployment = deployment(json!({
        "b": process(json!({"healthcheck": {"log": "ready"}})),
        "a": container(json!({"depends_on": healthy})),
    }));
    let mut bench = made(&deployment, &["a"]);
    let (ticket, incarnation) = bench.start();
    bench.answer(ticket, started());
    assert_eq!(questions(&mut bench), Vec::new());
    bench.tell(Event::LineMatched(unit("b:1"), incarnation));
    assert_eq!((questions(&mut bench), starts(&bench)), (question(), 0));
}

#[test]
fn a_life_that_somebody_else_began_is_the_one_that_was_attached_to() {
    let deployment = one();
    let mut bench = made(&deployment, &["a"]);
    let life = |state| seen(&deployment, "a:1", state);
    // Started and ended beside us, while we were asking.
    bench.tell(Event::EngineStirred);
    bench.look(&[life(SeenState::Running { birth: "1".to_owned() })]);
    attached(&mut bench, UP, "id of a:1");
    assert_eq!(questions(&mut bench), question());
    bench.ask(2, Request::Restart(Restart::default()));
    bench.look(&[life(SeenState::Running { birth: "1".to_owned() })]);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.answer(ticket, Outcome::Done);
    assert_eq!((questions(&mut bench), starts(&bench)), (question(), 0));
}

#[test]
fn whoever_does_not_answer_hinders_nobody_and_is_waited_for_again_once_it_does() {
    let deployment = one();
    let mut bench = made(&deployment, &["a"]);
    let warned = |bench: &Bench| {
        let is_it =
            |effect: &&Effect| matches!(effect, Effect::Tell(Notice::Message { text, .. }) if text.contains("does not answer"));
        bench.effects.iter().filter(is_it).count()
    };
    assert_eq!((questions(&mut bench), starts(&bench)), (question(), 0));
    bench.now = bench.machine.next_deadline().expect("it is not waited for without end").0;
    bench.tell(Event::Tick);
    assert_eq!((starts(&bench), warned(&bench)), (1, 1));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    bench.answer(ticket, Outcome::Started { pid: None, birth: "1".to_owned() });
    let runs = seen(&deployment, "a:1", SeenState::Running { birth: "1".to_owned() });
    let restart = |bench: &mut Bench, id: u64| {
        let look = |bench: &mut Bench| {
            while bench.machine.observing {
                let actual = Actual { containers: vec![runs.clone()], ..Actual::default() };
                bench.tell(Event::Observed(bench.machine.asked, Ok(actual)));
            }
        };
        look(bench);
        bench.effects.clear();
        bench.ask(id, Request::Restart(Restart::default()));
        look(bench);
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
        bench.answer(ticket, Outcome::Done);
    };
    // It is asked, in case it goes on, and not waited for.
    restart(&mut bench, 2);
    assert_eq!((questions(&mut bench), starts(&bench), warned(&bench)), (question(), 1, 0));
    attached(&mut bench, UP, "id of a:1");
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    bench.answer(ticket, Outcome::Started { pid: None, birth: "1".to_owned() });
    restart(&mut bench, 3);
    assert_eq!((questions(&mut bench), starts(&bench)), (question(), 0));
}
