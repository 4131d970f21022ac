//! Commands beside a unit: hooks, checks, probes with a `test`, `requires: command`, and `exec` on a terminal.
//!
//! For threads that may wait; the loop thread never calls these. Each command gets a session of its own, so that all of it
//! can be ended when it takes too long.

use std::fs::File;
use std::io::{self, Read, pipe};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

use super::marker::Marker;
use super::reap::{self, WAITED};
use super::spawn::{self, Order};
use super::stop;
use super::tree::{Process, Root};
use crate::base::name::UnitId;
use crate::model::hook::Hook;
use crate::plan::action::{Exit, Fault};
use crate::plan::desired::UnitSpec;
use crate::world::clock;
use crate::world::kernel::launch::{self, Child, Launch, SpawnError};
use crate::world::logs::pump::PumpHandle;
use crate::world::logs::record::Stream;

/// How long something that was killed may take to be gone.
const DYING: Duration = Duration::from_secs(2);

/// Where the output of a command goes.
#[derive(Debug, Clone, Copy)]
pub enum Output<'a> {
    /// Into its unit's log.
    Log(&'a PumpHandle),
    /// So many bytes of it are given back, the first ones.
    Kept(usize),
}

/// How a command went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub exit: Exit,
    /// It took too long and was killed.
    pub timed_out: bool,
    /// What it wrote, if that was asked for.
    pub output: Vec<u8>,
}

impl Ran {
    /// Whether it ended by itself with 0.
    pub fn is_success(&self) -> bool {
        !self.timed_out && self.exit.is_success()
    }
}

/// Runs a command as a unit runs: its directory, environment, user and limits. It is killed with all that it started when it
/// takes longer than `timeout`; what it leaves behind is killed in any case.
pub fn run_command(
    spec: &UnitSpec,
    argv: Vec<String>,
    environment: IndexMap<String, String>,
    timeout: Option<Duration>,
    output: Output<'_>,
) -> Result<Ran, Fault> {
    let order = Order { environment, ..Order::other(spec, argv) };
    let (launch, _) = order.launch()?;
    let env = env_of(spec);
    let marker = env.of_command(serial());
    let leaves = Leaves::Nothing;
    let running = Running { env: Some(env), unit: Some(&spec.unit), marker: Some(marker), timeout, output, leaves };
    running.run(launch, |error, launch| spawn::explain(&error, &order, launch))
}

/// Runs a command that belongs to no unit: `requires: command`.
pub fn run_plain(
    argv: &[String],
    environment: &IndexMap<String, String>,
    directory: &Path,
    timeout: Option<Duration>,
    output_bytes: usize,
) -> Result<Ran, Fault> {
    let launch = spawn::plain(argv, environment, directory)?;
    let output = Output::Kept(output_bytes);
    let running = Running { env: None, unit: None, marker: None, timeout, output, leaves: Leaves::Nothing };
    running.run(launch, |error, launch| spawn::explain_plain(&error, launch))
}

/// Runs hooks one after the other, with their output in the unit's log; the first that fails ends it. What they leave running
/// belongs to the unit.
pub(super) fn run_hooks(
    spec: &UnitSpec,
    hooks: &[Hook],
    unit: Root,
    timeout: Option<Duration>,
    port: Option<u16>,
    pump: &PumpHandle,
) -> Result<(), String> {
    for hook in hooks {
        let mut environment: IndexMap<String, String> =
            hook.environment.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        environment.extend(port.map(|port| ("PORT".to_owned(), port.to_string())));
        let order = Order {
            environment,
            user: hook.user.as_deref(),
            directory: hook.working_dir.as_deref(),
            ..Order::other(spec, hook.command.clone())
        };
        let output = Output::Log(pump);
        let (env, leaves) = (Some(env_of(spec)), Leaves::ToUnit);
        let running = Running { env, unit: Some(&spec.unit), marker: Some(unit.marker), timeout, output, leaves };
        let ran = (order.launch())
            .and_then(|(launch, _)| running.run(launch, |error, launch| spawn::explain(&error, &order, launch)))
            .map_err(|fault| fault.message)?;
        if ran.timed_out {
            return Err(format!("`{}` took too long", hook.command.join(" ")));
        }
        if !ran.exit.is_success() {
            return Err(format!("`{}` ended with {}", hook.command.join(" "), ran.exit));
        }
    }
    Ok(())
}

