//! Commands inside running containers: `exec`, hooks, health probes.

use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptionsBuilder;
use futures_util::stream::{BoxStream, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::logs::LogStream;
use super::{Docker, error};
use crate::model::health::HealthCheck;
use crate::model::hook::Hook;
use crate::plan::action::{Fault, FaultKind};
use crate::supervisor::event::ProbeResult;
use crate::world::clock;

/// How much of a command's output is kept for messages.
const KEPT: usize = 4096;

/// How long it may take to end a command.
const ENDING: Duration = Duration::from_secs(5);
/// How long one may be on its way that has been asked for.
const STARTING: Duration = Duration::from_secs(2);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// A command to be run inside a container.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Another user than the container's.
    pub user: Option<String>,
    /// Another directory than the container's.
    pub working_dir: Option<String>,
    /// `NAME=value`, on top of the container's.
    pub environment: Vec<String>,
    /// A terminal.
    pub tty: bool,
    /// It reads what is written to [`Session::input`].
    pub stdin: bool,
    /// All capabilities.
    pub privileged: bool,
}

/// What a command or a container wrote.
pub type Output = BoxStream<'static, Result<(LogStream, Vec<u8>), Fault>>;

/// What a command or a container reads.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// A command that runs inside a container.
pub struct Session {
    docker: Docker,
    id: String,
    at_end: AtEnd,
    /// What it writes; ends when it does.
    pub output: Output,
    /// What it reads; shutting it down is the end of its input (with a terminal also of its output).
    pub input: Input,
}

/// What the end of our input is to the other side.
#[derive(Debug, Clone, Copy)]
pub(super) enum AtEnd {
    /// The end of its input.
    Close,
    /// Nothing: the engine takes the end of a terminal's input for the end of its output too (moby `container/stream`).
    Keep,
}

impl AtEnd {
    pub(super) fn of(tty: bool) -> Self {
        if tty { AtEnd::Keep } else { AtEnd::Close }
    }
}

/// Tells the size of a terminal on.
#[derive(Debug, Clone)]
pub struct Terminal {
    docker: Docker,
    target: Target,
}

#[derive(Debug, Clone)]
enum Target {
    Exec(String),
    Container(String),
}

impl Docker {
    /// Runs a command inside a container. Its output and input are connected at once.
    pub async fn exec(&self, container: &str, spec: &ExecSpec) -> Result<Session, Fault> {
        let id = self.create_exec(container, spec).await?;
        self.start_exec(id, spec.tty).await
    }

    async fn create_exec(&self, container: &str, spec: &ExecSpec) -> Result<String, Fault> {
        Ok(self.link().await?.api.create_exec(container, config(spec, true)).await?.id)
    }

    async fn start_exec(&self, id: String, tty: bool) -> Result<Session, Fault> {
        let options = StartExecOptions { detach: false, tty, output_capacity: Some(64 * 1024) };
        match self.link().await?.patient().start_exec(&id, Some(options)).await? {
            StartExecResults::Attached { output, input } => {
                Ok(Session { docker: self.clone(), id, at_end: AtEnd::of(tty), output: chunks(output), input })
            }
            StartExecResults::Detached => Err(Fault::permanent("the Docker Engine did not attach to the command")),
        }
    }

    /// Runs a command inside a container and does not wait for it.
    pub async fn exec_detached(&self, container: &str, spec: &ExecSpec) -> Result<(), Fault> {
        let link = self.link().await?;
        let exec = link.api.create_exec(container, config(spec, false)).await?;
        let options = StartExecOptions { detach: true, tty: spec.tty, output_capacity: None };
        link.api.start_exec(&exec.id, Some(options)).await?;
        Ok(())
    }

    /// Runs a command to its end. Answers with its exit code and the first 4 KiB of what it wrote.
    pub(super) async fn output_of(&self, container: &str, spec: &ExecSpec) -> Result<(i32, String), Fault> {
        self.exec(container, spec).await?.output_and_code().await
    }

    /// Runs a hook to its end.
    pub(super) async fn run_inside(&self, container: &str, hook: &Hook) -> Result<(i32, String), Fault> {
        let environment = hook.environment.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
        let spec = ExecSpec {
            command: hook.command.clone(),
            user: hook.user.clone(),
            working_dir: hook.working_dir.clone(),
            environment: environment.collect(),
            privileged: hook.privileged,
            ..ExecSpec::default()
        };
        self.output_of(container, &spec).await
    }

