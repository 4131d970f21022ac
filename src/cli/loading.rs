//! From the command line to a stack that can be run: find the files, the environment, its ports and values, then load.
//!
//! Whoever only reads records nothing: it sees the environment that is recorded, or the name that Compose would give.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::CliError;
use super::context::{Context, with_causes};
use super::port_numbers::{Allotment, Moved, given_ports, keep_ports, port_variables};
use super::remote::Edition;
use super::unfit;
use super::unused::Claim;
use super::{models, providers, purge, unbuildable};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::name::{EnvId, NameError, ServiceName};
use crate::base::source::{SourceId, SourceMap};
use crate::load::files::{FileKind, Files};
use crate::load::publication::{Publication, publication};
use crate::load::remote::{self, Remote};
use crate::load::{self, Head, Loaded, Values, flags};
use crate::model::stack::Stack;
use crate::plan::desired::{Caller, Deployment};
use crate::plan::hash::ConfigHash;
use crate::plan::ports::{self, Numbers};
use crate::plan::provision::Building;
use crate::supervisor;
use crate::view::diagnostics::{self, Look};
use crate::view::term;
use crate::world::disk::Disk;
use crate::world::envid::{self, Asked, EnvIdError, Identity};
use crate::world::facts;
use crate::world::native::cgroup;
use crate::yaml::node::Node;
use crate::yaml::parse;

/// What a stack is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be looked at: nothing is recorded, no port is probed.
    Read,
    /// The same of what is known: of what lies elsewhere the edition that it was when it was last asked for.
    Known,
    /// To see what would be started: as to be looked at, what cannot be started is refused, and ports are found as a start would.
    Forecast {
        /// A preferred port that is taken is an error.
        strict_ports: bool,
    },
    /// To have images built for it: as to be started, without what only a start needs.
    Build,
    /// To be started: a new environment is named and recorded, its ports and values are found and kept.
    Start {
        /// A preferred port that is taken is an error.
        strict_ports: bool,
    },
}

impl Purpose {
    /// Whether an environment is named, and its ports and values are kept.
    fn records(self) -> bool {
        matches!(self, Purpose::Build | Purpose::Start { .. })
    }
}

/// A stack that can be run.
pub struct Ready {
    /// The stack in its environment.
    pub deployment: Deployment,
    /// The canonical tree.
    pub tree: Node,
    /// The texts that its places are in.
    pub sources: SourceMap,
    /// Named ports: name → number or range.
    pub ports: IndexMap<String, String>,
    /// The numbers of those that an `up` replaces where they are held: not of those that the caller or `.env` sets.
    pub movable: Vec<Numbers>,
    /// The numbers of those that the caller or `.env` sets, by name.
    pub given: BTreeMap<String, Numbers>,
    /// The generated values, which are not shown.
    pub secrets: IndexMap<String, String>,
    /// What interpolation saw, without the generated values.
    pub variables: IndexMap<String, String>,
    /// The texts that stand for generated values which the first `up` has yet to make, by name.
    pub stand_ins: IndexMap<String, String>,
    /// Those of its files that lie elsewhere, as they are named.
    pub elsewhere: Vec<String>,
    /// None for what is only looked at.
    claim: Option<Claim>,
    /// What of the named ports is to be said once it begins: what is refused before leaves no numbers behind.
    moved: RefCell<Vec<Moved>>,
    /// Why an `up` of what is only foreseen would be refused, one sentence each.
    pub(super) refusals: Vec<String>,
}

impl Ready {
    /// Nothing is refused any more: from here on the environment stays, whatever becomes of it.
    pub fn begins(&self, context: &Context) {
        if let Some(claim) = &self.claim {
            claim.begins(&self.deployment.env, &context.printer);
            let stack = &self.deployment.stack.directory;
            if let Err(error) = purge::end_interrupted(&self.deployment.env, stack, context) {
                context.printer.warning(error.to_string());
            }
        }
        self.moved.take().iter().for_each(|moved| context.printer.say(moved.told()));
    }

    /// What of the named ports an `up` would replace, of what is only foreseen.
    pub(super) fn foreseen_moves(&self) -> Vec<Moved> {
        self.moved.take()
    }

    /// As [`Ready::begins`], for an `up`: from here on the numbers are in force that the caller has set for it. What is run, built or
    /// scaled beside it changes nothing of that.
    pub fn begins_up(&self, context: &Context) -> Result<(), CliError> {
        self.begins(context);
        let dir = context.env_dir(&self.deployment.env)?;
        dir.set_given_ports(&self.given).map_err(CliError::failed)
    }

    /// As [`Ready::begins`], for images alone: they are found by the environment's name, so it stays only where that or something else
    /// of it could not be found again.
    pub fn begins_with_images(&self, context: &Context) {
        let is_made_here = !self.ports.is_empty() || !self.secrets.is_empty();
        if is_made_here || self.claim.as_ref().is_some_and(Claim::is_named_anew) {
            self.begins(context);
        }
    }
}

