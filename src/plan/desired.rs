//! What `up` sent: the stack for one environment, and what each unit of it needs to be made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::hash::ConfigHash;
use super::provision::{Building, Provision};
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::model::container::Container;
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

    /// Whether any of its services, those too that no profile turns on, needs a container engine.
    pub fn has_containers(&self) -> bool {
        self.stack.services.values().chain(self.stack.disabled.values()).any(Service::needs_engine)
    }

    /// The engine's names of all volumes that the stack names.
    pub fn volume_names(&self) -> Vec<String> {
        self.stack.volumes.keys().map(|key| self.volume_name(key)).collect()
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

    /// The images whose files the containers of a service mount: the path inside → the reference. As under Compose, the name of a
    /// service that is built, and has no other name for its image, stands for that image.
    pub fn mounted_images(&self, service: &ServiceName) -> BTreeMap<String, String> {
        let container = self.service(service).and_then(Service::container);
        let mounts = container.into_iter().flat_map(Container::image_mounts);
        mounts.map(|(path, source)| (path.clone(), self.mounted_image(source))).collect()
    }

    /// The reference of an image that is mounted, by what a file calls it.
    pub fn mounted_image(&self, source: &str) -> String {
        let is_built_without_a_name = |name: &ServiceName| {
            let container = self.service(name).and_then(Service::container);
            container.is_some_and(|container| container.build.is_some() && container.image.is_none())
        };
        let service = source.parse().ok().filter(is_built_without_a_name);
        service.and_then(|service| self.image_of(&service)).unwrap_or_else(|| source.to_owned())
    }

    /// The service by which an image comes about that is only named: the first that builds one of this name, else the first that is of
    /// it. Without builds, further names of what could be built are names of their own.
    pub fn supplier_of(&self, reference: &str, building: Building) -> Option<&ServiceName> {
        let is_of_it = |name: &ServiceName| self.image_of(name).is_some_and(|image| is_same_image(&image, reference));
        let builds_it = |name: &ServiceName, definition: &Service| {
            let Some(build) = definition.container().and_then(|container| container.build.as_ref()) else { return false };
            is_of_it(name) || (building != Building::Never && build.tags.iter().any(|tag| is_same_image(tag, reference)))
        };
        let builder = self.stack.services.iter().find(|(name, definition)| builds_it(name, definition));
        builder.map(|(name, _)| name).or_else(|| self.stack.services.keys().find(|name| is_of_it(name)))
    }

    /// The service whose image a service's own is: the one by whose build it comes about, else the first that pulls it alike, else
    /// itself. Without builds, further names of what could be built are names of their own.
    pub fn keeper_of<'a>(&'a self, service: &'a ServiceName, building: Building) -> &'a ServiceName {
        let makes_it = |builder: &&ServiceName| building != Building::Never || self.is_same_image(builder, service);
        self.builder_of(service).filter(makes_it).or_else(|| self.puller_of(service)).unwrap_or(service)
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

    /// The first of the services that pull the same image for the same platform by the same policy, so that it is pulled once. None
    /// of what can be built.
    pub fn puller_of(&self, service: &ServiceName) -> Option<&ServiceName> {
        fn pulled(definition: &Service) -> Option<(&String, Option<&String>, Provision)> {
            let container =
                definition.container().filter(|container| container.build.is_none() && container.provider.is_none())?;
            Some((container.image.as_ref()?, container.platform.as_ref(), Provision::of(container, None, Building::AsNeeded)))
        }
        let own = pulled(self.service(service)?)?;
        self.stack.services.iter().find(|(_, definition)| pulled(definition) == Some(own)).map(|(name, _)| name)
    }
}

/// Whether two references name one image: `app` is `app:latest`, and `docker.io/library/app`.
pub fn is_same_image(one: &str, other: &str) -> bool {
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

    /// A deployment of these services.
    fn of(services: Value) -> Deployment {
        let mut stack = serde_json::to_value(Stack::default()).unwrap();
        stack["services"] = services;
        Deployment {
            env: "e".parse().unwrap(),
            stack: serde_json::from_value(stack).unwrap(),
            caller: Caller::default(),
            places: Places::default(),
        }
    }

    #[test]
    fn an_image_comes_about_by_the_build_of_whoever_has_one_for_it() {
        let service = |container: Value| json!({"common": {}, "kind": {"container": container}});
        let deployment = of(json!({
            "named": service(json!({"image": "app"})),
            "maker": service(json!({"image": "app:latest", "build": {"context": "/a", "tags": ["r.example:5000/app:2"]}})),
            "twin": service(json!({"image": "app", "build": {"context": "/a", "tags": ["r.example:5000/app:2"]}})),
            "other": service(json!({"image": "app", "build": {"context": "/b"}})),
            "tagged": service(json!({"image": "r.example:5000/app:2"})),
            "unnamed": service(json!({"build": {"context": "/a"}})),
            "by_project": service(json!({"image": "e-unnamed"})),
            "pulled": service(json!({"image": "r.example:5000/app"})),
            "process": {"common": {}, "kind": {"process": {"command": "run"}}},
        }));
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
    fn what_is_mounted_of_an_image_is_that_of_the_service_that_brings_it() {
        let service = |container: Value| json!({"common": {}, "kind": {"container": container}});
        let mount = |source: &str, target: &str| json!({"type": "image", "source": source, "target": target});
        let deployment = of(json!({
            "web": service(json!({"image": "web", "volumes": [
                mount("assets", "/assets"), mount("named", "/named"), mount("tools:1", "/tools"), mount("other:2", "/other"),
                {"type": "volume", "source": "assets", "target": "/v"},
            ]})),
            "assets": service(json!({"build": {"context": "/a"}})),
            "named": service(json!({"image": "r/named", "build": {"context": "/b", "tags": ["tools:1"]}})),
            "tools": service(json!({"image": "tools:1"})),
        }));
        let mounted = deployment.mounted_images(&"web".parse().unwrap());
        let mounted: Vec<_> = mounted.iter().map(|(path, image)| (path.as_str(), image.as_str())).collect();
        assert_eq!(mounted, [("/assets", "e-assets"), ("/named", "named"), ("/other", "other:2"), ("/tools", "tools:1")]);
        for (reference, building, supplier) in [
            ("e-assets", Building::AsNeeded, Some("assets")),
            ("tools:1", Building::AsNeeded, Some("named")),
            ("tools:1", Building::Never, Some("tools")),
            ("other:2", Building::AsNeeded, None),
        ] {
            assert_eq!(
                deployment.supplier_of(reference, building).map(ServiceName::as_str),
                supplier,
                "{reference} {building:?}"
            );
        }
    }

    #[test]
    fn one_image_is_pulled_once_by_those_who_pull_it_alike() {
        let service = |container: Value| json!({"common": {}, "kind": {"container": container}});
        let services = json!({
            "first": service(json!({"image": "app"})),
            "second": service(json!({"image": "app", "pull_policy": "missing"})),
            "elsewhere": service(json!({"image": "app", "platform": "linux/arm64"})),
            "always": service(json!({"image": "app", "pull_policy": "always"})),
            "built": service(json!({"image": "app", "build": {"context": "/"}})),
        });
        let deployment = of(services);
        for (service, puller) in [
            ("first", Some("first")),
            ("second", Some("first")),
            ("elsewhere", Some("elsewhere")),
            ("always", Some("always")),
            ("built", None),
        ] {
            assert_eq!(deployment.puller_of(&service.parse().unwrap()).map(ServiceName::as_str), puller, "{service}");
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
