//! How images are come by: pulled, built, or the one and failing that the other.

use std::time::Duration;

use super::*;
use crate::plan::action::{Fault, FaultKind};
use crate::plan::provision::Building;
use crate::supervisor::notice::Level;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A service that can be pulled and built.
fn both(policy: Value) -> Deployment {
    let container = json!({"image": "image", "build": {"context": "/"}, "pull_policy": policy});
    deployment(json!({"a": {"common": {}, "kind": {"container": container}}}))
}

/// What is there of `image`: how long ago it was tagged.
fn there(age: Option<Duration>) -> Actual {
    let images = age.iter().map(|_| ("image".to_owned(), "sha256:1".to_owned())).collect();
    let tagged = age.iter().map(|age| ("image".to_owned(), *age)).collect();
    Actual { images, tagged, ..Actual::default() }
}

impl Bench {
    fn first_verb(&self) -> Option<&'static str> {
        self.acts().next().map(|(_, action)| action.verb())
    }

    fn infos(&self) -> Vec<String> {
        let info = |effect: &Effect| match effect {
            Effect::Tell(Notice::Message { level: Level::Info, text }) => Some(text.clone()),
            _ => None,
        };
        self.effects.iter().filter_map(info).collect()
    }
}

#[test]
fn what_can_be_pulled_and_built_is_pulled_when_it_is_absent_or_due() {
    for (policy, age, first) in [
        (json!(null), None, "pull"),
        (json!(null), Some(HOUR), "create"),
        (json!("always"), Some(HOUR), "pull"),
        (json!("daily"), Some(HOUR), "create"),
        (json!("daily"), Some(HOUR * 25), "pull"),
        (json!("every_30m"), Some(HOUR), "pull"),
        (json!("never"), None, "build"),
        (json!("never"), Some(HOUR), "create"),
        (json!("build"), Some(HOUR), "build"),
    ] {
        let mut bench = Bench::new();
        bench.up(&both(policy.clone()), |_| ());
        bench.look_at(there(age));
        assert_eq!(bench.first_verb(), Some(first), "{policy} {age:?}");
    }
}

#[test]
fn a_pull_that_fails_is_followed_by_a_build_and_said_in_one_line() {
    for fault in [Fault::permanent("no such thing"), Fault::temporary("no way to it")] {
        let mut bench = Bench::new();
        bench.up(&both(json!(null)), |_| ());
        bench.look_at(there(None));
        let (ticket, action) = bench.take_act(|_| true);
        assert!(matches!(action, Action::Pull { once: true, .. }));
        bench.tell(Event::Acted(ticket, Err(fault.clone())));
        assert_eq!(bench.infos(), [format!("image cannot be pulled, so it is built: {fault}")]);
        let (ticket, action) = bench.take_act(|_| true);
        assert!(matches!(action, Action::Build { .. }), "{action:?}");
        bench.answer(ticket, Outcome::Image { id: "sha256:1".to_owned() });
        assert_eq!(bench.first_verb(), Some("create"));
    }
}

#[test]
fn an_image_that_is_due_and_cannot_be_pulled_is_used_as_it_is() {
    let mut bench = Bench::new();
    bench.up(&both(json!("daily")), |_| ());
    bench.look_at(there(Some(HOUR * 25)));
    let (ticket, _) = bench.take_act(|_| true);
    bench.tell(Event::Acted(ticket, Err(Fault::temporary("no way to it"))));
    assert_eq!(bench.infos(), ["image cannot be pulled, so the one that is here is used: no way to it"]);
    assert_eq!(bench.first_verb(), Some("create"));
}

#[test]
fn an_engine_that_goes_away_during_a_pull_is_no_reason_to_build() {
    let mut bench = Bench::new();
    bench.up(&both(json!(null)), |_| ());
    bench.look_at(there(None));
    let (ticket, _) = bench.take_act(|_| true);
    bench.tell(Event::Acted(ticket, Err(Fault { kind: FaultKind::EngineAway, message: "gone".to_owned() })));
    assert_eq!((bench.first_verb(), bench.infos()), (None, Vec::<String>::new()));
}