impl Context {
    /// Loads the stack, and shows all that is to be said about its files.
    pub fn load(&self, purpose: Purpose, services: &[ServiceName]) -> Result<Ready, CliError> {
        self.load_from(self.load_request(services), purpose, services)
    }

    /// As [`Context::load`], but where no file is named and the environment was started from several, from those: what is run
    /// beside services belongs to the stack that they were started by, and must not bring another one up.
    pub fn load_as_started(&self, purpose: Purpose, services: &[ServiceName]) -> Result<Ready, CliError> {
        let request = match self.find_env() {
            Ok(Ok(env)) => self.request_as_started(&env, services)?,
            Ok(Err(_)) | Err(_) => self.load_request(services),
        };
        self.load_from(request, purpose, services)
    }

    /// The same for `run`: what is run may be a job.
    pub fn load_to_run(&self, name: &ServiceName) -> Result<Ready, CliError> {
        let services = std::slice::from_ref(name);
        let request = match self.find_env() {
            Ok(Ok(env)) => self.request_as_started(&env, services)?,
            Ok(Err(_)) | Err(_) => self.load_request(services),
        };
        let request = load::Request { runs: Some(name.to_string()), ..request };
        self.load_from(request, Purpose::Start { strict_ports: false }, services)
    }

    fn request_as_started(&self, env: &EnvId, services: &[ServiceName]) -> Result<load::Request, CliError> {
        let mut request = self.load_request(services);
        let named =
            ["BAISTACK_FILE", "COMPOSE_FILE"].iter().any(|name| self.caller.get(*name).is_some_and(|value| !value.is_empty()));
        if request.files.is_empty()
            && !named
            && let Some(deployment) = self.deployment(env)?
            && deployment.stack.files.iter().all(|file| file.is_file())
        {
            request.files.clone_from(&deployment.stack.files);
            request.project_directory = Some(deployment.stack.directory.clone());
        }
        Ok(request)
    }

    /// Loads the stack with all its profiles, to be looked at.
    pub fn load_everything(&self) -> Result<Ready, CliError> {
        let request = load::Request { profiles: vec!["*".to_owned()], ..self.load_request(&[]) };
        self.load_from(request, Purpose::Read, &[])
    }

    /// What of a stack that was loaded is published.
    pub(super) fn publication(&self, ready: &Ready) -> Publication {
        let stack = &ready.deployment.stack;
        let mut variables = ready.variables.clone();
        variables.extend(self.caller.clone());
        publication(&stack.files, &stack.directory, &variables, &self.sources())
    }

    /// Loads the stack to print it, without some of the steps.
    pub fn load_without(&self, omit: load::Omit, services: &[ServiceName]) -> Result<Ready, CliError> {
        self.load_from(load::Request { omit, ..self.load_request(services) }, Purpose::Read, services)
    }

