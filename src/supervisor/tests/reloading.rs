//! `reload: start-first`: the next life of a process beside the present one, and when it takes its place.

use super::*;
use crate::supervisor::effect::Effect;
use crate::supervisor::request::Stop;
use crate::supervisor::status::UnitState;

/// A process that is reloaded when `/src` changes.
fn reloaded(common: Value, own: Value) -> Value {
    let mut service = json!({"common": common, "kind": {"process": {"command": "run", "reload": "start-first"}}});
    service["common"]["develop"] = json!({"watch": [rule()]});
    service["kind"]["process"].as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    service
}

fn rule() -> Value {
    watch_rule(WatchAction::Restart)
}

fn follows(name: &str) -> Value {
    json!({"depends_on": {name: {"condition": "service_started", "restart": true, "required": true}}})
}

impl Bench {
    /// All of it up, every line of a health check written.
    fn all_up(deployment: &Deployment) -> Self {
        let mut bench = Self::new();
        bench.up(deployment, |up| up.watch = true);
        bench.tell(Event::WatchSet);
        bench.go_on_writing();
        // Long enough for nothing to look like a service that restarts itself.
        bench.now += 60_000;
        bench.tell(Event::Tick);
        bench
    }

    /// Answers all with success, as long as something is asked; what was done, with the life.
    fn go_on_writing(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            let at = self.effects.iter().position(|effect| matches!(effect, Effect::Act(..) | Effect::Lead(..)));
            let Some(at) = at else { return done };
            match self.effects.remove(at) {
                Effect::Lead(unit, life) => done.push(format!("lead {unit} {}", life.0)),
                Effect::Act(ticket, action) => done.push(self.do_well(ticket, &action)),
                _ => unreachable!(),
            }
        }
    }

    fn do_well(&mut self, ticket: Ticket, action: &Action) -> String {
        let said = format!("{} {} {}", action.verb(), ticket.resource, ticket.incarnation.0);
        match action {
            Action::Start { spec, incarnation, .. } => {
                self.answer(ticket, started());
                self.tell(Event::LineMatched(spec.unit.clone(), *incarnation));
            }
            Action::Stop { spec, incarnation, .. } | Action::Kill { spec, incarnation, .. } => {
                self.answer(ticket, Outcome::Signalled);
                self.ends(&spec.unit.to_string(), incarnation.0, Exit::Signal(15));
            }
            _ => self.answer(ticket, Outcome::Done),
        }
        said
    }

    fn ends(&mut self, name: &str, life: u32, exit: Exit) {
        self.tell(Event::Exited { unit: unit(name), incarnation: Incarnation(life), exit, remaining: 0 });
    }

    /// Saves a file of every rule that is armed.
    fn save(&mut self) {
        let armed = self.machine.watches.armed_rules();
        for rule in armed {
            self.tell(Event::FilesChanged { rule, paths: vec!["/src/main".into()], busy: false });
        }
        self.now += 20;
        self.tell(Event::Tick);
    }

    fn next_start(&mut self) -> (Ticket, u32) {
        let (ticket, action) = self.take_act(|action| matches!(action, Action::Start { beside: true, .. }));
        let Action::Start { incarnation, .. } = action else { unreachable!() };
        (ticket, incarnation.0)
    }

    fn state(&self, name: &str) -> (UnitState, Option<i32>, Option<String>) {
        let status = self.machine.status();
        let unit = status.units.into_iter().find(|it| it.unit == unit(name)).unwrap();
        (unit.state, unit.pid, unit.reload)
    }
}

fn log_check() -> Value {
    json!({"healthcheck": {"log": "ready"}})
}

#[test]
fn the_next_life_leads_before_the_one_before_is_stopped_and_its_followers_come_after() {
    let deployment = deployment(
        json!({"a": reloaded(log_check(), json!({})), "b": process(follows("a")), "c": reloaded(follows("a"), json!({}))}),
    );
    let mut bench = Bench::all_up(&deployment);
    bench.save();
    let done = bench.go_on_writing();
    let of = |name: &str| done.iter().filter(|step| step.contains(name)).map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("a:1"), ["start a:1 2", "lead a:1 2", "stop a:1 1"]);
    // It cannot have two lives at a time, so it is away for a moment; dependents go down before what they stand on.
    assert_eq!(of("b:1"), ["stop b:1 1", "start b:1 2"]);
    assert_eq!(of("c:1"), ["start c:1 2", "lead c:1 2", "stop c:1 1"], "one change, one next life: {done:#?}");
    let at = |step: &str| done.iter().position(|done| done == step).unwrap();
    assert!(at("lead a:1 2") < at("stop b:1 1") && at("stop b:1 1") < at("stop a:1 1"), "{done:#?}");
    assert!(at("lead a:1 2") < at("start c:1 2"), "{done:#?}");
}

#[test]
fn a_change_while_the_next_life_gets_ready_makes_another_one() {
    let deployment = deployment(json!({"a": reloaded(log_check(), json!({}))}));
    let mut bench = Bench::all_up(&deployment);
    bench.save();
    let (ticket, life) = bench.next_start();
    bench.answer(ticket, started());
    assert_eq!(
        bench.state("a:1").2.as_deref(),
        Some("its next life gets ready (last probe: no line of its log matches `ready` yet)")
    );
    // So long after the first that it is no burst.
    bench.now += 200;
    bench.save();
    let (ticket, action) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    assert!(matches!(action, Action::Stop { incarnation: Incarnation(2), .. }), "{action:?}");
    // What it writes now changes nothing any more.
    bench.tell(Event::LineMatched(unit("a:1"), Incarnation(life)));
    bench.answer(ticket, Outcome::Signalled);
    bench.ends("a:1", life, Exit::Signal(15));
    assert_eq!(bench.go_on_writing(), ["start a:1 3", "lead a:1 3", "stop a:1 1"]);
    assert_eq!(bench.state("a:1"), (UnitState::Running, Some(1), None));
}

