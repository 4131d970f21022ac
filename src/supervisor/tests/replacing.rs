//! A container that has changed: its successor stands beside it before it goes, and what a crash leaves of that is put in order.

use super::*;
use crate::plan::action::Fault;
use crate::supervisor::request::Recreate;

/// `a`, in this version.
fn version(number: u32) -> Deployment {
    deployment(json!({"a": container(json!({"environment": {"VERSION": number.to_string()}}))}))
}

fn running(deployment: &Deployment) -> SeenContainer {
    seen(deployment, "a:1", SeenState::Running { birth: "1".to_owned() })
}

/// What is to take the place of the container of [`running`], of this version.
fn beside(deployment: &Deployment) -> SeenContainer {
    let replaces = "id of a:1".to_owned();
    let name = format!("{replaces}_{}", deployment.container_name(&unit("a:1")));
    let id = "id of its successor".to_owned();
    SeenContainer { id, name, replaces: Some(replaces), ..seen(deployment, "a:1", SeenState::Created) }
}

/// What each action asked for would do, the containers it names by their ids.
fn story(bench: &Bench) -> Vec<String> {
    let tell = |action: &Action| match action {
        Action::Succeed { predecessor, .. } => format!("succeed {}", predecessor.as_deref().unwrap_or_default()),
        Action::TakeOver { container, name, .. } => format!("rename {container} to {name}"),
        Action::Discard { container, .. } => format!("discard {container}"),
        Action::Stop { container, .. } | Action::Remove { container, .. } => {
            format!("{} {}", action.verb(), container.as_deref().unwrap_or_default())
        }
        other => other.verb().to_owned(),
    };
    bench.acts().map(|(_, action)| tell(action)).collect()
}

#[test]
fn the_successor_is_made_before_its_predecessor_is_stopped() {
    let mut bench = Bench::new();
    bench.up(&version(2), |_| ());
    bench.look(&[running(&version(1))]);
    let answers = [
        ("succeed id of a:1", Outcome::Created { container: "new".to_owned() }),
        ("stop id of a:1", Outcome::Done),
        ("remove id of a:1", Outcome::Removed { anonymous: [("/data".to_owned(), "kept".to_owned())].into() }),
        ("rename new to test-a-1", Outcome::Done),
        ("start", started()),
    ];
    for (wanted, outcome) in answers {
        assert_eq!(story(&bench), [wanted]);
        let (ticket, _) = bench.take_act(|_| true);
        bench.answer(ticket, outcome);
    }
    assert!(matches!(bench.replies()[..], [Reply::Done { changed: true, .. }]), "{:?}", bench.replies());
}

#[test]
fn what_cannot_be_made_anew_runs_on_and_nobody_waits_for_its_end() {
    let stack = |number: u32| {
        let edge = json!({"a": {"condition": "service_started", "restart": false, "required": true}});
        let environment = json!({"VERSION": number.to_string()});
        deployment(json!({
            "a": container(json!({"environment": environment})),
            "b": container(json!({"environment": environment, "depends_on": edge})),
        }))
    };
    let mut bench = Bench::new();
    bench.up(&stack(2), |_| ());
    let old = stack(1);
    let both = ["a:1", "b:1"].map(|name| seen(&old, name, SeenState::Running { birth: "1".to_owned() }));
    bench.look(&both);
    let of = |name: &str| {
        let id = unit(name);
        move |action: &Action| action.spec().is_some_and(|spec| spec.unit == id)
    };
    let (first, _) = bench.take_act(of("a:1"));
    let (second, _) = bench.take_act(of("b:1"));
    bench.tell(Event::Acted(second, Err(Fault::permanent("no such device"))));
    bench.answer(first, Outcome::Created { container: "new".to_owned() });
    assert_eq!(story(&bench), ["stop id of a:1"]);
    assert!(matches!(bench.machine.status().units[1].state, crate::supervisor::status::UnitState::Running));
}

