//! The real program in a place of its own: a directory with a stack, a state directory, and no engine unless the test asks for
//! one. Whatever a test started is gone when it ends, also when it fails.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::host_engine::HostEngine;
use super::terminal::Terminal;

/// How long anything here may take, on a machine that is busy with other tests.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Sandbox {
    // Goes, with what is left on the engine, after `Sandbox::drop` has asked for an orderly end.
    engine: Option<HostEngine>,
    // The directory goes when this does.
    _place: tempfile::TempDir,
    root: PathBuf,
    /// Whom the program runs as, if not as the test.
    user: Option<u32>,
    /// Variables of the program beside those that it always has.
    variables: Vec<(String, Option<String>)>,
}

/// A user without rights, on every host (`nobody`).
pub(crate) const NOBODY: u32 = 65_534;

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
        let sandbox = Self { engine, _place: place, root, user: None, variables: Vec::new() };
        sandbox.write("stack.yaml", stack);
        sandbox
    }

    /// The same for an ordinary user: a test that root runs becomes [`NOBODY`]. None, said aloud, where that user cannot reach
    /// the program.
    pub(crate) fn of_ordinary_user(stack: &str) -> Option<Self> {
        let mut sandbox = Self::new(stack);
        if !nix::unistd::geteuid().is_root() {
            return Some(sandbox);
        }
        sandbox.user = Some(NOBODY);
        fs::set_permissions(&sandbox.root, fs::Permissions::from_mode(0o755)).unwrap();
        sandbox.give_away();
        if sandbox.command(&["version"], Path::new("/")).output().is_ok() {
            return Some(sandbox);
        }
        eprintln!("skipped for an ordinary user, who cannot reach {}", env!("CARGO_BIN_EXE_baistack"));
        None
    }

    /// Gives all files to the user that the program runs as.
    pub(crate) fn give_away(&self) {
        let mut given = vec![self.root.clone()];
        while let (Some(path), Some(user)) = (given.pop(), self.user) {
            lchown(&path, Some(user), Some(user)).unwrap();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                given.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }

    /// Sets a variable of the program, or takes it away.
    pub(crate) fn variable(&mut self, name: &str, value: Option<&str>) {
        self.variables.push((name.to_owned(), value.map(str::to_owned)));
    }

    /// Whom the program runs as.
    pub(crate) fn uid(&self) -> u32 {
        self.user.unwrap_or_else(|| nix::unistd::geteuid().as_raw())
    }

    /// The place of everything.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The engine as its own tools see it.
    pub(crate) fn engine(&self) -> &HostEngine {
        self.engine.as_ref().expect("a sandbox with an engine")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join("stack").join(name)
    }

    /// What a command says, with its exit code, as a person would see it; the sandbox's own place stands as `/PLACE`.
    pub(crate) fn transcript(&self, directory: &str, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let said = self.run_in(&self.path(directory), &words);
        let text = format!("$ baistack {line}\n{}{}[{}]\n", said.out, said.err, said.code);
        text.replace(self.root.to_str().unwrap(), "/PLACE").replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state/baistack")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes a file in one step, as editors do: on a busy machine one that is being written can be seen empty for long.
    pub(crate) fn save(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(self.root.join("saved"), text).unwrap();
        fs::rename(self.root.join("saved"), path).unwrap();
    }

    /// Writes a program, here or at a path of its own. Another process does: a file that ours has open for writing cannot be
    /// executed, and a test beside this one may fork just then.
    pub(crate) fn program(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        Self::program_at(&self.path("").join(path), content);
    }

    /// The same, for whoever has changed the sandbox meanwhile.
    pub(crate) fn program_at(path: &Path, content: impl AsRef<[u8]>) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = Command::new("/bin/sh");
        writer.args(["-c", "rm -f \"$0\" && cat > \"$0\" && chmod 755 \"$0\""]).arg(path);
        let mut writer = writer.stdin(Stdio::piped()).spawn().unwrap();
        writer.stdin.take().unwrap().write_all(content.as_ref()).unwrap();
        assert!(writer.wait().unwrap().success(), "{}", path.display());
    }

    /// The lines of a file that services add to; none when there is no such file yet.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The number in a file that a service writes: a service that runs may have its first command still to come.
    pub(crate) fn pid(&self, name: &str) -> i32 {
        let mut pid = None;
        until(&format!("{name} holds a number"), || {
            pid = fs::read_to_string(self.path(name)).ok().and_then(|text| text.trim().parse().ok());
            pid.is_some()
        });
        pid.unwrap()
    }

    /// The directory of the one environment there is.
    pub(crate) fn env_dir(&self) -> PathBuf {
        let entries = fs::read_dir(self.state()).unwrap().map(|entry| entry.unwrap().path());
        let environments: Vec<_> = entries.filter(|path| path.join("lock").exists()).collect();
        assert_eq!(environments.len(), 1, "{environments:?}");
        environments.into_iter().next().unwrap()
    }

    /// Waits until supervisor and guard have ended by themselves, and answers with what they have left in their lock.
    pub(crate) fn wait_until_unattended(&self) -> Vec<u8> {
        let path = self.env_dir().join("lock");
        let lock = fs::File::open(&path).unwrap();
        until("the supervisor and its guard have ended", || lock.try_lock_shared().is_ok());
        fs::read(path).unwrap()
    }

    /// The supervisor's pid, as the lock names it while one lives.
    pub(crate) fn supervisor(&self) -> i32 {
        number_in(&self.env_dir().join("lock"))
    }

    /// The supervisor's pid of one of several environments.
    pub(crate) fn supervisor_of(&self, env: &str) -> i32 {
        number_in(&self.state().join(env).join("lock"))
    }

    /// The processes that `ps` believes in.
    pub(crate) fn leaders(&self) -> Vec<i32> {
        let shown = self.ok(&["ps", "--format", "json"]);
        let pid = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["Pid"].as_i64();
        shown.lines().filter_map(pid).map(|pid| i32::try_from(pid).unwrap()).collect()
    }

    /// Whether a process lives and works in the stack's directory: a number that was one of ours may be a stranger's by now.
    pub(crate) fn has_process(&self, pid: i32) -> bool {
        let place = fs::canonicalize(self.path("")).unwrap();
        is_alive(pid) && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|directory| directory == place)
    }

    /// Begins a command on a terminal of its own.
    pub(crate) fn begin_on_terminal(&self, line: &[&str]) -> Terminal {
        Terminal::begin(self.command(line, &self.path("")))
    }

    /// Runs a command on a terminal of its own, to its end; what it showed.
    pub(crate) fn on_terminal(&self, line: &[&str]) -> String {
        self.begin_on_terminal(line).end()
    }

    /// Runs a command with this input; its output.
    pub(crate) fn feed(&self, line: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = self.command(line, &self.path(""));
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut to = child.stdin.take().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || to.write_all(input).unwrap());
            child.wait_with_output().unwrap().stdout
        })
    }

    pub(crate) fn command(&self, line: &[&str], directory: &Path) -> Command {
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
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A command, in the stack's directory, that a shell becomes when it has done something to itself, such as `ulimit -n 64`.
    pub(crate) fn command_after(&self, shell: &str, line: &[&str]) -> Command {
        let baistack = self.command(line, &self.path(""));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{shell} && exec \"$0\" \"$@\"")]).arg(baistack.get_program()).args(baistack.get_args());
        command.current_dir(self.path("")).env_clear();
        command.envs(baistack.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end, in the stack's directory.
    pub(crate) fn run(&self, line: &[&str]) -> Said {
        self.run_in(&self.path(""), line)
    }

    pub(crate) fn run_in(&self, directory: &Path, line: &[&str]) -> Said {
        Self::run_command(self.command(line, directory))
    }

    pub(crate) fn run_command(mut command: Command) -> Said {
        let child = command.spawn().unwrap();
        let pid = child.id();
        let (sender, answer) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = answer.recv_timeout(DEADLINE) else {
            kill(i32::try_from(pid).unwrap(), Signal::SIGKILL);
            panic!("{command:?} does not come back");
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

    /// Runs a `purge` that comes to its work only halfway: as root may not even remove what is immutable, this directory stays. `None`,
    /// said aloud, where nothing can be made immutable.
    pub(crate) fn purge_all_but(&self, held: &Path) -> Option<Said> {
        if !set_immutable(held, true) {
            eprintln!("skipped: nothing can be made immutable here");
            return None;
        }
        let said = self.run(&["purge", "--yes"]);
        assert!(set_immutable(held, false));
        Some(said)
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
    /// Waits for a line, on either stream, that holds this text; the lines before it.
    pub(crate) fn wait_for(&self, text: &str) -> Vec<String> {
        let mut seen = self.wait_for_all(text);
        seen.pop();
        seen
    }

    /// The same, with that line as the last.
    pub(crate) fn wait_for_all(&self, text: &str) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        let mut seen: Vec<String> = Vec::new();
        while !seen.last().is_some_and(|line| line.contains(text)) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {text:?} ({error}): {seen:#?}"),
            }
        }
        seen
    }

    /// Waits for the end; the exit code, and the lines that nobody has waited for.
    pub(crate) fn end_with_the_rest(mut self) -> (i32, Vec<String>) {
        // They end when both streams have.
        (self.await_end(), self.lines.iter().collect())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(i32::try_from(self.child.id()).unwrap(), signal);
    }

    /// Waits for the end; answers with the exit code.
    pub(crate) fn end(mut self) -> i32 {
        self.await_end()
    }

    fn await_end(&mut self) -> i32 {
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

/// An address with a port that no other test, and no connection of anybody's, has: one that is free stays free.
pub(crate) fn own_address() -> (String, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(4711);
    let number = std::process::id() % 0xffff;
    (format!("127.77.{}.{}", number >> 8, number & 0xff), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Keeps everybody, root too, from changing what is there, or no longer; false where that cannot be had.
fn set_immutable(path: &Path, is_so: bool) -> bool {
    Command::new("chattr").arg(if is_so { "+i" } else { "-i" }).arg(path).status().is_ok_and(|said| said.success())
}

pub(crate) fn kill(pid: i32, signal: Signal) {
    // It may have ended by itself.
    let _ = signal::kill(Pid::from_raw(pid), signal);
}

fn number_in(path: &Path) -> i32 {
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

/// Living processes that have this word among their arguments.
pub(crate) fn pids_of(word: &str) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    pids.filter(|pid| has(pid) && is_alive(*pid)).collect()
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

/// All that have this parent, zombies too.
pub(crate) fn children(of: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|fields| fields[1] == of.to_string())).collect()
}

pub(crate) fn parent(pid: i32) -> i32 {
    stat(pid).unwrap()[1].parse().unwrap()
}
