//! Services that a program looks after instead of an engine (`provider`): brought up before anything else is asked for, since what
//! they give is part of the definition of those who depend on them; stopped and taken away after these.
//!
//! What has been brought up is written down first, so that `down` takes it away whatever the files say by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::thread;

use indexmap::IndexMap;

use super::context::{Context, Ready};
use super::{CliError, models};
use crate::base::diagnostic::Diagnostic;
use crate::base::name::{EnvId, ServiceName};
use crate::load::Loaded;
use crate::model::provider::Given;
use crate::model::stack::Stack;
use crate::plan::action::Fault;
use crate::plan::desired::Deployment;
use crate::supervisor;
use crate::supervisor::notice::{Level, Notice};
use crate::view::progress::Progress;
use crate::world::envdir::EnvDir;
use crate::world::provider::{self, Provided, Wanted};
use crate::yaml::emit;
use crate::yaml::node::Node;

/// The programs that are not there, at their places in the files, among those that look after these services.
pub(super) fn check(loaded: &Loaded, services: &[ServiceName], environment: &IndexMap<String, String>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for name in services {
        let Some(provider) = loaded.stack.services.get(name).and_then(|service| service.provider()) else { continue };
        let Err(fault) = provider::find(&provider.program, &loaded.stack.directory, environment) else { continue };
        let node = loaded.tree.get("services").and_then(|services| services.get(name.as_str()));
        let place = node.and_then(|node| node.get("provider")?.get("type")).or(node);
        let message = format!("`{name}` is looked after by the provider `{}`: {}", provider.program, fault.message);
        let diagnostic = Diagnostic::error("unfit-host", message);
        let diagnostic = place.into_iter().fold(diagnostic, |diagnostic, node| diagnostic.at(node.span, ""));
        found.push(diagnostic.help("install the program, or put it into `PATH`"));
    }
    found
}

/// Sets in a stack what providers gave when they were last asked: nothing seems changed then that has not.
pub(super) fn as_given(dir: &EnvDir, stack: &mut Stack) -> Result<(), CliError> {
    models::as_served(dir, stack)?;
    let known = dir.provided().map_err(CliError::failed)?;
    let names: Vec<ServiceName> = providers(stack).cloned().collect();
    for name in names {
        if let Some(provided) = known.get(&name) {
            provided.given.set_in(stack, &name);
        }
    }
    Ok(())
}

/// Refuses services that a provider looks after for what only a container or a process can have done to it, said by `lacks`.
pub(super) fn refuse(stack: &Stack, services: &[ServiceName], lacks: &str) -> Result<(), CliError> {
    let provided = |name: &ServiceName| Some((name.clone(), stack.services.get(name)?.provider()?.program.clone()));
    match services.iter().find_map(provided) {
        Some((name, program)) => {
            Err(CliError::Usage(format!("`{name}` is looked after by the provider `{program}`: there is nothing {lacks}")))
        }
        None => Ok(()),
    }
}

/// What a provider has made of a service, in a few words, and whether it is there.
pub(super) fn state(provided: Option<&Provided>) -> (&'static str, bool) {
    match provided {
        Some(provided) if provided.runs => ("brought up", true),
        Some(_) => ("stopped", false),
        None => ("not brought up", false),
    }
}

impl Context {
    /// As [`refuse`], by what was started.
    pub fn refuse_provided(&self, env: &EnvId, services: &[ServiceName], lacks: &str) -> Result<(), CliError> {
        self.deployment(env)?.map_or(Ok(()), |deployment| refuse(&deployment.stack, services, lacks))
    }

