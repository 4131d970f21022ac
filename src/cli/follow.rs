//! The foreground of `up`: progress until all is started, then the logs, until everything has ended or somebody ends it.
//!
//! The connection is the lease: what this `up` started is stopped when it ends, however it ends. So Ctrl-C hangs up, and waits
//! on a second connection until all of it is down.
//!
//! Containers that are shown wait with their start until we are attached to them. From then on they wait for us whenever they write,
//! so their lines are taken at once, also those that are not to be shown yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::CliError;
use super::context::{Context, Ready, Watched};
use super::interrupt::{self, Cause};
use super::keys::{self, Menu};
use super::log_feed::{self, LineWriter};
use super::mask::Mask;
use super::up::Args;
use crate::base::exit::Exit;
use crate::base::name::{ServiceName, UnitId};
use crate::control::client::{Client, ClientError, Voice};
use crate::control::wire::Told;
use crate::host::attach::{self, AttachError, Env};
use crate::host::logs::{Attached, Container, Feed, Given, Wanted};
use crate::model::service::Service;
use crate::plan::actual::{Query, SeenState};
use crate::supervisor;
use crate::supervisor::notice::Notice;
use crate::supervisor::request::{Kill, Reply, Request, Restart, Up};
use crate::supervisor::status::{AUDIENCE, UnitKind, UnitState, UnitStatus};
use crate::view::log_lines::{LogLines, Prefix};
use crate::view::printer::PrintError;
use crate::view::progress::Progress;
use crate::view::style::Paint;
use crate::view::term::{self, Keys};
use crate::world::clock;
use crate::world::envdir::EnvDir;
use crate::world::kernel::code;
use crate::world::logs::line::{LineRef, Lines};
use crate::world::logs::record::Timestamp;

/// Something that happens while `up` is in the foreground.
enum Happening {
    /// Said on the connection with this number.
    Told(u32, Told),
    /// This connection has ended.
    Gone(u32),
    Interrupt(Cause),
    Key(u8),
    Lines(Batch),
    /// All lines have been given.
    Drained,
}

/// Bytes of lines that are handed over at once, and written at once: the reader waits for more only where there are none at present.
const BATCH: usize = 256 * 1024;
/// So many batches are on their way. More stay in the logs, whose reader keeps those open that are rotated away meanwhile.
const BATCHES: usize = 4;

/// Lines on their way to whoever writes them.
struct Batch {
    lines: Lines,
    /// Where they go when they are written, to be filled anew.
    back: crossbeam_channel::Sender<Lines>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear(2 * BATCH);
        // There is room for all that there are, or nobody fills them any more.
        let _ = self.back.try_send(lines);
    }
}

/// Why it is over.
enum End {
    /// By itself: nothing runs and nothing will be started again.
    Ended(i32),
    /// The user went on without us.
    Detached,
    /// The user has had enough.
    Quit,
    /// The supervisor is no more.
    Lost,
}

/// The `up` as it is put to the supervisor, and what has come of that.
struct Wish {
    dir: EnvDir,
    request: Request,
    /// How often it has been put.
    tries: u32,
    /// Nothing has been heard since, or no more than that the supervisor ends: it did not hear the wish.
    unheard: bool,
}

impl Wish {
    /// Puts it to the supervisor, which is started where there is none. What is answered comes as happenings.
    fn put(&mut self, sender: &Sender<Happening>) -> Result<Voice, CliError> {
        self.tries += 1;
        self.unheard = true;
        let client = attach::open_or_spawn(&self.dir)?;
        let voice = client.voice();
        match voice.send(self.request.clone()) {
            // The end of the connection is told as well.
            Ok(_) | Err(ClientError::Gone(_)) => {}
            Err(error) => return Err(AttachError::from(error).into()),
        }
        listen(client, LEASE, sender);
        Ok(voice)
    }

    /// Whether the supervisor ended between our greeting and our wish, having had nothing left to do.
    fn was_missed(&self) -> bool {
        self.unheard && self.tries < TRIES
    }
}