    fn load_from(&self, request: load::Request, purpose: Purpose, services: &[ServiceName]) -> Result<Ready, CliError> {
        let files = if purpose == Purpose::Known { self.recorded_sources() } else { self.sources() };
        let (head, sources, found) = load::head(&request, &files);
        if found.has_errors() {
            let found = with_remedy(found, &self.remedy_without_file()?);
            return Err(self.refuse_all(&request, &head, (&found, &sources), &files));
        }
        // Before anything is made: a name that is none leaves nothing behind.
        if let Some(name) = &self.global.project_name {
            env_id_of(name, "`-p`")?;
        }
        let state = self.state()?;
        let starts = purpose.records();
        // Given up after the host's lock, which it takes when nothing is to be left.
        let claim;
        // Two `up` at once must not find the same name, values or ports.
        let mut host_lock = if starts { Some(state.host_lock().map_err(CliError::failed)?) } else { None };
        let known = if starts { state.list().map_err(CliError::failed)? } else { Vec::new() };
        let is_foreseen = matches!(purpose, Purpose::Forecast { .. });
        let found = self.env_of(&head, if starts { envid::Purpose::Run } else { envid::Purpose::Show })?;
        let (env, dir) = (found.id.clone(), state.env(&found.id));
        let was_known = if starts { known.contains(&dir) } else { dir.exists() };
        claim = if starts {
            let lock = dir.claim().map_err(CliError::failed)?;
            Some(if was_known { Claim::of(lock) } else { Claim::fresh(lock, &state, &dir, head.directory.clone(), found.made) })
        } else {
            None
        };
        let program = std::env::current_exe().map_err(|error| CliError::Failed(format!("find our own program: {error}")))?;
        let places = dir.places(&head.directory, &self.caller, program);
        let (numbers, moved, generated) = match purpose {
            Purpose::Read | Purpose::Known => {
                (dir.ports().map_err(CliError::failed)?, Vec::new(), dir.values().map_err(CliError::failed)?)
            }
            // One and the same number in what is foreseen and in what comes of it.
            Purpose::Forecast { strict_ports } => {
                let Allotment { numbers, moved } = self.allot_ports(&head, &dir, strict_ports)?;
                (numbers, moved, dir.values().map_err(CliError::failed)?)
            }
            Purpose::Build | Purpose::Start { .. } => {
                let strict_ports = purpose == Purpose::Start { strict_ports: true };
                let Allotment { numbers, moved } = self.allot_ports_under(&mut host_lock, &head, &dir, strict_ports)?;
                keep_ports(&dir, &numbers)?;
                (numbers, moved, dir.make_values(&head.generate).map_err(CliError::failed)?)
            }
        };
        drop(host_lock);
        let moved = if starts && was_known {
            // They are kept from now on, whatever becomes of this.
            moved.iter().for_each(|moved| self.printer.say(moved.told()));
            Vec::new()
        } else {
            moved
        };
        let stand_ins = stand_ins(&generated, &head);
        let values = Values {
            env_id: env.clone(),
            predefined: facts::predefined(&env, &head.directory, head.files.first().map(PathBuf::as_path), &places),
            ports: port_variables(&head, &numbers),
            generated: with_stand_ins(generated, &head),
        };
        self.warn_of_overridden(&head, &values.predefined);
        let mut loaded = load::stack(&request, &head, &values, &files);
        let is_whole = !loaded.diagnostics.has_errors();
        if !matches!(purpose, Purpose::Read | Purpose::Known) {
            loaded.diagnostics.extend(unfit::check(&loaded));
            loaded.diagnostics.extend(std::mem::take(&mut loaded.unstartable));
        }
        if matches!(purpose, Purpose::Forecast { .. } | Purpose::Start { .. }) {
            let mut environment = head.environment.clone();
            environment.extend(self.caller.clone());
            let selected = supervisor::select(&loaded.stack, services, false);
            loaded.diagnostics.extend(providers::check(&loaded, &selected, &environment));
            loaded.diagnostics.extend(models::check(&loaded, &selected, &environment));
            if request.runs.is_none() {
                loaded.diagnostics.extend(load::jobs::scheduled(&loaded.tree));
            }
            loaded.diagnostics.extend(unfit::missing_directories(&loaded, &selected, &places));
            loaded.diagnostics.extend(unfit::led_astray(&loaded, &selected));
        }
        if loaded.diagnostics.has_errors() {
            let Loaded { stack, tree, sources, mut diagnostics, .. } = loaded;
            let deployment = Deployment { env, stack, caller: Caller::default(), places };
            if is_whole {
                diagnostics.extend(self.builds_amiss(purpose, &deployment, &tree, services));
            }
            return Err(self.refuse(&diagnostics, &sources));
        }
        self.show(&loaded.diagnostics, &loaded.sources);
        facts::note_granted(&mut loaded.stack);
        if matches!(purpose, Purpose::Forecast { .. }) {
            providers::as_given(&dir, &mut loaded.stack)?;
        }
        let mut variables = values.ports.clone();
        variables.extend(head.environment.clone());
        variables.extend(values.predefined.clone());
        let is_set = |name: &String| head.environment.contains_key(name);
        let movable = head.named_ports.keys().filter(|name| !is_set(name));
        let movable = movable.filter_map(|name| values.ports.get(name)?.parse().ok()).collect();
        let number = |name: &String| head.environment.get(name).or_else(|| values.ports.get(name)).cloned();
        let caller = Caller { environment: self.caller.clone(), ..Caller::default() };
        let deployment = Deployment { env, stack: loaded.stack, caller, places };
        if !request.omit.leaves_a_tree_only() {
            self.known(&deployment, services)?;
        }
        let mut refusals = Vec::new();
        if starts || is_foreseen {
            let asked = || dir.up_elsewhere(&head.directory, head.origin.as_deref()).map_err(CliError::failed);
            let up = if is_foreseen { asked()?.map(|error| error.to_string()) } else { None };
            refusals.extend(up);
            match self.used_elsewhere(&deployment, was_known)? {
                // Nothing of theirs is touched: images of one name are written over.
                Some(used) if purpose == Purpose::Build => self.printer.warning(used.of_images()),
                used => refusals.extend(used.map(|used| used.refusal())),
            }
        }
        if starts && !refusals.is_empty() {
            return Err(CliError::Several(refusals));
        }
        Ok(Ready {
            deployment,
            tree: loaded.tree,
            sources: loaded.sources,
            ports: head.named_ports.keys().filter_map(|name| Some((name.clone(), number(name)?))).collect(),
            movable,
            given: given_ports(&head),
            secrets: values.generated,
            variables,
            stand_ins,
            elsewhere: head.elsewhere,
            claim,
            moved: RefCell::new(moved),
            refusals,
        })
    }

