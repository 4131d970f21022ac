//! Holds the published port of a process that cannot take a socket (`proxy:`), and forwards to the port of its present life.
//!
//! A connection that comes while there is no life waits for the next one, so a restart refuses nobody. Bytes go through tasks of the
//! runtime; the loop thread only says which life there is.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener as StdListener;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::clock;
use crate::base::name::{ServiceName, UnitId};

/// Between two attempts to reach a life that does not listen yet.
const AGAIN: Duration = Duration::from_millis(20);
/// Between two attempts to take in a client when there is no descriptor for it.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// All ports that are held so.
#[derive(Debug)]
pub struct Proxy {
    runtime: Handle,
    fronts: Vec<Front>,
}

/// One port. Replicas that are published at one port share it, in turn.
#[derive(Debug)]
struct Front {
    service: ServiceName,
    address: String,
    lives: Arc<Lives>,
    task: AbortHandle,
}

/// The lives behind one port.
#[derive(Debug, Default)]
struct Lives {
    present: Mutex<Vec<(UnitId, Arc<Life>)>>,
    /// Told when one has come.
    come: Notify,
}

/// One life behind a port.
#[derive(Debug)]
pub struct Life {
    port: u16,
    /// Connections that it has not answered a byte to.
    unanswered: Mutex<usize>,
    fewer: Condvar,
}

impl Proxy {
    /// One that holds nothing yet; its work is done by this runtime.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, fronts: Vec::new() }
    }

    /// Listens at an address for a service, if it does not yet. An address without a host is every one of this host's.
    pub fn hold(&mut self, service: &ServiceName, address: &str) -> io::Result<()> {
        if self.front(service, address).is_some() {
            return Ok(());
        }
        let listener = bind(address)?;
        listener.set_nonblocking(true)?;
        let _inside = self.runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        let lives = Arc::new(Lives::default());
        let task = self.runtime.spawn(serve(listener, Arc::clone(&lives))).abort_handle();
        self.fronts.push(Front { service: service.clone(), address: address.to_owned(), lives, task });
        Ok(())
    }

    /// From now on connections go to this life of a unit, which will listen at this port of the host.
    pub fn begin(&self, unit: &UnitId, address: &str, port: u16) {
        let Some(front) = self.front(&unit.service, address) else { return };
        let life = Life { port, unanswered: Mutex::new(0), fewer: Condvar::new() };
        front.lives.present().push((unit.clone(), Arc::new(life)));
        front.lives.come.notify_waiters();
    }

    /// The port of a unit's present life.
    pub fn port_of(&self, unit: &UnitId) -> Option<u16> {
        self.fronts.iter().find_map(|front| Some(front.lives.present().iter().find(|(of, _)| of == unit)?.1.port))
    }

    /// No new connection goes to this unit's life any more. What has gone there can be waited for.
    pub fn end(&self, unit: &UnitId) -> Option<Arc<Life>> {
        self.fronts.iter().find_map(|front| {
            let mut present = front.lives.present();
            let at = present.iter().position(|(of, _)| of == unit)?;
            Some(present.remove(at).1)
        })
    }

    /// Closes the ports of all units but these, with their connections.
    pub fn keep(&mut self, units: &BTreeSet<UnitId>) {
        self.close(|front| units.iter().any(|unit| unit.service == front.service));
    }

    /// Closes the ports of a service but this one.
    pub fn keep_address(&mut self, service: &ServiceName, addresses: &[String]) {
        self.close(|front| front.service != *service || addresses.contains(&front.address));
    }

    fn close(&mut self, keep: impl Fn(&Front) -> bool) {
        self.fronts.retain(|front| {
            let kept = keep(front);
            if !kept {
                front.task.abort();
            }
            kept
        });
    }

    fn front(&self, service: &ServiceName, address: &str) -> Option<&Front> {
        self.fronts.iter().find(|front| front.service == *service && front.address == address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close(|_| false);
    }
}

impl Lives {
    fn present(&self) -> MutexGuard<'_, Vec<(UnitId, Arc<Life>)>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life whose turn it is; none while there is none.
    fn next(&self) -> Option<Turn> {
        let mut present = self.present();
        if present.is_empty() {
            return None;
        }
        present.rotate_left(1);
        let life = Arc::clone(&present.last()?.1);
        *life.unanswered() += 1;
        Some(Turn { life })
    }
}

impl Life {
    fn unanswered(&self) -> MutexGuard<'_, usize> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every connection that went to it has got an answer, or the beginning of one; at most so long.
    pub fn drain(&self, at_most: Duration) {
        let deadline = clock::deadline(at_most);
        let mut unanswered = self.unanswered();
        while *unanswered > 0 && !clock::is_past(deadline) {
            let waited = self.fewer.wait_timeout(unanswered, clock::until(deadline));
            unanswered = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A connection that a life has not answered yet.
struct Turn {
    life: Arc<Life>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.life.unanswered() -= 1;
        self.life.fewer.notify_all();
    }
}

fn bind(address: &str) -> io::Result<StdListener> {
    match address.strip_prefix(':') {
        // One socket for both families, where the host has both.
        Some(port) => StdListener::bind(format!("[::]:{port}")).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            _ => StdListener::bind(format!("0.0.0.0:{port}")),
        }),
        None => StdListener::bind(address),
    }
}

