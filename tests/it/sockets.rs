//! Sockets that the supervisor holds for a process: who connects while it restarts waits, and is not refused.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, kill, until};

/// The variable that makes a service of [`serves`]: `fds`, a port to bind for itself, or `proxied` for the one in `PORT`.
const SERVE: &str = "IT_SERVE";

/// Not a test but the service of the tests below, which run this very program: it answers each connection with its pid, and
/// on SIGTERM finishes what it has accepted.
#[test]
fn serves() {
    let Ok(wanted) = std::env::var(SERVE) else { return };
    let listener = if wanted == "fds" {
        assert_eq!(std::env::var("LISTEN_PID").unwrap(), std::process::id().to_string());
        assert_eq!(std::env::var("LISTEN_FDS").unwrap(), "1");
        assert_eq!(std::env::var("LISTEN_FDNAMES").unwrap(), "web");
        // SAFETY: the descriptor is ours by the protocol of sd_listen_fds(3), and nobody else uses it here.
        TcpListener::from(unsafe { OwnedFd::from_raw_fd(3) })
    } else {
        let port = if wanted == "proxied" { std::env::var("PORT").unwrap() } else { wanted };
        TcpListener::bind(format!("127.0.0.1:{port}")).unwrap()
    };
    let (terminated, told) = UnixStream::pair().unwrap();
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, told).unwrap();
    eprintln!("serving");
    thread::scope(|scope| {
        loop {
            let mut ready =
                [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(terminated.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, PollTimeout::NONE).is_err() {
                continue;
            }
            if ready[1].any().unwrap() {
                return;
            }
            let (client, _) = listener.accept().unwrap();
            scope.spawn(move || answer(client));
        }
    });
}

fn answer(mut client: TcpStream) {
    let mut asked = [0; 1];
    if client.read_exact(&mut asked).is_ok() {
        let _ = client.write_all(format!("{}\n", std::process::id()).as_bytes());
    }
}

/// A process that runs [`serves`].
pub(crate) fn service(serve: &str, rest: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "
processes:
  web:
    command: [{}, --exact, 'sockets::serves', --nocapture]
    environment: {{{SERVE}: '{serve}'}}
{rest}
",
        program.display()
    )
}

/// A port that nobody has now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One question; the pid of whoever answered.
pub(crate) fn ask(port: u16) -> std::io::Result<i32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"?")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    answer.trim().parse().map_err(|_| std::io::Error::from(ErrorKind::UnexpectedEof))
}

/// What became of the questions of one client, or of all.
#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    refused: usize,
    reset: usize,
    cut: usize,
}

impl Tally {
    fn count(&mut self, asked: std::io::Result<i32>) {
        *match asked.map_err(|error| error.kind()) {
            Ok(_) => &mut self.answered,
            Err(ErrorKind::ConnectionRefused) => &mut self.refused,
            Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected) => &mut self.reset,
            Err(ErrorKind::UnexpectedEof) => &mut self.cut,
            Err(other) => panic!("{other}"),
        } += 1;
    }

    fn with(self, other: Self) -> Self {
        Self {
            answered: self.answered + other.answered,
            refused: self.refused + other.refused,
            reset: self.reset + other.reset,
            cut: self.cut + other.cut,
        }
    }
}

const CLIENTS: usize = 8;
const RESTARTS: usize = 20;

/// Ends the clients also where a check of the test has failed: their scope waits for them.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Eight clients ask without pause while the service is restarted twenty times. The next restart comes when each client has been
/// answered after the one before, however slow the machine is.
fn ask_over_restarts(sandbox: &Sandbox, port: u16) -> Tally {
    until("it answers", || ask(port).is_ok());
    let over = AtomicBool::new(false);
    let answered = [const { AtomicUsize::new(0) }; CLIENTS];
    let counts = || answered.each_ref().map(|answered| answered.load(Ordering::Relaxed));
    let client = |answered: &AtomicUsize| {
        let mut tally = Tally::default();
        while !over.load(Ordering::Relaxed) {
            tally.count(ask(port));
            answered.store(tally.answered, Ordering::Relaxed);
        }
        tally
    };
    thread::scope(|scope| {
        let clients = answered.each_ref().map(|answered| scope.spawn(|| client(answered)));
        let ended = Over(&over);
        for _ in 0..RESTARTS {
            sandbox.ok(&["restart", "web"]);
            let before = counts();
            until("each client has been answered", || counts().iter().zip(before).all(|(now, before)| *now > before));
        }
        drop(ended);
        clients.into_iter().map(|client| client.join().unwrap()).fold(Tally::default(), Tally::with)
    })
}

#[test]
fn no_client_is_refused_reset_or_cut_over_twenty_restarts_of_a_service_with_a_held_socket() {
    let port = free_port();
    let held = Sandbox::new(&service("fds", &format!("    sockets: [{{name: web, tcp: '127.0.0.1:{port}'}}]")));
    held.ok(&["up", "-d"]);
    let tally = ask_over_restarts(&held, port);
    eprintln!("held by the supervisor: {tally:?}");
    assert_eq!((tally.refused, tally.reset, tally.cut), (0, 0, 0), "{tally:?}");
    held.ok(&["down"]);

    let port = free_port();
    let own = Sandbox::new(&service(&port.to_string(), ""));
    own.ok(&["up", "-d"]);
    let tally = ask_over_restarts(&own, port);
    eprintln!("bound by the service:   {tally:?}");
    assert!(tally.refused > 0, "{tally:?}");
}

