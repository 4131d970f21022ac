//! Other tools' files → the tree of a stack file, so that all later phases see one form.

pub mod process_compose;
pub mod procfile;

use std::path::{Path, PathBuf};

use crate::base::diagnostic::Diagnostics;
use crate::base::source::SourceId;
use crate::yaml::node::{Node, Value};
use crate::yaml::parse;
use crate::yaml::path::Pattern;

/// How a file is written, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As a stack file, which every Compose file is.
    Stack,
    /// As Foreman's `Procfile`.
    Procfile,
    /// As a `process-compose.yaml`.
    ProcessCompose,
}

impl Format {
    /// The format of a file.
    pub fn of(path: &Path) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if name.starts_with("Procfile") {
            Self::Procfile
        } else if name.starts_with("process-compose") {
            Self::ProcessCompose
        } else {
            Self::Stack
        }
    }

    /// The documents of a file, as a stack file would have them. `first_port` is what a Procfile begins to count at.
    pub fn read(self, source: SourceId, text: &str, first_port: u32, diagnostics: &mut Diagnostics) -> Vec<Node> {
        match self {
            Self::Stack => parse::parse(source, text, diagnostics).unwrap_or_default(),
            Self::Procfile => vec![procfile::parse(source, text, first_port, diagnostics)],
            Self::ProcessCompose => {
                let documents = parse::parse(source, text, diagnostics).unwrap_or_default();
                documents.into_iter().map(|document| process_compose::stack(document, diagnostics)).collect()
            }
        }
    }
}

/// Where a process of a converted file names paths, beside the directory that it runs in.
const PATHS: [Pattern; 4] = [
    Pattern::new("processes.*.env_file"),
    Pattern::new("processes.*.env_file[]"),
    Pattern::new("processes.*.env_file[].path"),
    Pattern::new("processes.*.develop.watch[].path"),
];

/// Makes a converted file's processes run as before in a stack that lies elsewhere: `way` leads from its directory to the file's.
pub fn seen_from_elsewhere(stack: &mut Node, way: &Path) {
    if way.as_os_str().is_empty() {
        return;
    }
    for pattern in PATHS {
        pattern.for_each_mut(stack, |_, node| lead(way, node));
    }
    Pattern::new("processes.*").for_each_mut(stack, |_, process| {
        let span = process.span;
        let Some(process) = process.as_mapping_mut() else { return };
        match process.get_mut("working_dir") {
            Some(given) => lead(way, given),
            None => drop(process.insert("working_dir", span, Node::text(way.display().to_string(), span))),
        }
    });
}

/// Puts the way before a relative path.
fn lead(way: &Path, path: &mut Node) {
    let Value::Scalar(scalar) = &mut path.value else { return };
    if !scalar.text.starts_with(['/', '~', '$']) {
        let below = scalar.text.strip_prefix("./").unwrap_or(&scalar.text);
        scalar.text = if below == "." { way.to_owned() } else { PathBuf::from(way).join(below) }.display().to_string();
    }
}