/// How often a wish is put to supervisors that end.
const TRIES: u32 = 4;

struct Foreground<'a> {
    context: &'a Context,
    ready: &'a Ready,
    args: Args,
    happenings: Receiver<Happening>,
    sender: Sender<Happening>,
    voice: Voice,
    wish: Wish,
    mask: Mask,
    /// What this `up` starts: all that it selects and that did not run before.
    ours: BTreeSet<UnitId>,
    /// What providers have brought up for it that did not run before.
    provided: BTreeSet<ServiceName>,
    known: BTreeMap<UnitId, UnitStatus>,
    watched: Watched,
    writer: LineWriter,
    /// None once it has ended.
    feed: Option<Feed>,
    /// Lines are shown as they come; before that they wait until all is started, unless they are many.
    is_shown: bool,
    /// All is started; from the next quiet moment on there is little to do.
    is_settling: bool,
    /// An answer said that something failed.
    failed: bool,
    keys: Option<Keys>,
    menu: Menu,
    /// Restarts that a key asked for, and whose.
    restarts: BTreeMap<u64, ServiceName>,
    /// The only service whose lines are shown, if not all are.
    only: Option<ServiceName>,
    /// Lines that wait for that, or for the end of a question.
    held: Lines,
    /// What is written at once.
    drawn: Vec<u8>,
}

/// The connection that holds the lease.
const LEASE: u32 = 0;
/// The connection on which its end is awaited.
const AFTERWARDS: u32 = 1;

/// Runs an `up` in the foreground.
pub fn up(args: Args, up: Up, ready: &Ready, provided: BTreeSet<ServiceName>, context: &Context) -> Result<Exit, CliError> {
    let (sender, happenings) = mpsc::channel();
    let interrupts = sender.clone();
    let _interrupts = interrupt::listen(move |cause| drop(interrupts.send(Happening::Interrupt(cause))))
        .map_err(|error| CliError::Failed(format!("listen to signals: {error}")))?;
    let dir = context.env_dir(&ready.deployment.env)?;
    let running = running_units(&dir, ready, context)?;
    let ours = selected_units(&up, ready).filter(|unit| !running.contains(unit)).collect();
    let services = followed(&args, ready);
    let started = clock::wall();
    let wanted = Wanted { since: Some(started), services: Some(services.clone()), follow: true, ..Wanted::default() };
    let feed = feed(&dir, wanted, &sender)?;
    let up = Up { shown: services.clone(), ..up };
    let mut wish = Wish { dir, request: Request::Up(Box::new(up)), tries: 0, unheard: true };
    let voice = wish.put(&sender)?;
    let paint = if args.logs.no_color { Paint::Off } else { context.printer.paint };
    let prefix = if args.logs.no_log_prefix { Prefix::None } else { Prefix::Name };
    let selected = supervisor::select(&ready.deployment.stack, &args.services, args.no_deps);
    let names = services.iter().map(|service| log_feed::speaker(&UnitId::new(service.clone(), 1)));
    let mut foreground = Foreground {
        watched: Watched::new(Progress::new(context.style, context.printer), args.quiet()),
        writer: LineWriter::new(LogLines::new(paint, prefix, args.logs.timestamps, names), term::stdout_is_terminal()),
        mask: context.mask(&ready.deployment.env)?,
        context,
        ready,
        args,
        happenings,
        sender,
        voice,
        wish,
        ours,
        provided,
        known: BTreeMap::new(),
        feed: Some(feed),
        is_shown: false,
        is_settling: false,
        failed: false,
        keys: None,
        menu: Menu::new(selected),
        restarts: BTreeMap::new(),
        only: None,
        held: Lines::default(),
        drawn: Vec::new(),
    };
    foreground.read_keys();
    foreground.follow()
}

