//! Which files describe the stack, which directory is its own, and which files of variables belong to it.
//!
//! The three hang together: a `.env` may name the stack's files, and where those lie decides which `.env` is read.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::dotenv::{self, Format};
use super::files::{FileKind, Files};
use super::variables::{Origin, Variables};
use super::{Loading, Request, remote};
use crate::base::diagnostic::Diagnostic;

/// Sought in this order, in the working directory and then in its parents.
pub(super) const NAMES: [&str; 9] = [
    "stack.yaml",
    "stack.yml",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "Procfile",
    "process-compose.yaml",
    "process-compose.yml",
];

/// The stack's files in order, and its directory; all absolute.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) files: Vec<PathBuf>,
    pub(super) directory: PathBuf,
    /// Those of the files that lie elsewhere, as they are named.
    pub(super) elsewhere: Vec<String>,
    /// Which stack it is, where the directory is that of a file which lies elsewhere.
    pub(super) origin: Option<String>,
}

/// Finds the stack. `variables` holds those of the caller, and gets those of `--env-file` or `.env`.
///
/// As in Compose, the `.env` of the directory from which the search starts is read before the one beside the stack file, and wins:
/// it may hold `COMPOSE_FILE`.
pub(super) fn stack(request: &Request, variables: &mut Variables, loading: &mut Loading<'_>) -> Result<Found, Diagnostic> {
    let explicit = named_env_files(request);
    let mut names = request.files.clone();
    let given = names.iter().map(|path| local(&request.working_dir, path, loading.files));
    let given: Vec<PathBuf> = given.collect::<Result<_, _>>()?;
    let start = match (&request.project_directory, given.first()) {
        (Some(directory), _) => absolute(&request.working_dir, directory),
        (None, Some(first)) if first != Path::new("-") => home_of(first, request, loading.files),
        (None, Some(_) | None) => request.working_dir.clone(),
    };
    if explicit.is_empty() {
        dotenv_of(&start, variables, loading);
    } else {
        env_files(&explicit, variables, loading);
    }
    let named = if given.is_empty() {
        names = named(variables);
        names.iter().map(|path| local(&request.working_dir, path, loading.files)).collect::<Result<_, _>>()?
    } else {
        given
    };
    let files = if named.is_empty() { sought(&start, loading.files)? } else { named };
    let first = files.first().expect("one is named or found");
    let directory = match &request.project_directory {
        Some(_) => start.clone(),
        None => home_of(first, request, loading.files),
    };
    for path in files.iter().filter(|path| *path != Path::new("-")) {
        match loading.files.kind(path) {
            Some(FileKind::File | FileKind::Other) => {}
            Some(FileKind::Directory) => {
                return Err(Diagnostic::error("no-stack-file", format!("`{}` is a directory, not a stack file", path.display())));
            }
            None => return Err(Diagnostic::error("no-stack-file", format!("there is no file `{}`", path.display()))),
        }
    }
    if explicit.is_empty() && directory != start {
        dotenv_of(&directory, variables, loading);
    }
    let is_elsewhere = |name: &&str| remote::of(name).is_some();
    let elsewhere = names.iter().filter_map(|name| name.to_str()).filter(is_elsewhere).map(str::to_owned).collect();
    let origin = names.first().and_then(|first| remote::of(first.to_str()?)).filter(|_| request.project_directory.is_none());
    Ok(Found { files, directory, elsewhere, origin: origin.map(|remote| remote.identity()) })
}

/// The directory that a stack has by its first file. A link to a stack file leads to the stack, not to the link's neighbours.
fn home_of(first: &Path, request: &Request, files: &dyn Files) -> PathBuf {
    if first == Path::new("-") {
        return request.working_dir.clone();
    }
    let real = files.canonical(first).unwrap_or_else(|_| first.to_owned());
    real.parent().map_or_else(|| request.working_dir.clone(), Path::to_owned)
}

/// A stack file, absolute; what lies elsewhere is fetched.
fn local(directory: &Path, path: &Path, files: &dyn Files) -> Result<PathBuf, Diagnostic> {
    path.to_str().and_then(|text| elsewhere(text, files)).unwrap_or_else(|| Ok(absolute(directory, path)))
}

