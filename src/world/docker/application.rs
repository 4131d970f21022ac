//! A stack in a registry: its files as the layers of an artifact, as Compose publishes them and reads them (docker/compose,
//! `internal/oci`, `pkg/remote/oci.go`).

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Docker;
use super::distribution::{Manifest, Reference, Repository, digest_of, is_digest};
use super::labels::OUR_VERSION;
use crate::load::files::MAX_BYTES;
use crate::plan::action::Fault;
use crate::world::values::base64;

const PROJECT: &str = "application/vnd.docker.compose.project";
const STACK_FILE: &str = "application/vnd.docker.compose.file+yaml";
const ENV_FILE: &str = "application/vnd.docker.compose.envfile";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// There is no configuration: of artifacts that say what they are, and of those from before they could.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const EMPTY_PROJECT: &str = "application/vnd.docker.compose.config.empty.v1+json";
const NOTHING: &[u8] = b"{}";

const VERSION: &str = "com.docker.compose.version";
const FILE: &str = "com.docker.compose.file";
const EXTENDS: &str = "com.docker.compose.extends";
const OF_ENV_FILE: &str = "com.docker.compose.envfile";

/// The most files of one application.
const MAX_PARTS: usize = 1_000;

/// The most bytes of one application's stack files, which are one text for the loader.
const MAX_STACK_FILES: u64 = MAX_BYTES as u64;

/// The most bytes of all its files.
const MAX_FILES: u64 = 4 * MAX_STACK_FILES;

/// What a file of an application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// A stack file; several are laid over each other.
    StackFile,
    /// A file whose services others extend.
    Extended,
    /// A file of variables.
    Variables,
}

/// A file of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Its name, without a directory.
    pub name: String,
    /// What it holds.
    pub content: Vec<u8>,
}

/// The edition of the artifact specification that an application is written by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OciVersion {
    /// For registries that know images alone.
    V1_0,
    /// The artifact says what it is.
    V1_1,
}

/// What is to be published.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Where.
    pub reference: &'a str,
    /// The files.
    pub parts: &'a [Part],
    /// Which edition; none is the newest that the registry takes.
    pub version: Option<OciVersion>,
    /// The images that belong to it, which are copied beside it.
    pub images: Option<&'a [String]>,
    /// Registries that are spoken to without TLS.
    pub insecure: &'a [String],
}

/// An application as it was found.
#[derive(Debug, Clone)]
pub struct Application {
    /// Its digest.
    pub digest: String,
    /// Its files, unless they are known already.
    pub parts: Option<Vec<Part>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
}

impl Descriptor {
    fn of(media_type: &str, content: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest_of(content),
            size: content.len() as u64,
            annotations: BTreeMap::new(),
            data: Some(base64(content)),
            artifact_type: None,
        }
    }

    fn of_part(part: &Part) -> Self {
        let (media_type, name) = match part.kind {
            PartKind::StackFile | PartKind::Extended => (STACK_FILE, FILE),
            PartKind::Variables => (ENV_FILE, OF_ENV_FILE),
        };
        let mut annotations =
            BTreeMap::from([(VERSION.to_owned(), OUR_VERSION.to_owned()), (name.to_owned(), part.name.clone())]);
        if part.kind == PartKind::Extended {
            annotations.insert(EXTENDS.to_owned(), "true".to_owned());
        }
        Self { annotations, ..Self::of(media_type, &part.content) }
    }
}

/// A manifest of these files, and its own descriptor.
fn manifest(parts: &[Part], version: OciVersion, created: SystemTime) -> (Vec<u8>, Descriptor) {
    let layers: Vec<Descriptor> = parts.iter().map(Descriptor::of_part).collect();
    let (config, artifact_type) = match version {
        OciVersion::V1_0 => (EMPTY_PROJECT, None),
        OciVersion::V1_1 => (EMPTY, Some(PROJECT)),
    };
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": Descriptor::of(config, NOTHING),
        "layers": layers,
        "annotations": { "org.opencontainers.image.created": humantime::format_rfc3339_seconds(created).to_string() },
    });
    if let Some(artifact_type) = artifact_type {
        manifest["artifactType"] = Value::from(artifact_type);
    }
    let bytes = manifest.to_string().into_bytes();
    let descriptor = Descriptor {
        annotations: BTreeMap::from([(VERSION.to_owned(), OUR_VERSION.to_owned())]),
        artifact_type: artifact_type.map(str::to_owned),
        data: None,
        ..Descriptor::of(MANIFEST, &bytes)
    };
    (bytes, descriptor)
}

