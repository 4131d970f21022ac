//! A registry with a password on this host (Debian's `docker-registry`), and a connection to it that a test may hold up or break.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::sandbox::until;

pub(crate) const USER: &str = "dev";
pub(crate) const PASSWORD: &str = "s3cret";
/// `htpasswd -nbBC 4 dev s3cret`
const ENTRY: &str = "dev:$2b$04$MwdwPovfv4gxPVzIqktKUOfcGqRlh9ESTriF0BM2zDPg6.kdvE9qS\n";

/// On so many ports a registry is tried.
const TRIES: u32 = 5;

pub(crate) struct Registry {
    server: Child,
    connection: Connection,
    _place: tempfile::TempDir,
}

impl Registry {
    /// None, said aloud, where it is not installed.
    pub(crate) fn serve(name: &str) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("passwords"), ENTRY).unwrap();
        // Somebody else may take the port that was free a moment ago: the registry ends then, and another port is tried.
        for _ in 0..TRIES {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let Ok(mut server) = Self::begin(place.path(), port) else {
                eprintln!("{name} skipped: no docker-registry");
                return None;
            };
            let behind = SocketAddr::from(([127, 0, 0, 1], port));
            let mut has_ended = false;
            until("the registry answers or ends", || {
                has_ended = server.try_wait().unwrap().is_some();
                has_ended || is_of(place.path(), behind)
            });
            if !has_ended {
                return Some(Self { server, connection: Connection::to(behind), _place: place });
            }
        }
        panic!("{name}: the registry does not come up on any of {TRIES} ports");
    }

    fn begin(place: &Path, port: u16) -> io::Result<Child> {
        let path = |name: &str| place.join(name);
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nauth: {{htpasswd: {{realm: '{}', path: {}}}}}\n",
            path("data").display(),
            place.display(),
            path("passwords").display()
        );
        std::fs::write(path("config.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(path("config.yml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn()
    }

    /// Where it is reached: over the connection that can be held up.
    pub(crate) fn address(&self) -> SocketAddr {
        self.connection.address
    }

    /// What `docker login` writes.
    pub(crate) fn login(&self, password: &str) -> String {
        let secret = base64(format!("{USER}:{password}").as_bytes());
        format!(r#"{{"auths": {{"{}": {{"auth": "{secret}"}}}}}}"#, self.address())
    }

    /// Breaks off all that goes on, and the next connections as soon as they are asked something.
    pub(crate) fn break_off(&self, next: usize) {
        let mut state = self.connection.state.lock().unwrap();
        state.to_break = next;
        state.open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    /// How many connections are still to be broken off.
    pub(crate) fn to_break(&self) -> usize {
        self.connection.state.lock().unwrap().to_break
    }

    /// Lets so many bytes of answers pass, and holds what follows until it is let go.
    pub(crate) fn hold_after(&self, bytes: u64) {
        self.connection.state.lock().unwrap().allowed = bytes;
    }

    pub(crate) fn let_go(&self) {
        self.hold_after(u64::MAX);
        self.connection.changed.notify_all();
    }
}

/// Whether it is the registry of this place that answers, which names it to whoever has no password.
fn is_of(place: &Path, address: SocketAddr) -> bool {
    let answer = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        io::Result::Ok(answer)
    };
    answer().is_ok_and(|answer| answer.contains(&place.display().to_string()))
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

/// Passes on what goes to and fro.
struct Connection {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: Arc<Condvar>,
}

struct State {
    ended: bool,
    to_break: usize,
    /// How many bytes of answers may still pass.
    allowed: u64,
    open: Vec<TcpStream>,
}

impl Connection {
    fn to(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { ended: false, to_break: 0, allowed: u64::MAX, open: Vec::new() };
        let connection = Self { address, state: Arc::new(Mutex::new(state)), changed: Arc::default() };
        let (state, changed) = (Arc::clone(&connection.state), Arc::clone(&connection.changed));
        thread::spawn(move || {
            for front in listener.incoming().map_while(Result::ok) {
                let mut held = state.lock().unwrap();
                if held.ended {
                    return;
                }
                let breaks = held.to_break > 0;
                held.to_break -= usize::from(breaks);
                let Ok(back) = TcpStream::connect(behind) else { return };
                for stream in [&front, &back] {
                    held.open.push(stream.try_clone().unwrap());
                }
                drop(held);
                let (state, changed) = (Arc::clone(&state), Arc::clone(&changed));
                if breaks {
                    thread::spawn(move || ask_and_break(&front));
                    continue;
                }
                let (asked, answered) = ((front.try_clone().unwrap(), back.try_clone().unwrap()), (back, front));
                thread::spawn(move || pass(asked, |_| true));
                thread::spawn(move || pass(answered, |count| wait(&state, &changed, count)));
            }
        });
        connection
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap();
        (state.ended, state.allowed) = (true, u64::MAX);
        state.open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        drop(state);
        self.changed.notify_all();
        // So that the listener looks up.
        let _ = TcpStream::connect(self.address);
    }
}

fn ask_and_break(mut front: &TcpStream) {
    // Whatever it is: nobody answers.
    let _ = front.read(&mut [0; 1024]);
    let _ = front.shutdown(Shutdown::Both);
}

/// Waits until so many bytes may pass.
fn wait(state: &Mutex<State>, changed: &Condvar, count: u64) -> bool {
    let mut state = changed.wait_while(state.lock().unwrap(), |state| state.allowed < count).unwrap();
    if state.allowed != u64::MAX {
        state.allowed -= count;
    }
    !state.ended
}

fn pass((mut from, mut to): (TcpStream, TcpStream), may: impl Fn(u64) -> bool) {
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut part) {
        if !may(count as u64) || to.write_all(&part[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |part: &[u8]| {
        let bits = (0..3).fold(0, |bits, place| bits << 8 | u32::from(part.get(place).copied().unwrap_or(0)));
        let digit = |place: usize| char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]);
        (0..4).map(|place| if place <= part.len() { digit(place) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}
