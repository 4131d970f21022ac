//! The listening end: requests become events, replies and notices find their way back.
//!
//! A client that reads slowly slows nobody: what it has not fetched is kept in a queue of its own, and when that is full it
//! gets no more news (replies it gets always: they are few, one for each question).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::wire::{Answer, Ask, Hello, LINE_LIMIT, PROTOCOL, line};
use crate::supervisor::event::{Event, RequestId};
use crate::supervisor::notice::Notice;
use crate::supervisor::request::{Reply, Request};
use crate::world::envdir;

/// So many lines may wait for a client before it is told no more news.
const BACKLOG: usize = 4096;

/// A running server. It is to be ended by [`Server::finish`].
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    socket: PathBuf,
    accepting: tokio::task::JoinHandle<()>,
    /// Ends when the last connection's writer has.
    writers: mpsc::Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    events: Sender<Event>,
    registry: Mutex<Registry>,
    /// Cloned into each writer, so that [`Server::finish`] knows when all are done.
    alive: Mutex<Option<mpsc::Sender<()>>>,
}

#[derive(Debug, Default)]
struct Registry {
    last_connection: u64,
    last_request: u64,
    connections: BTreeMap<u64, Connection>,
    /// Whose question a request is, and the number it has there.
    requests: HashMap<RequestId, (u64, u64)>,
}

#[derive(Debug)]
struct Connection {
    lines: mpsc::UnboundedSender<Arc<str>>,
    waiting: Arc<AtomicUsize>,
    follows: bool,
    /// Its attached `up`, if any.
    lease: Option<RequestId>,
}

impl Connection {
    fn push(&self, text: Arc<str>) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The writer has gone: so will the reader, and then this entry.
        let _ = self.lines.send(text);
    }
}

impl Server {
    /// Listens. The caller holds the environment's lock: a socket file that is there already is a dead supervisor's.
    pub fn start(runtime: &Handle, socket: &Path, events: Sender<Event>) -> io::Result<Self> {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = envdir::with_socket_path(socket, |path| net::UnixListener::bind(path))?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let _context = runtime.enter();
        let listener = UnixListener::from_std(listener)?;
        let (alive, writers) = mpsc::channel(1);
        let shared = Arc::new(Shared { events, registry: Mutex::default(), alive: Mutex::new(Some(alive)) });
        let accepting = runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared, socket: socket.to_owned(), accepting, writers })
    }

    /// Answers a request; one whose client has gone away is not answered.
    pub fn reply(&self, id: RequestId, reply: Reply) {
        let registry = self.shared.registry();
        let Some(&(connection, id)) = registry.requests.get(&id) else { return };
        let Some(connection) = registry.connections.get(&connection) else { return };
        connection.push(encoded(&Answer::Reply { id, reply }));
    }

    /// Tells those who follow.
    pub fn tell(&self, notice: Notice) {
        let mut registry = self.shared.registry();
        let followers = registry.connections.values_mut().filter(|connection| connection.follows);
        let mut text = None;
        for follower in followers {
            if follower.waiting.load(Ordering::Relaxed) < BACKLOG {
                let text: &Arc<str> = text.get_or_insert_with(|| encoded(&Answer::Notice(notice.clone())));
                follower.push(Arc::clone(text));
            } else {
                follower.follows = false;
                follower.push(encoded(&Answer::Lagged));
            }
        }
    }

    /// Stops listening, removes the socket, and waits until everybody has what is due to them, though not for ever.
    pub fn finish(mut self, runtime: &Handle, patience: Duration) {
        self.accepting.abort();
        // It fails when somebody was faster, and then there is nothing to do.
        let _ = std::fs::remove_file(&self.socket);
        self.shared.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A writer ends when its queue does.
        self.shared.registry().connections.clear();
        runtime.block_on(async {
            let _ = tokio::time::timeout(patience, self.writers.recv()).await;
        });
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // The registry is whole between any two statements that hold it, so a panic elsewhere does not spoil it.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_machine(&self, event: Event) {
        // The loop has ended: so will this connection.
        let _ = self.events.send(event);
    }
}

