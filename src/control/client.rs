//! The blocking side of the control socket, for commands.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::wire::{Asked, Hello, Told, VERSION, line};
use crate::supervisor::notice::Notice;
use crate::supervisor::request::{Reply, Request};
use crate::world::envdir::with_socket_path;

/// How long a greeting may take. It is no work of the supervisor's loop, so one that needs longer hangs or is stopped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a supervisor cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no supervisor listens at {path}")]
    Nobody {
        /// Where.
        path: String,
        /// In the system's words.
        source: io::Error,
    },
    /// It speaks another language.
    #[error(
        "the supervisor that runs is of release {theirs} and this program of {ours}: use that release, or end it with `kill {pid}` \
         (its processes are stopped, its containers stay) and run the command again"
    )]
    Version {
        /// Its release.
        theirs: String,
        /// Ours.
        ours: &'static str,
        /// Its process.
        pid: u32,
    },
    /// It went away, or said something that cannot be understood.
    #[error("the supervisor went away")]
    Gone(#[source] io::Error),
}

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
    voice: Voice,
    /// The supervisor's process.
    pub pid: u32,
    /// It is a command that carries out one request where no supervisor lives: nothing is to be started in it.
    pub passing: bool,
}

/// The writing half: may be used from another thread.
#[derive(Debug, Clone)]
pub struct Voice {
    stream: Arc<UnixStream>,
    count: Arc<AtomicU64>,
}

impl Voice {
    /// Sends a request; its answer comes to whoever reads.
    pub fn send(&self, request: Request) -> Result<u64, ClientError> {
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        (&*self.stream).write_all(line(&Asked { id, request }).as_bytes()).map_err(ClientError::Gone)?;
        Ok(id)
    }

    /// Ends the connection: what a foreground `up` of it started is stopped.
    pub fn hang_up(&self) {
        // One that has ended already needs no end.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Client {
    /// Connects and greets.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let stream = with_socket_path(socket, |path| UnixStream::connect(path))
            .map_err(|source| ClientError::Nobody { path: socket.display().to_string(), source })?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(ClientError::Gone)?;
        let mut reader = BufReader::new(stream.try_clone().map_err(ClientError::Gone)?);
        (&stream).write_all(line(&Hello::ours()).as_bytes()).map_err(ClientError::Gone)?;
        let hello: Hello = read(&mut reader)?;
        if hello.baistack != VERSION {
            return Err(ClientError::Version { theirs: hello.version, ours: env!("CARGO_PKG_VERSION"), pid: hello.pid });
        }
        stream.set_read_timeout(None).map_err(ClientError::Gone)?;
        let voice = Voice { stream: Arc::new(stream), count: Arc::default() };
        Ok(Self { reader, voice, pid: hello.pid, passing: hello.passing })
    }

    /// The writing half.
    pub fn voice(&self) -> Voice {
        self.voice.clone()
    }

    /// Asks, and waits for the answer; notices that come before it go to `notice`.
    pub fn ask(&mut self, request: Request, notice: impl FnMut(Notice)) -> Result<Reply, ClientError> {
        let asked = self.voice.send(request)?;
        self.answer(asked, notice)
    }

    /// Waits for the answer to a request that was sent, by its number; notices that come before it go to `notice`.
    pub fn answer(&mut self, asked: u64, mut notice: impl FnMut(Notice)) -> Result<Reply, ClientError> {
        loop {
            match self.hear()? {
                Told::Reply { id, reply } if id == asked => return Ok(*reply),
                Told::Reply { .. } => {}
                Told::Notice(news) => notice(*news),
            }
        }
    }

    /// Waits until it is gone.
    pub fn outlive(mut self) {
        while self.hear().is_ok() {}
    }

    /// The next thing that is told.
    pub fn hear(&mut self) -> Result<Told, ClientError> {
        read(&mut self.reader)
    }
}

fn read<T: serde::de::DeserializeOwned>(reader: &mut impl BufRead) -> Result<T, ClientError> {
    let mut text = String::new();
    if reader.read_line(&mut text).map_err(ClientError::Gone)? == 0 {
        return Err(ClientError::Gone(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_str(&text).map_err(|error| ClientError::Gone(io::Error::new(io::ErrorKind::InvalidData, error)))
}
