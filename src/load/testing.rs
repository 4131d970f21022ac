//! A stack loaded from texts, for tests.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{FileKind, Files};
use super::{Loaded, Request, Values, head, stack};
use crate::base::diagnostic::Diagnostics;

pub(crate) struct Texts(BTreeMap<PathBuf, String>);

impl Texts {
    /// Texts by name, as if they lay in `/app`.
    pub(crate) fn of(texts: &[(&str, &str)]) -> Self {
        Self(texts.iter().map(|(name, text)| (Path::new("/app").join(name), (*text).to_owned())).collect())
    }
}

impl Files for Texts {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        let is_directory = || self.0.keys().any(|file| file.starts_with(path));
        if self.0.contains_key(path) { Some(FileKind::File) } else { is_directory().then_some(FileKind::Directory) }
    }
}

/// Loads texts by name as if they lay in `/app`: those that end in `.yaml` are the stack's files, in order, unless their name
/// begins with `_`. Its environment is `app`.
pub(crate) fn load(texts: &[(&str, &str)]) -> Loaded {
    load_to_run(texts, None)
}

/// The same, to run a service or a job.
pub(crate) fn load_to_run(texts: &[(&str, &str)], runs: Option<&str>) -> Loaded {
    let files = Texts::of(texts);
    let named = texts.iter().map(|(name, _)| Path::new("/app").join(name));
    let is_of_the_stack =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml") && !path.display().to_string().contains("/_");
    let request = Request {
        working_dir: PathBuf::from("/app"),
        files: named.filter(is_of_the_stack).collect(),
        environment: [("HOME".to_owned(), "/home/me".to_owned()), ("TAG".to_owned(), "7".to_owned())].into_iter().collect(),
        services: runs.map(str::to_owned).into_iter().collect(),
        runs: runs.map(str::to_owned),
        ..Request::default()
    };
    let (head, sources, diagnostics) = head(&request, &files);
    if diagnostics.has_errors() {
        let tree = crate::yaml::node::Node::new(
            crate::yaml::node::Value::Null,
            crate::base::source::Span { source: crate::base::source::SourceId(0), start: 0, end: 0 },
        );
        let unstartable = Diagnostics::default();
        return Loaded { stack: crate::model::stack::Stack::default(), tree, sources, diagnostics, unstartable };
    }
    let values = Values {
        env_id: "app".parse().expect("a name"),
        predefined: indexmap::IndexMap::new(),
        ports: head.named_ports.iter().map(|(name, port)| (name.clone(), port.first.to_string())).collect(),
        generated: indexmap::IndexMap::new(),
    };
    stack(&request, &head, &values, &files)
}
