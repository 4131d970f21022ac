//! What requests find where containers run that no supervisor looks after: after an `up -d` of containers alone, and after a crash.

use super::*;
use crate::supervisor::request::{Restart, Select, Stop};

fn running(deployment: &Deployment, name: &str) -> SeenContainer {
    seen(deployment, name, SeenState::Running { birth: format!("birth of {name}") })
}

fn ended(deployment: &Deployment, name: &str, code: i32) -> SeenContainer {
    seen(deployment, name, SeenState::Exited { exit: Exit::Code(code), birth: format!("birth of {name}") })
}

fn depends(restart: bool) -> Value {
    json!({"depends_on": {"db": {"condition": "service_started", "restart": restart, "required": true}}})
}

fn web_and_db(restart: bool) -> Deployment {
    deployment(json!({"db": container(json!({})), "web": container(depends(restart))}))
}

fn of(names: &[&str]) -> Vec<crate::base::name::ServiceName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn restart(names: &[&str]) -> Request {
    Request::Restart(Restart { services: of(names), ..Restart::default() })
}

impl Bench {
    /// A machine that has just taken over from one which had brought this up, and knows what it left behind.
    fn taken_over(deployment: &Deployment, containers: &[SeenContainer], change: impl FnOnce(&mut Up)) -> Self {
        let mut bench = Self::new();
        bench.up(deployment, change);
        bench.look(containers);
        bench.take_over();
        bench
    }

    fn take_over(&mut self) {
        self.machine = Supervisor::recover(self.machine.snapshot(), Processes::Gone, 0).unwrap();
        self.effects.clear();
    }

    /// Asks for this, and answers looks with these containers until nobody looks any more.
    fn ask_where(&mut self, request: Request, containers: &[SeenContainer]) {
        self.ask(2, request);
        self.look_all(containers);
    }

    fn look_all(&mut self, containers: &[SeenContainer]) {
        while self.machine.observing {
            self.look(containers);
        }
    }

    fn done_so_far(&self) -> Vec<String> {
        self.acts().map(|(ticket, action)| format!("{} {}", action.verb(), ticket.resource)).collect()
    }

    fn refusals(&self) -> Vec<String> {
        match &self.replies()[..] {
            [Reply::Failed { reasons }] => reasons.clone(),
            _ => Vec::new(),
        }
    }
}

#[test]
fn a_restart_stops_nothing_that_waits_for_a_container_which_was_stopped_before_the_supervisor_ended() {
    let stack = web_and_db(false);
    for (db, why) in [
        (Some(ended(&stack, "db:1", 137)), "it is stopped"),
        (Some(seen(&stack, "db:1", SeenState::Created)), "it was not started"),
        (None, "it is not up"),
    ] {
        let there: Vec<SeenContainer> = db.into_iter().chain([running(&stack, "web:1")]).collect();
        let mut bench = Bench::taken_over(&stack, &[running(&stack, "db:1"), running(&stack, "web:1")], |_| ());
        bench.ask_where(restart(&["web"]), &there);
        let reason = format!("web is not restarted: it could not start again, because of db: {why}");
        assert_eq!((bench.done_so_far(), bench.refusals()), (vec![], vec![reason]));
        // Both of them come up again.
        bench.effects.clear();
        if there.len() > 1 {
            bench.ask_where(restart(&["db", "web"]), &there);
            assert!(bench.done_so_far().contains(&"stop web:1".to_owned()), "{:?}", bench.done_so_far());
        }
    }
}

#[test]
fn a_restart_is_refused_alike_whether_or_not_a_supervisor_was_there_when_its_dependency_ended() {
    let stack = web_and_db(false);
    for (code, expected) in [
        (1, Some("web is not restarted: it could not start again, because of db: it ended with exit code 1")),
        // It has done its work.
        (0, None),
    ] {
        let there = [ended(&stack, "db:1", code), running(&stack, "web:1")];
        let mut bench = Bench::new();
        bench.up(&stack, |_| ());
        bench.look_all(&[running(&stack, "db:1"), running(&stack, "web:1")]);
        bench.effects.clear();
        bench.tell(Event::EngineStirred);
        bench.look_all(&there);
        bench.ask_where(restart(&["web"]), &there);
        assert_eq!(bench.refusals(), expected.into_iter().map(str::to_owned).collect::<Vec<_>>());
        let stops = if expected.is_some() { vec![] } else { vec!["stop web:1".to_owned()] };
        assert_eq!(bench.done_so_far(), stops, "{code}");
    }
}

#[test]
fn what_was_asked_for_without_its_dependencies_is_restarted_without_them_by_the_next_supervisor_too() {
    let stack = web_and_db(false);
    let there = [running(&stack, "web:1")];
    let without = |up: &mut Up| (up.services, up.no_deps) = (of(&["web"]), true);
    let mut bench = Bench::taken_over(&stack, &there, without);
    bench.ask_where(restart(&["web"]), &there);
    assert_eq!((bench.done_so_far(), bench.refusals()), (vec!["stop web:1".to_owned()], vec![]));
}

