//! What every command has: the caller, the two streams, and the way to an environment.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;

use super::CliError;
use super::args::Global;
use super::interrupt::Recall;
use super::log_feed;
use super::mask::Mask;
use super::plan;
use super::remote::Edition;
use super::up::Quiet;
use super::values;
use crate::base::exit::Exit;
use crate::base::name::{EnvId, ServiceName, UnitId};
use crate::base::suggest;
use crate::control::client::{ClientError, Voice};
use crate::host::attach::{self, AttachError};
use crate::host::engine::Engine;
use crate::load::remote::Remote;
use crate::plan::action::ResourceId;
use crate::plan::actual::{Actual, Query, SeenResource};
use crate::plan::desired::Deployment;
use crate::supervisor::notice::{Notice, ResourceState, does_not_answer};
use crate::supervisor::request::{Recreate, Reply, Request, Up};
use crate::supervisor::snapshot::Snapshot;
use crate::supervisor::status::{UnitState, UnitStatus};
use crate::view::printer::Printer;
use crate::view::progress::{Progress, Style};
use crate::view::term::{self, Ansi};
use crate::world::envdir::{EnvDir, StateDir, StateError};
use crate::world::kernel::Process;
use crate::world::native::sweep;

pub use super::loading::{Purpose, Ready};

/// Lines of the log that are shown of each unit that failed.
pub(super) const LAST_LINES: usize = 10;

/// A command's surroundings.
pub struct Context {
    /// The global flags.
    pub global: Global,
    /// The caller's environment, as far as it is text.
    pub caller: IndexMap<String, String>,
    /// The caller's directory.
    pub working_dir: PathBuf,
    /// Where to write.
    pub printer: Printer,
    /// How progress is shown.
    pub style: Style,
    /// Nothing is fetched that lies elsewhere.
    pub offline: bool,
    /// What stdin held, which can be read once: a stack file may be looked at more often.
    pub(super) stdin: OnceCell<Vec<u8>>,
    /// What was fetched: during one command a tag means one thing.
    pub(super) fetched: RefCell<HashMap<(Remote, Edition), Result<PathBuf, String>>>,
    engine: OnceCell<&'static Engine>,
    /// Records that could not be read and were told.
    unread: RefCell<BTreeSet<String>>,
}

/// What to do about an environment that is not there, or has no supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Then the wish is fulfilled already.
    IsFine,
    /// Then there is nothing that could be asked.
    IsAnError,
    /// A supervisor is started.
    IsStarted,
}

/// How often a wish is put again to a supervisor that went away.
const TRIES: u32 = 3;

