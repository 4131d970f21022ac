//! Networks and volumes whose definition has changed, and what is there that nobody expected.

use super::*;
use crate::plan::actual::SeenResource;
use crate::supervisor::notice::{Level, ResourceState};

/// `a`, in a network `front` with this option, with a volume `data` with this driver.
fn stack(option: &str, driver: &str) -> Deployment {
    let container = json!({"image": "image", "networks": {"front": null},
        "volumes": [{"type": "volume", "source": "data", "target": "/data"}]});
    let mut deployment = deployment(json!({"a": {"common": {}, "kind": {"container": container}}}));
    let network = serde_json::from_value(json!({"driver_opts": {"mtu": option}})).unwrap();
    deployment.stack.networks.insert("front".to_owned(), network);
    let volume = serde_json::from_value(json!({"driver": driver})).unwrap();
    deployment.stack.volumes.insert("data".to_owned(), volume);
    deployment
}

/// All of a stack, as the engine shows it.
fn all_of(deployment: &Deployment, id: &str) -> Actual {
    let ours =
        |key: &str, hash| SeenResource { key: Some(key.to_owned()), hash: Some(hash), ours: true, ..SeenResource::default() };
    let network = ours("front", ConfigHash::of_network("test_front", &deployment.stack.networks["front"]));
    let volume = ours("data", ConfigHash::of_volume("test_data", &deployment.stack.volumes["data"]));
    let container = SeenContainer {
        networks: [("test_front".to_owned(), id.to_owned())].into(),
        volumes: ["test_data".to_owned()].into(),
        ..seen(deployment, "a:1", SeenState::Running { birth: "1".to_owned() })
    };
    Actual {
        containers: vec![container],
        networks: [("test_front".to_owned(), SeenResource { id: Some("n1".to_owned()), ..network })].into(),
        volumes: [("test_data".to_owned(), volume)].into(),
        images: [("image".to_owned(), "sha256:1".to_owned())].into(),
        ..Actual::default()
    }
}

fn verbs(bench: &Bench) -> Vec<String> {
    bench.acts().map(|(ticket, action)| format!("{} {}", action.verb(), ticket.resource)).collect()
}

fn warnings(bench: &Bench) -> Vec<String> {
    let warning = |effect: &Effect| match effect {
        Effect::Tell(Notice::Message { level: Level::Warning, text }) => Some(text.clone()),
        _ => None,
    };
    bench.effects.iter().filter_map(warning).collect()
}

fn reasons(bench: &Bench) -> Vec<String> {
    let because = |effect: &Effect| match effect {
        Effect::Tell(Notice::Because { resource, reason, .. }) => Some(format!("{resource}: {reason}")),
        _ => None,
    };
    bench.effects.iter().filter_map(because).collect()
}

/// Answers one action after the other with success; tells which they were.
fn play(bench: &mut Bench, steps: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..steps {
        told.extend(verbs(bench));
        let (ticket, action) = bench.take_act(|_| true);
        let outcome = match action {
            Action::Start { .. } => started(),
            Action::Create { .. } => Outcome::Created { container: "new".to_owned() },
            Action::Remove { .. } => Outcome::Removed { anonymous: indexmap::IndexMap::new() },
            _ => Outcome::Done,
        };
        bench.answer(ticket, outcome);
    }
    told
}

#[test]
fn a_changed_network_is_made_again_with_its_containers_around_it() {
    let (old, new) = (stack("1500", "local"), stack("1400", "local"));
    let mut bench = Bench::new();
    bench.up(&old, |_| ());
    bench.look_at(all_of(&old, "n1"));
    assert_eq!(verbs(&bench), Vec::<String>::new());
    bench.effects.clear();
    bench.up(&new, |_| ());
    bench.look_at(all_of(&old, "n1"));
    assert_eq!(reasons(&bench), Vec::<String>::new(), "the engine is asked first whether that can be");
    bench.look_at(all_of(&old, "n1"));
    let reason = r#"network front: networks.front.driver_opts.mtu: "1500" → "1400""#;
    assert_eq!(reasons(&bench), [reason, "a:1: a network or volume that it uses is another one"]);
    assert_eq!(
        play(&mut bench, 6),
        ["stop a:1", "remove a:1", "remove network front", "create network front", "create a:1", "start a:1"]
    );
}

