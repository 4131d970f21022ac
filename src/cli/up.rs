//! `up`: loads, checks, starts in dependency order, and follows the logs until Ctrl-C.

use indexmap::IndexMap;

use super::context::{Context, Missing, Purpose, Ready};
use super::{CliError, elsewhere, follow, plan, providers, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::load::formats::Format;
use crate::plan::provision::Building;
use crate::supervisor::request::{Abort, Recreate, Request, Up};
use crate::view::progress::Style;
use crate::yaml::node::{Mapping, Node};

/// Flags of `up`.
#[derive(Debug, Default, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack up               everything, logs in the foreground\n  baistack up -d --wait     in the background, back when \
                        all is healthy\n  baistack up -d web        one service and what it depends on\n\n\
                        Ctrl-C once stops what this `up` started, twice kills it; so do closing the terminal and ending the reader of \
                        the output. Keys: `d` detaches, `r` restarts a service, `f` filters the log, `q` stops, `h` lists them. What was started with -d \
                        survives the terminal; Ctrl-C while `up -d` waits leaves undone what has not begun, and what runs running."
)]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// Return when everything is started, and leave it running
    #[arg(short, long)]
    pub detach: bool,
    /// Return when everything is healthy or done; implies --detach
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = values::whole_seconds, requires = "wait")]
    pub wait_timeout: Option<u64>,
    /// Build images first, even those that are there
    #[arg(long)]
    pub build: bool,
    /// Build no image; one that is not there is an error
    #[arg(long, conflicts_with = "build")]
    pub no_build: bool,
    /// When to pull images
    #[arg(long, value_name = "WHEN", value_parser = ["always", "missing", "never", "policy"])]
    pub pull: Option<String>,
    /// Make containers and processes anew though nothing changed; tasks are asked again whether they are due
    #[arg(long, conflicts_with = "no_recreate")]
    pub force_recreate: bool,
    /// Make anew what the services named depend on, too
    #[arg(long, conflicts_with = "no_recreate")]
    pub always_recreate_deps: bool,
    /// Leave what exists as it is, whatever changed
    #[arg(long)]
    pub no_recreate: bool,
    /// Give containers that are made anew new anonymous volumes, instead of those of the containers before
    #[arg(short = 'V', long)]
    pub renew_anon_volumes: bool,
    /// Only the services named, not what they depend on
    #[arg(long)]
    pub no_deps: bool,
    /// Take a container for healthy when its engine says so, instead of running its `healthcheck` at once as well
    #[arg(long)]
    pub engine_health: bool,
    /// Make containers, start nothing
    #[arg(long)]
    pub no_start: bool,
    /// Remove containers of services that the stack no longer has
    #[arg(long)]
    pub remove_orphans: bool,
    /// Number of replicas of a service; repeatable
    #[arg(long, value_name = "SERVICE=N", value_parser = values::scale)]
    pub scale: Vec<(ServiceName, u32)>,
    /// Kill after so many seconds when stopping, instead of each service's `stop_grace_period`
    #[arg(short, long, value_name = "SECONDS", value_parser = values::whole_seconds)]
    pub timeout: Option<u64>,
    /// File changes act on containers too
    #[arg(short, long, conflicts_with = "no_watch")]
    pub watch: bool,
    /// File changes do nothing
    #[arg(long)]
    pub no_watch: bool,
    /// A preferred port that is taken is an error
    #[arg(long)]
    pub strict_ports: bool,
    /// Set missing file capabilities with sudo, before anything starts
    #[arg(long)]
    pub setcap: bool,
    /// Run processes without the limits (`mem_limit`, `cpus`, `pids_limit`) that cannot be kept here
    #[arg(long)]
    pub ignore_limits: bool,
    /// When one service ends, stop all; exit with its code
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    pub abort_on_container_exit: bool,
    /// When one service fails, stop all; exit with its code
    #[arg(long, conflicts_with_all = ["detach", "wait", "abort_on_container_exit"])]
    pub abort_on_container_failure: bool,
    /// Exit with the code of this service; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "wait"])]
    pub exit_code_from: Option<ServiceName>,
    /// Replicas for the processes of a Procfile, `all=1,web=2`
    #[arg(short = 'm', long, value_name = "NAME=N,…", value_delimiter = ',', value_parser = values::scale)]
    pub formation: Vec<(ServiceName, u32)>,
    /// Do not stop everything when a process of a Procfile ends
    #[arg(long)]
    pub keep_going: bool,
    /// Whether single keys are read in the foreground, on a terminal [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(conflicts_with_all = ["detach", "wait"])]
    pub menu: Option<bool>,
    /// Make volumes anew whose definition has changed: what they hold is lost; start a stack that lies elsewhere without a question
    #[arg(short, long)]
    pub yes: bool,
    /// Do not show the progress of pulls
    #[arg(long)]
    pub quiet_pull: bool,
    /// Do not show the progress of builds
    #[arg(long)]
    pub quiet_build: bool,
    /// What is shown of the logs
    #[command(flatten)]
    pub logs: Logs,
}

