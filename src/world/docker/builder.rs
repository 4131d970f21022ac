//! Which builder builds an image: the engine's BuildKit, or its classic one.
//!
//! BuildKit where the attributes or the Dockerfile need it, or the engine takes it for granted itself (from 23 on, as Docker's command
//! line does); the classic builder otherwise, which older engines build with unless they are told otherwise. `DOCKER_BUILDKIT` of the
//! caller's environment decides as it does for Docker: 1 is BuildKit, 0 the classic builder, and then what needs the other is refused.
//! Podman's builder is one for both, and behind the door of the classic one.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexSet;

use super::connect::{ApiVersion, Link};
use super::dockerfile::{Dockerfile, Feature};
use super::layout::LayoutRef;
use super::{Docker, labels};
use crate::base::name::ServiceName;
use crate::model::build::Build;
use crate::model::container::Container;
use crate::plan::action::Fault;
use crate::plan::desired::Deployment;

/// The variable by which a caller chooses.
pub(super) const CHOICE: &str = "DOCKER_BUILDKIT";

/// Who builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builder {
    Classic,
    BuildKit,
}

/// The first that has BuildKit, 18.09.
const FIRST: ApiVersion = ApiVersion::v1(39);

/// The first that builds with it unless it is told otherwise, 23. Its frontend is also the first that knows named contexts, texts in
/// the Dockerfile (`<<EOF`) and `--link`.
const BY_ITSELF: ApiVersion = ApiVersion::v1(42);

/// What keeps an image from being built by this engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbuildable {
    /// The attribute below `build`; none when it is the whole.
    pub attribute: Option<&'static str>,
    /// What, and why not.
    pub why: String,
    /// What to do.
    pub help: String,
}

impl From<Unbuildable> for Fault {
    fn from(Unbuildable { why, help, .. }: Unbuildable) -> Self {
        Fault::permanent(format!("{why}: {help}"))
    }
}

/// What an engine builds with.
#[derive(Debug, Clone)]
pub(super) struct Means {
    pub(super) version: ApiVersion,
    pub(super) release: String,
    /// `os/arch` that it runs itself.
    pub(super) platform: String,
    /// Its builder understands everything, and has no doors for us to BuildKit.
    pub(super) is_podman: bool,
    /// Images are kept in containerd's store, which alone holds several platforms and records of one image.
    pub(super) has_containerd_store: bool,
}

impl Means {
    fn name(&self) -> String {
        format!("this one is {} (API {})", self.release, self.version)
    }
}

impl Docker {
    /// What keeps the image of a service from being built here, as far as that can be known before it is tried. `choice` is the
    /// caller's `DOCKER_BUILDKIT`.
    pub async fn unbuildable(&self, container: &Container, choice: Option<&str>) -> Result<Option<Unbuildable>, Fault> {
        let Some(build) = &container.build else { return Ok(None) };
        let link = self.link().await?;
        let platforms = platforms(container, build, &link.platform().await?);
        let means = self.means(&link, build, &platforms).await?;
        // That it cannot be read is told by the build.
        let dockerfile = Dockerfile::of(build).unwrap_or_default();
        Ok(choose(build, &platforms, dockerfile.as_ref(), choice, &means).err())
    }

    /// What the engine has; how it keeps its images is asked for only where that matters.
    pub(super) async fn means(&self, link: &Link, build: &Build, platforms: &[String]) -> Result<Means, Fault> {
        const STORE: &str = "io.containerd.snapshotter";
        let matters = store_matters(build, platforms).is_some();
        let status = if matters { link.api.info().await?.driver_status.unwrap_or_default() } else { Vec::new() };
        let has_containerd_store = status.iter().flatten().any(|word| word.starts_with(STORE));
        let (release, platform) = (link.release.clone(), link.platform().await?);
        Ok(Means { version: link.version, release, platform, is_podman: link.is_podman, has_containerd_store })
    }
}

