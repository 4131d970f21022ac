//! A Docker Engine that belongs to one test, which may end it and begin it again.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bollard::query_parameters as options;
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

use super::engine::{image, import_image};
use super::sandbox::kill;

const ENV: &str = "own-engine";

/// So long a daemon may take to begin, or to end with its containers.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine beside the host's, with files, a socket and containers of its own and without networks. It sees neither the host's
/// network interfaces, of which it would remove `docker0`, nor leaves its mounts there.
pub(crate) struct OwnEngine {
    /// Has the namespaces that each daemon enters, until its input ends.
    namespaces: Child,
    daemon: Option<Child>,
    runtime: Runtime,
    place: tempfile::TempDir,
}

impl OwnEngine {
    /// One that runs. `None`, said aloud, where there can be none: it takes root and `dockerd`.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut holder = Command::new("unshare");
        holder.args(["--net", "--mount", "sh", "-c", "echo; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut namespaces = holder.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        if BufReader::new(namespaces.stdout.take().unwrap()).read_line(&mut line).unwrap() == 0 {
            eprintln!("{name} skipped: no namespaces for a Docker Engine of its own");
            namespaces.wait().unwrap();
            return None;
        }
        let mut engine = Self { namespaces, daemon: None, runtime, place: tempfile::tempdir().unwrap() };
        // The host's own settings must not meet the flags.
        fs::write(engine.path("daemon.json"), "{}").unwrap();
        if let Err(why) = engine.begin(false) {
            eprintln!("{name} skipped: no Docker Engine of its own: {why}");
            return None;
        }
        engine.runtime.block_on(import_image(&engine.api(), ENV));
        Some(engine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// What `DOCKER_HOST` is for it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// An image with busybox.
    pub(crate) fn image() -> String {
        image(ENV)
    }

    fn api(&self) -> bollard::Docker {
        self.connect().unwrap()
    }

    /// Refused as long as there is no socket.
    fn connect(&self) -> Result<bollard::Docker, bollard::errors::Error> {
        bollard::Docker::connect_with_unix(&self.host(), 120, bollard::API_DEFAULT_VERSION)
    }

    fn answers(&self) -> bool {
        self.connect().is_ok_and(|api| self.runtime.block_on(api.ping()).is_ok())
    }

    /// Begins, and waits until it answers. Containers outlive the end of one with live restore.
    pub(crate) fn begin(&mut self, live_restore: bool) -> Result<(), String> {
        let log = File::create(self.path("log")).unwrap();
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--target", &self.namespaces.id().to_string(), "dockerd"]);
        for (flag, name) in
            [("--config-file", "daemon.json"), ("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")]
        {
            command.arg(flag).arg(self.path(name));
        }
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
        command.args(["--storage-driver=vfs", "--host", &self.host()]).arg(format!("--live-restore={live_restore}"));
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().map_err(|error| format!("start dockerd: {error}"))?);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && !self.has_ended() {
            if self.answers() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.end();
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        Err(log.lines().next_back().unwrap_or("it does not answer").to_owned())
    }

    fn has_ended(&mut self) -> bool {
        self.daemon.as_mut().is_none_or(|daemon| daemon.try_wait().unwrap().is_some())
    }

    /// Ends it in order, and waits for that.
    pub(crate) fn end(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        if daemon.try_wait().unwrap().is_none() {
            kill(i32::try_from(daemon.id()).unwrap(), Signal::SIGTERM);
            daemon.wait().unwrap();
        }
    }

    /// How many containers there are, in whatever state.
    pub(crate) fn containers(&self) -> Vec<String> {
        let all = options::ListContainersOptionsBuilder::default().all(true).build();
        let containers = self.runtime.block_on(self.api().list_containers(Some(all))).unwrap_or_default();
        containers.into_iter().filter_map(|container| container.id).collect()
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        // Containers of one that ended with live restore run on.
        if self.daemon.is_some() || self.path("data").exists() && self.begin(false).is_ok() {
            let force = options::RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            for container in self.containers() {
                let _ = self.runtime.block_on(self.api().remove_container(&container, Some(force.clone())));
            }
            self.end();
        }
        drop(self.namespaces.stdin.take());
        self.namespaces.wait().unwrap();
    }
}
