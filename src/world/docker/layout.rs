//! A directory in OCI's layout of images (`image-layout.md` of opencontainers/image-spec): contents by their digests, and an index of
//! what they are called. Builds read layers from such directories and leave them there.

use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::distribution::is_digest;

/// By what a manifest of the index is called.
const NAME: &str = "org.opencontainers.image.ref.name";

/// The tag of what is called nothing.
pub(super) const LATEST: &str = "latest";

/// A directory in this layout, or one that is to become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where a content is, or would be; none for what is no digest.
    pub(super) fn blob(&self, digest: &str) -> Option<PathBuf> {
        let digits = digest.strip_prefix("sha256:").filter(|_| is_digest(digest))?;
        Some(self.root.join("blobs/sha256").join(digits))
    }

    /// A file for what is not whole yet, on the same disk.
    pub(super) fn unfinished(&self, name: &str) -> io::Result<PathBuf> {
        let place = self.root.join("ingest");
        DirBuilder::new().recursive(true).create(&place)?;
        Ok(place.join(name))
    }

    /// The digest of what has a tag; none where nothing has.
    pub(super) fn digest_of(&self, tag: &str) -> io::Result<Option<String>> {
        let index = self.index()?;
        let found = manifests(&index).iter().rev().find(|manifest| name_of(manifest) == Some(tag));
        let digest = found.and_then(|manifest| manifest.get("digest")?.as_str()).filter(|digest| is_digest(digest));
        Ok(digest.map(str::to_owned))
    }

    /// Gives a tag to what this descriptor is of; what had it before has it no more.
    pub(super) fn name(&self, tag: &str, mut descriptor: Value) -> io::Result<()> {
        let mut index = match self.index() {
            Ok(index) => index,
            Err(error) if error.kind() == io::ErrorKind::NotFound => json!({"schemaVersion": 2}),
            Err(error) => return Err(error),
        };
        descriptor["annotations"][NAME] = json!(tag);
        let mut all: Vec<Value> = manifests(&index).iter().filter(|manifest| name_of(manifest) != Some(tag)).cloned().collect();
        all.push(descriptor);
        index["manifests"] = json!(all);
        self.write("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))?;
        self.write("index.json", &index)
    }

    fn index(&self) -> io::Result<Value> {
        let text = fs::read(self.root.join("index.json"))?;
        serde_json::from_slice(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Whole or not at all.
    fn write(&self, name: &str, value: &Value) -> io::Result<()> {
        let new = self.root.join(format!(".{name}.{}", std::process::id()));
        fs::write(&new, value.to_string())?;
        fs::rename(new, self.root.join(name))
    }
}

/// An `oci-layout://PATH[:TAG][@DIGEST]` as a context of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LayoutRef<'a> {
    pub(super) path: &'a str,
    pub(super) tag: &'a str,
    digest: Option<&'a str>,
}

impl<'a> LayoutRef<'a> {
    /// None for any other sort of context.
    pub(super) fn parse(place: &'a str) -> Option<Self> {
        let rest = place.strip_prefix("oci-layout://")?;
        let (rest, digest) = rest.split_once('@').map_or((rest, None), |(rest, digest)| (rest, Some(digest)));
        let (path, tag) = rest.split_once(':').unwrap_or((rest, LATEST));
        Some(Self { path, tag, digest })
    }

    /// The directory, seen from the one that the stack lies in.
    pub(super) fn layout(&self, directory: &Path) -> Layout {
        Layout::at(directory.join(self.path))
    }

    /// The digest of what is meant, or why there is none.
    pub(super) fn digest(&self, layout: &Layout) -> Result<String, String> {
        let digest = match self.digest {
            Some(digest) if is_digest(digest) => digest.to_owned(),
            Some(digest) => return Err(format!("`{digest}` is no digest")),
            None => match layout.digest_of(self.tag) {
                Ok(Some(digest)) => digest,
                Ok(None) => return Err(format!("nothing in `{}` is called `{}`", self.path, self.tag)),
                Err(error) => return Err(format!("read `{}/index.json`: {error}", self.path)),
            },
        };
        match layout.blob(&digest).map(fs::metadata) {
            Some(Ok(_)) => Ok(digest),
            Some(Err(error)) => Err(format!("`{}` has no `{digest}`: {error}", self.path)),
            None => Err(format!("`{digest}` is no digest")),
        }
    }
}

fn manifests(index: &Value) -> &[Value] {
    index.get("manifests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn name_of(manifest: &Value) -> Option<&str> {
    manifest.get("annotations")?.get(NAME)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_what_was_called_so_last() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path());
        assert_eq!(layout.digest_of(LATEST).unwrap_err().kind(), io::ErrorKind::NotFound);
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        for (tag, digit) in [(LATEST, "1"), ("other", "2"), (LATEST, "3")] {
            layout.name(tag, json!({"digest": digest(digit), "size": 1})).unwrap();
        }
        assert_eq!(layout.digest_of(LATEST).unwrap(), Some(digest("3")));
        assert_eq!(layout.digest_of("other").unwrap(), Some(digest("2")));
        assert_eq!(layout.digest_of("none").unwrap(), None);
        let index: Value = serde_json::from_slice(&fs::read(dir.path().join("index.json")).unwrap()).unwrap();
        assert_eq!((index["schemaVersion"].as_i64(), index["manifests"].as_array().unwrap().len()), (Some(2), 2));
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["index.json", "oci-layout"]);
    }

    #[test]
    fn a_context_names_a_directory_and_what_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let digest = format!("sha256:{}", "0a".repeat(32));
        let layout = Layout::at(dir.path().join("l"));
        let blob = layout.blob(&digest).unwrap();
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        layout.name("2", json!({"digest": digest})).unwrap();
        let found = |place: &str| {
            let place = LayoutRef::parse(place).unwrap();
            place.digest(&place.layout(dir.path()))
        };
        assert!(found("oci-layout://l:2").unwrap_err().contains("has no `sha256:"));
        fs::write(blob, "{}").unwrap();
        assert_eq!(found("oci-layout://l:2").as_ref(), Ok(&digest));
        assert_eq!(found(&format!("oci-layout://l@{digest}")).as_ref(), Ok(&digest));
        assert_eq!(found("oci-layout://l").unwrap_err(), "nothing in `l` is called `latest`");
        assert!(found("oci-layout://none").unwrap_err().contains("read `none/index.json`"));
        assert_eq!(found("oci-layout://l@../x").unwrap_err(), "`../x` is no digest");
        assert_eq!(LayoutRef::parse("docker-image://x"), None);
    }
}