fn encoded(answer: &Answer) -> Arc<str> {
    match line(answer) {
        Ok(text) => text.into(),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            "\"lagged\"\n".into()
        }
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if is_welcome(&stream) {
                    tokio::spawn(serve(stream, Arc::clone(&shared)));
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: to try again at once would only heat the processor.
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Only our own user and root may talk to us. The directory's mode says the same; this holds where somebody changed it.
fn is_welcome(stream: &UnixStream) -> bool {
    match stream.peer_cred() {
        Ok(peer) => peer.uid() == envdir::own_uid() || peer.uid() == 0,
        Err(error) => {
            tracing::warn!(%error, "a client without credentials was sent away");
            false
        }
    }
}

async fn serve(stream: UnixStream, shared: Arc<Shared>) {
    let Some(alive) = shared.alive.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return };
    let (reader, writer) = stream.into_split();
    let (lines, queue) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let connection = Connection { lines, waiting: Arc::clone(&waiting), follows: false, lease: None };
    let number = {
        let mut registry = shared.registry();
        registry.last_connection += 1;
        let number = registry.last_connection;
        registry.connections.insert(number, connection);
        number
    };
    tokio::spawn(write(writer, queue, waiting, alive));
    if let Err(error) = converse(reader, number, &shared).await {
        tracing::debug!(%error, "a client's connection ended");
    }
    leave(number, &shared);
}

async fn write(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Arc<str>>,
    waiting: Arc<AtomicUsize>,
    _alive: mpsc::Sender<()>,
) {
    while let Some(text) = queue.recv().await {
        if writer.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn converse(reader: OwnedReadHalf, number: u64, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    let push = |answer: Arc<str>| {
        if let Some(connection) = shared.registry().connections.get(&number) {
            connection.push(answer);
        }
    };
    let misunderstood = |error: serde_json::Error| push(encoded(&Answer::Misunderstood(error.to_string())));

    let Some(text) = read_line(&mut reader).await? else { return Ok(()) };
    let hello: Hello = match serde_json::from_slice(&text) {
        Ok(hello) => hello,
        Err(error) => return Ok(misunderstood(error)),
    };
    push(line(&Hello::ours())?.into());
    if hello.protocol != PROTOCOL {
        // It compares for itself and tells its user.
        return Ok(());
    }
    while let Some(text) = read_line(&mut reader).await? {
        match serde_json::from_slice(&text) {
            Ok(ask) => admit(ask, number, shared),
            Err(error) => return Ok(misunderstood(error)),
        }
    }
    Ok(())
}

/// The next line without its end; `None` at the end of the connection, or of a client's good manners.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    reader.take(LINE_LIMIT).read_until(b'\n', &mut text).await?;
    Ok((text.pop() == Some(b'\n')).then_some(text))
}

fn admit(ask: Ask, number: u64, shared: &Shared) {
    let mut registry = shared.registry();
    registry.last_request += 1;
    let id = RequestId(registry.last_request);
    let Some(connection) = registry.connections.get_mut(&number) else { return };
    connection.follows |= wants_news(&ask.request);
    let event = match ask.request {
        // The machine knows leases by their `up`, so it hears of this under that number.
        Request::Detach => {
            let lease = connection.lease.take();
            let changed = lease.is_some();
            connection.push(encoded(&Answer::Reply { id: ask.id, reply: Reply::Done { changed, warnings: Vec::new() } }));
            lease.map(|up| Event::Request(up, Request::Detach))
        }
        request => {
            if matches!(&request, Request::Up(up) if up.attached) {
                connection.lease = Some(id);
            }
            registry.requests.insert(id, (number, ask.id));
            Some(Event::Request(id, request))
        }
    };
    if let Some(event) = event {
        // Under the lock, so that the machine hears of requests in the order of their numbers.
        shared.tell_machine(event);
    }
}

/// Whether a client that asks this is told what happens meanwhile.
fn wants_news(request: &Request) -> bool {
    match request {
        Request::Up(_)
        | Request::Stop(_)
        | Request::Start(_)
        | Request::Restart(_)
        | Request::Kill(_)
        | Request::Down(_)
        | Request::Remove(_)
        | Request::Follow => true,
        Request::Status | Request::Why { .. } | Request::Deployment | Request::Detach => false,
    }
}

fn leave(number: u64, shared: &Shared) {
    let mut registry = shared.registry();
    registry.connections.remove(&number);
    let mut gone: Vec<RequestId> =
        registry.requests.extract_if(|_, (connection, _)| *connection == number).map(|(id, _)| id).collect();
    gone.sort();
    for id in gone {
        shared.tell_machine(Event::Disconnected(id));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, Write};

    use crossbeam_channel::Receiver;

    use super::*;
    use crate::control::client::{Client, ClientError};
    use crate::supervisor::request::Stop;

    const PATIENCE: Duration = Duration::from_secs(10);

    struct Fixture {
        dir: tempfile::TempDir,
        runtime: tokio::runtime::Runtime,
        server: Server,
        events: Receiver<Event>,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let (sender, events) = crossbeam_channel::unbounded();
            let server = Server::start(runtime.handle(), &dir.path().join("control.sock"), sender).unwrap();
            Self { dir, runtime, server, events }
        }

        fn client(&self) -> Client {
            Client::connect(&self.dir.path().join("control.sock")).unwrap()
        }

        fn next_request(&self) -> (RequestId, Request) {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                Event::Request(id, request) => (id, request),
                other => panic!("{other:?}"),
            }
        }
    }

    fn done() -> Reply {
        Reply::Done { changed: true, warnings: vec![] }
    }

    #[test]
    fn a_request_is_answered_and_its_client_hears_the_news_before() {
        let fixture = Fixture::new();
        let mut client = fixture.client();
        let id = client.send(Request::Stop(Stop::default())).unwrap();
        let (request, _) = fixture.next_request();
        fixture.server.tell(Notice::Settled);
        fixture.server.reply(request, done());
        let mut news = Vec::new();
        assert_eq!(client.wait(id, &mut |notice| news.push(notice)).unwrap(), done());
        assert_eq!(news, [Notice::Settled]);
    }

    #[test]
    fn a_client_that_goes_away_is_told_to_the_machine() {
        let fixture = Fixture::new();
        let mut client = fixture.client();
        client.send(Request::Follow).unwrap();
        let (request, _) = fixture.next_request();
        drop(client);
        assert!(matches!(fixture.events.recv_timeout(PATIENCE), Ok(Event::Disconnected(id)) if id == request));
    }

    #[test]
    fn who_only_asks_is_told_no_news() {
        let fixture = Fixture::new();
        let mut client = fixture.client();
        let id = client.send(Request::Deployment).unwrap();
        let (request, _) = fixture.next_request();
        fixture.server.tell(Notice::Settled);
        fixture.server.reply(request, Reply::Deployment(None));
        client.wait(id, &mut |notice| panic!("{notice:?}")).unwrap();
    }

    #[test]
    fn a_slow_follower_slows_nobody_and_still_gets_its_reply() {
        let fixture = Fixture::new();
        let mut client = fixture.client();
        let id = client.send(Request::Follow).unwrap();
        let (request, _) = fixture.next_request();
        let text = "x".repeat(1000);
        for _ in 0..BACKLOG * 2 {
            fixture.server.tell(Notice::Message { level: crate::supervisor::notice::Level::Info, text: text.clone() });
        }
        fixture.server.reply(request, done());
        let mut last = None;
        assert_eq!(client.wait(id, &mut |notice| last = Some(notice)).unwrap(), done());
        let Some(Notice::Message { text, .. }) = last else { panic!("{last:?}") };
        assert!(text.contains("too slow"), "{text}");
    }

    #[test]
    fn replies_arrive_though_the_server_ends_at_once() {
        let fixture = Fixture::new();
        let mut client = fixture.client();
        let id = client.send(Request::Status).unwrap();
        let (request, _) = fixture.next_request();
        fixture.server.reply(request, done());
        fixture.server.finish(fixture.runtime.handle(), PATIENCE);
        assert!(!fixture.dir.path().join("control.sock").exists());
        assert_eq!(client.wait(id, &mut |_| {}).unwrap(), done());
        assert!(matches!(client.wait(id, &mut |_| {}), Err(ClientError::Ended)));
    }

    #[test]
    fn another_version_is_told_apart() {
        let fixture = Fixture::new();
        let mut stream = net::UnixStream::connect(fixture.dir.path().join("control.sock")).unwrap();
        stream.write_all(b"{\"baistack\":99,\"version\":\"9.9.9\"}\n").unwrap();
        let mut text = String::new();
        io::BufReader::new(&stream).read_line(&mut text).unwrap();
        assert_eq!(serde_json::from_str::<Hello>(&text).unwrap(), Hello::ours());
    }

    #[test]
    fn a_socket_left_by_a_dead_supervisor_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        drop(net::UnixListener::bind(&socket).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, _events) = crossbeam_channel::unbounded();
        let _server = Server::start(runtime.handle(), &socket, sender).unwrap();
        Client::connect(&socket).unwrap();
    }
}