#[test]
fn what_a_crash_left_of_a_replacement_is_brought_to_its_end() {
    let (old, new) = (version(1), version(2));
    let stopped = seen(&old, "a:1", SeenState::Exited { exit: Exit::Code(0), birth: "1".to_owned() });
    let new_name = "rename id of its successor to test-a-1";
    for (found, wanted, wish) in [
        (vec![running(&old), beside(&new)], "stop id of a:1", &new),
        (vec![beside(&new), running(&old)], "stop id of a:1", &new),
        (vec![stopped.clone(), beside(&new)], "remove id of a:1", &new),
        (vec![beside(&new)], new_name, &new),
        // The file has changed once more, or back.
        (vec![running(&old), beside(&version(3))], "discard id of its successor", &new),
        (vec![running(&old), beside(&new)], "discard id of its successor", &old),
        (vec![beside(&version(3))], new_name, &new),
    ] {
        let mut bench = Bench::new();
        bench.up(wish, |_| ());
        bench.look(&found);
        assert_eq!(story(&bench), [wanted]);
    }
}

#[test]
fn a_container_that_is_known_and_has_not_got_its_name_yet_gets_it() {
    let new = version(2);
    let mut bench = Bench::new();
    bench.up(&new, |_| ());
    bench.look(&[SeenContainer { state: SeenState::Created, ..running(&new) }]);
    // Its supervisor had written down whose container it is, and was killed before the renaming.
    let mut bench = Bench { machine: Supervisor::recover(bench.machine.snapshot(), Processes::Gone, 1).unwrap(), ..Bench::new() };
    bench.up(&new, |_| ());
    bench.look(&[SeenContainer { id: "id of a:1".to_owned(), ..beside(&new) }]);
    assert_eq!(story(&bench), ["rename id of a:1 to test-a-1"]);
}

#[test]
fn what_compose_made_is_adopted_where_it_is_as_it_would_be_made_here() {
    let wanted = version(1);
    let foreign = SeenContainer { by_us: false, ..running(&wanted) };
    let mut bench = Bench::new();
    bench.up(&wanted, |_| ());
    bench.look(std::slice::from_ref(&foreign));
    let (ticket, action) = bench.take_act(|_| true);
    assert!(matches!(action, Action::Succeed { adopts: true, .. }), "{action:?}");
    bench.answer(ticket, Outcome::Done);
    bench.look(std::slice::from_ref(&foreign));
    assert_eq!(story(&bench), Vec::<String>::new());
    assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
    // The next supervisor knows it too, and a change is one as always.
    let mut bench = Bench { machine: Supervisor::recover(bench.machine.snapshot(), Processes::Gone, 1).unwrap(), ..Bench::new() };
    bench.up(&wanted, |_| ());
    bench.look(std::slice::from_ref(&foreign));
    assert_eq!(story(&bench), Vec::<String>::new());
    bench.up(&version(2), |_| ());
    bench.look(std::slice::from_ref(&foreign));
    let (_, action) = bench.take_act(|_| true);
    assert!(matches!(action, Action::Succeed { adopts: false, .. }), "{action:?}");
}

#[test]
fn nothing_is_adopted_that_is_to_be_made_anew_in_any_case() {
    let wanted = version(1);
    let changes: [fn(&mut Up); 2] = [|up| up.recreate = Recreate::Always, |up| up.renew_anon_volumes = true];
    for change in changes {
        let mut bench = Bench::new();
        bench.up(&wanted, change);
        bench.look(&[SeenContainer { by_us: false, ..running(&wanted) }]);
        let (_, action) = bench.take_act(|_| true);
        assert!(matches!(action, Action::Succeed { adopts: false, .. }), "{action:?}");
    }
}

#[test]
fn a_container_that_compose_has_put_in_the_place_of_ours_is_the_units() {
    let wanted = version(1);
    let mut bench = Bench::new();
    bench.up(&wanted, |_| ());
    bench.look(&[running(&wanted)]);
    let mut bench = Bench { machine: Supervisor::recover(bench.machine.snapshot(), Processes::Gone, 1).unwrap(), ..Bench::new() };
    bench.up(&wanted, |_| ());
    bench.look(&[SeenContainer { id: "id of Compose's".to_owned(), by_us: false, ..running(&wanted) }]);
    assert_eq!(story(&bench), ["succeed id of Compose's"]);
}

