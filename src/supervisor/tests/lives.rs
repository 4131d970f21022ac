//! What is believed of lives: after a crash, of strangers, of tasks, and what signals and deadlines do to them.

use std::time::Duration;

use super::*;
use crate::supervisor::effect::Effect;
use crate::supervisor::request::{Kill, Recreate, Restart, Select, Stop};
use crate::supervisor::status::UnitState;

fn task(common: Value) -> Value {
    json!({"common": common, "kind": {"process": {"command": "run", "task": true}}})
}

fn running(deployment: &Deployment, name: &str) -> SeenContainer {
    seen(deployment, name, SeenState::Running { birth: format!("birth of {name}") })
}

fn after(name: &str, condition: &str) -> Value {
    json!({"depends_on": {name: {"condition": condition, "restart": false, "required": true}}})
}

impl Bench {
    /// A machine after its supervisor died with this deployment up.
    fn recovered(deployment: &Deployment, containers: &[SeenContainer]) -> Self {
        let mut bench = Self::new();
        bench.up(deployment, |_| ());
        bench.look(containers);
        bench.recover();
        bench
    }

    fn recover(&mut self) {
        self.machine = Supervisor::recover(self.machine.snapshot(), Processes::Gone, 0).unwrap();
        self.effects.clear();
    }

    /// Answers all that is asked of tasks and processes with success, until nothing more is asked.
    fn go_on(&mut self) {
        while let Some((ticket, action)) = self.first_act() {
            self.take_act(|_| true);
            let end = match &action {
                Action::Start { spec, incarnation, .. } if spec.service().is_task() => {
                    Some(Event::Exited { unit: spec.unit.clone(), incarnation: *incarnation, exit: Exit::Code(0), remaining: 0 })
                }
                _ => None,
            };
            self.answer(ticket, good(&action));
            if let Some(end) = end {
                self.tell(end);
            }
        }
    }

    fn first_act(&self) -> Option<(Ticket, Action)> {
        self.acts().next().map(|(ticket, action)| (ticket.clone(), action.clone()))
    }

    fn verbs(&self) -> Vec<String> {
        self.acts().map(|(ticket, action)| format!("{} {}", action.verb(), ticket.resource)).collect()
    }

    fn status_of(&self, name: &str) -> crate::supervisor::status::UnitState {
        let status = self.machine.status();
        status.units.into_iter().find(|it| it.unit == unit(name)).expect("a unit of this name").state
    }
}

fn good(action: &Action) -> Outcome {
    match action {
        Action::Assess { .. } => Outcome::Assessed(Assessment::Due("why not".to_owned())),
        Action::Conclude { .. } => Outcome::Concluded(crate::plan::action::Conclusion::Succeeded),
        Action::Start { .. } => started(),
        Action::Build { .. } | Action::Pull { .. } => Outcome::Image { id: "sha256:1".to_owned() },
        Action::Create { spec, .. } if !spec.service().is_process() => Outcome::Created { container: "new".to_owned() },
        Action::Remove { .. } => Outcome::Removed { anonymous: indexmap::IndexMap::new() },
        Action::Stop { .. } | Action::Kill { .. } | Action::Freeze { .. } => Outcome::Signalled,
        _ => Outcome::Done,
    }
}

#[test]
fn after_a_crash_nothing_is_said_of_containers_before_somebody_has_looked() {
    let deployment = deployment(json!({"a": container(json!({}))}));
    let mut bench = Bench::recovered(&deployment, &[running(&deployment, "a:1")]);
    bench.ask(2, Request::Status);
    assert_eq!(bench.replies(), []);
    bench.look(&[]);
    let [Reply::Status(status)] = &bench.replies()[..] else { panic!("{:?}", bench.replies()) };
    assert_eq!(status.units[0].state, crate::supervisor::status::UnitState::Absent);
}

#[test]
fn after_a_crash_an_engine_that_does_not_answer_keeps_nobody_waiting() {
    let deployment = deployment(json!({"a": container(json!({}))}));
    let mut bench = Bench::recovered(&deployment, &[running(&deployment, "a:1")]);
    bench.ask(2, Request::Status);
    bench.tell(Event::EngineAway("no engine".to_owned()));
    let [Reply::Status(status)] = &bench.replies()[..] else { panic!("{:?}", bench.replies()) };
    assert_eq!(status.engine_away.as_deref(), Some("no engine"));
}