/// Commands that run for a unit at the moment: its environment's mark, its name, and their sessions.
static UNDER_WAY: Mutex<Vec<(Marker, UnitId, Root)>> = Mutex::new(Vec::new());

/// Ends the hooks, checks and tests that run for a unit: nobody wants to know any more how they end.
pub fn call_off(env: Marker, unit: &UnitId) {
    let under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
    for (_, _, root) in under_way.iter().filter(|(of, whose, _)| *of == env && whose == unit) {
        // Its session alone: with the mark of its unit a hook would take the unit along.
        let _ = stop::kill_all(&Root { marker: Marker::NONE, ..*root }, &[]);
    }
}

/// Ends the tests that still run for a unit whose life has ended: the next life's must not run beside them. Its hooks go on.
pub(super) fn end_tests(env: Marker, unit: &UnitId) {
    let under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
    for (_, _, root) in under_way.iter().filter(|(of, whose, root)| *of == env && whose == unit && root.marker.is_of_command()) {
        let _ = stop::kill_all(root, &[]);
    }
}

/// A command in the list of those under way, for as long as this lives.
struct UnderWay(Option<i32>);

impl UnderWay {
    /// Starts a command and enters it in one: who calls it off finds it, or comes before it began.
    fn start(
        env: Option<Marker>,
        unit: Option<&UnitId>,
        start: impl FnOnce() -> Result<(Child, Root), Fault>,
    ) -> Result<(Child, Root, Self), Fault> {
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        let (child, root) = start()?;
        let (Some(env), Some(unit)) = (env, unit) else { return Ok((child, root, Self(None))) };
        under_way.push((env, unit.clone(), root));
        Ok((child, root, Self(Some(root.leader))))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, _, root)| root.leader != leader);
        }
    }
}

/// The mark of a unit's environment.
fn env_of(spec: &UnitSpec) -> Marker {
    let deployment = &spec.deployment;
    Marker::of_env(&deployment.env, &deployment.places.state_dir, nix::unistd::geteuid().as_raw())
}

fn serial() -> u32 {
    static SERIAL: AtomicU32 = AtomicU32::new(1);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// What becomes of processes that outlive a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Nothing,
    ToUnit,
}

/// A command about to be run.
struct Running<'a> {
    /// The mark of the unit's environment.
    env: Option<Marker>,
    unit: Option<&'a UnitId>,
    marker: Option<Marker>,
    timeout: Option<Duration>,
    output: Output<'a>,
    leaves: Leaves,
}

impl Running<'_> {
    fn run(&self, mut launch: Launch, explain: impl Fn(SpawnError, &Launch) -> Fault) -> Result<Ran, Fault> {
        launch.own_session = true;
        if let Some(marker) = self.marker {
            marker.put(&mut launch);
        }
        let no_descriptors = |error: io::Error| Fault::temporary(format!("open pipes for it: {error}"));
        let (pipe, child, root, _under_way) = {
            let null = File::open("/dev/null").map_err(no_descriptors)?;
            let (output, output_end) = pipe().map_err(no_descriptors)?;
            let (error, error_end) = pipe().map_err(no_descriptors)?;
            launch.stdio = match self.output {
                Output::Log(_) => [Some(null.as_raw_fd()), Some(output_end.as_raw_fd()), Some(error_end.as_raw_fd())],
                Output::Kept(_) => [Some(null.as_raw_fd()), Some(output_end.as_raw_fd()), Some(output_end.as_raw_fd())],
            };
            let (child, root, under_way) = UnderWay::start(self.env, self.unit, || {
                let child = start(&launch).map_err(|error| explain(error, &launch))?;
                let root = Root {
                    leader: child.pid,
                    birth: Process::read(child.pid).map_or(0, |process| process.birth),
                    // A session is enough to find most of a command's processes by; no process has this mark.
                    marker: self.marker.unwrap_or(Marker::NONE),
                };
                Ok((child, root))
            })?;
            let pipe = match (self.output, self.unit) {
                (Output::Log(pump), Some(unit)) => {
                    pump.add(unit, Stream::Stdout, output.into());
                    pump.add(unit, Stream::Stderr, error.into());
                    None
                }
                (Output::Log(_) | Output::Kept(_), _) => Some(output.into()),
            };
            (pipe, child, root, under_way)
        };
        let deadline = self.timeout.map(clock::deadline);
        let mut kept = Kept::new(pipe, self.output);
        let timed_out = !kept.read_until_end(&child.pidfd, deadline);
        if timed_out {
            self.end(&root);
            kept.read_until_end(&child.pidfd, Some(clock::deadline(DYING)));
        } else if self.leaves == Leaves::Nothing {
            self.end(&root);
        }
        let exit = collect(child.pid);
        Ok(Ran { exit, timed_out, output: kept.bytes })
    }

    /// Kills a command: all of its session, and, unless that is its unit's, all that carries its mark.
    fn end(&self, root: &Root) {
        // What may not be killed cannot be helped.
        let _ = match self.leaves {
            Leaves::Nothing => stop::kill_all(root, &[]),
            Leaves::ToUnit => stop::kill_all(&Root { marker: Marker::NONE, ..*root }, &[]),
        };
    }
}

