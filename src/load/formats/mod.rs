//! Other tools' files → the tree of a stack file, so that all later phases see one form.

pub mod process_compose;
pub mod procfile;

use std::path::Path;

use crate::base::diagnostic::Diagnostics;
use crate::base::source::SourceId;
use crate::yaml::node::Node;
use crate::yaml::parse;

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