/// `maker` builds `app`, and `user` only names it, as this.
fn named_and_built(name: &str, user: Value, maker: Value) -> Deployment {
    let service = |more: Value, image: &str| {
        let mut container = json!({"image": image});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"common": {}, "kind": {"container": container}})
    };
    let build = json!({"build": {"context": "/", "tags": ["app:second"]}});
    let mut made = build.as_object().unwrap().clone();
    made.extend(maker.as_object().unwrap().clone());
    deployment(json!({"user": service(user, name), "maker": service(Value::Object(made), "app:1")}))
}

fn there_as(names: &[&str]) -> Actual {
    let images = names.iter().map(|name| ((*name).to_owned(), "sha256:1".to_owned())).collect();
    Actual { images, ..Actual::default() }
}

#[test]
fn what_another_service_builds_is_waited_for_and_not_pulled() {
    for (name, services) in [("app:1", vec![]), ("app:second", vec![]), ("app:1", vec!["user"])] {
        let mut bench = Bench::new();
        let stack = named_and_built(name, json!({"pull_policy": "always"}), json!({"pull_policy": "build"}));
        bench.up(&stack, |up| up.services = services.iter().map(|name| name.parse().unwrap()).collect());
        bench.look_at(there_as(&["app:1"]));
        let verbs: Vec<_> = bench.acts().map(|(_, action)| action.verb()).collect();
        assert_eq!(verbs, ["build"], "{name} {services:?}");
        let (ticket, action) = bench.take_act(|_| true);
        assert!(matches!(action, Action::Build { service, .. } if service.as_str() == "maker"));
        bench.answer(ticket, Outcome::Image { id: "sha256:2".to_owned() });
        let units = if services.is_empty() { 2 } else { 1 };
        let created = bench.acts().filter(|(_, action)| action.verb() == "create").count();
        assert_eq!(created, units, "{name} {services:?}");
    }
}

#[test]
fn a_build_that_fails_keeps_those_from_starting_that_only_name_its_image() {
    let mut bench = Bench::new();
    bench.up(&named_and_built("app:1", json!({}), json!({"pull_policy": "build"})), |_| ());
    bench.look_at(there_as(&[]));
    let (ticket, _) = bench.take_act(|_| true);
    bench.tell(Event::Acted(ticket, Err(Fault::permanent("no such step"))));
    assert_eq!(bench.first_verb(), None);
    let told = format!("{:?}", bench.machine.status());
    assert!(told.matches("no such step").count() >= 2, "{told}");
}

#[test]
fn a_second_name_that_is_missing_is_made_by_a_build_and_not_by_a_pull() {
    let mut bench = Bench::new();
    bench.up(&named_and_built("app:second", json!({}), json!({})), |_| ());
    bench.look_at(there_as(&["app:1"]));
    assert_eq!(bench.first_verb(), Some("build"));
    let mut bench = Bench::new();
    bench.up(&named_and_built("app:second", json!({}), json!({})), |_| ());
    bench.look_at(there_as(&["app:1", "app:second"]));
    assert_eq!(bench.first_verb(), Some("create"));
}

#[test]
fn a_build_waits_for_no_task_that_waits_for_its_image() {
    let after = json!({"task": {"condition": "service_completed_successfully"}});
    let build = json!({"image": "app", "build": {"context": "/"}, "pull_policy": "build"});
    let needs_user = json!({"user": {"condition": "service_started"}});
    let stack = deployment(json!({
        "user": {"common": {}, "kind": {"container": {"image": "app"}}},
        "task": {"common": {"depends_on": needs_user}, "kind": {"process": {"command": "run", "task": true}}},
        "maker": {"common": {"depends_on": after}, "kind": {"container": build}},
    }));
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    bench.look_at(there_as(&[]));
    let (ticket, action) = bench.take_act(|action| matches!(action, Action::Build { .. }));
    assert!(matches!(action, Action::Build { service, .. } if service.as_str() == "maker"));
    bench.answer(ticket, Outcome::Image { id: "sha256:1".to_owned() });
    assert_eq!(bench.first_verb(), Some("create"));
}

