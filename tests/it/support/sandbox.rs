//! The real program in a place of its own: a directory with a stack, a state directory, and no engine unless the test asks for
//! one. Whatever a test started is gone when it ends, also when it fails.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::support::host_engine::HostEngine;

/// How long anything here may take, on a machine that is busy with other tests.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Sandbox {
    // Goes, with what is left on the engine, after `Sandbox::drop` has asked for an orderly end.
    engine: Option<HostEngine>,
    // The directory goes when this does.
    _place: tempfile::TempDir,
    root: PathBuf,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Sandbox {
    /// A stack file, and nothing else.
    pub(crate) fn new(stack: &str) -> Self {
        Self::build(stack, None)
    }

    /// A stack file and the real engine, with an ENVID that no other test has; `IMAGE` in the stack stands for an image with
    /// busybox. `None`, said aloud, where there is no engine, unless `BAISTACK_TEST_DOCKER=1` says that there must be one.
    pub(crate) fn with_engine(name: &str, stack: &str) -> Option<Self> {
        let engine = HostEngine::new(name)?;
        Some(Self::build(&stack.replace("IMAGE", &engine.image()), Some(engine)))
    }

    fn build(stack: &str, engine: Option<HostEngine>) -> Self {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        for folder in ["stack", "state", "run", "home"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        let sandbox = Self { engine, _place: place, root };
        sandbox.write("stack.yaml", stack);
        sandbox
    }

    /// The engine as its own tools see it.
    pub(crate) fn engine(&self) -> &HostEngine {
        self.engine.as_ref().expect("a sandbox with an engine")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join("stack").join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state/baistack")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The lines of a file that services add to; none when there is no such file yet.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The number in a file that a service wrote.
    pub(crate) fn pid(&self, name: &str) -> i32 {
        let text = fs::read_to_string(self.path(name)).unwrap();
        text.trim().parse().unwrap_or_else(|_| panic!("{name}: {text:?}"))
    }

    /// The directory of the one environment there is.
    pub(crate) fn env_dir(&self) -> PathBuf {
        let entries = fs::read_dir(self.state()).unwrap().map(|entry| entry.unwrap().path());
        let environments: Vec<_> = entries.filter(|path| path.join("lock").exists()).collect();
        assert_eq!(environments.len(), 1, "{environments:?}");
        environments.into_iter().next().unwrap()
    }

    /// The supervisor's pid, as the lock names it.
    pub(crate) fn supervisor(&self) -> i32 {
        fs::read_to_string(self.env_dir().join("lock")).unwrap().trim().parse().unwrap()
    }

    fn command(&self, line: &[&str], directory: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baistack"));
        command.args(line).current_dir(directory).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.root.join("home"));
        command.env("XDG_STATE_HOME", self.root.join("state")).env("XDG_RUNTIME_DIR", self.root.join("run"));
        if let Some(engine) = &self.engine {
            command.env("COMPOSE_PROJECT_NAME", engine.env());
            command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|name| name.starts_with("DOCKER_"))));
        } else {
            // One that asks the engine all the same is told that there is none.
            command.env("DOCKER_HOST", format!("unix://{}", self.root.join("no-engine.sock").display()));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end, in the stack's directory.
    pub(crate) fn run(&self, line: &[&str]) -> Said {
        self.run_in(&self.path(""), line)
    }

    pub(crate) fn run_in(&self, directory: &Path, line: &[&str]) -> Said {
        let child = self.command(line, directory).spawn().unwrap();
        let pid = child.id();
        let (sender, answer) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = answer.recv_timeout(DEADLINE) else {
            kill(i32::try_from(pid).unwrap(), Signal::SIGKILL);
            panic!("baistack {line:?} does not come back");
        };
        let output = output.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: code(output.status), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs a command that must end with 0; answers with its output.
    pub(crate) fn ok(&self, line: &[&str]) -> String {
        let said = self.run(line);
        assert_eq!(said.code, 0, "baistack {line:?}: {said:?}");
        said.out
    }

    /// Begins a command and goes on.
    pub(crate) fn begin(&self, line: &[&str]) -> Running {
        let mut child = self.command(line, &self.path("")).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        for stream in
            [Box::new(child.stdout.take().unwrap()) as Box<dyn std::io::Read + Send>, Box::new(child.stderr.take().unwrap())]
        {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // The test may have seen enough.
                    let _ = sender.send(line);
                }
            });
        }
        Running { child, lines }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let supervisors = fs::read_dir(self.state()).into_iter().flatten().flatten();
        for environment in supervisors.filter(|entry| entry.path().join("lock").exists()) {
            let name = environment.file_name();
            let line = ["-p", name.to_str().unwrap(), "down", "--timeout", "0"];
            let _ = self.command(&line, Path::new("/")).output();
        }
    }
}

/// A command under way.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Waits for a line, on either stream, that holds this text.
    pub(crate) fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {text:?} ({error}): {seen:#?}"),
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(i32::try_from(self.child.id()).unwrap(), signal);
    }

    /// Waits for the end; answers with the exit code.
    pub(crate) fn end(mut self) -> i32 {
        let mut status = None;
        until("the command ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        code(status.unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing to do for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| panic!("ended by a signal: {status}"))
}

/// Waits until something holds that nobody tells us of.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn kill(pid: i32, signal: Signal) {
    // It may have ended by itself.
    let _ = signal::kill(Pid::from_raw(pid), signal);
}

/// The fields of `/proc/PID/stat` after the name: state, parent, …
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// Whether a process runs; one that only waits to be reaped does not.
pub(crate) fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

pub(crate) fn parent(pid: i32) -> i32 {
    stat(pid).unwrap()[1].parse().unwrap()
}
