//! A service's `build` as a request to BuildKit.
//!
//! Which attribute of the frontend is which stands in `frontend/dockerui/config.go` of moby/buildkit; how `docker buildx` fills them,
//! in `build/opt.go` of docker/buildx.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::Docker;
use super::super::builder::{self, CacheRef};
use super::super::dockerfile::Dockerfile;
use super::super::layout::{LATEST, Layout, LayoutRef};
use super::files::Tree;
use super::keys::KeyAgent;
use super::session::{Secret, Served};
use super::wire::{CacheEntry, CacheOptions, SolveRequest};
use crate::model::build::Build;
use crate::model::secret::FileObject;
use crate::plan::action::Fault;
use crate::plan::desired::Deployment;
use crate::plan::hash::hex;

/// What the session calls the two directories of every build.
const CONTEXT: &str = "context";
const DOCKERFILE: &str = "dockerfile";

/// An image to be built.
pub(in super::super) struct Order<'a> {
    pub(in super::super) build: &'a Build,
    /// Where it is on this host.
    pub(in super::super) dockerfile: Option<Dockerfile>,
    /// Its names.
    pub(in super::super) names: Vec<String>,
    /// `os/arch` that it is built for; none for the engine's own.
    pub(in super::super) platforms: Vec<String>,
    pub(in super::super) labels: BTreeMap<String, String>,
    /// Where `secrets` and `service:` contexts are found, and whose `SSH_AUTH_SOCK` counts.
    pub(in super::super) deployment: &'a Deployment,
}

/// The request, and what is served while it is carried out.
pub(super) struct Placed {
    pub(super) request: SolveRequest,
    pub(super) served: Served,
    /// Directories in which layers are left, and by what tag.
    pub(super) left: Vec<(Layout, String)>,
    /// Directories of layers that are none yet.
    pub(super) empty: Vec<PathBuf>,
}

/// The directories of layers of a build.
#[derive(Default)]
struct Layouts {
    served: HashMap<String, Layout>,
    left: Vec<(Layout, String)>,
    empty: Vec<PathBuf>,
}

