//! Files → [`Stack`]. Pure over [`Files`] and the environment it is handed.
//!
//! Two looks: [`head`] reads what must be known before variables can be filled in (the name, the named ports, the values to
//! generate), so that the caller can find the environment and its numbers; [`stack`] does the rest.

mod canonical;
mod complete;
mod consistent;
mod convert;
mod expression;
mod extends;
mod file;
mod find;
mod head;
mod honour;
mod include;
mod merge;
mod named_ports;
mod normal;
mod paths;
mod print;
mod profiles;
mod refused;
mod resolve;
mod schema;
mod short;
mod startable;
mod supervised;
mod told;
mod usable;
mod validate;

#[cfg(test)]
mod contract;
#[cfg(test)]
pub(crate) mod testing;

pub mod codes;
pub mod dotenv;
pub mod files;
pub mod flags;
pub mod formats;
pub mod interpolate;
pub mod jobs;
pub mod publication;
pub mod remote;
pub mod sensitive;
pub mod template;
pub mod variables;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

pub use find::NAME_ONE;
pub use head::head;

use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::name::EnvId;
use crate::base::source::{SourceId, SourceMap, Span};
use crate::model::port::NamedPort;
use crate::model::stack::Stack;
use crate::model::value::Generated;
use crate::yaml::node::{Mapping, Node, Value};
use crate::yaml::parse;
use files::Files;
use interpolate::Interpolator;
use profiles::Selection;
use variables::{Origin, Variables};

/// What the user asked to be loaded.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The caller's working directory, absolute.
    pub working_dir: PathBuf,
    /// `-f`, in order; `-` is stdin. Empty: sought by the rules of the format page.
    pub files: Vec<PathBuf>,
    /// `--project-directory`.
    pub project_directory: Option<PathBuf>,
    /// `--env-file`, in order.
    pub env_files: Vec<PathBuf>,
    /// `--profile`.
    pub profiles: Vec<String>,
    /// Services named on the command line: their profiles count as on.
    pub services: Vec<String>,
    /// What `run` is to run: where it is a job, that and the jobs that it depends on are services.
    pub runs: Option<String>,
    /// The caller's environment.
    pub environment: IndexMap<String, String>,
    /// Networks, volumes and the like that no service uses are shown too.
    pub all_resources: bool,
    /// Steps that are left out.
    pub omit: Omit,
}

/// Steps that `config` can be told to leave out. What comes of it is a tree to be printed, and no stack to be run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Omit {
    /// Variables stay as they are written.
    pub interpolation: bool,
    /// Nothing is added: neither names in the engine nor the default network.
    pub normalization: bool,
    /// Relative paths stay relative.
    pub path_resolution: bool,
    /// Files of variables and labels are not read, names without a value stay without one.
    pub env_resolution: bool,
    /// Whether the parts fit together is not looked at.
    pub consistency: bool,
}

impl Omit {
    /// Whether anything is left out without which there is no stack.
    pub(crate) fn leaves_a_tree_only(self) -> bool {
        self.interpolation || self.normalization || self.path_resolution || self.env_resolution
    }
}

/// What the first look finds.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The files, absolute, in order.
    pub files: Vec<PathBuf>,
    /// The stack's directory, absolute.
    pub directory: PathBuf,
    /// Those of the files that lie elsewhere, as they are named.
    pub elsewhere: Vec<String>,
    /// Which stack it is, by [`remote::Remote::identity`], where the directory is one that it was fetched to.
    pub origin: Option<String>,
    /// `name:`, as written.
    pub name: Option<String>,
    /// `ports:` at the top.
    pub named_ports: IndexMap<String, NamedPort>,
    /// `generate:` at the top.
    pub generate: IndexMap<String, Generated>,
    /// Names in `ports:` and `generate:` of which nobody can tell what is meant; that is told by the second look, and nothing that
    /// follows from it.
    pub unusable: BTreeSet<String>,
    /// Whether the files use any key of ours (`processes`, `ports`, …): then an environment gets a name of its own.
    pub has_own_keys: bool,
    /// Whether they have processes: else whatever asks for a port is a container.
    pub has_processes: bool,
    /// The variables of the caller and of `--env-file` or `.env`, in which `COMPOSE_PROJECT_NAME` and the like may stand.
    pub environment: IndexMap<String, String>,
}