/// Which logs the foreground shows, and how.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct Logs {
    /// Follow only this service; repeatable
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "attach_dependencies"])]
    pub attach: Vec<ServiceName>,
    /// Follow what the named services depend on too
    #[arg(long, conflicts_with = "detach")]
    pub attach_dependencies: bool,
    /// Do not follow this service; repeatable
    #[arg(long, value_name = "SERVICE", conflicts_with = "detach")]
    pub no_attach: Vec<ServiceName>,
    /// Lines as they are, without colours
    #[arg(long)]
    pub no_color: bool,
    /// Do not say which service a line is from
    #[arg(long)]
    pub no_log_prefix: bool,
    /// Show the time of each line
    #[arg(long)]
    pub timestamps: bool,
}

/// Brings services up.
pub fn run(args: Args, context: &Context) -> Result<Exit, CliError> {
    if context.global.dry_run {
        let mut ready = context.load(Purpose::Forecast { strict_ports: args.strict_ports }, &args.services)?;
        args.check_others(&ready, context)?;
        if args.ignore_limits {
            context.leave_out_limits(&mut ready, &args.services);
        }
        let up = request(&args, &ready, context);
        return plan::show(|deployment| Up { deployment, ..up }, ready, plan::Format::Text, context);
    }
    let mut ready = context.load(Purpose::Start { strict_ports: args.strict_ports }, &args.services)?;
    args.check_others(&ready, context)?;
    if args.ignore_limits {
        context.leave_out_limits(&mut ready, &args.services);
    }
    if args.no_start {
        context.check_host_to_create(&ready, &args.services)?;
    } else {
        context.check_host_scaled(&ready, &args.services, args.setcap, &scale(&args, &ready))?;
    }
    context.leave_out_containers(&mut ready)?;
    let pull = args.pull.as_deref().filter(|when| *when != "policy");
    context.refuse_unbuildable(&ready, &args.services, pull, args.building(), args.no_deps)?;
    context.confirm_elsewhere(&ready, args.yes)?;
    say_when_nothing_is_on(&ready, context);
    mention_jobs(&ready, context);
    if args.no_start {
        ready.begins(context);
    } else {
        ready.begins_up(context)?;
    }
    if ready.deployment.has_containers() {
        elsewhere::mention(&ready.deployment.env, context)?;
    }
    let provided = context.provide(&mut ready, &args.services, args.no_deps)?;
    let up = request(&args, &ready, context);
    if up.attached {
        return follow::up(args, up, &ready, provided, context);
    }
    let exit = context.ask_quietly(&ready.deployment.env, Request::Up(Box::new(up)), Missing::IsStarted, args.quiet())?;
    if exit == Exit::Success && !args.no_start {
        context.welcome(&ready.deployment);
    }
    Ok(exit)
}

/// A stack of which nothing is started would end without a word.
fn say_when_nothing_is_on(ready: &Ready, context: &Context) {
    let stack = &ready.deployment.stack;
    if !stack.services.is_empty() || context.style == Style::Quiet {
        return;
    }
    let remedy = if stack.disabled.is_empty() {
        "the stack has no service".to_owned()
    } else {
        let names: Vec<String> = stack.disabled.keys().map(|name| format!("`{name}`")).collect();
        format!("no profile is on that {} asks for; --profile names one", names.join(", "))
    };
    context.printer.say(format!("nothing to start: {remedy}"));
}