    /// What is wrong with the builds of a stack that is refused in any case: one mistake hides no other.
    fn builds_amiss(&self, purpose: Purpose, deployment: &Deployment, tree: &Node, services: &[ServiceName]) -> Diagnostics {
        let asked = unbuildable::Asked { services, pull: None, building: Building::AsNeeded, no_deps: false };
        let built = match purpose {
            Purpose::Read | Purpose::Known => return Diagnostics::default(),
            Purpose::Forecast { .. } | Purpose::Start { .. } => self.to_be_built(deployment, asked).unwrap_or_default(),
            Purpose::Build => supervisor::select(&deployment.stack, services, true).into_iter().collect(),
        };
        // That an engine does not answer is told of a stack that it could be asked for.
        self.unbuildable(deployment, tree, &built).unwrap_or_default()
    }

    /// Refuses a stack whose files of variables have faults, and tells what is wrong with the stack's own files too.
    fn refuse_all(
        &self,
        request: &load::Request,
        head: &Head,
        first: (&Diagnostics, &SourceMap),
        files: &Sources<'_>,
    ) -> CliError {
        // Without a file of variables that is not there at all, much else would seem to be missing.
        let is_read = !head.files.is_empty() && first.0.sorted().iter().all(|found| !found.labels.is_empty());
        let env = if is_read { self.env_of(head, envid::Purpose::Show).ok().map(|found| found.id) } else { None };
        let Some((env, state)) = env.and_then(|env| Some((env, self.state().ok()?))) else {
            return self.refuse(first.0, first.1);
        };
        let places = state.env(&env).places(&head.directory, &self.caller, PathBuf::new());
        let values = Values {
            predefined: facts::predefined(&env, &head.directory, head.files.first().map(PathBuf::as_path), &places),
            env_id: env,
            ports: ports::variables(&head.named_ports, |_| None),
            generated: with_stand_ins(IndexMap::new(), head),
        };
        let loaded = load::stack(request, head, &values, files);
        self.refuse(&loaded.diagnostics, &loaded.sources)
    }

    /// Says in one line that a command runs the old definition of services whose files have changed since the last `up`.
    pub fn mention_changed_files(&self, env: &EnvId) -> Result<(), CliError> {
        let Some(deployment) = self.deployment(env)? else { return Ok(()) };
        let dir = self.env_dir(env)?;
        let request = load::Request {
            files: deployment.stack.files.clone(),
            project_directory: Some(deployment.stack.directory.clone()),
            ..self.load_request(&[])
        };
        let files = self.recorded_sources();
        let (head, _, found) = load::head(&request, &files);
        if found.has_errors() {
            return Ok(());
        }
        let numbers = dir.ports().map_err(CliError::failed)?;
        let values = Values {
            env_id: env.clone(),
            predefined: facts::predefined(env, &head.directory, head.files.first().map(PathBuf::as_path), &deployment.places),
            ports: port_variables(&head, &numbers),
            generated: with_stand_ins(dir.values().map_err(CliError::failed)?, &head),
        };
        let mut now = load::stack(&request, &head, &values, &files);
        facts::note_granted(&mut now.stack);
        providers::as_given(&dir, &mut now.stack)?;
        // What a file holds that a service is given is read at each start; limits that were left out stay so.
        let lasting = |mut stack: Stack| {
            let files = stack.configs.values_mut().chain(stack.secrets.values_mut());
            files.for_each(|file| file.digest = None);
            if deployment.caller.ignores_limits {
                stack.services.values_mut().filter(|service| service.is_process()).for_each(|service| {
                    cgroup::leave_out(&mut service.common);
                });
            }
            stack
        };
        let (now_stack, was_stack) = (lasting(now.stack), lasting(deployment.stack.clone()));
        let changed: Vec<String> = (was_stack.services.iter())
            .filter(|(name, was)| {
                let is = now_stack.services.get(*name).or_else(|| now_stack.disabled.get(*name));
                is.is_some_and(|is| ConfigHash::of(is, &now_stack, env) != ConfigHash::of(was, &was_stack, env))
            })
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        if !changed.is_empty() && !now.diagnostics.has_errors() {
            self.printer
                .say(format!("the files of {} have changed since the last `up`, which alone applies them", changed.join(", ")));
        }
        Ok(())
    }

    /// The services and the jobs of the stack here as far as it can be read, if it is this environment's; none where there is no
    /// stack.
    pub fn services_and_jobs_of_files(&self, env: &EnvId) -> Result<(Vec<ServiceName>, Vec<ServiceName>), CliError> {
        Ok(self.services_in(env, &self.load_request(&[]))?.map(|read| (read.services, read.jobs)).unwrap_or_default())
    }