impl Order<'_> {
    /// Whether a host is to have the address by which containers reach the engine's host.
    pub(super) fn wants_gateway(&self) -> bool {
        self.build.extra_hosts.iter().any(|host| host.ends_with("=host-gateway"))
    }

    /// The same for every build of this directory by this host.
    pub(super) fn shared_key(&self) -> String {
        let host = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        hex(&Sha256::digest(format!("{host}\0{}", self.build.context)))
    }

    /// Makes the request. `gateway` is the address of `host-gateway`.
    pub(super) async fn place(&self, docker: &Docker, id: &str, gateway: Option<&str>) -> Result<Placed, Fault> {
        let mut trees = HashMap::new();
        let mut attrs = self.attributes(gateway);
        self.add_context(&mut trees, &mut attrs)?;
        let mut layouts = Layouts::default();
        self.add_named_contexts(&mut trees, &mut layouts, &mut attrs)?;
        if let Some(imports) = self.cache_imports(&mut layouts)? {
            attrs.insert("cache-imports".to_owned(), imports);
        }
        let cache = CacheOptions { exports: self.cache_exports(&mut layouts)? };
        let request = SolveRequest {
            reference: id.to_owned(),
            exporter: "moby".to_owned(),
            exporter_attrs: HashMap::from([("name".to_owned(), self.names.join(","))]),
            session: id.to_owned(),
            frontend: "dockerfile.v0".to_owned(),
            frontend_attrs: attrs,
            cache: Some(cache),
            entitlements: self.entitlements(),
        };
        let (agents, keys) = self.agents().await?;
        let Layouts { served: layouts, left, empty } = layouts;
        let served = Served { docker: docker.clone(), trees, secrets: self.secrets()?, layouts, agents, keys };
        Ok(Placed { request, served, left, empty })
    }

    /// What needs no files.
    fn attributes(&self, gateway: Option<&str>) -> HashMap<String, String> {
        let Build { target, args, no_cache, no_cache_filter, network, extra_hosts, shm_size, ulimits, .. } = self.build;
        let mut attrs = HashMap::new();
        let mut set = |name: &str, value: String| drop(attrs.insert(name.to_owned(), value));
        set("image-resolve-mode", if self.is_pulled() { "pull" } else { "local" }.to_owned());
        if let Some(target) = target {
            set("target", target.clone());
        }
        for (name, value) in args {
            if let Some(value) = value {
                set(&format!("build-arg:{name}"), value.clone());
            }
        }
        for (name, value) in &self.labels {
            set(&format!("label:{name}"), value.clone());
        }
        if *no_cache {
            set("no-cache", String::new());
        } else if !no_cache_filter.is_empty() {
            set("no-cache", no_cache_filter.join(","));
        }
        if !self.platforms.is_empty() {
            set("platform", self.platforms.join(","));
        }
        if let Some(mode @ ("host" | "none")) = network.as_deref() {
            set("force-network-mode", mode.to_owned());
        }
        if !extra_hosts.is_empty() {
            let gateway = format!("={}", gateway.unwrap_or("host-gateway"));
            let hosts = extra_hosts.iter().map(|host| host.replace("=host-gateway", &gateway));
            set("add-hosts", hosts.collect::<Vec<_>>().join(","));
        }
        if let Some(size) = shm_size {
            set("shm-size", size.to_string());
        }
        if !ulimits.is_empty() {
            let limits = ulimits.iter().map(|(name, limit)| format!("{name}={}:{}", limit.soft, limit.hard));
            set("ulimit", limits.collect::<Vec<_>>().join(","));
        }
        for (name, said, plain) in [("provenance", &self.build.provenance, "mode=min"), ("sbom", &self.build.sbom, "")] {
            if let Some(said) = builder::attestation(said.as_deref()) {
                set(
                    &format!("attest:{name}"),
                    if matches!(said.to_ascii_lowercase().as_str(), "true" | "1" | "t") { plain } else { said }.to_owned(),
                );
            }
        }
        attrs
    }

    /// The directory that is built from, and the one with the Dockerfile.
    fn add_context(&self, trees: &mut HashMap<String, Tree>, attrs: &mut HashMap<String, String>) -> Result<(), Fault> {
        let Build { context, dockerfile, dockerfile_inline, .. } = self.build;
        let dockerfile = dockerfile.as_deref().unwrap_or("Dockerfile");
        let is_remote = builder::is_remote(context);
        if is_remote {
            attrs.insert("context".to_owned(), context.clone());
        } else {
            trees.insert(CONTEXT.to_owned(), directory(context)?);
        }
        let tree = match dockerfile_inline {
            Some(text) => {
                attrs.insert("filename".to_owned(), "Dockerfile".to_owned());
                Tree::File { name: "Dockerfile".to_owned(), content: text.clone().into_bytes() }
            }
            None if is_remote && !Path::new(dockerfile).is_absolute() => {
                attrs.insert("filename".to_owned(), dockerfile.to_owned());
                return Ok(());
            }
            None => {
                let path = Path::new(context).join(dockerfile);
                let (Some(parent), Some(name), true) = (path.parent(), path.file_name(), path.is_file()) else {
                    return Err(Fault::permanent(format!("there is no Dockerfile `{}`", path.display())));
                };
                let name = name.to_string_lossy().into_owned();
                attrs.insert("filename".to_owned(), name.clone());
                if leads_out(&path, parent) {
                    let unread = |error| Fault::permanent(format!("read `{}`: {error}", path.display()));
                    Tree::File { name, content: std::fs::read(&path).map_err(unread)? }
                } else {
                    Tree::Directory(parent.to_owned())
                }
            }
        };
        if is_remote {
            // Else it is sought in the context.
            attrs.insert("dockerfilekey".to_owned(), DOCKERFILE.to_owned());
        }
        trees.insert(DOCKERFILE.to_owned(), tree);
        Ok(())
    }

    fn add_named_contexts(
        &self,
        trees: &mut HashMap<String, Tree>,
        layouts: &mut Layouts,
        attrs: &mut HashMap<String, String>,
    ) -> Result<(), Fault> {
        for (name, place) in &self.build.additional_contexts {
            let value = if let Some(service) = place.strip_prefix("service:") {
                let image = service.parse().ok().and_then(|service| self.deployment.image_of(&service));
                let none =
                    || Fault::permanent(format!("`build.additional_contexts.{name}`: no service `{service}` has an image"));
                format!("docker-image://{}", image.ok_or_else(none)?)
            } else if let Some(wanted) = LayoutRef::parse(place) {
                let layout = wanted.layout(&self.deployment.stack.directory);
                let none = |why| Fault::permanent(format!("`build.additional_contexts.{name}`: {why}"));
                let digest = wanted.digest(&layout).map_err(none)?;
                // A name of its own, since a path may be any text.
                let store = format!("baistack{}", layouts.served.len());
                layouts.served.insert(format!("oci:{store}"), layout);
                format!("oci-layout://{store}:{}@{digest}", wanted.tag)
            } else if builder::is_remote(place) || place.contains("://") {
                place.clone()
            } else {
                let local = free_name(name, trees);
                trees.insert(local.clone(), directory(place)?);
                format!("local:{local}")
            };
            attrs.insert(format!("context:{name}"), value);
        }
        if !self.build.additional_contexts.is_empty() {
            // A frontend that an engine is too old for is fetched where the Dockerfile names one (`# syntax=`).
            attrs.insert("frontend.caps".to_owned(), "moby.buildkit.frontend.contexts+forward".to_owned());
        }
        Ok(())
    }

    /// Whether base images are asked for at their registry. It is said for all of them, and those of services are in none.
    fn is_pulled(&self) -> bool {
        self.build.pull && !self.build.additional_contexts.values().any(|place| place.starts_with("service:"))
    }

    /// Where layers come from, as the frontend wants to be told. A directory without any is told of to people alone: the build that
    /// leaves some there may be this one.
    fn cache_imports(&self, layouts: &mut Layouts) -> Result<Option<String>, Fault> {
        let mut entries = Vec::new();
        for text in &self.build.cache_from {
            let mut from = CacheRef::parse(text);
            if from.kind == "local" {
                let path = self.directory_of(&mut from, "src")?;
                let layout = Layout::at(&path);
                let tag = from.attributes.remove("tag").unwrap_or_else(|| LATEST.to_owned());
                let digest = match from.attributes.get("digest") {
                    Some(digest) => Some(digest.clone()),
                    None => layout.digest_of(&tag).or_else(|error| match error.kind() {
                        io::ErrorKind::NotFound => Ok(None),
                        _ => Err(Fault::permanent(format!("`build.cache_from`: read `{}/index.json`: {error}", path.display()))),
                    })?,
                };
                let Some(digest) = digest else {
                    layouts.empty.push(path);
                    continue;
                };
                from.attributes.insert("digest".to_owned(), digest);
                layouts.served.insert(format!("local:{}", path.display()), layout);
            }
            entries.push(json!({"Type": from.kind, "Attrs": from.attributes}));
        }
        Ok((!entries.is_empty()).then(|| json!(entries).to_string()))
    }

    /// Where layers are left. The argument is how files asked for it before there was an attribute, and still do.
    fn cache_exports(&self, layouts: &mut Layouts) -> Result<Vec<CacheEntry>, Fault> {
        let argument = self.build.args.get("BUILDKIT_INLINE_CACHE").and_then(Option::as_deref);
        let is_inline = argument.is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "t" | "true"));
        let mut all = Vec::new();
        for text in &self.build.cache_to {
            let mut to = CacheRef::parse(text);
            if to.kind == "local" {
                let path = self.directory_of(&mut to, "dest")?;
                let unmade = |error| Fault::permanent(format!("`build.cache_to`: make `{}`: {error}", path.display()));
                fs::create_dir_all(&path).map_err(unmade)?;
                let tag = to.attributes.get("tag").cloned().unwrap_or_else(|| LATEST.to_owned());
                let layout = Layout::at(&path);
                layouts.served.insert(format!("local:{}", path.display()), layout.clone());
                layouts.left.push((layout, tag));
            }
            all.push(CacheEntry { kind: to.kind, attrs: to.attributes.into_iter().collect() });
        }
        let inline = CacheEntry { kind: "inline".to_owned(), attrs: HashMap::new() };
        if is_inline && !all.contains(&inline) {
            all.push(inline);
        }
        Ok(all)
    }

    /// The directory of layers that an attribute names, in full from here on.
    fn directory_of(&self, cache: &mut CacheRef, attribute: &str) -> Result<PathBuf, Fault> {
        let said = cache.attributes.get(attribute).filter(|path| !path.is_empty());
        let none = || Fault::permanent(format!("a cache of `type=local` names no directory: write `{attribute}=DIR`"));
        let path = self.place_of(said.ok_or_else(none)?);
        cache.attributes.insert(attribute.to_owned(), path.display().to_string());
        Ok(path)
    }

    fn entitlements(&self) -> Vec<String> {
        let mut entitlements = self.build.entitlements.clone();
        let implied =
            [(self.build.privileged, "security.insecure"), (self.build.network.as_deref() == Some("host"), "network.host")];
        for (_, entitlement) in implied.iter().filter(|(is_implied, _)| *is_implied) {
            if !entitlements.iter().any(|said| said == entitlement) {
                entitlements.push((*entitlement).to_owned());
            }
        }
        entitlements
    }

    fn secrets(&self) -> Result<HashMap<String, Secret>, Fault> {
        let grants = self.build.secrets.iter().map(|grant| {
            let id = grant.target.clone().unwrap_or_else(|| grant.source.clone());
            let secret = match self.deployment.stack.secrets.get(&grant.source) {
                Some(FileObject { file: Some(file), .. }) => Secret::File(file.clone()),
                Some(FileObject { content: Some(content), .. }) => Secret::Value(content.clone()),
                Some(_) | None => return Err(Fault::permanent(format!("the secret `{}` has no content", grant.source))),
            };
            Ok((id, secret))
        });
        grants.collect()
    }

    /// The sockets of the agents of `ssh`, and the agents that we run ourselves for keys.
    async fn agents(&self) -> Result<(HashMap<String, PathBuf>, Vec<KeyAgent>), Fault> {
        let (mut agents, mut running) = (HashMap::new(), Vec::new());
        // As with `docker buildx`, a repository that takes a key is cloned with those of the caller.
        let is_given = self.build.ssh.iter().any(|entry| entry.split('=').next() == Some("default"));
        let has_agent = self.deployment.caller.environment.get("SSH_AUTH_SOCK").is_some_and(|path| !path.is_empty());
        let is_implied = builder::is_over_ssh(&self.build.context) && !is_given && has_agent;
        for entry in self.build.ssh.iter().map(String::as_str).chain(is_implied.then_some("default")) {
            let (id, paths) = entry.split_once('=').unwrap_or((entry, ""));
            let socket = if paths.is_empty() {
                let socket = self.deployment.caller.environment.get("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
                let none = || Fault::permanent("`build.ssh` forwards your SSH agent, and none runs: SSH_AUTH_SOCK is not set");
                PathBuf::from(socket.ok_or_else(none)?)
            } else {
                let paths: Vec<PathBuf> = paths.split(',').map(|path| self.place_of(path)).collect();
                match paths.as_slice() {
                    [socket] if std::fs::metadata(socket).is_ok_and(|found| found.file_type().is_socket()) => socket.clone(),
                    keys => {
                        let agent = KeyAgent::start(keys.to_vec()).await?;
                        let socket = agent.socket().to_owned();
                        running.push(agent);
                        socket
                    }
                }
            };
            agents.insert(id.to_owned(), socket);
        }
        Ok((agents, running))
    }

    /// A path of `ssh` or of a cache: from the stack's directory, or from the caller's home.
    fn place_of(&self, path: &str) -> PathBuf {
        let below_home = path.strip_prefix("~/").and_then(|rest| {
            let home = self.deployment.caller.environment.get("HOME")?;
            Some(Path::new(home).join(rest))
        });
        below_home.unwrap_or_else(|| self.deployment.stack.directory.join(path))
    }
}