impl Context {
    /// Looks at the caller.
    pub fn new(global: Global) -> Result<Self, CliError> {
        let text =
            |(name, value): (std::ffi::OsString, std::ffi::OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let caller: IndexMap<String, String> = std::env::vars_os().filter_map(text).collect();
        // One that has been removed still has its name, and no stack file: what has `-p` needs neither.
        let working_dir = std::env::current_dir()
            .or_else(|error| caller.get("PWD").map(PathBuf::from).ok_or(error))
            .map_err(|error| CliError::Failed(format!("find the working directory: {error}")))?;
        let chosen = |name: &str| caller.get(name).map(String::as_str);
        let ansi = global.ansi.unwrap_or(match chosen("COMPOSE_ANSI") {
            Some("always") => Ansi::Always,
            Some("never") => Ansi::Never,
            Some(_) | None => Ansi::Auto,
        });
        let style = global.progress.unwrap_or(match chosen("COMPOSE_PROGRESS") {
            Some("tty") => Style::Tty,
            Some("plain") => Style::Plain,
            Some("json") => Style::Json,
            Some("quiet") => Style::Quiet,
            Some(_) | None => Style::Auto,
        });
        let printer = Printer { paint: term::paint_stdout(ansi), paint_talk: term::paint_stderr(ansi) };
        // A live view moves the cursor, which `--ansi never` forbids.
        let style = if ansi == Ansi::Never && style == Style::Auto { Style::Plain } else { style };
        let (stdin, fetched) = (OnceCell::new(), RefCell::default());
        let (engine, unread) = (OnceCell::new(), RefCell::default());
        Ok(Self { global, caller, working_dir, printer, style, offline: false, stdin, fetched, engine, unread })
    }

    /// Whether `COMPOSE_REMOVE_ORPHANS` says yes, in the caller's environment or in the stack's `.env`.
    pub fn removes_orphans(&self, ready: &Ready) -> bool {
        ready.variables.get("COMPOSE_REMOVE_ORPHANS").is_some_and(|value| is_yes(value))
    }

    /// How many images are worked on at once: `--parallel`, else `COMPOSE_PARALLEL_LIMIT`, else all.
    pub fn parallel(&self) -> Result<usize, CliError> {
        let limit = match (self.global.parallel, self.caller.get("COMPOSE_PARALLEL_LIMIT").filter(|text| !text.is_empty())) {
            (Some(limit), _) => limit,
            (None, Some(text)) => {
                values::parallel(text).map_err(|why| CliError::Usage(format!("COMPOSE_PARALLEL_LIMIT={text}: {why}")))?
            }
            (None, None) => values::Parallel::Unlimited,
        };
        Ok(match limit {
            values::Parallel::Unlimited => usize::MAX,
            values::Parallel::AtMost(count) => count,
        })
    }

    /// The state of all environments.
    pub fn state(&self) -> Result<StateDir, CliError> {
        StateDir::of(&self.caller).map_err(CliError::failed)
    }

    /// The state of one environment.
    pub fn env_dir(&self, env: &EnvId) -> Result<EnvDir, CliError> {
        Ok(self.state()?.env(env))
    }

    /// The container engine. It lives as long as the process: readers of logs wait for lines that may never come.
    pub fn engine(&self) -> Result<&'static Engine, CliError> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine =
            Engine::new(&self.caller).map_err(|error| CliError::Failed(format!("start the engine's runtime: {error}")))?;
        Ok(self.engine.get_or_init(|| Box::leak(Box::new(engine))))
    }

    /// What is not to be shown of an environment: all values that were ever generated for it, unless `--show-secrets`.
    pub fn mask(&self, env: &EnvId) -> Result<Mask, CliError> {
        Ok(self.mask_of(&self.env_dir(env)?.values().map_err(CliError::failed)?))
    }

    /// These values are not to be shown, unless `--show-secrets`.
    pub fn mask_of(&self, values: &IndexMap<String, String>) -> Mask {
        if self.global.show_secrets { Mask::default() } else { Mask::of(values) }
    }

    /// What is in force in an environment; none before the first `up`.
    pub fn deployment(&self, env: &EnvId) -> Result<Option<Deployment>, CliError> {
        let dir = self.env_dir(env)?;
        if let Some(deployment) = dir.deployment().map_err(CliError::failed)? {
            return Ok(Some(deployment));
        }
        let snapshot: Option<Snapshot> = dir.snapshot().map_err(CliError::failed)?;
        Ok(snapshot.and_then(|snapshot| snapshot.deployment).map(|deployment| (*deployment).clone()))
    }

    /// What a record says; nothing where it cannot be read, which is told once, with what to do about it. For whoever ends, removes or
    /// lists something: that goes on with what else is known.
    pub fn readable<T>(&self, read: Result<T, StateError>) -> Option<T> {
        match read {
            Ok(record) => Some(record),
            Err(error) => {
                let told = format!("{}, and it is passed over; {}", with_causes(&error), error.remedy());
                if self.unread.borrow_mut().insert(told.clone()) {
                    self.printer.warning(told);
                }
                None
            }
        }
    }

    /// [`deployment`](Self::deployment), as far as it can be read.
    pub fn deployment_as_known(&self, env: &EnvId) -> Result<Option<Deployment>, CliError> {
        let dir = self.env_dir(env)?;
        if let Some(deployment) = self.readable(dir.deployment()).flatten() {
            return Ok(Some(deployment));
        }
        let snapshot: Option<Snapshot> = self.readable(dir.snapshot()).flatten();
        Ok(snapshot.and_then(|snapshot| snapshot.deployment).map(|deployment| (*deployment).clone()))
    }