    /// Runs the `test` of a health check once, as the engine would.
    pub async fn probe(&self, container: &str, check: &HealthCheck) -> ProbeResult {
        let command = match check.test.split_first() {
            Some((kind, rest)) if kind == "CMD-SHELL" => {
                ["/bin/sh", "-c"].into_iter().map(str::to_owned).chain(rest.iter().cloned()).collect()
            }
            Some((kind, rest)) if kind == "CMD" => rest.to_vec(),
            Some(_) | None => return ProbeResult { healthy: true, output: String::new() },
        };
        let spec = ExecSpec { command, ..ExecSpec::default() };
        let limit = check.timeout();
        let mut begun = None;
        let work = async {
            let id = self.create_exec(container, &spec).await?;
            begun = Some(id.clone());
            self.start_exec(id, spec.tty).await?.output_and_code().await
        };
        match timeout(limit, work).await {
            Ok(Ok((code, output))) => ProbeResult { healthy: code == 0, output },
            Ok(Err(fault)) => ProbeResult { healthy: false, output: fault.message },
            Err(_) => {
                if let Some(exec) = begun {
                    // The next probe would run beside it.
                    self.end_exec(container, &exec).await;
                }
                ProbeResult { healthy: false, output: format!("no answer within {}", crate::base::duration::format(limit)) }
            }
        }
    }

    /// Kills a command inside a container. The engine has no request for that, so another command does it; which number it has
    /// in there is known where the engine runs on this host.
    async fn end_exec(&self, container: &str, exec: &str) {
        let ended = async {
            let Some(pid) = self.pid_of_exec(exec).await? else { return Ok(()) };
            let Some(inside) = number_inside(pid, container) else {
                return Err(Fault::permanent("its process is not one of this host"));
            };
            // A command inside a container leads a session of its own.
            let command = ["/bin/sh", "-c", &format!("kill -9 -{inside} || kill -9 {inside}")].map(str::to_owned).to_vec();
            let spec = ExecSpec { command, user: Some("0".to_owned()), ..ExecSpec::default() };
            match self.output_of(container, &spec).await? {
                (0, _) => Ok(()),
                (_, said) => Err(Fault::permanent(said.trim().to_owned())),
            }
        };
        match timeout(ENDING, ended).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::warn!(container, %fault, "a probe that took too long goes on"),
            Err(_) => tracing::warn!(container, "a probe that took too long goes on"),
        }
    }

    /// The process of a command, as this host counts; none for one that has ended. One whose start was asked for may be on its way,
    /// on a busy host for longer than its time limit: it is waited for, until it is clear that it will not come.
    async fn pid_of_exec(&self, exec: &str) -> Result<Option<i64>, Fault> {
        let deadline = clock::deadline(STARTING);
        loop {
            let about = self.link().await?.api.inspect_exec(exec).await?;
            let is_over = about.exit_code.is_some() || about.running != Some(true) && clock::is_past(deadline);
            match about.pid.filter(|pid| *pid > 0 && about.running == Some(true)) {
                Some(pid) => return Ok(Some(pid)),
                None if is_over => return Ok(None),
                // The engine tells starts of commands among all its events alone.
                None => sleep(LOOK).await,
            }
        }
    }
}

impl Session {
    /// The code that the command ended with. To be asked once its output has ended.
    pub fn exit_code(&self) -> impl Future<Output = Result<i32, Fault>> + Send + use<> {
        let (docker, id) = (self.docker.clone(), self.id.clone());
        async move { exit_code(&docker, &id).await }
    }