/// What the caller found for this environment between the two looks.
#[derive(Debug, Clone)]
pub struct Values {
    /// The environment.
    pub env_id: EnvId,
    /// `ENVID`, `STACK_DIR`, `STACK_FILE`, `ENV_DIR`, `RUN_DIR`, `CPUS`.
    pub predefined: IndexMap<String, String>,
    /// Named ports: `NAME` → `8081`; a range also has `NAME_FIRST`, `NAME_LAST`.
    pub ports: IndexMap<String, String>,
    /// Generated values.
    pub generated: IndexMap<String, String>,
}

/// What a load yields, whatever was wrong.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The stack; only meaningful when there are no errors.
    pub stack: Stack,
    /// The canonical tree that `config` prints.
    pub tree: Node,
    /// All texts that were read.
    pub sources: SourceMap,
    /// All that is to be said.
    pub diagnostics: Diagnostics,
    /// What is no mistake of the files, but with which nothing can be started here: attributes that this version does not
    /// honour, a file that is not there. Whoever starts something tells it.
    pub unstartable: Diagnostics,
}

/// The most keys and values in one load, each counted wherever it is repeated.
const MAX_NODES: usize = 400_000;

/// With more faults than so many nobody misses the few that only the making of the model would tell.
const MANY_FAULTS: usize = 1_000;

/// What a load carries through its phases.
pub(crate) struct Loading<'a> {
    files: &'a dyn Files,
    sources: SourceMap,
    diagnostics: Diagnostics,
    /// See [`Loaded::unstartable`].
    unstartable: Diagnostics,
    interpolator: Interpolator,
    /// Texts that were read already: an anchor of two services, a base of two extensions.
    texts: HashMap<PathBuf, (SourceId, Arc<str>)>,
    /// Files that are being included, to find circles.
    open: Vec<PathBuf>,
    /// How many files were included.
    included: usize,
    /// How many keys and values all trees hold.
    nodes: usize,
    /// Whether a file of the stack could not be read: what seems to be missing may be in it.
    is_partial: bool,
    working_dir: PathBuf,
    /// The stack's.
    directory: PathBuf,
    omit: Omit,
}

impl<'a> Loading<'a> {
    fn new(request: &Request, files: &'a dyn Files) -> Self {
        Self {
            files,
            sources: SourceMap::default(),
            diagnostics: Diagnostics::default(),
            unstartable: Diagnostics::default(),
            interpolator: Interpolator::default(),
            texts: HashMap::new(),
            open: Vec::new(),
            included: 0,
            nodes: 0,
            is_partial: false,
            working_dir: request.working_dir.clone(),
            directory: PathBuf::new(),
            omit: request.omit,
        }
    }

    /// Counts so many keys and values of a tree; false when the load has grown too large, which is told once.
    fn spend(&mut self, nodes: usize, tree: &Node) -> bool {
        let fits = self.has_room(nodes, tree);
        self.nodes = self.nodes.saturating_add(nodes);
        fits
    }

    /// Whether so many keys and values more would not make the load too large; if they do, that is told, once.
    fn has_room(&mut self, nodes: usize, tree: &Node) -> bool {
        if self.nodes.saturating_add(nodes) <= MAX_NODES {
            return true;
        }
        if self.nodes <= MAX_NODES {
            self.nodes = usize::MAX;
            let message = "the files hold more than 400,000 keys and values, with what they include and extend";
            self.diagnostics.push(Diagnostic::error("too-large", message).at(tree.span, "too many with this"));
        }
        false
    }