    /// Asks for something, shows what goes on until it is answered, and judges the answer. With `--dry-run` it is only shown what
    /// would be done.
    pub fn ask(&self, env: &EnvId, request: Request, missing: Missing) -> Result<Exit, CliError> {
        self.ask_quietly(env, request, missing, Quiet::default())
    }

    /// [`ask`](Self::ask), without the progress of some images.
    pub fn ask_quietly(&self, env: &EnvId, request: Request, missing: Missing, quiet: Quiet) -> Result<Exit, CliError> {
        if self.global.dry_run {
            return self.rehearse(env, request, missing);
        }
        let watched = Arc::new(Mutex::new(Watched::new(Progress::new(self.style, self.printer), quiet)));
        // A one-off command brings up what it needs, and speaks for itself.
        let idle = match &request {
            Request::Up(up) if !up.services.is_empty() => None,
            Request::Up(up) if up.no_start => Some("nothing to do: everything is made as the stack describes it"),
            Request::Up(_) => Some("nothing to do: everything is up as the stack describes it"),
            _ => None,
        };
        // An `up` waits for an engine; what else is asked is answered without one, and the answer says so.
        let is_answered = !matches!(request, Request::Up(_));
        watched.lock().unwrap_or_else(PoisonError::into_inner).holds_away = is_answered;
        let recall = Recall::listen().map_err(|error| CliError::Failed(format!("listen to signals: {error}")))?;
        let reply = self.converse(env, request, missing, &watched, Some(&recall));
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.say_away(reply.as_ref().ok().and_then(Option::as_ref));
        watched.progress.settle();
        let failed = std::mem::take(&mut watched.failed);
        drop(watched);
        if let Some(cause) = recall.cause()
            && let Some(words) = interrupted(env, &reply)
        {
            return Err(CliError::Interrupted(cause, words));
        }
        match reply? {
            Some(Reply::Done { changed: false, .. }) if idle.is_some() => {
                idle.filter(|_| self.style != Style::Quiet).into_iter().for_each(|words| self.printer.say(words));
                Ok(Exit::Success)
            }
            Some(reply) => self.judge(env, reply, &failed),
            None => Ok(Exit::Success),
        }
    }

    /// Shows what would come of asking, with `--dry-run`.
    fn rehearse(&self, env: &EnvId, request: Request, missing: Missing) -> Result<Exit, CliError> {
        if missing != Missing::IsStarted && !self.exists(env)? {
            self.mention_others(env)?;
            return if missing == Missing::IsFine { Ok(Exit::Success) } else { Err(Self::not_running(env)) };
        }
        plan::rehearse(request, env, &IndexMap::new(), plan::Format::Text, self)
    }

    /// Asks for something that is told rather than done. None when there is no such environment and that is fine.
    pub fn answer(&self, env: &EnvId, request: Request, missing: Missing) -> Result<Option<Reply>, CliError> {
        let watched = Arc::new(Mutex::new(Watched::new(Progress::new(Style::Quiet, self.printer), Quiet::default())));
        self.converse(env, request, missing, &watched, None)
    }

