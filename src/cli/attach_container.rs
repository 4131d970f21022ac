//! `attach` to a container: its output here, our input there, until it ends or the detach keys are pressed.

use super::CliError;
use super::attach::Args;
use super::context::Context;
use super::inside::{self, Lent};
use crate::base::exit::Exit;
use crate::host::engine::Attachment;
use crate::view::term;

/// Attaches to a container.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let container = context.container_of(&args.service, args.index, "`attach` is for containers")?;
    if !container.is_alive() {
        let unit = container.unit.map(|unit| unit.to_string()).unwrap_or_default();
        return Err(CliError::NoEnvironment(format!("{unit} does not run; it is {}", container.state)));
    }
    if container.state == "paused" {
        let service = &args.service;
        return Err(CliError::Failed(format!("`{service}` is paused; `baistack unpause {service}` lets it go on")));
    }
    let engine = context.engine()?;
    let has_terminal = engine.with(async |docker| docker.has_terminal(&container.id).await);
    let has_terminal = has_terminal.map_err(super::targets::of_engine)?;
    let at_terminals = has_terminal && term::stdin_is_terminal();
    // Keys are looked for where they are typed one by one.
    let lent = Lent::new(at_terminals && !args.no_stdin);
    let attachment = Attachment {
        container: &container.id,
        stdin: !args.no_stdin,
        keys: args.detach_keys.clone().only_if(at_terminals),
        pass_signals: args.sig_proxy && !has_terminal,
    };
    let ended = engine.attach(attachment, &mut |resize| lent.begin(resize), &mut inside::pass_on);
    drop(lent);
    match ended {
        Ok(None) => {
            context.printer.say("detached; it runs on");
            Ok(Exit::Success)
        }
        Ok(Some(code)) => inside::exit(Ok(code)),
        Err(fault) => inside::exit(Err(fault)),
    }
}
