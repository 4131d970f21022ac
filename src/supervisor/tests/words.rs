//! What is said beside an `up`, and what is answered while the engine is away.

use serde_json::json;

use super::super::request::{Kill, Pause, Remove, Reply, Request, Restart, Select, Stop};
use super::*;
use crate::plan::action::Conclusion;

fn running(deployment: &Deployment, name: &str) -> SeenContainer {
    seen(deployment, name, SeenState::Running { birth: "b".to_owned() })
}

/// Answers the looks that are under way: there is still no engine.
fn look_in_vain(bench: &mut Bench) {
    let last = |bench: &Bench| {
        bench.effects.iter().rev().find_map(|it| if let Effect::Observe(number, _) = it { Some(*number) } else { None })
    };
    let mut answered = None;
    while last(bench) != answered {
        answered = last(bench);
        let fault = Fault { kind: FaultKind::EngineAway, message: "gone".to_owned() };
        bench.tell(Event::Observed(answered.expect("nobody looks"), Err(fault)));
    }
}

/// A machine whose containers run.
fn with_containers(deployment: &Deployment, names: &[&str]) -> Bench {
    let mut bench = Bench::new();
    bench.up(deployment, |_| ());
    let containers: Vec<SeenContainer> = names.iter().map(|name| running(deployment, name)).collect();
    bench.look(&containers);
    bench.effects.clear();
    bench
}

/// Answers all that is asked for until nothing is: everything runs.
fn all_start(bench: &mut Bench) {
    let next = |bench: &Bench| bench.effects.iter().position(|effect| matches!(effect, Effect::Act(..)));
    while let Some(at) = next(bench) {
        let Effect::Act(ticket, action) = bench.effects.remove(at) else { unreachable!() };
        let started = Outcome::Started { pid: Some(1), birth: "b".to_owned() };
        bench.answer(ticket, if matches!(action, Action::Start { .. }) { started } else { Outcome::Done });
    }
}

#[test]
fn a_word_beside_an_up_leaves_replicas_and_watches_as_they_are() {
    let watch = json!({"watch": [{"path": "/src", "action": "restart"}]});
    let services = json!({"db": process(json!({"develop": watch})), "web": process(json!({}))});
    let deployment = deployment(services);
    let mut bench = Bench::new();
    bench.up(&deployment, |up| {
        up.scale = [("db".parse().unwrap(), 3)].into();
        up.watch = false;
    });
    all_start(&mut bench);
    bench.effects.clear();
    bench.ask(2, Request::Up(Box::new(Up { services: vec!["db".parse().unwrap()], beside: true, ..Up::of(deployment.clone()) })));
    assert!(bench.acts().next().is_none(), "{:?}", bench.effects);
    assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Watch(list) if !list.is_empty())), "{:?}", bench.effects);
    assert_eq!(bench.machine.status().units.len(), 4);
    // One that is no word beside goes by the file again.
    bench.up(&deployment, |_| ());
    let stops = bench.acts().filter(|(_, action)| matches!(action, Action::Stop { .. })).count();
    assert_eq!(stops, 2);
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Watch(list) if !list.is_empty())), "{:?}", bench.effects);
}

#[test]
fn what_is_asked_of_containers_while_the_engine_is_away_is_answered_with_that() {
    let services: Vec<_> = vec!["web".parse().unwrap()];
    let requests = [
        Request::Stop(Stop { services: services.clone(), timeout: None }),
        Request::Kill(Kill { services: services.clone(), ..Kill::default() }),
        Request::Start(Select { services: services.clone(), wait: false, wait_timeout: None }),
        Request::Restart(Restart { services, ..Restart::default() }),
        Request::Down(Down::default()),
        Request::Remove(Remove { services: Vec::new(), stop: false, volumes: false }),
        Request::Kill(Kill { signal: "HUP".to_owned(), ..Kill::default() }),
        Request::Pause(Pause { services: Vec::new(), paused: true }),
        Request::Pause(Pause { services: Vec::new(), paused: false }),
    ];
    for request in requests {
        let deployment = deployment(json!({"web": container(json!({}))}));
        let mut bench = with_containers(&deployment, &["web:1"]);
        bench.tell(Event::EngineAway("gone".to_owned()));
        bench.effects.clear();
        bench.ask(2, request.clone());
        assert!(bench.replies().is_empty(), "it may be back: {request:?}");
        look_in_vain(&mut bench);
        // A signal is sent all the same: who knows.
        while bench.replies().is_empty() {
            let (ticket, _) = bench.take_act(|action| matches!(action, Action::Kill { .. } | Action::Freeze { .. }));
            let fault = Fault { kind: FaultKind::EngineAway, message: "gone".to_owned() };
            bench.tell(Event::Acted(ticket, Err(fault)));
        }
        let [Reply::EngineAway { reasons }] = &bench.replies()[..] else { panic!("{request:?}: {:?}", bench.replies()) };
        assert_eq!(reasons, &["the container engine does not answer: gone"]);
    }
}

