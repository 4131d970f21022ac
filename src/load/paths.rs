//! Relative paths of one file's tree become absolute, where the table says that a value is a path.

use std::path::Path as FilePath;

use super::find::absolute;
use super::schema::{ROOT, Shape};
use crate::yaml::node::{Kind, Node, Scalar, Value};
use crate::yaml::path::Pattern;

/// Where mounts stand, of which a bind's source is a path.
const MOUNTS: [Pattern; 3] =
    [Pattern::new("services.*.volumes[]"), Pattern::new("services.*.pre_start[].volumes[]"), Pattern::new("jobs.*.volumes[]")];

/// Makes the relative paths of one file's tree absolute.
pub(super) fn paths(root: &mut Node, directory: &FilePath, home: Option<&str>) {
    static WHOLE: Shape = Shape::Object(&ROOT);
    let paths = Paths { directory, home };
    paths.below(&WHOLE, root);
    let bind = |node: &mut Node| {
        if node.get("type").and_then(Node::as_text) == Some("bind")
            && let Some(source) = node.as_mapping_mut().and_then(|mount| mount.get_mut("source"))
        {
            paths.make(source);
        }
    };
    for mounts in MOUNTS {
        mounts.for_each_mut(root, |_, node| bind(node));
    }
    Pattern::new("volumes.*").for_each_mut(root, |_, volume| paths.device(volume));
}

struct Paths<'a> {
    directory: &'a FilePath,
    home: Option<&'a str>,
}

impl Paths<'_> {
    fn below(&self, shape: &'static Shape, node: &mut Node) {
        match (shape.long(), &mut node.value) {
            (Shape::Path, Value::Scalar(_)) => self.make(node),
            (Shape::PathOrUrl, Value::Scalar(scalar)) if !is_remote(&scalar.text) => self.make(node),
            (Shape::List(items), Value::Sequence(list)) => list.iter_mut().for_each(|item| self.below(items, item)),
            (Shape::Map(values) | Shape::Named(values), Value::Mapping(mapping)) if may_hold(values) => {
                mapping.iter_mut().for_each(|(_, entry)| self.below(values, &mut entry.node));
            }
            (Shape::Object(object), Value::Mapping(mapping)) => {
                for (key, entry) in mapping.iter_mut() {
                    if let Some(attribute) = object.get(key) {
                        self.below(&attribute.shape, &mut entry.node);
                    }
                }
            }
            _ => {}
        }
    }

    /// What is absolute stays as it was written.
    fn make(&self, node: &mut Node) {
        let Value::Scalar(Scalar { text, kind: Kind::Text }) = &mut node.value else { return };
        // `~me` is no user's home for Compose, but what is called `me` in the caller's.
        if let (Some(rest), Some(home)) = (text.strip_prefix('~'), self.home) {
            *text = absolute(FilePath::new(home), FilePath::new(rest.trim_start_matches('/'))).display().to_string();
        }
        if !FilePath::new(text.as_str()).is_absolute() && !is_of_windows(text) {
            *text = absolute(self.directory, FilePath::new(text.as_str())).display().to_string();
        }
    }

    /// A volume that is a bind in disguise.
    fn device(&self, volume: &mut Node) {
        let is_local = volume.get("driver").and_then(Node::as_text) == Some("local");
        let Some(options) = volume.as_mapping_mut().and_then(|volume| volume.get_mut("driver_opts")) else { return };
        let is_bind = options.get("o").and_then(Node::as_text) == Some("bind");
        if let (true, true, Some(device)) =
            (is_local, is_bind, options.as_mapping_mut().and_then(|options| options.get_mut("device")))
        {
            self.make(device);
        }
    }
}

/// Whether there can be a path below, so that long mappings of texts are not walked.
fn may_hold(shape: &Shape) -> bool {
    !matches!(shape, Shape::Single | Shape::SingleOrNull | Shape::Any | Shape::Text)
}

fn is_of_windows(text: &str) -> bool {
    matches!(text.as_bytes(), [drive, b':', b'\\' | b'/', ..] if drive.is_ascii_alphabetic()) || text.starts_with(r"\\")
}

/// A build context that is no directory of this host.
fn is_remote(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@") || text.starts_with("github.com/") || text.starts_with("service:")
}
