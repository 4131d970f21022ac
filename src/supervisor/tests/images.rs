//! How images are come by: pulled, built, or the one and failing that the other.

use std::time::Duration;

use super::*;
use crate::plan::action::{Fault, FaultKind};
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