#[test]
fn after_a_crash_what_others_did_to_containers_is_what_requests_find() {
    let deployment = deployment(json!({"a": container(json!({}))}));
    let ended = seen(&deployment, "a:1", SeenState::Exited { exit: Exit::Code(137), birth: "birth of a:1".to_owned() });
    let up = |bench: &mut Bench| bench.up(&deployment, |_| ());
    let start = |bench: &mut Bench| bench.ask(1, Request::Start(Select::default()));
    let stop = |bench: &mut Bench| bench.ask(1, Request::Stop(Stop::default()));
    type Ask<'a> = &'a dyn Fn(&mut Bench);
    let cases: [(Ask<'_>, Vec<SeenContainer>, &str); 4] = [
        (&up, vec![], "create a:1"),
        (&up, vec![ended.clone()], "start a:1"),
        (&start, vec![ended], "start a:1"),
        (&stop, vec![running(&deployment, "a:1")], "stop a:1"),
    ];
    for (ask, found, wanted) in cases {
        let mut bench = Bench::recovered(&deployment, &[running(&deployment, "a:1")]);
        ask(&mut bench);
        bench.look(&found);
        if bench.verbs().is_empty() {
            bench.look(&found);
        }
        assert_eq!(bench.verbs(), [wanted]);
        assert_eq!(bench.replies(), [], "{wanted}");
    }
}

#[test]
fn a_container_between_two_lives_is_stopped_before_it_is_removed() {
    let deployment = deployment(json!({"a": container(json!({"restart": "always"}))}));
    let mut bench = Bench::new();
    bench.ask(1, Request::Down(Down::default()));
    bench.look(&[seen(&deployment, "a:1", SeenState::Restarting)]);
    assert_eq!(bench.verbs(), ["stop a:1"]);
    assert_eq!(bench.replies(), []);
    let (ticket, _) = bench.take_act(|_| true);
    bench.answer(ticket, Outcome::Done);
    assert_eq!(bench.verbs(), ["remove a:1"]);
}

#[test]
fn start_brings_up_what_it_depends_on_under_the_next_supervisor_too() {
    let edge = json!({"depends_on": {"a": {"condition": "service_started", "restart": false, "required": true}}});
    let deployment = deployment(json!({"a": container(json!({})), "b": container(edge)}));
    let ended = |name: &str| seen(&deployment, name, SeenState::Exited { exit: Exit::Code(143), birth: "1".to_owned() });
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.look(&[running(&deployment, "a:1"), running(&deployment, "b:1")]);
    let mut bench = Bench { machine: Supervisor::recover(bench.machine.snapshot(), Processes::Gone, 1).unwrap(), ..Bench::new() };
    let select = Select { services: vec!["b".parse().unwrap()], ..Select::default() };
    bench.ask(1, Request::Start(select));
    for _ in 0..2 {
        bench.look(&["a:1", "b:1"].map(ended));
    }
    assert_eq!(bench.verbs(), ["start a:1"]);
}

#[test]
fn a_container_that_is_no_unit_is_stopped_by_its_id() {
    let deployment = deployment(json!({"a": container(json!({}))}));
    let one_off = SeenContainer { one_off: true, name: "test-a-run-1".to_owned(), ..running(&deployment, "a:1") };
    let mut bench = Bench::new();
    bench.ask(1, Request::Down(Down::default()));
    bench.look(&[one_off]);
    let (_, action) = bench.take_act(|_| true);
    let Action::Stop { container, .. } = action else { panic!("{action:?}") };
    assert_eq!(container.as_deref(), Some("id of a:1"));
}

#[test]
fn an_image_is_built_again_when_its_task_has_run_under_another_supervisor() {
    let build =
        json!({"common": after("make", "service_completed_successfully"), "kind": {"container": {"build": {"context": "/x"}}}});
    let deployment = deployment(json!({"make": task(json!({})), "web": build}));
    let mut bench = Bench::new();
    let image = deployment.image_of(&"web".parse().unwrap()).unwrap();
    let look = |bench: &mut Bench| {
        let asked =
            bench.effects.iter().rev().find_map(|it| if let Effect::Observe(number, _) = it { Some(*number) } else { None });
        let images = [(image.clone(), "sha256:1".to_owned())].into();
        if let Some(number) = asked {
            bench.tell(Event::Observed(number, Ok(Actual { images, ..Actual::default() })));
        }
    };
    let mut builds = Vec::new();
    for due in [true, true, false] {
        bench.up(&deployment, |_| ());
        look(&mut bench);
        look(&mut bench);
        builds.push(0);
        while let Some((ticket, action)) = bench.first_act() {
            bench.take_act(|_| true);
            *builds.last_mut().unwrap() += u32::from(matches!(action, Action::Build { .. }));
            let up_to_date = matches!(action, Action::Assess { .. }) && !due;
            bench.answer(ticket, if up_to_date { Outcome::Assessed(Assessment::UpToDate) } else { good(&action) });
            if let Action::Start { spec, incarnation, .. } = action
                && spec.service().is_process()
            {
                bench.tell(Event::Exited { unit: spec.unit, incarnation, exit: Exit::Code(0), remaining: 0 });
            }
        }
        bench.recover();
    }
    assert_eq!(builds, [1, 1, 0], "the image is there; twice its task has run since");
}

#[test]
fn an_answer_about_the_old_definition_of_a_task_says_nothing_of_the_new_one() {
    let old = deployment(json!({"t": task(json!({}))}));
    let new = deployment(json!({"t": task(json!({"environment": {"A": "1"}}))}));
    let mut bench = Bench::new();
    bench.up(&old, |_| ());
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Assess { .. }));
    bench.up(&new, |_| ());
    bench.answer(ticket, Outcome::Assessed(Assessment::UpToDate));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Assess { .. }));
    assert_eq!(ticket.hash, ConfigHash::of(new.service(&"t".parse().unwrap()).unwrap(), &new.stack, &new.env));
    assert_eq!(bench.replies().len(), 0);
}