#[test]
fn what_has_ended_and_is_no_part_of_the_stack_now_does_not_run_again_for_a_changed_network() {
    let (old, new) = (stack("1500", "local"), stack("1400", "local"));
    let with_job = {
        let mut stack = old.clone();
        let job = stack.stack.services["a"].clone();
        stack.stack.services.insert("job".parse().unwrap(), job);
        stack
    };
    let ended = SeenContainer {
        networks: [("test_front".to_owned(), "n1".to_owned())].into(),
        ..seen(&with_job, "job:1", SeenState::Exited { exit: Exit::Code(0), birth: "1".to_owned() })
    };
    let all = |containers: &[SeenContainer]| {
        let mut all = all_of(&old, "n1");
        all.containers.extend(containers.iter().cloned());
        all
    };
    let mut bench = Bench::new();
    bench.up(&with_job, |_| ());
    bench.look_at(all(std::slice::from_ref(&ended)));
    assert_eq!(play(&mut bench, 1), ["start job:1"]);
    bench.look_at(all(std::slice::from_ref(&ended)));
    bench.effects.clear();
    bench.up(&new, |_| ());
    bench.look_at(all(std::slice::from_ref(&ended)));
    bench.look_at(all(std::slice::from_ref(&ended)));
    let done = play(&mut bench, 6);
    assert_eq!(done, ["stop a:1", "remove a:1", "remove network front", "create network front", "create a:1", "start a:1"]);
    assert_eq!(verbs(&bench), Vec::<String>::new());
}

#[test]
fn what_an_earlier_release_made_of_the_same_definition_has_not_changed() {
    let deployment = stack("1500", "local");
    let formerly = || {
        let mut all = all_of(&deployment, "n1");
        let network = ConfigHash::formerly_of_network(&deployment.stack.networks["front"]);
        all.networks.get_mut("test_front").unwrap().hash = Some(network);
        all.volumes.get_mut("test_data").unwrap().hash = Some(ConfigHash::formerly_of_volume(&deployment.stack.volumes["data"]));
        all
    };
    let mut bench = Bench::new();
    bench.up(&deployment, |up| up.yes = true);
    for _ in 0..2 {
        bench.look_at(formerly());
    }
    assert_eq!(verbs(&bench), Vec::<String>::new());
    assert_eq!((warnings(&bench), reasons(&bench)), (Vec::new(), Vec::new()));
    // What has changed since then is made anew all the same.
    bench.effects.clear();
    bench.up(&stack("1400", "local"), |_| ());
    for _ in 0..2 {
        bench.look_at(formerly());
    }
    assert_eq!(verbs(&bench), ["stop a:1"]);
}