    /// Of the services named those that no provider looks after, for the supervisor, which knows nothing of the others; `None` when
    /// no name is left. One that its provider has never brought up is refused.
    pub fn beside_provided(&self, env: &EnvId, services: &[ServiceName]) -> Result<Option<Vec<ServiceName>>, CliError> {
        let Some(deployment) = self.deployment(env)?.filter(|_| !services.is_empty()) else {
            return Ok(Some(services.to_vec()));
        };
        let known = self.env_dir(env)?.provided().map_err(CliError::failed)?;
        let is_provided = |name: &&ServiceName| deployment.stack.services.get(*name).is_some_and(|it| it.provider().is_some());
        let (provided, others): (Vec<&ServiceName>, Vec<&ServiceName>) = services.iter().partition(is_provided);
        if let Some(name) = provided.into_iter().find(|name| !known.contains_key(*name)) {
            return Err(CliError::NoEnvironment(format!(
                "`{name}` is not up; `baistack up {name}` has its provider bring it up"
            )));
        }
        Ok(Some(others.into_iter().cloned().collect::<Vec<_>>()).filter(|others| !others.is_empty()))
    }

    /// Whether a provider has ever been asked to bring anything of this environment up.
    pub fn has_provided(&self, env: &EnvId) -> Result<bool, CliError> {
        Ok(!self.env_dir(env)?.provided().map_err(CliError::failed)?.is_empty())
    }

    /// Has the providers of these services, and of what they depend on, bring theirs up; what they give is set in the stack.
    /// Answers with those that did not run before.
    pub fn provide(&self, ready: &mut Ready, services: &[ServiceName], no_deps: bool) -> Result<BTreeSet<ServiceName>, CliError> {
        self.serve_models(ready, services, no_deps)?;
        let stack = &ready.deployment.stack;
        if providers(stack).next().is_none() {
            return Ok(BTreeSet::new());
        }
        ready.begins(self);
        let selected: BTreeSet<ServiceName> =
            supervisor::select(&ready.deployment.stack, services, no_deps).into_iter().collect();
        let config = |name: &ServiceName| one_line(&ready.tree, name);
        let variables = ready.variables.iter().filter(|(name, _)| !self.caller.contains_key(*name));
        let variables: IndexMap<String, String> = variables.map(|(name, value)| (name.clone(), value.clone())).collect();
        let asked = |name: &&ServiceName| selected.contains(*name);
        let asked: IndexMap<ServiceName, Provided> = (providers(stack).filter(asked))
            .filter_map(|name| {
                let provider = stack.services[name].provider()?.clone();
                let (directory, variables) = (stack.directory.clone(), variables.clone());
                let provided = Provided { provider, directory, variables, config: config(name), ..Provided::default() };
                Some((name.clone(), provided))
            })
            .collect();
        let known = self.env_dir(&ready.deployment.env)?.provided().map_err(CliError::failed)?;
        self.bring_up(&mut ready.deployment, &asked)?;
        Ok(asked.into_keys().filter(|name| known.get(name).is_none_or(|known| !known.runs)).collect())
    }

    /// Has what was stopped of what these services depend on brought up again, as it was then. The definition in force is not
    /// changed by it: where something else is given than before, that is said.
    pub fn provide_stopped(&self, env: &EnvId, services: &[ServiceName], no_deps: bool) -> Result<(), CliError> {
        let Some(mut deployment) = self.deployment(env)? else { return Ok(()) };
        let dir = self.env_dir(env)?;
        let selected = supervisor::select(&deployment.stack, services, no_deps);
        let mut stopped = dir.provided().map_err(CliError::failed)?;
        stopped.retain(|name, provided| !provided.runs && selected.contains(name));
        if stopped.is_empty() || self.global.dry_run {
            return Ok(());
        }
        self.bring_up(&mut deployment, &stopped)?;
        let known = dir.provided().map_err(CliError::failed)?;
        for (name, before) in &stopped {
            if known.get(name).is_some_and(|known| known.given != before.given) {
                self.printer.warning(format!("the provider of `{name}` gives something else than before; `up` applies it"));
            }
        }
        Ok(())
    }

    /// The same for what was taken down, whose definition is brought up as a whole: what is given is set in it.
    pub fn provide_again(&self, deployment: &mut Deployment) -> Result<(), CliError> {
        self.serve_models_of(deployment, &[], false, &self.caller)?;
        let known = self.env_dir(&deployment.env)?.provided().map_err(CliError::failed)?;
        let asked = providers(&deployment.stack).filter_map(|name| {
            let provider = deployment.stack.services[name].provider()?.clone();
            let directory = deployment.stack.directory.clone();
            let as_before = known.get(name).cloned();
            Some((name.clone(), as_before.unwrap_or(Provided { provider, directory, ..Provided::default() })))
        });
        let asked = asked.collect();
        self.bring_up(deployment, &asked)
    }

