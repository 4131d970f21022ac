//! `up`: loads, checks, starts in dependency order, and follows the logs until Ctrl-C.

use super::context::{Context, Missing, Purpose, Ready};
use super::{CliError, follow, plan, values};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::supervisor::request::{Abort, Recreate, Request, Up};

/// Flags of `up`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack up               everything, logs in the foreground\n  baistack up -d --wait     in the background, back when \
                        all is healthy\n  baistack up -d web        one service and what it depends on\n\n\
                        Ctrl-C once stops what this `up` started, twice kills it; so do closing the terminal and ending the reader of \
                        the output. `d` detaches. What was started with -d survives the terminal."
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
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    pub wait_timeout: Option<u64>,
    /// Show what would be done, and do nothing (as `plan`)
    #[arg(long)]
    pub dry_run: bool,
    /// Build images first, even those that are there
    #[arg(long)]
    pub build: bool,
    /// When to pull images
    #[arg(long, value_name = "WHEN", value_parser = ["always", "missing", "never", "policy"])]
    pub pull: Option<String>,
    /// Make containers and processes anew though nothing changed
    #[arg(long, conflicts_with = "no_recreate")]
    pub force_recreate: bool,
    /// Leave what exists as it is, whatever changed
    #[arg(long)]
    pub no_recreate: bool,
    /// Only the services named, not what they depend on
    #[arg(long)]
    pub no_deps: bool,
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
    #[arg(short, long, value_name = "SECONDS")]
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
    /// When one service ends, stop all; exit with its code
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    pub abort_on_container_exit: bool,
    /// When one service fails, stop all; exit with its code
    #[arg(long, conflicts_with_all = ["detach", "wait", "abort_on_container_exit"])]
    pub abort_on_container_failure: bool,
    /// Exit with the code of this service; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "wait"])]
    pub exit_code_from: Option<ServiceName>,
    /// Do not ask
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
    if args.dry_run {
        let ready = context.load(Purpose::Read, &args.services)?;
        return plan::show(request(&args, &ready), &ready, plan::Format::Text, context);
    }
    let ready = context.load(Purpose::Start { strict_ports: args.strict_ports }, &args.services)?;
    for name in args.exit_code_from.iter().chain(&args.logs.attach).chain(&args.logs.no_attach) {
        if ready.deployment.service(name).is_none() {
            return Err(CliError::Usage(format!("no service `{name}` in this stack")));
        }
    }
    context.check_host(&ready, &args.services, args.setcap)?;
    let up = request(&args, &ready);
    if up.attached {
        return follow::up(args, up, &ready, context);
    }
    let exit = context.ask_quietly(&ready.deployment.env, Request::Up(Box::new(up)), Missing::IsStarted, args.quiet())?;
    if exit == Exit::Success && !args.no_start {
        context.welcome(&ready.deployment);
    }
    Ok(exit)
}

impl Args {
    /// What of images is not shown.
    pub fn quiet(&self) -> Quiet {
        Quiet { pulls: self.quiet_pull, builds: self.quiet_build }
    }

    fn abort(&self) -> Abort {
        match (self.abort_on_container_failure, self.abort_on_container_exit || self.exit_code_from.is_some()) {
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

fn request(args: &Args, ready: &Ready) -> Up {
    let recreate = match (args.force_recreate, args.no_recreate) {
        (true, _) => Recreate::Always,
        (false, true) => Recreate::Never,
        (false, false) => Recreate::WhenChanged,
    };
    Up {
        services: args.services.clone(),
        no_deps: args.no_deps,
        wait: args.wait,
        wait_timeout: values::seconds(args.wait_timeout),
        recreate,
        build: args.build,
        pull: args.pull.clone().filter(|when| when != "policy"),
        remove_orphans: args.remove_orphans,
        scale: args.scale.iter().cloned().collect(),
        watch: !args.no_watch,
        watch_containers: args.watch,
        no_start: args.no_start,
        attached: !(args.detach || args.wait || args.no_start),
        abort: args.abort(),
        timeout: values::seconds(args.timeout),
        ..Up::of(ready.deployment.clone())
    }
}
