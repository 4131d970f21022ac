//! Language models that services use (`models`): fetched and set up by Docker's model runner before anything else is asked for, since
//! where they are served is part of the definition of those who use them.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::CliError;
use super::context::{Context, Ready};
use crate::base::diagnostic::Diagnostic;
use crate::base::name::ServiceName;
use crate::load::Loaded;
use crate::model::language_model::{self, LanguageModel};
use crate::model::stack::Stack;
use crate::plan::action::Fault;
use crate::plan::desired::Deployment;
use crate::supervisor;
use crate::supervisor::notice::{Level, Notice};
use crate::view::progress::Progress;
use crate::world::envdir::EnvDir;
use crate::world::model_runner::ModelRunner;
use crate::yaml::node::{Mapping, Node};

/// What keeps the models of these services from being served here, at its place in the files.
pub(super) fn check(loaded: &Loaded, services: &[ServiceName], environment: &IndexMap<String, String>) -> Vec<Diagnostic> {
    let wanted = wanted(&loaded.stack, services);
    if wanted.is_empty() {
        return Vec::new();
    }
    let defined = loaded.tree.get("models").and_then(Node::as_mapping);
    let entry = |name: &str| defined.and_then(|defined: &Mapping| defined.entry(name));
    let at = |name: &str, fault: Diagnostic| entry(name).into_iter().fold(fault, |fault, entry| fault.at(entry.key_span, ""));
    match ModelRunner::find(environment) {
        Err(fault) => (wanted.keys())
            .map(|name| {
                let message = format!("the model `{name}` cannot be served: {}", fault.message);
                let help = "install Docker's model runner (`apt install docker-model-plugin`), or remove `models` and give the address \
                            of another one in `environment`";
                at(name, Diagnostic::error("unfit-host", message)).help(help)
            })
            .collect(),
        Ok(runner) => (wanted.iter())
            .filter(|(_, model)| !model.runtime_flags.is_empty() && !runner.takes_runtime_flags())
            .map(|(name, _)| {
                let message = format!("the model `{name}`: the plugin `docker-model` takes no `runtime_flags` before 1.0.6");
                let flags = entry(name).and_then(|entry| entry.node.as_mapping()?.entry("runtime_flags"));
                let fault = Diagnostic::error("unfit-host", message);
                let fault = match flags {
                    Some(flags) => fault.at(flags.key_span, ""),
                    None => at(name, fault),
                };
                fault.note(format!("it is of version `{}`", runner.version())).help("install a newer one, or remove them")
            })
            .collect(),
    }
}

/// Tells the services of a stack where models were served when that was last asked: nothing seems changed then that has not.
pub(super) fn as_served(dir: &EnvDir, stack: &mut Stack) -> Result<(), CliError> {
    if let Some(endpoint) = dir.model_endpoint().map_err(CliError::failed)? {
        language_model::tell(stack, &endpoint);
    }
    Ok(())
}

/// The models that these services use.
fn wanted<'a>(stack: &'a Stack, services: &[ServiceName]) -> IndexMap<&'a str, &'a LanguageModel> {
    let containers = services.iter().filter_map(|name| stack.services.get(name)?.container());
    let used: BTreeSet<&str> = containers.flat_map(|container| container.models.keys()).map(String::as_str).collect();
    stack.models.iter().filter(|(name, _)| used.contains(name.as_str())).map(|(name, model)| (name.as_str(), model)).collect()
}

impl Context {
    /// Has the models of these services, and of what they depend on, fetched where they are missing and set up; where they are
    /// served is set in the stack.
    pub(super) fn serve_models(&self, ready: &mut Ready, services: &[ServiceName], no_deps: bool) -> Result<(), CliError> {
        let stack = &ready.deployment.stack;
        if !wanted(stack, &supervisor::select(stack, services, no_deps)).is_empty() {
            ready.begins(self);
        }
        let mut environment = ready.variables.clone();
        environment.extend(self.caller.iter().map(|(name, value)| (name.clone(), value.clone())));
        self.serve_models_of(&mut ready.deployment, services, no_deps, &environment)
    }

    /// The same for a definition that need not be that of the files here; the variables may say where the plugin is.
    pub(super) fn serve_models_of(
        &self,
        deployment: &mut Deployment,
        services: &[ServiceName],
        no_deps: bool,
        environment: &IndexMap<String, String>,
    ) -> Result<(), CliError> {
        let dir = self.env_dir(&deployment.env)?;
        let stack = &deployment.stack;
        let wanted = wanted(stack, &supervisor::select(stack, services, no_deps));
        if wanted.is_empty() {
            // Others that use some are left as they were told.
            return as_served(&dir, &mut deployment.stack);
        }
        let failed = |why: String| CliError::Failed(why);
        let runner = ModelRunner::find(environment).map_err(|fault| failed(fault.message))?;
        let there = runner.available().map_err(|fault| failed(fault.message))?;
        let mut progress = Progress::new(self.style, self.printer);
        let mut show = |name: &str, text: String| {
            progress.show(&Notice::Message { level: Level::Info, text: format!("{name}: {text}") });
        };
        for (name, model) in &wanted {
            let of_it = |fault: Fault| failed(format!("the model `{name}`: {fault}"));
            if !there.contains(&model.model) {
                show(name, format!("pulling the model `{}`", model.model));
                runner.pull(model).map_err(of_it)?;
            }
            runner.configure(model).map_err(of_it)?;
            show(name, format!("the model `{}` is set up", model.model));
        }
        let endpoint = runner.endpoint().map_err(|fault| failed(fault.message))?;
        dir.set_model_endpoint(&endpoint).map_err(CliError::failed)?;
        language_model::tell(&mut deployment.stack, &endpoint);
        Ok(())
    }
}
