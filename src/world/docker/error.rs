//! The engine's refusals as faults: what may be done about them, in words a person can act upon.

use std::error::Error as _;
use std::io;

use bollard::errors::Error;

use crate::plan::action::{Fault, FaultKind};

/// The status of an answer that says no.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether what was named does not exist.
pub(super) fn is_not_found(error: &Error) -> bool {
    status(error) == Some(404)
}

/// The error of the operating system below an error, if that is what it comes from.
pub(super) fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    if let Error::IOError { err } = error {
        return Some(err.kind());
    }
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = inner.source();
    }
    None
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match &error {
            Error::DockerResponseServerError { status_code, message } => refusal(*status_code, message),
            Error::DockerStreamError { error: message } | Error::DockerContainerWaitError { error: message, .. } => {
                refusal(500, message)
            }
            Error::RequestTimeoutError => Fault::temporary("the Docker Engine did not answer in time"),
            Error::SocketNotFoundError(_)
            | Error::IOError { .. }
            | Error::HyperResponseError { .. }
            | Error::HyperLegacyError { .. } => Fault { kind: FaultKind::EngineAway, message: away(&error) },
            // What is left are requests and answers that do not parse. The enum is bollard's and grows with its features.
            _ => Fault::permanent(error.to_string()),
        }
    }
}

fn away(error: &Error) -> String {
    match io_kind(error) {
        // What has no kind of its own is the connection's, that ended in the midst of an answer.
        Some(kind) if kind != io::ErrorKind::Other => format!("the Docker Engine does not answer: {kind}"),
        Some(_) | None => "the connection to the Docker Engine broke".to_owned(),
    }
}

/// What a refusal means. The engine answers 500 for nearly everything that goes wrong at a start, so the text decides.
pub(super) fn refusal(status: u16, message: &str) -> Fault {
    const PASSING: [&str; 16] = [
        "timeout",
        "timed out",
        "deadline exceeded",
        "connection reset",
        "connection refused",
        "broken pipe",
        "no such host",
        "server misbehaving",
        "network is unreachable",
        "no route to host",
        "temporary failure",
        "unexpected eof",
        "too many requests",
        "device or resource busy",
        "is shutting down",
        "in progress",
    ];
    let message = plain(message);
    let lower = message.to_lowercase();
    // `Get "http://registry/v2/": EOF`: a registry hung up without an answer.
    let passes = || PASSING.iter().any(|text| lower.contains(text)) || lower.ends_with(": eof");
    let passing = matches!(status, 429 | 502 | 503 | 504) || (status >= 500 && passes());
    if passing { Fault::temporary(message) } else { Fault { kind: lasting(&lower), message } }
}

/// What sort of refusal that trying again does not help: `exec: "x": executable file not found in $PATH`,
/// `exec: "/x": permission denied`, `exec: "/x": stat /x: no such file or directory`.
pub(super) fn lasting(lower: &str) -> FaultKind {
    let Some((_, program)) = lower.split_once("exec: \"") else { return FaultKind::Permanent };
    let says = |texts: &[&str]| texts.iter().any(|text| program.contains(text));
    match () {
        () if says(&["executable file not found", "no such file or directory"]) => FaultKind::NoProgram,
        () if says(&["permission denied", "is a directory", "exec format error"]) => FaultKind::NotExecutable,
        () => FaultKind::Permanent,
    }
}

/// The engine's words without what only its authors understand.
fn plain(message: &str) -> String {
    let message = message.trim();
    if let Some(port) = taken_port(message) {
        return format!("port {port} of the host is already in use");
    }
    let message = message.strip_prefix("Error response from daemon: ").unwrap_or(message);
    // `failed to create shim: OCI runtime create failed: container_linux.go:380: starting container process caused: exec: …`
    message.rsplit_once("starting container process caused: ").map_or(message, |(_, cause)| cause).to_owned()
}

/// The port of `Bind for 0.0.0.0:80 failed: port is already allocated` (another container's) or of
/// `listen tcp4 0.0.0.0:80: bind: address already in use` (another program's).
fn taken_port(message: &str) -> Option<&str> {
    let before = message
        .split_once(" failed: port is already allocated")
        .or_else(|| message.split_once(": bind: address already in use"))?
        .0;
    let address = before.rsplit(' ').next()?;
    let port = address.rsplit(':').next()?;
    (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_plain_words_with_what_may_be_done() {
        for (status, message, kind, expected) in [
            (
                500,
                "driver failed programming external connectivity on endpoint x (0af): Bind for 0.0.0.0:8080 failed: port is already allocated",
                FaultKind::Permanent,
                "port 8080 of the host is already in use",
            ),
            (
                500,
                "driver failed programming external connectivity on endpoint x (0af): Error starting userland proxy: listen tcp4 127.0.0.1:81: bind: address already in use",
                FaultKind::Permanent,
                "port 81 of the host is already in use",
            ),
            (
                400,
                "failed to create shim: OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"x\": executable file not found in $PATH: unknown",
                FaultKind::NoProgram,
                "exec: \"x\": executable file not found in $PATH: unknown",
            ),
            (404, "No such image: nope:latest", FaultKind::Permanent, "No such image: nope:latest"),
            (
                500,
                "Get \"https://r/v2/\": net/http: TLS handshake timeout",
                FaultKind::Temporary,
                "Get \"https://r/v2/\": net/http: TLS handshake timeout",
            ),
            (500, "Get \"http://r/v2/\": EOF", FaultKind::Temporary, "Get \"http://r/v2/\": EOF"),
            (503, "", FaultKind::Temporary, ""),
        ] {
            let fault = Fault::from(Error::DockerResponseServerError { status_code: status, message: message.to_owned() });
            assert_eq!((fault.kind, fault.message.as_str()), (kind, expected));
        }
    }
}