/// Starts a child that nobody else is to collect.
fn start(launch: &Launch) -> Result<Child, SpawnError> {
    let mut waited = WAITED.lock().unwrap_or_else(PoisonError::into_inner);
    let child = launch::spawn(launch)?;
    waited.insert(child.pid);
    Ok(child)
}

/// Collects a child of [`start`] that has ended, or is about to.
fn collect(pid: i32) -> Exit {
    // Waiting happens before, so that the lock is held for a moment only. A process that the kernel cannot end now is left to
    // whoever looks after orphans.
    let mut waited = WAITED.lock().unwrap_or_else(PoisonError::into_inner);
    waited.remove(&pid);
    reap::collect(pid).unwrap_or(Exit::Unknown)
}

/// Output that is given back.
struct Kept {
    pipe: Option<File>,
    limit: usize,
    bytes: Vec<u8>,
}

impl Kept {
    fn new(pipe: Option<OwnedFd>, output: Output<'_>) -> Self {
        let limit = match output {
            Output::Kept(limit) => limit,
            Output::Log(_) => 0,
        };
        if let Some(pipe) = &pipe {
            let _ = fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        }
        Self { pipe: pipe.map(File::from), limit, bytes: Vec::new() }
    }

    /// Reads until the process has ended; whether it has.
    fn read_until_end(&mut self, pidfd: &OwnedFd, deadline: Option<Instant>) -> bool {
        loop {
            let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
            let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
                // Rounded up, so that it is past when the wait is over.
                PollTimeout::try_from(clock::until(deadline).as_millis() + 1).unwrap_or(PollTimeout::MAX)
            });
            let has_ended = match poll(&mut fds, timeout) {
                Ok(_) => fds[0].any().unwrap_or(false),
                Err(Errno::EINTR) => false,
                Err(_) => return false,
            };
            self.read();
            if has_ended {
                return true;
            }
            if deadline.is_some_and(clock::is_past) {
                return false;
            }
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    let room = self.limit.saturating_sub(self.bytes.len()).min(count);
                    self.bytes.extend_from_slice(&buffer[..room]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }
}

/// What `exec` and `run` may change.
#[derive(Debug, Default)]
pub struct Interactive<'a> {
    /// Variables on top of the unit's.
    pub environment: IndexMap<String, String>,
    /// Another user than the unit's.
    pub user: Option<&'a str>,
    /// Another directory than the unit's, relative to it.
    pub directory: Option<&'a str>,
}

/// Runs a command as a unit runs, on this terminal, as a child of this process; what it ended with.
///
/// It shares our process group, so the terminal's signals reach it as they reach us; we leave them to it. To be called by the
/// only thread.
pub fn exec_interactive(spec: &UnitSpec, argv: Vec<String>, options: Interactive<'_>) -> Result<Exit, Fault> {
    let Interactive { environment, user, directory } = options;
    let order = Order { environment, user, directory, ..Order::other(spec, argv) };
    let (mut launch, _) = order.launch()?;
    // It is a part of this command, not of the environment: it goes when we go.
    launch.death_signal = Some(libc::SIGHUP);
    let mut waited = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP] {
        waited.add(signal);
    }
    let mut before = SigSet::empty();
    let _ = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&waited), Some(&mut before));
    let exit = launch::spawn(&launch)
        .map_err(|error| spawn::explain(&error, &order, &launch))
        .map(|child| wait_and_forward(child.pid, &waited));
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    exit
}

