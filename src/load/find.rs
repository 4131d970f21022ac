//! Which files describe the stack, and which directory is its own.

use std::path::{Path, PathBuf};

use super::Request;
use super::files::{FileKind, Files};
use crate::base::diagnostic::Diagnostic;

/// Sought in this order, in the working directory and then in its parents.
const NAMES: [&str; 7] =
    ["stack.yaml", "stack.yml", "compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml", "Procfile"];

/// The stack's files in order, and its directory; all absolute.
pub(super) fn files(request: &Request, files: &dyn Files) -> Result<(Vec<PathBuf>, PathBuf), Diagnostic> {
    let named = named(request);
    let found = if named.is_empty() { sought(request, files)? } else { named };
    let first = found.first().expect("one is named or found");
    let directory = match &request.project_directory {
        Some(directory) => absolute(&request.working_dir, directory),
        None if first == Path::new("-") => request.working_dir.clone(),
        None => {
            // A link to a stack file leads to the stack, not to the link's neighbours.
            let real = files.canonical(first).unwrap_or_else(|_| first.clone());
            real.parent().map_or_else(|| request.working_dir.clone(), Path::to_owned)
        }
    };
    for path in found.iter().filter(|path| *path != Path::new("-")) {
        match files.kind(path) {
            Some(FileKind::File | FileKind::Other) => {}
            Some(FileKind::Directory) => {
                return Err(Diagnostic::error("no-stack-file", format!("`{}` is a directory, not a stack file", path.display())));
            }
            None => return Err(Diagnostic::error("no-stack-file", format!("there is no file `{}`", path.display()))),
        }
    }
    Ok((found, directory))
}

/// What `-f`, `$BAISTACK_FILE` or `$COMPOSE_FILE` name.
fn named(request: &Request) -> Vec<PathBuf> {
    if !request.files.is_empty() {
        return request.files.iter().map(|path| absolute(&request.working_dir, path)).collect();
    }
    let variable = |name: &str| request.environment.get(name).filter(|value| !value.is_empty());
    let separator = variable("COMPOSE_PATH_SEPARATOR").map_or(":", String::as_str);
    let list = variable("BAISTACK_FILE").or_else(|| variable("COMPOSE_FILE"));
    let paths = list.map(|list| list.split(separator).map(|path| absolute(&request.working_dir, Path::new(path))).collect());
    paths.unwrap_or_default()
}

fn sought(request: &Request, files: &dyn Files) -> Result<Vec<PathBuf>, Diagnostic> {
    let start =
        request.project_directory.as_ref().map_or_else(|| request.working_dir.clone(), |dir| absolute(&request.working_dir, dir));
    for directory in start.ancestors() {
        for name in NAMES {
            let path = directory.join(name);
            if files.kind(&path) != Some(FileKind::File) {
                continue;
            }
            let mut found = vec![path];
            if let Some((stem, _)) = name.split_once('.').filter(|(stem, _)| stem.ends_with("compose")) {
                let siblings = ["yml", "yaml"].map(|ending| directory.join(format!("{stem}.override.{ending}")));
                found.extend(siblings.into_iter().find(|path| files.kind(path) == Some(FileKind::File)));
            }
            return Ok(found);
        }
    }
    Err(Diagnostic::error("no-stack-file", format!("there is no stack file in `{}` or above it", start.display()))
        .note(format!("sought: {}", NAMES.join(", ")))
        .help("name one with `-f FILE`"))
}

/// A path as seen from a directory, without `.` and with `..` worked out as far as no link is crossed.
pub(super) fn absolute(directory: &Path, path: &Path) -> PathBuf {
    if path == Path::new("-") {
        return path.to_owned();
    }
    let mut result = PathBuf::new();
    for part in directory.join(path).components() {
        match part {
            std::path::Component::ParentDir => {
                result.pop();
            }
            std::path::Component::CurDir => {}
            std::path::Component::Prefix(_) | std::path::Component::RootDir | std::path::Component::Normal(_) => {
                result.push(part)
            }
        }
    }
    result
}