/// What a build begins with that is not there, or cannot be used: known before an engine is asked. `directory` is the stack's.
pub fn lacking(build: &Build, directory: &Path) -> Vec<Unbuildable> {
    let mut all = Vec::new();
    let mut lacks = |attribute, why: String, help: &str| all.push(Unbuildable { attribute, why, help: help.to_owned() });
    let no_directory = |path: &str| match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!("`{path}` is no directory")),
        Err(error) => Some(format!("`{path}`: {error}")),
    };
    let is_local = !is_remote(&build.context);
    let missing = if is_local { no_directory(&build.context) } else { None };
    let dockerfile = build.dockerfile.as_deref().unwrap_or("Dockerfile");
    // What would lie in a directory that is not there is not told too.
    let is_findable = (is_local && missing.is_none()) || Path::new(dockerfile).is_absolute();
    let has_files = is_local && missing.is_none();
    if let Some(why) = missing {
        lacks(Some("context"), format!("there is nothing to build from: {why}"), "make that directory, or name another");
    }
    if build.dockerfile_inline.is_none() && is_findable {
        let path = Path::new(&build.context).join(dockerfile);
        let unread = match std::fs::File::open(&path).and_then(|file| file.metadata()) {
            Ok(found) if found.is_file() => None,
            Ok(_) => Some("it is no file".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = unread {
            let help = "write it, or name another in `build.dockerfile`";
            lacks(Some("dockerfile"), format!("there is no Dockerfile `{}`: {why}", path.display()), help);
        }
    }
    for (name, place) in &build.additional_contexts {
        let is_elsewhere = is_remote(place) || place.contains("://") || place.starts_with("service:");
        if !is_elsewhere && let Some(why) = no_directory(place) {
            let why = format!("there is nothing for its context `{name}`: {why}");
            lacks(Some("additional_contexts"), why, "make that directory, or name another");
        }
        if let Some(wanted) = LayoutRef::parse(place)
            && let Err(why) = wanted.digest(&wanted.layout(directory))
        {
            let why = format!("there is nothing for its context `{name}`: {why}");
            lacks(Some("additional_contexts"), why, "write `oci-layout://DIR[:TAG][@DIGEST]`, of what is there");
        }
    }
    for (attribute, texts, part) in [("cache_from", &build.cache_from, "src"), ("cache_to", &build.cache_to, "dest")] {
        for text in texts {
            let CacheRef { kind, attributes } = CacheRef::parse(text);
            if kind == "local" && attributes.get(part).is_none_or(String::is_empty) {
                lacks(Some(attribute), format!("`{text}` names no directory"), &format!("write `type=local,{part}=DIR`"));
            }
        }
    }
    if let Some(rules) = super::context::bad_rules(build).filter(|_| has_files) {
        let help = "a pattern of Go's `filepath.Match` is needed: a `[` is closed, and a `\\` is followed";
        lacks(Some("context"), rules.message, help);
    }
    all
}

/// What an image is built for: for all of `platforms` by `build`, else for what is to run here. None is what the engine runs itself.
pub(super) fn platforms(container: &Container, build: &Build, own: &str) -> Vec<String> {
    if build.for_all_platforms {
        return if build.platforms.is_empty() { container.platform.iter().cloned().collect() } else { build.platforms.clone() };
    }
    let native = || build.platforms.iter().find(|platform| *platform == own).or_else(|| build.platforms.first());
    container.platform.as_ref().or_else(native).into_iter().cloned().collect()
}

/// A service after those whose images it takes as contexts, each once. Those that go round are refused when they are loaded.
pub fn in_order(service: &ServiceName, deployment: &Deployment) -> Vec<ServiceName> {
    fn add(service: &ServiceName, deployment: &Deployment, begun: &mut IndexSet<ServiceName>, order: &mut Vec<ServiceName>) {
        if !begun.insert(service.clone()) {
            return;
        }
        let container = deployment.service(service).and_then(|service| service.container());
        let contexts = container.and_then(|container| container.build.as_ref()).map(|build| build.additional_contexts.values());
        for place in contexts.into_iter().flatten() {
            if let Some(Ok(other)) = place.strip_prefix("service:").map(str::parse) {
                add(&other, deployment, begun, order);
            }
        }
        order.push(service.clone());
    }
    let mut order = Vec::new();
    add(service, deployment, &mut IndexSet::new(), &mut order);
    order
}

/// Chooses the builder, or says why there is none.
pub(super) fn choose(
    build: &Build,
    platforms: &[String],
    dockerfile: Option<&Dockerfile>,
    choice: Option<&str>,
    means: &Means,
) -> Result<Builder, Unbuildable> {
    let attribute = needing(build, platforms);
    let features = dockerfile.map(|dockerfile| dockerfile.features.as_slice()).unwrap_or_default();
    if means.is_podman {
        return match attribute {
            None => Ok(Builder::Classic),
            Some(attribute) => {
                Err(refused(attribute, "needs BuildKit, which Podman has not", "remove it, or build with a Docker Engine"))
            }
        };
    }
    let need = attribute.map(|attribute| (Some(attribute), format!("`build.{attribute}`")));
    // The classic one begins with what is there, whatever that is for.
    let need = need.or_else(|| {
        let other = platforms.iter().find(|platform| !is_same_machine(platform, &means.platform))?;
        Some(((!build.platforms.is_empty()).then_some("platforms"), format!("an image for `{other}` on `{}`", means.platform)))
    });
    // A variable of the platform that is given as an argument is nothing that BuildKit would have to set.
    let used = features.iter().filter(|feature| !build.args.contains_key(&feature.what));
    let (soft, needed): (Vec<_>, Vec<_>) = used.partition(|feature| feature.is_soft);
    let need = need.or_else(|| needed.first().map(|feature| (None, named(build, feature))));
    let classic_only = classic_only(build);
    let is_off = choice.is_some_and(|choice| matches!(choice.to_ascii_lowercase().as_str(), "0" | "f" | "false"));
    let is_on = choice.is_some_and(|choice| !choice.is_empty()) && !is_off;
    match need {
        Some((attribute, what)) if is_off => Err(Unbuildable {
            attribute,
            why: format!("{what} needs BuildKit, which DOCKER_BUILDKIT={} turns off", choice.unwrap_or_default()),
            help: "unset it".to_owned(),
        }),
        Some((attribute, what)) if means.version < FIRST => Err(Unbuildable {
            attribute,
            why: format!("{what} needs the BuildKit of Docker Engine 18.09 (API {FIRST}) or newer, and {}", means.name()),
            help: "update the engine".to_owned(),
        }),
        Some((_, what)) => match classic_only {
            None => by_buildkit(build, platforms, dockerfile, means),
            Some((attribute, lacks, help)) => Err(Unbuildable {
                attribute: Some(attribute),
                why: format!("{what} needs BuildKit, which {lacks}"),
                help: help.to_owned(),
            }),
        },
        None if classic_only.is_some() || is_off || means.version < FIRST => Ok(Builder::Classic),
        None if is_on || means.version >= BY_ITSELF => by_buildkit(build, platforms, dockerfile, means),
        // What its Dockerfile needs, nobody knows who has not fetched it.
        None if is_repository(&build.context) => Ok(by_buildkit(build, platforms, dockerfile, means).unwrap_or(Builder::Classic)),
        // It sets them where it can.
        None if !soft.is_empty() => Ok(by_buildkit(build, platforms, dockerfile, means).unwrap_or(Builder::Classic)),
        None => Ok(Builder::Classic),
    }
}

/// BuildKit, if this one is new enough for what is asked.
fn by_buildkit(
    build: &Build,
    platforms: &[String],
    dockerfile: Option<&Dockerfile>,
    means: &Means,
) -> Result<Builder, Unbuildable> {
    let is_old = means.version < BY_ITSELF;
    let brings_frontend = dockerfile.is_some_and(|dockerfile| dockerfile.has_syntax);
    let too_old =
        |what: &str| format!("{what} needs the BuildKit of Docker Engine 23 (API {BY_ITSELF}) or newer, and {}", means.name());
    let newer_frontend = "update the engine, or begin the Dockerfile with `# syntax=docker/dockerfile:1`".to_owned();
    if is_old && !brings_frontend {
        for (attribute, is_used) in [
            ("additional_contexts", !build.additional_contexts.is_empty()),
            ("ulimits", !build.ulimits.is_empty()),
            ("shm_size", build.shm_size.is_some()),
        ] {
            if is_used {
                let why = too_old(&format!("`build.{attribute}`"));
                return Err(Unbuildable { attribute: Some(attribute), why, help: newer_frontend });
            }
        }
        let newer = dockerfile.and_then(|dockerfile| dockerfile.features.iter().find(|feature| feature.is_newer));
        if let Some(feature) = newer {
            return Err(Unbuildable { attribute: None, why: too_old(&named(build, feature)), help: newer_frontend });
        }
    }
    if let Some(attribute) = store_matters(build, platforms).filter(|_| !means.has_containerd_store) {
        let why = "needs an engine that keeps its images in containerd's store, and this one does not";
        let help =
            "turn that on (`features: {containerd-snapshotter: true}` in the engine's `daemon.json`, from 24 on), or remove it";
        return Err(refused(attribute, why, help));
    }
    Ok(Builder::BuildKit)
}

fn refused(attribute: &'static str, why: &str, help: &str) -> Unbuildable {
    Unbuildable { attribute: Some(attribute), why: format!("`build.{attribute}` {why}"), help: help.to_owned() }
}

/// Whether two platforms are one, but for the variant.
fn is_same_machine(one: &str, other: &str) -> bool {
    let parts = |platform: &str| {
        let platform = platform.to_ascii_lowercase();
        let (os, rest) = platform.split_once('/').map_or(("linux", platform.as_str()), |(os, rest)| (os, rest));
        let arch = rest.split('/').next().unwrap_or_default();
        let arch = match arch {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "i686" => "386",
            other => other,
        };
        (os.to_owned(), arch.to_owned())
    };
    parts(one) == parts(other)
}

/// What people know the Dockerfile by.
pub(super) fn file_of(build: &Build) -> &str {
    match (&build.dockerfile_inline, &build.dockerfile) {
        (Some(_), _) => "build.dockerfile_inline",
        (None, Some(file)) => file,
        (None, None) => "Dockerfile",
    }
}

/// The path by which people find the Dockerfile from the stack's directory.
pub(super) fn path_of(build: &Build, directory: &Path) -> String {
    if build.dockerfile_inline.is_some() || is_remote(&build.context) {
        return file_of(build).to_owned();
    }
    let path = Path::new(&build.context).join(file_of(build));
    path.strip_prefix(directory).unwrap_or(&path).display().to_string()
}

/// A feature as people find it.
fn named(build: &Build, feature: &Feature) -> String {
    format!("`{}` ({}:{})", feature.what, file_of(build), feature.line)
}

/// The attribute that the classic builder does not know, if there is one.
fn needing(build: &Build, platforms: &[String]) -> Option<&'static str> {
    let named = [
        ("secrets", !build.secrets.is_empty()),
        ("ssh", !build.ssh.is_empty()),
        ("cache_to", !build.cache_to.is_empty()),
        ("cache_from", build.cache_from.iter().any(|text| text.contains('='))),
        ("additional_contexts", !build.additional_contexts.is_empty()),
        ("no_cache_filter", !build.no_cache_filter.is_empty()),
        ("entitlements", !build.entitlements.is_empty()),
        ("privileged", build.privileged),
        ("provenance", attestation(build.provenance.as_deref()).is_some()),
        ("sbom", attestation(build.sbom.as_deref()).is_some()),
        ("platforms", platforms.len() > 1),
    ];
    named.into_iter().find(|(_, is_used)| *is_used).map(|(attribute, _)| attribute)
}