#[test]
fn no_client_is_refused_reset_or_cut_over_twenty_restarts_of_a_service_behind_a_proxy() {
    let port = free_port();
    let proxied = format!(
        "    proxy: true\n    ports: ['127.0.0.1:{port}:{port}']\n    healthcheck: {{tcp: '127.0.0.1:{port}', interval: 100ms, start_period: 1m}}"
    );
    let sandbox = Sandbox::new(&service("proxied", &proxied));
    sandbox.ok(&["up", "-d", "--wait"]);
    let first = ask(port).unwrap();
    let tally = ask_over_restarts(&sandbox, port);
    eprintln!("behind a proxy:         {tally:?}");
    assert_eq!((tally.refused, tally.reset, tally.cut), (0, 0, 0), "{tally:?}");
    // A second `up` finds its own supervisor at the port, and changes nothing.
    let last = ask(port).unwrap();
    assert_ne!(first, last);
    sandbox.ok(&["up", "-d", "--wait"]);
    assert_eq!(ask(port).unwrap(), last);
    for command in ["stop", "down"] {
        sandbox.ok(&["up", "-d", "--wait"]);
        ask(port).unwrap();
        sandbox.ok(&[command]);
        assert_eq!(ask(port).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{command}");
    }
}

#[test]
fn a_probe_of_a_service_behind_a_proxy_asks_the_life_itself() {
    // It never listens: what answers at the port is the supervisor.
    let port = free_port();
    let sandbox = Sandbox::new(&format!(
        "
processes:
  web:
    command: 'echo $$PORT > port; exec sleep 1000'
    proxy: true
    ports: ['{port}']
    healthcheck: {{tcp: '127.0.0.1:{port}', interval: 50ms, retries: 2}}
"
    ));
    let said = sandbox.run(&["up", "-d", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    until("it has told its port", || !sandbox.lines("port").is_empty());
    let own: u16 = sandbox.lines("port")[0].parse().unwrap();
    assert_ne!(own, port);
}

#[test]
fn a_held_socket_is_the_same_over_a_crash_and_closed_by_stop_and_down() {
    let port = free_port();
    let sockets = format!("    sockets: [{{name: web, tcp: '127.0.0.1:{port}'}}]\n    restart: always");
    let sandbox = Sandbox::new(&service("fds", &sockets));
    sandbox.ok(&["up", "-d"]);
    let first = ask(port).unwrap();
    kill(first, Signal::SIGKILL);
    // Nobody has to try again: whoever comes before the next life waits for it.
    let second = loop {
        match ask(port) {
            Ok(pid) if pid != first => break pid,
            Ok(_) => {}
            // Accepted by the one that was killed.
            Err(error) => assert_ne!(error.kind(), ErrorKind::ConnectionRefused, "the socket was closed"),
        }
    };
    assert_ne!(first, second);
    // A second `up` finds its own supervisor at the port, and changes nothing.
    sandbox.ok(&["up", "-d"]);
    assert_eq!(ask(port).unwrap(), second);
    for command in ["stop", "down"] {
        sandbox.ok(&["up", "-d"]);
        ask(port).unwrap();
        sandbox.ok(&[command]);
        assert_eq!(ask(port).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{command}");
    }
}

#[test]
fn a_changed_socket_is_opened_anew_and_the_old_one_is_closed() {
    let (old, new) = (free_port(), free_port());
    let stack = |port| service("fds", &format!("    sockets: [{{name: web, tcp: '127.0.0.1:{port}'}}]"));
    let sandbox = Sandbox::new(&stack(old));
    sandbox.ok(&["up", "-d"]);
    ask(old).unwrap();
    sandbox.write("stack.yaml", &stack(new));
    sandbox.ok(&["up", "-d"]);
    ask(new).unwrap();
    assert_eq!(ask(old).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_socket_whose_port_is_held_names_the_holder_before_anything_starts() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let sandbox = Sandbox::new(&format!(
        "processes: {{a: {{command: touch a}}, web: {{command: exec sleep 1000, sockets: [{{tcp: '127.0.0.1:{port}'}}]}}}}"
    ));
    let said = sandbox.run(&["up", "-d"]);
    assert_eq!(said.code, 1, "{said:?}");
    let holder = format!("`web` needs port {port} for a socket, which is held by process {}", std::process::id());
    assert!(said.err.contains(&holder), "{said:?}");
    let place = sandbox.path("stack.yaml");
    let text = std::fs::read_to_string(&place).unwrap();
    let column = text.find("{tcp").unwrap() + 1;
    assert!(said.err.contains(&format!("stack.yaml:1:{column}\n")), "{said:?}");
    assert!(!sandbox.path("a").exists());
}