#[test]
fn one_image_of_several_services_is_built_once_and_not_again_for_more_replicas() {
    let service =
        json!({"common": {}, "kind": {"container": {"image": "app", "build": {"context": "/"}, "pull_policy": "build"}}});
    let stack = deployment(json!({"a": service, "b": service}));
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    bench.look_at(there_as(&["app"]));
    let verbs: Vec<_> = bench.acts().map(|(_, action)| action.verb()).collect();
    assert_eq!(verbs, ["build"]);
    let (ticket, _) = bench.take_act(|_| true);
    bench.answer(ticket, Outcome::Image { id: "sha256:1".to_owned() });
    while let Some(at) = bench.effects.iter().position(|effect| matches!(effect, Effect::Act(..))) {
        let Effect::Act(ticket, action) = bench.effects.remove(at) else { unreachable!() };
        let container = format!("id of {}", ticket.resource);
        bench.answer(ticket, if action.verb() == "create" { Outcome::Created { container } } else { started() });
    }
    let one_more = ["b".parse().unwrap()];
    bench.ask(
        2,
        Request::Up(Box::new(Up {
            services: one_more.to_vec(),
            scale: one_more.into_iter().map(|name| (name, 2)).collect(),
            beside: true,
            ..Up::of(stack.clone())
        })),
    );
    let running = |name| seen(&stack, name, SeenState::Running { birth: "1".to_owned() });
    for _ in 0..2 {
        bench.look_at(Actual { containers: vec![running("a:1"), running("b:1")], ..there_as(&["app"]) });
    }
    let acts: Vec<_> = bench.acts().map(|(ticket, action)| format!("{} {}", action.verb(), ticket.resource)).collect();
    assert_eq!(acts, ["create b:2"]);
}

#[test]
fn what_keeps_an_image_from_coming_is_what_is_said() {
    let container = |container: Value| deployment(json!({"a": {"common": {}, "kind": {"container": container}}}));
    for (stack, expected) in [
        (
            container(json!({"build": {"context": "/"}})),
            "the image `test-a` is not present, and `--no-build` keeps it from being built",
        ),
        (both(json!("never")), "`--no-build` keeps it from being built, and its `pull_policy` from being pulled"),
        (container(json!({"image": "x", "pull_policy": "never"})), "and its `pull_policy` keeps it from being pulled"),
    ] {
        let mut bench = Bench::new();
        bench.up(&stack, |up| up.no_build = true);
        bench.look_at(there_as(&[]));
        let states = format!("{:?}", bench.machine.status());
        assert!(states.contains(expected), "{states}");
    }
}

/// `maker` is pulled or built as `app:1`, and `user` goes by another name of what is built.
fn with_two_names(policy: &str) -> Deployment {
    named_and_built("app:second", json!({}), json!({"pull_policy": policy}))
}

impl Bench {
    /// Goes on as an engine would that has these images, until nothing is done any more; what was done, and how often at most.
    fn live_with(&mut self, stack: &Deployment, images: &mut BTreeMap<String, String>) -> Vec<String> {
        let mut containers: BTreeMap<String, SeenContainer> = BTreeMap::new();
        let mut done = Vec::new();
        for _ in 0..100 {
            if self.machine.observing {
                let containers = containers.values().cloned().collect();
                self.look_at(Actual { containers, images: images.clone(), ..Actual::default() });
                continue;
            }
            let Some((ticket, action)) = self.acts().next().map(|(ticket, action)| (ticket.clone(), action.clone())) else {
                return done;
            };
            self.take_act(|_| true);
            done.push(format!("{} {}", action.verb(), ticket.resource));
            let outcome = match &action {
                Action::Pull { reference, .. } => {
                    images.insert(reference.clone(), "sha256:pulled".to_owned());
                    Outcome::Image { id: "sha256:pulled".to_owned() }
                }
                Action::Build { .. } => {
                    images.extend(["app:1", "app:second"].map(|name| (name.to_owned(), "sha256:built".to_owned())));
                    Outcome::Image { id: "sha256:built".to_owned() }
                }
                Action::Create { spec, .. } | Action::Succeed { spec, .. } => {
                    let name = spec.unit.to_string();
                    let reference = stack.image_of(&spec.unit.service).unwrap();
                    let image = images[&reference].clone();
                    let of_it = SeenContainer { image, ..seen(stack, &name, SeenState::Created) };
                    let container = of_it.id.clone();
                    containers.insert(name, of_it);
                    Outcome::Created { container }
                }
                Action::Start { spec, .. } => {
                    let name = spec.unit.to_string();
                    let birth = format!("birth of {name}");
                    containers.get_mut(&name).unwrap().state = SeenState::Running { birth: birth.clone() };
                    Outcome::Started { pid: None, birth }
                }
                _ => Outcome::Done,
            };
            self.answer(ticket, outcome);
        }
        panic!("it does not end: {done:?}");
    }
}