    fn bring_up(&self, deployment: &mut Deployment, asked: &IndexMap<ServiceName, Provided>) -> Result<(), CliError> {
        let dir = self.env_dir(&deployment.env)?;
        self.note(&dir, |known| {
            for (name, provided) in asked {
                let (given, runs) = known.get(name).map(|known| (known.given.clone(), known.runs)).unwrap_or_default();
                known.insert(name.clone(), Provided { given, runs, ..provided.clone() });
            }
        })?;
        let mut waves: BTreeMap<u32, Vec<(&ServiceName, &Provided)>> = BTreeMap::new();
        let waits = waits(&deployment.stack);
        for (name, provided) in asked {
            waves.entry(waits.get(name).copied().unwrap_or_default()).or_default().push((name, provided));
        }
        for wave in waves.values() {
            let mut failed = Vec::new();
            for (name, answer) in self.call(&deployment.env, wave, Wanted::Up) {
                match answer {
                    Ok(given) => {
                        let given = given.unwrap_or_default();
                        self.note(&dir, |known| {
                            if let Some(known) = known.get_mut(&name) {
                                (known.given, known.runs) = (given, true);
                            }
                        })?;
                    }
                    Err(why) => failed.push(why),
                }
            }
            if !failed.is_empty() {
                return Err(CliError::Several(failed));
            }
        }
        let known = dir.provided().map_err(CliError::failed)?;
        let names: Vec<ServiceName> = providers(&deployment.stack).cloned().collect();
        for name in names {
            let Some(provided) = known.get(&name) else { continue };
            for (dependent, variable) in provided.given.set_in(&mut deployment.stack, &name) {
                self.printer
                    .warning(format!("the provider of `{name}` sets `{variable}` of `{dependent}`, which has another value"));
            }
        }
        Ok(())
    }

    /// Stops what providers look after, as far as these can: that of the services named, or all.
    pub fn stop_provided(&self, env: &EnvId, services: &[ServiceName]) -> Result<(), CliError> {
        let failed = self.take(env, Wanted::Stop, |name, _| services.is_empty() || services.contains(name))?;
        if failed.is_empty() { Ok(()) } else { Err(CliError::Several(failed)) }
    }

    /// The same of what runs and is to be brought up again: that of the services named, or of all that are in force.
    pub fn stop_provided_to_restart(&self, env: &EnvId, services: &[ServiceName]) -> Result<(), CliError> {
        let Some(deployment) = self.deployment(env)? else { return Ok(()) };
        let is_meant = |name: &ServiceName| {
            if services.is_empty() { deployment.stack.services.contains_key(name) } else { services.contains(name) }
        };
        let failed = self.take(env, Wanted::Stop, |name, provided| provided.runs && is_meant(name))?;
        if failed.is_empty() { Ok(()) } else { Err(CliError::Several(failed)) }
    }

    /// Has providers take away what they look after: that of the services named, or all. Answers with what is left, and why, one
    /// sentence each; that is still known then.
    pub fn remove_provided(&self, env: &EnvId, services: &[ServiceName]) -> Result<Vec<String>, CliError> {
        let left = self.take(env, Wanted::Down, |name, _| services.is_empty() || services.contains(name))?;
        let remedy = format!("once its provider works, `baistack down -p {env}` takes it away; `purge --force` forgets it");
        Ok(left.into_iter().map(|why| format!("{why}; {remedy}")).collect())
    }

    /// Forgets what no provider has taken away.
    pub fn forget_provided(&self, env: &EnvId) -> Result<(), CliError> {
        self.note(&self.env_dir(env)?, IndexMap::clear)
    }

