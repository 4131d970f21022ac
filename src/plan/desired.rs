//! What `up` sent: the stack for one environment, and what each unit of it needs to be made.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::hash::ConfigHash;
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::model::network::Network;
use crate::model::service::Service;
use crate::model::stack::Stack;
use crate::model::volume::Volume;

/// The label of what `run` makes, as Compose has it.
pub const ONE_OFF: &str = "com.docker.compose.oneoff";

/// A stack as one environment runs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// The environment.
    pub env: EnvId,
    /// What the files describe.
    pub stack: Stack,
    /// Who asked.
    pub caller: Caller,
    /// Where the environment's things lie.
    pub places: Places,
}

/// The caller of `up`: what processes inherit from it, and what it said that holds until the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Its environment variables.
    pub environment: IndexMap<String, String>,
    /// Limits that cannot be kept on this host are left out (`--ignore-limits`).
    #[serde(default)]
    pub ignores_limits: bool,
}

/// Directories of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// `$XDG_STATE_HOME/baistack/<ENVID>`.
    pub state_dir: PathBuf,
    /// `ENV_DIR`.
    pub env_dir: PathBuf,
    /// `RUN_DIR`.
    pub run_dir: PathBuf,
    /// Our own program, for `BAISTACK`.
    pub program: PathBuf,
}

/// What an engine needs to make and run one unit.
#[derive(Debug, Clone)]
pub struct UnitSpec {
    /// Which.
    pub unit: UnitId,
    /// The whole it belongs to.
    pub deployment: Arc<Deployment>,
    /// The hash of its definition, kept as a label of its container.
    pub hash: ConfigHash,
}

impl UnitSpec {
    /// The unit's service.
    pub fn service(&self) -> &Service {
        self.deployment.service(&self.unit.service).expect("a unit is only made of a service of its own deployment")
    }
}

impl Deployment {
    /// A service, also one whose profile is off.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.stack.services.get(name).or_else(|| self.stack.disabled.get(name))
    }

    /// Whether a service of this name belongs to the stack: also one whose profile is off, or what `run` makes of a job.
    pub fn knows(&self, name: &ServiceName) -> bool {
        self.service(name).is_some() || self.stack.jobs.contains(name)
    }

    /// The engine's name of a network: its own, else `<ENVID>_<key>`.
    pub fn network_name(&self, key: &str) -> String {
        let own = self.stack.networks.get(key).and_then(|Network { name, .. }| name.clone());
        own.unwrap_or_else(|| format!("{}_{key}", self.env))
    }

    /// The engine's name of a volume: its own, else `<ENVID>_<key>`.
    pub fn volume_name(&self, key: &str) -> String {
        let own = self.stack.volumes.get(key).and_then(|Volume { name, .. }| name.clone());
        own.unwrap_or_else(|| format!("{}_{key}", self.env))
    }

    /// The engine's name of a unit's container: its own, else `<ENVID>-<service>-<replica>`.
    pub fn container_name(&self, unit: &UnitId) -> String {
        let own = self.service(&unit.service).and_then(Service::container).and_then(|c| c.container_name.clone());
        own.unwrap_or_else(|| format!("{}-{}-{}", self.env, unit.service, unit.replica))
    }

    /// The reference of a container service's image: `image`, else `<ENVID>-<service>` for what is built. What a provider looks
    /// after has none.
    pub fn image_of(&self, service: &ServiceName) -> Option<String> {
        let container = self.service(service)?.container().filter(|container| container.provider.is_none())?;
        container.image.clone().or_else(|| container.build.as_ref().map(|_| format!("{}-{service}", self.env)))
    }

    /// Whether two services call their images by one name, however that is spelt.
    pub fn is_same_image(&self, one: &ServiceName, other: &ServiceName) -> bool {
        let (one, other) = (self.image_of(one), self.image_of(other));
        one.zip(other).is_some_and(|(one, other)| is_same_image(&one, &other))
    }

    /// The service by whose build a service's image comes about: of several with the same build and the same name for it the first,
    /// so that it is built once; of one that only names an image, the first that builds one of this name. None of what is pulled.
    pub fn builder_of(&self, service: &ServiceName) -> Option<&ServiceName> {
        let (name, of_files) =
            self.stack.services.get_key_value(service).or_else(|| self.stack.disabled.get_key_value(service))?;
        let (own, image) = (of_files.container()?.build.as_ref(), self.image_of(service)?);
        let makes_it = |other: &ServiceName, definition: &Service| {
            let Some(build) = definition.container().and_then(|container| container.build.as_ref()) else { return false };
            let is_its_name = self.image_of(other).is_some_and(|name| is_same_image(&name, &image));
            match own {
                Some(own) => is_its_name && own == build,
                None => is_its_name || build.tags.iter().any(|tag| is_same_image(tag, &image)),
            }
        };
        let mut makers = self.stack.services.iter().filter(|(other, definition)| makes_it(other, definition));
        makers.next().map(|(maker, _)| maker).or_else(|| own.map(|_| name))
    }
}