#[test]
fn a_pull_of_what_has_other_names_leaves_those_what_they_are_and_a_missing_one_is_built() {
    let all = |done: Vec<String>| done.into_iter().filter(|done| !done.starts_with("start")).collect::<Vec<_>>().join(", ");
    for (names, expected) in [
        (&["app:1", "app:second"][..], "pull image of maker, create maker:1, create user:1"),
        (&["app:second"], "build image of maker, create maker:1, create user:1"),
        (&["app:1"], "build image of maker, create maker:1, create user:1"),
    ] {
        let mut images: BTreeMap<String, String> =
            names.iter().map(|name| ((*name).to_owned(), format!("sha256:old {name}"))).collect();
        let stack = with_two_names("always");
        let mut bench = Bench::new();
        bench.up(&stack, |_| ());
        let done = bench.live_with(&stack, &mut images);
        let mut done: Vec<String> = all(done).split(", ").map(str::to_owned).collect();
        done[1..].sort();
        assert_eq!(done.join(", "), expected, "{names:?}");
        assert!(matches!(bench.replies()[..], [Reply::Done { .. }]), "{:?}", bench.replies());
    }
}

#[test]
fn an_image_whose_name_somebody_else_has_given_to_another_is_waited_for_by_no_container() {
    let stack = deployment(json!({"a": {"common": {}, "kind": {"container": {"image": "app:1", "pull_policy": "always"}}}}));
    let mut images = BTreeMap::new();
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    assert_eq!(bench.live_with(&stack, &mut images).len(), 3);
    images.insert("app:1".to_owned(), "sha256:theirs".to_owned());
    let theirs = SeenContainer {
        image: "sha256:theirs".to_owned(),
        ..seen(&stack, "a:1", SeenState::Running { birth: "birth of a:1".to_owned() })
    };
    bench.tell(Event::EngineStirred);
    while bench.machine.observing {
        bench.look_at(Actual { containers: vec![theirs.clone()], images: images.clone(), ..Actual::default() });
    }
    assert_eq!(bench.first_verb(), None);
}

#[test]
fn without_a_build_another_name_of_what_is_built_is_pulled_for_itself() {
    let mut images = [("app:1".to_owned(), "sha256:old".to_owned())].into();
    let stack = with_two_names("missing");
    let mut bench = Bench::new();
    bench.up(&stack, |up| up.no_build = true);
    let done = bench.live_with(&stack, &mut images);
    let pulls = done.iter().filter(|done| done.starts_with("pull") || done.starts_with("build")).count();
    assert_eq!((pulls, images.get("app:second").map(String::as_str)), (1, Some("sha256:pulled")), "{done:?}");
    // With one, it is the builder's again.
    let mut bench = Bench::new();
    bench.up(&stack, |up| up.no_build = true);
    bench.look_at(there_as(&["app:1", "app:second"]));
    bench.up(&stack, |up| up.build = true);
    bench.look_at(there_as(&["app:1", "app:second"]));
    let gets: Vec<_> = bench.acts().map(|(_, action)| action.verb()).filter(|verb| ["pull", "build"].contains(verb)).collect();
    assert_eq!(gets, ["build"]);
}