    fn converse(
        &self,
        env: &EnvId,
        request: Request,
        missing: Missing,
        watched: &Arc<Mutex<Watched>>,
        recall: Option<&Recall>,
    ) -> Result<Option<Reply>, CliError> {
        let sent = |voice: &Voice| recall.into_iter().for_each(|recall| recall.is_asked(voice));
        let is_recalled = || recall.is_some_and(|recall| recall.cause().is_some());
        let dir = self.env_dir(env)?;
        let recorded = dir.exists();
        if missing != Missing::IsStarted && !self.exists(env)? {
            self.mention_others(env)?;
            return if missing == Missing::IsFine { Ok(None) } else { Err(Self::not_running(env)) };
        }
        let mask = match &request {
            // An end shows nothing of what was generated that a broken record could keep from it.
            Request::Down(_) | Request::Stop(_) | Request::Remove(_) => {
                self.mask_of(&self.readable(dir.values()).unwrap_or_default())
            }
            _ => self.mask(env)?,
        };
        let (listener, masked) = (Arc::clone(watched), mask.clone());
        let mut tell =
            move |notice: Notice| listener.lock().unwrap_or_else(PoisonError::into_inner).take(&masked.message(notice));
        let needs_daemon = matches!(request, Request::Start(_) | Request::Restart(_) | Request::Up(_));
        if needs_daemon && missing == Missing::IsAnError && self.deployment(env)?.is_none() {
            return Err(Self::not_running(env));
        }
        let only_looks = matches!(request, Request::Status | Request::Why { .. } | Request::Deployment);
        if only_looks
            && !recorded
            && let processes @ 1.. = self.stateless_processes(env)?.len()
        {
            let remedy = format!("`baistack down -p {env}` ends them");
            self.printer.warning(format!("the state of `{env}` is gone, and {processes} processes of it run; {remedy}"));
        }
        let idle = match &request {
            // What is started beside, for a command of its own, that command looks after.
            Request::Up(up) if recorded && !up.beside => {
                attach::answer_if_idle(&dir, self.engine()?, up, &mut tell).map_err(CliError::from)?
            }
            _ => None,
        };
        let reply = if let Some(reply) = idle {
            Ok(reply)
        } else if needs_daemon {
            // A supervisor that had nothing left to do may end between our greeting and our wish; asking twice does no harm.
            let mut tries = 0;
            loop {
                let mut client = attach::open_or_spawn(&dir).map_err(CliError::from)?;
                match attach::put(&mut client, request.clone(), &sent, &mut tell) {
                    Err(ClientError::Gone(_)) if tries < TRIES && !is_recalled() => tries += 1,
                    answer => break answer.map_err(|error| CliError::from(AttachError::from(error))),
                }
            }
        } else if only_looks {
            attach::look(&dir, &self.caller, request, tell).map_err(CliError::from)
        } else {
            attach::ask(&dir, &self.caller, request, &sent, tell).map_err(CliError::from)
        };
        // Whoever only looks leaves no trace of what is not ours, unless an `up` has come to use it in the meantime.
        if only_looks
            && !recorded
            && !dir.is_in_use()
            && let Ok(_lock) = dir.try_lock()
        {
            let _ = dir.remove();
        }
        Ok(Some(match reply? {
            // A definition is worked with, not shown.
            deployment @ Reply::Deployment(_) => deployment,
            reply => mask.message(reply),
        }))
    }

    /// Records what Compose has made as it is, by the files here, so that it can be started and restarted by them. Nothing is made,
    /// started or changed; what has been recorded stays so.
    pub fn record_what_is_there(&self, env: &EnvId) -> Result<(), CliError> {
        if self.global.dry_run || self.deployment(env)?.is_some() {
            return Ok(());
        }
        // Without an engine there is nothing that could be recorded, and what follows tells that it is away.
        let listed = self.engine()?.with(async |docker| docker.list(env).await).unwrap_or_default();
        let units: Vec<UnitId> = listed.into_iter().filter(|it| !it.one_off).filter_map(|it| it.unit).collect();
        if units.is_empty() {
            return Ok(());
        }
        let mut ready = self.load_as_started(Purpose::Start { strict_ports: false }, &[])?;
        let is_off = |name: &&ServiceName| ready.deployment.stack.disabled.contains_key(*name);
        let off: BTreeSet<ServiceName> = units.iter().map(|unit| &unit.service).filter(is_off).cloned().collect();
        if !off.is_empty() {
            // They run, so their profiles are on.
            let off: Vec<ServiceName> = off.into_iter().collect();
            ready = self.load_as_started(Purpose::Start { strict_ports: false }, &off)?;
        }
        let mut found: IndexMap<ServiceName, BTreeSet<u32>> = IndexMap::new();
        for unit in units.into_iter().filter(|unit| ready.deployment.stack.services.contains_key(&unit.service)) {
            found.entry(unit.service).or_default().insert(unit.replica);
        }
        if ready.deployment.env != *env || found.is_empty() {
            return Err(CliError::NoEnvironment(format!("no stack file here describes what {env} consists of")));
        }
        for (name, replicas) in &found {
            if let Some(missing) = (1..).zip(replicas).find_map(|(number, found)| (number != *found).then_some(number)) {
                return Err(CliError::Failed(format!(
                    "{name}:{missing} of {env} is not there; `baistack up` puts its replicas in order"
                )));
            }
        }
        let scale: IndexMap<ServiceName, u32> =
            found.into_iter().map(|(name, replicas)| (name, replicas.last().copied().unwrap_or_default())).collect();
        ready.begins(self);
        let services = scale.keys().cloned().collect();
        let as_it_is = Up {
            services,
            scale,
            no_deps: true,
            no_start: true,
            no_build: true,
            recreate: Recreate::Never,
            ..Up::of(ready.deployment)
        };
        match self.answer(env, Request::Up(Box::new(as_it_is)), Missing::IsStarted)? {
            Some(reply) => self.judge(env, reply, &[]).map(drop),
            None => Ok(()),
        }
    }