/// Nobody is to take a job for started.
fn mention_jobs(ready: &Ready, context: &Context) {
    let jobs = ready.tree.get("jobs").and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter);
    let jobs: Vec<String> = jobs.map(|(name, _)| format!("`{name}`")).collect();
    if !jobs.is_empty() && context.style != Style::Quiet {
        let (are, one) = if jobs.len() == 1 { ("is a job, which is", "it") } else { ("are jobs, which are", "each") };
        context.printer.say(format!("{} {are} not started by `up`: `baistack run JOB` runs {one}", jobs.join(", ")));
    }
}

impl Args {
    /// What of images is not shown.
    pub fn quiet(&self) -> Quiet {
        Quiet { pulls: self.quiet_pull, builds: self.quiet_build }
    }

    fn building(&self) -> Building {
        match (self.build, self.no_build) {
            (true, _) => Building::Anew,
            (false, true) => Building::Never,
            (false, false) => Building::AsNeeded,
        }
    }

    /// The services that flags name.
    fn others(&self) -> Vec<ServiceName> {
        // Of a formation `all` is all the others.
        let formation = self.formation.iter().filter(|(name, _)| name.as_str() != "all");
        let scaled = self.scale.iter().chain(formation).map(|(name, _)| name);
        self.exit_code_from.iter().chain(&self.logs.attach).chain(&self.logs.no_attach).chain(scaled).cloned().collect()
    }

    fn check_others(&self, ready: &Ready, context: &Context) -> Result<(), CliError> {
        context.known(&ready.deployment, &self.others())?;
        let scaled: Vec<ServiceName> = self.scale.iter().map(|(name, _)| name.clone()).collect();
        providers::refuse(&ready.deployment.stack, &scaled, "to scale")
    }

    /// When one end is everybody's; of a Procfile always, as in Foreman.
    fn abort(&self, ready: &Ready) -> Abort {
        let is_procfile = ready.deployment.stack.files.first().is_some_and(|file| Format::of(file) == Format::Procfile);
        let on_exit = self.abort_on_container_exit || self.exit_code_from.is_some() || (is_procfile && !self.keep_going);
        match (self.abort_on_container_failure, on_exit) {
            (true, _) => Abort::OnFailure,
            (false, true) => Abort::OnExit,
            (false, false) => Abort::Never,
        }
    }
}

/// What of images is not shown.
#[derive(Debug, Default, Clone, Copy)]
pub struct Quiet {
    /// The progress of pulls.
    pub pulls: bool,
    /// The progress of builds.
    pub builds: bool,
}

fn request(args: &Args, ready: &Ready, context: &Context) -> Up {
    let recreate = match (args.force_recreate, args.no_recreate) {
        (true, _) => Recreate::Always,
        (false, true) => Recreate::Never,
        (false, false) => Recreate::WhenChanged,
    };
    let attached = !(args.detach || args.wait || args.no_start);
    Up {
        services: args.services.clone(),
        no_deps: args.no_deps,
        wait: args.wait,
        wait_timeout: values::seconds(args.wait_timeout),
        recreate,
        recreate_dependencies: args.always_recreate_deps,
        renew_anon_volumes: args.renew_anon_volumes,
        yes: args.yes,
        build: args.build,
        no_build: args.no_build,
        pull: args.pull.clone().filter(|when| when != "policy"),
        remove_orphans: args.remove_orphans || context.removes_orphans(ready),
        scale: scale(args, ready),
        beside: false,
        watch: !args.no_watch,
        watch_containers: args.watch,
        engine_health: args.engine_health,
        no_start: args.no_start,
        attached,
        abort: if attached { args.abort(ready) } else { Abort::Never },
        timeout: values::seconds(args.timeout),
        ..Up::of(ready.deployment.clone())
    }
}

/// The formation of a Procfile (where `all` is all the others), and what `--scale` says.
fn scale(args: &Args, ready: &Ready) -> IndexMap<ServiceName, u32> {
    let all = args.formation.iter().find(|(name, _)| name.as_str() == "all").map(|(_, count)| *count);
    let mut scale: IndexMap<ServiceName, u32> = match all {
        Some(count) => ready.deployment.stack.services.keys().map(|name| (name.clone(), count)).collect(),
        None => IndexMap::new(),
    };
    scale.extend(args.formation.iter().filter(|(name, _)| name.as_str() != "all").cloned());
    scale.extend(args.scale.iter().cloned());
    scale
}