    /// Waits for the command's end. Answers with its exit code and the first 4 KiB of what it wrote.
    async fn output_and_code(mut self) -> Result<(i32, String), Fault> {
        let mut kept = Vec::new();
        while let Some(chunk) = self.output.next().await {
            let (_, bytes) = chunk?;
            let room = KEPT.saturating_sub(kept.len());
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        Ok((self.exit_code().await?, String::from_utf8_lossy(&kept).into_owned()))
    }

    /// The command's terminal.
    pub fn terminal(&self) -> Terminal {
        Terminal { docker: self.docker.clone(), target: Target::Exec(self.id.clone()) }
    }

    /// Carries input and output until the command has ended. Answers with its exit code.
    pub async fn carry(self, stdin: impl AsyncRead + Unpin, mut sink: impl FnMut(LogStream, &[u8])) -> Result<i32, Fault> {
        let Self { docker, id, at_end, output, input } = self;
        let mut begin = Vec::new();
        let kept = |stream, bytes: &[u8]| {
            let room = KEPT.saturating_sub(begin.len());
            begin.extend_from_slice(&bytes[..bytes.len().min(room)]);
            sink(stream, bytes);
        };
        carry(output, input, at_end, stdin, kept).await?;
        Ok(as_a_shell(exit_code(&docker, &id).await?, &String::from_utf8_lossy(&begin)))
    }
}

/// The code of a command as a shell would have it. An engine that had to say why it did not run says so in its place, and, before
/// release 28, ends with 126 whatever the reason was.
fn as_a_shell(code: i32, begin: &str) -> i32 {
    let is_refusal = code == 126 && begin.starts_with("OCI runtime exec failed");
    if is_refusal && error::lasting(&begin.to_lowercase()) == FaultKind::NoProgram { 127 } else { code }
}

/// The number of a process of this host inside the container that it belongs to; none when it does not, as with an engine on
/// another host.
fn number_inside(pid: i64, container: &str) -> Option<u32> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let status = read("cgroup")?.contains(container).then(|| read("status"))??;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().last()?.parse().ok()
}

async fn exit_code(docker: &Docker, exec: &str) -> Result<i32, Fault> {
    let link = docker.link().await?;
    // The output can end a moment before the engine has noted the code, or long before if the command has closed it.
    let mut pause = Duration::from_millis(10);
    loop {
        let exec = link.api.inspect_exec(exec).await?;
        if exec.running != Some(true) {
            return Ok(exec.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(255));
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

impl Terminal {
    pub(super) fn of_container(docker: Docker, id: String) -> Self {
        Self { docker, target: Target::Container(id) }
    }

    /// Tells the command how large its terminal is.
    pub async fn resize(&self, columns: u16, rows: u16) -> Result<(), Fault> {
        let link = self.docker.link().await?;
        let resized = match &self.target {
            Target::Exec(id) => {
                let options = ResizeExecOptionsBuilder::default().w(columns.into()).h(rows.into()).build();
                link.api.resize_exec(id, options).await
            }
            Target::Container(id) => {
                let options = bollard::query_parameters::ResizeContainerTTYOptionsBuilder::default();
                link.api.resize_container_tty(id, options.w(columns.into()).h(rows.into()).build()).await
            }
        };
        match resized {
            Ok(()) => Ok(()),
            // It has ended, or not yet begun: no size is told to nobody.
            Err(error) if error::status(&error).is_some() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Carries input and output until the output ends. Input that is left over then is not read.
pub(super) async fn carry(
    mut output: Output,
    mut input: Input,
    at_end: AtEnd,
    mut stdin: impl AsyncRead + Unpin,
    mut sink: impl FnMut(LogStream, &[u8]),
) -> Result<(), Fault> {
    let feed = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            // A command that ends without reading everything breaks this pipe; its end is told by its output.
            let read = stdin.read(&mut buffer).await.unwrap_or(0);
            if read == 0 || input.write_all(&buffer[..read]).await.is_err() || input.flush().await.is_err() {
                break;
            }
        }
        match at_end {
            AtEnd::Close => drop(input.shutdown().await),
            AtEnd::Keep => {}
        }
        std::future::pending::<()>().await;
    };
    let drain = async {
        while let Some(chunk) = output.next().await {
            let (stream, bytes) = chunk?;
            sink(stream, &bytes);
        }
        Ok(())
    };
    tokio::select! {
        done = drain => done,
        () = feed => Ok(()),
    }
}

/// Bollard's frames.
pub(super) fn chunks(
    frames: impl futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + 'static,
) -> Output {
    let chunk = |frame: LogOutput| {
        let stream = match frame {
            LogOutput::StdErr { .. } => LogStream::Stderr,
            LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => LogStream::Stdout,
        };
        (stream, frame.into_bytes().to_vec())
    };
    frames.map(move |frame| frame.map(chunk).map_err(Fault::from)).boxed()
}

fn config(spec: &ExecSpec, attach: bool) -> ExecConfig {
    ExecConfig {
        attach_stdin: Some(attach && spec.stdin),
        attach_stdout: Some(attach),
        attach_stderr: Some(attach),
        tty: Some(spec.tty),
        env: (!spec.environment.is_empty()).then(|| spec.environment.clone()),
        cmd: Some(spec.command.clone()),
        privileged: Some(spec.privileged),
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        ..Default::default()
    }
}
