//! `healthcheck.tcp`: an address that must accept a connection. Nothing is sent.

use std::io::{self, ErrorKind};

use tokio::net::TcpStream;

use super::ProbeContext;

/// Connects and closes again.
pub(super) async fn check(address: &str, cx: &ProbeContext) -> Result<String, String> {
    let (host, port) = parts(address)?;
    connect(host, port, address, cx).await?;
    Ok(format!("{address} accepts connections"))
}

/// Host and port of an address; a port alone is one of this host.
pub(super) fn parts(address: &str) -> Result<(&str, u16), String> {
    let (host, port) = address.rsplit_once(':').unwrap_or(("127.0.0.1", address));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host, port.parse().map_err(|_| format!("{address} is not `host:port`"))?))
}

/// A connection to the unit that is probed; `address` is its name in messages.
pub(super) async fn connect(host: &str, port: u16, address: &str, cx: &ProbeContext) -> Result<TcpStream, String> {
    let port = cx.port(host, port);
    let stream = TcpStream::connect((host, port)).await.map_err(|error| refusal(address, &error))?;
    cx.owns(host, port)?;
    Ok(stream)
}

fn refusal(address: &str, error: &io::Error) -> String {
    if error.kind() == ErrorKind::ConnectionRefused {
        format!("connection refused by {address}")
    } else {
        format!("no connection to {address}: {error}")
    }
}