#[test]
fn a_next_life_takes_the_place_of_one_that_has_crashed_though_it_is_not_ready() {
    let deployment = deployment(json!({"a": reloaded(log_check(), json!({}))}));
    let mut bench = Bench::all_up(&deployment);
    bench.save();
    let (ticket, life) = bench.next_start();
    bench.ends("a:1", 1, Exit::Code(1));
    assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Lead(..))), "it is not there yet");
    bench.answer(ticket, started());
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Lead(_, number) if number.0 == life)));
    assert_eq!(bench.machine.status().units[0].health, Some(Health::Starting));
    bench.tell(Event::LineMatched(unit("a:1"), Incarnation(life)));
    assert_eq!(bench.machine.status().units[0].health, Some(Health::Healthy));
}

#[test]
fn a_next_life_that_ends_or_takes_too_long_is_told_and_changes_nothing() {
    let deployment = deployment(json!({"a": reloaded(log_check(), json!({"start_timeout": "2s"}))}));
    let mut bench = Bench::all_up(&deployment);
    for late in [false, true] {
        bench.save();
        let (ticket, life) = bench.next_start();
        bench.answer(ticket, started());
        if late {
            bench.now += 2000;
            bench.tell(Event::Tick);
            let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
            bench.answer(ticket, Outcome::Signalled);
        }
        bench.ends("a:1", life, Exit::Code(3));
        let reason = if late { "not ready within 2s" } else { "it ended before it was ready (exit code 3)" };
        let (state, _, reload) = bench.state("a:1");
        assert_eq!((state, reload), (UnitState::Running, Some(format!("its next life did not get ready: {reason}"))));
        assert_eq!(bench.go_on_writing(), Vec::<String>::new());
        bench.now += 60_000;
        bench.tell(Event::Tick);
    }
}

#[test]
fn a_stop_is_answered_when_both_lives_have_ended() {
    let deployment = deployment(json!({"a": reloaded(log_check(), json!({}))}));
    let mut bench = Bench::all_up(&deployment);
    bench.save();
    let (ticket, life) = bench.next_start();
    bench.answer(ticket, started());
    bench.effects.clear();
    bench.ask(2, Request::Stop(Stop::default()));
    let stopped: Vec<u32> = bench.acts().map(|(ticket, _)| ticket.incarnation.0).collect();
    assert_eq!(stopped, [life, 1], "both at once");
    bench.ends("a:1", 1, Exit::Signal(15));
    assert_eq!((bench.replies(), bench.state("a:1").0), (vec![], UnitState::Stopping));
    bench.ends("a:1", life, Exit::Signal(15));
    assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
}

#[test]
fn a_life_after_a_crash_of_the_supervisor_has_a_number_of_its_own() {
    let deployment = deployment(json!({"a": reloaded(log_check(), json!({}))}));
    let mut bench = Bench::all_up(&deployment);
    bench.save();
    let (ticket, life) = bench.next_start();
    bench.answer(ticket, started());
    bench.machine = Supervisor::recover(bench.machine.snapshot(), Processes::Gone, 0).unwrap();
    bench.effects.clear();
    bench.up(&deployment, |_| ());
    let (_, action) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    assert!(matches!(action, Action::Start { incarnation, beside: false, .. } if incarnation.0 == life + 1), "{action:?}");
}

#[test]
fn a_service_that_reloads_itself_is_braked() {
    let deployment = deployment(json!({"a": reloaded(log_check(), json!({}))}));
    let mut bench = Bench::all_up(&deployment);
    let mut starts = 0;
    for _ in 0..20 {
        bench.save();
        starts += bench.go_on_writing().iter().filter(|step| step.starts_with("start")).count();
    }
    assert!(starts < 10, "{starts}");
}

#[test]
fn a_save_that_may_be_the_services_own_waits_and_is_not_passed_over() {
    let watched = json!({"develop": {"watch": [{"action": "restart", "path": "src"}]}});
    let deployment = deployment(json!({"a": process(watched)}));
    // How long after each start the file changes, how often that restarts it at once, and how long the next changes wait.
    for (after, turns, waits) in [(100, 5, vec![10_000, 20_000, 40_000]), (1500, 20, vec![10_000, 20_000]), (4000, 50, vec![])] {
        let mut bench = Bench::all_up(&deployment);
        let restarts = |bench: &mut Bench, wait: u64| {
            bench.now += wait;
            bench.tell(Event::Tick);
            bench.go_on_writing().iter().filter(|step| step.starts_with("start")).count()
        };
        // The first comes long after the start.
        for turn in 0..=turns {
            restarts(&mut bench, after);
            bench.save();
            assert_eq!(restarts(&mut bench, 100), 1, "{after} ms after start {turn}");
        }
        for wait in waits {
            restarts(&mut bench, after);
            bench.save();
            assert_eq!(restarts(&mut bench, wait - 1000), 0, "{after} ms after a start, before {wait} ms are over");
            // One that comes meanwhile is the same to it.
            bench.save();
            assert_eq!(restarts(&mut bench, 1000), 1, "{after} ms after a start");
        }
    }
}