    /// Tells of a file's faults. What a value is that still has to be filled in cannot be said.
    fn tell_of(&mut self, found: Diagnostics) {
        let is_open = |fault: &Diagnostic| fault.labels.iter().any(|label| self.sources.covered(label.span).contains('$'));
        self.diagnostics.extend(found.into_iter().filter(|fault| !(self.omit.interpolation && is_open(fault))));
    }

    /// A file's text; one that is not there is told at the place that names it, unless it need not be there.
    fn read(&mut self, path: &Path, place: Span, required: bool, what: &str) -> Option<(SourceId, Arc<str>)> {
        if !required && self.files.kind(path).is_none() {
            return None;
        }
        match self.read_text(path) {
            Ok(text) => Some(text),
            Err(None) => {
                self.diagnostics.push(resolve::missing(path, place, what, self.files));
                None
            }
            Err(Some(diagnostic)) => {
                self.diagnostics.push(diagnostic.at(place, ""));
                None
            }
        }
    }

    /// As `read`, for a file that no place in a file names.
    fn read_unplaced(&mut self, path: &Path, what: &str) -> Option<(SourceId, Arc<str>)> {
        match self.read_text(path) {
            Ok(text) => Some(text),
            Err(diagnostic) => {
                let missing = || Diagnostic::error("no-file", format!("the {what} `{}` cannot be read", path.display()));
                self.diagnostics.push(diagnostic.unwrap_or_else(missing));
                None
            }
        }
    }

    fn read_text(&mut self, path: &Path) -> Result<(SourceId, Arc<str>), Option<Diagnostic>> {
        if let Some(known) = self.texts.get(path) {
            return Ok(known.clone());
        }
        let bytes = self.files.read(path).map_err(|_| None)?;
        if bytes.len() > files::MAX_BYTES {
            return Err(Some(Diagnostic::error("too-large", format!("`{}` is longer than 4 MiB", path.display()))));
        }
        let text = parse::decode(&bytes)
            .map_err(|error| Some(Diagnostic::error("bad-text", format!("`{}`: {error}", path.display()))))?;
        let name = path.strip_prefix(&self.working_dir).map_or_else(|_| path.to_owned(), Path::to_owned);
        let name = if path == Path::new("-") { PathBuf::from("<stdin>") } else { name };
        let text: Arc<str> = text.into();
        let source = self.sources.add(name, text.clone());
        self.texts.insert(path.to_owned(), (source, text.clone()));
        Ok((source, text))
    }
}

fn give_environment(request: &Request, variables: &mut Variables) {
    for (name, value) in &request.environment {
        variables.give(name, value, Origin::Environment);
    }
}

/// The names that a stack file may have by itself, in the order in which they are sought.
pub fn stack_file_names() -> &'static [&'static str] {
    &find::NAMES
}

/// The JSON Schema of a stack file.
pub fn json_schema() -> serde_json::Value {
    schema::export::json_schema()
}

/// Spells a printed tree as Compose does in YAML.
pub fn yaml_spelling(tree: &mut Node) {
    print::yaml_spelling(tree);
}

/// Spells a printed tree as Compose does in JSON.
pub fn json_spelling(tree: &mut Node) {
    print::json_spelling(tree);
}