impl Foreground<'_> {
    fn read_keys(&mut self) {
        if self.args.menu == Some(false) {
            return;
        }
        let sender = self.sender.clone();
        self.keys = Keys::read(move |key| drop(sender.send(Happening::Key(key))));
        if self.keys.is_some() {
            self.watched.progress.say(keys::HINT);
        }
    }

    /// Does what a key asks for; what it ends the foreground with, if it does.
    fn press(&mut self, key: u8) -> Result<Option<End>, CliError> {
        let was_asking = self.menu.question().is_some();
        let wanted = self.menu.press(key);
        if was_asking || self.menu.question().is_some() {
            self.watched.progress.settle();
            let interrupted = if was_asking { "" } else { self.writer.interrupted() };
            self.context.printer.data(interrupted)?;
            self.ask();
        }
        match wanted {
            keys::Wanted::Nothing => {}
            keys::Wanted::Detach => return Ok(Some(End::Detached)),
            keys::Wanted::Quit => return Ok(Some(End::Quit)),
            keys::Wanted::Restart(service) => {
                let services = vec![service.clone()];
                let sent = self.voice.send(Request::Restart(Restart { services, ..Restart::default() }));
                // That the connection has ended is told as well.
                if let Ok(id) = sent {
                    self.restarts.insert(id, service);
                }
            }
            keys::Wanted::Filter(only) => {
                let whose = only.as_ref().map_or_else(|| "all services".to_owned(), |service| format!("`{service}` alone"));
                self.only = only;
                self.watched.progress.say(&format!("log of {whose}"));
            }
            keys::Wanted::Say(text) => self.watched.progress.say(&text),
        }
        if self.menu.question().is_none() && self.is_shown {
            self.print_held()?;
        }
        Ok(None)
    }

    /// Shows the question anew, with what has been typed, or its end.
    fn ask(&self) {
        match self.menu.question() {
            Some(question) => self.context.printer.ask(format!("\r{}{question}", term::CLEAR_LINE)),
            None => self.context.printer.ask(format!("\r{}", term::CLEAR_LINE)),
        }
    }

    /// Waits for it. What was needed to start is given back before a longer wait.
    fn next_happening(&mut self) -> Happening {
        const QUIET: Duration = Duration::from_millis(100);
        if self.is_settling {
            match self.happenings.recv_timeout(QUIET) {
                Ok(happening) => return happening,
                Err(_) => code::give_back(),
            }
            self.is_settling = false;
        }
        self.happenings.recv().expect("we hold a sender")
    }

    fn follow(mut self) -> Result<Exit, CliError> {
        if !self.watched.progress.is_live() {
            self.show_logs()?;
        }
        loop {
            let end = match self.next_happening() {
                Happening::Told(LEASE, told) => self.told(told)?,
                Happening::Gone(LEASE) if self.wish.was_missed() => {
                    self.voice = self.wish.put(&self.sender)?;
                    None
                }
                Happening::Gone(LEASE) => Some(End::Lost),
                Happening::Told(..) | Happening::Gone(_) | Happening::Drained => None,
                Happening::Key(key) => match self.press(key) {
                    Ok(end) => end,
                    Err(CliError::Print(PrintError::ReaderGone)) => return self.stop(Exit::Success),
                    Err(error) => return Err(error),
                },
                Happening::Interrupt(cause) => return self.stop(cause.exit()),
                Happening::Lines(batch) => match self.print_later(&batch.lines) {
                    Ok(()) => None,
                    // Whoever closes the output has seen enough of everything.
                    Err(PrintError::ReaderGone) => return self.stop(Exit::Success),
                    Err(error) => return Err(error.into()),
                },
            };
            match end {
                None => {}
                Some(End::Ended(code)) => return self.ended(code),
                Some(End::Detached) => return self.detach(),
                Some(End::Quit) => return self.stop(Exit::Success),
                Some(End::Lost) => {
                    self.drain()?;
                    return Err(CliError::Failed("the supervisor has ended, and its processes with it".to_owned()));
                }
            }
        }
    }

    fn told(&mut self, told: Told) -> Result<Option<End>, CliError> {
        let reply = match told {
            Told::Notice(notice) => {
                self.wish.unheard &= *notice == Notice::Ending;
                self.notice(*notice)?;
                return Ok(None);
            }
            Told::Reply { reply, .. } if matches!(*reply, Reply::Attach { .. }) => *reply,
            Told::Reply { id, reply } => {
                let reply = self.mask.message(*reply);
                if let Some(service) = self.restarts.remove(&id) {
                    self.restarted(&service, &reply);
                    return Ok(None);
                }
                reply
            }
        };
        self.wish.unheard = false;
        match reply {
            Reply::Attach { unit, container } => self.attach(&unit, container)?,
            Reply::Done { .. } => {
                self.show_logs()?;
                self.context.welcome(&self.ready.deployment);
                // From now on there is little to do, and once it is quiet next to nothing.
                code::give_back();
                self.is_settling = true;
            }
            Reply::Failed { reasons } => {
                self.show_logs()?;
                self.failed = true;
                reasons.iter().for_each(|reason| self.context.printer.error(reason));
            }
            Reply::Ended { code } => return Ok(Some(End::Ended(code))),
            other @ (Reply::Overruled { .. }
            | Reply::CalledOff { .. }
            | Reply::GoesOn
            | Reply::EngineAway { .. }
            | Reply::Refused { .. }
            | Reply::NotUp { .. }
            | Reply::Status(_)
            | Reply::Why(_)
            | Reply::Deployment(_)) => {
                self.watched.progress.settle();
                self.context.judge(&self.ready.deployment.env, other, &[])?;
            }
        }
        Ok(None)
    }

    /// What has come of a restart that a key asked for.
    fn restarted(&mut self, service: &ServiceName, reply: &Reply) {
        match reply {
            Reply::Failed { reasons } | Reply::EngineAway { reasons } => {
                reasons.iter().for_each(|reason| self.context.printer.error(reason));
            }
            Reply::Overruled { by } => self.context.printer.error(format!("the restart of {service} was overruled by `{by}`")),
            Reply::Refused { reason } | Reply::NotUp { reason } => self.context.printer.error(reason),
            Reply::Attach { .. }
            | Reply::Done { .. }
            | Reply::Ended { .. }
            | Reply::CalledOff { .. }
            | Reply::GoesOn
            | Reply::Status(_)
            | Reply::Why(_)
            | Reply::Deployment(_) => {}
        }
        if self.menu.question().is_some() {
            self.ask();
        }
    }

    /// A container that is shown is about to start, and waits until we are attached to it.
    fn attach(&mut self, unit: &UnitId, id: String) -> Result<(), CliError> {
        let (voice, request) = (self.voice.clone(), Request::Attached { unit: unit.clone(), container: id.clone() });
        // That the connection has ended is told as well.
        let attached = Attached::or_not(move || drop(voice.send(request)));
        let (Some(feed), Ok(engine)) = (&mut self.feed, self.context.engine()) else { return Ok(()) };
        let container = Container { unit: unit.clone(), id, born: None };
        feed.starts(engine, &container, attached).map_err(CliError::failed)
    }

    fn notice(&mut self, notice: Notice) -> Result<(), CliError> {
        let notice = self.mask.message(notice);
        if let Some(unit) = notice.unit() {
            self.known.insert(unit.unit.clone(), unit.clone());
            let context = self.context;
            if let Some(feed) = &mut self.feed {
                feed.unit(unit, || context.engine()).map_err(CliError::failed)?;
            }
        }
        if notice.unit().is_some_and(waits_for_us) {
            return Ok(());
        }
        if self.menu.question().is_some() {
            self.context.printer.ask(format!("\r{}", term::CLEAR_LINE));
            self.watched.take(&notice);
            self.ask();
        } else {
            self.watched.take(&notice);
        }
        Ok(())
    }

    /// From now on lines are shown as they come.
    fn show_logs(&mut self) -> Result<(), PrintError> {
        self.watched.progress.settle();
        self.is_shown = true;
        if self.menu.question().is_none() { self.print_held() } else { Ok(()) }
    }

    /// Nobody is asked any more.
    fn leave_question(&mut self) -> Result<(), PrintError> {
        if self.menu.leave() {
            self.context.printer.ask("\n");
        }
        self.print_held()
    }

    /// A line must not tear a question, nor a view of what goes on, unless there are many: whoever writes them waits until they are taken.
    fn print_later(&mut self, lines: &Lines) -> Result<(), PrintError> {
        const MOST: usize = 1024 * 1024;
        let is_asking = self.menu.question().is_some();
        if self.is_shown && !is_asking {
            return self.print(lines);
        }
        lines.iter().for_each(|line| self.held.push(line));
        if self.held.bytes() < MOST {
            return Ok(());
        }
        if !is_asking {
            return self.show_logs();
        }
        self.context.printer.ask("\n");
        self.print_held()?;
        self.ask();
        Ok(())
    }

    fn print_held(&mut self) -> Result<(), PrintError> {
        let held = std::mem::take(&mut self.held);
        self.print(&held)
    }

    fn print(&mut self, lines: &Lines) -> Result<(), PrintError> {
        self.drawn.clear();
        for (first, texts) in lines.alike().filter(|(first, _)| self.only.as_ref().is_none_or(|only| *only == first.unit.service))
        {
            self.writer.draw_alike(first, texts, &mut self.drawn);
        }
        self.context.printer.data(&self.drawn)
    }

    /// Prints what the services had written before they ended, until somebody has had enough of it.
    fn drain(&mut self) -> Result<(), CliError> {
        self.watched.progress.settle();
        self.leave_question()?;
        let Some(feed) = self.feed.take() else { return Ok(()) };
        let runs_on = |unit: &UnitStatus| unit.kind == UnitKind::Container && unit.state == UnitState::Running;
        let running: BTreeSet<UnitId> = self.known.values().filter(|unit| runs_on(unit)).map(|unit| unit.unit.clone()).collect();
        let some_run_on = !running.is_empty();
        let sender = self.sender.clone();
        // What runs on may write faster than this is read.
        let until = Timestamp::from(clock::wall());
        let is_endless = |line: LineRef<'_>| line.time > until && running.contains(line.unit);
        // What comes meanwhile is printed as it comes: it may be much.
        let finishing = thread::spawn(move || {
            let finished = feed.finish(some_run_on);
            drop(sender.send(Happening::Drained));
            finished
        });
        loop {
            match self.happenings.recv().expect("we hold a sender") {
                Happening::Lines(batch) if batch.lines.iter().next().is_some_and(is_endless) => return Ok(()),
                Happening::Lines(batch) => self.print(&batch.lines)?,
                Happening::Drained => break,
                Happening::Interrupt(_) => return Ok(()),
                Happening::Told(..) | Happening::Gone(_) | Happening::Key(_) => {}
            }
        }
        let finished = finishing.join().unwrap_or_else(|_| Err(io::Error::other("the reader of logs has panicked")));
        finished.map_err(CliError::failed)
    }

    fn ended(mut self, code: i32) -> Result<Exit, CliError> {
        self.drain()?;
        let chosen = self.args.exit_code_from.as_ref().map(|service| {
            let lives = self.known.values().filter(|unit| unit.unit.service == *service);
            lives.filter_map(|unit| unit.last_exit).find(|code| *code != 0).unwrap_or(0)
        });
        let code = chosen.unwrap_or(if self.failed && code == 0 { 1 } else { code });
        Ok(if code == 0 { Exit::Success } else { Exit::Passed(u8::try_from(code).unwrap_or(1)) })
    }

    fn detach(mut self) -> Result<Exit, CliError> {
        // What is shown live would be drawn once more below what is said now.
        self.watched.progress.settle();
        self.voice.send(Request::Detach).map_err(AttachError::from)?;
        let env = &self.ready.deployment.env;
        self.context.printer.say(format!("detached; `baistack logs -f -p {env}` follows, `baistack down -p {env}` ends it"));
        Ok(Exit::Success)
    }

    /// Hangs up, which stops what is ours, and waits until it is down. A second Ctrl-C kills it.
    fn stop(self, exit: Exit) -> Result<Exit, CliError> {
        let (context, env) = (self.context, &self.ready.deployment.env);
        let provided: Vec<ServiceName> = self.provided.iter().cloned().collect();
        self.stop_units()?;
        // With nothing named it would be about everything.
        if !provided.is_empty() {
            context.stop_provided(env, &provided)?;
        }
        Ok(exit)
    }

    fn stop_units(mut self) -> Result<(), CliError> {
        self.keys = None;
        self.watched.progress.settle();
        // Nobody need read what waited.
        drop(self.leave_question());
        self.context.printer.say("stopping; Ctrl-C once more kills at once");
        let dir = self.context.env_dir(&self.ready.deployment.env)?;
        let Env::Alive(client) = attach::open(&dir)? else { return Ok(()) };
        let voice = client.voice();
        listen(*client, AFTERWARDS, &self.sender);
        self.voice.hang_up();
        // What has changed between the two connections is told by this. A supervisor that has ended meanwhile has left nothing.
        let _ = voice.send(Request::Status);
        let mut killed = false;
        while !self.is_down() {
            match self.happenings.recv().expect("we hold a sender") {
                Happening::Told(AFTERWARDS, Told::Notice(notice)) => self.notice(*notice)?,
                Happening::Told(AFTERWARDS, Told::Reply { reply, .. }) => {
                    if let Reply::Status(status) = *reply {
                        self.known.extend(status.units.into_iter().map(|unit| (unit.unit.clone(), unit)));
                    }
                }
                Happening::Gone(AFTERWARDS) => break,
                // Only a key that is pressed again: whoever closes a terminal is told so twice, by it and by the shell.
                Happening::Interrupt(Cause::Interrupt) if !killed => {
                    killed = true;
                    // With nothing named it would be about everything.
                    if !self.ours.is_empty() {
                        let units = self.ours.iter().cloned().collect();
                        let kill = Kill { units, signal: "SIGKILL".to_owned(), ..Kill::default() };
                        let _ = voice.send(Request::Kill(kill));
                    }
                }
                // Nobody need read it.
                Happening::Lines(batch) => drop(self.print(&batch.lines)),
                Happening::Told(..) | Happening::Gone(_) | Happening::Interrupt(_) | Happening::Key(_) | Happening::Drained => {}
            }
        }
        // The same holds for what was written last.
        if !killed {
            drop(self.drain());
        }
        Ok(())
    }

    /// Whether nothing of what is ours runs or is on its way.
    fn is_down(&self) -> bool {
        self.ours.iter().all(|unit| self.known.get(unit).is_none_or(|unit| is_at_rest(&unit.state)))
    }
}

