//! Which environment a command is about.
//!
//! A name that was made for a directory is recorded twice: in the directory (`.baistack/envid`), so that it moves along, and
//! in the state (with the directory's path and inode), so that a copy can be told from the original.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::envdir::{EnvDir, StateDir, StateError};
use super::owner::Inode;
use super::{disk, values};
use crate::base::name::{EnvId, NameError};

/// What a name can be taken from.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `-p`.
    pub option: Option<&'a str>,
    /// The variables of the caller and of `.env`.
    pub variables: &'a IndexMap<String, String>,
    /// `name:` of the stack.
    pub name: Option<&'a str>,
    /// The stack's directory, all links resolved.
    pub directory: &'a Path,
    /// Which stack it is, where it lies elsewhere: its directory is another one then with each edition.
    pub origin: Option<&'a str>,
    /// Whether the stack's files use any key of ours.
    pub has_own_keys: bool,
}

/// What the name is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run the stack: a name is made if need be, and recorded.
    Run,
    /// To do something with what runs. Nothing is recorded.
    Use,
    /// Only to show something. Nothing is recorded.
    Show,
}

/// A name, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub id: EnvId,
    /// It was made just now: to be printed.
    pub made: bool,
}

/// Why there is no name.
#[derive(Debug, thiserror::Error)]
pub enum EnvIdError {
    /// What was given is none.
    #[error("use `{text}` (from {origin}) as the environment's name")]
    Name {
        /// What was given.
        text: String,
        /// Where.
        origin: &'static str,
        /// Why not.
        source: NameError,
    },
    /// Nothing is left of the directory's name.
    #[error("make an environment's name of the directory `{}`; give one with `-p`", .0.display())]
    Directory(PathBuf),
    /// It is another directory's.
    #[error(
        "use the environment `{id}`: it is the one of `{}`; choose another name with `-p NAME`, or, if nothing of it is needed \
         any more, remove it with `baistack purge -p {id}`",
        directory.display()
    )]
    Elsewhere {
        /// The name.
        id: EnvId,
        /// Whose it is.
        directory: PathBuf,
    },
    /// What the caller says is another directory's, and up there.
    #[error(
        "use the environment `{id}`: it is up in `{}`{}; choose another name with `-p NAME`, or take it down there first: \
         `baistack down -p {id}`",
        directory.display(), in_brackets(units)
    )]
    Up {
        /// The name.
        id: EnvId,
        /// Whose it is.
        directory: PathBuf,
        /// What there is of it.
        units: Vec<String>,
    },
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Some of many names, for a sentence: ` (a, b, c)`; nothing of none.
pub fn in_brackets(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut shown: Vec<String> = names.iter().take(SHOWN).cloned().collect();
    if names.len() > SHOWN {
        shown.push(format!("{} more", names.len() - SHOWN));
    }
    if shown.is_empty() { String::new() } else { format!(" ({})", shown.join(", ")) }
}

/// The directory that an environment remembers, as `directory.json` in its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Its path, links resolved.
    pub path: PathBuf,
    /// Which one it is: that goes along when it is moved, and a copy is another.
    #[serde(flatten)]
    inode: Inode,
    /// Whether the name was made for this directory, or taken from that of a stack elsewhere.
    made: bool,
    /// Which stack it is that was fetched to the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

impl Home {
    fn of(asked: &Asked<'_>, made: bool) -> io::Result<Self> {
        let there = fs::metadata(asked.directory)?;
        let origin = asked.origin.map(str::to_owned);
        Ok(Self { path: asked.directory.to_owned(), inode: Inode::of(&there), made, origin })
    }

    fn is_inode_of(&self, there: &fs::Metadata) -> bool {
        self.inode.is(there)
    }

    /// Whether it is the one remembered: the same stack elsewhere, whatever edition of it; else the same path, or the same inode
    /// under another path (it was moved).
    fn is(&self, directory: &Path, origin: Option<&str>) -> bool {
        if let (Some(known), Some(origin)) = (self.origin.as_deref(), origin) {
            return known == origin;
        }
        self.path == directory || fs::metadata(directory).is_ok_and(|there| self.is_inode_of(&there))
    }

