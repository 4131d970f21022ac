//! `watch`: brings services up, and has file changes act on them for as long as it runs. It tells what changes and what that causes;
//! when it ends, everything runs on.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Sender};
use std::thread;

use super::CliError;
use super::context::{Context, Missing, Purpose, Watched};
use super::interrupt::{self, Cause};
use super::targets::of_engine;
use super::up::Quiet;
use crate::base::exit::Exit;
use crate::base::name::{EnvId, ServiceName};
use crate::control::client::{Client, ClientError};
use crate::control::wire::Told;
use crate::host::attach::{self, AttachError};
use crate::model::service::Kind;
use crate::plan::action::ResourceId;
use crate::plan::desired::Deployment;
use crate::plan::provision::Building;
use crate::supervisor;
use crate::supervisor::notice::{Notice, ResourceState};
use crate::supervisor::request::{Reply, Request, Select, Up};
use crate::supervisor::status::UnitState;
use crate::view::progress::{Progress, Style};

/// Flags of `watch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack watch            everything that has `develop.watch`\n  baistack watch --no-up    what runs already, as it \
                  is\n\n\
                  Ctrl-C ends the watching and leaves everything running. `up` watches processes by itself; `up --watch` does this and \
                  shows the logs."
)]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// Build and start nothing before
    #[arg(long)]
    pub no_up: bool,
    /// Remove images that a rebuild has replaced
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub prune: bool,
    /// Do not show the progress of builds
    #[arg(long)]
    pub quiet: bool,
    /// Start a stack that lies elsewhere without a question
    #[arg(long)]
    pub yes: bool,
}

enum Happening {
    Told(Told),
    Gone,
    Interrupt(Cause),
}

/// Watches.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let quiet = Quiet { pulls: false, builds: args.quiet };
    let env = if args.no_up {
        let env = context.env_id()?;
        context.known_in(&env, &args.services)?;
        let deployment = context.deployment(&env)?.ok_or_else(|| Context::not_running(&env))?;
        watchable(&deployment, &args.services)?;
        env
    } else {
        let mut ready = context.load(Purpose::Start { strict_ports: false }, &args.services)?;
        watchable(&ready.deployment, &args.services)?;
        context.check_host(&ready, &args.services, false)?;
        context.leave_out_containers(&mut ready)?;
        context.refuse_unbuildable(&ready, &args.services, None, Building::AsNeeded, false)?;
        context.confirm_other_edition(&ready, args.yes)?;
        ready.begins_up(context)?;
        context.provide(&mut ready, &args.services, false)?;
        let mut deployment = ready.deployment.clone();
        build_what_is_watched(&mut deployment);
        let up = Up { services: args.services.clone(), beside: true, ..Up::of(deployment) };
        let exit = context.ask_quietly(&ready.deployment.env, Request::Up(Box::new(up)), Missing::IsStarted, quiet)?;
        if exit != Exit::Success {
            return Ok(exit);
        }
        ready.deployment.env
    };
    let (sender, happenings) = mpsc::channel();
    let interrupts = sender.clone();
    let _interrupts = interrupt::listen(move |cause| drop(interrupts.send(Happening::Interrupt(cause))))
        .map_err(|error| CliError::Failed(format!("listen to signals: {error}")))?;
    put(args, &env, &sender, context)?;
    // A supervisor that had nothing left to do may end between our greeting and our wish.
    let (mut tries, mut heard) = (1, false);
    let style = if context.style == Style::Auto { Style::Plain } else { context.style };
    let mut watched = Watched::new(Progress::new(style, context.printer), quiet);
    let mask = context.mask(&env)?;
    let mut rebuilt = Rebuilt::default();
    loop {
        match happenings.recv().expect("we hold a sender") {
            Happening::Told(Told::Notice(notice)) => {
                let notice = mask.message(*notice);
                watched.take(&notice);
                if args.prune && rebuilt.is_replaced(&notice) {
                    // No reason to watch no longer.
                    prune(&env, context).unwrap_or_else(|error| context.printer.warning(error.to_string()));
                }
            }
            Happening::Told(Told::Reply { reply, .. }) => match *reply {
                Reply::Done { .. } => {
                    heard = true;
                    context.printer.say("watching; Ctrl-C ends it and leaves everything running");
                }
                other => return context.judge(&env, other, &[]),
            },
            Happening::Gone if !heard && tries < TRIES => {
                tries += 1;
                put(args, &env, &sender, context)?;
            }
            Happening::Gone => {
                return Err(CliError::Failed("the supervisor has ended, and nothing is watched any more".to_owned()));
            }
            Happening::Interrupt(cause) => return Ok(cause.exit()),
        }
    }
}

