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
use super::remote::Edition;
use super::unfit;
use super::unused::Claim;
use super::{models, providers};
use crate::base::diagnostic::Diagnostics;
use crate::base::name::{EnvId, NameError, ServiceName};
use crate::base::source::{SourceId, SourceMap};
use crate::load::files::{FileKind, Files};
use crate::load::publication::{Publication, publication};
use crate::load::remote::{self, Remote};
use crate::load::{self, Head, Values, flags};
use crate::model::service::Service;
use crate::model::stack::Stack;
use crate::plan::desired::{Caller, Deployment};
use crate::plan::hash::ConfigHash;
use crate::plan::ports::{self, Numbers};
use crate::supervisor;
use crate::view::diagnostics::{self, Look};
use crate::view::term;
use crate::world::disk::Disk;
use crate::world::docker::PortOfContainer;
use crate::world::envdir::{EnvDir, StateDir};
use crate::world::envid::{self, Asked, EnvIdError, Identity};
use crate::world::facts::{self, Holders};
use crate::world::native::cgroup;
use crate::yaml::node::Node;
use crate::yaml::parse;

/// What a stack is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be looked at: nothing is recorded, no port is probed.
    Read,
    /// To see what would be started: as to be looked at, and what cannot be started is refused.
    Forecast,
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
    moved: RefCell<Vec<String>>,
}