/// What the classic builder alone can: the attribute, what BuildKit lacks, and the remedy.
fn classic_only(build: &Build) -> Option<(&'static str, &'static str, &'static str)> {
    let has_network = !matches!(build.network.as_deref(), None | Some("" | "default" | "host" | "none"));
    let network = ("network", "has no network but `default`, `host` and `none`", "choose one of them");
    let memory = ("memory", "limits no memory", "leave `--memory` out");
    [(has_network, network), (build.memory.is_some(), memory)].into_iter().find(|(is_used, _)| *is_used).map(|(_, what)| what)
}

/// The attribute for which it matters how the engine keeps its images.
fn store_matters(build: &Build, platforms: &[String]) -> Option<&'static str> {
    let goes_elsewhere = |text: &String| CacheRef::parse(text).kind != "inline";
    let named = [
        ("cache_to", build.cache_to.iter().any(goes_elsewhere)),
        ("additional_contexts", build.additional_contexts.values().any(|place| LayoutRef::parse(place).is_some())),
        ("provenance", attestation(build.provenance.as_deref()).is_some()),
        ("sbom", attestation(build.sbom.as_deref()).is_some()),
        ("platforms", platforms.len() > 1),
    ];
    named.into_iter().find(|(_, is_used)| *is_used).map(|(attribute, _)| attribute)
}