#[test]
fn a_successor_of_compose_or_of_another_container_takes_nobody_s_place() {
    let (old, new) = (version(1), version(2));
    let foreign = SeenContainer { by_us: false, ..beside(&new) };
    let astray = SeenContainer { replaces: Some("another".to_owned()), name: "another_test-a-1".to_owned(), ..beside(&new) };
    for successor in [foreign, astray] {
        let mut bench = Bench::new();
        bench.up(&new, |_| ());
        bench.look(&[running(&old), successor]);
        assert_eq!(story(&bench), ["discard id of its successor"]);
    }
}

#[test]
fn down_takes_a_successor_along_before_it_takes_the_network() {
    let mut bench = Bench::new();
    bench.up(&version(2), |_| ());
    bench.look(&[running(&version(1)), beside(&version(2))]);
    let (ticket, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.ask(2, Request::Down(Down::default()));
    bench.look(&[running(&version(1)), beside(&version(2))]);
    bench.answer(ticket, Outcome::Done);
    for wanted in ["discard id of its successor", "remove id of a:1"] {
        assert_eq!(story(&bench), [wanted]);
        assert!(!bench.replies().iter().any(|reply| matches!(reply, Reply::Done { .. })), "something is left");
        let (ticket, _) = bench.take_act(|_| true);
        bench.answer(ticket, Outcome::Removed { anonymous: indexmap::IndexMap::new() });
    }
    assert!(matches!(bench.replies()[..], [.., Reply::Done { .. }]), "{:?}", bench.replies());
}

#[test]
fn new_anonymous_volumes_are_had_by_asking_for_them() {
    for renew in [false, true] {
        let mut bench = Bench::new();
        bench.up(&version(2), |up| up.renew_anon_volumes = renew);
        bench.look(&[running(&version(1))]);
        let (_, action) = bench.take_act(|_| true);
        assert!(matches!(action, Action::Succeed { renew_volumes, .. } if renew_volumes == renew), "{action:?}");
    }
}

#[test]
fn what_lives_in_the_namespaces_of_another_is_made_anew_with_it() {
    let stack = |number: u32| {
        let edge = json!({"depends_on": {"a": {"condition": "service_started", "restart": false, "required": true}}});
        let body = json!({"image": "image", "network_mode": "service:a"});
        deployment(json!({
            "a": container(json!({"environment": {"VERSION": number.to_string()}})),
            "b": {"common": edge, "kind": {"container": body}},
        }))
    };
    let (old, new) = (stack(1), stack(2));
    let mut bench = Bench::new();
    bench.up(&new, |_| ());
    bench.look(&["a:1", "b:1"].map(|name| seen(&old, name, SeenState::Running { birth: "1".to_owned() })));
    let mut told = Vec::new();
    for _ in 0..9 {
        let (ticket, action) = bench.take_act(|_| true);
        told.push(format!("{} {}", action.verb(), ticket.resource));
        let outcome = match action {
            Action::Start { .. } => started(),
            Action::Create { .. } | Action::Succeed { .. } => Outcome::Created { container: "new".to_owned() },
            Action::Remove { .. } => Outcome::Removed { anonymous: indexmap::IndexMap::new() },
            _ => Outcome::Done,
        };
        bench.answer(ticket, outcome);
    }
    let of = |name: &str| told.iter().filter(|step| step.ends_with(name)).map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("a:1"), ["create a:1", "stop a:1", "remove a:1", "rename a:1", "start a:1"]);
    assert_eq!(of("b:1"), ["stop b:1", "remove b:1", "create b:1", "start b:1"]);
}

#[test]
fn what_lives_in_the_namespaces_of_a_container_that_is_no_more_is_made_anew_by_the_next_up() {
    for mode in ["network_mode", "pid", "ipc"] {
        let body = json!({"image": "image", mode: "service:a"});
        let deployment = deployment(json!({"a": container(json!({})), "b": {"common": {}, "kind": {"container": body}}}));
        let running = |name: &str| seen(&deployment, name, SeenState::Running { birth: "1".to_owned() });
        for (shares, moves) in [("id of a:1", false), ("id of the one before", true)] {
            let mut bench = Bench::new();
            bench.up(&deployment, |_| ());
            bench.look(&[running("a:1"), SeenContainer { shares: [shares.to_owned()].into(), ..running("b:1") }]);
            assert_eq!(story(&bench), if moves { vec!["stop id of b:1"] } else { vec![] }, "{mode}: {shares}");
        }
    }
}