/// Runs a command as a unit runs and leaves it to itself: no terminal, no output. It carries the environment's mark, by which
/// `down` finds it.
pub fn exec_detached(spec: &UnitSpec, argv: Vec<String>, options: Interactive<'_>) -> Result<(), Fault> {
    let Interactive { environment, user, directory } = options;
    let order = Order { environment, user, directory, ..Order::other(spec, argv) };
    let (mut launch, _) = order.launch()?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| Fault::temporary(format!("open /dev/null: {error}")))?;
    launch.own_session = true;
    launch.stdio = [Some(null.as_raw_fd()); 3];
    let marker = env_of(spec).of_command(std::process::id());
    marker.put(&mut launch);
    launch::spawn(&launch).map(drop).map_err(|error| spawn::explain(&error, &order, &launch))
}

fn wait_and_forward(pid: i32, waited: &SigSet) -> Exit {
    loop {
        match waited.wait() {
            Ok(Signal::SIGCHLD) => match reap::wait(pid, libc::WNOHANG) {
                Ok(Some(exit)) => return exit,
                Ok(None) => {}
                Err(_) => return Exit::Unknown,
            },
            // The terminal has sent them to the child as well.
            Ok(Signal::SIGINT | Signal::SIGQUIT) | Err(_) => {}
            Ok(signal) => {
                let _ = stop::kill(pid, signal as i32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::native::testing::{World, await_end};

    fn sh(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_command_gives_its_code_and_its_first_words() {
        let world = World::new("command");
        let spec = world.unit("a", "true", |common, _| {
            common.environment.insert("A".to_owned(), Some("given".to_owned()));
        });
        let environment = IndexMap::from([("B".to_owned(), "extra".to_owned())]);
        let ran = run_command(&spec, sh("echo $A $B; echo more >&2; exit 3"), environment, None, Output::Kept(14)).unwrap();
        assert_eq!(ran, Ran { exit: Exit::Code(3), timed_out: false, output: b"given extra\nmo".to_vec() });
    }

    #[test]
    fn a_command_that_takes_too_long_goes_with_all_that_it_started() {
        let mut world = World::new("timeout");
        let spec = world.unit("a", "true", |_, _| {});
        let script = "setsid sh -c 'trap \"\" TERM; echo $$ > deep; while :; do sleep 1; done' & wait";
        let ran = run_command(&spec, sh(script), IndexMap::new(), Some(Duration::from_millis(300)), Output::Kept(10)).unwrap();
        assert!(ran.timed_out);
        await_end(world.file("deep").parse().unwrap());
    }

    #[test]
    fn a_command_is_called_off_with_all_that_it_started() {
        let mut world = World::new("calledoff");
        let spec = world.unit("a", "true", |_, _| {});
        let script = "setsid sh -c 'echo $$ > deep; exec sleep 1000' & echo $$ > own; wait";
        std::thread::scope(|scope| {
            let ran = scope.spawn(|| run_command(&spec, sh(script), IndexMap::new(), None, Output::Kept(10)));
            let deep = world.file("deep").parse().unwrap();
            call_off(env_of(&spec), &"b:1".parse().unwrap());
            assert!(!ran.is_finished(), "it is another unit's");
            call_off(env_of(&spec), &spec.unit);
            assert!(!ran.join().unwrap().unwrap().is_success());
            await_end(deep);
        });
    }

    #[test]
    fn what_a_check_leaves_behind_is_ended() {
        let mut world = World::new("leaves");
        let spec = world.unit("a", "true", |_, _| {});
        let script = "(setsid sh -c 'echo $$ > left; exec sleep 1000' >/dev/null 2>&1 &); while [ ! -s left ]; do :; done";
        let ran = run_command(&spec, sh(script), IndexMap::new(), None, Output::Kept(10)).unwrap();
        assert!(ran.is_success());
        await_end(world.file("left").parse().unwrap());
    }

    #[test]
    fn the_output_of_a_command_may_go_into_the_log_of_its_unit() {
        let mut world = World::new("tolog");
        let spec = world.unit("a", "true", |_, _| {});
        let pump = world.pump.as_ref().unwrap().handle();
        run_command(&spec, sh("echo checked"), IndexMap::new(), None, Output::Log(&pump)).unwrap();
        world.start(&spec).unwrap();
        world.ends(&spec);
        assert_eq!(world.log(&spec), ["checked"]);
    }

    #[test]
    fn a_command_of_no_unit() {
        let ran = run_plain(&sh("pwd"), &IndexMap::new(), Path::new("/usr"), None, 100).unwrap();
        assert_eq!(ran.output, b"/usr\n");
    }
}
