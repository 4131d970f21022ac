//! Holds the published port of a process that cannot take a socket (`proxy:`), and forwards to the port of its present life.
//!
//! A connection that comes while there is no life waits for the next one, so a restart refuses nobody. Those who wait are so many
//! at most that descriptors are left for everything else; the next stay in the kernel's queue. Bytes go through tasks of the
//! runtime; the loop thread only says which life there is.

mod lives;

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener as StdListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

pub use self::lives::Life;
use self::lives::{Lives, Turn, is_left_by};
use crate::base::name::{ServiceName, UnitId};

/// Between two attempts to take in a client when there is no descriptor for it.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// All ports that are held so.
#[derive(Debug)]
pub struct Proxy {
    runtime: Handle,
    fronts: Vec<Front>,
    /// So many clients may wait at each port.
    places: usize,
}

/// One port. Replicas that are published at one port share it, in turn.
#[derive(Debug)]
struct Front {
    service: ServiceName,
    address: String,
    lives: Arc<Lives>,
    task: AbortHandle,
}

impl Proxy {
    /// One that holds nothing yet; its work is done by this runtime.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, fronts: Vec::new(), places: places() }
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
        let lives = Arc::new(Lives::new(self.places));
        let task = self.runtime.spawn(serve(listener, Arc::clone(&lives))).abort_handle();
        self.fronts.push(Front { service: service.clone(), address: address.to_owned(), lives, task });
        Ok(())
    }

    /// From now on connections go to this life of a unit, which will listen at this port of the host.
    pub fn begin(&self, unit: &UnitId, address: &str, port: u16) {
        if let Some(front) = self.front(&unit.service, address) {
            front.lives.begin(unit, port);
        }
    }

    /// The port of a unit's present life.
    #[cfg(test)]
    fn port_of(&self, unit: &UnitId) -> Option<u16> {
        self.fronts.iter().find_map(|front| Some(front.lives.of(unit)?.port))
    }

    /// No new connection goes to this unit's life any more. What has gone there can be waited for.
    pub fn end(&self, unit: &UnitId) -> Option<Arc<Life>> {
        self.fronts.iter().find_map(|front| front.lives.end(unit))
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

/// An eighth of the descriptors that we may have, which is little for a few ports and still something where we have few.
fn places() -> usize {
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    usize::try_from(most / 8).unwrap_or(usize::MAX).clamp(8, 512)
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
                // Nobody closes them.
                let Ok(place) = Arc::clone(&lives.places).acquire_owned().await else { return };
                connections.spawn(forward(client, Arc::clone(&lives), place));
            }
            Err(error) => {
                tracing::warn!("accept: {error}");
                sleep(ACCEPT_AGAIN).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Brings a client to a life, as soon as one listens, if it is still there then.
async fn forward(mut client: TcpStream, lives: Arc<Lives>, place: OwnedSemaphorePermit) {
    let (server, turn) = tokio::select! {
        // Who has asked and gone may have a life in front of it all the same.
        biased;
        reached = lives.reach() => reached,
        () = is_left_by(&client) => return,
    };
    drop(place);
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // Who of the two goes away first is their own business.
    let _ = copy_bidirectional(&mut client, &mut Server { stream: server, turn: Some(turn) }).await;
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
    use crate::world::clock;

    fn until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = clock::deadline(Duration::from_secs(20));
        while !is_so() {
            assert!(!clock::is_past(deadline), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Closed, it says nothing more: as if its host had been cut off.
    fn cut_off(client: &Client) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(client, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    }

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
        until("the port is free", || Client::connect(("127.0.0.1", front)).is_err());
    }

    #[test]
    fn who_waits_has_a_place_and_who_goes_away_gives_it_back() {
        let runtime = runtime();
        let mut proxy = Proxy::new(runtime.handle().clone());
        assert!((8..=512).contains(&proxy.places));
        proxy.places = 3;
        let (front, unit): (u16, UnitId) = (free_port().unwrap(), "web:1".parse().unwrap());
        let address = format!("127.0.0.1:{front}");
        proxy.hold(&unit.service, &address).unwrap();
        let free = |proxy: &Proxy| proxy.fronts[0].lives.places.available_permits();
        let come = || Client::connect(("127.0.0.1", front)).unwrap();
        // There is no life, and then one that does not listen.
        let port = free_port().unwrap();
        for is_there in [false, true] {
            if is_there {
                proxy.begin(&unit, &address, port);
            }
            let (silent, mut asking) = (come(), come());
            asking.write_all(b"?").unwrap();
            cut_off(&asking);
            until("two wait", || free(&proxy) == 1);
            drop((silent, asking));
            until("both have gone", || free(&proxy) == 3);
        }
        // More than there are places for: the others wait outside, and nobody is refused.
        let asked: Vec<_> = (0..6).map(|_| ask(front)).collect();
        until("all places are taken", || free(&proxy) == 0);
        let listener = StdListener::bind(("127.0.0.1", port)).unwrap();
        (0..6).for_each(|_| answer(&listener, "here"));
        asked.into_iter().for_each(|asked| assert_eq!(asked.join().unwrap(), "here"));
        until("all places are free", || free(&proxy) == 3);
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