#[test]
fn two_builds_that_would_wait_for_each_other_by_their_tasks_wait_for_neither() {
    let built = |image: &str, task: &str| {
        let after = json!({task: {"condition": "service_completed_successfully"}});
        let container = json!({"image": image, "build": {"context": "/"}, "pull_policy": "build"});
        json!({"common": {"depends_on": after}, "kind": {"container": container}})
    };
    let of = |image: &str| json!({"common": {}, "kind": {"container": {"image": image}}});
    let stack = deployment(json!({"t1": of("y"), "t2": of("x"), "a": built("x", "t1"), "b": built("y", "t2")}));
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    bench.look_at(there_as(&[]));
    let verbs: Vec<_> = bench.acts().map(|(_, action)| action.verb()).collect();
    assert_eq!(verbs, ["build", "build"]);
    // What waits for nobody in turn is waited for.
    let stack = deployment(json!({"t1": of("y"), "a": built("x", "t1"), "b": built("y", "other"), "other": of("z")}));
    let mut bench = Bench::new();
    bench.up(&stack, |_| ());
    bench.look_at(there_as(&["z"]));
    let verbs: Vec<_> = bench.acts().map(|(_, action)| action.verb()).collect();
    assert_eq!(verbs, ["create"]);
}

#[test]
fn a_service_that_no_longer_names_what_another_builds_has_an_image_of_its_own() {
    let mut bench = Bench::new();
    bench.up(&named_and_built("app:second", json!({}), json!({})), |_| ());
    bench.look_at(there_as(&["app:1", "app:second"]));
    let alone = deployment(json!({"user": container(json!({}))}));
    bench.up(&alone, |_| ());
    assert!(bench.machine.keepers.is_empty());
    // The same where it is not selected itself.
    bench.up(&named_and_built("app:second", json!({}), json!({})), |_| ());
    let mut other = deployment(json!({"other": container(json!({}))}));
    other.stack.services.shift_remove("user");
    bench.up(&other, |_| ());
    assert!(bench.machine.keepers.is_empty());
}

#[test]
fn what_an_up_says_of_images_holds_for_all_that_it_brings_up() {
    let of = |more: Value| {
        let mut container = json!({"image": "image"});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"common": {}, "kind": {"container": container}})
    };
    let mut web = of(json!({"image": "other"}));
    web["common"] = json!({"depends_on": {"db": {"condition": "service_started"}}});
    for (db, pull, building, beside, expected) in [
        (json!({}), Some("always"), Building::AsNeeded, false, "pull image of db, pull image of web"),
        (json!({"pull_policy": "always"}), None, Building::AsNeeded, false, "pull image of db"),
        (json!({"build": {"context": "/"}}), None, Building::Anew, false, "build image of db"),
        (json!({"build": {"context": "/"}, "image": "missing"}), None, Building::Never, false, "pull image of db"),
        // A word beside an `up` is about those whom it names.
        (json!({"pull_policy": "always"}), None, Building::AsNeeded, true, ""),
    ] {
        let mut bench = Bench::new();
        bench.up(&deployment(json!({"db": of(db.clone()), "web": web.clone()})), |up| {
            (up.services, up.pull, up.beside) = (vec!["web".parse().unwrap()], pull.map(str::to_owned), beside);
            (up.build, up.no_build) = (building == Building::Anew, building == Building::Never);
        });
        bench.look_at(there_as(&["image", "other"]));
        let gets = bench.acts().filter(|(_, action)| ["pull", "build"].contains(&action.verb()));
        let gets: Vec<_> = gets.map(|(ticket, action)| format!("{} {}", action.verb(), ticket.resource)).collect();
        assert_eq!(gets.join(", "), expected, "{db} {building:?}");
    }
}

/// Services that pull one image, and one of another.
fn pulling(names: &[&str], policy: &str) -> Deployment {
    let service = |image: &str| json!({"common": {}, "kind": {"container": {"image": image, "pull_policy": policy}}});
    let mut services: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), service("missing"))).collect();
    services.insert("good".to_owned(), service("image"));
    deployment(Value::Object(services))
}

