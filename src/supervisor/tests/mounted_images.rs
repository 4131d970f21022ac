//! Images whose files containers mount: they are there before the container is made, and another one makes it anew.

use super::*;
use crate::plan::action::Fault;

/// `a`, which mounts this image, with what else is said of it.
fn mounting(source: &str, more: Value) -> Value {
    let mut container = json!({"image": "image", "volumes": [{"type": "image", "source": source, "target": "/data"}]});
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"common": {}, "kind": {"container": container}})
}

fn alone(more: Value) -> Deployment {
    deployment(json!({"a": mounting("data:1", more)}))
}

/// The images that are there, by name and id.
fn there(images: &[(&str, &str)]) -> Actual {
    let images = images.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect();
    Actual { images, ..Actual::default() }
}

/// The same with the container of `a`, which runs and mounts this image.
fn running(deployment: &Deployment, mounted: &str, images: &[(&str, &str)]) -> Actual {
    let mounted = [("/data".to_owned(), mounted.to_owned())].into();
    let state = SeenState::Running { birth: "1".to_owned() };
    let container = SeenContainer { mounted, ..seen(deployment, "a:1", state) };
    Actual { containers: vec![container], ..there(images) }
}

fn story(bench: &Bench) -> Vec<String> {
    bench.acts().map(|(ticket, action)| format!("{} {}", action.verb(), ticket.resource)).collect()
}

fn reasons(bench: &Bench) -> Vec<String> {
    let reason = |effect: &Effect| match effect {
        Effect::Tell(Notice::Because { reason, .. }) => Some(reason.clone()),
        _ => None,
    };
    bench.effects.iter().filter_map(reason).collect()
}

const OWN: (&str, &str) = ("image", "sha256:1");

#[test]
fn an_image_that_is_mounted_is_pulled_before_the_container_is_made() {
    let mut bench = Bench::new();
    bench.up(&alone(json!({})), |_| ());
    bench.look_at(there(&[OWN]));
    assert_eq!(story(&bench), ["pull image data:1"]);
    let (ticket, _) = bench.take_act(|_| true);
    bench.answer(ticket, Outcome::Image { id: "sha256:2".to_owned() });
    assert_eq!(story(&bench), ["create a:1"]);
}

#[test]
fn one_that_cannot_be_had_keeps_the_container_from_being_made_and_is_what_is_said() {
    let mut bench = Bench::new();
    bench.up(&alone(json!({})), |_| ());
    bench.look_at(there(&[OWN]));
    let (ticket, _) = bench.take_act(|_| true);
    bench.tell(Event::Acted(ticket, Err(Fault::permanent("no such thing"))));
    assert_eq!(story(&bench), [""; 0]);
    let expected = ["a: pull of data:1: no such thing".to_owned()];
    assert!(matches!(&bench.replies()[..], [Reply::Failed { reasons }] if *reasons == expected), "{:?}", bench.replies());
}

#[test]
fn the_policy_of_a_service_is_that_of_what_it_mounts() {
    let both = [OWN, ("data:1", "sha256:2")];
    for (policy, images, expected) in [
        ("never", &both[..1], &[][..]),
        ("never", &both[..], &["create a:1"]),
        ("missing", &both[..], &["create a:1"]),
        ("always", &both[..], &["pull image data:1", "pull image of a"]),
    ] {
        let mut bench = Bench::new();
        bench.up(&alone(json!({"pull_policy": policy})), |_| ());
        bench.look_at(there(images));
        let mut story = story(&bench);
        story.sort();
        assert_eq!(story, expected, "{policy} {images:?}");
    }
    let mut bench = Bench::new();
    bench.up(&alone(json!({"pull_policy": "never"})), |_| ());
    bench.look_at(there(&[OWN]));
    let states = format!("{:?}", bench.machine.status());
    assert!(states.contains("the image `data:1` is not present, and its `pull_policy` keeps it from being pulled"), "{states}");
}

#[test]
fn another_image_of_the_name_makes_the_container_anew_and_the_same_does_not() {
    let stack = alone(json!({}));
    let images = [OWN, ("data:1", "sha256:2")];
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    bench.look_at(running(&stack, "sha256:2", &images));
    assert_eq!((story(&bench), reasons(&bench)), (vec![], vec![]));
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    bench.look_at(running(&stack, "sha256:old", &images));
    assert_eq!(story(&bench), ["create a:1"]);
    assert_eq!(reasons(&bench), ["the image that it mounts at /data is another one"]);
    // What is said of it elsewhere changes nothing: an `up` has to ask.
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    bench.look_at(running(&stack, "sha256:2", &images));
    bench.tell(Event::EngineStirred);
    bench.look_at(running(&stack, "sha256:2", &[OWN, ("data:1", "sha256:3")]));
    assert_eq!(story(&bench), [""; 0]);
}