#[test]
fn a_task_whose_dependency_ran_while_it_ran_is_due_again() {
    let deployment = deployment(json!({"a": task(json!({})), "b": task(after("a", "service_completed_successfully"))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let b = |action: &Action| action.spec().is_some_and(|spec| spec.unit == unit("b:1"));
    while !bench.acts().any(|(_, action)| b(action) && matches!(action, Action::Start { .. })) {
        let (ticket, action) = bench.take_act(|_| true);
        bench.answer(ticket, good(&action));
        if let Action::Start { spec, incarnation, .. } = action {
            bench.tell(Event::Exited { unit: spec.unit, incarnation, exit: Exit::Code(0), remaining: 0 });
        }
    }
    let (ticket, action) = bench.take_act(|_| true);
    bench.answer(ticket, good(&action));
    // While b runs, a runs once more.
    bench.ask(2, Request::Restart(Restart { services: vec!["a".parse().unwrap()], ..Restart::default() }));
    loop {
        if bench.acts().all(|(_, action)| b(action)) {
            break;
        }
        let (ticket, action) = bench.take_act(|action| !b(action));
        bench.answer(ticket, good(&action));
        if let Action::Start { spec, incarnation, .. } = action {
            bench.tell(Event::Exited { unit: spec.unit, incarnation, exit: Exit::Code(0), remaining: 0 });
        }
    }
    let Action::Start { incarnation, .. } = action else { unreachable!() };
    bench.tell(Event::Exited { unit: unit("b:1"), incarnation, exit: Exit::Code(0), remaining: 0 });
    let (ticket, action) = bench.take_act(|action| matches!(action, Action::Conclude { .. }));
    bench.answer(ticket, good(&action));
    let (_, action) = bench.take_act(|_| true);
    assert!(matches!(action, Action::Assess { dependency_ran: true, .. }), "{action:?}");
}

/// A process that runs.
fn one_process(common: Value) -> (Deployment, Bench, Incarnation) {
    let deployment = deployment(json!({"a": process(common)}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let (ticket, incarnation) = bench.start();
    bench.answer(ticket, started());
    bench.effects.clear();
    (deployment, bench, incarnation)
}

#[test]
fn a_kill_is_a_signal_and_nothing_else() {
    for signal in ["", "SIGKILL", "kill", "9"] {
        let (_, mut bench, incarnation) = one_process(json!({"stop_grace_period": "1h", "restart": "always"}));
        bench.ask(2, Request::Kill(Kill { signal: signal.to_owned(), ..Kill::default() }));
        assert_eq!(bench.verbs(), ["kill a:1"], "{signal}");
        let (ticket, _) = bench.take_act(|_| true);
        bench.answer(ticket, Outcome::Signalled);
        bench.tell(Event::Exited { unit: unit("a:1"), incarnation, exit: Exit::Signal(9), remaining: 0 });
        assert_eq!(bench.verbs(), Vec::<String>::new(), "{signal}: it stays ended");
        assert!(matches!(bench.replies()[..], [Reply::Done { changed: true, .. }]));
    }
}

#[test]
fn a_signal_is_answered_when_it_was_sent_and_its_fault_is_told() {
    let fault = Fault { kind: FaultKind::Permanent, message: "we may not".to_owned() };
    for (result, failed) in [(Ok(Outcome::Signalled), false), (Err(fault), true)] {
        let (_, mut bench, _) = one_process(json!({}));
        bench.ask(2, Request::Kill(Kill { signal: "HUP".to_owned(), ..Kill::default() }));
        assert_eq!(bench.replies(), []);
        let (ticket, _) = bench.take_act(|_| true);
        bench.tell(Event::Acted(ticket, result));
        match &bench.replies()[..] {
            [Reply::Failed { reasons }] if failed => assert_eq!(reasons, &["a:1: we may not"]),
            [Reply::Done { .. }] if !failed => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.status_of("a:1"), crate::supervisor::status::UnitState::Running);
    }
}

#[test]
fn the_timeout_of_a_request_is_of_its_own_stop_only() {
    let (_, mut bench, incarnation) = one_process(json!({"stop_grace_period": "5s"}));
    let grace = |bench: &mut Bench| match bench.take_act(|action| matches!(action, Action::Stop { .. })) {
        (ticket, Action::Stop { grace, .. }) => {
            bench.answer(ticket, Outcome::Signalled);
            grace
        }
        _ => unreachable!(),
    };
    bench.ask(2, Request::Stop(Stop { timeout: Some(Duration::ZERO), ..Stop::default() }));
    assert_eq!(grace(&mut bench), Duration::ZERO);
    bench.tell(Event::Exited { unit: unit("a:1"), incarnation, exit: Exit::Code(0), remaining: 0 });
    bench.ask(3, Request::Start(Select::default()));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    bench.answer(ticket, started());
    bench.ask(4, Request::Stop(Stop::default()));
    assert_eq!(grace(&mut bench), Duration::from_secs(5));
}

#[test]
fn watches_are_armed_again_under_the_next_supervisor() {
    let rule = json!({"path": "/src", "action": "restart"});
    let deployment = deployment(json!({"a": process(json!({"develop": {"watch": [rule]}}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.recover();
    bench.ask(2, Request::Start(Select::default()));
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Watch(list) if list.len() == 1)), "{:?}", bench.effects);
}

#[test]
fn a_supervisor_that_is_ending_starts_nothing_more() {
    let (deployment, mut bench, incarnation) = one_process(json!({}));
    bench.tell(Event::Terminate);
    bench.up(&deployment, |_| ());
    bench.effects.clear();
    bench.tell(Event::Exited { unit: unit("a:1"), incarnation, exit: Exit::Code(0), remaining: 0 });
    assert_eq!(bench.replies(), [], "whoever asked hears the connection end, and asks our successor");
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Exit)), "{:?}", bench.effects);
}

#[test]
fn no_recreate_leaves_what_exists() {
    let old = deployment(json!({"a": container(json!({}))}));
    let new = deployment(json!({"a": container(json!({"environment": {"A": "1"}}))}));
    let mut bench = Bench::new();
    bench.up(&new, |up| up.recreate = Recreate::Never);
    bench.look(&[running(&old, "a:1")]);
    assert_eq!(bench.verbs(), Vec::<String>::new());
    assert!(matches!(bench.replies()[..], [Reply::Done { changed: false, .. }]));
    bench.effects.clear();
    bench.up(&new, |_| ());
    bench.look(&[running(&old, "a:1")]);
    assert_eq!(bench.verbs(), ["create a:1"]);
}

#[test]
fn a_container_that_the_engine_has_given_up_keeps_nobody_waiting() {
    for (code, fine) in [(0, true), (3, false)] {
        let deployment = deployment(json!({"a": container(json!({"restart": "on-failure:2"}))}));
        let mut bench = Bench::new();
        bench.up(&deployment, |up| up.wait = true);
        bench.look(&[running(&deployment, "a:1")]);
        bench.effects.clear();
        bench.up(&deployment, |up| up.wait = true);
        bench.look(&[seen(&deployment, "a:1", SeenState::Restarting)]);
        assert_eq!(bench.replies(), [], "it is between two lives");
        bench.tell(Event::EngineStirred);
        let exit = Exit::Code(code);
        bench.look(&[seen(&deployment, "a:1", SeenState::Exited { exit, birth: "2".to_owned() })]);
        match &bench.replies()[..] {
            [Reply::Done { .. }] if fine => {}
            [Reply::Failed { .. }] if !fine => {}
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[test]
fn start_brings_up_what_it_depends_on_and_restart_says_what_is_in_its_way() {
    let deployment = deployment(json!({"db": process(json!({})), "web": process(after("db", "service_started"))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.go_on();
    bench.ask(2, Request::Stop(Stop::default()));
    for name in ["web:1", "db:1"] {
        let (ticket, action) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
        let Action::Stop { incarnation, .. } = action else { unreachable!() };
        bench.answer(ticket, Outcome::Signalled);
        bench.tell(Event::Exited { unit: unit(name), incarnation, exit: Exit::Code(0), remaining: 0 });
    }
    bench.effects.clear();
    let web = || vec!["web".parse().unwrap()];
    bench.ask(3, Request::Restart(Restart { services: web(), ..Restart::default() }));
    let [Reply::Failed { reasons }] = &bench.replies()[..] else { panic!("{:?}", bench.replies()) };
    assert_eq!(reasons, &["web cannot start, because of db: it is stopped"]);
    bench.effects.clear();
    bench.ask(4, Request::Start(Select { services: web(), ..Select::default() }));
    assert_eq!(bench.verbs(), ["start db:1"]);
}

#[test]
fn a_foreground_up_ends_when_its_root_has_failed() {
    let deployment = deployment(json!({"t": task(json!({})), "web": process(after("t", "service_completed_successfully"))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |up| up.attached = true);
    while !bench.acts().any(|(_, action)| matches!(action, Action::Conclude { .. })) {
        let (ticket, action) = bench.take_act(|_| true);
        bench.answer(ticket, good(&action));
        if let Action::Start { spec, incarnation, .. } = action {
            bench.tell(Event::Exited { unit: spec.unit, incarnation, exit: Exit::Code(6), remaining: 0 });
        }
    }
    let (ticket, _) = bench.take_act(|_| true);
    bench.answer(ticket, Outcome::Concluded(crate::plan::action::Conclusion::Failed("exit code 6".to_owned())));
    assert!(matches!(bench.replies()[..], [Reply::Failed { .. }, Reply::Ended { code: 1 }]), "{:?}", bench.replies());
}

#[test]
fn a_foreground_up_ends_in_peace_when_somebody_takes_all_of_it_down() {
    let mut bench = Bench::new();
    bench.up(&deployment(json!({"a": process(json!({}))})), |up| up.attached = true);
    bench.go_on();
    bench.effects.clear();
    bench.ask(7, Request::Down(Down::default()));
    let (ticket, stop) = bench.take_act(|_| true);
    let Action::Stop { incarnation, .. } = stop else { panic!("{stop:?}") };
    bench.tell(Event::Exited { unit: unit("a"), incarnation, exit: Exit::Code(143), remaining: 0 });
    bench.answer(ticket, good(&stop));
    bench.go_on();
    assert!(bench.replies().iter().any(|reply| matches!(reply, Reply::Ended { code: 0 })), "{:?}", bench.replies());
}

#[test]
fn a_down_that_leaves_what_services_made_has_failed() {
    let mut deployment = deployment(json!({"a": process(json!({}))}));
    deployment.stack.owns = serde_json::from_value(json!([{"containers": {"label": "own=1"}}])).unwrap();
    let mut bench = Bench::new();
    bench.up(&deployment, |up| up.no_start = true);
    bench.go_on();
    bench.effects.clear();
    bench.ask(2, Request::Down(Down::default()));
    bench.look(&[]);
    let (ticket, _) = loop {
        let (ticket, action) = bench.take_act(|_| true);
        if matches!(action, Action::RemoveOwned { .. }) {
            break (ticket, action);
        }
        bench.answer(ticket, good(&action));
    };
    bench.tell(Event::Acted(ticket, Err(Fault::permanent("it is in use"))));
    let [Reply::Failed { reasons }] = &bench.replies()[..] else { panic!("{:?}", bench.replies()) };
    assert_eq!(reasons, &["what the services made could not be removed: it is in use"]);
}

#[test]
fn what_is_paused_is_not_probed_and_has_no_health_until_it_goes_on_or_is_stopped() {
    let check = json!({"healthcheck": {"test": ["CMD", "true"], "interval": "5s"}});
    let deployment = deployment(json!({"a": process(check)}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let (ticket, _) = bench.start();
    bench.answer(ticket, started());
    let probes = |bench: &Bench| bench.effects.iter().filter(|effect| matches!(effect, Effect::Probe(..))).count();
    let Some(Effect::Probe(probe, _)) = bench.effects.iter().find(|effect| matches!(effect, Effect::Probe(..))).cloned() else {
        panic!("it is not probed")
    };
    bench.tell(Event::Probed(probe, crate::supervisor::event::ProbeResult { healthy: true, output: String::new() }));
    let pause = |paused| Request::Pause(crate::supervisor::request::Pause { services: Vec::new(), paused });
    bench.ask(2, pause(true));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Freeze { frozen: true, .. }));
    assert_eq!(bench.status_of("a:1"), UnitState::Running, "not before it is done");
    bench.answer(ticket, Outcome::Signalled);
    assert_eq!(bench.status_of("a:1"), UnitState::Paused);
    assert_eq!(bench.machine.status().units[0].health, None);
    let before = probes(&bench);
    bench.now += 60_000;
    bench.tell(Event::Tick);
    assert_eq!(probes(&bench), before, "nothing is probed that stands still");
    bench.ask(3, pause(true));
    assert!(bench.acts().all(|(_, action)| !matches!(action, Action::Freeze { .. })), "it is so already");
    bench.ask(4, Request::Stop(Stop::default()));
    assert_eq!(bench.verbs(), ["unpause a:1", "stop a:1"], "standing still it could not end");
}

#[test]
fn what_waits_for_one_that_is_paused_is_told_so_and_goes_on_with_it() {
    let check = json!({"healthcheck": {"test": ["CMD", "true"], "interval": "5s"}});
    let needs = after("a", "service_healthy");
    let deployment = deployment(json!({"a": process(check), "b": process(needs)}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let created = [(), ()].map(|()| bench.take_act(|action| matches!(action, Action::Create { .. })).0);
    created.into_iter().for_each(|ticket| bench.answer(ticket, Outcome::Done));
    let start = |bench: &mut Bench| bench.take_act(|action| matches!(action, Action::Start { .. })).0;
    let ticket = start(&mut bench);
    bench.answer(ticket, started());
    let Some(Effect::Probe(probe, _)) = bench.effects.iter().find(|effect| matches!(effect, Effect::Probe(..))).cloned() else {
        panic!("it is not probed")
    };
    let pause = |paused| Request::Pause(crate::supervisor::request::Pause { services: vec!["a".parse().unwrap()], paused });
    bench.ask(2, pause(true));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Freeze { frozen: true, .. }));
    bench.answer(ticket, Outcome::Signalled);
    let replies = bench.replies();
    let Some(Reply::Failed { reasons }) = replies.iter().find(|reply| matches!(reply, Reply::Failed { .. })) else {
        panic!("{replies:?}")
    };
    let reason = "it is paused; `baistack unpause a` lets it go on";
    assert_eq!(reasons[..], [format!("a:1: {reason}"), format!("b cannot start, because of a: {reason}")]);
    bench.ask(3, pause(false));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Freeze { frozen: false, .. }));
    bench.answer(ticket, Outcome::Signalled);
    bench.tell(Event::Probed(probe, crate::supervisor::event::ProbeResult { healthy: true, output: String::new() }));
    assert_eq!(start(&mut bench).resource.to_string(), "b:1");
}

#[test]
fn an_up_of_what_is_paused_is_told_so_and_a_restart_takes_it_into_its_next_life() {
    let deployment = deployment(json!({"a": process(json!({}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let (ticket, _) = bench.start();
    bench.answer(ticket, started());
    bench.ask(2, Request::Pause(crate::supervisor::request::Pause { services: Vec::new(), paused: true }));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Freeze { frozen: true, .. }));
    bench.answer(ticket, Outcome::Signalled);
    bench.effects.clear();
    bench.up(&deployment, |_| ());
    let reason = "a:1: it is paused; `baistack unpause a` lets it go on";
    assert!(matches!(&bench.replies()[..], [Reply::Failed { reasons }] if reasons[..] == [reason]), "{:?}", bench.replies());
    bench.effects.clear();
    bench.ask(3, Request::Restart(Restart::default()));
    assert_eq!((bench.verbs(), bench.replies()), (vec!["unpause a:1".to_owned(), "stop a:1".to_owned()], Vec::new()));
}

/// Pauses a service, or lets it go on, and answers that with success.
fn pause(bench: &mut Bench, id: u64, service: &str, paused: bool) {
    let services = vec![service.parse().unwrap()];
    bench.ask(id, Request::Pause(crate::supervisor::request::Pause { services, paused }));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Freeze { .. }));
    bench.answer(ticket, Outcome::Signalled);
}

/// The probe that was asked for first since the last one that was taken.
fn take_probe(bench: &mut Bench) -> Ticket {
    let at = bench.effects.iter().position(|effect| matches!(effect, Effect::Probe(..))).expect("it is not probed");
    let Effect::Probe(ticket, _) = bench.effects.remove(at) else { unreachable!() };
    ticket
}

/// Answers all that is asked of processes with success, and keeps what is asked of probes.
fn settle(bench: &mut Bench) {
    while let Some(at) = bench.effects.iter().position(|effect| matches!(effect, Effect::Act(..))) {
        let Effect::Act(ticket, action) = bench.effects.remove(at) else { unreachable!() };
        bench.answer(ticket, good(&action));
    }
}

fn probed(bench: &mut Bench, ticket: Ticket, healthy: bool) {
    bench.tell(Event::Probed(ticket, crate::supervisor::event::ProbeResult { healthy, output: String::new() }));
}

#[test]
fn a_restart_stops_nothing_that_a_paused_dependency_would_keep_from_coming_up_again() {
    let check = json!({"healthcheck": {"test": ["CMD", "true"], "interval": "5s", "retries": 1}});
    let follows = json!({"depends_on": {"b": {"condition": "service_started", "restart": true, "required": true}}});
    let stack = |edge: Value| {
        let c = process(json!({"depends_on": {"b": follows["depends_on"]["b"].clone()}}));
        deployment(json!({"a": process(check.clone()), "b": process(edge), "c": c}))
    };
    let reason = |name: &str| {
        let way_out = if name == "c" { "; `--no-deps` leaves it alone" } else { "" };
        let why = "because of a: it is paused; `baistack unpause a` lets it go on";
        format!("{name} is not restarted: it could not start again, {why}{way_out}")
    };
    let needed = after("a", "service_healthy");
    let mut optional = needed.clone();
    optional["depends_on"]["a"]["required"] = json!(false);
    let cases = [
        (needed.clone(), &["b"][..], &[][..], &["b", "c"][..]),
        (needed.clone(), &["c"], &["stop c:1"], &[]),
        // In its next life it does not stand still.
        (needed.clone(), &["a", "b"], &["stop c:1"], &[]),
        (optional, &["b"], &["stop c:1"], &[]),
        (after("a", "service_started"), &["b"], &["stop c:1"], &[]),
    ];
    for ((edge, services, stopped, refused), is_healthy) in cases.iter().flat_map(|case| [(case, true), (case, false)]) {
        let mut bench = Bench::new();
        bench.up(&stack(edge.clone()), |_| ());
        settle(&mut bench);
        let probe = take_probe(&mut bench);
        probed(&mut bench, probe, true);
        settle(&mut bench);
        bench.now += 60_000;
        bench.tell(Event::Tick);
        // Its last verdict, as it may be.
        let probe = take_probe(&mut bench);
        probed(&mut bench, probe, is_healthy);
        pause(&mut bench, 2, "a", true);
        bench.effects.clear();
        let services: Vec<_> = services.iter().map(|name| name.parse().unwrap()).collect();
        bench.ask(3, Request::Restart(Restart { services, ..Restart::default() }));
        let expected: Vec<String> = refused.iter().map(|name| reason(name)).collect();
        let told = match &bench.replies()[..] {
            [Reply::Failed { reasons }] => reasons.clone(),
            _ => Vec::new(),
        };
        assert_eq!((bench.verbs(), told), (stopped.iter().map(|&verb| verb.to_owned()).collect(), expected), "{edge}");
    }
}

#[test]
fn what_a_probe_found_while_it_stood_still_is_no_verdict_on_a_process_that_goes_on() {
    let check = json!({"healthcheck": {"test": ["CMD", "true"], "interval": "5s", "retries": 1}});
    let deployment = deployment(json!({"a": process(check)}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.go_on();
    let probe = take_probe(&mut bench);
    probed(&mut bench, probe, true);
    bench.now += 60_000;
    bench.tell(Event::Tick);
    let probe = take_probe(&mut bench);
    pause(&mut bench, 2, "a", true);
    probed(&mut bench, probe, false);
    assert_eq!(bench.machine.units[&unit("a:1")].health.verdict, Some(Health::Healthy), "it could not answer");

    // One that was unhealthy before is asked at once how it is now.
    pause(&mut bench, 3, "a", false);
    let probe = take_probe(&mut bench);
    probed(&mut bench, probe, false);
    pause(&mut bench, 4, "a", true);
    pause(&mut bench, 5, "a", false);
    bench.effects.retain(|effect| matches!(effect, Effect::Probe(..)));
    bench.up(&deployment, |up| up.wait = true);
    assert_eq!(bench.replies(), [], "nobody knows yet");
    let probe = take_probe(&mut bench);
    probed(&mut bench, probe, true);
    assert!(matches!(bench.replies()[..], [Reply::Done { .. }]));
}

#[test]
fn a_look_from_before_a_pause_does_not_take_it_back() {
    let deployment = deployment(json!({"a": container(json!({}))}));
    let shown = |paused| SeenContainer { paused, ..running(&deployment, "a:1") };
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.look(&[shown(false)]);
    bench.tell(Event::EngineStirred);
    pause(&mut bench, 2, "a", true);
    // The one that is under way.
    bench.tell(Event::Observed(bench.machine.asked, Ok(Actual { containers: vec![shown(false)], ..Actual::default() })));
    assert_eq!(bench.status_of("a:1"), UnitState::Paused);
    bench.tell(Event::EngineStirred);
    bench.look(&[shown(true)]);
    assert_eq!(bench.status_of("a:1"), UnitState::Paused);
    bench.tell(Event::EngineStirred);
    bench.look(&[shown(false)]);
    assert_eq!(bench.status_of("a:1"), UnitState::Running, "somebody else has let it go on");
}

#[test]
fn the_engines_verdict_on_what_goes_on_counts_once_it_has_probed_since() {
    use crate::plan::actual::SeenHealth;
    let deployment = deployment(json!({"a": container(json!({"healthcheck": {"test": ["CMD", "true"]}}))}));
    let shown = |paused, health, probed: Option<u64>| SeenContainer {
        paused,
        health,
        probed: probed.map(Duration::from_secs),
        ..running(&deployment, "a:1")
    };
    let (good, bad) = (Some(SeenHealth::Healthy), Some(SeenHealth::Unhealthy));
    for (later, is_done) in [(shown(false, good, None), true), (shown(false, bad, Some(5)), false)] {
        // Each command has a supervisor of its own: nothing else needs one.
        let mut bench = Bench::recovered(&deployment, &[shown(true, None, None)]);
        bench.ask(2, Request::Pause(crate::supervisor::request::Pause { services: Vec::new(), paused: false }));
        bench.look(&[shown(true, None, None)]);
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Freeze { frozen: false, .. }));
        bench.answer(ticket, Outcome::Signalled);
        bench.machine = Supervisor::recover(bench.machine.snapshot().aged(Duration::from_secs(10)), Processes::Gone, 0).unwrap();
        bench.effects.clear();
        bench.up(&deployment, |up| up.wait = true);
        bench.look(&[shown(false, bad, Some(3600))]);
        assert_eq!(bench.replies(), [], "that was said before");
        bench.tell(Event::EngineStirred);
        bench.look(&[later]);
        match &bench.replies()[..] {
            [Reply::Done { .. }] if is_done => {}
            [Reply::Failed { reasons }] if !is_done => assert_eq!(reasons[..], ["a:1 is unhealthy"]),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_up_of_what_has_no_replicas_is_over_when_all_is_there_that_one_would_be_made_with() {
    let deployment = deployment(json!({"a": container(json!({"scale": 0}))}));
    let pulled = Ok(Outcome::Image { id: "sha256:1".to_owned() });
    for (answer, failed) in [(pulled, None), (Err(Fault::permanent("no such image")), Some("a: pull of image: no such image"))] {
        let mut bench = Bench::new();
        bench.up(&deployment, |_| ());
        assert_eq!(bench.replies(), []);
        bench.look_at(Actual::default());
        assert_eq!(bench.replies(), []);
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Pull { .. }));
        bench.tell(Event::Acted(ticket, answer));
        match (&bench.replies()[..], failed) {
            ([Reply::Done { changed: true, .. }], None) => {}
            ([Reply::Failed { reasons }], Some(failed)) => assert_eq!(reasons[..], [failed]),
            other => panic!("{other:?}"),
        }
    }
    // Whoever takes it down has the last word.
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.look_at(Actual::default());
    bench.ask(2, Request::Down(Down::default()));
    assert!(matches!(&bench.replies()[..], [Reply::Failed { reasons }, ..] if reasons[0].contains("a later `down`")));
}

#[test]
fn of_what_nobody_asks_for_an_up_tells_nothing_that_was_so_before() {
    let deployment = deployment(json!({"a": container(json!({})), "b": container(json!({})), "c": process(json!({}))}));
    let mut bench = Bench::recovered(&deployment, &[running(&deployment, "a:1"), running(&deployment, "b:1")]);
    bench.up(&deployment, |up| up.services = vec!["a".parse().unwrap()]);
    bench.look(&[running(&deployment, "a:1")]);
    let told = |effect: &Effect| match effect {
        Effect::Tell(Notice::Unit(unit)) => Some(unit.unit.to_string()),
        _ => None,
    };
    assert_eq!(bench.effects.iter().filter_map(told).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_check_that_the_engine_does_not_run_is_run_by_us_until_it_does() {
    use crate::model::health::HealthCheck;
    use crate::plan::actual::SeenHealth;
    let test = ["CMD", "true"].map(str::to_owned).to_vec();
    let check = HealthCheck { test, interval: Some(Duration::from_secs(5)), retries: Some(1), ..HealthCheck::default() };
    // Whether the file has it, or the image alone.
    for common in [json!({"healthcheck": {"test": ["CMD", "true"]}}), json!({})] {
        let deployment = deployment(json!({"a": container(common)}));
        let shown = |health, unprobed: Option<&HealthCheck>| SeenContainer {
            health: Some(health),
            unprobed: unprobed.cloned(),
            ..running(&deployment, "a:1")
        };
        let silent = || shown(SeenHealth::Starting, Some(&check));
        let mut bench = Bench::new();
        bench.up(&deployment, |up| up.wait = true);
        bench.look(&[silent()]);
        assert_eq!(bench.replies(), []);
        let probe = take_probe(&mut bench);
        probed(&mut bench, probe, true);
        assert!(matches!(bench.replies()[..], [Reply::Done { .. }]));
        assert_eq!(bench.machine.status().units[0].health, Some(Health::Healthy));
        // Later too, and what the engine goes on to say is no verdict.
        let look = |bench: &mut Bench, shown| {
            bench.tell(Event::EngineStirred);
            bench.look(&[shown]);
            bench.machine.status().units[0].health
        };
        assert_eq!(look(&mut bench, silent()), Some(Health::Healthy));
        bench.now += 5000;
        bench.tell(Event::Tick);
        let probe = take_probe(&mut bench);
        probed(&mut bench, probe, false);
        assert_eq!(look(&mut bench, silent()), Some(Health::Unhealthy));
        assert_eq!(look(&mut bench, shown(SeenHealth::Healthy, None)), Some(Health::Healthy));
        bench.now += 60_000;
        bench.tell(Event::Tick);
        assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Probe(..))), "the engine does");
    }
}

#[test]
fn a_container_is_healthy_as_soon_as_a_probe_beside_its_engines_says_so() {
    use crate::model::health::HealthCheck;
    use crate::plan::actual::SeenHealth;
    let test = ["CMD", "true"].map(str::to_owned).to_vec();
    let check = HealthCheck { test, interval: Some(Duration::from_secs(5)), retries: Some(1), ..HealthCheck::default() };
    // Whether the file has it, or the image alone.
    for common in [json!({"healthcheck": {"test": ["CMD", "true"], "interval": "5s", "retries": 1}}), json!({})] {
        let deployment = deployment(json!({"a": container(common)}));
        let shown = |health| SeenContainer {
            health: Some(health),
            check: (health == SeenHealth::Starting).then(|| check.clone()),
            ..running(&deployment, "a:1")
        };
        let look = |bench: &mut Bench, health| {
            bench.tell(Event::EngineStirred);
            bench.look(&[shown(health)]);
            bench.machine.status().units[0].health
        };
        let mut bench = Bench::new();
        bench.up(&deployment, |up| up.wait = true);
        bench.look(&[shown(SeenHealth::Starting)]);
        // However often it fails, and for however long: that counts for nothing.
        for gap in [0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            bench.now += gap;
            bench.tell(Event::Tick);
            let probe = take_probe(&mut bench);
            probed(&mut bench, probe, false);
            assert_eq!(bench.machine.status().units[0].health, Some(Health::Starting), "after {gap} ms");
        }
        assert_eq!(bench.replies(), []);
        bench.now += 5000;
        bench.tell(Event::Tick);
        let probe = take_probe(&mut bench);
        probed(&mut bench, probe, true);
        assert!(matches!(bench.replies()[..], [Reply::Done { .. }]));
        assert_eq!(look(&mut bench, SeenHealth::Starting), Some(Health::Healthy), "the engine has not looked yet");
        bench.recover();
        bench.up(&deployment, |up| up.wait = true);
        bench.look(&[shown(SeenHealth::Starting)]);
        assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "nor when the next supervisor comes");
        assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Probe(..))));
        assert_eq!(look(&mut bench, SeenHealth::Unhealthy), Some(Health::Unhealthy));
        assert_eq!(look(&mut bench, SeenHealth::Healthy), Some(Health::Healthy));
        bench.now += 60_000;
        bench.tell(Event::Tick);
        assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Probe(..))), "from then on the engine does");
    }
}

#[test]
fn where_the_engines_verdict_alone_counts_nobody_probes_beside_it() {
    use crate::plan::actual::SeenHealth;
    let deployment = deployment(json!({"a": container(json!({"healthcheck": {"test": ["CMD", "true"]}}))}));
    let shown = |health| SeenContainer { health: Some(health), ..running(&deployment, "a:1") };
    let mut bench = Bench::new();
    bench.up(&deployment, |up| (up.wait, up.engine_health) = (true, true));
    bench.look(&[shown(SeenHealth::Starting)]);
    bench.now += 10_000;
    bench.tell(Event::Tick);
    assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Probe(..))));
    bench.tell(Event::EngineStirred);
    bench.look(&[shown(SeenHealth::Healthy)]);
    assert!(matches!(bench.replies()[..], [Reply::Done { .. }]));
}

#[test]
fn a_stop_of_what_kept_ending_is_answered_when_it_has_ended() {
    let deployment = deployment(json!({"a": process(json!({"restart": "always"}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let (mut ticket, mut incarnation) = bench.start();
    for _ in 0..5 {
        bench.answer(ticket, started());
        bench.tell(Event::Exited { unit: unit("a:1"), incarnation, exit: Exit::Code(1), remaining: 0 });
        bench.now += 60_000;
        bench.tell(Event::Tick);
        let (next, action) = bench.take_act(|action| matches!(action, Action::Start { .. }));
        let Action::Start { incarnation: number, .. } = action else { unreachable!() };
        (ticket, incarnation) = (next, number);
    }
    bench.answer(ticket, started());
    bench.effects.clear();
    bench.ask(2, Request::Stop(Stop::default()));
    assert_eq!(bench.replies(), [], "it has not ended yet");
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.answer(ticket, Outcome::Signalled);
    bench.tell(Event::Exited { unit: unit("a:1"), incarnation, exit: Exit::Signal(15), remaining: 0 });
    assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
}

#[test]
fn whoever_makes_everything_anew_has_a_task_asked_again_and_not_run_whatever_it_says() {
    let job = json!({"common": {}, "kind": {"process": {"command": "run", "check": "true", "task": true}}});
    let deployment = deployment(json!({"job": job}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Assess { .. }));
    bench.answer(ticket, Outcome::Assessed(Assessment::UpToDate));
    bench.effects.clear();
    bench.up(&deployment, |up| up.recreate = Recreate::Always);
    let (ticket, action) = bench.take_act(|_| true);
    assert!(matches!(action, Action::Assess { trusted: false, .. }), "{action:?}");
    bench.answer(ticket, Outcome::Assessed(Assessment::UpToDate));
    assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.effects);
}

#[test]
fn a_start_is_answered_when_its_files_are_watched() {
    let watch = json!({"develop": {"watch": [{"path": "/src", "action": "restart"}]}});
    let deployment = deployment(json!({"a": process(watch)}));
    let mut bench = Bench::new();
    bench.up(&deployment, |up| up.watch = true);
    let (ticket, incarnation) = bench.start();
    bench.answer(ticket, started());
    assert!(bench.replies().is_empty(), "a change might still be missed");
    bench.tell(Event::WatchSet);
    assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
    bench.ask(2, Request::Stop(Default::default()));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.answer(ticket, Outcome::Signalled);
    bench.tell(Event::Exited { unit: unit("a:1"), incarnation, exit: Exit::Signal(15), remaining: 0 });
    bench.tell(Event::WatchSet);
    bench.effects.clear();
    bench.ask(3, Request::Start(Default::default()));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    bench.answer(ticket, started());
    assert!(bench.replies().is_empty(), "a change might still be missed");
    bench.tell(Event::WatchSet);
    assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
}

#[test]
fn that_the_engines_verdict_alone_counts_holds_until_the_next_up() {
    use crate::plan::actual::SeenHealth;
    let stack = deployment(json!({"a": container(json!({"healthcheck": {"test": ["CMD", "true"]}}))}));
    let starting = SeenContainer { health: Some(SeenHealth::Starting), ..running(&stack, "a:1") };
    let probes = |bench: &mut Bench| {
        bench.tell(Event::EngineStirred);
        while bench.machine.observing {
            let actual = Actual { containers: vec![starting.clone()], ..Actual::default() };
            bench.tell(Event::Observed(bench.machine.asked, Ok(actual)));
        }
        bench.now += 10_000;
        bench.tell(Event::Tick);
        bench.effects.iter().any(|effect| matches!(effect, Effect::Probe(..)))
    };
    let mut bench = Bench::new();
    bench.up(&stack, |up| up.engine_health = true);
    assert!(!probes(&mut bench));
    // A word beside it is none of that.
    bench.up(&stack, |up| up.beside = true);
    assert!(!probes(&mut bench));
    bench.machine = Supervisor::recover(bench.machine.snapshot(), Processes::Gone, 0).unwrap();
    bench.up(&stack, |up| up.beside = true);
    assert!(!probes(&mut bench));
    bench.up(&stack, |_| ());
    assert!(probes(&mut bench));
    // Probes that are under way have no say from then on.
    bench.up(&stack, |up| up.engine_health = true);
    bench.effects.clear();
    assert!(!probes(&mut bench));
    assert_eq!(bench.machine.units[&unit("a:1")].health.in_flight, None);
}