/// What `provenance` and `sbom` ask for; nothing when they are off.
pub(super) fn attestation(said: Option<&str>) -> Option<&str> {
    said.filter(|said| !matches!(said.to_ascii_lowercase().as_str(), "" | "false" | "0" | "f"))
}

/// Whether a context is not a directory of this host.
pub fn is_remote(context: &str) -> bool {
    ["http://", "https://", "git://", "git@", "ssh://", "github.com/"].iter().any(|prefix| context.starts_with(prefix))
}

/// Whether a context is a repository that anybody may clone who reaches it.
fn is_repository(context: &str) -> bool {
    let is_web = ["http://", "https://"].iter().any(|prefix| context.starts_with(prefix));
    let path = context.split(['#', '?']).next().unwrap_or(context);
    context.starts_with("git://") || context.starts_with("github.com/") || (is_web && path.ends_with(".git"))
}

/// Whether a context is a repository that takes a key.
pub(super) fn is_over_ssh(context: &str) -> bool {
    context.starts_with("git@") || context.starts_with("ssh://")
}

/// The labels of the image that a service's build makes.
pub fn labels_of_build(service: &ServiceName, build: &Build, deployment: &Deployment) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = build.labels.clone().into_iter().collect();
    labels.insert(labels::PROJECT.to_owned(), deployment.env.to_string());
    labels.insert(labels::SERVICE.to_owned(), service.to_string());
    labels.insert(labels::VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    labels
}