    /// Whether there is anything of an environment: a state, containers, networks or volumes, or processes whose state is gone.
    pub fn exists(&self, env: &EnvId) -> Result<bool, CliError> {
        Ok(self.env_dir(env)?.exists() || self.has_containers(env) || !self.stateless_processes(env)?.is_empty())
    }

    /// What runs of an environment whose state is gone: its processes, and the supervisor that nobody reaches any more.
    pub fn stateless_processes(&self, env: &EnvId) -> Result<Vec<Process>, CliError> {
        let dir = self.env_dir(env)?;
        if dir.was_ever_locked() {
            return Ok(Vec::new());
        }
        let mut found = sweep::find(env, dir.path());
        found.extend(sweep::lost_supervisors(env, dir.path()));
        Ok(found)
    }

    /// Whether the engine holds containers of an environment that we keep no state of.
    pub fn has_containers(&self, env: &EnvId) -> bool {
        let seen = self.engine().map(|engine| engine.observe(env, &Query::default()));
        let is_ours = |it: &SeenResource| it.ours;
        let holds = |actual: &Actual| {
            !actual.containers.is_empty() || !actual.networks.is_empty() || actual.volumes.values().any(is_ours)
        };
        matches!(seen, Ok(Ok(actual)) if holds(&actual))
    }

    /// What an answer means for the exit code; what failed is shown with its last log lines.
    pub fn judge(&self, env: &EnvId, reply: Reply, failed: &[UnitStatus]) -> Result<Exit, CliError> {
        match reply {
            // Warnings have been told as notices.
            Reply::Done { .. } => Ok(Exit::Success),
            Reply::Failed { reasons } => {
                for unit in failed {
                    self.show_last_lines(env, &unit.unit, LAST_LINES)?;
                }
                Err(CliError::Several(reasons))
            }
            Reply::EngineAway { reasons } => Err(CliError::EngineAmongOthers(reasons)),
            Reply::Overruled { by } => Err(CliError::Failed(format!("overruled by a later `{by}`"))),
            Reply::CalledOff { .. } | Reply::GoesOn => Err(CliError::Failed("it was called off".to_owned())),
            Reply::Ended { code: 0 } => Ok(Exit::Success),
            Reply::Ended { code } => Ok(Exit::Passed(u8::try_from(code).unwrap_or(1))),
            Reply::Refused { reason } => Err(CliError::Usage(reason)),
            Reply::NotUp { reason } => Err(CliError::NoEnvironment(reason)),
            other @ (Reply::Attach { .. } | Reply::Status(_) | Reply::Why(_) | Reply::Deployment(_)) => {
                Err(Self::unexpected(Some(&other)))
            }
        }
    }

    /// An answer to another question than was asked.
    pub fn unexpected(reply: Option<&Reply>) -> CliError {
        match reply {
            Some(Reply::Refused { reason }) => CliError::Usage(reason.clone()),
            Some(Reply::NotUp { reason }) => CliError::NoEnvironment(reason.clone()),
            Some(Reply::Failed { reasons }) => CliError::Several(reasons.clone()),
            Some(Reply::EngineAway { reasons }) => CliError::EngineAmongOthers(reasons.clone()),
            other => CliError::Failed(format!("the supervisor gave an answer that does not fit: {other:?}")),
        }
    }