/// How often the wish is put to supervisors that end.
const TRIES: u32 = 4;

/// Asks the supervisor to watch for as long as the connection lasts. What is answered comes as happenings.
fn put(args: &Args, env: &EnvId, sender: &Sender<Happening>, context: &Context) -> Result<(), CliError> {
    let client = attach::open_or_spawn(&context.env_dir(env)?)?;
    let wish = Request::Watch(Select { services: args.services.clone(), ..Select::default() });
    match client.voice().send(wish) {
        // The end of the connection is told as well.
        Ok(_) | Err(ClientError::Gone(_)) => {}
        Err(error) => return Err(AttachError::from(error).into()),
    }
    listen(client, sender);
    Ok(())
}

/// Refuses what nothing would ever come of.
fn watchable(deployment: &Deployment, services: &[ServiceName]) -> Result<(), CliError> {
    let selected = supervisor::select(&deployment.stack, services, true);
    let has_rules = |name: &ServiceName| deployment.service(name).is_some_and(|it| !it.common.develop.watch.is_empty());
    if selected.iter().any(has_rules) {
        return Ok(());
    }
    Err(CliError::Usage("none of these services has a rule in `develop.watch`, so there is nothing to watch".to_owned()))
}

/// What is watched is built from what is there now, as in Compose.
fn build_what_is_watched(deployment: &mut Deployment) {
    for service in deployment.stack.services.values_mut().filter(|service| !service.common.develop.watch.is_empty()) {
        if let Kind::Container(container) = &mut service.kind
            && container.build.is_some()
        {
            container.pull_policy = Some("build".to_owned());
        }
    }
}

fn listen(mut client: Client, sender: &Sender<Happening>) {
    let sender = sender.clone();
    thread::spawn(move || {
        while let Ok(told) = client.hear() {
            if sender.send(Happening::Told(told)).is_err() {
                return;
            }
        }
        // The command may have ended.
        let _ = sender.send(Happening::Gone);
    });
}

/// Services whose image was built anew and whose old containers may still run.
#[derive(Debug, Default)]
struct Rebuilt(BTreeSet<ServiceName>);

impl Rebuilt {
    /// Whether with this the container of an old image has been replaced.
    fn is_replaced(&mut self, notice: &Notice) -> bool {
        if let Notice::Resource { resource: ResourceId::Image(service), state: ResourceState::Built, .. } = notice {
            self.0.insert(service.clone());
        }
        matches!(notice, Notice::Unit(unit) if unit.state == UnitState::Running && self.0.remove(&unit.unit.service))
    }
}

fn prune(env: &EnvId, context: &Context) -> Result<(), CliError> {
    let removed = context.engine()?.with(async |docker| docker.remove_untagged_images(env).await).map_err(of_engine)?;
    if removed > 0 {
        context
            .printer
            .say(format!("removed {removed} image{} that a rebuild has replaced", if removed == 1 { "" } else { "s" }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::states::tests::unit;

    #[test]
    fn an_old_image_goes_when_the_new_container_runs() {
        let mut rebuilt = Rebuilt::default();
        let running = Notice::Unit(Box::new(unit("web", UnitState::Running)));
        let service = running.unit().unwrap().unit.service.clone();
        let built = Notice::Resource { resource: ResourceId::Image(service), state: ResourceState::Built, name: "i".to_owned() };
        let story = [&running, &built, &running, &running].map(|notice| rebuilt.is_replaced(notice));
        assert_eq!(story, [false, false, true, false]);
    }
}