    /// Dependents first: what was brought up last. Answers with what failed.
    fn take(
        &self,
        env: &EnvId,
        wanted: Wanted,
        is_meant: impl Fn(&ServiceName, &Provided) -> bool,
    ) -> Result<Vec<String>, CliError> {
        let mut failed = Vec::new();
        if self.global.dry_run {
            return Ok(failed);
        }
        let dir = self.env_dir(env)?;
        let known = self.readable(dir.provided()).unwrap_or_default();
        for (name, provided) in known.iter().rev().filter(|(name, provided)| is_meant(name, provided)) {
            for (name, answer) in self.call(env, &[(name, provided)], wanted) {
                match answer {
                    Ok(_) if wanted == Wanted::Down => self.note(&dir, |known| drop(known.shift_remove(&name)))?,
                    // One that cannot stop anything runs on.
                    Ok(None) => {}
                    Ok(Some(_)) => self.note(&dir, |known| {
                        if let Some(known) = known.get_mut(&name) {
                            known.runs = false;
                        }
                    })?,
                    Err(why) => failed.push(why),
                }
            }
        }
        Ok(failed)
    }

    /// Calls providers beside each other, and shows what they say.
    fn call(&self, env: &EnvId, services: &[(&ServiceName, &Provided)], wanted: Wanted) -> Vec<(ServiceName, Answer)> {
        let mut progress = Progress::new(self.style, self.printer);
        let mut show = |service: &ServiceName, text: String| {
            progress.show(&Notice::Message { level: Level::Info, text: format!("{service}: {text}") });
        };
        let ((sender, heard), caller) = (mpsc::channel(), &self.caller);
        thread::scope(|scope| {
            let calls: Vec<_> = (services.iter())
                .map(|&(name, provided)| {
                    let sender = sender.clone();
                    scope.spawn(move || {
                        // The other end waits for all of us.
                        let mut said = |text| drop(sender.send((name, text)));
                        provider::call(env, name, provided, wanted, caller, &mut said)
                    })
                })
                .collect();
            drop(sender);
            heard.into_iter().for_each(|(name, text)| show(name, text));
            let answers = services.iter().zip(calls).map(|(&(name, provided), call)| {
                let program = &provided.provider.program;
                let answer = call.join().unwrap_or_else(|_| Err(Fault::permanent("a fault of our own")));
                let answer = answer.map_err(|fault| format!("`{name}`, by the provider `{program}`: {fault}"));
                if let Ok(Some(_)) = &answer {
                    show(name, format!("{} by `{program}`", done(wanted)));
                }
                (name.clone(), answer)
            });
            answers.collect()
        })
    }

    fn note(&self, dir: &EnvDir, change: impl FnOnce(&mut IndexMap<ServiceName, Provided>)) -> Result<(), CliError> {
        let _lock = self.state()?.host_lock().map_err(CliError::failed)?;
        let mut known = dir.provided().map_err(CliError::failed)?;
        change(&mut known);
        dir.set_provided(&known).map_err(CliError::failed)
    }
}

/// What a provider gives, or why it failed, in a sentence.
type Answer = Result<Option<Given>, String>;

fn done(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Up => "brought up",
        Wanted::Down => "taken away",
        Wanted::Stop => "stopped",
    }
}

fn providers(stack: &Stack) -> impl Iterator<Item = &ServiceName> {
    stack.services.iter().filter(|(_, service)| service.provider().is_some()).map(|(name, _)| name)
}

/// How many providers each service waits for, one after the other. The loader has put dependencies first.
fn waits(stack: &Stack) -> BTreeMap<ServiceName, u32> {
    let mut waits: BTreeMap<ServiceName, u32> = BTreeMap::new();
    for (name, service) in &stack.services {
        let before = service.common.depends_on.keys().filter_map(|dependency| {
            let is_provided = stack.services.get(dependency)?.provider().is_some();
            Some(waits.get(dependency)? + u32::from(is_provided))
        });
        let before = before.max().unwrap_or_default();
        waits.insert(name.clone(), before);
    }
    waits
}

/// A service as `config --format json` shows it, in one line.
fn one_line(tree: &Node, name: &ServiceName) -> String {
    let service = tree.get("services").and_then(|services| services.get(name.as_str()));
    service.map(|service| emit::json_value(service).to_string()).unwrap_or_default()
}
