//! The supervisor's side of the control socket: requests become events, answers and notices go back.
//!
//! A slow or stopped client hinders nobody: what it does not read in time is lost to it, and it is let go.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::wire::{Asked, Hello, Told, VERSION, line};
use crate::supervisor::event::{Event, RequestId};
use crate::supervisor::notice::Notice;
use crate::supervisor::request::{Reply, Request};
use crate::world::envdir::{own_uid, with_socket_path};

/// Lines that may wait for a client.
const PATIENCE: usize = 10_000;

/// Where answers and notices go.
#[derive(Debug, Clone, Default)]
pub struct Hub(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    connections: HashMap<u64, mpsc::Sender<Arc<str>>>,
    /// Request → connection and the client's own number.
    requests: HashMap<RequestId, (u64, u64)>,
    next_connection: u64,
    next_request: u64,
}

impl Hub {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request. It stays known: a foreground `up` is answered twice.
    pub fn reply(&self, id: RequestId, reply: Reply) {
        let mut book = self.book();
        let Some(&(connection, number)) = book.requests.get(&id) else { return };
        let text: Arc<str> = line(&Told::Reply { id: number, reply: Box::new(reply) }).into();
        book.send(connection, text);
    }

    /// Tells everybody who is connected.
    pub fn tell(&self, notice: Notice) {
        let mut book = self.book();
        if book.connections.is_empty() {
            return;
        }
        let text: Arc<str> = line(&Told::Notice(Box::new(notice))).into();
        let all: Vec<u64> = book.connections.keys().copied().collect();
        for connection in all {
            book.send(connection, text.clone());
        }
    }
}

impl Book {
    fn send(&mut self, connection: u64, text: Arc<str>) {
        let full = self.connections.get(&connection).is_some_and(|sender| sender.try_send(text).is_err());
        if full {
            // Dropping the sender ends its writer, which ends the connection.
            self.connections.remove(&connection);
        }
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
            // Out of descriptors: the next client may find some.
            Err(error) => tracing::warn!("accept: {error}"),
        }
    }
}

async fn converse(stream: UnixStream, hub: Hub, events: Sender<Event>) {
    let (reader, mut writer) = stream.into_split();
    let (sender, mut lines) = mpsc::channel::<Arc<str>>(PATIENCE);
    let connection = {
        let mut book = hub.book();
        book.next_connection += 1;
        let connection = book.next_connection;
        book.connections.insert(connection, sender);
        connection
    };
    let writing = tokio::spawn(async move {
        if writer.write_all(line(&Hello::ours()).as_bytes()).await.is_err() {
            return;
        }
        while let Some(text) = lines.recv().await {
            if writer.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut reader = BufReader::new(reader);
    let mut mine: Vec<RequestId> = Vec::new();
    let mut text = String::new();
    let greeted = matches!(reader.read_line(&mut text).await, Ok(n) if n > 0)
        && serde_json::from_str::<Hello>(&text).is_ok_and(|hello| hello.baistack == VERSION);
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
        let id = match (&asked.request, mine.last()) {
            // It speaks of the `up` before it.
            (Request::Detach, Some(&up)) => {
                hub.book().requests.insert(up, (connection, asked.id));
                up
            }
            _ => {
                let mut book = hub.book();
                book.next_request += 1;
                let id = RequestId(book.next_request);
                book.requests.insert(id, (connection, asked.id));
                id
            }
        };
        if !matches!(asked.request, Request::Status | Request::Why { .. } | Request::Deployment | Request::Follow | Request::Detach) {
            mine.push(id);
        }
        if events.send(Event::Request(id, asked.request)).is_err() {
            break;
        }
    }
    {
        let mut book = hub.book();
        book.connections.remove(&connection);
        book.requests.retain(|_, (owner, _)| *owner != connection);
    }
    for id in mine {
        // The loop may have ended already; then there is nobody to tell.
        let _ = events.send(Event::Disconnected(id));
    }
    writing.abort();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client::Client;

    fn served(name: &str) -> (tempfile::TempDir, std::path::PathBuf, Hub, crossbeam_channel::Receiver<Event>, tokio::runtime::Runtime) {
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
        let reply = client.ask(Request::Stop(crate::supervisor::request::Stop::default()), |notice| notices.push(notice)).unwrap();
        assert_eq!(reply, Reply::Done { changed: true, warnings: Vec::new() });
        assert_eq!(notices, [Notice::Settled]);
        drop(client);
        answering.join().unwrap();
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