    /// Where the remembered directory is by now: where it was, else where one of these or something beside it has its inode.
    /// None when it is nowhere there.
    fn found(&self, id: &EnvId, here: &Path) -> Option<PathBuf> {
        // Things are removed there: where only the number of its inode speaks for a directory, it must have the record too.
        let is_it = |path: &PathBuf| {
            let is_known = || self.inode.is_certain() || recorded_in(path).as_ref() == Some(id);
            fs::metadata(path).is_ok_and(|there| there.is_dir() && self.is_inode_of(&there)) && is_known()
        };
        if is_it(&self.path) {
            return Some(self.path.clone());
        }
        let beside = || fs::read_dir(self.path.parent()?).ok()?.flatten().map(|entry| entry.path()).find(is_it);
        here.ancestors().map(Path::to_owned).find(is_it).or_else(beside)
    }

    /// Whether the remembered directory still stands where it stood: the path is there, and is the same directory or one
    /// that carries the environment's record.
    fn stands(&self, id: &EnvId) -> bool {
        fs::metadata(&self.path).is_ok_and(|there| self.is_inode_of(&there) || recorded_in(&self.path).as_ref() == Some(id))
    }
}

/// A directory under another path than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Where it was.
    pub from: PathBuf,
    /// Where it is.
    pub to: PathBuf,
}

impl Moved {
    /// Where a path is that lay in the directory; any other is where it was.
    pub fn path(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.from) {
            Ok(below) if below.as_os_str().is_empty() => self.to.clone(),
            Ok(below) => self.to.join(below),
            Err(_) => path.to_owned(),
        }
    }
}

impl EnvDir {
    /// The directory that the environment remembers.
    pub fn home(&self) -> Result<Option<Home>, StateError> {
        self.read("directory.json")
    }

    /// Where the remembered directory was and is, if it has been moved: `here` and what it lies in, and what lies beside the
    /// place where it was, are looked at.
    pub fn moved(&self, here: &Path) -> Result<Option<Moved>, StateError> {
        let Some(home) = self.home()? else { return Ok(None) };
        // Another directory may have taken its place: one that carries the record is it all the same.
        if home.stands(self.id()) {
            return Ok(None);
        }
        Ok(home.found(self.id(), here).map(|to| Moved { from: home.path, to }))
    }

    fn set_home(&self, home: &Home) -> Result<(), StateError> {
        self.create()?;
        self.write("directory.json", home)
    }

    /// Why a stack may not be run under this name though its caller says so: of an environment that is up in another directory two
    /// stacks would run under one name. One that was taken down goes to whoever names it.
    pub fn up_elsewhere(&self, directory: &Path, origin: Option<&str>) -> Result<Option<EnvIdError>, StateError> {
        let Some(directory) = self.owner_besides(directory, origin)?.filter(|_| self.is_up()) else { return Ok(None) };
        let units = self.units().iter().map(ToString::to_string).collect();
        Ok(Some(EnvIdError::Up { id: self.id().clone(), directory, units }))
    }

    /// The existing directory, other than this one, or the stack elsewhere, other than this one, whose environment it is.
    pub fn owner_besides(&self, directory: &Path, origin: Option<&str>) -> Result<Option<PathBuf>, StateError> {
        let home = match self.home() {
            Ok(home) => home,
            // What it was started from says it too, as does the directory's own record.
            Err(_) if self.stack_dir().as_deref() == Some(directory) || recorded_in(directory).as_ref() == Some(self.id()) => {
                None
            }
            Err(error) => return Err(error),
        };
        let other = home.filter(|home| !home.is(directory, origin) && home.stands(self.id()));
        Ok(other.map(|home| home.origin.map_or(home.path, PathBuf::from)))
    }
}

/// Finds the environment's name; for [`Purpose::Run`] makes one if need be, and records the directory.
///
/// For `Run` the caller holds [`StateDir::host_lock`], so that two `up` in one directory agree.
pub fn env_id(state: &StateDir, asked: &Asked<'_>, purpose: Purpose) -> Result<Identity, EnvIdError> {
    let identity = find(state, asked, purpose)?;
    if purpose == Purpose::Run {
        let env = state.env(&identity.id);
        let was_made = env.home()?.is_some_and(|home| home.made && home.is(asked.directory, asked.origin));
        let is_named = || Ok::<_, EnvIdError>(given(state, asked, purpose)?.is_some() || named(asked).is_some());
        let made = identity.made || was_made || asked.origin.is_some() && !is_named()?;
        let home = Home::of(asked, made).map_err(StateError::at("look at", asked.directory))?;
        env.set_home(&home)?;
        // What was fetched is nobody's own, and the next edition lies elsewhere.
        if made && asked.origin.is_none() {
            record(asked.directory, &identity.id)?;
        }
    }
    Ok(identity)
}

