//! The machine in small worlds that are written out: one test a promise. What chance can find is `sim`'s business.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::Supervisor;
use super::effect::Effect;
use super::event::{Event, RequestId};
use super::notice::Notice;
use super::request::{Down, Reply, Request, Up};
use super::snapshot::Processes;
use super::status::Health;
use crate::base::moment::Moment;
use crate::base::name::UnitId;
use crate::model::stack::Stack;
use crate::model::watch::{WatchAction, WatchRule};
use crate::plan::action::{Action, Assessment, Exit, Fault, FaultKind, Incarnation, Outcome, Ticket};
use crate::plan::actual::{Actual, SeenContainer, SeenState};
use crate::plan::desired::{Caller, Deployment, Places, UnitSpec};
use crate::plan::hash::ConfigHash;
use crate::plan::render::Plan;

/// A stack of these services, given as the model's own JSON.
fn deployment(services: Value) -> Deployment {
    let mut stack = serde_json::to_value(Stack::default()).unwrap();
    stack["services"] = services;
    Deployment {
        env: "test".parse().unwrap(),
        stack: serde_json::from_value(stack).unwrap(),
        caller: Caller::default(),
        places: Places::default(),
    }
}

fn process(common: Value) -> Value {
    json!({"common": common, "kind": {"process": {"command": "run"}}})
}

fn container(common: Value) -> Value {
    json!({"common": common, "kind": {"container": {"image": "image"}}})
}

/// A rule that acts on changes of `/src`.
fn watch_rule(action: WatchAction) -> Value {
    let rule = WatchRule {
        path: "/src".into(),
        action,
        target: None,
        ignore: Vec::new(),
        include: Vec::new(),
        initial_sync: false,
        exec: None,
        ignore_defaults: None,
    };
    serde_json::to_value(rule).unwrap()
}

/// A container of ours as the engine shows it.
fn seen(deployment: &Deployment, name: &str, state: SeenState) -> SeenContainer {
    let unit = unit(name);
    let hash = ConfigHash::of(deployment.service(&unit.service).unwrap(), &deployment.stack, &deployment.env);
    SeenContainer {
        id: format!("id of {name}"),
        name: deployment.container_name(&unit),
        unit: Some(unit),
        one_off: false,
        replaces: None,
        hash: Some(hash),
        by_us: true,
        age: None,
        networks: BTreeMap::new(),
        addresses: None,
        volumes: BTreeSet::new(),
        shares: BTreeSet::new(),
        image: "sha256:1".to_owned(),
        mounted: BTreeMap::new(),
        state,
        paused: false,
        health: None,
        probed: None,
        check: None,
        unprobed: None,
    }
}

fn unit(name: &str) -> UnitId {
    name.parse().unwrap()
}

/// A machine, and what it has asked for.
struct Bench {
    machine: Supervisor,
    effects: Vec<Effect>,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        Self { machine: Supervisor::new("test".parse().unwrap(), 1), effects: Vec::new(), now: 0 }
    }

    fn tell(&mut self, event: Event) {
        self.effects.extend(self.machine.step(event, Moment(self.now)));
    }

    fn ask(&mut self, id: u64, request: Request) {
        self.tell(Event::Request(RequestId(id), request));
    }

    fn up(&mut self, deployment: &Deployment, change: impl FnOnce(&mut Up)) {
        let mut up = Up::of(deployment.clone());
        change(&mut up);
        self.ask(1, Request::Up(Box::new(up)));
    }

    /// The first action asked for that is wanted; it is forgotten with all before it.
    fn take_act(&mut self, wanted: impl Fn(&Action) -> bool) -> (Ticket, Action) {
        let at = self.effects.iter().position(|effect| matches!(effect, Effect::Act(_, action) if wanted(action)));
        let at = at.unwrap_or_else(|| panic!("not asked for: {:#?}", self.machine.status()));
        let Some(Effect::Act(ticket, action)) = self.effects.drain(..=at).next_back() else { unreachable!() };
        (ticket, action)
    }

    /// Answers the look that is under way.
    fn look(&mut self, containers: &[SeenContainer]) {
        let images = [("image".to_owned(), "sha256:1".to_owned())].into();
        self.look_at(Actual { containers: containers.to_vec(), images, ..Actual::default() });
    }

    /// Answers the look that is under way with all of this.
    fn look_at(&mut self, actual: Actual) {
        let asked =
            self.effects.iter().rev().find_map(|it| if let Effect::Observe(number, _) = it { Some(*number) } else { None });
        self.tell(Event::Observed(asked.expect("nobody looks"), Ok(actual)));
    }

    fn answer(&mut self, ticket: Ticket, outcome: Outcome) {
        self.tell(Event::Acted(ticket, Ok(outcome)));
    }

    /// Answers what is asked for up to a start, and gives that start's ticket.
    fn start(&mut self) -> (Ticket, Incarnation) {
        let (ticket, _) = self.take_act(|action| matches!(action, Action::Create { .. }));
        self.answer(ticket, Outcome::Done);
        let (ticket, action) = self.take_act(|action| matches!(action, Action::Start { .. }));
        let Action::Start { incarnation, .. } = action else { unreachable!() };
        (ticket, incarnation)
    }

    fn acts(&self) -> impl Iterator<Item = (&Ticket, &Action)> {
        self.effects
            .iter()
            .filter_map(|effect| if let Effect::Act(ticket, action) = effect { Some((ticket, action)) } else { None })
    }

    fn replies(&self) -> Vec<Reply> {
        let replies =
            self.effects.iter().filter_map(|effect| if let Effect::Reply(_, reply) = effect { Some(reply) } else { None });
        replies.cloned().collect()
    }
}

