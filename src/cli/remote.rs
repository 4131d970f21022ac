//! Stack files that lie elsewhere: fetched for a load, and not started without a question.

use std::path::PathBuf;

use super::context::{Context, Ready};
use super::{CliError, config};
use crate::load::Omit;
use crate::load::remote::{self, Remote};
use crate::view::progress::Style;
use crate::view::table::Table;
use crate::view::term;
use crate::world::docker::Application;
use crate::world::remote::Cache;

impl Context {
    /// Of a stack that lies elsewhere it is said where it is kept, and asked, as Compose does, whether it is to be started with the variables
    /// that are here.
    pub(super) fn confirm_elsewhere(&self, ready: &Ready, yes: bool) -> Result<(), CliError> {
        let first = self.global.file.first().and_then(|path| path.to_str());
        let Some(first) = first.filter(|text| remote::of(text).is_some()) else { return Ok(()) };
        if self.style != Style::Quiet {
            self.printer.say(format!("`{first}` is kept in `{}`", ready.deployment.stack.directory.display()));
        }
        if yes {
            return Ok(());
        }
        let unfilled = self.load_without(Omit { interpolation: true, ..Omit::default() }, &[])?;
        let mentioned = config::mentioned(&unfilled.tree);
        if mentioned.is_empty() {
            return Ok(());
        }
        if !term::stdin_is_terminal() {
            let names: Vec<String> = mentioned.keys().map(|name| format!("`{name}`")).collect();
            let why = format!("`{first}` uses variables of yours, {}", names.join(", "));
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
        self.printer.say(self.mask_of(&ready.secrets).text(table.render().trim_end()));
        self.printer.ask("Start it with these variables? [y/N] ");
        if term::answer_is_yes() { Ok(()) } else { Err(CliError::Failed("nothing is started".to_owned())) }
    }

    /// The stack file of what lies elsewhere, fetched unless it is kept here; why it cannot be, in words.
    pub(super) fn fetch(&self, remote: &Remote) -> Result<PathBuf, String> {
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
        match remote {
            Remote::Application(reference) => {
                let engine = self.engine().map_err(|error| error.to_string())?;
                let insecure = &self.global.insecure_registry;
                let is_known = |digest: &str| cache.has_application(digest);
                let found = engine.with(async |docker| docker.application(reference, insecure, is_known).await);
                let Application { digest, parts } = found.map_err(|fault| fault.message)?;
                match parts {
                    Some(parts) => cache.keep(&digest, &parts),
                    None => Ok(cache.application(&digest)),
                }
            }
            Remote::Repository(place) => cache.checkout(place, &self.caller),
        }
    }
}