/// Whether a container waits for us and for nothing else, which is no news.
fn waits_for_us(unit: &UnitStatus) -> bool {
    matches!(&unit.state, UnitState::Waiting { on } if on == AUDIENCE)
}

fn is_at_rest(state: &UnitState) -> bool {
    match state {
        UnitState::Absent
        | UnitState::Created
        | UnitState::Exited { .. }
        | UnitState::Stopped { .. }
        | UnitState::Scheduled
        | UnitState::UpToDate
        | UnitState::Succeeded
        | UnitState::Failed { .. }
        | UnitState::Blocked { .. }
        | UnitState::Unknown => true,
        UnitState::Waiting { .. }
        | UnitState::Preparing
        | UnitState::Removing
        | UnitState::Checking
        | UnitState::Starting
        | UnitState::Running
        | UnitState::Paused
        | UnitState::Stopping
        | UnitState::BackingOff { .. } => false,
    }
}

/// Reads the logs, on a thread of its own, and hands over their lines in batches.
fn feed(dir: &EnvDir, wanted: Wanted, sender: &Sender<Happening>) -> Result<Feed, CliError> {
    let sender = sender.clone();
    let (back, empty) = crossbeam_channel::bounded(BATCHES);
    (1..BATCHES).for_each(|_| drop(back.send(Lines::default())));
    let mut lines = Lines::default();
    let tell = move |given: Given<'_>| {
        let is_over = matches!(given, Given::Pause);
        if let Given::Line(line) = given {
            lines.push(line);
        }
        if lines.is_empty() || lines.bytes() < BATCH && !is_over {
            return true;
        }
        let batch = Batch { lines: std::mem::take(&mut lines), back: back.clone() };
        // Then waits for whoever writes them.
        let is_wanted = sender.send(Happening::Lines(batch)).is_ok();
        is_wanted && empty.recv().map(|empty| lines = empty).is_ok()
    };
    let feed = Feed::start(dir, wanted, tell).map_err(CliError::failed)?;
    // What is there by now is told of when it is known, and what comes is not to wait for it.
    feed.all_known();
    Ok(feed)
}

