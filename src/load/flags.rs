//! Short forms on the command line: `run -v` and `run -p` read what the files read.

use std::path::{Component, Path as FsPath, PathBuf};

use indexmap::IndexMap;
use serde::de::DeserializeOwned;

use super::dotenv::{self, Format};
use super::interpolate::Interpolator;
use super::short;
use crate::base::diagnostic::Diagnostics;
use crate::base::source::{SourceId, SourceMap, Span};
use crate::model::mount::{Mount, MountKind};
use crate::model::port::Port;
use crate::yaml::node::{Node, Value};
use crate::yaml::place::Place;
use crate::yaml::typed::typed;

/// Turns short forms into long ones, in place.
type LongForm = fn(&Place<'_>, &mut Node, &mut Diagnostics);

/// `SOURCE:TARGET[:OPTIONS]`. A relative path is relative to `directory`, one with `~` to `home`.
pub fn mount(text: &str, directory: &FsPath, home: Option<&str>) -> Result<Mount, String> {
    let mut mounts: Vec<Mount> = read(text, short::volumes)?;
    let mut mount = mounts.pop().ok_or_else(|| format!("`{text}` is not a mount"))?;
    if mount.kind == MountKind::Bind
        && let Some(source) = &mut mount.source
    {
        let path = match (source.strip_prefix('~'), home) {
            (Some(rest), Some(home)) => FsPath::new(home).join(rest.trim_start_matches('/')),
            (Some(_), None) | (None, _) => directory.join(&*source),
        };
        *source = plain(&path).display().to_string();
    }
    Ok(mount)
}

/// `[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`; a range is several.
pub fn ports(text: &str) -> Result<Vec<Port>, String> {
    read(text, short::ports)
}

/// The variables of a file that a flag names, as those of an `env_file`: the caller's come first in what they refer to.
pub fn env_file(
    source: SourceId,
    text: &str,
    caller: &IndexMap<String, String>,
    found: &mut Diagnostics,
) -> impl Iterator<Item = (String, String)> + use<> {
    let inherited = |name: &str| caller.get(name).map(String::as_str);
    let entries = dotenv::parse(source, text, Format::Compose, &inherited, &mut Interpolator::default(), found);
    entries.into_iter().map(|(name, entry)| (name, entry.value))
}

/// Splits a command as the files do.
pub fn words(text: &str) -> Vec<String> {
    short::split_words(text)
}

fn read<T: DeserializeOwned>(text: &str, long: LongForm) -> Result<T, String> {
    let source = SourceMap::default().add("command line", text);
    let span = Span { source, start: 0, end: u32::try_from(text.len()).unwrap_or(u32::MAX) };
    let mut list = Node::new(Value::Sequence(vec![Node::text(text, span)]), span);
    let mut diagnostics = Diagnostics::default();
    long(&Place::ROOT, &mut list, &mut diagnostics);
    let read = if diagnostics.has_errors() { None } else { typed(&list, "bad-flag", &mut diagnostics) };
    read.ok_or_else(|| diagnostics.sorted().first().map_or_else(|| format!("`{text}` cannot be read"), |d| d.message.clone()))
}

/// Without `.` and `..`, as far as the text goes.
fn plain(path: &FsPath) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => plain.push(component),
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_files_are() {
        let read = |text| mount(text, FsPath::new("/stack"), Some("/home/u")).unwrap();
        let of = |text| (read(text).kind, read(text).source, read(text).target);
        assert_eq!(of("./src/../x:/app:ro"), (MountKind::Bind, Some("/stack/x".to_owned()), "/app".to_owned()));
        assert_eq!(of("~/x:/app"), (MountKind::Bind, Some("/home/u/x".to_owned()), "/app".to_owned()));
        assert_eq!(of("data:/var"), (MountKind::Volume, Some("data".to_owned()), "/var".to_owned()));
        assert!(read("./a:/app:ro").read_only);
        let published: Vec<_> = ports("127.0.0.1:8080-8081:80-81").unwrap().into_iter().map(|port| port.published).collect();
        assert_eq!(published, [Some("8080".to_owned()), Some("8081".to_owned())]);
        assert!(ports("x:y").is_err() && mount("aa:bb:cc:dd", FsPath::new("/"), None).is_err());
    }
}
