//! An engine on another host: each connection is a `docker system dial-stdio` there, begun by the `ssh` of this host.
//!
//! That is what Docker's command line does, so that keys, agents, jump hosts and known hosts are where everybody has them. Nobody can be
//! asked for a password: a supervisor has no terminal. (bollard's own way over SSH takes no port, and begins a master for each connection.)

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;

/// So many connections are kept that nobody uses just then: each is two processes.
const IDLE: usize = 4;
/// How much of what `ssh` says is kept.
const KEPT: u64 = 4096;
/// A connection that is over has said why by then.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Begins connections to one host.
#[derive(Debug, Clone)]
pub(super) struct Tunnel {
    /// `ssh://user@host:port`, which `ssh` takes as it is.
    address: String,
    /// What `ssh` said last, once a connection had ended.
    said: watch::Sender<Option<String>>,
}

impl Tunnel {
    /// To an address as `DOCKER_HOST` has it.
    pub(super) fn to(address: &str) -> Self {
        Self { address: address.to_owned(), said: watch::Sender::new(None) }
    }

    /// An engine that is spoken to over it. Answers that take longer than `seconds` are given up.
    pub(super) fn engine(&self, seconds: u64) -> Result<Docker, bollard::errors::Error> {
        let client = (Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_max_idle_per_host(IDLE))
            .build(self.clone());
        let transport = move |request: BollardRequest| {
            let answer = client.request(request);
            async move { answer.await.map_err(bollard::errors::Error::from) }
        };
        // A name that nobody looks up: it is for the header that HTTP wants.
        Docker::connect_with_custom_transport(transport, Some("http://docker.example.com"), seconds, API_DEFAULT_VERSION)
    }

    /// Why there is no connection, in the words of `ssh` or of the program that it was to begin.
    pub(super) async fn last_words(&self) -> Option<String> {
        let mut said = self.said.subscribe();
        let text = timeout(LAST_WORDS, said.wait_for(Option::is_some)).await.ok()?.ok()?.clone()?;
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
        Some(last.to_owned())
    }

    /// A connection to the engine.
    pub(super) fn begin(&self) -> io::Result<UnixStream> {
        let (near, far) = StdUnixStream::pair()?;
        near.set_nonblocking(true)?;
        let far = OwnedFd::from(far);
        let mut command = Command::new("ssh");
        command.args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15"]);
        // A host that is gone is noticed within a minute, also by whoever only listens.
        command.args(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3", "--", &self.address]);
        command.args(["docker", "system", "dial-stdio"]);
        command.stdin(far.try_clone()?).stdout(far).stderr(Stdio::piped()).kill_on_drop(true);
        // A Ctrl-C is for us: what is asked then, and the last lines of logs, still have to come.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| io::Error::new(error.kind(), format!("run `ssh`: {error}")))?;
        // With it go our ends of the far side, whose end is to be seen here.
        drop(command);
        let (stderr, said) = (child.stderr.take(), self.said.clone());
        tokio::spawn(async move {
            let mut text = Vec::new();
            if let Some(stderr) = stderr {
                // As far as it could be read.
                let _ = stderr.take(KEPT).read_to_end(&mut text).await;
            }
            // It ends with either end of the connection.
            let _ = child.wait().await;
            said.send_replace(Some(String::from_utf8_lossy(&text).into_owned()));
        });
        UnixStream::from_std(near)
    }
}

impl tower_service::Service<hyper::Uri> for Tunnel {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: hyper::Uri) -> Self::Future {
        let tunnel = self.clone();
        Box::pin(async move { tunnel.begin().map(TokioIo::new) })
    }
}