fn find(state: &StateDir, asked: &Asked<'_>, purpose: Purpose) -> Result<Identity, EnvIdError> {
    let known = |id| Ok(Identity { id, made: false });
    if let Some(id) = given(state, asked, purpose)? {
        let up = if purpose == Purpose::Run { state.env(&id).up_elsewhere(asked.directory, asked.origin)? } else { None };
        return up.map_or_else(|| known(id), Err);
    }
    if let Some(text) = named(asked) {
        // A name in a file is made to fit, as Compose does; those that the caller gives have to be right.
        let id = EnvId::normalized(text).map_or_else(|| parse(text, "`name:`"), Ok)?;
        return known(not_elsewhere(state, id, asked)?);
    }
    if let Some(id) = recorded(state, asked.directory, asked.origin)? {
        return known(id);
    }
    let compose = asked.directory.file_name().and_then(|name| EnvId::normalized(&name.to_string_lossy()));
    // A stack that was run under its directory's name and has got keys of ours since then keeps its volumes.
    let runs_already =
        |id: &EnvId| Ok::<_, StateError>(state.env(id).home()?.is_some_and(|home| home.is(asked.directory, asked.origin)));
    match compose {
        // Whoever does something does it to the environment of that name, whosever it is; to look at one harms nobody.
        Some(id) if purpose == Purpose::Use || (purpose == Purpose::Run && (!asked.has_own_keys || runs_already(&id)?)) => {
            known(not_elsewhere(state, id, asked)?)
        }
        Some(id) if purpose == Purpose::Show => known(id),
        None if !asked.has_own_keys || purpose != Purpose::Run => Err(EnvIdError::Directory(asked.directory.to_owned())),
        Some(_) | None => Ok(Identity { id: make(state)?, made: true }),
    }
}

/// What the caller says: `-p`, else a variable.
fn given(state: &StateDir, asked: &Asked<'_>, purpose: Purpose) -> Result<Option<EnvId>, EnvIdError> {
    if let Some(text) = asked.option {
        return Ok(Some(parse(text, "`-p`")?));
    }
    let variable = |name: &str| asked.variables.get(name).filter(|text| !text.is_empty());
    if let Some(text) = variable("BAISTACK_ENVID") {
        let id = parse(text, "`BAISTACK_ENVID`")?;
        // Every service inherits it, and a shell inside one must not run another stack under that name by accident.
        if purpose != Purpose::Run || state.env(&id).owner_besides(asked.directory, asked.origin)?.is_none() {
            return Ok(Some(id));
        }
    }
    variable("COMPOSE_PROJECT_NAME").map(|text| parse(text, "`COMPOSE_PROJECT_NAME`")).transpose()
}

fn parse(text: &str, origin: &'static str) -> Result<EnvId, EnvIdError> {
    text.parse().map_err(|source| EnvIdError::Name { text: text.to_owned(), origin, source })
}

/// `name:`, if it is one.
fn named<'a>(asked: &Asked<'a>) -> Option<&'a str> {
    asked.name.filter(|text| !text.is_empty())
}

fn not_elsewhere(state: &StateDir, id: EnvId, asked: &Asked<'_>) -> Result<EnvId, EnvIdError> {
    match state.env(&id).owner_besides(asked.directory, asked.origin)? {
        Some(directory) => Err(EnvIdError::Elsewhere { id, directory }),
        None => Ok(id),
    }
}

/// The name recorded for this directory: in it, unless the record came along with a copy; else in the state (the record in
/// the directory is not under git's eyes and falls to `git clean -x`).
/// Of a stack elsewhere it is in the state alone.
pub fn recorded(state: &StateDir, directory: &Path, origin: Option<&str>) -> Result<Option<EnvId>, StateError> {
    if origin.is_none()
        && let Some(id) = recorded_in(directory)
        && state.env(&id).owner_besides(directory, None)?.is_none()
    {
        return Ok(Some(id));
    }
    for env in state.list()? {
        // That of another environment may be broken, which `doctor` tells; one whose record this would have been is still listed.
        if env.home().ok().flatten().is_some_and(|home| home.made && home.is(directory, origin)) {
            return Ok(Some(env.id().clone()));
        }
    }
    Ok(None)
}

fn recorded_in(directory: &Path) -> Option<EnvId> {
    fs::read_to_string(directory.join(".baistack/envid")).ok()?.trim().parse().ok()
}

