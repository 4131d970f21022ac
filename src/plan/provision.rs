//! How the image of a container service is come by: pulled, built, or the one and failing that the other. Compose's
//! `pull_policy` as a table.

use std::time::Duration;

use crate::base::duration;
use crate::model::container::Container;

/// Where an image comes from when it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From nowhere: it has to be there.
    Never,
    /// It is pulled.
    Pull,
    /// It is built.
    Build,
    /// It is pulled, and built if that fails: `image` and `build` are both given.
    PullElseBuild,
}

/// One way to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From its registry.
    Pull,
    /// From its Dockerfile.
    Build,
}

/// Whether an image that is there is got once more by an `up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renew {
    /// It is not.
    No,
    /// In any case.
    Always(Way),
    /// It is pulled, if its name was given to it longer ago than this.
    PullAfter(Duration),
}

/// What the flags of `up` say of building.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Building {
    /// Nothing: what is not there, and can be built, is.
    AsNeeded,
    /// `--build`: also what is there.
    Anew,
    /// `--no-build`: nothing is.
    Never,
}

/// All that `image`, `build`, `pull_policy` and the flags of `up` say of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provision {
    /// Where it comes from when it is not there.
    pub source: Source,
    /// Whether one that is there will do.
    pub renew: Renew,
}

impl Provision {
    /// For a container service. `pull` is what `--pull` says instead of `pull_policy`; `build` has the last word on what can
    /// be built.
    pub fn of(container: &Container, pull: Option<&str>, build: Building) -> Self {
        let (named, buildable) = (container.image.is_some(), container.build.is_some() && build != Building::Never);
        let asked = pull.or(container.pull_policy.as_deref()).unwrap_or("missing");
        let policy = if build == Building::Anew && buildable { "build" } else { asked };
        let source = match (buildable, named, policy) {
            // Without a name it can be had nowhere else.
            (false, false, _) | (false, _, "never" | "build") => Source::Never,
            (false, ..) => Source::Pull,
            (true, true, "never" | "build") | (true, false, _) => Source::Build,
            (true, true, _) => Source::PullElseBuild,
        };
        let renew = match (source, policy) {
            (Source::Build, "build") => Renew::Always(Way::Build),
            (Source::Never | Source::Build, _) => Renew::No,
            (Source::Pull | Source::PullElseBuild, "always") => Renew::Always(Way::Pull),
            (Source::Pull | Source::PullElseBuild, policy) => interval(policy).map_or(Renew::No, Renew::PullAfter),
        };
        Self { source, renew }
    }
}

impl Provision {
    /// For an image that a container mounts. What the service's `pull_policy` and `--pull` say of its own image they say of that too;
    /// that cannot be built here, so that `build` is `missing`.
    pub fn of_mounted(container: &Container, pull: Option<&str>) -> Self {
        let policy = pull.or(container.pull_policy.as_deref()).unwrap_or("missing");
        let source = if policy == "never" { Source::Never } else { Source::Pull };
        let renew = match policy {
            "always" => Renew::Always(Way::Pull),
            policy => interval(policy).map_or(Renew::No, Renew::PullAfter),
        };
        Self { source, renew }
    }
}

/// How often a policy wants an image pulled.
fn interval(policy: &str) -> Option<Duration> {
    match policy {
        "daily" => duration::parse("1d"),
        "weekly" => duration::parse("1w"),
        policy => policy.strip_prefix("every_").and_then(duration::parse),
    }
}