#[test]
fn what_depends_on_a_service_without_replicas_is_restarted_by_the_next_supervisor_too() {
    let stack = deployment(json!({
        "db": {"common": {"scale": 0}, "kind": {"container": {"image": "image"}}},
        "web": container(depends(false)),
    }));
    let there = [running(&stack, "web:1")];
    let mut bench = Bench::taken_over(&stack, &there, |_| ());
    bench.ask_where(restart(&["web"]), &there);
    assert_eq!((bench.done_so_far(), bench.refusals()), (vec!["stop web:1".to_owned()], vec![]));
}

#[test]
fn what_is_started_without_what_it_needs_is_told_so_and_waits_for_nothing() {
    // A process, for which a container was stopped long ago.
    let stack = deployment(json!({"db": container(json!({})), "web": process(depends(false))}));
    let mut bench = Bench::new();
    bench.up(&stack, |up| up.no_start = true);
    bench.look_all(&[seen(&stack, "db:1", SeenState::Created)]);
    bench.take_over();
    bench.ask_where(restart(&["web"]), &[ended(&stack, "db:1", 137)]);
    assert_eq!(bench.refusals(), ["web cannot start, because of db: it is stopped"]);
    bench.effects.clear();
    let start = Request::Start(Select { services: of(&["web"]), ..Select::default() });
    bench.ask_where(start, &[ended(&stack, "db:1", 137)]);
    assert_eq!(bench.done_so_far(), ["start db:1"]);
}

#[test]
fn dependents_follow_a_restart_also_where_nobody_has_looked_after_them() {
    let there = |stack: &Deployment| [running(stack, "db:1"), running(stack, "web:1")];
    for (follows, expected) in [(true, vec!["stop web:1"]), (false, vec!["stop db:1"])] {
        let stack = web_and_db(follows);
        let mut bench = Bench::taken_over(&stack, &there(&stack), |_| ());
        bench.ask_where(restart(&["db"]), &there(&stack));
        // Dependents first.
        assert_eq!(bench.done_so_far(), expected);
    }
}

#[test]
fn dependents_follow_a_change_also_where_nobody_has_looked_after_them_if_they_run() {
    let stack = web_and_db(true);
    let mut changed = stack.clone();
    let db = changed.stack.services.get_mut("db").unwrap();
    db.common.labels.insert("new".to_owned(), "1".to_owned());
    for (state, expected) in [
        (SeenState::Running { birth: "birth of web:1".to_owned() }, vec!["create db:1", "stop web:1"]),
        // Somebody has stopped it, and does not ask for it.
        (SeenState::Exited { exit: Exit::Code(137), birth: "birth of web:1".to_owned() }, vec!["create db:1"]),
    ] {
        let mut bench = Bench::taken_over(&stack, &[running(&stack, "db:1"), running(&stack, "web:1")], |_| ());
        let there = [running(&stack, "db:1"), seen(&stack, "web:1", state)];
        bench.up(&changed, |up| (up.services) = of(&["db"]));
        assert_eq!(bench.done_so_far(), Vec::<String>::new());
        bench.look_all(&there);
        assert_eq!(bench.done_so_far(), expected);
    }
}

#[test]
fn dependents_follow_a_task_that_has_run_also_where_nobody_has_looked_after_them() {
    let after =
        json!({"depends_on": {"job": {"condition": "service_completed_successfully", "restart": true, "required": true}}});
    let job = json!({"common": {}, "kind": {"process": {"command": "run", "task": true}}});
    let stack = deployment(json!({"job": job, "web": container(after)}));
    let there = [running(&stack, "web:1")];
    let mut bench = Bench::taken_over(&stack, &there, |_| ());
    bench.up(&stack, |up| up.services = of(&["job"]));
    bench.look_all(&there);
    let (ticket, action) = loop {
        let (ticket, action) = bench.take_act(|_| true);
        if matches!(action, Action::Start { .. }) {
            break (ticket, action);
        }
        let due = Outcome::Assessed(Assessment::Due("why not".to_owned()));
        bench.answer(ticket, if matches!(action, Action::Assess { .. }) { due } else { Outcome::Done });
    };
    let Action::Start { incarnation, .. } = action else { unreachable!() };
    bench.answer(ticket, started());
    bench.tell(Event::Exited { unit: unit("job:1"), incarnation, exit: Exit::Code(0), remaining: 0 });
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Conclude { .. }));
    bench.look_all(&there);
    bench.answer(ticket, Outcome::Concluded(crate::plan::action::Conclusion::Succeeded));
    bench.look_all(&there);
    assert_eq!(bench.done_so_far(), ["stop web:1"]);
}

#[test]
fn a_stop_leaves_alone_who_would_follow_a_restart() {
    let stack = web_and_db(true);
    let there = [running(&stack, "db:1"), running(&stack, "web:1")];
    let mut bench = Bench::taken_over(&stack, &there, |_| ());
    bench.ask_where(Request::Stop(Stop { services: of(&["db"]), timeout: None }), &there);
    assert_eq!(bench.done_so_far(), ["stop db:1"]);
}
