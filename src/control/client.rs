//! The blocking end of a command: asks, and is told what happens while it waits.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::wire::{Answer, Ask, Hello, LINE_LIMIT, PROTOCOL, line};
use crate::supervisor::notice::{Level, Notice};
use crate::supervisor::request::{Reply, Request};
use crate::world::envdir;

/// A supervisor that does not even say hello in this time hangs: greeting is not its loop's work.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a supervisor cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("reach the supervisor")]
    Connect(#[source] io::Error),
    /// It ended, or was killed, before it answered.
    #[error("get an answer: the supervisor has ended")]
    Ended,
    /// The connection broke.
    #[error("talk to the supervisor")]
    Io(#[source] io::Error),
    /// Another version of ours runs there.
    #[error(
        "talk to the supervisor: it is baistack {theirs} and this is {ours}; end the environment with the one that started it, or use that one"
    )]
    Version {
        /// What runs there.
        theirs: String,
        /// What this is.
        ours: String,
    },
    /// What arrived is not the protocol.
    #[error("understand the supervisor")]
    Protocol(#[from] serde_json::Error),
    /// What we sent was not understood.
    #[error("be understood by the supervisor: {0}")]
    Misunderstood(String),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => ClientError::Ended,
            _ => ClientError::Io(error),
        }
    }
}

/// The number of a request on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskId(u64);

/// A connection to a supervisor. What was started under it by an attached `up` lives as long as it does.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
    sender: Asker,
}

/// The sending half: it can ask while another thread waits for answers.
#[derive(Debug)]
pub struct Asker {
    stream: UnixStream,
    next: Arc<AtomicU64>,
}

impl Asker {
    /// Sends a request, and does not wait.
    pub fn send(&mut self, request: Request) -> Result<AskId, ClientError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.stream.write_all(line(&Ask { id, request })?.as_bytes())?;
        Ok(AskId(id))
    }

    /// Another handle.
    pub fn try_clone(&self) -> Result<Self, ClientError> {
        Ok(Self { stream: self.stream.try_clone()?, next: Arc::clone(&self.next) })
    }

    /// Ends the connection for all handles: who waits for an answer is woken.
    pub fn close(&self) {
        // It fails when the other side was faster.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Client {
    /// Connects and says hello.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let stream = envdir::with_socket_path(socket, |path| UnixStream::connect(path)).map_err(ClientError::Connect)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let sender = Asker { stream: stream.try_clone()?, next: Arc::new(AtomicU64::new(1)) };
        let mut client = Self { reader: BufReader::new(stream), sender };
        client.sender.stream.write_all(line(&Hello::ours())?.as_bytes())?;
        let theirs: Hello = serde_json::from_str(&client.read_line()?)?;
        if theirs.protocol != PROTOCOL {
            return Err(ClientError::Version { theirs: theirs.version, ours: Hello::ours().version });
        }
        client.sender.stream.set_read_timeout(None)?;
        Ok(client)
    }

    /// Another handle to ask with.
    pub fn asker(&self) -> Result<Asker, ClientError> {
        self.sender.try_clone()
    }

    /// Sends a request, and does not wait.
    pub fn send(&mut self, request: Request) -> Result<AskId, ClientError> {
        self.sender.send(request)
    }

    /// Waits for whatever comes next. `None` for what is no reply to one's own questions: it went to `notice`.
    pub fn wait_any(&mut self, notice: &mut dyn FnMut(Notice)) -> Result<Option<(AskId, Reply)>, ClientError> {
        match serde_json::from_str(&self.read_line()?)? {
            Answer::Reply { id, reply } => return Ok(Some((AskId(id), reply))),
            Answer::Notice(news) => notice(news),
            Answer::Lagged => notice(Notice::Message {
                level: Level::Warning,
                text: "this command was too slow to be told everything; `baistack ps` shows how things are".to_owned(),
            }),
            Answer::Misunderstood(text) => return Err(ClientError::Misunderstood(text)),
        }
        Ok(None)
    }

    /// Waits for the (next) answer to this request.
    pub fn wait(&mut self, id: AskId, notice: &mut dyn FnMut(Notice)) -> Result<Reply, ClientError> {
        loop {
            if let Some((answered, reply)) = self.wait_any(notice)?
                && answered == id
            {
                return Ok(reply);
            }
        }
    }

    /// Asks, and waits for the answer.
    pub fn request(&mut self, request: Request, notice: &mut dyn FnMut(Notice)) -> Result<Reply, ClientError> {
        let id = self.send(request)?;
        self.wait(id, notice)
    }

    fn read_line(&mut self) -> Result<String, ClientError> {
        let mut text = String::new();
        self.reader.by_ref().take(LINE_LIMIT).read_line(&mut text)?;
        if text.ends_with('\n') { Ok(text) } else { Err(ClientError::Ended) }
    }
}