#[test]
fn of_a_container_that_is_known_to_have_ended_nobody_can_say_so_without_its_engine() {
    for request in [Request::Stop(Stop::default()), Request::Kill(Kill { signal: "HUP".to_owned(), ..Kill::default() })] {
        let deployment = deployment(json!({"web": container(json!({}))}));
        let mut bench = with_containers(&deployment, &["web:1"]);
        bench.ask(2, Request::Stop(Stop::default()));
        bench.look(&[running(&deployment, "web:1")]);
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
        bench.answer(ticket, Outcome::Done);
        bench.look(&[seen(&deployment, "web:1", SeenState::Exited { exit: Exit::Code(0), birth: "b".to_owned() })]);
        bench.tell(Event::EngineAway("gone".to_owned()));
        bench.effects.clear();
        bench.ask(3, request.clone());
        look_in_vain(&mut bench);
        assert!(matches!(&bench.replies()[..], [Reply::EngineAway { .. }]), "{request:?}: {:?}", bench.replies());
    }
}

/// A container `web` and a process `job` run, and the engine has just gone away.
fn blind(deployment: &Deployment) -> (Bench, Incarnation) {
    let mut bench = Bench::new();
    bench.up(deployment, |_| ());
    bench.look(&[running(deployment, "web:1")]);
    let (ticket, incarnation) = bench.start();
    bench.answer(ticket, Outcome::Started { pid: Some(1), birth: "b".to_owned() });
    bench.tell(Event::EngineAway("gone".to_owned()));
    bench.effects.clear();
    (bench, incarnation)
}

#[test]
fn what_waits_for_a_container_that_nobody_can_see_is_not_waited_for() {
    let after = json!({"web": {"condition": "service_started", "restart": false, "required": true}});
    let deployment = deployment(json!({"web": container(json!({})), "job": process(json!({"depends_on": after}))}));
    let (mut bench, incarnation) = blind(&deployment);
    bench.ask(2, Request::Restart(Restart::default()));
    look_in_vain(&mut bench);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.answer(ticket, Outcome::Signalled);
    bench.tell(Event::Exited { unit: unit("job:1"), incarnation, exit: Exit::Signal(15), remaining: 0 });
    assert!(matches!(&bench.replies()[..], [Reply::EngineAway { .. }]), "{:?}", bench.machine.status());
}