/// Takes the record of a name away from its directory, and our directory with it when nothing else is in it.
pub fn forget(directory: &Path, id: &EnvId) -> Result<(), StateError> {
    if recorded_in(directory).as_ref() != Some(id) {
        return Ok(());
    }
    let own = directory.join(".baistack");
    let record = own.join("envid");
    fs::remove_file(&record).map_err(StateError::at("remove", &record))?;
    let is_empty = fs::read_dir(&own).is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == ".gitignore"));
    if is_empty {
        fs::remove_dir_all(&own).map_err(StateError::at("remove", &own))?;
    }
    Ok(())
}

fn record(directory: &Path, id: &EnvId) -> Result<(), StateError> {
    if recorded_in(directory).as_ref() == Some(id) {
        return Ok(());
    }
    let path = directory.join(".baistack/envid");
    let written = make_own_dir(directory).and_then(|_| disk::replace(&path, format!("{id}\n").as_bytes(), 0o644));
    match written {
        // A directory that we may not write to is found through the state alone.
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => Ok(()),
        written => written.map_err(StateError::at("write", &path)),
    }
}

/// Our directory in a stack's directory.
pub fn own_dir(directory: &Path) -> PathBuf {
    directory.join(".baistack")
}

/// Makes our directory in a stack's directory, and tells git to ignore it.
pub fn make_own_dir(directory: &Path) -> io::Result<PathBuf> {
    let own = own_dir(directory);
    fs::create_dir_all(&own)?;
    let ignore = own.join(".gitignore");
    if !ignore.exists() {
        disk::replace(&ignore, b"*\n", 0o644)?;
    }
    Ok(own)
}