async fn serve(listener: TcpListener, lives: Arc<Lives>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                connections.spawn(forward(client, Arc::clone(&lives)));
            }
            Err(error) => {
                tracing::warn!("accept: {error}");
                sleep(ACCEPT_AGAIN).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Brings a client to a life, as soon as one listens.
async fn forward(mut client: TcpStream, lives: Arc<Lives>) {
    let (server, turn) = loop {
        // Made before the look, so that no life is missed.
        let come = lives.come.notified();
        let Some(turn) = lives.next() else {
            come.await;
            continue;
        };
        match connect(turn.life.port).await {
            Ok(server) => break (server, turn),
            // It does not listen yet, or no longer. Whatever comes first: its successor, or the next look.
            Err(_) => {
                drop(turn);
                let _ = timeout(AGAIN, come).await;
            }
        }
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // Who of the two goes away first is their own business.
    let _ = copy_bidirectional(&mut client, &mut Server { stream: server, turn: Some(turn) }).await;
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    match TcpStream::connect(("127.0.0.1", port)).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => TcpStream::connect(("::1", port)).await,
        other => other,
    }
}

/// The connection to a life; notes its first answer.
struct Server {
    stream: TcpStream,
    turn: Option<Turn>,
}

impl AsyncRead for Server {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        // Also an end, or a failure, is all that will be said.
        self.turn = None;
        Poll::Ready(read)
    }
}

impl AsyncWrite for Server {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A port of this host that nobody has now.
pub fn free_port() -> io::Result<u16> {
    StdListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    fn ask(port: u16) -> std::thread::JoinHandle<String> {
        let mut client = Client::connect(("127.0.0.1", port)).unwrap();
        std::thread::spawn(move || {
            client.write_all(b"?").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        })
    }

    /// Reads one question to its end and answers.
    fn answer(listener: &StdListener, text: &str) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = String::new();
        stream.read_to_string(&mut question).unwrap();
        assert_eq!(question, "?");
        stream.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn who_comes_while_there_is_no_life_or_none_that_listens_waits_for_one() {
        let runtime = runtime();
        let mut proxy = Proxy::new(runtime.handle().clone());
        let (front, unit): (u16, UnitId) = (free_port().unwrap(), "web:1".parse().unwrap());
        let address = format!("127.0.0.1:{front}");
        proxy.hold(&unit.service, &address).unwrap();
        let early = ask(front);
        let port = free_port().unwrap();
        proxy.begin(&unit, &address, port);
        assert_eq!(proxy.port_of(&unit), Some(port));
        let late = ask(front);
        let listener = StdListener::bind(("127.0.0.1", port)).unwrap();
        answer(&listener, "one");
        answer(&listener, "one");
        assert_eq!((early.join().unwrap(), late.join().unwrap()), ("one".to_owned(), "one".to_owned()));
        // The next life.
        proxy.end(&unit).unwrap().drain(Duration::from_secs(20));
        assert_eq!(proxy.port_of(&unit), None);
        let between = ask(front);
        let next = StdListener::bind("127.0.0.1:0").unwrap();
        proxy.begin(&unit, &address, next.local_addr().unwrap().port());
        answer(&next, "two");
        assert_eq!(between.join().unwrap(), "two");
        proxy.keep(&BTreeSet::new());
        let deadline = clock::deadline(Duration::from_secs(20));
        while Client::connect(("127.0.0.1", front)).is_ok() {
            assert!(!clock::is_past(deadline), "the port is still held");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_life_that_ends_is_waited_for_until_it_has_answered_what_it_was_given() {
        let runtime = runtime();
        let mut proxy = Proxy::new(runtime.handle().clone());
        let (front, unit): (u16, UnitId) = (free_port().unwrap(), "web:1".parse().unwrap());
        let address = format!("127.0.0.1:{front}");
        proxy.hold(&unit.service, &address).unwrap();
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        proxy.begin(&unit, &address, listener.local_addr().unwrap().port());
        let asking = ask(front);
        let (mut stream, _) = listener.accept().unwrap();
        let life = proxy.end(&unit).unwrap();
        life.drain(Duration::from_millis(20));
        assert_eq!(*life.unanswered(), 1);
        stream.write_all(b"!").unwrap();
        life.drain(Duration::from_secs(20));
        assert_eq!(*life.unanswered(), 0);
        drop(stream);
        assert_eq!(asking.join().unwrap(), "!");
    }
}