    /// The services that are no orphans of an environment: those of its files, whose errors are refused, since one of them may
    /// hide a service; where there are no files, those of the last `up`. None when neither is known, and so nothing is an orphan.
    pub fn services_that_belong(&self, env: &EnvId) -> Result<Option<BTreeSet<ServiceName>>, CliError> {
        if let Some(OfFiles { services, jobs, found, sources }) = self.services_in(env, &self.request_as_started(env, &[])?)? {
            return if found.has_errors() {
                Err(self.refuse(&found, &sources))
            } else {
                Ok(Some(services.into_iter().chain(jobs).collect()))
            };
        }
        let of_deployment = |Deployment { stack, .. }: Deployment| {
            stack.services.into_keys().chain(stack.disabled.into_keys()).chain(stack.jobs).collect()
        };
        Ok(self.deployment(env)?.map(of_deployment))
    }

    /// What these files hold, if they are this environment's; none where there are none.
    fn services_in(&self, env: &EnvId, request: &load::Request) -> Result<Option<OfFiles>, CliError> {
        let files = self.recorded_sources();
        let (head, sources, found) = load::head(request, &files);
        // With `-p` the files that happen to be here may be anybody's.
        let is_elsewhere = || self.env_dir(env)?.owner_besides(&head.directory, head.origin.as_deref()).map_err(CliError::failed);
        if head.files.is_empty() || request.files.is_empty() && is_elsewhere()?.is_some() {
            return Ok(None);
        }
        if found.has_errors() {
            return Ok(Some(OfFiles { services: Vec::new(), jobs: Vec::new(), found, sources }));
        }
        if self.env_of(&head, envid::Purpose::Show)?.id != *env {
            return Ok(None);
        }
        let program = std::env::current_exe().map_err(|error| CliError::Failed(format!("find our own program: {error}")))?;
        let dir = self.env_dir(env)?;
        let places = dir.places(&head.directory, &self.caller, program);
        let numbers = dir.ports().map_err(CliError::failed)?;
        let values = Values {
            env_id: env.clone(),
            predefined: facts::predefined(env, &head.directory, head.files.first().map(PathBuf::as_path), &places),
            ports: ports::variables(&head.named_ports, |name| numbers.get(name).copied()),
            generated: with_stand_ins(dir.values().map_err(CliError::failed)?, &head),
        };
        let loaded = load::stack(request, &head, &values, &files);
        let services = loaded.stack.services.keys().chain(loaded.stack.disabled.keys()).cloned().collect();
        Ok(Some(OfFiles { services, jobs: loaded.stack.jobs, found: loaded.diagnostics, sources: loaded.sources }))
    }

    /// The environment that a command is about which needs no more than that: named, or that of the stack here.
    pub fn env_id(&self) -> Result<EnvId, CliError> {
        self.find_env()?.map_err(|unfound| {
            let remedy = format!("{}; `-p ENVID` names an environment that was started", load::NAME_ONE);
            self.refuse(&with_remedy(unfound.found, &remedy), &unfound.sources)
        })
    }

    /// What to do where a command needs a stack file and there is none: that an environment is named does not help, but what it was
    /// started from is known.
    fn remedy_without_file(&self) -> Result<String, CliError> {
        let Some(name) = &self.global.project_name else { return Ok(load::NAME_ONE.to_owned()) };
        let recorded = self.deployment(&env_id_of(name, "`-p`")?)?;
        let Some(file) = recorded.as_ref().and_then(|deployment| deployment.stack.files.first()) else {
            return Ok(format!("`-p {name}` names an environment and no stack: {}", load::NAME_ONE));
        };
        let file = file.display();
        Ok(format!("`{name}` was started from `{file}`: `-f {file}` names that; `baistack start -p {name}` needs no file"))
    }

    /// The same for a command that takes what nobody can bring back: every service and every shell inside one inherits
    /// `BAISTACK_ENVID`, so where the stack here is another's than that variable says, `-p` has to tell which is meant.
    pub fn env_id_to_empty(&self) -> Result<EnvId, CliError> {
        let env = self.env_id()?;
        if self.global.project_name.is_some() {
            return Ok(env);
        }
        let head = load::head(&self.load_request(&[]), &self.recorded_sources()).0;
        let is_inherited = head.environment.get("BAISTACK_ENVID").is_some_and(|name| *name == env.as_str());
        if head.files.is_empty() || !is_inherited {
            return Ok(env);
        }
        match self.env_dir(&env)?.owner_besides(&head.directory, head.origin.as_deref()).map_err(CliError::failed)? {
            None => Ok(env),
            Some(directory) => Err(CliError::Failed(format!(
                "`BAISTACK_ENVID` says `{env}`, which is the environment of `{}`, and this is `{}`: say with `-p NAME` which one is meant",
                directory.display(),
                head.directory.display(),
            ))),
        }
    }