impl Docker {
    /// Publishes an application. Answers with its digest.
    pub async fn publish(&self, publication: &Publication<'_>) -> Result<String, Fault> {
        check_published(publication.reference)?;
        let reference = Reference::parse(publication.reference)?;
        let tag = reference.tag.as_deref().unwrap_or("latest");
        let repository = self.repository(&reference, publication.insecure).await;
        repository.give_blob(NOTHING, &digest_of(NOTHING)).await?;
        for part in publication.parts {
            repository.give_blob(&part.content, &digest_of(&part.content)).await?;
        }
        let created = SystemTime::now();
        let newest = publication.version.unwrap_or(OciVersion::V1_1);
        let (mut bytes, mut descriptor) = manifest(publication.parts, newest, created);
        match repository.give_manifest(tag, MANIFEST, &bytes).await? {
            Ok(()) => {}
            // It may know images alone.
            Err(_) if publication.version.is_none() => {
                (bytes, descriptor) = manifest(publication.parts, OciVersion::V1_0, created);
                repository.give_manifest(tag, MANIFEST, &bytes).await??;
            }
            Err(fault) => return Err(fault),
        }
        if let Some(images) = publication.images {
            self.publish_images(images, &descriptor, &repository, publication.insecure).await?;
        }
        Ok(descriptor.digest)
    }

    /// Copies images to the repository of an application, and lists them as what belongs to it.
    async fn publish_images(
        &self,
        images: &[String],
        application: &Descriptor,
        repository: &Repository,
        insecure: &[String],
    ) -> Result<(), Fault> {
        let mut copied = Vec::new();
        for image in images {
            let reference = Reference::parse(image)?;
            let from = self.repository(&reference, insecure).await;
            copied.push(repository.copy_from(&from, &reference).await?);
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": copied,
            "subject": application,
            "annotations": { VERSION: OUR_VERSION },
        });
        let bytes = index.to_string().into_bytes();
        repository.give_manifest(&digest_of(&bytes), INDEX, &bytes).await?
    }

    /// Fetches an application, unless it is known already by its digest.
    pub async fn application(
        &self,
        reference: &str,
        insecure: &[String],
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Application, Fault> {
        let reference = Reference::parse(reference)?;
        if let Some(digest) = reference.digest.clone().filter(|digest| is_known(digest)) {
            return Ok(Application { digest, parts: None });
        }
        let repository = self.repository(&reference, insecure).await;
        let found = repository.manifest(&reference).await?;
        let digest = found.digest.clone();
        if is_known(&digest) {
            return Ok(Application { digest, parts: None });
        }
        let manifest = match project_in(&found) {
            None => found,
            Some(Some(inner)) => repository.manifest(&Reference { tag: None, digest: Some(inner), ..reference.clone() }).await?,
            Some(None) => return Err(no_application(&reference, "a list of images")),
        };
        let text = |key: &str| manifest.value.get(key).and_then(Value::as_str);
        let config = manifest.value.pointer("/config/mediaType").and_then(Value::as_str);
        if text("artifactType").map_or(config != Some(EMPTY_PROJECT), |artifact| artifact != PROJECT) {
            let what = text("artifactType").or(config).unwrap_or("something else");
            return Err(no_application(&reference, &format!("`{what}`")));
        }
        let layers: Vec<Descriptor> =
            manifest.value.get("layers").cloned().map(serde_json::from_value).transpose().ok().flatten().unwrap_or_default();
        if layers.len() > MAX_PARTS {
            return Err(no_application(&reference, &format!("of {} files", layers.len())));
        }
        let wanted = wanted(&layers).map_err(|what| no_application(&reference, &what))?;
        let mut parts: Vec<Part> = Vec::new();
        let mut fetched: HashMap<&str, Bytes> = HashMap::new();
        for (kind, name, layer) in wanted {
            let content = match fetched.get(layer.digest.as_str()) {
                Some(content) => content.clone(),
                None => repository.blob(&layer.digest, layer.size).await?,
            };
            parts.push(Part { kind, name, content: content.to_vec() });
            fetched.insert(&layer.digest, content);
        }
        if !parts.iter().any(|part| part.kind == PartKind::StackFile) {
            return Err(no_application(&reference, "one without a stack file"));
        }
        Ok(Application { digest, parts: Some(parts) })
    }
}

/// The layers that are files of an application, and as what; what is wrong with them before anything is fetched.
fn wanted(layers: &[Descriptor]) -> Result<Vec<(PartKind, String, &Descriptor)>, String> {
    let mut wanted = Vec::new();
    let (mut of_stack_files, mut of_all) = (0_u64, 0_u64);
    let mut sizes: HashMap<&str, u64> = HashMap::new();
    for layer in layers {
        let kind = match layer.media_type.as_str() {
            STACK_FILE if layer.annotations.contains_key(EXTENDS) => PartKind::Extended,
            STACK_FILE => PartKind::StackFile,
            ENV_FILE => PartKind::Variables,
            _ => continue,
        };
        let name = if kind == PartKind::Variables { OF_ENV_FILE } else { FILE };
        let name = layer.annotations.get(name).cloned().unwrap_or_default();
        if kind != PartKind::StackFile && !is_plain(&name) || !is_digest(&layer.digest) {
            return Err(format!("one with a file that is called `{name}`"));
        }
        // Of one digest there is one content, whatever else is said of it.
        if *sizes.entry(&layer.digest).or_insert(layer.size) != layer.size {
            return Err(format!("one with two sizes of `{}`", layer.digest));
        }
        of_all = of_all.saturating_add(layer.size);
        if kind == PartKind::StackFile {
            of_stack_files = of_stack_files.saturating_add(layer.size);
        }
        wanted.push((kind, name, layer));
    }
    for (size, most, what) in [(of_stack_files, MAX_STACK_FILES, "stack files"), (of_all, MAX_FILES, "files")] {
        if size > most {
            return Err(format!("one with {what} of {size} bytes, more than {most}"));
        }
    }
    Ok(wanted)
}

