//! The supervisor's side of the control socket: requests become events, answers and notices go back.
//!
//! A slow or stopped client hinders nobody: what it has not fetched waits in a queue of its own, and when that is full it gets
//! no more news. Replies it gets always: they are few.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::wire::{Asked, Hello, Told, VERSION, line};
use crate::supervisor::event::{Event, RequestId};
use crate::supervisor::notice::{Level, Notice};
use crate::supervisor::request::{Reply, Request};
use crate::world::envdir::{own_uid, with_socket_path};

/// Lines that may wait for a client before it is told no more news.
const BACKLOG: usize = 10_000;

/// How long a client may take to fetch what is still due to it when its connection ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where answers and notices go.
#[derive(Debug, Clone, Default)]
pub struct Hub {
    /// Whether this is a command that carries out its own request, and that of others who come meanwhile.
    passing: bool,
    book: Arc<Mutex<Book>>,
    /// Woken when a writer has ended.
    written: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Book {
    connections: HashMap<u64, Connection>,
    /// Request → connection and the client's own number.
    requests: HashMap<RequestId, (u64, u64)>,
    next_connection: u64,
    next_request: u64,
    writers: usize,
}

#[derive(Debug)]
struct Connection {
    lines: mpsc::UnboundedSender<Arc<str>>,
    waiting: Arc<AtomicUsize>,
    /// It has fallen behind: replies only.
    deaf: bool,
}

impl Connection {
    fn send(&self, text: Arc<str>) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Its writer has ended with an error: the reader will see the same.
        let _ = self.lines.send(text);
    }
}