fn started() -> Outcome {
    Outcome::Started { pid: Some(1), birth: "1".to_owned() }
}

#[test]
fn a_line_that_overtakes_the_answer_to_its_own_start_makes_the_service_ready() {
    let deployment = deployment(json!({"a": process(json!({"healthcheck": {"log": "ready"}}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |up| up.wait = true);
    let (ticket, incarnation) = bench.start();
    bench.tell(Event::LineMatched(unit("a:1"), incarnation));
    bench.answer(ticket, started());
    assert_eq!(bench.machine.status().units[0].health, Some(Health::Healthy));
    assert!(matches!(bench.replies()[..], [Reply::Done { changed: true, .. }]));
}

#[test]
fn a_line_of_an_earlier_life_makes_nothing_ready() {
    let deployment = deployment(json!({"a": process(json!({"healthcheck": {"log": "ready"}}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let (ticket, incarnation) = bench.start();
    bench.tell(Event::LineMatched(unit("a:1"), incarnation));
    bench.answer(ticket, started());
    bench.ask(2, Request::Restart(Default::default()));
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.answer(ticket, Outcome::Signalled);
    bench.tell(Event::Exited { unit: unit("a:1"), incarnation, exit: Exit::Code(0), remaining: 0 });
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    bench.tell(Event::LineMatched(unit("a:1"), incarnation));
    bench.answer(ticket, started());
    assert_eq!(bench.machine.status().units[0].health, Some(Health::Starting));
}

/// What `up` would do to an environment whose living supervisor has written this machine down.
fn plan(machine: &Supervisor, deployment: &Deployment, actual: Actual) -> Plan {
    let read = Supervisor::recover(machine.snapshot(), Processes::Alive, 0).unwrap();
    let assess = |_: &UnitSpec, trusted: bool, _: bool| trusted.then_some(Assessment::UpToDate);
    read.forecast(Request::Up(Box::new(Up::of(deployment.clone()))), Ok(actual), &assess)
}

#[test]
fn a_plan_takes_what_is_on_its_way_for_arrived() {
    let healthy = json!({"a": {"condition": "service_healthy", "restart": false, "required": true}});
    let done = json!({"a": {"condition": "service_completed_successfully", "restart": false, "required": true}});
    for (first, edge) in [
        (process(json!({"healthcheck": {"log": "ready"}})), healthy.clone()),
        (process(json!({"healthcheck": {"tcp": "localhost:1"}})), healthy),
        (json!({"common": {}, "kind": {"process": {"command": "run", "task": true}}}), done.clone()),
        (process(json!({})), done),
    ] {
        let deployment = deployment(json!({"a": first, "b": process(json!({"depends_on": edge}))}));
        let mut bench = Bench::new();
        bench.up(&deployment, |_| ());
        while !bench.effects.iter().any(|effect| matches!(effect, Effect::Act(_, Action::Start { .. }))) {
            let (ticket, action) = bench.take_act(|_| true);
            let due = Outcome::Assessed(Assessment::Due("why not".to_owned()));
            bench.answer(ticket, if matches!(action, Action::Assess { .. }) { due } else { Outcome::Done });
        }
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
        bench.answer(ticket, started());
        let plan = plan(&bench.machine, &deployment, Actual::default());
        assert_eq!(plan.stuck, Vec::<String>::new());
        assert_eq!(plan.steps.iter().map(|step| format!("{} {}", step.verb, step.subject)).collect::<Vec<_>>(), ["start b:1"]);
    }
}

#[test]
fn a_service_that_was_ready_is_ready_for_the_next_supervisor_too() {
    let deployment = deployment(json!({"a": container(json!({"healthcheck": {"log": "ready"}}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.look(&[seen(&deployment, "a:1", SeenState::Running { birth: "1".to_owned() })]);
    let incarnation = bench.machine.units[&unit("a:1")].incarnation;
    bench.tell(Event::LineMatched(unit("a:1"), incarnation));
    bench.machine = Supervisor::recover(bench.machine.snapshot(), Processes::Gone, 0).unwrap();
    bench.effects.clear();
    bench.up(&deployment, |up| up.wait = true);
    bench.look(&[seen(&deployment, "a:1", SeenState::Running { birth: "1".to_owned() })]);
    assert!(matches!(bench.replies()[..], [Reply::Done { changed: false, .. }]), "{:#?}", bench.machine.status());
}

#[test]
fn what_has_ended_grows_older_while_nobody_supervises_it() {
    let deployment = deployment(json!({"a": process(json!({}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let (ticket, incarnation) = bench.start();
    bench.answer(ticket, started());
    bench.tell(Event::Exited { unit: unit("a:1"), incarnation, exit: Exit::Code(3), remaining: 0 });
    bench.now = 5000;
    bench.tell(Event::Tick);
    let snapshot = bench.machine.snapshot().aged(Duration::from_secs(60));
    let machine = Supervisor::recover(snapshot, Processes::Gone, 0).unwrap();
    let ages: Vec<_> = machine.status().units.iter().map(|unit| unit.since_ms).collect();
    assert_eq!(ages, [Some(65_000)]);
}

#[test]
fn the_end_of_a_foreground_up_leaves_alone_what_ran_before_it() {
    let deployment = deployment(json!({"a": container(json!({})), "b": container(json!({}))}));
    let before = seen(&deployment, "a:1", SeenState::Running { birth: "1".to_owned() });
    let made = seen(&deployment, "b:1", SeenState::Created);
    let mut bench = Bench::new();
    bench.up(&deployment, |up| up.attached = true);
    bench.look(&[before, made]);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    bench.answer(ticket, Outcome::Started { pid: None, birth: "2".to_owned() });
    bench.effects.clear();
    bench.tell(Event::Disconnected(RequestId(1)));
    let stopped: Vec<String> = bench.acts().map(|(ticket, action)| format!("{} {}", action.verb(), ticket.resource)).collect();
    assert_eq!(stopped, ["stop b:1"]);
}

#[test]
fn the_end_of_a_stack_of_processes_asks_for_no_engine() {
    for (service, warned) in [(process(json!({})), 0), (container(json!({})), 1)] {
        let deployment = deployment(json!({"a": service}));
        let mut bench = Bench::new();
        bench.up(&deployment, |up| up.no_start = true);
        bench.ask(2, Request::Down(Down::default()));
        bench.tell(Event::EngineAway("no engine".to_owned()));
        let warnings = bench.effects.iter().filter(|effect| matches!(effect, Effect::Tell(Notice::Message { .. })));
        assert_eq!(warnings.count(), warned);
    }
}

#[test]
fn an_action_that_was_not_answered_is_no_proof_that_the_engine_is_away_now() {
    let deployment = deployment(json!({"a": container(json!({}))}));
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    bench.look(&[]);
    let mut rounds = 0;
    while bench.machine.status().engine_away.is_none() {
        rounds += 1;
        bench.now += 120_000;
        bench.tell(Event::Tick);
        if bench.effects.iter().any(|effect| matches!(effect, Effect::Observe(..))) {
            bench.look(&[]);
        }
        let (ticket, _) = bench.take_act(|action| matches!(action, Action::Create { .. } | Action::Pull { .. }));
        let fault = Fault { kind: FaultKind::EngineAway, message: "no answer".to_owned() };
        bench.tell(Event::Acted(ticket, Err(fault)));
    }
    // After some tries it counts as away though it answers every look.
    assert_eq!(rounds, 5);
}

mod attaching;
mod calling_off;
mod images;
mod lives;
mod mounted_images;
mod others;
mod recovered;
mod reloading;
mod renewing;
mod replacing;
mod seen;
mod syncing;
mod words;