impl Ready {
    /// Nothing is refused any more: from here on the environment stays, whatever becomes of it.
    pub fn begins(&self, context: &Context) {
        if let Some(claim) = &self.claim {
            claim.begins(&self.deployment.env, &context.printer);
        }
        self.moved.take().into_iter().for_each(|moved| context.printer.say(moved));
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
        let files = self.sources();
        let (head, sources, found) = load::head(&request, &files);
        if found.has_errors() {
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
        let host_lock = if starts { Some(state.host_lock().map_err(CliError::failed)?) } else { None };
        let known = if starts { state.list().map_err(CliError::failed)? } else { Vec::new() };
        let found = self.env_of(&head, if starts { envid::Purpose::Run } else { envid::Purpose::Show })?;
        let (env, dir) = (found.id.clone(), state.env(&found.id));
        claim = if starts {
            let lock = dir.claim().map_err(CliError::failed)?;
            let is_known = known.contains(&dir);
            Some(if is_known { Claim::of(lock) } else { Claim::fresh(lock, &state, &dir, head.directory.clone(), found.made) })
        } else {
            None
        };
        let program = std::env::current_exe().map_err(|error| CliError::Failed(format!("find our own program: {error}")))?;
        let places = dir.places(&head.directory, &self.caller, program);
        let (numbers, moved, generated) = match purpose {
            Purpose::Read | Purpose::Forecast => {
                (dir.ports().map_err(CliError::failed)?, Vec::new(), dir.values().map_err(CliError::failed)?)
            }
            Purpose::Build | Purpose::Start { .. } => {
                let strict_ports = purpose == Purpose::Start { strict_ports: true };
                let (numbers, moved) = self.allot_ports(&head, &state, &dir, strict_ports)?;
                (numbers, moved, dir.make_values(&head.generate).map_err(CliError::failed)?)
            }
        };
        drop(host_lock);
        let moved = if known.contains(&dir) {
            // They are kept from now on, whatever becomes of this.
            moved.into_iter().for_each(|moved| self.printer.say(moved));
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
        if purpose != Purpose::Read {
            loaded.diagnostics.extend(unfit::check(&loaded));
            loaded.diagnostics.extend(std::mem::take(&mut loaded.unstartable));
        }
        if matches!(purpose, Purpose::Forecast | Purpose::Start { .. }) {
            let mut environment = head.environment.clone();
            environment.extend(self.caller.clone());
            let selected = supervisor::select(&loaded.stack, services, false);
            loaded.diagnostics.extend(providers::check(&loaded, &selected, &environment));
            loaded.diagnostics.extend(models::check(&loaded, &selected, &environment));
            if request.runs.is_none() {
                loaded.diagnostics.extend(load::jobs::scheduled(&loaded.tree));
            }
            loaded.diagnostics.extend(unfit::missing_directories(&loaded, &selected, &places));
        }
        if loaded.diagnostics.has_errors() {
            return Err(self.refuse(&loaded.diagnostics, &loaded.sources));
        }
        self.show(&loaded.diagnostics, &loaded.sources);
        facts::note_granted(&mut loaded.stack);
        if purpose == Purpose::Forecast {
            providers::as_given(&dir, &mut loaded.stack)?;
        }
        let mut variables = values.ports.clone();
        variables.extend(head.environment.clone());
        variables.extend(values.predefined.clone());
        let number = |name: &String| head.environment.get(name).or_else(|| values.ports.get(name)).cloned();
        let caller = Caller { environment: self.caller.clone(), ..Caller::default() };
        let deployment = Deployment { env, stack: loaded.stack, caller, places };
        if !request.omit.leaves_a_tree_only() {
            self.known(&deployment, services)?;
        }
        Ok(Ready {
            deployment,
            tree: loaded.tree,
            sources: loaded.sources,
            ports: head.named_ports.keys().filter_map(|name| Some((name.clone(), number(name)?))).collect(),
            secrets: values.generated,
            variables,
            stand_ins,
            elsewhere: head.elsewhere,
            claim,
            moved: RefCell::new(moved),
        })
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
        self.find_env()?.map_err(|unfound| self.refuse(&unfound.found, &unfound.sources))
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
                if dir.home().map_err(CliError::failed)?.is_some_and(|home| home.origin.as_ref() == Some(&origin)) {
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
                if self.deployment(&env)?.is_some_and(|deployment| deployment.stack.files.contains(&file)) {
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
            let files = self.deployment(&env)?.map(|deployment| deployment.stack.files).unwrap_or_default();
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
            if dir.home().map_err(CliError::failed)?.is_some_and(|home| home.path == directory) {
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
            EnvIdError::Directory(_) | EnvIdError::Elsewhere { .. } | EnvIdError::State(_) => {
                CliError::Failed(with_causes(&error))
            }
        })
    }

    /// Numbers for the named ports, recorded, and what is to be said of replacements, one line for each holder.
    fn allot_ports(
        &self,
        head: &Head,
        state: &StateDir,
        dir: &EnvDir,
        strict: bool,
    ) -> Result<(BTreeMap<String, Numbers>, Vec<String>), CliError> {
        let kept = dir.ports().map_err(CliError::failed)?;
        let containers = || self.ports_of_containers(dir.id());
        let holders = Holders::look(state, dir, &containers).map_err(CliError::failed)?;
        // What the caller or `.env` sets is not for us to choose, nor to find free.
        let given = given_ports(head);
        let is_set = |name: &str| head.environment.contains_key(name);
        let named = head.named_ports.iter().filter(|(name, _)| !is_set(name)).map(|(name, port)| (name.clone(), *port)).collect();
        // Who insists on the preferred ones is not content with what was once found in their place.
        let before = if strict { BTreeMap::new() } else { kept.clone() };
        let allotted = ports::allot(&named, &before, dir.id(), |port| holders.is_free(port));
        let allotted = allotted.map_err(CliError::failed)?;
        // All that one holder has taken in one line.
        let mut held: IndexMap<String, Vec<(&str, u16, Numbers)>> = IndexMap::new();
        for (name, port) in &allotted {
            if let Some(blocked) = port.blocked {
                held.entry(holders.who(blocked.port)).or_default().push((name, blocked.port, port.numbers));
            }
        }
        let told = held.iter().map(|(who, ports)| {
            let each: Vec<_> = ports.iter().map(|(name, port, _)| format!("{port} of `{name}`")).collect();
            let instead: Vec<_> = ports.iter().map(|(name, _, numbers)| format!("{name} is {numbers}")).collect();
            let (ports, are) = if each.len() == 1 { ("port", "is") } else { ("ports", "are") };
            (format!("{ports} {} {are} held by {who}", each.join(", ")), instead.join(", "))
        });
        if strict && !held.is_empty() {
            return Err(CliError::Several(told.map(|(held, _)| held).collect()));
        }
        let moved = told.map(|(held, instead)| format!("{held}; {instead} instead")).collect();
        let numbers: BTreeMap<String, Numbers> = allotted.into_iter().map(|(name, port)| (name, port.numbers)).collect();
        // Numbers of names that the file has no longer stay: it may have them again.
        let mut recorded = kept;
        recorded.extend(numbers.clone());
        dir.set_ports(&recorded).map_err(CliError::failed)?;
        dir.set_given_ports(&given).map_err(CliError::failed)?;
        Ok((numbers, moved))
    }

    /// The ports that containers hold. What the environment owns is known from its last `up`; none when the engine does not answer
    /// and the environment had containers, which may run on.
    pub(super) fn ports_of_containers(&self, env: &EnvId) -> Option<BTreeMap<u16, PortOfContainer>> {
        let stack = self.deployment(env).ok().flatten().map(|deployment| deployment.stack).unwrap_or_default();
        let held = self.engine().ok().and_then(|engine| engine.held_ports(env, &stack.owns).ok());
        let may_run_on = stack.services.values().any(Service::needs_engine);
        if may_run_on { held } else { Some(held.unwrap_or_default()) }
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

/// The numbers of named ports that the caller or `.env` sets, as far as they are numbers.
fn given_ports(head: &Head) -> BTreeMap<String, Numbers> {
    let given = head.named_ports.keys().filter_map(|name| Some((name.clone(), head.environment.get(name)?.parse().ok()?)));
    given.collect()
}

/// The variables of named ports. Where the caller or `.env` sets one, its value wins, and the ends of a range are that value's.
fn port_variables(head: &Head, numbers: &BTreeMap<String, Numbers>) -> IndexMap<String, String> {
    let given = given_ports(head);
    ports::variables(&head.named_ports, |name| given.get(name).or_else(|| numbers.get(name)).copied())
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