/// The whole stack.
pub fn stack(request: &Request, head: &Head, values: &Values, files: &dyn Files) -> Loaded {
    let mut loading = Loading::new(request, files);
    loading.directory.clone_from(&head.directory);
    loading.interpolator.expect_faults_of(&head.unusable);
    let variables = all_variables(request, values, &mut loading);
    let mut root: Option<Node> = None;
    for path in &head.files {
        if let Some(tree) = file::whole(path, None, &head.directory, &variables, &mut loading) {
            root = Some(match root {
                None => tree,
                Some(below) => merge::merge(below, tree),
            });
        }
    }
    let Some(root) = root else {
        let span = Span { source: loading.sources.add("", ""), start: 0, end: 0 };
        if !loading.diagnostics.has_errors() {
            let help = "write what is to run under `services:` or `processes:`; `baistack init --force` writes a start";
            loading.diagnostics.push(Diagnostic::error("empty-stack", "the stack file is empty").help(help));
        }
        let tree = Node::new(Value::Mapping(Mapping::default()), span);
        let (sources, diagnostics) = (loading.sources, loading.diagnostics);
        return Loaded { stack: Stack::default(), tree, sources, diagnostics, unstartable: Diagnostics::default() };
    };
    let mut root = merge::untagged(root);
    let mut found = Diagnostics::default();
    complete::check(&root, &mut found);
    if !request.omit.interpolation {
        named_ports::check(&root, head, &variables, &mut loading.diagnostics);
    }
    loading.tell_of(found);
    let env = values.env_id.as_str();
    let jobs = jobs::names(&root);
    if !request.omit.normalization {
        normal::containers_and_processes(&mut root, &head.directory);
        if let Some(name) = &request.runs {
            // Before it is said which networks and variables are used.
            jobs::to_run(&mut root, name, &mut loading.unstartable);
        }
        normal::what_they_use(&mut root, env, &mut loading.diagnostics);
    }
    let active = active_profiles(request, head);
    let selection =
        if request.omit.interpolation { Selection::all(&root) } else { Selection::of(&root, &active, &request.services) };
    resolve::resolve(&mut root, &head.directory, &variables, &selection, &mut loading);
    let has_sections = ["services", "processes", "jobs", "networks", "volumes", "secrets", "configs", "models"]
        .into_iter()
        .filter_map(|section| root.get(section))
        .all(|section| section.is_null() || section.as_mapping().is_some());
    let is_partial = loading.is_partial || !has_sections;
    let Loading { mut diagnostics, mut unstartable, sources, interpolator, .. } = loading;
    let mut stack = Stack::default();
    if !request.omit.leaves_a_tree_only() {
        let found = &mut told::Found { wrong: &mut diagnostics, unstartable: &mut unstartable, is_partial };
        if !request.omit.consistency {
            let directory = head.directory.display().to_string();
            validate::check(&root, &selection, env, &directory, found);
        }
        honour::check(&root, &selection, found.unstartable);
        // What there is to say for itself has been said by then, and the model of a large stack is many times the file.
        if found.wrong.len() <= MANY_FAULTS {
            stack = convert::stack(&root, &selection, head.directory.clone(), head.files.clone(), found);
            stack.jobs = jobs;
        }
    }
    let selection = selection.only(&request.services, &root).with_unused(request.all_resources);
    let tree = print::printed(root, &selection, env);
    let diagnostics = variables.explain(interpolator.without_consequences(diagnostics), &sources);
    let unstartable = variables.explain(interpolator.without_consequences(unstartable), &sources);
    Loaded { stack, tree, sources, diagnostics, unstartable }
}

/// Of a name's values the first wins: predefined, the caller's, `.env`, named port, generated.
fn all_variables(request: &Request, values: &Values, loading: &mut Loading<'_>) -> Variables {
    let mut variables = Variables::default();
    for (name, value) in &values.predefined {
        variables.give(name, value, Origin::Predefined);
    }
    give_environment(request, &mut variables);
    // Where the files are is known; a fault is the first look's to tell.
    let _ = find::stack(request, &mut variables, loading);
    variables.give("COMPOSE_PROJECT_NAME", values.env_id.as_str(), Origin::Predefined);
    for (name, value) in &values.ports {
        variables.give(name, value, Origin::NamedPort);
    }
    for (name, value) in &values.generated {
        variables.give(name, value, Origin::Generated);
    }
    variables
}

fn active_profiles(request: &Request, head: &Head) -> Vec<String> {
    if !request.profiles.is_empty() {
        return request.profiles.clone();
    }
    let list = head.environment.get("COMPOSE_PROFILES").cloned().unwrap_or_default();
    list.split(',').map(str::trim).filter(|profile| !profile.is_empty()).map(str::to_owned).collect()
}