    /// Whether there is a stack file here, or one is named.
    pub fn has_stack_file(&self) -> bool {
        !load::head(&self.load_request(&[]), &self.recorded_sources()).0.files.is_empty()
    }

    /// The environment that is named or recorded here; none where there is none, and nothing is said.
    pub fn recorded_env(&self) -> Result<Option<EnvId>, CliError> {
        Ok(self.find_env()?.ok())
    }

    /// What is in force in the environment that is named or recorded here, if that was ever up.
    pub fn recorded(&self) -> Result<Option<Deployment>, CliError> {
        match self.recorded_env()? {
            Some(env) => self.deployment(&env),
            None => Ok(None),
        }
    }

    /// The same, with what is to be said of the files where no environment is found; nothing has been said.
    fn find_env(&self) -> Result<Result<EnvId, Box<Unfound>>, CliError> {
        if let Some(name) = &self.global.project_name {
            return env_id_of(name, "`-p`").map(Ok);
        }
        let request = self.load_request(&[]);
        let (head, sources, found) = load::head(&request, &self.recorded_sources());
        if !head.files.is_empty() {
            // The record lies beside the file: one that is broken is no reason not to stop what runs.
            let env = self.env_of(&head, envid::Purpose::Use).map(|found| found.id);
            // A file that has lost its name, or is too broken to tell it, is known by what was started from it.
            let is_found = matches!(&env, Ok(env) if self.env_dir(env)?.exists());
            let started = if head.name.is_none() && !is_found { self.started_from(&head)? } else { None };
            return started.map_or(env, Ok).map(Ok);
        }
        for origin in ["BAISTACK_ENVID", "COMPOSE_PROJECT_NAME"] {
            if let Some(name) = self.caller.get(origin).filter(|text| !text.is_empty()) {
                return env_id_of(name, origin).map(Ok);
            }
        }
        // So does what lies elsewhere and cannot be fetched now.
        let listed = ["BAISTACK_FILE", "COMPOSE_FILE"].iter().find_map(|name| self.caller.get(*name)).map(String::as_str);
        let first = self.global.file.first().map_or(listed, |file| file.to_str());
        if let Some(remote) = first.and_then(remote::of) {
            let origin = remote.identity();
            let mut started = Vec::new();
            for dir in self.state()?.list().map_err(CliError::failed)? {
                if self.readable(dir.home()).flatten().is_some_and(|home| home.origin.as_ref() == Some(&origin)) {
                    started.push(dir.id().clone());
                }
            }
            return Ok(<[EnvId; 1]>::try_from(started).map(|[env]| env).map_err(|_| Box::new(Unfound { found, sources })));
        }
        // A file that is named and not there means what was started from it, and nothing else that may be here.
        if let Some(file) = self.global.file.first() {
            let file = self.working_dir.join(file);
            let mut started = Vec::new();
            for env in self.environments_at(file.parent().unwrap_or(&self.working_dir))? {
                if self.deployment_as_known(&env)?.is_some_and(|deployment| deployment.stack.files.contains(&file)) {
                    started.push(env);
                }
            }
            return Ok(match <[EnvId; 1]>::try_from(started) {
                Ok([env]) => Ok(env),
                Err(_) => Err(Box::new(Unfound { found, sources })),
            });
        }
        // A stack file that was deleted leaves its record.
        for directory in self.working_dir.ancestors() {
            if let Some(env) = envid::recorded(&self.state()?, directory, None).map_err(CliError::failed)? {
                return Ok(Ok(env));
            }
        }
        Ok(Err(Box::new(Unfound { found, sources })))
    }

    /// The environment that was started from these files, if there is just one.
    fn started_from(&self, head: &Head) -> Result<Option<EnvId>, CliError> {
        let mut found = Vec::new();
        for env in self.environments_at(&head.directory)? {
            let files = self.deployment_as_known(&env)?.map(|deployment| deployment.stack.files).unwrap_or_default();
            if files.iter().any(|file| head.files.contains(file)) {
                found.push(env);
            }
        }
        Ok(if found.len() == 1 { found.pop() } else { None })
    }

    /// The environments that have a state and were started from this directory.
    fn environments_at(&self, directory: &Path) -> Result<Vec<EnvId>, CliError> {
        let mut found = Vec::new();
        for dir in self.state()?.list().map_err(CliError::failed)? {
            let home = self.readable(dir.home()).flatten().map(|home| home.path).or_else(|| dir.stack_dir());
            if home.is_some_and(|home| home == directory) {
                found.push(dir.id().clone());
            }
        }
        Ok(found)
    }

    /// Says so when something else was started from the directory of the stack here and still runs: whoever asks for `env`, of
    /// which there is nothing, may mean that.
    pub fn mention_others(&self, env: &EnvId) -> Result<(), CliError> {
        if self.global.project_name.is_some() {
            return Ok(());
        }
        let (head, _, _) = load::head(&self.load_request(&[]), &self.recorded_sources());
        for other in self.environments_at(&head.directory)? {
            if other != *env && self.env_dir(&other)?.is_in_use() {
                self.printer.warning(format!(
                    "there is nothing of `{env}`, but `{other}` was started from this directory and runs: -p {other} names it"
                ));
            }
        }
        Ok(())
    }