/// Whether two references name one image: `app` is `app:latest`, and `docker.io/library/app`.
fn is_same_image(one: &str, other: &str) -> bool {
    fn plain(reference: &str) -> (&str, &str) {
        let reference = reference.strip_prefix("docker.io/").unwrap_or(reference);
        let reference = reference.strip_prefix("library/").unwrap_or(reference);
        let name_at = reference.rfind('/').map_or(0, |slash| slash + 1);
        match reference[name_at..].find(':') {
            Some(colon) if !reference.contains('@') => (&reference[..name_at + colon], &reference[name_at + colon + 1..]),
            Some(_) => (reference, ""),
            None => (reference, "latest"),
        }
    }
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_image_comes_about_by_the_build_of_whoever_has_one_for_it() {
        let service = |container: Value| json!({"common": {}, "kind": {"container": container}});
        let mut stack = serde_json::to_value(Stack::default()).unwrap();
        stack["services"] = json!({
            "named": service(json!({"image": "app"})),
            "maker": service(json!({"image": "app:latest", "build": {"context": "/a", "tags": ["r.example:5000/app:2"]}})),
            "twin": service(json!({"image": "app", "build": {"context": "/a", "tags": ["r.example:5000/app:2"]}})),
            "other": service(json!({"image": "app", "build": {"context": "/b"}})),
            "tagged": service(json!({"image": "r.example:5000/app:2"})),
            "unnamed": service(json!({"build": {"context": "/a"}})),
            "by_project": service(json!({"image": "e-unnamed"})),
            "pulled": service(json!({"image": "r.example:5000/app"})),
            "process": {"common": {}, "kind": {"process": {"command": "run"}}},
        });
        let deployment = Deployment {
            env: "e".parse().unwrap(),
            stack: serde_json::from_value(stack).unwrap(),
            caller: Caller::default(),
            places: Places::default(),
        };
        for (service, expected) in [
            ("named", Some("maker")),
            ("maker", Some("maker")),
            ("twin", Some("maker")),
            ("other", Some("other")),
            ("tagged", Some("maker")),
            ("unnamed", Some("unnamed")),
            ("by_project", Some("unnamed")),
            ("pulled", None),
            ("process", None),
            ("nobody", None),
        ] {
            let found = service.parse().ok().and_then(|service| deployment.builder_of(&service).map(ServiceName::as_str));
            assert_eq!(found, expected, "{service}");
        }
    }

    #[test]
    fn one_image_may_be_written_in_several_ways() {
        for (one, other, expected) in [
            ("app", "app:latest", true),
            ("docker.io/library/app", "app", true),
            ("library/app:1", "app:1", true),
            ("docker.io/me/app:1", "me/app:1", true),
            ("app:1", "app", false),
            ("r.example:5000/app", "app", false),
            ("r.example:5000/app", "r.example:5000/app:latest", true),
            ("app@sha256:00", "app", false),
            ("app@sha256:00", "app@sha256:00", true),
        ] {
            assert_eq!(is_same_image(one, other), expected, "{one} {other}");
        }
    }
}