impl Hub {
    /// That of a command which carries out one request, where no supervisor lives.
    pub fn passing() -> Self {
        Self { passing: true, ..Self::default() }
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request. It stays known: a foreground `up` is answered twice.
    pub fn reply(&self, id: RequestId, reply: Reply) {
        let book = self.book();
        let Some(&(connection, number)) = book.requests.get(&id) else { return };
        let Some(connection) = book.connections.get(&connection) else { return };
        connection.send(line(&Told::Reply { id: number, reply: Box::new(reply) }).into());
    }

    /// Tells everybody who is connected. Who has fallen behind is told so, once, and keeps its connection: a stopped terminal
    /// (Ctrl-Z) is no wish to stop the services.
    pub fn tell(&self, notice: Notice) {
        let mut book = self.book();
        let mut listening = book.connections.values_mut().filter(|connection| !connection.deaf).peekable();
        if listening.peek().is_none() {
            return;
        }
        let text: Arc<str> = line(&Told::Notice(Box::new(notice))).into();
        for connection in listening {
            if connection.waiting.load(Ordering::Relaxed) < BACKLOG {
                connection.send(Arc::clone(&text));
            } else {
                connection.deaf = true;
                connection.send(line(&Told::Notice(Box::new(lagged()))).into());
            }
        }
    }

    /// Ends all connections once everybody has fetched what is due to them, though not for ever.
    pub async fn finish(&self) {
        // A writer ends when its queue does.
        self.book().connections.clear();
        let all_written = async {
            loop {
                // Made before the count is read, so that no end is missed.
                let written = self.written.notified();
                if self.book().writers == 0 {
                    return;
                }
                written.await;
            }
        };
        // Who does not read by then does not read.
        let _ = timeout(FAREWELL, all_written).await;
    }

    /// A new connection and the queue of what is to be written to it.
    fn enter(&self, writer: OwnedWriteHalf) -> u64 {
        let (lines, queue) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let connection = Connection { lines, waiting: Arc::clone(&waiting), deaf: false };
        connection.send(line(&Hello { passing: self.passing, ..Hello::ours() }).into());
        let number = {
            let mut book = self.book();
            book.next_connection += 1;
            book.writers += 1;
            let number = book.next_connection;
            book.connections.insert(number, connection);
            number
        };
        let hub = self.clone();
        tokio::spawn(async move {
            write(writer, queue, &waiting).await;
            hub.book().writers -= 1;
            hub.written.notify_waiters();
        });
        number
    }

    /// Forgets a connection. What is still due to it is written all the same.
    fn leave(&self, connection: u64) {
        let mut book = self.book();
        book.connections.remove(&connection);
        book.requests.retain(|_, (owner, _)| *owner != connection);
    }
}

fn lagged() -> Notice {
    let text = "this command was too slow to be told everything; `ps` shows how things are".to_owned();
    Notice::Message { level: Level::Warning, text }
}

async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Arc<str>>, waiting: &AtomicUsize) {
    while let Some(text) = queue.recv().await {
        if writer.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Binds the socket, for its owner alone. What a crash left in its place is removed: the caller holds the lock.
pub fn bind(socket: &Path) -> io::Result<StdListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = with_socket_path(socket, |path| StdListener::bind(path))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Between two attempts to take in a client when there is no descriptor for it.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Serves until the runtime ends.
pub async fn serve(listener: StdListener, hub: Hub, events: Sender<Event>) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the control socket cannot be served: {error}"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let user = stream.peer_cred().map(|peer| peer.uid());
                match user {
                    Ok(uid) if uid == own_uid() || uid == 0 => {
                        tokio::spawn(converse(stream, hub.clone(), events.clone()));
                    }
                    Ok(uid) => tracing::warn!("user {uid} may not talk to this supervisor"),
                    Err(error) => tracing::warn!("a client without a user: {error}"),
                }
            }
            // Out of descriptors: the client waits in the queue until there are some, and nothing tells when.
            Err(error) => {
                tracing::warn!("accept: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, hub: Hub, events: Sender<Event>) {
    let (reader, writer) = stream.into_split();
    let connection = hub.enter(writer);
    let mut reader = BufReader::new(reader);
    let mut mine: Vec<RequestId> = Vec::new();
    let mut last_up = None;
    let mut text = String::new();
    let greeted = matches!(reader.read_line(&mut text).await, Ok(n) if n > 0)
        && serde_json::from_str::<Hello>(&text).is_ok_and(|hello| hello.baistack == VERSION);
    #[expect(clippy::while_immutable_condition, reason = "a client that did not greet is not heard; the loop ends by its breaks")]
    while greeted {
        text.clear();
        match reader.read_line(&mut text).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let Ok(asked) = serde_json::from_str::<Asked>(&text) else {
            tracing::warn!("a request that cannot be understood: {}", text.trim_end().chars().take(200).collect::<String>());
            break;
        };
        let id = match (&asked.request, last_up, mine.last()) {
            // They speak of the `up` before them, whatever else was asked meanwhile.
            (Request::Detach, Some(up), _) => {
                hub.book().requests.insert(up, (connection, asked.id));
                up
            }
            (Request::Attached { .. }, Some(up), _) => up,
            // It has no answer of its own.
            (Request::CallOff, _, Some(last)) => *last,
            (Request::CallOff, _, None) => continue,
            _ => {
                let mut book = hub.book();
                book.next_request += 1;
                let id = RequestId(book.next_request);
                book.requests.insert(id, (connection, asked.id));
                id
            }
        };
        if !matches!(
            asked.request,
            Request::Status
                | Request::Why { .. }
                | Request::Deployment
                | Request::Follow
                | Request::Detach
                | Request::CallOff
                | Request::Attached { .. }
        ) {
            mine.push(id);
        }
        if matches!(asked.request, Request::Up(_)) {
            last_up = Some(id);
        }
        if events.send(Event::Request(id, asked.request)).is_err() {
            break;
        }
    }
    hub.leave(connection);
    for id in mine {
        // The loop may have ended already; then there is nobody to tell.
        let _ = events.send(Event::Disconnected(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client::Client;
    use crate::model::stack::Stack;
    use crate::plan::desired::{Caller, Deployment, Places};
    use crate::supervisor::request::Up;

    fn served(
        name: &str,
    ) -> (tempfile::TempDir, std::path::PathBuf, Hub, crossbeam_channel::Receiver<Event>, tokio::runtime::Runtime) {
        let dir = tempfile::tempdir().unwrap();
        // Longer than a socket's address may be.
        let socket = dir.path().join("x".repeat(120)).join(name);
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, receiver) = crossbeam_channel::unbounded();
        let hub = Hub::default();
        let listener = bind(&socket).unwrap();
        runtime.spawn(serve(listener, hub.clone(), sender));
        (dir, socket, hub, receiver, runtime)
    }

    #[test]
    fn a_request_is_answered_and_its_end_is_told() {
        let (_dir, socket, hub, receiver, _runtime) = served("a.sock");
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let answering = std::thread::spawn(move || {
            let wait = std::time::Duration::from_secs(10);
            let Event::Request(id, Request::Stop(_)) = receiver.recv_timeout(wait).unwrap() else { panic!("another event") };
            hub.tell(Notice::Settled);
            hub.reply(id, Reply::Done { changed: true, warnings: Vec::new() });
            let Event::Disconnected(gone) = receiver.recv_timeout(wait).unwrap() else { panic!("another event") };
            assert_eq!(gone, id);
        });
        let mut client = Client::connect(&socket).unwrap();
        let mut notices = Vec::new();
        let reply =
            client.ask(Request::Stop(crate::supervisor::request::Stop::default()), |notice| notices.push(notice)).unwrap();
        assert_eq!(reply, Reply::Done { changed: true, warnings: Vec::new() });
        assert_eq!(notices, [Notice::Settled]);
        drop(client);
        answering.join().unwrap();
    }

    #[test]
    fn a_word_that_somebody_is_attached_is_about_the_up_of_the_connection() {
        let (_dir, socket, _hub, receiver, _runtime) = served("a.sock");
        let client = Client::connect(&socket).unwrap();
        let voice = client.voice();
        let deployment = Deployment {
            env: "a".parse().unwrap(),
            stack: Stack::default(),
            caller: Caller::default(),
            places: Places::default(),
        };
        voice.send(Request::Up(Box::new(Up::of(deployment)))).unwrap();
        voice.send(Request::Status).unwrap();
        voice.send(Request::Attached { unit: "web:1".parse().unwrap(), container: "id".to_owned() }).unwrap();
        voice.hang_up();
        let events: Vec<Event> = (0..4).map(|_| receiver.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        let [
            Event::Request(up, Request::Up(_)),
            Event::Request(other, Request::Status),
            Event::Request(attached, Request::Attached { .. }),
            Event::Disconnected(gone),
        ] = &events[..]
        else {
            panic!("others: {events:?}")
        };
        assert!(attached == up && gone == up && other != up, "{events:?}");
        assert!(receiver.is_empty(), "one end is told once");
    }

    #[test]
    fn a_client_that_does_not_read_slows_nobody_and_still_gets_its_answer() {
        let (_dir, socket, hub, receiver, _runtime) = served("a.sock");
        let mut client = Client::connect(&socket).unwrap();
        let asked = client.voice().send(Request::Stop(crate::supervisor::request::Stop::default())).unwrap();
        let Ok(Event::Request(id, _)) = receiver.recv_timeout(Duration::from_secs(10)) else { panic!("another event") };
        for _ in 0..BACKLOG * 2 {
            hub.tell(Notice::Message { level: Level::Info, text: "x".repeat(200) });
        }
        hub.reply(id, Reply::Done { changed: true, warnings: Vec::new() });
        let mut last = None;
        loop {
            match client.hear().unwrap() {
                Told::Notice(notice) => last = Some(*notice),
                Told::Reply { id, .. } => break assert_eq!(id, asked),
            }
        }
        assert_eq!(last, Some(lagged()));
    }

    #[test]
    fn what_is_due_is_written_though_the_supervisor_ends() {
        let (_dir, socket, hub, receiver, runtime) = served("a.sock");
        let mut client = Client::connect(&socket).unwrap();
        let asked = client.voice().send(Request::Status).unwrap();
        let Ok(Event::Request(id, _)) = receiver.recv_timeout(Duration::from_secs(10)) else { panic!("another event") };
        hub.reply(id, Reply::Deployment(None));
        runtime.block_on(hub.finish());
        runtime.shutdown_background();
        assert_eq!(client.hear().unwrap(), Told::Reply { id: asked, reply: Box::new(Reply::Deployment(None)) });
        assert!(matches!(client.hear(), Err(crate::control::client::ClientError::Gone(_))));
    }

    #[test]
    fn a_client_of_another_version_learns_ours() {
        use std::io::{BufRead, Write};
        let (_dir, socket, _hub, _receiver, _runtime) = served("a.sock");
        let mut stream = with_socket_path(&socket, |path| std::os::unix::net::UnixStream::connect(path)).unwrap();
        stream.write_all(b"{\"baistack\":99,\"version\":\"9.9\",\"pid\":1}\n").unwrap();
        let mut text = String::new();
        std::io::BufReader::new(&stream).read_line(&mut text).unwrap();
        assert_eq!(serde_json::from_str::<Hello>(&text).unwrap(), Hello::ours());
    }

    #[test]
    fn a_socket_that_a_crash_left_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        drop(bind(&socket).unwrap());
        assert!(matches!(Client::connect(&socket), Err(crate::control::client::ClientError::Nobody { .. })));
        bind(&socket).unwrap();
    }
}