    fn env_of(&self, head: &Head, purpose: envid::Purpose) -> Result<Identity, CliError> {
        let asked = Asked {
            option: self.global.project_name.as_deref(),
            variables: &head.environment,
            name: head.name.as_deref(),
            directory: &head.directory,
            origin: head.origin.as_deref(),
            has_own_keys: head.has_own_keys,
        };
        envid::env_id(&self.state()?, &asked, purpose).map_err(|error| match error {
            EnvIdError::Name { .. } => CliError::Usage(with_causes(&error)),
            EnvIdError::Directory(_) | EnvIdError::Elsewhere { .. } | EnvIdError::Up { .. } | EnvIdError::State(_) => {
                CliError::failed(error)
            }
        })
    }

    /// One warning for the predefined variables that the caller's environment, or `.env`, has another value for.
    fn warn_of_overridden(&self, head: &Head, predefined: &IndexMap<String, String>) {
        let differs = |(name, value): &(&String, &String)| head.environment.get(*name).is_some_and(|theirs| theirs != *value);
        let names: Vec<String> = predefined.iter().filter(differs).map(|(name, _)| format!("`{name}`")).collect();
        if !names.is_empty() {
            self.printer.warning(format!(
                "{} of the environment or of `.env` counts for nothing here: nothing overrides what is predefined; rename it there",
                names.join(", ")
            ));
        }
    }

    /// What would be wrong with a stack file of this text at this path, for `config` or for `plan`; nothing is written for it.
    pub(super) fn check_text(&self, path: &Path, text: &str) -> Result<Checked, CliError> {
        let files = Planned { path: path.to_owned(), text: text.as_bytes().to_vec(), others: self.sources() };
        self.checked(path, path.parent(), &files)
    }

    /// The same of a file that is there, for a stack in this directory.
    pub(super) fn check_file(&self, path: &Path, directory: &Path) -> Result<Checked, CliError> {
        self.checked(path, Some(directory), &self.sources())
    }

    fn checked(&self, path: &Path, directory: Option<&Path>, files: &dyn Files) -> Result<Checked, CliError> {
        let request = load::Request {
            files: vec![path.to_owned()],
            project_directory: directory.map(Path::to_owned),
            ..self.load_request(&[])
        };
        let (head, sources, found) = load::head(&request, files);
        if found.has_errors() {
            return Ok(Checked { found, sources });
        }
        let Ok(identity) = self.env_of(&head, envid::Purpose::Show) else { return Ok(Checked { found, sources }) };
        let dir = self.env_dir(&identity.id)?;
        let places = dir.places(&head.directory, &self.caller, PathBuf::new());
        let values = Values {
            predefined: facts::predefined(&identity.id, &head.directory, Some(path), &places),
            env_id: identity.id,
            ports: ports::variables(&head.named_ports, |_| None),
            generated: with_stand_ins(IndexMap::new(), &head),
        };
        let mut loaded = load::stack(&request, &head, &values, files);
        loaded.diagnostics.extend(unfit::check(&loaded));
        loaded.diagnostics.extend(std::mem::take(&mut loaded.unstartable));
        Ok(Checked { found: loaded.diagnostics, sources: loaded.sources })
    }

    fn sources(&self) -> Sources<'_> {
        Sources { context: self, disk: Disk, edition: Edition::Newest }
    }

    /// For those who only want to know which environment it is, and what was started.
    fn recorded_sources(&self) -> Sources<'_> {
        Sources { edition: Edition::Recorded, ..self.sources() }
    }

    fn load_request(&self, services: &[ServiceName]) -> load::Request {
        load::Request {
            working_dir: self.working_dir.clone(),
            files: self.global.file.clone(),
            project_directory: self.global.project_directory.clone(),
            env_files: self.global.env_file.clone(),
            profiles: self.global.profile.clone(),
            services: services.iter().map(ToString::to_string).collect(),
            environment: self.caller.clone(),
            all_resources: self.global.all_resources,
            ..load::Request::default()
        }
    }

    /// The variables of files that a flag names, as `env_file` reads them; the caller's come first.
    pub fn env_files(&self, files: &[PathBuf]) -> Result<Vec<(String, String)>, CliError> {
        let (mut sources, mut found) = (SourceMap::default(), Diagnostics::default());
        let mut variables = Vec::new();
        for file in files {
            let (source, text) = read_named(file, &self.working_dir, &mut sources)?;
            variables.extend(flags::env_file(source, &text, &self.caller, &mut found));
        }
        if found.has_errors() {
            return Err(self.refuse(&found, &sources));
        }
        Ok(variables)
    }

    /// Shows what was found; the error that says how much it is.
    pub(super) fn refuse(&self, found: &Diagnostics, sources: &SourceMap) -> CliError {
        self.show(found, sources);
        CliError::StackFile(diagnostics::summary(found).unwrap_or_default())
    }

    /// Shows what was found, each at its place.
    pub(super) fn show(&self, found: &Diagnostics, sources: &SourceMap) {
        let look = Look { directory: &self.working_dir, color: self.printer.paint_talk.is_on(), width: term::stderr_width() };
        let text = diagnostics::render(found, sources, &look);
        if !text.is_empty() {
            self.printer.say(text.trim_end());
        }
    }
}