fn make(state: &StateDir) -> Result<EnvId, StateError> {
    loop {
        let name = values::env_name().map_err(StateError::at("read", Path::new("/dev/urandom")))?;
        let id: EnvId = name.parse().expect("a letter and seven letters or digits are a name");
        if !state.env(&id).path().exists() {
            return Ok(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with a state and some directories.
    struct Host {
        root: tempfile::TempDir,
        state: StateDir,
    }

    impl Host {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let state = StateDir::at(root.path().canonicalize().unwrap().join("state/baistack"));
            Self { root, state }
        }

        fn dir(&self, name: &str) -> PathBuf {
            let path = self.root.path().canonicalize().unwrap().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        }

        fn ask(&self, dir: &Path, purpose: Purpose, what: What<'_>) -> Result<Identity, EnvIdError> {
            let variables = what.variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let asked = Asked {
                option: what.option,
                variables: &variables,
                name: what.name,
                directory: dir,
                origin: what.origin,
                has_own_keys: !what.compose,
            };
            env_id(&self.state, &asked, purpose)
        }

        fn up(&self, dir: &Path, what: What<'_>) -> String {
            self.ask(dir, Purpose::Run, what).unwrap().id.to_string()
        }
    }

    #[derive(Debug, Default, Clone, Copy)]
    struct What<'a> {
        option: Option<&'a str>,
        variables: &'a [(&'a str, &'a str)],
        name: Option<&'a str>,
        origin: Option<&'a str>,
        compose: bool,
    }

    fn own() -> What<'static> {
        What::default()
    }

    fn compose() -> What<'static> {
        What { compose: true, ..What::default() }
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to.join(".baistack")).unwrap();
        fs::copy(from.join(".baistack/envid"), to.join(".baistack/envid")).unwrap();
    }

    #[test]
    fn the_first_of_option_variables_and_name_counts() {
        let host = Host::new();
        let dir = host.dir("App");
        let all = What {
            option: Some("opt"),
            variables: &[("BAISTACK_ENVID", "own"), ("COMPOSE_PROJECT_NAME", "theirs")],
            name: Some("named"),
            origin: None,
            compose: true,
        };
        assert_eq!(host.up(&dir, all), "opt");
        assert_eq!(host.up(&dir, What { option: None, ..all }), "own");
        assert_eq!(host.up(&dir, What { option: None, variables: &all.variables[1..], ..all }), "theirs");
        assert_eq!(host.up(&dir, What { name: Some("named"), ..compose() }), "named");
        assert_eq!(host.up(&dir, compose()), "app");
        assert!(matches!(host.ask(&dir, Purpose::Use, What { option: Some("A/b"), ..all }), Err(EnvIdError::Name { .. })));
    }

    #[test]
    fn a_new_name_is_made_once_and_git_is_told_to_ignore_it() {
        let host = Host::new();
        let dir = host.dir("app");
        let first = host.ask(&dir, Purpose::Run, own()).unwrap();
        assert!(first.made);
        assert_eq!(fs::read_to_string(dir.join(".baistack/.gitignore")).unwrap(), "*\n");
        assert_eq!(host.ask(&dir, Purpose::Run, own()).unwrap(), Identity { made: false, ..first.clone() });
        fs::remove_dir_all(dir.join(".baistack")).unwrap();
        assert_eq!(host.up(&dir, own()), first.id.as_str(), "also when `git clean` took the record");
        assert!(dir.join(".baistack/envid").exists());
    }

    #[test]
    fn commands_that_only_show_record_nothing() {
        let host = Host::new();
        let dir = host.dir("App");
        assert_eq!(host.ask(&dir, Purpose::Show, own()).unwrap().id.as_str(), "app");
        assert_eq!((dir.join(".baistack").exists(), host.state.path().exists()), (false, false));
    }

    #[test]
    fn a_copy_gets_a_name_of_its_own_and_a_moved_directory_goes_on() {
        let host = Host::new();
        let dir = host.dir("app");
        let first = host.up(&dir, own());
        let copied = host.dir("copy");
        copy(&dir, &copied);
        let second = host.up(&copied, own());
        assert_ne!(first, second);
        assert_eq!(host.up(&copied, own()), second);
        let moved = dir.with_file_name("moved");
        fs::rename(&dir, &moved).unwrap();
        assert_eq!(host.up(&moved, own()), first);
        // Another directory now stands where the first one was: it is not the one remembered.
        assert_ne!(host.up(&host.dir("app"), own()), first);
        assert_eq!(host.up(&moved, own()), first);
    }

    #[test]
    fn a_moved_directory_is_found_from_within_and_beside_where_it_was() {
        let host = Host::new();
        let dir = host.dir("a/app");
        let env = host.state.env(&host.up(&dir, own()).parse().unwrap());
        assert_eq!(env.moved(Path::new("/")).unwrap(), None);
        let beside = dir.with_file_name("renamed");
        fs::rename(&dir, &beside).unwrap();
        let moved = env.moved(Path::new("/")).unwrap().unwrap();
        assert_eq!(moved, Moved { from: dir.clone(), to: beside.clone() });
        // A name that only begins alike is another directory.
        for (path, expected) in [("a/app", "a/renamed"), ("a/app/x/y", "a/renamed/x/y"), ("a/app2", "a/app2")] {
            assert_eq!(moved.path(&host.dir("").join(path)), host.dir("").join(expected));
        }
        let far = host.dir("b").join("far");
        fs::rename(&beside, &far).unwrap();
        assert_eq!(env.moved(Path::new("/")).unwrap(), None, "nobody knows where it is");
        fs::create_dir(far.join("deep")).unwrap();
        assert_eq!(env.moved(&far.join("deep")).unwrap().unwrap().to, far);
    }

    #[test]
    fn a_name_under_which_another_directory_runs_is_an_error_that_names_it() {
        let host = Host::new();
        let (one, two) = (host.dir("a/app"), host.dir("b/app"));
        host.up(&one, compose());
        let error = host.ask(&two, Purpose::Run, compose()).unwrap_err().to_string();
        assert!(error.contains("a/app") && error.contains("-p"), "{error}");
        host.up(&one, What { name: Some("shared"), ..own() });
        let error = host.ask(&two, Purpose::Run, What { name: Some("shared"), ..own() });
        assert!(matches!(error, Err(EnvIdError::Elsewhere { .. })));
        assert_eq!(host.up(&two, What { option: Some("other"), ..compose() }), "other");
        fs::remove_dir_all(&one).unwrap();
        assert_eq!(host.up(&two, compose()), "app", "its directory is gone");
    }

    #[test]
    fn a_name_that_the_caller_gives_is_another_directorys_while_it_is_up_there() {
        let host = Host::new();
        let (one, two) = (host.dir("a/app"), host.dir("b/app"));
        let given = What { option: Some("demo"), ..own() };
        let by_variable = What { variables: &[("COMPOSE_PROJECT_NAME", "demo")], ..own() };
        host.up(&one, given);
        let dir = host.state.env(&"demo".parse().unwrap());
        let claim = dir.claim().unwrap();
        for what in [given, by_variable] {
            let error = host.ask(&two, Purpose::Run, what).unwrap_err().to_string();
            assert!(
                error.contains("up in `") && error.contains("a/app`") && error.contains("`baistack down -p demo`"),
                "{error}"
            );
            assert_eq!(host.up(&one, what), "demo", "its own directory");
            assert_eq!(host.ask(&two, Purpose::Use, what).unwrap().id.as_str(), "demo", "it is named");
        }
        drop(claim);
        assert_eq!(host.up(&two, given), "demo", "nothing of it is up any more");
        // A directory that was moved goes on.
        let _claim = dir.claim().unwrap();
        let moved = two.with_file_name("moved");
        fs::rename(&two, &moved).unwrap();
        assert_eq!(host.up(&moved, given), "demo");
    }

    #[test]
    fn of_many_names_some_are_told() {
        let names = |count: u32| (1..=count).map(|number| format!("web:{number}")).collect::<Vec<_>>();
        assert_eq!(in_brackets(&names(0)), "");
        assert_eq!(in_brackets(&names(2)), " (web:1, web:2)");
        assert!(in_brackets(&names(9)).ends_with("web:6, 3 more)"));
    }

    #[test]
    fn no_command_does_anything_to_another_directorys_environment_by_its_name() {
        let host = Host::new();
        let (one, two) = (host.dir("a/shop"), host.dir("b/shop"));
        host.up(&one, compose());
        for what in [own(), compose(), What { name: Some("shop"), ..own() }] {
            let used = host.ask(&two, Purpose::Use, what);
            assert!(matches!(&used, Err(EnvIdError::Elsewhere { directory, .. }) if *directory == one), "{used:?}");
            assert_eq!(host.ask(&one, Purpose::Use, what).unwrap().id.as_str(), "shop", "its own directory");
        }
        assert!(host.ask(&two, Purpose::Run, compose()).is_err());
        assert!(host.ask(&two, Purpose::Run, own()).unwrap().made, "a new name");
        assert_eq!(host.ask(&host.dir("c/shop"), Purpose::Show, own()).unwrap().id.as_str(), "shop");
        assert_eq!(host.ask(&host.dir("c/free"), Purpose::Use, own()).unwrap().id.as_str(), "free", "nobody's name");
        assert_eq!(host.ask(&two, Purpose::Use, What { option: Some("shop"), ..own() }).unwrap().id.as_str(), "shop");
    }

    #[test]
    fn a_stack_elsewhere_keeps_its_environment_though_each_edition_lies_in_a_directory_of_its_own() {
        let host = Host::new();
        let (first, second) = (host.dir("oci/aa"), host.dir("oci/bb"));
        let (app, other) = (Some("oci://r/app"), Some("oci://r/other"));
        for what in [What { name: Some("shop"), ..own() }, own(), compose()] {
            let of = |origin| What { origin, ..what };
            let id = host.up(&first, of(app));
            assert_eq!(host.up(&second, of(app)), id, "{what:?}");
            assert_eq!(host.ask(&first, Purpose::Use, of(app)).unwrap().id.as_str(), id, "{what:?}");
            assert!(!second.join(".baistack").exists() && !first.join(".baistack").exists());
        }
        // Another stack is another one, also where the same edition of it is at hand.
        assert!(matches!(
            host.ask(&second, Purpose::Run, What { name: Some("shop"), origin: other, ..own() }),
            Err(EnvIdError::Elsewhere { directory, .. }) if directory == Path::new("oci://r/app")
        ));
        let id = host.up(&second, What { origin: app, ..own() });
        assert_ne!(host.up(&second, What { origin: other, ..own() }), id);
        // A name that the caller has given is not the stack's.
        host.up(&first, What { option: Some("mine"), origin: Some("oci://r/third"), ..compose() });
        assert_ne!(host.up(&first, What { origin: Some("oci://r/third"), ..own() }), "mine");
    }

    #[test]
    fn keys_of_ours_do_not_take_a_running_stack_its_name() {
        let host = Host::new();
        let dir = host.dir("app");
        assert_eq!(host.up(&dir, compose()), "app");
        assert_eq!(host.up(&dir, own()), "app");
    }

    #[test]
    fn an_inherited_name_counts_for_up_only_in_the_directory_of_its_environment() {
        let host = Host::new();
        let (one, two) = (host.dir("one"), host.dir("two"));
        let first = host.up(&one, own());
        let variables = [("BAISTACK_ENVID", first.as_str())];
        let inherited = What { variables: &variables, ..own() };
        assert_eq!(host.up(&one, inherited), first);
        assert_ne!(host.up(&two, inherited), first);
        assert_eq!(host.ask(&two, Purpose::Use, inherited).unwrap().id.as_str(), first);
    }
}