fn directory(path: &str) -> Result<Tree, Fault> {
    if !Path::new(path).is_dir() {
        return Err(Fault::permanent(format!("the build context `{path}` is not a directory")));
    }
    Ok(Tree::Directory(path.into()))
}

/// Whether a file of a directory is a link to one that lies elsewhere, which the builder cannot follow.
fn leads_out(file: &Path, directory: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    file.is_symlink() && real(file).zip(real(directory)).is_some_and(|(file, directory)| !file.starts_with(directory))
}

/// What the session calls a named context: its name, unless the build's own directories or another context are called so.
fn free_name(name: &str, trees: &HashMap<String, Tree>) -> String {
    let mut free = name.to_owned();
    while [CONTEXT, DOCKERFILE].contains(&free.as_str()) || trees.contains_key(&free) {
        free.insert(0, '_');
    }
    free
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What the request has of a service `app` with this build.
    async fn placed(build: Value, gateway: Option<&str>) -> Result<Placed, Fault> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("docker")).unwrap();
        let _agent = std::os::unix::net::UnixListener::bind(dir.path().join("agent")).unwrap();
        for file in ["Dockerfile", "docker/app.Dockerfile"] {
            std::fs::write(dir.path().join(file), "FROM x\n").unwrap();
        }
        let build = build.to_string().replace("DIR", dir.path().to_str().unwrap());
        let build: Build = serde_json::from_str(&build).unwrap();
        let mut stack = serde_json::to_value(crate::model::stack::Stack::default()).unwrap();
        stack["services"] = json!({"base": {"common": {}, "kind": {"container": {"build": {}}}}});
        stack["secrets"] = json!({"f": {"file": "/f"}, "v": {"content": "x"}, "gone": {"external": true}});
        let deployment = Deployment {
            env: "e".parse().unwrap(),
            stack: serde_json::from_value(stack).unwrap(),
            caller: crate::plan::desired::Caller {
                environment: [("HOME".to_owned(), dir.path().display().to_string())].into_iter().collect(),
                ..crate::plan::desired::Caller::default()
            },
            places: crate::plan::desired::Places::default(),
        };
        let order = Order {
            build: &build,
            dockerfile: None,
            names: vec!["one".to_owned(), "two:1".to_owned()],
            platforms: build.platforms.clone(),
            labels: [("l".to_owned(), "v".to_owned())].into(),
            deployment: &deployment,
        };
        order.place(&Docker::new(&indexmap::IndexMap::new()), "id", gateway).await
    }

    /// The frontend's attributes beside those that every build has.
    async fn attributes(build: Value, gateway: Option<&str>) -> BTreeMap<String, String> {
        let usual = [("label:l", "v"), ("image-resolve-mode", "local"), ("filename", "Dockerfile")];
        let attrs = placed(build, gateway).await.unwrap().request.frontend_attrs;
        attrs.into_iter().filter(|(name, value)| !usual.contains(&(name.as_str(), value.as_str()))).collect()
    }

    #[tokio::test]
    async fn each_attribute_is_one_of_the_frontend() {
        for (attribute, expected) in [
            (json!({}), &[][..]),
            (json!({"args": {"A": "1", "B": null}}), &[("build-arg:A", "1")]),
            (json!({"target": "t"}), &[("target", "t")]),
            (json!({"no_cache": true, "no_cache_filter": ["a"]}), &[("no-cache", "")]),
            (json!({"no_cache_filter": ["a", "b"]}), &[("no-cache", "a,b")]),
            (json!({"pull": true}), &[("image-resolve-mode", "pull")]),
            (json!({"platforms": ["a/b", "c/d"]}), &[("platform", "a/b,c/d")]),
            (json!({"network": "none"}), &[("force-network-mode", "none")]),
            (json!({"extra_hosts": ["a=1.1.1.1", "b=host-gateway"]}), &[("add-hosts", "a=1.1.1.1,b=10.0.0.1")]),
            (
                json!({"cache_from": ["x:1", "type=gha,scope=y"]}),
                &[("cache-imports", r#"[{"Type":"registry","Attrs":{"ref":"x:1"}},{"Type":"gha","Attrs":{"scope":"y"}}]"#)],
            ),
            (
                json!({"pull": true, "additional_contexts": {"b": "service:base"}}),
                &[("context:b", "docker-image://e-base"), ("frontend.caps", "moby.buildkit.frontend.contexts+forward")],
            ),
            (json!({"shm_size": "64"}), &[("shm-size", "64")]),
            (json!({"ulimits": {"nofile": {"soft": 1, "hard": 2}}}), &[("ulimit", "nofile=1:2")]),
            (json!({"provenance": "1"}), &[("attest:provenance", "mode=min")]),
            (json!({"provenance": "true", "sbom": "true"}), &[("attest:provenance", "mode=min"), ("attest:sbom", "")]),
            (json!({"provenance": "mode=max", "sbom": "false"}), &[("attest:provenance", "mode=max")]),
            (json!({"dockerfile": "docker/app.Dockerfile"}), &[("filename", "app.Dockerfile")]),
            (
                json!({"additional_contexts": {"a": "DIR/docker", "b": "service:base", "c": "https://x/y.git"}}),
                &[
                    ("context:b", "docker-image://e-base"),
                    ("context:a", "local:a"),
                    ("context:c", "https://x/y.git"),
                    ("frontend.caps", "moby.buildkit.frontend.contexts+forward"),
                ],
            ),
        ] {
            let mut build = attribute.clone();
            build["context"] = json!("DIR");
            let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(attributes(build, Some("10.0.0.1")).await, expected, "{attribute}");
        }
    }

    #[tokio::test]
    async fn a_context_from_elsewhere_brings_its_dockerfile_unless_it_is_here() {
        let url = "https://x/y.git#main:sub";
        let context = ("context".to_owned(), url.to_owned());
        assert_eq!(attributes(json!({"context": url}), None).await, [context.clone()].into());
        let key = ("dockerfilekey".to_owned(), "dockerfile".to_owned());
        let inline = placed(json!({"context": url, "dockerfile_inline": "FROM y"}), None).await.unwrap();
        assert_eq!(inline.request.frontend_attrs.get("dockerfilekey"), Some(&key.1));
        let file = Tree::File { name: "Dockerfile".to_owned(), content: b"FROM y".to_vec() };
        assert_eq!(inline.served.trees, [("dockerfile".to_owned(), file)].into());
        let here = attributes(json!({"context": url, "dockerfile": "DIR/Dockerfile"}), None).await;
        assert_eq!(here, [context, key].into());
    }

    #[tokio::test]
    async fn a_named_context_is_never_one_of_the_builds_own_directories() {
        let contexts = json!({"context": "DIR/docker", "_context": "DIR", "dockerfile": "DIR/docker"});
        let Placed { request, served, .. } =
            placed(json!({"context": "DIR", "additional_contexts": contexts}), None).await.unwrap();
        for (name, local) in [("context", "local:_context"), ("_context", "local:__context"), ("dockerfile", "local:_dockerfile")]
        {
            assert_eq!(request.frontend_attrs[&format!("context:{name}")], local);
        }
        let directory = |name: &str| match &served.trees[name] {
            Tree::Directory(path) => path.clone(),
            file @ Tree::File { .. } => panic!("{file:?}"),
        };
        assert_eq!(directory("dockerfile"), directory("context"));
        assert!(["_context", "_dockerfile"].iter().all(|name| directory(name) == directory("context").join("docker")));
        assert_eq!(directory("__context"), directory("context"));
    }

    #[tokio::test]
    async fn a_dockerfile_that_is_a_link_to_elsewhere_is_sent_by_its_text() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("elsewhere"), "FROM y").unwrap();
        std::fs::create_dir(dir.path().join("context")).unwrap();
        std::fs::write(dir.path().join("context/real"), "FROM z").unwrap();
        for (name, target) in [("out", "../elsewhere"), ("within", "real")] {
            std::os::unix::fs::symlink(target, dir.path().join("context").join(name)).unwrap();
        }
        let tree = async |file: &str| {
            let build = json!({"context": dir.path().join("context"), "dockerfile": file});
            placed(build, None).await.unwrap().served.trees.remove("dockerfile").unwrap()
        };
        assert_eq!(tree("out").await, Tree::File { name: "out".to_owned(), content: b"FROM y".to_vec() });
        assert_eq!(tree("within").await, Tree::Directory(dir.path().join("context")));
    }

    #[tokio::test]
    async fn a_socket_of_ssh_may_lie_below_the_home() {
        let Placed { served, .. } = placed(json!({"context": "DIR", "ssh": ["a=~/agent", "b=DIR/agent"]}), None).await.unwrap();
        assert!(served.agents["a"].is_absolute() && served.agents["a"] == served.agents["b"], "{:?}", served.agents);
    }

    #[tokio::test]
    async fn names_layers_entitlements_and_secrets_are_of_the_request() {
        let build = json!({"context": "DIR", "cache_to": ["type=registry,ref=y,mode=max"],
            "args": {"BUILDKIT_INLINE_CACHE": "1"}, "privileged": true, "network": "host", "entitlements": ["network.host"],
            "secrets": [{"source": "f"}, {"source": "v", "target": "id"}]});
        let Placed { request, served, .. } = placed(build, None).await.unwrap();
        assert_eq!((request.exporter.as_str(), request.exporter_attrs["name"].as_str()), ("moby", "one,two:1"));
        assert_eq!(request.entitlements, ["network.host", "security.insecure"]);
        let cache = request.cache.unwrap();
        let kinds = |entries: &[CacheEntry]| {
            entries.iter().map(|entry| (entry.kind.clone(), entry.attrs.get("ref").cloned())).collect::<Vec<_>>()
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(kinds(&cache.exports), [("registry".to_owned(), text("y")), ("inline".to_owned(), None)]);
        assert!(served.secrets["f"] == Secret::File("/f".into()) && served.secrets["id"] == Secret::Value("x".to_owned()));
        for (build, expected) in [
            (json!({"context": "DIR", "secrets": [{"source": "gone"}]}), "`gone`"),
            (json!({"context": "DIR/none"}), "none"),
            (json!({"context": "DIR", "additional_contexts": {"a": "service:nobody"}}), "`nobody`"),
        ] {
            let fault = placed(build, None).await.err().unwrap();
            assert!(fault.message.contains(expected), "{fault}");
        }
    }

    #[tokio::test]
    async fn layers_in_directories_are_served_by_the_names_that_the_builder_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let digest = super::super::super::distribution::digest_of(b"{}");
        for name in ["from", "base"] {
            let layout = Layout::at(dir.path().join(name));
            let blob = layout.blob(&digest).unwrap();
            fs::create_dir_all(blob.parent().unwrap()).unwrap();
            fs::write(blob, "{}").unwrap();
            layout.name("latest", json!({"digest": digest, "size": 2})).unwrap();
        }
        let build = json!({"context": "DIR",
            "cache_from": [format!("type=local,src={}", path("from")), format!("type=local,src={}", path("none"))],
            "cache_to": [format!("type=local,dest={},tag=mine,mode=max", path("to"))],
            "additional_contexts": {"base": format!("oci-layout://{}", path("base"))}});
        let Placed { request, served, left, empty } = placed(build, None).await.unwrap();
        let imports = format!(r#"[{{"Type":"local","Attrs":{{"digest":"{digest}","src":"{}"}}}}]"#, path("from"));
        assert_eq!(request.frontend_attrs["cache-imports"], imports);
        assert_eq!(request.frontend_attrs["context:base"], format!("oci-layout://baistack0:latest@{digest}"));
        let exports = request.cache.unwrap().exports;
        assert_eq!((exports[0].kind.as_str(), &exports[0].attrs["dest"]), ("local", &path("to")));
        let mut names: Vec<_> = served.layouts.keys().cloned().collect();
        names.sort();
        assert_eq!(names, [format!("local:{}", path("from")), format!("local:{}", path("to")), "oci:baistack0".to_owned()]);
        assert_eq!(left, [(Layout::at(path("to")), "mine".to_owned())]);
        assert_eq!(empty, [std::path::PathBuf::from(path("none"))]);
        assert!(dir.path().join("to").is_dir());
    }
}