#[test]
fn a_changed_volume_keeps_its_data_unless_somebody_agrees_to_the_loss() {
    let (old, new) = (stack("1500", "local"), stack("1500", "other"));
    let mut bench = Bench::new();
    bench.up(&old, |_| ());
    bench.look_at(all_of(&old, "n1"));
    bench.effects.clear();
    bench.up(&new, |_| ());
    bench.look_at(all_of(&old, "n1"));
    let [warning] = &warnings(&bench)[..] else { panic!("{:?}", warnings(&bench)) };
    assert!(warning.contains(r#"volumes.data.driver: "local" → "other""#) && warning.contains("up --yes"), "{warning}");
    assert_eq!(verbs(&bench), Vec::<String>::new());
    bench.effects.clear();
    bench.up(&new, |up| up.yes = true);
    bench.look_at(all_of(&old, "n1"));
    assert_eq!(
        play(&mut bench, 6),
        ["stop a:1", "remove a:1", "remove volume data", "create volume data", "create a:1", "start a:1"]
    );
}

#[test]
fn what_somebody_else_uses_stays_as_it_was() {
    let (old, new) = (stack("1500", "local"), stack("1400", "local"));
    let mut bench = Bench::new();
    bench.up(&new, |_| ());
    let mut actual = all_of(&old, "n1");
    let stranger = SeenContainer { unit: Some(unit("old:1")), id: "stranger".to_owned(), ..actual.containers[0].clone() };
    actual.containers.push(stranger);
    for _ in 0..3 {
        bench.look_at(actual.clone());
        bench.tell(Event::EngineStirred);
    }
    assert_eq!(warnings(&bench), ["the network test_front has changed, and stays as it was: old:1 uses it"]);
    assert_eq!((verbs(&bench), reasons(&bench)), (Vec::<String>::new(), Vec::<String>::new()));
}

#[test]
fn a_network_that_cannot_be_made_anew_stays_and_that_is_told_once() {
    let (old, new) = (stack("1500", "local"), stack("1400", "local"));
    let mut bench = Bench::new();
    bench.up(&old, |_| ());
    bench.look_at(all_of(&old, "n1"));
    bench.up(&new, |_| ());
    bench.look_at(all_of(&old, "n1"));
    let query = |effect: &Effect| match effect {
        Effect::Observe(_, query) => Some(query.renewals.clone()),
        _ => None,
    };
    let asked = bench.effects.iter().rev().find_map(query).unwrap();
    assert_eq!(asked.keys().collect::<Vec<_>>(), ["test_front"]);
    let mut actual = all_of(&old, "n1");
    actual.networks.get_mut("test_front").unwrap().obstacle = Some("it is used by `x`".to_owned());
    for _ in 0..3 {
        bench.look_at(actual.clone());
        bench.tell(Event::EngineStirred);
    }
    let kept: Vec<&str> = (bench.effects.iter())
        .filter_map(|effect| match effect {
            Effect::Tell(Notice::Resource { state: ResourceState::Kept(reason), .. }) => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    let reason = r#"not made anew (networks.front.driver_opts.mtu: "1500" → "1400"): it is used by `x`"#;
    assert_eq!(kept, [reason]);
    assert_eq!((verbs(&bench), reasons(&bench)), (Vec::<String>::new(), Vec::<String>::new()));
}

#[test]
fn a_container_in_a_network_that_is_no_more_is_made_anew() {
    let stack = stack("1500", "local");
    for (id, moved) in [("n1", false), ("", false), ("n0", true)] {
        let mut bench = Bench::new();
        bench.up(&stack, |_| ());
        bench.look_at(all_of(&stack, id));
        assert_eq!(verbs(&bench), if moved { vec!["stop a:1"] } else { vec![] }, "{id}");
    }
}

#[test]
fn a_volume_that_somebody_else_made_is_used_and_left() {
    let stack = stack("1500", "local");
    let mut actual = all_of(&stack, "n1");
    actual.volumes.insert("test_data".to_owned(), SeenResource::default());
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    let asked = bench.effects.iter().any(|it| matches!(it, Effect::Observe(_, query) if query.volumes == ["test_data"]));
    assert!(asked, "whether it is there is asked by its name");
    bench.look_at(actual.clone());
    bench.tell(Event::EngineStirred);
    bench.look_at(actual);
    assert_eq!(verbs(&bench), Vec::<String>::new());
    let [warning] = &warnings(&bench)[..] else { panic!("{:?}", warnings(&bench)) };
    assert!(warning.starts_with("the volume test_data was not made by this environment"), "{warning}");
}

#[test]
fn what_an_earlier_release_or_compose_made_is_not_compared() {
    let stack = stack("1500", "local");
    for hash in [None, Some(ConfigHash::from_label(""))] {
        let mut actual = all_of(&stack, "n1");
        actual.networks.get_mut("test_front").unwrap().hash = hash;
        let mut bench = Bench::new();
        bench.up(&stack, |_| ());
        bench.look_at(actual);
        assert_eq!(verbs(&bench), Vec::<String>::new());
    }
}

#[test]
fn a_network_that_was_to_be_made_anew_goes_with_down() {
    let (old, new) = (stack("1500", "local"), stack("1400", "local"));
    let mut bench = Bench::new();
    bench.up(&old, |_| ());
    bench.look_at(all_of(&old, "n1"));
    bench.up(&new, |_| ());
    bench.look_at(all_of(&old, "n1"));
    bench.look_at(all_of(&old, "n1"));
    let (stop, _) = bench.take_act(|action| matches!(action, Action::Stop { .. }));
    bench.ask(2, Request::Down(Down::default()));
    bench.look_at(all_of(&old, "n1"));
    bench.answer(stop, Outcome::Done);
    assert_eq!(play(&mut bench, 2), ["remove a:1", "remove network front"]);
}

#[test]
fn a_network_that_others_take_away_and_put_back_is_wanted_as_before() {
    let deployment = stack("1500", "local");
    let mut bench = Bench::new();
    bench.up(&deployment, |_| ());
    let all = all_of(&deployment, "n1");
    let mut look = |networks: &BTreeMap<String, SeenResource>| {
        bench.tell(Event::EngineStirred);
        while bench.machine.observing {
            let actual = Actual { networks: networks.clone(), ..all.clone() };
            bench.tell(Event::Observed(bench.machine.asked, Ok(actual)));
        }
        (verbs(&bench), bench.machine.networks["front"].is_ready())
    };
    let nothing = Vec::<String>::new();
    assert_eq!(look(&all.networks), (nothing.clone(), true));
    assert_eq!(look(&BTreeMap::new()), (nothing.clone(), false), "it is not made behind their back");
    assert_eq!(look(&all.networks), (nothing, true));
}

#[test]
fn what_somebody_has_disconnected_is_made_anew_by_the_next_up_and_not_before() {
    let mut stack = stack("1500", "local");
    let attachment = serde_json::from_value(json!({"ipv4_address": "10.1.0.9"})).unwrap();
    let service = stack.stack.services.get_mut("a").unwrap();
    if let crate::model::service::Kind::Container(container) = &mut service.kind {
        container.networks.insert("front".to_owned(), Some(attachment));
    }
    let of = |networks: &[&str], address: Option<&str>| {
        let mut all = all_of(&stack, "n1");
        let given = address.into_iter().map(str::to_owned).collect();
        let container = &mut all.containers[0];
        container.networks = networks.iter().map(|name| ((*name).to_owned(), "n1".to_owned())).collect();
        container.addresses = Some([("test_front".to_owned(), given)].into());
        all
    };
    for (there, reason) in [
        (of(&["test_front", "another"], Some("10.1.0.9")), None),
        (of(&["another"], None), Some("a:1: somebody has disconnected it from the network test_front")),
        (of(&["test_front"], None), Some("a:1: somebody has taken its address 10.1.0.9 in the network test_front from it")),
    ] {
        let mut bench = Bench::new();
        bench.up(&stack, |_| ());
        bench.look_at(of(&["test_front"], Some("10.1.0.9")));
        assert_eq!(verbs(&bench), Vec::<String>::new());
        bench.tell(Event::EngineStirred);
        bench.look_at(there.clone());
        assert_eq!(verbs(&bench), Vec::<String>::new(), "nobody has asked");
        bench.up(&stack, |up| up.recreate = crate::supervisor::request::Recreate::Never);
        bench.look_at(there.clone());
        assert_eq!(verbs(&bench), Vec::<String>::new(), "it is to stay as it is");
        bench.up(&stack, |_| ());
        bench.look_at(there);
        let reason: Vec<String> = reason.into_iter().map(str::to_owned).collect();
        assert_eq!(reasons(&bench), reason);
        let expected: &[&str] = if reason.is_empty() { &[] } else { &["create a:1"] };
        assert_eq!(verbs(&bench), expected);
    }
}

#[test]
fn that_data_may_be_lost_holds_for_the_up_that_says_so_and_no_longer() {
    use crate::supervisor::request::Remove;
    let (old, new) = (stack("1500", "local"), stack("1500", "other"));
    for again in [Request::Up(Box::new(Up::of(new.clone()))), Request::Up(Box::new(Up::of(old.clone())))] {
        let mut bench = Bench::new();
        bench.up(&old, |_| ());
        bench.look_at(all_of(&old, "n1"));
        bench.effects.clear();
        bench.up(&new, |up| up.yes = true);
        bench.look_at(all_of(&old, "n1"));
        assert_eq!(verbs(&bench), ["stop a:1"], "the container makes room");
        bench.ask(1, Request::CallOff);
        let (stop, _) = bench.take_act(|_| true);
        bench.answer(stop, Outcome::Done);
        bench.tell(Event::EngineStirred);
        let mut there = all_of(&old, "n1");
        there.containers[0].state = SeenState::Exited { exit: Exit::Code(0), birth: "1".to_owned() };
        let look = |bench: &mut Bench| {
            while bench.machine.observing {
                bench.look_at(there.clone());
            }
        };
        look(&mut bench);
        bench.ask(2, again);
        look(&mut bench);
        bench.ask(3, Request::Remove(Remove { services: vec!["a".parse().unwrap()], ..Remove::default() }));
        look(&mut bench);
        let lost = bench.acts().any(|(ticket, action)| {
            action.verb() == "remove" && ticket.resource == crate::plan::action::ResourceId::Volume("data".to_owned())
        });
        assert!(!lost, "{:?}", verbs(&bench));
    }
}