/// The way to take to an image that is not there; none when there is no way. `unpullable` says that a pull has failed already.
pub fn way(source: Source, unpullable: bool) -> Option<Way> {
    match (source, unpullable) {
        (Source::Never, _) => None,
        (Source::Pull, _) | (Source::PullElseBuild, false) => Some(Way::Pull),
        (Source::Build, _) | (Source::PullElseBuild, true) => Some(Way::Build),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::build::Build;

    #[test]
    fn an_image_with_both_is_pulled_first_unless_the_policy_says_otherwise() {
        use Renew::{Always, No, PullAfter};
        use Source::{Build as Built, Never, Pull, PullElseBuild};
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        // (policy, with `image` alone, with `build` alone, with both)
        let rows = [
            ("", (Pull, No), (Built, No), (PullElseBuild, No)),
            ("missing", (Pull, No), (Built, No), (PullElseBuild, No)),
            ("refresh", (Pull, No), (Built, No), (PullElseBuild, No)),
            ("always", (Pull, Always(Way::Pull)), (Built, No), (PullElseBuild, Always(Way::Pull))),
            ("never", (Never, No), (Built, No), (Built, No)),
            ("build", (Never, No), (Built, Always(Way::Build)), (Built, Always(Way::Build))),
            ("daily", (Pull, PullAfter(DAY)), (Built, No), (PullElseBuild, PullAfter(DAY))),
            ("weekly", (Pull, PullAfter(DAY * 7)), (Built, No), (PullElseBuild, PullAfter(DAY * 7))),
            ("every_1d12h", (Pull, PullAfter(DAY * 3 / 2)), (Built, No), (PullElseBuild, PullAfter(DAY * 3 / 2))),
        ];
        for (policy, image, build, both) in rows {
            for ((named, buildable), (source, renew)) in
                [(true, false), (false, true), (true, true)].into_iter().zip([image, build, both])
            {
                let container = Container {
                    image: named.then(|| "image".to_owned()),
                    build: buildable.then(Build::default),
                    pull_policy: (!policy.is_empty()).then(|| policy.to_owned()),
                    ..Container::default()
                };
                let found = Provision::of(&container, None, Building::AsNeeded);
                assert_eq!(found, Provision { source, renew }, "{policy} image {named} build {buildable}");
            }
        }
    }

    #[test]
    fn flags_stand_over_the_policy_and_build_over_pull() {
        let with = |build: bool| Container {
            image: Some("image".to_owned()),
            build: build.then(Build::default),
            pull_policy: Some("never".to_owned()),
            ..Container::default()
        };
        let of = |build, pull, flag| Provision::of(&with(build), pull, flag);
        let [needed, anew, never] = [Building::AsNeeded, Building::Anew, Building::Never];
        assert_eq!(of(false, Some("missing"), needed), Provision { source: Source::Pull, renew: Renew::No });
        assert_eq!(of(true, Some("always"), anew), Provision { source: Source::Build, renew: Renew::Always(Way::Build) });
        assert_eq!(of(false, None, anew), Provision { source: Source::Never, renew: Renew::No });
        assert_eq!(of(true, Some("missing"), never), Provision { source: Source::Pull, renew: Renew::No });
        let unnamed = Container { image: None, ..with(true) };
        assert_eq!(Provision::of(&unnamed, None, never), Provision { source: Source::Never, renew: Renew::No });
    }

    #[test]
    fn an_image_that_is_mounted_is_pulled_as_the_policy_says() {
        for (policy, flag, source, renew) in [
            (None, None, Source::Pull, Renew::No),
            (Some("build"), None, Source::Pull, Renew::No),
            (Some("never"), None, Source::Never, Renew::No),
            (Some("never"), Some("always"), Source::Pull, Renew::Always(Way::Pull)),
            (Some("daily"), None, Source::Pull, Renew::PullAfter(Duration::from_secs(24 * 60 * 60))),
        ] {
            let container = Container { pull_policy: policy.map(str::to_owned), ..Container::default() };
            assert_eq!(Provision::of_mounted(&container, flag), Provision { source, renew }, "{policy:?} {flag:?}");
        }
    }

    #[test]
    fn what_cannot_be_pulled_is_built_where_it_can_be() {
        for (source, first, then) in [
            (Source::Never, None, None),
            (Source::Pull, Some(Way::Pull), Some(Way::Pull)),
            (Source::Build, Some(Way::Build), Some(Way::Build)),
            (Source::PullElseBuild, Some(Way::Pull), Some(Way::Build)),
        ] {
            assert_eq!((way(source, false), way(source, true)), (first, then), "{source:?}");
        }
    }
}