/// `type=registry,ref=x,mode=max`; a reference alone is one of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheRef {
    pub(super) kind: String,
    pub(super) attributes: BTreeMap<String, String>,
}

impl CacheRef {
    pub(super) fn parse(text: &str) -> Self {
        if !text.contains('=') {
            let attributes = BTreeMap::from([("ref".to_owned(), text.to_owned())]);
            return Self { kind: "registry".to_owned(), attributes };
        }
        let pairs = text.split(',').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut attributes: BTreeMap<String, String> =
            pairs.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.to_owned())).collect();
        Self { kind: attributes.remove("type").unwrap_or_else(|| "registry".to_owned()), attributes }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn means(minor: u32) -> Means {
        let (release, platform) = ("20.10.24".to_owned(), "linux/amd64".to_owned());
        Means { version: ApiVersion::v1(minor), release, platform, is_podman: false, has_containerd_store: false }
    }

    fn chosen(build: Value, text: &str, choice: Option<&str>, means: &Means) -> Result<Builder, String> {
        let mut build: Build = serde_json::from_value(build).unwrap();
        let platforms = std::mem::take(&mut build.platforms);
        let dockerfile = Dockerfile::parse(text);
        choose(&build, &platforms, Some(&dockerfile), choice, means).map_err(|found| Fault::from(found).message)
    }

    #[test]
    fn buildkit_builds_what_needs_it_and_with_engines_that_build_so_themselves() {
        let plain = "FROM x\n";
        for (build, text, choice, minor, expected) in [
            (json!({}), plain, None, 41, Builder::Classic),
            (json!({}), plain, Some(""), 41, Builder::Classic),
            (json!({}), plain, None, 42, Builder::BuildKit),
            (json!({}), plain, Some("1"), 41, Builder::BuildKit),
            (json!({}), plain, Some("0"), 51, Builder::Classic),
            (json!({"network": "mine"}), plain, None, 51, Builder::Classic),
            (json!({"network": "host"}), plain, None, 51, Builder::BuildKit),
            (json!({"provenance": "false", "sbom": "false"}), plain, None, 41, Builder::Classic),
            (json!({"cache_from": ["x:1"]}), plain, None, 41, Builder::Classic),
            (json!({"cache_from": ["type=registry,ref=x"]}), plain, None, 41, Builder::BuildKit),
            (json!({"cache_to": ["type=inline"]}), plain, None, 41, Builder::BuildKit),
            (json!({"cache_from": ["type=local,src=x"]}), plain, None, 41, Builder::BuildKit),
            (json!({"ulimits": {"nofile": {"soft": 1, "hard": 2}}}), plain, None, 41, Builder::Classic),
            (json!({"platforms": ["linux/amd64"]}), plain, None, 41, Builder::Classic),
            (json!({"platforms": ["linux/x86_64/v2"]}), plain, None, 41, Builder::Classic),
            (json!({"platforms": ["amd64"]}), plain, None, 41, Builder::Classic),
            (json!({"platforms": ["linux/arm64"]}), plain, None, 41, Builder::BuildKit),
            (json!({"privileged": true}), plain, None, 41, Builder::BuildKit),
            (json!({"no_cache_filter": ["a"]}), plain, None, 41, Builder::BuildKit),
            (json!({}), "FROM x\nRUN --mount=type=cache,target=/c x\n", None, 41, Builder::BuildKit),
            (json!({}), "FROM x\nARG TARGETARCH\n", None, 41, Builder::BuildKit),
            (json!({}), "FROM x\nARG TARGETARCH\n", Some("0"), 41, Builder::Classic),
            (json!({"shm_size": 1}), "FROM x\nARG TARGETARCH\n", None, 41, Builder::Classic),
            (json!({}), "FROM x\nARG TARGETARCH\n", None, 38, Builder::Classic),
            (json!({"network": "mine"}), "FROM x\nARG TARGETARCH\n", None, 51, Builder::Classic),
            (json!({"context": "https://x/y.git"}), plain, None, 41, Builder::BuildKit),
            (json!({"context": "github.com/x/y#v1"}), plain, None, 41, Builder::BuildKit),
            (json!({"context": "https://x/y.tar.gz"}), plain, None, 41, Builder::Classic),
            (json!({"context": "git@x:y.git"}), plain, None, 41, Builder::Classic),
            (json!({"context": "https://x/y.git"}), plain, Some("0"), 41, Builder::Classic),
            (json!({"context": "https://x/y.git"}), plain, None, 38, Builder::Classic),
            (json!({"context": "https://x/y.git", "shm_size": 1}), plain, None, 41, Builder::Classic),
            (json!({}), "FROM x\nARG TARGETARCH=amd64\n", None, 41, Builder::Classic),
            (json!({"args": {"TARGETARCH": "x"}}), "FROM x\nARG TARGETARCH\n", None, 41, Builder::Classic),
            (json!({}), "# syntax=docker/dockerfile:1\nFROM x\nRUN <<EOF\nEOF\n", None, 41, Builder::BuildKit),
            (json!({"additional_contexts": {"a": "/a"}}), "# syntax=docker/dockerfile:1\nFROM x\n", None, 41, Builder::BuildKit),
        ] {
            assert_eq!(chosen(build.clone(), text, choice, &means(minor)), Ok(expected), "{build} {text} {choice:?} {minor}");
        }
        let podman = Means { is_podman: true, ..means(41) };
        assert_eq!(chosen(json!({}), "FROM x\nRUN --mount=type=cache,target=/c x\n", None, &podman), Ok(Builder::Classic));
    }

    #[test]
    fn what_cannot_be_built_is_told_with_the_remedy() {
        let plain = "FROM x\n";
        for (build, text, choice, minor, expected) in [
            (
                json!({"ssh": ["default"]}),
                plain,
                Some("0"),
                51,
                &["`build.ssh` needs BuildKit", "DOCKER_BUILDKIT=0", "unset"][..],
            ),
            (json!({}), "FROM x\nRUN --mount=type=cache x\n", Some("false"), 51, &["`RUN --mount` (Dockerfile:2)"]),
            (json!({"ssh": ["default"]}), plain, None, 38, &["18.09", "API 1.38"]),
            (
                json!({"platforms": ["linux/arm64"]}),
                plain,
                Some("0"),
                41,
                &["`linux/arm64` on `linux/amd64` needs BuildKit", "DOCKER_BUILDKIT=0", "unset it"],
            ),
            (json!({"ssh": ["default"], "network": "mine"}), plain, None, 51, &["`build.ssh`", "`host`"]),
            (
                json!({"additional_contexts": {"a": "/a"}}),
                plain,
                None,
                41,
                &["`build.additional_contexts`", "Engine 23", "# syntax="],
            ),
            (json!({"ssh": ["default"], "shm_size": 1}), plain, None, 41, &["`build.shm_size`", "Engine 23"]),
            (json!({"dockerfile": "d/F"}), "FROM x\nRUN <<EOF\nEOF\n", None, 41, &["`<<EOF` (d/F:2)", "Engine 23", "# syntax="]),
            (json!({"cache_to": ["type=registry,ref=x"]}), plain, None, 51, &["`build.cache_to`", "containerd"]),
            (json!({"cache_to": ["type=local,dest=x"]}), plain, None, 51, &["`build.cache_to`", "containerd"]),
            (
                json!({"additional_contexts": {"a": "oci-layout://x"}}),
                plain,
                None,
                51,
                &["`build.additional_contexts`", "containerd"],
            ),
            (json!({"platforms": ["a/b", "c/d"]}), plain, None, 51, &["`build.platforms`", "containerd"]),
            (json!({"sbom": "true"}), plain, None, 51, &["`build.sbom`", "containerd"]),
        ] {
            let found = chosen(build.clone(), text, choice, &means(minor)).unwrap_err();
            assert!(expected.iter().all(|word| found.contains(word)), "{build} {text}: {found}");
        }
        let podman = Means { is_podman: true, ..means(41) };
        assert!(chosen(json!({"ssh": ["default"]}), plain, None, &podman).unwrap_err().contains("Podman"));
        let containerd = Means { has_containerd_store: true, ..means(51) };
        assert_eq!(chosen(json!({"platforms": ["a/b", "c/d"], "sbom": "true"}), plain, None, &containerd), Ok(Builder::BuildKit));
    }

    #[test]
    fn a_place_for_layers_is_an_image_or_says_what_it_is() {
        for (text, kind, attributes) in [
            ("x:1", "registry", &[("ref", "x:1")][..]),
            ("type=inline", "inline", &[]),
            ("type=registry,ref=r/x,mode=max", "registry", &[("mode", "max"), ("ref", "r/x")]),
            ("ref=r/x", "registry", &[("ref", "r/x")]),
        ] {
            let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(CacheRef::parse(text), CacheRef { kind: kind.to_owned(), attributes }, "{text}");
        }
    }

    #[test]
    fn up_builds_for_what_runs_here_and_build_for_all_platforms() {
        let check = |platform: Option<&str>, platforms: &[&str], for_all: bool, expected: &[&str]| {
            let container = Container { platform: platform.map(str::to_owned), ..Container::default() };
            let build = Build {
                platforms: platforms.iter().map(|text| (*text).to_owned()).collect(),
                for_all_platforms: for_all,
                ..Build::default()
            };
            assert_eq!(super::platforms(&container, &build, "linux/amd64"), expected, "{platform:?} {platforms:?} {for_all}");
        };
        check(None, &[], false, &[]);
        check(None, &["a/b", "linux/amd64"], false, &["linux/amd64"]);
        check(None, &["a/b", "c/d"], false, &["a/b"]);
        check(Some("c/d"), &["a/b", "c/d"], false, &["c/d"]);
        check(Some("c/d"), &["a/b", "c/d"], true, &["a/b", "c/d"]);
        check(Some("c/d"), &[], true, &["c/d"]);
    }

    #[test]
    fn what_a_build_begins_with_and_is_not_there_is_named_before_an_engine_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().to_str().unwrap();
        for (file, text) in [("Dockerfile", "FROM x"), ("bad/Dockerfile", "FROM x"), ("bad/.dockerignore", "a\n[\n")] {
            std::fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        for (build, attribute, words) in [
            (json!({"context": here}), None, &[][..]),
            (json!({"context": here, "additional_contexts": {"a": here, "b": "service:x", "c": "docker-image://x"}}), None, &[]),
            (json!({"context": "https://example.org/x.git"}), None, &[]),
            (json!({"context": format!("{here}/none")}), Some("context"), &["none`: No such file"]),
            (json!({"context": format!("{here}/Dockerfile")}), Some("context"), &["no directory"]),
            (
                json!({"context": here, "dockerfile": "web.Dockerfile"}),
                Some("dockerfile"),
                &["/web.Dockerfile`", "`build.dockerfile`"],
            ),
            (json!({"context": here, "dockerfile": "bad"}), Some("dockerfile"), &["no file"]),
            (json!({"context": here, "dockerfile": "none", "dockerfile_inline": "FROM x"}), None, &[]),
            (json!({"context": here, "additional_contexts": {"a": "/none"}}), Some("additional_contexts"), &["`a`", "/none"]),
            (json!({"context": format!("{here}/bad")}), Some("context"), &["bad/.dockerignore`, line 2"]),
            (
                json!({"context": here, "additional_contexts": {"a": "oci-layout://none"}}),
                Some("additional_contexts"),
                &["`a`", "`none/index.json`", "oci-layout://DIR"],
            ),
            (json!({"context": here, "cache_from": ["type=local,src="]}), Some("cache_from"), &["`type=local,src=`", "src=DIR"]),
            (json!({"context": here, "cache_to": ["type=local"]}), Some("cache_to"), &["names no directory", "dest=DIR"]),
        ] {
            let found = lacking(&serde_json::from_value(build.clone()).unwrap(), dir.path());
            let told: String = found.iter().map(|found| Fault::from(found.clone()).message).collect();
            let attributes: Vec<_> = found.into_iter().map(|found| found.attribute).collect();
            assert_eq!(attributes, attribute.map(Some).into_iter().collect::<Vec<_>>(), "{build}: {told}");
            assert!(words.iter().all(|word| told.contains(word)), "{build}: {told}");
        }
    }

    #[test]
    fn all_that_a_build_begins_with_and_is_not_there_is_named_but_not_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().to_str().unwrap();
        std::fs::write(dir.path().join(".dockerignore"), "[\n").unwrap();
        let attributes = |context: &str| {
            let build = json!({"context": context, "additional_contexts": {"a": "/none", "b": "/neither"}});
            lacking(&serde_json::from_value(build).unwrap(), dir.path())
                .into_iter()
                .filter_map(|found| found.attribute)
                .collect::<Vec<_>>()
        };
        let others = ["additional_contexts"; 2];
        assert_eq!(attributes(here), [&["dockerfile"], &others[..], &["context"]].concat());
        assert_eq!(attributes(&format!("{here}/none")), [&["context"], &others[..]].concat());
    }

    #[test]
    fn what_is_a_context_is_built_first_and_once() {
        let build = |contexts: Value| json!({"common": {}, "kind": {"container": {"build": {"additional_contexts": contexts}}}});
        let mut stack = serde_json::to_value(crate::model::stack::Stack::default()).unwrap();
        stack["services"] = json!({
            "a": build(json!({"x": "service:b", "y": "service:c", "z": "/dir"})),
            "b": build(json!({"x": "service:c"})),
            "c": build(json!({})),
        });
        let deployment = Deployment {
            env: "e".parse().unwrap(),
            stack: serde_json::from_value(stack).unwrap(),
            caller: crate::plan::desired::Caller::default(),
            places: crate::plan::desired::Places::default(),
        };
        let order: Vec<String> = in_order(&"a".parse().unwrap(), &deployment).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["c", "b", "a"]);
    }
}