/// Reads a connection to its end, on a thread of its own.
fn listen(mut client: Client, number: u32, sender: &Sender<Happening>) {
    let sender = sender.clone();
    thread::spawn(move || {
        loop {
            let told = client.hear();
            let ended = told.is_err();
            let happening = told.map_or_else(|_| Happening::Gone(number), |told| Happening::Told(number, told));
            if sender.send(happening).is_err() || ended {
                return;
            }
        }
    });
}

/// What runs already. A new supervisor is not asked: with nothing else to do it would end. One that lives may know nothing yet
/// of containers, so the engine is asked in any case.
fn running_units(dir: &EnvDir, ready: &Ready, context: &Context) -> Result<BTreeSet<UnitId>, CliError> {
    let mut running = BTreeSet::new();
    if let Env::Alive(mut client) = attach::open(dir)? {
        match client.ask(Request::Status, |_| ()) {
            Ok(Reply::Status(status)) => {
                let alive = status.units.into_iter().filter(|unit| unit.state == UnitState::Running);
                running.extend(alive.map(|unit| unit.unit));
            }
            Ok(other) => return Err(Context::unexpected(Some(&other))),
            // It has just ended, and its processes with it.
            Err(ClientError::Gone(_)) => {}
            Err(error) => return Err(AttachError::from(error).into()),
        }
    }
    if ready.deployment.stack.services.values().any(Service::needs_engine) {
        // That the engine does not answer has been told by the checks.
        let seen = context.engine()?.observe(dir.id(), &Query::default()).unwrap_or_default();
        let alive = seen.containers.into_iter().filter(|container| matches!(container.state, SeenState::Running { .. }));
        running.extend(alive.filter_map(|container| container.unit));
    }
    Ok(running)
}

fn selected_units(up: &Up, ready: &Ready) -> impl Iterator<Item = UnitId> {
    let services = supervisor::select(&ready.deployment.stack, &up.services, up.no_deps);
    services.into_iter().flat_map(|name| {
        let replicas = ready.deployment.service(&name).map_or(1, super::super::model::service::Service::replicas);
        let replicas = up.scale.get(&name).copied().unwrap_or(replicas);
        (1..=replicas).map(move |replica| UnitId::new(name.clone(), replica)).collect::<Vec<_>>()
    })
}

/// The services whose logs are shown: those named (all when none is), without what has `attach: false`.
fn followed(args: &Args, ready: &Ready) -> Vec<ServiceName> {
    if !args.logs.attach.is_empty() {
        return args.logs.attach.clone();
    }
    let only_named = !args.logs.attach_dependencies;
    let services = supervisor::select(&ready.deployment.stack, &args.services, only_named);
    let attached =
        |name: &ServiceName| ready.deployment.service(name).is_some_and(|service| service.common.attach != Some(false));
    services.into_iter().filter(|name| attached(name) && !args.logs.no_attach.contains(name)).collect()
}