/// What is wrong with a reference that something is to be published as, before anybody is asked.
pub fn check_published(reference: &str) -> Result<(), Fault> {
    let parsed = Reference::parse(reference)?;
    match parsed.tag {
        Some(_) if parsed.digest.is_none() => Ok(()),
        Some(_) | None => Err(Fault::permanent(format!("`{reference}` names what is there already: give a tag"))),
    }
}

/// Of a list of manifests the application's, if there is one; none of what is no list.
#[expect(clippy::option_option, reason = "no list; a list without one; one")]
fn project_in(found: &Manifest) -> Option<Option<String>> {
    let manifests = found.value.get("manifests")?.as_array()?;
    let is_project = |entry: &&Value| entry.get("artifactType").and_then(Value::as_str) == Some(PROJECT);
    let digest = manifests.iter().find(is_project).and_then(|entry| entry.get("digest")?.as_str());
    Some(digest.filter(|digest| is_digest(digest)).map(str::to_owned))
}

fn no_application(reference: &Reference, what: &str) -> Fault {
    let Reference { registry, path, .. } = reference;
    Fault::permanent(format!("what `{registry}/{path}` has there is no Compose application but {what}"))
}

/// Whether it names a file in whatever directory it is put, and no other.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_says_what_it_is_by_its_edition() {
        let part = |kind, name: &str| Part { kind, name: name.to_owned(), content: name.as_bytes().to_vec() };
        let parts =
            [part(PartKind::StackFile, "compose.yaml"), part(PartKind::Extended, "a.yaml"), part(PartKind::Variables, "b.env")];
        let made = |version| serde_json::from_slice::<Value>(&manifest(&parts, version, SystemTime::UNIX_EPOCH).0).unwrap();
        let (newer, older) = (made(OciVersion::V1_1), made(OciVersion::V1_0));
        assert_eq!((newer["artifactType"].as_str(), newer["config"]["mediaType"].as_str()), (Some(PROJECT), Some(EMPTY)));
        assert_eq!((older.get("artifactType"), older["config"]["mediaType"].as_str()), (None, Some(EMPTY_PROJECT)));
        assert_eq!(newer["config"]["data"], "e30=");
        let layers = newer["layers"].as_array().unwrap();
        let annotation = |layer: usize, name: &str| layers[layer]["annotations"][name].as_str().unwrap_or_default();
        assert_eq!((annotation(0, FILE), annotation(0, EXTENDS)), ("compose.yaml", ""));
        assert_eq!((annotation(1, FILE), annotation(1, EXTENDS)), ("a.yaml", "true"));
        assert_eq!((annotation(2, OF_ENV_FILE), layers[2]["mediaType"].as_str()), ("b.env", Some(ENV_FILE)));
        assert!(annotation(0, VERSION).ends_with("+baistack"));
        assert_eq!(newer["annotations"]["org.opencontainers.image.created"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn an_application_that_is_too_large_is_not_fetched() {
        let layer = |kind: &str, size: u64, digit: &str| Descriptor {
            media_type: kind.to_owned(),
            size,
            digest: format!("sha256:{}", digit.repeat(64)),
            annotations: BTreeMap::from([(OF_ENV_FILE.to_owned(), "a.env".to_owned())]),
            ..Descriptor::of(kind, b"")
        };
        let told = |layers: &[Descriptor]| wanted(layers).map(|wanted| wanted.len());
        assert_eq!(told(&[layer(STACK_FILE, MAX_STACK_FILES, "0"), layer("other", u64::MAX, "1")]), Ok(1));
        assert!(told(&vec![layer(STACK_FILE, MAX_STACK_FILES / 2, "0"); 3]).unwrap_err().contains("stack files of"));
        assert!(told(&vec![layer(ENV_FILE, MAX_STACK_FILES, "0"); 5]).unwrap_err().contains("files of"));
        assert!(told(&vec![layer(ENV_FILE, u64::MAX, "0"); 2]).unwrap_err().contains("files of"));
        assert!(told(&[layer(ENV_FILE, 1, "0"), layer(ENV_FILE, 2, "0")]).unwrap_err().contains("two sizes"));
    }

    #[test]
    fn names_of_files_lead_nowhere_else() {
        for (name, expected) in [("a.env", true), ("../a", false), ("/a", false), (".env", false), ("", false), ("a\\b", false)] {
            assert_eq!(is_plain(name), expected, "{name}");
        }
    }
}