    /// There is nothing of this name, or nothing of it has ever run.
    pub fn not_running(env: &EnvId) -> CliError {
        CliError::NoEnvironment(format!("environment `{env}` is not running; `baistack ls --all` lists those that there are"))
    }

    /// Where a container's port is on the host; none when it is not published.
    pub fn published(&self, unit: &UnitId, env: &EnvId, target: u16, protocol: &str) -> Result<Option<(String, u16)>, CliError> {
        let container = self.running_container(env, unit)?;
        let published = self.engine()?.published(&container, target, protocol);
        published.map_err(|fault| CliError::Engine(fault.to_string()))
    }

    /// Refuses names that no service has, with the one that may be meant.
    pub fn known(&self, deployment: &Deployment, services: &[ServiceName]) -> Result<(), CliError> {
        let all = deployment.stack.services.keys().chain(deployment.stack.disabled.keys());
        Self::known_among(&deployment.env, all.cloned().collect(), &deployment.stack.jobs, services)
    }

    /// Of one of a few services all names are told.
    fn known_among(env: &EnvId, all: Vec<ServiceName>, jobs: &[ServiceName], services: &[ServiceName]) -> Result<(), CliError> {
        let Some(unknown) = services.iter().find(|name| !all.contains(name)) else { return Ok(()) };
        if jobs.contains(unknown) {
            return Err(CliError::Usage(format!("`{unknown}` is a job and no service: `baistack run {unknown}` runs it")));
        }
        let names = || all.iter().map(ServiceName::as_str);
        let meant = match (suggest::closest(unknown.as_str(), names()), suggest::few(names())) {
            (Some(name), _) => format!("; did you mean `{name}`?"),
            (None, Some(all)) => format!("; there is {all}"),
            (None, None) => String::new(),
        };
        Err(CliError::Usage(format!("no service `{unknown}` in {env}{meant}")))
    }

    /// [`known`](Self::known), for commands about what was started, which need no stack file. Of an environment of which nothing
    /// is known anywhere no name is wrong.
    pub fn known_in(&self, env: &EnvId, services: &[ServiceName]) -> Result<(), CliError> {
        if services.is_empty() {
            return Ok(());
        }
        let deployment = self.deployment_as_known(env)?;
        if deployment.as_ref().is_some_and(|deployment| self.known(deployment, services).is_ok()) {
            return Ok(());
        }
        // A file may have been written since the last `up`. What nobody has recorded, Compose may have made.
        let (mut all, mut jobs) = self.services_and_jobs_of_files(env)?;
        if let Some(deployment) = deployment {
            all.extend(deployment.stack.services.into_keys().chain(deployment.stack.disabled.into_keys()));
            jobs.extend(deployment.stack.jobs);
            return Self::known_among(env, all, &jobs, services);
        }
        let listed = self.engine()?.with(async |docker| docker.list(env).await).unwrap_or_default();
        all.extend(listed.into_iter().filter_map(|container| Some(container.unit?.service)));
        if all.is_empty() && jobs.is_empty() { Ok(()) } else { Self::known_among(env, all, &jobs, services) }
    }

    /// Says the stack's `welcome`.
    pub fn welcome(&self, deployment: &Deployment) {
        if let Some(text) = self.welcome_of(deployment).ok().flatten().filter(|_| self.style != Style::Quiet) {
            self.printer.say(text);
        }
    }

    /// The stack's `welcome`, if it has one, without what is not to be shown.
    pub fn welcome_of(&self, deployment: &Deployment) -> Result<Option<String>, CliError> {
        let Some(text) = &deployment.stack.welcome else { return Ok(None) };
        Ok(Some(self.mask(&deployment.env)?.text(text.trim_end())))
    }

    /// Prints the last lines of a unit's log, on stderr.
    pub fn show_last_lines(&self, env: &EnvId, unit: &UnitId, count: usize) -> Result<(), CliError> {
        let lines = log_feed::last(self, env, unit, count)?;
        if lines.is_empty() {
            return Ok(());
        }
        self.printer.say(format!("the last lines of {unit}:"));
        for line in lines {
            self.printer.say(format!("  {line}"));
        }
        Ok(())
    }
}