#[test]
fn an_image_that_several_pull_is_pulled_once_and_told_once_with_all_who_miss_it() {
    let mut bench = Bench::new();
    bench.up(&pulling(&["a", "b", "c"], "missing"), |_| ());
    bench.look(&[]);
    assert_eq!(bench.acts().filter(|(_, action)| action.verb() == "pull").count(), 1);
    let (pull, _) = bench.take_act(|action| matches!(action, Action::Pull { .. }));
    let (create, _) = bench.take_act(|action| matches!(action, Action::Create { .. }));
    bench.answer(create, Outcome::Done);
    bench.tell(Event::Acted(pull, Err(Fault::permanent("no such thing"))));
    let (start, _) = bench.take_act(|action| matches!(action, Action::Start { .. }));
    assert_eq!(start.resource.to_string(), "good:1");
    bench.answer(start, Outcome::Started { pid: None, birth: "1".to_owned() });
    let reasons = vec!["a, b, c: pull of missing: no such thing".to_owned()];
    assert_eq!(bench.replies(), [Reply::Failed { reasons }]);
}

#[test]
fn a_pull_that_was_asked_for_and_fails_fails_the_up_whatever_is_there() {
    let stack = pulling(&[], "always");
    for there in [None, Some(SeenState::Running { birth: "1".to_owned() })] {
        let seen: Vec<_> = there.iter().map(|state| seen(&stack, "good:1", state.clone())).collect();
        let mut bench = Bench::new();
        bench.up(&stack, |_| ());
        bench.look(&seen);
        let (pull, _) = bench.take_act(|action| matches!(action, Action::Pull { .. }));
        bench.tell(Event::Acted(pull, Err(Fault::permanent("no such thing"))));
        let does = if there.is_some() { "good:1 runs on as it was" } else { "good" };
        let reasons = vec![format!("{does}: pull of image: no such thing")];
        assert_eq!(bench.replies(), [Reply::Failed { reasons }]);
        assert_eq!(bench.first_verb(), None);
    }
}

/// Two containers, of these images.
fn pair(a: &str, c: &str) -> Deployment {
    let of = |image: &str| json!({"common": {}, "kind": {"container": {"image": image}}});
    deployment(json!({"a": of(a), "c": of(c)}))
}

#[test]
fn whoever_is_not_asked_for_keeps_the_image_that_it_had_in_common_with_another() {
    for (name, pull) in [("db:8", None), ("db:7", Some("always"))] {
        let before = pair("db:7", "db:7");
        let mut images: BTreeMap<String, String> = [("db:7".to_owned(), "sha256:7".to_owned())].into();
        let there = |_: &str| SeenState::Running { birth: "1".to_owned() };
        let mut containers: Vec<SeenContainer> =
            ["a:1", "c:1"].map(|unit| SeenContainer { image: "sha256:7".to_owned(), ..seen(&before, unit, there(unit)) }).into();
        let mut bench = Bench::new();
        bench.up(&before, |_| ());
        bench.look_at(Actual { containers: containers.clone(), images: images.clone(), ..Actual::default() });
        let after = pair(name, name);
        bench.up(&after, |up| (up.services, up.pull) = (vec!["a".parse().unwrap()], pull.map(str::to_owned)));
        bench.look_at(Actual { containers: containers.clone(), images: images.clone(), ..Actual::default() });
        let (ticket, action) = bench.take_act(|_| true);
        assert!(matches!(&action, Action::Pull { .. }), "{action:?}");
        images.insert(name.to_owned(), "sha256:8".to_owned());
        bench.answer(ticket, Outcome::Image { id: "sha256:8".to_owned() });
        let touched = |bench: &Bench| bench.acts().map(|(ticket, _)| ticket.resource.to_string()).collect::<BTreeSet<_>>();
        assert_eq!(touched(&bench), ["a:1".to_owned()].into(), "{name} {pull:?}");
        // Nor is it touched once the other one is made.
        containers[0].image = "sha256:8".to_owned();
        bench.effects.retain(|effect| matches!(effect, Effect::Observe(..)));
        bench.tell(Event::EngineStirred);
        while bench.machine.observing {
            bench.look_at(Actual { containers: containers.clone(), images: images.clone(), ..Actual::default() });
        }
        assert!(!touched(&bench).contains("c:1"), "{name} {pull:?}: {:?}", bench.effects);
    }
}