/// The file that an address stands for, fetched; none where a text is a path of this host.
pub(super) fn elsewhere(text: &str, files: &dyn Files) -> Option<Result<PathBuf, Diagnostic>> {
    match remote::of(text) {
        Some(remote) => Some(files.fetch(&remote).map_err(|why| unreachable(text, &why))),
        None => remote::is_address(text).then(|| Err(no_place(text))),
    }
}

/// An address by which no stack is had, in Compose neither.
fn no_place(text: &str) -> Diagnostic {
    let fault = Diagnostic::error("unreachable", format!("`{}` is no address of a stack", remote::shown(text)));
    match text.strip_prefix("file://") {
        Some(path) => {
            let path = path.split('#').next().unwrap_or_default();
            fault.help(format!(
                "what lies on this host is named by its path, `{path}`; of a repository the stack file in a clone of it (`git clone {path}`)"
            ))
        }
        None => {
            fault.help("name a file, `oci://REGISTRY/NAME`, or a repository such as `https://HOST/NAME.git#REFERENCE:DIRECTORY`")
        }
    }
}

/// What lies elsewhere and cannot be fetched.
fn unreachable(name: &str, why: &str) -> Diagnostic {
    Diagnostic::error("unreachable", format!("`{}` cannot be fetched: {why}", remote::shown(name)))
}

/// What `$BAISTACK_FILE` or `$COMPOSE_FILE` name.
fn named(variables: &Variables) -> Vec<PathBuf> {
    let variable = |name: &str| variables.get(name).map(|variable| variable.value.as_str()).filter(|value| !value.is_empty());
    let separator = variable("COMPOSE_PATH_SEPARATOR").unwrap_or(":");
    let list = variable("BAISTACK_FILE").or_else(|| variable("COMPOSE_FILE"));
    let Some(list) = list else { return Vec::new() };
    // One address alone has what separates paths in itself.
    let is_one = remote::of(list).is_some() || list.split_once("://").is_some_and(|(scheme, _)| !scheme.contains(separator));
    let names = if is_one { vec![list] } else { list.split(separator).collect() };
    names.into_iter().map(PathBuf::from).collect()
}

/// What `--env-file` or the caller's `$COMPOSE_ENV_FILES` name.
fn named_env_files(request: &Request) -> Vec<PathBuf> {
    let in_working_dir = |path: &Path| absolute(&request.working_dir, path);
    if !request.env_files.is_empty() {
        return request.env_files.iter().map(|path| in_working_dir(path)).collect();
    }
    let list = request.environment.get("COMPOSE_ENV_FILES").map(String::as_str).unwrap_or_default();
    list.split(',').filter(|path| !path.is_empty()).map(|path| in_working_dir(Path::new(path))).collect()
}

/// The `.env` of a directory, if there is one and nobody has turned it off.
fn dotenv_of(directory: &Path, variables: &mut Variables, loading: &mut Loading<'_>) {
    let off = variables.get("COMPOSE_DISABLE_ENV_FILE").is_some_and(|variable| is_true(&variable.value));
    let path = directory.join(".env");
    if !off && loading.files.kind(&path) == Some(FileKind::File) {
        env_files(&[path], variables, loading);
    }
}

/// What Go's `strconv.ParseBool` calls true.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Gives the lines of files of variables: a later file wins over an earlier one, and what is given already over all of them.
pub(super) fn env_files(paths: &[PathBuf], variables: &mut Variables, loading: &mut Loading<'_>) {
    let mut lines: IndexMap<String, dotenv::Entry> = IndexMap::new();
    for path in paths {
        let Some((source, text)) = loading.read_unplaced(path, "env file") else { continue };
        let inherited = |name: &str| {
            let outer = variables.get(name).map(|variable| variable.value.as_str());
            outer.or_else(|| lines.get(name).map(|entry| entry.value.as_str()))
        };
        let (interpolator, diagnostics) = (&mut loading.interpolator, &mut loading.diagnostics);
        let entries = dotenv::parse(source, &text, Format::Compose, &inherited, interpolator, diagnostics);
        lines.extend(entries);
    }
    for (name, entry) in lines {
        variables.give(name, entry.value, Origin::File(entry.span));
    }
}

/// What to do where there is no stack file.
pub const NAME_ONE: &str = "name one with `-f FILE`, or write one with `baistack init`";

fn sought(start: &Path, files: &dyn Files) -> Result<Vec<PathBuf>, Diagnostic> {
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
        .help(NAME_ONE))
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
                result.push(part);
            }
        }
    }
    result
}