/// Notices on their way to the screen, and what of them is needed later.
pub struct Watched {
    /// Shows them.
    pub progress: Progress,
    quiet: Quiet,
    building: BTreeSet<ResourceId>,
    /// The units that have failed and not come good since.
    pub failed: Vec<UnitStatus>,
    /// That the engine does not answer is kept until it is known whether the answer says so too.
    pub holds_away: bool,
    away: Vec<Notice>,
    /// What was said last: several services may have the same to say.
    said: String,
}

impl Watched {
    /// Shows nothing yet.
    pub fn new(progress: Progress, quiet: Quiet) -> Self {
        Self {
            progress,
            quiet,
            building: BTreeSet::new(),
            failed: Vec::new(),
            holds_away: false,
            away: Vec::new(),
            said: String::new(),
        }
    }

    /// Takes one.
    pub fn take(&mut self, notice: &Notice) {
        if let Notice::Unit(unit) = notice {
            self.failed.retain(|other| other.unit != unit.unit);
            if matches!(unit.state, UnitState::Failed { .. } | UnitState::BackingOff { .. })
                || matches!(unit.state, UnitState::Exited { code } if code != 0)
                || unit.health == Some(crate::supervisor::status::Health::Unhealthy)
            {
                self.failed.push((**unit).clone());
            }
        }
        if self.holds_away && matches!(notice, Notice::Message { text, .. } if text.starts_with(&does_not_answer(""))) {
            self.away.push(notice.clone());
        } else if !self.is_hidden(notice) {
            self.progress.show(notice);
        }
    }

    /// Says what was kept, unless the answer says it.
    fn say_away(&mut self, reply: Option<&Reply>) {
        let kept = std::mem::take(&mut self.away);
        if !matches!(reply, Some(Reply::EngineAway { .. })) {
            kept.iter().for_each(|notice| self.progress.show(notice));
        }
    }

    /// Whether it is the progress of a pull or build that is not to be shown, or has just been said.
    fn is_hidden(&mut self, notice: &Notice) -> bool {
        match notice {
            Notice::Resource { resource, state: ResourceState::Building, .. } => {
                self.building.insert(resource.clone());
                false
            }
            Notice::Wrote { .. } => self.quiet.builds,
            Notice::Progress { resource, .. } if self.building.contains(resource) => self.quiet.builds,
            Notice::Progress { resource: ResourceId::Image(_) | ResourceId::NamedImage(_), .. } => self.quiet.pulls,
            Notice::Unit(_)
            | Notice::Found(_)
            | Notice::Resource { .. }
            | Notice::Progress { .. }
            | Notice::Because { .. }
            | Notice::Settled
            | Notice::Ending => false,
            Notice::Message { text, .. } => std::mem::replace(&mut self.said, text.clone()) == *text,
        }
    }
}

/// What an interrupted command leaves, and what to do about it; none when its answer came first.
fn interrupted(env: &EnvId, reply: &Result<Option<Reply>, CliError>) -> Option<String> {
    match reply {
        Ok(Some(Reply::CalledOff { left, goes_on })) => {
            let names = |units: &[UnitId]| units.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let mut stays = match left.len() {
                0 => "what runs stays as it is".to_owned(),
                1 => format!("what runs stays, {} is not started", left[0]),
                _ => format!("what runs stays, {} are not started", names(left)),
            };
            if !goes_on.is_empty() {
                stays.push_str(&format!(", what has begun with {} goes on", names(goes_on)));
            }
            Some(format!("{stays}; `baistack up` goes on, `baistack down -p {env}` ends it"))
        }
        Ok(Some(Reply::GoesOn)) => Some(format!("it goes on in the background; `baistack ps -p {env}` shows how far it is")),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

fn is_yes(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "t" | "true" | "y" | "yes")
}

impl From<AttachError> for CliError {
    fn from(error: AttachError) -> Self {
        CliError::failed(error)
    }
}

/// An error with what caused it: `start the supervisor: no such file or directory`.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
