//! `build --print`: the builds as a file for Docker Buildx, as Compose prints it. Nothing is built, and no value of a secret is told.

use indexmap::IndexMap;
use serde::Serialize;

use crate::base::name::ServiceName;
use crate::model::build::Build;
use crate::model::container::Container;
use crate::model::secret::FileGrant;
use crate::plan::desired::Deployment;
use crate::world::docker;

/// What `docker buildx bake --file -` reads.
#[derive(Debug, Serialize)]
pub struct Bake {
    group: IndexMap<&'static str, Group>,
    target: IndexMap<String, Recipe>,
}

#[derive(Debug, Serialize)]
struct Group {
    targets: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Recipe {
    context: String,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    contexts: IndexMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dockerfile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dockerfile_inline: Option<String>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    args: IndexMap<String, String>,
    labels: IndexMap<String, String>,
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache_from: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache_to: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secret: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    platforms: Vec<String>,
    #[serde(skip_serializing_if = "is_off")]
    pull: bool,
    #[serde(skip_serializing_if = "is_off")]
    no_cache: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    no_cache_filter: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shm_size: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ulimits: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entitlements: Vec<String>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    extra_hosts: IndexMap<String, String>,
    output: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attest: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands on a reference")]
fn is_off(flag: &bool) -> bool {
    !flag
}

impl Bake {
    /// The builds of these services, which those that they take as contexts are among. `push` sends what has a name of its own to its
    /// registry.
    pub fn of<'a>(services: impl IntoIterator<Item = &'a ServiceName>, deployment: &Deployment, push: bool) -> Self {
        let targets: IndexMap<String, Recipe> = services
            .into_iter()
            .filter_map(|name| {
                let container = deployment.service(name)?.container()?;
                Some((key(name), recipe(name, container, container.build.as_ref()?, deployment, push)))
            })
            .collect();
        let group = IndexMap::from([("default", Group { targets: targets.keys().cloned().collect() })]);
        Self { group, target: targets }
    }
}

/// The name of a target has no dots.
fn key(service: &ServiceName) -> String {
    service.as_str().replace('.', "_")
}

fn recipe(name: &ServiceName, container: &Container, build: &Build, deployment: &Deployment, push: bool) -> Recipe {
    let platforms =
        if build.platforms.is_empty() { container.platform.iter().cloned().collect() } else { build.platforms.clone() };
    let push = push && container.image.is_some();
    let output = match (platforms.len(), push) {
        (2.., push) => format!("type=image,push={push}"),
        (_, true) => "type=registry".to_owned(),
        (_, false) => "type=docker".to_owned(),
    };
    let dockerfile = build.dockerfile_inline.is_none().then(|| {
        let file = build.dockerfile.as_deref().unwrap_or("Dockerfile");
        if docker::is_remote(&build.context) {
            file.to_owned()
        } else {
            std::path::Path::new(&build.context).join(file).display().to_string()
        }
    });
    let mut entitlements = build.entitlements.clone();
    if build.privileged && !entitlements.iter().any(|said| said == "security.insecure") {
        entitlements.push("security.insecure".to_owned());
    }
    let attest = [("provenance", &build.provenance), ("sbom", &build.sbom)].into_iter().filter_map(|(kind, said)| {
        let said = said.as_deref().filter(|said| !said.is_empty())?;
        Some(match said.to_ascii_lowercase().as_str() {
            "true" | "1" | "t" => format!("type={kind}"),
            "false" | "0" | "f" => format!("type={kind},disabled=true"),
            _ => format!("type={kind},{said}"),
        })
    });
    Recipe {
        context: build.context.clone(),
        contexts: build.additional_contexts.iter().map(|(name, place)| (name.clone(), context(place))).collect(),
        dockerfile,
        dockerfile_inline: build.dockerfile_inline.clone(),
        args: build.args.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect(),
        labels: docker::labels_of_build(name, build, deployment).into_iter().collect(),
        tags: build.tags.iter().cloned().chain(deployment.image_of(name)).collect(),
        cache_from: build.cache_from.clone(),
        cache_to: build.cache_to.clone(),
        target: build.target.clone(),
        secret: build.secrets.iter().filter_map(|grant| secret(grant, deployment)).collect(),
        ssh: build.ssh.iter().map(|entry| if entry.contains('=') { entry.clone() } else { format!("{entry}=") }).collect(),
        platforms,
        pull: build.pull,
        no_cache: build.no_cache,
        no_cache_filter: build.no_cache_filter.clone(),
        network: build.network.clone(),
        shm_size: build.shm_size.map(|size| size.to_string()),
        ulimits: build.ulimits.iter().map(|(name, limit)| format!("{name}={}:{}", limit.soft, limit.hard)).collect(),
        entitlements,
        extra_hosts: build
            .extra_hosts
            .iter()
            .filter_map(|host| host.split_once('='))
            .map(|(host, address)| (host.to_owned(), address.to_owned()))
            .collect(),
        output: vec![output],
        attest: attest.collect(),
    }
}

fn context(place: &str) -> String {
    let of_service = place.strip_prefix("service:").and_then(|name| name.parse().ok());
    of_service.map_or_else(|| place.to_owned(), |name: ServiceName| format!("target:{}", key(&name)))
}

/// Where a secret is found by whoever builds: its value stays where it is.
fn secret(grant: &FileGrant, deployment: &Deployment) -> Option<String> {
    let id = grant.target.as_ref().unwrap_or(&grant.source);
    let secret = deployment.stack.secrets.get(&grant.source)?;
    match (&secret.environment, &secret.file) {
        (Some(variable), _) => Some(format!("id={id},type=env,env={variable}")),
        (None, Some(file)) => Some(format!("id={id},type=file,src={}", file.display())),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn builds_are_printed_as_compose_prints_them() {
        let service = |container: Value| json!({"common": {}, "kind": {"container": container}});
        let mut stack = serde_json::to_value(crate::model::stack::Stack::default()).unwrap();
        stack["services"] = json!({
            "web": service(json!({"image": "webimg", "build": {
                "context": "/c", "args": {"A": "1", "B": null}, "target": "t", "tags": ["x:1"], "labels": {"l": "v"},
                "ssh": ["default", "k=/a"], "secrets": [{"source": "f"}, {"source": "v", "target": "id"}], "extra_hosts": ["h=1.2.3.4"],
                "shm_size": "67108864", "ulimits": {"nofile": {"soft": 1, "hard": 2}}, "privileged": true,
                "additional_contexts": {"b": "service:my.base", "c": "/d"}, "provenance": "mode=max", "sbom": "true", "no_cache": true,
            }})),
            "my.base": service(json!({"build": {"context": "https://x/y.git", "dockerfile": "d/F", "platforms": ["a/b", "c/d"]}})),
            "inline": service(json!({"platform": "a/b", "image": "i", "build": {"context": "/c", "dockerfile_inline": "FROM x"}})),
        });
        stack["secrets"] = json!({"f": {"file": "/f"}, "v": {"environment": "V", "content": "the value"}});
        let deployment = Deployment {
            env: "e".parse().unwrap(),
            stack: serde_json::from_value(stack).unwrap(),
            caller: crate::plan::desired::Caller::default(),
            places: crate::plan::desired::Places::default(),
        };
        let printed = |push| serde_json::to_value(Bake::of(deployment.stack.services.keys(), &deployment, push)).unwrap();
        let labels = |service: &str| {
            let version = env!("CARGO_PKG_VERSION");
            json!({"com.docker.compose.project": "e", "com.docker.compose.service": service, "com.docker.compose.version": version})
        };
        let mut of_web = labels("web");
        of_web["l"] = json!("v");
        let expected = json!({
            "group": {"default": {"targets": ["web", "my_base", "inline"]}},
            "target": {
                "web": {
                    "context": "/c", "contexts": {"b": "target:my_base", "c": "/d"}, "dockerfile": "/c/Dockerfile", "args": {"A": "1"},
                    "labels": of_web, "tags": ["x:1", "webimg"], "target": "t",
                    "secret": ["id=f,type=file,src=/f", "id=id,type=env,env=V"], "ssh": ["default=", "k=/a"], "no-cache": true,
                    "shm-size": "67108864", "ulimits": ["nofile=1:2"], "entitlements": ["security.insecure"],
                    "extra-hosts": {"h": "1.2.3.4"}, "output": ["type=docker"], "attest": ["type=provenance,mode=max", "type=sbom"],
                },
                "my_base": {
                    "context": "https://x/y.git", "dockerfile": "d/F", "labels": labels("my.base"), "tags": ["e-my.base"],
                    "platforms": ["a/b", "c/d"], "output": ["type=image,push=false"],
                },
                "inline": {
                    "context": "/c", "dockerfile-inline": "FROM x", "labels": labels("inline"), "tags": ["i"], "platforms": ["a/b"],
                    "output": ["type=docker"],
                },
            },
        });
        assert_eq!(printed(false), expected);
        let pushed = printed(true);
        let outputs = ["web", "my_base", "inline"].map(|name| pushed["target"][name]["output"][0].clone());
        assert_eq!(outputs, ["type=registry", "type=image,push=false", "type=registry"]);
    }
}