/// The text of a file that is named on the command line, relative to a directory.
pub(super) fn read_named(file: &Path, directory: &Path, sources: &mut SourceMap) -> Result<(SourceId, Arc<str>), CliError> {
    let unread = |why: &dyn std::fmt::Display| CliError::Failed(format!("read `{}`: {why}", file.display()));
    let bytes = Disk.read(&directory.join(file)).map_err(|error| unread(&error))?;
    let text: Arc<str> = parse::decode(&bytes).map_err(|error| unread(&error))?.into();
    Ok((sources.add(file, text.clone()), text))
}

/// What was found in a stack that nobody has asked for yet.
pub(super) struct Checked {
    pub(super) found: Diagnostics,
    pub(super) sources: SourceMap,
}

/// The services that stack files hold, and what is to be said of them.
struct OfFiles {
    services: Vec<ServiceName>,
    jobs: Vec<ServiceName>,
    found: Diagnostics,
    sources: SourceMap,
}

/// What is to be said of stack files that name no environment.
struct Unfound {
    found: Diagnostics,
    sources: SourceMap,
}

/// The same findings, with this to be done where there is no stack file.
fn with_remedy(found: Diagnostics, remedy: &str) -> Diagnostics {
    let told = |found: Diagnostic| {
        if found.code == "no-stack-file" && found.help.as_deref() == Some(load::NAME_ONE) { found.help(remedy) } else { found }
    };
    let mut all = Diagnostics::default();
    all.extend(found.into_iter().map(told));
    all
}

/// A name as it was given, which has to be one already.
fn env_id_of(name: &str, origin: &str) -> Result<EnvId, CliError> {
    name.parse()
        .map_err(|error: NameError| CliError::Usage(format!("`{name}` (from {origin}) is no name of an environment: {error}")))
}

/// The real files. Every look may ask for stdin, which can be read once, and for what lies elsewhere.
struct Sources<'a> {
    context: &'a Context,
    disk: Disk,
    edition: Edition,
}

impl Files for Sources<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path != Path::new("-") {
            return self.disk.read(path);
        }
        if let Some(text) = self.context.stdin.get() {
            return Ok(text.clone());
        }
        let text = self.disk.read(path)?;
        Ok(self.context.stdin.get_or_init(|| text).clone())
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.disk.canonical(path)
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        self.disk.kind(path)
    }

    fn fetch(&self, remote: &Remote) -> Result<PathBuf, String> {
        let asked = (remote.clone(), self.edition);
        let known = self.context.fetched.borrow().get(&asked).cloned();
        known.unwrap_or_else(|| {
            let fetched = self.context.fetch(remote, self.edition);
            self.context.fetched.borrow_mut().insert(asked, fetched.clone());
            fetched
        })
    }
}

/// The real files and one that is yet to be written.
struct Planned<'a> {
    path: PathBuf,
    text: Vec<u8>,
    others: Sources<'a>,
}

impl Files for Planned<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == self.path { Ok(self.text.clone()) } else { self.others.read(path) }
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        if path == self.path { Ok(path.to_owned()) } else { self.others.canonical(path) }
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        if path == self.path { Some(FileKind::File) } else { self.others.kind(path) }
    }

    fn fetch(&self, remote: &Remote) -> Result<PathBuf, String> {
        self.others.fetch(remote)
    }
}

/// The texts that stand for values which are not made yet, by the values' names.
fn stand_ins(generated: &IndexMap<String, String>, head: &Head) -> IndexMap<String, String> {
    let missing = head.generate.keys().filter(|name| !generated.contains_key(*name));
    missing.map(|name| (name.clone(), stand_in(name))).collect()
}

fn stand_in(name: &str) -> String {
    format!("<{name} is generated by the first up>")
}

/// A value that is not made yet has a text in its place that says so: whoever only reads makes none.
fn with_stand_ins(mut generated: IndexMap<String, String>, head: &Head) -> IndexMap<String, String> {
    for name in head.generate.keys() {
        generated.entry(name.clone()).or_insert_with(|| stand_in(name));
    }
    generated.retain(|name, _| head.generate.contains_key(name));
    generated
}
