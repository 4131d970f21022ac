//! Stack files that lie elsewhere: fetched for a load, and not started without a question.

use std::path::PathBuf;

use super::context::{Context, Ready};
use super::{CliError, config};
use crate::load::Omit;
use crate::load::remote::{self, Remote};
use crate::plan::action::FaultKind;
use crate::view::progress::Style;
use crate::view::table::Table;
use crate::view::term;
use crate::world::docker::Application;
use crate::world::remote::{Cache, Unfetched};

/// Which edition is meant of what moves elsewhere: a tag, a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Edition {
    /// The one there is now.
    Newest,
    /// The one that it was when it was last asked for: whoever starts nothing need ask nobody.
    Recorded,
}

impl Context {
    /// Of a stack that lies elsewhere it is said where it is kept, and asked, as Compose does, whether it is to be started with the variables
    /// that are here; and whether its programs are to run on this host, which no container keeps from anything.
    pub(super) fn confirm_elsewhere(&self, ready: &Ready, yes: bool) -> Result<(), CliError> {
        if ready.elsewhere.is_empty() {
            return Ok(());
        }
        let named = ready.elsewhere.iter().map(|name| format!("`{}`", remote::shown(name))).collect::<Vec<_>>().join(", ");
        let is_or_are = if ready.elsewhere.len() == 1 { "is" } else { "are" };
        if self.style != Style::Quiet {
            let place = ready.deployment.stack.directory.display();
            self.printer.say(format!("{named} {is_or_are} kept in `{place}`"));
        }
        if yes {
            return Ok(());
        }
        let stack = &ready.deployment.stack;
        let on_host = stack.services.iter().filter(|(_, service)| service.is_process() || service.provider().is_some());
        let on_host: Vec<String> = on_host.map(|(name, _)| format!("`{name}`")).collect();
        let unfilled = self.load_without(Omit { interpolation: true, ..Omit::default() }, &[])?;
        let mentioned = config::mentioned(&unfilled.tree);
        if mentioned.is_empty() && on_host.is_empty() {
            return Ok(());
        }
        if !term::stdin_is_terminal() {
            let names: Vec<String> = mentioned.keys().map(|name| format!("`{name}`")).collect();
            let why = if on_host.is_empty() {
                format!("{named} uses variables of yours, {}", names.join(", "))
            } else {
                format!("{named} has programs that run on this host, {}", on_host.join(", "))
            };
            return Err(CliError::Usage(format!("{why}, and there is no terminal to ask on: give --yes")));
        }
        let mut table = Table::new(["VARIABLE", "VALUE", "FROM"]);
        for mention in mentioned.values() {
            let (value, from) = match (ready.variables.get(mention.name), mention.default) {
                (Some(value), _) if self.caller.contains_key(mention.name) => (value.as_str(), "environment"),
                (Some(value), _) => (value.as_str(), "file of variables"),
                (None, Some(default)) => (default, "stack file"),
                (None, None) => ("", "nowhere"),
            };
            table.row([mention.name.to_owned(), value.to_owned(), from.to_owned()]);
        }
        if !mentioned.is_empty() {
            self.printer.say(self.mask_of(&ready.secrets).text(table.render().trim_end()));
        }
        if !on_host.is_empty() {
            self.printer.warning(format!("its programs run on this host, and may do there what you may: {}", on_host.join(", ")));
        }
        self.printer.ask(if mentioned.is_empty() { "Start it? [y/N] " } else { "Start it with these variables? [y/N] " });
        if term::answer_is_yes() { Ok(()) } else { Err(CliError::Failed("nothing is started".to_owned())) }
    }

    /// The same for commands that start what an `up` may have started before: not asked again about an edition that is in force.
    pub(super) fn confirm_other_edition(&self, ready: &Ready, yes: bool) -> Result<(), CliError> {
        if ready.elsewhere.is_empty() {
            return Ok(());
        }
        let in_force = self.deployment(&ready.deployment.env)?;
        // Where it is kept tells which one it is.
        if in_force.is_some_and(|in_force| in_force.stack.files == ready.deployment.stack.files) {
            return Ok(());
        }
        self.confirm_elsewhere(ready, yes)
    }

    /// The stack file of what lies elsewhere, fetched unless it is kept here; why it cannot be, in words.
    pub(super) fn fetch(&self, remote: &Remote, edition: Edition) -> Result<PathBuf, String> {
        let switch = match remote {
            Remote::Application(_) => "COMPOSE_EXPERIMENTAL_OCI_REMOTE",
            Remote::Repository(_) => "COMPOSE_EXPERIMENTAL_GIT_REMOTE",
        };
        if self.caller.get(switch).is_some_and(|value| matches!(value.as_str(), "0" | "f" | "F" | "false" | "FALSE" | "False")) {
            return Err(format!("`{switch}` turns it off"));
        }
        if self.offline {
            return Err("nothing is fetched now".to_owned());
        }
        let cache = Cache::of(&self.caller)?;
        if edition == Edition::Recorded
            && let Some(file) = cache.recorded(remote)
        {
            return Ok(file);
        }
        match self.fetch_newest(remote, &cache) {
            Ok(file) => Ok(file),
            Err(Unfetched::Refused(why)) => Err(why),
            Err(Unfetched::Away(why)) => match cache.recorded(remote) {
                Some(file) => {
                    let named = remote.identity();
                    self.printer.warning(format!("{why}; `{named}` is taken as it was when it was last asked for"));
                    Ok(file)
                }
                None => Err(why),
            },
        }
    }

    fn fetch_newest(&self, remote: &Remote, cache: &Cache) -> Result<PathBuf, Unfetched> {
        match remote {
            Remote::Application(reference) => {
                let engine = self.engine().map_err(|error| error.to_string())?;
                let insecure = &self.global.insecure_registry;
                let is_known = |digest: &str| cache.has_application(digest);
                let found = engine.with(async |docker| docker.application(reference, insecure, is_known).await);
                let Application { digest, parts } = found.map_err(|fault| match fault.kind {
                    FaultKind::EngineAway | FaultKind::Temporary => Unfetched::Away(fault.message),
                    FaultKind::Permanent | FaultKind::NoProgram | FaultKind::NotExecutable => Unfetched::Refused(fault.message),
                })?;
                let file = match parts {
                    Some(parts) => cache.keep(&digest, &parts)?,
                    None => cache.application(&digest),
                };
                cache.record(remote, &digest);
                Ok(file)
            }
            Remote::Repository(place) => cache.checkout(place, &self.caller),
        }
    }
}
