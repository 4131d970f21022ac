//! Listening sockets that outlive the processes that use them (`sockets:`).
//!
//! A socket is opened before the first start that needs it and handed to every life of its service from then on, so that
//! connections wait in its queue while the service restarts. It is closed when nobody wants the service any more, or when the
//! service has failed for good: a client is better refused than left waiting.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{Backlog, listen};

use crate::base::name::{ServiceName, UnitId};
use crate::model::process::fill_replica;
use crate::model::socket::{Socket, SocketAddress};
use crate::plan::action::Fault;
use crate::plan::desired::UnitSpec;

/// All sockets that are held.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    held: Vec<Held>,
}

/// One socket. Replicas of a service that listen at one address share it.
#[derive(Debug)]
struct Held {
    service: ServiceName,
    address: SocketAddress,
    socket: OwnedFd,
}

/// What a life is given: its descriptors, in order, and their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) descriptors: Vec<RawFd>,
    pub(super) names: Vec<String>,
}

impl Passed {
    /// `LISTEN_FDS` and `LISTEN_FDNAMES`; `LISTEN_PID` is the child's to tell.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        if self.descriptors.is_empty() {
            return Vec::new();
        }
        vec![("LISTEN_FDS", self.descriptors.len().to_string()), ("LISTEN_FDNAMES", self.names.join(":"))]
    }
}

impl Sockets {
    /// The sockets of a unit that is about to start: those that are held already, and the others opened.
    pub(super) fn of(&mut self, spec: &UnitSpec) -> Result<Passed, Fault> {
        let service = &spec.unit.service;
        let sockets = spec.service().process().map(|process| process.sockets.as_slice()).unwrap_or_default();
        // What the definition no longer has is closed first: a new one may want its address.
        let wanted = wanted_by(spec);
        self.close(|held| held.service != *service || wanted.contains(&held.address));
        let mut passed = Passed::default();
        for socket in sockets {
            let address = of_replica(&socket.address, spec.unit.replica);
            let held = match self.held.iter().position(|held| held.service == *service && held.address == address) {
                Some(at) => &self.held[at],
                None => {
                    let socket = open(&address).map_err(|error| explain(&address, &error))?;
                    self.held.push(Held { service: service.clone(), address: address.clone(), socket });
                    self.held.last().expect("just pushed")
                }
            };
            // Asking again is how a queue is made longer or shorter (listen(2)).
            listen(&held.socket, backlog(socket)).map_err(|errno| explain(&address, &errno.into()))?;
            passed.descriptors.push(held.socket.as_raw_fd());
            passed.names.push(socket.name.clone().unwrap_or_else(|| service.to_string()));
        }
        Ok(passed)
    }

    /// Closes the sockets of all units but these.
    pub(super) fn keep(&mut self, units: &BTreeSet<UnitId>) {
        self.close(|held| units.iter().any(|unit| unit.service == held.service));
    }

    fn close(&mut self, keep: impl Fn(&Held) -> bool) {
        self.held.retain(|held| {
            let kept = keep(held);
            if let (false, SocketAddress::Unix(path)) = (kept, &held.address) {
                // Somebody may have taken it away; then there is nothing to do.
                let _ = fs::remove_file(path);
            }
            kept
        });
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.close(|_| false);
    }
}

/// The addresses of all replicas of a unit's service.
fn wanted_by(spec: &UnitSpec) -> BTreeSet<SocketAddress> {
    let sockets = spec.service().process().map(|process| process.sockets.as_slice()).unwrap_or_default();
    let last = spec.service().replicas().max(spec.unit.replica);
    (1..=last).flat_map(|replica| sockets.iter().map(move |socket| of_replica(&socket.address, replica))).collect()
}

fn of_replica(address: &SocketAddress, replica: u32) -> SocketAddress {
    match address {
        SocketAddress::Tcp(text) => SocketAddress::Tcp(fill_replica(text, replica).into_owned()),
        SocketAddress::Unix(path) => SocketAddress::Unix(PathBuf::from(fill_replica(&path.to_string_lossy(), replica).as_ref())),
    }
}

fn backlog(socket: &Socket) -> Backlog {
    let wanted = socket.backlog.and_then(|backlog| i32::try_from(backlog).ok()).unwrap_or(libc::SOMAXCONN);
    // What the kernel would cut off as well.
    Backlog::new(wanted.min(libc::SOMAXCONN)).unwrap_or(Backlog::MAXCONN)
}

fn open(address: &SocketAddress) -> io::Result<OwnedFd> {
    match address {
        SocketAddress::Tcp(text) => TcpListener::bind(text.as_str()).map(OwnedFd::from),
        SocketAddress::Unix(path) => open_unix(path).map(OwnedFd::from),
    }
}

fn open_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_over(path) => {
            fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        other => other,
    }
}

/// Whether it is a socket that nobody listens at any more, as one leaves who was killed.
fn is_left_over(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn explain(address: &SocketAddress, error: &io::Error) -> Fault {
    let text = match address {
        SocketAddress::Tcp(text) => text.clone(),
        SocketAddress::Unix(path) => path.display().to_string(),
    };
    let reason = match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, SocketAddress::Tcp(text)) => match super::listener::holder_of(text) {
            Some(holder) => format!("it is held by {holder}"),
            None => "somebody else listens there".to_owned(),
        },
        (io::ErrorKind::AddrInUse, SocketAddress::Unix(path)) if path.exists() => {
            "somebody else listens there, or it is a file that is no socket".to_owned()
        }
        (_, _) => error.to_string(),
    };
    Fault::permanent(format!("listen at {text}: {reason}"))
}