#[test]
fn a_pull_that_brings_another_image_makes_the_container_anew() {
    let stack = alone(json!({"pull_policy": "always"}));
    let images = [OWN, ("data:1", "sha256:2")];
    for (id, expected) in [("sha256:2", &[][..]), ("sha256:3", &["create a:1"])] {
        let mut bench = Bench::new();
        bench.up(&stack, |_| ());
        bench.look_at(running(&stack, "sha256:2", &images));
        for (resource, id) in [("image of a", "sha256:1"), ("image data:1", id)] {
            let (ticket, _) = bench.take_act(|_| true);
            assert_eq!(ticket.resource.to_string(), resource);
            bench.answer(ticket, Outcome::Image { id: id.to_owned() });
        }
        assert_eq!(story(&bench), expected, "{id}");
    }
}

#[test]
fn what_another_service_builds_is_built_before_it_is_mounted_and_a_new_one_is_followed() {
    let maker = json!({"common": {}, "kind": {"container": {"build": {"context": "/"}}}});
    let stack = deployment(json!({"a": mounting("maker", json!({})), "maker": maker}));
    let mut bench = Bench::new();
    bench.up(&stack, |up| up.services = vec!["a".parse().unwrap()]);
    bench.look_at(there(&[OWN]));
    assert_eq!(story(&bench), ["build image of maker"]);
    let (ticket, _) = bench.take_act(|_| true);
    bench.answer(ticket, Outcome::Image { id: "sha256:2".to_owned() });
    assert_eq!(story(&bench), ["create a:1"]);
    let mut bench = Bench::new();
    bench.up(&stack, |up| (up.services, up.build) = (vec!["a".parse().unwrap()], true));
    bench.look_at(running(&stack, "sha256:2", &[OWN, ("test-maker", "sha256:2")]));
    assert_eq!(story(&bench), ["build image of maker"]);
    let (ticket, _) = bench.take_act(|_| true);
    bench.answer(ticket, Outcome::Image { id: "sha256:3".to_owned() });
    assert_eq!(
        (story(&bench), reasons(&bench)),
        (vec!["create a:1".to_owned()], vec!["the image that it mounts at /data is another one".to_owned()])
    );
}

#[test]
fn a_pull_for_what_nobody_wants_any_more_is_called_off() {
    let mut bench = Bench::new();
    bench.up(&alone(json!({})), |_| ());
    bench.look_at(there(&[OWN]));
    bench.ask(2, Request::Down(crate::supervisor::request::Down::default()));
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::CallOff(_))), "{:?}", bench.effects);
}

#[test]
fn what_a_service_of_no_replicas_would_mount_is_got_as_well() {
    let built = json!({"common": {}, "kind": {"container": {"image": "data:1", "build": {"context": "/"}}}});
    for (services, named, expected) in [
        (json!({"a": mounting("data:1", json!({}))}), vec![], "pull image data:1"),
        (json!({"a": mounting("data:1", json!({})), "maker": built}), vec!["a"], "pull image of maker"),
    ] {
        let mut bench = Bench::new();
        bench.up(&deployment(services), |up| {
            up.services = named.iter().map(|name| name.parse().unwrap()).collect();
            up.scale.insert("a".parse().unwrap(), 0);
        });
        bench.look_at(there(&[OWN]));
        assert_eq!(story(&bench), [expected]);
        let (ticket, _) = bench.take_act(|_| true);
        bench.answer(ticket, Outcome::Image { id: "sha256:2".to_owned() });
        assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
    }
}

#[test]
fn a_container_of_an_earlier_release_that_does_not_say_what_it_mounts_is_left_alone() {
    let stack = alone(json!({}));
    let images = [OWN, ("data:1", "sha256:2")];
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    let mut actual = running(&stack, "sha256:2", &images);
    actual.containers[0].mounted.clear();
    bench.look_at(actual);
    assert_eq!(story(&bench), [""; 0]);
}

#[test]
fn whoever_is_not_asked_for_waits_for_no_image_that_only_its_newer_definition_mounts() {
    let other = json!({"common": {}, "kind": {"container": {"image": "image"}}});
    let before = deployment(json!({"a": other, "b": other}));
    let after = deployment(json!({"a": mounting("data:1", json!({})), "b": other}));
    let mut bench = Bench::new();
    bench.up(&before, |up| up.services = vec!["a".parse().unwrap()]);
    bench.look_at(there(&[OWN]));
    // Not made yet when another one is asked for, of files that are others by now.
    bench.effects.clear();
    bench.up(&after, |up| up.services = vec!["b".parse().unwrap()]);
    bench.look_at(there(&[OWN]));
    let spec = &bench.machine.units[&unit("a:1")].spec;
    let container = spec.service().container().unwrap();
    let gate = bench.machine.material_gate(&spec.unit.service, container, &spec.deployment);
    assert_eq!(gate, crate::supervisor::gate::Gate::Open);
}
