//! Files that exist in a test alone, and a load of them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use baistack::load::files::{FileKind, Files};
use baistack::load::{self, Loaded, Request, Values};
use baistack::view::diagnostics::{Look, render};
use baistack::yaml::emit::json_value;
use baistack::yaml::node::Node;

/// Files by their path below `/stack`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<PathBuf, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        let is_directory = || self.0.keys().any(|file| file.starts_with(path));
        let directory = || is_directory().then_some(FileKind::Directory);
        if self.0.contains_key(path) { Some(FileKind::File) } else { directory() }
    }
}

impl Memory {
    /// These files.
    pub(crate) fn of<T: AsRef<[u8]>>(files: impl IntoIterator<Item = (impl AsRef<Path>, T)>) -> Self {
        let below = |(path, text): (_, T)| (Path::new("/stack").join(path), text.as_ref().to_vec());
        Self(files.into_iter().map(|(path, text)| (path.as_ref().to_owned(), text)).map(below).collect())
    }

    /// Loads them; the request's directory is theirs unless it says otherwise.
    pub(crate) fn load(&self, request: Request) -> Outcome {
        let mut request = request;
        if request.working_dir.as_os_str().is_empty() {
            request.working_dir = PathBuf::from("/stack");
        }
        let (head, sources, found) = load::head(&request, self);
        let look = Look { directory: Path::new("/stack"), color: false, width: Some(100) };
        if found.has_errors() {
            let codes = found.sorted().iter().map(|found| found.code).collect();
            return Outcome { codes, told: render(&found, &sources, &look), tree: serde_json::Value::Null, node: None };
        }
        let name = head.environment.get("COMPOSE_PROJECT_NAME").or(head.name.as_ref()).cloned();
        let port = |(name, port): (&String, &baistack::model::port::NamedPort)| (name.clone(), port.first.to_string());
        let values = Values {
            env_id: name.and_then(|name| name.parse().ok()).unwrap_or_else(|| "stack".parse().unwrap()),
            predefined: [("ENVID".to_owned(), "stack".to_owned())].into(),
            ports: head.named_ports.iter().map(port).collect(),
            generated: indexmap::IndexMap::new(),
        };
        let Loaded { tree, sources, diagnostics, .. } = load::stack(&request, &head, &values, self);
        let codes = diagnostics.sorted().iter().map(|found| found.code).collect();
        Outcome { codes, told: render(&diagnostics, &sources, &look), tree: json_value(&tree), node: Some(tree) }
    }
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The codes of all findings, by place.
    pub(crate) codes: Vec<&'static str>,
    /// The findings as they are shown.
    pub(crate) told: String,
    /// What `config` prints.
    pub(crate) tree: serde_json::Value,
    /// The same with its places; none when no stack was found.
    pub(crate) node: Option<Node>,
}

impl Outcome {
    /// A value by its JSON pointer.
    pub(crate) fn at(&self, pointer: &str) -> &serde_json::Value {
        self.tree.pointer(pointer).unwrap_or(&serde_json::Value::Null)
    }
}