#[test]
fn a_kill_of_some_replicas_leaves_the_others_alone() {
    let deployment = deployment(json!({"a": process(json!({}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |up| up.scale = [("a".parse().unwrap(), 3)].into());
    all_start(&mut bench);
    bench.effects.clear();
    bench.ask(2, Request::Kill(Kill { units: vec![unit("a:2")], ..Kill::default() }));
    let killed: Vec<String> = bench.acts().map(|(ticket, action)| format!("{} {}", action.verb(), ticket.resource)).collect();
    assert_eq!(killed, ["kill a:2"]);
}

#[test]
fn processes_are_stopped_before_the_answer_that_containers_could_not_be() {
    let deployment = deployment(json!({"web": container(json!({})), "job": process(json!({}))}));
    let (mut bench, incarnation) = blind(&deployment);
    bench.ask(2, Request::Stop(Stop { services: Vec::new(), timeout: None }));
    look_in_vain(&mut bench);
    assert!(bench.replies().is_empty(), "{:?}", bench.replies());
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.answer(ticket, Outcome::Signalled);
    bench.tell(Event::Exited { unit: unit("job:1"), incarnation, exit: Exit::Signal(15), remaining: 0 });
    assert!(matches!(&bench.replies()[..], [Reply::EngineAway { .. }]), "{:?}", bench.replies());
}

#[test]
fn an_engine_that_has_come_back_meanwhile_is_found_by_the_next_request() {
    let deployment = deployment(json!({"web": container(json!({}))}));
    let mut bench = with_containers(&deployment, &["web:1"]);
    bench.tell(Event::EngineAway("gone".to_owned()));
    bench.effects.clear();
    bench.ask(2, Request::Stop(Stop::default()));
    bench.look(&[running(&deployment, "web:1")]);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.answer(ticket, Outcome::Done);
    assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
}

#[test]
fn an_up_waits_for_an_engine_that_comes_back() {
    let deployment = deployment(json!({"web": container(json!({}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.tell(Event::EngineAway("restarting".to_owned()));
    assert!(bench.replies().is_empty(), "{:?}", bench.replies());
}

#[test]
fn what_is_left_of_a_process_after_a_down_is_taken_away_before_the_supervisor_ends() {
    let deployment = deployment(json!({"job": process(json!({"restart": "always"}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let (ticket, incarnation) = bench.start();
    bench.answer(ticket, Outcome::Started { pid: Some(1), birth: "b".to_owned() });
    bench.tell(Event::Exited { unit: unit("job:1"), incarnation, exit: Exit::Code(1), remaining: 0 });
    bench.now += 60_000;
    bench.tell(Event::Tick);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    bench.ask(2, Request::Down(Down::default()));
    bench.look(&[]);
    bench.effects.clear();
    // Its start fails after the `down` has been asked for.
    bench.tell(Event::Acted(ticket, Err(Fault { kind: FaultKind::Temporary, message: "not now".to_owned() })));
    assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Exit)), "{:?}", bench.effects);
    bench.now += 60_000;
    bench.tell(Event::Tick);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Remove { .. }));
    bench.answer(ticket, Outcome::Removed { anonymous: indexmap::IndexMap::new() });
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Exit)), "{:?}", bench.effects);
}

#[test]
fn what_waits_for_the_health_of_one_that_has_ended_well_is_told_so() {
    let health = json!({"healthcheck": {"file": "ready"}, "restart": "no"});
    let needs = json!({"depends_on": {"db": {"condition": "service_healthy", "required": true}}});
    let deployment = deployment(json!({"db": process(health), "web": process(needs)}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    all_start(&mut bench);
    let probe =
        bench.effects.iter().find_map(|effect| if let Effect::Probe(probe, _) = effect { Some(probe.clone()) } else { None });
    let healthy = crate::supervisor::event::ProbeResult { healthy: true, output: String::new() };
    bench.tell(Event::Probed(probe.expect("it is probed"), healthy));
    all_start(&mut bench);
    bench.ask(2, Request::Stop(Stop { services: vec!["web".parse().unwrap()], timeout: None }));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.answer(ticket, Outcome::Signalled);
    bench.tell(Event::Exited { unit: unit("web:1"), incarnation: Incarnation(1), exit: Exit::Signal(15), remaining: 0 });
    bench.tell(Event::Exited { unit: unit("db:1"), incarnation: Incarnation(1), exit: Exit::Code(0), remaining: 0 });
    bench.effects.clear();
    let select = Select { services: vec!["web".parse().unwrap()], wait: false, wait_timeout: None };
    bench.ask(3, Request::Start(select));
    let [Reply::Failed { reasons }] = &bench.replies()[..] else { panic!("{:?}", bench.replies()) };
    assert_eq!(reasons, &["web cannot start, because of db: it ended with exit code 0"]);
}

#[test]
fn a_task_that_failed_is_asked_again_by_an_up_that_comes_while_it_is_taken_away() {
    let job = json!({"common": {"restart": "no"}, "kind": {"process": {"command": "run", "task": true}}});
    let deployment = deployment(json!({"job": job}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Assess { .. }));
    bench.answer(ticket, Outcome::Assessed(Assessment::Due("never run here".to_owned())));
    let (ticket, incarnation) = bench.start();
    bench.answer(ticket, Outcome::Started { pid: Some(1), birth: "b".to_owned() });
    bench.tell(Event::Exited { unit: unit("job:1"), incarnation, exit: Exit::Code(1), remaining: 0 });
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Conclude { .. }));
    bench.answer(ticket, Outcome::Concluded(Conclusion::Failed("exit code 1".to_owned())));
    bench.ask(2, Request::Down(Down::default()));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Remove { .. }));
    bench.up(&deployment, |_| ());
    bench.answer(ticket, Outcome::Removed { anonymous: indexmap::IndexMap::new() });
    bench.take_act(|action| matches!(action, Action::Assess { .. }));
}

#[test]
fn a_dry_run_of_any_request_says_what_would_be_done() {
    let after = json!({"a": {"condition": "service_started", "restart": false, "required": true}});
    let deployment = deployment(json!({"a": process(json!({})), "b": process(json!({"depends_on": after}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    all_start(&mut bench);
    let stop = "stop b:1, stop a:1";
    for (request, expected) in [
        (Request::Stop(Default::default()), stop),
        (Request::Down(Down::default()), stop),
        (Request::Restart(Default::default()), "stop b:1, stop a:1, start a:1, start b:1"),
        (Request::Kill(Default::default()), "kill a:1, kill b:1"),
        (Request::Pause(Pause { services: Vec::new(), paused: true }), "pause a:1, pause b:1"),
        (Request::Start(Default::default()), ""),
    ] {
        let read = Supervisor::recover(bench.machine.snapshot(), Processes::Alive, 0).unwrap();
        let plan = read.forecast(request.clone(), Ok(Actual::default()), &|_, _, _| None);
        let steps: Vec<String> = plan.steps.iter().map(|step| format!("{} {}", step.verb, step.subject)).collect();
        assert_eq!((steps.join(", ").as_str(), plan.stuck), (expected, Vec::new()), "{request:?}");
    }
}

#[test]
fn why_tells_how_far_away_each_reason_is_and_replicas_are_equally_far() {
    let healthy = json!({"db": {"condition": "service_healthy", "restart": false, "required": true}});
    let deployment = deployment(json!({
        "db": process(json!({"healthcheck": {"tcp": "localhost:1"}})),
        "web": process(json!({"scale": 2, "depends_on": healthy})),
    }));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.start();
    let why = bench.machine.why(&"web".parse().unwrap()).unwrap();
    let names: Vec<&str> = why.chain.iter().map(|link| link.split(": ").next().unwrap()).collect();
    assert_eq!((names, why.depths), (vec!["web:1", "web:2", "db:1"], vec![0, 0, 1]));
}

#[test]
fn nothing_is_wrong_with_killing_or_removing_what_never_came_up() {
    let deployment = deployment(json!({"a": container(json!({})), "b": container(json!({}))}));
    let mut bench = with_containers(&deployment, &["a:1", "b:1"]);
    for request in [
        Request::Kill(Kill { services: vec!["later".parse().unwrap()], ..Kill::default() }),
        Request::Remove(Remove { services: vec!["later".parse().unwrap()], stop: true, volumes: false }),
    ] {
        bench.effects.clear();
        bench.ask(2, request);
        if bench.machine.observing {
            bench.look(&["a:1", "b:1"].map(|name| running(&deployment, name)));
        }
        assert!(matches!(bench.replies()[..], [Reply::Done { changed: false, .. }]), "{:?}", bench.replies());
        let said = bench.effects.iter().any(|effect| match effect {
            Effect::Tell(Notice::Message { text, .. }) => text.contains("nothing of `later` is there"),
            _ => false,
        });
        assert!(said);
    }
    bench.effects.clear();
    bench.ask(3, Request::Why { service: "later".parse().unwrap() });
    assert!(matches!(bench.replies()[..], [Reply::NotUp { .. }]), "{:?}", bench.replies());
}
